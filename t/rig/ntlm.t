# Two Apaches that bind an NTLM logon to its connection, as IIS does, and
# python3-requests-ntlm as Outlook: who logged on through the front end is
# himself and nobody else is.

use strict;
use warnings;

use File::Basename qw( dirname );
use List::Util qw( shuffle );
use Test::More;
use MapiRig;
use MapiRigServers;
use MapiRoad;

my @names = map { "user$_" } 1 .. 12;
my $users = rig_users('otto', 'anna', @names);
my $client = rig_client(dirname(__FILE__) . '/ntlm-client.py');
my $rig;


sub start
{
    my ($name, %o) = @_;

    $rig = start_rig($name, %o, servers => sub {
        start_apache(@_, users => $users, mechanisms => [ 'ntlmssp' ],
                     keepalive => $o{keepalive},
                     tls => ($o{scheme} || '') eq 'https');
    });
}


# a request of the client of this name for this mailbox, a logon if it comes
# with a user

sub asks
{
    my ($name, $mailbox, $user, $password) = @_;

    return {
        client => $name, url => url($rig, $mailbox),
        defined $user ? (user => "CONTOSO\\$user",
                         password => $password || "pw-$user") : (),
    };
}


sub seen_by
{
    my ($answer) = @_;

    return seen($answer->{status}, $answer->{text});
}


# the server's name for the connection it is asked on

sub place
{
    my ($answer) = @_;
    my (undef, $port, $name) = split ' ', $answer->{text};

    return "$name:$port";
}


# What would happen without the module: a stock upstream that pools.  If this
# part fails, the others prove nothing.

start('stock', location => '',
      upstream => "server 127.0.0.11:%PORT%;\nkeepalive 4;");

{
    my ($answer) = $client->run(asks('a', 1, 'otto'));

    is(seen_by($answer), '200 otto ex1', 'stock nginx: otto logs on');

    is(stranger($rig, 1), '200 otto ex1',
       'stock nginx: a stranger is let in as otto: this is the danger');

    $client->run({ client => 'a', close => 1 });
    wait_for { mixed($rig) };
    pass('... the server saw two clients on one connection');
    isnt(scalar live_logons($rig), 0, '... which outlives its client');
}

stop_rig($rig);


# router mode: one logon a client connection, whichever mailboxes it asks for

start('router', location => 'mapi on;',
      upstream => "mapi;\n%SERVERS%keepalive 8;");

{
    my ($answer) = $client->run(asks('a', 1, 'otto'));
    my $place = place($answer);
    my $connection = $answer->{headers}{'x-client'};

    is(seen_by($answer), '200 otto ex1', 'router: otto logs on');
    is($answer->{sent}, 3, '... with the handshake of NTLM');

    for (1 .. 3) {
        ($answer) = $client->run(asks('a', 1));
        is(seen_by($answer), '200 otto ex1', 'router: he is known since');
        is(place($answer), $place, '... on the same connection of the server');
        is($answer->{headers}{'x-client'}, $connection, '... and of his own');
        is(stranger($rig, 1), 401, '... a stranger is not');
    }

    ($answer) = $client->run(asks('a', 2));
    is(seen_by($answer), '200 otto ex1',
       'router: another mailbox is asked for where he is logged on');
    is(place($answer), $place, '... on the same connection');
    is($answer->{headers}{'x-route'}, 'pinned', '... and the row says so');

    ($answer) = $client->run(asks('a', 2, 'otto'));
    is($answer->{sent}, 1, '... so that no second logon is needed');
    is(stranger($rig, 2), 401, '... a stranger is not known there either');

    # from the second server to the first, at the same time as somebody else

    my @answers = $client->run(asks('b', 2, 'anna'), asks('b', 1),
                               asks('a', 1), asks('b', 2), asks('a', 2));

    is(seen_by($_), '200 anna ex2', 'router: anna is anna on the second server')
        for @answers[0, 1, 3];
    is(seen_by($_), '200 otto ex1', '... otto is otto') for @answers[2, 4];

    # a wrong password, then the right one

    @answers = $client->run(asks('c', 1), asks('c', 1, 'user1', 'wrong'),
                            asks('c', 1), asks('c', 1, 'user1'),
                            asks('c', 1));

    is(seen_by($answers[0]), '401', 'router: nobody is known before his logon');
    is(seen_by($answers[1]), '401', '... nor by a wrong password');
    is(seen_by($answers[2]), '401', '... nor after it');
    is(seen_by($_), '200 user1 ex1', '... but by the right one')
        for @answers[3, 4];
    is(scalar(keys %{{ map { $_->{headers}{'x-client'} => 1 } @answers }}), 1,
       '... all on one connection of the client');

    $client->run(map { { client => $_, close => 1 } } qw( a b c ));
    ends_clean($rig, 'router');
    is(logons($rig, 'otto'), '1 0', 'router: one logon of otto');
    is(logons($rig, 'anna'), '0 1', '... and one of anna');
}


# owner mode: one logon a server

start('owner', location => 'mapi on;',
      upstream => "mapi owner;\n%SERVERS%keepalive 8;");

{
    my ($one) = $client->run(asks('a', 1, 'otto'));

    is(seen_by($one), '200 otto ex1', 'owner: otto logs on');

    my ($none) = $client->run(asks('a', 2));

    is(seen_by($none), '401', 'owner: not yet on the second server');

    my ($two) = $client->run(asks('a', 2, 'otto'));

    is(seen_by($two), '200 otto ex2', '... until he logs on there');

    for (1 .. 3) {
        my @answers = $client->run(asks('a', 1), asks('a', 2));

        is(seen_by($answers[0]), '200 otto ex1', 'owner: he is known on one');
        is(place($answers[0]), place($one), '... by his connection');
        is(seen_by($answers[1]), '200 otto ex2', '... known on the other');
        is(place($answers[1]), place($two), '... by his connection');
        is(stranger($rig, $_), 401, '... a stranger is not') for 1, 2;
    }

    $client->run({ client => 'a', close => 1 });
    ends_clean($rig, 'owner');
    is(logons($rig, 'otto'), '1 1', 'owner: one logon a server');
}


# a logon that the server ended while nothing was asked: the client does not
# know, and learns it by a new connection

start('idle', location => 'mapi on;', keepalive => 1,
      upstream => "mapi;\n%SERVERS%keepalive 8;");

{
    my ($answer) = $client->run(asks('a', 1, 'otto'));
    my $connection = $answer->{headers}{'x-client'};

    is(seen_by($answer), '200 otto ex1', 'idle: otto logs on');
    wait_for { !live_logons($rig) };

    ($answer) = $client->run(asks('a', 1));
    is(seen_by($answer), '401', '... is not known after the server closed');
    is($answer->{headers}{'x-client'}, $connection, '... on his connection');
    is($answer->{headers}{connection}, 'close', '... which is closed then');

    my @answers = $client->run(asks('a', 1, 'otto'), asks('a', 1));

    is(seen_by($_), '200 otto ex1', '... and he logs on by another')
        for @answers;
    isnt($answers[0]{headers}{'x-client'}, $connection, '... indeed');

    $client->run({ client => 'a', close => 1 });
    ends_clean($rig, 'idle');
}


# many at a time, by several workers, with strangers in between

for my $case (
    [ 'router', 'mapi on;', "mapi;\n%SERVERS%keepalive 2;" ],
    [ 'owner', 'mapi on;', "mapi owner;\n%SERVERS%keepalive 2;" ],
    [ 'zone', 'mapi on;', "zone z 256k;\nmapi;\n%SERVERS%keepalive 8;",
      workers => 2 ],
    [ 'tls', 'mapi on;', "mapi;\n%SERVERS%keepalive 8;", scheme => 'https' ],
    [ 'round-robin', '', "%SERVERS%mapi_pin on;\nkeepalive 8;" ],
    [ 'random', '', "random;\n%SERVERS%mapi_pin on;\nkeepalive 8;" ],
    [ 'least-conn', '', "least_conn;\n%SERVERS%mapi_pin on;", workers => 2 ])
{
    my ($what, $location, $upstream, @more) = @$case;
    my (%wrong, @strangers);

    start("many-$what", location => $location, upstream => $upstream, @more);

    for my $round (1 .. 3) {

        # each logs on where it must, asks for mailboxes of both servers, and
        # leaves some time; nobody's requests are in step with another's

        my @requests = by_chance { shuffle(
            (map { my $name = $_;
                   map { asks($name, 1 + int(rand(2)), $name) } 1 .. 4 }
             @names),
            (map { asks("stranger$_", $_) } 1 .. 2, 1 .. 2, 1 .. 2)) };

        my @answers = $client->run(@requests);

        for my $i (0 .. $#requests) {
            my $name = $requests[$i]{client};
            my $got = seen_by($answers[$i]);

            $wrong{"$name: $got"}++
                if $name =~ /stranger/ ? $got ne '401'
                                       : $got !~ /^200 \Q$name\E ex\d$/;
        }

        my @leave = by_chance { shuffle(@names) };

        $client->run(map { { client => $_, close => 1 } } @leave[0 .. 5]);
        push @strangers, map { stranger($rig, $_) } 1, 2;
    }

    is(join(', ', map { "$wrong{$_} times $_" } sort keys %wrong), '',
       "many, $what: everybody is himself, nobody else is let in");
    is("@strangers", '401 401 401 401 401 401', '... and no stranger between');

    $client->run(map { { client => $_, close => 1 } }
                 @names, 'stranger1', 'stranger2');
    ends_clean($rig, "many, $what");
}

$client->finish;

done_testing();
