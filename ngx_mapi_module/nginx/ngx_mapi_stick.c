
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"

#include <openssl/rand.h>


static ngx_int_t ngx_mapi_affinity_find(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_affinity_note_t *note);
static void ngx_mapi_affinity_strings(ngx_mapi_ctx_t *ctx,
    mapi_str_t *upstream, mapi_str_t *value);
static ngx_int_t ngx_mapi_affinity_open(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_affinity_t *affinity);
static ngx_int_t ngx_mapi_affinity_entry_server(ngx_mapi_ctx_t *ctx,
    mapi_affinity_t *affinity, const mapi_affinity_entry_t *entry);
static mapi_affinity_keys_t *ngx_mapi_affinity_ahead(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_str_t *value);
static mapi_affinity_keys_t *ngx_mapi_affinity_keys(ngx_http_request_t *r);
static ngx_uint_t ngx_mapi_affinity_wanted(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
static ngx_int_t ngx_mapi_affinity_seal(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_str_t *sealed);
static ngx_int_t ngx_mapi_affinity_load_key(ngx_conf_t *cf, ngx_str_t *file,
    u_char *key);
static ngx_int_t ngx_mapi_affinity_random_key(ngx_conf_t *cf,
    ngx_mapi_main_conf_t *mmcf);


/* where a directory knows most mailboxes, their cookies are hardly ever read */

static mapi_affinity_keys_t *
ngx_mapi_affinity_ahead(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_str_t *value)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (mmcf->directory || ctx->cookie.len == 0) {
        return NULL;
    }

    value->len = ctx->cookie.len;
    value->data = ctx->cookie.data;

    return mmcf->affinity;
}


void
ngx_mapi_affinity_warm(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    mapi_str_t             value;
    mapi_affinity_keys_t  *keys;

    keys = ngx_mapi_affinity_ahead(r, ctx, &value);

    if (keys) {
        mapi_affinity_warm(keys, &value);
    }
}


void
ngx_mapi_affinity_warm_again(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    mapi_str_t             value;
    mapi_affinity_keys_t  *keys;

    keys = ngx_mapi_affinity_ahead(r, ctx, &value);

    if (keys) {
        mapi_affinity_warm_again(keys, &value);
    }
}


/* whatever cannot be opened is as if absent: ctx->affinity stays NULL */

void
ngx_mapi_affinity_read(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    mapi_affinity_t  *affinity;

    if (ctx->affinity || ctx->cookie.len == 0) {
        return;
    }

    affinity = ngx_palloc(r->pool, sizeof(mapi_affinity_t));
    if (affinity == NULL) {
        return;
    }

    if (ngx_mapi_affinity_open(r, ctx, affinity) != NGX_OK) {
        return;
    }

    ctx->affinity = affinity;
}


static ngx_int_t
ngx_mapi_affinity_open(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_affinity_t *affinity)
{
    mapi_str_t             upstream, value;
    mapi_affinity_keys_t  *keys;

    keys = ngx_mapi_affinity_keys(r);

    ngx_mapi_affinity_strings(ctx, &upstream, &value);

    if (keys == NULL
        || mapi_affinity_open(keys, (uint32_t) ngx_time(), &upstream, &value,
                              affinity)
           != MAPI_OK)
    {
        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "mapi: affinity cookie cannot be read");

        /* not opened again on a retry, and nothing of it is kept */
        ctx->cookie.len = 0;

        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* the server that the request's cookie names for this mailbox, -1 if none */

ngx_int_t
ngx_mapi_affinity_named(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    mapi_affinity_note_t  note;

    ctx->named = -1;

    if (ngx_mapi_affinity_find(r, ctx, &note) != NGX_OK) {
        return -1;
    }

    if (note.first && note.current) {
        ctx->named = note.server;
        ctx->named_until = note.expires;
    }

    return note.server;
}


/* the same for the log, with the time at which that ends */

ngx_int_t
ngx_mapi_affinity_look(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    uint32_t *expires)
{
    mapi_affinity_note_t  note;

    if (ctx->identity.kind == mapi_identity_none
        || ngx_mapi_affinity_find(r, ctx, &note) != NGX_OK)
    {
        return -1;
    }

    if (expires) {
        *expires = note.expires;
    }

    return note.server;
}


/*
 * Nearly every request brings the value of the one before it, and what was
 * found in that is noted.  Numbers of servers stand for their names, which are
 * the directory's: the generation of those is the mark.
 */

static ngx_int_t
ngx_mapi_affinity_find(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_affinity_note_t *note)
{
    ngx_int_t                     n;
    uint64_t                      mark;
    mapi_str_t                    upstream, value;
    mapi_affinity_t               affinity;
    mapi_affinity_keys_t         *keys;
    const mapi_affinity_entry_t  *entry;

    if (ctx->cookie.len == 0) {
        return NGX_DECLINED;
    }

    keys = ngx_mapi_affinity_keys(r);
    if (keys == NULL) {
        return NGX_DECLINED;
    }

    ngx_mapi_affinity_strings(ctx, &upstream, &value);

    mark = ctx->mscf->generation + 1;

    if (mapi_affinity_noted(keys, (uint32_t) ngx_time(), &upstream, &value,
                            mark, &ctx->identity.text, note)
        == MAPI_OK)
    {
        return NGX_OK;
    }

    if (ngx_mapi_affinity_open(r, ctx, &affinity) != NGX_OK) {
        return NGX_DECLINED;
    }

    entry = mapi_affinity_find(&affinity, &ctx->identity.text);

    n = entry ? ngx_mapi_affinity_entry_server(ctx, &affinity, entry) : -1;

    if (n < 0) {
        return NGX_DECLINED;
    }

    note->server = (uint16_t) n;
    note->expires = entry->expires;
    note->first = (entry == &affinity.entries[0]);
    note->current = affinity.current;

    mapi_affinity_note(keys, (uint32_t) ngx_time(), &upstream, &value, mark,
                       &ctx->identity.text, note);

    return NGX_OK;
}


static void
ngx_mapi_affinity_strings(ngx_mapi_ctx_t *ctx, mapi_str_t *upstream,
    mapi_str_t *value)
{
    upstream->len = ctx->mscf->name.len;
    upstream->data = ctx->mscf->name.data;

    value->len = ctx->cookie.len;
    value->data = ctx->cookie.data;
}


static ngx_int_t
ngx_mapi_affinity_entry_server(ngx_mapi_ctx_t *ctx, mapi_affinity_t *affinity,
    const mapi_affinity_entry_t *entry)
{
    ngx_uint_t          i;
    mapi_str_t          name;
    ngx_mapi_server_t  *servers;

    servers = ctx->mscf->servers.elts;

    for (i = 0; i < ctx->mscf->servers.nelts; i++) {

        name.len = servers[i].name.len;
        name.data = servers[i].name.data;

        if (mapi_affinity_is_server(affinity, entry, &name)) {
            return i;
        }
    }

    return -1;
}


/*
 * The answer's cookie: this mailbox's entry in front, those of the client's
 * other mailboxes as they came.  Called once a request, from the header
 * filter, for an answer that came from ctx->server.
 */

ngx_int_t
ngx_mapi_affinity_write(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    size_t                len;
    u_char                value[MAPI_AFFINITY_VALUE_MAX], *p;
    ngx_str_t             sealed;
    ngx_table_elt_t      *h;
    ngx_mapi_loc_conf_t  *mlcf;

    mlcf = ctx->mlcf;
    sealed.data = value;

    if (!ngx_mapi_affinity_wanted(r, ctx)
        || ngx_mapi_affinity_seal(r, ctx, &sealed) != NGX_OK)
    {
        return NGX_OK;
    }

    len = mlcf->cookie_name.len + 1 + sealed.len + mlcf->cookie_tail.len
          + sizeof("; Secure") - 1;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_mapi_header_end(h);
    ngx_str_set(&h->key, "Set-Cookie");
    h->lowcase_key = (u_char *) "set-cookie";
    h->value.data = p;

    p = ngx_cpymem(p, mlcf->cookie_name.data, mlcf->cookie_name.len);
    *p++ = '=';
    p = ngx_cpymem(p, sealed.data, sealed.len);
    p = ngx_cpymem(p, mlcf->cookie_tail.data, mlcf->cookie_tail.len);

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        p = ngx_cpymem(p, "; Secure", sizeof("; Secure") - 1);
    }
#endif

    h->value.len = p - h->value.data;

    return NGX_OK;
}


static ngx_uint_t
ngx_mapi_affinity_wanted(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_mapi_server_t  *servers;

    if (ctx->mlcf->affinity == ngx_mapi_affinity_off
        || ctx->identity.kind == mapi_identity_none
        || ctx->server < 0
        || ctx->server != ctx->preferred
        || ((ctx->located || ctx->learned >= 0)
            && ctx->mlcf->affinity != ngx_mapi_affinity_on)
        || r->headers_out.status == NGX_HTTP_UNAUTHORIZED)
    {
        return 0;
    }

    /*
     * A new one shows that the directory does not know the mailbox: nothing for
     * somebody whom the server, maybe, has refused before it knew him.
     */

    if (r->headers_out.status >= NGX_HTTP_SPECIAL_RESPONSE
        && ngx_mapi_affinity_look(r, ctx, NULL) < 0)
    {
        return 0;
    }

    /* a drain would never end if its clients were told to come back */

    servers = ctx->mscf->servers.elts;

    return ngx_mapi_server_state(&servers[ctx->server])
           == mapi_server_active;
}


/*
 * The expiry goes in steps of a sixteenth of the lifetime, rounded up, so
 * that most answers repeat the value that the request brought: sealing costs
 * more than all the rest of the road.
 */

static ngx_int_t
ngx_mapi_affinity_seal(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *sealed)
{
    time_t                 step, expires;
    ngx_int_t              rc;
    ngx_str_t              target;
    mapi_str_t             upstream, server;
    mapi_affinity_t        fresh, *affinity;
    mapi_affinity_keys_t  *keys;

    step = ngx_max(ctx->mlcf->cookie_lifetime / 16, 1);
    expires = ngx_time() + ctx->mlcf->cookie_lifetime + step - 1;
    expires -= expires % step;

    /* as nearly always: the cookie that came says all this */

    if (ctx->named == ctx->server && ctx->named_until == (uint32_t) expires) {
        *sealed = ctx->cookie;
        return NGX_OK;
    }

    keys = ngx_mapi_affinity_keys(r);
    if (keys == NULL) {
        return NGX_DECLINED;
    }

    ngx_mapi_affinity_read(r, ctx);

    affinity = ctx->affinity;

    if (affinity == NULL) {
        ngx_memzero(&fresh, sizeof(mapi_affinity_t));
        affinity = &fresh;
    }

    ngx_mapi_target(ctx, &target);

    server.len = target.len;
    server.data = target.data;

    rc = mapi_affinity_put(affinity, &ctx->identity.text, &server,
                           (uint32_t) expires);

    if (rc == MAPI_ERROR) {
        return NGX_DECLINED;
    }

    if (rc == MAPI_DECLINED && affinity->current) {
        *sealed = ctx->cookie;
        return NGX_OK;
    }

    upstream.len = ctx->mscf->name.len;
    upstream.data = ctx->mscf->name.data;

    sealed->len = mapi_affinity_seal(keys, (uint32_t) ngx_time(), &upstream,
                                     affinity, sealed->data);

    return sealed->len ? NGX_OK : NGX_DECLINED;
}


static mapi_affinity_keys_t *
ngx_mapi_affinity_keys(ngx_http_request_t *r)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (mmcf->affinity == NULL) {
        mmcf->affinity = mapi_affinity_keys_create(mmcf->keys, mmcf->nkeys,
                                                   (uint32_t) mmcf->lifetime);

        if (mmcf->affinity == NULL) {
            ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                          "mapi: no affinity cookie: the keys cannot be "
                          "prepared, out of memory or OpenSSL without "
                          "AES-256-GCM and HKDF");
        }
    }

    return mmcf->affinity;
}


void
ngx_mapi_affinity_exit_process(ngx_cycle_t *cycle)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf) {
        mapi_affinity_keys_destroy(mmcf->affinity);
        mmcf->affinity = NULL;
    }
}


/* in the master, before the workers fork: files may be readable by root only */

ngx_int_t
ngx_mapi_affinity_init_keys(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_str_t   *file;
    ngx_uint_t   i;

    if (mmcf->key_files == NULL) {
        return ngx_mapi_affinity_random_key(cf, mmcf);
    }

    mmcf->nkeys = mmcf->key_files->nelts;

    mmcf->keys = ngx_palloc(cf->pool, mmcf->nkeys * MAPI_AFFINITY_KEY_LEN);
    if (mmcf->keys == NULL) {
        return NGX_ERROR;
    }

    file = mmcf->key_files->elts;

    for (i = 0; i < mmcf->nkeys; i++) {
        if (ngx_mapi_affinity_load_key(cf, &file[i],
                                   mmcf->keys + i * MAPI_AFFINITY_KEY_LEN)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_affinity_load_key(ngx_conf_t *cf, ngx_str_t *file, u_char *key)
{
    u_char      buf[256];
    ssize_t     n;
    ngx_fd_t    fd;
    ngx_int_t   rc;

    fd = ngx_open_file(file->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, ngx_errno,
                      "mapi_affinity_key: " ngx_open_file_n " \"%V\" failed",
                      file);
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", file);
    }

    rc = NGX_ERROR;

    if (n > 0 && (size_t) n < sizeof(buf)
        && mapi_affinity_key_parse(key, buf, n) == MAPI_OK)
    {
        rc = NGX_OK;
    }

    ngx_explicit_memzero(buf, sizeof(buf));

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "mapi_affinity_key: \"%V\" does not hold a key: write "
                      "32 bytes as 64 hex digits or as base64, for example "
                      "with \"openssl rand -hex 32\"", file);
    }

    return rc;
}


/* a reload goes on with the key of the configuration before, if it had one */

static ngx_int_t
ngx_mapi_affinity_random_key(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t             i;
    ngx_cycle_t           *old;
    ngx_mapi_main_conf_t  *ommcf;

    mmcf->nkeys = 1;

    mmcf->keys = ngx_palloc(cf->pool, MAPI_AFFINITY_KEY_LEN);
    if (mmcf->keys == NULL) {
        return NGX_ERROR;
    }

    old = cf->cycle->old_cycle;

    /* the module may be new in this cycle */

    for (i = 0; old && old->modules && old->modules[i]; i++) {

        if (old->modules[i] != &ngx_mapi_module || old->conf_ctx == NULL) {
            continue;
        }

        ommcf = ngx_http_cycle_get_module_main_conf(old, ngx_mapi_module);

        if (ommcf && ommcf->keys && ommcf->key_files == NULL) {
            ngx_memcpy(mmcf->keys, ommcf->keys, MAPI_AFFINITY_KEY_LEN);
            return NGX_OK;
        }
    }

    if (RAND_bytes(mmcf->keys, MAPI_AFFINITY_KEY_LEN) != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "mapi: RAND_bytes() failed, no key for the affinity "
                      "cookie");
        return NGX_ERROR;
    }

    return NGX_OK;
}
