
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_rendezvous.h"
#include "mapi_siphash.h"


/* the halves of "mapi-rendezvous1", read as little-endian */
#define MAPI_RENDEZVOUS_K0  0x6e65722d6970616dULL
#define MAPI_RENDEZVOUS_K1  0x3173756f767a6564ULL

#define MAPI_RENDEZVOUS_BITS  40

#define MAPI_RENDEZVOUS_TEXT  160


uint64_t
mapi_rendezvous_hash(const mapi_str_t *server, const mapi_str_t *identity)
{
    mapi_siphash_t      s;
    mapi_siphash_key_t  key;
    unsigned char       text[MAPI_RENDEZVOUS_TEXT];

    static const unsigned char  version = MAPI_RENDEZVOUS_VERSION;
    static const unsigned char  zero = 0;

    key.k0 = MAPI_RENDEZVOUS_K0;
    key.k1 = MAPI_RENDEZVOUS_K1;

    /* nearly always it is short, and in one piece it is sooner done */

    if (server->len && identity->len
        && server->len + identity->len <= sizeof(text) - 2)
    {
        text[0] = version;
        memcpy(text + 1, server->data, server->len);
        text[1 + server->len] = zero;
        memcpy(text + 2 + server->len, identity->data, identity->len);

        return mapi_siphash(&key, text, 2 + server->len + identity->len);
    }

    mapi_siphash_init(&s, &key);
    mapi_siphash_update(&s, &version, 1);
    mapi_siphash_update(&s, server->data, server->len);
    mapi_siphash_update(&s, &zero, 1);
    mapi_siphash_update(&s, identity->data, identity->len);

    return mapi_siphash_final(&s);
}


/* a * b; 32-bit machines have no type for it */
static void
mapi_rendezvous_mul(uint64_t a, uint64_t b, uint64_t *high, uint64_t *low)
{
#ifdef __SIZEOF_INT128__

    __extension__ unsigned __int128  product;

    product = (unsigned __int128) a * b;

    *high = (uint64_t) (product >> 64);
    *low = (uint64_t) product;

#else

    uint64_t  ll, lh, hl, mid;

    ll = (a & 0xffffffff) * (b & 0xffffffff);
    lh = (a & 0xffffffff) * (b >> 32);
    hl = (a >> 32) * (b & 0xffffffff);

    mid = (ll >> 32) + (lh & 0xffffffff) + (hl & 0xffffffff);

    *high = (a >> 32) * (b >> 32) + (lh >> 32) + (hl >> 32) + (mid >> 32);
    *low = mid << 32 | (ll & 0xffffffff);

#endif
}


/*
 * -log2((hash + 1) / 2^64) in units of 2^-40.  m is the normalised number in
 * units of 2^-63; squaring it doubles its logarithm, whose integer bit is the
 * next bit of the fraction.  Truncation never reverses an order, so that the
 * result falls (or stays) where the hash grows.
 */

static uint64_t
mapi_rendezvous_cost(uint64_t hash)
{
    unsigned  i, e;
    uint64_t  m, high, low, log;

    if (hash == UINT64_MAX) {
        return 0;
    }

    e = 63;
    m = hash + 1;

    while ((m & 1ULL << 63) == 0) {
        m <<= 1;
        e--;
    }

    log = e;

    for (i = 0; i < MAPI_RENDEZVOUS_BITS; i++) {
        mapi_rendezvous_mul(m, m, &high, &low);

        if (high & 1ULL << 63) {
            log = log << 1 | 1;
            m = high;

        } else {
            log <<= 1;
            m = high << 1 | low >> 63;
        }
    }

    return (64ULL << MAPI_RENDEZVOUS_BITS) - log;
}


int
mapi_rendezvous_before(uint64_t ha, uint32_t wa, uint64_t hb, uint32_t wb)
{
    uint64_t  ah, al, bh, bl;

    if (wa == wb) {
        return ha > hb;
    }

    mapi_rendezvous_mul(mapi_rendezvous_cost(ha), wb, &ah, &al);
    mapi_rendezvous_mul(mapi_rendezvous_cost(hb), wa, &bh, &bl);

    if (ah != bh) {
        return ah < bh;
    }

    if (al != bl) {
        return al < bl;
    }

    return ha > hb;
}
