
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "mapi_log_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>


/* no number of ours; whoever plants such a file does not make it wrap */
#define MAPI_LOG_NUMBER_MAX  100000000


typedef struct {
    int64_t   hour;
    unsigned  number;
    int64_t   size;
} mapi_log_entry_t;


typedef struct {
    mapi_log_entry_t  *entry;
    size_t             n;
    size_t             size;
} mapi_log_entries_t;


static int mapi_log_fail(mapi_log_report_t *report, const char *what,
    const char *file);
static void mapi_log_full_name(mapi_log_folder_t *folder, int64_t hour,
    unsigned number, char *file);
static int mapi_log_open(mapi_log_folder_t *folder, struct stat *st,
    mapi_log_report_t *report);
static int mapi_log_is_hopeless(int err);
static unsigned mapi_log_last_number(mapi_log_folder_t *folder, int64_t hour);
static int mapi_log_is_other(mapi_log_folder_t *folder, int fd);
static size_t mapi_log_whole(const unsigned char *p, size_t n, int is_first);
static int mapi_log_mend(int fd, struct stat *st, const char *file,
    mapi_log_report_t *report);
static int mapi_log_write(mapi_log_folder_t *folder, int fd, off_t size,
    struct iovec *rows, int64_t now, mapi_log_report_t *report);
static int mapi_log_write_all(int fd, struct iovec *iov, int n);
static void mapi_log_delete_old(mapi_log_folder_t *folder, int64_t now,
    mapi_log_report_t *report);
static int mapi_log_list(int dir, mapi_log_entries_t *list);
static int mapi_log_list_add(mapi_log_entries_t *list, int64_t hour,
    unsigned number, int64_t size);
static int mapi_log_newer(const void *one, const void *two);
static void mapi_log_delete(int dir, mapi_log_entry_t *e, int promised,
    mapi_log_report_t *report);


int
mapi_log_folder_lock(mapi_log_folder_t *folder, mapi_log_report_t *report)
{
    int           tries;
    char          file[MAPI_LOG_FILE_MAX + 1];
    struct stat   st;
    struct flock  fl;

    memset(report, 0, sizeof(mapi_log_report_t));

    snprintf(file, sizeof(file), "%s/" MAPI_LOG_LOCK_NAME, folder->path);

    for (tries = 0; tries < MAPI_LOG_TRIES; tries++) {

        folder->lock = open(file, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW
                                  |O_NONBLOCK|O_NOCTTY, 0600);
        if (folder->lock == -1) {
            return mapi_log_fail(report, "open()", file);
        }

        memset(&fl, 0, sizeof(struct flock));
        fl.l_type = F_WRLCK;
        fl.l_whence = SEEK_SET;

        if (fcntl(folder->lock, F_SETLK, &fl) == -1) {

            if (errno == EACCES || errno == EAGAIN) {
                mapi_log_folder_unlock(folder);
                return MAPI_BUSY;
            }

            (void) mapi_log_fail(report, "fcntl(F_SETLK)", file);
            mapi_log_folder_unlock(folder);
            return MAPI_ERROR;
        }

        /* a lock on a file that was removed meanwhile locks nobody out */

        if (fstat(folder->lock, &st) == 0 && st.st_nlink > 0) {
            return MAPI_OK;
        }

        mapi_log_folder_unlock(folder);
    }

    return MAPI_BUSY;
}


void
mapi_log_folder_unlock(mapi_log_folder_t *folder)
{
    /* gives the lock back as well */

    (void) close(folder->lock);
    folder->lock = -1;
}


long
mapi_log_folder_holder(mapi_log_folder_t *folder)
{
    int           fd;
    char          file[MAPI_LOG_FILE_MAX + 1];
    struct flock  fl;

    snprintf(file, sizeof(file), "%s/" MAPI_LOG_LOCK_NAME, folder->path);

    fd = open(file, O_RDWR|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);
    if (fd == -1) {
        return 0;
    }

    memset(&fl, 0, sizeof(struct flock));
    fl.l_type = F_WRLCK;
    fl.l_whence = SEEK_SET;

    if (fcntl(fd, F_GETLK, &fl) == -1 || fl.l_type == F_UNLCK) {
        fl.l_pid = 0;
    }

    (void) close(fd);

    return (long) fl.l_pid;
}


int
mapi_log_folder_append(mapi_log_folder_t *folder, unsigned char *rows,
    size_t len, int64_t hour, int64_t now, mapi_log_report_t *report)
{
    int           fd, rc;
    struct stat   st;
    struct iovec  iov;

    if (folder->number == 0 || folder->hour != hour) {
        folder->hour = hour;
        folder->number = mapi_log_last_number(folder, hour);
    }

    fd = mapi_log_open(folder, &st, report);
    if (fd == -1) {
        return MAPI_ERROR;
    }

    if (st.st_size == 0) {
        mapi_log_delete_old(folder, now, report);
    }

    iov.iov_base = rows;
    iov.iov_len = len;

    rc = mapi_log_write(folder, fd, st.st_size, &iov, now, report);

    (void) close(fd);

    return rc;
}


/* the first failure is the one to tell of: other names are tried after it */

static int
mapi_log_fail(mapi_log_report_t *report, const char *what, const char *file)
{
    if (report->what == NULL) {
        report->err = errno;
        report->what = what;
        memcpy(report->file, file, strlen(file) + 1);
    }

    return MAPI_ERROR;
}


static void
mapi_log_full_name(mapi_log_folder_t *folder, int64_t hour, unsigned number,
    char *file)
{
    size_t         n, len;
    unsigned char  name[MAPI_LOG_NAME_MAX];

    n = strlen(folder->path);
    len = mapi_log_name_write(name, hour, number);

    memcpy(file, folder->path, n);
    file[n++] = '/';
    memcpy(file + n, name, len);
    file[n + len] = '\0';
}


/*
 * The first file from the last number on that can be appended to: a regular
 * one, not full, which ends with a whole row.
 */

static int
mapi_log_open(mapi_log_folder_t *folder, struct stat *st,
    mapi_log_report_t *report)
{
    int   fd, tries;
    char  file[MAPI_LOG_FILE_MAX + 1];

    for (tries = 0; tries < MAPI_LOG_TRIES; folder->number++) {

        mapi_log_full_name(folder, folder->hour, folder->number, file);

        if (folder->number > MAPI_LOG_NUMBER_MAX) {
            errno = EOVERFLOW;
            (void) mapi_log_fail(report, "open()", file);
            break;
        }

        fd = open(file, O_RDWR|O_CREAT|O_APPEND|O_CLOEXEC|O_NOFOLLOW
                        |O_NONBLOCK|O_NOCTTY, 0640);
        if (fd == -1) {

            (void) mapi_log_fail(report, "open()", file);

            if (mapi_log_is_hopeless(errno)) {
                break;
            }

            tries++;
            continue;
        }

        if (fstat(fd, st) == -1) {
            (void) mapi_log_fail(report, "fstat()", file);
            tries++;

        } else if (!S_ISREG(st->st_mode)) {
            errno = EEXIST;
            (void) mapi_log_fail(report, "open()", file);
            tries++;

        } else if (folder->max_file && st->st_size > folder->max_file) {
            /* full, which is no failure */

        } else if (st->st_size && mapi_log_is_other(folder, fd)) {
            /* nor is what another configuration has begun */

        } else if (st->st_size
                   && mapi_log_mend(fd, st, file, report) != MAPI_OK)
        {
            tries++;

        } else {
            report->what = NULL;
            report->err = 0;
            memcpy(report->file, file, strlen(file) + 1);
            return fd;
        }

        (void) close(fd);
    }

    /* begin anew: what was in the way may be gone the next time */

    folder->number = 0;

    return -1;
}


/* would other names in the same folder fare no better? */

static int
mapi_log_is_hopeless(int err)
{
    return err == ENOENT || err == ENOTDIR || err == ENOSPC || err == EDQUOT
           || err == EROFS || err == EMFILE || err == ENFILE;
}


/* of the hour's files the last one, 1 if there is none */

static unsigned
mapi_log_last_number(mapi_log_folder_t *folder, int64_t hour)
{
    int                 dir;
    size_t              i;
    unsigned            last;
    mapi_log_entries_t  list;

    last = 1;

    dir = open(folder->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (dir == -1) {
        return last;
    }

    (void) mapi_log_list(dir, &list);

    for (i = 0; i < list.n; i++) {
        if (list.entry[i].hour == hour && list.entry[i].number > last) {
            last = list.entry[i].number;
        }
    }

    free(list.entry);
    (void) close(dir);

    return last;
}


/*
 * Cuts off what a process that was killed, or a machine that lost its power,
 * left behind the last whole row.
 */

static int
mapi_log_mend(int fd, struct stat *st, const char *file,
    mapi_log_report_t *report)
{
    off_t          from;
    size_t         i, n;
    ssize_t        got;
    unsigned char  end[2], *tail;

    from = st->st_size - 2;

    if (from >= 0 && pread(fd, end, 2, from) == 2
        && end[0] == '\r' && end[1] == '\n')
    {
        return MAPI_OK;
    }

    n = MAPI_LOG_ROW_MAX + 2;
    tail = malloc(n);
    if (tail == NULL) {
        return mapi_log_fail(report, "malloc()", file);
    }

    from = st->st_size > (off_t) n ? st->st_size - (off_t) n : 0;
    got = pread(fd, tail, n, from);

    i = mapi_log_whole(tail, got > 0 ? (size_t) got : 0, from == 0);

    free(tail);

    if (i == 0) {

        /* not even a header: it is written anew; longer: it is none of ours */

        if (got < 0 || from > 0) {
            errno = got < 0 ? errno : EILSEQ;
            return mapi_log_fail(report, "pread()", file);
        }
    }

    if (ftruncate(fd, from + (off_t) i) == -1) {
        return mapi_log_fail(report, "ftruncate()", file);
    }

    report->torn = (uint64_t) (st->st_size - from - (off_t) i);
    st->st_size = from + (off_t) i;

    return MAPI_OK;
}


/* how much of n bytes are whole lines; of a file's first ones, with a header */

static size_t
mapi_log_whole(const unsigned char *p, size_t n, int is_first)
{
    size_t    i, end;
    unsigned  lines;

    end = 0;
    lines = 0;

    for (i = 2; i <= n; i++) {
        if (p[i - 2] == '\r' && p[i - 1] == '\n') {
            end = i;
            lines++;
        }
    }

    return (is_first && lines < MAPI_LOG_HEADER_LINES) ? 0 : end;
}


/*
 * Does the file begin with the other list of columns?  A reload may bring it,
 * and workers of before go on with theirs.
 */

static int
mapi_log_is_other(mapi_log_folder_t *folder, int fd)
{
    char  next;

    if (pread(fd, &next, 1, (off_t) mapi_log_fields_old()) != 1) {
        return 0;
    }

    return next == (folder->columns == MAPI_LOG_COLUMNS_OLD ? ',' : '\r');
}


static int
mapi_log_write(mapi_log_folder_t *folder, int fd, off_t size,
    struct iovec *rows, int64_t now, mapi_log_report_t *report)
{
    int            n;
    struct iovec   iov[2];
    unsigned char  header[MAPI_LOG_HEADER_MAX];

    n = 0;

    if (size == 0) {
        iov[n].iov_base = header;
        iov[n++].iov_len = mapi_log_header_write(header, &folder->version,
                                                 folder->columns, now);
    }

    iov[n++] = *rows;

    if (mapi_log_write_all(fd, iov, n) == MAPI_OK) {
        return MAPI_OK;
    }

    report->what = "writev()";
    report->err = errno;

    /* if that fails, the next one to append cuts off what is not whole */

    while (ftruncate(fd, size) == -1 && errno == EINTR) { /* void */ }

    return MAPI_ERROR;
}


static int
mapi_log_write_all(int fd, struct iovec *iov, int n)
{
    size_t   len;
    ssize_t  written;

    while (n) {
        written = writev(fd, iov, n);

        if (written == -1) {
            if (errno == EINTR) {
                continue;
            }

            return MAPI_ERROR;
        }

        if (written == 0) {
            errno = ENOSPC;
            return MAPI_ERROR;
        }

        len = (size_t) written;

        while (n && len >= iov->iov_len) {
            len -= iov->iov_len;
            iov++;
            n--;
        }

        if (n) {
            iov->iov_base = (char *) iov->iov_base + len;
            iov->iov_len -= len;
        }
    }

    return MAPI_OK;
}


/*
 * From the newest on as long as the sum is below the folder's limit; of these
 * the ones whose last row is not too old.  Never the current file.
 */

static void
mapi_log_delete_old(mapi_log_folder_t *folder, int64_t now,
    mapi_log_report_t *report)
{
    int                 dir, is_old;
    size_t              i;
    int64_t             sum;
    mapi_log_entry_t   *e;
    mapi_log_entries_t  list;

    if (folder->max_folder == 0 && folder->max_age == 0) {
        return;
    }

    dir = open(folder->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (dir == -1) {
        return;
    }

    /* a list that memory did not suffice for is not judged by */

    if (mapi_log_list(dir, &list) == MAPI_OK && list.n) {

        qsort(list.entry, list.n, sizeof(mapi_log_entry_t), mapi_log_newer);
        sum = 0;

        for (i = 0; i < list.n; i++) {
            e = &list.entry[i];

            if (e->hour == folder->hour && e->number == folder->number) {
                continue;
            }

            sum += e->size;

            is_old = folder->max_age
                     && (e->hour + 1) * 3600 + folder->max_age <= now / 1000;

            if (is_old || (folder->max_folder && sum > folder->max_folder)) {
                mapi_log_delete(dir, e, !is_old, report);
            }
        }
    }

    free(list.entry);
    (void) close(dir);
}


/* our own files and nothing else: by their names, and regular ones */

static int
mapi_log_list(int dir, mapi_log_entries_t *list)
{
    DIR            *d;
    int             fd, rc;
    int64_t         hour;
    unsigned        number;
    struct stat     st;
    struct dirent  *de;

    memset(list, 0, sizeof(mapi_log_entries_t));

    fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    d = fd == -1 ? NULL : fdopendir(fd);

    if (d == NULL) {
        if (fd != -1) {
            (void) close(fd);
        }

        return MAPI_ERROR;
    }

    rc = MAPI_OK;

    while (rc == MAPI_OK && (de = readdir(d))) {

        if (mapi_log_name_parse((unsigned char *) de->d_name,
                                strlen(de->d_name), &hour, &number)
            != MAPI_OK
            || number > MAPI_LOG_NUMBER_MAX
            || fstatat(dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1
            || !S_ISREG(st.st_mode))
        {
            continue;
        }

        rc = mapi_log_list_add(list, hour, number, st.st_size);
    }

    (void) closedir(d);

    return rc;
}


static int
mapi_log_list_add(mapi_log_entries_t *list, int64_t hour, unsigned number,
    int64_t size)
{
    size_t             n;
    mapi_log_entry_t  *entry;

    if (list->n == list->size) {
        n = list->size ? list->size * 2 : 256;

        entry = realloc(list->entry, n * sizeof(mapi_log_entry_t));
        if (entry == NULL) {
            return MAPI_ERROR;
        }

        list->entry = entry;
        list->size = n;
    }

    entry = &list->entry[list->n++];
    entry->hour = hour;
    entry->number = number;
    entry->size = size;

    return MAPI_OK;
}


static int
mapi_log_newer(const void *one, const void *two)
{
    const mapi_log_entry_t *a = one;
    const mapi_log_entry_t *b = two;

    if (a->hour != b->hour) {
        return a->hour > b->hour ? -1 : 1;
    }

    return (a->number < b->number) - (a->number > b->number);
}


static void
mapi_log_delete(int dir, mapi_log_entry_t *e, int promised,
    mapi_log_report_t *report)
{
    size_t  len;
    char    name[MAPI_LOG_NAME_MAX + 1];

    len = mapi_log_name_write((unsigned char *) name, e->hour, e->number);
    name[len] = '\0';

    if (unlinkat(dir, name, 0) == -1) {
        report->kept++;
        report->kept_err = errno;
        return;
    }

    /* they come from the newest on */

    if (promised && report->deleted++ == 0) {
        report->deleted_hour = e->hour;
    }
}
