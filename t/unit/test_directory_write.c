
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_directory.h"



typedef struct {
    const unit_mailbox_t  *mailboxes;
    size_t                 n;
    unsigned               replace;

    /* what it said */
    mapi_directory_meta_t  meta;
    unsigned               twice;
    char                   text[64];
    uint32_t               line;
    uint32_t               other;
    unsigned               guid;
    uint32_t               error_line;
    unsigned               calls;
} bulk_t;


static void
on_twice(void *data, unsigned space, const mapi_str_t *text, uint32_t line,
    uint32_t other, const mapi_guid_t *guid)
{
    bulk_t *b = data;

    b->twice++;
    (void) snprintf(b->text, sizeof(b->text), "%c %.*s", space,
                    (int) text->len, text->data);
    b->line = line;
    b->other = other;
    b->guid = guid ? guid->b[0] : 0;
}


static int
write_bulk(mapi_directory_writer_t *w, void *data)
{
    bulk_t *b = data;

    int                     rc;
    size_t                  i, n;
    mapi_arena_t            arena;
    mapi_directory_bulk_t   bulk;
    mapi_directory_item_t   items[64];

    memset(&arena, 0, sizeof(arena));
    memset(&bulk, 0, sizeof(bulk));
    n = 0;

    for (i = 0; i < b->n; i++) {
        unit_items_add(&arena, items, &n, &b->mailboxes[i], (unsigned) i + 2);
    }

    bulk.items = items;
    bulk.n = n;
    bulk.replace = b->replace;
    bulk.twice = on_twice;
    bulk.data = b;

    rc = mapi_directory_store_mailboxes(w, &bulk);

    mapi_arena_free(&arena);
    b->meta = w->meta;
    b->error_line = w->error_line;
    b->calls++;

    return rc;
}


static int
put(const char *path, const unit_mailbox_t *m, size_t n, unsigned replace,
    bulk_t *b)
{
    memset(b, 0, sizeof(bulk_t));
    b->mailboxes = m;
    b->n = n;
    b->replace = replace;

    return unit_write_here(path, 0, write_bulk, b, NULL);
}


/* the mailbox of a name or GUID by the reader, in a child; 0 if none */
static unsigned
find(const char *path, mapi_identity_kind_e kind, const char *text,
    unsigned guid)
{
    int                status;
    pid_t              pid;
    mapi_str_t         s;
    mapi_mailbox_t     m;
    mapi_identity_t    id;
    mapi_directory_t  *d;

    pid = fork();
    assert_true(pid != -1);

    if (pid == 0) {
        s = unit_str(path);
        d = mapi_directory_open(&s);

        memset(&id, 0, sizeof(id));
        id.kind = kind;
        id.text = unit_str(text);
        id.guid = unit_guid(guid);

        if (mapi_directory_begin(d, 1) != MAPI_OK) {
            _exit(255);
        }

        _exit(mapi_directory_mailbox(d, &id, &m) == MAPI_OK ? m.guid.b[0]
                                                            : 0);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));

    return (unsigned) WEXITSTATUS(status);
}

#define smtp(path, text)  find(path, mapi_identity_smtp, text, 0)
#define byguid(path, n)   find(path, mapi_identity_guid, "", n)


static void
test_merge(void **state)
{
    char    *path;
    bulk_t   b;

    static const unit_mailbox_t  first[] = {
        { 1, 101, "a@x", "aa@x", "a@u", "D\\a", 201, 101 },
        { 2, 101, "b@x", "bb@x", NULL, NULL, 0, 0 },
        { 3, 101, "c@x", NULL, NULL, NULL, 0, 0 }
    };

    static const unit_mailbox_t  second[] = {
        { 1, 102, "new@x", "bb2@x", NULL, NULL, 0, 0 },
        { 4, 101, "d@x", NULL, NULL, NULL, 201, 101 }
    };

    static const unit_mailbox_t  third[] = {
        { 1, 102, "new@x", "bb2@x", NULL, NULL, 0, 0 },
        { 5, 101, "e@x", NULL, NULL, NULL, 201, 101 }
    };

    path = unit_folder();

    assert_int_equal(put(path, first, 3, 0, &b), MAPI_OK);
    assert_int_equal(b.meta.mailboxes, 3);
    assert_int_equal(b.meta.archives, 1);
    assert_int_equal(b.meta.names, 7);
    assert_int_equal(byguid(path, 201), 1);

    /* a record is replaced whole, its archive goes to another mailbox */

    assert_int_equal(put(path, second, 2, 0, &b), MAPI_OK);
    assert_int_equal(b.twice, 0);
    assert_int_equal(b.meta.mailboxes, 4);
    assert_int_equal(b.meta.archives, 1);
    assert_int_equal(b.meta.names, 6);

    assert_int_equal(smtp(path, "a@x"), 0);
    assert_int_equal(smtp(path, "aa@x"), 0);
    assert_int_equal(smtp(path, "new@x"), 1);
    assert_int_equal(smtp(path, "b@x"), 2);
    assert_int_equal(byguid(path, 201), 4);

    /* the same again changes nothing */

    assert_int_equal(put(path, second, 2, 0, &b), MAPI_OK);
    assert_int_equal(b.meta.mailboxes, 4);
    assert_int_equal(b.meta.archives, 1);
    assert_int_equal(b.meta.names, 6);
    assert_int_equal(byguid(path, 201), 4);

    /* an archive taken from a mailbox that stays as it is */

    assert_int_equal(put(path, third, 2, 0, &b), MAPI_ERROR);
    assert_int_equal(byguid(path, 201), 4);

    /* all of it goes */

    assert_int_equal(put(path, first + 1, 1, 1, &b), MAPI_OK);
    assert_int_equal(b.meta.mailboxes, 1);
    assert_int_equal(b.meta.archives, 0);
    assert_int_equal(b.meta.names, 2);
    assert_int_equal(byguid(path, 201), 0);
    assert_int_equal(byguid(path, 4), 0);
    assert_int_equal(smtp(path, "bb@x"), 2);

    unit_folder_end(path);
}


static void
test_guid_twice(void **state)
{
    char    *path;
    bulk_t   b;

    static const unit_mailbox_t  same[] = {
        { 1, 101, "a@x", NULL, NULL, NULL, 0, 0 },
        { 2, 101, "b@x", NULL, NULL, NULL, 0, 0 },
        { 1, 101, "c@x", NULL, NULL, NULL, 0, 0 }
    };

    static const unit_mailbox_t  archive[] = {
        { 1, 101, "a@x", NULL, NULL, NULL, 2, 101 },
        { 2, 101, "b@x", NULL, NULL, NULL, 0, 0 }
    };

    static const unit_mailbox_t  other[] = {
        { 5, 101, "e@x", NULL, NULL, NULL, 1, 101 }
    };

    path = unit_folder();

    assert_int_equal(put(path, same, 3, 0, &b), MAPI_ERROR);
    assert_int_equal(b.error_line, 4);
    assert_int_equal(put(path, archive, 2, 0, &b), MAPI_ERROR);
    assert_int_equal(b.error_line, 3);

    /* nothing was written: not even a directory */

    assert_int_equal(byguid(path, 1), 255);

    assert_int_equal(put(path, archive, 1, 0, &b), MAPI_OK);
    assert_int_equal(byguid(path, 2), 1);

    /* an archive's GUID that is a mailbox of the directory, and back */

    assert_int_equal(put(path, other, 1, 0, &b), MAPI_ERROR);
    assert_int_equal(b.error_line, 2);
    assert_int_equal(put(path, archive + 1, 1, 0, &b), MAPI_ERROR);
    assert_int_equal(b.error_line, 2);

    assert_int_equal(byguid(path, 1), 1);
    assert_int_equal(byguid(path, 2), 1);

    unit_folder_end(path);
}


static void
test_name_twice(void **state)
{
    char    *path;
    bulk_t   b;

    static const unit_mailbox_t  both[] = {
        { 1, 101, "a@x", "info@x", NULL, NULL, 0, 0 },
        { 2, 101, "b@x", "INFO@x", NULL, NULL, 0, 0 }
    };

    static const unit_mailbox_t  third[] = {
        { 3, 101, "c@x", "Info@X", NULL, NULL, 0, 0 }
    };

    static const unit_mailbox_t  self[] = {
        { 1, 101, "a@x", "a@x", "a@x", NULL, 0, 0 },
        { 2, 101, "b@x", NULL, NULL, NULL, 0, 0 }
    };

    path = unit_folder();

    assert_int_equal(put(path, both, 2, 0, &b), MAPI_OK);
    assert_int_equal(b.twice, 1);
    assert_string_equal(b.text, "s info@x");
    assert_int_equal(b.line + b.other, 5);
    assert_int_equal(b.meta.ambiguous, 1);
    assert_int_equal(smtp(path, "info@x"), 0);

    assert_int_equal(put(path, third, 1, 0, &b), MAPI_OK);
    assert_int_equal(b.twice, 2);
    assert_int_equal(b.line, 2);
    assert_int_equal(b.other, 0);
    assert_true(b.guid == 1 || b.guid == 2);
    assert_int_equal(b.meta.ambiguous, 1);

    /* one mailbox with a name in several places is no duplicate, and when
     * the others have given it up, the last one has it */

    assert_int_equal(put(path, self, 2, 0, &b), MAPI_OK);
    assert_int_equal(b.twice, 0);
    assert_int_equal(b.meta.ambiguous, 0);
    assert_int_equal(smtp(path, "info@x"), 3);
    assert_int_equal(smtp(path, "a@x"), 1);
    assert_int_equal(find(path, mapi_identity_upn, "a@x", 0), 1);

    unit_folder_end(path);
}


/* written in one go although the first map is far too small */
static int
write_big(mapi_directory_writer_t *w, void *data)
{
    int                     rc;
    char                    text[64];
    unsigned               *calls, i;
    size_t                  n;
    mapi_arena_t            arena;
    unit_mailbox_t          m;
    mapi_directory_bulk_t   bulk;
    mapi_directory_item_t  *items;

    calls = data;
    (*calls)++;

    memset(&arena, 0, sizeof(arena));
    memset(&bulk, 0, sizeof(bulk));
    memset(&m, 0, sizeof(m));

    items = malloc(20000 * sizeof(mapi_directory_item_t));
    n = 0;

    for (i = 1; i <= 20000; i++) {
        (void) snprintf(text, sizeof(text), "user%u@example", i);
        m.guid = i;
        m.smtp = text;
        unit_items_add(&arena, items, &n, &m, i);
    }

    bulk.items = items;
    bulk.n = n;

    rc = mapi_directory_store_mailboxes(w, &bulk);

    free(items);
    mapi_arena_free(&arena);

    return rc;
}


static void
test_map_full(void **state)
{
    int                       rc;
    char                     *path;
    unsigned                  calls;
    mapi_directory_writer_t  *w;

    path = unit_folder();
    w = mapi_directory_writer_open(path, 1, &rc);
    assert_int_equal(rc, MAPI_OK);
    assert_int_equal(mdb_env_set_mapsize(w->env, 256 * 1024), 0);

    calls = 0;
    assert_int_equal(mapi_directory_transact(w, 0, write_big, &calls),
                     MAPI_OK);
    assert_true(calls > 1);
    assert_int_equal(w->meta.mailboxes, 20000);

    /* once more as single records */

    assert_int_equal(mapi_directory_transact(w, 0, write_big, &calls),
                     MAPI_OK);
    assert_int_equal(w->meta.mailboxes, 20000);
    assert_int_equal(w->meta.names, 20000);

    mapi_directory_writer_close(w);
    assert_int_equal(smtp(path, "user12345@example"), 12345 & 255);
    unit_folder_end(path);
}


static void
test_files(void **state)
{
    int                       rc;
    char                      sub[4200], name[4300];
    char                     *path;
    mode_t                    mask;
    struct stat               folder, st;
    mapi_directory_writer_t  *w;

    path = unit_folder();
    (void) snprintf(sub, sizeof(sub), "%s/new", path);

    w = mapi_directory_writer_open(sub, 0, &rc);
    assert_int_equal(rc, MAPI_ERROR);
    assert_non_null(strstr(w->error, "import"));
    mapi_directory_writer_close(w);

    mask = umask(077);
    assert_int_equal(unit_write_here(sub, 0, unit_write_all, NULL, NULL),
                     MAPI_OK);
    (void) umask(mask);

    assert_int_equal(stat(sub, &folder), 0);
    assert_int_equal(folder.st_mode & 07777, 02770);

    (void) snprintf(name, sizeof(name), "%s/data.mdb", sub);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    (void) snprintf(name, sizeof(name), "%s/lock.mdb", sub);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);

    /* the folder's owner and group are the files' */

    if (geteuid() == 0) {
        assert_int_equal(chown(sub, 12, 34), 0);
        assert_int_equal(unit_write_here(sub, 0, unit_write_all, NULL, NULL),
                         MAPI_OK);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_uid, 12);
        assert_int_equal(st.st_gid, 34);
    }

    unit_folder_end(path);
}


static int
check_servers(mapi_directory_writer_t *w, void *data)
{
    size_t                        i;
    mapi_str_t                    host;
    mapi_directory_server_row_t  *row;

    static const struct {
        const char  *host;
        const char  *name;
    } cases[] = {
        { "ex1", "ex1" }, { "EX1", "ex1" }, { "ex1.corp.example", "ex1" },
        { "127.0.0.11", "ex1" }, { "127.0.0.9", NULL },
        { "ex1.other.example", NULL }, { "ex3.corp.example", "ex3" },
        { "ex9", NULL }, { "", NULL }
    };

    for (i = 0; i < unit_items(cases); i++) {
        host = unit_str(cases[i].host);
        row = NULL;

        if (mapi_directory_find_server(w, &host, &row) != MAPI_OK) {
            assert_null(cases[i].name);
            continue;
        }

        assert_non_null(cases[i].name);
        unit_assert_str(&row->name, cases[i].name);
    }

    return MAPI_OK;
}


static void
test_servers(void **state)
{
    char  *path;

    path = unit_folder();
    assert_int_equal(unit_write_here(path, 0, unit_write_all, NULL, NULL),
                     MAPI_OK);
    assert_int_equal(unit_write_here(path, 0, check_servers, NULL, NULL),
                     MAPI_OK);
    unit_folder_end(path);
}


/* an error in the middle leaves everything as it was */
static int
write_half(mapi_directory_writer_t *w, void *data)
{
    w->nservers = 0;
    w->ndatabases = 0;

    assert_int_equal(mapi_directory_store(w), MAPI_OK);

    return MAPI_ERROR;
}


static int
count_servers(mapi_directory_writer_t *w, void *data)
{
    *(size_t *) data = w->nservers;

    return MAPI_OK;
}


static void
test_rollback(void **state)
{
    char    *path;
    size_t   n;

    path = unit_folder();
    assert_int_equal(unit_write_here(path, 0, unit_write_all, NULL, NULL),
                     MAPI_OK);
    assert_int_equal(unit_write_here(path, 0, write_half, NULL, NULL),
                     MAPI_ERROR);
    assert_int_equal(unit_write_here(path, 0, count_servers, &n, NULL),
                     MAPI_OK);
    assert_int_equal(n, 3);
    unit_folder_end(path);
}


static void
test_texts(void **state)
{
    int             rc;
    size_t          i;
    unsigned        kind;
    mapi_str_t      s, texts, got;
    unsigned char  *p, *end;

    static const size_t  sizes[] = { 0, 1, 127, 128, 16383, 16384, 20000 };

    for (i = 0; i < unit_items(sizes); i++) {
        s.data = malloc(sizes[i] + 1);
        s.len = sizes[i];
        memset(s.data, 'x', sizes[i]);

        p = malloc(mapi_directory_text_size(sizes[i]));
        end = mapi_directory_text_put(p, 5, &s);
        assert_true((size_t) (end - p)
                    <= mapi_directory_text_size(sizes[i]));

        texts.data = p;
        texts.len = end - p;
        assert_int_equal(mapi_directory_text_next(&texts, &kind, &got),
                         MAPI_OK);
        assert_int_equal(kind, 5);
        assert_true(mapi_str_eq(&s, &got));
        assert_int_equal(texts.len, 0);
        assert_int_equal(mapi_directory_text_next(&texts, &kind, &got),
                         MAPI_DECLINED);

        texts.data = p;
        texts.len = end - p - 1;
        rc = mapi_directory_text_next(&texts, &kind, &got);
        assert_int_equal(rc, MAPI_ERROR);

        free(p);
        free(s.data);
    }

    texts = unit_str("\005\xff\xff\xff\xff\x01");
    assert_int_equal(mapi_directory_text_next(&texts, &kind, &got),
                     MAPI_ERROR);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_guid_twice),
        cmocka_unit_test(test_name_twice),
        cmocka_unit_test(test_map_full),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_servers),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_texts)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
