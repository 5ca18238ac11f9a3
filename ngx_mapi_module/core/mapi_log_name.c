
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_log_text.h"


#define MAPI_LOG_HOURS_MAX    (MAPI_LOG_SECONDS_MAX / 3600)

#define MAPI_LOG_FIELDS_OLD                                                   \
    "DateTime,RequestId,MajorVersion,MinorVersion,BuildVersion,"              \
    "RevisionVersion,ClientRequestId,Protocol,UrlHost,UrlStem,"               \
    "ProtocolAction,AuthenticationType,IsAuthenticated,AuthenticatedUser,"    \
    "Organization,AnchorMailbox,UserAgent,ClientIpAddress,ServerHostName,"    \
    "HttpStatus,BackEndStatus,ErrorCode,Method,ProxyAction,TargetServer,"     \
    "TargetServerVersion,RoutingType,RoutingHint,BackEndCookie,"              \
    "ServerLocatorHost,ServerLocatorLatency,RequestBytes,ResponseBytes,"      \
    "TargetOutstandingRequests,AuthModulePerfContext,HttpPipelineLatency,"    \
    "CalculateTargetBackEndLatency,GlsLatencyBreakup,TotalGlsLatency,"        \
    "AccountForestLatencyBreakup,TotalAccountForestLatency,"                  \
    "ResourceForestLatencyBreakup,TotalResourceForestLatency,ADLatency,"      \
    "SharedCacheLatencyBreakup,TotalSharedCacheLatency,"                      \
    "ActivityContextLifeTime,ModuleToHandlerSwitchingLatency,"                \
    "ClientReqStreamLatency,BackendReqInitLatency,BackendReqStreamLatency,"   \
    "BackendProcessingLatency,BackendRespInitLatency,"                        \
    "BackendRespStreamLatency,ClientRespStreamLatency,"                       \
    "KerberosAuthHeaderLatency,HandlerCompletionLatency,"                     \
    "RequestHandlerLatency,HandlerToModuleSwitchingLatency,ProxyTime,"        \
    "CoreLatency,RoutingLatency,HttpProxyOverhead,TotalRequestTime,"          \
    "RouteRefresherLatency,UrlQuery,BackEndGenericInfo,GenericInfo,"          \
    "GenericErrors"

#define MAPI_LOG_FIELDS                                                       \
    MAPI_LOG_FIELDS_OLD                                                       \
    ",EdgeTraceId,DatabaseGuid,UserADObjectGuid,"                             \
    "PartitionEndpointLookupLatency,RoutingStatus"

/* both lists, CR LF, and the other four lines, none above 64 bytes */

typedef char  mapi_log_header_fits[(2 * sizeof(MAPI_LOG_FIELDS) + 5 * 64
                                    + MAPI_LOG_VERSION_MAX
                                    <= MAPI_LOG_HEADER_MAX) ? 1 : -1];


size_t
mapi_log_header_write(unsigned char *buf, const mapi_log_version_t *version,
    unsigned columns, int64_t now)
{
    size_t             n;
    unsigned char     *p;
    mapi_log_clock_t   clock;

    static const char  fields[] = MAPI_LOG_FIELDS;

    n = (columns == MAPI_LOG_COLUMNS_OLD) ? sizeof(MAPI_LOG_FIELDS_OLD) - 1
                                          : sizeof(MAPI_LOG_FIELDS) - 1;

    memcpy(buf, fields, n);
    p = buf + n;

    p = mapi_log_text(p, "\r\n#Software: Microsoft Exchange Server\r\n"
                         "#Version: ");
    p = mapi_log_version(p, version, version->part[3]);
    p = mapi_log_text(p, "\r\n#Log-type: HttpProxy Logs\r\n#Date: ");

    now = mapi_log_max(now, 0);
    mapi_log_clock_init(&clock);
    p = mapi_log_time(p, &clock,
                      mapi_log_min(now, MAPI_LOG_SECONDS_MAX * 1000));

    p = mapi_log_text(p, "\r\n#Fields: ");
    memcpy(p, fields, n);
    p = mapi_log_text(p + n, "\r\n");

    return p - buf;
}


size_t
mapi_log_fields_old(void)
{
    return sizeof(MAPI_LOG_FIELDS_OLD) - 1;
}


size_t
mapi_log_name_write(unsigned char *buf, int64_t hour, unsigned number)
{
    unsigned        year, month, day;
    unsigned char  *p;

    hour = mapi_log_max(hour, 0);
    hour = mapi_log_min(hour, MAPI_LOG_HOURS_MAX);

    mapi_log_date(hour / 24, &year, &month, &day);

    p = mapi_log_text(buf, "HttpProxy_");
    p = mapi_log_padded(p, year, 4);
    p = mapi_log_padded(p, month, 2);
    p = mapi_log_padded(p, day, 2);
    p = mapi_log_padded(p, (unsigned) (hour % 24), 2);
    *p++ = '-';
    p = mapi_log_number(p, number);
    p = mapi_log_text(p, ".LOG");

    return p - buf;
}


/* a number of "width" digits, MAPI_ERROR if there are others among them */
static int
mapi_log_digits(unsigned *n, const unsigned char *p, size_t width)
{
    uint64_t  value;

    if (width == 0 || width > 10) {
        return MAPI_ERROR;
    }

    for (value = 0; width; width--, p++) {

        if (*p < '0' || *p > '9') {
            return MAPI_ERROR;
        }

        value = value * 10 + (*p - '0');
    }

    if (value > UINT32_MAX) {
        return MAPI_ERROR;
    }

    *n = (unsigned) value;

    return MAPI_OK;
}


/*
 * Whatever is no name that mapi_log_name_write() makes is an error: files are
 * deleted by what is found here.
 */

int
mapi_log_name_parse(const unsigned char *p, size_t len, int64_t *hour,
    unsigned *number)
{
    size_t         n;
    unsigned       year, month, day, h, i;
    unsigned char  name[MAPI_LOG_NAME_MAX];

    n = sizeof("HttpProxy_yyyyMMddHH-") - 1;

    if (len <= n + sizeof(".LOG") - 1 || len > MAPI_LOG_NAME_MAX) {
        return MAPI_ERROR;
    }

    p += sizeof("HttpProxy_") - 1;

    if (mapi_log_digits(&year, p, 4) != MAPI_OK
        || mapi_log_digits(&month, p + 4, 2) != MAPI_OK
        || mapi_log_digits(&day, p + 6, 2) != MAPI_OK
        || mapi_log_digits(&h, p + 8, 2) != MAPI_OK
        || mapi_log_digits(&i, p + 11, len - n - (sizeof(".LOG") - 1))
           != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    p -= sizeof("HttpProxy_") - 1;

    if (i == 0) {
        return MAPI_ERROR;
    }

    *hour = mapi_log_days(year, month, day) * 24 + h;
    *number = i;

    /* all else, the 31st of June as well: it must be what is written */

    if (mapi_log_name_write(name, *hour, i) != len
        || memcmp(name, p, len) != 0)
    {
        return MAPI_ERROR;
    }

    return MAPI_OK;
}


int
mapi_log_version_parse(mapi_log_version_t *version, const unsigned char *p,
    size_t len)
{
    size_t                i, n;
    const unsigned char  *dot;

    for (i = 0; i < 4; i++) {
        dot = len ? memchr(p, '.', len) : NULL;
        n = dot ? (size_t) (dot - p) : len;

        if ((dot == NULL) != (i == 3)
            || n > 5
            || mapi_log_digits(&version->part[i], p, n) != MAPI_OK)
        {
            return MAPI_ERROR;
        }

        if (dot) {
            p = dot + 1;
            len -= n + 1;
        }
    }

    return MAPI_OK;
}
