
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


static void ngx_mapi_mailbox_connection_closed(void *data);
static ngx_int_t ngx_mapi_mailbox_count_connection(ngx_connection_t *c,
    ngx_mapi_mailbox_server_t *server);
static void ngx_mapi_mailbox_keep_headers(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_uint_t ngx_mapi_mailbox_mask(const ngx_str_t *key,
    ngx_str_t *value);
static u_char *ngx_mapi_mailbox_json(u_char *p, u_char *last,
    const ngx_str_t *s);


static ngx_str_t  ngx_mapi_mailbox_authorization =
    ngx_string("Authorization");
static ngx_str_t  ngx_mapi_mailbox_proxy_authorization =
    ngx_string("Proxy-Authorization");


/*
 * On a reload this runs in the master while the old workers serve from the
 * zone: pointers are taken over, nothing in it is changed.
 */
ngx_int_t
ngx_mapi_mailbox_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_mapi_mailbox_zone_t *ozone = data;

    ngx_tm_t                  tm;
    ngx_mapi_mailbox_shm_t   *sh;
    ngx_mapi_mailbox_zone_t  *zone;

    zone = shm_zone->data;

    ngx_queue_init(&zone->waits);

    if (ozone) {
        zone->sh = ozone->sh;
        zone->shpool = ozone->shpool;
        return NGX_OK;
    }

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        zone->sh = zone->shpool->data;
        return NGX_OK;
    }

    sh = ngx_slab_calloc(zone->shpool, sizeof(ngx_mapi_mailbox_shm_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    zone->sh = sh;
    zone->shpool->data = sh;
    zone->shpool->log_nomem = 0;

    ngx_queue_init(&sh->servers);
    ngx_queue_init(&sh->lru);
    ngx_rbtree_init(&sh->sessions, &sh->sentinel, ngx_rbtree_insert_value);

    /* this life of the server, as it stands in MapiContext */

    ngx_gmtime(ngx_time(), &tm);

    sh->instance_len = ngx_snprintf(sh->instance,
                                    NGX_MAPI_MAILBOX_INSTANCE_MAX,
                                    "%4d-%02d-%02d %02d:%02d:%02dZ#%uD",
                                    tm.ngx_tm_year, tm.ngx_tm_mon,
                                    tm.ngx_tm_mday, tm.ngx_tm_hour,
                                    tm.ngx_tm_min, tm.ngx_tm_sec,
                                    (uint32_t) ngx_random())
                       - sh->instance;

    /* contexts of another life are told apart by more than a second */

    sh->last_id = (uint64_t) (ngx_random() & 0xffff);

    return NGX_OK;
}


ngx_mapi_mailbox_server_t *
ngx_mapi_mailbox_server(ngx_mapi_mailbox_conf_t *conf)
{
    u_char                      name[NGX_MAPI_MAILBOX_NAME_MAX];
    ngx_queue_t                *q;
    ngx_mapi_mailbox_shm_t     *sh;
    ngx_mapi_mailbox_zone_t    *zone;
    ngx_mapi_mailbox_server_t  *server;

    if (conf->server) {
        return conf->server;
    }

    zone = conf->shm_zone->data;
    sh = zone->sh;

    ngx_strlow(name, conf->name.data, conf->name.len);

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (q = ngx_queue_head(&sh->servers);
         q != ngx_queue_sentinel(&sh->servers);
         q = ngx_queue_next(q))
    {
        server = ngx_queue_data(q, ngx_mapi_mailbox_server_t, queue);

        if (server->name_len == conf->name.len
            && ngx_memcmp(server->name, name, conf->name.len) == 0)
        {
            goto found;
        }
    }

    server = ngx_slab_calloc_locked(zone->shpool,
                                    sizeof(ngx_mapi_mailbox_server_t));
    if (server == NULL) {
        ngx_shmtx_unlock(&zone->shpool->mutex);

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "no room for mailbox server \"%V\" in zone \"%V\", "
                      "make the zone larger",
                      &conf->name, &conf->shm_zone->shm.name);
        return NULL;
    }

    server->name_len = conf->name.len;
    ngx_memcpy(server->name, name, conf->name.len);

    ngx_queue_insert_tail(&sh->servers, &server->queue);

found:

    ngx_shmtx_unlock(&zone->shpool->mutex);

    conf->server = server;

    return server;
}


/* the counts of open connections and hanging waits stay: they are true */
void
ngx_mapi_mailbox_server_reset(ngx_mapi_mailbox_server_t *server,
    ngx_mapi_mailbox_zone_t *zone)
{
    ngx_uint_t  i;

    server->delay = 0;
    server->status = 0;
    server->code = 0;
    server->silent = 0;
    server->close = 0;
    server->health = ngx_mapi_health_ok;

    server->requests = 0;
    server->health_checks = 0;
    server->second_hops = 0;
    server->connections = 0;
    server->aborted = 0;

    for (i = 0; i < NGX_MAPI_MAILBOX_NTYPES; i++) {
        server->types[i] = 0;
    }

    for (i = 0; i < NGX_MAPI_CODES; i++) {
        server->codes[i] = 0;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);
    server->last_len = 0;
    ngx_shmtx_unlock(&zone->shpool->mutex);
}


ngx_int_t
ngx_mapi_mailbox_count(ngx_mapi_mailbox_ctx_t *ctx)
{
    (void) ngx_atomic_fetch_add(&ctx->server->requests, 1);

    ngx_mapi_mailbox_keep_headers(ctx);

    return ngx_mapi_mailbox_count_connection(ctx->request->connection,
                                             ctx->server);
}


/* the cleanup of a connection's pool is also the mark that it was counted */
static ngx_int_t
ngx_mapi_mailbox_count_connection(ngx_connection_t *c,
    ngx_mapi_mailbox_server_t *server)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_mapi_mailbox_connection_closed
            && cln->data == server)
        {
            return NGX_OK;
        }
    }

    cln = ngx_pool_cleanup_add(c->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_mapi_mailbox_connection_closed;
    cln->data = server;

    (void) ngx_atomic_fetch_add(&server->connections, 1);
    (void) ngx_atomic_fetch_add(&server->open, 1);

    return NGX_OK;
}


static void
ngx_mapi_mailbox_connection_closed(void *data)
{
    ngx_mapi_mailbox_server_t *server = data;

    (void) ngx_atomic_fetch_add(&server->open, -1);
}


/*
 * Keeps the request as the JSON that mapi_mailbox_control shows, cut at a
 * whole header.  Credentials are masked, their scheme stays.
 */
static void
ngx_mapi_mailbox_keep_headers(ngx_mapi_mailbox_ctx_t *ctx)
{
    u_char              *p, *q, *last, *end;
    u_char               buf[NGX_MAPI_MAILBOX_LAST_MAX];
    ngx_str_t            value;
    ngx_uint_t           i, n, masked;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    static ngx_str_t  colon = ngx_string(": ");
    static ngx_str_t  stars = ngx_string(" ***");

    r = ctx->request;

    /* room for what closes the object */
    end = buf + sizeof(buf) - sizeof("\"],\"cut\":true}");
    last = end;

    p = ngx_cpymem(buf, "{\"method\":\"", sizeof("{\"method\":\"") - 1);
    q = ngx_mapi_mailbox_json(p, buf + 128, &r->method_name);
    p = q ? q : p;
    p = ngx_cpymem(p, "\",\"uri\":\"", sizeof("\",\"uri\":\"") - 1);
    q = ngx_mapi_mailbox_json(p, buf + 1024, &r->unparsed_uri);
    p = q ? q : p;
    p = ngx_cpymem(p, "\",\"headers\":[", sizeof("\",\"headers\":[") - 1);

    part = &r->headers_in.headers.part;
    h = part->elts;
    n = 0;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        value = h[i].value;
        masked = ngx_mapi_mailbox_mask(&h[i].key, &value);

        last = p;

        if (end - p < 3) {
            goto cut;
        }

        if (n++) {
            *p++ = ',';
        }

        *p++ = '"';

        p = ngx_mapi_mailbox_json(p, end, &h[i].key);
        p = p ? ngx_mapi_mailbox_json(p, end, &colon) : NULL;
        p = p ? ngx_mapi_mailbox_json(p, end, &value) : NULL;

        p = (p && masked) ? ngx_mapi_mailbox_json(p, end, &stars) : p;

        if (p == NULL || p == end) {
            p = last;
            goto cut;
        }

        *p++ = '"';
    }

    p = ngx_cpymem(p, "]}", 2);
    goto keep;

cut:

    p = ngx_cpymem(p, "],\"cut\":true}", sizeof("],\"cut\":true}") - 1);

keep:

    ngx_shmtx_lock(&ctx->zone->shpool->mutex);

    ctx->server->last_len = p - buf;
    ngx_memcpy(ctx->server->last, buf, p - buf);

    ngx_shmtx_unlock(&ctx->zone->shpool->mutex);
}


/* cuts credentials to their scheme; a token alone is no scheme */
static ngx_uint_t
ngx_mapi_mailbox_mask(const ngx_str_t *key, ngx_str_t *value)
{
    size_t  i;

    if (!mapi_str_caseeq((mapi_str_t *) key,
                         (mapi_str_t *) &ngx_mapi_mailbox_authorization)
        && !mapi_str_caseeq((mapi_str_t *) key, (mapi_str_t *)
                            &ngx_mapi_mailbox_proxy_authorization))
    {
        return 0;
    }

    for (i = 0; i < value->len; i++) {
        if (value->data[i] == ' ') {
            value->len = i;
            return 1;
        }
    }

    if (value->len <= sizeof("Negotiate") - 1) {
        return 0;
    }

    value->len = 0;

    return 1;
}


/* NULL if it does not fit; bytes beyond ASCII, valid or not, become "?" */
static u_char *
ngx_mapi_mailbox_json(u_char *p, u_char *last, const ngx_str_t *s)
{
    size_t  len;

    u_char  *end;

    len = s->len + ngx_escape_json(NULL, s->data, s->len);

    if (len > (size_t) (last - p)) {
        return NULL;
    }

    end = (u_char *) ngx_escape_json(p, s->data, s->len);

    for ( /* void */ ; p < end; p++) {
        if (*p > 0x7e) {
            *p = '?';
        }
    }

    return end;
}
