
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


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_endpoint),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_prefixes)
    };

    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
