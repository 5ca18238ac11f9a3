# mapi_page: who makes the page that a browser gets from an endpoint, and what
# a stranger learns from it.

use strict;
use warnings;

use Test::More;

use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $known = "mapi_directory $path;\nmapi_server_name FRONT.example.com;";
my $emsmdb = '/mapi/emsmdb/';
my ($front, $port);
my $fronts = 0;


sub front_end
{
    my (%o) = @_;

    stop_nginx($front) if $front;
    $port = free_port();
    $o{http} = join "\n", $known, defined $o{http} ? $o{http} : ();
    $front = start_nginx('front' . ++$fronts,
                         road_http(port => $port, backend => $backend, %o));
    talk($port, request('GET', '/'));
}


sub page
{
    my ($where, @headers) = @_;

    return talk($port, request('GET', $where, @headers));
}


# the body, without its time

sub text
{
    my ($answer) = @_;
    my $text = $answer->{body};

    $text =~ s{<b>Created:</b> \d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M}
              {<b>Created:</b> now}
        or fail("no time in $text");

    return $text;
}


# Exchange's page, with these values

sub exchange
{
    my ($vdir, $who, $version, $mailbox) = @_;

    return "<html>\r\n<head>\r\n<title>Exchange MAPI/HTTP Connectivity "
           . "Endpoint</title>\r\n</head>\r\n<body>\r\n"
           . '<p>Exchange MAPI/HTTP Connectivity Endpoint<br><br>'
           . "Version: $version<br>Vdir Path: /mapi/$vdir/<br><br></p>"
           . "<p>$who</p><br><p><b>Cafe:</b> front.example.com<br>"
           . "<b>Mailbox:</b> $mailbox</p>"
           . '<p><br><br><br><b>Created:</b> now</p></body></html>';
}


sub who
{
    my ($user, $upn, $domain, $scheme) = @_;

    return "<b>User:</b> $user<br><b>UPN:</b> $upn<br><b>SID:</b> <br>"
           . "<b>Organization:</b> $domain<br>"
           . "<b>Authentication:</b> $scheme";
}


my $nobody = '<b>Identity:</b> Anonymous';
my $none = '15.0.0.0';


# proxy, the default: the server's own page

for my $setting ('', 'mapi_page proxy;') {
    front_end(location => $setting);

    for my $where ($emsmdb, '/mapi/nspi/', "$emsmdb?showdebug=yes",
                   "$emsmdb?mapidebug=yes")
    {
        my $answer = page($where);

        is($answer->{status}, 200, "\"$setting\" GET $where");
        like($answer->{body}, qr/^127\.0\.0\.1\d\n$/, '... is the server\'s');
    }
}


# local: nobody is asked

front_end(location => 'mapi_page local;', alive => []);

for my $case ([ $emsmdb, 'emsmdb' ], [ '/mapi/nspi/', 'nspi' ],
              [ '/MAPI/EmsMdb', 'emsmdb' ], [ "$emsmdb?", 'emsmdb' ],
              [ "$emsmdb?MailboxId=" . mailbox_id(1), 'emsmdb' ],
              [ "$emsmdb?MailboxId=" . mailbox_id(90000), 'emsmdb' ],
              [ "$emsmdb?smtpAddress=user1\@contoso.com", 'emsmdb' ],
              [ "$emsmdb?showdebug=yes&MailboxId=" . mailbox_id(1), 'emsmdb' ],
              [ "$emsmdb?mapidebug=json", 'emsmdb' ])
{
    my ($where, $vdir) = @$case;
    my $answer = page($where);

    is($answer->{status}, 200, "local: GET $where");
    is(text($answer), exchange($vdir, $nobody, $none, ''),
       '... is as of Exchange, and tells nothing');
}

{
    my $answer = page($emsmdb);

    is(header($answer, 'Content-Type'), 'text/html; charset=utf-8', 'type');
    is(header($answer, 'Content-Length'), length $answer->{body}, 'length');
    is(header($answer, 'Cache-Control'), 'no-store', 'kept by nobody');
    is(header($answer, 'X-Content-Type-Options'), 'nosniff', 'taken as it is');
    is(header($answer, 'Content-Security-Policy'),
       "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'", 'loads nothing');
    ok(!defined header($answer, 'X-Server'), 'no server was asked');
    is(header($answer, 'X-Target') || '', '', '... nor chosen');
    ok(!defined header($answer, 'Set-Cookie'), '... and there is no cookie');

    my $head = talk($port, request('HEAD', $emsmdb));
    is($head->{status}, 200, 'HEAD');
    is(header($head, 'Content-Type'), 'text/html; charset=utf-8', '... type');
    ok(header($head, 'Content-Length') > 300, '... length');

    is(ask($port, mailbox_id(1))->{status}, 503, 'a POST goes to a server');
    is(page("$emsmdb?MailboxId=" . mailbox_id(1) . '&mailboxid=x')->{status},
       400, 'two mailboxes are none');
}


# on one connection, with a body, and on

{
    my $client = connect_to($port);

    for my $request (request('GET', $emsmdb, 'Content-Length: 4') . 'body',
                     request('GET', $emsmdb), request('HEAD', $emsmdb),
                     request('GET', '/mapi/nspi/'))
    {
        $client->send($request);
        my $answer = $client->read_answer($request =~ /^HEAD/);
        is("$answer->{status} " . header($answer, 'Connection'),
           '200 keep-alive', 'and on');
    }

    $client->close;
}


# names: claimed, verified, hostile

my ($one, $two) = map { ntlm_message($_) } 1, 2;
my $type3 = 'Authorization: NTLM ' . ntlm_message(3, 'CONTOSO', 'otto');

for my $case ([ [ basic('otto') ], who('otto (claimed)', '', '', 'Basic') ],
              [ [ basic('CONTOSO\\otto') ],
                who('CONTOSO\\otto (claimed)', '', 'contoso', 'Basic') ],
              [ [ basic('otto@contoso.com') ],
                who('otto@contoso.com (claimed)', 'otto@contoso.com',
                    'contoso.com', 'Basic') ],
              [ [ $type3 ],
                who('CONTOSO\\otto (claimed)', '', 'contoso', 'NTLM') ],
              [ [ basic(q{<script>alert("1&'2")</script>}) ],
                who('&lt;script&gt;alert(&quot;1&amp;&#39;2&quot;)'
                    . '&lt;/script&gt; (claimed)', '', '', 'Basic') ],
              [ [ basic("a\xff\xe2\x80\xae\xc2\x9bz") ],
                who('a\\xff\\xe2\\x80\\xae\\xc2\\x9bz (claimed)', '', '',
                    'Basic') ],
              [ [ "Authorization: NTLM $one" ], $nobody ],
              [ [ 'Authorization: Basic !!!' ], $nobody ],
              [ [ 'Authorization: Bearer abc' ], $nobody ],
              [ [ 'Authorization: Bearer' ], $nobody ],
              [ [ 'Authorization: otto' ], $nobody ],
              [ [ 'X-AnchorMailbox: user1@contoso.com' ], $nobody ])
{
    my ($headers, $who) = @$case;

    is(text(page($emsmdb, @$headers)), exchange('emsmdb', $who, $none, ''),
       "@$headers");
}

like(text(page("$emsmdb?MailboxId=" . mailbox_id(1), basic('a@b.example'))),
     qr{<b>Organization:</b> example\.com<br>},
     'the domain is that of the mailbox, if one is named');


# whether a mailbox exists, and where, must not show

{
    front_end(location => 'mapi_page local;',
              upstream => "mapi;\nmapi_unknown_mailbox reject;\n%SERVERS%");

    is(ask($port, mailbox_id(90000), basic('a'))->{status}, 404,
       'reject: a POST for an unknown mailbox');

    my %seen;

    for my $n (1, 2, 3, 90000, 90001) {
        for my $query ('MailboxId=' . mailbox_id($n),
                       "smtpAddress=user$n\@contoso.com")
        {
            my $answer = page("$emsmdb?showdebug=yes&$query", basic('a'));
            my $text = "$answer->{status} " . text($answer);

            $text =~ s/(Organization:<.b>) (?:example|contoso)\.com/$1/;
            $text .= join "\n", map { "$_: @{ $answer->{headers}{$_} }" }
                                grep { $_ !~ /^(?:date|content-length)$/ }
                                sort keys %{ $answer->{headers} };
            $seen{$text} = "$n $query";
        }
    }

    is(scalar keys %seen, 1, 'the page is one, whatever mailbox is named')
        or diag(join "\n\n", %seen);
}


# somebody whom a server knows is told who he is, and where; not where others
# are

{
    front_end(location => 'mapi_page local;', alive => []);

    my @servers = map { listen_on("127.0.0.1$_", $backend) } 1 .. 3;
    my $otto = connect_to($port);
    my ($peer) = carry(\@servers, $otto,
                       post(mailbox_id(2), "Authorization: NTLM $one"),
                       answer(401, "WWW-Authenticate: NTLM $two"));

    $otto->send(request('GET', $emsmdb));
    is(text($otto->read_answer), exchange('emsmdb', $nobody, $none, ''),
       'in the middle of a logon');

    carry(\@servers, $otto, post(mailbox_id(2), $type3), answer(200), $peer);

    for my $query ('', '?MailboxId=' . mailbox_id(1),
                   '?MailboxId=' . mailbox_id(2),
                   '?MailboxId=' . mailbox_id(90000) . '&showdebug=yes')
    {
        my $domain = $query ? 'example.com' : '';

        $otto->send(request('GET', "$emsmdb$query"));
        is(text($otto->read_answer),
           exchange('emsmdb', who('CONTOSO\\otto', '', $domain, 'NTLM'),
                    '15.2.1544.4', 'ex2.contoso.com'),
           "after it: \"$query\"");
    }

    # what he says of himself now counts for more

    $otto->send(request('GET', $emsmdb, basic('eve')));
    is(text($otto->read_answer),
       exchange('emsmdb', who('eve (claimed)', '', '', 'Basic'), $none, ''),
       'another name is claimed');

    my $eve = connect_to($port);
    $eve->send(request('GET', $emsmdb));
    is(text($eve->read_answer), exchange('emsmdb', $nobody, $none, ''),
       'nobody else is he');

    # the logon is as it was

    my ($again) = carry(\@servers, $otto, post(mailbox_id(2)), answer(200),
                        $peer);
    is($again, $peer, 'and the page has taken nothing away');
    $_->close for $otto, $eve, $peer, @servers;
}


# access is what it was; observe leaves the page to the servers

front_end(location => "mapi_page local;\ndeny all;");
is(page($emsmdb)->{status}, 403, 'what access refuses stays refused');

front_end(mapi => 'observe', location => 'mapi_page local;');
like(page($emsmdb)->{body}, qr/^127/, 'observe: the server\'s page');


# the allowed get it with the mailbox's server

front_end(location => "mapi_page local;\nmapi_debug_allow 127.0.0.1;",
          alive => []);
is(text(page("$emsmdb?MailboxId=" . mailbox_id(3))),
   exchange('emsmdb', $nobody, '15.2.1544.4', 'ex3.contoso.com'),
   'without showdebug: Exchange\'s page, of the mailbox\'s server');

stop_nginx($front);
done_testing();
