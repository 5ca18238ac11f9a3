
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_session.h"
#include "ngx_mapi_health.h"
#include "ngx_mapi_log.h"
#include "ngx_mapi_pin.h"
#include "ngx_mapi_watch.h"


/* the same view, as a plain-C unit wants it */
#define ngx_mapi_str(dst, src)                                                \
    ((dst)->len = (src)->len, (dst)->data = (src)->data)

#define ngx_mapi_sessions(r)                                                  \
    ((ngx_mapi_main_conf_t *)                                                 \
     ngx_http_get_module_main_conf(r, ngx_mapi_module))->sessions


/*
 * Which requests belong to which session.  Only a server opens one, by a
 * cookie in its good answer to Connect or Bind; a cookie that a client sends
 * only looks up.  The key is a hash of the upstream block, the server that
 * answered and the cookie, which itself is kept nowhere.
 *
 * A request takes the mutex of its session's part when it ends, and once more
 * where an answer comes in pieces, as that of a NotificationWait.
 */


static void ngx_mapi_session_open(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_sessions_t *sessions, ngx_str_t *cookie);
static void ngx_mapi_session_begin(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, ngx_mapi_sessions_t *sessions);
static ngx_mapi_session_part_t *ngx_mapi_session_part(
    ngx_mapi_sessions_t *sessions, mapi_session_key_t *key);
static mapi_session_table_t *ngx_mapi_session_lock(
    ngx_mapi_session_part_t *part);
static void ngx_mapi_session_unlock(ngx_mapi_session_part_t *part);
static void ngx_mapi_session_clock(ngx_mapi_main_conf_t *mmcf,
    mapi_session_clock_t *clock);
static void ngx_mapi_session_key(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *cookie, mapi_session_key_t *key);
static void ngx_mapi_session_own_key(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
static void ngx_mapi_session_owner(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    uint64_t *owner);
static mapi_guid_t *ngx_mapi_session_mailbox(ngx_mapi_ctx_t *ctx);
static ngx_uint_t ngx_mapi_session_is(ngx_mapi_ctx_t *ctx, char *one,
    char *other);
static ngx_int_t ngx_mapi_session_opened(ngx_http_request_t *r,
    ngx_str_t *cookie);
static void ngx_mapi_session_user(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    u_char *buf, size_t size, mapi_session_who_t *who);
static mapi_session_closed_e ngx_mapi_session_closed(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
static void ngx_mapi_session_describe(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx, mapi_session_done_t *op);
static void ngx_mapi_session_bury(mapi_session_t *copy);


char *
ngx_mapi_set_session_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_main_conf_t *mmcf = conf;

    ngx_int_t   ms;
    ngx_str_t  *value;

    if (mmcf->session_timeout) {
        return "is duplicate";
    }

    value = cf->args->elts;

    ms = ngx_parse_time(&value[1], 0);

    if (ms == NGX_ERROR || ms == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\": write \"15m\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    mmcf->session_timeout = ms;
    mmcf->session_file = cf->conf_file->file.name;
    mmcf->session_line = cf->conf_file->line;

    return NGX_CONF_OK;
}


/*
 * What the request's end will need is asked for now, when all of the work is
 * still to come, and once more when the answer comes.
 */

void
ngx_mapi_session_warm(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_mapi_sessions_t      *sessions;
    ngx_mapi_session_part_t  *part;

    sessions = ngx_mapi_sessions(r);

    if (sessions && !ctx->observe && ctx->session_cookie.len) {
        ngx_mapi_session_own_key(r, ctx);
        part = ngx_mapi_session_part(sessions, &ctx->session);
        mapi_session_table_warm_bucket(part->table, &ctx->session);
    }
}


/* a server's answer has begun; ctx->server is who gives it */

void
ngx_mapi_session_answer(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_str_t                 cookie;
    ngx_http_upstream_t      *u;
    ngx_mapi_sessions_t      *sessions;
    ngx_mapi_session_part_t  *part;

    sessions = ngx_mapi_sessions(r);

    if (sessions == NULL || ctx->server < 0) {
        return;
    }

    u = r->upstream;

    if (u->headers_in.status_n != NGX_HTTP_OK || r->method != NGX_HTTP_POST) {
        return;
    }

    if (ngx_mapi_session_is(ctx, "Connect", "Bind")
        && ngx_mapi_watch_code(r, ctx) == 0
        && ngx_mapi_session_opened(r, &cookie) == NGX_OK)
    {
        ngx_mapi_session_open(r, ctx, sessions, &cookie);
        return;
    }

    if (ctx->session_cookie.len == 0) {
        return;
    }

    ngx_mapi_session_own_key(r, ctx);

    if (u->headers_in.chunked || u->headers_in.content_length_n == -1) {
        ngx_mapi_session_begin(r, ctx, sessions);
        return;
    }

    part = ngx_mapi_session_part(sessions, &ctx->session);
    mapi_session_table_warm_entry(part->table, &ctx->session);
}


static void
ngx_mapi_session_open(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_sessions_t *sessions, ngx_str_t *cookie)
{
    u_char                    user[NGX_MAPI_PIN_USER_MAX];
    ngx_str_t                *value;
    mapi_session_key_t        old;
    mapi_session_who_t        who;
    ngx_mapi_server_t        *servers;
    ngx_mapi_main_conf_t     *mmcf;
    mapi_session_clock_t      clock;
    mapi_session_table_t     *table;
    ngx_mapi_session_part_t  *part;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);
    servers = ctx->mscf->servers.elts;

    ngx_memzero(&who, sizeof(mapi_session_who_t));

    ngx_mapi_session_owner(r, ctx, who.owner);

    who.mailbox = ngx_mapi_session_mailbox(ctx);
    who.endpoint = ctx->endpoint;
    who.anchor = ctx->identity.text;

    ngx_mapi_str(&who.upstream, &ctx->mscf->name);
    ngx_mapi_str(&who.server, &servers[ctx->server].name);
    ngx_mapi_str(&who.address, &r->connection->addr_text);

    value = ngx_mapi_request_header(r, "X-ClientApplication");

    if (value) {
        ngx_mapi_str(&who.application, value);
    }

    if (r->headers_in.user_agent) {
        ngx_mapi_str(&who.agent, &r->headers_in.user_agent->value);
    }

    ngx_mapi_session_user(r, ctx, user, sizeof(user), &who);

    ngx_mapi_session_clock(mmcf, &clock);
    ngx_mapi_session_key(r, ctx, cookie, &ctx->session);

    /* with the cookie of another one the server lets that one go */

    if (ctx->session_cookie.len) {
        ngx_mapi_session_key(r, ctx, &ctx->session_cookie, &old);

        if (ngx_memcmp(&old, &ctx->session, sizeof(mapi_session_key_t)) != 0) {
            part = ngx_mapi_session_part(sessions, &old);
            table = ngx_mapi_session_lock(part);
            (void) mapi_session_table_end(table, &old,
                                          mapi_session_by_connect);
            ngx_mapi_session_unlock(part);
        }
    }

    part = ngx_mapi_session_part(sessions, &ctx->session);

    table = ngx_mapi_session_lock(part);
    mapi_session_table_open(table, &ctx->session, &who, &clock);
    ngx_mapi_session_unlock(part);

    ctx->session_known = 1;
    ctx->session_opened = 1;
}


static void
ngx_mapi_session_begin(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_sessions_t *sessions)
{
    ngx_int_t                 rc;
    mapi_session_done_t       op;
    ngx_mapi_main_conf_t     *mmcf;
    mapi_session_clock_t      clock;
    mapi_session_table_t     *table;
    ngx_mapi_session_part_t  *part;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    ngx_mapi_session_clock(mmcf, &clock);
    ngx_mapi_session_describe(r, ctx, &op);

    op.worker = ngx_pid;

    part = ngx_mapi_session_part(sessions, &ctx->session);

    table = ngx_mapi_session_lock(part);
    rc = mapi_session_table_begin(table, &ctx->session, &op, &clock);
    ngx_mapi_session_unlock(part);

    ctx->session_known = (rc == MAPI_OK);
    ctx->session_active = (rc == MAPI_OK);
}


/*
 * Whatever became of the request: its last word, from the log phase.  code is
 * X-ResponseCode, or NGX_MAPI_CODE_UNKNOWN if nobody has looked.
 */

void
ngx_mapi_session_end(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_int_t code)
{
    ngx_int_t                 rc;
    ngx_uint_t                ends;
    mapi_session_done_t       op;
    mapi_session_reason_e     reason;
    ngx_mapi_sessions_t      *sessions;
    ngx_mapi_main_conf_t     *mmcf;
    mapi_session_clock_t      clock;
    mapi_session_table_t     *table;
    ngx_mapi_session_part_t  *part;

    sessions = ngx_mapi_sessions(r);

    if (sessions == NULL
        || ctx->observe || ctx->refused || ctx->server < 0
        || r->upstream == NULL
        || (ctx->session_cookie.len == 0 && !ctx->session_opened))
    {
        return;
    }

    ngx_mapi_session_describe(r, ctx, &op);

    /* nobody has said yet that this client may use the session */

    if (op.status == NGX_HTTP_UNAUTHORIZED) {
        return;
    }

    ngx_mapi_session_own_key(r, ctx);

    part = ngx_mapi_session_part(sessions, &ctx->session);
    mapi_session_table_warm_op(part->table, &ctx->session);

    op.duration = ngx_mapi_watch_elapsed(r);
    op.pending = ctx->watch ? ctx->watch->stream.pending : 0;

    if (code == NGX_MAPI_CODE_UNKNOWN) {
        code = op.status ? ngx_mapi_watch_code(r, ctx) : -1;
    }

    op.code = (int) ngx_min(code, INT32_MAX);
    op.closed = ngx_mapi_session_closed(r, ctx);
    op.worker = ctx->session_active ? ngx_pid : 0;
    op.received = r->request_length;
    op.sent = r->connection->sent;

    ends = 0;
    reason = mapi_session_by_client;

    if (ctx->session_opened) {

        /* the code may have come late: then the server has opened nothing */

        ends = (op.code != 0);
        reason = mapi_session_by_failure;

    } else if (ngx_mapi_session_is(ctx, "Disconnect", "Unbind")) {
        ends = (op.status == NGX_HTTP_OK && op.code == 0);
    }

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    ngx_mapi_session_clock(mmcf, &clock);

    table = ngx_mapi_session_lock(part);

    rc = ends ? mapi_session_table_end(table, &ctx->session, reason)
              : mapi_session_table_done(table, &ctx->session, &op, &clock);

    ngx_mapi_session_unlock(part);

    ctx->session_known |= (rc == MAPI_OK);
}


/*
 * The session of a request, if the table has it: NGX_OK with its key.  Not a
 * use of it.
 */

ngx_int_t
ngx_mapi_session_find(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_session_key_t *key)
{
    ngx_int_t                 rc;
    ngx_mapi_sessions_t      *sessions;
    ngx_mapi_main_conf_t     *mmcf;
    mapi_session_clock_t      clock;
    mapi_session_table_t     *table;
    ngx_mapi_session_part_t  *part;

    if (ctx->session_known) {
        *key = ctx->session;
        return NGX_OK;
    }

    sessions = ngx_mapi_sessions(r);

    if (sessions == NULL
        || ctx->observe || ctx->refused || ctx->server < 0
        || ctx->session_cookie.len == 0)
    {
        return NGX_DECLINED;
    }

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    ngx_mapi_session_own_key(r, ctx);
    ngx_mapi_session_clock(mmcf, &clock);

    *key = ctx->session;

    part = ngx_mapi_session_part(sessions, key);

    table = ngx_mapi_session_lock(part);
    rc = mapi_session_table_find(table, key, &clock);
    ngx_mapi_session_unlock(part);

    return rc == MAPI_OK ? NGX_OK : NGX_DECLINED;
}


static ngx_mapi_session_part_t *
ngx_mapi_session_part(ngx_mapi_sessions_t *sessions, mapi_session_key_t *key)
{
    return &sessions->part[(key->h[0] >> 32) % sessions->nparts];
}


/* who has to wait is counted, for the status page */

static mapi_session_table_t *
ngx_mapi_session_lock(ngx_mapi_session_part_t *part)
{
    if (ngx_shmtx_trylock(&part->shpool->mutex)) {
        return part->table;
    }

    ngx_shmtx_lock(&part->shpool->mutex);
    mapi_session_table_waited(part->table);

    return part->table;
}


static void
ngx_mapi_session_unlock(ngx_mapi_session_part_t *part)
{
    ngx_shmtx_unlock(&part->shpool->mutex);
}


static void
ngx_mapi_session_clock(ngx_mapi_main_conf_t *mmcf,
    mapi_session_clock_t *clock)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    clock->now = ngx_current_msec;
    clock->wall = (int64_t) tp->sec * 1000 + tp->msec;
    clock->timeout = mmcf->session_timeout;
}


static void
ngx_mapi_session_key(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *cookie, mapi_session_key_t *key)
{
    uint64_t               place[2];
    mapi_siphash_t         hash;
    ngx_mapi_server_t     *servers;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);
    servers = ctx->mscf->servers.elts;

    place[0] = ctx->mscf->hash;
    place[1] = servers[ctx->server].hash;

    mapi_siphash128_init(&hash, &mmcf->zone->hash);
    mapi_siphash_update(&hash, place, sizeof(place));
    mapi_siphash_update(&hash, cookie->data, cookie->len);
    mapi_siphash128_final(&hash, key->h);
}


/* the key of the session that the request says it belongs to, or has opened */

static void
ngx_mapi_session_own_key(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    if (ctx->session_opened
        || (ctx->session_keyed && ctx->session_of == ctx->server))
    {
        return;
    }

    ngx_mapi_session_key(r, ctx, &ctx->session_cookie, &ctx->session);

    ctx->session_of = ctx->server;
    ctx->session_keyed = 1;
}


/*
 * By which a mailbox's sessions are found: its GUID, and the name that the
 * client uses, either of which may be all that a page knows.
 */

static void
ngx_mapi_session_owner(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    uint64_t *owner)
{
    mapi_guid_t           *guid;
    mapi_siphash_t         hash;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);

    owner[0] = 0;
    owner[1] = 0;

    guid = ngx_mapi_session_mailbox(ctx);

    if (guid) {
        mapi_siphash_init(&hash, &mmcf->zone->hash);
        mapi_siphash_update(&hash, &ctx->mscf->hash, sizeof(uint64_t));
        mapi_siphash_update(&hash, guid->b, sizeof(guid->b));
        owner[0] = mapi_siphash_final(&hash);
    }

    if (ctx->identity.kind != mapi_identity_none) {
        mapi_siphash_init(&hash, &mmcf->zone->hash);
        mapi_siphash_update(&hash, &ctx->mscf->hash, sizeof(uint64_t));
        mapi_siphash_update(&hash, ctx->identity.text.data,
                            ctx->identity.text.len);
        owner[1] = mapi_siphash_final(&hash);
    }
}


/* of the directory, else the one in the request */

static mapi_guid_t *
ngx_mapi_session_mailbox(ngx_mapi_ctx_t *ctx)
{
    if (ctx->found) {
        return &ctx->mailbox;
    }

    return ctx->identity.kind == mapi_identity_guid ? &ctx->identity.guid
                                                    : NULL;
}


static ngx_uint_t
ngx_mapi_session_is(ngx_mapi_ctx_t *ctx, char *one, char *other)
{
    char       *name;
    ngx_str_t  *type;

    type = &ctx->request_type;

    name = (ctx->endpoint == mapi_endpoint_emsmdb) ? one : other;

    return type->len == ngx_strlen(name)
           && ngx_strncasecmp(type->data, (u_char *) name, type->len) == 0;
}


/*
 * The cookie by which a server's answer opens a session.  Of two with one name
 * clients keep the last one.
 */

static ngx_int_t
ngx_mapi_session_opened(ngx_http_request_t *r, ngx_str_t *cookie)
{
    u_char           *end;
    ngx_str_t         next;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    cookie->len = 0;

    for (part = &r->upstream->headers_in.headers.part; part; part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len != sizeof("Set-Cookie") - 1
                || ngx_strncasecmp(h[i].key.data, (u_char *) "Set-Cookie",
                                   sizeof("Set-Cookie") - 1)
                   != 0)
            {
                continue;
            }

            /* attributes follow, only the pair is the cookie */

            end = ngx_strlchr(h[i].value.data,
                              h[i].value.data + h[i].value.len, ';');

            if (end == NULL) {
                end = h[i].value.data + h[i].value.len;
            }

            next.len = 0;
            ngx_mapi_session_note_cookie(&next, h[i].value.data, end);

            if (next.len
                && (cookie->len == 0 || next.data[0] == 'M'
                    || cookie->data[0] == 's'))
            {
                *cookie = next;
            }
        }
    }

    return cookie->len ? NGX_OK : NGX_DECLINED;
}


/*
 * "name=value" between p and end: is it a session's?  Exchange has MapiContext,
 * Gromox sid; the first one of a name counts, and MapiContext goes before.
 * The name is part of what is noted.
 */

void
ngx_mapi_session_note_cookie(ngx_str_t *cookie, u_char *p, u_char *end)
{
    size_t      len;
    ngx_uint_t  exchange;

    while (end > p && end[-1] == ' ') {
        end--;
    }

    len = end - p;

    exchange = len > sizeof("MapiContext=") - 1
               && ngx_memcmp(p, "MapiContext=", sizeof("MapiContext=") - 1)
                  == 0;

    if (!exchange
        && (len <= sizeof("sid=") - 1
            || ngx_memcmp(p, "sid=", sizeof("sid=") - 1) != 0))
    {
        return;
    }

    if (cookie->len == 0 || (exchange && cookie->data[0] == 's')) {
        cookie->data = p;
        cookie->len = len;
    }
}


/* a good answer: the server has believed what the credentials say */

static void
ngx_mapi_session_user(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx, u_char *buf,
    size_t size, mapi_session_who_t *who)
{
    ngx_mapi_pin_data_t  *pd;

    who->scheme = ctx->auth.scheme;

    if (mapi_auth_user(&ctx->auth, buf, size, &who->user) != MAPI_DECLINED) {
        return;
    }

    pd = ctx->mscf->pin ? ngx_mapi_pin_data(r) : NULL;

    if (pd && pd->pin && who->scheme == mapi_auth_none) {
        who->scheme = pd->pin->scheme;
        ngx_mapi_str(&who->user, &pd->pin->user);
    }
}


static void
ngx_mapi_session_describe(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_session_done_t *op)
{
    ngx_http_upstream_t  *u;

    ngx_memzero(op, sizeof(mapi_session_done_t));

    ngx_mapi_str(&op->type, &ctx->request_type);
    ngx_mapi_str(&op->id, &ctx->request_id);

    op->start = (int64_t) r->start_sec * 1000 + r->start_msec;

    /* an error_page may have taken the answer's place, and asked others */

    u = ctx->watch ? ngx_mapi_watch_server(r, ctx->watch) : r->upstream;
    op->status = u ? ngx_mapi_log_server_status(u) : 0;
}


/* who ended it before it was whole, in the words of the log */

static mapi_session_closed_e
ngx_mapi_session_closed(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_mapi_end_e  end;

    end = ctx->watch ? ctx->watch->end : ngx_mapi_end_none;

    if (end == ngx_mapi_end_none) {
        end = ngx_mapi_watch_gone(r);
    }

    switch (end) {

    case ngx_mapi_end_none:
        return mapi_session_closed_none;

    case ngx_mapi_end_client:
        return mapi_session_closed_client;

    case ngx_mapi_end_connect:
    case ngx_mapi_end_closed:
    case ngx_mapi_end_reset:
        return mapi_session_closed_server;

    default:
        return mapi_session_closed_proxy;
    }
}


void
ngx_mapi_session_scan_all(ngx_mapi_main_conf_t *mmcf,
    ngx_mapi_session_scan_t *scan)
{
    ngx_memzero(scan, sizeof(ngx_mapi_session_scan_t));

    scan->mmcf = mmcf;
}


void
ngx_mapi_session_scan_mailbox(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_session_scan_t *scan)
{
    ngx_memzero(scan, sizeof(ngx_mapi_session_scan_t));

    scan->mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_module);
    scan->chosen = 1;

    if (scan->mmcf->sessions) {
        ngx_mapi_session_owner(r, ctx, scan->owner);
    }
}


ngx_int_t
ngx_mapi_session_next(ngx_mapi_session_scan_t *scan, mapi_session_t *copy)
{
    int                       rc;
    ngx_mapi_sessions_t      *sessions;
    mapi_session_clock_t      clock;
    mapi_session_table_t     *table;
    ngx_mapi_session_part_t  *part;

    sessions = scan->mmcf->sessions;

    ngx_mapi_session_clock(scan->mmcf, &clock);

    while (sessions && scan->part < sessions->nparts) {
        part = &sessions->part[scan->part];

        table = ngx_mapi_session_lock(part);

        rc = mapi_session_table_scan(table, &scan->pos, NGX_MAPI_SESSION_LOOKS,
                                     scan->chosen ? scan->owner : NULL, &clock,
                                     copy);

        ngx_mapi_session_unlock(part);

        if (rc == MAPI_OK) {
            ngx_mapi_session_bury(copy);
            return NGX_OK;
        }

        if (rc == MAPI_ERROR) {
            scan->part++;
            scan->pos = 0;
        }
    }

    return NGX_DONE;
}


/* what a worker had in hand that is gone has gone with it */

static void
ngx_mapi_session_bury(mapi_session_t *copy)
{
    unsigned                i;
    mapi_session_active_t  *active;

    for (i = 0; i < MAPI_SESSION_ACTIVE; i++) {
        active = &copy->active[i];

        if (active->worker <= 0
            || (kill(active->worker, 0) == -1 && ngx_errno == NGX_ESRCH))
        {
            active->worker = 0;
        }
    }
}


void
ngx_mapi_session_totals(ngx_mapi_main_conf_t *mmcf,
    mapi_session_totals_t *totals)
{
    ngx_uint_t                i;
    ngx_mapi_sessions_t      *sessions;
    mapi_session_clock_t      clock;
    mapi_session_table_t     *table;
    ngx_mapi_session_part_t  *part;

    ngx_memzero(totals, sizeof(mapi_session_totals_t));

    sessions = mmcf->sessions;

    ngx_mapi_session_clock(mmcf, &clock);

    for (i = 0; sessions && i < sessions->nparts; i++) {
        part = &sessions->part[i];

        table = ngx_mapi_session_lock(part);
        mapi_session_table_totals(table, &clock, totals);
        ngx_mapi_session_unlock(part);
    }
}


/* one worker's end is as good as another's to say what all have counted */

void
ngx_mapi_session_exit_process(ngx_cycle_t *cycle)
{
    uint64_t               *ended;
    ngx_mapi_main_conf_t   *mmcf;
    mapi_session_totals_t   totals;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || !mmcf->used || mmcf->sessions == NULL) {
        return;
    }

    ngx_mapi_session_totals(mmcf, &totals);

    if (totals.opened == 0) {
        return;
    }

    ended = totals.ended;

    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "mapi: sessions: %uL now, room for %uL, %uL opened; ended: "
                  "%uL by their client, %uL replaced, %uL idle, %uL not opened "
                  "after all, %uL forgotten in a full zone, %uL lost; waited "
                  "%uL times for a lock",
                  totals.count, totals.room, totals.opened,
                  ended[mapi_session_by_client],
                  ended[mapi_session_by_connect],
                  ended[mapi_session_by_timeout],
                  ended[mapi_session_by_failure],
                  ended[mapi_session_by_space],
                  ended[mapi_session_by_damage], totals.waits);
}
