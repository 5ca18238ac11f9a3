
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_page.h"


#if (SIZE_MAX != UINT64_MAX)
#error "the directory needs a 64-bit system"
#endif


#define MAPI_PAGE_MAGIC    0xBEEFC0DE
#define MAPI_PAGE_VERSION  1
#define MAPI_PAGE_TXNID    144

#define MAPI_PAGE_HEADER   16
#define MAPI_PAGE_NODE     8

#define MAPI_PAGE_BRANCH   0x01
#define MAPI_PAGE_LEAF     0x02
#define MAPI_PAGE_OVERFLOW 0x04
#define MAPI_PAGE_IS_META  0x08
#define MAPI_PAGE_KINDS    0x6f

#define MAPI_NODE_BIG      0x01

/* no order of two keys */
#define MAPI_PAGE_DAMAGED  2


typedef struct {
    const unsigned char  *p;
    unsigned              leaf;
    unsigned              n;
} mapi_page_t;


typedef struct {
    const unsigned char  *key;
    size_t                key_len;
    const unsigned char  *data;
    size_t                data_len;   /* leaf */
    uint64_t              child;      /* branch */
    unsigned              flags;
} mapi_page_node_t;


/*
 * A key and the bounds that the nodes beside it have set so far: their first
 * eight bytes as numbers.
 */

typedef struct {
    const unsigned char  *key;
    size_t                len;
    uint64_t              head;
    uint64_t              low;
    uint64_t              high;
} mapi_page_key_t;


typedef struct {
    const mapi_page_tree_t  *tree;
    const unsigned char     *prefix;
    size_t                   len;
    mapi_page_walk_pt        call;
    void                    *data;
    uint64_t                 pages;      /* seen: a ring of pages must end */
} mapi_page_walk_t;


static int mapi_page_open(const mapi_page_tree_t *tree, uint64_t no,
    mapi_page_t *page);
static int mapi_page_node(const mapi_page_tree_t *tree,
    const mapi_page_t *page, unsigned i, mapi_page_node_t *node);
static void mapi_page_key(mapi_page_key_t *k, const unsigned char *key,
    size_t len);
static int mapi_page_order(const mapi_page_key_t *k, const unsigned char *p,
    size_t len);
static int mapi_page_bracket(const mapi_page_tree_t *tree,
    const mapi_page_t *page, mapi_page_key_t *k, unsigned *low,
    unsigned *high);
static int mapi_page_search(const mapi_page_tree_t *tree,
    const mapi_page_t *page, mapi_page_key_t *k, unsigned *index,
    mapi_page_node_t *node);
static int mapi_page_value(const mapi_page_tree_t *tree,
    const mapi_page_node_t *node, mapi_str_t *value);
static int mapi_page_visit(mapi_page_walk_t *w, uint64_t no, unsigned depth,
    unsigned first);


static inline uint16_t
mapi_page_u16(const unsigned char *p)
{
    uint16_t  n;

    memcpy(&n, p, sizeof(n));

    return n;
}


static inline uint32_t
mapi_page_u32(const unsigned char *p)
{
    uint32_t  n;

    memcpy(&n, p, sizeof(n));

    return n;
}


static inline uint64_t
mapi_page_u64(const unsigned char *p)
{
    uint64_t  n;

    memcpy(&n, p, sizeof(n));

    return n;
}


/*
 * A node's first two numbers are one of 32 bits, in the machine's order.
 */

static inline uint32_t
mapi_page_node_number(const unsigned char *p)
{
    return mapi_page_u32(p);
}


int
mapi_page_meta(mapi_page_meta_t *meta, const unsigned char *p, size_t len)
{
    size_t  size;

    if (len < MAPI_PAGE_META_SIZE
        || (mapi_page_u16(p + 10) & MAPI_PAGE_IS_META) == 0
        || mapi_page_u32(p + 16) != MAPI_PAGE_MAGIC)
    {
        return MAPI_ERROR;
    }

    if (mapi_page_u32(p + 20) != MAPI_PAGE_VERSION) {
        return MAPI_DECLINED;
    }

    size = mapi_page_u32(p + 40);

    if (size < 512 || size > 32768 || (size & (size - 1)) != 0) {
        return MAPI_ERROR;
    }

    meta->page_size = size;
    meta->map_size = mapi_page_u64(p + 32);
    meta->root = mapi_page_u64(p + 128);
    meta->depth = mapi_page_u16(p + 94);
    meta->last = mapi_page_u64(p + 136);
    meta->txnid = mapi_page_u64(p + MAPI_PAGE_TXNID);

    if (meta->last < 1 || meta->last > (UINT64_MAX >> 17)) {
        return MAPI_ERROR;
    }

    /* the flags of the unnamed database: plain keys, one value each */

    if (mapi_page_u16(p + 92) != 0) {
        return MAPI_DECLINED;
    }

    return MAPI_OK;
}


uint64_t
mapi_page_bytes(const mapi_page_meta_t *meta)
{
    return (meta->last + 1) * meta->page_size;
}


int
mapi_page_newest(const mapi_page_tree_t *tree)
{
    size_t                own, other;
    uint64_t              txnid, before, now;
    const unsigned char  *p;

    txnid = tree->meta.txnid;
    own = (txnid & 1) * tree->meta.page_size;
    other = tree->meta.page_size - own;
    p = tree->map + MAPI_PAGE_TXNID;

    /* what was read from the map so far stays before, the rest behind */

    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    now = __atomic_load_n((const uint64_t *) (p + own), __ATOMIC_ACQUIRE);
    before = __atomic_load_n((const uint64_t *) (p + other),
                             __ATOMIC_ACQUIRE);

    return now == txnid && before < txnid;
}


static int
mapi_page_open(const mapi_page_tree_t *tree, uint64_t no, mapi_page_t *page)
{
    unsigned              lower, upper, kind;
    const unsigned char  *p;

    if (no < 2 || no > tree->meta.last) {
        return MAPI_ERROR;
    }

    p = tree->map + no * tree->meta.page_size;

    if (mapi_page_u64(p) != no) {
        return MAPI_ERROR;
    }

    kind = mapi_page_u16(p + 10) & MAPI_PAGE_KINDS;
    lower = mapi_page_u16(p + 12);
    upper = mapi_page_u16(p + 14);

    if (kind != MAPI_PAGE_BRANCH && kind != MAPI_PAGE_LEAF) {
        return MAPI_ERROR;
    }

    if (lower < MAPI_PAGE_HEADER || lower > upper
        || upper > tree->meta.page_size)
    {
        return MAPI_ERROR;
    }

    page->p = p;
    page->leaf = (kind == MAPI_PAGE_LEAF);
    page->n = (lower - MAPI_PAGE_HEADER) / 2;

    return MAPI_OK;
}


static int
mapi_page_node(const mapi_page_tree_t *tree, const mapi_page_t *page,
    unsigned i, mapi_page_node_t *node)
{
    size_t                off, left;
    uint32_t              number;
    const unsigned char  *p;

    off = mapi_page_u16(page->p + MAPI_PAGE_HEADER + 2 * i);

    if (off < MAPI_PAGE_HEADER
        || off + MAPI_PAGE_NODE > tree->meta.page_size)
    {
        return MAPI_ERROR;
    }

    p = page->p + off;
    left = tree->meta.page_size - off - MAPI_PAGE_NODE;

    number = mapi_page_node_number(p);

    node->flags = mapi_page_u16(p + 4);
    node->key_len = mapi_page_u16(p + 6);
    node->key = p + MAPI_PAGE_NODE;

    if (node->key_len > left) {
        return MAPI_ERROR;
    }

    left -= node->key_len;
    node->data = node->key + node->key_len;

    if (!page->leaf) {
        node->child = (uint64_t) number | (uint64_t) node->flags << 32;
        return MAPI_OK;
    }

    node->data_len = number;

    if (node->flags == 0) {
        return node->data_len <= left ? MAPI_OK : MAPI_ERROR;
    }

    if (node->flags != MAPI_NODE_BIG || left < sizeof(uint64_t)) {
        return MAPI_ERROR;
    }

    node->child = mapi_page_u64(node->data);

    return MAPI_OK;
}


/*
 * As many as eight bytes of a key as a number, that compares as they do.
 */

static inline uint64_t
mapi_page_head(const unsigned char *key, size_t len)
{
    size_t    i;
    uint64_t  head;

    if (len >= 8) {
        head = mapi_page_u64(key);

#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        head = __builtin_bswap64(head);
#endif

        return head;
    }

    head = 0;

    for (i = 0; i < 8; i++) {
        head = head << 8 | (i < len ? key[i] : 0);
    }

    return head;
}


static void
mapi_page_key(mapi_page_key_t *k, const unsigned char *key, size_t len)
{
    k->key = key;
    k->len = len;
    k->head = mapi_page_head(key, len);
    k->low = 0;
    k->high = UINT64_MAX;
}


/*
 * Below, equal to or above zero as the key is to the node's, or
 * MAPI_PAGE_DAMAGED.  The first eight bytes, in *head, decide nearly always.
 */

static inline int
mapi_page_compare(const mapi_page_tree_t *tree, const mapi_page_t *page,
    unsigned i, const mapi_page_key_t *k, uint64_t *head)
{
    size_t                off, left, len;
    const unsigned char  *p;

    off = mapi_page_u16(page->p + MAPI_PAGE_HEADER + 2 * i);
    left = tree->meta.page_size - MAPI_PAGE_NODE;

    if (off < MAPI_PAGE_HEADER || off > left) {
        return MAPI_PAGE_DAMAGED;
    }

    p = page->p + off;
    len = mapi_page_u16(p + 6);
    p += MAPI_PAGE_NODE;

    if (len > left - off) {
        return MAPI_PAGE_DAMAGED;
    }

    if (len < 8) {
        *head = mapi_page_head(p, len);
        return mapi_page_order(k, p, len);
    }

    *head = mapi_page_head(p, 8);

    if (k->head != *head) {
        return (k->head < *head) ? -1 : 1;
    }

    return mapi_page_order(k, p, len);
}


static int
mapi_page_order(const mapi_page_key_t *k, const unsigned char *p, size_t len)
{
    int  order;

    order = memcmp(k->key, p, (k->len < len) ? k->len : len);

    if (order == 0) {
        return (k->len > len) - (k->len < len);
    }

    return (order < 0) ? -1 : 1;
}


/*
 * GUIDs and hashes are spread evenly, so where a key is can be guessed from
 * the bounds, and the guess is a few nodes off.  This saves most of a binary
 * search's cache misses; keys that are not spread so cost a few steps more.
 */

static int
mapi_page_bracket(const mapi_page_tree_t *tree, const mapi_page_t *page,
    mapi_page_key_t *k, unsigned *low, unsigned *high)
{
    int       order;
    unsigned  i, step, n;
    uint64_t  share, head;

    n = *high - *low;

    if (n < 8 || k->low == 0 || k->high == UINT64_MAX || k->head < k->low
        || k->head >= k->high)
    {
        return MAPI_DECLINED;
    }

    share = (k->high - k->low) / n;
    i = *low + (share ? (unsigned) ((k->head - k->low) / share) : 0);

    if (i >= *high) {
        i = *high - 1;
    }

    for (step = 1; /* void */ ; step *= 2) {

        order = mapi_page_compare(tree, page, i, k, &head);

        if (order == MAPI_PAGE_DAMAGED) {
            return MAPI_ERROR;
        }

        if (order == 0) {
            *low = i;
            return MAPI_OK;
        }

        if (order > 0) {
            *low = i + 1;
            k->low = head;

            if (step > *high - *low) {
                return MAPI_DECLINED;
            }

            i = *low + step - 1;

        } else {
            *high = i;
            k->high = head;

            if (step > *high - *low) {
                return MAPI_DECLINED;
            }

            i = *high - step;
        }
    }
}


/*
 * Finds the last node that is not greater than the key; in a branch page the
 * first node stands for everything below the second.  MAPI_OK if it is equal
 * or a branch, MAPI_DECLINED if not; *index is then where the key would be.
 */

static int
mapi_page_search(const mapi_page_tree_t *tree, const mapi_page_t *page,
    mapi_page_key_t *k, unsigned *index, mapi_page_node_t *node)
{
    int       rc, order;
    unsigned  low, high, mid;
    uint64_t  head;

    low = page->leaf ? 0 : 1;
    high = page->n;

    if (high < low) {
        return MAPI_ERROR;
    }

    rc = mapi_page_bracket(tree, page, k, &low, &high);

    if (rc == MAPI_ERROR) {
        return MAPI_ERROR;
    }

    if (rc == MAPI_OK) {
        high = low;

        if (page->leaf) {
            *index = low;
            return mapi_page_node(tree, page, low, node);
        }

        low++;
    }

    while (low < high) {
        mid = (low + high) / 2;

        order = mapi_page_compare(tree, page, mid, k, &head);

        if (order == MAPI_PAGE_DAMAGED) {
            return MAPI_ERROR;
        }

        if (order == 0 && page->leaf) {
            *index = mid;
            return mapi_page_node(tree, page, mid, node);
        }

        if (order < 0) {
            high = mid;
            k->high = head;

        } else {
            low = mid + 1;
            k->low = head;
        }
    }

    if (page->leaf) {
        *index = low;
        return MAPI_DECLINED;
    }

    *index = low - 1;

    return mapi_page_node(tree, page, low - 1, node);
}


static int
mapi_page_value(const mapi_page_tree_t *tree, const mapi_page_node_t *node,
    mapi_str_t *value)
{
    uint64_t              no, pages;
    const unsigned char  *p;

    if (node->flags == 0) {
        value->data = (unsigned char *) node->data;
        value->len = node->data_len;
        return MAPI_OK;
    }

    no = node->child;

    if (no < 2 || no > tree->meta.last) {
        return MAPI_ERROR;
    }

    p = tree->map + no * tree->meta.page_size;
    pages = mapi_page_u32(p + 12);

    if (mapi_page_u64(p) != no
        || (mapi_page_u16(p + 10) & MAPI_PAGE_KINDS) != MAPI_PAGE_OVERFLOW
        || pages > tree->meta.last - no + 1
        || node->data_len + MAPI_PAGE_HEADER > pages * tree->meta.page_size)
    {
        return MAPI_ERROR;
    }

    value->data = (unsigned char *) p + MAPI_PAGE_HEADER;
    value->len = node->data_len;

    return MAPI_OK;
}


int
mapi_page_get(const mapi_page_tree_t *tree, const unsigned char *key,
    size_t len, mapi_str_t *value)
{
    int               rc;
    unsigned          i, depth;
    uint64_t          no;
    mapi_page_t       page;
    mapi_page_key_t   k;
    mapi_page_node_t  node;

    no = tree->meta.root;

    if (no == MAPI_PAGE_NONE) {
        return MAPI_DECLINED;
    }

    mapi_page_key(&k, key, len);

    for (depth = 0; depth < MAPI_PAGE_DEPTH; depth++) {

        if (mapi_page_open(tree, no, &page) != MAPI_OK) {
            return MAPI_ERROR;
        }

        rc = mapi_page_search(tree, &page, &k, &i, &node);

        if (rc != MAPI_OK) {
            return rc;
        }

        if (page.leaf) {
            return mapi_page_value(tree, &node, value);
        }

        no = node.child;
    }

    return MAPI_ERROR;
}


int
mapi_page_get_leaf(const mapi_page_tree_t *tree, const mapi_page_leaf_t *leaf,
    const unsigned char *key, size_t len, mapi_str_t *value)
{
    int               rc;
    unsigned          i;
    mapi_page_t       page;
    mapi_page_key_t   k;
    mapi_page_node_t  node;

    if (mapi_page_open(tree, leaf->no, &page) != MAPI_OK || !page.leaf) {
        return MAPI_ERROR;
    }

    mapi_page_key(&k, key, len);

    k.low = leaf->low;
    k.high = leaf->high;

    rc = mapi_page_search(tree, &page, &k, &i, &node);

    return (rc == MAPI_OK) ? mapi_page_value(tree, &node, value) : rc;
}


void
mapi_page_warm(const mapi_page_tree_t *tree, const unsigned char *key,
    size_t len, mapi_page_leaf_t *leaf)
{
    unsigned          i, level;
    uint64_t          no;
    mapi_page_t       page;
    mapi_page_key_t   k;
    mapi_page_node_t  node;

    leaf->no = 0;

    if (tree->meta.depth > MAPI_PAGE_DEPTH) {
        return;
    }

    mapi_page_key(&k, key, len);

    no = tree->meta.root;

    for (level = 1; level < tree->meta.depth; level++) {

        if (mapi_page_open(tree, no, &page) != MAPI_OK
            || page.leaf
            || mapi_page_search(tree, &page, &k, &i, &node) != MAPI_OK)
        {
            return;
        }

        no = node.child;
    }

    if (no > tree->meta.last) {
        return;
    }

    __builtin_prefetch(tree->map + no * tree->meta.page_size);

    leaf->no = no;
    leaf->low = k.low;
    leaf->high = k.high;
}


int
mapi_page_walk(const mapi_page_tree_t *tree, const unsigned char *prefix,
    size_t len, mapi_page_walk_pt call, void *data)
{
    int               rc;
    mapi_page_walk_t  w;

    if (tree->meta.root == MAPI_PAGE_NONE) {
        return MAPI_OK;
    }

    w.tree = tree;
    w.prefix = prefix;
    w.len = len;
    w.call = call;
    w.data = data;
    w.pages = 0;

    rc = mapi_page_visit(&w, tree->meta.root, 0, 1);

    return (rc == MAPI_DECLINED) ? MAPI_OK : rc;
}


/*
 * MAPI_DECLINED: the keys have passed the prefix, all is done.
 */

static int
mapi_page_visit(mapi_page_walk_t *w, uint64_t no, unsigned depth,
    unsigned first)
{
    int               rc;
    unsigned          i;
    mapi_str_t        key, value;
    mapi_page_t       page;
    mapi_page_key_t   k;
    mapi_page_node_t  node;

    if (depth == MAPI_PAGE_DEPTH || w->pages++ > w->tree->meta.last
        || mapi_page_open(w->tree, no, &page) != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    i = 0;

    mapi_page_key(&k, w->prefix, w->len);

    if (first
        && mapi_page_search(w->tree, &page, &k, &i, &node) == MAPI_ERROR)
    {
        return MAPI_ERROR;
    }

    for ( /* void */ ; i < page.n; i++) {

        if (mapi_page_node(w->tree, &page, i, &node) != MAPI_OK) {
            return MAPI_ERROR;
        }

        if (!page.leaf) {
            rc = mapi_page_visit(w, node.child, depth + 1, first);

            if (rc != MAPI_OK) {
                return rc;
            }

            first = 0;
            continue;
        }

        if (node.key_len < w->len
            || memcmp(node.key, w->prefix, w->len) != 0)
        {
            return MAPI_DECLINED;
        }

        if (mapi_page_value(w->tree, &node, &value) != MAPI_OK) {
            return MAPI_ERROR;
        }

        key.data = (unsigned char *) node.key;
        key.len = node.key_len;

        rc = w->call(w->data, &key, &value);

        if (rc != MAPI_OK) {
            return (rc == MAPI_DECLINED) ? MAPI_ERROR : rc;
        }
    }

    return MAPI_OK;
}
