# What "nginx -t" says: each configuration error by its words, and each warning.

use MapiTest 'no_plan';
use MapiRoad;

# a block and a location that are as they should be, but for what is given

sub upstream
{
    my ($lines) = @_;

    return "    upstream exchange {\n        $lines\n    }\n";
}


sub road
{
    my ($lines, $pass) = @_;

    return '    large_client_header_buffers 8 64k;

    location = /ok {
        return 200 "ok\n";
    }

    location /mapi/ {
        ' . (defined $pass ? $pass : 'mapi on;
        proxy_pass http://exchange;') . "
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_read_timeout 120s;
        proxy_buffer_size 8k;
        $lines
    }
";
}


our $Servers = "server 127.0.0.11:8;\n        server 127.0.0.12:8;";
our $Good = upstream("mapi;\n        $Servers");

spew(run_folder() . '/good.key', ('0123456789abcdef' x 4) . "\n");
spew(run_folder() . '/short.key', "0123456789abcdef\n");
spew(run_folder() . '/long.key', 'ab' x 500);
spew(run_folder() . '/empty.key', '');
$ENV{TEST_NGINX_KEYS} = run_folder();

# skipped blocks leave the log of the one before

allow_log(qr/\[emerg\]/);


# Test::Nginx writes its "events" behind "http", where nobody sees it in time

sub words_on_workers
{
    my ($connections, $files) = @_;
    my ($port, $backend) = (free_port(), free_port());
    my $server = start_nginx("workers-$connections-$files",
                             "worker_rlimit_nofile $files;\n"
                             . "events { worker_connections $connections; }\n"
                             . road_http(port => $port, backend => $backend));
    my ($words) = log_of($server) =~ /\[warn\].*?(mapi: .*)/;

    # a signal before nginx waits for signals is lost
    talk($port, request('GET', '/'));
    stop_nginx($server);

    return $words;
}


is(words_on_workers(512, 4096),
   'mapi: "worker_connections" is 512, a few Outlooks keep that many open: '
   . 'write "worker_connections 16384;" in events and '
   . '"worker_rlimit_nofile 32768;"', 'few connections a worker');

is(words_on_workers(1024, 2000),
   'mapi: "worker_connections" is 1024, but a worker may open only 2000 '
   . 'files, two for a request: write "worker_rlimit_nofile 2048;"',
   'few files a worker');

is(words_on_workers(1024, 2048), undef, 'enough of both');

run_tests();

__DATA__

=== TEST 1: a configuration as it should be passes without a word
--- http_config eval
$::Good
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]
[error]



=== TEST 2: "mapi on" without a "proxy_pass"
--- http_config eval
$::Good
--- config eval
::road('', q{mapi on;})
--- must_die
--- error_log
"mapi on" needs a "proxy_pass" in this location that names an upstream block with "mapi", without variables, in 



=== TEST 3: "mapi on" with variables in "proxy_pass"
--- http_config eval
$::Good
--- config eval
::road('', q{mapi on; set $to exchange; proxy_pass http://$to;})
--- must_die
--- error_log
"mapi on" needs a "proxy_pass" in this location that names an upstream block with "mapi", without variables, in 



=== TEST 4: "mapi on" with an address in "proxy_pass"
--- http_config eval
$::Good
--- config eval
::road('', q{mapi on; proxy_pass http://127.0.0.11:8;})
--- must_die
--- error_log
"mapi on" needs a "proxy_pass" in this location that names an upstream block with "mapi", without variables, in 



=== TEST 5: "mapi on" with an upstream block without "mapi"
--- http_config eval
::upstream($::Servers)
--- config eval
::road('')
--- must_die
--- error_log
"mapi on" needs a "proxy_pass" in this location that names an upstream block with "mapi", without variables, in 



=== TEST 6: "mapi on" inherited where there is nothing to do does nothing
--- http_config eval
$::Good . 'mapi on;'
--- config eval
::road('', q{proxy_pass http://127.0.0.1:8;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]



=== TEST 7: "mapi observe" without a "proxy_pass"
--- http_config eval
$::Good
--- config eval
::road('', q{mapi observe;})
--- must_die
--- error_log
"mapi observe" needs a "proxy_pass" in this location that names an upstream block, without variables, in 



=== TEST 8: "mapi observe" goes with any upstream block
--- http_config eval
::upstream("least_conn;\n        $::Servers")
--- config eval
::road('', q{mapi observe; proxy_pass http://exchange;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]



=== TEST 9: "mapi" with another word
--- http_config eval
$::Good
--- config eval
::road('', q{mapi maybe; proxy_pass http://exchange;})
--- must_die
--- error_log
invalid value "maybe"



=== TEST 10: "mapi" twice in a location
--- http_config eval
$::Good
--- config eval
::road('', q{mapi on; mapi on; proxy_pass http://exchange;})
--- must_die
--- error_log
"mapi" directive is duplicate



=== TEST 11: an upstream with "mapi" that is reached without "mapi on"
--- http_config eval
$::Good
--- config eval
::road('', q{proxy_pass http://exchange;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/" reaches upstream "exchange" without "mapi on": its requests are balanced round robin, whoever they are for



=== TEST 12: "proxy_pass_request_headers off" takes the protocol away
--- http_config eval
$::Good
--- config eval
::road(q{proxy_pass_request_headers off;})
--- must_die
--- error_log
"mapi on" cannot work with "proxy_pass_request_headers off": MAPI over HTTP lives in the headers, remove it, in 



=== TEST 13: "proxy_http_version 2"
--- http_config eval
$::Good
--- config eval
(my $r = ::road('')) =~ s/version 1.1/version 2/;
$r
--- skip_nginx: 2: < 1.29.4
--- must_die
--- error_log
"mapi on" cannot work with "proxy_http_version 2": write "proxy_http_version 1.1;", in 



=== TEST 14: the parameter "directly" of an upstream's "mapi"
--- http_config eval
::upstream(q{mapi directly; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "directly": write "owner", "direct", "fallback=any", "fallback=copies" or "fallback=none"



=== TEST 15: the parameter "fallback=some" of an upstream's "mapi"
--- http_config eval
::upstream(q{mapi fallback=some; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "fallback=some": write "owner", "direct", "fallback=any", "fallback=copies" or "fallback=none"



=== TEST 16: the parameter "fallback=" of an upstream's "mapi"
--- http_config eval
::upstream(q{mapi fallback=; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "fallback=": write "owner", "direct", "fallback=any", "fallback=copies" or "fallback=none"



=== TEST 17: the parameter "OWNER" of an upstream's "mapi"
--- http_config eval
::upstream(q{mapi OWNER; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "OWNER": write "owner", "direct", "fallback=any", "fallback=copies" or "fallback=none"



=== TEST 18: "owner" twice
--- http_config eval
::upstream(q{mapi owner owner; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" directive has "owner" twice



=== TEST 19: "fallback" twice
--- http_config eval
::upstream(q{mapi fallback=any fallback=none; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" directive has "fallback" twice



=== TEST 20: "mapi" twice in an upstream
--- http_config eval
::upstream(q{mapi; mapi owner; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" directive is duplicate



=== TEST 21: every form of "mapi" in an upstream is taken
--- http_config eval
::upstream(q{mapi owner fallback=copies; server 127.0.0.11:8;})
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 22: "keepalive" before "mapi"
--- http_config eval
::upstream(q{keepalive 8; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- skip_nginx: 2: >= 1.29.7
--- must_die
--- error_log
"mapi" directive must stand before "keepalive", and no other load balancing method may stand beside it



=== TEST 23: "keepalive" before "mapi" is as good as after it since 1.29.7
--- http_config eval
::upstream(q{keepalive 8; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- skip_nginx: 4: < 1.29.7
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 24: "keepalive" after "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; keepalive 8;})
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]



=== TEST 25: "hash $arg_x" before "mapi"
--- http_config eval
::upstream(q{hash $arg_x; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
no other 



=== TEST 26: "hash $arg_x" after "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; hash $arg_x;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" is a load balancing method: no other one, and no "sticky", may stand beside it, in 



=== TEST 27: "hash $arg_x consistent" before "mapi"
--- http_config eval
::upstream(q{hash $arg_x consistent; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
no other 



=== TEST 28: "hash $arg_x consistent" after "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; hash $arg_x consistent;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" is a load balancing method: no other one, and no "sticky", may stand beside it, in 



=== TEST 29: "least_conn" before "mapi"
--- http_config eval
::upstream(q{least_conn; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
no other 



=== TEST 30: "least_conn" after "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; least_conn;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" is a load balancing method: no other one, and no "sticky", may stand beside it, in 



=== TEST 31: "ip_hash" before "mapi"
--- http_config eval
::upstream(q{ip_hash; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
no other 



=== TEST 32: "ip_hash" after "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; ip_hash;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" is a load balancing method: no other one, and no "sticky", may stand beside it, in 



=== TEST 33: "random" before "mapi"
--- http_config eval
::upstream(q{random; mapi; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
no other 



=== TEST 34: "random" after "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; random;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" is a load balancing method: no other one, and no "sticky", may stand beside it, in 



=== TEST 35: "sticky" beside "mapi"
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; sticky cookie c;})
--- config eval
::road('')
--- skip_nginx: 2: < 1.29.6
--- must_die
--- error_log
"mapi" is a load balancing method: no other one, and no "sticky", may stand beside it, in 



=== TEST 36: a unix socket has no host
--- http_config eval
::upstream(q{mapi; server unix:/tmp/x;})
--- config eval
::road('')
--- must_die
--- error_log
server "unix:/tmp/x" in an upstream with "mapi": a unix socket has no host name to find it by, write a name or an address, in 



=== TEST 37: two ports of one host
--- http_config eval
::upstream(q{mapi; server 127.0.0.11:8; server 127.0.0.11:9;})
--- config eval
::road('')
--- must_die
--- error_log
servers "127.0.0.11:8" and "127.0.0.11:9" of an upstream with "mapi" are one host: a mailbox is found by the host, write one of them, in 



=== TEST 38: one host in two cases
--- http_config eval
::upstream(q{mapi; server [FD00::A]:8; server [fd00::a]:9;})
--- config eval
::road('')
--- must_die
--- error_log
servers "[FD00::A]:8" and "[fd00::a]:9" of an upstream with "mapi" are one host



=== TEST 39: one IPv6 host with and without a port
--- http_config eval
::upstream(q{mapi; server [::1]; server [::1]:9;})
--- config eval
::road('')
--- must_die
--- error_log
servers "[::1]" and "[::1]:9" of an upstream with "mapi" are one host



=== TEST 40: a block without "mapi" may have two ports of one host and a unix socket
--- http_config eval
$::Good . '    upstream other { server 127.0.0.11:8; server 127.0.0.11:9; server unix:/tmp/x; }'
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
[warn]



=== TEST 41: more than 256 servers
--- http_config eval
::upstream('mapi; ' . CORE::join(' ', map { "server 127.0.1.$_:8;" } 1 .. 254)
           . ' server 127.0.2.1:8; server 127.0.2.2:8; server 127.0.2.3:8;')
--- config eval
::road('')
--- must_die
--- error_log
an upstream with "mapi" may have 256 servers, in 



=== TEST 42: 256 servers
--- http_config eval
::upstream('mapi; ' . CORE::join(' ', map { "server 127.0.1.$_:8;" } 1 .. 254)
           . ' server 127.0.2.1:8; server 127.0.2.2:8;')
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 43: "mapi_unknown_mailbox" without "mapi"
--- http_config eval
::upstream(q{mapi_unknown_mailbox reject; server 127.0.0.11:8;})
--- config eval
''
--- must_die
--- error_log
"mapi_unknown_mailbox" needs "mapi" in the same upstream block, in 



=== TEST 44: "mapi_unknown_mailbox" twice
--- http_config eval
::upstream(q{mapi; mapi_unknown_mailbox reject; mapi_unknown_mailbox balance; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi_unknown_mailbox" directive is duplicate



=== TEST 45: "mapi_unknown_mailbox" with another word
--- http_config eval
::upstream(q{mapi; mapi_unknown_mailbox drop; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
invalid value "drop": write "balance" or "reject"



=== TEST 46: "mapi_unknown_mailbox reject" without a directory
--- http_config eval
::upstream(q{mapi; mapi_unknown_mailbox reject; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi_unknown_mailbox reject" needs "mapi_directory": without it no mailbox is known, in 



=== TEST 47: "mapi_unknown_mailbox balance" without a directory
--- http_config eval
::upstream(q{mapi; mapi_unknown_mailbox balance; server 127.0.0.11:8;})
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 48: "mapi_directory" twice
--- http_config eval
$::Good . 'mapi_directory /a; mapi_directory /b;'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_directory" directive is duplicate



=== TEST 49: "mapi_directory" without a path
--- http_config eval
$::Good . 'mapi_directory "";'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_directory" directive needs the path of a folder



=== TEST 50: "mapi_directory" that is not there yet
--- http_config eval
$::Good . 'mapi_directory /nowhere/at/all;'
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: the directory "/nowhere/at/all" cannot be found: no mailbox is known until "mapi-directory -d /nowhere/at/all import" has made it



=== TEST 51: "mapi_identity_rule" that does not compile
--- http_config eval
$::Good . 'mapi_identity_rule ((a b;'
--- config eval
::road('')
--- must_die
--- error_log
pcre2_compile() failed



=== TEST 52: "mapi_identity_rule" with an unknown variable
--- http_config eval
$::Good . 'mapi_identity_rule a $nobody_knows;'
--- config eval
::road('')
--- must_die
--- error_log
unknown "nobody_knows" variable



=== TEST 53: "mapi_identity_rule" without a replacement
--- http_config eval
$::Good . 'mapi_identity_rule a;'
--- config eval
::road('')
--- must_die
--- error_log
invalid number of arguments in "mapi_identity_rule" directive



=== TEST 54: "mapi_affinity" with another word
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity always;})
--- must_die
--- error_log
invalid value "always"



=== TEST 55: a cookie name with a blank
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie "a b";})
--- must_die
--- error_log
invalid cookie name "a b": write letters, digits, "-" and "_"



=== TEST 56: a cookie name with a sign that ends it
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie "a=b";})
--- must_die
--- error_log
invalid cookie name "a=b": write letters, digits, "-" and "_"



=== TEST 57: an empty cookie name
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie "";})
--- must_die
--- error_log
"mapi_affinity_cookie" directive needs a cookie name of 1 to 64 characters



=== TEST 58: a cookie name of 65 characters
--- http_config eval
$::Good
--- config eval
::road('mapi_affinity_cookie ' . ('a' x 65) . ';')
--- must_die
--- error_log
"mapi_affinity_cookie" directive needs a cookie name of 1 to 64 characters



=== TEST 59: "mapi_affinity_cookie" with "path=mapi"
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a path=mapi;})
--- must_die
--- error_log
invalid parameter "path=mapi": write "path=/mapi" or "lifetime=15m" (from 1s to 31d)



=== TEST 60: "mapi_affinity_cookie" with "lifetime=0"
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a lifetime=0;})
--- must_die
--- error_log
invalid parameter "lifetime=0": write "path=/mapi" or "lifetime=15m" (from 1s to 31d)



=== TEST 61: "mapi_affinity_cookie" with "lifetime=32d"
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a lifetime=32d;})
--- must_die
--- error_log
invalid parameter "lifetime=32d": write "path=/mapi" or "lifetime=15m" (from 1s to 31d)



=== TEST 62: "mapi_affinity_cookie" with "lifetime=soon"
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a lifetime=soon;})
--- must_die
--- error_log
invalid parameter "lifetime=soon": write "path=/mapi" or "lifetime=15m" (from 1s to 31d)



=== TEST 63: "mapi_affinity_cookie" with "secure"
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a secure;})
--- must_die
--- error_log
invalid parameter "secure": write "path=/mapi" or "lifetime=15m" (from 1s to 31d)



=== TEST 64: a cookie path with a sign that ends it
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a "path=/a;b";})
--- must_die
--- error_log
invalid parameter "path=/a;b": write "path=/mapi" or "lifetime=15m" (from 1s to 31d)



=== TEST 65: "mapi_affinity_cookie" twice
--- http_config eval
$::Good
--- config eval
::road(q{mapi_affinity_cookie a; mapi_affinity_cookie b;})
--- must_die
--- error_log
"mapi_affinity_cookie" directive is duplicate



=== TEST 66: "mapi_affinity_key" twice
--- http_config eval
$::Good . 'mapi_affinity_key a; mapi_affinity_key b;'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_affinity_key" directive is duplicate



=== TEST 67: a key file that is missing
--- http_config eval
$::Good . 'mapi_affinity_key $TEST_NGINX_KEYS/no.key;'
--- config eval
::road('')
--- must_die
--- error_log
mapi_affinity_key: open() "
/no.key" failed (2: No such file or directory)



=== TEST 68: a key file that is too short
--- http_config eval
$::Good . 'mapi_affinity_key $TEST_NGINX_KEYS/good.key $TEST_NGINX_KEYS/short.key;'
--- config eval
::road('')
--- must_die
--- error_log
/short.key" does not hold a key: write 32 bytes as 64 hex digits or as base64, for example with "openssl rand -hex 32"



=== TEST 69: a key file that is too long
--- http_config eval
$::Good . 'mapi_affinity_key $TEST_NGINX_KEYS/good.key $TEST_NGINX_KEYS/long.key;'
--- config eval
::road('')
--- must_die
--- error_log
/long.key" does not hold a key: write 32 bytes as 64 hex digits or as base64, for example with "openssl rand -hex 32"



=== TEST 70: a key file that is empty
--- http_config eval
$::Good . 'mapi_affinity_key $TEST_NGINX_KEYS/good.key $TEST_NGINX_KEYS/empty.key;'
--- config eval
::road('')
--- must_die
--- error_log
/empty.key" does not hold a key: write 32 bytes as 64 hex digits or as base64, for example with "openssl rand -hex 32"



=== TEST 71: a key file that is a folder
--- http_config eval
$::Good . 'mapi_affinity_key $TEST_NGINX_KEYS;'
--- config eval
::road('')
--- must_die
--- error_log
does not hold a key



=== TEST 72: a short "proxy_read_timeout"
--- http_config eval
$::Good
--- config eval
(my $r = ::road('')) =~ s/120s/30s/;
$r
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_read_timeout" is 30000ms, but a waiting server sends a byte only every 15 to 30 seconds: write "proxy_read_timeout 120s;"



=== TEST 73: "proxy_ignore_client_abort on"
--- http_config eval
$::Good
--- config eval
::road(q{proxy_ignore_client_abort on;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_ignore_client_abort on" leaves requests of clients that went away running on the server, which refuses their next ones: remove it



=== TEST 74: "proxy_intercept_errors on"
--- http_config eval
$::Good
--- config eval
::road(q{proxy_intercept_errors on;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_intercept_errors on" replaces answers that Outlook reads: remove it



=== TEST 75: "proxy_pass_request_body off"
--- http_config eval
$::Good
--- config eval
::road(q{proxy_pass_request_body off;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_pass_request_body off" takes the request away: remove it



=== TEST 76: "proxy_store"
--- http_config eval
$::Good
--- config eval
::road(q{proxy_store on;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_store" would keep copies of mail on disk: remove it



=== TEST 77: "proxy_cache"
--- http_config eval
$::Good . 'proxy_cache_path logs/cache keys_zone=c:1m;'
--- config eval
::road(q{proxy_cache c;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_cache" must not keep MAPI answers: write "proxy_cache off;"



=== TEST 78: a small "proxy_buffer_size"
--- http_config eval
$::Good
--- config eval
(my $r = ::road('')) =~ s/size 8k/size 2k/;
$r
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_buffer_size" is 2048, answer headers with cookies and challenges need more: write "proxy_buffer_size 8k;"



=== TEST 79: "proxy_next_upstream" without "error"
--- http_config eval
$::Good
--- config eval
::road(q{proxy_next_upstream off;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_next_upstream" without "error" turns a server that refuses connections into failed requests: write "proxy_next_upstream error timeout;"



=== TEST 80: a small "client_max_body_size"
--- http_config eval
$::Good
--- config eval
::road(q{client_max_body_size 100k;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "client_max_body_size" is 102400, requests have up to 262k: write "client_max_body_size 1m;"



=== TEST 81: no limit of the body size is no small one
--- http_config eval
$::Good
--- config eval
::road(q{client_max_body_size 0;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 82: small "large_client_header_buffers"
--- http_config eval
$::Good
--- config eval
(my $r = ::road('')) =~ s/8 64k/4 8k/;
$r
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "large_client_header_buffers" has buffers of 8192, a Kerberos ticket needs up to 64k: write "large_client_header_buffers 8 64k;" in the server



=== TEST 83: a short "keepalive_timeout"
--- http_config eval
$::Good
--- config eval
::road(q{keepalive_timeout 30s;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "keepalive_timeout" is 30000ms, Outlook would log on again and again: write "keepalive_timeout 90s;"



=== TEST 84: few "keepalive_requests"
--- http_config eval
$::Good
--- config eval
::road(q{keepalive_requests 100;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "keepalive_requests" is 100, Outlook would log on again and again: write "keepalive_requests 100000;"



=== TEST 85: "chunked_transfer_encoding off"
--- http_config eval
$::Good
--- config eval
::road(q{chunked_transfer_encoding off;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "chunked_transfer_encoding off" leaves streamed answers without an end: remove it



=== TEST 86: "tcp_nodelay off"
--- http_config eval
$::Good
--- config eval
::road(q{tcp_nodelay off;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "tcp_nodelay off" holds short chunks back: remove it



=== TEST 87: "limit_rate"
--- http_config eval
$::Good
--- config eval
::road(q{limit_rate 10k;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "limit_rate" makes answers slower than Outlook waits: remove it



=== TEST 88: the warnings are not for "observe"
--- http_config eval
$::Good
--- config eval
::road('', q{mapi observe; proxy_pass http://exchange; proxy_ignore_client_abort on;})
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 99: "mapi_health_check" without a zone
--- http_config eval
::upstream("mapi;\n        mapi_health_check;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_health_check" needs a zone that the workers share: write "mapi_zone mapi 10m;" in http, in



=== TEST 100: "mapi_health_check" twice
--- http_config eval
::upstream("mapi;\n        mapi_health_check;\n        mapi_health_check;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_health_check" directive is duplicate in



=== TEST 101: a parameter of "mapi_health_check" that is none
--- http_config eval
"mapi_zone mapi 1m;\n" . ::upstream("mapi;\n        mapi_health_check expect=2xx;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "expect=2xx": write "uri=/...", "interval=5s", "timeout=4s", "fails=3", "passes=2", "port=N", "plain", "host=NAME", "verify=on", "expect=200", "match=TEXT", "type=tcp", "mandatory" or "mismatch=avoid" in



=== TEST 102: "mapi_health_check" with a time of nothing
--- http_config eval
"mapi_zone mapi 1m;\n" . ::upstream("mapi;\n        mapi_health_check interval=0;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "interval=0": write



=== TEST 103: "mapi_health_check verify=on" without authorities
--- http_config eval
"mapi_zone mapi 1m;\n" . ::upstream("mapi;\n        mapi_health_check verify=on;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_health_check verify=on" needs a location that leads to this block with "proxy_ssl_verify on" and "proxy_ssl_trusted_certificate", in



=== TEST 201: "mismatch=avoid" where nobody would heed it
--- http_config eval
"mapi_zone mapi 1m;\n" . ::upstream("mapi_health_check mismatch=avoid;\n        $::Servers")
--- config eval
::road('', 'proxy_pass http://exchange;')
--- must_die
--- error_log
"mapi_health_check mismatch=avoid" needs a block with "mapi", other balancing knows no drain: write "mapi" above it, or leave "mismatch=avoid" out, in



=== TEST 202: a check that verifies without TLS
--- http_config eval
"mapi_zone mapi 1m;\n" . ::upstream("mapi;\n        mapi_health_check plain verify=on;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_health_check" with "plain" speaks no TLS and has nothing to verify: leave out "plain" or "verify=on", in



=== TEST 203: a page for a check that asks for none
--- http_config eval
"mapi_zone mapi 1m;\n" . ::upstream("mapi;\n        mapi_health_check type=tcp expect=401;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_health_check type=tcp" asks for no page: leave out "type=tcp", or "uri", "expect" and "match", in



=== TEST 104: "mapi_zone" twice
--- http_config eval
"mapi_zone a 1m;\nmapi_zone b 1m;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
"mapi_zone" directive is duplicate, one zone serves all in



=== TEST 105: "mapi_zone" too small
--- http_config eval
"mapi_zone a 4k;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
size "4k" of zone "a" is too small: write "10m" in



=== TEST 106: "mapi_zone" without a size
--- http_config eval
"mapi_zone a much;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
invalid size "much" of zone "a": write "10m" in



=== TEST 89: "mapi_pin" twice
--- http_config eval
::upstream("mapi;\n        mapi_pin on;\n        mapi_pin on;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_pin" directive is duplicate in



=== TEST 90: "mapi_pin" with another word
--- http_config eval
::upstream("mapi;\n        mapi_pin yes;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
invalid value "yes" in "mapi_pin" directive, it must be "on" or "off" in



=== TEST 91: "mapi_pin off" with parameters
--- http_config eval
::upstream("mapi;\n        mapi_pin off max=2;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_pin" directive has parameters, which "off" does not take in



=== TEST 92: "mapi_pin" with a number that is none
--- http_config eval
::upstream("mapi;\n        mapi_pin on max=0;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "max=0": write "max=16" (1 to 1024), "idle=110s", "prefer=pinned" or "prefer=route" in



=== TEST 93: "mapi_pin" with a time that is none
--- http_config eval
::upstream("mapi;\n        mapi_pin on idle=soon;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "idle=soon": write "max=16" (1 to 1024), "idle=110s", "prefer=pinned" or "prefer=route" in



=== TEST 94: "mapi_pin" with a preference that is none
--- http_config eval
::upstream("mapi;\n        mapi_pin on prefer=both;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
invalid parameter "prefer=both": write "max=16" (1 to 1024), "idle=110s", "prefer=pinned" or "prefer=route" in



=== TEST 95: "mapi_pin" with a parameter twice
--- http_config eval
::upstream("mapi;\n        mapi_pin on max=2 max=3;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
parameter "max=3" stands twice in



=== TEST 96: HTTP/2 where logons are pinned
--- http_config eval
$::Good . '    server {
        listen 127.0.0.1:1985 http2;
        location /mapi/ {
            mapi on;
            proxy_pass http://exchange;
        }
    }
'
--- config eval
::road('')
--- must_die
--- error_log
HTTP/2 and HTTP/3 cannot carry the logons of connections (NTLM, Kerberos) that location "/mapi/" keeps for upstream "exchange": turn http2 off here or set "mapi_pin off" there, in 



=== TEST 97: HTTP/2 where nothing is pinned, and beside it
--- http_config eval
::upstream("mapi;\n        mapi_pin off;\n        $::Servers") . '
    upstream other {
        mapi_pin on;
        server 127.0.0.13:8;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 http2;
        location /mapi/ {
            mapi on;
            proxy_pass http://exchange;
        }
    }
'
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok



=== TEST 98: another way to the same server, without pins
--- http_config eval
$::Good . '    upstream ews {
        server 127.0.0.12:8;
    }
    upstream owa {
        mapi_pin on;
        server 127.0.0.12:8;
    }
    upstream elsewhere {
        server 127.0.0.99:8;
    }
'
--- config eval
::road('') . 'location /EWS {
    proxy_pass http://ews;
}
location /owa {
    proxy_pass http://owa;
}
location /other {
    proxy_pass http://elsewhere;
}
location /direct {
    proxy_pass http://127.0.0.11:8;
}
'
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/EWS" reaches server "127.0.0.12" through upstream "ews" without "mapi_pin": a logon by NTLM or Kerberos fails there, or serves somebody else; write "mapi_pin on;" in an upstream block for it
mapi: location "/direct" reaches server "127.0.0.11" through upstream "127.0.0.11
--- no_error_log
location "/owa" reaches
location "/other" reaches



=== TEST 99: "mapi_server_name" twice in http
--- http_config eval
$::Good . 'mapi_server_name a; mapi_server_name b;'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_server_name" directive is duplicate



=== TEST 100: "mapi_server_name" twice in a server
--- http_config eval
$::Good . 'mapi_server_name a;'
--- config eval
'mapi_server_name b; mapi_server_name b;' . ::road('')
--- must_die
--- error_log
"mapi_server_name" directive is duplicate



=== TEST 101: "mapi_server_name" in a location
--- http_config eval
$::Good
--- config eval
::road('mapi_server_name a;')
--- must_die
--- error_log
"mapi_server_name" directive is not allowed here



=== TEST 102: an empty name
--- http_config eval
$::Good . 'mapi_server_name "";'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_server_name" directive needs a name of 1 to 255 characters



=== TEST 103: a name that is too long
--- http_config eval
$::Good . 'mapi_server_name ' . 'a' x 256 . ';'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_server_name" directive needs a name of 1 to 255 characters



=== TEST 104: a variable for a name
--- http_config eval
$::Good . 'mapi_server_name $hostname;'
--- config eval
::road('')
--- must_die
--- error_log
invalid name "$hostname": write a host name, of letters, digits, "-", "_" and "."



=== TEST 105: HTML for a name
--- http_config eval
$::Good . 'mapi_server_name a<br/>;'
--- config eval
::road('')
--- must_die
--- error_log
invalid name "a<br/>": write a host name, of letters, digits, "-", "_" and "."



=== TEST 106: a name with a blank
--- http_config eval
$::Good . 'mapi_server_name "a b";'
--- config eval
::road('')
--- must_die
--- error_log
invalid name "a b": write a host name, of letters, digits, "-", "_" and "."



=== TEST 107: a name with other letters
--- http_config eval
$::Good . "mapi_server_name f\xc3\xbc;"
--- config eval
::road('')
--- must_die
--- error_log
invalid name "f



=== TEST 108: a name and a port
--- http_config eval
$::Good . 'mapi_server_name a:443;'
--- config eval
::road('')
--- must_die
--- error_log
invalid name "a:443": write a host name, of letters, digits, "-", "_" and "."



=== TEST 109: two names
--- http_config eval
$::Good . 'mapi_server_name a b;'
--- config eval
::road('')
--- must_die
--- error_log
invalid number of arguments in "mapi_server_name" directive



=== TEST 110: "mapi_headers" with another word
--- http_config eval
$::Good
--- config eval
::road('mapi_headers yes;')
--- must_die
--- error_log
invalid value "yes" in "mapi_headers" directive: write "on", "off" or "full" in 



=== TEST 111: "mapi_headers" twice
--- http_config eval
$::Good
--- config eval
::road('mapi_headers on; mapi_headers full;')
--- must_die
--- error_log
"mapi_headers" directive is duplicate



=== TEST 112: "mapi_headers" in an upstream block
--- http_config eval
::upstream("mapi;\n        mapi_headers on;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_headers" directive is not allowed here



=== TEST 113: "mapi_forwarded_for" with another word
--- http_config eval
$::Good
--- config eval
::road('mapi_forwarded_for on;')
--- must_die
--- error_log
invalid value "on" in "mapi_forwarded_for" directive: write "append", "replace" or "off" in 



=== TEST 114: "mapi_forwarded_for" twice
--- http_config eval
$::Good
--- config eval
::road('mapi_forwarded_for off; mapi_forwarded_for off;')
--- must_die
--- error_log
"mapi_forwarded_for" directive is duplicate



=== TEST 115: all, on every level
--- http_config eval
"$::Good    mapi_headers off;\n    mapi_forwarded_for off;\n    mapi_introduce off;\n"
--- config eval
'mapi_headers full; mapi_forwarded_for replace; mapi_introduce on;'
. ::road('mapi_headers on; mapi_forwarded_for append; mapi_introduce off;')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]
[error]



=== TEST 116: a network by name
--- http_config eval
$::Good . 'mapi_debug_allow admins;'
--- config eval
::road('')
--- must_die
--- error_log
invalid network "admins" in "mapi_debug_allow" directive: write addresses and networks as "192.0.2.7" and "192.0.2.0/24", "unix:", or "none"



=== TEST 117: all networks by a word
--- http_config eval
$::Good . 'mapi_debug_allow 192.0.2.7 all;'
--- config eval
::road('')
--- must_die
--- error_log
invalid network "all" in "mapi_debug_allow" directive: for everybody write "0.0.0.0/0 ::/0"



=== TEST 118: none, and some
--- http_config eval
$::Good . 'mapi_debug_allow none 192.0.2.7;'
--- config eval
::road('')
--- must_die
--- error_log
"none" in "mapi_debug_allow" directive stands alone, or not at all



=== TEST 119: a network of IPv4 in IPv6
--- http_config eval
$::Good . 'mapi_debug_allow ::ffff:192.0.2.0/120;'
--- config eval
::road('')
--- must_die
--- error_log
network "::ffff:192.0.2.0/120" in "mapi_debug_allow" directive is one of IPv4: write it as "192.0.2.0/24"



=== TEST 120: networks twice
--- http_config eval
$::Good . 'mapi_debug_allow 192.0.2.7; mapi_debug_allow 192.0.2.8;'
--- config eval
::road('')
--- must_die
--- error_log
"mapi_debug_allow" directive is duplicate: one line takes all networks



=== TEST 121: a socket's path
--- http_config eval
$::Good . 'mapi_debug_allow unix:/run/admin;'
--- config eval
::road('')
--- must_die
--- error_log
invalid network "unix:/run/admin" in



=== TEST 122: no network
--- http_config eval
$::Good . 'mapi_debug_allow;'
--- config eval
::road('')
--- must_die
--- error_log
invalid number of arguments in "mapi_debug_allow" directive



=== TEST 123: low bits of a network
--- http_config eval
$::Good . 'mapi_debug_allow 192.0.2.7/24 2001:db8::/32 0.0.0.0/0 ::/0 unix:;'
--- config eval
::road('mapi_debug_allow none;')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
low address bits of "192.0.2.7/24" are meaningless
--- no_error_log
[error]



=== TEST 190: a page by somebody else
--- http_config eval
$::Good . 'mapi_page exchange;'
--- config eval
::road('')
--- must_die
--- error_log
invalid value "exchange"



=== TEST 191: a page by two
--- http_config eval
$::Good
--- config eval
::road("mapi_page local;\nmapi_page proxy;")
--- must_die
--- error_log
"mapi_page" directive is duplicate



=== TEST 124: status without a zone
--- http_config eval
$::Good . ''
--- config eval
::road('') . 'location /s { mapi_status; mapi_debug_allow 127.0.0.1; }'
--- must_die
--- error_log
"mapi_status" needs "mapi_zone", where the workers count: write "mapi_zone mapi 10m;" in http, in 



=== TEST 125: status in an exact location
--- http_config eval
$::Good . 'mapi_zone mapi 1m;'
--- config eval
::road('') . 'location = /s { mapi_status; mapi_debug_allow 127.0.0.1; }'
--- must_die
--- error_log
"mapi_status" directive needs a location by prefix: write "location /mapi-status {"



=== TEST 126: status in a location by a pattern
--- http_config eval
$::Good . 'mapi_zone mapi 1m;'
--- config eval
::road('') . 'location ~ ^/s { mapi_status; mapi_debug_allow 127.0.0.1; }'
--- must_die
--- error_log
"mapi_status" directive needs a location by prefix: write "location /mapi-status {"



=== TEST 127: status in a named location
--- http_config eval
$::Good . 'mapi_zone mapi 1m;'
--- config eval
::road('') . 'location @s { mapi_status; mapi_debug_allow 127.0.0.1; }'
--- must_die
--- error_log
"mapi_status" directive needs a location by prefix: write "location /mapi-status {"



=== TEST 128: status behind another handler
--- http_config eval
$::Good . 'mapi_zone mapi 1m;'
--- config eval
::road('') . 'location /s { proxy_pass http://exchange; mapi_status; mapi_debug_allow 127.0.0.1; }'
--- must_die
--- error_log
"mapi_status" directive cannot stand beside another handler of the location



=== TEST 129: status before another handler
--- http_config eval
$::Good . 'mapi_zone mapi 1m;'
--- config eval
::road('') . 'location /s { mapi_status; mapi_debug_allow 127.0.0.1; proxy_pass http://exchange; }'
--- must_die
--- error_log
"mapi_status" cannot stand beside another handler of the location, in 



=== TEST 130: status with a word
--- http_config eval
$::Good . 'mapi_zone mapi 1m;'
--- config eval
::road('') . 'location /s { mapi_status on; mapi_debug_allow 127.0.0.1; }'
--- must_die
--- error_log
invalid number of arguments in "mapi_status" directive



=== TEST 131: "direct" twice
--- http_config eval
::upstream(q{mapi direct direct; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" directive has "direct" twice in 



=== TEST 132: "owner" and "direct"
--- http_config eval
::upstream(q{mapi owner direct; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" directive has "owner" and "direct": write one of them in 



=== TEST 133: "direct" and "owner"
--- http_config eval
::upstream(q{mapi direct owner; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
"mapi" directive has "owner" and "direct": write one of them in 



=== TEST 134: "direct" and too much
--- http_config eval
::upstream(q{mapi direct fallback=none fallback=any; server 127.0.0.11:8;})
--- config eval
::road('')
--- must_die
--- error_log
invalid number of arguments in "mapi" directive



=== TEST 135: "direct" is experimental, and says so once
--- http_config eval
'mapi_zone mapi 1m;' . ::upstream("mapi direct;\n        $::Servers")
. "upstream other {\nmapi direct fallback=copies;\n$::Servers\n}\n"
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- grep_error_log eval
qr/\[warn\][^"]*"mapi direct" .*?(?=:)/
--- grep_error_log_out eval
qr/^\[warn\][^"]*"mapi direct" is experimental, for laboratories\n$/
--- no_error_log
[error]



=== TEST 136: "direct" without a zone
--- http_config eval
::upstream("mapi direct;\n        $::Servers")
--- config eval
::road('')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: "mapi direct" without "mapi_zone" learns nothing: a logon at a server that has lost the database fails until the directory says where it is, write "mapi_zone mapi 10m;" in http
--- no_error_log
[error]



=== TEST 137: "direct" with "proxy_request_buffering off"
--- http_config eval
'mapi_zone mapi 1m;' . ::upstream("mapi direct;\n        $::Servers")
--- config eval
::road('proxy_request_buffering off;')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- error_log
mapi: location "/mapi/": "proxy_request_buffering off" keeps no request that could be repeated where its database is, as "mapi direct" wants: remove it
--- no_error_log
[error]



=== TEST 138: router mode has nothing against "proxy_request_buffering off"
--- http_config eval
$::Good
--- config eval
::road('proxy_request_buffering off;')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
[warn]
[error]



=== TEST 204: "mapi_zone" a little too small
--- http_config eval
"mapi_zone a 60k;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
size "60k" of zone "a" is too small: write "10m" in



=== TEST 205: "mapi_session_timeout" without a zone
--- http_config eval
"mapi_session_timeout 10m;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
"mapi_session_timeout" needs a zone that keeps the sessions: write "mapi_zone mapi 10m;" in http, in



=== TEST 206: "mapi_session_timeout" of nothing
--- http_config eval
"mapi_zone a 1m;\nmapi_session_timeout 0;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
invalid time "0": write "15m" in



=== TEST 207: "mapi_session_timeout" of no time
--- http_config eval
"mapi_zone a 1m;\nmapi_session_timeout long;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
invalid time "long": write "15m" in



=== TEST 208: "mapi_session_timeout" twice
--- http_config eval
"mapi_zone a 1m;\nmapi_session_timeout 5m;\nmapi_session_timeout 10m;\n" . $::Good
--- config eval
::road('')
--- must_die
--- error_log
"mapi_session_timeout" directive is duplicate in



=== TEST 209: "mapi_introduce" with another word
--- http_config eval
$::Good
--- config eval
::road('mapi_introduce no;')
--- must_die
--- error_log
invalid value "no" in "mapi_introduce" directive: write "on" or "off" in 



=== TEST 210: "mapi_introduce" twice
--- http_config eval
$::Good
--- config eval
::road('mapi_introduce off; mapi_introduce off;')
--- must_die
--- error_log
"mapi_introduce" directive is duplicate



=== TEST 211: "mapi_introduce" in an upstream block
--- http_config eval
::upstream("mapi;\n        mapi_introduce off;\n        $::Servers")
--- config eval
::road('')
--- must_die
--- error_log
"mapi_introduce" directive is not allowed here
