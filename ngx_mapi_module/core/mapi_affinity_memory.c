
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE    /* MADV_HUGEPAGE */
#endif

#include "mapi_affinity_memory.h"

#include <stdlib.h>
#include <sys/mman.h>


#define MAPI_AFFINITY_SLOTS    16384   /* values */
#define MAPI_AFFINITY_PUSHES   8       /* to make room for another one */
#define MAPI_AFFINITY_NAMES    255     /* upstreams whose values are kept */


/* each of them begins with a line of the processor's cache */

#define MAPI_AFFINITY_SLOT                                                    \
    ((sizeof(mapi_affinity_slot_t) + 63) / 64 * 64)


struct mapi_affinity_memory_s {
    unsigned char           *slots;        /* MAPI_AFFINITY_SLOTS */
    mapi_str_t              *names;        /* of upstreams, copied */
    unsigned                 nnames;
};


mapi_affinity_memory_t *
mapi_affinity_memory_create(void)
{
    void                    *p;
    mapi_affinity_memory_t  *m;

    m = calloc(1, sizeof(mapi_affinity_memory_t));
    if (m == NULL) {
        return NULL;
    }

    m->names = calloc(MAPI_AFFINITY_NAMES, sizeof(mapi_str_t));

    p = mmap(NULL, MAPI_AFFINITY_SLOTS * MAPI_AFFINITY_SLOT,
             PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    m->slots = (p == MAP_FAILED) ? NULL : p;

    if (m->names == NULL || m->slots == NULL) {
        mapi_affinity_memory_destroy(m);
        return NULL;
    }

#ifdef MADV_HUGEPAGE
    (void) madvise(p, MAPI_AFFINITY_SLOTS * MAPI_AFFINITY_SLOT, MADV_HUGEPAGE);
#endif

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

    if (m->slots) {
        (void) munmap(m->slots, MAPI_AFFINITY_SLOTS * MAPI_AFFINITY_SLOT);
    }

    free(m);
}


/*
 * The first or second of the two slots where a value may be, far from each
 * other.  It ends with its tag, whose bits are as good as random.
 */
static mapi_affinity_slot_t *
mapi_affinity_slot(mapi_affinity_memory_t *m, uint64_t end, unsigned which)
{
    size_t  n;

    end *= 0x9e3779b97f4a7c15ULL;
    n = (which ? end >> 20 : end >> 40) % MAPI_AFFINITY_SLOTS;

    return (mapi_affinity_slot_t *) (m->slots + n * MAPI_AFFINITY_SLOT);
}


void
mapi_affinity_memory_warm(mapi_affinity_memory_t *m, const mapi_str_t *value)
{
    unsigned char  *p;

    if (value->len < 8) {
        return;
    }

    p = (unsigned char *) mapi_affinity_slot(m, mapi_load64(value->data
                                                            + value->len - 8),
                                             0);

    __builtin_prefetch(p);
    __builtin_prefetch(p + 64);
    __builtin_prefetch(p + 128);
}


/*
 * Empties the first slot of a value: what stands there goes to its own other
 * one, and so on.  As long as less than half of the slots are in use hardly
 * anything is lost; above that, what has been pushed a few times is.
 */
static mapi_affinity_slot_t *
mapi_affinity_make_room(mapi_affinity_memory_t *m, uint64_t end)
{
    unsigned               i;
    mapi_affinity_slot_t  *slot, *to, moved, next;

    slot = mapi_affinity_slot(m, end, 0);

    if (slot->len == 0 || slot->end == end) {
        return slot;
    }

    moved = *slot;
    to = slot;

    for (i = 0; i < MAPI_AFFINITY_PUSHES; i++) {

        to = mapi_affinity_slot(m, moved.end,
                                to == mapi_affinity_slot(m, moved.end, 0));

        next = *to;
        *to = moved;

        if (next.len == 0 || to == slot) {
            break;
        }

        moved = next;
    }

    return slot;
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
    uint64_t               end;
    mapi_affinity_slot_t  *slot;

    name = mapi_affinity_name(m, upstream);

    if (name < 0) {
        name = mapi_affinity_new_name(m, upstream);
    }

    if (name < 0 || key > UINT16_MAX) {
        return;
    }

    end = mapi_load64(value + len - 8);

    slot = mapi_affinity_make_room(m, end);

    slot->end = end;
    slot->mark = 0;
    slot->day = day;
    slot->key = (uint16_t) key;
    slot->upstream = (uint8_t) name;
    slot->len = (uint8_t) len;
    slot->plain_len = (uint8_t) plain_len;

    memcpy(slot->value, value, len);
    memcpy(slot->plain, plain, plain_len);
}


mapi_affinity_slot_t *
mapi_affinity_memory_recall(mapi_affinity_memory_t *m,
    const mapi_str_t *upstream, const mapi_str_t *value)
{
    int                    name;
    uint64_t               end;
    unsigned               i;
    mapi_affinity_slot_t  *slot;

    if (value->len > MAPI_AFFINITY_VALUE_MAX || value->len < 8) {
        return NULL;
    }

    name = mapi_affinity_name(m, upstream);
    end = mapi_load64(value->data + value->len - 8);

    for (i = 0; i < 2; i++) {
        slot = mapi_affinity_slot(m, end, i);

        if (slot->end == end
            && slot->len == value->len
            && slot->upstream == name
            && mapi_same(slot->value, value->data, value->len))
        {
            return slot;
        }
    }

    return NULL;
}
