
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


static char *ngx_mapi_health_parameter(ngx_conf_t *cf,
    ngx_mapi_health_t *health, ngx_str_t *value);
static ngx_int_t ngx_mapi_health_time(ngx_str_t *value, size_t name,
    ngx_msec_t *msec);
static ngx_int_t ngx_mapi_health_count(ngx_str_t *value, size_t name,
    ngx_uint_t max, ngx_uint_t *n);
static ngx_int_t ngx_mapi_health_codes(ngx_str_t *value, size_t name,
    ngx_mapi_health_t *health);
static ngx_int_t ngx_mapi_health_useless(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_srv_conf_t *mscf);
static void ngx_mapi_health_max_fails(ngx_http_upstream_srv_conf_t *us);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_mapi_health_ssl(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_health_t *health);
#endif


#define ngx_mapi_health_is(value, name)                                       \
    ((value)->len > sizeof(name) - 1                                          \
     && ngx_strncmp((value)->data, name, sizeof(name) - 1) == 0)


char *
ngx_mapi_set_health_check(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_srv_conf_t *mscf = conf;

    ngx_str_t          *value;
    ngx_uint_t          i;
    ngx_mapi_health_t  *health;

    if (mscf->health) {
        return "is duplicate";
    }

    health = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_health_t));
    if (health == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_str_set(&health->uri, "/mapi/healthcheck.htm");
    ngx_str_set(&health->match, "200 OK");
    health->interval = 5000;
    health->timeout = 4000;
    health->fails = 3;
    health->passes = 2;
    health->codes[0] = 200;
    health->ncodes = 1;

    mscf->health = health;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_mapi_health_parameter(cf, health, &value[i]) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_mapi_health_parameter(ngx_conf_t *cf, ngx_mapi_health_t *health,
    ngx_str_t *value)
{
    ngx_int_t   rc;
    ngx_uint_t  i, n;

    rc = NGX_ERROR;

    /* it goes into a request as it is */

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < 0x20 || value->data[i] == 0x7f
            || (value->data[i] == ' ' && !ngx_mapi_health_is(value, "match=")))
        {
            goto invalid;
        }
    }

    if (ngx_mapi_health_is(value, "uri=") && value->data[4] == '/') {
        health->uri.data = value->data + 4;
        health->uri.len = value->len - 4;
        health->page = 1;
        rc = NGX_OK;

    } else if (ngx_mapi_health_is(value, "interval=")) {
        rc = ngx_mapi_health_time(value, sizeof("interval=") - 1,
                                  &health->interval);

    } else if (ngx_mapi_health_is(value, "timeout=")) {
        rc = ngx_mapi_health_time(value, sizeof("timeout=") - 1,
                                  &health->timeout);

    } else if (ngx_mapi_health_is(value, "fails=")) {
        rc = ngx_mapi_health_count(value, sizeof("fails=") - 1, 1000,
                                   &health->fails);

    } else if (ngx_mapi_health_is(value, "passes=")) {
        rc = ngx_mapi_health_count(value, sizeof("passes=") - 1, 1000,
                                   &health->passes);

    } else if (ngx_mapi_health_is(value, "port=")) {
        rc = ngx_mapi_health_count(value, sizeof("port=") - 1, 65535, &n);

        if (rc == NGX_OK) {
            health->port = (in_port_t) n;
        }

    } else if (ngx_mapi_health_is(value, "host=")) {
        health->host.data = value->data + 5;
        health->host.len = value->len - 5;
        rc = NGX_OK;

    } else if (ngx_mapi_health_is(value, "expect=")) {
        rc = ngx_mapi_health_codes(value, sizeof("expect=") - 1, health);
        health->page = 1;

    } else if (ngx_strncmp(value->data, "match=", 6) == 0) {
        health->match.data = value->data + 6;
        health->match.len = value->len - 6;
        health->page = 1;
        rc = NGX_OK;

    } else if (ngx_strcmp(value->data, "verify=on") == 0
               || ngx_strcmp(value->data, "verify=off") == 0)
    {
        health->verify = (value->len == sizeof("verify=on") - 1);
        rc = NGX_OK;

    } else if (ngx_strcmp(value->data, "type=http") == 0
               || ngx_strcmp(value->data, "type=tcp") == 0)
    {
        health->tcp = (value->len == sizeof("type=tcp") - 1);
        rc = NGX_OK;

    } else if (ngx_strcmp(value->data, "plain") == 0) {
        health->plain = 1;
        rc = NGX_OK;

    } else if (ngx_strcmp(value->data, "mismatch=avoid") == 0
               || ngx_strcmp(value->data, "mismatch=ignore") == 0)
    {
        health->avoid = (value->data[9] == 'a');
        rc = NGX_OK;

    } else if (ngx_strcmp(value->data, "mandatory") == 0) {
        health->mandatory = 1;
        rc = NGX_OK;
    }

    if (rc == NGX_OK) {
        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": write \"uri=/...\", "
                       "\"interval=5s\", \"timeout=4s\", \"fails=3\", "
                       "\"passes=2\", \"port=N\", \"plain\", \"host=NAME\", "
                       "\"verify=on\", \"expect=200\", \"match=TEXT\", "
                       "\"type=tcp\", \"mandatory\" or \"mismatch=avoid\"",
                       value);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_mapi_health_time(ngx_str_t *value, size_t name, ngx_msec_t *msec)
{
    ngx_int_t  n;
    ngx_str_t  s;

    s.data = value->data + name;
    s.len = value->len - name;

    n = ngx_parse_time(&s, 0);

    if (n == NGX_ERROR || n < 1) {
        return NGX_ERROR;
    }

    *msec = n;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_health_count(ngx_str_t *value, size_t name, ngx_uint_t max,
    ngx_uint_t *n)
{
    ngx_int_t  rc;

    rc = ngx_atoi(value->data + name, value->len - name);

    if (rc < 1 || (ngx_uint_t) rc > max) {
        return NGX_ERROR;
    }

    *n = rc;

    return NGX_OK;
}


/* "200" or "200|401" */

static ngx_int_t
ngx_mapi_health_codes(ngx_str_t *value, size_t name,
    ngx_mapi_health_t *health)
{
    u_char     *p, *last;
    ngx_int_t   code;

    p = value->data + name;
    last = value->data + value->len;

    health->ncodes = 0;

    for ( ;; ) {

        if (last - p < 3 || health->ncodes == NGX_MAPI_HEALTH_CODES) {
            return NGX_ERROR;
        }

        code = ngx_atoi(p, 3);

        if (code < 100 || code > 599) {
            return NGX_ERROR;
        }

        health->codes[health->ncodes++] = code;
        p += 3;

        if (p == last) {
            return NGX_OK;
        }

        if (*p++ != '|') {
            return NGX_ERROR;
        }
    }
}


/* from postconfiguration: locations and peers are known */

ngx_int_t
ngx_mapi_health_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_srv_conf_t   *mscf;
    ngx_mapi_main_conf_t  *mmcf;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);
    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);

    if (mmcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_health_check\" needs a zone that the workers "
                      "share: write \"mapi_zone mapi 10m;\" in http, in %s:%ui",
                      us->file_name, us->line);
        return NGX_ERROR;
    }

    if (!mscf->peers) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_health_check\" does not know the load balancing "
                      "method of this block: write one of nginx's own, in "
                      "%s:%ui", us->file_name, us->line);
        return NGX_ERROR;
    }

    if (ngx_mapi_health_useless(cf, us, mscf) != NGX_OK) {
        return NGX_ERROR;
    }

    mmcf->checks = 1;

    ngx_mapi_health_max_fails(us);

#if (NGX_HTTP_SSL)

    if (ngx_mapi_cert_init(cf, us, mscf->health) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_mapi_health_ssl(cf, us, mscf->health);
#else
    return NGX_OK;
#endif
}


/* parameters that nobody would heed */

static ngx_int_t
ngx_mapi_health_useless(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_srv_conf_t *mscf)
{
    ngx_mapi_health_t  *health;

    health = mscf->health;

    if (health->avoid && mscf->type == ngx_mapi_upstream_none) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_health_check mismatch=avoid\" needs a block with "
                      "\"mapi\", other balancing knows no drain: write "
                      "\"mapi\" above it, or leave \"mismatch=avoid\" out, in "
                      "%s:%ui", us->file_name, us->line);
        return NGX_ERROR;
    }

    if (health->plain && health->verify) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_health_check\" with \"plain\" speaks no TLS and "
                      "has nothing to verify: leave out \"plain\" or "
                      "\"verify=on\", in %s:%ui", us->file_name, us->line);
        return NGX_ERROR;
    }

    if (health->tcp && health->page) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_health_check type=tcp\" asks for no page: leave "
                      "out \"type=tcp\", or \"uri\", \"expect\" and \"match\", "
                      "in %s:%ui", us->file_name, us->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * With active checks a single failed connection need not take a server out,
 * as nginx's default of one would.
 */

static void
ngx_mapi_health_max_fails(ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    for (peers = us->peer.data; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {
            if (peer->max_fails == 1) {
                peer->max_fails = 3;
            }
        }

        /* those that addresses will be made from */

        for (peer = ngx_mapi_peers_resolve(peers); peer; peer = peer->next) {
            if (peer->max_fails == 1) {
                peer->max_fails = 3;
            }
        }
    }
}


#if (NGX_HTTP_SSL)

/*
 * To verify, certificates of authorities are needed, and a location that leads
 * here has said which: proxy_ssl_trusted_certificate.
 */

static ngx_int_t
ngx_mapi_health_ssl(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health)
{
    ngx_uint_t             i;
    ngx_mapi_way_t        *way;
    ngx_pool_cleanup_t    *cln;
    ngx_mapi_main_conf_t  *mmcf;

    if (health->plain) {
        return NGX_OK;
    }

    if (health->verify) {

        mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);
        way = mmcf->ways.elts;

        for (i = 0; i < mmcf->ways.nelts; i++) {
            if (way[i].upstream == us && way[i].conf->ssl
                && way[i].conf->ssl->ctx && way[i].conf->ssl_verify)
            {
                health->ssl = way[i].conf->ssl;
                return NGX_OK;
            }
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_health_check verify=on\" needs a location that "
                      "leads to this block with \"proxy_ssl_verify on\" and "
                      "\"proxy_ssl_trusted_certificate\", in %s:%ui",
                      us->file_name, us->line);
        return NGX_ERROR;
    }

    health->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (health->ssl == NULL) {
        return NGX_ERROR;
    }

    health->ssl->log = cf->log;

    if (ngx_ssl_create(health->ssl,
                       NGX_SSL_TLSv1|NGX_SSL_TLSv1_1|NGX_SSL_TLSv1_2
                       |NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(health->ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = health->ssl;

    return NGX_OK;
}

#endif
