# What benchmarks share: included by them, of no use alone.
#
# Who includes this sets BENCH (the benchmark's name), RUN (its folder) and
# VARIANTS, and has a function port_of VARIANT.

HERE=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
NGINX=${TEST_NGINX_BINARY:-nginx}

# glibc gives memory at the end of the heap back and asks for it again, many
# times a second or never, as the heap happens to lie: none of them does here

export MALLOC_TRIM_THRESHOLD_=1073741824

# the body of a mailbox server's answer, as nginx's configuration writes it

# shellcheck disable=SC2034
ANSWER_META="PROCESSING\r\nDONE\r\nX-ElapsedTime: 5\r\nX-StartTime: Mon, 02 Mar 2026 10:11:12 GMT\r\n\r\n"
# shellcheck disable=SC2034
ANSWER_PAYLOAD=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

PIDS=()
declare -A MASTERS WORKER

say() { printf '%s\n' "bench $BENCH: $*" >&2; }
die() { say "$*"; exit 1; }


stop_all()
{
    local pid

    for pid in "${PIDS[@]}"; do kill "$pid" 2> /dev/null || true; done
    wait 2> /dev/null || true
}


prepare_run()
{
    trap stop_all EXIT
    trap 'exit 130' INT TERM HUP

    case ${MAPI_FLAVOUR:-} in
        *sanitize*) die "with sanitizers there is nothing to measure" ;;
    esac

    mkdir -p "$RUN"
    choose_cores
}


# All of them share a core, and none interrupts another (SCHED_BATCH).  With a
# core each, the slower proxy pays the faster client for it: a core that has run
# out of work must be woken by an interrupt, which costs the sender.

choose_cores()
{
    ON_CORE="taskset -c $(($(nproc) - 1)) chrt -b 0"
}


free_ports()  # how many
{
    python3 -c 'import socket, sys
s = [socket.socket() for i in range(int(sys.argv[1]))]
for x in s: x.bind(("", 0))
print(*[x.getsockname()[1] for x in s])' "$1"
}


# the lines that load what a front end needs, and not the emulator

front_modules()
{
    printf '%s\n' "$MAPI_MODULES" | grep -v mailbox_module || true
}


# an upstream block "mailbox" of three servers, with more lines in front

mailbox_conf()  # lines, port
{
    cat << CONF
    upstream mailbox {
        $1
        server 127.0.0.11:$2;
        server 127.0.0.12:$2;
        server 127.0.0.13:$2;
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 110s;
    }

CONF
}


nginx_conf()  # modules, folder, connections
{
    cat << CONF
$1
${TEST_NGINX_WORKER_USER:+user $TEST_NGINX_WORKER_USER;}
worker_processes 1;
pid $2/pid;
error_log $2/error.log warn;

events {
    worker_connections ${3:-1024};
}

http {
    access_log off;
    server_tokens off;
    default_type application/mapi-http;
    keepalive_timeout 90s;
    keepalive_requests 1000000000;
    request_pool_size 16k;
    client_header_buffer_size 2k;
    large_client_header_buffers 8 64k;
    client_body_temp_path $2/body;
    proxy_temp_path $2/proxy;
    fastcgi_temp_path $2/fastcgi;
    uwsgi_temp_path $2/uwsgi;
    scgi_temp_path $2/scgi;

CONF
}


# The server block of a front end: the settings of docs/conf/mapi_proxy.conf.
# With a certificate, both sides have TLS.

front_conf()  # port, upstream, line of the location, proxy_buffering, CERTIFICATE
{
    local tls=

    if [ -n "${5:-}" ]; then
        tls="ssl_certificate $5.crt;
        ssl_certificate_key $5.key;
        proxy_ssl_server_name on;
        proxy_ssl_name mail.example.com;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $5.crt;"
    fi

    cat << CONF
    server {
        listen 127.0.0.1:$1${tls:+ ssl};
        $tls

        location /mapi/ {
            ${3:-}
            proxy_pass http${tls:+s}://$2;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$host;
            proxy_buffering ${4:-off};
            proxy_max_temp_file_size 0;
            proxy_connect_timeout 3s;
            proxy_read_timeout 120s;
            proxy_socket_keepalive on;
            client_body_buffer_size 320k;
            client_max_body_size 1m;
        }
    }
CONF
}


haproxy_head()  # connections, http-reuse, lines of "global"
{
    cat << CONF
global
    nbthread 1
    maxconn $1
    ${3:-}

defaults
    mode http
    timeout connect 3s
    timeout client 90s
    timeout server 120s
    option http-keep-alive
    http-reuse $2

CONF
}


# a client and its connection to a server are two open files of a proxy, and
# HAProxy wants some of its own: sets MOST, how many clients there can be beside
# the first ones

most_clients()  # first ones
{
    local limit

    ulimit -n "$(ulimit -Hn)"
    limit=$(ulimit -n)
    [ "$limit" != unlimited ] || limit=1000000

    MOST=$(((limit - 300) / 2 - $1))
    [ "$MOST" -gt 0 ] || die "a limit of $limit open files is too low"
}


# for both sides: the name that clients use, and the servers', as Exchange has it

make_certificate()
{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -days 30 -subj /CN=mail.example.com \
        -addext subjectAltName=DNS:mail.example.com \
        -keyout "$RUN/tls.key" -out "$RUN/tls.crt" 2> "$RUN/openssl"
}


make_csv()  # mailboxes, databases, folder
{
    say "$1 mailboxes: making the CSV files"
    python3 "$HERE/../lib/gen-csv.py" --mailboxes "$1" --databases "$2" \
        --servers 3 --addresses 127.0.0.11,127.0.0.12,127.0.0.13 --out "$3"
}


import_csv()  # folder of the CSV files, directory
{
    mkdir "$2"
    if [ -n "${TEST_NGINX_WORKER_USER:-}" ]; then
        chown "root:$TEST_NGINX_WORKER_USER" "$2"
        chmod 2770 "$2"
    fi

    $ON_CORE "$MAPI_BUILD/mapi-directory" -d "$2" import \
        --servers "$1/servers.csv" --databases "$1/databases.csv" \
        --mailboxes "$1/mailboxes.csv"
}


mailboxes_of()  # folder of the CSV files
{
    python3 -c 'import csv, sys
for row in csv.DictReader(open(sys.argv[1], encoding="utf-8-sig")):
    print(row["ExchangeGuid"])' "$1/mailboxes.csv"
}


# start_nginx FOLDER CORE-PREFIX: sets MASTER

start_nginx()
{
    $2 "$NGINX" -p "$1" -c "$1/nginx.conf" -g 'daemon off;' \
        2>> "$1/stderr" &
    MASTER=$!
    PIDS+=("$MASTER")
}


wait_port()  # port, who, address
{
    local i

    for i in {1..200}; do
        if (: < "/dev/tcp/$3/$1") 2> /dev/null; then return; fi
        sleep 0.05
    done

    cat "$RUN/$2/stderr" "$RUN/$2/error.log" >&2 2> /dev/null || true
    die "$2 does not listen on $3:$1"
}


start_variant()
{
    local children

    if [ -e "$RUN/$1/haproxy.cfg" ]; then
        $ON_CORE haproxy -db -f "$RUN/$1/haproxy.cfg" 2> "$RUN/$1/stderr" &
        MASTER=$!
        PIDS+=("$MASTER")
        wait_port "$(port_of "$1")" "$1" 127.0.0.1
        WORKER[$1]=$MASTER

    else
        start_nginx "$RUN/$1" "$ON_CORE"
        wait_port "$(port_of "$1")" "$1" 127.0.0.1
        children=$(< "/proc/$MASTER/task/$MASTER/children")
        WORKER[$1]=${children%% *}
    fi

    MASTERS[$1]=$MASTER
}


stop_variant()
{
    kill "${MASTERS[$1]}"
    wait "${MASTERS[$1]}" 2> /dev/null || true
}


# How a process lies in memory makes it a tenth faster or slower for as long as
# it lives: now and then rounds get processes of their own, and a warm-up.

restart_variants()
{
    local variant

    for variant in $VARIANTS; do
        stop_variant "$variant"
        start_variant "$variant"
    done
}


show_errors()
{
    grep -h -E '\[(alert|emerg|crit|error)\]' "$RUN"/*/error.log >&2 || true
}
