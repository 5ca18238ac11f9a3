
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd_import.h"

#include <stdlib.h>
#include <time.h>


/* the import's transaction: what was read meets what is there */


#define CMD_LOSS_PERCENT  10


typedef struct {
    cmd_import_t             *im;
    mapi_directory_writer_t  *w;
    mapi_directory_db_row_t  *gone;        /* databases removed */
    size_t                    ngone;
    uint64_t                  count;
    mapi_guid_t               example;
} cmd_scan_t;


static int cmd_apply_servers(cmd_import_t *im, mapi_directory_writer_t *w);
static int cmd_apply_databases(cmd_import_t *im, mapi_directory_writer_t *w);
static int cmd_apply_gone(cmd_import_t *im, mapi_directory_writer_t *w,
    mapi_directory_db_row_t *old, size_t n);
static int cmd_apply_names(cmd_import_t *im, mapi_directory_writer_t *w);
static int cmd_apply_loss(cmd_import_t *im, mapi_directory_writer_t *w);
static int cmd_apply_mailboxes(cmd_import_t *im, mapi_directory_writer_t *w);
static void cmd_apply_unknown(cmd_import_t *im, mapi_directory_writer_t *w);
static void cmd_apply_twice(void *data, unsigned space,
    const mapi_str_t *text, uint32_t line, uint32_t other,
    const mapi_guid_t *guid);


int
cmd_import_apply(mapi_directory_writer_t *w, void *data)
{
    cmd_import_t *im = data;

    int  rc;

    im->nwarnings = 0;
    im->before = w->meta.mailboxes;
    im->code = CMD_ENVIRONMENT;

    rc = MAPI_OK;

    if (im->opt->servers) {
        rc = cmd_apply_servers(im, w);
    }

    if (rc == MAPI_OK && im->opt->databases) {
        rc = cmd_apply_databases(im, w);
    }

    if (rc == MAPI_OK) {
        rc = im->opt->mailboxes ? cmd_apply_mailboxes(im, w)
                                : mapi_directory_store(w);
    }

    if (rc == MAPI_OK) {
        w->meta.imported = (uint64_t) time(NULL);

        /* the transaction may come again, the warnings must not */

        if (!im->servers_unknown) {
            cmd_apply_unknown(im, w);
        }
    }

    return rc;
}


static int
cmd_apply_refuse(cmd_import_t *im)
{
    im->code = CMD_INPUT;

    return MAPI_ERROR;
}


static int
cmd_apply_servers(cmd_import_t *im, mapi_directory_writer_t *w)
{
    size_t                        i, j, nold;
    unsigned                      used;
    mapi_directory_server_row_t  *old, *row;

    old = w->servers;
    nold = w->nservers;

    if (im->opt->replace) {
        w->servers = NULL;
        w->nservers = 0;
        w->room_servers = 0;
    }

    for (i = 0; i < im->nservers; i++) {

        for (j = 0; j < w->nservers; j++) {
            if (mapi_str_eq(&w->servers[j].name, &im->servers[i].name)) {
                break;
            }
        }

        if (j < w->nservers) {
            w->servers[j] = im->servers[i];
            continue;
        }

        w->servers = mapi_arena_grow(&w->arena, w->servers, w->nservers,
                                     &w->room_servers,
                                     sizeof(mapi_directory_server_row_t));
        if (w->servers == NULL) {
            return mapi_directory_write_error(w, "out of memory");
        }

        w->servers[w->nservers++] = im->servers[i];
    }

    if (!im->opt->replace || im->opt->force) {
        return MAPI_OK;
    }

    for (i = 0; i < nold; i++) {

        for (j = 0; j < w->nservers; j++) {
            if (mapi_str_eq(&w->servers[j].name, &old[i].name)) {
                break;
            }
        }

        if (j < w->nservers) {
            continue;
        }

        /* databases as they will be: the file's, else those there are */

        used = 0;

        for (j = 0; j < im->ndatabases; j++) {
            used += mapi_str_eq(&im->databases[j].server, &old[i].name)
                    || (old[i].fqdn.len
                        && mapi_str_eq(&im->databases[j].server,
                                       &old[i].fqdn));
        }

        for (j = 0; im->opt->databases == NULL && j < w->ndatabases; j++) {
            used += mapi_str_eq(&w->databases[j].server, &old[i].name);
        }

        if (used == 0 || mapi_directory_find_server(w, &old[i].name, &row)
                         == MAPI_OK)
        {
            continue;
        }

        (void) mapi_directory_write_error(w, "%s: this would remove the "
                             "server %.*s, where %u databases are mounted: "
                             "add --force if that is meant",
                             im->opt->servers, (int) old[i].name.len,
                             old[i].name.data, used);

        return cmd_apply_refuse(im);
    }

    return MAPI_OK;
}


static int
cmd_apply_databases(cmd_import_t *im, mapi_directory_writer_t *w)
{
    size_t                    i, j, nold;
    mapi_directory_db_row_t  *old, *db;

    old = w->databases;
    nold = w->ndatabases;

    if (im->opt->replace) {
        w->databases = NULL;
        w->ndatabases = 0;
        w->room_databases = 0;
    }

    for (i = 0; i < im->ndatabases; i++) {

        db = &im->databases[i];

        for (j = 0; j < w->ndatabases; j++) {
            if (memcmp(w->databases[j].guid.b, db->guid.b, 16) == 0) {
                break;
            }
        }

        if (j < w->ndatabases) {
            w->databases[j] = *db;
            continue;
        }

        w->databases = mapi_arena_grow(&w->arena, w->databases, w->ndatabases,
                                       &w->room_databases,
                                       sizeof(mapi_directory_db_row_t));
        if (w->databases == NULL) {
            return mapi_directory_write_error(w, "out of memory");
        }

        w->databases[w->ndatabases++] = *db;
    }

    for (i = 0; i < w->ndatabases; i++) {
        db = mapi_directory_find_database(w, &w->databases[i].name);

        if (db == &w->databases[i]) {
            continue;
        }

        (void) mapi_directory_write_error(w, "%s:%u:1: the directory has a "
                             "database %.*s with another GUID: import all "
                             "databases with --replace",
                             im->opt->databases,
                             db->line ? db->line : w->databases[i].line,
                             (int) db->name.len, db->name.data);

        return cmd_apply_refuse(im);
    }

    if (im->opt->replace && im->opt->mailboxes == NULL && !im->opt->force) {
        return cmd_apply_gone(im, w, old, nold);
    }

    return MAPI_OK;
}


static int
cmd_apply_count_use(void *data, const mapi_str_t *key,
    const mapi_str_t *value)
{
    cmd_scan_t *scan = data;

    size_t                    i, n;
    mapi_directory_db_row_t  *db;
    mapi_directory_record_t   record;

    if (mapi_directory_record_read(&record, value) != MAPI_OK
        || (record.flags & MAPI_MAILBOX_ALIAS))
    {
        return MAPI_OK;
    }

    n = (record.flags & MAPI_MAILBOX_ARCHIVE) ? 2 : 1;
    db = scan->gone;

    for (i = 0; i < scan->ngone; i++) {
        if (memcmp(db[i].guid.b, record.database.b, 16) == 0
            || (n == 2 && memcmp(db[i].guid.b, record.archive_database.b, 16)
                          == 0))
        {
            scan->example = db[i].guid;
            scan->count++;
            break;
        }
    }

    return MAPI_OK;
}


static int
cmd_apply_gone(cmd_import_t *im, mapi_directory_writer_t *w,
    mapi_directory_db_row_t *old, size_t nold)
{
    int                       rc;
    size_t                    i, j, n;
    cmd_scan_t                scan;
    mapi_directory_db_row_t  *gone;

    gone = mapi_arena_alloc(&w->arena,
                            nold * sizeof(mapi_directory_db_row_t));
    if (gone == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    n = 0;

    for (i = 0; i < nold; i++) {

        for (j = 0; j < w->ndatabases; j++) {
            if (memcmp(old[i].guid.b, w->databases[j].guid.b, 16) == 0) {
                break;
            }
        }

        if (j == w->ndatabases) {
            gone[n++] = old[i];
        }
    }

    if (n == 0) {
        return MAPI_OK;
    }

    memset(&scan, 0, sizeof(scan));
    scan.gone = gone;
    scan.ngone = n;

    rc = mapi_directory_raw_walk(w, mapi_table_mailbox, cmd_apply_count_use,
                                 &scan);

    if (rc != MAPI_OK || scan.count == 0) {
        return rc;
    }

    for (i = 0; i < n; i++) {
        if (memcmp(gone[i].guid.b, scan.example.b, 16) == 0) {
            break;
        }
    }

    (void) mapi_directory_write_error(w, "%s: this would remove databases "
                         "that %llu mailboxes are in (%.*s): add --force if "
                         "that is meant", im->opt->databases,
                         (unsigned long long) scan.count,
                         (int) gone[i].name.len, gone[i].name.data);

    return cmd_apply_refuse(im);
}


/*
 * Mailboxes name their databases, records hold GUIDs.
 */

static int
cmd_apply_names(cmd_import_t *im, mapi_directory_writer_t *w)
{
    size_t                    i;
    unsigned                  column, place;
    cmd_name_t               *name;
    cmd_mailbox_t            *m;
    mapi_directory_db_row_t  *db;

    for (i = 0; i < im->nnames; i++) {
        name = &im->names[i];
        db = mapi_directory_find_database(w, &name->name);

        if (db) {
            name->guid = db->guid;
            continue;
        }

        column = name->archive ? CMD_MAILBOX_ARCHIVE_DB : CMD_MAILBOX_DB;

        cmd_table_places(im->opt->mailboxes, cmd_mailbox_columns,
                         cmd_mailbox_ncolumns, column, &name->line, &place,
                         1);

        (void) mapi_directory_write_error(w, "%s:%u:%u: %s: the database "
                             "\"%.*s\" is unknown: import the databases too "
                             "(--databases)", im->opt->mailboxes, name->line,
                             place, cmd_mailbox_columns[column].name,
                             (int) (name->name.len > 100 ? 100
                                    : name->name.len), name->name.data);

        return cmd_apply_refuse(im);
    }

    for (i = 0; i < im->nmailboxes; i++) {
        m = &im->mailboxes[i];

        memcpy(m->data + 1, im->names[m->database].guid.b, 16);

        if (m->data[0] & MAPI_MAILBOX_ARCHIVE) {
            memcpy(m->data + 33, im->names[m->archive_database].guid.b, 16);
        }
    }

    return MAPI_OK;
}


static int
cmd_apply_item_cmp(const void *a, const void *b)
{
    return memcmp(((const mapi_directory_item_t *) a)->guid.b,
                  ((const mapi_directory_item_t *) b)->guid.b, 16);
}


static int
cmd_apply_count_loss(void *data, const mapi_str_t *key,
    const mapi_str_t *value)
{
    cmd_scan_t *scan = data;

    mapi_directory_item_t  wanted, *item;

    if (key->len != 17 || value->len == 0
        || (value->data[0] & MAPI_MAILBOX_ALIAS))
    {
        return MAPI_OK;
    }

    memcpy(wanted.guid.b, key->data + 1, 16);

    item = scan->im->nitems
           ? bsearch(&wanted, scan->im->items, scan->im->nitems,
                     sizeof(mapi_directory_item_t), cmd_apply_item_cmp)
           : NULL;

    if (item == NULL || (item->data[0] & MAPI_MAILBOX_ALIAS)) {
        scan->count++;
    }

    return MAPI_OK;
}


static int
cmd_apply_loss(cmd_import_t *im, mapi_directory_writer_t *w)
{
    int         rc;
    cmd_scan_t  scan;

    rc = mapi_directory_sort_items(w, im->items, im->nitems);

    if (rc != MAPI_OK) {
        return rc;
    }

    memset(&scan, 0, sizeof(scan));
    scan.im = im;
    scan.w = w;

    rc = mapi_directory_raw_walk(w, mapi_table_mailbox, cmd_apply_count_loss,
                                 &scan);

    if (rc != MAPI_OK
        || scan.count * 100 <= w->meta.mailboxes * CMD_LOSS_PERCENT)
    {
        return rc;
    }

    (void) mapi_directory_write_error(w, "%s: this would take away %llu of "
                         "%llu mailboxes, more than %d %%: is the file "
                         "complete (-ResultSize Unlimited)?  Add --force if "
                         "that is meant", im->opt->mailboxes,
                         (unsigned long long) scan.count,
                         (unsigned long long) w->meta.mailboxes,
                         CMD_LOSS_PERCENT);

    return cmd_apply_refuse(im);
}


static int
cmd_apply_mailboxes(cmd_import_t *im, mapi_directory_writer_t *w)
{
    int                    rc;
    mapi_directory_bulk_t  bulk;

    rc = cmd_apply_names(im, w);

    if (rc == MAPI_OK && im->opt->replace && !im->opt->force
        && w->meta.mailboxes)
    {
        rc = cmd_apply_loss(im, w);
    }

    if (rc != MAPI_OK) {
        return rc;
    }

    memset(&bulk, 0, sizeof(bulk));
    bulk.items = im->items;
    bulk.n = im->nitems;
    bulk.replace = im->opt->replace;
    bulk.twice = cmd_apply_twice;
    bulk.data = im;

    if (im->progress) {
        bulk.progress = cmd_import_progress;
    }

    return mapi_directory_store_mailboxes(w, &bulk);
}


static void
cmd_apply_unknown(cmd_import_t *im, mapi_directory_writer_t *w)
{
    size_t                        i;
    mapi_str_t                    list, word;
    mapi_directory_db_row_t      *db;
    mapi_directory_server_row_t  *row;

    im->servers_unknown = 1;

    for (i = 0; i < w->ndatabases; i++) {
        db = &w->databases[i];

        if (mapi_directory_find_server(w, &db->server, &row) != MAPI_OK) {

            if (db->line) {
                cmd_say("%s:%u:1: warning: the server %.*s of database %.*s "
                        "is unknown", im->opt->databases, db->line,
                        (int) db->server.len, db->server.data,
                        (int) db->name.len, db->name.data);
            } else {
                cmd_say("warning: the server %.*s of database %.*s is "
                        "unknown", (int) db->server.len, db->server.data,
                        (int) db->name.len, db->name.data);
            }
        }

        list = db->copies;

        while (db->line && mapi_directory_list_next(&list, &word) == MAPI_OK)
        {
            if (!mapi_str_caseeq(&word, &db->server)
                && mapi_directory_find_server(w, &word, &row) != MAPI_OK)
            {
                cmd_say("%s:%u:1: warning: the server %.*s of a copy of "
                        "database %.*s is unknown", im->opt->databases,
                        db->line, (int) word.len, word.data,
                        (int) db->name.len, db->name.data);
            }
        }
    }
}


static void
cmd_apply_twice(void *data, unsigned space, const mapi_str_t *text,
    uint32_t line, uint32_t other, const mapi_guid_t *guid)
{
    cmd_import_t *im = data;

    char            id[MAPI_GUID_LEN + 1];
    const char     *what;
    cmd_warning_t  *warning;

    if (im->nwarnings++ >= CMD_WARNINGS_MAX) {
        return;
    }

    what = (space == MAPI_NAME_SMTP) ? "the address"
           : (space == MAPI_NAME_UPN) ? "the UserPrincipalName"
           : "the account";

    warning = &im->warnings[im->nwarnings - 1];

    if (guid) {
        warning->line = line;
        (void) snprintf(warning->text, sizeof(warning->text),
                        "%s %.*s belongs to mailbox %s in the directory too: "
                        "it finds neither", what, (int) text->len,
                        text->data, cmd_guid(id, guid));
        return;
    }

    warning->line = line > other ? line : other;
    (void) snprintf(warning->text, sizeof(warning->text),
                    "%s %.*s is in line %u too: it finds neither mailbox",
                    what, (int) text->len, text->data,
                    line > other ? other : line);
}
