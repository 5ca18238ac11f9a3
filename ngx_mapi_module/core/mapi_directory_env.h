
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_ENV_H_INCLUDED_
#define _MAPI_DIRECTORY_ENV_H_INCLUDED_


#include "mapi_directory_format.h"

#include <lmdb.h>
#include <sys/types.h>
#include <sys/stat.h>


/*
 * LMDB environments opened for reading, one a file and process, whatever
 * paths lead there: a second one would take the first one's locks away.
 *
 * The functions write a sentence for an administrator to "text", which has
 * room for MAPI_DIRECTORY_ERROR_MAX bytes, when they fail.
 */

#define MAPI_DIRECTORY_ERROR_MAX  1024

/* a path is cut at this length in sentences */
#define MAPI_DIRECTORY_SHOWN      200


typedef struct mapi_directory_env_s  mapi_directory_env_t;

struct mapi_directory_env_s {
    mapi_directory_env_t  *next;
    unsigned               refs;
    unsigned               active;   /* handles between begin and end */

    dev_t                  dev;
    ino_t                  ino;

    MDB_env               *env;

    size_t                 page_size;

    /* our own map of the same file, read by mapi_directory_page.c */
    const unsigned char   *map;
    size_t                 map_len;

    char                   path[];
};


/* stat of path/data.mdb; MAPI_OK or MAPI_ERROR */
int mapi_directory_env_stat(const char *path, struct stat *st, char *text);

/*
 * Everything that must be true before an open data.mdb is mapped: a map of a
 * file that is too short kills the process that touches it.
 */
int mapi_directory_file_check(const char *path, int fd, char *text);

/* checks before it maps: size, LMDB's record, our record */
mapi_directory_env_t *mapi_directory_env_open(const char *path, char *text);
void mapi_directory_env_close(mapi_directory_env_t *env);

/* after a fork: forgets what belongs to the parent */
void mapi_directory_env_forget(void);

/* is the open file still as long as its contents?  MAPI_OK, MAPI_ERROR */
int mapi_directory_env_check(mapi_directory_env_t *env, char *text);

/*
 * A descriptor of the file, which the caller closes, or -1.  Closing one takes
 * no lock away: LMDB's are on its other file.
 */
int mapi_directory_env_file(mapi_directory_env_t *env);

/* a read transaction, reset; NULL on failure */
MDB_txn *mapi_directory_env_txn(mapi_directory_env_t *env, char *text);

/*
 * Renews the transaction and sets the tree to its snapshot, with a larger map
 * if the file has grown.  The tree is one that this has set before, or has no
 * map.  MAPI_OK, or MAPI_ERROR with the transaction reset and the tree as it
 * was.
 */
int mapi_directory_env_renew(mapi_directory_env_t *env, MDB_txn *txn,
    mapi_page_tree_t *tree, char *text);


#endif /* _MAPI_DIRECTORY_ENV_H_INCLUDED_ */
