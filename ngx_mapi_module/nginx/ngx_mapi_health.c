
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * Active checks.  One worker does them: the one that has the lease in the
 * zone; when it ends, or dies, another takes over.  Verdicts lie in the zone,
 * and each worker applies them to its peers before it uses these.
 */

#define NGX_MAPI_HEALTH_LEASE  3000    /* without renewal it is anybody's */
#define NGX_MAPI_HEALTH_TICK   100
#define NGX_MAPI_HEALTH_STALE  3600    /* seconds without a check */

/* what a certificate brought: a change for the workers, and what is logged */
#define NGX_MAPI_NEWS_CHANGE   1
#define NGX_MAPI_NEWS_DIFFERS  2
#define NGX_MAPI_NEWS_ENDING   4


static void ngx_mapi_health_tick(ngx_event_t *ev);
static ngx_uint_t ngx_mapi_health_has_lease(ngx_mapi_zone_t *zone);
static void ngx_mapi_health_begin(ngx_cycle_t *cycle);
static void ngx_mapi_health_stop(ngx_cycle_t *cycle);
static ngx_mapi_health_t *ngx_mapi_health_next(ngx_cycle_t *cycle,
    ngx_uint_t *i, ngx_http_upstream_srv_conf_t **us);
static void ngx_mapi_health_sync(ngx_event_t *ev);
static void ngx_mapi_health_sync_group(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health, ngx_http_upstream_rr_peers_t *peers);
static void ngx_mapi_health_add(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health, ngx_http_upstream_rr_peer_t *peer);
static void ngx_mapi_health_remove(ngx_mapi_health_target_t *target);
static void ngx_mapi_health_due(ngx_event_t *ev);
static ngx_mapi_health_record_t *ngx_mapi_health_record(
    ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream, ngx_str_t *name);
static ngx_mapi_health_record_t *ngx_mapi_health_find(ngx_mapi_zone_t *zone,
    ngx_str_t *upstream, ngx_str_t *name);
static ngx_mapi_verdict_e ngx_mapi_health_kind(ngx_mapi_check_e check);
static ngx_mapi_verdict_e ngx_mapi_health_verdict(ngx_mapi_health_t *health,
    ngx_mapi_health_record_t *record, ngx_mapi_check_e check);
static ngx_uint_t ngx_mapi_health_news_of_cert(
    ngx_mapi_health_target_t *target, ngx_mapi_health_record_t *record,
    ngx_mapi_cert_t *cert);
static void ngx_mapi_health_report_cert(ngx_mapi_health_target_t *target,
    ngx_mapi_cert_t *cert, ngx_uint_t news);
static void ngx_mapi_health_report(ngx_mapi_health_target_t *target,
    ngx_mapi_health_record_t *record, ngx_mapi_verdict_e verdict);


static ngx_str_t  ngx_mapi_check_words[] = {
    ngx_string("nothing was found out"),
    ngx_string("it answers as it should"),
    ngx_string("it closes without an answer, which is maintenance"),
    ngx_string("its answer is wrong"),
    ngx_string("it refuses the connection"),
    ngx_string("it does not answer in time"),
    ngx_string("its TLS handshake or certificate fails")
};


static ngx_str_t  ngx_mapi_verdict_words[] = {
    ngx_string("unknown"),
    ngx_string("alive"),
    ngx_string("draining"),
    ngx_string("failing"),
    ngx_string("dead")
};


static ngx_event_t  ngx_mapi_health_event;
static ngx_uint_t   ngx_mapi_health_checking;


ngx_int_t
ngx_mapi_health_init_process(ngx_cycle_t *cycle)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || !mmcf->checks) {
        return NGX_OK;
    }

    ngx_memzero(&ngx_mapi_health_event, sizeof(ngx_event_t));

    ngx_mapi_health_event.handler = ngx_mapi_health_tick;
    ngx_mapi_health_event.data = cycle;
    ngx_mapi_health_event.log = cycle->log;
    ngx_mapi_health_event.cancelable = 1;

    ngx_add_timer(&ngx_mapi_health_event, 1);

    return NGX_OK;
}


void
ngx_mapi_health_exit_process(ngx_cycle_t *cycle)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf && mmcf->checks) {
        ngx_mapi_health_stop(cycle);
    }
}


static void
ngx_mapi_health_tick(ngx_event_t *ev)
{
    ngx_uint_t                     i;
    ngx_cycle_t                   *cycle;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    cycle = ev->data;
    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    /* what hangs on a dead server does not wait for a request to come */

    for (i = 0; ngx_mapi_health_next(cycle, &i, &us); /* void */ ) {
        ngx_mapi_health_apply(us);
    }

    if (ngx_exiting || ngx_terminate) {

        /* others check now, but what hangs here is ours to end */

        ngx_mapi_health_stop(cycle);

    } else if (ngx_mapi_health_has_lease(mmcf->zone)) {

        if (!ngx_mapi_health_checking) {
            ngx_mapi_health_begin(cycle);
        }

    } else if (ngx_mapi_health_checking) {

        /* it was stopped for so long that another has taken over */

        ngx_mapi_health_stop(cycle);
    }

    ngx_add_timer(ev, NGX_MAPI_HEALTH_TICK);
}


/*
 * Two workers can never both believe that they have it for longer than a
 * tick, and then they only check twice.
 */

static ngx_uint_t
ngx_mapi_health_has_lease(ngx_mapi_zone_t *zone)
{
    ngx_msec_t         now;
    ngx_atomic_uint_t  lease;

    now = ngx_current_msec;
    lease = zone->lease;

    if (zone->holder != (ngx_atomic_uint_t) ngx_pid
        && (ngx_msec_int_t) (lease - now) > 0
        && (ngx_msec_int_t) (lease - now) <= NGX_MAPI_HEALTH_LEASE)
    {
        return 0;
    }

    if (!ngx_atomic_cmp_set(&zone->lease, lease, now + NGX_MAPI_HEALTH_LEASE))
    {
        return 0;
    }

    zone->holder = ngx_pid;

    return 1;
}


static void
ngx_mapi_health_begin(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i;
    ngx_mapi_health_t             *health;
    ngx_http_upstream_srv_conf_t  *us;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, cycle->log, 0,
                   "mapi: this worker checks the servers");

    ngx_mapi_health_checking = 1;
    i = 0;

    while ((health = ngx_mapi_health_next(cycle, &i, &us))) {

        ngx_queue_init(&health->targets);

        ngx_memzero(&health->sync, sizeof(ngx_event_t));

        health->sync.handler = ngx_mapi_health_sync;
        health->sync.data = us;
        health->sync.log = cycle->log;
        health->sync.cancelable = 1;

        ngx_mapi_health_sync(&health->sync);
    }
}


static void
ngx_mapi_health_stop(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i;
    ngx_queue_t                   *q;
    ngx_mapi_health_t             *health;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    if (!ngx_mapi_health_checking) {
        return;
    }

    ngx_mapi_health_checking = 0;
    i = 0;

    while ((health = ngx_mapi_health_next(cycle, &i, &us))) {

        if (health->sync.timer_set) {
            ngx_del_timer(&health->sync);
        }

        while (!ngx_queue_empty(&health->targets)) {
            q = ngx_queue_head(&health->targets);
            ngx_mapi_health_remove(ngx_queue_data(q, ngx_mapi_health_target_t,
                                                  queue));
        }
    }

    /* the next one need not wait for the lease to end */

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf->zone->holder == (ngx_atomic_uint_t) ngx_pid) {
        mmcf->zone->lease = ngx_current_msec;
    }
}


static ngx_mapi_health_t *
ngx_mapi_health_next(ngx_cycle_t *cycle, ngx_uint_t *i,
    ngx_http_upstream_srv_conf_t **us)
{
    ngx_mapi_srv_conf_t  *mscf;

    while ((mscf = ngx_mapi_next_block(cycle, i, us))) {
        if (mscf->health) {
            return mscf->health;
        }
    }

    return NULL;
}


/* addresses may come and go ("resolve"): looked for once an interval */

static void
ngx_mapi_health_sync(ngx_event_t *ev)
{
    ngx_queue_t                   *q, *next;
    ngx_mapi_health_t             *health;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_health_target_t      *target;
    ngx_http_upstream_rr_peers_t  *peers;
    ngx_http_upstream_srv_conf_t  *us;

    us = ev->data;
    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);
    health = mscf->health;

    for (q = ngx_queue_head(&health->targets);
         q != ngx_queue_sentinel(&health->targets);
         q = ngx_queue_next(q))
    {
        target = ngx_queue_data(q, ngx_mapi_health_target_t, queue);
        target->found = 0;
    }

    for (peers = us->peer.data; peers; peers = peers->next) {
        ngx_http_upstream_rr_peers_rlock(peers);
        ngx_mapi_health_sync_group(us, health, peers);
        ngx_http_upstream_rr_peers_unlock(peers);
    }

    for (q = ngx_queue_head(&health->targets);
         q != ngx_queue_sentinel(&health->targets);
         q = next)
    {
        next = ngx_queue_next(q);
        target = ngx_queue_data(q, ngx_mapi_health_target_t, queue);

        if (!target->found) {
            ngx_mapi_health_remove(target);
        }
    }

    ngx_add_timer(ev, health->interval);
}


static void
ngx_mapi_health_sync_group(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health, ngx_http_upstream_rr_peers_t *peers)
{
    ngx_queue_t                  *q;
    ngx_mapi_health_target_t     *target;
    ngx_http_upstream_rr_peer_t  *peer;

    for (peer = peers->peer; peer; peer = peer->next) {

        if (ngx_mapi_peer_is_off(peer)) {
            continue;
        }

        for (q = ngx_queue_head(&health->targets);
             q != ngx_queue_sentinel(&health->targets);
             q = ngx_queue_next(q))
        {
            target = ngx_queue_data(q, ngx_mapi_health_target_t, queue);

            if (target->name.len == peer->name.len
                && ngx_memcmp(target->name.data, peer->name.data,
                              peer->name.len)
                   == 0)
            {
                target->found = 1;
                break;
            }
        }

        if (q == ngx_queue_sentinel(&health->targets)) {
            ngx_mapi_health_add(us, health, peer);
        }
    }
}


/* one piece of memory: the target, its name and the host it is asked for */

static void
ngx_mapi_health_add(ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health, ngx_http_upstream_rr_peer_t *peer)
{
    u_char                    *p;
    ngx_int_t                  n;
    ngx_str_t                  host;
    in_port_t                  port;
    ngx_mapi_server_t         *server;
    ngx_mapi_srv_conf_t       *mscf;
    ngx_mapi_health_target_t  *target;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    host = health->host;

    if (host.len == 0) {
        n = ngx_mapi_server_of_peer(mscf, peer, 0);

        if (n >= 0) {
            server = mscf->servers.elts;
            host = server[n].host;
        }
    }

    target = ngx_calloc(sizeof(ngx_mapi_health_target_t) + peer->name.len
                        + host.len + 1, ngx_cycle->log);
    if (target == NULL) {
        return;
    }

    p = (u_char *) (target + 1);

    target->name.len = peer->name.len;
    target->name.data = p;
    p = ngx_cpymem(p, peer->name.data, peer->name.len);

    target->host.len = host.len;
    target->host.data = p;
    ngx_memcpy(p, host.data, host.len);

    target->upstream = us;
    target->health = health;
    target->found = 1;
    target->socklen = peer->socklen;
    ngx_memcpy(&target->sockaddr, peer->sockaddr, peer->socklen);

    if (health->port) {
        ngx_inet_set_port((struct sockaddr *) &target->sockaddr, health->port);
    }

    port = ngx_inet_get_port((struct sockaddr *) &target->sockaddr);
    target->tls = !health->plain && (port == 443 || port == 444);

    target->timer.handler = ngx_mapi_health_due;
    target->timer.data = target;
    target->timer.log = ngx_cycle->log;
    target->timer.cancelable = 1;

    ngx_queue_insert_tail(&health->targets, &target->queue);

    /* spread, but the first verdict shall not take long */

    ngx_add_timer(&target->timer,
                  1 + ngx_random() % ngx_min(health->interval, 1000));
}


static void
ngx_mapi_health_remove(ngx_mapi_health_target_t *target)
{
    ngx_mapi_health_abort(target);

    ngx_queue_remove(&target->queue);
    ngx_free(target);
}


static void
ngx_mapi_health_due(ngx_event_t *ev)
{
    ngx_mapi_health_start(ev->data);
}


void
ngx_mapi_health_done(ngx_mapi_health_target_t *target, ngx_mapi_check_e check,
    ngx_uint_t status, u_char *body, size_t len, ngx_mapi_cert_t *cert)
{
    ngx_msec_t                 took;
    ngx_uint_t                 news, full;
    ngx_mapi_verdict_e         verdict, before;
    ngx_mapi_main_conf_t      *mmcf;
    ngx_mapi_health_record_t  *record, copy;

    /* from start to start */

    took = ngx_current_msec - target->started;

    target->timer.handler = ngx_mapi_health_due;
    ngx_add_timer(&target->timer, took < target->health->interval
                                  ? target->health->interval - took : 1);

    mmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_mapi_module);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "mapi: check of %V: %V, status %ui", &target->name,
                   &ngx_mapi_check_words[check], status);

    if (check == ngx_mapi_check_none) {
        return;
    }

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    record = ngx_mapi_health_record(mmcf, &target->upstream->host,
                                    &target->name);
    if (record == NULL) {
        full = mmcf->zone->full;
        mmcf->zone->full = 1;

        ngx_shmtx_unlock(&mmcf->shpool->mutex);

        if (!full) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "mapi: \"mapi_zone\" is too small for all servers: "
                          "those that have no room in it are not checked; "
                          "write a larger size");
        }

        return;
    }

    before = record->verdict;
    verdict = ngx_mapi_health_verdict(target->health, record, check);

    record->status = status;
    record->latency = ngx_current_msec - target->started;
    record->checked = ngx_time();
    record->body_len = (u_short) len;
    ngx_memcpy(record->body, body, len);

    news = ngx_mapi_health_news_of_cert(target, record, cert);

    if (verdict != before) {
        record->verdict = verdict;
        record->changed = ngx_time();
        record->since = ngx_current_msec;
    }

    if (verdict != before || (news & NGX_MAPI_NEWS_CHANGE)) {
        (void) ngx_atomic_fetch_add(&mmcf->zone->generation, 1);
    }

    copy = *record;

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    target->hurry = (check == ngx_mapi_check_silent
                     && verdict != ngx_mapi_verdict_dead);

    if (check == ngx_mapi_check_passed) {
        target->latency = took;
    }

    if (news & ~NGX_MAPI_NEWS_CHANGE) {
        ngx_mapi_health_report_cert(target, cert, news);
    }

    if (verdict != before) {
        ngx_mapi_health_report(target, &copy, verdict);
        ngx_mapi_health_apply(target->upstream);
    }
}


/*
 * What a certificate changes, with the mutex held.  A server that offers no
 * logon of connections need not have the listener's.
 */

static ngx_uint_t
ngx_mapi_health_news_of_cert(ngx_mapi_health_target_t *target,
    ngx_mapi_health_record_t *record, ngx_mapi_cert_t *cert)
{
    ngx_uint_t  differs, news;

    news = 0;

    if (!target->tls && record->cert.end) {

        /* since a reload none is seen, and this one may be another by now */

        news = record->differs ? NGX_MAPI_NEWS_CHANGE : 0;

        ngx_memzero(&record->cert, sizeof(ngx_mapi_cert_t));
        record->differs = 0;
        record->warned = 0;
        record->ending = 0;
    }

    if (cert->end) {

        if (ngx_memcmp(record->cert.digest, cert->digest,
                       NGX_MAPI_CERT_DIGEST)
            != 0)
        {
            record->cert = *cert;
            record->warned = 0;
            record->ending = 0;
        }

        /* the listeners' may be others since a reload */

        differs = ngx_mapi_cert_differs(target->health, cert);

        if (differs != record->differs) {
            record->differs = differs;
            record->warned = 0;
            news |= NGX_MAPI_NEWS_CHANGE;
        }

        if (!record->ending
            && cert->end - ngx_time() < NGX_MAPI_CERT_DAYS * 86400)
        {
            record->ending = 1;
            news |= NGX_MAPI_NEWS_ENDING;
        }
    }

    if (record->differs && record->offers && !record->warned) {
        record->warned = 1;
        news |= NGX_MAPI_NEWS_DIFFERS|NGX_MAPI_NEWS_CHANGE;
    }

    return news;
}


static void
ngx_mapi_health_report_cert(ngx_mapi_health_target_t *target,
    ngx_mapi_cert_t *cert, ngx_uint_t news)
{
    if (news & NGX_MAPI_NEWS_DIFFERS) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "mapi: server %V of upstream \"%V\" has another "
                      "certificate than the listener: with Extended "
                      "Protection its clients cannot log on by NTLM or "
                      "Kerberos; install the same certificate on both",
                      &target->name, &target->upstream->host);
    }

    if (news & NGX_MAPI_NEWS_ENDING) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "mapi: the certificate of server %V of upstream \"%V\" "
                      "ends in %T days", &target->name,
                      &target->upstream->host,
                      (cert->end - ngx_time()) / 86400);
    }
}


/*
 * A server offers logons of connections: noted once for each, from the answers
 * that pass.
 */

void
ngx_mapi_health_offers(ngx_http_upstream_srv_conf_t *us, ngx_str_t *name)
{
    ngx_mapi_main_conf_t      *mmcf;
    ngx_mapi_health_record_t  *record;

    mmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_mapi_module);

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    record = ngx_mapi_health_find(mmcf->zone, &us->host, name);

    if (record) {
        record->offers = 1;
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);
}


/*
 * Hysteresis.  A server that nothing is known of needs one check to be alive,
 * so that a start is quick.  Failures of any kind in a row end that; which kind
 * it is then is said by those of one kind, since a server that is closed for
 * maintenance keeps what it has, and an ill one does not.
 */

static ngx_mapi_verdict_e
ngx_mapi_health_verdict(ngx_mapi_health_t *health,
    ngx_mapi_health_record_t *record, ngx_mapi_check_e check)
{
    ngx_mapi_verdict_e  verdict;

    verdict = ngx_mapi_health_kind(check);

    record->run = (ngx_mapi_health_kind(record->last) == verdict)
                  ? record->run + 1 : 1;

    record->last = check;

    if (verdict == ngx_mapi_verdict_alive) {
        record->bad = 0;

        return record->verdict == ngx_mapi_verdict_unknown
               || record->run >= health->passes
               ? verdict : record->verdict;
    }

    record->bad++;

    if (record->run >= health->fails) {
        return verdict;
    }

    if (record->bad >= health->fails
        && (record->verdict == ngx_mapi_verdict_alive
            || record->verdict == ngx_mapi_verdict_unknown))
    {
        return ngx_mapi_verdict_failing;
    }

    return record->verdict;
}


static ngx_mapi_verdict_e
ngx_mapi_health_kind(ngx_mapi_check_e check)
{
    switch (check) {

    case ngx_mapi_check_none:
        return ngx_mapi_verdict_unknown;

    case ngx_mapi_check_passed:
        return ngx_mapi_verdict_alive;

    case ngx_mapi_check_closed:
        return ngx_mapi_verdict_draining;

    case ngx_mapi_check_wrong:
        return ngx_mapi_verdict_failing;

    default:
        return ngx_mapi_verdict_dead;
    }
}


static void
ngx_mapi_health_report(ngx_mapi_health_target_t *target,
    ngx_mapi_health_record_t *record, ngx_mapi_verdict_e verdict)
{
    ngx_uint_t  level;

    switch (verdict) {

    case ngx_mapi_verdict_alive:
        level = NGX_LOG_NOTICE;
        break;

    case ngx_mapi_verdict_draining:
        level = NGX_LOG_WARN;
        break;

    default:
        level = NGX_LOG_ERR;
    }

    ngx_log_error(level, ngx_cycle->log, 0,
                  "mapi: server %V of upstream \"%V\" is %V: %V "
                  "(%ui checks, status %ui)",
                  &target->name, &target->upstream->host,
                  &ngx_mapi_verdict_words[verdict],
                  &ngx_mapi_check_words[record->last], record->run,
                  record->status);
}


static ngx_mapi_health_record_t *
ngx_mapi_health_find(ngx_mapi_zone_t *zone, ngx_str_t *upstream,
    ngx_str_t *name)
{
    ngx_queue_t               *q;
    ngx_mapi_health_record_t  *record;

    for (q = ngx_queue_head(&zone->health);
         q != ngx_queue_sentinel(&zone->health);
         q = ngx_queue_next(q))
    {
        record = ngx_queue_data(q, ngx_mapi_health_record_t, queue);

        if (record->upstream_len == upstream->len
            && record->name_len == name->len
            && ngx_memcmp(record->names, upstream->data, upstream->len) == 0
            && ngx_memcmp(record->names + upstream->len, name->data,
                          name->len)
               == 0)
        {
            return record;
        }
    }

    return NULL;
}


/* with the mutex held */

static ngx_mapi_health_record_t *
ngx_mapi_health_record(ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream,
    ngx_str_t *name)
{
    size_t                     size;
    ngx_queue_t               *q;
    ngx_mapi_zone_t           *zone;
    ngx_mapi_health_record_t  *record;

    zone = mmcf->zone;
    record = ngx_mapi_health_find(zone, upstream, name);

    if (record == NULL) {

        size = offsetof(ngx_mapi_health_record_t, names) + upstream->len
               + name->len;

        record = ngx_slab_calloc_locked(mmcf->shpool, size);

        if (record == NULL) {

            /* only one that nobody checks any more makes room */

            q = ngx_queue_last(&zone->health);

            if (q != ngx_queue_sentinel(&zone->health)) {
                record = ngx_queue_data(q, ngx_mapi_health_record_t, queue);

                if (ngx_time() - record->checked > NGX_MAPI_HEALTH_STALE) {
                    ngx_queue_remove(q);
                    ngx_slab_free_locked(mmcf->shpool, record);
                    record = ngx_slab_calloc_locked(mmcf->shpool, size);

                } else {
                    record = NULL;
                }
            }
        }

        if (record == NULL) {
            return NULL;
        }

        record->upstream_len = (u_short) upstream->len;
        record->name_len = (u_short) name->len;
        ngx_memcpy(ngx_cpymem(record->names, upstream->data, upstream->len),
                   name->data, name->len);

    } else {
        ngx_queue_remove(&record->queue);
    }

    ngx_queue_insert_head(&zone->health, &record->queue);

    return record;
}


void
ngx_mapi_health_copy(ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream,
    ngx_str_t *name, ngx_mapi_health_record_t *copy)
{
    ngx_mapi_health_record_t  *record;

    ngx_memzero(copy, sizeof(ngx_mapi_health_record_t));

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    record = ngx_mapi_health_find(mmcf->zone, upstream, name);

    if (record) {
        ngx_memcpy(copy, record, offsetof(ngx_mapi_health_record_t, names));
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);
}


ngx_str_t *
ngx_mapi_check_word(ngx_mapi_check_e check)
{
    return &ngx_mapi_check_words[check];
}


ngx_str_t *
ngx_mapi_verdict_word(ngx_mapi_verdict_e verdict)
{
    return &ngx_mapi_verdict_words[verdict];
}


void
ngx_mapi_health_look(ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream,
    ngx_str_t *name, ngx_mapi_health_view_t *view)
{
    ngx_mapi_health_record_t  *record;

    ngx_memzero(view, sizeof(ngx_mapi_health_view_t));

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    record = ngx_mapi_health_find(mmcf->zone, upstream, name);

    if (record) {
        view->verdict = record->verdict;
        view->last = record->last;
        view->since = record->since;
        view->mismatch = record->differs && record->offers;
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);
}
