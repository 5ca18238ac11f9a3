
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_format.h"
#include "mapi_directory_env.h"
#include "mapi_directory_seen.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>


/* how often slots of readers that died are given back, in seconds */
#define MAPI_DIRECTORY_SWEEP      60


struct mapi_directory_s {
    mapi_directory_t      *next;
    unsigned               refs;
    unsigned               nested;

    mapi_directory_env_t  *env;       /* NULL while nothing is usable */
    MDB_txn               *txn;       /* reset between begin and end */
    mapi_page_tree_t       tree;      /* of the begun transaction */

    mapi_directory_seen_t  seen;
    uint64_t               seen_generation;

    mapi_seen_line_t      *asked;     /* where warm_again found one, or NULL */
    unsigned               asked_way;

    mapi_page_leaf_t       leaf;      /* where leaf_of is */
    uint64_t               leaf_generation;
    mapi_guid_t            leaf_of;

    uint64_t               opens;
    time_t                 now;
    time_t                 looked;    /* -1: never */
    time_t                 swept;

    unsigned               error_count;
    char                   error[MAPI_DIRECTORY_ERROR_MAX];

    char                   path[];
};


/* all handles of this process; a child after a fork starts with none */
static mapi_directory_t  *mapi_directories;
static pid_t              mapi_directories_pid;


static void mapi_directory_say(mapi_directory_t *d, const char *text);
static void mapi_directory_look(mapi_directory_t *d, time_t now);
static void mapi_directory_take(mapi_directory_t *d);
static void mapi_directory_drop(mapi_directory_t *d);
static int mapi_directory_renew(mapi_directory_t *d);
static int mapi_directory_by_guid(mapi_directory_t *d,
    const mapi_guid_t *guid, mapi_mailbox_t *mailbox);
static int mapi_directory_find_guid(mapi_directory_t *d,
    const mapi_guid_t *guid, mapi_mailbox_t *mailbox);
static int mapi_directory_by_name(mapi_directory_t *d, unsigned space,
    const mapi_str_t *text, mapi_mailbox_t *mailbox);
static int mapi_directory_fill(mapi_mailbox_t *mailbox,
    const mapi_directory_record_t *record);
static int mapi_directory_broken(mapi_directory_t *d);


mapi_directory_t *
mapi_directory_open(const mapi_str_t *path)
{
    pid_t              pid;
    mapi_directory_t  *d;

    pid = getpid();

    if (mapi_directories_pid != pid) {
        /* the parent's handles are the parent's: using or closing them here
         * would take its locks away */
        mapi_directories = NULL;
        mapi_directories_pid = pid;
        mapi_directory_env_forget();
    }

    for (d = mapi_directories; d; d = d->next) {
        if (strlen(d->path) == path->len
            && memcmp(d->path, path->data, path->len) == 0)
        {
            d->refs++;
            return d;
        }
    }

    d = calloc(1, sizeof(mapi_directory_t) + path->len + 1);
    if (d == NULL) {
        return NULL;
    }

    memcpy(d->path, path->data, path->len);

    d->refs = 1;
    d->looked = -1;
    d->next = mapi_directories;
    mapi_directories = d;

    return d;
}


void
mapi_directory_close(mapi_directory_t *d)
{
    mapi_directory_t  **p;

    if (d == NULL || --d->refs) {
        return;
    }

    for (p = &mapi_directories; *p; p = &(*p)->next) {
        if (*p == d) {
            *p = d->next;
            break;
        }
    }

    mapi_directory_drop(d);

    mapi_directory_seen_free(&d->seen);
    free(d);
}


int
mapi_directory_begin(mapi_directory_t *d, time_t now)
{
    if (d->nested) {
        d->nested++;
        return MAPI_OK;
    }

    if (d->looked != now) {
        mapi_directory_look(d, now);
    }

    if (d->env == NULL || mapi_directory_renew(d) != MAPI_OK) {
        return MAPI_DECLINED;
    }

    d->now = now;
    d->nested = 1;
    d->env->active++;

    return MAPI_OK;
}


void
mapi_directory_end(mapi_directory_t *d)
{
    if (d->nested == 0 || --d->nested) {
        return;
    }

    d->env->active--;
    mdb_txn_reset(d->txn);
}


uint64_t
mapi_directory_generation(mapi_directory_t *d)
{
    return (d->opens << 40) + d->tree.meta.txnid;
}


const char *
mapi_directory_error(mapi_directory_t *d)
{
    return d->error;
}


unsigned
mapi_directory_error_count(mapi_directory_t *d)
{
    return d->error_count;
}


const mapi_page_meta_t *
mapi_directory_page_meta(mapi_directory_t *d)
{
    return &d->tree.meta;
}


static void
mapi_directory_say(mapi_directory_t *d, const char *text)
{
    if (strcmp(d->error, text) == 0) {
        return;
    }

    snprintf(d->error, sizeof(d->error), "%s", text);

    if (d->error[0]) {
        d->error_count++;
    }
}


/*
 * Once a second: is the folder still the one that is open, and is its file
 * still as long as its contents?
 */

static void
mapi_directory_look(mapi_directory_t *d, time_t now)
{
    int          rc;
    char         text[MAPI_DIRECTORY_ERROR_MAX];
    struct stat  st;

    d->looked = now;
    text[0] = '\0';

    rc = mapi_directory_env_stat(d->path, &st, text);

    if (d->env == NULL) {

        if (rc == MAPI_OK) {
            mapi_directory_take(d);

        } else {
            mapi_directory_say(d, text);
        }

        return;
    }

    if (mapi_directory_env_check(d->env, text) != MAPI_OK) {
        mapi_directory_drop(d);
        mapi_directory_say(d, text);
        return;
    }

    if (rc == MAPI_OK
        && (st.st_dev != d->env->dev || st.st_ino != d->env->ino))
    {
        mapi_directory_take(d);

    } else {
        mapi_directory_say(d, text);
    }

    if (d->env && (now - d->swept >= MAPI_DIRECTORY_SWEEP || now < d->swept)) {
        d->swept = now;
        (void) mdb_reader_check(d->env->env, NULL);
    }
}


/*
 * Opens what is in the folder beside what is open, and takes it if it is
 * good; else the old one stays.
 */

static void
mapi_directory_take(mapi_directory_t *d)
{
    char                   text[MAPI_DIRECTORY_ERROR_MAX];
    MDB_txn               *txn;
    mapi_directory_env_t  *env;

    text[0] = '\0';

    env = mapi_directory_env_open(d->path, text);
    if (env == NULL) {
        mapi_directory_say(d, text);
        return;
    }

    txn = mapi_directory_env_txn(env, text);
    if (txn == NULL) {
        mapi_directory_env_close(env);
        mapi_directory_say(d, text);
        return;
    }

    mapi_directory_drop(d);

    d->env = env;
    d->txn = txn;
    d->opens++;
    d->swept = d->looked;

    (void) mdb_reader_check(env->env, NULL);

    mapi_directory_say(d, "");
}


static void
mapi_directory_drop(mapi_directory_t *d)
{
    if (d->env) {
        mdb_txn_abort(d->txn);
        mapi_directory_env_close(d->env);
    }

    d->env = NULL;
    d->txn = NULL;

    /* another map may stand in the same place */

    d->tree.map = NULL;
    d->leaf.no = 0;
}


static int
mapi_directory_renew(mapi_directory_t *d)
{
    char  text[MAPI_DIRECTORY_ERROR_MAX];

    if (mapi_directory_env_renew(d->env, d->txn, &d->tree, text) == MAPI_OK) {
        return MAPI_OK;
    }

    mapi_directory_say(d, text);

    return MAPI_ERROR;
}


int
mapi_directory_fetch(mapi_directory_t *d, const unsigned char *key,
    size_t len, mapi_str_t *value)
{
    int  rc;

    if (d->nested == 0) {
        return MAPI_ERROR;
    }

    rc = mapi_page_get(&d->tree, key, len, value);

    return (rc == MAPI_ERROR) ? mapi_directory_broken(d) : rc;
}


int
mapi_directory_walk(mapi_directory_t *d, mapi_directory_table_e table,
    mapi_page_walk_pt call, void *data)
{
    unsigned char  key;

    if (d->nested == 0) {
        return MAPI_ERROR;
    }

    key = (unsigned char) table;

    return mapi_page_walk(&d->tree, &key, 1, call, data);
}


static int
mapi_directory_broken(mapi_directory_t *d)
{
    char  text[MAPI_DIRECTORY_ERROR_MAX];

    snprintf(text, sizeof(text),
             "the directory \"%.*s\" is damaged inside: make a new one with "
             "\"mapi-directory -d NEW import ...\" and rename it into place",
             MAPI_DIRECTORY_SHOWN, d->path);

    mapi_directory_say(d, text);

    return MAPI_ERROR;
}


int
mapi_directory_mailbox(mapi_directory_t *d, const mapi_identity_t *id,
    mapi_mailbox_t *mailbox)
{
    int             rc;
    mapi_str_t      user;
    unsigned char  *p;

    switch (id->kind) {

    case mapi_identity_guid:
        return mapi_directory_by_guid(d, &id->guid, mailbox);

    case mapi_identity_smtp:
        return mapi_directory_by_name(d, MAPI_NAME_SMTP, &id->text, mailbox);

    case mapi_identity_upn:
        rc = mapi_directory_by_name(d, MAPI_NAME_UPN, &id->text, mailbox);

        if (rc != MAPI_DECLINED) {
            break;
        }

        return mapi_directory_by_name(d, MAPI_NAME_SMTP, &id->text, mailbox);

    case mapi_identity_account:
        rc = mapi_directory_by_name(d, MAPI_NAME_ACCOUNT, &id->text, mailbox);

        if (rc != MAPI_DECLINED) {
            break;
        }

        if (id->text.len == 0) {
            return MAPI_DECLINED;
        }

        p = memchr(id->text.data, '\\', id->text.len);
        if (p == NULL) {
            return MAPI_DECLINED;
        }

        user.data = p + 1;
        user.len = id->text.data + id->text.len - user.data;

        return mapi_directory_by_name(d, MAPI_NAME_ACCOUNT, &user, mailbox);

    default:
        return MAPI_DECLINED;
    }

    return rc;
}


static int
mapi_directory_find_guid(mapi_directory_t *d, const mapi_guid_t *guid,
    mapi_mailbox_t *mailbox)
{
    int                      rc;
    mapi_str_t               value;
    unsigned char            key[17];
    mapi_directory_record_t  record;

    (void) mapi_directory_guid_key(key, mapi_table_mailbox, guid);

    /*
     * The leaf that has been asked for ahead is of this very snapshot: the
     * pages above need not be looked at again.  What is not there is looked
     * for from the root.
     */

    rc = MAPI_DECLINED;

    if (d->leaf.no && d->leaf_generation == mapi_directory_generation(d)
        && memcmp(d->leaf_of.b, guid->b, sizeof(guid->b)) == 0)
    {
        rc = mapi_page_get_leaf(&d->tree, &d->leaf, key, sizeof(key), &value);
        d->leaf.no = 0;
    }

    if (rc != MAPI_OK) {
        rc = mapi_directory_fetch(d, key, sizeof(key), &value);
    }

    if (rc != MAPI_OK) {
        return rc;
    }

    if (mapi_directory_record_read(&record, &value) != MAPI_OK) {
        return mapi_directory_broken(d);
    }

    if ((record.flags & MAPI_MAILBOX_ALIAS) == 0) {
        mailbox->guid = *guid;
        rc = mapi_directory_fill(mailbox, &record);
        return (rc == MAPI_OK) ? MAPI_OK : mapi_directory_broken(d);
    }

    mailbox->guid = record.database;
    (void) mapi_directory_guid_key(key, mapi_table_mailbox, &mailbox->guid);

    rc = mapi_directory_fetch(d, key, sizeof(key), &value);

    if (rc != MAPI_OK
        || mapi_directory_record_read(&record, &value) != MAPI_OK
        || (record.flags & MAPI_MAILBOX_ALIAS)
        || (record.flags & MAPI_MAILBOX_ARCHIVE) == 0
        || mapi_directory_fill(mailbox, &record) != MAPI_OK)
    {
        return mapi_directory_broken(d);
    }

    mailbox->is_archive = 1;
    mailbox->database = record.archive_database;

    return MAPI_OK;
}


/*
 * The hash only proposes mailboxes, their records decide.  Two that have the
 * name, and nobody has it.
 */

static int
mapi_directory_by_name(mapi_directory_t *d, unsigned space,
    const mapi_str_t *text, mapi_mailbox_t *mailbox)
{
    int                      rc, found, second;
    size_t                   i;
    mapi_str_t               guids, value;
    mapi_guid_t              guid;
    unsigned char            key[17];
    mapi_directory_record_t  record;

    if (text->len == 0) {
        return MAPI_DECLINED;
    }

    (void) mapi_directory_hash_key(key, mapi_directory_hash(space, text));

    rc = mapi_directory_fetch(d, key, MAPI_DIRECTORY_HASH_KEY, &guids);

    if (rc != MAPI_OK) {
        return rc;
    }

    found = 0;
    second = 0;

    for (i = 0; i + 16 <= guids.len; i += 16) {

        memcpy(guid.b, guids.data + i, 16);
        (void) mapi_directory_guid_key(key, mapi_table_mailbox, &guid);

        rc = mapi_directory_fetch(d, key, sizeof(key), &value);

        if (rc == MAPI_DECLINED) {
            continue;
        }

        if (rc != MAPI_OK) {
            return rc;
        }

        if (mapi_directory_record_read(&record, &value) != MAPI_OK) {
            return mapi_directory_broken(d);
        }

        if ((record.flags & MAPI_MAILBOX_ALIAS)
            || !mapi_directory_has_name(&record.texts, space, text))
        {
            continue;
        }

        if (found) {
            second = 1;
            break;
        }

        found = 1;
        mailbox->guid = guid;

        if (mapi_directory_fill(mailbox, &record) != MAPI_OK) {
            return mapi_directory_broken(d);
        }
    }

    return (found && !second) ? MAPI_OK : MAPI_DECLINED;
}


static int
mapi_directory_fill(mapi_mailbox_t *mailbox,
    const mapi_directory_record_t *record)
{
    unsigned    kind;
    mapi_str_t  texts;

    texts = record->texts;

    if (mapi_directory_text_next(&texts, &kind, &mailbox->smtp) != MAPI_OK
        || kind > mapi_text_smtp_upn)
    {
        return MAPI_ERROR;
    }

    mailbox->database = record->database;
    mailbox->is_archive = 0;
    mailbox->mapi_enabled = (record->flags & MAPI_MAILBOX_HTTP_OFF) ? 0 : 1;

    return MAPI_OK;
}


/*
 * Mailboxes that this process was asked for lately.  A commit makes all of
 * them strangers; without memory there are none.
 */

static void
mapi_directory_remember(mapi_directory_t *d, const mapi_guid_t *guid,
    const mapi_mailbox_t *mailbox)
{
    uint64_t  smtp;

    smtp = mailbox->smtp.data - d->tree.map;

    if (smtp > UINT64_MAX >> 16 || mailbox->smtp.len > UINT16_MAX) {
        return;
    }

    d->asked = NULL;

    mapi_directory_seen_put(&d->seen, guid, &mailbox->database,
                            smtp << 16 | mailbox->smtp.len,
                            (mailbox->is_archive ? MAPI_SEEN_ARCHIVE : 0)
                            | (mailbox->mapi_enabled ? MAPI_SEEN_ENABLED : 0));
}


int
mapi_directory_file(mapi_directory_t *d)
{
    return d->env ? mapi_directory_env_file(d->env) : -1;
}


void
mapi_directory_warm(mapi_directory_t *d, const mapi_identity_t *id)
{
    if (id->kind == mapi_identity_guid && d->seen.lines) {
        mapi_directory_seen_warm(&d->seen, &id->guid);
    }
}


void
mapi_directory_warm_again(mapi_directory_t *d, const mapi_identity_t *id,
    unsigned smtp)
{
    unsigned           i;
    unsigned char      key[17];
    mapi_seen_line_t  *seen;

    /* before the first transaction there is no tree, nor after a resize */

    if (id->kind != mapi_identity_guid
        || d->tree.map == NULL
        || d->tree.map != d->env->map)
    {
        return;
    }

    if (d->seen.lines) {
        seen = mapi_directory_seen_find(&d->seen, &id->guid, &i);

        if (seen) {
            d->asked = seen;
            d->asked_way = i;

            if (smtp) {
                __builtin_prefetch(d->tree.map + (seen->smtp[i] >> 16));
            }

            return;
        }
    }

    (void) mapi_directory_guid_key(key, mapi_table_mailbox, &id->guid);

    mapi_page_warm(&d->tree, key, sizeof(key), &d->leaf);
    d->leaf_of = id->guid;
    d->leaf_generation = mapi_directory_generation(d);
}


int
mapi_directory_recall(mapi_directory_t *d, const mapi_identity_t *id,
    time_t now, mapi_guid_t *database, mapi_str_t *smtp)
{
    size_t             len;
    unsigned           i;
    mapi_seen_line_t  *seen;

    /* a tree with a map has an environment */

    if (id->kind != mapi_identity_guid
        || d->seen.lines == NULL
        || d->looked != now
        || d->tree.map == NULL
        || d->tree.map != d->env->map
        || d->seen_generation != mapi_directory_generation(d)
        || !mapi_page_newest(&d->tree))
    {
        return MAPI_DECLINED;
    }

    seen = d->asked;
    i = d->asked_way;

    if (seen == NULL
        || memcmp(seen->asked[i].b, id->guid.b, sizeof(id->guid.b)) != 0)
    {
        seen = mapi_directory_seen_find(&d->seen, &id->guid, &i);

        if (seen == NULL) {
            return MAPI_DECLINED;
        }
    }

    *database = *mapi_directory_seen_database(&d->seen, seen->database[i]);

    if (smtp == NULL) {
        return MAPI_OK;
    }

    len = seen->smtp[i] & UINT16_MAX;

    if (len > smtp->len) {
        return MAPI_DECLINED;
    }

    memcpy(smtp->data, d->tree.map + (seen->smtp[i] >> 16), len);
    smtp->len = len;

    /* as long as the snapshot is the newest, nothing of it is overwritten */

    return mapi_page_newest(&d->tree) ? MAPI_OK : MAPI_DECLINED;
}


static int
mapi_directory_by_guid(mapi_directory_t *d, const mapi_guid_t *guid,
    mapi_mailbox_t *mailbox)
{
    int                rc;
    unsigned           i, index;
    mapi_seen_line_t  *seen;

    if (d->nested == 0) {
        return MAPI_ERROR;
    }

    if (d->seen.lines == NULL
        || d->seen_generation != mapi_directory_generation(d))
    {
        d->asked = NULL;

        if (mapi_directory_seen_forget(&d->seen) != MAPI_OK) {
            return mapi_directory_find_guid(d, guid, mailbox);
        }

        d->seen_generation = mapi_directory_generation(d);
    }

    seen = mapi_directory_seen_find(&d->seen, guid, &i);

    if (seen == NULL) {
        rc = mapi_directory_find_guid(d, guid, mailbox);

        if (rc == MAPI_OK) {
            mapi_directory_remember(d, guid, mailbox);
        }

        return rc;
    }

    index = seen->database[i];

    if (index & MAPI_SEEN_ARCHIVE) {
        /* whose archive it is is not remembered */
        return mapi_directory_find_guid(d, guid, mailbox);
    }

    mailbox->guid = *guid;
    mailbox->database = *mapi_directory_seen_database(&d->seen, index);
    mailbox->is_archive = 0;
    mailbox->mapi_enabled = (index & MAPI_SEEN_ENABLED) ? 1 : 0;
    mailbox->smtp.data = (unsigned char *) d->tree.map
                         + (seen->smtp[i] >> 16);
    mailbox->smtp.len = seen->smtp[i] & UINT16_MAX;

    return MAPI_OK;
}


int
mapi_directory_database(mapi_directory_t *d, const mapi_guid_t *guid,
    mapi_database_t *database)
{
    int            rc;
    mapi_str_t     value;
    unsigned char  key[17];

    (void) mapi_directory_guid_key(key, mapi_table_database, guid);

    rc = mapi_directory_fetch(d, key, sizeof(key), &value);

    if (rc != MAPI_OK) {
        return rc;
    }

    database->guid = *guid;

    if (mapi_directory_database_read(database, &value) != MAPI_OK) {
        return mapi_directory_broken(d);
    }

    return MAPI_OK;
}


int
mapi_directory_server(mapi_directory_t *d, const mapi_str_t *host,
    mapi_server_t *server)
{
    int                     rc;
    size_t                  len;
    mapi_str_t              value, list, name, more;
    unsigned char           key[MAPI_DIRECTORY_KEY_MAX];
    mapi_directory_state_t  state;

    len = mapi_directory_key(key, mapi_table_server, host);
    if (len == 0) {
        return MAPI_DECLINED;
    }

    rc = mapi_directory_fetch(d, key, len, &value);

    if (rc == MAPI_DECLINED) {

        key[0] = (unsigned char) mapi_table_host;
        rc = mapi_directory_fetch(d, key, len, &list);

        if (rc != MAPI_OK) {
            return rc;
        }

        /* a name or address that two servers have is nobody's */

        if (mapi_directory_list_next(&list, &name) != MAPI_OK) {
            return mapi_directory_broken(d);
        }

        if (mapi_directory_list_next(&list, &more) == MAPI_OK) {
            return MAPI_DECLINED;
        }

        len = mapi_directory_key(key, mapi_table_server, &name);
        rc = (len == 0) ? MAPI_ERROR
                        : mapi_directory_fetch(d, key, len, &value);
    }

    if (rc != MAPI_OK || mapi_directory_server_read(server, &value) != MAPI_OK)
    {
        return mapi_directory_broken(d);
    }

    key[0] = (unsigned char) mapi_table_state;
    rc = mapi_directory_fetch(d, key, len, &value);

    if (rc == MAPI_OK) {
        if (mapi_directory_state_read(&state, &value) != MAPI_OK) {
            return mapi_directory_broken(d);
        }

        server->state = mapi_directory_state_at(&state, d->now);
    }

    return (rc == MAPI_ERROR) ? MAPI_ERROR : MAPI_OK;
}


int
mapi_directory_node(mapi_directory_t *d, unsigned *online)
{
    int                     rc;
    mapi_str_t              value;
    unsigned char           key;
    mapi_directory_state_t  state;

    *online = 1;

    key = MAPI_DIRECTORY_NODE_KEY;
    rc = mapi_directory_fetch(d, &key, 1, &value);

    if (rc == MAPI_OK) {
        if (mapi_directory_state_read(&state, &value) != MAPI_OK) {
            return mapi_directory_broken(d);
        }

        *online = (state.state != mapi_server_offline);
    }

    return (rc == MAPI_ERROR) ? MAPI_ERROR : MAPI_OK;
}
