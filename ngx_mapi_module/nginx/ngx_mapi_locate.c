
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_watch.h"

#include "mapi_directory_format.h"


/* an address that is longer is not remembered, but looked up */
#define NGX_MAPI_LOCATE_SMTP  256

/* places that a database may take, of NGX_MAPI_PLACES */
#define NGX_MAPI_LOCATE_WAYS  4


static ngx_int_t ngx_mapi_locate_recall(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_mapi_main_conf_t *mmcf);
static void ngx_mapi_locate_mailbox(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_directory_t *d);
static ngx_uint_t ngx_mapi_locate_wants_smtp(ngx_mapi_ctx_t *ctx);
static void ngx_mapi_locate_found(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_place_t *place);
static void ngx_mapi_locate_keep(ngx_http_request_t *r, ngx_str_t *dst,
    u_char *data, size_t len);
static ngx_mapi_place_t *ngx_mapi_locate_known(ngx_mapi_srv_conf_t *mscf,
    mapi_guid_t *guid);
static ngx_uint_t ngx_mapi_locate_free(ngx_mapi_srv_conf_t *mscf,
    mapi_guid_t *guid);
static ngx_mapi_place_t *ngx_mapi_locate_place(ngx_mapi_main_conf_t *mmcf,
    ngx_mapi_srv_conf_t *mscf, mapi_directory_t *d, mapi_guid_t *guid);
static void ngx_mapi_locate_copies(ngx_mapi_srv_conf_t *mscf,
    ngx_mapi_place_t *place, mapi_database_t *database);
static ngx_int_t ngx_mapi_server_by_name(ngx_mapi_srv_conf_t *mscf,
    mapi_str_t *name);
static void ngx_mapi_refresh_servers(ngx_mapi_srv_conf_t *mscf,
    mapi_directory_t *d, ngx_log_t *log);


/*
 * Where does the mailbox live?  One read transaction a request, or none if
 * all is remembered from the newest commit; everything that ctx keeps of it
 * is copied, for the map may change once it has ended.
 */

void
ngx_mapi_locate(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    unsigned               online;
    mapi_directory_t      *d;
    ngx_mapi_main_conf_t  *mmcf;

    ctx->offline = 0;
    ctx->known = -1;
    ctx->found = 0;
    ctx->located = 0;
    ctx->ncopies = 0;
    ctx->said = 0;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (ngx_mapi_locate_recall(r, ctx, mmcf) == NGX_OK) {
        return;
    }

    d = ngx_mapi_directory(mmcf, r->connection->log);

    ctx->usable = (d != NULL);

    if (d == NULL) {
        return;
    }

    ngx_mapi_refresh_servers(ctx->mscf, d, r->connection->log);

    if (ctx->endpoint == mapi_endpoint_health) {
        (void) mapi_directory_node(d, &online);
        ctx->offline = !online;
    }

    if (ctx->identity.kind != mapi_identity_none) {
        ngx_mapi_locate_mailbox(r, ctx, d);
    }

    mapi_directory_end(d);
}


void
ngx_mapi_locate_warm(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (mmcf->directory) {
        mapi_directory_warm(mmcf->directory, &ctx->identity);
    }
}


void
ngx_mapi_locate_warm_again(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    if (mmcf->directory) {
        mapi_directory_warm_again(mmcf->directory, &ctx->identity,
                                  ngx_mapi_locate_wants_smtp(ctx));
    }
}


mapi_directory_t *
ngx_mapi_directory(ngx_mapi_main_conf_t *mmcf, ngx_log_t *log)
{
    int               rc;
    mapi_str_t        path;
    mapi_directory_t *d;

    if (mmcf->directory_path.len == 0) {
        return NULL;
    }

    d = mmcf->directory;

    if (d == NULL) {
        path.len = mmcf->directory_path.len;
        path.data = mmcf->directory_path.data;

        d = mapi_directory_open(&path);
        if (d == NULL) {
            return NULL;
        }

        mmcf->directory = d;
        mmcf->directory_errors = 0;
    }

    rc = mapi_directory_begin(d, ngx_time());

    if (mapi_directory_error_count(d) != mmcf->directory_errors) {
        mmcf->directory_errors = mapi_directory_error_count(d);

        if (*mapi_directory_error(d) != '\0') {
            ngx_log_error(NGX_LOG_ERR, log, 0, "mapi: %s",
                          mapi_directory_error(d));
        }
    }

    return rc == MAPI_OK ? d : NULL;
}


/*
 * The mailbox, its database and the block's servers as this worker remembers
 * them, if all of them are of the newest commit.
 */

static ngx_int_t
ngx_mapi_locate_recall(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_main_conf_t *mmcf)
{
    u_char             text[NGX_MAPI_LOCATE_SMTP];
    ngx_uint_t         wanted;
    mapi_str_t         smtp;
    mapi_guid_t        database;
    mapi_directory_t  *d;
    ngx_mapi_place_t  *place;

    d = mmcf->directory;

    if (d == NULL
        || ctx->mscf->refreshed != ngx_time()
        || ctx->endpoint == mapi_endpoint_health)
    {
        return NGX_DECLINED;
    }

    wanted = ngx_mapi_locate_wants_smtp(ctx);

    smtp.data = text;
    smtp.len = sizeof(text);

    if (mapi_directory_recall(d, &ctx->identity, ngx_time(), &database,
                              wanted ? &smtp : NULL)
        != MAPI_OK
        || ctx->mscf->generation != mapi_directory_generation(d))
    {
        return NGX_DECLINED;
    }

    place = ngx_mapi_locate_known(ctx->mscf, &database);

    if (place == NULL) {
        return NGX_DECLINED;
    }

    ctx->usable = 1;
    ctx->found = 1;
    ctx->mailbox = ctx->identity.guid;
    ctx->database_guid = database;

    if (wanted && smtp.len) {
        ngx_mapi_locate_keep(r, &ctx->watch->smtp, smtp.data, smtp.len);
    }

    ngx_mapi_locate_found(r, ctx, place);

    return NGX_OK;
}


static void
ngx_mapi_locate_mailbox(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_directory_t *d)
{
    mapi_mailbox_t         mailbox;
    ngx_mapi_place_t      *place;
    ngx_mapi_main_conf_t  *mmcf;

    if (mapi_directory_mailbox(d, &ctx->identity, &mailbox) != MAPI_OK) {
        return;
    }

    ctx->found = 1;
    ctx->mailbox = ctx->identity.kind == mapi_identity_guid
                   ? ctx->identity.guid : mailbox.guid;
    ctx->database_guid = mailbox.database;

    if (mailbox.smtp.len && ngx_mapi_locate_wants_smtp(ctx)) {
        ngx_mapi_locate_keep(r, &ctx->watch->smtp, mailbox.smtp.data,
                             mailbox.smtp.len);
    }

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    place = ngx_mapi_locate_place(mmcf, ctx->mscf, d, &mailbox.database);

    if (place) {
        ngx_mapi_locate_found(r, ctx, place);
    }
}


/* the log writes it, nobody else */

static ngx_uint_t
ngx_mapi_locate_wants_smtp(ngx_mapi_ctx_t *ctx)
{
    return ctx->watch && ctx->mlcf->log;
}


static void
ngx_mapi_locate_found(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_place_t *place)
{
    /* the slot is another database's as soon as the next request comes */

    ctx->located = 1;
    ctx->known = place->known;
    ctx->said = place->said;

    ngx_mapi_locate_keep(r, &ctx->database, place->name, place->name_len);

    if (place->ncopies == 0) {
        return;
    }

    ctx->copies = ngx_palloc(r->pool, place->ncopies * sizeof(ngx_int_t));

    if (ctx->copies) {
        ctx->ncopies = place->ncopies;
        ngx_memcpy(ctx->copies, place->copies,
                   place->ncopies * sizeof(ngx_int_t));
    }
}


/* names are for people: without memory for one nothing else is lost */

static void
ngx_mapi_locate_keep(ngx_http_request_t *r, ngx_str_t *dst, u_char *data,
    size_t len)
{
    dst->data = ngx_pnalloc(r->pool, len);

    if (dst->data == NULL) {
        dst->len = 0;
        return;
    }

    dst->len = len;
    ngx_memcpy(dst->data, data, len);
}


/* the first of the slots that a database may take */

static ngx_inline ngx_uint_t
ngx_mapi_locate_slots(mapi_guid_t *guid)
{
    ngx_uint_t  n;

    /* GUIDs are random, any of their bytes are */

    n = (guid->b[2] << 8 | guid->b[3]) ^ (guid->b[14] << 8 | guid->b[15]);

    return n % (NGX_MAPI_PLACES / NGX_MAPI_LOCATE_WAYS) * NGX_MAPI_LOCATE_WAYS;
}


static ngx_mapi_place_t *
ngx_mapi_locate_known(ngx_mapi_srv_conf_t *mscf, mapi_guid_t *guid)
{
    ngx_uint_t             i, last;
    ngx_mapi_place_key_t  *key;

    i = ngx_mapi_locate_slots(guid);
    key = &mscf->place_keys[i];
    last = i + NGX_MAPI_LOCATE_WAYS;

    for ( /* void */ ; i < last; i++, key++) {
        if (key->generation == mscf->generation
            && ngx_memcmp(key->guid.b, guid->b, sizeof(guid->b)) == 0)
        {
            return &mscf->places[i];
        }
    }

    return NULL;
}


/* for another database: what an earlier generation has left, if anything */

static ngx_uint_t
ngx_mapi_locate_free(ngx_mapi_srv_conf_t *mscf, mapi_guid_t *guid)
{
    ngx_uint_t  i, n;

    n = ngx_mapi_locate_slots(guid);

    for (i = 0; i < NGX_MAPI_LOCATE_WAYS; i++) {
        if (mscf->place_keys[n + i].generation != mscf->generation) {
            return n + i;
        }
    }

    return n + guid->b[7] % NGX_MAPI_LOCATE_WAYS;
}


static ngx_mapi_place_t *
ngx_mapi_locate_place(ngx_mapi_main_conf_t *mmcf, ngx_mapi_srv_conf_t *mscf,
    mapi_directory_t *d, mapi_guid_t *guid)
{
    ngx_uint_t             n;
    mapi_database_t        database;
    ngx_mapi_place_t      *place;
    ngx_mapi_place_key_t  *key;

    place = ngx_mapi_locate_known(mscf, guid);

    if (place) {
        return place;
    }

    n = ngx_mapi_locate_free(mscf, guid);

    place = &mscf->places[n];
    key = &mscf->place_keys[n];

    key->generation = 0;

    if (mapi_directory_database(d, guid, &database) != MAPI_OK) {
        return NULL;
    }

    place->known = ngx_mapi_server_by_name(mscf, &database.server);
    place->said = ngx_mapi_learn_said(mmcf, &database.server);

    place->name_len = ngx_min(database.name.len, NGX_MAPI_DATABASE_MAX);
    ngx_memcpy(place->name, database.name.data, place->name_len);

    place->ncopies = 0;

    if (mscf->fallback == ngx_mapi_fallback_copies) {
        ngx_mapi_locate_copies(mscf, place, &database);
    }

    key->guid = *guid;
    key->generation = mscf->generation;

    return place;
}


static void
ngx_mapi_locate_copies(ngx_mapi_srv_conf_t *mscf, ngx_mapi_place_t *place,
    mapi_database_t *database)
{
    u_char      *p, *last, *end;
    ngx_int_t    n;
    mapi_str_t   name;

    p = database->copies.data;
    last = p + database->copies.len;

    while (p < last && place->ncopies < NGX_MAPI_COPIES_MAX) {

        end = ngx_strlchr(p, last, '\0');
        if (end == NULL) {
            end = last;
        }

        name.data = p;
        name.len = end - p;

        n = ngx_mapi_server_by_name(mscf, &name);

        if (n >= 0) {
            place->copies[place->ncopies++] = n;
        }

        p = end + 1;
    }
}


static ngx_int_t
ngx_mapi_server_by_name(ngx_mapi_srv_conf_t *mscf, mapi_str_t *name)
{
    ngx_uint_t          i;
    ngx_mapi_server_t  *server;

    server = mscf->servers.elts;

    for (i = 0; i < mscf->servers.nelts; i++) {
        if (server[i].known
            && server[i].short_name.len == name->len
            && ngx_memcmp(server[i].short_name.data, name->data, name->len)
               == 0)
        {
            return i;
        }
    }

    return -1;
}


/*
 * What the directory says of the block's servers: again after every commit,
 * and once a second, since a drain may have a deadline.
 */

static void
ngx_mapi_refresh_servers(ngx_mapi_srv_conf_t *mscf, mapi_directory_t *d,
    ngx_log_t *log)
{
    ngx_str_t           name;
    ngx_uint_t          i, first;
    mapi_str_t          host;
    mapi_server_t       ds;
    ngx_mapi_server_t  *server;

    if (mscf->refreshed == ngx_time()
        && mscf->generation == mapi_directory_generation(d))
    {
        return;
    }

    first = (mscf->refreshed == 0);
    server = mscf->servers.elts;

    for (i = 0; i < mscf->servers.nelts; i++) {

        host.len = server[i].host.len;
        host.data = server[i].host.data;

        server[i].name = server[i].host;
        ngx_memzero(&server[i].version, sizeof(mapi_log_version_t));

        if (mapi_directory_server(d, &host, &ds) != MAPI_OK) {

            if (ngx_worker == 0 && (first || server[i].known)) {
                ngx_log_error(NGX_LOG_WARN, log, 0,
                              "mapi: the directory does not know server "
                              "\"%V\" of upstream \"%V\": no mailbox will be "
                              "found on it, import it with \"mapi-directory "
                              "import --servers\"",
                              &server[i].host, &mscf->name);
            }

            server[i].known = 0;
            server[i].state = mapi_server_active;
            server[i].short_name.len = 0;
            continue;
        }

        server[i].known = 1;
        server[i].state = ds.state;

        (void) mapi_log_version_parse(&server[i].version, ds.version.data,
                                      ds.version.len);

        server[i].short_name.data = server[i].name_buf;
        server[i].short_name.len = ngx_min(ds.name.len, NGX_MAPI_NAME_MAX);
        ngx_memcpy(server[i].name_buf, ds.name.data,
                   server[i].short_name.len);

        if (ds.fqdn.len) {
            name.data = server[i].name_buf + NGX_MAPI_NAME_MAX;
            name.len = ngx_min(ds.fqdn.len, NGX_MAPI_NAME_MAX);
            ngx_memcpy(name.data, ds.fqdn.data, name.len);
            server[i].name = name;
        }
    }

    mscf->generation = mapi_directory_generation(d);
    mscf->refreshed = ngx_time();
}


ngx_int_t
ngx_mapi_locate_view(ngx_http_request_t *r, ngx_mapi_directory_view_t *view)
{
    const char                    *error;
    ngx_str_t                      s;
    ngx_uint_t                     i;
    mapi_directory_t              *d;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    ngx_memzero(view, sizeof(ngx_mapi_directory_view_t));

    view->path = mmcf->directory_path;
    view->online = 1;

    d = ngx_mapi_directory(mmcf, r->connection->log);

    if (d) {
        view->usable = 1;
        view->generation = mapi_directory_generation(d);
        view->commit = mapi_directory_page_meta(d)->txnid;
        (void) mapi_directory_node(d, &view->online);

        for (i = 0;
             (mscf = ngx_mapi_next_block((ngx_cycle_t *) ngx_cycle, &i, &us));
             /* void */ )
        {
            if (mscf->type != ngx_mapi_upstream_none || mscf->places) {
                ngx_mapi_refresh_servers(mscf, d, r->connection->log);
            }
        }

        mapi_directory_end(d);
    }

    if (mmcf->directory == NULL) {
        return NGX_OK;
    }

    error = mapi_directory_error(mmcf->directory);

    s.data = (u_char *) error;
    s.len = ngx_strlen(error);

    if (s.len) {
        view->error.data = ngx_pstrdup(r->pool, &s);
        if (view->error.data == NULL) {
            return NGX_ERROR;
        }

        view->error.len = s.len;
    }

    return NGX_OK;
}


/*
 * The environment is opened after the fork.  Opening it now, not at the first
 * request, brings what is wrong with it into the log at start.
 */

ngx_int_t
ngx_mapi_locate_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i;
    mapi_directory_t              *d;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || !mmcf->used) {
        return NGX_OK;
    }

    d = ngx_mapi_directory(mmcf, cycle->log);
    if (d == NULL) {
        return NGX_OK;
    }

    for (i = 0; (mscf = ngx_mapi_next_block(cycle, &i, &us)); /* void */ ) {
        if (mscf->type != ngx_mapi_upstream_none) {
            ngx_mapi_refresh_servers(mscf, d, cycle->log);
        }
    }

    mapi_directory_end(d);

    return NGX_OK;
}


void
ngx_mapi_locate_exit_process(ngx_cycle_t *cycle)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf && mmcf->directory) {
        mapi_directory_close(mmcf->directory);
        mmcf->directory = NULL;
    }
}
