# What was once wrong with the status, and what a zone of another build does.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $directory = make_directory('review', directory_csv(mounted => [ 1, 2, 3 ]));
my $port;


sub front_end
{
    my ($name, %o) = @_;

    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
        alive => [], http => "mapi_zone mapi 1m;\n"
                             . "mapi_directory $directory;\n",
        server => 'location /mapi-status { mapi_status; '
                  . 'mapi_debug_allow 127.0.0.0/8; }', %o));
}


sub status
{
    return talk($port, request('GET', "/mapi-status$_[0]",
                               'Connection: close'))->{body};
}


sub api { return JSON::PP->new->utf8->decode(status('/api')) }

sub server_of { return api()->{upstreams}[0]{servers}[$_[0] - 1] }


# every mode has its word

for my $mode ('router', 'owner', 'direct') {
    my $front = front_end("mode-$mode", upstream => "mapi "
                          . ($mode eq 'router' ? '' : $mode) . ";\n%SERVERS%");

    is(api()->{upstreams}[0]{mode}, $mode, "a block in $mode mode");
    stop_nginx($front);
}


# a per cent sign is not lost on its way to the page

{
    my $front = front_end('percent');
    my $client = connect_to($port);

    carry([ $servers[0] ], $client, post(mailbox_id(1)),
          answer(200, 'X-CalculatedBETarget: ex1.contoso.com'));
    $client->close;

    my $html = status('');

    like($html, qr/\(100&thinsp;% straight\)/, 'a share is in per cent');
    like($html, qr/\{border-collapse:collapse;width:100%\}/,
         '... and so is a width');
    stop_nginx($front);
}


# A server that cannot be reached has not answered, whatever the one before it
# has said.  Nobody connects to a group of hosts: that fails at once.

{
    my $front = front_end('unreached', upstream => "mapi direct;\n"
        . "server 127.0.0.11:%PORT%;\nserver 224.0.0.1:%PORT%;\n");
    my $client = connect_to($port);
    my ($peer, $answer) = carry([ $servers[0] ], $client, post(mailbox_id(1)),
        answer(555, 'X-DBMountedOnServer: 00000001-dddd-4000-8000-000000000000'
                    . '~224.0.0.1~1'));

    is($answer->{status}, 503, 'the other server cannot be reached');
    is_deeply([ server_of(1)->{answers}{'5xx'}, server_of(1)->{unreached} ],
              [ 1, 0 ], '... the first one has answered');
    is_deeply([ server_of(2)->{answers}{'5xx'}, server_of(2)->{unreached} ],
              [ 0, 1 ], '... the second one has not');
    $_->close for $client, $peer;
    stop_nginx($front);
}


# a reload that fails is no configuration

{
    my $front = front_end('failed');
    my $conf = slurp($front->{conf});

    is(api()->{cycle}, 1, 'the first configuration');
    spew($front->{conf}, $conf =~ s/(listen 127\.0\.0\.1:$port;)/$1
                                    listen 127.0.0.13:$backend;/r);
    signal_nginx($front, 'HUP');
    wait_for { log_of($front) =~ /still could not bind\(\)/ };

    my $api = api();

    is_deeply([ $api->{cycle}, map { $_->{cycle} } @{ $api->{workers} } ],
              [ 1, 1 ], 'after a reload that has failed no worker leaves');

    spew($front->{conf}, $conf);
    reload_nginx($front);
    wait_for { @{ api()->{workers} } == 1 };
    $api = api();
    is_deeply([ $api->{cycle}, map { $_->{cycle} } @{ $api->{workers} } ],
              [ 2, 2 ], '... and the next one is the second');
    allow_log(qr/\[emerg\].*(?:bind\(\) to|still could not bind)/);
    stop_nginx($front);
}


# The zone of another build.  Nothing of nginx leads there easily, so its stamp
# is written over, as a debugger would, in the memory that all processes share.

sub memory
{
    my ($front, $at, $bytes) = @_;
    my $pid = $front->{pid};

    open my $file, '+<:raw', "/proc/$pid/mem" or die "memory: $!";
    sysseek $file, $at, 0 or die "seek: $!";

    if (defined $bytes) {
        syswrite($file, $bytes) == 8 or die "write: $!";

    } else {
        sysread($file, $bytes, 8) == 8 or die "read: $!";
    }

    return $bytes;
}

SKIP: {
    no warnings 'portable';

    my $front = front_end('zone');
    my ($stamp, $at) = log_of($front)
        =~ /mapi: zone "mapi" has layout ([0-9a-f]{16}) at ([0-9A-F]+)/
        or skip 'nginx is built without --with-debug', 7;

    $at = oct "0x$at";

    my $own = memory($front, $at);

    is(sprintf('%016x', unpack 'Q', $own), $stamp,
       'the first thing in a zone is its layout');

    is(api()->{cycle}, 1, '... of which this is the first configuration');
    reload_nginx($front);
    wait_for { api()->{cycle} == 2 };
    is(memory($front, $at), $own, '... it is kept by a reload');

    memory($front, $at, pack 'Q', 1 + unpack 'Q', $own);
    signal_nginx($front, 'HUP');
    wait_for { log_of($front) =~ /\[emerg\].*another build/ };
    like(log_of($front), qr/\[emerg\].*mapi: zone "mapi" was made by another build of this module, whose data this one cannot read: restart nginx, or reload it with another name in "mapi_zone"/,
         'a zone of another layout is not adopted');

    my $client = connect_to($port);
    my ($peer, $answer) = carry([ @servers[0, 2] ], $client,
                                post(mailbox_id(3)), answer(200));

    is($answer->{status}, 200, '... the old workers go on');
    $_->close for $client, $peer;
    is(api()->{cycle}, 2, '... with their zone');

    # what the message says helps

    my $conf = slurp($front->{conf});

    spew($front->{conf}, $conf =~ s/mapi_zone mapi /mapi_zone other /r);
    reload_nginx($front);
    wait_for { api()->{cycle} == 1 };
    is(@{ api()->{workers} }, 1, 'another name makes another zone');

    allow_log(qr/\[emerg\].*was made by another build/);
    stop_nginx($front);
}

done_testing();
