package MapiRig;

# What tests need besides Test::Nginx: directories made from CSV text, ports,
# certificates, servers of their own, and the rule that no log may hold an
# alert.  Runs under "./build.sh test", which sets MAPI_BUILD, MAPI_MODULES,
# MAPI_ROOT, MAPI_RUN and TEST_NGINX_BINARY.
#
#   run_folder()                 a folder of this test file, gone afterwards;
#                                unprivileged workers can enter it
#   mapi_directory(@arguments)   runs the command: (exit code, stdout, stderr)
#   make_directory($name, mailboxes => $csv, databases => $csv,
#                  servers => $csv)
#                                imports into a new directory, dies with the
#                                command's words if that fails; the folder's
#                                name is returned and is $TEST_NGINX_<NAME> in
#                                configurations
#   free_port($address)          a port nobody listens on (127.0.0.1)
#   certificate($name)           (certificate, key) files, CN and SAN $name
#   start_nginx($name, $config)  a server of its own: $config is all but pid,
#                                error_log, load_module, user and events;
#                                "%PREFIX%" stands for its folder.  Returns a
#                                hash: name, prefix, conf, pid, log
#   stop_nginx($server, $signal) QUIT by default; waits for its end
#   reload_nginx($server)        HUP; waits until the new workers run
#   signal_nginx($server, $name)
#   log_of($server)              its error log as text
#   allow_log($pattern)          alerts that match are expected
#   check_log($file)             lines that must not be there
#
# A file that uses MapiRig fails (exit code 1) if a server it started logged
# [alert], [emerg], a signal or a sanitizer's report.

use strict;
use warnings;

use Carp qw( croak );
use Exporter qw( import );
use File::Path qw( make_path remove_tree );
use File::Temp qw( tempdir );
use IO::Socket::INET;
use POSIX qw( WNOHANG );
use Time::HiRes qw( sleep time );

our @EXPORT = qw(
    run_folder mapi_directory make_directory free_port certificate
    start_nginx stop_nginx reload_nginx signal_nginx log_of
    allow_log check_log slurp spew
);

our @Complaints;

my $folder;
my $owner = $$;
my %running;
my %given;
my @allowed;

$ENV{PATH} .= ':/usr/sbin:/sbin';


sub slurp
{
    my ($file) = @_;

    open(my $fh, '<:raw', $file) or croak "cannot read $file: $!";
    local $/;
    my $text = <$fh>;
    close $fh;

    return defined $text ? $text : '';
}


sub spew
{
    my ($file, $text) = @_;

    open(my $fh, '>:raw', $file) or croak "cannot write $file: $!";
    print $fh $text or croak "cannot write $file: $!";
    close $fh or croak "cannot write $file: $!";
}


sub run_folder
{
    if (!defined $folder) {
        my $base = $ENV{MAPI_RUN} || '/tmp';

        $folder = tempdir('file.XXXXXX', DIR => $base);
        chmod 0755, $folder;
    }

    return $folder;
}


sub environment
{
    my ($name) = @_;

    defined $ENV{$name} or croak "$name is not set: use ./build.sh test FILE";

    return $ENV{$name};
}


sub mapi_directory
{
    my @arguments = @_;
    my $program = environment('MAPI_BUILD') . '/mapi-directory';
    my $base = run_folder() . "/command.$$";

    my $pid = fork();
    defined $pid or croak "fork: $!";

    if ($pid == 0) {
        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>', "$base.out");
        open(STDERR, '>', "$base.err");
        exec {$program} $program, @arguments or POSIX::_exit(127);
    }

    waitpid($pid, 0);
    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;

    return ($code, slurp("$base.out"), slurp("$base.err"));
}


sub make_directory
{
    my ($name, %csv) = @_;
    my $path = run_folder() . "/$name";
    my @arguments = ('-d', $path, 'import');

    make_path($path);

    # as install makes it: workers write into the table of readers

    if ($> == 0) {
        my $group = getgrnam($ENV{TEST_NGINX_WORKER_USER} || 'www-data');
        chown 0, defined $group ? $group : 0, $path;
        chmod 02770, $path;
    }

    for my $kind (qw( mailboxes databases servers )) {
        next if !defined $csv{$kind};

        my $file = run_folder() . "/$name-$kind.csv";
        spew($file, $csv{$kind});
        push @arguments, "--$kind", $file;
    }

    my ($code, $out, $err) = mapi_directory(@arguments);
    $code == 0 or croak "import of $name: exit code $code: $err";

    (my $variable = uc $name) =~ s/\W/_/g;
    $ENV{"TEST_NGINX_$variable"} = $path;

    return $path;
}


# below the range the kernel hands out for outgoing connections, so that no
# client takes it between this answer and its use

sub free_port
{
    my ($address) = @_;

    for (1 .. 1000) {
        my $port = 10000 + int(rand(22000));
        next if $given{$port};

        my $socket = IO::Socket::INET->new(
            LocalAddr => $address || '127.0.0.1', LocalPort => $port,
            Proto => 'tcp', Listen => 1) or next;
        close $socket;

        $given{$port} = 1;
        return $port;
    }

    croak 'no free port';
}


sub certificate
{
    my ($name) = @_;
    my ($crt, $key) = map { run_folder() . "/$name.$_" } qw( crt key );

    if (!-e $crt) {
        my $log = run_folder() . '/openssl.log';
        system("openssl req -x509 -newkey rsa:2048 -nodes -days 30"
               . " -subj '/CN=$name' -addext 'subjectAltName=DNS:$name'"
               . " -keyout $key -out $crt 2> $log") == 0
            or croak 'openssl: ' . slurp($log);
    }

    return ($crt, $key);
}


sub start_nginx
{
    my ($name, $config) = @_;
    my $prefix = run_folder() . "/$name";
    my $user = $> == 0 ? "user $ENV{TEST_NGINX_WORKER_USER};" : '';
    my $binary = environment('TEST_NGINX_BINARY');
    my $temp = join '', map { "    ${_}_temp_path $prefix/$_;\n" }
                        qw( client_body proxy fastcgi scgi uwsgi );

    make_path("$prefix/logs", "$prefix/conf");
    $config =~ s/%PREFIX%/$prefix/g;
    $config =~ s/^(\s*http\s*\{\n)/$1$temp/m;
    $config = "events { worker_connections 1024; }\n$config"
        if $config !~ /^\s*events\b/m;

    spew("$prefix/conf/nginx.conf", <<"EOF");
$ENV{MAPI_MODULES}
$user
daemon on;
pid $prefix/logs/nginx.pid;
error_log $prefix/logs/error.log debug;
$config
EOF

    my $server = {
        name => $name, prefix => $prefix, log => "$prefix/logs/error.log",
        conf => "$prefix/conf/nginx.conf",
    };

    system("$binary -e $prefix/logs/error.log -p $prefix/"
           . " -c $prefix/conf/nginx.conf > $prefix/logs/start 2>&1") == 0
        or croak "$name does not start: " . slurp("$prefix/logs/start");

    for (1 .. 200) {
        last if -s "$prefix/logs/nginx.pid";
        sleep 0.05;
    }

    ($server->{pid}) = slurp("$prefix/logs/nginx.pid") =~ /^(\d+)/
        or croak "$name has no pid";

    $running{$name} = $server;

    return $server;
}


sub signal_nginx
{
    my ($server, $signal) = @_;

    return kill $signal, $server->{pid};
}


sub stop_nginx
{
    my ($server, $signal) = @_;
    my $deadline = time() + 20;

    my $again = 0;

    while (is_running($server->{pid})) {
        # a signal that comes just before nginx waits for signals is not seen
        if (time() > $again) {
            signal_nginx($server, $signal || 'QUIT');
            $again = time() + 1;
        }

        # what hangs is killed, and that is a failure
        if (time() > $deadline) {
            push @Complaints, "$server->{name} did not end by itself";
            kill 'KILL', workers_of($server), $server->{pid};
            last;
        }

        sleep 0.02;
    }

    delete $running{$server->{name}};
    push @Complaints, check_log($server->{log});
}


# one that has ended may stay in the table until process 1 looks after it

sub is_running
{
    my ($pid) = @_;

    return 0 if !kill 0, $pid;

    open(my $fh, '<', "/proc/$pid/stat") or return kill 0, $pid;
    my $line = <$fh>;
    close $fh;

    return !(defined $line && $line =~ /\) [ZX] /);
}


sub workers_of
{
    my ($server) = @_;
    my $children = '';

    if (open(my $fh, '<',
             "/proc/$server->{pid}/task/$server->{pid}/children"))
    {
        $children = <$fh>;
        close $fh;
    }

    return split ' ', defined $children ? $children : '';
}


sub reload_nginx
{
    my ($server) = @_;
    my %before = map { $_ => 1 } workers_of($server);
    my $deadline = time() + 20;

    signal_nginx($server, 'HUP');

    while (!grep { !$before{$_} } workers_of($server)) {
        time() < $deadline or croak "$server->{name} does not reload";
        sleep 0.02;
    }

    sleep 0.1;
}


sub log_of
{
    my ($server) = @_;

    return -e $server->{log} ? slurp($server->{log}) : '';
}


sub allow_log
{
    push @allowed, @_;
}


sub check_log
{
    my ($file) = @_;
    my @lines;

    open(my $fh, '<', $file) or return;

    while (my $line = <$fh>) {
        chomp $line;

        next if $line !~ /\[(?:alert|emerg)\]|exited on signal
                          |Sanitizer|runtime\ error:/x;
        next if grep { $line =~ $_ } @allowed;

        push @lines, "$file: $line";
    }

    close $fh;

    return @lines;
}


END {
    if ($$ == $owner) {
        my $status = $?;

        stop_nginx($_) for values %running;

        if (@Complaints) {
            my %seen;
            my @first = grep { !$seen{$_}++ } @Complaints;

            splice @first, 20;
            print STDERR "# must not be in a log: $_\n" for @first;
            $status = 1 if $status == 0;
        }

        if (defined $folder && !$ENV{MAPI_KEEP}) {
            chdir '/';
            remove_tree($folder);
        }

        $? = $status;
    }
}

1;
