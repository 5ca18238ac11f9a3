
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"

#include <openssl/rand.h>


/*
 * Learned locations.  An Exchange front end that passes a request on says where
 * the database is mounted, in X-CalculatedBETarget.  If that is a server of the
 * block and not the one that was asked, the zone remembers it, for the database
 * if the directory knows that, else for the mailbox.
 *
 * In direct mode a server refuses instead, and says where the database is: see
 * ngx_mapi_direct.c.
 *
 * A table of slots, in buckets.  A reader takes no lock: it copies a slot and
 * looks whether the slot's number was even and the same before and after.
 * Writers have the slab pool's mutex; one that dies in the middle leaves an odd
 * number, and the next one takes the slot as it is.
 */

static ngx_uint_t ngx_mapi_learn_key(ngx_mapi_ctx_t *ctx,
    ngx_mapi_zone_t *zone, uint64_t *key);
static ngx_int_t ngx_mapi_learn_read(ngx_mapi_zone_t *zone, uint64_t *key,
    ngx_mapi_learned_t *copy);
static ngx_mapi_learned_t *ngx_mapi_learn_bucket(ngx_mapi_zone_t *zone,
    uint64_t *key);
static ngx_int_t ngx_mapi_learn_server(ngx_mapi_srv_conf_t *mscf,
    uint64_t hash);
static void ngx_mapi_learn_write(ngx_mapi_main_conf_t *mmcf, uint64_t *key,
    uint64_t server, uint64_t said);
static void ngx_mapi_learn_store(ngx_mapi_learned_t *slot,
    const uint64_t *key, uint64_t server, uint64_t said);


/* half of what is free goes to the table, at the zone's first start */

ngx_int_t
ngx_mapi_learn_init_zone(ngx_slab_pool_t *shpool, ngx_mapi_zone_t *zone)
{
    size_t  size;

    if (RAND_bytes((u_char *) &zone->hash, sizeof(zone->hash)) != 1) {
        return NGX_ERROR;
    }

    size = shpool->pfree / 2 * ngx_pagesize;

    zone->learned = ngx_slab_calloc(shpool, size);
    if (zone->learned == NULL) {
        return NGX_ERROR;
    }

    zone->nbuckets = size / (NGX_MAPI_LEARN_BUCKET
                             * sizeof(ngx_mapi_learned_t));

    return NGX_OK;
}


/* hosts do not change: each worker hashes them once */

void
ngx_mapi_learn_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i, j;
    ngx_mapi_server_t             *servers;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || mmcf->zone == NULL) {
        return;
    }

    for (i = 0; (mscf = ngx_mapi_next_block(cycle, &i, &us)); /* void */ ) {

        mscf->hash = mapi_siphash(&mmcf->zone->hash, mscf->name.data,
                                  mscf->name.len);

        servers = mscf->servers.elts;

        for (j = 0; j < mscf->servers.nelts; j++) {
            servers[j].hash = mapi_siphash(&mmcf->zone->hash,
                                           servers[j].host.data,
                                           servers[j].host.len);
        }
    }
}


/* the directory's word for a database, to be compared with what it was */

uint64_t
ngx_mapi_learn_said(ngx_mapi_main_conf_t *mmcf, mapi_str_t *server)
{
    return mmcf->zone ? mapi_siphash(&mmcf->zone->hash, server->data,
                                     server->len)
                      : 0;
}


/* fills ctx->learned, which is -1, with a server's index; there is a zone */

void
ngx_mapi_learn_find(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    uint64_t               key[3];
    ngx_mapi_zone_t       *zone;
    ngx_mapi_learned_t     copy;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);
    zone = mmcf->zone;

    if (zone->nlearned == 0
        || ctx->mscf->type == ngx_mapi_upstream_owner
        || ctx->mscf->type == ngx_mapi_upstream_none
        || !ngx_mapi_learn_key(ctx, zone, key)
        || ngx_mapi_learn_read(zone, key, &copy) != NGX_OK)
    {
        return;
    }

    if (copy.said == ctx->said) {
        ctx->learned = ngx_mapi_learn_server(ctx->mscf, copy.server);
        return;
    }

    /* the directory has changed its mind since, and knows better */

    ngx_mapi_learn_write(mmcf, key, 0, 0);
}


time_t
ngx_mapi_learn_since(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    uint64_t               key[3];
    ngx_mapi_learned_t     copy;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (ctx->learned < 0
        || !ngx_mapi_learn_key(ctx, mmcf->zone, key)
        || ngx_mapi_learn_read(mmcf->zone, key, &copy) != NGX_OK)
    {
        return 0;
    }

    return copy.since;
}


static ngx_int_t
ngx_mapi_learn_read(ngx_mapi_zone_t *zone, uint64_t *key,
    ngx_mapi_learned_t *copy)
{
    ngx_uint_t           i, number;
    ngx_mapi_learned_t  *slot;

    slot = ngx_mapi_learn_bucket(zone, key);

    for (i = 0; i < NGX_MAPI_LEARN_BUCKET; i++, slot++) {

        number = slot->number;
        ngx_memory_barrier();

        *copy = *slot;

        ngx_memory_barrier();

        if (!(number & 1)
            && slot->number == number
            && ngx_memcmp(copy->key, key, sizeof(copy->key)) == 0)
        {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/*
 * An answer of ctx->server.  Not of errors, and not of 401: the front end has
 * not looked where the mailbox lives by then.
 */

void
ngx_mapi_learn(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    uint64_t               key[3];
    ngx_int_t              n;
    ngx_str_t             *target;
    ngx_mapi_server_t     *servers;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (ctx->mscf->type != ngx_mapi_upstream_router
        || ctx->server < 0
        || r->headers_out.status < 200 || r->headers_out.status > 299)
    {
        return;
    }

    target = ngx_mapi_answer_header(r, "X-CalculatedBETarget");

    if (target == NULL) {
        return;
    }

    n = ngx_mapi_learn_named(ctx->mscf, target);

    if (ctx->located && n != ctx->known) {
        ngx_mapi_disagree(r, ctx, target);
    }

    if (n < 0) {

        if (!ctx->mscf->foreign) {
            ctx->mscf->foreign = 1;

            ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                          "mapi: a server of upstream \"%V\" passes requests "
                          "on to \"%V\", which is none of the block's servers "
                          "by its name in the directory: nothing is learned "
                          "from that", &ctx->mscf->name, target);
        }

        return;
    }

    if (n == ctx->server) {
        ngx_mapi_count_add(ctx->mscf->count, NGX_MAPI_COUNT_FIRST_HOP);

    } else {
        ngx_mapi_count_add(ctx->mscf->count, NGX_MAPI_COUNT_SECOND_HOP);
    }

    /* what the directory knows, or what was found by chance, is no news */

    if (n == ctx->learned
        || (ctx->learned < 0 && (n == ctx->known || n == ctx->server))
        || !ngx_mapi_learn_key(ctx, mmcf->zone, key))
    {
        return;
    }

    if (n == ctx->known) {
        ngx_mapi_learn_write(mmcf, key, 0, 0);
        return;
    }

    servers = ctx->mscf->servers.elts;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "mapi: learned that it lives on \"%V\"", &servers[n].name);

    ngx_mapi_learn_write(mmcf, key, servers[n].hash, ctx->said);
}


/* what a server said when it was asked for the database, by its GUID */

void
ngx_mapi_learn_place(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_int_t server)
{
    uint64_t               key[3], hash;
    ngx_mapi_server_t     *servers;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (mmcf->zone == NULL || !ctx->located
        || !ngx_mapi_learn_key(ctx, mmcf->zone, key))
    {
        return;
    }

    servers = ctx->mscf->servers.elts;
    hash = (server < 0) ? 0 : servers[server].hash;

    ngx_mapi_learn_write(mmcf, key, hash, ctx->said);
}


/*
 * The rehearsal: has the request been to where the directory says?  Servers
 * know best, and say it in the answer.
 */

void
ngx_mapi_learn_compare(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_int_t              n;
    ngx_str_t             *target;
    ngx_mapi_main_conf_t  *mmcf;

    if (r->headers_out.status < 200 || r->headers_out.status > 299) {
        return;
    }

    target = ngx_mapi_answer_header(r, "X-CalculatedBETarget");

    if (target == NULL) {
        return;
    }

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    n = ngx_mapi_learn_named(ctx->mscf, target);

    if (!ctx->located) {
        ngx_mapi_count_add(mmcf->count, NGX_MAPI_COUNT_OBSERVED
                                        + ngx_mapi_observed_unknown);
        return;
    }

    /* both may be elsewhere, in another site */

    if (n == ctx->known) {
        ngx_mapi_count_add(mmcf->count, NGX_MAPI_COUNT_OBSERVED
                                        + ngx_mapi_observed_right);
        return;
    }

    ngx_mapi_count_add(mmcf->count, NGX_MAPI_COUNT_OBSERVED
                                    + ngx_mapi_observed_wrong);

    ngx_mapi_disagree(r, ctx, target);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "mapi: observed that database \"%V\" is on \"%V\", and the "
                  "directory says otherwise", &ctx->database, target);
}


static ngx_uint_t
ngx_mapi_learn_key(ngx_mapi_ctx_t *ctx, ngx_mapi_zone_t *zone, uint64_t *key)
{
    mapi_str_t          *text;
    mapi_siphash_key_t   other;

    key[0] = mapi_siphash(&zone->hash, ctx->mscf->name.data,
                          ctx->mscf->name.len);

    if (ctx->located) {
        key[0] |= 1;
        ngx_memcpy(&key[1], ctx->database_guid.b, 16);
        return 1;
    }

    key[0] &= ~(uint64_t) 1;

    if (ctx->identity.kind == mapi_identity_none) {
        return 0;
    }

    text = &ctx->identity.text;

    other.k0 = zone->hash.k1;
    other.k1 = zone->hash.k0;

    key[1] = mapi_siphash(&zone->hash, text->data, text->len);
    key[2] = mapi_siphash(&other, text->data, text->len);

    return 1;
}


static ngx_mapi_learned_t *
ngx_mapi_learn_bucket(ngx_mapi_zone_t *zone, uint64_t *key)
{
    uint64_t  bits;

    bits = mapi_siphash(&zone->hash, key, 3 * sizeof(uint64_t));

    return &zone->learned[bits % zone->nbuckets * NGX_MAPI_LEARN_BUCKET];
}


static ngx_int_t
ngx_mapi_learn_server(ngx_mapi_srv_conf_t *mscf, uint64_t hash)
{
    ngx_uint_t          i;
    ngx_mapi_server_t  *servers;

    servers = mscf->servers.elts;

    for (i = 0; i < mscf->servers.nelts; i++) {
        if (servers[i].hash == hash) {
            return i;
        }
    }

    return -1;
}


/* a name only ever chooses among those that the configuration has */

ngx_int_t
ngx_mapi_learn_named(ngx_mapi_srv_conf_t *mscf, ngx_str_t *name)
{
    ngx_str_t          *own[3];
    ngx_uint_t          i, j;
    ngx_mapi_server_t  *servers;

    servers = mscf->servers.elts;

    for (i = 0; i < mscf->servers.nelts; i++) {

        own[0] = &servers[i].name;
        own[1] = &servers[i].host;
        own[2] = &servers[i].short_name;

        for (j = 0; j < 3; j++) {
            if (own[j]->len && own[j]->len == name->len
                && ngx_strncasecmp(own[j]->data, name->data, name->len) == 0)
            {
                return i;
            }
        }
    }

    return -1;
}


/*
 * The key's own slot, else an empty one, else the oldest of the bucket.  A
 * server of 0 empties the key's slot.
 */

static void
ngx_mapi_learn_write(ngx_mapi_main_conf_t *mmcf, uint64_t *key,
    uint64_t server, uint64_t said)
{
    ngx_uint_t           i, same;
    ngx_mapi_zone_t     *zone;
    ngx_mapi_learned_t  *slot, *best;

    static const uint64_t  none[3] = { 0, 0, 0 };

    zone = mmcf->zone;

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    slot = ngx_mapi_learn_bucket(zone, key);
    best = slot;

    for (i = 0; i < NGX_MAPI_LEARN_BUCKET; i++, slot++) {

        if (ngx_memcmp(slot->key, key, sizeof(slot->key)) == 0) {
            best = slot;
            break;
        }

        if (ngx_memcmp(best->key, none, sizeof(none)) != 0
            && (ngx_memcmp(slot->key, none, sizeof(none)) == 0
                || slot->since < best->since))
        {
            best = slot;
        }
    }

    same = (ngx_memcmp(best->key, key, sizeof(best->key)) == 0);

    if (server == 0) {

        if (same) {
            zone->nlearned--;
            ngx_mapi_learn_store(best, none, 0, 0);
        }

    } else {

        if (ngx_memcmp(best->key, none, sizeof(none)) == 0) {
            zone->nlearned++;

        } else if (!same) {
            zone->forgotten++;
        }

        ngx_mapi_learn_store(best, key, server, said);
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);
}


static void
ngx_mapi_learn_store(ngx_mapi_learned_t *slot, const uint64_t *key,
    uint64_t server, uint64_t said)
{
    ngx_atomic_uint_t  number;

    number = slot->number | 1;

    slot->number = number;
    ngx_memory_barrier();

    ngx_memcpy(slot->key, key, sizeof(slot->key));
    slot->server = server;
    slot->said = said;
    slot->since = ngx_time();

    ngx_memory_barrier();
    slot->number = number + 1;
}


/* one worker's end is as good as another's to say what all have counted */

void
ngx_mapi_learn_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i, right, wrong, unknown;
    ngx_atomic_t                  *observed;
    ngx_mapi_zone_t               *zone;
    ngx_atomic_uint_t              sum[NGX_MAPI_COUNTS], first, second;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL) {
        return;
    }

    observed = &mmcf->count->n[NGX_MAPI_COUNT_OBSERVED];

    right = observed[ngx_mapi_observed_right];
    wrong = observed[ngx_mapi_observed_wrong];
    unknown = observed[ngx_mapi_observed_unknown];

    if (right + wrong + unknown) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "mapi: observed %ui answers: the directory was right for "
                      "%ui, wrong for %ui, and did not know %ui "
                      "(%ui %% right)",
                      right + wrong + unknown, right, wrong, unknown,
                      100 * right / (right + wrong + unknown));
    }

    zone = mmcf->zone;

    if (zone == NULL) {
        return;
    }

    first = 0;
    second = 0;

    for (i = 0; (mscf = ngx_mapi_next_block(cycle, &i, &us)); /* void */ ) {
        ngx_mapi_count_read(mmcf, mscf->count, sum);

        first += sum[NGX_MAPI_COUNT_FIRST_HOP];
        second += sum[NGX_MAPI_COUNT_SECOND_HOP];
    }

    if (first + second) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "mapi: answers that came straight %uA, through another "
                      "server %uA; learned %ui, forgotten %ui",
                      first, second, zone->nlearned, zone->forgotten);
    }
}
