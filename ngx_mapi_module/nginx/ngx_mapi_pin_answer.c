
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"


/*
 * What the client has to know of its pins: that a logon is gone, that its
 * server drains, that HTTP/2 cannot carry such a logon.
 */

static ngx_int_t ngx_mapi_pin_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_pin_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static void ngx_mapi_pin_answer_lost(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd);
static void ngx_mapi_pin_answer_drain(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd);
static void ngx_mapi_pin_answer_early(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd);
static ngx_int_t ngx_mapi_pin_answer_http2(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_pin_strip(ngx_http_request_t *r,
    ngx_list_t *headers, ngx_uint_t *removed, ngx_uint_t *left);
static ngx_int_t ngx_mapi_pin_misdirect(ngx_http_request_t *r);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


static ngx_str_t  ngx_mapi_pin_text = ngx_string(
    "This server authenticates connections (NTLM, Negotiate), which HTTP/2 "
    "cannot do: use HTTP/1.1.\n");


ngx_int_t
ngx_mapi_pin_answer_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_mapi_pin_header_filter;

    /* a body of our own is for HTTP/2 alone */

    if (ngx_mapi_pin_has_http2(cf, NULL)) {
        ngx_http_next_body_filter = ngx_http_top_body_filter;
        ngx_http_top_body_filter = ngx_mapi_pin_body_filter;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_header_filter(ngx_http_request_t *r)
{
    ngx_mapi_pin_data_t  *pd;

    if (r->http_version >= NGX_HTTP_VERSION_20) {

        if (ngx_mapi_pin_answer_http2(r) != NGX_OK) {
            return NGX_ERROR;
        }

        return ngx_http_next_header_filter(r);
    }

    pd = (r == r->main) ? ngx_mapi_pin_data(r) : NULL;

    if (pd && pd->eligible) {
        ngx_mapi_pin_answer_lost(r, pd);
        ngx_mapi_pin_answer_drain(r, pd);
        ngx_mapi_pin_answer_early(r, pd);
    }

    return ngx_http_next_header_filter(r);
}


/*
 * A client whose logon has gone with an idle connection thinks that it is
 * logged on, and that a 401 means "not you".  A connection that closes tells
 * it to begin anew; but not if another logon would go with it.
 */

static void
ngx_mapi_pin_answer_lost(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd)
{
    ngx_mapi_pin_client_t  *client;

    if (!pd->plain || pd->pin) {
        return;
    }

    client = ngx_mapi_pin_client(r->connection);

    if (client == NULL || client->lost != pd->upstream) {
        return;
    }

    if (r->headers_out.status == NGX_HTTP_UNAUTHORIZED
        && !ngx_mapi_pin_is_logged_on(client))
    {
        r->keepalive = 0;
    }

    client->lost = NULL;
}


static void
ngx_mapi_pin_answer_drain(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd)
{
    ngx_mapi_server_t  *servers;

    if (pd->pin == NULL || pd->ctx == NULL || pd->ctx->server < 0) {
        return;
    }

    servers = pd->ctx->mscf->servers.elts;

    if (ngx_mapi_server_state(&servers[pd->ctx->server])
        == mapi_server_draining
        && r->headers_out.status != NGX_HTTP_UNAUTHORIZED)
    {
        r->keepalive = 0;
    }
}


/*
 * The server has answered before it had all of the body, and so the connection
 * cannot be kept: a token of it would lead nowhere.
 */

static void
ngx_mapi_pin_answer_early(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd)
{
    ngx_uint_t  token;

    if (!r->upstream->request_body_sent) {
        (void) ngx_mapi_pin_answer_taints(r->upstream, &token);

        if (token) {
            r->keepalive = 0;
        }
    }
}


/*
 * Such challenges go; a 401 that has no other one left is of no use.  nginx may
 * answer for the server (error_page, auth_request) and then takes challenges
 * from the server's own list: they are taken out there, too.
 */

static ngx_int_t
ngx_mapi_pin_answer_http2(ngx_http_request_t *r)
{
    ngx_uint_t            removed, left;
    ngx_mapi_pin_data_t  *pd;

    pd = ngx_mapi_pin_layer(r);

    if (pd == NULL || !pd->pins) {
        return NGX_OK;
    }

    /* what the layer must know is seen before it is gone */

    pd->tainted |= ngx_mapi_pin_answer_taints(r->upstream, &left);

    removed = 0;
    left = 0;

    if (ngx_mapi_pin_strip(r, &r->upstream->headers_in.headers, &removed,
                           &left)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    removed = 0;
    left = 0;

    if (ngx_mapi_pin_strip(r, &r->headers_out.headers, &removed, &left)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (r == r->main && r->headers_out.status == NGX_HTTP_UNAUTHORIZED
        && removed && !left)
    {
        return ngx_mapi_pin_misdirect(r);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_strip(ngx_http_request_t *r, ngx_list_t *headers,
    ngx_uint_t *removed, ngx_uint_t *left)
{
    u_char           *p;
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &headers->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].hash == 0
                || h[i].key.len != sizeof("WWW-Authenticate") - 1
                || ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "WWW-Authenticate",
                                   sizeof("WWW-Authenticate") - 1)
                   != 0)
            {
                continue;
            }

            p = ngx_pnalloc(r->pool, h[i].value.len + 1);
            if (p == NULL) {
                return NGX_ERROR;
            }

            len = mapi_auth_strip_challenges(p, h[i].value.data,
                                             h[i].value.len);

            *removed |= (len != h[i].value.len);
            *left |= (len != 0);

            if (len == 0) {
                h[i].hash = 0;
            }

            h[i].value.data = p;
            h[i].value.len = len;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_misdirect(ngx_http_request_t *r)
{
    ngx_uint_t  *sent;

    sent = ngx_pcalloc(r->pool, sizeof(ngx_uint_t));
    if (sent == NULL) {
        return NGX_ERROR;
    }

    ngx_http_set_ctx(r, sent, ngx_mapi_module);

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    if (r->headers_out.content_encoding) {
        r->headers_out.content_encoding->hash = 0;
        r->headers_out.content_encoding = NULL;
    }

    r->headers_out.status = NGX_HTTP_MISDIRECTED_REQUEST;
    r->headers_out.status_line.len = 0;
    r->headers_out.content_length_n = ngx_mapi_pin_text.len;
    ngx_str_set(&r->headers_out.content_type, "text/plain");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    ngx_str_null(&r->headers_out.charset);

    return NGX_OK;
}


/* the server's own words make room for ours */

static ngx_int_t
ngx_mapi_pin_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t    *b;
    ngx_uint_t    last, *sent;
    ngx_chain_t   out, *cl;

    sent = ngx_http_get_module_ctx(r, ngx_mapi_module);

    if (sent == NULL || *sent) {
        return ngx_http_next_body_filter(r, in);
    }

    last = 0;

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
        last |= cl->buf->last_buf;
    }

    if (!last) {
        return NGX_OK;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = ngx_mapi_pin_text.data;
    b->last = b->pos + ngx_mapi_pin_text.len;
    b->memory = 1;
    b->last_buf = 1;

    out.buf = b;
    out.next = NULL;

    *sent = 1;

    return ngx_http_next_body_filter(r, &out);
}
