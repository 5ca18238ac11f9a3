# The affinity cookie.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $keys = run_folder();
my $fronts = 0;

spew("$keys/$_.key", join('', map { sprintf '%02x', int rand 256 } 1 .. 32)
                     . "\n") for qw( a b c );


# several front ends may run; each gets a number

sub front_end
{
    my ($lines, %o) = @_;
    my $port = free_port();
    my $server = start_nginx('front' . ++$fronts,
                             road_http(port => $port, backend => $backend,
                                       upstream => $lines, %o));

    talk($port, request('GET', '/'));

    return ($server, $port);
}


# a request of a cookie jar: what it holds goes along, what comes back is kept

sub jar_asks
{
    my ($jar, $port, $n, @headers) = @_;
    my $answer;

    push @headers, 'Cookie: ' . join '; ', map { "$_=$jar->{$_}" } sort keys %$jar
        if %$jar;
    $answer = ask($port, mailbox_id($n), @headers);

    for (@{ $answer->{headers}{'set-cookie'} || [] }) {
        $jar->{$1} = $2 if /^([^=]+)=([^;]*)/;
    }

    return $answer;
}


sub server_of
{
    return header($_[0], 'X-Server');
}


sub route_of
{
    return header($_[0], 'X-Route');
}


my $all = "mapi;\n%SERVERS%";

sub without
{
    my ($host) = @_;

    return "mapi;\n" . join '', map { "server 127.0.0.$_:%PORT%"
                                      . ($_ == $host ? " down;\n" : ";\n") }
                                11 .. 13;
}

my $key = "mapi_affinity_key $keys/a.key;";

# all: the hash decides among three; less: 127.0.0.11 is away, so that its
# mailboxes stick elsewhere, and on "all" the cookie says other than the hash

my ($full, $all_port) = front_end($all, http => $key, alive => [ 11, 12, 13 ]);
my ($less, $less_port) = front_end(without(11), http => $key,
                                   alive => []);

my @mine = grep { server_of(ask($all_port, mailbox_id($_))) eq '127.0.0.11' }
           101 .. 140;


# what it looks like

{
    my $answer = ask($all_port, mailbox_id(101));
    my ($cookie, @more) = @{ $answer->{headers}{'set-cookie'} };

    like($cookie, qr{^MapiAffinity=[A-Za-z0-9_-]{50,200};
                     \ Max-Age=900;\ Path=/mapi;\ HttpOnly$}x,
         'an unknown mailbox gets a cookie');
    is(@more, 0, '... one');
    is(route_of($answer), 'balance', '... after the hash decided');
    unlike($cookie, qr/127|server|0000/, '... which says nothing');
}


# it sticks

my %jar;

{
    my $answer = jar_asks(\%jar, $less_port, $mine[0]);
    my $place = server_of($answer);

    isnt($place, '127.0.0.11', 'a mailbox whose server is away goes elsewhere');
    $answer = jar_asks(\%jar, $all_port, $mine[0]);
    is(server_of($answer), $place, '... and stays there with its cookie');
    is(route_of($answer), 'affinity', '... by affinity');
    ok(header($answer, 'Set-Cookie'), '... which is renewed');
    is(server_of(ask($all_port, mailbox_id($mine[0]))), '127.0.0.11',
       '... without a cookie it is where the hash says');
    is(server_of(ask($all_port, mailbox_id($mine[1]),
                     "Cookie: MapiAffinity=$jar{MapiAffinity}")), '127.0.0.11',
       'a cookie is for its own mailbox');
    is(server_of(ask($all_port, uc mailbox_id($mine[0]),
                     "Cookie: MapiAffinity=$jar{MapiAffinity}")), $place,
       '... in any spelling');
}


# five mailboxes in one jar

{
    my %jar;
    my %place = map { $_ => server_of(jar_asks(\%jar, $less_port, $_)) }
                @mine[0 .. 4];

    for my $round (1 .. 3) {
        is(join(' ', map { server_of(jar_asks(\%jar, $all_port, $_)) }
                     @mine[0 .. 4]),
           join(' ', map { $place{$_} } @mine[0 .. 4]),
           "five mailboxes of one jar stay, round $round");
    }

    jar_asks(\%jar, $less_port, $mine[5]);
    is(server_of(jar_asks({ %jar }, $all_port, $mine[0])), '127.0.0.11',
       'a sixth takes the place of the oldest');
    is(route_of(jar_asks({ %jar }, $all_port, $_)), 'affinity', '... only')
        for @mine[1 .. 5];
    cmp_ok(length $jar{MapiAffinity}, '<', 200, '... it does not grow on');
}


# whatever cannot be read is as if absent

my $good = $jar{MapiAffinity};
my %bad = (
    'empty' => '',
    'one letter' => 'A',
    'cut at the front' => substr($good, 1),
    'cut at the end' => substr($good, 0, -1),
    'cut in half' => substr($good, 0, length($good) / 2),
    'longer' => $good . 'A',
    'much longer' => $good x 30,
    'in quotes' => "\"$good\"",
    'in other letters' => lc $good,
    'of zeros' => 'A' x length $good,
    'not base64' => '!' x length $good,
    'with blanks' => join(' ', $good =~ /(.{10})/g),
    'forged' => do { (my $f = $good) =~ tr/A-Za-z/B-ZAb-za/; $f },
);

for my $what (sort keys %bad) {
    my $answer = ask($all_port, mailbox_id($mine[0]),
                     "Cookie: MapiAffinity=$bad{$what}");

    is("$answer->{status} " . server_of($answer), '200 127.0.0.11',
       "a cookie that is $what changes nothing");
    ok(header($answer, 'Set-Cookie'), '... and is replaced');
}

{
    my $wrong = 0;

    for my $i (0 .. length($good) - 1) {
        my $c = substr($good, $i, 1) eq 'x' ? 'y' : 'x';
        my $text = $good;

        substr($text, $i, 1) = $c;
        $wrong++ if server_of(ask($all_port, mailbox_id($mine[0]),
                              "Cookie: MapiAffinity=$text")) ne '127.0.0.11';
    }

    # the last letter may hold bits that mean nothing
    cmp_ok($wrong, '<=', 1, 'no letter of it can be changed');
}


# what servers see of it

for my $case ([ 'MapiAffinity=x', undef ], [ 'MapiAffinity=x; a=1', 'a=1' ],
              [ 'a=1; MapiAffinity=x', 'a=1' ],
              [ 'a=1; MapiAffinity=x; b=2', 'a=1; b=2' ],
              [ 'a=1;MapiAffinity=x;b=2', 'a=1;b=2' ],
              [ 'a=1;  MapiAffinity=x ;b=2', 'a=1;b=2' ],
              [ 'MapiAffinity=x; a=1; b=2', 'a=1; b=2' ],
              [ 'a=1; MapiAffinity=x; MapiAffinity=y; b=2', 'a=1; b=2' ],
              [ 'a=1; MapiAffinity=x; b=2; MapiAffinity=y; c=3',
                'a=1; b=2; c=3' ],
              [ 'MapiAffinity=x; a=1; b=2; MapiAffinity=y; c=3; d=4',
                'a=1; b=2; c=3; d=4' ],
              [ join('; MapiAffinity=x; ', map { "c$_=$_" } 1 .. 60),
                join('; ', map { "c$_=$_" } 1 .. 60) ],
              [ 'MapiAffinity=x; MapiAffinity=y', undef ],
              [ 'MapiAffinity=x; a=1; MapiAffinity=y; b="2;3"; MapiAffinity',
                undef ],
              [ 'MapiContext=MAPIAAAA; MapiSequence=2-x==',
                'MapiContext=MAPIAAAA; MapiSequence=2-x==' ],
              [ 'mapiaffinity=x', 'mapiaffinity=x' ],
              [ 'XMapiAffinity=x; MapiAffinity2=y; a=MapiAffinity=z',
                'XMapiAffinity=x; MapiAffinity2=y; a=MapiAffinity=z' ])
{
    my ($sent, $seen) = @$case;

    # what is a cookie where quotes are open is anyone's guess
    next if $sent =~ /"/;

    my $got = header(ask($all_port, mailbox_id(101), "Cookie: $sent"),
                     'X-Cookie');
    (my $plain = $got) =~ s/;\s*/;/g;
    $seen = '' if !defined $seen;
    (my $expected = "<$seen>") =~ s/;\s*/;/g;
    is($plain, $expected, "of \"$sent\" servers see \"$seen\"");
}

{
    my $answer = ask($all_port, mailbox_id($mine[0]), 'Cookie: a=1',
                     "Cookie: b=2; MapiAffinity=$good; c=3", 'Cookie: d=4');

    is(route_of($answer), 'affinity', 'it may stand on any Cookie line');
    like(header($answer, 'X-Cookie'), qr/^<a=1;\s?b=2;\s?c=3;\s?d=4>$/,
         '... and is taken out of it');
}


# when it is not set

sub sets
{
    my ($port, $n, @headers) = @_;

    return defined header(ask($port, mailbox_id($n), @headers), 'Set-Cookie')
           ? 1 : 0;
}

{
    my ($server, $port) = front_end($all, alive => [],
        http => "mapi_directory $path;\n$key");

    is(sets($port, 1), 0, 'auto: none for a mailbox of the directory');
    is(sets($port, 101), 1, '... but for others');

    my $jar = {};

    jar_asks($jar, $less_port, $mine[0]);
    is(defined header(talk($port, request('GET', '/mapi/emsmdb/')),
                      'Set-Cookie') ? 1 : 0, 0, '... none for nobody');
    is(sets($port, 101), 1, '... and for others again');

    # a mailbox gets known: the cookie does not count

    my $answer = jar_asks({}, $port, 1, "Cookie: MapiAffinity=$good");
    is(route_of($answer), 'directory', 'a known place goes before a cookie');

    # draining: the hash says 127.0.0.11, or the cookie does

    my %jar;
    my $n = (grep { server_of(ask($port, mailbox_id($_))) eq '127.0.0.11' }
             101 .. 140)[0];

    jar_asks(\%jar, $port, $n);
    is(server_of(jar_asks({ %jar }, $port, $n)), '127.0.0.11', 'it sticks');
    mapi_directory('-d', $path, 'server', 'EX1', 'draining');
    isnt(server_of(jar_asks({ %jar }, $port, $n)), '127.0.0.11',
         'a cookie does not hold on to a draining server');
    mapi_directory('-d', $path, 'server', $_, 'draining') for qw( EX2 EX3 );
    is(sets($port, 101), 0, 'no cookie is made for a draining server');
    mapi_directory('-d', $path, 'server', $_, 'active') for qw( EX1 EX2 EX3 );
    stop_nginx($server);

    ($server, $port) = front_end($all, alive => [],
        http => "mapi_directory $path;\n$key\nmapi_affinity on;");
    is(sets($port, 1), 1, 'on: a cookie for every mailbox');
    is(route_of(jar_asks({}, $port, 1)), 'directory',
       '... though the directory decides');
    stop_nginx($server);

    ($server, $port) = front_end($all, alive => [],
        http => "mapi_directory $path;\n$key\nmapi_affinity off;");
    is(sets($port, 101), 0, 'off: none');
    is(route_of(ask($port, mailbox_id($mine[0]), "Cookie: MapiAffinity=$good")),
       'balance', '... and none is read');
    stop_nginx($server);
}

# By status, for who comes without a cookie and who has one already: what a
# server has refused must not show by a new one that the directory does not know
# the mailbox.

for my $case ([ 200, 1, 1 ], [ 204, 1, 1 ], [ 302, 0, 1 ], [ 400, 0, 1 ],
              [ 401, 0, 0 ], [ 404, 0, 1 ], [ 500, 0, 1 ], [ 503, 0, 1 ])
{
    my ($status, @sets) = @$case;
    my $own = free_port('127.0.0.21');
    my $peers = listen_on('127.0.0.21', $own);
    my $port = free_port();
    my $server = start_nginx("status$status",
                             road_http(port => $port, backend => $own,
                                       hosts => [ 21 ], alive => []));
    my $got;

    my $asks = sub {
        my ($given, @headers) = @_;
        my $client = connect_to($port);

        $client->send(post(mailbox_id(101), @headers));
        my $peer = $peers->accept;
        $peer->read_request;
        $peer->send("HTTP/1.1 $given Word\r\n"
                    . ($given == 204 ? '' : "Content-Length: 0\r\n")
                    . "Set-Cookie: MapiContext=x; path=/mapi\r\n\r\n");
        my @set = @{ $client->read_answer->{headers}{'set-cookie'} };

        $got = (map { /^MapiAffinity=([^;]*)/ } @set)[0];
        is(scalar(grep { /^MapiContext=x; path=\/mapi$/ } @set), 1,
           "$given: the server's own");
        $_->close for $client, $peer;
    };

    $asks->($status);
    is(defined $got ? 1 : 0, $sets[0], "... ours beside it, if it is new");
    $asks->(200);
    $asks->($status, "Cookie: MapiAffinity=$got");
    is(defined $got ? 1 : 0, $sets[1], "... if it was there before");
    $asks->($status, 'Cookie: MapiAffinity=forged');
    is(defined $got ? 1 : 0, $sets[0], "... if it is none");
    $peers->close;
    stop_nginx($server);
}

{
    my ($server, $port) = front_end("mapi;\nserver 127.0.0.11:%PORT% down;",
                                    http => $key, alive => []);

    is(sets($port, 101), 0, 'an answer of nginx itself sets none');
    stop_nginx($server);
}


# names and TLS

{
    my ($server, $port) = front_end($all, alive => [], http => $key,
        location => 'mapi_affinity_cookie Stick path=/mapi/nspi lifetime=1h;');

    like(header(ask($port, mailbox_id(101)), 'Set-Cookie'),
         qr{^Stick=[^;]+; Max-Age=3600; Path=/mapi/nspi; HttpOnly$},
         'name, path and lifetime are as written');
    is(route_of(ask($port, mailbox_id($mine[0]), "Cookie: MapiAffinity=$good")),
       'balance', '... a cookie of another name is not ours');
    is(route_of(ask($port, mailbox_id($mine[0]), "Cookie: Stick=$good")),
       'affinity', '... one of that name is');
    is(header(ask($port, mailbox_id(101), 'Cookie: MapiAffinity=x; Stick=y'),
              'X-Cookie'), '<MapiAffinity=x>', '... and taken out');
    stop_nginx($server);

    my ($crt, $pem) = certificate('mail.example.com');
    my $tls = free_port();

    ($server, $port) = front_end($all, alive => [], http => $key,
        server => "listen 127.0.0.1:$tls ssl; ssl_certificate $crt;
                   ssl_certificate_key $pem;");
    like(header(ask($port, mailbox_id(101)), 'Set-Cookie'), qr/HttpOnly$/,
         'without TLS it is not Secure');

    my $text = run_folder() . '/request';

    spew($text, request('POST', '/mapi/emsmdb/?MailboxId=' . mailbox_id(101),
                        'Content-Length: 0', 'Connection: close'));
    like(`openssl s_client -quiet -ign_eof -connect 127.0.0.1:$tls < $text 2>&1`,
         qr/^Set-Cookie: MapiAffinity=[^;]+;.*; HttpOnly; Secure\r$/m,
         'with TLS it is');
    stop_nginx($server);
}


# two nodes, and keys that change

{
    my %jar;
    my ($other, $other_port) = front_end(without(12), alive => [],
                                         http => $key);
    my $n = (grep { server_of(ask($all_port, mailbox_id($_))) eq '127.0.0.12' }
             101 .. 140)[0];
    my $place = server_of(jar_asks(\%jar, $other_port, $n));

    is(server_of(jar_asks(\%jar, $all_port, $n)), $place,
       'a node reads the cookie of another with the same key');
    is(route_of(jar_asks(\%jar, $other_port, $n)), 'affinity', '... and back');
    stop_nginx($other);

    my $case = sub {
        my ($files, $lines) = @_;
        my ($server, $port) = front_end($lines || $all, alive => [],
            http => 'mapi_affinity_key '
                    . join(' ', map { "$keys/$_.key" } @$files) . ';');
        my $route = route_of(my $answer = jar_asks({ %jar }, $port, $n));
        my ($new) = header($answer, 'Set-Cookie') =~ /=([^;]*)/;

        stop_nginx($server);

        return ($route, $new);
    };

    is(($case->([ 'b' ]))[0], 'balance', 'another key reads nothing');

    my ($route, $new) = $case->([ 'b', 'a' ]);
    is($route, 'affinity', 'a second key opens');
    is(route_of(ask($all_port, mailbox_id($n), "Cookie: MapiAffinity=$new")),
       'balance', '... and the first seals');

    $jar{MapiAffinity} = $new;
    is(($case->([ 'b' ]))[0], 'affinity', '... so that the old one can go');
    is(($case->([ 'c', 'b' ]))[0], 'affinity', '... and the next one come');
    is(($case->([ 'c', 'a', 'b' ]))[0], 'affinity', '... a third opens, too');
}


# the upstream's name is part of the seal

{
    my $port = free_port();
    (my $http = road_http(port => $port, backend => $backend, upstream => $all,
                          alive => [], http => $key)) =~
        s/\bexchange\b/elsewhere/g;
    my $server = start_nginx('elsewhere', $http);

    is(route_of(ask($port, mailbox_id($mine[0]), "Cookie: MapiAffinity=$good")),
       'balance', "another upstream's cookie is nothing");
    stop_nginx($server);
}


# a key that nginx made for itself

{
    my ($server, $port) = front_end(without(11), alive => []);
    my %jar;

    jar_asks(\%jar, $port, $mine[0]);
    is(route_of(jar_asks(\%jar, $port, $mine[0])), 'affinity',
       'without a key file it sticks, too');
    is(route_of(ask($all_port, mailbox_id($mine[0]),
                    "Cookie: MapiAffinity=$jar{MapiAffinity}")), 'balance',
       '... but on this node only');
    reload_nginx($server);
    is(route_of(jar_asks(\%jar, $port, $mine[0])), 'affinity',
       '... and over a reload');
    stop_nginx($server);
}


# entries end

{
    my ($server, $port) = front_end($all, alive => [], http => $key,
        location => 'mapi_affinity_cookie MapiAffinity lifetime=1s;');
    my %jar;

    jar_asks(\%jar, $port, $mine[0]);
    ok(wait_for {
        route_of(jar_asks({ %jar }, $port, $mine[0])) eq 'balance'
    }, 'an entry is over after its lifetime');
    stop_nginx($server);
}

stop_nginx($_) for $less, $full;

done_testing();
