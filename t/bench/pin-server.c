/*
 * Mailbox servers of pin.sh: logons belong to connections, as in IIS.
 *
 * usage: pin-server logon|open PORT COUNT
 *
 * Listens on PORT of COUNT addresses, 127.1.0.1 and following, each a server.
 *
 *     Authorization: NTLM with type 1    401 with a type 2 token
 *     Authorization: NTLM with type 3    200 if type 1 came before it here
 *     no Authorization                   200 if logged on here, else 401
 *
 * The end of a type 3 token, USER_LEN characters of it, is the user's name: it
 * comes back in X-User of each answer on that connection.  An "open" server
 * lets everybody in, and a type 3 wherever it comes: for proxies that mix
 * connections.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>


#define USER_LEN  12
#define EVENTS    256


typedef enum {
    stranger = 0,
    challenged,
    logged_on
} logon_e;


typedef struct {
    int       fd;
    int       listening;
    logon_e   logon;
    char      user[USER_LEN + 1];
    size_t    have;
    char      in[8192];
} end_t;


static const char  type_2[] =
    "TlRMTVNTUAACAAAADgAOADgAAAAFgomiAQIDBAUGBwgAAAAAAAAAAIIAggBGAAAACgB8TwAA"
    "AA9DAE8ATgBUAE8AUwBPAAIADgBDAE8ATgBUAE8AUwBPAAEABgBFAFgAMQAEABYAYwBvAG4A"
    "dABvAHMAbwAuAGMAbwBtAAMAHgBlAHgAMQAuAGMAbwBuAHQAbwBzAG8ALgBjAG8AbQAFABYA"
    "YwBvAG4AdABvAHMAbwAuAGMAbwBtAAcACAAA4MP5gIvbAQAAAAA=";

static const char  body[] =
    "PROCESSING\r\nDONE\r\nX-ElapsedTime: 5\r\n"
    "X-StartTime: Mon, 02 Mar 2026 10:11:12 GMT\r\n\r\n"
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static int  is_open;


static void
die(const char *what)
{
    perror(what);
    exit(1);
}


static void
watch(int ep, end_t *e)
{
    struct epoll_event  ev;

    ev.events = EPOLLIN;
    ev.data.ptr = e;

    if (epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev) == -1) {
        die("epoll_ctl()");
    }
}


static void
listen_on(int ep, int i, int port)
{
    int                 on = 1;
    end_t              *e;
    struct sockaddr_in  sin;

    e = calloc(1, sizeof(end_t));
    if (e == NULL) {
        die("calloc()");
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(0x7f010000 + (i / 250 << 8) + i % 250 + 1);

    e->listening = 1;
    e->fd = socket(AF_INET, SOCK_STREAM, 0);

    if (e->fd == -1
        || setsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(e->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(e->fd, 511) == -1)
    {
        die("listening");
    }

    watch(ep, e);
}


static void
take(int ep, end_t *server)
{
    int     fd, on = 1;
    end_t  *e;

    fd = accept(server->fd, NULL, NULL);
    if (fd == -1) {
        die("accept()");
    }

    e = malloc(sizeof(end_t));
    if (e == NULL) {
        die("malloc()");
    }

    e->fd = fd;
    e->listening = 0;
    e->logon = stranger;
    e->have = 0;
    strcpy(e->user, "nobody");

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    watch(ep, e);
}


/* the value of a header, whose name is given with the line feed before it */

static const char *
header(const char *head, const char *name)
{
    const char  *p;

    p = strcasestr(head, name);

    return p ? p + strlen(name) + strspn(p + strlen(name), " ") : NULL;
}


static int
answer(end_t *e, const char *head)
{
    int          len, ok;
    char         out[2048], challenge[512];
    size_t       n;
    const char  *token;

    challenge[0] = '\0';
    ok = 0;

    token = header(head, "\nAuthorization: NTLM ");

    if (token == NULL) {
        ok = is_open || e->logon == logged_on;

        if (!ok) {
            strcpy(challenge, "WWW-Authenticate: Negotiate\r\n"
                              "WWW-Authenticate: NTLM\r\n");
        }

    } else if (strncmp(token, "TlRMTVNTUAAB", 12) == 0) {
        e->logon = challenged;
        sprintf(challenge, "WWW-Authenticate: NTLM %s\r\n", type_2);

    } else if (strncmp(token, "TlRMTVNTUAAD", 12) == 0
               && (is_open || e->logon == challenged))
    {
        n = strcspn(token, "\r\n");
        if (n < 12 + USER_LEN) {
            return -1;
        }

        memcpy(e->user, token + n - USER_LEN, USER_LEN);
        e->user[USER_LEN] = '\0';
        e->logon = logged_on;
        ok = 1;

    } else {
        e->logon = stranger;
        strcpy(challenge, "WWW-Authenticate: NTLM\r\n");
    }

    len = snprintf(out, sizeof(out),
                   "HTTP/1.1 %s\r\n"
                   "Cache-Control: private\r\n"
                   "Content-Type: application/mapi-http\r\n"
                   "Server: Microsoft-IIS/10.0\r\n"
                   "request-id: 3fae9a43-5f26-4b7f-9fb2-1a5eb8d1f4ca\r\n"
                   "X-RequestType: Execute\r\n"
                   "X-ResponseCode: 0\r\n"
                   "X-ServerApplication: Exchange/15.02.1544.004\r\n"
                   "X-ExpirationInfo: 900000\r\n"
                   "X-PendingPeriod: 15000\r\n"
                   "%s"
                   "X-FEServer: EX1\r\n"
                   "X-User: %s\r\n"
                   "Date: Mon, 02 Mar 2026 10:11:12 GMT\r\n"
                   "Content-Length: %d\r\n"
                   "\r\n"
                   "%s",
                   ok ? "200 OK" : "401 Unauthorized",
                   challenge, ok ? e->user : "nobody",
                   ok ? (int) sizeof(body) - 1 : 0, ok ? body : "");

    if (send(e->fd, out, len, MSG_NOSIGNAL) != len) {
        return -1;
    }

    return header(head, "\nConnection: close") ? -1 : 0;
}


/* one request after the other, each with its body; -1: close */

static int
serve(end_t *e)
{
    char        *end;
    size_t       need;
    ssize_t      n;
    const char  *length;

    n = recv(e->fd, e->in + e->have, sizeof(e->in) - e->have, MSG_DONTWAIT);
    if (n <= 0) {
        return -1;
    }

    e->have += n;

    end = memmem(e->in, e->have, "\r\n\r\n", 4);
    if (end == NULL) {
        return e->have < sizeof(e->in) ? 0 : -1;
    }

    end[2] = '\0';
    length = header(e->in, "\nContent-Length:");
    need = end + 4 - e->in + (length ? strtoul(length, NULL, 10) : 0);

    if (need > sizeof(e->in) || e->have > need) {
        return -1;
    }

    if (e->have < need) {
        end[2] = '\r';
        return 0;
    }

    e->have = 0;

    return answer(e, e->in);
}


int
main(int argc, char **argv)
{
    int                 ep, i, n;
    end_t              *e;
    struct epoll_event  ev[EVENTS];

    if (argc != 4) {
        fprintf(stderr, "usage: pin-server logon|open PORT COUNT\n");
        return 2;
    }

    is_open = (strcmp(argv[1], "open") == 0);
    signal(SIGPIPE, SIG_IGN);

    ep = epoll_create1(0);
    if (ep == -1) {
        die("epoll_create1()");
    }

    /* the last address first: when 127.1.0.1 listens, all do */

    for (i = atoi(argv[3]) - 1; i >= 0; i--) {
        listen_on(ep, i, atoi(argv[2]));
    }

    for ( ;; ) {
        n = epoll_wait(ep, ev, EVENTS, -1);

        for (i = 0; i < n; i++) {
            e = ev[i].data.ptr;

            if (e->listening) {
                take(ep, e);

            } else if (serve(e) == -1) {
                close(e->fd);
                free(e);
            }
        }
    }
}
