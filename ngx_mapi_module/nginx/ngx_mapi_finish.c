
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * The end of a chunked answer leaves together with the answer's last bytes.
 *
 * nginx writes it, "0" and an empty line, once it has let the server go: the
 * last bytes have been written by then, so the end takes a system call, a
 * packet and a TLS record of its own, an eighth of what a request costs.
 */

static ngx_int_t ngx_mapi_finish_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_mapi_finish_again(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_chain_t *in);


static ngx_http_output_body_filter_pt  ngx_http_next_body_filter;


void
ngx_mapi_finish_init(void)
{
    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_mapi_finish_body_filter;
}


/*
 * The upstream's length is 0 once the server's own end has been read: what it
 * hands out now are its last bytes, and nginx's end comes after them.  Trailers
 * stand between the two, and may tell what is not known yet.
 */

static ngx_int_t
ngx_mapi_finish_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_chain_t          *cl, *last;
    ngx_mapi_ctx_t       *ctx;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (in == NULL
        || !r->chunked
        || u == NULL
        || u->length != 0
        || u->buffering
        || u->conf->pass_trailers
        || r->expect_trailers
        || r != r->main)
    {
        return ngx_http_next_body_filter(r, in);
    }

    ctx = ngx_mapi_get_ctx(r);

    if (ctx == NULL || ctx->observe) {
        return ngx_http_next_body_filter(r, in);
    }

    if (ctx->finished) {
        return ngx_mapi_finish_again(r, ctx, in);
    }

    /*
     * Filters in front may pass on copies, and not all at once (the copy
     * filter, if charset wants to write into them): the last is none of them.
     * Once nginx has let the server go there is nothing, and this is its end.
     */

    for (cl = u->out_bufs; cl && cl->next; cl = cl->next) { /* void */ }
    for (last = in; last->next; last = last->next) { /* void */ }

    if (cl && cl->buf == last->buf) {
        last->buf->last_buf = 1;
        ctx->finished = 1;
    }

    return ngx_http_next_body_filter(r, in);
}


/*
 * The client has been told the end, or will be: nothing may follow it, neither
 * nginx's own end nor what a server says behind its end while the client is
 * slow.  Other modules (addition) take our end for theirs and send one later.
 */

static ngx_int_t
ngx_mapi_finish_again(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_chain_t          *cl;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (ngx_buf_special(in->buf)) {

        if (u->cleanup || ctx->ended || !in->buf->last_buf) {
            return ngx_http_next_body_filter(r, in);
        }

        ctx->ended = 1;
    }

    for (cl = in; cl; cl = cl->next) {

        if (ngx_buf_size(cl->buf)) {
            cl->buf->pos = cl->buf->last;
            u->keepalive = 0;
            u->headers_in.connection_close = 1;
        }
    }

    return r->connection->buffered ? NGX_AGAIN : NGX_OK;
}
