
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_guid.h"


int
mapi_guid_parse(mapi_guid_t *guid, const unsigned char *p, size_t len)
{
    int  v, bad;

    if (len != MAPI_GUID_LEN
        || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
    {
        return MAPI_ERROR;
    }

    bad = 0;

    /* -1, for no digit, is the only negative value: it stays one */

#define mapi_guid_byte(n, at)                                                 \
    v = mapi_hex(p[at]) * 16 | mapi_hex(p[at + 1]);                           \
    guid->b[n] = (unsigned char) v;                                           \
    bad |= v

    mapi_guid_byte(0, 0);
    mapi_guid_byte(1, 2);
    mapi_guid_byte(2, 4);
    mapi_guid_byte(3, 6);
    mapi_guid_byte(4, 9);
    mapi_guid_byte(5, 11);
    mapi_guid_byte(6, 14);
    mapi_guid_byte(7, 16);
    mapi_guid_byte(8, 19);
    mapi_guid_byte(9, 21);
    mapi_guid_byte(10, 24);
    mapi_guid_byte(11, 26);
    mapi_guid_byte(12, 28);
    mapi_guid_byte(13, 30);
    mapi_guid_byte(14, 32);
    mapi_guid_byte(15, 34);

    return bad < 0 ? MAPI_ERROR : MAPI_OK;
}


unsigned char *
mapi_guid_lower(unsigned char *dst, const unsigned char *p)
{
    size_t    i;
    uint64_t  v;

    /* of hex digits and hyphens only the letters have the bit 0x40 */

    for (i = 0; i < 32; i += 8) {
        v = mapi_load64(p + i);
        mapi_store64(dst + i, v | (v & mapi_bytes(0x40)) >> 1);
    }

    v = mapi_load64(p + MAPI_GUID_LEN - 8);
    mapi_store64(dst + MAPI_GUID_LEN - 8, v | (v & mapi_bytes(0x40)) >> 1);

    return dst + MAPI_GUID_LEN;
}


unsigned char *
mapi_guid_format(unsigned char *dst, const mapi_guid_t *guid)
{
    /* the two digits of every byte */

#define mapi_guid_row(d)                                                      \
    d "0" d "1" d "2" d "3" d "4" d "5" d "6" d "7"                           \
    d "8" d "9" d "a" d "b" d "c" d "d" d "e" d "f"

    static const char  pairs[] =
        mapi_guid_row("0") mapi_guid_row("1") mapi_guid_row("2")
        mapi_guid_row("3") mapi_guid_row("4") mapi_guid_row("5")
        mapi_guid_row("6") mapi_guid_row("7") mapi_guid_row("8")
        mapi_guid_row("9") mapi_guid_row("a") mapi_guid_row("b")
        mapi_guid_row("c") mapi_guid_row("d") mapi_guid_row("e")
        mapi_guid_row("f");

#define mapi_guid_pair(n, at)                                                 \
    memcpy(dst + at, pairs + 2 * (size_t) guid->b[n], 2)

    mapi_guid_pair(0, 0);
    mapi_guid_pair(1, 2);
    mapi_guid_pair(2, 4);
    mapi_guid_pair(3, 6);
    dst[8] = '-';
    mapi_guid_pair(4, 9);
    mapi_guid_pair(5, 11);
    dst[13] = '-';
    mapi_guid_pair(6, 14);
    mapi_guid_pair(7, 16);
    dst[18] = '-';
    mapi_guid_pair(8, 19);
    mapi_guid_pair(9, 21);
    dst[23] = '-';
    mapi_guid_pair(10, 24);
    mapi_guid_pair(11, 26);
    mapi_guid_pair(12, 28);
    mapi_guid_pair(13, 30);
    mapi_guid_pair(14, 32);
    mapi_guid_pair(15, 34);

    return dst + MAPI_GUID_LEN;
}


int
mapi_guid_is_null(const mapi_guid_t *guid)
{
    return (mapi_load64(guid->b) | mapi_load64(guid->b + 8)) == 0;
}
