# mapi_health_check: servers that refuse, hang, close, answer wrong, and come
# back; what their clients see of it.

use strict;
use warnings;

use IO::Select;
use POSIX ();
use Test::More;
use Time::HiRes qw( sleep time );
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $directory = make_directory('health', directory_csv());
my $slow = $ENV{MAPI_SANITIZE} ? 3 : 1;
my $check = 'interval=100ms timeout=' . 1000 * $slow . 'ms fails=2 passes=2';
my $port;


# A mailbox server in a process of its own, which does what its file says for
# the health page: ok, close, wrong, words, silent; and answers everything
# else with its name, at once or (Wait: yes) never.

sub server
{
    my ($i) = @_;
    my $mood = run_folder() . "/mood.$i";
    my $listener = listen_on("127.0.0.1$i", $backend);
    my $pid = fork();

    if ($pid) {
        $listener->close;
        return { pid => $pid, mood => $mood, i => $i };
    }

    my $select = IO::Select->new($listener->{socket});
    my %buffer;
    my $count = 0;

    while (1) {
        for my $socket ($select->can_read) {

            if ($socket == $listener->{socket}) {
                $select->add($socket->accept);
                next;
            }

            my $n = sysread $socket, $buffer{$socket}, 65536,
                            length($buffer{$socket} || '');

            if (!$n) {
                $select->remove($socket);
                delete $buffer{$socket};
                close $socket;
                next;
            }

            next if $buffer{$socket} !~ s/^(.*?\r\n\r\n)//s;
            my $request = $1;
            my $is = -e $mood ? slurp($mood) : 'ok';
            my ($status, $body) = ('200 OK', "name $i");

            if ($request =~ m{^GET /mapi/healthcheck\.htm}) {
                next if $is eq 'silent';
                $body = "200 OK<br/>ex$i";
                $status = '503 No' if $is eq 'wrong';
                $body = 'hello' if $is eq 'words';

                if ($is eq 'both') {
                    $is = $count++ % 2 ? 'close' : 'wrong';
                    $status = '503 No' if $is eq 'wrong';
                }

                if ($is eq 'close') {
                    $select->remove($socket);
                    close $socket;
                    next;
                }

            } elsif ($request =~ /^Wait: yes/m) {
                next;
            }

            syswrite $socket, "HTTP/1.1 $status\r\nX-Server: 127.0.0.1$i\r\n"
                              . 'Content-Length: ' . length($body)
                              . "\r\n\r\n$body";
        }
    }
}

my %running;
my $owner = $$;

sub start { $running{$_[0]} = server($_[0]) }

sub mood { spew($running{$_[0]}{mood}, $_[1]) }

sub stop
{
    my ($i) = @_;
    my $one = delete $running{$i} or return;

    kill 'CONT', $one->{pid};
    kill 'KILL', $one->{pid};
    waitpid $one->{pid}, 0;
    unlink $one->{mood};
}

END {
    my $status = $?;
    if ($$ == $owner) { stop($_) for keys %running }
    $? = $status;
}


sub front_end
{
    my ($name, $lines, %o) = @_;

    $port = free_port();
    $o{http} .= "mapi_zone mapi 1m;\n";
    $o{http} .= "mapi_directory $directory;\n" if ($o{mapi} || 'on') eq 'on';

    return start_nginx($name, road_http(port => $port, backend => $backend,
                       alive => [], upstream => "$lines\n", %o));
}


sub says
{
    my ($front, $pattern, $times) = @_;

    return wait_for { my $n = () = log_of($front) =~ /$pattern/g;
                      $n >= ($times || 1) };
}


# these clients' polls for mailbox n are sent to its server, which says nothing

sub hang
{
    my ($front, $n, @clients) = @_;
    my $sent = qr/http upstream send request body/;
    my $before = () = log_of($front) =~ /$sent/g;

    $_->send(post(mailbox_id($n), 'Wait: yes')) for @clients;
    says($front, $sent, $before + @clients);
}


sub reached
{
    my ($n) = @_;
    my $answer = ask($port, mailbox_id($n));

    return $answer->{status} == 200 ? header($answer, 'X-Server')
                                    : $answer->{status};
}


start($_) for 1 .. 3;


# each way to be ill, told apart, and back to health

for my $mapi ('router', 'zone') {
    my $front = front_end("ways-$mapi", ($mapi eq 'zone' ? "zone z 256k;\n" : '')
        . "mapi;\nmapi_health_check $check;\n%SERVERS%keepalive 8;");
    my $round = 0;

    is(reached($_), home_of($_), "$mapi: mailbox $_ is at home") for 1 .. 3;
    says($front, qr/\[notice\].*server 127.0.0.11:$backend of upstream "exchange" is alive: it answers as it should/);

    for my $case ([ 'wrong', 'failing', 'its answer is wrong', 503 ],
                  [ 'words', 'failing', 'its answer is wrong', 200 ],
                  [ 'silent', 'dead', 'it does not answer in time', 0 ],
                  [ 'close', 'draining', 'it closes without an answer', 0 ])
    {
        my ($mood, $verdict, $why, $status) = @$case;

        mood(1, $mood);
        says($front, qr/\.11:$backend of upstream "exchange" is $verdict: $why.*checks, status $status\)/);
        ok(1, "$mood: is $verdict, and the log says why");
        wait_for { reached(1) ne home_of(1) };
        isnt(reached(1), home_of(1), '... its mailboxes go elsewhere');
        is(reached($_), home_of($_), '... others stay') for 2, 3;

        mood(1, 'ok');
        says($front, qr/\.11:$backend of upstream "exchange" is alive/,
             2 + $round++);
        wait_for { reached(1) eq home_of(1) };
        is(reached(1), home_of(1), '... and come back with it');
    }

    # no request fails while a server refuses

    stop(1);
    my $failed = grep { reached(1) !~ /^127/ } 1 .. 50;
    is($failed, 0, 'no request fails while a server refuses connections');
    says($front, qr/\.11:$backend of upstream "exchange" is dead: it refuses the connection/);
    start(1);
    wait_for { reached(1) eq home_of(1) };
    ok(1, '... and it is taken back');

    # all of them: nobody is worse off

    mood($_, 'wrong') for 1 .. 3;
    says($front, qr/\[crit\].*no server of upstream "exchange" passes its check: all are used as if they did/);
    is(reached($_), home_of($_), "all fail: mailbox $_ is served at home")
        for 1 .. 6;

    # a balancer above is told the truth, all the same

    my $above = connect_to($port);
    $above->send(request('GET', '/mapi/healthcheck.htm'));
    ok($above->at_end(5), '... but the node\'s own health page is closed');
    $above->close;

    mood($_, 'ok') for 1 .. 3;
    says($front, qr/has a server that passes its check again/);
    says($front, qr/\.$_:$backend of upstream "exchange" is alive/, 2)
        for 12, 13;
    wait_for { !grep { reached($_) ne home_of($_) } 1 .. 3 };
    is(reached($_), home_of($_), '... and goes on') for 1 .. 3;
    like(talk($port, request('GET', '/mapi/healthcheck.htm'))->{body},
         qr{^200 OK<br/>}, '... and the page opens');

    stop_nginx($front);
}


# a drain by the page: nothing new, what is there stays

{
    my $front = front_end('drain', "mapi;\nmapi_health_check $check;\n"
                                   . "%SERVERS%keepalive 8;");
    my $client = connect_to($port);

    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);
    hang($front, 1, $client);
    mood(1, 'close');
    says($front, qr/\.11:$backend .* is draining/);
    wait_for { reached(1) ne home_of(1) };
    ok(!$client->ready(0.5), 'a poll on a server that drains goes on');
    is(reached($_), home_of($_), '... others stay') for 2, 3;
    $client->close;
    mood(1, 'ok');
    wait_for { reached(1) eq home_of(1) };
    stop_nginx($front);

    # in owner mode nobody else can

    $front = front_end('drain-owner', "mapi owner;\nmapi_health_check $check;"
                                      . "\n%SERVERS%keepalive 8;");
    mood(1, 'close');
    says($front, qr/\.11:$backend .* is draining/);
    sleep 0.6;
    is(reached(1), home_of(1), 'owner: a server that drains keeps its own');
    mood(1, 'ok');
    stop_nginx($front);
}


# a server that went silent: what hangs on it ends, so that clients reconnect

{
    my $front = front_end('hang', "mapi;\nmapi_health_check $check;\n"
                                  . "%SERVERS%keepalive 64;");
    my @polls = map { connect_to($port) } 1 .. 50;
    my @others = map { connect_to($port) } 1 .. 5;

    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);
    hang($front, 1, @polls);
    hang($front, 2, @others);
    kill 'STOP', $running{1}{pid};

    my $began = time();
    my %status;
    $status{ $_->read_answer->{status} }++ for @polls;
    my $took = time() - $began;

    is_deeply(\%status, { 504 => 50 }, 'fifty polls on a silent server are back');
    cmp_ok($took, '<', 5 * $slow, '... soon');
    ok(!$others[0]->ready(0.2), 'those on others go on');
    like(log_of($front), qr/requests that hung on dead servers of upstream "exchange" are ended/,
         '... and the log says it');
    is(reached(1) eq home_of(1) ? 0 : 1, 1, 'the next request goes elsewhere');
    $_->close for @polls, @others;
    stop(1);
    start(1);
    stop_nginx($front);
}


# ... within fails x interval + timeout, also if the time-out is the longer one

{
    my $front = front_end('late', 'mapi;
        mapi_health_check interval=100ms timeout=5s fails=4 passes=2;
        %SERVERS%keepalive 8;');
    my @polls = map { connect_to($port) } 1 .. 3;

    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);
    hang($front, 1, @polls);
    kill 'STOP', $running{1}{pid};

    my $began = time();
    my %status;

    $status{ $_->read_answer->{status} }++ for @polls;
    is_deeply(\%status, { 504 => 3 }, 'a long time-out: polls are back');

    # four time-outs would take 20 seconds
    cmp_ok(time() - $began, '<', 12, '... after one time-out, not four');
    $_->close for @polls;
    stop(1);
    start(1);
    stop_nginx($front);
}


# the same in every worker, in old ones too, and after other illnesses; a server
# that only refuses new connections is not cut off

for my $case ([ 'workers', "zone y 256k;\n", 4, sub {} ],
              [ 'wrong-first', '', 1, sub {
                    my ($front) = @_;
                    mood(1, 'wrong');
                    says($front, qr/\.11:$backend .* is failing/);
                } ],
              [ 'reloaded', '', 1, sub {
                    my ($front) = @_;
                    reload_nginx($front);
                    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is/);
                } ])
{
    my ($name, $zone, $workers, $before) = @$case;
    my $front = front_end("hang-$name", "${zone}mapi;\n"
                          . "mapi_health_check $check;\n%SERVERS%keepalive 8;");

    spew($front->{conf}, "worker_processes $workers;\n"
                         . slurp($front->{conf}));
    reload_nginx($front) if $workers > 1;
    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);

    my @polls = map { connect_to($port) } 1 .. 24;

    hang($front, 1, @polls);
    $before->($front);
    kill 'STOP', $running{1}{pid};
    says($front, qr/\.11:$backend .* is dead/);

    my %status;
    $status{ $_->read_answer->{status} }++ for @polls;
    is_deeply(\%status, { 504 => 24 }, "$name: all that hung are back");
    $_->close for @polls;
    stop(1);
    start(1);
    stop_nginx($front);
}

{
    my $nobody = free_port('127.0.0.11');
    my $front = front_end('refuse', "mapi;\nmapi_health_check $check "
                          . "port=$nobody;\n%SERVERS%keepalive 8;");
    my @polls = map { connect_to($port) } 1 .. 6;

    hang($front, 1, @polls);
    says($front, qr/\[crit\].*no server of upstream "exchange" passes/);
    ok(!(grep { $_->ready(0.1) } @polls),
       'a check that asks at the wrong port ends nothing');
    is(reached($_), home_of($_), '... and nothing fails') for 1 .. 3;
    $_->close for @polls;
    stop_nginx($front);
}


# failures of alternating kinds are failures, too

{
    my $front = front_end('both', "mapi;\nmapi_health_check $check;\n"
                                  . "%SERVERS%keepalive 8;");

    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);
    mood(1, 'both');
    says($front, qr/\.11:$backend of upstream "exchange" is failing/);
    wait_for { reached(1) ne home_of(1) };
    ok(1, 'failures of alternating kinds count');
    mood(1, 'ok');
    wait_for { reached(1) eq home_of(1) };
    stop_nginx($front);
}


# an IPv6 literal is written as such

SKIP: {
    my $six = free_port();
    my $can = eval { require IO::Socket::IP;
                     IO::Socket::IP->new(LocalHost => '::1', LocalPort => $six,
                                         Listen => 1) };

    skip 'no IPv6 on this machine', 1 if !$can;
    close $can;

    my $front = front_end('six', "mapi_health_check $check match=[::1];\n"
                          . "server [::1]:$six;", mapi => 'off',
        http => "server { listen [::1]:$six; location / {"
                . ' return 200 "$http_host"; } }' . "\n");
    says($front, qr/\[::1\]:$six of upstream "exchange" is alive/);
    ok(1, 'the host of an IPv6 server stands in brackets');
    stop_nginx($front);
}


# flapping: a single failure is none

{
    my $front = front_end('flap', "mapi;\nmapi_health_check interval=100ms "
        . "timeout=2s fails=1000 passes=1;\n%SERVERS%keepalive 8;");

    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);

    for (1 .. 5) {
        mood(1, 'wrong');
        sleep 0.15;
        is(reached(1), home_of(1), 'fewer failures than fails= are none');
        mood(1, 'ok');
        sleep 0.15;
    }

    stop_nginx($front);
    unlike(log_of($front), qr/is (failing|dead|draining)/, '... nor said');
}


# blocks without mapi, with any balancing

for my $case ([ 'round', '' ], [ 'least', "zone y 256k;\nleast_conn;" ],
              [ 'hash', 'hash $arg_MailboxId consistent;' ])
{
    my ($name, $method) = @$case;
    my $front = front_end("other-$name", "$method\nmapi_health_check $check;\n"
        . '%SERVERS%', mapi => 'off');

    says($front, qr/127.0.0.13:\d+ of upstream "exchange" is alive/);
    my %before = map { reached($_) => 1 } 1 .. 30;
    ok($before{'127.0.0.13'}, "$name: all servers are used");
    mood(3, 'wrong');
    says($front, qr/\.13:$backend of upstream "exchange" is failing/);
    wait_for { my %now = map { reached($_) => 1 } 1 .. 30; !$now{'127.0.0.13'} };
    my %now = map { reached($_) => 1 } 1 .. 30;
    is_deeply([ sort keys %now ], [ '127.0.0.11', '127.0.0.12' ],
              '... one that fails is not');
    mood($_, 'wrong') for 1, 2;
    says($front, qr/\[crit\].*no server of upstream "exchange" passes/);
    sleep 0.6;
    %now = map { reached($_) => 1 } 1 .. 30;
    is(scalar keys %now, scalar keys %before, '... but all, if none passes');
    mood($_, 'ok') for 1 .. 3;
    wait_for { my %last = map { reached($_) => 1 } 1 .. 30;
               $last{'127.0.0.13'} };
    stop_nginx($front);
}


# TLS, the name in it, and its certificate

{
    my ($crt, $key) = certificate('ex1.contoso.com');
    my $own = join '.', 127, 1 + int rand 250, int rand 250, 21;
    my $server = "server { listen $own:443 ssl;"
                 . " ssl_certificate $crt; ssl_certificate_key $key;"
                 . ' location / { add_header X-Server $server_addr;'
                 . ' return 200 "200 OK<br/>$ssl_server_name\n"; } }';

    SKIP: {
        my $can = IO::Socket::INET->new(LocalAddr => $own,
                                        LocalPort => 443, Listen => 1);
        skip 'port 443 is in use or needs root', 3 if !$can;
        close $can;

        my %verified = (
            'ex1.contoso.com' => 'is alive: it answers as it should',
            'ex2.contoso.com' => 'is dead: its TLS handshake or certificate',
        );

        for my $host (sort keys %verified) {
            my $front = front_end("tls-$host", 'mapi_health_check '
                . "$check host=$host match=<br/>$host verify=on;\n"
                . "server $own:443;", mapi => 'off', http => $server,
                scheme => 'https',
                proxy => "proxy_http_version 1.1; proxy_ssl_verify on;"
                         . " proxy_ssl_trusted_certificate $crt;");
            says($front, qr/\Q$own\E:443 of upstream "exchange" $verified{$host}/);
            ok(1, "verify=on, host=$host: $verified{$host}");
            stop_nginx($front);
        }

        my $front = front_end('tls-off', "mapi_health_check $check"
            . " host=ex2.contoso.com match=<br/>ex2;\nserver $own:443;",
            mapi => 'off', http => $server, scheme => 'https');
        says($front, qr/\Q$own\E:443 of upstream "exchange" is alive/);
        ok(1, 'without it any certificate will do');
        stop_nginx($front);
    }

    # another port, plain, only a connection

    my $front = front_end('tcp', "mapi_health_check $check type=tcp;\n"
                                 . '%SERVERS%', mapi => 'off');
    mood(1, 'wrong');
    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/);
    ok(1, 'type=tcp: a connection is enough');
    mood(1, 'ok');
    stop(2);
    says($front, qr/127.0.0.12:\d+ of upstream "exchange" is dead: it refuses/);
    ok(1, '... and needed');
    start(2);
    stop_nginx($front);

    $front = front_end('port', "mapi_health_check $check port=$backend;\n"
                       . 'server 127.0.0.11:9; server 127.0.0.12:9;',
                       mapi => 'off');
    says($front, qr/127.0.0.11:9 of upstream "exchange" is alive/);
    ok(1, 'port=: another port is asked');
    stop_nginx($front);
}


# more servers than the zone has room for: those left over are not checked

{
    my $all = free_port('127.0.0.11');
    my @hosts = map { "127.0.0.$_" } 20 .. 99;

    $port = free_port();

    my $front = start_nginx('full', road_http(port => $port,
        backend => $backend, alive => [], mapi => 'off',
        upstream => "mapi_health_check $check;\n"
                    . join('', map { "server $_:$all;\n" } @hosts),
        http => "mapi_zone mapi 64k;\nserver {\n"
                . join('', map { "listen $_:$all;\n" } @hosts)
                . 'location / { return 200 "200 OK"; } }' . "\n"));

    says($front, qr/\[error\].*"mapi_zone" is too small for all servers/);
    wait_for { @hosts <= (() = log_of($front) =~ /mapi: check of .*: it answ/g) };
    is(() = log_of($front) =~ /is too small/g, 1, 'a full zone is said once');
    my $checked = () = log_of($front) =~ /server \S+ of .* is alive/g;
    cmp_ok($checked, '>', 0, "... $checked servers are checked");
    cmp_ok($checked, '<', @hosts, '... the others are not');
    is((grep { ask($port, mailbox_id($_))->{status} != 200 } 1 .. @hosts), 0,
       '... and all are used');
    stop_nginx($front);
}


# one worker checks, whichever lives; a reload keeps what is known

{
    my $front = front_end('workers', "mapi;\nmapi_health_check $check mandatory;"
        . "\n%SERVERS%keepalive 8;", http => '');
    my $conf = slurp($front->{conf});

    spew($front->{conf}, "worker_processes 2;\n$conf");
    reload_nginx($front);
    says($front, qr/127.0.0.$_:\d+ of upstream "exchange" is alive/)
        for 11 .. 13;
    wait_for { reached(1) eq home_of(1) };

    mood(1, 'wrong');
    says($front, qr/\.11:$backend .* is failing/);
    wait_for { reached(1) ne home_of(1) };
    reload_nginx($front);
    my @after = map { reached(1) } 1 .. 20;
    ok(!(grep { $_ eq home_of(1) } @after), 'a reload keeps verdicts');
    is(() = log_of($front) =~ /127.0.0.12:\d+ .* is alive/g, 1,
       '... and nothing is found out twice');

    # kill -9 of all workers, one of which checks

    my ($children) = `cat /proc/$front->{pid}/task/$front->{pid}/children`;
    allow_log(qr/exited on signal 9/);
    kill 'KILL', split ' ', $children;
    mood(1, 'ok');
    says($front, qr/127.0.0.11:\d+ of upstream "exchange" is alive/, 2);
    wait_for { reached(1) eq home_of(1) };
    ok(1, 'checks go on when the worker that did them is killed');
    stop_nginx($front);
}

done_testing();
