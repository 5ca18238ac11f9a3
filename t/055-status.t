# mapi_status: what the workers count, and who may see it.

use strict;
use warnings;

use IO::Socket::UNIX;
use JSON::PP ();
use Test::More;
use Time::HiRes qw( sleep );
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my ($directory, $port, $front);

# a killed worker is what this is about

allow_log(qr/worker process \d+ exited on signal 9/);


sub status
{
    my ($path, @headers) = @_;

    return talk($port, request('GET', "/mapi-status$path", @headers,
                               'Connection: close'));
}

# JSON as it has to be: no byte that is not UTF-8, nothing behind it

sub api
{
    my $answer = status('/api');

    return JSON::PP->new->utf8->decode($answer->{body});
}

sub server_of
{
    my ($i, $api) = @_;

    return (($api || api())->{upstreams}[0]{servers}[$i - 1]);
}

# requests, polls and pins of server i

sub left
{
    my ($i) = @_;
    my $server = server_of($i);

    return [ @$server{qw( requests polls pins )} ];
}

sub becomes
{
    my ($what, $expected, $name) = @_;
    my $got;

    # the other side of a connection sees its end a little later
    eval { wait_for { $got = $what->(); "@$got" eq "@$expected" } };
    is_deeply($got, $expected, $name);
}

sub poll
{
    return post(mailbox_id($_[0]), 'X-RequestType: NotificationWait');
}

# a request that hangs at its server: (client, server's end)

sub hang
{
    my ($i, $text) = @_;
    my $client = connect_to($port);

    $client->send($text);
    my $peer = $servers[$i - 1]->accept;
    $peer->read_request;

    return [ $client, $peer ];
}

sub finish
{
    my ($hanging, @lines) = @_;
    my ($client, $peer) = @$hanging;

    $peer->send(answer(200, @lines));
    my $answer = $client->read_answer;
    $_->close for $client, $peer;

    return $answer;
}

my $allow = 'location /mapi-status { mapi_status; '
            . 'mapi_debug_allow 127.0.0.0/8; }';

sub front_end
{
    my ($name, %o) = @_;
    my $main = delete $o{main};

    $port = free_port();
    $o{http} = "mapi_zone mapi 1m;\n" . ($o{http} || '');
    $o{server} = $allow if !defined $o{server};

    return start_nginx($name, (defined $main ? $main : '')
        . road_http(port => $port, backend => $backend, alive => [],
                    upstream => "zone z 256k;\nmapi;\n%SERVERS%", %o));
}

# the workers are those of this configuration

sub only
{
    my ($cycle) = @_;

    wait_for {
        my @cycles = map { $_->{cycle} } @{ api()->{workers} };

        @cycles && !grep { $_ != $cycle } @cycles;
    };
}

sub workers
{
    my ($server) = @_;
    my $pid = $server->{pid};

    return split ' ', slurp("/proc/$pid/task/$pid/children");
}


# what is left on a server that drains

$directory = make_directory('drain', directory_csv());
$front = front_end('drain-front', main => "worker_processes 2;\n",
                   http => "mapi_directory $directory;");

{
    wait_for { @{ api()->{workers} } == 2 };
    my $api = api();

    is($api->{directory}{path}, $directory, 'the directory is shown');
    ok($api->{directory}{usable}, '... as usable');
    is($api->{directory}{error}, '', '... without an error');
    is($api->{directory}{commit}, 1, '... after one commit')
        or diag("commit $api->{directory}{commit}");
    is_deeply([ sort map { $_->{pid} } @{ $api->{workers} } ],
              [ sort map { $_ + 0 } workers($front) ], 'so are the workers');
    is(server_of(1, $api)->{name}, 'ex1.contoso.com', 'servers have names');
    is(server_of(1, $api)->{state}, 'active', '... and states');
    is_deeply(left(1), [ 0, 0, 0 ], '... and nothing to do yet');

    my @polls = map { hang(1, poll(1)) } 1, 2;
    my $request = hang(1, post(mailbox_id(4)));
    my $otto = connect_to($port);
    my ($peer) = carry([ $servers[0] ], $otto, post(mailbox_id(1),
        'Authorization: NTLM ' . ntlm_message(1)),
        answer(401, 'WWW-Authenticate: NTLM ' . ntlm_message(2)));

    carry([ $servers[0] ], $otto, post(mailbox_id(1),
        'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'otto')),
        answer(200), $peer);

    # the other worker may look before an answer that was sent has ended
    becomes(sub { left(1) }, [ 3, 2, 1 ], 'two polls, a request and a pin');
    is_deeply(left(2), [ 0, 0, 0 ], '... of this server and no other');

    mapi_directory('-d', $directory, 'server', 'EX1', 'draining');

    my ($code, $out, $err) = mapi_directory('stats', '--url',
        "http://127.0.0.1:$port/mapi-status/api");
    is("$code$err", '0', 'the command shows it');
    like($out, qr/^ex1\.contoso\.com +draining +3 +2 +1 +1 +1 +0 +0 +-$/m,
         '... what is left on the server') or diag($out);
    is(server_of(1)->{state}, 'draining', 'a drain is seen at once');
    becomes(sub { left(1) }, [ 3, 2, 1 ], '... and tears nothing apart');

    finish($request);
    becomes(sub { left(1) }, [ 2, 2, 1 ], 'the request ends');
    finish($polls[0]);
    becomes(sub { left(1) }, [ 1, 1, 1 ], 'a poll ends');
    $polls[1][0]->close;
    becomes(sub { left(1) }, [ 0, 0, 1 ], 'the other client goes');
    $otto->close;
    becomes(sub { left(1) }, [ 0, 0, 0 ], 'and the one with the pin');

    $api = api();
    my $block = $api->{upstreams}[0];
    is($block->{pins}{opened}, 1, 'a pin was opened');
    is($block->{pins}{closed}{client}, 1, '... and closed by its client');
    is_deeply(server_of(1, $api)->{answers},
              { '2xx' => 3, '3xx' => 0, '4xx' => 1, '5xx' => 0 },
              'answers have been counted by class');
    is($block->{mode}, 'router', 'the mode is shown');

    mapi_directory('-d', $directory, 'server', 'EX1', 'active');
    $_->close for $peer, $polls[1][1];
}


# a worker that is killed takes its gauges with it, and nothing else

{
    my $total = server_of(2)->{answers}{'2xx'};

    finish(hang(2, post(mailbox_id(2)))) for 1 .. 20;
    becomes(sub { [ server_of(2)->{answers}{'2xx'} ] }, [ $total + 20 ],
            'twenty answers');

    my @hanging = map { hang(2, poll(2)) } 1 .. 12;

    is_deeply(left(2), [ 12, 12, 0 ], 'twelve polls hang');

    for my $pid (workers($front)) {
        kill 'KILL', $pid;
        wait_for { !kill(0, $pid) || !grep { $_ == $pid } workers($front) };

        my @alive = grep { !$_->[0]->ready(0) } @hanging;
        my $n = @alive;

        becomes(sub { left(2) }, [ $n, $n, 0 ],
                "a worker is killed: $n are left");
        is(server_of(2)->{answers}{'2xx'}, $total + 20,
           '... and what was counted stays');
        @hanging = @alive;
    }

    is(scalar @hanging, 0, 'with the last worker the last of them went');
    finish(hang(2, post(mailbox_id(2))));
    becomes(sub { [ server_of(2)->{answers}{'2xx'} ] }, [ $total + 21 ],
            'the new workers go on counting');
}


# old workers and new ones

{
    my $hanging = hang(3, poll(3));
    my $cycle = api()->{cycle};

    reload_nginx($front);

    my $api;
    wait_for {
        $api = api();
        grep { $_->{cycle} > $cycle } @{ $api->{workers} };
    };
    is($api->{cycle}, $cycle + 1, 'a reload is another cycle');
    is_deeply([ sort { $a <=> $b } keys %{{ map { $_->{cycle} => 1 }
                                            @{ $api->{workers} } }} ],
              [ $cycle, $cycle + 1 ], 'workers of both are there');
    is_deeply(left(3), [ 1, 1, 0 ], 'what hangs in the old one is counted');
    is(server_of(2)->{answers}{'2xx'}, 21, '... and all that was before');
    finish($hanging);
    becomes(sub { left(3) }, [ 0, 0, 0 ], 'it ends');
    only($cycle + 1);
    is(server_of(2)->{answers}{'2xx'}, 21, 'the old workers end: all stays');
    is(server_of(3)->{answers}{'2xx'}, 1, '... theirs too');

    # another block and other servers do not mix

    my $conf = slurp($front->{conf});
    (my $other = $conf) =~ s/(upstream exchange \{.*?)server 127\.0\.0\.11:/$1server 127.0.0.14:/s;
    spew($front->{conf}, $other);
    reload_nginx($front);
    only($cycle + 2);
    is(server_of(1)->{answers}{'2xx'}, 0, 'a new server begins with nothing');
    is(server_of(2)->{answers}{'2xx'}, 21, '... the others go on');
    spew($front->{conf}, $conf);
    reload_nginx($front);
    only($cycle + 3);
    is(server_of(1)->{answers}{'2xx'}, 3, 'one that comes back goes on');
    stop_nginx($front);
}


# a new binary: two masters, each with a zone and numbers of its own

{
    $front = front_end('upgrade', http => "mapi_directory $directory;");

    my %old = %$front;
    my $pid_file = "$front->{prefix}/logs/nginx.pid";
    my $hanging = hang(2, poll(2));
    my ($before) = workers($front);

    is_deeply(left(2), [ 1, 1, 0 ], 'a poll hangs');
    signal_nginx($front, 'USR2');
    wait_for { -s "$pid_file.oldbin" && -s $pid_file };
    ($front->{pid}) = slurp($pid_file) =~ /(\d+)/;
    wait_for { workers($front) == 1 };
    kill 'WINCH', $old{pid};

    # it closes its listener and goes on with what it has

    wait_for { log_of($front) =~ / $before#\d+: gracefully shutting down/ };

    my ($after) = workers($front);
    wait_for {
        my @pids = map { $_->{pid} } @{ api()->{workers} };
        "@pids" eq $after;
    };
    becomes(sub { left(2) }, [ 0, 0, 0 ], 'the new binary begins with nothing');
    finish(hang(2, post(mailbox_id(2))));
    becomes(sub { [ server_of(2)->{answers}{'2xx'} ] }, [ 1 ], '... and counts');
    finish($hanging);
    kill 'QUIT', $old{pid};
    wait_for { !MapiRig::is_running($old{pid}) };
    is(server_of(2)->{answers}{'2xx'}, 1, 'the old one ends as it should');
    stop_nginx($front);
}


# connections that fail; hops; the directory and the servers disagree

{
    $directory = make_directory('hops', directory_csv());
    $front = front_end('hops-front', http => "mapi_directory $directory;");

    $servers[0]->close;

    my $hanging = connect_to($port);
    $hanging->send(post(mailbox_id(1)));
    my $end = speaker(@servers[1, 2]);
    my $peer = $end->accept;
    $peer->read_request;
    is_deeply(left(1), [ 0, 0, 0 ], 'a refused connection is not in flight');
    finish([ $hanging, $peer ], 'X-CalculatedBETarget: "<ex9>&\\.contoso.com');
    is(server_of(1)->{unreached}, 1, '... but counted');

    $servers[0] = listen_on('127.0.0.11', $backend);
    finish(hang(2, post(mailbox_id(2))), 'X-CalculatedBETarget: ex2.contoso.com');
    finish(hang(2, post(mailbox_id(2))), 'X-CalculatedBETarget: EX3');
    finish(hang(3, post(mailbox_id(2))), 'X-CalculatedBETarget: EX3');

    my $api = api();
    my $block = $api->{upstreams}[0];
    is_deeply([ @$block{qw( first_hop second_hop )} ], [ 2, 1 ],
              'two answers came straight, one by another server');
    is($api->{learned}{places}, 1, 'one place was learned');

    my %seen = map { ("$_->{database} $_->{directory} $_->{servers}"
                      => $_->{count}) } @{ $api->{disagreements} };
    is(scalar keys %seen, 2, 'two disagreements')
        or diag(join "\n", %seen);
    ok($seen{'DB2 ex2.contoso.com EX3'}, '... about a database that moved');
    ok($seen{'DB1 ex1.contoso.com "<ex9>&\\.contoso.com'},
       '... and one whose server is none of ours');
    is($api->{disagreements}[0]{upstream}, 'exchange', '... of this block');

    my $html = status('')->{body};
    like($html, qr/&quot;&lt;ex9&gt;&amp;\\\.contoso\.com/,
         'names are escaped on the page');
    unlike($html, qr/<ex9>/, '... everywhere');
    stop_nginx($front);

    # observe counts how often the directory is right

    $front = front_end('observe-front', mapi => 'observe',
        upstream => "zone z 256k;\nmapi;\nserver 127.0.0.12:$backend;\n",
        http => "mapi_directory $directory;");
    finish(hang(2, post(mailbox_id(2))), 'X-CalculatedBETarget: EX2');
    finish(hang(2, post(mailbox_id(2))), 'X-CalculatedBETarget: EX9');
    finish(hang(2, post(mailbox_id(4711))), 'X-CalculatedBETarget: EX2');
    is_deeply(api()->{observed}, { right => 1, wrong => 1, unknown => 1 },
              'observe: right, wrong and unknown');
    is(server_of(1)->{answers}{'2xx'}, 3, '... and servers are counted');
    stop_nginx($front);
    $_->close for @servers;
}


# what a health page says is anybody's word

{
    my $body = '<script>"&\'\\' . "\x01\x7f\x1b\xff\xc3\xed\xa0\x80\xc2\x85"
               . "\xc3\xa4\r\n\t" . "200 OK\xe2\x82";
    my $file = run_folder() . '/body';

    spew("$file.html", $body);
    chmod 0644, "$file.html";

    my $back = start_nginx('hostile', <<"EOT");
http {
    access_log off;
    server {
        listen 127.0.0.11:$backend;
        location / { root /; try_files $file.html =404; }
    }
}
EOT
    $front = front_end('hostile-front',
        upstream => "zone z 256k;\nmapi;\nmapi_health_check interval=100ms "
                    . "timeout=2s;\nserver 127.0.0.11:$backend;\n"
                    . "server 127.0.0.12:$backend;");

    wait_for {
        my $servers = api()->{upstreams}[0]{servers};
        $servers->[0]{addresses}[0]{verdict} eq 'alive'
            && $servers->[1]{addresses}[0]{verdict} eq 'dead';
    };

    my $api = api();
    my ($good, $dead) = map { $_->{addresses}[0] }
                        @{ $api->{upstreams}[0]{servers} };
    my $bad = "\x{fffd}";

    is($good->{status}, 200, 'the status of a check');
    is($good->{body}, "<script>\"&'\\\x01$bad\x1b$bad$bad$bad$bad$bad$bad"
                      . "\x{e4}\r\n\t200 OK$bad$bad",
       '... and its body, as JSON that can be read');
    is($dead->{reason}, 'it refuses the connection', '... and the reason');
    ok($good->{checked} && $good->{since}, '... and when');

    my $answer = status('/');
    like($answer->{body}, qr/&lt;script&gt;&quot;&amp;&#39;\\\xef\xbf\xbd/,
         'the page shows it as text');
    unlike($answer->{body}, qr/<script|[\x00-\x09\x0b-\x1f\x7f]/,
           '... without a script or a control character');
    ok(utf8::decode(my $copy = $answer->{body}), '... in UTF-8');
    unlike($answer->{body}, qr/\b(?:src|href)="(?!\/mapi-status\/)/,
           '... with nothing from elsewhere');
    like(header($answer, 'Content-Type'), qr{^text/html; charset=utf-8$},
         '... as HTML');
    is(header($answer, 'Cache-Control'), 'no-store', '... for no cache');
    spew($ENV{MAPI_STATUS_PAGE}, $answer->{body}) if $ENV{MAPI_STATUS_PAGE};

    # Prometheus: every line is a comment or a sample, samples of a metric
    # stand together, and no series comes twice

    $answer = status('/metrics');
    like(header($answer, 'Content-Type'), qr{^text/plain; version=0\.0\.4},
         'metrics have their type');

    my (%type, %seen, $current, @wrong);
    my $label = qr/[a-z]+="(?:[^"\\\n]|\\["\\n])*"/;

    for my $line (split /\n/, $answer->{body}) {
        if ($line =~ /^# HELP (\w+) \S.*$/) {
            push @wrong, "again: $line" if $type{$1};
            $current = $1;
        } elsif ($line =~ /^# TYPE (\w+) (gauge|counter)$/) {
            push @wrong, $line if $1 ne $current;
            my ($name, $kind) = ($1, $2);
            push @wrong, "name: $line"
                if ($kind eq "counter") != ($name =~ /_total$/);
            $type{$name} = $kind;
        } elsif ($line =~ /^((\w+)(?:\{$label(?:,$label)*\})?) \d+(?:\.\d+)?$/) {
            push @wrong, $line if $2 ne $current || $seen{$1}++;
        } else {
            push @wrong, $line;
        }
    }

    is_deeply(\@wrong, [], 'metrics are well formed');
    ok($seen{"mapi_check_verdict{upstream=\"exchange\",server=\"127.0.0.12:"
             . "$backend\",address=\"127.0.0.12:$backend\"}"},
       '... and hold the verdicts');

    $back->{pid} && stop_nginx($back);
    wait_for { api()->{upstreams}[0]{all_fail} };
    pass('nobody passes, and it is said');
    like(status('')->{body}, qr/No server passes/, '... on the page');
    stop_nginx($front);
}


# who may see it, and how

{
    $front = front_end('access', server => <<'EOT');
    set_real_ip_from 127.0.0.2;
    set_real_ip_from 127.0.0.3;
    real_ip_header X-Forwarded-For;

    location /mapi-status {
        mapi_status;
        mapi_debug_allow 127.0.0.1 127.0.0.2 192.0.2.0/24;
    }

    location /nobody { mapi_status; }
    location /slash/ { mapi_status; mapi_debug_allow 127.0.0.1; }
    listen unix:%PREFIX%/socket;

    location /local { mapi_status; mapi_debug_allow unix:; }
    location /all { mapi_status; mapi_debug_allow 0.0.0.0/0 ::/0; }
EOT

    my $ask = sub {
        my ($method, $uri, $from, @headers) = @_;

        return talk($port, request($method, $uri, @headers,
                                   'Connection: close'), $from)->{status};
    };
    my $for = 'X-Forwarded-For: ';
    my $api = '/mapi-status/api';

    is($ask->('GET', $api), 200, 'an address that is allowed');
    is($ask->('GET', $api, '127.0.0.9'), 403, 'one that is not');
    is($ask->('GET', $api, '127.0.0.2', $for . '192.0.2.7'), 200,
       'a proxy that is allowed, for a client that is');
    is($ask->('GET', $api, '127.0.0.2', $for . '198.51.100.7'), 403,
       '... for one that is not');
    is($ask->('GET', $api, '127.0.0.3', $for . '192.0.2.7'), 403,
       'a proxy that is not allowed, for a client that is');
    is($ask->('GET', $api, '127.0.0.9', $for . '192.0.2.7'), 403,
       'no proxy names itself an address');
    is($ask->('GET', '/nobody'), 403, 'nobody is the default');
    like(log_of($front), qr/\[warn\].*"mapi_status" answers 403 to everybody: write "mapi_debug_allow".*nginx\.conf:\d+/,
         '... and "nginx -t" says so');
    is($ask->('GET', '/local'), 403, 'a socket alone is allowed');
    is($ask->('GET', '/all'), 200, 'everybody');

    my $socket = IO::Socket::UNIX->new(Peer => "$front->{prefix}/socket")
        or die "socket: $!";
    my $end = MapiRoad::End->new($socket);
    $end->send(request('GET', '/local/api', 'Connection: close'));
    is($end->read_answer->{status}, 200, '... and is one');

    my $refused = status('/api', $for . '1');
    is($refused->{status}, 200, 'a header of a stranger does nothing');
    $refused = talk($port, request('GET', $api, 'Connection: close'),
                    '127.0.0.9');
    unlike($refused->{text} . $refused->{body}, qr/exchange|directory/,
           'a refusal says nothing');

    is($ask->('POST', $api, undef, 'Content-Length: 0'), 405,
       'POST is no way to ask');
    is($ask->('POST', $api, '127.0.0.9', 'Content-Length: 0'), 403,
       '... and a stranger is not told');
    is($ask->('HEAD', $api), 200, 'HEAD is one');
    is($ask->('GET', '/mapi-status/'), 200, 'a slash at the end');
    is($ask->('GET', '/slash/'), 200, '... and one in the location');
    is($ask->('GET', '/slash/api'), 200, '... before the form');
    is($ask->('GET', '/mapi-status/apis'), 404, 'another form');
    is($ask->('GET', '/mapi-statuses'), 404, 'another page');
    stop_nginx($front);
}


# another method, off the road: its servers are known by their addresses

{
    @servers = map { listen_on("127.0.0.1$_", $backend) } 1, 2;
    $front = front_end('other', mapi => 'off', hosts => [ 11, 12 ],
        upstream => "zone z 256k;\nleast_conn;\nmapi_pin on;\n%SERVERS%");

    my @hanging;

    for (1 .. 4) {
        my $client = connect_to($port);
        $client->send(poll(1));
        my $peer = speaker(@servers)->accept;
        $peer->read_request;
        push @hanging, [ $client, $peer ];
    }

    is_deeply([ left(1), left(2) ], [ [ 2, 0, 0 ], [ 2, 0, 0 ] ],
              'least_conn: two requests each, and no road to know polls');
    is(api()->{upstreams}[0]{mode}, 'none', '... in a block without "mapi"');

    # one of the servers has a pin

    my $otto = connect_to($port);
    my ($peer) = carry(\@servers, $otto, post(mailbox_id(1),
        'Authorization: NTLM ' . ntlm_message(1)),
        answer(401, 'WWW-Authenticate: NTLM ' . ntlm_message(2)));
    my ($i) = $peer->{socket}->sockhost =~ /(\d)$/;

    is_deeply(left($i), [ 2, 0, 1 ], 'a pin, on the server that has it');
    is_deeply(left(3 - $i), [ 2, 0, 0 ], '... and no other');
    $peer->close;
    becomes(sub { left($i) }, [ 2, 0, 0 ], 'its server closes it');
    is(api()->{upstreams}[0]{pins}{closed}{server}, 1, '... and that is said');
    finish($_) for @hanging;
    becomes(sub { [ map { @{ left($_) } } 1, 2 ] }, [ (0) x 6 ], 'all end');
    $_->close for @servers, $otto;
    stop_nginx($front);
}


# a zone that is too small to count in: nothing fails

{
    my @many = map { "server 127.0.0.$_:$backend;" } 14 .. 213;

    $servers[0] = listen_on('127.0.0.11', $backend);
    $front = front_end('small', http => '', hosts => [ 11 ]);
    stop_nginx($front);

    $port = free_port();
    $front = start_nginx('small', "worker_processes 2;\n" . road_http(
        port => $port, backend => $backend, alive => [],
        http => 'mapi_zone mapi 64k;', server => $allow,
        upstream => "zone z 1m;\nserver 127.0.0.11:$backend;\nmapi;\n"
                    . join("\n", map { "$_" } map { s/;/ backup;/r } @many)));
    finish(hang(1, post(mailbox_id(1))));
    my $api = api();
    cmp_ok($api->{zone}{uncounted}, '>', 0, 'a zone that is too small says so');
    ok($api->{zone}{free_pages} > 0, '... and leaves room for the rest');
    like(status('')->{body}, qr/too small to count all/, '... on the page');
    stop_nginx($front);
}

done_testing();
