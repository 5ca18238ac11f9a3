
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


static ngx_uint_t ngx_mapi_mailbox_accepts_html(const ngx_str_t *accept);
static ngx_int_t ngx_mapi_mailbox_escape(ngx_pool_t *pool, ngx_str_t *dst,
    const ngx_str_t *src);
static u_char *ngx_mapi_mailbox_who(ngx_mapi_mailbox_ctx_t *ctx, u_char *p,
    u_char *last, ngx_str_t *user);
static u_char *ngx_mapi_mailbox_created(u_char *p, u_char *last);


/* the text of Exchange's own page, without its debug part */
ngx_int_t
ngx_mapi_mailbox_finish_page(ngx_mapi_mailbox_ctx_t *ctx)
{
    size_t               size;
    u_char              *p, *last;
    ngx_str_t            body, user, cafe, target;
    ngx_pool_t          *pool;
    ngx_http_request_t  *r;

    r = ctx->request;
    pool = r->pool;

    if (ngx_mapi_mailbox_diagnostics(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!ngx_mapi_mailbox_accepts_html(&ctx->accept)) {
        ngx_str_null(&body);
        return ngx_mapi_mailbox_send_body(r, NGX_HTTP_BAD_REQUEST, NULL,
                                          &body);
    }

    /* Exchange's own front end stands before its back end */

    cafe = ctx->conf->owner ? ctx->cafe : ctx->conf->name;

    if (ngx_mapi_mailbox_escape(pool, &user, &ctx->user) != NGX_OK
        || ngx_mapi_mailbox_escape(pool, &cafe, &cafe) != NGX_OK
        || ngx_mapi_mailbox_escape(pool, &target, &ctx->target) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_strlow(cafe.data, cafe.data, cafe.len);

    size = 1024 + 2 * user.len + cafe.len + target.len
           + ctx->conf->version.len;

    body.data = ngx_pnalloc(pool, size);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = body.data;
    last = p + size;

    p = ngx_slprintf(p, last,
                     "<html>\r\n<head>\r\n<title>Exchange MAPI/HTTP "
                     "Connectivity Endpoint</title>\r\n</head>\r\n<body>\r\n"
                     "<p>Exchange MAPI/HTTP Connectivity Endpoint<br><br>"
                     "Version: %V<br>Vdir Path: /mapi/%s/<br><br></p>",
                     &ctx->conf->version,
                     ctx->endpoint == mapi_endpoint_nspi ? "nspi" : "emsmdb");

    p = ngx_mapi_mailbox_who(ctx, p, last, &user);

    p = ngx_slprintf(p, last,
                     "</p><br><p><b>Cafe:</b> %V<br><b>Mailbox:</b> %V</p>"
                     "<p><br><br><br><b>Created:</b> ", &cafe, &target);

    p = ngx_mapi_mailbox_created(p, last);
    p = ngx_slprintf(p, last, "</p></body></html>");

    body.len = p - body.data;

    return ngx_mapi_mailbox_send_body(r, NGX_HTTP_OK, "text/html", &body);
}


static ngx_uint_t
ngx_mapi_mailbox_accepts_html(const ngx_str_t *accept)
{
    size_t  i;

    for (i = 0; i + 3 <= accept->len; i++) {

        if (ngx_strncmp(accept->data + i, "*/*", 3) == 0) {
            return 1;
        }

        if (i + 6 <= accept->len
            && ngx_strncmp(accept->data + i, "text/*", 6) == 0)
        {
            return 1;
        }

        if (i + 9 <= accept->len
            && ngx_strncasecmp(accept->data + i, (u_char *) "text/html", 9)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_mapi_mailbox_escape(ngx_pool_t *pool, ngx_str_t *dst,
    const ngx_str_t *src)
{
    size_t   len;
    u_char  *p;

    len = src->len + ngx_escape_html(NULL, src->data, src->len);

    p = ngx_pnalloc(pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_escape_html(p, src->data, src->len);

    dst->len = len;
    dst->data = p;

    return NGX_OK;
}


/* there are no SIDs here, so none is invented */
static u_char *
ngx_mapi_mailbox_who(ngx_mapi_mailbox_ctx_t *ctx, u_char *p, u_char *last,
    ngx_str_t *user)
{
    ngx_str_t  upn;

    if (user->len == 0) {
        return ngx_slprintf(p, last, "<p><b>Identity:</b> Anonymous");
    }

    ngx_str_null(&upn);

    if (ngx_strlchr(user->data, user->data + user->len, '@')) {
        upn = *user;
    }

    return ngx_slprintf(p, last,
                        "<p><b>User:</b> %V<br><b>UPN:</b> %V<br>"
                        "<b>SID:</b> <br><b>Organization:</b> <br>"
                        "<b>Authentication:</b> Basic", user, &upn);
}


/* 5/23/2021 6:42:33 AM */
static u_char *
ngx_mapi_mailbox_created(u_char *p, u_char *last)
{
    int       hour;
    ngx_tm_t  tm;

    ngx_gmtime(ngx_time(), &tm);

    hour = tm.ngx_tm_hour % 12;

    return ngx_slprintf(p, last, "%d/%d/%d %d:%02d:%02d %s",
                        tm.ngx_tm_mon, tm.ngx_tm_mday, tm.ngx_tm_year,
                        hour ? hour : 12, tm.ngx_tm_min, tm.ngx_tm_sec,
                        tm.ngx_tm_hour < 12 ? "AM" : "PM");
}


void
ngx_mapi_mailbox_health(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_str_t            body;
    ngx_http_request_t  *r;

    r = ctx->request;

    switch (ctx->server->health) {

    case ngx_mapi_health_close:
        ngx_http_finalize_request(r, NGX_HTTP_CLOSE);
        return;

    case ngx_mapi_health_silent:
        ngx_mapi_mailbox_hold(ctx);
        return;

    case ngx_mapi_health_wrong:
        ngx_str_set(&body, "<html><body>Something else</body></html>");
        break;

    default:

        if (ngx_mapi_mailbox_locate(ctx, NULL) != NGX_OK) {
            goto failed;
        }

        body.len = sizeof("200 OK<br/>") - 1 + ctx->target.len;
        body.data = ngx_pnalloc(r->pool, body.len);
        if (body.data == NULL) {
            goto failed;
        }

        ngx_sprintf(body.data, "200 OK<br/>%V", &ctx->target);
        break;
    }

    if (!ctx->conf->owner
        && ngx_mapi_mailbox_header(r, "X-FEServer", &ctx->conf->machine)
           != NGX_OK)
    {
        goto failed;
    }

    rc = ngx_mapi_mailbox_send_body(r, NGX_HTTP_OK, "text/html; charset=utf-8",
                                    &body);
    ngx_http_finalize_request(r, rc);
    return;

failed:

    ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}
