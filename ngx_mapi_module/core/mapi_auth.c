
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_auth.h"
#include "mapi_base64.h"


/*
 * How much of a token is searched for an NTLM message.  SPNEGO puts it behind
 * a list of mechanisms, some dozens of bytes; what a Kerberos ticket holds
 * further behind is no message.
 */

#define MAPI_AUTH_SEARCH     (342 * 3)
#define MAPI_AUTH_TOKEN_MAX  65536

/* [MS-NLMP] 2.2.1.3: offsets of the fields in a type 3 message */
#define MAPI_NTLM_TYPE       8
#define MAPI_NTLM_LM         12
#define MAPI_NTLM_NT         20
#define MAPI_NTLM_DOMAIN     28
#define MAPI_NTLM_USER       36
#define MAPI_NTLM_FLAGS      60
#define MAPI_NTLM_OLD        52        /* where the shortest header ends */
#define MAPI_NTLM_FULL       64        /* where the flags end */

#define MAPI_NTLM_UNICODE    0x00000001


/* an NTLM message inside a base64 text that has passed the check */
typedef struct {
    const unsigned char  *text;
    size_t                start;
    size_t                len;
    uint32_t              type;
} mapi_ntlm_t;


typedef struct {
    size_t    offset;
    size_t    len;
} mapi_ntlm_field_t;


#define mapi_auth_blank(c)  ((c) == ' ' || (c) == '\t')


/* letters, digits and "!#$%&'*+-.^_`|~": a bit for each byte */
static int
mapi_auth_tchar(unsigned char c)
{
    static const uint32_t  tchar[8] = {
        0x00000000, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0
    };

    return tchar[c >> 5] >> (c & 0x1f) & 1;
}


/* letters, digits and "-._~+/" */
static int
mapi_auth_token68(unsigned char c)
{
    static const uint32_t  token68[8] = {
        0x00000000, 0x03ffe800, 0x87fffffe, 0x47fffffe, 0, 0, 0, 0
    };

    return token68[c >> 5] >> (c & 0x1f) & 1;
}


static mapi_auth_scheme_e
mapi_auth_scheme(const unsigned char *p, size_t len)
{
    mapi_str_t           name;
    mapi_auth_scheme_e   scheme;

    /* which one it can be; the name decides */

    switch (len) {

    case 4:
        scheme = mapi_auth_ntlm;
        break;

    case 5:
        scheme = mapi_tolower(p[0]) == 'b' ? mapi_auth_basic : mapi_auth_nego2;
        break;

    case 6:
        scheme = mapi_auth_bearer;
        break;

    case 9:
        scheme = mapi_auth_negotiate;
        break;

    default:
        return mapi_auth_other;
    }

    name.len = len;
    name.data = (unsigned char *) p;

    return mapi_str_caseeq(&name, mapi_auth_name(scheme)) ? scheme
                                                          : mapi_auth_other;
}


/*
 * The length of a scheme's name as clients write it, where a blank follows;
 * 0 if it is to be read letter by letter.
 */

static inline size_t
mapi_auth_usual(mapi_auth_scheme_e *scheme, const unsigned char *p, size_t len)
{
#define mapi_auth_begins(s)                                                   \
    (len >= sizeof(s) - 1 && memcmp(p, s, sizeof(s) - 1) == 0)

    switch (p[0]) {

    case 'B':
        if (mapi_auth_begins("Basic ")) {
            *scheme = mapi_auth_basic;
            return sizeof("Basic") - 1;
        }

        if (mapi_auth_begins("Bearer ")) {
            *scheme = mapi_auth_bearer;
            return sizeof("Bearer") - 1;
        }

        break;

    case 'N':
        if (mapi_auth_begins("NTLM ")) {
            *scheme = mapi_auth_ntlm;
            return sizeof("NTLM") - 1;
        }

        if (mapi_auth_begins("Negotiate ")) {
            *scheme = mapi_auth_negotiate;
            return sizeof("Negotiate") - 1;
        }

        break;
    }

    return 0;
}


void
mapi_auth_parse(mapi_auth_t *a, const unsigned char *p, size_t len)
{
    size_t                n;
    const unsigned char  *end, *scheme;

    end = p + len;

    while (p < end && mapi_auth_blank(*p)) {
        p++;
    }

    while (p < end && mapi_auth_blank(end[-1])) {
        end--;
    }

    if (p == end) {
        memset(a, 0, sizeof(mapi_auth_t));
        return;
    }

    n = mapi_auth_usual(&a->scheme, p, end - p);

    if (n) {
        p += n;

    } else {
        scheme = p;

        /* where a blank should follow something else may: a token as well */

        while (p < end && mapi_auth_tchar(*p)) {
            p++;
        }

        a->scheme = mapi_auth_scheme(scheme, p - scheme);
    }

    while (p < end && mapi_auth_blank(*p)) {
        p++;
    }

    a->token.data = (unsigned char *) p;
    a->token.len = end - p;
}


static int
mapi_auth_is_connection_scheme(mapi_auth_scheme_e scheme)
{
    return scheme == mapi_auth_ntlm
           || scheme == mapi_auth_negotiate
           || scheme == mapi_auth_nego2;
}


const mapi_str_t *
mapi_auth_name(mapi_auth_scheme_e scheme)
{
    static const mapi_str_t  names[] = {
        { 0, NULL },
        mapi_string("Basic"),
        mapi_string("Bearer"),
        mapi_string("NTLM"),
        mapi_string("Negotiate"),
        mapi_string("Nego2"),
        mapi_string("Other")
    };

    return &names[scheme];
}


int
mapi_auth_is_connection(const mapi_auth_t *a)
{
    return mapi_auth_is_connection_scheme(a->scheme) && a->token.len;
}


static const unsigned char *
mapi_auth_skip_blanks(const unsigned char *p, const unsigned char *end)
{
    while (p < end && mapi_auth_blank(*p)) {
        p++;
    }

    return p;
}


static const unsigned char *
mapi_auth_skip_token(const unsigned char *p, const unsigned char *end)
{
    while (p < end && mapi_auth_tchar(*p)) {
        p++;
    }

    return p;
}


/*
 * The value of a parameter, from behind its "=" to the end of the element.
 * NULL if it is not well-formed.
 */

static const unsigned char *
mapi_auth_value(const unsigned char *p, const unsigned char *end)
{
    const unsigned char  *value;

    p = mapi_auth_skip_blanks(p, end);

    if (p < end && *p == '"') {

        for (p++; p < end && *p != '"'; p++) {
            if (*p == '\\' && ++p == end) {
                return NULL;
            }
        }

        if (p++ == end) {
            return NULL;
        }

    } else {
        value = p;
        p = mapi_auth_skip_token(p, end);

        if (p == value) {
            return NULL;
        }
    }

    p = mapi_auth_skip_blanks(p, end);

    return (p == end || *p == ',') ? p : NULL;
}


/*
 * What follows a scheme and blanks: its first parameter or a token68, to the
 * end of the element.  NULL if it is neither.
 */

static const unsigned char *
mapi_auth_credentials(const unsigned char *p, const unsigned char *end)
{
    const unsigned char  *q, *value;

    q = mapi_auth_skip_blanks(mapi_auth_skip_token(p, end), end);

    if (q > p && q < end && *q == '=') {
        value = mapi_auth_value(q + 1, end);

        if (value) {
            return value;
        }
    }

    for (q = p; q < end && mapi_auth_token68(*q); q++) { /* void */ }

    if (q == p) {
        return NULL;
    }

    while (q < end && *q == '=') {
        q++;
    }

    q = mapi_auth_skip_blanks(q, end);

    return (q == end || *q == ',') ? q : NULL;
}


/* the answer by the grammar of RFC 9110, 11.6.1; -1 if the value breaks it */
static int
mapi_auth_challenge_strict(const unsigned char *p, const unsigned char *end)
{
    mapi_auth_scheme_e    scheme;
    const unsigned char  *name, *q;

    for ( ;; ) {

        while (p < end && (mapi_auth_blank(*p) || *p == ',')) {
            p++;
        }

        if (p == end) {
            return 0;
        }

        name = p;
        p = mapi_auth_skip_token(p, end);

        if (p == name) {
            return -1;
        }

        scheme = mapi_auth_scheme(name, p - name);
        q = mapi_auth_skip_blanks(p, end);

        if (q == end || *q == ',') {
            p = q;
            continue;
        }

        if (q > p && mapi_auth_is_connection_scheme(scheme)) {
            return 1;
        }

        if (*q == '=') {
            p = mapi_auth_value(q + 1, end);

        } else if (q > p) {
            p = mapi_auth_credentials(q, end);

        } else {
            p = NULL;
        }

        if (p == NULL) {
            return -1;
        }
    }
}


/*
 * Such a scheme anywhere, as a whole word; with a token: blanks and something
 * follow it.
 */
static int
mapi_auth_names_connection(const unsigned char *p, const unsigned char *end,
    int token)
{
    mapi_auth_scheme_e    scheme;
    const unsigned char  *name;

    while (p < end) {

        if (!mapi_auth_tchar(*p)) {
            p++;
            continue;
        }

        name = p;
        p = mapi_auth_skip_token(p, end);
        scheme = mapi_auth_scheme(name, p - name);

        if (!mapi_auth_is_connection_scheme(scheme)) {
            continue;
        }

        if (!token) {
            return 1;
        }

        if (p == end || !mapi_auth_blank(*p)) {
            continue;
        }

        p = mapi_auth_skip_blanks(p, end);

        if (p < end && *p != ',') {
            return 1;
        }
    }

    return 0;
}


int
mapi_auth_challenge_taints(const unsigned char *p, size_t len)
{
    int                   rc;
    const unsigned char  *end;

    end = p + len;

    rc = mapi_auth_challenge_strict(p, end);

    return rc >= 0 ? rc : mapi_auth_names_connection(p, end, 1);
}


int
mapi_auth_challenge_offers(const unsigned char *p, size_t len)
{
    return mapi_auth_names_connection(p, p + len, 0);
}


size_t
mapi_auth_strip_challenges(unsigned char *dst, const unsigned char *p,
    size_t len)
{
    int                   keep, all, is_connection;
    size_t                n;
    unsigned char        *out;
    const unsigned char  *end, *first, *start, *q;

    out = dst;
    keep = 1;
    all = 1;
    first = p;
    end = p + len;

    for ( ;; ) {

        while (p < end && (mapi_auth_blank(*p) || *p == ',')) {
            p++;
        }

        if (p == end) {

            if (all) {
                break;
            }

            return out - dst;
        }

        start = p;
        p = mapi_auth_skip_token(p, end);
        q = mapi_auth_skip_blanks(p, end);

        if (p == start) {
            all = 0;
            break;
        }

        /* a parameter belongs to the challenge before, all else begins one */

        is_connection = mapi_auth_is_connection_scheme(
                            mapi_auth_scheme(start, p - start));

        if (q < end && *q == '=' && !(is_connection && q > p)) {
            p = mapi_auth_value(q + 1, end);

        } else {
            keep = !is_connection;

            if (q < end && *q != ',') {
                p = (q > p) ? mapi_auth_credentials(q, end) : NULL;
            }
        }

        if (p == NULL) {
            all = 0;
            break;
        }

        if (!keep) {
            all = 0;
            continue;
        }

        if (out > dst) {
            *out++ = ',';
        }

        for (q = p; mapi_auth_blank(q[-1]); q--) { /* void */ }

        n = q - start;
        memcpy(out, start, n);
        out += n;
    }

    if (!all && mapi_auth_names_connection(first, end, 0)) {
        return 0;
    }

    if (len) {
        memcpy(dst, first, len);
    }

    return len;
}


int
mapi_auth_basic_user(const mapi_auth_t *a, unsigned char *buf, size_t size,
    mapi_str_t *user)
{
    size_t  n;

    user->len = 0;
    user->data = buf;

    if (a->scheme != mapi_auth_basic
        || mapi_base64_check(a->token.data, a->token.len,
                             MAPI_BASE64_STANDARD, &n)
           != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    user->len = mapi_base64_until(buf, size, a->token.data, n, ':');

    if (user->len < n) {
        return user->len ? MAPI_OK : MAPI_ERROR;
    }

    /* without a colon it may have been a password */

    memset(buf, 0, n < size ? n : size);
    user->len = 0;

    return MAPI_ERROR;
}


static uint32_t
mapi_ntlm_uint(const mapi_ntlm_t *m, size_t offset, size_t size)
{
    size_t         i;
    uint32_t       value;
    unsigned char  b[4];

    mapi_base64_read(b, m->text, m->start + offset, size);

    for (value = 0, i = size; i; i--) {
        value = value << 8 | b[i - 1];
    }

    return value;
}


/* MAPI_DECLINED without such a message, MAPI_ERROR if the token is broken */
static int
mapi_ntlm_find(const mapi_auth_t *a, mapi_ntlm_t *m)
{
    size_t         i, n, len, total;
    unsigned char  buf[MAPI_AUTH_SEARCH];

    static const unsigned char  signature[8] = "NTLMSSP";

    if (!mapi_auth_is_connection(a) || a->token.len > MAPI_AUTH_TOKEN_MAX) {
        return MAPI_DECLINED;
    }

    len = a->token.len;

    if (len > mapi_base64_encoded(sizeof(buf))) {
        len = mapi_base64_encoded(sizeof(buf));
    }

    if (mapi_base64_check(a->token.data, len, MAPI_BASE64_STANDARD, &n)
        != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    mapi_base64_read(buf, a->token.data, 0, n);

    for (i = 0; i + sizeof(signature) <= n; i++) {

        if (buf[i] != 'N' || memcmp(buf + i, signature, sizeof(signature))) {
            continue;
        }

        if (mapi_base64_check(a->token.data, a->token.len,
                              MAPI_BASE64_STANDARD, &total)
            != MAPI_OK)
        {
            return MAPI_ERROR;
        }

        m->text = a->token.data;
        m->start = i;
        m->len = total - i;

        if (m->len < MAPI_NTLM_TYPE + 4) {
            return MAPI_ERROR;
        }

        m->type = mapi_ntlm_uint(m, MAPI_NTLM_TYPE, 4);

        return MAPI_OK;
    }

    return MAPI_DECLINED;
}


int
mapi_auth_ntlm_type(const mapi_auth_t *a)
{
    mapi_ntlm_t  m;

    if (mapi_ntlm_find(a, &m) != MAPI_OK || m.type < 1 || m.type > 3) {
        return 0;
    }

    return (int) m.type;
}


static int
mapi_ntlm_field(const mapi_ntlm_t *m, size_t at, mapi_ntlm_field_t *f)
{
    f->len = mapi_ntlm_uint(m, at, 2);
    f->offset = mapi_ntlm_uint(m, at + 4, 4);

    if (f->len && (f->offset > m->len || f->len > m->len - f->offset)) {
        return MAPI_ERROR;
    }

    return MAPI_OK;
}


/*
 * Old clients end the header before the flags: they are there only if no
 * payload begins in their place.
 */

static int
mapi_ntlm_is_unicode(const mapi_ntlm_t *m)
{
    size_t             at;
    mapi_ntlm_field_t  f;

    if (m->len < MAPI_NTLM_FULL) {
        return 0;
    }

    for (at = MAPI_NTLM_LM; at < MAPI_NTLM_OLD; at += 8) {
        if (mapi_ntlm_field(m, at, &f) == MAPI_OK
            && f.len && f.offset < MAPI_NTLM_FULL)
        {
            return 0;
        }
    }

    return (mapi_ntlm_uint(m, MAPI_NTLM_FLAGS, 4) & MAPI_NTLM_UNICODE) != 0;
}


/* one character to UTF-8; NULL if it does not fit or controls something */
static unsigned char *
mapi_ntlm_put(unsigned char *dst, unsigned char *end, uint32_t c)
{
    size_t  n;

    n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    if (c < 0x20 || c == 0x7f || (size_t) (end - dst) < n) {
        return NULL;
    }

    switch (n) {

    case 1:
        *dst++ = (unsigned char) c;
        return dst;

    case 2:
        *dst++ = (unsigned char) (0xc0 | c >> 6);
        break;

    case 3:
        *dst++ = (unsigned char) (0xe0 | c >> 12);
        *dst++ = (unsigned char) (0x80 | (c >> 6 & 0x3f));
        break;

    default:
        *dst++ = (unsigned char) (0xf0 | c >> 18);
        *dst++ = (unsigned char) (0x80 | (c >> 12 & 0x3f));
        *dst++ = (unsigned char) (0x80 | (c >> 6 & 0x3f));
        break;
    }

    *dst++ = (unsigned char) (0x80 | (c & 0x3f));

    return dst;
}


static unsigned char *
mapi_ntlm_oem(const mapi_ntlm_t *m, const mapi_ntlm_field_t *f,
    unsigned char *dst, unsigned char *end)
{
    size_t    i;
    uint32_t  c;

    for (i = 0; i < f->len && dst; i++) {
        c = mapi_ntlm_uint(m, f->offset + i, 1);
        dst = mapi_ntlm_put(dst, end, c < 0x80 ? c : '?');
    }

    return dst;
}


static unsigned char *
mapi_ntlm_unicode(const mapi_ntlm_t *m, const mapi_ntlm_field_t *f,
    unsigned char *dst, unsigned char *end)
{
    size_t    i;
    uint32_t  c, low;

    if (f->len % 2) {
        return NULL;
    }

    for (i = 0; i < f->len && dst; i += 2) {
        c = mapi_ntlm_uint(m, f->offset + i, 2);

        if (c >= 0xd800 && c <= 0xdfff) {
            i += 2;

            if (c >= 0xdc00 || i == f->len) {
                return NULL;
            }

            low = mapi_ntlm_uint(m, f->offset + i, 2);

            if (low < 0xdc00 || low > 0xdfff) {
                return NULL;
            }

            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }

        dst = mapi_ntlm_put(dst, end, c);
    }

    return dst;
}


int
mapi_auth_ntlm_user(const mapi_auth_t *a, unsigned char *buf, size_t size,
    mapi_str_t *user)
{
    int                 rc;
    mapi_ntlm_t         m;
    unsigned char      *p, *end;
    mapi_ntlm_field_t   domain, name;
    unsigned char    *(*copy)(const mapi_ntlm_t *, const mapi_ntlm_field_t *,
                              unsigned char *, unsigned char *);

    user->len = 0;
    user->data = buf;

    rc = mapi_ntlm_find(a, &m);

    if (rc != MAPI_OK) {
        return rc;
    }

    if (m.type != 3) {
        return MAPI_DECLINED;
    }

    if (m.len < MAPI_NTLM_OLD
        || mapi_ntlm_field(&m, MAPI_NTLM_DOMAIN, &domain) != MAPI_OK
        || mapi_ntlm_field(&m, MAPI_NTLM_USER, &name) != MAPI_OK
        || name.len == 0)
    {
        return MAPI_ERROR;
    }

    copy = mapi_ntlm_is_unicode(&m) ? mapi_ntlm_unicode : mapi_ntlm_oem;

    p = buf;
    end = buf + size;

    if (domain.len) {
        p = copy(&m, &domain, p, end);
        p = p ? mapi_ntlm_put(p, end, '\\') : NULL;
    }

    p = p ? copy(&m, &name, p, end) : NULL;

    if (p == NULL) {
        return MAPI_ERROR;
    }

    user->len = p - buf;

    return MAPI_OK;
}


int
mapi_auth_user(const mapi_auth_t *a, unsigned char *buf, size_t size,
    mapi_str_t *user)
{
    int  rc;

    rc = MAPI_DECLINED;

    if (a->scheme == mapi_auth_basic) {
        rc = mapi_auth_basic_user(a, buf, size, user);

    } else if (mapi_auth_is_connection(a)) {
        rc = mapi_auth_ntlm_user(a, buf, size, user);
    }

    if (rc != MAPI_OK) {
        user->len = 0;
    }

    return rc;
}
