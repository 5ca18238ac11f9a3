
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "unit_log_row.h"


/* rows of real servers, their names taken out */

static const char  real_execute[] =
    "2023-01-06T01:00:04.141Z,9b241890-db8d-44c5-a50e-ccdc753cab92,"
    "15,1,2375,7,R:1b7dabb2-cd5b-4ce0-a65d-b25915e598cf:2;"
    "RT:Execute;CI:97c0f33d-7e97-4147-9742-ee1e9a3cc2f4:1;"
    "CID:45534129-271f-4423-bae6-e038600d6c36,Mapi,"
    "SERVER_HOSTNAME.domain.test,/mapi/emsmdb/,,Negotiate,true,"
    "DOMAIN\\HealthMailboxXXX,domain.test,"
    "MailboxGuid~1234567-4444-1234-4567-123456789987,"
    "MapiHttpClient,10.128.53.11,SERVER_HOSTNAME,200,200,,POST,"
    "Proxy,SERVER_HOSTNAME.domain.test,15.01.2375.000,IntraForest,"
    "MailboxGuidWithDomain,"
    "Database~fb7adba2-51f4-47e3-b170-fd39f85aaf35~~2023-02-05T01:0"
    "0:04,,,273,295,,,0,0,,0,,0,,0,0,,0,12,0,0,1,0,9,0,0,0,0,0,11,"
    "1,9,2,3,3,12,,"
    "?mailboxId=1234567-4444-1234-4567-123456789987@domain.test,,"
    "BeginRequest=2023-01-06T01:00:04.129Z;CorrelationID=<empty>;"
    "ProxyState-Run=None;FEAuth=BEVersion-1942063431;"
    "BeginGetRequestStream=2023-01-06T01:00:04.131Z;"
    "OnRequestStreamReady=2023-01-06T01:00:04.131Z;"
    "BeginGetResponse=2023-01-06T01:00:04.132Z;"
    "OnResponseReady=2023-01-06T01:00:04.141Z;"
    "EndGetResponse=2023-01-06T01:00:04.141Z;"
    "ProxyState-Complete=ProxyResponseData;SharedCacheGuard=0;"
    "EndRequest=2023-01-06T01:00:04.141Z;,,,"
    "|RoutingDB:fb7adba2-51f4-47e3-b170-fd39f85aaf35,,,CafeV1";

static const char  real_disconnect[] =
    "2023-01-06T01:00:04.152Z,7119d1a3-0b37-4261-a966-39f54264937e,"
    "15,1,2375,7,R:1b7dabb2-cd5b-4ce0-a65d-b25915e598cf:3;"
    "RT:Disconnect;CI:97c0f33d-7e97-4147-9742-ee1e9a3cc2f4:1;"
    "CID:50d53854-a8f7-439e-b5ea-018f74812d10,Mapi,"
    "SERVER_HOSTNAME.domain.test,/mapi/emsmdb/,,Negotiate,true,"
    "DOMAIN\\HealthMailboxXXX,domain.test,"
    "MailboxGuid~1234567-4444-1234-4567-123456789987,"
    "MapiHttpClient,fe80::1234:5678:123abc:245e%3,SERVER_HOSTNAME,"
    "200,200,,POST,Proxy,SERVER_HOSTNAME.domain.test,"
    "15.01.2375.000,IntraForest,MailboxGuidWithDomain,"
    "Database~fb7adba2-51f4-47e3-b170-fd39f85aaf35~~2023-02-05T01:0"
    "0:04,,,4,94,,,0,0,,0,,0,,0,0,,0,6,0,0,1,0,3,0,0,1,0,0,6,0,4,1,"
    "2,2,6,,"
    "?mailboxId=1234567-4444-1234-4567-123456789987@domain.test,,"
    "BeginRequest=2023-01-06T01:00:04.146Z;CorrelationID=<empty>;"
    "ProxyState-Run=None;FEAuth=BEVersion-1942063431;"
    "BeginGetRequestStream=2023-01-06T01:00:04.148Z;"
    "OnRequestStreamReady=2023-01-06T01:00:04.148Z;"
    "BeginGetResponse=2023-01-06T01:00:04.149Z;"
    "OnResponseReady=2023-01-06T01:00:04.152Z;"
    "EndGetResponse=2023-01-06T01:00:04.152Z;"
    "ProxyState-Complete=ProxyResponseData;SharedCacheGuard=0;"
    "EndRequest=2023-01-06T01:00:04.152Z;,,,"
    "|RoutingDB:fb7adba2-51f4-47e3-b170-fd39f85aaf35,,,CafeV1";

static const char  real_crossforest[] =
    "2024-01-24T15:26:47.957Z,3422ea93-768f-4cd4-8b0c-578038deb0b2,"
    "15,1,2507,35,R:{750498CA-0EBD-4E7F-B2F6-377AD1BDD198}:20373;"
    "RT:Execute;"
    "CI:{FF8D5880-5A7A-4AF7-8DDA-8F662BD6BCB6}:155680117;"
    "CID:{FF8D5880-5A7A-4AF7-8DDA-8F662BD6BCB6},Mapi,"
    "mail.domain.tld,/mapi/emsmdb/,,Negotiate,true,DOMAIN\\user,"
    "domain.tld,MailboxGuid~0aa89cf8-aa07-4103-8a1d-ca9e619f223e,"
    "Microsoft Office/16.0 (Windows NT 10.0;"
    " Microsoft Outlook 16.0.16731; Pro),10.12.13.14,Host123,200,"
    "200,,POST,Proxy,Host456.domain.tld,15.01.2507.000,CrossForest,"
    "MailboxGuidWithDomain,"
    "Database~a6c4dbb1-3265-4fbf-9dc6-754dffd67275~~2024-02-23T15:2"
    "6:43,,,70,132,,,0,1,,0,,0,,0,0,,0,10,0,0,0,0,3,0,0,0,2,0,10,0,"
    "4,7,7,7,10,,"
    "?MailboxId=0e36a769-e2a9-4d1d-98df-80be2753326c@domain.tld,,"
    "BeginRequest=2024-01-24T15:26:47.947Z;CorrelationID=<empty>;"
    "ProxyState-Run=None;FEAuth=BEVersion-1942063563;"
    "BeginGetRequestStream=2024-01-24T15:26:47.953Z;"
    "OnRequestStreamReady=2024-01-24T15:26:47.953Z;"
    "BeginGetResponse=2024-01-24T15:26:47.953Z;"
    "OnResponseReady=2024-01-24T15:26:47.957Z;"
    "EndGetResponse=2024-01-24T15:26:47.957Z;"
    "ProxyState-Complete=ProxyResponseData;SharedCacheGuard=0;"
    "EndRequest=2024-01-24T15:26:47.957Z;,,,"
    "|RoutingDB:0cb2fd35-94c0-44de-9860-134d27654078,,,CafeV1";

static const char  real_refused[] =
    "2023-01-07T08:39:45.725Z,12345678-9876-1234-1234-d8c5ea0edcd3,"
    "15,1,2375,7,,RpcHttp,95.1.2.3,/rpc,,NTLM,false,,,,"
    "Mozilla/5.0 (X11;"
    " Linux x86_64) AppleWebKit/537.36 (KHTML  like Gecko) Chrome/1"
    "07.0.0.0 Safari/537.36,95.5.6.7,SERVER-HOSTNAME,401,,,GET,,,,,"
    ",,,,0,,,,,,,,,,,,,,,0,,,,,,,,,,,,,,0,,0,0,,,,"
    "BeginRequest=2023-01-07T08:39:45.724Z;CorrelationID=<empty>;"
    "SharedCacheGuard=0;EndRequest=2023-01-07T08:39:45.725Z;,,,,,,";

static const char  real_answered[] =
    "2023-01-06T01:00:05.344Z,3656c386-6be1-4301-865a-27c1f99599bd,"
    "15,1,2375,7,,Ews,localhost,/ews/,,Negotiate,true,"
    "DOMAIN\\HealthMailboxXXX,,"
    "Sid~S-1-5-21-123456789-9876543211-123456798-1142,"
    "AMProbe/Local/ClientAccess,127.0.0.1,SERVER_HOSTNAME,200,,,"
    "GET,Proxy,server_hostname.domain.test,15.01.2375.000,"
    "IntraForest,WindowsIdentity,,,,0,,,,0,1,,0,,0,,0,0,,0,1,0,,,,,"
    ",,,,0,1,0,,1,,1,1,,,,BeginRequest=2023-01-06T01:00:05.343Z;"
    "CorrelationID=<empty>;ProxyState-Run=None;"
    "FEAuth=BEVersion-1942063431;"
    "ProxyState-Complete=PrepareServerRequest;SharedCacheGuard=0;"
    "EndRequest=2023-01-06T01:00:05.344Z;,,,"
    "|RoutingDB:fb7adba2-51f4-47e3-b170-fd39f85aaf35,,,CafeV1";


/* a column in which our row differs, and what it holds there */
typedef struct {
    unsigned     column;
    const char  *ours;
} difference_t;


/* all columns but those that are listed are the real row's */
static void
assert_like(const char *real, const difference_t *d, size_t n)
{
    size_t       i, len;
    char         expected[4096];
    const char  *end;

    for (i = 0; i < MAPI_LOG_COLUMNS; i++) {

        end = real + strcspn(real, ",");
        len = end - real;
        memcpy(expected, real, len);
        expected[len] = '\0';
        real = *end ? end + 1 : end;

        if (n && d->column == i) {
            assert_string_not_equal(expected, d->ours);
            assert_column((unsigned) i, d->ours);
            d++;
            n--;
            continue;
        }

        assert_column((unsigned) i, expected);
    }

    assert_int_equal(n, 0);
}


/* with the real row's moments; it has other latencies than these make */
static void
test_execute(void **state)
{
    mapi_log_row_t  row;

    static const difference_t  d[] = {
        { 28, "Server~server_hostname.domain.test~1942063431"
              "~2023-01-06T01:10:04" },
        { 36, "2" },
        { 49, "0" },
        { 50, "1" },
        { 55, "" },
        { 57, "12" },
        { 58, "0" },
        { 61, "2" },
        { 62, "2" }
    };

    set_execute(&row);
    row.cookie_server = unit_str("server_hostname.domain.test");
    row.cookie_version = (mapi_log_version_t) { { 15, 1, 2375, 0 } };
    row.cookie_expires = at(DAY_2023_01_06, 1, 10, 4, 0) / 1000;

    write_row(&row);
    assert_like(real_execute, d, unit_items(d));

    /* nobody knows the version of a server that left */

    memset(&row.cookie_version, 0, sizeof(mapi_log_version_t));
    write_row(&row);
    assert_column(28, "Server~server_hostname.domain.test~"
                      "~2023-01-06T01:10:04");
}


/* with the real row's latencies, from moments a little beside its own */
static void
test_disconnect(void **state)
{
    mapi_log_row_t  row;

    static const int64_t  moment[] = { 0, 1, 1, 2, 2, 5, 5, 6 };

    static const difference_t  d[] = {
        { 28, "" },
        { 36, "1" },
        { 55, "" },
        { 67, "BeginRequest=2023-01-06T01:00:04.146Z;CorrelationID=<empty>;"
              "ProxyState-Run=None;FEAuth=BEVersion-1942063431;"
              "NewConnection=fe80::1%3&0;"
              "BeginGetRequestStream=2023-01-06T01:00:04.147Z;"
              "OnRequestStreamReady=2023-01-06T01:00:04.148Z;"
              "BeginGetResponse=2023-01-06T01:00:04.148Z;"
              "OnResponseReady=2023-01-06T01:00:04.151Z;"
              "EndGetResponse=2023-01-06T01:00:04.151Z;"
              "ProxyState-Complete=ProxyResponseData;S:Some.Key=a b;"
              "SharedCacheGuard=0;EndRequest=2023-01-06T01:00:04.152Z;" }
    };

    const mapi_str_t  value = mapi_string("a,b");

    set_session(&row);

    row.activity = unit_str("7119d1a3-0b37-4261-a966-39f54264937e");
    row.client.request_id =
        unit_str("1b7dabb2-cd5b-4ce0-a65d-b25915e598cf:3");
    row.client.request_type = unit_str("Disconnect");
    row.client.client_request_id =
        unit_str("50d53854-a8f7-439e-b5ea-018f74812d10");
    row.client_address = unit_str("fe80::1234:5678:123abc:245e%3");
    row.request_bytes = 4;
    row.answer_bytes = 94;
    row.new_connection = unit_str("fe80::1%3");
    mapi_log_pair_add(&row.info, "S:Some.Key", &value);
    set_times(&row.times, at(DAY_2023_01_06, 1, 0, 4, 146), moment);

    write_row(&row);
    assert_like(real_disconnect, d, unit_items(d));
}


static void
test_crossforest(void **state)
{
    mapi_log_row_t  row;

    static const int64_t  moment[] = { 0, 1, 6, 6, 6, 10, 10, 10 };

    static const difference_t  d[] = {
        { 26, "IntraForest" },
        { 28, "" },
        { 48, "5" },
        { 51, "4" },
        { 55, "" },
        { 60, "1" },
        { 61, "1" },
        { 62, "1" }
    };

    set_session(&row);

    row.version = (mapi_log_version_t) { { 15, 1, 2507, 35 } };
    row.target_version = row.version;
    row.activity = unit_str("3422ea93-768f-4cd4-8b0c-578038deb0b2");
    row.client.request_id =
        unit_str("{750498CA-0EBD-4E7F-B2F6-377AD1BDD198}:20373");
    row.client.request_type = unit_str("Execute");
    row.client.client_info =
        unit_str("{FF8D5880-5A7A-4AF7-8DDA-8F662BD6BCB6}:155680117");
    row.client.client_request_id =
        unit_str("{FF8D5880-5A7A-4AF7-8DDA-8F662BD6BCB6}");
    row.host = unit_str("mail.domain.tld");
    row.user = unit_str("DOMAIN\\user");
    row.organization = unit_str("domain.tld");
    row.anchor = unit_str("MailboxGuid~0aa89cf8-aa07-4103-8a1d-ca9e619f223e");
    row.user_agent = unit_str("Microsoft Office/16.0 (Windows NT 10.0; "
                              "Microsoft Outlook 16.0.16731; Pro)");
    row.client_address = unit_str("10.12.13.14");
    row.server_name = unit_str("Host123");
    row.target = unit_str("Host456.domain.tld");
    row.request_bytes = 70;
    row.answer_bytes = 132;
    row.query =
        unit_str("MailboxId=0e36a769-e2a9-4d1d-98df-80be2753326c@domain.tld");
    row.database = guid("0cb2fd35-94c0-44de-9860-134d27654078");
    set_times(&row.times, at(DAY_2024_01_24, 15, 26, 47, 947), moment);

    write_row(&row);
    assert_like(real_crossforest, d, unit_items(d));
}


/* what a refused row may hold and nothing more, whatever is known */
static void
test_refused(void **state)
{
    unsigned        i;
    mapi_log_row_t  row;

    static const difference_t  d[] = {
        { 7, "Mapi" },
        { 46, "1" },
        { 60, "1" },
        { 62, "1" },
        { 63, "1" }
    };

    set_execute(&row);

    row.kind = mapi_log_refused;
    row.activity = unit_str("12345678-9876-1234-1234-d8c5ea0edcd3");
    row.authenticated = 0;
    row.auth_type = unit_str("NTLM");
    row.host = unit_str("95.1.2.3");
    row.stem = unit_str("/rpc");
    row.user_agent = unit_str("Mozilla/5.0 (X11; Linux x86_64) "
                              "AppleWebKit/537.36 (KHTML, like Gecko) "
                              "Chrome/107.0.0.0 Safari/537.36");
    row.client_address = unit_str("95.5.6.7");
    row.server_name = unit_str("SERVER-HOSTNAME");
    row.status = 401;
    row.method = unit_str("GET");
    row.request_bytes = 0;
    row.outstanding = 3;
    row.has_outstanding = 1;
    row.cookie_server = unit_str("x");
    row.backend_word = unit_str("ConnectFailure");
    row.backend_info = unit_str("x");
    row.new_connection = unit_str("x");
    mapi_log_pair_add(&row.errors, "x", &row.method);
    row.times.begin = at(DAY_2023_01_07, 8, 39, 45, 724);
    row.times.end = 1;

    /* what cannot be of a refused request, and is not shown */

    row.times.identified = 0;
    row.times.selected = 0;
    row.times.body = 1;
    row.times.connected = 1;
    row.times.sent = 1;
    row.times.answered = 1;
    row.times.relayed = 1;

    write_row(&row);
    assert_like(real_refused, d, unit_items(d));

    row.error_code = unit_str("MailboxGuidWithDomainNotFound");
    mapi_log_pair_add(&row.info, "Some.Key", &row.method);
    write_row(&row);
    assert_column(21, "MailboxGuidWithDomainNotFound");
    assert_non_null(strstr(page.log.field[67], ";CorrelationID=<empty>;"
                           "Some.Key=GET;SharedCacheGuard=0;EndRequest="));

    row.columns = MAPI_LOG_COLUMNS_OLD;
    write_row(&row);

    for (i = 0; i < MAPI_LOG_COLUMNS_OLD; i++) {
        assert_int_equal(page.log.len[i] != 0, unit_log_refused[i]);
    }
}


static void
test_answered(void **state)
{
    mapi_log_row_t  row;

    static const int64_t  moment[] = { 0, 1, -1, -1, -1, -1, -1, 1 };

    static const difference_t  d[] = {
        { 7, "Mapi" }
    };

    set_session(&row);

    row.kind = mapi_log_answered;
    row.is_mapi = 0;
    row.activity = unit_str("3656c386-6be1-4301-865a-27c1f99599bd");
    row.host = unit_str("localhost");
    row.stem = unit_str("/ews/");
    row.organization = unit_str("");
    row.anchor = unit_str("Sid~S-1-5-21-123456789-9876543211-123456798-1142");
    row.user_agent = unit_str("AMProbe/Local/ClientAccess");
    row.client_address = unit_str("127.0.0.1");
    row.method = unit_str("GET");
    row.target = unit_str("server_hostname.domain.test");
    row.hint = unit_str("WindowsIdentity");
    row.has_answer_bytes = 0;
    row.query = unit_str("");
    row.proxy_state = unit_str("PrepareServerRequest");
    set_times(&row.times, at(DAY_2023_01_06, 1, 0, 5, 343), moment);

    write_row(&row);
    assert_like(real_answered, d, unit_items(d));

    /* a server that could not be reached */

    row.backend_word = unit_str("ConnectFailure");
    row.error_code = unit_str("ServerNotFound");
    row.times.selected = -1;
    row.target.len = 0;
    memset(&row.target_version, 0, sizeof(mapi_log_version_t));
    row.has_database = 0;
    row.has_answer_bytes = 1;
    row.answer_bytes = 0;

    write_row(&row);
    assert_column(20, "ConnectFailure");
    assert_column(21, "ServerNotFound");
    assert_column(24, "");
    assert_column(25, "");
    assert_column(26, "");
    assert_column(32, "0");
    assert_column(36, "0");
    assert_column(70, "");
    assert_column(73, "");
    assert_null(strstr(page.log.field[67], "FEAuth"));
}


/* phases of a request that did not come to its end */
static void
test_phases(void **state)
{
    size_t          i, k;
    mapi_log_row_t  row;

    static const struct {
        int64_t      moment[8];
        const char  *column[8];     /* 48 to 54, 59 */
    } cases[] = {
        /* never connected */
        { { 1, 2, 5, -1, -1, -1, -1, 9 },
          { "3", "", "", "", "", "", "", "" } },
        /* the body did not come */
        { { 1, 2, -1, -1, -1, -1, -1, 9 },
          { "", "", "", "", "", "", "", "" } },
        /* connected, not sent */
        { { 1, 2, 5, 6, -1, -1, -1, 9 },
          { "3", "1", "", "", "", "", "", "" } },
        /* sent, no answer */
        { { 1, 2, 5, 6, 8, -1, -1, 20 },
          { "3", "1", "2", "12", "0", "", "", "12" } },
        /* an answer that breaks off */
        { { 1, 2, 5, 6, 8, 12, -1, 20 },
          { "3", "1", "2", "4", "0", "8", "0", "12" } },
        /* an answer before the request was whole */
        { { 1, 2, 5, 6, -1, 12, 15, 20 },
          { "3", "1", "6", "0", "0", "3", "5", "8" } },
        /* whole */
        { { 1, 2, 5, 6, 8, 12, 15, 20 },
          { "3", "1", "2", "4", "0", "3", "5", "12" } },
        /* clocks that went back */
        { { 9, 2, 5, 6, 8, 4, 15, 3 },
          { "0", "0", "0", "0", "0", "6", "0", "6" } }
    };

    for (i = 0; i < unit_items(cases); i++) {
        set_execute(&row);
        set_times(&row.times, at(DAY_2023_01_06, 23, 59, 59, 995),
                  cases[i].moment);
        write_row(&row);

        for (k = 0; k < 7; k++) {
            assert_column(48 + (unsigned) k, cases[i].column[k]);
        }

        assert_column(59, cases[i].column[7]);
    }

    /* without bodies */

    set_execute(&row);
    row.has_request_body = 0;
    row.has_answer_body = 0;
    write_row(&row);
    assert_column(48, "");
    assert_column(49, "");
    assert_column(50, "");
    assert_column(54, "");
    assert_null(strstr(page.log.field[67], "RequestStream"));
    assert_non_null(strstr(page.log.field[67], "BeginGetResponse="));
}


static void
test_client(void **state)
{
    mapi_log_row_t  row;

    set_execute(&row);
    memset(&row.client, 0, sizeof(mapi_log_client_t));
    row.client.request_type = unit_str("");

    write_row(&row);
    assert_column(6, "R:<null>;RT:<empty>;CI:<null>;CID:<null>");

    row.is_mapi = 0;
    write_row(&row);
    assert_column(6, "");
}


/* xorshift with a fixed start: the same numbers in every run */
static uint64_t
next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;

    return *s;
}


static int64_t
random_moment(uint64_t *s)
{
    switch (next_random(s) % 8) {
    case 0:
        return -1;
    case 1:
        return (int64_t) next_random(s);
    case 2:
        return next_random(s) % 100000;
    default:
        return next_random(s) % 50;
    }
}


static void
test_identities(void **state)
{
    unsigned        i, k;
    int64_t         moment[8];
    uint64_t        s;
    mapi_log_row_t  row;

    s = 20230106;
    set_execute(&row);

    for (i = 0; i < 20000; i++) {

        for (k = 0; k < 8; k++) {
            moment[k] = random_moment(&s);
        }

        set_times(&row.times, at(DAY_2023_01_06, 23, 59, 59, 980), moment);

        row.kind = next_random(&s) % 3;
        row.has_request_body = next_random(&s) & 1;
        row.has_answer_body = next_random(&s) & 1;
        row.columns = (next_random(&s) & 1) ? 74 : 69;

        write_row(&row);
    }
}


/* versions as one number: those that are known of real servers */
static void
test_version_numbers(void **state)
{
    char            expected[64];
    size_t          i;
    mapi_log_row_t  row;

    static const struct {
        mapi_log_version_t  version;
        const char         *number;
        const char         *text;
    } cases[] = {
        { { { 15, 0, 847, 32 } }, "1941996367", "15.00.0847.000" },
        { { { 15, 0, 1497, 12 } }, "1941997017", "15.00.1497.000" },
        { { { 15, 1, 2507, 35 } }, "1942063563", "15.01.2507.000" },
        { { { 15, 2, 659, 4 } }, "1942127251", "15.02.0659.000" },
        { { { 14, 3, 123, 3 } }, "1937997947", "14.03.0123.000" }
    };

    for (i = 0; i < unit_items(cases); i++) {
        set_execute(&row);
        row.target_version = cases[i].version;
        write_row(&row);
        assert_column(25, cases[i].text);
        sprintf(expected, ";FEAuth=BEVersion-%s;", cases[i].number);
        assert_non_null(strstr(page.log.field[67], expected));
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_execute),
        cmocka_unit_test(test_disconnect),
        cmocka_unit_test(test_crossforest),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_answered),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_version_numbers)
    };

    return cmocka_run_group_tests(tests, open_page, close_page);
}
