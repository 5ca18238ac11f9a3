
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_rendezvous.h"
#include "mapi_siphash.h"


/* the halves of "mapi-rendezvous1", read as little-endian */
#define MAPI_RENDEZVOUS_K0  0x6e65722d6970616dULL
#define MAPI_RENDEZVOUS_K1  0x3173756f767a6564ULL

#define MAPI_RENDEZVOUS_BITS  40


uint64_t
mapi_rendezvous_hash(const mapi_str_t *server, const mapi_str_t *identity)
{
    mapi_siphash_t      s;
    mapi_siphash_key_t  key;

    static const unsigned char  version = MAPI_RENDEZVOUS_VERSION;
    static const unsigned char  zero = 0;

    key.k0 = MAPI_RENDEZVOUS_K0;
    key.k1 = MAPI_RENDEZVOUS_K1;

    mapi_siphash_init(&s, &key);
    mapi_siphash_update(&s, &version, 1);
    mapi_siphash_update(&s, server->data, server->len);
    mapi_siphash_update(&s, &zero, 1);
    mapi_siphash_update(&s, identity->data, identity->len);

    return mapi_siphash_final(&s);
}


/* a * b, without a type that 32-bit machines lack */
static void
mapi_rendezvous_mul(uint64_t a, uint64_t b, uint64_t *high, uint64_t *low)
{
    uint64_t  ll, lh, hl, mid;

    ll = (a & 0xffffffff) * (b & 0xffffffff);
    lh = (a & 0xffffffff) * (b >> 32);
    hl = (a >> 32) * (b & 0xffffffff);

    mid = (ll >> 32) + (lh & 0xffffffff) + (hl & 0xffffffff);

    *high = (a >> 32) * (b >> 32) + (lh >> 32) + (hl >> 32) + (mid >> 32);
    *low = mid << 32 | (ll & 0xffffffff);
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
