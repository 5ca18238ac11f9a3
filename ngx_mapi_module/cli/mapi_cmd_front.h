
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_CMD_FRONT_H_INCLUDED_
#define _MAPI_CMD_FRONT_H_INCLUDED_


#include <jansson.h>


/* what a front end says of itself: mapi_status, as JSON */

/* CMD_DONE, or the exit code after a message */
int cmd_front_get(const char *url, json_t **front);

/* as lines and tables, for people */
int cmd_front_print(json_t *front);


#endif /* _MAPI_CMD_FRONT_H_INCLUDED_ */
