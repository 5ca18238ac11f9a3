
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_identity.h"


/* a name as it was measured: where its marks are, and how many of each */
typedef struct {
    size_t  at;           /* of the first @ */
    size_t  backslash;    /* of the first one */
    size_t  nat;
    size_t  nbackslash;
    size_t  nblank;
} mapi_identity_marks_t;


/*
 * Top bits of the bytes that are no letter, digit or sign of ASCII like all
 * others: up to the blank, "@", "\", 0x7f and above.
 */

static inline uint64_t
mapi_identity_special(uint64_t v)
{
    uint64_t  low;

    low = v & mapi_bytes(0x7f);

    return (v | ~(low + mapi_bytes(0x7f - ' '))
            | ~((low ^ mapi_bytes('@')) + mapi_bytes(0x7f))
            | ~((low ^ mapi_bytes('\\')) + mapi_bytes(0x7f))
            | (low + mapi_bytes(0x80 - 0x7f)))
           & mapi_bytes(0x80);
}


/* what holds for every kind of identity */
static int
mapi_identity_scan(mapi_identity_marks_t *m, const unsigned char *p,
    size_t len)
{
    size_t    i, n;
    uint64_t  marks;

    memset(m, 0, sizeof(mapi_identity_marks_t));

    if (len == 0 || len > MAPI_IDENTITY_MAX) {
        return MAPI_ERROR;
    }

    for (i = 0; i < len; i += n) {
        marks = mapi_identity_special(mapi_load_text(p + i, len - i));

        if (marks == 0) {
            n = 8;
            continue;
        }

        i += mapi_first_mark(marks);
        n = 1;

        if (p[i] >= 0x80) {
            n = mapi_utf8(p + i, len - i);

            if (n == 0) {
                return MAPI_ERROR;
            }

        } else if (p[i] < 0x20 || p[i] == 0x7f) {
            return MAPI_ERROR;

        } else if (p[i] == ' ') {
            m->nblank++;

        } else if (p[i] == '@' && m->nat++ == 0) {
            m->at = i;

        } else if (p[i] == '\\' && m->nbackslash++ == 0) {
            m->backslash = i;
        }
    }

    return MAPI_OK;
}


static int
mapi_identity_error(mapi_identity_t *id)
{
    memset(id, 0, sizeof(mapi_identity_t));

    return MAPI_ERROR;
}


/* the name goes to buf in lower case; buf may be p */
static int
mapi_identity_read_name(mapi_identity_t *id, mapi_identity_kind_e kind,
    const unsigned char *p, size_t len, unsigned char *buf)
{
    memset(id, 0, sizeof(mapi_identity_t));

    id->kind = kind;
    id->text.data = buf;
    id->text.len = mapi_strlow(buf, p, len) - buf;

    return MAPI_OK;
}


/*
 * GUID or GUID@domain.  buf may be p: the domain moves first, by one byte
 * towards the front, and the GUID's text takes just the room it had.
 */

static int
mapi_identity_read_guid(mapi_identity_t *id, const mapi_identity_marks_t *m,
    const unsigned char *p, size_t len, unsigned char *buf)
{
    size_t       n;
    mapi_guid_t  guid;

    if (len < MAPI_GUID_LEN
        || mapi_guid_parse(&guid, p, MAPI_GUID_LEN) != MAPI_OK)
    {
        return MAPI_DECLINED;
    }

    if (len > MAPI_GUID_LEN
        && (m->nat != 1 || m->at != MAPI_GUID_LEN || m->nblank
            || len == MAPI_GUID_LEN + 1))
    {
        return MAPI_DECLINED;
    }

    memset(id, 0, sizeof(mapi_identity_t));

    n = len > MAPI_GUID_LEN ? len - MAPI_GUID_LEN - 1 : 0;

    if (n) {
        memmove(buf + MAPI_GUID_LEN, p + MAPI_GUID_LEN + 1, n);
    }

    (void) mapi_guid_lower(buf, p);

    id->kind = mapi_identity_guid;
    id->guid = guid;
    id->text.data = buf;
    id->text.len = MAPI_GUID_LEN;
    id->domain.data = buf + MAPI_GUID_LEN;
    id->domain.len = n;

    return MAPI_OK;
}


static int
mapi_identity_read_smtp(mapi_identity_t *id, const mapi_identity_marks_t *m,
    const unsigned char *p, size_t len, unsigned char *buf)
{
    if (m->nat != 1 || m->at == 0 || m->at == len - 1 || m->nblank) {
        return mapi_identity_error(id);
    }

    return mapi_identity_read_name(id, mapi_identity_smtp, p, len, buf);
}


int
mapi_identity_parse_mailbox_id(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf)
{
    mapi_identity_marks_t  m;

    if (mapi_identity_scan(&m, p, len) != MAPI_OK
        || len == MAPI_GUID_LEN
        || mapi_identity_read_guid(id, &m, p, len, buf) != MAPI_OK)
    {
        return mapi_identity_error(id);
    }

    return MAPI_OK;
}


int
mapi_identity_parse_smtp(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf)
{
    mapi_identity_marks_t  m;

    if (mapi_identity_scan(&m, p, len) != MAPI_OK) {
        return mapi_identity_error(id);
    }

    return mapi_identity_read_smtp(id, &m, p, len, buf);
}


/* S-1- and then digits and hyphens only, before the @ */
static int
mapi_identity_is_sid(const mapi_identity_marks_t *m, const unsigned char *p)
{
    size_t  i;

    if (m->nat != 1 || m->at < 5 || mapi_tolower(p[0]) != 's'
        || p[1] != '-' || p[2] != '1' || p[3] != '-')
    {
        return 0;
    }

    for (i = 4; i < m->at; i++) {
        if (p[i] != '-' && (p[i] < '0' || p[i] > '9')) {
            return 0;
        }
    }

    return 1;
}


int
mapi_identity_parse_anchor(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf)
{
    mapi_identity_marks_t  m;

    if (mapi_identity_scan(&m, p, len) != MAPI_OK
        || mapi_identity_is_sid(&m, p))
    {
        return mapi_identity_error(id);
    }

    if (mapi_identity_read_guid(id, &m, p, len, buf) == MAPI_OK) {
        return MAPI_OK;
    }

    return mapi_identity_read_smtp(id, &m, p, len, buf);
}


static int
mapi_identity_read_user(mapi_identity_t *id, const mapi_identity_marks_t *m,
    const unsigned char *p, size_t len, unsigned char *buf)
{
    size_t                mark;
    mapi_identity_kind_e  kind;

    if (p[0] == ' ' || p[len - 1] == ' ') {
        return mapi_identity_error(id);
    }

    kind = mapi_identity_account;

    if (m->nbackslash == 0 && m->nat == 0) {
        return mapi_identity_read_name(id, kind, p, len, buf);
    }

    if (m->nbackslash) {
        mark = m->backslash;

        if (m->nbackslash != 1) {
            return mapi_identity_error(id);
        }

    } else {
        kind = mapi_identity_upn;
        mark = m->at;

        if (m->nat != 1) {
            return mapi_identity_error(id);
        }
    }

    if (mark == 0 || mark == len - 1) {
        return mapi_identity_error(id);
    }

    return mapi_identity_read_name(id, kind, p, len, buf);
}


int
mapi_identity_parse_user(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf)
{
    mapi_identity_marks_t  m;

    if (mapi_identity_scan(&m, p, len) != MAPI_OK) {
        return mapi_identity_error(id);
    }

    return mapi_identity_read_user(id, &m, p, len, buf);
}


int
mapi_identity_parse_any(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf)
{
    mapi_identity_marks_t  m;

    if (mapi_identity_scan(&m, p, len) != MAPI_OK) {
        return mapi_identity_error(id);
    }

    if (mapi_identity_read_guid(id, &m, p, len, buf) == MAPI_OK) {
        return MAPI_OK;
    }

    return mapi_identity_read_user(id, &m, p, len, buf);
}
