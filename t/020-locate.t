# Where does a mailbox live?

use strict;
use warnings;

use File::Copy qw( copy );
use File::Path qw( make_path remove_tree );
use POSIX ();
use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $port;
my $archive = 'aaaaaaaa-0000-4000-8000-000000000001';

my $path = make_directory('main', directory_csv(extra => <<"CSV"));
00000000-1111-4000-8000-000000000001,arch\@contoso.com,DB1,,,,$archive,DB3
00000000-1111-4000-8000-000000000002,odd\@contoso.com,DB2,,odd\@login.example,CONTOSO\\odd,,
00000000-1111-4000-8000-000000000003,twin1\@contoso.com,DB2,smtp:twin\@contoso.com,,,,
00000000-1111-4000-8000-000000000004,twin2\@contoso.com,DB3,smtp:twin\@contoso.com,,,,
CSV


sub front_end
{
    my ($name, $directory, %o) = @_;

    $port = free_port();

    return start_nginx($name, road_http(port => $port, backend => $backend,
                       http => "mapi_directory $directory;", %o));
}


# the server that a mailbox's request reached and the way it was found

sub found
{
    my ($query, @headers) = @_;

    $query = "MailboxId=" . mailbox_id($query) if $query =~ /^\d+$/;

    my $answer = talk($port, request('POST', "/mapi/emsmdb/?$query", @headers,
                                     'Content-Length: 0'));

    return join ' ', map { defined $_ ? $_ : '-' } $answer->{status},
           map { header($answer, $_) } qw( X-Server X-Route X-Target );
}


sub place
{
    my ($i) = @_;

    return "200 127.0.0.1$i directory ex$i.contoso.com";
}

my $me = 'useMailboxOfAuthenticatedUser=true';


# identities

my $front = front_end('main-front', $path);

is(found($_), place(($_ - 1) % 3 + 1), "mailbox $_ is found by GUID")
    for 1 .. 6;
is(found('smtpAddress=user2@contoso.com'), place(2), 'by its address');
is(found('smtpAddress=ALIAS3%40contoso.com'), place(3), 'by another address');
is(found($me, basic('upn2@corp.contoso.com')), place(2), 'by its UPN');
is(found($me, basic('user3@contoso.com')), place(3),
   'by an address that is used as a UPN');
is(found($me, basic('sam3')), place(3), 'by a bare account name');
is(found($me, basic('CONTOSO\\Odd')), place(2), 'by domain and account name');
is(found($me, 'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'odd')),
   place(2), 'by the name in an NTLM message');
is(found($me, 'X-AnchorMailbox: user2@contoso.com'), place(2),
   'by X-AnchorMailbox');
is(found("MailboxId=$archive\@contoso.com"), place(3),
   'an archive lives where its own database is');
is(found('MailboxId=00000000-1111-4000-8000-000000000001@x'), place(1),
   '... and its mailbox elsewhere');
like(found('smtpAddress=twin@contoso.com'), qr/ balance /,
     'an address that two mailboxes claim is nobody');
like(found('smtpAddress=upn2@corp.contoso.com'), qr/ balance /,
     'a UPN is no address');
like(found(4711), qr/^200 \S+ balance /, 'an unknown mailbox is balanced');

{
    my %seen = map { found(4711) => 1 } 1 .. 5;
    is(scalar keys %seen, 1, '... always to one server');
}


# changes count at once

{
    my ($code) = mapi_directory('-d', $path, 'move', 'DB1', 'EX2');
    is($code, 0, 'a database moves');
    is(found(1), place(2), 'the next request follows it');
    is(found(2), place(2), '... others stay');

    mapi_directory('-d', $path, 'move', 'DB1', 'EX1');
    is(found(1), place(1), 'and back');

    # what a worker remembers of a mailbox ends with the commit

    my %moved = directory_csv(count => 0, extra =>
        (split /@/, mailbox_id(1))[0] . ",user1\@contoso.com,DB2,,,,,\n");

    for my $db ('DB2', 'DB1') {
        $moved{mailboxes} =~ s/,DB\d,/,$db,/;
        spew(run_folder() . '/moved.csv', $moved{mailboxes});
        ($code) = mapi_directory('-d', $path, 'import', '--mailboxes',
                                 run_folder() . '/moved.csv');
        is($code, 0, "a mailbox moves to $db");
        is(found(1), place(substr $db, 2), 'the next request follows it');
    }

    my $client = connect_to($port);

    for my $i (3, 1, 2, 1) {
        mapi_directory('-d', $path, 'move', 'DB1', "EX$i");
        $client->send(post(mailbox_id(1)));
        is(header($client->read_answer, 'X-Target'), "ex$i.contoso.com",
           'also on a connection that lives on');
    }

    $client->close;
}


# imports while requests run; the later ones make the map grow

for my $round (1 .. 4) {
    my $from = 10 ** $round * 2;
    my %csv = directory_csv(from => $from, count => 10 ** $round);
    my $file = run_folder() . "/more$round.csv";

    spew($file, $csv{mailboxes});

    my $pid = fork();

    if ($pid == 0) {
        open(STDOUT, '>', '/dev/null');
        exec "$ENV{MAPI_BUILD}/mapi-directory", '-d', $path, 'import',
             '--mailboxes', $file or POSIX::_exit(1);
    }

    my ($good, $n) = (0, 0);

    do {
        $n++;
        $good++ if found(2) eq place(2);
    } while (waitpid($pid, POSIX::WNOHANG()) == 0);

    is($?, 0, "import $round while requests run");
    is($good, $n, '... each of which finds its mailbox');

    my $last = $from + 10 ** $round - 1;
    is(found($last), place(($last - 1) % 3 + 1), '... and new ones at once');
}

is(() = log_of($front) =~ /\[error\]/g, 0, 'nothing of this is an error');


# new workers, and workers that die

{
    reload_nginx($front);
    is(found(2), place(2), 'after a reload mailboxes are found');

    allow_log(qr/worker process \d+ exited on signal 9/);

    for my $round (1 .. 5) {
        my ($worker) = split ' ', slurp("/proc/$front->{pid}/task/$front->{pid}"
                                        . '/children');

        found(2);
        kill 'KILL', $worker;

        # it may be gone between two looks
        wait_for { (eval { slurp("/proc/$worker/stat") } || ') Z') =~ /\) Z/ };
        wait_for { eval { found(2) eq place(2) } };
    }

    my ($code) = mapi_directory('-d', $path, 'move', 'DB2', 'EX1');
    is($code, 0, 'after five workers that were killed a database moves');
    is(found(2), place(1), '... and the sixth sees it');
    mapi_directory('-d', $path, 'move', 'DB2', 'EX2');
    my (undef, $out) = mapi_directory('-d', $path, 'check');
    is($?, 0, '... and the directory is sound') or diag($out);
}


# a folder that takes the place of another

{
    my $new = make_directory('new', directory_csv(mounted => [ 3, 3, 3 ]));

    rename $path, "$path.old";
    rename $new, $path;
    ok(wait_for { found(1) eq place(3) }, 'a folder renamed into place counts');
    is(found(2), place(3), '... for all');

    # one that is no good is not taken

    my $bad = run_folder() . '/bad';
    make_path($bad);
    spew("$bad/data.mdb", 'no directory at all' x 1000);
    rename $path, "$path.good";
    rename $bad, $path;
    ok(wait_for { found(1); log_of($front) =~ /is not usable, its data.mdb/ },
       'a damaged folder is told of');
    is(found(1), place(3), '... and the one before goes on');
    rename $path, "$path.bad";
    is(found(1), place(3), 'a folder that goes away changes nothing');

    rename "$path.old", $path;
    ok(wait_for { found(1) eq place(1) }, 'a good one is taken again');
    is(() = log_of($front) =~ /is not usable, its data.mdb/g, 1,
       'the damaged one was told of once');
    remove_tree("$path.good", "$path.bad");
}

stop_nginx($front);


# nginx starts without a directory

{
    my $late = run_folder() . '/late';

    $front = front_end('late-front', $late);
    like(log_of($front), qr/\[warn\].*\Q"$late" cannot be found/,
         'a missing directory is warned of at start');
    like(found(1), qr/^200 \S+ balance /, '... and all is balanced');
    make_directory('late', directory_csv());
    ok(wait_for { found(1) eq place(1) }, 'once it is made, it counts');
    is(found(2), place(2), '... for all');
    stop_nginx($front);
}

for my $case ([ 'empty', sub { '' } ],
              [ 'of another kind', sub { "\xde\xad\xbe\xef" x 8192 } ],
              [ 'of zeros', sub { "\0" x 65536 } ],
              [ 'cut short', sub { substr $_[0], 0, length($_[0]) / 2 } ],
              [ 'cut to its first page', sub { substr $_[0], 0, 4096 } ],
              [ 'cut inside a page', sub { substr $_[0], 0, -100 } ])
{
    my ($what, $damage) = @$case;
    (my $name = "damaged $what") =~ s/ /-/g;
    my $folder = make_directory($name, directory_csv());
    my $data = slurp("$folder/data.mdb");

    spew("$folder/data.mdb", $damage->($data));
    $front = front_end("$name-front", $folder);
    like(found($_), qr/^200 \S+ balance /, "with a data.mdb $what all goes on")
        for 1 .. 3;
    like(log_of($front), qr/\[error\].*mapi: .*\Q$folder\E/,
         '... and the log says it');

    # mended as the log says, by a rename

    rename $folder, "$folder.gone";
    make_directory($name, directory_csv());
    ok(wait_for { found(1) eq place(1) }, '... until it is mended');
    stop_nginx($front);
}


# workers that may not read it

SKIP: {
    skip 'needs root', 4 if $>;

    my $closed = make_directory('closed', directory_csv());

    chown 0, 0, $closed, "$closed/data.mdb", "$closed/lock.mdb";
    chmod 0700, $closed;
    $front = front_end('closed-front', $closed);
    like(found(1), qr/^200 \S+ balance /, 'unreadable: all goes on');

    my ($command) = log_of($front) =~ /\[error\].*mapi: .*run "(ch[^"]+)"/;
    ok($command, 'the log has the command that mends it')
        or diag(log_of($front) =~ /(\[error\].*)/);
    is(system($command), 0, '... which runs');
    ok(wait_for { found(1) eq place(1) }, '... and mends it');
    stop_nginx($front);
}


# mapi_unknown_mailbox reject

{
    my $reject = make_directory('reject', directory_csv());
    my $upstream = "mapi;\nmapi_unknown_mailbox reject;\n%SERVERS%";

    $front = front_end('reject-front', $reject, upstream => $upstream);

    is(found(1, basic('x')), place(1), 'reject: a known mailbox is served');

    my $answer = ask($port, mailbox_id(4711), basic('x'));
    is($answer->{status}, 404, 'an unknown one with credentials is not found');
    is(header($answer, 'X-CasErrorCode'), 'MailboxGuidWithDomainNotFound',
       '... for this reason');
    is($answer->{body}, '', '... empty');
    ok(!defined header($answer, 'X-Server'), '... without asking a server');

    like(found(4711, 'Authorization: NTLM ' . ntlm_message(1)), qr/^404 /,
         'a token is a credential, too');
    like(found(4711), qr/^200 \S+ balance /, 'nobody in particular goes on');
    like(found(4711, 'Authorization: Bearer'), qr/^200 \S+ balance /,
         '... and so does an empty Bearer');
    like(found('smtpAddress=nobody@contoso.com', basic('x')), qr/^404 /,
         'an unknown address is not found');
    like(found($me, 'Authorization: Negotiate YIIFfQYGKwYBBQU='),
         qr/^200 \S+ balance /, 'a caller without a readable name goes on');

    is(talk($port, request('GET', '/mapi/healthcheck.htm',
                           basic('x')))->{status}, 200,
       'the health page is for everybody');

    rename $reject, "$reject.gone";
    stop_nginx($front);

    $front = front_end('reject-none', $reject, upstream => $upstream);
    $answer = ask($port, mailbox_id(1), basic('x'));
    is($answer->{status}, 503, 'without a directory it is 503');
    is($answer->{body}, '', '... empty');
    like(found(1), qr/^200 \S+ balance /, '... but for nobody in particular');
    rename "$reject.gone", $reject;
    ok(wait_for { found(1, basic('x')) eq place(1) },
       'with the directory all is well');
    stop_nginx($front);

    $front = front_end('balance-front', $reject,
                       upstream => "mapi;\nmapi_unknown_mailbox balance;\n"
                                   . '%SERVERS%');
    like(found(4711, basic('x')), qr/^200 \S+ balance /,
         'balance serves unknown mailboxes');
    stop_nginx($front);
}


# servers and databases that do not meet

{
    my $folder = make_directory('strange', directory_csv());

    $front = front_end('strange-front', $folder, hosts => [ 11, 12, 14 ]);
    is(found(2), place(2), 'servers that the directory knows work');
    like(log_of($front), qr/does not know server "127\.0\.0\.14" of upstream/,
         'a server that the directory does not know is warned of');
    unlike(log_of($front), qr/does not know server "127\.0\.0\.1[123]"/,
           '... and no other');
    like(found(3), qr/^200 \S+ balance /,
         'a database on a server of another site is balanced');
    stop_nginx($front);
}

done_testing();
