
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"


/*
 * Which of a client's pins a request takes, if any.  On the road the server is
 * selected in the phase handler, with the pins having their word in it; in
 * other blocks the pins come before the block's own method, or after it.
 */

static ngx_mapi_pin_t *ngx_mapi_pin_choose_routed(ngx_mapi_pin_data_t *pd,
    ngx_mapi_pin_wish_t *wish);
static ngx_uint_t ngx_mapi_pin_wished(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_pin_wish_t *wish);


ngx_mapi_pin_t *
ngx_mapi_pin_choose(ngx_mapi_pin_data_t *pd)
{
    ngx_mapi_pin_t       *pin;
    ngx_connection_t     *c;
    ngx_mapi_srv_conf_t  *mscf;
    ngx_mapi_pin_wish_t   wish;

    c = pd->request->connection;

    if (ngx_mapi_pin_client(c) == NULL) {
        return NULL;
    }

    ngx_mapi_pin_wish(&wish, pd->upstream, pd->conf);

    mscf = ngx_http_conf_upstream_srv_conf(pd->upstream, ngx_mapi_module);

    if (pd->ctx && mscf->type != ngx_mapi_upstream_none) {
        return ngx_mapi_pin_choose_routed(pd, &wish);
    }

    if (pd->tainted) {
        wish.begin = ngx_mapi_pin_begins(&pd->auth);
        wish.state = ngx_mapi_pin_handshake;
        pin = ngx_mapi_pin_find(c, &wish);

        if (pin || mscf->prefer == ngx_mapi_prefer_route) {
            return pin;
        }

        wish.state = ngx_mapi_pin_any;
        return ngx_mapi_pin_find(c, &wish);
    }

    if (mscf->prefer == ngx_mapi_prefer_route) {
        return NULL;
    }

    wish.state = ngx_mapi_pin_logged_on;
    return ngx_mapi_pin_find(c, &wish);
}


/*
 * The server has been selected in the phase handler.  A pin that it relied on
 * may have ended since, while the body was read: then it is selected again.
 */

static ngx_mapi_pin_t *
ngx_mapi_pin_choose_routed(ngx_mapi_pin_data_t *pd, ngx_mapi_pin_wish_t *wish)
{
    ngx_uint_t       i;
    ngx_mapi_ctx_t  *ctx;
    ngx_mapi_pin_t  *pin;

    ctx = pd->ctx;

    for (i = 0; i < 2; i++) {

        if (ctx->server < 0) {
            return NULL;
        }

        wish->server = ctx->server;
        wish->state = ngx_mapi_pin_logged_on;

        if (pd->tainted) {
            wish->begin = ngx_mapi_pin_begins(&pd->auth);
            wish->state = (ctx->route == ngx_mapi_route_handshake)
                          ? ngx_mapi_pin_handshake : ngx_mapi_pin_any;
        }

        pin = ngx_mapi_pin_find(pd->request->connection, wish);

        if (pin
            || (ctx->route != ngx_mapi_route_handshake
                && ctx->route != ngx_mapi_route_pinned))
        {
            return pin;
        }

        (void) ngx_mapi_select(pd->request, ctx, pd->upstream, NULL);
    }

    return NULL;
}


/*
 * Rule 1: a handshake ends where it began, whatever has changed meanwhile.
 * Rule 2: a logon elsewhere is better than another one at the right server.
 */

ngx_int_t
ngx_mapi_pin_select(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_int_t chosen, u_char *usable)
{
    ngx_mapi_pin_t       *pin;
    ngx_mapi_pin_wish_t   wish;

    if (!ngx_mapi_pin_wished(r, ctx, us, &wish)) {
        return chosen;
    }

    if (wish.state == ngx_mapi_pin_any) {
        wish.state = ngx_mapi_pin_handshake;

    } else if (ctx->mscf->prefer != ngx_mapi_prefer_pinned) {
        return chosen;
    }

    if (chosen >= 0) {
        wish.server = chosen;

        if (ngx_mapi_pin_find(r->connection, &wish)) {

            if (wish.state == ngx_mapi_pin_handshake) {
                ctx->route = ngx_mapi_route_handshake;
                ctx->reason = ngx_mapi_reason_handshake;
            }

            return chosen;
        }
    }

    wish.server = -1;
    wish.usable = usable;

    pin = ngx_mapi_pin_find(r->connection, &wish);

    if (pin == NULL) {
        return chosen;
    }

    if (wish.state == ngx_mapi_pin_handshake) {
        ctx->route = ngx_mapi_route_handshake;
        ctx->reason = ngx_mapi_reason_handshake;

    } else {
        ctx->route = ngx_mapi_route_pinned;
        ctx->reason = ngx_mapi_reason_pinned;
    }

    return pin->server;
}


ngx_uint_t
ngx_mapi_pin_has(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_int_t server)
{
    ngx_mapi_pin_wish_t  wish;

    if (!ngx_mapi_pin_wished(r, ctx, us, &wish)) {
        return 0;
    }

    wish.server = server;

    return ngx_mapi_pin_find(r->connection, &wish) != NULL;
}


/*
 * Is there any pin to think of?  A request that brings proof of its own, and no
 * logon of a connection, never has one.
 */

ngx_uint_t
ngx_mapi_pin_may_use(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    return ngx_mapi_pin_eligible(r)
           && (r->headers_in.authorization == NULL
               || mapi_auth_is_connection(&ctx->auth))
           && ngx_mapi_pin_client(r->connection) != NULL;
}


/* what this request, which has no layer yet, may take; 0: nothing */

static ngx_uint_t
ngx_mapi_pin_wished(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_pin_wish_t *wish)
{
    void  *plcf;

    if (!ngx_mapi_pin_may_use(r, ctx)) {
        return 0;
    }

    plcf = ngx_http_get_module_loc_conf(r, ngx_http_proxy_module);

    ngx_mapi_pin_wish(wish, us, ngx_mapi_proxy_upstream_conf(plcf));

    if (mapi_auth_is_connection(&ctx->auth)) {
        wish->begin = ngx_mapi_pin_begins(&ctx->auth);
        wish->state = ngx_mapi_pin_any;
        return 1;
    }

    wish->state = ngx_mapi_pin_logged_on;

    return 1;
}


void
ngx_mapi_pin_wish(ngx_mapi_pin_wish_t *wish, ngx_http_upstream_srv_conf_t *us,
    ngx_http_upstream_conf_t *conf)
{
    ngx_memzero(wish, sizeof(ngx_mapi_pin_wish_t));

    wish->upstream = us;
    wish->conf = conf;
    wish->server = -1;
}
