
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_mounted.h"


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    mapi_mounted_t  m;

    if (mapi_mounted_parse(&m, p, len) != MAPI_OK) {
        return 0;
    }

    assert(m.server.len > 0 && m.server.len <= MAPI_MOUNTED_SERVER_MAX);
    assert(fuzz_inside(m.server.data, m.server.len, p, len));
    assert(m.server.data + m.server.len + 1 < p + len);
    assert(memchr(m.server.data, '~', m.server.len) == NULL);
    fuzz_touch(m.server.data, m.server.len);

    return 0;
}
