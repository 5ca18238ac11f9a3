
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


static ngx_int_t ngx_mapi_page_handler(ngx_http_request_t *r);
static ngx_mapi_page_e ngx_mapi_page_state(ngx_mapi_ctx_t *ctx);
static void ngx_mapi_page_report(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_page_e state);
static ngx_int_t ngx_mapi_page_send(ngx_http_request_t *r, ngx_str_t *name);


/*
 * The health page.  Whoever stands above asks it whether clients may be sent
 * here, so it is ours and not a server's: some server's page says nothing of
 * the others, nor of this node.
 *
 * Answered by a content handler, not at once: what the access phase refuses
 * stays refused.
 */

void
ngx_mapi_page(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ctx->route = ngx_mapi_route_none;

    r->content_handler = ngx_mapi_page_handler;
}


static ngx_int_t
ngx_mapi_page_handler(ngx_http_request_t *r)
{
    ngx_mapi_ctx_t   *ctx;
    ngx_mapi_page_e   state;

    ctx = ngx_mapi_get_ctx(r);

    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    state = ngx_mapi_page_state(ctx);

    if (state != ctx->mlcf->page) {
        ngx_mapi_page_report(r, ctx, state);
    }

    if (state != ngx_mapi_page_open) {

        /* no status at all, as Exchange: nobody can take that for an answer */

        return NGX_HTTP_CLOSE;
    }

    return ngx_mapi_page_send(r, &ctx->mlcf->server_name);
}


static ngx_mapi_page_e
ngx_mapi_page_state(ngx_mapi_ctx_t *ctx)
{
    if (ctx->offline) {
        return ngx_mapi_page_offline;
    }

    if (!ngx_mapi_select_alive(ctx, ctx->mlcf->upstream)) {
        return ngx_mapi_page_dead;
    }

    return ngx_mapi_page_open;
}


/* once for each turn of events, location and worker */

static void
ngx_mapi_page_report(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_page_e state)
{
    ctx->mlcf->page = state;

    switch (state) {

    case ngx_mapi_page_offline:
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "mapi: the health page of upstream \"%V\" is closed: "
                      "\"mapi-directory node offline\" was said",
                      &ctx->mscf->name);
        break;

    case ngx_mapi_page_dead:
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "mapi: the health page of upstream \"%V\" is closed: "
                      "none of its servers lives", &ctx->mscf->name);
        break;

    default: /* ngx_mapi_page_open */
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "mapi: the health page of upstream \"%V\" is open again",
                      &ctx->mscf->name);
    }
}


static ngx_int_t
ngx_mapi_page_send(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_str_t                 type;
    ngx_http_complex_value_t  text;

    ngx_memzero(&text, sizeof(ngx_http_complex_value_t));

    text.value.len = sizeof("200 OK<br/>") - 1 + name->len;

    text.value.data = ngx_pnalloc(r->pool, text.value.len);
    if (text.value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    (void) ngx_sprintf(text.value.data, "200 OK<br/>%V", name);

    ngx_str_set(&type, "text/html");
    ngx_str_set(&r->headers_out.charset, "utf-8");

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &text);
}
