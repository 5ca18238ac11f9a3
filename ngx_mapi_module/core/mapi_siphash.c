
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_siphash.h"


#define mapi_rotl(x, n)  ((x) << (n) | (x) >> (64 - (n)))

#define mapi_sipround(v0, v1, v2, v3)                                         \
    do {                                                                      \
        v0 += v1; v1 = mapi_rotl(v1, 13); v1 ^= v0; v0 = mapi_rotl(v0, 32);   \
        v2 += v3; v3 = mapi_rotl(v3, 16); v3 ^= v2;                           \
        v0 += v3; v3 = mapi_rotl(v3, 21); v3 ^= v0;                           \
        v2 += v1; v1 = mapi_rotl(v1, 17); v1 ^= v2; v2 = mapi_rotl(v2, 32);   \
    } while (0)


/*
 * Inline, so that the state is in registers from one to the next: in a shared
 * object no function that it exports is ever inlined.
 */

static inline void
mapi_siphash_compress(mapi_siphash_t *s, uint64_t m)
{
    s->v3 ^= m;
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    s->v0 ^= m;
}


static inline void
mapi_siphash_begin(mapi_siphash_t *s, const mapi_siphash_key_t *key)
{
    s->v0 = key->k0 ^ 0x736f6d6570736575ULL;
    s->v1 = key->k1 ^ 0x646f72616e646f6dULL;
    s->v2 = key->k0 ^ 0x6c7967656e657261ULL;
    s->v3 = key->k1 ^ 0x7465646279746573ULL;
    s->tail = 0;
    s->len = 0;
}


/* the tail is empty before, and takes what is left */
static inline void
mapi_siphash_words(mapi_siphash_t *s, const unsigned char *p, size_t len)
{
    for ( /* void */ ; len >= 8; p += 8, len -= 8) {
        mapi_siphash_compress(s, mapi_load64(p));
    }

    if (len) {
        s->tail = mapi_load_part(p, len);
    }
}


static inline uint64_t
mapi_siphash_end(mapi_siphash_t *s)
{
    mapi_siphash_compress(s, s->tail | (uint64_t) (s->len & 0xff) << 56);

    s->v2 ^= 0xff;

    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);

    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}


void
mapi_siphash_init(mapi_siphash_t *s, const mapi_siphash_key_t *key)
{
    mapi_siphash_begin(s, key);
}


void
mapi_siphash_update(mapi_siphash_t *s, const void *data, size_t len)
{
    size_t                n, fill;
    mapi_siphash_t        v;
    const unsigned char  *p;

    p = data;
    n = s->len & 7;
    s->len += len;

    if (n) {
        fill = len < 8 - n ? len : 8 - n;

        s->tail |= mapi_load_part(p, fill) << (8 * n);

        if (n + fill < 8) {
            return;
        }

        mapi_siphash_compress(s, s->tail);
        s->tail = 0;

        p += fill;
        len -= fill;
    }

    v = *s;
    mapi_siphash_words(&v, p, len);
    *s = v;
}


uint64_t
mapi_siphash_final(mapi_siphash_t *s)
{
    return mapi_siphash_end(s);
}


uint64_t
mapi_siphash(const mapi_siphash_key_t *key, const void *data, size_t len)
{
    mapi_siphash_t  s;

    mapi_siphash_begin(&s, key);
    s.len = len;
    mapi_siphash_words(&s, data, len);

    return mapi_siphash_end(&s);
}


void
mapi_siphash128_init(mapi_siphash_t *s, const mapi_siphash_key_t *key)
{
    mapi_siphash_begin(s, key);
    s->v1 ^= 0xee;
}


void
mapi_siphash128_final(mapi_siphash_t *s, uint64_t *out)
{
    mapi_siphash_compress(s, s->tail | (uint64_t) (s->len & 0xff) << 56);

    s->v2 ^= 0xee;

    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);

    out[0] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;

    s->v1 ^= 0xdd;

    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);
    mapi_sipround(s->v0, s->v1, s->v2, s->v3);

    out[1] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}
