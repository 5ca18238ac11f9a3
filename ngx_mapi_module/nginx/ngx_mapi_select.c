
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


#define ngx_mapi_select_debug(r, sv, ctx)                                     \
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, (r)->connection->log, 0,               \
                   "mapi: select \"%V\" by %V", &(sv)->name,                  \
                   ngx_mapi_route_name((ctx)->route))


/* how fit a server is to take this request, from its addresses */
typedef enum {
    ngx_mapi_server_unusable = 0,    /* down, or all addresses tried */
    ngx_mapi_server_full,            /* max_conns, but for a pin */
    ngx_mapi_server_failing,         /* max_fails reached, fail_timeout runs */
    ngx_mapi_server_alive
} ngx_mapi_fitness_e;


typedef struct {
    ngx_mapi_ctx_t            *ctx;
    ngx_mapi_srv_conf_t       *mscf;
    ngx_mapi_server_t         *servers;
    ngx_http_upstream_srv_conf_t  *upstream;
    ngx_http_request_t        *pins;       /* NULL: they have no word in it */
    ngx_uint_t                 all_fail;   /* rule 6: none passes its check */
    ngx_uint_t                 busy;       /* pass, but are at max_conns */
    u_char                     fitness[NGX_MAPI_SERVERS_MAX];
    u_char                     answers[NGX_MAPI_SERVERS_MAX];
} ngx_mapi_select_t;


static ngx_int_t ngx_mapi_select_plain(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_http_upstream_srv_conf_t *us);
static void ngx_mapi_select_begin(ngx_mapi_select_t *s, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us);
static void ngx_mapi_select_look(ngx_mapi_select_t *s,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_tried_t *tried);
static void ngx_mapi_select_report(ngx_http_request_t *r,
    ngx_mapi_select_t *s);
static void ngx_mapi_select_look_group(ngx_mapi_select_t *s,
    ngx_http_upstream_rr_peers_t *peers, ngx_mapi_tried_t *tried,
    ngx_uint_t *np, ngx_uint_t *nalive);
static ngx_int_t ngx_mapi_select_pin(ngx_mapi_select_t *s, ngx_int_t n);
static ngx_mapi_reason_e ngx_mapi_select_lack(ngx_mapi_select_t *s,
    ngx_int_t n);
static ngx_int_t ngx_mapi_select_known(ngx_mapi_select_t *s);
static ngx_int_t ngx_mapi_select_instead(ngx_http_request_t *r,
    ngx_mapi_select_t *s);
static ngx_int_t ngx_mapi_select_named(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
static ngx_int_t ngx_mapi_select_affinity(ngx_http_request_t *r,
    ngx_mapi_select_t *s);
static ngx_int_t ngx_mapi_select_hash(ngx_http_request_t *r,
    ngx_mapi_select_t *s);
static ngx_int_t ngx_mapi_select_best(ngx_mapi_select_t *s,
    mapi_str_t *identity, ngx_uint_t backup, mapi_server_state_e state);
static ngx_uint_t ngx_mapi_select_fit(ngx_mapi_select_t *s, ngx_uint_t i);
static ngx_uint_t ngx_mapi_peer_passes(ngx_http_upstream_rr_peer_t *peer);


/*
 * The rules of selection, the first that decides:
 *
 *   an open handshake, then a logon elsewhere: ngx_mapi_pin_select();
 *   known place: the server where the database is mounted, by the word of a
 *   server, else by the directory's;
 *   it is not alive, drained or elsewhere: what "fallback" says;
 *   unknown place: the cookie's server, else rendezvous hash;
 *   no server passes its check: as if all of them did.
 */

ngx_int_t
ngx_mapi_select(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_tried_t *tried)
{
    ngx_int_t          n;
    ngx_mapi_select_t  s;

    /* the address of a server that another choice has named */
    ctx->peer = NULL;

    if (tried == NULL && ngx_mapi_select_plain(r, ctx, us) == NGX_OK) {
        return NGX_OK;
    }

    ngx_mapi_select_begin(&s, ctx, us);

    if (tried == NULL && s.mscf->pin && !ctx->observe) {
        s.pins = r;
    }

    ngx_mapi_select_look(&s, us, tried);

    /* with active checks, they say so themselves */

    if (s.all_fail != s.mscf->all_fail && s.mscf->health == NULL) {
        ngx_mapi_select_report(r, &s);
    }

    if (ctx->located || ctx->learned >= 0) {

        n = ngx_mapi_select_known(&s);
        ctx->route = (ctx->learned >= 0) ? ngx_mapi_route_learned
                                         : ngx_mapi_route_directory;

        if (n < 0) {
            n = ngx_mapi_select_instead(r, &s);
        }

    } else {
        n = ngx_mapi_select_affinity(r, &s);
        ctx->route = ngx_mapi_route_affinity;
        ctx->reason = ngx_mapi_reason_cookie;

        if (n < 0) {
            n = ngx_mapi_select_hash(r, &s);
            ctx->route = ngx_mapi_route_balance;
            ctx->reason = (ctx->identity.kind == mapi_identity_none)
                          ? ngx_mapi_reason_address : ngx_mapi_reason_hash;
        }
    }

    ctx->preferred = n;
    ctx->last_resort = s.all_fail;

    if (s.pins) {
        n = ngx_mapi_select_pin(&s, n);
    }

    ctx->server = n;

    if (n < 0) {
        ctx->route = ngx_mapi_route_none;
        return NGX_BUSY;
    }

    ngx_mapi_select_debug(r, &s.servers[n], ctx);

    return NGX_OK;
}


/*
 * Nearly always a place is known, or the cookie names a server, that is in
 * order and there is nothing else to be thought of: then nobody has to look at
 * all the other servers.  What is found here is what the rules would find;
 * NGX_DECLINED leaves it to them.
 */

static ngx_int_t
ngx_mapi_select_plain(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_int_t                      n;
    ngx_uint_t                     place;
    ngx_mapi_route_e               route;
    ngx_mapi_reason_e              reason;
    ngx_mapi_server_t             *server;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    mscf = ctx->mscf;

    if (mscf->type == ngx_mapi_upstream_none
        || mscf->all_fail
        || (mscf->pin && ngx_mapi_pin_may_use(r, ctx)))
    {
        return NGX_DECLINED;
    }

    if (ctx->learned >= 0) {
        n = ctx->learned;
        route = ngx_mapi_route_learned;
        reason = ngx_mapi_reason_learned;

    } else if (ctx->located) {
        n = ctx->known;
        route = ngx_mapi_route_directory;
        reason = ngx_mapi_reason_mounted;

    } else {
        n = ngx_mapi_select_named(r, ctx);
        route = ngx_mapi_route_affinity;
        reason = ngx_mapi_reason_cookie;
    }

    if (n < 0) {
        return NGX_DECLINED;
    }

    if (mscf->health) {
        ngx_mapi_health_apply(us);
    }

    server = mscf->servers.elts;
    server += n;

    if (ngx_mapi_server_state(server) != mapi_server_active) {
        return NGX_DECLINED;
    }

    place = 0;

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next, place++) {
            if (ngx_mapi_peer_is_of(peer, server)
                && ngx_mapi_peer_usable(peer, 0))
            {
                break;
            }
        }

        ngx_http_upstream_rr_peers_unlock(peers);

        if (peer) {
            break;
        }
    }

    if (peers == NULL) {
        return NGX_DECLINED;
    }

    /* the balancer need not look for it: without a zone no address goes away */

    if (peers == us->peer.data && !ngx_mapi_peers_shared(peers)) {
        ctx->peer = peer;
        ctx->place = place;
    }

    ctx->route = route;
    ctx->reason = reason;
    ctx->preferred = n;
    ctx->last_resort = 0;
    ctx->server = n;

    ngx_mapi_select_debug(r, server, ctx);

    return NGX_OK;
}


ngx_uint_t
ngx_mapi_rule(ngx_mapi_ctx_t *ctx)
{
    switch (ctx->reason) {

    case ngx_mapi_reason_none:
        return 0;

    case ngx_mapi_reason_handshake:
        return 1;

    case ngx_mapi_reason_pinned:
        return 2;

    default:
        break;
    }

    if (ctx->last_resort && ctx->server >= 0) {
        return 6;
    }

    if (ctx->reason <= ngx_mapi_reason_mounted) {
        return 3;
    }

    return ctx->reason <= ngx_mapi_reason_refused ? 4 : 5;
}


/* which servers a pin may lead to: not those that are out of service by hand */

static ngx_int_t
ngx_mapi_select_pin(ngx_mapi_select_t *s, ngx_int_t n)
{
    u_char      usable[NGX_MAPI_SERVERS_MAX];
    ngx_uint_t  i;

    for (i = 0; i < s->mscf->servers.nelts; i++) {
        usable[i] = s->fitness[i] != ngx_mapi_server_unusable
                    && (s->answers[i] || s->all_fail)
                    && ngx_mapi_server_state(&s->servers[i])
                       != mapi_server_offline;
    }

    return ngx_mapi_pin_select(s->pins, s->ctx, s->upstream, n, usable);
}


/*
 * For the health page.  A server at its max_conns has all hands full, and so
 * lives.
 */

ngx_uint_t
ngx_mapi_select_alive(ngx_mapi_ctx_t *ctx, ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_select_t  s;

    ngx_mapi_select_begin(&s, ctx, us);
    ngx_mapi_select_look(&s, us, NULL);

    return !s.all_fail || s.busy;
}


static void
ngx_mapi_select_begin(ngx_mapi_select_t *s, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us)
{
    s->ctx = ctx;
    s->mscf = ctx->mscf;
    s->servers = ctx->mscf->servers.elts;
    s->upstream = us;
    s->pins = NULL;
    s->busy = 0;

    if (s->mscf->health) {
        ngx_mapi_health_apply(us);
    }
}


void
ngx_mapi_target(ngx_mapi_ctx_t *ctx, ngx_str_t *name)
{
    ngx_mapi_server_t  *servers;

    if (ctx->server < 0) {
        ngx_str_null(name);
        return;
    }

    servers = ctx->mscf->servers.elts;

    *name = servers[ctx->server].name;
}


/* once for each turn of events, and for each worker that sees it */

static void
ngx_mapi_select_report(ngx_http_request_t *r, ngx_mapi_select_t *s)
{
    s->mscf->all_fail = s->all_fail;

    if (s->all_fail) {
        ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                      "mapi: no server of upstream \"%V\" is alive: those that "
                      "failed are asked all the same", &s->mscf->name);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "mapi: upstream \"%V\" has a server alive again",
                  &s->mscf->name);
}


/* a server is as fit as the fittest of its addresses */

static void
ngx_mapi_select_look(ngx_mapi_select_t *s, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_tried_t *tried)
{
    ngx_uint_t                     i, n, nalive;
    ngx_http_upstream_rr_peers_t  *peers;

    n = s->mscf->servers.nelts;
    nalive = 0;

    if (s->mscf->type == ngx_mapi_upstream_none) {

        /* "observe" before another balancer: its peers are not ours to read */

        for (i = 0; i < n; i++) {
            s->fitness[i] = s->servers[i].down ? ngx_mapi_server_unusable
                                               : ngx_mapi_server_alive;
        }

        s->all_fail = 0;
        return;
    }

    ngx_memzero(s->fitness, n);
    ngx_memzero(s->answers, n);

    i = 0;
    peers = us->peer.data;

    ngx_mapi_select_look_group(s, peers, tried, &i, &nalive);

    if (peers->next) {
        ngx_mapi_select_look_group(s, peers->next, tried, &i, &nalive);
    }

    s->all_fail = (nalive == 0);
}


static void
ngx_mapi_select_look_group(ngx_mapi_select_t *s,
    ngx_http_upstream_rr_peers_t *peers, ngx_mapi_tried_t *tried,
    ngx_uint_t *np, ngx_uint_t *nalive)
{
    ngx_int_t                     n;
    ngx_uint_t                    i, fitness, hint;
    ngx_http_upstream_rr_peer_t  *peer;

    hint = 0;
    i = *np;

    ngx_http_upstream_rr_peers_rlock(peers);

    for (peer = peers->peer; peer; peer = peer->next, i++) {

        n = ngx_mapi_server_of_peer(s->mscf, peer, hint);
        if (n < 0) {
            continue;
        }

        hint = n;

        if (!(peer->down & NGX_MAPI_PEER_DEAD)) {
            s->answers[n] = 1;
        }

        if (ngx_mapi_peer_usable(peer, 0)) {
            fitness = ngx_mapi_server_alive;

            if (ngx_mapi_server_state(&s->servers[n]) != mapi_server_offline) {
                (*nalive)++;
            }

        } else if (ngx_mapi_peer_usable(peer, 1)) {
            fitness = ngx_mapi_server_failing;

        } else if ((peer->down & ~(ngx_uint_t) NGX_MAPI_PEER_DRAIN) == 0) {
            fitness = ngx_mapi_server_full;

            if (ngx_mapi_peer_passes(peer)
                && ngx_mapi_server_state(&s->servers[n])
                   != mapi_server_offline)
            {
                s->busy = 1;
            }

        } else {
            continue;
        }

        if (tried && ngx_mapi_is_tried(tried, i)) {
            continue;
        }

        if (fitness > s->fitness[n]) {
            s->fitness[n] = (u_char) fitness;
        }
    }

    ngx_http_upstream_rr_peers_unlock(peers);

    *np = i;
}


ngx_uint_t
ngx_mapi_peer_usable(ngx_http_upstream_rr_peer_t *peer, ngx_uint_t any)
{
    if (ngx_mapi_peer_is_off(peer)) {
        return 0;
    }

    if (peer->max_conns && peer->conns >= peer->max_conns) {
        return 0;
    }

    return any || ngx_mapi_peer_passes(peer);
}


static ngx_uint_t
ngx_mapi_peer_passes(ngx_http_upstream_rr_peer_t *peer)
{
    if (peer->down & NGX_MAPI_PEER_DEAD) {
        return 0;
    }

    return !(peer->max_fails
             && peer->fails >= peer->max_fails
             && ngx_time() - peer->checked <= peer->fail_timeout);
}


ngx_int_t
ngx_mapi_server_of_peer(ngx_mapi_srv_conf_t *mscf,
    ngx_http_upstream_rr_peer_t *peer, ngx_uint_t hint)
{
    ngx_uint_t          i, n;
    ngx_mapi_server_t  *server;

    /* peers come in the order of the servers, an address or more for each */

    server = mscf->servers.elts;
    n = mscf->servers.nelts;

    for (i = 0; i < n; i++, hint++) {

        if (hint >= n) {
            hint = 0;
        }

        if (ngx_mapi_peer_is_of(peer, &server[hint])) {
            return hint;
        }
    }

    return -1;
}


static ngx_uint_t
ngx_mapi_select_fit(ngx_mapi_select_t *s, ngx_uint_t i)
{
    if (ngx_mapi_server_state(&s->servers[i]) == mapi_server_offline) {
        return 0;
    }

    return s->fitness[i] == ngx_mapi_server_alive
           || (s->all_fail && s->fitness[i] == ngx_mapi_server_failing);
}


/* why a server that is known is not fit */

static ngx_mapi_reason_e
ngx_mapi_select_lack(ngx_mapi_select_t *s, ngx_int_t n)
{
    if (ngx_mapi_server_state(&s->servers[n]) == mapi_server_offline) {
        return ngx_mapi_reason_offline;
    }

    switch (s->fitness[n]) {

    case ngx_mapi_server_full:
        return ngx_mapi_reason_full;

    case ngx_mapi_server_failing:
        return ngx_mapi_reason_dead;

    default: /* ngx_mapi_server_unusable */
        return s->servers[n].down ? ngx_mapi_reason_down
                                  : ngx_mapi_reason_refused;
    }
}


static ngx_int_t
ngx_mapi_select_known(ngx_mapi_select_t *s)
{
    ngx_int_t  n;

    n = (s->ctx->learned >= 0) ? s->ctx->learned : s->ctx->known;

    if (n < 0) {
        s->ctx->reason = ngx_mapi_reason_elsewhere;
        return -1;
    }

    /* max_conns does not refuse a client its own connection */

    if (!ngx_mapi_select_fit(s, n)
        && (s->fitness[n] != ngx_mapi_server_full
            || ngx_mapi_server_state(&s->servers[n]) == mapi_server_offline
            || s->pins == NULL
            || !ngx_mapi_pin_has(s->pins, s->ctx, s->upstream, n)))
    {
        s->ctx->reason = ngx_mapi_select_lack(s, n);
        return -1;
    }

    /* who drains is left alone where somebody else can serve it */

    if (ngx_mapi_server_state(&s->servers[n]) == mapi_server_draining
        && s->mscf->type != ngx_mapi_upstream_owner
        && s->mscf->type != ngx_mapi_upstream_direct)
    {
        s->ctx->reason = ngx_mapi_reason_draining;
        return -1;
    }

    s->ctx->reason = (s->ctx->learned >= 0) ? ngx_mapi_reason_learned
                                            : ngx_mapi_reason_mounted;

    return n;
}


static ngx_int_t
ngx_mapi_select_instead(ngx_http_request_t *r, ngx_mapi_select_t *s)
{
    ngx_int_t   n;
    ngx_uint_t  i;

    switch (s->mscf->fallback) {

    case ngx_mapi_fallback_any:
        s->ctx->route = ngx_mapi_route_balance;
        return ngx_mapi_select_hash(r, s);

    case ngx_mapi_fallback_copies:

        for (i = 0; i < s->ctx->ncopies; i++) {
            n = s->ctx->copies[i];

            if (ngx_mapi_select_fit(s, n)
                && ngx_mapi_server_state(&s->servers[n]) == mapi_server_active)
            {
                return n;
            }
        }

        return -1;

    default: /* ngx_mapi_fallback_none */
        return -1;
    }
}


static ngx_int_t
ngx_mapi_select_affinity(ngx_http_request_t *r, ngx_mapi_select_t *s)
{
    ngx_int_t  n;

    n = ngx_mapi_select_named(r, s->ctx);

    if (n >= 0
        && ngx_mapi_select_fit(s, n)
        && ngx_mapi_server_state(&s->servers[n]) == mapi_server_active)
    {
        return n;
    }

    return -1;
}


/* the server that the request's cookie names, if that counts; else -1 */

static ngx_int_t
ngx_mapi_select_named(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    if (ctx->mlcf->affinity == ngx_mapi_affinity_off
        || ctx->identity.kind == mapi_identity_none)
    {
        return -1;
    }

    return ngx_mapi_affinity_named(r, ctx);
}


/*
 * Active primaries, then active backups, then whoever drains.  An identity
 * that cannot be read is replaced by the client's address, so that a client
 * meets one server.
 */

static ngx_int_t
ngx_mapi_select_hash(ngx_http_request_t *r, ngx_mapi_select_t *s)
{
    u_char       text[NGX_SOCKADDR_STRLEN];
    ngx_int_t    n;
    mapi_str_t   identity;

    identity = s->ctx->identity.text;

    if (s->ctx->identity.kind == mapi_identity_none) {
        identity.data = text;
        identity.len = ngx_sock_ntop(r->connection->sockaddr,
                                     r->connection->socklen, text,
                                     NGX_SOCKADDR_STRLEN, 0);
    }

    n = ngx_mapi_select_best(s, &identity, 0, mapi_server_active);

    if (n < 0) {
        n = ngx_mapi_select_best(s, &identity, 1, mapi_server_active);
    }

    if (n < 0) {
        n = ngx_mapi_select_best(s, &identity, 0, mapi_server_draining);
    }

    if (n < 0) {
        n = ngx_mapi_select_best(s, &identity, 1, mapi_server_draining);
    }

    return n;
}


static ngx_int_t
ngx_mapi_select_best(ngx_mapi_select_t *s, mapi_str_t *identity,
    ngx_uint_t backup, mapi_server_state_e state)
{
    uint64_t     hash, best_hash;
    ngx_int_t    best;
    ngx_uint_t   i;
    mapi_str_t   name;

    best = -1;
    best_hash = 0;

    for (i = 0; i < s->mscf->servers.nelts; i++) {

        if (s->servers[i].backup != backup
            || ngx_mapi_server_state(&s->servers[i]) != state
            || !ngx_mapi_select_fit(s, i))
        {
            continue;
        }

        name.len = s->servers[i].name.len;
        name.data = s->servers[i].name.data;

        hash = mapi_rendezvous_hash(&name, identity);

        if (best == -1
            || mapi_rendezvous_before(hash, s->servers[i].weight, best_hash,
                                      s->servers[best].weight))
        {
            best = i;
            best_hash = hash;
        }
    }

    return best;
}
