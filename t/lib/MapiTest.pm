package MapiTest;

# Test::Nginx::Socket for this module.  A test file begins with
#
#   use MapiTest 'no_plan';
#
#   make_directory('mapi_dir', mailboxes => ..., databases => ...);
#   run_tests();
#
#   __DATA__
#
# and goes on with blocks as Test::Nginx::Socket documents them.  What differs:
#
# * load_module lines are in main_config already (none in a static build).
# * A master process with unprivileged workers, as in production; 1024
#   connections a worker.
# * "listen PORT" is narrowed to 127.0.0.1.
# * Configurations know $TEST_NGINX_MAPI_DIR for make_directory('mapi_dir'),
#   $TEST_NGINX_CONF_DIR for docs/conf, $TEST_NGINX_RAND_PORT_1 ... for ports
#   and $TEST_NGINX_SERVER_PORT for the block's own server.
# * After each block its whole log, shutdown included, is read: the file fails
#   on [alert], [emerg], a worker that died, or a sanitizer's report, unless
#   the block says "--- must_die", expects it by "--- error_log" with "[alert"
#   or "[emerg", or allow_log(qr/.../) was called.
#
# All functions of MapiRig are there too.

# first, so that its END comes after the one of Test::Nginx

use MapiRig;

BEGIN {
    require Cwd;
    require File::Basename;

    # Test::Nginx puts its servers below t/ of the working folder: not into
    # the tree, which workers may not be able to enter

    $ENV{TEST_NGINX_RANDOMIZE} = 1;
    $ENV{TEST_NGINX_CONF_DIR} = "$ENV{MAPI_ROOT}/docs/conf"
        if defined $ENV{MAPI_ROOT};

    # names in messages and in files of sanitizers come from $0

    $0 = Cwd::abs_path($0);
    chdir run_folder();
    mkdir 't';
    chmod 0755, 't';
}

use Test::Nginx::Socket -Base;

BEGIN {
    push our @EXPORT, @MapiRig::EXPORT;
}

no warnings 'redefine';

Test::Nginx::Util::master_on();
Test::Nginx::Util::workers(1);
Test::Nginx::Util::worker_connections(1024);
Test::Nginx::Util::log_level('debug');

my $limit = `sh -c 'ulimit -Hn'`;
$limit = $limit =~ /^(\d+)/ && $1 < 4096 ? $1 : 4096;


Test::Nginx::Util::add_block_preprocessor(sub {
    my $block = shift;
    my $main = $block->main_config;
    my $head = $ENV{MAPI_MODULES};

    $main = '' if !defined $main;
    $head .= "\nworker_rlimit_nofile $limit;"
        if $main !~ /worker_rlimit_nofile/;

    $block->set_value('main_config', "$head\n$main");

    # what an expected refusal says is for the log
    $block->set_value('suppress_stderr', '') if defined $block->must_die;
});

# check_block() judges alerts, Test::Nginx only warns of them

$SIG{__WARN__} = sub {
    print STDERR @_ if "@_" !~ /^WARNING: .*\[(?:alert|emerg)\]/s;
};


my $current;


# a server that does not start is this file's failure, not the whole run's end

*Test::More::BAIL_OUT = sub {
    my $log = $Test::Nginx::Util::ErrLogFile;
    my @why = defined $log && -e $log ? slurp($log) =~ /(.*\[emerg\].*)/g : ();
    my $name = defined $current ? $current->name : '';

    # the exit code alone is overwritten by what else runs at the end
    push @MapiRig::Complaints, "@_, $name: @why";
    exit 255;
};


# Test::Nginx starts a server again and again for half a minute, which helps
# against a port in use and against nothing else

my $nap = \&Test::Nginx::Util::sleep;

*Test::Nginx::Util::sleep = sub (;@) {
    my ($seconds) = @_;

    if (defined $current && !defined $current->must_die
        && !-e $Test::Nginx::Util::PidFile
        && -e $Test::Nginx::Util::ErrLogFile)
    {
        my $log = slurp($Test::Nginx::Util::ErrLogFile);

        Test::More::BAIL_OUT('nginx does not start')
            if $log =~ /\[emerg\]/ && $log !~ /Address already in use/;
    }

    return $nap->($seconds);
};


my $write_config_file = \&Test::Nginx::Util::write_config_file;

*Test::Nginx::Util::write_config_file = sub ($$$) {
    my @arguments = @_;
    my $file = $Test::Nginx::Util::ConfFile;

    $current = $arguments[0];
    $write_config_file->(@arguments);

    my $text = slurp($file);
    $text =~ s/^(\s*listen\s+)(\d+\b(?!\.))/${1}127.0.0.1:$2/mg;
    spew($file, $text);
};


# the log of the block before is about to go

my $setup_server_root = \&Test::Nginx::Util::setup_server_root;

*Test::Nginx::Util::setup_server_root = sub ($) {
    my ($first) = @_;

    check_block();
    $setup_server_root->($first);
};


sub check_block()
{
    my $block = $Test::Nginx::Util::PrevBlock;
    my @lines = map { check_log($_) }
                glob("$Test::Nginx::Util::LogDir/*error*.log");

    if (defined $block) {
        my $expected = $block->error_log;

        $expected = join "\n", @$expected if ref $expected eq 'ARRAY';
        $expected = '' if !defined $expected;

        return if defined $block->must_die
                  || $expected =~ /\[(?:alert|emerg)/;

        @lines = map { $block->name . ": $_" } @lines;
    }

    push @MapiRig::Complaints, @lines;
}


END {
    my $file = $Test::Nginx::Util::PidFile;
    my $status = $?;

    if (!$Test::Nginx::Util::InSubprocess) {
        if (defined $file && -f $file && slurp($file) =~ /^(\d+)/) {
            Test::Nginx::Util::kill_process($1, 1, 'END');
        }

        check_block();
    }

    $? = $status;
}

1;
