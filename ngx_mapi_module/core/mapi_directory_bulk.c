
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_bulk.h"

#include <stdlib.h>


/* mailboxes: a whole table in key order, or records by GUID */


#define MAPI_BULK_BUCKETS  65536


typedef struct {
    mapi_str_t  *entries;
    size_t       n;
    size_t       room;

    mapi_directory_writer_t  *w;
} mapi_directory_kept_t;


static int mapi_directory_rebuild(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk);
static int mapi_directory_append_records(mapi_directory_names_t *names);
static int mapi_directory_append_names(mapi_directory_names_t *names);
static int mapi_directory_hash_name(void *data, unsigned space,
    const mapi_str_t *text);


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


int
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


int
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
    int                      rc;
    size_t                   i;
    unsigned char            key;
    mapi_directory_kept_t    kept;
    mapi_directory_names_t   names;

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

    key = (unsigned char) mapi_table_meta;

    if (rc == MAPI_OK) {
        rc = mapi_directory_raw_put(w, &key, 1, &w->meta, sizeof(w->meta));
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

    memset(&names, 0, sizeof(names));
    names.w = w;
    names.bulk = bulk;
    names.room = 4 * bulk->n + 1;

    names.names = malloc(names.room * sizeof(mapi_directory_hash_t));
    if (names.names == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    rc = mapi_directory_append_records(&names);

    if (rc == MAPI_OK) {
        rc = mapi_directory_append_names(&names);
    }

    free(names.names);

    return rc;
}


/*
 * The names are collected here, while the record is in the cache.
 */

static int
mapi_directory_append_records(mapi_directory_names_t *names)
{
    int                       rc;
    size_t                    i, len;
    MDB_cursor               *cursor;
    mapi_str_t                texts;
    unsigned char             key[17], buf[MAPI_IDENTITY_MAX];
    mapi_directory_bulk_t    *bulk;
    mapi_directory_writer_t  *w;

    w = names->w;
    bulk = names->bulk;
    rc = MAPI_OK;

    if (mdb_cursor_open(w->txn, w->dbi, &cursor) != 0) {
        return mapi_directory_write_error(w, "out of memory");
    }

    for (i = 0; rc == MAPI_OK && i < bulk->n; i++) {

        names->item = &bulk->items[i];

        if (i + 8 < bulk->n) {
            __builtin_prefetch(bulk->items[i + 8].data);
            __builtin_prefetch(bulk->items[i + 8].data + 64);
        }

        len = mapi_directory_guid_key(key, mapi_table_mailbox,
                                      &names->item->guid);

        rc = mapi_directory_append(w, cursor, key, len, names->item->data,
                                   names->item->len);

        if (rc != MAPI_OK) {
            break;
        }

        if (mapi_directory_item_texts(names->item, &texts) == MAPI_OK) {
            w->meta.mailboxes++;
            rc = mapi_directory_each_name(&texts, buf,
                                          mapi_directory_hash_name, names);

        } else {
            w->meta.archives++;
        }

        if (bulk->progress && i % MAPI_BULK_STEP == 0) {
            bulk->progress(bulk->data, "writing mailboxes", i, bulk->n);
        }
    }

    mdb_cursor_close(cursor);

    return rc;
}


static int
mapi_directory_hash_name(void *data, unsigned space, const mapi_str_t *text)
{
    mapi_directory_names_t *names = data;

    mapi_directory_hash_t  *p;

    if (names->n == names->room) {

        p = realloc(names->names,
                    2 * names->room * sizeof(mapi_directory_hash_t));
        if (p == NULL) {
            return mapi_directory_write_error(names->w, "out of memory");
        }

        names->names = p;
        names->room *= 2;
    }

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
mapi_directory_append_names(mapi_directory_names_t *names)
{
    int                       rc;
    size_t                    i, j, k, n;
    unsigned                  space;
    MDB_cursor               *cursor;
    mapi_str_t                a, b, text;
    unsigned char            *list, key[MAPI_DIRECTORY_HASH_KEY],
                              buf[MAPI_IDENTITY_MAX];
    mapi_directory_bulk_t    *bulk;
    mapi_directory_hash_t    *sorted;
    mapi_directory_writer_t  *w;

    w = names->w;
    bulk = names->bulk;

    sorted = mapi_directory_sort_names(names->names, names->n);

    if (sorted == NULL || mdb_cursor_open(w->txn, w->dbi, &cursor) != 0) {
        free(sorted);
        return mapi_directory_write_error(w, "out of memory");
    }

    rc = MAPI_OK;

    for (i = 0; rc == MAPI_OK && i < names->n; i = j) {

        for (j = i + 1; j < names->n; j++) {
            if (sorted[j].hash != sorted[i].hash) {
                break;
            }
        }

        if (i + 8 < names->n) {
            __builtin_prefetch(bulk->items[sorted[i + 8].item].guid.b);
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
            bulk->progress(bulk->data, "writing names", i, names->n);
        }
    }

    mdb_cursor_close(cursor);
    free(sorted);

    return rc;
}
