
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_watch.h"


/*
 * The balancer of a block with "mapi", over the round-robin peers: they do
 * the bookkeeping of connections and failures, we only say whose turn it is.
 */

typedef struct {
    ngx_http_upstream_rr_peer_data_t   rrp;   /* must be first */

    ngx_mapi_ctx_t                    *ctx;
    ngx_http_request_t                *request;
    ngx_http_upstream_srv_conf_t      *upstream;
    ngx_uint_t                         place;  /* of the peer in use */
    ngx_mapi_tried_t                   tried;
} ngx_mapi_peer_data_t;


static ngx_int_t ngx_mapi_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_mapi_get_peer(ngx_peer_connection_t *pc, void *data);
static ngx_int_t ngx_mapi_acquire(ngx_mapi_peer_data_t *mp,
    ngx_peer_connection_t *pc);
static ngx_int_t ngx_mapi_acquire_from(ngx_mapi_peer_data_t *mp,
    ngx_peer_connection_t *pc, ngx_http_upstream_rr_peers_t *peers,
    ngx_uint_t first, ngx_uint_t any);
static ngx_int_t ngx_mapi_acquire_found(ngx_mapi_peer_data_t *mp,
    ngx_peer_connection_t *pc);
static void ngx_mapi_acquire_peer(ngx_mapi_peer_data_t *mp,
    ngx_peer_connection_t *pc, ngx_http_upstream_rr_peers_t *peers,
    ngx_http_upstream_rr_peer_t *peer, ngx_uint_t place);
static void ngx_mapi_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
static ngx_http_upstream_rr_peer_t *ngx_mapi_hold_from(
    ngx_http_upstream_rr_peers_t *peers, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_uint_t any);


ngx_int_t
ngx_mapi_init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_srv_conf_t  *mscf;

    if (ngx_http_upstream_init_round_robin(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);
    mscf->initialized = 1;

    us->peer.init = ngx_mapi_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_ctx_t        *ctx;
    ngx_mapi_peer_data_t  *mp;

    ctx = ngx_mapi_road_ctx(r, us);

    if (ctx == NULL) {
        /* not on the road: round robin, as "nginx -t" has warned */
        return ngx_http_upstream_init_round_robin_peer(r, us);
    }

    mp = ngx_palloc(r->pool, sizeof(ngx_mapi_peer_data_t));
    if (mp == NULL) {
        return NGX_ERROR;
    }

    r->upstream->peer.data = &mp->rrp;

    if (ngx_http_upstream_init_round_robin_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    mp->ctx = ctx;
    mp->request = r;
    mp->upstream = us;
    ngx_memzero(&mp->tried, sizeof(ngx_mapi_tried_t));

    r->upstream->peer.get = ngx_mapi_get_peer;
    r->upstream->peer.free = ngx_mapi_free_peer;

    ngx_mapi_check_request(r, &ctx->mlcf->noticed, 1);

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_mapi_peer_data_t  *mp = data;

    ngx_int_t  rc;

    pc->cached = 0;
    pc->connection = NULL;

    mp->rrp.peers = mp->upstream->peer.data;

    if (ngx_mapi_peers_changed(&mp->rrp)) {
        /* places have shifted: what was tried is not known any more */
        ngx_memzero(&mp->tried, sizeof(ngx_mapi_tried_t));
        ngx_mapi_peers_adopt(&mp->rrp);
    }

    /*
     * The server that the phase handler chose, if it can still be had; when
     * all its addresses are used up, or it filled up meanwhile, the next one.
     */

    if (mp->ctx->server >= 0) {
        mp->ctx->asked = mp->ctx->server;

        rc = ngx_mapi_acquire_found(mp, pc);

        if (rc == NGX_BUSY) {
            rc = ngx_mapi_acquire(mp, pc);
        }

        if (rc != NGX_BUSY) {
            return rc;
        }
    }

    if (mp->ctx->bound) {
        mp->ctx->cas_error = "ServerNotFound";

    } else if (ngx_mapi_select(mp->request, mp->ctx, mp->upstream, &mp->tried)
               == NGX_OK)
    {
        rc = ngx_mapi_acquire(mp, pc);

        if (rc != NGX_BUSY) {
            return rc;
        }
    }

    mp->ctx->server = -1;
    mp->ctx->route = ngx_mapi_route_none;

    mp->rrp.peers = mp->upstream->peer.data;
    pc->name = mp->rrp.peers->name;

    return NGX_BUSY;
}


/*
 * Takes the first address of the selected server that has not been tried:
 * counts the connection and, where peers may go away, holds a reference until
 * ngx_mapi_free_peer().  Failing addresses are taken only where select has
 * found that nobody passes.
 */

static ngx_int_t
ngx_mapi_acquire(ngx_mapi_peer_data_t *mp, ngx_peer_connection_t *pc)
{
    ngx_uint_t                     any;
    ngx_http_upstream_rr_peers_t  *peers;

    peers = mp->upstream->peer.data;

    for (any = 0; any <= mp->ctx->last_resort; any++) {

        if (ngx_mapi_acquire_from(mp, pc, peers, 0, any) == NGX_OK) {
            return NGX_OK;
        }

        if (peers->next
            && ngx_mapi_acquire_from(mp, pc, peers->next, peers->number, any)
               == NGX_OK)
        {
            return NGX_OK;
        }
    }

    return NGX_BUSY;
}


static ngx_int_t
ngx_mapi_acquire_from(ngx_mapi_peer_data_t *mp, ngx_peer_connection_t *pc,
    ngx_http_upstream_rr_peers_t *peers, ngx_uint_t first, ngx_uint_t any)
{
    ngx_uint_t                    i;
    ngx_mapi_server_t            *server;
    ngx_http_upstream_rr_peer_t  *peer;

    server = mp->ctx->mscf->servers.elts;
    server += mp->ctx->server;

    ngx_http_upstream_rr_peers_wlock(peers);

    for (peer = peers->peer, i = first; peer; peer = peer->next, i++) {

        if (!ngx_mapi_peer_is_of(peer, server)
            || ngx_mapi_is_tried(&mp->tried, i)
            || !ngx_mapi_peer_usable(peer, any))
        {
            continue;
        }

        ngx_mapi_acquire_peer(mp, pc, peers, peer, i);

        ngx_http_upstream_rr_peers_unlock(peers);

        return NGX_OK;
    }

    ngx_http_upstream_rr_peers_unlock(peers);

    return NGX_BUSY;
}


/* the address that select has seen: of no zone, so that nothing is locked */

static ngx_int_t
ngx_mapi_acquire_found(ngx_mapi_peer_data_t *mp, ngx_peer_connection_t *pc)
{
    ngx_mapi_ctx_t               *ctx;
    ngx_mapi_server_t            *servers;
    ngx_http_upstream_rr_peer_t  *peer;

    ctx = mp->ctx;
    servers = ctx->mscf->servers.elts;
    peer = ctx->peer;
    ctx->peer = NULL;

    if (peer == NULL
        || !ngx_mapi_peer_is_of(peer, &servers[ctx->server])
        || ngx_mapi_is_tried(&mp->tried, ctx->place)
        || !ngx_mapi_peer_usable(peer, 0))
    {
        return NGX_BUSY;
    }

    ngx_mapi_acquire_peer(mp, pc, mp->upstream->peer.data, peer, ctx->place);

    return NGX_OK;
}


/* called with the peers locked for writing */

static void
ngx_mapi_acquire_peer(ngx_mapi_peer_data_t *mp, ngx_peer_connection_t *pc,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_upstream_rr_peer_t *peer,
    ngx_uint_t place)
{
    time_t  now;

    mp->place = place;
    ngx_mapi_set_tried(&mp->tried, place);

    now = ngx_time();

    if (now - peer->checked > peer->fail_timeout) {
        peer->checked = now;
    }

    pc->sockaddr = peer->sockaddr;
    pc->socklen = peer->socklen;
    pc->name = &peer->name;

    peer->conns++;

    if (mp->ctx->watch) {
        mp->ctx->watch->outstanding = peer->conns;
    }

    mp->rrp.peers = peers;
    mp->rrp.current = peer;
    ngx_mapi_peer_ref(peers, peer);
}


static void
ngx_mapi_free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    ngx_mapi_peer_data_t  *mp = data;

    ngx_uint_t            tries;
    ngx_http_upstream_t  *u;

    u = mp->request->upstream;
    tries = pc->tries;

    /*
     * A pooled connection that the server had closed says nothing of it: if
     * the request was not sent, the same address is asked again, and nginx
     * gives a try for it.  Each time the pool has one connection less.
     */

    if ((state & NGX_PEER_FAILED)
        && pc->cached
        && u->state
        && u->state->bytes_received == 0)
    {
        state &= ~NGX_PEER_FAILED;

        if (!u->request_sent) {
            ngx_mapi_clear_tried(&mp->tried, mp->place);
        }
    }

    ngx_http_upstream_free_round_robin_peer(pc, &mp->rrp, state);

    /* a group with one peer ends the tries, but the other group counts too */

    pc->tries = tries ? tries - 1 : 0;

    /*
     * A request that has been sent is never sent again, whatever
     * proxy_next_upstream says, and for any method.  nginx gives a failed
     * pooled connection one more try: not if it has seen the request.
     */

    if (u->request_sent) {
        pc->tries = 0;
        pc->cached = 0;
    }
}


ngx_int_t
ngx_mapi_hold(ngx_http_upstream_srv_conf_t *us, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_mapi_hold_t *hold)
{
    ngx_mapi_srv_conf_t           *mscf;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    hold->peer = NULL;

    for (peers = us->peer.data; peers; peers = peers->next) {

        peer = ngx_mapi_hold_from(peers, sockaddr, socklen,
                                  ngx_mapi_health_all_fail(mscf->health));

        if (peer) {
            hold->peers = peers;
            hold->peer = peer;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_http_upstream_rr_peer_t *
ngx_mapi_hold_from(ngx_http_upstream_rr_peers_t *peers,
    struct sockaddr *sockaddr, socklen_t socklen, ngx_uint_t any)
{
    ngx_http_upstream_rr_peer_t  *peer;

    ngx_http_upstream_rr_peers_wlock(peers);

    for (peer = peers->peer; peer; peer = peer->next) {

        if (!ngx_mapi_peer_is_off(peer)
            && (any || !(peer->down & NGX_MAPI_PEER_DEAD))
            && ngx_memn2cmp((u_char *) peer->sockaddr, (u_char *) sockaddr,
                            peer->socklen, socklen)
               == 0)
        {
            peer->conns++;
            ngx_mapi_peer_ref(peers, peer);
            break;
        }
    }

    ngx_http_upstream_rr_peers_unlock(peers);

    return peer;
}


/*
 * A pinned connection that fails says nothing of its server: it was open
 * already.
 */

void
ngx_mapi_release(ngx_mapi_hold_t *hold)
{
    if (hold->peer == NULL) {
        return;
    }

    ngx_http_upstream_rr_peers_wlock(hold->peers);

    hold->peer->conns--;
    ngx_mapi_peer_unref(hold->peers, hold->peer);

    ngx_http_upstream_rr_peers_unlock(hold->peers);

    hold->peer = NULL;
}


/*
 * The same error comes where no address of this host leads there, as with
 * IPv6 switched off: that will not pass, and somebody else has to be asked.
 * A datagram socket tells one from the other, for its ports are others.
 */

ngx_uint_t
ngx_mapi_is_own_lack(ngx_err_t err, struct sockaddr *sockaddr,
    socklen_t socklen)
{
    ngx_socket_t  s;

    if (err != EADDRNOTAVAIL) {
        return 0;
    }

    s = ngx_socket(sockaddr->sa_family, SOCK_DGRAM, 0);

    if (s == (ngx_socket_t) -1) {
        return 1;
    }

    err = (connect(s, sockaddr, socklen) == -1) ? ngx_socket_errno : 0;

    (void) ngx_close_socket(s);

    return err != EADDRNOTAVAIL;
}
