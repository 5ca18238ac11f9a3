
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_bulk.h"

#include <stdlib.h>


/* mailboxes whose records replace those with the same GUID */


static int mapi_directory_change_name(void *data, unsigned space,
    const mapi_str_t *text);
static int mapi_directory_remove(mapi_directory_names_t *names);
static int mapi_directory_insert(mapi_directory_names_t *names);
static int mapi_directory_same(mapi_directory_names_t *names);


static int
mapi_directory_change_name(void *data, unsigned space, const mapi_str_t *text)
{
    mapi_directory_names_t *names = data;

    int                       rc;
    size_t                    i, n;
    unsigned char            *list, key[MAPI_DIRECTORY_HASH_KEY], k[17];
    mapi_str_t                old, value;
    mapi_guid_t               other;
    mapi_directory_writer_t  *w;
    mapi_directory_record_t   record;

    w = names->w;

    (void) mapi_directory_hash_key(key, mapi_directory_hash(space, text));

    rc = mapi_directory_raw_get(w, key, sizeof(key), &old);

    if (rc == MAPI_DECLINED) {
        old.len = 0;

    } else if (rc != MAPI_OK) {
        return rc;
    }

    list = mapi_arena_bytes(&w->arena, old.len + 16);
    if (list == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    n = 0;

    for (i = 0; i + 16 <= old.len; i += 16) {
        if (memcmp(old.data + i, names->guid->b, 16) != 0) {
            memcpy(list + 16 * n++, old.data + i, 16);

        } else if (names->add) {
            return MAPI_OK;
        }
    }

    for (i = 0; names->add && names->bulk->twice && i < n; i++) {
        memcpy(other.b, list + 16 * i, 16);
        (void) mapi_directory_guid_key(k, mapi_table_mailbox, &other);

        if (mapi_directory_raw_get(w, k, sizeof(k), &value) == MAPI_OK
            && mapi_directory_record_read(&record, &value) == MAPI_OK
            && mapi_directory_has_name(&record.texts, space, text))
        {
            names->bulk->twice(names->bulk->data, space, text,
                               names->item->line, 0, &other);
        }
    }

    if (names->add) {
        memcpy(list + 16 * n++, names->guid->b, 16);
    }

    w->meta.ambiguous -= (old.len > 16);
    w->meta.ambiguous += (n > 1);
    w->meta.names -= (old.len != 0);
    w->meta.names += (n != 0);

    return n ? mapi_directory_raw_put(w, key, sizeof(key), list, 16 * n)
             : mapi_directory_raw_delete(w, key, sizeof(key));
}


/*
 * Takes the record of an item away, with its names and its archive's alias.
 */

static int
mapi_directory_remove(mapi_directory_names_t *names)
{
    int                       rc;
    mapi_str_t                value, copy;
    unsigned char             key[17], buf[MAPI_IDENTITY_MAX];
    mapi_directory_writer_t  *w;
    mapi_directory_record_t   record;

    w = names->w;
    (void) mapi_directory_guid_key(key, mapi_table_mailbox, names->guid);

    rc = mapi_directory_raw_get(w, key, sizeof(key), &value);

    if (rc != MAPI_OK) {
        return (rc == MAPI_DECLINED) ? MAPI_OK : rc;
    }

    if (mapi_arena_str(&w->arena, &copy, &value) != MAPI_OK
        || mapi_directory_record_read(&record, &copy) != MAPI_OK)
    {
        return mapi_directory_write_error(w, "a mailbox's record in \"%s\" "
                                          "is damaged", w->path);
    }

    if (record.flags & MAPI_MAILBOX_ALIAS) {
        return MAPI_OK;
    }

    names->add = 0;
    rc = mapi_directory_each_name(&record.texts, buf,
                                  mapi_directory_change_name, names);

    if (rc == MAPI_OK && (record.flags & MAPI_MAILBOX_ARCHIVE)) {
        unsigned char  alias[17];

        (void) mapi_directory_guid_key(alias, mapi_table_mailbox,
                                       &record.archive);
        rc = mapi_directory_raw_delete(w, alias, sizeof(alias));
        rc = (rc == MAPI_DECLINED) ? MAPI_OK : rc;
        w->meta.archives--;
    }

    if (rc == MAPI_OK) {
        rc = mapi_directory_raw_delete(w, key, sizeof(key));
        w->meta.mailboxes--;
    }

    return rc;
}


static int
mapi_directory_insert(mapi_directory_names_t *names)
{
    int                       rc;
    char                      text[MAPI_GUID_LEN + 1];
    MDB_val                   k, v;
    mapi_str_t                texts;
    unsigned char             key[17], buf[MAPI_IDENTITY_MAX];
    mapi_directory_writer_t  *w;

    w = names->w;

    k.mv_size = mapi_directory_guid_key(key, mapi_table_mailbox, names->guid);
    k.mv_data = key;
    v.mv_data = names->item->data;
    v.mv_size = names->item->len;

    rc = mdb_put(w->txn, w->dbi, &k, &v, MDB_NOOVERWRITE);

    /* the archive of a mailbox that stays as it is */

    if (rc == MDB_KEYEXIST && (names->item->data[0] & MAPI_MAILBOX_ALIAS)
        && v.mv_size == names->item->len
        && memcmp(v.mv_data, names->item->data, v.mv_size) == 0)
    {
        return MAPI_OK;
    }

    if (rc == MDB_KEYEXIST) {
        *mapi_guid_format((unsigned char *) text, names->guid) = '\0';

        w->error_line = names->item->line;

        return mapi_directory_write_error(w,
                             "the GUID %s belongs to another mailbox or "
                             "archive in the directory", text);
    }

    if (rc != 0) {
        return (rc == MDB_MAP_FULL) ? MAPI_AGAIN
               : mapi_directory_write_error(w, "%s", mdb_strerror(rc));
    }

    if (mapi_directory_item_texts(names->item, &texts) != MAPI_OK) {
        w->meta.archives++;
        return MAPI_OK;
    }

    w->meta.mailboxes++;
    names->add = 1;

    return mapi_directory_each_name(&texts, buf, mapi_directory_change_name,
                                    names);
}


/*
 * 1 if the record is there already, byte for byte: most are, when a complete
 * export is imported every hour.
 */

static int
mapi_directory_same(mapi_directory_names_t *names)
{
    mapi_str_t     value;
    unsigned char  key[17];

    if (names->item->data[0] & MAPI_MAILBOX_ALIAS) {
        return 0;
    }

    (void) mapi_directory_guid_key(key, mapi_table_mailbox, names->guid);

    return mapi_directory_raw_get(names->w, key, sizeof(key), &value)
           == MAPI_OK
           && value.len == names->item->len
           && memcmp(value.data, names->item->data, value.len) == 0;
}


int
mapi_directory_merge(mapi_directory_writer_t *w, mapi_directory_bulk_t *bulk)
{
    int                      rc, pass;
    size_t                   i;
    unsigned char           *same;
    mapi_directory_names_t   names;

    memset(&names, 0, sizeof(names));
    names.w = w;
    names.bulk = bulk;

    same = calloc(bulk->n + 1, 1);
    if (same == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    rc = MAPI_OK;

    /* what leaves, leaves first: a GUID or name may change hands */

    for (pass = 0; pass < 2; pass++) {

        for (i = 0; rc == MAPI_OK && i < bulk->n; i++) {

            names.item = &bulk->items[i];
            names.guid = &names.item->guid;

            if (bulk->progress && i % MAPI_BULK_STEP == 0) {
                bulk->progress(bulk->data, pass ? "writing mailboxes"
                               : "comparing with the directory", i, bulk->n);
            }

            if (pass == 0) {
                same[i] = (unsigned char) mapi_directory_same(&names);
            }

            if (same[i]) {
                continue;
            }

            if (pass == 1) {
                rc = mapi_directory_insert(&names);

            } else if ((names.item->data[0] & MAPI_MAILBOX_ALIAS) == 0) {
                rc = mapi_directory_remove(&names);
            }
        }
    }

    free(same);

    return rc;
}
