
/*
 * Copyright (C) the ngx_mapi_module authors
 */


/*
 * Heads of requests and answers as they were recorded on the wire: HTTP
 * clients against Apache with mod_auth_gssapi (NTLM), the ruler tool through
 * it against Gromox, a client of Gromox with Basic, and Outlook's first
 * request to an Exchange front end.
 */

#include "unit.h"
#include "mapi_auth.h"
#include "mapi_request.h"


#define ALICE  "616c6963-6540-7269-672e-746501000000"
#define BOB    "626f6240-7269-672e-7465-737402000000"


/* of a request all but "taints"; of an answer only that */
typedef struct {
    const char          *head;
    mapi_endpoint_e      endpoint;
    const char          *identity;
    mapi_auth_scheme_e   scheme;
    int                  connection;
    int                  ntlm_type;
    const char          *user;
    int                  taints;
} head_t;


static const head_t  heads[] = {
    {
          "POST /ntlm HTTP/1.1\r\n"
          "Host: 127.0.0.1:18185\r\n"
          "User-Agent: python-requests/2.28.1\r\n"
          "Accept-Encoding: gzip, deflate\r\n"
          "Accept: */*\r\n"
          "Connection: Keep-Alive\r\n"
          "Content-Length: 1000\r\n",
      mapi_endpoint_none, NULL,
      mapi_auth_none, 0, 0, NULL, 0 },
    {
          "HTTP/1.1 401 Unauthorized\r\n"
          "Date: Sun, 22 Nov 2026 12:11:46 GMT\r\n"
          "Server: Apache/2.4.71 (Debian) mod_auth_gssapi/1.6.4\r\n"
          "WWW-Authenticate: Negotiate\r\n"
          "WWW-Authenticate: NTLM\r\n"
          "Content-Length: 421\r\n"
          "Keep-Alive: timeout=60\r\n"
          "Connection: Keep-Alive\r\n"
          "Content-Type: text/html; charset=iso-8859-1\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 0 },
    {
          "POST /ntlm HTTP/1.1\r\n"
          "Host: 127.0.0.1:18185\r\n"
          "User-Agent: python-requests/2.28.1\r\n"
          "Accept-Encoding: gzip, deflate\r\n"
          "Accept: */*\r\n"
          "Connection: Keep-Alive\r\n"
          "Content-Length: 1000\r\n"
          "Authorization: NTLM TlRMTVNTUAABAAAAMpCI4gMAAwAoAAAAAAAAAC"
          "sAAAAGAbEdAAAAD1JJRw==\r\n",
      mapi_endpoint_none, NULL,
      mapi_auth_ntlm, 1, 1, NULL, 0 },
    {
          "HTTP/1.1 401 Unauthorized\r\n"
          "Date: Sun, 22 Nov 2026 12:11:46 GMT\r\n"
          "Server: Apache/2.4.71 (Debian) mod_auth_gssapi/1.6.4\r\n"
          "WWW-Authenticate: NTLM TlRMTVNTUAACAAAAAgACADgAAAAykArisaq"
          "449X8yrAAAAAAAAAAAAAAAAAAAAAABgIAAAAAAA9WTQ==\r\n"
          "Content-Length: 421\r\n"
          "Keep-Alive: timeout=60\r\n"
          "Connection: Keep-Alive\r\n"
          "Content-Type: text/html; charset=iso-8859-1\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 1 },
    {
          "POST /ntlm HTTP/1.1\r\n"
          "Host: 127.0.0.1:18185\r\n"
          "User-Agent: python-requests/2.28.1\r\n"
          "Accept-Encoding: gzip, deflate\r\n"
          "Accept: */*\r\n"
          "Connection: Keep-Alive\r\n"
          "Content-Length: 1000\r\n"
          "Authorization: NTLM TlRMTVNTUAADAAAAGAAYAFAAAAA0ADQAaAAAAA"
          "MAAwBIAAAABQAFAEsAAAAAAAAAUAAAABAAEACcAAAAMpAK4gYBsR0AAAAP"
          "UklHYWxpY2XWZMQlemcGZr579WdF+uY4HUwuNNfgo//QLCEbigzGIL6zc7"
          "pIeg+bAQEAAAAAAAAALfgjULtoEB1MLjTX4KP/AAAAAAAAAAAAAAAA+aIl"
          "ZegxR2cH7MeJ2759NA==\r\n",
      mapi_endpoint_none, NULL,
      mapi_auth_ntlm, 1, 3, "RIG\\alice", 0 },
    {
          "HTTP/1.1 200 OK\r\n"
          "Date: Sun, 22 Nov 2026 12:11:46 GMT\r\n"
          "Server: Apache/2.4.71 (Debian) mod_auth_gssapi/1.6.4\r\n"
          "X-Rig-User: RIG\\alice\r\n"
          "X-Rig-Conn: 39508\r\n"
          "Keep-Alive: timeout=60\r\n"
          "Connection: Keep-Alive\r\n"
          "Transfer-Encoding: chunked\r\n"
          "Content-Type: text/plain\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 0 },
    {
          "POST /ntlm HTTP/1.1\r\n"
          "Host: 127.0.0.1:18185\r\n"
          "Authorization: NTLM TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAA"
          "AAAAA=\r\n"
          "User-Agent: curl/7.88.1\r\n"
          "Accept: */*\r\n"
          "Content-Length: 0\r\n"
          "Content-Type: application/x-www-form-urlencoded\r\n",
      mapi_endpoint_none, NULL,
      mapi_auth_ntlm, 1, 1, NULL, 0 },
    {
          "HTTP/1.1 401 Unauthorized\r\n"
          "Date: Sun, 22 Nov 2026 12:11:47 GMT\r\n"
          "Server: Apache/2.4.71 (Debian) mod_auth_gssapi/1.6.4\r\n"
          "WWW-Authenticate: NTLM TlRMTVNTUAACAAAAAgACADgAAAAGgooCyvB"
          "7mdMBoYsAAAAAAAAAAEIAQgA6AAAABgIAAAAAAA9WTQEABABWAE0AAgAWA"
          "FcATwBSAEsAUwBUAEEAVABJAE8ATgADAAQAdgBtAAYABAAAAAAABwAIADr"
          "+YaV6et0BAAAAAA==\r\n"
          "Content-Length: 421\r\n"
          "Content-Type: text/html; charset=iso-8859-1\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 1 },
    {
          "POST /ntlm HTTP/1.1\r\n"
          "Host: 127.0.0.1:18185\r\n"
          "Authorization: NTLM TlRMTVNTUAADAAAAGAAYAEAAAAByAHIAWAAAAA"
          "MAAwDKAAAAAwADAM0AAAALAAsA0AAAAAAAAAAAAAAABoKKAswFEpZRiclt"
          "HKepWcw3VSdpbOrLLitL/eY+Vz4cgcr6/CF8wZTwH38BAQAAAAAAAIBDXq"
          "V6et0BaWzqyy4rS/0AAAAAAQAEAFYATQACABYAVwBPAFIASwBTAFQAQQBU"
          "AEkATwBOAAMABAB2AG0ABgAEAAAAAAAHAAgAOv5hpXp63QEAAAAAAAAAAF"
          "JJR2JvYldPUktTVEFUSU9O\r\n"
          "User-Agent: curl/7.88.1\r\n"
          "Accept: */*\r\n"
          "Content-Length: 5\r\n"
          "Content-Type: application/x-www-form-urlencoded\r\n",
      mapi_endpoint_none, NULL,
      mapi_auth_ntlm, 1, 3, "RIG\\bob", 0 },
    {
          "GET /mapi/emsmdb/?MailboxId=616c6963-6540-7269-672e-746501"
          "000000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:18195\r\n"
          "User-Agent: ruler\r\n"
          "Authorization: NTLM TlRMTVNTUAABAAAAt4II4gAAAAAAAAAAAAAAAA"
          "AAAAAFASgKAAAADw==\r\n"
          "Accept-Encoding: gzip\r\n",
      mapi_endpoint_emsmdb, ALICE,
      mapi_auth_ntlm, 1, 1, NULL, 0 },
    {
          "HTTP/1.1 401 Unauthorized\r\n"
          "Date: Sun, 22 Nov 2026 12:11:46 GMT\r\n"
          "Server: Apache/2.4.71 (Debian) mod_auth_gssapi/1.6.4\r\n"
          "X-Rig-User: \r\n"
          "X-Rig-Conn: 43978\r\n"
          "WWW-Authenticate: NTLM TlRMTVNTUAACAAAABAAEADgAAAA1goriz8+"
          "9lNLedS0AAAAAAAAAAEIAQgA8AAAABgIAAAAAAA9WAE0AAQAEAFYATQACA"
          "BYAVwBPAFIASwBTAFQAQQBUAEkATwBOAAMABAB2AG0ABgAEAAAAAAAHAAg"
          "AWJnvpHp63QEAAAAA\r\n"
          "Content-Length: 421\r\n"
          "Content-Type: text/html; charset=iso-8859-1\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 1 },
    {
          "POST /mapi/emsmdb/?MailboxId=616c6963-6540-7269-672e-74650"
          "1000000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:18195\r\n"
          "User-Agent: ruler\r\n"
          "Connection: close\r\n"
          "Content-Length: 129\r\n"
          "Authorization: NTLM TlRMTVNTUAADAAAAGAAYAHoAAAByAHIAkgAAAA"
          "YABgBYAAAACgAKAF4AAAASABIAaAAAABAAEAAEAQAANYKK4gUBKAoAAAAP"
          "AAAAAAAAAAAAAAAAAAAAAFIASQBHAGEAbABpAGMAZQBSAEkARwBDAEwASQ"
          "BFAE4AVAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADUpXvsC+DAiSkZoBUQ"
          "lmc2AQEAAAAAAAAArcWkenrdATPIgW+SpYbLAAAAAAEABABWAE0AAgAWAF"
          "cATwBSAEsAUwBUAEEAVABJAE8ATgADAAQAdgBtAAYABAAAAAAABwAIAFiZ"
          "76R6et0BAAAAAAAAAABTbry2xye3mJlctkYqoNhd\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-Clientapplication: Outlook/15.0.4815.1002\r\n"
          "X-Clientinfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-Requestid: {C715155F-2BE8-44E0-BD34-2960065754C8}:2\r\n"
          "X-Requesttype: Connect\r\n"
          "X-User-Identity: alice@rig.test\r\n"
          "Accept-Encoding: gzip\r\n",
      mapi_endpoint_emsmdb, ALICE,
      mapi_auth_ntlm, 1, 3, "RIG\\alice", 0 },
    {
          "HTTP/1.1 200 OK\r\n"
          "Date: Sun, 22 Nov 2026 12:11:46 GMT\r\n"
          "Server: Apache/2.4.71 (Debian) mod_auth_gssapi/1.6.4\r\n"
          "X-Rig-User: RIG\\alice\r\n"
          "X-Rig-Conn: 43978\r\n"
          "Cache-Control: private\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-RequestType: Connect\r\n"
          "X-RequestId: {C715155F-2BE8-44E0-BD34-2960065754C8}:2\r\n"
          "X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-ResponseCode: 0\r\n"
          "X-PendingPeriod: 30000\r\n"
          "X-ExpirationInfo: 900000\r\n"
          "X-ServerApplication: Exchange/15.00.0847.4040\r\n"
          "Set-Cookie: sid=alm6icsbe0y0rip2g1ndtescstz000d2\r\n"
          "Set-Cookie: sequence=bc473321-80fe-4780-b0b6-41921d4c91fa\r\n"
          "Connection: close\r\n"
          "Transfer-Encoding: chunked\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 0 },
    {
          "POST /mapi/emsmdb/?MailboxId=616c6963-6540-7269-672e-74650"
          "1000000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:18195\r\n"
          "User-Agent: ruler\r\n"
          "Connection: close\r\n"
          "Content-Length: 153\r\n"
          "Authorization: NTLM TlRMTVNTUAADAAAAGAAYAHoAAAByAHIAkgAAAA"
          "YABgBYAAAACgAKAF4AAAASABIAaAAAABAAEAAEAQAANYKK4gUBKAoAAAAP"
          "AAAAAAAAAAAAAAAAAAAAAFIASQBHAGEAbABpAGMAZQBSAEkARwBDAEwASQ"
          "BFAE4AVAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADPfJtjJ6uUr122vFFD"
          "P0ywAQEAAAAAAAAArcWkenrdAWIgrHBdcEicAAAAAAEABABWAE0AAgAWAF"
          "cATwBSAEsAUwBUAEEAVABJAE8ATgADAAQAdgBtAAYABAAAAAAABwAIAFJI"
          "8aR6et0BAAAAAAAAAADRVSRkOs1vTsdl5cHP9rml\r\n"
          "Content-Type: application/mapi-http\r\n"
          "Cookie: sid=alm6icsbe0y0rip2g1ndtescstz000d2; sequence=bc4"
          "73321-80fe-4780-b0b6-41921d4c91fa; sid=alm6icsbe0y0rip2g1n"
          "dtescstz000d2; sequence=bc473321-80fe-4780-b0b6-41921d4c91"
          "fa\r\n"
          "X-Clientapplication: Outlook/15.0.4815.1002\r\n"
          "X-Clientinfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-Requestid: {C715155F-2BE8-44E0-BD34-2960065754C8}:3\r\n"
          "X-Requesttype: Execute\r\n"
          "X-User-Identity: alice@rig.test\r\n"
          "Accept-Encoding: gzip\r\n",
      mapi_endpoint_emsmdb, ALICE,
      mapi_auth_ntlm, 1, 3, "RIG\\alice", 0 },
    {
          "POST /mapi/nspi/?MailboxId=616c6963-6540-7269-672e-7465010"
          "00000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:18195\r\n"
          "User-Agent: ruler\r\n"
          "Connection: close\r\n"
          "Content-Length: 45\r\n"
          "Authorization: NTLM TlRMTVNTUAADAAAAGAAYAHoAAAByAHIAkgAAAA"
          "YABgBYAAAACgAKAF4AAAASABIAaAAAABAAEAAEAQAANYKK4gUBKAoAAAAP"
          "AAAAAAAAAAAAAAAAAAAAAFIASQBHAGEAbABpAGMAZQBSAEkARwBDAEwASQ"
          "BFAE4AVAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACor9ceiJM28INgyj0e"
          "thvfAQEAAAAAAAAArcWkenrdAakNhciLksVtAAAAAAEABABWAE0AAgAWAF"
          "cATwBSAEsAUwBUAEEAVABJAE8ATgADAAQAdgBtAAYABAAAAAAABwAIAECQ"
          "AaV6et0BAAAAAAAAAAAEngK92cY8YgW6M+CTnMaY\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-Clientapplication: Outlook/15.0.4815.1002\r\n"
          "X-Clientinfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-Requestid: {C715155F-2BE8-44E0-BD34-2960065754C8}:9\r\n"
          "X-Requesttype: BIND\r\n"
          "X-User-Identity: alice@rig.test\r\n"
          "Accept-Encoding: gzip\r\n",
      mapi_endpoint_nspi, ALICE,
      mapi_auth_ntlm, 1, 3, "RIG\\alice", 0 },
    {
          "POST /autodiscover/autodiscover.xml HTTP/1.1\r\n"
          "Host: 127.0.0.1:19081\r\n"
          "Accept-Encoding: identity\r\n"
          "Content-Length: 309\r\n"
          "Authorization: Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==\r\n"
          "Content-Type: text/xml\r\n"
          "X-MapiHttpCapability: 1\r\n",
      mapi_endpoint_none, NULL,
      mapi_auth_basic, 0, 0, "alice@rig.test", 0 },
    {
          "POST /mapi/emsmdb/?MailboxId=616c6963-6540-7269-672e-74650"
          "1000000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:19081\r\n"
          "Accept-Encoding: identity\r\n"
          "Content-Length: 0\r\n"
          "Authorization: Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-RequestType: PING\r\n"
          "X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-RequestId: {bd9130bc-b2bc-4e77-b788-46764715a52a}:1\r\n"
          "X-ClientApplication: Outlook/15.0.4815.1002\r\n",
      mapi_endpoint_emsmdb, ALICE,
      mapi_auth_basic, 0, 0, "alice@rig.test", 0 },
    {
          "HTTP/1.1 200 OK\r\n"
          "Cache-Control: private\r\n"
          "Content-Type: text/html\r\n"
          "X-ResponseCode: 6\r\n"
          "Content-Length: 217\r\n"
          "X-ServerApplication: Exchange/15.00.0847.4040\r\n"
          "Date: Sun, 22 Nov 2026 12:11:26 GMT\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 0 },
    {
          "POST /mapi/emsmdb/?MailboxId=616c6963-6540-7269-672e-74650"
          "1000000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:19081\r\n"
          "Accept-Encoding: identity\r\n"
          "Content-Length: 129\r\n"
          "Authorization: Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-RequestType: Connect\r\n"
          "X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-RequestId: {bd9130bc-b2bc-4e77-b788-46764715a52a}:2\r\n"
          "X-ClientApplication: Outlook/15.0.4815.1002\r\n",
      mapi_endpoint_emsmdb, ALICE,
      mapi_auth_basic, 0, 0, "alice@rig.test", 0 },
    {
          "HTTP/1.1 200 OK\r\n"
          "Cache-Control: private\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-RequestType: Connect\r\n"
          "X-RequestId: {bd9130bc-b2bc-4e77-b788-46764715a52a}:2\r\n"
          "X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-ResponseCode: 0\r\n"
          "X-PendingPeriod: 30000\r\n"
          "X-ExpirationInfo: 900000\r\n"
          "X-ServerApplication: Exchange/15.00.0847.4040\r\n"
          "Date: Sun, 22 Nov 2026 12:11:26 GMT\r\n"
          "Set-Cookie: sid=ali6icjbe1h0rin2g4udtepbstke00re\r\n"
          "Transfer-Encoding: chunked\r\n"
          "Set-Cookie: sequence=acc60229-50f8-45d6-ada3-dbc9b0f7d337\r\n",
      mapi_endpoint_none, NULL, mapi_auth_none, 0, 0, NULL, 0 },
    {
          "POST /mapi/nspi/?MailboxId=616c6963-6540-7269-672e-7465010"
          "00000@rig.test HTTP/1.1\r\n"
          "Host: 127.0.0.1:19081\r\n"
          "Accept-Encoding: identity\r\n"
          "Content-Length: 45\r\n"
          "Authorization: Basic YWxpY2VAcmlnLnRlc3Q6YWxpY2Vwdw==\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-RequestType: Bind\r\n"
          "X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-RequestId: {bd9130bc-b2bc-4e77-b788-46764715a52a}:6\r\n"
          "X-ClientApplication: Outlook/15.0.4815.1002\r\n",
      mapi_endpoint_nspi, ALICE,
      mapi_auth_basic, 0, 0, "alice@rig.test", 0 },
    {
          "POST /mapi/emsmdb/?MailboxId=626f6240-7269-672e-7465-73740"
          "2000000@rig.test HTTP/1.1\r\n"
          "Accept-Encoding: identity\r\n"
          "Content-Length: 127\r\n"
          "Host: 127.0.0.1:19081\r\n"
          "Authorization: Basic Ym9iQHJpZy50ZXN0OmJvYnB3\r\n"
          "Content-Type: application/mapi-http\r\n"
          "X-RequestType: Connect\r\n"
          "X-RequestId: {d4860fb5-3e85-426e-9f9f-20184559dd88}:1\r\n"
          "X-ClientInfo: {2F94A2BF-A2E6-4CCC-BF98-B5F22C542226}\r\n"
          "X-ClientApplication: Outlook/15.0.4815.1002\r\n"
          "Cookie: \r\n",
      mapi_endpoint_emsmdb, BOB,
      mapi_auth_basic, 0, 0, "bob@rig.test", 0 },
    {
          "POST /mapi/nspi/?MailboxId=8b1efa87-76ba-443a-8ad9-80d8742"
          "a2b67@my.domain HTTP/1.1\r\n"
          "cache-control: no-cache\r\n"
          "pragma: no-cache\r\n"
          "content-type: application/mapi-http\r\n"
          "accept: application/mapi-http\r\n"
          "authorization: Bearer\r\n"
          "user-agent: Microsoft Office/16.0 (Windows NT 10.0; Micros"
          "oft Outlook 16.0.4266; Pro)\r\n"
          "x-ms-cookieuri-requested: t\r\n"
          "x-featureversion: 1\r\n"
          "client-request-id: {7584D3EF-FC97-4ACA-8296-10D51A639DC2}\r\n"
          "x-clientapplication: Outlook/16.0.4266.1001\r\n"
          "x-clientinfo: {BCFB7788-8F86-4FD8-8A98-0A1A599448E2}:6\r\n"
          "x-user-identity: login@my.domain\r\n"
          "x-requestid: {1217E164-939C-4D80-BC0F-406425BAB51A}:1\r\n"
          "x-requesttype: Bind\r\n"
          "content-length: 45\r\n"
          "host: owa.my.domain\r\n",
      mapi_endpoint_nspi, "8b1efa87-76ba-443a-8ad9-80d8742a2b67",
      mapi_auth_bearer, 0, 0, NULL, 0 }
};


/* the next line without its CRLF; 0 at the end */
static int
next_line(const char **head, mapi_str_t *line)
{
    const char  *end;

    if (**head == '\0') {
        return 0;
    }

    end = strstr(*head, "\r\n");
    assert_non_null(end);

    line->data = (unsigned char *) *head;
    line->len = end - *head;
    *head = end + 2;

    return 1;
}


/* the value of a header line of that name */
static int
value_of(const mapi_str_t *line, const char *name, mapi_str_t *value)
{
    size_t      n;
    mapi_str_t  start, expected;

    n = strlen(name);

    if (line->len <= n || line->data[n] != ':') {
        return 0;
    }

    start.data = line->data;
    start.len = n;
    expected = unit_str(name);

    if (!mapi_str_caseeq(&start, &expected)) {
        return 0;
    }

    value->data = line->data + n + 1;
    value->len = line->len - n - 1;

    return 1;
}


static void
check_target(const head_t *h, const mapi_str_t *line, unit_edge_t *e)
{
    size_t          path, query;
    mapi_query_t    q;
    unsigned char  *p, *end, *mark, buf[2 * MAPI_IDENTITY_MAX];

    p = memchr(line->data, ' ', line->len);
    assert_non_null(p);
    p++;

    end = memchr(p, ' ', line->data + line->len - p);
    assert_non_null(end);

    mark = memchr(p, '?', end - p);
    path = (mark ? mark : end) - p;
    query = mark ? end - mark - 1 : 0;

    assert_int_equal(mapi_request_endpoint(unit_edge_copy(e, p, path), path),
                     h->endpoint);
    assert_int_equal(mapi_request_query(&q,
                         unit_edge_copy(e, end - query, query), query, buf),
                     h->identity ? MAPI_OK : MAPI_DECLINED);

    if (h->identity) {
        assert_int_equal(q.identity.kind, mapi_identity_guid);
        unit_assert_str(&q.identity.text, h->identity);
    }
}


static void
check_authorization(const head_t *h, const mapi_str_t *value)
{
    int            rc;
    mapi_str_t     user;
    mapi_auth_t    a;
    unsigned char  buf[256];

    mapi_auth_parse(&a, value->data, value->len);

    assert_int_equal(a.scheme, h->scheme);
    assert_int_equal(mapi_auth_is_connection(&a), h->connection);
    assert_int_equal(mapi_auth_ntlm_type(&a), h->ntlm_type);

    rc = a.scheme == mapi_auth_basic
         ? mapi_auth_basic_user(&a, buf, sizeof(buf), &user)
         : mapi_auth_ntlm_user(&a, buf, sizeof(buf), &user);

    if (h->user) {
        assert_int_equal(rc, MAPI_OK);
        unit_assert_str(&user, h->user);

    } else {
        assert_int_equal(rc, MAPI_DECLINED);
    }
}


static void
test_heads(void **state)
{
    int           taints, seen;
    size_t        i;
    const char   *p;
    mapi_str_t    line, value;
    unit_edge_t   e;

    e = unit_edge_create(4096);

    for (i = 0; i < unit_items(heads); i++) {
        p = heads[i].head;
        taints = 0;
        seen = 0;

        assert_true(next_line(&p, &line));

        if (memcmp(line.data, "HTTP/", 5) != 0) {
            check_target(&heads[i], &line, &e);
        }

        while (next_line(&p, &line)) {

            if (value_of(&line, "Authorization", &value)) {
                value.data = unit_edge_copy(&e, value.data, value.len);
                check_authorization(&heads[i], &value);
                seen++;
            }

            if (value_of(&line, "WWW-Authenticate", &value)) {
                value.data = unit_edge_copy(&e, value.data, value.len);
                taints |= mapi_auth_challenge_taints(value.data, value.len);
            }
        }

        assert_int_equal(seen, heads[i].scheme != mapi_auth_none);
        assert_int_equal(taints, heads[i].taints);
    }

    unit_edge_destroy(&e);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_heads)
    };

    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
