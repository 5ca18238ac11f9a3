
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * After a reboot the directory is on the disk alone, and whoever looks a
 * mailbox up first waits there for its pages, with all other requests of the
 * worker.  So one worker asks the kernel for the whole file, a little at a
 * time: asking takes microseconds, and nobody waits for what is asked for.
 */

/* in one step, of which there are so many in a turn: 100 MB/s */
#define NGX_MAPI_AHEAD_STEP   (128 * 1024)
#define NGX_MAPI_AHEAD_STEPS  8
#define NGX_MAPI_AHEAD_PAUSE  10


typedef struct {
    ngx_event_t       event;
    ngx_connection_t  dummy;     /* for nginx's debug log */
    uint64_t          offset;
    uint64_t          limit;
} ngx_mapi_ahead_t;


static void ngx_mapi_ahead_turn(ngx_event_t *ev);


static ngx_mapi_ahead_t  ngx_mapi_ahead;


void
ngx_mapi_ahead_init_process(ngx_cycle_t *cycle)
{
    long                   pages;
    ngx_mapi_ahead_t      *ahead;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL
        || mmcf->directory == NULL
        || (ngx_process == NGX_PROCESS_WORKER && ngx_worker != 0))
    {
        return;
    }

    ahead = &ngx_mapi_ahead;
    ngx_memzero(ahead, sizeof(ngx_mapi_ahead_t));

    /* more than half of the machine's memory would push out what is there */

    pages = sysconf(_SC_PHYS_PAGES);

    if (pages <= 0) {
        return;
    }

    ahead->limit = (uint64_t) pages * ngx_pagesize / 2;

    ahead->dummy.fd = (ngx_socket_t) -1;
    ahead->event.data = &ahead->dummy;
    ahead->event.handler = ngx_mapi_ahead_turn;
    ahead->event.log = cycle->log;
    ahead->event.cancelable = 1;

    ngx_add_timer(&ahead->event, 1);
}


/* a file that cannot be read is for the requests to complain of */

static void
ngx_mapi_ahead_turn(ngx_event_t *ev)
{
    ngx_uint_t             i;
    ngx_mapi_ahead_t      *ahead;
    ngx_mapi_main_conf_t  *mmcf;

    ahead = &ngx_mapi_ahead;
    mmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_mapi_module);

    for (i = 0; i < NGX_MAPI_AHEAD_STEPS; i++) {

        if (mmcf->directory == NULL
            || ahead->offset >= ahead->limit
            || mapi_directory_read_ahead(mmcf->directory, ahead->offset,
                                         NGX_MAPI_AHEAD_STEP)
               != MAPI_OK)
        {
            return;
        }

        ahead->offset += NGX_MAPI_AHEAD_STEP;
    }

    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_MAPI_AHEAD_PAUSE);
    }
}
