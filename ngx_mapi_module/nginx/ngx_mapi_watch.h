
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_WATCH_H_INCLUDED_
#define _NGX_MAPI_WATCH_H_INCLUDED_


#include "ngx_mapi_module.h"

#include "mapi_stream.h"


/* how the last attempt at a server ended, if not with a whole answer */
typedef enum {
    ngx_mapi_end_none = 0,
    ngx_mapi_end_connect,        /* refused, or TLS failed */
    ngx_mapi_end_connect_timeout,
    ngx_mapi_end_lack,           /* we had no means to connect with */
    ngx_mapi_end_timeout,        /* silent, before or in the answer */
    ngx_mapi_end_closed,         /* by the server */
    ngx_mapi_end_reset,          /* by the server */
    ngx_mapi_end_garbage,        /* no HTTP */
    ngx_mapi_end_client,         /* by the client */
    ngx_mapi_end_shutdown        /* worker_shutdown_timeout was over */
} ngx_mapi_end_e;


/*
 * What is seen of a request on its way, for the log and the session table:
 * only there when one of them is on.  Lies in the request's pool, has one
 * writer at a time.  Moments are of ngx_current_msec.
 */
struct ngx_mapi_watch_s {
    ngx_msec_t                       began;       /* identify */
    ngx_msec_t                       waited;      /* for the header, before */
    ngx_msec_t                       upstream;    /* the server's turn */
    ngx_msec_t                       attempt;     /* the last one began */
    ngx_msec_t                       sent;
    unsigned                         passed_on:1; /* upstream is set */
    unsigned                         tried:1;     /* attempt is set */
    unsigned                         was_sent:1;
    unsigned                         fresh:1;     /* a new connection */
    unsigned                         streaming:1;
    unsigned                         noted:1;     /* client, for the log */

    ngx_mapi_end_e                   end;
    ngx_uint_t                       outstanding; /* at that address */
    off_t                            answer_bytes;
    mapi_stream_t                    stream;

    /* of the pin that served it, if that was logged on */
    mapi_auth_scheme_e               scheme;
    ngx_str_t                        user;

    ngx_str_t                        smtp;        /* primary address */
    mapi_log_client_t                client;      /* with noted */

    /* with tried, a copy: nginx may free the peer with the attempt's end */
    ngx_str_t                        peer;
    u_char                           address[NGX_SOCKADDR_STRLEN];

    ngx_http_request_t              *request;
    ngx_http_upstream_t             *server;      /* with passed_on */
    ngx_output_chain_filter_pt       output_filter;
    void                            *output_ctx;
};


/* NULL without memory: nothing is seen then, and nothing fails */
ngx_mapi_watch_t *ngx_mapi_watch_create(ngx_http_request_t *r);

/*
 * The request goes to the upstream; an attempt has an address (connection
 * NULL: a new one); an attempt is over, its connection still there.
 */
void ngx_mapi_watch_upstream(ngx_http_request_t *r, ngx_mapi_watch_t *watch);
void ngx_mapi_watch_attempt(ngx_mapi_watch_t *watch,
    ngx_peer_connection_t *pc);
void ngx_mapi_watch_end(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    ngx_uint_t state);

/* milliseconds since the request's first byte */
ngx_msec_t ngx_mapi_watch_elapsed(ngx_http_request_t *r);

/* the watch of a main request on the road or observed, NULL if none, or if an
 * error_page has led off it */
ngx_mapi_watch_t *ngx_mapi_watch_of(ngx_http_request_t *r);

/*
 * Whom the road asked, NULL for nobody: an error_page may have asked somebody
 * else after that, who is r->upstream then.
 */
ngx_http_upstream_t *ngx_mapi_watch_server(ngx_http_request_t *r,
    ngx_mapi_watch_t *watch);

/* the client's connection was closed: by whom; ngx_mapi_end_none if not */
ngx_mapi_end_e ngx_mapi_watch_gone(ngx_http_request_t *r);

/* a pin serves the request, on which somebody has logged on: a copy is kept */
void ngx_mapi_watch_user(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    mapi_auth_scheme_e scheme, ngx_str_t *user);

/* the server's answer begins to pass: called from the header filter */
void ngx_mapi_watch_answer(ngx_http_request_t *r, ngx_mapi_watch_t *watch);

/* X-ResponseCode of the answer, the late one if there is one; -1: none */
ngx_int_t ngx_mapi_watch_code(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);


#endif /* _NGX_MAPI_WATCH_H_INCLUDED_ */
