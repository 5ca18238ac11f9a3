
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_rendezvous.h"
#include "mapi_siphash.h"

#include <math.h>


#define EX1  "ex1.corp.example.com"
#define EX2  "ex2.corp.example.com"
#define EX3  "ex3.corp.example.com"

#define IDENTITIES  20000


/* the vectors of docs/architecture.md, computed by another implementation */
static void
test_hash(void **state)
{
    size_t      i;
    mapi_str_t  server, identity;

    static const struct {
        const char  *server;
        const char  *identity;
        uint64_t     hash;
    } vectors[] = {
        { "", "", 0x37fb6d4264d91d23ULL },
        { EX1, "", 0xda53dd42ff475660ULL },
        { EX1, "616c6963-6540-7269-672e-746501000000",
          0xa650331cccb227c5ULL },
        { EX2, "616c6963-6540-7269-672e-746501000000",
          0x4db17b92d7ab3569ULL },
        { EX3, "616c6963-6540-7269-672e-746501000000",
          0xa96fa6937024efa8ULL },
        { "127.0.0.11", "616c6963-6540-7269-672e-746501000000",
          0xfc88fedcce10930dULL },
        { EX1, "8b1efa87-76ba-443a-8ad9-80d8742a2b67",
          0x07ebc8f4b5e2c30dULL },
        { EX2, "8b1efa87-76ba-443a-8ad9-80d8742a2b67",
          0xad57df65fb46b76eULL },
        { EX3, "8b1efa87-76ba-443a-8ad9-80d8742a2b67",
          0xb6b289df3ac83255ULL },
        { EX1, "alice@example.com", 0xb052dc770f717318ULL },
        { EX2, "alice@example.com", 0xab1c91adebb0be4eULL },
        { EX3, "alice@example.com", 0x2dbe53f1ececcf05ULL },
        { EX1, "j\xc3\xb6rg@example.com", 0x289a8a05bc95e4eeULL },
        { EX2, "j\xc3\xb6rg@example.com", 0x7f953b49c3e9de64ULL },
        { EX3, "j\xc3\xb6rg@example.com", 0x7bb18e9eb667c42eULL }
    };

    for (i = 0; i < unit_items(vectors); i++) {
        server = unit_str(vectors[i].server);
        identity = unit_str(vectors[i].identity);

        assert_int_equal(mapi_rendezvous_hash(&server, &identity),
                         vectors[i].hash);
    }
}


/* the zero byte keeps apart what the names' end would not */
static void
test_separator(void **state)
{
    mapi_str_t  a = mapi_string("ex1"), b = mapi_string("2@x");
    mapi_str_t  c = mapi_string("ex12"), d = mapi_string("@x");

    assert_true(mapi_rendezvous_hash(&a, &b) != mapi_rendezvous_hash(&c, &d));
}


/* of any length it is the hash of one text */
static void
test_lengths(void **state)
{
    size_t              n, m, i;
    mapi_str_t          server, identity;
    unsigned char       text[512];
    mapi_siphash_key_t  key;

    static const size_t  lengths[] = {
        0, 1, 7, 8, 36, 79, 80, 120, 121, 122, 150, 157, 158, 159, 160, 200
    };

    /* the halves of "mapi-rendezvous1" */

    key.k0 = mapi_load64((const unsigned char *) "mapi-ren");
    key.k1 = mapi_load64((const unsigned char *) "dezvous1");

    for (n = 0; n < unit_items(lengths); n++) {
        for (m = 0; m < unit_items(lengths); m++) {
            server.len = lengths[n];
            server.data = server.len ? text + 1 : NULL;
            identity.len = lengths[m];
            identity.data = identity.len ? text + 2 + server.len : NULL;

            for (i = 0; i < sizeof(text); i++) {
                text[i] = (unsigned char) ('a' + i % 26);
            }

            text[0] = MAPI_RENDEZVOUS_VERSION;
            text[1 + server.len] = '\0';

            assert_int_equal(mapi_rendezvous_hash(&server, &identity),
                             mapi_siphash(&key, text,
                                          2 + server.len + identity.len));
        }
    }
}


typedef struct {
    const char  *identity;
    uint32_t     weight[3];
    unsigned     order[3];
} rank_t;


static const char *const  servers[] = { EX1, EX2, EX3 };


static void
rank(const char *id, const uint32_t *weight, unsigned *order)
{
    unsigned    i, j, k;
    uint64_t    hash[3];
    mapi_str_t  server, identity;

    identity = unit_str(id);

    for (i = 0; i < 3; i++) {
        server = unit_str(servers[i]);
        hash[i] = mapi_rendezvous_hash(&server, &identity);

        for (j = 0; j < i; j++) {
            if (mapi_rendezvous_before(hash[i], weight[i], hash[order[j]],
                                       weight[order[j]]))
            {
                break;
            }
        }

        for (k = i; k > j; k--) {
            order[k] = order[k - 1];
        }

        order[j] = i;
    }
}


static void
test_rank(void **state)
{
    size_t    i, j;
    unsigned  order[3];

    static const rank_t  ranks[] = {
        { "616c6963-6540-7269-672e-746501000000", { 1, 2, 5 }, { 2, 0, 1 } },
        { "616c6963-6540-7269-672e-746501000000", { 1, 1, 1 }, { 2, 0, 1 } },
        { "8b1efa87-76ba-443a-8ad9-80d8742a2b67", { 1, 2, 5 }, { 2, 1, 0 } },
        { "alice@example.com", { 1, 2, 5 }, { 1, 2, 0 } },
        { "alice@example.com", { 1, 1, 1 }, { 0, 1, 2 } },
        { "j\xc3\xb6rg@example.com", { 1, 2, 5 }, { 2, 1, 0 } },
        { "j\xc3\xb6rg@example.com", { 3, 3, 3 }, { 1, 2, 0 } }
    };

    for (i = 0; i < unit_items(ranks); i++) {
        rank(ranks[i].identity, ranks[i].weight, order);

        for (j = 0; j < 3; j++) {
            assert_int_equal(order[j], ranks[i].order[j]);
        }
    }
}


/* where the logarithm is a whole number there is no rounding to hide in */
static void
test_exact(void **state)
{
    unsigned  i, j;
    uint64_t  a, b;

    /* equal costs: the larger hash wins, in both directions */

    for (i = 1; i <= 32; i++) {
        a = (1ULL << (64 - i)) - 1;          /* cost i */
        b = (1ULL << (64 - 2 * i)) - 1;      /* cost 2 i, i if it weighs 2 */

        if (i == 32) {
            b = 0;
        }

        assert_true(mapi_rendezvous_before(a, 1, b, 2));
        assert_false(mapi_rendezvous_before(b, 2, a, 1));
    }

    /* i to j, weighed the other way round, is equal too */

    for (i = 1; i <= 64; i++) {
        for (j = i + 1; j <= 64; j++) {
            a = i == 64 ? 0 : (1ULL << (64 - i)) - 1;
            b = j == 64 ? 0 : (1ULL << (64 - j)) - 1;

            assert_true(mapi_rendezvous_before(a, i, b, j));
            assert_false(mapi_rendezvous_before(b, j, a, i));
            assert_false(mapi_rendezvous_before(a, i, b, j + 1));
            assert_true(mapi_rendezvous_before(b, j + 1, a, i));
        }
    }

    /* the ends: nothing overflows, and no cost is better than none */

    assert_true(mapi_rendezvous_before(UINT64_MAX, 1, UINT64_MAX - 1,
                                       1 << 20));
    assert_false(mapi_rendezvous_before(UINT64_MAX - 1, 1 << 20, UINT64_MAX,
                                        1));
    assert_true(mapi_rendezvous_before(UINT64_MAX - 1, 1 << 20,
                                       UINT64_MAX - 1, 1));
    assert_false(mapi_rendezvous_before(0, 1, 1, 1 << 20));
    assert_true(mapi_rendezvous_before(0, 1 << 20, 0, 1));
    assert_false(mapi_rendezvous_before(0, 1, 0, 1 << 20));
    assert_true(mapi_rendezvous_before(0, 65, 1, 63));
    assert_false(mapi_rendezvous_before(0, 64, 1, 63));
    assert_false(mapi_rendezvous_before(7, 3, 7, 3));
}


/*
 * Between a cost and the next integer above and below it lie fractions of
 * weights: the order turns exactly there, so the cost is right to its last bit
 */

static void
test_last_bit(void **state)
{
    size_t    i;
    uint64_t  one;

    static const struct {
        uint64_t  hash;
        uint32_t  above[2];
        uint32_t  below[2];
    } cases[] = {
        { 0x9e1a8ef4f341e07aULL, { 526294, 756961 }, { 719417, 1034727 } },
        { 0xc59db9165b0ee76fULL, { 273446, 732229 }, { 302113, 808993 } },
        { 0xa2eddbbd5464ecc2ULL, { 601525, 922727 }, { 618962, 949475 } },
        { 0xc28ee907072235c2ULL, { 298759, 754553 }, { 375561, 948526 } },
        { 0xe05b3e13f8c110fbULL, { 188299, 989218 }, { 130858, 687455 } },
        { 0xac9261f1e429c87cULL, { 514909, 905021 }, { 526045, 924594 } }
    };

    one = (1ULL << 63) - 1;      /* cost 1 */

    for (i = 0; i < unit_items(cases); i++) {
        assert_true(mapi_rendezvous_before(cases[i].hash, cases[i].above[0],
                                           one, cases[i].above[1]));
        assert_false(mapi_rendezvous_before(cases[i].hash,
                                            cases[i].below[0], one,
                                            cases[i].below[1]));
    }
}


/* the same order as floating point where that can tell at all */
static void
test_float(void **state)
{
    long      i;
    double    ca, cb;
    uint32_t  wa, wb;
    uint64_t  a, b, x;

    x = 0x9e3779b97f4a7c15ULL;

    for (i = 0; i < 50000; i++) {
        a = unit_random(&x) >> (x & 31);
        b = unit_random(&x) >> (x & 31);
        wa = 1 + (uint32_t) (unit_random(&x) & 0xfffff) % (1 << 20);
        wb = 1 + (uint32_t) (unit_random(&x) & 0xff);

        ca = -log2(((double) a + 1) / 18446744073709551616.0) / wa;
        cb = -log2(((double) b + 1) / 18446744073709551616.0) / wb;

        if (fabs(ca - cb) > 1e-9 * (ca + cb)) {
            assert_int_equal(mapi_rendezvous_before(a, wa, b, wb), ca < cb);
            assert_int_equal(mapi_rendezvous_before(b, wb, a, wa), cb < ca);
        }
    }
}


/* the server of each identity; those of weight 0 are away */
static void
choose(const uint32_t *weight, unsigned char *chosen, unsigned *count)
{
    char        id[64];
    unsigned    i, n, best;
    uint64_t    hash, first;
    mapi_str_t  server, identity;

    memset(count, 0, 3 * sizeof(unsigned));

    for (n = 0; n < IDENTITIES; n++) {
        sprintf(id, "%08x-0000-4000-8000-%012x", n * 2654435761U, n);
        identity = unit_str(id);

        for (best = 3, first = 0, i = 0; i < 3; i++) {
            if (weight[i] == 0) {
                continue;
            }

            server = unit_str(servers[i]);
            hash = mapi_rendezvous_hash(&server, &identity);

            if (best == 3 || mapi_rendezvous_before(hash, weight[i], first,
                                                    weight[best]))
            {
                best = i;
                first = hash;
            }
        }

        chosen[n] = (unsigned char) best;
        count[best]++;
    }
}


static void
test_shares(void **state)
{
    unsigned        i, j, count[3];
    double          share, total;
    unsigned char  *chosen;

    static const uint32_t  weights[][3] = {
        { 1, 2, 5 }, { 5, 2, 1 }, { 1, 1, 1 }, { 100, 100, 200 },
        { 1, 0, 3 }, { 1 << 20, 1 << 20, 1 << 19 }
    };

    chosen = malloc(IDENTITIES);
    assert_non_null(chosen);

    for (i = 0; i < unit_items(weights); i++) {
        choose(weights[i], chosen, count);

        total = (double) weights[i][0] + weights[i][1] + weights[i][2];

        for (j = 0; j < 3; j++) {
            share = (double) IDENTITIES * weights[i][j] / total;
            assert_true(fabs(count[j] - share) <= 0.04 * share);
        }
    }

    free(chosen);
}


/* a server that goes moves its own, one that gains weight takes only */
static void
test_moves(void **state)
{
    unsigned        n, gone, count[3];
    uint32_t        fewer[3];
    unsigned char  *before, *after;

    static const uint32_t  weight[3] = { 1, 2, 5 }, heavier[3] = { 3, 2, 5 };

    before = malloc(IDENTITIES);
    after = malloc(IDENTITIES);
    assert_non_null(before);
    assert_non_null(after);

    choose(weight, before, count);

    for (gone = 0; gone < 3; gone++) {
        memcpy(fewer, weight, sizeof(fewer));
        fewer[gone] = 0;
        choose(fewer, after, count);

        for (n = 0; n < IDENTITIES; n++) {
            assert_true(after[n] != gone);
            assert_true(before[n] == gone || after[n] == before[n]);
        }
    }

    choose(heavier, after, count);

    for (n = 0; n < IDENTITIES; n++) {
        assert_true(after[n] == before[n] || after[n] == 0);
    }

    free(before);
    free(after);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_separator),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_rank),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_last_bit),
        cmocka_unit_test(test_float),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_moves)
    };

    return cmocka_run_group_tests_name("rendezvous", tests, NULL, NULL);
}
