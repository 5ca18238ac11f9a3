
# What a request leaves in the HttpProxy log: each column, each way to fail.

use strict;
use warnings;

use MIME::Base64 qw( encode_base64 );
use Test::More;
use Time::HiRes qw( sleep );
use MapiLog;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $port = free_port();
my $directory = make_directory('mapi_dir', directory_csv());

my $front = start_nginx('front', road_http(port => $port,
    backend => $backend, alive => [], http => <<"EOT",
mapi_directory $directory;
mapi_log %PREFIX%/rows flush=100ms;
mapi_server_name mail.example.com;
underscores_in_headers on;

upstream plain {
    server 127.0.0.11:$backend;
    server 127.0.0.12:$backend;
}

upstream nobody {
    mapi;
    server 127.0.0.14:$backend;
}

upstream down {
    mapi;
    server 127.0.0.11:$backend down;
}

upstream wary {
    mapi;
    mapi_unknown_mailbox reject;
    server 127.0.0.11:$backend;
}
EOT
    upstream => "mapi;\n"
                . join('', map { "server 127.0.0.$_:%PORT% max_fails=0;\n" }
                           11 .. 13)
                . "mapi_pin on;\nkeepalive 8;\n",
    location => 'client_max_body_size 300k;', server => <<"EOT"));
location /mapi/nspi/ {
    mapi observe;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_pass http://plain;
}

location /elsewhere/ {
    return 204;
}

location ~ ^/mapi/emsmdb/?\$ {
    mapi on;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 1s;
    proxy_connect_timeout 1s;
    client_max_body_size 300k;

    if (\$http_x_case = nobody) {
        proxy_pass http://nobody;
    }

    if (\$http_x_case = down) {
        proxy_pass http://down;
    }

    if (\$http_x_case = wary) {
        proxy_pass http://wary;
    }

    if (\$http_x_case = denied) {
        return 403;
    }

    proxy_pass http://exchange;
}
EOT

my $folder = "$front->{prefix}/rows";


sub rows { return new_rows($folder, $_[0]) }


sub row { return (rows(1))[0] }


sub has
{
    my ($row, $name, %expected) = @_;
    my %got = map { $_ => $row->{$_} } keys %expected;

    is_deeply(\%got, \%expected, $name) or diag $row->{line};
}


sub errors_are
{
    my ($row, $name, %expected) = @_;

    is_deeply({ pairs($row->{GenericErrors}) }, \%expected, $name)
        or diag $row->{line};
}


my @mapi = ('Content-Type: application/mapi-http',
            'X-RequestType: Execute', 'X-RequestId: {AB-1}:7',
            'X-ClientInfo: {CD-2}:9', 'client-request-id: {EF-3}',
            'User-Agent: Microsoft Office/16.0 (Windows NT 10.0; Pro, x)');

sub mapi_post
{
    my ($n, $body, @headers) = @_;

    return request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id($n), @mapi,
                   @headers, 'Content-Length: ' . length $body) . $body;
}


# a mailbox that the directory knows, with Basic

{
    my $client = connect_to($port);
    my ($peer, $answer) = carry(\@servers, $client,
        mapi_post(2, 'x' x 300, basic('CONTOSO\\anna')),
        "HTTP/1.1 200 OK\r\nrequest-id: 11-aa\r\nX-ResponseCode: 0\r\n"
        . "X-CalculatedBETarget: ex2.contoso.com\r\n"
        . "X-Backend-Diag-1: all, well\r\nContent-Length: 5\r\n\r\nhello");
    my $row = row();

    has($row, 'the client, the mailbox and the answer',
        MajorVersion => 15, Protocol => 'Mapi', UrlHost => 'mail.example.com',
        ClientRequestId => 'R:{AB-1}:7;RT:Execute;CI:{CD-2}:9;CID:{EF-3}',
        UrlStem => '/mapi/emsmdb/', ProtocolAction => '',
        AuthenticationType => 'Basic', IsAuthenticated => 'true',
        AuthenticatedUser => 'CONTOSO\\anna', Organization => 'example.com',
        AnchorMailbox => 'MailboxGuid~00000002-0000-4000-8000-000000000002',
        UserAgent => 'Microsoft Office/16.0 (Windows NT 10.0; Pro  x)',
        ClientIpAddress => '127.0.0.1', ServerHostName => 'MAIL',
        HttpStatus => 200, BackEndStatus => 200, ErrorCode => '',
        Method => 'POST', ProxyAction => 'Proxy',
        TargetServer => 'ex2.contoso.com',
        TargetServerVersion => '15.02.1544.000', RoutingType => 'IntraForest',
        RoutingHint => 'MailboxGuidWithDomain', BackEndCookie => '',
        RequestBytes => 300, ResponseBytes => 5, TargetOutstandingRequests => 1,
        UrlQuery => '?MailboxId=' . mailbox_id(2),
        BackEndGenericInfo => 'all  well', GenericErrors => '',
        DatabaseGuid => '|RoutingDB:00000002-dddd-4000-8000-000000000000',
        RoutingStatus => 'CafeV1', KerberosAuthHeaderLatency => '',
        ServerLocatorHost => '', EdgeTraceId => '');

    like($row->{RequestId}, qr/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
         'a GUID of its own');

    my %info = pairs($row->{GenericInfo});

    is_deeply([ @info{qw( FEAuth Smtp Route RouteReason Database
                          Srv.request-id Srv.CalculatedBETarget
                          ProxyState-Complete CorrelationID )} ],
              [ 'BEVersion-1942128136', 'user2@contoso.com', 'directory',
                'mounted', 'DB2', '11-aa', 'ex2.contoso.com',
                'ProxyResponseData', '<empty>' ], 'GenericInfo');
    like($info{NewConnection}, qr/^127\.0\.0\.12:$backend&0$/,
         'a new connection');
    like($row->{GenericInfo}, qr/^BeginRequest=.*BeginGetRequestStream=.*
        OnRequestStreamReady=.*BeginGetResponse=.*OnResponseReady=.*
        EndGetResponse=.*EndRequest=[^;]*;$/x, 'marks in their order');

    # the connection to the server again; nothing is sent in this body

    $client->close;
    $client = connect_to($port);
    carry(\@servers, $client, mapi_post(2, ''), answer(200), $peer);
    $row = row();

    has($row, 'without a body and without a name',
        RequestBytes => 0, ResponseBytes => 0, AuthenticationType => '',
        IsAuthenticated => 'false', AuthenticatedUser => '',
        ClientReqStreamLatency => '', BackendReqInitLatency => '',
        BackendReqStreamLatency => '', ClientRespStreamLatency => '',
        HttpStatus => 200);
    unlike($row->{GenericInfo}, qr/NewConnection|RequestStream/,
           'a reused connection, no body');

    $_->close for $client, $peer;
}


# whom a request is for, in each way to say it; who sees which part

{
    my %ways = (
        'smtpAddress=User3%40contoso.com' =>
            [ 'Smtp~user3@contoso.com', 'SMTP', '', 'DB3' ],
        'useMailboxOfAuthenticatedUser=true' =>
            [ 'Account~sam4', 'WindowsIdentity', '', 'DB1' ],
        'MailboxId=99999999-0000-4000-8000-000000000000@far.example' =>
            [ 'MailboxGuid~99999999-0000-4000-8000-000000000000',
              'MailboxGuidWithDomain', 'far.example', undef ]);

    for my $query (sort keys %ways) {
        my ($anchor, $hint, $organization, $database) = @{ $ways{$query} };
        my $client = connect_to($port);
        my ($peer) = carry(\@servers, $client,
            request('POST', "/mapi/emsmdb?$query", basic('sam4'),
                    'Content-Length: 0'), answer(200));
        my $row = row();

        has($row, $query, AnchorMailbox => $anchor, RoutingHint => $hint,
            Organization => $organization, UrlStem => '/mapi/emsmdb',
            UrlQuery => "?$query", ClientRequestId =>
            'R:<null>;RT:<null>;CI:<null>;CID:<null>');
        is({ pairs($row->{GenericInfo}) }->{Database}, $database,
           'its database');
        $_->close for $client, $peer;
    }

    my $client = connect_to($port);
    my ($peer) = carry(\@servers, $client, request('GET', '/mapi/emsmdb/',
        'X-AnchorMailbox: user6@contoso.com', 'X-RequestId:',
        'X-Forwarded-For: 192.0.2.7, 10.0.0.1'), answer(200));

    has(row(), 'a GET with an anchor', Method => 'GET', ClientRequestId => '',
        AnchorMailbox => 'Smtp~user6@contoso.com', UrlQuery => '',
        RoutingHint => 'AnchorMailboxHeader-SMTP',
        ClientIpAddress => '192.0.2.7  10.0.0.1');
    $_->close for $client, $peer;

    # tokens in a query

    my $id = mailbox_id(1);

    for my $case ([ "access_token=Qz7&MailboxId=$id&x=y",
                    qr/^\?access_token=\(masked  3 bytes\)&MailboxId=\Q$id\E&x=y$/ ],
                  [ "MailboxId=$id&X-Rps-CAT=Qz7",
                    qr/^\?MailboxId=\Q$id\E&X-Rps-CAT=\(masked/ ],
                  [ "MailboxId=$id&y=eyJQz7.Qz7.Qz7",
                    qr/^\?MailboxId=\Q$id\E&y=\(masked/ ],
                  [ "MailboxId=$id&Password=Qz7" . 'Qz7' x 2000,
                    qr/^\?MailboxId=\Q$id\E&Password=\(masked  6003 bytes\)$/ ],
                  [ "MailboxId=$id&y=" . 'z' x 8000 . '&token=Qz7',
                    qr/^\?MailboxId=\Q$id\E&y=z+$/ ])
    {
        my ($query, $shown) = @$case;

        $client = connect_to($port);
        ($peer) = carry(\@servers, $client,
            request('POST', "/mapi/emsmdb/?$query", 'Content-Length: 0'),
            answer(200));

        my $row = row();

        like($row->{UrlQuery}, $shown, substr($query, 0, 40) . ': masked');
        unlike(join(',', map { $row->{$_} // '' } keys %$row), qr/Qz7/,
               '... nowhere else');
        $_->close for $client, $peer;
    }
}


# 401s: the first one is no event, the others are; a name that was refused

{
    my $type1 = ntlm_message(1);
    my $type3 = ntlm_message(3, 'CONTOSO', 'bert');
    my $client = connect_to($port);
    my ($peer) = carry(\@servers, $client, mapi_post(1, ''),
                       answer(401, 'WWW-Authenticate: NTLM'));

    rows(0);

    carry(\@servers, $client, mapi_post(1, '', "Authorization: NTLM $type1"),
          answer(401, 'WWW-Authenticate: NTLM ' . ntlm_message(2)), $peer);

    my $row = row();

    has($row, 'the first leg', HttpStatus => 401, BackEndStatus => 401,
        AuthenticationType => 'NTLM', IsAuthenticated => 'false',
        AuthenticatedUser => '', ErrorCode => '',
        TargetServer => 'ex1.contoso.com');
    errors_are($row, 'an ordinary error', WebExceptionStatus =>
               'ProtocolError', ResponseStatusCode => 401);

    ($peer) = carry(\@servers, $client,
        mapi_post(1, '', "Authorization: NTLM $type3"),
        answer(200, 'request-id: srv-0'), $peer);

    has(row(), 'the last leg', HttpStatus => 200, IsAuthenticated => 'true',
        AuthenticationType => 'NTLM', AuthenticatedUser => 'CONTOSO\\bert');

    for my $n (1 .. 100) {
        carry(\@servers, $client, mapi_post(1, ''),
              answer(200, "request-id: srv-$n"), $peer);
    }

    my @rows = rows(100);

    is(scalar(grep { $_->{AuthenticatedUser} eq 'CONTOSO\\bert'
                     && $_->{AuthenticationType} eq 'NTLM'
                     && $_->{IsAuthenticated} eq 'true' } @rows), 100,
       'a hundred requests without Authorization, all with the user');
    is_deeply([ map { { pairs($_->{GenericInfo}) }->{'Srv.request-id'} }
                    @rows ],
              [ map { "srv-$_" } 1 .. 100 ], '... and the server\'s id');

    $_->close for $client, $peer;

    $client = connect_to($port);
    ($peer) = carry(\@servers, $client, mapi_post(1, '', basic('carl')),
                    answer(401));

    has(row(), 'a name that was refused', AuthenticationType => 'Basic',
        IsAuthenticated => 'false', AuthenticatedUser => '');
    $_->close for $client, $peer;

    $client = connect_to($port);
    ($peer) = carry(\@servers, $client,
                    mapi_post(1, '', 'Authorization: Bearer c2VjcmV0'),
                    answer(200));

    has(row(), 'a token is no name', AuthenticationType => 'Bearer',
        IsAuthenticated => 'true', AuthenticatedUser => '');
    $_->close for $client, $peer;

    my $log = join '', map { slurp("$folder/$_") } log_files($folder);

    unlike($log, qr/c2VjcmV0|TlRMTVNTUA|\Q$type1\E|secret/,
           'no credential in the log');
}


# what never reached a server: the columns of such rows, and no others

{
    my $columns = '0 1 2 3 4 5 7 8 9 12 18 17 19 22 31 46 60 62 63 67';
    my %refused = (
        'POST /mapi/emsmdb/' => [ 400, 'MailboxGuidWithDomainNotFound' ],
        'POST /mapi/emsmdb/?MailboxId=1' =>
            [ 400, 'MailboxGuidWithDomainNotFound' ],
        'GET /mapi//emsmdb/' => [ 404, 'EndpointNotFound' ],
        'PUT /mapi/emsmdb/' => [ 405, 'MethodNotAllowed' ],
        'GET /mapi/emsmdb/denied' => [ 404, 'EndpointNotFound' ]);

    for my $line (sort keys %refused) {
        my ($method, $uri) = split ' ', $line;
        my ($status, $code) = @{ $refused{$line} };
        my $answer = talk($port, request($method, $uri, 'Content-Length: 0'));
        my $row = row();
        my @expected = sort { $a <=> $b } split(' ', $columns), 21;

        is($answer->{status}, $status, "$line: $status");
        has($row, '... is in its row', HttpStatus => $status,
            ErrorCode => $code, BackEndStatus => '', TargetServer => '',
            Method => $method);
        is(filled($row), join(' ', @expected), '... and nothing else')
            or diag $row->{line};
        is($row->{GenericInfo} =~ s/=[^;]*//gr,
           'BeginRequest;CorrelationID;SharedCacheGuard;EndRequest;',
           '... not in GenericInfo either');
    }

    is(talk($port, request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id(1),
                           'Content-Length: 999999'))->{status}, 413,
       'a body that is too long');
    has(row(), '... before the road', HttpStatus => 413,
        ErrorCode => 'RequestEntityTooLarge', AnchorMailbox => '');

    is(talk($port, mapi_post(1, '', 'X-Case: denied'))->{status}, 403,
       'denied before the road');
    has(row(), '... in its row', HttpStatus => 403, ErrorCode => 'Forbidden');

    talk($port, request('GET', '/elsewhere/'));
    talk($port, request('GET', '/mapi/healthcheck.htm'));
    rows(0);
}


# each way in which a server can fail; the answer to the client, the row

{
    my $client = connect_to($port);
    my $peer;

    is(talk($port, mapi_post(1, 'abc', 'X-Case: nobody'))->{status}, 503,
       'nobody listens');

    my $row = row();

    has($row, '... in its row', HttpStatus => 503,
        BackEndStatus => 'ConnectFailure', ErrorCode => 'ConnectFailure',
        ResponseBytes => '', BackendProcessingLatency => '',
        TargetServer => '127.0.0.14', RoutingLatency => '', ProxyTime => '');
    errors_are($row, '... and why', WebExceptionStatus => 'ConnectFailure',
               ClosedBy => 'Server (refused)');

    is(talk($port, mapi_post(1, 'abc', 'X-Case: down'))->{status}, 503,
       'nobody is left to be asked');
    has(row(), '... in its row', HttpStatus => 503, BackEndStatus => '',
        ErrorCode => 'ServerNotFound', ProxyAction => 'Proxy');

    my $fails = sub {
        my ($status, $word, $side, $deed) = @_;

        $client = connect_to($port);
        $client->send(mapi_post(1, 'abc'));
        $peer = $servers[0]->accept;
        $peer->read_request;
        $deed->();

        is($client->read_answer->{status}, $status, "$word: $status");
        $row = row();
        has($row, '... in its row', HttpStatus => $status,
            BackEndStatus => $word, ErrorCode => $word, ResponseBytes => '',
            TargetServer => 'ex1.contoso.com');
        errors_are($row, '... and why', WebExceptionStatus => $word,
                   ClosedBy => $side);
        like($row->{GenericInfo}, qr/ProxyState-Complete=WaitForServerRes/,
             '... and when');
        $_->close for $client, $peer;
    };

    $fails->(503, 'ConnectionClosed', 'Server', sub { $peer->close });
    $fails->(503, 'ReceiveFailure', 'Server (reset)', sub {
        setsockopt $peer->{socket}, 1, 13, pack 'ii', 1, 0;
        $peer->close;
    });
    $fails->(504, 'Timeout', 'Proxy (no answer in time)', sub { });
    $fails->(503, 'ServerProtocolViolation', 'Proxy (no HTTP answer)',
             sub { $peer->send("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n") });

    # in the middle of an answer

    my $breaks = sub {
        my ($name, $word, $code, $deed) = @_;

        $client = connect_to($port);
        $client->send(mapi_post(1, 'abc'));
        $peer = $servers[0]->accept;
        $peer->read_request;
        $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
        $client->read_until(qr/hello/);
        $deed->();
        $row = row();
        has($row, $name, HttpStatus => 200, BackEndStatus => 200,
            ErrorCode => $code, ResponseBytes => 5);
        errors_are($row, '... and why', %$word);
        $_->close for $client, $peer;
    };

    $breaks->('the server closes', { WebExceptionStatus => 'ConnectionClosed',
              ClosedBy => 'Server' }, '', sub { $peer->close });
    $breaks->('the server is silent', { WebExceptionStatus => 'Timeout',
              ClosedBy => 'Proxy (no answer in time)' }, '', sub { });
    $breaks->('the client goes', { HttpException => 'ClientDisconnect',
              ClosedBy => 'Client' }, 'ClientDisconnect',
              sub { $client->close });

    # the client does not wait

    $client = connect_to($port);
    $client->send(mapi_post(1, 'abc'));
    $peer = $servers[0]->accept;
    $peer->read_request;
    $client->close;
    $row = row();

    has($row, 'the client does not wait', HttpStatus => 499,
        BackEndStatus => '', ErrorCode => 'ClientDisconnect');
    errors_are($row, '... and why', HttpException => 'ClientDisconnect',
               ClosedBy => 'Client');
    $peer->close;
}


# MAPI's own errors: in the header, and late in a body that comes in pieces

{
    my @bodies = (
        [ "PROCESSING\r\nPENDING\r\nDONE\r\nX-ElapsedTime: 1\r\n"
          . "X-ResponseCode: 10\r\n\r\n<html>", 10, 'Body' ],
        [ "PROCESSING\r\nPENDINGPENDINGPROCESSING\r\nDONE\r\n"
          . "X-ResponseCode: 6\r\n\r\n", 6, 'Body' ],
        [ "PROCESSING\r\nDONE\r\nX-ElapsedTime: 1\r\n\r\n"
          . "X-ResponseCode: 9\r\n\r\n", undef ],
        [ "DONE\r\nX-ResponseCode: 0\r\n\r\n", undef ]);

    for my $case (@bodies) {
        my ($body, $code, $from) = @$case;
        my $client = connect_to($port);

        $client->send(mapi_post(1, 'abc'));

        my $peer = $servers[0]->accept;

        $peer->read_request;
        $peer->send("HTTP/1.1 200 OK\r\nX-ResponseCode: 0\r\n"
                    . "Content-Type: application/mapi-http\r\n"
                    . "Transfer-Encoding: chunked\r\n\r\n");

        for (split //, $body) {
            $peer->send("1\r\n$_\r\n");
            sleep 0.001;
        }

        $peer->send("0\r\n\r\n");

        is($client->read_answer->{body}, $body, 'the body passes as it is');

        my $row = row();

        errors_are($row, 'its code', defined $code
                   ? ('X-ResponseCode' => $code, 'X-ResponseCodeFrom' => $from)
                   : ());
        has($row, '... is no HTTP error', HttpStatus => 200, ErrorCode => '',
            ResponseBytes => length $body);
        $_->close for $client, $peer;
    }

    my $client = connect_to($port);
    my ($peer) = carry(\@servers, $client, mapi_post(1, ''),
                       answer(200, 'X-ResponseCode: 13'));

    errors_are(row(), 'a code in the header', 'X-ResponseCode' => 13,
               'X-ResponseCodeFrom' => 'Header');
    $_->close for $client, $peer;
}


# nothing that a client sends breaks a row

{
    my @hostile = (
        'a,b;c=d', '"quoted", "and" more', "tab\there", "\x1b[31mred\x07",
        "\xff\xfe bad \xc3", "J\xc3\xbcrgen", 'x' x 40_000,
        '",,,' x 5_000, "\x7f\x01,\x02", '=cmd()', "#Fields: x");

    for my $text (@hostile) {
        my $client = connect_to($port);
        my ($peer) = carry(\@servers, $client,
            request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id(1)
                    . '&x="a,b;c=d"', "User-Agent: $text",
                    "X-RequestId: $text", "X-ClientInfo: $text",
                    "client-request-id: $text",
                    'Content-Length: 0'),
            answer(200, map { "$_: " . substr $text, 0, 900 }
                        qw( request-id X-CalculatedBETarget X-Backend-Diag-x )
                        ));
        my $row = row();

        cmp_ok(length $row->{line}, '<', 32768, 'a row has an end');
        has($row, '... and its columns', HttpStatus => 200, Method => 'POST',
            TargetServer => 'ex1.contoso.com', RoutingStatus => 'CafeV1',
            UrlQuery => '?MailboxId=' . mailbox_id(1) . '&x="a b;c=d"');
        ok(!grep({ !/^[\w.-]+$/ } keys %{ { pairs($row->{GenericInfo}) } }),
           'no key of somebody else\'s');
        $_->close for $client, $peer;
    }
}


# a cookie: what the client sent, not what it gets

{
    my $id = '88888888-0000-4000-8000-000000000000@far.example';
    my $client = connect_to($port);
    my ($peer, $answer) = carry(\@servers, $client, post($id), answer(200));
    my $row = row();
    my ($cookie) = header($answer, 'Set-Cookie') =~ /^([^;]+)/;

    is($row->{BackEndCookie}, '', 'no cookie yet');
    is({ pairs($row->{GenericInfo}) }->{Route}, 'balance', '... and no place');

    carry(\@servers, $client, post($id, "Cookie: $cookie"), answer(200),
          $peer);
    $row = row();
    like($row->{BackEndCookie}, qr/^Server~\Q$row->{TargetServer}\E
         ~1942128136~\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/x, 'in clear text');
    is({ pairs($row->{GenericInfo}) }->{RouteReason}, 'cookie',
       '... and it counted');
    unlike($row->{line}, qr/\Q@{[ $cookie =~ m{=(.{20})} ]}\E/,
           'the sealed value is nowhere');
    $_->close for $client, $peer;
}


# the rehearsal: where it went, and where it would have gone

{
    my $client = connect_to($port);
    my ($peer) = carry(\@servers, $client, request('POST',
        '/mapi/nspi/?MailboxId=' . mailbox_id(2), 'Content-Length: 3')
        . 'abc', answer(200));
    my $row = row();

    has($row, 'observed', HttpStatus => 200, BackEndStatus => 200,
        TargetServer => $peer->{socket}->sockhost . ":$backend", UrlStem => '/mapi/nspi/');
    is({ pairs($row->{GenericInfo}) }->{WouldGoTo}, 'ex2.contoso.com',
       '... and what would have been');
    $_->close for $client, $peer;
}

stop_nginx($front);
done_testing();
