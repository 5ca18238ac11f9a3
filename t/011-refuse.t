# What never reaches a server.

use MapiTest 'no_plan';
use MapiRoad;

our $Road = <<'_EOC_';
    log_format front "asked: <$upstream_addr>";
    log_format status "got $status";
    log_format behind "a server was reached";

    upstream exchange {
        mapi;
        server 127.0.0.11:$TEST_NGINX_RAND_PORT_1;
    }

    upstream dead {
        mapi;
        server 127.0.0.12:$TEST_NGINX_RAND_PORT_2;
    }

    server {
        listen 127.0.0.11:$TEST_NGINX_RAND_PORT_1;
        access_log logs/error.log behind;

        location / {
            return 200 "$request_uri\n";
        }
    }
_EOC_

our $Location = <<'_EOC_';
    large_client_header_buffers 8 64k;
    merge_slashes on;

    location / {
        access_log logs/error.log front;
        mapi on;
        proxy_pass http://exchange;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 120s;
        proxy_buffer_size 8k;
    }
_EOC_

our $G = '6f1a2b3c-0000-4d5e-8f90-0123456789ab';
our $Query = "MailboxId=$G\@contoso.com";

# Test::Nginx has a "location /" of its own

Test::Nginx::Util::no_root_location();

sub times { my ($n, $what) = @_; return [ ($what) x $n ] }

our @Crooked = qw(
    / /mapi /mapi/ /mapi/emsmdb/x /mapi/emsmdb// /mapi//emsmdb/ //mapi/emsmdb/
    /mapi/emsmdb/. /mapi/./emsmdb/ /mapi/x/../emsmdb/ /mapi/emsmdb/..
    /mapi/emsmdb/../nspi/ /mapi/emsmdb; /mapi/emsmdb;x=y/
    /mapi;x/emsmdb/ /mapi/emsmdb\ /mapi\emsmdb/
    /%6dapi/emsmdb/ /mapi/%65msmdb/ /mapi%2femsmdb/ /mapi/emsmdb%2f
    /mapi/emsmdb/%2e /mapi/%2e/emsmdb/ /mapi/emsmdb%20
    /mapi/emsmdb%3f /mapi/emsmdb/healthcheck.htm /mapi/healthcheck.htm/
    /mapi/healthcheck.html /mapi/healthcheck%2ehtm /healthcheck.htm
    /mapi/emsmdbx /mapi/nsp /mapi/rpc /rpc/rpcproxy.dll /owa/ /ews/exchange.asmx
    /autodiscover/autodiscover.xml /PowerShell /favicon.ico
);

run_tests();

__DATA__

=== TEST 1: a path that is no endpoint, or not written plainly, is not found
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ map { "POST $_?$::Query\n" } @::Crooked ]
--- error_code eval: ::times(scalar @::Crooked, 404)
--- response_headers eval
::times(scalar @::Crooked,
        "Content-Length: 0\nX-CasErrorCode: \nContent-Type: ")
--- response_body eval: ::times(scalar @::Crooked, '')
--- no_error_log
a server was reached
--- error_log
asked: <->



=== TEST 2: what nginx cannot take for a path it refuses itself
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "GET /../mapi/emsmdb/\n", "GET /mapi/emsmdb/%00\n" ]
--- error_code eval: [ 400, 400 ]
--- no_error_log
a server was reached



=== TEST 3: the same for GET and HEAD
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ map { ("GET $_\n", "HEAD $_\n") }
  '/mapi/', '//mapi/nspi/', '/mapi/%6espi/', '/mapi/emsmdb/../nspi' ]
--- error_code eval: ::times(8, 404)
--- response_body eval: ::times(8, '')
--- no_error_log
a server was reached



=== TEST 4: endpoints in any case reach a server as written
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "GET /mapi/emsmdb\n", "GET /mapi/emsmdb/\n", "GET /MAPI/NSPI\n",
  "GET /Mapi/Nspi/\n", "GET /mapi/emsmdb?x=%41\n" ]
--- response_body eval
[ "/mapi/emsmdb\n", "/mapi/emsmdb/\n", "/MAPI/NSPI\n", "/Mapi/Nspi/\n",
  "/mapi/emsmdb?x=%41\n" ]
--- error_code eval: ::times(5, 200)



=== TEST 5: the health page is nobody's, and no server's
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ "POST /mapi/healthcheck.htm\n", "GET /mapi/healthcheck.htm?MailboxId=x\n" ]
--- error_code eval: [ 405, 200 ]
--- no_error_log
a server was reached



=== TEST 6: other methods are refused and the right ones named
--- http_config eval: $::Road
--- config eval: $::Location
--- request eval
[ map { "$_ /mapi/emsmdb/?$::Query\n" }
  qw( PUT DELETE OPTIONS PATCH PROPFIND COPY LOCK MKCOL RPC_IN_DATA ) ]
--- error_code eval: ::times(9, 405)
--- response_headers eval
::times(9, "Allow: GET, HEAD, POST\nContent-Length: 0\nContent-Type: ")
--- response_body eval: ::times(9, '')
--- no_error_log
a server was reached



=== TEST 7: a path that is not there is not found with any method
--- http_config eval: $::Road
--- config eval: $::Location
--- raw_request eval
"PUT /mapi/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r
Connection: close\r\n\r\n"
--- error_code: 404
--- response_headers
Allow:



=== TEST 8: a POST for nobody is refused empty, with the reason in a header
--- http_config eval: $::Road
--- config eval: $::Location
--- request
POST /mapi/emsmdb/
the body of a Connect
--- error_code: 400
--- response_headers
X-CasErrorCode: MailboxGuidWithDomainNotFound
Content-Length: 0
Content-Type:
--- response_body
--- no_error_log
a server was reached



=== TEST 9: a client's connection lives on after a refusal
--- http_config eval: $::Road
--- config eval: $::Location
--- pipelined_requests eval
[ "POST /mapi//emsmdb/\nsome body", "PUT /mapi/emsmdb/\nsome body",
  "GET /mapi/emsmdb/" ]
--- error_code eval: [ 404, 405, 200 ]
--- response_headers eval
[ 'Connection: keep-alive', 'Connection: keep-alive', 'Connection: close' ]



=== TEST 10: error_page replaces a refusal
--- http_config eval: $::Road
--- config eval
(my $l = $::Location) =~ s/mapi on;/mapi on;
        error_page 400 404 405 = \@refused;/;
$l . '
    location @refused {
        add_header X-Was $status always;
        return 418 "refused\n";
    }
'
--- request eval
[ "GET /mapi/\n", "POST /mapi/emsmdb/\n", "PUT /mapi/nspi\n" ]
--- error_code eval: [ 418, 418, 418 ]
--- response_body eval
[ "refused\n", "refused\n", "refused\n" ]
--- no_error_log
a server was reached



=== TEST 11: nginx's own pages elsewhere are as ever
--- http_config eval: $::Road
--- config eval
$::Location . '
    location /other {
        return 404;
    }
'
--- request
GET /other
--- error_code: 404
--- response_body_like: 404 Not Found



=== TEST 12: the access log has the status that the client got
--- http_config eval: $::Road
--- config eval
(my $l = $::Location) =~ s/error.log front/error.log status/;
$l =~ s/exchange;/dead;/;
$l
--- request
GET /mapi/emsmdb/
--- error_code: 503
--- response_body:
--- error_log
got 503



=== TEST 13: a refusal of nginx's own limits is not ours
--- http_config eval
$::Road . 'limit_req_zone $server_name zone=one:1m rate=1r/m;'
--- config eval
(my $l = $::Location) =~ s/mapi on;/mapi on; limit_req zone=one;/;
$l
--- request eval
[ "GET /mapi/emsmdb/\n", "GET /mapi/emsmdb/\n" ]
--- error_code eval: [ 200, 503 ]
--- response_headers eval
[ "X-CasErrorCode: ", "X-CasErrorCode: " ]



=== TEST 14: where an error_page leads off the road, the request is as it came
--- http_config eval: $::Road
--- config eval
(my $l = $::Location) =~ s/mapi on;/mapi on;
        mapi_forwarded_for append;
        error_page 400 404 405 = \@refused;/;
$l . '
    underscores_in_headers on;

    location @refused {
        return 200 "$http_cookie|$http_x_delayrequest|$http_x_forwarded_for|$mapi_request_type\n";
    }
'
--- more_headers
Cookie: a=b; MapiAffinity=c
X-DelayRequest: 1
X-Forwarded-For: 203.0.113.9
X-RequestType: Execute
--- request eval
[ "GET /mapi/\n", "PUT /mapi/nspi\n", "GET /mapi/emsmdb?MailboxId=x\n",
  "POST /mapi/emsmdb/?MailboxId=x\n" ]
--- error_code eval: [ 200, 200, 200, 200 ]
--- response_body eval
::times(4, "a=b; MapiAffinity=c|1|203.0.113.9|\n")
--- no_error_log
a server was reached



=== TEST 15: a refusal echoes the client's id all the same
--- http_config eval: $::Road
--- config eval: $::Location
--- more_headers
client-request-id: {6f1a2b3c-0000-4d5e-8f90-0123456789ab}
return-client-request-id: true
--- request eval
[ "GET /mapi/\n", "PUT /mapi/nspi\n", "POST /mapi/emsmdb/?MailboxId=x\n",
  "POST /mapi/emsmdb/\n" ]
--- error_code eval: [ 404, 405, 400, 400 ]
--- response_headers eval
::times(4, "client-request-id: {6f1a2b3c-0000-4d5e-8f90-0123456789ab}")
