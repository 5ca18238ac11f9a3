
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_LOG_FILE_H_INCLUDED_
#define _NGX_MAPI_LOG_FILE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "mapi_log_row.h"


/*
 * A folder of HttpProxy log files, which all workers append to.  One object a
 * folder and configuration, whoever names it; in each worker a buffer, an open
 * file and a timer of its own.
 */

typedef struct ngx_mapi_log_folder_s  ngx_mapi_log_folder_t;


typedef struct {
    ngx_str_t           path;          /* full, ended by a zero byte */
    ngx_uint_t          columns;       /* 69 or 74 */
    mapi_log_version_t  version;
    off_t               max_file;
    off_t               max_folder;
    time_t              max_age;
    size_t              buffer;
    ngx_msec_t          flush;
} ngx_mapi_log_options_t;


/*
 * At configuration time: makes the folder if it is not there and hands it to
 * the workers' user; two with the same path are one, and must have the same
 * options.  NULL after an error that has been logged with file and line.
 */
ngx_mapi_log_folder_t *ngx_mapi_log_folder(ngx_conf_t *cf,
    ngx_mapi_log_options_t *options);

/*
 * Where a row is to be written, in the worker's buffer: at least
 * MAPI_LOG_ROW_MAX bytes, or NULL if there is no room (counted and reported).
 * now is the request's end in milliseconds since 1970: the row goes to the
 * file of that hour.  To be followed at once by ngx_mapi_log_commit() with the
 * length of the row, CR LF included.  Nothing here fails a request.
 */
u_char *ngx_mapi_log_reserve(ngx_mapi_log_folder_t *folder, int64_t now);
void ngx_mapi_log_commit(ngx_mapi_log_folder_t *folder, size_t len);

/* writes what the worker still has, of all folders of the cycle */
void ngx_mapi_log_exit_process(ngx_cycle_t *cycle);


#endif /* _NGX_MAPI_LOG_FILE_H_INCLUDED_ */
