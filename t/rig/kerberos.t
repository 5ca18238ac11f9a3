# Negotiate, by a local KDC and by NTLM inside SPNEGO: two Apaches that bind a
# logon to its connection, curl as the client.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRigServers;

my @kerberos = qw( otto anna karl kurt );
my @ntlm = qw( nina nils nora nele );
my $host = 'mail.contoso.com';
my $realm = start_realm(services => [ "HTTP/$host" ], users => \@kerberos);
my $users = rig_users(@ntlm);
my ($rig, %env);

$env{$_} = ticket($realm, $_) for @kerberos;

# GSSAPI takes NTLM where there is no ticket

$env{$_} = { %{ $realm->{env} }, %{ rig_environment() },
             KRB5CCNAME => 'FILE:' . run_folder() . '/none',
             NTLM_USER_FILE => rig_users($_) } for @ntlm;

$env{stranger} = {};


sub start
{
    my ($name, %o) = @_;

    $rig = start_rig($name, %o, servers => sub {
        start_apache(@_, mechanisms => [ 'krb5', 'ntlmssp' ], users => $users,
                     persistent => $o{persistent},
                     env => { %{ $realm->{env} },
                              KRB5_KTNAME => $realm->{keytab} });
    });
}


# a curl of this user's that asks for these mailboxes on one connection

sub asks
{
    my ($user, @mailboxes) = @_;

    return [ $env{$user}, '--resolve', "$host:$rig->{port}:127.0.0.1",
             $user eq 'stranger' ? () : ('--negotiate', '-u', ':'),
             '-d', 'body', map { url($rig, $_, $host) } @mailboxes ];
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

for my $user ('otto', 'nina') {
    start("stock-$user", location => '',
          upstream => "server 127.0.0.11:%PORT%;\nkeepalive 4;");

    my ($answers) = curls(asks($user, 1));

    is(all_seen($answers->[-1]), "200 $user ex1",
       "stock nginx: $user logs on");
    is(stranger($rig, 1), "200 $user ex1",
       "stock nginx: a stranger is let in as $user: this is the danger");
    stop_rig($rig);
}


# Apache says nothing of what a logon is bound to, and curl sends a ticket with
# every request then; IIS says "Persistent-Auth: true", and it sends one.

for my $case ([ 'router', "mapi;\n%SERVERS%keepalive 8;", 1, 0, 1 ],
              [ 'router-persistent', "mapi;\n%SERVERS%keepalive 8;", 1, 1, 1 ],
              [ 'owner', "mapi owner;\n%SERVERS%keepalive 8;", 2, 0, 1 ],
              [ 'owner-persistent', "mapi owner;\n%SERVERS%keepalive 8;",
                2, 1, 1 ],
              [ 'zone', "zone z 256k;\nmapi;\n%SERVERS%keepalive 2;",
                1, 1, 2 ])
{
    my ($what, $upstream, $home, $persistent, $workers) = @$case;

    start($what, location => 'mapi on;', upstream => $upstream,
          workers => $workers, persistent => $persistent);

    my ($answers) = curls(asks('otto', 1, 1, 1, 2, 2, 1));
    my $second = $persistent ? $home : 2;

    is(all_seen(@$answers),
       join(', ', map { "200 otto ex$_" } 1, 1, 1, $second, $second, 1),
       "$what: Kerberos: otto is otto");
    is(clients(@$answers), 1, '... on one connection');
    is(stranger($rig, $_), 401, "... a stranger is not known on ex$_")
        for 1, 2;

    ($answers) = curls(asks('nina', 1, 1, 1, 2, 2, 1));
    is(all_seen(@$answers),
       join(', ', map { "200 nina ex$_" } 1, 1, 1, $home, $home, 1),
       "$what: NTLM in SPNEGO: nina is nina");
    is(clients(@$answers), 1, '... on one connection');
    is(stranger($rig, $_), 401, "... a stranger is not known on ex$_")
        for 1, 2;

    # all at a time, each with 20 requests, strangers in between

    my @names = (@kerberos[1 .. 3], @ntlm[1 .. 3], 'stranger', 'stranger');
    my @results = curls(by_chance {
        map { asks($_, map { 1 + int(rand(2)) } 1 .. 20) } @names
    });

    for my $name (@names) {
        my $answers = shift @results;
        my @wrong = grep { $name eq 'stranger' ? $_ ne '401'
                                               : !/^200 \Q$name\E ex\d$/ }
                    map { seen($_->{status}, $_->{text}) } @$answers;

        is(scalar @$answers, 20, "$what: $name has 20 answers");
        is("@wrong", '', '... as himself');
    }

    # no ticket at all

    my $env = $env{stranger};
    my ($bad) = curls([ $env, '-d', 'body',
                        '-H', 'Authorization: Negotiate YIIC5wYGKwYBBQUCoIIC',
                        url($rig, 1), url($rig, 1) ]);

    is(all_seen(@$bad), '401, 401', "$what: a made-up ticket is refused");

    ends_clean($rig, $what);
    is(logons($rig, 'otto'),
       !$persistent ? '4 2' : $home == 1 ? '1 0' : '1 1',
       "$what: otto logged on where he must");
    is(logons($rig, 'nina'), $home == 1 ? '1 0' : '1 1',
       "$what: nina logged on once where she must");
}

done_testing();
