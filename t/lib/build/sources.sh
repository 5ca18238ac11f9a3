# What Debian's other suites have and this one lacks: Test::Nginx (sid),
# nginx's source (trixie), sid's nginx.  All through an apt of our own below
# build/apt, the user's sources are only read, for the name of the mirror.


# the mirror the user's apt takes this Debian from

debian_mirror()
{
    local mirror

    # both formats of sources are apt's to parse
    mirror=$(apt-get indextargets --no-release-info \
                 --format '$(CREATED_BY) $(REPO_URI) $(RELEASE)' 2> /dev/null \
             | awk '$1 == "Packages" && $2 !~ /security|backports|updates/ \
                    && $2 ~ /\/debian\/?$/ { print $2; exit }')

    [ -n "$mirror" ] || die 4 "apt's sources name no Debian mirror" \
                              "(a URI that ends in /debian)"
    echo "${mirror%/}"
}


# private_apt SUITE deb|deb-src: sets APT, the options that make apt commands
# look at that suite alone, after fetching its lists if they are not there

private_apt()
{
    local dir=$ROOT/build/apt/$1-$2 keyring mirror

    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -f $keyring ] || die 4 "no $keyring: the package" \
                             "debian-archive-keyring is missing"

    mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial
    [ -e "$dir/status" ] || : > "$dir/status"

    # what /etc/apt says of proxies and certificates stays in force
    APT=(
        -o "Dir::State=$dir" -o "Dir::State::lists=$dir/lists"
        -o "Dir::State::status=$dir/status" -o "Dir::Cache=$dir/cache"
        -o "Dir::Etc::sourcelist=$dir/sources.list"
        -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null
        -o Acquire::Languages=none

        # a mirror may lag; what it has is still signed, and only tests use it
        -o Acquire::Check-Valid-Until=false
    )

    if [ "$(id -u)" = 0 ]; then
        # the user _apt may not be able to enter this folder
        APT+=(-o APT::Sandbox::User=root)
    fi

    [ ! -e "$dir/done" ] || return 0

    mirror=$(debian_mirror)
    say "fetching the package lists of Debian $1 ($2)"
    echo "$2 [signed-by=$keyring] $mirror $1 main" > "$dir/sources.list"
    apt-get "${APT[@]}" -q update > "$dir/log" 2>&1 \
        && ! grep -q '^[WE]: .*Failed to fetch' "$dir/log" \
        || { tail -n 5 "$dir/log" >&2
             die 4 "cannot fetch the package lists of Debian $1 from" \
                   "$mirror, see $dir/log"; }
    touch "$dir/done"
}


# fetch_packages FOLDER SUITE PACKAGE...: unpacks the binary packages there

fetch_packages()
(
    folder=$1 suite=$2
    shift 2

    private_apt "$suite" deb
    rm -rf "$folder.new"
    mkdir -p "$folder.new/debs"
    cd "$folder.new/debs"

    # lists may be older than what the mirror still has
    apt-get "${APT[@]}" -q download "$@" > ../log 2>&1 \
        || { rm -f "$ROOT/build/apt/$suite-deb/done"
             private_apt "$suite" deb
             apt-get "${APT[@]}" -q download "$@" > ../log 2>&1; } \
        || { tail -n 5 ../log >&2
             die 4 "cannot fetch $* of Debian $suite"; }

    for package in *.deb; do
        dpkg-deb -x "$package" ../root
    done

    cd "$ROOT"
    rm -rf "$folder.new/debs" "$folder"
    mv "$folder.new" "$folder"
)


# sets TEST_NGINX_LIB

get_test_nginx()
{
    local folder=build/test-nginx

    if [ ! -f $folder/root/usr/share/perl5/Test/Nginx/Socket.pm ]; then
        say "fetching Test::Nginx from Debian sid"
        fetch_packages "$ROOT/$folder" sid libtest-nginx-perl
    fi

    TEST_NGINX_LIB=$ROOT/$folder/root/usr/share/perl5
}


# tree_source SUITE VERSION: nginx's source of that suite, patched as Debian
# does; TREE is where it is

tree_source()
{
    TREE=build/source/nginx-$2

    [ ! -f "$TREE/src/core/nginx.c" ] || return 0

    need_packages source
    (fetch_source "$1" "$2" "$ROOT/$TREE")
}


fetch_source()
{
    local candidates tried='' version

    private_apt "$1" deb-src
    mkdir -p "$3.new"
    cd "$3.new"

    candidates=$(apt-cache "${APT[@]}" showsrc nginx | sed -n "s/^Version: \($2.*\)/\1/p" \
                 | sort -Vru)
    [ -n "$candidates" ] || die 4 "Debian $1 has no source of nginx $2"

    for version in $candidates; do
        say "fetching the source of nginx $version from Debian $1"
        if apt-get "${APT[@]}" -q source --download-only \
               "nginx=$version" > log 2>&1
        then
            dpkg-source --no-check -x nginx_*.dsc tree >> log 2>&1 \
                || die 4 "cannot unpack nginx $version, see $3.new/log"
            take_source "$3"
            return

        # a mirror drops the patches of a package when newer ones come, the
        # upstream's archive stays; the lists have its checksum
        elif apt-get "${APT[@]}" -q source --download-only --tar-only \
                 "nginx=$version" >> log 2>&1
        then
            say "Debian's patches of nginx $version are gone: taking nginx as" \
                "its authors published it"
            mkdir -p tree
            tar xf nginx_*.orig.tar.* --strip-components=1 -C tree >> log 2>&1 \
                || die 4 "cannot unpack nginx $version, see $3.new/log"
            take_source "$3"
            return
        fi
        tried="$tried $version"
    done

    # the next run looks whether the lists have changed
    rm -f "$ROOT/build/apt/$1-deb-src/done"
    tail -n 3 log >&2
    die 4 "cannot fetch the source of nginx from Debian $1 (tried$tried)"
}


# take_source FOLDER: "tree" of the working folder is complete

take_source()
{
    mv tree "$1"
    cd "$ROOT"
    rm -rf "$1.new"
}


# sid's nginx without its source: binary packages with their libraries and
# their own C library, unpacked below build/sid/root and started through that
# tree's dynamic loader

tree_sid()
{
    local arch root

    if [ "$LINK" = static ]; then
        tree_source sid 1
        return
    fi

    root=$WORK/packages/root

    if [ ! -x "$root/usr/sbin/nginx" ] \
       || ! compgen -G "$root/usr/lib/*/libjansson.so.4" > /dev/null
    then
        say "fetching nginx, its headers and libraries from Debian sid"
        fetch_packages "$ROOT/$WORK/packages" sid nginx nginx-common \
            nginx-dev libc6 libcrypt1 libjansson4 libjansson-dev liblmdb0 \
            liblmdb-dev libpcre2-8-0 libpcre2-dev libssl3t64 libssl-dev \
            libzstd1 zlib1g zlib1g-dev
    fi

    sid_wrapper "$WORK/nginx" root/usr/sbin/nginx
    TREE=$root/usr/share/nginx/src
    NGINX_BINARY=$WORK/nginx
    arch=$(gcc -print-multiarch)

    # compile against sid's headers and libraries; those want a younger C
    # library than the one here, which is the loader's business later
    EXTRA_CC_OPT="-I../packages/root/usr/include \
-I../packages/root/usr/include/$arch"
    EXTRA_LD_OPT="-L../packages/root/usr/lib/$arch -Wl,--allow-shlib-undefined"
}


# sid_wrapper FILE PROGRAM: a script that starts PROGRAM (relative to sid's
# packages/) through sid's dynamic loader and with sid's libraries only.  What
# it needs is found from the script's real place, so that a link to it works.

sid_wrapper()
{
    local arch loader

    arch=$(gcc -print-multiarch)
    loader=$(cd "$WORK/packages" \
             && ls root/usr/lib*/ld-linux*.so.* root/usr/lib/*/ld-linux*.so.* \
                2> /dev/null | head -n 1)
    [ -n "$loader" ] || die 4 "sid's libc6 has no dynamic loader"

    cat > "$1.new" <<EOF
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")/packages
exec "\$here/$loader" --argv0 "\$0" \\
    --library-path "\$here/root/usr/lib/$arch" "\$here/$2" "\$@"
EOF
    chmod 755 "$1.new"
    mv "$1.new" "$1"
}
