# What "nginx -t" says of mapi_log: each error by its words.

use MapiTest 'no_plan';
use MapiRoad;

# a road with these lines in http, server and location

sub http
{
    my ($lines) = @_;

    return "    upstream exchange {
        mapi;
        server 127.0.0.11:8;
    }

    " . (defined $lines ? $lines : '') . "\n";
}


sub road
{
    my ($lines) = @_;

    return "    large_client_header_buffers 8 64k;

    location = /ok {
        return 200 \"ok\\n\";
    }

    location /mapi/ {
        mapi on;
        proxy_pass http://exchange;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_read_timeout 120s;
        proxy_buffer_size 8k;
        $lines
    }
";
}


our $Folder = run_folder();

spew("$Folder/file", '');
mkdir "$Folder/real" or die;
symlink "$Folder/real", "$Folder/link" or die;

allow_log(qr/\[emerg\]/);

run_tests();

__DATA__

=== TEST 1: everything that can be written
--- http_config eval
::http("mapi_log $::Folder/http;")
--- config eval
::road("mapi_log $::Folder/all columns=69 version=15.0.1497.12 max_file=1m "
       . 'max_folder=1g max_age=1d buffer=32k flush=10ms;')
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]
[error]



=== TEST 2: no limits, off below on, the same folder twice with equal options
--- http_config eval
::http("mapi_log $::Folder/two max_file=off max_folder=off max_age=off;")
--- config eval
::road("mapi_log $::Folder/two/ max_age=off max_folder=off max_file=off;
        location /mapi/off/ { mapi_log off; }")
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:
[warn]
[error]



=== TEST 3: something after "off"
--- http_config eval
::http()
--- config eval
::road('mapi_log off buffer=64k;')
--- must_die
--- error_log
"mapi_log" directive takes nothing after "off" in 



=== TEST 4: twice in one place
--- http_config eval
::http()
--- config eval
::road("mapi_log off; mapi_log $::Folder/a;")
--- must_die
--- error_log
"mapi_log" directive is duplicate in 



=== TEST 5: no folder
--- http_config eval
::http()
--- config eval
::road('mapi_log "";')
--- must_die
--- error_log
invalid folder "" of "mapi_log": write the path of a folder, without variables, or "off" in 



=== TEST 6: a variable
--- http_config eval
::http()
--- config eval
::road('mapi_log /var/log/$host;')
--- must_die
--- error_log
invalid folder "/var/log/$host" of "mapi_log": write the path of a folder, without variables, or "off" in 



=== TEST 7: a path that is too long
--- http_config eval
::http()
--- config eval
::road('mapi_log /' . 'a' x 3072 . ';')
--- must_die
--- error_log
the path of "mapi_log" is too long: write one of up to 3072 characters in 



=== TEST 8: a file
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/file;")
--- must_die
--- error_log
/file" of "mapi_log" is a file: write the path of a folder, or remove it in 



=== TEST 9: no folder above it
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/no/such;")
--- must_die
--- error_log eval
qr{the folder above "\S+/no/such" of "mapi_log" does not exist: run "mkdir -p \$\(dirname '\S+/no/such'\)" first in }



=== TEST 10: a file above it
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/file/such;")
--- must_die
--- error_log eval
qr{/file/such" of "mapi_log" cannot be made, make it by hand for the workers' user: mkdir\(\) failed .*20:}



=== TEST 11: an unknown option
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a format=csv;")
--- must_die
--- error_log
invalid parameter "format=csv": write "columns=", "version=", "max_file=", "max_folder=", "max_age=", "buffer=" or "flush=" in 



=== TEST 12: an option twice
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a flush=1s flush=1s;")
--- must_die
--- error_log
"mapi_log" has "flush=" twice in 



=== TEST 13: columns
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a columns=70;")
--- must_die
--- error_log
invalid parameter "columns=70": write "columns=74" or "columns=69" in 



=== TEST 14: version
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a version=15.2;")
--- must_die
--- error_log
invalid parameter "version=15.2": write four numbers, such as "version=15.2.1544.4" in 



=== TEST 15: a version of zero
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a version=0.0.0.0;")
--- must_die
--- error_log
invalid parameter "version=0.0.0.0": write four numbers, such as "version=15.2.1544.4" in 



=== TEST 16: max_file too small
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a max_file=63k;")
--- must_die
--- error_log
invalid parameter "max_file=63k": write a size from 64k on, such as "max_file=10m", or "max_file=off" in 



=== TEST 17: max_file is no size
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a max_file=10mb;")
--- must_die
--- error_log
invalid parameter "max_file=10mb": write a size from 64k on, such as "max_file=10m", or "max_file=off" in 



=== TEST 18: max_folder
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a max_folder=1t;")
--- must_die
--- error_log
invalid parameter "max_folder=1t": write a size from 64k on, such as "max_folder=20g", or "max_folder=off" in 



=== TEST 19: max_folder below max_file
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a max_folder=9m;")
--- must_die
--- error_log
"max_folder" of "mapi_log" is smaller than "max_file": write a larger "max_folder" in 



=== TEST 20: max_file=off does not hide behind max_folder
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/b max_file=off max_folder=64k;")
--- suppress_stderr
--- request
GET /ok
--- response_body
ok
--- no_error_log
mapi:



=== TEST 21: max_age
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a max_age=59m;")
--- must_die
--- error_log
invalid parameter "max_age=59m": write a time from 1h on, such as "max_age=30d", or "max_age=off" in 



=== TEST 22: buffer too small
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a buffer=31k;")
--- must_die
--- error_log
invalid parameter "buffer=31k": write a size from 32k to 16m, such as "buffer=256k" in 



=== TEST 23: buffer too large
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a buffer=17m;")
--- must_die
--- error_log
invalid parameter "buffer=17m": write a size from 32k to 16m, such as "buffer=256k" in 



=== TEST 24: flush
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a flush=0;")
--- must_die
--- error_log
invalid parameter "flush=0": write a time from 10ms to 1h, such as "flush=1s" in 



=== TEST 25: flush for ever
--- http_config eval
::http()
--- config eval
::road("mapi_log $::Folder/a flush=2h;")
--- must_die
--- error_log
invalid parameter "flush=2h": write a time from 10ms to 1h, such as "flush=1s" in 



=== TEST 26: the same folder with other options
--- http_config eval
::http("mapi_log $::Folder/a;")
--- config eval
::road("mapi_log $::Folder/a flush=2s;")
--- must_die
--- error_log eval
qr{"mapi_log" with the same folder "\S+/a" stands in \S+:\d+ with other options: write the same ones in both places in \S+:\d+}



=== TEST 27: the same folder by a link
--- http_config eval
::http("mapi_log $::Folder/real;")
--- config eval
::road("mapi_log $::Folder/link columns=69;")
--- must_die
--- error_log eval
qr{"mapi_log" with the same folder "\S+/link" stands in \S+:\d+ with other options}



=== TEST 28: in an upstream block
--- http_config eval
::http('upstream u { mapi_log off; server 127.0.0.1; }')
--- config eval
::road('')
--- must_die
--- error_log
"mapi_log" directive is not allowed here in 
