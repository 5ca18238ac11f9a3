
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_RENDEZVOUS_H_INCLUDED_
#define _MAPI_RENDEZVOUS_H_INCLUDED_


#include "mapi_core.h"


/*
 * Weighted rendezvous hashing.  Nodes and releases must agree, so the
 * function is fixed: docs/architecture.md has it with test vectors.
 *
 *   hash = SipHash-2-4, key = the 16 bytes "mapi-rendezvous1" (k0 and k1 are
 *          its halves read as little-endian), over one version byte 0x01, the
 *          server's name in lower case, a zero byte, the canonical identity
 *   cost = -log2((hash + 1) / 2^64) / weight, the logarithm in fixed point
 *          with 40 fractional bits, computed with integers only (normalise,
 *          then one bit a squaring, truncating), compared by
 *          cross-multiplication: no floating point, so no libm can differ
 *
 * The server with the smallest cost serves.  Where costs are equal the larger
 * hash wins; servers of equal weight may be compared by hash alone, which
 * gives the same order.
 */

#define MAPI_RENDEZVOUS_VERSION  1


/* server and identity are lower case already */
uint64_t mapi_rendezvous_hash(const mapi_str_t *server,
    const mapi_str_t *identity);

/* 1 if (ha, wa) goes before (hb, wb); weights are from 1 to 2^20 */
int mapi_rendezvous_before(uint64_t ha, uint32_t wa, uint64_t hb,
    uint32_t wb);


#endif /* _MAPI_RENDEZVOUS_H_INCLUDED_ */
