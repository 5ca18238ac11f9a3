
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_log.h"


typedef struct {
    ngx_int_t    status;
    mapi_str_t   name;
} ngx_mapi_log_status_t;


static ngx_int_t ngx_mapi_log_relayed(ngx_http_request_t *r,
    ngx_mapi_watch_t *watch, mapi_log_row_t *row);
static ngx_int_t ngx_mapi_log_headers(ngx_list_part_t *part,
    mapi_log_row_t *row);
static void ngx_mapi_log_failure(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row);
static void ngx_mapi_log_code(ngx_mapi_ctx_t *ctx, mapi_log_row_t *row,
    ngx_mapi_log_text_t *text, ngx_int_t code);


/* words of System.Net.HttpStatusCode, where Exchange has none of its own */

static ngx_mapi_log_status_t  ngx_mapi_log_statuses[] = {
    { NGX_HTTP_BAD_REQUEST, mapi_string("BadRequest") },
    { NGX_HTTP_FORBIDDEN, mapi_string("Forbidden") },
    { NGX_HTTP_NOT_ALLOWED, mapi_string("MethodNotAllowed") },
    { NGX_HTTP_REQUEST_TIME_OUT, mapi_string("RequestTimeout") },
    { NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
      mapi_string("RequestEntityTooLarge") },
    { NGX_HTTP_TOO_MANY_REQUESTS, mapi_string("TooManyRequests") },
    { NGX_HTTP_INTERNAL_SERVER_ERROR, mapi_string("InternalServerError") },
    { NGX_HTTP_BAD_GATEWAY, mapi_string("BadGateway") },
    { NGX_HTTP_SERVICE_UNAVAILABLE, mapi_string("ServiceUnavailable") },
    { NGX_HTTP_GATEWAY_TIME_OUT, mapi_string("GatewayTimeout") },
    { 0, { 0, NULL } }
};


/* of ngx_mapi_end_e: System.Net.WebExceptionStatus, and which side it was */

static mapi_str_t  ngx_mapi_log_words[] = {
    { 0, NULL },
    mapi_string("ConnectFailure"),
    mapi_string("ConnectFailure"),
    mapi_string("ConnectFailure"),
    mapi_string("Timeout"),
    mapi_string("ConnectionClosed"),
    mapi_string("ReceiveFailure"),
    mapi_string("ServerProtocolViolation"),
    { 0, NULL },
    mapi_string("RequestCanceled")
};


static mapi_str_t  ngx_mapi_log_sides[] = {
    { 0, NULL },
    mapi_string("Server (refused)"),
    mapi_string("Proxy (no connection in time)"),
    mapi_string("Proxy (cannot connect)"),
    mapi_string("Proxy (no answer in time)"),
    mapi_string("Server"),
    mapi_string("Server (reset)"),
    mapi_string("Proxy (no HTTP answer)"),
    mapi_string("Client"),
    mapi_string("Proxy (shutdown)")
};


/* without a status line it is HTTP/0.9 */

ngx_uint_t
ngx_mapi_log_server_status(ngx_http_upstream_t *u)
{
    if (u->state == NULL || u->state->header_time == (ngx_msec_t) -1) {
        return 0;
    }

    return u->headers_in.status_n ? u->headers_in.status_n
                                  : u->state->status;
}


ngx_int_t
ngx_mapi_log_answer(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row, ngx_mapi_log_text_t *text)
{
    ngx_int_t  code, seen;

    seen = ngx_mapi_log_relayed(r, ctx->watch, row);
    code = seen;

    ngx_mapi_log_failure(r, ctx, row);

    /* an answer that went no further: see direct mode */

    if (ctx->cas_error) {
        row->error_code.data = (u_char *) ctx->cas_error;
        row->error_code.len = ngx_strlen(ctx->cas_error);

        if (row->backend_status == 0) {
            row->backend_status = ngx_mapi_watch_server(r, ctx->watch)
                                  ->headers_in.status_n;

            if (row->backend_status) {
                code = ngx_mapi_watch_code(r, ctx);
            }
        }
    }

    ngx_mapi_log_code(ctx, row, text, code);

    return seen;
}


/*
 * Returns what ngx_mapi_watch_code() would: the header is one of those that
 * are gone through here.
 */

static ngx_int_t
ngx_mapi_log_relayed(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    mapi_log_row_t *row)
{
    ngx_int_t             code;
    ngx_http_upstream_t  *u;

    u = ngx_mapi_watch_server(r, watch);

    if (watch->outstanding) {
        row->has_outstanding = 1;
        row->outstanding = watch->outstanding;
    }

    if (watch->fresh && row->times.connected >= 0) {
        ngx_mapi_log_view(&row->new_connection, &watch->peer);
    }

    row->backend_status = ngx_mapi_log_server_status(u);

    if (row->backend_status == 0) {
        if (watch->was_sent) {
            ngx_mapi_log_set(&row->proxy_state, "WaitForServerResponse");

        } else if (row->times.connected >= 0) {
            ngx_mapi_log_set(&row->proxy_state, "ProxyRequestData");

        } else {
            ngx_mapi_log_set(&row->proxy_state, "PrepareServerRequest");
        }

        /* the headers may be those of an attempt before */
        return NGX_MAPI_CODE_UNKNOWN;
    }

    ngx_mapi_log_set(&row->proxy_state, "ProxyResponseData");

    row->has_answer_bytes = 1;
    row->answer_bytes = watch->answer_bytes;
    row->has_answer_body = (watch->answer_bytes > 0);

    code = ngx_mapi_log_headers(&u->headers_in.headers.part, row);

    if (watch->stream.code >= 0) {
        return watch->stream.code;
    }

    return u == r->upstream ? code : -1;
}


/* what the row wants of an answer's headers; returns X-ResponseCode or -1 */

static ngx_int_t
ngx_mapi_log_headers(ngx_list_part_t *part, mapi_log_row_t *row)
{
    size_t            len;
    ngx_str_t        *code;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    code = NULL;

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            len = h[i].key.len;

            if (len == sizeof("request-id") - 1) {

                if (ngx_mapi_log_header_is(&h[i], "request-id")) {
                    ngx_mapi_log_pair(&row->info, "Srv.request-id",
                                      &h[i].value);
                }

            } else if (len == sizeof("X-ResponseCode") - 1) {

                if (code == NULL
                    && ngx_mapi_log_header_is(&h[i], "x-responsecode"))
                {
                    code = &h[i].value;
                }

            } else if (len > sizeof("X-Backend-Diag-") - 1) {

                if (ngx_mapi_log_header_is(&h[i], "x-calculatedbetarget")) {
                    ngx_mapi_log_pair(&row->info, "Srv.CalculatedBETarget",
                                      &h[i].value);

                } else if (row->backend_info.len == 0
                           && ngx_memcmp(h[i].lowcase_key, "x-backend-diag-",
                                         sizeof("X-Backend-Diag-") - 1)
                              == 0)
                {
                    ngx_mapi_log_view(&row->backend_info, &h[i].value);
                }
            }
        }
    }

    return code ? ngx_atoi(code->data, code->len) : -1;
}


/*
 * From moments of one clock to milliseconds after the beginning.  A request
 * that was not watched has only its beginning and its end.
 */

void
ngx_mapi_log_times(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    mapi_log_times_t *times)
{
    ngx_msec_t                  base;
    ngx_http_upstream_t        *u;
    ngx_http_upstream_state_t  *state;

    times->identified = -1;
    times->selected = -1;
    times->body = -1;
    times->connected = -1;
    times->sent = -1;
    times->answered = -1;
    times->relayed = -1;

    if (watch == NULL) {
        times->end = ngx_mapi_watch_elapsed(r);
        return;
    }

    base = watch->began - watch->waited;

    times->identified = watch->waited;
    times->selected = watch->waited;
    times->end = ngx_current_msec - base;

    u = ngx_mapi_watch_server(r, watch);
    state = u ? u->state : NULL;

    if (!watch->passed_on) {

        /* only observed: another block's layers do not tell us */

        if (state && state->response_time != (ngx_msec_t) -1) {
            times->body = times->end - (int64_t) state->response_time;
            watch->attempt = base + times->body;
            watch->tried = 1;
        }

    } else {
        times->body = watch->upstream - base;
    }

    if (state == NULL || !watch->tried) {
        return;
    }

    base = watch->attempt - base;

    if (state->connect_time != (ngx_msec_t) -1
        && watch->end != ngx_mapi_end_connect)
    {
        times->connected = base + state->connect_time;
    }

    if (watch->was_sent) {
        times->sent = watch->sent - watch->attempt + base;

    } else if (!watch->passed_on) {
        times->sent = times->connected;
    }

    if (state->header_time != (ngx_msec_t) -1) {
        times->answered = base + state->header_time;
        times->relayed = base + state->response_time;
    }
}


/*
 * Which side ended it.  An ordinary error that was only passed on has no
 * ErrorCode, as with Exchange.
 */

static void
ngx_mapi_log_failure(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row)
{
    mapi_str_t      word;
    ngx_mapi_end_e  end;

    end = ctx->watch->end;

    if (end == ngx_mapi_end_none) {
        end = ngx_mapi_watch_gone(r);
    }

    word = ngx_mapi_log_words[end];

    if (row->backend_status == 0) {
        row->backend_word = word;
        row->error_code = word;

        if (word.len == 0) {
            ngx_mapi_log_error_code(r, ctx, row);
        }
    }

    if (end == ngx_mapi_end_client) {
        ngx_mapi_log_set(&row->error_code, "ClientDisconnect");
        mapi_log_pair_add(&row->errors, "HttpException", &row->error_code);
    }

    if (word.len == 0 && row->backend_status >= NGX_HTTP_BAD_REQUEST) {
        ngx_mapi_log_set(&word, "ProtocolError");
    }

    mapi_log_pair_add(&row->errors, "WebExceptionStatus", &word);
    mapi_log_pair_add(&row->errors, "ClosedBy", &ngx_mapi_log_sides[end]);
}


/* what the server's answer says of the request itself */

static void
ngx_mapi_log_code(ngx_mapi_ctx_t *ctx, mapi_log_row_t *row,
    ngx_mapi_log_text_t *text, ngx_int_t code)
{
    mapi_str_t  value;

    if (row->backend_status >= NGX_HTTP_BAD_REQUEST) {
        value.data = text->status;
        value.len = ngx_sprintf(text->status, "%ud", row->backend_status)
                    - text->status;
        mapi_log_pair_add(&row->errors, "ResponseStatusCode", &value);
    }

    if (code <= 0) {
        return;
    }

    value.data = text->code;
    value.len = ngx_sprintf(text->code, "%i", code) - text->code;
    mapi_log_pair_add(&row->errors, "X-ResponseCode", &value);

    if (ctx->watch->stream.code >= 0) {
        ngx_mapi_log_set(&value, "Body");

    } else {
        ngx_mapi_log_set(&value, "Header");
    }

    mapi_log_pair_add(&row->errors, "X-ResponseCodeFrom", &value);
}


/* of an answer of our own, or of none */

void
ngx_mapi_log_error_code(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row)
{
    ngx_mapi_log_status_t  *s;

    /* nginx has 400 for a client that goes away in the middle of its body */

    if (!(ctx && ctx->refused)
        && (row->status == NGX_HTTP_BAD_REQUEST
            || row->status == NGX_HTTP_CLIENT_CLOSED_REQUEST
            || row->status == 0))
    {
        switch (ngx_mapi_watch_gone(r)) {

        case ngx_mapi_end_client:
            ngx_mapi_log_set(&row->error_code, "ClientDisconnect");
            return;

        case ngx_mapi_end_shutdown:
            row->error_code = ngx_mapi_log_words[ngx_mapi_end_shutdown];
            return;

        default:
            break;
        }
    }

    /* all places were taken when its turn came */

    if (ctx
        && row->kind == mapi_log_proxied
        && !ctx->observe
        && !ctx->watch->tried
        && row->status == NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        ngx_mapi_log_set(&row->error_code, "ServerNotFound");
        return;
    }

    if (ctx && ctx->refused) {

        switch (row->status) {

        case NGX_HTTP_NOT_FOUND:
            if (ctx->endpoint == mapi_endpoint_none) {
                ngx_mapi_log_set(&row->error_code, "EndpointNotFound");
                return;
            }

            /* fall through */

        case NGX_HTTP_BAD_REQUEST:
            ngx_mapi_log_set(&row->error_code,
                             "MailboxGuidWithDomainNotFound");
            return;

        case NGX_HTTP_SERVICE_UNAVAILABLE:
            ngx_mapi_log_set(&row->error_code, "ServerNotFound");
            return;
        }
    }

    for (s = ngx_mapi_log_statuses; s->status; s++) {
        if (s->status == (ngx_int_t) row->status) {
            row->error_code = s->name;
            return;
        }
    }
}
