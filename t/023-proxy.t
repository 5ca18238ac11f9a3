# What passes between a client and its server, and what does not.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my ($port, $backend) = (free_port(), free_port('127.0.0.11'));
my $ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
my $mailbox = mailbox_id(1);

my %server = map { $_ => listen_on("127.0.0.$_", $backend) } 11, 12;


# a front end with other settings takes the place of the one before

my $front;

sub front_end
{
    my (%o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();
    $front = start_nginx("front$port",
                         road_http(port => $port, backend => $backend,
                                   hosts => [ 11 ], alive => [], %o));
}


# sends a request, returns the client and the server's end of it

sub begin
{
    my ($text) = @_;
    my $client = connect_to($port);

    $client->send($text);
    my $peer = $server{11}->accept;

    return ($client, $peer, $peer->read_request);
}


sub nobody_connects
{
    return !grep { defined $_->accept(0.3) } values %server;
}


# request headers

front_end(server => 'underscores_in_headers on; mapi_server_name front;');

my @secret = qw(
    X-CommonAccessToken X-IsFromCafe X-SourceCafeServer msExchProxyUri
    X-MSExchangeActivityCtx X-DatabaseGuid X-DelayRequest X-DelayResponse
    X-vDirObjectId X-FE-ClientIP X-MS-EdgeIP X-GCC-PROXYINFO
    X-WLID-MemberName RPSMemberName X-OrganizationContext X-ProbeType
    X-DBMountedOnServer X-BEServer X-BEServerVersion X-BEServerRoutingError
    X-Backend-Diag-1 X-Backend-Diag-Trace
);

my @good = qw(
    X-RequestType X-RequestId X-ClientInfo X-ClientApplication X-MapiHttpVersion
    X-AnchorMailbox X-User-Identity Client-Request-Id X-Elapsed X-IsFromCafes
    XX-IsFromCafe X-IsFromCaf RPSMemberNames msExchProxyUr X-BEServe
    X-Backend-Diag Accept User-Agent X X- M R X-Forwarded-Fors
    X-DatabaseGuids Authorization-Info Cookie2 Referer
);

{
    my (@sent, @expected);
    my @left = @good;

    for my $name (@secret) {
        push @sent, "$name: 1", uc($name) . ': 2', lc($name) . ': 3';
        (my $other = $name) =~ tr/-/_/;
        push @sent, "$other: 4", "$name: 5";

        if (my $keep = shift @left) {
            push @sent, "$keep: value of $keep";
            push @expected, "$keep: value of $keep";
        }
    }

    push @sent, map { "$_: value of $_" } @left;
    push @expected, map { "$_: value of $_" } @left;

    my ($client, $peer, $seen) = begin(post($mailbox, @sent));
    my @seen = grep { /: value of / } split /\r\n/, $seen->{text};

    # two of them are set by this front end

    is_deeply([ map { @{ $seen->{headers}{lc $_} || [] } } @secret ],
              [ 'front', header($seen, 'X-MSExchangeActivityCtx') ],
              'headers that only a front end may set do not pass');
    like(header($seen, 'X-MSExchangeActivityCtx'), qr/^V=1/, '... in any case');
    unlike($seen->{text}, qr/^(?:X_CommonAccessToken|x_beserver)/im,
           'nor do they with underscores');
    is_deeply(\@seen, \@expected, 'all others pass, in their order');
    $_->close for $client, $peer;

    # each of them alone, at each place in the list of headers

    for my $place (0, 17, 18, 19, 20, 21, 40) {
        my @headers = map { "X-Pad-$_: value of $_" } 1 .. 45;

        splice @headers, $place, 0, 'X-IsFromCafe: 1';
        ($client, $peer, $seen) = begin(post($mailbox, @headers));
        is(scalar(grep { /: value of / } split /\r\n/, $seen->{text}), 45,
           "a header taken out as number $place takes no other along");
        ok(!defined header($seen, 'X-IsFromCafe'), '... and is out');
        $_->close for $client, $peer;
    }

    ($client, $peer, $seen) = begin(post($mailbox, ('X-IsFromCafe: 1') x 60));
    ok(!defined header($seen, 'X-IsFromCafe'), 'sixty of one name are out');
    is(header($seen, 'Content-Length'), '0', '... and nothing else');
    $_->close for $client, $peer;
}


# every spelling with "_", however nginx was made to pass it

for my $setting ('underscores_in_headers on;', 'ignore_invalid_headers off;',
                 'ignore_invalid_headers off; underscores_in_headers on;')
{
    my @sent;

    front_end(server => "$setting mapi_server_name front;");

    for my $name (@secret, 'X-Forwarded-For', 'X-Forwarded-Port') {
        my ($first, @rest) = split /-/, $name;

        for my $n (0 .. 2 ** @rest - 1) {
            my $other = $first;
            $other .= ($n >> $_ & 1 ? '_' : '-') . $rest[$_] for 0 .. $#rest;

            next if $other eq 'X-Forwarded-For' || $other eq 'X-Forwarded-Port';
            push @sent, "$other: evil", uc($other) . ': evil';
        }
    }

    @sent = grep { !/^X-FORWARDED-(?:FOR|PORT):/ } @sent;

    my ($client, $peer, $seen) = begin(post($mailbox, @sent));

    is_deeply([ grep { /: evil/ } split /\r\n/, $seen->{text} ], [],
              "$setting no spelling passes");
    $_->close for $client, $peer;
}

front_end(server => 'underscores_in_headers on; mapi_server_name front;');


# bodies

{
    my $body = join '', map { chr(rand 256) } 1 .. 262144;
    my ($client, $peer, $seen) =
        begin("POST /mapi/emsmdb/?MailboxId=$mailbox HTTP/1.1\r\nHost: a\r\n"
              . "Content-Length: 262144\r\n\r\n$body");

    ok($seen->{body} eq $body, 'a request of 262144 bytes arrives whole');
    $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n$body");
    ok($client->read_answer->{body} eq $body, '... and so does an answer');
    $_->close for $client, $peer;

    ($client, $peer, $seen) =
        begin("POST /mapi/emsmdb/?MailboxId=$mailbox HTTP/1.1\r\nHost: a\r\n"
              . "Transfer-Encoding: chunked\r\n\r\n"
              . "4\r\nmore\r\n4\r\nthan\r\n0\r\n\r\n");
    is($seen->{body}, 'morethan', 'a request in chunks arrives whole');
    $_->close for $client, $peer;
}


# X-Accel-*

front_end(server => 'location = /secret { internal; return 200 "secret"; }',
          proxy => 'proxy_http_version 1.1; proxy_buffering on;
                    proxy_set_header Connection "";');

{
    my ($client, $peer) = begin(post($mailbox));

    $peer->send("HTTP/1.1 200 OK\r\nX-Accel-Redirect: /secret\r\n"
                . "X-Accel-Buffering: yes\r\nX-Accel-Limit-Rate: 1\r\n"
                . "X-Accel-Expires: 60\r\nX-Accel-Charset: koi8-r\r\n"
                . "Content-Type: application/mapi-http\r\n"
                . "Content-Length: 2000\r\n\r\n" . 'x' x 2000);
    my $answer = $client->read_answer;

    is($answer->{body}, 'x' x 2000, 'X-Accel-Redirect of a server is nothing');
    is(header($answer, 'Content-Type'), 'application/mapi-http',
       '... nor is X-Accel-Charset');
    unlike($answer->{text}, qr/X-Accel/i, 'and clients see none of them');
    $_->close for $client, $peer;

    # chunks, though "proxy_buffering on" is written

    ($client, $peer) = begin(post($mailbox));
    $peer->send("HTTP/1.1 200 OK\r\nX-Accel-Buffering: yes\r\n"
                . "Transfer-Encoding: chunked\r\n"
                . "X-ResponseCode: 0\r\n\r\nc\r\nPROCESSING\r\n\r\n");
    ok($client->read_until(qr/PROCESSING\r\n/),
       'the first chunk passes before there is a second');

    for (1 .. 3) {
        $peer->send("9\r\nPENDING\r\n\r\n");
        ok($client->read_until(qr/PENDING\r\n/), "PENDING $_ passes at once");
    }

    $peer->send("6\r\nDONE\r\n\r\n0\r\n\r\n");
    ok($client->read_until(qr/DONE\r\n\r\n0\r\n\r\n$/), 'the end passes');
    $_->close for $client, $peer;
}


# a request that has been sent is never sent again

front_end(hosts => [ 11, 12 ],
          upstream => "mapi;\nserver 127.0.0.11:%PORT% max_fails=0;\n"
                      . "server 127.0.0.12:%PORT% max_fails=0;\nkeepalive 4;",
          proxy => 'proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_next_upstream error timeout invalid_header http_500
                        http_502 http_503 http_504 http_403 http_404
                        http_429 non_idempotent;
                    proxy_read_timeout 1s;');

# which mailboxes belong to server 11

my @mine;

for my $n (1 .. 60) {
    my $client = connect_to($port);

    $client->send(post(mailbox_id($n)));

    for my $host (11, 12) {
        my $peer = $server{$host}->accept(0.05) or next;

        push @mine, $n if $host == 11;
        $peer->read_request;
        $peer->send("HTTP/1.1 200 OK\r\nConnection: close\r\n"
                    . "Content-Length: 2\r\n\r\nok");
        $client->read_answer;
        $peer->close;
        last;
    }

    $client->close;
    last if @mine == 2;
}

$mailbox = mailbox_id($mine[0]);

for my $method (qw( POST GET )) {
    my $text = request($method, "/mapi/emsmdb/?MailboxId=$mailbox",
                       $method eq 'POST' ? 'Content-Length: 3' : ())
               . ($method eq 'POST' ? 'abc' : '');

    my ($client, $peer) = begin($text);
    $peer->close;
    my $answer = $client->read_answer;

    is($answer->{status}, 503, "$method to a server that dies of it is 503");
    is($answer->{body}, '', '... empty');
    ok(!defined header($answer, 'X-CasErrorCode'),
       '... but not "server not found"');
    ok(nobody_connects(), '... and not sent again');
    $client->close;

    for my $status (403, 404, 429, 500, 502, 503, 504) {
        ($client, $peer) = begin($text);
        $peer->send("HTTP/1.1 $status Its own\r\nContent-Length: 8\r\n"
                    . "Retry-After: 7\r\nX-FEServer: EX1\r\n\r\nsorrow!\n");
        $answer = $client->read_answer;
        like($answer->{line}, qr/^HTTP\/1.1 $status /,
             "$method: a server's own $status passes");
        is($answer->{body}, "sorrow!\n", '... with its text');
        is(header($answer, 'Retry-After'), '7', '... and its headers');
        $peer->close;
        $client->close;
    }

    ok(nobody_connects(), '... and none was sent again');

    ($client, $peer) = begin($text);
    $answer = $client->read_answer;
    is($answer->{status}, 504, "$method without an answer in time is 504");
    is($answer->{body}, '', '... empty');
    is(header($answer, 'Content-Length'), '0', '... and says so');
    ok($peer->at_end, '... and the server is told');
    ok(nobody_connects(), '... and it is not sent again');
    $_->close for $client, $peer;
}

{
    my ($client, $peer) = begin(post($mailbox));

    $peer->send("HTTP/1.1 200 OK\r\nX: " . 'x' x 40000 . "\r\n\r\n");
    is($client->read_answer->{status}, 503,
       'an answer whose headers nginx cannot take is 503');
    $_->close for $client, $peer;
}


# a pooled connection that dies of a request

for my $method (qw( POST GET )) {

    # a front end each, for the last request fails on a fresh connection

    front_end(hosts => [ 11, 12 ],
              upstream => "mapi;\nserver 127.0.0.11:%PORT% max_fails=1;\n"
                          . "server 127.0.0.12:%PORT% max_fails=1;\n"
                          . "keepalive 4;",
              proxy => 'proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_next_upstream error timeout non_idempotent;');

    my $text = request($method, "/mapi/emsmdb/?MailboxId=$mailbox",
                       $method eq 'POST' ? 'Content-Length: 0' : ());
    my ($client, $peer) = begin($text);

    $peer->send($ok);
    $client->read_answer;
    $client->send($text);
    ok($peer->read_request, "$method: the next request is on the same line");
    $peer->close;
    is($client->read_answer->{status}, 503, '... it dies, 503');
    ok(nobody_connects(), '... the request is not sent again');
    $client->close;

    ($client, $peer) = begin($text);
    ok($peer, '... and the server is not held for failed');
    $_->close for $client, $peer;
}


# ends that come early

front_end();

{
    my ($client, $peer) = begin(post($mailbox));

    $peer->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                . "5\r\nhalf \r\n");
    ok($client->read_until(qr/half /), 'half an answer passes');
    $peer->close;
    ok(!defined $client->read_until(qr/\r\n0\r\n\r\n/),
       '... and the end of the connection says that it is half');
    $client->close;

    ($client, $peer) = begin(post($mailbox));
    $client->close;
    ok($peer->at_end(5), 'a client that leaves ends its request at once');
    $peer->close;

    ($client, $peer) = begin(post($mailbox));
    $peer->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                . "c\r\nPROCESSING\r\n\r\n");
    $client->read_until(qr/PROCESSING/);
    $client->close;
    ok($peer->at_end(5), '... also in the middle of an answer');
    $peer->close;
}


# a server whose TLS or certificate is not right is one that refuses

{
    my ($crt, $key) = certificate('mail.example.com');
    my ($wrong_crt, $wrong_key) = certificate('other.example.com');
    my ($tls, $own) = (free_port(), free_port('127.0.0.12'));
    my $path = make_directory('tls', directory_csv());

    for my $first ('certificate', 'no TLS') {
        my $ssl = $first eq 'no TLS' ? ''
            : "ssl_certificate $wrong_crt; ssl_certificate_key $wrong_key;";
        my $on = $ssl ? 'ssl' : '';
        (my $http = road_http(port => $tls, backend => $own, alive => [],
            hosts => [ 11, 12 ],
            upstream => "mapi;\n%SERVERS%keepalive 4;",
            http => "mapi_directory $path;
                proxy_ssl_verify on;
                proxy_ssl_trusted_certificate $crt;
                proxy_ssl_name mail.example.com;
                proxy_ssl_server_name on;

                server {
                    listen 127.0.0.11:$own $on;
                    $ssl
                    location / { return 500; }
                }

                server {
                    listen 127.0.0.12:$own ssl;
                    ssl_certificate $crt;
                    ssl_certificate_key $key;

                    location / {
                        add_header X-Connection \$connection;
                        return 200 'over TLS';
                    }
                }")) =~ s{proxy_pass http:}{proxy_pass https:};
        (my $name = "tls $first") =~ tr/ /-/;
        my $server = start_nginx($name, $http);
        my $answer = ask($tls, mailbox_id(1));

        is("$answer->{status} $answer->{body}", '200 over TLS',
           "$first: the next server is asked");
        like(header($answer, 'X-Target'), qr/^ex2\./, '... and named');

        # pooled and tainted as without TLS

        my @connection = map { header(ask($tls, mailbox_id(2), @$_),
                                      'X-Connection') }
            [], [], [ 'Authorization: NTLM ' . ntlm_message(1) ], [], [];

        is($connection[0], $connection[1], '... its connection is pooled');
        isnt($connection[2], $connection[1], '... but not for a logon');
        isnt($connection[3], $connection[2], '... nor after one');
        is($connection[4], $connection[3], '... but after that');
        stop_nginx($server);
        $tls = free_port();
    }
}


# what "nginx -t" cannot see is said once

for my $case ([ 'proxy_http_version 1.0; proxy_set_header Connection "";',
                'with HTTP/1.0, a connection for each, and logons of connections fail: '
                . 'write "proxy_http_version 1.1;"' ],
              [ 'proxy_http_version 1.1; proxy_set_header Connection close;',
                'with "Connection: close", and logons of connections fail: '
                . 'write "proxy_set_header Connection "";"' ])
{
    my ($proxy, $words) = @$case;

    front_end(proxy => $proxy);

    for (1 .. 3) {
        my ($client, $peer) = begin(post($mailbox));

        $peer->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        $client->read_answer;
        $_->close for $client, $peer;
    }

    my $said = () = log_of($front) =~ /\[warn\].*\Q$words\E/g;

    is($said, 1, "said once: $words");
}

done_testing();
