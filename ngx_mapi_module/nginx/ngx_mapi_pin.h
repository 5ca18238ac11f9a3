
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_PIN_H_INCLUDED_
#define _NGX_MAPI_PIN_H_INCLUDED_


#include "ngx_mapi_module.h"


/* longest user name kept, DOMAIN\user in UTF-8 */
#define NGX_MAPI_PIN_USER_MAX  256


/* a pin that a request may use, see ngx_mapi_pin_find() */
typedef enum {
    ngx_mapi_pin_any = 0,
    ngx_mapi_pin_handshake,          /* last answer: 401 with a token */
    ngx_mapi_pin_logged_on
} ngx_mapi_pin_state_e;


typedef struct ngx_mapi_pin_client_s  ngx_mapi_pin_client_t;
typedef struct ngx_mapi_direct_s      ngx_mapi_direct_t;


/*
 * A connection to a server that a client connection has for itself, for that
 * connection's life.  It lies in the pool of its own (upstream) connection and
 * has one owner: while it is idle the client's queue, while a request uses it
 * that request's ngx_mapi_pin_data_t.
 */
typedef struct {
    ngx_queue_t                     queue;
    ngx_mapi_pin_client_t          *client;
    ngx_connection_t               *connection;

    ngx_http_upstream_srv_conf_t   *upstream;
    ngx_http_upstream_conf_t       *conf;       /* of the location */
    ngx_int_t                       server;     /* in the block, -1: unknown */

    ngx_sockaddr_t                  sockaddr;
    socklen_t                       socklen;
    ngx_str_t                       name;       /* of the address */

    ngx_mapi_pin_state_e            state;
    ngx_mapi_count_row_t           *count;      /* where it is counted */

    mapi_auth_scheme_e              scheme;     /* of the logon */
    ngx_str_t                       user;       /* who has logged on, as far as
                                                   an NTLM message told */
} ngx_mapi_pin_t;


/*
 * The pins of one client connection, in that connection's pool; a cleanup of
 * the pool finds it and closes them.
 */
struct ngx_mapi_pin_client_s {
    ngx_queue_t                     pins;       /* idle, the latest first */

    /* a logon went with a connection that ended idle: the client thinks that
     * it is still logged on */
    ngx_http_upstream_srv_conf_t   *lost;
};


/* the wish for a pin of a request */
typedef struct {
    ngx_http_upstream_srv_conf_t   *upstream;
    ngx_http_upstream_conf_t       *conf;
    ngx_mapi_pin_state_e            state;
    unsigned                        begin:1;    /* a logon, no handshake */
    ngx_int_t                       server;     /* -1: any */
    struct sockaddr                *sockaddr;   /* NULL: any */
    socklen_t                       socklen;
    u_char                         *usable;     /* a flag a server, or NULL */
} ngx_mapi_pin_wish_t;


/* of one attempt, as a layer around the block's own balancing */
typedef struct {
    /* in front, for the answer: see ngx_mapi_ctx_t */

    ngx_http_request_t             *request;
    ngx_mapi_ctx_t                 *ctx;        /* NULL: not on the road */
    ngx_mapi_watch_t               *watch;      /* NULL: nobody wants it */

    unsigned                        pins:1;     /* mapi_pin on */
    unsigned                        checked:1;  /* mapi_health_check */
    unsigned                        linked:1;
    unsigned                        tainted:1;  /* by the request */
    unsigned                        eligible:1; /* may use and make pins */
    unsigned                        plain:1;    /* without Authorization */
    unsigned                        retried:1;
    unsigned                        poll:1;     /* counted as one */
    unsigned                        inner:1;    /* the block counts for us */
    unsigned                        looked:1;   /* at this attempt's answer */
    unsigned                        offers:1;   /* and it may speak of logons */

    ngx_mapi_pin_t                 *pin;        /* in use, or NULL */
    ngx_mapi_count_row_t           *count;      /* NULL: nothing in flight */
    void                           *data;
    ngx_event_free_peer_pt          original_free_peer;

    ngx_event_get_peer_pt           original_get_peer;
    ngx_event_notify_peer_pt        original_notify;
#if (NGX_HTTP_SSL)
    ngx_event_set_peer_session_pt   original_set_session;
    ngx_event_save_peer_session_pt  original_save_session;
#endif
    ngx_mapi_direct_t              *direct;     /* NULL: not "mapi direct" */
    ngx_mapi_hold_t                 hold;       /* counted by ourselves */
    ngx_int_t                       server;     /* it leads to, -1: unknown */

    mapi_auth_t                     auth;
    ngx_http_upstream_srv_conf_t   *upstream;
    ngx_http_upstream_conf_t       *conf;
    ngx_uint_t                      tries;      /* left, but for the pin's */
    ngx_queue_t                     link;       /* among those in flight */
    ngx_msec_t                      started;
} ngx_mapi_pin_data_t;


/*
 * The layer's data of a request that a server is answering, NULL if none; and
 * of one that it has answered, whoever speaks to the client now.
 */
ngx_mapi_pin_data_t *ngx_mapi_pin_data(ngx_http_request_t *r);
ngx_mapi_pin_data_t *ngx_mapi_pin_layer(ngx_http_request_t *r);

/*
 * Only a connection of HTTP/1 is one client's: streams of HTTP/2 share one,
 * and subrequests could use it at the same time as their main request.
 */
#define ngx_mapi_pin_eligible(r)                                              \
    ((r) == (r)->main && (r)->http_version < NGX_HTTP_VERSION_20)

/* the first message of a logon; whatever was under way is not any more */
#define ngx_mapi_pin_begins(auth)  (mapi_auth_ntlm_type(auth) == 1)

/*
 * The choice.  wish: any pin of this block and location, to be narrowed.
 */
void ngx_mapi_pin_wish(ngx_mapi_pin_wish_t *wish,
    ngx_http_upstream_srv_conf_t *us, ngx_http_upstream_conf_t *conf);
ngx_mapi_pin_t *ngx_mapi_pin_choose(ngx_mapi_pin_data_t *pd);

/*
 * The store: idle pins of the client connections of this worker.
 *
 * find: the latest of the client's pins that is as wished, or NULL.
 * take: out of the queue and ready for a request, which now owns it.
 * keep: pc's connection becomes idle, owned by the client; pin is NULL for a
 *     new one.  NGX_OK; else the connection stays the caller's, to be closed.
 * abandon: ends what the client began here and goes on with no more.
 * end: closes an idle pin, and notes in its client that a logon went with it.
 */
ngx_mapi_pin_t *ngx_mapi_pin_find(ngx_connection_t *c,
    ngx_mapi_pin_wish_t *wish);
void ngx_mapi_pin_take(ngx_mapi_pin_t *pin, ngx_log_t *log);
ngx_int_t ngx_mapi_pin_keep(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc, ngx_mapi_pin_state_e state);
void ngx_mapi_pin_abandon(ngx_mapi_pin_data_t *pd);
void ngx_mapi_pin_end(ngx_mapi_pin_t *pin, ngx_mapi_pin_reason_e reason);
ngx_mapi_pin_client_t *ngx_mapi_pin_client(ngx_connection_t *c);

/* 1 if the server of any of the client's pins knows who it is */
ngx_uint_t ngx_mapi_pin_is_logged_on(ngx_mapi_pin_client_t *client);

/* closes an upstream connection that no request has */
void ngx_mapi_pin_close_connection(ngx_connection_t *c);

/*
 * "mapi direct", in the layer's own words:
 *
 * init: what the server has to know goes into the request, and its answers are
 *     looked at.
 * begin: before each attempt.
 * answered: an attempt ends; 1 if its server has refused, which is no failure.
 * end: everything else has ended it.  After a refusal nginx repeats the request
 *     or gives up.
 */
ngx_int_t ngx_mapi_direct_init(ngx_mapi_pin_data_t *pd);
ngx_uint_t ngx_mapi_direct_answered(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc);
void ngx_mapi_direct_end(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc);
void ngx_mapi_direct_begin(ngx_mapi_pin_data_t *pd);

/* WWW-Authenticate and Persistent-Auth can, and few other names look so */
#define ngx_mapi_pin_may_taint(h)                                             \
    ((h)->key.len - (sizeof("Persistent-Auth") - 1) <= 1                      \
     && (((h)->key.data[0] | 0x20) == 'w' || ((h)->key.data[0] | 0x20) == 'p'))

/* what the answer says of logons: tokens, and whether one persists */
ngx_uint_t ngx_mapi_pin_answer_taints(ngx_http_upstream_t *u,
    ngx_uint_t *token);


#endif /* _NGX_MAPI_PIN_H_INCLUDED_ */
