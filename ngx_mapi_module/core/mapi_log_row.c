
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_log_text.h"


/*
 * The most bytes that a value takes in a row, cleaned and with its quotes
 * doubled; the pair of quotes around a column comes on top of it.  None is
 * below the three dots that a cut value ends in.
 */

#define MAPI_LOG_HOST_MAX     255
#define MAPI_LOG_STEM_MAX     1024
#define MAPI_LOG_WORD_MAX     255
#define MAPI_LOG_USER_MAX     512
#define MAPI_LOG_ANCHOR_MAX   640
#define MAPI_LOG_AGENT_MAX    1024
#define MAPI_LOG_CLIENT_MAX   512
#define MAPI_LOG_METHOD_MAX   32
#define MAPI_LOG_QUERY_MAX    4096
#define MAPI_LOG_BACKEND_MAX  1024
#define MAPI_LOG_PART_MAX     256
#define MAPI_LOG_STATE_MAX    64
#define MAPI_LOG_KEY_MAX      64
#define MAPI_LOG_PAIRS_SIZE   8192

/* two states, three counts, 30 latencies, versions of cookie and target */

#define MAPI_LOG_NUMBERS      37

/* the moments in GenericInfo, DateTime and the cookie's expiry */

#define MAPI_LOG_MOMENTS      9

/* keys and words of ours: those of GenericInfo, which are 290, and others */

#define MAPI_LOG_WORDS_MAX    640

#define MAPI_LOG_ROW_WORST                                                    \
    (MAPI_LOG_HOST_MAX + MAPI_LOG_STEM_MAX + MAPI_LOG_USER_MAX                \
     + MAPI_LOG_ANCHOR_MAX + MAPI_LOG_AGENT_MAX + MAPI_LOG_CLIENT_MAX         \
     + MAPI_LOG_METHOD_MAX + MAPI_LOG_QUERY_MAX + MAPI_LOG_BACKEND_MAX        \
     + 4 * MAPI_LOG_PART_MAX + MAPI_LOG_STATE_MAX                             \
     /* type, organization, server, word, error, target, hint, cookie, new */ \
     + 9 * MAPI_LOG_WORD_MAX + 2 * MAPI_LOG_PAIRS_SIZE                        \
     + 2 * MAPI_GUID_LEN + 2 * MAPI_LOG_VERSION_MAX                           \
     + MAPI_LOG_NUMBERS * MAPI_LOG_NUMBER_MAX                                 \
     + MAPI_LOG_MOMENTS * MAPI_LOG_TIME_MAX + MAPI_LOG_WORDS_MAX              \
     /* two quotes and a comma each, CR LF */                                 \
     + 3 * MAPI_LOG_COLUMNS + 2)

/* no compiler takes this if a row may be longer than its caller's room */

typedef char  mapi_log_row_fits[(MAPI_LOG_ROW_WORST <= MAPI_LOG_ROW_MAX)
                                ? 1 : -1];


/* a moment lies at most 3 years after begin */

#define MAPI_LOG_MOMENT_MAX   100000000000LL
#define MAPI_LOG_BEGIN_MAX    (MAPI_LOG_SECONDS_MAX * 1000                    \
                               - MAPI_LOG_MOMENT_MAX)


/* milliseconds, -1 for a phase that did not occur */
typedef struct {
    int64_t  pipeline;     /* HttpPipelineLatency */
    int64_t  calculate;    /* CalculateTargetBackEndLatency */
    int64_t  client;       /* ClientReqStreamLatency */
    int64_t  connect;      /* BackendReqInitLatency */
    int64_t  send;         /* BackendReqStreamLatency */
    int64_t  processing;   /* BackendProcessingLatency */
    int64_t  init;         /* BackendRespInitLatency */
    int64_t  read;         /* BackendRespStreamLatency */
    int64_t  write;        /* ClientRespStreamLatency */
    int64_t  handler;      /* RequestHandlerLatency */
    int64_t  proxy;        /* ProxyTime */
    int64_t  core;
    int64_t  routing;
    int64_t  overhead;
    int64_t  total;
} mapi_log_latency_t;


static unsigned
mapi_log_version_known(const mapi_log_version_t *v)
{
    return (v->part[0] | v->part[1] | v->part[2] | v->part[3]) != 0;
}


/* a column that is one value, and the comma after it */
static unsigned char *
mapi_log_column(unsigned char *p, const mapi_str_t *value, size_t max)
{
    size_t             n;
    mapi_log_column_t  column;

    if (value->len == 0) {
        *p++ = ',';
        return p;
    }

    n = mapi_log_run(p, value->data, mapi_log_min(value->len, max),
                     mapi_log_mark);

    if (n < value->len) {
        mapi_log_column_start(&column, p, mapi_log_mark);

        p = mapi_log_clean(p, n, &column, value, max);
        p = mapi_log_column_end(p, &column);
        n = 0;
    }

    p[n] = ',';

    return p + n + 1;
}


/*
 * Entries of a column of pairs: at most MAPI_LOG_PAIRS_SIZE bytes.  The one
 * for which there is no room ends in three dots and is the last.
 */

static unsigned char *
mapi_log_pairs(unsigned char *p, mapi_log_column_t *column,
    const mapi_log_pairs_t *pairs)
{
    unsigned                i, n;
    unsigned char          *last;
    const mapi_log_pair_t  *pair;

    column->cut = 0;
    last = p + MAPI_LOG_PAIRS_SIZE - MAPI_LOG_DOTS;
    n = mapi_log_min(pairs->n, MAPI_LOG_PAIRS_MAX);

    for (i = 0; i < n; i++) {
        pair = &pairs->pair[i];

        if (pair->value.len == 0) {
            continue;
        }

        /* a key, "=", a value that is nothing but dots, ";" */

        if (last - p < MAPI_LOG_KEY_MAX + 1 + MAPI_LOG_DOTS + 1) {
            column->cut = 1;
            return mapi_log_text(p, "...");
        }

        p = mapi_log_value(p, column, &pair->key, MAPI_LOG_KEY_MAX);
        *p++ = '=';
        column->cut = 0;
        p = mapi_log_value(p, column, &pair->value, last - p - 1);

        if (column->cut) {
            return p;
        }

        *p++ = ';';
    }

    return p;
}


/* one of them, not before the last one */
static inline int64_t
mapi_log_moment(int64_t n, int64_t *least)
{
    if (n < 0) {
        return -1;
    }

    n = mapi_log_min(n, MAPI_LOG_MOMENT_MAX);
    *least = mapi_log_max(n, *least);

    return *least;
}


/*
 * Makes the moments what the row needs them to be: none before another that
 * comes first, an end, and a request that is sent when its answer is here.
 */

static void
mapi_log_times(mapi_log_times_t *t, const mapi_log_times_t *given)
{
    int64_t  least, sent;

    t->begin = mapi_log_max(given->begin, 0);
    t->begin = mapi_log_min(t->begin, MAPI_LOG_BEGIN_MAX);

    sent = given->sent;

    if (given->answered >= 0 && sent < 0) {
        sent = given->answered;
    }

    least = 0;

    t->identified = mapi_log_moment(given->identified, &least);
    t->selected = mapi_log_moment(given->selected, &least);
    t->body = mapi_log_moment(given->body, &least);
    t->connected = mapi_log_moment(given->connected, &least);
    t->sent = mapi_log_moment(sent, &least);
    t->answered = mapi_log_moment(given->answered, &least);
    t->relayed = mapi_log_moment(given->relayed, &least);
    t->end = mapi_log_moment(mapi_log_max(given->end, 0), &least);
}


/* the time between two moments, -1 if one of them did not come */
static int64_t
mapi_log_between(int64_t from, int64_t to)
{
    return (from < 0 || to < 0) ? -1 : to - from;
}


/* what the phases are between the moments of a request that was passed on */
static void
mapi_log_phases(mapi_log_latency_t *l, const mapi_log_row_t *row,
    const mapi_log_times_t *t)
{
    if (row->has_request_body) {
        l->client = mapi_log_between(t->selected, t->body);
        l->connect = mapi_log_between(t->body, t->connected);
        l->send = mapi_log_between(t->connected, t->sent);
    }

    if (t->sent < 0) {
        return;
    }

    l->init = 0;
    l->proxy = t->end - t->sent;

    if (t->answered < 0) {
        l->processing = t->end - t->sent;
        return;
    }

    l->processing = t->answered - t->sent;

    if (t->relayed < 0) {
        l->read = t->end - t->answered;
        l->write = row->has_answer_body ? 0 : -1;
        return;
    }

    l->read = t->relayed - t->answered;

    if (row->has_answer_body) {
        l->write = t->end - t->relayed;
    }
}


/*
 * Readers recompute the last four from the others, so they follow Exchange's
 * own formulas, in which what is empty counts as 0.  The phases are parts of
 * the total that do not overlap, and none lies before "start": so none of the
 * differences is ever negative, where Exchange has to cut them off at 0.
 */

static void
mapi_log_latencies(mapi_log_latency_t *l, const mapi_log_row_t *row,
    const mapi_log_times_t *t)
{
    int64_t  start;

    memset(l, 0xff, sizeof(mapi_log_latency_t));

    l->total = t->end;

    if (row->kind == mapi_log_refused) {
        l->overhead = t->end;
        l->core = t->end;
        return;
    }

    start = mapi_log_max(t->identified, 0);

    l->pipeline = t->identified;
    l->calculate = mapi_log_max(t->selected - start, 0);
    l->handler = t->end - start;

    if (row->kind == mapi_log_proxied) {
        mapi_log_phases(l, row, t);
    }

    l->overhead = t->end - (mapi_log_max(l->client, 0)
                            + mapi_log_max(l->send, 0)
                            + mapi_log_max(l->processing, 0)
                            + mapi_log_max(l->read, 0)
                            + mapi_log_max(l->write, 0));

    if (l->processing >= 0) {
        l->routing = l->overhead - start;
    }

    l->core = l->overhead - start - mapi_log_max(l->connect, 0);
}


/* a latency, and the comma after it */
static unsigned char *
mapi_log_msec(unsigned char *p, int64_t msec)
{
    if (msec >= 0) {
        p = mapi_log_number(p, (uint64_t) msec);
    }

    *p++ = ',';

    return p;
}


/* HttpPipelineLatency to RouteRefresherLatency */
static unsigned char *
mapi_log_write_latencies(unsigned char *p, const mapi_log_row_t *row,
    const mapi_log_latency_t *l)
{
    if (row->kind == mapi_log_refused) {
        p = mapi_log_text(p, ",,,,,,,,,,,");
        p = mapi_log_msec(p, l->total);
        p = mapi_log_text(p, ",,,,,,,,,,,,,");

    } else {
        p = mapi_log_msec(p, l->pipeline);
        p = mapi_log_msec(p, l->calculate);

        /* neither a directory nor a cache is asked */
        p = mapi_log_text(p, ",0,,0,,0,0,,0,");

        p = mapi_log_msec(p, l->total);
        p = mapi_log_text(p, "0,");
        p = mapi_log_msec(p, l->client);
        p = mapi_log_msec(p, l->connect);
        p = mapi_log_msec(p, l->send);
        p = mapi_log_msec(p, l->processing);
        p = mapi_log_msec(p, l->init);
        p = mapi_log_msec(p, l->read);
        p = mapi_log_msec(p, l->write);
        p = mapi_log_text(p, ",0,");
        p = mapi_log_msec(p, l->handler);
        p = mapi_log_text(p, "0,");
        p = mapi_log_msec(p, l->proxy);
    }

    p = mapi_log_msec(p, l->core);
    p = mapi_log_msec(p, l->routing);
    p = mapi_log_msec(p, l->overhead);
    p = mapi_log_msec(p, l->total);
    *p++ = ',';

    return p;
}


static unsigned char *
mapi_log_part(unsigned char *p, mapi_log_column_t *column,
    const mapi_str_t *value)
{
    if (value->data == NULL) {
        return mapi_log_text(p, "<null>");
    }

    if (value->len == 0) {
        return mapi_log_text(p, "<empty>");
    }

    return mapi_log_value(p, column, value, MAPI_LOG_PART_MAX);
}


static unsigned char *
mapi_log_write_client(unsigned char *p, const mapi_log_client_t *client)
{
    mapi_log_column_t  column;

    mapi_log_column_start(&column, p, mapi_log_mark);

    p = mapi_log_text(p, "R:");
    p = mapi_log_part(p, &column, &client->request_id);
    p = mapi_log_text(p, ";RT:");
    p = mapi_log_part(p, &column, &client->request_type);
    p = mapi_log_text(p, ";CI:");
    p = mapi_log_part(p, &column, &client->client_info);
    p = mapi_log_text(p, ";CID:");
    p = mapi_log_part(p, &column, &client->client_request_id);

    return mapi_log_column_end(p, &column);
}


/* ours, so there is nothing to clean; a row without one still has a GUID */
static unsigned char *
mapi_log_activity(unsigned char *p, const mapi_str_t *activity)
{
    static const mapi_guid_t  none;

    if (activity->len != MAPI_GUID_LEN) {
        return mapi_guid_format(p, &none);
    }

    memcpy(p, activity->data, MAPI_GUID_LEN);

    return p + MAPI_GUID_LEN;
}


/* DateTime to AnchorMailbox */
static unsigned char *
mapi_log_write_who(unsigned char *p, const mapi_log_row_t *row,
    const mapi_log_times_t *t, mapi_log_clock_t *clock)
{
    unsigned  i;

    p = mapi_log_time(p, clock, t->begin + t->end);
    *p++ = ',';
    p = mapi_log_activity(p, &row->activity);
    *p++ = ',';

    for (i = 0; i < 4; i++) {
        p = mapi_log_number(p, row->version.part[i]);
        *p++ = ',';
    }

    if (row->is_mapi && row->kind != mapi_log_refused) {
        p = mapi_log_write_client(p, &row->client);
    }

    p = mapi_log_text(p, ",Mapi,");
    p = mapi_log_column(p, &row->host, MAPI_LOG_HOST_MAX);
    p = mapi_log_column(p, &row->stem, MAPI_LOG_STEM_MAX);
    *p++ = ',';
    p = mapi_log_column(p, &row->auth_type, MAPI_LOG_WORD_MAX);

    if (row->authenticated) {
        p = mapi_log_text(p, "true,");

    } else {
        p = mapi_log_text(p, "false,");
    }

    if (row->kind == mapi_log_refused) {
        return mapi_log_text(p, ",,,");
    }

    p = mapi_log_column(p, &row->user, MAPI_LOG_USER_MAX);
    p = mapi_log_column(p, &row->organization, MAPI_LOG_WORD_MAX);

    return mapi_log_column(p, &row->anchor, MAPI_LOG_ANCHOR_MAX);
}


/* UserAgent to Method */
static unsigned char *
mapi_log_write_what(unsigned char *p, const mapi_log_row_t *row)
{
    p = mapi_log_column(p, &row->user_agent, MAPI_LOG_AGENT_MAX);
    p = mapi_log_column(p, &row->client_address, MAPI_LOG_CLIENT_MAX);
    p = mapi_log_column(p, &row->server_name, MAPI_LOG_WORD_MAX);
    p = mapi_log_number(p, row->status);
    *p++ = ',';

    if (row->kind == mapi_log_refused) {
        *p++ = ',';

    } else if (row->kind == mapi_log_proxied && row->backend_status) {
        p = mapi_log_number(p, row->backend_status);
        *p++ = ',';

    } else {
        p = mapi_log_column(p, &row->backend_word, MAPI_LOG_WORD_MAX);
    }

    p = mapi_log_column(p, &row->error_code, MAPI_LOG_WORD_MAX);

    return mapi_log_column(p, &row->method, MAPI_LOG_METHOD_MAX);
}


/* Server~<name>~<version>~<expiry> and a comma, or the comma alone */
static unsigned char *
mapi_log_write_cookie(unsigned char *p, const mapi_log_row_t *row)
{
    int64_t            second;
    mapi_log_clock_t   clock;
    mapi_log_column_t  column;

    if (row->cookie_server.len) {
        mapi_log_column_start(&column, p, mapi_log_mark);

        p = mapi_log_text(p, "Server~");
        p = mapi_log_value(p, &column, &row->cookie_server, MAPI_LOG_WORD_MAX);
        *p++ = '~';

        if (mapi_log_version_known(&row->cookie_version)) {
            p = mapi_log_version_number(p, &row->cookie_version);
        }

        *p++ = '~';

        second = mapi_log_max(row->cookie_expires, 0);
        second = mapi_log_min(second, MAPI_LOG_SECONDS_MAX);

        /* with a clock of its own: the row's keeps the request's second */

        mapi_log_clock_init(&clock);
        mapi_log_clock_set(&clock, second * 1000);

        memcpy(p, clock.text, sizeof("yyyy-MM-ddTHH:mm:ss") - 1);
        p += sizeof("yyyy-MM-ddTHH:mm:ss") - 1;

        p = mapi_log_column_end(p, &column);
    }

    *p++ = ',';

    return p;
}


/* ProxyAction to AuthModulePerfContext */
static unsigned char *
mapi_log_write_where(unsigned char *p, const mapi_log_row_t *row)
{
    if (row->kind == mapi_log_refused) {
        p = mapi_log_text(p, ",,,,,,,,");
        p = mapi_log_number(p, row->request_bytes);
        return mapi_log_text(p, ",,,,");
    }

    p = mapi_log_text(p, "Proxy,");
    p = mapi_log_column(p, &row->target, MAPI_LOG_WORD_MAX);

    if (mapi_log_version_known(&row->target_version)) {
        p = mapi_log_version(p, &row->target_version, 0);
    }

    *p++ = ',';

    if (row->target.len) {
        p = mapi_log_text(p, "IntraForest");
    }

    *p++ = ',';

    p = mapi_log_column(p, &row->hint, MAPI_LOG_WORD_MAX);
    p = mapi_log_write_cookie(p, row);
    p = mapi_log_text(p, ",,");
    p = mapi_log_number(p, row->request_bytes);
    *p++ = ',';

    if (row->has_answer_bytes) {
        p = mapi_log_number(p, row->answer_bytes);
    }

    *p++ = ',';

    if (row->has_outstanding) {
        p = mapi_log_number(p, row->outstanding);
    }

    return mapi_log_text(p, ",,");
}


/* the entries that tell what happened at the server's side, and when */
static unsigned char *
mapi_log_write_marks(unsigned char *p, const mapi_log_row_t *row,
    const mapi_log_times_t *t, mapi_log_clock_t *clock)
{
    if (row->has_request_body && t->body >= 0 && t->connected >= 0) {
        p = mapi_log_text(p, "BeginGetRequestStream=");
        p = mapi_log_time(p, clock, t->begin + t->body);
        p = mapi_log_text(p, ";OnRequestStreamReady=");
        p = mapi_log_time(p, clock, t->begin + t->connected);
        *p++ = ';';
    }

    if (t->sent >= 0) {
        p = mapi_log_text(p, "BeginGetResponse=");
        p = mapi_log_time(p, clock, t->begin + t->sent);
        *p++ = ';';
    }

    if (t->answered >= 0) {
        p = mapi_log_text(p, "OnResponseReady=");
        p = mapi_log_time(p, clock, t->begin + t->answered);
        p = mapi_log_text(p, ";EndGetResponse=");
        p = mapi_log_time(p, clock, t->begin + t->answered);
        *p++ = ';';
    }

    return p;
}


/* GenericInfo */
static unsigned char *
mapi_log_write_info(unsigned char *p, const mapi_log_row_t *row,
    const mapi_log_times_t *t, mapi_log_clock_t *clock)
{
    mapi_log_column_t  column;

    mapi_log_column_start(&column, p, mapi_log_plain);

    p = mapi_log_text(p, "BeginRequest=");
    p = mapi_log_time(p, clock, t->begin);
    p = mapi_log_text(p, ";CorrelationID=<empty>;");

    if (row->kind != mapi_log_refused) {
        p = mapi_log_text(p, "ProxyState-Run=None;");

        if (mapi_log_version_known(&row->target_version)) {
            p = mapi_log_text(p, "FEAuth=BEVersion-");
            p = mapi_log_version_number(p, &row->target_version);
            *p++ = ';';
        }

        if (row->new_connection.len) {
            p = mapi_log_text(p, "NewConnection=");
            p = mapi_log_value(p, &column, &row->new_connection,
                               MAPI_LOG_WORD_MAX);
            p = mapi_log_text(p, "&0;");
        }

        if (row->kind == mapi_log_proxied) {
            p = mapi_log_write_marks(p, row, t, clock);
        }

        if (row->proxy_state.len) {
            p = mapi_log_text(p, "ProxyState-Complete=");
            p = mapi_log_value(p, &column, &row->proxy_state,
                               MAPI_LOG_STATE_MAX);
            *p++ = ';';
        }
    }

    p = mapi_log_pairs(p, &column, &row->info);

    if (column.cut) {
        *p++ = ';';
    }

    p = mapi_log_text(p, "SharedCacheGuard=0;EndRequest=");
    p = mapi_log_time(p, clock, t->begin + t->end);
    *p++ = ';';

    return mapi_log_column_end(p, &column);
}


/* UrlQuery to the row's end */
static unsigned char *
mapi_log_write_tail(unsigned char *p, const mapi_log_row_t *row,
    const mapi_log_times_t *t, mapi_log_clock_t *clock)
{
    unsigned           routed;
    mapi_log_column_t  column;

    routed = (row->kind != mapi_log_refused);

    if (routed && row->query.len) {
        mapi_log_column_start(&column, p, mapi_log_mark);
        *p++ = '?';
        p = mapi_log_value(p, &column, &row->query, MAPI_LOG_QUERY_MAX);
        p = mapi_log_column_end(p, &column);
    }

    *p++ = ',';

    if (routed) {
        p = mapi_log_column(p, &row->backend_info, MAPI_LOG_BACKEND_MAX);

    } else {
        *p++ = ',';
    }

    p = mapi_log_write_info(p, row, t, clock);
    *p++ = ',';

    if (routed) {
        mapi_log_column_start(&column, p, mapi_log_plain);
        p = mapi_log_pairs(p, &column, &row->errors);
        p = mapi_log_column_end(p, &column);
    }

    if (row->columns != MAPI_LOG_COLUMNS_OLD) {
        p = mapi_log_text(p, ",,");

        if (routed && row->has_database) {
            p = mapi_log_text(p, "|RoutingDB:");
            p = mapi_guid_format(p, &row->database);
        }

        p = mapi_log_text(p, ",,,");

        if (routed && row->target.len) {
            p = mapi_log_text(p, "CafeV1");
        }
    }

    return mapi_log_text(p, "\r\n");
}


size_t
mapi_log_row_write(unsigned char *buf, const mapi_log_row_t *row)
{
    unsigned char       *p;
    mapi_log_times_t     t;
    mapi_log_clock_t    *clock, own;
    mapi_log_latency_t   latency;

    mapi_log_times(&t, &row->times);
    mapi_log_latencies(&latency, row, &t);

    clock = row->clock;

    if (clock == NULL) {
        clock = &own;
        mapi_log_clock_init(clock);
    }

    p = mapi_log_write_who(buf, row, &t, clock);
    p = mapi_log_write_what(p, row);
    p = mapi_log_write_where(p, row);
    p = mapi_log_write_latencies(p, row, &latency);
    p = mapi_log_write_tail(p, row, &t, clock);

    return p - buf;
}
