
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_write.h"
#include "mapi_directory_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>


#define MAPI_WRITE_PATH_MAX  4096
#define MAPI_WRITE_MAP_STEP  (16 * 1024 * 1024)


static int mapi_directory_folder(mapi_directory_writer_t *w, unsigned create);
static int mapi_directory_precheck(mapi_directory_writer_t *w,
    unsigned create);
static void mapi_directory_permissions(mapi_directory_writer_t *w);
static int mapi_directory_grow(mapi_directory_writer_t *w, uint64_t size);
static int mapi_directory_start(mapi_directory_writer_t *w);
static int mapi_directory_load_meta(mapi_directory_writer_t *w);
static int mapi_directory_load_database(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int mapi_directory_load_server(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int mapi_directory_mdb(mapi_directory_writer_t *w, int rc);


int
mapi_directory_write_error(mapi_directory_writer_t *w, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(w->error, sizeof(w->error), fmt, args);
    va_end(args);

    return MAPI_ERROR;
}


static int
mapi_directory_mdb(mapi_directory_writer_t *w, int rc)
{
    switch (rc) {

    case 0:
        return MAPI_OK;

    case MDB_NOTFOUND:
        return MAPI_DECLINED;

    case MDB_MAP_FULL:
    case MDB_MAP_RESIZED:
        return MAPI_AGAIN;
    }

    return mapi_directory_write_error(w, "the directory \"%s\" cannot be "
                                      "written: %s", w->path,
                                      mdb_strerror(rc));
}


mapi_directory_writer_t *
mapi_directory_writer_open(const char *path, unsigned create, int *result)
{
    int                       rc;
    mapi_directory_writer_t  *w;

    *result = MAPI_ERROR;

    w = calloc(1, sizeof(mapi_directory_writer_t));
    if (w == NULL) {
        return NULL;
    }

    w->path = strdup(path);
    if (w->path == NULL) {
        free(w);
        return NULL;
    }

    if (strlen(path) + 16 > MAPI_WRITE_PATH_MAX) {
        (void) mapi_directory_write_error(w, "the path is too long");
        return w;
    }

    if (mapi_directory_folder(w, create) != MAPI_OK
        || mapi_directory_precheck(w, create) != MAPI_OK)
    {
        return w;
    }

    rc = mdb_env_create(&w->env);

    if (rc == 0) {
        rc = mdb_env_set_maxreaders(w->env, MAPI_DIRECTORY_READERS);
    }

    if (rc == 0) {
        rc = mdb_env_open(w->env, path, MDB_NOTLS, 0660);
    }

    if (rc != 0) {
        (void) mapi_directory_write_error(w,
                             "the directory \"%s\" cannot be opened for "
                             "writing: %s%s", path, mdb_strerror(rc),
                             (rc == EACCES) ? " (run this as root, or as the "
                             "owner of the folder)" : "");
        return w;
    }

    mapi_directory_permissions(w);

    *result = MAPI_OK;

    return w;
}


void
mapi_directory_writer_close(mapi_directory_writer_t *w)
{
    if (w == NULL) {
        return;
    }

    if (w->txn) {
        mdb_txn_abort(w->txn);
    }

    if (w->env) {
        mdb_env_close(w->env);
    }

    mapi_arena_free(&w->arena);
    free(w->path);
    free(w);
}


static int
mapi_directory_folder(mapi_directory_writer_t *w, unsigned create)
{
    struct stat  st;

    if (stat(w->path, &st) == 0) {

        if (!S_ISDIR(st.st_mode)) {
            return mapi_directory_write_error(w, "\"%s\" is not a folder",
                                              w->path);
        }

        return MAPI_OK;
    }

    if (errno != ENOENT || !create) {
        return mapi_directory_write_error(w,
                             "the directory \"%s\" cannot be found (%s)%s",
                             w->path, strerror(errno),
                             create ? "" : ": import makes one");
    }

    if (mkdir(w->path, 0770) != 0 || chmod(w->path, 02770) != 0) {
        return mapi_directory_write_error(w,
                             "the folder \"%s\" cannot be made: %s", w->path,
                             strerror(errno));
    }

    return MAPI_OK;
}


/*
 * LMDB itself trusts a file whose end is missing.
 */

static int
mapi_directory_precheck(mapi_directory_writer_t *w, unsigned create)
{
    int          fd, rc;
    char         name[MAPI_WRITE_PATH_MAX];
    struct stat  st;

    (void) snprintf(name, sizeof(name), "%s/data.mdb", w->path);

    fd = open(name, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {

        if (errno == ENOENT && create) {
            return MAPI_OK;
        }

        return mapi_directory_write_error(w,
                             "the directory \"%s\" cannot be found (data.mdb: "
                             "%s)%s", w->path, strerror(errno),
                             (errno == ENOENT) ? ": import makes one" : "");
    }

    rc = MAPI_OK;

    if (fstat(fd, &st) != 0 || st.st_size != 0) {
        rc = mapi_directory_file_check(w->path, fd, w->error);

    } else if (!create) {
        rc = mapi_directory_write_error(w, "the directory in \"%s\" is empty:"
                                        " import first", w->path);
    }

    (void) close(fd);

    return rc;
}


/*
 * Owner and group are the folder's, so that the workers' group reads what
 * root writes.  By path: an open and close of lock.mdb here would give up
 * LMDB's locks.
 */

static void
mapi_directory_permissions(mapi_directory_writer_t *w)
{
    int                       i;
    char                      name[MAPI_WRITE_PATH_MAX];
    struct stat               folder, st;
    static const mode_t       modes[] = { 0640, 0660 };
    static const char *const  files[] = { "data.mdb", "lock.mdb" };

    if (stat(w->path, &folder) != 0) {
        return;
    }

    for (i = 0; i < 2; i++) {
        (void) snprintf(name, sizeof(name), "%s/%s", w->path, files[i]);

        if (stat(name, &st) != 0) {
            continue;
        }

        if ((st.st_uid != folder.st_uid || st.st_gid != folder.st_gid)
            && chown(name, folder.st_uid, folder.st_gid) != 0)
        {
            /* not root: at least the group */
            if (chown(name, (uid_t) -1, folder.st_gid) != 0) {
                continue;
            }
        }

        if ((st.st_mode & 07777) != modes[i] && chmod(name, modes[i]) != 0) {
            continue;
        }
    }
}


static int
mapi_directory_grow(mapi_directory_writer_t *w, uint64_t size)
{
    MDB_envinfo  info;

    (void) mdb_env_info(w->env, &info);

    if (size <= info.me_mapsize) {
        return MAPI_OK;
    }

    size = (size + MAPI_WRITE_MAP_STEP - 1)
           / MAPI_WRITE_MAP_STEP * MAPI_WRITE_MAP_STEP;

    return mapi_directory_mdb(w, mdb_env_set_mapsize(w->env, size));
}


int
mapi_directory_transact(mapi_directory_writer_t *w, uint64_t bytes,
    mapi_directory_transact_pt call, void *data)
{
    int          rc;
    MDB_stat     st;
    MDB_envinfo  info;

    if (mdb_env_set_mapsize(w->env, 0) != 0
        || mdb_env_info(w->env, &info) != 0
        || mdb_env_stat(w->env, &st) != 0)
    {
        return mapi_directory_write_error(w, "LMDB does not answer");
    }

    rc = mapi_directory_grow(w, (info.me_last_pgno + 1) * st.ms_psize + bytes);

    while (rc == MAPI_OK) {

        rc = mapi_directory_start(w);

        if (rc == MAPI_OK) {
            rc = call(w, data);
        }

        if (rc == MAPI_OK) {
            unsigned char  key = (unsigned char) mapi_table_meta;

            rc = mapi_directory_raw_put(w, &key, 1, &w->meta,
                                        sizeof(mapi_directory_meta_t));
        }

        if (rc == MAPI_OK) {
            rc = mapi_directory_mdb(w, mdb_txn_commit(w->txn));
            w->txn = NULL;

        } else if (w->txn) {
            mdb_txn_abort(w->txn);
            w->txn = NULL;
        }

        if (rc != MAPI_AGAIN) {
            break;
        }

        /* full, or grown by somebody else */

        (void) mdb_env_info(w->env, &info);
        (void) mdb_env_set_mapsize(w->env, 0);

        rc = mapi_directory_grow(w, info.me_mapsize * 2);
    }

    mapi_arena_free(&w->arena);

    return rc;
}


static int
mapi_directory_start(mapi_directory_writer_t *w)
{
    int  rc;

    mapi_arena_free(&w->arena);

    w->databases = NULL;
    w->ndatabases = 0;
    w->room_databases = 0;
    w->servers = NULL;
    w->nservers = 0;
    w->room_servers = 0;

    rc = mapi_directory_mdb(w, mdb_txn_begin(w->env, NULL, 0, &w->txn));

    if (rc != MAPI_OK) {
        w->txn = NULL;
        return rc;
    }

    rc = mapi_directory_mdb(w, mdb_dbi_open(w->txn, NULL, 0, &w->dbi));

    if (rc == MAPI_OK) {
        rc = mapi_directory_load_meta(w);
    }

    if (rc == MAPI_OK) {
        rc = mapi_directory_raw_walk(w, mapi_table_database,
                                     mapi_directory_load_database, w);
    }

    if (rc == MAPI_OK) {
        rc = mapi_directory_raw_walk(w, mapi_table_server,
                                     mapi_directory_load_server, w);
    }

    return rc;
}


static int
mapi_directory_load_meta(mapi_directory_writer_t *w)
{
    int            rc;
    MDB_stat       st;
    mapi_str_t     value;
    unsigned char  key;

    key = (unsigned char) mapi_table_meta;

    rc = mapi_directory_raw_get(w, &key, 1, &value);

    if (rc == MAPI_OK) {

        rc = mapi_directory_meta_read(&w->meta, &value);

        if (rc == MAPI_OK) {
            return MAPI_OK;
        }

        return mapi_directory_write_error(w,
                             "the directory \"%s\" was made by another "
                             "release: import into a new folder and rename "
                             "it into place", w->path);
    }

    if (rc != MAPI_DECLINED) {
        return rc;
    }

    rc = mapi_directory_mdb(w, mdb_stat(w->txn, w->dbi, &st));

    if (rc != MAPI_OK) {
        return rc;
    }

    if (st.ms_entries != 0) {
        return mapi_directory_write_error(w, "\"%s\" is an LMDB environment "
                             "of something else", w->path);
    }

    memset(&w->meta, 0, sizeof(mapi_directory_meta_t));
    memcpy(w->meta.magic, MAPI_DIRECTORY_MAGIC, 8);
    w->meta.format = MAPI_DIRECTORY_FORMAT;
    w->meta.created = (uint64_t) time(NULL);

    if (getrandom(w->meta.uuid, 16, 0) != 16) {
        return mapi_directory_write_error(w, "no random bytes: %s",
                                          strerror(errno));
    }

    return MAPI_OK;
}


static int
mapi_directory_load_database(void *data, const mapi_str_t *key,
    const mapi_str_t *value)
{
    mapi_directory_writer_t *w = data;

    mapi_database_t           database;
    mapi_directory_db_row_t  *row;

    if (key->len != 17
        || mapi_directory_database_read(&database, value) != MAPI_OK)
    {
        return mapi_directory_write_error(w, "a database's record in \"%s\" "
                                          "is damaged", w->path);
    }

    w->databases = mapi_arena_grow(&w->arena, w->databases, w->ndatabases,
                                   &w->room_databases,
                                   sizeof(mapi_directory_db_row_t));
    if (w->databases == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    row = &w->databases[w->ndatabases++];
    memset(row, 0, sizeof(mapi_directory_db_row_t));
    memcpy(row->guid.b, key->data + 1, 16);

    if (mapi_arena_str(&w->arena, &row->name, &database.name) != MAPI_OK
        || mapi_arena_str(&w->arena, &row->server, &database.server)
           != MAPI_OK
        || mapi_arena_str(&w->arena, &row->copies, &database.copies)
           != MAPI_OK)
    {
        return mapi_directory_write_error(w, "out of memory");
    }

    return MAPI_OK;
}


static int
mapi_directory_load_server(void *data, const mapi_str_t *key,
    const mapi_str_t *value)
{
    mapi_directory_writer_t *w = data;

    mapi_server_t                 server;
    mapi_directory_server_row_t  *row;

    if (mapi_directory_server_read(&server, value) != MAPI_OK) {
        return mapi_directory_write_error(w, "a server's record in \"%s\" is "
                                          "damaged", w->path);
    }

    w->servers = mapi_arena_grow(&w->arena, w->servers, w->nservers,
                                 &w->room_servers,
                                 sizeof(mapi_directory_server_row_t));
    if (w->servers == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    row = &w->servers[w->nservers++];
    memset(row, 0, sizeof(mapi_directory_server_row_t));
    row->state = server.state;

    if (mapi_arena_str(&w->arena, &row->name, &server.name) != MAPI_OK
        || mapi_arena_str(&w->arena, &row->fqdn, &server.fqdn) != MAPI_OK
        || mapi_arena_str(&w->arena, &row->addresses, &server.addresses)
           != MAPI_OK
        || mapi_arena_str(&w->arena, &row->version, &server.version)
           != MAPI_OK)
    {
        return mapi_directory_write_error(w, "out of memory");
    }

    return MAPI_OK;
}


int
mapi_directory_raw_get(mapi_directory_writer_t *w, const unsigned char *key,
    size_t len, mapi_str_t *value)
{
    int      rc;
    MDB_val  k, v;

    k.mv_data = (void *) key;
    k.mv_size = len;

    rc = mdb_get(w->txn, w->dbi, &k, &v);

    if (rc == 0) {
        value->data = v.mv_data;
        value->len = v.mv_size;
    }

    return mapi_directory_mdb(w, rc);
}


int
mapi_directory_raw_put(mapi_directory_writer_t *w, const unsigned char *key,
    size_t len, const void *data, size_t size)
{
    MDB_val  k, v;

    k.mv_data = (void *) key;
    k.mv_size = len;
    v.mv_data = (void *) data;
    v.mv_size = size;

    return mapi_directory_mdb(w, mdb_put(w->txn, w->dbi, &k, &v, 0));
}


int
mapi_directory_raw_delete(mapi_directory_writer_t *w,
    const unsigned char *key, size_t len)
{
    MDB_val  k;

    k.mv_data = (void *) key;
    k.mv_size = len;

    return mapi_directory_mdb(w, mdb_del(w->txn, w->dbi, &k, NULL));
}


int
mapi_directory_raw_walk(mapi_directory_writer_t *w,
    mapi_directory_table_e table, mapi_page_walk_pt call, void *data)
{
    int             rc;
    MDB_val         k, v;
    mapi_str_t      key, value;
    MDB_cursor     *cursor;
    unsigned char   first;

    rc = mapi_directory_mdb(w, mdb_cursor_open(w->txn, w->dbi, &cursor));

    if (rc != MAPI_OK) {
        return rc;
    }

    first = (unsigned char) table;
    k.mv_data = &first;
    k.mv_size = 1;

    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

    while (rc == 0) {

        key.data = k.mv_data;
        key.len = k.mv_size;

        if (key.len == 0 || key.data[0] != first) {
            rc = MDB_NOTFOUND;
            break;
        }

        value.data = v.mv_data;
        value.len = v.mv_size;

        rc = call(data, &key, &value);

        if (rc != MAPI_OK) {
            mdb_cursor_close(cursor);
            return rc;
        }

        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }

    mdb_cursor_close(cursor);

    return (rc == MDB_NOTFOUND) ? MAPI_OK : mapi_directory_mdb(w, rc);
}
