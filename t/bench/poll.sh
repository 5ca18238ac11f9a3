#!/bin/bash
#
# Memory of hanging NotificationWaits, side by side with stock nginx:
# "./build.sh bench poll", explained in docs/benchmarks.md.
#
#   BENCH_POLLS      clients whose memory is measured (default 2000, or what the
#                    limit of open files allows)
#   BENCH_HEADER     bytes of one more header that clients send (default none)
#   BENCH_ONLY       variants, of: stock mapi tls-stock tls-mapi (default all)

set -euo pipefail

# shellcheck disable=SC2034
BENCH=poll
RUN=$MAPI_RUN/poll

# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../lib/bench.sh"

POLLS=${BENCH_POLLS:-2000}
VARIANTS=${BENCH_ONLY:-stock mapi tls-stock tls-mapi}
FIRST=100       # clients before memory is counted

export BENCH_TEMPLATE=$HERE/routing-request.txt


port_of()
{
    echo "${PORTS[$1]}"
}


# emulated servers in a process of their own, where each wait can be counted

servers_conf()
{
    local i

    nginx_conf "$MAPI_MODULES" "$RUN/servers" $((3 * CLIENTS + 100))

    for i in 1 2 3; do
        cat << CONF
    server {
        listen 127.0.0.1$i:$BACKEND;
        listen 127.0.0.1$i:$BACKEND_TLS ssl;

        ssl_certificate $RUN/tls.crt;
        ssl_certificate_key $RUN/tls.key;

        location /mapi/ {
            mapi_mailbox_server ex$i.corp.example directory=$RUN/lmdb
                                zone=mailbox:64m;
        }
    }
CONF
    done

    cat << CONF
    server {
        listen 127.0.0.1:$CONTROL;
        location / { mapi_mailbox_control; }
    }
}
CONF
}


# Settings are those of the files that administrators include.

front_of()  # variant
{
    local http='' location='' modules='' port=$BACKEND scheme=http tls=''
    local upstream=''

    case $1 in
        tls-*)
            port=$BACKEND_TLS
            scheme=https
            tls="ssl_certificate $RUN/tls.crt;
        ssl_certificate_key $RUN/tls.key;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $RUN/tls.crt;" ;;
    esac

    case $1 in
        *mapi)
            modules=$(front_modules)
            http="mapi_directory $RUN/lmdb;
    mapi_zone mapi 64m;
    mapi_log $RUN/$1/rows;"
            upstream="mapi;"
            location="mapi on;" ;;
    esac

    # nginx closes idle connections when a sixteenth is left

    nginx_conf "$modules" "$RUN/$1" $((3 * CLIENTS + 100))

    echo "    $http"
    mailbox_conf "$upstream" "$port"

    cat << CONF
    server {
        listen 127.0.0.1:$(port_of "$1")${tls:+ ssl};
        server_name mail.example.com;
        include $RUN/mapi_server.conf;
        $tls

        location /mapi/ {
            $location
            proxy_pass $scheme://mailbox;
            include $RUN/mapi_proxy.conf;
        }
    }
}
CONF
}


start_servers()
{
    mkdir "$RUN/servers"
    servers_conf > "$RUN/servers/nginx.conf"
    start_nginx "$RUN/servers" "$ON_CORE"
    wait_port "$BACKEND" servers 127.0.0.11
}


# A process of its own for each: what is freed stays in it.

measure()  # variant
{
    local certificate=''

    case $1 in tls-*) certificate=$RUN/tls.crt ;; esac

    mkdir "$RUN/$1"
    front_of "$1" > "$RUN/$1/nginx.conf"
    start_variant "$1"

    printf '%s ' "$1" >> "$RUN/memory"
    $ON_CORE python3 "$HERE/poll-clients.py" "$(port_of "$1")" \
        "${WORKER[$1]}" "$RUN/mailboxes" $FIRST "$CONTROL" \
        ${certificate:+"$certificate"} >> "$RUN/memory"

    stop_variant "$1"
}


report()
{
    awk -v polls="$POLLS" '
        BEGIN {
            name["stock"] = "stock nginx"
            name["mapi"] = "mapi, with zone and log"
            printf "\n%-26s %10s %9s %12s %18s\n", "a hanging poll, worker of",
                   "KB", "x stock", "open files", "KB of the zone"
        }
        {
            tls = sub(/^tls-/, "", $1)
            if (tls && !said++) print "with TLS on both sides:"
            each = $2 / polls / 1024
            if ($1 == "stock") stock[tls] = each
            ratio = tls in stock ? each / stock[tls] : 0
            if ($1 == "mapi") ratios[tls] = ratio

            printf "%-26s %10.2f %9s %12.2f %18s\n", name[$1], each,
                   ratio ? sprintf("%.3f", ratio) : "", $4 / polls,
                   $1 == "mapi" ? sprintf("%.2f", $3 / polls / 1024) : ""
        }
        END {
            for (tls = 0; tls < 2; tls++) if (ratios[tls])
                printf "memory of a poll, %s TLS: %.3f x stock nginx, " \
                       "at most 1.05 wanted: %s\n", tls ? "with" : "without",
                       ratios[tls], ratios[tls] <= 1.05 ? "PASS" : "over"
        }' "$RUN/memory"
}


declare -A PORTS

prepare_run
most_clients $FIRST
[ "$POLLS" -le "$MOST" ] || POLLS=$MOST
CLIENTS=$((POLLS + FIRST))

read -r BACKEND BACKEND_TLS CONTROL "PORTS[stock]" "PORTS[mapi]" \
    "PORTS[tls-stock]" "PORTS[tls-mapi]" < <(free_ports 7)

cp "$MAPI_ROOT"/docs/conf/mapi_{proxy,server}.conf "$RUN/"
make_certificate
make_csv "$CLIENTS" 60 "$RUN/csv"
mailboxes_of "$RUN/csv" > "$RUN/mailboxes"
import_csv "$RUN/csv" "$RUN/lmdb" > /dev/null
start_servers

say "$POLLS clients after the first $FIRST"

for variant in $VARIANTS; do measure "$variant"; done

report
show_errors
