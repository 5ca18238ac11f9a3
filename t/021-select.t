# Which server serves a request?

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv(count => 3000));
my $known = "mapi_directory $path;";
my ($front, $port);
my $fronts = 0;


sub front_end
{
    my ($lines, %o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();
    $front = start_nginx('front' . ++$fronts,
                         road_http(port => $port, backend => $backend,
                                   upstream => $lines, %o));

    # a first request: a signal before nginx waits for them would be lost
    talk($port, request('GET', '/'));
}


sub state
{
    my ($name, @words) = @_;
    my ($code, $out, $err) = mapi_directory('-d', $path, 'server', $name,
                                            @words);

    $code == 0 or die "server $name @words: $err";
}


# status, server and route of a request

sub asked
{
    my ($n, @headers) = @_;
    my $answer = ask($port, mailbox_id($n), @headers);
    my $server = header($answer, 'X-Server');

    $server = '-' if !defined $server;

    return "$answer->{status} $server " . header($answer, 'X-Route');
}


# the server of each of so many mailboxes, over one connection

sub servers_of
{
    my ($count, $from) = @_;
    my $client = connect_to($port);
    my @servers;

    for my $n (1 .. $count) {
        $client->send(post(mailbox_id(($from || 100000) + $n)));
        my $answer = $client->read_answer;
        push @servers, header($answer, 'X-Server') || $answer->{status};
    }

    $client->close;

    return @servers;
}


sub count_of
{
    my %count;

    $count{$_}++ for @_;

    return \%count;
}


sub is_refused
{
    my ($n, $what) = @_;
    my $answer = ask($port, mailbox_id($n));

    is($answer->{status}, 503, "$what: 503");
    is($answer->{body}, '', '... empty');
    is(header($answer, 'X-CasErrorCode'), 'ServerNotFound', '... and why');
}


# rules 3 and 4: a known place

for my $block ("mapi;\n%SERVERS%", "zone z 256k;\nmapi;\n%SERVERS%",
               "mapi;\n%SERVERS%keepalive 8;",
               "zone z 256k;\nmapi;\n%SERVERS%keepalive 8;")
{
    my $what = join ' and ', 'mapi', $block =~ /(zone|keepalive)/g;

    front_end($block, http => $known);

    is(asked($_), '200 ' . home_of($_) . ' directory', "$what: mailbox $_")
        for 1 .. 4;

    state('EX1', 'offline');
    like(asked(1), qr/^200 127\.0\.0\.1[23] balance/, '... its server offline');
    is(asked(2), '200 127.0.0.12 directory', '... others stay');
    state('EX1', 'draining');
    like(asked(1), qr/^200 127\.0\.0\.1[23] balance/,
         '... its server draining');
    state('EX1', 'active');
    is(asked(1), '200 127.0.0.11 directory', '... and active again');

    my @before = servers_of(60);
    state('EX3', 'draining');
    my @after = servers_of(60);
    is(scalar(grep { $_ eq '127.0.0.13' } @after), 0,
       '... unknown mailboxes leave a draining server');
    is_deeply([ map { $before[$_] eq '127.0.0.13' ? 'x' : $after[$_] } 0 .. 59 ],
              [ map { $_ eq '127.0.0.13' ? 'x' : $_ } @before ],
              '... those of others stay');
    state($_, 'draining') for qw( EX1 EX2 );
    like(asked(1), qr/^200 127/, '... all draining: somebody serves');
    state($_, 'offline') for qw( EX1 EX2 EX3 );
    is_refused(1, '... all offline');
    is_refused(100001, '... an unknown mailbox');
    state($_, 'active') for qw( EX1 EX2 EX3 );
    is(asked(3), '200 127.0.0.13 directory', '... all is well again');
}


# 400 requests in any spelling

{
    my $client = connect_to($port);
    my $wrong = 0;

    for (1 .. 400) {
        my $n = 1 + int rand 3000;
        my $id = mailbox_id($n);

        $id = uc $id if rand() < 0.3;
        $id =~ s/(.)/rand() < 0.1 ? sprintf '%%%02x', ord $1 : $1/ge;

        my $query = (
            "MailboxId=$id", "mAILBOXiD=$id&x=y", "smtpAddress=user$n\@contoso.com",
            "a=b&smtpaddress=ALIAS$n%40contoso.com", 'caller', 'caller',
        )[rand 6];
        my @headers;

        if ($query eq 'caller') {
            $query = 'useMailboxOfAuthenticatedUser=true';
            @headers = (basic("sam$n"), basic("upn$n\@corp.contoso.com"),
                        "X-AnchorMailbox: user$n\@contoso.com")[rand 3];
        }

        $client->send(request('POST', '/mapi/' . (qw( emsmdb/ nspi ))[rand 2]
                              . "?$query", @headers, 'Content-Length: 0'));
        my $answer = $client->read_answer;

        if ((header($answer, 'X-Server') || '') ne home_of($n)) {
            $wrong++;
            diag("mailbox $n: $query @headers: $answer->{text}");
        }
    }

    is($wrong, 0, '400 random requests reach the mounted server');
    $client->close;
}


# fallback and owner

front_end("mapi fallback=copies;\n%SERVERS%", http => $known);
state('EX1', 'offline');
is(asked(1), '200 127.0.0.12 directory', 'copies: the second one');
state('EX2', 'draining');
is(asked(1), '200 127.0.0.13 directory', '... then the third');
state('EX3', 'offline');
is_refused(1, '... then none');
like(asked(100001), qr/^200 127.0.0.12 balance/, '... unknown ones go on');
state($_, 'active') for qw( EX1 EX2 EX3 );

front_end("mapi fallback=none;\n%SERVERS%", http => $known);
state('EX1', 'offline');
is_refused(1, 'fallback=none');
is(asked(2), '200 127.0.0.12 directory', '... others go on');
like(asked(100001), qr/^200 127.0.0.1[23] balance/, '... also unknown ones');
state('EX1', 'draining');
is_refused(1, '... a draining server is left');

front_end("mapi owner;\n%SERVERS%", http => $known);
is(asked(1), '200 127.0.0.11 directory', 'owner: a draining server keeps its');
like(asked($_), qr/^200 127.0.0.1[23] balance/, '... and gets no unknown ones')
    for 100001 .. 100010;
state('EX1', 'draining', '--within', '1s');
ok(wait_for { asked(1) =~ /^503/ }, '... until the time is over');
state('EX1', 'offline');
is_refused(1, '... as when it is offline');
state('EX1', 'active');
is(asked(1), '200 127.0.0.11 directory', '... and back');

front_end("mapi owner fallback=any;\n%SERVERS%", http => $known);
state('EX1', 'offline');
like(asked(1), qr/^200 127.0.0.1[23] balance/, 'owner may have a fallback');
state('EX1', 'active');


# a known place that is not in the block

for my $case ([ 'any', qr/^200 127.0.0.1[23] balance/ ],
              [ 'copies', qr/^200 127.0.0.12 directory/ ],
              [ 'none', qr/^503 - none/ ])
{
    my ($fallback, $expected) = @$case;

    front_end("mapi fallback=$fallback;\n%SERVERS%", http => $known,
              hosts => [ 12, 13 ]);
    like(asked(1), $expected, "fallback=$fallback for a server elsewhere");
}


# what the lines say

front_end("mapi;\nserver 127.0.0.11:%PORT% down;\nserver 127.0.0.12:%PORT%;\n"
          . 'server 127.0.0.13:%PORT% backup;', http => $known);
like(asked(1), qr/^200 127.0.0.12 balance/, 'a server that is down is left');
is(asked(3), '200 127.0.0.13 directory', 'a known place may be a backup');
is_deeply(count_of(servers_of(50)), { '127.0.0.12' => 50 },
          'hashes leave backups alone');
state('EX2', 'offline');
is_deeply(count_of(servers_of(20)), { '127.0.0.13' => 20 },
          '... until there is no other');
state('EX2', 'active');

front_end("mapi;\nserver 127.0.0.11:%PORT% down;\nserver 127.0.0.12:%PORT% down;");
is_refused(1, 'all are down');


# the hash

front_end("mapi;\n%SERVERS%");

my @all = servers_of(300);
my $count = count_of(@all);

cmp_ok($count->{"127.0.0.$_"}, '>', 70, "unknown mailboxes spread to $_")
    for 11 .. 13;
is_deeply([ servers_of(300) ], \@all, '... always in the same way');

front_end("mapi;\nserver 127.0.0.13:%PORT%;\nserver 127.0.0.12:%PORT%;\n"
          . 'server 127.0.0.11:%PORT%;');
is_deeply([ servers_of(300) ], \@all, '... in whatever order they are written');

for my $gone ("server 127.0.0.13:%PORT% down;", '') {
    front_end("mapi;\nserver 127.0.0.11:%PORT%;\nserver 127.0.0.12:%PORT%;\n"
              . $gone);
    my @now = servers_of(300);
    is_deeply([ map { $all[$_] eq '127.0.0.13' ? 'x' : $now[$_] } 0 .. 299 ],
              [ map { $_ eq '127.0.0.13' ? 'x' : $_ } @all ],
              'a server that is gone moves only its own mailboxes');
    my $moved = count_of(@now[grep { $all[$_] eq '127.0.0.13' } 0 .. 299]);
    cmp_ok($moved->{"127.0.0.$_"}, '>', 20, "... some of them to $_")
        for 11, 12;
}

front_end("mapi;\nserver 127.0.0.11:%PORT% weight=3;\n"
          . 'server 127.0.0.12:%PORT%;');
$count = count_of(servers_of(400));
cmp_ok($count->{'127.0.0.11'}, '>', 260, 'three quarters where weight is 3');
cmp_ok($count->{'127.0.0.11'}, '<', 340, '... and not more');

# who cannot be read goes by the client's address

{
    my $of = sub {
        my ($address) = @_;
        return header(talk($port, request('GET', '/mapi/emsmdb/'), $address),
                      'X-Server');
    };

    front_end("mapi;\n%SERVERS%");
    my %seen = map { $of->('127.0.5.1') => 1 } 1 .. 6;
    is(scalar keys %seen, 1, 'a client without a name meets one server');
    %seen = map { $of->("127.0.5.$_") => 1 } 1 .. 30;
    is(scalar keys %seen, 3, '... and clients meet all of them');
}


# servers that fail: nobody listens on 127.0.0.11

for my $block ('', "zone z 256k;\n") {
    front_end($block . "mapi;\n"
              . "server 127.0.0.11:%PORT% max_fails=1 fail_timeout=1s;\n"
              . "server 127.0.0.12:%PORT%;\nserver 127.0.0.13:%PORT%;",
              http => $known, alive => [ 12, 13 ]);

    my $first = asked(1);
    like($first, qr/^200 127.0.0.1[23] balance/,
         "a server that refuses is passed over silently");
    is(asked(1), $first, '... to one and the same place');

    my $refused = () = log_of($front) =~ /connect\(\) failed/g;
    is($refused, 1, '... and is not tried again for each request');

    my @now = servers_of(300);
    is(scalar(grep { !/^127/ } @now), 0, '... no request fails');

    # it comes back

    my $server = listen_on('127.0.0.11', $backend);
    my $back = 0;

    ok(wait_for {
        my $client = connect_to($port);
        my $peer;

        $client->send(post(mailbox_id(1)));
        wait_for { ($peer = $server->accept(0.02)) || $client->ready(0.02) };

        if ($peer) {
            $peer->read_request;
            $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            $client->read_answer;
            $peer->close;
            $back = 1;
        }

        $client->close;
        return $back;
    }, '... and is used again after fail_timeout');

    $server->close;
}

# copies, when a server refuses

front_end("mapi fallback=copies;\n%SERVERS%", http => $known,
          alive => [ 12, 13 ]);
is(asked(1), '200 127.0.0.12 directory', 'the copies of a server that refuses');
front_end("mapi owner;\n%SERVERS%", http => $known, alive => [ 12, 13 ]);
is_refused(1, 'owner: a server that refuses');
is(asked(2), '200 127.0.0.12 directory', '... is no matter of others');


# rule 6: nobody passes

front_end("mapi;\nserver 127.0.0.11:%PORT% max_fails=1 fail_timeout=60s;\n"
          . 'server 127.0.0.12:%PORT% max_fails=1 fail_timeout=60s;',
          http => $known, alive => []);
is_refused(1, 'all servers refuse');
is_refused(100001, '... an unknown mailbox');

{
    my $server = listen_on('127.0.0.11', $backend);
    my $client = connect_to($port);

    $client->send(post(mailbox_id(1)));
    my $peer = $server->accept;
    ok($peer->read_request, 'nobody passes: used as if all did');
    $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    is($client->read_answer->{status}, 200, '... and it works');
    $_->close for $client, $peer, $server;
}


# max_conns

for my $case ([ '', qr/^200 127.0.0.1[23] balance/ ],
              [ 'owner', qr/^503 - none/ ],
              [ 'fallback=copies', qr/^200 127.0.0.12 directory/ ])
{
    my ($mode, $expected) = @$case;

    front_end("zone z 256k;\nmapi $mode;\n"
              . "server 127.0.0.11:%PORT% max_conns=1;\n"
              . "server 127.0.0.12:%PORT%;\nserver 127.0.0.13:%PORT%;",
              http => $known, alive => [ 12, 13 ]);

    my $server = listen_on('127.0.0.11', $backend);
    my $client = connect_to($port);

    $client->send(post(mailbox_id(1)));
    my $peer = $server->accept;
    $peer->read_request;
    like(asked(1), $expected, "a server at max_conns, $mode");
    $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    $client->read_answer;
    $_->close for $client, $peer;

    $client = connect_to($port);
    $client->send(post(mailbox_id(1)));
    ok($server->accept, '... is used again when it has room');
    $_->close for $client, $server;
}


# two front ends on one machine, several workers

front_end("zone z 256k;\nmapi;\n%SERVERS%keepalive 4;", http => $known);

{
    my @before = servers_of(60);
    my $single = $port;
    my $other = free_port();
    my $second = start_nginx('second', "worker_processes 3;\n"
                             . road_http(port => $other, backend => $backend,
                                         hosts => [ 13, 11, 12 ],
                                         alive => [], http => $known));

    $port = $other;
    is_deeply([ map { servers_of(1, 100000 + $_ - 1) } 1 .. 60 ], \@before,
              'three workers of another front end agree');

    for my $i (3, 2, 1) {
        mapi_directory('-d', $path, 'move', 'DB1', "EX$i");
        is_deeply(count_of(map { asked(1) } 1 .. 6),
                  { "200 127.0.0.1$i directory" => 6 },
                  "... and all see a move to EX$i at once");
    }

    stop_nginx($second);
    $port = $single;
}

done_testing();
