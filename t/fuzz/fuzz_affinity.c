
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_affinity.h"


#define NOW  1795350000U


/* as a cookie nobody has sealed it is refused; as names in one it comes back */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int                           rc;
    size_t                        n;
    uint8_t                       key[MAPI_AFFINITY_KEY_LEN];
    uint8_t                       buf[MAPI_AFFINITY_VALUE_MAX];
    mapi_str_t                    value;
    mapi_affinity_t               a, b;
    static const mapi_str_t       up = mapi_string("exchange");
    static const uint8_t          secret[2 * MAPI_AFFINITY_KEY_LEN] = "key";
    static mapi_affinity_keys_t  *keys;

    if (keys == NULL) {
        keys = mapi_affinity_keys_create(secret, 2, 86400);
        assert(keys);
    }

    value.data = (unsigned char *) p;
    value.len = len;
    assert(mapi_affinity_open(keys, NOW, &up, &value, &a) == MAPI_DECLINED);

    rc = mapi_affinity_key_parse(key, p, len);
    assert(rc == MAPI_OK || rc == MAPI_ERROR);

    for (memset(&a, 0, sizeof(a)); len; p += n, len -= n) {
        n = p[0] % 16 < len ? 1 + p[0] % 16u : len;
        value.data = (unsigned char *) p;
        value.len = n;

        assert(mapi_affinity_put(&a, &value, &up, NOW + 1) != MAPI_ERROR);
        assert(a.n <= MAPI_AFFINITY_ENTRIES);
        assert(mapi_affinity_find(&a, &value) == &a.entries[0]);
    }

    value.data = buf;
    value.len = mapi_affinity_seal(keys, NOW, &up, &a, buf);
    assert(value.len > 0 && value.len <= sizeof(buf));
    assert(mapi_affinity_open(keys, NOW, &up, &value, &b) == MAPI_OK);
    assert(a.n == b.n && a.salt == b.salt
           && memcmp(a.entries, b.entries, a.n * sizeof(a.entries[0])) == 0);

    return 0;
}
