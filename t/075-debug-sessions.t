# The debug page: the sessions of a mailbox, and what goes on in them.

use strict;
use warnings;

use JSON::PP;
use Test::More;

use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $path = make_directory('main', directory_csv());
my $port = free_port();
my $front = start_nginx('front', road_http(
    port => $port, backend => $backend, alive => [],
    http => "mapi_directory $path;\nmapi_zone mapi 1m;\n"
            . "mapi_server_name FRONT.example.com;\n"
            . "set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;",
    server => "mapi_page local;\nmapi_debug_allow 127.0.0.1;",
    location => 'add_header X-Session $mapi_session always;'));
my $emsmdb = '/mapi/emsmdb/';
my $outlook = '203.0.113.77';
my $secret = 'kZ9secretZ9k';
my $id = 0;


# what an Outlook sends

sub asked
{
    my ($type, $n, @headers) = @_;

    return request('POST', "$emsmdb?MailboxId=" . mailbox_id($n),
                   "X-RequestType: $type", 'X-RequestId: {ABC}:' . ++$id,
                   'X-ClientApplication: Outlook/16.0.1.2',
                   'User-Agent: <b>Outlook</b>',
                   "X-Forwarded-For: 10.9.9.9, $outlook", @headers,
                   'Content-Length: 0');
}


# one that is answered at once; the session's key

sub does
{
    my ($type, $n, $cookie, $answer, @headers) = @_;
    my $client = connect_to($port);
    my ($peer, $got) = carry(\@servers, $client,
        asked($type, $n, defined $cookie ? "Cookie: MapiContext=$cookie" : (),
              @headers), $answer);

    $_->close for $client, $peer;

    return header($got, 'X-Session');
}


# one that hangs: the connections of both sides

sub hangs
{
    my ($n, $cookie) = @_;
    my $client = connect_to($port);

    $client->send(asked('NotificationWait', $n,
                        "Cookie: MapiContext=$cookie"));

    my $server = speaker(@servers);
    my $peer = $server->accept;

    $peer->read_request;
    $peer->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                . "X-ResponseCode: 0\r\n\r\nC\r\nPROCESSING\r\n\r\n");
    $client->read_until(qr/PROCESSING/);

    return ($client, $peer);
}


sub opened
{
    my ($n, $cookie, @headers) = @_;

    return does('Connect', $n, undef,
                answer(200, 'X-ResponseCode: 0', "Set-Cookie: MapiContext=$cookie; "
                       . 'path=/mapi/emsmdb; HttpOnly'), @headers);
}


sub html
{
    my ($n) = @_;

    return talk($port, request('GET', "$emsmdb?showdebug=yes&MailboxId="
                               . mailbox_id($n)))->{body};
}


sub sessions
{
    my ($n) = @_;
    my $answer = talk($port, request('GET', "$emsmdb?mapidebug=json&MailboxId="
                                     . mailbox_id($n)));

    return JSON::PP->new->utf8->decode($answer->{body})->{sessions};
}


# two sessions with a poll each, one of them with failures

my $first = opened(1, "A$secret", basic('CONTOSO\\otto'));
my $second = opened(1, "B$secret");

does('Execute', 1, "A$secret", answer(200, 'X-ResponseCode: 0')) for 1 .. 3;
does('Execute', 1, "A$secret", answer(200, 'X-ResponseCode: 10'));
does('Execute', 1, "A$secret", answer(503));

my @first = hangs(1, "A$secret");
my @second = hangs(1, "B$secret");

# another mailbox has one, too

my $other = opened(2, "C$secret");

{
    my @all;

    # a request is noted when it is over for nginx, after its answer

    wait_for { @all = @{ sessions(1) };
               @all == 2 && !grep { @{ $_->{active} } != 1
                                    || $_->{session} eq $first
                                       && @{ $_->{failed} } != 2 } @all };

    my ($s) = grep { $_->{session} eq $first } @all;
    my ($t) = grep { $_->{session} eq $second } @all;

    ok(defined $s && defined $t, 'two sessions, by the keys of $mapi_session');
    is($s->{client}{address}, $outlook, 'the client\'s real address');
    is($s->{client}{server}, 'ex1.contoso.com', '... its server');
    is($s->{client}{user}, 'CONTOSO\\otto', '... who has logged on');
    is($s->{client}{scheme}, 'Basic', '... how');
    is($s->{client}{application}, 'Outlook/16.0.1.2', '... by what');
    is($s->{client}{agent}, '<b>Outlook</b>', '... and what it says of itself');
    is($s->{client}{endpoint}, 'emsmdb', '... where');
    is($s->{rundown}, 'No', '... alive');
    is($s->{idle}, undef, '... not idle');
    is($s->{active}[0]{type}, 'NotificationWait', 'a poll hangs');
    is($s->{active}[0]{address}, $outlook, '... of that address');
    is($s->{active}[0]{end}, undef, '... not ended');
    is(scalar @{ $s->{completed} }, 4, 'completed');
    is($s->{completed}[3]{type}, 'Connect', '... the latest first');
    is($s->{completed}[0]{cafe}, 'front.example.com', '... through this one');
    is($s->{completed}[0]{sequence}, 'None', '... no cookie');
    is($s->{failed}[0]{info}, 'HTTP 503', 'failed');
    is($s->{failed}[1]{info}, 'X-ResponseCode 10 (Context Not Found)',
       '... and why');
    is(scalar @{ $t->{failed} }, 0, 'the other one is well');
    is($t->{client}{user}, undef, '... and nameless');
    is($t->{client}{scheme}, undef, '... without a logon');
}

{
    my $page = html(1);

    is(() = $page =~ /<b>Context Cookie:<\/b> [0-9a-f]{16}<br>/g, 2, 'HTML: two');
    like($page, qr{<b>Session Contexts</b><br></p>\r\n<p><b>Context Cookie:</b> [0-9a-f]{16}<br><b>Creation Time:</b> \d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M<br><b>Last Activity Time:</b> [^<]+<br><b>Activity Count:</b> \d+<br><b>Rundown:</b> No<br><b>Rundown Time:</b> <br><b>Idle Time:</b> </p>},
         '... as of Exchange');
    like($page, qr{<p><b>Completed Operations</b><br><br><table border="1">\r\n<tr><th>Request Type</th><th>Request Id</th><th>Sequence Cookie</th><th>Start Time</th><th>End Time</th><th>Duration</th><th>Pending Count</th><th>Last Pending</th><th>Cafe</th><th>Cafe Activity Id</th><th>Client Address</th><th>Info</th></tr>\r\n<tr><td>[A-Z]\w+</td><td>\{ABC\}:\d+</td><td>None</td>},
         '... and its tables');
    like($page, qr{<p><b>Failed Operations</b><br><br>None</p>},
         '... one without failures');
    like($page, qr{&lt;b&gt;Outlook&lt;/b&gt;}, '... a hostile name is text');
    unlike($page, qr/\Q$secret/, '... the cookie is not there');
    unlike($page, qr/\Q$other/, '... nor another mailbox\'s session');

    my ($code, $out) = mapi_directory('why', (mailbox_id(1) =~ /^([^@]+)/)[0],
                                      '--url', "http://127.0.0.1:$port/");
    is($code, 0, 'in a terminal');
    like($out, qr/^  session: \Q$first\E$/m, '... the session');
    like($out, qr/^  user: CONTOSO\\otto$/m, '... who has logged on');
    like($out, qr/^  address: \Q$outlook\E$/m, '... from where');
    like($out, qr/^  active\n +type .*\n +NotificationWait /m, '... the poll');
    unlike($out, qr/\Q$secret/, '... and no cookie');
}


# which side has closed

$first[0]->close;
wait_for { my ($s) = grep { $_->{session} eq $first } @{ sessions(1) };
           !@{ $s->{active} } && ($s->{client}{closed} || '') eq 'the client' };
pass('the client has closed');

$second[1]->close;
wait_for { my ($s) = grep { $_->{session} eq $second } @{ sessions(1) };
           !@{ $s->{active} } && ($s->{client}{closed} || '') eq 'the server' };
pass('the server has closed');

{
    my ($s) = grep { $_->{session} eq $second } @{ sessions(1) };

    like($s->{failed}[0]{info}, qr/the server has closed/, '... its operation');
    ok($s->{idle} >= 0, '... the session is idle');
}

is_deeply(sessions(3), [], 'a mailbox without sessions');
is(scalar @{ sessions(2) }, 1, 'another one has its own');

# a code that is none of Exchange's is a failure all the same

does('Execute', 2, "C$secret", answer(200, "X-ResponseCode: $_"))
    for 40000, 65536, 4294967296;

{
    my ($s);

    wait_for { ($s) = @{ sessions(2) }; @{ $s->{failed} } == 3 };
    is_deeply([ map { $_->{info} } @{ $s->{failed} } ],
              [ ('X-ResponseCode 32767') x 3 ], 'codes out of range');
}

# a worker that was killed has nothing in hand any more

{
    my ($client, $peer) = hangs(2, "C$secret");
    my ($worker) = MapiRig::workers_of($front);
    my ($s);

    wait_for { ($s) = @{ sessions(2) }; @{ $s->{active} } == 1 };
    is($s->{idle}, undef, 'a poll hangs: not idle');

    allow_log(qr/worker process \d+ exited on signal 9/);
    kill 'KILL', $worker;
    wait_for { my ($new) = MapiRig::workers_of($front);
               defined $new && $new != $worker };
    ($s) = @{ sessions(2) };
    is_deeply($s->{active}, [], '... its worker is killed: none');
    ok(defined $s->{idle}, '... and the session is idle');
    $_->close for $client, $peer;
}

# what a server did is what it did, whatever an error_page makes of it

stop_nginx($front);
undef $front;

{
    my $other = free_port();

    $port = free_port();
    $front = start_nginx('errors', road_http(
        port => $port, backend => $backend, alive => [],
        http => "mapi_directory $path;\nmapi_zone mapi 1m;\n"
                . "server { listen 127.0.0.1:$other;\n"
                . 'return 200 "elsewhere"; }',
        server => "mapi_debug_allow 127.0.0.1;\n"
                  . "location = /sorry { return 503 sorry; }\n"
                  . 'location @other {'
                  . " proxy_pass http://127.0.0.1:$other; }\n",
        location => "proxy_intercept_errors on;\nproxy_read_timeout 300ms;\n"
                    . "error_page 401 = \@other;\nerror_page 500 /sorry;\n"
                    . 'add_header X-Session $mapi_session always;'));

    my ($s);

    opened(1, "A$secret");
    does('Execute', 1, "A$secret", answer($_)) for 401, 500, 401, 500;
    does('Execute', 1, "A$secret", answer(200, 'X-ResponseCode: 0'));
    wait_for { ($s) = @{ sessions(1) }; $s->{count} > 3 };
    is($s->{count}, 4, 'an error_page: a 401 is no use of a session');
    is_deeply([ map { $_->{info} } @{ $s->{failed} } ],
              [ 'HTTP 500', 'HTTP 500' ], '... a 500 is the server\'s');
    is($s->{client}{closed}, 'nobody', '... and nobody has closed');

    # no answer in time

    my $client = connect_to($port);
    $client->send(asked('Execute', 1, "Cookie: MapiContext=A$secret"));
    my $peer = speaker(@servers)->accept;
    $peer->read_request;
    wait_for { ($s) = @{ sessions(1) }; $s->{count} > 4 };
    is($s->{failed}[0]{info}, 'no answer, this front end has closed',
       'no answer in time');
    $_->close for $client, $peer;

    # the server hangs up: another one, since that one counts as dead

    opened(2, "B$secret");
    $client = connect_to($port);
    $client->send(asked('Execute', 2, "Cookie: MapiContext=B$secret"));
    $peer = speaker(@servers)->accept;
    $peer->read_request;
    $peer->close;
    wait_for { ($s) = @{ sessions(2) }; $s->{count} > 1 };
    is($s->{failed}[0]{info}, 'no answer, the server has closed',
       'it hangs up instead');
    $client->close;
}

stop_nginx($front);
done_testing();
