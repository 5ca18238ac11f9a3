
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_log_folder.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>


#define HOUR   492000                           /* 2026-02-16T00Z */
#define MOMENT ((int64_t) HOUR * 3600000 + 1000)

#define ROW    "a row\r\n"


static char               path[64];
static mapi_log_folder_t  folder;
static mapi_log_report_t  report;


static int
folder_setup(void **state)
{
    (void) state;

    strcpy(path, "/tmp/test_log_folder.XXXXXX");
    assert_non_null(mkdtemp(path));

    memset(&folder, 0, sizeof(mapi_log_folder_t));

    folder.path = path;
    folder.columns = MAPI_LOG_COLUMNS;
    folder.lock = -1;

    return 0;
}


static int
folder_teardown(void **state)
{
    char  command[128];

    (void) state;

    snprintf(command, sizeof(command), "rm -rf %s", path);

    return system(command);
}


static const char *
file_of(int64_t hour, unsigned number)
{
    size_t       n, len;
    static char  file[128];

    n = (size_t) sprintf(file, "%s/", path);
    len = mapi_log_name_write((unsigned char *) file + n, hour, number);
    file[n + len] = '\0';

    return file;
}


/* -1: it is not there */

static long
size_of(const char *file)
{
    struct stat  st;

    return lstat(file, &st) == 0 ? (long) st.st_size : -1;
}


static void
make(const char *file, long size)
{
    FILE  *f;

    f = fopen(file, "w");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), size), 0);
    assert_int_equal(fclose(f), 0);
}


static void
append_text(const char *file, const char *text)
{
    FILE  *f;

    f = fopen(file, "a");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}


static long
header_size(void)
{
    unsigned char  header[MAPI_LOG_HEADER_MAX];

    return (long) mapi_log_header_write(header, &folder.version,
                                        folder.columns, MOMENT);
}


static int
append(int64_t hour, int64_t now)
{
    int            rc;
    unsigned char  row[] = ROW;

    assert_int_equal(mapi_log_folder_lock(&folder, &report), MAPI_OK);
    rc = mapi_log_folder_append(&folder, row, sizeof(ROW) - 1, hour, now,
                                &report);
    mapi_log_folder_unlock(&folder);

    return rc;
}


static void
test_hours(void **state)
{
    long  head, row;

    (void) state;

    head = header_size();
    row = (long) sizeof(ROW) - 1;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)), head + 2 * row);

    /* the row's hour decides, not the present one; and back again */

    assert_int_equal(append(HOUR + 1, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR + 1, 1)), head + row);
    assert_int_equal(append(HOUR, MOMENT + 3600000), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)), head + 3 * row);
}


static void
test_size(void **state)
{
    long  full;

    (void) state;

    full = header_size() + 2 * ((long) sizeof(ROW) - 1);
    folder.max_file = full - 1;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)), full);
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)), full);
    assert_true(size_of(file_of(HOUR, 2)) > 0);

    /* a new process goes on with the last one, not with the first */

    folder.number = 0;
    unlink(file_of(HOUR, 1));
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)), -1);
    assert_int_equal(size_of(file_of(HOUR, 2)), full);

    /* exactly full is not larger */

    folder.max_file = full;
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 3)), -1);
}


static void
test_quota(void **state)
{
    unsigned  i;

    (void) state;

    for (i = 1; i <= 4; i++) {
        make(file_of(HOUR - 1, i), 100);
        make(file_of(HOUR - 10, i), 100);
    }

    folder.max_folder = 500;
    folder.max_age = 30 * 24 * 3600;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);

    /* newest first, 4 before 1 */

    for (i = 1; i <= 4; i++) {
        assert_int_equal(size_of(file_of(HOUR - 1, i)), 100);
        assert_int_equal(size_of(file_of(HOUR - 10, i)), i == 4 ? 100 : -1);
    }

    assert_int_equal(report.deleted, 3);
    assert_int_equal(report.deleted_hour, HOUR - 10);

    /* only when a file is new */

    make(file_of(HOUR - 20, 1), 100);
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR - 20, 1)), 100);
    assert_int_equal(append(HOUR + 1, MOMENT + 3600000), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR - 20, 1)), -1);
}


static void
test_age(void **state)
{
    (void) state;

    /* the last row of an hour is young enough until the hour's end is not */

    make(file_of(HOUR - 25, 1), 100);
    make(file_of(HOUR - 24, 1), 100);

    folder.max_age = 24 * 3600;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR - 25, 1)), -1);
    assert_int_equal(size_of(file_of(HOUR - 24, 1)), 100);
    assert_int_equal(report.deleted, 0);
}


static void
test_foreign(void **state)
{
    size_t             i;
    char               file[160];
    static const char  *names[] = {
        "HttpProxy_2014010100-1.LOG.gz", "httpproxy_2014010100-1.LOG",
        "HttpProxy_2014010100-1.log", "HttpProxy_2014010100-.LOG",
        "HttpProxy_2014010100-01.LOG", "HttpProxy_2014010100-0.LOG",
        "HttpProxy_2014010124-1.LOG", "HttpProxy_2014130100-1.LOG",
        "HttpProxy_201401010-1.LOG", "HttpProxy_2014010100-1x.LOG",
        "HttpProxy_2014010100-4294967296.LOG", "HttpProxy2_2014010100-1.LOG",
        "notes.txt", ".HttpProxy_2014010100-1.LOG"
    };

    (void) state;

    for (i = 0; i < unit_items(names); i++) {
        snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        make(file, 100);
    }

    snprintf(file, sizeof(file), "%s/notes.txt", path);
    assert_int_equal(symlink(file, file_of(HOUR - 9000, 1)), 0);
    assert_int_equal(mkdir(file_of(HOUR - 9000, 2), 0700), 0);
    assert_int_equal(mkfifo(file_of(HOUR - 9000, 3), 0600), 0);

    folder.max_folder = 1;
    folder.max_age = 3600;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);

    for (i = 0; i < unit_items(names); i++) {
        snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        assert_int_equal(size_of(file), 100);
    }

    for (i = 1; i <= 3; i++) {
        assert_true(size_of(file_of(HOUR - 9000, (unsigned) i)) >= 0);
    }

    assert_true(size_of(file_of(HOUR, 1)) > 0);
}


static void
test_tries(void **state)
{
    unsigned  i;

    (void) state;

    for (i = 1; i <= MAPI_LOG_TRIES; i++) {
        assert_int_equal(mkdir(file_of(HOUR, i), 0700), 0);
    }

    assert_int_equal(append(HOUR, MOMENT), MAPI_ERROR);
    assert_string_equal(report.file, file_of(HOUR, 1));
    assert_int_equal(size_of(file_of(HOUR, i)), -1);

    assert_int_equal(rmdir(file_of(HOUR, MAPI_LOG_TRIES)), 0);
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_string_equal(report.file, file_of(HOUR, MAPI_LOG_TRIES));

    /* a number beyond all bounds is planted: it does not wrap */

    folder.max_file = 50;
    make(file_of(HOUR + 1, 100000000), 100);
    make(file_of(HOUR + 1, 4294967295u), 100);
    assert_int_equal(append(HOUR + 1, MOMENT), MAPI_ERROR);
    assert_int_equal(size_of(file_of(HOUR + 1, 4294967295u)), 100);
}


static void
test_torn(void **state)
{
    char           big[MAPI_LOG_ROW_MAX + 100];
    long           whole;
    size_t         i;
    static const char  *torn[] = { "x", "\r", "half, a row", "row\rrow\n" };

    (void) state;

    for (i = 0; i < unit_items(torn); i++) {
        unlink(file_of(HOUR, 1));
        assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
        whole = size_of(file_of(HOUR, 1));
        append_text(file_of(HOUR, 1), torn[i]);
        assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
        assert_int_equal(report.torn, strlen(torn[i]));
        assert_int_equal(size_of(file_of(HOUR, 1)),
                         whole + (long) sizeof(ROW) - 1);
    }

    /* half a header: the file begins anew */

    make(file_of(HOUR + 1, 1), 0);
    append_text(file_of(HOUR + 1, 1), "DateTime,Req");
    assert_int_equal(append(HOUR + 1, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR + 1, 1)),
                     header_size() + (long) sizeof(ROW) - 1);

    /* of six lines not all */

    append_text(file_of(HOUR + 3, 1), "DateTime\r\n#Software: Mi");
    assert_int_equal(append(HOUR + 3, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR + 3, 1)),
                     header_size() + (long) sizeof(ROW) - 1);

    /* longer than a row can be: left alone */

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    make(file_of(HOUR + 2, 1), 0);
    append_text(file_of(HOUR + 2, 1), "\r\n");
    append_text(file_of(HOUR + 2, 1), big);
    whole = size_of(file_of(HOUR + 2, 1));
    assert_int_equal(append(HOUR + 2, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR + 2, 1)), whole);
    assert_true(size_of(file_of(HOUR + 2, 2)) > 0);
}


/* a reload brings the other list of columns, and workers of before go on */

static void
test_columns(void **state)
{
    long               whole;
    mapi_log_folder_t  before;

    (void) state;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    whole = size_of(file_of(HOUR, 1));

    before = folder;
    folder.columns = MAPI_LOG_COLUMNS_OLD;
    folder.number = 0;

    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)), whole);
    assert_int_equal(size_of(file_of(HOUR, 2)),
                     header_size() + (long) sizeof(ROW) - 1);

    folder = before;
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 1)),
                     whole + (long) sizeof(ROW) - 1);

    /* once that is full, or after the next reload: behind the others' */

    folder.max_file = whole;
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 3)), whole);

    folder.columns = MAPI_LOG_COLUMNS_OLD;
    folder.number = 2;
    folder.max_file = 0;
    assert_int_equal(append(HOUR, MOMENT), MAPI_OK);
    assert_int_equal(size_of(file_of(HOUR, 2)),
                     header_size() + 2 * ((long) sizeof(ROW) - 1));
    assert_int_equal(size_of(file_of(HOUR, 4)), -1);
}


static void
test_lock(void **state)
{
    int    status;
    char   file[128];
    pid_t  pid;

    (void) state;

    assert_int_equal(mapi_log_folder_lock(&folder, &report), MAPI_OK);

    pid = fork();

    if (pid == 0) {
        mapi_log_folder_t  other = folder;

        if (mapi_log_folder_lock(&other, &report) != MAPI_BUSY
            || mapi_log_folder_holder(&other) != (long) getppid())
        {
            _exit(1);
        }

        /* one that was removed locks nobody out */

        snprintf(file, sizeof(file), "%s/" MAPI_LOG_LOCK_NAME, path);
        unlink(file);

        _exit(mapi_log_folder_lock(&other, &report) == MAPI_OK ? 0 : 2);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    mapi_log_folder_unlock(&folder);
    assert_int_equal(mapi_log_folder_holder(&folder), 0);

    /* not through a link */

    snprintf(file, sizeof(file), "%s/" MAPI_LOG_LOCK_NAME, path);
    unlink(file);
    assert_int_equal(symlink("/dev/null", file), 0);
    assert_int_equal(mapi_log_folder_lock(&folder, &report), MAPI_ERROR);
    assert_string_equal(report.file, file);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(test_##name, folder_setup,                \
                                    folder_teardown)

    const struct CMUnitTest  tests[] = {
        test(hours),
        test(size),
        test(quota),
        test(age),
        test(foreign),
        test(tries),
        test(columns),
        test(torn),
        test(lock)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
