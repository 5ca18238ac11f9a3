
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _UNIT_LOG_ROW_H_INCLUDED_
#define _UNIT_LOG_ROW_H_INCLUDED_


#include "unit.h"
#include "unit_log.h"


typedef struct {
    unit_edge_t     edge;
    unsigned char  *buf;
    size_t          len;
    unit_log_t      log;
} unit_log_page_t;


/* where the tests of a program write their rows: where memory ends */
static unit_log_page_t  page;


/* the row must be one by all rules */
static inline void
write_row(const mapi_log_row_t *row)
{
    const char  *wrong;

    page.len = mapi_log_row_write(page.buf, row);
    assert_true(page.len <= MAPI_LOG_ROW_MAX);

    /* first all of it, then once more for whole columns */

    wrong = unit_log_read(&page.log, page.buf, page.len, row->columns, 1);

    if (wrong) {
        fail_msg("%s: %.*s", wrong, (int) page.len, page.buf);
    }

    (void) unit_log_read(&page.log, page.buf, page.len, row->columns, 0);
}


static inline void
assert_column(unsigned column, const char *expected)
{
    if (strcmp(page.log.field[column], expected) != 0) {
        fail_msg("column %u is \"%s\", not \"%s\"", column,
                 page.log.field[column], expected);
    }
}


static inline mapi_guid_t
guid(const char *text)
{
    mapi_guid_t  g;

    assert_int_equal(mapi_guid_parse(&g, (const unsigned char *) text,
                                     strlen(text)),
                     MAPI_OK);
    return g;
}


/* milliseconds of a moment on a day that the tests name by its first second */
#define at(day, h, m, s, ms)                                                  \
    ((int64_t) (day) * 1000 + (((h) * 60 + (m)) * 60 + (s)) * 1000 + (ms))

#define DAY_2023_01_06  1672963200
#define DAY_2023_01_07  1673049600
#define DAY_2024_01_24  1706054400


static inline void
set_times(mapi_log_times_t *t, int64_t begin, const int64_t *moment)
{
    t->begin = begin;
    t->identified = moment[0];
    t->selected = moment[1];
    t->body = moment[2];
    t->connected = moment[3];
    t->sent = moment[4];
    t->answered = moment[5];
    t->relayed = moment[6];
    t->end = moment[7];
}


/* what the two real rows of one session share */
static inline void
set_session(mapi_log_row_t *row)
{
    memset(row, 0, sizeof(mapi_log_row_t));

    row->kind = mapi_log_proxied;
    row->columns = MAPI_LOG_COLUMNS;
    row->version = (mapi_log_version_t) { { 15, 1, 2375, 7 } };
    row->is_mapi = 1;
    row->authenticated = 1;
    row->has_request_body = 1;
    row->has_answer_body = 1;
    row->has_answer_bytes = 1;
    row->has_database = 1;
    row->database = guid("fb7adba2-51f4-47e3-b170-fd39f85aaf35");
    row->client.client_info =
        unit_str("97c0f33d-7e97-4147-9742-ee1e9a3cc2f4:1");
    row->host = unit_str("SERVER_HOSTNAME.domain.test");
    row->stem = unit_str("/mapi/emsmdb/");
    row->auth_type = unit_str("Negotiate");
    row->user = unit_str("DOMAIN\\HealthMailboxXXX");
    row->organization = unit_str("domain.test");
    row->anchor = unit_str("MailboxGuid~1234567-4444-1234-4567-123456789987");
    row->user_agent = unit_str("MapiHttpClient");
    row->client_address = unit_str("10.128.53.11");
    row->server_name = unit_str("SERVER_HOSTNAME");
    row->status = 200;
    row->backend_status = 200;
    row->method = unit_str("POST");
    row->target = unit_str("SERVER_HOSTNAME.domain.test");
    row->target_version = (mapi_log_version_t) { { 15, 1, 2375, 7 } };
    row->hint = unit_str("MailboxGuidWithDomain");
    row->query =
        unit_str("mailboxId=1234567-4444-1234-4567-123456789987@domain.test");
    row->proxy_state = unit_str("ProxyResponseData");
}


static inline void
set_execute(mapi_log_row_t *row)
{
    static const int64_t  moment[] = { 0, 2, 2, 2, 3, 12, 12, 12 };

    set_session(row);

    row->activity = unit_str("9b241890-db8d-44c5-a50e-ccdc753cab92");
    row->client.request_id =
        unit_str("1b7dabb2-cd5b-4ce0-a65d-b25915e598cf:2");
    row->client.request_type = unit_str("Execute");
    row->client.client_request_id =
        unit_str("45534129-271f-4423-bae6-e038600d6c36");
    row->request_bytes = 273;
    row->answer_bytes = 295;
    set_times(&row->times, at(DAY_2023_01_06, 1, 0, 4, 129), moment);
}


static inline int
open_page(void **state)
{
    page.edge = unit_edge_create(MAPI_LOG_ROW_MAX);
    page.buf = unit_edge_tail(&page.edge, MAPI_LOG_ROW_MAX);

    return 0;
}


static inline int
close_page(void **state)
{
    unit_edge_destroy(&page.edge);

    return 0;
}


#endif /* _UNIT_LOG_ROW_H_INCLUDED_ */
