#!/bin/bash
#
# One of three servers is killed and comes back, or goes silent and speaks
# again, behind the module, stock nginx and HAProxy, all under load:
# "./build.sh bench failover", explained in docs/benchmarks.md.
#
#   BENCH_ROUNDS   times that each of both happens (default 2)
#   BENCH_CLIENTS  of each proxy (default 30)
#   BENCH_ONLY     variants, of: mapi stock haproxy (default all)
#   BENCH_KEEP     a folder that gets answered and failed requests per 100 ms

set -euo pipefail

BENCH=failover
RUN=$MAPI_RUN/failover

# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../lib/bench.sh"

ROUNDS=${BENCH_ROUNDS:-2}
CLIENTS=${BENCH_CLIENTS:-30}
VARIANTS=${BENCH_ONLY:-mapi stock haproxy}
ANSWER=50       # milliseconds that an answer takes
BEFORE=3        # seconds of load
GONE=6
AFTER=12        # stock nginx looks again after 10
VICTIM=127.0.0.11
CHECK_URI=/mapi/healthcheck.htm


port_of()
{
    case $1 in
        mapi)     echo "$MAPI" ;;
        stock)    echo "$STOCK" ;;
        haproxy)  echo "$HAPROXY" ;;
        *)        die "unknown variant \"$1\"" ;;
    esac
}


# client n's mailbox is in the database of its number, see failover-load.py

make_directory()
{
    local i

    mkdir "$RUN/csv" "$RUN/lmdb"

    {
        echo ExchangeGuid,PrimarySmtpAddress,Database
        for ((i = 1; i <= CLIENTS + 3; i++)); do
            printf '%08x-0000-4000-8000-%012x,user%d@example.com,DB%d\n' \
                "$i" "$i" "$i" $(((i - 1) % 3 + 1))
        done
    } > "$RUN/csv/mailboxes.csv"

    {
        echo Name,Guid,Server,ActivationPreference
        for i in 1 2 3; do
            echo "DB$i,0000000$i-dddd-4000-8000-000000000000,EX$i,\"[EX$i, 1]\""
        done
    } > "$RUN/csv/databases.csv"

    {
        echo Name,Fqdn,Addresses,AdminDisplayVersion
        for i in 1 2 3; do
            echo "EX$i,ex$i.example.com,127.0.0.1$i,Version 15.2 (Build 1544.4)"
        done
    } > "$RUN/csv/servers.csv"

    if [ -n "${TEST_NGINX_WORKER_USER:-}" ]; then
        chown "root:$TEST_NGINX_WORKER_USER" "$RUN/lmdb"
        chmod 2770 "$RUN/lmdb"
    fi

    "$MAPI_BUILD/mapi-directory" -d "$RUN/lmdb" import \
        --servers "$RUN/csv/servers.csv" \
        --databases "$RUN/csv/databases.csv" \
        --mailboxes "$RUN/csv/mailboxes.csv" > /dev/null
}


nginx_variant()
{
    local modules= http= upstream='hash $arg_MailboxId consistent;' location=

    if [ "$1" = mapi ]; then
        modules=$(front_modules)
        http="mapi_directory $RUN/lmdb;
    mapi_zone mapi 1m;"
        upstream="mapi;
        mapi_health_check interval=500ms timeout=400ms fails=2;"
        location="mapi on;"
    fi

    nginx_conf "$modules" "$RUN/$1"

    cat << CONF
    log_format tries '\$msec \$request_time \$upstream_addr';
    $http
CONF

    mailbox_conf "$upstream" "$BACKEND"

    front_conf "$(port_of "$1")" mailbox \
        "$location access_log $RUN/$1/access.log tries;"
    echo "}"
}


# A refused connection is tried on another server at once, and what hangs on
# a server that is found down is ended: as the module does it.

haproxy_variant()
{
    haproxy_head 4096 always "log stderr format raw local0"

    cat << CONF
listen mapi
    bind 127.0.0.1:$HAPROXY
    balance url_param MailboxId
    hash-type consistent
    option redispatch 1
    option httpchk GET $CHECK_URI
    timeout check 400ms
    log global
    log-format "%[date(0,ms)] %Ta %s %rc"
    default-server check inter 500ms fall 2 rise 2 on-marked-down shutdown-sessions
    server 127.0.0.11:$BACKEND 127.0.0.11:$BACKEND
    server 127.0.0.12:$BACKEND 127.0.0.12:$BACKEND
    server 127.0.0.13:$BACKEND 127.0.0.13:$BACKEND
CONF
}


start_server()  # address
{
    python3 "$HERE/failover-server.py" "$1" "$BACKEND" "$ANSWER" \
        2>> "$RUN/servers/stderr" &
    SERVER=$!
    PIDS+=("$SERVER")
    wait_port "$BACKEND" servers "$1"
}


event()  # name: written with the time
{
    echo "$1 $EPOCHREALTIME" >> "$RUN/events"
}


# the load goes on for so long: here time is what is measured with

load_for() { sleep "$1"; }


# a dead process's sockets are closed when it has been waited for

kill_and_return()
{
    load_for $BEFORE
    event refuse
    kill -9 "$VICTIM_PID"
    wait "$VICTIM_PID" 2> /dev/null || true
    event gone
    load_for $GONE
    start_server "$VICTIM"
    VICTIM_PID=$SERVER
    event back
    load_for $AFTER
    event end
}


silence_and_return()
{
    load_for $BEFORE
    event silence
    kill -STOP "$VICTIM_PID"
    event gone
    load_for $GONE
    kill -CONT "$VICTIM_PID"
    event back
    load_for $AFTER
    event end
}


prepare_run

# it is not the CPU that is measured here: each runs where there is room
ON_CORE=

read -r BACKEND MAPI STOCK HAPROXY < <(free_ports 4)

make_directory
mkdir "$RUN/servers"

start_server "$VICTIM"
VICTIM_PID=$SERVER
start_server 127.0.0.12
start_server 127.0.0.13

TARGETS=()
for variant in $VARIANTS; do
    mkdir "$RUN/$variant"
    if [ "$variant" = haproxy ]; then
        haproxy_variant > "$RUN/haproxy/haproxy.cfg"
    else
        nginx_variant "$variant" > "$RUN/$variant/nginx.conf"
    fi
    start_variant "$variant"
    TARGETS+=("$variant:$(port_of "$variant")")
done

say "load: $CLIENTS clients for each of: $VARIANTS; $ROUNDS rounds of" \
    "$((2 * (BEFORE + GONE + AFTER))) s"

python3 "$HERE/failover-load.py" "$RUN/requests" "$CLIENTS" "${TARGETS[@]}" &
LOAD=$!
PIDS+=("$LOAD")
load_for 2

for ((round = 0; round < ROUNDS; round++)); do
    kill_and_return
    silence_and_return
done

kill "$LOAD"
wait "$LOAD" || true

[ ! -d "${BENCH_KEEP:-/nowhere}" ] || KEEP=$BENCH_KEEP/failover
python3 "$HERE/failover-report.py" "$RUN" "$VICTIM:$BACKEND" ${KEEP:+"$KEEP"}
