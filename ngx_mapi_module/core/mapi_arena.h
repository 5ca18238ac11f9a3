
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_ARENA_H_INCLUDED_
#define _MAPI_ARENA_H_INCLUDED_


#include "mapi_core.h"


/*
 * Memory that is freed all at once, for the command: millions of small
 * records between the reading of a file and its commit.
 */

typedef struct mapi_arena_block_s  mapi_arena_block_t;

typedef struct {
    mapi_arena_block_t  *blocks;
    unsigned char       *pos;
    size_t               left;
} mapi_arena_t;


/* all zero bytes is an empty arena */

/* n bytes, aligned for anything; NULL without memory */
void *mapi_arena_alloc(mapi_arena_t *arena, size_t n);

/* n bytes without alignment */
unsigned char *mapi_arena_bytes(mapi_arena_t *arena, size_t n);

/* copies; MAPI_OK or MAPI_ERROR */
int mapi_arena_str(mapi_arena_t *arena, mapi_str_t *dst,
    const mapi_str_t *src);

void mapi_arena_free(mapi_arena_t *arena);


/*
 * Makes room in an array: *room elements of the given size, of which "used"
 * are taken, become at least one more.  The old array stays in the arena.
 * Returns the array or NULL.
 */
void *mapi_arena_grow(mapi_arena_t *arena, void *array, size_t used,
    size_t *room, size_t size);


#endif /* _MAPI_ARENA_H_INCLUDED_ */
