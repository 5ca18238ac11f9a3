
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"
#include "ngx_mapi_watch.h"


/*
 * NTLM, Negotiate and Nego2 log a connection on, not a request.  This layer
 * stands outside every other one, also outside keepalive, and keeps the rules:
 *
 *   a connection that carried such a logon in either direction is tainted for
 *   life: it serves the client connection that made it, or is closed;
 *   a request that carries such a logon never starts on a pooled connection.
 *
 * Whatever goes wrong ends in "closed".
 */


static ngx_int_t ngx_mapi_pin_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_mapi_pin_get_peer(ngx_peer_connection_t *pc, void *data);
static ngx_int_t ngx_mapi_pin_get(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc);
static ngx_int_t ngx_mapi_pin_use(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc, ngx_mapi_pin_t *pin);
static void ngx_mapi_pin_lend(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc, ngx_mapi_pin_t *pin);
static ngx_int_t ngx_mapi_pin_get_inner(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc);
static void ngx_mapi_pin_count_begin(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc);
static void ngx_mapi_pin_count_end(ngx_mapi_pin_data_t *pd,
    ngx_uint_t status, ngx_uint_t state);
static void ngx_mapi_pin_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
static void ngx_mapi_pin_settle(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc, ngx_uint_t state, ngx_uint_t token);
static ngx_uint_t ngx_mapi_pin_can_keep(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc, ngx_uint_t state);
static ngx_mapi_pin_state_e ngx_mapi_pin_state(ngx_mapi_pin_data_t *pd,
    ngx_uint_t token);
static void ngx_mapi_pin_note_offer(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc);
static void ngx_mapi_pin_notify(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type);
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
    ngx_mapi_srv_conf_t           *mscf;
    ngx_http_upstream_rr_peers_t  *peers;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    /*
     * All of nginx's own methods count on one kind of list, which bears the
     * block's name; a foreign one may keep something else there.
     */

    peers = us->peer.data;
    mscf->peers = (peers && peers->name == &us->host);

    mscf->addresses = ngx_pcalloc(cf->pool,
                                  NGX_MAPI_COUNT_ADDRESSES
                                  * sizeof(ngx_mapi_count_address_t));
    if (mscf->addresses == NULL) {
        return NGX_ERROR;
    }

    mscf->original_init_peer = us->peer.init;
    us->peer.init = ngx_mapi_pin_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_pin_data_t    *pd;
    ngx_mapi_srv_conf_t    *mscf;
    ngx_peer_connection_t  *pc;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    pd = ngx_pcalloc(r->pool, sizeof(ngx_mapi_pin_data_t));
    if (pd == NULL) {
        return NGX_ERROR;
    }

    if (mscf->health) {
        ngx_mapi_health_apply(us);
    }

    if (mscf->original_init_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    pc = &r->upstream->peer;

    pd->request = r;
    pd->upstream = us;
    pd->conf = r->upstream->conf;

    pd->ctx = ngx_mapi_road_ctx(r, us);
    pd->watch = pd->ctx ? pd->ctx->watch : ngx_mapi_watch_of(r);

    if (pd->watch) {
        ngx_mapi_watch_upstream(r, pd->watch);
    }

    /* read anew: what taints a connection depends on nobody else's memory */

    ngx_mapi_read_auth(r, &pd->auth);

    if (pd->ctx == NULL && mscf->pin) {
        ngx_mapi_check_request(r, &mscf->noticed, 0);
    }

    pd->tainted = mapi_auth_is_connection(&pd->auth);
    pd->pins = mscf->pin;
    pd->checked = (mscf->health != NULL);
    pd->plain = (r->headers_in.authorization == NULL);
    pd->eligible = mscf->pin && ngx_mapi_pin_eligible(r);

    pd->data = pc->data;
    pd->original_get_peer = pc->get;
    pd->original_free_peer = pc->free;
    pd->original_notify = pc->notify;

    pc->data = pd;
    pc->get = ngx_mapi_pin_get_peer;
    pc->free = ngx_mapi_pin_free_peer;

    if (pd->original_notify) {
        pc->notify = ngx_mapi_pin_notify;
    }

#if (NGX_HTTP_SSL)
    pd->original_set_session = pc->set_session;
    pd->original_save_session = pc->save_session;

    pc->set_session = ngx_mapi_pin_set_session;
    pc->save_session = ngx_mapi_pin_save_session;
#endif

    if (pd->ctx && mscf->type == ngx_mapi_upstream_direct) {
        return ngx_mapi_direct_init(pd);
    }

    return NGX_OK;
}


ngx_mapi_pin_data_t *
ngx_mapi_pin_layer(ngx_http_request_t *r)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    return (u && u->peer.free == ngx_mapi_pin_free_peer) ? u->peer.data : NULL;
}


/* nginx holds the upstream's cleanup as long as the server's answer passes */

ngx_mapi_pin_data_t *
ngx_mapi_pin_data(ngx_http_request_t *r)
{
    return (r->upstream && r->upstream->cleanup) ? ngx_mapi_pin_layer(r)
                                                 : NULL;
}


static ngx_int_t
ngx_mapi_pin_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_pin_data_t  *pd = data;

    ngx_int_t             rc;
    ngx_mapi_srv_conf_t  *mscf;

    if (pd->direct) {
        ngx_mapi_direct_begin(pd);
    }

    pd->looked = 0;

    rc = ngx_mapi_pin_get(pd, pc);

    if (rc != NGX_OK && rc != NGX_DONE) {
        return rc;
    }

    ngx_mapi_pin_count_begin(pd, pc);

    if (pd->watch) {
        ngx_mapi_watch_attempt(pd->watch, pc);
    }

    if (pd->checked) {
        mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

        pd->started = ngx_current_msec;
        ngx_queue_insert_head(&mscf->requests, &pd->link);
        pd->linked = 1;
    }

    return rc;
}


ngx_peer_connection_t *
ngx_mapi_pin_peer_of(ngx_queue_t *q)
{
    ngx_mapi_pin_data_t  *pd;

    pd = ngx_queue_data(q, ngx_mapi_pin_data_t, link);

    return &pd->request->upstream->peer;
}


ngx_msec_t
ngx_mapi_pin_started(ngx_queue_t *q)
{
    ngx_mapi_pin_data_t  *pd;

    pd = ngx_queue_data(q, ngx_mapi_pin_data_t, link);

    return pd->started;
}


static ngx_int_t
ngx_mapi_pin_get(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_int_t        rc;
    ngx_mapi_pin_t  *pin;

    if (!pd->tainted && !pd->plain) {

        /* it neither logs on nor may it use what somebody has logged on */

        rc = pd->original_get_peer(pc, pd->data);
        pd->inner = (rc == NGX_OK || rc == NGX_DONE);

        return rc;
    }

    if (pd->eligible && !pd->retried) {

        if (pd->tainted && ngx_mapi_pin_begins(&pd->auth)) {
            ngx_mapi_pin_abandon(pd);
        }

        pin = ngx_mapi_pin_choose(pd);

        if (pin) {
            rc = ngx_mapi_pin_use(pd, pc, pin);

            if (rc != NGX_DECLINED) {
                return rc;
            }
        }
    }

    return ngx_mapi_pin_get_inner(pd, pc);
}


/* NGX_DONE; NGX_DECLINED if the pin's server is gone, and the pin with it */

static ngx_int_t
ngx_mapi_pin_use(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc,
    ngx_mapi_pin_t *pin)
{
    u_char               *p;
    ngx_str_t            *name;
    ngx_mapi_srv_conf_t  *mscf;

    mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

    if (mscf->peers
        && ngx_mapi_hold(pd->upstream, (struct sockaddr *) &pin->sockaddr,
                         pin->socklen, &pd->hold)
           != NGX_OK)
    {
        ngx_mapi_pin_end(pin, ngx_mapi_pin_by_server);
        return NGX_DECLINED;
    }

    if (pd->watch && pd->hold.peer) {
        pd->watch->outstanding = pd->hold.peer->conns;
    }

    /* the log names the address when the pin may be gone */

    name = ngx_palloc(pd->request->pool, sizeof(ngx_str_t) + pin->name.len
                                         + sizeof(ngx_sockaddr_t));
    if (name == NULL) {
        ngx_mapi_release(&pd->hold);
        return NGX_ERROR;
    }

    p = (u_char *) (name + 1);

    ngx_memcpy(p, &pin->sockaddr, sizeof(ngx_sockaddr_t));
    pc->sockaddr = (struct sockaddr *) p;
    pc->socklen = pin->socklen;

    name->len = pin->name.len;
    name->data = p + sizeof(ngx_sockaddr_t);
    ngx_memcpy(name->data, pin->name.data, pin->name.len);
    pc->name = name;

    pd->inner = 0;
    ngx_mapi_pin_lend(pd, pc, pin);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, pc->log, 0,
                   "mapi: pinned connection to %V", pc->name);

    return NGX_DONE;
}


/*
 * With one try nginx passes any answer on, whatever "proxy_next_upstream" says:
 * that of another server would be an anonymous one.
 */

static void
ngx_mapi_pin_lend(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc,
    ngx_mapi_pin_t *pin)
{
    ngx_mapi_pin_take(pin, pc->log);

    pd->pin = pin;
    pd->tries = pc->tries;

    if (pd->watch && pin->state == ngx_mapi_pin_logged_on) {
        ngx_mapi_watch_user(pd->request, pd->watch, pin->scheme, &pin->user);
    }

    pc->connection = pin->connection;
    pc->cached = 1;
    pc->tries = 1;
}


static ngx_int_t
ngx_mapi_pin_get_inner(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_int_t             rc;
    ngx_mapi_pin_t       *pin;
    ngx_mapi_srv_conf_t  *mscf;
    ngx_mapi_pin_wish_t   wish;

    rc = pd->original_get_peer(pc, pd->data);

    if (rc != NGX_OK && rc != NGX_DONE) {
        return rc;
    }

    pd->inner = 1;

    mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

    /* another method has chosen: is there a pin at that address? */

    if (pd->eligible && !pd->retried
        && (pd->ctx == NULL || mscf->type == ngx_mapi_upstream_none)
        && mscf->prefer == ngx_mapi_prefer_route)
    {
        ngx_mapi_pin_wish(&wish, pd->upstream, pd->conf);

        wish.state = pd->tainted ? ngx_mapi_pin_any : ngx_mapi_pin_logged_on;
        wish.begin = ngx_mapi_pin_begins(&pd->auth);
        wish.sockaddr = pc->sockaddr;
        wish.socklen = pc->socklen;

        pin = ngx_mapi_pin_find(pd->request->connection, &wish);

        if (pin) {
            if (rc == NGX_DONE) {
                ngx_mapi_pin_discard(pc);
            }

            ngx_mapi_pin_lend(pd, pc, pin);

            return NGX_DONE;
        }
    }

    if (rc == NGX_DONE && pd->tainted) {
        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, pc->log, 0,
                       "mapi: a logon does not start on a pooled connection");

        ngx_mapi_pin_discard(pc);
        return NGX_OK;
    }

    return rc;
}


/* what is in flight, from get() to free() */

static void
ngx_mapi_pin_count_begin(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_int_t             n;
    ngx_str_t            *type;
    ngx_mapi_server_t    *servers;
    ngx_mapi_srv_conf_t  *mscf;

    n = pd->ctx ? pd->ctx->server : -1;
    pd->server = n;

    if (pd->pin) {
        pd->count = pd->pin->count;

    } else if (n >= 0) {
        mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);
        servers = mscf->servers.elts;
        pd->count = servers[n].count;

    } else {
        pd->count = ngx_mapi_count_of_peer(pd->upstream, pc);
    }

    ngx_mapi_count_add(pd->count, NGX_MAPI_COUNT_REQUESTS);

    type = pd->ctx ? &pd->ctx->request_type : NULL;

    if (type && type->len == sizeof("NotificationWait") - 1
        && ngx_strncasecmp(type->data, (u_char *) "NotificationWait",
                           type->len)
           == 0)
    {
        ngx_mapi_count_add(pd->count, NGX_MAPI_COUNT_POLLS);
        pd->poll = 1;
    }
}


static void
ngx_mapi_pin_count_end(ngx_mapi_pin_data_t *pd, ngx_uint_t status,
    ngx_uint_t state)
{
    ngx_http_upstream_t  *u;

    if (pd->count == NULL) {
        return;
    }

    u = pd->request->upstream;

    ngx_mapi_count_sub(pd->count, NGX_MAPI_COUNT_REQUESTS);

    if (pd->poll) {
        ngx_mapi_count_sub(pd->count, NGX_MAPI_COUNT_POLLS);
        pd->poll = 0;
    }

    if (status >= 200 && status <= 599) {
        ngx_mapi_count_add(pd->count,
                           NGX_MAPI_COUNT_ANSWERS + status / 100 - 2);

    } else if ((state & NGX_PEER_FAILED)
               && u->state && u->state->connect_time == (ngx_msec_t) -1)
    {
        ngx_mapi_count_add(pd->count, NGX_MAPI_COUNT_UNREACHED);
    }

    pd->count = NULL;
}


/* once for each get() that gave something */

static void
ngx_mapi_pin_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_mapi_pin_data_t  *pd = data;

    ngx_uint_t            status, token, tainted, pinned;
    ngx_http_upstream_t  *u;

    /*
     * Without a connection, connect() has just failed; whatever has failed
     * since then and left another error, the server bears the blame.
     */

    if (pc->connection == NULL
        && ngx_mapi_is_own_lack(ngx_socket_errno, pc->sockaddr, pc->socklen))
    {
        state &= ~NGX_PEER_FAILED;
    }

    u = pd->request->upstream;
    token = 0;
    tainted = 0;
    pinned = (pd->pin != NULL);

    /* without a connection these are the headers of the attempt before */

    status = pc->connection ? u->headers_in.status_n : 0;

    if (pd->direct && ngx_mapi_direct_answered(pd, pc)) {
        state &= ~NGX_PEER_FAILED;

    } else if (pd->watch) {
        ngx_mapi_watch_end(pd->request, pd->watch, state);
    }

    if (pc->connection) {
        tainted = pd->tainted || pinned;

        if (!pd->looked || pd->offers) {
            tainted |= ngx_mapi_pin_answer_taints(u, &token);
        }
    }

    pd->retried = 1;

    if (tainted) {
        ngx_mapi_pin_settle(pd, pc, state, token);

        /* nothing inside may take it for one of its own */
        u->keepalive = 0;
    }

    ngx_mapi_pin_count_end(pd, status, state);

    if (pd->linked) {
        ngx_queue_remove(&pd->link);
        pd->linked = 0;

        if (status == NGX_HTTP_UNAUTHORIZED) {
            ngx_mapi_pin_note_offer(pd, pc);
        }
    }

    /*
     * With active checks only connecting tells more than they do.  What an
     * attempt before this one has sent is known only until there is a new
     * connection; one from a pool was open already.
     */

    if (pd->checked
        && (pc->cached || (pc->connection && u->request_sent)))
    {
        state &= ~NGX_PEER_FAILED;
    }

    if (pinned) {
        pc->tries = pd->tries;

        /* a connection that was open already says nothing of its server */
        state &= ~NGX_PEER_FAILED;
    }

    if (pd->inner) {
        pd->inner = 0;
        pd->original_free_peer(pc, pd->data, state);

    } else {
        ngx_mapi_release(&pd->hold);

        if (pc->tries) {
            pc->tries--;
        }
    }

    /*
     * What has been sent on a pinned connection is not sent again on the road,
     * and no part of a logon anywhere.  If nothing was, nginx gives the attempt
     * back, and it goes on a fresh connection.
     */

    if (pinned && u->request_sent && (pd->ctx || pd->tainted)) {
        pc->tries = 0;
        pc->cached = 0;
    }

    if (pd->direct) {
        ngx_mapi_direct_end(pd, pc);
    }
}


/* a tainted connection becomes or stays a pin, or is left to be closed */

static void
ngx_mapi_pin_settle(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc,
    ngx_uint_t state, ngx_uint_t token)
{
    ngx_mapi_srv_conf_t    *mscf;
    ngx_http_upstream_t    *u;
    ngx_mapi_pin_reason_e   reason;

    u = pd->request->upstream;
    mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

    reason = ngx_mapi_pin_by_failure;

    if (pd->tainted && !token
        && u->headers_in.status_n == NGX_HTTP_UNAUTHORIZED)
    {
        /* some servers answer 401 for ever after a logon that failed */

        ngx_mapi_count_add(mscf->count, NGX_MAPI_COUNT_FAILED);
        reason = ngx_mapi_pin_by_refusal;

    } else if (ngx_mapi_pin_can_keep(pd, pc, state)) {

        if (ngx_mapi_pin_keep(pd, pc, ngx_mapi_pin_state(pd, token))
            == NGX_OK)
        {
            return;
        }
    }

    if (pd->pin) {

        if (reason == ngx_mapi_pin_by_failure) {

            if (pc->connection->read->eof || u->headers_in.connection_close) {
                reason = ngx_mapi_pin_by_server;

            } else if (pd->request->connection->error) {
                reason = ngx_mapi_pin_by_client;

            } else if (ngx_exiting || ngx_terminate) {
                reason = ngx_mapi_pin_by_shutdown;
            }
        }

        ngx_mapi_count_sub(mscf->count, NGX_MAPI_COUNT_PINS);
        ngx_mapi_count_sub(pd->pin->count, NGX_MAPI_COUNT_PINS);
        ngx_mapi_count_add(mscf->count, NGX_MAPI_COUNT_CLOSED + reason);

        if (pd->pin->state == ngx_mapi_pin_logged_on) {
            ngx_mapi_pin_client(pd->request->connection)->lost = pd->upstream;
        }

        /* the pin goes with the connection's pool, which nginx destroys */
        pd->pin = NULL;

    } else if (reason != ngx_mapi_pin_by_refusal) {
        ngx_mapi_count_add(mscf->count, NGX_MAPI_COUNT_REFUSED);
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, pc->log, 0,
                   "mapi: tainted connection is closed, not pooled");
}


static ngx_uint_t
ngx_mapi_pin_can_keep(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc,
    ngx_uint_t state)
{
    ngx_connection_t     *c;
    ngx_http_upstream_t  *u;

    u = pd->request->upstream;
    c = pc->connection;

    return pd->eligible
           && !(state & NGX_PEER_FAILED)
           && !c->read->eof
           && !c->read->error
           && !c->read->timedout
           && !c->write->error
           && !c->write->timedout
           && u->keepalive
           && u->request_body_sent
           && !pd->request->connection->error
           && !ngx_terminate
           && !ngx_exiting;
}


static ngx_mapi_pin_state_e
ngx_mapi_pin_state(ngx_mapi_pin_data_t *pd, ngx_uint_t token)
{
    ngx_uint_t  status;

    status = pd->request->upstream->headers_in.status_n;

    if (status == NGX_HTTP_UNAUTHORIZED) {
        return token ? ngx_mapi_pin_handshake : ngx_mapi_pin_any;
    }

    /* a server that cannot, or that was asked only to begin */

    if (pd->tainted
        && (status >= NGX_HTTP_INTERNAL_SERVER_ERROR
            || mapi_auth_ntlm_type(&pd->auth) == 1))
    {
        return token ? ngx_mapi_pin_handshake : ngx_mapi_pin_any;
    }

    return ngx_mapi_pin_logged_on;
}


/* for who compares certificates: logons of connections are what needs them */

static void
ngx_mapi_pin_note_offer(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_uint_t            i;
    ngx_list_part_t      *part;
    ngx_table_elt_t      *h;
    ngx_mapi_srv_conf_t  *mscf;

    mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

    /* a 401 is no rare thing, and this takes a lock: one a second will do */

    if (mscf->offered == ngx_time()) {
        return;
    }

    for (part = &pd->request->upstream->headers_in.headers.part;
         part;
         part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == sizeof("WWW-Authenticate") - 1
                && ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "WWW-Authenticate",
                                   sizeof("WWW-Authenticate") - 1)
                   == 0
                && mapi_auth_challenge_offers(h[i].value.data,
                                              h[i].value.len))
            {
                mscf->offered = ngx_time();
                ngx_mapi_health_offers(pd->upstream, pc->name);
                return;
            }
        }
    }
}


static void
ngx_mapi_pin_notify(ngx_peer_connection_t *pc, void *data, ngx_uint_t type)
{
    ngx_mapi_pin_data_t  *pd = data;

    if (pd->inner) {
        pd->original_notify(pc, pd->data, type);
    }
}


/* any status, any line, any element of a line */

ngx_uint_t
ngx_mapi_pin_answer_taints(ngx_http_upstream_t *u, ngx_uint_t *token)
{
    ngx_uint_t        i, persistent;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    *token = 0;
    persistent = 0;

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

        if (!ngx_mapi_pin_may_taint(&h[i])) {
            continue;
        }

        if (h[i].key.len == sizeof("WWW-Authenticate") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "WWW-Authenticate",
                               sizeof("WWW-Authenticate") - 1)
               == 0
            && mapi_auth_challenge_taints(h[i].value.data, h[i].value.len))
        {
            *token = 1;
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
            persistent = 1;
        }
    }

    return *token || persistent;
}


static void
ngx_mapi_pin_discard(ngx_peer_connection_t *pc)
{
    ngx_connection_t  *c;

    c = pc->connection;

    pc->connection = NULL;
    pc->cached = 0;

    ngx_mapi_pin_close_connection(c);
}


#if (NGX_HTTP_SSL)

/* nginx asks for a session only of a connection that is new */

static ngx_int_t
ngx_mapi_pin_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_pin_data_t  *pd = data;

    return pd->original_set_session(pc, pd->data);
}


static void
ngx_mapi_pin_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_pin_data_t  *pd = data;

    if (pd->inner) {
        pd->original_save_session(pc, pd->data);
    }
}

#endif
