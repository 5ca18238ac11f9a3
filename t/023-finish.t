# How an answer in chunks ends: in the same packet as its last bytes, once, and
# with nothing behind it.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

use IO::Compress::Gzip qw( gzip );
use Socket qw( IPPROTO_TCP SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in );
use Time::HiRes qw( sleep );

my ($port, $backend) = (free_port(), free_port('127.0.0.11'));
my $server = listen_on('127.0.0.11', $backend);
my $mailbox = mailbox_id(1);

my $head = "HTTP/1.1 200 OK\r\nContent-Type: application/mapi-http\r\n"
           . "Transfer-Encoding: chunked\r\n\r\n";
my $meta = "PROCESSING\r\nDONE\r\nX-ElapsedTime: 5\r\n\r\n";
my $end = "0\r\n\r\n";

my $front;

sub front_end
{
    my (%o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();
    $front = start_nginx("front$port",
                         road_http(port => $port, backend => $backend,
                                   hosts => [ 11 ], alive => [],
                                   upstream => "mapi;\n%SERVERS%keepalive 4;",
                                   %o));
}


sub chunk
{
    my ($text) = @_;

    return sprintf("%x\r\n", length $text) . "$text\r\n";
}


# what a client reads of the body, as it comes on the wire

sub rest
{
    my ($client, $pattern) = @_;

    return $client->read_until($pattern || qr/(?:^|\r\n)0\r\n\r\n/);
}


# Linux's struct tcp_info: segments with data that have come in

sub segments
{
    my ($client) = @_;
    my $info = getsockopt($client->{socket}, IPPROTO_TCP, 11);

    length $info >= 156 or die 'this kernel does not count segments';

    return unpack 'x152 L', $info;
}


sub begin
{
    my ($client, $peer, $text) = @_;

    $client->send($text || post($mailbox));
    $peer ||= $server->accept;
    $peer->read_request or return;

    return $peer;
}


front_end();

{
    my $client = connect_to($port);
    my $peer;

    for my $n (1 .. 3) {
        $peer = begin($client, $peer);

        my $before = segments($client);

        $peer->send($head . chunk($meta) . chunk("payload $n") . $end);
        my $answer = $client->read_answer;

        is($answer->{body}, "${meta}payload $n", "answer $n is whole");
        ok($answer->{complete}, '... and ends');
        is(segments($client) - $before, 1, '... in one packet');
    }

    # the end comes alone, and so it goes

    begin($client, $peer);
    $peer->send($head . chunk($meta));
    ok($client->read_until(qr/X-ElapsedTime: 5\r\n\r\n\r\n/),
       'an answer without its end passes');
    ok(!$client->ready(0.2), '... and is not ended by us');
    $peer->send($end);
    is(rest($client), $end, '... before its server ends it');

    # chunks over time, the last with the end

    begin($client, $peer);
    $peer->send($head . chunk("PROCESSING\r\n"));
    ok($client->read_until(qr/PROCESSING\r\n\r\n/), 'the first chunk passes');
    $peer->send(chunk("PENDING\r\n"));
    ok($client->read_until(qr/PENDING\r\n\r\n/), '... and the second');

    my $before = segments($client);

    $peer->send(chunk("DONE\r\n\r\npayload") . $end);
    is(rest($client), chunk("DONE\r\n\r\npayload") . $end, '... and the last');
    is(segments($client) - $before, 1, '... with the end, in one packet');

    # an answer with nothing in it, and one with a length

    begin($client, $peer);
    $peer->send($head . $end);
    is($client->read_answer->{body}, '', 'an empty answer ends');

    begin($client, $peer);
    $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour");
    is($client->read_answer->{body}, 'four', 'an answer with a length passes');

    begin($client, $peer,
          request('HEAD', "/mapi/emsmdb/?MailboxId=$mailbox"));
    $peer->send($head);
    is($client->read_answer(1)->{status}, 200, 'HEAD has no body');

    $_->close for $client, $peer;
}

{
    my $client = connect_to($port);
    my $body = join '', map { chr(rand 256) } 1 .. 1000000;
    my $peer = begin($client);

    if (!fork) {
        $peer->send($head . join('', map { chunk($_) } unpack '(a9999)*', $body)
                    . $end);
        POSIX::_exit(0);
    }

    sleep 0.5;
    my $answer = $client->read_answer;
    ok($answer->{complete} && $answer->{body} eq $body,
       'a million bytes arrive whole at a client that begins late');
    wait;

    $_->close for $client, $peer;

    # HTTP/1.0 has no chunks: the connection's end is the answer's

    $client = connect_to($port);
    $peer = begin($client, undef, "POST /mapi/emsmdb/?MailboxId=$mailbox "
                                  . "HTTP/1.0\r\nHost: a\r\n\r\n");
    $peer->send($head . chunk($meta) . $end);
    $answer = $client->read_answer;
    is($answer->{body}, $meta, 'a client with HTTP/1.0 gets the text alone');
    ok($client->at_end, '... and the end of its connection');
    $_->close for $client, $peer;

    # a server that dies in the middle

    $client = connect_to($port);
    $peer = begin($client);
    $peer->send($head . chunk($meta));
    $client->read_until(qr/X-ElapsedTime: 5\r\n\r\n\r\n/);
    $peer->close;
    ok($client->at_end, 'an answer that breaks off has no end');
    $client->close;
}


# a client that reads nothing: what no socket takes stays with nginx

sub small_client
{
    my ($slow) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'tcp');

    $socket->setsockopt(SOL_SOCKET, SO_RCVBUF, 4096);
    $socket->connect(pack_sockaddr_in($slow, inet_aton('127.0.0.1')))
        or die "connect: $!";

    return MapiRoad::End->new($socket);
}


sub blocked
{
    my ($slow) = @_;
    my $client = small_client($slow);
    my $peer = begin($client);

    $peer->send($head);

    for (1 .. 100) {
        $peer->send(chunk('a' x 400));
        sleep 0.005;
    }

    $peer->send(chunk('last') . $end);
    sleep 0.2;

    return ($client, $peer);
}

{
    my $slow = free_port();
    my $many = 'a' x 40000;

    front_end(server => "listen 127.0.0.1:$slow sndbuf=4k;",
              location => 'proxy_buffer_size 64k; proxy_busy_buffers_size 64k;
                           proxy_buffers 8 64k;');

    my ($client, $peer) = blocked($slow);
    is($client->read_answer->{body}, "${many}last",
       'an end that has to wait comes');
    is(begin($client, $peer), $peer, '... and the connection serves on');
    $peer->send($head . chunk('next') . $end);
    is($client->read_answer->{body}, 'next', '... with the next answer');
    $_->close for $client, $peer;

    # nginx goes on reading as long as the client has not got the rest, and
    # would keep the connection after each end that it reads

    for my $more ([ chunk('more') . $end ],
                  [ chunk('more') . chunk('and more'), $end ])
    {
        ($client, $peer) = blocked($slow);

        for (@$more) {
            $peer->send($_);
            sleep 0.2;
        }

        is($client->read_answer->{body}, "${many}last",
           'what a server says behind its end is dropped');

        $client->send(post($mailbox));
        my $other = $server->accept(10);
        ok($other, '... and nobody else gets its connection')
            or $other = $peer;
        $other->read_request;
        $other->send($head . chunk('next') . $end);
        is($client->read_answer->{body}, 'next',
           '... and the next answer is that of the next request');

        $_->close for $client, $peer, $other;
    }
}


# what others put in between

front_end(location => 'addition_types *; add_after_body /after;',
          server => 'location = /after { return 200 "and after"; }');

{
    my $client = connect_to($port);
    my $peer = begin($client);

    $peer->send($head . chunk($meta) . $end);
    my $answer = $client->read_answer;
    is($answer->{body}, "${meta}and after", 'add_after_body stands at the end');
    ok($answer->{complete}, '... and the end behind it');
    $_->close for $client, $peer;
}

# the copy filter passes on copies, one by one: none of them is the last

front_end(http => 'charset_map koi8-r windows-1251 { C1 E0; }',
          location => 'charset windows-1251; source_charset koi8-r;
                       charset_types *;');

{
    my $client = connect_to($port);
    my $peer = begin($client);

    $peer->send($head . chunk($meta) . chunk("payload \xc1") . $end);
    my $answer = $client->read_answer;
    is($answer->{body}, "${meta}payload \xe0",
       'what is translated between character sets arrives whole');
    ok($answer->{complete}, '... and ends');
    is(begin($client, $peer), $peer, '... and the connection serves on');
    $_->close for $client, $peer;
}

# gunzip may write its last bytes when nginx has let the server go already:
# the last byte of these 4k pages has been unpacked, and there is no page left
# for the end

{
    my $slow = free_port();
    my $many = 'a' x 409600;

    gzip(\$many => \my $packed) or die 'gzip';

    front_end(server => "listen 127.0.0.1:$slow sndbuf=4k;
                         location = /after { return 200 'and after'; }",
              location => 'gunzip on; gunzip_buffers 2 4k;
                           addition_types *; add_after_body /after;');

    # how much the sockets take decides whether it comes to that

    for (1 .. 4) {
        my $client = small_client($slow);
        my $peer = begin($client);

        $peer->send($head =~ s/\r\n\r\n/\r\nContent-Encoding: gzip\r\n\r\n/r
                    . chunk($packed) . $end);
        sleep 0.3;
        my $answer = $client->read_answer;
        ok($answer->{complete} && $answer->{body} eq "${many}and after",
           'an end that comes when the server has been let go is sent');
        $_->close for $client, $peer;
    }
}

# trailers of our own know what is known when nginx has let the server go

front_end(location => 'add_trailer X-Time $upstream_response_time;');

{
    my $client = connect_to($port);
    my $peer = begin($client);

    $peer->send($head . chunk($meta) . $end);
    like(rest($client, qr/\r\n0\r\n.*?\r\n\r\n/s),
         qr/\r\n0\r\nX-Time: [\d.]+\r\n\r\n\z/,
         'the trailers of add_trailer know how long it took');
    $_->close for $client, $peer;
}

# trailers stand between the last bytes and the end (nginx 1.27.2 and later)

my ($major, $minor) = `$ENV{TEST_NGINX_BINARY} -v 2>&1` =~ /1\.(\d+)\.(\d+)/;

if ($major * 1000 + $minor >= 27002) {
    front_end(proxy => 'proxy_http_version 1.1; proxy_pass_trailers on;
                        proxy_set_header Connection "";');

    my $client = connect_to($port);
    my $peer = begin($client);

    $peer->send($head . chunk($meta) . "0\r\nX-Trailer: said\r\n\r\n");
    is(rest($client, qr/0\r\nX-Trailer: said\r\n\r\n/) =~ s/.*?\r\n\r\n//sr,
       chunk($meta) . "0\r\nX-Trailer: said\r\n\r\n", 'trailers pass');
    $_->close for $client, $peer;
}

front_end(mapi => 'observe', upstream => '%SERVERS%keepalive 4;',
          location => 'proxy_buffering off;');

{
    my $client = connect_to($port);
    my $peer = begin($client);

    my $before = segments($client);

    $peer->send($head . chunk($meta) . chunk('payload') . $end);
    is($client->read_answer->{body}, "${meta}payload",
       'an observed answer is left as it is');
    is(segments($client) - $before, 2, '... and its end comes alone');
    $_->close for $client, $peer;
}

done_testing();
