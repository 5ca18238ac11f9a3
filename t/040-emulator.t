# The emulated mailbox server as one request sees it: refusals and their
# response codes, headers, pages, what mapi_mailbox_control makes of it, and
# what "nginx -t" says.  Sessions are in 040-emulator-session.t.

use MapiTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: Connect makes a context, and says what Exchange says
--- config
    location /mapi/ {
        mapi_mailbox_server ex1.corp.example version=15.1.2507.6;
    }
--- request eval
"POST /mapi/emsmdb/?MailboxId=11111111-2222-3333-4444-000000000001\@x.example"
. "\n" . "\0" x 8
--- more_headers
X-RequestType: Connect
X-RequestId: {e2ea6c1c-e61b-49e9-9cfb-38184f907552}:7
X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}:9 as it came
X-ClientApplication: Outlook/15.0.4815.1002
Content-Type: application/mapi-http
Accept: application/mapi-http
--- response_headers_like
Content-Type: application/mapi-http
X-RequestType: Connect
X-RequestId: \{e2ea6c1c-e61b-49e9-9cfb-38184f907552\}:7
X-ClientInfo: \{2F94A2BF-A2E6-4CCC-BF98-B5F22C542226\}:9 as it came
X-ResponseCode: 0
X-PendingPeriod: 15000
X-ExpirationInfo: 900000
X-TunnelExpirationTime: 1800000
X-ServerApplication: Exchange/15\.01\.2507\.006
X-CalculatedBETarget: ex1\.corp\.example
X-FEServer: EX1
X-BEServer: EX1
request-id: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}
Set-Cookie: MapiContext=MAPIAAAAA[A-Za-z0-9+/]+=*; path=/mapi/emsmdb; HttpOnly, MapiSequence=1-[A-Za-z0-9+/]{6}==; path=/mapi/emsmdb; HttpOnly
Content-Length: \d+
--- response_body_like eval
qr/^PROCESSING\r\nDONE\r\nX-ElapsedTime:\ \d+\r\n
   X-StartTime:\ \w+,\ \d\d\ \w+\ \d{4}\ \d\d:\d\d:\d\d\ GMT\r\n\r\n
   \0{8}/x
--- no_error_log
[error]



=== TEST 2: Bind is the address book's Connect, with its own path
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
--- request
POST /mapi/nspi/?MailboxId=11111111-2222-3333-4444-000000000001@x.example
x
--- more_headers
X-RequestType: bind
X-RequestId: 1:1
X-ClientApplication: Outlook/15.0.4815.1002
Content-Type: application/octet-stream
--- response_headers_like
X-RequestType: bind
X-ResponseCode: 0
Set-Cookie: MapiContext=[^;]+; path=/mapi/nspi; HttpOnly, MapiSequence=[^;]+; path=/mapi/nspi; HttpOnly
--- no_error_log
[error]



=== TEST 3: owner says nothing of front ends
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 owner;
    }
--- request
POST /mapi/emsmdb/?MailboxId=11111111-2222-3333-4444-000000000001@x.example
x
--- more_headers
X-RequestType: Connect
X-RequestId: 1:1
X-ClientApplication: Outlook/15.0.4815.1002
Content-Type: application/mapi-http
--- response_headers
X-ResponseCode: 0
X-FEServer:
X-CalculatedBETarget:
request-id:
--- no_error_log
[error]



=== TEST 4: each refusal of the protocol: its code, HTTP 200, a sentence
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
--- request eval
my $u = '/mapi/emsmdb/?MailboxId=11111111-2222-3333-4444-000000000001@x.y';
my $n = $u;
$n =~ s/emsmdb/nspi/;
[ ("POST $u\nx") x 13, "POST $n\nx", "POST $u\n" . 'x' x 268289 ]
--- more_headers eval
my $t = "Content-Type: application/mapi-http\n";
my $i = "X-RequestId: 1:1\n";
my $a = "X-ClientApplication: Outlook/15.0.4815.1002\n";
my $c = "Cookie: MapiContext=MAPIAAAAA; MapiSequence=1-AAAAAA==\n";
[
    "$t$i$a",                                    # no type
    "$t${a}X-RequestType: Connect",              # no request number
    "$t${i}X-RequestType: Connect",              # no application
    "$i${a}X-RequestType: Connect",              # no content type
    "$t$i${a}X-RequestType: Nonsense",
    "$t$i${a}X-RequestType: Bind",               # of the other endpoint
    "$t$i${a}X-RequestType: Execute",            # no cookies
    "$t$i${a}X-RequestType: NotificationWait",
    "$t$i${a}${c}X-RequestType: Execute",        # no context cookie's form
    "$t$i${a}X-RequestType: Connect\nX-RequestType: Connect",
    "$t$i${a}X-RequestType: Connect\nAccept: text/html",
    "Content-Type: text/plain\n$i${a}X-RequestType: Connect",
    "$t$i${a}X-RequestType: Disconnect\nCookie: MapiSequence=1-AAAAAA==",
    "$t$i${a}X-RequestType: Connect",            # of the other endpoint
    "$t$i${a}X-RequestType: Connect",            # large
]
--- response_headers eval
my $r = sub { "Content-Type: text/html\nX-ResponseCode: $_[0]" };
[ map { $r->($_) } 7, 7, 7, 7, 5, 5, 13, 13, 6, 4, 4, 4, 13, 5, 9 ]
--- error_code eval
[ (200) x 15 ]
--- response_body_like eval
[ (qr{^<html>\r\n.*<p>[^<>]+\.</p>\r\n</body></html>\r\n$}s) x 15 ]
--- no_error_log
[error]



=== TEST 5: a request without a length is no request of MAPI over HTTP
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
--- raw_request eval
"POST /mapi/emsmdb/?MailboxId=11111111-2222-3333-4444-000000000001\@x.y "
. "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
. "X-RequestType: Connect\r\nX-RequestId: 1:1\r\nX-ClientApplication: a\r\n"
. "Content-Type: application/mapi-http\r\n\r\n1\r\nx\r\n0\r\n\r\n"
--- response_headers
X-ResponseCode: 7
--- response_body_like: Content-Length
--- no_error_log
[error]



=== TEST 6: what needs no context: PING, the referral service, Dummy
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
--- request eval
my $q = '?MailboxId=11111111-2222-3333-4444-000000000001@x.y';
[ "POST /mapi/emsmdb/$q\n", "POST /mapi/nspi/$q\nx", "POST /mapi/nspi/$q\nx",
  "POST /mapi/emsmdb/$q\nx" ]
--- more_headers eval
my $h = "X-RequestId: 1:1\nContent-Type: application/mapi-http\n";
[ map { "$h$_" } "X-RequestType: PING\nContent-Length: 0",
  map { "X-RequestType: $_" } qw( GetMailboxUrl GetAddressBookUrl Dummy ) ]
--- response_headers eval
[ ("X-ResponseCode: 0\nSet-Cookie:") x 4 ]
--- response_body_like eval
[ qr/\r\n\r\n$/, qr/e\0m\0s\0m\0d\0b/, qr/n\0s\0p\0i/, qr/\r\n\r\n\0{12}$/ ]
--- no_error_log
[error]



=== TEST 7: exchange wants a mailbox, as the front end of Exchange does
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
--- request eval
my $g = '11111111-2222-3333-4444-000000000001';
[ map { "POST /mapi/emsmdb/$_\nx" } '', "?MailboxId=$g", '?MailboxId=a@b',
  "?MailboxId=$g\@x&mailboxid=$g\@x", '?smtpAddress=a' ]
--- error_code eval
[ (400) x 5 ]
--- response_headers eval
[ ("X-CasErrorCode: MailboxGuidWithDomainNotFound") x 5 ]
--- response_body eval
[ ('') x 5 ]
--- no_error_log
[error]



=== TEST 8: owner has no such mailbox
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 owner;
    }
--- request
POST /mapi/emsmdb/
x
--- more_headers
X-RequestType: Connect
X-RequestId: 1:1
X-ClientApplication: a
Content-Type: application/mapi-http
--- response_headers
X-ResponseCode: 10
--- response_body_like: no such mailbox
--- no_error_log
[error]



=== TEST 9: paths and methods that do not exist
--- config
    location ~ . {
        mapi_mailbox_server ex1;
    }
--- request eval
[ 'GET /mapi/', 'GET /mapi/emsmdb/x', 'GET /', 'PUT /mapi/emsmdb/',
  'DELETE /mapi/nspi/' ]
--- error_code eval
[ 404, 404, 404, 400, 400 ]
--- no_error_log
[error]



=== TEST 10: the status page
--- config
    location /mapi/ {
        mapi_mailbox_server Ex1.Corp.Example version=15.2.986.5;
    }
--- request
GET /mapi/emsmdb/
--- more_headers
Accept: text/html, */*
--- response_headers
Content-Type: text/html
X-FEServer: EX1
--- response_body_like eval
qr{^<html>\r\n<head>\r\n<title>Exchange\ MAPI/HTTP\ Connectivity\ Endpoint
   </title>\r\n</head>\r\n<body>\r\n<p>Exchange\ MAPI/HTTP\ Connectivity
   \ Endpoint<br><br>Version:\ 15\.2\.986\.5<br>Vdir\ Path:\ /mapi/emsmdb/
   <br><br></p><p><b>Identity:</b>\ Anonymous</p><br><p><b>Cafe:</b>
   \ ex1\.corp\.example<br><b>Mailbox:</b>\ ex1\.corp\.example</p>
   <p><br><br><br><b>Created:</b>\ \d+/\d+/\d{4}\ \d+:\d\d:\d\d\ [AP]M</p>
   </body></html>$}x
--- no_error_log
[error]



=== TEST 11: the status page is only for who takes HTML
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
--- request eval
[ ('GET /mapi/nspi/') x 5 ]
--- more_headers eval
[ '', 'Accept: application/mapi-http', 'Accept: text/*', 'Accept: */*',
  'Accept: application/xml, Text/HTML' ]
--- error_code eval
[ 400, 400, 200, 200, 200 ]
--- no_error_log
[error]



=== TEST 12: names in the page are escaped
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 owner auth=basic;
    }
--- request
GET /mapi/nspi/
--- more_headers eval
use MIME::Base64;
"Accept: */*\nX-SourceCafeServer: <FE>\nAuthorization: Basic "
. encode_base64('a<b>&"@x:pw', '')
--- response_body_like eval
qr{<p><b>User:</b>\ a&lt;b&gt;&amp;&quot;\@x<br>
   <b>UPN:</b>\ a&lt;b&gt;&amp;&quot;\@x<br>
   .*<b>Authentication:</b>\ Basic</p>.*<b>Cafe:</b>\ &lt;fe&gt;<br>}x
--- no_error_log
[error]



=== TEST 13: auth=basic takes any user who has a password
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 auth=basic;
    }
--- request eval
[ ('GET /mapi/emsmdb/') x 6 ]
--- more_headers eval
use MIME::Base64;
my $b = sub { "Accept: */*\nAuthorization: Basic " . encode_base64($_[0], '') };
[ 'Accept: */*', $b->('alice:'), $b->(':pw'), $b->('alice'),
  "Accept: */*\nAuthorization: Bearer x", $b->('alice:pw') ]
--- error_code eval
[ (401) x 5, 200 ]
--- response_headers eval
[ ("WWW-Authenticate: Basic realm=\"ex1\"\nX-FEServer: EX1") x 5,
  'WWW-Authenticate:' ]



=== TEST 14: the health page needs no credentials and any case will do
--- config
    location /mapi/ {
        mapi_mailbox_server EX1.corp.example auth=basic;
    }
--- request eval
[ 'GET /mapi/healthcheck.htm', 'GET /mapi/HealthCheck.htm',
  'POST /mapi/healthcheck.htm' ]
--- error_code eval
[ 200, 200, 405 ]
--- response_body_like eval
[ ('^200 OK<br/>ex1\.corp\.example$') x 2, '405' ]
--- no_error_log
[error]



=== TEST 15: control: health=wrong, and back again
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
    location = /control {
        mapi_mailbox_control;
    }
--- request eval
[ 'POST /control?server=EX1&health=wrong', 'GET /mapi/healthcheck.htm',
  'POST /control?server=ex1&health=ok', 'GET /mapi/healthcheck.htm' ]
--- response_body_like eval
[ '"health":"wrong"', '^(?!200 OK)', '"health":"ok"', '^200 OK<br/>ex1$' ]
--- no_error_log
[error]



=== TEST 16: control: health=close ends the connection without an answer
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
    location = /control {
        mapi_mailbox_control;
    }
    location = /t {
        proxy_pass http://127.0.0.1:$server_port/mapi/healthcheck.htm;
    }
    location = /close {
        proxy_pass http://127.0.0.1:$server_port/mapi/emsmdb/;
    }
--- request eval
[ 'POST /control?server=ex1&health=close', 'GET /t',
  'POST /control?server=ex1&health=ok&close=on', 'GET /t', 'GET /close' ]
--- error_code eval
[ 200, 502, 200, 200, 502 ]
--- no_error_log
[alert]



=== TEST 17: control: status and code
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
    location = /control {
        mapi_mailbox_control;
    }
--- request eval
my $g = '11111111-2222-3333-4444-000000000001';
my $u = "POST /mapi/emsmdb/?MailboxId=$g\@x";
[ 'POST /control?server=ex1&status=503', "$u\nx",
  'POST /control?server=ex1&status=555', "$u\nx",
  'POST /control?server=ex1&status=0&code=16', "$u\nx",
  'POST /control?server=ex1&reset', "$u\nx" ]
--- more_headers
X-RequestType: Connect
X-RequestId: 1:1
X-ClientApplication: a
Content-Type: application/mapi-http
--- error_code eval
[ 200, 503, 200, 555, 200, 200, 200, 200 ]
--- response_headers eval
[ '', '', '', '', '', "X-ResponseCode: 16\nContent-Type: text/html", '',
  'X-ResponseCode: 0' ]
--- no_error_log
[error]



=== TEST 18: control: short delays keep the quick form, long ones stream
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 pending=900ms;
    }
    location = /control {
        mapi_mailbox_control;
    }
--- timeout: 10
--- request eval
my $g = '11111111-2222-3333-4444-000000000001';
my $u = "POST /mapi/emsmdb/?MailboxId=$g\@x";
[ 'POST /control?server=ex1&delay=50', "$u\nx",
  'POST /control?server=ex1&delay=2001', "$u\nx",
  'POST /control?server=ex1&code=9', "$u\nx" ]
--- more_headers
X-RequestType: Connect
X-RequestId: 1:1
X-ClientApplication: a
Content-Type: application/mapi-http
--- response_headers eval
[ '', 'Transfer-Encoding:', '',
  "Transfer-Encoding: chunked\nContent-Length:\nX-ResponseCode: 0", '',
  "Transfer-Encoding: chunked\nX-ResponseCode: 0" ]
--- response_body_like eval
[ '"delay":50,', '^PROCESSING\r\nDONE\r\nX-ElapsedTime: \d\d+\r\n',
  '"delay":2001,',
  '^PROCESSING\r\nPENDING\r\nPENDING\r\nDONE\r\nX-ElapsedTime: \d{4}\r\n',
  '"code":9,',
  '^PROCESSING\r\nPENDING\r\nPENDING\r\nDONE\r\nContent-Type: text/html\r\n'
  . 'X-ResponseCode: 9\r\nX-FailureLID: \d+\r\nX-FailureDescription: .+\r\n'
  . 'X-ElapsedTime: \d+\r\nX-StartTime: .* GMT\r\n\r\n<html>' ]
--- no_error_log
[error]



=== TEST 19: control: counts, and the last request with masked credentials
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 zone=a:64k;
    }
    location /other/ {
        mapi_mailbox_server ex2 zone=a;
    }
    location = /control {
        mapi_mailbox_control;
    }
--- request eval
my $g = '11111111-2222-3333-4444-000000000001';
my $u = "POST /mapi/emsmdb/?MailboxId=$g\@x";
[ "$u\nx", "$u\nx", 'GET /control?server=ex1', 'GET /control',
  'POST /control?reset', 'GET /control?server=Ex1' ]
--- more_headers
X-RequestType: Connect
X-RequestId: 1:1
X-ClientApplication: a
Content-Type: application/mapi-http
Authorization: Basic c2VjcmV0OnNlY3JldA==
X-Odd: "quoted" \ back
--- response_headers eval
[ '', '', 'Content-Type: application/json', '', '', '' ]
--- response_body_like eval
[ '', '',
  '^\{"servers":\[\{"name":"ex1","machine":"EX1","mode":"exchange",'
  . '"requests":2,"sessions":2,.*"types":\{"Connect":2\},"codes":\{"0":2\},'
  . '"last":\{"method":"POST","uri":"/mapi/emsmdb/\?MailboxId=[^"]+",'
  . '"headers":\[.*"Authorization: Basic \*\*\*".*'
  . '"X-Odd: \\\\"quoted\\\\" \\\\\\\\ back"',
  '"name":"ex1".*"name":"ex2".*"last":null',
  '', '"requests":0,.*"types":\{\},"codes":\{\},"last":null' ]
--- no_error_log
[error]



=== TEST 20: control: many headers are cut at a whole one
--- config
    large_client_header_buffers 4 16k;
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
    location = /control {
        mapi_mailbox_control;
    }
--- request eval
[ 'GET /mapi/emsmdb/', 'GET /control' ]
--- more_headers eval
[ "X-First: 1\nX-Long: " . ('y' x 5000) . "\nX-After: 1", '' ]
--- error_code eval
[ 400, 200 ]
--- response_body_like eval
[ '', '"X-First: 1"\],"cut":true\}\}\]\}$' ]
--- no_error_log
[alert]



=== TEST 21: control: what it does not understand changes nothing
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
    location = /control {
        mapi_mailbox_control;
    }
--- request eval
[ 'POST /control?server=nobody&delay=5', 'POST /control?delay=77&silent=yes',
  'POST /control?delay=77&delay=-1', 'POST /control?delay=77&status=100',
  'POST /control?delay=77&event=1', 'POST /control?delay=77&health=bad',
  'POST /control?delay=77&what=1', 'POST /control?delay=77&delay=700000',
  'GET /control?delay=77', 'PUT /control?delay=77', 'GET /control' ]
--- error_code eval
[ 404, (400) x 7, 200, 405, 200 ]
--- response_body_like eval
[ 'no such server', ('^write server=NAME') x 7, '"delay":0,', '405',
  '"delay":0,' ]
--- no_error_log
[alert]



=== TEST 22: "if" and limit_except keep the server
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
        limit_except GET {
            allow 127.0.0.1;
        }
        if ($http_x_if) {
            set $x 1;
        }
    }
--- request eval
[ 'GET /mapi/healthcheck.htm', 'GET /mapi/healthcheck.htm',
  'POST /mapi/emsmdb/' ]
--- more_headers eval
[ '', 'X-If: 1', 'Content-Length: 0' ]
--- error_code eval
[ 200, 200, 400 ]
--- no_error_log
[error]



=== TEST 23: a server stands once in a location
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
        mapi_mailbox_server ex1;
    }
--- must_die
--- error_log
"mapi_mailbox_server" directive is duplicate



=== TEST 24: a server's name is a name
--- config
    location /mapi/ {
        mapi_mailbox_server "ex 1";
    }
--- must_die
--- error_log
invalid server name "ex 1", use letters, digits, ".", "-" and "_"



=== TEST 25: unknown parameters
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 router;
    }
--- must_die
--- error_log
invalid parameter "router"



=== TEST 26: one mode
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 owner exchange;
    }
--- must_die
--- error_log
"mapi_mailbox_server" directive has more than one mode



=== TEST 27: parameters stand once
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 wait=1s wait=2s;
    }
--- must_die
--- error_log
duplicate parameter "wait=2s"



=== TEST 28: times
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 idle=0;
    }
--- must_die
--- error_log
invalid time "idle=0", use 10ms to 1d



=== TEST 29: versions
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 version=15.2;
    }
--- must_die
--- error_log
invalid version "version=15.2", write four numbers as in 15.2.1544.4



=== TEST 30: zones have a name
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 zone=:1m;
    }
--- must_die
--- error_log
invalid zone "zone=:1m", write zone=name:size



=== TEST 31: zones have a size that serves
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 zone=a:4k;
    }
--- must_die
--- error_log
zone "zone=a:4k" is too small, use at least 32k



=== TEST 32: one server is one machine
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
    }
    location /mapi/nspi/ {
        mapi_mailbox_server EX1 owner;
    }
--- must_die
--- error_log
server "EX1" stands in another location with another mode or zone



=== TEST 33: who serves is not who controls
--- config
    location /mapi/ {
        mapi_mailbox_server ex1;
        mapi_mailbox_control;
    }
--- must_die
--- error_log
"mapi_mailbox_control" directive cannot stand beside "mapi_mailbox_server"



=== TEST 34: authentication that it has not
--- config
    location /mapi/ {
        mapi_mailbox_server ex1 auth=ntlm;
    }
--- must_die
--- error_log
invalid parameter "auth=ntlm"
