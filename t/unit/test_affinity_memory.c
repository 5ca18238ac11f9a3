
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_affinity_memory.h"

#include <stdlib.h>


/*
 * What is remembered of sealed values: the latest of them, each with its own,
 * whatever has been overwritten meanwhile.
 */

#define VALUES  100000
#define RING    (57344 * 64)

/* of a value with one mailbox, and of the longest one */
#define SHORT       79
#define SHORT_PLAIN (MAPI_AFFINITY_SALT + MAPI_AFFINITY_ENTRY)


static mapi_str_t  upstream = mapi_string("mailbox");


static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x7fb5d329728ea185ULL;
    x = (x ^ x >> 27) * 0x81dadef4bc2dd44dULL;

    return x ^ x >> 33;
}


/* the n-th value of that length, and what is in it */

static mapi_str_t
value_of(unsigned char *buf, uint64_t n, size_t len)
{
    size_t      i;
    mapi_str_t  value;

    for (i = 0; i < len; i++) {
        buf[i] = (unsigned char) ('A' + (mix(n * 200 + i) & 15));
    }

    value.data = buf;
    value.len = len;

    return value;
}


static void
remember(mapi_affinity_memory_t *m, uint64_t n, size_t len, size_t plain_len)
{
    mapi_str_t     value;
    unsigned char  buf[MAPI_AFFINITY_VALUE_MAX];
    unsigned char  plain[MAPI_AFFINITY_PLAIN_MAX];

    value = value_of(buf, n, len);
    memset(plain, (int) (n % 251), plain_len);

    mapi_affinity_memory_remember(m, &upstream, value.data, value.len, plain,
                                  plain_len, (unsigned) (n % 7),
                                  (uint32_t) n);
}


/* 1 if it is remembered, and then rightly */

static unsigned
recall(mapi_affinity_memory_t *m, uint64_t n, size_t len, size_t plain_len)
{
    size_t                 i;
    mapi_str_t             value;
    unsigned char         *plain;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_slot_t  *slot;

    value = value_of(buf, n, len);

    mapi_affinity_memory_warm(m, &value);
    mapi_affinity_memory_warm_again(m, &value);

    slot = mapi_affinity_memory_recall(m, &upstream, &value);

    if (slot == NULL) {
        return 0;
    }

    assert_int_equal(slot->day, n);
    assert_int_equal(slot->key, n % 7);
    assert_int_equal(slot->len, len);
    assert_int_equal(slot->plain_len, plain_len);
    assert_memory_equal(slot->value, value.data, len);

    plain = mapi_affinity_slot_plain(slot);

    for (i = 0; i < plain_len; i++) {
        assert_int_equal(plain[i], n % 251);
    }

    return 1;
}


static void
test_latest(void **state)
{
    uint64_t                 n;
    unsigned                 there;
    mapi_affinity_memory_t  *m;

    m = mapi_affinity_memory_create();
    assert_non_null(m);

    for (n = 0; n < VALUES; n++) {
        assert_false(recall(m, n, SHORT, SHORT_PLAIN));
        remember(m, n, SHORT, SHORT_PLAIN);
        assert_true(recall(m, n, SHORT, SHORT_PLAIN));

        /* every one stays for a while */

        if (n >= 5000) {
            assert_true(recall(m, n - 5000, SHORT, SHORT_PLAIN));
        }
    }

    there = 0;

    for (n = VALUES - 19000; n < VALUES; n++) {
        there += recall(m, n, SHORT, SHORT_PLAIN);
    }

    assert_true(there > 18900);

    for (n = 0; n < VALUES - 20000; n++) {
        assert_false(recall(m, n, SHORT, SHORT_PLAIN));
    }

    mapi_affinity_memory_destroy(m);
}


/* of every length, so that they end anywhere in the ring */

static void
test_lengths(void **state)
{
    size_t                   len, plain;
    uint64_t                 n;
    unsigned                 there;
    mapi_str_t               value;
    unsigned char            buf[MAPI_AFFINITY_VALUE_MAX];
    unsigned char           *p, *first, *end;
    mapi_affinity_slot_t    *slot;
    mapi_affinity_memory_t  *m;

#define len_of(n)    (8 + mix(n) % (MAPI_AFFINITY_VALUE_MAX - 7))
#define plain_of(n)  (mix((n) + 1) % (MAPI_AFFINITY_PLAIN_MAX + 1))

    m = mapi_affinity_memory_create();
    assert_non_null(m);

    there = 0;
    first = NULL;
    end = NULL;

    for (n = 0; n < VALUES; n++) {

        /* 8 signs of 16 are too few to be all different */

        len = len_of(n) < 24 ? 24 : len_of(n);
        plain = plain_of(n);

        remember(m, n, len, plain);
        assert_true(recall(m, n, len, plain));

        value = value_of(buf, n, len);
        slot = mapi_affinity_memory_recall(m, &upstream, &value);

        /* nor is a note taken over from what stood there */

        assert_int_equal(slot->mark, 0);
        slot->mark = 1;

        p = (unsigned char *) slot;

        first = (first && first < p) ? first : p;

        p += offsetof(mapi_affinity_slot_t, value) + len + plain;

        end = (end > p) ? end : p;

        if (n >= 9000) {
            len = len_of(n - 9000) < 24 ? 24 : len_of(n - 9000);
            there += recall(m, n - 9000, len, plain_of(n - 9000));
        }
    }

    assert_true(there > (VALUES - 9000) * 0.99);

    /* none ends behind the ring */

    assert_true(end - first <= RING);

    mapi_affinity_memory_destroy(m);
}


/*
 * What was overwritten is not looked at: in the middle of a newer value there
 * may be something that looks like it.
 */

#define FAKE      64                /* where it does: a unit of the ring */
#define FAKE_LEN  32

static void
test_overwritten(void **state)
{
    size_t                   len;
    uint64_t                 n;
    unsigned                 there;
    mapi_str_t               value;
    unsigned char            asked[FAKE_LEN];
    unsigned char            buf[MAPI_AFFINITY_VALUE_MAX];
    unsigned char            plain[MAPI_AFFINITY_PLAIN_MAX] = { 0 };
    mapi_affinity_slot_t     fake, *slot;
    mapi_affinity_memory_t  *m;

    m = mapi_affinity_memory_create();
    assert_non_null(m);

    memset(&fake, 0, sizeof(fake));
    fake.len = FAKE_LEN;
    fake.day = 1000;

    value.len = 0;
    there = 0;

    for (n = 0; n < 10 * VALUES; n++) {

        /* after twice around the ring another one */

        if (n % (VALUES / 4) == 0) {
            value = value_of(asked, n, FAKE_LEN);
            mapi_affinity_memory_remember(m, &upstream, asked, FAKE_LEN, plain,
                                          MAPI_AFFINITY_SALT, 0, 1);
        }

        len = MAPI_AFFINITY_VALUE_MAX - mix(n) % 60;
        (void) value_of(buf, n, len);

        memcpy(buf, (unsigned char *) &fake
                    + (offsetof(mapi_affinity_slot_t, value) - FAKE), FAKE);
        memcpy(buf + FAKE, asked, FAKE_LEN);

        mapi_affinity_memory_remember(m, &upstream, buf, len, plain,
                                      mix(n + 1) % sizeof(plain), 0, 1000);

        slot = mapi_affinity_memory_recall(m, &upstream, &value);

        if (slot) {
            assert_int_equal(slot->day, 1);
            there++;
        }
    }

    assert_true(there > VALUES);

    mapi_affinity_memory_destroy(m);
}


/* values that share a line of the index, and its bits: the latest eight */

static void
test_alike(void **state)
{
    unsigned                 i, j, there;
    mapi_str_t               value;
    unsigned char            buf[SHORT];
    unsigned char            plain[SHORT_PLAIN] = { 0 };
    mapi_affinity_memory_t  *m;
    mapi_affinity_slot_t    *slot;

    m = mapi_affinity_memory_create();
    assert_non_null(m);

    for (i = 0; i < 100; i++) {
        memset(buf, 'A', sizeof(buf));
        buf[0] = (unsigned char) i;
        mapi_affinity_memory_remember(m, &upstream, buf, sizeof(buf), plain,
                                      sizeof(plain), 0, i);
        there = 0;

        for (j = 0; j <= i; j++) {
            buf[0] = (unsigned char) j;
            value.data = buf;
            value.len = sizeof(buf);
            slot = mapi_affinity_memory_recall(m, &upstream, &value);

            if (slot) {
                assert_int_equal(slot->day, j);
                assert_true(j + 8 > i);
                there++;
            }
        }

        assert_int_equal(there, i < 8 ? i + 1 : 8);
    }

    mapi_affinity_memory_destroy(m);
}


static void
test_strangers(void **state)
{
    mapi_str_t               value, other;
    unsigned char            buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_memory_t  *m;

    m = mapi_affinity_memory_create();
    assert_non_null(m);

    other = unit_str("another");
    value = value_of(buf, 1, SHORT);

    /* nothing is remembered yet */

    assert_null(mapi_affinity_memory_recall(m, &upstream, &value));

    remember(m, 1, SHORT, SHORT_PLAIN);

    assert_non_null(mapi_affinity_memory_recall(m, &upstream, &value));
    assert_null(mapi_affinity_memory_recall(m, &other, &value));

    value.len = 7;
    mapi_affinity_memory_warm(m, &value);
    mapi_affinity_memory_warm_again(m, &value);
    assert_null(mapi_affinity_memory_recall(m, &upstream, &value));

    mapi_affinity_memory_destroy(m);
    mapi_affinity_memory_destroy(NULL);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_latest),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_overwritten),
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_strangers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
