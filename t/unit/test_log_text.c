
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_log_row.h"
#include "mapi_log_text.h"


typedef struct {
    const char  *text;
    size_t       len;
    const char  *plain;
    const char  *pair;        /* NULL: as plain */
} clean_t;


#define text(s)  s, sizeof(s) - 1

static const clean_t  cleans[] = {
    { text("a b"), "a b", NULL },
    { text("a,b, c"), "a b  c", NULL },
    { text("a;b=c"), "a;b=c", "a b c" },
    { text("a\r\nb"), "a b", NULL },
    { text("a\r\r\n\n"), "a\\r \\n", NULL },
    { text("a\rb\nc"), "a\\rb\\nc", NULL },
    { text("a\r"), "a\\r", NULL },
    { text("\0\001\t\033[2J\x7f"), "    [2J ", NULL },
    { text("a\"b\"\""), "a\"b\"\"", NULL },
    { text("\""), "\"", NULL },
    { text("\",\"\r\n\"x\""), "\" \" \"x\"", NULL },
    { text("=1+1"), "=1+1", " 1+1" },
    { text("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
      "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", NULL },
    { text("\xc2\x85\xc2\x80\xc2\x9f\xc2\xa0"), "   \xc2\xa0", NULL },
    { text("\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa"),
      "\xe2\x80\xa7  \xe2\x80\xaa", NULL },
    { text("a\xff\xfe" "b"), "a??b", NULL },
    { text("\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf"), "?????????", NULL },
    { text("\xed\xa0\x80\xf4\x90\x80\x80\xf5"), "????????", NULL },
    { text("\xe2\x82,"), "?? ", NULL },
    { text("x\xe2\x82"), "x??", NULL },
    { text("x\xf0\x9f\x98"), "x???", NULL }
};


static void
test_clean(void **state)
{
    char             expected[128], *found;
    size_t           i;
    unit_edge_t      e;
    mapi_str_t       value;
    mapi_log_row_t   row;
    const clean_t   *c;

    e = unit_edge_create(64);

    for (i = 0; i < unit_items(cleans); i++) {
        c = &cleans[i];

        value.data = unit_edge_copy(&e, c->text, c->len);
        value.len = c->len;

        set_execute(&row);
        row.user_agent = value;
        row.client.request_type = value;
        row.query = value;
        row.cookie_server = value;
        row.new_connection = value;
        row.columns = MAPI_LOG_COLUMNS_OLD;
        mapi_log_pair_add(&row.errors, "Error", &value);
        mapi_log_pair_add(&row.errors, "Other", &value);

        write_row(&row);
        assert_column(16, c->plain);

        sprintf(expected, "?%s", c->plain);
        assert_column(65, expected);

        sprintf(expected, ";RT:%s;CI:", c->plain);
        assert_non_null(strstr(page.log.field[6], expected));

        sprintf(expected, "Server~%s~~1970-01-01T00:00:00", c->plain);
        assert_column(28, expected);

        sprintf(expected, "Error=%s;Other=%s;", c->pair ? c->pair : c->plain,
                c->pair ? c->pair : c->plain);
        assert_column(68, expected);

        sprintf(expected, ";NewConnection=%s&0;",
                c->pair ? c->pair : c->plain);
        found = strstr(page.log.field[67], expected);
        assert_non_null(found);
    }

    unit_edge_destroy(&e);
}


/*
 * Each byte at each place of runs of each length, where memory ends: what is
 * copied is what the table of classes says, and nothing behind it is touched.
 */
static void
test_run(void **state)
{
    int             c, clean;
    size_t          i, n;
    unsigned        asis;
    unit_edge_t     from, to;
    unsigned char  *src, *dst;

    from = unit_edge_create(64);
    to = unit_edge_create(64);

    for (n = 0; n <= 50; n++) {
        src = unit_edge_tail(&from, n);
        dst = unit_edge_tail(&to, n);
        memset(src, 'x', n);

        for (asis = mapi_log_plain; asis <= mapi_log_mark; asis++) {
            assert_int_equal(mapi_log_run(dst, src, n, asis), n);
            assert_memory_equal(dst, src, n);

            for (i = 0; i < n; i++) {
                for (c = 0; c < 256; c++) {
                    src[i] = (unsigned char) c;
                    dst[-1] = '#';
                    memset(dst, '#', n);

                    clean = mapi_log_class[c] <= asis;

                    assert_int_equal(mapi_log_run(dst, src, n, asis),
                                     clean ? n : i);
                    assert_memory_equal(dst, src, clean ? n : i);
                    assert_int_equal(dst[-1], '#');
                }

                src[i] = 'x';
            }
        }
    }

    unit_edge_destroy(&from);
    unit_edge_destroy(&to);
}


/* the first of two dirty bytes ends it */
static void
test_run_twice(void **state)
{
    size_t         i, k, n;
    unsigned char  src[50], dst[50];

    for (n = 2; n <= sizeof(src); n++) {
        for (i = 0; i < n; i++) {
            for (k = i + 1; k < n; k++) {
                memset(src, 'x', n);
                src[i] = ',';
                src[k] = '"';

                assert_int_equal(mapi_log_run(dst, src, n, mapi_log_mark), i);
                assert_memory_equal(dst, src, i);
            }
        }
    }
}


/* around each power of ten, of two, and between */
static void
test_numbers(void **state)
{
    int            k;
    size_t         i;
    char           expected[64];
    uint64_t       n, power;
    unsigned char  text[MAPI_LOG_NUMBER_MAX];

    for (n = 0; n < 30000; n++) {
        sprintf(expected, "%llu", (unsigned long long) n);
        i = mapi_log_number(text, n) - text;
        assert_int_equal(i, strlen(expected));
        assert_memory_equal(text, expected, i);
    }

    for (power = 1; power <= UINT64_MAX / 10; power *= 10) {
        for (k = -2; k <= 2; k++) {
            n = power * 10 + (uint64_t) k;
            sprintf(expected, "%llu", (unsigned long long) n);
            i = mapi_log_number(text, n) - text;
            assert_int_equal(i, strlen(expected));
            assert_memory_equal(text, expected, i);
        }
    }

    for (k = 0; k < 64; k++) {
        n = UINT64_MAX >> k;
        sprintf(expected, "%llu", (unsigned long long) n);
        i = mapi_log_number(text, n) - text;
        assert_int_equal(i, strlen(expected));
        assert_memory_equal(text, expected, i);
    }
}


/* versions of usual and of unusual parts, as printf() would write them */
static void
test_versions(void **state)
{
    size_t               i, k, m, n, len;
    char                 expected[64];
    unsigned char        text[MAPI_LOG_VERSION_MAX];
    mapi_log_version_t   v;

    static const unsigned  part[] = {
        0, 1, 9, 10, 99, 100, 999, 1000, 1544, 9999, 10000, UINT32_MAX
    };

    for (i = 0; i < unit_items(part); i++) {
        for (k = 0; k < unit_items(part); k++) {
            for (m = 0; m < unit_items(part); m++) {
                for (n = 0; n < unit_items(part); n++) {
                    v = (mapi_log_version_t) { { part[i], part[k], part[m] } };

                    sprintf(expected, "%02u.%02u.%04u.%03u",
                            part[i], part[k], part[m], part[n]);
                    len = mapi_log_version(text, &v, part[n]) - text;
                    assert_int_equal(len, strlen(expected));
                    assert_memory_equal(text, expected, len);
                }

                sprintf(expected, "%u",
                        0x70008000 | (part[i] & 0x3f) << 22
                        | (part[k] & 0x3f) << 16 | (part[m] & 0x7fff));
                len = mapi_log_version_number(text, &v) - text;
                assert_int_equal(len, strlen(expected));
                assert_memory_equal(text, expected, len);
            }
        }
    }
}


/* a clock that goes from row to row, back as well, changes nothing */
static void
test_clock(void **state)
{
    size_t            i, len;
    int64_t           begin;
    unsigned char     text[MAPI_LOG_ROW_MAX];
    mapi_log_row_t    row;
    mapi_log_clock_t  clock;

    static const int64_t  steps[] = {
        0, 1, 0, 1, 999, -1, 1000, -999, 0, 59999, 1, -1, 86400000, -86400001,
        -1, 31536000000, 10, 100, -1000
    };

    mapi_log_clock_init(&clock);
    begin = at(DAY_2023_01_06, 23, 59, 59, 995);

    for (i = 0; i < unit_items(steps); i++) {
        begin += steps[i];

        set_execute(&row);
        row.times.begin = begin;
        write_row(&row);

        len = page.len;
        memcpy(text, page.buf, len);

        row.clock = &clock;
        write_row(&row);

        assert_int_equal(page.len, len);
        assert_memory_equal(page.buf, text, len);
    }
}


typedef struct {
    size_t     offset;
    unsigned   column;
    size_t     max;
} cap_t;


static const cap_t  caps[] = {
    { offsetof(mapi_log_row_t, host), 8, 255 },
    { offsetof(mapi_log_row_t, stem), 9, 1024 },
    { offsetof(mapi_log_row_t, auth_type), 11, 255 },
    { offsetof(mapi_log_row_t, user), 13, 512 },
    { offsetof(mapi_log_row_t, organization), 14, 255 },
    { offsetof(mapi_log_row_t, anchor), 15, 640 },
    { offsetof(mapi_log_row_t, user_agent), 16, 1024 },
    { offsetof(mapi_log_row_t, client_address), 17, 512 },
    { offsetof(mapi_log_row_t, server_name), 18, 255 },
    { offsetof(mapi_log_row_t, backend_word), 20, 255 },
    { offsetof(mapi_log_row_t, error_code), 21, 255 },
    { offsetof(mapi_log_row_t, method), 22, 32 },
    { offsetof(mapi_log_row_t, target), 24, 255 },
    { offsetof(mapi_log_row_t, hint), 27, 255 },
    { offsetof(mapi_log_row_t, query), 65, 4096 + 1 },
    { offsetof(mapi_log_row_t, backend_info), 66, 1024 }
};


/* the length at which a value is cut, by characters of one to four bytes */
static void
test_caps(void **state)
{
    size_t           i, k, n, max;
    char            *field;
    unit_edge_t      e;
    mapi_str_t      *value;
    unsigned char   *p;
    mapi_log_row_t   row;

    static const char  *unit[] = {
        "x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\"", "\r", ","
    };
    static const size_t  bytes[] = { 1, 2, 3, 4, 2, 2, 1 };

    e = unit_edge_create(8192);
    p = unit_edge_tail(&e, 8192);

    for (i = 0; i < unit_items(caps); i++) {
        max = caps[i].max - (caps[i].column == 65);

        for (k = 0; k < unit_items(unit); k++) {

            n = strlen(unit[k]);

            set_execute(&row);
            row.backend_status = 0;
            value = (mapi_str_t *) ((char *) &row + caps[i].offset);

            /* as many as there is room for, to the end of memory */

            value->len = max / bytes[k] * n;
            value->data = e.start + e.size - value->len;

            for (p = value->data; p < e.start + e.size; p += n) {
                memcpy(p, unit[k], n);
            }

            write_row(&row);
            field = page.log.field[caps[i].column];
            assert_null(strstr(field, "..."));
            assert_in_range(page.log.len[caps[i].column],
                            max / bytes[k] * (unit[k][0] == '"' ? 1 : bytes[k]),
                            caps[i].max);

            /* one more; and then some */

            for (value->len += n; value->len < 8192; value->len *= 2) {
                value->data = e.start + e.size - value->len;

                for (p = value->data; p < e.start + e.size; p += n) {
                    memcpy(p, unit[k], n);
                }

                write_row(&row);
                field = page.log.field[caps[i].column];
                n = page.log.len[caps[i].column];
                assert_true(n <= caps[i].max);
                assert_true(n * (unit[k][0] == '"' ? 2 : 1) + 4 + 8
                            > caps[i].max);
                assert_string_equal(field + n - 3, "...");
                assert_null(strchr(field, '\xff'));
                n = strlen(unit[k]);
            }
        }
    }

    unit_edge_destroy(&e);
}


/* a quote that is cut off needs no quotes around the column */
static void
test_cut_quote(void **state)
{
    size_t           i;
    unsigned char    method[40];
    mapi_log_row_t   row;

    for (i = 20; i < 40; i++) {
        memset(method, 'x', sizeof(method));
        method[i] = '"';

        set_execute(&row);
        row.method.data = method;
        row.method.len = sizeof(method);
        write_row(&row);
        assert_int_equal(strchr(page.log.field[22], '"') != NULL, i < 28);
    }
}


static void
fill(mapi_log_row_t *row, const mapi_str_t *value)
{
    size_t  i;

    row->client.request_id = *value;
    row->client.request_type = *value;
    row->client.client_info = *value;
    row->client.client_request_id = *value;
    row->cookie_server = *value;
    row->new_connection = *value;
    row->proxy_state = *value;

    for (i = 0; i < unit_items(caps); i++) {
        *(mapi_str_t *) ((char *) row + caps[i].offset) = *value;
    }

    for (i = 0; i < MAPI_LOG_PAIRS_MAX + 4; i++) {
        mapi_log_pair_add(&row->info, "Some.Key", value);
        mapi_log_pair_add(&row->errors, "Some.Key", value);
    }
}


/* everything as long as it can be, and somewhat shorter */
static void
test_worst(void **state)
{
    size_t           n, k, longest;
    unit_edge_t      e;
    mapi_str_t       value;
    mapi_log_row_t   row;

    static const char  byte[] = { 'x', '"', '\r', '\xff', ',' };

    static const int64_t  far[] = {
        INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
        INT64_MAX, INT64_MAX
    };

    longest = 0;
    e = unit_edge_create(16384);

    for (k = 0; k < unit_items(byte); k++) {
        for (n = 1; n <= 16384; n *= 2) {

            set_execute(&row);

            value.len = n;
            value.data = unit_edge_tail(&e, n);
            memset(value.data, byte[k], n);
            fill(&row, &value);

            memset(&row.version, 0xff, sizeof(mapi_log_version_t));
            memset(&row.target_version, 0xff, sizeof(mapi_log_version_t));
            memset(&row.cookie_version, 0xff, sizeof(mapi_log_version_t));
            row.status = UINT32_MAX;
            row.backend_status = k ? 0 : UINT32_MAX;
            row.request_bytes = UINT64_MAX;
            row.answer_bytes = UINT64_MAX;
            row.outstanding = UINT64_MAX;
            row.has_outstanding = 1;
            row.cookie_expires = INT64_MAX;
            set_times(&row.times, INT64_MAX, far);

            write_row(&row);
            longest = page.len > longest ? page.len : longest;
            assert_column(31, "18446744073709551615");
            assert_string_equal(page.log.field[0],
                                "9999-12-31T23:59:59.000Z");
        }
    }

    /* the bound is not far from what there is */

    assert_in_range(longest, MAPI_LOG_ROW_MAX - 4096, MAPI_LOG_ROW_MAX);

    unit_edge_destroy(&e);
}


static void
test_pairs(void **state)
{
    unsigned         i;
    char            *field;
    mapi_str_t       value;
    unsigned char    text[9000];
    mapi_log_row_t   row;

    set_execute(&row);
    memset(text, 'x', sizeof(text));

    value.data = text;
    value.len = 0;
    mapi_log_pair_add(&row.info, "Empty", &value);
    assert_int_equal(row.info.n, 0);

    for (i = 0; i < MAPI_LOG_PAIRS_MAX + 1; i++) {
        value.len = i + 1;
        mapi_log_pair_add(&row.info, "Key", &value);
    }

    assert_int_equal(row.info.n, MAPI_LOG_PAIRS_MAX);
    write_row(&row);
    assert_non_null(strstr(page.log.field[67],
                           "xx;Key=xxxxxxxxxxxxxxxx;SharedCacheGuard=0;"));
    assert_null(strstr(page.log.field[67], "Key=xxxxxxxxxxxxxxxxx"));

    /* no further entry after the dots, but the row's own */

    row.info.n = 0;
    value.len = sizeof(text);
    mapi_log_pair_add(&row.info, "Long", &value);
    mapi_log_pair_add(&row.info, "After", &value);
    row.errors = row.info;
    write_row(&row);

    field = page.log.field[68];
    assert_null(strstr(field, "After"));
    assert_in_range(page.log.len[68], 8000, 8192);
    assert_string_equal(field + page.log.len[68] - 5, "xx...");
    assert_non_null(strstr(page.log.field[67], "xx...;SharedCacheGuard=0;"));

    /* an entry whose key has no room */

    row.errors.pair[0].value.len = 8150;
    write_row(&row);
    field = page.log.field[68];
    assert_string_equal(field + page.log.len[68] - 5, "x;...");

    /* all lengths at which the first or the second is cut */

    for (row.errors.pair[0].value.len = 8100;
         row.errors.pair[0].value.len < 8200;
         row.errors.pair[0].value.len++)
    {
        write_row(&row);
        assert_in_range(page.log.len[68], 8100, 8192);
    }

    /* a value that became empty, a key that is no key of ours */

    row.errors.pair[0].value.len = 0;
    row.errors.pair[1].key.data = text;
    row.errors.pair[1].key.len = 65;
    row.errors.pair[1].value.len = 1;
    row.errors.pair[2].key = unit_str("Last");
    row.errors.pair[2].value = unit_str("y");
    row.errors.n = 3;
    text[0] = ';';
    write_row(&row);
    assert_int_equal(page.log.len[68], 64 + 3 + 7);
    assert_memory_equal(page.log.field[68], " xxx", 4);
    assert_string_equal(page.log.field[68] + 58, "xxx...= ;Last=y;");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_run_twice),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_cut_quote),
        cmocka_unit_test(test_worst),
        cmocka_unit_test(test_pairs)
    };

    return cmocka_run_group_tests(tests, open_page, close_page);
}
