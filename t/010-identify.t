# Who is a request for?

use MIME::Base64;
use MapiTest 'no_plan';
use MapiRoad;

our $Road = <<'_EOC_';
    upstream exchange {
        mapi;
        server 127.0.0.11:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.12:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.13:$TEST_NGINX_RAND_PORT_1;
    }

    server {
        listen 127.0.0.11:$TEST_NGINX_RAND_PORT_1;
        listen 127.0.0.12:$TEST_NGINX_RAND_PORT_1;
        listen 127.0.0.13:$TEST_NGINX_RAND_PORT_1;

        location / {
            return 200 "$request_uri\n";
        }
    }
_EOC_

our $Location = <<'_EOC_';
    large_client_header_buffers 8 64k;

    location ~* ^/mapi {
        mapi on;
        proxy_pass http://exchange;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 120s;
        proxy_buffer_size 8k;

        add_header X-Anchor $mapi_anchor always;
        add_header X-Mailbox $mapi_mailbox always;
        add_header X-Type $mapi_request_type always;
        add_header X-Endpoint $mapi_endpoint always;
        add_header X-Route $mapi_route always;
    }
_EOC_

our $G = '6f1a2b3c-0000-4d5e-8f90-0123456789ab';
our $Anchored = "X-Anchor: MailboxGuid~$G\@contoso.com\n"
                . "X-Mailbox: $G\nX-Route: balance\n";

sub posts { return [ map { "POST /mapi/emsmdb/?$_\n" } @_ ] }
sub times { my ($n, $what) = @_; return [ ($what) x $n ] }

run_tests();

__DATA__

=== TEST 1: MailboxId may be written in any way that decodes to the same
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
::posts("MailboxId=$::G\@contoso.com",
        "mailboxid=$::G\@contoso.com",
        "MAILBOXID=" . uc($::G) . "\@contoso.com",
        "Mailbox%49d=$::G%40contoso.com",
        "MailboxId=%36f1a2b3c-0000-4d5e-8f90-0123456789ab%40contoso%2ecom",
        "a=b&MailboxId=$::G\@contoso.com&c=d",
        "&&MailboxId=$::G\@contoso.com&",
        "useMailboxOfAuthenticatedUser=true&MailboxId=$::G\@contoso.com")
--- response_headers eval
::times(8, $::Anchored)
--- error_code eval: ::times(8, 200)



=== TEST 2: the domain of a MailboxId decides nothing
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
::posts("MailboxId=$::G\@fabrikam.com", "MailboxId=$::G\@x")
--- response_headers eval
[ "X-Mailbox: $::G", "X-Mailbox: $::G" ]



=== TEST 3: smtpAddress may be written in any way that decodes to the same
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
::posts('smtpAddress=anna@contoso.com',
        'SMTPADDRESS=Anna@Contoso.COM',
        'smtp%41ddress=anna%40contoso.com',
        'x=1&smtpAddress=%61nna@contoso.com')
--- response_headers eval
::times(4, "X-Anchor: Smtp~anna\@contoso.com\nX-Mailbox: \n")
--- error_code eval: ::times(4, 200)



=== TEST 4: a plus in smtpAddress is a plus
--- http_config eval: $::Road
--- config eval: $::Location
--- request
POST /mapi/emsmdb/?smtpAddress=a+b@contoso.com
--- response_headers
X-Anchor: Smtp~a+b@contoso.com



=== TEST 5: MailboxId goes before smtpAddress, and that before the caller
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
::posts("smtpAddress=anna\@contoso.com&MailboxId=$::G\@contoso.com",
        'useMailboxOfAuthenticatedUser=true&smtpAddress=anna@contoso.com')
--- more_headers eval
::basic('contoso\\otto') . "\nX-AnchorMailbox: otto\@contoso.com"
--- response_headers eval
[ "X-Anchor: MailboxGuid~$::G\@contoso.com",
  "X-Anchor: Smtp~anna\@contoso.com" ]



=== TEST 6: what is malformed is refused for every method
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ map { ("POST /mapi/emsmdb/?$_\n", "GET /mapi/emsmdb/?$_\n",
         "HEAD /mapi/nspi/?$_\n") }
  "MailboxId=", "MailboxId", "MailboxId=anna\@contoso.com",
  "MailboxId=$::G", "MailboxId=$::G@", "MailboxId={$::G}\@contoso.com",
  "MailboxId=$::G\@a\@b", "MailboxId=$::G\@a%20b",
  "MailboxId=$::G\@contoso.com%00", "MailboxId=$::G\@contoso.com%4",
  "MailboxId=$::G\@contoso.com%zz",
  "MailboxId=6f1a2b3c00004d5e8f900123456789ab\@contoso.com",
  "smtpAddress=", "smtpAddress=anna", "smtpAddress=\@contoso.com",
  "smtpAddress=anna@", "smtpAddress=a\@b\@c", "smtpAddress=a%20b\@c" ]
--- error_code eval: ::times(54, 400)
--- response_headers eval
::times(54, "X-CasErrorCode: MailboxGuidWithDomainNotFound")
--- response_body eval: ::times(54, '')



=== TEST 7: MailboxId or smtpAddress twice is refused, even if they agree
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
::posts("MailboxId=$::G\@contoso.com&MailboxId=$::G\@contoso.com",
        "MailboxId=$::G\@contoso.com&mailbox%49d=$::G\@contoso.com",
        'smtpAddress=anna@contoso.com&smtpAddress=anna@contoso.com')
--- error_code eval: [ 400, 400, 400 ]



=== TEST 8: a malformed smtpAddress beside a good MailboxId is refused
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
"POST /mapi/emsmdb/?MailboxId=$::G\@contoso.com&smtpAddress=x"
--- error_code: 400



=== TEST 9: a POST that names no mailbox is refused
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "POST /mapi/emsmdb/\n", "POST /mapi/nspi?x=y\n",
  "POST /mapi/emsmdb/?useMailboxOfAuthenticatedUser=false\n",
  "POST /mapi/emsmdb/?useMailboxOfAuthenticatedUser\n" ]
--- more_headers eval: ::basic('contoso\\otto')
--- error_code eval: ::times(4, 400)
--- response_headers eval
::times(4, 'X-CasErrorCode: MailboxGuidWithDomainNotFound')



=== TEST 10: X-TargetServer and X-AnchorMailbox do not name a POST's mailbox
--- http_config eval: $::Road
--- config eval: $::Location
--- request
POST /mapi/emsmdb/?TargetServer=ex1
--- more_headers
X-TargetServer: 127.0.0.12
X-AnchorMailbox: otto@contoso.com
--- error_code: 400



=== TEST 11: a caller that names itself nowhere is never refused
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "GET /mapi/emsmdb/\n", "HEAD /mapi/nspi\n",
  "POST /mapi/emsmdb/?useMailboxOfAuthenticatedUser=true\n",
  "POST /mapi/emsmdb/?USEMAILBOXOFAUTHENTICATEDUSER=TRUE\n",
  "POST /mapi/emsmdb/?useMailboxOfAuthenticatedUser=%54rue\n" ]
--- error_code eval: ::times(5, 200)
--- response_headers eval
::times(5, "X-Anchor: \nX-Mailbox: \nX-Route: balance")



=== TEST 12: a caller is known by X-AnchorMailbox first
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "GET /mapi/emsmdb/\n",
  "POST /mapi/nspi/?useMailboxOfAuthenticatedUser=true\n" ]
--- more_headers eval
"X-AnchorMailbox: Anna\@Contoso.com\n" . ::basic('contoso\\otto')
--- response_headers eval
[ "X-Anchor: Smtp~anna\@contoso.com", "X-Anchor: Smtp~anna\@contoso.com" ]



=== TEST 13: X-AnchorMailbox may hold a GUID, with and without a domain
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "GET /mapi/emsmdb/\n", "GET /mapi/emsmdb/\n" ]
--- more_headers eval
[ "X-AnchorMailbox: $::G", "X-AnchorMailbox: $::G\@contoso.com" ]
--- response_headers eval
[ "X-Mailbox: $::G\nX-Anchor: MailboxGuid~$::G",
  "X-Mailbox: $::G\nX-Anchor: MailboxGuid~$::G\@contoso.com" ]



=== TEST 14: an X-AnchorMailbox that cannot be read gives way to the logon
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "GET /mapi/emsmdb/\n", "GET /mapi/emsmdb/\n" ]
--- more_headers eval
[ "X-AnchorMailbox: nonsense\n" . ::basic('contoso\\otto'),
  "X-AnchorMailbox: S-1-5-21-1-2-3\@contoso.com\n" . ::basic('contoso\\otto') ]
--- response_headers eval
[ "X-Anchor: Account~contoso\\otto", "X-Anchor: Account~contoso\\otto" ]



=== TEST 15: a caller is known by the user name of Basic
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ ("GET /mapi/emsmdb/\n") x 4 ]
--- more_headers eval
[ ::basic('CONTOSO\\Otto'), ::basic('Otto@contoso.com'), ::basic('Otto'),
  'Authorization: bAsIc ' . MIME::Base64::encode_base64('otto:a:b', '') ]
--- response_headers eval
[ "X-Anchor: Account~contoso\\otto", "X-Anchor: Upn~otto\@contoso.com",
  "X-Anchor: Account~otto", "X-Anchor: Account~otto" ]



=== TEST 16: a caller is known by the name in an NTLM type 3 message
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ ("POST /mapi/emsmdb/?useMailboxOfAuthenticatedUser=true\n") x 3 ]
--- more_headers eval
[ 'Authorization: NTLM ' . ::ntlm_message(3, 'CONTOSO', 'Otto'),
  'Authorization: Negotiate ' . ::ntlm_message(3, 'CONTOSO', 'Otto'),
  'Authorization: NTLM ' . ::ntlm_message(3, '', 'Otto@contoso.com') ]
--- response_headers eval
[ "X-Anchor: Account~contoso\\otto", "X-Anchor: Account~contoso\\otto",
  "X-Anchor: Upn~otto\@contoso.com" ]



=== TEST 17: a logon without a readable name is no mailbox and no error
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ ("GET /mapi/emsmdb/\n") x 7 ]
--- more_headers eval
[ 'Authorization: NTLM ' . ::ntlm_message(1),
  'Authorization: Negotiate YIIFfQYGKwYBBQUCoIIFcTCCBW2g',
  'Authorization: Basic !!!', 'Authorization: Basic b3R0bw==',
  'Authorization: Bearer', 'Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.e',
  'Authorization: NTLM TlRMTVNTUAADAAAA' ]
--- error_code eval: ::times(7, 200)
--- response_headers eval
::times(7, "X-Anchor: \nX-Route: balance")



=== TEST 18: endpoint and request type are what the client wrote
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "POST /mapi/emsmdb/?MailboxId=$::G\@c\n", "POST /mapi/nspi?MailboxId=$::G\@c\n",
  "POST /MAPI/EmsMdb?MailboxId=$::G\@c\n" ]
--- more_headers eval
[ "X-RequestType: Connect", "x-requesttype: GetMailboxUrl", "" ]
--- response_headers eval
[ "X-Endpoint: emsmdb\nX-Type: Connect",
  "X-Endpoint: nspi\nX-Type: GetMailboxUrl", "X-Endpoint: emsmdb\nX-Type: " ]



=== TEST 19: path and query reach the server as they were written
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
::posts("MailboxId=$::G%40contoso.com&a=%zz&b=%&c=1+2&d=%2B%2f%00&e=%F6/../x",
        "Mailbox%49d=$::G\@contoso.com&&=&?;/\\")
--- response_body eval
[ "/mapi/emsmdb/?MailboxId=$::G%40contoso.com"
  . "&a=%zz&b=%&c=1+2&d=%2B%2f%00&e=%F6/../x\n",
  "/mapi/emsmdb/?Mailbox%49d=$::G\@contoso.com&&=&?;/\\\n" ]



=== TEST 20: a request with an absolute URI is read like any other
--- http_config eval: $::Road
--- config eval: $::Location
--- raw_request eval
"POST http://mail.contoso.com/mapi/nspi/?MailboxId=$::G\@c HTTP/1.1\r
Host: mail.contoso.com\r
Content-Length: 0\r
Connection: close\r
\r
"
--- response_headers eval
"X-Mailbox: $::G\nX-Endpoint: nspi"



=== TEST 21: mapi_identity_rule rewrites, the first that matches wins
--- http_config eval
$::Road . '
    mapi_identity_rule ^(.+)@old\.example$ $1@new.example;
    mapi_identity_rule ^(?<who>.+)@lab\.example$ LAB\\$who;
    mapi_identity_rule ^anna@ wrong@wrong.example;
    mapi_identity_rule ^contoso\\\\\\\\(.+)$ $1@contoso.com;
'
--- config eval: $::Location
--- request eval
[ "POST /mapi/emsmdb/?smtpAddress=Anna\@OLD.example\n",
  "POST /mapi/emsmdb/?smtpAddress=anna\@lab.example\n",
  "POST /mapi/emsmdb/?smtpAddress=otto\@other.example\n",
  "GET /mapi/emsmdb/\n" ]
--- more_headers eval
[ '', '', '', ::basic('CONTOSO\\Otto') ]
--- response_headers eval
[ "X-Anchor: Smtp~anna\@new.example", "X-Anchor: Account~lab\\anna",
  "X-Anchor: Smtp~otto\@other.example", "X-Anchor: Upn~otto\@contoso.com" ]



=== TEST 22: mapi_identity_rule leaves a MailboxId alone
--- http_config eval
$::Road . 'mapi_identity_rule . x@y;'
--- config eval: $::Location
--- request eval
"POST /mapi/emsmdb/?MailboxId=$::G\@contoso.com"
--- response_headers eval
"X-Anchor: MailboxGuid~$::G\@contoso.com"



=== TEST 23: a location's rules stand in place of the server's
--- http_config eval
$::Road . 'mapi_identity_rule @contoso @wrong;'
--- config eval
(my $l = $::Location) =~ s/mapi on;/mapi on;
        mapi_identity_rule ^(.*)\@contoso\\.com\$ \$1\@fabrikam.com;/;
$l
--- request
POST /mapi/emsmdb/?smtpAddress=anna@contoso.com
--- response_headers
X-Anchor: Smtp~anna@fabrikam.com



=== TEST 24: a rule's captures do not disturb the location's
--- http_config eval
$::Road . 'mapi_identity_rule ^(.)(.*)@ $2$1@contoso.com;'
--- config
    large_client_header_buffers 8 64k;

    location ~ ^/(mapi)/(.*)$ {
        mapi on;
        proxy_pass http://exchange;
        add_header X-Anchor $mapi_anchor;
        add_header X-Captures $1:$2;
    }
--- request
POST /mapi/nspi/?smtpAddress=anna@contoso.com
--- response_headers
X-Anchor: Smtp~nnaa@contoso.com
X-Captures: mapi:nspi/



=== TEST 25: a rule that makes no identity is warned of and changes nothing
--- http_config eval
$::Road . 'mapi_identity_rule ^anna@ "";'
--- config eval: $::Location
--- request
POST /mapi/emsmdb/?smtpAddress=anna@contoso.com
--- response_headers
X-Anchor: Smtp~anna@contoso.com
--- error_log
"mapi_identity_rule" made no identity of "anna@contoso.com": ""
