# /mapi/healthcheck.htm: what a balancer above asks this node.

use strict;
use warnings;

use Sys::Hostname qw( hostname );
use Test::More;

use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $known = "mapi_directory $path;";
my $uri = '/mapi/healthcheck.htm';
my ($front, $port);
my $fronts = 0;


# $before stands in front of http

sub front_end
{
    my ($before, %o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();
    $front = start_nginx('front' . ++$fronts,
                         $before . road_http(port => $port,
                                             backend => $backend, %o));

    # a first request: a signal before nginx waits for them would be lost
    talk($port, request('GET', '/'));
}


sub command
{
    my ($code, $out, $err) = mapi_directory('-d', $path, @_);

    $code == 0 or die "@_: $err";

    return $out;
}


# the answer, or nothing if the connection was closed without one

sub page
{
    my ($method, $where, @headers) = @_;

    return talk($port, request($method || 'GET', $where || $uri, @headers));
}


# status and body, or "closed"

sub said
{
    my $answer = page(@_);

    return defined $answer ? "$answer->{status} $answer->{body}" : 'closed';
}


# the error log's words on the page, each once

sub words
{
    my ($words) = @_;

    return scalar(() = log_of($front) =~ /\[(?:warn|error)\].*\Q$words\E/g);
}


my $open = 'health page of upstream "exchange" is open again';
my $closed = 'health page of upstream "exchange" is closed: ';


# the answer

{
    my $me = lc hostname();

    front_end('');

    my $answer = page();

    is($answer->{status}, 200, 'the page');
    is($answer->{body}, "200 OK<br/>$me", '... is as of Exchange, of this host');
    is(header($answer, 'Content-Type'), 'text/html; charset=utf-8',
       '... its type');
    is(header($answer, 'Content-Length'), length "200 OK<br/>$me",
       '... its length');
    is(header($answer, 'Connection'), 'keep-alive', '... the connection stays');
    ok(!defined header($answer, 'X-Server'), '... no server was asked');
    is(header($answer, 'X-Route'), 'none', '... nor chosen');
    ok(!defined header($answer, 'Set-Cookie'), '... there is no cookie');
    ok(!defined header($answer, 'X-CasErrorCode'), '... and no error');

    for my $where ('/MAPI/HEALTHCHECK.HTM', '/Mapi/HealthCheck.htm',
                   "$uri?", "$uri?x=%41&MailboxId=x&MailboxId=y",
                   "$uri?" . 'MailboxId=' . mailbox_id(1))
    {
        is(said('GET', $where), "200 200 OK<br/>$me", "GET $where");
    }

    for my $where ("$uri/", "/mapi/emsmdb/healthcheck.htm", "/healthcheck.htm",
                   '/mapi//healthcheck.htm', '/mapi/healthcheck%2ehtm')
    {
        is(said('GET', $where), '404 ', "GET $where is not it");
    }

    is(said('GET', $uri, 'Authorization: NTLM ' . ntlm_message(1)),
       "200 200 OK<br/>$me", 'credentials play no part');
    is(said('GET', $uri, basic('anna')), "200 200 OK<br/>$me",
       '... of no kind');

    $answer = page('HEAD');
    is($answer->{status}, 200, 'HEAD');
    is(header($answer, 'Content-Length'), length "200 OK<br/>$me",
       '... has the length');
    is(header($answer, 'Content-Type'), 'text/html; charset=utf-8',
       '... and the type');

    for my $method (qw( POST PUT DELETE OPTIONS )) {
        $answer = page($method, $uri, 'Content-Length: 0');
        is($answer->{status}, 405, "$method is refused");
        is(header($answer, 'Allow'), 'GET, HEAD', '... with what is allowed');
        is($answer->{body}, '', '... empty');
    }

    is(header(page('PUT', '/mapi/emsmdb/', 'Content-Length: 0'), 'Allow'),
       'GET, HEAD, POST', '... and at the endpoints POST is');
}


# on one connection, with what a GET need not have, a body

{
    my $client = connect_to($port);

    $client->send(request('HEAD', $uri));
    is($client->read_answer(1)->{status}, 200, 'HEAD, and on');
    $client->send(request('GET', $uri, 'Content-Length: 4') . 'body');
    like($client->read_answer->{body}, qr/^200 OK<br\/>/, '... GET with a body');
    $client->send(post(mailbox_id(1)));
    like($client->read_answer->{body}, qr/^127/, '... a request');
    $client->send(request('GET', $uri) x 3);
    is($client->read_answer->{status}, 200, '... three pages at once')
        for 1 .. 3;
    $client->close;
}


# nobody asks a server, not even whether it is there

{
    front_end('', alive => [], hosts => [ 11 ]);
    my $server = listen_on('127.0.0.11', $backend);

    like(said(), qr/^200 200 OK/, 'a server that says nothing lives');
    is($server->accept(0.3), undef, '... without being asked');
    $server->close;
}


# its name

front_end('', http => "mapi_server_name fe.contoso.com;\ncharset koi8-r;");
is(said(), '200 200 OK<br/>fe.contoso.com', 'a name for all');
is(header(page(), 'Content-Type'), 'text/html; charset=utf-8',
   '... the type is as ever with "charset"');

front_end('', http => 'mapi_server_name fe.contoso.com;',
          server => 'mapi_server_name FE-1_a.corp.example;
        location /x { return 204; }');
is(said(), '200 200 OK<br/>FE-1_a.corp.example', "a server's own, as written");

{
    my $longest = 'a' x 255;

    front_end('', server => "mapi_server_name $longest;");
    is(said(), "200 200 OK<br/>$longest", 'the longest name');
}


# who is refused by the access phase stays refused

front_end('', location => 'deny all;');
like(said(), qr/^403 /, 'the access phase comes first');


# servers that fail: nobody listens on any of them

for my $block ('', "zone z 256k;\n") {
    my $mode = $block eq '' ? '' : ' with a zone';
    my $fails = 'max_fails=1 fail_timeout=4s';
    my $log = '';

    front_end('', alive => [], server => 'access_log %PREFIX%/logs/access;',
              upstream => "${block}mapi;\n"
                          . "server 127.0.0.11:%PORT% $fails;\n"
                          . "server 127.0.0.12:%PORT% $fails;");

    like(said(), qr/^200 /, "servers that nobody has tried live$mode");
    is(ask($port, mailbox_id(1))->{status}, 503, '... until somebody does');
    is(said(), 'closed', '... then the page is closed');
    is(said('HEAD'), 'closed', '... to HEAD too');
    is(said('POST', $uri, 'Content-Length: 0'), '405 ', '... POST is as ever');
    is(words("${closed}none of its servers lives"), 1, '... the log says so');

    wait_for {
        $log = slurp("$front->{prefix}/logs/access");
        $log =~ /"GET \S+ HTTP\/1.1" 444 0 /;
    };
    like($log, qr/"GET \Q$uri\E HTTP\/1.1" 444 0 /,
         '... and the access log 444');

    # rule 6 sends requests to them, and that is no life

    my $server = listen_on('127.0.0.12', $backend);
    my $client = connect_to($port);
    $client->send(post(mailbox_id(2)));
    my $peer = $server->accept;
    $peer->read_request;
    is(said(), 'closed', '... also while one is asked all the same');
    $peer->send(answer(200));
    is($client->read_answer->{status}, 200, '... which answers');
    $_->close for $peer, $client, $server;

    ok(wait_for { said() =~ /^200 / }, '... and when their time is over');
    is(words($open), 1, '... the log says so');
}

front_end('', alive => [ 13 ],
          upstream => "mapi;\nserver 127.0.0.11:%PORT%;\n"
                      . "server 127.0.0.12:%PORT%;\n"
                      . "server 127.0.0.13:%PORT% backup;");
is(ask($port, mailbox_id($_))->{status}, 200, 'a backup serves') for 1 .. 3;
like(said(), qr/^200 /, '... and lives: the page is open');

front_end('', alive => [], upstream => "mapi;\n"
          . 'server 127.0.0.11:%PORT% down; server 127.0.0.12:%PORT% down;');
is(said(), 'closed', 'servers that are down do not live');

front_end('', alive => [], upstream => "mapi owner;\n%SERVERS%");
like(said(), qr/^200 /, 'owner mode has the same page');


# a server that has all hands full lives

{
    front_end('', alive => [], upstream => "zone z 256k;\nmapi;\n"
                                           . 'server 127.0.0.11:%PORT% '
                                           . 'max_conns=1;');
    my $server = listen_on('127.0.0.11', $backend);
    my $client = connect_to($port);

    $client->send(post(mailbox_id(1)));
    my $peer = $server->accept;
    $peer->read_request;

    is(ask($port, mailbox_id(2))->{status}, 503, 'a server is full');
    like(said(), qr/^200 /, '... and lives');

    $peer->send(answer(200));
    $client->read_answer;
    $_->close for $peer, $client, $server;
}


# but not one that has failed, and is full of what was asked all the same

{
    front_end('', alive => [], upstream => "zone z 256k;\nmapi;\n"
              . 'server 127.0.0.11:%PORT% max_conns=2 max_fails=1 '
              . 'fail_timeout=4s; server 127.0.0.12:%PORT% down;');
    my $server = listen_on('127.0.0.11', $backend);
    my @ends;

    for my $fails (0, 1, 0) {
        my $client = connect_to($port);
        $client->send(post(mailbox_id(1)));
        my $peer = $server->accept;
        $peer->read_request;

        if ($fails) {
            like(said(), qr/^200 /, 'a server is full');
            $peer->close;
            is($client->read_answer->{status}, 503, '... it fails');
        }

        push @ends, $client, $peer;
    }

    is(said(), 'closed', '... it is full again');
    $_->close for @ends, $server;
}


# active checks need no request

{
    front_end('', alive => [], http => "mapi_zone mapi 1m;",
              upstream => "mapi;\nmapi_health_check type=tcp interval=100ms "
                          . "timeout=1s fails=2 passes=2;\n%SERVERS%");
    ok(wait_for { said() eq 'closed' }, 'servers that fail their checks');
    my $server = listen_on('127.0.0.12', $backend);
    ok(wait_for { said() =~ /^200 / }, '... one passes');
    $server->close;
    ok(wait_for { said() eq 'closed' }, '... and fails again');
}


# what the directory says: with the next request, in every worker

front_end("worker_processes 2;\n", http => $known);

sub saying
{
    my %all = map { said() => 1 } 1 .. 12;

    return join ' ', sort keys %all;
}

like(saying(), qr/^200 200 OK<br\/>\S+$/, 'all servers are active');

command('server', 'EX1', 'offline');
command('server', 'EX2', 'offline');
like(saying(), qr/^200 /, 'one of three is active');
command('server', 'EX3', 'draining');
like(saying(), qr/^200 /, '... draining');
command('server', 'EX3', 'offline');
is(saying(), 'closed', '... offline');
command('server', 'EX2', 'draining', '--within', '1s');
like(saying(), qr/^200 /, 'one drains for a while');
ok(wait_for { said() eq 'closed' }, '... and is offline by itself');
command('server', "EX$_", 'active') for 1 .. 3;
like(saying(), qr/^200 /, 'all are active again');

{
    my $client = connect_to($port);

    $client->send(request('GET', $uri));
    is($client->read_answer->{status}, 200, 'a client has seen the page');

    is(command('node'), "online\n", 'a node is online');
    command('node', 'offline');
    is(saying(), 'closed', '... and offline with the next request');
    is(said('HEAD'), 'closed', '... to HEAD too');

    $client->send(request('GET', $uri));
    ok($client->at_end, '... on an old connection, too');
    cmp_ok(words($closed . '"mapi-directory node offline" was said'), '>=', 1,
           '... the log says so');

    is(header(ask($port, mailbox_id($_)), 'X-Server'), home_of($_),
       '... and requests are served as ever') for 1 .. 3;

    my $last = connect_to($port);
    $last->send(post(mailbox_id(1)) . request('GET', $uri));
    is($last->read_answer->{status}, 200, 'one before the page is answered');
    ok($last->at_end, '... then it closes');

    # an import says nothing of the node

    make_directory('main', directory_csv());
    is(saying(), 'closed', 'an import leaves it offline');

    reload_nginx($front);
    is(saying(), 'closed', '... and so does a reload');

    command('node', 'online');
    like(saying(), qr/^200 /, 'online with the next request');
    ok(wait_for { words($open) >= 1 }, '... the log says so');
}

{
    my $new = make_directory('new', directory_csv());

    command('node', 'offline');
    is(said(), 'closed', 'offline');
    rename $path, "$path.old" or die $!;
    rename $new, $path or die $!;
    ok(wait_for { said() =~ /^200 / },
       'a new folder knows nothing of that');
    command('node', 'offline');
    is(said(), 'closed', '... and can be told');
    command('node', 'online');
}

front_end('', http => "mapi_directory $path.none;");
like(said(), qr/^200 /, 'without a directory the node is online');


# the rehearsal changes nothing

command('node', 'offline');
front_end('', http => $known, mapi => 'observe');
like(page()->{body}, qr/^127\.0\.0\.1[123]\n$/, '"mapi observe" passes it on');
like(page('HEAD')->{headers}{'x-server'}[0], qr/^127/, '... HEAD');
like(page('POST', $uri, 'Content-Length: 0')->{body}, qr/^127/, '... POST');
like(page('GET', '/MAPI/HealthCheck.htm')->{body}, qr/^127/, '... any case');

front_end('', http => $known, mapi => 'observe', alive => [],
          upstream => "server 127.0.0.11:%PORT%;");
{
    my $server = listen_on('127.0.0.11', $backend);
    my $client = connect_to($port);

    $client->send(request('GET', '/Mapi/HealthCheck.htm?x=%41'));
    my $peer = $server->accept;
    my $request = $peer->read_request;
    is((split / /, $request->{line})[1], '/Mapi/HealthCheck.htm?x=%41',
       '... as written, to a block without "mapi"');
    $peer->send(answer(200));
    is($client->read_answer->{status}, 200, '... which answers');
    $_->close for $peer, $client, $server;
}

front_end('', http => $known, mapi => 'off');
like(page()->{body}, qr/^127/, 'and so does "mapi off"');

stop_nginx($front);

done_testing();
