
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_log_row.h"

#include <time.h>


/* against the C library, a day before and after each turn of a month */
static void
test_dates(void **state)
{
    char            expected[64];
    time_t          t;
    int64_t         hour;
    unsigned        number;
    struct tm       tm;
    mapi_log_row_t  row;
    unsigned char   name[MAPI_LOG_NAME_MAX];

    set_execute(&row);
    memset(&row.times, 0, sizeof(mapi_log_times_t));

    for (t = 0; t <= 253402300799; t += 86399 * 97) {
        assert_non_null(gmtime_r(&t, &tm));

        if (t < 253302300799) {
            row.times.begin = (int64_t) t * 1000 + 7;
            strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.007Z",
                     &tm);
            write_row(&row);
            assert_column(0, expected);
        }

        strftime(expected, sizeof(expected), "HttpProxy_%Y%m%d%H-7.LOG", &tm);
        assert_int_equal(mapi_log_name_write(name, t / 3600, 7),
                         strlen(expected));
        assert_memory_equal(name, expected, strlen(expected));

        assert_int_equal(mapi_log_name_parse(name, strlen(expected), &hour,
                                             &number),
                         MAPI_OK);
        assert_int_equal(hour, t / 3600);
        assert_int_equal(number, 7);
    }
}


static void
test_header(void **state)
{
    size_t           n, k;
    char            *p, *line, *first;
    unit_edge_t      e;
    unsigned         i, columns;
    unsigned char   *buf;

    const mapi_log_version_t  v = { { 15, 2, 1544, 4 } };
    const mapi_log_version_t  huge = { { UINT32_MAX, UINT32_MAX, UINT32_MAX,
                                         UINT32_MAX } };

    static const char  *lines[] = {
        "#Software: Microsoft Exchange Server",
        "#Version: 15.02.1544.004",
        "#Log-type: HttpProxy Logs",
        "#Date: 2023-01-06T01:00:04.141Z"
    };

    e = unit_edge_create(MAPI_LOG_HEADER_MAX);
    buf = unit_edge_tail(&e, MAPI_LOG_HEADER_MAX);

    for (columns = 69; columns <= 74; columns += 5) {

        n = mapi_log_header_write(buf, &v, columns,
                                  at(DAY_2023_01_06, 1, 0, 4, 141));
        assert_true(n < MAPI_LOG_HEADER_MAX);
        buf[n] = '\0';
        p = (char *) buf;

        first = p;
        p = strstr(p, "\r\n");
        assert_non_null(p);
        *p = '\0';
        p += 2;

        for (k = 0, i = 1; first[k]; k++) {
            i += (first[k] == ',');
        }

        assert_int_equal(i, columns);
        assert_memory_equal(first, "DateTime,RequestId,", 19);
        assert_non_null(strstr(first, ",GenericInfo,GenericErrors"));
        assert_string_equal(first + k - 14,
                            columns == 69 ? ",GenericErrors"
                                          : ",RoutingStatus");

        for (i = 0; i < 4; i++) {
            line = p;
            p = strstr(p, "\r\n");
            assert_non_null(p);
            *p = '\0';
            p += 2;
            assert_string_equal(line, lines[i]);
        }

        assert_memory_equal(p, "#Fields: ", 9);
        assert_memory_equal(p + 9, first, k);
        assert_string_equal(p + 9 + k, "\r\n");
    }

    n = mapi_log_header_write(buf, &huge, 74, INT64_MAX);
    assert_true(n < MAPI_LOG_HEADER_MAX);
    n = mapi_log_header_write(buf, &v, 74, -1);
    buf[n] = '\0';
    assert_non_null(strstr((char *) buf, "#Date: 1970-01-01T00:00:00.000Z"));

    unit_edge_destroy(&e);
}


static void
one_name(const unsigned char *p, size_t len, void *data)
{
    int64_t   hour;
    unsigned  number;

    /* ends with ".LOG" only when it is whole */

    assert_int_equal(mapi_log_name_parse(p, len, &hour, &number),
                     len == *(size_t *) data ? MAPI_OK : MAPI_ERROR);
}


static void
test_names(void **state)
{
    size_t    i, n;
    int64_t   hour;
    unsigned  number;

    static const char  good[] = "HttpProxy_2023010601-4294967295.LOG";

    static const char *const  bad[] = {
        "", "HttpProxy_2023010601-.LOG", "HttpProxy_2023010601-0.LOG",
        "HttpProxy_2023010601-01.LOG", "HttpProxy_2023010601-1.log",
        "HttpProxy_2023010601-1.LOG ", "HttpProxy_2023010601-1.LOG.gz",
        "HttpProxy_2023010601-1LOG", "HttpProxy_2023010601-+1.LOG",
        "HttpProxy_2023010601--1.LOG", "HttpProxy_2023010601- 1.LOG",
        "HttpProxy_2023010601-4294967296.LOG",
        "HttpProxy_2023010601-18446744073709551617.LOG",
        "HttpProxy_2023010601-99999999999999999999999999999999999.LOG",
        "HttpProxy_2023010601_1.LOG", "HttpProxy2_2023010601-1.LOG",
        "httpproxy_2023010601-1.LOG", "HttpProxy_202301060-1.LOG",
        "HttpProxy_20230106011-1.LOG", "HttpProxy_2023010624-1.LOG",
        "HttpProxy_2023010699-1.LOG", "HttpProxy_2023013201-1.LOG",
        "HttpProxy_2023010001-1.LOG", "HttpProxy_2023000601-1.LOG",
        "HttpProxy_2023130601-1.LOG", "HttpProxy_2023022901-1.LOG",
        "HttpProxy_2100022901-1.LOG", "HttpProxy_2023063101-1.LOG",
        "HttpProxy_1969123123-1.LOG", "HttpProxy_0000010100-1.LOG",
        "HttpProxy_2023-10601-1.LOG", "HttpProxy_20230106x1-1.LOG",
        "/HttpProxy_2023010601-1.LOG", "HttpProxy_2023010601-1/.LOG"
    };

    for (i = 0; i < unit_items(bad); i++) {
        if (mapi_log_name_parse((const unsigned char *) bad[i],
                                strlen(bad[i]), &hour, &number)
            != MAPI_ERROR)
        {
            fail_msg("\"%s\" is a name", bad[i]);
        }
    }

    n = sizeof(good) - 1;
    unit_prefixes(good, n, one_name, &n);

    assert_int_equal(mapi_log_name_parse(unit_text(good), &hour, &number),
                     MAPI_OK);
    assert_int_equal(hour, DAY_2023_01_06 / 3600 + 1);
    assert_int_equal(number, 4294967295u);

    assert_int_equal(mapi_log_name_parse(
                         unit_text("HttpProxy_2024022900-10.LOG"), &hour,
                         &number),
                     MAPI_OK);
    assert_int_equal(number, 10);
}


static void
one_version(const unsigned char *p, size_t len, void *data)
{
    mapi_log_version_t  v;

    (void) mapi_log_version_parse(&v, p, len);
}


static void
test_versions(void **state)
{
    size_t              i;
    mapi_log_version_t  v;

    static const char *const  bad[] = {
        "", ".", "...", "15", "15.2", "15.2.1544", "15.2.1544.", "15.2..4",
        ".2.1544.4", "15.2.1544.4.", "15.2.1544.4.1", "15.2.154400.4",
        "15.2.1544.4 ", " 15.2.1544.4", "15.-2.1544.4", "15.2.15x4.4",
        "Version 15.2", "15,2,1544,4"
    };

    for (i = 0; i < unit_items(bad); i++) {
        if (mapi_log_version_parse(&v, (const unsigned char *) bad[i],
                                   strlen(bad[i]))
            != MAPI_ERROR)
        {
            fail_msg("\"%s\" is a version", bad[i]);
        }
    }

    assert_int_equal(mapi_log_version_parse(&v, NULL, 0), MAPI_ERROR);
    unit_prefixes("15.02.1544.004", 14, one_version, NULL);

    assert_int_equal(mapi_log_version_parse(&v, unit_text("15.02.1544.004")),
                     MAPI_OK);
    assert_int_equal(v.part[0], 15);
    assert_int_equal(v.part[1], 2);
    assert_int_equal(v.part[2], 1544);
    assert_int_equal(v.part[3], 4);

    assert_int_equal(mapi_log_version_parse(&v, unit_text("0.0.0.99999")),
                     MAPI_OK);
    assert_int_equal(v.part[3], 99999);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_versions)
    };

    return cmocka_run_group_tests(tests, open_page, close_page);
}
