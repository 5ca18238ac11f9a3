
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"
#include "mapi_cmd_http.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define CMD_HTTP_URL_MAX   2048
#define CMD_HTTP_HEAD_MAX  65536


typedef struct {
    char         host[256];
    char         port[8];
    const char  *authority;    /* as it stands in the URL, for Host */
    size_t       authority_len;
    const char  *path;
} cmd_http_url_t;


typedef struct {
    cmd_http_t      *http;
    cmd_http_url_t   url;
    const char      *headers;
    int              fd;
    int64_t          deadline; /* in ms */
    char            *data;     /* head and body, as they came */
    size_t           len;
    size_t           size;
    size_t           head;     /* its length, with the empty line */
    int64_t          left;     /* Content-Length, -1: none */
    unsigned         chunked;
} cmd_http_call_t;


static int cmd_http_parse_url(cmd_http_call_t *call, const char *url);
static int cmd_http_authority(cmd_http_url_t *u);
static int cmd_http_connect(cmd_http_call_t *call);
static int cmd_http_try(cmd_http_call_t *call, struct addrinfo *address);
static int cmd_http_send(cmd_http_call_t *call);
static int cmd_http_read(cmd_http_call_t *call);
static int cmd_http_fill(cmd_http_call_t *call);
static int cmd_http_head(cmd_http_call_t *call);
static int cmd_http_body(cmd_http_call_t *call);
static int cmd_http_chunks(cmd_http_call_t *call);
static int cmd_http_wait(cmd_http_call_t *call, short events);
static int64_t cmd_http_now(void);


#define cmd_http_fail(call, ...)                                              \
    ((void) snprintf((call)->http->error, sizeof((call)->http->error),        \
                     __VA_ARGS__),                                            \
     MAPI_ERROR)


int
cmd_http_get(cmd_http_t *http, const char *url)
{
    return cmd_http_ask(http, url, "");
}


int
cmd_http_ask(cmd_http_t *http, const char *url, const char *headers)
{
    int              rc;
    cmd_http_call_t  call;

    memset(http, 0, sizeof(cmd_http_t));
    memset(&call, 0, sizeof(cmd_http_call_t));

    call.http = http;
    call.headers = headers;
    call.fd = -1;
    call.deadline = cmd_http_now() + CMD_HTTP_SECONDS * 1000;

    if (cmd_http_parse_url(&call, url) != MAPI_OK) {
        return MAPI_DECLINED;
    }

    rc = cmd_http_connect(&call);

    if (rc == MAPI_OK) {
        rc = cmd_http_send(&call);
    }

    if (rc == MAPI_OK) {
        rc = cmd_http_read(&call);
    }

    if (call.fd != -1) {
        (void) close(call.fd);
    }

    if (rc != MAPI_OK) {
        free(call.data);
    }

    return rc;
}


void
cmd_http_free(cmd_http_t *http)
{
    free(http->body);
    http->body = NULL;
}


/* what goes into the request as it is has to be fit for it */

static int
cmd_http_parse_url(cmd_http_call_t *call, const char *url)
{
    size_t           i, len;
    cmd_http_url_t  *u;

    u = &call->url;
    len = strlen(url);

    if (strncasecmp(url, "http://", 7) != 0) {
        return cmd_http_fail(call, "a URL of plain HTTP is needed, as "
                             "http://127.0.0.1/mapi-status/api");
    }

    if (len > CMD_HTTP_URL_MAX) {
        return cmd_http_fail(call, "the URL is too long");
    }

    for (i = 0; i < len; i++) {
        if (url[i] <= ' ' || url[i] > '~' || url[i] == '#') {
            return cmd_http_fail(call, "the URL holds a character that has to "
                                 "be written as %%XX");
        }
    }

    u->authority = url + 7;
    u->authority_len = strcspn(u->authority, "/?");
    u->path = u->authority + u->authority_len;

    if (memchr(u->authority, '@', u->authority_len)) {
        return cmd_http_fail(call, "the URL holds a user's name: remove it");
    }

    if (cmd_http_authority(u) != MAPI_OK) {
        return cmd_http_fail(call, "the URL has no host and port, as "
                             "http://127.0.0.1:8080/");
    }

    return MAPI_OK;
}


/* host, host:port, [address] or [address]:port */

static int
cmd_http_authority(cmd_http_url_t *u)
{
    long         port;
    size_t       len, rest;
    char        *end;
    const char  *host;

    host = u->authority;
    rest = u->authority_len;

    if (rest && *host == '[') {
        host++;
        len = strcspn(host, "]/?");

        if (host[len] != ']') {
            return MAPI_ERROR;
        }

        rest -= len + 2;

    } else {
        len = strcspn(host, ":/?");
        rest -= len;
    }

    if (len == 0 || len >= sizeof(u->host)) {
        return MAPI_ERROR;
    }

    memcpy(u->host, host, len);
    u->host[len] = '\0';

    strcpy(u->port, "80");

    if (rest == 0) {
        return MAPI_OK;
    }

    /* ":" and digits, up to the path */

    host = u->authority + u->authority_len - rest;

    if (rest < 2 || rest > 6 || host[0] != ':'
        || host[1] < '0' || host[1] > '9')
    {
        return MAPI_ERROR;
    }

    port = strtol(host + 1, &end, 10);

    if (end != host + rest || port < 1 || port > 65535) {
        return MAPI_ERROR;
    }

    (void) snprintf(u->port, sizeof(u->port), "%ld", port);

    return MAPI_OK;
}


static int
cmd_http_connect(cmd_http_call_t *call)
{
    int               rc;
    struct addrinfo   hints, *all, *address;

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;

    rc = getaddrinfo(call->url.host, call->url.port, &hints, &all);

    if (rc != 0) {
        return cmd_http_fail(call, "%s is not found: %s", call->url.host,
                             gai_strerror(rc));
    }

    rc = MAPI_ERROR;

    for (address = all; address && rc != MAPI_OK; address = address->ai_next) {
        rc = cmd_http_try(call, address);
    }

    freeaddrinfo(all);

    return rc;
}


static int
cmd_http_try(cmd_http_call_t *call, struct addrinfo *address)
{
    int        err;
    socklen_t  len;

    if (call->fd != -1) {
        (void) close(call->fd);
    }

    call->fd = socket(address->ai_family,
                      SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (call->fd == -1) {
        return cmd_http_fail(call, "no socket: %s", strerror(errno));
    }

    err = 0;

    if (connect(call->fd, address->ai_addr, address->ai_addrlen) == -1) {

        if (errno != EINPROGRESS) {
            err = errno;

        } else {
            if (cmd_http_wait(call, POLLOUT) != MAPI_OK) {
                return MAPI_ERROR;
            }

            len = sizeof(err);

            if (getsockopt(call->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
                err = errno;
            }
        }
    }

    if (err) {
        return cmd_http_fail(call, "%s, port %s, cannot be reached: %s",
                             call->url.host, call->url.port, strerror(err));
    }

    return MAPI_OK;
}


static int
cmd_http_send(cmd_http_call_t *call)
{
    int              n;
    char             buf[2 * CMD_HTTP_URL_MAX];
    char            *p;
    ssize_t          sent;
    cmd_http_url_t  *u;

    u = &call->url;

    n = snprintf(buf, sizeof(buf),
                 "GET %s%s HTTP/1.1\r\n"
                 "Host: %.*s\r\n"
                 "User-Agent: mapi-directory\r\n"
                 "%s"
                 "Connection: close\r\n\r\n",
                 *u->path == '/' ? "" : "/", u->path,
                 (int) u->authority_len, u->authority, call->headers);

    if (n < 0 || (size_t) n >= sizeof(buf)) {
        return cmd_http_fail(call, "the request is too long");
    }

    for (p = buf; n > 0; n -= (int) sent, p += sent) {

        sent = send(call->fd, p, (size_t) n, MSG_NOSIGNAL);

        if (sent == -1 && (errno == EAGAIN || errno == EINTR)) {

            if (cmd_http_wait(call, POLLOUT) != MAPI_OK) {
                return MAPI_ERROR;
            }

            sent = 0;
            continue;
        }

        if (sent == -1) {
            return cmd_http_fail(call, "the request cannot be sent: %s",
                                 strerror(errno));
        }
    }

    return MAPI_OK;
}


static int
cmd_http_read(cmd_http_call_t *call)
{
    int    rc;
    char  *end;

    end = NULL;

    while (end == NULL) {

        rc = cmd_http_fill(call);

        if (rc == MAPI_ERROR) {
            return MAPI_ERROR;
        }

        end = call->data ? strstr(call->data, "\r\n\r\n") : NULL;

        if (end == NULL
            && (rc == MAPI_DECLINED || call->len > CMD_HTTP_HEAD_MAX))
        {
            break;
        }
    }

    if (end == NULL || end - call->data > CMD_HTTP_HEAD_MAX) {
        return cmd_http_fail(call, "what answers does not speak HTTP");
    }

    call->head = (size_t) (end - call->data) + 4;

    if (cmd_http_head(call) != MAPI_OK) {
        return MAPI_ERROR;
    }

    return cmd_http_body(call);
}


/* MAPI_OK, MAPI_DECLINED at the end; data has a zero byte behind it */

static int
cmd_http_fill(cmd_http_call_t *call)
{
    char     *data;
    size_t    size;
    ssize_t   n;

    if (call->size - call->len < 4096) {

        size = call->size ? 2 * call->size : 16384;

        if (size > 2 * CMD_HTTP_MAX) {
            return cmd_http_fail(call, "the answer is too long");
        }

        data = realloc(call->data, size);

        if (data == NULL) {
            return cmd_http_fail(call, "out of memory");
        }

        call->data = data;
        call->size = size;
    }

    for ( ;; ) {

        n = recv(call->fd, call->data + call->len,
                 call->size - call->len - 1, 0);

        if (n >= 0) {
            call->len += (size_t) n;
            call->data[call->len] = '\0';

            if (call->len > CMD_HTTP_MAX) {
                return cmd_http_fail(call, "the answer is too long");
            }

            return n ? MAPI_OK : MAPI_DECLINED;
        }

        if (errno != EAGAIN && errno != EINTR) {
            return cmd_http_fail(call, "the answer broke off: %s",
                                 strerror(errno));
        }

        if (cmd_http_wait(call, POLLIN) != MAPI_OK) {
            return MAPI_ERROR;
        }
    }
}


static int
cmd_http_head(cmd_http_call_t *call)
{
    char  *p, *end, *digits;

    p = call->data;
    call->left = -1;

    if (strncmp(p, "HTTP/1.", 7) != 0 || strspn(p + 7, "0123456789") != 1
        || p[8] != ' ' || strspn(p + 9, "0123456789") != 3)
    {
        return cmd_http_fail(call, "what answers does not speak HTTP");
    }

    call->http->status = (unsigned) strtoul(p + 9, NULL, 10);

    for (p = strstr(p, "\r\n") + 2; *p != '\r'; p = end + 2) {

        end = strstr(p, "\r\n");

        if (strncasecmp(p, "Content-Length:", 15) == 0) {
            p += 15 + strspn(p + 15, " \t");
            errno = 0;
            call->left = strtoll(p, &digits, 10);

            if (*p < '0' || *p > '9' || errno || *digits != '\r'
                || call->left > CMD_HTTP_MAX)
            {
                return cmd_http_fail(call, "the answer is too long");
            }

        } else if (strncasecmp(p, "Transfer-Encoding:", 18) == 0) {
            p += 18 + strspn(p + 18, " \t");

            if (strncasecmp(p, "chunked\r", 8) != 0) {
                return cmd_http_fail(call, "the answer has a coding that is "
                                     "not known here");
            }

            call->chunked = 1;
        }
    }

    return MAPI_OK;
}


/* all of it, moved to the front of the data */

static int
cmd_http_body(cmd_http_call_t *call)
{
    int     rc;
    size_t  need;

    need = (!call->chunked && call->left >= 0)
           ? call->head + (size_t) call->left : SIZE_MAX;

    rc = MAPI_OK;

    while (rc == MAPI_OK && call->len < need) {
        rc = cmd_http_fill(call);
    }

    if (rc == MAPI_ERROR) {
        return MAPI_ERROR;
    }

    if (need != SIZE_MAX && call->len < need) {
        return cmd_http_fail(call, "the answer broke off");
    }

    call->len = (need == SIZE_MAX ? call->len : need) - call->head;
    memmove(call->data, call->data + call->head, call->len);
    call->data[call->len] = '\0';

    if (call->chunked && cmd_http_chunks(call) != MAPI_OK) {
        return cmd_http_fail(call, "the answer broke off");
    }

    call->http->body = call->data;
    call->http->len = call->len;

    return MAPI_OK;
}


/* in place: what is written never overtakes what is read */

static int
cmd_http_chunks(cmd_http_call_t *call)
{
    char    *p, *last, *dst, *end;
    size_t   size;

    p = call->data;
    last = p + call->len;
    dst = p;

    for ( ;; ) {

        if (strspn(p, "0123456789abcdefABCDEF") == 0) {
            return MAPI_ERROR;
        }

        size = strtoul(p, NULL, 16);
        end = strstr(p, "\r\n");

        if (end == NULL || size > (size_t) (last - end) - 2) {
            return MAPI_ERROR;
        }

        if (size == 0) {
            break;
        }

        p = end + 2;

        if ((size_t) (last - p) < size + 2
            || p[size] != '\r' || p[size + 1] != '\n')
        {
            return MAPI_ERROR;
        }

        memmove(dst, p, size);
        dst += size;
        p += size + 2;
    }

    *dst = '\0';
    call->len = (size_t) (dst - call->data);

    return MAPI_OK;
}


static int
cmd_http_wait(cmd_http_call_t *call, short events)
{
    int            rc;
    int64_t        left;
    struct pollfd  p;

    p.fd = call->fd;
    p.events = events;

    do {
        left = call->deadline - cmd_http_now();
        rc = left > 0 ? poll(&p, 1, (int) left) : 0;
    } while (rc == -1 && errno == EINTR);

    if (rc == 1) {
        return MAPI_OK;
    }

    return cmd_http_fail(call, "%s, port %s, does not answer within %d "
                         "seconds", call->url.host, call->url.port,
                         CMD_HTTP_SECONDS);
}


static int64_t
cmd_http_now(void)
{
    struct timespec  t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);

    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
