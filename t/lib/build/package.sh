# install and package: where things go on a Debian system.


# stage DESTDIR PREFIX: copies what build made

stage()
{
    local dest=$1 prefix=$2 module modules snippet

    modules=$(nginx -V 2>&1 | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
    [ -n "$modules" ] || die 4 "nginx -V names no --modules-path"

    for module in ngx_mapi_module ngx_mapi_mailbox_module; do
        install_file 644 "build/$module.so" "$dest$modules/$module.so"
    done

    install_file 755 build/mapi-directory "$dest$prefix/sbin/mapi-directory"

    # enabled by a link in modules-enabled, as Debian does; the emulator is
    # for demonstrations and stays out
    snippet=$(mktemp)
    echo "load_module modules/ngx_mapi_module.so;" > "$snippet"
    install_file 644 "$snippet" \
        "$dest/etc/nginx/modules-available/50-mod-mapi.conf"
    rm -f "$snippet"

    for snippet in docs/conf/*.conf docs/Export-MapiDirectory.ps1; do
        [ ! -f "$snippet" ] || install_file 644 "$snippet" \
            "$dest$prefix/share/doc/ngx-mapi-module/$(basename "$snippet")"
    done
}


# a new file and a rename: a running nginx keeps the module it has mapped

install_file()
{
    install -D -m "$1" "$2" "$3.new"
    mv "$3.new" "$3"
    say "  $3"
}


verb_install()
{
    local folder

    say "install: modules, mapi-directory and /var/lib/mapi-directory"
    [ "$FLAVOUR" = installed ] \
        || die 2 "only what was built for the installed nginx gets installed"

    if [ "$(id -u)" != 0 ] && [ -z "${DESTDIR:-}" ]; then
        say "this writes to system folders; as root run"
        die 4 "    $(printf %q "$ROOT/build.sh") install"
    fi

    need_packages build
    locked build_all
    stage "${DESTDIR:-}" "${PREFIX:-/usr/local}"

    folder=${DESTDIR:-}/var/lib/mapi-directory
    install -d -m 2770 "$folder"
    [ "$(id -u)" != 0 ] || chown root:www-data "$folder"
    chmod 2770 "$folder"
    say "  $folder ($(stat -c '%U:%G %a' "$folder"))"
    say "install: to load it: ln -s ../modules-available/50-mod-mapi.conf" \
        "/etc/nginx/modules-enabled/ && nginx -t"
}


verb_package()
{
    local arch dest package version nginx

    say "package: a Debian package for the installed nginx, in build/"
    [ "$FLAVOUR" = installed ] \
        || die 2 "only what was built for the installed nginx gets packaged"
    need_packages build
    locked build_all

    nginx=$(dpkg-query -W -f '${Version}' nginx)
    arch=$(dpkg --print-architecture)
    version=$(package_version)
    package=build/libnginx-mod-mapi_${version}_$arch.deb

    dest=build/package
    rm -rf "$dest"
    mkdir -p "$dest/DEBIAN"
    stage "$dest" /usr 2> /dev/null
    install -D -m 644 LICENSE "$dest/usr/share/doc/libnginx-mod-mapi/copyright"

    # a module fits the nginx it was built with and no other
    cat > "$dest/DEBIAN/control" <<EOF
Package: libnginx-mod-mapi
Version: $version
Architecture: $arch
Maintainer: the ngx_mapi_module authors <root@localhost>
Section: httpd
Priority: optional
Depends: nginx (= $nginx), libc6, libjansson4, liblmdb0, libssl3
Description: MAPI over HTTP routing for nginx
 Sends each mailbox's requests to the server where its database is mounted.
EOF
    echo /etc/nginx/modules-available/50-mod-mapi.conf \
        > "$dest/DEBIAN/conffiles"
    cat > "$dest/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
install -d -o root -g www-data -m 2770 /var/lib/mapi-directory
EOF
    chmod 755 "$dest/DEBIAN/postinst"

    dpkg-deb --root-owner-group -Zxz --build "$dest" "$package" > /dev/null
    rm -rf "$dest"
    say "package: $package"
}


package_version()
{
    local version

    version=$(git describe --tags --match 'v[0-9]*' 2> /dev/null \
              | sed 's/^v//; s/-/+/g')
    if [ -z "$version" ]; then
        version=0.0+$(git log -1 --format=%cd.%h --date=format:%Y%m%d \
                      2> /dev/null || echo local)
    fi
    echo "$version"
}
