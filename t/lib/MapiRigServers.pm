package MapiRigServers;

# Real servers and real clients for t/rig: Apache that binds a logon to its
# TCP connection as IIS does, a Kerberos realm, and what a test wants to know
# of their connections.
#
# A rig is two servers on 127.0.0.11 and 127.0.0.12, ex1 and ex2, and the front
# end: mailbox 1 lives on the first, mailbox 2 on the second.
#
#   start_rig($name, %options)      servers => sub { start_apache(@_, ...) };
#                                   upstream (the block's lines, %SERVERS%
#                                   stands for both, %PORT% for their port),
#                                   location (lines), workers (1), scheme (of
#                                   the servers, "http").  Returns a hash: name,
#                                   port (of the front end), servers
#   stop_rig($rig)
#   url($rig, $mailbox)             where a client asks for it
#   stranger($rig, $mailbox)        what somebody sees who does not log on
#   seen($status, $text)            an answer in short: "401", "200 otto ex1"
#   logons($rig, $user)             how many of his were completed on ex1 and
#                                   ex2: "1 0".  Servers log after they answer,
#                                   so ask when they are stopped
#   mixed($rig)                     connections of servers that carried a logon
#                                   and requests of more than one client
#                                   connection
#   live_logons($rig)               connections that carried a logon and are
#                                   established
#   ends_clean($rig, $what)         tests: three seconds after the clients are
#                                   gone there are no live_logons(), and nobody
#                                   was mixed(); stops the rig
#
# Servers:
#
#   start_apache($name, $address, $port, %options)
#                                   Apache with mod_auth_gssapi: mechanisms
#                                   ("ntlmssp", "krb5"), users (the file of
#                                   rig_users()), env, persistent (it sends
#                                   "Persistent-Auth: true" as IIS does), tls,
#                                   keepalive (seconds)
#   start_service($name, $address, $port, \%env, @command)
#                                   any server that stays in the foreground;
#                                   waits until it listens
#   start_realm(services => [ "HTTP/NAME" ], users => [ NAMES ])
#                                   a KDC of CONTOSO.COM on 127.0.0.1.  Returns
#                                   a hash: env, keytab (of the services)
#   rig_users(@names)               a file of NTLM users: domain CONTOSO,
#                                   password "pw-" and the name
#
# Clients:
#
#   ticket($realm, $user)           the environment of one who has a ticket
#   rig_environment()               of one who speaks NTLM: OpenSSL with MD4
#   curls([ \%env, @arguments ], ...)
#                                   as many curls at the same time; for each a
#                                   list of answers: status, text, client (the
#                                   connection's name in the front end), route
#   rig_client($program)            a client that is told what to ask by lines
#                                   of JSON, see ntlm-client.py
#   $client->run(@requests)         answers in the same order
#   by_chance { ... }               what it returns, by the same chance each
#                                   time; ports go on being drawn at random
#
# All servers answer with one line (user, port of the client, server's name) and
# write the same log, see accesses().

use strict;
use warnings;

use Carp qw( croak );
use Exporter qw( import );
use File::Path qw( make_path );
use IO::Socket::INET;
use IPC::Open2 qw( open2 );
use JSON::PP;
use POSIX ();
use Time::HiRes qw( sleep time );

use Test::More;

use MapiRig;
use MapiRoad;

our @EXPORT = qw(
    start_rig stop_rig url stranger seen logons mixed live_logons ends_clean
    start_apache start_service start_realm rig_users
    ticket rig_environment curls rig_client by_chance
);

my $owner = $$;
my @running;
my $curls = 0;
my $seed = 0;

# who is stopped stops what he started
$SIG{$_} = sub { exit 1 } for qw( INT TERM HUP );


sub rig_users
{
    my (@names) = @_;
    my $file = run_folder() . '/users-' . join('-', scalar @names, $names[0]);

    spew($file, join '', map { "CONTOSO:$_:pw-$_\n" } @names);

    return $file;
}


# NTLM is MD4, which OpenSSL 3 keeps among its legacy algorithms

sub rig_environment
{
    my $file = run_folder() . '/openssl.cnf';

    spew($file, <<'EOT') if !-e $file;
openssl_conf = start
[start]
providers = providers
[providers]
default = active
legacy = active
[active]
activate = 1
EOT

    return { OPENSSL_CONF => $file };
}


sub start_rig
{
    my ($name, %o) = @_;
    my $backend;

    # both addresses have the same port

    do {
        $backend = free_port('127.0.0.11');
    } until IO::Socket::INET->new(LocalAddr => '127.0.0.12', Listen => 1,
                                  LocalPort => $backend, ReuseAddr => 1);

    my @servers = map { $o{servers}->("$name-ex$_", "127.0.0.1$_", $backend) }
                  1, 2;

    my $directory = '';

    if ($o{location} =~ /mapi on/) {
        $directory = 'mapi_directory '
                     . make_directory("$name-directory", directory_csv()) . ';';
    }

    my $port = free_port();
    my $workers = $o{workers} || 1;
    my $scheme = $o{scheme} || 'http';
    my $both = join '', map { "server 127.0.0.$_:$backend;\n" } 11, 12;

    $o{upstream} =~ s/%SERVERS%/$both/;
    $o{upstream} =~ s/%PORT%/$backend/;

    my $front = start_nginx("$name-front", <<"EOT");
worker_processes $workers;
http {
    access_log off;
    large_client_header_buffers 8 64k;
    proxy_buffer_size 64k;
    proxy_buffers 4 64k;
    $directory

    upstream exchange {
        $o{upstream}
    }

    server {
        listen 127.0.0.1:$port;
        keepalive_timeout 60s;

        location / {
            $o{location}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Client \$connection;
            add_header X-Client \$connection always;
            add_header X-Route "\$mapi_route" always;
            proxy_pass $scheme://exchange;
        }
    }
}
EOT

    return { name => $name, port => $port, servers => \@servers,
             front => $front };
}


sub stop_rig
{
    my ($rig) = @_;

    stop_nginx($rig->{front});
    stop_service($_) for @{ $rig->{servers} };
}


sub url
{
    my ($rig, $mailbox, $host) = @_;

    return 'http://' . ($host || '127.0.0.1') . ":$rig->{port}"
           . '/mapi/emsmdb/?MailboxId=' . mailbox_id($mailbox);
}


sub stranger
{
    my ($rig, $mailbox) = @_;
    my $answer = ask($rig->{port}, mailbox_id($mailbox));

    return seen($answer->{status}, $answer->{body});
}


sub seen
{
    my ($status, $text) = @_;

    return $status || $text if $status != 200;

    my ($user, $server) = $text =~ /(\S+) \d+ \S*(ex\d)\.contoso\.com/
        or return "$status $text";

    # NTLM and Kerberos spell it differently
    $user =~ s/^CONTOSO\\|\@CONTOSO.*//g;

    return "$status $user $server";
}


sub ends_clean
{
    my ($rig, $what) = @_;
    my $deadline = time() + 3;
    my @live;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    while (@live = live_logons($rig)) {
        last if time() > $deadline;
        sleep 0.05;
    }

    is("@live", '', "$what: clients gone, no connection with a logon is left");
    stop_rig($rig);
    is(join(', ', mixed($rig)), '', "$what: no connection has served two");
}


sub start_apache
{
    my ($name, $address, $port, %o) = @_;
    my $prefix = run_folder() . "/$name";
    my $modules = '/usr/lib/apache2/modules';
    my $persistent = $o{persistent} ? 'Header set Persistent-Auth true' : '';
    my $user = $> == 0 ? "User www-data\nGroup www-data" : '';
    my $mechanisms = join "\n        ",
                     map { "GssapiAllowedMech $_" } @{ $o{mechanisms} };
    my $keepalive = defined $o{keepalive} ? $o{keepalive} : 120;
    my @modules = qw( mpm_event authn_core authz_core authz_user alias filter
                      include buffer headers auth_gssapi );
    my $tls = '';

    if ($o{tls}) {
        my ($crt, $key) = certificate('contoso.com');

        push @modules, 'ssl';
        $tls = "SSLEngine on\nSSLCertificateFile \"$crt\"\n"
               . "SSLCertificateKeyFile \"$key\"\nSSLSessionCache none";
    }

    my $load = join "\n", map { "LoadModule ${_}_module $modules/mod_$_.so" }
                          @modules;

    make_path("$prefix/pages");

    spew("$prefix/pages/who", join ' ',
         map { "<!--#echo var=\"$_\" -->" }
         qw( REMOTE_USER REMOTE_PORT SERVER_NAME ));

    # %k is 0 for the first request of a connection

    spew("$prefix/httpd.conf", <<"EOT");
$load
$user
ServerRoot "$prefix"
DefaultRuntimeDir "$prefix"
PidFile "$prefix/pid"
ServerName $name.contoso.com
UseCanonicalName On
Listen $address:$port
ErrorLog "$prefix/error.log"
$tls
LogFormat '%k %{remote}p %>s "%u" "%{Authorization}i" "%{X-Client}i"' rig
CustomLog "$prefix/access.log" rig

StartServers 1
ServerLimit 1
ThreadsPerChild 32
MinSpareThreads 1
MaxSpareThreads 32
MaxRequestWorkers 32
KeepAlive On
KeepAliveTimeout $keepalive
MaxKeepAliveRequests 0
TimeOut 120

AliasMatch ".*" "$prefix/pages/who"

<Directory "/">
    Require all denied
</Directory>

<Directory "$prefix/pages">
    Options +Includes
    # in one piece, hence with a Content-Length
    SetOutputFilter INCLUDES;BUFFER
    AuthType GSSAPI
    AuthName "mailboxes"
    GssapiSSLonly Off
    GssapiConnectionBound On
    $mechanisms
    $persistent
    Require valid-user
</Directory>
EOT

    my %env = (%{ rig_environment() }, %{ $o{env} || {} });

    $env{NTLM_USER_FILE} = $o{users} if defined $o{users};

    my $server = start_service($name, $address, $port, \%env,
                               'apache2', '-D', 'FOREGROUND',
                               '-f', "$prefix/httpd.conf");

    $server->{access} = "$prefix/access.log";
    $server->{error} = "$prefix/error.log";

    return $server;
}


sub start_service
{
    my ($name, $address, $port, $env, @command) = @_;
    my $output = run_folder() . "/$name.out";
    my $deadline = time() + 30;

    my $pid = fork();
    defined $pid or croak "fork: $!";

    # a group of its own: what it starts ends with it

    if ($pid == 0) {
        setpgrp(0, 0);
        %ENV = (%ENV, %$env);
        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>', $output);
        open(STDERR, '>&', \*STDOUT);
        exec {$command[0]} @command or POSIX::_exit(127);
    }

    my $server = { name => $name, address => $address, port => $port,
                   pid => $pid, output => $output };

    push @running, $server;

    while (!listens($server)) {
        if (waitpid($pid, POSIX::WNOHANG()) != 0) {
            $server->{pid} = 0;
            croak "$name does not start: " . complaint($server);
        }

        time() < $deadline or croak "$name does not listen";
        sleep 0.05;
    }

    return $server;
}


# Whether this process listens there: to connect is no proof, where another test
# file has taken the port.

sub listens
{
    my ($server) = @_;
    my ($inode) = map { $_->{inode} }
                  grep { $_->{state} eq '0A' } sockets($server) or return 0;

    for my $file (glob "/proc/$server->{pid}/fd/*") {
        my $target = readlink $file;
        return 1 if defined $target && $target eq "socket:[$inode]";
    }

    return 0;
}


# the sockets of this address and port, as the kernel lists them

sub sockets
{
    my ($server) = @_;
    my $local = sprintf '%08X:%04X',
                unpack('L', pack 'C4', split /\./, $server->{address}),
                $server->{port};

    return map {
        my (undef, $from, $to, $state, @rest) = split;

        $from eq $local
            ? { state => $state, inode => $rest[5],
                port => hex((split /:/, $to)[1]) }
            : ();
    } grep { /^\s*\d+:/ } split /\n/, slurp('/proc/net/tcp');
}


sub complaint
{
    my ($server) = @_;
    my $prefix = run_folder() . "/$server->{name}";

    return join "\n", map { slurp($_) }
           grep { -e } $server->{output}, "$prefix/error.log";
}


sub stop_service
{
    my ($server) = @_;
    my $deadline = time() + 10;

    return if !$server->{pid};

    kill 'TERM', $server->{pid};

    while (waitpid($server->{pid}, POSIX::WNOHANG()) == 0) {
        last if time() > $deadline;
        sleep 0.02;
    }

    kill 'KILL', -$server->{pid};
    $server->{pid} = 0;
}


# What a server logged: hashes of connection (a name, unique in the server's
# life), port, status, user, scheme and client (the front end's client
# connection).  A line is
#
#   COUNT PORT STATUS "USER" "AUTHORIZATION" "CLIENT"
#
# with the count of requests before this one on the connection.

sub accesses
{
    my ($server) = @_;
    my (%opened, @accesses);

    for (split /\n/, slurp($server->{access})) {
        my ($count, $port, $status, $user, $logon, $client)
            = /^(\d+) (\d+) (\d+) "([^"]*)" "([^"]*)" "([^"]*)"$/
            or croak "what is this in $server->{access}: $_";

        my ($scheme) = $logon =~ /^(NTLM|Negotiate) \S/;

        $opened{$port}++ if $count == 0 || !$opened{$port};

        push @accesses, {
            connection => "$port." . $opened{$port}, port => $port,
            status => $status, user => $user eq '-' ? undef : $user,
            scheme => $scheme,
            client => $client eq '-' ? undef : $client,
        };
    }

    return @accesses;
}


sub logons
{
    my ($rig, $user) = @_;

    return join ' ', map {
        scalar grep { defined $_->{scheme} && defined $_->{user}
                      && $_->{user} =~ /\b\Q$user\E\b/
                      && $_->{status} == 200 } accesses($_);
    } @{ $rig->{servers} };
}


sub tainted
{
    return map { $_->{connection} => 1 } grep { defined $_->{scheme} } @_;
}


sub mixed
{
    my ($rig) = @_;
    my @mixed;

    for my $server (@{ $rig->{servers} }) {
        my @accesses = accesses($server);
        my %tainted = tainted(@accesses);
        my %clients;

        for (grep { $tainted{ $_->{connection} } } @accesses) {
            $clients{ $_->{connection} }{ $_->{client} || 'none' } = 1;
        }

        push @mixed, map { "$server->{name}: $_" }
                     grep { keys %{ $clients{$_} } > 1 } sort keys %clients;
    }

    return @mixed;
}


sub live_logons
{
    my ($rig) = @_;
    my @live;

    for my $server (@{ $rig->{servers} }) {
        my %connected = map { $_->{port} => 1 }
                        grep { $_->{state} eq '01' } sockets($server);
        my @accesses = accesses($server);
        my %tainted = tainted(@accesses);

        # of several connections of one port the last may be alive

        my %last = map { $_->{port} => $_->{connection} } @accesses;

        push @live, map { "$server->{name}: $_" }
                    grep { $tainted{ $last{$_} } && $connected{$_} }
                    sort keys %last;
    }

    return @live;
}


sub start_realm
{
    my (%o) = @_;
    my $prefix = run_folder() . '/realm';
    my $port = free_port();

    make_path($prefix);

    spew("$prefix/krb5.conf", <<"EOT");
[libdefaults]
    default_realm = CONTOSO.COM
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    CONTOSO.COM = {
        kdc = 127.0.0.1:$port
    }
[domain_realm]
    .contoso.com = CONTOSO.COM
EOT

    spew("$prefix/kdc.conf", <<"EOT");
[kdcdefaults]
    kdc_listen = 127.0.0.1:$port
    kdc_tcp_listen = 127.0.0.1:$port
[realms]
    CONTOSO.COM = {
        database_name = $prefix/principal
        key_stash_file = $prefix/stash
        acl_file = $prefix/acl
        supported_enctypes = aes256-cts-hmac-sha1-96:normal
    }
[logging]
    kdc = FILE:$prefix/kdc.log
EOT

    my $env = { KRB5_CONFIG => "$prefix/krb5.conf",
                KRB5_KDC_PROFILE => "$prefix/kdc.conf",
                KRB5RCACHENAME => 'none:' };

    run_command($env, 'kdb5_util', 'create', '-s', '-P', 'secret');

    my $keytab = "$prefix/keytab";
    my @queries = ((map { ("addprinc -randkey $_", "ktadd -k $keytab $_") }
                    @{ $o{services} }),
                   (map { "addprinc -pw pw-$_ $_" } @{ $o{users} }));

    run_command({ %$env, QUERIES => join "\n", @queries }, 'sh', '-c',
                'echo "$QUERIES" | kadmin.local');

    # workers of root's Apache are somebody else
    chmod 0644, $keytab;

    start_service('kdc', '127.0.0.1', $port, $env, 'krb5kdc', '-n');

    return { env => $env, keytab => $keytab, prefix => $prefix };
}


sub ticket
{
    my ($realm, $user) = @_;
    my $env = { %{ $realm->{env} },
                KRB5CCNAME => "FILE:$realm->{prefix}/ticket-$user" };

    run_command({ %$env, PASSWORD => "pw-$user", USER => $user }, 'sh', '-c',
                'echo "$PASSWORD" | kinit "$USER"');

    return $env;
}


sub rig_client
{
    my ($program) = @_;

    local %ENV = (%ENV, %{ rig_environment() });

    # Debian's python3 is the one that has Debian's modules

    my $pid = open2(my $out, my $in, '/usr/bin/python3', $program);

    $in->autoflush(1);

    return bless { in => $in, out => $out, pid => $pid,
                   json => JSON::PP->new->canonical }, __PACKAGE__;
}


sub run
{
    my ($self, @requests) = @_;

    print { $self->{in} } $self->{json}->encode(\@requests) . "\n";

    my $line = readline $self->{out};
    defined $line or croak 'the client has died';

    return @{ $self->{json}->decode($line) };
}


sub finish
{
    my ($self) = @_;

    close $self->{in};
    close $self->{out};
    waitpid($self->{pid}, 0);
}


sub by_chance (&)
{
    my ($code) = @_;

    srand ++$seed;
    my @result = $code->();
    srand;

    return @result;
}


sub curls
{
    my (@jobs) = @_;
    my $form = ' | %{http_code} %header{x-client} %header{x-route} |\n';
    my (@files, @pids, @results);

    for my $job (@jobs) {
        my ($env, @arguments) = @$job;
        my $file = run_folder() . "/curl-$$-" . ++$curls;
        my $pid = fork();

        defined $pid or croak "fork: $!";

        # -q: nobody's ~/.curlrc; Debian's curl is the one that has GSSAPI

        if ($pid == 0) {
            %ENV = (%ENV, %$env);
            open(STDOUT, '>', $file);
            open(STDERR, '>', "$file.err");
            exec '/usr/bin/curl', '-q', '-sS', '-m', 30, '--noproxy', '*',
                 '-w', $form, @arguments or POSIX::_exit(127);
        }

        push @files, $file;
        push @pids, $pid;
    }

    for my $i (0 .. $#jobs) {
        waitpid($pids[$i], 0);
        $? == 0 or diag("curl: " . slurp("$files[$i].err"));

        my $text = slurp($files[$i]);
        my @answers;

        while ($text =~ /\G(.*?) \| (\d+) (\S*) (\S*) \|\n/gs) {
            push @answers, { text => $1, status => $2, client => $3,
                             route => $4 };
        }

        push @results, \@answers;
    }

    return @results;
}


sub run_command
{
    my ($env, @command) = @_;

    my $pid = open(my $fh, '-|');
    defined $pid or croak "fork: $!";

    if ($pid == 0) {
        %ENV = (%ENV, %$env);
        open(STDERR, '>&', \*STDOUT);
        exec {$command[0]} @command or POSIX::_exit(127);
    }

    local $/;
    my $output = <$fh>;

    close $fh or croak "$command[0] failed: $output";

    return defined $output ? $output : '';
}


END {
    if ($$ == $owner) {
        my $status = $?;

        stop_service($_) for @running;
        $? = $status;
    }
}

1;
