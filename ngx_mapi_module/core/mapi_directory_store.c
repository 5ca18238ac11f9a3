
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_write.h"

#include <stdlib.h>


/* the small tables of a directory, and what refers to them by name */


typedef struct {
    mapi_str_t  host;
    mapi_str_t  name;
} mapi_directory_host_t;


static int mapi_directory_clear(mapi_directory_writer_t *w,
    mapi_directory_table_e table);
static int mapi_directory_bind(mapi_directory_writer_t *w);
static int mapi_directory_store_database(mapi_directory_writer_t *w,
    mapi_directory_db_row_t *row);
static int mapi_directory_store_server(mapi_directory_writer_t *w,
    mapi_directory_server_row_t *row);
static int mapi_directory_store_hosts(mapi_directory_writer_t *w);
static int mapi_directory_same_label(const mapi_str_t *a,
    const mapi_str_t *b);
static int mapi_directory_put_state(mapi_directory_writer_t *w,
    const unsigned char *key, size_t len,
    const mapi_directory_state_t *state);


static int
mapi_directory_clear(mapi_directory_writer_t *w, mapi_directory_table_e table)
{
    int             rc;
    MDB_val         k, v;
    MDB_cursor     *cursor;
    unsigned char   first;

    rc = mdb_cursor_open(w->txn, w->dbi, &cursor);
    if (rc != 0) {
        return mapi_directory_write_error(w, "%s", mdb_strerror(rc));
    }

    for ( ;; ) {
        first = (unsigned char) table;
        k.mv_data = &first;
        k.mv_size = 1;

        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);

        if (rc != 0 || *(unsigned char *) k.mv_data != first) {
            break;
        }

        rc = mdb_cursor_del(cursor, 0);

        if (rc != 0) {
            break;
        }
    }

    mdb_cursor_close(cursor);

    if (rc == MDB_MAP_FULL) {
        return MAPI_AGAIN;
    }

    if (rc != 0 && rc != MDB_NOTFOUND) {
        return mapi_directory_write_error(w, "%s", mdb_strerror(rc));
    }

    return MAPI_OK;
}


static int
mapi_directory_db_cmp(const void *a, const void *b)
{
    return memcmp(((const mapi_directory_db_row_t *) a)->guid.b,
                  ((const mapi_directory_db_row_t *) b)->guid.b, 16);
}


int
mapi_directory_store(mapi_directory_writer_t *w)
{
    int     rc;
    size_t  i;

    static const mapi_directory_table_e  tables[] = {
        mapi_table_database, mapi_table_database_name, mapi_table_server,
        mapi_table_host
    };

    if (w->ndatabases) {
        qsort(w->databases, w->ndatabases, sizeof(mapi_directory_db_row_t),
              mapi_directory_db_cmp);
    }

    rc = mapi_directory_bind(w);

    for (i = 0; rc == MAPI_OK && i < sizeof(tables) / sizeof(tables[0]); i++)
    {
        rc = mapi_directory_clear(w, tables[i]);
    }

    for (i = 0; rc == MAPI_OK && i < w->ndatabases; i++) {
        rc = mapi_directory_store_database(w, &w->databases[i]);
    }

    for (i = 0; rc == MAPI_OK && i < w->nservers; i++) {
        rc = mapi_directory_store_server(w, &w->servers[i]);
    }

    if (rc == MAPI_OK) {
        rc = mapi_directory_store_hosts(w);
    }

    w->meta.databases = w->ndatabases;
    w->meta.servers = w->nservers;

    return rc;
}


/*
 * Databases name their servers as the servers name themselves, whatever the
 * file said: NetBIOS name, FQDN or address.
 */

static int
mapi_directory_bind(mapi_directory_writer_t *w)
{
    size_t                        i, len;
    mapi_str_t                    list, word, copies;
    unsigned char                *p;
    mapi_directory_db_row_t      *db;
    mapi_directory_server_row_t  *server;

    for (i = 0; i < w->ndatabases; i++) {
        db = &w->databases[i];

        if (mapi_directory_find_server(w, &db->server, &server) == MAPI_OK) {
            db->server = server->name;
        }

        len = 0;
        list = db->copies;

        while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
            len += 1 + (mapi_directory_find_server(w, &word, &server)
                        == MAPI_OK ? server->name.len : word.len);
        }

        p = mapi_arena_bytes(&w->arena, len + 1);
        if (p == NULL) {
            return mapi_directory_write_error(w, "out of memory");
        }

        copies.data = p;
        copies.len = len;
        list = db->copies;

        while (mapi_directory_list_next(&list, &word) == MAPI_OK) {

            if (mapi_directory_find_server(w, &word, &server) == MAPI_OK) {
                word = server->name;
            }

            memcpy(p, word.data, word.len);
            p += word.len;
            *p++ = '\0';
        }

        db->copies = copies;
    }

    return MAPI_OK;
}


static int
mapi_directory_same_label(const mapi_str_t *a, const mapi_str_t *b)
{
    mapi_str_t      x, y;
    unsigned char  *p;

    x = *a;
    y = *b;

    if (x.len && (p = memchr(x.data, '.', x.len)) != NULL) {
        x.len = p - x.data;
    }

    if (y.len && (p = memchr(y.data, '.', y.len)) != NULL) {
        y.len = p - y.data;
    }

    return x.len != 0 && mapi_str_caseeq(&x, &y);
}


/*
 * Name, then Fqdn, then address.  Last, a first label that only one server
 * has, when either side has no more than that label.
 */

int
mapi_directory_find_server(mapi_directory_writer_t *w, const mapi_str_t *host,
    mapi_directory_server_row_t **row)
{
    int                           dot;
    size_t                        i;
    unsigned                      n;
    mapi_str_t                    list, word;
    mapi_directory_server_row_t  *s;

    n = 0;

    for (i = 0; i < w->nservers; i++) {
        if (mapi_str_caseeq(&w->servers[i].name, host)) {
            *row = &w->servers[i];
            return MAPI_OK;
        }
    }

    for (i = 0; i < w->nservers; i++) {
        s = &w->servers[i];
        list = s->addresses;

        if (host->len && mapi_str_caseeq(&s->fqdn, host)) {
            *row = s;
            n++;
            continue;
        }

        while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
            if (mapi_str_caseeq(&word, host)) {
                *row = s;
                n++;
                break;
            }
        }
    }

    if (n) {
        return (n == 1) ? MAPI_OK : MAPI_DECLINED;
    }

    dot = host->len && memchr(host->data, '.', host->len) != NULL;

    for (i = 0; i < w->nservers; i++) {
        s = &w->servers[i];

        if (dot && s->fqdn.len) {
            continue;
        }

        if (mapi_directory_same_label(&s->name, host)
            || (!dot && mapi_directory_same_label(&s->fqdn, host)))
        {
            if (dot && memchr(s->name.data, '.', s->name.len)) {
                continue;
            }

            *row = s;
            n++;
        }
    }

    return (n == 1) ? MAPI_OK : MAPI_DECLINED;
}


mapi_directory_db_row_t *
mapi_directory_find_database(mapi_directory_writer_t *w,
    const mapi_str_t *name)
{
    size_t  i;

    for (i = 0; i < w->ndatabases; i++) {
        if (mapi_str_caseeq(&w->databases[i].name, name)) {
            return &w->databases[i];
        }
    }

    return NULL;
}


static int
mapi_directory_store_database(mapi_directory_writer_t *w,
    mapi_directory_db_row_t *row)
{
    int             rc;
    size_t          len;
    unsigned char  *p, *record, key[MAPI_DIRECTORY_KEY_MAX];

    record = mapi_arena_bytes(&w->arena, 16 + row->name.len + row->server.len
                                         + row->copies.len);
    if (record == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    p = record;
    *p++ = 0;
    p = mapi_directory_text_put(p, mapi_text_name, &row->name);
    p = mapi_directory_text_put(p, mapi_text_server, &row->server);
    p = mapi_directory_text_put(p, mapi_text_copies, &row->copies);

    len = mapi_directory_guid_key(key, mapi_table_database, &row->guid);
    rc = mapi_directory_raw_put(w, key, len, record, p - record);

    if (rc != MAPI_OK) {
        return rc;
    }

    len = mapi_directory_key(key, mapi_table_database_name, &row->name);

    if (len == 0) {
        return mapi_directory_write_error(w, "a database's name is empty or "
                                     "longer than %d bytes",
                                     MAPI_DIRECTORY_NAME_MAX);
    }

    return mapi_directory_raw_put(w, key, len, row->guid.b, 16);
}


static int
mapi_directory_store_server(mapi_directory_writer_t *w,
    mapi_directory_server_row_t *row)
{
    size_t          len;
    unsigned char  *p, *record, key[MAPI_DIRECTORY_KEY_MAX];

    record = mapi_arena_bytes(&w->arena, 24 + row->name.len + row->fqdn.len
                                         + row->addresses.len
                                         + row->version.len);
    if (record == NULL) {
        return mapi_directory_write_error(w, "out of memory");
    }

    p = record;
    *p++ = (unsigned char) row->state;
    p = mapi_directory_text_put(p, mapi_text_name, &row->name);
    p = mapi_directory_text_put(p, mapi_text_fqdn, &row->fqdn);
    p = mapi_directory_text_put(p, mapi_text_addresses, &row->addresses);
    p = mapi_directory_text_put(p, mapi_text_version, &row->version);

    len = mapi_directory_key(key, mapi_table_server, &row->name);

    if (len == 0) {
        return mapi_directory_write_error(w, "a server's name is empty or "
                                     "longer than %d bytes",
                                     MAPI_DIRECTORY_NAME_MAX);
    }

    return mapi_directory_raw_put(w, key, len, record, p - record);
}


static int
mapi_directory_host_cmp(const void *x, const void *y)
{
    int     rc;
    size_t  n;

    const mapi_directory_host_t *a = x, *b = y;

    n = (a->host.len < b->host.len) ? a->host.len : b->host.len;
    rc = memcmp(a->host.data, b->host.data, n);

    if (rc == 0 && a->host.len != b->host.len) {
        rc = (a->host.len < b->host.len) ? -1 : 1;
    }

    return rc;
}


static int
mapi_directory_store_hosts(mapi_directory_writer_t *w)
{
    int                           rc;
    size_t                        i, j, k, n, room, len;
    mapi_str_t                    list, word;
    unsigned char                *p, *value, key[MAPI_DIRECTORY_KEY_MAX];
    mapi_directory_host_t        *hosts;
    mapi_directory_server_row_t  *s;

    hosts = NULL;
    room = 0;
    n = 0;

    for (i = 0; i < w->nservers; i++) {
        s = &w->servers[i];
        list = s->addresses;
        word = s->fqdn;

        do {
            if (word.len == 0) {
                continue;
            }

            hosts = mapi_arena_grow(&w->arena, hosts, n, &room,
                                    sizeof(mapi_directory_host_t));
            if (hosts == NULL) {
                return mapi_directory_write_error(w, "out of memory");
            }

            hosts[n].host = word;
            hosts[n++].name = s->name;

        } while (mapi_directory_list_next(&list, &word) == MAPI_OK);
    }

    if (n) {
        qsort(hosts, n, sizeof(mapi_directory_host_t),
              mapi_directory_host_cmp);
    }

    for (i = 0; i < n; i = j) {

        len = 0;

        for (j = i; j < n; j++) {
            if (mapi_directory_host_cmp(&hosts[i], &hosts[j]) != 0) {
                break;
            }

            len += hosts[j].name.len + 1;
        }

        value = mapi_arena_bytes(&w->arena, len);
        if (value == NULL) {
            return mapi_directory_write_error(w, "out of memory");
        }

        p = value;

        for (k = i; k < j; k++) {

            /* the same server's name for itself, twice */

            if (k > i && mapi_str_eq(&hosts[k].name, &hosts[k - 1].name)) {
                continue;
            }

            memcpy(p, hosts[k].name.data, hosts[k].name.len);
            p += hosts[k].name.len;
            *p++ = '\0';
        }

        len = mapi_directory_key(key, mapi_table_host, &hosts[i].host);

        if (len == 0) {
            return mapi_directory_write_error(w, "a server's Fqdn is longer "
                                         "than %d bytes",
                                         MAPI_DIRECTORY_NAME_MAX);
        }

        rc = mapi_directory_raw_put(w, key, len, value, p - value);

        if (rc != MAPI_OK) {
            return rc;
        }
    }

    return MAPI_OK;
}


int
mapi_directory_set_state(mapi_directory_writer_t *w, const mapi_str_t *server,
    const mapi_directory_state_t *state)
{
    size_t         len;
    unsigned char  key[MAPI_DIRECTORY_KEY_MAX];

    len = mapi_directory_key(key, mapi_table_state, server);

    if (len == 0) {
        return mapi_directory_write_error(w, "the server's name is empty or "
                                          "too long");
    }

    return mapi_directory_put_state(w, key, len, state);
}


int
mapi_directory_set_node(mapi_directory_writer_t *w,
    const mapi_directory_state_t *state)
{
    unsigned char  key;

    key = MAPI_DIRECTORY_NODE_KEY;

    return mapi_directory_put_state(w, &key, 1, state);
}


static int
mapi_directory_put_state(mapi_directory_writer_t *w, const unsigned char *key,
    size_t len, const mapi_directory_state_t *state)
{
    int            rc;
    unsigned char  value[MAPI_STATE_SIZE];

    if (state == NULL) {
        rc = mapi_directory_raw_delete(w, key, len);
        return (rc == MAPI_DECLINED) ? MAPI_OK : rc;
    }

    mapi_directory_state_write(value, state);

    return mapi_directory_raw_put(w, key, len, value, sizeof(value));
}
