
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_request.h"


/* the input is a target: a path, and a query if there is a "?" */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int              rc;
    size_t           path;
    uint8_t          buf[2 * MAPI_IDENTITY_MAX], *copy;
    uint8_t          other[2 * MAPI_IDENTITY_MAX];
    mapi_query_t     q, again;
    const uint8_t   *mark;

    mark = len ? memchr(p, '?', len) : NULL;
    path = mark ? (size_t) (mark - p) : len;

    if (mapi_request_endpoint(p, path) != mapi_endpoint_none) {
        assert(path <= sizeof("/mapi/healthcheck.htm") - 1);
        assert(memchr(p, '%', path) == NULL && memchr(p, ';', path) == NULL);
    }

    p += mark ? path + 1 : path;
    len -= mark ? path + 1 : path;

    /* memory that ends with the query, so that a byte more is seen */

    copy = malloc(len ? len : 1);
    assert(copy);
    memcpy(copy, p, len);

    rc = mapi_request_query(&q, copy, len, buf);

    assert(rc == MAPI_OK || rc == MAPI_DECLINED || rc == MAPI_ERROR);
    assert(rc == MAPI_OK || (!q.caller && q.identity.kind == 0));
    assert(rc != MAPI_OK || q.caller == (q.identity.kind == 0));
    assert(memcmp(copy, p, len) == 0);

    assert(fuzz_inside(q.identity.text.data, q.identity.text.len, buf,
                       sizeof(buf)));
    assert(fuzz_inside(q.identity.domain.data, q.identity.domain.len, buf,
                       sizeof(buf)));
    fuzz_touch(q.identity.text.data, q.identity.text.len);
    fuzz_touch(q.identity.domain.data, q.identity.domain.len);

    free(copy);

    /* behind an empty parameter it is the same, and read the general way */

    copy = malloc(len + 1);
    assert(copy);
    copy[0] = '&';
    memcpy(copy + 1, p, len);

    assert(mapi_request_query(&again, copy, len + 1, other) == rc);
    assert(again.caller == q.caller);
    assert(again.identity.kind == q.identity.kind);
    assert(memcmp(&again.identity.guid, &q.identity.guid,
                  sizeof(mapi_guid_t)) == 0);
    assert(mapi_str_eq(&again.identity.text, &q.identity.text));
    assert(mapi_str_eq(&again.identity.domain, &q.identity.domain));

    free(copy);

    return 0;
}
