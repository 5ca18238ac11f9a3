
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * Headers of an answer that say what became of the request.  A server's stay
 * as they are; ours come only where it sent none.  What a server tells a front
 * end stays here.
 *
 * Looked for in what the server has sent, not in what is left of that: what
 * "proxy_hide_header" took away must not come back from us.
 */

#define NGX_MAPI_DIAGNOSE_REQUEST_ID   0x01
#define NGX_MAPI_DIAGNOSE_TARGET       0x02
#define NGX_MAPI_DIAGNOSE_FE_SERVER    0x04
#define NGX_MAPI_DIAGNOSE_DEVICE_INFO  0x08
#define NGX_MAPI_DIAGNOSE_OWN          0x0f
#define NGX_MAPI_DIAGNOSE_ECHO         0x10
#define NGX_MAPI_DIAGNOSE_INTERNAL     0x20

/* longest client-request-id that is sent back */
#define NGX_MAPI_DIAGNOSE_ECHO_MAX     128


typedef struct {
    ngx_str_t   name;
    ngx_uint_t  kind;
} ngx_mapi_diagnose_header_t;


static ngx_mapi_diagnose_header_t  ngx_mapi_diagnose_headers[] = {
    { ngx_string("request-id"), NGX_MAPI_DIAGNOSE_REQUEST_ID },
    { ngx_string("X-CalculatedBETarget"), NGX_MAPI_DIAGNOSE_TARGET },
    { ngx_string("X-FEServer"), NGX_MAPI_DIAGNOSE_FE_SERVER },
    { ngx_string("X-DeviceInfo"), NGX_MAPI_DIAGNOSE_DEVICE_INFO },
    { ngx_string("client-request-id"), NGX_MAPI_DIAGNOSE_ECHO },
    { ngx_string("X-DBMountedOnServer"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_string("X-BEServerException"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_string("X-BEServerRoutingError"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_string("X-MSExchangeActivityCtx"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_null_string, 0 }
};


/* the lengths that occur among them: most headers have another one */

static const uint32_t  ngx_mapi_diagnose_lengths =
    (uint32_t) 1 << (sizeof("request-id") - 1)
    | (uint32_t) 1 << (sizeof("X-CalculatedBETarget") - 1)
    | (uint32_t) 1 << (sizeof("X-FEServer") - 1)
    | (uint32_t) 1 << (sizeof("X-DeviceInfo") - 1)
    | (uint32_t) 1 << (sizeof("client-request-id") - 1)
    | (uint32_t) 1 << (sizeof("X-DBMountedOnServer") - 1)
    | (uint32_t) 1 << (sizeof("X-BEServerException") - 1)
    | (uint32_t) 1 << (sizeof("X-BEServerRoutingError") - 1)
    | (uint32_t) 1 << (sizeof("X-MSExchangeActivityCtx") - 1);


/* X-DeviceInfo, by route; the first one tells nothing of a mailbox */

static ngx_str_t  ngx_mapi_diagnose_words[] = {
    ngx_string("ngx_mapi"),
    ngx_string("ngx_mapi route=handshake"),
    ngx_string("ngx_mapi route=pinned"),
    ngx_string("ngx_mapi route=learned"),
    ngx_string("ngx_mapi route=directory"),
    ngx_string("ngx_mapi route=affinity"),
    ngx_string("ngx_mapi route=balance")
};


static ngx_uint_t ngx_mapi_diagnose_kind(ngx_table_elt_t *h);
static ngx_uint_t ngx_mapi_diagnose_look(ngx_list_t *headers);
static void ngx_mapi_diagnose_drop(ngx_list_t *headers, ngx_uint_t kinds);
static ngx_int_t ngx_mapi_diagnose_add(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_uint_t kinds, ngx_uint_t server);
static ngx_int_t ngx_mapi_diagnose_add_target(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *key);
static ngx_int_t ngx_mapi_diagnose_echo(ngx_http_request_t *r);
static ngx_uint_t ngx_mapi_diagnose_may_echo(ngx_str_t *id);


ngx_int_t
ngx_mapi_diagnose(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_uint_t server)
{
    ngx_uint_t  seen, drop;

    seen = 0;

    if (server) {
        seen = ngx_mapi_diagnose_look(&r->upstream->headers_in.headers);

        drop = NGX_MAPI_DIAGNOSE_INTERNAL;

        if (ctx->mlcf->headers == ngx_mapi_headers_full) {
            drop |= NGX_MAPI_DIAGNOSE_OWN;
        }

        drop &= seen;
        seen &= ~drop;

        if (drop) {
            ngx_mapi_diagnose_drop(&r->headers_out.headers, drop);
        }
    }

    if (ctx->mlcf->headers != ngx_mapi_headers_off
        && ngx_mapi_diagnose_add(r, ctx, NGX_MAPI_DIAGNOSE_OWN & ~seen, server)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (seen & NGX_MAPI_DIAGNOSE_ECHO) {
        return NGX_OK;
    }

    return ngx_mapi_diagnose_echo(r);
}


static ngx_uint_t
ngx_mapi_diagnose_kind(ngx_table_elt_t *h)
{
    u_char                       c;
    ngx_mapi_diagnose_header_t  *dh;

    if (h->key.len >= 32
        || !(ngx_mapi_diagnose_lengths & ((uint32_t) 1 << h->key.len)))
    {
        return 0;
    }

    c = ngx_tolower(h->key.data[h->key.len - 1]);

    for (dh = ngx_mapi_diagnose_headers; dh->name.len; dh++) {

        /* of those of one length none ends alike */

        if (dh->name.len == h->key.len
            && ngx_tolower(dh->name.data[dh->name.len - 1]) == c)
        {
            return ngx_strncasecmp(dh->name.data, h->key.data, h->key.len) == 0
                   ? dh->kind : 0;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_mapi_diagnose_look(ngx_list_t *headers)
{
    ngx_uint_t        i, seen;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    seen = 0;

    for (part = &headers->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            seen |= ngx_mapi_diagnose_kind(&h[i]);
        }
    }

    return seen;
}


static void
ngx_mapi_diagnose_drop(ngx_list_t *headers, ngx_uint_t kinds)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &headers->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_mapi_diagnose_kind(&h[i]) & kinds) {
                h[i].hash = 0;
            }
        }
    }
}


/*
 * A 401 tells nobody where a mailbox lives.  Nor is told why it is there, as
 * long as nobody has logged on for certain: the route shows whether the
 * directory knows the mailbox.
 */

static ngx_int_t
ngx_mapi_diagnose_add(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_uint_t kinds, ngx_uint_t server)
{
    ngx_str_t                   *key, *word, value;
    ngx_mapi_diagnose_header_t  *dh;

    for (dh = ngx_mapi_diagnose_headers; dh->kind & NGX_MAPI_DIAGNOSE_OWN;
         dh++)
    {
        if (!(kinds & dh->kind)) {
            continue;
        }

        key = &dh->name;
        ngx_str_null(&value);

        switch (dh->kind) {

        case NGX_MAPI_DIAGNOSE_REQUEST_ID:
            value.data = ngx_mapi_activity_id(r, ctx);
            value.len = MAPI_GUID_LEN;

            if (value.data == NULL) {
                return NGX_ERROR;
            }

            break;

        case NGX_MAPI_DIAGNOSE_TARGET:
            if (r->headers_out.status != NGX_HTTP_UNAUTHORIZED
                && ngx_mapi_diagnose_add_target(r, ctx, key) != NGX_OK)
            {
                return NGX_ERROR;
            }

            break;

        case NGX_MAPI_DIAGNOSE_FE_SERVER:
            value = ctx->mlcf->short_name;
            break;

        case NGX_MAPI_DIAGNOSE_DEVICE_INFO:
            word = ngx_mapi_diagnose_words;

            if (server && r->headers_out.status >= NGX_HTTP_OK
                && r->headers_out.status < NGX_HTTP_SPECIAL_RESPONSE)
            {
                word += ctx->route;
            }

            value = *word;
            break;
        }

        if (value.len && ngx_mapi_push_header(r, key, &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* a copy: the worker's own name changes with the directory */

static ngx_int_t
ngx_mapi_diagnose_add_target(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *key)
{
    ngx_int_t           n;
    ngx_str_t          *name, value;
    ngx_mapi_server_t  *servers;

    n = (ctx->server >= 0) ? ctx->server : ctx->asked;

    if (n < 0) {
        return NGX_OK;
    }

    servers = ctx->mscf->servers.elts;
    name = &servers[n].name;

    value.len = name->len;
    value.data = ngx_pstrdup(r->pool, name);

    if (value.data == NULL) {
        return NGX_ERROR;
    }

    return ngx_mapi_push_header(r, key, &value);
}


/*
 * The protocol's own answer to "return-client-request-id: true".  Exchange's
 * front ends give it themselves.
 */

static ngx_int_t
ngx_mapi_diagnose_echo(ngx_http_request_t *r)
{
    ngx_str_t        *id, key;
    ngx_uint_t        i, wanted;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    id = NULL;
    wanted = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            switch (h[i].key.len) {

            case sizeof("client-request-id") - 1:
                if (id == NULL
                    && ngx_memcmp(h[i].lowcase_key, "client-request-id",
                                  sizeof("client-request-id") - 1)
                       == 0)
                {
                    id = &h[i].value;
                }

                break;

            case sizeof("return-client-request-id") - 1:
                if (ngx_memcmp(h[i].lowcase_key, "return-client-request-id",
                               sizeof("return-client-request-id") - 1)
                    == 0)
                {
                    wanted = h[i].value.len == 4
                             && ngx_strncasecmp(h[i].value.data,
                                                (u_char *) "true", 4)
                                == 0;
                }

                break;
            }
        }
    }

    if (!wanted || id == NULL || !ngx_mapi_diagnose_may_echo(id)) {
        return NGX_OK;
    }

    ngx_str_set(&key, "client-request-id");

    return ngx_mapi_push_header(r, &key, id);
}


/* clients send a GUID, some of them in braces */

static ngx_uint_t
ngx_mapi_diagnose_may_echo(ngx_str_t *id)
{
    size_t  i;

    if (id->len == 0 || id->len > NGX_MAPI_DIAGNOSE_ECHO_MAX) {
        return 0;
    }

    for (i = 0; i < id->len; i++) {
        if (id->data[i] <= ' ' || id->data[i] >= 0x7f) {
            return 0;
        }
    }

    return 1;
}
