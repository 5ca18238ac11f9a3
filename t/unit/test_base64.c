
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_base64.h"


/* RFC 4648, 10, and what it forbids; bytes NULL: refused */
static void
test_check(void **state)
{
    size_t          i, n, len;
    unit_edge_t     in, out;
    unsigned char  *p, *bytes;

    static const struct {
        const char  *text;
        unsigned     alphabet;
        const char  *bytes;
    } cases[] = {
        { "", MAPI_BASE64_STANDARD, "" },
        { "Zg==", MAPI_BASE64_STANDARD, "f" },
        { "Zm8=", MAPI_BASE64_STANDARD, "fo" },
        { "Zm9v", MAPI_BASE64_STANDARD, "foo" },
        { "Zm9vYg==", MAPI_BASE64_STANDARD, "foob" },
        { "Zm9vYmE=", MAPI_BASE64_STANDARD, "fooba" },
        { "Zm9vYmFy", MAPI_BASE64_STANDARD, "foobar" },
        { "Zg", MAPI_BASE64_URL, "f" },
        { "Zm8", MAPI_BASE64_URL, "fo" },
        { "Zm9vYg", MAPI_BASE64_STANDARD, "foob" },
        { "--__", MAPI_BASE64_URL, "\xfb\xef\xff" },
        { "++//", MAPI_BASE64_STANDARD, "\xfb\xef\xff" },

        { "--__", MAPI_BASE64_STANDARD, NULL },
        { "++//", MAPI_BASE64_URL, NULL },
        { "+-//", MAPI_BASE64_URL, NULL },
        { "+-//", MAPI_BASE64_STANDARD, NULL },
        { "=", MAPI_BASE64_STANDARD, NULL },
        { "====", MAPI_BASE64_STANDARD, NULL },
        { "Z", MAPI_BASE64_STANDARD, NULL },
        { "Z===", MAPI_BASE64_STANDARD, NULL },
        { "Zg=", MAPI_BASE64_STANDARD, NULL },
        { "Zm9v=", MAPI_BASE64_STANDARD, NULL },
        { "Zm9v====", MAPI_BASE64_STANDARD, NULL },
        { "Zg==Zg==", MAPI_BASE64_STANDARD, NULL },
        { "Zh==", MAPI_BASE64_STANDARD, NULL },
        { "Zm9=", MAPI_BASE64_STANDARD, NULL },
        { "Zm 9v", MAPI_BASE64_STANDARD, NULL },
        { "Zm9v\n", MAPI_BASE64_STANDARD, NULL },
        { "Zm9\xf6", MAPI_BASE64_STANDARD, NULL },
        { "Zm9.", MAPI_BASE64_STANDARD, NULL }
    };

    in = unit_edge_create(64);
    out = unit_edge_create(64);

    for (i = 0; i < unit_items(cases); i++) {
        len = strlen(cases[i].text);
        p = unit_edge_copy(&in, cases[i].text, len);

        if (cases[i].bytes == NULL) {
            assert_int_equal(mapi_base64_check(p, len, cases[i].alphabet,
                                               &n), MAPI_ERROR);
            continue;
        }

        assert_int_equal(mapi_base64_check(p, len, cases[i].alphabet, &n),
                         MAPI_OK);
        assert_int_equal(n, strlen(cases[i].bytes));

        bytes = unit_edge_tail(&out, n);
        mapi_base64_read(bytes, p, 0, n);

        if (n) {
            assert_memory_equal(bytes, cases[i].bytes, n);
        }
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


/* any length, there and back, whole and by every range */
static void
test_ranges(void **state)
{
    size_t          n, from, len, decoded;
    unit_edge_t     text, out;
    unsigned char  *p, *q, bytes[40];

    for (n = 0; n < sizeof(bytes); n++) {
        bytes[n] = (unsigned char) (n * 73 + 200);
    }

    text = unit_edge_create(64);
    out = unit_edge_create(64);

    for (n = 0; n <= sizeof(bytes); n++) {
        p = unit_edge_tail(&text, mapi_base64_encoded(n));
        assert_ptr_equal(mapi_base64_url(p, bytes, n),
                         p + mapi_base64_encoded(n));
        assert_int_equal(mapi_base64_check(p, mapi_base64_encoded(n),
                                           MAPI_BASE64_URL, &decoded),
                         MAPI_OK);
        assert_int_equal(decoded, n);

        for (from = 0; from <= n; from++) {
            for (len = 0; from + len <= n; len++) {
                q = unit_edge_tail(&out, len);
                mapi_base64_read(q, p, from, len);

                if (len) {
                    assert_memory_equal(q, bytes + from, len);
                }
            }
        }
    }

    unit_edge_destroy(&text);
    unit_edge_destroy(&out);
}


/* of 256 characters 64 are digits of an alphabet */
static void
test_every_byte(void **state)
{
    int            c, standard, url;
    size_t         n;
    unsigned char  text[4] = "AAAA";

    for (standard = 0, url = 0, c = 0; c < 256; c++) {
        text[1] = (unsigned char) c;
        standard += mapi_base64_check(text, 4, MAPI_BASE64_STANDARD, &n)
                    == MAPI_OK;
        url += mapi_base64_check(text, 4, MAPI_BASE64_URL, &n) == MAPI_OK;
    }

    assert_int_equal(standard, 64);
    assert_int_equal(url, 64);
}


/* what stands behind the stop is neither written nor looked for */

static void
test_until(void **state)
{
    size_t         size, n;
    unsigned char  buf[8];

    /* "user:pass" */

    static const char  text[] = "dXNlcjpwYXNz";

    assert_int_equal(mapi_base64_check(unit_text(text), MAPI_BASE64_STANDARD,
                                       &n), MAPI_OK);
    assert_int_equal(n, 9);

    for (size = 0; size < sizeof(buf); size++) {
        memset(buf, '#', sizeof(buf));

        assert_int_equal(mapi_base64_until(buf, size,
                                           (const unsigned char *) text, n,
                                           ':'),
                         size < 4 ? n : 4);
        assert_memory_equal(buf, "user", size < 4 ? size : 4);
        assert_int_equal(buf[size < 4 ? size : 4], '#');
    }

    assert_int_equal(mapi_base64_until(buf, 0, (const unsigned char *) text, n,
                                       'u'), 0);
    assert_int_equal(mapi_base64_until(buf, sizeof(buf),
                                       (const unsigned char *) text, 4, ':'),
                     4);
}


/* every byte but "=" in every place of every length, padded and not */
static void
test_check_bytes(void **state)
{
    int             c, valid;
    size_t          i, n, len, pads, decoded;
    const char     *digit;
    unit_edge_t     e;
    unsigned char  *p;

    static const char  digits[] =
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789-_";

    e = unit_edge_create(64);

    for (len = 0; len <= 23; len++) {
        pads = len % 4 < 2 ? 0 : 4 - len % 4;

        for (n = 0; n <= pads; n += pads ? pads : 1) {
            p = unit_edge_tail(&e, len + n);

            for (i = 0; i < len; i++) {
                for (c = 0; c < 256; c++) {

                    /* all the others are zero bits, and so is what is left */

                    memset(p, 'A', len);
                    memset(p + len, '=', n);
                    p[i] = (unsigned char) c;

                    digit = c ? strchr(digits, c) : NULL;
                    valid = digit && len % 4 != 1;

                    if (valid && i == len - 1 && len % 4) {
                        valid = (digit - digits) % (len % 4 == 2 ? 16 : 4)
                                == 0;
                    }

                    if (c == '=') {
                        continue;
                    }

                    assert_int_equal(mapi_base64_check(p, len + n,
                                                       MAPI_BASE64_URL,
                                                       &decoded) == MAPI_OK,
                                     valid);

                    if (valid) {
                        assert_int_equal(decoded, len * 6 / 8);
                    }
                }
            }
        }
    }

    unit_edge_destroy(&e);
}


/* up to a stop at every place, into room of every size, of texts that end */
static void
test_until_every(void **state)
{
    size_t          n, at, size, expected;
    unit_edge_t     text, out;
    unsigned char  *p, *q, bytes[24];

    text = unit_edge_create(64);
    out = unit_edge_create(64);

    for (n = 0; n <= sizeof(bytes); n++) {
        for (at = 0; at <= n; at++) {
            memset(bytes, 'p', sizeof(bytes));

            for (size = 0; size < at; size++) {
                bytes[size] = (unsigned char) (0xc0 + size * 5);
            }

            if (at < n) {
                bytes[at] = ':';
            }

            p = unit_edge_tail(&text, mapi_base64_encoded(n));
            (void) mapi_base64_url(p, bytes, n);

            for (size = 0; size <= n; size++) {
                q = unit_edge_tail(&out, size);
                memset(q, '#', size);

                expected = at <= size ? at : n;
                assert_int_equal(mapi_base64_until(q, size, p, n, ':'),
                                 expected);

                if (at < size ? at : size) {
                    assert_memory_equal(q, bytes, at < size ? at : size);
                }

                if (at < size) {
                    assert_int_equal(q[at], '#');
                }
            }
        }
    }

    unit_edge_destroy(&text);
    unit_edge_destroy(&out);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_check_bytes),
        cmocka_unit_test(test_until),
        cmocka_unit_test(test_until_every)
    };

    return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
