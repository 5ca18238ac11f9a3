# The variables, wherever nginx reads them, and "mapi observe".

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $port = free_port();

my @names = qw( endpoint request_type mailbox anchor database database_guid
                target route activity_id response_code );
my $all = join ' ', map { "$_=<\$mapi_$_>" } @names;

my $http = road_http(port => $port, backend => $backend,
    backend_location => 'add_header X-ResponseCode $http_x_want always;
        add_header X-Seen "<$http_x_seen> <$http_x_beserver> <$http_cookie>"
            always;',
    http => "mapi_directory $path;
        log_format all '$all';
        map \$mapi_route:\$mapi_database \$mapped {
            directory:DB2  second;
            default        other;
        }

        upstream nobody { mapi fallback=none; server 127.0.0.11:$backend down;
                          server 127.0.0.12:$backend; }
        upstream plain { least_conn; server 127.0.0.13:$backend; }
        upstream rest { mapi; server 127.0.0.13:$backend; }",
    server => "
        access_log %PREFIX%/access.log all;
        add_header X-All '$all' always;

        location = /off { return 200; }

        location = /auth {
            internal;
            proxy_pass http://127.0.0.11:$backend/auth;
            proxy_pass_request_body off;
            proxy_set_header Content-Length '';
            proxy_set_header X-Seen '\$mapi_target \$mapi_anchor';
        }

        location = /mirror {
            internal;
            proxy_pass http://127.0.0.12:$backend/mirror;
        }

        location \@page {
            add_header X-All '$all' always;
            return 200 'page';
        }

        location \@rest {
            mapi on;
            proxy_pass http://rest;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            add_header X-All '$all' always;
        }

        location ~ ^/Mapi/Emsmdb {
            mapi on;
            error_page 503 = \@page;
            proxy_pass http://nobody;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
        }

        location ~ ^/mapi/Emsmdb {
            mapi on;
            error_page 503 = \@rest;
            proxy_pass http://nobody;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
        }

        location ~ ^/Mapi/ {
            mapi observe;
            proxy_pass http://exchange;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            add_header X-All '$all' always;
        }

        location ~ ^/MAPI/ {
            mapi observe;
            proxy_pass http://plain;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            add_header X-All '$all' always;
        }

        location ~ ^/mapi/nspi/ {
            mapi on;
            auth_request /auth;
            mirror /mirror;
            proxy_pass http://exchange;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header X-Seen '\$mapi_target \$mapi_route \$mapped';
            add_header X-All '$all' always;
        }",
    location => "add_header X-All '$all' always;
        add_header X-Mapped \$mapped always;
        proxy_set_header X-Seen '\$mapi_target \$mapi_route \$mapped';");

my $front = start_nginx('front', $http);


sub variables_of
{
    my ($text) = @_;
    my %v = $text =~ /(\w+)=<([^>]*)>/g;

    return \%v;
}


# what the answer's header and the access log say; they must agree but for what
# is known only at the end

sub asked
{
    my ($method, $uri, @headers) = @_;
    my $before = () = slurp("$front->{prefix}/access.log") =~ /\n/g;

    push @headers, 'Content-Length: 0' if $method eq 'POST';
    my $answer = talk($port, request($method, $uri, @headers));

    # the log is written after the answer

    my @lines;
    wait_for {
        @lines = split /\n/, slurp("$front->{prefix}/access.log");
        @lines > $before;
    };

    my $v = variables_of(header($answer, 'X-All') || '');

    $v->{log} = variables_of($lines[-1]);
    $v->{answer} = $answer;

    return $v;
}


sub query
{
    my ($n) = @_;

    return 'MailboxId=' . mailbox_id($n);
}


# on the road

{
    my $v = asked('POST', '/mapi/emsmdb/?' . query(2),
                  'X-RequestType: Execute', 'X-Want: 10');
    my %expected = (
        endpoint => 'emsmdb', request_type => 'Execute',
        mailbox => '00000002-0000-4000-8000-000000000002',
        anchor => 'MailboxGuid~' . mailbox_id(2), database => 'DB2',
        database_guid => '00000002-dddd-4000-8000-000000000000',
        target => 'ex2.contoso.com', route => 'directory',
        response_code => '10');

    is($v->{$_}, $expected{$_}, "$_ in a header") for sort keys %expected;
    is($v->{log}{$_}, $expected{$_}, "$_ in the access log")
        for sort keys %expected;
    like($v->{activity_id},
         qr/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-
            [0-9a-f]{12}$/x, 'activity_id is a random GUID');
    is($v->{log}{activity_id}, $v->{activity_id}, '... one for the request');
    is(header($v->{answer}, 'X-Mapped'), 'second', 'a map reads them');
    like(header($v->{answer}, 'X-Seen'),
         qr/^<ex2.contoso.com directory second>/,
         'the request to the server carries them');
    isnt(asked('POST', '/mapi/emsmdb/?' . query(2))->{activity_id},
         $v->{activity_id}, 'the next request has another activity_id');

    $v = asked('POST', '/mapi/nspi?smtpAddress=User3@contoso.com');
    is($v->{endpoint}, 'nspi', 'nspi');
    is($v->{anchor}, 'Smtp~user3@contoso.com', '... anchor by address');
    is($v->{mailbox}, '00000003-0000-4000-8000-000000000003',
       '... mailbox from the directory');
    is($v->{response_code}, '', '... no response code where none was');

    $v = asked('POST', '/mapi/emsmdb/?' . query(4711));
    is($v->{mailbox}, '00001267-0000-4000-8000-000000001267',
       'a mailbox that nobody knows has its GUID');
    is("$v->{database}$v->{database_guid}", '', '... and no database');
    is($v->{route}, 'balance', '... and is balanced');
    like($v->{target}, qr/^ex[123]\.contoso\.com$/, '... somewhere');

    $v = asked('GET', '/mapi/emsmdb/', basic('CONTOSO\\sam2'));
    is($v->{anchor}, 'Account~contoso\\sam2', 'a caller by account');
    is($v->{request_type}, '', '... without a request type');

    $v = asked('GET', '/mapi/healthcheck.htm');
    is("$v->{endpoint}$v->{anchor}$v->{mailbox}", '',
       'the health page is for nobody');

    $v = asked('POST', '/mapi/emsmdb/');
    is($v->{answer}{status}, 400, 'a request that is refused');
    is($v->{log}{route}, 'none', '... went nowhere');
    is($v->{log}{endpoint}, 'emsmdb', '... and is named all the same');
}


# off it

{
    my $v = asked('GET', '/off');

    is(join('', map { $v->{$_} } @names), '', 'all are empty off the road');
    is(join('', map { $v->{log}{$_} } @names), '-' x @names,
       '... also in the log');
}


# internal redirects

{
    my $v = asked('POST', '/Mapi/Emsmdb?' . query(1),
                  'X-RequestType: Connect');

    is($v->{answer}{body}, 'page', 'error_page takes a 503');
    is($v->{anchor}, 'MailboxGuid~' . mailbox_id(1),
       '... and knows for whom it was');
    is($v->{route}, 'none', '... that it went nowhere');
    is($v->{request_type}, 'Connect', '... and its type');

    $v = asked('POST', '/mapi/Emsmdb?' . query(1), 'X-RequestType: Connect');
    is($v->{answer}{status}, 200, 'error_page may lead to another road');
    is(header($v->{answer}, 'X-Server'), '127.0.0.13', '... which is taken');
    is($v->{target}, 'ex3.contoso.com', '... and shown');
    is($v->{database}, 'DB1', '... for the same mailbox');
}


# subrequests

SKIP: {
    skip 'nginx without auth_request', 4
        if `$ENV{TEST_NGINX_BINARY} -V 2>&1` !~ /auth_request/;

    my $v = asked('POST', '/mapi/nspi/?' . query(3));

    is($v->{answer}{status}, 200, 'auth_request and mirror beside the road');
    is($v->{target}, 'ex3.contoso.com', '... do not disturb it');
    is(header($v->{answer}, 'X-Server'), '127.0.0.13', '... nor where it leads');
    is($v->{route}, 'directory', '... nor why');
}


# observe

{
    my (%seen, $v);

    for (1 .. 6) {
        $v = asked('POST', '/Mapi/nspi?' . query(1), 'X-BEServer: ex9',
                   'Cookie: MapiAffinity=x; a=1');
        $seen{header($v->{answer}, 'X-Server')}++;
    }

    is_deeply(\%seen, { map { ("127.0.0.1$_" => 2) } 1 .. 3 },
              'observe leaves the balancing to the block, round robin here');
    is($v->{target}, 'ex1.contoso.com', '... and says where it would have led');
    is($v->{route}, 'directory', '... and why');
    is(header($v->{answer}, 'X-Seen'), '<> <ex9> <MapiAffinity=x; a=1>',
       '... takes no header away');
    ok(!defined header($v->{answer}, 'Set-Cookie'), '... sets no cookie');

    $v = asked('POST', '/Mapi/nspi?' . query(4711));
    ok(!defined header($v->{answer}, 'Set-Cookie'),
       '... also for a mailbox that would get one');
    is($v->{route}, 'balance', '... whose way it shows');

    for my $uri ('/Mapi/nspi', '/Mapi/nspi?MailboxId=x', '/Mapi//x;y') {
        $v = asked('POST', $uri);
        is($v->{answer}{status}, 200, "observe refuses nothing: $uri");
    }

    is(asked('PUT', '/Mapi/nspi', 'Content-Length: 0')->{answer}{status}, 200,
       '... whatever the method');

    $v = asked('POST', '/MAPI/nspi?' . query(2));
    is(header($v->{answer}, 'X-Server'), '127.0.0.13',
       'observe beside another balancer leaves it alone');
    is($v->{database}, 'DB2', '... and knows the mailbox');
    is($v->{anchor}, 'MailboxGuid~' . mailbox_id(2), '... its name');
}

stop_nginx($front);

done_testing();
