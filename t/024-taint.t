# With "mapi_pin off" a connection that carried a connection-based logon is
# closed after its answer and never used again; a logon never starts on a used
# connection.  With pins: 028-pin.t.

use strict;
use warnings;

use IO::Select;
use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $server = listen_on('127.0.0.11', $backend);
my $mailbox = mailbox_id(1);
my $port;

my ($one, $two, $three) = (ntlm_message(1), ntlm_message(2),
                           ntlm_message(3, 'CONTOSO', 'otto'));
my $kerberos = 'YIIFfQYGKwYBBQUCoIIFcTCCBW2gMDAuBgkqhkiC9xIBAgI=';


sub front_end
{
    my ($name, $lines, %o) = @_;

    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
                       hosts => [ 11 ], alive => [],
                       upstream => "$lines\n", %o));
}


# one request on this connection, or on a new one; the server's end is returned

sub serve
{
    my ($peer, $answer, @headers) = @_;
    my $client = connect_to($port);

    $client->send(post($mailbox, @headers));
    $peer ||= $server->accept;
    $peer->read_request or die 'the connection is gone';
    $peer->send($answer);
    $client->read_answer;
    $client->close;

    return $peer;
}


# whether the next plain request comes on the connection

sub is_used_again
{
    my ($peer) = @_;
    my $client = connect_to($port);
    my $used = 0;

    $client->send(post($mailbox));

    # whichever side moves first: nothing waits for a time to pass

    my $select = IO::Select->new($peer->{socket}, $server->{socket});

    while (my @ready = $select->can_read(10)) {
        my ($from) = grep { $_ == $peer->{socket} } @ready;

        if ($from) {
            if ($peer->at_end) {
                $select->remove($peer->{socket});
                next;
            }

            $used = 1;
        }

        my $next = $used ? $peer : $server->accept;

        $next->read_request;
        $next->send(answer(200, 'Connection: close'));
        $client->read_answer;
        $next->close;
        last;
    }

    $client->close;

    return $used;
}


my @taints = (
    [ 'NTLM type 1', "Authorization: NTLM $one" ],
    [ 'NTLM type 3', "Authorization: NTLM $three" ],
    [ 'ntlm in small letters', "Authorization: ntlm $one" ],
    [ 'Negotiate with NTLM inside', "Authorization: Negotiate $one" ],
    [ 'Negotiate with Kerberos inside', "Authorization: Negotiate $kerberos" ],
    [ 'Nego2', "Authorization: Nego2 $kerberos" ],
);

my @clean = (
    [ 'no logon' ],
    [ 'Basic', basic('contoso\\otto') ],
    [ 'Bearer', 'Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.e' ],
    [ 'an empty Bearer', 'Authorization: Bearer' ],
    [ 'NTLM without a token', 'Authorization: NTLM' ],
    [ 'a scheme that begins like NTLM', 'Authorization: NTLMssp abcd' ],
);

my @answers = (
    [ 1, "WWW-Authenticate: NTLM $two" ],
    [ 1, "www-authenticate: negotiate $two" ],
    [ 1, "WWW-Authenticate: Nego2 $two" ],
    [ 1, 'WWW-Authenticate: Basic realm="a"', "WWW-Authenticate: NTLM $two" ],
    [ 1, "WWW-Authenticate: Basic realm=\"a, b\", Negotiate $two" ],
    [ 1, "WWW-Authenticate: Negotiate, NTLM $two" ],
    [ 1, 'Persistent-Auth: true' ],
    [ 1, 'persistent-auth: TRUE' ],
    [ 0, 'Persistent-Auth: false' ],
    [ 0, 'WWW-Authenticate: NTLM' ],
    [ 0, 'WWW-Authenticate: Negotiate', 'WWW-Authenticate: NTLM' ],
    [ 0, 'WWW-Authenticate: Negotiate, NTLM, Basic realm="mail"' ],
    [ 0, 'WWW-Authenticate: Basic realm="say, NTLM is bad"' ],
    [ 0, 'WWW-Authenticate: Bearer realm="a", error="invalid_token"' ],
);


for my $case ([ 'one', "mapi;\nmapi_pin off;\n%SERVERS%keepalive 1;" ],
              [ 'many', "mapi;\nmapi_pin off;\n%SERVERS%keepalive 8;" ],
              [ 'zone', "zone z 256k;\nmapi;\nmapi_pin off;\n%SERVERS%keepalive 8;" ])
{
    my ($name, $lines) = @$case;
    my $front = front_end($name, $lines);

    for my $logon (@clean) {
        my ($what, @headers) = @$logon;
        my $peer = serve(undef, answer(200), @headers);

        ok(is_used_again($peer), "$name: after $what a connection is pooled");
        $peer->close;
    }

    for my $logon (@taints) {
        my ($what, @headers) = @$logon;

        for my $status ($what =~ /type 1/ ? (200, 401, 500) : 200) {
            my $peer = serve(undef, answer($status), @headers);

            ok($peer->at_end(5), "$name: after $what and $status it is closed");
            ok(!is_used_again($peer), '... and not used again');
            $peer->close;
        }
    }

    # one connection is pooled, then somebody logs on

    for my $logon (@taints) {
        my ($what, @headers) = @$logon;
        my $pooled = serve(undef, answer(200));
        my $client = connect_to($port);

        $client->send(post($mailbox, @headers));
        my $fresh = $server->accept;
        ok($fresh->read_request, "$name: $what starts on a new connection");
        ok(!$pooled->ready(0) || $pooled->at_end, '... not on the pooled one');
        $fresh->send(answer(401, "WWW-Authenticate: NTLM $two"));
        $client->read_answer;
        ok($fresh->at_end(5), '... which is closed after the answer');
        $_->close for $client, $fresh, $pooled;
    }

    for my $status (200, 401, 503) {
        for my $lines (@answers) {
            my ($tainted, @headers) = @$lines;
            my $peer = serve(undef, answer($status, @headers));
            my $what = join ' | ', map { substr $_, 0, 60 } @headers;

            is(is_used_again($peer), $tainted ? 0 : 1,
               "$name: $status with $what "
               . ($tainted ? 'taints' : 'taints nothing'));
            $peer->close;
        }
    }

    # in the middle of a connection's life

    my $peer = serve(undef, answer(200));

    serve($peer, answer(200));
    serve($peer, answer(200, 'Persistent-Auth: true'));
    ok($peer->at_end(5), "$name: a connection may be tainted late");
    $peer->close;

    # the client of a logon that goes on, on its own connection

    my $client = connect_to($port);
    my @peers;

    for my $headers ([ "Authorization: NTLM $one" ],
                     [ "Authorization: NTLM $three" ], [])
    {
        $client->send(post($mailbox, @$headers));
        push @peers, my $next = $server->accept;
        $next->read_request;
        $next->send(answer(200));
        is($client->read_answer->{status}, 200,
           "$name: a client's connection lives on");
    }

    ok($_->at_end(5), '... its logons do not') for @peers[0, 1];
    $_->close for $client, @peers;

    stop_nginx($front);
}


# without "keepalive" before 1.29.7 nothing is pooled anyhow

{
    my $front = front_end('none', "mapi;\nmapi_pin off;\n%SERVERS%");
    my $peer = serve(undef, answer(200), "Authorization: NTLM $one");

    ok(!is_used_again($peer), 'without keepalive a logon is not pooled either');
    $peer->close;
    stop_nginx($front);
}

done_testing();
