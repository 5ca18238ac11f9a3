
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_NAMES_H_INCLUDED_
#define _NGX_MAPI_NAMES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Names of headers that are looked for in a whole list.  "list" ends with an
 * empty one, those that come most often stand in front.  Names have 4 to 31
 * letters, and differ in their length or in the two behind "X-"; the rest is
 * made of them, once, and is few lines of the processor's cache.
 */
typedef struct {
    ngx_str_t                  name;
    ngx_uint_t                 kind;           /* not 0 */
} ngx_mapi_name_t;

typedef struct {
    u_char                     len;
    u_char                     kind;
    uint16_t                   text;           /* where the name begins */
} ngx_mapi_name_entry_t;

typedef struct {
    ngx_mapi_name_t           *list;
    uint32_t                   factor;
    uint64_t                   may[8];         /* by nginx's hash of the name */
    u_char                     index[128];     /* of entries, from 1; 0: none */
    ngx_mapi_name_entry_t      entries[32];
    u_char                     text[512];
} ngx_mapi_names_t;

#define ngx_mapi_names(list)  { list, 0, { 0 }, { 0 }, { { 0, 0, 0 } }, { 0 } }

ngx_int_t ngx_mapi_names_init(ngx_mapi_names_t *names, ngx_log_t *log);


/*
 * Of the hash that nginx has made for its own tables of headers: most headers
 * are none of these, and need not be looked at.  A "-" counts as "_" too.
 */

#define ngx_mapi_names_bit(hash)  ((uint32_t) (hash) * 0x9e3779b1 >> 23)

#define ngx_mapi_names_may(names, hash)                                       \
    ((names)->may[ngx_mapi_names_bit(hash) >> 6]                              \
     >> (ngx_mapi_names_bit(hash) & 63) & 1)

#define ngx_mapi_names_set(names, hash)                                       \
    (names)->may[ngx_mapi_names_bit(hash) >> 6] |=                            \
        (uint64_t) 1 << (ngx_mapi_names_bit(hash) & 63)


static ngx_inline ngx_uint_t
ngx_mapi_names_place(ngx_mapi_names_t *names, u_char *p, size_t len)
{
    uint32_t  key;

    key = (uint32_t) len << 16 | (uint32_t) (p[3] | 0x20) << 8 | p[2] | 0x20;

    return key * names->factor >> 25;
}


/* the only name that a header may have, still to be compared; or NULL */

static ngx_inline ngx_mapi_name_entry_t *
ngx_mapi_names_guess(ngx_mapi_names_t *names, ngx_table_elt_t *h)
{
    ngx_uint_t              i;
    ngx_mapi_name_entry_t  *entry;

    if (h->key.len - 4 > 31 - 4) {
        return NULL;
    }

    i = names->index[ngx_mapi_names_place(names, h->key.data, h->key.len)];

    if (i == 0) {
        return NULL;
    }

    entry = &names->entries[i - 1];

    return entry->len == h->key.len ? entry : NULL;
}


#endif /* _NGX_MAPI_NAMES_H_INCLUDED_ */
