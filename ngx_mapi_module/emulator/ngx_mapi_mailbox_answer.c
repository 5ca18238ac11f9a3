
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


static void ngx_mapi_mailbox_cleanup(void *data);
static ngx_int_t ngx_mapi_mailbox_watch(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_start_stream(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_start_wait(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_int_t ngx_mapi_mailbox_send(ngx_mapi_mailbox_ctx_t *ctx,
    u_char *data, size_t len, ngx_uint_t last);
static void ngx_mapi_mailbox_flush(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_mailbox_watch_writing(ngx_http_request_t *r);
static void ngx_mapi_mailbox_timer(ngx_event_t *ev);
static void ngx_mapi_mailbox_step(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_arm(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_finish(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_enqueue(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_poll(ngx_event_t *ev);
static void ngx_mapi_mailbox_poll_one(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_uint_t exiting);


void
ngx_mapi_mailbox_answer(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_uint_t           wait, late;
    ngx_msec_t           delay;
    ngx_http_request_t  *r;

    r = ctx->request;
    delay = ctx->server->delay;

    wait = (ctx->finish == ngx_mapi_mailbox_finish_protocol
            && ctx->code == NGX_MAPI_CODE_SUCCESS
            && ctx->type->flags & NGX_MAPI_TYPE_WAIT);

    late = (ctx->finish == ngx_mapi_mailbox_finish_protocol
            && (ctx->code == NGX_MAPI_CODE_SUCCESS || ctx->late)
            && delay > NGX_MAPI_MAILBOX_QUICK);

    if (!wait && delay == 0) {
        ngx_mapi_mailbox_finish(ctx);
        return;
    }

    if (ngx_mapi_mailbox_watch(ctx) != NGX_OK) {
        ngx_mapi_mailbox_session_end(ctx, 1);
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ctx->end = ngx_current_msec + (wait ? ctx->conf->wait : delay);
    ctx->next = ctx->end;

    if (wait || late) {
        ctx->next = ngx_current_msec + ctx->conf->pending;
        ctx->stream = 1;
        ngx_mapi_mailbox_start_stream(ctx);
        return;
    }

    ngx_mapi_mailbox_arm(ctx);
}


void
ngx_mapi_mailbox_hold(ngx_mapi_mailbox_ctx_t *ctx)
{
    ctx->silent = 1;

    if (ngx_mapi_mailbox_watch(ctx) != NGX_OK) {
        ngx_http_finalize_request(ctx->request,
                                  NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_mapi_mailbox_enqueue(ctx);
}


/*
 * From here on the request may end without us: what it holds is given back
 * by a cleanup, and a client that goes away is noticed.
 */
static ngx_int_t
ngx_mapi_mailbox_watch(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_cleanup_t  *cln;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_mapi_mailbox_cleanup;
    cln->data = ctx;

    ctx->timer.handler = ngx_mapi_mailbox_timer;
    ctx->timer.data = ctx;
    ctx->timer.log = c->log;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_mapi_mailbox_flush;

    /* an end of file that came with the request brings no event any more */

    if (c->read->ready && r->http_version < NGX_HTTP_VERSION_20) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    return NGX_OK;
}


static void
ngx_mapi_mailbox_cleanup(void *data)
{
    ngx_mapi_mailbox_ctx_t *ctx = data;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
        (void) ngx_atomic_fetch_add(&ctx->server->waiting, -1);
    }

    if (!ctx->done) {
        ctx->done = 1;
        (void) ngx_atomic_fetch_add(&ctx->server->aborted, 1);
    }

    ngx_mapi_mailbox_session_end(ctx, 1);
}


static void
ngx_mapi_mailbox_start_stream(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ngx_mapi_mailbox_protocol_headers(ctx, "application/mapi-http",
                                          NGX_MAPI_CODE_SUCCESS)
        != NGX_OK)
    {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_http_clear_content_length(r);

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    rc = ngx_mapi_mailbox_send(ctx, (u_char *) "PROCESSING\r\n",
                               sizeof("PROCESSING\r\n") - 1, 0);

    if (rc == NGX_ERROR || ngx_mapi_mailbox_watch_writing(r) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (ctx->type->flags & NGX_MAPI_TYPE_WAIT && ctx->code == 0) {
        ngx_mapi_mailbox_start_wait(ctx);
        return;
    }

    ngx_mapi_mailbox_arm(ctx);
}


/* first into the queue, then the look at the events: none is missed */
static void
ngx_mapi_mailbox_start_wait(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_mapi_mailbox_enqueue(ctx);

    switch (ngx_mapi_mailbox_session_events(ctx)) {

    case NGX_AGAIN:
        break;

    case NGX_OK:
        ctx->events = 1;

        /* fall through */

    default:
        ngx_mapi_mailbox_finish(ctx);
        return;
    }

    ngx_mapi_mailbox_arm(ctx);
}


static ngx_int_t
ngx_mapi_mailbox_send(ngx_mapi_mailbox_ctx_t *ctx, u_char *data, size_t len,
    ngx_uint_t last)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t         *out;
    ngx_http_request_t  *r;

    r = ctx->request;

    out = ngx_chain_get_free_buf(r->pool, &ctx->free);
    if (out == NULL) {
        return NGX_ERROR;
    }

    b = out->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->pos = data;
    b->last = data + len;
    b->start = b->pos;
    b->end = b->last;
    b->memory = 1;
    b->flush = 1;
    b->last_buf = last;
    b->tag = (ngx_buf_tag_t) &ngx_mapi_mailbox_module;

    out->next = NULL;

    rc = ngx_http_output_filter(r, out);

    ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &out,
                            (ngx_buf_tag_t) &ngx_mapi_mailbox_module);

    return rc;
}


/* the client reads again, or has not read for too long */
static void
ngx_mapi_mailbox_flush(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_chain_t             *out;
    ngx_event_t             *wev;
    ngx_connection_t        *c;
    ngx_mapi_mailbox_ctx_t  *ctx;

    c = r->connection;
    wev = c->write;
    ctx = ngx_http_get_module_ctx(r, ngx_mapi_mailbox_module);

    if (ctx == NULL || !r->header_sent) {
        return;
    }

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    rc = ngx_http_output_filter(r, NULL);

    out = NULL;
    ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &out,
                            (ngx_buf_tag_t) &ngx_mapi_mailbox_module);

    if (rc == NGX_ERROR || ngx_mapi_mailbox_watch_writing(r) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


/* what the client has not taken yet must go within send_timeout */
static ngx_int_t
ngx_mapi_mailbox_watch_writing(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    if (c->buffered) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        ngx_add_timer(wev, clcf->send_timeout);

        return ngx_handle_write_event(wev, clcf->send_lowat);
    }

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    return NGX_OK;
}


static void
ngx_mapi_mailbox_timer(ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_mapi_mailbox_ctx_t  *ctx;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_mapi_mailbox_step(ctx);

    ngx_http_run_posted_requests(c);
}


static void
ngx_mapi_mailbox_step(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_msec_t           now;
    ngx_http_request_t  *r;

    r = ctx->request;
    now = ngx_current_msec;

    if ((ngx_msec_int_t) (now - ctx->end) >= 0) {
        ngx_mapi_mailbox_finish(ctx);
        return;
    }

    if (ctx->stream && (ngx_msec_int_t) (now - ctx->next) >= 0) {

        ctx->next = now + ctx->conf->pending;

        ngx_mapi_mailbox_session_touch(ctx);

        /* a client that does not read is not sent more and more */

        if (ctx->busy == NULL && !r->connection->buffered) {

            if (ngx_mapi_mailbox_send(ctx, (u_char *) "PENDING\r\n",
                                      sizeof("PENDING\r\n") - 1, 0)
                == NGX_ERROR
                || ngx_mapi_mailbox_watch_writing(r) != NGX_OK)
            {
                ngx_http_finalize_request(r, NGX_ERROR);
                return;
            }
        }
    }

    ngx_mapi_mailbox_arm(ctx);
}


/* not cancelable: the timer ends with the request */
static void
ngx_mapi_mailbox_arm(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_msec_t      until;
    ngx_msec_int_t  timer;

    until = ctx->end;

    if (ctx->stream && (ngx_msec_int_t) (ctx->next - until) < 0) {
        until = ctx->next;
    }

    timer = (ngx_msec_int_t) (until - ngx_current_msec);

    ngx_add_timer(&ctx->timer, (ngx_msec_t) ngx_max(timer, 1));
}


/* the end: the context is free before the client can know of it */
static void
ngx_mapi_mailbox_finish(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_str_t            text;
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->done = 1;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    ngx_mapi_mailbox_session_end(ctx, 0);

    if (!ctx->stream) {
        ngx_http_finalize_request(r, ctx->finish(ctx));
        return;
    }

    rc = ngx_mapi_mailbox_done(ctx, &text);

    if (rc == NGX_OK) {
        rc = ngx_mapi_mailbox_send(ctx, text.data, text.len, 1);
    }

    ngx_http_finalize_request(r, rc);
}


/*
 * Hanging requests of this worker.  One timer looks for events while there
 * are any; it is not cancelable, for it also ends them when the worker exits.
 */
static void
ngx_mapi_mailbox_enqueue(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_mapi_mailbox_zone_t  *zone;

    zone = ctx->zone;

    if (ngx_queue_empty(&zone->waits)) {
        zone->seen = zone->sh->events;
    }

    ngx_queue_insert_tail(&zone->waits, &ctx->queue);
    ctx->waiting = 1;

    (void) ngx_atomic_fetch_add(&ctx->server->waiting, 1);

    if (!zone->poll.timer_set) {
        zone->poll.handler = ngx_mapi_mailbox_poll;
        zone->poll.data = zone;
        zone->poll.log = ngx_cycle->log;

        ngx_add_timer(&zone->poll, NGX_MAPI_MAILBOX_POLL);
    }
}


static void
ngx_mapi_mailbox_poll(ngx_event_t *ev)
{
    ngx_queue_t               todo, *q;
    ngx_uint_t                exiting;
    ngx_atomic_uint_t         events;
    ngx_mapi_mailbox_ctx_t   *ctx;
    ngx_mapi_mailbox_zone_t  *zone;

    zone = ev->data;

    events = zone->sh->events;
    exiting = (ngx_exiting || ngx_terminate || ngx_quit);

    if ((events != zone->seen || exiting) && !ngx_queue_empty(&zone->waits)) {

        zone->seen = events;

        /* ending one may end others: only the first of a list is safe */

        ngx_queue_init(&todo);
        ngx_queue_add(&todo, &zone->waits);
        ngx_queue_init(&zone->waits);

        while (!ngx_queue_empty(&todo)) {
            q = ngx_queue_head(&todo);

            ngx_queue_remove(q);
            ngx_queue_insert_tail(&zone->waits, q);

            ctx = ngx_queue_data(q, ngx_mapi_mailbox_ctx_t, queue);

            ngx_mapi_mailbox_poll_one(ctx, exiting);
        }
    }

    if (!ngx_queue_empty(&zone->waits) && !zone->poll.timer_set) {
        ngx_add_timer(&zone->poll, NGX_MAPI_MAILBOX_POLL);
    }
}


static void
ngx_mapi_mailbox_poll_one(ngx_mapi_mailbox_ctx_t *ctx, ngx_uint_t exiting)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    if (ctx->done) {
        return;
    }

    if (ctx->silent) {

        if (!exiting) {
            return;
        }

        ctx->done = 1;

        ngx_http_set_log_request(c->log, r);
        ngx_http_finalize_request(r, NGX_HTTP_CLOSE);
        ngx_http_run_posted_requests(c);
        return;
    }

    rc = ngx_mapi_mailbox_session_events(ctx);

    if (rc == NGX_AGAIN && !exiting) {
        return;
    }

    ctx->events = (rc == NGX_OK);

    ngx_http_set_log_request(c->log, r);
    ngx_mapi_mailbox_finish(ctx);
    ngx_http_run_posted_requests(c);
}
