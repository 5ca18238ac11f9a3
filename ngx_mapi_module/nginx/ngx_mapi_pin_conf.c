
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"


static char *ngx_mapi_set_pin_parameter(ngx_conf_t *cf,
    ngx_mapi_srv_conf_t *mscf, ngx_str_t *value);
static ngx_int_t ngx_mapi_pin_check_http2(ngx_conf_t *cf,
    ngx_mapi_way_t *way);
static void ngx_mapi_pin_check_ways(ngx_conf_t *cf,
    ngx_mapi_main_conf_t *mmcf);
static ngx_str_t *ngx_mapi_pin_shared_host(ngx_http_upstream_srv_conf_t *a,
    ngx_http_upstream_srv_conf_t *b);


#define ngx_mapi_pin_is_on(us)                                                \
    ((us)->srv_conf                                                           \
     && ((ngx_mapi_srv_conf_t *) ngx_http_conf_upstream_srv_conf(us,          \
                                                   ngx_mapi_module))->pin == 1)


char *
ngx_mapi_set_pin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_srv_conf_t *mscf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (mscf->pin != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") == 0) {
        mscf->pin = 1;

    } else if (ngx_strcmp(value[1].data, "off") == 0) {
        mscf->pin = 0;

        if (cf->args->nelts > 2) {
            return "has parameters, which \"off\" does not take";
        }

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"mapi_pin\" directive, "
                           "it must be \"on\" or \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_mapi_set_pin_parameter(cf, mscf, &value[i]) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_mapi_set_pin_parameter(ngx_conf_t *cf, ngx_mapi_srv_conf_t *mscf,
    ngx_str_t *value)
{
    ngx_int_t   n;
    ngx_str_t   s;
    ngx_uint_t  twice;

    twice = 0;

    if (ngx_strncmp(value->data, "max=", 4) == 0) {
        twice = (mscf->pin_max != NGX_CONF_UNSET_UINT);
        n = ngx_atoi(value->data + 4, value->len - 4);

        if (!twice && n >= 1 && n <= 1024) {
            mscf->pin_max = n;
            return NGX_CONF_OK;
        }

    } else if (ngx_strncmp(value->data, "idle=", 5) == 0) {
        twice = (mscf->pin_idle != NGX_CONF_UNSET_MSEC);

        s.data = value->data + 5;
        s.len = value->len - 5;
        n = ngx_parse_time(&s, 0);

        if (!twice && n != NGX_ERROR && n > 0) {
            mscf->pin_idle = n;
            return NGX_CONF_OK;
        }

    } else if (ngx_strncmp(value->data, "prefer=", 7) == 0) {
        twice = (mscf->prefer != NGX_CONF_UNSET_UINT);

        if (!twice && ngx_strcmp(value->data + 7, "pinned") == 0) {
            mscf->prefer = ngx_mapi_prefer_pinned;
            return NGX_CONF_OK;
        }

        if (!twice && ngx_strcmp(value->data + 7, "route") == 0) {
            mscf->prefer = ngx_mapi_prefer_route;
            return NGX_CONF_OK;
        }
    }

    if (twice) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"%V\" stands twice", value);
        return NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": write \"max=16\" (1 to "
                       "1024), \"idle=110s\", \"prefer=pinned\" or "
                       "\"prefer=route\"", value);

    return NGX_CONF_ERROR;
}


ngx_int_t
ngx_mapi_pin_check(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t       i;
    ngx_mapi_way_t  *way;

    way = mmcf->ways.elts;

    for (i = 0; i < mmcf->ways.nelts; i++) {
        if (ngx_mapi_pin_is_on(way[i].upstream)
            && ngx_mapi_pin_check_http2(cf, &way[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ngx_mapi_pin_check_ways(cf, mmcf);

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_pin_check_http2(ngx_conf_t *cf, ngx_mapi_way_t *way)
{
    if (!ngx_mapi_pin_has_http2(cf, way->server)) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "HTTP/2 and HTTP/3 cannot carry the logons of connections "
                  "(NTLM, Kerberos) that location \"%V\" keeps for upstream "
                  "\"%V\": turn http2 off here or set \"mapi_pin off\" there, "
                  "in %s:%ui", &way->location, &way->upstream->host,
                  way->server->file_name, way->server->line);

    return NGX_ERROR;
}


ngx_uint_t
ngx_mapi_pin_has_http2(ngx_conf_t *cf, ngx_http_core_srv_conf_t *cscf)
{
    ngx_uint_t                   i, j, k;
    ngx_http_conf_addr_t        *addr;
    ngx_http_conf_port_t        *port;
    ngx_http_core_srv_conf_t   **servers;
    ngx_http_core_main_conf_t   *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    if (cmcf->ports == NULL) {
        return 0;
    }

    port = cmcf->ports->elts;

    for (i = 0; i < cmcf->ports->nelts; i++) {
        addr = port[i].addrs.elts;

        for (j = 0; j < port[i].addrs.nelts; j++) {

            servers = addr[j].servers.elts;

            for (k = 0; k < addr[j].servers.nelts; k++) {

                if (cscf && servers[k] != cscf) {
                    continue;
                }

                /* a connection begins with the default server's settings */

                if (ngx_mapi_listen_has_http2(&addr[j].opt)
                    || ngx_mapi_listen_has_quic(&addr[j].opt)
                    || ngx_mapi_server_has_http2(addr[j].default_server)
                    || ngx_mapi_server_has_http2(servers[k]))
                {
                    return 1;
                }
            }
        }
    }

    return 0;
}


/* the other virtual directories of the same servers want pins, too */

static void
ngx_mapi_pin_check_ways(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf)
{
    ngx_str_t       *host;
    ngx_uint_t       i, j;
    ngx_mapi_way_t  *way;

    way = mmcf->ways.elts;

    for (i = 0; i < mmcf->ways.nelts; i++) {

        if (way[i].road || ngx_mapi_pin_is_on(way[i].upstream)) {
            continue;
        }

        for (j = 0; j < mmcf->ways.nelts; j++) {

            if (!way[j].road
                || way[j].server != way[i].server
                || way[j].upstream == way[i].upstream)
            {
                continue;
            }

            host = ngx_mapi_pin_shared_host(way[j].upstream, way[i].upstream);

            if (host) {
                ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                              "mapi: location \"%V\" reaches server \"%V\" "
                              "through upstream \"%V\" without \"mapi_pin\": "
                              "a logon by NTLM or Kerberos fails there, or "
                              "serves somebody else; write \"mapi_pin on;\" "
                              "in an upstream block for it",
                              &way[i].location, host,
                              &way[i].upstream->host);
                break;
            }
        }
    }
}


static ngx_str_t *
ngx_mapi_pin_shared_host(ngx_http_upstream_srv_conf_t *a,
    ngx_http_upstream_srv_conf_t *b)
{
    ngx_str_t            *host;
    ngx_uint_t            i, j;
    ngx_mapi_server_t    *sa, *sb;
    ngx_mapi_srv_conf_t  *ma, *mb;

    ma = ngx_http_conf_upstream_srv_conf(a, ngx_mapi_module);
    sa = ma->servers.elts;

    mb = b->srv_conf ? ngx_http_conf_upstream_srv_conf(b, ngx_mapi_module)
                     : NULL;

    for (i = 0; i < ma->servers.nelts; i++) {

        host = &sa[i].host;

        if (mb == NULL) {

            /* "proxy_pass" with a server's own name makes a block of its own */

            if (b->host.len == host->len
                && ngx_strncasecmp(b->host.data, host->data, host->len) == 0)
            {
                return host;
            }

            continue;
        }

        sb = mb->servers.elts;

        for (j = 0; j < mb->servers.nelts; j++) {
            if (sb[j].host.len == host->len
                && ngx_memcmp(sb[j].host.data, host->data, host->len) == 0)
            {
                return host;
            }
        }
    }

    return NULL;
}


/* the counters of a worker end with it */

void
ngx_mapi_pin_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i;
    ngx_atomic_t                  *n, *closed;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_http_upstream_srv_conf_t  *us;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || !mmcf->pins) {
        return;
    }

    for (i = 0; (mscf = ngx_mapi_next_block(cycle, &i, &us)); /* void */ ) {

        if (!mscf->pin) {
            continue;
        }

        n = mscf->count->n;
        closed = &n[NGX_MAPI_COUNT_CLOSED];

        if (n[NGX_MAPI_COUNT_OPENED] + n[NGX_MAPI_COUNT_FAILED]
            + n[NGX_MAPI_COUNT_REFUSED] == 0)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "mapi: pins of upstream \"%V\": opened %uA, pinned %uA; "
                      "closed by client %uA, server %uA, idle %uA, limit %uA, "
                      "refusal %uA, failure %uA, shutdown %uA; "
                      "handshakes failed %uA, refused %uA",
                      &us->host, n[NGX_MAPI_COUNT_OPENED],
                      n[NGX_MAPI_COUNT_PINS],
                      closed[ngx_mapi_pin_by_client],
                      closed[ngx_mapi_pin_by_server],
                      closed[ngx_mapi_pin_by_idle],
                      closed[ngx_mapi_pin_by_limit],
                      closed[ngx_mapi_pin_by_refusal],
                      closed[ngx_mapi_pin_by_failure],
                      closed[ngx_mapi_pin_by_shutdown],
                      n[NGX_MAPI_COUNT_FAILED], n[NGX_MAPI_COUNT_REFUSED]);
    }
}
