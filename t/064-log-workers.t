
# Two workers, files that are full soon, and clients that mean no good: one row
# for each request, whoever reads it.

use strict;
use warnings;

use Test::More;
use MapiLog;
use MapiRig;
use MapiRoad;

my $requests = 600;
my $backend = free_port('127.0.0.11');
my $port = free_port();
my $directory = make_directory('mapi_dir', directory_csv());

my $front = start_nginx('front', "worker_processes 2;\n" . road_http(
    port => $port, backend => $backend, http => <<"EOT",
mapi_directory $directory;
mapi_log %PREFIX%/rows max_file=64k buffer=32k flush=50ms;
EOT
    location => 'add_header X-Worker $pid always;'));

my @agents = (
    'a,b,c', '"', '""",""', 'x" , "y', "\x1b]0;title\x07", "\xff\xc3\x28",
    "J\xc3\xbcrgen, \xe2\x80\xa8 M", '#Fields: DateTime,RequestId',
    'BeginRequest=1970-01-01T00:00:00.000Z;ErrorCode=x', ',' x 900,
    '"' x 3000, "tab\there", '=HYPERLINK("http://x")', '\\r\\n', '');

my (%workers, @wrong);

for my $n (1 .. $requests) {
    my $answer = talk($port, request('POST', '/mapi/emsmdb/?MailboxId='
        . mailbox_id($n % 30 + 1) . "&n=$n", "User-Agent: $agents[$n % 15]",
        "X-RequestId: $agents[($n + 3) % 15]", 'Content-Length: 0'));

    push @wrong, "$n: $answer->{status}" if $answer->{status} != 200;
    $workers{ header($answer, 'X-Worker') }++;
}

is("@wrong", '', 'every request is answered');
is(scalar keys %workers, 2, 'by both workers');

stop_nginx($front);

my $folder = "$front->{prefix}/rows";
my @files = log_files($folder);
my @rows = log_rows($folder);
my %seen;

cmp_ok(scalar @files, '>=', 3, 'several files');
is(scalar @rows, $requests, 'as many rows as requests');

for my $row (@rows) {
    my ($n) = $row->{UrlQuery} =~ /&n=(\d+)$/;

    $seen{ defined $n ? $n : '?' }++;
    next if !defined $n;

    my $i = $n % 30 % 3 + 1;

    push @wrong, $row->{line}
        if $row->{TargetServer} ne "ex$i.contoso.com"
           || $row->{DatabaseGuid}
              ne "|RoutingDB:0000000$i-dddd-4000-8000-000000000000"
           || $row->{HttpStatus} ne 200
           || $row->{RoutingStatus} ne 'CafeV1'
           || latency_errors($row) ne '';
}

is_deeply(\%seen, { map { $_ => 1 } 1 .. $requests }, 'each has its own');
is(join("\n", @wrong), '', 'with its server and its database');
is(scalar(keys %{ { map { $_->{RequestId} => 1 } @rows } }), $requests,
   'and an id of its own');

done_testing();
