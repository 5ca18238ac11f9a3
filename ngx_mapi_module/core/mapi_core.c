
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_core.h"


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


int
mapi_hex(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return -1;
}
