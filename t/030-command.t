#!/usr/bin/perl

# Copyright (C) the ngx_mapi_module authors

# The mapi-directory command: files as Exchange and people write them, every
# refusal, every verb, exit codes.

use strict;
use warnings;

use Encode qw(encode);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

my $cmd = ($ENV{MAPI_BUILD} // 'build') . '/mapi-directory';
plan skip_all => "$cmd has not been built" unless -x $cmd;

my $dir = tempdir('mapi-command-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $n = 0;

sub file {
    my ($name, $text) = @_;
    open my $f, '>:raw', "$dir/$name" or die "$dir/$name: $!";
    print $f $text;
    close $f or die $!;
    return "$dir/$name";
}

# runs the command: exit code, standard output, standard error
sub run {
    my @args = @_;
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open STDOUT, '>', "$dir/out" or die $!;
        open STDERR, '>', "$dir/err" or die $!;
        exec { $cmd } $cmd, @args or POSIX::_exit(126);
    }
    waitpid $pid, 0;
    my $code = $? & 127 ? "signal " . ($? & 127) : $? >> 8;
    my @text;
    for my $name ('out', 'err') {
        open my $f, '<:raw', "$dir/$name" or die $!;
        local $/;
        push @text, scalar <$f> // '';
    }
    $text[1] =~ s/\Q$dir\E\///g;
    return ($code, @text);
}

# checks code, standard output and standard error against patterns
sub check {
    my ($what, $args, $code, $out, $err) = @_;
    my ($c, $o, $e) = run(@$args);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    subtest $what => sub {
        is($c, $code, 'exit code') or diag("out: $o\nerr: $e");
        ref $out ? like($o, $out, 'output') : is($o, $out, 'output')
            if defined $out;
        ref $err ? like($e, $err, 'messages') : is($e, $err, 'messages')
            if defined $err;
    };
    return $o;
}

my $A = '11111111-1111-4111-8111-111111111111';
my $B = '22222222-2222-4222-8222-222222222222';
my $C = '33333333-3333-4333-8333-333333333333';
my $ARCHIVE = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';
my $ZERO = '00000000-0000-0000-0000-000000000000';
my $DB1 = 'db000001-0000-4000-8000-000000000001';
my $DB2 = 'db000002-0000-4000-8000-000000000002';

my $servers = file('servers.csv', <<'END');
Name,Fqdn,Addresses,AdminDisplayVersion,State
EX1,ex1.corp.example,127.0.0.11;127.0.0.21,Version 15.1 (Build 2507.6),
EX2,EX2.corp.example,[::1],Version 15.2 (Build 1544.4),active
EX3,ex3.corp.example,,,offline
END

my $databases = file('databases.csv', <<"END");
Name,Guid,Server,MountedOnServer,ActivationPreference
DB01,$DB1,EX2,EX1.corp.example,"[EX2, 2] [EX1, 1]"
DB02,$DB2,EX2,,"{[EX2, 1], [EX1, 2]}"
END

my $mailboxes = file('mailboxes.csv', <<"END");
ExchangeGuid,PrimarySmtpAddress,Database,EmailAddresses,UserPrincipalName,SamAccountName,ArchiveGuid,ArchiveDatabase,MapiHttpEnabled
$A,Anna\@corp.example,DB01,SMTP:Anna\@corp.example;smtp:a\@corp.example;X500:/o=First Org/cn=x\@y;SIP:anna\@sip.example,anna\@ad.example,CORP\\anna,$ARCHIVE,,False
$B,bert\@corp.example,db02,smtp:b\@corp.example SMTP:bert\@corp.example,bert\@corp.example,bert,$ZERO,,
END

my @all = ('--mailboxes', $mailboxes, '--databases', $databases,
           '--servers', $servers);
my $d = "$dir/d";

sub fresh {
    my $new = "$dir/new" . $n++;
    my ($c, $o, $e) = run('-d', $new, 'import', @all);
    die "import: $e" if $c;
    return $new;
}

# --- usage

check('no verb', [], 2, '', qr/^usage:/);
check('help', ['--help'], 0, qr/Exit codes/, '');
check("help of $_", [$_, '--help'], 0, qr/^usage: mapi-directory.* $_/, '')
    for qw(import lookup move server node list check stats why);
check('unknown verb', ['-d', $d, 'whence', 'x'], 2, '',
      qr/unknown verb "whence"/);
check('unknown option', ['-d', $d, 'import', '--quick'], 2, '',
      qr/unknown option --quick/);
check('option of another verb', ['-d', $d, 'lookup', '--force', 'x'], 2, '',
      qr/unknown option --force/);
check('no folder', ['lookup', 'x'], 2, '', qr/-d DIR/);
check('nothing to import', ['-d', $d, 'import'], 2, '', qr/--mailboxes/);
check('missing argument', ['-d', $d, 'move', 'DB01'], 2, '', qr/missing/);
check('too many', ['-d', $d, 'lookup', 'a', 'b'], 2, '', qr/too much/);
check('option without value', ['-d', $d, 'import', '--servers'], 2, '',
      qr/wants a value/);
check('no directory', ['-d', $d, 'lookup', 'anna@corp.example'], 4, '',
      qr/cannot be found.*import/);
check('move without directory', ['-d', $d, 'move', 'DB01', 'EX1'], 4, '',
      qr/import makes one/);
ok(!-e $d, 'nothing has been made');

# --- import and lookup

check('import', ['-d', $d, 'import', @all], 0,
      "mailboxes: 2\narchives: 1\ndatabases: 2\nservers: 3\n", '');
check('check', ['-d', $d, 'check'], 0, qr/^good/, '');

check('lookup by GUID', ['-d', $d, 'lookup', $A], 0, <<"END", '');
mailbox: $A
archive: $ARCHIVE
smtp: Anna\@corp.example
addresses: a\@corp.example
upn: anna\@ad.example
account: CORP\\anna
mapi_enabled: no
database: DB01
database_guid: $DB1
server: ex1
fqdn: ex1.corp.example
state: active
copies: ex1 ex2
END

for my $id ("\U$A", "$A\@anything", 'ANNA@corp.example', 'A@corp.EXAMPLE',
            'anna@ad.example', 'corp\\ANNA', $ARCHIVE, "$ARCHIVE\@x.example") {
    check("lookup $id", ['-d', $d, 'lookup', $id], 0, qr/^mailbox: $A$/m, '');
}

for my $id ('bert', 'ANY\\bert', 'b@corp.example', 'bert@corp.example') {
    check("lookup $id", ['-d', $d, 'lookup', $id], 0, qr/^mailbox: $B$/m, '');
}

for my $id ('anna', 'OTHER\\anna', 'anna@sip.example', 'x@y', $ZERO, $C) {
    check("lookup $id", ['-d', $d, 'lookup', $id], 1, '', qr/no mailbox/);
}

check('lookup of nonsense', ['-d', $d, 'lookup', "a\nb"], 2, '', qr/not a/);

my $json = decode_json(check('lookup as JSON',
    ['-d', $d, 'lookup', '--format', 'json', 'bert'], 0, undef, ''));
is($json->{database}, 'DB02', 'JSON: database');
is_deeply($json->{copies}, ['ex2', 'ex1'], 'JSON: copies');
is_deeply($json->{addresses}, ['b@corp.example'], 'JSON: addresses');

# --- lists can be imported again

for my $what (qw(mailboxes databases servers)) {
    my ($c, $o, $e) = run('-d', $d, 'list', $what, '--format', 'csv');
    is($c, 0, "list $what");
    file("again-$what.csv", $o);
    ($c, $o, $e) = run('-d', $d, 'list', $what, '--format', 'json');
    ok(@{ decode_json($o) } >= 2, "list $what as JSON");
    ($c, $o, $e) = run('-d', $d, 'list', $what);
    ok(($o =~ tr/\n//) >= 3, "list $what as a table");
}

my $again = "$dir/again";
check('import of lists', ['-d', $again, 'import',
      '--mailboxes', "$dir/again-mailboxes.csv",
      '--databases', "$dir/again-databases.csv",
      '--servers', "$dir/again-servers.csv"], 0, undef, '');
is((run('-d', $again, 'list', $_))[1], (run('-d', $d, 'list', $_))[1],
   "the same $_") for qw(mailboxes databases servers);

# --- how files come

my $text = do { local (@ARGV, $/) = $mailboxes; <> };
my %forms = (
    'byte order mark' => "\xef\xbb\xbf$text",
    '#TYPE and CR LF' => "#TYPE Microsoft.Exchange.Data.X\r\n"
                         . ($text =~ s/\n/\r\n/gr),
    'UTF-16' => "\xff\xfe" . encode('UTF-16LE', $text),
    'quotes' => join('', map { join(',', map { "\"$_\"" } split /,/, $_, -1)
                               . "\r\n" } split /\n/, $text),
    'no newline at the end' => ($text =~ s/\n\z//r),
    'semicolons' => ($text =~ s/;/ /gr =~ s/,/;/gr),
    'other names' => ($text =~ s/ExchangeGuid/EXCHANGEGUID/r
                            =~ s/Primary/primary/r),
    'unknown columns' => join('', map { "x,$_,\"a\nb\"\n" }
                                  split /\n/, $text),
);

$forms{'another order'} = join '', map { my @f = split /,/, $_, -1;
    join(',', reverse @f) . "\n" } split /\n/, $text;

for my $form (sort keys %forms) {
    my $f = file('form.csv', $forms{$form});
    my $new = "$dir/form" . $n++;
    check("import: $form", ['-d', $new, 'import', '--mailboxes', $f,
          '--databases', $databases, '--servers', $servers], 0,
          qr/^mailboxes: 2$/m, '');
    is((run('-d', $new, 'list', 'mailboxes'))[1],
       (run('-d', $d, 'list', 'mailboxes'))[1], "$form: the same");
}

# --- what is refused, with file, line and column

my $head = "ExchangeGuid,PrimarySmtpAddress,Database,EmailAddresses\n";

for my $case (
    ['missing column', "ExchangeGuid,Database\n$A,DB01\n",
     qr/^m.csv:1:1: the column PrimarySmtpAddress is missing.*Get-Mailbox/],
    ['empty file', '', qr/^m.csv:1:1: the file is empty/],
    ['not a GUID', "${head}x,a\@x,DB01,\n", qr/^m.csv:2:1: ExchangeGuid: "x"/],
    ['zero GUID', "$head$ZERO,a\@x,DB01,\n", qr/^m.csv:2:1: .*all zeros/],
    ['no address', "$head$A,,DB01,\n", qr/^m.csv:2:38: PrimarySmtpAddress/],
    ['unknown database', "$head$A,a\@x,DB01,\n\"$B\",b\@x, nope,\n",
     qr/^m.csv:3:44: Database: .*"nope" is unknown/],
    ['GUID twice', "$head$A,a\@x,DB01,\n$B,b\@x,DB01,\n\U$A,c\@x,DB01,\n",
     qr/^m.csv:4:1: .*already in line 2/],
    ['.NET type', "$head$A,a\@x,DB01,Microsoft.Exchange.Data.ProxyAddressCollection\n",
     qr/^m.csv:2:47: EmailAddresses: .*\.NET type.*-join ';'/],
    ['.NET array', "$head$A,a\@x,DB01,System.String[]\n", qr/-join ';'/],
    ['lines within quotes count',
     "$head\"$A\",a\@x,DB01,\"smtp:a\@x\n\nsmtp:b\@x\"\nx,a\@x,DB01,\n",
     qr/^m.csv:5:1: ExchangeGuid: "x"/],
    ['too few cells', "$head$A,a\@x\n", qr/^m.csv:2:1: this row has 2 cells/],
    ['open quote', "$head$A,\"a\@x,DB01,\n", qr/^m.csv:2:38: this quote/],
    ['Latin-1', "$head$A,\xe4\@x,DB01,\n", qr/^m.csv:2:38: .*UTF-8/],
    ['zero byte', "$head$A,\0a\@x,DB01,\n", qr/^m.csv:2:38: .*zero byte/],
    ['column twice', "ExchangeGuid,ExchangeGuid,PrimarySmtpAddress,Database\n",
     qr/^m.csv:1:14: .*twice/],
) {
    my ($what, $contents, $message) = @$case;
    my $f = file('m.csv', $contents);
    my $before = (run('-d', $d, 'list', 'mailboxes'))[1];
    check("refused: $what", ['-d', $d, 'import', '--mailboxes', $f], 3, '',
          $message);
    is((run('-d', $d, 'list', 'mailboxes'))[1], $before,
       "$what: nothing has changed");
}

check('refused: no such file', ['-d', $d, 'import', '--mailboxes', "$dir/no"],
      3, '', qr/^no: cannot be read/);

for my $case (
    ['databases', 'GUID', "Name,Guid,Server\nDB01,x,EX1\n",
     qr/^s.csv:2:6: Guid/],
    ['databases', 'no server column', "Name,Guid\nDB01,$DB1\n",
     qr/^s.csv:1:1: the column Server or MountedOnServer/],
    ['databases', 'name twice',
     "Name,Guid,Server\nDB01,$DB1,EX1\ndb01,$DB2,EX1\n",
     qr/^s.csv:3:1: .*already in line 2/],
    ['databases', 'GUID twice',
     "Name,Guid,Server\nDB01,$DB1,EX1\nDB02,$DB1,EX1\n",
     qr/^s.csv:3:6: .*already in line 2/],
    ['databases', 'preference',
     "Name,Guid,Server,ActivationPreference\nDB01,$DB1,EX1,\"[EX1 x]\"\n",
     qr/^s.csv:2:47: ActivationPreference/],
    ['databases', 'a name of another GUID', "Name,Guid,Server\nDB01,$C,EX1\n",
     qr/^s.csv:2:1: .*another GUID.*--replace/],
    ['servers', 'name twice', "Name\nEX1\nex1\n", qr/^s.csv:3:1: .*line 2/],
    ['servers', 'address', "Name,Addresses\nEX1,127.0.0.1;ex1\n",
     qr/^s.csv:2:5: Addresses: "ex1" is not an IP address/],
    ['servers', 'state', "Name,State\nEX1,up\n", qr/^s.csv:2:5: State: "up"/],
) {
    my ($which, $what, $contents, $message) = @$case;
    my $f = file('s.csv', $contents);
    check("refused: $which: $what", ['-d', $d, 'import', "--$which", $f], 3,
          '', $message);
}

# --- names that two mailboxes have

my $twice = fresh();
my $two = file('two.csv', "$head$C,c\@corp.example,DB01,smtp:a\@corp.example\n");
check('an address twice', ['-d', $twice, 'import', '--mailboxes', $two], 0,
      qr/^mailboxes: 3$/m,
      qr/^two.csv:2:38: warning: the address a\@corp.example .*$A/);
check('it finds nothing', ['-d', $twice, 'lookup', 'a@corp.example'], 1, '');
check('check tells', ['-d', $twice, 'check'], 0,
      qr/^note: a\@corp.example finds nothing/, '');

$two = file('two.csv', "${head}$A,a\@x,DB01,info\@x\n$B,b\@x,DB01,INFO\@x\n");
check('an address in two lines', ['-d', fresh(), 'import', '--mailboxes',
      $two, '--replace', '--force'], 0, undef,
      qr/^two.csv:3:38: warning: the address info\@x is in line 2 too/);

# --- replace and force

my $r = fresh();
my $one = file('one.csv', "$head$A,anna\@corp.example,DB02,\n");
check('half of the mailboxes', ['-d', $r, 'import', '--replace',
      '--mailboxes', $one], 3, '', qr/1 of 2 mailboxes.*--force/);
check('forced', ['-d', $r, 'import', '--replace', '--force', '--mailboxes',
      $one], 0, qr/^mailboxes: 1$/m, '');
check('gone', ['-d', $r, 'lookup', 'bert'], 1, '');
check('its archive too', ['-d', $r, 'lookup', $ARCHIVE], 1, '');

my $db = file('db.csv', "Name,Guid,Server\nDB01,$DB1,EX1\n");
check('a database in use', ['-d', $r, 'import', '--replace', '--databases',
      $db], 3, '', qr/1 mailboxes are in \(DB02\).*--force/);
check('forced', ['-d', $r, 'import', '--replace', '--force', '--databases',
      $db], 0, qr/^databases: 1$/m, '');
check('check finds the mailbox', ['-d', $r, 'check'], 1,
      qr/mailbox $A is in a database that does not exist/, '');

my $srv = file('srv.csv', "Name,Fqdn\nEX2,ex2.corp.example\n");
check('a server in use', ['-d', $r, 'import', '--replace', '--servers', $srv],
      3, '', qr/the server ex1, where 1 databases are mounted.*--force/);
check('forced', ['-d', $r, 'import', '--replace', '--force', '--servers',
      $srv], 0, qr/^servers: 1$/m, qr/warning: the server ex1 .*unknown/);
check('check finds the database', ['-d', $r, 'check'], 1,
      qr/DB01 is mounted on ex1, which is no server/, '');

my $strange = file('strange.csv', "Name,Guid,Server\nDB03,$C,EX7\n");
check('unknown server', ['-d', fresh(), 'import', '--databases', $strange], 0,
      qr/^databases: 3$/m,
      qr/^strange.csv:2:1: warning: the server ex7 of database DB03/);

# --- move

check('move', ['-d', $d, 'move', 'db01', 'EX2.CORP.example'], 0, '', '');
check('moved', ['-d', $d, 'lookup', $A], 0, qr/^server: ex2$/m, '');
check('move by GUID and address', ['-d', $d, 'move', $DB1, '127.0.0.21'], 0,
      '', '');
check('moved back', ['-d', $d, 'lookup', $A], 0, qr/^server: ex1$/m, '');
check('move without a copy', ['-d', $d, 'move', 'DB01', 'EX3'], 1, '',
      qr/no copy.*--force/);
check('forced', ['-d', $d, 'move', '--force', 'DB01', 'EX3'], 0, '', '');
check('unknown database', ['-d', $d, 'move', 'DB9', 'EX3'], 1, '',
      qr/no database "DB9"/);
check('unknown server', ['-d', $d, 'move', 'DB01', 'EX9'], 1, '',
      qr/no server "EX9"/);

# --- server

sub state_of {
    my ($c, $o) = run('-d', $d, 'list', 'servers', '--format', 'json');
    my ($s) = grep { $_->{Name} eq $_[0] } @{ decode_json($o) };
    return $s->{State};
}

is(state_of('ex3'), 'offline', "the import's state");
check('drain', ['-d', $d, 'server', 'EX1', 'draining'], 0, '', '');
is(state_of('ex1'), 'draining', 'draining');
check('import', ['-d', $d, 'import', '--replace', '--force', @all], 0);
is(state_of('ex1'), 'draining', 'an import keeps it');
check('stats', ['-d', $d, 'stats'], 0, qr/^state: ex1 draining$/m, '');
check('drain for a while', ['-d', $d, 'server', 'ex1.corp.example',
      'draining', '--within=1s'], 0, '', '');
like(state_of('ex1'), qr/^(draining|offline)$/, 'draining');
sleep 1.1;
is(state_of('ex1'), 'offline', 'offline by itself');
check('active', ['-d', $d, 'server', '127.0.0.11', 'active'], 0, '', '');
is(state_of('ex1'), 'active', 'active');
check('set by hand', ['-d', $d, 'server', 'EX3', 'active'], 0, '', '');
check('import', ['-d', $d, 'import', '--servers', $servers], 0);
is(state_of('ex3'), 'active', 'by hand beats the file');
check('unknown server', ['-d', $d, 'server', 'EX9', 'active'], 1, '',
      qr/no server/);
check('unknown state', ['-d', $d, 'server', 'EX1', 'up'], 2, '', qr/"up"/);
check('no time', ['-d', $d, 'server', 'EX1', 'draining', '--within', 'soon'],
      2, '', qr/not a time/);
check('--within active', ['-d', $d, 'server', 'EX1', 'active', '--within',
      '5m'], 2, '', qr/draining only/);

# --- node

check('a node nobody spoke of', ['-d', $d, 'node'], 0, "online\n", '');
check('in stats', ['-d', $d, 'stats'], 0, qr/^node: online$/m, '');
check('offline', ['-d', $d, 'node', 'offline'], 0, '', '');
check('it is', ['-d', $d, 'node'], 0, "offline\n", '');
check('in stats', ['-d', $d, 'stats'], 0, qr/^node: offline$/m, '');
unlike((run('-d', $d, 'stats'))[1], qr/^state: (?!ex\d )/m,
       "it is no server's state");
is(decode_json((run('-d', $d, 'stats', '--format', 'json'))[1])->{node},
   'offline', 'in JSON');
check('in check', ['-d', $d, 'check'], 0,
      qr/^note: this node is offline, .* node online" opens it\ngood/m, '');
check('import', ['-d', $d, 'import', '--servers', $servers], 0);
check('an import keeps it', ['-d', $d, 'node'], 0, "offline\n", '');
check('import', ['-d', $d, 'import', '--replace', '--force', @all], 0);
check('one with --replace too', ['-d', $d, 'node'], 0, "offline\n", '');
is(state_of('ex1'), 'active', "servers' states are what they were");
check('online, in any case', ['-d', $d, 'node', 'ONLINE'], 0, '', '');
check('it is', ['-d', $d, 'node'], 0, "online\n", '');
check('online twice', ['-d', $d, 'node', 'online'], 0, '', '');
check('check has nothing to say', ['-d', $d, 'check'], 0, qr/^good/, '');
check('unknown word', ['-d', $d, 'node', 'draining'], 2, '',
      qr/"draining" is not online or offline/);
check('too many', ['-d', $d, 'node', 'online', 'offline'], 2, '',
      qr/too much/);
check("another verb's option", ['-d', $d, 'node', 'offline', '--within', '5m'],
      2, '', qr/unknown option --within/);
check('without a directory', ['-d', "$dir/none", 'node'], 4, '',
      qr/cannot be found/);
check('nor set', ['-d', "$dir/none", 'node', 'offline'], 4, '',
      qr/import makes one/);

# --- stats, check

$json = decode_json(check('stats as JSON', ['-d', $d, 'stats', '--format',
    'json'], 0, undef, ''));
is($json->{mailboxes}, 2, 'counted');
ok($json->{bytes} > 0 && $json->{generation} > 5, 'sizes');
ok((grep { $_ eq 'ex1 active' } @{ $json->{states} }), 'states');

my $f = fresh();
is((stat $f)[2] & 07777, 02770, 'the folder is 2770');
is((stat "$f/data.mdb")[2] & 07777, 0640, 'data.mdb is 0640');
is((stat "$f/lock.mdb")[2] & 07777, 0660, 'lock.mdb is 0660');
chmod 0600, "$f/lock.mdb";
check('check of modes', ['-d', $f, 'check'], 1,
      qr/lock.mdb has mode 600: run "chmod 660 /, '');

truncate "$f/data.mdb", 12000;
check('a file cut short', ['-d', $f, 'lookup', $A], 4, '',
      qr/shorter than its contents/);
check('not written either', ['-d', $f, 'import', @all], 4, '',
      qr/shorter than its contents/);

# --- a front end's status

my $front = '{"node":"fe1","time":1,"cycle":1,"workers":[{"pid":1}],'
    . '"zone":{"pages":254,"free_pages":124,"uncounted":0},'
    . '"directory":{"path":"/d","usable":true,"error":"","commit":7},'
    . '"learned":{"places":3,"forgotten":1},'
    . '"observed":{"right":9,"wrong":1,"unknown":2},'
    . '"certificate_mismatches":0,"disagreements":[{"database":"DB01",'
    . '"directory":"ex1","servers":"e\\u001b[31m\\u009bx2","count":4}],'
    . '"upstreams":[{"name":"exchange","mode":"router","all_fail":false,'
    . '"first_hop":19,"second_hop":1,"pins":{"now":1,"opened":5},"servers":['
    . '{"name":"ex1.corp.example","state":"draining","requests":2,"polls":1,'
    . '"pins":1,"answers":{"2xx":20,"3xx":0,"4xx":3,"5xx":0},"unreached":6,'
    . '"addresses":[{"verdict":"alive","checked":5},'
    . '{"verdict":"dead","checked":6},{"verdict":"dead","checked":0}]}]}]}';
my $size = length $front;
my $okay = "HTTP/1.1 200 OK\r\n";

my %answers = (
    ok => "${okay}Content-Length: $size\r\n\r\n$front",
    end => "HTTP/1.0 200 OK\r\n\r\n$front",
    chunked => "${okay}Transfer-Encoding: chunked\r\n\r\n"
        . join('', map { sprintf("%x;x=y\r\n%s\r\n", length, $_) }
                   $front =~ /(.{1,100})/gs) . "0\r\n\r\n",
    'short' => "${okay}Content-Length: 9999\r\n\r\n$front",
    cut => "${okay}Transfer-Encoding: chunked\r\n\r\n10\r\nabc",
    nolast => "${okay}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    overflow => "${okay}Transfer-Encoding: chunked\r\n\r\n"
        . "fffffffffffffffe\r\nabc\r\n0\r\n\r\n",
    long => "${okay}Content-Length: 99999999999999999999\r\n\r\n",
    endless => $okay . "\r\n" . ' ' x 9_000_000,
    head => $okay . 'X: ' . 'x' x 100_000 . "\r\n\r\n",
    gzip => "${okay}Transfer-Encoding: gzip\r\n\r\nabc",
    noise => "SSH-2.0-OpenSSH\r\n\r\n",
    nothing => '',
    forbidden => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    notfound => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    page => "${okay}Content-Length: 6\r\n\r\n<html>",
    other => "${okay}Content-Length: 12\r\n\r\n{\"hosts\":[]}",
    strange => "${okay}Content-Length: 61\r\n\r\n"
        . '{"directory":{},"upstreams":[7,{"servers":[{"name":5}, "x"],'
        . '"first_hop":9223372036854775807,"second_hop":1}]}',
);
$answers{strange} =~ s/61/length((split m{\r\n\r\n}, $answers{strange})[1])/e;

my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 9,
                                   ReuseAddr => 1) or die "listen: $!";
my $http = 'http://127.0.0.1:' . $listen->sockport;
my $web = fork() // die "fork: $!";

if ($web == 0) {
    $SIG{PIPE} = 'IGNORE';

    while (my $c = $listen->accept) {
        my $text = '';
        1 while $text !~ /\r\n\r\n/ && sysread $c, $text, 4096, length $text;
        my ($name) = $text =~ m{^GET /(\w+)(?:/api)? HTTP/1\.1\r\nHost: 127}
            or last;
        print $c $answers{$name};
        close $c;
    }

    POSIX::_exit(0);
}

close $listen;

for my $way ('ok', 'end', 'chunked') {
    check("a front end's status, $way", ['stats', '--url', "$http/$way/api"], 0,
          qr/^front_end:\ fe1\nfront_end_directory:\ usable,\ commit\ 7\n
             .*^upstream:\ exchange\ \(router\)\n
             straight:\ 19\ of\ 20\ answers\ \(95\ %\)\n
             pins:\ 1\ now,\ 5\ opened\n
             SERVER\s+STATE\s+REQUESTS\s+POLLS\s+PINS\s+2XX\s+4XX\s+5XX\s+
             UNREACHED\s+CHECKS\n
             ex1\.corp\.example\s+draining\s+2\s+1\s+1\s+20\s+3\s+0\s+6\s+dead\n
             \ndisagreement:\ DB01\ is\ on\ ex1\ by\ the\ directory,\ on\ e\?\[31m\?x2
             \ by\ 4\ answers\n$/msx, '');
}

check('beside the directory', ['-d', $d, 'stats', '--url', "$http/ok"], 0,
      qr/^mailboxes: 2\n.*^front_end: fe1\n/ms, '');
$json = decode_json(check('as JSON', ['-d', $d, 'stats', '--url', "$http/ok",
    '--format', 'json'], 0, undef, ''));
is($json->{mailboxes}, 2, 'the directory');
is($json->{front_end}{upstreams}[0]{servers}[0]{polls}, 1, 'the front end');
$json = decode_json(check('alone', ['stats', '--url', "$http/ok",
    '--format', 'json'], 0, undef, ''));
is($json->{front_end}{node}, 'fe1', 'the front end alone');

check('a bad directory', ['-d', "$dir/none", 'stats', '--url', "$http/ok"], 4,
      '', qr/cannot be found/);
check('JSON of another shape', ['stats', '--url', "$http/strange"], 0,
      qr/^straight: 9223372036854775807 of 9223372036854775808 answers .*^SERVER/ms,
      '');

for ([ 'short', 4, 'broke off' ], [ 'cut', 4, 'broke off' ],
     [ 'nolast', 4, 'broke off' ], [ 'overflow', 4, 'broke off' ],
     [ 'long', 4, 'too long' ], [ 'endless', 4, 'too long' ],
     [ 'head', 4, 'does not speak HTTP' ], [ 'gzip', 4, 'not known' ],
     [ 'noise', 4, 'does not speak HTTP' ],
     [ 'nothing', 4, 'does not speak HTTP' ],
     [ 'forbidden', 1, '403.*mapi_debug_allow' ],
     [ 'notfound', 1, '404.*"/api"' ],
     [ 'page', 3, 'not the status of a front end' ],
     [ 'other', 3, 'not the status of a front end' ])
{
    my ($name, $code, $words) = @$_;
    check("an answer: $name", ['stats', '--url', "$http/$name"], $code, '',
          qr{^--url \Q$http\E/$name: .*$words});
}

for ([ 'https://127.0.0.1/', 'plain HTTP' ], [ '/api', 'plain HTTP' ],
     [ 'http://', 'host and port' ], [ 'http:///x', 'host and port' ],
     [ 'http://a:0/', 'host and port' ], [ 'http://a:65536', 'host and port' ],
     [ 'http://a:8x/', 'host and port' ], [ 'http://a:/', 'host and port' ],
     [ 'http://[::1/', 'host and port' ], [ 'http://[::1]x', 'host and port' ],
     [ 'http://a:b@c/', "user's name" ], [ "http://a/\r\nX: y", '%XX' ],
     [ 'http://a/ b', '%XX' ], [ 'http://a/' . 'x' x 3000, 'too long' ],
     [ 'http://' . 'x' x 300 . '/', 'host and port' ])
{
    check("a URL: " . substr($_->[0], 0, 20), ['stats', '--url', $_->[0]], 2,
          '', qr/$_->[1]/);
}

check('nobody there', ['stats', '--url', 'http://[::1]:9/api'], 4, '',
      qr/cannot be reached/);
check('an unknown host', ['stats', '--url', 'http://no-such-host.invalid/'], 4,
      '', qr/is not found/);
check('no other verb', ['-d', $d, 'check', '--url', $http], 2, '',
      qr/unknown option --url/);
check('neither', ['stats'], 2, '', qr/-d DIR/);

kill 'TERM', $web;
waitpid $web, 0;

# --- two writers at once, and a reader

my @pids;
for my $i (1 .. 4) {
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open STDOUT, '>', '/dev/null';
        for (1 .. 10) {
            system($cmd, '-d', $d, 'move', 'DB01', $i % 2 ? 'EX1' : 'EX2') == 0
                or POSIX::_exit(1);
            system($cmd, '-d', $d, 'lookup', $A) == 0 or POSIX::_exit(1);
        }
        POSIX::_exit(0);
    }
    push @pids, $pid;
}
my $failed = 0;
for my $pid (@pids) {
    waitpid $pid, 0;
    $failed++ if $?;
}
is($failed, 0, 'writers and readers at once');
check('check after all', ['-d', $d, 'check'], 0, qr/^good/, '');

done_testing();
