
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_REQUEST_H_INCLUDED_
#define _MAPI_REQUEST_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_identity.h"


typedef enum {
    mapi_endpoint_none = 0,
    mapi_endpoint_emsmdb,
    mapi_endpoint_nspi,
    mapi_endpoint_health
} mapi_endpoint_e;


/*
 * The endpoint of a raw path, as it stands in the request line before any
 * "?": /mapi/emsmdb, /mapi/nspi (each with or without one last slash) or
 * /mapi/healthcheck.htm, compared without case.  Everything else is none, and
 * so is every path that is not already normal ("//", "..", ";", a backslash,
 * any percent escape).
 */
mapi_endpoint_e mapi_request_endpoint(const unsigned char *path, size_t len);


typedef struct {
    mapi_identity_t  identity;    /* kind none, guid or smtp */
    unsigned         caller:1;    /* useMailboxOfAuthenticatedUser=true */
} mapi_query_t;


/*
 * Reads the raw query (what follows the first "?", may be empty), parameters
 * separated by "&".  Names and values are percent-decoded, "+" is a plus,
 * names are compared without case.  MailboxId goes before smtpAddress, both
 * go before useMailboxOfAuthenticatedUser (true in any case, blanks around it
 * ignored; any other value of it is false).
 * buf has room for 2 * MAPI_IDENTITY_MAX bytes; the identity points into it.
 * MAPI_OK; MAPI_DECLINED if the query names nobody; MAPI_ERROR if MailboxId or
 * smtpAddress is malformed, empty, badly escaped or stands twice (either one,
 * also where the other decides), or if the query holds a raw "#", control
 * byte or blank.
 * Source: [MS-OXCMAPIHTTP] 2.2.2.1, and Exchange's front end.
 */
int mapi_request_query(mapi_query_t *q, const unsigned char *query,
    size_t len, unsigned char *buf);


#endif /* _MAPI_REQUEST_H_INCLUDED_ */
