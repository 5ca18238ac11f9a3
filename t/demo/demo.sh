#!/bin/bash
#
# Three emulated mailbox servers and the front end, and a walk through what
# the front end does: "./build.sh demo".  With --once it ends after the walk,
# with exit code 0 only if every step did what it should.

set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NGINX=$TEST_NGINX_BINARY
USER_OF_WORKERS=${TEST_NGINX_WORKER_USER:-}
ONCE=${1:-}
FAILED=0
MASTER=
RUN=

# shellcheck source=t/demo/data.sh
. "$HERE/data.sh"
# shellcheck source=t/demo/walk.sh
. "$HERE/walk.sh"


die() { printf 'demo: %s\n' "$*" >&2; exit 1; }


# what is seen

choose_looks()
{
    BOLD='' DIM='' RED='' GREEN='' PLAIN=''

    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
        BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
    fi

    # build.sh has set LC_ALL
    case ${LC_CTYPE:-${LANG:-}} in
        *UTF-8* | *utf8*) GOOD="✓ " BAD="✗ " ;;
        *)                GOOD="ok" BAD="!!" ;;
    esac
}

title() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
note()  { printf '   %s\n' "$@" | sed 's/ *$//'; }
show()  { printf '   %s$ %s%s\n' "$DIM" "$*" "$PLAIN"; }
good()  { printf '%s%s%s %s\n' "$GREEN" "$GOOD" "$PLAIN" "$*"; }

bad()
{
    FAILED=$((FAILED + 1))
    printf '%s%s %s%s\n' "$RED" "$BAD" "$*" "$PLAIN"
}


# check WHAT COMMAND...: the step did what it should if the command succeeds

check()
{
    local what=$1
    shift

    if [ "$1" = ! ]; then
        shift
        if "$@"; then bad "not so: $what"; else good "$what"; fi
        return
    fi

    if "$@"; then good "$what"; else bad "not so: $what"; fi
}


# starting and stopping

is_open() { (: < "/dev/tcp/$1/$2") 2> /dev/null; }


# free_port FIRST ADDRESS...

free_port()
{
    local address port=$1
    shift

    while :; do
        for address in "$@"; do
            if is_open "$address" "$port"; then
                port=$((port + 1))
                continue 2
            fi
        done

        echo "$port"
        return
    done
}


make_folder()
{
    RUN=$(mktemp -d "${TMPDIR:-/tmp}/mapi-demo.XXXXXX") \
        || die "no folder can be made in ${TMPDIR:-/tmp}"

    # workers that are not root must find the directory
    chmod 755 "$RUN"
    mkdir "$RUN/temp" "$RUN/servers" "$RUN/directory"

    if [ -n "$USER_OF_WORKERS" ]; then
        chown "root:$USER_OF_WORKERS" "$RUN/directory"
        chmod 2770 "$RUN/directory"
    fi

    cp "$MAPI_ROOT"/docs/conf/mapi_{proxy,server}.conf "$RUN/"
}


make_certificate()
{
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 \
        -subj "/CN=mail.demo.example" \
        -addext "subjectAltName=DNS:mail.demo.example,DNS:localhost,IP:127.0.0.1" \
        -keyout "$RUN/mail.key" -out "$RUN/mail.crt" 2> "$RUN/openssl.log" \
        || die "openssl made no certificate: $(tail -n 1 "$RUN/openssl.log")"
}


directory() { "$MAPI_BUILD/mapi-directory" -d "$RUN/directory" "$@"; }


make_directory()
{
    make_data "$RUN/csv"

    directory import --servers "$RUN/csv/servers.csv" \
        --databases "$RUN/csv/databases.csv" \
        --mailboxes "$RUN/csv/mailboxes.csv" > "$RUN/import.log" \
        || die "mapi-directory could not import $RUN/csv"
}


write_conf()
{
    local text user=

    [ -z "$USER_OF_WORKERS" ] || user="user $USER_OF_WORKERS;"

    text=$(< "$HERE/nginx.conf")
    text=${text//@MODULES@/$MAPI_MODULES}
    text=${text//@USER@/$user}
    text=${text//@HTTP@/$HTTP}
    text=${text//@HTTPS@/$HTTPS}
    text=${text//@PORT@/$PORT}
    printf '%s\n' "$text" > "$RUN/nginx.conf"

    for i in 1 2 3; do
        make_server_conf "$i" "$PORT" > "$RUN/servers/ex$i.conf"
    done
}


# somebody else may take a port between the look and nginx's start: once more

start_nginx()
{
    local try

    HTTP=8080 HTTPS=8443 PORT=8090

    for try in 1 2 3 4 5; do
        HTTP=$(free_port "$HTTP" 127.0.0.1)
        HTTPS=$(free_port "$HTTPS" 127.0.0.1)
        PORT=$(free_port "$PORT" 127.0.0.11 127.0.0.12 127.0.0.13)
        write_conf

        "$NGINX" -e "$RUN/error.log" -p "$RUN/" -c "$RUN/nginx.conf" \
            -g 'daemon off;' > "$RUN/nginx.log" 2>&1 &
        MASTER=$!

        while kill -0 "$MASTER" 2> /dev/null; do
            if [ -s "$RUN/nginx.pid" ] && is_open 127.0.0.1 "$HTTPS"; then
                return
            fi
            sleep 0.1
        done

        grep -q 'bind() to' "$RUN/nginx.log" || break
        HTTP=$((HTTP + try)) HTTPS=$((HTTPS + try)) PORT=$((PORT + try))
    done

    cat "$RUN/nginx.log" >&2
    MASTER=
    die "nginx did not start"
}


clean_up()
{
    trap '' INT TERM HUP

    if [ -n "$MASTER" ]; then
        kill -TERM "$MASTER" 2> /dev/null
        wait "$MASTER" 2> /dev/null
    fi

    [ -z "$RUN" ] || rm -rf "$RUN"
}


# asking the front end

BODY=$'\1\2\3\4'


# outlook TYPE QUERY [CURL'S ARGUMENTS]: one request as Outlook sends it

outlook()
{
    local type=$1 query=$2
    shift 2

    COUNT=$((${COUNT:-0} + 1))

    curl -sS --noproxy '*' --max-time 20 --cacert "$RUN/mail.crt" \
        --resolve "mail.demo.example:$HTTPS:127.0.0.1" \
        -H "X-RequestType: $type" \
        -H "X-RequestId: {1217E164-939C-4D80-BC0F-406425BAB51A}:$COUNT" \
        -H "X-ClientInfo: {BCFB7788-8F86-4FD8-8A98-0A1A599448E2}:1" \
        -H "X-ClientApplication: Outlook/16.0.17328.20162" \
        -H "Content-Type: application/mapi-http" \
        -H "Accept: application/mapi-http" \
        -H "User-Agent: Microsoft Office/16.0 (Microsoft Outlook 16.0; Pro)" \
        --data-binary "$BODY" "$@" \
        "https://mail.demo.example:$HTTPS/mapi/$query" 2> "$RUN/curl.log"
}


# ask TYPE QUERY [CURL'S ARGUMENTS]: sets STATUS, and leaves the answer in
# $RUN/head and $RUN/body

ask()
{
    : > "$RUN/head"
    STATUS=$(outlook "$@" -D "$RUN/head" -o "$RUN/body" -w '%{http_code}') \
        || STATUS="none: $(tail -n 1 "$RUN/curl.log")"
}


# page QUERY [CURL'S ARGUMENTS]: the same for the page that a browser gets

page()
{
    local query=$1
    shift

    : > "$RUN/head"
    STATUS=$(curl -sS --noproxy '*' --max-time 20 -H "Accept: text/html" \
        -D "$RUN/head" -o "$RUN/body" -w '%{http_code}' "$@" \
        "http://127.0.0.1:$HTTP/mapi/$query" 2> "$RUN/curl.log") \
        || STATUS="none: $(tail -n 1 "$RUN/curl.log")"
}


# header NAME: of the last answer, a line each time it stands there

header()
{
    tr -d '\r' < "$RUN/head" \
        | awk -v name="$1:" '
            tolower(substr($0, 1, length(name))) == tolower(name) {
                sub(/^[^:]*: */, ""); print }'
}


heading()
{
    printf '   %s%-21s %-25s %-4s %-17s %-10s %s%s\n' "$DIM" \
        "$1" mailbox base server why answer "$PLAIN"
}


# row LABEL MAILBOX SERVER WHY [CODE]: shows the last answer, and checks that it
# is one from that server ("*": from any), for that reason and with that
# response code (0)

row()
{
    local answer code line name server why wrong=

    server=$(header X-Demo-Server)
    why=$(header X-Demo-Route)
    code=$(header X-ResponseCode)
    name=$(header X-FEServer)
    answer=$STATUS

    [ -z "$code" ] || answer="$STATUS, code $code"

    line=$(printf '%-21s %-25s %-4s %-17s %-10s %s' "$1" "$2" \
           "$(header X-Demo-Database)" "$server" "$why" "$answer")

    [ "$STATUS" = 200 ] || wrong="wanted: HTTP status 200"
    [ "${code:-0}" = "${5:-0}" ] || wrong="wanted: response code ${5:-0}"
    [ "$4" = "$why" ] || wrong="wanted: $4"

    # the server that was chosen, and the one that answered, are the same
    server=${server%%.*}
    [ "${server^^}" = "$name" ] || wrong="answered by \"$name\""
    [ "$3" = '*' ] || [ "$3" = "$server" ] || wrong="wanted: $3"

    if [ -z "$wrong" ]; then good "$line"; else bad "$line   $wrong"; fi
}


# what the emulated servers have counted, all together

counted()  # NAME
{
    curl -sS --noproxy '*' "http://127.0.0.12:$PORT/control" \
        2>&1 | grep -o "\"$1\":[0-9]*" | awk -F: '{ n += $2 } END { print NR == 3 ? n : "nothing" }'
}


workers() { cat "/proc/$MASTER/task/$MASTER/children"; }


# reload: back when the workers of before have gone

reload()
{
    local before i pid

    before=$(workers)
    kill -HUP "$MASTER"

    for i in {1..100}; do
        for pid in $before; do
            if kill -0 "$pid" 2> /dev/null; then
                sleep 0.1
                continue 2
            fi
        done
        return
    done

    bad "workers are still there 10 s after a reload"
}


introduce()
{
    title "ngx_mapi_module: $("$NGINX" -v 2>&1 | sed 's/.*: //')," \
          "$(wc -l < "$RUN/csv/mailboxes.csv" | awk '{ print $1 - 1 }')" \
          "mailboxes in 6 databases on 3 servers"
    note "The front end routes to three mailbox servers. They are emulated: they" \
         "speak MAPI over HTTP as Exchange does, with made-up mail." \
         "" \
         "Lines that begin with \"${GOOD% }\" were checked. \"why\" is what decided:" \
         "directory  the mailbox's database is mounted there" \
         "affinity   the cookie that the front end gave to this client" \
         "balance    neither: a hash of the mailbox, the same on every front end"
}


farewell()
{
    local command mailbox

    mailbox=$(mailbox_of 1 1)
    command="$MAPI_BUILD/mapi-directory -d $RUN/directory"

    title "It stays up until Ctrl-C"
    note "front end        http://127.0.0.1:$HTTP/mapi/emsmdb/?MailboxId=$mailbox@demo.example" \
         "                 https://127.0.0.1:$HTTPS/mapi/nspi/?MailboxId=$mailbox@demo.example" \
         "                 (certificate: $RUN/mail.crt)" \
         "mailbox servers  http://127.0.0.11:$PORT/control and the same on .12 and .13: JSON" \
         "configuration    $RUN/nginx.conf" \
         "log              $RUN/access.log, and Exchange's format in $RUN/rows" \
         "status           http://127.0.0.1:$HTTP/mapi-status" \
         "why this server  http://127.0.0.1:$HTTP/mapi/emsmdb/?mapidebug=yes&MailboxId=$mailbox@demo.example" \
         "" \
         "To try, in another terminal:"
    show "curl -si -H 'Accept: text/html' \\"
    show "    'http://127.0.0.1:$HTTP/mapi/emsmdb/?smtpAddress=anna.adler@demo.example'"
    show "M='$command'"
    show "\$M lookup anna.adler@demo.example"
    show "\$M move DB1 EX3"
    show "\$M server EX3 draining"
    show "\$M list databases"
}


main()
{
    choose_looks
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP

    make_folder
    make_certificate
    make_directory
    start_nginx

    introduce
    walk

    if [ "$FAILED" = 0 ]; then
        title "Every step did what it should."
    else
        title "$RED$FAILED lines above say what went wrong.$PLAIN"
        sed 's/^/   /' "$RUN/error.log" | tail -n 20
    fi

    if [ "$ONCE" = --once ]; then
        [ "$FAILED" = 0 ]
        exit
    fi

    farewell

    trap 'echo; exit 0' INT TERM HUP
    wait "$MASTER"
    MASTER=
    die "nginx ended by itself, see above"
}

main
