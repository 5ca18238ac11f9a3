# What was once wrong with pins.

use strict;
use warnings;

use IO::Select;
use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 2;
my $directory = make_directory('pins', directory_csv());
my $port;

my ($one, $two) = map { ntlm_message($_) } 1, 2;


sub front_end
{
    my ($name, $lines, %o) = @_;

    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
                       hosts => [ 11, 12 ], alive => [],
                       upstream => "$lines\n", %o));
}


sub via { return carry(\@servers, @_) }
sub type1 { return "Authorization: NTLM $one" }
sub type3 { return 'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', $_[0]) }
sub challenge { return answer(401, "WWW-Authenticate: NTLM $two") }
sub plain { return post(mailbox_id($_[0])) }


sub logon
{
    my ($client, $request, $user, @known) = @_;
    my ($peer) = via($client, $request->(type1()), challenge(), @known);
    my ($again) = via($client, $request->(type3($user)), answer(200), $peer,
                      @known);

    is($again, $peer, "$user logs on");

    return $peer;
}


sub mailbox
{
    my ($n) = @_;

    return sub { return post(mailbox_id($n), @_) };
}


sub page
{
    my ($uri) = @_;

    return sub { return request('GET', $uri, @_) };
}

my $proxy = 'proxy_http_version 1.1; proxy_set_header Connection "";';


# a request that the road refuses, and an error_page that leads it on

for my $mapi ('mapi;', 'mapi owner;') {
    my $front = front_end("refused-$mapi" =~ tr/a-z-//cdr,
        "$mapi\n%SERVERS%keepalive 8;",
        location => 'error_page 400 404 405 = @rest;',
        server => "location \@rest { $proxy proxy_pass http://exchange; }");

    for my $request (request('GET', '/owa/', 'Authorization: Negotiate YIIFfQ=='),
                     request('POST', '/mapi/emsmdb/?MailboxId=bad',
                             'Content-Length: 0', type1()),
                     request('PUT', '/mapi/emsmdb/', 'Content-Length: 0',
                             type1()))
    {
        my ($what) = $request =~ /^(\S+ \S+)/;
        my $anna = connect_to($port);
        my ($mine) = via($anna, $request, answer(200));
        my $eve = connect_to($port);
        my ($peer) = via($eve, plain(1), answer(401), $mine);

        isnt($peer, $mine, "$mapi $what: its connection is nobody else's");
        $anna->close;
        ok($mine->at_end(5), '... and ends with its client');
        $_->close for $eve, $mine, $peer;
    }

    my $otto = connect_to($port);
    my $mine = logon($otto, page('/owa/'), 'otto');

    # in owner mode the block's own method goes on, round robin

    if ($mapi eq 'mapi;') {
        my ($peer) = via($otto, request('GET', '/owa/'), answer(200), $mine);
        is($peer, $mine, '... and a logon that begins there stays together');
    }

    $_->close for $otto, $mine;
    stop_nginx($front);
}


# one block with pins, another without: HTTP/1.1 is told nothing of HTTP/2

{
    my $front = front_end('off', "mapi;\nmapi_pin off;\n%SERVERS%keepalive 8;",
        http => "upstream other { mapi_pin on; server 127.0.0.12:$backend; }");
    my $otto = connect_to($port);
    my ($peer, $answer) = via($otto, plain(1),
                              answer(401, 'WWW-Authenticate: NTLM, Negotiate'));

    is($answer->{status}, 401, 'mapi_pin off: a challenge passes');
    is(header($answer, 'WWW-Authenticate'), 'NTLM, Negotiate', '... as it is');
    $_->close for $otto, $peer;
    stop_nginx($front);
}


# limits, losses and failures of one block

{
    my $front = front_end('blocks', "mapi_pin on;\nserver 127.0.0.11:$backend;",
        mapi => 'off',
        http => "upstream small { mapi_pin on max=1;"
                . " server 127.0.0.12:$backend; }\n"
                . "upstream round { mapi_pin on prefer=route;"
                . " server 127.0.0.11:$backend max_fails=1 fail_timeout=60s;"
                . " server 127.0.0.12:$backend max_fails=1 fail_timeout=60s; }",
        server => "location /b { $proxy proxy_pass http://small; }\n"
                  . "location /c { $proxy proxy_pass http://round; }\n");
    my $otto = connect_to($port);
    my $a = logon($otto, page('/a'), 'otto');
    my $b = logon($otto, page('/b'), 'otto', $a);

    for my $case ([ '/a', $a ], [ '/b', $b ]) {
        my ($uri, $mine) = @$case;
        my ($peer) = via($otto, request('GET', $uri), answer(200), $a, $b);

        is($peer, $mine, "max is one block's: $uri has its own");
    }

    # a logon that dies in use is lost as well

    $b->close;
    wait_for { log_of($front) =~ /pinned connection to .* closed, reason 1/ };
    $otto->send(request('GET', '/a'));
    $a->read_request;
    $a->close;

    my $peer = speaker(@servers)->accept;
    $peer->read_request;
    $peer->send(answer(401, 'WWW-Authenticate: NTLM'));
    my $answer = $otto->read_answer;

    is("$answer->{status} " . header($answer, 'Connection'), '401 close',
       'a logon that dies with a request is told as one that dies idle');
    $_->close for $otto, $peer;

    # no part of a logon is sent twice

    $otto = connect_to($port);
    ($a) = via($otto, request('GET', '/a', type1()), challenge());
    $otto->send(request('GET', '/a', type3('otto')));
    $a->read_request;
    $a->close;
    is($otto->read_answer->{status}, 502, 'a server that dies with a type 3');
    ok(!IO::Select->new(map { $_->{socket} } @servers)->can_read(0.2),
       '... gets it alone');
    $otto->close;

    # what was open says nothing of its server

    $otto = connect_to($port);
    my @mine = map { logon($otto, page('/c'), 'otto') } 1, 2;

    $otto->send(request('GET', '/c'));
    my $end = speaker(@mine);
    $end->read_request;
    $end->close;
    $peer = speaker(@servers)->accept;
    $peer->read_request;
    $peer->send(answer(200));
    $otto->read_answer;
    unlike(log_of($front), qr/temporarily disabled/,
           'a pinned connection that dies does not count against its server');
    $_->close for $otto, $peer, @mine;

    # a server that cannot is no logon

    $otto = connect_to($port);
    ($a) = via($otto, request('GET', '/a', type1()), answer(503));
    ($peer) = via($otto, request('GET', '/a'), answer(401), $a);
    isnt($peer, $a, 'an answer of 503 to a first message logs nobody on');
    $_->close for $otto, $peer, $a;

    stop_nginx($front);
}


# two users on one client connection, a handshake that was left

{
    my $front = front_end('users', "mapi owner;\n%SERVERS%keepalive 8;",
                          http => "mapi_directory $directory;");
    my $both = connect_to($port);
    my $anna = logon($both, mailbox(1), 'anna');
    my $bert = logon($both, mailbox(2), 'bert', $anna);

    ok($anna->at_end(5), 'who logs on as another is the first no more');
    my ($peer) = via($both, plain(1), answer(401), $bert);
    isnt($peer, $bert, '... and is asked at the other server');
    $peer->close;

    my $again = logon($both, mailbox(1), 'bert', $bert);
    ($peer) = via($both, plain(2), answer(200), $bert, $again);
    is($peer, $bert, 'but the same one has a logon on each');
    $_->close for $both, $anna, $bert, $again;

    my $otto = connect_to($port);
    my ($left) = via($otto, post(mailbox_id(1), type1()), challenge());
    my $mine = logon($otto, mailbox(2), 'otto', $left);

    is($mine->{socket}->sockhost, '127.0.0.12',
       'a first message goes to its own mailbox\'s server');
    ok($left->at_end(5), '... and ends a handshake that was left');
    $_->close for $otto, $left, $mine;
    stop_nginx($front);
}

# a drain by the health page in the middle of a handshake

{
    my $health = free_port('127.0.0.11');
    my $closed = run_folder() . '/closed';
    my $front = front_end('health', "mapi;\nmapi_health_check interval=100ms "
        . "timeout=2s fails=2 port=$health;\n%SERVERS%keepalive 8;",
        http => "mapi_zone mapi 1m;\nmapi_directory $directory;\n"
                . "server { listen 127.0.0.11:$health;"
                . " listen 127.0.0.12:$health; location / {"
                . " if (-f $closed.\$server_addr) { return 444; }"
                . ' return 200 "200 OK"; } }');
    my $otto = connect_to($port);

    wait_for { log_of($front) =~ /127.0.0.11:$backend .* is alive/ };
    my ($mine) = via($otto, post(mailbox_id(1), type1()), challenge());
    is($mine->{socket}->sockhost, '127.0.0.11', 'a logon begins');
    spew("$closed.127.0.0.11", '');
    wait_for { log_of($front) =~ /127.0.0.11:$backend .* is draining/ };

    my ($again, $answer) = via($otto, post(mailbox_id(1), type3('otto')),
                               answer(200), $mine);
    is($again, $mine, '... and ends where it began, though its server drains');
    is(header($answer, 'X-Route'), 'handshake', '... by the handshake');
    is(header($answer, 'Connection'), 'close', '... and then it has to go');
    $_->close for $otto, $mine;
    stop_nginx($front);
}

done_testing();
