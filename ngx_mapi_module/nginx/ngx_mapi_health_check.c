
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * One check of one address: connect, TLS, ask, read, and tell.  Everything is
 * an event; the target's timer bounds it all.
 */

static ngx_msec_t ngx_mapi_health_patience(ngx_mapi_health_target_t *target);
static void ngx_mapi_health_connected(ngx_event_t *ev);
static void ngx_mapi_health_write(ngx_event_t *ev);
static void ngx_mapi_health_read(ngx_event_t *ev);
static void ngx_mapi_health_timeout(ngx_event_t *ev);
static ngx_err_t ngx_mapi_health_test_connect(ngx_connection_t *c);
static ngx_mapi_check_e ngx_mapi_health_unconnected(
    ngx_mapi_health_target_t *target, ngx_err_t err);
static void ngx_mapi_health_ask(ngx_mapi_health_target_t *target);
static u_char *ngx_mapi_health_body(ngx_mapi_health_target_t *target);
static ngx_uint_t ngx_mapi_health_judge(ngx_mapi_health_target_t *target,
    ngx_uint_t complete);
static ngx_uint_t ngx_mapi_health_expected(ngx_mapi_health_t *health,
    ngx_uint_t status);
static ngx_uint_t ngx_mapi_health_is_chunked(u_char *p, u_char *last);
static u_char *ngx_mapi_health_unchunk(u_char *dst, u_char *p, u_char *last);
static void ngx_mapi_health_end(ngx_mapi_health_target_t *target,
    ngx_mapi_check_e check, ngx_uint_t status, u_char *body, size_t len);
static void ngx_mapi_health_close(ngx_mapi_health_target_t *target);
#if (NGX_HTTP_SSL)
static void ngx_mapi_health_handshake(ngx_mapi_health_target_t *target);
static void ngx_mapi_health_handshaken(ngx_connection_t *c);
static ngx_int_t ngx_mapi_health_check_name(ngx_connection_t *c,
    ngx_str_t *host);
static void ngx_mapi_health_certificate(ngx_connection_t *c,
    ngx_mapi_cert_t *kept);
#endif


/* the host is terminated */

#define ngx_mapi_health_is_ipv6(host)                                         \
    (ngx_strlchr((host)->data, (host)->data + (host)->len, ':') != NULL)

#define ngx_mapi_health_is_address(host)                                      \
    (ngx_inet_addr((host)->data, (host)->len) != INADDR_NONE                  \
     || ngx_mapi_health_is_ipv6(host))


static ngx_log_t  ngx_mapi_health_log;


void
ngx_mapi_health_start(ngx_mapi_health_target_t *target)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    target->busy = 1;
    target->sent_all = 0;
    target->received = 0;
    target->started = ngx_current_msec;

    /* the second half is for what chunks bring */

    target->buffer = ngx_alloc(2 * NGX_MAPI_HEALTH_READ, ngx_cycle->log);
    if (target->buffer == NULL) {
        ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
        return;
    }

    pc = &target->peer;

    ngx_memzero(pc, sizeof(ngx_peer_connection_t));

    pc->sockaddr = (struct sockaddr *) &target->sockaddr;
    pc->socklen = target->socklen;
    pc->name = &target->name;
    pc->get = ngx_event_get_peer;
    pc->log_error = NGX_ERROR_INFO;

    /* a change of the verdict is logged, not each check that fails */

    ngx_mapi_health_log = *ngx_cycle->log;
    ngx_mapi_health_log.log_level = ngx_min(ngx_cycle->log->log_level,
                                            NGX_LOG_ALERT);
    pc->log = &ngx_mapi_health_log;

    rc = ngx_event_connect_peer(pc);

    if (rc == NGX_ERROR) {

        /* our own lack of connections or files says nothing of a server */

        ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
        return;
    }

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_mapi_health_end(target,
                            ngx_mapi_health_unconnected(target,
                                                        ngx_socket_errno),
                            0, NULL, 0);
        return;
    }

    c = pc->connection;

    c->data = target;
    c->log = &ngx_mapi_health_log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->addr_text = target->name;

    c->pool = ngx_create_pool(256, c->log);
    if (c->pool == NULL) {
        ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
        return;
    }

    target->timer.handler = ngx_mapi_health_timeout;
    ngx_add_timer(&target->timer, ngx_mapi_health_patience(target));

    c->read->handler = ngx_mapi_health_connected;
    c->write->handler = ngx_mapi_health_connected;

    if (rc == NGX_OK) {
        ngx_mapi_health_connected(c->write);
    }
}


/*
 * A check that was silent for longer than the interval has kept the next ones
 * from beginning.  These are made up for: none of them takes longer than it
 * would have gone on after this one, so that "fails" of them take that many
 * intervals more, not that many time-outs.  A server that is slow gets the
 * time that it usually takes, twice.
 */

static ngx_msec_t
ngx_mapi_health_patience(ngx_mapi_health_target_t *target)
{
    ngx_msec_t          patience;
    ngx_mapi_health_t  *health;

    health = target->health;

    if (!target->hurry) {
        return health->timeout;
    }

    patience = ngx_max(health->interval, 2 * target->latency);

    return ngx_min(patience, health->timeout);
}


static void
ngx_mapi_health_connected(ngx_event_t *ev)
{
    ngx_err_t                  err;
    ngx_connection_t          *c;
    ngx_mapi_health_target_t  *target;

    c = ev->data;
    target = c->data;

    err = ngx_mapi_health_test_connect(c);

    if (err) {
        ngx_mapi_health_end(target, ngx_mapi_health_unconnected(target, err),
                            0, NULL, 0);
        return;
    }

#if (NGX_HTTP_SSL)
    if (target->tls) {
        ngx_mapi_health_handshake(target);
        return;
    }
#endif

    ngx_mapi_health_ask(target);
}


static ngx_err_t
ngx_mapi_health_test_connect(ngx_connection_t *c)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    return err;
}


static ngx_mapi_check_e
ngx_mapi_health_unconnected(ngx_mapi_health_target_t *target, ngx_err_t err)
{
    if (ngx_mapi_is_own_lack(err, target->peer.sockaddr,
                             target->peer.socklen))
    {
        return ngx_mapi_check_none;
    }

    switch (err) {

    case NGX_ECONNRESET:
        /* it was made, and closed without an answer */
        return ngx_mapi_check_closed;

    case NGX_EHOSTUNREACH:
    case NGX_EHOSTDOWN:
    case NGX_ETIMEDOUT:
        /* so says the neighbour of a host that is powered off */
        return ngx_mapi_check_silent;

    default:
        return ngx_mapi_check_refused;
    }
}


#if (NGX_HTTP_SSL)

static void
ngx_mapi_health_handshake(ngx_mapi_health_target_t *target)
{
    ngx_int_t          rc;
    ngx_str_t         *host;
    ngx_connection_t  *c;

    c = target->peer.connection;
    host = &target->host;

    if (ngx_ssl_create_connection(target->health->ssl, c,
                                  NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK)
    {
        ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
        return;
    }

    c->sendfile = 0;

#ifdef SSL_CTRL_SET_TLSEXT_HOSTNAME

    /* an address is no name for SNI (RFC 6066, 3) */

    if (!ngx_mapi_health_is_address(host)
        && SSL_set_tlsext_host_name(c->ssl->connection, (char *) host->data)
           == 0)
    {
        ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
        return;
    }

#endif

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_mapi_health_handshaken;
        return;
    }

    ngx_mapi_health_handshaken(c);
}


static void
ngx_mapi_health_handshaken(ngx_connection_t *c)
{
    ngx_mapi_health_target_t  *target;

    target = c->data;

    if (!c->ssl->handshaked) {
        ngx_mapi_health_end(target, ngx_mapi_check_tls, 0, NULL, 0);
        return;
    }

    if (target->health->verify
        && (SSL_get_verify_result(c->ssl->connection) != X509_V_OK
            || ngx_mapi_health_check_name(c, &target->host) != NGX_OK))
    {
        ngx_mapi_health_end(target, ngx_mapi_check_tls, 0, NULL, 0);
        return;
    }

    ngx_mapi_health_ask(target);
}


/* an address stands in a certificate as an address, not as a name */

static ngx_int_t
ngx_mapi_health_check_name(ngx_connection_t *c, ngx_str_t *host)
{
    int    rc;
    X509  *cert;

    if (!ngx_mapi_health_is_address(host)) {
        return ngx_ssl_check_host(c, host);
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_ERROR;
    }

    rc = X509_check_ip_asc(cert, (char *) host->data, 0);

    X509_free(cert);

    return rc == 1 ? NGX_OK : NGX_ERROR;
}


static void
ngx_mapi_health_certificate(ngx_connection_t *c, ngx_mapi_cert_t *kept)
{
    X509  *cert;

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return;
    }

    if (ngx_mapi_cert_read(cert, kept) != NGX_OK) {
        kept->end = 0;
    }

    X509_free(cert);
}

#endif


static void
ngx_mapi_health_ask(ngx_mapi_health_target_t *target)
{
    u_char             *p;
    ngx_uint_t          ipv6;
    ngx_connection_t   *c;
    ngx_mapi_health_t  *health;

    ipv6 = ngx_mapi_health_is_ipv6(&target->host);
    health = target->health;
    c = target->peer.connection;

    if (health->tcp) {
        ngx_mapi_health_end(target, ngx_mapi_check_passed, 0, NULL, 0);
        return;
    }

    p = ngx_snprintf(target->buffer, NGX_MAPI_HEALTH_READ,
                     "GET %V HTTP/1.1" CRLF
                     "Host: %s%V%s" CRLF
                     "User-Agent: nginx (mapi_health_check)" CRLF
                     "Accept: */*" CRLF
                     "Connection: close" CRLF CRLF,
                     &health->uri, ipv6 ? "[" : "", &target->host,
                     ipv6 ? "]" : "");

    target->send = target->buffer;
    target->send_last = p;

    c->read->handler = ngx_mapi_health_read;
    c->write->handler = ngx_mapi_health_write;

    ngx_mapi_health_write(c->write);
}


static void
ngx_mapi_health_write(ngx_event_t *ev)
{
    ssize_t                    n;
    ngx_connection_t          *c;
    ngx_mapi_health_target_t  *target;

    c = ev->data;
    target = c->data;

    while (target->send < target->send_last) {

        n = c->send(c, target->send, target->send_last - target->send);

        if (n == NGX_AGAIN) {
            if (ngx_handle_write_event(ev, 0) != NGX_OK) {
                ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
            }

            return;
        }

        if (n == NGX_ERROR) {
            ngx_mapi_health_end(target, ngx_mapi_check_closed, 0, NULL, 0);
            return;
        }

        target->send += n;
    }

    if (target->sent_all) {
        return;
    }

    /* the buffer is the answer's from here */

    target->sent_all = 1;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
        return;
    }

    if (c->read->ready) {
        ngx_mapi_health_read(c->read);
    }
}


static void
ngx_mapi_health_read(ngx_event_t *ev)
{
    ssize_t                    n;
    ngx_connection_t          *c;
    ngx_mapi_health_target_t  *target;

    c = ev->data;
    target = c->data;

    /* an early answer or end is read when the request is out */

    if (!target->sent_all) {
        return;
    }

    for ( ;; ) {

        n = c->recv(c, target->buffer + target->received,
                    NGX_MAPI_HEALTH_READ - target->received);

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(ev, 0) != NGX_OK) {
                ngx_mapi_health_end(target, ngx_mapi_check_none, 0, NULL, 0);
            }

            return;
        }

        if (n == NGX_ERROR || n == 0) {

            if (target->received == 0) {
                ngx_mapi_health_end(target, ngx_mapi_check_closed, 0, NULL, 0);
                return;
            }

            (void) ngx_mapi_health_judge(target, 1);
            return;
        }

        target->received += n;

        if (ngx_mapi_health_judge(target,
                                  target->received == NGX_MAPI_HEALTH_READ))
        {
            return;
        }
    }
}


/* where the headers end, NULL if they have not come */

static u_char *
ngx_mapi_health_body(ngx_mapi_health_target_t *target)
{
    u_char  *p, *last;

    last = target->buffer + target->received;

    for (p = target->buffer; p + 3 < last; p++) {
        if (p[0] == CR && p[1] == LF && p[2] == CR && p[3] == LF) {
            return p + 4;
        }
    }

    return NULL;
}


/* 1 if the answer, as far as it has come, decides, and the check has ended */

static ngx_uint_t
ngx_mapi_health_judge(ngx_mapi_health_target_t *target, ngx_uint_t complete)
{
    u_char            *p, *last, *body;
    ngx_int_t          status;
    ngx_str_t         *match;
    ngx_mapi_check_e   check;

    last = target->buffer + target->received;
    body = ngx_mapi_health_body(target);

    if (body == NULL) {

        if (!complete) {
            return 0;
        }

        ngx_mapi_health_end(target, ngx_mapi_check_wrong, 0, target->buffer,
                            target->received);
        return 1;
    }

    p = target->buffer;

    if (ngx_strncmp(p, "HTTP/1.", 7) != 0 || p[7] < '0' || p[7] > '9'
        || p[8] != ' ' || (p[12] != ' ' && p[12] != CR))
    {
        ngx_mapi_health_end(target, ngx_mapi_check_wrong, 0, p,
                            target->received);
        return 1;
    }

    status = ngx_atoi(p + 9, 3);

    if (status == NGX_ERROR) {
        status = 0;
    }

    /* "100 Continue" and the like are not the answer yet */

    if (status >= 100 && status < 200) {
        target->received = last - body;
        ngx_memmove(target->buffer, body, target->received);

        return ngx_mapi_health_judge(target, complete);
    }

    if (ngx_mapi_health_is_chunked(target->buffer, body)) {
        p = target->buffer + NGX_MAPI_HEALTH_READ;
        last = ngx_mapi_health_unchunk(p, body, last);
        body = p;
    }

    check = ngx_mapi_check_wrong;

    if (ngx_mapi_health_expected(target->health, status)) {

        match = &target->health->match;

        if (match->len == 0) {
            check = ngx_mapi_check_passed;
        }

        for (p = body; match->len && p + match->len <= last; p++) {
            if (ngx_memcmp(p, match->data, match->len) == 0) {
                check = ngx_mapi_check_passed;
                break;
            }
        }

        /* the words may still come */

        if (check != ngx_mapi_check_passed && !complete) {
            return 0;
        }
    }

    ngx_mapi_health_end(target, check, status, body, last - body);

    return 1;
}


static ngx_uint_t
ngx_mapi_health_expected(ngx_mapi_health_t *health, ngx_uint_t status)
{
    ngx_uint_t  i;

    for (i = 0; i < health->ncodes; i++) {
        if (health->codes[i] == status) {
            return 1;
        }
    }

    return 0;
}


/* in the headers, which end with an empty line */

static ngx_uint_t
ngx_mapi_health_is_chunked(u_char *p, u_char *last)
{
    u_char  *end;

    for ( /* void */ ; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, LF);
        if (end == NULL) {
            break;
        }

        if (ngx_strncasecmp(p, (u_char *) "Transfer-Encoding:",
                            sizeof("Transfer-Encoding:") - 1)
            == 0)
        {
            p += sizeof("Transfer-Encoding:") - 1;

            return ngx_strlcasestrn(p, end, (u_char *) "chunked",
                                    sizeof("chunked") - 2)
                   != NULL;
        }
    }

    return 0;
}


/* the end of what has come in chunks, up to the last one or a broken one */

static u_char *
ngx_mapi_health_unchunk(u_char *dst, u_char *p, u_char *last)
{
    u_char     *line, *end;
    ngx_int_t   size;

    while (p < last) {

        line = p;
        end = ngx_strlchr(p, last, LF);

        if (end == NULL) {
            break;
        }

        while (mapi_hex(*p) >= 0) {
            p++;
        }

        size = ngx_hextoi(line, p - line);

        if (size == NGX_ERROR || size == 0) {
            break;
        }

        p = end + 1;
        size = ngx_min(size, last - p);

        dst = ngx_cpymem(dst, p, size);
        p += size + 2;
    }

    return dst;
}


static void
ngx_mapi_health_timeout(ngx_event_t *ev)
{
    ngx_mapi_health_target_t *target = ev->data;

    /* an answer without its words is a wrong one; half of one is none */

    if (target->sent_all && ngx_mapi_health_body(target)) {
        (void) ngx_mapi_health_judge(target, 1);
        return;
    }

    ngx_mapi_health_end(target, ngx_mapi_check_silent, 0, NULL, 0);
}


static void
ngx_mapi_health_end(ngx_mapi_health_target_t *target, ngx_mapi_check_e check,
    ngx_uint_t status, u_char *body, size_t len)
{
    u_char           kept[NGX_MAPI_HEALTH_BODY];
    ngx_mapi_cert_t  cert;

    ngx_memzero(&cert, sizeof(ngx_mapi_cert_t));

    len = ngx_min(len, NGX_MAPI_HEALTH_BODY);

    if (len) {
        ngx_memcpy(kept, body, len);
    }

#if (NGX_HTTP_SSL)
    if (target->peer.connection && target->peer.connection->ssl
        && target->peer.connection->ssl->handshaked)
    {
        ngx_mapi_health_certificate(target->peer.connection, &cert);
    }
#endif

    ngx_mapi_health_close(target);

    ngx_mapi_health_done(target, check, status, kept, len, &cert);
}


void
ngx_mapi_health_abort(ngx_mapi_health_target_t *target)
{
    ngx_mapi_health_close(target);
}


static void
ngx_mapi_health_close(ngx_mapi_health_target_t *target)
{
    ngx_pool_t        *pool;
    ngx_connection_t  *c;

    target->busy = 0;

    if (target->timer.timer_set) {
        ngx_del_timer(&target->timer);
    }

    if (target->buffer) {
        ngx_free(target->buffer);
        target->buffer = NULL;
    }

    c = target->peer.connection;

    if (c == NULL) {
        return;
    }

    target->peer.connection = NULL;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
        (void) ngx_ssl_shutdown(c);
    }

#endif

    pool = c->pool;

    ngx_close_connection(c);

    if (pool) {
        ngx_destroy_pool(pool);
    }
}
