
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_directory.h"
#include "mapi_directory_env.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>


/* files that are broken, foreign or closed, and readers that die */


#define NOW  1000000


static int
find(mapi_directory_t *d, mapi_identity_kind_e kind, const char *text)
{
    mapi_mailbox_t   m;
    mapi_identity_t  id;

    memset(&id, 0, sizeof(id));
    id.kind = kind;
    id.text = unit_str(text);

    return mapi_directory_mailbox(d, &id, &m);
}


static int
find_guid(mapi_directory_t *d, unsigned n, mapi_mailbox_t *m)
{
    mapi_identity_t  id;

    memset(&id, 0, sizeof(id));
    id.kind = mapi_identity_guid;
    id.guid = unit_guid(n);

    return mapi_directory_mailbox(d, &id, m);
}


/* every kind of lookup: no crash, whatever the file holds */
static void
touch(mapi_directory_t *d)
{
    size_t           i, j;
    unsigned         n, online;
    mapi_str_t       list, word, host;
    mapi_guid_t      guid;
    mapi_server_t    s;
    mapi_mailbox_t   m;
    unsigned char    text[64];
    mapi_identity_t  id;
    mapi_database_t  db;

    static const char *const  texts[] = {
        "anna@corp.example", "info@corp.example", "bert@corp.example",
        "corp\\anna", "x\\bert", "nobody"
    };

    for (n = 0; n < 9; n++) {
        memset(&id, 0, sizeof(id));
        id.kind = mapi_identity_guid;
        id.guid = unit_guid(n);

        mapi_directory_warm(d, &id);
        mapi_directory_warm_again(d, &id, 1);

        if (find_guid(d, n, &m) == MAPI_OK) {
            for (j = 0; j < m.smtp.len; j++) {
                (void) *(volatile unsigned char *) &m.smtp.data[j];
            }

            mapi_directory_warm_again(d, &id, 1);

            word.data = text;
            word.len = sizeof(text);

            if (m.smtp.len <= sizeof(text)) {
                assert_int_equal(mapi_directory_recall(d, &id, NOW, &guid,
                                                       &word),
                                 MAPI_OK);
                assert_int_equal(word.len, m.smtp.len);
                assert_memory_equal(guid.b, m.database.b, sizeof(guid.b));
                assert_memory_equal(text, m.smtp.data, word.len);

            } else {
                assert_int_equal(mapi_directory_recall(d, &id, NOW, &guid,
                                                       &word),
                                 MAPI_DECLINED);
            }
        }
    }

    for (i = 0; i < unit_items(texts); i++) {
        (void) find(d, mapi_identity_smtp, texts[i]);
        (void) find(d, mapi_identity_upn, texts[i]);
        (void) find(d, mapi_identity_account, texts[i]);
    }

    guid = unit_guid(101);

    if (mapi_directory_database(d, &guid, &db) == MAPI_OK) {
        list = db.copies;

        while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
            (void) mapi_directory_server(d, &word, &s);
        }
    }

    host = unit_str("127.0.0.11");
    (void) mapi_directory_server(d, &host, &s);
    (void) mapi_directory_node(d, &online);
}


static int
walk_touch(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    size_t  i;

    for (i = 0; i < key->len; i++) {
        (void) *(volatile unsigned char *) &key->data[i];
    }

    for (i = 0; i < value->len; i++) {
        (void) *(volatile unsigned char *) &value->data[i];
    }

    return MAPI_OK;
}


static int
write_format(mapi_directory_writer_t *w, void *data)
{
    w->meta.format = 7;

    return MAPI_OK;
}


/* enough for branch pages, and records on pages of their own */
static int
write_many(mapi_directory_writer_t *w, void *data)
{
    int            rc;
    unsigned       i;
    unsigned char  key[17], value[6000];

    rc = unit_write_all(w, NULL);
    memset(value, 'v', sizeof(value));

    for (i = 0; rc == MAPI_OK && i < 400; i++) {
        memset(key, 0, sizeof(key));
        key[0] = 9;
        key[1] = (unsigned char) (i * 7);
        key[2] = (unsigned char) i;
        key[3] = (unsigned char) (i >> 8);
        rc = mapi_directory_raw_put(w, key, sizeof(key), value,
                                    (i % 50 == 0) ? sizeof(value) : 40);
    }

    return rc;
}


static unsigned char *
file_read(const char *folder, size_t *len)
{
    int             fd;
    char            name[4200];
    struct stat     st;
    unsigned char  *p;

    (void) snprintf(name, sizeof(name), "%s/data.mdb", folder);
    fd = open(name, O_RDONLY);
    assert_true(fd != -1);
    assert_int_equal(fstat(fd, &st), 0);

    *len = (size_t) st.st_size;
    p = malloc(*len);
    assert_non_null(p);
    assert_int_equal(read(fd, p, *len), *len);
    (void) close(fd);

    return p;
}


static void
file_write(const char *folder, const void *p, size_t len)
{
    int   fd;
    char  name[4200];

    (void) mkdir(folder, 0770);
    (void) snprintf(name, sizeof(name), "%s/data.mdb", folder);
    fd = open(name, O_WRONLY|O_CREAT|O_TRUNC, 0640);
    assert_true(fd != -1);
    assert_int_equal(write(fd, p, len), len);
    (void) close(fd);
}


static int
begins(const char *path)
{
    int                rc;
    mapi_directory_t  *d;

    d = dir_open(path);
    rc = mapi_directory_begin(d, NOW);

    if (rc == MAPI_OK) {
        touch(d);
        (void) mapi_directory_walk(d, mapi_table_mailbox, walk_touch, NULL);
        (void) mapi_directory_walk(d, mapi_table_name, walk_touch, NULL);
        (void) mapi_directory_walk(d, (mapi_directory_table_e) 9, walk_touch,
                                   NULL);
        mapi_directory_end(d);

    } else {
        assert_int_equal(rc, MAPI_DECLINED);
        assert_string_not_equal(mapi_directory_error(d), "");
    }

    mapi_directory_close(d);

    return rc;
}


static void
test_short(void **state)
{
    char            b[4200];
    char           *path;
    size_t          len, n;
    unsigned char  *p;

    path = unit_folder();
    unit_write(path, write_many, NULL);
    p = file_read(path, &len);
    (void) snprintf(b, sizeof(b), "%s/b", path);

    file_write(b, p, len);
    assert_int_equal(begins(b), MAPI_OK);

    for (n = 0; n < len; n += (n < 8400) ? 97 : 4001) {
        file_write(b, p, n);
        assert_int_equal(begins(b), MAPI_DECLINED);
    }

    free(p);
    unit_folder_end(path);
}


/* whatever is in the pages: an answer or none, never a crash */
static void
test_damaged(void **state)
{
    char            b[4200];
    char           *path;
    size_t          len, i, at;
    uint32_t        seed;
    unsigned        round, used;
    unsigned char  *p, *q;

    path = unit_folder();
    unit_write(path, write_many, NULL);
    p = file_read(path, &len);
    q = malloc(len);
    assert_non_null(q);
    (void) snprintf(b, sizeof(b), "%s/b", path);

    seed = 12345;
    used = 0;

    for (round = 0; round < 600; round++) {
        memcpy(q, p, len);

        for (i = 0; i < 1 + round % 40; i++) {
            seed = seed * 1103515245 + 12345;
            at = (seed >> 8) % len;

            /* most pages are damaged in their headers and offsets */
            if (round & 1) {
                at = at / 4096 * 4096 + at % 64;
            }

            seed = seed * 1103515245 + 12345;
            q[at] = (unsigned char) (seed >> 16);
        }

        file_write(b, q, len);
        used += (begins(b) == MAPI_OK);
    }

    /* the test looked at pages, not only at refused files */

    assert_true(used > 100);

    free(p);
    free(q);
    unit_folder_end(path);
}


static void
test_cut_while_open(void **state)
{
    char               name[4200];
    char              *path;
    size_t             len;
    mapi_mailbox_t     m;
    unsigned char     *p;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, write_many, NULL);
    p = file_read(path, &len);
    (void) snprintf(name, sizeof(name), "%s/data.mdb", path);

    d = dir_open(path);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);

    assert_int_equal(truncate(name, 12288), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_DECLINED);
    assert_non_null(strstr(mapi_directory_error(d), "shorter"));
    assert_int_equal(mapi_directory_begin(d, NOW + 2), MAPI_DECLINED);

    assert_int_equal(truncate(name, 0), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 3), MAPI_DECLINED);

    file_write(path, p, len);
    assert_int_equal(mapi_directory_begin(d, NOW + 4), MAPI_OK);
    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    mapi_directory_end(d);

    free(p);
    mapi_directory_close(d);
    unit_folder_end(path);
}


static int
write_foreign(mapi_directory_writer_t *w, void *data)
{
    /* what transact() writes afterwards is spoilt */

    memcpy(w->meta.magic, "foreign\n", 8);

    return MAPI_OK;
}


static void
test_foreign(void **state)
{
    char               error[1024];
    char              *path;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    unit_write(path, write_format, NULL);

    d = dir_open(path);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_DECLINED);
    assert_non_null(strstr(mapi_directory_error(d), "format 7"));
    mapi_directory_close(d);

    assert_int_equal(unit_write_here(path, 0, unit_write_all, NULL, error),
                     MAPI_ERROR);
    assert_non_null(strstr(error, "another release"));
    unit_folder_end(path);

    path = unit_folder();
    unit_write(path, write_foreign, NULL);
    assert_int_equal(begins(path), MAPI_DECLINED);
    unit_folder_end(path);
}


static void
test_closed(void **state)
{
    int                status, good;
    char               file[PATH_MAX], group[32];
    char              *path;
    pid_t              pid;
    const char        *error;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    assert_int_equal(chmod(path, 0755), 0);

    snprintf(group, sizeof(group), "chgrp %u",
             geteuid() == 0 ? 65534u : (unsigned) getegid());

    if (geteuid() != 0) {
        /* a user who cannot become another is kept out of his own file */
        snprintf(file, sizeof(file), "%s/data.mdb", path);
        assert_int_equal(chmod(file, 0), 0);
    }

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(2);
        }

        d = dir_open(path);
        good = (mapi_directory_begin(d, NOW) == MAPI_DECLINED);
        error = mapi_directory_error(d);
        good = good && strstr(error, group) && strstr(error, path);
        _exit(good ? 0 : 1);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    unit_folder_end(path);
}


static int
stale_readers(const char *path)
{
    int       dead, status;
    pid_t     pid;
    MDB_env  *env;

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        dead = 99;

        if (mdb_env_create(&env) == 0
            && mdb_env_set_maxreaders(env, MAPI_DIRECTORY_READERS) == 0
            && mdb_env_open(env, path, MDB_NOTLS, 0660) == 0)
        {
            (void) mdb_reader_check(env, &dead);
        }

        _exit(dead);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));

    return WEXITSTATUS(status);
}


static void
killed_reader(const char *path)
{
    int                status;
    pid_t              pid;
    mapi_directory_t  *d;

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        d = dir_open(path);

        if (mapi_directory_begin(d, NOW) != MAPI_OK) {
            _exit(1);
        }

        (void) kill(getpid(), SIGKILL);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}


/* slots of readers that were killed are given back once a minute */
static void
test_killed(void **state)
{
    char              *path;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);

    killed_reader(path);
    assert_int_equal(stale_readers(path), 1);

    killed_reader(path);
    assert_int_equal(mapi_directory_begin(d, NOW + 61), MAPI_OK);
    mapi_directory_end(d);
    assert_int_equal(stale_readers(path), 0);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
meta_prefix(const unsigned char *p, size_t len, void *data)
{
    mapi_page_meta_t  meta;

    assert_int_equal(mapi_page_meta(&meta, p, len),
                     len < MAPI_PAGE_META_SIZE ? MAPI_ERROR : MAPI_OK);
}


static void
test_meta(void **state)
{
    char              *path;
    size_t             len;
    unsigned char     *p;
    mapi_page_meta_t   meta;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    p = file_read(path, &len);

    unit_prefixes(p, MAPI_PAGE_META_SIZE, meta_prefix, NULL);

    assert_int_equal(mapi_page_meta(&meta, p, len), MAPI_OK);
    assert_int_equal(meta.page_size, sysconf(_SC_PAGESIZE));
    assert_true(mapi_page_bytes(&meta) <= len);

    p[20] = 2;
    assert_int_equal(mapi_page_meta(&meta, p, len), MAPI_DECLINED);
    p[20] = 1;
    p[16] ^= 1;
    assert_int_equal(mapi_page_meta(&meta, p, len), MAPI_ERROR);

    free(p);
    unit_folder_end(path);
}


typedef struct {
    unsigned                 n;
    const mapi_page_tree_t  *tree;
    unsigned char            last[64];
    size_t                   last_len;
} order_t;


static int
walk_order(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    order_t *o = data;

    int               rc;
    mapi_str_t        got;
    mapi_page_leaf_t  leaf, root;

    assert_true(key->len < sizeof(o->last));

    rc = memcmp(o->last, key->data,
                o->last_len < key->len ? o->last_len : key->len);
    assert_true(rc < 0 || (rc == 0 && o->last_len < key->len));

    memcpy(o->last, key->data, key->len);
    o->last_len = key->len;
    o->n++;

    /* what the walk finds, the search finds; what is beside it, it does not */

    assert_int_equal(mapi_page_get(o->tree, key->data, key->len, &got),
                     MAPI_OK);
    assert_ptr_equal(got.data, value->data);
    assert_int_equal(got.len, value->len);

    mapi_page_warm(o->tree, key->data, key->len, &leaf);
    assert_true(leaf.no != 0);
    assert_int_equal(mapi_page_get_leaf(o->tree, &leaf, key->data, key->len,
                                        &got),
                     MAPI_OK);
    assert_ptr_equal(got.data, value->data);
    assert_int_equal(got.len, value->len);

    o->last[key->len] = 0;
    assert_int_equal(mapi_page_get(o->tree, o->last, key->len + 1, &got),
                     MAPI_DECLINED);

    mapi_page_warm(o->tree, o->last, key->len + 1, &leaf);
    assert_true(leaf.no != 0);
    assert_int_equal(mapi_page_get_leaf(o->tree, &leaf, o->last, key->len + 1,
                                        &got),
                     MAPI_DECLINED);

    /* the root is no leaf */

    root = leaf;
    root.no = o->tree->meta.root;
    assert_int_equal(mapi_page_get_leaf(o->tree, &root, key->data, key->len,
                                        &got),
                     MAPI_ERROR);

    return MAPI_OK;
}


static void
test_search(void **state)
{
    char              *path;
    size_t             len;
    order_t            o;
    unsigned char     *p;
    mapi_page_tree_t   tree;
    mapi_page_meta_t   other;

    path = unit_folder();
    unit_write(path, write_many, NULL);
    p = file_read(path, &len);

    assert_int_equal(mapi_page_meta(&tree.meta, p, len), MAPI_OK);
    assert_int_equal(mapi_page_meta(&other, p + tree.meta.page_size,
                                    len - tree.meta.page_size),
                     MAPI_OK);

    if (other.txnid > tree.meta.txnid) {
        tree.meta = other;
    }

    tree.map = p;

    memset(&o, 0, sizeof(o));
    o.tree = &tree;
    assert_int_equal(mapi_page_walk(&tree, (unsigned char *) "", 0,
                                    walk_order, &o),
                     MAPI_OK);
    assert_true(o.n > 430);

    memset(&o, 0, sizeof(o));
    o.tree = &tree;
    assert_int_equal(mapi_page_walk(&tree, (unsigned char *) "\011", 1,
                                    walk_order, &o),
                     MAPI_OK);
    assert_int_equal(o.n, 400);

    free(p);
    unit_folder_end(path);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_cut_while_open),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_search)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
