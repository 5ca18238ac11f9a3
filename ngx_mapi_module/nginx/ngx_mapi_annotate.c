
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"
#include "ngx_mapi_watch.h"


static ngx_int_t ngx_mapi_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_annotate_error(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


ngx_int_t
ngx_mapi_annotate_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_mapi_header_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_header_filter(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_uint_t             server;
    ngx_mapi_ctx_t        *ctx;
    ngx_mapi_pin_data_t   *pd;
    ngx_mapi_main_conf_t  *mmcf;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    /* there is but one for a request */

    pd = ngx_mapi_pin_data(r);
    ctx = (pd && pd->ctx) ? pd->ctx : ngx_mapi_get_ctx(r);

    /*
     * While a server's answer passes, nginx still holds the upstream's
     * cleanup; it is gone when nginx answers for itself.
     */

    server = (r->upstream && r->upstream->cleanup);

    if (ctx && server) {

        if (ctx->watch) {
            ngx_mapi_watch_answer(r, ctx->watch);
        }

        if (ctx->observe) {
            ngx_mapi_learn_compare(r, ctx);
        }
    }

    /* an error_page has led off the road: its answer is the administrator's */

    if (ctx == NULL
        || ctx->observe
        || ctx->mlcf != ngx_http_get_module_loc_conf(r, ngx_mapi_module))
    {
        return ngx_http_next_header_filter(r);
    }

    if (server) {
        mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

        if (mmcf->zone) {
            ngx_mapi_learn(r, ctx);
            ngx_mapi_session_answer(r, ctx);
        }

        rc = ngx_mapi_affinity_write(r, ctx);

    } else {
        rc = ngx_mapi_annotate_error(r, ctx);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    /* not on what a limit, the access phase or the health page answers */

    if ((ctx->refused || r->upstream)
        && ngx_mapi_diagnose(r, ctx, server) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


/*
 * Answers of our own are empty and say why in a header, as those of
 * Exchange's front end.  nginx's 502, "no server could be asked" or "it died
 * before it answered", is Exchange's 503.
 */

static ngx_int_t
ngx_mapi_annotate_error(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    char  *reason, *methods;

    reason = NULL;

    switch (r->headers_out.status) {

    case NGX_HTTP_BAD_REQUEST:
        if (!ctx->refused) {
            return NGX_OK;
        }

        reason = "MailboxGuidWithDomainNotFound";
        break;

    case NGX_HTTP_NOT_FOUND:
        if (!ctx->refused) {
            return NGX_OK;
        }

        if (ctx->endpoint != mapi_endpoint_none) {
            reason = "MailboxGuidWithDomainNotFound";
        }

        break;

    case NGX_HTTP_NOT_ALLOWED:
        if (!ctx->refused) {
            return NGX_OK;
        }

        methods = (ctx->endpoint == mapi_endpoint_health)
                  ? "GET, HEAD" : "GET, HEAD, POST";

        if (ngx_mapi_add_header(r, "Allow", methods) != NGX_OK) {
            return NGX_ERROR;
        }

        break;

    case NGX_HTTP_BAD_GATEWAY:
        r->headers_out.status = NGX_HTTP_SERVICE_UNAVAILABLE;
        r->headers_out.status_line.len = 0;

        /* what $status reads */

        if (r->err_status == NGX_HTTP_BAD_GATEWAY) {
            r->err_status = NGX_HTTP_SERVICE_UNAVAILABLE;
        }

        /* fall through */

    case NGX_HTTP_SERVICE_UNAVAILABLE:

        /* a limit's 503 came neither from us nor from the proxy */

        if (!ctx->refused && r->upstream == NULL) {
            return NGX_OK;
        }

        /* but one that had got the request and died is not "not found" */

        if (ctx->cas_error) {
            reason = ctx->cas_error;

        } else if (r->upstream == NULL || !r->upstream->request_sent) {
            reason = "ServerNotFound";
        }

        break;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        break;

    default:
        return NGX_OK;
    }

    r->header_only = 1;
    r->headers_out.content_length_n = 0;
    r->headers_out.content_type.len = 0;
    r->headers_out.content_type_len = 0;

    if (reason) {
        return ngx_mapi_add_header(r, "X-CasErrorCode", reason);
    }

    return NGX_OK;
}


ngx_int_t
ngx_mapi_add_header(ngx_http_request_t *r, char *key, char *value)
{
    ngx_str_t  k, v;

    k.data = (u_char *) key;
    k.len = ngx_strlen(key);
    v.data = (u_char *) value;
    v.len = ngx_strlen(value);

    return ngx_mapi_push_header(r, &k, &v);
}


ngx_int_t
ngx_mapi_push_header(ngx_http_request_t *r, ngx_str_t *key, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_mapi_header_end(h);
    h->key = *key;
    h->value = *value;

    return NGX_OK;
}
