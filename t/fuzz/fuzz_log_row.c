
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "unit_log.h"


typedef struct {
    const uint8_t  *p;
    size_t          len;
} input_t;


static unsigned
take_byte(input_t *in)
{
    if (in->len == 0) {
        return 0;
    }

    in->len--;

    return *in->p++;
}


/* mostly near the others, some nowhere, a few anywhere */
static int64_t
take_moment(input_t *in)
{
    int64_t   n;
    unsigned  b;

    b = take_byte(in);

    if (b < 0xf0) {
        return (int64_t) b - 16;
    }

    for (n = 0; b > 0xf0; b -= 2) {
        n = (int64_t) ((uint64_t) n << 8 | take_byte(in));
    }

    return n;
}


/* a view into the input: the last one ends where it ends */
static mapi_str_t
take_text(input_t *in)
{
    size_t      n;
    mapi_str_t  text;

    n = take_byte(in);

    text.len = 0;
    text.data = NULL;

    if (n == 0) {
        return text;
    }

    /* long ones too */

    n = (n > 200) ? (n - 200) * 160 : n - 1;

    text.data = (unsigned char *) in->p;
    text.len = n < in->len ? n : in->len;

    in->p += text.len;
    in->len -= text.len;

    return text;
}


static void
take_version(input_t *in, mapi_log_version_t *v)
{
    unsigned  i;

    for (i = 0; i < 4; i++) {
        v->part[i] = (unsigned) take_moment(in);
    }
}


static void
take_pairs(input_t *in, mapi_log_pairs_t *pairs)
{
    unsigned    n;
    mapi_str_t  value;

    for (n = take_byte(in) % 20; n; n--) {
        value = take_text(in);
        mapi_log_pair_add(pairs, "Some.Key[x]", &value);
    }
}


static void
take_row(input_t *in, mapi_log_row_t *row)
{
    size_t    i;
    unsigned  flags;

    mapi_str_t *text[] = {
        &row->user_agent, &row->client.request_id, &row->client.request_type,
        &row->client.client_info, &row->client.client_request_id, &row->host,
        &row->stem, &row->auth_type, &row->user, &row->organization,
        &row->anchor, &row->client_address, &row->server_name,
        &row->backend_word, &row->error_code, &row->method, &row->target,
        &row->hint, &row->cookie_server, &row->query, &row->backend_info,
        &row->new_connection, &row->proxy_state
    };

    flags = take_byte(in);
    row->kind = flags % 3;
    row->columns = (flags & 0x80) ? MAPI_LOG_COLUMNS_OLD : MAPI_LOG_COLUMNS;

    flags = take_byte(in);
    row->is_mapi = flags;
    row->authenticated = flags >> 1;
    row->has_request_body = flags >> 2;
    row->has_answer_body = flags >> 3;
    row->has_outstanding = flags >> 4;
    row->has_answer_bytes = flags >> 5;
    row->has_database = flags >> 6;

    row->times.begin = take_moment(in);
    row->times.identified = take_moment(in);
    row->times.selected = take_moment(in);
    row->times.body = take_moment(in);
    row->times.connected = take_moment(in);
    row->times.sent = take_moment(in);
    row->times.answered = take_moment(in);
    row->times.relayed = take_moment(in);
    row->times.end = take_moment(in);

    take_version(in, &row->version);
    take_version(in, &row->target_version);
    take_version(in, &row->cookie_version);
    row->cookie_expires = take_moment(in);
    row->status = (unsigned) take_moment(in);
    row->backend_status = (unsigned) take_moment(in);
    row->request_bytes = (uint64_t) take_moment(in);
    row->answer_bytes = (uint64_t) take_moment(in);
    row->outstanding = (uint64_t) take_moment(in);

    for (i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        *text[i] = take_text(in);
    }

    take_pairs(in, &row->info);
    take_pairs(in, &row->errors);
}


/* a name is read only if it is what would be written */
static void
check_name(const uint8_t *p, size_t len)
{
    int64_t              hour;
    unsigned             number;
    unsigned char        name[MAPI_LOG_NAME_MAX];
    mapi_log_version_t   v;

    if (mapi_log_name_parse(p, len, &hour, &number) == MAPI_OK) {
        assert(mapi_log_name_write(name, hour, number) == len);
        assert(memcmp(name, p, len) == 0);
    }

    if (mapi_log_version_parse(&v, p, len) == MAPI_OK) {
        assert(v.part[0] <= 99999 && v.part[3] <= 99999);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    size_t           n;
    input_t          in;
    uint8_t         *copy;
    unit_log_t      *log;
    const char      *wrong;
    unsigned char   *buf;
    mapi_log_row_t   row;

    copy = malloc(len ? len : 1);
    buf = malloc(MAPI_LOG_ROW_MAX);
    log = malloc(sizeof(unit_log_t));
    assert(copy && buf && log);
    memcpy(copy, p, len);

    check_name(copy, len);

    in.p = copy;
    in.len = len;

    memset(&row, 0, sizeof(mapi_log_row_t));
    take_row(&in, &row);

    n = mapi_log_row_write(buf, &row);
    wrong = unit_log_read(log, buf, n, row.columns, 1);

    if (wrong) {
        fprintf(stderr, "%s: %.*s", wrong, (int) n, buf);
        abort();
    }

    free(copy);
    free(buf);
    free(log);

    return 0;
}
