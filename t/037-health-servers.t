# mapi_health_check meets servers that reset, talk nonsense, dawdle, never end
# or never accept; then an upgrade of the binary, and the death of the worker
# that checks.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Socket qw( SOL_SOCKET SO_LINGER );
use Test::More;
use Time::HiRes qw( sleep time );
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $directory = make_directory('nasty', directory_csv());
my $slow = $ENV{MAPI_SANITIZE} ? 4 : 1;
my $timeout = 600 * $slow;
my $words = '200 OK<br/>ex';
my $good = "HTTP/1.1 200 OK\r\nContent-Length: " . length($words)
           . "\r\n\r\n$words";
my $owner = $$;
my (@children, @load, $port);


# what servers do with a connection; they close it then, but for what is below

sub get
{
    my ($socket) = @_;
    my $text = '';

    while ($text !~ /\r\n\r\n/) {
        sysread $socket, $text, 4096, length $text or return;
    }
}

sub parts
{
    my ($seconds, @parts) = @_;

    return sub {
        my ($socket) = @_;

        get($socket);

        for my $part (@parts) {
            defined syswrite $socket, $part or return;
            sleep $seconds if $seconds;
        }
    };
}

sub said { return parts(0, @_) }

# until the other side has closed

sub stay
{
    my ($do) = @_;

    return sub {
        my ($socket) = @_;

        $do->($socket);
        1 while sysread $socket, my $text, 4096;
    };
}

sub reset_it { setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) }

sub endless
{
    my ($begin, $part) = @_;

    return sub {
        my ($socket) = @_;

        get($socket);
        syswrite $socket, $begin;
        1 while defined syswrite $socket, $part;
    };
}

sub alternate
{
    my @ways = @_;
    my $n = 0;

    return sub { $ways[$n++ % @ways]->(@_) };
}

my $gone = 'draining: it closes without an answer';
my $wrong = 'failing: its answer is wrong';
my $silent = 'dead: it does not answer in time';
my $alive = 'alive: it answers as it should';

my @ways = (
    [ 'closes when it has accepted', $gone, 0, sub { } ],
    [ 'closes when it has been asked', $gone, 0, \&get ],
    [ 'resets when it has been asked', $gone, 0,
      sub { get($_[0]); reset_it($_[0]) } ],

    [ 'resets when it has accepted', $gone, 0, \&reset_it ],

    [ 'says hello', $wrong, 0, said("hello\r\n") ],
    [ 'says hello and the end of a header', $wrong, 0,
      said("hello\r\n\r\n200 OK") ],
    [ 'says nothing but the words', $wrong, 0, said($words) ],
    [ 'says nothing but an end of a header', $wrong, 0, said("\r\n\r\n") ],
    [ 'sends binary data', $wrong, 0,
      said(join '', map { chr(($_ * 7919) % 256) } 1 .. 3000) ],
    [ 'sends zeros', $wrong, 0, said("\0" x 9000) ],
    [ 'speaks HTTP/2', $wrong, 0, said("HTTP/2 200\r\n\r\n$words") ],
    [ 'has 20 kB of header', $wrong, 0,
      said("HTTP/1.1 200 OK\r\n" . "X-Header: value\r\n" x 1200) ],
    [ 'closes in the status', $wrong, 0, said('HTTP/1.1 2') ],
    [ 'ends in the status', $wrong, 0, said("HTTP/1.1 2\r\n\r\n$words") ],
    [ 'has no number', $wrong, 0, said("HTTP/1.1 abc\r\n\r\n$words") ],
    [ 'closes in the header', $wrong, 0,
      said("HTTP/1.1 200 OK\r\nContent-Len") ],
    [ 'resets in the header', $wrong, 0,
      sub { said("HTTP/1.1 200 OK\r\n")->(@_); sleep 0.05; reset_it(@_) } ],
    [ 'has no body', $wrong, 200, said("HTTP/1.1 200\r\n\r\n") ],
    [ 'has no words, and stays', $wrong, 200,
      stay(said("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")) ],
    [ 'is endless', $wrong, 200,
      endless("HTTP/1.1 200 OK\r\n\r\n", 'no' x 1000) ],
    [ 'has its words after 20 kB', $wrong, 200,
      said("HTTP/1.1 200 OK\r\n\r\n" . 'no' x 10000 . $words) ],

    [ 'has its words beside its chunks', $wrong, 200,
      said("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           . "2;200 OK\r\nno\r\n0\r\nX-Trailer: 200 OK\r\n\r\n") ],
    [ 'has words in broken chunks', $wrong, 200,
      said("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           . "ffffffffffffffffff\r\n200 OK\r\n0\r\n\r\n") ],

    [ 'has a status of four digits', $wrong, 0,
      said("HTTP/1.1 2000 OK\r\n\r\n$words") ],
    [ 'asks to go on first', $alive, 200,
      said("HTTP/1.1 100 Continue\r\n\r\n$good") ],

    [ 'is silent', $silent, 0, stay(\&get) ],
    [ 'is too slow', $silent, 0,
      parts(5 * $timeout / 1000 / length $good, split //, $good) ],

    [ 'answers in one piece', $alive, 200, said($good) ],
    [ 'answers and stays', $alive, 200, stay(said($good)) ],
    [ 'answers before it is asked', $alive, 200,
      sub { syswrite $_[0], $good; get($_[0]) } ],
    [ 'has no word beside the status', $alive, 200,
      said("HTTP/1.1 200\r\n\r\n$words") ],
    [ 'splits the status', $alive, 200,
      parts(0.02, 'HT', 'TP/1.', '1 2', '0', "0 OK\r\n\r", "\n$words") ],
    [ 'splits the words', $alive, 200,
      parts(0.02, "HTTP/1.1 200 OK\r\n\r\n200", ' O', 'K') ],
    [ 'sends chunks', $alive, 200,
      said("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           . "6\r\n200 OK\r\n0\r\n\r\n") ],
    [ 'sends each byte as a chunk', $alive, 200,
      parts(0.01, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            map({ "1;x=y\r\n$_\r\n" } split //, $words), "0\r\n\r\n") ],
    [ 'splits each byte of its chunks', $alive, 200,
      parts(0.002, "HTTP/1.1 200 OK\r\ntransfer-encoding:chunked\r\n\r\n",
            map({ split // } "3\r\n200\r\n", "0003\r\n OK\r\n")) ],
    [ 'is endless, with the words', $alive, 200,
      endless("HTTP/1.1 200 OK\r\n\r\n$words", 'no' x 1000) ],
    [ 'sends the words and resets', $alive, 200,
      sub { said($good)->(@_); sleep 0.05; reset_it(@_) } ],
    [ 'is slow', $alive, 200,
      parts($timeout / 1000 / 3 / length $good, split //, $good) ],
    [ 'fails every other time', $alive, 200,
      alternate(said($good), said('hello')) ],
    [ 'closes every other time', $alive, 200,
      alternate(said($good), \&get) ],
);


# each in a process of its own; a byte in its file is a connection

sub serve
{
    my ($i, $do) = @_;
    my $listener = listen_on("127.0.0.$i", $backend)->{socket};
    my $pid = fork();

    if ($pid) {
        push @children, $pid;
        close $listener;
        return;
    }

    open(my $count, '>>', run_folder() . "/count.$i") or POSIX::_exit(1);

    while (my $socket = $listener->accept) {
        syswrite $count, '.';
        $do->($socket);
        close $socket;
    }

    POSIX::_exit(0);
}

END {
    my $status = $?;

    if ($$ == $owner) {
        my @all = (@children, map { $_->{pid} } @load);

        kill 'KILL', @all;
        waitpid $_, 0 for @all;
    }

    $? = $status;
}


sub checks
{
    my $n = 0;

    $n += -s $_ || 0 for glob(run_folder() . '/count.*');

    return $n;
}


sub workers { return MapiRig::workers_of($_[0]) }


# what is open between checks, so the least of several counts

sub open_files
{
    my ($pid) = @_;
    my $least;

    for (1 .. 100) {
        my $n = () = glob("/proc/$pid/fd/*");

        $least = $n if !defined $least || $n < $least;
        sleep 0.01;
    }

    return $least;
}


sub verdict
{
    my ($front, $i, $pid) = @_;
    my $who = defined $pid ? $pid : qr/\d+/;
    my $server = qr/server 127\.0\.0\.$i:$backend of upstream "exchange"/;
    my @all = log_of($front) =~ / $who#\d+: mapi: $server is (.*)/g;

    return @all ? $all[-1] : '';
}


my $moods = run_folder() . '/moods';

mkdir $moods;


# the good servers, which fail as long as there is a file of their address

sub backends
{
    my ($name) = @_;

    return start_nginx($name, <<"EOF2");
http {
    access_log off;
    server {
        listen 127.0.0.11:$backend backlog=4096;
        listen 127.0.0.12:$backend backlog=4096;
        location / {
            add_header X-Server \$server_addr always;
            return 200 "\$server_addr\\n";
        }
        location = /mapi/healthcheck.htm {
            if (-f $moods/\$server_addr) { return 503; }
            return 200 "200 OK<br/>";
        }
    }
}
EOF2
}


sub front_end
{
    my ($name, $workers, $check, @hosts) = @_;

    $port = free_port();

    return start_nginx($name, "worker_processes $workers;\n" . road_http(
        port => $port, backend => $backend, alive => [], hosts => \@hosts,
        upstream => "zone z 512k;\nmapi;\nmapi_health_check $check;\n"
                    . "%SERVERS%keepalive 16;",
        http => "mapi_zone mapi 1m;\nmapi_directory $directory;"));
}


# all of them at once, beside two servers that are well

my $back = backends('back');
my $first = 20;
my $backlog = $first + @ways;
my $full = $backlog + 1;

serve($first + $_, $ways[$_][3]) for 0 .. $#ways;

# one that never accepts, and one whose queue is full: no SYN is answered

my $never = listen_on("127.0.0.$backlog", $backend);
my $none = IO::Socket::INET->new(LocalAddr => "127.0.0.$full",
    LocalPort => $backend, Listen => 1, ReuseAddr => 1) or die "listen: $!";
my @queue;

listen $none, 0;

for (1 .. 3) {
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.$full",
        PeerPort => $backend, Blocking => 0) or last;
    push @queue, $socket;
}

{
    my $front = front_end('nasty', 1, "interval=100ms timeout=${timeout}ms "
        . 'fails=2 passes=2 mandatory', 11, 12, $first .. $full);

    for my $i (11, 12) {
        wait_for { verdict($front, $i) };
        is(verdict($front, $i), 'alive: it answers as it should '
           . '(1 checks, status 200)', "127.0.0.$i is well");
    }

    my ($worker) = workers($front);
    my $files = open_files($worker);
    my $before = checks();

    for (0 .. $#ways) {
        my ($name, $verdict, $status) = @{ $ways[$_] };
        my $i = $first + $_;
        my $n = $verdict eq $alive ? 1 : 2;

        wait_for { verdict($front, $i) };
        $verdict = quotemeta $verdict if !ref $verdict;
        like(verdict($front, $i),
             qr/^(?:$verdict).* \($n checks, status $status\)/,
             "a server that $name");
    }

    for ([ 'never accepts', $backlog ], [ 'has a full queue', $full ]) {
        my ($name, $i) = @$_;

        wait_for { verdict($front, $i) };
        like(verdict($front, $i), qr/^\Q$silent\E/, "a server that $name");
    }

    # each says what it is only once, however long it is asked

    my @strays;

    wait_for {
        push @strays, grep { $_->[1] ne $_->[0] }
                      map { my $answer = ask($port, mailbox_id($_));
                            [ home_of($_), header($answer, 'X-Server') || '' ] }
                      1, 2;
        checks() > $before + 1000;
    };

    is(scalar @strays, 0, 'requests to servers that are well are not disturbed');

    my %said;

    $said{$_}++ for log_of($front) =~ /mapi: server 127\.0\.0\.(\d+):/g;

    # but for the race of the one that resets at once

    for (0 .. $#ways) {
        delete $said{$first + $_} if $ways[$_][0] =~ /resets when it has acc/;
    }

    is_deeply([ grep { $said{$_} > 1 } sort keys %said ], [],
              'each verdict is said once');
    is((workers($front))[0], $worker, 'the worker is the same');

    # the servers that hang or are slow have a check under way all the time;
    # files that are forgotten would be hundreds

    cmp_ok(open_files($worker), '<=', $files + 10,
           'it has no more open files after a thousand checks');
    stop_nginx($front);
}

close $_ for @queue, $none, $never->{socket};
kill 'KILL', @children;
waitpid $_, 0 for @children;
@children = ();


# Clients: processes that ask for mailboxes on the two servers, each request on
# a connection of its own.  load(@ends) starts them, without these ends of the
# test's own; results() are (answered, [ began, ended ] of each that was not).

my $stop = run_folder() . '/stop';

sub load
{
    my (@ends) = @_;

    unlink $stop;

    for (1 .. 4) {
        pipe(my $read, my $write) or die "pipe: $!";
        my $pid = fork();

        if ($pid) {
            close $write;
            push @load, { pid => $pid, read => $read };
            next;
        }

        close $read;
        $_->close for @ends;
        my ($good, @bad) = (0);

        alarm 60 * $slow;

        # not by a signal, which would break off a read

        while (!-e $stop) {
            my $n = 1 + 3 * int(rand(10)) + int(rand(2));
            my $began = time();
            my $text = '';
            my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                               PeerPort => $port);

            if ($socket) {
                $socket->autoflush(1);
                print $socket post(mailbox_id($n), 'Connection: close');
                1 while sysread $socket, $text, 4096, length $text;
                close $socket;
            }

            if ($text =~ m{^HTTP/1\.1 200 .*\r\n\r\n127\.0\.0\.1\d\n}s) {
                $good++;
            } else {
                push @bad, sprintf '%.6f-%.6f', $began, time();
            }
        }

        print $write "$good @bad\n";
        close $write;
        POSIX::_exit(0);
    }
}

sub results
{
    my ($good, @bad) = (0);

    spew($stop, '');

    for my $client (splice @load) {
        my ($g, @b) = split ' ', readline $client->{read};

        $good += $g;
        push @bad, map { [ split /-/ ] } @b;
        waitpid $client->{pid}, 0;
    }

    return ($good, @bad);
}

sub reached { header(ask($port, mailbox_id($_[0])), 'X-Server') || '' }


# a new binary: two masters with a zone each, then only the new one

{
    my $front = front_end('upgrade', 2, 'interval=100ms timeout=2s fails=2', 11, 12);
    my $pid_file = "$front->{prefix}/logs/nginx.pid";
    my %old = (%$front);

    wait_for { verdict($front, 11) && verdict($front, 12) };

    my @workers = workers($front);

    load();
    signal_nginx($front, 'USR2');
    wait_for { -s "$pid_file.oldbin" && -s $pid_file };
    ($front->{pid}) = slurp($pid_file) =~ /(\d+)/;
    wait_for { workers($front) == 2 };

    my $new = join '|', workers($front);

    wait_for { verdict($front, 11, qr/(?:$new)/)
               && verdict($front, 12, qr/(?:$new)/) };
    ok(1, 'upgrade: the new workers find out for themselves');

    spew("$moods/127.0.0.11", '');
    wait_for { verdict($front, 11, qr/(?:$new)/) =~ /^failing/ };
    wait_for { my $all = join '|', @workers;
               verdict($front, 11, qr/(?:$all)/) =~ /^failing/ };
    ok(1, '... both check as long as both are there');

    kill 'WINCH', $old{pid};

    # the new master is a child of the old one

    wait_for { workers(\%old) == 1 };
    unlink "$moods/127.0.0.11";
    wait_for { verdict($front, 11, qr/(?:$new)/) =~ /^alive/ };
    wait_for { reached(1) eq home_of(1) };
    ok(1, '... the new ones go on alone');

    kill 'QUIT', $old{pid};
    wait_for { !MapiRig::is_running($old{pid}) };
    spew("$moods/127.0.0.11", '');
    wait_for { verdict($front, 11, qr/(?:$new)/) =~ /^failing/ };
    wait_for { reached(1) eq home_of(2) };
    unlink "$moods/127.0.0.11";
    wait_for { reached(1) eq home_of(1) };
    ok(1, '... and when the old master is gone');

    my ($good, @bad) = results();

    cmp_ok($good, '>', 100, "... there was load: $good requests");
    is(scalar @bad, 0, '... and none was lost');
    stop_nginx($front);
}


# the worker that checks is killed: what it had in flight ends, nothing else

{
    my $quiet = listen_on('127.0.0.13', $backend);
    my $front = front_end('killed', 2, 'interval=100ms timeout=10s fails=2',
                          11, 12, 13);

    wait_for { verdict($front, 11) && verdict($front, 12) };

    my ($checker) = log_of($front) =~ /(\d+)#\d+: mapi: server 127/;
    my @polls;

    for (1 .. 20) {
        my $client = connect_to($port);
        my ($peer, @checks);

        $client->send(post(mailbox_id(3), 'X-Poll: yes'));

        while (!$peer) {
            my $end = $quiet->accept;

            $peer = $end if $end->read_request->{line} =~ /emsmdb/;
            push @checks, $end if !$peer;
        }

        $peer->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    . "c\r\nPROCESSING\r\n\r\n");
        $client->read_until(qr/PROCESSING\r\n\r\n/);
        push @polls, [ $client, $peer, @checks ];
    }

    load($quiet, map { @$_ } @polls);

    my $before = time();

    wait_for { time() > $before + 0.5 };
    allow_log(qr/exited on signal 9/);
    kill 'KILL', $checker;
    wait_for { !grep { $_ == $checker } workers($front) };

    my $killed = time();
    my ($ended, $others) = (0, 0);

    for (@polls) {
        my ($client, $peer) = @$_;

        # the kernel closes what was the dead worker's
        if ($client->ready(0)) {
            $ended++ if $client->at_end(0);
            next;
        }

        $peer->send("6\r\nDONE\r\n\r\n0\r\n\r\n");
        $others++ if $client->read_until(qr/DONE\r\n\r\n0\r\n\r\n/);
    }


    # how many of them each worker has is the kernel's choice
    is($ended + $others, 20, "$ended of 20 polls were the killed worker's, "
       . 'the others go on');

    # from another worker, when nobody has had the lease for three seconds

    # the server of the polls goes, with what nginx has kept of it

    for my $end ($quiet, map { @$_ } @polls) {
        $end->close;
    }

    wait_for { workers($front) == 2 };
    spew("$moods/127.0.0.11", '');

    my $left = join '|', workers($front);

    wait_for { verdict($front, 11, qr/(?:$left)/) =~ /^failing/ };
    ok(1, 'checks go on');
    unlink "$moods/127.0.0.11";

    my ($good, @bad) = results();

    cmp_ok($good, '>', 100, "there was load: $good requests");
    cmp_ok(scalar @bad, '<=', 4, scalar(@bad) . ' requests of four clients '
           . 'were lost');
    is((grep { $_->[0] > $killed } @bad), 0, '... none that began afterwards');
    stop_nginx($front);
}

stop_nginx($back);
done_testing();
