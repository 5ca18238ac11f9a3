#!/bin/bash
#
# Worker CPU per request of the mapi balancer, side by side with stock nginx
# and HAProxy: "./build.sh bench routing", explained in docs/benchmarks.md.
#
#   BENCH_ROUNDS     rounds that are measured (default 9)
#   BENCH_SECONDS    of load for each variant in each of them (default 2)
#   BENCH_WARM       of load for each before it is measured (default 4)
#   BENCH_TURN       seconds until the next variant has its turn (default 0.3)
#   BENCH_MAILBOXES  in the directory (default 1000000)
#   BENCH_ASKED      of them asked for (default 40000)
#   BENCH_ONLY       variants to compare with stock, of: buffered hash
#                    directory unseen cookie headers zone everything access log
#                    haproxy; and, with TLS on both sides, tls-stock tls-hash
#                    tls-directory tls-cookie tls-everything tls-haproxy
#                    (default all but access and log, which log.sh measures)
#   BENCH_INSTRUCTIONS=no   does not count instructions
#   BENCH_ANSWERS=length    answers have a Content-Length, and no chunks
#   BENCH_KEEP       a folder that gets the files of callgrind and perf

set -euo pipefail

BENCH=${BENCH_NAME:-routing}
RUN=$MAPI_RUN/$BENCH

# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../lib/bench.sh"

ROUNDS=${BENCH_ROUNDS:-9}
SECONDS_EACH=${BENCH_SECONDS:-2}
TURN=${BENCH_TURN:-0.3}
MAILBOXES=${BENCH_MAILBOXES:-1000000}
VARIANTS="stock ${BENCH_ONLY:-buffered hash directory unseen cookie headers zone
    everything haproxy tls-stock tls-hash tls-directory tls-cookie
    tls-everything tls-haproxy}"
ASKED=${BENCH_ASKED:-40000}
UNSEEN=400000
COOKIES=5000
CONNECTIONS=64
WARM=${BENCH_WARM:-4}

# adds no header in any direction, as stock nginx
BARE="mapi_headers off; mapi_forwarded_for off; mapi_introduce off;"

# shellcheck disable=SC2206
EACH=($VARIANTS)
ROUND=$((SECONDS_EACH * ${#EACH[@]}))

export BENCH_TEMPLATE=$HERE/routing-request.txt


port_of()
{
    echo "${PORTS[$1]}"
}


# what a variant does: its name without "tls-"

kind_of()
{
    echo "${1#tls-}"
}


has_tls()
{
    [ "$(kind_of "$1")" != "$1" ]
}


has_variant()
{
    case " ${EACH[*]} " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}


# what a server's location says: an answer in two chunks and their end, at once,
# as a recorded Gromox answers all but PING; or in one piece

answer_conf()
{
    if [ "${BENCH_ANSWERS:-chunks}" = length ]; then
        echo "        location / { return 200 \"$ANSWER_META$ANSWER_PAYLOAD\"; }"
        return
    fi

    cat << CONF
        addition_types *;

        location / {
            add_after_body /payload;
            return 200 "$ANSWER_META";
        }

        location = /payload {
            internal;
            return 200 "$ANSWER_PAYLOAD";
        }
CONF
}


# three mailbox servers in one process, fast, with the headers of a real one

backend_conf()
{
    nginx_conf "" "$RUN/backend" 16384

    cat << CONF
    map \$server_addr \$name {
        127.0.0.11 EX1;
        127.0.0.12 EX2;
        127.0.0.13 EX3;
    }

    server {
        listen 127.0.0.11:$BACKEND;
        listen 127.0.0.12:$BACKEND;
        listen 127.0.0.13:$BACKEND;
        listen 127.0.0.11:$BACKEND_TLS ssl;
        listen 127.0.0.12:$BACKEND_TLS ssl;
        listen 127.0.0.13:$BACKEND_TLS ssl;

        ssl_certificate $RUN/tls.crt;
        ssl_certificate_key $RUN/tls.key;

        add_header Cache-Control private;
        add_header X-RequestType \$http_x_requesttype;
        add_header X-ResponseCode 0;
        add_header X-RequestId \$http_x_requestid;
        add_header X-ClientInfo \$http_x_clientinfo;
        add_header X-ServerApplication Exchange/15.02.1544.004;
        add_header X-ExpirationInfo 900000;
        add_header X-PendingPeriod 15000;
        add_header X-FEServer \$name;
        add_header X-BEServer \$name;
        add_header X-DiagInfo \$name;
        add_header request-id 3fae9a43-5f26-4b7f-9fb2-1a5eb8d1f4ca;
        add_header Set-Cookie "MapiSequence=32-n0Jv3g==; path=/mapi/emsmdb; secure; HttpOnly";

$(answer_conf)
    }
}
CONF
}


# "stock" and the module: the same settings but for what is measured

proxy_conf()  # variant, port, folder
{
    local buffering=off http= kind lines= location= upstream= modules=
    local port=$BACKEND tls=

    kind=$(kind_of "$1")

    if has_tls "$1"; then
        tls=$RUN/tls
        port=$BACKEND_TLS
    fi

    case $kind in
        buffered)  buffering=on ;;
        hash)      upstream="hash \$arg_MailboxId consistent;" ;;

        # stock nginx passes headers as they are: so do these, and what ours
        # cost is another variant

        directory|unseen)
                   http="mapi_directory $RUN/lmdb;"
                   lines=$BARE ;;

        headers)   http="mapi_directory $RUN/lmdb;" ;;

        # what an administrator would want to know without a log of our own

        access)    http="mapi_directory $RUN/lmdb;
    log_format twenty '\$time_iso8601 \$request_id \$remote_addr \$host '
        '\$request_method \$uri \$args \$status \$upstream_status '
        '\$mapi_target \$mapi_route \$mapi_anchor \$mapi_database '
        '\$request_length \$body_bytes_sent \$http_user_agent '
        '\$http_x_requesttype \$http_x_requestid \$upstream_response_time '
        '\$request_time';"
                   lines="access_log $3/access.log twenty buffer=64k;" ;;

        zone)      http="mapi_directory $RUN/lmdb;
    mapi_zone mapi 64m;" ;;

        everything) http="mapi_directory $RUN/lmdb;
    mapi_zone mapi 64m;
    mapi_log $3/rows;" ;;

        log)       http="mapi_directory $RUN/lmdb;
    mapi_log $3/rows;" ;;

        # wrk sends the cookies it began with, where clients send back the
        # last answer's: a lifetime so long that both are the same

        cookie)    http="mapi_affinity_key $RUN/key;
    mapi_affinity_cookie MapiAffinity lifetime=30d;"
                   lines=$BARE ;;
    esac

    case $kind in
        directory|unseen|cookie|headers|zone|everything|access|log)
            modules=$(front_modules)
            upstream="mapi;"
            location="mapi on; $lines" ;;
    esac

    nginx_conf "$modules" "$3"

    echo "    $http"
    mailbox_conf "$upstream" "$port"

    front_conf "$2" mailbox "$location" "$buffering" "$tls"
    echo "}"
}


haproxy_conf()  # variant
{
    local bind= port=$BACKEND server=

    if has_tls "$1"; then
        cat "$RUN/tls.crt" "$RUN/tls.key" > "$RUN/tls.pem"
        bind="ssl crt $RUN/tls.pem"
        server="ssl verify required ca-file $RUN/tls.crt sni str(mail.example.com)"
        port=$BACKEND_TLS
    fi

    haproxy_head 4096 always

    cat << CONF
listen mapi
    bind 127.0.0.1:$(port_of "$1") $bind
    balance roundrobin
    cookie SRV insert indirect nocache
    server ex1 127.0.0.11:$port cookie ex1 $server
    server ex2 127.0.0.12:$port cookie ex2 $server
    server ex3 127.0.0.13:$port cookie ex3 $server
CONF
}


make_directory()
{
    local csv=$RUN/csv

    make_csv "$MAILBOXES" 60 "$csv"
    mailboxes_of "$csv" | shuf -n "$((ASKED + UNSEEN))" > "$RUN/mailboxes"
    head -n "$ASKED" "$RUN/mailboxes" > "$RUN/known"
    tail -n "+$((ASKED + 1))" "$RUN/mailboxes" > "$RUN/unseen-keys"

    say "$MAILBOXES mailboxes: import"
    import_csv "$csv" "$RUN/lmdb"
    rm -rf "$csv"
}


prepare_variant()
{
    mkdir "$RUN/$1"

    if [ "$(kind_of "$1")" = haproxy ]; then
        haproxy_conf "$1" > "$RUN/$1/haproxy.cfg"
    else
        proxy_conf "$1" "$(port_of "$1")" "$RUN/$1" > "$RUN/$1/nginx.conf"
    fi
}


# what each variant's clients ask for

make_keys()
{
    local i

    python3 -c 'import sys, uuid
for i in range(int(sys.argv[1])): print(uuid.uuid4())' \
        "$COOKIES" > "$RUN/unknown"

    if [ ! -e "$RUN/known" ]; then
        cp "$RUN/unknown" "$RUN/known"
    fi

    for i in "${EACH[@]}"; do
        KEYS[$i]=$RUN/known
    done

    if has_variant unseen; then
        KEYS[unseen]=$RUN/unseen-keys
    fi

    if has_variant cookie; then
        say "cookie: $COOKIES first answers"
        python3 "$HERE/routing-client.py" "$(port_of cookie)" "$RUN/unknown" \
            "$COOKIES" --save "$RUN/cookies" >&2
        KEYS[cookie]=$RUN/cookies
        KEYS[tls-cookie]=$RUN/cookies
    fi

    awk '{ print $1 " SRV=ex" NR % 3 + 1 }' "$RUN/unknown" \
        > "$RUN/haproxy-keys"
    KEYS[haproxy]=$RUN/haproxy-keys
    KEYS[tls-haproxy]=$RUN/haproxy-keys
}


# It is no use to be fast and wrong: 20 mailboxes reach the server that the
# directory names, and the cookie's clients the server that they had.

check_routes()
{
    local mailbox expected got server

    if has_variant directory; then
        for mailbox in $(shuf -n 20 "$RUN/known"); do
            expected=$("$MAPI_BUILD/mapi-directory" -d "$RUN/lmdb" \
                       lookup "$mailbox" | sed -n 's/^server: *//p')
            expected=${expected%%.*}
            echo "$mailbox" > "$RUN/one"
            got=$(python3 "$HERE/routing-client.py" "$(port_of directory)" \
                  "$RUN/one" 1)
            [ "${got%=1}" = "${expected^^}" ] \
                || die "mailbox $mailbox is on $expected, but reached $got"
        done
        say "directory: 20 mailboxes of 20 reach their servers"
    fi

    if has_variant cookie; then
        shuf -n 300 "$RUN/cookies" > "$RUN/some"
        got=$(python3 "$HERE/routing-client.py" "$(port_of cookie)" \
              "$RUN/some" 300 --save "$RUN/again")
        say "cookie: 300 mailboxes with cookies reach $got"
    fi
}


# a log that is fast and wrong is none: every request has its row

check_rows()
{
    local asked rows

    has_variant log || return 0

    stop_variant log

    rows=$(cat "$RUN"/log/rows/HttpProxy_*.LOG | grep -c ',Mapi,mail')
    asked=$(awk '{ for (i = 1; i < NF; i += 3) if ($i == "log") n += $(i + 2) }
                 END { print n }' "$RUN/warm-up" "$RUN/results")

    say "log: $rows rows of $asked requests, on average" \
        "$(($(cat "$RUN"/log/rows/* | wc -c) / rows)) bytes;" \
        "access_log: $(($(wc -c < "$RUN/access/access.log") / $(wc -l < "$RUN/access/access.log")))"
    [ "$rows" -ge "$asked" ] || die "rows are missing"
}


# start_load VARIANT SEED SECONDS [EACH]: wrk against a variant

start_load()
{
    local scheme=http

    if has_tls "$1"; then scheme=https; fi

    BENCH_KEYS=${KEYS[$1]} BENCH_SEED=$2 BENCH_EACH=${4:-} \
        $ON_CORE wrk -t 1 -c $CONNECTIONS -d "${3}s" --timeout 60s \
            -s "$HERE/routing.lua" "$scheme://127.0.0.1:$(port_of "$1")" \
        > "$RUN/wrk.$1" 2>&1 &
    LOADS[$1]=$!
}


# the machine may have needed the memory that holds the file

read_directory()
{
    [ ! -e "$RUN/lmdb/data.mdb" ] || cat "$RUN/lmdb/data.mdb" > /dev/null
}


# As after some minutes of work: all have been asked for, but in "unseen", where
# hardly anybody ever is again.

warm_up()
{
    local line requests variant

    for variant in "${EACH[@]}"; do
        start_load "$variant" 1 "$WARM" yes
        wait "${LOADS[$variant]}" || true
        line=$(grep '^RESULT' "$RUN/wrk.$variant") \
            || die "$variant: $(tail -n 3 "$RUN/wrk.$variant")"
        read -r _ requests _ <<< "$line"

        if [ "$variant" != unseen ] \
            && [ "$requests" -lt "$(wc -l < "${KEYS[$variant]}")" ]
        then
            say "$variant: only $requests were asked for in the warm-up"
        fi

        echo "$variant 0 $requests" >> "$RUN/warm-up"
    done
}


# A round: every variant has its own wrk, and they take turns of a few tenths
# of a second, so that whatever else this machine does meets all alike.  Writes
# "VARIANT NANOSECONDS REQUESTS" lines, on one line, into the file.

measure_round()  # seed, file
{
    local after before=() errors line requests status variant

    for variant in "${EACH[@]}"; do
        before+=("$(cut -d' ' -f1 "/proc/${WORKER[$variant]}/schedstat")")
        start_load "$variant" "$1" "$ROUND"
    done

    python3 "$HERE/routing-turns.py" "$TURN" \
        $(for variant in "${EACH[@]}"; do echo "${LOADS[$variant]}"; done)

    set -- "$2" "${before[@]}"

    for variant in "${EACH[@]}"; do
        wait "${LOADS[$variant]}" || true
        line=$(grep '^RESULT' "$RUN/wrk.$variant") \
            || die "$variant: $(tail -n 3 "$RUN/wrk.$variant")"
        after=$(cut -d' ' -f1 "/proc/${WORKER[$variant]}/schedstat")

        read -r _ requests status errors _ <<< "$line"
        [ "$status" = 0 ] && [ "$errors" = 0 ] \
            || die "$variant: $status failed answers, $errors failed connections"

        printf '%s %s %s ' "$variant" "$((after - $2))" "$requests" >> "$1"
        set -- "$1" "${@:3}"
    done

    echo >> "$1"
}


measure_cpu()
{
    local round

    say "load: $CONNECTIONS connections each, turns of $TURN s, $ROUNDS rounds" \
        "of $ROUND s: ${EACH[*]}"

    for ((round = 0; round < ROUNDS; round++)); do
        read_directory
        restart_variants
        warm_up

        measure_round "$((round + 1))" "$RUN/results"
        [ ! -t 2 ] || printf '\rround %d of %d ' "$round" "$ROUNDS" >&2
    done
    [ ! -t 2 ] || printf '\r                    \r' >&2
}


# where the time goes, for who asked: perf's samples of each worker under load

profile()
{
    local perfs=() variant

    [ -d "${BENCH_KEEP:-/nowhere}" ] || return 0
    command -v perf > /dev/null || return 0

    for variant in "${EACH[@]}"; do
        perf record -q -e cpu-clock -F 4000 -p "${WORKER[$variant]}" \
            -o "$BENCH_KEEP/perf.$variant" 2> /dev/null &
        perfs+=("$!")
    done

    measure_round 1 "$BENCH_KEEP/requests"
    kill -INT "${perfs[@]}"
    wait "${perfs[@]}" || true
}


# Instructions outside the kernel, counted by valgrind: the same in every run,
# so a second measure that no neighbour of this machine disturbs.

measure_instructions()
{
    local count first folder second variant

    command -v valgrind > /dev/null \
        || { say "no valgrind, instructions are not counted"; return; }

    say "instructions: a few minutes in valgrind"

    for variant in "${EACH[@]}"; do
        case $variant in haproxy|buffered|unseen|tls-*) continue ;; esac

        head -n 200 "${KEYS[$variant]}" > "$RUN/few"

        # what start and first requests take falls out of the difference
        for count in 400 2400; do
            folder=$RUN/$variant-$count
            mkdir "$folder"
            proxy_conf "$variant" "$TRACED" "$folder" > "$folder/nginx.conf"

            valgrind --tool=callgrind --log-file="$folder/valgrind" \
                --callgrind-out-file="$folder/callgrind" \
                "$NGINX" -p "$folder" -c "$folder/nginx.conf" \
                -g 'daemon off; master_process off;' 2> "$folder/stderr" &
            PIDS+=("$!")
            wait_port "$TRACED" "$variant-$count" 127.0.0.1

            python3 "$HERE/routing-client.py" "$TRACED" "$RUN/few" "$count" \
                > /dev/null
            kill -QUIT "${PIDS[-1]}"
            wait "${PIDS[-1]}" || true
            unset "PIDS[-1]"
        done

        if [ -d "${BENCH_KEEP:-/nowhere}" ]; then
            cp "$folder/callgrind" "$BENCH_KEEP/callgrind.$variant"
        fi

        first=$(sed -n 's/.*Collected : *//p' "$RUN/$variant-400/valgrind")
        second=$(sed -n 's/.*Collected : *//p' "$RUN/$variant-2400/valgrind")
        echo "$variant $(((second - first) / 2000))" >> "$RUN/instructions"
    done
}


declare -A KEYS LOADS PORTS

prepare_run

read -r BACKEND BACKEND_TLS TRACED < <(free_ports 3)

i=0
for port in $(free_ports "${#EACH[@]}"); do
    PORTS[${EACH[i++]}]=$port
done

make_certificate

openssl rand -hex 32 > "$RUN/key"
mkdir "$RUN/backend"
backend_conf > "$RUN/backend/nginx.conf"
start_nginx "$RUN/backend" "$ON_CORE"
wait_port "$BACKEND" backend 127.0.0.11

case ${EACH[*]} in
    *directory*|*headers*|*zone*|*everything*|*log*) make_directory ;;
esac

for variant in "${EACH[@]}"; do
    prepare_variant "$variant"
    start_variant "$variant"
done

make_keys
check_routes

measure_cpu
profile
[ "${BENCH_INSTRUCTIONS:-yes}" = no ] || measure_instructions

check_rows

python3 "$HERE/routing-report.py" "$RUN/results" "$RUN/instructions"

show_errors
