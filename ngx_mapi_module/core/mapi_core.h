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
 * The length of the well-formed UTF-8 sequence of two bytes or more at p (RFC
 * 3629: no overlong form, no surrogate, nothing above U+10FFFF), 0 if there is
 * none; len is not 0.
 */
size_t mapi_utf8(const unsigned char *p, size_t len);


#endif /* _MAPI_CORE_H_INCLUDED_ */
