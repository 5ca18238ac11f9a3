
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_session_table.h"


/* who is used again within this part of the timeout keeps his place */
#define MAPI_SESSION_MOVE    64

/* looked at from the oldest on: to expire with each opening, and to evict */
#define MAPI_SESSION_EXPIRE  4
#define MAPI_SESSION_EVICT   8
#define MAPI_SESSION_TIDY    64

/* entries begin with a cache line */
#define MAPI_SESSION_STRIDE  ((sizeof(mapi_session_t) + 63) & ~(size_t) 63)


/*
 * What walks need of an entry lies apart from it, so that a walk touches few
 * cache lines.  Indices count from 1, 0 is none.
 */
typedef struct {
    uint32_t               next;       /* in the bucket, or among the free */
    uint32_t               newer;
    uint32_t               older;
    uint32_t               tag;        /* of the key; 0: free */
    uint64_t               owner[2];
} mapi_session_link_t;


/*
 * The first one of a bucket and its tag: most lookups go from here to the entry
 * without a look at its links.
 */
typedef struct {
    uint32_t               first;
    uint32_t               tag;
} mapi_session_bucket_t;


struct mapi_session_table_s {
    uint32_t               size;
    uint32_t               nbuckets;   /* a power of two */
    uint32_t               count;
    uint32_t               free;
    uint32_t               newest;
    uint32_t               oldest;

    /*
     * Set while links change.  A process that is killed in between leaves it
     * set; its stores were made in the order of the program.
     */
    volatile uint32_t      busy;

    /* from the start of the block */
    size_t                 links;
    size_t                 entries;

    mapi_session_totals_t  totals;

    mapi_session_bucket_t  buckets[1];
};


#define mapi_session_links(t)                                                 \
    ((mapi_session_link_t *) ((unsigned char *) (t) + (t)->links))

#define mapi_session_entry(t, i)                                              \
    ((mapi_session_t *) ((unsigned char *) (t) + (t)->entries                 \
                         + ((i) - 1) * MAPI_SESSION_STRIDE))

/* from 0 */
#define mapi_session_index(t, s)                                              \
    (((unsigned char *) (s) - (unsigned char *) mapi_session_entry(t, 1))     \
     / MAPI_SESSION_STRIDE)

#define mapi_session_bucket(t, key)                                           \
    (&(t)->buckets[(key)->h[1] & ((t)->nbuckets - 1)])

#define mapi_session_tag(key)  ((uint32_t) (key)->h[0] | 1)

/* no address can be wrong for it */
#define mapi_session_fetch(p)  __builtin_prefetch((const void *) (p), 1)

#define mapi_session_fence()   __atomic_signal_fence(__ATOMIC_SEQ_CST)


static void mapi_session_reset(mapi_session_table_t *t);
static void mapi_session_mend(mapi_session_table_t *t);
static uint32_t mapi_session_lookup(mapi_session_table_t *t,
    const mapi_session_key_t *key);
static int mapi_session_has_key(mapi_session_table_t *t, uint32_t i,
    const mapi_session_key_t *key);
static mapi_session_t *mapi_session_get(mapi_session_table_t *t,
    const mapi_session_key_t *key, const mapi_session_clock_t *clock);
static uint64_t mapi_session_idle(const mapi_session_t *s,
    const mapi_session_clock_t *clock);
static int mapi_session_alive(const mapi_session_t *s,
    const mapi_session_clock_t *clock);
static int mapi_session_unlink(mapi_session_table_t *t, uint32_t i);
static void mapi_session_link_newest(mapi_session_table_t *t, uint32_t i);
static int mapi_session_touch(mapi_session_table_t *t, uint32_t i,
    const mapi_session_clock_t *clock);
static void mapi_session_remove(mapi_session_table_t *t, uint32_t i,
    mapi_session_reason_e reason);
static void mapi_session_expire(mapi_session_table_t *t,
    const mapi_session_clock_t *clock, uint32_t limit);
static void mapi_session_evict(mapi_session_table_t *t);
static void mapi_session_insert(mapi_session_table_t *t,
    const mapi_session_key_t *key, const mapi_session_who_t *who,
    const mapi_session_clock_t *clock);


mapi_session_table_t *
mapi_session_table_init(void *block, size_t size)
{
    size_t                 n, each, room, nbuckets;
    mapi_session_table_t  *t;

    each = MAPI_SESSION_STRIDE + sizeof(mapi_session_link_t)
           + 2 * sizeof(mapi_session_bucket_t);

    /* 128: what alignment may cost */

    if (size < sizeof(mapi_session_table_t) + 128 + each) {
        return NULL;
    }

    room = size - sizeof(mapi_session_table_t) - 128;
    n = room / each;

    if (n > 0x7fffffff) {
        n = 0x7fffffff;
    }

    /* one or two buckets for each entry */

    for (nbuckets = 1; nbuckets < n; nbuckets *= 2) { /* void */ }

    t = block;
    memset(t, 0, sizeof(mapi_session_table_t));

    t->size = (uint32_t) n;
    t->nbuckets = (uint32_t) nbuckets;

    t->links = sizeof(mapi_session_table_t)
               + nbuckets * sizeof(mapi_session_bucket_t);
    t->links = (t->links + 63) & ~(size_t) 63;

    t->entries = t->links + n * sizeof(mapi_session_link_t);
    t->entries = (t->entries + 63) & ~(size_t) 63;

    mapi_session_reset(t);

    return t;
}


static void
mapi_session_reset(mapi_session_table_t *t)
{
    uint32_t              i;
    mapi_session_link_t  *links;

    links = mapi_session_links(t);

    t->busy = 1;
    mapi_session_fence();

    t->totals.ended[mapi_session_by_damage] += t->count;

    memset(t->buckets, 0, t->nbuckets * sizeof(mapi_session_bucket_t));
    memset(links, 0, t->size * sizeof(mapi_session_link_t));

    for (i = 1; i < t->size; i++) {
        links[i - 1].next = i + 1;
    }

    t->count = 0;
    t->free = 1;
    t->newest = 0;
    t->oldest = 0;

    mapi_session_fence();
    t->busy = 0;
}


static void
mapi_session_mend(mapi_session_table_t *t)
{
    if (t->busy) {
        mapi_session_reset(t);
    }
}


static uint32_t
mapi_session_lookup(mapi_session_table_t *t, const mapi_session_key_t *key)
{
    uint32_t                i, n, tag;
    mapi_session_link_t    *links;
    mapi_session_bucket_t  *bucket;

    bucket = mapi_session_bucket(t, key);
    tag = mapi_session_tag(key);

    i = bucket->first;

    if (i != 0 && i <= t->size && bucket->tag == tag
        && mapi_session_has_key(t, i, key))
    {
        return i;
    }

    links = mapi_session_links(t);

    for (n = 0; i != 0; i = links[i - 1].next) {

        if (i > t->size || ++n > t->size) {
            mapi_session_reset(t);
            return 0;
        }

        if (links[i - 1].tag == tag && mapi_session_has_key(t, i, key)) {
            return i;
        }
    }

    return 0;
}


static int
mapi_session_has_key(mapi_session_table_t *t, uint32_t i,
    const mapi_session_key_t *key)
{
    mapi_session_t  *s;

    s = mapi_session_entry(t, i);

    return s->key.h[0] == key->h[0] && s->key.h[1] == key->h[1];
}


/* the living session of that key, which is now the newest */

static mapi_session_t *
mapi_session_get(mapi_session_table_t *t, const mapi_session_key_t *key,
    const mapi_session_clock_t *clock)
{
    uint32_t         i;
    mapi_session_t  *s;

    mapi_session_mend(t);

    i = mapi_session_lookup(t, key);

    if (i == 0) {
        return NULL;
    }

    s = mapi_session_entry(t, i);

    if (!mapi_session_alive(s, clock)) {
        mapi_session_remove(t, i, mapi_session_by_timeout);
        return NULL;
    }

    return mapi_session_touch(t, i, clock) == MAPI_OK ? s : NULL;
}


/* the clock is every process's own, and one may be a little behind */

static uint64_t
mapi_session_idle(const mapi_session_t *s, const mapi_session_clock_t *clock)
{
    return clock->now > s->touched ? clock->now - s->touched : 0;
}


/* a server counts idleness only while nothing is under way, and so do we */

static int
mapi_session_alive(const mapi_session_t *s, const mapi_session_clock_t *clock)
{
    uint64_t  idle;

    idle = mapi_session_idle(s, clock);

    return idle < clock->timeout
           || (idle < MAPI_SESSION_ACTIVE_MAX && mapi_session_is_active(s));
}


/* out of the order of use; the caller has set "busy" */

static int
mapi_session_unlink(mapi_session_table_t *t, uint32_t i)
{
    mapi_session_link_t  *links, *link;

    links = mapi_session_links(t);
    link = &links[i - 1];

    if (link->newer > t->size || link->older > t->size) {
        mapi_session_reset(t);
        return MAPI_ERROR;
    }

    if (link->newer) {
        links[link->newer - 1].older = link->older;

    } else {
        t->newest = link->older;
    }

    if (link->older) {
        links[link->older - 1].newer = link->newer;

    } else {
        t->oldest = link->newer;
    }

    return MAPI_OK;
}


static void
mapi_session_link_newest(mapi_session_table_t *t, uint32_t i)
{
    mapi_session_link_t  *links;

    links = mapi_session_links(t);

    links[i - 1].newer = 0;
    links[i - 1].older = t->newest;

    if (t->newest) {
        links[t->newest - 1].newer = i;

    } else {
        t->oldest = i;
    }

    t->newest = i;
}


static int
mapi_session_touch(mapi_session_table_t *t, uint32_t i,
    const mapi_session_clock_t *clock)
{
    mapi_session_t  *s;

    s = mapi_session_entry(t, i);

    s->touched = clock->now;

    if (t->newest == i || clock->now - s->moved
                            < clock->timeout / MAPI_SESSION_MOVE) {
        return MAPI_OK;
    }

    s->moved = clock->now;

    if (t->newest > t->size) {
        mapi_session_reset(t);
        return MAPI_ERROR;
    }

    t->busy = 1;
    mapi_session_fence();

    if (mapi_session_unlink(t, i) != MAPI_OK) {
        return MAPI_ERROR;
    }

    mapi_session_link_newest(t, i);

    mapi_session_fence();
    t->busy = 0;

    return MAPI_OK;
}


static void
mapi_session_remove(mapi_session_table_t *t, uint32_t i,
    mapi_session_reason_e reason)
{
    uint32_t               *p, n;
    mapi_session_link_t    *links;
    mapi_session_bucket_t  *bucket;

    links = mapi_session_links(t);
    bucket = mapi_session_bucket(t, &mapi_session_entry(t, i)->key);

    t->busy = 1;
    mapi_session_fence();

    p = &bucket->first;

    for (n = 0; *p != i; p = &links[*p - 1].next) {
        if (*p == 0 || *p > t->size || ++n > t->size) {
            mapi_session_reset(t);
            return;
        }
    }

    if (links[i - 1].next > t->size || mapi_session_unlink(t, i) != MAPI_OK) {
        mapi_session_reset(t);
        return;
    }

    *p = links[i - 1].next;

    bucket->tag = bucket->first ? links[bucket->first - 1].tag : 0;

    links[i - 1].tag = 0;
    links[i - 1].next = t->free;
    t->free = i;
    t->count--;
    t->totals.ended[reason]++;

    mapi_session_fence();
    t->busy = 0;
}


static void
mapi_session_expire(mapi_session_table_t *t, const mapi_session_clock_t *clock,
    uint32_t limit)
{
    uint32_t              i, newer;
    mapi_session_t       *s;
    mapi_session_link_t  *links;

    links = mapi_session_links(t);

    for (i = t->oldest; i && limit; i = newer, limit--) {

        if (i > t->size) {
            mapi_session_reset(t);
            return;
        }

        s = mapi_session_entry(t, i);
        newer = links[i - 1].newer;

        if (!mapi_session_alive(s, clock)) {
            mapi_session_remove(t, i, mapi_session_by_timeout);
            continue;
        }

        /* what is behind an operation under way may be idle all the same */

        if (!mapi_session_is_active(s)) {
            return;
        }
    }
}


/* the order is true to some seconds: of the oldest, who is idle for longest */

static void
mapi_session_evict(mapi_session_table_t *t)
{
    uint32_t              i, n, best;
    mapi_session_t       *s, *idle;
    mapi_session_link_t  *links;

    links = mapi_session_links(t);

    best = 0;
    idle = NULL;
    i = t->oldest;

    for (n = 0; i && i <= t->size && n < MAPI_SESSION_EVICT; n++) {
        s = mapi_session_entry(t, i);

        if (!mapi_session_is_active(s)
            && (idle == NULL || s->touched < idle->touched))
        {
            idle = s;
            best = i;
        }

        i = links[i - 1].newer;
    }

    if (best == 0) {
        best = t->oldest;
    }

    if (best == 0 || best > t->size) {
        mapi_session_reset(t);
        return;
    }

    mapi_session_remove(t, best, mapi_session_by_space);
}


void
mapi_session_table_open(mapi_session_table_t *t, const mapi_session_key_t *key,
    const mapi_session_who_t *who, const mapi_session_clock_t *clock)
{
    mapi_session_t       *s;
    mapi_session_link_t  *link;

    s = mapi_session_get(t, key, clock);

    if (s) {
        link = &mapi_session_links(t)[mapi_session_index(t, s)];

        link->owner[0] = who->owner[0];
        link->owner[1] = who->owner[1];

        mapi_session_describe(s, who);
        return;
    }

    mapi_session_expire(t, clock, MAPI_SESSION_EXPIRE);

    if (t->free == 0) {
        mapi_session_evict(t);
    }

    if (t->free == 0 || t->free > t->size || t->newest > t->size) {
        mapi_session_reset(t);
    }

    mapi_session_insert(t, key, who, clock);
}


static void
mapi_session_insert(mapi_session_table_t *t, const mapi_session_key_t *key,
    const mapi_session_who_t *who, const mapi_session_clock_t *clock)
{
    uint32_t                i;
    mapi_session_t         *s;
    mapi_session_link_t    *link;
    mapi_session_bucket_t  *bucket;

    i = t->free;
    link = &mapi_session_links(t)[i - 1];
    s = mapi_session_entry(t, i);

    /* nobody sees it yet */

    memset(s->active, 0, sizeof(s->active));

    s->key = *key;
    s->ncompleted = 0;
    s->nfailed = 0;
    s->at_completed = 0;
    s->at_failed = 0;
    s->created = clock->wall;
    s->touched = clock->now;
    s->moved = clock->now;
    s->requests = 0;
    s->failures = 0;
    s->received = 0;
    s->sent = 0;

    mapi_session_describe(s, who);

    t->busy = 1;
    mapi_session_fence();

    t->free = link->next;
    t->count++;
    t->totals.opened++;

    bucket = mapi_session_bucket(t, key);

    link->tag = mapi_session_tag(key);
    link->owner[0] = who->owner[0];
    link->owner[1] = who->owner[1];
    link->next = bucket->first;

    bucket->first = i;
    bucket->tag = link->tag;

    mapi_session_link_newest(t, i);

    mapi_session_fence();
    t->busy = 0;
}


void
mapi_session_table_warm_bucket(mapi_session_table_t *t,
    const mapi_session_key_t *key)
{
    mapi_session_fetch(mapi_session_bucket(t, key));
}


void
mapi_session_table_warm_entry(mapi_session_table_t *t,
    const mapi_session_key_t *key)
{
    uint32_t        i;
    unsigned char  *p;

    i = __atomic_load_n(&mapi_session_bucket(t, key)->first,
                        __ATOMIC_RELAXED);

    if (i == 0 || i > t->size) {
        return;
    }

    p = (unsigned char *) mapi_session_entry(t, i);

    mapi_session_fetch(p);
    mapi_session_fetch(&mapi_session_links(t)[i - 1]);
}


void
mapi_session_table_warm_op(mapi_session_table_t *t,
    const mapi_session_key_t *key)
{
    uint32_t        i;
    unsigned        at;
    unsigned char  *p;

    i = __atomic_load_n(&mapi_session_bucket(t, key)->first,
                        __ATOMIC_RELAXED);

    if (i == 0 || i > t->size) {
        return;
    }

    at = __atomic_load_n(&mapi_session_entry(t, i)->at_completed,
                         __ATOMIC_RELAXED)
         % MAPI_SESSION_COMPLETED;

    p = (unsigned char *) &mapi_session_entry(t, i)->completed[at];

    mapi_session_fetch(p);
    mapi_session_fetch(p + sizeof(mapi_session_op_t) - 1);
}


int
mapi_session_table_find(mapi_session_table_t *t, const mapi_session_key_t *key,
    const mapi_session_clock_t *clock)
{
    uint32_t  i;

    mapi_session_mend(t);

    i = mapi_session_lookup(t, key);

    if (i == 0) {
        return MAPI_DECLINED;
    }

    if (!mapi_session_alive(mapi_session_entry(t, i), clock)) {
        mapi_session_remove(t, i, mapi_session_by_timeout);
        return MAPI_DECLINED;
    }

    return MAPI_OK;
}


int
mapi_session_table_begin(mapi_session_table_t *t, const mapi_session_key_t *key,
    const mapi_session_done_t *op, const mapi_session_clock_t *clock)
{
    mapi_session_t  *s;

    s = mapi_session_get(t, key, clock);

    if (s == NULL) {
        return MAPI_DECLINED;
    }

    mapi_session_start(s, op);

    return MAPI_OK;
}


int
mapi_session_table_done(mapi_session_table_t *t, const mapi_session_key_t *key,
    const mapi_session_done_t *op, const mapi_session_clock_t *clock)
{
    mapi_session_t  *s;

    s = mapi_session_get(t, key, clock);

    if (s == NULL) {
        return MAPI_DECLINED;
    }

    mapi_session_finish(s, op);

    return MAPI_OK;
}


int
mapi_session_table_end(mapi_session_table_t *t, const mapi_session_key_t *key,
    mapi_session_reason_e reason)
{
    uint32_t  i;

    mapi_session_mend(t);

    i = mapi_session_lookup(t, key);

    if (i == 0) {
        return MAPI_DECLINED;
    }

    mapi_session_remove(t, i, reason);

    return MAPI_OK;
}


int
mapi_session_table_scan(mapi_session_table_t *t, uint32_t *pos, uint32_t limit,
    const uint64_t *owner, const mapi_session_clock_t *clock,
    mapi_session_t *copy)
{
    uint32_t              i;
    mapi_session_t       *s;
    mapi_session_link_t  *link;

    mapi_session_mend(t);

    while (*pos < t->size) {

        if (limit-- == 0) {
            return MAPI_DECLINED;
        }

        i = ++*pos;
        link = &mapi_session_links(t)[i - 1];

        if (link->tag == 0
            || (owner
                && !(owner[0] && owner[0] == link->owner[0])
                && !(owner[1] && owner[1] == link->owner[1])))
        {
            continue;
        }

        s = mapi_session_entry(t, i);

        if (!mapi_session_alive(s, clock)) {
            mapi_session_remove(t, i, mapi_session_by_timeout);
            continue;
        }

        *copy = *s;
        copy->last = clock->wall - mapi_session_idle(s, clock);

        return MAPI_OK;
    }

    return MAPI_ERROR;
}


void
mapi_session_table_totals(mapi_session_table_t *t,
    const mapi_session_clock_t *clock, mapi_session_totals_t *totals)
{
    unsigned  i;

    mapi_session_mend(t);
    mapi_session_expire(t, clock, MAPI_SESSION_TIDY);

    totals->room += t->size;
    totals->count += t->count;
    totals->opened += t->totals.opened;
    totals->waits += t->totals.waits;

    for (i = 0; i < mapi_session_reasons; i++) {
        totals->ended[i] += t->totals.ended[i];
    }
}


void
mapi_session_table_waited(mapi_session_table_t *t)
{
    t->totals.waits++;
}
