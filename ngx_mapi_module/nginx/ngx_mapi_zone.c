
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * mapi_zone: what the workers share and a reload keeps.  No pointer in it
 * leads out of it, and its only lock is the slab pool's mutex, which the
 * master frees when a worker dies.
 */

#define NGX_MAPI_ZONE_MIN  (8 * ngx_pagesize)


static ngx_int_t ngx_mapi_zone_init(ngx_shm_zone_t *shm_zone, void *data);


char *
ngx_mapi_set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_main_conf_t *mmcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    if (mmcf->shm_zone) {
        return "is duplicate, one zone serves all";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[2]);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" of zone \"%V\": write \"1m\"",
                           &value[2], &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size < (ssize_t) NGX_MAPI_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "size \"%V\" of zone \"%V\" is too small: write "
                           "\"1m\"", &value[2], &value[1]);
        return NGX_CONF_ERROR;
    }

    mmcf->shm_zone = ngx_shared_memory_add(cf, &value[1], size,
                                           &ngx_mapi_module);
    if (mmcf->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (mmcf->shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is in use already", &value[1]);
        return NGX_CONF_ERROR;
    }

    mmcf->shm_zone->init = ngx_mapi_zone_init;
    mmcf->shm_zone->data = mmcf;

    return NGX_CONF_OK;
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

    if (ommcf) {
        mmcf->zone = ommcf->zone;
        mmcf->shpool = ommcf->shpool;
        mmcf->cycle = ++mmcf->zone->cycle;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    mmcf->shpool = shpool;

    if (shm_zone->shm.exists) {
        mmcf->zone = shpool->data;
        mmcf->cycle = ++mmcf->zone->cycle;
        return NGX_OK;
    }

    zone = ngx_slab_calloc(shpool, sizeof(ngx_mapi_zone_t));
    if (zone == NULL) {
        return NGX_ERROR;
    }

    shpool->log_ctx = ngx_slab_alloc(shpool, sizeof(" in mapi_zone \"\"")
                                             + shm_zone->shm.name.len);
    if (shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(shpool->log_ctx, " in mapi_zone \"%V\"%Z",
                &shm_zone->shm.name);

    /* what does not fit is said in our own words */
    shpool->log_nomem = 0;

    ngx_queue_init(&zone->health);

    ngx_mapi_disagree_init_zone(shpool, zone);

    if (ngx_mapi_learn_init_zone(shpool, zone) != NGX_OK) {
        return NGX_ERROR;
    }

    shpool->data = zone;
    mmcf->zone = zone;
    mmcf->cycle = ++zone->cycle;

    return NGX_OK;
}
