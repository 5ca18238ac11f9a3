
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * What a worker makes of verdicts: marks on its peers, in the member "down"
 * that every balancing method of nginx looks at.  The configuration's own
 * "down" is another bit.
 */

static void ngx_mapi_health_mark(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf);
static ngx_uint_t ngx_mapi_health_bits(ngx_mapi_health_t *health,
    ngx_uint_t verdict);
static void ngx_mapi_health_servers(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf);
static void ngx_mapi_health_outage(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_uint_t all_fail);
static void ngx_mapi_health_avoid(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf);
static void ngx_mapi_health_end_hanging(ngx_mapi_srv_conf_t *mscf,
    ngx_http_upstream_rr_peer_t *peer);


/* cheap if nothing has changed: one number in shared memory is read */

void
ngx_mapi_health_apply(ngx_http_upstream_srv_conf_t *us)
{
    ngx_atomic_uint_t      generation;
    ngx_mapi_health_t     *health;
    ngx_mapi_srv_conf_t   *mscf;
    ngx_mapi_main_conf_t  *mmcf;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);
    health = mscf->health;

    mmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_mapi_module);

    generation = mmcf->zone->generation;

    if (health->seen == generation + 1) {
        return;
    }

    health->seen = generation + 1;

    ngx_mapi_health_mark(us, mscf, mmcf);
    ngx_mapi_health_servers(us, mscf);

    if (health->avoid) {
        ngx_mapi_health_avoid(us, mscf, mmcf);
    }
}


static void
ngx_mapi_health_mark(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t                     verdict, bits, n, passing;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    n = 0;
    passing = 0;

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_wlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {

            if (ngx_mapi_peer_is_off(peer)) {
                continue;
            }

            verdict = ngx_mapi_health_verdict_of(mmcf, &us->host, &peer->name);
            bits = ngx_mapi_health_bits(mscf->health, verdict);

            n++;
            passing += (bits == 0);

            if ((bits & NGX_MAPI_PEER_DEAD)
                && verdict == ngx_mapi_verdict_dead
                && !(peer->down & NGX_MAPI_PEER_DEAD))
            {
                ngx_mapi_health_end_hanging(mscf, peer);
            }

            /* what requests have met before is over */

            if (bits == 0 && (peer->down & NGX_MAPI_PEER_DEAD)) {
                peer->fails = 0;
            }

            peer->down = (peer->down & ~NGX_MAPI_PEER_MARKS) | bits;
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    ngx_mapi_health_outage(us, mscf, n && passing == 0);
}


ngx_uint_t
ngx_mapi_health_all_fail(ngx_mapi_health_t *health)
{
    return health && health->all_fail;
}


static ngx_uint_t
ngx_mapi_health_bits(ngx_mapi_health_t *health, ngx_uint_t verdict)
{
    switch (verdict) {

    case ngx_mapi_verdict_alive:
        return 0;

    case ngx_mapi_verdict_unknown:
        return health->mandatory ? NGX_MAPI_PEER_DEAD : 0;

    case ngx_mapi_verdict_draining:
        return NGX_MAPI_PEER_DRAIN;

    default:
        return NGX_MAPI_PEER_DEAD;
    }
}


/*
 * Nobody passes: that is more often the check's fault than the servers'.  The
 * balancer of a block with "mapi" knows what to do then; for the others the
 * marks are taken away.
 */

static void
ngx_mapi_health_outage(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_uint_t all_fail)
{
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    if (all_fail != mscf->health->all_fail) {
        mscf->health->all_fail = all_fail;

        if (all_fail) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                          "mapi: no server of upstream \"%V\" passes its "
                          "check: all are used as if they did", &us->host);

        } else {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "mapi: upstream \"%V\" has a server that passes its "
                          "check again", &us->host);
        }
    }

    if (!all_fail || mscf->type != ngx_mapi_upstream_none) {
        return;
    }

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_wlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {
            peer->down &= ~(ngx_uint_t) NGX_MAPI_PEER_MARKS;
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }
}


/* a server drains when each of its addresses does that is not dead */

static void
ngx_mapi_health_servers(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf)
{
    ngx_int_t                      n;
    ngx_uint_t                     i;
    ngx_mapi_server_t             *servers;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;
    u_char                         active[NGX_MAPI_SERVERS_MAX];

    servers = mscf->servers.elts;
    ngx_memzero(active, mscf->servers.nelts);

    for (i = 0; i < mscf->servers.nelts; i++) {
        servers[i].draining = 0;
    }

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {

            n = ngx_mapi_server_of_peer(mscf, peer, 0);

            if (n < 0 || ngx_mapi_peer_is_off(peer)) {
                continue;
            }

            if (peer->down & NGX_MAPI_PEER_DRAIN) {
                servers[n].draining = 1;

            } else if (peer->down == 0) {
                active[n] = 1;
            }
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    for (i = 0; i < mscf->servers.nelts; i++) {
        if (active[i]) {
            servers[i].draining = 0;
        }
    }
}


/*
 * mismatch=avoid: a server with another certificate is left as if it drained,
 * while there is one with the right one.
 */

static void
ngx_mapi_health_avoid(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_int_t                      n;
    ngx_uint_t                     i, matching;
    ngx_mapi_server_t             *servers;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;
    u_char                         differs[NGX_MAPI_SERVERS_MAX];
    u_char                         lives[NGX_MAPI_SERVERS_MAX];

    servers = mscf->servers.elts;
    ngx_memzero(differs, mscf->servers.nelts);
    ngx_memzero(lives, mscf->servers.nelts);

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {

            n = ngx_mapi_server_of_peer(mscf, peer, 0);

            if (n < 0 || peer->down) {
                continue;
            }

            lives[n] = 1;

            if (ngx_mapi_health_mismatch_of(mmcf, &us->host, &peer->name)) {
                differs[n] = 1;
            }
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    matching = 0;

    for (i = 0; i < mscf->servers.nelts; i++) {
        matching += lives[i] && !differs[i]
                    && servers[i].state == mapi_server_active;
    }

    for (i = 0; matching && i < mscf->servers.nelts; i++) {
        if (differs[i]) {
            servers[i].draining = 1;
        }
    }
}


/*
 * A server that was powered off sends no RST: what waits for it would wait for
 * its time-out.  Each of these requests ends as if that had come now, so that
 * its client goes elsewhere.
 */

static void
ngx_mapi_health_end_hanging(ngx_mapi_srv_conf_t *mscf,
    ngx_http_upstream_rr_peer_t *peer)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    n = 0;

    for (q = ngx_queue_head(&mscf->requests);
         q != ngx_queue_sentinel(&mscf->requests);
         q = ngx_queue_next(q))
    {
        pc = ngx_mapi_pin_peer_of(q);
        c = pc->connection;

        if (c == NULL
            || ngx_memn2cmp((u_char *) pc->sockaddr,
                            (u_char *) peer->sockaddr,
                            pc->socklen, peer->socklen)
               != 0)
        {
            continue;
        }

        c->read->timedout = 1;
        ngx_post_event(c->read, &ngx_posted_events);
        n++;
    }

    if (n) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "mapi: %ui requests that hung on the dead server %V "
                      "are ended", n, &peer->name);
    }
}
