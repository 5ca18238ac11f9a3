
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_CMD_HTTP_H_INCLUDED_
#define _MAPI_CMD_HTTP_H_INCLUDED_


#include <stddef.h>


/*
 * One GET over plain HTTP/1.1, for the pages of a front end: no TLS, no
 * redirects, one connection, closed after.  Everything together takes ten
 * seconds at most, and an answer has 8 MB at most.
 */

#define CMD_HTTP_SECONDS  10
#define CMD_HTTP_MAX      (8 * 1024 * 1024)


typedef struct {
    unsigned   status;
    char      *body;           /* with a zero byte behind it */
    size_t     len;
    char       error[512];     /* a sentence, if there is no answer */
} cmd_http_t;


/*
 * MAPI_OK: there is an answer, of whatever status.  MAPI_DECLINED: the URL is
 * none that can be asked; MAPI_ERROR: nobody answered; error says why.
 * To be freed in any case.
 */
int cmd_http_get(cmd_http_t *http, const char *url);

/* the same with more header lines, each with its CRLF */
int cmd_http_ask(cmd_http_t *http, const char *url, const char *headers);
void cmd_http_free(cmd_http_t *http);


#endif /* _MAPI_CMD_HTTP_H_INCLUDED_ */
