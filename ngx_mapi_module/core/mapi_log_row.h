
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_LOG_ROW_H_INCLUDED_
#define _MAPI_LOG_ROW_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_guid.h"


/*
 * One row of Exchange's HttpProxy log, from what is known of a request.
 * Whatever a value holds, the row has its columns, ends with CR LF, and is
 * UTF-8 and at most MAPI_LOG_ROW_MAX bytes long.
 */

#define MAPI_LOG_COLUMNS      74
#define MAPI_LOG_COLUMNS_OLD  69

#define MAPI_LOG_ROW_MAX      32768
#define MAPI_LOG_HEADER_MAX   8192

/* further entries of GenericInfo or GenericErrors that a row takes */
#define MAPI_LOG_PAIRS_MAX    16


/* 15.2.1544.4; all zero: unknown */
typedef struct {
    unsigned    part[4];
} mapi_log_version_t;


/* key is ours and clean, value is anybody's; an empty value is left out */
typedef struct {
    mapi_str_t  key;
    mapi_str_t  value;
} mapi_log_pair_t;


typedef struct {
    unsigned         n;
    mapi_log_pair_t  pair[MAPI_LOG_PAIRS_MAX];
} mapi_log_pairs_t;


/*
 * The moment that was written last: those of a row, and of rows in a row, are
 * often the same, or in the same second.  Begins with a second of -1.
 */
#define MAPI_LOG_TIME_MAX     24

typedef struct {
    int64_t        second;
    int64_t        msec;
    unsigned char  text[MAPI_LOG_TIME_MAX];   /* yyyy-MM-ddTHH:mm:ss.fffZ */
} mapi_log_clock_t;


/*
 * How far the request came; decides which columns are filled at all, whatever
 * the row holds: refused before a server was looked for, answered by the front
 * end after that, or passed on.
 */
typedef enum {
    mapi_log_refused = 0,
    mapi_log_answered,
    mapi_log_proxied
} mapi_log_kind_e;


/*
 * Moments in milliseconds after begin, on one clock that does not jump; -1 for
 * what did not happen.  One that lies before its predecessor counts as equal
 * to it; an answer to a request that was never sent whole as its sending.
 */
typedef struct {
    int64_t  begin;        /* milliseconds since 1970, UTC */
    int64_t  identified;   /* the header was read, routing begins */
    int64_t  selected;     /* a server is chosen */
    int64_t  body;         /* the client's body is here, the server's turn */
    int64_t  connected;    /* to the server that answered last */
    int64_t  sent;         /* the request, whole */
    int64_t  answered;     /* status and header of the answer are here */
    int64_t  relayed;      /* the last byte of the answer is here */
    int64_t  end;          /* the client has it; always there */
} mapi_log_times_t;


/* data NULL: there was none; a length of 0 with data: there was an empty one */
typedef struct {
    mapi_str_t  request_id;       /* X-RequestId */
    mapi_str_t  request_type;     /* X-RequestType */
    mapi_str_t  client_info;      /* X-ClientInfo */
    mapi_str_t  client_request_id;/* client-request-id */
} mapi_log_client_t;


typedef struct {
    mapi_log_kind_e     kind;
    unsigned            columns;          /* 69 or 74 */
    mapi_log_version_t  version;          /* the front end's, columns 2 to 5 */
    mapi_log_times_t    times;
    mapi_log_clock_t   *clock;            /* kept between rows; NULL: none */

    mapi_str_t          activity;         /* RequestId: a GUID's text */
    unsigned            is_mapi:1;        /* a POST: ClientRequestId */
    unsigned            authenticated:1;
    unsigned            has_request_body:1;
    unsigned            has_answer_body:1;
    unsigned            has_outstanding:1;
    unsigned            has_answer_bytes:1;
    unsigned            has_database:1;

    mapi_log_client_t   client;
    mapi_str_t          host;             /* UrlHost, without port */
    mapi_str_t          stem;             /* UrlStem */
    mapi_str_t          auth_type;        /* AuthenticationType */
    mapi_str_t          user;             /* AuthenticatedUser */
    mapi_str_t          organization;
    mapi_str_t          anchor;           /* AnchorMailbox */
    mapi_str_t          user_agent;
    mapi_str_t          client_address;   /* ClientIpAddress */
    mapi_str_t          server_name;      /* ServerHostName: the front end */

    unsigned            status;           /* HttpStatus */
    unsigned            backend_status;   /* 0: none, see backend_word */
    mapi_str_t          backend_word;     /* ConnectFailure, Timeout ... */
    mapi_str_t          error_code;
    mapi_str_t          method;

    mapi_str_t          target;           /* TargetServer */
    mapi_log_version_t  target_version;   /* all zero: empty */
    mapi_str_t          hint;             /* RoutingHint */

    mapi_str_t          cookie_server;    /* BackEndCookie; empty: none */
    mapi_log_version_t  cookie_version;
    int64_t             cookie_expires;   /* seconds since 1970 */

    uint64_t            request_bytes;
    uint64_t            answer_bytes;
    uint64_t            outstanding;

    mapi_str_t          query;            /* without "?" */
    mapi_str_t          backend_info;     /* BackEndGenericInfo */
    mapi_guid_t         database;         /* DatabaseGuid */

    mapi_str_t          new_connection;   /* its address; empty: reused */
    mapi_str_t          proxy_state;      /* ProxyState-Complete */

    /* these two at the end, see mapi_log_row_init() */

    mapi_log_pairs_t    info;             /* before EndRequest */
    mapi_log_pairs_t    errors;           /* GenericErrors */
} mapi_log_row_t;


/*
 * Writes one row, CR LF included, to buf, which has room for
 * MAPI_LOG_ROW_MAX bytes; returns its length.  Never fails: a value that is
 * too long for its column is cut at a character and ends in "...".
 */
size_t mapi_log_row_write(unsigned char *buf, const mapi_log_row_t *row);

/*
 * Writes the six lines that a new file begins with to buf, which has room for
 * MAPI_LOG_HEADER_MAX bytes; now is in milliseconds since 1970.
 */
size_t mapi_log_header_write(unsigned char *buf,
    const mapi_log_version_t *version, unsigned columns, int64_t now);

/* how many lines that are, and where in the first one the old list ends */
#define MAPI_LOG_HEADER_LINES  6

size_t mapi_log_fields_old(void);

/*
 * The name of a file, HttpProxy_yyyyMMddHH-N.LOG, not terminated: writes at
 * most MAPI_LOG_NAME_MAX bytes and returns how many.  The hour is counted
 * from 1970, UTC.  The other way round: MAPI_OK with hour and number, or
 * MAPI_ERROR if it is no such name.
 */
#define MAPI_LOG_NAME_MAX  64

size_t mapi_log_name_write(unsigned char *buf, int64_t hour, unsigned number);
int mapi_log_name_parse(const unsigned char *p, size_t len, int64_t *hour,
    unsigned *number);

/*
 * Reads 15.2.1544.4 or 15.02.1544.004: four numbers of at most 5 digits.
 * MAPI_OK or MAPI_ERROR.
 */
int mapi_log_version_parse(mapi_log_version_t *version,
    const unsigned char *p, size_t len);

/*
 * Puts a pair at the end if there is room and the value is not empty; inline,
 * for the length of a key is known where it is written down.
 */
static inline void
mapi_log_pair_add(mapi_log_pairs_t *pairs, const char *key,
    const mapi_str_t *value)
{
    mapi_log_pair_t  *pair;

    if (value->len == 0 || pairs->n >= MAPI_LOG_PAIRS_MAX) {
        return;
    }

    pair = &pairs->pair[pairs->n++];

    pair->key.data = (unsigned char *) key;
    pair->key.len = strlen(key);
    pair->value = *value;
}


/* an empty row: of the pairs, which are most of it, only how many there are */
static inline void
mapi_log_row_init(mapi_log_row_t *row)
{
    memset(row, 0, offsetof(mapi_log_row_t, info));

    row->info.n = 0;
    row->errors.n = 0;
}


#endif /* _MAPI_LOG_ROW_H_INCLUDED_ */
