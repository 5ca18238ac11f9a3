
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_auth.h"
#include "mapi_base64.h"


static mapi_auth_t
parse(const char *value)
{
    mapi_auth_t  a;

    mapi_auth_parse(&a, (const unsigned char *) value, strlen(value));

    return a;
}


static void
test_parse(void **state)
{
    size_t       i;
    mapi_auth_t  a;

    static const struct {
        const char          *value;
        mapi_auth_scheme_e   scheme;
        const char          *token;
        int                  connection;
    } cases[] = {
        { "", mapi_auth_none, "", 0 },
        { "  \t ", mapi_auth_none, "", 0 },
        { "Basic YTpi", mapi_auth_basic, "YTpi", 0 },
        { "BASIC  \t YTpi  ", mapi_auth_basic, "YTpi", 0 },
        { "Bearer", mapi_auth_bearer, "", 0 },
        { "bearer ", mapi_auth_bearer, "", 0 },
        { "Bearer a.b.c", mapi_auth_bearer, "a.b.c", 0 },
        { "NTLM TlRM", mapi_auth_ntlm, "TlRM", 1 },
        { "ntlm\tTlRM", mapi_auth_ntlm, "TlRM", 1 },
        { " Negotiate YII=", mapi_auth_negotiate, "YII=", 1 },
        { "nEGO2 YII=", mapi_auth_nego2, "YII=", 1 },
        { "NTLM", mapi_auth_ntlm, "", 0 },
        { "Negotiate ", mapi_auth_negotiate, "", 0 },
        { "Nego2", mapi_auth_nego2, "", 0 },
        { "NTLMfoo x", mapi_auth_other, "x", 0 },
        { "NTLM\x0bTlRM", mapi_auth_ntlm, "\x0bTlRM", 1 },
        { "NTLM,Basic x", mapi_auth_ntlm, ",Basic x", 1 },
        { "Nego x", mapi_auth_other, "x", 0 },
        { "Negotiate2 x", mapi_auth_other, "x", 0 },
        { "Digest username=\"a\"", mapi_auth_other, "username=\"a\"", 0 },
        { "Basic\nYTpi", mapi_auth_basic, "\nYTpi", 0 },
        { "NTLM a b", mapi_auth_ntlm, "a b", 1 }
    };

    for (i = 0; i < unit_items(cases); i++) {
        memset(&a, 0xa5, sizeof(a));
        a = parse(cases[i].value);
        assert_int_equal(a.scheme, cases[i].scheme);
        unit_assert_str(&a.token, cases[i].token);
        assert_int_equal(mapi_auth_is_connection(&a), cases[i].connection);
    }
}


static int
slow_tchar(int c)
{
    return c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789!#$%&'*+-.^_`|~", c) != NULL;
}


/* the same byte by byte */
static void
slow_parse(mapi_auth_t *a, const unsigned char *p, size_t len)
{
    size_t  i, n, k;

    static const struct {
        const char          *name;
        mapi_auth_scheme_e   scheme;
    } schemes[] = {
        { "basic", mapi_auth_basic },
        { "bearer", mapi_auth_bearer },
        { "ntlm", mapi_auth_ntlm },
        { "negotiate", mapi_auth_negotiate },
        { "nego2", mapi_auth_nego2 }
    };

    memset(a, 0, sizeof(mapi_auth_t));

    while (len && (p[0] == ' ' || p[0] == '\t')) {
        p++;
        len--;
    }

    while (len && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
        len--;
    }

    if (len == 0) {
        return;
    }

    for (n = 0; n < len && slow_tchar(p[n]); n++) { /* void */ }

    a->scheme = mapi_auth_other;

    for (i = 0; i < unit_items(schemes); i++) {
        for (k = 0; k < n && mapi_tolower(p[k]) == schemes[i].name[k]; k++) {
            /* void */
        }

        if (k == n && schemes[i].name[k] == '\0') {
            a->scheme = schemes[i].scheme;
        }
    }

    while (n < len && (p[n] == ' ' || p[n] == '\t')) {
        n++;
    }

    a->token.data = (unsigned char *) p + n;
    a->token.len = len - n;
}


static void
check_slow(const unsigned char *p, size_t len)
{
    mapi_auth_t  a, slow;

    memset(&a, 0xa5, sizeof(a));

    mapi_auth_parse(&a, p, len);
    slow_parse(&slow, p, len);

    assert_int_equal(a.scheme, slow.scheme);
    assert_int_equal(a.token.len, slow.token.len);
    assert_ptr_equal(a.token.data, slow.token.data);
}


/*
 * Every scheme in both cases with every byte in every place, left out or put
 * in, and every prefix, with blanks before it and behind it
 */

static void
test_parse_slow(void **state)
{
    int             c;
    size_t          i, k, n, len, used;
    unit_edge_t     e;
    unsigned char  *p, text[64];

    static const char *const  names[] = {
        "Basic", "basic", "BASIC", "Bearer", "bEARER", "NTLM", "ntlm",
        "Negotiate", "negotiate", "Nego2", "NEGO2", "Digest", "B", "N", "xyz"
    };

    static const char *const  before[] = { "", " ", "\t  " };
    static const char *const  after[] = {
        "", " ", " YTpi", "  YTpi==", "\tYTpi \t", " \t"
    };

    e = unit_edge_create(64);

    for (i = 0; i < unit_items(names); i++) {
        for (k = 0; k < unit_items(before) * unit_items(after); k++) {
            len = sprintf((char *) text, "%s%s%s", before[k % 3], names[i],
                          after[k / 3]);

            for (n = 0; n <= len; n++) {
                check_slow(unit_edge_copy(&e, text, n), n);

                for (c = 0; c < 256; c++) {
                    for (used = 0; used < 2 && n + used <= len; used++) {
                        p = unit_edge_tail(&e, len + 1 - used);

                        memcpy(p, text, n);
                        p[n] = (unsigned char) c;
                        memcpy(p + n + 1, text + n + used, len - n - used);

                        check_slow(p, len + 1 - used);
                    }
                }
            }
        }
    }

    unit_edge_destroy(&e);
}


/* what a token68 is of: with it a challenge can be read, without it not */
static void
test_token68(void **state)
{
    int            c, is;
    size_t         n;
    unsigned char  value[16], buf[16];

    for (c = 0; c < 256; c++) {

        if (c == ',' || c == ' ' || c == '\t') {
            continue;
        }

        is = c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789-._~+/", c) != NULL;

        n = sprintf((char *) value, "Foo x?x, NTLM");
        value[5] = (unsigned char) c;

        /* "x=x" is a parameter, and as good */

        assert_int_equal(mapi_auth_strip_challenges(buf, value, n),
                         is || c == '=' ? 7 : 0);
    }
}


/* challenges for HTTP/2: those of connections go, the others stay */

static void
test_strip(void **state)
{
    size_t         i, n;
    unsigned char  buf[256];

    static const struct {
        const char  *value;
        const char  *left;
    } cases[] = {
        { "", "" },
        { "NTLM", "" },
        { "Negotiate, NTLM", "" },
        { "NTLM TlRMTVNTUAACAAAA", "" },
        { "Nego2", "" },
        { "Basic realm=\"x\"", "Basic realm=\"x\"" },
        { "Basic realm=\"x\", charset=\"UTF-8\"",
          "Basic realm=\"x\", charset=\"UTF-8\"" },
        { "Basic realm=\"x\", charset=\"UTF-8\", NTLM",
          "Basic realm=\"x\",charset=\"UTF-8\"" },
        { "Negotiate, Basic realm=\"a, NTLM\", NTLM",
          "Basic realm=\"a, NTLM\"" },
        { "Negotiate oYG2, Bearer client_id=\"a,b\", issuer=c",
          "Bearer client_id=\"a,b\",issuer=c" },
        { "Bearer , NTLM", "Bearer" },
        { "Foo abc== , Negotiate", "Foo abc==" },
        { "NTLM = x", "" },

        /* what no grammar explains */

        { "Basic realm=\"x", "Basic realm=\"x" },
        { "Basic realm=\"x, NTLM", "" },
        { "Basic realm=\"x\" NTLM TlRM", "" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        n = mapi_auth_strip_challenges(buf,
                                       (const unsigned char *) cases[i].value,
                                       strlen(cases[i].value));
        buf[n] = '\0';
        assert_string_equal((char *) buf, cases[i].left);
    }
}


static void
test_challenge(void **state)
{
    size_t  i;

    static const struct {
        const char  *value;
        int          taints;
    } cases[] = {
        { "", 0 },
        { " , ,, ", 0 },
        { "Negotiate", 0 },
        { "NTLM", 0 },
        { "Negotiate, NTLM", 0 },
        { "Negotiate,NTLM", 0 },
        { "Negotiate , NTLM ,", 0 },
        { "Basic realm=\"x\"", 0 },
        { "Negotiate, NTLM, Bearer client_id=\"a,b\", "
          "trusted_issuers=\"00000001-0000-0000-c000-000000000000@*\"", 0 },
        { "Bearer client_id=\"a\", authorization_uri=\"https://x/?a=b,c\", "
          "NTLM", 0 },
        { "Basic realm=\"NTLM TlRMTVNT\"", 0 },
        { "Basic realm=\"a, NTLM TlRMTVNT\"", 0 },
        { "Basic realm=\"a\\\", NTLM TlRM\"", 0 },
        { "Basic realm=\"\\\\\", NTLM", 0 },
        { "Basic realm = \"x, Negotiate oYG2\" , charset=UTF-8", 0 },
        { "Digest realm=\"x\", qop=\"auth,auth-int\", nonce=NTLM", 0 },
        { "Foo abc==, NTLM", 0 },
        { "Foo a/b+c==", 0 },
        { "NTLMX TlRM", 0 },
        { "X-NTLM TlRM", 0 },
        { "NTLM=x", 0 },
        { "Foo NTLM=x, Negotiate=\"y\"", 0 },
        { "Foo NTLM", 0 },

        { "NTLM TlRMTVNTUAACAAAA", 1 },
        { "ntlm TlRM", 1 },
        { "NTLM\tTlRM", 1 },
        { "Negotiate oYG2MIGzoAMKAQA=", 1 },
        { "Nego2 oYG2", 1 },
        { "Negotiate, NTLM TlRM", 1 },
        { "NTLM TlRM, Negotiate", 1 },
        { ", , NTLM TlRM", 1 },
        { " ,NTLM  TlRM==", 1 },
        { "Basic realm=\"x\", NTLM TlRM", 1 },
        { "Basic realm=\"x\",NTLM TlRM", 1 },
        { "Basic realm=x, NTLM TlRM", 1 },
        { "Basic realm=\"\\\\\", NTLM TlRM", 1 },
        { "Basic realm=\"a\\\"b\", NTLM TlRM", 1 },
        { "Bearer client_id=\"a,b\", trusted_issuers=\"c\", NTLM TlRM", 1 },
        { "Foo abc==, NTLM TlRM", 1 },
        { "Foo abc, NTLM TlRM", 1 },
        { "Foo, NTLM TlRM", 1 },
        { "Negotiate NTLM", 1 },
        { "NTLM = x", 1 },

        /* what no grammar explains */

        { "Basic realm=\"x, NTLM TlRM", 1 },
        { "Basic realm=\"x\\", 0 },
        { "Basic realm=\"x\" NTLM TlRM", 1 },
        { "Basic realm=\"x\"; NTLM TlRM", 1 },
        { "Basic realm=x\"y, NTLM TlRM\"", 1 },
        { "Basic a=\"x\"y, NTLM TlRM", 1 },
        { "Digest uri=/x, NTLM TlRM", 1 },
        { "Foo a=, NTLM TlRM", 1 },
        { "Foo a==b, NTLM TlRM", 1 },
        { "=, NTLM TlRM", 1 },
        { "\"\", NTLM TlRM", 1 },
        { "\x01NTLM TlRM", 1 },
        { "\xffNegotiate x", 1 },
        { "Digest uri=/x, NTLM", 0 },
        { "Digest uri=/NTLM", 0 },
        { "\" Negotiate , NTLM", 0 }
    };

    for (i = 0; i < unit_items(cases); i++) {
        if (mapi_auth_challenge_taints((const unsigned char *) cases[i].value,
                                       strlen(cases[i].value))
            != cases[i].taints)
        {
            fail_msg("%s: not %d", cases[i].value, cases[i].taints);
        }
    }
}


static void
test_basic(void **state)
{
    size_t          i;
    mapi_str_t      user;
    mapi_auth_t     a;
    unit_edge_t     e;
    unsigned char  *buf;

    static const struct {
        const char  *value;
        const char  *user;
    } cases[] = {
        { "Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==", "alice@rig.test" },
        { "Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw", "alice@rig.test" },
        { "basic Ym9iQHJpZy50ZXN0OmJvYnB3", "bob@rig.test" },
        { "Basic UklHXGFsaWNlOmE6Yg==", "RIG\\alice" },
        { "Basic YTo=", "a" },
        { "Basic Og==", NULL },                  /* no name */
        { "Basic OnNlY3JldA==", NULL },
        { "Basic c2VjcmV0", NULL },              /* no colon */
        { "Basic", NULL },
        { "Basic YWxpY2U6eA=", NULL },           /* half the padding */
        { "Basic YWxpY2U6eA===", NULL },
        { "Basic YWxpY2U6eB==", NULL },          /* unused bits */
        { "Basic YWxpY2U6e", NULL },
        { "Basic YWxp Y2U6eA==", NULL },
        { "Basic YWxpY2U6_-8=", NULL },          /* the other alphabet */
        { "Bearer YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==", NULL },
        { "Basic YWxpY2VAcmlnLnRlc3QxMjM6YQ==", NULL }  /* 17 bytes */
    };

    e = unit_edge_create(16);
    buf = unit_edge_tail(&e, 16);

    for (i = 0; i < unit_items(cases); i++) {
        a = parse(cases[i].value);
        memset(buf, 0xa5, 16);

        if (cases[i].user == NULL) {
            assert_int_equal(mapi_auth_basic_user(&a, buf, 16, &user),
                             MAPI_ERROR);
            assert_int_equal(user.len, 0);
            assert_true(memcmp(buf, "secret", 6) != 0);
            continue;
        }

        assert_int_equal(mapi_auth_basic_user(&a, buf, 16, &user), MAPI_OK);
        unit_assert_str(&user, cases[i].user);

        /* not a byte of the password, nor of the colon */
        assert_true(user.len == 16 || buf[user.len] == 0xa5);
    }

    unit_edge_destroy(&e);
}


/* an NTLM type 3 message in the making */

typedef struct {
    unsigned char  b[70000];
    size_t         len;
} message_t;


static void
put(message_t *m, size_t at, uint32_t value, size_t size)
{
    while (size--) {
        m->b[at++] = (unsigned char) value;
        value >>= 8;
    }
}


static void
message(message_t *m, size_t header, uint32_t flags)
{
    memset(m->b, 0, header);
    memcpy(m->b, "NTLMSSP", 8);
    put(m, 8, 3, 4);

    if (header >= 64) {
        put(m, 60, flags, 4);
    }

    m->len = header;
}


static void
field(message_t *m, size_t at, const void *p, size_t len)
{
    put(m, at, (uint32_t) len, 2);
    put(m, at + 2, (uint32_t) len, 2);
    put(m, at + 4, (uint32_t) m->len, 4);
    memcpy(m->b + m->len, p, len);
    m->len += len;
}


/* the header's value, ending where memory ends */
static mapi_auth_t
authorization(unit_edge_t *e, const char *scheme, const void *p, size_t len,
    int padding)
{
    size_t          i, n, start;
    mapi_auth_t     a;
    unsigned char  *text, *end;

    text = malloc(strlen(scheme) + 4 + 4 * len / 3 + 8);
    assert_non_null(text);

    start = strlen(scheme);
    memcpy(text, scheme, start);
    end = mapi_base64_url(text + start, p, len);
    n = end - text;

    for (i = start; i < n; i++) {
        text[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }

    while (padding && (n - start) % 4) {
        text[n++] = '=';
    }

    end = unit_edge_copy(e, text, n);
    free(text);

    mapi_auth_parse(&a, end, n);

    return a;
}


#define ALICE16    "a\0l\0i\0c\0e\0"
#define RIG16      "R\0I\0G\0"
#define UNICODE    0x00000001


static void
check_user(message_t *m, const char *scheme, const char *expected)
{
    int             padding;
    mapi_str_t      user;
    mapi_auth_t     a;
    unit_edge_t     e, out;
    unsigned char  *buf;

    e = unit_edge_create(100000);
    out = unit_edge_create(32);
    buf = unit_edge_tail(&out, 32);

    for (padding = 0; padding < 2; padding++) {
        a = authorization(&e, scheme, m->b, m->len, padding);

        if (expected == NULL) {
            assert_int_equal(mapi_auth_ntlm_user(&a, buf, 32, &user),
                             MAPI_ERROR);
            assert_int_equal(user.len, 0);
            continue;
        }

        assert_int_equal(mapi_auth_ntlm_type(&a), 3);
        assert_int_equal(mapi_auth_ntlm_user(&a, buf, 32, &user), MAPI_OK);
        unit_assert_str(&user, expected);
    }

    unit_edge_destroy(&e);
    unit_edge_destroy(&out);
}


static void
name(const void *domain, size_t dlen, const void *user, size_t ulen,
    uint32_t flags, const char *expected)
{
    message_t      *m;
    unsigned char   response[3000];

    m = malloc(sizeof(message_t));
    assert_non_null(m);

    message(m, 64, flags);
    field(m, 28, domain, dlen);
    field(m, 36, user, ulen);
    field(m, 20, "\x00\xdesponse", 8);      /* not half of a name's pair */
    check_user(m, "NTLM ", expected);
    check_user(m, "Negotiate ", expected);
    check_user(m, "Nego2 ", expected);

    /* names behind a long response, which stands where flags would */

    memset(response, 0x01, sizeof(response));

    message(m, 52, 0);
    field(m, 20, response, sizeof(response));
    field(m, 36, user, ulen);
    field(m, 28, domain, dlen);

    if ((flags & UNICODE) == 0) {
        check_user(m, "NTLM ", expected);
    }

    free(m);
}


#define name_is(d, u, flags, expected)                                        \
    name(d, sizeof(d) - 1, u, sizeof(u) - 1, flags, expected)


static void
test_names(void **state)
{
    name_is(RIG16, ALICE16, UNICODE, "RIG\\alice");
    name_is("", ALICE16, UNICODE, "alice");
    name_is("RIG", "alice", 0, "RIG\\alice");
    name_is("", "alice", 0, "alice");

    /* OEM: what is not ASCII cannot be known */
    name_is("RIG", "j\xf6rg", 0, "RIG\\j?rg");

    /* two, three and four bytes of UTF-8 */
    name_is("", "\xf6\0", UNICODE, "\xc3\xb6");
    name_is("", "\xff\x07", UNICODE, "\xdf\xbf");
    name_is("", "\x00\x08", UNICODE, "\xe0\xa0\x80");
    name_is("", "\xff\xff", UNICODE, "\xef\xbf\xbf");
    name_is("", "\x3d\xd8\x00\xde", UNICODE, "\xf0\x9f\x98\x80");
    name_is("", "\xff\xdb\xff\xdf", UNICODE, "\xf4\x8f\xbf\xbf");

    /* halves of a pair, half a character, nobody, control bytes */
    name_is("", "\x3d\xd8", UNICODE, NULL);
    name_is("", "\x3d\xd8" "a\0", UNICODE, NULL);
    name_is("", "\x00\xde", UNICODE, NULL);
    name_is("", "\x00\xde\x3d\xd8", UNICODE, NULL);
    name_is("", "\x3d\xd8\x3d\xd8", UNICODE, NULL);
    name_is(RIG16, ALICE16 "x", UNICODE, NULL);
    name_is(RIG16 "x", ALICE16, UNICODE, NULL);
    name_is(RIG16, "", UNICODE, NULL);
    name_is("RIG", "", 0, NULL);
    name_is("", "a\0\0\0", UNICODE, NULL);
    name_is("", "a\nb", 0, NULL);
    name_is("a\x7f", "b", 0, NULL);

    /* 32 bytes fit, 33 do not */
    name_is("0123456789abcdef", "0123456789abcde", 0,
            "0123456789abcdef\\0123456789abcde");
    name_is("0123456789abcdef", "0123456789abcdef", 0, NULL);
    name_is("0123456789abcdef0123456789abcdef", "x", 0, NULL);
    name_is("", "0123456789abcdef0123456789abcdef\xf6", 0, NULL);
}


/* every offset and length that does not lie inside is refused */
static void
test_bounds(void **state)
{
    size_t      i, at;
    message_t  *m;

    static const uint32_t  offsets[] = {
        70, 71, 79, 80, 81, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff
    };

    m = malloc(sizeof(message_t));
    assert_non_null(m);

    for (at = 28; at <= 36; at += 8) {
        for (i = 0; i < unit_items(offsets); i++) {
            message(m, 64, UNICODE);
            field(m, 28, RIG16, 6);
            field(m, 36, ALICE16, 10);          /* ends at 80 */
            put(m, at, 10, 2);
            put(m, at + 4, offsets[i], 4);

            if (offsets[i] == 70) {
                check_user(m, "NTLM ", at == 28 ? "alice\\alice"
                                                : "RIG\\alice");
            } else {
                check_user(m, "NTLM ", NULL);
            }
        }

        message(m, 64, UNICODE);
        field(m, 28, RIG16, 6);
        field(m, 36, ALICE16, 10);
        put(m, at, 0xfffe, 2);
        check_user(m, "NTLM ", NULL);
    }

    /* an offset says nothing where the length is zero */

    message(m, 64, UNICODE);
    field(m, 28, RIG16, 0);
    field(m, 36, ALICE16, 10);
    put(m, 32, 0xffffffff, 4);
    check_user(m, "NTLM ", "alice");

    free(m);
}


/* inside a SPNEGO token, at any place that is searched */
static void
test_spnego(void **state)
{
    size_t       n;
    message_t   *m;
    mapi_str_t   user;
    unit_edge_t  e;
    mapi_auth_t  a;

    unsigned char  buf[64];

    e = unit_edge_create(100000);
    m = malloc(sizeof(message_t));
    assert_non_null(m);

    for (n = 0; n < 1200; n++) {
        message(m, 64, UNICODE);
        field(m, 28, RIG16, 6);
        field(m, 36, ALICE16, 10);
        memmove(m->b + n, m->b, m->len);
        memset(m->b, n & 1 ? 'N' : 0x60, n);
        m->len += n;

        a = authorization(&e, "Negotiate ", m->b, m->len, 1);

        if (n <= 342 * 3 - 8) {
            assert_int_equal(mapi_auth_ntlm_type(&a), 3);
            assert_int_equal(mapi_auth_ntlm_user(&a, buf, sizeof(buf),
                                                 &user), MAPI_OK);
            unit_assert_str(&user, "RIG\\alice");

        } else {
            assert_int_equal(mapi_auth_ntlm_type(&a), 0);
            assert_int_equal(mapi_auth_ntlm_user(&a, buf, sizeof(buf),
                                                 &user), MAPI_DECLINED);
        }
    }

    free(m);
    unit_edge_destroy(&e);
}


static void
test_types(void **state)
{
    size_t         i;
    mapi_str_t     user;
    mapi_auth_t    a;
    unsigned char  buf[64];

    static const struct {
        const char  *value;
        int          type;
        int          rc;
    } cases[] = {
        { "NTLM TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA=", 1,
          MAPI_DECLINED },
        { "NTLM TlRMTVNTUAACAAAA", 2, MAPI_DECLINED },
        { "NTLM TlRMTVNTUAADAAAA", 3, MAPI_ERROR },
        { "NTLM TlRMTVNTUAAEAAAA", 0, MAPI_DECLINED },
        { "NTLM TlRMTVNTUAAAAAAA", 0, MAPI_DECLINED },
        { "NTLM TlRMTVNTUAADAAAB", 0, MAPI_DECLINED },
        { "NTLM TlRMTVNTUAADAAA=", 0, MAPI_ERROR },
        { "NTLM TlRMTVNTUAA=", 0, MAPI_ERROR },
        { "NTLM TlRMTVNTUA==", 0, MAPI_DECLINED },
        { "NTLM !!!!", 0, MAPI_ERROR },
        { "NTLM x", 0, MAPI_ERROR },
        { "NTLM", 0, MAPI_DECLINED },
        { "", 0, MAPI_DECLINED },
        { "Basic TlRMTVNTUAADAAAA", 0, MAPI_DECLINED },
        { "Bearer TlRMTVNTUAADAAAA", 0, MAPI_DECLINED },
        { "Negotiate YIIZ5QYGKwYBBQUCoIIZ2TCCGdU=", 0, MAPI_DECLINED }
    };

    for (i = 0; i < unit_items(cases); i++) {
        a = parse(cases[i].value);
        assert_int_equal(mapi_auth_ntlm_type(&a), cases[i].type);
        assert_int_equal(mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user),
                         cases[i].rc);
        assert_int_equal(user.len, 0);
    }
}


/* 64 KB is the longest; what is broken far behind the names still counts */
static void
test_long(void **state)
{
    message_t    *m;
    mapi_str_t    user;
    mapi_auth_t   a;
    unit_edge_t   e;
    unsigned char  buf[64];

    e = unit_edge_create(100000);
    m = malloc(sizeof(message_t));
    assert_non_null(m);

    message(m, 64, UNICODE);
    memset(m->b + m->len, 0, 49152 - 16 - m->len);
    m->len = 49152 - 16;
    field(m, 28, RIG16, 6);
    field(m, 36, ALICE16, 10);

    a = authorization(&e, "NTLM ", m->b, m->len, 1);
    assert_int_equal(a.token.len, 65536);
    assert_int_equal(mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user),
                     MAPI_OK);
    unit_assert_str(&user, "RIG\\alice");

    a.token.data[60000] = '!';
    assert_int_equal(mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user),
                     MAPI_ERROR);

    m->b[m->len++] = 0;
    a = authorization(&e, "NTLM ", m->b, m->len, 1);
    assert_int_equal(mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user),
                     MAPI_DECLINED);
    assert_int_equal(mapi_auth_ntlm_type(&a), 0);

    free(m);
    unit_edge_destroy(&e);
}


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    mapi_str_t     user;
    mapi_auth_t    a;
    unsigned char  buf[64];

    mapi_auth_parse(&a, p, len);
    assert_true(a.token.len <= len);
    (void) mapi_auth_ntlm_type(&a);

    if (mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user) == MAPI_OK) {
        unit_assert_str(&user, "RIG\\alice");
    }

    if (mapi_auth_basic_user(&a, buf, sizeof(buf), &user) == MAPI_OK) {
        unit_assert_str(&user, "alice@rig.test");
    }

    (void) mapi_auth_challenge_taints(p, len);
}


static void
test_prefixes(void **state)
{
    size_t  i;

    static const char *const  inputs[] = {
        "NTLM TlRMTVNTUAADAAAAGAAYAFAAAAA0ADQAaAAAAAMAAwBIAAAABQAFAEsAAAAA"
        "AAAAUAAAABAAEACcAAAAMpAK4gYBsR0AAAAPUklHYWxpY2XWZMQlemcGZr579Wd"
        "F+uY4HUwuNNfgo//QLCEbigzGIL6zc7pIeg+bAQEAAAAAAAAALfgjULtoEB1MLj"
        "TX4KP/AAAAAAAAAAAAAAAA+aIlZegxR2cH7MeJ2759NA==",
        "Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==",
        "Negotiate, NTLM, Bearer client_id=\"a\\\"b\", x = y , Foo ab==",
        "Basic realm=\"x, NTLM TlRM"
    };

    for (i = 0; i < unit_items(inputs); i++) {
        unit_prefixes(inputs[i], strlen(inputs[i]), one_prefix, NULL);
    }
}


/* any single byte replaced by any other: no read outside, no crash */
static void
test_bytes(void **state)
{
    int             c;
    size_t          i, len;
    mapi_str_t      user;
    mapi_auth_t     a;
    unit_edge_t     e;
    unsigned char  *p, buf[64], saved;

    static const char  value[] =
        "NTLM TlRMTVNTUAADAAAAGAAYAFAAAAA0ADQAaAAAAAMAAwBIAAAABQAFAEsAAAAA"
        "AAAAUAAAABAAEACcAAAAMpAK4gYBsR0AAAAPUklHYWxpY2XWZMQlemcGZr579Wd";

    len = sizeof(value) - 1;
    e = unit_edge_create(len);
    p = unit_edge_copy(&e, value, len);

    for (i = 0; i < len; i++) {
        saved = p[i];

        for (c = 0; c < 256; c++) {
            p[i] = (unsigned char) c;
            mapi_auth_parse(&a, p, len);
            (void) mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user);
            assert_true(user.len <= sizeof(buf));
        }

        p[i] = saved;
    }

    unit_edge_destroy(&e);
}


/* of either kind; nothing is left of a name that could not be read */

static void
test_user(void **state)
{
    size_t         i;
    mapi_str_t     user;
    mapi_auth_t    a;
    unsigned char  buf[64];

    static const struct {
        const char  *value;
        int          rc;
        const char  *user;
    } cases[] = {
        { "Basic dXNlcjpwYXNz", MAPI_OK, "user" },
        { "Basic dXNlcg==", MAPI_ERROR, "" },
        { "Bearer dXNlcjpwYXNz", MAPI_DECLINED, "" },
        { "NTLM TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA=",
          MAPI_DECLINED, "" },
        { "", MAPI_DECLINED, "" }
    };

    for (i = 0; i < unit_items(cases); i++) {
        user = unit_str("left over");

        mapi_auth_parse(&a, (const unsigned char *) cases[i].value,
                        strlen(cases[i].value));

        assert_int_equal(mapi_auth_user(&a, buf, sizeof(buf), &user),
                         cases[i].rc);
        assert_int_equal(user.len, strlen(cases[i].user));
        assert_memory_equal(user.len ? user.data : buf, cases[i].user,
                            user.len);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_slow),
        cmocka_unit_test(test_token68),
        cmocka_unit_test(test_strip),
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_spnego),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_user)
    };

    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
