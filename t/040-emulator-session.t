# Sessions of the emulated mailbox server: contexts, sequence, hanging waits,
# aborts, and what its directory makes of a mailbox.  Three workers, so that
# one worker's state would not do.

use strict;
use warnings;

use Test::More;
use MapiRig;
use IO::Socket::INET;
use IO::Select;
use MIME::Base64 qw( encode_base64 decode_base64 );
use Time::HiRes qw( sleep time );

my $patience = $ENV{MAPI_SANITIZE} ? 30 : 10;

# mailbox A lives in database DB1 on ex1, B in DB2 on ex2, X is unknown
my $A = '11111111-2222-3333-4444-000000000001';
my $B = '11111111-2222-3333-4444-000000000002';
my $X = '99999999-2222-3333-4444-000000000009';

my @tables = (
    mailboxes => <<"EOT",
ExchangeGuid,PrimarySmtpAddress,Database
$A,a\@corp.example,DB1
$B,b\@corp.example,DB2
EOT
    databases => <<'EOT',
Name,Guid,Server,ActivationPreference
DB1,aaaaaaaa-0000-0000-0000-000000000001,EX1,"[EX1, 1] [EX2, 2]"
DB2,aaaaaaaa-0000-0000-0000-000000000002,EX2,"[EX2, 1] [EX1, 2]"
EOT
    servers => <<'EOT');
Name,Fqdn,Addresses
EX1,ex1.corp.example,127.0.0.11
EX2,ex2.corp.example,127.0.0.12
EOT

my $directory = make_directory('mapi_dir', @tables);
my $port = free_port('127.0.0.11');

my %at = (ex1 => 11, ex2 => 12, own1 => 13, own2 => 14, alone => 15,
          impatient => 16);

my %server = (
    ex1 => "ex1.corp.example directory=$directory pending=200ms",
    ex2 => "EX2 directory=$directory",
    own1 => "own1.corp.example owner directory=$directory zone=own:256k"
            . ' auth=basic',
    own2 => "own2 owner directory=$directory zone=own auth=basic",
    alone => 'ex7.corp.example wait=300ms pending=50ms zone=alone:64k',
    impatient => 'ex8.corp.example idle=500ms pending=100ms wait=1500ms'
                 . ' zone=other:64k',
);

my $blocks = join '', map { <<"EOT" } sort keys %server;
    server {
        listen 127.0.0.$at{$_}:$port;
        keepalive_requests 100000;

        location /mapi/ {
            mapi_mailbox_server $server{$_};
        }

        location = /control {
            mapi_mailbox_control;
        }
    }
EOT

my $nginx = start_nginx('emulator', <<"EOT");
worker_processes 3;
http {
    access_log off;
$blocks}
EOT


# a client of one mailbox, with its cookies; each request has a connection of
# its own, so that any worker may get it

sub client
{
    my ($host, %o) = @_;

    return { host => $host, mailbox => $A, endpoint => 'emsmdb', jar => {},
             number => 0, %o };
}


sub begin
{
    my ($c, $type, %o) = @_;
    my $body = defined $o{body} ? $o{body} : "\0" x 8;
    my %jar = %{ $o{jar} || $c->{jar} };
    my $query = defined $c->{query} ? $c->{query}
                : "MailboxId=$c->{mailbox}\@corp.example";
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.$at{$c->{host}}",
                                       PeerPort => $port, Proto => 'tcp')
        or die "connect: $!";

    $c->{number}++;

    my @lines = (
        "POST /mapi/$c->{endpoint}/?$query HTTP/1.1",
        'Host: mail.example', 'Content-Type: application/mapi-http',
        'Content-Length: ' . length $body,
        "X-RequestType: $type",
        "X-RequestId: {e2ea6c1c-e61b-49e9-9cfb-38184f907552}:$c->{number}",
        'X-ClientApplication: Outlook/15.0.4815.1002',
    );

    push @lines, 'Cookie: ' . join '; ', map { "$_=$jar{$_}" } sort keys %jar
        if %jar;
    push @lines, 'Authorization: Basic ' . encode_base64("$c->{user}:pw", '')
        if defined $c->{user};

    print $socket join("\r\n", @lines), "\r\n\r\n", $body;
    $socket->flush;

    return { socket => $socket, text => '', client => $c };
}


# reads until the pattern stands in the text

sub until_is
{
    my ($end, $pattern) = @_;
    my $select = IO::Select->new($end->{socket});

    while ($end->{text} !~ $pattern) {
        $select->can_read($patience) or die "no answer in time\n";

        my $n = sysread($end->{socket}, $end->{text}, 65536,
                        length $end->{text});
        last if !$n;
    }

    return $end->{text};
}


# the whole answer: header, body without chunks, list of chunks

sub answer
{
    my ($end) = @_;
    my %a = (status => 0, headers => '', body => '', chunks => []);

    until_is($end, qr/\r\n\r\n/);
    return \%a if $end->{text} !~ /^(HTTP\/1.1 (\d+)[^\r]*\r\n.*?\r\n)\r\n/s;

    @a{qw( headers status )} = ($1, $2);
    my $offset = length($1) + 2;

    if ($a{headers} =~ /^Content-Length: (\d+)/mi) {
        until_is($end, qr/\A.{${\($offset + $1)}}/s);
        $a{body} = substr $end->{text}, $offset, $1;

    } else {
        until_is($end, qr/\r\n0\r\n\r\n\z/);
        my $rest = substr $end->{text}, $offset;

        while ($rest =~ s/^([0-9a-fA-F]+)\r\n//) {
            my $size = hex $1;
            push @{ $a{chunks} }, substr $rest, 0, $size if $size;
            $rest = substr $rest, $size + 2;
        }

        $a{body} = join '', @{ $a{chunks} };
    }

    ($a{code}) = $a{headers} =~ /^X-ResponseCode: (\d+)/m;

    return \%a;
}


sub keep_cookies
{
    my ($c, $a) = @_;

    $c->{jar}{$1} = $2 while $a->{headers} =~ /^Set-Cookie: (\w+)=([^;\r]*)/mg;

    return $a;
}


sub ask
{
    my ($c, $type, %o) = @_;
    my $a = answer(begin($c, $type, %o));

    keep_cookies($c, $a) if !$o{forget};

    return $a;
}


sub code { return ask(@_)->{code} }


sub control
{
    my ($query, $method) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.$at{ex1}",
                                       PeerPort => $port, Proto => 'tcp')
        or die "connect: $!";

    print $socket +($method || 'POST'), " /control?$query HTTP/1.1\r\n",
        "Host: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    local $/;
    my $text = <$socket>;

    return $text;
}


sub number
{
    my ($server, $field) = @_;

    return control("server=$server", 'GET') =~ /"$field":(\d+)/ ? $1 : undef;
}


sub wait_for
{
    my ($what) = @_;
    my $deadline = time() + $patience;

    while (!$what->()) {
        return 0 if time() > $deadline;
        sleep 0.02;
    }

    return 1;
}


sub header
{
    my ($a, $name) = @_;

    return $a->{headers} =~ /^\Q$name\E: ([^\r]*)/mi ? $1 : '';
}


# the life of a session, on both endpoints

for (['emsmdb', 'Connect', 'Execute', 'Disconnect'],
     ['nspi', 'Bind', 'QueryRows', 'Unbind'])
{
    my ($endpoint, $open, $do, $close) = @$_;
    my $c = client('ex1', endpoint => $endpoint);

    is(code($c, $open), 0, "$open");
    like($c->{jar}{MapiContext}, qr/^MAPIAAAAA/, "$open: form of MapiContext");
    like($c->{jar}{MapiSequence}, qr/^1-[A-Za-z0-9+\/]{6}==$/,
         "$open: form of MapiSequence");

    my %first = %{ $c->{jar} };

    is(code($c, $do), 0, $do);
    is($c->{jar}{MapiContext}, $first{MapiContext}, "$do: same context");
    like($c->{jar}{MapiSequence}, qr/^2-/, "$do: next sequence");

    is(code($c, $do, jar => { %first }, forget => 1), 15,
       "$do again with the previous sequence");
    is(code($c, $do, jar => { %{ $c->{jar} }, MapiSequence => '2-AAAAAA==' },
            forget => 1), 15, "$do with a sequence that never was");
    is(code($c, $do), 0, "$do: a refused sequence changed nothing");
    is(code($c, 'PING'), 0, 'PING');
    is(code($c, $do), 0, "$do after PING, which has no sequence");

    my $other = client('ex1', endpoint => $endpoint eq 'nspi' ? 'emsmdb'
                                                              : 'nspi',
                       jar => { %{ $c->{jar} } });
    is(code($other, 'PING'), 10, 'the other endpoint does not know it');

    is(code($c, $close), 0, $close);
    is(code($c, $do), 10, "$do after $close");
    is(code($c, 'PING'), 10, "PING after $close");
    is(code($c, $open), 10, "$open with the cookies of a dead context");

    $c->{jar} = {};
    is(code($c, $open), 0, "$open without them");
    %first = %{ $c->{jar} };
    is(code($c, $open), 0, "$open with those of a living one");
    is(code($c, $do, jar => { %first }, forget => 1), 10,
       'which is gone then');
    is(code($c, $do), 0, 'and the new one lives');
}

is(ask(client('ex1', endpoint => 'nspi'), 'Unbind')->{code}, 13,
   'Unbind without cookies');


# MapiContext as Exchange makes it

{
    my $c = client('ex1');

    ask($c, 'Connect');

    my $plain = decode_base64($c->{jar}{MapiContext});
    my ($head, $text, $id) = $plain =~ /^(.{7})(.*)(.{8})$/s;
    my ($key, $clear) = (0xa5, '');

    for my $byte (unpack 'C*', $text) {
        $clear .= chr($byte ^ $key);
        $key = $byte;
    }

    is(unpack('H*', $head), '3003c800000000', 'MapiContext: head');
    like($clear, qr/^EX1#\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ#\d+$/,
         'MapiContext: machine, start, number');

    my $forged = $head . $text . pack('V2', 1 << 30, 0);
    is(code($c, 'PING', jar => { MapiContext => encode_base64($forged, '') }),
       10, 'a number that never was');

    substr($forged, 20, 1) = chr(ord(substr $forged, 20, 1) ^ 1);
    is(code($c, 'PING', jar => { MapiContext => encode_base64($forged, '') }),
       10, 'another life of the same machine');

    for my $bad ('', 'x', 'MAPIAAAAA', '!!!!', 'A' x 600,
                 encode_base64($head, ''),
                 encode_base64("$head\0\0\0\0\0\0\0\0\0\0\0\0", ''))
    {
        my $code = code($c, 'Execute', forget => 1,
                        jar => { MapiContext => $bad, MapiSequence => '1-A' });

        is($code, $bad eq '' ? 13 : 6, "undecodable: \"$bad\"");
    }
}


# one at a time, and what an abort leaves

{
    my $c = client('alone', mailbox => $X);

    ask($c, 'Connect');
    control('server=ex7.corp.example&delay=60000');

    my $end = begin($c, 'Execute');
    until_is($end, qr/PROCESSING\r\n/);
    control('server=ex7.corp.example&delay=0');

    is(code($c, 'Execute', forget => 1), 15, 'parallel Execute');
    is(code($c, 'Disconnect', forget => 1), 15, 'parallel Disconnect');
    is(code($c, 'PING', forget => 1), 0, 'parallel PING is fine');
    is(ask($c, 'NotificationWait', forget => 1)->{code}, 0,
       'parallel NotificationWait is fine');

    close $end->{socket};

    ok(wait_for(sub { number('ex7.corp.example', 'aborted') == 1 }),
       'the abort is noticed');
    is(code($c, 'Execute'), 0, 'the request is sent again as it was');
    is(code($c, 'Execute'), 0, 'and the session goes on');

    # the new cookie may have been seen

    control('server=ex7.corp.example&delay=60000');
    $end = begin($c, 'Execute');
    until_is($end, qr/PROCESSING\r\n/);
    control('server=ex7.corp.example&delay=0');
    keep_cookies($c, { headers => $end->{text} });
    close $end->{socket};

    ok(wait_for(sub { number('ex7.corp.example', 'aborted') == 2 }),
       'another abort');
    is(code($c, 'Execute'), 0, 'the cookie of the broken answer will do');
    is(code($c, 'Disconnect'), 0, 'Disconnect');
    is(number('ex7.corp.example', 'sessions'), 0, 'no session is left');
}


# waits

{
    my $c = client('alone', mailbox => $X);

    ask($c, 'Connect');

    my $a = ask($c, 'NotificationWait');
    my @chunks = @{ $a->{chunks} };

    is(shift @chunks, "PROCESSING\r\n", 'first chunk');
    like(pop @chunks, qr/^DONE\r\nX-ElapsedTime:\ \d+\r\nX-StartTime:\ [^\r]+\r\n
                         \r\n\0{16}$/x, 'last chunk: nothing happened');
    ok(@chunks >= 2, 'chunks between: ' . @chunks);
    is_deeply([ grep { $_ ne "PENDING\r\n" } @chunks ], [],
              'all of them PENDING');
    is(header($a, 'X-PendingPeriod'), 50, 'X-PendingPeriod');

    $c = client('ex1');
    ask($c, 'Connect');

    my $end = begin($c, 'NotificationWait');
    until_is($end, qr/PENDING/);

    is(number('ex1.corp.example', 'waiting'), 1, 'a wait hangs');
    is(code($c, 'Execute'), 0, 'Execute while a wait hangs');

    control("server=ex1.corp.example&event=$B");
    control("server=ex1.corp.example&event=$A");

    like(answer($end)->{body}, qr/DONE.*\0{8}\x01\0{7}$/s,
         'an event ends it, whatever worker has it');

    my @ends = map { begin($c, 'NotificationWait') } 1 .. 8;
    until_is($_, qr/PROCESSING/) for @ends;
    is(code($c, 'Disconnect'), 0, 'Disconnect while waits hang');
    like(answer($_)->{body}, qr/DONE.*\0{16}$/s, 'the wait ends') for @ends;

    ask($c = client('ex1'), 'Connect');
    control("server=ex1.corp.example&event=$A");
    like(ask($c, 'NotificationWait')->{body}, qr/DONE.*\0{8}\x01\0{7}$/s,
         'an event before the wait ends it at once');

    is(code(client('ex1'), 'NotificationWait'), 13, 'no context, no wait');

    $end = begin($c, 'NotificationWait');
    until_is($end, qr/PROCESSING/);
    close $end->{socket};
    ok(wait_for(sub { number('ex1.corp.example', 'waiting') == 0 }),
       'an aborted wait is gone');
}


# idle time

{
    my $c = client('impatient', mailbox => $X);

    ask($c, 'Connect');
    is(ask($c, 'PING')->{headers} =~ /^X-ExpirationInfo: 500\r$/m, 1,
       'X-ExpirationInfo');
    is(code($c, 'NotificationWait'), 0, 'a wait longer than the idle time');
    is(code($c, 'Execute'), 0, 'keeps the context');
    ok(wait_for(sub { number('ex8.corp.example', 'sessions') == 0 }),
       'without requests it ends');
    is(code($c, 'Execute'), 10, 'and is not found then');
}


# exchange: any server serves, the context lives on the database's

{
    my $c = client('ex1', mailbox => $B);
    my $a = ask($c, 'Connect');

    is($a->{code}, 0, 'ex1 serves a mailbox of ex2');
    is(header($a, 'X-CalculatedBETarget'), 'ex2.corp.example',
       'X-CalculatedBETarget');
    is(header($a, 'X-FEServer'), 'EX1', 'X-FEServer');
    is(header($a, 'X-BEServer'), 'EX2', 'X-BEServer');
    is(header($a, 'X-DiagInfo'), 'EX2', 'X-DiagInfo');

    $c->{host} = 'ex2';
    $a = ask($c, 'Execute');
    is($a->{code}, 0, 'its context is known to ex2');
    is(header($a, 'X-CalculatedBETarget'), 'ex2.corp.example',
       'X-CalculatedBETarget of ex2');
    is(header($a, 'X-FEServer'), 'EX2', 'X-FEServer of ex2');

    my $hops = number('ex1.corp.example', 'second_hops');
    ask(client('ex1', mailbox => $A), 'Connect');
    ask(client('ex1', query => 'smtpAddress=a@corp.example'), 'Connect');
    is(number('ex1.corp.example', 'second_hops'), $hops, 'no second hop');
    ask(client('ex1', query => 'smtpAddress=b@corp.example'), 'Connect');
    is(number('ex1.corp.example', 'second_hops'), $hops + 1, 'second hop');

    $c = client('ex1', mailbox => $X);
    $a = ask($c, 'Connect');
    is(header($a, 'X-CalculatedBETarget'), 'ex1.corp.example',
       'a mailbox it does not know is its own');
    $c->{host} = 'ex2';
    is(code($c, 'Execute'), 0, 'and its context is served elsewhere too');
}


# owner: only its own, so that nothing is misrouted unnoticed

{
    my $file = run_folder() . '/owners.csv';

    spew($file, "Name,Fqdn\nOWN1,own1.corp.example\n"
                . "OWN2,own2.corp.example\n");

    my ($code, undef, $err) = mapi_directory('-d', $directory, 'import',
                                             '--servers', $file);
    is($code, 0, 'owners in the directory') or diag $err;

    move($_->[0], $_->[1]) for [ 'DB1', 'OWN1' ], [ 'DB2', 'OWN2' ];

    my $c = client('own1', user => 'alice@corp.example');

    is(code($c, 'Connect'), 0, 'own1 has it');
    is(code(client('own2', user => 'alice@corp.example'), 'Connect'), 10,
       'own2 has not');
    is(code(client('own1', user => 'a', mailbox => $X), 'Connect'), 10,
       'nobody has');
    is(code({ %$c, host => 'own2', mailbox => $B }, 'Execute', forget => 1),
       10, 'a context of another server');
    is(code({ %$c, user => 'bob' }, 'Execute', forget => 1), 10,
       'a context of another user');
    is(code($c, 'Execute'), 0, 'a context of its own');
    is(code(client('own1', user => 'a'), 'PING'), 13, 'PING without context');

    $c = client('own1', user => 'a@corp.example',
                query => 'useMailboxOfAuthenticatedUser=true');
    is(code($c, 'Connect'), 0, "the caller's own mailbox");
    is(code({ %$c, host => 'own2', jar => {} }, 'Connect'), 10,
       'which is not on own2');
}


# a move: the next request knows

sub move
{
    my ($database, $server) = @_;
    my ($code, undef, $err) = mapi_directory('-d', $directory, 'move',
                                             '--force', $database, $server);
    is($code, 0, "$database to $server") or diag $err;
}

{
    move('DB1', 'EX1');

    my $c = client('ex1');

    is(code($c, 'Connect'), 0, 'Connect before the move');
    move('DB1', 'EX2');

    my $a = ask($c, 'Execute', forget => 1);
    is($a->{code}, 10, 'the context is not where the database is');
    like($a->{body}, qr/different BE machine/, 'and the body says so');
    is(header($a, 'X-CalculatedBETarget'), 'ex2.corp.example',
       'the header says where');

    $c->{jar} = {};
    is(code($c, 'Connect'), 0, 'Connect after the move');
    $c->{host} = 'ex2';
    is(code($c, 'Execute'), 0, 'a context on the other server');
}


# no answer at all

{
    my $c = client('ex1');

    control('server=ex1.corp.example&silent=on');

    my $end = begin($c, 'Connect');
    ok(wait_for(sub { number('ex1.corp.example', 'waiting') == 1 }),
       'a silent server');
    is(sysread_now($end->{socket}), undef, 'says nothing');
    close $end->{socket};
    ok(wait_for(sub { number('ex1.corp.example', 'waiting') == 0 }),
       'until the client goes');

    control('server=ex1.corp.example&reset&close=on');
    is(answer(begin($c, 'Connect'))->{status}, 0, 'closed without an answer');
    control('server=ex1.corp.example&reset');
    is(code($c, 'Connect'), 0, 'and back again');
}


sub sysread_now
{
    my ($socket) = @_;

    return IO::Select->new($socket)->can_read(0) ? 'something' : undef;
}


# a full zone forgets the longest unused context, never a request

{
    my @clients = map { client('impatient', mailbox => $X) } 1 .. 300;
    my %codes;

    $codes{ code($_, 'Connect') }++ for @clients;
    is_deeply(\%codes, { 0 => 300 }, '300 contexts in 64k');
    is(code($clients[-1], 'Execute'), 0, 'the last one lives');
}


# reload and shutdown

{
    my $c = client('ex1');

    ask($c, 'Connect');

    my $end = begin($c, 'NotificationWait');
    until_is($end, qr/PROCESSING/);

    reload_nginx($nginx);
    like(answer($end)->{body}, qr/DONE.*\0{16}$/s,
         'a reload ends a hanging wait in peace');
    is(code($c, 'Execute'), 0, 'the context survives it');

    $end = begin($c, 'NotificationWait');
    until_is($end, qr/PROCESSING/);
    control('server=EX2&health=silent');

    my $health = IO::Socket::INET->new(PeerAddr => "127.0.0.$at{ex2}",
                                       PeerPort => $port, Proto => 'tcp');
    print $health "GET /mapi/healthcheck.htm HTTP/1.1\r\nHost: x\r\n\r\n";
    ok(wait_for(sub { number('EX2', 'waiting') == 1 }), 'a silent page');

    signal_nginx($nginx, 'QUIT');
    like(answer($end)->{body}, qr/DONE.*\0{16}$/s, 'so does the end');

    close $_ for $end->{socket}, $health;
    stop_nginx($nginx);
}

done_testing();
