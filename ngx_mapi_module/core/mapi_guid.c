
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_guid.h"


/*
 * Digits are read sixteen at a time and written eight at a time, each byte of a
 * number one of them: a table would be some ten lines of the processor's cache
 * for each GUID.
 */

#define mapi_guid_nibbles  0x000f000f000f000fULL


/* two times eight digits, which any compiler's vectors work on side by side */
typedef uint64_t  mapi_guid_pair_t __attribute__((vector_size(16)));


/* as twice four bytes, the first lowest; *bad gets a bit if one is no digit */
static mapi_guid_pair_t
mapi_guid_read(mapi_guid_pair_t v, mapi_guid_pair_t *bad)
{
    mapi_guid_pair_t  low, digit, letter;

    low = v & mapi_bytes(0x7f);

    /* the top bit of a byte: '0' to '9', and 'a' to 'f' in either case */

    digit = (low + mapi_bytes(0x80 - '0')) & ~(low + mapi_bytes(0x7f - '9'));

    low |= mapi_bytes(0x20);
    letter = (low + mapi_bytes(0x80 - 'a')) & ~(low + mapi_bytes(0x7f - 'f'));

    *bad |= (~(digit | letter) | v) & mapi_bytes(0x80);

    /* a letter has the bit 0x40 and is nine more than its lower bits */

    letter = v >> 6 & mapi_bytes(0x01);
    v = (v & mapi_bytes(0x0f)) + (letter << 3) + letter;

    /* two digits to a byte, and the bytes together */

    v = (v << 4 | v >> 8) & 0x00ff00ff00ff00ffULL;
    v = (v | v >> 8) & 0x0000ffff0000ffffULL;

    return v | v >> 16;
}


/* four bytes, the first lowest, as eight digits in lower case */
static uint64_t
mapi_guid_digits(const unsigned char *p)
{
    uint64_t  v;

    v = mapi_load32(p);

    v = (v | v << 16) & 0x0000ffff0000ffffULL;
    v = (v | v << 8) & 0x00ff00ff00ff00ffULL;
    v = (v >> 4 & mapi_guid_nibbles) | (v & mapi_guid_nibbles) << 8;

    return v + mapi_bytes('0')
           + ('a' - '9' - 1) * (((v + mapi_bytes(6)) >> 4) & mapi_bytes(0x01));
}


int
mapi_guid_parse(mapi_guid_t *guid, const unsigned char *p, size_t len)
{
    mapi_guid_pair_t  ends, middle, bad;

    if (len != MAPI_GUID_LEN
        || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
    {
        return MAPI_ERROR;
    }

    ends[0] = mapi_load64(p);
    ends[1] = mapi_load64(p + 28);
    middle[0] = mapi_load32(p + 9) | (uint64_t) mapi_load32(p + 14) << 32;
    middle[1] = mapi_load32(p + 19) | (uint64_t) mapi_load32(p + 24) << 32;

    bad[0] = 0;
    bad[1] = 0;

    ends = mapi_guid_read(ends, &bad);
    middle = mapi_guid_read(middle, &bad);

    mapi_store32(guid->b, (uint32_t) ends[0]);
    mapi_store32(guid->b + 4, (uint32_t) middle[0]);
    mapi_store32(guid->b + 8, (uint32_t) middle[1]);
    mapi_store32(guid->b + 12, (uint32_t) ends[1]);

    return (bad[0] | bad[1]) ? MAPI_ERROR : MAPI_OK;
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
    uint64_t  v;

    mapi_store64(dst, mapi_guid_digits(guid->b));
    dst[8] = '-';

    v = mapi_guid_digits(guid->b + 4);
    mapi_store32(dst + 9, (uint32_t) v);
    dst[13] = '-';
    mapi_store32(dst + 14, (uint32_t) (v >> 32));
    dst[18] = '-';

    v = mapi_guid_digits(guid->b + 8);
    mapi_store32(dst + 19, (uint32_t) v);
    dst[23] = '-';
    mapi_store32(dst + 24, (uint32_t) (v >> 32));

    mapi_store64(dst + 28, mapi_guid_digits(guid->b + 12));

    return dst + MAPI_GUID_LEN;
}


int
mapi_guid_is_null(const mapi_guid_t *guid)
{
    return (mapi_load64(guid->b) | mapi_load64(guid->b + 8)) == 0;
}
