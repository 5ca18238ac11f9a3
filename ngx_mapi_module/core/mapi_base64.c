
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_base64.h"


/*
 * Six bits of value; two more say that the character is of one alphabet
 * only, or of none (both): the "or" over a text tells all that is wrong in it.
 */

static const unsigned char  mapi_base64_table[256] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0x7e, 0xff, 0xbe, 0xff, 0x7f,
    0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b,
    0x3c, 0x3d, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
    0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
    0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
    0x17, 0x18, 0x19, 0xff, 0xff, 0xff, 0xff, 0xbf,
    0xff, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20,
    0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x30,
    0x31, 0x32, 0x33, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
};

#define mapi_base64_value(c)  mapi_base64_table[c]


int
mapi_base64_check(const unsigned char *p, size_t len, unsigned alphabet,
    size_t *n)
{
    size_t         i, rest;
    unsigned char  all, last;

    if (len && len % 4 == 0 && p[len - 1] == '=') {
        len -= p[len - 2] == '=' ? 2 : 1;
    }

    for (all = 0, i = 0; i + 4 <= len; i += 4) {
        all |= mapi_base64_value(p[i]) | mapi_base64_value(p[i + 1])
               | mapi_base64_value(p[i + 2]) | mapi_base64_value(p[i + 3]);
    }

    for ( /* void */ ; i < len; i++) {
        all |= mapi_base64_value(p[i]);
    }

    if ((all & 0xc0) & ~alphabet) {
        return MAPI_ERROR;
    }

    rest = len % 4;

    if (rest == 1) {
        return MAPI_ERROR;
    }

    if (rest) {
        last = mapi_base64_value(p[len - 1]);

        if (last & (rest == 2 ? 0x0f : 0x03)) {
            return MAPI_ERROR;
        }
    }

    *n = len / 4 * 3 + (rest ? rest - 1 : 0);

    return MAPI_OK;
}


static unsigned char
mapi_base64_byte(const unsigned char *p, size_t i)
{
    unsigned  a, b, at;

    at = i % 3;
    p += i / 3 * 4 + at;

    a = mapi_base64_value(p[0]) & 0x3f;
    b = mapi_base64_value(p[1]) & 0x3f;

    return (unsigned char) (a << (2 + 2 * at) | b >> (4 - 2 * at));
}


/* four characters, three bytes */
static inline uint32_t
mapi_base64_group(const unsigned char *p)
{
    return (uint32_t) (mapi_base64_value(p[0]) & 0x3f) << 18
           | (uint32_t) (mapi_base64_value(p[1]) & 0x3f) << 12
           | (uint32_t) (mapi_base64_value(p[2]) & 0x3f) << 6
           | (uint32_t) (mapi_base64_value(p[3]) & 0x3f);
}


void
mapi_base64_read(unsigned char *dst, const unsigned char *p, size_t from,
    size_t n)
{
    uint32_t  v;

    for ( /* void */ ; n && from % 3; from++, n--) {
        *dst++ = mapi_base64_byte(p, from);
    }

    p += from / 3 * 4;

    /* four bytes are stored while there is room: the last is not one yet */

    for ( /* void */ ; n >= 4; p += 4, dst += 3, n -= 3) {
        mapi_store32(dst, __builtin_bswap32(mapi_base64_group(p) << 8));
    }

    if (n == 3) {
        v = mapi_base64_group(p);

        dst[0] = (unsigned char) (v >> 16);
        dst[1] = (unsigned char) (v >> 8);
        dst[2] = (unsigned char) v;

        return;
    }

    for (from = 0; from < n; from++) {
        dst[from] = mapi_base64_byte(p, from);
    }
}


size_t
mapi_base64_until(unsigned char *dst, size_t size, const unsigned char *p,
    size_t n, unsigned char stop)
{
    size_t         i;
    unsigned char  a, b, c;

    /* a byte is in two characters: no other is read before it is known */

#define mapi_base64_put(byte)                                                 \
    c = (unsigned char) (byte);                                               \
                                                                              \
    if (c == stop) {                                                          \
        return i;                                                             \
    }                                                                         \
                                                                              \
    if (i == size) {                                                          \
        break;                                                                \
    }                                                                         \
                                                                              \
    dst[i++] = c

    for (i = 0; i < n; p += 4) {
        a = mapi_base64_value(p[0]);
        b = mapi_base64_value(p[1]) & 0x3f;
        mapi_base64_put(a << 2 | b >> 4);

        if (i == n) {
            break;
        }

        a = mapi_base64_value(p[2]) & 0x3f;
        mapi_base64_put(b << 4 | a >> 2);

        if (i == n) {
            break;
        }

        b = mapi_base64_value(p[3]) & 0x3f;
        mapi_base64_put(a << 6 | b);
    }

    return n;
}


unsigned char *
mapi_base64_url(unsigned char *dst, const unsigned char *p, size_t n)
{
    static const char  digits[] =
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789-_";

    for ( /* void */ ; n >= 3; p += 3, n -= 3) {
        *dst++ = (unsigned char) digits[p[0] >> 2];
        *dst++ = (unsigned char) digits[(p[0] & 0x03) << 4 | p[1] >> 4];
        *dst++ = (unsigned char) digits[(p[1] & 0x0f) << 2 | p[2] >> 6];
        *dst++ = (unsigned char) digits[p[2] & 0x3f];
    }

    if (n == 0) {
        return dst;
    }

    *dst++ = (unsigned char) digits[p[0] >> 2];

    if (n == 1) {
        *dst++ = (unsigned char) digits[(p[0] & 0x03) << 4];
        return dst;
    }

    *dst++ = (unsigned char) digits[(p[0] & 0x03) << 4 | p[1] >> 4];
    *dst++ = (unsigned char) digits[(p[1] & 0x0f) << 2];

    return dst;
}
