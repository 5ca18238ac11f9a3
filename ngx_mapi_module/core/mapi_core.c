
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_core.h"


const signed char  mapi_hex_digits[256] = {
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
     0,  1,  2,  3,  4,  5,  6,  7,  8,  9, -1, -1, -1, -1, -1, -1,
    -1, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1
};


int
mapi_str_eq(const mapi_str_t *a, const mapi_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}


int
mapi_str_caseeq(const mapi_str_t *a, const mapi_str_t *b)
{
    size_t    i, len;
    uint64_t  v, w;

    len = a->len;

    if (len != b->len) {
        return 0;
    }

    /* words as they are first: nearly always both are written in one way */

    for (i = 0; i + 8 < len; i += 8) {
        v = mapi_load64(a->data + i);
        w = mapi_load64(b->data + i);

        if (v != w && mapi_lower64(v) != mapi_lower64(w)) {
            return 0;
        }
    }

    /* the last eight bytes, some of them for a second time */

    if (len >= 8) {
        v = mapi_load64(a->data + len - 8);
        w = mapi_load64(b->data + len - 8);

    } else {
        v = mapi_load_part(a->data, len);
        w = mapi_load_part(b->data, len);
    }

    return v == w || mapi_lower64(v) == mapi_lower64(w);
}


unsigned char *
mapi_strlow(unsigned char *dst, const unsigned char *src, size_t n)
{
    uint64_t  v;

    for ( /* void */ ; n >= 8; dst += 8, src += 8, n -= 8) {
        mapi_store64(dst, mapi_lower64(mapi_load64(src)));
    }

    v = mapi_lower64(mapi_load_part(src, n));

    for ( /* void */ ; n; n--) {
        *dst++ = (unsigned char) v;
        v >>= 8;
    }

    return dst;
}


size_t
mapi_utf8(const unsigned char *p, size_t len)
{
    size_t         n, i;
    unsigned char  min, max;

    min = 0x80;
    max = 0xbf;

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;

    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;

        if (p[0] == 0xe0) {
            min = 0xa0;

        } else if (p[0] == 0xed) {
            max = 0x9f;
        }

    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;

        if (p[0] == 0xf0) {
            min = 0x90;

        } else if (p[0] == 0xf4) {
            max = 0x8f;
        }

    } else {
        return 0;
    }

    if (len < n || p[1] < min || p[1] > max) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }

    return n;
}
