
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"


static uint64_t  seed = 0x9e3779b97f4a7c15ULL;


/* letters, in both cases, and what stands beside them in ASCII and above */
static void
fill(unsigned char *p, size_t len)
{
    size_t  i;

    static const unsigned char  bytes[] = {
        'A', 'Z', 'a', 'z', 'm', 'M', '@', '[', '`', '{', 0, 0xc1, 0xda, 0xe1,
        0xff, '0'
    };

    for (i = 0; i < len; i++) {
        p[i] = bytes[unit_random(&seed) % sizeof(bytes)];
    }
}


static int
slow_caseeq(const unsigned char *p, const unsigned char *q, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (mapi_tolower(p[i]) != mapi_tolower(q[i])) {
            return 0;
        }
    }

    return 1;
}


static void
check_caseeq(const unsigned char *p, const unsigned char *q, size_t len)
{
    mapi_str_t  a, b;

    a.len = len;
    a.data = (unsigned char *) p;
    b.len = len;
    b.data = (unsigned char *) q;

    assert_int_equal(mapi_str_caseeq(&a, &b), slow_caseeq(p, q, len));
    assert_int_equal(mapi_str_caseeq(&b, &a), slow_caseeq(p, q, len));

    if (len) {
        b.len--;
        assert_false(mapi_str_caseeq(&a, &b));
    }
}


/* every two bytes at every place of every length */
static void
test_caseeq(void **state)
{
    int             c, d;
    size_t          len, i, round;
    unit_edge_t     left, right;
    unsigned char  *p, *q;

    left = unit_edge_create(40);
    right = unit_edge_create(40);

    for (len = 0; len <= 40; len++) {
        p = unit_edge_tail(&left, len);
        q = unit_edge_tail(&right, len);

        for (round = 0; round < 200; round++) {
            fill(p, len);
            (void) mapi_strlow(q, p, len);
            check_caseeq(p, q, len);

            for (i = 0; i < len; i++) {
                q[i] ^= unit_random(&seed) & 0x20;
            }

            check_caseeq(p, q, len);
            fill(q, len);
            check_caseeq(p, q, len);
        }
    }

    for (len = 1; len <= 19; len += 3) {
        p = unit_edge_tail(&left, len);
        q = unit_edge_tail(&right, len);
        fill(p, len);

        for (i = 0; i < len; i++) {
            memcpy(q, p, len);

            for (c = 0; c < 256; c++) {
                for (d = 0; d < 256; d++) {
                    p[i] = (unsigned char) c;
                    q[i] = (unsigned char) d;
                    check_caseeq(p, q, len);
                }
            }
        }
    }

    unit_edge_destroy(&left);
    unit_edge_destroy(&right);
}


/* in another place, and in its own; nothing behind it is written */
static void
test_strlow(void **state)
{
    size_t          len, i, round;
    unit_edge_t     in, out;
    unsigned char  *p, *q, expected[40];

    in = unit_edge_create(40);
    out = unit_edge_create(40);

    for (len = 0; len <= 40; len++) {
        p = unit_edge_tail(&in, len);
        q = unit_edge_tail(&out, len);

        for (round = 0; round < 256; round++) {
            fill(p, len);

            if (len) {
                p[unit_random(&seed) % len] = (unsigned char) round;
            }

            for (i = 0; i < len; i++) {
                expected[i] = mapi_tolower(p[i]);
            }

            assert_ptr_equal(mapi_strlow(q, p, len), q + len);
            assert_ptr_equal(mapi_strlow(p, p, len), p + len);

            if (len) {
                assert_memory_equal(q, expected, len);
                assert_memory_equal(p, expected, len);
            }
        }
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


/* the first byte is the lowest, on every machine */
static void
test_words(void **state)
{
    size_t          n, i;
    uint64_t        expected;
    unit_edge_t     e;
    unsigned char  *p, buf[8];

    e = unit_edge_create(16);

    for (n = 0; n <= 16; n++) {
        p = unit_edge_tail(&e, n);

        for (expected = 0, i = 0; i < n; i++) {
            p[i] = (unsigned char) (0x81 + 7 * i);

            if (i < 8) {
                expected |= (uint64_t) p[i] << (8 * i);
            }
        }

        if (n < 8) {
            assert_int_equal(mapi_load_part(p, n), expected);
        }

        if (n >= 8) {
            assert_int_equal(mapi_load64(p), expected);
            assert_int_equal(mapi_load32(p + 4), expected >> 32);

            mapi_store64(buf, expected);
            assert_memory_equal(buf, p, 8);
            mapi_store32(buf, (uint32_t) (expected >> 32));
            assert_memory_equal(buf, p + 4, 4);
        }

        for (i = n; i < 8; i++) {
            expected |= (uint64_t) 'x' << (8 * i);
        }

        assert_int_equal(mapi_load_text(p, n), expected);
    }

    unit_edge_destroy(&e);

    for (i = 0; i < 8; i++) {
        assert_int_equal(mapi_first_mark(0x80ULL << (8 * i)), i);
        assert_int_equal(mapi_first_mark(1ULL << 63 | 0x80ULL << (8 * i)), i);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_caseeq),
        cmocka_unit_test(test_strlow),
        cmocka_unit_test(test_words)
    };

    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
