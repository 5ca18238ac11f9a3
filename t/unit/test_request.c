
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_request.h"


#define GUID   "8b1efa87-76ba-443a-8ad9-80d8742a2b67"
#define UGUID  "8B1EFA87-76BA-443A-8AD9-80D8742A2B67"
#define ID     GUID "@my.domain"


static void
test_endpoint(void **state)
{
    size_t          i, len;
    unit_edge_t     e;
    unsigned char  *p;

    static const struct {
        const char       *path;
        mapi_endpoint_e   endpoint;
    } cases[] = {
        { "/mapi/emsmdb", mapi_endpoint_emsmdb },
        { "/mapi/emsmdb/", mapi_endpoint_emsmdb },
        { "/MAPI/EmsMdb/", mapi_endpoint_emsmdb },
        { "/mapi/nspi", mapi_endpoint_nspi },
        { "/mapi/nspi/", mapi_endpoint_nspi },
        { "/Mapi/NSPI", mapi_endpoint_nspi },
        { "/mapi/healthcheck.htm", mapi_endpoint_health },
        { "/mapi/HealthCheck.HTM", mapi_endpoint_health },

        { "", mapi_endpoint_none },
        { "/", mapi_endpoint_none },
        { "/mapi", mapi_endpoint_none },
        { "/mapi/", mapi_endpoint_none },
        { "/mapi/emsmdb//", mapi_endpoint_none },
        { "//mapi/emsmdb/", mapi_endpoint_none },
        { "/mapi//emsmdb/", mapi_endpoint_none },
        { "/mapi/./emsmdb/", mapi_endpoint_none },
        { "/mapi/nspi/../emsmdb/", mapi_endpoint_none },
        { "/mapi/emsmdb/..", mapi_endpoint_none },
        { "/mapi/emsmdb;x/", mapi_endpoint_none },
        { "/mapi/emsmdb/;", mapi_endpoint_none },
        { "/mapi\\emsmdb/", mapi_endpoint_none },
        { "/mapi/emsmdb\\", mapi_endpoint_none },
        { "/mapi/%65msmdb/", mapi_endpoint_none },
        { "/mapi/emsmdb%2f", mapi_endpoint_none },
        { "/mapi%2femsmdb/", mapi_endpoint_none },
        { "/mapi/emsmdb/x", mapi_endpoint_none },
        { "/mapi/emsmdbx", mapi_endpoint_none },
        { "/mapi/emsmd", mapi_endpoint_none },
        { "/mapi/emsmdb/ ", mapi_endpoint_none },
        { "mapi/emsmdb/", mapi_endpoint_none },
        { "/mapi/healthcheck.htm/", mapi_endpoint_none },
        { "/mapi/healthcheck.html", mapi_endpoint_none },
        { "/mapi/nspi@", mapi_endpoint_none },
        { "/autodiscover/autodiscover.json", mapi_endpoint_none },
        { "/autodiscover/autodiscover.json/@x.com/mapi/emsmdb",
          mapi_endpoint_none },
        { "/ecp/y.js", mapi_endpoint_none },
        { "http://mail/mapi/emsmdb/", mapi_endpoint_none }
    };

    e = unit_edge_create(256);

    for (i = 0; i < unit_items(cases); i++) {
        len = strlen(cases[i].path);
        p = unit_edge_copy(&e, cases[i].path, len);
        assert_int_equal(mapi_request_endpoint(p, len), cases[i].endpoint);
    }

    unit_edge_destroy(&e);

    assert_int_equal(mapi_request_endpoint(unit_text("/mapi/nspi\0")),
                     mapi_endpoint_none);
}


typedef struct {
    const char            *query;
    int                    rc;
    mapi_identity_kind_e   kind;
    const char            *text;
    const char            *domain;
    unsigned               caller;
} case_t;


#define guid_is(q, d)  { q, MAPI_OK, mapi_identity_guid, GUID, d, 0 }
#define smtp_is(q, t)  { q, MAPI_OK, mapi_identity_smtp, t, "", 0 }
#define caller_is(q)   { q, MAPI_OK, mapi_identity_none, "", "", 1 }
#define nobody(q)      { q, MAPI_DECLINED, mapi_identity_none, "", "", 0 }
#define refused(q)     { q, MAPI_ERROR, mapi_identity_none, "", "", 0 }


static const case_t  cases[] = {
    guid_is("MailboxId=" ID, "my.domain"),
    guid_is("mailboxid=" UGUID "@My.Domain", "My.Domain"),
    guid_is("MAILBOXID=" ID, "my.domain"),
    guid_is("%4dailboxId=" ID, "my.domain"),
    guid_is("%4D%61%69%6c%62%6F%78%49%64=" ID, "my.domain"),
    guid_is("MailboxId=" GUID "%40my.domain", "my.domain"),
    guid_is("MailboxId=%38b1efa87%2d76ba-443a-8ad9-80d8742a2b67@d", "d"),
    guid_is("&&MailboxId=" ID "&", "my.domain"),
    guid_is("a=b&MailboxId=" ID "&c=d", "my.domain"),
    guid_is("MailboxId=" GUID "@a=b", "a=b"),
    guid_is("MailboxId=" GUID "@a+b", "a+b"),
    guid_is("MailboxId=" GUID "@x?y", "x?y"),
    guid_is("smtpAddress=a@b.c&MailboxId=" ID, "my.domain"),
    guid_is("useMailboxOfAuthenticatedUser=true&MailboxId=" ID,
            "my.domain"),
    guid_is("x=%zz&%=%&MailboxId=" ID "&%4=1", "my.domain"),
    guid_is("%4dailboxI%6=x&MailboxId=" ID, "my.domain"),
    guid_is("MailboxId%00=x&MailboxId=" ID, "my.domain"),
    guid_is("MailboxId+=x&MailboxId=" ID, "my.domain"),
    guid_is("Mailbox=x&MailboxIdx=y&ailboxId=z&MailboxId=" ID, "my.domain"),
    guid_is("amp;MailboxId=x&MailboxId=" ID, "my.domain"),
    guid_is("=" ID "&MailboxId=" ID, "my.domain"),

    smtp_is("smtpAddress=Alice@Example.com", "alice@example.com"),
    smtp_is("SMTPADDRESS=alice%40example.com", "alice@example.com"),
    smtp_is("smtpAddress=alice+tag@example.com", "alice+tag@example.com"),
    smtp_is("smtpAddress=alice%2Btag@example.com",
            "alice+tag@example.com"),
    smtp_is("smtpAddress=j%C3%B6rg@example.com", "j\xc3\xb6rg@example.com"),
    smtp_is("smtpAddress=j\xc3\xb6rg@example.com",
            "j\xc3\xb6rg@example.com"),
    smtp_is("smtpAddress=a%26b@example.com", "a&b@example.com"),
    smtp_is("useMailboxOfAuthenticatedUser=true&smtpAddress=a@b", "a@b"),

    caller_is("useMailboxOfAuthenticatedUser=true"),
    caller_is("usemailboxofauthenticateduser=TRUE"),
    caller_is("useMailboxOfAuthenticatedUser=True&x=y"),
    caller_is("useMailboxOfAuthenticatedUser=%20true%20%09"),
    caller_is("useMailboxOfAuthenticatedUser=tr%75e"),
    caller_is("use%4dailboxOfAuthenticatedUser=true"),

    nobody(""),
    nobody("&"),
    nobody("&&&"),
    nobody("="),
    nobody("a"),
    nobody("a=b"),
    nobody("%"),
    nobody("useMailboxOfAuthenticatedUser"),
    nobody("useMailboxOfAuthenticatedUser="),
    nobody("useMailboxOfAuthenticatedUser=false"),
    nobody("useMailboxOfAuthenticatedUser=1"),
    nobody("useMailboxOfAuthenticatedUser=+true"),
    nobody("useMailboxOfAuthenticatedUser=true%"),
    nobody("useMailboxOfAuthenticatedUser=tru%65%2"),
    nobody("useMailboxOfAuthenticatedUser=tr%20ue"),
    nobody("useMailboxOfAuthenticatedUser=truetrue"),
    nobody("useMailboxOfAuthenticatedUser=true"
           "&useMailboxOfAuthenticatedUser=true"),
    nobody("useMailboxOfAuthenticatedUserx=true"),
    nobody("showdebug=yes"),
    nobody("Email=autodiscover/autodiscover.json%3F@test.com"),

    refused("MailboxId"),
    refused("MailboxId="),
    refused("MailboxId&a=b"),
    refused("a=b&MailboxId"),
    refused("MailboxId=" GUID),
    refused("MailboxId=" GUID "@"),
    refused("MailboxId={" GUID "}@my.domain"),
    refused("MailboxId=alice@my.domain"),
    refused("MailboxId=" ID "%"),
    refused("MailboxId=" ID "%4"),
    refused("MailboxId=" ID "%zz"),
    refused("MailboxId=" ID "%u0041"),
    refused("MailboxId=" ID "%4&x=1"),
    refused("MailboxId=" ID "%00"),
    refused("MailboxId=%00" ID),
    refused("MailboxId=" ID "%0a"),
    refused("MailboxId=" ID "%7f"),
    refused("MailboxId=" ID "%20"),
    refused("MailboxId=" ID "%ff"),
    refused("MailboxId=" ID "," ID),
    refused("MailboxId=" ID "&MailboxId=" ID),
    refused("MailboxId=" ID "&mailboxid=" ID),
    refused("MailboxId=" ID "&%4dailboxId=" ID),
    refused("MailboxId=" ID "&MailboxId"),
    refused("MailboxId=" ID "&smtpAddress="),
    refused("MailboxId=" ID "&smtpAddress"),
    refused("MailboxId=" ID "&smtpAddress=nobody"),
    refused("MailboxId=" ID "&smtpAddress=%4"),
    refused("MailboxId=" ID "&smtpAddress=a@b&smtpAddress=a@b"),
    refused("MailboxId=x&smtpAddress=a@b"),
    refused("smtpAddress"),
    refused("smtpAddress="),
    refused("smtpAddress=alice"),
    refused("smtpAddress=@example.com"),
    refused("smtpAddress=alice@"),
    refused("smtpAddress=a@b@c"),
    refused("smtpAddress=al%20ice@example.com"),
    refused("smtpAddress=al%00ice@example.com"),
    refused("smtpAddress=alice@example.com%"),
    refused("smtpAddress=a@b&SmtpAddress=a@b"),
    refused("useMailboxOfAuthenticatedUser=true&MailboxId="),
    refused("MailboxId=" ID "#x"),
    refused("#MailboxId=" ID),
    refused("x=#"),
    refused("a=b c"),
    refused("MailboxId=" ID " "),
    refused("a=\tb"),
    refused("a=\x7f"),
    refused("a=\x01"),
    refused(" "),
    refused("MailboxId=" ID "&x=\r")
};


static void
check(const case_t *c, const unsigned char *p, size_t len,
    unsigned char *buf)
{
    mapi_query_t  q;

    memset(&q, 0xa5, sizeof(q));

    assert_int_equal(mapi_request_query(&q, p, len, buf), c->rc);
    assert_int_equal(q.identity.kind, c->kind);
    assert_int_equal(q.caller, c->caller);
    unit_assert_str(&q.identity.text, c->text);
    unit_assert_str(&q.identity.domain, c->domain);

    if (q.identity.kind != mapi_identity_none) {
        assert_true(q.identity.text.data >= buf);
        assert_true(q.identity.text.data + q.identity.text.len
                    <= buf + 2 * MAPI_IDENTITY_MAX);
    }
}


static void
test_query(void **state)
{
    size_t          i, len;
    unit_edge_t     in, out;
    unsigned char  *p;

    in = unit_edge_create(1024);
    out = unit_edge_create(2 * MAPI_IDENTITY_MAX);

    for (i = 0; i < unit_items(cases); i++) {
        len = strlen(cases[i].query);
        p = unit_edge_copy(&in, cases[i].query, len);

        check(&cases[i], p, len,
              unit_edge_tail(&out, 2 * MAPI_IDENTITY_MAX));

        /* the raw query goes to the server as it came */
        assert_memory_equal(p, cases[i].query, len);
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


static void
test_zero(void **state)
{
    mapi_query_t   q;
    unsigned char  buf[2 * MAPI_IDENTITY_MAX];

    assert_int_equal(mapi_request_query(&q, unit_text("a=\0b"), buf),
                     MAPI_ERROR);
    assert_int_equal(mapi_request_query(&q, unit_text("MailboxId=" ID "\0"),
                                        buf), MAPI_ERROR);
}


/* decoded to the longest identity it is accepted, one byte more and not */
static void
test_length(void **state)
{
    size_t         i, n, escaped;
    mapi_query_t   q;
    unit_edge_t    out;
    unsigned char  *query, *p, *buf;

    static const char *const  names[] = {
        "MailboxId=" GUID "@", "smtpAddress=" GUID "@"
    };

    query = malloc(4096);
    assert_non_null(query);

    out = unit_edge_create(2 * MAPI_IDENTITY_MAX);
    buf = unit_edge_tail(&out, 2 * MAPI_IDENTITY_MAX);

    for (i = 0; i < unit_items(names); i++) {
        for (escaped = 0; escaped < 2; escaped++) {
            p = query + strlen(names[i]);
            memcpy(query, names[i], strlen(names[i]));

            for (n = MAPI_GUID_LEN + 1; n < MAPI_IDENTITY_MAX; n++) {
                memcpy(p, "%78", 3);
                p += escaped ? 3 : 1;
                p[-1] = escaped ? '8' : 'x';
            }

            assert_int_equal(mapi_request_query(&q, query, p - query, buf),
                             MAPI_OK);

            *p++ = 'x';
            assert_int_equal(mapi_request_query(&q, query, p - query, buf),
                             MAPI_ERROR);
        }
    }

    unit_edge_destroy(&out);
    free(query);
}


/* megabytes of anything are read once, and what matters is still found */
static void
test_long(void **state)
{
    size_t         i, len;
    mapi_query_t   q;
    unsigned char  *query, buf[2 * MAPI_IDENTITY_MAX];

    static const char *const  fill[] = { "&", "=", "%", "a=b&", "%41%" };

    len = 2 * 1024 * 1024;
    query = malloc(len + 128);
    assert_non_null(query);

    for (i = 0; i < unit_items(fill); i++) {
        size_t  n, size = strlen(fill[i]);

        for (n = 0; n < len; n++) {
            query[n] = (unsigned char) fill[i][n % size];
        }

        memcpy(query + len, "&MailboxId=" ID, sizeof("&MailboxId=" ID) - 1);

        assert_int_equal(mapi_request_query(&q, query,
                             len + sizeof("&MailboxId=" ID) - 1, buf),
                         MAPI_OK);
        assert_int_equal(q.identity.kind, mapi_identity_guid);
    }

    free(query);
}


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    int            rc;
    mapi_query_t   q;
    unsigned char  buf[2 * MAPI_IDENTITY_MAX];

    rc = mapi_request_query(&q, p, len, buf);

    if (rc == MAPI_OK) {
        assert_int_equal(q.caller, q.identity.kind == mapi_identity_none);

    } else {
        assert_int_equal(q.caller, 0);
        assert_int_equal(q.identity.kind, mapi_identity_none);
    }

    (void) mapi_request_endpoint(p, len);
}


static void
test_prefixes(void **state)
{
    size_t  i;

    for (i = 0; i < unit_items(cases); i++) {
        unit_prefixes(cases[i].query, strlen(cases[i].query), one_prefix,
                      NULL);
    }

    unit_prefixes("/mapi/healthcheck.htm", 21, one_prefix, NULL);
}


static mapi_endpoint_e
slow_endpoint(const unsigned char *p, size_t len)
{
    size_t          i, n;
    unsigned char   low[32];

    static const struct {
        const char       *path;
        mapi_endpoint_e   endpoint;
    } paths[] = {
        { "/mapi/emsmdb", mapi_endpoint_emsmdb },
        { "/mapi/emsmdb/", mapi_endpoint_emsmdb },
        { "/mapi/nspi", mapi_endpoint_nspi },
        { "/mapi/nspi/", mapi_endpoint_nspi },
        { "/mapi/healthcheck.htm", mapi_endpoint_health }
    };

    for (i = 0; i < unit_items(paths); i++) {
        for (n = 0; n < len && n < sizeof(low); n++) {
            low[n] = mapi_tolower(p[n]);
        }

        if (len == strlen(paths[i].path)
            && memcmp(low, paths[i].path, len) == 0)
        {
            return paths[i].endpoint;
        }
    }

    return mapi_endpoint_none;
}


/* every byte in every place of every path, and every prefix */
static void
test_endpoint_bytes(void **state)
{
    int             c;
    size_t          i, n, len;
    unit_edge_t     e;
    unsigned char  *p, byte;

    static const char *const  paths[] = {
        "/mapi/emsmdb", "/mapi/emsmdb/", "/mapi/nspi", "/mapi/nspi/",
        "/MAPI/EMSMDB/", "/Mapi/Nspi/", "/mapi/healthcheck.htm",
        "/MAPI/HealthCheck.htm", "/mapi/healthcheck.htm/"
    };

    e = unit_edge_create(256);

    for (i = 0; i < unit_items(paths); i++) {
        for (len = 0; len <= strlen(paths[i]); len++) {
            p = unit_edge_copy(&e, paths[i], len);

            assert_int_equal(mapi_request_endpoint(p, len),
                             slow_endpoint(p, len));

            for (n = 0; n < len; n++) {
                byte = p[n];

                for (c = 0; c < 256; c++) {
                    p[n] = (unsigned char) c;
                    assert_int_equal(mapi_request_endpoint(p, len),
                                     slow_endpoint(p, len));
                }

                p[n] = byte;
            }
        }
    }

    unit_edge_destroy(&e);
}


/* byte by byte, and the whole of it before anything is judged */

static int
slow_decode(unsigned char *dst, size_t size, const unsigned char *p,
    size_t len, size_t *n)
{
    size_t  i;

    for (i = 0, *n = 0; i < len; i++) {

        if (*n == size) {
            return MAPI_ERROR;
        }

        dst[*n] = p[i];

        if (p[i] == '%') {
            if (len - i < 3
                || mapi_hex(p[i + 1]) < 0 || mapi_hex(p[i + 2]) < 0)
            {
                return MAPI_ERROR;
            }

            dst[*n] = (unsigned char) (mapi_hex(p[i + 1]) * 16
                                       + mapi_hex(p[i + 2]));
            i += 2;
        }

        (*n)++;
    }

    return MAPI_OK;
}


static int
slow_query(mapi_query_t *q, const unsigned char *p, size_t len,
    unsigned char *buf)
{
    size_t                i, n, k, count[3], lengths[3];
    mapi_str_t            name, value;
    mapi_identity_t       address;
    const unsigned char  *end, *equals, *values[3];
    unsigned char         low[4096];

    static const char *const  names[] = {
        "mailboxid", "smtpaddress", "usemailboxofauthenticateduser"
    };

    memset(q, 0, sizeof(mapi_query_t));
    memset(count, 0, sizeof(count));

    for (i = 0; i < len; i++) {
        if (p[i] <= ' ' || p[i] == '#' || p[i] == 0x7f) {
            return MAPI_ERROR;
        }
    }

    for (end = p + len; p <= end; p = equals + 1) {

        for (i = 0; p + i < end && p[i] != '&'; i++) { /* void */ }

        equals = p + i;

        for (n = 0; n < i && p[n] != '='; n++) { /* void */ }

        if (slow_decode(low, sizeof(low), p, n, &name.len) != MAPI_OK) {
            continue;
        }

        for (k = 0; k < name.len; k++) {
            low[k] = mapi_tolower(low[k]);
        }

        for (k = 0; k < 3; k++) {
            if (name.len == strlen(names[k])
                && memcmp(low, names[k], name.len) == 0)
            {
                count[k]++;
                values[k] = p + n + (n < i);
                lengths[k] = i - n - (n < i);
            }
        }
    }

    if (count[0] > 1 || count[1] > 1) {
        return MAPI_ERROR;
    }

    if (count[1]
        && (slow_decode(low, MAPI_IDENTITY_MAX, values[1], lengths[1], &n)
            != MAPI_OK
            || mapi_identity_parse_smtp(&address, low, n, buf) != MAPI_OK))
    {
        return MAPI_ERROR;
    }

    if (count[0]) {
        return slow_decode(low, MAPI_IDENTITY_MAX, values[0], lengths[0], &n)
               != MAPI_OK
               || mapi_identity_parse_mailbox_id(&q->identity, low, n, buf)
                  != MAPI_OK ? MAPI_ERROR : MAPI_OK;
    }

    if (count[1]) {
        q->identity = address;
        return MAPI_OK;
    }

    if (count[2] != 1
        || slow_decode(low, 64, values[2], lengths[2], &n) != MAPI_OK)
    {
        return MAPI_DECLINED;
    }

    value.data = low;
    value.len = n;

    while (value.len && (strchr(" \t\n\v\f\r", value.data[0]))) {
        value.data++;
        value.len--;
    }

    while (value.len && (strchr(" \t\n\v\f\r", value.data[value.len - 1]))) {
        value.len--;
    }

    for (k = 0; k < value.len; k++) {
        value.data[k] = mapi_tolower(value.data[k]);
    }

    if (value.len != 4 || memcmp(value.data, "true", 4) != 0) {
        return MAPI_DECLINED;
    }

    q->caller = 1;

    return MAPI_OK;
}


static void
check_slow(const unsigned char *p, size_t len, unsigned char *buf)
{
    int            rc;
    mapi_query_t   q, slow;
    unsigned char  other[2 * MAPI_IDENTITY_MAX];

    memset(&q, 0xa5, sizeof(q));

    rc = mapi_request_query(&q, p, len, buf);

    if (rc != slow_query(&slow, p, len, other)) {
        fail_msg("%d of %.*s", rc, (int) len, p);
    }

    assert_int_equal(q.caller, slow.caller);
    assert_int_equal(q.identity.kind, slow.identity.kind);

    if (rc != MAPI_OK || q.caller) {
        assert_true(mapi_guid_is_null(&q.identity.guid));
        return;
    }

    assert_memory_equal(q.identity.guid.b, slow.identity.guid.b, 16);
    assert_true(mapi_str_eq(&q.identity.text, &slow.identity.text));
    assert_true(mapi_str_eq(&q.identity.domain, &slow.identity.domain));
    assert_ptr_equal(q.identity.text.data,
                     buf + (q.identity.kind == mapi_identity_smtp
                            ? MAPI_IDENTITY_MAX : 0));
}


/*
 * All ways to read give what the slow one gives: queries of every kind with
 * every byte in every place, each byte left out, doubled or escaped, in front
 * of a part of itself, and domains of every length.
 */

static void
test_slow(void **state)
{
    int             c;
    size_t          i, n, k, len;
    uint64_t        x;
    unit_edge_t     in, out;
    unsigned char  *p, *buf, text[1024];

    static const char *const  seeds[] = {
        "MailboxId=" ID,
        "MailboxId=" UGUID "@E",
        "MailboxId=" GUID "@exchange",
        "MailboxId=" GUID "@exchange01.corp.example.com",
        "mailboxid=" ID "&x=y",
        "smtpAddress=Alice@Example.com",
        "a=b&useMailboxOfAuthenticatedUser=True&c",
        "MailboxId=" GUID "%40d&smtpAddress=a%40b"
    };

    static const char  marks[] = "aA0@&=%+#\x7f/\\ \xc3\xb6-";

    x = 0x9e3779b97f4a7c15ULL;

    in = unit_edge_create(1024);
    out = unit_edge_create(2 * MAPI_IDENTITY_MAX);
    buf = unit_edge_tail(&out, 2 * MAPI_IDENTITY_MAX);

    for (i = 0; i < unit_items(seeds); i++) {
        len = strlen(seeds[i]);

        for (n = 0; n <= len; n++) {

            /* a prefix, and the whole without, with two, with an escape */

            check_slow(unit_edge_copy(&in, seeds[i], n), n, buf);

            memcpy(text, seeds[i], len);
            memmove(text + n, text + n + 1, n < len ? len - n - 1 : 0);
            check_slow(unit_edge_copy(&in, text, len - 1), len - 1, buf);

            for (c = 0; c < 256; c++) {

                if (n < len) {
                    p = unit_edge_copy(&in, seeds[i], len);
                    p[n] = (unsigned char) c;
                    check_slow(p, len, buf);
                }

                memcpy(text, seeds[i], n);
                text[n] = (unsigned char) c;
                memcpy(text + n + 1, seeds[i] + n, len - n);
                check_slow(unit_edge_copy(&in, text, len + 1), len + 1, buf);

                k = n + sprintf((char *) text + n, c & 1 ? "%%%02x" : "%%%02X",
                                (unsigned) c);
                memcpy(text + k, seeds[i] + n, len - n);
                check_slow(unit_edge_copy(&in, text, len + 3), len + 3, buf);

                if (n < len) {
                    k = n + sprintf((char *) text + n, "%%%02x",
                                    (unsigned) seeds[i][n]);
                    memcpy(text + k, seeds[i] + n + 1, len - n - 1);
                    check_slow(unit_edge_copy(&in, text, len + 2), len + 2,
                               buf);
                }
            }
        }

        /* one in front of another, and of a part of it */

        for (k = 0; k < unit_items(seeds); k++) {
            for (n = 0; n <= strlen(seeds[k]); n++) {
                memcpy(text, seeds[i], len);
                text[len] = '&';
                memcpy(text + len + 1, seeds[k], n);
                check_slow(unit_edge_copy(&in, text, len + 1 + n), len + 1 + n,
                           buf);
            }
        }
    }

    /* several bytes changed at once, at every length of the domain */

    for (n = 0; n <= MAPI_IDENTITY_MAX; n++) {
        len = sizeof("MailboxId=" GUID "@") - 1;
        memcpy(text, "MailboxId=" GUID "@", len);

        for (k = 0; k < n; k++) {
            text[len++] = "az.-09AZ_"[unit_random(&x) % 9];
        }

        p = unit_edge_copy(&in, text, len);
        check_slow(p, len, buf);

        for (k = 0; k < 200; k++) {
            memcpy(p, text, len);

            for (i = 0; i <= k % 3; i++) {
                c = (int) (unit_random(&x) & 0xff);

                if (k & 4) {
                    c = marks[c % (sizeof(marks) - 1)];
                }

                p[unit_random(&x) % len] = (unsigned char) c;
            }

            check_slow(p, len, buf);
        }
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_endpoint),
        cmocka_unit_test(test_endpoint_bytes),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_prefixes)
    };

    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
