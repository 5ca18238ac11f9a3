
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>


#define MAPI_DIRECTORY_PATH_MAX  4096

/* a snapshot's meta page may be overwritten while it is copied */
#define MAPI_DIRECTORY_TRIES     8


static mapi_directory_env_t  *mapi_directory_envs;


static void mapi_directory_sys_error(const char *path, const char *what,
    int err, char *text);
static void mapi_directory_mdb_error(const char *path, int rc, char *text);
static int mapi_directory_env_map(mapi_directory_env_t *e, uint64_t size);
static int mapi_directory_env_record(mapi_directory_env_t *e, char *text);
static int mapi_directory_env_begin(MDB_env *env, MDB_txn **txn);


int
mapi_directory_env_stat(const char *path, struct stat *st, char *text)
{
    char  name[MAPI_DIRECTORY_PATH_MAX];
    int   n;

    n = snprintf(name, sizeof(name), "%s/data.mdb", path);

    if (n < 0 || (size_t) n >= sizeof(name)) {
        snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                 "the directory's path is longer than %d bytes",
                 MAPI_DIRECTORY_PATH_MAX - 10);
        return MAPI_ERROR;
    }

    if (stat(name, st) != 0) {
        mapi_directory_sys_error(path, "data.mdb", errno, text);
        return MAPI_ERROR;
    }

    return MAPI_OK;
}


static void
mapi_directory_sys_error(const char *path, const char *what, int err,
    char *text)
{
    unsigned    uid, gid;
    const char *p;

    p = path;

    switch (err) {

    case ENOENT:
    case ENOTDIR:
        snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                 "the directory \"%.*s\" cannot be found (no %s): make it "
                 "with \"mapi-directory -d %.*s import ...\"",
                 MAPI_DIRECTORY_SHOWN, p, what, MAPI_DIRECTORY_SHOWN, p);
        break;

    case EACCES:
    case EPERM:
        uid = (unsigned) geteuid();
        gid = (unsigned) getegid();

        snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                 "the directory \"%.*s\" cannot be opened by user %u of group "
                 "%u (%s: %s): run \"chgrp %u %.*s %.*s/*.mdb; "
                 "chmod 2770 %.*s; chmod 640 %.*s/data.mdb; "
                 "chmod 660 %.*s/lock.mdb\"",
                 MAPI_DIRECTORY_SHOWN, p, uid, gid, what, strerror(err), gid,
                 120, p, 120, p, 120, p, 120, p, 120, p);
        break;

    default:
        snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                 "the directory \"%.*s\" cannot be opened (%s: %s)",
                 MAPI_DIRECTORY_SHOWN, p, what, strerror(err));
        break;
    }
}


static void
mapi_directory_mdb_error(const char *path, int rc, char *text)
{
    if (rc > 0) {
        mapi_directory_sys_error(path, "lock.mdb", rc, text);
        return;
    }

    if (rc == MDB_READERS_FULL) {
        snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                 "the directory \"%.*s\" has more than %d readers",
                 MAPI_DIRECTORY_SHOWN, path, MAPI_DIRECTORY_READERS);
        return;
    }

    snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
             "the directory \"%.*s\" cannot be opened (%s)",
             MAPI_DIRECTORY_SHOWN, path, mdb_strerror(rc));
}


int
mapi_directory_file_check(const char *path, int fd, char *text)
{
    int               rc, i;
    off_t             off;
    ssize_t           n;
    uint64_t          need;
    const char       *why;
    struct stat       st;
    unsigned char     buf[MAPI_PAGE_META_SIZE];
    mapi_page_meta_t  meta;

    if (fstat(fd, &st) != 0) {
        mapi_directory_sys_error(path, "data.mdb", errno, text);
        return MAPI_ERROR;
    }

    why = "is not a directory's file";
    need = 0;
    off = 0;

    for (i = 0; i < 2; i++) {

        n = pread(fd, buf, sizeof(buf), off);

        if (n < 0) {
            mapi_directory_sys_error(path, "data.mdb", errno, text);
            return MAPI_ERROR;
        }

        rc = mapi_page_meta(&meta, buf, (size_t) n);

        if (rc == MAPI_DECLINED) {
            why = "was written by another version of LMDB";
        }

        if (rc != MAPI_OK) {
            goto bad;
        }

        if (need < mapi_page_bytes(&meta)) {
            need = mapi_page_bytes(&meta);
        }

        off = (off_t) meta.page_size;
    }

    /* the size last: a commit meanwhile makes the file longer, then says so */

    if (fstat(fd, &st) != 0) {
        mapi_directory_sys_error(path, "data.mdb", errno, text);
        return MAPI_ERROR;
    }

    if ((uint64_t) st.st_size < need) {
        why = "is shorter than its contents";
        goto bad;
    }

    return MAPI_OK;

bad:

    snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
             "the directory \"%.*s\" is not usable, its data.mdb %s: make a "
             "new one with \"mapi-directory -d NEW import ...\" and rename "
             "it into place", MAPI_DIRECTORY_SHOWN, path,
             st.st_size ? why : "is empty");

    return MAPI_ERROR;
}


void
mapi_directory_env_forget(void)
{
    mapi_directory_envs = NULL;
}


mapi_directory_env_t *
mapi_directory_env_open(const char *path, char *text)
{
    int                    fd, rc;
    char                   name[MAPI_DIRECTORY_PATH_MAX];
    MDB_stat               mst;
    struct stat            st, opened;
    mapi_directory_env_t  *e;

    (void) snprintf(name, sizeof(name), "%s/data.mdb", path);

    fd = open(name, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) != 0) {
        mapi_directory_sys_error(path, "data.mdb", errno, text);

        if (fd != -1) {
            (void) close(fd);
        }

        return NULL;
    }

    for (e = mapi_directory_envs; e; e = e->next) {
        if (e->dev == st.st_dev && e->ino == st.st_ino) {
            (void) close(fd);
            e->refs++;
            return e;
        }
    }

    rc = mapi_directory_file_check(path, fd, text);
    (void) close(fd);

    if (rc != MAPI_OK) {
        return NULL;
    }

    e = calloc(1, sizeof(mapi_directory_env_t) + strlen(path) + 1);
    if (e == NULL) {
        snprintf(text, MAPI_DIRECTORY_ERROR_MAX, "out of memory");
        return NULL;
    }

    strcpy(e->path, path);
    e->refs = 1;
    e->dev = st.st_dev;
    e->ino = st.st_ino;
    e->next = mapi_directory_envs;
    mapi_directory_envs = e;

    rc = mdb_env_create(&e->env);

    if (rc == 0) {
        rc = mdb_env_set_maxreaders(e->env, MAPI_DIRECTORY_READERS);
    }

    if (rc == 0) {
        rc = mdb_env_open(e->env, path, MDB_RDONLY|MDB_NOTLS, 0660);
    }

    if (rc == 0) {
        rc = mdb_env_get_fd(e->env, &fd);
    }

    if (rc == 0 && fstat(fd, &opened) != 0) {
        rc = errno;
    }

    if (rc == 0) {
        rc = mdb_env_stat(e->env, &mst);
    }

    if (rc != 0) {
        mapi_directory_mdb_error(path, rc, text);
        goto failed;
    }

    if (opened.st_dev != st.st_dev || opened.st_ino != st.st_ino) {
        snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                 "the directory \"%.*s\" is being replaced",
                 MAPI_DIRECTORY_SHOWN, path);
        goto failed;
    }

    e->page_size = mst.ms_psize;

    if (mapi_directory_env_check(e, text) != MAPI_OK
        || mapi_directory_env_record(e, text) != MAPI_OK)
    {
        goto failed;
    }

    return e;

failed:

    mapi_directory_env_close(e);

    return NULL;
}


void
mapi_directory_env_close(mapi_directory_env_t *e)
{
    mapi_directory_env_t  **p;

    if (--e->refs) {
        return;
    }

    for (p = &mapi_directory_envs; *p; p = &(*p)->next) {
        if (*p == e) {
            *p = e->next;
            break;
        }
    }

    if (e->map) {
        (void) munmap((void *) e->map, e->map_len);
    }

    if (e->env) {
        mdb_env_close(e->env);
    }

    free(e);
}


int
mapi_directory_env_check(mapi_directory_env_t *e, char *text)
{
    int  fd, rc;

    rc = mdb_env_get_fd(e->env, &fd);

    if (rc != 0) {
        mapi_directory_mdb_error(e->path, rc, text);
        return MAPI_ERROR;
    }

    return mapi_directory_file_check(e->path, fd, text);
}


int
mapi_directory_env_file(mapi_directory_env_t *e)
{
    int  fd;

    if (mdb_env_get_fd(e->env, &fd) != 0) {
        return -1;
    }

    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}


static int
mapi_directory_env_record(mapi_directory_env_t *e, char *text)
{
    int                    rc;
    MDB_txn               *txn;
    mapi_str_t             value;
    unsigned char          key;
    mapi_page_tree_t       tree;
    mapi_directory_meta_t  meta;

    txn = mapi_directory_env_txn(e, text);
    if (txn == NULL) {
        return MAPI_ERROR;
    }

    tree.map = NULL;
    rc = mapi_directory_env_renew(e, txn, &tree, text);

    if (rc == MAPI_OK) {
        key = (unsigned char) mapi_table_meta;
        rc = mapi_page_get(&tree, &key, 1, &value);

        if (rc == MAPI_OK) {
            rc = mapi_directory_meta_read(&meta, &value);

            if (rc == MAPI_DECLINED) {
                snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                         "the directory \"%.*s\" has format %u, this release "
                         "reads format %u: import it again with the "
                         "mapi-directory of this release",
                         MAPI_DIRECTORY_SHOWN, e->path,
                         (unsigned) meta.format, MAPI_DIRECTORY_FORMAT);
                rc = MAPI_ERROR;
                goto done;
            }
        }

        if (rc != MAPI_OK) {
            snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
                     "\"%.*s\" holds nothing of mapi-directory (no import "
                     "was finished, or it is damaged): run \"mapi-directory "
                     "-d %.*s import ...\"",
                     MAPI_DIRECTORY_SHOWN, e->path,
                     MAPI_DIRECTORY_SHOWN, e->path);
            rc = MAPI_ERROR;
        }
    }

done:

    mdb_txn_abort(txn);

    return rc;
}


static int
mapi_directory_env_begin(MDB_env *env, MDB_txn **txn)
{
    int  rc;

    rc = mdb_txn_begin(env, NULL, MDB_RDONLY, txn);

    if (rc == MDB_MAP_RESIZED) {
        rc = mdb_env_set_mapsize(env, 0);

        if (rc == 0) {
            rc = mdb_txn_begin(env, NULL, MDB_RDONLY, txn);
        }
    }

    return rc;
}


MDB_txn *
mapi_directory_env_txn(mapi_directory_env_t *e, char *text)
{
    int       rc;
    MDB_txn  *txn;

    rc = mapi_directory_env_begin(e->env, &txn);

    if (rc == MDB_READERS_FULL) {
        (void) mdb_reader_check(e->env, NULL);
        rc = mapi_directory_env_begin(e->env, &txn);
    }

    if (rc != 0) {
        mapi_directory_mdb_error(e->path, rc, text);
        return NULL;
    }

    mdb_txn_reset(txn);

    return txn;
}


/*
 * LMDB's own map may be moved only while nobody reads in it; ours alike.
 */

static int
mapi_directory_env_map(mapi_directory_env_t *e, uint64_t size)
{
    int    fd;
    void  *p;

    if (e->active || mdb_env_get_fd(e->env, &fd) != 0) {
        return MAPI_ERROR;
    }

    p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED) {
        return MAPI_ERROR;
    }

    (void) madvise(p, size, MADV_RANDOM);

    if (e->map) {
        (void) munmap((void *) e->map, e->map_len);
    }

    e->map = p;
    e->map_len = size;

    return MAPI_OK;
}


int
mapi_directory_env_renew(mapi_directory_env_t *e, MDB_txn *txn,
    mapi_page_tree_t *tree, char *text)
{
    int               i, rc;
    size_t            txnid;
    uint64_t          need;
    MDB_envinfo       info;
    mapi_page_meta_t  meta;

    for (i = 0; i < MAPI_DIRECTORY_TRIES; i++) {

        rc = mdb_txn_renew(txn);

        if (rc == MDB_MAP_RESIZED && e->active == 0) {
            rc = mdb_env_set_mapsize(e->env, 0);

            if (rc == 0) {
                continue;
            }
        }

        if (rc != 0) {
            mapi_directory_mdb_error(e->path, rc, text);
            return MAPI_ERROR;
        }

        if (e->map == NULL) {
            (void) mdb_env_info(e->env, &info);

            if (mapi_directory_env_map(e, info.me_mapsize) != MAPI_OK) {
                break;
            }
        }

        txnid = mdb_txn_id(txn);

        if (e->map == tree->map && tree->meta.txnid == txnid
            && mapi_page_newest(tree))
        {
            return MAPI_OK;
        }

        /* LMDB writes its meta pages in turn: this one is the snapshot's
         * unless two commits have come since */

        rc = mapi_page_meta(&meta, e->map + (txnid & 1) * e->page_size,
                            MAPI_PAGE_META_SIZE);

        if (rc != MAPI_OK || meta.page_size != e->page_size) {
            break;
        }

        if (meta.txnid != txnid) {
            mdb_txn_reset(txn);
            continue;
        }

        need = mapi_page_bytes(&meta);

        if (need > e->map_len) {
            if (mapi_directory_env_map(e, need > meta.map_size
                                          ? need : meta.map_size)
                != MAPI_OK)
            {
                break;
            }
        }

        tree->meta = meta;
        tree->map = e->map;

        return MAPI_OK;
    }

    mdb_txn_reset(txn);

    snprintf(text, MAPI_DIRECTORY_ERROR_MAX,
             "the directory \"%.*s\" cannot be read just now",
             MAPI_DIRECTORY_SHOWN, e->path);

    return MAPI_ERROR;
}
