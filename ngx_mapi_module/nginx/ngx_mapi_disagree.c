
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * The latest disagreements between the directory and the servers about where a
 * database is: for who has to find out which imports are late.  A few, in the
 * zone, under its mutex.
 *
 * One database that moved makes every request for it disagree, so a worker
 * writes each of them once a second, with those that came since.
 */

#define NGX_MAPI_DISAGREE_PENDING  16


typedef struct {
    uint64_t    key;
    time_t      noted;
    ngx_uint_t  count;                 /* since then */
} ngx_mapi_disagree_pending_t;


static uint64_t ngx_mapi_disagree_key(ngx_mapi_zone_t *zone,
    ngx_mapi_ctx_t *ctx, ngx_str_t *said, ngx_str_t *word);
static ngx_mapi_disagreement_t *ngx_mapi_disagree_slot(ngx_mapi_zone_t *zone,
    uint64_t key);
static void ngx_mapi_disagree_name(ngx_mapi_disagreement_t *d, ngx_uint_t i,
    ngx_str_t *name);


static ngx_mapi_disagree_pending_t
    ngx_mapi_disagree_pending[NGX_MAPI_DISAGREE_PENDING];


/* a zone that is too small for them is good for the rest */

void
ngx_mapi_disagree_init_zone(ngx_slab_pool_t *shpool, ngx_mapi_zone_t *zone)
{
    zone->disagreements = ngx_slab_calloc(shpool,
                                          NGX_MAPI_DISAGREEMENTS
                                          * sizeof(ngx_mapi_disagreement_t));
}


/* word: the server that servers name, which need not be of this block */

void
ngx_mapi_disagree(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx, ngx_str_t *word)
{
    uint64_t                      key;
    ngx_str_t                     said;
    ngx_mapi_zone_t              *zone;
    ngx_mapi_server_t            *servers;
    ngx_mapi_main_conf_t         *mmcf;
    ngx_mapi_disagreement_t      *d;
    ngx_mapi_disagree_pending_t  *pending;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);
    zone = mmcf->zone;

    if (zone == NULL || zone->disagreements == NULL) {
        return;
    }

    servers = ctx->mscf->servers.elts;
    ngx_str_null(&said);

    if (ctx->known >= 0) {
        said = servers[ctx->known].name;
    }

    key = ngx_mapi_disagree_key(zone, ctx, &said, word);

    pending = &ngx_mapi_disagree_pending[key % NGX_MAPI_DISAGREE_PENDING];

    if (pending->key != key) {
        pending->key = key;
        pending->count = 0;
        pending->noted = 0;
    }

    pending->count++;

    if (pending->noted == ngx_time()) {
        return;
    }

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    d = ngx_mapi_disagree_slot(zone, key);

    if (d->key != key) {
        d->key = key;
        d->count = 0;

        ngx_mapi_disagree_name(d, 0, &ctx->mscf->name);
        ngx_mapi_disagree_name(d, 1, &ctx->database);
        ngx_mapi_disagree_name(d, 2, &said);
        ngx_mapi_disagree_name(d, 3, word);
    }

    d->count += pending->count;
    d->last = ngx_time();

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    pending->count = 0;
    pending->noted = ngx_time();
}


static uint64_t
ngx_mapi_disagree_key(ngx_mapi_zone_t *zone, ngx_mapi_ctx_t *ctx,
    ngx_str_t *said, ngx_str_t *word)
{
    mapi_siphash_t  hash;

    mapi_siphash_init(&hash, &zone->hash);
    mapi_siphash_update(&hash, ctx->mscf->name.data, ctx->mscf->name.len);
    mapi_siphash_update(&hash, "\0", 1);
    mapi_siphash_update(&hash, ctx->database_guid.b, 16);
    mapi_siphash_update(&hash, said->data, said->len);
    mapi_siphash_update(&hash, "\0", 1);
    mapi_siphash_update(&hash, word->data, word->len);

    return mapi_siphash_final(&hash);
}


/* its own, else an empty one, else the oldest */

static ngx_mapi_disagreement_t *
ngx_mapi_disagree_slot(ngx_mapi_zone_t *zone, uint64_t key)
{
    ngx_uint_t                i;
    ngx_mapi_disagreement_t  *d, *best;

    best = zone->disagreements;

    for (i = 0; i < NGX_MAPI_DISAGREEMENTS; i++) {

        d = &zone->disagreements[i];

        if (d->key == key) {
            return d;
        }

        if (d->last < best->last) {
            best = d;
        }
    }

    return best;
}


static void
ngx_mapi_disagree_name(ngx_mapi_disagreement_t *d, ngx_uint_t i,
    ngx_str_t *name)
{
    d->len[i] = (u_char) ngx_min(name->len, NGX_MAPI_DISAGREE_NAME);
    ngx_memcpy(d->names[i], name->data, d->len[i]);
}


/* copies of them, the latest first; their number */

ngx_uint_t
ngx_mapi_disagreements(ngx_mapi_main_conf_t *mmcf,
    ngx_mapi_disagreement_t *list)
{
    ngx_uint_t                i, j, n;
    ngx_mapi_zone_t          *zone;
    ngx_mapi_disagreement_t   d;

    zone = mmcf->zone;
    n = 0;

    if (zone->disagreements == NULL) {
        return 0;
    }

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    for (i = 0; i < NGX_MAPI_DISAGREEMENTS; i++) {
        if (zone->disagreements[i].last) {
            list[n++] = zone->disagreements[i];
        }
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    for (i = 1; i < n; i++) {
        d = list[i];

        for (j = i; j > 0 && list[j - 1].last < d.last; j--) {
            list[j] = list[j - 1];
        }

        list[j] = d;
    }

    return n;
}
