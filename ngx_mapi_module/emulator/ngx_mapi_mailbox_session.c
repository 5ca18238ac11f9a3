
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


/* a request whose worker died must not keep a context for ever, ms */
#define NGX_MAPI_MAILBOX_ORPHAN  600000


/* a session context; requests refer to it by its number, never by address */
typedef struct {
    ngx_rbtree_node_t   node;         /* key: the number */
    ngx_queue_t         queue;
    uint64_t            id;
    mapi_guid_t         mailbox;
    mapi_endpoint_e     endpoint;
    u_char              digest[16];   /* of the user */
    ngx_msec_t          used;
    ngx_msec_t          idle;
    ngx_uint_t          counter;
    uint32_t            random;
    uint32_t            previous;
    ngx_uint_t          active;       /* requests in progress */
    ngx_uint_t          events;
    size_t              machine_len;
    u_char              machine[NGX_MAPI_MAILBOX_MACHINE_MAX];
    unsigned            busy:1;       /* a sequenced request is in progress */
    unsigned            broken:1;     /* the last one was aborted */
} ngx_mapi_mailbox_session_t;


static ngx_mapi_mailbox_session_t *ngx_mapi_mailbox_session_find(
    ngx_mapi_mailbox_zone_t *zone, uint64_t id);
static ngx_uint_t ngx_mapi_mailbox_session_expired(
    ngx_mapi_mailbox_session_t *s);
static void ngx_mapi_mailbox_session_delete(ngx_mapi_mailbox_zone_t *zone,
    ngx_mapi_mailbox_session_t *s);
static void ngx_mapi_mailbox_session_use(ngx_mapi_mailbox_zone_t *zone,
    ngx_mapi_mailbox_session_t *s);
static ngx_mapi_mailbox_session_t *ngx_mapi_mailbox_session_alloc(
    ngx_mapi_mailbox_zone_t *zone);
static ngx_uint_t ngx_mapi_mailbox_session_cookie(ngx_mapi_mailbox_ctx_t *ctx,
    uint64_t *id);
static ngx_uint_t ngx_mapi_mailbox_session_check(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_mapi_mailbox_session_t *s);
static ngx_uint_t ngx_mapi_mailbox_session_sequence(
    ngx_mapi_mailbox_ctx_t *ctx, ngx_mapi_mailbox_session_t *s, u_char *next);
static ngx_uint_t ngx_mapi_mailbox_session_cookies(
    ngx_mapi_mailbox_ctx_t *ctx, uint64_t id);


ngx_uint_t
ngx_mapi_mailbox_session_open(ngx_mapi_mailbox_ctx_t *ctx)
{
    uint64_t                     old;
    ngx_uint_t                   code;
    ngx_mapi_mailbox_shm_t      *sh;
    ngx_mapi_mailbox_zone_t     *zone;
    ngx_mapi_mailbox_session_t  *s;

    zone = ctx->zone;
    sh = zone->sh;
    old = 0;

    ctx->new_sequence.data = ngx_pnalloc(ctx->request->pool,
                                         NGX_MAPI_MAILBOX_SEQUENCE_MAX);
    if (ctx->new_sequence.data == NULL) {
        return NGX_MAPI_CODE_UNKNOWN;
    }

    if (ctx->context.len) {
        code = ngx_mapi_mailbox_session_cookie(ctx, &old);
        if (code) {
            return code;
        }
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    if (old) {
        s = ngx_mapi_mailbox_session_find(zone, old);

        code = ngx_mapi_mailbox_session_check(ctx, s);
        if (code) {
            ngx_shmtx_unlock(&zone->shpool->mutex);
            return code;
        }

        ngx_mapi_mailbox_session_delete(zone, s);
    }

    s = ngx_mapi_mailbox_session_alloc(zone);

    if (s == NULL) {
        ngx_shmtx_unlock(&zone->shpool->mutex);

        ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                      "no room for a session context in zone \"%V\", "
                      "make the zone larger", &zone->shm_zone->shm.name);

        ctx->reason = "The server has no memory for another session context.";
        return NGX_MAPI_CODE_UNKNOWN;
    }

    s->id = ++sh->last_id;
    s->mailbox = ctx->mailbox;
    s->endpoint = ctx->endpoint;
    s->idle = ctx->conf->idle;
    s->used = ngx_current_msec;
    s->counter = 1;
    s->random = (uint32_t) ngx_random() ^ ((uint32_t) ngx_random() << 16);
    s->active = 1;
    ngx_memcpy(s->digest, ctx->digest, 16);

    s->machine_len = ngx_min(ctx->machine.len, NGX_MAPI_MAILBOX_MACHINE_MAX);
    ngx_memcpy(s->machine, ctx->machine.data, s->machine_len);

    s->node.key = (ngx_rbtree_key_t) s->id;
    ngx_rbtree_insert(&sh->sessions, &s->node);
    ngx_queue_insert_head(&sh->lru, &s->queue);
    sh->nsessions++;

    ctx->session = s->id;
    ctx->active = 1;
    ctx->new_sequence.len = ngx_mapi_mailbox_sequence_write(
                                ctx->new_sequence.data, s->counter, s->random);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return ngx_mapi_mailbox_session_cookies(ctx, ctx->session);
}


ngx_uint_t
ngx_mapi_mailbox_session_begin(ngx_mapi_mailbox_ctx_t *ctx)
{
    u_char                      *next;
    uint64_t                     id;
    ngx_uint_t                   code, flags;
    ngx_mapi_mailbox_zone_t     *zone;
    ngx_mapi_mailbox_session_t  *s;

    zone = ctx->zone;
    flags = ctx->type->flags;

    if (ctx->context.len == 0) {

        if (flags & NGX_MAPI_TYPE_PING && !ctx->conf->owner) {
            return NGX_MAPI_CODE_SUCCESS;
        }

        ctx->reason = "The request is missing the MapiContext cookie.";
        return NGX_MAPI_CODE_MISSING_COOKIE;
    }

    if (flags & NGX_MAPI_TYPE_SEQUENCED && ctx->sequence.len == 0) {
        ctx->reason = "The request is missing the MapiSequence cookie.";
        return NGX_MAPI_CODE_MISSING_COOKIE;
    }

    code = ngx_mapi_mailbox_session_cookie(ctx, &id);
    if (code) {
        return code;
    }

    next = ngx_pnalloc(ctx->request->pool, NGX_MAPI_MAILBOX_SEQUENCE_MAX);
    if (next == NULL) {
        return NGX_MAPI_CODE_UNKNOWN;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    s = ngx_mapi_mailbox_session_find(zone, id);

    code = ngx_mapi_mailbox_session_check(ctx, s);

    if (code == NGX_MAPI_CODE_SUCCESS && flags & NGX_MAPI_TYPE_SEQUENCED) {
        code = ngx_mapi_mailbox_session_sequence(ctx, s, next);
    }

    if (code == NGX_MAPI_CODE_SUCCESS) {
        s->active++;
        ctx->session = id;
        ctx->active = 1;
        ngx_mapi_mailbox_session_use(zone, s);
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    if (code || flags & NGX_MAPI_TYPE_CLOSE) {
        return code;
    }

    return ngx_mapi_mailbox_session_cookies(ctx, id);
}


void
ngx_mapi_mailbox_session_end(ngx_mapi_mailbox_ctx_t *ctx, ngx_uint_t aborted)
{
    ngx_mapi_mailbox_zone_t     *zone;
    ngx_mapi_mailbox_session_t  *s;

    if (!ctx->active) {
        return;
    }

    ctx->active = 0;
    zone = ctx->zone;

    ngx_shmtx_lock(&zone->shpool->mutex);

    s = ngx_mapi_mailbox_session_find(zone, ctx->session);

    if (s) {
        if (s->active) {
            s->active--;
        }

        if (ctx->sequenced) {
            s->busy = 0;
            s->broken = aborted;
        }

        if (ctx->type->flags & NGX_MAPI_TYPE_CLOSE && !aborted) {
            ngx_mapi_mailbox_session_delete(zone, s);

        } else {
            ngx_mapi_mailbox_session_use(zone, s);
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    ctx->sequenced = 0;
}


void
ngx_mapi_mailbox_session_touch(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_mapi_mailbox_zone_t     *zone;
    ngx_mapi_mailbox_session_t  *s;

    if (!ctx->active) {
        return;
    }

    zone = ctx->zone;

    ngx_shmtx_lock(&zone->shpool->mutex);

    s = ngx_mapi_mailbox_session_find(zone, ctx->session);

    if (s) {
        ngx_mapi_mailbox_session_use(zone, s);
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


ngx_int_t
ngx_mapi_mailbox_session_events(ngx_mapi_mailbox_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_mapi_mailbox_zone_t     *zone;
    ngx_mapi_mailbox_session_t  *s;

    zone = ctx->zone;

    ngx_shmtx_lock(&zone->shpool->mutex);

    s = ngx_mapi_mailbox_session_find(zone, ctx->session);

    if (s == NULL) {
        rc = NGX_DECLINED;

    } else if (s->events == 0) {
        rc = NGX_AGAIN;

    } else {
        s->events = 0;
        rc = NGX_OK;
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return rc;
}


ngx_uint_t
ngx_mapi_mailbox_session_notify(ngx_mapi_mailbox_zone_t *zone,
    const mapi_guid_t *mailbox)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *q;
    ngx_mapi_mailbox_session_t  *s;

    n = 0;

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (q = ngx_queue_head(&zone->sh->lru);
         q != ngx_queue_sentinel(&zone->sh->lru);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_mapi_mailbox_session_t, queue);

        if (s->endpoint == mapi_endpoint_emsmdb
            && ngx_memcmp(&s->mailbox, mailbox, sizeof(mapi_guid_t)) == 0)
        {
            s->events++;
            n++;
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    (void) ngx_atomic_fetch_add(&zone->sh->events, 1);

    return n;
}


ngx_uint_t
ngx_mapi_mailbox_session_count(ngx_mapi_mailbox_zone_t *zone,
    const ngx_str_t *machine)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *q;
    ngx_mapi_mailbox_session_t  *s;

    n = 0;

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (q = ngx_queue_head(&zone->sh->lru);
         q != ngx_queue_sentinel(&zone->sh->lru);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_mapi_mailbox_session_t, queue);

        if (s->machine_len == machine->len
            && ngx_memcmp(s->machine, machine->data, machine->len) == 0
            && !ngx_mapi_mailbox_session_expired(s))
        {
            n++;
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return n;
}


/* the caller holds the mutex; an expired one is deleted and not found */
static ngx_mapi_mailbox_session_t *
ngx_mapi_mailbox_session_find(ngx_mapi_mailbox_zone_t *zone, uint64_t id)
{
    ngx_rbtree_key_t             key;
    ngx_rbtree_node_t           *node, *sentinel;
    ngx_mapi_mailbox_session_t  *s;

    key = (ngx_rbtree_key_t) id;
    node = zone->sh->sessions.root;
    sentinel = zone->sh->sessions.sentinel;

    while (node != sentinel) {

        if (key != node->key) {
            node = (key < node->key) ? node->left : node->right;
            continue;
        }

        s = (ngx_mapi_mailbox_session_t *) node;

        if (ngx_mapi_mailbox_session_expired(s)) {
            ngx_mapi_mailbox_session_delete(zone, s);
            return NULL;
        }

        return s;
    }

    return NULL;
}


/* only time without a request in progress counts */
static ngx_uint_t
ngx_mapi_mailbox_session_expired(ngx_mapi_mailbox_session_t *s)
{
    ngx_msec_int_t  unused;

    unused = (ngx_msec_int_t) (ngx_current_msec - s->used);

    if (s->active) {
        return unused > (ngx_msec_int_t) s->idle
               && unused > NGX_MAPI_MAILBOX_ORPHAN;
    }

    return unused > (ngx_msec_int_t) s->idle;
}


/* the caller holds the mutex; requests that still have the number notice */
static void
ngx_mapi_mailbox_session_delete(ngx_mapi_mailbox_zone_t *zone,
    ngx_mapi_mailbox_session_t *s)
{
    if (s->active) {
        (void) ngx_atomic_fetch_add(&zone->sh->events, 1);
    }

    ngx_rbtree_delete(&zone->sh->sessions, &s->node);
    ngx_queue_remove(&s->queue);
    zone->sh->nsessions--;

    ngx_slab_free_locked(zone->shpool, s);
}


/* the caller holds the mutex */
static void
ngx_mapi_mailbox_session_use(ngx_mapi_mailbox_zone_t *zone,
    ngx_mapi_mailbox_session_t *s)
{
    s->used = ngx_current_msec;

    ngx_queue_remove(&s->queue);
    ngx_queue_insert_head(&zone->sh->lru, &s->queue);
}


/* the caller holds the mutex; takes the longest unused one if it must */
static ngx_mapi_mailbox_session_t *
ngx_mapi_mailbox_session_alloc(ngx_mapi_mailbox_zone_t *zone)
{
    ngx_uint_t                   i;
    ngx_queue_t                 *q, *prev;
    ngx_mapi_mailbox_session_t  *s, *p;

    q = ngx_queue_last(&zone->sh->lru);

    for (i = 0; i < 2 && q != ngx_queue_sentinel(&zone->sh->lru); i++) {
        prev = ngx_queue_prev(q);
        p = ngx_queue_data(q, ngx_mapi_mailbox_session_t, queue);

        if (ngx_mapi_mailbox_session_expired(p)) {
            ngx_mapi_mailbox_session_delete(zone, p);
        }

        q = prev;
    }

    s = ngx_slab_calloc_locked(zone->shpool,
                               sizeof(ngx_mapi_mailbox_session_t));
    if (s) {
        return s;
    }

    q = ngx_queue_last(&zone->sh->lru);

    for (i = 0; i < 64 && q != ngx_queue_sentinel(&zone->sh->lru); i++) {
        p = ngx_queue_data(q, ngx_mapi_mailbox_session_t, queue);

        if (p->active == 0) {
            ngx_mapi_mailbox_session_delete(zone, p);
            zone->sh->forgotten++;

            return ngx_slab_calloc_locked(zone->shpool,
                                          sizeof(ngx_mapi_mailbox_session_t));
        }

        q = ngx_queue_prev(q);
    }

    return NULL;
}


/*
 * Reads MapiContext.  Where the mailbox is known, the context must live on
 * its database's server: after a failover it is another machine's.
 */
static ngx_uint_t
ngx_mapi_mailbox_session_cookie(ngx_mapi_mailbox_ctx_t *ctx, uint64_t *id)
{
    ngx_int_t                    rc;
    ngx_str_t                   *expected;
    ngx_mapi_mailbox_shm_t      *sh;
    ngx_mapi_mailbox_context_t   c;

    sh = ctx->zone->sh;

    rc = ngx_mapi_mailbox_context_read(ctx->request->pool, &ctx->context, &c);

    if (rc == NGX_ERROR) {
        return NGX_MAPI_CODE_UNKNOWN;
    }

    if (rc == NGX_DECLINED) {
        ctx->reason = "The MapiContext cookie cannot be read.";
        return NGX_MAPI_CODE_CONTEXT_COOKIE;
    }

    expected = ctx->conf->owner ? &ctx->conf->machine : &ctx->machine;

    if ((ctx->conf->owner || ctx->place != ngx_mapi_place_unknown)
        && (c.machine.len != expected->len
            || ngx_memcmp(c.machine.data, expected->data, expected->len)
               != 0))
    {
        ctx->reason = "Context cookie for a different BE machine; possible "
                      "failover detected.";
        return NGX_MAPI_CODE_NO_CONTEXT;
    }

    if (c.instance.len != sh->instance_len
        || ngx_memcmp(c.instance.data, sh->instance, sh->instance_len) != 0)
    {
        ctx->reason = "Context cookie for previous instance on this BE "
                      "machine; possible application pool recycle detected.";
        return NGX_MAPI_CODE_NO_CONTEXT;
    }

    *id = c.id;

    return NGX_MAPI_CODE_SUCCESS;
}


/* the caller holds the mutex */
static ngx_uint_t
ngx_mapi_mailbox_session_check(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_mapi_mailbox_session_t *s)
{
    if (s == NULL || s->endpoint != ctx->endpoint) {
        ctx->reason = "The session context was not found.";
        return NGX_MAPI_CODE_NO_CONTEXT;
    }

    if (ngx_memcmp(s->digest, ctx->digest, 16) != 0) {
        ctx->reason = "The session context belongs to another user.";
        return NGX_MAPI_CODE_NO_CONTEXT;
    }

    return NGX_MAPI_CODE_SUCCESS;
}


/*
 * Takes the sequence; the caller holds the mutex.  Whoever lost an answer may
 * have seen the new cookie or not, so after an abort both count once.
 */
static ngx_uint_t
ngx_mapi_mailbox_session_sequence(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_mapi_mailbox_session_t *s, u_char *next)
{
    size_t      len;
    u_char      buf[NGX_MAPI_MAILBOX_SEQUENCE_MAX];
    ngx_uint_t  match;

    if (s->busy) {
        ctx->reason = "Another request of this session context is in "
                      "progress.";
        return NGX_MAPI_CODE_SEQUENCE;
    }

    len = ngx_mapi_mailbox_sequence_write(buf, s->counter, s->random);

    match = (len == ctx->sequence.len
             && ngx_memcmp(buf, ctx->sequence.data, len) == 0);

    if (!match && s->broken) {
        len = ngx_mapi_mailbox_sequence_write(buf, s->counter - 1,
                                              s->previous);

        match = (len == ctx->sequence.len
                 && ngx_memcmp(buf, ctx->sequence.data, len) == 0);
    }

    if (!match) {
        ctx->reason = "The MapiSequence cookie is not the expected one.";
        return NGX_MAPI_CODE_SEQUENCE;
    }

    s->busy = 1;
    s->broken = 0;
    s->counter++;
    s->previous = s->random;
    s->random = (uint32_t) ngx_random() ^ ((uint32_t) ngx_random() << 16);

    ctx->sequenced = 1;
    ctx->new_sequence.data = next;
    ctx->new_sequence.len = ngx_mapi_mailbox_sequence_write(next, s->counter,
                                                            s->random);
    return NGX_MAPI_CODE_SUCCESS;
}


/* the text of MapiContext for the answer; where the context lives */
static ngx_uint_t
ngx_mapi_mailbox_session_cookies(ngx_mapi_mailbox_ctx_t *ctx, uint64_t id)
{
    ngx_mapi_mailbox_context_t  c;

    if (ctx->context.len && !(ctx->type->flags & NGX_MAPI_TYPE_OPEN)) {
        ctx->new_context = ctx->context;
        return NGX_MAPI_CODE_SUCCESS;
    }

    c.machine = ctx->machine;
    c.instance.len = ctx->zone->sh->instance_len;
    c.instance.data = ctx->zone->sh->instance;
    c.id = id;

    if (ngx_mapi_mailbox_context_write(ctx->request->pool, &c,
                                       &ctx->new_context)
        != NGX_OK)
    {
        return NGX_MAPI_CODE_UNKNOWN;
    }

    return NGX_MAPI_CODE_SUCCESS;
}
