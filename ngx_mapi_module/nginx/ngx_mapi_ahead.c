
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
 * pages out.  The thread has a descriptor of its own, shares nothing with
 * nginx and ends with its work, or with the process.
 */

/* a pause after each: at most 100 MB/s */
#define NGX_MAPI_AHEAD_STEP   (128 * 1024)
#define NGX_MAPI_AHEAD_PAUSE  1250000    /* nanoseconds */


typedef struct {
    int      fd;
    off_t    limit;
    u_char   buffer[NGX_MAPI_AHEAD_STEP];    /* of no use to anybody */
} ngx_mapi_ahead_t;


static void *ngx_mapi_ahead_read(void *data);


/* of the one thread: a process starts none twice */
static ngx_mapi_ahead_t  ngx_mapi_ahead;


void
ngx_mapi_ahead_init_process(ngx_cycle_t *cycle)
{
    int                    err;
    long                   pages;
    sigset_t               all, before;
    pthread_t              thread;
    pthread_attr_t         attr;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL
        || mmcf->directory == NULL
        || (ngx_process == NGX_PROCESS_WORKER && ngx_worker != 0))
    {
        return;
    }

    /* more than half of the machine's memory would push out what is there */

    pages = sysconf(_SC_PHYS_PAGES);

    ngx_mapi_ahead.limit = (off_t) pages / 2 * ngx_pagesize;
    ngx_mapi_ahead.fd = mapi_directory_file(mmcf->directory);

    if (ngx_mapi_ahead.fd == -1) {
        return;
    }

    /* signals are for nginx's own thread, which they have to wake */

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);

    err = pthread_attr_init(&attr);

    if (err == 0) {
        (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

        err = pthread_create(&thread, &attr, ngx_mapi_ahead_read,
                             &ngx_mapi_ahead);

        (void) pthread_attr_destroy(&attr);
    }

    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);

    if (err) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, err,
                      "mapi: no thread to read the directory ahead");
        (void) close(ngx_mapi_ahead.fd);
    }
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

    for (offset = 0; offset < ahead->limit; offset += n) {

        n = pread(ahead->fd, ahead->buffer, NGX_MAPI_AHEAD_STEP, offset);

        if (n <= 0) {
            break;
        }

        (void) nanosleep(&pause, NULL);
    }

    (void) close(ahead->fd);

    return NULL;
}
