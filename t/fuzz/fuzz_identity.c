
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_identity.h"


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int              rc;
    size_t           i;
    uint8_t          buf[MAPI_IDENTITY_MAX], again[MAPI_IDENTITY_MAX];
    mapi_identity_t  id, same;

    static int (*const  parse[])(mapi_identity_t *, const unsigned char *,
                                 size_t, unsigned char *) =
    {
        mapi_identity_parse_mailbox_id,
        mapi_identity_parse_smtp,
        mapi_identity_parse_anchor,
        mapi_identity_parse_user,
        mapi_identity_parse_any
    };

    for (i = 0; i < sizeof(parse) / sizeof(parse[0]); i++) {
        rc = parse[i](&id, p, len, buf);

        if (rc != MAPI_OK) {
            assert(rc == MAPI_ERROR && id.kind == mapi_identity_none);
            continue;
        }

        assert(id.kind != mapi_identity_none);
        assert(id.text.len > 0 && id.text.len <= len);
        assert(fuzz_inside(id.text.data, id.text.len, buf, sizeof(buf)));
        assert(fuzz_inside(id.domain.data, id.domain.len, buf, sizeof(buf)));
        fuzz_touch(id.text.data, id.text.len);
        fuzz_touch(id.domain.data, id.domain.len);

        /* what is canonical stays as it is, in place too */

        if (id.kind == mapi_identity_guid) {
            assert(id.text.len == MAPI_GUID_LEN);
            continue;
        }

        memcpy(again, id.text.data, id.text.len);
        assert(parse[i](&same, again, id.text.len, again) == MAPI_OK);
        assert(same.kind == id.kind && mapi_str_eq(&same.text, &id.text));
    }

    return 0;
}
