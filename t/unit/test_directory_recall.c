
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_directory.h"

#include <fcntl.h>


/*
 * What a process remembers of mailboxes, and the leaves that it has asked for
 * ahead: never another answer than a transaction's, and never an old one.
 */


#define NOW  1000000


typedef struct {
    unsigned  n;           /* mailboxes 1 to n */
    unsigned  first;       /* mailbox i is in database first + i % 3 */
    unsigned  spread;      /* or of so many */
    unsigned  archives;    /* of the first mailboxes */
    unsigned  tell;        /* the addresses name the first database */
    unsigned  far;         /* addresses that are long */
} many_t;


/* spread as GUIDs are, or counted up */

static mapi_guid_t
many_guid(unsigned i)
{
    uint64_t     h;
    mapi_guid_t  guid;

    if (i % 4 == 0) {
        guid = unit_guid(i);
        guid.b[14] = 4;
        return guid;
    }

    h = (i + 1) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 29;
    memcpy(guid.b, &h, 8);
    h *= 0xbf58476d1ce4e5b9ULL;
    h ^= h >> 32;
    memcpy(guid.b + 8, &h, 8);

    return guid;
}


static mapi_guid_t
many_archive(unsigned i)
{
    mapi_guid_t  guid;

    guid = many_guid(i);
    guid.b[0] ^= 0x5a;
    guid.b[13] ^= 0xa5;

    return guid;
}


static size_t
many_smtp(char *buf, const many_t *m, unsigned i)
{
    return (size_t) sprintf(buf, "user%u.%u@%0*u.example", i,
                            m->tell ? m->first : 0, m->far ? 300 : 4, 7);
}


static int
write_many(mapi_directory_writer_t *w, void *data)
{
    const many_t *m = data;

    int                     rc;
    char                    buf[400];
    size_t                  n;
    unsigned                i;
    mapi_str_t              s;
    mapi_guid_t             guid;
    mapi_arena_t            arena;
    unsigned char          *p;
    mapi_directory_bulk_t   bulk;
    mapi_directory_item_t  *items;

    memset(&arena, 0, sizeof(arena));
    memset(&bulk, 0, sizeof(bulk));

    items = calloc(2 * (size_t) m->n, sizeof(mapi_directory_item_t));
    n = 0;

    for (i = 1; i <= m->n; i++) {
        s.len = many_smtp(buf, m, i);
        s.data = (unsigned char *) buf;

        items[n].guid = many_guid(i);
        items[n].line = i;
        items[n].data = p = mapi_arena_bytes(&arena, 60 + s.len);

        *p++ = (i <= m->archives) ? MAPI_MAILBOX_ARCHIVE
                                  : (i % 5 == 0) ? MAPI_MAILBOX_HTTP_OFF : 0;

        guid = unit_guid(m->first + i % (m->spread ? m->spread : 3));
        memcpy(p, guid.b, 16);
        p += 16;

        if (i <= m->archives) {
            guid = many_archive(i);
            memcpy(p, guid.b, 16);
            guid = unit_guid(m->first + (i + 1) % 3);
            memcpy(p + 16, guid.b, 16);
            p += 32;
        }

        p = mapi_directory_text_put(p, mapi_text_smtp, &s);
        items[n].len = (uint32_t) (p - items[n].data);
        n++;

        if (i <= m->archives) {
            items[n].guid = many_archive(i);
            items[n].line = i;
            items[n].data = p = mapi_arena_bytes(&arena, 17);
            items[n].len = 17;
            p[0] = MAPI_MAILBOX_ALIAS;
            guid = many_guid(i);
            memcpy(p + 1, guid.b, 16);
            n++;
        }
    }

    w->ndatabases = 0;
    w->nservers = 0;

    bulk.items = items;
    bulk.n = n;
    bulk.replace = 1;

    rc = mapi_directory_store_mailboxes(w, &bulk);

    mapi_arena_free(&arena);
    free(items);

    return rc;
}


static void
id_of(mapi_identity_t *id, const mapi_guid_t *guid)
{
    memset(id, 0, sizeof(mapi_identity_t));
    id->kind = mapi_identity_guid;
    id->guid = *guid;
}


/* as a request does without memory; the number of the database or 0 */

static unsigned
lookup(mapi_directory_t *d, const mapi_guid_t *guid, char *smtp)
{
    int              rc;
    mapi_mailbox_t   m;
    mapi_identity_t  id;

    id_of(&id, guid);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    rc = mapi_directory_mailbox(d, &id, &m);

    if (rc == MAPI_OK) {
        (void) sprintf(smtp, "%.*s", (int) m.smtp.len, m.smtp.data);
    }

    mapi_directory_end(d);

    return (rc == MAPI_OK) ? m.database.b[0] + m.database.b[1] * 256u : 0;
}


/* from memory; 0 if that does not tell */

static unsigned
recall_at(mapi_directory_t *d, const mapi_guid_t *guid, char *smtp, time_t now)
{
    mapi_str_t       s;
    mapi_guid_t      database;
    unsigned char    room[256];
    mapi_identity_t  id;

    id_of(&id, guid);

    s.data = room;
    s.len = sizeof(room);

    if (mapi_directory_recall(d, &id, now, &database, smtp ? &s : NULL)
        != MAPI_OK)
    {
        return 0;
    }

    if (smtp) {
        (void) sprintf(smtp, "%.*s", (int) s.len, room);
    }

    assert_false(mapi_guid_is_null(&database));

    return database.b[0] + database.b[1] * 256u;
}


static unsigned
recall(mapi_directory_t *d, const mapi_guid_t *guid, char *smtp)
{
    return recall_at(d, guid, smtp, NOW);
}


/* as a request does, with all that is there; *recalled counts */

static unsigned
request(mapi_directory_t *d, const mapi_guid_t *guid, char *smtp,
    unsigned *recalled)
{
    unsigned         n;
    mapi_identity_t  id;

    id_of(&id, guid);

    mapi_directory_warm(d, &id);
    mapi_directory_warm_again(d, &id, smtp != NULL);

    n = recall(d, guid, smtp);

    if (n) {
        (*recalled)++;
        return n;
    }

    return lookup(d, guid, smtp);
}


static void
test_recall(void **state)
{
    char               smtp[400];
    char              *path;
    many_t             m;
    mapi_str_t         s;
    mapi_guid_t        guid, archive, none, database;
    mapi_identity_t    id;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 10;
    m.first = 101;
    m.archives = 2;

    path = unit_folder();
    unit_write(path, write_many, &m);
    d = dir_open(path);

    guid = many_guid(1);
    archive = many_archive(1);
    none = many_guid(99);

    /* nothing has begun yet */

    assert_int_equal(recall(d, &guid, NULL), 0);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);
    assert_int_equal(recall(d, &guid, NULL), 0);

    assert_int_equal(lookup(d, &guid, smtp), 102);
    assert_int_equal(recall(d, &guid, NULL), 102);
    assert_int_equal(recall(d, &guid, smtp), 102);
    assert_string_equal(smtp, "user1.0@0007.example");

    /* an archive lives elsewhere, and belongs to whom it did */

    assert_int_equal(lookup(d, &archive, smtp), 103);
    assert_int_equal(recall(d, &archive, smtp), 103);
    assert_string_equal(smtp, "user1.0@0007.example");
    assert_int_equal(recall(d, &guid, NULL), 102);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    {
        mapi_mailbox_t  box;

        id_of(&id, &archive);
        assert_int_equal(mapi_directory_mailbox(d, &id, &box), MAPI_OK);
        assert_memory_equal(box.guid.b, guid.b, 16);
        assert_true(box.is_archive);
        assert_true(box.mapi_enabled);

        id.guid = many_guid(5);
        assert_int_equal(mapi_directory_mailbox(d, &id, &box), MAPI_OK);
        assert_false(box.mapi_enabled);
        assert_int_equal(mapi_directory_mailbox(d, &id, &box), MAPI_OK);
        assert_false(box.mapi_enabled);
        assert_false(box.is_archive);
    }
    mapi_directory_end(d);

    /* who is unknown is not remembered; nor is a name */

    assert_int_equal(lookup(d, &none, smtp), 0);
    assert_int_equal(recall(d, &none, NULL), 0);

    id_of(&id, &guid);
    id.kind = mapi_identity_smtp;
    assert_int_equal(mapi_directory_recall(d, &id, NOW, &database, NULL),
                     MAPI_DECLINED);

    /* an address that has no room is not cut */

    id_of(&id, &guid);
    s.data = (unsigned char *) smtp;
    s.len = strlen("user1.0@0007.example") - 1;
    smtp[0] = '-';
    assert_int_equal(mapi_directory_recall(d, &id, NOW, &database, &s),
                     MAPI_DECLINED);
    assert_int_equal(smtp[0], '-');
    s.len++;
    assert_int_equal(mapi_directory_recall(d, &id, NOW, &database, &s),
                     MAPI_OK);

    /* each second begins with a look at the folder */

    assert_int_equal(recall_at(d, &guid, NULL, NOW + 1), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_OK);
    mapi_directory_end(d);
    assert_int_equal(recall_at(d, &guid, NULL, NOW + 1), 102);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_commit(void **state)
{
    char               smtp[400];
    char              *path;
    many_t             m;
    unsigned           i, n;
    mapi_guid_t        guid;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 10;
    m.tell = 1;

    path = unit_folder();
    d = dir_open(path);
    guid = many_guid(3);
    n = 0;

    for (i = 1; i < 40; i++) {
        m.first = 100 + 3 * i;
        unit_write(path, write_many, &m);

        /* not one more answer after the commit, in the same second */

        assert_int_equal(recall(d, &guid, NULL), 0);
        assert_int_equal(recall(d, &guid, smtp), 0);

        if (i == 1) {
            assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
            mapi_directory_end(d);
        }

        /* what began in one state ends in it */

        assert_int_equal(request(d, &guid, smtp, &n), m.first);
        assert_int_equal(request(d, &guid, smtp, &n), m.first);
        assert_int_equal(n, i);

        assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
        assert_int_equal(lookup(d, &guid, smtp), m.first);
        m.first++;
        unit_write(path, write_many, &m);
        assert_int_equal(recall(d, &guid, NULL), 0);
        assert_int_equal(lookup(d, &guid, smtp), m.first - 1);
        mapi_directory_end(d);

        assert_int_equal(recall(d, &guid, NULL), 0);
        assert_int_equal(lookup(d, &guid, smtp), m.first);
        assert_int_equal(recall(d, &guid, NULL), m.first);
    }

    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_replaced(void **state)
{
    char               a[4200], b[4200], smtp[400];
    char              *path;
    many_t             m;
    mapi_guid_t        guid;
    mapi_directory_t  *d, *two;

    memset(&m, 0, sizeof(m));
    m.n = 2000;
    m.first = 100;

    path = unit_folder();
    (void) snprintf(a, sizeof(a), "%s/a", path);
    (void) snprintf(b, sizeof(b), "%s/b", path);

    /* of the same size, and as many commits */

    unit_write(a, write_many, &m);
    m.first = 200;
    unit_write(b, write_many, &m);

    d = dir_open(a);
    guid = many_guid(3);
    assert_int_equal(lookup(d, &guid, smtp), 100);
    assert_int_equal(recall(d, &guid, smtp), 100);

    unit_run("mv '%s' '%s.old'", a, a);
    unit_run("mv '%s' '%s'", b, a);

    assert_int_equal(recall_at(d, &guid, smtp, NOW + 1), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_OK);
    mapi_directory_end(d);
    assert_int_equal(recall_at(d, &guid, smtp, NOW + 1), 0);

    /* a leaf that was asked for before is of the other file */

    {
        unsigned         i;
        mapi_guid_t      g;
        mapi_mailbox_t   box;
        mapi_identity_t  id;

        for (i = 1; i <= m.n; i++) {
            g = many_guid(i);
            id_of(&id, &g);
            mapi_directory_warm_again(d, &id, 1);
            assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_OK);
            assert_int_equal(mapi_directory_mailbox(d, &id, &box), MAPI_OK);
            assert_int_equal(box.database.b[0], 200 + i % 3);
            mapi_directory_end(d);
        }
    }

    /* two handles of one file: one's larger map is not the other's */

    two = dir_open(a);
    (void) snprintf(b, sizeof(b), "%s/./a", path);
    mapi_directory_close(two);
    two = dir_open(b);

    assert_int_equal(lookup(two, &guid, smtp), 200);
    assert_int_equal(recall(two, &guid, smtp), 200);

    m.n = 60000;
    m.first = 300;
    m.far = 1;
    unit_write(a, write_many, &m);

    assert_int_equal(recall(two, &guid, smtp), 0);
    assert_int_equal(recall_at(d, &guid, smtp, NOW + 1), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_OK);
    mapi_directory_end(d);
    assert_int_equal(recall(two, &guid, smtp), 0);
    assert_int_equal(lookup(two, &guid, smtp), 300);

    /* an address of more than there is room for: only where it lives */

    assert_int_equal(recall(two, &guid, smtp), 0);
    assert_int_equal(recall(two, &guid, NULL), 300);

    mapi_directory_close(two);
    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_cut(void **state)
{
    char               name[4200], smtp[400];
    char              *path;
    many_t             m;
    mapi_guid_t        guid;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 2000;
    m.first = 100;

    path = unit_folder();
    (void) snprintf(name, sizeof(name), "%s/data.mdb", path);
    unit_write(path, write_many, &m);
    d = dir_open(path);
    guid = many_guid(3);
    assert_int_equal(lookup(d, &guid, smtp), 100);
    assert_int_equal(recall(d, &guid, smtp), 100);

    /* a file that became too short: let go, with all that was known of it */

    assert_int_equal(truncate(name, 12288), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_DECLINED);
    assert_int_equal(recall_at(d, &guid, smtp, NOW + 1), 0);
    assert_int_equal(recall_at(d, &guid, smtp, NOW), 0);

    {
        mapi_identity_t  id;

        id_of(&id, &guid);
        mapi_directory_warm(d, &id);
        mapi_directory_warm_again(d, &id, 1);
    }

    mapi_directory_close(d);
    unit_folder_end(path);
}


/* what was asked for before a commit is no answer after the next lookup */

static void
test_asked(void **state)
{
    char               smtp[400];
    char              *path;
    many_t             m;
    mapi_guid_t        guid, other;
    mapi_identity_t    id;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 10;
    m.first = 102;

    path = unit_folder();
    unit_write(path, write_many, &m);
    d = dir_open(path);
    guid = many_guid(3);
    other = many_guid(4);
    id_of(&id, &guid);

    assert_int_equal(lookup(d, &guid, smtp), 102);
    mapi_directory_warm_again(d, &id, 0);

    m.first = 402;
    unit_write(path, write_many, &m);

    assert_int_equal(lookup(d, &other, smtp), 403);
    assert_int_equal(recall(d, &guid, NULL), 0);
    assert_int_equal(lookup(d, &guid, smtp), 402);

    /* nor of one mailbox for the other */

    mapi_directory_warm_again(d, &id, 0);
    assert_int_equal(recall(d, &other, NULL), 403);
    assert_int_equal(recall(d, &guid, NULL), 402);

    mapi_directory_close(d);
    unit_folder_end(path);
}


/* a file that somebody has written to, in place: both meta pages count */

static void
test_written(void **state)
{
    int                fd;
    char               name[4200], smtp[400];
    char              *path;
    many_t             m;
    uint64_t           txnid[2], other;
    unsigned           i;
    mapi_guid_t        guid;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 10;
    m.first = 102;

    path = unit_folder();
    (void) snprintf(name, sizeof(name), "%s/data.mdb", path);
    unit_write(path, write_many, &m);
    unit_write(path, write_many, &m);
    unit_write(path, write_many, &m);
    d = dir_open(path);
    guid = many_guid(3);
    assert_int_equal(lookup(d, &guid, smtp), 102);

    fd = open(name, O_RDWR);
    assert_true(fd != -1);

    for (i = 0; i < 2; i++) {
        assert_int_equal(pread(fd, &txnid[i], 8, i * sysconf(_SC_PAGESIZE)
                                                 + 144),
                         8);
    }

    assert_int_equal(mapi_directory_page_meta(d)->txnid,
                     txnid[0] > txnid[1] ? txnid[0] : txnid[1]);

    for (i = 0; i < 2; i++) {
        assert_int_equal(recall(d, &guid, NULL), 102);

        for (other = txnid[i] ? txnid[i] - 1 : 9; /* void */ ;
             other += 1000)
        {
            assert_int_equal(pwrite(fd, &other, 8, i * sysconf(_SC_PAGESIZE)
                                                   + 144),
                             8);

            if (other >= 1000) {
                break;
            }

            if (txnid[i] > txnid[!i]) {
                assert_int_equal(recall(d, &guid, NULL), 0);
            }
        }

        assert_int_equal(recall(d, &guid, NULL), 0);
        assert_int_equal(recall(d, &guid, smtp), 0);

        assert_int_equal(pwrite(fd, &txnid[i], 8, i * sysconf(_SC_PAGESIZE)
                                                  + 144),
                         8);
    }

    assert_int_equal(recall(d, &guid, smtp), 102);

    (void) close(fd);
    mapi_directory_close(d);
    unit_folder_end(path);
}


/* databases of many commits, and more than are remembered of one */

static void
test_databases(void **state)
{
    char               smtp[400];
    char              *path;
    many_t             m;
    unsigned           i, round, n, recalled;
    mapi_guid_t        guid;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 9000;

    path = unit_folder();
    unit_write(path, write_many, &m);
    d = dir_open(path);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);

    for (round = 0; round < 6; round++) {
        m.first = 1 + 2500 * round;
        m.spread = (round == 2) ? 9000 : 2500;
        unit_write(path, write_many, &m);
        recalled = 0;

        for (i = 0; i < 2 * m.n; i++) {

            if (i == m.n) {
                recalled = 0;
            }

            n = i % m.n + 1;
            guid = many_guid(n);
            assert_int_equal(request(d, &guid, smtp, &recalled),
                             m.first + n % m.spread);
        }

        assert_true(recalled > ((round == 2) ? 1000 : 8900));
    }

    mapi_directory_close(d);
    unit_folder_end(path);
}


/* more mailboxes than two lines hold, in every order */

static void
test_many(void **state)
{
    char               smtp[400], want[400];
    char              *path;
    many_t             m;
    unsigned           i, round, n, recalled, first;
    mapi_guid_t        guid;
    mapi_directory_t  *d;

    memset(&m, 0, sizeof(m));
    m.n = 250000;
    m.first = 500;
    m.archives = 50000;

    path = unit_folder();
    unit_write(path, write_many, &m);
    d = dir_open(path);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);

    first = 0;

    for (round = 0; round < 3; round++) {
        recalled = 0;

        for (i = 1; i <= m.n; i++) {
            n = (unsigned) (i * 7919ULL % m.n) + 1;

            guid = many_guid(n);
            assert_int_equal(request(d, &guid, smtp, &recalled),
                             500 + n % 3);
            (void) many_smtp(want, &m, n);
            assert_string_equal(smtp, want);

            if (n <= m.archives) {
                guid = many_archive(n);
                assert_int_equal(request(d, &guid, smtp, &recalled),
                                 500 + (n + 1) % 3);
                assert_string_equal(smtp, want);
            }

            /* nobody has this one */

            if (n % 10 == 0) {
                guid.b[15] ^= 0x77;
                assert_int_equal(request(d, &guid, smtp, &recalled), 0);
            }
        }

        if (round == 0) {
            first = recalled;
        }
    }

    /* nearly all are remembered */

    assert_int_equal(first, 0);
    assert_true(recalled > (m.n + m.archives) * 0.97);

    mapi_directory_close(d);
    unit_folder_end(path);
}


/*
 * Someone commits all the time.  Every state is of one piece: the address
 * tells the database.  An answer is as new as the last commit that had ended
 * before the question.
 */

static void
test_writer(void **state)
{
    int                status;
    char               smtp[400], want[400];
    char              *path;
    pid_t              pid;
    many_t             m;
    unsigned           i, n, at, got, before, after, recalled, commits;
    mapi_guid_t        guid;
    unsigned          *done;
    mapi_directory_t  *d;

    done = mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                -1, 0);
    assert_true(done != MAP_FAILED);

    memset(&m, 0, sizeof(m));
    m.n = 300;
    m.first = 3;
    m.tell = 1;

    path = unit_folder();
    unit_write(path, write_many, &m);
    done[0] = 3;
    done[1] = 3;

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        int                       rc;
        mapi_directory_writer_t  *w;

        w = mapi_directory_writer_open(path, 1, &rc);

        while (rc == MAPI_OK && done[2] == 0 && m.first < 60000) {
            m.first += 3;
            __atomic_store_n(&done[0], m.first, __ATOMIC_SEQ_CST);
            rc = mapi_directory_transact(w, 0, write_many, &m);
            __atomic_store_n(&done[1], m.first, __ATOMIC_SEQ_CST);

            if (m.first % 2) {
                usleep(200);
            }
        }

        mapi_directory_writer_close(w);
        _exit(rc == MAPI_OK ? 0 : 1);
    }

    d = dir_open(path);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);

    recalled = 0;
    commits = 0;
    at = 0;

    for (i = 0; (recalled < 20000 || commits < 300) && i < 3000000; i++) {
        n = i % 7 + 1 + (i / 5000) % 20 * 10;
        guid = many_guid(n);
        n %= 3;

        before = __atomic_load_n(&done[1], __ATOMIC_SEQ_CST);
        got = request(d, &guid, smtp, &recalled);
        after = __atomic_load_n(&done[0], __ATOMIC_SEQ_CST);

        assert_true(got >= before + n);
        assert_true(got <= after + n);

        m.first = got - n;
        assert_int_equal(m.first % 3, 0);
        (void) many_smtp(want, &m, i % 7 + 1 + (i / 5000) % 20 * 10);
        assert_string_equal(smtp, want);

        commits += (m.first != at);
        at = m.first;
    }

    done[2] = 1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    assert_true(commits > 100);
    assert_true(recalled > 1000);

    assert_int_equal(munmap(done, 4096), 0);
    mapi_directory_close(d);
    unit_folder_end(path);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_recall),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_writer)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
