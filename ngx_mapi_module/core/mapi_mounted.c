
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_mounted.h"


static int mapi_mounted_is_name(unsigned char c);


int
mapi_mounted_parse(mapi_mounted_t *mounted, const unsigned char *p,
    size_t len)
{
    size_t                n, i;
    const unsigned char  *name, *end;

    if (len <= MAPI_GUID_LEN || p[MAPI_GUID_LEN] != '~'
        || mapi_guid_parse(&mounted->database, p, MAPI_GUID_LEN) != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    name = p + MAPI_GUID_LEN + 1;
    len -= MAPI_GUID_LEN + 1;

    end = memchr(name, '~', len);

    if (end == NULL) {
        return MAPI_ERROR;
    }

    n = end - name;

    if (n == 0 || n > MAPI_MOUNTED_SERVER_MAX || n + 1 == len) {
        return MAPI_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (!mapi_mounted_is_name(name[i])) {
            return MAPI_ERROR;
        }
    }

    mounted->server.data = (unsigned char *) name;
    mounted->server.len = n;

    return MAPI_OK;
}


/* what a host name may have: the name goes into a log as it is */

static int
mapi_mounted_is_name(unsigned char c)
{
    unsigned char  lc;

    lc = c | 0x20;

    return (lc >= 'a' && lc <= 'z') || (c >= '0' && c <= '9')
           || c == '-' || c == '_' || c == '.';
}
