
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_guid.h"


int
mapi_guid_parse(mapi_guid_t *guid, const unsigned char *p, size_t len)
{
    int     hi, lo, bad;
    size_t  n;

    /* where the two digits of each byte stand */

    static const unsigned char  at[16] = {
        0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34
    };

    if (len != MAPI_GUID_LEN
        || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
    {
        return MAPI_ERROR;
    }

    for (bad = 0, n = 0; n < 16; n++) {
        hi = mapi_hex(p[at[n]]);
        lo = mapi_hex(p[at[n] + 1]);

        /* -1, for no digit, is the only negative value */
        bad |= hi | lo;

        guid->b[n] = (unsigned char) ((unsigned) hi << 4 | (unsigned) lo);
    }

    return bad < 0 ? MAPI_ERROR : MAPI_OK;
}


unsigned char *
mapi_guid_format(unsigned char *dst, const mapi_guid_t *guid)
{
    size_t  n;

    static const char  hex[] = "0123456789abcdef";

    for (n = 0; n < 16; n++) {

        if (n == 4 || n == 6 || n == 8 || n == 10) {
            *dst++ = '-';
        }

        *dst++ = (unsigned char) hex[guid->b[n] >> 4];
        *dst++ = (unsigned char) hex[guid->b[n] & 0xf];
    }

    return dst;
}


int
mapi_guid_is_null(const mapi_guid_t *guid)
{
    size_t         n;
    unsigned char  any;

    for (any = 0, n = 0; n < 16; n++) {
        any |= guid->b[n];
    }

    return any == 0;
}
