
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * NTLM, Negotiate and Nego2 log a connection on, not a request.  This layer
 * stands outside every other one, also outside keepalive, and keeps the rule:
 *
 *   a connection that carried such a logon in either direction is tainted for
 *   life and is closed after its answer, never pooled;
 *   a request that carries such a logon never starts on a pooled connection.
 */

typedef struct {
    ngx_http_request_t             *request;
    unsigned                        tainted:1;

    void                           *data;
    ngx_event_get_peer_pt           original_get_peer;
    ngx_event_free_peer_pt          original_free_peer;
    ngx_event_notify_peer_pt        original_notify;
#if (NGX_HTTP_SSL)
    ngx_event_set_peer_session_pt   original_set_session;
    ngx_event_save_peer_session_pt  original_save_session;
#endif
} ngx_mapi_pin_data_t;


static ngx_int_t ngx_mapi_pin_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_mapi_pin_get_peer(ngx_peer_connection_t *pc, void *data);
static void ngx_mapi_pin_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
static void ngx_mapi_pin_notify(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type);
static ngx_uint_t ngx_mapi_pin_request_taints(ngx_http_request_t *r);
static ngx_uint_t ngx_mapi_pin_answer_taints(ngx_http_upstream_t *u);
static void ngx_mapi_pin_discard(ngx_peer_connection_t *pc);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_mapi_pin_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_mapi_pin_save_session(ngx_peer_connection_t *pc, void *data);
#endif


/* called from postconfiguration: nothing can wrap the block after us */

ngx_int_t
ngx_mapi_pin_install(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_srv_conf_t  *mscf;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    mscf->original_init_peer = us->peer.init;
    us->peer.init = ngx_mapi_pin_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_pin_data_t    *pin;
    ngx_mapi_srv_conf_t    *mscf;
    ngx_peer_connection_t  *pc;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    pin = ngx_palloc(r->pool, sizeof(ngx_mapi_pin_data_t));
    if (pin == NULL) {
        return NGX_ERROR;
    }

    if (mscf->original_init_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    pc = &r->upstream->peer;

    pin->request = r;
    pin->tainted = ngx_mapi_pin_request_taints(r);

    pin->data = pc->data;
    pin->original_get_peer = pc->get;
    pin->original_free_peer = pc->free;
    pin->original_notify = pc->notify;

    pc->data = pin;
    pc->get = ngx_mapi_pin_get_peer;
    pc->free = ngx_mapi_pin_free_peer;

    if (pin->original_notify) {
        pc->notify = ngx_mapi_pin_notify;
    }

#if (NGX_HTTP_SSL)
    pin->original_set_session = pc->set_session;
    pin->original_save_session = pc->save_session;

    pc->set_session = ngx_mapi_pin_set_session;
    pc->save_session = ngx_mapi_pin_save_session;
#endif

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_pin_data_t  *pin = data;

    ngx_int_t  rc;

    rc = pin->original_get_peer(pc, pin->data);

    if (rc == NGX_DONE && pin->tainted) {
        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, pc->log, 0,
                       "mapi: a logon does not start on a pooled connection");

        ngx_mapi_pin_discard(pc);
        return NGX_OK;
    }

    return rc;
}


static void
ngx_mapi_pin_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_mapi_pin_data_t  *pin = data;

    ngx_http_upstream_t  *u;

    u = pin->request->upstream;

    if (u->keepalive
        && (pin->tainted || ngx_mapi_pin_answer_taints(u)))
    {
        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, pc->log, 0,
                       "mapi: tainted connection is closed, not pooled");

        u->keepalive = 0;
    }

    pin->original_free_peer(pc, pin->data, state);
}


static void
ngx_mapi_pin_notify(ngx_peer_connection_t *pc, void *data, ngx_uint_t type)
{
    ngx_mapi_pin_data_t  *pin = data;

    pin->original_notify(pc, pin->data, type);
}


static ngx_uint_t
ngx_mapi_pin_request_taints(ngx_http_request_t *r)
{
    mapi_auth_t       auth;
    ngx_table_elt_t  *h;

    /* nginx refuses a second Authorization line: there is only this one */

    h = r->headers_in.authorization;

    if (h == NULL) {
        return 0;
    }

    mapi_auth_parse(&auth, h->value.data, h->value.len);

    return mapi_auth_is_connection(&auth);
}


/* any status, any line, any element of a line */

static ngx_uint_t
ngx_mapi_pin_answer_taints(ngx_http_upstream_t *u)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &u->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("WWW-Authenticate") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "WWW-Authenticate",
                               sizeof("WWW-Authenticate") - 1)
               == 0
            && mapi_auth_challenge_taints(h[i].value.data, h[i].value.len))
        {
            return 1;
        }

        if (h[i].key.len == sizeof("Persistent-Auth") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "Persistent-Auth",
                               sizeof("Persistent-Auth") - 1)
               == 0
            && h[i].value.len == sizeof("true") - 1
            && ngx_strncasecmp(h[i].value.data, (u_char *) "true",
                               sizeof("true") - 1)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_mapi_pin_discard(ngx_peer_connection_t *pc)
{
    ngx_connection_t  *c;

    c = pc->connection;

    pc->connection = NULL;
    pc->cached = 0;

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        (void) ngx_ssl_shutdown(c);
    }
#endif

    if (c->pool) {
        ngx_destroy_pool(c->pool);
    }

    ngx_close_connection(c);
}


#if (NGX_HTTP_SSL)

static ngx_int_t
ngx_mapi_pin_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_pin_data_t  *pin = data;

    return pin->original_set_session(pc, pin->data);
}


static void
ngx_mapi_pin_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_pin_data_t  *pin = data;

    pin->original_save_session(pc, pin->data);
}

#endif
