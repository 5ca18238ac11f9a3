
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_SESSION_H_INCLUDED_
#define _NGX_MAPI_SESSION_H_INCLUDED_


#include "ngx_mapi_module.h"

#include "mapi_session_table.h"


/*
 * The session table: see core/mapi_session_table.h for what it is.  It is
 * split into parts, each of them shared memory with a mutex of its own, which
 * the master frees when a worker dies; a session is in the part that its key
 * says.  Nobody ever holds two of them.
 */

#define NGX_MAPI_SESSION_PARTS  8


typedef struct {
    ngx_shm_zone_t        *shm_zone;
    ngx_slab_pool_t       *shpool;
    mapi_session_table_t  *table;
} ngx_mapi_session_part_t;


struct ngx_mapi_sessions_s {
    ngx_uint_t               nparts;
    ngx_mapi_session_part_t  part[NGX_MAPI_SESSION_PARTS];
};


/*
 * Reading, for pages: begin with all sessions, or with those of the mailbox
 * that the request is for, in the upstream block that it leads to; then next
 * copies one after the other.  NGX_OK, or NGX_DONE behind the last one.  A
 * mutex is held for one copy, or for NGX_MAPI_SESSION_LOOKS entries that are
 * none.  What is opened meanwhile may be missed, nothing comes twice.  In a
 * copy nothing is under way that a worker had who is gone.
 */

#define NGX_MAPI_SESSION_LOOKS  64

typedef struct {
    ngx_mapi_main_conf_t    *mmcf;
    ngx_uint_t               part;
    uint32_t                 pos;
    ngx_uint_t               chosen;       /* by owner, else all */
    uint64_t                 owner[2];
} ngx_mapi_session_scan_t;

void ngx_mapi_session_scan_all(ngx_mapi_main_conf_t *mmcf,
    ngx_mapi_session_scan_t *scan);
void ngx_mapi_session_scan_mailbox(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_mapi_session_scan_t *scan);
ngx_int_t ngx_mapi_session_next(ngx_mapi_session_scan_t *scan,
    mapi_session_t *copy);

/* all zero without a zone */
void ngx_mapi_session_totals(ngx_mapi_main_conf_t *mmcf,
    mapi_session_totals_t *totals);


#endif /* _NGX_MAPI_SESSION_H_INCLUDED_ */
