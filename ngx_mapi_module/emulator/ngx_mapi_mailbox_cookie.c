
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


/* 30 03 C8 and an int32 of zero: in base64 always MAPIAAAAA */
#define NGX_MAPI_MAILBOX_CONTEXT_HEAD  7
#define NGX_MAPI_MAILBOX_CONTEXT_MAX   512


static u_char  ngx_mapi_mailbox_context_head[NGX_MAPI_MAILBOX_CONTEXT_HEAD] =
    { 0x30, 0x03, 0xc8, 0, 0, 0, 0 };


static ngx_int_t ngx_mapi_mailbox_cookie_line(const ngx_str_t *line,
    const ngx_str_t *name, ngx_str_t *value);


ngx_int_t
ngx_mapi_mailbox_context_write(ngx_pool_t *pool,
    const ngx_mapi_mailbox_context_t *c, ngx_str_t *value)
{
    u_char      *p, *text, *last;
    u_char       buf[NGX_MAPI_MAILBOX_CONTEXT_HEAD
                     + NGX_MAPI_MAILBOX_MACHINE_MAX + 1
                     + NGX_MAPI_MAILBOX_INSTANCE_MAX + 8];
    ngx_str_t    plain;
    ngx_uint_t   i, key;

    text = ngx_cpymem(buf, ngx_mapi_mailbox_context_head,
                      NGX_MAPI_MAILBOX_CONTEXT_HEAD);

    last = ngx_slprintf(text, buf + sizeof(buf) - 8, "%V#%V",
                        &c->machine, &c->instance);

    key = 0xa5;

    for (p = text; p < last; p++) {
        *p = (u_char) (*p ^ key);
        key = *p;
    }

    for (i = 0; i < 8; i++) {
        *last++ = (u_char) (c->id >> (8 * i));
    }

    plain.data = buf;
    plain.len = last - buf;

    value->data = ngx_pnalloc(pool, ngx_base64_encoded_length(plain.len));
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64(value, &plain);

    return NGX_OK;
}


ngx_int_t
ngx_mapi_mailbox_context_read(ngx_pool_t *pool, const ngx_str_t *value,
    ngx_mapi_mailbox_context_t *c)
{
    u_char      *p, *last, *hash, ch;
    ngx_str_t    src, plain;
    ngx_uint_t   i, key;

    if (value->len > NGX_MAPI_MAILBOX_CONTEXT_MAX) {
        return NGX_DECLINED;
    }

    src = *value;

    plain.data = ngx_pnalloc(pool, ngx_base64_decoded_length(src.len) + 1);
    if (plain.data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_decode_base64(&plain, &src) != NGX_OK
        || plain.len < NGX_MAPI_MAILBOX_CONTEXT_HEAD + 8
        || ngx_memcmp(plain.data, ngx_mapi_mailbox_context_head,
                      NGX_MAPI_MAILBOX_CONTEXT_HEAD)
           != 0)
    {
        return NGX_DECLINED;
    }

    last = plain.data + plain.len - 8;

    c->id = 0;

    for (i = 0; i < 8; i++) {
        c->id |= (uint64_t) last[i] << (8 * i);
    }

    key = 0xa5;
    hash = NULL;

    for (p = plain.data + NGX_MAPI_MAILBOX_CONTEXT_HEAD; p < last; p++) {
        ch = *p;
        *p = (u_char) (ch ^ key);
        key = ch;

        if (*p < 0x20 || *p > 0x7e) {
            return NGX_DECLINED;
        }

        if (*p == '#' && hash == NULL) {
            hash = p;
        }
    }

    if (hash == NULL) {
        return NGX_DECLINED;
    }

    c->machine.data = plain.data + NGX_MAPI_MAILBOX_CONTEXT_HEAD;
    c->machine.len = hash - c->machine.data;

    c->instance.data = hash + 1;
    c->instance.len = last - c->instance.data;

    return NGX_OK;
}


size_t
ngx_mapi_mailbox_sequence_write(u_char *buf, ngx_uint_t counter,
    uint32_t random)
{
    u_char     *p;
    u_char      number[4];
    ngx_str_t   src, dst;

    number[0] = (u_char) random;
    number[1] = (u_char) (random >> 8);
    number[2] = (u_char) (random >> 16);
    number[3] = (u_char) (random >> 24);

    p = ngx_sprintf(buf, "%ui-", counter);

    src.len = 4;
    src.data = number;
    dst.data = p;

    ngx_encode_base64(&dst, &src);

    return p + dst.len - buf;
}


void
ngx_mapi_mailbox_cookie_find(ngx_http_request_t *r, const ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_str_null(value);

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("Cookie") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "Cookie",
                               sizeof("Cookie") - 1)
               == 0
            && ngx_mapi_mailbox_cookie_line(&h[i].value, name, value)
               == NGX_OK)
        {
            return;
        }
    }
}


static ngx_int_t
ngx_mapi_mailbox_cookie_line(const ngx_str_t *line, const ngx_str_t *name,
    ngx_str_t *value)
{
    u_char  *p, *last, *start, *end;

    p = line->data;
    last = line->data + line->len;

    while (p < last) {

        while (p < last && (*p == ' ' || *p == ';')) {
            p++;
        }

        start = p;

        while (p < last && *p != ';') {
            p++;
        }

        end = p;

        while (end > start && end[-1] == ' ') {
            end--;
        }

        if ((size_t) (end - start) > name->len
            && start[name->len] == '='
            && ngx_memcmp(start, name->data, name->len) == 0)
        {
            value->data = start + name->len + 1;
            value->len = end - value->data;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}
