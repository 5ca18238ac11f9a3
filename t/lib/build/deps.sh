# Debian packages: which a verb needs, and how they get installed.


packages_of()
{
    case $1 in
        build)    echo gcc libc6-dev make nginx nginx-dev liblmdb-dev \
                       libssl-dev libpcre2-dev zlib1g-dev libjansson-dev ;;
        source)   echo dpkg-dev xz-utils ;;
        test)     echo perl libcmocka-dev libtest-base-perl \
                       libtext-diff-perl libtest-longstring-perl \
                       liblist-moreutils-perl libhttp-message-perl liburi-perl \
                       libipc-run-perl libnss-wrapper procps psmisc curl python3 openssl ;;
        # real servers and clients of t/rig; apache2-bin is no service
        rig)      echo apache2-bin libapache2-mod-auth-gssapi gss-ntlmssp \
                       krb5-kdc krb5-admin-server krb5-user curl \
                       python3-requests-ntlm
                  command -v node > /dev/null || echo nodejs
                  command -v npm > /dev/null || echo npm ;;
        # t/073-page-browser.t
        browser)  echo chromium ;;
        demo)     echo curl openssl ;;
        bench)    echo wrk haproxy python3 openssl ;;
        # gcc brings its own sanitizers, libFuzzer is clang's
        sanitize) echo gcc ;;
        fuzz)     echo clang libclang-rt-14-dev ;;
        *)        die 2 "no group of packages is called \"$1\"" ;;
    esac
}


# need_packages GROUP...: installs what is missing of them, or says how

need_packages()
{
    local group list missing=() package

    command -v dpkg-query > /dev/null \
        || die 4 "this is no Debian: install what packages_of in" \
                 "t/lib/build/deps.sh lists and put a dpkg-query into PATH"

    list=$(for group in "$@"; do packages_of "$group"; done)

    for package in $list; do
        is_installed "$package" || missing+=("$package")
    done

    [ ${#missing[@]} -gt 0 ] || return 0

    say "deps: installing ${missing[*]}"

    if [ "$(id -u)" = 0 ]; then
        install_packages "${missing[@]}"
    elif sudo -n true 2> /dev/null; then
        sudo -n "$BASH" -c "$(declare -f install_packages restore_policy)
                            install_packages \"\$@\"" - "${missing[@]}"
    elif [ -t 0 ] && command -v sudo > /dev/null; then
        sudo "$BASH" -c "$(declare -f install_packages restore_policy)
                         install_packages \"\$@\"" - "${missing[@]}"
    else
        say "packages are missing; as root run"
        die 4 "    $(printf %q "$ROOT/build.sh") deps $*"
    fi || die 4 "deps: apt-get could not install ${missing[*]}"
}


is_installed()
{
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" \
      = installed ]
}


# Runs as root, perhaps in a shell of its own (sudo), hence uses no function
# but restore_policy.  Debian starts a service as soon as its package is
# unpacked, and nginx would take port 80: a policy-rc.d forbids that meanwhile.

install_packages()
(
    set -e
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d

    # one run at a time; a run that was killed left the file behind
    exec 8< /usr/sbin
    flock 8
    restore_policy

    trap restore_policy EXIT
    trap 'exit 130' INT TERM HUP

    if [ -e $policy ] || [ -L $policy ]; then
        mv $policy $policy.ngx-mapi
    fi
    printf '#!/bin/sh\n# ngx_mapi_module build: no service starts\nexit 101\n' \
        > $policy
    chmod 755 $policy

    # the second try is for lists that are missing or older than the mirror
    log=$(mktemp)
    quiet="-y -qq --no-install-recommends -o Dpkg::Use-Pty=0"
    if apt-get install $quiet "$@" > "$log" 2>&1 8>&-; then
        :
    elif apt-get update -q >> "$log" 2>&1 8>&- \
         && apt-get install $quiet "$@" >> "$log" 2>&1 8>&-
    then
        :
    else
        tail -n 20 "$log" >&2
        exit 1
    fi
    rm -f "$log"
)


restore_policy()
{
    if grep -qs 'ngx_mapi_module build' /usr/sbin/policy-rc.d; then
        rm -f /usr/sbin/policy-rc.d
    fi

    if [ -e /usr/sbin/policy-rc.d.ngx-mapi ] \
       || [ -L /usr/sbin/policy-rc.d.ngx-mapi ]
    then
        mv /usr/sbin/policy-rc.d.ngx-mapi /usr/sbin/policy-rc.d
    fi
}


verb_deps()
{
    local groups=("${ARGS[@]}")

    [ ${#groups[@]} -gt 0 ] || groups=(build test rig)
    say "deps: Debian packages for ${groups[*]}"
    need_packages "${groups[@]}"

    # root installs packages for others, but leaves no files in their tree
    case " ${groups[*]} " in *" test "*)
        [ ! -O . ] || get_test_nginx ;;
    esac
    case " ${groups[*]} " in *" rig "*)
        [ ! -O . ] || locked get_express_ntlm ;;
    esac

    say "deps: everything for ${groups[*]} is installed"
}


# The NTLM server of t/rig/express-ntlm.t, as the lock beside it says, from the
# registry npm is set up for.  It is fetched again where the lock changes.

get_express_ntlm()
{
    local from=t/rig/express-ntlm folder=build/express-ntlm

    ! cmp -s $from/package-lock.json $folder/package-lock.json || return 0

    say "fetching express-ntlm with npm"
    rm -rf $folder.new
    mkdir -p $folder.new
    cp $from/package.json $from/package-lock.json $folder.new

    (cd $folder.new && npm ci --ignore-scripts --no-audit --no-fund \
         --no-update-notifier --cache .npm > npm.log 2>&1) \
        || { tail -n 5 $folder.new/npm.log >&2
             die 4 "npm cannot fetch express-ntlm, see $folder.new/npm.log"; }

    rm -rf $folder.new/.npm $folder
    mv $folder.new $folder
}
