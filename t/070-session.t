# The session table: which answers open a session, which requests belong to it,
# and what ends it.  The test is the clients and the servers; $mapi_session says
# what the table knows.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;
use Time::HiRes qw( sleep );

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $directory = make_directory('session', directory_csv());
my $port;


sub front_end
{
    my ($name, %o) = @_;
    my $head = delete $o{head} || '';

    $port = free_port();

    return start_nginx($name, $head . road_http(port => $port,
        backend => $backend, alive => [],
        upstream => "mapi;\n%SERVERS%keepalive 8;\n",
        location => 'add_header X-Session $mapi_session always;',
        http => ($o{zone} || 'mapi_zone mapi 1m;')
                . "\nmapi_directory $directory;\n", %o));
}


# one request for mailbox n, and the server's answer; the session that the
# client is told of.  options: cookie, status, code, late (another one, in the
# body), set (list of cookies), endpoint

my $id = 0;

sub does
{
    my ($type, $n, %o) = @_;
    my $client = connect_to($port);
    my $endpoint = $o{endpoint} || 'emsmdb';
    my $code = exists $o{code} ? $o{code} : 0;
    my $body = exists $o{late}
               ? "PROCESSING\r\nDONE\r\nX-ResponseCode: $o{late}\r\n\r\n" : '';
    my $length = 'Content-Length: ' . length $body;
    my $given = answer($o{status} || 200,
        defined $code ? "X-ResponseCode: $code" : (),
        $body ? 'Content-Type: application/mapi-http' : (),
        map { "Set-Cookie: $_; path=/mapi/; HttpOnly" } @{ $o{set} || [] });

    $given =~ s/Content-Length: 0\r\n/$length\r\n/;

    my ($peer, $answer) = carry(\@servers, $client,
        request($o{method} || 'POST',
            "/mapi/$endpoint/?MailboxId=" . mailbox_id($n),
            "X-RequestType: $type", 'X-RequestId: {ABC}:' . ++$id,
            'X-ClientApplication: Outlook/16.0.1.2',
            defined $o{cookie} ? "Cookie: $o{cookie}" : (),
            'Content-Length: 0'),
        $given . $body);

    $_->close for $client, $peer;

    return header($answer, 'X-Session');
}


sub knows
{
    my ($n, $cookie, %o) = @_;

    return does('Execute', $n, cookie => $cookie, %o);
}


# what opens a session, and who belongs to it

{
    my $front = front_end('open', head => "worker_processes 2;\n",
        zone => "mapi_zone mapi 1m;\n"
                . "log_format s '\$mapi_session \$mapi_request_type';",
        server => 'access_log %PREFIX%/logs/access.log s;');
    my $key = does('Connect', 1, set => [ 'MapiSequence=1', 'MapiContext=A1',
                                          'MapiRouting=2' ]);

    like($key, qr/^[0-9a-f]{16}$/, 'a Connect opens a session');
    is(knows(1, 'MapiContext=A1'), $key, 'its cookie belongs to it');
    is(knows(1, 'x=1; MapiSequence=2;MapiContext=A1 ; y=2'), $key,
       '... among others, too');
    is(knows(1, 'sid=foreign; MapiContext=A1'), $key,
       '... and goes before another server\'s');
    is((grep { (knows(1, 'MapiContext=A1') || '') ne $key } 1 .. 20), 0,
       '... in each worker');

    for my $cookie ('MapiContext=A', 'MapiContext=A12', 'MapiContext=a1',
                    'mapicontext=A1', 'MapiContext=', 'xMapiContext=A1',
                    'sid=A1', 'x=MapiContext=A1', 'MapiContext', '=', ';',
                    'MapiContext=A2; MapiContext=A1')
    {
        is(knows(1, $cookie), undef, "\"$cookie\" belongs to none");
    }

    is(knows(1, undef), undef, 'no cookie, no session');
    is(knows(2, 'MapiContext=A1'), undef, 'nor does the cookie elsewhere');
    my $other = does('Connect', 2, set => [ 'MapiContext=A1' ]);
    like($other, qr/^[0-9a-f]{16}$/, 'another server opens one of its own');
    isnt($other, $key, '... which is another one');
    is(knows(2, 'MapiContext=A1'), $other, '... and is known');
    is(knows(1, 'MapiContext=A1'), $key, '... beside the first');

    # the address book, and Gromox

    my $bind = does('bind', 1, endpoint => 'nspi', set => [ 'MapiContext=B' ]);
    like($bind, qr/^[0-9a-f]{16}$/, 'a Bind opens one');
    my $sid = does('Connect', 1, set => [ 'sequence=1', 'sid=0815' ]);
    like($sid, qr/^[0-9a-f]{16}$/, 'and so does Gromox, by its own cookie');
    is(knows(1, 'sid=0815; sequence=1'), $sid, '... which is known');

    my $last = does('Connect', 1, set => [ 'MapiContext=L1', 'sid=L',
                                           'MapiContext=L2' ]);
    is(knows(1, 'MapiContext=L2'), $last, 'of two the last one counts');
    is(knows(1, 'MapiContext=L1'), undef, '... as it does with clients');
    does('Disconnect', 1, cookie => 'MapiContext=L2');

    # what does not

    for my $case ([ 'a bad code', 'Connect', code => 7 ],
                  [ 'no code', 'Connect', code => undef ],
                  [ 'a bad status', 'Connect', status => 500 ],
                  [ 'a 401', 'Connect', status => 401 ],
                  [ 'another request', 'Execute' ],
                  [ 'Bind at the store', 'Bind' ],
                  [ 'Connect at the address book', 'Connect',
                    endpoint => 'nspi' ],
                  [ 'a GET', 'Connect', method => 'GET' ])
    {
        my ($name, $type, %o) = @$case;

        is(does($type, 1, %o, set => [ "MapiContext=$name" ]), undef,
           "$name opens none");
        is(knows(1, "MapiContext=$name"), undef, '... nor later');
    }

    is(does('Connect', 1, set => [ 'MapiContext=', 'Other=1' ]), undef,
       'nor does an answer without its cookie');

    # what ends one

    does('Disconnect', 1, cookie => 'MapiContext=A1', code => 10);
    is(knows(1, 'MapiContext=A1'), $key, 'a Disconnect that failed ends none');
    does('Disconnect', 1, cookie => 'MapiContext=A1', status => 401);
    is(knows(1, 'MapiContext=A1'), $key, '... nor does a stranger\'s');
    does('Unbind', 1, cookie => 'MapiContext=A1');
    is(knows(1, 'MapiContext=A1'), $key, '... nor one of the other endpoint');
    is(does('Disconnect', 1, cookie => 'MapiContext=A1'), $key,
       'a Disconnect is the last of its session');
    ok(wait_for { !defined knows(1, 'MapiContext=A1') }, '... and ends it');
    does('Unbind', 1, cookie => 'MapiContext=B', endpoint => 'nspi');
    ok(wait_for { !defined knows(1, 'MapiContext=B') }, 'and so does Unbind');
    is(knows(2, 'MapiContext=A1'), $other, 'others stay');

    my $new = does('Connect', 2, cookie => 'MapiContext=A1',
                   set => [ 'MapiContext=A3' ]);
    is(knows(2, 'MapiContext=A3'), $new, 'a Connect with an old cookie');
    is(knows(2, 'MapiContext=A1'), undef, '... takes the old one\'s place');
    is(does('Connect', 2, cookie => 'MapiContext=A3',
            set => [ 'MapiContext=A3' ]), $new, 'the same cookie again');
    is(knows(2, 'MapiContext=A3'), $new, '... is the same session');

    # reload

    reload_nginx($front);
    is(knows(2, 'MapiContext=A3'), $new, 'a reload forgets nothing');
    is(knows(1, 'sid=0815'), $sid, '... at all');
    my $conf = slurp($front->{conf});
    $conf =~ s/mapi_zone mapi 1m/mapi_zone mapi 2m/;
    spew($front->{conf}, $conf);
    reload_nginx($front);
    ok(wait_for { !defined knows(1, 'sid=0815') },
       'another size is another zone');
    isnt(does('Connect', 1, set => [ 'sid=0815' ]), undef,
         '... which works as the first');

    stop_nginx($front);
    like(slurp("$front->{prefix}/logs/access.log"), qr/^$key Disconnect$/m,
         'the row of the last request has it');
    like(log_of($front), qr/\[notice\].*sessions: 2 now, room for \d+, 6 opened; ended: 3 by their client, 1 replaced, 0 idle, 0 not opened after all, 0 forgotten in a full zone, 0 lost/,
         'all are counted');
}


# what the zone holds: ids, never a cookie

{
    my $front = front_end('memory', head => "worker_processes 1;\n");
    my $secret = 'c00c1e' x 8;
    my $key = does('Connect', 1, set => [ "MapiContext=$secret" ]);

    knows(1, "MapiContext=$secret");

    SKIP: {
        my ($worker) = MapiRig::workers_of($front);
        my $memory;

        # a client has its answer before the request ends
        eval { wait_for { $memory = shared_memory($worker);
                          ($memory || ':') =~ /^:|\{ABC\}:$id/ } };

        skip 'the memory of others cannot be read', 4
            if !defined $memory || $memory eq '';

        like($memory, qr/\{ABC\}:$id/, 'the zone holds the request\'s id');
        like($memory, qr/Outlook\/16\.0\.1\.2/, '... the application');
        like($memory, qr/ex1\.contoso\.com/, '... the server');
        unlike($memory, qr/c00c1e/, '... and not the cookie');
    }

    my @ours = grep { /mapi: / } split /\n/, log_of($front);
    is((grep { /c00c1e/ } @ours), 0, 'nor do our messages');
    stop_nginx($front);
}


sub shared_memory
{
    my ($pid) = @_;
    no warnings 'portable';
    my $memory = '';

    open my $maps, '<', "/proc/$pid/maps" or return;
    open my $mem, '<:raw', "/proc/$pid/mem" or return;

    while (<$maps>) {
        /^([0-9a-f]+)-([0-9a-f]+) rw-s .*\/dev\/zero/ or next;
        sysseek $mem, hex($1), 0;
        sysread $mem, my $piece, hex($2) - hex($1) or next;
        $memory .= $piece;
    }

    return $memory;
}


# strangers, with cookies of their own make; a small zone

{
    my $front = front_end('small', zone => 'mapi_zone mapi 64k;');
    my %key;

    for my $n (1 .. 5) {
        $key{$n} = does('Connect', $n, set => [ "MapiContext=S$n" ]);
    }

    is((grep { defined knows(1, "MapiContext=forged$_") } 1 .. 300), 0,
       'forged cookies are nobody\'s');
    is((grep { (knows($_, "MapiContext=S$_") || '') ne $key{$_} } 1 .. 5), 0,
       '... and push nobody out');

    for my $n (6 .. 40) {
        does('Connect', $n, set => [ "MapiContext=S$n" ]);
        knows(1, 'MapiContext=S1');
    }

    ok(defined knows(40, 'MapiContext=S40'), 'a full zone knows the latest');
    is(knows(1, 'MapiContext=S1'), $key{1}, '... and who is not idle');
    is(knows(2, 'MapiContext=S2'), undef, '... and forgets who is');
    stop_nginx($front);

    my ($now, $room, $forgotten) = log_of($front)
        =~ /sessions: (\d+) now, room for (\d+), 40 opened;.* (\d+) forgotten/;
    is($now, $room, 'it is full');
    is($forgotten, 40 - $room, '... and counts whom it forgot');
    unlike(log_of($front), qr/no memory|\[crit\]/, '... and nothing fails');
}


# another size, and parts that are as large as before

{
    my $front = front_end('grows', zone => 'mapi_zone mapi 64k;');

    does('Connect', $_, set => [ "MapiContext=S$_" ]) for 1 .. 10;

    my $conf = slurp($front->{conf});
    $conf =~ s/mapi_zone mapi 64k/mapi_zone mapi 96k/;
    spew($front->{conf}, $conf);
    my ($old) = MapiRig::workers_of($front);
    reload_nginx($front);
    wait_for { !grep { $_ == $old } MapiRig::workers_of($front) };
    is((grep { defined knows($_, "MapiContext=S$_") } 1 .. 10), 0,
       'a zone that grows begins empty, in all of its parts');
    stop_nginx($front);
}


# idleness

{
    my $front = front_end('idle', zone => 'mapi_zone mapi 1m;'
                                          . 'mapi_session_timeout 1s;');

    does('Connect', 1, set => [ 'MapiContext=A' ]);
    my $key = does('Connect', 2, set => [ 'MapiContext=B' ]);

    # a wait that hangs

    my $client = connect_to($port);
    my $server = $servers[1];

    $client->send(request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id(2),
        'X-RequestType: NotificationWait', 'Cookie: MapiContext=B',
        'X-RequestId: {W}:1', 'Content-Length: 0'));

    my $peer = $server->accept;
    $peer->read_request;
    $peer->send("HTTP/1.1 200 OK\r\nX-ResponseCode: 0\r\n"
                . "Transfer-Encoding: chunked\r\n\r\nc\r\nPROCESSING\r\n\r\n");
    like($client->read_until(qr/PROCESSING/), qr/X-Session: $key/,
         'a wait belongs to its session');

    # looks of a stranger, who is answered 401, are no use of it

    ok(wait_for {
           sleep 0.2;
           !defined knows(1, 'MapiContext=A', status => 401);
       }, 'a session that is idle ends');

    sleep 1.1;
    is(knows(2, 'MapiContext=B', status => 401), $key,
       '... but not one that waits');

    $peer->send("9\r\nPENDING\r\n\r\n6\r\nDONE\r\n\r\n0\r\n\r\n");
    $client->read_until(qr/\r\n0\r\n\r\n/);
    $_->close for $client, $peer;
    ok(wait_for {
           sleep 0.2;
           !defined knows(2, 'MapiContext=B', status => 401);
       }, '... until the wait is over');

    stop_nginx($front);
    like(log_of($front), qr/sessions: 0 now.* 2 idle/, '... and is counted');
}


# a worker that is killed takes no session with it, and no lock

{
    my $front = front_end('killed', head => "worker_processes 2;\n");
    my $key = does('Connect', 1, set => [ 'MapiContext=A' ]);
    my ($worker) = MapiRig::workers_of($front);

    allow_log(qr/worker process \d+ exited on signal 9/);
    kill 'KILL', $worker;
    wait_for { MapiRig::workers_of($front) == 2
               && !grep { $_ == $worker } MapiRig::workers_of($front) };

    is((grep { (knows(1, 'MapiContext=A') || '') ne $key } 1 .. 20), 0,
       'a worker dies, the session is there');
    stop_nginx($front);
}


# a code counts the same whether the log has looked for it before or not

for my $log ('', "mapi_log %PREFIX%/rows flush=20ms;\n") {
    my $front = front_end('code', zone => "mapi_zone mapi 1m;\n$log");
    my $with = $log ? 'with a log' : 'without a log';
    my $key = does('Connect', 1, set => [ 'MapiContext=A' ]);

    is(knows(1, 'MapiContext=A'), $key, "$with: a Connect opens a session");
    does('Disconnect', 1, cookie => 'MapiContext=A', code => 10);
    is(knows(1, 'MapiContext=A'), $key,
       '... a Disconnect that failed ends none');
    does('Disconnect', 1, cookie => 'MapiContext=A', code => undef);
    is(knows(1, 'MapiContext=A'), $key, '... nor one without a code');
    does('Disconnect', 1, cookie => 'MapiContext=A', late => 10);
    is(knows(1, 'MapiContext=A'), $key, '... nor one that failed late');
    does('Disconnect', 1, cookie => 'MapiContext=A', code => 10, late => 0);
    ok(wait_for { !defined knows(1, 'MapiContext=A') },
       '... but one that did not, after all');

    does('Connect', 1, set => [ 'MapiContext=B' ], late => 7);
    ok(wait_for { !defined knows(1, 'MapiContext=B') },
       '... a Connect that failed late has opened none');
    stop_nginx($front);
}


# without a zone there is no table, and nothing to say

{
    my $front = front_end('none', zone => '# none');

    is(does('Connect', 1, set => [ 'MapiContext=A' ]), undef,
       'without a zone there are no sessions');
    is(knows(1, 'MapiContext=A'), undef, '... at all');
    stop_nginx($front);
    unlike(log_of($front), qr/sessions: /, '... and no numbers of them');
}


done_testing();
