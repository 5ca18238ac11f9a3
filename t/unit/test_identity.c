
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_identity.h"


#define GUID    "8b1efa87-76ba-443a-8ad9-80d8742a2b67"
#define UGUID   "8B1EFA87-76BA-443A-8AD9-80D8742A2B67"


typedef int (*parse_pt)(mapi_identity_t *, const unsigned char *, size_t,
    unsigned char *);


/* text NULL: refused; domain: what the GUID was followed by */
typedef struct {
    const char            *input;
    mapi_identity_kind_e   kind;
    const char            *text;
    const char            *domain;
} case_t;


static void
check(parse_pt parse, const case_t *c, const unsigned char *p, size_t len,
    unsigned char *buf)
{
    int              rc;
    mapi_identity_t  id;

    memset(&id, 0xa5, sizeof(id));

    rc = parse(&id, p, len, buf);

    if (c->text == NULL) {
        assert_int_equal(rc, MAPI_ERROR);
        assert_int_equal(id.kind, mapi_identity_none);
        assert_int_equal(id.text.len, 0);
        return;
    }

    assert_int_equal(rc, MAPI_OK);
    assert_int_equal(id.kind, c->kind);
    unit_assert_str(&id.text, c->text);
    unit_assert_str(&id.domain, c->domain ? c->domain : "");
    assert_ptr_equal(id.text.data, buf);
    assert_true(id.text.len + id.domain.len <= MAPI_IDENTITY_MAX);
}


/* each case with a buffer of its own, which ends where memory ends, and in
 * the place of the input */

static void
check_all(parse_pt parse, const case_t *cases, size_t n)
{
    size_t          i, len;
    unit_edge_t     in, out;
    unsigned char  *p;

    in = unit_edge_create(MAPI_IDENTITY_MAX);
    out = unit_edge_create(MAPI_IDENTITY_MAX);

    for (i = 0; i < n; i++) {
        len = strlen(cases[i].input);

        p = unit_edge_copy(&in, cases[i].input, len);
        check(parse, &cases[i], p, len,
              unit_edge_tail(&out, MAPI_IDENTITY_MAX));
        assert_memory_equal(p, cases[i].input, len);

        check(parse, &cases[i], p, len, p);
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


/* what no kind of identity accepts */
static const case_t  refused[] = {
    { "", 0, NULL, NULL },
    { " ", 0, NULL, NULL },
    { "@", 0, NULL, NULL },
    { "alice@", 0, NULL, NULL },
    { "@example.com", 0, NULL, NULL },
    { "a@b@example.com", 0, NULL, NULL },
    { "alice@example.com\n", 0, NULL, NULL },
    { "al\tice@example.com", 0, NULL, NULL },
    { "alice@example\x7f.com", 0, NULL, NULL },
    { "\x01lice@example.com", 0, NULL, NULL },
    { "al\xffice@example.com", 0, NULL, NULL },
    { "al\xc0\xafice@example.com", 0, NULL, NULL },      /* overlong / */
    { "al\xc1\xbfice@example.com", 0, NULL, NULL },
    { "al\xe0\x80\xafice@example.com", 0, NULL, NULL },
    { "al\xed\xa0\x80ice@example.com", 0, NULL, NULL },  /* surrogate */
    { "al\xf0\x80\x80\xafice@example.com", 0, NULL, NULL },
    { "al\xf4\x90\x80\x80ice@example.com", 0, NULL, NULL },
    { "al\xf5\x80\x80\x80ice@example.com", 0, NULL, NULL },
    { "al\x80ice@example.com", 0, NULL, NULL },
    { "alice@example.com\xc3", 0, NULL, NULL },
    { "alice@example.com\xe2\x82", 0, NULL, NULL },
    { "alice@example.com\xf0\x9f\x98", 0, NULL, NULL },
    { "alice@\xe2\x28\xa1xample.com", 0, NULL, NULL },
    { GUID "@", 0, NULL, NULL },
    { "@" GUID, 0, NULL, NULL },
    { GUID "@a@b", 0, NULL, NULL },
    { GUID "@exa\x01mple.com", 0, NULL, NULL },
    { "CORP\\", 0, NULL, NULL },
    { "\\alice", 0, NULL, NULL },
    { "\\", 0, NULL, NULL },
    { "CORP\\EU\\alice", 0, NULL, NULL },
    { " alice", 0, NULL, NULL },
    { "alice ", 0, NULL, NULL }
};


static void
test_mailbox_id(void **state)
{
    static const case_t  cases[] = {
        { GUID "@example.com", mapi_identity_guid, GUID, "example.com" },
        { UGUID "@My.Domain", mapi_identity_guid, GUID, "My.Domain" },
        { GUID "@x", mapi_identity_guid, GUID, "x" },
        { GUID "@" GUID, mapi_identity_guid, GUID, GUID },
        { GUID "@m\xc3\xbcller.example", mapi_identity_guid, GUID,
          "m\xc3\xbcller.example" },
        { GUID, 0, NULL, NULL },
        { "{" GUID "}@example.com", 0, NULL, NULL },
        { GUID "x@example.com", 0, NULL, NULL },
        { GUID ".example.com", 0, NULL, NULL },
        { GUID "@exam ple.com", 0, NULL, NULL },
        { GUID "@example.com ", 0, NULL, NULL },
        { GUID " @example.com", 0, NULL, NULL },
        { " " GUID "@example.com", 0, NULL, NULL },
        { "8b1efa8776ba443a8ad980d8742a2b67@example.com", 0, NULL, NULL },
        { "alice@example.com", 0, NULL, NULL },
        { "alice", 0, NULL, NULL }
    };

    check_all(mapi_identity_parse_mailbox_id, cases, unit_items(cases));
    check_all(mapi_identity_parse_mailbox_id, refused, unit_items(refused));
}


static void
test_smtp(void **state)
{
    static const case_t  cases[] = {
        { "Alice@Example.COM", mapi_identity_smtp, "alice@example.com",
          NULL },
        { "a@b", mapi_identity_smtp, "a@b", NULL },
        { "alice+tag@example.com", mapi_identity_smtp,
          "alice+tag@example.com", NULL },
        { "j\xc3\xb6rg@\xe4\xbe\x8b\xe3\x81\x88.jp", mapi_identity_smtp,
          "j\xc3\xb6rg@\xe4\xbe\x8b\xe3\x81\x88.jp", NULL },
        { "\xf0\x9f\x98\x80@example.com", mapi_identity_smtp,
          "\xf0\x9f\x98\x80@example.com", NULL },
        { "J\xc3\x96RG@example.com", mapi_identity_smtp,
          "j\xc3\x96rg@example.com", NULL },   /* only ASCII is lowered */
        { UGUID "@Example.com", mapi_identity_smtp, GUID "@example.com",
          NULL },
        { GUID, 0, NULL, NULL },
        { "alice", 0, NULL, NULL },
        { "alice @example.com", 0, NULL, NULL },
        { " alice@example.com", 0, NULL, NULL },
        { "alice@example.com ", 0, NULL, NULL },
        { "alice@exam ple.com", 0, NULL, NULL }
    };

    check_all(mapi_identity_parse_smtp, cases, unit_items(cases));
    check_all(mapi_identity_parse_smtp, refused, unit_items(refused));
}


static void
test_anchor(void **state)
{
    static const case_t  cases[] = {
        { UGUID, mapi_identity_guid, GUID, NULL },
        { UGUID "@example.com", mapi_identity_guid, GUID, "example.com" },
        { "Alice@example.com", mapi_identity_smtp, "alice@example.com",
          NULL },
        { "S-1-5-21-1004336348-1177238915-682003330-512@example.com", 0,
          NULL, NULL },
        { "s-1-5-18@example.com", 0, NULL, NULL },
        { "S-1-5-21-1004336348-1177238915-682003330-512", 0, NULL, NULL },
        { "s-1-team@example.com", mapi_identity_smtp,
          "s-1-team@example.com", NULL },
        { "s-1-@example.com", mapi_identity_smtp, "s-1-@example.com",
          NULL },
        { "{" GUID "}", 0, NULL, NULL },
        { "CORP\\alice", 0, NULL, NULL },
        { "alice", 0, NULL, NULL }
    };

    check_all(mapi_identity_parse_anchor, cases, unit_items(cases));
    check_all(mapi_identity_parse_anchor, refused, unit_items(refused));
}


static const case_t  users[] = {
    { "RIG\\Alice", mapi_identity_account, "rig\\alice", NULL },
    { "Alice@Rig.test", mapi_identity_upn, "alice@rig.test", NULL },
    { "Alice", mapi_identity_account, "alice", NULL },
    { "Alice Smith", mapi_identity_account, "alice smith", NULL },
    { "MY CORP\\Alice Smith", mapi_identity_account,
      "my corp\\alice smith", NULL },
    { "CORP\\alice@example.com", mapi_identity_account,
      "corp\\alice@example.com", NULL },
    { "alice smith@example.com", mapi_identity_upn,
      "alice smith@example.com", NULL },
    { "J\xc3\xb6RG", mapi_identity_account, "j\xc3\xb6rg", NULL }
};


static void
test_user(void **state)
{
    static const case_t  cases[] = {
        { UGUID, mapi_identity_account, GUID, NULL },
        { UGUID "@example.com", mapi_identity_upn, GUID "@example.com",
          NULL }
    };

    check_all(mapi_identity_parse_user, users, unit_items(users));
    check_all(mapi_identity_parse_user, cases, unit_items(cases));
    check_all(mapi_identity_parse_user, refused, unit_items(refused));
}


static void
test_any(void **state)
{
    static const case_t  cases[] = {
        { UGUID, mapi_identity_guid, GUID, NULL },
        { UGUID "@example.com", mapi_identity_guid, GUID, "example.com" }
    };

    check_all(mapi_identity_parse_any, users, unit_items(users));
    check_all(mapi_identity_parse_any, cases, unit_items(cases));
}


static const parse_pt  parsers[] = {
    mapi_identity_parse_mailbox_id,
    mapi_identity_parse_smtp,
    mapi_identity_parse_anchor,
    mapi_identity_parse_user,
    mapi_identity_parse_any
};


static void
test_guid_bytes(void **state)
{
    size_t           i;
    mapi_identity_t  id;
    unsigned char    buf[MAPI_IDENTITY_MAX];

    static const unsigned char  expected[16] = {
        0x8b, 0x1e, 0xfa, 0x87, 0x76, 0xba, 0x44, 0x3a,
        0x8a, 0xd9, 0x80, 0xd8, 0x74, 0x2a, 0x2b, 0x67
    };

    for (i = 0; i < unit_items(parsers); i++) {
        if (parsers[i](&id, unit_text(UGUID "@x"), buf) == MAPI_OK
            && id.kind == mapi_identity_guid)
        {
            assert_memory_equal(id.guid.b, expected, 16);
        }
    }
}


/* the longest is accepted, one byte more is not */
static void
test_length(void **state)
{
    size_t          i;
    unit_edge_t     in, out;
    unsigned char  *p, *buf;
    mapi_identity_t  id;

    in = unit_edge_create(MAPI_IDENTITY_MAX + 1);
    out = unit_edge_create(MAPI_IDENTITY_MAX);
    buf = unit_edge_tail(&out, MAPI_IDENTITY_MAX);

    for (i = 0; i < unit_items(parsers); i++) {
        p = unit_edge_tail(&in, MAPI_IDENTITY_MAX);
        memset(p, 'x', MAPI_IDENTITY_MAX);
        memcpy(p, GUID "@", MAPI_GUID_LEN + 1);
        assert_int_equal(parsers[i](&id, p, MAPI_IDENTITY_MAX, buf),
                         MAPI_OK);

        p = unit_edge_tail(&in, MAPI_IDENTITY_MAX + 1);
        memset(p, 'x', MAPI_IDENTITY_MAX + 1);
        memcpy(p, GUID "@", MAPI_GUID_LEN + 1);
        assert_int_equal(parsers[i](&id, p, MAPI_IDENTITY_MAX + 1, buf),
                         MAPI_ERROR);
    }

    unit_edge_destroy(&in);
    unit_edge_destroy(&out);
}


/* a zero byte is refused wherever it stands */
static void
test_zero(void **state)
{
    size_t           i, j;
    mapi_identity_t  id;
    unsigned char    text[] = GUID "@x", buf[MAPI_IDENTITY_MAX];

    for (i = 0; i < unit_items(parsers); i++) {
        for (j = 0; j < sizeof(text) - 1; j++) {
            memcpy(text, GUID "@x", sizeof(text));
            text[j] = 0;
            assert_int_equal(parsers[i](&id, text, sizeof(text) - 1, buf),
                             MAPI_ERROR);
        }
    }
}


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    size_t           i;
    mapi_identity_t  id;
    unsigned char    buf[MAPI_IDENTITY_MAX];

    for (i = 0; i < unit_items(parsers); i++) {
        if (parsers[i](&id, p, len, buf) == MAPI_OK) {
            assert_true(id.text.len > 0);
            assert_true(id.text.len <= len);
            assert_int_not_equal(id.kind, mapi_identity_none);

        } else {
            assert_int_equal(id.kind, mapi_identity_none);
        }
    }
}


static void
test_prefixes(void **state)
{
    size_t  i;

    static const char *const  inputs[] = {
        UGUID "@m\xc3\xbcller.example",
        "S-1-5-21-1004336348-1177238915-682003330-512@example.com",
        "CORP\\j\xc3\xb6rg \xf0\x9f\x98\x80 \xe2\x82\xac",
        "alice@example.com"
    };

    for (i = 0; i < unit_items(inputs); i++) {
        unit_prefixes(inputs[i], strlen(inputs[i]), one_prefix, NULL);
    }
}


/* the rules byte by byte: what is in a name, and what it may be */

static int
slow_parse(const unsigned char *p, size_t len, mapi_identity_kind_e kind)
{
    size_t       i, n, nat, nbackslash, nblank, at;
    mapi_guid_t  guid;

    nat = nbackslash = nblank = at = 0;

    if (len == 0 || len > MAPI_IDENTITY_MAX) {
        return MAPI_ERROR;
    }

    for (i = 0; i < len; i += n) {
        n = p[i] < 0x80 ? 1 : mapi_utf8(p + i, len - i);

        if (n == 0 || p[i] < 0x20 || p[i] == 0x7f) {
            return MAPI_ERROR;
        }

        if ((p[i] == '@' && nat + nbackslash == 0)
            || (p[i] == '\\' && nbackslash == 0))
        {
            at = i;
        }

        nat += p[i] == '@';
        nbackslash += p[i] == '\\';
        nblank += p[i] == ' ';
    }

    switch (kind) {

    case mapi_identity_guid:
        return nat == 1 && nblank == 0 && len > MAPI_GUID_LEN + 1
               && p[MAPI_GUID_LEN] == '@'
               && mapi_guid_parse(&guid, p, MAPI_GUID_LEN) == MAPI_OK
               ? MAPI_OK : MAPI_ERROR;

    case mapi_identity_smtp:
        for (at = 0; at < len && p[at] != '@'; at++) { /* void */ }

        return nat == 1 && nblank == 0 && at > 0 && at < len - 1
               ? MAPI_OK : MAPI_ERROR;

    default:
        if (p[0] == ' ' || p[len - 1] == ' ') {
            return MAPI_ERROR;
        }

        if (nat + nbackslash == 0) {
            return MAPI_OK;
        }

        return (nbackslash ? nbackslash == 1 : nat == 1)
               && at > 0 && at < len - 1
               ? MAPI_OK : MAPI_ERROR;
    }
}


static void
check_slow(const unsigned char *p, size_t len)
{
    size_t           i, n;
    mapi_identity_t  id;
    unsigned char    buf[MAPI_IDENTITY_MAX];

    static const struct {
        parse_pt              parse;
        mapi_identity_kind_e  kind;
    } kinds[] = {
        { mapi_identity_parse_mailbox_id, mapi_identity_guid },
        { mapi_identity_parse_smtp, mapi_identity_smtp },
        { mapi_identity_parse_user, mapi_identity_account }
    };

    for (i = 0; i < unit_items(kinds); i++) {

        if (kinds[i].parse(&id, p, len, buf)
            != slow_parse(p, len, kinds[i].kind))
        {
            fail_msg("kind %u of %.*s", (unsigned) kinds[i].kind, (int) len,
                     p);
        }

        for (n = 0; id.kind && n < id.text.len; n++) {
            assert_int_equal(id.text.data[n], mapi_tolower(p[n]));
        }

        if (id.kind == mapi_identity_guid) {
            assert_int_equal(id.domain.len, len - MAPI_GUID_LEN - 1);
            assert_memory_equal(id.domain.data, p + MAPI_GUID_LEN + 1,
                                id.domain.len);
        }
    }
}


/* every byte in every place, every prefix, and several bytes at once */
static void
test_slow(void **state)
{
    int             c;
    size_t          i, n, k, len;
    uint64_t        x;
    unit_edge_t     e;
    unsigned char  *p;

    static const char *const  seeds[] = {
        GUID "@example.com",
        UGUID "@E",
        "Alice.Miller@Example.com",
        "a@b",
        "CORP\\Alice Miller",
        "x\\y@z",
        "j\xc3\xb6rg m\xe2\x82\xacller\xf0\x9f\x98\x80",
        "0123456789abcdefghijklmn"
    };

    static const unsigned char  bytes[] = "aZ0-@\\ \x7f\xc3\xb6\x1f_~";

    x = 0x9e3779b97f4a7c15ULL;

    e = unit_edge_create(MAPI_IDENTITY_MAX);

    for (i = 0; i < unit_items(seeds); i++) {
        len = strlen(seeds[i]);

        for (n = 0; n < len; n++) {
            check_slow(unit_edge_copy(&e, seeds[i], n), n);

            p = unit_edge_copy(&e, seeds[i], len);

            for (c = 0; c < 256; c++) {
                p[n] = (unsigned char) c;
                check_slow(p, len);
            }

            for (k = 0; k < 300; k++) {
                memcpy(p, seeds[i], len);
                p[n] = bytes[unit_random(&x) % (sizeof(bytes) - 1)];
                p[unit_random(&x) % len] = bytes[unit_random(&x)
                                                 % (sizeof(bytes) - 1)];
                check_slow(p, len);
            }
        }
    }

    unit_edge_destroy(&e);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_mailbox_id),
        cmocka_unit_test(test_smtp),
        cmocka_unit_test(test_anchor),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_guid_bytes),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_prefixes)
    };

    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
