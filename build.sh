#!/bin/bash
#
# The one door of ngx_mapi_module: see "./build.sh help".
#
# Everything is made below build/, one folder a flavour: a flavour is an nginx
# (the installed one, another version, a source tree) and a way of building
# (dynamic modules, linked in, with sanitizers).  Commands run from the top of
# the tree with relative paths, so that a blank in a folder's name does no harm
# to configure and make, which cannot quote.

set -euo pipefail

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
NGINX_SRC=${NGINX_SRC:+$(readlink -m "$NGINX_SRC")}

cd "$ROOT"
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

# exit codes: 1 failed, 2 usage, 4 the environment (a package, the network)

say() { printf '%s\n' "build.sh: $*" >&2; }
die() { local code=$1; shift; say "$*"; exit "$code"; }

for piece in deps sources nginx suite package; do
    # shellcheck source=/dev/null
    . "t/lib/build/$piece.sh"
done


usage()
{
    cat <<'EOF'
usage: ./build.sh VERB [OPTIONS] [ARGUMENTS]

  deps [GROUP...]     install the Debian packages that are missing
                      (groups: build test rig browser bench sanitize fuzz;
                      starts no service; default: build test rig)
  build               ngx_mapi_module.so, ngx_mapi_mailbox_module.so and
                      mapi-directory in build/, for the installed nginx
  demo [--once]       three emulated mailbox servers and the front end
  test [FILE...]      unit tests, fuzz corpora and t/*.t, or only FILEs
  bench [NAME...]     benchmarks of t/bench
  fuzz [NAME...]      libFuzzer over t/fuzz, 30 s each; --seconds N
  install             modules, mapi-directory, /var/lib/mapi-directory;
                      PREFIX (/usr/local) and DESTDIR are respected
  package             a Debian package in build/
  clean               remove build/

options of build, demo, test and bench:
  --nginx V           installed (default), 1.26 (Debian trixie's source) or
                      sid (Debian sid's packages, unpacked under build/)
  --static            link the modules into an nginx made from source
  --sanitize          the same with AddressSanitizer and
                      UndefinedBehaviorSanitizer
environment:
  NGINX_SRC=FOLDER    build for this nginx source tree
  CC                  the compiler (default gcc; fuzz takes clang)
EOF
}


parse_options()
{
    NGINX=installed
    LINK=dynamic
    SANITIZE=
    ONCE=
    SECONDS_EACH=30
    ARGS=()

    while [ $# -gt 0 ]; do
        case $1 in
            --nginx)     [ $# -ge 2 ] || die 2 "--nginx wants a version"
                         NGINX=$2; shift ;;
            --nginx=*)   NGINX=${1#*=} ;;
            --static)    LINK=static ;;
            --sanitize)  LINK=static; SANITIZE=yes ;;
            --seconds)   [ $# -ge 2 ] || die 2 "--seconds wants a number"
                         SECONDS_EACH=$2; shift ;;
            --seconds=*) SECONDS_EACH=${1#*=} ;;
            --once)      ONCE=--once ;;
            --)          shift; ARGS+=("$@"); break ;;
            -*)          die 2 "unknown option \"$1\", see ./build.sh help" ;;
            *)           ARGS+=("$1") ;;
        esac
        shift
    done

    case $NGINX in
        installed|1.22|1.26|sid) ;;
        *) die 2 "--nginx \"$NGINX\": known are installed, 1.22, 1.26, sid" ;;
    esac

    case $SECONDS_EACH in
        ''|*[!0-9]*) die 2 "--seconds \"$SECONDS_EACH\" is not a number" ;;
    esac

    # the folder's name says what is in it: installed, nginx-1.26, sid-static

    FLAVOUR=$NGINX
    [ "$NGINX" = installed ] || [ "$NGINX" = sid ] || FLAVOUR=nginx-$NGINX

    if [ -n "$NGINX_SRC" ]; then
        [ "$NGINX" = installed ] || die 2 "NGINX_SRC and --nginx exclude each other"
        NGINX=source
        FLAVOUR=source-$(printf %s "$NGINX_SRC" | cksum | cut -d' ' -f1)
    fi

    if [ -n "$SANITIZE" ]; then
        FLAVOUR=$FLAVOUR-sanitize
    elif [ "$LINK" = static ]; then
        FLAVOUR=$FLAVOUR-static
    fi

    WORK=build/$FLAVOUR
}


# one build at a time in this tree; tests of an earlier build may run on, since
# results are renamed into place

locked()
{
    mkdir -p build
    (
        flock 9
        "$@" 9>&-
    ) 9>build/.lock
}


verb_build()
{
    say "build: modules and mapi-directory for $FLAVOUR"
    need_packages build ${SANITIZE:+sanitize}
    locked build_all
    say "build: results are in $(result_dir)"
}


verb_demo()
{
    say "demo: three emulated mailbox servers and the front end on loopback"
    need_packages build demo
    locked build_all
    test_environment
    exec bash t/demo/demo.sh $ONCE
}


verb_clean()
{
    say "clean: removing build/"
    rm -rf build
}


main()
{
    local verb=${1:-help}

    [ $# -eq 0 ] || shift
    parse_options "$@"

    case $verb in
        deps)            verb_deps ;;
        build)           verb_build ;;
        demo)            verb_demo ;;
        test)            verb_test ;;
        bench)           verb_bench ;;
        fuzz)            verb_fuzz ;;
        install)         verb_install ;;
        package)         verb_package ;;
        clean)           verb_clean ;;
        help|-h|--help)  usage ;;
        *)               usage >&2; exit 2 ;;
    esac
}

case ${1:-help} in
    -h|--help) usage ;;
    *)         main "$@" ;;
esac
