
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_write.h"

#include <stdlib.h>


/* mailboxes: a whole table in key order, or records by GUID */


#define MAPI_BULK_STEP     65536
#define MAPI_BULK_BUCKETS  65536


typedef struct {
    uint64_t  hash;
    uint32_t  item;
} mapi_directory_hash_t;


typedef struct {
    mapi_str_t  *entries;
    size_t       n;
    size_t       room;

    mapi_directory_writer_t  *w;
} mapi_directory_kept_t;


/* of one mailbox: every name with its namespace, lower case */
typedef int (*mapi_directory_names_pt)(void *data, unsigned space,
    const mapi_str_t *text);

typedef struct {
    mapi_directory_writer_t  *w;
    mapi_directory_bulk_t    *bulk;
    mapi_directory_item_t    *item;
    const mapi_guid_t        *guid;
    unsigned                  add;

    mapi_directory_hash_t    *names;
    size_t                    n;

    uint64_t                  hash;      /* looked for */
    unsigned                  space;
    mapi_str_t                text;
    unsigned char            *buf;
} mapi_directory_names_t;


static int mapi_directory_rebuild(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk);
static int mapi_directory_append_names(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk);
static int mapi_directory_merge(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk);


int
mapi_directory_store_mailboxes(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk)
{
    int  rc;

    rc = mapi_directory_sort_items(w, bulk->items, bulk->n);

    if (rc != MAPI_OK) {
        return rc;
    }

    if (bulk->replace || w->meta.mailboxes == 0) {
        return mapi_directory_rebuild(w, bulk);
    }

    rc = mapi_directory_store(w);

    return (rc == MAPI_OK) ? mapi_directory_merge(w, bulk) : rc;
}


static int
mapi_directory_item_cmp(const void *a, const void *b)
{
    return memcmp(((const mapi_directory_item_t *) a)->guid.b,
                  ((const mapi_directory_item_t *) b)->guid.b, 16);
}


int
mapi_directory_sort_items(mapi_directory_writer_t *w,
    mapi_directory_item_t *items, size_t n)
{
    char      text[MAPI_GUID_LEN + 1];
    size_t    i;
    uint32_t  a, b;

    if (n == 0) {
        return MAPI_OK;
    }

    qsort(items, n, sizeof(mapi_directory_item_t), mapi_directory_item_cmp);

    for (i = 1; i < n; i++) {

        if (mapi_directory_item_cmp(&items[i - 1], &items[i]) != 0) {
            continue;
        }

        *mapi_guid_format((unsigned char *) text, &items[i].guid) = '\0';

        a = items[i - 1].line;
        b = items[i].line;

        w->error_line = a < b ? b : a;

        return mapi_directory_write_error(w,
                             "the GUID %s is already in line %u (an "
                             "ExchangeGuid or ArchiveGuid belongs to one "
                             "mailbox)", text, a < b ? a : b);
    }

    return MAPI_OK;
}


static int
mapi_directory_each_name(const mapi_str_t *all, unsigned char *buf,
    mapi_directory_names_pt call, void *data)
{
    int         rc;
    unsigned    kind;
    mapi_str_t  texts, text;

    texts = *all;

    while (mapi_directory_text_next(&texts, &kind, &text) == MAPI_OK) {

        if (text.len > MAPI_IDENTITY_MAX) {
            continue;
        }

        (void) mapi_strlow(buf, text.data, text.len);
        text.data = buf;
        rc = MAPI_OK;

        switch (kind) {

        case mapi_text_smtp:
        case mapi_text_address:
            rc = call(data, MAPI_NAME_SMTP, &text);
            break;

        case mapi_text_smtp_upn:
            rc = call(data, MAPI_NAME_SMTP, &text);

            if (rc == MAPI_OK) {
                rc = call(data, MAPI_NAME_UPN, &text);
            }

            break;

        case mapi_text_upn:
            rc = call(data, MAPI_NAME_UPN, &text);
            break;

        case mapi_text_account:
            rc = call(data, MAPI_NAME_ACCOUNT, &text);
            break;
        }

        if (rc != MAPI_OK) {
            return rc;
        }
    }

    return MAPI_OK;
}


static int
mapi_directory_item_texts(mapi_directory_item_t *item, mapi_str_t *texts)
{
    mapi_str_t               value;
    mapi_directory_record_t  record;

    value.data = item->data;
    value.len = item->len;

    if (mapi_directory_record_read(&record, &value) != MAPI_OK
        || (record.flags & MAPI_MAILBOX_ALIAS))
    {
        return MAPI_DECLINED;
    }

    *texts = record.texts;

    return MAPI_OK;
}


static int
mapi_directory_keep(void *data, const mapi_str_t *key,
    const mapi_str_t *value)
{
    mapi_directory_kept_t *kept = data;

    kept->entries = mapi_arena_grow(&kept->w->arena, kept->entries, kept->n,
                                    &kept->room, 2 * sizeof(mapi_str_t));

    if (kept->entries == NULL
        || mapi_arena_str(&kept->w->arena, &kept->entries[2 * kept->n], key)
           != MAPI_OK
        || mapi_arena_str(&kept->w->arena, &kept->entries[2 * kept->n + 1],
                          value)
           != MAPI_OK)
    {
        return mapi_directory_write_error(kept->w, "out of memory");
    }

    kept->n++;

    return MAPI_OK;
}


static int
mapi_directory_append(mapi_directory_writer_t *w, MDB_cursor *cursor,
    unsigned char *key, size_t len, void *data, size_t size)
{
    int      rc;
    MDB_val  k, v;

    k.mv_data = key;
    k.mv_size = len;
    v.mv_data = data;
    v.mv_size = size;

    rc = mdb_cursor_put(cursor, &k, &v, MDB_APPEND);

    if (rc == 0) {
        return MAPI_OK;
    }

    if (rc == MDB_MAP_FULL) {
        return MAPI_AGAIN;
    }

    return mapi_directory_write_error(w, "the directory \"%s\" cannot be "
                                      "written: %s", w->path,
                                      mdb_strerror(rc));
}


static int
mapi_directory_rebuild(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk)
{
    int                     rc;
    size_t                  i, len;
    MDB_cursor             *cursor;
    unsigned char           key[MAPI_DIRECTORY_KEY_MAX];
    mapi_directory_kept_t   kept;

    memset(&kept, 0, sizeof(kept));
    kept.w = w;

    rc = mapi_directory_raw_walk(w, mapi_table_state, mapi_directory_keep,
                                 &kept);

    if (rc == MAPI_OK && mdb_drop(w->txn, w->dbi, 0) != 0) {
        rc = mapi_directory_write_error(w, "the old records cannot be "
                                        "removed");
    }

    w->meta.mailboxes = 0;
    w->meta.archives = 0;
    w->meta.names = 0;
    w->meta.ambiguous = 0;

    key[0] = (unsigned char) mapi_table_meta;

    if (rc == MAPI_OK) {
        rc = mapi_directory_raw_put(w, key, 1, &w->meta, sizeof(w->meta));
    }

    if (rc == MAPI_OK) {
        rc = mapi_directory_store(w);
    }

    for (i = 0; rc == MAPI_OK && i < kept.n; i++) {
        rc = mapi_directory_raw_put(w, kept.entries[2 * i].data,
                                    kept.entries[2 * i].len,
                                    kept.entries[2 * i + 1].data,
                                    kept.entries[2 * i + 1].len);
    }

    if (rc != MAPI_OK) {
        return rc;
    }

    if (mdb_cursor_open(w->txn, w->dbi, &cursor) != 0) {
        return mapi_directory_write_error(w, "out of memory");
    }

    for (i = 0; rc == MAPI_OK && i < bulk->n; i++) {

        len = mapi_directory_guid_key(key, mapi_table_mailbox,
                                      &bulk->items[i].guid);

        rc = mapi_directory_append(w, cursor, key, len, bulk->items[i].data,
                                   bulk->items[i].len);

        if (bulk->items[i].data[0] & MAPI_MAILBOX_ALIAS) {
            w->meta.archives++;

        } else {
            w->meta.mailboxes++;
        }

        if (bulk->progress && i % MAPI_BULK_STEP == 0) {
            bulk->progress(bulk->data, "writing mailboxes", i, bulk->n);
        }
    }

    mdb_cursor_close(cursor);

    return (rc == MAPI_OK) ? mapi_directory_append_names(w, bulk) : rc;
}


static int
mapi_directory_count_name(void *data, unsigned space, const mapi_str_t *text)
{
    ((mapi_directory_names_t *) data)->n++;

    return MAPI_OK;
}


static int
mapi_directory_hash_name(void *data, unsigned space, const mapi_str_t *text)
{
    mapi_directory_names_t *names = data;

    names->names[names->n].hash = mapi_directory_hash(space, text);
    names->names[names->n].item = (uint32_t) (names->item
                                              - names->bulk->items);
    names->n++;

    return MAPI_OK;
}


static int
mapi_directory_hash_cmp(const void *x, const void *y)
{
    const mapi_directory_hash_t *a = x, *b = y;

    if (a->hash != b->hash) {
        return (a->hash < b->hash) ? -1 : 1;
    }

    return (a->item < b->item) ? -1 : (a->item > b->item);
}


/*
 * Hashes spread evenly: one pass puts them into small heaps, which are then
 * in the cache while they are sorted.
 */

static mapi_directory_hash_t *
mapi_directory_sort_names(mapi_directory_hash_t *names, size_t n)
{
    size_t                 *start, i, at;
    mapi_directory_hash_t  *sorted;

    sorted = malloc((n + 1) * sizeof(mapi_directory_hash_t));
    start = calloc(MAPI_BULK_BUCKETS + 2, sizeof(size_t));

    if (sorted == NULL || start == NULL) {
        free(sorted);
        free(start);
        return NULL;
    }

    for (i = 0; i < n; i++) {
        start[(names[i].hash >> 48) + 2]++;
    }

    for (i = 2; i < MAPI_BULK_BUCKETS + 2; i++) {
        start[i] += start[i - 1];
    }

    for (i = 0; i < n; i++) {
        at = start[(names[i].hash >> 48) + 1]++;
        sorted[at] = names[i];
    }

    for (i = 0; i < MAPI_BULK_BUCKETS; i++) {
        if (start[i + 1] - start[i] > 1) {
            qsort(sorted + start[i], start[i + 1] - start[i],
                  sizeof(mapi_directory_hash_t), mapi_directory_hash_cmp);
        }
    }

    free(start);

    return sorted;
}


static int
mapi_directory_is_name(void *data, unsigned space, const mapi_str_t *text)
{
    mapi_directory_names_t *names = data;

    if (mapi_directory_hash(space, text) == names->hash) {
        names->space = space;
        names->text = *text;
        return MAPI_DECLINED;
    }

    return MAPI_OK;
}


/*
 * Two mailboxes with one hash: the same name, or chance?
 */

static int
mapi_directory_same_name(const mapi_str_t *a, const mapi_str_t *b,
    uint64_t hash, unsigned char *buf, unsigned *space, mapi_str_t *text)
{
    mapi_directory_names_t  names;

    names.hash = hash;

    if (mapi_directory_each_name(a, buf, mapi_directory_is_name, &names)
        != MAPI_DECLINED)
    {
        return 0;
    }

    *space = names.space;
    *text = names.text;

    return mapi_directory_has_name(b, names.space, &names.text);
}


static int
mapi_directory_append_names(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk)
{
    int                      rc;
    size_t                   i, j, k, n;
    unsigned                 space;
    MDB_cursor              *cursor;
    mapi_str_t               a, b, text;
    unsigned char           *list, key[MAPI_DIRECTORY_HASH_KEY],
                             buf[MAPI_IDENTITY_MAX];
    mapi_directory_hash_t   *sorted;
    mapi_directory_names_t   names;

    memset(&names, 0, sizeof(names));
    names.bulk = bulk;

    for (i = 0; i < bulk->n; i++) {
        if (mapi_directory_item_texts(&bulk->items[i], &a) == MAPI_OK) {
            (void) mapi_directory_each_name(&a, buf,
                                            mapi_directory_count_name,
                                            &names);
        }
    }

    names.names = malloc((names.n + 1) * sizeof(mapi_directory_hash_t));
    if (names.names == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    names.n = 0;

    for (i = 0; i < bulk->n; i++) {
        names.item = &bulk->items[i];

        if (mapi_directory_item_texts(names.item, &a) == MAPI_OK) {
            (void) mapi_directory_each_name(&a, buf,
                                            mapi_directory_hash_name, &names);
        }
    }

    sorted = mapi_directory_sort_names(names.names, names.n);
    free(names.names);

    if (sorted == NULL || mdb_cursor_open(w->txn, w->dbi, &cursor) != 0) {
        free(sorted);
        return mapi_directory_write_error(w, "out of memory");
    }

    rc = MAPI_OK;

    for (i = 0; rc == MAPI_OK && i < names.n; i = j) {

        for (j = i + 1; j < names.n; j++) {
            if (sorted[j].hash != sorted[i].hash) {
                break;
            }
        }

        list = bulk->items[sorted[i].item].guid.b;
        n = 1;

        if (j - i > 1) {

            list = mapi_arena_bytes(&w->arena, (j - i) * 16);
            if (list == NULL) {
                rc = mapi_directory_write_error(w, "out of memory");
                break;
            }

            n = 0;

            for (k = i; k < j; k++) {

                /* one address twice in one mailbox */

                if (k > i && sorted[k].item == sorted[k - 1].item) {
                    continue;
                }

                memcpy(list + 16 * n++,
                       bulk->items[sorted[k].item].guid.b, 16);

                if (k == i || bulk->twice == NULL) {
                    continue;
                }

                (void) mapi_directory_item_texts(
                                        &bulk->items[sorted[i].item], &a);
                (void) mapi_directory_item_texts(
                                        &bulk->items[sorted[k].item], &b);

                if (mapi_directory_same_name(&a, &b, sorted[i].hash, buf,
                                             &space, &text))
                {
                    bulk->twice(bulk->data, space, &text,
                                bulk->items[sorted[k].item].line,
                                bulk->items[sorted[i].item].line, NULL);
                }
            }
        }

        (void) mapi_directory_hash_key(key, sorted[i].hash);

        rc = mapi_directory_append(w, cursor, key, sizeof(key), list, 16 * n);

        w->meta.names++;
        w->meta.ambiguous += (n > 1);

        if (bulk->progress && (i & ~(size_t) (MAPI_BULK_STEP - 1))
                              != (j & ~(size_t) (MAPI_BULK_STEP - 1)))
        {
            bulk->progress(bulk->data, "writing names", i, names.n);
        }
    }

    mdb_cursor_close(cursor);
    free(sorted);

    return rc;
}


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


static int
mapi_directory_merge(mapi_directory_writer_t *w, mapi_directory_bulk_t *bulk)
{
    int                      rc, pass;
    size_t                   i;
    mapi_directory_names_t   names;

    memset(&names, 0, sizeof(names));
    names.w = w;
    names.bulk = bulk;

    /* what leaves, leaves first: a GUID or name may change hands */

    for (pass = 0; pass < 2; pass++) {

        for (i = 0; i < bulk->n; i++) {

            names.item = &bulk->items[i];
            names.guid = &names.item->guid;

            if (pass == 1) {
                rc = mapi_directory_insert(&names);

            } else if (names.item->data[0] & MAPI_MAILBOX_ALIAS) {
                continue;

            } else {
                rc = mapi_directory_remove(&names);
            }

            if (rc != MAPI_OK) {
                return rc;
            }

            if (bulk->progress && i % MAPI_BULK_STEP == 0) {
                bulk->progress(bulk->data, pass ? "writing mailboxes"
                               : "removing old records", i, bulk->n);
            }
        }
    }

    return MAPI_OK;
}
