
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_SESSION_H_INCLUDED_
#define _MAPI_SESSION_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_guid.h"


/*
 * What is known of one session context that a server has opened: who has it,
 * and what was done in it.  Plain memory without an address in it, which may
 * be copied; views that go in need not outlive the call.
 */

#define MAPI_SESSION_ACTIVE     4
#define MAPI_SESSION_COMPLETED  8
#define MAPI_SESSION_FAILED     4


/* a hash of 128 bits with a secret key */
typedef struct {
    uint64_t  h[2];
} mapi_session_key_t;


/* a bounded text; what is longer was cut at a character of UTF-8 */
#define mapi_session_text(n)                                                  \
    struct { unsigned char len; unsigned char data[n]; }

/* a view of such a text */
#define mapi_session_view(str, text)                                          \
    ((str)->len = (text)->len, (str)->data = (unsigned char *) (text)->data)


typedef enum {
    mapi_session_closed_none = 0,      /* the answer came to its end */
    mapi_session_closed_client,
    mapi_session_closed_server,
    mapi_session_closed_proxy          /* it was too late, or no HTTP */
} mapi_session_closed_e;


/* an operation that has ended; times in milliseconds */
typedef struct {
    int64_t                start;      /* since 1970 */
    uint32_t               duration;
    uint32_t               pending;    /* PENDING tags */
    int16_t                code;       /* X-ResponseCode, -1: none */
    uint16_t               status;     /* of HTTP, 0: no answer */
    unsigned char          closed;     /* mapi_session_closed_e */
    mapi_session_text(17)  type;       /* X-RequestType */
    mapi_session_text(55)  id;         /* X-RequestId */
} mapi_session_op_t;


/* one under way; a slot with worker 0 is free */
typedef struct {
    int64_t                start;
    int32_t                worker;     /* process id */
    mapi_session_text(17)  type;
    mapi_session_text(55)  id;
} mapi_session_active_t;


typedef struct {

    /* what every request looks at or changes: a cache line */

    mapi_session_key_t      key;
    uint64_t                touched;       /* latest use, on a steady clock */
    uint64_t                moved;         /* in the table's order of use */
    uint64_t                requests;
    uint64_t                received;      /* bytes, from the client */
    uint64_t                sent;          /* and to it */
    unsigned char           ncompleted;    /* read them by the functions */
    unsigned char           nfailed;
    unsigned char           at_completed;
    unsigned char           at_failed;
    unsigned char           has_mailbox;
    unsigned char           endpoint;      /* mapi_endpoint_e */
    unsigned char           scheme;        /* of the logon that opened it */

    mapi_guid_t             mailbox;
    int64_t                 created;       /* milliseconds since 1970 */
    int64_t                 last;          /* latest use; only in a copy */
    uint64_t                failures;

    mapi_session_text(127)  anchor;        /* whom the client asked for */
    mapi_session_text(39)   upstream;
    mapi_session_text(79)   server;
    mapi_session_text(47)   address;       /* the client's */
    mapi_session_text(47)   application;   /* X-ClientApplication */
    mapi_session_text(95)   agent;         /* User-Agent */
    mapi_session_text(95)   user;          /* who has logged on, if known */

    mapi_session_active_t   active[MAPI_SESSION_ACTIVE];
    mapi_session_op_t       completed[MAPI_SESSION_COMPLETED];
    mapi_session_op_t       failed[MAPI_SESSION_FAILED];
} mapi_session_t;


/* who opens a session */
typedef struct {
    uint64_t            owner[2];      /* hashes to find it by, 0: none */
    const mapi_guid_t  *mailbox;       /* NULL: unknown */
    unsigned            endpoint;
    unsigned            scheme;        /* mapi_auth_scheme_e */
    mapi_str_t          anchor;
    mapi_str_t          upstream;
    mapi_str_t          server;
    mapi_str_t          address;
    mapi_str_t          application;
    mapi_str_t          agent;
    mapi_str_t          user;
} mapi_session_who_t;


/* what a request did, at its end */
typedef struct {
    mapi_str_t             type;
    mapi_str_t             id;
    int64_t                start;
    uint32_t               duration;
    uint32_t               pending;
    int                    code;
    unsigned               status;
    mapi_session_closed_e  closed;
    int32_t                worker;     /* if it was under way, else 0 */
    uint64_t               received;
    uint64_t               sent;
} mapi_session_done_t;


/* writes who has the session, without touching what was done in it */
void mapi_session_describe(mapi_session_t *s, const mapi_session_who_t *who);

/* 1 if an operation is under way */
int mapi_session_is_active(const mapi_session_t *s);

/*
 * An operation is under way; where all slots are taken, the one that began
 * first loses its own.  An operation has ended: one that has a worker is no
 * longer under way.
 */
void mapi_session_start(mapi_session_t *s, const mapi_session_done_t *op);
void mapi_session_finish(mapi_session_t *s, const mapi_session_done_t *op);

/* the operations that have ended; the latest is 0; NULL behind the last one */
const mapi_session_op_t *mapi_session_completed(const mapi_session_t *s,
    unsigned i);
const mapi_session_op_t *mapi_session_failed(const mapi_session_t *s,
    unsigned i);


#endif /* _MAPI_SESSION_H_INCLUDED_ */
