
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


static ngx_int_t ngx_mapi_identify_line(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_query_t *query, u_char *text);
static ngx_int_t ngx_mapi_identify_mailbox(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_query_t *query, u_char *text);
static ngx_int_t ngx_mapi_identify_caller(ngx_mapi_ctx_t *ctx, u_char *text);
static ngx_int_t ngx_mapi_apply_rules(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, u_char *text);
static ngx_int_t ngx_mapi_keep_identity(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);


/*
 * Who is the request for?  The raw request line is read, not r->uri and
 * r->args: nginx merges slashes and decodes, the server gets what the client
 * wrote, and both must be the same mailbox.
 */

ngx_int_t
ngx_mapi_identify(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    u_char        text[2 * MAPI_IDENTITY_MAX];
    ngx_int_t     rc;
    mapi_query_t  query;

    /* before anything is refused: an error_page may lead on to a server */

    ngx_mapi_read_auth(r, &ctx->auth);

    /* the text of the identity stays on the stack until it is all known */

    rc = ngx_mapi_identify_line(r, ctx, &query, text);

    if (rc != NGX_OK) {
        ngx_mapi_read_echo(r, ctx);
        return rc;
    }

    ngx_mapi_locate_warm(r, ctx);

    if (ctx->show > ngx_mapi_show_page
        && ngx_mapi_debug_note(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_mapi_read_headers(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_mapi_locate_warm_again(r, ctx);
    ngx_mapi_affinity_warm_again(r, ctx);

    if (ctx->endpoint == mapi_endpoint_health) {
        return NGX_OK;
    }

    return ngx_mapi_identify_mailbox(r, ctx, &query, text);
}


/* method, path and query: NGX_OK, or the status to refuse with */

static ngx_int_t
ngx_mapi_identify_line(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_query_t *query, u_char *text)
{
    u_char      *p, *last;
    ngx_uint_t   methods;

    ngx_memzero(query, sizeof(mapi_query_t));

    p = r->unparsed_uri.data;
    last = p + r->unparsed_uri.len;
    p = ngx_strlchr(p, last, '?');

    if (p == NULL) {
        p = last;
    }

    ctx->endpoint = mapi_request_endpoint(r->unparsed_uri.data,
                                          p - r->unparsed_uri.data);

    if (ctx->endpoint == mapi_endpoint_none) {
        return NGX_HTTP_NOT_FOUND;
    }

    methods = NGX_HTTP_GET|NGX_HTTP_HEAD;

    if (ctx->endpoint != mapi_endpoint_health) {
        methods |= NGX_HTTP_POST;
    }

    if (!(r->method & methods)) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (ctx->endpoint != mapi_endpoint_health && p < last) {
        p++;

        if (mapi_request_query(query, p, last - p, text) == MAPI_ERROR) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "mapi: client sent a malformed MailboxId or "
                          "smtpAddress, or one of them twice");
            return NGX_HTTP_BAD_REQUEST;
        }
    }

    ctx->identity = query->identity;
    ctx->rewritten = 0;
    ctx->source = (query->identity.kind == mapi_identity_guid)
                  ? ngx_mapi_source_mailbox_id
                  : (query->identity.kind == mapi_identity_smtp)
                    ? ngx_mapi_source_smtp_address : ngx_mapi_source_none;

    return NGX_OK;
}


void
ngx_mapi_read_auth(ngx_http_request_t *r, mapi_auth_t *auth)
{
    ngx_table_elt_t  *h;

    /* nginx refuses a second Authorization line: there is only this one */

    h = r->headers_in.authorization;

    if (h == NULL) {
        ngx_memzero(auth, sizeof(mapi_auth_t));
        return;
    }

    mapi_auth_parse(auth, h->value.data, h->value.len);
}


static ngx_int_t
ngx_mapi_identify_mailbox(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_query_t *query, u_char *text)
{
    if (query->identity.kind == mapi_identity_none) {

        if (r->method == NGX_HTTP_POST && !query->caller) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "mapi: client sent a POST that names no mailbox");
            return NGX_HTTP_BAD_REQUEST;
        }

        if (ngx_mapi_identify_caller(ctx, text) != NGX_OK) {
            ngx_memzero(&ctx->identity, sizeof(mapi_identity_t));
            ctx->source = ngx_mapi_source_none;
            return NGX_OK;
        }
    }

    if (ngx_mapi_apply_rules(r, ctx, text) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_mapi_keep_identity(r, ctx);
}


static ngx_int_t
ngx_mapi_keep_identity(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    u_char           *p;
    mapi_identity_t  *id;

    id = &ctx->identity;

    p = ngx_pnalloc(r->pool, id->text.len + id->domain.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, id->text.data, id->text.len);
    id->text.data = p;

    if (id->domain.len) {
        p += id->text.len;
        ngx_memcpy(p, id->domain.data, id->domain.len);
        id->domain.data = p;
    }

    return NGX_OK;
}


/*
 * The caller's own mailbox.  The name is only claimed: it chooses a server,
 * which then asks for the proof.  NGX_DECLINED if no name can be read, as
 * with Kerberos.
 */

static ngx_int_t
ngx_mapi_identify_caller(ngx_mapi_ctx_t *ctx, u_char *text)
{
    mapi_str_t  user;

    if (ctx->anchor_header.len
        && mapi_identity_parse_anchor(&ctx->identity, ctx->anchor_header.data,
                                      ctx->anchor_header.len, text)
           == MAPI_OK)
    {
        ctx->source = ngx_mapi_source_anchor;
        return NGX_OK;
    }

    if (ctx->auth.scheme == mapi_auth_basic) {
        ctx->source = ngx_mapi_source_basic;

    } else {
        ctx->source = ngx_mapi_source_ntlm;
    }

    if (mapi_auth_user(&ctx->auth, text, MAPI_IDENTITY_MAX, &user) != MAPI_OK
        || mapi_identity_parse_user(&ctx->identity, user.data, user.len,
                                    text + MAPI_IDENTITY_MAX)
           != MAPI_OK)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* mapi_identity_rule: the first rule that matches rewrites, then it is over */

static ngx_int_t
ngx_mapi_apply_rules(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx, u_char *text)
{
    int              *captures;
    u_char           *captures_data;
    ngx_int_t         rc;
    ngx_str_t         name, value;
    ngx_uint_t        i, ncaptures;
    mapi_identity_t   id;
    ngx_mapi_rule_t  *rule;

    if (ctx->mlcf->rules == NULL
        || ctx->identity.kind == mapi_identity_none
        || ctx->identity.kind == mapi_identity_guid)
    {
        return NGX_OK;
    }

    name.len = ctx->identity.text.len;
    name.data = ctx->identity.text.data;

    /* the captures of the location or of "rewrite" stay what they were */

    captures = r->captures;
    captures_data = r->captures_data;
    ncaptures = r->ncaptures;

    r->captures = NULL;
    r->ncaptures = 0;

    rc = NGX_OK;
    rule = ctx->mlcf->rules->elts;

    for (i = 0; i < ctx->mlcf->rules->nelts; i++) {

        rc = ngx_http_regex_exec(r, rule[i].regex, &name);

        if (rc == NGX_DECLINED) {
            rc = NGX_OK;
            continue;
        }

        if (rc == NGX_OK) {
            rc = ngx_http_complex_value(r, &rule[i].replacement, &value);
        }

        if (rc != NGX_OK) {
            rc = NGX_ERROR;
            break;
        }

        if (mapi_identity_parse_any(&id, value.data, value.len,
                                    text + MAPI_IDENTITY_MAX)
            != MAPI_OK)
        {
            ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                          "mapi: \"mapi_identity_rule\" made no identity of "
                          "\"%V\": \"%V\", it stays as it was",
                          &name, &value);
            break;
        }

        if (id.kind == mapi_identity_upn
            && ctx->identity.kind == mapi_identity_smtp)
        {
            id.kind = mapi_identity_smtp;
        }

        ctx->identity = id;
        ctx->rewritten = 1;
        break;
    }

    r->captures = captures;
    r->captures_data = captures_data;
    r->ncaptures = ncaptures;

    return rc;
}
