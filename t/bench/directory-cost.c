/*
 * What a lookup in the directory costs: usage: directory-cost FOLDER MAILBOXES
 * DATABASES EACH ROUNDS
 *
 * FOLDER is the directory of the MAILBOXES and DATABASES that t/lib/gen-csv.py
 * makes up.  A lookup is what a worker does for a request: it asks ahead, asks
 * what this process remembers, and if that is nothing, a read transaction of
 * its own.  Each round has EACH mailboxes, in random order; what is found is
 * checked each time.  Prints, a line: what was looked up, and CPU nanoseconds
 * of a lookup, median, smallest and largest of the rounds.
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/sha.h>

#include "mapi_directory.h"


#define ROUNDS  99


/* one line of the processor's cache */

typedef struct {
    _Alignas(64) mapi_guid_t  guid;
    unsigned                  database;
    unsigned                  len;
    unsigned char             smtp[40];
} asked_t;


typedef enum {
    by_guid = 0,
    by_guid_smtp,                      /* and the address is wanted */
    by_smtp
} way_e;


static mapi_directory_t  *directory;
static mapi_guid_t       *databases;
static unsigned           each;
static unsigned           rounds;
static unsigned           remembered;
static unsigned           wrong;


static uint64_t
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static uint64_t
random_number(void)
{
    static uint64_t  state = 88172645463325252;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;

    return state;
}


static void *
memory(size_t n, size_t size)
{
    void  *p;

    p = aligned_alloc(64, (n * size + 63) / 64 * 64);

    if (p == NULL) {
        perror("aligned_alloc");
        exit(1);
    }

    return p;
}


/* as gen-csv.py has it */

static void
make_up(asked_t *asked, unsigned n, unsigned ndatabases)
{
    int            len;
    char           text[64];
    unsigned char  hash[SHA256_DIGEST_LENGTH];

    len = sprintf(text, "mailbox-%u", n);
    SHA256((unsigned char *) text, len, hash);

    memcpy(asked->guid.b, hash, sizeof(asked->guid.b));
    asked->database = (n - 1) % ndatabases;
    asked->len = sprintf((char *) asked->smtp, "user%06u@corp.example", n);
}


/* so many different mailboxes of all, in random order */

static asked_t *
choose(unsigned wanted, unsigned nmailboxes, unsigned ndatabases)
{
    asked_t   *asked;
    unsigned  *numbers, i, k, n;

    asked = memory(wanted, sizeof(asked_t));
    numbers = memory(nmailboxes, sizeof(unsigned));

    for (i = 0; i < nmailboxes; i++) {
        numbers[i] = i + 1;
    }

    for (i = 0; i < wanted; i++) {
        k = i + random_number() % (nmailboxes - i);
        n = numbers[k];
        numbers[k] = numbers[i];
        make_up(&asked[i], n, ndatabases);
    }

    free(numbers);

    return asked;
}


static inline void
look_up(const asked_t *asked, way_e way, time_t second)
{
    int              rc;
    unsigned char    text[256];
    mapi_str_t       smtp;
    mapi_guid_t      database;
    mapi_mailbox_t   mailbox;
    mapi_identity_t  id;

    memset(&id, 0, sizeof(mapi_identity_t));

    if (way == by_smtp) {
        id.kind = mapi_identity_smtp;
        id.text.data = (unsigned char *) asked->smtp;
        id.text.len = asked->len;

    } else {
        id.kind = mapi_identity_guid;
        id.guid = asked->guid;
    }

    smtp.data = text;
    smtp.len = sizeof(text);

    mapi_directory_warm(directory, &id);
    mapi_directory_warm_again(directory, &id, way == by_guid_smtp);

    rc = mapi_directory_recall(directory, &id, second, &database,
                               way == by_guid_smtp ? &smtp : NULL);

    if (rc == MAPI_OK) {
        remembered++;

    } else {
        if (mapi_directory_begin(directory, second) != MAPI_OK) {
            wrong++;
            return;
        }

        rc = mapi_directory_mailbox(directory, &id, &mailbox);

        if (rc == MAPI_OK) {
            database = mailbox.database;

            if (way == by_guid_smtp) {
                smtp.len = mailbox.smtp.len;
                memcpy(text, mailbox.smtp.data, mailbox.smtp.len);
            }

            rc = memcmp(mailbox.guid.b, asked->guid.b, 16) ? MAPI_ERROR
                                                           : MAPI_OK;
        }

        mapi_directory_end(directory);
    }

    if (rc != MAPI_OK
        || memcmp(database.b, databases[asked->database].b, 16) != 0
        || (way == by_guid_smtp
            && (smtp.len != asked->len
                || memcmp(text, asked->smtp, asked->len) != 0)))
    {
        wrong++;
    }
}


/* CPU nanoseconds of a lookup */

static double
turn(const asked_t *asked, way_e way)
{
    time_t    second;
    uint64_t  begin;
    unsigned  i;

    /* once a second a worker looks whether the folder is the same: not here */

    second = time(NULL);

    if (mapi_directory_begin(directory, second) != MAPI_OK) {
        fprintf(stderr, "directory-cost: %s\n",
                mapi_directory_error(directory));
        exit(1);
    }

    mapi_directory_end(directory);

    remembered = 0;
    begin = now();

    for (i = 0; i < each; i++) {
        look_up(&asked[i], way, second);
    }

    return (double) (now() - begin) / each;
}


static int
compare(const void *a, const void *b)
{
    double  x = *(const double *) a, y = *(const double *) b;

    return (x > y) - (x < y);
}


/*
 * Rounds of a kind, each "step" mailboxes behind the last one.  So many of a
 * round have to be remembered.
 */

static void
measure(const char *what, const asked_t *asked, unsigned step, way_e way,
    unsigned least, unsigned most)
{
    double    ns[ROUNDS];
    unsigned  i;

    for (i = 0; i < rounds; i++) {
        ns[i] = turn(&asked[i * step], way);

        if (wrong || remembered < least || remembered > most) {
            fprintf(stderr, "directory-cost: %s: of %u lookups %u went wrong, "
                    "%u were remembered\n", what, each, wrong, remembered);
            exit(1);
        }
    }

    qsort(ns, rounds, sizeof(double), compare);

    printf("%s %.0f %.0f %.0f\n", what, ns[rounds / 2], ns[0],
           ns[rounds - 1]);
}


int
main(int argc, char **argv)
{
    char         text[64];
    asked_t     *asked, *last;
    unsigned     i, most, nmailboxes, ndatabases;
    mapi_str_t   path;

    if (argc != 6) {
        return 2;
    }

    nmailboxes = atoi(argv[2]);
    ndatabases = atoi(argv[3]);
    each = atoi(argv[4]);
    rounds = atoi(argv[5]);

    if (ndatabases == 0 || rounds == 0 || rounds > ROUNDS) {
        return 2;
    }

    /* each round its own, and those that are remembered */

    if (each > nmailboxes / (rounds + 1)) {
        each = nmailboxes / (rounds + 1);
    }

    if (each == 0) {
        return 2;
    }

    databases = memory(ndatabases, sizeof(mapi_guid_t));

    for (i = 0; i < ndatabases; i++) {
        sprintf(text, "dbdbdbdb-0000-4000-8000-%012x", i + 1);
        (void) mapi_guid_parse(&databases[i], (unsigned char *) text, 36);
    }

    asked = choose(each * (rounds + 1), nmailboxes, ndatabases);

    path.data = (unsigned char *) argv[1];
    path.len = strlen(argv[1]);

    directory = mapi_directory_open(&path);
    if (directory == NULL) {
        return 1;
    }

    /* a lookup by address reads the same pages, and nothing is remembered */

    for (i = 0; i <= rounds; i++) {
        (void) turn(&asked[i * each], by_smtp);
    }

    /* the last ones, several times: what is remembered is lost as it grows */

    last = &asked[rounds * each];

    for (i = 0; i < 3; i++) {
        (void) turn(last, by_guid);
    }

    /* a few have no room in their lines */

    most = each - each / 20;

    measure("remembered", last, 0, by_guid, most, each);
    measure("remembered-smtp", last, 0, by_guid_smtp, most, each);
    measure("guid", asked, each, by_guid, 0, 0);
    measure("smtp", asked, each, by_smtp, 0, 0);

    return 0;
}
