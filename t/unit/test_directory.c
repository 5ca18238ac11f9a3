
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_directory.h"


#define NOW  1000000


static int
write_server(mapi_directory_writer_t *w, void *data)
{
    if (w->ndatabases == 0) {
        return MAPI_ERROR;
    }

    w->databases[0].server = unit_str(data);

    return mapi_directory_store(w);
}


static int
write_draining(mapi_directory_writer_t *w, void *data)
{
    mapi_str_t              name;
    mapi_directory_state_t  state;

    name = unit_str("EX1");
    state.state = mapi_server_draining;
    state.since = NOW;
    state.deadline = *(int64_t *) data;

    return mapi_directory_set_state(w, &name, &state);
}


static int
write_node(mapi_directory_writer_t *w, void *data)
{
    mapi_directory_state_t  state;

    if (data == NULL) {
        return mapi_directory_set_node(w, NULL);
    }

    state.state = *(mapi_server_state_e *) data;
    state.since = NOW;
    state.deadline = 0;

    return mapi_directory_set_node(w, &state);
}


/* a record that is too short to be a state */
static int
write_node_damaged(mapi_directory_writer_t *w, void *data)
{
    unsigned char  key;

    key = MAPI_DIRECTORY_NODE_KEY;

    return mapi_directory_raw_put(w, &key, 1, "\002", 1);
}


/* one mailbox less shares its names */
static int
write_heal(mapi_directory_writer_t *w, void *data)
{
    int                     rc;
    size_t                  n;
    mapi_arena_t            arena;
    unit_mailbox_t          m;
    mapi_directory_bulk_t   bulk;
    mapi_directory_item_t   items[2];

    memset(&arena, 0, sizeof(arena));
    memset(&bulk, 0, sizeof(bulk));
    memset(&m, 0, sizeof(m));

    m.guid = 4;
    m.database = 102;
    m.smtp = "dora@corp.example";
    n = 0;
    unit_items_add(&arena, items, &n, &m, 2);

    bulk.items = items;
    bulk.n = n;

    rc = mapi_directory_store_mailboxes(w, &bulk);
    mapi_arena_free(&arena);

    return rc;
}


/* more than the first map holds */
static int
write_much(mapi_directory_writer_t *w, void *data)
{
    int            rc, i;
    unsigned char  key[3], *value;

    rc = MAPI_OK;
    value = calloc(1, 100000);

    for (i = 0; rc == MAPI_OK && i < 300; i++) {
        key[0] = 200;
        key[1] = (unsigned char) i;
        key[2] = (unsigned char) (i >> 8);
        rc = mapi_directory_raw_put(w, key, 3, value, 100000);
    }

    free(value);

    return rc;
}


/* the mailbox's number, 0 if none, -1 if damaged */
static int
find(mapi_directory_t *d, mapi_identity_kind_e kind, const char *text)
{
    int              rc;
    mapi_mailbox_t   m;
    mapi_identity_t  id;

    memset(&id, 0, sizeof(id));
    id.kind = kind;
    id.text = unit_str(text);

    rc = mapi_directory_mailbox(d, &id, &m);

    if (rc != MAPI_OK) {
        return (rc == MAPI_DECLINED) ? 0 : -1;
    }

    return m.guid.b[0];
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


static void
test_lookup(void **state)
{
    char              *path;
    mapi_mailbox_t     m;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_string_equal(mapi_directory_error(d), "");

    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    assert_int_equal(m.database.b[0], 101);
    assert_false(m.is_archive);
    assert_true(m.mapi_enabled);
    unit_assert_str(&m.smtp, "Anna@corp.example");

    assert_int_equal(find_guid(d, 201, &m), MAPI_OK);
    assert_int_equal(m.guid.b[0], 1);
    assert_int_equal(m.database.b[0], 102);
    assert_true(m.is_archive);

    assert_int_equal(find_guid(d, 99, &m), MAPI_DECLINED);

    assert_int_equal(find(d, mapi_identity_smtp, "anna@corp.example"), 1);
    assert_int_equal(find(d, mapi_identity_smtp, "anna.alias@corp.example"),
                     1);
    assert_int_equal(find(d, mapi_identity_smtp, "anna@ad.example"), 0);
    assert_int_equal(find(d, mapi_identity_upn, "anna@ad.example"), 1);
    assert_int_equal(find(d, mapi_identity_upn, "anna@corp.example"), 1);
    assert_int_equal(find(d, mapi_identity_smtp, "bert@corp.example"), 2);
    assert_int_equal(find(d, mapi_identity_upn, "bert@corp.example"), 2);
    assert_int_equal(find(d, mapi_identity_smtp, "nobody@corp.example"), 0);
    assert_int_equal(find(d, mapi_identity_smtp, ""), 0);
    assert_int_equal(find(d, mapi_identity_none, "bert"), 0);

    /* the address of one is the UPN of another: each in its own way */

    assert_int_equal(find(d, mapi_identity_upn, "e2@corp.example"), 5);
    assert_int_equal(find(d, mapi_identity_smtp, "e2@corp.example"), 6);

    /* accounts */

    assert_int_equal(find(d, mapi_identity_account, "corp\\anna"), 1);
    assert_int_equal(find(d, mapi_identity_account, "anna"), 0);
    assert_int_equal(find(d, mapi_identity_account, "other\\anna"), 0);
    assert_int_equal(find(d, mapi_identity_account, "bert"), 2);
    assert_int_equal(find(d, mapi_identity_account, "any\\bert"), 2);
    assert_int_equal(find(d, mapi_identity_account, "other\\frank"), 7);
    assert_int_equal(find(d, mapi_identity_account, "corp\\frank"), 8);

    mapi_directory_end(d);
    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_ambiguous(void **state)
{
    char              *path;
    mapi_mailbox_t     m;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_int_equal(find(d, mapi_identity_smtp, "info@corp.example"), 0);
    assert_int_equal(find(d, mapi_identity_upn, "c@ad.example"), 0);
    assert_int_equal(find(d, mapi_identity_account, "corp\\carl"), 0);
    assert_int_equal(find(d, mapi_identity_smtp, "carl@corp.example"), 3);
    assert_int_equal(find_guid(d, 4, &m), MAPI_OK);
    mapi_directory_end(d);

    unit_write(path, write_heal, NULL);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_int_equal(find(d, mapi_identity_smtp, "info@corp.example"), 3);
    assert_int_equal(find(d, mapi_identity_upn, "c@ad.example"), 3);
    assert_int_equal(find(d, mapi_identity_account, "corp\\carl"), 3);
    mapi_directory_end(d);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static mapi_server_state_e
state_of(mapi_directory_t *d, const char *host, time_t now, int *rc)
{
    mapi_str_t     s;
    mapi_server_t  server;

    memset(&server, 0, sizeof(server));
    s = unit_str(host);

    assert_int_equal(mapi_directory_begin(d, now), MAPI_OK);
    *rc = mapi_directory_server(d, &s, &server);
    mapi_directory_end(d);

    return server.state;
}


static void
test_servers(void **state)
{
    int                rc;
    char              *path;
    int64_t            deadline;
    mapi_str_t         host;
    mapi_guid_t        guid;
    mapi_server_t      s;
    mapi_database_t    db;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);

    guid = unit_guid(101);
    assert_int_equal(mapi_directory_database(d, &guid, &db), MAPI_OK);
    unit_assert_str(&db.name, "DB01");
    unit_assert_str(&db.server, "ex1");
    assert_int_equal(db.copies.len, 8);
    assert_memory_equal(db.copies.data, "ex1\0ex2", 8);

    guid = unit_guid(103);
    assert_int_equal(mapi_directory_database(d, &guid, &db), MAPI_DECLINED);

    host = unit_str("ex2.corp.example");
    assert_int_equal(mapi_directory_server(d, &host, &s), MAPI_OK);
    unit_assert_str(&s.name, "ex2");
    unit_assert_str(&s.version, "15.2.1544.4");
    assert_int_equal(s.state, mapi_server_active);

    mapi_directory_end(d);

    (void) state_of(d, "127.0.0.11", NOW, &rc);
    assert_int_equal(rc, MAPI_OK);
    (void) state_of(d, "ex9", NOW, &rc);
    assert_int_equal(rc, MAPI_DECLINED);
    (void) state_of(d, "", NOW, &rc);
    assert_int_equal(rc, MAPI_DECLINED);

    /* an address of two servers is nobody's */

    (void) state_of(d, "127.0.0.9", NOW, &rc);
    assert_int_equal(rc, MAPI_DECLINED);

    deadline = NOW + 300;
    unit_write(path, write_draining, &deadline);

    assert_int_equal(state_of(d, "ex1", NOW, &rc), mapi_server_draining);
    assert_int_equal(state_of(d, "ex1", NOW + 299, &rc),
                     mapi_server_draining);
    assert_int_equal(state_of(d, "127.0.0.11", NOW + 300, &rc),
                     mapi_server_offline);
    assert_int_equal(state_of(d, "ex2", NOW + 300, &rc), mapi_server_active);

    /* kept over a complete import */

    unit_write(path, unit_write_all, NULL);
    assert_int_equal(state_of(d, "ex1", NOW + 301, &rc),
                     mapi_server_offline);

    deadline = 0;
    unit_write(path, write_draining, &deadline);
    assert_int_equal(state_of(d, "ex1", NOW + 100000, &rc),
                     mapi_server_draining);

    mapi_directory_close(d);
    unit_folder_end(path);
}


/* MAPI_OK or MAPI_ERROR in *rc */
static unsigned
node_of(mapi_directory_t *d, time_t now, int *rc)
{
    unsigned  online;

    online = 7;

    assert_int_equal(mapi_directory_begin(d, now), MAPI_OK);
    *rc = mapi_directory_node(d, &online);
    mapi_directory_end(d);

    return online;
}


static void
test_node(void **state)
{
    int                   rc;
    char                 *path;
    unsigned              online;
    mapi_directory_t     *d;
    mapi_server_state_e   offline;

    path = unit_folder();
    offline = mapi_server_offline;

    /* a directory that says nothing of it */

    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);
    assert_int_equal(node_of(d, NOW, &rc), 1);
    assert_int_equal(rc, MAPI_OK);

    unit_write(path, write_node, &offline);
    assert_int_equal(node_of(d, NOW, &rc), 0);
    assert_int_equal(rc, MAPI_OK);

    /* kept over a complete import, and no server's */

    unit_write(path, unit_write_all, NULL);
    assert_int_equal(node_of(d, NOW, &rc), 0);
    assert_int_equal(state_of(d, "ex1", NOW, &rc), mapi_server_active);
    (void) state_of(d, "", NOW, &rc);
    assert_int_equal(rc, MAPI_DECLINED);

    unit_write(path, write_node, NULL);
    assert_int_equal(node_of(d, NOW, &rc), 1);
    assert_int_equal(rc, MAPI_OK);
    unit_write(path, write_node, NULL);
    assert_int_equal(node_of(d, NOW, &rc), 1);

    /* what cannot be read takes nobody out of service */

    unit_write(path, write_node_damaged, NULL);
    assert_int_equal(node_of(d, NOW, &rc), 1);
    assert_int_equal(rc, MAPI_ERROR);
    assert_non_null(strstr(mapi_directory_error(d), "damaged"));

    /* outside of a transaction nothing is read */

    assert_int_equal(mapi_directory_node(d, &online), MAPI_ERROR);
    assert_int_equal(online, 1);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static const char *
server_of(mapi_directory_t *d, char *buf)
{
    mapi_guid_t      guid;
    mapi_database_t  db;

    guid = unit_guid(101);
    assert_int_equal(mapi_directory_database(d, &guid, &db), MAPI_OK);
    (void) snprintf(buf, 64, "%.*s", (int) db.server.len, db.server.data);

    return buf;
}


static void
test_commit(void **state)
{
    char               buf[64];
    char              *path;
    uint64_t           generation;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    generation = mapi_directory_generation(d);
    assert_string_equal(server_of(d, buf), "ex1");

    unit_write(path, write_server, "ex2");

    /* what has begun sees what it saw, nested or not */

    assert_string_equal(server_of(d, buf), "ex1");
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex1");
    mapi_directory_end(d);
    assert_string_equal(server_of(d, buf), "ex1");
    mapi_directory_end(d);

    /* the next one, in the same second, sees the commit */

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex2");
    assert_true(mapi_directory_generation(d) != generation);
    mapi_directory_end(d);

    /* one end too many does no harm */

    mapi_directory_end(d);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    mapi_directory_end(d);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_missing(void **state)
{
    int                fd;
    char               sub[4200], file[4300];
    char              *path;
    unsigned           count;
    struct stat        st, opened;
    mapi_mailbox_t     m;
    mapi_directory_t  *d;

    path = unit_folder();
    (void) snprintf(sub, sizeof(sub), "%s/sub", path);
    d = dir_open(sub);

    count = mapi_directory_error_count(d);
    assert_int_equal(mapi_directory_file(d), -1);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_DECLINED);
    assert_non_null(strstr(mapi_directory_error(d), "import"));
    assert_int_equal(mapi_directory_error_count(d), count + 1);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_DECLINED);
    assert_int_equal(mapi_directory_error_count(d), count + 1);

    /* nothing has begun, nothing is found */

    assert_int_equal(find_guid(d, 1, &m), MAPI_ERROR);
    mapi_directory_end(d);

    /* seen a second later, not in the same one */

    unit_write(sub, unit_write_all, NULL);
    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_DECLINED);
    assert_int_equal(mapi_directory_begin(d, NOW + 2), MAPI_OK);
    assert_string_equal(mapi_directory_error(d), "");
    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    mapi_directory_end(d);

    /* a descriptor of its own: what is open stays so */

    (void) snprintf(file, sizeof(file), "%s/data.mdb", sub);
    assert_int_equal(stat(file, &st), 0);
    fd = mapi_directory_file(d);
    assert_int_equal(fstat(fd, &opened), 0);
    assert_int_equal(opened.st_ino, st.st_ino);
    assert_int_equal(close(fd), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 2), MAPI_OK);
    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    mapi_directory_end(d);

    /* gone again: what is open is used on, and that is said */

    unit_run("rm -rf '%s'%s", sub, "");
    assert_int_equal(mapi_directory_begin(d, NOW + 3), MAPI_OK);
    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    assert_string_not_equal(mapi_directory_error(d), "");
    mapi_directory_end(d);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_grown(void **state)
{
    char              *path;
    mapi_mailbox_t     m;
    mapi_directory_t  *d;

    path = unit_folder();
    unit_write(path, unit_write_all, NULL);
    d = dir_open(path);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    mapi_directory_end(d);

    unit_write(path, write_much, NULL);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_int_equal(find_guid(d, 1, &m), MAPI_OK);
    assert_int_equal(mapi_directory_walk(d, (mapi_directory_table_e) 200,
                                         walk_touch, NULL),
                     MAPI_OK);
    mapi_directory_end(d);

    mapi_directory_close(d);
    unit_folder_end(path);
}


static void
test_replaced(void **state)
{
    char               a[4200], b[4200], buf[64];
    char              *path;
    uint64_t           generation;
    mapi_directory_t  *d;

    path = unit_folder();
    (void) snprintf(a, sizeof(a), "%s/a", path);
    (void) snprintf(b, sizeof(b), "%s/b", path);

    unit_write(a, unit_write_all, NULL);
    unit_write(b, unit_write_all, NULL);
    unit_write(b, write_server, "ex2");

    d = dir_open(a);
    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    generation = mapi_directory_generation(d);
    mapi_directory_end(d);

    unit_run("mv '%s' '%s.old'", a, a);
    unit_run("mv '%s' '%s'", b, a);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex1");
    mapi_directory_end(d);

    assert_int_equal(mapi_directory_begin(d, NOW + 1), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex2");
    assert_true(mapi_directory_generation(d) != generation);
    assert_string_equal(mapi_directory_error(d), "");
    mapi_directory_end(d);

    /* a broken one does not replace it */

    unit_run("mv '%s' '%s.good'", a, a);
    unit_run("mkdir '%s' && echo rubbish > '%s/data.mdb'", a, a);

    assert_int_equal(mapi_directory_begin(d, NOW + 2), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex2");
    assert_string_not_equal(mapi_directory_error(d), "");
    mapi_directory_end(d);

    /* commits to the one that is open still count */

    (void) snprintf(b, sizeof(b), "%s/a.good", path);
    unit_write(b, write_server, "ex1");

    assert_int_equal(mapi_directory_begin(d, NOW + 2), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex1");
    mapi_directory_end(d);

    /* mended by renaming the good one back: nothing to open anew */

    unit_run("rm -r '%s'%s", a, "");
    assert_int_equal(rename(b, a), 0);
    assert_int_equal(mapi_directory_begin(d, NOW + 3), MAPI_OK);
    assert_string_equal(server_of(d, buf), "ex1");
    assert_string_equal(mapi_directory_error(d), "");
    mapi_directory_end(d);

    mapi_directory_close(d);
    unit_folder_end(path);
}


/* one file by two paths, and in a child */
static void
test_handles(void **state)
{
    int                status;
    char               other[4200];
    char              *path;
    pid_t              pid;
    mapi_mailbox_t     m;
    mapi_directory_t  *d, *again, *two;

    path = unit_folder();
    (void) snprintf(other, sizeof(other), "%s/.", path);
    unit_write(path, unit_write_all, NULL);

    d = dir_open(path);
    again = dir_open(path);
    assert_ptr_equal(d, again);
    two = dir_open(other);
    assert_ptr_not_equal(d, two);

    assert_int_equal(mapi_directory_begin(d, NOW), MAPI_OK);
    assert_int_equal(mapi_directory_begin(two, NOW), MAPI_OK);
    mapi_directory_end(d);
    mapi_directory_close(d);
    assert_int_equal(find_guid(two, 1, &m), MAPI_OK);
    mapi_directory_end(two);

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        d = dir_open(path);
        status = mapi_directory_begin(d, NOW) == MAPI_OK
                 && find_guid(d, 1, &m) == MAPI_OK;
        mapi_directory_end(d);
        mapi_directory_close(d);
        _exit(status ? 0 : 1);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    assert_int_equal(mapi_directory_begin(again, NOW), MAPI_OK);
    assert_int_equal(find_guid(again, 1, &m), MAPI_OK);
    mapi_directory_end(again);

    mapi_directory_close(again);
    mapi_directory_close(two);
    unit_folder_end(path);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_ambiguous),
        cmocka_unit_test(test_servers),
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_grown),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_handles)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
