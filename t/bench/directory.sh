#!/bin/bash
#
# Import of mailboxes and their lookup: "./build.sh bench directory", explained
# in docs/benchmarks.md.
#
#   BENCH_MAILBOXES  sizes of the directory (default "1000000 10000000")
#   BENCH_ASKED      mailboxes looked up in a round (default 40000)
#   BENCH_ROUNDS     rounds, of which the median counts (default 9)

set -euo pipefail

# shellcheck disable=SC2034
BENCH=directory
RUN=$MAPI_RUN/directory

# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../lib/bench.sh"

MAILBOXES=${BENCH_MAILBOXES:-1000000 10000000}
ASKED=${BENCH_ASKED:-40000}
ROUNDS=${BENCH_ROUNDS:-9}
DATABASES=600

# bytes on disk for each mailbox while it is imported: its line in the CSV file
# and what the directory takes, with some to spare
ROOM=1000


# with the core's units as they are in the command

compile()
{
    ${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra \
        -I "$MAPI_ROOT/ngx_mapi_module/core" \
        -o "$RUN/directory-cost" "$HERE/directory-cost.c" \
        "$MAPI_ROOT/build/$MAPI_FLAVOUR/core/o/core.a" -llmdb -lcrypto
}


has_room()  # mailboxes
{
    local free wanted=$(($1 * ROOM / 1024 + 1))

    free=$(df -Pk "$RUN" | awk 'NR == 2 { print $4 }')

    [ "$free" -lt "$wanted" ] || return 0

    say "$1 mailboxes are left out: they take $((wanted / 1024)) MB of disk" \
        "below $RUN, where $((free / 1024)) MB are free"
    return 1
}


# Sets IMPORT, seconds, and BYTES, on disk for a mailbox.  The files that are
# imported are in the page cache, what is written is on disk in the end.

import()  # mailboxes
{
    local csv=$RUN/csv-$1

    make_csv "$1" $DATABASES "$csv"

    say "$1 mailboxes: import"
    sync -f "$RUN"
    IMPORT=$( { time -p import_csv "$csv" "$RUN/$1" > "$RUN/import" 2>&1; } \
        2>&1 ) \
        || die "import: $(tail -n 3 "$RUN/import")"
    IMPORT=$(awk '/^real/ { print $2 }' <<< "$IMPORT")

    rm -r "$csv"
    BYTES=$(($(du -sk "$RUN/$1" | cut -f 1) * 1024 / $1))
}


wanted()  # what, value, limit, unit
{
    awk -v what="$1" -v value="$2" -v limit="$3" -v unit="$4" 'BEGIN {
        printf "%s: %s %s, at most %s wanted: %s\n", what, value, unit, limit,
               value <= limit ? "PASS" : "over"
    }'
}


measure()  # mailboxes
{
    local costs kind limit=2

    [ "$1" -le 1000000 ] || limit=5

    import "$1"

    say "$1 mailboxes: lookups"
    costs=$($ON_CORE "$RUN/directory-cost" "$RUN/$1" "$1" $DATABASES \
            "$ASKED" "$ROUNDS")
    rm -r "${RUN:?}/$1"

    awk -v n="$1" -v seconds="$IMPORT" -v bytes="$BYTES" '
        BEGIN {
            name["remembered"] = "by GUID, remembered"
            name["remembered-smtp"] = "... and the address, for the log"
            name["guid"] = "by GUID, not asked for before"
            name["smtp"] = "by address"
            printf "\n%-36s %.2f s, %d bytes a mailbox\n",
                   n " mailboxes: import", seconds, bytes
            printf "%-36s %s\n", "us CPU of a lookup", "median  min..max"
        }
        {
            printf "%-36s %6.3f  %.3f..%.3f\n", name[$1], $2 / 1000, $3 / 1000,
                   $4 / 1000
        }' <<< "$costs"

    # time is wanted of one million; it grows with the number

    [ "$1" != 1000000 ] || wanted "import" "$IMPORT" 15 s
    wanted "on disk" "$BYTES" 400 "bytes a mailbox"

    for kind in guid smtp; do
        wanted "lookup, $kind" \
            "$(awk -v k=$kind '$1 == k { print $2 / 1000 }' <<< "$costs")" \
            "$limit" us
    done
}


prepare_run
compile

for mailboxes in $MAILBOXES; do
    if has_room "$mailboxes"; then measure "$mailboxes"; fi
done
