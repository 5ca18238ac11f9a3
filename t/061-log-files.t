# The files of mapi_log: every request leaves exactly one row, whatever happens
# to files and workers, and what cannot be written never hurts a request.

use strict;
use warnings;

use File::Path ();
use Fcntl qw( F_SETLK F_WRLCK SEEK_SET );
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw( sleep );
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $worker_user = $ENV{TEST_NGINX_WORKER_USER};
my $serial = 0;


# the whole of a folder, asserted to be in order: what rows hold by number

sub files_of
{
    my ($folder) = @_;

    my @files = sort glob "$folder/HttpProxy_*.LOG";

    return @files;
}


sub rows_of
{
    my (@files) = @_;
    my (%rows, @wrong);

    for my $file (@files) {
        my $text = slurp($file);
        my @lines = split /\r\n/, $text, -1;

        push @wrong, "$file: the end" if pop @lines ne '';
        push @wrong, "$file: a lone CR or LF" if grep { /[\r\n]/ } @lines;

        my @header = splice @lines, 0, 6;
        my ($fields) = @header ? $header[0] : '';

        push @wrong, "$file: header"
            if @header != 6 || $fields !~ /^DateTime,.*,RoutingStatus$/
               || $header[1] ne '#Software: Microsoft Exchange Server'
               || $header[2] !~ /^#Version: /
               || $header[3] ne '#Log-type: HttpProxy Logs'
               || $header[4] !~ /^#Date: /
               || $header[5] ne "#Fields: $fields";

        for my $line (@lines) {
            if ($line =~ /^#|^DateTime,/) {
                push @wrong, "$file: another header";
            } elsif (split(/,/, $line, -1) != 74) {
                push @wrong, "$file: columns of $line";
            } elsif ($line =~ /&n=([0-9-]+)-/) {
                $rows{$1}++;
            } else {
                push @wrong, "$file: $line";
            }
        }
    }

    splice @wrong, 5;

    return (\%rows, join "\n", @wrong);
}


sub is_whole
{
    my ($folder, $sent, $name, @more) = @_;
    my ($rows, $wrong) = rows_of(files_of($folder), @more);
    my @lost = grep { !$rows->{$_} } @$sent;
    my @doubled = grep { $rows->{$_} > 1 } keys %$rows;

    is($wrong, '', "$name: whole rows, one header a file");
    is(scalar @lost, 0, "$name: no row of " . @$sent . ' is lost')
        or diag("@lost[0 .. ($#lost < 9 ? $#lost : 9)]");
    is("@doubled", '', "$name: none is there twice");
    is(scalar keys %$rows, scalar @$sent, "$name: and no other");
}


# a row has the number that its query has; the rest makes it long

sub query
{
    my ($length) = @_;
    my $n = "$$-" . ++$serial;

    return ($n, request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id(1)
                                . "&n=$n-" . ('x' x ($length || 0)),
                        'Content-Length: 0'));
}


sub send_rows
{
    my ($port, $count, $length) = @_;
    my $client = connect_to($port);
    my @sent;

    for (1 .. $count) {
        my ($n, $text) = query($length);

        $client->send($text);
        $client->read_answer->{status} == 200 or die 'no answer';
        push @sent, $n;
    }

    $client->close;

    return @sent;
}


# processes that send until told to stop; load_end() tells what was answered

my @clients;
my $stop = run_folder() . '/stop';

sub load_begin
{
    my ($port, $length) = @_;

    my $parent = $$;

    unlink $stop;

    for (1 .. 4) {
        pipe(my $read, my $write) or die "pipe: $!";
        my $pid = fork();

        if ($pid) {
            close $write;
            push @clients, [ $pid, $read ];
            next;
        }

        close $read;
        my @sent;

        while (!-e $stop && getppid() == $parent) {
            my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                               PeerPort => $port) or next;
            my ($n, $text) = query($length);
            my $answer = '';

            # the row comes before the end of the connection
            $text =~ s/\r\n\r\n$/\r\nConnection: close\r\n\r\n/;
            print $socket $text;
            $socket->flush;
            1 while sysread $socket, $answer, 4096, length $answer;
            push @sent, $n if $answer =~ m{^HTTP/1\.1 200 };
        }

        print $write "$_\n" for @sent;
        close $write;
        POSIX::_exit(0);
    }
}


sub load_end
{
    my @sent;

    spew($stop, '');

    for my $client (splice @clients) {
        my ($pid, $read) = @$client;

        push @sent, readline $read;
        waitpid $pid, 0;
    }

    chomp @sent;

    return @sent;
}


sub start
{
    my ($name, $options, %o) = @_;
    my $port = free_port();
    my $server = start_nginx($name, ($o{main} || '') . road_http(
        port => $port, backend => $backend, hosts => [ 11 ], alive => [],
        location => "mapi_log log $options;"));

    $server->{folder} = "$server->{prefix}/log";
    $server->{port} = $port;

    return $server;
}


sub lines_of
{
    my ($server, $pattern) = @_;

    return scalar(() = log_of($server) =~ /$pattern/g);
}


# has the folder that many rows?

sub has_rows
{
    my ($server, $count) = @_;
    my ($rows) = rows_of(files_of($server->{folder}));

    return keys %$rows == $count;
}


sub last_file
{
    my ($server) = @_;
    my %number = map { $_ => /-(\d+)\.LOG$/ } files_of($server->{folder});

    return (sort { $number{$a} <=> $number{$b} } keys %number)[-1];
}


sub append
{
    my ($file, $text) = @_;

    open(my $fh, '>>:raw', $file) or die "cannot append to $file: $!";
    print $fh $text;
    close $fh;
}


# for as long as the handle is open

sub keep_lock
{
    my ($server) = @_;

    my $lock = pack 's s x4 q q i x4', F_WRLCK, SEEK_SET, 0, 0, 0;

    open(my $fh, '+<', "$server->{folder}/.HttpProxy.lock") or die "open: $!";
    wait_for { fcntl $fh, F_SETLK, $lock };

    return $fh;
}


sub hour_name
{
    return POSIX::strftime('HttpProxy_%Y%m%d%H', gmtime(time()));
}


# tests that count files begin early in an hour

sub not_at_the_end_of_an_hour
{
    my ($seconds) = @_;
    my $left = 3600 - time() % 3600;

    sleep($left + 1) if $left < $seconds;
}


my $back = start_nginx('back', <<"EOF");
http {
    access_log off;
    server {
        listen 127.0.0.11:$backend;
        keepalive_requests 1000000;
        location / { return 200 "\$server_addr\\n"; }
    }
}
EOF

not_at_the_end_of_an_hour(60);


# rotation by two workers that race, with reloads in between

{
    my $server = start('rotate', 'max_file=64k buffer=32k flush=20ms',
                       main => "worker_processes 2;\n");

    load_begin($server->{port}, 700);

    for my $reload (1 .. 5) {
        my $files = files_of($server->{folder});
        wait_for { files_of($server->{folder}) > $files };
        reload_nginx($server);
    }

    my @sent = load_end();

    stop_nginx($server);
    cmp_ok(scalar files_of($server->{folder}), '>', 5, 'several files');
    is_whole($server->{folder}, \@sent, 'rotation, two workers, reloads');

    my @names = map { m{-(\d+)\.LOG$} } files_of($server->{folder});
    is_deeply([ sort { $a <=> $b } @names ], [ 1 .. @names ],
              'numbers without a gap');

    my @small = grep { -s $_ <= 65536 } files_of($server->{folder});
    my $last = (sort { $a <=> $b } @names)[-1];
    is_deeply([ grep { !/-$last\.LOG$/ } @small ], [],
              'only the last file is not full');

    my (undef, undef, $mode, undef, $uid) = stat((files_of(
        $server->{folder}))[0]);
    is($mode & 07777, 0640, 'a file is the owner\'s, its group may read');

    if ($> == 0) {
        is($uid, scalar getpwnam($worker_user), '... and the workers\'');
        is_deeply([ (stat $server->{folder})[4, 5] ],
                  [ (getpwnam($worker_user))[2, 3] ],
                  'the folder was handed over to them');
    }

    is((stat $server->{folder})[2] & 07777, 0750, '... with its mode');

    # a restart within the hour

    my @files = files_of($server->{folder});
    $server = start('rotate', 'max_file=10m buffer=32k flush=20ms');
    my @more = send_rows($server->{port}, 3);

    stop_nginx($server);
    is_deeply([ files_of($server->{folder}) ], \@files,
              'after a restart the last file is gone on with');
    is_whole($server->{folder}, [ @sent, @more ], 'a restart');
}


# rows are there in time, and without a timer that keeps a worker up

{
    my $server = start('flush', 'flush=100ms');
    my @sent = send_rows($server->{port}, 1);

    wait_for { has_rows($server, 1) };
    pass('flush=: a row is there by itself');
    stop_nginx($server);

    for my $signal (qw( QUIT TERM )) {
        $server = start('flush', 'flush=1h');
        my $before = @sent;
        push @sent, send_rows($server->{port}, 5);
        ok(has_rows($server, $before), "flush=1h: rows wait for $signal");
        stop_nginx($server, $signal);
        is_whole($server->{folder}, \@sent, $signal);
    }
}


# USR1, a file that was renamed, one that was removed

{
    my $server = start('reopen', 'flush=1h');
    my @sent = send_rows($server->{port}, 5);
    my $file = "$server->{folder}/" . hour_name() . '-1.LOG';
    my @moved = map { "$server->{prefix}/moved$_.LOG" } 1 .. 2;

    ok(!-e $file, 'rows wait');
    signal_nginx($server, 'USR1');
    wait_for { -s $file };
    is_whole($server->{folder}, \@sent, 'USR1 writes them');

    rename $file, $moved[0];
    push @sent, send_rows($server->{port}, 5);
    signal_nginx($server, 'USR1');
    wait_for { -s $file };
    is_whole($server->{folder}, \@sent, 'moved and USR1', $moved[0]);
    stop_nginx($server);

    $server = start('reopen', 'flush=20ms');
    push @sent, send_rows($server->{port}, 1);
    wait_for { has_rows($server, 6) };

    rename $file, $moved[1];
    push @sent, send_rows($server->{port}, 1);
    wait_for { -s $file };
    is_whole($server->{folder}, \@sent, 'moved without USR1', @moved);

    unlink $file;
    my @new = send_rows($server->{port}, 1);
    wait_for { -s $file };
    is_whole($server->{folder}, \@new, 'removed');
    stop_nginx($server);
}


# a worker that is killed, and half a row at the end of a file

{
    my $server = start('killed', 'max_file=64k buffer=32k flush=20ms',
                       main => "worker_processes 2;\n");
    my $killed = 0;

    allow_log(qr/exited on signal 9/);
    load_begin($server->{port}, 700);

    for (1 .. 5) {
        my $files = files_of($server->{folder});
        wait_for { files_of($server->{folder}) > $files };
        my ($worker) = MapiRig::workers_of($server);
        $killed += kill 'KILL', $worker;
    }

    my @sent = load_end();

    stop_nginx($server);

    my ($rows, $wrong) = rows_of(files_of($server->{folder}));
    my @lost = grep { !$rows->{$_} } @sent;

    is($wrong, '', 'workers killed: whole rows, one header a file');
    is(scalar(grep { $rows->{$_} > 1 } keys %$rows), 0, '... none twice');
    cmp_ok(@lost * 700, '<=', $killed * 32768,
           '... and not more lost than their buffers held');

    my $last = last_file($server);

    append($last, '2026-01-01T00:00:00.000Z,half a row');
    $server = start('killed', 'flush=20ms');
    my @new = send_rows($server->{port}, 1);
    stop_nginx($server);
    ($rows, $wrong) = rows_of(files_of($server->{folder}));
    is($wrong, '', 'half a row is cut off');
    is($rows->{$new[0]}, 1, '... and the file gone on with');
    is(last_file($server), $last, '... that very one');
    like(log_of($server), qr/\[warn\].*mapi: half a row, 35 bytes, cut off/,
         '... with a word on it');
}


# what is no file of ours under our name

{
    my $server = start('planted', 'flush=20ms');
    my $name = "$server->{folder}/" . hour_name();
    my $victim = "$server->{prefix}/victim";

    spew($victim, '');
    chmod 0666, $victim;
    symlink $victim, "$name-1.LOG";
    POSIX::mkfifo("$name-2.LOG", 0666);
    chmod 0666, "$name-2.LOG";
    mkdir "$name-3.LOG";

    my @sent = send_rows($server->{port}, 3);

    stop_nginx($server);
    is(-s $victim, 0, 'a link is not followed');
    my ($rows) = rows_of("$name-4.LOG");
    is(scalar keys %$rows, 3, '... the rows are in the next file');
}


# twenty names are tried, not more

{
    my $server = start('twenty', 'flush=20ms');
    my $name = "$server->{folder}/" . hour_name();

    mkdir "$name-$_.LOG" for 1 .. 19;
    my @sent = send_rows($server->{port}, 1);
    stop_nginx($server);
    my ($rows) = rows_of("$name-20.LOG");
    is($rows->{$sent[0]}, 1, 'the twentieth name is tried');

    unlink "$name-20.LOG";
    mkdir "$name-20.LOG";
    $server = start('twenty', 'flush=20ms');
    send_rows($server->{port}, 1);
    wait_for { lines_of($server, qr/rows of mapi_log/) };
    like(log_of($server),
         qr/\[error\].*mapi:\ 1\ rows\ of\ mapi_log\ "[^"]*"\ are\ lost:
            \ open\(\)\ "[^"]*-1\.LOG"\ failed,\ it\ is\ no\ regular\ file/x,
         'the twenty-first is not');
    ok(!-e "$name-21.LOG", '... really');
    rmdir "$name-7.LOG";
    @sent = send_rows($server->{port}, 1);
    stop_nginx($server);
    ($rows) = rows_of("$name-7.LOG");
    is($rows->{$sent[0]}, 1, '... until there is room again');
}


# A full disk: a file may not grow beyond a limit that lies within its next
# rows, which gives a short write and then none.

{
    my $limit = 64 << 20;
    my $nginx = run_folder() . '/limited';

    spew($nginx, "#!/bin/bash\ntrap '' XFSZ\nulimit -f 65536\n"
                 . "exec $ENV{TEST_NGINX_BINARY} \"\$@\"\n");
    chmod 0755, $nginx;
    local $ENV{TEST_NGINX_BINARY} = $nginx;

    my $server = start('full', 'max_file=off max_folder=off buffer=32k '
                               . 'flush=20ms');
    my @sent = send_rows($server->{port}, 10);

    wait_for { has_rows($server, 10) };
    my $file = last_file($server);

    # far, but within the limit: a file with a hole, and a row at its end

    truncate $file, $limit - 10_002;
    append($file, "\r\n");

    push @sent, send_rows($server->{port}, 100, 700);
    wait_for { lines_of($server, qr/rows of mapi_log/) };
    push @sent, send_rows($server->{port}, 100, 700) for 1 .. 3;
    is(lines_of($server, qr/rows of mapi_log "[^"]*" are lost/), 1,
       'a full disk: one line, and every request is answered');
    like(log_of($server), qr/\[error\].*writev\(\).*failed, free some space/,
         '... which says what to do');

    my $text = slurp($file);
    my @lines = split /\r\n/, $text, -1;

    cmp_ok(length $text, '<=', $limit, 'no more is written than there is room');
    is($lines[-1], '', '... and no half a row');

    # after the header, ten rows and what the hole ends with

    is(scalar(grep { split(/,/, $_, -1) != 74 } @lines[17 .. $#lines - 1]), 0,
       '... nowhere');

    rename $file, "$server->{prefix}/moved.LOG";
    my @new = send_rows($server->{port}, 5);
    push @sent, @new;
    wait_for { lines_of($server, qr/are written again/) };
    stop_nginx($server);

    my ($rows) = rows_of($file);
    is(scalar(grep { !$rows->{$_} } @new), 0,
       'with room it goes on by itself');

    my %there = (%$rows, map { /&n=([\d-]+)-/ ? ($1 => 1) : () } @lines);
    my $lost = 0;

    $lost += $_ for log_of($server) =~ /mapi: (\d+) (?:more )?rows of mapi_log/g,
                    log_of($server) =~ /written again, (\d+) more/g;
    is($lost, @sent - keys %there, 'all that is lost was counted');
}


# a folder that cannot be written to, one that is gone

{
    my $server = start('closed', 'flush=20ms');

    send_rows($server->{port}, 1);
    wait_for { has_rows($server, 1) };
    unlink files_of($server->{folder}), "$server->{folder}/.HttpProxy.lock";
    chmod 0550, $server->{folder};
    send_rows($server->{port}, 2);
    wait_for { lines_of($server, qr/rows of mapi_log/) };
    like(log_of($server),
         qr/\[error\].*are\ lost:\ open\(\)\ .*\ failed,\ run\ "chown"\ on
            \ the\ folder.*\(13:/x, 'a folder without rights');
    chmod 0750, $server->{folder};
    send_rows($server->{port}, 1);
    wait_for { lines_of($server, qr/are written again/) };
    pass('... which come back');
    stop_nginx($server);

    $server = start('gone', 'flush=20ms');
    rename $server->{folder}, "$server->{folder}-away";
    send_rows($server->{port}, 2);
    wait_for { lines_of($server, qr/rows of mapi_log/) };
    like(log_of($server), qr/failed, make the folder again .*\(2:/,
         'a folder that is gone');
    reload_nginx($server);

    # an old worker may still take a connection, to close it

    wait_for { MapiRig::workers_of($server) == 1 };
    my @sent = send_rows($server->{port}, 2);
    stop_nginx($server);
    is_whole($server->{folder}, \@sent, 'a reload makes it again');
}


# somebody keeps the lock: nobody waits, rows wait within bounds

{
    my $server = start('locked', 'buffer=32k flush=20ms');
    my @sent = send_rows($server->{port}, 1);

    wait_for { has_rows($server, 1) };
    my $fh = keep_lock($server);
    push @sent, send_rows($server->{port}, 100, 700);
    ok(has_rows($server, 1), 'locked: rows wait');
    is(lines_of($server, qr/rows of mapi_log/), 0, '... and none is lost');
    close $fh;
    wait_for { has_rows($server, scalar @sent) };
    is_whole($server->{folder}, \@sent, 'locked for a while');

    $fh = keep_lock($server);
    send_rows($server->{port}, 750, 700) for 1 .. 2;
    like(log_of($server),
         qr/\[error\].*1 rows of mapi_log .* are lost: process $$ keeps its/,
         'more than there is room for is lost, with a word on who has it');
    close $fh;
    wait_for { lines_of($server, qr/are written again, [1-9]\d* more/) };
    stop_nginx($server);
    my (undef, $wrong) = rows_of(files_of($server->{folder}));
    is($wrong, '', '... the others are whole');

    # a worker that leaves does not wait for ever

    $server = start('locked', 'buffer=32k flush=1h');
    send_rows($server->{port}, 7);
    $fh = keep_lock($server);
    stop_nginx($server);
    like(log_of($server), qr/mapi: 7 rows of mapi_log .* are lost: process $$/,
         'a worker leaves though somebody keeps the lock');
    close $fh;
}


# a worker that is stopped at times, with the lock or without

{
    my $server = start('stopped', 'buffer=32k max_file=64k flush=20ms',
                       main => "worker_processes 2;\n");

    load_begin($server->{port}, 700);
    wait_for { files_of($server->{folder}) > 2 };
    my ($worker) = MapiRig::workers_of($server);

    for (1 .. 20) {
        kill 'STOP', $worker;
        sleep 0.02;
        kill 'CONT', $worker;
        sleep 0.01;
    }

    my @sent = load_end();
    stop_nginx($server);
    is_whole($server->{folder}, \@sent, 'a worker stopped at times');
}

# whose the folder is

SKIP: {
    skip 'only root hands folders over', 7 if $> != 0;

    my ($uid, $gid) = (getpwnam($worker_user))[2, 3];
    my $base = run_folder();
    my $folder = "$base/rights/log";
    my ($server, $mode, $owner);

    File::Path::make_path($folder);
    chmod 0755, $folder;
    stop_nginx($server = start('rights', ''));
    ($mode, $owner) = (stat $folder)[2, 4];
    is($owner, $uid, 'a folder that workers cannot write to is handed over');
    is($mode & 07777, 0755, '... with its mode');

    chown 0, $gid, $folder;
    chmod 02770, $folder;
    $server = start('rights', 'flush=20ms');
    send_rows($server->{port}, 1);
    stop_nginx($server);
    ($mode, $owner) = (stat $folder)[2, 4];
    is($owner, 0, 'one that they can write to as a group is left');
    is(scalar files_of($folder), 1, '... and written to');

    mkdir "$base/elsewhere", 0700;
    unlink files_of($folder), "$folder/.HttpProxy.lock";
    rmdir $folder;
    symlink "$base/elsewhere", $folder;
    stop_nginx($server = start('rights', ''));
    is((stat "$base/elsewhere")[4], 0, 'where a link leads nothing changes');
    like(log_of($server), qr{\[error\].*mapi:\ the\ folder\ "\S+/rights/log"\ of
         \ mapi_log\ cannot\ be\ handed\ over\ to\ the\ workers'\ user:
         \ run\ "chown\ $worker_user\ '\S+/rights/log/'"}x, '... but for a word');

    # nginx that is not root's can hand nothing over; it has its modules from
    # where it may read them

    my $conf = "$base/rights/conf/nginx.conf";
    my $text = slurp($conf);
    my $modules = 0;

    $text =~ s{^(\s*load_module\s+"?)([^";]+)}{
        my $copy = "$base/rights/" . ++$modules . '.so';
        spew($copy, slurp($2));
        chmod 0644, $copy;
        "$1$copy" }gme;
    spew($conf, $text);

    unlink $folder;
    mkdir $folder, 0755;
    my $pid = open(my $out, '-|');
    defined $pid or die "fork: $!";

    if ($pid == 0) {
        open(STDERR, '>&', \*STDOUT);
        POSIX::setuid($uid);
        exec $ENV{TEST_NGINX_BINARY}, '-t', '-e', 'stderr', '-p',
            "$base/rights/", '-c', $conf;
    }

    like(join('', <$out>), qr{\[emerg\].*"\S+/rights/log"\ of\ "mapi_log"
         \ cannot\ be\ written\ to:\ as\ root\ run\ "chown\ $uid
         \ '\S+/rights/log'"}x, 'somebody else\'s folder is an error');
}

stop_nginx($back);
done_testing();
