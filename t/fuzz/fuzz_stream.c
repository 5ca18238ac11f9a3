
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_stream.h"


/* the first byte says where the rest is cut: that must change nothing */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int            rc, cut_rc;
    size_t         cut;
    mapi_stream_t  whole, parts;

    if (len == 0) {
        return 0;
    }

    cut = *p++;
    len--;

    mapi_stream_init(&whole);
    rc = mapi_stream_read(&whole, p, len);

    assert(rc == MAPI_OK || rc == MAPI_DECLINED);
    assert(whole.code >= -1 && whole.code <= 999999999);
    assert(whole.pending <= len / 7);

    mapi_stream_init(&parts);

    cut = cut > len ? len : cut;

    (void) mapi_stream_read(&parts, p, cut);
    cut_rc = mapi_stream_read(&parts, p + cut, len - cut);

    assert(cut_rc == rc);
    assert(parts.done == whole.done);
    assert(parts.pending == whole.pending);
    assert(parts.code == whole.code);

    return 0;
}
