
# Ends of requests that are none of the usual ones: what their rows say.

use strict;
use warnings;

use IO::Select;
use Test::More;
use Time::HiRes qw( sleep );
use MapiLog;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $elsewhere = free_port();
my $port = free_port();
my $directory = make_directory('mapi_dir', directory_csv());
my $road = "proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n";

my $front = start_nginx('front', "worker_shutdown_timeout 1s;\n"
    . road_http(port => $port,
    backend => $backend, alive => [], http => <<"EOT",
mapi_directory $directory;
mapi_log %PREFIX%/rows flush=50ms;
limit_req_zone \$http_x_limit zone=limit:64k rate=1r/m;

upstream wrecked {
    server 127.0.0.11:$backend;
    server 255.255.255.255:$backend;
    mapi_pin on;
}

upstream plain {
    server 127.0.0.14:$backend;
}

upstream narrow {
    mapi;
    server 127.0.0.11:$backend max_conns=1;
}

upstream layered {
    server 127.0.0.11:$backend;
    mapi_pin on;
}

server {
    listen 127.0.0.1:$elsewhere;
    return 200 "from elsewhere";
}
EOT
    upstream => "mapi;\n"
                . join('', map { "server 127.0.0.$_:%PORT% max_fails=0;\n" }
                           11 .. 13)
                . "mapi_pin on;\nkeepalive 8;\n",
    location => 'client_body_timeout 1s; client_max_body_size 300k;'
                . ' limit_req zone=limit;',
    server => <<"EOT"));
location = /mapi/nspi/ {
    mapi observe;
    $road
    proxy_pass http://layered;
}

location = /mapi/nspi {
    mapi observe;
    $road
    proxy_next_upstream error timeout non_idempotent;
    proxy_pass http://wrecked;
}

location = /mapi/bound {
    mapi observe;
    $road
    proxy_bind 192.0.2.1;
    proxy_pass http://layered;
}

location = /mapi/plain {
    mapi observe;
    $road
    proxy_pass http://plain;
}

location = /mapi/emsmdb {
    mapi on;
    $road
    log_subrequest on;
    mirror /mirror;
    mirror_request_body off;
    proxy_request_buffering off;
    proxy_pass http://exchange;
}

location = /mapi/emsmdb/ {
    mapi on;
    $road
    client_body_timeout 1s;
    limit_req zone=limit;

    if (\$http_x_case = narrow) {
        proxy_pass http://narrow;
    }

    if (\$http_x_case = fallback) {
        error_page 502 = \@fallback;
    }

    if (\$http_x_case = apology) {
        error_page 502 /apology;
    }

    proxy_pass http://exchange;
}

location = /apology {
    internal;
    return 200 "we are sorry";
}

location = /mirror {
    internal;
    log_subrequest on;
    return 204;
}

location \@fallback {
    proxy_pass http://127.0.0.1:$elsewhere;
}
EOT

my $folder = "$front->{prefix}/rows";


sub rows { return new_rows($folder, $_[0]) }


sub row_is
{
    my ($name, $errors, %expected) = @_;
    my ($row) = rows(1);
    my %got = map { $_ => $row->{$_} } keys %expected;

    is_deeply(\%got, \%expected, $name) or diag $row->{line};
    is($row->{GenericErrors}, $errors, "$name: GenericErrors");

    return $row;
}


# one request to the first server; what it answers, and whether it closes

sub served
{
    my ($request, $answer, $closes) = @_;
    my $client = connect_to($port);

    $client->send($request);

    my $peer = $servers[0]->accept;

    $peer->read_request;
    $peer->send($answer);
    $peer->close if $closes;

    my $got = $client->read_answer($request =~ /^HEAD /);

    $_->close for $client, $peer;

    return $got;
}


sub line
{
    my ($method, $path, @headers) = @_;

    return request($method, "$path?MailboxId=" . mailbox_id(1), @headers);
}


# whole answers that have no body

for my $closes (0, 1) {
    my $how = $closes ? ', the server closes' : '';

    served(line('HEAD', '/mapi/emsmdb/'),
           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", $closes);
    row_is("HEAD$how", '', HttpStatus => 200, BackEndStatus => 200,
           ErrorCode => '', ResponseBytes => 0, ClientRespStreamLatency => '');

    served(line('POST', '/mapi/emsmdb/', 'Content-Length: 0'),
           "HTTP/1.1 204 No Content\r\n\r\n", $closes);
    row_is("a 204$how", '', HttpStatus => 204, BackEndStatus => 204,
           ErrorCode => '', ResponseBytes => 0);

    served(line('GET', '/mapi/emsmdb/'),
           "HTTP/1.1 304 Not Modified\r\n\r\n", $closes);
    row_is("a 304$how", '', HttpStatus => 304, BackEndStatus => 304,
           ErrorCode => '', ResponseBytes => 0);
}


# observed, so buffered

for my $closes (0, 1) {
    my $how = $closes ? ', the server closes' : '';

    served(line('POST', '/mapi/nspi/', 'Content-Length: 0'),
           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", $closes);
    row_is("a buffered answer$how", '', HttpStatus => 200,
           BackEndStatus => 200, ErrorCode => '', ResponseBytes => 5);

    served(line('POST', '/mapi/nspi/', 'Content-Length: 0'),
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           . "5\r\nhello\r\n0\r\n\r\n", $closes);
    row_is("a buffered answer in chunks$how", '', HttpStatus => 200,
           BackEndStatus => 200, ErrorCode => '', ResponseBytes => 5);
}

served(line('POST', '/mapi/nspi/', 'Content-Length: 0'),
       "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", 1);
row_is('until the connection ends', '', HttpStatus => 200, ErrorCode => '',
       BackEndStatus => 200, ResponseBytes => 5);

served(line('HEAD', '/mapi/nspi/'),
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
row_is('HEAD, observed', '', HttpStatus => 200, BackEndStatus => 200,
       ErrorCode => '', ResponseBytes => 0);

{
    my $client = connect_to($port);

    $client->send(line('POST', '/mapi/nspi/', 'Content-Length: 0'));

    my $peer = $servers[0]->accept;

    $peer->read_request;
    $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    $peer->close;
    $client->read_until(qr/hello/);
    row_is('a buffered answer that is cut',
           'WebExceptionStatus=ConnectionClosed;ClosedBy=Server;',
           HttpStatus => 200, BackEndStatus => 200, ErrorCode => '');
    $client->close;
}


# the one that had got the request died, the next cannot even be tried

{
    my $client = connect_to($port);

    # round robin begins with either

    for my $try (1, 2) {
        $client->send(line('POST', '/mapi/nspi', 'Content-Length: 3')
                      . 'abc');

        my $peer = $servers[0]->accept;

        $peer->read_request;
        $peer->close;
        $client->read_answer;

        my ($row) = rows(1);

        next if $row->{TargetServer} !~ /^255/;

        is($row->{BackEndStatus}, 'ConnectFailure', 'the last attempt')
            or diag $row->{line};
        is($row->{ErrorCode}, 'ConnectFailure', '... counts');
        is($row->{GenericErrors}, 'WebExceptionStatus=ConnectFailure;'
           . 'ClosedBy=Server (refused);', '... and why');
        last;
    }

    $client->close;
}


# what is not the server's fault, and what is not known

served_by_nobody('/mapi/bound', 500, 'we cannot connect',
                 'WebExceptionStatus=ConnectFailure;'
                 . 'ClosedBy=Proxy (cannot connect);',
                 BackEndStatus => 'ConnectFailure',
                 ErrorCode => 'ConnectFailure');
served_by_nobody('/mapi/plain', 502, 'a block that tells nothing', '',
                 BackEndStatus => '', ErrorCode => 'BadGateway',
                 TargetServer => "127.0.0.14:$backend");

sub served_by_nobody
{
    my ($path, $status, $name, $errors, %expected) = @_;

    is(talk($port, line('POST', $path, 'Content-Length: 0'))->{status},
       $status, $name);
    row_is("$name: the row", $errors, HttpStatus => $status, %expected);
}


# a place is there when the request comes and taken when its body has come

{
    my @clients = map { connect_to($port) } 1, 2;

    $_->send(line('POST', '/mapi/emsmdb/', 'X-Case: narrow',
                  'Content-Length: 3')) for @clients;
    sleep 0.2;
    $clients[0]->send('abc');

    my $peer = $servers[0]->accept;

    $peer->read_request;
    $clients[1]->send('abc');
    is($clients[1]->read_answer->{status}, 503, 'the place is taken');
    row_is('nobody was asked', '', HttpStatus => 503, BackEndStatus => '',
           ErrorCode => 'ServerNotFound', TargetServer => '',
           RoutingType => '');
    $peer->send(answer(200));
    $clients[0]->read_answer;
    row_is('... by this one', '', HttpStatus => 200,
           TargetServer => 'ex1.contoso.com');
    $_->close for @clients, $peer;
}


# a body that does not come

{
    my $client = connect_to($port);

    $client->send(line('POST', '/mapi/emsmdb/', 'Content-Length: 9') . 'abc');
    row_is('a body that does not come', '', HttpStatus => 408,
           ErrorCode => 'RequestTimeout', RequestBytes => 9);
    $client->close;

    $client = connect_to($port);
    $client->send(line('POST', '/mapi/emsmdb/', 'Content-Length: 9') . 'abc');
    sleep 0.2;
    $client->close;
    row_is('the client goes away in its body', '',
           ErrorCode => 'ClientDisconnect');
}


# a body that goes on to the server as it comes

{
    my $client = connect_to($port);

    $client->send(line('POST', '/mapi/emsmdb', 'Content-Length: 6') . 'abc');

    my $peer = $servers[0]->accept;

    $peer->read_until(qr/abc/);
    sleep 0.1;
    $client->send('def');
    $peer->read_until(qr/def/);
    $peer->send(answer(200));
    $client->read_answer;

    my $row = row_is('in pieces', '', HttpStatus => 200, RequestBytes => 6);

    cmp_ok($row->{BackendReqStreamLatency}, '>=', 50, '... the client takes')
        or diag $row->{line};

    $client->send(line('POST', '/mapi/emsmdb', 'Content-Length: 6') . 'abc');
    $peer->read_until(qr/abc/);
    $client->close;

    $row = row_is('... and goes away in the middle',
                  'HttpException=ClientDisconnect;ClosedBy=Client;',
                  BackEndStatus => '', ErrorCode => 'ClientDisconnect',
                  BackendProcessingLatency => '', ProxyTime => '');
    like($row->{GenericInfo}, qr/;ProxyState-Complete=ProxyRequestData;/,
         '... of the sending');
    $peer->close;
}


# an error page has the answer from elsewhere

{
    my $client = connect_to($port);

    $client->send(line('POST', '/mapi/emsmdb/', 'X-Case: fallback',
                       'Content-Length: 3') . 'abc');

    my $peer = $servers[0]->accept;

    $peer->read_request;
    $peer->close;

    my $answer = $client->read_answer;

    is($answer->{body}, 'from elsewhere', 'an error page of another server')
        or diag $answer->{text};
    row_is('... and the row of ours',
           'WebExceptionStatus=ConnectionClosed;ClosedBy=Server;',
           HttpStatus => 200, BackEndStatus => 'ConnectionClosed',
           ErrorCode => 'ConnectionClosed', TargetServer => 'ex1.contoso.com');
    $client->close;
}


# nginx makes a GET of it for a page of its own

{
    my $client = connect_to($port);

    $client->send(line('POST', '/mapi/emsmdb/', 'X-Case: apology',
                       'X-RequestId: {A}:1', 'Content-Length: 3') . 'abc');

    my $peer = $servers[0]->accept;

    $peer->read_request;
    $peer->close;
    is($client->read_answer->{body}, 'we are sorry', 'a page of our own');
    row_is('... and the row of what was asked',
           'WebExceptionStatus=ConnectionClosed;ClosedBy=Server;',
           HttpStatus => 502, Method => 'POST', RequestBytes => 3,
           UrlStem => '/mapi/emsmdb/',
           UrlQuery => '?MailboxId=' . mailbox_id(1),
           ClientRequestId => 'R:{A}:1;RT:<null>;CI:<null>;CID:<null>',
           TargetServer => 'ex1.contoso.com', ResponseBytes => '');
    $client->close;
}


# a limit

{
    my $client = connect_to($port);
    my ($peer) = carry(\@servers, $client,
        line('POST', '/mapi/emsmdb/', 'X-Limit: a', 'Content-Length: 0'),
        answer(200));

    row_is('below the limit', '', HttpStatus => 200);
    $client->send(line('POST', '/mapi/emsmdb/', 'X-Limit: a',
                       'Content-Length: 0'));
    is($client->read_answer->{status}, 503, 'above the limit');
    row_is('... in its row', '', HttpStatus => 503, TargetServer => '',
           ErrorCode => 'ServiceUnavailable', AnchorMailbox => '');
    $_->close for $client, $peer;
}


# lengths of bodies in chunks; HTTP/1.0

{
    my $client = connect_to($port);
    my ($peer) = carry(\@servers, $client,
        line('POST', '/mapi/emsmdb/', 'Transfer-Encoding: chunked')
        . "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", answer(200));

    row_is('a body in chunks', '', HttpStatus => 200, RequestBytes => 7);

    ($peer) = carry(\@servers, $client,
        line('POST', '/mapi/emsmdb/', 'Content-Length: 0'), answer(200),
        $peer);
    row_is('... and the next request', '', HttpStatus => 200,
           RequestBytes => 0, BackendReqStreamLatency => '');
    $_->close for $client, $peer;

    $client = connect_to($port);
    ($peer) = carry(\@servers, $client,
        "GET /mapi/emsmdb/?MailboxId=" . mailbox_id(1)
        . " HTTP/1.0\r\nConnection: close\r\n\r\n", answer(200));
    row_is('HTTP/1.0', '', HttpStatus => 200, UrlHost => '');
    $_->close for $client, $peer;
}

# another list of columns: a file has one

{
    my $text = slurp($front->{conf});

    $text =~ s/ flush=50ms;/ flush=50ms columns=69;/ or die;
    spew($front->{conf}, $text);
    reload_nginx($front);

    # the worker of before may still take one or the other

    my $sent = 0;

    wait_for {
        my $client = connect_to($port);
        my ($peer) = carry(\@servers, $client, post(mailbox_id(1)),
                           answer(200));

        $_->close for $client, $peer;
        $sent++;
        sleep 0.1;
        log_files($folder) > 1;
    };

    my $row = (rows($sent))[-1];

    is(scalar @{ $row->{names} }, 69, 'a list of its own');
    is($row->{MinorVersion}, 0, '... and the version that has it');
}


# a worker that ends, and nobody who asked for it

{
    my @clients = map { connect_to($port) } 1 .. 3;

    $_->send(line('POST', '/mapi/emsmdb/', 'Content-Length: 3') . 'abc')
        for @clients[0, 1];
    $clients[2]->send(line('POST', '/mapi/nspi/', 'Content-Length: 3'));

    my @peers = map { $servers[0]->accept } 1, 2;

    $_->read_request for @peers;
    $peers[0]->send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    wait_for { my $r = IO::Select->new(map { $_->{socket} } @clients);
               $r->can_read(0) };

    stop_nginx($front);

    my @rows = sort { $a->{HttpStatus} <=> $b->{HttpStatus}
                      || $a->{ProxyAction} cmp $b->{ProxyAction} } rows(3);

    is_deeply([ map { "$_->{HttpStatus} $_->{BackEndStatus}"
                      . " $_->{ErrorCode}" } @rows ],
              [ '0  RequestCanceled', '0 RequestCanceled RequestCanceled',
                '200 200 ' ], 'a worker that ends');
    is_deeply([ map { $_->{GenericErrors} } @rows ],
              [ '', ('WebExceptionStatus=RequestCanceled;'
                     . 'ClosedBy=Proxy (shutdown);') x 2 ],
              '... is no client that goes away');
}

done_testing();
