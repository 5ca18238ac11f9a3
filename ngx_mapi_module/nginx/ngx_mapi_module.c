
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_watch.h"


static ngx_int_t ngx_mapi_handler(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_subrequest(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_mapi_loc_conf_t *mlcf);
static ngx_int_t ngx_mapi_take_road(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_mapi_loc_conf_t *mlcf);
static ngx_int_t ngx_mapi_refuse(ngx_mapi_ctx_t *ctx, ngx_int_t status);
static ngx_int_t ngx_mapi_init(ngx_conf_t *cf);
static ngx_int_t ngx_mapi_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_mapi_init_process(ngx_cycle_t *cycle);
static void ngx_mapi_exit_process(ngx_cycle_t *cycle);


static ngx_http_module_t  ngx_mapi_module_ctx = {
    ngx_mapi_add_variables,                /* preconfiguration */
    ngx_mapi_init,                         /* postconfiguration */

    ngx_mapi_create_main_conf,             /* create main configuration */
    ngx_mapi_init_main_conf,               /* init main configuration */

    ngx_mapi_create_srv_conf,              /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_mapi_create_loc_conf,              /* create location configuration */
    ngx_mapi_merge_loc_conf                /* merge location configuration */
};


ngx_module_t  ngx_mapi_module = {
    NGX_MODULE_V1,
    &ngx_mapi_module_ctx,                  /* module context */
    ngx_mapi_commands,                     /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_mapi_init_module,                  /* init module */
    ngx_mapi_init_process,                 /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_mapi_exit_process,                 /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * The first three steps of the road: identify, locate, select.  In PREACCESS,
 * so that the proxy module's request may already use $mapi_target; a retry
 * repeats select only, in the balancer.
 */

static ngx_int_t
ngx_mapi_handler(ngx_http_request_t *r)
{
    ngx_mapi_ctx_t             *ctx;
    ngx_mapi_loc_conf_t        *mlcf;
    ngx_mapi_main_conf_t       *mmcf;
    ngx_http_variable_value_t  *v;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_mapi_module);

    if (mlcf->upstream == NULL) {
        return NGX_DECLINED;
    }

    ctx = ngx_mapi_get_ctx(r);

    if (r != r->main) {
        return ngx_mapi_subrequest(r, ctx, mlcf);
    }

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_mapi_ctx_t));
        if (ctx == NULL) {
            return NGX_ERROR;
        }

        mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

        v = &r->variables[mmcf->ctx_index];
        v->data = (u_char *) ctx;
        v->len = 0;
        v->valid = 1;
        v->not_found = 0;
        v->no_cacheable = 0;
    }

    return ngx_mapi_take_road(r, ctx, mlcf);
}


/*
 * A subrequest has its main request's headers and cannot be rid of single
 * ones.  Those of a main request on the road have lost what only a front end
 * may set; from elsewhere (auth_request, SSI) nobody has looked at them.
 */

static ngx_int_t
ngx_mapi_subrequest(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_loc_conf_t *mlcf)
{
    if (mlcf->mode == ngx_mapi_mode_observe || (ctx && !ctx->observe)) {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "mapi: subrequest \"%V\" refused: only the main request may "
                  "enter a location with \"mapi on\"", &r->uri);

    return NGX_HTTP_FORBIDDEN;
}


static ngx_int_t
ngx_mapi_take_road(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_loc_conf_t *mlcf)
{
    ngx_int_t              rc;
    ngx_mapi_main_conf_t  *mmcf;

    if (ctx->observe && mlcf->mode != ngx_mapi_mode_observe) {

        /*
         * The road that was only observed has left the headers as they came,
         * and what it knows points into them: all of it is done again.
         */

        ctx->identified = 0;
        ctx->affinity = NULL;
        ngx_str_null(&ctx->cookie);
        ngx_str_null(&ctx->session_cookie);
    }

    ctx->mlcf = mlcf;
    ctx->mscf = ngx_http_conf_upstream_srv_conf(mlcf->upstream,
                                                ngx_mapi_module);
    ctx->observe = (mlcf->mode == ngx_mapi_mode_observe);
    ctx->refused = 0;
    ctx->walked = 0;
    ctx->session_keyed = 0;
    ctx->server = -1;
    ctx->asked = -1;
    ctx->named = -1;
    ctx->bound = 0;
    ctx->cas_error = NULL;
    ctx->reason = ngx_mapi_reason_none;

    ctx->show = (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
                ? ngx_mapi_endpoint_page_wanted(r, ctx) : ngx_mapi_show_none;

    if (ctx->watch == NULL && ngx_mapi_record_wanted(r, mlcf)) {
        ctx->watch = ngx_mapi_watch_create(r);

        if (ctx->watch && mlcf->log) {
            ngx_mapi_log_note(r, ctx->watch);
        }
    }

    /* an internal redirect to another road knows already for whom it is */

    if (!ctx->identified) {

        rc = ngx_mapi_identify(r, ctx);

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (rc != NGX_OK) {
            return ngx_mapi_refuse(ctx, rc);
        }

        ctx->identified = 1;
    }

    ngx_mapi_locate(r, ctx);

    if (ctx->endpoint == mapi_endpoint_health && !ctx->observe) {
        ngx_mapi_page(r, ctx);
        return NGX_DECLINED;
    }

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    ctx->learned = -1;

    if (mmcf->zone) {
        ngx_mapi_learn_find(r, ctx);
    }

    if (ctx->show != ngx_mapi_show_none) {
        return ngx_mapi_endpoint_page(r, ctx) == NGX_OK
               ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->mscf->reject
        && ctx->auth.token.len
        && ctx->identity.kind != mapi_identity_none
        && !ctx->found)
    {
        return ngx_mapi_refuse(ctx, ctx->usable ? NGX_HTTP_NOT_FOUND
                                        : NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    if (ngx_mapi_select(r, ctx, mlcf->upstream, NULL) != NGX_OK) {

        if (!ctx->observe) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "mapi: no server of upstream \"%V\" can serve this "
                          "request", &ctx->mscf->name);
        }

        return ngx_mapi_refuse(ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    if (!ctx->observe && ngx_mapi_forward(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (mmcf->zone) {
        ngx_mapi_session_warm(r, ctx);
    }

    return NGX_DECLINED;
}


ngx_mapi_ctx_t *
ngx_mapi_road_ctx(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_ctx_t  *ctx;

    ctx = (r == r->main) ? ngx_mapi_get_ctx(r) : NULL;

    if (ctx == NULL
        || ctx->observe
        || ctx->refused
        || ctx->mscf != ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module)
        || ctx->mlcf != ngx_http_get_module_loc_conf(r, ngx_mapi_module))
    {
        return NULL;
    }

    return ctx;
}


static ngx_int_t
ngx_mapi_refuse(ngx_mapi_ctx_t *ctx, ngx_int_t status)
{
    if (ctx->observe) {
        return NGX_DECLINED;
    }

    ctx->refused = 1;

    return status;
}


static ngx_int_t
ngx_mapi_init(ngx_conf_t *cf)
{
    ngx_uint_t                      i;
    ngx_http_handler_pt            *h;
    ngx_mapi_srv_conf_t            *mscf;
    ngx_mapi_main_conf_t           *mmcf;
    ngx_http_core_main_conf_t      *cmcf;
    ngx_http_upstream_srv_conf_t  **uscfp;
    ngx_http_upstream_main_conf_t  *umcf;

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);

    if (ngx_mapi_status_init(cf, mmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->srv_conf == NULL) {
            continue;
        }

        mscf = ngx_http_conf_upstream_srv_conf(uscfp[i], ngx_mapi_module);

        if (!ngx_mapi_block_is_ours(mscf)) {
            continue;
        }

        mmcf->pins |= mscf->pin;

        if (mscf->reject) {
            if (mmcf->directory_path.len == 0) {
                ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                              "\"mapi_unknown_mailbox reject\" needs "
                              "\"mapi_directory\": without it no mailbox is "
                              "known, in %s:%ui",
                              uscfp[i]->file_name, uscfp[i]->line);
                return NGX_ERROR;
            }
        }

        if (mscf->type != ngx_mapi_upstream_none
            && ngx_mapi_check_balancer(cf, uscfp[i], mscf) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (ngx_mapi_pin_install(cf, uscfp[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        if (mscf->health && ngx_mapi_health_init(cf, uscfp[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_mapi_pin_check(cf, mmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (mmcf->pins && ngx_mapi_pin_answer_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!mmcf->used) {
        return NGX_OK;
    }

    if (ngx_mapi_affinity_init_keys(cf, mmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_mapi_check_workers(cf);

    if (ngx_mapi_headers_init(cf->log) != NGX_OK
        || ngx_mapi_diagnose_init(cf->log) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_mapi_forward_init();

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_mapi_handler;

    /* without a log and a zone nobody watches, and nothing is kept */

    if ((mmcf->logs.nelts || mmcf->shm_zone)
        && (ngx_mapi_record_init(cf) != NGX_OK
            || ngx_mapi_watch_init(cf) != NGX_OK))
    {
        return NGX_ERROR;
    }

    /* in front of the watch, which counts only what goes out */

    ngx_mapi_finish_init();

    return ngx_mapi_annotate_init(cf);
}


static ngx_int_t
ngx_mapi_init_module(ngx_cycle_t *cycle)
{
    ngx_mapi_zone_init_module(cycle);

    return ngx_mapi_log_init_module(cycle);
}


static ngx_int_t
ngx_mapi_init_process(ngx_cycle_t *cycle)
{
    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    ngx_mapi_learn_init_process(cycle);

    if (ngx_mapi_count_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_mapi_health_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_mapi_locate_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_mapi_ahead_init_process(cycle);

    return NGX_OK;
}


static void
ngx_mapi_exit_process(ngx_cycle_t *cycle)
{
    ngx_mapi_health_exit_process(cycle);
    ngx_mapi_session_exit_process(cycle);
    ngx_mapi_learn_exit_process(cycle);
    ngx_mapi_pin_exit_process(cycle);
    ngx_mapi_locate_exit_process(cycle);
    ngx_mapi_affinity_exit_process(cycle);
    ngx_mapi_count_exit_process(cycle);

    /* last: those before may end requests */
    ngx_mapi_log_exit_process(cycle);
}
