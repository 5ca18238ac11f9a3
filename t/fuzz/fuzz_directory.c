
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_directory_format.h"


/* the input is the pages from number 2 on, of 512 bytes; 2 is the root */
#define PAGE  512


static int
visit(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    unsigned                 kind;
    mapi_str_t               texts, text, got;
    mapi_server_t            server;
    mapi_database_t          database;
    mapi_page_leaf_t         leaf;
    mapi_directory_record_t  record;

    const mapi_page_tree_t *tree = data;

    fuzz_touch(key->data, key->len);
    fuzz_touch(value->data, value->len);
    assert(fuzz_inside(value->data, value->len, tree->map,
                       mapi_page_bytes(&tree->meta)));
    (void) mapi_page_get(tree, key->data, key->len, &got);

    mapi_page_warm(tree, key->data, key->len, &leaf);

    if (mapi_page_get_leaf(tree, &leaf, key->data, key->len, &got)
        == MAPI_OK)
    {
        fuzz_touch(got.data, got.len);
        assert(fuzz_inside(got.data, got.len, tree->map,
                           mapi_page_bytes(&tree->meta)));
    }

    if (mapi_directory_record_read(&record, value) == MAPI_OK) {
        texts = record.texts;

        while (mapi_directory_text_next(&texts, &kind, &text) == MAPI_OK) {
            fuzz_touch(text.data, text.len);
        }
    }

    if (mapi_directory_database_read(&database, value) == MAPI_OK) {
        fuzz_touch(database.copies.data, database.copies.len);
    }

    if (mapi_directory_server_read(&server, value) == MAPI_OK) {
        fuzz_touch(server.addresses.data, server.addresses.len);
    }

    return MAPI_OK;
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    unsigned char     *map;
    mapi_page_meta_t   meta;
    mapi_page_tree_t   tree;

    (void) mapi_page_meta(&meta, p, len);

    memset(&tree, 0, sizeof(tree));
    tree.meta.page_size = PAGE;
    tree.meta.root = 2;
    tree.meta.last = 1 + len / PAGE;
    tree.meta.depth = len ? p[0] % 4 : 0;

    map = calloc(1, mapi_page_bytes(&tree.meta));
    assert(map != NULL);

    memcpy(map + 2 * PAGE, p, len / PAGE * PAGE);
    tree.map = map;

    (void) mapi_page_walk(&tree, p, 0, visit, &tree);
    (void) mapi_page_walk(&tree, p, len ? 1 : 0, visit, &tree);

    free(map);

    return 0;
}
