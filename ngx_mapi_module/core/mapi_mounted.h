
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_MOUNTED_H_INCLUDED_
#define _MAPI_MOUNTED_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_guid.h"


/* longest host name (RFC 1035) */
#define MAPI_MOUNTED_SERVER_MAX  255


/* where a mailbox server says that a database is; server is a view */
typedef struct {
    mapi_guid_t  database;
    mapi_str_t   server;
} mapi_mounted_t;


/*
 * Reads a value of X-DBMountedOnServer, "database~server~version": a GUID, a
 * host name and a version, of which only its presence counts.  MAPI_OK, or
 * MAPI_ERROR and nothing in it may be used.
 */
int mapi_mounted_parse(mapi_mounted_t *mounted, const unsigned char *p,
    size_t len);


#endif /* _MAPI_MOUNTED_H_INCLUDED_ */
