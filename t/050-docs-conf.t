# The documentation tells the truth: every example of docs/conf loads without
# a warning, every directive and variable in the source stands in the
# documentation, and the documentation names none that does not exist.

use strict;
use warnings;

use MapiRig;
use File::Basename qw( basename );
use File::Path qw( make_path );
use POSIX ();
use Test::More;

my $root = $ENV{MAPI_ROOT} or die "MAPI_ROOT is not set";
my %snippet = map { basename($_) => slurp($_) } glob("\Q$root\E/docs/conf/*.conf");

# what a whole nginx.conf has and a snippet has not

my @examples = grep { $snippet{$_} =~ /^events\s*\{/m } sort keys %snippet;
my %part = %snippet;

delete @part{@examples};


# A folder like /etc/nginx with the example in it.  Only paths of the system,
# ports and, where we are not root, the user are replaced.

sub tree
{
    my ($name, $text) = @_;
    my $prefix = run_folder() . "/$name.d";
    my $conf = "$prefix/conf";
    my ($port, $plain, $local) = map { free_port() } 1 .. 3;

    make_path(map { "$prefix/$_" } qw( logs directory conf/tls conf/keys
                                       conf/modules-enabled ));

    my ($crt, $key) = certificate('mail.corp.example');

    spew("$conf/tls/mail.crt", slurp($crt));
    spew("$conf/tls/mail.key", slurp($key));
    spew("$conf/tls/ca.crt", slurp($crt));
    spew("$conf/keys/mapi-affinity.key", 'a5' x 32 . "\n");
    spew("$conf/keys/mapi-affinity.old", 'b6' x 32 . "\n");
    spew("$conf/modules-enabled/50-mod-mapi.conf", $ENV{MAPI_MODULES} . "\n");

    spew("$conf/$_", $snippet{$_}) for keys %part;

    my $temp = join '', map { "    ${_}_temp_path $prefix/$_;\n" }
                        qw( client_body proxy fastcgi scgi uwsgi );

    $text =~ s{/var/log/nginx/}{$prefix/logs/}g;
    $text =~ s{/var/lib/mapi-directory}{$prefix/directory}g;
    $text =~ s{/run/nginx\.pid}{$prefix/logs/nginx.pid}g;
    $text =~ s{^(\s*listen\s+)443\b}{${1}127.0.0.1:$port}mg;
    $text =~ s{^(\s*listen\s+127[\d.]+:)\d+}{$1$local}mg;
    $text =~ s{^(\s*listen\s+)80\b}{${1}127.0.0.1:$plain}mg;
    $text =~ s{^(http\s*\{\n)}{$1$temp}m;
    $text =~ s{^user\s[^;]*;}{}m if $> != 0;

    spew("$conf/nginx.conf", $text);

    return $prefix;
}


# "nginx -t": exit code, and what it says besides that all is well

sub check
{
    my ($prefix) = @_;
    my $out = "$prefix/check";
    my $pid = fork();

    defined $pid or die "fork: $!";

    if ($pid == 0) {
        open(STDOUT, '>', $out);
        open(STDERR, '>&', \*STDOUT);
        exec($ENV{TEST_NGINX_BINARY}, '-t', '-e', "$prefix/logs/error.log",
             '-p', "$prefix/", '-c', "$prefix/conf/nginx.conf")
            or POSIX::_exit(127);
    }

    waitpid($pid, 0);

    my $code = $?;
    my @lines = grep { !/syntax is ok$|test is successful$/ }
                split /\n/, slurp($out);

    return ($code, join "\n", @lines);
}


cmp_ok(scalar @examples, '>=', 4, 'docs/conf has examples');

for my $name (@examples) {
    my ($code, $said) = check(tree($name, $snippet{$name}));

    is($code, 0, "$name loads");
    is($said, '', "$name loads without a warning");
}

# and so do the short ones in the text: they lack what surrounds http

for my $file ("$root/README.md", glob("\Q$root\E/docs/*.md")) {
    next if !-f $file;

    my @blocks = grep { /^http\s*\{/m }
                 slurp($file) =~ /^```nginx\n(.*?)^```/msg;
    my $number = 0;

    for my $block (@blocks) {
        my $name = basename($file) . '.' . ++$number;

        $block =~ s/^(http\s*\{\n)/$1    access_log off;\n/m;

        my ($code, $said) = check(tree($name, <<"EOF"));
include               modules-enabled/*.conf;
pid                   /run/nginx.pid;
worker_rlimit_nofile  4096;
events { worker_connections  1024; }
$block
EOF

        is($code, 0, "example $name loads");
        is($said, '', "example $name loads without a warning");
    }
}

for my $name (sort keys %part) {
    ok((grep { $snippet{$_} =~ /^\s*include\s+\Q$name\E;/m } @examples),
       "$name is included by an example");
}


# the test itself can fail: what is missing or too small is warned of

{
    (my $text = $snippet{$examples[0]}) =~ s/^\s*include\s+mapi_server.conf;//m;

    my ($code, $said) = check(tree('without', $text));

    is($code, 0, 'an example without mapi_server.conf loads');
    like($said, qr/\[warn\].*"large_client_header_buffers" has buffers of/,
         '... but not without a warning');

    local $snippet{'mapi_proxy.conf'} = $snippet{'mapi_proxy.conf'};
    $snippet{'mapi_proxy.conf'} =~ s/(proxy_read_timeout\s+)\w+/${1}30s/;

    ($code, $said) = check(tree('hasty', $snippet{$examples[0]}));

    is($code, 0, 'an example with proxy_read_timeout 30s loads');
    like($said, qr/\[warn\].*"proxy_read_timeout" is 30000ms/,
         '... but not without a warning');

    ($text = $snippet{'exchange.conf'}) =~ s/^\s*mapi_pin\s+on;//m;
    ($code, $said) = check(tree('unpinned', $text));

    is($code, 0, 'exchange.conf without mapi_pin loads');
    like($said, qr/\[warn\].*mapi_pin/, '... but not without a warning');
}


# names in the source

sub names_in
{
    my ($pattern, @files) = @_;
    my %names;

    for my $file (@files) {
        my $text = slurp($file);
        $names{$1} = 1 while $text =~ /$pattern/g;
    }

    return %names;
}


my $source = "$root/ngx_mapi_module";

# a directive's name is followed by its contexts, a variable's by a handler

my %directives = names_in(qr/\{\s*ngx_string\("(mapi\w*)"\),\s*NGX_/,
                          "$source/nginx/ngx_mapi_conf.c",
                          glob("\Q$source\E/emulator/*.c"));
my %variables = names_in(qr/\{\s*ngx_string\("(mapi_\w+)"\),\s*NULL,/,
                         "$source/nginx/ngx_mapi_variables.c");

cmp_ok(scalar keys %directives, '>=', 8, 'directives were found');
cmp_ok(scalar keys %variables, '>=', 10, 'variables were found');

my @documents = grep { -f } "$root/README.md", glob("\Q$root\E/docs/*.md"),
                            glob("\Q$root\E/docs/conf/*.conf");
my %text = map { $_ => slurp($_) } @documents;

my $reference = $text{"$root/docs/directives.md"};
$reference = '' if !defined $reference;

for my $name (sort keys %directives) {
    like($reference, qr/^### \Q$name\E(?: \(in upstream\))?$/m,
         "$name stands in docs/directives.md");
}

for my $name (sort keys %variables) {
    like($reference, qr/^\s*\|?\s*`\$\Q$name\E`/m,
         "\$$name stands in docs/directives.md");
}


# Names in the documentation.  A word counts where it is code: in backquotes,
# in an indented or fenced block, in an example; files are not directives.

# names that are neither, as that of the emulator's default zone
my %constants = names_in(qr/=\s*ngx_string\("(mapi_\w+)"\)/,
                         glob("\Q$source\E/*/*.c"));

# and those that Prometheus gets

my %metrics = names_in(qr/"(mapi_\w+)"/,
                       "$source/nginx/ngx_mapi_status_metrics.c");

for my $name (sort keys %metrics) {
    like($reference, qr/`\Q$name\E`/, "$name stands in docs/directives.md");
}

my %files = map { s/\.\w+$//r => 1 }
            map { basename($_) }
            keys %snippet, glob("\Q$source\E/*/*.[ch]");

for my $file (@documents) {
    (my $short = $file) =~ s{^\Q$root\E/}{};
    my $text = $text{$file};
    my (%wrong, $code);

    # the C interface is named in these, with a parenthesis or a star behind
    $text =~ s/\b\w+\(\)//g;

    $code = $text;

    if ($file =~ /\.md$/) {
        $code = join "\n", $text =~ /^```.*?^```|`[^`\n]+`|^ {4}\S.*$/msg;
    }

    while ($code =~ /\$(mapi_\w+)/g) {
        $wrong{"\$$1"} = 1 if !$variables{$1};
    }

    while ($code =~ /(?<![\w\$\/=.-])(mapi_[a-z_]+)(?![\w.*])/g) {
        $wrong{$1} = 1 if !$directives{$1} && !$files{$1} && !$constants{$1}
                          && !$metrics{$1};
    }

    is(join(' ', sort keys %wrong), '', "$short names nothing that is not");
}


# Links lead somewhere: to a file of the tree, and to a heading in it

my %anchors;

for my $file (grep { /\.md$/ } @documents) {
    (my $body = $text{$file}) =~ s/^```.*?^```//msg;

    for my $heading ($body =~ /^#+ +(.*)$/mg) {
        (my $anchor = lc $heading) =~ s/[^\w\- ]//g;

        $anchor =~ s/ /-/g;
        $anchors{$file}{$anchor} = 1;
    }
}

for my $file (grep { /\.md$/ } @documents) {
    (my $folder = $file) =~ s{[^/]*$}{};
    my @broken;

    (my $body = $text{$file}) =~ s/^```.*?^```//msg;

    for my $link ($body =~ /\]\(([^)\s]+)\)/g) {
        next if $link =~ /^\w+:/;

        my ($path, $anchor) = split /#/, $link;
        my $target = $path ne '' ? "$folder$path" : $file;

        $target =~ s{[^/]+/\.\./}{}g;

        push @broken, $link
            if !-e $target
               || (defined $anchor && !$anchors{$target}{$anchor});
    }

    is(join(' ', @broken), '', basename($file) . ' has no broken link');
}

done_testing();
