
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_WRITE_H_INCLUDED_
#define _MAPI_DIRECTORY_WRITE_H_INCLUDED_


#include "mapi_arena.h"
#include "mapi_directory_format.h"

#include <lmdb.h>


/*
 * Writing a directory, for the command.  A process that writes must not read
 * the same folder through mapi_directory.h: LMDB forbids two handles.
 *
 * All that is written is written in one transaction by a function given to
 * mapi_directory_transact(), which may call it again with a larger map.
 * Functions return MAPI_OK; MAPI_DECLINED where the text says so; MAPI_ERROR
 * with the sentence for an administrator in w->error; or MAPI_AGAIN, which
 * goes back to mapi_directory_transact().
 */

#define MAPI_AGAIN  -2


/* one row of the small tables, which are held in memory */

typedef struct {
    mapi_guid_t          guid;
    mapi_str_t           name;
    mapi_str_t           server;     /* lower case */
    mapi_str_t           copies;     /* lower case, each ended by zero */
    uint32_t             line;       /* of this import's file, or 0 */
} mapi_directory_db_row_t;


typedef struct {
    mapi_str_t           name;       /* lower case */
    mapi_str_t           fqdn;       /* lower case */
    mapi_str_t           addresses;  /* each ended by zero */
    mapi_str_t           version;
    mapi_server_state_e  state;      /* as imported */
    uint32_t             line;
} mapi_directory_server_row_t;


/* one record of the mailbox table: a mailbox, or an archive's alias */

typedef struct {
    mapi_guid_t          guid;
    unsigned char       *data;
    uint32_t             len;
    uint32_t             line;
} mapi_directory_item_t;


typedef struct {
    MDB_env                      *env;
    MDB_txn                      *txn;
    MDB_dbi                       dbi;

    mapi_directory_meta_t         meta;
    mapi_arena_t                  arena;      /* lives as long as the txn */

    mapi_directory_db_row_t      *databases;  /* by guid */
    size_t                        ndatabases;
    size_t                        room_databases;

    mapi_directory_server_row_t  *servers;    /* by name */
    size_t                        nservers;
    size_t                        room_servers;

    char                         *path;
    char                          error[1024];
    uint32_t                      error_line;   /* of the mailboxes' file,
                                                   or 0 */
} mapi_directory_writer_t;


typedef int (*mapi_directory_transact_pt)(mapi_directory_writer_t *w,
    void *data);

/*
 * A name that more than one mailbox has: line of this file and the other
 * line, or 0 and the mailbox that is in the directory
 */
typedef void (*mapi_directory_twice_pt)(void *data, unsigned space,
    const mapi_str_t *text, uint32_t line, uint32_t other,
    const mapi_guid_t *guid);

typedef void (*mapi_directory_progress_pt)(void *data, const char *what,
    size_t done, size_t total);


typedef struct {
    mapi_directory_item_t       *items;
    size_t                       n;
    unsigned                     replace;
    mapi_directory_twice_pt      twice;
    mapi_directory_progress_pt   progress;    /* may be NULL */
    void                        *data;
} mapi_directory_bulk_t;


/*
 * "create" makes the folder (2770) and the files, with the folder's owner and
 * group.  Always returns a writer, except without memory; MAPI_OK or
 * MAPI_ERROR in *rc.
 */
mapi_directory_writer_t *mapi_directory_writer_open(const char *path,
    unsigned create, int *rc);
void mapi_directory_writer_close(mapi_directory_writer_t *w);

/* "bytes": a guess of what will be written */
int mapi_directory_transact(mapi_directory_writer_t *w, uint64_t bytes,
    mapi_directory_transact_pt call, void *data);

/*
 * Within a transaction.  The small tables are in w->databases and w->servers,
 * to be changed there and then stored; the order of the arrays is free.
 */
int mapi_directory_store(mapi_directory_writer_t *w);

/*
 * Writes mailboxes: all there will be (replace, or none were there), or whole
 * records by GUID.  The items are sorted in place.  Fails if a GUID comes
 * twice.  Stores the small tables too.
 */
int mapi_directory_store_mailboxes(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk);

/* sorts, and fails with both lines if a GUID comes twice */
int mapi_directory_sort_items(mapi_directory_writer_t *w,
    mapi_directory_item_t *items, size_t n);

/* MAPI_DECLINED if the name is unknown */
int mapi_directory_find_server(mapi_directory_writer_t *w,
    const mapi_str_t *host, mapi_directory_server_row_t **row);
mapi_directory_db_row_t *mapi_directory_find_database(
    mapi_directory_writer_t *w, const mapi_str_t *name);

/* removes the state set by hand if state is NULL */
int mapi_directory_set_state(mapi_directory_writer_t *w,
    const mapi_str_t *server, const mapi_directory_state_t *state);

/* of this front end itself; NULL: online */
int mapi_directory_set_node(mapi_directory_writer_t *w,
    const mapi_directory_state_t *state);

int mapi_directory_raw_get(mapi_directory_writer_t *w,
    const unsigned char *key, size_t len, mapi_str_t *value);
int mapi_directory_raw_put(mapi_directory_writer_t *w,
    const unsigned char *key, size_t len, const void *data, size_t size);
int mapi_directory_raw_delete(mapi_directory_writer_t *w,
    const unsigned char *key, size_t len);
int mapi_directory_raw_walk(mapi_directory_writer_t *w,
    mapi_directory_table_e table, mapi_page_walk_pt call, void *data);

int mapi_directory_write_error(mapi_directory_writer_t *w, const char *fmt,
    ...) __attribute__((format(printf, 2, 3)));


#endif /* _MAPI_DIRECTORY_WRITE_H_INCLUDED_ */
