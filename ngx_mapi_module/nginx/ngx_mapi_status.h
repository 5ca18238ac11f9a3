
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_STATUS_H_INCLUDED_
#define _NGX_MAPI_STATUS_H_INCLUDED_


#include "ngx_mapi_health.h"


/* an address of a server, and what its checks found */
typedef struct {
    ngx_str_t                 name;
    ngx_uint_t                off;           /* down in the configuration */
    ngx_uint_t                fails;         /* of requests, as nginx counts */
    ngx_mapi_health_record_t  health;        /* without names */
} ngx_mapi_status_address_t;


typedef struct {
    ngx_mapi_server_t        *server;
    ngx_atomic_uint_t         n[NGX_MAPI_COUNTS];
    ngx_array_t               addresses;     /* of ngx_mapi_status_address_t */
} ngx_mapi_status_server_t;


typedef struct {
    ngx_mapi_srv_conf_t      *mscf;
    ngx_str_t                 name;
    ngx_uint_t                all_fail;
    ngx_atomic_uint_t         n[NGX_MAPI_COUNTS];
    ngx_array_t               servers;       /* of ngx_mapi_status_server_t */
} ngx_mapi_status_block_t;


/* everything that is shown, whatever form it is shown in */
typedef struct {
    ngx_str_t                 node;          /* mapi_server_name */
    ngx_str_t                 location;      /* without a slash at its end */
    ngx_mapi_directory_view_t directory;
    ngx_mapi_main_conf_t     *mmcf;
    size_t                    pages;         /* of the zone */
    size_t                    free_pages;
    ngx_uint_t                learned;
    ngx_uint_t                forgotten;
    ngx_uint_t                uncounted;
    ngx_uint_t                cycle;         /* the latest */
    ngx_uint_t                mismatches;    /* of certificates */
    ngx_atomic_uint_t         n[NGX_MAPI_COUNTS];
    ngx_array_t               workers;       /* of ngx_mapi_worker_view_t */
    ngx_array_t               blocks;        /* of ngx_mapi_status_block_t */
    ngx_uint_t                ndisagreements;
    ngx_mapi_disagreement_t   disagreements[NGX_MAPI_DISAGREEMENTS];
} ngx_mapi_status_t;


/*
 * Text that grows, in a pool.  After a failure nothing is added any more, and
 * "failed" says so at the end.  A piece of formatted text is cut at
 * NGX_MAPI_TEXT_PIECE bytes: names of any length go through the other
 * functions, which make of them what the form allows and valid UTF-8.
 */

#define NGX_MAPI_TEXT_PIECE  512

typedef struct {
    ngx_pool_t  *pool;
    u_char      *start;
    u_char      *last;
    u_char      *end;
    ngx_uint_t   failed;
} ngx_mapi_text_t;

void ngx_mapi_text_format(ngx_mapi_text_t *t, const char *fmt, ...);
void ngx_mapi_text_json(ngx_mapi_text_t *t, ngx_str_t *s);  /* in quotes */
void ngx_mapi_text_html(ngx_mapi_text_t *t, ngx_str_t *s);
void ngx_mapi_text_label(ngx_mapi_text_t *t, ngx_str_t *s); /* Prometheus */

/* answers with it: 200, to be kept by nobody, nothing loaded from elsewhere */
ngx_int_t ngx_mapi_text_send(ngx_http_request_t *r, ngx_str_t *type,
    ngx_mapi_text_t *t);


void ngx_mapi_status_json(ngx_mapi_text_t *t, ngx_mapi_status_t *st);
void ngx_mapi_status_metrics(ngx_mapi_text_t *t, ngx_mapi_status_t *st);
void ngx_mapi_status_html(ngx_mapi_text_t *t, ngx_mapi_status_t *st);


/* words of the three forms */
ngx_str_t *ngx_mapi_status_state(ngx_mapi_server_t *server);
ngx_str_t *ngx_mapi_state_name(mapi_server_state_e state);
ngx_str_t *ngx_mapi_status_mode(ngx_mapi_srv_conf_t *mscf);

/* by ngx_mapi_pin_reason_e */
extern char  *ngx_mapi_status_reasons[];


#endif /* _NGX_MAPI_STATUS_H_INCLUDED_ */
