
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_names.h"
#include "ngx_mapi_pin.h"


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
#define NGX_MAPI_DIAGNOSE_OWN          0x0f    /* all above */
#define NGX_MAPI_DIAGNOSE_ECHO         0x10
#define NGX_MAPI_DIAGNOSE_INTERNAL     0x20
#define NGX_MAPI_DIAGNOSE_LOGON        0x40    /* not ours: see pin */

/* longest client-request-id that is sent back */
#define NGX_MAPI_DIAGNOSE_ECHO_MAX     128


static ngx_mapi_name_t  ngx_mapi_diagnose_list[] = {
    { ngx_string("request-id"), NGX_MAPI_DIAGNOSE_REQUEST_ID },
    { ngx_string("X-FEServer"), NGX_MAPI_DIAGNOSE_FE_SERVER },
    { ngx_string("X-DeviceInfo"), NGX_MAPI_DIAGNOSE_DEVICE_INFO },
    { ngx_string("client-request-id"), NGX_MAPI_DIAGNOSE_ECHO },
    { ngx_string("X-DBMountedOnServer"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_string("X-BEServerException"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_string("X-CalculatedBETarget"), NGX_MAPI_DIAGNOSE_TARGET },
    { ngx_string("X-BEServerRoutingError"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_string("X-MSExchangeActivityCtx"), NGX_MAPI_DIAGNOSE_INTERNAL },
    { ngx_null_string, 0 }
};


static ngx_mapi_names_t  ngx_mapi_diagnose_names =
    ngx_mapi_names(ngx_mapi_diagnose_list);


/* those that we add */

static ngx_str_t  ngx_mapi_key_request_id = ngx_string("request-id");
static ngx_str_t  ngx_mapi_key_target = ngx_string("X-CalculatedBETarget");
static ngx_str_t  ngx_mapi_key_fe_server = ngx_string("X-FEServer");
static ngx_str_t  ngx_mapi_key_device_info = ngx_string("X-DeviceInfo");
static ngx_str_t  ngx_mapi_key_echo = ngx_string("client-request-id");


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
    ngx_mapi_ctx_t *ctx);
static ngx_uint_t ngx_mapi_diagnose_may_echo(ngx_str_t *id);


ngx_int_t
ngx_mapi_diagnose_init(ngx_log_t *log)
{
    return ngx_mapi_names_init(&ngx_mapi_diagnose_names, log);
}


ngx_int_t
ngx_mapi_diagnose(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_uint_t server)
{
    ngx_uint_t            seen, drop;
    ngx_mapi_pin_data_t  *pd;

    seen = 0;

    if (server) {
        seen = ngx_mapi_diagnose_look(&r->upstream->headers_in.headers);

        /* the pins' layer need not look where there is nothing for it */

        pd = ngx_mapi_pin_data(r);

        if (pd) {
            pd->looked = 1;
            pd->offers = (seen & NGX_MAPI_DIAGNOSE_LOGON) != 0;
        }

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

    /*
     * The protocol's own answer to "return-client-request-id: true": Exchange's
     * front ends give it themselves.
     */

    if (!ctx->echoes
        || (seen & NGX_MAPI_DIAGNOSE_ECHO)
        || !ngx_mapi_diagnose_may_echo(&ctx->echo))
    {
        return NGX_OK;
    }

    return ngx_mapi_push_header(r, &ngx_mapi_key_echo, &ctx->echo);
}


static ngx_uint_t
ngx_mapi_diagnose_kind(ngx_table_elt_t *h)
{
    u_char                 *name;
    ngx_mapi_name_entry_t  *entry;

    entry = ngx_mapi_names_guess(&ngx_mapi_diagnose_names, h);

    if (entry == NULL) {
        return 0;
    }

    name = ngx_mapi_diagnose_names.text + entry->text;

    return (mapi_same(name, h->key.data, h->key.len)
            || ngx_strncasecmp(name, h->key.data, h->key.len) == 0)
           ? entry->kind : 0;
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
            if (ngx_mapi_names_may(&ngx_mapi_diagnose_names, h[i].hash)) {
                seen |= ngx_mapi_diagnose_kind(&h[i]);
            }

            /* this must not depend on a hash, which others could have made */

            if (ngx_mapi_pin_may_taint(&h[i])) {
                seen |= NGX_MAPI_DIAGNOSE_LOGON;
            }
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
    ngx_str_t   id, *word;
    ngx_uint_t  status;

    status = r->headers_out.status;

    if (kinds & NGX_MAPI_DIAGNOSE_REQUEST_ID) {

        id.len = MAPI_GUID_LEN;
        id.data = ngx_mapi_activity_id(r, ctx);

        if (id.data == NULL
            || ngx_mapi_push_header(r, &ngx_mapi_key_request_id, &id)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if ((kinds & NGX_MAPI_DIAGNOSE_TARGET)
        && status != NGX_HTTP_UNAUTHORIZED
        && ngx_mapi_diagnose_add_target(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if ((kinds & NGX_MAPI_DIAGNOSE_FE_SERVER)
        && ctx->mlcf->short_name.len
        && ngx_mapi_push_header(r, &ngx_mapi_key_fe_server,
                                &ctx->mlcf->short_name)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!(kinds & NGX_MAPI_DIAGNOSE_DEVICE_INFO)) {
        return NGX_OK;
    }

    word = ngx_mapi_diagnose_words;

    if (server && status >= NGX_HTTP_OK && status < NGX_HTTP_SPECIAL_RESPONSE)
    {
        word += ctx->route;
    }

    return ngx_mapi_push_header(r, &ngx_mapi_key_device_info, word);
}


/* a copy: the worker's own name changes with the directory */

static ngx_int_t
ngx_mapi_diagnose_add_target(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
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

    return ngx_mapi_push_header(r, &ngx_mapi_key_target, &value);
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
