# Running what was built: tests, fuzz targets, benchmarks.


# what tests, benchmarks and the demo get told

test_environment()
{
    local out

    out=$ROOT/$(result_dir)

    export MAPI_ROOT=$ROOT MAPI_BUILD=$out
    export MAPI_FLAVOUR=$FLAVOUR MAPI_SANITIZE=$SANITIZE
    export MAPI_MODULES=

    if [ "$LINK" = dynamic ]; then
        MAPI_MODULES="load_module \"$out/ngx_mapi_module.so\";
load_module \"$out/ngx_mapi_mailbox_module.so\";"
    fi

    if [ -x "$WORK/nginx" ]; then
        TEST_NGINX_BINARY=$ROOT/$WORK/nginx
    else
        TEST_NGINX_BINARY=$(command -v nginx)
    fi
    export TEST_NGINX_BINARY

    # workers of root's nginx run as in production, not as root
    if [ "$(id -u)" = 0 ]; then
        export TEST_NGINX_WORKER_USER=www-data
    fi
}


# A folder for what tests write, outside the tree: unprivileged workers can
# enter it even if the tree is in root's home, and its name has no blank, which
# Test::Nginx does not quote.

run_folder()
{
    local base=${TMPDIR:-/tmp}

    case $base in *[!A-Za-z0-9_./-]*) base=/tmp ;; esac
    RUN=$(mktemp -d "$base/mapi-test.XXXXXX")
    chmod 755 "$RUN"
    mkdir "$RUN/sanitizer"
    chmod 1777 "$RUN/sanitizer"
    trap 'rm -rf "$RUN"' EXIT
    trap 'exit 130' INT TERM HUP
    export MAPI_RUN=$RUN

    ln -s "$TEST_NGINX_BINARY" "$RUN/nginx"
    export TEST_NGINX_BINARY=$RUN/nginx

    # Reports go to files: a server's stderr is nobody's.  Leaks are looked
    # for in unit tests only, a server leaves its last pools to exit().
    export ASAN_OPTIONS="detect_leaks=0,log_path=$RUN/sanitizer/report"
    export UBSAN_OPTIONS="print_stacktrace=1,halt_on_error=1"
    UBSAN_OPTIONS="$UBSAN_OPTIONS,log_path=$RUN/sanitizer/report"
}


verb_test()
{
    local browser= file rig= status=0 targets=() tests=()

    say "test: ${ARGS[*]:-unit tests, fuzz corpora and t/*.t} with $FLAVOUR"

    if [ ${#ARGS[@]} -eq 0 ]; then
        ARGS=(t/unit/test_*.c t/fuzz/fuzz_*.c t/*.t t/rig/*.t)
    fi

    # real servers, and a browser, are installed for those who meet them only
    case "${ARGS[*]}" in *t/rig/*.t*) rig=rig ;; esac
    case "${ARGS[*]}" in *-browser.t*) browser=browser ;; esac

    need_packages build test $rig $browser ${SANITIZE:+sanitize}
    get_test_nginx
    [ -z "$rig" ] || locked get_express_ntlm

    for file in "${ARGS[@]}"; do
        # a pattern without a match stands for nothing
        case $file in *'*'*) continue ;; esac

        file=$(test_of_argument "$file") || exit
        tests+=("$file")
        case $file in *.t) ;; *) targets+=("$file") ;; esac
    done

    locked build_all "${targets[@]}"
    test_environment
    run_folder

    PERL5LIB=$ROOT/t/lib:$TEST_NGINX_LIB${PERL5LIB:+:$PERL5LIB} \
    TEST_NGINX_RANDOMIZE=1 \
        perl t/lib/run-tests.pl "${tests[@]}" || status=$?

    exit "$status"
}


# what to run for t/010-identify.t, t/unit/test_guid.c, guid, fuzz_guid

test_of_argument()
{
    local name

    name=$(basename "$1" .c)

    case $1 in
        *.t)
            [ -f "$1" ] || die 2 "there is no test \"$1\""
            echo "$1" ;;
        *fuzz*)
            name=fuzz_${name#fuzz_}
            [ -f "t/fuzz/$name.c" ] || die 2 "there is no t/fuzz/$name.c"
            echo "$WORK/core/fuzz/$name" ;;
        *)
            name=test_${name#test_}
            [ -f "t/unit/$name.c" ] || die 2 "there is no t/unit/$name.c"
            echo "$WORK/core/unit/$name" ;;
    esac
}


verb_fuzz()
{
    local corpus name status=0 target

    say "fuzz: libFuzzer, $SECONDS_EACH s for each of t/fuzz"
    need_packages build fuzz

    [ ${#ARGS[@]} -gt 0 ] || ARGS=(t/fuzz/fuzz_*.c)
    mkdir -p build/fuzz

    for target in "${ARGS[@]}"; do
        name=$(basename "$target" .c)
        name=${name#fuzz_}
        [ -f "t/fuzz/fuzz_$name.c" ] || die 2 "there is no t/fuzz/fuzz_$name.c"
        say "fuzz: $name"

        ${CC:-clang} -std=gnu99 -g -O1 -DFUZZING \
            -fsanitize=fuzzer,address,undefined \
            -fno-sanitize-recover=undefined -fno-omit-frame-pointer \
            -I ngx_mapi_module/core -I ngx_mapi_module/cli -I t/unit \
            -o "build/fuzz/fuzz_$name" "t/fuzz/fuzz_$name.c" \
            ngx_mapi_module/core/*.c -llmdb -lcrypto -lpthread -lm \
            || die 1 "t/fuzz/fuzz_$name.c does not compile"

        # what is found new stays in build/, the corpus is read only
        corpus=build/fuzz/corpus/$name
        mkdir -p "$corpus" build/fuzz/crashes
        set -- "$corpus"
        [ ! -d "t/fuzz/corpus/$name" ] || set -- "$@" "t/fuzz/corpus/$name"

        "build/fuzz/fuzz_$name" -max_total_time="$SECONDS_EACH" \
            -print_final_stats=1 -artifact_prefix="build/fuzz/crashes/$name-" \
            "$@" > "build/fuzz/$name.log" 2>&1 \
            || { status=1; tail -n 40 "build/fuzz/$name.log" >&2
                 say "fuzz: $name failed, input in build/fuzz/crashes"; }
        grep -h -E 'number_of_executed_units|new_units_added' \
            "build/fuzz/$name.log" || true
    done

    exit "$status"
}


verb_bench()
{
    local name

    say "bench: ${ARGS[*]:-everything in t/bench} with $FLAVOUR"
    need_packages build bench
    locked build_all
    test_environment
    run_folder

    if [ ${#ARGS[@]} -eq 0 ]; then
        for name in t/bench/*.sh; do
            [ ! -f "$name" ] || ARGS+=("$(basename "$name" .sh)")
        done
    fi

    for name in "${ARGS[@]}"; do
        [ -f "t/bench/$name.sh" ] || die 2 "there is no t/bench/$name.sh"
        bash "t/bench/$name.sh"
    done
}
