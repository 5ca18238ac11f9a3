
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_PAGE_H_INCLUDED_
#define _MAPI_DIRECTORY_PAGE_H_INCLUDED_


#include "mapi_core.h"


/*
 * A careful reader of LMDB's pages (data version 1, 64 bit).
 *
 * LMDB has no checksums and trusts what it reads: a damaged page makes its
 * own mdb_get() read outside the map or abort the process, and a worker must
 * survive that.  So LMDB does the transactions, which keep the pages of a
 * snapshot in place, and these functions do the reading, with every offset
 * checked.  Only the unnamed database with plain keys is read.
 */

#define MAPI_PAGE_META_SIZE  152
#define MAPI_PAGE_NONE       UINT64_MAX

/* as deep as LMDB itself goes */
#define MAPI_PAGE_DEPTH      32


typedef struct {
    size_t    page_size;
    uint64_t  map_size;
    uint64_t  last;            /* number of the last page in use */
    uint64_t  txnid;
    uint64_t  root;
    unsigned  depth;           /* levels, the leaves' among them */
} mapi_page_meta_t;


/*
 * map must hold (meta.last + 1) * meta.page_size bytes
 */

typedef struct {
    const unsigned char  *map;
    mapi_page_meta_t      meta;
} mapi_page_tree_t;


/* a leaf and the bounds of its keys, as numbers; 0: none */

typedef struct {
    uint64_t  no;
    uint64_t  low;
    uint64_t  high;
} mapi_page_leaf_t;


/* returns MAPI_OK to go on, anything else ends the walk with that code */
typedef int (*mapi_page_walk_pt)(void *data, const mapi_str_t *key,
    const mapi_str_t *value);


/*
 * Reads one meta page of which len bytes are at p.  MAPI_OK; MAPI_DECLINED if
 * it is LMDB's but of another data version or with other flags; MAPI_ERROR if
 * it is no meta page.
 */
int mapi_page_meta(mapi_page_meta_t *meta, const unsigned char *p,
    size_t len);

/* bytes that the file must have for both meta pages to be true */
uint64_t mapi_page_bytes(const mapi_page_meta_t *meta);

/* MAPI_OK, MAPI_DECLINED if the key is not there, MAPI_ERROR if damaged */
int mapi_page_get(const mapi_page_tree_t *tree, const unsigned char *key,
    size_t len, mapi_str_t *value);

/* the same of one leaf, as mapi_page_warm() has found it */
int mapi_page_get_leaf(const mapi_page_tree_t *tree,
    const mapi_page_leaf_t *leaf, const unsigned char *key, size_t len,
    mapi_str_t *value);

/*
 * 1 if no commit has come since the tree's snapshot was the newest.  Needs no
 * transaction, only the map.
 *
 * LMDB writes a commit's meta page in the place of the one before the last,
 * then lets readers know: whoever reads after the commit has ended finds its
 * number here.  And as nothing of the newest snapshot is overwritten until it
 * is no longer that, what has been read from the map without a transaction is
 * true if this is 1 before and after.
 */
int mapi_page_newest(const mapi_page_tree_t *tree);

/*
 * Among a million mailboxes the leaf of one is in no cache of the processor,
 * and waiting for it is most of what a lookup costs: asks for it ahead of
 * mapi_page_get(), with other work in between.  This may be called outside of a
 * transaction, as long as the map is there: a page that is being written anew
 * is as good as a damaged one.
 *
 * The leaf is where the key is, or would be, if the tree's snapshot is still
 * the newest afterwards: see mapi_page_newest().
 */
void mapi_page_warm(const mapi_page_tree_t *tree, const unsigned char *key,
    size_t len, mapi_page_leaf_t *leaf);

/*
 * Calls for every key that begins with the prefix, in order.  MAPI_OK,
 * MAPI_ERROR if damaged, or what the callback returned.
 */
int mapi_page_walk(const mapi_page_tree_t *tree, const unsigned char *prefix,
    size_t len, mapi_page_walk_pt call, void *data);


#endif /* _MAPI_DIRECTORY_PAGE_H_INCLUDED_ */
