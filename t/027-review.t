# Odd ways along the road: what a review of it found.

use strict;
use warnings;

use Socket qw( SOL_SOCKET SO_LINGER );
use Test::More;
use Time::HiRes qw( sleep );
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $server = listen_on('127.0.0.11', $backend);
my $mailbox = mailbox_id(1);
my $ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
my $http11 = 'proxy_http_version 1.1; proxy_set_header Connection "";';


# from an observed road to a real one

{
    my ($port, $dead) = (free_port(), free_port());

    start_nginx('observed', <<"EOT");
http {
    access_log off;
    $http11

    upstream old {
        server 127.0.0.1:$dead;
    }

    upstream exchange {
        mapi;
        server 127.0.0.11:$backend;
    }

    server {
        listen 127.0.0.1:$port;

        location / {
            mapi observe;
            proxy_pass http://old;
            error_page 502 = \@road;
        }

        location \@road {
            mapi on;
            proxy_pass http://exchange;
        }
    }
}
EOT

    my $client = connect_to($port);

    $client->send(post($mailbox, 'X-IsFromCafe: 1', 'X-Good: 1',
                       'Cookie: MapiAffinity=AAAA; a=b; MapiAffinity=B',
                       'X-CommonAccessToken: me'));

    my $peer = $server->accept;
    my $seen = $peer->read_request;

    unlike($seen->{text}, qr/IsFromCafe|CommonAccessToken|MapiAffinity/i,
           'what "mapi observe" let be does not pass the road behind it');
    is(header($seen, 'Cookie'), 'a=b', '... other cookies do');
    is(header($seen, 'X-Good'), '1', '... and other headers');

    $peer->send($ok);
    is($client->read_answer->{status}, 200, '... and it is answered');
    $_->close for $client, $peer;
}


# A pooled connection reset by its server in the very moment when a request is
# about to be written to it.  The worker is stopped meanwhile, so that it finds
# the request before the reset.

for my $mode ('mapi', 'mapi owner') {
    my $port = free_port();
    my $front = start_nginx("reset$port",
                            road_http(port => $port, backend => $backend,
                                      hosts => [ 11 ], alive => [],
                                      upstream => "$mode;\n%SERVERS%\n"
                                                  . 'keepalive 4;'));
    my $client = connect_to($port);

    $client->send(post($mailbox));
    my $peer = $server->accept;
    $peer->read_request;
    $peer->send($ok);
    $client->read_answer;

    my ($worker) = log_of($front) =~ /\] (\d+)#\d+: \*\d+ mapi: select/;

    # the connection is in the pool
    for (1 .. 100) {
        last if log_of($front) =~ /free keepalive peer: saving connection/;
        sleep 0.05;
    }

    kill 'STOP', $worker;
    sleep 0.05;
    $client->send(post($mailbox));
    sleep 0.05;
    setsockopt($peer->{socket}, SOL_SOCKET, SO_LINGER, pack('i i', 1, 0));
    $peer->close;
    sleep 0.05;
    kill 'CONT', $worker;

    my $fresh = $server->accept(3);

    ok($fresh, "$mode: a request that was not sent goes on a fresh connection"
               . ' to the same server');

    if ($fresh) {
        $fresh->read_request;
        $fresh->send($ok);
    }

    is($client->read_answer->{status}, 200, '... and is answered');
    $_->close for $client, grep { defined } $fresh;
    stop_nginx($front);
}


# variables that were asked for before our cookie was taken out

{
    my $port = free_port();

    start_nginx('cookies',
                road_http(port => $port, backend => $backend,
                          hosts => [ 11 ], alive => [], location =>
                              'if ($http_cookie = no) { return 444; }
                               if ($cookie_user = no) { return 444; }
                               proxy_set_header X-User $cookie_user;
                               proxy_set_header X-All $http_cookie;'));

    for my $case ([ 'MapiAffinity=123456789; user=somebody; z=1',
                    'user=somebody; z=1' ],
                  [ 'user=somebody; MapiAffinity=1', 'user=somebody' ])
    {
        my ($sent, $left) = @$case;
        my $client = connect_to($port);

        $client->send(post($mailbox, "Cookie: $sent"));
        my $peer = $server->accept;
        my $seen = $peer->read_request;

        is(header($seen, 'Cookie'), $left, "of \"$sent\" passes \"$left\"");
        is(header($seen, 'X-User'), 'somebody',
           '... and a variable made of it before stays what it was');
        is(header($seen, 'X-All'), $sent, '... and that of all cookies');
        $_->close for $client, $peer;
    }
}


# "limit_rate 0" is no limit, and no reason to warn

{
    my %said;

    for my $rate ('0', '1k') {
        my $front = start_nginx("rate$rate",
                                road_http(port => free_port(),
                                          backend => $backend, alive => [],
                                          location => "limit_rate $rate;"));

        $said{$rate} = log_of($front) =~ /\[warn\].*"limit_rate" makes/ ? 1 : 0;
        stop_nginx($front);
    }

    is_deeply(\%said, { 0 => 0, '1k' => 1 },
              'only a limit_rate that limits is warned of');
}


# a subrequest brings headers that nobody has looked at

SKIP: {
    skip 'nginx without auth_request', 2
        if `$ENV{TEST_NGINX_BINARY} -V 2>&1` !~ /auth_request/;

    my $port = free_port();
    my $front = start_nginx('subrequest', <<"EOT");
http {
    access_log off;
    $http11

    upstream exchange {
        mapi;
        server 127.0.0.11:$backend;
    }

    server {
        listen 127.0.0.1:$port;

        location /other/ {
            auth_request /mapi/emsmdb/;
            root /nonexistent;
        }

        location /mapi/ {
            mapi on;
            proxy_pass http://exchange;
        }
    }
}
EOT

    my $client = connect_to($port);

    $client->send(request('GET', "/other/?MailboxId=$mailbox",
                          'X-CommonAccessToken: me'));

    is($client->read_answer->{status}, 403,
       'a subrequest from elsewhere does not enter the road');
    like(log_of($front), qr/\[error\].*mapi: subrequest .* refused/,
         '... and the log says so');
    $client->close;
    stop_nginx($front);
}


# when nobody is alive: said once, and once when somebody is again

{
    my $port = free_port();
    my $dead = free_port('127.0.0.12');
    my $front = start_nginx('despair', <<"EOT");
http {
    access_log off;
    $http11

    upstream exchange {
        mapi;
        server 127.0.0.12:$dead fail_timeout=2s;
        server 127.0.0.13:$dead fail_timeout=2s;
    }

    server {
        listen 127.0.0.1:$port;

        location /mapi/ {
            mapi on;
            proxy_pass http://exchange;
        }
    }
}
EOT

    my @status;

    for (1 .. 3) {
        my $client = connect_to($port);

        $client->send(post($mailbox));
        push @status, $client->read_answer->{status};
        $client->close;
    }

    is("@status", '503 503 503', 'nobody is alive, everybody is asked');
    is(() = log_of($front) =~ /\[crit\].*no server of upstream "exchange" is/g,
       1, '... and the log says so once');
    stop_nginx($front);
}

done_testing();
