
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_status.h"


/*
 * mapi_status: what all workers know, gathered once and shown as a page, as
 * JSON (/api) or for Prometheus (/metrics), to those of mapi_debug_allow.
 */


typedef void (*ngx_mapi_status_render_pt)(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st);


typedef struct {
    ngx_str_t                   path;        /* below the location */
    ngx_str_t                   type;
    ngx_mapi_status_render_pt   render;
} ngx_mapi_status_form_t;


static ngx_int_t ngx_mapi_status_handler(ngx_http_request_t *r);
static ngx_mapi_status_form_t *ngx_mapi_status_form(ngx_http_request_t *r,
    ngx_str_t *location);
static ngx_int_t ngx_mapi_status_gather(ngx_http_request_t *r,
    ngx_mapi_status_t *st);
static ngx_int_t ngx_mapi_status_block(ngx_http_request_t *r,
    ngx_mapi_status_t *st, ngx_http_upstream_srv_conf_t *us);
static ngx_uint_t ngx_mapi_status_all_fail(ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_mapi_status_addresses(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_status_block_t *block);
static ngx_int_t ngx_mapi_status_address(ngx_http_request_t *r,
    ngx_mapi_status_block_t *block, ngx_http_upstream_rr_peer_t *peer);
static void ngx_mapi_status_health(ngx_mapi_status_t *st,
    ngx_mapi_status_block_t *block);


static ngx_mapi_status_form_t  ngx_mapi_status_forms[] = {
    { ngx_string(""), ngx_string("text/html"), ngx_mapi_status_html },
    { ngx_string("/"), ngx_string("text/html"), ngx_mapi_status_html },
    { ngx_string("/api"), ngx_string("application/json"),
      ngx_mapi_status_json },
    { ngx_string("/metrics"), ngx_string("text/plain; version=0.0.4"),
      ngx_mapi_status_metrics },
    { ngx_null_string, ngx_null_string, NULL }
};


static ngx_str_t  ngx_mapi_status_states[] = {
    ngx_string("active"),
    ngx_string("draining"),
    ngx_string("offline")
};


static ngx_str_t  ngx_mapi_status_modes[] = {
    ngx_string("none"),
    ngx_string("router"),
    ngx_string("owner"),
    ngx_string("direct")
};


char  *ngx_mapi_status_reasons[] = {
    "client", "server", "idle", "limit", "refusal", "failure", "shutdown"
};


char *
ngx_mapi_set_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    ngx_mapi_main_conf_t      *mmcf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->exact_match || clcf->named || clcf->noname
        || clcf->name.len == 0 || clcf->regex)
    {
        return "needs a location by prefix: write \"location "
               "/mapi-status {\"";
    }

    if (clcf->handler) {
        return "cannot stand beside another handler of the location";
    }

    clcf->handler = ngx_mapi_status_handler;

    mlcf->status = 1;
    mlcf->status_file = cf->conf_file->file.name;
    mlcf->status_line = cf->conf_file->line;

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);

    if (mmcf->status == NULL) {
        mmcf->status = mlcf;
    }

    return NGX_CONF_OK;
}


/* what can be seen only when the location is complete */

char *
ngx_mapi_status_check(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (!conf->status) {
        return NGX_CONF_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler != ngx_mapi_status_handler) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_status\" cannot stand beside another handler of "
                      "the location, in %V:%ui", &conf->status_file,
                      conf->status_line);
        return NGX_CONF_ERROR;
    }

    if (conf->debug_allow == NULL || conf->debug_allow->nelts == 0) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "mapi: \"mapi_status\" answers 403 to everybody: write "
                      "\"mapi_debug_allow\" with the addresses of those who "
                      "may see it, in %V:%ui", &conf->status_file,
                      conf->status_line);
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_mapi_status_init(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf)
{
    if (mmcf->status == NULL || mmcf->shm_zone) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"mapi_status\" needs \"mapi_zone\", where the workers "
                  "count: write \"mapi_zone mapi 10m;\" in http, in %V:%ui",
                  &mmcf->status->status_file, mmcf->status->status_line);

    return NGX_ERROR;
}


static ngx_int_t
ngx_mapi_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_mapi_text_t            text;
    ngx_mapi_status_t         *st;
    ngx_mapi_status_form_t    *form;
    ngx_http_core_loc_conf_t  *clcf;

    if (!ngx_mapi_allowed(r)) {
        return NGX_HTTP_FORBIDDEN;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    st = ngx_pcalloc(r->pool, sizeof(ngx_mapi_status_t));
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    st->location = clcf->name;

    if (st->location.data[st->location.len - 1] == '/') {
        st->location.len--;
    }

    form = ngx_mapi_status_form(r, &st->location);

    if (form == NULL) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (ngx_mapi_status_gather(r, st) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&text, sizeof(ngx_mapi_text_t));
    text.pool = r->pool;

    form->render(&text, st);

    if (text.failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_mapi_text_send(r, &form->type, &text);
}


static ngx_mapi_status_form_t *
ngx_mapi_status_form(ngx_http_request_t *r, ngx_str_t *location)
{
    size_t                   len;
    u_char                  *path;
    ngx_mapi_status_form_t  *form;

    if (r->uri.len < location->len) {
        return NULL;
    }

    path = r->uri.data + location->len;
    len = r->uri.len - location->len;

    for (form = ngx_mapi_status_forms; form->render; form++) {
        if (form->path.len == len
            && ngx_strncmp(form->path.data, path, len) == 0)
        {
            return form;
        }
    }

    return NULL;
}


ngx_int_t
ngx_mapi_text_send(ngx_http_request_t *r, ngx_str_t *type, ngx_mapi_text_t *t)
{
    ngx_http_complex_value_t  text;

    ngx_memzero(&text, sizeof(ngx_http_complex_value_t));

    text.value.data = t->start;
    text.value.len = t->last - t->start;

    if (ngx_mapi_add_header(r, "Cache-Control", "no-store") != NGX_OK
        || ngx_mapi_add_header(r, "X-Content-Type-Options", "nosniff")
           != NGX_OK
        || ngx_mapi_add_header(r, "Content-Security-Policy",
                               "default-src 'none'; style-src "
                               "'unsafe-inline'; frame-ancestors 'none'")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&r->headers_out.charset, "utf-8");

    return ngx_http_send_response(r, NGX_HTTP_OK, type, &text);
}


static ngx_int_t
ngx_mapi_status_gather(ngx_http_request_t *r, ngx_mapi_status_t *st)
{
    ngx_uint_t                     i;
    ngx_slab_pool_t               *shpool;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_loc_conf_t           *mlcf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_mapi_module);
    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    st->mmcf = mmcf;
    st->node = mlcf->server_name;

    shpool = mmcf->shpool;

    st->pages = (shpool->end - shpool->start) / ngx_pagesize;
    st->free_pages = shpool->pfree;

    st->learned = mmcf->zone->nlearned;
    st->forgotten = mmcf->zone->forgotten;
    st->uncounted = mmcf->zone->uncounted;
    st->cycle = mmcf->zone->cycle;

    if (ngx_mapi_locate_view(r, &st->directory) != NGX_OK
        || ngx_array_init(&st->workers, r->pool, 16,
                          sizeof(ngx_mapi_worker_view_t))
           != NGX_OK
        || ngx_array_init(&st->blocks, r->pool, 4,
                          sizeof(ngx_mapi_status_block_t))
           != NGX_OK
        || ngx_mapi_count_workers(mmcf, &st->workers) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_mapi_count_read(mmcf, mmcf->count, st->n);
    st->ndisagreements = ngx_mapi_disagreements(mmcf, st->disagreements);

    for (i = 0;
         (mscf = ngx_mapi_next_block((ngx_cycle_t *) ngx_cycle, &i, &us));
         /* void */ )
    {
        if (ngx_mapi_block_is_ours(mscf)
            && ngx_mapi_status_block(r, st, us) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_status_block(ngx_http_request_t *r, ngx_mapi_status_t *st,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                 i;
    ngx_mapi_server_t         *servers;
    ngx_mapi_srv_conf_t       *mscf;
    ngx_mapi_status_block_t   *block;
    ngx_mapi_status_server_t  *server;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    block = ngx_array_push(&st->blocks);
    if (block == NULL) {
        return NGX_ERROR;
    }

    block->mscf = mscf;
    block->name = us->host;

    block->all_fail = ngx_mapi_status_all_fail(us);

    ngx_mapi_count_read(st->mmcf, mscf->count, block->n);

    if (ngx_array_init(&block->servers, r->pool, mscf->servers.nelts + 1,
                       sizeof(ngx_mapi_status_server_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    servers = mscf->servers.elts;

    for (i = 0; i < mscf->servers.nelts; i++) {

        server = ngx_array_push(&block->servers);
        if (server == NULL) {
            return NGX_ERROR;
        }

        server->server = &servers[i];
        ngx_mapi_count_read(st->mmcf, servers[i].count, server->n);

        if (ngx_array_init(&server->addresses, r->pool, 2,
                           sizeof(ngx_mapi_status_address_t))
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (mscf->peers && ngx_mapi_status_addresses(r, us, block) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_mapi_status_health(st, block);

    return NGX_OK;
}


/* as it is now, not as the last request of this worker found it */

static ngx_uint_t
ngx_mapi_status_all_fail(ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_ctx_t        ctx;
    ngx_mapi_srv_conf_t  *mscf;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    if (mscf->health) {
        ngx_mapi_health_apply(us);
    }

    if (ngx_mapi_health_all_fail(mscf->health)) {
        return 1;
    }

    if (mscf->type == ngx_mapi_upstream_none) {
        return 0;
    }

    ngx_memzero(&ctx, sizeof(ngx_mapi_ctx_t));
    ctx.mscf = mscf;

    return !ngx_mapi_select_alive(&ctx, us);
}


static ngx_int_t
ngx_mapi_status_addresses(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_status_block_t *block)
{
    ngx_int_t                      rc;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    rc = NGX_OK;

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer && rc == NGX_OK; peer = peer->next) {
            rc = ngx_mapi_status_address(r, block, peer);
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    return rc;
}


/* copied, since peers may go when their lock does */

static ngx_int_t
ngx_mapi_status_address(ngx_http_request_t *r, ngx_mapi_status_block_t *block,
    ngx_http_upstream_rr_peer_t *peer)
{
    ngx_int_t                   n;
    ngx_mapi_status_server_t   *servers;
    ngx_mapi_status_address_t  *address;

    n = ngx_mapi_server_of_peer(block->mscf, peer, 0);

    if (n < 0) {
        return NGX_OK;
    }

    servers = block->servers.elts;

    address = ngx_array_push(&servers[n].addresses);
    if (address == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(address, sizeof(ngx_mapi_status_address_t));

    address->name.data = ngx_pstrdup(r->pool, &peer->name);
    if (address->name.data == NULL) {
        return NGX_ERROR;
    }

    address->name.len = peer->name.len;
    address->off = (ngx_mapi_peer_is_off(peer) != 0);
    address->fails = peer->fails;

    return NGX_OK;
}


static void
ngx_mapi_status_health(ngx_mapi_status_t *st, ngx_mapi_status_block_t *block)
{
    ngx_uint_t                  i, j;
    ngx_mapi_status_server_t   *server;
    ngx_mapi_status_address_t  *address;

    if (block->mscf->health == NULL) {
        return;
    }

    server = block->servers.elts;

    for (i = 0; i < block->servers.nelts; i++) {

        address = server[i].addresses.elts;

        for (j = 0; j < server[i].addresses.nelts; j++) {

            ngx_mapi_health_copy(st->mmcf, &block->name, &address[j].name,
                                 &address[j].health);

            st->mismatches += address[j].health.differs
                              && address[j].health.offers;
        }
    }
}


ngx_str_t *
ngx_mapi_status_state(ngx_mapi_server_t *server)
{
    return ngx_mapi_state_name(ngx_mapi_server_state(server));
}


ngx_str_t *
ngx_mapi_state_name(mapi_server_state_e state)
{
    return &ngx_mapi_status_states[state];
}


ngx_str_t *
ngx_mapi_status_mode(ngx_mapi_srv_conf_t *mscf)
{
    return &ngx_mapi_status_modes[mscf->type];
}
