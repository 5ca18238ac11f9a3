
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


/* a Connect may be tunnelled so long, ms: Exchange's default */
#define NGX_MAPI_MAILBOX_TUNNEL  1800000

/* "location" of every failure that the emulator makes */
#define NGX_MAPI_MAILBOX_LID     51424


static ngx_int_t ngx_mapi_mailbox_number_header(ngx_http_request_t *r,
    const char *name, ngx_uint_t number);
static ngx_int_t ngx_mapi_mailbox_set_cookie(ngx_mapi_mailbox_ctx_t *ctx,
    const char *name, const ngx_str_t *value);
static ngx_int_t ngx_mapi_mailbox_failure(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_str_t *body);


ngx_int_t
ngx_mapi_mailbox_header(ngx_http_request_t *r, const char *name,
    const ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_mapi_mailbox_header_init(h);

    h->hash = 1;
    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->value = *value;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_number_header(ngx_http_request_t *r, const char *name,
    ngx_uint_t number)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", number) - value.data;

    return ngx_mapi_mailbox_header(r, name, &value);
}


ngx_int_t
ngx_mapi_mailbox_diagnostics(ngx_mapi_mailbox_ctx_t *ctx)
{
    uint32_t             number;
    ngx_str_t            id;
    ngx_uint_t           i;
    mapi_guid_t          guid;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->conf->owner) {
        return NGX_OK;
    }

    for (i = 0; i < 4; i++) {
        number = (uint32_t) ngx_random() ^ ((uint32_t) ngx_random() << 16);
        ngx_memcpy(guid.b + 4 * i, &number, 4);
    }

    id.len = MAPI_GUID_LEN;
    id.data = ngx_pnalloc(r->pool, MAPI_GUID_LEN);
    if (id.data == NULL) {
        return NGX_ERROR;
    }

    mapi_guid_format(id.data, &guid);

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_mapi_mailbox_header_init(h);
    h->hash = 1;
    ngx_str_set(&h->key, "Server");
    ngx_str_set(&h->value, "Microsoft-IIS/10.0");
    r->headers_out.server = h;

    if (ngx_mapi_mailbox_header(r, "request-id", &id) != NGX_OK
        || ngx_mapi_mailbox_header(r, "X-CalculatedBETarget", &ctx->target)
           != NGX_OK
        || ngx_mapi_mailbox_header(r, "X-DiagInfo", &ctx->machine) != NGX_OK
        || ngx_mapi_mailbox_header(r, "X-BEServer", &ctx->machine) != NGX_OK
        || ngx_mapi_mailbox_header(r, "X-FEServer", &ctx->conf->machine)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_mapi_mailbox_protocol_headers(ngx_mapi_mailbox_ctx_t *ctx,
    const char *type, ngx_uint_t code)
{
    ngx_http_request_t  *r;

    static ngx_str_t  private = ngx_string("private");

    r = ctx->request;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_mapi_mailbox_header(r, "Cache-Control", &private) != NGX_OK
        || ngx_mapi_mailbox_diagnostics(ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->request_type.len
        && ngx_mapi_mailbox_header(r, "X-RequestType", &ctx->request_type)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->request_id.len
        && ngx_mapi_mailbox_header(r, "X-RequestId", &ctx->request_id)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->client_info.len
        && ngx_mapi_mailbox_header(r, "X-ClientInfo", &ctx->client_info)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_mapi_mailbox_number_header(r, "X-ResponseCode", code) != NGX_OK
        || ngx_mapi_mailbox_header(r, "X-ServerApplication",
                                   &ctx->conf->application)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (code) {
        return ngx_mapi_mailbox_number_header(r, "X-FailureLID",
                                              NGX_MAPI_MAILBOX_LID);
    }

    if (ngx_mapi_mailbox_number_header(r, "X-PendingPeriod",
                                       ctx->conf->pending)
        != NGX_OK
        || ngx_mapi_mailbox_number_header(r, "X-ExpirationInfo",
                                          ctx->conf->idle)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->type->flags & NGX_MAPI_TYPE_OPEN
        && ngx_mapi_mailbox_number_header(r, "X-TunnelExpirationTime",
                                          NGX_MAPI_MAILBOX_TUNNEL)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->new_context.len
        && ngx_mapi_mailbox_set_cookie(ctx, "MapiContext", &ctx->new_context)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->new_sequence.len
        && !(ctx->type->flags & NGX_MAPI_TYPE_CLOSE)
        && ngx_mapi_mailbox_set_cookie(ctx, "MapiSequence",
                                       &ctx->new_sequence)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_set_cookie(ngx_mapi_mailbox_ctx_t *ctx, const char *name,
    const ngx_str_t *value)
{
    size_t      size;
    u_char     *p;
    ngx_str_t   line;

    size = ngx_strlen(name) + value->len
           + sizeof("=; path=/mapi/emsmdb; secure; HttpOnly");

    p = ngx_pnalloc(ctx->request->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    line.data = p;
    line.len = ngx_snprintf(p, size, "%s=%V; path=/mapi/%s;%s HttpOnly",
                            name, value,
                            ctx->endpoint == mapi_endpoint_nspi
                            ? "nspi" : "emsmdb",
                            ngx_mapi_mailbox_is_tls(ctx->request)
                            ? " secure;" : "")
               - p;

    return ngx_mapi_mailbox_header(ctx->request, "Set-Cookie", &line);
}


ngx_int_t
ngx_mapi_mailbox_send_body(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;

    if (type) {
        r->headers_out.content_type.len = ngx_strlen(type);
        r->headers_out.content_type.data = (u_char *) type;
        r->headers_out.content_type_len = r->headers_out.content_type.len;
        r->headers_out.content_type_lowcase = NULL;
    }

    if (body->len == 0) {
        r->header_only = 1;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_mapi_mailbox_done(ngx_mapi_mailbox_ctx_t *ctx, ngx_str_t *text)
{
    size_t               size;
    u_char              *p, *last;
    u_char               date[sizeof("Mon, 28 Sep 1970 06:00:00 GMT")];
    ngx_str_t            body;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->code) {
        if (ngx_mapi_mailbox_failure(ctx, &body) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        if (ngx_mapi_mailbox_payload(ctx, &body) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    size = 512 + body.len;

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = p + size;
    text->data = p;

    p = ngx_slprintf(p, last, "DONE\r\n");

    if (ctx->code) {
        p = ngx_slprintf(p, last,
                         "Content-Type: text/html\r\n"
                         "X-ResponseCode: %ui\r\n"
                         "X-FailureLID: %d\r\n"
                         "X-FailureDescription: %s\r\n",
                         ctx->code, NGX_MAPI_MAILBOX_LID,
                         ctx->reason ? ctx->reason : "Failure.");
    }

    *ngx_http_time(date, r->start_sec) = '\0';

    p = ngx_slprintf(p, last,
                     "X-ElapsedTime: %M\r\nX-StartTime: %s\r\n\r\n%V",
                     ngx_current_msec - ctx->start, date, &body);

    text->len = p - text->data;

    return NGX_OK;
}


/* what stands in the body of a failure: HTML with one sentence */
static ngx_int_t
ngx_mapi_mailbox_failure(ngx_mapi_mailbox_ctx_t *ctx, ngx_str_t *body)
{
    size_t       len, size;
    u_char      *p;
    ngx_str_t    reason, html;

    reason.data = (u_char *) (ctx->reason ? ctx->reason
                              : "The server could not process the request.");
    reason.len = ngx_strlen(reason.data);

    len = reason.len + ngx_escape_html(NULL, reason.data, reason.len);

    html.len = len;
    html.data = ngx_pnalloc(ctx->request->pool, len);
    if (html.data == NULL) {
        return NGX_ERROR;
    }

    ngx_escape_html(html.data, reason.data, reason.len);

    size = len + 256;

    p = ngx_pnalloc(ctx->request->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;
    body->len = ngx_snprintf(p, size,
                             "<html>\r\n<head>\r\n"
                             "<title>MAPI over HTTP error</title>\r\n"
                             "</head>\r\n<body>\r\n"
                             "<h1>Diagnostic Information</h1>\r\n"
                             "<p>%V</p>\r\n</body></html>\r\n", &html)
                - p;

    return NGX_OK;
}


ngx_int_t
ngx_mapi_mailbox_finish_protocol(ngx_mapi_mailbox_ctx_t *ctx)
{
    u_char              *p;
    ngx_str_t            text, body;
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_mapi_mailbox_session_end(ctx, 0);

    if (ctx->code) {

        if (ngx_mapi_mailbox_protocol_headers(ctx, "text/html", ctx->code)
            != NGX_OK
            || ngx_mapi_mailbox_failure(ctx, &body) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_mapi_mailbox_send_body(r, NGX_HTTP_OK, NULL, &body);
    }

    if (ngx_mapi_mailbox_protocol_headers(ctx, "application/mapi-http", 0)
        != NGX_OK
        || ngx_mapi_mailbox_done(ctx, &text) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.len = sizeof("PROCESSING\r\n") - 1 + text.len;
    body.data = ngx_pnalloc(r->pool, body.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(body.data, "PROCESSING\r\n", sizeof("PROCESSING\r\n") - 1);
    ngx_memcpy(p, text.data, text.len);

    return ngx_mapi_mailbox_send_body(r, NGX_HTTP_OK, NULL, &body);
}


ngx_int_t
ngx_mapi_mailbox_finish_status(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_str_t  empty = ngx_null_string;

    if (ngx_mapi_mailbox_diagnostics(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_mapi_mailbox_send_body(ctx->request, ctx->code, NULL, &empty);
}
