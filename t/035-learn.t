# Learned locations: the word of Exchange's own front ends about where a
# mailbox's database is mounted.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
my $port;


sub front_end
{
    my ($name, $directory, %o) = @_;

    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
        alive => [], upstream => "mapi;\n%SERVERS%keepalive 8;\n",
        http => "mapi_zone mapi 1m;\n"
                . (defined $directory ? "mapi_directory $directory;" : ''),
        %o));
}


# a request for mailbox n; the server that gets it answers with this target:
# the number of that server, the route, the answer

sub asks
{
    my ($n, $target, $status, @headers) = @_;
    my $client = connect_to($port);
    my ($peer, $answer) = carry(\@servers, $client, post(mailbox_id($n)),
        answer($status || 200, defined $target
                               ? "X-CalculatedBETarget: $target" : (),
               @headers));
    my ($i) = $peer->{socket}->sockhost =~ /(\d)$/;

    $_->close for $client, $peer;

    return ($i, header($answer, 'X-Route'), $answer);
}


sub name { return "ex$_[0].contoso.com" }


# a database that moved, and nobody told the directory

{
    my $directory = make_directory('moved', directory_csv());
    my $front = front_end('moved-front', $directory);

    is_deeply([ (asks(1, name(1)))[0, 1] ], [ 1, 'directory' ],
              'the directory is right: its server is asked');
    is_deeply([ (asks(1, name(2)))[0, 1] ], [ 1, 'directory' ],
              'it moves: one request goes to the old place');
    is_deeply([ (asks(1, name(2)))[0, 1] ], [ 2, 'learned' ],
              '... and the next one to the new one');
    is_deeply([ (asks(4, name(2)))[0, 1] ], [ 2, 'learned' ],
              '... as do other mailboxes of the database');
    is_deeply([ (asks(2, name(2)))[0, 1] ], [ 2, 'directory' ],
              '... but none of another one');
    is_deeply([ (asks(1, 'EX2'))[0, 1] ], [ 2, 'learned' ],
              'a short name in capitals is the same server');

    # what teaches nothing

    for my $case ([ 401, name(3) ], [ 503, name(3) ], [ 200, 'evil.example' ],
                  [ 200, '127.0.0.99' ], [ 200, '' ], [ 200, undef ])
    {
        my ($status, $target) = @$case;
        asks(1, $target, $status);
        is((asks(1, name(2)))[0], 2, "$status with "
           . (defined $target ? "\"$target\"" : 'no target')
           . ' teaches nothing');
    }

    my $log = log_of($front);
    is(() = $log =~ /passes requests on to "evil\.example", which is none/g, 1,
       'a name that is no server is logged');
    is(() = $log =~ /passes requests on to/g, 1, '... once');

    # another word of a server counts, and a reload changes nothing

    is((asks(1, name(3)))[0], 2, 'it moves again');
    is((asks(1, name(3)))[0], 3, '... and is followed');
    reload_nginx($front);
    is((asks(1, name(3)))[0], 3, '... also over a reload');

    # the directory: the same value is no news, another one is

    my @csv = directory_csv();
    my %csv = @csv;
    spew(run_folder() . '/same.csv', $csv{databases});
    is((mapi_directory('-d', $directory, 'import', '--databases',
                       run_folder() . '/same.csv'))[0], 0, 'an import');
    is_deeply([ (asks(1, name(3)))[0, 1] ], [ 3, 'learned' ],
              '... that repeats the old place changes nothing');
    mapi_directory('-d', $directory, 'move', 'DB1', 'EX2');
    is_deeply([ (asks(1, name(2)))[0, 1] ], [ 2, 'directory' ],
              'a move in the directory counts');
    mapi_directory('-d', $directory, 'move', 'DB1', 'EX1');
    is_deeply([ (asks(1, name(1)))[0, 1] ], [ 1, 'directory' ],
              '... and what was learned before it does not come back');

    stop_nginx($front);
    like(log_of($front), qr/\[notice\].*answers that came straight \d+, through another server \d+; learned 1,/,
         'the share of straight answers is logged at the end');
}


# the directory was right all the time: nothing is learned, and what was
# learned is dropped

{
    my $directory = make_directory('right', directory_csv());
    my $front = front_end('right-front', $directory);

    mapi_directory('-d', $directory, 'server', 'EX1', 'draining');
    isnt((asks(1, name(1)))[0], 1, 'its server drains, another one is asked');
    mapi_directory('-d', $directory, 'server', 'EX1', 'active');
    is_deeply([ (asks(1, name(1)))[0, 1] ], [ 1, 'directory' ],
              '... and the word for the old place is no news');

    asks(1, name(3));
    is_deeply([ (asks(1, name(1)))[0, 1] ], [ 3, 'learned' ],
              'a wrong word is followed');
    is_deeply([ (asks(1, name(1)))[0, 1] ], [ 1, 'directory' ],
              '... until the next one agrees with the directory');

    stop_nginx($front);
}


# no directory at all

{
    my $front = front_end('none');
    my ($hashed) = asks(5, '127.0.0.13');
    my $other = $hashed % 3 + 1;

    asks(5, "127.0.0.1$other");
    my ($i, $route, $answer) = asks(5, "127.0.0.1$other");
    is_deeply([ $i, $route ], [ $other, 'learned' ],
              'without a directory mailboxes are learned');
    ok(!defined header($answer, 'Set-Cookie'), '... and need no cookie');
    is((asks(6, '127.0.0.11'))[1], 'balance', '... each for itself');

    # its server goes: elsewhere, and back by its word

    is_deeply([ (asks(5, "127.0.0.1$other"))[0, 1] ], [ $other, 'learned' ],
              'and stay where they are');
    stop_nginx($front);
}


# a logon that is under way ends where it began, whatever is learned meanwhile

{
    my $directory = make_directory('torn', directory_csv());
    my $front = front_end('torn-front', $directory);
    my $otto = connect_to($port);
    my ($peer) = carry(\@servers, $otto, post(mailbox_id(1),
        'Authorization: NTLM ' . ntlm_message(1)),
        answer(401, 'WWW-Authenticate: NTLM ' . ntlm_message(2)));

    asks(4, name(2));
    is((asks(4, name(2)))[1], 'learned', 'the database moves in a handshake');

    my ($again, $answer) = carry(\@servers, $otto, post(mailbox_id(1),
        'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'otto')),
        answer(200), $peer);
    is($again, $peer, '... which ends where it began');
    is(header($answer, 'X-Route'), 'handshake', '... and says so');
    $_->close for $otto, $peer;
    stop_nginx($front);
}


# thousands of them: the zone stays as it is, nothing fails

{
    my $front = front_end('many', undef, http => 'mapi_zone mapi 64k;');

    for my $n (1 .. 600) {
        asks($n, '127.0.0.1' . ($n % 3 + 1));
    }

    is((asks(600, '127.0.0.11'))[1], 'learned', 'the latest are known');
    stop_nginx($front);
    like(log_of($front), qr/forgotten [1-9]/,
         'a zone that is full forgets the oldest');
    unlike(log_of($front), qr/\[crit\]|no memory/, '... and nothing fails');
}


# observe compares, and sends nothing elsewhere

{
    my $directory = make_directory('observe', directory_csv());
    my $front = front_end('observe-front', $directory, mapi => 'observe',
        upstream => "%SERVERS%keepalive 8;\n",
        http => "mapi_directory $directory;");
    my %reached;

    $reached{(asks(1, name(1)))[0]}++ for 1 .. 6;
    is_deeply(\%reached, { 1 => 2, 2 => 2, 3 => 2 },
              'observe: the block\'s own round robin goes on');
    asks(2, name(3)) for 1 .. 3;
    asks(4711, name(3));
    asks(3, name(1), 401);
    asks(3);
    stop_nginx($front);
    like(log_of($front), qr/\[notice\].*observed 10 answers: the directory was right for 6, wrong for 3, and did not know 1 \(60 % right\)/,
         '... and the share that agrees is logged');
    like(log_of($front), qr/\[info\].*observed that database "DB2" is on "ex3.contoso.com", and the directory says otherwise/,
         '... with what to look at');
}


# owner mode learns nothing: its servers pass nothing on

{
    my $directory = make_directory('owner', directory_csv());
    my $front = front_end('owner-front', $directory,
                          upstream => "mapi owner;\n%SERVERS%");

    asks(1, name(2));
    is_deeply([ (asks(1, name(2)))[0, 1] ], [ 1, 'directory' ],
              'owner: the directory alone counts');
    stop_nginx($front);
}

done_testing();
