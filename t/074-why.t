# mapi-directory why: the debug page in a terminal.

use strict;
use warnings;

use JSON::PP;
use Test::More;

use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $port = free_port();
my $front = start_nginx('front', road_http(
    port => $port, backend => $backend,
    http => "mapi_directory $path;\nmapi_zone mapi 1m;",
    server => "mapi_debug_allow 127.0.0.1;\n"
              . "location /closed/ { return 403; }\n"
              . 'location /text/ { return 200 "routing"; }' . "\n"
              . 'location /evil/ { return 200 '
              . q('{"routing":{"server":"\u001b[31mx","sentence":"a\\\nb"}}'; })
              . "\n" . join "\n", map { "location /evil$_/ { return 200 '"
                  . (q({"routing":{"server":"x","\u001b[31m":"y"}}),
                     q({"routing":{"server":"x","\u001b[31m":[]}}),
                     q({"routing":{"server":"x","a":[{"\u001b[31m":"y"}]}}),
                     q({"routing":{"server":"x"},"sessions":[{"a":{"\u001b[31m":1}}]}))
                    [$_] . "'; }" } 0 .. 3));
my $url = "http://127.0.0.1:$port";


sub why
{
    my (@words) = @_;

    return mapi_directory('why', @words);
}


# every kind of name, every form of URL

(my $guid = mailbox_id(2)) =~ s/\@.*//;

for my $case ([ $guid, $url ], [ uc $guid, "$url/" ],
              [ mailbox_id(2), "$url/mapi/emsmdb/" ],
              [ 'user2@contoso.com', "$url/mapi/nspi/" ],
              [ 'ALIAS2@contoso.com', "$url/mapi/emsmdb/?x=y" ],
              [ 'upn2@corp.contoso.com', $url ], [ 'sam2', $url ],
              [ 'CONTOSO\\sam2', $url ])
{
    my ($name, $where) = @$case;
    my ($code, $out, $err) = why($name, '--url', $where);

    is($code, 0, "why $name --url $where");
    is($err, '', '... no complaint');
    like($out, qr/\Aserver: ex2\.contoso\.com\nwhy: Rule 3: database DB2 is mounted on ex2\.contoso\.com by the directory; it is active and has not failed lately\.\n\nsessions\n  none\n/,
         '... the answer first');
    like($out, qr/^candidates\n  order  server .*\n  1      ex2\.contoso\.com  yes /m,
         '... the candidates');
    like($out, qr/^directory\n  path: \Q$path\E\n  usable: yes\n/m,
         '... the directory');
    unlike($out, qr/Authorization|headers/, '... nothing of itself');
}


# a name whose base64 has every sign

for my $name ('>>>>???', 'a>>>>???', 'aa>>>>???') {
    my ($code, $out) = why($name, '--url', $url);

    is($code, 0, "why $name");
    like($out, qr/^  name: \Q$name\E$/m, '... arrives as it is');
}


# JSON as it came

{
    my ($code, $out) = why($guid, '--url', $url, '--format', 'json');
    my $page = JSON::PP->new->utf8->decode($out);

    is($code, 0, 'JSON');
    is($page->{routing}{server}, 'ex2.contoso.com', '... has the answer');
}


# nobody can

mapi_directory('-d', $path, 'server', "EX$_", 'offline') for 1 .. 3;
{
    my ($code, $out) = why($guid, '--url', $url);

    is($code, 1, 'no server: exit code 1');
    like($out, qr/\Awhy: Rule 4: .*503\.$/m, '... and why');
}
mapi_directory('-d', $path, 'server', "EX$_", 'active') for 1 .. 3;


# what can go wrong

my $dead = free_port();

for my $case ([ 2, qr/give the front end's URL with --url/, 'sam2' ],
              [ 2, qr/something is missing/, '--url', $url ],
              [ 2, qr/"a:b" is no GUID/, 'a:b', '--url', $url ],
              [ 2, qr/is no GUID/, "a\nb", '--url', $url ],
              [ 2, qr/plain HTTP/, 'sam2', '--url', 'https://127.0.0.1/' ],
              [ 2, qr/plain HTTP/, 'sam2', '--url', '127.0.0.1' ],
              [ 2, qr/"#"/, 'sam2', '--url', "$url/#x" ],
              [ 2, qr/character/, 'sam2', '--url', "$url/ HTTP/1.1" ],
              [ 2, qr/too long/, 'sam2', '--url', "$url/" . 'x' x 5000 ],
              [ 4, qr/cannot be reached/, 'sam2', '--url',
                "http://127.0.0.1:$dead/" ],
              [ 1, qr/the answer is 404 and no debug page: write the URL of an endpoint/,
                'sam2', '--url', "$url/nothing" ],
              [ 1, qr/the answer is 403 .*mapi_debug_allow/, 'sam2', '--url',
                "$url/closed/" ],
              [ 3, qr/the answer is 200 .*mapi_debug_allow/, 'sam2', '--url',
                "$url/text/" ])
{
    my ($exit, $words, @words) = @$case;
    my ($code, $out, $err) = why(@words);

    is($code, $exit, "why @words: exit code $exit");
    is($out, '', '... says nothing');
    like($err, $words, '... but a message');
}

{
    my ($code, $out) = why('sam2', '--url', "$url/evil/");

    unlike($out, qr/[^\n\x20-\x7e]/, 'what answers cannot write to the terminal');
}

for my $n (0 .. 3) {
    my ($code, $out, $err) = why('sam2', '--url', "$url/evil$n/");

    is("$code <$out>", '3 <>', 'nor by a name');
    unlike($err, qr/[^\n\x20-\x7e]/, '... in its message either');
}

stop_nginx($front);
done_testing();
