
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_guid.h"


int
mapi_guid_parse(mapi_guid_t *guid, const unsigned char *p, size_t len)
{
    int     hi, lo;
    size_t  i, n;

    if (len != MAPI_GUID_LEN) {
        return MAPI_ERROR;
    }

    for (i = 0, n = 0; n < 16; n++) {

        if (n == 4 || n == 6 || n == 8 || n == 10) {
            if (p[i++] != '-') {
                return MAPI_ERROR;
            }
        }

        hi = mapi_hex(p[i++]);
        lo = mapi_hex(p[i++]);

        if (hi < 0 || lo < 0) {
            return MAPI_ERROR;
        }

        guid->b[n] = (unsigned char) (hi << 4 | lo);
    }

    return MAPI_OK;
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
