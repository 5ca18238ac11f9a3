# The debug page: how a request would go and why, as HTML and as JSON, for
# those who may see it.

use strict;
use warnings;

use JSON::PP;
use Test::More;

use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $known = "mapi_directory $path;\nmapi_server_name front.example.com;";
my $allow = 'mapi_debug_allow 127.0.0.0/8;';
my $emsmdb = '/mapi/emsmdb/';
my ($one, $two) = map { ntlm_message($_) } 1, 2;
my $type1 = "Authorization: NTLM $one";
my $type3 = 'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'otto');
my ($front, $port);
my $fronts = 0;


sub front_end
{
    my ($upstream, %o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();
    $o{http} = $known if !defined $o{http};
    $o{server} = $allow . (defined $o{server} ? "\n$o{server}" : '');
    $o{upstream} = $upstream if $upstream;
    $front = start_nginx('front' . ++$fronts,
                         road_http(port => $port, backend => $backend, %o));
    talk($port, request('GET', '/'));
}


sub state
{
    my ($name, @words) = @_;
    my ($code, $out, $err) = mapi_directory('-d', $path, 'server', $name,
                                            @words);

    $code == 0 or die "server $name @words: $err";
}


# the JSON, as a hash; on this connection, or one of its own

sub shown
{
    my ($query, $client, @headers) = @_;
    my $own = $client ? undef : connect_to($port);

    $client = $own if $own;
    $client->send(request('GET', "$emsmdb?mapidebug=json&$query", @headers));

    my $answer = $client->read_answer;
    $own->close if $own;

    is($answer->{status}, 200, "debug $query");
    is(header($answer, 'Content-Type'), 'application/json; charset=utf-8',
       '... is JSON');

    my $page = eval { JSON::PP->new->utf8->decode($answer->{body}) };

    ok(defined $page, '... strictly') or diag("$@\n$answer->{body}");

    return $page;
}


sub mailbox { return 'MailboxId=' . mailbox_id($_[0]) }


# rule, server and sentence

sub decided
{
    my ($page, $rule, $server, $sentence, $what) = @_;
    my $routing = $page->{routing};

    is($routing->{rule}, $rule, "$what: rule $rule");
    is($routing->{server}, $server, '... the server');
    like($routing->{sentence}, $sentence, '... the sentence');
}


sub order_of
{
    my ($page) = @_;

    return join ' ', map { (defined $_->{order} ? $_->{order} : '-')
                           . ":$_->{server}" }
                         @{ $page->{routing}{candidates} };
}


# is it what happens?

sub happens
{
    my ($page, $n, @headers) = @_;
    my $answer = ask($port, mailbox_id($n), @headers);

    is(header($answer, 'X-Target'), $page->{routing}{server},
       '... and a request goes there');
    is(header($answer, 'X-Route'), $page->{routing}{route}, '... so');
}


# rule 3

front_end();

{
    my $page = shown(mailbox(2));

    decided($page, 3, 'ex2.contoso.com', qr/^Rule 3: database DB2 is mounted on ex2\.contoso\.com by the directory; it is active and has not failed lately\.$/,
            'a known place');
    happens($page, 2);

    my $routing = $page->{routing};
    my $directory = $routing->{directory};

    is($routing->{route}, 'directory', 'route');
    is($routing->{reason}, 'mounted', 'reason');
    is($routing->{identity}{name}, '00000002-0000-4000-8000-000000000002',
       'identity');
    is($routing->{identity}{domain}, 'example.com', '... its domain');
    is($routing->{identity}{source}, 'MailboxId of the query', '... its source');
    is($routing->{identity}{client}, '127.0.0.1', 'client');
    is($routing->{identity}{peer}, '127.0.0.1', 'peer');
    is($directory->{path}, $path, 'directory');
    ok($directory->{usable}, '... usable');
    ok($directory->{found}, '... knows the mailbox');
    is($directory->{smtp}, 'user2@contoso.com', '... its address');
    is($directory->{database}, 'DB2', '... its database');
    is($directory->{mounted}, 'ex2', '... mounted on');
    is($directory->{copies}, 'ex2, ex3, ex1', '... its copies');
    like($directory->{imported}, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
         '... imported');
    ok($directory->{age} >= 0 && $directory->{age} < 3600, '... age');
    like(order_of($page), qr/^1:ex2\.\S+ 2:ex[13]\.\S+ 3:ex[13]\.\S+$/,
         'candidates');
    is($page->{routing}{candidates}[0]{by}, 'directory', '... the first');
    is($page->{routing}{candidates}[1]{by}, 'rendezvous hash', '... then hash');
    is(scalar @{ $routing->{addresses} }, 3, 'addresses');
    is($routing->{addresses}[1]{health}, 'alive', '... alive');
    is($page->{page}{version}, '15.2.1544.4', 'version');
    is($page->{page}{servers}{mailbox}, 'ex2.contoso.com', 'mailbox');
    is($page->{page}{vdir_path}, $emsmdb, 'path');
    is_deeply($page->{sessions}, [], 'no sessions');
}

for my $case ([ 'smtpAddress=ALIAS5%40contoso.com', 'smtpAddress of the query',
                'alias5@contoso.com' ],
              [ 'x=y', 'X-AnchorMailbox, claimed', 'user5@contoso.com',
                'X-AnchorMailbox: user5@contoso.com' ],
              [ 'x=y', 'user name of Basic, claimed', 'sam5', basic('sam5') ],
              [ 'x=y', 'name in an NTLM message, claimed', 'contoso\\sam5',
                'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'sam5') ])
{
    my ($query, $source, $name, @headers) = @$case;
    my $page = shown($query, undef, @headers);

    decided($page, 3, 'ex2.contoso.com', qr/database DB2/, $source);
    is($page->{routing}{identity}{source}, $source, '... and says so');
    is($page->{routing}{identity}{name}, $name, '... the name');
}


# rule 4

for my $case ([ 'draining', 'draining', 'draining' ],
              [ 'offline', 'offline', 'offline' ])
{
    my ($state, $reason, $word) = @$case;

    state('EX2', $state);

    my $page = shown(mailbox(2));
    my $server = $page->{routing}{server};

    like($server, qr/^ex[13]/, "$state: another server");
    decided($page, 4, $server, qr/^Rule 4: database DB2 is mounted on ex2\.contoso\.com by the directory, which is $word; by "fallback=any" the rendezvous hash among the others chose \Q$server\E\.$/,
            $state);
    is($page->{routing}{reason}, $reason, '... the reason');
    is($page->{routing}{directory}{state}, $state, '... the state');
    like($page->{routing}{directory}{state_since}, qr/^20/, '... since when');
    my ($row) = grep { $_->{server} =~ /^ex2/ }
                @{ $page->{routing}{candidates} };
    is($row->{state}, $state, '... in its row');
    happens($page, 2);
    state('EX2', 'active');
}

front_end("mapi fallback=copies;\n%SERVERS%");
state('EX2', 'offline');
{
    my $page = shown(mailbox(2));

    decided($page, 4, 'ex3.contoso.com', qr/^Rule 4: .*offline; by "fallback=copies" the next copy that lives is on ex3\.contoso\.com\.$/,
            'copies');
    is(order_of($page), '1:ex3.contoso.com 2:ex1.contoso.com -:ex2.contoso.com',
       '... in their order');
    happens($page, 2);
}

front_end("mapi fallback=none;\n%SERVERS%");
{
    my $page = shown(mailbox(2));

    decided($page, 4, undef, qr/^Rule 4: .*offline; by "fallback=none" nobody else may serve it: 503\.$/,
            'none');
    is(ask($port, mailbox_id(2))->{status}, 503, '... and so it is');
}
state('EX2', 'active');

front_end('', hosts => [ 11, 13 ]);
{
    my $page = shown(mailbox(2));

    decided($page, 4, $page->{routing}{server}, qr/^Rule 4: database DB2 is mounted on ex2 by the directory, which is none of the servers of this upstream block; by/,
            'in another site');
    is($page->{routing}{reason}, 'elsewhere', '... the reason');
    happens($page, 2);
}

front_end("mapi;\nserver 127.0.0.11:%PORT%;\nserver 127.0.0.12:%PORT% down;\n"
          . "server 127.0.0.13:%PORT% weight=3;");
{
    my $page = shown(mailbox(2));

    decided($page, 4, $page->{routing}{server}, qr/, which is "down" in the configuration; by/,
            'down');
    my ($row) = grep { $_->{server} =~ /^ex2/ }
                @{ $page->{routing}{addresses} };
    is($row->{health}, 'down', '... its address');
    ($row) = grep { $_->{server} =~ /^ex3/ }
             @{ $page->{routing}{candidates} };
    is($row->{weight}, 3, 'a weight');
    happens($page, 2);
}

front_end('', alive => [ 11, 13 ]);
{
    ask($port, mailbox_id(2));

    my $page = shown(mailbox(2));

    decided($page, 4, $page->{routing}{server}, qr/, which does not live; by/,
            'dead');
    my ($row) = grep { $_->{server} =~ /^ex2/ }
                @{ $page->{routing}{addresses} };
    is("$row->{health} $row->{fails}", 'dead 1', '... its address');
    is($row->{why}, 'max_fails is reached', '... why');
    happens($page, 2);
}

for my $mode ('owner', 'direct') {
    front_end("mapi $mode;\n%SERVERS%");
    state('EX2', 'draining');

    my $page = shown(mailbox(2));

    decided($page, 3, 'ex2.contoso.com', qr/; it is draining, but nobody else can serve the mailbox \("mapi $mode"\)\.$/,
            $mode);
    is($page->{routing}{upstream}{mode}, $mode, '... the mode');
    happens($page, 2);
    state('EX2', 'active');
}


# rule 5

front_end();
{
    my $page = shown(mailbox(90000));
    my $first = $page->{routing}{server};

    decided($page, 5, $first, qr/^Rule 5: the directory does not know the mailbox, or more than one has that name; no affinity cookie came; the rendezvous hash of the name chose \Q$first\E\.$/,
            'unknown');
    is($page->{routing}{reason}, 'hash', '... the reason');
    ok(!$page->{routing}{directory}{found}, '... not found');
    happens($page, 90000);

    # the cookie: away from the hash's choice, then back

    my ($short) = uc(($first =~ /^(\w+)/)[0]);
    state($short, 'draining');
    my $answer = ask($port, mailbox_id(90000));
    my $other = header($answer, 'X-Target');
    my ($cookie) = header($answer, 'Set-Cookie') =~ /^([^;]+)/;
    state($short, 'active');

    isnt($other, $first, 'a cookie for another server');
    $page = shown(mailbox(90000), undef, "Cookie: a=b; $cookie; c=d");
    decided($page, 5, $other, qr/; the affinity cookie names \Q$other\E, which lives and is active\.$/,
            'cookie');
    is($page->{routing}{affinity}{state}, 'opened', '... opened');
    is($page->{routing}{affinity}{server}, $other, '... names');
    ok($page->{routing}{affinity}{counted}, '... and counted');
    like($page->{routing}{affinity}{expires}, qr/^20/, '... expires');
    is($page->{routing}{candidates}[0]{by}, 'affinity cookie', '... first');
    happens($page, 90000, "Cookie: $cookie");

    # it does not count where the place is known, nor for others

    $page = shown(mailbox(90001), undef, "Cookie: $cookie");
    like($page->{routing}{sentence}, qr/; the affinity cookie does not have this mailbox; the rendezvous/,
         'another mailbox');
    ($short) = uc(($other =~ /^(\w+)/)[0]);
    state($short, 'offline');
    $page = shown(mailbox(90000), undef, "Cookie: $cookie");
    like($page->{routing}{sentence}, qr/; the affinity cookie names a server that does not live or is not active; the/,
         'its server offline');
    ok(!$page->{routing}{affinity}{counted}, '... not counted');
    state($short, 'active');

    my ($name) = $cookie =~ /^([^=]+)/;
    $page = shown(mailbox(90000), undef, "Cookie: $name=AQB0b29zaG9ydA");
    like($page->{routing}{sentence}, qr/; the affinity cookie cannot be read; the/,
         'unreadable');

    # the removed part of the header

    $page = shown(mailbox(90000), undef, "Cookie: a=b; $cookie; c=d");
    my ($row) = @{ $page->{headers}{removed} };
    like($row->{value}, qr/^\Q$name\E=\(masked, \d+ bytes\)$/, 'our cookie goes');
}

{
    my $page = shown('x=y', undef, 'Authorization: Negotiate YIIabc');

    decided($page, 5, $page->{routing}{server}, qr/^Rule 5: the request names no mailbox that can be read; the rendezvous hash of the client's address chose/,
            'Kerberos');
    is($page->{routing}{reason}, 'address', '... the reason');
    is($page->{routing}{identity}{name}, undef, '... nobody');
}

front_end('', http => '', location => 'mapi_affinity off;');
{
    my $page = shown(mailbox(1));

    decided($page, 5, $page->{routing}{server}, qr/^Rule 5: there is no directory and nothing was learned; there is no affinity; the rendezvous hash/,
            'no directory');
    happens($page, 1);
}


# a mailbox that is refused is said to be

front_end("mapi;\nmapi_unknown_mailbox reject;\n%SERVERS%");
{
    my $page = shown(mailbox(90000), undef, basic('a'));

    decided($page, 5, $page->{routing}{server}, qr/\. But "mapi_unknown_mailbox reject" answers 404 to requests with credentials\.$/,
            'reject');
}


# rule 6

{
    my ($a, $b, $c) = map { "127.0.0.$_:" . free_port("127.0.0.$_") }
                      21, 22, 23;

    my $dir = make_directory('six', directory_csv());
    (my $servers = { directory_csv() }->{servers}) =~ s/127\.0\.0\.1/127.0.0.2/g;
    spew(run_folder() . '/servers.csv', $servers);
    mapi_directory('-d', $dir, 'import', '--servers',
                   run_folder() . '/servers.csv');
    front_end("mapi;\nserver $a;\nserver $b;\nserver $c;", alive => [ 11 ],
              http => "mapi_directory $dir;");
    ask($port, mailbox_id(2));

    my $page = shown(mailbox(2));

    decided($page, 6, 'ex2.contoso.com', qr/^Rule 6: no server passes its check, and so those that are not offline count as if they did; database DB2 is mounted on ex2\.contoso\.com by the directory; it is asked all the same\.$/,
            'nobody passes');

    mapi_directory('-d', $dir, 'server', "EX$_", 'offline') for 1 .. 3;
    $page = shown(mailbox(2));
    is($page->{routing}{server}, undef, 'all offline: nobody');
    like($page->{routing}{sentence}, qr/^Rule 4: .*, which is offline; no other server can be asked either: 503\.$/,
         '... and why');
    $page = shown(mailbox(90000));
    like($page->{routing}{sentence}, qr/name, and no server can be asked: 503\.$/,
         '... nor for the unknown');
}


# rules 1 and 2, on a connection that has a pin

front_end('', alive => [], http => "$known\nmapi_zone mapi 1m;");
my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;

{
    my $otto = connect_to($port);
    my ($peer) = carry(\@servers, $otto, post(mailbox_id(1), $type1),
                       answer(401, "WWW-Authenticate: NTLM $two"));

    my $page = shown(mailbox(2), $otto, $type3);
    decided($page, 1, 'ex1.contoso.com', qr/^Rule 1: this client connection has begun a logon at ex1\.contoso\.com, which ends where it began; without that it would go to ex2\.contoso\.com\.$/,
            'handshake');
    is($page->{routing}{pins}{own}[0]{state}, 'a logon is under way',
       '... its pin');

    my ($again) = carry(\@servers, $otto, post(mailbox_id(2), $type3),
                        answer(200), $peer);
    is($again, $peer, '... and that is what happens');

    $page = shown(mailbox(2), $otto);
    decided($page, 2, 'ex1.contoso.com', qr/^Rule 2: this client connection is logged on at ex1\.contoso\.com, which saves a logon; without that it would go to ex2\.contoso\.com\.$/,
            'pinned');
    is($page->{routing}{pins}{own}[0]{user}, 'CONTOSO\\otto', '... by whom');
    is($page->{page}{caller}{user}, 'CONTOSO\\otto', 'the caller');
    ok(!$page->{page}{caller}{claimed}, '... verified');

    my $answer;
    ($again, $answer) = carry(\@servers, $otto, post(mailbox_id(2)),
                              answer(200), $peer);
    is($again, $peer, '... and that is what happens');
    is(header($answer, 'X-Route'), 'pinned', '... by that rule');

    $page = shown(mailbox(1), $otto);
    decided($page, 3, 'ex1.contoso.com', qr/^Rule 3/, 'its own server');

    $page = shown(mailbox(2));
    decided($page, 3, 'ex2.contoso.com', qr/^Rule 3/, 'another connection');
    is_deeply($page->{routing}{pins}{own}, [], '... has none');
    is_deeply([ map { $_->{pins} } sort { $a->{server} cmp $b->{server} }
                    @{ $page->{routing}{candidates} } ], [ 1, 0, 0 ],
              '... but a server has one');
    $_->close for $otto, $peer;
}


# a flood of headers

{
    my $page = shown(mailbox(1), undef, map { "X-H$_: $_" } 1 .. 600);

    is(scalar @{ $page->{headers}{received} }, 200, 'not all of 601 headers');
    is($page->{headers}{more}, 401, '... and how many more there are');
    $page = shown(mailbox(1), undef, map { "X-DatabaseGuid: $_" } 1 .. 600);
    is(scalar @{ $page->{headers}{removed} }, 200, 'nor all that go');
}


# what a front end adds, and what it replaces

{
    my $page = shown(mailbox(1), undef, 'X-Forwarded-For: 203.0.113.9',
                     'X-SourceCafeServer: evil.example');
    my %added = map { $_->{name} => $_->{value} }
                @{ $page->{headers}{added} };

    is($added{'X-Forwarded-For'}, '203.0.113.9,127.0.0.1', 'added: addresses');
    is($added{'X-SourceCafeServer'}, 'front.example.com', '... our name');
    like($added{'X-MSExchangeActivityCtx'}, qr/^V=1\.0\.0\.0;Id=/, '... an id');
    is_deeply([ map { "$_->{name}: $_->{value}" }
                    @{ $page->{headers}{removed} } ],
              [ 'X-Forwarded-For: 203.0.113.9',
                'X-SourceCafeServer: evil.example' ], '... the old ones go');
    is_deeply([ map { $_->{name} } @{ $page->{headers}{received} } ],
              [ 'Host', 'X-Forwarded-For', 'X-SourceCafeServer' ],
              '... as received');
}


# learned

stop_nginx($front);
undef $front;
$_->close for @servers;
front_end('', http => "$known\nmapi_zone mapi 1m;",
          backend_location => 'add_header X-CalculatedBETarget '
                              . 'ex3.contoso.com always;');
{
    ask($port, mailbox_id(2));

    my $page = shown(mailbox(2));

    decided($page, 3, 'ex3.contoso.com', qr/^Rule 3: database DB2 is mounted on ex3\.contoso\.com by the word of a server; it is active/,
            'learned');
    is($page->{routing}{reason}, 'learned', '... the reason');
    is($page->{routing}{learned}{server}, 'ex3.contoso.com', '... by itself');
    is($page->{routing}{learned}{of}, 'database', '... of the database');
    ok($page->{routing}{learned}{age} < 3600, '... its age');
    is($page->{routing}{directory}{mounted}, 'ex2', '... the directory differs');
    happens($page, 2);
}


# active checks

front_end("mapi;\n%SERVERS%\nmapi_health_check plain interval=1s;",
          http => "$known\nmapi_zone mapi 1m;",
          backend_location => 'if ($server_addr = 127.0.0.12) { return 500; }'
                              . "\n" . 'if ($uri ~ healthcheck) '
                              . '{ return 200 "200 OK"; }');
{
    my $page;

    wait_for {
        $page = JSON::PP->new->utf8->decode(talk($port, request('GET',
            "$emsmdb?mapidebug=json&" . mailbox(2)))->{body});
        my %verdict = map { $_->{server} => $_->{verdict} }
                      @{ $page->{routing}{addresses} };
        $verdict{'ex2.contoso.com'} eq 'failing'
        && $verdict{'ex1.contoso.com'} eq 'alive'
        && $page->{routing}{rule} == 4;
    };

    my ($row) = grep { $_->{server} =~ /^ex2/ }
                @{ $page->{routing}{addresses} };

    is($row->{health}, 'dead', 'checked: dead');
    is($row->{check}, 'its answer is wrong', '... what the last check saw');
    ok($row->{since} >= 0 && $row->{since} < 3600, '... since');
    decided(shown(mailbox(1)), 3, 'ex1.contoso.com', qr/; it is active and passes its checks\.$/,
            'another server');
}


# secrets are in no page and no log

{
    my $mark = 'Qzx7Kq';
    my @headers = ("Authorization: Basic $mark$mark==",
                   "Cookie: MapiContext=$mark; MapiSequence=1-$mark; $mark;"
                   . " sid=$mark; MapiAffinity=$mark",
                   "Proxy-Authorization: $mark",
                   "X-CommonAccessToken: $mark", "X_CommonAccessToken: $mark",
                   "X-Auth-Key: $mark", "X-Secret: $mark",
                   "X-WLID-Session: $mark", "Cookie2: $mark",
                   "Referer: https://a.example/x?code=$mark&$mark#id=$mark",
                   "X-Original-URL: /mapi/?access_token=$mark",
                   "msExchProxyUri: https://a.example/?x=1&y=$mark",
                   "X-Original-Query: a=b&id_token=$mark",
                   "X-Rps-CAT: $mark", "X-OWA-CANARY: $mark",
                   "X-Functions-Key: $mark", "api_key: $mark",
                   "X-Jwt-Assertion: $mark", "X-Any: Basic $mark$mark",
                   "X-Any: bearer $mark", "X-Any: eyJ$mark.eyJ$mark.$mark");

    stop_nginx($front);
    undef $front;
    front_end('', server => "underscores_in_headers on;\n"
                            . "mapi_page local;\n"
                            . "mapi_log %PREFIX%/rows flush=100ms;");

    for my $query ('mapidebug=yes', 'mapidebug=json', 'showdebug=yes',
                   'showdebug=full', 'showdebug=json', 'x=y')
    {
        my $answer = talk($port, request('GET', "$emsmdb?$query", @headers));

        is($answer->{status}, 200, "secrets: $query");
        unlike("$answer->{text}$answer->{body}", qr/\Q$mark/, '... not shown');
        next if $query eq 'x=y';
        like($answer->{body}, qr/MapiContext=\(masked, 6 bytes\); MapiSequence=\(masked, 8 bytes\); \(masked, 6 bytes\); sid=/,
             '... but their names');
        like($answer->{body}, qr/Basic \(masked, 14 bytes\)/, '... the scheme');
        like($answer->{body}, qr{https://a\.example/x\?code=\(masked, 6 bytes\)},
             '... of a URL all but its query');
    }

    # what is no secret stays as it is

    for my $value ('Mozilla/5.0 (KHTML, like Gecko; a=b) what? #1 x&y=z',
                   'text/html, */*;q=0.8', '/path;v=1', 'eyJ', '?', '=', '/?')
    {
        my $page = shown(mailbox(1), undef, "User-Agent: $value");
        my ($row) = grep { $_->{name} eq 'User-Agent' }
                    @{ $page->{headers}{received} };

        is($row->{value}, $value, "plain: $value");
    }

    for my $auth ("NTLM $one", "Negotiate $one",
                  'NTLM ' . ntlm_message(3, 'D', 'u'), 'Negotiate YIIdef',
                  'Bearer abcdef', 'Bearer')
    {
        my $page = shown(mailbox(1), undef, "Authorization: $auth");
        my ($row) = grep { $_->{name} eq 'Authorization' }
                    @{ $page->{headers}{received} };
        my ($scheme, $token) = split ' ', $auth;

        like($row->{value}, qr/^$scheme( NTLM type [13])?( \(masked, \d+ bytes\))?$/,
             '... of a token the length');
    }

    # nginx's own debug lines have all headers: the others must not

    my @lines = grep { /\Q$mark/ && !/\[debug\]/ } split /\n/, log_of($front);
    is_deeply(\@lines, [], '... and not in the log');

    my $rows = '';

    wait_for { $rows = join '', map { slurp($_) }
                                grep { -f } glob("$front->{prefix}/rows/*");
               $rows =~ /emsmdb/ };
    unlike($rows, qr/\Q$mark/, '... nor in the rows of the other one');

    my $page = shown(mailbox(1), undef, @headers);
    my %removed = map { $_->{name} => 1 } @{ $page->{headers}{removed} };
    is_deeply([ sort keys %removed ],
              [ 'Cookie', 'X-CommonAccessToken', 'X_CommonAccessToken',
                'msExchProxyUri' ],
              'what a front end alone may set is removed, and said to be');
    ok((grep { $_->{name} eq 'Proxy-Authorization' }
        @{ $page->{headers}{received} }), '... others are not');
}


# hostile texts

{
    my $evil = q{<script>alert(1)</script>"'&};
    my @headers = ("User-Agent: $evil",
                   "X-ClientInfo: \xff\x01\xe2\x80\xae\xc2\x9b]0;x",
                   'X-Long: ' . 'a<' x 3000);
    (my $id = mailbox_id(1)) =~ s/\@.*/\@%3Cscript%3Ealert(2)%3C%2Fscript%3E%22%27%26%E2%80%AE/;
    my $answer = talk($port, request('GET', "$emsmdb?showdebug=yes&MailboxId=$id",
                                     @headers));

    is($answer->{status}, 200, 'hostile texts');
    my %tags = map { $_ => 1 } $answer->{body} =~ /<([^>]*)>/g;
    is_deeply([ grep { !m{^(?:/?(?:html|head|body|title|style|h[23]|p|b|table
                             |tr|th|td)|br|!DOCTYPE\ html|p\ class="why"
                             |table\ border="1"|meta\ (?:name="[a-z-]+"\ )?
                             (?:content|charset)="[a-z0-9=-]+(?:\ dark)?")$}x }
                     sort keys %tags ], [],
              '... make no element');
    like($answer->{body}, qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;&#39;&amp;/,
         '... are shown: User-Agent');
    like($answer->{body}, qr/&lt;script&gt;alert\(2\)&lt;\/script&gt;&quot;&#39;&amp;\\xe2\\x80\\xae/,
         '... MailboxId');
    like($answer->{body}, qr/\\xff\\x01\\xe2\\x80\\xae\\xc2\\x9b\]0;x/,
         '... no control characters');
    like($answer->{body}, qr/\(of 6000 bytes\)/, '... not all of what is long');
    unlike($answer->{body}, qr/[^\x20-\x7e\r\n]/, '... plain ASCII');
    unlike($answer->{body}, qr/https?:|src=|href=|url\(/, 'nothing from elsewhere');
    is(header($answer, 'Content-Security-Policy'),
       "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'", '... and forbidden');

    my $page = shown("MailboxId=$id", undef, @headers);
    my ($row) = grep { $_->{name} eq 'User-Agent' }
                @{ $page->{headers}{received} };
    is($row->{value}, $evil, 'JSON has it as it came');
    is($page->{routing}{identity}{domain},
       q{<script>alert(2)</script>"'&\\xe2\\x80\\xae}, '... and the domain');

    $page = shown('x=y', undef, 'X-AnchorMailbox: "<b>"@x.example');
    is($page->{routing}{identity}{name}, '"<b>"@x.example', '... an anchor');
    $page = shown(mailbox(1), undef, "User-Agent: J\xc3\xbcrgen \xf0\x9f\x98\x80 \xed\xa0\x80 \xc0\xaf");
    ($row) = grep { $_->{name} eq 'User-Agent' }
             @{ $page->{headers}{received} };
    is($row->{value}, "J\x{fc}rgen \x{1f600} \\xed\\xa0\\x80 \\xc0\\xaf",
       'UTF-8 stays, what is none does not');
}


# the page in HTML has all that the JSON has, in Exchange's frame

{
    my $answer = talk($port, request('GET', "$emsmdb?showdebug=yes&" . mailbox(2)));
    my $at = 0;

    for my $text ('<title>Exchange MAPI/HTTP Connectivity Endpoint</title>',
                  'Version: 15.2.1544.4<br>Vdir Path: /mapi/emsmdb/<br>',
                  '<b>Identity:</b> Anonymous', '<b>Cafe:</b> front.example.com',
                  '<b>Mailbox:</b> ex2.contoso.com',
                  '<b>Session Contexts</b>', '<p>None</p>', '<h2>Routing</h2>',
                  'Rule 3: database DB2 is mounted', '<h3>Identity</h3>',
                  '<h3>Directory</h3>', '<h3>Candidates', '<h3>Addresses</h3>',
                  '<h3>Affinity cookie</h3>', '<h3>Learned place</h3>',
                  '<h3>Pins</h3>', '<h2>Headers</h2>', '<h3>As received</h3>',
                  '<h3>Added</h3>', '<h3>Removed</h3>', '<b>Created:</b>')
    {
        my $found = index $answer->{body}, $text, $at;

        ok($found >= 0, "the page has \"$text\", in its place");
        $at = $found if $found >= 0;
    }

    is(header($answer, 'Content-Length'), length $answer->{body}, 'length');
    like($answer->{body}, qr/<meta name="color-scheme" content="light dark">/,
         'light and dark');
}


# who may see it

for my $maker ('proxy', 'local') {
    my $real = "set_real_ip_from 127.0.0.1;\nset_real_ip_from 127.0.0.2;\n"
               . 'real_ip_header X-Real-IP;';

    for my $case ([ 'nobody', 'mapi_debug_allow none;', '' ],
                  [ 'others', 'mapi_debug_allow 192.0.2.0/24;', '' ],
                  [ 'a proxy that is not allowed',
                    "mapi_debug_allow 192.0.2.7;\n$real", '',
                    'X-Real-IP: 192.0.2.7' ],
                  [ 'a client that is not allowed',
                    "mapi_debug_allow 127.0.0.1;\n$real", '',
                    'X-Real-IP: 192.0.2.7' ],
                  [ 'a client that the location finds out',
                    'mapi_debug_allow 127.0.0.1;', $real,
                    'X-Real-IP: 192.0.2.7' ])
    {
        my ($what, $server, $location, @headers) = @$case;

        stop_nginx($front);
        $port = free_port();
        $front = start_nginx('front' . ++$fronts,
            road_http(port => $port, backend => $backend, http => $known,
                      server => "mapi_page $maker;\n$server",
                      location => $location));
        talk($port, request('GET', '/'));

        for my $query ('showdebug=yes', 'mapidebug=yes', 'mapidebug=json') {
            my %seen;

            for my $n (1, 90000) {
                my $answer = talk($port, request('GET',
                    "$emsmdb?$query&smtpAddress=user$n\@contoso.com",
                    @headers));

                is($answer->{status}, 200, "$maker, $what: $query");
                unlike($answer->{body}, qr/[Rr]outing/, '... is not shown');

                if ($maker eq 'proxy') {
                    like($answer->{body}, qr/^127/, '... a server answers');

                } else {
                    $answer->{body} =~ s/Created:.*//;
                    $seen{$answer->{body}} = 1;
                }
            }

            is(scalar keys %seen, 1, '... whoever it is') if $maker eq 'local';
        }
    }

    stop_nginx($front);
    $port = free_port();
    $front = start_nginx('front' . ++$fronts,
        road_http(port => $port, backend => $backend, http => $known,
                  server => "mapi_page $maker;\n$real\n"
                            . 'mapi_debug_allow 127.0.0.1 192.0.2.7;'));
    talk($port, request('GET', '/'));

    my $page = shown(mailbox(1), undef, 'X-Real-IP: 192.0.2.7');
    is($page->{routing}{identity}{client}, '192.0.2.7',
       "$maker: both addresses allowed");
    is($page->{routing}{identity}{peer}, '127.0.0.1', '... and both are told');
    like(talk($port, request('GET', "$emsmdb?showdebug=yes"))->{body},
         $maker eq 'proxy' ? qr/^127/ : qr/Routing/,
         "... showdebug is whose page it is");
    is(talk($port, post(mailbox_id(1), 'x: y') =~ s/\?/?mapidebug=yes&/r)
       ->{body}, "127.0.0.11\n", '... and a POST goes on');
}


# a stranger's request for it is one like any other, also where some are refused

stop_nginx($front);
$port = free_port();
$front = start_nginx('front' . ++$fronts,
    road_http(port => $port, backend => $backend, http => $known,
              upstream => "mapi;\nmapi_unknown_mailbox reject;\n%SERVERS%"));
talk($port, request('GET', '/'));

for my $n (1, 90000) {
    is(talk($port, request('GET', "$emsmdb?$_" . mailbox($n), basic('a')))
       ->{status}, $n == 1 ? 200 : 404, "a stranger, reject: \"$_\"")
        for '', 'mapidebug=yes&', 'mapidebug=json&';
}


# observe: shown, and nothing is touched

front_end('', mapi => 'observe');
{
    my $page = shown(mailbox(2), undef, 'X-CommonAccessToken: abc');

    decided($page, 3, 'ex2.contoso.com', qr/^Rule 3/, 'observe');
    ok($page->{routing}{upstream}{observe}, '... and says so');
    is_deeply($page->{headers}{removed}, [], '... nothing is removed');
}

front_end("hash \$uri;\n%SERVERS%", mapi => 'observe');
{
    my $page = shown(mailbox(2));

    decided($page, 3, 'ex2.contoso.com', qr/^Rule 3/,
            'observe, another method');
    is_deeply($page->{routing}{addresses}, [], '... whose peers are its own');
    is($page->{routing}{upstream}{mode}, 'none', '... and says so');
}

stop_nginx($front);
done_testing();
