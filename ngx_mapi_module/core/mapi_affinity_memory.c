
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_affinity_memory.h"
#include "mapi_pages.h"

#include <stdlib.h>


/*
 * What is remembered is written one after the other into a ring, from which it
 * goes when that is full.
 *
 * An index leads there.  An entry is the place in all that was ever written,
 * and some bits of the value; one that leads to what has been overwritten is
 * told by its place.
 */

#define MAPI_AFFINITY_UNIT     64              /* a line of the cache */
#define MAPI_AFFINITY_RING     57344           /* units */

#define MAPI_AFFINITY_BITS     13              /* of lines of the index */
#define MAPI_AFFINITY_LINES    (1 << MAPI_AFFINITY_BITS)
#define MAPI_AFFINITY_ENTRIES_OF_LINE  8

#define MAPI_AFFINITY_TAG_BITS 16              /* of an entry: the other ones
                                                  last for decades */

#define MAPI_AFFINITY_NAMES    255     /* upstreams whose values are kept */


typedef struct {
    uint64_t                 entries[MAPI_AFFINITY_ENTRIES_OF_LINE];
} mapi_affinity_line_t;


typedef struct {
    mapi_affinity_line_t     index[MAPI_AFFINITY_LINES];
    unsigned char            ring[MAPI_AFFINITY_RING * MAPI_AFFINITY_UNIT];
} mapi_affinity_map_t;


_Static_assert(sizeof(mapi_affinity_map_t) % MAPI_PAGES_LARGE == 0,
               "whole pages");
_Static_assert(MAPI_AFFINITY_VALUE_MAX <= UINT8_MAX
               && MAPI_AFFINITY_PLAIN_MAX <= UINT8_MAX,
               "lengths are of one byte");


struct mapi_affinity_memory_s {
    mapi_affinity_map_t     *map;
    uint64_t                 head;         /* where the next one is written */
    mapi_str_t              *names;        /* of upstreams, copied */
    unsigned                 nnames;
};


mapi_affinity_memory_t *
mapi_affinity_memory_create(void)
{
    mapi_affinity_memory_t  *m;

    m = calloc(1, sizeof(mapi_affinity_memory_t));
    if (m == NULL) {
        return NULL;
    }

    m->names = calloc(MAPI_AFFINITY_NAMES, sizeof(mapi_str_t));
    m->map = mapi_pages_map(sizeof(mapi_affinity_map_t));

    if (m->names == NULL || m->map == NULL) {
        mapi_affinity_memory_destroy(m);
        return NULL;
    }

    /* an empty entry leads to before the beginning */
    m->head = MAPI_AFFINITY_RING + 1;

    return m;
}


void
mapi_affinity_memory_destroy(mapi_affinity_memory_t *m)
{
    unsigned  i;

    if (m == NULL) {
        return;
    }

    for (i = 0; i < m->nnames; i++) {
        free(m->names[i].data);
    }

    free(m->names);

    mapi_pages_unmap(m->map, sizeof(mapi_affinity_map_t));

    free(m);
}


/* a value ends with its tag, whose bits are as good as random */
static inline uint64_t
mapi_affinity_spread(const unsigned char *value, size_t len)
{
    return mapi_load64(value + len - 8) * 0x9e3779b97f4a7c15ULL;
}


static inline mapi_affinity_line_t *
mapi_affinity_line(mapi_affinity_memory_t *m, uint64_t hash)
{
    return &m->map->index[hash >> (64 - MAPI_AFFINITY_BITS)];
}


static inline uint16_t
mapi_affinity_tag(uint64_t hash)
{
    return (uint16_t) (hash >> (64 - MAPI_AFFINITY_BITS
                                - MAPI_AFFINITY_TAG_BITS));
}


static inline mapi_affinity_slot_t *
mapi_affinity_at(mapi_affinity_memory_t *m, uint64_t place)
{
    return (mapi_affinity_slot_t *) (m->map->ring + place % MAPI_AFFINITY_RING
                                                    * MAPI_AFFINITY_UNIT);
}


/* whether it has not been overwritten */
static inline int
mapi_affinity_is_there(const mapi_affinity_memory_t *m, uint64_t place)
{
    return m->head - place <= MAPI_AFFINITY_RING;
}


/*
 * The next slot with the tag, at or behind *i; NULL if there is no more.  Lines
 * fill from their first entry on.
 */
static inline mapi_affinity_slot_t *
mapi_affinity_next(mapi_affinity_memory_t *m, const mapi_affinity_line_t *line,
    uint16_t tag, unsigned *i)
{
    uint64_t  entry, place;

    while (*i < MAPI_AFFINITY_ENTRIES_OF_LINE) {

        entry = line->entries[(*i)++];

        if (entry == 0) {
            return NULL;
        }

        place = entry >> MAPI_AFFINITY_TAG_BITS;

        if ((uint16_t) entry == tag && mapi_affinity_is_there(m, place)) {
            return mapi_affinity_at(m, place);
        }
    }

    return NULL;
}


void
mapi_affinity_memory_warm(mapi_affinity_memory_t *m, const mapi_str_t *value)
{
    if (value->len >= 8) {
        __builtin_prefetch(mapi_affinity_line(m,
                             mapi_affinity_spread(value->data, value->len)));
    }
}


void
mapi_affinity_memory_warm_again(mapi_affinity_memory_t *m,
    const mapi_str_t *value)
{
    uint64_t               hash;
    unsigned               i;
    const unsigned char   *p;

    if (value->len < 8) {
        return;
    }

    hash = mapi_affinity_spread(value->data, value->len);
    i = 0;

    p = (const unsigned char *)
            mapi_affinity_next(m, mapi_affinity_line(m, hash),
                               mapi_affinity_tag(hash), &i);

    if (p) {
        __builtin_prefetch(p);
        __builtin_prefetch(p + MAPI_AFFINITY_UNIT);
        __builtin_prefetch(p + 2 * MAPI_AFFINITY_UNIT);
    }
}


/*
 * Room for size bytes at the head, in one piece.  What stood there is
 * overwritten, the oldest that is remembered.
 */
static uint64_t
mapi_affinity_make_room(mapi_affinity_memory_t *m, size_t size)
{
    uint64_t  place, units, left;

    units = (size + MAPI_AFFINITY_UNIT - 1) / MAPI_AFFINITY_UNIT;

    left = MAPI_AFFINITY_RING - m->head % MAPI_AFFINITY_RING;

    if (left < units) {
        m->head += left;
    }

    place = m->head;
    m->head += units;

    return place;
}


/* what leads to the place takes a free entry, or that of the oldest value */
static void
mapi_affinity_enter(mapi_affinity_memory_t *m, uint64_t hash, uint64_t place)
{
    unsigned               i;
    uint64_t              *oldest;
    mapi_affinity_line_t  *line;

    line = mapi_affinity_line(m, hash);
    oldest = line->entries;

    /* an empty one is older than all */

    for (i = 1; i < MAPI_AFFINITY_ENTRIES_OF_LINE && *oldest; i++) {
        if (line->entries[i] < *oldest) {
            oldest = &line->entries[i];
        }
    }

    *oldest = place << MAPI_AFFINITY_TAG_BITS | mapi_affinity_tag(hash);
}


/* the number of an upstream's name, -1 if it has none */
static int
mapi_affinity_name(const mapi_affinity_memory_t *m, const mapi_str_t *upstream)
{
    unsigned  i;

    for (i = 0; i < m->nnames; i++) {
        if (mapi_str_eq(&m->names[i], upstream)) {
            return (int) i;
        }
    }

    return -1;
}


static int
mapi_affinity_new_name(mapi_affinity_memory_t *m, const mapi_str_t *upstream)
{
    mapi_str_t  *name;

    if (m->nnames == MAPI_AFFINITY_NAMES) {
        return -1;
    }

    name = &m->names[m->nnames];

    name->data = malloc(upstream->len + 1);
    if (name->data == NULL) {
        return -1;
    }

    name->len = upstream->len;

    if (upstream->len) {
        memcpy(name->data, upstream->data, upstream->len);
    }

    return (int) m->nnames++;
}


void
mapi_affinity_memory_remember(mapi_affinity_memory_t *m,
    const mapi_str_t *upstream, const unsigned char *value, size_t len,
    const unsigned char *plain, size_t plain_len, unsigned key, uint32_t day)
{
    int                    name;
    uint64_t               place;
    mapi_affinity_slot_t  *slot;

    name = mapi_affinity_name(m, upstream);

    if (name < 0) {
        name = mapi_affinity_new_name(m, upstream);
    }

    if (name < 0 || key > UINT16_MAX) {
        return;
    }

    place = mapi_affinity_make_room(m, offsetof(mapi_affinity_slot_t, value)
                                       + len + plain_len);

    slot = mapi_affinity_at(m, place);

    slot->mark = 0;
    slot->day = day;
    slot->key = (uint16_t) key;
    slot->upstream = (uint8_t) name;
    slot->len = (uint8_t) len;
    slot->plain_len = (uint8_t) plain_len;

    memcpy(slot->value, value, len);
    memcpy(slot->value + len, plain, plain_len);

    mapi_affinity_enter(m, mapi_affinity_spread(value, len), place);
}


mapi_affinity_slot_t *
mapi_affinity_memory_recall(mapi_affinity_memory_t *m,
    const mapi_str_t *upstream, const mapi_str_t *value)
{
    int                          name;
    uint16_t                     tag;
    uint64_t                     hash;
    unsigned                     i;
    mapi_affinity_slot_t        *slot;
    const mapi_affinity_line_t  *line;

    if (value->len > MAPI_AFFINITY_VALUE_MAX || value->len < 8) {
        return NULL;
    }

    hash = mapi_affinity_spread(value->data, value->len);
    line = mapi_affinity_line(m, hash);
    tag = mapi_affinity_tag(hash);
    name = mapi_affinity_name(m, upstream);

    for (i = 0; (slot = mapi_affinity_next(m, line, tag, &i)); /* void */ ) {

        if (slot->len == value->len
            && slot->upstream == name
            && mapi_same(slot->value, value->data, value->len))
        {
            return slot;
        }
    }

    return NULL;
}
