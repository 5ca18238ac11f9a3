
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"

#include <ngx_md5.h>


typedef struct {
    ngx_str_t  name;
    size_t     offset;
} ngx_mapi_mailbox_field_t;


/* headers that the protocol reads; each may stand once */
static ngx_mapi_mailbox_field_t  ngx_mapi_mailbox_fields[] = {
    { ngx_string("X-RequestType"),
      offsetof(ngx_mapi_mailbox_ctx_t, request_type) },
    { ngx_string("X-RequestId"),
      offsetof(ngx_mapi_mailbox_ctx_t, request_id) },
    { ngx_string("X-ClientInfo"),
      offsetof(ngx_mapi_mailbox_ctx_t, client_info) },
    { ngx_string("X-ClientApplication"),
      offsetof(ngx_mapi_mailbox_ctx_t, client_application) },
    { ngx_string("Content-Type"),
      offsetof(ngx_mapi_mailbox_ctx_t, content_type) },
    { ngx_string("Accept"),
      offsetof(ngx_mapi_mailbox_ctx_t, accept) },
    { ngx_string("X-SourceCafeServer"),
      offsetof(ngx_mapi_mailbox_ctx_t, cafe) },
    { ngx_null_string, 0 }
};


static ngx_str_t  ngx_mapi_mailbox_cookie_context = ngx_string("MapiContext");
static ngx_str_t  ngx_mapi_mailbox_cookie_sequence =
    ngx_string("MapiSequence");


static ngx_mapi_mailbox_ctx_t *ngx_mapi_mailbox_create_ctx(
    ngx_http_request_t *r);
static ngx_int_t ngx_mapi_mailbox_refuse(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_uint_t status);
static ngx_int_t ngx_mapi_mailbox_authenticate(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_run(ngx_http_request_t *r);
static void ngx_mapi_mailbox_read_headers(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_int_t ngx_mapi_mailbox_read_query(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_int_t ngx_mapi_mailbox_bad_mailbox(ngx_mapi_mailbox_ctx_t *ctx);
static void ngx_mapi_mailbox_protocol(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_uint_t ngx_mapi_mailbox_check(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_uint_t ngx_mapi_mailbox_check_headers(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_uint_t ngx_mapi_mailbox_is_type(const ngx_str_t *value,
    const char *type);


ngx_int_t
ngx_mapi_mailbox_handler(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_mapi_mailbox_ctx_t  *ctx;

    ctx = ngx_mapi_mailbox_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->endpoint == mapi_endpoint_health) {
        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        (void) ngx_atomic_fetch_add(&ctx->server->health_checks, 1);

        if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
            return NGX_HTTP_NOT_ALLOWED;
        }

        r->main->count++;
        ngx_mapi_mailbox_health(ctx);
        return NGX_DONE;
    }

    if (ngx_mapi_mailbox_count(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->server->close) {
        return NGX_HTTP_CLOSE;
    }

    if (ctx->endpoint == mapi_endpoint_none) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (ctx->conf->basic) {
        rc = ngx_mapi_mailbox_authenticate(ctx);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (r->method == NGX_HTTP_POST) {
        r->request_body_in_single_buf = 1;

        rc = ngx_http_read_client_request_body(r, ngx_mapi_mailbox_run);

        return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_mapi_mailbox_refuse(ctx, NGX_HTTP_BAD_REQUEST);
    }

    r->main->count++;
    ngx_mapi_mailbox_run(r);

    return NGX_DONE;
}


static ngx_mapi_mailbox_ctx_t *
ngx_mapi_mailbox_create_ctx(ngx_http_request_t *r)
{
    u_char                       *p;
    size_t                        len;
    ngx_mapi_mailbox_ctx_t       *ctx;
    ngx_mapi_mailbox_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_mapi_mailbox_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_mapi_mailbox_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ctx->request = r;
    ctx->conf = mlcf->server;
    ctx->zone = mlcf->server->shm_zone->data;
    ctx->start = ngx_current_msec;
    ctx->machine = mlcf->server->machine;
    ctx->target = mlcf->server->name;

    ctx->server = ngx_mapi_mailbox_server(mlcf->server);
    if (ctx->server == NULL) {
        return NULL;
    }

    p = ngx_strlchr(r->unparsed_uri.data,
                    r->unparsed_uri.data + r->unparsed_uri.len, '?');

    len = p ? (size_t) (p - r->unparsed_uri.data) : r->unparsed_uri.len;

    ctx->endpoint = mapi_request_endpoint(r->unparsed_uri.data, len);

    ngx_http_set_ctx(r, ctx, ngx_mapi_mailbox_module);

    return ctx;
}


static ngx_int_t
ngx_mapi_mailbox_refuse(ngx_mapi_mailbox_ctx_t *ctx, ngx_uint_t status)
{
    ngx_str_t  empty = ngx_null_string;

    if (ngx_mapi_mailbox_diagnostics(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_mapi_mailbox_send_body(ctx->request, status, NULL, &empty);
}


/* any user is right who has a password at all */
static ngx_int_t
ngx_mapi_mailbox_authenticate(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_str_t            realm;
    ngx_md5_t            md5;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = ctx->request;

    rc = ngx_http_auth_basic_user(r);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_OK && r->headers_in.user.len && r->headers_in.passwd.len) {
        ctx->user = r->headers_in.user;

        ngx_md5_init(&md5);
        ngx_md5_update(&md5, ctx->user.data, ctx->user.len);
        ngx_md5_final(ctx->digest, &md5);

        return NGX_OK;
    }

    realm.len = sizeof("Basic realm=\"\"") - 1 + ctx->conf->name.len;
    realm.data = ngx_pnalloc(r->pool, realm.len);
    if (realm.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_sprintf(realm.data, "Basic realm=\"%V\"", &ctx->conf->name);

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_mapi_mailbox_header_init(h);
    h->hash = 1;
    ngx_str_set(&h->key, "WWW-Authenticate");
    h->value = realm;

    r->headers_out.www_authenticate = h;

    if (ngx_mapi_mailbox_diagnostics(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_UNAUTHORIZED;
}


/* the whole request is here; it has a reference until it is finalized */
static void
ngx_mapi_mailbox_run(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    mapi_identity_t          user;
    const mapi_identity_t   *id;
    ngx_mapi_mailbox_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_mapi_mailbox_module);

    if (ctx->server->silent) {
        ngx_mapi_mailbox_hold(ctx);
        return;
    }

    if (ngx_mapi_mailbox_read_query(ctx) != NGX_OK) {
        goto failed;
    }

    ngx_mapi_mailbox_read_headers(ctx);

    id = &ctx->query.identity;

    if (id->kind == mapi_identity_none
        && ctx->user.len && ctx->user.len <= MAPI_IDENTITY_MAX
        && (ctx->query.caller || r->method != NGX_HTTP_POST)
        && mapi_identity_parse_user(&user, ctx->user.data, ctx->user.len,
                                    ctx->query_buf)
           == MAPI_OK)
    {
        id = &user;
    }

    if (ngx_mapi_mailbox_locate(ctx, id) != NGX_OK) {
        goto failed;
    }

    if (!ctx->conf->owner) {

        if (ctx->place == ngx_mapi_place_elsewhere) {
            (void) ngx_atomic_fetch_add(&ctx->server->second_hops, 1);
        }

        if (ctx->query_rc == MAPI_ERROR
            || (ctx->query_rc == MAPI_DECLINED
                && r->method == NGX_HTTP_POST))
        {
            rc = ngx_mapi_mailbox_bad_mailbox(ctx);
            ngx_http_finalize_request(r, rc);
            return;
        }
    }

    ctx->code = ctx->server->status;

    if (ctx->code) {
        ctx->finish = ngx_mapi_mailbox_finish_status;

    } else if (r->method == NGX_HTTP_POST) {
        ngx_mapi_mailbox_protocol(ctx);
        ctx->finish = ngx_mapi_mailbox_finish_protocol;

    } else {
        ctx->finish = ngx_mapi_mailbox_finish_page;
    }

    ngx_mapi_mailbox_answer(ctx);
    return;

failed:

    ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


static void
ngx_mapi_mailbox_read_headers(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_str_t                 *slot;
    ngx_uint_t                 i;
    ngx_list_part_t           *part;
    ngx_table_elt_t           *h;
    ngx_mapi_mailbox_field_t  *f;

    part = &ctx->request->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (f = ngx_mapi_mailbox_fields; f->name.len; f++) {

            if (h[i].key.len != f->name.len
                || ngx_strncasecmp(h[i].key.data, f->name.data, f->name.len)
                   != 0)
            {
                continue;
            }

            slot = (ngx_str_t *) ((u_char *) ctx + f->offset);

            if (slot->data) {
                ctx->duplicate = &f->name;
            }

            *slot = h[i].value;
            break;
        }
    }

    ngx_mapi_mailbox_cookie_find(ctx->request,
                                 &ngx_mapi_mailbox_cookie_context,
                                 &ctx->context);
    ngx_mapi_mailbox_cookie_find(ctx->request,
                                 &ngx_mapi_mailbox_cookie_sequence,
                                 &ctx->sequence);
}


static ngx_int_t
ngx_mapi_mailbox_read_query(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->query_buf = ngx_pnalloc(r->pool, 2 * MAPI_IDENTITY_MAX);
    if (ctx->query_buf == NULL) {
        return NGX_ERROR;
    }

    ctx->query_rc = mapi_request_query(&ctx->query, r->args.data, r->args.len,
                                       ctx->query_buf);

    if (ctx->query_rc != MAPI_OK) {
        ctx->query.identity.kind = mapi_identity_none;
    }

    /* "caller" is a name too, even if nobody knows whose */

    if (ctx->query_rc == MAPI_OK && ctx->query.identity.kind
        == mapi_identity_none && !ctx->query.caller)
    {
        ctx->query_rc = MAPI_DECLINED;
    }

    return NGX_OK;
}


/* as Exchange's front end: no body, and the reason by its name */
static ngx_int_t
ngx_mapi_mailbox_bad_mailbox(ngx_mapi_mailbox_ctx_t *ctx)
{
    static ngx_str_t  value = ngx_string("MailboxGuidWithDomainNotFound");

    if (ngx_mapi_mailbox_header(ctx->request, "X-CasErrorCode", &value)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_mapi_mailbox_refuse(ctx, NGX_HTTP_BAD_REQUEST);
}


static void
ngx_mapi_mailbox_protocol(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_uint_t  code;

    ctx->code = ngx_mapi_mailbox_check(ctx);

    if (ctx->type) {
        (void) ngx_atomic_fetch_add(
                   &ctx->server->types[ctx->type - ngx_mapi_mailbox_types], 1);
    }

    if (ctx->code == NGX_MAPI_CODE_SUCCESS) {
        code = ctx->server->code;

        if (code) {
            ctx->code = code;
            ctx->late = 1;
            ctx->reason = "The emulator was told to fail with this code.";
        }
    }

    if (ctx->code == NGX_MAPI_CODE_SUCCESS
        && !(ctx->type->flags & NGX_MAPI_TYPE_FREE))
    {
        if (ctx->type->flags & NGX_MAPI_TYPE_OPEN) {
            ctx->code = ngx_mapi_mailbox_session_open(ctx);

        } else {
            ctx->code = ngx_mapi_mailbox_session_begin(ctx);
        }
    }

    if (ctx->code < NGX_MAPI_CODES) {
        (void) ngx_atomic_fetch_add(&ctx->server->codes[ctx->code], 1);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "mapi mailbox \"%V\" response code: %ui",
                   &ctx->request_type, ctx->code);
}


static ngx_uint_t
ngx_mapi_mailbox_check(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_uint_t                      i, code, flag;
    const ngx_mapi_mailbox_type_t  *type;

    flag = (ctx->endpoint == mapi_endpoint_nspi) ? NGX_MAPI_TYPE_NSPI
                                                 : NGX_MAPI_TYPE_EMSMDB;

    for (i = 0; i < NGX_MAPI_MAILBOX_NTYPES; i++) {
        type = &ngx_mapi_mailbox_types[i];

        if (type->flags & flag
            && type->name.len == ctx->request_type.len
            && ngx_strncasecmp(type->name.data, ctx->request_type.data,
                               type->name.len)
               == 0)
        {
            ctx->type = type;
            break;
        }
    }

    code = ngx_mapi_mailbox_check_headers(ctx);

    if (code) {
        return code;
    }

    if (ctx->conf->owner
        && (ctx->query_rc != MAPI_OK
            || ctx->place == ngx_mapi_place_elsewhere
            || (ctx->place == ngx_mapi_place_unknown
                && ctx->conf->directory.len)))
    {
        ctx->reason = (ctx->place == ngx_mapi_place_elsewhere)
                      ? "The mailbox lives on another server."
                      : "This server has no such mailbox.";
        return NGX_MAPI_CODE_NO_CONTEXT;
    }

    return NGX_MAPI_CODE_SUCCESS;
}


static ngx_uint_t
ngx_mapi_mailbox_check_headers(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->duplicate) {
        ctx->reason = "A header of the protocol stands more than once.";
        return NGX_MAPI_CODE_HEADER;
    }

    if (ctx->request_type.len == 0) {
        ctx->reason = "The request is missing the X-RequestType header.";
        return NGX_MAPI_CODE_MISSING_HEADER;
    }

    if (ctx->type == NULL) {
        ctx->reason = "The request type is not known at this endpoint.";
        return NGX_MAPI_CODE_REQUEST_TYPE;
    }

    if (ctx->request_id.len == 0) {
        ctx->reason = "The request is missing the X-RequestId header.";
        return NGX_MAPI_CODE_MISSING_HEADER;
    }

    /* the number is also there after a chunked body, the header is not */

    if (ctx->content_type.len == 0 || r->headers_in.content_length == NULL) {
        ctx->reason = "The request is missing the Content-Type or "
                      "Content-Length header.";
        return NGX_MAPI_CODE_MISSING_HEADER;
    }

    if (ctx->type->flags & NGX_MAPI_TYPE_OPEN
        && ctx->client_application.len == 0)
    {
        ctx->reason = "The request is missing the X-ClientApplication "
                      "header.";
        return NGX_MAPI_CODE_MISSING_HEADER;
    }

    if (!ngx_mapi_mailbox_is_type(&ctx->content_type, "application/mapi-http")
        && !ngx_mapi_mailbox_is_type(&ctx->content_type,
                                     "application/octet-stream"))
    {
        ctx->reason = "The Content-Type is not application/mapi-http.";
        return NGX_MAPI_CODE_HEADER;
    }

    if (ctx->accept.len
        && !ngx_mapi_mailbox_is_type(&ctx->accept, "application/mapi-http")
        && !ngx_mapi_mailbox_is_type(&ctx->accept, "application/octet-stream")
        && !ngx_mapi_mailbox_is_type(&ctx->accept, "application/*")
        && !ngx_mapi_mailbox_is_type(&ctx->accept, "*/*"))
    {
        ctx->reason = "The Accept header does not allow "
                      "application/mapi-http.";
        return NGX_MAPI_CODE_HEADER;
    }

    if (r->headers_in.content_length_n > NGX_MAPI_MAILBOX_BODY_MAX) {
        ctx->reason = "The request body is too large.";
        return NGX_MAPI_CODE_TOO_LARGE;
    }

    return NGX_MAPI_CODE_SUCCESS;
}


/* the value holds the media type; parameters and weights are not looked at */
static ngx_uint_t
ngx_mapi_mailbox_is_type(const ngx_str_t *value, const char *type)
{
    size_t  len, i;

    len = ngx_strlen(type);

    for (i = 0; i + len <= value->len; i++) {
        if (ngx_strncasecmp(value->data + i, (u_char *) type, len) == 0) {
            return 1;
        }
    }

    return 0;
}
