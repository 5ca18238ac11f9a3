# Counters where processes of other users are hidden: in a /proc of its own, since
# that of the machine is everybody's.

BEGIN {
    if (!$ENV{MAPI_OWN_MOUNTS}) {
        my $hide = 'mount -t proc -o hidepid=2 proc /proc';

        if (system("unshare -m $hide 2>/dev/null") != 0) {
            print "1..0 # SKIP mounts of its own need root\n";
            exit 0;
        }

        $ENV{MAPI_OWN_MOUNTS} = 1;
        exec 'unshare', '-m', 'sh', '-c', "$hide && exec \"\$\@\"", 'sh',
             $^X, $0, @ARGV or die "unshare: $!\n";
    }
}

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $server = listen_on('127.0.0.11', $backend);
my $port = free_port();
my $front = start_nginx('hidden', road_http(port => $port,
    backend => $backend, alive => [], hosts => [ 11 ],
    http => 'mapi_zone mapi 1m;',
    server => 'location /mapi-status { mapi_status; '
              . 'mapi_debug_allow 127.0.0.0/8; }'));


sub api
{
    return JSON::PP->new->utf8->decode(talk($port, request('GET',
        '/mapi-status/api', 'Connection: close'))->{body});
}


# the new workers are another user's, and see nothing of the old ones

my $client = connect_to($port);

$client->send(post(mailbox_id(1)));
my $peer = $server->accept;
$peer->read_request;
is(api()->{upstreams}[0]{servers}[0]{requests}, 1, 'a request in flight');

my $conf = slurp($front->{conf});

spew($front->{conf}, $conf =~ s/^user .*;/user daemon daemon;/mr);
reload_nginx($front);
wait_for { api()->{cycle} == 2 };
wait_for { grep { $_->{cycle} == 2 } @{ api()->{workers} } };

my $api = api();

is(@{ $api->{workers} }, 2, '... its worker, which cannot be seen, lives');
is($api->{upstreams}[0]{servers}[0]{requests}, 1, '... and has it');

$peer->send(answer(200));
is($client->read_answer->{status}, 200, '... until it is answered');
$_->close for $client, $peer;
wait_for { @{ api()->{workers} } == 1 };
$api = api();
is_deeply([ map { $_->{requests}, $_->{answers}{'2xx'} }
            $api->{upstreams}[0]{servers}[0] ], [ 0, 1 ],
          '... and counted once');
stop_nginx($front);

done_testing();
