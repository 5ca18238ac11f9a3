
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * What a worker makes of verdicts: marks on its peers, in the member "down"
 * that every balancing method of nginx looks at.  The configuration's own
 * "down" is another bit.
 */

static void ngx_mapi_health_judge_block(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf);
static void ngx_mapi_health_mark(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf);
static ngx_uint_t ngx_mapi_health_bits(ngx_mapi_health_t *health,
    ngx_uint_t verdict);
static void ngx_mapi_health_servers(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf);
static void ngx_mapi_health_avoid(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf);
static void ngx_mapi_health_end_hanging(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf);


/* cheap if nothing has changed: one number in shared memory is read */

void
ngx_mapi_health_apply(ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                     config;
    ngx_atomic_uint_t              generation;
    ngx_mapi_health_t             *health;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_rr_peers_t  *peers;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);
    health = mscf->health;

    mmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_mapi_module);

    generation = mmcf->zone->generation;
    peers = us->peer.data;
    config = ngx_mapi_peers_config(peers);

    if (health->seen == generation + 1 && health->config == config) {
        return;
    }

    health->seen = generation + 1;
    health->config = config;

    ngx_mapi_health_judge_block(us, mscf, mmcf);
    ngx_mapi_health_mark(us, mscf, mmcf);
    ngx_mapi_health_servers(us, mscf);

    if (health->avoid) {
        ngx_mapi_health_avoid(us, mscf, mmcf);
    }

    ngx_mapi_health_end_hanging(us, mscf, mmcf);
}


/*
 * Does anybody pass, or drain?  If not, that is more often the check's fault
 * than the servers'.  Addresses that were never checked say nothing.
 */

static void
ngx_mapi_health_judge_block(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t                     passing, draining, ill, all_fail;
    ngx_mapi_health_view_t         view;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    passing = 0;
    draining = 0;
    ill = 0;

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {

            if (ngx_mapi_peer_is_off(peer)) {
                continue;
            }

            ngx_mapi_health_look(mmcf, &us->host, &peer->name, &view);

            switch (view.verdict) {

            case ngx_mapi_verdict_unknown:
                passing += !mscf->health->mandatory;
                break;

            case ngx_mapi_verdict_alive:
                passing++;
                break;

            case ngx_mapi_verdict_draining:
                draining++;
                break;

            default:
                ill++;
            }
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    mscf->health->all_drain = (passing == 0 && draining);
    all_fail = (passing + draining == 0 && ill);

    if (all_fail == mscf->health->all_fail) {
        return;
    }

    mscf->health->all_fail = all_fail;

    if (all_fail) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "mapi: no server of upstream \"%V\" passes its check: "
                      "all are used as if they did", &us->host);

    } else {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "mapi: upstream \"%V\" has a server that passes its "
                      "check again", &us->host);
    }
}


/*
 * The balancer of a block with "mapi" knows what to do when nobody passes; for
 * the others the marks are left out: those of dead servers if all are ill, and
 * those of drains if only such servers are left.
 */

static void
ngx_mapi_health_mark(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t                     bits, mask;
    ngx_mapi_health_view_t         view;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    mask = NGX_MAPI_PEER_MARKS;

    if (mscf->type == ngx_mapi_upstream_none) {

        if (mscf->health->all_fail) {
            mask = 0;

        } else if (mscf->health->all_drain) {
            mask = NGX_MAPI_PEER_DEAD;
        }
    }

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_wlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {

            if (ngx_mapi_peer_is_off(peer)) {
                continue;
            }

            ngx_mapi_health_look(mmcf, &us->host, &peer->name, &view);

            bits = ngx_mapi_health_bits(mscf->health, view.verdict) & mask;

            /* what requests have met before is over */

            if (bits == 0 && (peer->down & NGX_MAPI_PEER_DEAD)) {
                peer->fails = 0;
            }

            peer->down = (peer->down & ~(ngx_uint_t) NGX_MAPI_PEER_MARKS)
                         | bits;
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }
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
    ngx_mapi_health_view_t         view;
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

            ngx_mapi_health_look(mmcf, &us->host, &peer->name, &view);

            differs[n] |= view.mismatch;
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
 * its client goes elsewhere.  Only of a server that is silent: one that refuses
 * connections has reset those it had, or is not as dead as the check believes.
 * And only those that are older than the verdict, which later ones knew.
 */

static void
ngx_mapi_health_end_hanging(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t                     n;
    ngx_queue_t                   *q;
    ngx_str_t                     *name;
    ngx_connection_t              *c;
    ngx_peer_connection_t         *pc;
    ngx_mapi_health_view_t         view;

    n = 0;

    for (q = ngx_queue_head(&mscf->requests);
         q != ngx_queue_sentinel(&mscf->requests);
         q = ngx_queue_next(q))
    {
        pc = ngx_mapi_pin_peer_of(q);
        c = pc->connection;
        name = pc->name;

        if (c == NULL || name == NULL) {
            continue;
        }

        ngx_mapi_health_look(mmcf, &us->host, name, &view);

        if (view.verdict != ngx_mapi_verdict_dead
            || view.last != ngx_mapi_check_silent
            || (ngx_msec_int_t) (ngx_mapi_pin_started(q) - view.since) > 0)
        {
            continue;
        }

        c->read->timedout = 1;
        ngx_post_event(c->read, &ngx_posted_events);
        n++;
    }

    if (n) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "mapi: %ui requests that hung on dead servers of "
                      "upstream \"%V\" are ended", n, &us->host);
    }
}
