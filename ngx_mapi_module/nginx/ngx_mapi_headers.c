
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * Request headers that only a front end may set: a mailbox server believes
 * them.  A name that ends in "*" is a prefix.  Lower case, "-" stands for "_"
 * too, because IIS hands both to its applications as one.
 */

static ngx_str_t  ngx_mapi_front_end_headers[] = {
    ngx_string("x-commonaccesstoken"),
    ngx_string("x-isfromcafe"),
    ngx_string("x-sourcecafeserver"),
    ngx_string("msexchproxyuri"),
    ngx_string("x-msexchangeactivityctx"),
    ngx_string("x-databaseguid"),
    ngx_string("x-delayrequest"),
    ngx_string("x-delayresponse"),
    ngx_string("x-vdirobjectid"),
    ngx_string("x-fe-clientip"),
    ngx_string("x-ms-edgeip"),
    ngx_string("x-gcc-proxyinfo"),
    ngx_string("x-wlid-membername"),
    ngx_string("rpsmembername"),
    ngx_string("x-organizationcontext"),
    ngx_string("x-probetype"),
    ngx_string("x-dbmountedonserver"),
    ngx_string("x-beserver*"),
    ngx_string("x-backend-diag-*"),
    ngx_null_string
};


static ngx_uint_t ngx_mapi_is_front_end_header(ngx_table_elt_t *h);
static ngx_uint_t ngx_mapi_header_is(ngx_table_elt_t *h, char *name,
    size_t len);
static ngx_uint_t ngx_mapi_take_cookie(ngx_mapi_ctx_t *ctx, ngx_str_t *value,
    ngx_uint_t keep);
static ngx_int_t ngx_mapi_unlink_header(ngx_http_request_t *r,
    ngx_list_part_t **partp, ngx_list_part_t *prev, ngx_uint_t i);


#define ngx_mapi_header_eq(h, s)                                              \
    ((h)->key.len == sizeof(s) - 1                                            \
     && ngx_mapi_header_is(h, s, sizeof(s) - 1))


ngx_int_t
ngx_mapi_read_headers(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_int_t         rc;
    ngx_uint_t        i, remove;
    ngx_list_part_t  *part, *prev;
    ngx_table_elt_t  *h;

    prev = NULL;
    part = &r->headers_in.headers.part;

    for (i = 0; part; i++) {

        if (i >= part->nelts) {
            prev = part;
            part = part->next;
            i = (ngx_uint_t) -1;
            continue;
        }

        h = (ngx_table_elt_t *) part->elts + i;
        remove = 0;

        switch (h->key.len) {

        case sizeof("Cookie") - 1:
            if (ngx_mapi_header_eq(h, "cookie")) {
                remove = ngx_mapi_take_cookie(ctx, &h->value, ctx->observe);
            }

            break;

        case sizeof("X-RequestType") - 1:
            if (ngx_mapi_header_eq(h, "x-requesttype")) {
                ctx->request_type = h->value;
                break;
            }

            remove = ngx_mapi_is_front_end_header(h);
            break;

        case sizeof("X-AnchorMailbox") - 1:
            if (ngx_mapi_header_eq(h, "x-anchormailbox")) {
                ctx->anchor_header = h->value;
                break;
            }

            remove = ngx_mapi_is_front_end_header(h);
            break;

        default:
            remove = ngx_mapi_is_front_end_header(h);
        }

        if (!remove || ctx->observe) {
            continue;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "mapi: request header \"%V\" removed", &h->key);

        rc = ngx_mapi_unlink_header(r, &part, prev, i);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_DONE) {
            /* the part went with its only header, part is the next one */
            i = (ngx_uint_t) -1;
            continue;
        }

        /* what followed the header is now the next part, or nothing */
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_mapi_header_is(ngx_table_elt_t *h, char *name, size_t len)
{
    u_char  c;
    size_t  i;

    /* from the end: most of the names begin with the same two letters */

    for (i = len; i-- > 0; /* void */) {
        c = ngx_tolower(h->key.data[i]);

        if (c == '_') {
            c = '-';
        }

        if (c != (u_char) name[i]) {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_mapi_is_front_end_header(ngx_table_elt_t *h)
{
    size_t      len;
    ngx_str_t  *name;

    switch (ngx_tolower(h->key.data[0])) {
    case 'x':
    case 'm':
    case 'r':
        break;

    default:
        return 0;
    }

    for (name = ngx_mapi_front_end_headers; name->len; name++) {

        len = name->len;

        if (name->data[len - 1] == '*') {
            len--;

            if (h->key.len < len) {
                continue;
            }

        } else if (h->key.len != len) {
            continue;
        }

        if (ngx_mapi_header_is(h, (char *) name->data, len)) {
            return 1;
        }
    }

    return 0;
}


/*
 * Notes the first sealed cookie and cuts every cookie of its name out of the
 * value, in place: the value shrinks inside the client's header buffer, which
 * nobody reads again.  1 if nothing else is left.
 */

static ngx_uint_t
ngx_mapi_take_cookie(ngx_mapi_ctx_t *ctx, ngx_str_t *value, ngx_uint_t keep)
{
    u_char     *p, *end, *next, *dst, *eq, *stop;
    size_t      len;
    ngx_str_t  *name;

    name = &ctx->mlcf->cookie_name;

    if (value->len < name->len + 1
        || ngx_strnstr(value->data, (char *) name->data, value->len) == NULL)
    {
        return 0;
    }

    p = value->data;
    end = p + value->len;
    dst = p;

    while (p < end) {

        next = ngx_strlchr(p, end, ';');
        stop = next ? next : end;
        next = next ? next + 1 : end;

        while (p < stop && *p == ' ') {
            p++;
        }

        eq = ngx_strlchr(p, stop, '=');

        if (eq && (size_t) (eq - p) == name->len
            && ngx_strncmp(p, name->data, name->len) == 0)
        {
            if (ctx->cookie.data == NULL) {
                ctx->cookie.data = eq + 1;
                ctx->cookie.len = stop - eq - 1;

                while (ctx->cookie.len
                       && ctx->cookie.data[ctx->cookie.len - 1] == ' ')
                {
                    ctx->cookie.len--;
                }

                if (ctx->cookie.len > MAPI_AFFINITY_VALUE_MAX) {
                    ctx->cookie.len = 0;
                }

                if (!keep) {
                    /* the bytes behind may be moved over it */
                    ngx_memcpy(ctx->cookie_buf, ctx->cookie.data,
                               ctx->cookie.len);
                    ctx->cookie.data = ctx->cookie_buf;
                }
            }

        } else if (!keep && p < stop) {

            if (dst != value->data) {
                *dst++ = ';';

                /* "a=1;b=2" leaves no room for a blank, and needs none */

                if (dst < p) {
                    *dst++ = ' ';
                }
            }

            len = stop - p;
            ngx_memmove(dst, p, len);
            dst += len;
        }

        p = next;
    }

    if (keep) {
        return 0;
    }

    value->len = dst - value->data;
    value->data[value->len] = '\0';

    return value->len == 0;
}


/*
 * Takes element i of a part out of the list without moving any element: typed
 * slots of headers_in and "next" chains point at them.  The part ends before
 * the element; what follows becomes a part of its own.  No part but the first
 * may be empty, nginx's loops rely on it.  NGX_DONE if the part itself went:
 * *partp is then its successor.
 */

static ngx_int_t
ngx_mapi_unlink_header(ngx_http_request_t *r, ngx_list_part_t **partp,
    ngx_list_part_t *prev, ngx_uint_t i)
{
    ngx_list_t       *list;
    ngx_list_part_t  *part, *rest;

    list = &r->headers_in.headers;
    part = *partp;

    if (i + 1 < part->nelts) {

        rest = ngx_palloc(r->pool, sizeof(ngx_list_part_t));
        if (rest == NULL) {
            return NGX_ERROR;
        }

        rest->elts = (u_char *) part->elts + (i + 1) * list->size;
        rest->nelts = part->nelts - i - 1;
        rest->next = part->next;

        part->next = rest;

        if (list->last == part) {
            /* the room for more elements has shrunk by those before it */
            list->last = rest;
            list->nalloc -= i + 1;
        }
    }

    part->nelts = i;

    if (i > 0 || prev == NULL) {
        return NGX_OK;
    }

    prev->next = part->next;

    if (list->last == part) {
        /* a part that is full: the next push allocates another */
        list->last = prev;
        list->nalloc = ngx_max(prev->nelts, 1);
    }

    *partp = part->next;

    return NGX_DONE;
}
