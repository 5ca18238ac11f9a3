
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_request.h"


/* room for the longest name below; a longer name is none of them */
#define MAPI_REQUEST_NAME_MAX  29


typedef enum {
    mapi_param_other = 0,
    mapi_param_mailbox,
    mapi_param_smtp,
    mapi_param_caller
} mapi_param_e;


mapi_endpoint_e
mapi_request_endpoint(const unsigned char *path, size_t len)
{
    size_t      i;
    mapi_str_t  name;

    static const struct {
        mapi_str_t       path;
        mapi_endpoint_e  endpoint;
    } paths[] = {
        { mapi_string("/mapi/emsmdb"), mapi_endpoint_emsmdb },
        { mapi_string("/mapi/emsmdb/"), mapi_endpoint_emsmdb },
        { mapi_string("/mapi/nspi"), mapi_endpoint_nspi },
        { mapi_string("/mapi/nspi/"), mapi_endpoint_nspi },
        { mapi_string("/mapi/healthcheck.htm"), mapi_endpoint_health }
    };

#define mapi_request_is(p, len, s)                                            \
    ((len) == sizeof(s) - 1 && memcmp(p, s, sizeof(s) - 1) == 0)

    /* as Outlook writes them */

    if (mapi_request_is(path, len, "/mapi/emsmdb/")) {
        return mapi_endpoint_emsmdb;
    }

    if (mapi_request_is(path, len, "/mapi/nspi/")) {
        return mapi_endpoint_nspi;
    }

    name.len = len;
    name.data = (unsigned char *) path;

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (len == paths[i].path.len
            && mapi_str_caseeq(&name, &paths[i].path))
        {
            return paths[i].endpoint;
        }
    }

    return mapi_endpoint_none;
}


/*
 * Percent-decodes p to dst.  MAPI_ERROR if an escape is broken or the result
 * is longer than size.
 */

static int
mapi_request_decode(unsigned char *dst, size_t size, const unsigned char *p,
    size_t len, size_t *n)
{
    int                   hi, lo;
    size_t                out, run;
    const unsigned char  *end, *escape;

    end = p + len;

    for (out = 0; p < end; p += 3) {
        escape = memchr(p, '%', end - p);
        run = (escape ? escape : end) - p;

        if (run > size - out) {
            return MAPI_ERROR;
        }

        memcpy(dst + out, p, run);
        out += run;

        if (escape == NULL) {
            break;
        }

        p = escape;

        if (end - p < 3 || out == size) {
            return MAPI_ERROR;
        }

        hi = mapi_hex(p[1]);
        lo = mapi_hex(p[2]);

        if (hi < 0 || lo < 0) {
            return MAPI_ERROR;
        }

        dst[out++] = (unsigned char) (hi << 4 | lo);
    }

    *n = out;

    return MAPI_OK;
}


static mapi_param_e
mapi_request_param(const unsigned char *p, size_t len)
{
    size_t         i;
    mapi_str_t     name;
    unsigned char  buf[MAPI_REQUEST_NAME_MAX];

    static const struct {
        mapi_str_t    name;
        mapi_param_e  param;
    } params[] = {
        { mapi_string("MailboxId"), mapi_param_mailbox },
        { mapi_string("smtpAddress"), mapi_param_smtp },
        { mapi_string("useMailboxOfAuthenticatedUser"), mapi_param_caller }
    };

    name.len = len;
    name.data = (unsigned char *) p;

    if (memchr(p, '%', len)) {
        name.data = buf;

        if (mapi_request_decode(buf, sizeof(buf), p, len, &name.len)
            != MAPI_OK)
        {
            return mapi_param_other;
        }
    }

    for (i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        if (name.len == params[i].name.len
            && mapi_str_caseeq(&name, &params[i].name))
        {
            return params[i].param;
        }
    }

    return mapi_param_other;
}


/* what .NET's bool.TryParse takes for true: it trims blanks and zeros */
static int
mapi_request_true(const unsigned char *p, size_t len)
{
    mapi_str_t     value;
    unsigned char  buf[64];

    static const mapi_str_t  yes = mapi_string("true");

    if (mapi_request_decode(buf, sizeof(buf), p, len, &value.len)
        != MAPI_OK)
    {
        return 0;
    }

#define mapi_request_blank(c)                                                 \
    ((c) == ' ' || ((c) >= 0x09 && (c) <= 0x0d) || (c) == 0)

    value.data = buf;

    while (value.len && mapi_request_blank(value.data[0])) {
        value.data++;
        value.len--;
    }

    while (value.len && mapi_request_blank(value.data[value.len - 1])) {
        value.len--;
    }

    return mapi_str_caseeq(&value, &yes);
}


/* top bits of the bytes from 0x00 to "&", of "=" and of 0x7f, no others */
static inline uint64_t
mapi_request_marks(uint64_t v)
{
    uint64_t  low;

    low = v & mapi_bytes(0x7f);

    return (~(low + mapi_bytes(0x7f - '&'))
            | ~((low ^ mapi_bytes('=')) + mapi_bytes(0x7f))
            | (low + mapi_bytes(0x80 - 0x7f)))
           & ~v & mapi_bytes(0x80);
}


/* to the next byte that may mean something: nearly all mean nothing */
static inline const unsigned char *
mapi_request_skip(const unsigned char *p, const unsigned char *end)
{
    uint64_t  marks;

    while (p < end) {
        marks = mapi_request_marks(mapi_load_text(p, end - p));

        if (marks) {
            return p + mapi_first_mark(marks);
        }

        if (end - p <= 8) {
            break;
        }

        p += 8;
    }

    return end;
}


/* the query's parameters that matter, undecoded, and how often they stood */
typedef struct {
    mapi_str_t  value[4];
    unsigned    count[4];
} mapi_request_params_t;


static int
mapi_request_split(mapi_request_params_t *params, const unsigned char *p,
    size_t len)
{
    mapi_param_e          param;
    const unsigned char  *end, *name, *equals;

    memset(params, 0, sizeof(mapi_request_params_t));

    end = p + len;

    for (name = p, equals = NULL; /* void */ ; p++) {

        p = mapi_request_skip(p, end);

        if (p < end) {

            if (*p <= ' ' || *p == '#' || *p == 0x7f) {
                return MAPI_ERROR;
            }

            if (*p == '=' && equals == NULL) {
                equals = p;
            }

            if (*p != '&') {
                continue;
            }
        }

        if (equals == NULL) {
            equals = p;
        }

        param = mapi_request_param(name, equals - name);

        params->count[param]++;
        params->value[param].data = (unsigned char *) equals + (equals < p);
        params->value[param].len = p - params->value[param].data;

        if (p == end) {
            return MAPI_OK;
        }

        name = p + 1;
        equals = NULL;
    }
}


/*
 * The query that Outlook sends: MailboxId and nothing else, nothing escaped.
 * MAPI_DECLINED if it is another one, for the general way to read; buf is
 * written all the same, by whole words.
 */

static int
mapi_request_plain(mapi_query_t *q, const unsigned char *query, size_t len,
    unsigned char *buf)
{
    size_t                n;
    uint64_t              v, bad;
    unsigned char        *dst;
    mapi_identity_t      *id;
    const unsigned char  *p, *end;

#define MAPI_REQUEST_PLAIN  (sizeof("MailboxId=") - 1 + MAPI_GUID_LEN + 1)

    if (len <= MAPI_REQUEST_PLAIN
        || len > MAPI_IDENTITY_MAX
        || memcmp(query, "MailboxId=", sizeof("MailboxId=") - 1) != 0
        || query[MAPI_REQUEST_PLAIN - 1] != '@')
    {
        return MAPI_DECLINED;
    }

    /*
     * The domain is of bytes from "'" to "~" without "@": no escape, no other
     * parameter.  A byte above has its own top bit, so that the carry from it
     * decides nothing.
     */

#define mapi_request_not_plain(v)                                             \
    ((v) | ((v) + mapi_bytes(0x80 - 0x7f)) | ~((v) + mapi_bytes(0x7f - '&'))  \
     | ~(((v) ^ mapi_bytes('@')) + mapi_bytes(0x7f)))

    p = query + MAPI_REQUEST_PLAIN;
    end = query + len;
    n = len - MAPI_REQUEST_PLAIN;

    dst = buf + MAPI_GUID_LEN;
    bad = 0;

    for ( /* void */ ; end - p > 8; p += 8, dst += 8) {
        v = mapi_load64(p);
        mapi_store64(dst, v);
        bad |= mapi_request_not_plain(v);
    }

    /* the last eight, or fewer with letters behind them: all in one word */

    v = mapi_load64(end - 8);

    if (n < 8) {
        v = v >> (64 - 8 * n) | mapi_bytes('x') << (8 * n);
        mapi_store64(dst, v);

    } else {
        mapi_store64(buf + MAPI_GUID_LEN + n - 8, v);
    }

    bad |= mapi_request_not_plain(v);

    id = &q->identity;
    query += sizeof("MailboxId=") - 1;

    if ((bad & mapi_bytes(0x80))
        || mapi_guid_parse(&id->guid, query, MAPI_GUID_LEN) != MAPI_OK)
    {
        return MAPI_DECLINED;
    }

    id->kind = mapi_identity_guid;
    id->text.data = buf;
    id->text.len = MAPI_GUID_LEN;
    id->domain.data = mapi_guid_lower(buf, query);
    id->domain.len = n;

    return MAPI_OK;
}


/* not inline: it has much on its stack, and it is seldom needed */
static int mapi_request_general(mapi_query_t *q, const unsigned char *query,
    size_t len, unsigned char *buf) __attribute__((noinline));

static int
mapi_request_general(mapi_query_t *q, const unsigned char *query, size_t len,
    unsigned char *buf)
{
    size_t                  n;
    mapi_str_t             *v;
    unsigned char          *smtp;
    mapi_identity_t         address;
    mapi_request_params_t   params;

    memset(q, 0, sizeof(mapi_query_t));
    memset(&address, 0, sizeof(mapi_identity_t));

    if (mapi_request_split(&params, query, len) != MAPI_OK
        || params.count[mapi_param_mailbox] > 1
        || params.count[mapi_param_smtp] > 1)
    {
        return MAPI_ERROR;
    }

    if (params.count[mapi_param_smtp]) {
        v = &params.value[mapi_param_smtp];
        smtp = buf + MAPI_IDENTITY_MAX;

        if (mapi_request_decode(smtp, MAPI_IDENTITY_MAX, v->data, v->len, &n)
            != MAPI_OK
            || mapi_identity_parse_smtp(&address, smtp, n, smtp) != MAPI_OK)
        {
            return MAPI_ERROR;
        }
    }

    if (params.count[mapi_param_mailbox]) {
        v = &params.value[mapi_param_mailbox];

        if (mapi_request_decode(buf, MAPI_IDENTITY_MAX, v->data, v->len, &n)
            != MAPI_OK)
        {
            return MAPI_ERROR;
        }

        return mapi_identity_parse_mailbox_id(&q->identity, buf, n, buf);
    }

    if (params.count[mapi_param_smtp]) {
        q->identity = address;
        return MAPI_OK;
    }

    /* Exchange joins repeated values with a comma, and that is not true */

    v = &params.value[mapi_param_caller];

    if (params.count[mapi_param_caller] == 1
        && mapi_request_true(v->data, v->len))
    {
        q->caller = 1;
        return MAPI_OK;
    }

    return MAPI_DECLINED;
}


int
mapi_request_query(mapi_query_t *q, const unsigned char *query, size_t len,
    unsigned char *buf)
{
    memset(q, 0, sizeof(mapi_query_t));

    if (len == 0) {
        return MAPI_DECLINED;
    }

    if (mapi_request_plain(q, query, len, buf) == MAPI_OK) {
        return MAPI_OK;
    }

    return mapi_request_general(q, query, len, buf);
}
