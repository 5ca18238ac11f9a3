
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_directory_format.h"
#include "mapi_siphash.h"


/* fixed: the hashes are stored, and colliding names are harmless */
static const mapi_siphash_key_t  mapi_directory_hash_secret = {
    0x6d6170692d646972ULL, 0x6563746f72792d31ULL
};


size_t
mapi_directory_key(unsigned char *key, mapi_directory_table_e table,
    const mapi_str_t *name)
{
    if (name->len == 0 || name->len > MAPI_DIRECTORY_NAME_MAX) {
        return 0;
    }

    key[0] = (unsigned char) table;
    (void) mapi_strlow(key + 1, name->data, name->len);

    return name->len + 1;
}


size_t
mapi_directory_guid_key(unsigned char *key, mapi_directory_table_e table,
    const mapi_guid_t *guid)
{
    key[0] = (unsigned char) table;
    memcpy(key + 1, guid->b, sizeof(guid->b));

    return 1 + sizeof(guid->b);
}


uint64_t
mapi_directory_hash(unsigned space, const mapi_str_t *text)
{
    unsigned char   c;
    mapi_siphash_t  s;

    c = (unsigned char) space;

    mapi_siphash_init(&s, &mapi_directory_hash_secret);
    mapi_siphash_update(&s, &c, 1);
    mapi_siphash_update(&s, text->data, text->len);

    return mapi_siphash_final(&s);
}


/*
 * The highest byte first: sorted numbers are sorted keys.
 */

size_t
mapi_directory_hash_key(unsigned char *key, uint64_t hash)
{
    unsigned  i;

    key[0] = (unsigned char) mapi_table_name;

    for (i = 0; i < 8; i++) {
        key[1 + i] = (unsigned char) (hash >> (56 - 8 * i));
    }

    return MAPI_DIRECTORY_HASH_KEY;
}


unsigned char *
mapi_directory_text_put(unsigned char *p, unsigned kind,
    const mapi_str_t *text)
{
    size_t  n;

    *p++ = (unsigned char) kind;

    for (n = text->len; n > 0x7f; n >>= 7) {
        *p++ = (unsigned char) (n | 0x80);
    }

    *p++ = (unsigned char) n;

    if (text->len) {
        memcpy(p, text->data, text->len);
    }

    return p + text->len;
}


int
mapi_directory_text_next(mapi_str_t *texts, unsigned *kind, mapi_str_t *text)
{
    size_t          n;
    unsigned        shift;
    unsigned char  *p, *last;

    if (texts->len == 0) {
        return MAPI_DECLINED;
    }

    p = texts->data;
    last = p + texts->len;

    *kind = *p++;
    n = 0;

    for (shift = 0; /* void */ ; shift += 7) {

        if (p == last || shift > 14) {
            return MAPI_ERROR;
        }

        n |= (size_t) (*p & 0x7f) << shift;

        if ((*p++ & 0x80) == 0) {
            break;
        }
    }

    if (n > (size_t) (last - p)) {
        return MAPI_ERROR;
    }

    text->data = p;
    text->len = n;

    texts->data = p + n;
    texts->len = last - texts->data;

    return MAPI_OK;
}


int
mapi_directory_record_read(mapi_directory_record_t *record,
    const mapi_str_t *value)
{
    size_t          need;
    unsigned char  *p;

    if (value->len < 1) {
        return MAPI_ERROR;
    }

    p = value->data;
    record->flags = *p++;

    need = (record->flags & MAPI_MAILBOX_ARCHIVE) ? 1 + 48 : 1 + 16;

    if (value->len < need) {
        return MAPI_ERROR;
    }

    memcpy(record->database.b, p, 16);
    p += 16;

    if (record->flags & MAPI_MAILBOX_ARCHIVE) {
        memcpy(record->archive.b, p, 16);
        memcpy(record->archive_database.b, p + 16, 16);
        p += 32;
    }

    record->texts.data = p;
    record->texts.len = value->len - need;

    return MAPI_OK;
}


int
mapi_directory_database_read(mapi_database_t *database,
    const mapi_str_t *value)
{
    int         rc;
    unsigned    kind;
    mapi_str_t  texts, text;

    if (value->len < 1) {
        return MAPI_ERROR;
    }

    memset(&database->name, 0, sizeof(mapi_str_t));
    memset(&database->server, 0, sizeof(mapi_str_t));
    memset(&database->copies, 0, sizeof(mapi_str_t));

    texts.data = value->data + 1;
    texts.len = value->len - 1;

    while ((rc = mapi_directory_text_next(&texts, &kind, &text)) == MAPI_OK) {

        switch (kind) {

        case mapi_text_name:
            database->name = text;
            break;

        case mapi_text_server:
            database->server = text;
            break;

        case mapi_text_copies:
            database->copies = text;
            break;
        }
    }

    return (rc == MAPI_ERROR) ? MAPI_ERROR : MAPI_OK;
}


int
mapi_directory_server_read(mapi_server_t *server, const mapi_str_t *value)
{
    int         rc;
    unsigned    kind;
    mapi_str_t  texts, text;

    memset(server, 0, sizeof(mapi_server_t));

    if (value->len < 1 || value->data[0] > mapi_server_offline) {
        return MAPI_ERROR;
    }

    server->state = (mapi_server_state_e) value->data[0];

    texts.data = value->data + 1;
    texts.len = value->len - 1;

    while ((rc = mapi_directory_text_next(&texts, &kind, &text)) == MAPI_OK) {

        switch (kind) {

        case mapi_text_name:
            server->name = text;
            break;

        case mapi_text_fqdn:
            server->fqdn = text;
            break;

        case mapi_text_addresses:
            server->addresses = text;
            break;

        case mapi_text_version:
            server->version = text;
            break;
        }
    }

    return (rc == MAPI_ERROR) ? MAPI_ERROR : MAPI_OK;
}


int
mapi_directory_state_read(mapi_directory_state_t *state,
    const mapi_str_t *value)
{
    if (value->len < MAPI_STATE_SIZE
        || value->data[0] > mapi_server_offline)
    {
        return MAPI_ERROR;
    }

    state->state = (mapi_server_state_e) value->data[0];
    memcpy(&state->deadline, value->data + 1, 8);
    memcpy(&state->since, value->data + 9, 8);

    return MAPI_OK;
}


void
mapi_directory_state_write(unsigned char *p,
    const mapi_directory_state_t *state)
{
    p[0] = (unsigned char) state->state;
    memcpy(p + 1, &state->deadline, 8);
    memcpy(p + 9, &state->since, 8);
}


mapi_server_state_e
mapi_directory_state_at(const mapi_directory_state_t *state, time_t now)
{
    if (state->state == mapi_server_draining && state->deadline != 0
        && (int64_t) now >= state->deadline)
    {
        return mapi_server_offline;
    }

    return state->state;
}


int
mapi_directory_meta_read(mapi_directory_meta_t *meta,
    const mapi_str_t *value)
{
    if (value->len < offsetof(mapi_directory_meta_t, uuid)
        || memcmp(value->data, MAPI_DIRECTORY_MAGIC, 8) != 0)
    {
        return MAPI_ERROR;
    }

    memset(meta, 0, sizeof(mapi_directory_meta_t));
    memcpy(meta, value->data, value->len < sizeof(mapi_directory_meta_t)
                              ? value->len : sizeof(mapi_directory_meta_t));

    if (meta->format != MAPI_DIRECTORY_FORMAT) {
        return MAPI_DECLINED;
    }

    return (value->len < sizeof(mapi_directory_meta_t)) ? MAPI_ERROR : MAPI_OK;
}


int
mapi_directory_has_name(const mapi_str_t *all, unsigned space,
    const mapi_str_t *text)
{
    unsigned    kind, match;
    mapi_str_t  texts, t;

    texts = *all;

    while (mapi_directory_text_next(&texts, &kind, &t) == MAPI_OK) {

        switch (space) {

        case MAPI_NAME_SMTP:
            match = (kind == mapi_text_smtp || kind == mapi_text_smtp_upn
                     || kind == mapi_text_address);
            break;

        case MAPI_NAME_UPN:
            match = (kind == mapi_text_upn || kind == mapi_text_smtp_upn);
            break;

        default:
            match = (kind == mapi_text_account);
            break;
        }

        if (match && mapi_str_caseeq(&t, text)) {
            return 1;
        }
    }

    return 0;
}


int
mapi_directory_list_next(mapi_str_t *list, mapi_str_t *word)
{
    unsigned char  *p;

    if (list->len == 0) {
        return MAPI_DECLINED;
    }

    p = memchr(list->data, '\0', list->len);

    if (p == NULL) {
        return MAPI_DECLINED;
    }

    word->data = list->data;
    word->len = p - list->data;

    list->len -= word->len + 1;
    list->data = p + 1;

    return MAPI_OK;
}
