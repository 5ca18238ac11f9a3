
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"

#include <pthread.h>


/*
 * After a reboot the directory is on the disk alone, and whoever looks a
 * mailbox up first waits there for its pages, with all other requests of the
 * worker.  So one worker reads the whole file, for the kernel to keep, in a
 * thread: posix_fadvise() would wait, too, while the disk is busy, and leave
 * pages out.  The thread has a descriptor of its own and shares nothing with
 * nginx; it ends with its work, or before the cycle does, which takes away the
 * module's code.
 */

/* a pause after each: at most 100 MB/s */
#define NGX_MAPI_AHEAD_STEP   (128 * 1024)
#define NGX_MAPI_AHEAD_PAUSE  1250000    /* nanoseconds */


typedef struct {
    int           fd;
    off_t         limit;
    pthread_t     thread;
    ngx_atomic_t  stop;
    u_char        buffer[NGX_MAPI_AHEAD_STEP];    /* of no use to anybody */
} ngx_mapi_ahead_t;


static ngx_int_t ngx_mapi_ahead_start(ngx_mapi_ahead_t *ahead,
    ngx_log_t *log);
static void ngx_mapi_ahead_stop(void *data);
static void *ngx_mapi_ahead_read(void *data);


/* of the one thread: a process starts none twice */
static ngx_mapi_ahead_t  ngx_mapi_ahead;


void
ngx_mapi_ahead_init_process(ngx_cycle_t *cycle)
{
    long                   pages;
    ngx_mapi_ahead_t      *ahead;
    ngx_pool_cleanup_t    *cln;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL
        || mmcf->directory == NULL
        || (ngx_process == NGX_PROCESS_WORKER && ngx_worker != 0))
    {
        return;
    }

    /* runs before the cleanup that unloads the module, which is older */

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return;
    }

    ahead = &ngx_mapi_ahead;

    /* more than half of the machine's memory would push out what is there */

    pages = sysconf(_SC_PHYS_PAGES);

    ahead->limit = (off_t) pages / 2 * ngx_pagesize;
    ahead->fd = mapi_directory_file(mmcf->directory);

    if (ahead->fd == -1) {
        return;
    }

    if (ngx_mapi_ahead_start(ahead, cycle->log) != NGX_OK) {
        (void) close(ahead->fd);
        return;
    }

    cln->handler = ngx_mapi_ahead_stop;
    cln->data = ahead;
}


static ngx_int_t
ngx_mapi_ahead_start(ngx_mapi_ahead_t *ahead, ngx_log_t *log)
{
    int       err;
    sigset_t  all, before;

    /* signals are for nginx's own thread, which they have to wake */

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);

    err = pthread_create(&ahead->thread, NULL, ngx_mapi_ahead_read, ahead);

    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);

    if (err) {
        ngx_log_error(NGX_LOG_WARN, log, err,
                      "mapi: no thread to read the directory ahead");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* waits for one read of the disk at most */

static void
ngx_mapi_ahead_stop(void *data)
{
    ngx_mapi_ahead_t *ahead = data;

    ahead->stop = 1;

    (void) pthread_join(ahead->thread, NULL);
}


static void *
ngx_mapi_ahead_read(void *data)
{
    ngx_mapi_ahead_t *ahead = data;

    off_t            offset;
    ssize_t          n;
    struct timespec  pause;

    pause.tv_sec = 0;
    pause.tv_nsec = NGX_MAPI_AHEAD_PAUSE;

    for (offset = 0; offset < ahead->limit && !ahead->stop; offset += n) {

        n = pread(ahead->fd, ahead->buffer, NGX_MAPI_AHEAD_STEP, offset);

        if (n <= 0) {
            break;
        }

        (void) nanosleep(&pause, NULL);
    }

    /* a directory that is replaced later must not stay on the disk for us */

    (void) close(ahead->fd);

    return NULL;
}
