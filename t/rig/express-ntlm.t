# Another server that binds NTLM to its connection, express-ntlm, and curl,
# which begins with type 1 at once and keeps quiet once it is logged on.

use strict;
use warnings;

use File::Basename qw( dirname );
use Test::More;
use MapiRig;
use MapiRigServers;

my $program = dirname(__FILE__) . '/express-ntlm/server.js';
my $modules = "$ENV{MAPI_ROOT}/build/express-ntlm";
my $rig;


sub start
{
    my ($name, %o) = @_;

    $rig = start_rig($name, %o, servers => sub {
        my ($name, $address, $port) = @_;
        my $log = run_folder() . "/$name.log";
        my $server = start_service($name, $address, $port, {}, 'node',
                                   $program, $modules, $address, $port,
                                   "$name.contoso.com", $log);

        $server->{access} = $log;

        return $server;
    });
}


# a curl of this user's that asks for these mailboxes on one connection

sub asks
{
    my ($user, @mailboxes) = @_;

    return [ {}, '--ntlm', '-u', "CONTOSO\\$user:pw-$user", '-d', 'body',
             map { url($rig, $_) } @mailboxes ];
}


sub all_seen
{
    return join ', ', map { seen($_->{status}, $_->{text}) } @_;
}


sub clients
{
    return scalar keys %{{ map { $_->{client} => 1 } @_ }};
}


# what would happen without the module

start('stock', location => '',
      upstream => "server 127.0.0.11:%PORT%;\nkeepalive 4;");

{
    my ($answers) = curls(asks('otto', 1));

    is(all_seen($answers->[-1]), '200 otto ex1', 'stock nginx: otto logs on');
    is(stranger($rig, 1), '200 otto ex1',
       'stock nginx: a stranger is let in as otto: this is the danger');
}

stop_rig($rig);


for my $case ([ 'router', 1, "mapi;\n%SERVERS%keepalive 8;", 1 ],
              [ 'owner', 2, "mapi owner;\n%SERVERS%keepalive 8;", 1 ],
              [ 'zone', 1, "zone z 256k;\nmapi;\n%SERVERS%keepalive 2;", 2 ])
{
    my ($what, $home, $upstream, $workers) = @$case;

    start($what, location => 'mapi on;', upstream => $upstream,
          workers => $workers);

    my ($answers) = curls(asks('otto', 1, 1, 1, 2, 2, 1));

    is(all_seen(@$answers),
       join(', ', map { "200 otto ex$_" } 1, 1, 1, $home, $home, 1),
       "$what: otto logs on and is known from then on");
    is(clients(@$answers), 1, '... on one connection');
    is($answers->[3]{route}, 'pinned', '... the row says why')
        if $home == 1;
    is(stranger($rig, $_), 401, "... a stranger is not known on ex$_")
        for 1, 2;

    # six at a time, each with 20 requests, strangers in between

    my @names = map { "user$_" } 1 .. 6;
    my @some = map { [ {}, '-d', 'body', map { url($rig, $_) } (1, 2) x 10 ] }
               1 .. 2;
    my @results = curls((by_chance {
        map { asks($_, map { 1 + int(rand(2)) } 1 .. 20) } @names
    }), @some);

    for my $name (@names, 'stranger', 'stranger') {
        my $answers = shift @results;
        my @wrong = grep { $name eq 'stranger' ? $_ ne '401'
                                               : !/^200 \Q$name\E ex\d$/ }
                    map { seen($_->{status}, $_->{text}) } @$answers;

        is(scalar @$answers, 20, "$what: $name has 20 answers");
        is("@wrong", '', '... as himself');
    }

    ends_clean($rig, $what);
    is(logons($rig, 'otto'), $home == 1 ? '1 0' : '1 1',
       "$what: otto logged on once where he must");
}

done_testing();
