
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_watch.h"


/*
 * The moments of a request and what its answer says of itself, without
 * holding or changing a byte of it.
 */

static ngx_uint_t ngx_mapi_watch_is_whole(ngx_http_request_t *r,
    ngx_connection_t *c);
static ngx_uint_t ngx_mapi_watch_is_mapi(ngx_str_t *type);
static ngx_int_t ngx_mapi_watch_output(void *data, ngx_chain_t *in);
static ngx_int_t ngx_mapi_watch_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);


static ngx_http_output_body_filter_pt  ngx_http_next_body_filter;


ngx_int_t
ngx_mapi_watch_init(ngx_conf_t *cf)
{
    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_mapi_watch_body_filter;

    return NGX_OK;
}


ngx_mapi_watch_t *
ngx_mapi_watch_create(ngx_http_request_t *r)
{
    ngx_mapi_watch_t  *watch;

    watch = ngx_pcalloc(r->pool, sizeof(ngx_mapi_watch_t));
    if (watch == NULL) {
        return NULL;
    }

    watch->began = ngx_current_msec;
    watch->waited = ngx_mapi_watch_elapsed(r);

    mapi_stream_init(&watch->stream);

    return watch;
}


/* its beginning is the only moment that nginx keeps by the clock on the wall */

ngx_msec_t
ngx_mapi_watch_elapsed(ngx_http_request_t *r)
{
    ngx_time_t      *tp;
    ngx_msec_int_t   ms;

    tp = ngx_timeofday();

    ms = (ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                           + (tp->msec - r->start_msec));

    return ngx_max(ms, 0);
}


ngx_mapi_watch_t *
ngx_mapi_watch_of(ngx_http_request_t *r)
{
    ngx_mapi_ctx_t  *ctx;

    ctx = (r == r->main) ? ngx_mapi_get_ctx(r) : NULL;

    if (ctx == NULL
        || ctx->refused
        || ctx->mlcf != ngx_http_get_module_loc_conf(r, ngx_mapi_module))
    {
        return NULL;
    }

    return ctx->watch;
}


ngx_http_upstream_t *
ngx_mapi_watch_server(ngx_http_request_t *r, ngx_mapi_watch_t *watch)
{
    return watch->passed_on ? watch->server : r->upstream;
}


void
ngx_mapi_watch_user(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    mapi_auth_scheme_e scheme, ngx_str_t *user)
{
    watch->scheme = scheme;
    watch->user.len = 0;

    if (user->len == 0) {
        return;
    }

    watch->user.data = ngx_pstrdup(r->pool, user);

    if (watch->user.data) {
        watch->user.len = user->len;
    }
}


void
ngx_mapi_watch_upstream(ngx_http_request_t *r, ngx_mapi_watch_t *watch)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    watch->upstream = ngx_current_msec;
    watch->request = r;
    watch->server = u;
    watch->passed_on = 1;
    watch->tried = 0;
    watch->was_sent = 0;
    watch->end = ngx_mapi_end_none;

    /* nginx keeps no moment at which the request had been written */

    watch->output_filter = u->output.output_filter;
    watch->output_ctx = u->output.filter_ctx;

    u->output.output_filter = ngx_mapi_watch_output;
    u->output.filter_ctx = watch;
}


static ngx_int_t
ngx_mapi_watch_output(void *data, ngx_chain_t *in)
{
    ngx_mapi_watch_t  *watch = data;

    ngx_int_t  rc;

    rc = watch->output_filter(watch->output_ctx, in);

    /* with "proxy_request_buffering off" it goes in pieces, as they come */

    if (rc == NGX_OK && !watch->request->reading_body) {
        watch->sent = ngx_current_msec;
        watch->was_sent = 1;
    }

    return rc;
}


void
ngx_mapi_watch_attempt(ngx_mapi_watch_t *watch, ngx_peer_connection_t *pc)
{
    watch->attempt = ngx_current_msec;
    watch->tried = 1;
    watch->was_sent = 0;
    watch->fresh = (pc->connection == NULL);
    watch->end = ngx_mapi_end_none;

    watch->peer.data = watch->address;
    watch->peer.len = ngx_min(pc->name->len, NGX_SOCKADDR_STRLEN);
    ngx_memcpy(watch->address, pc->name->data, watch->peer.len);
}


/* what the socket said is surer than what nginx made of it */

void
ngx_mapi_watch_end(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    ngx_uint_t state)
{
    ngx_connection_t     *c;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    c = u->peer.connection;

    if (c == NULL) {

        /* request_sent is still that of the attempt before */

        watch->end = (state & NGX_PEER_FAILED) ? ngx_mapi_end_connect
                                               : ngx_mapi_end_lack;
        return;
    }

    if (!u->request_sent) {

        if (c->write->timedout) {
            watch->end = ngx_mapi_end_connect_timeout;

        } else if (state & NGX_PEER_FAILED) {
            watch->end = ngx_mapi_end_connect;

        } else {
            watch->end = ngx_mapi_watch_gone(r);
        }

        return;
    }

    if (ngx_mapi_watch_is_whole(r, c)) {
        watch->end = ngx_mapi_end_none;

    } else if (c->read->timedout || c->write->timedout) {
        watch->end = ngx_mapi_end_timeout;

    } else if (c->read->eof) {
        watch->end = ngx_mapi_end_closed;

    } else if (c->read->error || c->write->error) {
        watch->end = ngx_mapi_end_reset;

    } else if (state & NGX_PEER_FAILED) {
        watch->end = ngx_mapi_end_garbage;

    } else {
        watch->end = ngx_mapi_watch_gone(r);
    }
}


ngx_mapi_end_e
ngx_mapi_watch_gone(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (!c->error && !c->timedout) {
        return ngx_mapi_end_none;
    }

#if (NGX_HTTP_V2)
    if (r->stream) {
        c = r->stream->connection->connection;
    }
#endif

    /* an idle one, which an ending worker closes as well, has no request */

    return (ngx_exiting && c->close) ? ngx_mapi_end_shutdown
                                     : ngx_mapi_end_client;
}


/* a buffered answer, of a request that was observed, counts in its pipe */

static ngx_uint_t
ngx_mapi_watch_is_whole(ngx_http_request_t *r, ngx_connection_t *c)
{
    off_t                 length;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u->state->header_time == (ngx_msec_t) -1) {
        return 0;
    }

    /* before the first byte of a body; HEAD and 304 have none */

    if (r->header_only) {
        return 1;
    }

    length = (u->buffering && u->pipe) ? u->pipe->length : u->length;

    return length == 0 || (length == -1 && c->read->eof);
}


/* a compressed body cannot be read along, one of another type is none */

void
ngx_mapi_watch_answer(ngx_http_request_t *r, ngx_mapi_watch_t *watch)
{
    watch->streaming = r->headers_out.status == NGX_HTTP_OK
                       && r->headers_out.content_encoding == NULL
                       && ngx_mapi_watch_is_mapi(&r->headers_out.content_type);
}


/* nearly always written like this */

static ngx_uint_t
ngx_mapi_watch_is_mapi(ngx_str_t *type)
{
    size_t  len;

    static u_char  mapi[] = "application/mapi-http";
    static u_char  octets[] = "application/octet-stream";

    /* of the other one as much as there is of the first */

    len = sizeof(mapi) - 1;

    return type->len >= len
           && (ngx_memcmp(type->data, mapi, len) == 0
               || ngx_memcmp(type->data, octets, len) == 0
               || ngx_strncasecmp(type->data, mapi, len) == 0
               || ngx_strncasecmp(type->data, octets, len) == 0);
}


static ngx_int_t
ngx_mapi_watch_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t         *b;
    ngx_chain_t       *cl;
    ngx_mapi_watch_t  *watch;

    watch = in ? ngx_mapi_watch_of(r) : NULL;

    if (watch == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    for (cl = in; cl; cl = cl->next) {
        b = cl->buf;

        watch->answer_bytes += ngx_buf_size(b);

        if (watch->streaming) {
            watch->streaming = ngx_buf_in_memory(b)
                ? (mapi_stream_read(&watch->stream, b->pos, b->last - b->pos)
                   == MAPI_OK)
                : ngx_buf_special(b);
        }
    }

    return ngx_http_next_body_filter(r, in);
}


ngx_int_t
ngx_mapi_watch_code(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_int_t   code;
    ngx_str_t  *value;

    if (ctx->watch && ctx->watch->stream.code >= 0) {
        return ctx->watch->stream.code;
    }

    if (ctx->watch && ngx_mapi_watch_server(r, ctx->watch) != r->upstream) {
        return -1;
    }

    value = ngx_mapi_answer_header(r, "X-ResponseCode");
    if (value == NULL) {
        return -1;
    }

    code = ngx_atoi(value->data, value->len);

    return code == NGX_ERROR ? -1 : code;
}
