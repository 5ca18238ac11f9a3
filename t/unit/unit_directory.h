
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _UNIT_DIRECTORY_H_INCLUDED_
#define _UNIT_DIRECTORY_H_INCLUDED_


#include "unit.h"
#include "mapi_directory_write.h"

#include <sys/stat.h>
#include <sys/wait.h>


/*
 * Directories for tests.  Writing happens in a child: a process that reads a
 * directory must not write it.
 */

typedef struct {
    unsigned     guid;         /* the first byte; the others are zero */
    unsigned     database;
    const char  *smtp;
    const char  *address;      /* or NULL */
    const char  *upn;          /* or NULL; equal to smtp: one string */
    const char  *account;      /* or NULL */
    unsigned     archive;      /* or 0 */
    unsigned     archive_database;
} unit_mailbox_t;


static inline mapi_directory_t *
dir_open(const char *path)
{
    mapi_str_t         s;
    mapi_directory_t  *d;

    s = unit_str(path);
    d = mapi_directory_open(&s);
    assert_non_null(d);

    return d;
}


static inline mapi_guid_t
unit_guid(unsigned n)
{
    mapi_guid_t  guid;

    memset(&guid, 0, sizeof(guid));
    guid.b[0] = (unsigned char) n;
    guid.b[1] = (unsigned char) (n >> 8);
    guid.b[2] = (unsigned char) (n >> 16);
    guid.b[15] = 1;

    return guid;
}


/* adds one mailbox, and its archive, as the import makes them */
static inline void
unit_items_add(mapi_arena_t *arena, mapi_directory_item_t *items, size_t *n,
    const unit_mailbox_t *m, unsigned line)
{
    mapi_str_t              s;
    mapi_guid_t             guid;
    unsigned char          *p, *record;
    mapi_directory_item_t  *item;

    record = mapi_arena_bytes(arena, 4096);
    p = record;
    *p++ = m->archive ? MAPI_MAILBOX_ARCHIVE : 0;

    guid = unit_guid(m->database);
    memcpy(p, guid.b, 16);
    p += 16;

    if (m->archive) {
        guid = unit_guid(m->archive);
        memcpy(p, guid.b, 16);
        guid = unit_guid(m->archive_database);
        memcpy(p + 16, guid.b, 16);
        p += 32;
    }

    s = unit_str(m->smtp);

    if (m->upn && strcmp(m->upn, m->smtp) == 0) {
        p = mapi_directory_text_put(p, mapi_text_smtp_upn, &s);

    } else {
        p = mapi_directory_text_put(p, mapi_text_smtp, &s);

        if (m->upn) {
            s = unit_str(m->upn);
            p = mapi_directory_text_put(p, mapi_text_upn, &s);
        }
    }

    if (m->account) {
        s = unit_str(m->account);
        p = mapi_directory_text_put(p, mapi_text_account, &s);
    }

    if (m->address) {
        s = unit_str(m->address);
        p = mapi_directory_text_put(p, mapi_text_address, &s);
    }

    item = &items[(*n)++];
    item->guid = unit_guid(m->guid);
    item->data = record;
    item->len = (uint32_t) (p - record);
    item->line = line;

    if (m->archive) {
        record = mapi_arena_bytes(arena, 17);
        record[0] = MAPI_MAILBOX_ALIAS;
        memcpy(record + 1, item->guid.b, 16);

        item = &items[(*n)++];
        item->guid = unit_guid(m->archive);
        item->data = record;
        item->len = 17;
        item->line = line;
    }
}


static inline void
unit_database(mapi_directory_writer_t *w, unsigned guid, const char *name,
    const char *server, const char *copies, size_t len)
{
    mapi_directory_db_row_t  *row;

    w->databases = mapi_arena_grow(&w->arena, w->databases, w->ndatabases,
                                   &w->room_databases,
                                   sizeof(mapi_directory_db_row_t));
    row = &w->databases[w->ndatabases++];
    memset(row, 0, sizeof(*row));
    row->guid = unit_guid(guid);
    row->name = unit_str(name);
    row->server = unit_str(server);
    row->copies.data = (unsigned char *) copies;
    row->copies.len = len;
}


static inline void
unit_server(mapi_directory_writer_t *w, const char *name, const char *fqdn,
    const char *addresses, size_t len)
{
    mapi_directory_server_row_t  *row;

    w->servers = mapi_arena_grow(&w->arena, w->servers, w->nservers,
                                 &w->room_servers,
                                 sizeof(mapi_directory_server_row_t));
    row = &w->servers[w->nservers++];
    memset(row, 0, sizeof(*row));
    row->name = unit_str(name);
    row->fqdn = unit_str(fqdn);
    row->addresses.data = (unsigned char *) addresses;
    row->addresses.len = len;
    row->version = unit_str("15.2.1544.4");
}


/* a folder of its own below the temporary folder */
static inline char *
unit_folder(void)
{
    char        *path;
    const char  *tmp;

    tmp = getenv("TMPDIR");
    path = malloc(4096);
    assert_non_null(path);
    (void) snprintf(path, 4000, "%s/mapi-unit-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));

    return path;
}


static inline void
unit_run(const char *fmt, const char *a, const char *b)
{
    char  command[9000];

    (void) snprintf(command, sizeof(command), fmt, a, b);
    assert_int_equal(system(command), 0);
}


static inline void
unit_folder_end(char *path)
{
    unit_run("rm -rf '%s'%s", path, "");
    free(path);
}


/* in this process; "error" may be NULL */
static inline int
unit_write_here(const char *path, uint64_t bytes,
    mapi_directory_transact_pt call, void *data, char *error)
{
    int                       rc;
    mapi_directory_writer_t  *w;

    w = mapi_directory_writer_open(path, 1, &rc);

    if (w == NULL) {
        return MAPI_ERROR;
    }

    if (rc == MAPI_OK) {
        rc = mapi_directory_transact(w, bytes, call, data);
    }

    if (error) {
        (void) snprintf(error, sizeof(w->error), "%s", w->error);
    }

    mapi_directory_writer_close(w);

    return rc;
}


static inline void
unit_write(const char *path, mapi_directory_transact_pt call, void *data)
{
    int    status;
    pid_t  pid;

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        _exit(unit_write_here(path, 0, call, data, NULL) == MAPI_OK ? 0 : 1);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}


/*
 * Replaces everything: eight mailboxes, two databases, three servers
 */

static inline int
unit_write_all(mapi_directory_writer_t *w, void *data)
{
    size_t                  i, n;
    mapi_arena_t            arena;
    mapi_directory_bulk_t   bulk;
    mapi_directory_item_t   items[64];

    static const unit_mailbox_t  mailboxes[] = {
        { 1, 101, "Anna@corp.example", "anna.alias@corp.example",
          "anna@ad.example", "CORP\\anna", 201, 102 },
        { 2, 102, "bert@corp.example", NULL, "bert@corp.example", "bert", 0,
          0 },

        /* two that share an address, a UPN and an account */
        { 3, 101, "carl@corp.example", "info@corp.example", "c@ad.example",
          "CORP\\carl", 0, 0 },
        { 4, 102, "dora@corp.example", "INFO@corp.example", "C@ad.example",
          "corp\\CARL", 0, 0 },

        /* the UPN of one is the address of another */
        { 5, 101, "e1@corp.example", NULL, "e2@corp.example", NULL, 0, 0 },
        { 6, 102, "e2@corp.example", NULL, NULL, NULL, 0, 0 },

        /* a bare account beside one of a domain */
        { 7, 101, "f@corp.example", NULL, NULL, "OTHER\\frank", 0, 0 },
        { 8, 102, "g@corp.example", NULL, NULL, "frank", 0, 0 }
    };

    memset(&arena, 0, sizeof(arena));
    memset(&bulk, 0, sizeof(bulk));
    n = 0;

    for (i = 0; i < unit_items(mailboxes); i++) {
        unit_items_add(&arena, items, &n, &mailboxes[i], (unsigned) i + 2);
    }

    w->ndatabases = 0;
    w->nservers = 0;

    unit_database(w, 101, "DB01", "EX1.corp.example", "ex1\0ex2.corp.example",
                  21);
    unit_database(w, 102, "DB02", "ex2", "", 0);
    unit_server(w, "ex1", "ex1.corp.example", "127.0.0.11\0", 11);
    unit_server(w, "ex2", "ex2.corp.example", "127.0.0.12\0" "127.0.0.9\0",
                21);
    unit_server(w, "ex3", "", "127.0.0.9\0", 10);

    bulk.items = items;
    bulk.n = n;
    bulk.replace = 1;

    i = (size_t) mapi_directory_store_mailboxes(w, &bulk);
    mapi_arena_free(&arena);

    return (int) i;
}


#endif /* _UNIT_DIRECTORY_H_INCLUDED_ */
