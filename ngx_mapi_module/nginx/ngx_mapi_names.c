
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_names.h"


static void ngx_mapi_names_note(ngx_mapi_names_t *names, ngx_str_t *name);
static ngx_int_t ngx_mapi_names_spread(ngx_mapi_names_t *names);


ngx_int_t
ngx_mapi_names_init(ngx_mapi_names_t *names, ngx_log_t *log)
{
    size_t                  text;
    ngx_uint_t              i;
    ngx_mapi_name_t        *name;
    ngx_mapi_name_entry_t  *entry;

    text = 0;
    entry = names->entries;

    for (name = names->list; name->name.len; name++, entry++) {

        if (name->name.len < 4 || name->name.len > 31
            || text + name->name.len > sizeof(names->text)
            || entry == names->entries + sizeof(names->entries)
                                         / sizeof(ngx_mapi_name_entry_t))
        {
            goto failed;
        }

        ngx_mapi_names_note(names, &name->name);

        entry->len = (u_char) name->name.len;
        entry->kind = (u_char) name->kind;
        entry->text = (uint16_t) text;

        ngx_memcpy(names->text + text, name->name.data, name->name.len);
        text += name->name.len;
    }

    /* the first factor that gives each of them a place of its own */

    for (i = 0; i < 100000; i++) {
        names->factor = (uint32_t) (0x9e3779b1 + 2 * i);

        if (ngx_mapi_names_spread(names) == NGX_OK) {
            return NGX_OK;
        }
    }

failed:

    ngx_log_error(NGX_LOG_EMERG, log, 0,
                  "mapi: a name of a header is too short or too long, or they "
                  "are too many or too much alike");

    return NGX_ERROR;
}


/*
 * With "-" and "_" in all places where there is a "-".  A "_" that is not
 * allowed and passes all the same ("ignore_invalid_headers off") has no part in
 * the hash that nginx makes of a line of HTTP/1.
 */

static void
ngx_mapi_names_note(ngx_mapi_names_t *names, ngx_str_t *name)
{
    u_char      c;
    size_t      i;
    uint32_t    dashes, chosen;
    ngx_uint_t  hash, without;

    for (dashes = 0, i = 0; i < name->len; i++) {
        dashes |= (uint32_t) (name->data[i] == '-') << i;
    }

    /* every subset of the dashes, the empty one last */

    chosen = dashes;

    for ( ;; ) {
        for (hash = 0, without = 0, i = 0; i < name->len; i++) {

            if (chosen >> i & 1) {
                hash = ngx_hash(hash, '_');
                continue;
            }

            c = ngx_tolower(name->data[i]);
            hash = ngx_hash(hash, c);
            without = ngx_hash(without, c);
        }

        ngx_mapi_names_set(names, hash);
        ngx_mapi_names_set(names, without);

        if (chosen == 0) {
            return;
        }

        chosen = (chosen - 1) & dashes;
    }
}


static ngx_int_t
ngx_mapi_names_spread(ngx_mapi_names_t *names)
{
    u_char           *index;
    ngx_mapi_name_t  *name;

    ngx_memzero(names->index, sizeof(names->index));

    for (name = names->list; name->name.len; name++) {

        index = names->index + ngx_mapi_names_place(names, name->name.data,
                                                    name->name.len);
        if (*index) {
            return NGX_DECLINED;
        }

        *index = (u_char) (name - names->list + 1);
    }

    return NGX_OK;
}
