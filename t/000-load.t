# The modules load, and a server without any directive of theirs serves as
# ever.

use MapiTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: both modules load and a plain location is served
--- config
    location = /plain {
        return 200 "plain\n";
    }
--- request
GET /plain
--- response_body
plain
--- no_error_log
[error]



=== TEST 2: nginx names an unknown directive as ever
--- config
    mapi_no_such_directive on;
--- must_die
--- error_log
unknown directive "mapi_no_such_directive"
