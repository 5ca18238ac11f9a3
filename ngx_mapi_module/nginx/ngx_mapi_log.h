
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_LOG_H_INCLUDED_
#define _NGX_MAPI_LOG_H_INCLUDED_


#include "ngx_mapi_watch.h"


/* texts of a row that are put together here */
typedef struct {
    u_char  anchor[sizeof("MailboxGuid~") + MAPI_IDENTITY_MAX];
    u_char  user[MAPI_IDENTITY_MAX];
    u_char  code[NGX_INT_T_LEN];
    u_char  status[NGX_INT_T_LEN];
} ngx_mapi_log_text_t;


#define ngx_mapi_log_set(dst, text)                                           \
    (dst)->len = sizeof(text) - 1; (dst)->data = (u_char *) text

#define ngx_mapi_log_view(dst, src)                                           \
    (dst)->len = (src)->len; (dst)->data = (src)->data

/* the layout of both is the same, see mapi_core.h */

#define ngx_mapi_log_pair(pairs, key, value)                                  \
    mapi_log_pair_add(pairs, key, (mapi_str_t *) (value))

/* name is in lower case, as nginx has made its own copy of the header's */

#define ngx_mapi_log_header_is(h, name)                                       \
    ((h)->key.len == sizeof(name) - 1                                         \
     && ngx_memcmp((h)->lowcase_key, name, sizeof(name) - 1) == 0)


/* the server's status, 0 if it has not answered */
ngx_uint_t ngx_mapi_log_server_status(ngx_http_upstream_t *u);

/*
 * The second half of a row: when and how it ended, from a server that was
 * asked or from ourselves.  Of an answer X-ResponseCode is returned, or
 * NGX_MAPI_CODE_UNKNOWN if its headers were not gone through.
 */
void ngx_mapi_log_times(ngx_http_request_t *r, ngx_mapi_watch_t *watch,
    mapi_log_times_t *times);
ngx_int_t ngx_mapi_log_answer(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row, ngx_mapi_log_text_t *text);
void ngx_mapi_log_error_code(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_log_row_t *row);


#endif /* _NGX_MAPI_LOG_H_INCLUDED_ */
