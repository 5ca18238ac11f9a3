
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_GUID_H_INCLUDED_
#define _MAPI_GUID_H_INCLUDED_


#include "mapi_core.h"


#define MAPI_GUID_LEN  36


/* the bytes in the order in which the text form prints them */
typedef struct {
    unsigned char  b[16];
} mapi_guid_t;


/*
 * Reads the text form 8-4-4-4-12 of exactly MAPI_GUID_LEN hex digits and
 * hyphens, in any case, without braces.  MAPI_OK or MAPI_ERROR.
 */
int mapi_guid_parse(mapi_guid_t *guid, const unsigned char *p, size_t len);

/*
 * Copies the MAPI_GUID_LEN bytes of a text that was read as a GUID, letters to
 * lower case, which is what mapi_guid_format() would write; dst may be p.
 */
unsigned char *mapi_guid_lower(unsigned char *dst, const unsigned char *p);

/* writes MAPI_GUID_LEN bytes in lower case, no zero; returns the end */
unsigned char *mapi_guid_format(unsigned char *dst, const mapi_guid_t *guid);

/* 1 if all bytes are zero: Exchange's way to write "none" */
int mapi_guid_is_null(const mapi_guid_t *guid);


#endif /* _MAPI_GUID_H_INCLUDED_ */
