
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_seen.h"
#include "mapi_pages.h"

#include <stdlib.h>


/*
 * A mailbox is in one of two lines, in the second only if the first is full;
 * and what is full stays so until all is forgotten, by another epoch.
 */

#define MAPI_SEEN_BITS        15
#define MAPI_SEEN_BITS_MAX    18
#define MAPI_SEEN_INDEX_BITS  13

#define mapi_seen_size(bits)  (sizeof(mapi_seen_line_t) << (bits))


_Static_assert(sizeof(mapi_seen_line_t) == 64, "one line of the cache");
_Static_assert(mapi_seen_size(MAPI_SEEN_BITS) % MAPI_PAGES_LARGE == 0,
               "whole pages");


struct mapi_seen_databases_s {
    unsigned     n;
    uint16_t     index[1 << MAPI_SEEN_INDEX_BITS];  /* places from 1, or 0 */
    mapi_guid_t  guids[MAPI_SEEN_DATABASES];
};


static inline uint64_t
mapi_seen_hash(const mapi_guid_t *guid)
{
    uint64_t  low, high;

    /* GUIDs are mostly random, but nothing keeps them from being counted up */

    memcpy(&low, guid->b, sizeof(low));
    memcpy(&high, guid->b + 8, sizeof(high));

    return (high ^ (low << 32 | low >> 32)) * 0x9e3779b97f4a7c15ULL;
}


static inline mapi_seen_line_t *
mapi_seen_line(const mapi_directory_seen_t *s, uint64_t hash)
{
    return &s->lines[hash >> (64 - s->bits)];
}


void
mapi_directory_seen_warm(mapi_directory_seen_t *s, const mapi_guid_t *guid)
{
    __builtin_prefetch(mapi_seen_line(s, mapi_seen_hash(guid)));
}


mapi_seen_line_t *
mapi_directory_seen_find(mapi_directory_seen_t *s, const mapi_guid_t *guid,
    unsigned *way)
{
    uint64_t           hash;
    unsigned           i, n;
    mapi_seen_line_t  *line;

    hash = mapi_seen_hash(guid);

    for (n = 0; n < 2; n++) {

        line = mapi_seen_line(s, hash);

        if (line->epoch != s->epoch) {
            return NULL;
        }

        for (i = 0; i < line->n; i++) {
            if (memcmp(line->asked[i].b, guid->b, sizeof(guid->b)) == 0) {
                *way = i;
                return line;
            }
        }

        if (line->n < MAPI_SEEN_WAYS) {
            return NULL;
        }

        hash <<= s->bits;
    }

    return NULL;
}


/* lines of nobody; those that were there are gone if that fails, too */

static void
mapi_seen_resize(mapi_directory_seen_t *s, unsigned bits)
{
    mapi_pages_unmap(s->lines, mapi_seen_size(s->bits));

    s->n = 0;
    s->lines = mapi_pages_map(mapi_seen_size(bits));

    if (s->lines == NULL) {
        return;
    }

    s->bits = bits;
    s->epoch = 1;
}


int
mapi_directory_seen_forget(mapi_directory_seen_t *s)
{
    if (s->databases == NULL) {
        s->databases = malloc(sizeof(mapi_seen_databases_t));

        if (s->databases == NULL) {
            return MAPI_ERROR;
        }
    }

    if (s->lines == NULL) {
        mapi_seen_resize(s, MAPI_SEEN_BITS);

        if (s->lines == NULL) {
            return MAPI_ERROR;
        }
    }

    s->n = 0;

    /* what is older than four thousand million commits is wiped */

    if (++s->epoch == 0) {
        memset(s->lines, 0, mapi_seen_size(s->bits));
        s->epoch = 1;
    }

    /* nobody refers to one of them now */

    memset(s->databases->index, 0, sizeof(s->databases->index));
    s->databases->n = 0;

    return MAPI_OK;
}


void
mapi_directory_seen_free(mapi_directory_seen_t *s)
{
    mapi_pages_unmap(s->lines, mapi_seen_size(s->bits));
    free(s->databases);
}


/*
 * Where a database's GUID stands: they are few, and so a mailbox takes less
 * room.  MAPI_DECLINED if there are too many, or it is no GUID.
 */

static int
mapi_seen_place(mapi_seen_databases_t *list, const mapi_guid_t *guid,
    uint32_t *place)
{
    size_t    i;
    unsigned  n;

    if (mapi_guid_is_null(guid)) {
        return MAPI_DECLINED;
    }

    i = mapi_seen_hash(guid) >> (64 - MAPI_SEEN_INDEX_BITS);

    /* twice as many places as can be taken: there is always a free one */

    for ( ;; ) {

        n = list->index[i];

        if (n == 0) {
            break;
        }

        if (memcmp(list->guids[n - 1].b, guid->b, sizeof(guid->b)) == 0) {
            *place = n - 1;
            return MAPI_OK;
        }

        i = (i + 1) % (1u << MAPI_SEEN_INDEX_BITS);
    }

    if (list->n == MAPI_SEEN_DATABASES) {
        return MAPI_DECLINED;
    }

    *place = list->n;
    list->guids[list->n++] = *guid;
    list->index[i] = (uint16_t) list->n;

    return MAPI_OK;
}


/* a way of the line that is free, or MAPI_SEEN_WAYS */

static unsigned
mapi_seen_free_way(mapi_directory_seen_t *s, mapi_seen_line_t *line)
{
    if (line->epoch != s->epoch) {
        line->epoch = s->epoch;
        line->n = 0;
    }

    if (line->n == MAPI_SEEN_WAYS) {
        return MAPI_SEEN_WAYS;
    }

    s->n++;

    return line->n++;
}


/* what stands in its first line goes to its second one, if there is room */

static int
mapi_seen_push(mapi_directory_seen_t *s, mapi_seen_line_t *line, unsigned way)
{
    uint64_t           hash;
    unsigned           free;
    mapi_seen_line_t  *to;

    hash = mapi_seen_hash(&line->asked[way]);
    to = mapi_seen_line(s, hash << s->bits);

    if (mapi_seen_line(s, hash) != line) {
        return MAPI_DECLINED;
    }

    free = mapi_seen_free_way(s, to);

    if (free == MAPI_SEEN_WAYS) {
        return MAPI_DECLINED;
    }

    to->asked[free] = line->asked[way];
    to->smtp[free] = line->smtp[way];
    to->database[free] = line->database[way];

    return MAPI_OK;
}


/* the line and way that a mailbox takes */

static mapi_seen_line_t *
mapi_seen_take(mapi_directory_seen_t *s, const mapi_guid_t *guid, unsigned *way)
{
    uint64_t           hash;
    unsigned           n;
    mapi_seen_line_t  *line;

    hash = mapi_seen_hash(guid);

    for (n = 0; n < 2; n++) {

        line = mapi_seen_line(s, n ? hash << s->bits : hash);

        *way = mapi_seen_free_way(s, line);

        if (*way < MAPI_SEEN_WAYS) {
            return line;
        }
    }

    line = mapi_seen_line(s, hash);

    for (*way = 0; *way < MAPI_SEEN_WAYS; ++*way) {
        if (mapi_seen_push(s, line, *way) == MAPI_OK) {
            return line;
        }
    }

    *way = line->turn++ % MAPI_SEEN_WAYS;

    return line;
}


/*
 * When lines become more, what was remembered is forgotten and looked up again:
 * copying it would take milliseconds of all clients, for something that happens
 * twice.
 */

void
mapi_directory_seen_put(mapi_directory_seen_t *s, const mapi_guid_t *guid,
    const mapi_guid_t *database, uint64_t smtp, uint32_t flags)
{
    uint32_t           place;
    unsigned           way;
    mapi_seen_line_t  *line;

    if (mapi_seen_place(s->databases, database, &place) != MAPI_OK) {
        return;
    }

    line = mapi_seen_take(s, guid, &way);

    line->asked[way] = *guid;
    line->smtp[way] = smtp;
    line->database[way] = place | flags;

    if (s->n > (1u << s->bits) / 4 * 5 && s->bits < MAPI_SEEN_BITS_MAX) {
        mapi_seen_resize(s, s->bits + 2 < MAPI_SEEN_BITS_MAX
                            ? s->bits + 2 : MAPI_SEEN_BITS_MAX);
    }
}


const mapi_guid_t *
mapi_directory_seen_database(const mapi_directory_seen_t *s, uint32_t word)
{
    return &s->databases->guids[word & MAPI_SEEN_DATABASE];
}
