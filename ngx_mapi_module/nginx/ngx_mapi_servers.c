
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


static ngx_int_t ngx_mapi_server_host(ngx_conf_t *cf, ngx_str_t *line,
    ngx_str_t *host);


/*
 * A server is the host of a "server" line, without port and in lower case;
 * its addresses are its peers.
 */

ngx_int_t
ngx_mapi_init_servers(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf)
{
    ngx_uint_t                   i, j;
    ngx_mapi_server_t           *server, *other;
    ngx_http_upstream_server_t  *line;

    mscf->name = us->host;

    if (us->servers == NULL) {
        return NGX_OK;
    }

    if (ngx_array_init(&mscf->servers, cf->pool, us->servers->nelts,
                       sizeof(ngx_mapi_server_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    line = us->servers->elts;

    for (i = 0; i < us->servers->nelts; i++) {

        if (mscf->servers.nelts == NGX_MAPI_SERVERS_MAX) {

            if (mscf->type == ngx_mapi_upstream_none) {
                break;
            }

            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "an upstream with \"mapi\" may have %d servers, "
                          "in %s:%ui", NGX_MAPI_SERVERS_MAX,
                          us->file_name, us->line);
            return NGX_ERROR;
        }

        server = ngx_array_push(&mscf->servers);
        if (server == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(server, sizeof(ngx_mapi_server_t));

        server->line = line[i].name;
        server->weight = line[i].weight;
        server->backup = line[i].backup;
        server->down = line[i].down;

        if (ngx_mapi_server_host(cf, &server->line, &server->host) != NGX_OK) {
            return NGX_ERROR;
        }

        server->name = server->host;
        server->count = &ngx_mapi_count_none;

        server->name_buf = ngx_palloc(cf->pool, 2 * NGX_MAPI_NAME_MAX);
        if (server->name_buf == NULL) {
            return NGX_ERROR;
        }

        if (mscf->type == ngx_mapi_upstream_none) {
            continue;
        }

        if (server->line.len > 5
            && ngx_strncasecmp(server->line.data, (u_char *) "unix:", 5) == 0)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "server \"%V\" in an upstream with \"mapi\": a unix "
                          "socket has no host name to find it by, write a "
                          "name or an address, in %s:%ui",
                          &server->line, us->file_name, us->line);
            return NGX_ERROR;
        }

        other = mscf->servers.elts;

        for (j = 0; j < i; j++) {
            if (other[j].host.len == server->host.len
                && ngx_memcmp(other[j].host.data, server->host.data,
                              server->host.len)
                   == 0)
            {
                ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                              "servers \"%V\" and \"%V\" of an upstream with "
                              "\"mapi\" are one host: a mailbox is found by "
                              "the host, write one of them, in %s:%ui",
                              &other[j].line, &server->line,
                              us->file_name, us->line);
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_server_host(ngx_conf_t *cf, ngx_str_t *line, ngx_str_t *host)
{
    u_char  *p, *last, *end;

    p = line->data;
    last = p + line->len;

    if (p < last && *p == '[') {
        p++;
        end = ngx_strlchr(p, last, ']');

    } else {
        end = ngx_strlchr(p, last, ':');
    }

    if (end == NULL) {
        end = last;
    }

    host->len = end - p;

    host->data = ngx_pnalloc(cf->pool, host->len);
    if (host->data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(host->data, p, host->len);

    return NGX_OK;
}


/*
 * Whatever stands behind "mapi" in the block may have taken its place; a
 * method in front of it has been refused by the directive itself.
 */

ngx_int_t
ngx_mapi_check_balancer(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf)
{
    if (mscf->initialized
#if !(NGX_MAPI_KEEPALIVE_BY_ORDER)
        && us->peer.init_upstream == ngx_mapi_init_upstream
#endif
       )
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"mapi\" is a load balancing method: no other one, and no "
                  "\"sticky\", may stand beside it, in %s:%ui",
                  us->file_name, us->line);

    return NGX_ERROR;
}


ngx_mapi_srv_conf_t *
ngx_mapi_next_block(ngx_cycle_t *cycle, ngx_uint_t *i,
    ngx_http_upstream_srv_conf_t **us)
{
    ngx_http_upstream_srv_conf_t   *uscf, **uscfp;
    ngx_http_upstream_main_conf_t  *umcf;

    umcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    while (*i < umcf->upstreams.nelts) {

        uscf = uscfp[(*i)++];

        /* "proxy_pass" with an address makes a block without configuration */

        if (uscf->srv_conf) {
            *us = uscf;
            return ngx_http_conf_upstream_srv_conf(uscf, ngx_mapi_module);
        }
    }

    return NULL;
}
