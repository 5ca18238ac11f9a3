
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_siphash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>


/* the key of the paper's test vectors: the bytes 00 to 0f */
static const mapi_siphash_key_t  key = {
    0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL
};


/* Aumasson, Bernstein, SipHash, appendix A, and the authors' vectors.h */
static void
test_vectors(void **state)
{
    size_t         i;
    unsigned char  data[64];

    static const struct {
        size_t    len;
        uint64_t  hash;
    } vectors[] = {
        { 0, 0x726fdb47dd0e0e31ULL },
        { 1, 0x74f839c593dc67fdULL },
        { 2, 0x0d6c8009d9a94f5aULL },
        { 3, 0x85676696d7fb7e2dULL },
        { 7, 0xab0200f58b01d137ULL },
        { 8, 0x93f5f5799a932462ULL },
        { 15, 0xa129ca6149be45e5ULL },
        { 63, 0x958a324ceb064572ULL }
    };

    for (i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char) i;
    }

    for (i = 0; i < unit_items(vectors); i++) {
        assert_int_equal(mapi_siphash(&key, data, vectors[i].len),
                         vectors[i].hash);
    }
}


/* size is 8 or 16 bytes: one word or two */
static void
openssl_siphash(const mapi_siphash_key_t *k, const unsigned char *p,
    size_t len, size_t size, uint64_t *words)
{
    int            i;
    size_t         n, want = size;
    EVP_MAC       *mac;
    OSSL_PARAM     params[2];
    EVP_MAC_CTX   *ctx;
    unsigned char  bytes[16], out[16];

    for (i = 0; i < 8; i++) {
        bytes[i] = (unsigned char) (k->k0 >> (8 * i));
        bytes[8 + i] = (unsigned char) (k->k1 >> (8 * i));
    }

    params[0] = OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size);
    params[1] = OSSL_PARAM_construct_end();

    mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    assert_non_null(mac);
    ctx = EVP_MAC_CTX_new(mac);
    assert_non_null(ctx);

    assert_int_equal(EVP_MAC_init(ctx, bytes, sizeof(bytes), params), 1);
    assert_int_equal(EVP_MAC_update(ctx, p, len), 1);
    assert_int_equal(EVP_MAC_final(ctx, out, &n, sizeof(out)), 1);
    assert_int_equal(n, want);

    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);

    memset(words, 0, want);

    for (i = (int) want - 1; i >= 0; i--) {
        words[i / 8] = words[i / 8] << 8 | out[i];
    }
}


static void
one_prefix(const unsigned char *p, size_t len, void *data)
{
    uint64_t        expected[2], got[2];
    mapi_siphash_t  s;

    openssl_siphash(data, p, len, 8, expected);
    assert_int_equal(mapi_siphash(data, p, len), expected[0]);

    openssl_siphash(data, p, len, 16, expected);
    mapi_siphash128_init(&s, data);
    mapi_siphash_update(&s, p, len);
    mapi_siphash128_final(&s, got);
    assert_int_equal(got[0], expected[0]);
    assert_int_equal(got[1], expected[1]);
}


/* the same as an implementation of other people, at 300 lengths */
static void
test_openssl(void **state)
{
    size_t              i;
    unsigned char       data[300];
    mapi_siphash_key_t  other;

    other.k0 = 0xfedcba9876543210ULL;
    other.k1 = 0x8000000000000001ULL;

    for (i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char) (i * 167 + 13);
    }

    unit_prefixes(data, sizeof(data), one_prefix, (void *) &key);
    unit_prefixes(data, sizeof(data), one_prefix, &other);
}


/* in three pieces, cut at every two places */
static void
test_pieces(void **state)
{
    size_t          i, j;
    uint64_t        whole;
    mapi_siphash_t  s;
    unsigned char   data[37];

    for (i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char) (255 - i);
    }

    whole = mapi_siphash(&key, data, sizeof(data));

    for (i = 0; i <= sizeof(data); i++) {
        for (j = i; j <= sizeof(data); j++) {
            mapi_siphash_init(&s, &key);
            mapi_siphash_update(&s, data, i);
            mapi_siphash_update(&s, data + i, j - i);
            mapi_siphash_update(&s, data + j, sizeof(data) - j);
            assert_int_equal(mapi_siphash_final(&s), whole);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_openssl),
        cmocka_unit_test(test_pieces)
    };

    return cmocka_run_group_tests_name("siphash", tests, NULL, NULL);
}
