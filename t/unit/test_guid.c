
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_guid.h"


#define GUID  "8B1EFA87-76ba-443A-8ad9-80d8742a2b67"


static void
test_parse(void **state)
{
    mapi_guid_t  guid;

    static const unsigned char  expected[16] = {
        0x8b, 0x1e, 0xfa, 0x87, 0x76, 0xba, 0x44, 0x3a,
        0x8a, 0xd9, 0x80, 0xd8, 0x74, 0x2a, 0x2b, 0x67
    };

    assert_int_equal(mapi_guid_parse(&guid, unit_text(GUID)), MAPI_OK);
    assert_memory_equal(guid.b, expected, 16);
}


static void
test_refused(void **state)
{
    size_t       i;
    mapi_guid_t  guid;

    static const char *const  cases[] = {
        "",
        "-",
        "{8b1efa87-76ba-443a-8ad9-80d8742a2b67}",
        "{8b1efa87-76ba-443a-8ad9-80d8742a2b6}",
        "8b1efa87-76ba-443a-8ad9-80d8742a2b67 ",
        " 8b1efa87-76ba-443a-8ad9-80d8742a2b67",
        "8b1efa8776ba443a8ad980d8742a2b67",
        "8b1efa87-76ba-443a-8ad980d8742a2b67-",
        "8b1efa8-776ba-443a-8ad9-80d8742a2b67",
        "8b1efa87-76ba-443a-8ad9-80d8742a2b6g",
        "8b1efa87_76ba_443a_8ad9_80d8742a2b67",
        "8b1efa87-76ba-443a-8ad9-80d8742a2b6\xb7",
        "8b1efa87-76ba-443a-8ad9-80d8742a2b6:",
        "8b1efa87-76ba-443a-8ad9-80d8742a2b6`",
        "8b1efa87-76ba-443a-8ad9-80d8742a2b6@"
    };

    for (i = 0; i < unit_items(cases); i++) {
        assert_int_equal(mapi_guid_parse(&guid,
                             (const unsigned char *) cases[i],
                             strlen(cases[i])), MAPI_ERROR);
    }
}


/* each byte value at each place: only hex digits, and hyphens at theirs */
static void
test_every_byte(void **state)
{
    int            c, hyphen, digit;
    size_t         i;
    mapi_guid_t    guid;
    unsigned char  text[MAPI_GUID_LEN];

    for (i = 0; i < MAPI_GUID_LEN; i++) {
        hyphen = (i == 8 || i == 13 || i == 18 || i == 23);

        for (c = 0; c < 256; c++) {
            digit = c && strchr("0123456789abcdefABCDEF", c) != NULL;
            memcpy(text, GUID, MAPI_GUID_LEN);
            text[i] = (unsigned char) c;

            assert_int_equal(mapi_guid_parse(&guid, text, MAPI_GUID_LEN)
                             == MAPI_OK, hyphen ? c == '-' : digit);
        }
    }
}


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    mapi_guid_t  guid;

    assert_int_equal(mapi_guid_parse(&guid, p, len),
                     len == MAPI_GUID_LEN ? MAPI_OK : MAPI_ERROR);
}


static void
test_prefixes(void **state)
{
    unit_prefixes(GUID "@example.com", sizeof(GUID "@example.com") - 1,
                  one_prefix, NULL);
}


static void
test_format(void **state)
{
    mapi_guid_t     guid;
    unit_edge_t     e;
    unsigned char  *p;

    e = unit_edge_create(MAPI_GUID_LEN);
    p = unit_edge_tail(&e, MAPI_GUID_LEN);

    assert_int_equal(mapi_guid_parse(&guid, unit_text(GUID)), MAPI_OK);
    assert_ptr_equal(mapi_guid_format(p, &guid), p + MAPI_GUID_LEN);
    assert_memory_equal(p, "8b1efa87-76ba-443a-8ad9-80d8742a2b67",
                        MAPI_GUID_LEN);

    unit_edge_destroy(&e);
}


/* any bytes, digits in any case: there and back, and to lower case */
static void
test_generated(void **state)
{
    int             n, i;
    char            text[MAPI_GUID_LEN + 1], *s;
    uint64_t        x;
    unit_edge_t     in, out;
    mapi_guid_t     guid, read;
    unsigned char  *p, *q;

    x = 0x9e3779b97f4a7c15ULL;

    in = unit_edge_create(MAPI_GUID_LEN);
    out = unit_edge_create(MAPI_GUID_LEN);
    q = unit_edge_tail(&out, MAPI_GUID_LEN);

    for (n = 0; n < 20000; n++) {

        for (s = text, i = 0; i < 16; i++) {
            guid.b[i] = (unsigned char) (unit_random(&x) >> 40);

            if (n < 256) {
                guid.b[i] = (unsigned char) (n + i);
            }

            if (i == 4 || i == 6 || i == 8 || i == 10) {
                *s++ = '-';
            }

            s += sprintf(s, "%02x", guid.b[i]);
        }

        p = unit_edge_copy(&in, text, MAPI_GUID_LEN);

        for (i = 0; i < MAPI_GUID_LEN; i++) {
            if (p[i] >= 'a' && (unit_random(&x) & 0x100)) {
                p[i] -= 'a' - 'A';
            }
        }

        memset(&read, 0xa5, sizeof(read));
        assert_int_equal(mapi_guid_parse(&read, p, MAPI_GUID_LEN), MAPI_OK);
        assert_memory_equal(read.b, guid.b, 16);

        memset(q, 0xa5, MAPI_GUID_LEN);
        assert_ptr_equal(mapi_guid_format(q, &guid), q + MAPI_GUID_LEN);
        assert_memory_equal(q, text, MAPI_GUID_LEN);

        memset(q, 0xa5, MAPI_GUID_LEN);
        assert_ptr_equal(mapi_guid_lower(q, p), q + MAPI_GUID_LEN);
        assert_memory_equal(q, text, MAPI_GUID_LEN);

        assert_ptr_equal(mapi_guid_lower(p, p), p + MAPI_GUID_LEN);
        assert_memory_equal(p, text, MAPI_GUID_LEN);
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


static void
test_null(void **state)
{
    int          i;
    mapi_guid_t  guid;

    memset(&guid, 0, sizeof(guid));
    assert_true(mapi_guid_is_null(&guid));

    for (i = 0; i < 16; i++) {
        guid.b[i] = i % 2 ? 1 : 0x80;
        assert_false(mapi_guid_is_null(&guid));
        guid.b[i] = 0;
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_generated),
        cmocka_unit_test(test_null)
    };

    return cmocka_run_group_tests_name("guid", tests, NULL, NULL);
}
