/*
 * What the session table costs a request: usage: session-cost PARTS PROCESSES
 * SESSIONS SECONDS
 *
 * Processes on cores of their own share a table in PARTS parts, each with a
 * mutex as nginx's.  A request hashes the cookie, takes the part's mutex,
 * writes what it did to one of the sessions in random order, and lets go.
 * Prints, a line: parts, processes, CPU nanoseconds a request, of them for
 * the key, nanoseconds that a request waited on average, and how many did, in
 * a million.
 */

#define _GNU_SOURCE

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "mapi_session_table.h"
#include "mapi_siphash.h"


#define COOKIE  92                  /* MapiContext of Exchange 2019 */
#define PARTS   64


typedef struct {
    _Alignas(4096) unsigned long    lock;
    mapi_session_table_t           *table;
} part_t;


typedef struct {
    uint64_t  requests;
    uint64_t  waits;
    uint64_t  waited;               /* nanoseconds */
    uint64_t  nanoseconds;
    uint64_t  lost;
} result_t;


static part_t                     *parts;
static unsigned                    nparts;
static unsigned                    nsessions;
static unsigned char             (*cookies)[COOKIE];

static const mapi_siphash_key_t    secret = { 1, 2 };


static uint64_t
now(clockid_t clock)
{
    struct timespec  ts;

    clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static uint64_t
random_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;

    return *state;
}


static mapi_session_key_t
key_of(unsigned n)
{
    uint64_t            place[2] = { 0x1234567812345678, 0x8765432187654321 };
    mapi_siphash_t      hash;
    mapi_session_key_t  key;

    mapi_siphash128_init(&hash, &secret);
    mapi_siphash_update(&hash, place, sizeof(place));
    mapi_siphash_update(&hash, cookies[n], COOKIE);
    mapi_siphash128_final(&hash, key.h);

    return key;
}


/* ngx_shmtx_lock(), but for the semaphore that it sleeps on in the end */

static void
take(part_t *part, result_t *result)
{
    unsigned       i, n;
    uint64_t       since;
    unsigned long  none = 0;

    if (__atomic_compare_exchange_n(&part->lock, &none, 1, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    {
        return;
    }

    since = now(CLOCK_MONOTONIC);

    for ( ;; ) {
        for (n = 1; n < 2048; n <<= 1) {

            for (i = 0; i < n; i++) {
#if (__i386__ || __x86_64__)
                __asm__ volatile ("pause");
#endif
            }

            none = 0;

            if (__atomic_load_n(&part->lock, __ATOMIC_RELAXED) == 0
                && __atomic_compare_exchange_n(&part->lock, &none, 1, 0,
                                               __ATOMIC_SEQ_CST,
                                               __ATOMIC_SEQ_CST))
            {
                result->waits++;
                result->waited += now(CLOCK_MONOTONIC) - since;
                return;
            }
        }

        sched_yield();
    }
}


static void
give(part_t *part)
{
    __atomic_store_n(&part->lock, 0, __ATOMIC_SEQ_CST);
}


static void
work(unsigned process, double seconds, result_t *result, int touch)
{
    int                    rc;
    part_t                *part;
    cpu_set_t              set;
    uint64_t               begin, end, state = 88172645463325252 + process;
    unsigned               i;
    volatile uint64_t      sink = 0;
    mapi_session_key_t     key;
    mapi_session_done_t    op;
    mapi_session_clock_t   clk = { 1000, 1790000000000, 900000 };

    CPU_ZERO(&set);
    CPU_SET(process % sysconf(_SC_NPROCESSORS_ONLN), &set);
    sched_setaffinity(0, sizeof(set), &set);

    memset(&op, 0, sizeof(op));
    op.type.data = (unsigned char *) "Execute";
    op.type.len = 7;
    op.id.data = (unsigned char *) "{1217E164-939C-4D80-BC0F-406425BAB51A}:31";
    op.id.len = 41;
    op.status = 200;
    op.received = 1800;
    op.sent = 900;

    begin = now(CLOCK_PROCESS_CPUTIME_ID);
    end = begin + (uint64_t) (seconds * 1e9);

    do {
        for (i = 0; i < 1000; i++) {
            key = key_of(random_number(&state) % nsessions);

            if (!touch) {
                sink += key.h[0];
                continue;
            }

            part = &parts[(key.h[0] >> 32) % nparts];

            mapi_session_table_warm_entry(part->table, &key);
            take(part, result);
            rc = mapi_session_table_done(part->table, &key, &op, &clk);
            give(part);

            result->lost += (rc != MAPI_OK);
        }

        result->requests += 1000;
        clk.now++;

    } while (now(CLOCK_PROCESS_CPUTIME_ID) < end);

    result->nanoseconds = now(CLOCK_PROCESS_CPUTIME_ID) - begin;
}


static void *
shared(size_t size)
{
    void  *p;

    p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1,
             0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }

    return p;
}


int
main(int argc, char **argv)
{
    size_t                 size;
    double                 seconds, hash, each;
    part_t                *part;
    result_t              *results, keys_only, sum;
    unsigned               i, j, processes;
    mapi_session_key_t     key;
    mapi_session_who_t     who;
    mapi_session_clock_t   clk = { 1000, 1790000000000, 900000 };

    if (argc != 5) {
        return 2;
    }

    nparts = atoi(argv[1]);
    processes = atoi(argv[2]);
    nsessions = atoi(argv[3]);
    seconds = atof(argv[4]);

    if (nparts < 1 || nparts > PARTS || processes < 1 || nsessions < 1) {
        return 2;
    }

    parts = shared(PARTS * sizeof(part_t));
    cookies = shared((size_t) nsessions * COOKIE);
    results = shared(processes * sizeof(result_t));

    size = (size_t) nsessions * (sizeof(mapi_session_t) + 64) / nparts * 5 / 4
           + 65536;

    for (i = 0; i < nparts; i++) {
        parts[i].table = mapi_session_table_init(shared(size), size);
    }

    memset(&who, 0, sizeof(who));

    for (i = 0; i < nsessions; i++) {
        for (j = 0; j < COOKIE; j++) {
            cookies[i][j] = 'A' + random() % 26;
        }

        key = key_of(i);
        part = &parts[(key.h[0] >> 32) % nparts];
        mapi_session_table_open(part->table, &key, &who, &clk);
    }

    memset(&keys_only, 0, sizeof(keys_only));
    memset(&sum, 0, sizeof(sum));
    work(0, seconds / 4, &keys_only, 0);

    for (i = 0; i < processes; i++) {
        if (fork() == 0) {
            work(i, seconds, &results[i], 1);
            _exit(0);
        }
    }

    while (wait(NULL) > 0) { /* void */ }

    for (i = 0; i < processes; i++) {
        sum.requests += results[i].requests;
        sum.waits += results[i].waits;
        sum.waited += results[i].waited;
        sum.nanoseconds += results[i].nanoseconds;
        sum.lost += results[i].lost;
    }

    if (sum.requests == 0 || sum.lost) {
        fprintf(stderr, "%llu sessions were not found\n",
                (unsigned long long) sum.lost);
        return 1;
    }

    hash = (double) keys_only.nanoseconds / keys_only.requests;
    each = (double) sum.nanoseconds / sum.requests;

    printf("%u %u %.0f %.0f %.0f %.0f\n", nparts, processes, each, hash,
           (double) sum.waited / sum.requests,
           1e6 * sum.waits / sum.requests);

    return 0;
}
