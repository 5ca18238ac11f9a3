
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>


/* every reference in the directory, and its files */


#define CMD_FINDINGS_MAX  20


typedef struct {
    mapi_directory_t  *d;
    const char        *path;
    uint64_t           findings;
    uint64_t           notes;
    uint64_t           mailboxes;
    uint64_t           archives;
    uint64_t           names;
    uint64_t           databases;
    uint64_t           servers;
} cmd_check_t;


static void cmd_check_find(cmd_check_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void cmd_check_note(cmd_check_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void cmd_check_files(cmd_check_t *c);
static int cmd_check_mailbox(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_check_name(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_check_database(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_check_server(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_check_host(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_check_state(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static void cmd_check_counts(cmd_check_t *c);


int
cmd_check(cmd_options_t *opt)
{
    int          code;
    size_t       i;
    cmd_check_t  c;

    static const struct {
        mapi_directory_table_e  table;
        mapi_page_walk_pt       call;
    } tables[] = {
        { mapi_table_server, cmd_check_server },
        { mapi_table_host, cmd_check_host },
        { mapi_table_state, cmd_check_state },
        { mapi_table_database, cmd_check_database },
        { mapi_table_mailbox, cmd_check_mailbox },
        { mapi_table_name, cmd_check_name }
    };

    memset(&c, 0, sizeof(c));
    c.path = opt->directory;

    cmd_check_files(&c);

    c.d = cmd_read(opt, &code);

    if (c.d == NULL) {
        return c.findings ? CMD_NOT_FOUND : code;
    }

    for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (mapi_directory_walk(c.d, tables[i].table, tables[i].call, &c)
            != MAPI_OK)
        {
            cmd_check_find(&c, "the directory is damaged inside: make a new "
                           "one with \"mapi-directory -d NEW import ...\" and "
                           "rename it into place");
            break;
        }
    }

    if (i == sizeof(tables) / sizeof(tables[0])) {
        cmd_check_counts(&c);
    }

    cmd_read_end(c.d);

    if (c.findings > CMD_FINDINGS_MAX) {
        printf("and %llu more\n",
               (unsigned long long) (c.findings - CMD_FINDINGS_MAX));
    }

    if (c.notes > CMD_FINDINGS_MAX) {
        printf("and %llu more notes\n",
               (unsigned long long) (c.notes - CMD_FINDINGS_MAX));
    }

    if (c.findings == 0) {
        printf("good: %llu mailboxes, %llu databases, %llu servers\n",
               (unsigned long long) c.mailboxes,
               (unsigned long long) c.databases,
               (unsigned long long) c.servers);
    }

    return cmd_flush(c.findings ? CMD_NOT_FOUND : CMD_DONE);
}


static void
cmd_check_find(cmd_check_t *c, const char *fmt, ...)
{
    va_list  args;

    if (c->findings++ >= CMD_FINDINGS_MAX) {
        return;
    }

    va_start(args, fmt);
    (void) vprintf(fmt, args);
    va_end(args);

    putchar('\n');
}


static void
cmd_check_note(cmd_check_t *c, const char *fmt, ...)
{
    va_list  args;

    if (c->notes++ >= CMD_FINDINGS_MAX) {
        return;
    }

    fputs("note: ", stdout);

    va_start(args, fmt);
    (void) vprintf(fmt, args);
    va_end(args);

    putchar('\n');
}


/*
 * Workers belong to the folder's group: they read data.mdb, and write the
 * readers' table in lock.mdb.
 */

static void
cmd_check_files(cmd_check_t *c)
{
    int          i;
    char         name[4096];
    struct stat  folder, st;

    static const struct {
        const char  *name;
        mode_t       need;
        const char  *mode;
    } files[] = {
        { "data.mdb", 0440, "640" },
        { "lock.mdb", 0660, "660" }
    };

    if (stat(c->path, &folder) != 0) {
        cmd_check_find(c, "the folder %s: %s", c->path, strerror(errno));
        return;
    }

    if ((folder.st_mode & 0050) != 0050) {
        cmd_check_find(c, "the folder %s is closed to its group: run "
                       "\"chmod 2770 %s\"", c->path, c->path);
    }

    if (folder.st_mode & 0002) {
        cmd_check_find(c, "anybody may write to the folder %s: run "
                       "\"chmod 2770 %s\"", c->path, c->path);
    }

    for (i = 0; i < 2; i++) {

        (void) snprintf(name, sizeof(name), "%s/%s", c->path, files[i].name);

        if (stat(name, &st) != 0) {
            cmd_check_find(c, "%s: %s", name, strerror(errno));
            continue;
        }

        if (st.st_uid != folder.st_uid || st.st_gid != folder.st_gid) {
            cmd_check_find(c, "%s belongs to %u:%u, its folder to %u:%u: run "
                           "\"chown %u:%u %s\"", name, (unsigned) st.st_uid,
                           (unsigned) st.st_gid, (unsigned) folder.st_uid,
                           (unsigned) folder.st_gid,
                           (unsigned) folder.st_uid,
                           (unsigned) folder.st_gid, name);
        }

        if ((st.st_mode & files[i].need) != files[i].need
            || (st.st_mode & 0002))
        {
            cmd_check_find(c, "%s has mode %o: run \"chmod %s %s\"", name,
                           (unsigned) st.st_mode & 07777, files[i].mode,
                           name);
        }
    }
}


static int
cmd_check_database_is(cmd_check_t *c, const mapi_guid_t *guid)
{
    mapi_database_t  database;

    return mapi_directory_database(c->d, guid, &database) == MAPI_OK;
}


static void
cmd_check_has(cmd_check_t *c, unsigned space, const mapi_str_t *text,
    const mapi_guid_t *guid)
{
    char            id[MAPI_GUID_LEN + 1];
    size_t          i;
    mapi_str_t      low, list;
    unsigned char   key[MAPI_DIRECTORY_HASH_KEY], buf[MAPI_IDENTITY_MAX];

    if (text->len > sizeof(buf)) {
        return;
    }

    (void) mapi_strlow(buf, text->data, text->len);
    low.data = buf;
    low.len = text->len;

    (void) mapi_directory_hash_key(key, mapi_directory_hash(space, &low));

    if (mapi_directory_fetch(c->d, key, sizeof(key), &list) == MAPI_OK) {

        for (i = 0; i + 16 <= list.len; i += 16) {
            if (memcmp(list.data + i, guid->b, 16) == 0) {
                return;
            }
        }
    }

    cmd_check_find(c, "mailbox %s is not found by its name %.*s: import it "
                   "again", cmd_guid(id, guid), (int) text->len, text->data);
}


static int
cmd_check_mailbox(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_check_t *c = data;

    int                       rc;
    char                      id[MAPI_GUID_LEN + 1], id2[MAPI_GUID_LEN + 1];
    unsigned                  kind;
    mapi_str_t                texts, text, other;
    mapi_guid_t               guid;
    unsigned char             k[17];
    mapi_directory_record_t   record, alias;

    if (key->len != 17
        || mapi_directory_record_read(&record, value) != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    memcpy(guid.b, key->data + 1, 16);

    if (record.flags & MAPI_MAILBOX_ALIAS) {
        c->archives++;

        (void) mapi_directory_guid_key(k, mapi_table_mailbox,
                                       &record.database);

        if (mapi_directory_fetch(c->d, k, sizeof(k), &other) != MAPI_OK
            || mapi_directory_record_read(&alias, &other) != MAPI_OK
            || (alias.flags & MAPI_MAILBOX_ARCHIVE) == 0
            || memcmp(alias.archive.b, guid.b, 16) != 0)
        {
            cmd_check_find(c, "archive %s has no mailbox: import it again",
                           cmd_guid(id, &guid));
        }

        return MAPI_OK;
    }

    c->mailboxes++;

    if (!cmd_check_database_is(c, &record.database)) {
        cmd_check_find(c, "mailbox %s is in a database that does not exist "
                       "(%s): import the databases", cmd_guid(id, &guid),
                       cmd_guid(id2, &record.database));
    }

    if (record.flags & MAPI_MAILBOX_ARCHIVE) {

        if (!cmd_check_database_is(c, &record.archive_database)) {
            cmd_check_find(c, "the archive of mailbox %s is in a database "
                           "that does not exist (%s): import the databases",
                           cmd_guid(id, &guid),
                           cmd_guid(id2, &record.archive_database));
        }

        (void) mapi_directory_guid_key(k, mapi_table_mailbox,
                                       &record.archive);

        if (mapi_directory_fetch(c->d, k, sizeof(k), &other) != MAPI_OK) {
            cmd_check_find(c, "the archive of mailbox %s is not found: "
                           "import it again", cmd_guid(id, &guid));
        }
    }

    texts = record.texts;

    while ((rc = mapi_directory_text_next(&texts, &kind, &text)) == MAPI_OK) {

        switch (kind) {

        case mapi_text_smtp_upn:
            cmd_check_has(c, MAPI_NAME_UPN, &text, &guid);

            /* fall through */

        case mapi_text_smtp:
        case mapi_text_address:
            cmd_check_has(c, MAPI_NAME_SMTP, &text, &guid);
            break;

        case mapi_text_upn:
            cmd_check_has(c, MAPI_NAME_UPN, &text, &guid);
            break;

        case mapi_text_account:
            cmd_check_has(c, MAPI_NAME_ACCOUNT, &text, &guid);
            break;
        }
    }

    return (rc == MAPI_ERROR) ? MAPI_ERROR : MAPI_OK;
}


/*
 * The name that two mailboxes share, if it is not only their hash.
 */

static void
cmd_check_shared(cmd_check_t *c, const mapi_guid_t *a, const mapi_str_t *ta,
    const mapi_guid_t *b, const mapi_str_t *tb)
{
    char            id[MAPI_GUID_LEN + 1], id2[MAPI_GUID_LEN + 1];
    size_t          i;
    unsigned        kind;
    mapi_str_t      texts, text, low;
    unsigned char   buf[MAPI_IDENTITY_MAX];

    static const unsigned  spaces[] = { MAPI_NAME_SMTP, MAPI_NAME_UPN,
                                        MAPI_NAME_ACCOUNT };

    texts = *ta;

    while (mapi_directory_text_next(&texts, &kind, &text) == MAPI_OK) {

        if (text.len > sizeof(buf)) {
            continue;
        }

        (void) mapi_strlow(buf, text.data, text.len);
        low.data = buf;
        low.len = text.len;

        for (i = 0; i < 3; i++) {
            if (mapi_directory_has_name(ta, spaces[i], &low)
                && mapi_directory_has_name(tb, spaces[i], &low))
            {
                cmd_check_note(c, "%.*s finds nothing: mailboxes %s and %s "
                               "both have it", (int) text.len, text.data,
                               cmd_guid(id, a), cmd_guid(id2, b));
                return;
            }
        }
    }
}


static int
cmd_check_name(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_check_t *c = data;

    char                      id[MAPI_GUID_LEN + 1];
    size_t                    i;
    mapi_str_t                other;
    mapi_guid_t               guid, first;
    unsigned char             k[17];
    mapi_directory_record_t   record, one;

    c->names++;

    if (value->len == 0 || value->len % 16) {
        return MAPI_ERROR;
    }

    for (i = 0; i < value->len; i += 16) {

        memcpy(guid.b, value->data + i, 16);
        (void) mapi_directory_guid_key(k, mapi_table_mailbox, &guid);

        if (mapi_directory_fetch(c->d, k, sizeof(k), &other) != MAPI_OK
            || mapi_directory_record_read(&record, &other) != MAPI_OK)
        {
            cmd_check_find(c, "a name leads to mailbox %s, which does not "
                           "exist: import with --replace",
                           cmd_guid(id, &guid));
            continue;
        }

        if (i == 0) {
            first = guid;
            one = record;

        } else {
            cmd_check_shared(c, &first, &one.texts, &guid, &record.texts);
        }
    }

    return MAPI_OK;
}


static int
cmd_check_database(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_check_t *c = data;

    size_t            len;
    mapi_str_t        list, word, guid;
    mapi_server_t     server;
    unsigned char     k[MAPI_DIRECTORY_KEY_MAX];
    mapi_database_t   database;

    if (key->len != 17
        || mapi_directory_database_read(&database, value) != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    c->databases++;

    len = mapi_directory_key(k, mapi_table_database_name, &database.name);

    if (len == 0 || mapi_directory_fetch(c->d, k, len, &guid) != MAPI_OK
        || guid.len != 16 || memcmp(guid.data, key->data + 1, 16) != 0)
    {
        cmd_check_find(c, "the database %.*s is not found by its name: "
                       "import the databases", (int) database.name.len,
                       database.name.data);
    }

    if (mapi_directory_server(c->d, &database.server, &server) != MAPI_OK) {
        cmd_check_find(c, "the database %.*s is mounted on %.*s, which is no "
                       "server of the directory: import the servers",
                       (int) database.name.len, database.name.data,
                       (int) database.server.len, database.server.data);
    }

    list = database.copies;

    while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
        if (mapi_directory_server(c->d, &word, &server) != MAPI_OK) {
            cmd_check_find(c, "the database %.*s has a copy on %.*s, which "
                           "is no server of the directory",
                           (int) database.name.len, database.name.data,
                           (int) word.len, word.data);
        }
    }

    return MAPI_OK;
}


static int
cmd_check_server(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_check_t *c = data;

    mapi_server_t  server;

    if (mapi_directory_server_read(&server, value) != MAPI_OK) {
        return MAPI_ERROR;
    }

    c->servers++;

    if (server.fqdn.len == 0 && server.addresses.len == 0) {
        cmd_check_note(c, "the server %.*s has no Fqdn and no address: nginx "
                       "knows it only if its upstream names it so",
                       (int) server.name.len, server.name.data);
    }

    return MAPI_OK;
}


static int
cmd_check_host(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_check_t *c = data;

    mapi_str_t     list, first, second;
    mapi_server_t  server;

    list = *value;

    if (mapi_directory_list_next(&list, &first) != MAPI_OK) {
        return MAPI_ERROR;
    }

    if (mapi_directory_server(c->d, &first, &server) != MAPI_OK) {
        cmd_check_find(c, "%.*s leads to the server %.*s, which does not "
                       "exist: import the servers", (int) key->len - 1,
                       key->data + 1, (int) first.len, first.data);
    }

    if (mapi_directory_list_next(&list, &second) == MAPI_OK) {
        cmd_check_find(c, "%.*s belongs to the servers %.*s and %.*s: it "
                       "finds neither", (int) key->len - 1, key->data + 1,
                       (int) first.len, first.data, (int) second.len,
                       second.data);
    }

    return MAPI_OK;
}


static int
cmd_check_state(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_check_t *c = data;

    mapi_str_t              name;
    mapi_server_t           server;
    mapi_directory_state_t  state;

    if (mapi_directory_state_read(&state, value) != MAPI_OK) {
        return MAPI_ERROR;
    }

    if (key->len == 1) {
        if (state.state == mapi_server_offline) {
            cmd_check_note(c, "this node is offline, its health page closed: "
                           "\"mapi-directory -d %s node online\" opens it",
                           c->path);
        }

        return MAPI_OK;
    }

    name.data = key->data + 1;
    name.len = key->len - 1;

    if (mapi_directory_server(c->d, &name, &server) != MAPI_OK) {
        cmd_check_note(c, "a state is kept for %.*s, which is no server of "
                       "the directory now", (int) name.len, name.data);
    }

    return MAPI_OK;
}


static void
cmd_check_counts(cmd_check_t *c)
{
    mapi_str_t             value;
    unsigned char          key;
    mapi_directory_meta_t  meta;

    key = (unsigned char) mapi_table_meta;

    if (mapi_directory_fetch(c->d, &key, 1, &value) != MAPI_OK
        || mapi_directory_meta_read(&meta, &value) != MAPI_OK
        || meta.mailboxes != c->mailboxes || meta.archives != c->archives
        || meta.names != c->names || meta.databases != c->databases
        || meta.servers != c->servers)
    {
        cmd_check_find(c, "the counts are wrong (%llu mailboxes, %llu "
                       "archives, %llu names): import with --replace",
                       (unsigned long long) c->mailboxes,
                       (unsigned long long) c->archives,
                       (unsigned long long) c->names);
    }
}
