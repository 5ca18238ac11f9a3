
# A worker that remembers a mailbox answers as the directory does, from the
# first request after a change on.

use strict;
use warnings;

use File::Path qw( remove_tree );
use Test::More;
use Time::HiRes qw( sleep time );
use MapiLog;
use MapiRig;
use MapiRoad;

my $backend = free_port('127.0.0.11');
my $port = free_port();
my $archive = 'aaaaaaaa-0000-4000-8000-000000000001';
my $owner = '00000000-1111-4000-8000-000000000001';
my $long = '00000000-1111-4000-8000-000000000002';
my $far = 'l' x 60 . '@' . ('far.' x 55) . 'example';

sub csv
{
    return directory_csv(extra => <<"CSV", @_);
$owner,arch\@contoso.com,DB1,,,,$archive,DB3
$long,$far,DB2,,,,,
CSV
}

my $path = make_directory('main', csv());

my $front = start_nginx('front', road_http(port => $port,
    backend => $backend, http => <<"EOT",
mapi_directory $path;
mapi_log %PREFIX%/rows flush=100ms;

upstream other {
    mapi owner fallback=any;
    server 127.0.0.11:$backend;
    server 127.0.0.12:$backend;
    server 127.0.0.13:$backend;
}
EOT
    upstream => "mapi fallback=copies;\n%SERVERS%", location => <<'EOT',
add_header X-Database $mapi_database always;
add_header X-Database-Guid $mapi_database_guid always;
add_header X-Mailbox $mapi_mailbox always;
EOT
    server => <<"EOT"));
location /mapi/nspi/ {
    mapi on;
    mapi_log off;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_pass http://other;
    add_header X-Target \$mapi_target always;
    add_header X-Route \$mapi_route always;
    add_header X-Database \$mapi_database always;
    add_header X-Database-Guid \$mapi_database_guid always;
    add_header X-Mailbox \$mapi_mailbox always;
}
EOT

my $client = connect_to($port);


sub found
{
    my ($id, $endpoint) = @_;

    $id = mailbox_id($id) if $id =~ /^\d+$/;
    $endpoint ||= 'emsmdb';
    $client->send(request('POST', "/mapi/$endpoint/?MailboxId=$id",
                          'Content-Length: 0'));

    my $answer = $client->read_answer;

    return join ' ', map { defined $_ ? $_ : '-' } $answer->{status},
           map { header($answer, "X-$_") }
           qw( Server Route Target Mailbox Database Database-Guid );
}


sub place
{
    my ($id, $db, $server, $name) = @_;

    $id = mailbox_id($id) if $id =~ /^\d+$/;
    $id =~ s/\@.*//;
    $name ||= "DB$db";

    return "200 127.0.0.1$server directory ex$server.contoso.com $id $name "
           . "0000000$db-dddd-4000-8000-000000000000";
}


# asked for again and again, so that all of it is remembered in this second

sub often
{
    my ($id, $want, $name) = @_;
    my %seen;

    $seen{found($id, $_ % 2 ? 'emsmdb' : 'nspi')}++ for 1 .. 8;
    is_deeply([ keys %seen ], [ $want ], $name);
}


sub change
{
    my ($name, @command) = @_;
    my ($code, $out) = mapi_directory('-d', $path, @command);

    is($code, 0, $name) or diag($out);
}


often($_, place($_, ($_ - 1) % 3 + 1, ($_ - 1) % 3 + 1), "mailbox $_")
    for 1 .. 9;

often($archive . '@x', place($archive, 3, 3), 'an archive');
often($owner . '@x', place($owner, 1, 1), '... and its owner');
often($long . '@x', place($long, 2, 2), 'an address that is long');

{
    my %seen;

    $seen{found(999)}++ for 1 .. 8;
    is(scalar(grep { /directory/ } keys %seen), 0, 'nobody is nobody');
}


# each change counts for the very next request, in every block

sub at_once
{
    my ($id, $want) = @_;

    is(found($id), $want, '... at once');
    is(found($id), $want, '... and then');
    is(found($id, 'nspi'), $want, '... in the other block too');
}


for my $to (2, 3, 1) {
    often(1, place(1, 1, $to == 2 ? 1 : $to == 3 ? 2 : 3), 'before it');
    change("DB1 moves to EX$to", 'move', 'DB1', "EX$to");
    at_once(1, place(1, 1, $to));
}

my $file = run_folder() . '/changed.csv';

for my $db (2, 3, 1) {
    my %moved = csv(count => 0);

    often(1, place(1, ($db + 1) % 3 + 1, ($db + 1) % 3 + 1), 'before it');
    $moved{mailboxes} =~ s/\n.*//s;
    spew($file, "$moved{mailboxes}\n" . (split /@/, mailbox_id(1))[0]
                . ",user1\@contoso.com,DB$db,,,,,\n");
    change("mailbox 1 moves to DB$db", 'import', '--mailboxes', $file);
    at_once(1, place(1, $db, $db));
}

for my $mounted ([ 2, 3, 1 ], [ 1, 2, 3 ]) {
    my %csv = csv(mounted => $mounted);

    often(2, place(2, 2, $mounted->[1] == 3 ? 2 : 3), 'before it');
    spew("$file.$_", $csv{$_}) for keys %csv;
    change('all of it is imported anew', 'import', '--replace',
           map { ("--$_", "$file.$_") } sort keys %csv);
    at_once(2, place(2, 2, $mounted->[1]));
}

{
    my %csv = csv();

    often(3, place(3, 3, 3), 'before it');
    $csv{databases} =~ s/^DB3,/Third,/m;
    $csv{mailboxes} =~ s/,DB3\b/,Third/g;
    spew("$file.$_", $csv{$_}) for keys %csv;
    change('a database gets another name', 'import', '--replace',
           map { ("--$_", "$file.$_") } sort keys %csv);
    at_once(3, place(3, 3, 3, 'Third'));

    %csv = csv(count => 2);
    often(5, place(5, 2, 2), 'before it');
    spew("$file.$_", $csv{$_}) for keys %csv;
    change('mailboxes leave', 'import', '--replace', '--force',
           map { ("--$_", "$file.$_") } sort keys %csv);
    unlike(found(5), qr/directory/, '... at once');

    %csv = csv();
    spew("$file.$_", $csv{$_}) for keys %csv;
    change('and are back', 'import', '--replace',
           map { ("--$_", "$file.$_") } sort keys %csv);
    at_once(5, place(5, 2, 2));
}

often(2, place(2, 2, 2), 'before it');
change('EX2 is offline', 'server', 'EX2', 'offline');
unlike(found(2), qr/ex2/, '... at once');
change('EX2 is back', 'server', 'EX2', 'active');
at_once(2, place(2, 2, 2));


# the end of a drain is no commit: each block looks at the clock by itself

change('EX2 is draining', 'server', 'EX2', 'draining', '--within', '2s');
is(found(2, 'nspi'), place(2, 2, 2), 'a draining server keeps its mailboxes');

{
    my $until = time() + 6;
    my $answer;

    do {
        sleep 0.05;
        found(1) for 1 .. 2;
        $answer = found(2, 'nspi');
    } while ($answer =~ /ex2/ && time() < $until);

    unlike($answer, qr/ex2/, '... until its time is over');
}

change('EX2 is back', 'server', 'EX2', 'active');
at_once(2, place(2, 2, 2));


# a folder in the place of this one, within a second

{
    my $new = make_directory('new', csv(mounted => [ 3, 1, 2 ]));

    often(1, place(1, 1, 1), 'before it');
    rename $path, "$path.old";
    rename $new, $path;
    ok(wait_for { found(1) eq place(1, 1, 3) }, 'another folder counts');
    often($_, place($_, $_, ($_ + 1) % 3 + 1), '... for all') for 1 .. 3;
    change("DB1 moves to EX2", 'move', 'DB1', "EX2");
    is(found(1), place(1, 1, 2), '... and its changes at once');
    remove_tree("$path.old");
}


# what is in the log is the same, remembered or not

$client->close;
stop_nginx($front);

{
    my %smtp;

    for my $row (log_rows("$front->{prefix}/rows")) {
        my ($id) = $row->{UrlQuery} =~ /MailboxId=([^@]+)/ or next;
        $smtp{$id}{$row->{GenericInfo} =~ /Smtp=([^;]*)/ ? $1 : '-'}++;
    }

    is(join(' ', keys %{ $smtp{(split /@/, mailbox_id(2))[0]} }),
       'user2@contoso.com', 'an address in the log');
    is(join(' ', keys %{ $smtp{$archive} }), 'arch@contoso.com',
       '... of an archive');
    is(join(' ', keys %{ $smtp{$long} }), $far, '... and a long one');
}

is(() = log_of($front) =~ /\[(?:error|crit|alert)\]/g, 0,
   'nothing of this is an error');

done_testing();
