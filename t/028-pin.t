# mapi_pin: a connection that was logged on serves the client connection that
# made it, and nobody else.

use strict;
use warnings;

use IO::Select;
use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $directory = make_directory('pins', directory_csv());
my $port;

my ($one, $two) = map { ntlm_message($_) } 1, 2;
my $me = '/mapi/emsmdb/?useMailboxOfAuthenticatedUser=true';


sub front_end
{
    my ($name, $lines, %o) = @_;

    $port = free_port();
    $o{http} = "mapi_directory $directory;" if !defined $o{http};

    return start_nginx($name, road_http(port => $port, backend => $backend,
                       alive => [], upstream => "$lines\n", %o));
}


sub via { return carry(\@servers, @_) }
sub type1 { return "Authorization: NTLM $one" }
sub type3 { return 'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', $_[0]) }
sub challenge { return answer(401, "WWW-Authenticate: NTLM $two") }


sub logon
{
    my ($client, $mailbox, $user, @known) = @_;
    my ($peer, $first) = via($client, post(mailbox_id($mailbox), type1()),
                              challenge(), @known);
    my ($again, $second) = via($client, post(mailbox_id($mailbox),
                                type3($user)), answer(200), $peer, @known);

    is($again, $peer, "$user logs on on one connection");
    is(header($second, 'X-Route'), 'handshake', '... by the handshake');

    return $peer;
}


sub plain { return post(mailbox_id($_[0])) }

sub address { return $_[0]{socket}->sockhost }


# whatever the pool is

for my $case ([ 'none', '' ], [ 'one', 'keepalive 1;' ],
              [ 'many', 'keepalive 64;' ], [ 'zone', 'keepalive 8;', 1 ])
{
    my ($name, $pool, $zone) = @$case;
    my $front = front_end($name, ($zone ? "zone z 256k;\n" : '')
                                 . "mapi;\n%SERVERS%$pool");
    my $otto = connect_to($port);
    my $mine = logon($otto, 1, 'otto');

    is(address($mine), '127.0.0.11', "$name: at the mailbox's server");

    my ($peer, $answer) = via($otto, plain(1), answer(200), $mine);
    is($peer, $mine, '... and stays on it');
    is(header($answer, 'X-Route'), 'directory', '... by the directory');
    is(header($answer, 'X-Target'), 'ex1.contoso.com', '... at that server');

    # its mailbox elsewhere: the logon counts for more

    ($peer, $answer) = via($otto, plain(2), answer(200), $mine);
    is($peer, $mine, 'another mailbox goes where the client has logged on');
    is(header($answer, 'X-Route'), 'pinned', '... because of that');
    is(header($answer, 'X-Target'), 'ex1.contoso.com', '... and says so');

    # others

    for my $what ([ 'a stranger' ], [ 'Basic', basic('eve') ],
                  [ 'Bearer', 'Authorization: Bearer abc' ],
                  [ 'another logon', type1() ])
    {
        my ($who, @headers) = @$what;
        my $eve = connect_to($port);
        ($peer) = via($eve, post(mailbox_id(1), @headers), answer(401),
                       $mine);

        isnt($peer, $mine, "$name: $who has another connection");
        $_->close for $peer, $eve;
    }

    # the client's own requests that are logged on by themselves

    for my $headers ([ basic('otto') ], [ 'Authorization: Bearer abc' ]) {
        ($peer) = via($otto, post(mailbox_id(1), @$headers), answer(200),
                       $mine);
        isnt($peer, $mine, "@$headers[0]: needs no pin");
        $peer->close;
    }

    ($peer) = via($otto, plain(1), answer(200), $mine);
    is($peer, $mine, '... and changes nothing for it');

    # at the end of its client

    $otto->close;
    ok($mine->at_end(5), "$name: it ends with its client");

    my $eve = connect_to($port);
    ($peer) = via($eve, plain(1), answer(401), $mine);
    isnt($peer, $mine, '... and is nobody else\'s');
    $_->close for $eve, $peer, $mine;

    stop_nginx($front);
    like(log_of($front), qr/\[notice\].*mapi: pins of upstream "exchange": /,
         "$name: the counters are logged at the end");
    my ($line) = log_of($front) =~ /(pins of upstream.*)/;
    like($line, qr/opened [12], pinned 0; closed by client 1,/,
         '... and are right');
}


# prefer=route: a logon for each server

for my $case ([ 'route', 'mapi;', 'mapi_pin on prefer=route;' ],
              [ 'owner', 'mapi owner;', '' ])
{
    my ($name, $mapi, $pin) = @$case;
    my $front = front_end($name, "$mapi\n$pin\n%SERVERS%keepalive 8;");
    my $otto = connect_to($port);
    my $first = logon($otto, 1, 'otto');
    my ($peer, $answer) = via($otto, plain(2), answer(401), $first);

    is(address($peer), '127.0.0.12', "$name: the other mailbox's server");
    is($answer->{status}, 401, '... asks for a logon of its own');
    $peer->close;

    my $second = logon($otto, 2, 'otto', $first);
    is(address($second), '127.0.0.12', '... and gets it');

    for my $n (1, 2, 2, 1, 4, 5) {
        ($peer, $answer) = via($otto, plain($n), answer(200), $first,
                                $second);
        is($peer, ($n - 1) % 3 ? $second : $first,
           "$name: mailbox $n goes to its logon");
        is(header($answer, 'X-Route'), 'directory', '... as the directory says');
    }

    $otto->close;
    ok($_->at_end(5), "$name: both end with the client") for $first, $second;
    $_->close for $first, $second;
    stop_nginx($front);
}


# a handshake ends where it began

{
    my $front = front_end('torn', "mapi owner;\n%SERVERS%keepalive 8;");
    my @changes = (
        [ 'a move', sub { mapi_directory('-d', $directory, 'move', 'DB1',
                                         "EX$_[0]") }, 2, 1 ],
        [ 'a drain', sub { mapi_directory('-d', $directory, 'server', 'EX1',
                                          $_[0]) }, 'draining', 'active' ],
    );

    for my $change (@changes) {
        my ($what, $do, $there, $back) = @$change;
        my $otto = connect_to($port);
        my ($peer) = via($otto, post(mailbox_id(1), type1()), challenge());

        is(address($peer), '127.0.0.11', 'a logon begins');
        is(($do->($there))[0], 0, "... $what in the middle");

        my ($again, $answer) = via($otto, post(mailbox_id(1), type3('otto')),
                                    answer(200), $peer);
        is($again, $peer, '... does not tear it apart');
        is(header($answer, 'X-Route'), 'handshake', '... and is told');
        $do->($back);
        $_->close for $otto, $peer;
    }

    # a name in the last message names another server

    my $otto = connect_to($port);
    my ($peer) = via($otto, request('GET', $me, type1()), challenge());
    my $home = (address($peer) =~ /(\d)$/)[0];
    my $other = $home % 3 + 1;
    my ($again) = via($otto, request('GET', $me, type3("sam$other")),
                       answer(200), $peer);

    is($again, $peer, 'a name in type 3 does not tear it apart either');
    $_->close for $otto, $peer;

    # nor another mailbox, and two that are open at once stay apart

    $otto = connect_to($port);
    ($peer) = via($otto, post(mailbox_id(1), type1()), challenge());
    my ($second) = via($otto, plain(2), answer(401), $peer);

    isnt($second, $peer, 'a request without Authorization is no part of it');
    $second->close;
    ($again) = via($otto, post(mailbox_id(2), type3('otto')), answer(200),
                    $peer);
    is($again, $peer, 'its last message goes where it began');
    $_->close for $otto, $peer;

    stop_nginx($front);
}


# logons that fail, connections that end

{
    my $front = front_end('fail', "mapi;\n%SERVERS%keepalive 8;");
    my $otto = connect_to($port);
    my ($peer) = via($otto, post(mailbox_id(1), type1()), challenge());
    my ($again, $answer) = via($otto, post(mailbox_id(1), type3('otto')),
                                answer(401, 'WWW-Authenticate: NTLM'), $peer);

    is($again, $peer, 'a logon fails');
    is(header($answer, 'Connection'), 'keep-alive', '... the client stays');
    ok($peer->at_end(5), '... the connection that saw it goes');
    $peer->close;

    my $mine = logon($otto, 1, 'otto');
    $mine->close;
    my $eve = connect_to($port);

    # the server has closed it: nginx notices by itself

    wait_for { log_of($front) =~ /pinned connection to .* closed, reason 1/ };
    ($peer, $answer) = via($otto, plain(1), answer(401), $eve);
    is(header($answer, 'Connection'), 'close',
       'a client whose logon is gone is sent away by the next 401');
    ok($otto->at_end(5), '... really');
    $_->close for $peer, $otto, $eve;

    # not by a logon that begins anew by itself, and not by another answer

    for my $case ([ post(mailbox_id(1), type1()), challenge(), 401 ],
                  [ plain(1), answer(200), 200 ])
    {
        my ($request, $reply, $status) = @$case;

        $otto = connect_to($port);
        $mine = logon($otto, 1, 'otto');
        $mine->close;
        wait_for { () = log_of($front) =~ /closed, reason 1/g;
                   (() = log_of($front) =~ /closed, reason 1/g) > 1 };
        sleep 1;
        ($peer, $answer) = via($otto, $request, $reply);
        is("$answer->{status} " . header($answer, 'Connection'),
           "$status keep-alive", 'but not otherwise');
        $_->close for $peer, $otto;
    }

    # a server that dies with the request: once, and then all is well again

    $otto = connect_to($port);
    $mine = logon($otto, 1, 'otto');
    $otto->send(plain(1));
    $mine->read_request;
    $mine->close;
    is($otto->read_answer->{status}, 503, 'a server that dies is 503');
    ok(!IO::Select->new(map { $_->{socket} } @servers)->can_read(0.2),
       '... and the request is not sent again');
    ($peer, $answer) = via($otto, plain(1), answer(401));
    is($answer->{status}, 401, '... the next one goes on another connection');
    $_->close for $otto, $peer;

    # in the middle of an answer, with a client that goes

    $otto = connect_to($port);
    $mine = logon($otto, 1, 'otto');
    $otto->send(plain(1));
    $mine->read_request;
    $mine->send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    $otto->read_until(qr/12345/);
    $otto->close;
    ok($mine->at_end(5), 'a client that goes in an answer takes it along');
    $mine->close;

    stop_nginx($front);
    like(log_of($front), qr/handshakes failed 1,/, 'failed logons are counted');
}


# another logon of the client lives on

{
    my $front = front_end('two', "mapi owner;\n%SERVERS%keepalive 8;");
    my $otto = connect_to($port);
    my $first = logon($otto, 1, 'otto');
    my $second = logon($otto, 2, 'otto', $first);

    $first->close;
    wait_for { log_of($front) =~ /pinned connection to .* closed, reason 1/ };

    my ($peer, $answer) = via($otto, plain(1), answer(401), $second);
    is(header($answer, 'Connection'), 'keep-alive',
       'a client with another logon is not sent away');
    $peer->close;
    ($peer) = via($otto, plain(2), answer(200), $second);
    is($peer, $second, '... and goes on with it');
    $_->close for $otto, $second;
    stop_nginx($front);
}


# a logon counts for one block and location: what TLS settings and servers are
# behind them is another matter

{
    my $proxy = 'proxy_http_version 1.1; proxy_set_header Connection "";';
    my $front = front_end('apart', "mapi;\n%SERVERS%keepalive 8;",
        http => "mapi_directory $directory;\nupstream other { mapi_pin on;"
                . " server 127.0.0.11:$backend; keepalive 8; }",
        server => "location /ews/ { $proxy proxy_pass http://other; }\n"
                  . "location /second/ { $proxy proxy_pass http://other; }\n");
    my $otto = connect_to($port);
    my @mine = logon($otto, 1, 'otto');

    for my $path ('/ews/a', '/second/a') {
        my ($peer) = via($otto, request('GET', $path), answer(401), @mine);

        ok(!(grep { $_ == $peer } @mine), "$path: a logon does not count here");
        $peer->close;
        ($peer) = via($otto, request('GET', $path, type1()), challenge(),
                      @mine);
        ok(!(grep { $_ == $peer } @mine), '... nor does its connection');
        my ($again) = via($otto, request('GET', $path, type3('otto')),
                          answer(200), @mine, $peer);
        is($again, $peer, '... until there is one here');
        push @mine, $peer;
    }

    for my $i (0 .. 2) {
        my $request = (plain(1), request('GET', '/ews/b'),
                       request('GET', '/second/b'))[$i];
        my ($peer) = via($otto, $request, answer(200), @mine);
        is($peer, $mine[$i], 'then each has its own');
    }

    $_->close for $otto, @mine;
    stop_nginx($front);
}


# max and idle

{
    my $front = front_end('max', "mapi owner;\nmapi_pin on max=2;\n"
                                 . "%SERVERS%keepalive 8;");
    my $otto = connect_to($port);
    my @mine = (undef, logon($otto, 1, 'otto'));

    push @mine, logon($otto, 2, 'otto', $mine[1]);
    via($otto, plain(1), answer(200), @mine[1, 2]);
    push @mine, logon($otto, 3, 'otto', @mine[1, 2]);

    ok($mine[2]->at_end(5), 'max: the one that was idle for longest goes');
    my ($peer) = via($otto, plain(1), answer(200), @mine[1, 3]);
    is($peer, $mine[1], '... and no other');
    $_->close for $otto, @mine[1 .. 3];
    stop_nginx($front);

    $front = front_end('idle', "mapi;\nmapi_pin on idle=300ms;\n"
                               . "%SERVERS%keepalive 8;");
    $otto = connect_to($port);
    my $mine = logon($otto, 1, 'otto');
    ok($mine->at_end(5), 'idle: it goes when nobody uses it');
    $_->close for $otto, $mine;
    stop_nginx($front);
    like(log_of($front), qr/server 0, idle 1,/, '... for that reason');
}


# max_conns does not refuse a client its own connection

for my $mapi ('mapi;', 'mapi owner;') {
    my $front = front_end("full-$mapi" =~ tr/a-z-//cdr, "$mapi\n"
        . "server 127.0.0.11:$backend max_conns=1;\n"
        . "server 127.0.0.12:$backend;\nkeepalive 8;");
    my $otto = connect_to($port);
    my $mine = logon($otto, 1, 'otto');
    my $eve = connect_to($port);

    $eve->send(plain(1));
    my $busy = $servers[0]->accept;
    $busy->read_request;

    my ($peer, $answer) = via($otto, plain(1), answer(200), $mine);
    is($peer, $mine, "$mapi full, but not for who has a connection");
    is($answer->{status}, 200, '... who is served');

    $busy->send(answer(200));
    $eve->read_answer;

    # and it counts, while it is in use

    $otto->send(plain(1));
    $mine->read_request;
    $eve->send(plain(1));

    if ($mapi eq 'mapi;') {
        my $elsewhere = $servers[1]->accept;
        $elsewhere->read_request;
        $elsewhere->send(answer(200));
        is($eve->read_answer->{status}, 200, 'it counts: others go elsewhere');
        $elsewhere->close;

    } else {
        is($eve->read_answer->{status}, 503, 'it counts: others are refused');
    }

    $mine->send(answer(200));
    $otto->read_answer;
    $_->close for $otto, $eve, $mine, $busy;
    stop_nginx($front);
}


# a draining server keeps its logons, and lets them go one by one

{
    my $front = front_end('drain', "mapi;\n%SERVERS%keepalive 8;");
    my $otto = connect_to($port);
    my $mine = logon($otto, 1, 'otto');

    mapi_directory('-d', $directory, 'server', 'EX1', 'draining');
    my ($peer, $answer) = via($otto, plain(1), answer(200), $mine);
    is($peer, $mine, 'drain: a client that has logged on is served there');
    is(header($answer, 'Connection'), 'close', '... for the last time');
    ok($mine->at_end(5), '... and goes');
    mapi_directory('-d', $directory, 'server', 'EX1', 'active');
    $_->close for $otto, $mine;
    stop_nginx($front);
}


# blocks without mapi, with any balancing

for my $case ([ 'plain', '' ], [ 'hash', 'hash $arg_MailboxId consistent;' ],
              [ 'least', 'least_conn;' ], [ 'zoned', "zone y 256k;\nrandom;" ])
{
    my ($name, $method) = @$case;
    my $front = front_end("other-$name",
        "$method\nmapi_pin on;\n%SERVERS%keepalive 8;", http => '',
        hosts => [ 11, 12 ], mapi => 'off');
    my $otto = connect_to($port);
    my ($mine) = via($otto, plain(1), challenge());
    my ($first) = via($otto, post(mailbox_id(1), type1()), challenge(),
                       $mine);

    ok($first, "$name: an answer with a token pins too");
    my ($peer) = via($otto, post(mailbox_id(7), type3('otto')), answer(200),
                      $first);
    is($peer, $first, "$name: a logon stays together");

    for my $n (1 .. 6) {
        ($peer) = via($otto, plain($n), answer(200), $first);
        is($peer, $first, '... and all that follows');
        my $eve = connect_to($port);
        ($peer) = via($eve, plain($n), answer(401), $first);
        isnt($peer, $first, '... of that client');
        $_->close for $eve, $peer;
    }

    $otto->close;
    ok($first->at_end(5), "$name: until it goes");
    $_->close for $first, $mine;
    stop_nginx($front);
}

{
    my $front = front_end('other-route',
        "mapi_pin on prefer=route;\n%SERVERS%keepalive 8;", http => '',
        hosts => [ 11, 12 ], mapi => 'off');
    my $otto = connect_to($port);
    my %at;

    # round robin: a logon on each, and then each on its own

    for (1, 2) {
        my ($peer) = via($otto, post(mailbox_id(1), type1()), challenge(),
                          values %at);
        my ($again) = via($otto, post(mailbox_id(1), type3('otto')),
                           answer(200), $peer);
        is($again, $peer, 'route: a logon stays together');
        $at{address($peer)} = $peer;
    }

    is(scalar keys %at, 2, '... the next one is on the other server');

    for my $n (1 .. 4) {
        my ($peer) = via($otto, plain(1), answer(200), values %at);
        is($peer, $at{address($peer)}, '... and no third one is opened');
    }

    $_->close for $otto, values %at;
    stop_nginx($front);
}


# a configuration in which no logon can end says so, once

{
    my $front = front_end('old', "mapi_pin on;\n%SERVERS%", http => '',
                          mapi => 'off', proxy => '');
    my $otto = connect_to($port);

    for (1, 2) {
        my ($peer) = via($otto, post(mailbox_id(1), type1()),
                           answer(401, 'Connection: close'));
        ok($peer->at_end(5), 'HTTP/1.0: each request has its connection');
        $peer->close;
    }

    $otto->close;
    stop_nginx($front);

    is(() = log_of($front) =~ /HTTP\/1\.0, a connection for each, and logons/g,
       slurp_version() < 1029007 ? 1 : 0, '... and the log says it');
}


# TLS to the server: two of us, one behind the other

{
    my ($crt, $key) = certificate('ex1.contoso.com');
    my $tls = free_port('127.0.0.21');
    my $front = front_end('tls', "mapi;\nserver 127.0.0.21:$tls;\nkeepalive 8;",
        http => "upstream inner { mapi_pin on; server 127.0.0.11:$backend;"
                . " keepalive 8; }\n"
                . "server { listen 127.0.0.21:$tls ssl;\n"
                . "ssl_certificate $crt; ssl_certificate_key $key;\n"
                . "location / { proxy_http_version 1.1;\n"
                . "proxy_set_header Connection \"\";\n"
                . "proxy_pass http://inner; } }\n",
        scheme => 'https');
    my $otto = connect_to($port);
    my $mine = logon($otto, 1, 'otto');

    for (1 .. 3) {
        my ($peer) = via($otto, plain(1), answer(200), $mine);
        is($peer, $mine, 'TLS: one connection from end to end');
    }

    my $eve = connect_to($port);
    my ($peer) = via($eve, plain(1), answer(401), $mine);
    isnt($peer, $mine, '... for one client');
    $otto->close;
    ok($mine->at_end(5), '... that ends with it');
    $_->close for $eve, $mine, $peer;
    stop_nginx($front);
}


# reload and end: nothing stays behind, no socket is left open

for my $signal ('QUIT', 'TERM', 'HUP') {
    my $front = front_end("end-$signal", "mapi;\n%SERVERS%keepalive 8;");
    my $otto = connect_to($port);
    my $mine = logon($otto, 1, 'otto');
    my $half = connect_to($port);
    my ($open) = via($half, post(mailbox_id(1), type1()), challenge());

    $signal eq 'HUP' ? reload_nginx($front) : stop_nginx($front, $signal);
    ok($_->at_end(10), "$signal: pinned connections are closed")
        for $mine, $open;
    $_->close for $otto, $mine, $half, $open;
    stop_nginx($front) if $signal eq 'HUP';
}


# HTTP/2 that nginx -t cannot see

{
    `curl --version` =~ /HTTP2/ or die "curl without HTTP/2\n";

    my $http2 = free_port();
    my $listen = slurp_version() >= 1025001 ? "listen 127.0.0.1:$http2;\n"
                                              . 'http2 on;'
                                            : "listen 127.0.0.1:$http2 http2;";
    my $front = front_end('http2', "mapi;\n%SERVERS%keepalive 8;",
        http => "mapi_directory $directory;\n"
                . "server { $listen\n set \$block exchange;\n"
                . "location / { proxy_http_version 1.1;\n"
                . "proxy_set_header Connection \"\";\n"
                . "proxy_pass http://\$block; } }");

    for my $case (
        [ 401, [ 'NTLM', 'Negotiate' ], 421, [] ],
        [ 401, [ "NTLM $two" ], 421, [] ],
        [ 401, [ 'NTLM', 'Basic realm="mail"' ], 401, [ 'Basic realm="mail"' ] ],
        [ 401, [ 'Negotiate, Basic realm="a, b", NTLM' ], 401,
          [ 'Basic realm="a, b"' ] ],
        [ 401, [ 'Bearer' ], 401, [ 'Bearer' ] ],
        [ 200, [ "Negotiate $two" ], 200, [] ])
    {
        my ($status, $offers, $expected, $left) = @$case;
        my $out = run_folder() . '/answer';
        my $pid = fork();

        if ($pid == 0) {
            exec 'curl', '-s', '-i', '-o', $out, '--max-time', '20',
                 '--http2-prior-knowledge', '-d', '', '-H', type1(),
                 "http://127.0.0.1:$http2/mapi/emsmdb/";
        }

        my $server = speaker(@servers);
        my $peer = $server->accept;

        $peer->read_request;
        $peer->send(answer($status,
                           map { "WWW-Authenticate: $_" } @$offers));
        ok($peer->at_end(5), 'HTTP/2: a logon\'s connection is closed');
        waitpid($pid, 0);
        $peer->close;

        my $text = slurp($out);
        my ($got) = $text =~ m{^HTTP/2 (\d+)};
        my @got = $text =~ /^www-authenticate: (.*?)\r$/mg;

        is($got, $expected, "... $status with @$offers is $expected");
        is_deeply(\@got, $left, '... with the challenges that can work');
        like($text, qr{use HTTP/1\.1}, '... and says how to go on')
            if $expected == 421;
    }

    stop_nginx($front);
}

done_testing();


sub slurp_version
{
    my ($version) = `$ENV{TEST_NGINX_BINARY} -v 2>&1` =~ m{nginx/([\d.]+)};
    my @parts = split /\./, $version;

    return $parts[0] * 1000000 + $parts[1] * 1000 + $parts[2];
}
