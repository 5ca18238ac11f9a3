
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


static void
test_null(void **state)
{
    int          i;
    mapi_guid_t  guid;

    memset(&guid, 0, sizeof(guid));
    assert_true(mapi_guid_is_null(&guid));

    for (i = 0; i < 16; i++) {
        guid.b[i] = 1;
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
        cmocka_unit_test(test_null)
    };

    return cmocka_run_group_tests_name("guid", tests, NULL, NULL);
}
