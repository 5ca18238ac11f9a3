
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_LOG_FOLDER_H_INCLUDED_
#define _MAPI_LOG_FOLDER_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_log_row.h"


/*
 * The files of a log folder, for processes that append at the same time.  All
 * of it happens under a lock that the kernel takes back when its process
 * dies: an fcntl() lock on a file in the folder, which is opened anew each
 * time, as the log file is.  So nothing is held in between, and a file that
 * was renamed or removed is no longer written to.
 *
 * The processes that append own the folder.  Nobody with more rights may open
 * or chown anything in it by name.
 */

#define MAPI_LOG_LOCK_NAME  ".HttpProxy.lock"

/* another process has the lock */
#define MAPI_BUSY           -3

/* numbers tried if files cannot be opened */
#define MAPI_LOG_TRIES      20

#define MAPI_LOG_PATH_MAX   3072
#define MAPI_LOG_FILE_MAX   (MAPI_LOG_PATH_MAX + 1 + MAPI_LOG_NAME_MAX)


/* limits of 0 do not limit */
typedef struct {
    const char         *path;        /* up to MAPI_LOG_PATH_MAX bytes */
    unsigned            columns;
    mapi_log_version_t  version;
    int64_t             max_file;    /* bytes */
    int64_t             max_folder;
    int64_t             max_age;     /* seconds */

    /* zero at first: the file that was written last */
    int64_t             hour;
    unsigned            number;

    int                 lock;        /* an open file while it is locked */
} mapi_log_folder_t;


/* what there is to say; zeroed by mapi_log_folder_lock() */
typedef struct {
    const char         *what;        /* "open()": failed with err on file */
    int                 err;
    char                file[MAPI_LOG_FILE_MAX + 1];

    uint64_t            torn;        /* bytes of half a row, cut off */
    unsigned            deleted;     /* files, though younger than max_age */
    int64_t             deleted_hour;  /* the youngest of them */
    unsigned            kept;        /* files that could not be deleted */
    int                 kept_err;
} mapi_log_report_t;


/* MAPI_OK, MAPI_BUSY, or MAPI_ERROR with a report; never waits */
int mapi_log_folder_lock(mapi_log_folder_t *folder, mapi_log_report_t *report);
void mapi_log_folder_unlock(mapi_log_folder_t *folder);

/* the process that has the lock, 0 if it cannot be told */
long mapi_log_folder_holder(mapi_log_folder_t *folder);

/*
 * Under the lock: appends whole rows to the file of that hour, with a header
 * if it is a new one, and deletes old files then.  now is in milliseconds
 * since 1970.  MAPI_OK, or MAPI_ERROR with a report and nothing written.
 */
int mapi_log_folder_append(mapi_log_folder_t *folder, unsigned char *rows,
    size_t len, int64_t hour, int64_t now, mapi_log_report_t *report);


#endif /* _MAPI_LOG_FOLDER_H_INCLUDED_ */
