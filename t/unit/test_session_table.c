
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"

/* itself, to damage what nobody else can reach */
#include "mapi_session_table.c"


#define MINUTE  60000ULL


static mapi_session_clock_t   clk;
static mapi_session_t         copy;


static mapi_session_key_t
key_of(uint64_t n)
{
    mapi_session_key_t  key;

    /* as scattered as hashes are */

    n += 1;
    key.h[0] = n * 0x9e3779b97f4a7c15ULL ^ (n >> 7);
    key.h[1] = (n ^ (n << 21)) * 0xd6e8feb86659fd93ULL;
    key.h[1] ^= key.h[1] >> 32;

    return key;
}


static mapi_session_who_t
who_is(const char *anchor, uint64_t guid, uint64_t name)
{
    mapi_session_who_t  who;

    memset(&who, 0, sizeof(who));

    who.owner[0] = guid;
    who.owner[1] = name;
    who.endpoint = 1;
    who.anchor = unit_str(anchor);
    who.server = unit_str("ex1.contoso.com");
    who.address = unit_str("192.0.2.7");

    return who;
}


static mapi_session_done_t
op_is(const char *type, const char *id)
{
    mapi_session_done_t  op;

    memset(&op, 0, sizeof(op));

    op.type = unit_str(type);
    op.id = unit_str(id);
    op.start = clk.wall;
    op.status = 200;

    return op;
}


static void
start(void)
{
    clk.now = 1000000;
    clk.wall = 1790000000000LL;
    clk.timeout = 15 * MINUTE;
}


static void
pass(uint64_t ms)
{
    clk.now += ms;
    clk.wall += (int64_t) ms;
}


static void
opens(mapi_session_table_t *t, uint64_t n)
{
    mapi_session_key_t  key = key_of(n);
    mapi_session_who_t  who = who_is("otto@contoso.com", n + 1, 0);

    mapi_session_table_open(t, &key, &who, &clk);
}


static int
has(mapi_session_table_t *t, uint64_t n)
{
    mapi_session_key_t  key = key_of(n);

    return mapi_session_table_find(t, &key, &clk) == MAPI_OK;
}


static int
does(mapi_session_table_t *t, uint64_t n, mapi_session_done_t op)
{
    mapi_session_key_t  key = key_of(n);

    return mapi_session_table_done(t, &key, &op, &clk);
}


static int
begins(mapi_session_table_t *t, uint64_t n, mapi_session_done_t op)
{
    mapi_session_key_t  key = key_of(n);

    return mapi_session_table_begin(t, &key, &op, &clk);
}


static mapi_session_totals_t
totals(mapi_session_table_t *t)
{
    mapi_session_totals_t  sum;

    memset(&sum, 0, sizeof(sum));
    mapi_session_table_totals(t, &clk, &sum);

    return sum;
}


/* the session of that number, in "copy" */
static int
reads(mapi_session_table_t *t, uint64_t n)
{
    uint32_t  pos = 0;
    uint64_t  owner[2] = { n + 1, 0 };

    return mapi_session_table_scan(t, &pos, 1000000, owner, &clk, &copy);
}


static uint32_t
count_by_scan(mapi_session_table_t *t)
{
    int       rc;
    uint32_t  n = 0, pos = 0, calls = 0;

    while ((rc = mapi_session_table_scan(t, &pos, 3, NULL, &clk, &copy))
           != MAPI_ERROR)
    {
        n += (rc == MAPI_OK);
        assert_true(++calls < 10000000);
    }

    return n;
}


static void
text_is(const mapi_str_t *got, const char *expected)
{
    unit_assert_str(got, expected);
}


#define assert_text(text, expected)                                           \
    {                                                                         \
        mapi_str_t  view;                                                     \
        mapi_session_view(&view, &(text));                                    \
        text_is(&view, expected);                                             \
    }


/* every size: too small is none, nothing is written behind the block */
static void
test_sizes(void **state)
{
    size_t                 size, n;
    uint64_t               i;
    unit_edge_t            e;
    mapi_session_table_t  *t;

    start();
    e = unit_edge_create(65536);

    for (size = 0; size <= 65536; size += 8) {
        if (size > 8192) {
            size += 1016;
        }

        t = mapi_session_table_init(unit_edge_tail(&e, size), size);

        if (size < 2048) {
            assert_null(t);
        }

        if (t == NULL) {
            continue;
        }

        n = totals(t).room;
        assert_true(n >= 1 && n * sizeof(mapi_session_t) < size);

        for (i = 0; i < n + 3; i++) {
            opens(t, i);
        }

        assert_int_equal(totals(t).count, n);
        assert_int_equal(count_by_scan(t), n);
        assert_true(has(t, n + 2));
        assert_false(has(t, 0));
    }

    unit_edge_destroy(&e);
}


static mapi_session_table_t *
table(unit_edge_t *e, size_t size)
{
    start();
    *e = unit_edge_create(size);

    return mapi_session_table_init(unit_edge_tail(e, size), size);
}


/* what is written of who has it and what was done, and read again */
static void
test_contents(void **state)
{
    unsigned               i;
    char                   id[16];
    unit_edge_t            e;
    mapi_guid_t            guid;
    mapi_session_key_t     key = key_of(0);
    mapi_session_who_t     who;
    mapi_session_done_t    op;
    mapi_session_table_t  *t = table(&e, 65536);

    memset(guid.b, 7, sizeof(guid.b));

    who = who_is("otto@contoso.com", 1, 2);
    who.mailbox = &guid;
    who.upstream = unit_str("exchange");
    who.application = unit_str("Outlook/16.0.4266.1001");
    who.agent = unit_str("Microsoft Office/16.0");
    who.user = unit_str("CONTOSO\\otto");

    mapi_session_table_open(t, &key, &who, &clk);
    pass(2000);

    for (i = 1; i <= 20; i++) {
        sprintf(id, "{A}:%u", i);
        op = op_is("Execute", id);
        op.code = (i % 2) ? 0 : 15;
        op.duration = i;
        op.pending = i + 1;
        op.received = 100;
        op.sent = 1000;
        assert_int_equal(does(t, 0, op), MAPI_OK);
    }

    assert_int_equal(reads(t, 0), MAPI_OK);

    assert_memory_equal(&copy.key, &key, sizeof(key));
    assert_true(copy.has_mailbox);
    assert_memory_equal(&copy.mailbox, &guid, sizeof(guid));
    assert_int_equal(copy.endpoint, 1);
    assert_text(copy.anchor, "otto@contoso.com");
    assert_text(copy.upstream, "exchange");
    assert_text(copy.server, "ex1.contoso.com");
    assert_text(copy.address, "192.0.2.7");
    assert_text(copy.application, "Outlook/16.0.4266.1001");
    assert_text(copy.agent, "Microsoft Office/16.0");
    assert_text(copy.user, "CONTOSO\\otto");
    assert_int_equal(copy.last - copy.created, 2000);
    assert_int_equal(copy.requests, 20);
    assert_int_equal(copy.failures, 10);
    assert_int_equal(copy.received, 2000);
    assert_int_equal(copy.sent, 20000);

    /* the latest of each kind, the latest first */

    for (i = 0; i < MAPI_SESSION_COMPLETED; i++) {
        assert_non_null(mapi_session_completed(&copy, i));
        assert_int_equal(mapi_session_completed(&copy, i)->duration,
                         19 - 2 * i);
        assert_int_equal(mapi_session_completed(&copy, i)->pending,
                         20 - 2 * i);
    }

    assert_null(mapi_session_completed(&copy, i));

    for (i = 0; i < MAPI_SESSION_FAILED; i++) {
        assert_int_equal(mapi_session_failed(&copy, i)->duration, 20 - 2 * i);
        assert_int_equal(mapi_session_failed(&copy, i)->code, 15);
    }

    assert_null(mapi_session_failed(&copy, i));
    assert_text(mapi_session_failed(&copy, 0)->id, "{A}:20");
    assert_text(mapi_session_failed(&copy, 0)->type, "Execute");

    /* a repeated opening describes anew, and forgets nothing */

    who.application = unit_str("Outlook/17");
    who.mailbox = NULL;
    mapi_session_table_open(t, &key, &who, &clk);
    assert_int_equal(totals(t).count, 1);
    assert_int_equal(reads(t, 0), MAPI_OK);
    assert_text(copy.application, "Outlook/17");
    assert_false(copy.has_mailbox);
    assert_int_equal(copy.requests, 20);

    unit_edge_destroy(&e);
}


/* what counts as failed */
static void
test_failures(void **state)
{
    size_t                 i;
    unit_edge_t            e;
    mapi_session_done_t    op;
    mapi_session_table_t  *t = table(&e, 65536);

    static const struct {
        int       code;
        unsigned  status;
        int       closed;
        int       failed;
    } cases[] = {
        { 0, 200, mapi_session_closed_none, 0 },
        { -1, 200, mapi_session_closed_none, 0 },
        { 10, 200, mapi_session_closed_none, 1 },
        { 32768, 200, mapi_session_closed_none, 1 },
        { 65536, 200, mapi_session_closed_none, 1 },
        { INT32_MAX, 200, mapi_session_closed_none, 1 },
        { 0, 500, mapi_session_closed_none, 1 },
        { 0, 302, mapi_session_closed_none, 0 },
        { 0, 404, mapi_session_closed_none, 1 },
        { -1, 0, mapi_session_closed_none, 1 },
        { 0, 200, mapi_session_closed_client, 1 },
        { 0, 200, mapi_session_closed_server, 1 }
    };

    for (i = 0; i < unit_items(cases); i++) {
        opens(t, i);
        op = op_is("Execute", "1");
        op.code = cases[i].code;
        op.status = cases[i].status;
        op.closed = cases[i].closed;
        assert_int_equal(does(t, i, op), MAPI_OK);
        assert_int_equal(reads(t, i), MAPI_OK);
        assert_int_equal(copy.failures, cases[i].failed);
        assert_int_equal(mapi_session_failed(&copy, 0) != NULL,
                         cases[i].failed);

        if (cases[i].code > 0) {
            assert_true(mapi_session_failed(&copy, 0)->code > 0);
        }

        assert_int_equal(mapi_session_completed(&copy, 0) != NULL,
                         !cases[i].failed);
    }

    unit_edge_destroy(&e);
}


/* texts that are too long are cut at a character, none is read too far */
static void
test_texts(void **state)
{
    size_t                 n;
    char                   s[300], *p;
    unit_edge_t            e, input;
    mapi_session_key_t     key = key_of(0);
    mapi_session_who_t     who;
    mapi_session_done_t    op;
    mapi_session_table_t  *t = table(&e, 65536);

    input = unit_edge_create(sizeof(s));

    for (n = 0; n < sizeof(s); n++) {
        memset(s, 'a', n);

        /* a character of two bytes over each border, now and then */

        for (p = s + (n & 1); p + 1 < s + n; p += 2) {
            memcpy(p, "\xc3\xa4", 2);
        }

        who = who_is("", 1, 0);
        who.anchor.data = unit_edge_copy(&input, s, n);
        who.anchor.len = n;
        who.user = who.server = who.address = who.agent = who.anchor;
        mapi_session_table_open(t, &key, &who, &clk);

        op = op_is("", "");
        op.type = op.id = who.anchor;
        op.worker = 5;
        assert_int_equal(begins(t, 0, op), MAPI_OK);
        assert_int_equal(does(t, 0, op), MAPI_OK);

        assert_int_equal(reads(t, 0), MAPI_OK);
        assert_true(copy.anchor.len == (n < 127 ? n : copy.anchor.len));
        assert_true(copy.anchor.len <= 127 && copy.anchor.len + 1 >= (int)
                    (n < 127 ? n : 127));
        assert_memory_equal(copy.anchor.data, s, copy.anchor.len);
        assert_true(copy.anchor.len == n
                    || ((unsigned char) s[copy.anchor.len] & 0xc0) != 0x80);
        assert_false(mapi_session_is_active(&copy));
    }

    unit_edge_destroy(&input);
    unit_edge_destroy(&e);
}


/* under way: slots, and who is told apart by what */
static void
test_active(void **state)
{
    int                    i;
    unit_edge_t            e;
    mapi_session_done_t    op, ops[6];
    mapi_session_table_t  *t = table(&e, 65536);

    op = op_is("NotificationWait", "1");
    op.worker = 7;
    assert_int_equal(begins(t, 0, op), MAPI_DECLINED);
    assert_int_equal(totals(t).count, 0);

    opens(t, 0);
    assert_int_equal(begins(t, 0, op), MAPI_OK);
    assert_int_equal(reads(t, 0), MAPI_OK);
    assert_true(mapi_session_is_active(&copy));
    assert_int_equal(copy.active[0].worker, 7);
    assert_int_equal(copy.active[0].start, clk.wall);
    assert_text(copy.active[0].type, "NotificationWait");
    assert_text(copy.active[0].id, "1");
    assert_int_equal(copy.requests, 0);

    /* others end: another one, another worker's, one that never was noted */

    assert_int_equal(does(t, 0, op_is("Execute", "1")), MAPI_OK);
    op.id = unit_str("2");
    assert_int_equal(does(t, 0, op), MAPI_OK);
    op.id = unit_str("1");
    op.worker = 8;
    assert_int_equal(does(t, 0, op), MAPI_OK);
    op.worker = 7;
    op.type = unit_str("NotificationWai");
    assert_int_equal(does(t, 0, op), MAPI_OK);
    assert_int_equal(reads(t, 0), MAPI_OK);
    assert_true(mapi_session_is_active(&copy));

    op.type = unit_str("NotificationWait");
    assert_int_equal(does(t, 0, op), MAPI_OK);
    assert_int_equal(reads(t, 0), MAPI_OK);
    assert_false(mapi_session_is_active(&copy));

    /* more than slots: the one that began first goes */

    for (i = 0; i < 6; i++) {
        pass(10);
        ops[i] = op_is("NotificationWait", "x");
        ops[i].worker = 100 + i;
        assert_int_equal(begins(t, 0, ops[i]), MAPI_OK);
    }

    assert_int_equal(reads(t, 0), MAPI_OK);

    for (i = 0; i < MAPI_SESSION_ACTIVE; i++) {
        assert_true(copy.active[i].worker >= 102);
    }

    for (i = 0; i < 6; i++) {
        assert_int_equal(does(t, 0, ops[i]), MAPI_OK);
    }

    assert_int_equal(reads(t, 0), MAPI_OK);
    assert_false(mapi_session_is_active(&copy));

    unit_edge_destroy(&e);
}


/* idleness ends a session, work and what hangs keep it */
static void
test_timeout(void **state)
{
    unit_edge_t            e;
    mapi_session_done_t    op;
    mapi_session_table_t  *t = table(&e, 1048576);

    opens(t, 0);
    opens(t, 1);
    opens(t, 2);

    pass(15 * MINUTE - 1);
    assert_true(has(t, 0));
    assert_int_equal(does(t, 1, op_is("PING", "1")), MAPI_OK);
    op = op_is("NotificationWait", "2");
    op.worker = 3;
    assert_int_equal(begins(t, 2, op), MAPI_OK);

    /* a look is no use of it */

    pass(1);
    assert_false(has(t, 0));
    assert_true(has(t, 1));
    assert_int_equal(does(t, 0, op_is("PING", "1")), MAPI_DECLINED);
    assert_int_equal(totals(t).ended[mapi_session_by_timeout], 1);

    pass(15 * MINUTE);
    assert_int_equal(totals(t).count, 1);
    assert_true(has(t, 2));

    /* the wait ends, and the clock begins */

    assert_int_equal(does(t, 2, op), MAPI_OK);
    pass(15 * MINUTE - 1);
    assert_true(has(t, 2));
    pass(1);
    assert_int_equal(totals(t).count, 0);

    /* that of a worker that died does not last for ever */

    opens(t, 3);
    assert_int_equal(begins(t, 3, op), MAPI_OK);
    pass(MAPI_SESSION_ACTIVE_MAX - 1);
    assert_true(has(t, 3));
    pass(1);
    assert_false(has(t, 3));

    /* behind one that hangs others end all the same */

    opens(t, 4);
    opens(t, 5);
    op.id = unit_str("3");
    assert_int_equal(begins(t, 4, op), MAPI_OK);
    assert_int_equal(does(t, 5, op_is("PING", "1")), MAPI_OK);
    pass(20 * MINUTE);
    opens(t, 6);
    assert_int_equal(totals(t).count, 2);

    /* reading ends them, too; a clock that goes back ends none */

    pass(20 * MINUTE);
    opens(t, 7);
    clk.now -= 10 * MINUTE;
    assert_true(has(t, 7));
    clk.now += 26 * MINUTE;
    assert_int_equal(count_by_scan(t), 1);

    unit_edge_destroy(&e);
}


/* a full table forgets who was idle for longest, and nobody else */
static void
test_full(void **state)
{
    uint64_t               i, n;
    unit_edge_t            e;
    mapi_session_done_t    op;
    mapi_session_table_t  *t = table(&e, 65536);

    n = totals(t).room;

    for (i = 0; i < n; i++) {
        opens(t, i);
        pass(15000);
    }

    /* 0 works again, 1 hangs, 2 is the longest idle one */

    assert_int_equal(does(t, 0, op_is("Execute", "1")), MAPI_OK);
    op = op_is("NotificationWait", "1");
    op.worker = 3;
    assert_int_equal(begins(t, 1, op), MAPI_OK);
    pass(15000);

    opens(t, n);
    assert_false(has(t, 2));

    for (i = 0; i <= n; i++) {
        assert_int_equal(has(t, i), i != 2);
    }

    /* when it is the oldest, what hangs is passed by */

    pass(15000);

    for (i = 3; i < n; i++) {
        assert_int_equal(does(t, i, op_is("Execute", "1")), MAPI_OK);
    }

    assert_int_equal(does(t, n, op_is("Execute", "1")), MAPI_OK);
    opens(t, n + 1);
    assert_false(has(t, 0));
    assert_true(has(t, 1));
    opens(t, n + 2);
    assert_true(has(t, 1));
    assert_false(has(t, 3));

    assert_int_equal(totals(t).ended[mapi_session_by_space], 3);
    assert_int_equal(totals(t).count, n);

    /* all hang: the oldest goes nevertheless */

    for (i = 0; i < n; i++) {
        opens(t, 1000 + i);
        assert_int_equal(begins(t, 1000 + i, op), MAPI_OK);
    }

    opens(t, 5000);
    assert_true(has(t, 5000));
    assert_false(has(t, 1000));

    unit_edge_destroy(&e);

    /* who is over makes room before anybody is forgotten */

    t = table(&e, 65536);

    for (i = 0; i < n; i++) {
        opens(t, i);
    }

    pass(15 * MINUTE);
    opens(t, n);
    assert_int_equal(totals(t).ended[mapi_session_by_space], 0);
    assert_int_equal(totals(t).ended[mapi_session_by_timeout], n);

    unit_edge_destroy(&e);
}


static void
test_end(void **state)
{
    mapi_session_key_t     key = key_of(1);
    unit_edge_t            e;
    mapi_session_table_t  *t = table(&e, 65536);

    opens(t, 0);
    opens(t, 1);
    opens(t, 2);

    assert_int_equal(mapi_session_table_end(t, &key, mapi_session_by_client),
                     MAPI_OK);
    assert_int_equal(mapi_session_table_end(t, &key, mapi_session_by_client),
                     MAPI_DECLINED);
    assert_true(has(t, 0) && !has(t, 1) && has(t, 2));
    assert_int_equal(totals(t).ended[mapi_session_by_client], 1);
    assert_int_equal(totals(t).count, 2);
    assert_int_equal(count_by_scan(t), 2);

    unit_edge_destroy(&e);
}


/* a million cookies that no server has made leave the table as it was */
static void
test_forged(void **state)
{
    uint64_t               i;
    unsigned char         *before;
    unit_edge_t            e;
    mapi_session_key_t     key;
    mapi_session_done_t    op;
    mapi_session_table_t  *t = table(&e, 262144);

    for (i = 0; i < 100; i++) {
        opens(t, i);
    }

    before = malloc(262144);
    assert_non_null(before);
    memcpy(before, t, 262144);

    op = op_is("Execute", "1");

    for (i = 0; i < 1000000; i++) {
        key = key_of(1000 + i);
        mapi_session_table_warm_entry(t, &key);
        mapi_session_table_warm_op(t, &key);
        assert_false(has(t, 1000 + i));
        assert_int_equal(does(t, 1000 + i, op), MAPI_DECLINED);
        assert_int_equal(begins(t, 1000 + i, op), MAPI_DECLINED);
    }

    assert_memory_equal(before, t, 262144);

    free(before);
    unit_edge_destroy(&e);
}


/*
 * A million sessions come and go in every way, some that stay among them: the
 * room is what it was, and the numbers agree.
 */
static void
test_churn(void **state)
{
    uint64_t                i, ended;
    unsigned                j;
    unit_edge_t             e;
    mapi_session_key_t      key;
    mapi_session_done_t     op;
    mapi_session_table_t   *t = table(&e, 1048576);
    mapi_session_totals_t   sum;

    op = op_is("Execute", "1");
    opens(t, 0);

    for (i = 1; i <= 1000000; i++) {
        opens(t, i);
        pass(1 + i % 1000);
        assert_true(has(t, i));
        assert_int_equal(does(t, 0, op), MAPI_OK);

        if (i % 3 == 0) {
            key = key_of(i - 1);
            assert_int_equal(mapi_session_table_end(t, &key,
                                                    mapi_session_by_client),
                             MAPI_OK);
        }
    }

    sum = totals(t);

    for (ended = 0, j = 0; j < mapi_session_reasons; j++) {
        ended += sum.ended[j];
    }

    assert_int_equal(sum.opened, 1000001);
    assert_int_equal(sum.count, sum.opened - ended);
    assert_int_equal(sum.ended[mapi_session_by_damage], 0);
    assert_true(sum.ended[mapi_session_by_timeout]
                + sum.ended[mapi_session_by_space] > 600000);
    assert_int_equal(count_by_scan(t), totals(t).count);

    /* all of the room is still there */

    for (i = 0; i < sum.room; i++) {
        opens(t, 2000000 + i);
    }

    assert_int_equal(count_by_scan(t), sum.room);

    assert_int_equal(reads(t, 2000000), MAPI_OK);
    assert_false(has(t, 1000000));

    unit_edge_destroy(&e);
}


/* found by either owner, and by no zero */
static void
test_scan(void **state)
{
    uint32_t               pos, n;
    uint64_t               i, owner[2];
    unit_edge_t            e;
    mapi_session_key_t     key;
    mapi_session_who_t     who;
    mapi_session_table_t  *t = table(&e, 262144);

    static const uint64_t  owners[][2] = {
        { 10, 20 }, { 10, 0 }, { 0, 20 }, { 0, 0 }, { 11, 21 }
    };

    static const struct {
        uint64_t  owner[2];
        uint32_t  found;
    } cases[] = {
        { { 10, 20 }, 3 }, { { 10, 0 }, 2 }, { { 0, 20 }, 2 },
        { { 0, 0 }, 0 }, { { 11, 20 }, 3 }, { { 20, 10 }, 0 }
    };

    for (i = 0; i < unit_items(owners); i++) {
        key = key_of(i);
        who = who_is("x", owners[i][0], owners[i][1]);
        mapi_session_table_open(t, &key, &who, &clk);
    }

    for (i = 0; i < unit_items(cases); i++) {
        owner[0] = cases[i].owner[0];
        owner[1] = cases[i].owner[1];

        for (n = 0, pos = 0;
             mapi_session_table_scan(t, &pos, 1000, owner, &clk, &copy)
             == MAPI_OK;
             n++)
        { /* void */ }

        assert_int_equal(n, cases[i].found);
    }

    assert_int_equal(count_by_scan(t), 5);

    pos = 0xffffffff;
    assert_int_equal(mapi_session_table_scan(t, &pos, 1, NULL, &clk, &copy),
                     MAPI_ERROR);

    unit_edge_destroy(&e);
}


/*
 * A process died in the middle of a change: whatever stands in what walks go
 * by, nothing is read or written outside the block, nothing runs for ever, and
 * the table serves again.
 */
static void
test_damage(void **state)
{
    size_t                 i, nwords, size = 32768;
    uint32_t               seed = 1, value, turn, *words;
    uint64_t               n, damaged;
    unit_edge_t            e;
    mapi_session_key_t     key;
    mapi_session_done_t    op;
    mapi_session_table_t  *t;

    e = unit_edge_create(size);
    start();
    op = op_is("Execute", "1");
    op.worker = 1;
    damaged = 0;

    for (turn = 0; turn < 20000; turn++) {
        t = mapi_session_table_init(unit_edge_tail(&e, size), size);

        for (n = 0; n < 20; n++) {
            opens(t, n);
            pass(1);
        }

        words = (turn % 2) ? &t->count : &t->buckets[0].first;
        nwords = (turn % 2) ? 5 : 2 * t->nbuckets + 8 * t->size;

        for (i = 0; i < 1 + turn % 4; i++) {
            seed = seed * 1103515245 + 12345;
            value = seed >> 8;
            seed = seed * 1103515245 + 12345;

            switch (value % 4) {
            case 0:
                value = 0xffffffff;
                break;
            case 1:
                value = seed >> 16;
                break;
            default:
                value = value / 4 % 16;
            }

            words[(seed >> 4) % nwords] = value;
        }

        for (n = 0; n < 60; n++) {
            opens(t, n);
            (void) does(t, n / 2, op);
            (void) begins(t, n / 3, op);
            (void) has(t, n);

            key = key_of(n);
            mapi_session_table_warm_entry(t, &key);
            mapi_session_table_warm_op(t, &key);
        }

        (void) count_by_scan(t);
        damaged += totals(t).ended[mapi_session_by_damage] > 0;
    }

    assert_true(damaged > 1000);

    unit_edge_destroy(&e);
}


/* "busy" alone: all is dropped, and counted */
static void
test_busy(void **state)
{
    unit_edge_t            e;
    mapi_session_table_t  *t = table(&e, 65536);

    opens(t, 0);
    opens(t, 1);

    t->busy = 1;

    assert_false(has(t, 0));
    assert_int_equal(totals(t).ended[mapi_session_by_damage], 2);
    assert_int_equal(totals(t).count, 0);

    opens(t, 0);
    assert_true(has(t, 0));
    assert_int_equal(count_by_scan(t), 1);

    unit_edge_destroy(&e);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_active),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_busy)
    };

    return cmocka_run_group_tests_name("session_table", tests, NULL, NULL);
}
