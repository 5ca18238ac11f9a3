
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"

#include <sys/resource.h>


/* what MAPI over HTTP needs, see front-end sizes in docs/directives.md */
#define NGX_MAPI_BODY_SIZE       (320 * 1024)
#define NGX_MAPI_HEADER_SIZE     (64 * 1024)
#define NGX_MAPI_READ_TIMEOUT    60000
#define NGX_MAPI_ANSWER_HEADERS  4096
#define NGX_MAPI_KEEPALIVE       60000
#define NGX_MAPI_REQUESTS        1000
#define NGX_MAPI_WORKER_MIN      1024


static void ngx_mapi_check_proxy(ngx_conf_t *cf, ngx_str_t *where,
    ngx_http_upstream_conf_t *ucf);
static void ngx_mapi_check_core(ngx_conf_t *cf, ngx_str_t *where,
    ngx_http_core_loc_conf_t *clcf);


extern ngx_module_t  ngx_event_core_module;


#define ngx_mapi_warn(cf, where, fmt, ...)                                    \
    ngx_log_error(NGX_LOG_WARN, (cf)->log, 0,                                 \
                  "mapi: location \"%V\": " fmt, where, ##__VA_ARGS__)


void
ngx_mapi_check_location(ngx_conf_t *cf)
{
    void                      *plcf;
    ngx_http_core_loc_conf_t  *clcf;

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    ngx_mapi_check_proxy(cf, &clcf->name, ngx_mapi_proxy_upstream_conf(plcf));
    ngx_mapi_check_core(cf, &clcf->name, clcf);
}


void
ngx_mapi_check_direct(ngx_conf_t *cf)
{
    void                      *plcf;
    ngx_http_core_loc_conf_t  *clcf;

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (!ngx_mapi_proxy_upstream_conf(plcf)->request_buffering) {
        ngx_mapi_warn(cf, &clcf->name, "\"proxy_request_buffering off\" keeps "
                      "no request that could be repeated where its database "
                      "is, as \"mapi direct\" wants: remove it");
    }
}


static void
ngx_mapi_check_proxy(ngx_conf_t *cf, ngx_str_t *where,
    ngx_http_upstream_conf_t *ucf)
{
    if (ucf->read_timeout < NGX_MAPI_READ_TIMEOUT) {
        ngx_mapi_warn(cf, where, "\"proxy_read_timeout\" is %Mms, but a "
                      "waiting server sends a byte only every 15 to 30 "
                      "seconds: write \"proxy_read_timeout 120s;\"",
                      ucf->read_timeout);
    }

    if (ucf->ignore_client_abort) {
        ngx_mapi_warn(cf, where, "\"proxy_ignore_client_abort on\" leaves "
                      "requests of clients that went away running on the "
                      "server, which refuses their next ones: remove it");
    }

    if (ucf->intercept_errors) {
        ngx_mapi_warn(cf, where, "\"proxy_intercept_errors on\" replaces "
                      "answers that Outlook reads: remove it");
    }

    if (!ucf->pass_request_body) {
        ngx_mapi_warn(cf, where, "\"proxy_pass_request_body off\" takes the "
                      "request away: remove it");
    }

    if (ucf->store > 0) {
        ngx_mapi_warn(cf, where, "\"proxy_store\" would keep copies of mail "
                      "on disk: remove it");
    }

#if (NGX_HTTP_CACHE)
    if (ucf->cache > 0) {
        ngx_mapi_warn(cf, where, "\"proxy_cache\" must not keep MAPI answers: "
                      "write \"proxy_cache off;\"");
    }
#endif

    if (ucf->buffer_size < NGX_MAPI_ANSWER_HEADERS) {
        ngx_mapi_warn(cf, where, "\"proxy_buffer_size\" is %uz, answer headers "
                      "with cookies and challenges need more: write "
                      "\"proxy_buffer_size 8k;\"", ucf->buffer_size);
    }

    if (!(ucf->next_upstream & NGX_HTTP_UPSTREAM_FT_ERROR)) {
        ngx_mapi_warn(cf, where, "\"proxy_next_upstream\" without \"error\" "
                      "turns a server that refuses connections into failed "
                      "requests: write \"proxy_next_upstream error "
                      "timeout;\"");
    }
}


static void
ngx_mapi_check_core(ngx_conf_t *cf, ngx_str_t *where,
    ngx_http_core_loc_conf_t *clcf)
{
    ngx_http_core_srv_conf_t  *cscf;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (clcf->client_max_body_size
        && clcf->client_max_body_size < NGX_MAPI_BODY_SIZE)
    {
        ngx_mapi_warn(cf, where, "\"client_max_body_size\" is %O, requests "
                      "have up to 262k: write \"client_max_body_size 1m;\"",
                      clcf->client_max_body_size);
    }

    if (cscf->large_client_header_buffers.size < NGX_MAPI_HEADER_SIZE) {
        ngx_mapi_warn(cf, where, "\"large_client_header_buffers\" has buffers "
                      "of %uz, a Kerberos ticket needs up to 64k: write "
                      "\"large_client_header_buffers 8 64k;\" in the server",
                      cscf->large_client_header_buffers.size);
    }

    if (clcf->keepalive_timeout < NGX_MAPI_KEEPALIVE) {
        ngx_mapi_warn(cf, where, "\"keepalive_timeout\" is %Mms, Outlook "
                      "would log on again and again: write "
                      "\"keepalive_timeout 90s;\"",
                      clcf->keepalive_timeout);
    }

    if (clcf->keepalive_requests < NGX_MAPI_REQUESTS) {
        ngx_mapi_warn(cf, where, "\"keepalive_requests\" is %ui, Outlook would "
                      "log on again and again: write "
                      "\"keepalive_requests 100000;\"",
                      clcf->keepalive_requests);
    }

    if (!clcf->chunked_transfer_encoding) {
        ngx_mapi_warn(cf, where, "\"chunked_transfer_encoding off\" leaves "
                      "streamed answers without an end: remove it");
    }

    if (!clcf->tcp_nodelay) {
        ngx_mapi_warn(cf, where, "\"tcp_nodelay off\" holds short chunks back: "
                      "remove it");
    }

    /* a rate of 0 is none */

    if (clcf->limit_rate
        && (clcf->limit_rate->lengths || clcf->limit_rate->u.size))
    {
        ngx_mapi_warn(cf, where, "\"limit_rate\" makes answers slower than "
                      "Outlook waits: remove it");
    }
}


/* every request in flight has two descriptors, the client's and the server's */

void
ngx_mapi_check_workers(ngx_conf_t *cf)
{
    rlim_t             limit;
    ngx_uint_t         connections;
    ngx_core_conf_t   *ccf;
    ngx_event_conf_t  *ecf;
    struct rlimit      rlmt;

    if (ngx_get_conf(cf->cycle->conf_ctx, ngx_events_module) == NULL) {
        return;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);
    ecf = ngx_event_get_conf(cf->cycle->conf_ctx, ngx_event_core_module);

    /* the events block may follow the http block, and then is not merged yet */

    connections = ecf->connections == NGX_CONF_UNSET_UINT
                  ? 512 : ecf->connections;

    if (ccf->rlimit_nofile != NGX_CONF_UNSET) {
        limit = (rlim_t) ccf->rlimit_nofile;

    } else if (getrlimit(RLIMIT_NOFILE, &rlmt) == 0) {
        limit = rlmt.rlim_cur;

    } else {
        limit = RLIM_INFINITY;
    }

    if (connections < NGX_MAPI_WORKER_MIN) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "mapi: \"worker_connections\" is %ui, a few Outlooks "
                      "keep that many open: write \"worker_connections "
                      "16384;\" in events and \"worker_rlimit_nofile 32768;\"",
                      connections);

    } else if (limit != RLIM_INFINITY && connections > limit / 2) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "mapi: \"worker_connections\" is %ui, but a worker may "
                      "open only %ui files, two for a request: write "
                      "\"worker_rlimit_nofile %ui;\"",
                      connections, (ngx_uint_t) limit, connections * 2);
    }
}


/*
 * The version and the Connection header toward the server lie in the private
 * part of the proxy module's configuration: read what it is about to send.
 */

void
ngx_mapi_check_request(ngx_http_request_t *r, ngx_uint_t *noticed,
    ngx_uint_t road)
{
    u_char     *p, *last, *eol, *uri;
    ngx_buf_t  *b;

    if (*noticed || r->upstream->request_bufs == NULL) {
        return;
    }

    *noticed = 1;

    b = r->upstream->request_bufs->buf;
    p = b->pos;
    last = b->last;

    eol = ngx_strlchr(p, last, LF);
    uri = ngx_strlchr(p, last, ' ');

    if (road && uri && ((size_t) (last - uri) < r->unparsed_uri.len + 2
                || uri[r->unparsed_uri.len + 1] != ' '
                || ngx_memcmp(uri + 1, r->unparsed_uri.data,
                              r->unparsed_uri.len)
                   != 0))
    {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "mapi: the URI is rewritten on its way to the servers: "
                      "write \"proxy_pass\" without a path, and no "
                      "\"rewrite\", in this location");
    }

    if (eol && eol - p > 10
        && ngx_strncmp(eol - sizeof("HTTP/1.0\r") + 1, "HTTP/1.0\r",
                       sizeof("HTTP/1.0\r") - 1)
           == 0)
    {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "mapi: requests go to the servers with HTTP/1.0, a "
                      "connection for each, and logons of connections fail: "
                      "write \"proxy_http_version 1.1;\" "
                      "in this location");
    }

    while (eol && eol + 1 < last) {

        p = eol + 1;
        eol = ngx_strlchr(p, last, LF);

        if (eol == NULL || eol - p <= 1) {
            break;
        }

        if (eol - p == sizeof("Connection: close\r") - 1
            && ngx_strncasecmp(p, (u_char *) "Connection: close\r",
                               sizeof("Connection: close\r") - 1)
               == 0)
        {
            ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                          "mapi: requests go to the servers with "
                          "\"Connection: close\", and logons of connections "
                          "fail: write \"proxy_set_header "
                          "Connection \"\";\" in this location");
            break;
        }
    }
}
