
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_log.h"


/*
 * A request's row of the HttpProxy log.  What is not known stays empty; which
 * columns those are is in docs/log.md.
 */

/* of a query that holds a token; longer ones are cut */
#define NGX_MAPI_LOG_QUERY_MAX  4096


static mapi_log_kind_e ngx_mapi_log_kind(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
static ngx_uint_t ngx_mapi_log_hidden(mapi_log_row_t *row);
static void ngx_mapi_log_client(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row);
static void ngx_mapi_log_query(ngx_http_request_t *r, mapi_log_row_t *row)
    __attribute__((noinline));
static void ngx_mapi_log_method(ngx_http_request_t *r, mapi_log_row_t *row);
static void ngx_mapi_log_identity(ngx_mapi_ctx_t *ctx, mapi_log_row_t *row,
    ngx_mapi_log_text_t *text);
static void ngx_mapi_log_user(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row, ngx_mapi_log_text_t *text);
static void ngx_mapi_log_route(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row);
static void ngx_mapi_log_cookie(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row);


/* the moment that the last row of this worker ended with */
static mapi_log_clock_t  ngx_mapi_log_clock = { -1, -1, "" };


ngx_int_t
ngx_mapi_log_request(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_log_folder_t *folder)
{
    u_char                  *p;
    int64_t                  now;
    ngx_int_t                code;
    ngx_time_t              *tp;
    mapi_log_row_t           row;
    ngx_mapi_log_text_t      text;

    if (ctx && ctx->endpoint == mapi_endpoint_health) {
        return NGX_MAPI_CODE_UNKNOWN;
    }

    code = NGX_MAPI_CODE_UNKNOWN;

    mapi_log_row_init(&row);

    row.clock = &ngx_mapi_log_clock;
    row.columns = folder->options.columns;
    row.version = folder->options.version;
    row.kind = ngx_mapi_log_kind(r, ctx);

    ngx_mapi_log_client(r, ctx, &row);

    if (ctx) {
        ngx_mapi_log_identity(ctx, &row, &text);
        ngx_mapi_log_user(r, ctx, &row, &text);
    }

    if (ngx_mapi_log_hidden(&row)) {
        return NGX_MAPI_CODE_UNKNOWN;
    }

    ngx_mapi_log_times(r, ctx ? ctx->watch : NULL, &row.times);

    if (row.kind != mapi_log_refused) {
        if (!ctx->watch->noted) {
            ngx_mapi_log_note(r, ctx->watch);
        }

        row.client = ctx->watch->client;

        ngx_mapi_log_route(r, ctx, &row);
        ngx_mapi_log_cookie(r, ctx, &row);
    }

    if (row.kind == mapi_log_proxied) {
        code = ngx_mapi_log_answer(r, ctx, &row, &text);

    } else {
        ngx_mapi_log_error_code(r, ctx, &row);
    }

    tp = ngx_timeofday();
    now = (int64_t) tp->sec * 1000 + tp->msec;

    row.times.begin = now - row.times.end;

    p = ngx_mapi_log_reserve(folder, now);

    if (p) {
        ngx_mapi_log_commit(folder, mapi_log_row_write(p, &row));
    }

    return code;
}


static mapi_log_kind_e
ngx_mapi_log_kind(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    if (ctx == NULL || ctx->watch == NULL) {
        return mapi_log_refused;
    }

    if (ctx->watch->passed_on
        || (ctx->observe && r->upstream && r->upstream->state))
    {
        return mapi_log_proxied;
    }

    /* by then it is known for whom it is, and that nobody can serve it */

    if (ctx->refused
        && r->headers_out.status == NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        return mapi_log_answered;
    }

    return mapi_log_refused;
}


/* the first answer to everybody who has not logged on yet is no event */

static ngx_uint_t
ngx_mapi_log_hidden(mapi_log_row_t *row)
{
    return row->status == NGX_HTTP_UNAUTHORIZED
           && row->auth_type.len == 0
           && row->user.len == 0;
}


/* what the client sent, and what it got */

static void
ngx_mapi_log_client(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row)
{
    u_char               *p, *last, *activity;
    ngx_table_elt_t      *h;
    ngx_mapi_loc_conf_t  *mlcf;

    mlcf = ctx ? ctx->mlcf : ngx_http_get_module_loc_conf(r, ngx_mapi_module);

    row->status = r->err_status ? r->err_status : r->headers_out.status;

    activity = ngx_mapi_activity_id(r, ctx);

    if (activity) {
        row->activity.data = activity;
        row->activity.len = MAPI_GUID_LEN;
    }

    ngx_mapi_log_view(&row->host, &r->headers_in.server);
    ngx_mapi_log_method(r, row);

    /* what the client says of itself, as Exchange shows it */

    h = ngx_mapi_forwarded_for(r);

    ngx_mapi_log_view(&row->client_address,
                      h ? &h->value : &r->connection->addr_text);

    if (r->headers_in.user_agent) {
        ngx_mapi_log_view(&row->user_agent, &r->headers_in.user_agent->value);
    }

    /* as it was written: "uri" is another one after an internal redirect */

    row->stem.data = r->unparsed_uri.data;
    row->stem.len = r->unparsed_uri.len;

    last = row->stem.data + row->stem.len;
    p = ngx_strlchr(row->stem.data, last, '?');

    if (p) {
        row->stem.len = p - row->stem.data;
        row->query.data = p + 1;
        row->query.len = last - p - 1;

        /* most have this one parameter and no other */

        if (row->query.len < sizeof("MailboxId=") - 1
            || ngx_memcmp(row->query.data, "MailboxId=",
                          sizeof("MailboxId=") - 1)
               != 0
            || memchr(row->query.data, '&', row->query.len))
        {
            ngx_mapi_log_query(r, row);
        }
    }

    row->has_request_body = (r->headers_in.content_length_n > 0);

    if (row->has_request_body) {
        row->request_bytes = r->headers_in.content_length_n;
    }

    ngx_mapi_log_view(&row->server_name, &mlcf->short_name);
}


/*
 * A token in it is not kept, only its name.  Never inline: no other row should
 * reach over this buffer for its place on the stack.
 */

static void
ngx_mapi_log_query(ngx_http_request_t *r, mapi_log_row_t *row)
{
    u_char     buf[NGX_MAPI_LOG_QUERY_MAX], *p;
    ngx_str_t  query;

    query.data = row->query.data;
    query.len = row->query.len;

    p = ngx_mapi_mask(buf, buf + sizeof(buf), &query);

    if (p == NULL) {
        return;
    }

    row->query.len = p - buf;
    row->query.data = ngx_pnalloc(r->pool, row->query.len);

    if (row->query.data == NULL) {
        row->query.len = 0;
        return;
    }

    ngx_memcpy(row->query.data, buf, row->query.len);
}


/* an error_page makes a GET of it; the line is what the client wrote */

static void
ngx_mapi_log_method(ngx_http_request_t *r, mapi_log_row_t *row)
{
    u_char     *p;
    ngx_str_t  *line;

    line = &r->request_line;
    p = ngx_strlchr(line->data, line->data + line->len, ' ');

    if (p) {
        row->method.data = line->data;
        row->method.len = p - line->data;

    } else {
        ngx_mapi_log_view(&row->method, &r->method_name);
    }

    row->is_mapi = (row->method.len == sizeof("POST") - 1
                    && ngx_memcmp(row->method.data, "POST", 4) == 0);
}


/* one walk: the first of each name counts, as for the servers */

void
ngx_mapi_log_note(ngx_http_request_t *r, ngx_mapi_watch_t *watch)
{
    ngx_uint_t          i;
    mapi_str_t         *value;
    ngx_list_part_t    *part;
    ngx_table_elt_t    *h;
    mapi_log_client_t  *client;

    client = &watch->client;
    watch->noted = 1;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            switch (h[i].key.len) {

            case sizeof("X-RequestId") - 1:
                value = ngx_mapi_log_header_is(&h[i], "x-requestid")
                        ? &client->request_id : NULL;
                break;

            case sizeof("X-ClientInfo") - 1:
                value = ngx_mapi_log_header_is(&h[i], "x-clientinfo")
                        ? &client->client_info : NULL;
                break;

            case sizeof("X-RequestType") - 1:
                value = ngx_mapi_log_header_is(&h[i], "x-requesttype")
                        ? &client->request_type : NULL;
                break;

            case sizeof("client-request-id") - 1:
                value = ngx_mapi_log_header_is(&h[i], "client-request-id")
                        ? &client->client_request_id : NULL;
                break;

            default:
                continue;
            }

            if (value && value->data == NULL) {
                ngx_mapi_log_view(value, &h[i].value);
            }
        }
    }
}


static void
ngx_mapi_log_identity(ngx_mapi_ctx_t *ctx, mapi_log_row_t *row,
    ngx_mapi_log_text_t *text)
{
    u_char           *p;
    ngx_str_t        *kind;
    mapi_identity_t  *id;

    id = &ctx->identity;

    kind = ngx_mapi_anchor_kind(id->kind);

    if (kind == NULL) {
        ngx_mapi_log_set(&row->hint, "WindowsIdentity");
        return;
    }

    if (id->kind == mapi_identity_guid) {
        row->organization = id->domain;
    }

    switch (ctx->source) {

    case ngx_mapi_source_mailbox_id:
        ngx_mapi_log_set(&row->hint, "MailboxGuidWithDomain");
        break;

    case ngx_mapi_source_smtp_address:
        ngx_mapi_log_set(&row->hint, "SMTP");
        break;

    case ngx_mapi_source_anchor:
        if (id->kind == mapi_identity_guid) {
            ngx_mapi_log_set(&row->hint, "AnchorMailboxHeader-MailboxGuid");

        } else {
            ngx_mapi_log_set(&row->hint, "AnchorMailboxHeader-SMTP");
        }

        break;

    default:
        ngx_mapi_log_set(&row->hint, "WindowsIdentity");
    }

    p = ngx_cpymem(text->anchor, kind->data, kind->len);
    p = ngx_cpymem(p, id->text.data, id->text.len);

    row->anchor.data = text->anchor;
    row->anchor.len = p - text->anchor;
}


/*
 * A name counts as somebody's once the server has answered something other
 * than 401 to it.  Before that it is a claim, and stays out.
 */

static void
ngx_mapi_log_user(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row, ngx_mapi_log_text_t *text)
{
    ngx_uint_t           status;
    mapi_auth_scheme_e   scheme;

    scheme = ctx->auth.scheme;

    if (scheme == mapi_auth_none && ctx->watch) {
        scheme = ctx->watch->scheme;
    }

    row->auth_type = *mapi_auth_name(scheme);

    status = (row->kind == mapi_log_proxied)
             ? ngx_mapi_log_server_status(ngx_mapi_watch_server(r, ctx->watch))
             : 0;

    if (status == 0
        || status == NGX_HTTP_UNAUTHORIZED
        || scheme == mapi_auth_none)
    {
        return;
    }

    if (ctx->auth.scheme == mapi_auth_none) {
        row->authenticated = 1;
        ngx_mapi_log_view(&row->user, &ctx->watch->user);
        return;
    }

    if (ctx->auth.token.len == 0 || mapi_auth_ntlm_type(&ctx->auth) == 1) {
        return;
    }

    row->authenticated = 1;

    (void) mapi_auth_user(&ctx->auth, text->user, sizeof(text->user),
                          &row->user);
}


/* where it went, and why */

static void
ngx_mapi_log_route(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row)
{
    ngx_int_t                   n;
    ngx_mapi_server_t          *servers;
    ngx_http_upstream_state_t  *state;

    servers = ctx->mscf->servers.elts;

    /* after the last candidate none is selected any more: the last one tried */

    n = ctx->server;

    if (n < 0 && ctx->watch->tried) {
        n = ctx->asked;
    }

    if (ctx->observe) {
        if (ctx->watch->peer.len) {
            ngx_mapi_log_view(&row->target, &ctx->watch->peer);

        } else if (!ctx->watch->passed_on) {

            /* the block's layers do not tell us */

            state = r->upstream ? r->upstream->state : NULL;

            if (state && state->peer) {
                ngx_mapi_log_view(&row->target, state->peer);
            }
        }

        if (n >= 0) {
            ngx_mapi_log_pair(&row->info, "WouldGoTo", &servers[n].name);
        }

    } else if (n >= 0) {
        ngx_mapi_log_view(&row->target, &servers[n].name);
        row->target_version = servers[n].version;
    }

    if (ctx->found) {
        row->has_database = 1;
        row->database = ctx->database_guid;
    }

    ngx_mapi_log_pair(&row->info, "Smtp", &ctx->watch->smtp);
    ngx_mapi_log_pair(&row->info, "Route", ngx_mapi_route_name(ctx->route));
    ngx_mapi_log_pair(&row->info, "RouteReason",
                      ngx_mapi_reason_name(ctx->reason));

    if (ctx->located) {
        ngx_mapi_log_pair(&row->info, "Database", &ctx->database);
    }
}


/* what the client's affinity cookie said of this mailbox when it came */

static void
ngx_mapi_log_cookie(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row)
{
    uint32_t            expires;
    ngx_int_t           n;
    ngx_mapi_server_t  *servers;

    n = ngx_mapi_affinity_look(r, ctx, &expires);

    if (n < 0) {
        return;
    }

    servers = ctx->mscf->servers.elts;

    ngx_mapi_log_view(&row->cookie_server, &servers[n].name);
    row->cookie_version = servers[n].version;
    row->cookie_expires = expires;
}
