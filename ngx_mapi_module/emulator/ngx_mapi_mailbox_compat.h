
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_MAILBOX_COMPAT_H_INCLUDED_
#define _NGX_MAPI_MAILBOX_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/*
 * What differs between nginx versions for the emulator.  Request headers and
 * cookies are read from the plain list of headers, which is the same in all.
 */

/*
 * Since 1.23.0 lines of one name are linked by "next", and what a list gives
 * is garbage: an element is zeroed whole, whatever members it has.
 */
#define ngx_mapi_mailbox_header_init(h)                                       \
    ngx_memzero(h, sizeof(ngx_table_elt_t))


#if (NGX_HTTP_SSL)
#define ngx_mapi_mailbox_is_tls(r)  ((r)->connection->ssl != NULL)
#else
#define ngx_mapi_mailbox_is_tls(r)  0
#endif


#endif /* _NGX_MAPI_MAILBOX_COMPAT_H_INCLUDED_ */
