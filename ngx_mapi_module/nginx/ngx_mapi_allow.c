
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/*
 * mapi_debug_allow: who may see what the front end knows of its servers and of
 * other people's mailboxes.  The realip module lets the client's proxy name an
 * address; one that could be named wrongly must not open what the peer itself
 * may not see, nor the other way round, so both have to be allowed.
 */


static ngx_int_t ngx_mapi_allow_add(ngx_conf_t *cf, ngx_array_t *cidrs,
    ngx_str_t *value);
static ngx_uint_t ngx_mapi_allow_v4_mapped(ngx_cidr_t *cidr);
static ngx_uint_t ngx_mapi_allowed_peer(ngx_http_request_t *r,
    ngx_array_t *cidrs);


static ngx_str_t  ngx_mapi_allow_peer = ngx_string("realip_remote_addr");


char *
ngx_mapi_set_debug_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (mlcf->debug_allow) {
        return "is duplicate: one line takes all networks";
    }

    mlcf->debug_allow = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                         sizeof(ngx_cidr_t));
    if (mlcf->debug_allow == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "none") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_mapi_allow_add(cf, mlcf->debug_allow, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_mapi_allow_add(ngx_conf_t *cf, ngx_array_t *cidrs, ngx_str_t *value)
{
    ngx_int_t    rc;
    ngx_cidr_t  *cidr;

    cidr = ngx_array_push(cidrs);
    if (cidr == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(cidr, sizeof(ngx_cidr_t));

    if (ngx_strcmp(value->data, "none") == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"none\" in \"mapi_debug_allow\" directive stands "
                           "alone, or not at all");
        return NGX_ERROR;
    }

    if (ngx_strcmp(value->data, "all") == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid network \"all\" in \"mapi_debug_allow\" "
                           "directive: for everybody write \"0.0.0.0/0 "
                           "::/0\"");
        return NGX_ERROR;
    }

#if (NGX_HAVE_UNIX_DOMAIN)

    if (ngx_strcmp(value->data, "unix:") == 0) {
        cidr->family = AF_UNIX;
        return NGX_OK;
    }

#endif

    rc = ngx_ptocidr(value, cidr);

    if (rc == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid network \"%V\" in \"mapi_debug_allow\" "
                           "directive: write addresses and networks as "
                           "\"192.0.2.7\" and \"192.0.2.0/24\", \"unix:\", or "
                           "\"none\"", value);
        return NGX_ERROR;
    }

    if (ngx_mapi_allow_v4_mapped(cidr)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "network \"%V\" in \"mapi_debug_allow\" directive "
                           "is one of IPv4: write it as \"192.0.2.0/24\"",
                           value);
        return NGX_ERROR;
    }

    if (rc == NGX_DONE) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "low address bits of \"%V\" are meaningless",
                           value);
    }

    return NGX_OK;
}


/* a peer with such an address is compared by its four last bytes */

static ngx_uint_t
ngx_mapi_allow_v4_mapped(ngx_cidr_t *cidr)
{
#if (NGX_HAVE_INET6)

    return cidr->family == AF_INET6
           && cidr->u.in6.mask.s6_addr[11] == 0xff
           && IN6_IS_ADDR_V4MAPPED(&cidr->u.in6.addr);

#else

    return 0;

#endif
}


ngx_uint_t
ngx_mapi_allowed(ngx_http_request_t *r)
{
    ngx_array_t          *cidrs;
    ngx_mapi_loc_conf_t  *mlcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_mapi_module);
    cidrs = mlcf->debug_allow;

    return cidrs
           && cidrs->nelts
           && ngx_cidr_match(r->connection->sockaddr, cidrs) == NGX_OK
           && ngx_mapi_allowed_peer(r, cidrs);
}


/*
 * The realip module replaces the connection's address and keeps the one before
 * to itself; its variable gives that as text, or the connection's own if
 * nothing was replaced.  Without the module there is no such variable.
 */

static ngx_uint_t
ngx_mapi_allowed_peer(ngx_http_request_t *r, ngx_array_t *cidrs)
{
    ngx_addr_t                  addr;
    ngx_uint_t                  key;
    struct sockaddr             local;
    ngx_http_variable_value_t  *v;

    key = ngx_hash_key(ngx_mapi_allow_peer.data, ngx_mapi_allow_peer.len);

    v = ngx_http_get_variable(r, &ngx_mapi_allow_peer, key);
    if (v == NULL) {
        return 0;
    }

    if (v->not_found) {
        return 1;
    }

    if (v->len == 5 && ngx_strncmp(v->data, "unix:", 5) == 0) {
        ngx_memzero(&local, sizeof(struct sockaddr));
        local.sa_family = AF_UNIX;

        return ngx_cidr_match(&local, cidrs) == NGX_OK;
    }

    if (ngx_parse_addr(r->pool, &addr, v->data, v->len) != NGX_OK) {
        return 0;
    }

    return ngx_cidr_match(addr.sockaddr, cidrs) == NGX_OK;
}
