
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_mounted.h"


#define GUID   "00000001-DDDD-4000-8000-00000000000a"
#define VALUE  GUID "~ex2.contoso.com~1941997512"


static void
test_parse(void **state)
{
    mapi_guid_t     guid;
    mapi_mounted_t  m;

    assert_int_equal(mapi_guid_parse(&guid, unit_text(GUID)), MAPI_OK);
    assert_int_equal(mapi_mounted_parse(&m, unit_text(VALUE)), MAPI_OK);
    assert_memory_equal(m.database.b, guid.b, 16);
    assert_int_equal(m.server.len, 15);
    assert_memory_equal(m.server.data, "ex2.contoso.com", 15);

    /* of the version nothing but its presence counts */

    assert_int_equal(mapi_mounted_parse(&m, unit_text(GUID "~EX_2~~")),
                     MAPI_OK);
    assert_int_equal(m.server.len, 4);
    assert_memory_equal(m.server.data, "EX_2", 4);
}


static void
test_refused(void **state)
{
    size_t          i;
    mapi_mounted_t  m;

    static const char *const  cases[] = {
        "",
        "~",
        "~~",
        "~ex2.contoso.com~1",
        GUID,
        GUID "~",
        GUID "~~",
        GUID "~~1",
        GUID "~ex2.contoso.com",
        GUID "~ex2.contoso.com~",
        GUID "-ex2.contoso.com~1",
        "{" GUID "}~ex2.contoso.com~1",
        " " GUID "~ex2.contoso.com~1",
        "00000001-DDDD-4000-8000-00000000000~ex2.contoso.com~1",
        "00000001-DDDD-4000-8000-00000000000g~ex2.contoso.com~1",
        GUID "~ex2.contoso.com:444~1",
        GUID "~ex2 contoso~1",
        GUID "~\"ex2\"~1",
        GUID "~ex2/..~1",
        GUID "~ex2@evil~1",
        GUID "~ex2\xc3\xa4~1",
        GUID "~ex2\n~1"
    };

    for (i = 0; i < unit_items(cases); i++) {
        assert_int_equal(mapi_mounted_parse(&m,
                             (const unsigned char *) cases[i],
                             strlen(cases[i])), MAPI_ERROR);
    }
}


/* every beginning of a value, with nothing behind it */
static void
test_short(void **state)
{
    size_t          i;
    unit_edge_t     e;
    mapi_mounted_t  m;
    unsigned char  *p;

    e = unit_edge_create(sizeof(VALUE));

    for (i = 0; i < sizeof(VALUE); i++) {
        p = e.start + e.size - i;
        memcpy(p, VALUE, i);

        assert_int_equal(mapi_mounted_parse(&m, p, i) == MAPI_OK,
                         i > sizeof(GUID "~ex2.contoso.com~") - 1);
    }

    unit_edge_destroy(&e);
}


static void
test_long(void **state)
{
    size_t          n;
    mapi_mounted_t  m;
    unsigned char   text[1024];

    for (n = 1; n <= 512; n++) {
        memcpy(text, GUID "~", MAPI_GUID_LEN + 1);
        memset(text + MAPI_GUID_LEN + 1, 'x', n);
        memcpy(text + MAPI_GUID_LEN + 1 + n, "~1", 2);

        assert_int_equal(mapi_mounted_parse(&m, text, MAPI_GUID_LEN + 3 + n)
                         == MAPI_OK, n <= MAPI_MOUNTED_SERVER_MAX);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_long)
    };

    return cmocka_run_group_tests_name("mounted", tests, NULL, NULL);
}
