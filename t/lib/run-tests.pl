#!/usr/bin/perl
#
# Runs unit tests (programs), fuzz targets over their corpora and Perl tests,
# two at a time, and ends with the one line "N passed, N failed".  A program
# that dies, exits with an error or says less than it planned counts as one
# failure more.  Called by "./build.sh test".

use strict;
use warnings;

use Cwd qw( abs_path );
use File::Basename qw( basename );
use TAP::Harness;

# the corpus of a fuzz target is a test of this file's own

if (@ARGV && $ARGV[0] eq '--replay') {
    exit replay($ARGV[1]);
}

my %kind;

for my $test (@ARGV) {
    $kind{$test} = $test =~ m{\.t$} ? 'perl'
                   : basename($test) =~ m{^fuzz_} ? 'fuzz' : 'unit';
}

my $harness = TAP::Harness->new({
    jobs => $ENV{MAPI_JOBS} || 2,
    color => -t STDOUT ? 1 : 0,
    verbosity => $ENV{MAPI_VERBOSE} ? 1 : 0,
    failures => 1,
    merge => 0,
    exec => sub {
        my (undef, $test) = @_;

        return [$^X, $test] if $kind{$test} eq 'perl';
        return [$^X, $0, '--replay', $test] if $kind{$test} eq 'fuzz';

        return ['env', 'CMOCKA_MESSAGE_OUTPUT=TAP',
                'ASAN_OPTIONS=detect_leaks=1',
                'UBSAN_OPTIONS=print_stacktrace=1,halt_on_error=1',
                abs_path($test)];
    },
});

my $passed = 0;
my $failed = 0;

if (@ARGV) {
    my $all = eval { $harness->runtests(@ARGV) };

    if (!$all) {
        print $@;
        $failed++;
    }

    for my $parser ($all ? $all->parsers : ()) {
        my $wrong = $parser->failed;

        $passed += $parser->passed;
        $failed += $wrong;

        if ($wrong == 0 && $parser->has_problems) {
            $failed++;
        }
    }
}

# what a sanitizer says of a server is a failure, whichever test ran it

for my $report (glob("$ENV{MAPI_RUN}/sanitizer/*")) {
    open(my $fh, '<', $report) or next;
    print "$report:\n", <$fh>, "\n";
    $failed++;
}

print "no test was run\n" if $passed + $failed == 0;
print "$passed passed, $failed failed\n";

exit($failed || !$passed ? 1 : 0);


sub replay
{
    my ($program) = @_;

    my ($unit) = basename($program) =~ m{^fuzz_(.*)};
    my @files = grep { -f } glob("\Qt/fuzz/corpus/$unit\E/*");

    print "1..1\n";

    if (!@files) {
        print "not ok 1 - $unit: t/fuzz/corpus/$unit holds no input\n";
        return 1;
    }

    my $status = system {abs_path($program)} $program, @files;

    print $status ? "not " : "", "ok 1 - $unit: ", scalar @files, " inputs\n";

    return $status ? 1 : 0;
}
