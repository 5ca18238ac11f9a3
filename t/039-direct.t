# "mapi direct": a server that has not mounted the database says who has, and
# the request is repeated there, once.

use strict;
use warnings;

use IO::Select;
use Socket qw( IPPROTO_TCP TCP_NODELAY );
use Test::More;
use Time::HiRes qw( sleep );
use MapiLog;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $directory = make_directory('direct', directory_csv(mounted => [ 1, 2, 1 ]));
my @peers;
my $port;


sub front_end
{
    my ($name, %o) = @_;
    my $zone = exists $o{zone} ? $o{zone} : 'mapi_zone mapi 1m;';
    my $location = $o{location} || '';

    @peers = ();
    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
        alive => [], upstream => "mapi direct;\n%SERVERS%keepalive 8;\n", %o,
        http => "$zone\nmapi_directory $directory;\n" . ($o{http} || ''),
        location => "add_header X-Tries \$upstream_status always;\n$location"));
}


sub guid { return sprintf '%08x-dddd-4000-8000-000000000000', $_[0] }


sub mounted
{
    my ($database, $server, @lines) = @_;

    return answer(555, "X-BEServerRoutingError: Request routed to one but "
                       . 'database is mounted on another',
                  'X-DBMountedOnServer: ' . guid($database)
                  . "~$server.contoso.com~1941997512", @lines);
}


# a byte a time

sub drip
{
    my ($end, $text) = @_;

    setsockopt $end->{socket}, IPPROTO_TCP, TCP_NODELAY, 1;

    for my $byte (split //, $text) {
        $end->send($byte);
        sleep 0.001;
    }
}


# who has something to say, a new connection to a server among them

sub next_peer
{
    while (1) {
        my $end = speaker(@peers, @servers) or die 'nobody got the request';

        if (grep { $_ == $end } @servers) {
            push @peers, $end->accept;
            return $peers[-1];
        }

        return $end if !$end->at_end(0);
        @peers = grep { $_ != $end } @peers;
    }
}


sub number { return $_[0]{socket}->sockhost =~ /(\d)$/ ? $1 : 0 }


# The client's request, and the answers of who gets it, in that order; a code
# instead of an answer gets the peer.  (servers' numbers, client's answer, the
# requests)

sub play
{
    my ($client, $request, @answers) = @_;
    my (@numbers, @requests);

    $client->send($request);

    for my $answer (@answers) {
        my $peer = next_peer();

        push @numbers, number($peer);

        if (ref $answer) {
            $answer->($peer);
            next;
        }

        push @requests, $peer->read_request;
        $peer->send($answer);
    }

    my $answer = $client->read_answer($request =~ /^HEAD /);

    return (join(' ', @numbers), $answer, @requests);
}


# once the client has its answer: nobody got anything else

sub quiet
{
    for my $end (map { $_->{socket} } @servers) {
        return 0 if IO::Select->new($end)->can_read(0);
    }

    return !grep { $_->ready(0) && !$_->at_end(0) } @peers;
}


sub ask_direct
{
    my ($request, @answers) = @_;
    my $client = connect_to($port);
    my @result = play($client, $request, @answers);

    $client->close;

    return @result;
}


sub post_body
{
    my ($n, $body, @headers) = @_;

    return request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id($n),
                   @headers, 'Content-Length: ' . length $body) . $body;
}


# where mailbox n's requests go first

sub goes_to
{
    my ($n) = @_;
    my ($who) = ask_direct(post_body($n, ''), answer(200));

    return $who;
}


sub refused
{
    my ($answer, $code, $name) = @_;

    is($answer->{status}, 503, "$name: 503");
    is(header($answer, 'X-CasErrorCode'), $code,
       '... with ' . (defined $code ? $code : 'no code'));
    is($answer->{body}, '', '... and nothing else');
    ok(quiet(), '... and no other request, no other connection');
}


# as it should be: with and without a zone, with and without pooled connections,
# in one piece and a byte a time

for my $case ([ 'plain', 0, 0, 0 ], [ 'pooled', 0, 1, 0 ],
              [ 'zone', 1, 0, 0 ], [ 'both', 1, 1, 0 ],
              [ 'plain-drip', 0, 0, 1 ], [ 'both-drip', 1, 1, 1 ])
{
    my ($name, $zone, $pool, $slow) = @$case;
    my $front = front_end($name, $zone ? () : (zone => ''),
        upstream => "mapi direct;\n%SERVERS%" . ($pool ? 'keepalive 8;' : ''));
    my @requests;
    my $say = sub {
        my ($text) = @_;

        return sub {
            my ($peer) = @_;

            push @requests, $peer->read_request;
            $slow ? drip($peer, $text) : $peer->send($text);
        };
    };
    my ($who, $answer) = ask_direct(post_body(1, 'some body'),
        $say->(mounted(1, 'ex2')), $say->(answer(200, 'X-ResponseCode: 0')));

    is($who, '1 2', "$name: the request is repeated where the database is");
    is($answer->{status}, 200, '... whose answer the client gets');
    is(header($answer, 'X-Tries'), '555, 200', '... which is the second');
    is(header($answer, 'X-Target'), 'ex2.contoso.com', '... of that server');
    is(header($answer, 'X-Route'), 'learned', '... by a server\'s word');
    ok(quiet(), '... and nobody else was asked');

    for my $request (@requests) {
        is(header($request, 'X-DatabaseGuid'), guid(1),
           '... the database is named');
        is(header($request, 'X-IsFromCafe'), 1, '... by a front end');
        is($request->{body}, 'some body', '... and the body is whole');
    }

    is($requests[0]{text}, $requests[1]{text}, '... word by word the same');

    if ($zone) {
        is(goes_to(1), 2, '... the next request goes straight');
        is(goes_to(4), 2, '... as do those of other mailboxes there');
        is(scalar(grep { !$_->at_end(0) } @peers), 2,
           '... on a connection of the pool') if $pool;

    } else {
        ($who) = ask_direct(post_body(1, ''), mounted(1, 'ex2'), answer(200));
        is($who, '1 2', '... the next request is repeated, too');
    }

    is(goes_to(3), 1, '... but none of another database');

    like(log_of($front), qr/\[info\].*database "DB1" is not on "ex1\.contoso\.com" but on "ex2\.contoso\.com", as it says: the request is repeated there/,
         '... and the log says so');
    stop_nginx($front);
}


# answers that lead nowhere, and what was learned before

{
    my $front = front_end('useless', upstream =>
        "mapi direct;\n%SERVERS%keepalive 8;\n");
    my $g = guid(1);
    my $locator = 'ServerLocatorError';

    for my $case (
        [ 'no name at all', $locator, '' ],
        [ 'an empty value', $locator, 'X-DBMountedOnServer:' ],
        [ 'only tildes', $locator, 'X-DBMountedOnServer: ~~' ],
        [ 'no database', $locator,
          'X-DBMountedOnServer: ~ex3.contoso.com~1' ],
        [ 'no server', $locator, "X-DBMountedOnServer: $g~~1" ],
        [ 'no version', $locator,
          "X-DBMountedOnServer: $g~ex3.contoso.com~" ],
        [ 'no second tilde', $locator,
          "X-DBMountedOnServer: $g~ex3.contoso.com" ],
        [ 'no tilde', $locator, "X-DBMountedOnServer: $g" ],
        [ 'braces', $locator,
          "X-DBMountedOnServer: {$g}~ex3.contoso.com~1" ],
        [ 'a port', $locator,
          "X-DBMountedOnServer: $g~ex3.contoso.com:444~1" ],
        [ 'a name that never ends', $locator,
          "X-DBMountedOnServer: $g~" . 'ex3.' x 1000 . "~1" ],
        [ 'another database', $locator,
          'X-DBMountedOnServer: ' . guid(2) . '~ex3.contoso.com~1' ],
        [ 'two servers', $locator,
          "X-DBMountedOnServer: $g~ex3.contoso.com~1\r\n"
          . "X-DBMountedOnServer: $g~ex1.contoso.com~1" ],
        [ 'itself', $locator,
          "X-DBMountedOnServer: $g~ex2.contoso.com~1" ],
        [ 'a foreign server', 'ServerNotFound',
          "X-DBMountedOnServer: $g~evil.example~1" ],
        [ 'a foreign address', 'ServerNotFound',
          "X-DBMountedOnServer: $g~127.0.0.99~1" ])
    {
        my ($name, $code, $line) = @$case;

        ask_direct(post_body(1, ''), mounted(1, 'ex2'), answer(200));
        is(goes_to(1), 2, "$name: what was learned");

        my ($who, $answer) = ask_direct(post_body(1, 'x'),
            answer(555, $line eq '' ? () : $line));

        is($who, 2, "$name: ... is asked");
        refused($answer, $code, $name);
        ok(!defined header($answer, 'X-DBMountedOnServer'),
           '... and the client sees none of it');
        is(goes_to(1), 1, '... and is forgotten');
    }

    # an exception is the same, whatever the status

    ask_direct(post_body(1, ''), mounted(1, 'ex2'), answer(200));

    my ($who, $answer) = ask_direct(post_body(1, 'x'), answer(500,
        'X-BEServerException: Microsoft.Exchange.Data.Storage.'
        . 'IllegalCrossServerConnectionException'));

    refused($answer, $locator, 'an illegal connection');
    is(goes_to(1), 1, '... and what was learned is forgotten');

    ($who, $answer) = ask_direct(post_body(1, 'x'), answer(500,
        'X-BEServerException: Microsoft.Exchange.Data.Storage.Other'));
    is($answer->{status}, 500, 'another exception is the server\'s answer');

    ($who, $answer) = ask_direct(post_body(1, 'x'), answer(200,
        'X-BEServerException: A.Word', 'X-BEServerRoutingError: a word',
        "X-DBMountedOnServer: $g~ex3.contoso.com~1"));
    is_deeply([ map { header($answer, $_) } qw( X-BEServerException
                X-BEServerRoutingError X-DBMountedOnServer ) ],
              [ undef, undef, undef ], 'no such header passes');
    is(goes_to(1), 1, '... and only a 555 teaches');

    # who is foreign is said once

    my $log = log_of($front);

    is(() = $log =~ /says that a database is mounted on "evil\.example", which is none of the block's servers/g,
       1, 'a foreign name is logged');
    is(() = $log =~ /says that a database is mounted/g, 1, '... once');

    # nothing of that says that a server fails, and names come in three forms

    is(goes_to(1), 1, 'its server lives');

    for my $name ('ex3.contoso.com', 'EX3', '127.0.0.13') {
        ask_direct(post_body(1, ''), answer(555,
                   "X-DBMountedOnServer: \U$g\E~$name~1"), answer(200));
        is(goes_to(1), 3, "it is found as $name");
        ask_direct(post_body(1, ''), answer(555));
    }

    stop_nginx($front);
}


# twice

for my $slow (0, 1) {
    my $front = front_end("twice$slow");
    my $say = sub {
        my ($text) = @_;

        return $text if !$slow;
        return sub { $_[0]->read_request; drip($_[0], $text) };
    };
    my ($who, $answer) = ask_direct(post_body(1, 'x' x 3000),
        $say->(mounted(1, 'ex2')), $say->(mounted(1, 'ex3')));

    is($who, '1 2', 'two servers say that it is elsewhere');
    refused($answer, 'ServerLocatorError', 'a second 555');
    is(goes_to(1), 1, '... and nothing is learned from that');
    like(log_of($front), qr/\[error\].*server "ex2\.contoso\.com" refuses database "DB1": it is the second one to say so/,
         '... and the log says so');
    stop_nginx($front);
}


# no failure: with max_fails=1 all other requests would leave the server

{
    my $front = front_end('failures', upstream => "mapi direct;\n"
        . join('', map { "server 127.0.0.1$_:%PORT% max_fails=1 "
                         . "fail_timeout=1h;\n" } 1 .. 3) . 'keepalive 8;');
    my ($who) = ask_direct(post_body(1, ''), mounted(1, 'ex2'), answer(200));

    is($who, '1 2', 'a 555');
    $who = goes_to(3);
    is($who, 1, '... is no failure of its server');
    is(scalar(@peers), 2, '... and the connection is pooled');

    ($who) = ask_direct(post_body(1, ''), answer(555));
    is($who, 2, 'nor is one that leads nowhere');
    ask_direct(post_body(1, ''), mounted(1, 'ex2'), answer(200));
    is(goes_to(1), 2, '... its server is asked again');

    # but a connection with something left on it is not

    my $text = mounted(1, 'ex3');

    $text =~ s/Content-Length: 0\r\n\r\n/Content-Length: 0\r\n\r\nHTTP\/1.1 200/;
    ($who) = ask_direct(post_body(1, ''), $text, answer(200));
    is($who, '2 3', 'an answer with something behind it');
    ok(!(grep { number($_) == 2 && !$_->at_end(0) } @peers),
       '... ends its connection');
    stop_nginx($front);
}


# methods; a body in memory, in a file, one that the server does not wait for

{
    my $front = front_end('methods');
    my $uri = '/mapi/emsmdb/?MailboxId=' . mailbox_id(1);

    for my $method ('GET', 'HEAD') {
        my ($who, $answer) = ask_direct(request($method, $uri),
            mounted(1, 'ex2'), answer(200));

        is($who, '1 2', "$method is repeated");
        is($answer->{status}, 200, '... and answered');
        ask_direct(post_body(1, ''), answer(555));

        ($who, $answer) = ask_direct(request($method, $uri), answer(555));
        is($answer->{status}, 503, '... or refused');
    }

    stop_nginx($front);
}

for my $size ('8k', '320k') {
    my $front = front_end("body-$size",
                          location => "client_body_buffer_size $size;");
    my $body = join '', map { sprintf '%08x', $_ } 1 .. 25_000;
    my ($who, $answer, @requests) = ask_direct(post_body(1, $body),
        mounted(1, 'ex2'), answer(200));

    is($who, '1 2', "a body of 200 KB, $size of it in memory");
    is($answer->{status}, 200, '... is answered');
    ok($_->{body} eq $body, '... and whole') for @requests;
    is(goes_to(1), 2, '... and nowhere again');

    my $unread;
    my $early = sub {
        $unread = $_[0];
        @peers = grep { $_ != $unread } @peers;
        $unread->read_head;
        $unread->send(mounted(1, 'ex3'));
    };

    ($who, $answer, @requests) = ask_direct(post_body(1, $body), $early,
                                            answer(200));
    is($who, '2 3', 'a server that does not read it');
    is($answer->{status}, 200, '... leaves it to another one');
    ok($requests[0]{body} eq $body, '... which gets all of it');
    stop_nginx($front);
}

{
    my $front = front_end('unbuffered',
                          location => 'proxy_request_buffering off;');
    my ($who, $answer) = ask_direct(post_body(1, 'x' x 200_000),
                                    mounted(1, 'ex2'));

    is($who, 1, 'a body that is not kept');
    refused($answer, 'CannotReplayRequest', '... cannot be sent again');
    is(goes_to(1), 2, '... but the next request goes there');
    like(log_of($front), qr/\[warn\].*"proxy_request_buffering off" keeps no request that could be repeated/,
         '... as nginx has warned');
    stop_nginx($front);
}


# nobody's settings forbid or multiply it

{
    my $front = front_end('settings', location => 'proxy_next_upstream off;
        proxy_next_upstream_tries 1; proxy_next_upstream_timeout 1ms;');
    my $late = sub {
        $_[0]->read_request;
        sleep 0.01;
        $_[0]->send(mounted(1, 'ex2'));
    };
    my ($who) = ask_direct(post_body(1, ''), $late, answer(200));

    is($who, '1 2', 'settings of other repetitions do not count');
    stop_nginx($front);

    $front = front_end('repetitions', location =>
        'proxy_next_upstream error timeout invalid_header http_500 http_503
         non_idempotent;', upstream => "mapi direct;\n"
        . join '', map { "server 127.0.0.1$_:%PORT% max_fails=0;\n" } 1 .. 3);

    my $dies = sub {
        my ($peer) = @_;

        @peers = grep { $_ != $peer } @peers;
        $peer->read_request;
        $peer->close;
    };
    my $garbage = sub { $_[0]->read_request; $_[0]->send("HTTP/1.1 200 OK\r\n"
                        . ": \r\n\0\r\n\r\n") };

    for my $end ($dies, $garbage) {
        my ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex2'),
                                        $end);

        is($who, '1 2', 'a server that fails in the repetition');
        refused($answer, undef, '... is the last one');
        ask_direct(post_body(1, ''), answer(555));
    }

    my $answer;
    ($who, $answer) = ask_direct(post_body(1, ''), $dies);
    is($who, 1, 'a server that dies in the first attempt');
    refused($answer, undef, '... is the last one, too');
    stop_nginx($front);
}


# the other server cannot be reached

{
    my $third = pop @servers;
    my $front;

    $third->close;
    $front = front_end('dead');

    my ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex3'));

    is($who, 1, 'a database on a dead server');
    refused($answer, 'ServerNotFound', '... is nobody else\'s');
    push @servers, listen_on('127.0.0.13', $backend);
    stop_nginx($front);

    $front = front_end('down', upstream => "mapi direct;\n"
        . "server 127.0.0.11:%PORT%;\nserver 127.0.0.12:%PORT%;\n"
        . "server 127.0.0.13:%PORT% down;\n");
    ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex3'));
    refused($answer, 'ServerNotFound', '... nor one that is down');
    stop_nginx($front);

    $front = front_end('offline');
    mapi_directory('-d', $directory, 'server', 'EX3', 'offline');
    ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex3'));
    refused($answer, 'ServerNotFound', '... nor one that is offline');
    mapi_directory('-d', $directory, 'server', 'EX3', 'draining');
    ($who, $answer) = ask_direct(post_body(1, ''), answer(200));
    is($who, 3, 'one that is drained serves what only it can');
    is(header($answer, 'X-Route'), 'learned', '... as any other');
    ask_direct(post_body(1, ''), answer(555));
    ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex3'),
                                 answer(200));
    is($who, '1 3', '... and may be named');
    mapi_directory('-d', $directory, 'server', 'EX3', 'active');
    stop_nginx($front);

    $front = front_end('alone', hosts => [ 11 ]);
    ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex2'));
    refused($answer, 'ServerNotFound', 'a block with one server');
    ($who, $answer) = ask_direct(post_body(1, ''), mounted(1, 'ex1'));
    refused($answer, 'ServerLocatorError', '... that names itself');
    stop_nginx($front);

    # one that is dead was asked first: it is not asked again

    $third = pop @servers;
    $third->close;
    $front = front_end('again');
    mapi_directory('-d', $directory, 'move', 'DB2', 'EX3');
    ($who, $answer) = ask_direct(post_body(2, ''), mounted(2, 'ex3'));
    like($who, qr/^[12]$/, 'a dead server is passed by');
    refused($answer, 'ServerNotFound', '... and named by another one');
    mapi_directory('-d', $directory, 'move', 'DB2', 'EX2');
    push @servers, listen_on('127.0.0.13', $backend);
    stop_nginx($front);
}


# what goes to the servers, and to nobody else

{
    my $front = front_end('headers', server => <<"EOT");
        location \@other {
            proxy_pass http://127.0.0.13:$backend;
        }
EOT
    my ($who, $answer, $request) = ask_direct(post_body(1, '',
        'X-DatabaseGuid: ' . guid(2), 'X_IsFromCafe: 2', 'x-isfromcafe: 3'),
        answer(200));

    is_deeply([ map { header($request, $_) } qw( X-DatabaseGuid X-IsFromCafe
                                                 X_IsFromCafe ) ],
              [ guid(1), 1, undef ], 'what a client says does not count');

    ($who, $answer, $request) = ask_direct(post_body(4711, ''), answer(200));
    is_deeply([ map { header($request, $_) } qw( X-DatabaseGuid
                                                 X-IsFromCafe ) ],
              [ undef, undef ], 'an unknown mailbox: nothing is said');
    ($who, $answer) = ask_direct(post_body(4711, ''), mounted(1, 'ex2'));
    refused($answer, 'ServerLocatorError', '... and a 555 is of no use');

    my $none = mounted(1, 'ex2');

    $none =~ s/0000000\d-dddd-4000-8000/00000000-0000-0000-0000/;
    ($who, $answer) = ask_direct(post_body(4711, ''), $none);
    refused($answer, 'ServerLocatorError', '... also for no database');
    stop_nginx($front);

    $front = front_end('elsewhere', location => 'error_page 502 = @other;
        proxy_set_header X-IsFromCafe 7;', server => <<"EOT");
        location \@other {
            proxy_pass http://127.0.0.13:$backend;
        }
EOT
    ($who, $answer, $request, my $other) = ask_direct(post_body(1, ''),
        answer(555), answer(200));
    is(header($request, 'X-IsFromCafe'), 7,
       'what the configuration sets stays, once');
    is($who, '1 3', 'an error_page leads elsewhere');
    is(header($other, 'X-DatabaseGuid'), undef, '... and carries no database');
    is(header($other, 'X-IsFromCafe'), undef, '... and is no front end');
    stop_nginx($front);

    for my $mode ('', 'owner') {
        $front = front_end("other$mode", upstream => "mapi $mode;\n%SERVERS%");
        ($who, $answer, $request) = ask_direct(post_body(1, ''),
                                               mounted(1, 'ex2'));
        is($answer->{status}, 555, 'in other modes a 555 is the answer');
        is(header($request, 'X-DatabaseGuid'), undef, '... unasked');
        stop_nginx($front);
    }
}


# Logons.  A token is for one connection

my ($one, $two) = map { ntlm_message($_) } 1, 2;
my $type1 = "Authorization: NTLM $one";
my $type3 = 'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'otto');
my $challenge = answer(401, "WWW-Authenticate: NTLM $two");
my $bare = answer(401, 'WWW-Authenticate: NTLM');


sub logon
{
    my ($client, $n, $name) = @_;
    my ($who) = play($client, post_body($n, '', $type1), $challenge);
    my ($again, $answer) = play($client, post_body($n, '', $type3),
                                answer(200));

    is($again, $who, "$name: a logon on one server");
    is(header($answer, 'X-Route'), 'handshake', '... by its handshake');

    return $who;
}


{
    my $front = front_end('token');
    my $otto = connect_to($port);

    play($otto, post_body(1, '', $type1), $challenge);

    my ($who, $answer) = play($otto, post_body(1, 'x', $type3),
                              mounted(1, 'ex2'));

    is($who, 1, 'a logon at a server that has lost the database');
    refused($answer, 'CannotReplayRequest', '... goes nowhere else');
    is(header($answer, 'Connection'), 'close', '... and begins anew');
    ok($otto->at_end, '... on another connection');

    $otto = connect_to($port);
    is(logon($otto, 1, 'otto'), 2, '... where the database is');
    ($who) = play($otto, post_body(1, ''), answer(200));
    is($who, 2, '... and stays there');
    ($who) = play($otto, post_body(3, ''), $bare);
    is($who, 1, '... but for what is elsewhere');

    # a client that is logged on: the other server knows nothing of it

    ($who, $answer, my @requests) = play($otto, post_body(1, 'y'),
        mounted(1, 'ex3'), $bare);
    is($who, '2 3', 'the database moves');
    is(header($answer, 'WWW-Authenticate'), 'NTLM',
       '... and the client is asked to log on');
    is(header($_, 'Authorization'), undef, '... as nobody has for it')
        for @requests;
    is(logon($otto, 1, 'otto'), 3, '... and it does');

    # both pins live, and both are used

    is((play($otto, post_body(1, ''), answer(200)))[0], 3,
       'it is logged on there');
    is((play($otto, post_body(2, ''), answer(200)))[0], 2,
       '... and still at the other server');

    ($who, $answer) = play($otto, post_body(1, 'z'), mounted(1, 'ex2'),
                           answer(200));
    is($who, '3 2', 'it moves to a server where the client is logged on');
    is($answer->{status}, 200, '... and goes on without another logon');
    is(scalar(grep { number($_) == 2 } @peers), 1, '... on its connection');

    # that connection is gone by the time that it is needed

    ask_direct(post_body(1, ''), mounted(1, 'ex3'), answer(200));
    is((play($otto, post_body(1, ''), answer(200)))[0], 3, 'it moves again');
    my ($gone) = grep { number($_) == 2 } @peers;
    @peers = grep { $_ != $gone } @peers;
    $gone->close;
    ($who, $answer) = play($otto, post_body(1, 'z'), mounted(1, 'ex2'), $bare);
    is($who, '3 2', '... and back, where the logon has ended');
    is($answer->{status}, 401, '... and is asked for');

    # credentials of a request are no logon of a connection

    my @basic = (basic('CONTOSO\\emil'));
    ($who, $answer, @requests) = ask_direct(post_body(1, '', @basic),
        mounted(1, 'ex3'), answer(200));
    is($who, '2 3', 'Basic');
    is(header($requests[1], 'Authorization'),
       header($requests[0], 'Authorization'), '... goes with the request');

    $otto->close;
    stop_nginx($front);
}


# Kerberos: a ticket is for one server; and a type 1 that is answered so

for my $header ('Authorization: Negotiate YIIabcdefgh==', $type1) {
    my $front = front_end('ticket');
    my ($who, $answer) = ask_direct(post_body(1, '', $header),
                                    mounted(1, 'ex2'));

    is($who, 1, 'a token');
    refused($answer, 'CannotReplayRequest', '... is not repeated');
    is(goes_to(1), 2, '... but learned from');
    stop_nginx($front);
}


# prefer=pinned: the logon has the first word, the database the last one

{
    my $front = front_end('pinned', upstream => "mapi direct;\n"
        . "mapi_pin on prefer=pinned;\n%SERVERS%keepalive 8;\n");
    my $otto = connect_to($port);

    is(logon($otto, 1, 'pinned'), 1, 'a logon');

    my ($who, $answer) = play($otto, post_body(2, ''), mounted(2, 'ex2'),
                              $bare);

    is($who, '1 2', '... decides, until the server says otherwise');
    is($answer->{status}, 401, '... and the client is asked');
    $otto->close;
    stop_nginx($front);
}


# from nginx 1.29 on there may be hints before the answer

my ($version) = `$ENV{TEST_NGINX_BINARY} -v 2>&1` =~ /nginx\/1\.(\d+)/;

SKIP: {
    skip "nginx 1.$version takes them for the answer", 2 if $version < 29;

    my $front = front_end('hints');
    my $hints = "HTTP/1.1 103 Early Hints\r\nX-DBMountedOnServer: "
                . guid(1) . "~ex3.contoso.com~1\r\n\r\n";
    my ($who) = ask_direct(post_body(1, ''), sub {
        $_[0]->read_request;
        drip($_[0], $hints . mounted(1, 'ex2'));
    }, $hints . answer(200));

    is($who, '1 2', 'hints are not the answer');
    is(goes_to(1), 2, '... and teach nothing');
    stop_nginx($front);
}


# a server with two addresses, one of them dead: that is no third attempt

SKIP: {
    my ($wrapper) = glob('/usr/lib/*/libnss_wrapper.so');
    my $hosts = run_folder() . '/hosts';
    my $front;

    skip 'libnss-wrapper is missing', 5 if !defined $wrapper;
    spew($hosts, join '', map { "127.0.0.$_ ex2.contoso.com\n" } 14, 12);

    {
        local $ENV{LD_PRELOAD} = join ' ', grep { defined && length }
                                 $ENV{LD_PRELOAD}, $wrapper;
        local $ENV{NSS_WRAPPER_HOSTS} = $hosts;
        local $ENV{NSS_WRAPPER_DISABLE_DEEPBIND} = 1;

        $front = front_end('addresses', zone => '', upstream =>
            "mapi direct;\nserver 127.0.0.11:%PORT%;\n"
            . "server ex2.contoso.com:%PORT% max_fails=0;\nkeepalive 8;\n");
    }

    my ($who) = ask_direct(post_body(1, ''), mounted(1, 'ex2'), answer(200));

    is($who, '1 2', 'the second address of the other server');

    my $otto = connect_to($port);

    is(logon($otto, 1, 'addresses'), 1, 'a logon');
    ($who) = play($otto, post_body(1, ''), mounted(1, 'ex2'), $bare);
    is($who, '1 2', '... and then a repetition at the second address');
    $otto->close;
    stop_nginx($front);
}


# a rehearsal

{
    my $front = front_end('observed', mapi => 'observe');
    my ($who, $answer, $request) = ask_direct(post_body(1, ''),
                                              mounted(1, 'ex2'));

    is($answer->{status}, 555, 'observe: the answer passes');
    is(header($request, 'X-DatabaseGuid'), undef, '... and nothing is said');
    stop_nginx($front);
}

# what the log says: of the server that answered, and of who could not help

{
    my $front = front_end('direct-log',
                          http => 'mapi_log %PREFIX%/rows flush=50ms;');
    my $folder = "$front->{prefix}/rows";
    my @rows;

    is((ask_direct(post(mailbox_id(3)), mounted(3, 'ex3'), answer(200)))[0],
       '1 3', 'a repetition');
    is((ask_direct(post(mailbox_id(2)), mounted(2, 'ex9')))[0], '2',
       'a foreign server');

    wait_for { (@rows = log_rows($folder)) == 2 };

    is_deeply([ map { @$_{qw( HttpStatus BackEndStatus TargetServer
                              ErrorCode )} } @rows ],
              [ 200, 200, 'ex3.contoso.com', '',
                503, 555, 'ex2.contoso.com', 'ServerNotFound' ],
              'one row each') or diag map { "$_->{line}\n" } @rows;
    is(latency_errors($_), '', 'latencies hold') for @rows;

    stop_nginx($front);
}


done_testing();
