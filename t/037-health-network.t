# What the network does to a road and its checks: connections that are refused
# late, hosts that are gone, no ports left.  In a network of its own, where that
# harms nobody.

BEGIN {
    if (!$ENV{MAPI_OWN_NETWORK}) {
        if (system('unshare -n true 2>/dev/null') != 0) {
            print "1..0 # SKIP a network of its own needs root\n";
            exit 0;
        }

        $ENV{MAPI_OWN_NETWORK} = 1;
        exec 'unshare', '-n', $^X, $0, @ARGV or die "unshare: $!\n";
    }
}

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use MapiRig;
use MapiRoad;

ip('link set lo up');

my $backend = free_port('127.0.0.11');
my $pages = free_port('127.0.0.11');
my $directory = make_directory('network', directory_csv());
my $port;


sub ip { system("ip $_[0]") == 0 or die "ip $_[0]\n" }


# 127.0.0.12 and 127.0.0.13 answer; all health pages are open, on another port

sub front_end
{
    my ($name, $upstream, %o) = @_;

    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
        alive => [ 12, 13 ], upstream => "mapi;\n$upstream\n",
        http => "mapi_zone mapi 1m;\nmapi_directory $directory;\n"
                . 'server {' . join('', map { "listen 127.0.0.$_:$pages;" }
                                    11 .. 13)
                . 'location / { return 200 "200 OK"; } }' . "\n", %o));
}


# connections that wait for the answer to their SYN at 127.0.0.11

sub waiting
{
    my $remote = sprintf '0B00007F:%04X 02', $backend;

    return scalar grep { / \Q$remote\E / } split /\n/, slurp('/proc/net/tcp');
}


# A listener whose queue is full drops each SYN; when it has gone, the next
# one meets a reset, a second later.  So fail all that are sent meanwhile.

sub refuse_late
{
    my ($during) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.11',
        LocalPort => $backend, Listen => 1, ReuseAddr => 1) or die "listen: $!";
    my @queue;

    listen $listener, 0;

    while (!waiting()) {
        push @queue, IO::Socket::INET->new(PeerAddr => '127.0.0.11',
            PeerPort => $backend, Blocking => 0) or die "connect: $!";
    }

    my $before = waiting();
    my $count = $during->();

    wait_for { waiting() == $before + $count };
    close $listener;
    close $_ for @queue;
}


# with active checks, too, such failures of requests count

for my $case ([ 'checked', "mapi_health_check port=$pages;" ],
              [ 'unchecked', '' ])
{
    my ($name, $check) = @$case;
    my $front = front_end("late-$name", "$check\n" . join '', map {
        "server 127.0.0.$_:$backend max_fails=2 fail_timeout=10m;\n" }
        11 .. 13);
    my @clients = map { connect_to($port) } 1 .. 2;

    if ($check) {
        wait_for { log_of($front) =~ /\.$_:$backend of .* is alive/ }
            for 11 .. 13;
    }

    refuse_late(sub { $_->send(post(mailbox_id(1))) for @clients; 2 });

    for (@clients) {
        my $answer = $_->read_answer;

        is($answer->{status}, 200, "$name: a late refusal costs no request");
        $_->close;
    }

    like(log_of($front), qr/connect\(\) failed \(111: Connection refused\)/,
         '... and was late');

    my $back = listen_on('127.0.0.11', $backend);

    my $client = connect_to($port);

    $client->send(post(mailbox_id(1)));
    is(speaker($client, $back), $client, '... but the server has failed twice');
    $_->close for $client, $back;
    stop_nginx($front);
}


# A host that is powered off does not answer its neighbours' ARP, and these hear
# "no route to host" within three seconds: it is silent, it refuses nothing.
# What hangs on it ends.

{
    my $gone = '10.77.0.1';

    ip("addr add $gone/32 dev lo");

    my $server = listen_on($gone, $backend);
    my $front = front_end('gone', "mapi_health_check interval=100ms "
        . "timeout=2s fails=2 type=tcp;\nserver $gone:$backend;\n"
        . "server 127.0.0.12:$backend backup;");

    wait_for { log_of($front) =~ /\Q$gone\E:$backend of .* is alive/ };

    my @polls = map { connect_to($port) } 1 .. 5;

    $_->send(post(mailbox_id(1))) for @polls;
    wait_for { 5 == (() = log_of($front) =~ /http upstream send request body/g) };
    ip("addr del $gone/32 dev lo");
    ip("route add unreachable $gone/32");
    wait_for { log_of($front) =~ /\Q$gone\E:$backend of .* is dead/ };
    like(log_of($front), qr/\Q$gone\E:$backend of .* is dead: it does not answer in time/,
         'a host that cannot be reached is silent');

    my %status;

    $status{ $_->read_answer->{status} }++ for @polls;
    is_deeply(\%status, { 504 => 5 }, '... what hangs on it ends');
    $_->close for @polls, $server;
    stop_nginx($front);
}


# No port left for one more connection to a server: that is our own lack.

sub ports { spew('/proc/sys/net/ipv4/ip_local_port_range', "$_[0]\n") }

sub connect_from
{
    my ($own) = @_;

    return MapiRoad::End->new(IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $port, LocalPort => $own, Proto => 'tcp', ReuseAddr => 1)
        || die "connect: $!");
}

{
    my $usual = slurp('/proc/sys/net/ipv4/ip_local_port_range');
    my $server = listen_on('127.0.0.11', $backend);
    my $front = front_end('ports', join '', map {
        "server 127.0.0.$_:$backend fail_timeout=10m;\n" } 11 .. 13);
    my @polls = map { connect_from(31000 + $_) } 1 .. 2;

    ports('20000 20001');
    $_->send(post(mailbox_id(1))) for @polls;

    my @held = map { $server->accept } @polls;
    my $client = connect_from(31003);

    $client->send(post(mailbox_id(1)));
    isnt(header($client->read_answer, 'X-Server'), '127.0.0.11',
         'no port left: another server is asked');
    like(log_of($front), qr/connect\(\) to 127\.0\.0\.11:$backend failed \(99: /,
         '... for that reason');
    ports($usual);
    $client->send(post(mailbox_id(1)));

    my $next = speaker($client, $server);

    is($next, $server, '... and the server has failed nobody');
    $_->close for $client, $server, @held, @polls;
    stop_nginx($front);
}

{
    my $usual = slurp('/proc/sys/net/ipv4/ip_local_port_range');
    my $front = front_end('check-ports', "mapi_health_check port=$pages "
        . 'interval=100ms timeout=2s fails=2;' . join '', map {
        "server 127.0.0.$_:$backend;\n" } 11 .. 13);

    wait_for { log_of($front) =~ /\.$_:$backend of .* is alive/ } for 11 .. 13;

    my @taken = map { IO::Socket::INET->new(LocalPort => $_, Proto => 'tcp')
                      || die "bind: $!" } 20002, 20003;

    ports('20002 20003');
    wait_for { 20 < (() = log_of($front) =~ /: nothing was found out, st/g) };
    ports($usual);
    unlike(log_of($front), qr/is dead/, 'no port for checks: no verdict');
    close $_ for @taken;
    stop_nginx($front);
}


# The same error for ever: IPv6 is switched off, and a server has such an
# address.  That is no lack of ports, and no server to go to.

{
    my $switch = '/proc/sys/net/ipv6/conf/lo/disable_ipv6';

    spew($switch, "1\n");

    my $front = front_end('no-address', "server [::1]:$backend max_fails=1 "
        . "fail_timeout=10m;\nserver 127.0.0.12:$backend backup;");

    is(ask($port, mailbox_id(4711))->{status}, 200, 'no way to an address')
        for 1 .. 2;
    is(() = log_of($front) =~ /connect\(\) to \[::1\]:$backend failed \(99: /g,
       1, '... is its failure');
    stop_nginx($front);

    $front = front_end('check-no-address', "mapi_health_check port=$pages "
        . 'interval=100ms timeout=2s fails=2;'
        . "server [::1]:$backend;\nserver 127.0.0.12:$backend;");
    ok(eval { wait_for { log_of($front) =~ /\[::1\]:$backend of .* is dead/ } },
       '... which checks find, too');
    stop_nginx($front);
    spew($switch, "0\n");
}

done_testing();
