package MapiRoad;

# The two ends of a road, for tests that say what each end does and when: a
# client and a mailbox server, both in the test's own process, and pieces of
# configuration.
#
#   road_http(%options)      "http" content for start_nginx(): servers that
#                            name themselves, an upstream and the front end.
#                            port, backend (ports); upstream (the block's
#                            lines); mapi (on),
#                            scheme (http); hosts (list of last bytes, default
#                            11 .. 13); location, server, http (more lines);
#                            proxy (lines of the proxy settings)
#   $client = connect_to($port [, $address])
#   $server = listen_on($address, $port)    $peer = $server->accept
#   $end->send($text)        $end->read_request   $end->read_answer
#   $end->read_until(qr//)   $end->at_end         $end->close
#   answer($status, @lines)  an empty answer's text
#   $end = speaker(@ends)    which of them has something to say, within half
#                            a minute: a request, a connection or its end
#   ($peer, $answer) = carry(\@servers, $client, $request, $answer, @peers)
#                            sends the request; whoever gets it, one of the
#                            peers or a new connection to a server, answers
#   talk($port, $request)    one request on a connection of its own: answer
#   request($method, $uri, @header_lines)   its text, Host included
#
#   directory_csv(%options)  the arguments of make_directory(): three servers
#                            EX1 .. EX3 (exN.contoso.com, 127.0.0.1N), three
#                            databases DB1 .. DB3, each on the server of its
#                            number with copies on the others, and mailboxes.
#                            count (of mailboxes, default 30; mailbox n is in
#                            DB1 if n % 3 is 1), from, extra (CSV lines),
#                            mounted (list of servers of DB1 .. DB3)
#   home_of($n)              the address of mailbox n's server
#   wait_for { ... }         until the block is true; dies after half a minute
#
# An answer or request is a hash: status, line, headers (lower case name =>
# list), body, text.  Reading waits half a minute, then dies.

use strict;
use warnings;

use Carp qw( croak );
use Exporter qw( import );
use IO::Select;
use IO::Socket::INET;
use MIME::Base64 qw( encode_base64 );
use Time::HiRes qw( sleep time );

our @EXPORT = qw( road_http connect_to listen_on talk request post ask
                  answer carry speaker
                  ntlm_message basic mailbox_id header directory_csv
                  home_of wait_for );

my $patience = $ENV{MAPI_SANITIZE} ? 60 : 30;

$SIG{PIPE} = 'IGNORE';


sub road_http
{
    my (%o) = @_;
    my @hosts = @{ $o{hosts} || [ 11, 12, 13 ] };
    my $lines = join '', map { "    server 127.0.0.$_:$o{backend};\n" } @hosts;
    my $listen = join '', map { "    listen 127.0.0.$_:$o{backend};\n" }
                          @{ $o{alive} || \@hosts };
    my $upstream = defined $o{upstream} ? $o{upstream} : "mapi;\n%SERVERS%";
    my $proxy = defined $o{proxy} ? $o{proxy}
                : "proxy_http_version 1.1;\nproxy_set_header Connection \"\";";
    my %text = map { $_ => defined $o{$_} ? $o{$_} : '' }
               qw( http server location backend_location mapi scheme );
    $text{mapi} ||= 'on';
    $text{scheme} ||= 'http';

    $upstream =~ s/%SERVERS%/$lines/g;
    $upstream =~ s/%PORT%/$o{backend}/g;

    my $backend = $listen eq '' ? '' : <<"EOT";
server {
$listen
    keepalive_timeout 60s;
    keepalive_requests 100000;

    location / {
        $text{backend_location}
        add_header X-Server \$server_addr always;
        add_header X-Connection \$connection always;
        add_header X-Cookie "<\$http_cookie>" always;
        return 200 "\$server_addr\\n";
    }
}
EOT

    return <<"EOT";
http {
    access_log off;
    client_max_body_size 1m;
    large_client_header_buffers 8 64k;
    proxy_read_timeout 120s;
    proxy_buffer_size 8k;
    $text{http}

    upstream exchange {
        $upstream
    }

    $backend

    server {
        listen 127.0.0.1:$o{port};
        $text{server}

        location / {
            mapi $text{mapi};
            $proxy
            $text{location}
            add_header X-Target \$mapi_target always;
            add_header X-Route \$mapi_route always;
            proxy_pass $text{scheme}://exchange;
        }
    }
}
EOT
}


sub connect_to
{
    my ($port, $address) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp',
        defined $address ? (LocalAddr => $address) : ())
        or croak "cannot connect to port $port: $!";

    return MapiRoad::End->new($socket);
}


sub listen_on
{
    my ($address, $port) = @_;
    my $socket = IO::Socket::INET->new(
        LocalAddr => $address, LocalPort => $port, Proto => 'tcp',
        Listen => 64, ReuseAddr => 1)
        or croak "cannot listen on $address:$port: $!";

    return MapiRoad::End->new($socket);
}


sub request
{
    my ($method, $uri, @headers) = @_;

    return join("\r\n", "$method $uri HTTP/1.1", 'Host: mail.example.com',
                @headers) . "\r\n\r\n";
}


sub post
{
    my ($id, @headers) = @_;

    return request('POST', "/mapi/emsmdb/?MailboxId=$id", @headers,
                   'Content-Length: 0');
}


sub talk
{
    my ($port, $text, $address) = @_;
    my $client = connect_to($port, $address);

    $client->send($text);
    my $answer = $client->read_answer($text =~ /^HEAD /);
    $client->close;

    return $answer;
}


sub answer
{
    my ($status, @lines) = @_;

    return join("\r\n", "HTTP/1.1 $status Word", @lines, 'Content-Length: 0')
           . "\r\n\r\n";
}


sub speaker
{
    my ($ready) = IO::Select->new(map { $_->{socket} } @_)
                  ->can_read($patience);

    return if !defined $ready;

    return (grep { $_->{socket} == $ready } @_)[0];
}


sub carry
{
    my ($servers, $client, $request, $answer, @peers) = @_;

    $client->send($request);

    while (1) {
        my $end = speaker(@peers, @$servers)
            or croak 'nobody got the request';

        if (!grep { $_ == $end } @peers) {
            $end = $end->accept;

        } elsif ($end->at_end) {
            @peers = grep { $_ != $end } @peers;
            next;
        }

        $end->read_request or croak 'a connection without a request';
        $end->send($answer);

        return ($end, $client->read_answer);
    }
}


# one POST for a mailbox on a connection of its own

sub ask
{
    my ($port, $id, @headers) = @_;

    return talk($port, post($id, @headers));
}


sub header
{
    my ($message, $name) = @_;
    my $values = $message->{headers}{lc $name};

    return defined $values ? join(', ', @$values) : undef;
}


sub mailbox_id
{
    my ($n) = @_;

    return sprintf '%08x-0000-4000-8000-%012x@example.com', $n, $n;
}


sub basic
{
    my ($user) = @_;

    return 'Authorization: Basic ' . encode_base64("$user:secret", '');
}


sub directory_csv
{
    my (%o) = @_;
    my $count = defined $o{count} ? $o{count} : 30;
    my $from = $o{from} || 1;
    my @mounted = @{ $o{mounted} || [ 1, 2, 3 ] };

    my $mailboxes = 'ExchangeGuid,PrimarySmtpAddress,Database,EmailAddresses,'
        . "UserPrincipalName,SamAccountName,ArchiveGuid,ArchiveDatabase\n";
    my $databases = "Name,Guid,Server,ActivationPreference\n";
    my $servers = "Name,Fqdn,Addresses,AdminDisplayVersion\n";

    for my $n ($from .. $from + $count - 1) {
        my ($guid) = mailbox_id($n) =~ /^([^@]+)/;
        my $db = 'DB' . (($n - 1) % 3 + 1);

        $mailboxes .= "$guid,user$n\@contoso.com,$db,"
                      . "SMTP:user$n\@contoso.com;smtp:alias$n\@contoso.com,"
                      . "upn$n\@corp.contoso.com,sam$n,,\n";
    }

    for my $i (1 .. 3) {
        my @copies = map { 'EX' . (($i + $_ - 2) % 3 + 1) } 1 .. 3;

        $databases .= "DB$i,0000000$i-dddd-4000-8000-000000000000,"
                      . "EX$mounted[$i - 1],\"[$copies[0], 1] [$copies[1], 2] "
                      . "[$copies[2], 3]\"\n";
        $servers .= "EX$i,ex$i.contoso.com,127.0.0.1$i,"
                    . "Version 15.2 (Build 1544.4)\n";
    }

    $mailboxes .= $o{extra} if defined $o{extra};

    return (mailboxes => $mailboxes, databases => $databases,
            servers => $servers);
}


sub home_of
{
    my ($n) = @_;

    return '127.0.0.1' . (($n - 1) % 3 + 1);
}


sub wait_for (&)
{
    my ($code) = @_;
    my $deadline = time() + $patience;

    while (!$code->()) {
        time() < $deadline or croak 'waited in vain';
        sleep 0.05;
    }

    return 1;
}


# [MS-NLMP] 2.2.1: a message of type 1, 2 or 3, in base64

sub ntlm_message
{
    my ($type, $domain, $user) = @_;
    my $text = "NTLMSSP\0" . pack 'V', $type;

    if ($type == 1) {
        $text .= pack 'V V V V V', 0xa2088207, 0, 40, 0, 40;
        $text .= "\0" x 8;

    } elsif ($type == 2) {
        $text .= pack 'v v V V', 0, 0, 48, 0xa2898205;
        $text .= "\1\2\3\4\5\6\7\x08" . "\0" x 16;

    } else {
        my @fields = ("\0" x 24, "\0" x 24,
                      map { join '', map { "$_\0" } split // }
                      $domain, $user, 'PC');
        my $at = 64;
        my $payload = '';

        # LM and NT answers, domain, user, workstation, session key

        for my $field (@fields, '') {
            $text .= pack 'v v V', length $field, length $field, $at;
            $payload .= $field;
            $at += length $field;
        }

        $text .= pack('V', 0xa2888205) . $payload;
    }

    return encode_base64($text, '');
}


package MapiRoad::End;

use strict;
use warnings;

use Carp qw( croak );
use Time::HiRes qw( time );


sub new
{
    my ($class, $socket) = @_;

    $socket->autoflush(1);

    return bless { socket => $socket, buffer => '' }, $class;
}


sub accept
{
    my ($self, $seconds) = @_;

    # without a connection in time: nothing, where a number was given

    if (!$self->ready(defined $seconds ? $seconds : $patience)) {
        return if defined $seconds;
        croak 'nobody connects';
    }

    my $socket = $self->{socket}->accept or croak "accept: $!";

    return MapiRoad::End->new($socket);
}


sub ready
{
    my ($self, $seconds) = @_;

    return IO::Select->new($self->{socket})->can_read($seconds);
}


sub send
{
    my ($self, $text) = @_;

    while (length $text) {
        my $n = syswrite $self->{socket}, $text;
        return 0 if !defined $n;
        substr($text, 0, $n) = '';
    }

    return 1;
}


# reads once more; 0 at the end

sub fill
{
    my ($self, $deadline) = @_;
    my $left = $deadline - time();

    $left > 0 && $self->ready($left)
        or croak "nothing comes, after \"$self->{buffer}\"";

    my $n = sysread $self->{socket}, $self->{buffer}, 65536,
                    length $self->{buffer};

    return $n || 0;
}


sub read_until
{
    my ($self, $pattern) = @_;
    my $deadline = time() + $patience;

    while (1) {
        return substr $self->{buffer}, 0, $+[0], ''
            if $self->{buffer} =~ $pattern;

        $self->fill($deadline) or return undef;
    }
}


sub read_bytes
{
    my ($self, $size) = @_;
    my $deadline = time() + $patience;

    while (length $self->{buffer} < $size) {
        $self->fill($deadline) or return undef;
    }

    return substr $self->{buffer}, 0, $size, '';
}


# true if the other side closes within so many seconds, sending nothing

sub at_end
{
    my ($self, $seconds) = @_;

    return 0 if length $self->{buffer};
    return 0 if !$self->ready(defined $seconds ? $seconds : $patience);

    my $n = sysread $self->{socket}, $self->{buffer}, 65536;

    return !$n;
}


sub read_head
{
    my ($self) = @_;
    my $text = $self->read_until(qr/\r\n\r\n/);

    return if !defined $text;

    my ($line, @lines) = split /\r\n/, $text;
    my %message = (line => $line, text => $text, headers => {}, body => '');

    for (@lines) {
        my ($name, $value) = /^([^:]+):\s*(.*)$/ or croak "bad header \"$_\"";
        push @{ $message{headers}{lc $name} }, $value;
    }

    $message{status} = $1 if $line =~ m{^HTTP/1\.\d (\d+)};

    return \%message;
}


sub read_body
{
    my ($self, $message, $until_end) = @_;
    my $headers = $message->{headers};

    if ($headers->{'transfer-encoding'}) {
        while (1) {
            my $size = $self->read_until(qr/\r\n/);
            last if !defined $size;
            $size = hex $size =~ s/\r\n$//r;
            my $chunk = $self->read_bytes($size + 2);
            last if !defined $chunk;

            if ($size == 0) {
                $message->{complete} = 1;
                last;
            }

            $message->{body} .= substr $chunk, 0, $size;
        }

    } elsif ($headers->{'content-length'}) {
        my $size = $headers->{'content-length'}[0];
        my $body = $self->read_bytes($size);

        $message->{complete} = defined $body;
        $message->{body} = defined $body ? $body : $self->{buffer};

    } elsif ($until_end) {
        my $deadline = time() + $patience;
        1 while $self->fill($deadline);
        $message->{body} = $self->{buffer};
        $self->{buffer} = '';
    }

    return $message;
}


sub read_request
{
    my ($self) = @_;
    my $message = $self->read_head or return;

    return $self->read_body($message, 0);
}


sub read_answer
{
    my ($self, $is_head) = @_;
    my $message = $self->read_head or return;

    return $message
        if $is_head || $message->{status} == 204 || $message->{status} == 304;

    return $self->read_body($message, 1);
}


sub close
{
    my ($self) = @_;

    close $self->{socket};
}

1;
