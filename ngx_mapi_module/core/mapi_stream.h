
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_STREAM_H_INCLUDED_
#define _MAPI_STREAM_H_INCLUDED_


#include "mapi_core.h"


/*
 * Reads along what the body of an answer says of itself before its payload
 * ([MS-OXCMAPIHTTP] 2.2.2.2): PROCESSING and PENDING while the server works,
 * DONE with further header lines, of which a late X-ResponseCode counts.  As
 * servers send it: PROCESSING may come twice, PENDING without CR LF.  Keeps no
 * byte of the body; whatever is cut anywhere gives the same result.
 */

typedef struct {
    unsigned char  state;
    unsigned char  matched;    /* bytes of a word or of a name */
    unsigned char  digits;
    unsigned       done:1;     /* DONE was read */
    unsigned       pending;    /* how many times PENDING */
    int            code;       /* X-ResponseCode after DONE, -1: none */
} mapi_stream_t;


void mapi_stream_init(mapi_stream_t *s);

/*
 * The next bytes of the body.  MAPI_OK while more is wanted; MAPI_DECLINED
 * when the payload has begun or this is no such body: nothing that follows
 * changes anything.
 */
int mapi_stream_read(mapi_stream_t *s, const unsigned char *p, size_t len);


#endif /* _MAPI_STREAM_H_INCLUDED_ */
