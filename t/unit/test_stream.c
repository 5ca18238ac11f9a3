
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit.h"
#include "mapi_stream.h"


typedef struct {
    const char  *body;
    size_t       len;
    int          over;
    unsigned     done;
    unsigned     pending;
    int          code;
} body_t;


#define body(s)  s, sizeof(s) - 1


static const body_t  bodies[] = {

    /* Exchange: a quick answer, a slow one, one that failed late */

    { body("PROCESSING\r\nDONE\r\n"
           "X-StartTime: Fri, 06 Jan 2023 01:00:04 GMT\r\n"
           "X-ElapsedTime: 11\r\n\r\n\0\0\0"),
      1, 1, 0, -1 },
    { body("PROCESSING\r\nPENDING\r\nPENDING\r\nDONE\r\n"
           "X-ElapsedTime: 31000\r\n\r\nX-ResponseCode: 3\r\n\r\n"),
      1, 1, 2, -1 },
    { body("PROCESSING\r\nPENDING\r\nDONE\r\nContent-Type: text/html\r\n"
           "X-ResponseCode: 10\r\nX-FailureLID: 7\r\n\r\nContext"),
      1, 1, 1, 10 },
    { body("PROCESSING\r\nDONE\r\nX-ResponseCode: 0\r\n\r\n"),
      1, 1, 0, 0 },

    /* Gromox: PENDING without CR LF, PROCESSING once more */

    { body("PROCESSING\r\nPENDINGPENDINGPROCESSING\r\nDONE\r\n"
           "x-responsecode:\t5\r\n\r\n"),
      1, 1, 2, 5 },

    /* under way, and cut */

    { body("PROCESSING\r\nPENDING\r\n"), 0, 0, 1, -1 },
    { body("PROCESSING\r\nPEND"), 0, 0, 0, -1 },
    { body("PROCESSING\r\nDONE\r\nX-ResponseCode: 1"), 0, 1, 0, 1 },
    { body("DON"), 0, 0, 0, -1 },
    { body(""), 0, 0, 0, -1 },

    /* no such body */

    { body("<!DOCTYPE HTML>\r\nDONE\r\n"), 1, 0, 0, -1 },
    { body("PROCESSINGS\r\nDONE\r\nX-ResponseCode: 4\r\n"), 1, 0, 0, -1 },
    { body("POKE\r\n"), 1, 0, 0, -1 },
    { body("DONE X-ResponseCode: 9\r\n\r\n"), 1, 1, 0, -1 },
    { body("DONEDONE\r\nX-ResponseCode: 9\r\n\r\n"), 1, 1, 0, -1 },

    /* values that are none, names that only begin like it */

    { body("DONE\r\nX-ResponseCode: 1a\r\n\r\n"), 1, 1, 0, -1 },
    { body("DONE\r\nX-ResponseCode:\r\n\r\n"), 1, 1, 0, -1 },
    { body("DONE\r\nX-ResponseCode: -1\r\n\r\n"), 1, 1, 0, -1 },
    { body("DONE\r\nX-ResponseCode: 99999999999\r\n\r\n"), 1, 1, 0, -1 },
    { body("DONE\r\nX-ResponseCodes: 4\r\nX-Response\r\n\r\n"),
      1, 1, 0, -1 },
    { body("DONE\nX-ResponseCode: 7 \n\n"), 1, 1, 0, 7 },
    { body("DONE\r\nX-ResponseCode: 7\r\nX-ResponseCode: 0\r\n\r\n"),
      1, 1, 0, 0 }
};


static void
check(const body_t *b, const mapi_stream_t *s, int rc)
{
    if (rc != (b->over ? MAPI_DECLINED : MAPI_OK)
        || s->done != b->done
        || s->pending != b->pending
        || s->code != b->code)
    {
        fail_msg("\"%s\": rc %d done %u pending %u code %d",
                 b->body, rc, s->done, s->pending, s->code);
    }
}


static void
test_whole(void **state)
{
    int            rc;
    size_t         i;
    unit_edge_t    e;
    mapi_stream_t  s;

    e = unit_edge_create(256);

    for (i = 0; i < unit_items(bodies); i++) {
        mapi_stream_init(&s);

        rc = mapi_stream_read(&s, unit_edge_copy(&e, bodies[i].body,
                                                 bodies[i].len),
                              bodies[i].len);
        check(&bodies[i], &s, rc);
    }

    unit_edge_destroy(&e);
}


/* chunks end anywhere */

static void
test_cut(void **state)
{
    int                   rc;
    size_t                i, first, second;
    mapi_stream_t         s;
    const unsigned char  *p;

    for (i = 0; i < unit_items(bodies); i++) {
        p = (const unsigned char *) bodies[i].body;

        for (first = 0; first <= bodies[i].len; first++) {
            for (second = first; second <= bodies[i].len; second++) {

                mapi_stream_init(&s);

                (void) mapi_stream_read(&s, p, first);
                (void) mapi_stream_read(&s, p + first, second - first);
                rc = mapi_stream_read(&s, p + second,
                                      bodies[i].len - second);

                check(&bodies[i], &s, rc);
            }
        }
    }
}


/* bodies of such pieces, whole and byte by byte, are the same */

static void
test_pieces(void **state)
{
    int             rc, byte_rc;
    char            body[256];
    size_t          i, len;
    unsigned        k, n;
    uint64_t        seed;
    unit_edge_t     e;
    mapi_stream_t   s, bytes;
    unsigned char  *p;

    static const char *const  piece[] = {
        "PROCESSING", "PROCESSING\r\n", "PENDING", "PENDING\r\n", "DONE",
        "DONE\r\n", "\r\n", "\r", "\n", "X-ResponseCode: 7\r\n",
        "x-responsecode:8\n", "X-ResponseCode: ", "X-ElapsedTime: 5\r\n",
        "X-StartTime: Mon, 02 Mar 2026\r\n", "X-R", "X-\n", "X\n", "Y\r",
        "x-r:\n", "P", "D", "PR", "DON", "1", " ", "X"
    };

    e = unit_edge_create(sizeof(body));
    seed = 1;

    for (k = 0; k < 200000; k++) {

        /* half of them begin as they should */

        len = 0;
        n = 1 + k % 10;

        if (k & 1) {
            len = sprintf(body, "PROCESSING\r\n%s", k & 2 ? "DONE\r\n" : "");
        }

        while (n--) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            i = (size_t) (seed >> 33) % unit_items(piece);

            if (len + strlen(piece[i]) >= sizeof(body)) {
                break;
            }

            len += sprintf(body + len, "%s", piece[i]);
        }

        p = unit_edge_copy(&e, body, len);

        mapi_stream_init(&s);
        rc = mapi_stream_read(&s, p, len);

        mapi_stream_init(&bytes);
        byte_rc = MAPI_OK;

        for (i = 0; i < len; i++) {
            byte_rc = mapi_stream_read(&bytes, p + i, 1);
        }

        if (rc != byte_rc
            || s.state != bytes.state
            || s.done != bytes.done
            || s.pending != bytes.pending
            || s.code != bytes.code)
        {
            fail_msg("\"%s\": rc %d %d, state %u %u, code %d %d", body, rc,
                     byte_rc, s.state, bytes.state, s.code, bytes.code);
        }
    }

    unit_edge_destroy(&e);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_pieces)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
