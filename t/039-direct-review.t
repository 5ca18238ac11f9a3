# What was once wrong with "mapi direct".

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $directory = make_directory('direct', directory_csv(mounted => [ 1, 2, 1 ]));
my $port = free_port();
my $front = start_nginx('direct-review', road_http(port => $port,
    backend => $backend, alive => [],
    upstream => "mapi direct;\n%SERVERS%keepalive 8;\n",
    http => "mapi_zone mapi 1m;\nmapi_directory $directory;\n"));


# A refusal that makes its connection a private one: it leads to who has
# refused, not to where the request goes next.

for my $header ('Persistent-Auth: true',
                'WWW-Authenticate: NTLM ' . ntlm_message(2))
{
    my $client = connect_to($port);
    my $name = $header =~ s/[: ].*//r;
    my @peers;

    $client->send(post(mailbox_id(1)));
    push @peers, $servers[0]->accept;
    $peers[0]->read_request;
    $peers[0]->send(answer(555, $header, 'X-DBMountedOnServer: '
        . '00000001-dddd-4000-8000-000000000000~ex2.contoso.com~1'));

    my $end = speaker($peers[0], $servers[1]);

    is($end, $servers[1], "$name: the server that is named gets the request");
    push @peers, $end == $servers[1] ? $end->accept : $end;
    $peers[1]->read_request;
    $peers[1]->send(answer(200));

    my $answer = $client->read_answer;

    is($answer->{status}, 200, '... and answers it');
    is(header($answer, 'X-Target'), 'ex2.contoso.com', '... as who it is');

    # and what goes to the first one is not on the other one's connection

    $client->send(post(mailbox_id(3)));
    $end = speaker(@peers, @servers[0, 1]);
    $end = $end->accept if grep { $_ == $end } @servers;
    like($end->{socket}->sockhost, qr/11$/, '... the other one gets its own');
    $end->read_request;
    $end->send(answer(200));
    is($client->read_answer->{status}, 200, '... and answers');
    $_->close for $client, @peers, $end;

    # what was learned goes, by a refusal without a name

    $client = connect_to($port);
    my ($peer) = carry([ @servers[0, 1] ], $client, post(mailbox_id(1)),
                       answer(555));
    $_->close for $client, $peer;
}

stop_nginx($front);

done_testing();
