
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"


static size_t ngx_mapi_debug_char(u_char *p, size_t len);
static void ngx_mapi_debug_clean(ngx_mapi_tree_t *tree, ngx_str_t *dst,
    ngx_str_t *src);


ngx_mapi_node_t *
ngx_mapi_node(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    ngx_mapi_node_kind_e kind, char *name, char *label)
{
    ngx_mapi_node_t  *node;

    if (tree->failed) {
        return NULL;
    }

    node = ngx_pcalloc(tree->request->pool, sizeof(ngx_mapi_node_t));
    if (node == NULL) {
        tree->failed = 1;
        return NULL;
    }

    node->kind = kind;
    node->name = name;
    node->label = label;

    if (parent == NULL) {
        return node;
    }

    if (parent->last) {
        parent->last->next = node;

    } else {
        parent->first = node;
    }

    parent->last = node;

    return node;
}


void
ngx_mapi_node_text(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent, char *name,
    char *label, ngx_str_t *text)
{
    ngx_mapi_node_t  *node;

    node = ngx_mapi_node(tree, parent, ngx_mapi_node_string, name, label);

    if (node && text && text->data) {
        ngx_mapi_debug_clean(tree, &node->text, text);
    }
}


void
ngx_mapi_node_set(ngx_mapi_tree_t *tree, ngx_mapi_node_t *node,
    ngx_str_t *text)
{
    ngx_mapi_debug_clean(tree, &node->text, text);
}


void
ngx_mapi_node_print(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    char *name, char *label, const char *fmt, ...)
{
    u_char     buf[NGX_MAPI_DEBUG_TEXT];
    va_list    args;
    ngx_str_t  text;

    va_start(args, fmt);
    text.len = ngx_vslprintf(buf, buf + sizeof(buf), fmt, args) - buf;
    va_end(args);

    text.data = buf;

    ngx_mapi_node_text(tree, parent, name, label, &text);
}


void
ngx_mapi_node_guid(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent, char *name,
    char *label, mapi_guid_t *guid)
{
    u_char     buf[MAPI_GUID_LEN];
    ngx_str_t  text;

    text.data = buf;
    text.len = mapi_guid_format(buf, guid) - buf;

    ngx_mapi_node_text(tree, parent, name, label, &text);
}


void
ngx_mapi_node_scheme(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    char *name, char *label, mapi_auth_scheme_e scheme)
{
    ngx_str_t          text;
    const mapi_str_t  *word;

    word = mapi_auth_name(scheme);

    text.len = word->len;
    text.data = word->data;

    ngx_mapi_node_text(tree, parent, name, label, &text);
}


void
ngx_mapi_node_value(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    ngx_mapi_node_kind_e kind, char *name, char *label, int64_t number)
{
    ngx_mapi_node_t  *node;

    node = ngx_mapi_node(tree, parent, kind, name, label);

    if (node) {
        node->number = number;
    }
}


ngx_mapi_node_t *
ngx_mapi_node_find(ngx_mapi_node_t *parent, char *name)
{
    ngx_mapi_node_t  *node;

    for (node = parent ? parent->first : NULL; node; node = node->next) {
        if (ngx_strcmp(node->name, name) == 0) {
            return node;
        }
    }

    return NULL;
}


/*
 * Bytes of the character at p that may be shown as they are; 0 if the first
 * one is to be escaped: a control character (of C1, too), what is no UTF-8,
 * and the signs by which a text could write itself backwards.
 */

static size_t
ngx_mapi_debug_char(u_char *p, size_t len)
{
    size_t    n;
    uint32_t  c;

    if (*p < 0x80) {
        return *p >= 0x20 && *p != 0x7f;
    }

    n = mapi_utf8(p, len);

    if (n == 2) {
        c = (uint32_t) (p[0] & 0x1f) << 6 | (p[1] & 0x3f);

        return (c < 0xa0 || c == 0x061c) ? 0 : n;
    }

    if (n == 3) {
        c = (uint32_t) (p[0] & 0x0f) << 12 | (uint32_t) (p[1] & 0x3f) << 6
            | (p[2] & 0x3f);

        if (c == 0x200e || c == 0x200f
            || (c >= 0x2028 && c <= 0x202e)
            || (c >= 0x2066 && c <= 0x2069)
            || c == 0xfeff || c >= 0xfffe)
        {
            return 0;
        }
    }

    return n;
}


static void
ngx_mapi_debug_clean(ngx_mapi_tree_t *tree, ngx_str_t *dst, ngx_str_t *src)
{
    u_char  *p, *s, *last;
    size_t   len, n;

    len = ngx_min(src->len, NGX_MAPI_DEBUG_TEXT);

    /* a byte takes four at most; then what has been cut is told */

    p = ngx_pnalloc(tree->request->pool,
                    4 * len + sizeof(" (of  bytes)") + NGX_SIZE_T_LEN);
    if (p == NULL) {
        tree->failed = 1;
        return;
    }

    dst->data = p;
    last = src->data + len;

    for (s = src->data; s < last; /* void */ ) {
        n = ngx_mapi_debug_char(s, last - s);

        if (n) {
            p = ngx_cpymem(p, s, n);
            s += n;
            continue;
        }

        p = ngx_sprintf(p, "\\x%02xi", (ngx_uint_t) *s++);
    }

    if (len < src->len) {
        p = ngx_sprintf(p, " (of %uz bytes)", src->len);
    }

    dst->len = p - dst->data;
}
