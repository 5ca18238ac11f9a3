
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_affinity.h"
#include "mapi_base64.h"

#include <sys/wait.h>


#define NOW       1795350000U     /* 44,400 s into a day */
#define DAY       86400U
#define LIFETIME  900U


static const mapi_str_t  upstream = mapi_string("exchange");
static const mapi_str_t  alice = mapi_string("alice@example.com");
static const mapi_str_t  guid = mapi_string(
                                  "616c6963-6540-7269-672e-746501000000");
static const mapi_str_t  ex1 = mapi_string("ex1.corp.example.com");
static const mapi_str_t  ex2 = mapi_string("ex2.corp.example.com");

/* the first is the bytes 00 to 1f */
static unsigned char  key_bytes[3 * MAPI_AFFINITY_KEY_LEN];


static int
setup(void **state)
{
    size_t  i;

    for (i = 0; i < sizeof(key_bytes); i++) {
        key_bytes[i] = (unsigned char) i;
    }

    return 0;
}


/* keys number "first" and the n - 1 behind it */
static mapi_affinity_keys_t *
keys(unsigned first, unsigned n, uint32_t lifetime)
{
    mapi_affinity_keys_t  *k;

    k = mapi_affinity_keys_create(key_bytes + first * MAPI_AFFINITY_KEY_LEN,
                                  n, lifetime);
    assert_non_null(k);

    return k;
}


static mapi_str_t
seal(mapi_affinity_keys_t *k, uint32_t now, const mapi_affinity_t *a,
    unsigned char *buf)
{
    mapi_str_t  value;

    value.data = buf;
    value.len = mapi_affinity_seal(k, now, &upstream, a, buf);

    assert_true(value.len > 0);
    assert_true(value.len <= MAPI_AFFINITY_VALUE_MAX);

    return value;
}


static void
cookie(mapi_affinity_t *a)
{
    memset(a, 0, sizeof(mapi_affinity_t));

    assert_int_equal(mapi_affinity_put(a, &alice, &ex2, NOW + LIFETIME),
                     MAPI_OK);
    assert_int_equal(mapi_affinity_put(a, &guid, &ex1, NOW + LIFETIME),
                     MAPI_OK);
}


static int
names(const mapi_affinity_t *a, const mapi_str_t *identity,
    const mapi_str_t *server)
{
    const mapi_affinity_entry_t  *e;

    e = mapi_affinity_find(a, identity);

    return e && mapi_affinity_is_server(a, e, server);
}


static void
check_cookie(const mapi_affinity_t *a)
{
    assert_int_equal(a->n, 2);
    assert_true(names(a, &guid, &ex1));
    assert_true(names(a, &alice, &ex2));
    assert_false(names(a, &guid, &ex2));
    assert_false(names(a, &ex1, &ex1));
}


/* made by another implementation, so that nodes and releases agree */
static void
test_vector(void **state)
{
    mapi_affinity_t        a;
    mapi_affinity_keys_t  *k;

    static const mapi_str_t  value = mapi_string(
        "AVErZGVmZ2hpamtsbW5vQVhYjXSPWAPoApjWtf0N9ZGicB8Oef3YnNyO31NK"
        "p8D9u2vNQokxnvYDngQW1aGJ0ol4vcvu42YroKJw0gsFeg");

    k = keys(0, 1, LIFETIME);

    assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &a),
                     MAPI_OK);
    check_cookie(&a);

    assert_int_equal(a.salt, 0x0102030405060708ULL);
    assert_int_equal(a.entries[0].expires, NOW + 900);
    assert_int_equal(a.entries[1].expires, NOW + 60);
    assert_ptr_equal(mapi_affinity_find(&a, &guid), &a.entries[0]);

    mapi_affinity_keys_destroy(k);
}


static void
test_round_trip(void **state)
{
    unsigned               n;
    char                   name[32];
    mapi_str_t             value, id;
    unit_edge_t            e, in;
    unsigned char         *buf;
    mapi_affinity_t        a, b;
    mapi_affinity_keys_t  *k;

    k = keys(0, 1, LIFETIME);
    e = unit_edge_create(MAPI_AFFINITY_VALUE_MAX);
    in = unit_edge_create(MAPI_AFFINITY_VALUE_MAX);
    buf = unit_edge_tail(&e, MAPI_AFFINITY_VALUE_MAX);

    memset(&a, 0, sizeof(a));

    for (n = 0; n <= MAPI_AFFINITY_ENTRIES; n++) {
        value = seal(k, NOW, &a, buf);
        assert_int_equal(value.len, mapi_base64_encoded(39 + 20 * n));
        value.data = unit_edge_copy(&in, value.data, value.len);

        memset(&b, 0xa5, sizeof(b));
        assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &b),
                         MAPI_OK);
        assert_int_equal(b.n, n);
        assert_int_equal(b.salt, a.salt);
        assert_memory_equal(b.entries, a.entries,
                            n * sizeof(mapi_affinity_entry_t));

        sprintf(name, "user%u@example.com", n);
        id = unit_str(name);
        assert_int_equal(mapi_affinity_put(&a, &id, &ex1, NOW + 60 + n),
                         MAPI_OK);
    }

    assert_int_equal(value.len, MAPI_AFFINITY_VALUE_MAX);

    a.n = MAPI_AFFINITY_ENTRIES + 1;
    assert_int_equal(mapi_affinity_seal(k, NOW, &upstream, &a, buf), 0);

    unit_edge_destroy(&e);
    unit_edge_destroy(&in);
    mapi_affinity_keys_destroy(k);
}


static void
test_rotation(void **state)
{
    mapi_str_t             value;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_t        a, b;
    mapi_affinity_keys_t  *old, *both, *newer;

    old = keys(1, 1, LIFETIME);            /* B */
    both = keys(0, 2, LIFETIME);           /* A, B */
    newer = keys(0, 1, LIFETIME);          /* A */

    cookie(&a);

    /* the older key still opens, the first one seals */

    value = seal(old, NOW, &a, buf);
    assert_int_equal(mapi_affinity_open(both, NOW, &upstream, &value, &b),
                     MAPI_OK);
    check_cookie(&b);
    assert_int_equal(mapi_affinity_open(newer, NOW, &upstream, &value, &a),
                     MAPI_DECLINED);
    assert_int_equal(a.n, 0);

    value = seal(both, NOW, &b, buf);
    assert_int_equal(mapi_affinity_open(newer, NOW, &upstream, &value, &a),
                     MAPI_OK);
    check_cookie(&a);
    assert_int_equal(mapi_affinity_open(old, NOW, &upstream, &value, &a),
                     MAPI_DECLINED);

    mapi_affinity_keys_destroy(old);
    mapi_affinity_keys_destroy(both);
    mapi_affinity_keys_destroy(newer);
}


static void
test_foreign(void **state)
{
    mapi_str_t             value, other;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_t        a, b;
    mapi_affinity_keys_t  *k, *stranger;

    k = keys(0, 2, LIFETIME);
    stranger = keys(2, 1, LIFETIME);
    cookie(&a);

    value = seal(stranger, NOW, &a, buf);
    assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &b),
                     MAPI_DECLINED);

    value = seal(k, NOW, &a, buf);

    other = unit_str("exchange2");
    assert_int_equal(mapi_affinity_open(k, NOW, &other, &value, &b),
                     MAPI_DECLINED);
    other = unit_str("Exchange");
    assert_int_equal(mapi_affinity_open(k, NOW, &other, &value, &b),
                     MAPI_DECLINED);
    other = unit_str("");
    assert_int_equal(mapi_affinity_open(k, NOW, &other, &value, &b),
                     MAPI_DECLINED);

    /* after all that, the right one is still read */

    assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &b),
                     MAPI_OK);
    check_cookie(&b);

    mapi_affinity_keys_destroy(k);
    mapi_affinity_keys_destroy(stranger);
}


static int
refused(mapi_affinity_keys_t *k, const unsigned char *p, size_t len)
{
    mapi_str_t       value;
    mapi_affinity_t  a, zero;

    memset(&zero, 0, sizeof(zero));
    memset(&a, 0xa5, sizeof(a));

    value.data = (unsigned char *) p;
    value.len = len;

    return mapi_affinity_open(k, NOW, &upstream, &value, &a) == MAPI_DECLINED
           && a.n == 0 && a.salt == 0
           && memcmp(a.entries, zero.entries, sizeof(zero.entries)) == 0;
}


static void
test_flips(void **state)
{
    size_t                 i, len;
    unsigned               bit;
    mapi_str_t             value;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    unsigned char          box[256], text[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_t        a;
    mapi_affinity_keys_t  *k;

    k = keys(0, 2, 3 * DAY);
    cookie(&a);
    value = seal(k, NOW, &a, buf);

    for (i = 0; i < value.len; i++) {
        for (bit = 0; bit < 8; bit++) {
            buf[i] ^= 1 << bit;
            assert_true(refused(k, buf, value.len));
            buf[i] ^= 1 << bit;
        }
    }

    assert_int_equal(mapi_base64_check(buf, value.len, MAPI_BASE64_URL,
                                       &len), MAPI_OK);
    mapi_base64_read(box, buf, 0, len);

    for (i = 0; i < len; i++) {
        for (bit = 0; bit < 8; bit++) {
            box[i] ^= 1 << bit;
            assert_ptr_equal(mapi_base64_url(text, box, len),
                             text + value.len);
            assert_true(refused(k, text, value.len));
            box[i] ^= 1 << bit;
        }
    }

    assert_false(refused(k, buf, value.len));

    mapi_affinity_keys_destroy(k);
}


typedef struct {
    mapi_affinity_keys_t  *keys;
    size_t                 len;
} whole_t;


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    whole_t  *whole = data;

    assert_int_equal(refused(whole->keys, p, len), len != whole->len);
}


static void
test_lengths(void **state)
{
    size_t                 n;
    whole_t                whole;
    mapi_str_t             value;
    unsigned char          buf[1024];
    mapi_affinity_t        a;

    whole.keys = keys(0, 1, LIFETIME);
    cookie(&a);
    value = seal(whole.keys, NOW, &a, buf);
    whole.len = value.len;

    unit_prefixes(value.data, value.len, one_prefix, &whole);

    /* longer, padded, and all of one character */

    for (n = value.len + 1; n < sizeof(buf); n++) {
        buf[n - 1] = 'A';
        assert_true(refused(whole.keys, buf, n));
    }

    buf[value.len] = '=';
    buf[value.len + 1] = '=';
    assert_true(refused(whole.keys, buf, value.len + 1));
    assert_true(refused(whole.keys, buf, value.len + 2));

    for (n = 0; n < sizeof(buf); n++) {
        memset(buf, 'A', n);
        assert_true(refused(whole.keys, buf, n));
    }

    mapi_affinity_keys_destroy(whole.keys);
}


/* a day may be as old as the lifetime, and five minutes ahead */
static void
test_days(void **state)
{
    size_t                 i;
    uint32_t               midnight;
    mapi_str_t             value;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_t        a, b;
    mapi_affinity_keys_t  *k;

    static const struct {
        int32_t   sealed;      /* seconds from midnight */
        int32_t   opened;
        uint32_t  lifetime;
        int       rc;
    } cases[] = {
        { -1, 0, LIFETIME, MAPI_OK },
        { -1, 899, LIFETIME, MAPI_OK },
        { -1, 900, LIFETIME, MAPI_DECLINED },
        { -86400, 899, LIFETIME, MAPI_OK },
        { -86401, 0, LIFETIME, MAPI_DECLINED },
        { 0, -1, LIFETIME, MAPI_OK },
        { 0, -300, LIFETIME, MAPI_OK },
        { 0, -301, LIFETIME, MAPI_DECLINED },
        { 86400, 0, LIFETIME, MAPI_DECLINED },
        { -1, 86400 * 7 - 1, 86400 * 7, MAPI_OK },
        { -1, 86400 * 7, 86400 * 7, MAPI_DECLINED },
        { -1, 0, 1, MAPI_OK },
        { -1, 1, 1, MAPI_DECLINED },
        { -1, 86400 * 300, 0xffffffff, MAPI_OK }
    };

    midnight = NOW / DAY * DAY;

    for (i = 0; i < unit_items(cases); i++) {
        k = keys(0, 1, cases[i].lifetime);

        memset(&a, 0, sizeof(a));
        assert_int_equal(mapi_affinity_put(&a, &alice, &ex1, UINT32_MAX),
                         MAPI_OK);
        value = seal(k, midnight + cases[i].sealed, &a, buf);

        assert_int_equal(mapi_affinity_open(k, midnight + cases[i].opened,
                                            &upstream, &value, &b),
                         cases[i].rc);
        assert_int_equal(b.n, cases[i].rc == MAPI_OK);

        mapi_affinity_keys_destroy(k);
    }
}


/* more days than ciphers are kept, in turns: each is still read */
static void
test_many_days(void **state)
{
    uint32_t               i, n;
    mapi_str_t             value[20];
    unsigned char          buf[20][MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_t        a, b;
    mapi_affinity_keys_t  *k, *sealer;

    k = keys(0, 2, 30 * DAY);
    sealer = keys(1, 1, LIFETIME);

    for (i = 0; i < 20; i++) {
        memset(&a, 0, sizeof(a));
        assert_int_equal(mapi_affinity_put(&a, &alice, &ex1, NOW + DAY),
                         MAPI_OK);
        value[i] = seal(i & 1 ? k : sealer, NOW - i * DAY, &a, buf[i]);
    }

    for (n = 0; n < 100; n++) {
        i = n * 7 % 20;
        assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value[i],
                                            &b), MAPI_OK);
        assert_true(names(&b, &alice, &ex1));
    }

    mapi_affinity_keys_destroy(k);
    mapi_affinity_keys_destroy(sealer);
}


static void
test_expiry(void **state)
{
    mapi_str_t             value;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_t        a, b;
    mapi_affinity_keys_t  *k;

    k = keys(0, 1, LIFETIME);

    memset(&a, 0, sizeof(a));
    assert_int_equal(mapi_affinity_put(&a, &alice, &ex2, NOW + 100), MAPI_OK);
    assert_int_equal(mapi_affinity_put(&a, &ex1, &ex1, NOW + 50), MAPI_OK);
    assert_int_equal(mapi_affinity_put(&a, &guid, &ex1, NOW + 200), MAPI_OK);
    value = seal(k, NOW, &a, buf);

    assert_int_equal(mapi_affinity_open(k, NOW + 49, &upstream, &value, &b),
                     MAPI_OK);
    assert_int_equal(b.n, 3);

    assert_int_equal(mapi_affinity_open(k, NOW + 50, &upstream, &value, &b),
                     MAPI_OK);
    check_cookie(&b);
    assert_ptr_equal(mapi_affinity_find(&b, &guid), &b.entries[0]);

    assert_int_equal(mapi_affinity_open(k, NOW + 100, &upstream, &value, &b),
                     MAPI_OK);
    assert_int_equal(b.n, 1);
    assert_true(names(&b, &guid, &ex1));

    assert_int_equal(mapi_affinity_open(k, NOW + 200, &upstream, &value, &b),
                     MAPI_OK);
    assert_int_equal(b.n, 0);
    assert_null(mapi_affinity_find(&b, &guid));

    mapi_affinity_keys_destroy(k);
}


static void
test_entries(void **state)
{
    char             name[16];
    unsigned         i;
    uint64_t         salt;
    mapi_str_t       id;
    mapi_affinity_t  a;

    memset(&a, 0, sizeof(a));
    assert_null(mapi_affinity_find(&a, &alice));
    assert_int_equal(mapi_affinity_forget(&a, &alice), 0);

    for (i = 0; i < MAPI_AFFINITY_ENTRIES; i++) {
        sprintf(name, "user%u", i);
        id = unit_str(name);
        assert_int_equal(mapi_affinity_put(&a, &id, i & 1 ? &ex1 : &ex2, i),
                         MAPI_OK);
        assert_int_equal(a.n, i + 1);
    }

    salt = a.salt;
    assert_true(salt != 0);

    /* a new server for one changes that one, and brings it to the front */

    id = unit_str("user2");
    assert_true(names(&a, &id, &ex2));
    assert_int_equal(mapi_affinity_put(&a, &id, &ex1, 77), MAPI_OK);
    assert_int_equal(a.n, MAPI_AFFINITY_ENTRIES);
    assert_ptr_equal(mapi_affinity_find(&a, &id), &a.entries[0]);
    assert_int_equal(a.entries[0].expires, 77);
    assert_true(names(&a, &id, &ex1));

    for (i = 0; i < MAPI_AFFINITY_ENTRIES; i++) {
        if (i != 2) {
            sprintf(name, "user%u", i);
            id = unit_str(name);
            assert_true(names(&a, &id, i & 1 ? &ex1 : &ex2));
            assert_int_equal(mapi_affinity_find(&a, &id)->expires, i);
        }
    }

    /* a sixth takes the place of the oldest, of nobody else */

    assert_int_equal(mapi_affinity_put(&a, &alice, &ex2, 6), MAPI_OK);
    assert_int_equal(a.n, MAPI_AFFINITY_ENTRIES);
    assert_true(names(&a, &alice, &ex2));

    for (i = 0; i < MAPI_AFFINITY_ENTRIES; i++) {
        sprintf(name, "user%u", i);
        id = unit_str(name);
        assert_int_equal(mapi_affinity_find(&a, &id) != NULL, i != 0);
    }

    id = unit_str("user3");
    assert_int_equal(mapi_affinity_forget(&a, &id), 1);
    assert_int_equal(mapi_affinity_forget(&a, &id), 0);
    assert_int_equal(a.n, MAPI_AFFINITY_ENTRIES - 1);
    assert_true(names(&a, &alice, &ex2));
    id = unit_str("user1");
    assert_true(names(&a, &id, &ex1));

    /* one salt for a cookie's life, another one for another cookie */

    assert_true(a.salt == salt);
    cookie(&a);
    assert_true(a.salt != salt);
}


static void
nonce_of(const mapi_str_t *value, unsigned char *nonce)
{
    mapi_base64_read(nonce, value->data, 3, 12);
}


static void
test_nonce(void **state)
{
    int                    fd[2], status;
    pid_t                  pid;
    uint32_t               i;
    mapi_str_t             value;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    unsigned char          first[12], next[12], child[12];
    mapi_affinity_t        a;
    mapi_affinity_keys_t  *k;

    k = keys(0, 1, LIFETIME);
    cookie(&a);

    value = seal(k, NOW, &a, buf);
    nonce_of(&value, first);

    for (i = 1; i < 1000; i++) {
        value = seal(k, NOW + i * 1000, &a, buf);
        nonce_of(&value, next);
        assert_memory_equal(next, first, 8);
        assert_int_equal((next[10] - first[10]) * 256 + next[11] - first[11],
                         i);
    }

    /* a forked process draws its own */

    assert_int_equal(pipe(fd), 0);
    pid = fork();
    assert_true(pid >= 0);

    if (pid == 0) {
        value.len = mapi_affinity_seal(k, NOW, &upstream, &a, buf);
        nonce_of(&value, child);
        _exit(value.len == 0 || write(fd[1], child, 12) != 12);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(fd[0], child, 12), 12);
    assert_true(memcmp(child, first, 8) != 0);
    close(fd[0]);
    close(fd[1]);

    /* and the parent goes on as before */

    value = seal(k, NOW, &a, buf);
    nonce_of(&value, next);
    assert_memory_equal(next, first, 8);

    mapi_affinity_keys_destroy(k);
}


static void
test_key_parse(void **state)
{
    size_t          i, len;
    unit_edge_t     e;
    unsigned char  *p, key[MAPI_AFFINITY_KEY_LEN];

    static const struct {
        const char  *text;
        int          first;      /* byte, -1: refused */
    } cases[] = {
        { "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F",
          0 },
        { "\r\n 000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D"
          "1E1F\t\n\n", 0 },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 0 },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n", 0 },
        { "++////v/////++////v/////++////v/////++////s=", 0xfb },
        { "--____v_____--____v_____--____v_____--____s", 0xfb },
        { "--____v_____--____v_____--____v_____--____s=\n", 0xfb },
        { "-+____v_____--____v_____--____v_____--____s", -1 },
        { "", -1 },
        { " \n", -1 },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1",
          -1 },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1g",
          -1 },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F0",
          -1 },
        { "00010203 0405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F",
          -1 },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", -1 },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", -1 },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==", -1 },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==", -1 }
    };

    e = unit_edge_create(128);

    for (i = 0; i < unit_items(cases); i++) {
        len = strlen(cases[i].text);
        p = unit_edge_copy(&e, cases[i].text, len);
        memset(key, 0xa5, sizeof(key));

        assert_int_equal(mapi_affinity_key_parse(key, p, len),
                         cases[i].first < 0 ? MAPI_ERROR : MAPI_OK);

        if (cases[i].first == 0) {
            assert_memory_equal(key, key_bytes, sizeof(key));

        } else if (cases[i].first > 0) {
            assert_int_equal(key[0], cases[i].first);
            assert_int_equal(key[31], 0xfb);
        }
    }

    unit_edge_destroy(&e);
}


static void
test_create(void **state)
{
    assert_null(mapi_affinity_keys_create(key_bytes, 0, LIFETIME));
    mapi_affinity_keys_destroy(NULL);
    mapi_affinity_keys_destroy(keys(0, 3, 0xffffffff));
    mapi_affinity_keys_destroy(keys(0, 1, 0));
}


/* when may an answer repeat the value that the request brought? */
static void
test_current(void **state)
{
    mapi_str_t             value;
    mapi_affinity_t        a, b;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_keys_t  *k, *old, *both;

    k = keys(0, 1, 2 * DAY);
    old = keys(1, 1, 2 * DAY);
    both = keys(0, 2, 2 * DAY);

    cookie(&a);
    value = seal(k, NOW, &a, buf);

    assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &b),
                     MAPI_OK);
    assert_true(b.current);

    /* guid is in front: the same entry changes nothing, any other does */

    assert_int_equal(mapi_affinity_put(&b, &guid, &ex1, NOW + LIFETIME),
                     MAPI_DECLINED);
    check_cookie(&b);
    assert_int_equal(mapi_affinity_put(&b, &guid, &ex1, NOW + LIFETIME + 1),
                     MAPI_OK);
    assert_int_equal(mapi_affinity_put(&b, &guid, &ex2, NOW + LIFETIME + 1),
                     MAPI_OK);
    assert_int_equal(mapi_affinity_put(&b, &alice, &ex2, NOW + LIFETIME),
                     MAPI_OK);

    /* yesterday's, in time but to be sealed anew */

    cookie(&a);
    a.entries[0].expires = a.entries[1].expires = NOW + DAY + 1;
    value = seal(k, NOW, &a, buf);

    assert_int_equal(mapi_affinity_open(k, NOW + DAY, &upstream, &value, &b),
                     MAPI_OK);
    assert_false(b.current);

    /* today's, by a key that only opens */

    value = seal(old, NOW, &a, buf);

    assert_int_equal(mapi_affinity_open(both, NOW, &upstream, &value, &b),
                     MAPI_OK);
    assert_false(b.current);

    mapi_affinity_keys_destroy(k);
    mapi_affinity_keys_destroy(old);
    mapi_affinity_keys_destroy(both);
}


/* what was opened once is remembered, and held to the same rules */

static void
test_remembered(void **state)
{
    unsigned               i;
    mapi_str_t             value, other;
    mapi_affinity_t        a, b;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_keys_t  *sealer, *k;

    sealer = keys(0, 1, LIFETIME);
    k = keys(0, 1, LIFETIME);

    cookie(&a);
    value = seal(sealer, NOW, &a, buf);
    other = unit_str("another");

    for (i = 0; i < 3; i++) {
        assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &b),
                         MAPI_OK);
        check_cookie(&b);
        assert_true(b.current);

        assert_int_equal(mapi_affinity_open(k, NOW, &other, &value, &b),
                         MAPI_DECLINED);
        assert_int_equal(b.n, 0);
    }

    /* the last eight signs choose the place, any other only differs */

    for (i = 0; i < value.len; i++) {
        value.data[i] ^= 1;
        assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &b),
                         MAPI_DECLINED);
        value.data[i] ^= 1;
    }

    assert_int_equal(mapi_affinity_open(k, NOW + 3 * DAY, &upstream, &value,
                                        &b),
                     MAPI_DECLINED);

    mapi_affinity_keys_destroy(sealer);
    mapi_affinity_keys_destroy(k);
}


/* more than can be remembered, so that they share their places */

#define VALUES  40000

static void
test_many_remembered(void **state)
{
    unsigned                i, n;
    char                    name[32];
    mapi_str_t              value, identity, server;
    mapi_affinity_t         a;
    unsigned char          *p;
    size_t                 *lens;
    mapi_affinity_keys_t   *k;

    k = keys(0, 1, LIFETIME);
    server = unit_str("ex1.corp.example");
    p = malloc(VALUES * MAPI_AFFINITY_VALUE_MAX);
    lens = malloc(VALUES * sizeof(size_t));
    assert_non_null(p);
    assert_non_null(lens);

    for (i = 0; i < VALUES; i++) {
        snprintf(name, sizeof(name), "user%u@corp.example", i);
        identity = unit_str(name);

        memset(&a, 0, sizeof(a));
        assert_int_equal(mapi_affinity_put(&a, &identity, &server, NOW + 60),
                         MAPI_OK);

        lens[i] = mapi_affinity_seal(k, NOW, &upstream, &a,
                                     p + i * MAPI_AFFINITY_VALUE_MAX);
        assert_true(lens[i] > 0);
    }

    for (n = 0; n < 2 * VALUES; n++) {
        i = (n * 7919u) % VALUES;

        snprintf(name, sizeof(name), "user%u@corp.example", i);
        identity = unit_str(name);
        value.data = p + i * MAPI_AFFINITY_VALUE_MAX;
        value.len = lens[i];

        assert_int_equal(mapi_affinity_open(k, NOW, &upstream, &value, &a),
                         MAPI_OK);
        assert_int_equal(a.n, 1);
        assert_non_null(mapi_affinity_find(&a, &identity));
    }

    free(lens);
    free(p);
    mapi_affinity_keys_destroy(k);
}


/* what was found in a value is noted beside it, for those who ask the same */

static void
test_noted(void **state)
{
    mapi_str_t             value, other;
    mapi_affinity_t        a;
    unsigned char          buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_affinity_note_t   note, got;
    mapi_affinity_keys_t  *k;

    k = keys(0, 1, 2 * DAY);
    other = unit_str("another");

    cookie(&a);
    value = seal(k, NOW, &a, buf);

    note.server = 7;
    note.expires = NOW + 50;
    note.first = 1;

#define noted(now, up, v, mark, id)                                           \
    mapi_affinity_noted(k, now, &up, &v, mark, &id, &got)

    assert_int_equal(noted(NOW, upstream, value, 1, guid), MAPI_DECLINED);

    mapi_affinity_note(k, NOW, &upstream, &value, 1, &guid, &note);

    assert_int_equal(noted(NOW, upstream, value, 1, guid), MAPI_OK);
    assert_int_equal(got.server, 7);
    assert_int_equal(got.expires, NOW + 50);
    assert_true(got.first);
    assert_true(got.current);

    assert_int_equal(noted(NOW, upstream, value, 2, guid), MAPI_DECLINED);
    assert_int_equal(noted(NOW, other, value, 1, guid), MAPI_DECLINED);
    assert_int_equal(noted(NOW, upstream, value, 1, alice), MAPI_DECLINED);
    assert_int_equal(noted(NOW, upstream, value, 1, other), MAPI_DECLINED);
    assert_int_equal(noted(NOW, upstream, other, 1, guid), MAPI_DECLINED);
    assert_int_equal(noted(NOW + 49, upstream, value, 1, guid), MAPI_OK);
    assert_int_equal(noted(NOW + 50, upstream, value, 1, guid),
                     MAPI_DECLINED);

    value.data[3] ^= 1;
    assert_int_equal(noted(NOW, upstream, value, 1, guid), MAPI_DECLINED);
    value.data[3] ^= 1;

    /* one note a value: the latest */

    note.server = 8;
    note.expires = NOW + 4 * DAY;
    note.first = 0;
    mapi_affinity_note(k, NOW, &upstream, &value, 1, &alice, &note);

    assert_int_equal(noted(NOW, upstream, value, 1, guid), MAPI_DECLINED);
    assert_int_equal(noted(NOW, upstream, value, 1, alice), MAPI_OK);
    assert_int_equal(got.server, 8);
    assert_false(got.first);

    /* another day's is not sent again, one that is too old is not believed */

    assert_int_equal(noted(NOW + DAY, upstream, value, 1, alice), MAPI_OK);
    assert_false(got.current);
    assert_int_equal(noted(NOW + 3 * DAY, upstream, value, 1, alice),
                     MAPI_DECLINED);

    mapi_affinity_keys_destroy(k);
}


/* under half of the room is used: hardly anything is forgotten */

static void
test_room(void **state)
{
    unsigned               i, n, kept;
    mapi_str_t             value;
    mapi_affinity_t        a;
    unsigned char         *p;
    size_t                 lens[7000];
    mapi_affinity_note_t   note;
    mapi_affinity_keys_t  *k;

    k = keys(0, 1, LIFETIME);
    n = unit_items(lens);
    p = malloc(n * MAPI_AFFINITY_VALUE_MAX);
    assert_non_null(p);

    cookie(&a);
    memset(&note, 0, sizeof(note));
    note.expires = NOW + 60;

    for (i = 0; i < n; i++) {
        value.data = p + i * MAPI_AFFINITY_VALUE_MAX;
        value.len = mapi_affinity_seal(k, NOW, &upstream, &a, value.data);
        lens[i] = value.len;

        mapi_affinity_note(k, NOW, &upstream, &value, 1, &guid, &note);
    }

    for (kept = 0, i = 0; i < n; i++) {
        value.data = p + i * MAPI_AFFINITY_VALUE_MAX;
        value.len = lens[i];

        kept += mapi_affinity_noted(k, NOW, &upstream, &value, 1, &guid,
                                    &note)
                == MAPI_OK;
    }

    assert_true(kept > n - n / 100);

    free(p);
    mapi_affinity_keys_destroy(k);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_vector),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_many_days),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_nonce),
        cmocka_unit_test(test_key_parse),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_current),
        cmocka_unit_test(test_remembered),
        cmocka_unit_test(test_many_remembered),
        cmocka_unit_test(test_noted),
        cmocka_unit_test(test_room)
    };

    return cmocka_run_group_tests_name("affinity", tests, setup, NULL);
}
