/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_CORE_H_INCLUDED_
#define _MAPI_CORE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <string.h>


/*
 * What every plain-C unit shares.  These units include no nginx header, so
 * that the command, the unit tests and the fuzz targets use them as they are.
 * Strings are views: a length and bytes, never terminated.  The layout of
 * mapi_str_t is that of ngx_str_t and the return codes are those of nginx,
 * so the module passes its own strings and codes without conversion.
 */

typedef struct {
    size_t          len;
    unsigned char  *data;
} mapi_str_t;


#define MAPI_OK         0
#define MAPI_ERROR     -1
#define MAPI_DECLINED  -5


#define mapi_string(s)  { sizeof(s) - 1, (unsigned char *) s }

/* ASCII only: no locale may change what a name is */
#define mapi_tolower(c)                                                       \
    (unsigned char) (((c) >= 'A' && (c) <= 'Z') ? ((c) | 0x20) : (c))


/* 1 if both have the same bytes */
int mapi_str_eq(const mapi_str_t *a, const mapi_str_t *b);

/* 1 if both are equal but for the case of ASCII letters */
int mapi_str_caseeq(const mapi_str_t *a, const mapi_str_t *b);

/* the value of a hex digit in either case, -1 if it is none */
#define mapi_hex(c)  ((int) mapi_hex_digits[(unsigned char) (c)])

extern const signed char  mapi_hex_digits[256];

/* copies n bytes, ASCII upper case to lower; returns dst + n */
unsigned char *mapi_strlow(unsigned char *dst, const unsigned char *src,
    size_t n);

/*
 * Eight bytes as one number, the first of them lowest on every machine, so
 * that a few operations look at all of them.  mapi_bytes() is a number of
 * eight times the same byte.
 */

#define mapi_bytes(c)  (0x0101010101010101ULL * (c))

#if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#define mapi_le32(v)  __builtin_bswap32(v)
#define mapi_le64(v)  __builtin_bswap64(v)
#else
#define mapi_le32(v)  (v)
#define mapi_le64(v)  (v)
#endif


static inline uint32_t
mapi_load32(const unsigned char *p)
{
    uint32_t  v;

    memcpy(&v, p, sizeof(v));

    return mapi_le32(v);
}


static inline uint64_t
mapi_load64(const unsigned char *p)
{
    uint64_t  v;

    memcpy(&v, p, sizeof(v));

    return mapi_le64(v);
}


static inline void
mapi_store32(unsigned char *p, uint32_t v)
{
    v = mapi_le32(v);
    memcpy(p, &v, sizeof(v));
}


static inline void
mapi_store64(unsigned char *p, uint64_t v)
{
    v = mapi_le64(v);
    memcpy(p, &v, sizeof(v));
}


/* fewer than eight bytes and zeros; reads no byte behind them */
static inline uint64_t
mapi_load_part(const unsigned char *p, size_t n)
{
    if (n >= 4) {
        return mapi_load32(p)
               | (uint64_t) mapi_load32(p + n - 4) << (8 * (n - 4));
    }

    if (n == 0) {
        return 0;
    }

    return p[0] | (uint64_t) p[n / 2] << (8 * (n / 2))
           | (uint64_t) p[n - 1] << (8 * (n - 1));
}


/*
 * 1 if n bytes are the same.  Compares all of them, so that the time it takes
 * tells nobody where they differ.
 */
static inline int
mapi_same(const unsigned char *a, const unsigned char *b, size_t n)
{
    size_t    i;
    uint64_t  differs;

    if (n < 8) {
        return mapi_load_part(a, n) == mapi_load_part(b, n);
    }

    /* the last eight overlap those before */

    differs = mapi_load64(a + n - 8) ^ mapi_load64(b + n - 8);

    for (i = 0; i + 8 < n; i += 8) {
        differs |= mapi_load64(a + i) ^ mapi_load64(b + i);
    }

    return differs == 0;
}


/* eight bytes of a text, or all len that are left and letters behind them */
static inline uint64_t
mapi_load_text(const unsigned char *p, size_t len)
{
    if (len >= 8) {
        return mapi_load64(p);
    }

    return mapi_load_part(p, len) | mapi_bytes('x') << (8 * len);
}


/*
 * The place of the first byte that a test of eight has marked, by its top bit;
 * marks is not 0.
 */
#define mapi_first_mark(marks)  ((size_t) __builtin_ctzll(marks) / 8)


/* ASCII upper case to lower in each byte */
static inline uint64_t
mapi_lower64(uint64_t v)
{
    uint64_t  low, upper;

    /* the top bit of a byte: from A on, but not behind Z, and ASCII */

    low = v & mapi_bytes(0x7f);
    upper = (low + mapi_bytes(0x80 - 'A')) & ~(low + mapi_bytes(0x7f - 'Z'))
            & ~v & mapi_bytes(0x80);

    return v | upper >> 2;
}


/*
 * The length of the well-formed UTF-8 sequence of two bytes or more at p (RFC
 * 3629: no overlong form, no surrogate, nothing above U+10FFFF), 0 if there is
 * none; len is not 0.
 */
size_t mapi_utf8(const unsigned char *p, size_t len);


#endif /* _MAPI_CORE_H_INCLUDED_ */
