# Reloads under load: every request on a connection that nginx has taken is
# answered, what hangs goes on hanging, logons and checks go on.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw( sleep time );
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $slow = listen_on('127.0.0.13', $backend);
my $directory = make_directory('reload', directory_csv());
my $reloads = $ENV{MAPI_RELOADS} || 10;
my $port = free_port();

# the servers are a process of their own, which nobody reloads

my $back = start_nginx('back', <<"EOF");
http {
    access_log off;
    server {
        listen 127.0.0.11:$backend;
        listen 127.0.0.12:$backend;
        location / { return 200 "\$server_addr\\n"; }
    }
}
EOF

my $front = start_nginx('front', "worker_processes 2;\n" . road_http(
    port => $port, backend => $backend, hosts => [ 11, 12, 13 ],
    alive => [],
    upstream => "zone z 256k;\nmapi;\nmapi_health_check uri=/ match= "
                . "interval=100ms timeout=5s fails=1000;\n%SERVERS%"
                . 'keepalive 16;',
    http => "mapi_zone mapi 1m;\nmapi_directory $directory;"));


# clients: a process that asks for mailboxes on the quick servers, each request
# on a connection of its own; says how many were answered, and how many not

my @clients;
my $stop = run_folder() . '/stop';

for my $client (1 .. 4) {
    pipe(my $read, my $write) or die "pipe: $!";
    my $pid = fork();

    if ($pid) {
        close $write;
        push @clients, { pid => $pid, read => $read };
        next;
    }

    close $read;
    my ($good, $bad) = (0, 0);

    # not by a signal, which would break off a read

    while (!-e $stop) {
        my $n = 1 + 3 * int(rand(10)) + int(rand(2));
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                           PeerPort => $port) or next;
        my $text = '';

        $socket->autoflush(1);
        print $socket post(mailbox_id($n), 'Connection: close');
        1 while sysread $socket, $text, 4096, length $text;
        close $socket;

        if ($text =~ m{^HTTP/1\.1 200 .*\r\n\r\n(127\.0\.0\.1\d)\n}s
            && $1 eq home_of($n))
        {
            $good++;
        } else {
            $bad++;
        }
    }

    print $write "$good $bad\n";
    close $write;
    POSIX::_exit(0);
}


# polls on the slow server, and connections that are logged on there

sub answer_checks
{
    # the slow server's checks hang: with fails=1000 that is no verdict
    while ($slow->ready(0)) {
        my $peer = $slow->accept;
        push @main::checks, $peer;
    }
}

my @polls;

for (1 .. 10) {
    my $client = connect_to($port);
    my ($peer, $request);

    $client->send(post(mailbox_id(3), 'X-Poll: yes'));

    # a check may come in between

    while (!$peer) {
        my $end = $slow->accept;
        $request = $end->read_request;
        $peer = $end if $request->{line} =~ /emsmdb/;
        push @main::checks, $end if !$peer;
    }

    $peer->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                . "c\r\nPROCESSING\r\n\r\n");
    $client->read_until(qr/PROCESSING/);
    push @polls, [ $client, $peer ];
}

for my $reload (1 .. $reloads) {
    reload_nginx($front);
    answer_checks();
}

for my $poll (@polls) {
    my ($client, $peer) = @$poll;

    $peer->send("9\r\nPENDING\r\n\r\n6\r\nDONE\r\n\r\n0\r\n\r\n");
    my $rest = $client->read_until(qr/DONE\r\n\r\n0\r\n\r\n/);
    like($rest, qr/PENDING.*DONE/s, "a poll has hung through $reloads reloads");
    $_->close for $client, $peer;
}

my ($good, $bad) = (0, 0);

spew($stop, '');

for my $client (@clients) {
    my $line = readline $client->{read};
    my ($g, $b) = split ' ', $line;

    $good += $g;
    $bad += $b;
    waitpid $client->{pid}, 0;
}

cmp_ok($good, '>', 20 * $reloads, "there was load: $good requests");
is($bad, 0, '... and none was lost, none at the wrong server');

stop_nginx($_) for $front, $back;
done_testing();
