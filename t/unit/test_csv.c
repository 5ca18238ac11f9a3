
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_csv.h"


#define MAX  8


/*
 * "rows": cells ended by "|", rows by "/"; NULL means an error at line:column
 */
typedef struct {
    const char  *input;
    const char  *rows;
    unsigned     line;
    unsigned     column;
} case_t;


static const case_t  cases[] = {
    { "", "", 0, 0 },
    { "\n\r\n\n", "", 0, 0 },
    { "a,b\n1,2\n", "a|b|/1|2|/", 0, 0 },
    { "a,b\r\n1,2\r\n", "a|b|/1|2|/", 0, 0 },
    { "a,b\n1,2", "a|b|/1|2|/", 0, 0 },
    { "a,b\n1,", "a|b|/1||/", 0, 0 },
    { ",b\n", "|b|/", 0, 0 },
    { "\"a\",\"b\"\r\n\"1\",\"2\"\r\n", "a|b|/1|2|/", 0, 0 },
    { "\"a\",\"b\"", "a|b|/", 0, 0 },
    { "\"\"\"a\"\"\",\"\"\n", "\"a\"||/", 0, 0 },
    { "\"a,b\",\"c\nd\"\n", "a,b|c\nd|/", 0, 0 },
    { "\"a\r\nb\"\n", "a\r\nb|/", 0, 0 },
    { "#TYPE Some.Type\r\na,b\r\n", "a|b|/", 0, 0 },
    { "#TYPE Some.Type", "", 0, 0 },
    { "#type,b\n", "#type|b|/", 0, 0 },
    { "\xef\xbb\xbf" "a,b\n", "a|b|/", 0, 0 },
    { "\xef\xbb\xbf#TYPE x\na\n", "a|/", 0, 0 },
    { "a;b,c\n1;2,3\n", "a|b,c|/1|2,3|/", 0, 0 },
    { "\"a,x\";b\n1;2\n", "a,x|b|/1|2|/", 0, 0 },
    { "a\tb,c\n", "a|b,c|/", 0, 0 },
    { "a\n1,2\n", "a|/1|2|/", 0, 0 },
    { "a,b\n\n\n1,2\n", "a|b|/1|2|/", 0, 0 },
    { " a , b \n", " a | b |/", 0, 0 },
    { "a,b\"c\"\n", "a|b\"c\"|/", 0, 0 },
    { "a\rb,c\n", "a\rb|c|/", 0, 0 },
    { "a\r,c\n", "a\r|c|/", 0, 0 },
    { "\xc3\xa4,\xe2\x82\xac,\xf0\x9f\x98\x80\n",
      "\xc3\xa4|\xe2\x82\xac|\xf0\x9f\x98\x80|/", 0, 0 },

    /* broken: where the eye should look */

    { "a,\"b\n1,2\n", NULL, 1, 3 },
    { "a,b\n1,\"2\n3\n", NULL, 2, 3 },
    { "\"a\nb\",c\n\"1\"x,2\n", NULL, 3, 4 },
    { "\"a\" ,b\n", NULL, 1, 4 },
    { "\"a\"\r,b\n", NULL, 1, 5 },
    { "\xc3\xa4,\"b\"x\n", NULL, 1, 6 },
    { "a,b\n1,\xff\n", NULL, 2, 3 },
    { "12345678\n\n123456789\xe4" "0\n", NULL, 3, 10 },
    { "a,\xc0\x80\n", NULL, 1, 3 },
    { "a,\xed\xa0\x80\n", NULL, 1, 3 },
    { "a,\xf4\x90\x80\x80\n", NULL, 1, 3 },
    { "a,\xe2\x82", NULL, 1, 3 }
};


/* all rows in the form of case_t; 0 after an error */
static int
read_all(mapi_csv_t *csv, unsigned char *p, size_t len, char *out,
    size_t size)
{
    int              rc;
    size_t           n, i, at;
    mapi_csv_cell_t  cells[MAX];

    at = 0;
    out[0] = '\0';

    if (mapi_csv_init(csv, p, len) != MAPI_OK) {
        return 0;
    }

    while ((rc = mapi_csv_row(csv, cells, MAX, &n)) == MAPI_OK) {

        for (i = 0; i < n && i < MAX; i++) {
            assert_true(cells[i].text.data >= p);
            assert_true(cells[i].text.data + cells[i].text.len <= p + len);
            assert_true(at + cells[i].text.len + 3 < size);

            memcpy(out + at, cells[i].text.data, cells[i].text.len);
            at += cells[i].text.len;
            out[at++] = '|';
        }

        out[at++] = '/';
        out[at] = '\0';
    }

    return rc == MAPI_DECLINED;
}


static void
test_cases(void **state)
{
    char            out[256];
    size_t          i;
    mapi_csv_t      csv;
    unit_edge_t     e;
    const case_t   *c;
    unsigned char  *p;

    e = unit_edge_create(256);

    for (i = 0; i < unit_items(cases); i++) {
        c = &cases[i];
        p = unit_edge_copy(&e, c->input, strlen(c->input));

        if (c->rows) {
            assert_true(read_all(&csv, p, strlen(c->input), out,
                                 sizeof(out)));
            assert_string_equal(out, c->rows);
            continue;
        }

        assert_false(read_all(&csv, p, strlen(c->input), out, sizeof(out)));
        assert_non_null(csv.error);
        assert_int_equal(csv.error_line, c->line);
        assert_int_equal(csv.error_column, c->column);
    }

    unit_edge_destroy(&e);
}


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    char        out[256];
    mapi_csv_t  csv;

    (void) read_all(&csv, (unsigned char *) p, len, out, sizeof(out));
}


static void
test_prefixes(void **state)
{
    size_t  i;

    for (i = 0; i < unit_items(cases); i++) {
        unit_prefixes(cases[i].input, strlen(cases[i].input), one_prefix,
                      NULL);
    }
}


static void
test_zero_byte(void **state)
{
    char           out[64];
    mapi_csv_t     csv;
    unsigned char  p[] = "a,b\n1,\0002\n";

    assert_false(read_all(&csv, p, sizeof(p) - 1, out, sizeof(out)));
    assert_int_equal(csv.error_line, 2);
    assert_int_equal(csv.error_column, 3);
}


static void
test_places(void **state)
{
    size_t           n;
    mapi_csv_t       csv;
    unsigned char    p[] = "a,b\n\n\"x\ny\",\"\xc3\xa4\"\"\",z\n";
    mapi_csv_cell_t  cells[MAX];

    assert_int_equal(mapi_csv_init(&csv, p, sizeof(p) - 1), MAPI_OK);
    assert_int_equal(mapi_csv_row(&csv, cells, MAX, &n), MAPI_OK);
    assert_int_equal(n, 2);
    assert_int_equal(cells[1].line, 1);
    assert_int_equal(mapi_csv_column(&cells[1]), 3);

    assert_int_equal(mapi_csv_row(&csv, cells, MAX, &n), MAPI_OK);
    assert_int_equal(n, 3);
    assert_int_equal(cells[0].line, 3);
    assert_int_equal(mapi_csv_column(&cells[0]), 1);
    assert_int_equal(cells[1].line, 4);
    assert_int_equal(mapi_csv_column(&cells[1]), 4);
    unit_assert_str(&cells[1].text, "\xc3\xa4\"");
}


/* more cells than there is room for are counted, not written */
static void
test_many_cells(void **state)
{
    size_t           n;
    mapi_csv_t       csv;
    unsigned char    p[] = "1,2,3,4\n";
    mapi_csv_cell_t  cells[3];

    memset(&cells[2], 0x5a, sizeof(cells[2]));

    assert_int_equal(mapi_csv_init(&csv, p, sizeof(p) - 1), MAPI_OK);
    assert_int_equal(mapi_csv_row(&csv, cells, 2, &n), MAPI_OK);
    assert_int_equal(n, 4);
    assert_int_equal(cells[2].line, 0x5a5a5a5a);
}


static const unsigned char  le[] = {
    0xff, 0xfe, 'a', 0, 0xe4, 0, 0xac, 0x20, 0x3d, 0xd8, 0x00, 0xde, '\n', 0
};

static const unsigned char  be[] = {
    0xfe, 0xff, 0, 'a', 0, 0xe4, 0x20, 0xac, 0xd8, 0x3d, 0xde, 0x00, 0, '\n'
};

#define WIDE  "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n"


static void
check_wide(const unsigned char *p, size_t len)
{
    size_t          n;
    const char     *error;
    unsigned char  *out;

    out = NULL;
    assert_int_equal(mapi_csv_utf16(p, len, &out, &n, &error), MAPI_OK);
    assert_int_equal(n, sizeof(WIDE) - 1);
    assert_memory_equal(out, WIDE, n);
    free(out);
}


static void
wide_prefix(const unsigned char *p, size_t len, void *data)
{
    int             rc;
    size_t          n;
    const char     *error;
    unsigned char  *out;

    out = NULL;
    error = NULL;
    rc = mapi_csv_utf16(p, len, &out, &n, &error);

    if (len < 2) {
        assert_int_equal(rc, MAPI_DECLINED);

    } else if (len % 2 || len == 10) {
        assert_int_equal(rc, MAPI_ERROR);
        assert_non_null(error);
        assert_null(out);

    } else {
        assert_int_equal(rc, MAPI_OK);
        assert_true(n <= sizeof(WIDE) - 1);
        assert_memory_equal(out, WIDE, n);
    }

    free(out);
}


static void
test_utf16(void **state)
{
    size_t                n;
    const char           *error;
    unsigned char        *out;
    const unsigned char   low[] = { 0xff, 0xfe, 0x00, 0xde };

    check_wide(le, sizeof(le));
    check_wide(be, sizeof(be));
    unit_prefixes(le, sizeof(le), wide_prefix, NULL);
    unit_prefixes(be, sizeof(be), wide_prefix, NULL);

    assert_int_equal(mapi_csv_utf16(low, sizeof(low), &out, &n, &error),
                     MAPI_ERROR);
    assert_int_equal(mapi_csv_utf16((const unsigned char *) "abc", 3, &out,
                                    &n, &error),
                     MAPI_DECLINED);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_zero_byte),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_many_cells),
        cmocka_unit_test(test_utf16)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
