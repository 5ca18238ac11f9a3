# Building: nginx's tree, its configure, the modules, mapi-directory.


result_dir()
{
    if [ "$FLAVOUR" = installed ]; then echo build; else echo "$WORK"; fi
}


# build_all [FILE...]: FILEs are unit tests and fuzz targets, by what they are
# below the flavour's folder

build_all()
{
    mkdir -p "$WORK"

    case $NGINX in
        installed) tree_installed ;;
        1.22)      tree_source bookworm 1.22 ;;
        1.26)      tree_source trixie 1.26 ;;
        sid)       tree_sid ;;
        source)    TREE=$NGINX_SRC ;;
    esac

    [ -d "$TREE/src/core" ] || die 4 "\"$TREE\" is not an nginx source tree"

    choose_compiler
    choose_arguments
    prepare_tree
    make_nginx
    make_core all "$@"
    publish
}


# "nginx -V" of the installed one says how to be binary compatible with it

tree_installed()
{
    TREE=/usr/share/nginx/src

    if [ "$LINK" = static ]; then
        # nginx-dev has the headers only
        tree_source bookworm "$(installed_version)"
        return
    fi

    [ -d $TREE ] || die 4 "no $TREE: the package nginx-dev is missing"
}


installed_version()
{
    nginx -v 2>&1 | sed -n 's,.*nginx/\([0-9.]*\).*,\1,p'
}


choose_compiler()
{
    CC=${CC:-gcc}
    OPT="-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2"
    LDOPT=

    [ -n "$SANITIZE" ] || return 0

    # NGX_DEBUG_PALLOC: every allocation from a pool is a malloc of its own,
    # so that an overrun inside a pool is seen.  NGX_HAVE_NONALIGNED=0: nginx
    # then reads words the portable way and UBSan's alignment check stays on.
    # Checks that stock nginx itself does not pass:
    #   nonnull-attribute  memcpy(dst, NULL, 0) of empty strings, everywhere
    #   pointer-overflow   NULL + 0 in ngx_http_parse and the output chain

    OPT="-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    OPT="$OPT -fno-omit-frame-pointer"
    LDOPT="-fsanitize=address,undefined"

    # gcc's shared runtimes are two of a kind, and the second ignores log_path
    if ! "$CC" --version | grep -q clang; then
        LDOPT="$LDOPT -static-libasan -static-libubsan"
    fi

    NGX_SANITIZE="$OPT -fno-sanitize=nonnull-attribute,pointer-overflow"
    NGX_SANITIZE="$NGX_SANITIZE -DNGX_DEBUG_PALLOC=1 -DNGX_SUPPRESS_WARN=1"
    NGX_SANITIZE="$NGX_SANITIZE -DNGX_HAVE_NONALIGNED=0"
}


# fills CONFIGURE, the arguments of nginx's configure

choose_arguments()
{
    local how=--add-dynamic-module=mapi

    if [ "$LINK" = static ]; then how=--add-module=mapi; fi

    if [ -f "$TREE/src/core/nginx.c" ]; then
        CONFIGURE=(
            --prefix=. --conf-path=conf/nginx.conf --error-log-path=stderr
            --http-log-path=logs/access.log --pid-path=logs/nginx.pid
            --lock-path=logs/nginx.lock
            --with-compat --with-debug --with-threads --with-pcre-jit
            --with-http_ssl_module --with-http_v2_module
            --with-http_realip_module --with-http_stub_status_module
            --with-http_auth_request_module --with-http_sub_module
            --with-http_addition_module --with-http_gunzip_module
            --with-cc="$CC"
            --with-cc-opt="${NGX_SANITIZE:--O1 -g}"
            --with-ld-opt="$LDOPT"
        )

    else
        [ "$LINK" = dynamic ] \
            || die 2 "\"$TREE\" has no src/core/nginx.c: no --static from it"
        arguments_of_binary "${NGINX_BINARY:-nginx}"
    fi

    CONFIGURE+=(--builddir=objs "$how")
}


# the arguments a binary was made with, less what does not matter for binary
# compatibility and would ask for libraries or folders that are not here

arguments_of_binary()
{
    local argument line

    line=$("$1" -V 2>&1 | sed -n 's/^configure arguments: //p')
    [ -n "$line" ] || die 4 "\"$1 -V\" names no configure arguments"

    CONFIGURE=(--with-cc="$CC")

    while IFS= read -r argument; do
        case $argument in
            --add-*module=* | --with-*=dynamic) continue ;;
            --with-mail* | --with-stream* | --with-google*) continue ;;
            --with-http_xslt_module | --with-http_image_filter_module) continue ;;
            --with-http_geoip_module | --with-http_perl_module) continue ;;
            --with-openssl=* | --with-pcre=* | --with-zlib=*) continue ;;
            --with-cc=* | --builddir=*) continue ;;
            --with-cc-opt=*)
                # their build folder's name means nothing here
                argument=$(printf %s "$argument" \
                    | sed -E 's/-f(file|debug|macro)-prefix-map=[^ ]*//g')
                argument="$argument ${EXTRA_CC_OPT:-}" ;;
            --with-ld-opt=*)
                argument="$argument ${EXTRA_LD_OPT:-}" ;;
        esac
        CONFIGURE+=("$argument")
    done < <(printf '%s\n' "$line" | xargs -n1 printf '%s\n')
}


# a copy of the nginx tree, with a folder "mapi" that leads to our config by
# relative links: paths with blanks never reach nginx's scripts

prepare_tree()
{
    local key

    key="$TREE $(stat -c '%Y %i' "$TREE/src/core/nginx.h" | tr '\n' ' ')"

    if [ "$(cat "$WORK/tree.key" 2>/dev/null)" = "$key" ]; then
        return
    fi

    rm -rf "$WORK/src" "$WORK/tree.key" "$WORK/configure.key"
    mkdir -p "$WORK/src/mapi"
    (cd "$TREE" && tar cf - --exclude=.git --exclude=./objs --exclude=./mapi .) \
        | tar xf - -C "$WORK/src"

    # a checkout keeps its configure in auto/
    [ -f "$WORK/src/configure" ] \
        || cp "$WORK/src/auto/configure" "$WORK/src/configure"
    ln -s ../../../../config "$WORK/src/mapi/config"
    ln -s ../../../../ngx_mapi_module "$WORK/src/mapi/ngx_mapi_module"
    printf '%s\n' "$key" > "$WORK/tree.key"
}


make_nginx()
{
    local file key target=modules

    key=$(printf '%s\n' "${CONFIGURE[@]}" "$(cksum config)" \
          ngx_mapi_module/{core,nginx,emulator}/*.[ch])

    if [ "$(cat "$WORK/configure.key" 2>/dev/null)" != "$key" ]; then
        rm -f "$WORK/configure.key"
        for file in auto_config auto_headers; do
            [ ! -f "$WORK/src/objs/ngx_$file.h" ] \
                || cp -p "$WORK/src/objs/ngx_$file.h" "$WORK/ngx_$file.h"
        done

        (cd "$WORK/src" && sh ./configure "${CONFIGURE[@]}") \
            > "$WORK/configure.log" 2>&1 \
            || { tail -n 20 "$WORK/configure.log" >&2
                 die 1 "configure failed, see $WORK/configure.log"; }

        # a new file of ours must not make all of nginx compile anew
        for file in auto_config auto_headers; do
            ! cmp -s "$WORK/ngx_$file.h" "$WORK/src/objs/ngx_$file.h" \
                || mv "$WORK/ngx_$file.h" "$WORK/src/objs/ngx_$file.h"
            rm -f "$WORK/ngx_$file.h"
        done
        printf '%s\n' "$key" > "$WORK/configure.key"
    fi

    [ ! -f "$TREE/src/core/nginx.c" ] || target=
    run_make "$WORK/nginx.log" -C "$WORK/src" -f objs/Makefile ${target:-build}
}


make_core()
{
    run_make "$WORK/core.log" -f t/lib/build/core.mk \
        OUT="$WORK/core" CC="$CC" OPT="$OPT" LDOPT="$LDOPT" "$@"
}


# make's commands go to a log, its complaints to the terminal

run_make()
{
    local log=$1
    shift

    make -j"$(nproc)" "$@" 2>&1 > "$log" | tee "$log.err" >&2 \
        || die 1 "make failed, see $log"
}


# copies what changed under a new name and renames: a server that has the old
# one mapped keeps it

publish_file()
{
    cmp -s "$1" "$2" || { cp "$1" "$2.new" && mv "$2.new" "$2"; }
}


publish()
{
    local out

    out=$(result_dir)

    if [ "$LINK" = dynamic ]; then
        publish_file "$WORK/src/objs/ngx_mapi_module.so" \
                     "$out/ngx_mapi_module.so"
        publish_file "$WORK/src/objs/ngx_mapi_mailbox_module.so" \
                     "$out/ngx_mapi_mailbox_module.so"
    fi

    if [ -f "$TREE/src/core/nginx.c" ]; then
        publish_file "$WORK/src/objs/nginx" "$WORK/nginx"
    fi

    if [ "$NGINX" = sid ] && [ "$LINK" = dynamic ]; then
        # one kind of LMDB for both sides of a directory
        sid_wrapper "$WORK/mapi-directory" ../core/mapi-directory
    else
        [ ! -f "$WORK/core/mapi-directory" ] \
            || publish_file "$WORK/core/mapi-directory" "$out/mapi-directory"
    fi
}
