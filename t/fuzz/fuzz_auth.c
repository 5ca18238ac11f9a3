
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_auth.h"


/* the first byte chooses the room for a name, the rest is a header's value */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int          rc, type;
    size_t       size;
    uint8_t     *buf;
    mapi_str_t   user;
    size_t       i, stripped;
    mapi_auth_t  a, again;

    if (len == 0) {
        return 0;
    }

    size = *p++;
    len--;

    buf = malloc(size ? size : 1);
    assert(buf);

    rc = mapi_auth_challenge_taints(p, len);
    assert(rc == 0 || rc == 1);

    mapi_auth_parse(&a, p, len);
    assert(fuzz_inside(a.token.data, a.token.len, p, len));
    fuzz_touch(a.token.data, a.token.len);

    /*
     * A server that echoes such credentials would be seen by the challenge,
     * if it puts a blank behind the scheme: without one it is no challenge.
     */
    assert(!mapi_auth_is_connection(&a) || rc == 1 || a.token.data[0] == ','
           || (a.token.data[-1] != ' ' && a.token.data[-1] != '\t'));

    type = mapi_auth_ntlm_type(&a);
    assert(type >= 0 && type <= 3);
    assert(type == 0 || mapi_auth_is_connection(&a));

    rc = mapi_auth_ntlm_user(&a, buf, size, &user);
    assert(rc == MAPI_OK || rc == MAPI_DECLINED || rc == MAPI_ERROR);
    assert(rc != MAPI_OK || (type == 3 && user.len > 0));
    assert(fuzz_inside(user.data, user.len, buf, size));
    fuzz_touch(user.data, user.len);

    rc = mapi_auth_basic_user(&a, buf, size, &user);
    assert(rc == MAPI_OK || rc == MAPI_ERROR);
    assert(rc != MAPI_OK || (user.len > 0 && a.scheme == mapi_auth_basic));
    assert(fuzz_inside(user.data, user.len, buf, size));
    fuzz_touch(user.data, user.len);

    free(buf);

    buf = malloc(len + 1);
    assert(buf);

    stripped = mapi_auth_strip_challenges(buf, p, len);
    assert(stripped <= len);
    assert(!mapi_auth_challenge_taints(buf, stripped));

    /* as no client writes a scheme it is read letter by letter */

    for (i = 0; i < len; i++) {
        buf[i] = (p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z' ? p[i] ^ 0x20
                                                              : p[i];
    }

    mapi_auth_parse(&again, buf, len);
    assert(again.scheme == a.scheme && again.token.len == a.token.len);
    assert(again.token.data == (a.token.data ? buf + (a.token.data - p)
                                             : NULL));

    free(buf);

    return 0;
}
