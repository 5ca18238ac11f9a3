# Headers: a server's answer passes as it is and gets ours beside it, what
# servers tell front ends stays here, and the server learns who asks.

use strict;
use warnings;

use Test::More;
use IO::Socket::UNIX;
use MapiRig;
use MapiRoad;

my $root = $ENV{MAPI_ROOT} or die "MAPI_ROOT is not set";
my ($port, $backend) = (free_port(), free_port('127.0.0.11'));
my $path = make_directory('main', directory_csv());
my $server = listen_on('127.0.0.11', $backend);
my $mailbox = mailbox_id(1);

my $guid = qr/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}
              -[0-9a-f]{12}/x;
my @own = qw( request-id X-CalculatedBETarget X-FEServer X-DeviceInfo );
my @internal = qw( X-DBMountedOnServer X-BEServerException
                   X-BEServerRoutingError X-MSExchangeActivityCtx );


# a front end with other settings takes the place of the one before

my $front;

sub front_end
{
    my (%o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();

    my $http = road_http(port => $port, backend => $backend, hosts => [ 11 ],
                         alive => [], %o,
                         http => "mapi_directory $path;\n"
                                 . ($o{http} || 'mapi_server_name
                                    Front-1.corp.example;'));

    # the road's own headers only: not those of the tests

    $http =~ s/^\s*add_header X-(?:Target|Route) .*\n//mg;
    $front = start_nginx("front$port", $http);
}


sub begin
{
    my ($text, $client) = @_;

    $client ||= connect_to($port);
    $client->send($text);
    my $peer = $server->accept;

    return ($client, $peer, $peer->read_request);
}


# one exchange: what the server has seen, and the answer

sub exchange
{
    my ($request, $answer) = @_;
    my ($client, $peer, $seen) = begin($request);

    $peer->send($answer || answer(200));
    my $got = $client->read_answer;

    $seen->{port} = $client->{socket}->sockport;
    $_->close for $client, $peer;

    return ($seen, $got);
}


sub lines_of
{
    my ($message) = @_;
    my (undef, @lines) = split /\r\n/, $message->{text};

    return @lines;
}


sub values_of
{
    my ($message, $name) = @_;

    return $message->{headers}{lc $name} || [];
}


# An Exchange front end's answer: all of it passes, in the letters of the
# server.  nginx puts those that it knows first.

my @typed = qw( Server Date Content-Type Content-Length );
my @exchange = (
    'Cache-Control: private',
    'Content-Type: application/mapi-http',
    'Vary: Accept-Encoding',
    'Server: Microsoft-IIS/10.0',
    'request-id: 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed',
    'X-CalculatedBETarget: EX7.Contoso.Com',
    'X-ServerApplication: Exchange/15.01.2507.012',
    'X-RequestId: {C715155F-2BE8-44E0-BD34-2960067874C8}:2',
    'X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}',
    'X-RequestType: Execute',
    'X-ResponseCode: 0',
    'X-PendingPeriod: 15000',
    'X-ExpirationInfo: 900000',
    'X-DiagInfo: EX7',
    'X-BEServer: EX7',
    'X-AspNet-Version: 4.0.30319',
    'Set-Cookie: MapiContext=MAPIAAAAAI7l; path=/mapi/emsmdb; secure; HttpOnly',
    'Set-Cookie: MapiSequence=5-zpYXXw==; path=/mapi/emsmdb; secure; HttpOnly',
    'Set-Cookie: X-BackEndCookie=S-1-5-21=u56Lnp2e; path=/mapi; secure',
    'X-Powered-By: ASP.NET',
    'X-FEServer: EX7',
    'x-all-LOWER-and-upper: a  b , "c"',
    'X-Twice: 1',
    'x-twice: 2',
    'Date: Thu, 01 Jan 2026 00:00:00 GMT',
    'Content-Length: 2',
);
my $exchange = join("\r\n", 'HTTP/1.1 200 All Right', @exchange) . "\r\n\r\nok";


sub untyped
{
    my $typed = join '|', @typed, 'Connection', 'X-DeviceInfo';

    return grep { !/^(?:$typed):/ } @_;
}


for my $client ('', 'Accept-Encoding: gzip, deflate') {
    front_end(proxy => "include \"$root/docs/conf/mapi_proxy.conf\";",
              server => 'server_name mail.example.com;');

    my (undef, $got) = exchange(post($mailbox, $client ? $client : ()),
                                $exchange);

    is($got->{line}, 'HTTP/1.1 200 All Right', "the server's status line");
    is_deeply([ sort(lines_of($got)) ],
              [ sort(@exchange, 'Connection: keep-alive',
                     'X-DeviceInfo: ngx_mapi route=directory') ],
              "a server's headers pass as they are, and one of ours");
    is_deeply([ untyped(lines_of($got)) ], [ untyped(@exchange) ],
              '... in their order');

    my @with = @exchange;
    splice @with, 7, 0, 'x-deviceinfo: its own';

    (undef, $got) = exchange(post($mailbox), join("\r\n", 'HTTP/1.1 200 OK',
                             @with) . "\r\n\r\nok");
    is_deeply([ sort(lines_of($got)) ],
              [ sort(@with, 'Connection: keep-alive') ],
              '... and none, if it has all');
}


# ours come where it sent none

sub ours_in
{
    my ($got) = @_;

    return { map { @{ values_of($got, $_) } ? ($_ => header($got, $_)) : () }
             @own };
}


front_end();

my ($seen, $got) = exchange(post($mailbox));

like(header($got, 'request-id'), qr/^$guid$/, 'an answer without any: our id');
is(header($got, 'X-CalculatedBETarget'), 'ex1.contoso.com', '... the server');
is(header($got, 'X-FEServer'), 'FRONT-1', '... this front end');
is(header($got, 'X-DeviceInfo'), 'ngx_mapi route=directory', '... the route');
like($got->{text}, qr/^X-CalculatedBETarget: .*^X-FEServer: /ms,
     '... in the letters of Exchange');

for my $name (@own) {
    for my $written ($name, lc $name, uc $name) {
        (undef, $got) = exchange(post($mailbox),
                                 answer(200, "$written: 1", "$written: 2"));
        is_deeply([ grep { /^\Q$name\E:/i } lines_of($got) ],
                  [ "$written: 1", "$written: 2" ],
                  "$written of the server stands for itself");
        is(scalar keys %{ ours_in($got) }, 4, '... and all others are ours');
    }
}

{
    (undef, my $other) = exchange(post($mailbox));
    isnt(header($other, 'request-id'), header($got, 'request-id'),
         'each request has its own id');

    (undef, $got) = exchange(post(mailbox_id(4711)));
    is(header($got, 'X-DeviceInfo'), 'ngx_mapi route=balance',
       'a mailbox that nobody knows');
    cmp_ok(length header($got, 'X-DeviceInfo'), '<=', 64, '... is short');
}


# a 401 tells who answers, and no place; nor does a reason before a logon

for my $headers (qw( on full )) {
    front_end(location => "mapi_headers $headers;");

    (undef, $got) = exchange(post($mailbox),
                             answer(401, 'WWW-Authenticate: Negotiate',
                                    'WWW-Authenticate: NTLM'));

    is_deeply([ sort keys %{ ours_in($got) } ],
              [ qw( X-DeviceInfo X-FEServer request-id ) ],
              "$headers: a 401 has three");
    is(header($got, 'X-DeviceInfo'), 'ngx_mapi', '... without the route');
    is(header($got, 'X-FEServer'), 'FRONT-1', '... with the front end');
    unlike($got->{text}, qr/ex1|contoso|127\.0\.0\.11|directory/i,
           '... and none tells the place');
    is(header($got, 'WWW-Authenticate'), 'Negotiate, NTLM',
       '... the challenges are there');

    for my $status (302, 403, 500, 503) {
        (undef, $got) = exchange(post($mailbox), answer($status));
        is(header($got, 'X-DeviceInfo'), 'ngx_mapi',
           "$headers: $status of a server does not tell the route");
        is(header($got, 'X-CalculatedBETarget'), 'ex1.contoso.com',
           '... but which server it was');
    }
}

(undef, $got) = exchange(post($mailbox),
                         answer(401, 'X-CalculatedBETarget: ex1.contoso.com',
                                'WWW-Authenticate: NTLM'));
ok(!defined header($got, 'X-CalculatedBETarget'),
   'full: a 401 loses the place that the server has told');


# full

{
    my ($seen, $got) = exchange(post($mailbox), $exchange);

    is_deeply([ map { scalar @{ values_of($got, $_) } } @own ],
              [ 1, 1, 1, 1 ], 'full: one line each');
    like(header($got, 'request-id'), qr/^$guid$/, '... the id is ours');
    isnt(header($got, 'request-id'), '1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed',
         '... and not theirs');
    is(header($got, 'X-CalculatedBETarget'), 'ex1.contoso.com',
       '... the server');
    is(header($got, 'X-FEServer'), 'FRONT-1', '... the front end');
    is_deeply([ grep { !/^(?:request-id|X-CalculatedBETarget|X-FEServer):/i }
                untyped(lines_of($got)) ],
              [ grep { !/^(?:request-id|X-CalculatedBETarget|X-FEServer):/i }
                untyped(@exchange) ],
              '... and all others are as they were');
}


# off

front_end(location => 'mapi_headers off;');

(undef, $got) = exchange(post($mailbox));
is_deeply(ours_in($got), {}, 'off: none of ours');
(undef, $got) = exchange(post($mailbox), $exchange);
is_deeply([ untyped(lines_of($got)) ], [ untyped(@exchange) ],
          "... and all of the server's");
is_deeply(ours_in(talk($port, request('POST', '/mapi/emsmdb/',
                                      'Content-Length: 0'))), {},
          '... nor on a 400');


# what the administrator has hidden does not come back

front_end(location => 'proxy_hide_header X-CalculatedBETarget;');

(undef, $got) = exchange(post($mailbox), $exchange);
ok(!defined header($got, 'X-CalculatedBETarget'),
   'what "proxy_hide_header" takes away stays away');


# what servers tell front ends

for my $headers (qw( on off full )) {
    front_end(location => "mapi_headers $headers;");

    for my $name (@internal) {
        my @lines = map { ("X-Pad-$_: $_") } 1 .. 40;

        splice @lines, 30, 0, uc($name) . ': c';
        splice @lines, 20, 0, "$name: a";
        splice @lines, 20, 0, "$name: b";
        splice @lines, 0, 0, lc($name) . ': d';

        my (undef, $got) = exchange(post($mailbox),
                                    answer(200, @lines, "$name: e",
                                           "${name}s: f", "X$name: g"));

        is_deeply(values_of($got, $name), [], "$headers: $name stays here");
        is(scalar(grep { /^X-Pad-/ } lines_of($got)), 40,
           '... takes no other along');
        is(header($got, "${name}s") . header($got, "X$name"), 'fg',
           '... and no name that is like it');
    }

    (undef, $got) = exchange(post($mailbox),
                             answer(555, map { "$_: x" } @internal));
    is_deeply([ map { @{ values_of($got, $_) } } @internal ], [],
              "$headers: all of them, on any answer");
}


# the echo

for my $headers (qw( on off )) {
    front_end(location => "mapi_headers $headers;");

    my $id = '{2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}';
    my $want = 'return-client-request-id: true';

    for my $case ([ [ $want, "client-request-id: $id" ], $id ],
                  [ [ 'Return-Client-Request-Id: TRUE',
                      "Client-Request-Id: $id" ], $id ],
                  [ [ "client-request-id: $id" ], undef ],
                  [ [ "return-client-request-id: false",
                      "client-request-id: $id" ], undef ],
                  [ [ "return-client-request-id: true1",
                      "client-request-id: $id" ], undef ],
                  [ [ $want ], undef ],
                  [ [ $want, 'client-request-id:' ], undef ],
                  [ [ $want, 'client-request-id: a b' ], undef ],
                  [ [ $want, "client-request-id: a\tb" ], undef ],
                  [ [ $want, "client-request-id: a\xffb" ], undef ],
                  [ [ $want, "client-request-id: a\x7fb" ], undef ],
                  [ [ $want, 'client-request-id: ' . 'x' x 128 ], 'x' x 128 ],
                  [ [ $want, 'client-request-id: ' . 'x' x 129 ], undef ])
    {
        my ($lines, $expected) = @$case;
        (my $name = join ' | ', @$lines) =~ s/[^ -~]/?/g;
        my (undef, $got) = exchange(post($mailbox, @$lines));

        is(header($got, 'client-request-id'), $expected,
           "$headers: echo of \"" . substr($name, 0, 80) . '"');
    }

    (undef, $got) = exchange(post($mailbox, $want, "client-request-id: $id"),
                             answer(200, 'Client-Request-Id: its own'));
    is(header($got, 'client-request-id'), 'its own',
       "$headers: the server's own stands");
    $got = talk($port, request('POST', '/mapi/emsmdb/', $want,
                               "client-request-id: $id", 'Content-Length: 0'));
    is("$got->{status} " . header($got, 'client-request-id'), "400 $id",
       "$headers: also on an answer of our own");
}


# answers of our own

front_end(upstream => "mapi owner;\nserver 127.0.0.11:%PORT%;\n"
                      . "server 127.0.0.12:%PORT%;\n"
                      . "server 127.0.0.13:%PORT% down;",
          proxy => 'proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_read_timeout 1s;');

sub own_answer
{
    my ($what, $got, $status, $target) = @_;

    is($got->{status}, $status, $what);
    like(header($got, 'request-id'), qr/^$guid$/, '... with an id');
    is(header($got, 'X-FEServer'), 'FRONT-1', '... and the front end');
    is(header($got, 'X-DeviceInfo'), 'ngx_mapi', '... and no route');
    is(header($got, 'X-CalculatedBETarget'), $target,
       '... ' . ($target ? 'and the server' : 'and no server'));
}

own_answer('a request for nobody',
           talk($port, request('POST', '/mapi/emsmdb/', 'Content-Length: 0')),
           400);
own_answer('another path', talk($port, request('GET', '/mapi/x')), 404);
own_answer('another method',
           talk($port, request('PUT', "/mapi/emsmdb/?MailboxId=$mailbox",
                               'Content-Length: 0')), 405);
own_answer('a server that refuses', ask($port, mailbox_id(2)), 503,
           'ex2.contoso.com');
own_answer('a server that is down', ask($port, mailbox_id(3)), 503);

{
    my ($client, $peer) = begin(post($mailbox));

    $peer->close;
    own_answer('a server that dies', $client->read_answer, 503,
               'ex1.contoso.com');
    $client->close;

    ($client, $peer) = begin(post($mailbox));
    own_answer('a silent server', $client->read_answer, 504,
               'ex1.contoso.com');
    $_->close for $client, $peer;
}

front_end(alive => [ 12 ], hosts => [ 12 ]);
$got = talk($port, request('GET', '/mapi/healthcheck.htm'));
is($got->{status}, 200, 'the health page');
is_deeply(ours_in($got), {}, '... has none of them');

front_end(location => 'deny all;');
$got = ask($port, $mailbox);
is($got->{status}, 403, 'what the access phase refuses');
is_deeply(ours_in($got), {}, '... has none of them either');

for my $case ([ 'http', 'mapi_server_name ex-a.b.c;', '', 'EX-A' ],
              [ 'server', 'mapi_server_name ex-a;',
                'mapi_server_name under_score;', 'UNDER_SCORE' ])
{
    my ($where, $http, $lines, $expected) = @$case;

    front_end(http => $http, server => $lines);
    (undef, $got) = exchange(post($mailbox));
    is(header($got, 'X-FEServer'), $expected, "mapi_server_name in $where");
}


# who asks: the server believes the address behind the last comma

my %settings = (append => '', replace => 'mapi_forwarded_for replace;',
                off => 'mapi_forwarded_for off;');
my $long = join(',', ('198.51.100.77') x 600);

for my $how (qw( append replace off )) {
    front_end(location => $settings{$how},
              server => 'underscores_in_headers on;');

    # lines of the client; what they are with "append"; and with "off"

    for my $case ([ [], '', '', [], [] ],
                  [ [ 'X-Forwarded-For: 203.0.113.9' ], '203.0.113.9,', '',
                    [ '203.0.113.9' ], [] ],
                  [ [ 'X-Forwarded-For: 203.0.113.9',
                      'X-Forwarded-Port: 4711' ], '203.0.113.9,', '4711,',
                    [ '203.0.113.9' ], [ '4711' ] ],
                  [ [ 'X-Forwarded-For: 203.0.113.9, 203.0.113.10',
                      'X-Other: 1', 'x-forwarded-for: 2001:db8::1',
                      'X-Forwarded-Port: 1', 'X-FORWARDED-PORT: 2' ],
                    '203.0.113.9, 203.0.113.10,2001:db8::1,', '1,2,',
                    [ '203.0.113.9, 203.0.113.10', '2001:db8::1' ],
                    [ 1, 2 ] ],
                  [ [ 'X-Forwarded-For: evil, 127.0.0.1,,;"', 'X-Other: 1',
                      'X-Forwarded-Port: ,' ],
                    'evil, 127.0.0.1,,;",', ',,', [ 'evil, 127.0.0.1,,;"' ],
                    [ ',' ] ],
                  [ [ 'X-Forwarded-For:', 'X-Forwarded-Port:' ], '', '',
                    [ '' ], [ '' ] ],
                  [ [ 'X-Forwarded-For:', 'X-Forwarded-For: 203.0.113.9' ],
                    '203.0.113.9,', '', [ '', '203.0.113.9' ], [] ],
                  [ [ "X-Forwarded-For: $long" ], "$long,", '', [ $long ],
                    [] ],
                  [ [ ('X-Forwarded-For: 1', 'X-Forwarded-Port: 2') x 60 ],
                    '1,' x 60, '2,' x 60, [ (1) x 60 ], [ (2) x 60 ] ])
    {
        my ($lines, $for, $ports, @off) = @$case;
        my @pad = map { "X-Pad-$_: $_" } 1 .. 45;
        my @all = @pad;

        splice @all, int(@all * $_ / (@$lines + 1)), 0, $lines->[$_ - 1]
            for reverse 1 .. @$lines;

        # in front of the others, behind them and among them

        for my $headers ([ @$lines, @pad ], [ @pad, @$lines ], \@all) {
            my ($seen) = exchange(post($mailbox, @$headers));
            my $name = "$how: " . substr(join(' | ', @$lines), 0, 60);
            my @expected = ([ "${for}127.0.0.1" ], [ "$ports$seen->{port}" ]);

            @expected = ([ '127.0.0.1' ], [ $seen->{port} ])
                if $how eq 'replace';
            @expected = @off if $how eq 'off';

            is_deeply([ map { values_of($seen, "X-Forwarded-$_") }
                        qw( For Port ) ], \@expected, $name);
            is_deeply([ grep { /^X-Pad/ } lines_of($seen) ], \@pad,
                      '... and all others, in their order');
        }
    }

    next if $how eq 'off';

    my ($seen) = exchange(post($mailbox, 'X_Forwarded_For: 203.0.113.1',
                               'X-Forwarded_For: 203.0.113.2',
                               'X_FORWARDED-FOR: 203.0.113.3',
                               'X_Forwarded_Port: 1',
                               'X-Forwarded-For: 203.0.113.9'));
    unlike($seen->{text}, qr/^X.Forwarded_|^X_Forwarded/mi,
           "$how: no such header passes with an underscore");
    is(header($seen, 'X-Forwarded-For'),
       $how eq 'append' ? '203.0.113.9,127.0.0.1' : '127.0.0.1',
       '... nor adds to the one without');
}


# which front end, which request

front_end(server => 'access_log %PREFIX%/access.log all;
                     underscores_in_headers on;',
          http => 'mapi_server_name Front-1.corp.example;
                   log_format all "<$mapi_activity_id> <$http_x_forwarded_for>";');

($seen, $got) = exchange(post($mailbox, 'X-Forwarded-For: 203.0.113.8',
                              'X-Forwarded-For: 203.0.113.9',
                              'X-SourceCafeServer: evil',
                              'X_SourceCafeServer: evil',
                              'X-MSExchangeActivityCtx: evil',
                              'x_msexchangeactivityctx: evil'));

is_deeply(values_of($seen, 'X-SourceCafeServer'), [ 'Front-1.corp.example' ],
          'X-SourceCafeServer is ours alone');
is_deeply(values_of($seen, 'X-MSExchangeActivityCtx'),
          [ 'V=1.0.0.0;Id=' . header($got, 'request-id') . ';C=;P=' ],
          "X-MSExchangeActivityCtx has the answer's request-id");
unlike($seen->{text}, qr/evil/, '... and nothing of the client');

wait_for { -s "$front->{prefix}/access.log" };
is(slurp("$front->{prefix}/access.log"),
   '<' . header($got, 'request-id') . "> <203.0.113.8, 203.0.113.9>\n",
   'the log has the same, and what the client sent');


# or none of that: what a client sends goes all the same

front_end(location => 'mapi_introduce off;');

($seen, $got) = exchange(post($mailbox, 'X-SourceCafeServer: evil',
                              'x-msexchangeactivityctx: evil'));

unlike($seen->{text}, qr/^X-(?:SourceCafeServer|MSExchangeActivityCtx)/mi,
       'mapi_introduce off: servers are not told');
unlike($seen->{text}, qr/evil/, '... nor by the client');
is(header($seen, 'X-Forwarded-For'), '127.0.0.1', '... but who asks');
like(header($got, 'request-id'), qr/^$guid$/, '... and the answer has its GUID');


# the configuration's own lines come last

front_end(location => 'proxy_set_header X-SourceCafeServer mine;
    proxy_set_header Connection "";
    proxy_set_header X-MSExchangeActivityCtx "";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Port $http_x_forwarded_for;', proxy =>
    'proxy_http_version 1.1;');

($seen) = exchange(post($mailbox, 'X-Forwarded-For: 203.0.113.8',
                        'X-Forwarded-For: 203.0.113.9'));

is_deeply(values_of($seen, 'X-Forwarded-For'),
          [ '203.0.113.8, 203.0.113.9, 127.0.0.1' ],
          '$proxy_add_x_forwarded_for: our address once');
is(header($seen, 'X-Forwarded-Port'), '203.0.113.8, 203.0.113.9',
   '$http_x_forwarded_for: what the client sent');
is(header($seen, 'X-SourceCafeServer'), 'mine', 'proxy_set_header replaces');
ok(!defined header($seen, 'X-MSExchangeActivityCtx'), '... and takes away');

($seen) = exchange(post($mailbox));
is(header($seen, 'X-Forwarded-For'), '127.0.0.1', '... and without any');


# a peer that realip has put there, and one without an address

front_end(server => 'set_real_ip_from 127.0.0.1;
                     real_ip_header X-Forwarded-For;
                     listen unix:%PREFIX%/socket;');

($seen) = exchange(post($mailbox, 'X-Forwarded-For: 203.0.113.9',
                        'X-Forwarded-Port: 4711'));
is(header($seen, 'X-Forwarded-For'), '203.0.113.9,203.0.113.9',
   "realip's address is the peer's");
is(header($seen, 'X-Forwarded-Port'), '4711', '... which has no port');
($seen) = exchange(post($mailbox, 'X-Forwarded-For: 203.0.113.9'));
ok(!defined header($seen, 'X-Forwarded-Port'), '... so that none is made up');
($seen) = exchange(post($mailbox));
is(header($seen, 'X-Forwarded-For'), '127.0.0.1', '... and without its word');

for my $lines ([], [ 'X-Forwarded-For: 203.0.113.9' ]) {
    my $socket = IO::Socket::UNIX->new(Peer => "$front->{prefix}/socket")
        or die "socket: $!";
    my ($client, $peer, $seen) = begin(post($mailbox, @$lines),
                                       MapiRoad::End->new($socket));

    is(header($seen, 'X-Forwarded-For'), $lines->[0] ? '203.0.113.9' : undef,
       'a Unix socket has no address to add');
    ok(!defined header($seen, 'X-Forwarded-Port'), '... and no port');
    is(header($seen, 'X-SourceCafeServer'), 'Front-1.corp.example',
       '... but the front end has its name');
    $_->close for $client, $peer;
}


# observe

front_end(mapi => 'observe');

($seen, $got) = exchange(post($mailbox, 'X-Forwarded-For: 203.0.113.9'),
                         answer(200, 'X-DBMountedOnServer: x'));
is(header($seen, 'X-Forwarded-For'), '203.0.113.9', 'observe adds nothing');
ok(!defined header($seen, $_), "... no $_")
    for qw( X-Forwarded-Port X-SourceCafeServer X-MSExchangeActivityCtx );
is_deeply(ours_in($got), {}, '... nothing to the answer');
is(header($got, 'X-DBMountedOnServer'), 'x', '... and takes nothing away');


# A second road after an internal redirect: each of them once.  "off" of the
# first one leaves it to the second.

for my $case ([ append => 'off' ], [ off => 'append' ], [ append => 'append' ],
              [ off => 'off' ])
{
    my ($first, $second) = @$case;

    front_end(http => "mapi_server_name Front-1.corp.example;
                  upstream nobody { mapi owner; server 127.0.0.11:1; }",
              server => "location /mapi/nspi {
                  mapi on;
                  mapi_forwarded_for $first;
                  error_page 502 = \@rest;
                  proxy_pass http://nobody;
                  proxy_http_version 1.1;
                  proxy_set_header Connection '';
              }
              location \@rest {
                  mapi on;
                  mapi_forwarded_for $second;
                  proxy_pass http://exchange;
                  proxy_http_version 1.1;
                  proxy_set_header Connection '';
              }");

    my ($seen, $got) = exchange(request('POST',
                                        "/mapi/nspi/?MailboxId=$mailbox",
                                        'X-Forwarded-For: 203.0.113.9',
                                        'Content-Length: 0'));

    is($got->{status}, 200, "$first, then $second: a second road");
    is_deeply(values_of($seen, 'X-Forwarded-For'),
              [ "$first$second" =~ /append/ ? '203.0.113.9,127.0.0.1'
                                            : '203.0.113.9' ],
              '... says who asks as the first one that has to');
    is_deeply([ map { scalar @{ values_of($seen, $_) } }
                qw( X-SourceCafeServer X-MSExchangeActivityCtx ) ], [ 1, 1 ],
              '... and the others once');
    is(header($seen, 'X-MSExchangeActivityCtx'),
       'V=1.0.0.0;Id=' . header($got, 'request-id') . ';C=;P=',
       '... of one request');
}


# two front ends in a row: each adds the address that it has seen

{
    my $second = free_port('127.0.0.21');

    front_end(http => "mapi_server_name second.corp.example;
        upstream inner { mapi; server 127.0.0.11:$backend; }

        server {
            listen 127.0.0.21:$second;

            location / {
                mapi on;
                proxy_pass http://inner;
                proxy_http_version 1.1;
                proxy_set_header Connection '';
            }
        }",
        server => 'mapi_server_name first.corp.example;
                   proxy_bind 127.0.0.7;',
        upstream => "mapi;\nserver 127.0.0.21:$second;");

    my $client = connect_to($port, '127.0.0.5');
    my $from = $client->{socket}->sockport;
    my (undef, $peer, $seen) = begin(post($mailbox), $client);

    is_deeply(values_of($seen, 'X-Forwarded-For'), [ '127.0.0.5,127.0.0.7' ],
              'two front ends: two addresses');
    like(header($seen, 'X-Forwarded-Port'), qr/^$from,\d+$/, '... and ports');
    is_deeply(values_of($seen, 'X-SourceCafeServer'),
              [ 'second.corp.example' ], "... the last one's name");
    is(scalar @{ values_of($seen, 'X-MSExchangeActivityCtx') }, 1,
       '... and one activity');

    $peer->send(answer(200));
    my $got = $client->read_answer;

    is(header($got, 'X-FEServer'), 'SECOND',
       'the answer keeps what the inner one has set');
    is(header($seen, 'X-MSExchangeActivityCtx'),
       'V=1.0.0.0;Id=' . header($got, 'request-id') . ';C=;P=',
       '... its id too');
    is_deeply([ map { scalar @{ values_of($got, $_) } } @own ], [ 1, 1, 1, 1 ],
              '... each once');
    $_->close for $client, $peer;
}

stop_nginx($front);

done_testing();
