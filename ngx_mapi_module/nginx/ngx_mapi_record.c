
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/* the last step of the road: what is kept of a request when it is over */

static ngx_int_t ngx_mapi_record_handler(ngx_http_request_t *r);


ngx_int_t
ngx_mapi_record_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_mapi_record_handler;

    return NGX_OK;
}


/* does anybody want to know how the requests of this location went? */

ngx_uint_t
ngx_mapi_record_wanted(ngx_http_request_t *r, ngx_mapi_loc_conf_t *mlcf)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    return mlcf->log || mmcf->zone;
}


static ngx_int_t
ngx_mapi_record_handler(ngx_http_request_t *r)
{
    ngx_int_t             code;
    ngx_mapi_ctx_t       *ctx;
    ngx_mapi_loc_conf_t  *mlcf;

    /* "log_subrequest on" brings others here, with the main one's context */

    if (r != r->main) {
        return NGX_OK;
    }

    ctx = ngx_mapi_get_ctx(r);

    /*
     * An error_page may have led off the road; and what was refused before
     * the road began has no context, but stands at its beginning.
     */

    mlcf = ctx ? ctx->mlcf : ngx_http_get_module_loc_conf(r, ngx_mapi_module);

    code = NGX_MAPI_CODE_UNKNOWN;

    if (mlcf->upstream && mlcf->log) {
        code = ngx_mapi_log_request(r, ctx, mlcf->log);
    }

    if (ctx) {
        ngx_mapi_session_end(r, ctx, code);
    }

    return NGX_OK;
}
