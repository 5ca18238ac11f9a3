
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"
#include "ngx_mapi_log_file.h"


/*
 * Rows wait in a buffer of the worker and go to the file of their hour in one
 * piece.  Who cannot have the folder's lock at once tries again at the next
 * tick and lets the buffer grow until then: nobody waits for a worker that
 * appends, or that somebody has stopped while it did.
 */

/* what a buffer grows to while another process has the lock */
#define NGX_MAPI_LOG_GROWTH   16

/* the next try, in milliseconds */
#define NGX_MAPI_LOG_RETRY    20

/* at the end of a process there is no next tick: how often it tries */
#define NGX_MAPI_LOG_TRIES    200
#define NGX_MAPI_LOG_NAP      5

/* one line of a kind in so many milliseconds */
#define NGX_MAPI_LOG_QUIET    60000

/* hours whose rows a buffer may hold at a time */
#define NGX_MAPI_LOG_PARTS    2


typedef struct {
    int64_t                  hour;
    size_t                   len;
    ngx_uint_t               rows;
} ngx_mapi_log_part_t;


typedef struct {
    ngx_uint_t               said;     /* at least once */
    ngx_msec_t               when;
} ngx_mapi_log_quiet_t;


struct ngx_mapi_log_worker_s {
    ngx_queue_t              queue;    /* in ngx_mapi_log_workers */
    ngx_mapi_log_folder_t   *folder;
    mapi_log_folder_t        files;

    u_char                  *start;
    size_t                   len;
    size_t                   size;
    ngx_uint_t               nparts;
    ngx_mapi_log_part_t      part[NGX_MAPI_LOG_PARTS];

    ngx_event_t              timer;
    ngx_uint_t               busy;     /* the lock was not to be had */
    ngx_msec_t               tried;

    ngx_uint_t               failing;
    ngx_uint_t               lost;     /* rows, not yet spoken of */
    ngx_mapi_log_quiet_t     losses;
    ngx_mapi_log_quiet_t     returns;
    ngx_uint_t               deleted;  /* files, likewise */
    ngx_mapi_log_quiet_t     deletions;
};


static ngx_mapi_log_worker_t *ngx_mapi_log_open(ngx_mapi_log_folder_t *folder);
static ngx_int_t ngx_mapi_log_grow(ngx_mapi_log_worker_t *w);
static void ngx_mapi_log_shrink(ngx_mapi_log_worker_t *w);
static void ngx_mapi_log_tick(ngx_event_t *ev);
static ngx_int_t ngx_mapi_log_write(ngx_mapi_log_worker_t *w);
static void ngx_mapi_log_write_parts(ngx_mapi_log_worker_t *w,
    mapi_log_report_t *report);
static void ngx_mapi_log_reset(ngx_mapi_log_worker_t *w);
static ngx_uint_t ngx_mapi_log_may_say(ngx_mapi_log_quiet_t *quiet);
static void ngx_mapi_log_lost(ngx_mapi_log_worker_t *w, ngx_uint_t rows,
    mapi_log_report_t *report);
static const char *ngx_mapi_log_advice(ngx_err_t err);
static void ngx_mapi_log_wrote(ngx_mapi_log_worker_t *w);
static void ngx_mapi_log_say(ngx_mapi_log_worker_t *w,
    mapi_log_report_t *report);


/*
 * All that this process writes to, of whatever cycle: without a master an old
 * cycle's requests go on beside the new one's.
 */

static ngx_queue_t  ngx_mapi_log_workers = {
    &ngx_mapi_log_workers, &ngx_mapi_log_workers
};


u_char *
ngx_mapi_log_reserve(ngx_mapi_log_folder_t *folder, int64_t now)
{
    int64_t                 hour;
    ngx_mapi_log_worker_t  *w;

    w = folder->worker;

    if (w == NULL) {
        w = ngx_mapi_log_open(folder);
        if (w == NULL) {
            return NULL;
        }
    }

    hour = now / 3600000;

    if (w->nparts && w->part[w->nparts - 1].hour != hour) {
        (void) ngx_mapi_log_write(w);
    }

    if (w->size - w->len < MAPI_LOG_ROW_MAX
        && ngx_mapi_log_write(w) != NGX_OK
        && ngx_mapi_log_grow(w) != NGX_OK)
    {
        ngx_mapi_log_lost(w, 1, NULL);
        return NULL;
    }

    if (w->nparts == 0 || w->part[w->nparts - 1].hour != hour) {

        if (w->nparts == NGX_MAPI_LOG_PARTS) {
            ngx_mapi_log_lost(w, 1, NULL);
            return NULL;
        }

        w->part[w->nparts].hour = hour;
        w->part[w->nparts].len = 0;
        w->part[w->nparts].rows = 0;
        w->nparts++;
    }

    return w->start + w->len;
}


void
ngx_mapi_log_commit(ngx_mapi_log_folder_t *folder, size_t len)
{
    ngx_mapi_log_part_t    *part;
    ngx_mapi_log_worker_t  *w;

    w = folder->worker;
    part = &w->part[w->nparts - 1];

    w->len += len;
    part->len += len;
    part->rows++;

    if (w->len >= folder->options.buffer) {
        (void) ngx_mapi_log_write(w);
        return;
    }

    if (!w->timer.timer_set) {
        ngx_add_timer(&w->timer, folder->options.flush);
    }
}


static ngx_mapi_log_worker_t *
ngx_mapi_log_open(ngx_mapi_log_folder_t *folder)
{
    ngx_mapi_log_worker_t   *w;
    ngx_mapi_log_options_t  *options;

    options = &folder->options;

    w = ngx_calloc(sizeof(ngx_mapi_log_worker_t), ngx_cycle->log);
    if (w == NULL) {
        return NULL;
    }

    w->size = options->buffer + MAPI_LOG_ROW_MAX;

    w->start = ngx_alloc(w->size, ngx_cycle->log);
    if (w->start == NULL) {
        ngx_free(w);
        return NULL;
    }

    w->files.path = (const char *) options->path.data;
    w->files.columns = options->columns;
    w->files.version = options->version;
    w->files.max_file = options->max_file;
    w->files.max_folder = options->max_folder;
    w->files.max_age = options->max_age;
    w->files.lock = -1;

    /* a worker that leaves writes by itself and is not held up by the timer */

    w->timer.handler = ngx_mapi_log_tick;
    w->timer.data = w;
    w->timer.log = ngx_cycle->log;
    w->timer.cancelable = 1;

    w->folder = folder;
    folder->worker = w;
    ngx_queue_insert_tail(&ngx_mapi_log_workers, &w->queue);

    return w;
}


static ngx_int_t
ngx_mapi_log_grow(ngx_mapi_log_worker_t *w)
{
    size_t   size, max;
    u_char  *start;

    max = w->folder->options.buffer * NGX_MAPI_LOG_GROWTH + MAPI_LOG_ROW_MAX;
    size = ngx_min(w->size * 2, max);

    if (size - w->len < MAPI_LOG_ROW_MAX) {
        return NGX_DECLINED;
    }

    start = ngx_alloc(size, ngx_cycle->log);
    if (start == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(start, w->start, w->len);
    ngx_free(w->start);

    w->start = start;
    w->size = size;

    return NGX_OK;
}


static void
ngx_mapi_log_shrink(ngx_mapi_log_worker_t *w)
{
    size_t   size;
    u_char  *start;

    size = w->folder->options.buffer + MAPI_LOG_ROW_MAX;

    if (w->size == size) {
        return;
    }

    start = ngx_alloc(size, ngx_cycle->log);
    if (start == NULL) {
        return;
    }

    ngx_free(w->start);

    w->start = start;
    w->size = size;
}


static void
ngx_mapi_log_tick(ngx_event_t *ev)
{
    ngx_mapi_log_worker_t *w = ev->data;

    (void) ngx_mapi_log_write(w);
}


/*
 * NGX_OK with an empty buffer, whatever became of the rows, or NGX_BUSY: they
 * are still there and the timer is set.
 */

static ngx_int_t
ngx_mapi_log_write(ngx_mapi_log_worker_t *w)
{
    int                rc;
    ngx_uint_t         i;
    mapi_log_report_t  report;

    if (w->len == 0) {
        return NGX_OK;
    }

    /* one try in each turn of the loop, however many rows come */

    if (w->busy && w->tried == ngx_current_msec && w->timer.timer_set) {
        return NGX_BUSY;
    }

    rc = mapi_log_folder_lock(&w->files, &report);

    if (rc == MAPI_BUSY) {
        w->busy = 1;
        w->tried = ngx_current_msec;

        ngx_add_timer(&w->timer, ngx_min(w->folder->options.flush,
                                         NGX_MAPI_LOG_RETRY));
        return NGX_BUSY;
    }

    if (rc == MAPI_OK) {
        ngx_mapi_log_write_parts(w, &report);
        mapi_log_folder_unlock(&w->files);

    } else {
        for (i = 0; i < w->nparts; i++) {
            ngx_mapi_log_lost(w, w->part[i].rows, &report);
        }
    }

    ngx_mapi_log_reset(w);

    return NGX_OK;
}


static void
ngx_mapi_log_write_parts(ngx_mapi_log_worker_t *w, mapi_log_report_t *report)
{
    u_char      *p;
    int64_t      now;
    ngx_uint_t   i;
    ngx_time_t  *tp;

    tp = ngx_timeofday();
    now = (int64_t) tp->sec * 1000 + tp->msec;

    p = w->start;

    for (i = 0; i < w->nparts; i++) {

        if (mapi_log_folder_append(&w->files, p, w->part[i].len,
                                   w->part[i].hour, now, report)
            == MAPI_OK)
        {
            ngx_mapi_log_wrote(w);

        } else {
            ngx_mapi_log_lost(w, w->part[i].rows, report);
        }

        ngx_mapi_log_say(w, report);

        p += w->part[i].len;
    }
}


static void
ngx_mapi_log_reset(ngx_mapi_log_worker_t *w)
{
    if (w->timer.timer_set) {
        ngx_del_timer(&w->timer);
    }

    w->busy = 0;
    w->len = 0;
    w->nparts = 0;

    ngx_mapi_log_shrink(w);
}


static ngx_uint_t
ngx_mapi_log_may_say(ngx_mapi_log_quiet_t *quiet)
{
    if (quiet->said && ngx_current_msec - quiet->when < NGX_MAPI_LOG_QUIET) {
        return 0;
    }

    quiet->said = 1;
    quiet->when = ngx_current_msec;

    return 1;
}


/* report: why they are lost; NULL: the lock was not to be had */

static void
ngx_mapi_log_lost(ngx_mapi_log_worker_t *w, ngx_uint_t rows,
    mapi_log_report_t *report)
{
    ngx_str_t  *path;

    w->failing = 1;
    w->lost += rows;

    if (!ngx_mapi_log_may_say(&w->losses)) {
        return;
    }

    path = &w->folder->options.path;

    if (report) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, report->err,
                      "mapi: %ui rows of mapi_log \"%V\" are lost: %s \"%s\" "
                      "failed, %s",
                      w->lost, path, report->what, report->file,
                      ngx_mapi_log_advice(report->err));

    } else {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "mapi: %ui rows of mapi_log \"%V\" are lost: process %l "
                      "keeps its lock, is it stopped?",
                      w->lost, path, mapi_log_folder_holder(&w->files));
    }

    w->lost = 0;
}


static const char *
ngx_mapi_log_advice(ngx_err_t err)
{
    switch (err) {

    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return "free some space or write a smaller \"max_folder\"";

    case EACCES:
    case EPERM:
        return "run \"chown\" on the folder for the workers' user, who also "
               "has to get through those above it";

    case ENOENT:
    case ENOTDIR:
        return "make the folder again and run \"chown\" on it for the "
               "workers' user, or reload";

    case EMFILE:
    case ENFILE:
        return "write a larger \"worker_rlimit_nofile\"";

    case ELOOP:
    case EEXIST:
    case EISDIR:
        return "it is no regular file: remove it";

    default:
        return "look at the disk";
    }
}


static void
ngx_mapi_log_wrote(ngx_mapi_log_worker_t *w)
{
    ngx_uint_t  level;

    /* a disk that is full by turns is no news each time */

    if (!w->failing || !ngx_mapi_log_may_say(&w->returns)) {
        return;
    }

    level = w->lost ? NGX_LOG_ERR : NGX_LOG_NOTICE;

    ngx_log_error(level, ngx_cycle->log, 0,
                  "mapi: rows of mapi_log \"%V\" are written again, %ui more "
                  "were lost", &w->folder->options.path, w->lost);

    w->failing = 0;
    w->lost = 0;
}


static void
ngx_mapi_log_say(ngx_mapi_log_worker_t *w, mapi_log_report_t *report)
{
    size_t      len;
    u_char      name[MAPI_LOG_NAME_MAX];
    ngx_str_t  *path;

    path = &w->folder->options.path;

    if (report->torn) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "mapi: half a row, %uL bytes, cut off the end of \"%s\": "
                      "whoever wrote it was killed",
                      report->torn, report->file);
        report->torn = 0;
    }

    w->deleted += report->deleted;

    if ((report->deleted || report->kept)
        && ngx_mapi_log_may_say(&w->deletions))
    {
        if (w->deleted) {
            len = mapi_log_name_write(name, report->deleted_hour, 1);

            /* without "-1.LOG" */

            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "mapi: %ui files of mapi_log \"%V\" up to \"%*s\" "
                          "are deleted before \"max_age\": write a larger "
                          "\"max_folder\"",
                          w->deleted, path, len - sizeof("-1.LOG") + 1, name);
            w->deleted = 0;
        }

        if (report->kept) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, report->kept_err,
                          "mapi: %ui files of mapi_log \"%V\" cannot be "
                          "deleted", (ngx_uint_t) report->kept, path);
        }
    }

    report->deleted = 0;
    report->kept = 0;
}


void
ngx_mapi_log_flush(ngx_open_file_t *file, ngx_log_t *log)
{
    ngx_queue_t            *q;
    ngx_mapi_log_worker_t  *w;

    for (q = ngx_queue_head(&ngx_mapi_log_workers);
         q != ngx_queue_sentinel(&ngx_mapi_log_workers);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_mapi_log_worker_t, queue);

        (void) ngx_mapi_log_write(w);
    }
}


void
ngx_mapi_log_close(ngx_mapi_log_worker_t *w)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_MAPI_LOG_TRIES; i++) {

        if (w->timer.timer_set) {
            ngx_del_timer(&w->timer);
        }

        if (ngx_mapi_log_write(w) != NGX_BUSY) {
            break;
        }

        ngx_msleep(NGX_MAPI_LOG_NAP);
    }

    /* the last word on losses waits for no minute to pass */

    w->losses.said = 0;

    for (i = 0; i < w->nparts; i++) {
        ngx_mapi_log_lost(w, w->part[i].rows, NULL);
    }

    if (w->lost) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "mapi: %ui more rows of mapi_log \"%V\" are lost",
                      w->lost, &w->folder->options.path);
    }

    ngx_mapi_log_reset(w);

    w->folder->worker = NULL;
    ngx_queue_remove(&w->queue);

    ngx_free(w->start);
    ngx_free(w);
}


void
ngx_mapi_log_exit_process(ngx_cycle_t *cycle)
{
    ngx_queue_t            *q;
    ngx_mapi_log_worker_t  *w;

    while (!ngx_queue_empty(&ngx_mapi_log_workers)) {
        q = ngx_queue_head(&ngx_mapi_log_workers);
        w = ngx_queue_data(q, ngx_mapi_log_worker_t, queue);

        ngx_mapi_log_close(w);
    }
}
