#!/bin/bash
#
# Logons, pinned requests and memory of pins, side by side with stock nginx and
# HAProxy: "./build.sh bench pin", explained in docs/benchmarks.md.
#
#   BENCH_ROUNDS     rounds that are measured (default 9)
#   BENCH_SECONDS    of load for each row in each of them (default 1)
#   BENCH_TURN       seconds until the next row has its turn (default 0.03)
#   BENCH_PAIRS      clients whose memory is measured (default 2000, or what the
#                    limit of open files allows)
#   BENCH_ONLY       variants to compare with stock, of: pin haproxy (default
#                    both)

set -euo pipefail

BENCH=pin
RUN=$MAPI_RUN/pin

# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../lib/bench.sh"

ROUNDS=${BENCH_ROUNDS:-9}
SECONDS_EACH=${BENCH_SECONDS:-1}
TURN=${BENCH_TURN:-0.03}
PAIRS=${BENCH_PAIRS:-2000}
VARIANTS="stock ${BENCH_ONLY:-pin haproxy}"
CONNECTIONS=64
SERVERS=3
FIRST=100       # clients before memory is counted


# Each variant has a door to servers that let everybody in (plain requests) and,
# but for stock nginx, one to servers that want a logon.

port_of()
{
    case $1 in
        stock)          echo "$STOCK" ;;
        pin)            echo "$PIN" ;;
        pin-logon)      echo "$PIN_LOGON" ;;
        haproxy)        echo "$HAPROXY" ;;
        haproxy-logon)  echo "$HAPROXY_LOGON" ;;
        *)              die "unknown variant \"$1\"" ;;
    esac
}


choose_pairs()
{
    most_clients $FIRST
    [ "$PAIRS" -le "$MOST" ] || PAIRS=$MOST

    ADDRESSES=$((PAIRS + FIRST))

    # nginx closes idle connections when a sixteenth is left
    WORKER_CONNECTIONS=$((3 * ADDRESSES))
}


compile()
{
    local program

    for program in pin-server pin-load; do
        ${CC:-gcc} -std=gnu99 -O2 -Wall -Wextra \
            -o "$RUN/$program" "$HERE/$program.c"
    done

    python3 "$HERE/pin-requests.py" "$HERE/routing-request.txt" "$RUN"
}


start_servers()
{
    mkdir "$RUN/servers"

    $ON_CORE "$RUN/pin-server" open "$OPEN" "$ADDRESSES" \
        2>> "$RUN/servers/stderr" &
    PIDS+=("$!")
    $ON_CORE "$RUN/pin-server" logon "$LOGON" "$ADDRESSES" \
        2>> "$RUN/servers/stderr" &
    PIDS+=("$!")

    wait_port "$OPEN" servers 127.1.0.1
    wait_port "$LOGON" servers 127.1.0.1
}


addresses()  # how many, port
{
    local i

    for ((i = 0; i < $1; i++)); do
        echo "127.1.$((i / 250)).$((i % 250 + 1)):$2"
    done
}


upstream_conf()  # name, servers, port, line
{
    echo "    upstream $1 {"
    addresses "$2" "$3" | sed 's/.*/        server &;/'
    cat << CONF
        keepalive $ADDRESSES;
        keepalive_requests 1000000000;
        $4
    }

CONF
}


nginx_variant()  # variant, servers
{
    local modules= pin=

    if [ "$1" = pin ]; then
        modules=$(front_modules)
        pin="mapi_pin on;"
    fi

    nginx_conf "$modules" "$RUN/$1" "$WORKER_CONNECTIONS"
    upstream_conf open "$2" "$OPEN" "$pin"
    front_conf "$(port_of "$1")" open

    if [ "$1" = pin ]; then
        upstream_conf logon "$2" "$LOGON" "$pin"
        front_conf "$PIN_LOGON" logon
    fi

    echo "}"
}


# connections in reserve are not thrown away while they are counted

haproxy_variant()  # servers
{
    local name

    haproxy_head "$((ADDRESSES + 50))" safe \
        "tune.pool-low-fd-ratio 100
    tune.pool-high-fd-ratio 100"

    for name in open logon; do
        if [ $name = open ]; then
            set -- "$1" "$HAPROXY" "$OPEN"
        else
            set -- "$1" "$HAPROXY_LOGON" "$LOGON"
        fi

        cat << CONF
listen $name
    bind 127.0.0.1:$2
    balance roundrobin
    default-server pool-purge-delay 1h pool-low-conn 1
CONF
        addresses "$1" "$3" | sed 's/.*/    server & &/'
    done
}


configure()  # servers
{
    local variant

    for variant in $VARIANTS; do
        mkdir -p "$RUN/$variant"

        if [ "$variant" = haproxy ]; then
            haproxy_variant "$1" > "$RUN/haproxy/haproxy.cfg"
        else
            nginx_variant "$variant" "$1" > "$RUN/$variant/nginx.conf"
        fi
    done
}


# It is no use to be fast and wrong.

check_logons()
{
    local result variant

    for variant in $VARIANTS; do
        [ "$variant" != stock ] || continue
        result=$(python3 "$HERE/pin-check.py" "$(port_of "$variant-logon")" \
                 "$RUN" 20) \
            || die "$variant: clients are not served as themselves"
        say "$variant: $result"
    done
}


# rows: NAME:PORT:PID:WAY, as pin-load wants them

set_rows()
{
    local variant

    LOGON_ROWS=()
    REQUEST_ROWS=()

    for variant in $VARIANTS; do
        set -- "$(port_of "$variant")" "${WORKER[$variant]}"
        REQUEST_ROWS+=("$variant:$1:$2:plain")

        # there is no logon through a pool: open servers play it
        if [ "$variant" = stock ]; then
            LOGON_ROWS+=("stock:$1:$2:pinned")
            continue
        fi

        set -- "$(port_of "$variant-logon")" "$2"
        LOGON_ROWS+=("$variant-logon:$1:$2:pinned")
        REQUEST_ROWS+=("$variant-logon:$1:$2:pinned")
    done
}


run_load()
{
    $ON_CORE "$RUN/pin-load" "$RUN" "$@"
}


measure_cpu()
{
    local round

    say "load: $CONNECTIONS connections each, turns of $TURN s, $ROUNDS rounds"

    for ((round = 0; round < ROUNDS; round++)); do
        restart_variants
        set_rows
        run_load requests 0.2 "$TURN" $CONNECTIONS "${REQUEST_ROWS[@]}" \
            > /dev/null
        run_load logon 0.2 "$TURN" $CONNECTIONS "${LOGON_ROWS[@]}" > /dev/null

        run_load logon "$SECONDS_EACH" "$TURN" $CONNECTIONS \
            "${LOGON_ROWS[@]}" >> "$RUN/logons"
        run_load requests "$SECONDS_EACH" "$TURN" $CONNECTIONS \
            "${REQUEST_ROWS[@]}" >> "$RUN/requests"
        [ ! -t 2 ] || printf '\rround %d of %d ' "$round" "$ROUNDS" >&2
    done
    [ ! -t 2 ] || printf '\r                    \r' >&2
}


# As many servers as clients, in turn: so every client's first request opens a
# connection, in stock nginx too, where one would be enough for all.  A process
# for each row: what is freed stays in it.

measure_memory()
{
    local i

    say "memory: $PAIRS clients after the first $FIRST, a server for each"
    configure "$ADDRESSES"

    for ((i = 0; i < ${#REQUEST_ROWS[@]}; i++)); do
        restart_variants
        set_rows
        run_load hold $FIRST "$PAIRS" "${REQUEST_ROWS[i]}" >> "$RUN/memory"
    done
}


prepare_run
choose_pairs

read -r OPEN LOGON STOCK PIN PIN_LOGON HAPROXY HAPROXY_LOGON < <(free_ports 7)

compile
start_servers
configure $SERVERS

for variant in $VARIANTS; do start_variant "$variant"; done

check_logons
measure_cpu
measure_memory

python3 "$HERE/pin-report.py" "$RUN/logons" "$RUN/requests" "$RUN/memory" \
    "$PAIRS"

show_errors
