
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"
#include "ngx_mapi_session.h"


/*
 * mapi_zone: what the workers share and a reload keeps.  No pointer in it
 * leads out of it, and its only locks are mutexes of slab pools, which the
 * master frees when a worker dies.  It frees no other: so the parts of the
 * session table, each with a mutex, are zones of nginx too, NAME/1 and so on.
 *
 * A quarter is for what changes seldom, the rest is for sessions.
 */

#define NGX_MAPI_ZONE_LEAST  (8 * ngx_pagesize)
#define NGX_MAPI_ZONE_MIN    (2 * NGX_MAPI_ZONE_LEAST)


static ngx_uint_t ngx_mapi_zone_is_resized(ngx_conf_t *cf,
    ngx_shm_zone_t *shm_zone, size_t size);
static ngx_int_t ngx_mapi_zone_init(ngx_shm_zone_t *shm_zone, void *data);
static ngx_int_t ngx_mapi_zone_add_parts(ngx_conf_t *cf,
    ngx_mapi_main_conf_t *mmcf, ngx_str_t *name, size_t size);
static ngx_int_t ngx_mapi_zone_init_part(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_mapi_zone_name(ngx_shm_zone_t *shm_zone);
static ngx_int_t ngx_mapi_zone_adopt(ngx_shm_zone_t *shm_zone,
    ngx_mapi_zone_t *zone);
static uint64_t ngx_mapi_zone_layout(void);


char *
ngx_mapi_set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_main_conf_t *mmcf = conf;

    size_t      own;
    ssize_t     size;
    ngx_str_t  *value;

    if (mmcf->shm_zone) {
        return "is duplicate, one zone serves all";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[2]);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" of zone \"%V\": write \"10m\"",
                           &value[2], &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size < (ssize_t) NGX_MAPI_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "size \"%V\" of zone \"%V\" is too small: write "
                           "\"10m\"", &value[2], &value[1]);
        return NGX_CONF_ERROR;
    }

    own = ngx_max((size_t) size / 4, NGX_MAPI_ZONE_LEAST);
    own = ngx_align(own, ngx_pagesize);

    mmcf->shm_zone = ngx_shared_memory_add(cf, &value[1], own,
                                           &ngx_mapi_module);
    if (mmcf->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (mmcf->shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is in use already", &value[1]);
        return NGX_CONF_ERROR;
    }

    mmcf->zone_size = size;

    mmcf->shm_zone->noreuse = ngx_mapi_zone_is_resized(cf, mmcf->shm_zone,
                                                       size);
    mmcf->shm_zone->init = ngx_mapi_zone_init;
    mmcf->shm_zone->data = mmcf;

    if (ngx_mapi_zone_add_parts(cf, mmcf, &value[1], size - own) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * nginx keeps each zone whose own size is what it was.  Of another size as a
 * whole none is kept: the number of parts says in which one a session is, and
 * the key of all hashes is in the first zone.  Of a zone that is not kept newer
 * versions of nginx hand over the old data all the same.
 */

static ngx_uint_t
ngx_mapi_zone_is_resized(ngx_conf_t *cf, ngx_shm_zone_t *shm_zone,
    size_t size)
{
    ngx_uint_t             i;
    ngx_list_part_t       *part;
    ngx_shm_zone_t        *old;
    ngx_mapi_main_conf_t  *ommcf;

    part = &cf->cycle->old_cycle->shared_memory.part;
    old = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return 0;
            }

            part = part->next;
            old = part->elts;
            i = 0;
        }

        if (old[i].tag == shm_zone->tag
            && old[i].shm.name.len == shm_zone->shm.name.len
            && ngx_strncmp(old[i].shm.name.data, shm_zone->shm.name.data,
                           shm_zone->shm.name.len)
               == 0)
        {
            ommcf = old[i].data;
            return ommcf->zone_size != size;
        }
    }
}


/*
 * At a reload this runs in the master while old workers use the zone: what is
 * there is adopted, not touched.
 */

static ngx_int_t
ngx_mapi_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_mapi_main_conf_t *ommcf = data;

    ngx_slab_pool_t       *shpool;
    ngx_mapi_zone_t       *zone;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = shm_zone->data;

    if (ommcf && !shm_zone->noreuse) {
        mmcf->zone = ommcf->zone;
        mmcf->shpool = ommcf->shpool;
        mmcf->cycle = ommcf->cycle + 1;
        return ngx_mapi_zone_adopt(shm_zone, mmcf->zone);
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    mmcf->shpool = shpool;

    if (shm_zone->shm.exists) {
        mmcf->zone = shpool->data;
        mmcf->cycle = mmcf->zone->cycle + 1;
        return ngx_mapi_zone_adopt(shm_zone, mmcf->zone);
    }

    zone = ngx_slab_calloc(shpool, sizeof(ngx_mapi_zone_t));
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->layout = ngx_mapi_zone_layout();

    if (ngx_mapi_zone_name(shm_zone) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_queue_init(&zone->health);

    ngx_mapi_disagree_init_zone(shpool, zone);

    if (ngx_mapi_learn_init_zone(shpool, zone) != NGX_OK) {
        return NGX_ERROR;
    }

    shpool->data = zone;
    mmcf->zone = zone;
    mmcf->cycle = 1;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, shm_zone->shm.log, 0,
                   "mapi: zone \"%V\" has layout %016xL at %p",
                   &shm_zone->shm.name, zone->layout, zone);

    return NGX_OK;
}


/* few parts where there is little, so that none is too small to be of use */

static ngx_int_t
ngx_mapi_zone_add_parts(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf,
    ngx_str_t *name, size_t size)
{
    size_t                    each;
    ngx_str_t                 part_name;
    ngx_uint_t                i, n;
    ngx_mapi_sessions_t      *sessions;
    ngx_mapi_session_part_t  *part;

    n = ngx_min(size / NGX_MAPI_ZONE_LEAST, NGX_MAPI_SESSION_PARTS);
    n = ngx_max(n, 1);
    each = size / n / ngx_pagesize * ngx_pagesize;

    sessions = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_sessions_t));
    if (sessions == NULL) {
        return NGX_ERROR;
    }

    sessions->nparts = n;

    for (i = 0; i < n; i++) {
        part = &sessions->part[i];

        part_name.data = ngx_pnalloc(cf->pool, name->len + 1 + NGX_INT_T_LEN);
        if (part_name.data == NULL) {
            return NGX_ERROR;
        }

        part_name.len = ngx_sprintf(part_name.data, "%V/%ui", name, i + 1)
                        - part_name.data;

        part->shm_zone = ngx_shared_memory_add(cf, &part_name, each,
                                               &ngx_mapi_module);
        if (part->shm_zone == NULL) {
            return NGX_ERROR;
        }

        part->shm_zone->noreuse = mmcf->shm_zone->noreuse;
        part->shm_zone->init = ngx_mapi_zone_init_part;
        part->shm_zone->data = part;
    }

    mmcf->sessions = sessions;

    return NGX_OK;
}


/* all of it is one table: nothing is allocated in it later */

static ngx_int_t
ngx_mapi_zone_init_part(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_mapi_session_part_t *old = data;

    void                     *block;
    size_t                    size;
    ngx_slab_pool_t          *shpool;
    ngx_mapi_session_part_t  *part;

    part = shm_zone->data;

    if (old && !shm_zone->noreuse) {
        part->table = old->table;
        part->shpool = old->shpool;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    part->shpool = shpool;

    if (shm_zone->shm.exists) {
        part->table = shpool->data;
        return NGX_OK;
    }

    if (ngx_mapi_zone_name(shm_zone) != NGX_OK) {
        return NGX_ERROR;
    }

    size = shpool->pfree * ngx_pagesize;

    block = ngx_slab_alloc(shpool, size);
    if (block == NULL) {
        return NGX_ERROR;
    }

    part->table = mapi_session_table_init(block, size);
    if (part->table == NULL) {
        return NGX_ERROR;
    }

    shpool->data = part->table;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_zone_name(ngx_shm_zone_t *shm_zone)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    shpool->log_ctx = ngx_slab_alloc(shpool, sizeof(" in mapi_zone \"\"")
                                             + shm_zone->shm.name.len);
    if (shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(shpool->log_ctx, " in mapi_zone \"%V\"%Z",
                &shm_zone->shm.name);

    /* what does not fit is said in our own words */
    shpool->log_nomem = 0;

    return NGX_OK;
}


/*
 * Whoever made the zone has to have laid it out as we do.  Nothing but its
 * first number may be read before that is certain.
 */

static ngx_int_t
ngx_mapi_zone_adopt(ngx_shm_zone_t *shm_zone, ngx_mapi_zone_t *zone)
{
    if (zone->layout == ngx_mapi_zone_layout()) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                  "mapi: zone \"%V\" was made by another build of this "
                  "module, whose data this one cannot read: restart nginx, or "
                  "reload it with another name in \"mapi_zone\"",
                  &shm_zone->shm.name);

    return NGX_ERROR;
}


/* the number, and what a change is seen by that did not raise it */

static uint64_t
ngx_mapi_zone_layout(void)
{
    size_t  sizes[] = {
        NGX_MAPI_ZONE_LAYOUT,
        sizeof(ngx_mapi_zone_t),
        sizeof(ngx_mapi_health_record_t),
        sizeof(ngx_mapi_disagreement_t),
        NGX_MAPI_DISAGREEMENTS,
        sizeof(ngx_mapi_learned_t),
        NGX_MAPI_LEARN_BUCKET,
        sizeof(ngx_mapi_count_table_t),
        sizeof(ngx_mapi_count_base_t),
        NGX_MAPI_COUNT_GAUGES,
        sizeof(mapi_session_t)
    };

    static const mapi_siphash_key_t  key = {
        0x6e6f7a2d6970616dULL, 0x74756f79616c2d65ULL    /* "mapi-zone-layout" */
    };

    return mapi_siphash(&key, sizes, sizeof(sizes));
}


/* the configuration holds: only now it is one of the zone's */

void
ngx_mapi_zone_init_module(ngx_cycle_t *cycle)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf && mmcf->zone) {
        mmcf->zone->cycle = mmcf->cycle;
    }
}
