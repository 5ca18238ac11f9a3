
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_arena.h"

#include <stdlib.h>


#define MAPI_ARENA_BLOCK  (1024 * 1024)


struct mapi_arena_block_s {
    mapi_arena_block_t  *next;
    size_t               size;   /* keeps what follows aligned */
};


unsigned char *
mapi_arena_bytes(mapi_arena_t *arena, size_t n)
{
    size_t               size;
    unsigned char       *p;
    mapi_arena_block_t  *b;

    if (n <= arena->left) {
        p = arena->pos;
        arena->pos += n;
        arena->left -= n;
        return p;
    }

    if (n > SIZE_MAX / 2) {
        return NULL;
    }

    size = (n > MAPI_ARENA_BLOCK / 4) ? n : MAPI_ARENA_BLOCK;

    b = malloc(sizeof(mapi_arena_block_t) + size);
    if (b == NULL) {
        return NULL;
    }

    b->size = size;
    b->next = arena->blocks;
    arena->blocks = b;

    p = (unsigned char *) (b + 1);

    if (size != n) {
        arena->pos = p + n;
        arena->left = size - n;
    }

    return p;
}


void *
mapi_arena_alloc(mapi_arena_t *arena, size_t n)
{
    size_t  pad;

    pad = (size_t) (-(uintptr_t) arena->pos & 15);

    if (pad <= arena->left) {
        arena->pos += pad;
        arena->left -= pad;

    } else {
        arena->left = 0;
    }

    return mapi_arena_bytes(arena, n ? n : 1);
}


int
mapi_arena_str(mapi_arena_t *arena, mapi_str_t *dst, const mapi_str_t *src)
{
    unsigned char  *p;

    p = mapi_arena_bytes(arena, src->len + 1);
    if (p == NULL) {
        return MAPI_ERROR;
    }

    if (src->len) {
        memcpy(p, src->data, src->len);
    }

    p[src->len] = '\0';

    dst->data = p;
    dst->len = src->len;

    return MAPI_OK;
}


void
mapi_arena_free(mapi_arena_t *arena)
{
    mapi_arena_block_t  *b, *next;

    for (b = arena->blocks; b; b = next) {
        next = b->next;
        free(b);
    }

    memset(arena, 0, sizeof(mapi_arena_t));
}


void *
mapi_arena_grow(mapi_arena_t *arena, void *array, size_t used, size_t *room,
    size_t size)
{
    void    *p;
    size_t   n;

    if (used < *room) {
        return array;
    }

    n = *room ? *room * 2 : 64;

    if (n > SIZE_MAX / 2 / size) {
        return NULL;
    }

    p = mapi_arena_alloc(arena, n * size);
    if (p == NULL) {
        return NULL;
    }

    if (used) {
        memcpy(p, array, used * size);
    }

    *room = n;

    return p;
}
