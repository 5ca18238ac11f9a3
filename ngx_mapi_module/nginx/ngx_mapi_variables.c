
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_watch.h"


typedef enum {
    ngx_mapi_variable_endpoint = 0,
    ngx_mapi_variable_request_type,
    ngx_mapi_variable_mailbox,
    ngx_mapi_variable_anchor,
    ngx_mapi_variable_database,
    ngx_mapi_variable_database_guid,
    ngx_mapi_variable_target,
    ngx_mapi_variable_route,
    ngx_mapi_variable_activity_id,
    ngx_mapi_variable_response_code,
    ngx_mapi_variable_session
} ngx_mapi_variable_e;


static ngx_int_t ngx_mapi_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_mapi_variable_none(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_mapi_variable_guid(ngx_http_request_t *r, ngx_str_t *s,
    mapi_guid_t *guid);
static ngx_int_t ngx_mapi_variable_anchor_text(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *s);
static ngx_int_t ngx_mapi_variable_code(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *s);
static ngx_int_t ngx_mapi_variable_session_text(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *s);


static ngx_http_variable_t  ngx_mapi_variables[] = {

    { ngx_string("mapi_endpoint"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_endpoint, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_request_type"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_request_type, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_mailbox"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_mailbox, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_anchor"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_anchor, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_database"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_database, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_database_guid"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_database_guid, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_target"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_target, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_route"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_route, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_activity_id"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_activity_id, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_response_code"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_response_code, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("mapi_session"), NULL, ngx_mapi_variable,
      ngx_mapi_variable_session, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    ngx_http_null_variable
};


static ngx_str_t  ngx_mapi_route_names[] = {
    ngx_string("none"),
    ngx_string("handshake"),
    ngx_string("pinned"),
    ngx_string("learned"),
    ngx_string("directory"),
    ngx_string("affinity"),
    ngx_string("balance")
};


/* of mapi_identity_kind_e, as the AnchorMailbox column has them */

static ngx_str_t  ngx_mapi_anchor_kinds[] = {
    ngx_null_string,
    ngx_string("MailboxGuid~"),
    ngx_string("Smtp~"),
    ngx_string("Upn~"),
    ngx_string("Account~")
};


static ngx_str_t  ngx_mapi_reason_names[] = {
    ngx_string("none"),
    ngx_string("handshake"),
    ngx_string("pinned"),
    ngx_string("learned"),
    ngx_string("mounted"),
    ngx_string("elsewhere"),
    ngx_string("dead"),
    ngx_string("full"),
    ngx_string("draining"),
    ngx_string("offline"),
    ngx_string("down"),
    ngx_string("refused"),
    ngx_string("cookie"),
    ngx_string("hash"),
    ngx_string("address")
};


/*
 * Keeps the context over internal redirects, which clear r->ctx but leave the
 * variables.  No configuration can name it: it has a blank.
 */

static ngx_str_t  ngx_mapi_ctx_variable = ngx_string("mapi context");


ngx_int_t
ngx_mapi_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t   *var, *v;
    ngx_mapi_main_conf_t  *mmcf;

    for (v = ngx_mapi_variables; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    var = ngx_http_add_variable(cf, &ngx_mapi_ctx_variable, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_mapi_variable_none;

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);

    mmcf->ctx_index = ngx_http_get_variable_index(cf, &ngx_mapi_ctx_variable);

    return mmcf->ctx_index == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


ngx_mapi_ctx_t *
ngx_mapi_get_ctx(ngx_http_request_t *r)
{
    ngx_mapi_main_conf_t       *mmcf;
    ngx_http_variable_value_t  *v;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (!mmcf->used) {
        return NULL;
    }

    v = &r->main->variables[mmcf->ctx_index];

    return v->valid ? (ngx_mapi_ctx_t *) v->data : NULL;
}


ngx_str_t *
ngx_mapi_route_name(ngx_mapi_route_e route)
{
    return &ngx_mapi_route_names[route];
}


ngx_str_t *
ngx_mapi_reason_name(ngx_mapi_reason_e reason)
{
    return &ngx_mapi_reason_names[reason];
}


ngx_str_t *
ngx_mapi_anchor_kind(mapi_identity_kind_e kind)
{
    return ngx_mapi_anchor_kinds[kind].len ? &ngx_mapi_anchor_kinds[kind]
                                           : NULL;
}


static ngx_int_t
ngx_mapi_variable_none(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    v->not_found = 1;
    return NGX_OK;
}


static ngx_int_t
ngx_mapi_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_int_t        rc;
    ngx_str_t        s;
    ngx_mapi_ctx_t  *ctx;

    ctx = ngx_mapi_get_ctx(r);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    rc = NGX_OK;
    ngx_str_null(&s);

    switch (data) {

    case ngx_mapi_variable_endpoint:
        if (ctx->endpoint == mapi_endpoint_emsmdb) {
            ngx_str_set(&s, "emsmdb");

        } else if (ctx->endpoint == mapi_endpoint_nspi) {
            ngx_str_set(&s, "nspi");
        }

        break;

    case ngx_mapi_variable_request_type:
        s = ctx->request_type;
        break;

    case ngx_mapi_variable_mailbox:
        if (ctx->found) {
            rc = ngx_mapi_variable_guid(r, &s, &ctx->mailbox);

        } else if (ctx->identity.kind == mapi_identity_guid) {
            rc = ngx_mapi_variable_guid(r, &s, &ctx->identity.guid);
        }

        break;

    case ngx_mapi_variable_anchor:
        rc = ngx_mapi_variable_anchor_text(r, ctx, &s);
        break;

    case ngx_mapi_variable_database:
        if (ctx->located) {
            s = ctx->database;
        }

        break;

    case ngx_mapi_variable_database_guid:
        if (ctx->found) {
            rc = ngx_mapi_variable_guid(r, &s, &ctx->database_guid);
        }

        break;

    case ngx_mapi_variable_target:
        ngx_mapi_target(ctx, &s);
        break;

    case ngx_mapi_variable_route:
        s = *ngx_mapi_route_name(ctx->route);
        break;

    case ngx_mapi_variable_activity_id:
        s.data = ngx_mapi_activity_id(r, ctx);
        s.len = MAPI_GUID_LEN;
        rc = s.data ? NGX_OK : NGX_ERROR;
        break;

    case ngx_mapi_variable_response_code:
        rc = ngx_mapi_variable_code(r, ctx, &s);
        break;

    case ngx_mapi_variable_session:
        rc = ngx_mapi_variable_session_text(r, ctx, &s);
        break;
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (s.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = s.len;
    v->data = s.data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_variable_guid(ngx_http_request_t *r, ngx_str_t *s, mapi_guid_t *guid)
{
    s->data = ngx_pnalloc(r->pool, MAPI_GUID_LEN);
    if (s->data == NULL) {
        return NGX_ERROR;
    }

    s->len = mapi_guid_format(s->data, guid) - s->data;

    return NGX_OK;
}


/* the form of the AnchorMailbox column: what kind of name, and the name */

static ngx_int_t
ngx_mapi_variable_anchor_text(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *s)
{
    u_char     *p;
    size_t      len;
    ngx_str_t  *kind;

    kind = ngx_mapi_anchor_kind(ctx->identity.kind);

    if (kind == NULL) {
        return NGX_OK;
    }

    len = kind->len + ctx->identity.text.len;

    if (ctx->identity.domain.len) {
        len += 1 + ctx->identity.domain.len;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    s->data = p;
    s->len = len;

    p = ngx_cpymem(p, kind->data, kind->len);
    p = ngx_cpymem(p, ctx->identity.text.data, ctx->identity.text.len);

    if (ctx->identity.domain.len) {
        *p++ = '@';
        ngx_memcpy(p, ctx->identity.domain.data, ctx->identity.domain.len);
    }

    return NGX_OK;
}


/* as the server wrote it, but a late one counts more */

static ngx_int_t
ngx_mapi_variable_code(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *s)
{
    ngx_str_t  *code;

    if (ctx->watch && ctx->watch->stream.code >= 0) {

        s->data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
        if (s->data == NULL) {
            return NGX_ERROR;
        }

        s->len = ngx_sprintf(s->data, "%d", ctx->watch->stream.code)
                 - s->data;

        return NGX_OK;
    }

    code = ngx_mapi_answer_header(r->main, "X-ResponseCode");

    if (code) {
        *s = *code;
    }

    return NGX_OK;
}


/* the first half of the key: enough to find rows that belong together */

static ngx_int_t
ngx_mapi_variable_session_text(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *s)
{
    mapi_session_key_t  key;

    if (ngx_mapi_session_find(r->main, ctx, &key) != NGX_OK) {
        return NGX_OK;
    }

    s->data = ngx_pnalloc(r->pool, 16);
    if (s->data == NULL) {
        return NGX_ERROR;
    }

    s->len = ngx_sprintf(s->data, "%016xL", key.h[0]) - s->data;

    return NGX_OK;
}
