#!/bin/bash
#
# What the session table costs: "./build.sh bench session", explained in
# docs/benchmarks.md.
#
#   BENCH_SESSIONS   in the table (default 20000)
#   BENCH_SECONDS    of CPU time for each run of the table alone (default 1)
#   BENCH_LOAD       seconds of load for two workers (default 10)
#   BENCH_ROUNDS     runs of each kind, of which the median counts (default 3)

set -euo pipefail

BENCH=session
RUN=$MAPI_RUN/session
VARIANTS=mapi

# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../lib/bench.sh"

SESSIONS=${BENCH_SESSIONS:-20000}
SECONDS_EACH=${BENCH_SECONDS:-1}
ROUNDS=${BENCH_ROUNDS:-3}
LOAD=${BENCH_LOAD:-10}
CONNECTIONS=64


port_of() { echo "$FRONT"; }


compile()
{
    local core=$MAPI_ROOT/ngx_mapi_module/core

    ${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -I "$core" \
        -o "$RUN/session-cost" "$HERE/session-cost.c" \
        "$core"/mapi_session*.c "$core/mapi_siphash.c" "$core/mapi_core.c"
}


# the table alone: one process, two, and two with a lock for all of it

table_alone()
{
    local kind round

    printf '%-34s %10s %10s %12s %16s\n' \
        "the table alone, $SESSIONS sessions" \
        "ns/request" "of it keys" "ns waited" "waits in million"

    for kind in "8 1" "8 2" "1 2"; do
        for ((round = 0; round < ROUNDS; round++)); do
            # shellcheck disable=SC2086
            "$RUN/session-cost" $kind "$SESSIONS" "$SECONDS_EACH"
        done | sort -n -k 3 | awk '
            { line[NR] = $0 }
            END {
                split(line[int((NR + 1) / 2)], f)
                printf "%-34s %10d %10d %12d %16d\n",
                       f[1] (f[1] > 1 ? " parts, " : " part, ") f[2] \
                       (f[2] > 1 ? " processes" : " process"),
                       f[3], f[4], f[5], f[6]
            }'
    done
}


# a server whose Connect opens a session for each mailbox

backend_conf()
{
    nginx_conf "" "$RUN/backend"

    cat << CONF
    map \$http_x_requesttype \$context {
        Connect "MapiContext=MAPIAAAAAPbo6v/k9Mz9z/nA8sP4y/PC9MT8zvjN\$arg_MailboxId; path=/mapi/emsmdb; secure; HttpOnly";
    }

    server {
        listen 127.0.0.11:$BACKEND;

        add_header X-RequestType \$http_x_requesttype;
        add_header X-ResponseCode 0;
        add_header X-RequestId \$http_x_requestid;
        add_header X-ExpirationInfo 900000;
        add_header X-FEServer EX1;
        add_header Set-Cookie "MapiSequence=32-n0Jv3g==; path=/mapi/emsmdb; secure; HttpOnly";
        add_header Set-Cookie \$context;
        return 200 "$ANSWER_META$ANSWER_PAYLOAD";
    }
}
CONF
}


proxy_conf()
{
    nginx_conf "$(front_modules)" "$RUN/mapi" \
        | sed 's/^worker_processes.*/worker_processes 2;/;
               s/^\(error_log.*\) warn;/\1 notice;/'

    cat << CONF
    mapi_zone mapi 64m;

    upstream mailbox {
        mapi;
        server 127.0.0.11:$BACKEND;
        keepalive 256;
        keepalive_requests 1000000000;
    }

CONF

    front_conf "$FRONT" mailbox "mapi on;"
    echo "}"
}


# requests of clients whose sessions are open, through two workers

two_workers()
{
    local errors line opened requests status waits

    mkdir "$RUN/backend" "$RUN/mapi"
    backend_conf > "$RUN/backend/nginx.conf"
    proxy_conf > "$RUN/mapi/nginx.conf"

    start_nginx "$RUN/backend" ""
    wait_port "$BACKEND" backend 127.0.0.11
    start_nginx "$RUN/mapi" ""
    wait_port "$FRONT" mapi 127.0.0.1

    python3 -c 'import sys, uuid
for i in range(int(sys.argv[1])): print(uuid.uuid4())' \
        "$SESSIONS" > "$RUN/mailboxes"

    sed 's/ MapiContext=[^;]*;//; s/^X-RequestType:.*/X-RequestType: Connect/' \
        "$HERE/routing-request.txt" > "$RUN/connect"
    sed 's/ MapiContext=[^;]*;//' "$HERE/routing-request.txt" > "$RUN/execute"

    say "$SESSIONS sessions are opened"
    BENCH_TEMPLATE=$RUN/connect BENCH_COOKIE_NAME=MapiContext \
        python3 "$HERE/routing-client.py" "$FRONT" "$RUN/mailboxes" \
            "$SESSIONS" --save "$RUN/keys" >&2

    say "load: $CONNECTIONS connections, $LOAD s"
    BENCH_TEMPLATE=$RUN/execute BENCH_KEYS=$RUN/keys \
        wrk -t 1 -c "$CONNECTIONS" -d "${LOAD}s" --timeout 60s \
            -s "$HERE/routing.lua" "http://127.0.0.1:$FRONT" \
        > "$RUN/wrk" 2>&1

    line=$(grep '^RESULT' "$RUN/wrk") || die "wrk: $(tail -n 3 "$RUN/wrk")"
    read -r _ requests status errors _ <<< "$line"
    [ "$status" = 0 ] && [ "$errors" = 0 ] \
        || die "$status failed answers, $errors failed connections"

    # what the workers say when they end

    kill -QUIT "$MASTER"
    wait "$MASTER" || true

    line=$(grep -o 'sessions: .*' "$RUN/mapi/error.log" | tail -n 1)
    opened=$(sed -E 's/.* ([0-9]+) opened.*/\1/' <<< "$line")
    waits=$(sed -E 's/.*waited ([0-9]+) times.*/\1/' <<< "$line")

    [ "$opened" = "$SESSIONS" ] || die "of $SESSIONS sessions: $line"

    printf '\ntwo workers under load: %d requests, %d waited for a lock' \
        "$requests" "$waits"
    awk -v w="$waits" -v r="$requests" \
        'BEGIN { printf " (%.0f in a million)\n", 1e6 * w / r }'
}


prepare_run

read -r BACKEND FRONT < <(free_ports 2)

compile
table_alone
two_workers
show_errors
