
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"


/*
 * Idle pins.  Nothing here is ever handed to another client connection: pins
 * are found through the pool of the connection that made them, and end with
 * it.
 */

static ngx_mapi_pin_client_t *ngx_mapi_pin_client_create(ngx_connection_t *c);
static ngx_mapi_pin_t *ngx_mapi_pin_create(ngx_mapi_pin_data_t *pd,
    ngx_peer_connection_t *pc);
static void ngx_mapi_pin_evict(ngx_mapi_pin_client_t *client,
    ngx_http_upstream_srv_conf_t *us, ngx_uint_t max);
static void ngx_mapi_pin_succeed(ngx_mapi_pin_client_t *client,
    ngx_mapi_pin_t *pin);
static void ngx_mapi_pin_name_user(ngx_mapi_pin_data_t *pd,
    ngx_mapi_pin_t *pin);
static void ngx_mapi_pin_cleanup(void *data);
static void ngx_mapi_pin_dummy_handler(ngx_event_t *ev);
static void ngx_mapi_pin_close_handler(ngx_event_t *ev);


ngx_mapi_pin_client_t *
ngx_mapi_pin_client(ngx_connection_t *c)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_mapi_pin_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


static ngx_mapi_pin_client_t *
ngx_mapi_pin_client_create(ngx_connection_t *c)
{
    ngx_pool_cleanup_t     *cln;
    ngx_mapi_pin_client_t  *client;

    client = ngx_mapi_pin_client(c);

    if (client) {
        return client;
    }

    cln = ngx_pool_cleanup_add(c->pool, sizeof(ngx_mapi_pin_client_t));
    if (cln == NULL) {
        return NULL;
    }

    client = cln->data;
    ngx_queue_init(&client->pins);
    client->lost = NULL;

    cln->handler = ngx_mapi_pin_cleanup;

    return client;
}


ngx_mapi_pin_t *
ngx_mapi_pin_find(ngx_connection_t *c, ngx_mapi_pin_wish_t *wish)
{
    ngx_queue_t            *q;
    ngx_mapi_pin_t         *pin;
    ngx_mapi_pin_client_t  *client;

    client = ngx_mapi_pin_client(c);

    if (client == NULL) {
        return NULL;
    }

    for (q = ngx_queue_head(&client->pins);
         q != ngx_queue_sentinel(&client->pins);
         q = ngx_queue_next(q))
    {
        pin = ngx_queue_data(q, ngx_mapi_pin_t, queue);

        if (pin->upstream != wish->upstream || pin->conf != wish->conf) {
            continue;
        }

        if (wish->state != ngx_mapi_pin_any && wish->state != pin->state) {
            continue;
        }

        if (wish->begin && pin->state == ngx_mapi_pin_handshake) {
            continue;
        }

        if (wish->server >= 0 && wish->server != pin->server) {
            continue;
        }

        if (wish->usable && (pin->server < 0 || !wish->usable[pin->server])) {
            continue;
        }

        if (wish->sockaddr
            && ngx_memn2cmp((u_char *) &pin->sockaddr,
                            (u_char *) wish->sockaddr,
                            pin->socklen, wish->socklen)
               != 0)
        {
            continue;
        }

        return pin;
    }

    return NULL;
}


ngx_uint_t
ngx_mapi_pin_is_logged_on(ngx_mapi_pin_client_t *client)
{
    ngx_queue_t     *q;
    ngx_mapi_pin_t  *pin;

    for (q = ngx_queue_head(&client->pins);
         q != ngx_queue_sentinel(&client->pins);
         q = ngx_queue_next(q))
    {
        pin = ngx_queue_data(q, ngx_mapi_pin_t, queue);

        if (pin->state == ngx_mapi_pin_logged_on) {
            return 1;
        }
    }

    return 0;
}


void
ngx_mapi_pin_take(ngx_mapi_pin_t *pin, ngx_log_t *log)
{
    ngx_connection_t  *c;

    c = pin->connection;

    ngx_queue_remove(&pin->queue);
    pin->client = NULL;

    c->idle = 0;
    c->sent = 0;
    c->data = NULL;
    c->log = log;
    c->read->log = log;
    c->write->log = log;
    c->pool->log = log;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }
}


ngx_int_t
ngx_mapi_pin_keep(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc,
    ngx_mapi_pin_state_e state)
{
    ngx_connection_t       *c;
    ngx_mapi_pin_t         *pin;
    ngx_mapi_srv_conf_t    *mscf;
    ngx_mapi_pin_client_t  *client;

    mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

    c = pc->connection;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    client = ngx_mapi_pin_client_create(pd->request->connection);
    if (client == NULL) {
        return NGX_ERROR;
    }

    pin = pd->pin;

    if (pin == NULL) {
        pin = ngx_mapi_pin_create(pd, pc);
        if (pin == NULL) {
            return NGX_ERROR;
        }

        ngx_mapi_count_add(mscf->count, NGX_MAPI_COUNT_OPENED);
        ngx_mapi_count_add(mscf->count, NGX_MAPI_COUNT_PINS);
        ngx_mapi_count_add(pin->count, NGX_MAPI_COUNT_PINS);
    }

    pin->state = state;

    if (state == ngx_mapi_pin_logged_on) {
        client->lost = NULL;

        if (pd->tainted) {
            pin->scheme = pd->auth.scheme;
            ngx_mapi_pin_name_user(pd, pin);
            ngx_mapi_pin_succeed(client, pin);
        }
    }

    ngx_mapi_pin_evict(client, pd->upstream, mscf->pin_max - 1);

    pin->client = client;
    ngx_queue_insert_head(&client->pins, &pin->queue);

    pd->pin = NULL;
    pc->connection = NULL;

    c->read->delayed = 0;
    ngx_add_timer(c->read, mscf->pin_idle);

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    c->write->handler = ngx_mapi_pin_dummy_handler;
    c->read->handler = ngx_mapi_pin_close_handler;

    c->data = pin;
    c->idle = 1;
    c->log = ngx_cycle->log;
    c->read->log = ngx_cycle->log;
    c->write->log = ngx_cycle->log;
    c->pool->log = ngx_cycle->log;

    if (c->read->ready) {
        ngx_mapi_pin_close_handler(c->read);
    }

    return NGX_OK;
}


static ngx_mapi_pin_t *
ngx_mapi_pin_create(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_mapi_pin_t  *pin;

    if (pc->socklen > sizeof(ngx_sockaddr_t)) {
        return NULL;
    }

    pin = ngx_pcalloc(pc->connection->pool, sizeof(ngx_mapi_pin_t));
    if (pin == NULL) {
        return NULL;
    }

    pin->name.data = ngx_pstrdup(pc->connection->pool, pc->name);
    if (pin->name.data == NULL) {
        return NULL;
    }

    pin->name.len = pc->name->len;

    pin->connection = pc->connection;
    pin->upstream = pd->upstream;
    pin->conf = pd->conf;
    pin->server = pd->server;
    pin->count = pd->count;
    pin->socklen = pc->socklen;
    ngx_memcpy(&pin->sockaddr, pc->sockaddr, pc->socklen);

    return pin;
}


/* of the block's pins the latest ones stay, as many as the limit says */

static void
ngx_mapi_pin_evict(ngx_mapi_pin_client_t *client,
    ngx_http_upstream_srv_conf_t *us, ngx_uint_t max)
{
    ngx_uint_t       n;
    ngx_queue_t     *q, *next;
    ngx_mapi_pin_t  *pin;

    n = 0;

    for (q = ngx_queue_head(&client->pins);
         q != ngx_queue_sentinel(&client->pins);
         q = next)
    {
        next = ngx_queue_next(q);
        pin = ngx_queue_data(q, ngx_mapi_pin_t, queue);

        if (pin->upstream == us && ++n > max) {
            ngx_mapi_pin_end(pin, ngx_mapi_pin_by_limit);
        }
    }
}


/*
 * The client has logged on as somebody: where it was somebody else before, it
 * is no more.
 */

static void
ngx_mapi_pin_succeed(ngx_mapi_pin_client_t *client, ngx_mapi_pin_t *pin)
{
    ngx_queue_t     *q, *next;
    ngx_mapi_pin_t  *other;

    if (pin->user.len == 0) {
        return;
    }

    for (q = ngx_queue_head(&client->pins);
         q != ngx_queue_sentinel(&client->pins);
         q = next)
    {
        next = ngx_queue_next(q);
        other = ngx_queue_data(q, ngx_mapi_pin_t, queue);

        if (other->upstream == pin->upstream
            && other->state == ngx_mapi_pin_logged_on
            && other->user.len
            && (other->user.len != pin->user.len
                || ngx_strncasecmp(other->user.data, pin->user.data,
                                   pin->user.len)
                   != 0))
        {
            ngx_mapi_pin_end(other, ngx_mapi_pin_by_client);
        }
    }

    client->lost = NULL;
}


/*
 * A connection on which a logon was left in the middle would answer the next
 * one with 401 for ever, and a client connection has one at a time.
 */

void
ngx_mapi_pin_abandon(ngx_mapi_pin_data_t *pd)
{
    ngx_mapi_pin_t       *pin;
    ngx_mapi_pin_wish_t   wish;

    ngx_mapi_pin_wish(&wish, pd->upstream, pd->conf);
    wish.state = ngx_mapi_pin_handshake;

    while ((pin = ngx_mapi_pin_find(pd->request->connection, &wish))) {
        ngx_mapi_pin_end(pin, ngx_mapi_pin_by_client);
    }
}


/*
 * The name in a message of type 3 is a claim until the server has answered
 * with something else than 401, as it has now.
 */

static void
ngx_mapi_pin_name_user(ngx_mapi_pin_data_t *pd, ngx_mapi_pin_t *pin)
{
    u_char      buf[NGX_MAPI_PIN_USER_MAX];
    mapi_str_t  user;

    if (mapi_auth_ntlm_user(&pd->auth, buf, sizeof(buf), &user) != MAPI_OK) {

        /* a ticket: whoever it was before, nobody can tell who it is now */

        pin->user.len = 0;
        return;
    }

    /* a client that logs on again and again must not make the pool grow */

    if (pin->user.data == NULL) {
        pin->user.data = ngx_pnalloc(pin->connection->pool,
                                     NGX_MAPI_PIN_USER_MAX);
        if (pin->user.data == NULL) {
            return;
        }
    }

    pin->user.len = user.len;
    ngx_memcpy(pin->user.data, user.data, user.len);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, pd->request->connection->log, 0,
                   "mapi: \"%V\" has logged on", &pin->user);
}


/* the end of an idle pin */

void
ngx_mapi_pin_end(ngx_mapi_pin_t *pin, ngx_mapi_pin_reason_e reason)
{
    ngx_connection_t     *c;
    ngx_mapi_srv_conf_t  *mscf;

    c = pin->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "mapi: pinned connection to %V closed, reason %ui",
                   &pin->name, (ngx_uint_t) reason);

    mscf = ngx_http_conf_upstream_srv_conf(pin->upstream, ngx_mapi_module);
    ngx_mapi_count_sub(mscf->count, NGX_MAPI_COUNT_PINS);
    ngx_mapi_count_sub(pin->count, NGX_MAPI_COUNT_PINS);
    ngx_mapi_count_add(mscf->count, NGX_MAPI_COUNT_CLOSED + reason);

    if (pin->state == ngx_mapi_pin_logged_on) {
        pin->client->lost = pin->upstream;
    }

    ngx_queue_remove(&pin->queue);

    /* the pin lies in the connection's pool */

    ngx_mapi_pin_close_connection(c);
}


/* the client connection ends */

static void
ngx_mapi_pin_cleanup(void *data)
{
    ngx_mapi_pin_client_t *client = data;

    ngx_queue_t  *q;

    while (!ngx_queue_empty(&client->pins)) {
        q = ngx_queue_head(&client->pins);

        ngx_mapi_pin_end(ngx_queue_data(q, ngx_mapi_pin_t, queue),
                         ngx_exiting || ngx_terminate
                         ? ngx_mapi_pin_by_shutdown
                         : ngx_mapi_pin_by_client);
    }
}


static void
ngx_mapi_pin_dummy_handler(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "mapi: pinned connection, write event");
}


static void
ngx_mapi_pin_close_handler(ngx_event_t *ev)
{
    int                     n;
    char                    buf[1];
    ngx_connection_t       *c;
    ngx_mapi_pin_reason_e   reason;

    c = ev->data;

    if (c->close) {
        reason = ngx_mapi_pin_by_shutdown;

    } else if (c->read->timedout) {
        reason = ngx_mapi_pin_by_idle;

    } else {

        n = recv(c->fd, buf, 1, MSG_PEEK);

        if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
            ev->ready = 0;

            if (ngx_handle_read_event(c->read, 0) == NGX_OK) {
                return;
            }
        }

        reason = ngx_mapi_pin_by_server;
    }

    ngx_mapi_pin_end(c->data, reason);
}


void
ngx_mapi_pin_close_connection(ngx_connection_t *c)
{
#if (NGX_HTTP_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;

        if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
            c->ssl->handler = ngx_mapi_pin_close_connection;
            return;
        }
    }

#endif

    if (c->pool) {
        ngx_destroy_pool(c->pool);
    }

    ngx_close_connection(c);
}
