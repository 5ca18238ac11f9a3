
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
        { mapi_string("/mapi/emsmdb/"), mapi_endpoint_emsmdb },
        { mapi_string("/mapi/emsmdb"), mapi_endpoint_emsmdb },
        { mapi_string("/mapi/nspi/"), mapi_endpoint_nspi },
        { mapi_string("/mapi/nspi"), mapi_endpoint_nspi },
        { mapi_string("/mapi/healthcheck.htm"), mapi_endpoint_health }
    };

    name.len = len;
    name.data = (unsigned char *) path;

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (mapi_str_caseeq(&name, &paths[i].path)) {
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

    name.data = buf;

    if (mapi_request_decode(buf, sizeof(buf), p, len, &name.len) != MAPI_OK) {
        return mapi_param_other;
    }

    for (i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        if (mapi_str_caseeq(&name, &params[i].name)) {
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

        if (p < end) {

            /* nearly all bytes are above those that mean something */

            if (*p > '&' && *p != '=' && *p != 0x7f) {
                continue;
            }

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


#define mapi_request_is_host(c)                                               \
    (((c) >= 'a' && (c) <= 'z') || ((c) >= '-' && (c) <= '9' && (c) != '/')   \
     || ((c) >= 'A' && (c) <= 'Z'))


/*
 * The query that Outlook sends: MailboxId and nothing else, nothing escaped.
 * MAPI_DECLINED if it is another one, for the general way to read.
 */

static int
mapi_request_plain(mapi_query_t *q, const unsigned char *query, size_t len,
    unsigned char *buf)
{
    size_t            i;
    mapi_identity_t  *id;

    static const mapi_str_t  name = mapi_string("MailboxId=");

    if (len <= name.len + MAPI_GUID_LEN + 1
        || len - name.len > MAPI_IDENTITY_MAX
        || memcmp(query, name.data, name.len) != 0)
    {
        return MAPI_DECLINED;
    }

    id = &q->identity;
    query += name.len;
    len -= name.len;

    /* a domain of letters, digits, hyphens and dots, no other sign */

    for (i = MAPI_GUID_LEN + 1; i < len; i++) {
        if (!mapi_request_is_host(query[i])) {
            return MAPI_DECLINED;
        }
    }

    if (query[MAPI_GUID_LEN] != '@'
        || mapi_guid_parse(&id->guid, query, MAPI_GUID_LEN) != MAPI_OK)
    {
        return MAPI_DECLINED;
    }

    /* the only letters of a GUID are hex digits */

    for (i = 0; i < MAPI_GUID_LEN; i++) {
        buf[i] = mapi_tolower(query[i]);
    }

    memcpy(buf + i, query + i + 1, len - i - 1);

    id->kind = mapi_identity_guid;
    id->text.data = buf;
    id->text.len = MAPI_GUID_LEN;
    id->domain.data = buf + MAPI_GUID_LEN;
    id->domain.len = len - MAPI_GUID_LEN - 1;

    return MAPI_OK;
}


int
mapi_request_query(mapi_query_t *q, const unsigned char *query, size_t len,
    unsigned char *buf)
{
    size_t                  n;
    int                     rc;
    mapi_str_t             *v;
    unsigned char          *smtp;
    mapi_identity_t         address;
    mapi_request_params_t   params;

    memset(q, 0, sizeof(mapi_query_t));

    if (len == 0) {
        return MAPI_DECLINED;
    }

    rc = mapi_request_plain(q, query, len, buf);

    if (rc != MAPI_DECLINED) {
        return rc;
    }

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
