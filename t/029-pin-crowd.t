# A crowd in front of pinned connections.  Dozens of clients log on, ask, leave
# and break off in an order of chance, servers hang up when they like, strangers
# ask in between; and nobody is ever served as somebody else.
#
# Both ends watch.  Clients know who they are; the scripted servers
# (MapiLogonServer.pm) remember who has logged on with which connection, and
# hear from each request who really sent it.
#
# The dice are thrown before a crowd sets out, so that a seed gives the same
# crowd; in which order answers arrive is the machine's affair.
#
#   MAPI_SEED=N         another crowd (printed at the start)
#   MAPI_LOGONS=100000  so many logons for the look at memory (default 3000)
#   MAPI_DEBUG=1        nginx's debug log (slow; with MAPI_KEEP=1 it stays)
#
# To see this file fail, break the rule in ngx_mapi_pin_free_peer(), file
# ngx_mapi_module/nginx/ngx_mapi_pin.c.  Without the line "u->keepalive = 0;"
# tainted connections that are not kept go to the pool; without "pd->tainted ||"
# a logon whose answer says nothing of it does.  Strangers are served then.

use strict;
use warnings;

use Carp qw( croak );
use IO::Select;
use List::Util qw( shuffle );
use MIME::Base64 qw( encode_base64 );
use Test::More;
use Time::HiRes qw( time );

use MapiRig;
use MapiRoad;
use MapiLogonServer;

my $seed = $ENV{MAPI_SEED} || 20130;
my $logons = $ENV{MAPI_LOGONS} || 3000;
my $patience = $ENV{MAPI_SANITIZE} ? 60 : 20;
my $began = time();

# a sanitizer keeps freed memory for a while, which would look like a leak
$ENV{ASAN_OPTIONS} = join ':', grep { defined && $_ ne '' }
                     $ENV{ASAN_OPTIONS}, 'quarantine_size_mb=1';

# ports come from the same dice: before the seed
my $backend = free_port('127.0.0.11');
my @ports = map { free_port() } 1 .. 32;

my @servers = qw( 127.0.0.11 127.0.0.12 );
my $server = MapiLogonServer->start($backend, @servers);
my $directory = make_directory('main', directory_csv(count => 600));

my ($one, $two) = (ntlm_message(1), ntlm_message(2));

diag("seed $seed");


# nginx

my $fronts = 0;

sub front_end
{
    my (%o) = @_;
    my $port = shift @ports;
    my $level = $ENV{MAPI_DEBUG} ? 'debug' : 'info';
    my $workers = $o{workers} || 1;
    my $mapi = $o{block} =~ /^\s*mapi\b[^_]/m ? 'mapi on;' : '';
    my $lines = join '', map { "server $_:$backend max_fails=0;\n" } @servers;

    (my $block = $o{block}) =~ s/%SERVERS%/$lines/;

    my $nginx = start_nginx('front' . ++$fronts, <<"EOT");
worker_processes $workers;
events { worker_connections 1024; }
http {
    access_log off;
    error_log %PREFIX%/logs/error.log $level;
    mapi_directory $directory;

    keepalive_timeout 60s;
    keepalive_requests 1000000;
    large_client_header_buffers 8 64k;
    proxy_buffer_size 8k;
    proxy_read_timeout 120s;

    upstream exchange {
        $block
    }

    server {
        listen 127.0.0.1:$port;

        location / {
            $mapi
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            @{[ $o{location} || '' ]}
            add_header X-Upstream \$upstream_addr always;
            add_header X-Route \$mapi_route always;
            proxy_pass http://exchange;
        }
    }
}
EOT

    return { nginx => $nginx, port => $port, prefer => $o{prefer} || 'pinned',
             routed => $mapi ne '' };
}


# A client: one TCP connection at a time to the front end, one request at a
# time on it.  Its queue holds what it does when no answer is due.

my $front;
my $connections = 0;
my @wrong;
my %seen;

sub new_client
{
    my ($number, %o) = @_;

    # of the mailboxes n, those with n % 3 == 1 live on the first server and
    # those with n % 3 == 2 on the second

    return {
        user => "user$number", mailboxes => [ 3 * $number + 1, 3 * $number + 2 ],
        calm => 1, queue => [], logged_on => {}, half => 0, logons => 0, %o,
    };
}


sub wrong
{
    my ($c, $what) = @_;

    push @wrong, "client $c->{number} ($c->{user}): $what" if @wrong < 20;
}


sub hang_up
{
    my ($c) = @_;

    $c->{end}->close if $c->{end};
    $c->{end} = undef;
}


sub dial
{
    my ($c) = @_;

    $c->{number} = ++$connections;
    $c->{end} = connect_to($front->{port});
    $c->{logged_on} = {};
    $c->{half} = 0;
}


# do: what the server shall do; authorization; cut: the client itself breaks
# off, in the head or the body of the request or before the answer

sub ask_for
{
    my ($c, $place, $then, %o) = @_;

    dial($c) if !$c->{end};

    my $size = $o{cut} && $o{cut} eq 'body' ? 50000 : $o{size} || 0;
    my @headers = ("X-Test-Who: $c->{user}", "X-Test-Client: $c->{number}");

    push @headers, "X-Test-Do: $o{do}" if $o{do};
    push @headers, "Authorization: $o{authorization}" if $o{authorization};
    push @headers, "Content-Length: $size" if $size || !$o{get};

    my $text = request($o{get} ? 'GET' : 'POST', '/mapi/emsmdb/?MailboxId='
                       . mailbox_id($c->{mailboxes}[$place]), @headers)
               . 'x' x $size;

    if ($o{cut}) {
        $text = substr $text, 0, length($text) / 2 if $o{cut} ne 'answer';
        $c->{end}->send($text);
        hang_up($c);
        return;
    }

    # who is too late for a connection that was closed learns it by reading
    $c->{then} = $then;
    $c->{end}->send($text);
}


# A whole answer, or undef.  At the connection's end also a broken one, which
# has no {complete}.

sub answer_of
{
    my ($c, $ended) = @_;
    my $end = $c->{end};

    return if $end->{buffer} !~ /\r\n\r\n/;

    if (!$ended) {
        my $size = $+[0];

        $size += $1 if $end->{buffer} =~ /^Content-Length: *(\d+)/mi;
        return if length $end->{buffer} < $size;
    }

    return $end->read_answer;
}


# all of them at once, until none has anything left to do

sub run_crowd
{
    my @idle = @_;
    my %busy;
    my $select = IO::Select->new;

    while (@idle || %busy) {
        @idle = shuffle @idle;

        for my $c (splice @idle, 0, 1 + int rand @idle) {
            my $step = shift @{ $c->{queue} } or next;

            $step->($c);

            if ($c->{then}) {
                $select->add($c->{end}{socket});
                $busy{$c->{end}{socket}->fileno} = $c;

            } else {
                push @idle, $c;
            }
        }

        next if !%busy;

        my @ready = $select->can_read(@idle ? 0 : $patience);

        croak scalar(keys %busy) . ' clients wait for an answer in vain'
            if !@idle && !@ready;

        for my $socket (@ready) {
            my $c = $busy{$socket->fileno};
            my $n = sysread $socket, $c->{end}{buffer}, 65536,
                            length $c->{end}{buffer};
            my $answer = answer_of($c, !$n);

            next if $n && !$answer;

            $select->remove($socket);
            delete $busy{$socket->fileno};

            my $then = delete $c->{then};

            take($c, $answer, $then, !$n);
            push @idle, $c;
        }
    }
}


# what holds for every answer, then what the step expects

sub take
{
    my ($c, $answer, $then, $ended) = @_;
    my $status = $answer ? $answer->{status} : 0;
    my $user = $answer ? header($answer, 'X-User') : undef;

    $seen{answers}++;

    if ($answer && $status < 500) {
        my ($address) = header($answer, 'X-Upstream') =~ /([\d.]+):\d+$/;

        wrong($c, "served by " . header($answer, 'X-Server')
                  . ", counted for $address")
            if header($answer, 'X-Server') ne $address;
    }

    wrong($c, "$status as " . (defined $user ? $user : 'nobody'))
        if defined $user ? $status != 200 : $status == 200;

    # nothing happens to the calm that they did not ask for

    if ($c->{calm}) {
        wrong($c, $status ? "status $status" : 'no answer')
            if $status != 200 && $status != 401;
        wrong($c, 'an answer breaks off')
            if $answer && !$answer->{complete} && !$c->{stranger};
        wrong($c, "$status closes the client's connection")
            if $answer && (header($answer, 'Connection') || '') eq 'close';
    }

    my $over = $ended || (header($answer, 'Connection') || '') eq 'close';

    hang_up($c) if $over;
    $then->($c, $answer, $user, $status);
}


# whether a request without credentials must find a logon

sub is_entitled
{
    my ($c, $place) = @_;
    my %in = %{ $c->{logged_on} };

    return scalar %in if $front->{prefer} eq 'pinned';
    return $in{$servers[$place]} if $front->{routed};

    # whichever server is next
    return !grep { !$in{$_} } @servers;
}


# The steps.

# without credentials

sub plain
{
    my ($c, $place, %o) = @_;

    ask_for($c, $place, sub {
        my (undef, $answer, $user, $status) = @_;

        if ($status == 200) {
            $seen{served}++;
            wrong($c, "is served as $user")
                if ($user || '') ne "CONTOSO\\$c->{user}";
            wrong($c, 'is served without a logon') if !%{ $c->{logged_on} };

            if ($c->{calm} && $front->{routed} && $front->{prefer} eq 'route') {
                my $home = $servers[$place];

                wrong($c, "$home\'s mailbox is served by "
                          . header($answer, 'X-Server'))
                    if header($answer, 'X-Server') ne $home;
            }

        } elsif ($status == 401) {
            $seen{stranger}++ if $c->{stranger};
            wrong($c, 'has lost its logon')
                if $c->{calm} && is_entitled($c, $place);

            unshift @{ $c->{queue} }, sub { logon($c, $place) }
                if $o{follow} && !$c->{stranger};
        }
    }, %o);
}


# scheme, name; other: type 3 is for the mailbox on the other server; half: type
# 1 alone; first, do: what the server does about types 1 and 3

sub logon
{
    my ($c, $place, %o) = @_;
    my $scheme = $o{scheme} || 'NTLM';

    ask_for($c, $place, sub {
        my (undef, $answer, $user, $status) = @_;
        my $challenge = $answer ? header($answer, 'WWW-Authenticate') : undef;

        wrong($c, "type 1 is answered as to $user") if defined $user;

        if (!$answer || $status != 401 || $challenge ne "$scheme $two") {
            wrong($c, "type 1 is answered $status, "
                      . (defined $challenge ? $challenge : '')) if $c->{calm};
            return;
        }

        $c->{half} = 1;

        unshift @{ $c->{queue} }, sub {
            logon_ends($c, $o{other} ? 1 - $place : $place, $answer, %o);
        } if !$o{half};
    }, authorization => "$scheme $one", do => $o{first});
}


sub logon_ends
{
    my ($c, $place, $first, %o) = @_;
    my $scheme = $o{scheme} || 'NTLM';
    my $name = $o{name} || $c->{user};
    my $open = $c->{half};

    ask_for($c, $place, sub {
        my (undef, $answer, $user, $status) = @_;

        $c->{half} = 0;

        if ($status == 200) {
            wrong($c, 'logs on with half a handshake') if !$open;
            logged_on($c, $answer, $user);
        }

        if ($c->{calm}) {
            wrong($c, "type 3 is answered $status") if $status != 200;
            wrong($c, 'types 1 and 3 on two connections')
                if header($answer, 'X-Connection')
                   ne header($first, 'X-Connection');
        }
    }, authorization => "$scheme "
                        . ntlm_message(3, 'CONTOSO', $name), do => $o{do},
       cut => $o{cut}, size => $o{size});
}


sub kerberos
{
    my ($c, $place) = @_;

    ask_for($c, $place, sub {
        my (undef, $answer, $user, $status) = @_;

        logged_on($c, $answer, $user) if $status == 200;
        wrong($c, "a ticket is answered $status")
            if $status != 200 && $c->{calm};
    }, authorization => 'Negotiate '
                        . encode_base64("KRB5 CONTOSO\\$c->{user}", ''));
}


sub logged_on
{
    my ($c, $answer, $user) = @_;

    $seen{logons}++;
    $c->{logons}++;
    $c->{logged_on}{header($answer, 'X-Server')} = 1;
    wrong($c, "has logged on as $user") if $user ne "CONTOSO\\$c->{user}";
}


# credentials of one request, which log nothing on

sub for_once
{
    my ($c, $place, $name, $authorization) = @_;

    ask_for($c, $place, sub {
        my (undef, $answer, $user, $status) = @_;

        $seen{once}++;
        wrong($c, "asks as $name, is served as $user")
            if defined $user && $user ne $name;
        wrong($c, "credentials of $name are answered $status")
            if $c->{calm} && $status != ($name eq '' ? 401 : 200);
        wrong($c, 'an empty Bearer without its challenge')
            if $c->{calm} && $name eq ''
               && header($answer, 'WWW-Authenticate') !~ /^Bearer,/;
    }, authorization => $authorization);
}


# The dice.

sub one_of
{
    return $_[int rand @_];
}


# what a life on one client connection consists of; wild ones are disturbed, or
# disturb themselves; strangers disturb nobody

sub life
{
    my ($c, $wild) = @_;
    my @steps;

    for (1 .. 4 + int rand 10) {
        my $place = int rand 2;
        my $dice = rand;
        my %o = (follow => rand() < 0.85, get => rand() < 0.3);

        $o{do} = 'later' if rand() < 0.1;
        $o{size} = int rand 20000 if !$o{get} && rand() < 0.1;

        if ($c->{stranger}) {
            $o{do} = 'half' if rand() < 0.02;
            $o{do} = 'close' if rand() < 0.05;

            push @steps, $dice < 0.8 ? sub { plain($_[0], $place, %o) }
                : sub { for_once($_[0], $place, '', 'Bearer') };

        } elsif ($wild && $dice < 0.25) {
            $o{do} = one_of(qw( close drop drop half none ));
            push @steps, sub { plain($_[0], $place, %o) };

        } elsif ($wild && $dice < 0.32) {
            push @steps, sub { $server->hang_up($_[0]{number})
                                   if $_[0]{end}; };

        } elsif ($wild && $dice < 0.40) {
            push @steps, sub { logon($_[0], $place, half => 1) };

        } elsif ($wild && $dice < 0.45) {
            push @steps, sub { logon_ends($_[0], $place) };

        } elsif ($wild && $dice < 0.50) {
            push @steps, sub { logon($_[0], $place, name => 'wrong') };

        } elsif ($wild && $dice < 0.57) {
            my %how = (one_of(qw( first do )),
                       one_of(qw( close drop half none )));
            push @steps, sub { logon($_[0], $place, %how) };

        } elsif ($dice < 0.75) {
            push @steps, sub { plain($_[0], $place, %o) };

        } elsif ($dice < 0.85) {
            my %how = (scheme => one_of(qw( NTLM Negotiate )),
                       other => rand() < 0.3, do => $o{do});
            push @steps, sub { logon($_[0], $place, %how) };

        } elsif ($dice < 0.88) {
            push @steps, sub { kerberos($_[0], $place) };

        } else {
            my $name = 'once' . int rand 1000;
            my @pair = @{ one_of([ $name, 'Basic '
                                          . encode_base64("$name:x", '') ],
                                 [ $name, "Bearer $name" ],
                                 [ '', 'Bearer' ]) };
            push @steps, sub { for_once($_[0], $place, @pair) };
        }
    }

    return @steps;
}


# how a life ends

sub farewell
{
    my ($c) = @_;
    my $place = int rand 2;
    my $cut = one_of(qw( head body answer ));
    my %o = (cut => $cut, $cut eq 'answer' ? (do => 'later') : ());

    return sub { hang_up($_[0]) } if $c->{stranger} || rand() < 0.3;

    return one_of(
        sub { plain($_[0], $place, %o) },
        sub { logon_ends($_[0], $place, undef, %o) },

        # in the middle of a handshake
        sub {
            logon($_[0], $place, half => 1);
            unshift @{ $_[0]{queue} },
                sub { logon_ends($_[0], $place, undef, %o) };
        },
        sub {
            logon($_[0], $place, half => 1);
            unshift @{ $_[0]{queue} }, sub { hang_up($_[0]) };
        });
}


sub add_life
{
    my ($c, $wild) = @_;
    my $user = $c->{stranger} ? $c->{user} : 'user' . int rand 8;

    push @{ $c->{queue} },
        sub { $_[0]{user} = $user; $_[0]{calm} = !$wild; },
        life($c, $wild), farewell($c),
        sub { hang_up($_[0]) };
}


# nothing with a logon is left three seconds after the clients are gone

sub all_is_quiet
{
    my ($name) = @_;
    my $deadline = time() + 3;
    my $report;

    do {
        $report = $server->report;
        select undef, undef, undef, 0.02;
    } while ($report->{tainted} && time() < $deadline);

    is($report->{tainted}, 0,
       "$name: three seconds later no authenticated connection is left");
}


# nginx ends, and each worker says what became of its pins

sub the_books_balance
{
    my ($name) = @_;
    my @wrong;
    my $opened = 0;

    stop_nginx($front->{nginx});

    for my $line (log_of($front->{nginx}) =~ /(pins of upstream .*)/g) {
        my ($n, $left, $closed) =
            $line =~ /: opened (\d+), pinned (\d+); closed ([^;]*);/;

        $n -= $_ for $closed =~ /(\d+)/g;
        push @wrong, $line if $n != 0 || $left != 0;
        $opened += $1 if $line =~ /opened (\d+)/;
    }

    is(join("\n", @wrong), '', "$name: each pin that was opened was closed");
    cmp_ok($opened, '>', 0, '... and there were some');
}


sub nobody_is_mixed_up
{
    my ($name) = @_;

    is(join("\n", splice @wrong), '', "$name: everybody is himself");
    is(join("\n", $server->crimes), '',
       "$name: the servers saw nobody on another's connection");
    is($server->report->{stale}, 0,
       "$name: ... and nobody on a connection that had refused a logon");
}


# 1. in an order of chance

my @crowds = (
    [ 'router, no keepalive', block => "mapi;\n%SERVERS%" ],
    [ 'router, keepalive 1', block => "mapi;\n%SERVERS%keepalive 1;" ],
    [ 'router, keepalive 64, zone, two workers', workers => 2,
      block => "zone z 256k;\nmapi;\n%SERVERS%keepalive 64;" ],
    [ 'router, prefer=route', prefer => 'route',
      block => "mapi;\nmapi_pin on prefer=route;\n%SERVERS%keepalive 64;" ],
    [ 'router, one pin for each client', prefer => 'route', wild => 1,
      block => "mapi;\nmapi_pin on max=1 idle=1s prefer=route;\n%SERVERS%"
               . 'keepalive 4;' ],
    [ 'router, reloads', prefer => 'pinned', wild => 1, reload => 1,
      block => "zone z 256k;\nmapi;\n%SERVERS%keepalive 64;" ],
    [ 'owner, keepalive 1', prefer => 'route',
      block => "mapi owner;\n%SERVERS%keepalive 1;" ],
    [ 'owner, prefer=pinned, zone, unbuffered',
      block => "zone z 256k;\nmapi owner;\nmapi_pin on prefer=pinned;\n"
               . '%SERVERS%keepalive 64;',
      location => 'proxy_request_buffering off; proxy_buffering off;' ],
    [ 'round robin, no keepalive', block => "mapi_pin on;\n%SERVERS%" ],
    [ 'round robin, prefer=route, keepalive 8', prefer => 'route',
      block => "mapi_pin on prefer=route;\n%SERVERS%keepalive 8;" ],
    [ 'least_conn, keepalive 64, zone',
      block => "zone z 256k;\nleast_conn;\nmapi_pin on;\n%SERVERS%"
               . 'keepalive 64;' ],
    [ 'hash, keepalive 1, unbuffered',
      block => "hash \$arg_MailboxId;\nmapi_pin on;\n%SERVERS%keepalive 1;",
      location => 'proxy_request_buffering off; proxy_buffering off;' ],
    [ 'router, keepalive 0', block => "mapi;\n%SERVERS%keepalive 0;" ],
);

for my $case (@crowds) {
    my ($name, %o) = @$case;
    my $start = time();

    $front = eval { front_end(%o) };

    # 0 is a number for nginx 1.29.7 and later only
    if (!$front) {
        die $@ if $@ !~ /invalid value "0" in "keepalive" directive/;
        note("$name: not for this nginx");
        next;
    }

    srand($seed);
    %seen = ();
    $server->forget;

    my @crowd = map { new_client($_) } 0 .. 35;

    push @crowd, map { new_client($_, user => "stranger$_", stranger => 1) }
                 36 .. 47;

    for my $c (@crowd) {
        for my $life (1 .. 6) {
            add_life($c, $o{wild} || !$c->{stranger} && rand() < 0.5);

            # nginx takes leave of clients that are idle then
            push @{ $c->{queue} },
                 sub { signal_nginx($front->{nginx}, 'HUP') }
                if $o{reload} && !$c->{stranger} && rand() < 0.03;
        }
    }

    run_crowd(@crowd);
    nobody_is_mixed_up($name);

    my $report = $server->report;

    # it was a crowd
    cmp_ok($seen{$_} || 0, '>=', 100, "$name: $_")
        for qw( logons stranger once served );
    cmp_ok($report->{refused}, '>=', 20, "$name: refused");

    all_is_quiet($name);
    the_books_balance($name);
    note(sprintf '%s: %d answers, %d logons, %.1f s', $name, $seen{answers},
         $seen{logons}, time() - $start);
}

note(sprintf 'crowds done after %.1f s', time() - $began);


# 2. 120 clients in waves, nobody disturbs them

for my $case (
    [ 'router', 'pinned', "mapi;\n%SERVERS%keepalive 16;" ],
    [ 'router', 'route',
      "mapi;\nmapi_pin on prefer=route;\n%SERVERS%keepalive 16;" ],
    [ 'owner', 'pinned', "zone z 256k;\nmapi owner;\n"
                         . "mapi_pin on prefer=pinned;\n%SERVERS%" ],
    [ 'owner', 'route', "zone z 256k;\nmapi owner;\n%SERVERS%" ])
{
    my ($mode, $prefer, $block) = @$case;
    my $name = "$mode, prefer=$prefer";
    my $each = $prefer eq 'pinned' ? 1 : 2;
    my $start = time();

    $front = front_end(block => $block, prefer => $prefer);
    srand($seed);
    %seen = ();
    $server->forget;

    my @all;

    for my $wave (1 .. 6) {
        my @new = map { new_client(@all + $_) } 0 .. 19;

        push @all, @new;

        # each begins with its own mailbox and meets a 401
        for my $c (@new) {
            push @{ $c->{queue} },
                map { my $place = $_;
                      sub { plain($_[0], $place, follow => 1) } } 0, 1;
        }

        for my $c (@all) {
            push @{ $c->{queue} },
                map { my $place = int rand 2;
                      my %o = rand() < 0.1 ? (do => 'later') : ();
                      sub { plain($_[0], $place, follow => 1, %o) } } 1 .. 5;
        }

        my $stranger = new_client(190, user => 'stranger', stranger => 1);

        $stranger->{queue} = [ map { my $place = $_ % 2;
                                     sub { plain($_[0], $place) } } 1 .. 20 ];
        run_crowd(@all, $stranger);
        hang_up($stranger);
    }

    my $report = $server->report;
    my @lost = grep { $_->{logons} != $each } @all;

    is($report->{logons}, 120 * $each, "$name: 120 clients log on, "
       . ($each == 1 ? 'once each' : 'once each with each server'));
    is(scalar @lost, 0, "$name: none of them once more");
    is($report->{authenticated}, 120 * $each, "$name: as many connections");
    is($report->{challenges}, 120 * $each, "$name: no handshake was in vain");
    is($seen{stranger}, 120, "$name: strangers get 401");

    # and they leave in waves

    while (my @leaving = splice @all, 0, 40) {
        hang_up($_) for @leaving;

        my $left = @all * $each;

        wait_for { $server->report->{authenticated} <= $left };
        is($server->report->{authenticated}, $left,
           "$name: $left connections are left");

        push @{ $_->{queue} }, map { my $place = $_;
                                     sub { plain($_[0], $place) } } 0, 1
            for @all;
        run_crowd(@all);
    }

    nobody_is_mixed_up($name);
    all_is_quiet($name);
    the_books_balance($name);
    note(sprintf '%s: %d answers, %.1f s', $name, $seen{answers},
         time() - $start);
}


# 3. an empty Bearer, as Outlook begins: its connection is anybody's

for my $case ([ 'router', "mapi;\n%SERVERS%keepalive 1;" ],
              [ 'round robin', "mapi_pin on;\n%SERVERS%keepalive 2;" ])
{
    my ($name, $block) = @$case;
    my $hash = $name eq 'router' ? 0 : 1;

    $front = front_end(block => $block);
    $server->forget;

    my $outlook = new_client(0);
    my $number = 0;
    my @connections;

    my $ask = sub {
        my ($user, @headers) = @_;
        my $answer = ask($front->{port}, mailbox_id(1), "X-Test-Who: $user",
                         'X-Test-Client: ' . ++$connections, @headers);

        push @connections, header($answer, 'X-Connection');
        return $answer;
    };

    for (1 .. 3) {
        is($ask->('ada', 'Authorization: Bearer')->{status}, 401,
           "$name: an empty Bearer is refused");
        is($ask->('eve')->{status}, 401, '... and so is a stranger');
        is(header($ask->('bob', basic('CONTOSO\\bob')), 'X-User'),
           'CONTOSO\\bob', '... but not Basic');
        is(header($ask->('kim', 'Authorization: Bearer kim'), 'X-User'), 'kim',
           '... nor a Bearer with a token');
    }

    my %pooled = map { $_ => 1 } @connections;

    is(scalar keys %pooled, 1 + $hash,
       "$name: all of that on one connection to a server");

    # while the client, which stays, thinks of what to do

    $outlook->{queue} = [ sub { for_once($_[0], 0, '', 'Bearer') } ];
    run_crowd($outlook);

    my $answer = $ask->('eve');

    is($answer->{status}, 401, "$name: a stranger comes, and is refused");
    ok($pooled{header($answer, 'X-Connection')},
       '... on the connection of the empty Bearer');

    # it logs on, which happens elsewhere

    $outlook->{queue} = [ sub { logon($_[0], 0) }, sub { plain($_[0], 0) } ];
    run_crowd($outlook);
    is($outlook->{logons}, 1, "$name: the client logs on");
    is($ask->('eve')->{status}, 401, '... the stranger does not');

    hang_up($outlook);
    nobody_is_mixed_up($name);
    all_is_quiet($name);
    the_books_balance($name);
}


# 4. memory

sub resident
{
    my $sum = 0;

    for my $pid (MapiRig::workers_of($front->{nginx})) {
        slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+) kB/m
            or die "worker $pid has no size";
        $sum += $1;
    }

    return $sum;
}


# so many logons by thirty clients: each on a new connection, or all on the one
# that the client has

sub log_on_often
{
    my ($clients, $count, $stay) = @_;

    for my $i (0 .. $count - 1) {
        my $c = $clients->[$i % @$clients];
        my $place = $i / @$clients % 2;

        push @{ $c->{queue} },
            sub { logon($_[0], $place) },
            sub { plain($_[0], $place) },
            $stay ? () : sub { hang_up($_[0]) };
    }

    run_crowd(@$clients);
}

for my $case ([ 'each on a connection of its own', 0, $logons ],
              [ 'all on thirty client connections', 1, $logons ])
{
    my ($name, $stay, $count) = @$case;
    my $start = time();

    # debug lines cost time, not memory
    $front = front_end(block => "zone z 256k;\nmapi;\n%SERVERS%keepalive 8;");
    srand($seed);
    $server->forget;

    my @clients = map { new_client($_) } 0 .. 29;

    # what grows once has grown: at the most connections that are open at once
    log_on_often(\@clients, 600, $stay);

    my $before = resident();

    # not more steps at once than needed, the test has memory, too
    for (my $left = $count; $left > 0; $left -= 3000) {
        log_on_often(\@clients, $left < 3000 ? $left : 3000, $stay);
    }

    my $grown = resident() - $before;

    is($server->report->{logons}, 600 + $count, "$count logons, $name");
    cmp_ok($grown, '<=', $ENV{MAPI_SANITIZE} ? 4096 : 400,
           '... do not make a worker grow');
    hang_up($_) for @clients;
    nobody_is_mixed_up($name);
    all_is_quiet($name);
    the_books_balance($name);
    note(sprintf '%d logons, %s: %d kB, %.1f s', $count, $name, $grown,
         time() - $start);
}

$server->stop;
note(sprintf 'all done after %.1f s', time() - $began);
done_testing();
