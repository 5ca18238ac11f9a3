/*
 * Clients of pin.sh.
 *
 * usage: pin-load FOLDER logon    SECONDS TURN CONNECTIONS TARGET...
 *        pin-load FOLDER requests SECONDS TURN CONNECTIONS TARGET...
 *        pin-load FOLDER hold     FIRST MORE TARGET...
 *
 * TARGET is NAME:PORT:PID:plain or NAME:PORT:PID:pinned, a proxy on 127.0.0.1
 * and its one process; pinned clients log on before they ask.  FOLDER has the
 * requests that pin-requests.py wrote.
 *
 * logon: connect, type 1, type 3, close, and again.  requests: requests without
 * Authorization on connections that stay.  Both take turns of TURN seconds with
 * the targets until each had its SECONDS.  A turn ends when everything is
 * answered and the process has come to rest, so its CPU time is its own.
 * Written is one line, of each target "NAME CPU-NANOSECONDS COUNT NANOSECONDS".
 *
 * hold: FIRST clients, then MORE, one after the other; each gets an answer, and
 * all stay connected.  Written is "NAME BYTES SOCKETS": what MORE of them added
 * to the process, in private memory and in open files.
 *
 * Whatever is answered wrongly ends the program, with exit code 1.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define CLIENT   "client000000"
#define TARGETS  16
#define EVENTS   256

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT  24
#endif


typedef struct {
    char       data[4096];
    size_t     len;
    char      *user;
} request_t;


typedef enum {
    sent_plain = 0,
    sent_type1,
    sent_type3
} step_e;


typedef struct {
    int        fd;
    step_e     step;
    char       user[sizeof(CLIENT)];
    size_t     have;
    char       in[4096];
} client_t;


typedef struct {
    char       name[32];
    int        port;
    int        pid;
    int        pinned;
    client_t  *clients;
    uint64_t   cpu;
    uint64_t   time;
    uint64_t   count;
} target_t;


static request_t  requests[3];
static target_t   targets[TARGETS];
static int        ntargets;
static unsigned   serial;


static void
die(const char *format, ...)
{
    va_list  args;

    va_start(args, format);
    fprintf(stderr, "pin-load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}


static uint64_t
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}


static void
read_request(const char *folder, const char *name, request_t *r)
{
    char   path[4096];
    FILE  *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);

    f = fopen(path, "r");
    if (f == NULL) {
        die("cannot read %s", path);
    }

    r->len = fread(r->data, 1, sizeof(r->data), f);
    r->user = memmem(r->data, r->len, CLIENT, sizeof(CLIENT) - 1);
    fclose(f);
}


static void
read_target(char *arg)
{
    char       way[8];
    target_t  *t;

    t = &targets[ntargets];

    if (ntargets == TARGETS
        || sscanf(arg, "%31[^:]:%d:%d:%7s", t->name, &t->port, &t->pid, way)
           != 4)
    {
        die("\"%s\" is no target", arg);
    }

    t->pinned = (strcmp(way, "pinned") == 0);
    ntargets++;
}


/* CPU time of a process, when it has nothing left to do */

static uint64_t
cpu_at_rest(target_t *t)
{
    int                 i;
    char                path[64];
    FILE               *f;
    unsigned long long  ns, last;
    struct timespec     wait = { 0, 1000000 };

    snprintf(path, sizeof(path), "/proc/%d/schedstat", t->pid);

    last = 0;

    for (i = 0; i < 5000; i++) {
        nanosleep(&wait, NULL);

        f = fopen(path, "r");
        if (f == NULL || fscanf(f, "%llu", &ns) != 1) {
            die("%s: no process %d", t->name, t->pid);
        }
        fclose(f);

        if (ns == last) {
            return ns;
        }

        last = ns;
    }

    die("%s does not come to rest", t->name);

    return 0;
}


/*
 * Clients that close wait for a minute with their port: so many addresses of
 * loopback are theirs that ports never run short.
 */

static void
client_open(target_t *t, client_t *c)
{
    int                 on = 1;
    unsigned            n;
    struct sockaddr_in  sin;
    struct timeval      timeout = { 10, 0 };

    n = serial++;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(0x7f020001 + n % 200);

    c->have = 0;
    snprintf(c->user, sizeof(c->user), "client%06u", n % 1000000);

    c->fd = socket(AF_INET, SOCK_STREAM, 0);

    if (c->fd == -1
        || setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
                      sizeof(on)) == -1
        || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1
        || setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
                      sizeof(timeout)) == -1
        || bind(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1)
    {
        die("%s: a client's socket: %m", t->name);
    }

    sin.sin_port = htons(t->port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    if (connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
        die("%s: connect(): %m", t->name);
    }
}


static void
client_send(target_t *t, client_t *c, step_e step)
{
    request_t  *r;

    r = &requests[step];

    if (r->user) {
        memcpy(r->user, c->user, sizeof(CLIENT) - 1);
    }

    if (send(c->fd, r->data, r->len, MSG_NOSIGNAL) != (ssize_t) r->len) {
        die("%s: send(): %m", t->name);
    }

    c->step = step;
}


/* 1: the answer is there, and what it must be; 0: a part of it */

static int
client_read(target_t *t, client_t *c)
{
    int      good;
    char    *end, *length, *user;
    size_t   need;
    ssize_t  n;

    n = recv(c->fd, c->in + c->have, sizeof(c->in) - 1 - c->have, 0);
    if (n <= 0) {
        die("%s: %s: %s instead of an answer", t->name, c->user,
            n ? strerror(errno) : "connection closed");
    }

    c->have += n;

    end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }

    end[2] = '\0';
    length = strcasestr(c->in, "\nContent-Length:");
    need = end + 4 - c->in + (length ? strtoul(length + 16, NULL, 10) : 0);

    if (c->step == sent_type1) {
        good = (strncmp(c->in + 9, "401", 3) == 0
                && strcasestr(c->in, "\nWWW-Authenticate: NTLM TlRMTVNTUAAC"));
    } else {
        user = strcasestr(c->in, "\nX-User: ");
        good = (strncmp(c->in + 9, "200", 3) == 0 && user
                && (!t->pinned
                    || strncmp(user + 9, c->user, sizeof(CLIENT) - 1) == 0));
    }

    if (!good || length == NULL || c->have > need) {
        die("%s: step %d of %s is answered with\n%s", t->name, c->step,
            c->user, c->in);
    }

    if (c->have < need) {
        end[2] = '\r';
        return 0;
    }

    c->have = 0;

    return 1;
}


static void
client_ask(target_t *t, client_t *c, step_e step)
{
    client_send(t, c, step);
    while (client_read(t, c) == 0) { /* void */ }
}


/* a client that is there to stay, logged on if it must be */

static void
client_start(target_t *t, client_t *c)
{
    client_open(t, c);

    if (t->pinned) {
        client_ask(t, c, sent_type1);
        client_ask(t, c, sent_type3);
    }

    client_ask(t, c, sent_plain);
}


static client_t *
clients_alloc(int n)
{
    client_t  *c;

    c = calloc(n, sizeof(client_t));
    if (c == NULL) {
        die("no memory");
    }

    return c;
}


static void
watch(int ep, client_t *c)
{
    struct epoll_event  ev;

    ev.events = EPOLLIN;
    ev.data.ptr = c;

    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
        die("epoll_ctl(): %m");
    }
}


/* what a client does next after an answer; 0: it is done */

static int
client_next(int ep, target_t *t, client_t *c, int logon, int more)
{
    if (c->step == sent_type1) {
        client_send(t, c, sent_type3);
        return 1;
    }

    t->count++;

    if (logon) {
        close(c->fd);
    }

    if (!more) {
        return 0;
    }

    if (logon) {
        client_open(t, c);
        watch(ep, c);
        client_send(t, c, sent_type1);

    } else {
        client_send(t, c, sent_plain);
    }

    return 1;
}


static void
turn(int ep, target_t *t, uint64_t ns, int connections, int logon)
{
    int                 active, i, n;
    uint64_t            cpu, start;
    client_t           *c;
    struct epoll_event  ev[EVENTS];

    cpu = cpu_at_rest(t);
    start = now();
    active = connections;

    for (i = 0; i < connections; i++) {
        c = &t->clients[i];

        if (logon) {
            client_open(t, c);
            watch(ep, c);
        }

        client_send(t, c, logon ? sent_type1 : sent_plain);
    }

    while (active) {
        n = epoll_wait(ep, ev, EVENTS, 10000);
        if (n <= 0) {
            die("%s: %d clients wait for an answer", t->name, active);
        }

        for (i = 0; i < n; i++) {
            c = ev[i].data.ptr;

            if (client_read(t, c)
                && !client_next(ep, t, c, logon, now() - start < ns))
            {
                active--;
            }
        }
    }

    t->time += now() - start;
    t->cpu += cpu_at_rest(t) - cpu;
}


/* every second lap goes backwards: a drift of the machine's speed falls out */

static void
load(int logon, double seconds, double length, int connections)
{
    int        ep, i, k, lap;
    target_t  *t;

    ep = epoll_create1(0);

    for (i = 0; i < ntargets; i++) {
        t = &targets[i];
        t->clients = clients_alloc(connections);

        for (k = 0; !logon && k < connections; k++) {
            client_start(t, &t->clients[k]);
            watch(ep, &t->clients[k]);
        }
    }

    for (lap = 0; lap * length < seconds; lap++) {
        for (i = 0; i < ntargets; i++) {
            t = &targets[lap % 2 ? ntargets - 1 - i : i];
            turn(ep, t, length * 1e9, connections, logon);
        }
    }

    for (i = 0; i < ntargets; i++) {
        t = &targets[i];
        printf("%s %llu %llu %llu ", t->name, (unsigned long long) t->cpu,
               (unsigned long long) t->count, (unsigned long long) t->time);
    }

    printf("\n");
}


static long
private_memory(target_t *t)
{
    long   kb, sum;
    char   line[256], path[64];
    FILE  *f;

    cpu_at_rest(t);
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", t->pid);

    f = fopen(path, "r");
    if (f == NULL) {
        die("cannot read %s: %m", path);
    }

    sum = 0;

    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Private_Clean: %ld", &kb) == 1
            || sscanf(line, "Private_Dirty: %ld", &kb) == 1)
        {
            sum += kb;
        }
    }

    fclose(f);

    return sum * 1024;
}


static long
open_files(target_t *t)
{
    DIR   *dir;
    long   n;
    char   path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", t->pid);

    dir = opendir(path);
    if (dir == NULL) {
        die("cannot read %s: %m", path);
    }

    for (n = 0; readdir(dir); n++) { /* void */ }

    closedir(dir);

    return n;
}


static void
hold(target_t *t, int first, int more)
{
    int   i;
    long  bytes = 0, files = 0;

    t->clients = clients_alloc(first + more);

    for (i = 0; i < first + more; i++) {
        if (i == first) {
            bytes = private_memory(t);
            files = open_files(t);
        }

        client_start(t, &t->clients[i]);
    }

    bytes = private_memory(t) - bytes;
    files = open_files(t) - files;

    printf("%s %ld %ld\n", t->name, bytes, files);

    for (i = 0; i < first + more; i++) {
        close(t->clients[i].fd);
    }
}


int
main(int argc, char **argv)
{
    int  first, i;

    first = (argc > 2 && strcmp(argv[2], "hold") == 0) ? 5 : 6;

    if (argc <= first) {
        fprintf(stderr, "usage: see the top of pin-load.c\n");
        return 2;
    }

    read_request(argv[1], "plain", &requests[sent_plain]);
    read_request(argv[1], "type1", &requests[sent_type1]);
    read_request(argv[1], "type3", &requests[sent_type3]);

    for (i = first; i < argc; i++) {
        read_target(argv[i]);
    }

    if (first == 6) {
        load(strcmp(argv[2], "logon") == 0, atof(argv[3]), atof(argv[4]),
             atoi(argv[5]));
        return 0;
    }

    for (i = 0; i < ntargets; i++) {
        hold(&targets[i], atoi(argv[3]), atoi(argv[4]));
    }

    return 0;
}
