
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"
#include "ngx_mapi_names.h"


/*
 * The request headers that are looked for, in lower case.  "-" stands for "_"
 * too, because IIS hands both to its applications as one.
 */

enum {
    ngx_mapi_header_none = 0,
    ngx_mapi_header_front_end,  /* only a front end may set it: servers believe
                                   it, so it is taken out */
    ngx_mapi_header_cookie,
    ngx_mapi_header_request_id,
    ngx_mapi_header_request_type,
    ngx_mapi_header_anchor,
    ngx_mapi_header_claim,      /* about the client: see forward */
    ngx_mapi_header_id,
    ngx_mapi_header_wants_id
};


static ngx_mapi_name_t  ngx_mapi_request_list[] = {
    { ngx_string("cookie"), ngx_mapi_header_cookie },
    { ngx_string("x-requestid"), ngx_mapi_header_request_id },
    { ngx_string("x-requesttype"), ngx_mapi_header_request_type },
    { ngx_string("x-anchormailbox"), ngx_mapi_header_anchor },
    { ngx_string("client-request-id"), ngx_mapi_header_id },
    { ngx_string("return-client-request-id"), ngx_mapi_header_wants_id },
    { ngx_string("x-forwarded-for"), ngx_mapi_header_claim },
    { ngx_string("x-forwarded-port"), ngx_mapi_header_claim },
    { ngx_string("x-ms-edgeip"), ngx_mapi_header_front_end },
    { ngx_string("x-probetype"), ngx_mapi_header_front_end },
    { ngx_string("x-isfromcafe"), ngx_mapi_header_front_end },
    { ngx_string("rpsmembername"), ngx_mapi_header_front_end },
    { ngx_string("x-fe-clientip"), ngx_mapi_header_front_end },
    { ngx_string("msexchproxyuri"), ngx_mapi_header_front_end },
    { ngx_string("x-databaseguid"), ngx_mapi_header_front_end },
    { ngx_string("x-delayrequest"), ngx_mapi_header_front_end },
    { ngx_string("x-vdirobjectid"), ngx_mapi_header_front_end },
    { ngx_string("x-delayresponse"), ngx_mapi_header_front_end },
    { ngx_string("x-gcc-proxyinfo"), ngx_mapi_header_front_end },
    { ngx_string("x-wlid-membername"), ngx_mapi_header_front_end },
    { ngx_string("x-sourcecafeserver"), ngx_mapi_header_front_end },
    { ngx_string("x-dbmountedonserver"), ngx_mapi_header_front_end },
    { ngx_string("x-commonaccesstoken"), ngx_mapi_header_front_end },
    { ngx_string("x-organizationcontext"), ngx_mapi_header_front_end },
    { ngx_string("x-msexchangeactivityctx"), ngx_mapi_header_front_end },
    { ngx_null_string, 0 }
};


static ngx_mapi_names_t  ngx_mapi_request_names =
    ngx_mapi_names(ngx_mapi_request_list);


static ngx_str_t  ngx_mapi_front_end_prefixes[] = {
    ngx_string("x-beserver"),
    ngx_string("x-backend-diag-"),
    ngx_null_string
};


static ngx_inline ngx_uint_t ngx_mapi_header_kind(ngx_table_elt_t *h);
static ngx_uint_t ngx_mapi_header_is(ngx_table_elt_t *h, u_char *name,
    size_t len);
static ngx_int_t ngx_mapi_note_header(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_table_elt_t *h, ngx_uint_t kind);
static ngx_int_t ngx_mapi_take_cookie(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_mapi_leave_cookie(ngx_http_request_t *r,
    ngx_str_t *value, ngx_str_t *left, u_char *p, u_char *end);
static ngx_uint_t ngx_mapi_is_own_cookie(ngx_mapi_ctx_t *ctx, u_char *p,
    u_char *end);
static void ngx_mapi_note_cookie(ngx_mapi_ctx_t *ctx, u_char *p, u_char *end);
static ngx_str_t *ngx_mapi_find_header(ngx_list_part_t *part, char *name);


/* most headers do not begin with "X-B" */

#define ngx_mapi_header_may_prefix(h)                                         \
    ((h)->key.len >= sizeof("x-beserver") - 1                                 \
     && ((h)->key.data[2] | 0x20) == 'b')


/* "_" means "-" only where a server could be deceived by it */

#define ngx_mapi_header_is_literal(h)                                         \
    (memchr((h)->lowcase_key, '_', (h)->key.len) == NULL)


ngx_int_t
ngx_mapi_headers_init(ngx_log_t *log)
{
    return ngx_mapi_names_init(&ngx_mapi_request_names, log);
}


ngx_int_t
ngx_mapi_read_headers(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_int_t         rc;
    ngx_uint_t        i, kind;
    ngx_list_part_t  *part, *prev;
    ngx_table_elt_t  *h;

    ngx_str_null(&ctx->echo);
    ctx->echoes = 0;
    ctx->claims = 0;
    ctx->walked = 1;

    prev = NULL;
    part = &r->headers_in.headers.part;
    i = 0;

    while (part) {

        h = part->elts;
        kind = ngx_mapi_header_none;

        for ( /* void */ ; i < part->nelts; i++) {

            kind = ngx_mapi_header_kind(&h[i]);

            if (kind != ngx_mapi_header_none) {
                break;
            }
        }

        if (kind == ngx_mapi_header_none) {
            prev = part;
            part = part->next;
            i = 0;
            continue;
        }

        rc = ngx_mapi_note_header(r, ctx, &h[i], kind);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_OK || ctx->observe) {
            i++;
            continue;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "mapi: request header \"%V\" removed", &h[i].key);

        /* nor is it there for variables that go by a slot, as $http_cookie */
        h[i].hash = 0;

        /*
         * What followed the header is the next part now, or nothing; if the
         * part went with its only header, part is the next one.
         */

        rc = ngx_mapi_unlink_header(r, &part, prev, i);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_DONE) {
            i = 0;
        }
    }

    return NGX_OK;
}


/*
 * Of a request that is refused: what the answer echoes.  Wherever an error_page
 * leads from there, the headers are as the client sent them.
 */

void
ngx_mapi_read_echo(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_uint_t        i, kind;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_str_null(&ctx->echo);
    ctx->echoes = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            kind = ngx_mapi_header_kind(&h[i]);

            if (kind == ngx_mapi_header_id || kind == ngx_mapi_header_wants_id)
            {
                (void) ngx_mapi_note_header(r, ctx, &h[i], kind);
            }
        }
    }
}


static ngx_inline ngx_uint_t
ngx_mapi_header_kind(ngx_table_elt_t *h)
{
    ngx_str_t              *prefix;
    ngx_mapi_name_entry_t  *entry;

    if (ngx_mapi_names_may(&ngx_mapi_request_names, h->hash)) {

        entry = ngx_mapi_names_guess(&ngx_mapi_request_names, h);

        if (entry
            && ngx_mapi_header_is(h, ngx_mapi_request_names.text + entry->text,
                                  entry->len))
        {
            return entry->kind;
        }
    }

    if (ngx_mapi_header_may_prefix(h)) {

        for (prefix = ngx_mapi_front_end_prefixes; prefix->len; prefix++) {
            if (h->key.len >= prefix->len
                && ngx_mapi_header_is(h, prefix->data, prefix->len))
            {
                return ngx_mapi_header_front_end;
            }
        }
    }

    return ngx_mapi_header_none;
}


/* nginx has made the lower case already, for its own table of headers */

static ngx_uint_t
ngx_mapi_header_is(ngx_table_elt_t *h, u_char *name, size_t len)
{
    u_char  c;

    if (mapi_same(h->lowcase_key, name, len)) {
        return 1;
    }

    /* from the end: most of the names begin with the same two letters */

    while (len-- > 0) {
        c = h->lowcase_key[len];

        if (c != name[len] && (c != '_' || name[len] != '-')) {
            return 0;
        }
    }

    return 1;
}


/* NGX_DECLINED: it is to be taken out */

static ngx_int_t
ngx_mapi_note_header(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_table_elt_t *h, ngx_uint_t kind)
{
    switch (kind) {

    case ngx_mapi_header_cookie:
        return ngx_mapi_take_cookie(r, ctx, &h->value);

    case ngx_mapi_header_request_id:
        ctx->request_id = h->value;
        return NGX_OK;

    case ngx_mapi_header_request_type:
        ctx->request_type = h->value;
        return NGX_OK;

    case ngx_mapi_header_anchor:
        ctx->anchor_header = h->value;
        return NGX_OK;

    case ngx_mapi_header_claim:
        ctx->claims = 1;
        return NGX_OK;

    case ngx_mapi_header_id:
        if (ctx->echo.data == NULL && ngx_mapi_header_is_literal(h)) {
            ctx->echo = h->value;
        }

        return NGX_OK;

    case ngx_mapi_header_wants_id:
        if (ngx_mapi_header_is_literal(h)) {
            ctx->echoes = h->value.len == 4
                          && ngx_strncasecmp(h->value.data, (u_char *) "true",
                                             4)
                             == 0;
        }

        return NGX_OK;

    default: /* ngx_mapi_header_front_end */
        return NGX_DECLINED;
    }
}


/*
 * Notes the first cookie of our name and takes every one of that name out of
 * the value.  What is left is a piece of the value, where nothing is changed:
 * variables that a rewrite or a map has asked for already point into it.  Only
 * cookies on both sides of ours are put together in a copy.  NGX_DECLINED if
 * nothing is left.
 */

static ngx_int_t
ngx_mapi_take_cookie(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *value)
{
    u_char                *p, *end, *stop, *next, *name;
    ngx_str_t              left;
    ngx_uint_t             taken;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    ngx_str_null(&left);
    taken = 0;
    end = value->data + value->len;

    for (p = value->data; p < end; p = next) {

        stop = memchr(p, ';', end - p);
        next = stop ? stop + 1 : end;
        stop = stop ? stop : end;

        for (name = p; name < stop && *name == ' '; name++) { /* void */ }

        if (mmcf->sessions) {
            ngx_mapi_session_note_cookie(&ctx->session_cookie, name, stop);
        }

        if (!ngx_mapi_is_own_cookie(ctx, name, stop)) {

            if (!taken) {
                continue;
            }

            /* in front, the blank goes with what stood there */

            if (ngx_mapi_leave_cookie(r, value, &left, left.len ? p : name,
                                      next)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            continue;
        }

        ngx_mapi_note_cookie(ctx, name, stop);
        ngx_mapi_affinity_warm(r, ctx);

        if (ctx->observe) {
            return NGX_OK;
        }

        if (!taken) {
            taken = 1;
            left.data = value->data;
            left.len = p - value->data;
        }
    }

    if (taken) {

        /* if the last cookie went, the ";" before it goes too */

        if (left.len && left.data[left.len - 1] == ';') {
            left.len--;
        }

        *value = left;
    }

    return value->len ? NGX_OK : NGX_DECLINED;
}


/*
 * Adds the bytes of value from p to end to what is left of it.  That is a
 * piece of the value itself until there is a gap, and a copy from then on.
 */

static ngx_int_t
ngx_mapi_leave_cookie(ngx_http_request_t *r, ngx_str_t *value,
    ngx_str_t *left, u_char *p, u_char *end)
{
    u_char  *copy;

    if (left->len == 0) {
        left->data = p;
        left->len = end - p;

        return NGX_OK;
    }

    if (left->data + left->len != p) {

        if (left->data >= value->data
            && left->data < value->data + value->len)
        {
            copy = ngx_pnalloc(r->pool, value->len);
            if (copy == NULL) {
                return NGX_ERROR;
            }

            ngx_memcpy(copy, left->data, left->len);
            left->data = copy;
        }

        ngx_memcpy(left->data + left->len, p, end - p);
    }

    left->len += end - p;

    return NGX_OK;
}


static ngx_uint_t
ngx_mapi_is_own_cookie(ngx_mapi_ctx_t *ctx, u_char *p, u_char *end)
{
    ngx_str_t  *name;

    name = &ctx->mlcf->cookie_name;

    return (size_t) (end - p) > name->len
           && p[name->len] == '='
           && ngx_memcmp(p, name->data, name->len) == 0;
}


static void
ngx_mapi_note_cookie(ngx_mapi_ctx_t *ctx, u_char *p, u_char *end)
{
    if (ctx->cookie.data) {
        return;
    }

    p += ctx->mlcf->cookie_name.len + 1;

    while (p < end && end[-1] == ' ') {
        end--;
    }

    ctx->cookie.data = p;
    ctx->cookie.len = end - p;

    if (ctx->cookie.len > MAPI_AFFINITY_VALUE_MAX) {
        ctx->cookie.len = 0;
    }
}


/*
 * Takes element i of a part out of the list without moving any element: typed
 * slots of headers_in and "next" chains point at them.  The part ends before
 * the element; what follows becomes a part of its own.  No part but the first
 * may be empty, nginx's loops rely on it.
 */

ngx_int_t
ngx_mapi_unlink_header(ngx_http_request_t *r, ngx_list_part_t **partp,
    ngx_list_part_t *prev, ngx_uint_t i)
{
    ngx_int_t         rc;
    ngx_list_t       *list;
    ngx_list_part_t  *part, *rest, *last;

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

    rc = NGX_OK;
    last = part;

    if (i == 0 && prev) {
        prev->next = part->next;
        *partp = part->next;

        rc = NGX_DONE;
        last = prev;
    }

    if (list->last != part) {
        return rc;
    }

    /* full: a push must not reuse the element, slots may still point at it */

    list->last = last;
    list->nalloc = last->nelts;

    if (last->nelts == 0) {

        last->elts = ngx_palloc(r->pool, list->size);
        if (last->elts == NULL) {
            return NGX_ERROR;
        }

        list->nalloc = 1;
    }

    return rc;
}


ngx_str_t *
ngx_mapi_request_header(ngx_http_request_t *r, char *name)
{
    return ngx_mapi_find_header(&r->headers_in.headers.part, name);
}


ngx_str_t *
ngx_mapi_answer_header(ngx_http_request_t *r, char *name)
{
    if (r->upstream == NULL) {
        return NULL;
    }

    return ngx_mapi_find_header(&r->upstream->headers_in.headers.part, name);
}


static ngx_str_t *
ngx_mapi_find_header(ngx_list_part_t *part, char *name)
{
    u_char            c;
    size_t            len;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);
    c = ngx_tolower(name[len - 1]);

    for ( /* void */ ; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            /* names of one length rarely end alike */

            if (h[i].key.len == len
                && ngx_tolower(h[i].key.data[len - 1]) == c
                && (ngx_memcmp(h[i].key.data, name, len) == 0
                    || ngx_strncasecmp(h[i].key.data, (u_char *) name, len)
                       == 0))
            {
                return &h[i].value;
            }
        }
    }

    return NULL;
}
