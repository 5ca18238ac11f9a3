
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_SIPHASH_H_INCLUDED_
#define _MAPI_SIPHASH_H_INCLUDED_


#include "mapi_core.h"


typedef struct {
    uint64_t  k0;
    uint64_t  k1;
} mapi_siphash_key_t;


/*
 * SipHash-2-4 (Aumasson, Bernstein, 2012) with a 64-bit result, the same on
 * every machine.  The incremental form takes the input in pieces.
 */

typedef struct {
    uint64_t  v0, v1, v2, v3;
    uint64_t  tail;
    size_t    len;
} mapi_siphash_t;


void mapi_siphash_init(mapi_siphash_t *s, const mapi_siphash_key_t *key);
void mapi_siphash_update(mapi_siphash_t *s, const void *data, size_t len);
uint64_t mapi_siphash_final(mapi_siphash_t *s);

/*
 * The same with a 128-bit result, two words of it; update is the same.  Not
 * two halves of which one is the result above.
 */
void mapi_siphash128_init(mapi_siphash_t *s, const mapi_siphash_key_t *key);
void mapi_siphash128_final(mapi_siphash_t *s, uint64_t *out);

uint64_t mapi_siphash(const mapi_siphash_key_t *key, const void *data,
    size_t len);


#endif /* _MAPI_SIPHASH_H_INCLUDED_ */
