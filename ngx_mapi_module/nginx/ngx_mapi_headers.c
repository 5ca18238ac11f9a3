
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * Request headers that only a front end may set: a mailbox server believes
 * them.  In lower case; "-" stands for "_" too, because IIS hands both to its
 * applications as one.  ngx_mapi_read_headers() passes by what begins with
 * another letter than these names do.
 */

#define ngx_mapi_front_end_names(name)                                        \
    name("x-ms-edgeip")                                                       \
    name("x-probetype")                                                       \
    name("x-isfromcafe")                                                      \
    name("rpsmembername")                                                     \
    name("x-fe-clientip")                                                     \
    name("msexchproxyuri")                                                    \
    name("x-databaseguid")                                                    \
    name("x-delayrequest")                                                    \
    name("x-delayresponse")                                                   \
    name("x-gcc-proxyinfo")                                                   \
    name("x-vdirobjectid")                                                    \
    name("x-wlid-membername")                                                 \
    name("x-dbmountedonserver")                                               \
    name("x-sourcecafeserver")                                                \
    name("x-commonaccesstoken")                                               \
    name("x-organizationcontext")                                             \
    name("x-msexchangeactivityctx")


#define ngx_mapi_name_string(s)  ngx_string(s),
#define ngx_mapi_name_end(s)     | (uint32_t) 1 << (s[sizeof(s) - 2] & 31)
#define ngx_mapi_name_length(s)  | (uint64_t) 1 << (sizeof(s) - 1)


static ngx_str_t  ngx_mapi_front_end_headers[] = {
    ngx_mapi_front_end_names(ngx_mapi_name_string)
    ngx_null_string
};


static ngx_str_t  ngx_mapi_front_end_prefixes[] = {
    ngx_string("x-beserver"),
    ngx_string("x-backend-diag-"),
    ngx_null_string
};


/* the letters that names end with: none ends with a sign */

static const uint32_t  ngx_mapi_front_end_ends =
    0 ngx_mapi_front_end_names(ngx_mapi_name_end);


/* the lengths that occur among the names: most headers have another one */

static const uint64_t  ngx_mapi_front_end_lengths =
    0 ngx_mapi_front_end_names(ngx_mapi_name_length);


static ngx_uint_t ngx_mapi_is_front_end_header(ngx_table_elt_t *h);
static ngx_uint_t ngx_mapi_header_is(ngx_table_elt_t *h, char *name,
    size_t len);
static ngx_int_t ngx_mapi_take_cookie(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *value);
static ngx_uint_t ngx_mapi_is_own_cookie(ngx_mapi_ctx_t *ctx, u_char *p,
    u_char *end);
static void ngx_mapi_note_cookie(ngx_mapi_ctx_t *ctx, u_char *p, u_char *end);
static ngx_str_t *ngx_mapi_find_header(ngx_list_part_t *part, char *name);


#define ngx_mapi_header_eq(h, s)                                              \
    ((h)->key.len == sizeof(s) - 1                                            \
     && ngx_mapi_header_is(h, s, sizeof(s) - 1))


ngx_int_t
ngx_mapi_read_headers(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_int_t         rc, remove;
    ngx_uint_t        i;
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

        switch (h->lowcase_key[0]) {
        case 'c':
        case 'm':
        case 'r':
        case 'x':
            break;

        default:
            /* no name that is looked for begins like this */
            continue;
        }

        remove = 0;

        switch (h->key.len) {

        case sizeof("Cookie") - 1:
            if (ngx_mapi_header_eq(h, "cookie")) {
                rc = ngx_mapi_take_cookie(r, ctx, &h->value);

                if (rc == NGX_ERROR) {
                    return NGX_ERROR;
                }

                remove = rc;
            }

            break;

        case sizeof("X-RequestId") - 1:
            if (ngx_mapi_header_eq(h, "x-requestid")) {
                ctx->request_id = h->value;
                break;
            }

            remove = ngx_mapi_is_front_end_header(h);
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

        if (remove == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (!remove || ctx->observe) {
            continue;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "mapi: request header \"%V\" removed", &h->key);

        /* nor is it there for variables that go by a slot, as $http_cookie */
        h->hash = 0;

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


/* nginx has made the lower case already, for its own table of headers */

static ngx_uint_t
ngx_mapi_header_is(ngx_table_elt_t *h, char *name, size_t len)
{
    u_char  c;
    size_t  i;

    /* from the end: most of the names begin with the same two letters */

    for (i = len; i-- > 0; /* void */) {
        c = h->lowcase_key[i];

        if (c != (u_char) name[i] && (c != '_' || name[i] != '-')) {
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

    len = h->key.len;

    if (len > 2 && h->lowcase_key[2] == 'b') {

        for (name = ngx_mapi_front_end_prefixes; name->len; name++) {
            if (len >= name->len
                && ngx_mapi_header_is(h, (char *) name->data, name->len))
            {
                return 1;
            }
        }
    }

    /* a header of the length and the last letter of a name is rarely another */

    if (len >= 64
        || !(ngx_mapi_front_end_lengths & ((uint64_t) 1 << len))
        || !(ngx_mapi_front_end_ends
             & ((uint32_t) 1 << (h->lowcase_key[len - 1] & 31))))
    {
        return 0;
    }

    for (name = ngx_mapi_front_end_headers; name->len; name++) {
        if (len == name->len
            && ngx_mapi_header_is(h, (char *) name->data, len))
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Notes the first cookie of our name and takes every one of that name out of
 * the value.  What is left is a copy: variables that a rewrite or a map has
 * asked for already point into the old value.  1 if nothing is left.
 */

static ngx_int_t
ngx_mapi_take_cookie(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *value)
{
    u_char  *p, *dst, *end, *stop, *next, *name, *left;

    dst = NULL;
    left = NULL;
    end = value->data + value->len;

    for (p = value->data; p < end; p = next) {

        stop = memchr(p, ';', end - p);
        next = stop ? stop + 1 : end;
        stop = stop ? stop : end;

        for (name = p; name < stop && *name == ' '; name++) { /* void */ }

        ngx_mapi_session_note_cookie(&ctx->session_cookie, name, stop);

        if (!ngx_mapi_is_own_cookie(ctx, name, stop)) {

            if (left) {
                /* in front, the blank goes with what stood there */
                p = (dst == left) ? name : p;
                dst = ngx_cpymem(dst, p, next - p);
            }

            continue;
        }

        ngx_mapi_note_cookie(ctx, name, stop);

        if (ctx->observe) {
            return 0;
        }

        if (left == NULL) {
            left = ngx_pnalloc(r->pool, value->len);
            if (left == NULL) {
                return NGX_ERROR;
            }

            dst = ngx_cpymem(left, value->data, p - value->data);
        }
    }

    if (left) {

        /* if the last cookie went, the ";" before it goes too */

        if (dst > left && dst[-1] == ';') {
            dst--;
        }

        *dst = '\0';

        value->data = left;
        value->len = dst - left;
    }

    return value->len == 0;
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
                && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0)
            {
                return &h[i].value;
            }
        }
    }

    return NULL;
}
