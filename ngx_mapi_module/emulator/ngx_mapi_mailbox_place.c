
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


static ngx_int_t ngx_mapi_mailbox_begin(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_int_t ngx_mapi_mailbox_read_directory(ngx_mapi_mailbox_ctx_t *ctx,
    const mapi_identity_t *id);
static ngx_int_t ngx_mapi_mailbox_own_name(ngx_mapi_mailbox_ctx_t *ctx);
static ngx_int_t ngx_mapi_mailbox_lower(ngx_pool_t *pool,
    const ngx_str_t *src, ngx_str_t *dst);


ngx_int_t
ngx_mapi_mailbox_locate(ngx_mapi_mailbox_ctx_t *ctx,
    const mapi_identity_t *id)
{
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_pool_t  *pool;

    pool = ctx->request->pool;

    ctx->place = ngx_mapi_place_unknown;
    ctx->machine = ctx->conf->machine;

    if (ngx_mapi_mailbox_lower(pool, &ctx->conf->name, &ctx->target)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (id && id->kind != mapi_identity_none) {
        ngx_memcpy(&text, &id->text, sizeof(ngx_str_t));

        if (ngx_mapi_mailbox_lower(pool, &text, &ctx->display) != NGX_OK) {
            return NGX_ERROR;
        }

        if (id->kind == mapi_identity_guid) {
            ctx->mailbox = id->guid;
        }
    }

    if (ngx_mapi_mailbox_begin(ctx) != NGX_OK) {
        return NGX_OK;
    }

    rc = ngx_mapi_mailbox_own_name(ctx);

    if (rc == NGX_OK && id && id->kind != mapi_identity_none) {
        rc = ngx_mapi_mailbox_read_directory(ctx, id);
    }

    mapi_directory_end(ctx->conf->handle);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "mapi mailbox place: %d, target \"%V\", machine \"%V\"",
                   (int) ctx->place, &ctx->target, &ctx->machine);

    return rc;
}


/* NGX_DECLINED if there is no directory to read */
static ngx_int_t
ngx_mapi_mailbox_begin(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_uint_t                errors;
    ngx_mapi_mailbox_conf_t  *conf;

    conf = ctx->conf;

    if (conf->directory.len == 0) {
        return NGX_DECLINED;
    }

    if (conf->handle == NULL) {
        conf->handle = mapi_directory_open((mapi_str_t *) &conf->directory);

        if (conf->handle == NULL) {
            ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                          "no memory to open directory \"%V\"",
                          &conf->directory);
            return NGX_DECLINED;
        }
    }

    rc = mapi_directory_begin(conf->handle, ngx_time());

    errors = mapi_directory_error_count(conf->handle);

    if (errors != conf->errors) {
        conf->errors = errors;

        if (mapi_directory_error(conf->handle)[0] != '\0') {
            ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                          "mailbox server \"%V\": %s", &conf->name,
                          mapi_directory_error(conf->handle));
        }
    }

    return (rc == MAPI_OK) ? NGX_OK : NGX_DECLINED;
}


/* between begin and end */
static ngx_int_t
ngx_mapi_mailbox_own_name(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_str_t      fqdn;
    mapi_server_t  self;

    if (mapi_directory_server(ctx->conf->handle, (mapi_str_t *) &ctx->target,
                              &self)
        != MAPI_OK
        || self.fqdn.len == 0)
    {
        return NGX_OK;
    }

    ngx_memcpy(&fqdn, &self.fqdn, sizeof(ngx_str_t));

    return ngx_mapi_mailbox_lower(ctx->request->pool, &fqdn, &ctx->target);
}


/* between begin and end: everything that is kept is copied */
static ngx_int_t
ngx_mapi_mailbox_read_directory(ngx_mapi_mailbox_ctx_t *ctx,
    const mapi_identity_t *id)
{
    ngx_int_t           known;
    ngx_str_t           name, fqdn;
    ngx_pool_t         *pool;
    mapi_server_t       server;
    mapi_mailbox_t      mailbox;
    mapi_database_t     database;
    mapi_directory_t   *d;
    const mapi_str_t   *own;

    d = ctx->conf->handle;
    pool = ctx->request->pool;

    if (mapi_directory_mailbox(d, id, &mailbox) != MAPI_OK
        || mapi_directory_database(d, &mailbox.database, &database)
           != MAPI_OK
        || database.server.len == 0)
    {
        return NGX_OK;
    }

    if (id->kind != mapi_identity_guid) {
        ctx->mailbox = mailbox.guid;
    }

    if (mailbox.smtp.len) {
        ngx_memcpy(&name, &mailbox.smtp, sizeof(ngx_str_t));

        if (ngx_mapi_mailbox_lower(pool, &name, &ctx->display) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    own = (const mapi_str_t *) &ctx->conf->name;

    known = (mapi_directory_server(d, &database.server, &server) == MAPI_OK);

    if (mapi_str_caseeq(own, &database.server)
        || (known && mapi_str_caseeq(own, &server.fqdn)))
    {
        ctx->place = ngx_mapi_place_here;
        return NGX_OK;
    }

    ctx->place = ngx_mapi_place_elsewhere;

    ngx_memcpy(&name, &database.server, sizeof(ngx_str_t));

    if (known && server.fqdn.len) {
        ngx_memcpy(&fqdn, &server.fqdn, sizeof(ngx_str_t));

    } else {
        fqdn = name;
    }

    if (ngx_mapi_mailbox_lower(pool, &fqdn, &ctx->target) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_mapi_mailbox_machine(pool, &name, &ctx->machine);
}


ngx_int_t
ngx_mapi_mailbox_machine(ngx_pool_t *pool, const ngx_str_t *name,
    ngx_str_t *machine)
{
    size_t      len;
    ngx_uint_t  address;

    address = 1;
    len = 0;

    while (len < name->len) {
        if (name->data[len] != '.'
            && (name->data[len] < '0' || name->data[len] > '9'))
        {
            address = 0;
            break;
        }

        len++;
    }

    if (!address) {
        len = 0;

        while (len < name->len && name->data[len] != '.') {
            len++;
        }
    }

    len = ngx_min(len, NGX_MAPI_MAILBOX_MACHINE_MAX);

    machine->data = ngx_pnalloc(pool, len + 1);
    if (machine->data == NULL) {
        return NGX_ERROR;
    }

    machine->len = len;
    machine->data[len] = '\0';

    while (len--) {
        machine->data[len] = ngx_toupper(name->data[len]);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_lower(ngx_pool_t *pool, const ngx_str_t *src, ngx_str_t *dst)
{
    u_char  *p;

    p = ngx_pnalloc(pool, src->len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(p, src->data, src->len);

    dst->len = src->len;
    dst->data = p;

    return NGX_OK;
}
