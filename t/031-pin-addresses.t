# A server whose name has several addresses: a logon stays at one of them.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my ($one, $two, $three) = (ntlm_message(1), ntlm_message(2),
                           ntlm_message(3, 'CONTOSO', 'otto'));
my $hosts = run_folder() . '/hosts';
my ($wrapper) = glob('/usr/lib/*/libnss_wrapper.so')
    or die "libnss-wrapper is missing\n";

# no name server here: the C library is told

spew($hosts, join '', map { "127.0.0.1$_ owa.contoso.com\n" } 1 .. 3);


# whoever got the request

sub via { return (carry(\@servers, @_))[0] }


for my $case ([ 'mapi', 'mapi;', 1 ], [ 'zone', "zone z 256k;\nmapi;", 1 ],
              [ 'owner', 'mapi owner;', 1 ], [ 'other', 'mapi_pin on;', 0 ],
              [ 'zoned', "zone z 256k;\nmapi_pin on;\nleast_conn;", 0 ])
{
    my ($name, $lines, $mapi) = @$case;
    my $port = free_port();
    my $front;

    {
        local $ENV{LD_PRELOAD} = join ' ', grep { defined && length }
                                 $ENV{LD_PRELOAD}, $wrapper;
        local $ENV{NSS_WRAPPER_HOSTS} = $hosts;

        # sanitizers cannot bear it
        local $ENV{NSS_WRAPPER_DISABLE_DEEPBIND} = 1;

        $front = start_nginx($name, road_http(port => $port,
            backend => $backend, alive => [], mapi => $mapi ? 'on' : 'off',
            upstream => "$lines\nserver owa.contoso.com:$backend;\n"
                        . "keepalive 8;\n"));
    }

    # others take the addresses in turn, and leave connections in the pool

    my @others = map { connect_to($port) } 1 .. 4;
    my @pool;

    for my $other (@others) {
        push @pool, via($other, post(mailbox_id(7)), answer(200), @pool);
    }

    for my $round (1 .. 3) {
        my $otto = connect_to($port);
        my $mine = via($otto, post(mailbox_id(1), "Authorization: NTLM $one"),
                       answer(401, "WWW-Authenticate: NTLM $two"), @pool);

        ok(!(grep { $_ == $mine } @pool), "$name: a logon on a new connection");
        is(via($otto, post(mailbox_id(1), "Authorization: NTLM $three"),
               answer(200), $mine, @pool), $mine, '... ends at its address');

        for (1 .. 4) {
            is(via($otto, post(mailbox_id($_)), answer(200), $mine, @pool),
               $mine, '... and stays there');
            my $peer = via($others[$_ - 1], post(mailbox_id(1)),
                           answer(200), $mine, @pool);
            isnt($peer, $mine, '... for itself');
            push @pool, $peer if !grep { $_ == $peer } @pool;
        }

        $otto->close;
        ok($mine->at_end(5), '... until its client goes');
        $mine->close;
    }

    $_->close for @others, @pool;
    stop_nginx($front);
}

done_testing();
