
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_LOG_FILE_H_INCLUDED_
#define _NGX_MAPI_LOG_FILE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "mapi_log_folder.h"
#include "mapi_log_row.h"


/*
 * A folder of HttpProxy log files, which all workers append to.  One object a
 * folder and configuration, whoever names it; in each worker a buffer and a
 * timer of its own.
 */

typedef struct ngx_mapi_log_worker_s  ngx_mapi_log_worker_t;


/* limits of 0 do not limit */
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


typedef struct {
    ngx_mapi_log_options_t   options;

    ngx_str_t                file;     /* where it is configured first */
    ngx_uint_t               line;
    dev_t                    dev;
    ino_t                    ino;

    /* of this process, NULL until its first row */
    ngx_mapi_log_worker_t   *worker;
} ngx_mapi_log_folder_t;


/*
 * At configuration time: makes the folder if it is not there; two with the
 * same path are one, and must have the same options.  NULL after an error that
 * has been logged with file and line.
 */
ngx_mapi_log_folder_t *ngx_mapi_log_folder(ngx_conf_t *cf,
    ngx_mapi_log_options_t *options);

/* hands the folders to the workers' user; has USR1 write what is buffered */
ngx_int_t ngx_mapi_log_init_module(ngx_cycle_t *cycle);

/*
 * Where a row is to be written, in the worker's buffer: at least
 * MAPI_LOG_ROW_MAX bytes, or NULL if there is no room (counted and reported).
 * now is the request's end in milliseconds since 1970: the row goes to the
 * file of that hour.  To be followed at once by ngx_mapi_log_commit() with the
 * length of the row, CR LF included.  Nothing here fails a request.
 */
u_char *ngx_mapi_log_reserve(ngx_mapi_log_folder_t *folder, int64_t now);
void ngx_mapi_log_commit(ngx_mapi_log_folder_t *folder, size_t len);

/* writes what this process still has in all its buffers */
void ngx_mapi_log_flush(ngx_open_file_t *file, ngx_log_t *log);

/* the same for the last time; frees the buffer of one folder, or of all */
void ngx_mapi_log_close(ngx_mapi_log_worker_t *worker);
void ngx_mapi_log_exit_process(ngx_cycle_t *cycle);


#endif /* _NGX_MAPI_LOG_FILE_H_INCLUDED_ */
