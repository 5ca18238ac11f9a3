package MapiLogonServer;

# Mailbox servers for tests, played by one process of its own.  Like IIS they
# remember who has logged on with a TCP connection, and they look at every
# request with suspicion: clients say in headers who they really are, so that
# a request on somebody else's connection is noticed here, too.
#
#   $server = MapiLogonServer->start($port, @addresses)
#   $server->report          counters since the start or the last forget():
#                            a hash, see below
#   $server->crimes          what must never happen, a sentence each, with the
#                            history of the connection
#   $server->forget          counters, crimes and records begin anew
#   $server->record          the latest requests, one hash each: connection,
#                            server, client, who, asked (the Authorization's
#                            scheme and type), user (who was served), status
#   $server->hang_up($client)   closes the idle connections on which a logon of
#                            that client's began; how many these were
#   $server->stop
#
# A client writes into each request
#
#   X-Test-Who      its user's name; strangers have one, too
#   X-Test-Client   a number for its own TCP connection
#   X-Test-Do       what shall happen besides:
#       later       the answer comes a moment later
#       close       it says "Connection: close", and the connection is closed
#       drop        the connection is closed after the answer without a word; a
#                   connection without a logon, which others use, says so
#       half        it is closed in the middle of the answer
#       none        it is closed instead of an answer
#
# What is answered:
#
#   Authorization: NTLM|Negotiate|Nego2 <type 1>    401, <type 2>
#   <type 3>        200 where this connection was sent a type 2 and nothing
#                   of a logon came in between, now it is DOMAIN\user's.  Else
#                   401 without a token, and 401 for ever on this connection.
#                   Users whose name begins with "wrong" meet the same.
#   Negotiate "KRB5 DOMAIN\user" (base64)    200 at once, as with Kerberos;
#                   every second one says "Persistent-Auth: true"
#   Basic, Bearer <user>     200, for this request only
#   Bearer without a token   401 with bare challenges
#   none            200 where the connection has a logon, else 401 with bare
#                   challenges "Negotiate" and "NTLM"
#
# Every answer has X-Server and X-Connection (a number for each TCP connection),
# those with 200 have X-User.
#
# Counters: accepted, requests, logons, challenges, refused (types 3 without a
# logon), basic, bearer, empty_bearer, bare (401 without a token), stale
# (requests on a connection that is 401 for ever).  Of the moment: open
# connections, authenticated ones, tainted ones (any token ever).

use strict;
use warnings;

use Carp qw( croak );
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use MIME::Base64 qw( decode_base64 );
use POSIX ();
use Socket qw( AF_UNIX SOCK_STREAM PF_UNSPEC SOMAXCONN );
use Time::HiRes qw( time );

use MapiRoad ();

my $moment = 0.03;
my $patience = $ENV{MAPI_SANITIZE} ? 60 : 20;
my $type2 = MapiRoad::ntlm_message(2);
my @counters = qw( accepted requests logons challenges refused basic bearer
                   empty_bearer bare stale );


# the test's side

sub start
{
    my ($class, $port, @addresses) = @_;

    my @listeners = map {
        IO::Socket::INET->new(LocalAddr => $_, LocalPort => $port,
                              Proto => 'tcp', Listen => SOMAXCONN,
                              ReuseAddr => 1, Blocking => 0)
            or croak "cannot listen on $_:$port: $!"
    } @addresses;

    my ($near, $far) = IO::Socket->socketpair(AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or croak "socketpair: $!";

    my $pid = fork();
    defined $pid or croak "fork: $!";

    if ($pid == 0) {
        # nothing of the test's own end may run here
        close $near;
        eval { play($far, @listeners) };
        print STDERR "# MapiLogonServer: $@" if $@;
        POSIX::_exit($@ ? 1 : 0);
    }

    close $_ for $far, @listeners;

    return bless { control => $near, pid => $pid, buffer => '' }, $class;
}


# one line there, lines up to an empty one back

sub ask
{
    my ($self, $line) = @_;
    my $select = IO::Select->new($self->{control});

    syswrite $self->{control}, "$line\n";

    while ($self->{buffer} !~ /(?:^|\n)\n/) {
        $select->can_read($patience)
            && sysread $self->{control}, $self->{buffer}, 65536,
                       length $self->{buffer}
            or croak 'the scripted server is gone';
    }

    $self->{buffer} =~ s/^(.*?)(?:^|(?<=\n))\n//s;

    return split /\n/, $1;
}


sub report
{
    my ($self) = @_;

    return { map { split ' ', $_, 2 } $self->ask('report') };
}


sub crimes
{
    my ($self) = @_;

    return $self->ask('crimes');
}


sub record
{
    my ($self) = @_;

    return map {
        my %entry;
        @entry{qw( connection server client who asked user status )} =
            split /\t/;
        \%entry;
    } $self->ask('record');
}


sub forget
{
    my ($self) = @_;

    $self->ask('forget');
}


sub hang_up
{
    my ($self, $client) = @_;

    return ($self->ask("hang_up $client"))[0];
}


sub stop
{
    my ($self) = @_;
    my $control = delete $self->{control} or return;

    close $control;
    waitpid $self->{pid}, 0;
}


sub DESTROY
{
    my ($self) = @_;

    # $? is the test's own
    local ($?, $!, $@);
    $self->stop;
}


# the server's side

my (%connections, %count, @crimes, @record, @later, $select);
my $last_connection = 0;


sub play
{
    my ($control, @listeners) = @_;
    my %listener = map { $_->fileno => $_ } @listeners;
    my $commands = '';

    $SIG{$_} = 'DEFAULT' for qw( INT TERM );
    $SIG{PIPE} = 'IGNORE';
    forget_all();
    $select = IO::Select->new($control, @listeners);

    while (1) {
        my $wait = @later ? $later[0][0] - time() : undef;

        for my $socket ($select->can_read(defined $wait && $wait < 0
                                          ? 0 : $wait))
        {
            my $number = $socket->fileno;

            # closed a moment ago, in this round
            next if !defined $number;

            if ($listener{$number}) {
                greet($listener{$number});

            } elsif ($connections{$number}) {
                hear($connections{$number});

            } else {
                # the test has ended
                sysread $control, $commands, 65536, length $commands
                    or return;

                while ($commands =~ s/^(.*)\n//) {
                    my @lines = command(split ' ', $1);
                    my $text = join '', map { "$_\n" } @lines, '';

                    while (length $text) {
                        my $n = syswrite $control, $text;
                        defined $n or return;
                        substr $text, 0, $n, '';
                    }
                }
            }
        }

        while (@later && $later[0][0] <= time()) {
            my (undef, $c, @answer) = @{ shift @later };

            next if $c->{closed};
            $c->{busy} = 0;
            answer($c, @answer);
            hear_more($c);
        }
    }
}


sub forget_all
{
    %count = map { $_ => 0 } @counters;
    @crimes = @record = ();
}


sub command
{
    my ($verb, @arguments) = @_;

    if ($verb eq 'report') {
        my %now = (%count, open => 0, authenticated => 0, tainted => 0);

        for my $c (values %connections) {
            $now{open}++;
            $now{authenticated}++ if $c->{state} eq 'in';
            $now{tainted}++ if defined $c->{owner};
        }

        return map { "$_ $now{$_}" } sort keys %now;
    }

    return @crimes if $verb eq 'crimes';
    return @record if $verb eq 'record';

    if ($verb eq 'hang_up') {
        my @its = grep { defined $_->{owner} && $_->{owner} eq $arguments[0]
                         && !$_->{busy} }
                  values %connections;

        bye($_) for @its;

        return scalar @its;
    }

    forget_all() if $verb eq 'forget';

    return;
}


sub greet
{
    my ($listener) = @_;

    while (my $socket = $listener->accept) {
        $socket->blocking(1);
        $select->add($socket);
        $count{accepted}++;

        $connections{$socket->fileno} = {
            socket => $socket, number => ++$last_connection, buffer => '',
            server => $listener->sockhost, state => '', requests => 0,
            owner => undef, who => undef, user => undef, history => [],
            busy => 0, closed => 0,
        };
    }
}


sub bye
{
    my ($c) = @_;

    $c->{closed} = 1;
    $select->remove($c->{socket});
    delete $connections{$c->{socket}->fileno};
    close $c->{socket};
}


sub hear
{
    my ($c) = @_;

    if (!sysread $c->{socket}, $c->{buffer}, 65536, length $c->{buffer}) {
        bye($c);
        return;
    }

    hear_more($c);
}


sub hear_more
{
    my ($c) = @_;

    # whole requests only; the answer that is due comes first

    while (!$c->{closed} && !$c->{busy}
           && $c->{buffer} =~ /\r\n\r\n/)
    {
        my $size = $+[0];
        my $head = substr $c->{buffer}, 0, $size;

        $size += $1 if $head =~ /^Content-Length: *(\d+)/mi;
        last if length $c->{buffer} < $size;

        substr $c->{buffer}, 0, $size, '';
        serve($c, $head);
    }
}


sub serve
{
    my ($c, $head) = @_;
    my ($who) = $head =~ /^X-Test-Who: *(.*?)\r$/mi;
    my ($client) = $head =~ /^X-Test-Client: *(.*?)\r$/mi;
    my ($do) = $head =~ /^X-Test-Do: *(.*?)\r$/mi;
    my ($scheme, $token) = $head =~ /^Authorization: *(\S+) *(.*?)\r$/mi;

    $_ = defined $_ ? $_ : '' for $who, $client, $do, $scheme, $token;

    my ($status, $user, @headers);
    my $asked = lc $scheme;
    my $logon = $token ne '' && $scheme =~ /^(?:NTLM|Negotiate|Nego2)$/i;
    my @bare = ('WWW-Authenticate: Negotiate', 'WWW-Authenticate: NTLM');

    $count{requests}++;
    $c->{requests}++;

    if ($logon) {
        my $message = decode_base64($token);
        my $type = $message =~ /^NTLMSSP\0(.)/ ? ord $1
                   : $message =~ /^KRB5 / ? 'krb5' : 'rubbish';
        $asked .= " $type";

        if (!defined $c->{owner}) {
            crime($c, "$asked of $who begins on a used connection")
                if $c->{requests} > 1;
            $c->{owner} = $client;
            $c->{who} = $who;
        }
    }

    # one client connection, and nobody else, once a logon has begun

    crime($c, "client $client ($who) on the connection of client $c->{owner}")
        if defined $c->{owner} && $c->{owner} ne $client;
    crime($c, "$who on the connection of $c->{who}")
        if defined $c->{who} && $c->{who} ne $who;
    crime($c, "$asked of $who on a private connection")
        if defined $c->{owner} && $scheme =~ /^(?:Basic|Bearer)$/i;

    if ($c->{state} eq 'broken') {
        $count{stale}++;
        ($status, @headers) = (401, @bare);

    } elsif ($logon) {
        ($status, $user, @headers) = logon($c, $scheme, $token);

    } elsif ($scheme =~ /^Basic$/i) {
        $count{basic}++;
        ($user) = decode_base64($token) =~ /^([^:]*)/;
        $status = 200;

    } elsif ($scheme =~ /^Bearer$/i && $token ne '') {
        $count{bearer}++;
        ($status, $user) = (200, $token);

    } elsif ($scheme =~ /^Bearer$/i) {
        $count{empty_bearer}++;
        ($status, @headers) = (401, 'WWW-Authenticate: Bearer', @bare);

    } elsif ($c->{state} eq 'in') {
        ($status, $user) = (200, $c->{user});

    } else {
        ($status, @headers) = (401, @bare);
    }

    @headers = @bare if $status == 401 && !@headers;

    $count{bare}++
        if $status == 401 && !grep { /^WWW-Authenticate: \S+ ./ } @headers;

    $_ = defined $_ ? $_ : '' for $user;

    push @record, join "\t", $c->{number}, $c->{server}, $client, $who, $asked,
                             $user, $status;
    splice @record, 0, 10000 if @record > 20000;

    push @{ $c->{history} }, "$client/$who"
                             . ($asked eq '' ? '' : " $asked") . " $status";
    splice @{ $c->{history} }, 0, 20 if @{ $c->{history} } > 40;

    # others must never find out by chance that a connection has gone
    $do = 'close' if $do eq 'drop' && !defined $c->{owner};

    my @answer = ($do, $status, $user, @headers);

    if ($do eq 'later') {
        $c->{busy} = 1;
        push @later, [ time() + $moment, $c, @answer ];

    } else {
        answer($c, @answer);
    }
}


# [MS-NLMP] 2.2.1.3: where a type 3 message has its names

sub logon
{
    my ($c, $scheme, $token) = @_;
    my $message = decode_base64($token);
    my $type = $message =~ /^NTLMSSP\0/ ? unpack 'x8 V', $message : 0;
    my $state = $c->{state};
    my $user;

    # whatever comes, the logon before it is over
    $c->{user} = undef;
    $c->{state} = 'broken';

    if ($type == 1) {
        $count{challenges}++;
        $c->{state} = 'challenged';

        return (401, '', "WWW-Authenticate: $scheme $type2");
    }

    if ($type == 3 && $state eq 'challenged') {
        my ($domain, $name) = map {
            my ($size, undef, $at) = unpack "x$_ v v V", $message;
            join '', split /\0/, substr $message, $at, $size;
        } 28, 36;

        $user = "$domain\\$name" if $name !~ /^wrong/;

    } elsif ($type == 0 && $message =~ /^KRB5 (.+)/) {
        $user = $1;
    }

    if (!defined $user) {
        $count{refused}++;
        return (401, '');
    }

    $count{logons}++;
    $c->{user} = $user;
    $c->{state} = 'in';

    return (200, $user) if $type == 3 || $count{logons} % 2;
    return (200, $user, 'Persistent-Auth: true');
}


sub crime
{
    my ($c, $what) = @_;

    return if @crimes >= 100;

    push @crimes, "$what (connection $c->{number} to $c->{server}: "
                  . join(', ', @{ $c->{history} }) . ')';
}


sub answer
{
    my ($c, $do, $status, $user, @headers) = @_;
    my $body = "$status $user\n";

    if ($do eq 'none') {
        bye($c);
        return;
    }

    push @headers, "X-User: $user" if $user ne '';
    push @headers, 'Connection: close' if $do eq 'close';

    my $text = join("\r\n",
        $status == 200 ? 'HTTP/1.1 200 OK' : 'HTTP/1.1 401 Unauthorized',
        "X-Server: $c->{server}", "X-Connection: $c->{number}", @headers,
        'Content-Length: ' . ($do eq 'half' ? 1000 : length $body))
        . "\r\n\r\n$body";

    # what does not fit into the socket's buffer does not exist here
    syswrite $c->{socket}, $text;

    bye($c) if $do =~ /^(?:close|drop|half)$/;
}

1;
