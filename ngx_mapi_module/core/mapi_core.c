
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
    size_t  i;

    if (a->len != b->len) {
        return 0;
    }

    /* as it is written nearly always */

    if (a->len == 0 || memcmp(a->data, b->data, a->len) == 0) {
        return 1;
    }

    for (i = 0; i < a->len; i++) {
        if (mapi_tolower(a->data[i]) != mapi_tolower(b->data[i])) {
            return 0;
        }
    }

    return 1;
}


unsigned char *
mapi_strlow(unsigned char *dst, const unsigned char *src, size_t n)
{
    while (n--) {
        *dst++ = mapi_tolower(*src);
        src++;
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
