
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_BASE64_H_INCLUDED_
#define _MAPI_BASE64_H_INCLUDED_


#include "mapi_core.h"


/* RFC 4648, 4 and 5: a text is of one alphabet, never of both */
#define MAPI_BASE64_STANDARD  0x40
#define MAPI_BASE64_URL       0x80

/* bytes of the text of n bytes, without padding */
#define mapi_base64_encoded(n)  (((n) * 4 + 2) / 3)


/*
 * Checks a whole text: the alphabet, the length, padding (complete or none at
 * all), unused bits zero, so that bytes have one spelling but for padding.
 * MAPI_OK with the number of bytes that it stands for, or MAPI_ERROR.
 */
int mapi_base64_check(const unsigned char *p, size_t len, unsigned alphabet,
    size_t *n);

/*
 * Decodes n bytes from the byte at offset "from" to dst.  The text has passed
 * the check and from + n is not more than the number that the check gave.
 */
void mapi_base64_read(unsigned char *dst, const unsigned char *p, size_t from,
    size_t n);

/*
 * Decodes from the beginning up to a byte "stop", which is not written, and
 * nothing that stands behind it.  Returns how many bytes stand before it, n
 * (of the check) if there is none or they do not fit.
 */
size_t mapi_base64_until(unsigned char *dst, size_t size,
    const unsigned char *p, size_t n, unsigned char stop);

/* writes mapi_base64_encoded(n) bytes, URL alphabet; returns the end */
unsigned char *mapi_base64_url(unsigned char *dst, const unsigned char *p,
    size_t n);


#endif /* _MAPI_BASE64_H_INCLUDED_ */
