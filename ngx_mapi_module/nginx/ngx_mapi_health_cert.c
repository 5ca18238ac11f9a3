
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * Extended Protection: Exchange lets a client log on with NTLM or Kerberos only
 * if the client has seen Exchange's own certificate (RFC 5929,
 * tls-server-end-point).  So the listener has to have the same one as each
 * server, and here they are compared.
 */

#if (NGX_HTTP_SSL)

/* a server block that leads to several such upstreams is warned of once */
#define ngx_mapi_health_is_on(us)                                             \
    ((us)->srv_conf                                                           \
     && ((ngx_mapi_srv_conf_t *) ngx_http_conf_upstream_srv_conf(us,          \
                                              ngx_mapi_module))->health)


static ngx_int_t ngx_mapi_cert_collect(ngx_conf_t *cf,
    ngx_mapi_health_t *health, ngx_http_core_srv_conf_t *cscf,
    ngx_uint_t warn);
static ngx_int_t ngx_mapi_cert_add(ngx_conf_t *cf, ngx_mapi_health_t *health,
    ngx_http_core_srv_conf_t *cscf, X509 *cert, ngx_uint_t warn);
static time_t ngx_mapi_cert_end(X509 *cert);


/* the certificates of every server block that leads to this upstream */

ngx_int_t
ngx_mapi_cert_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health)
{
    ngx_uint_t             i, j, again, said;
    ngx_mapi_way_t        *way;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);
    way = mmcf->ways.elts;

    for (i = 0; i < mmcf->ways.nelts; i++) {

        if (way[i].upstream != us) {
            continue;
        }

        again = 0;
        said = 0;

        for (j = 0; j < i; j++) {
            if (way[j].server == way[i].server) {
                again |= (way[j].upstream == us);
                said |= ngx_mapi_health_is_on(way[j].upstream);
            }
        }

        if (!again
            && ngx_mapi_cert_collect(cf, health, way[i].server, !said)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_cert_collect(ngx_conf_t *cf, ngx_mapi_health_t *health,
    ngx_http_core_srv_conf_t *cscf, ngx_uint_t warn)
{
    long                      rc;
    X509                     *cert;
    SSL_CTX                  *ctx;
    ngx_http_ssl_srv_conf_t  *sscf;

    sscf = cscf->ctx->srv_conf[ngx_http_ssl_module.ctx_index];

    if (sscf->certificate_values) {
        health->incomparable = 1;

        if (warn) {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "mapi: the certificates of this server are given by "
                          "variables and cannot be compared with those of the "
                          "mailbox servers, in %s:%ui",
                          cscf->file_name, cscf->line);
        }

        return NGX_OK;
    }

    ctx = sscf->ssl.ctx;

    if (ctx == NULL) {
        return NGX_OK;
    }

    for (rc = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST);
         rc == 1;
         rc = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT))
    {
        cert = SSL_CTX_get0_certificate(ctx);

        if (cert
            && ngx_mapi_cert_add(cf, health, cscf, cert, warn) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    (void) SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST);

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_cert_add(ngx_conf_t *cf, ngx_mapi_health_t *health,
    ngx_http_core_srv_conf_t *cscf, X509 *cert, ngx_uint_t warn)
{
    time_t            days;
    ngx_mapi_cert_t  *own;

    if (health->ncerts == NGX_MAPI_HEALTH_CERTS) {
        return NGX_OK;
    }

    own = &health->certs[health->ncerts];

    if (ngx_mapi_cert_read(cert, own) != NGX_OK) {
        return NGX_ERROR;
    }

    health->ncerts++;

    days = (own->end - ngx_time()) / 86400;

    if (warn && own->end && days < NGX_MAPI_CERT_DAYS) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "mapi: a certificate of this server ends in %T days, "
                      "in %s:%ui", days, cscf->file_name, cscf->line);
    }

    return NGX_OK;
}


ngx_int_t
ngx_mapi_cert_read(X509 *cert, ngx_mapi_cert_t *c)
{
    unsigned int  len;

    if (X509_digest(cert, EVP_sha256(), c->digest, &len) != 1
        || len != NGX_MAPI_CERT_DIGEST)
    {
        return NGX_ERROR;
    }

    c->end = ngx_mapi_cert_end(cert);

    return NGX_OK;
}


static time_t
ngx_mapi_cert_end(X509 *cert)
{
    struct tm  tm;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1) {
        return 0;
    }

    return timegm(&tm);
}

#endif


/* 1 if there is something to compare with, and this is none of it */

ngx_uint_t
ngx_mapi_cert_differs(ngx_mapi_health_t *health, ngx_mapi_cert_t *c)
{
    ngx_uint_t  i;

    if (c->end == 0 || health->ncerts == 0 || health->incomparable) {
        return 0;
    }

    for (i = 0; i < health->ncerts; i++) {
        if (ngx_memcmp(health->certs[i].digest, c->digest,
                       NGX_MAPI_CERT_DIGEST)
            == 0)
        {
            return 0;
        }
    }

    return 1;
}
