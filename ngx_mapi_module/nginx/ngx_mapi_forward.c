
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"

#include "mapi_log_text.h"

#include <openssl/rand.h>


/*
 * What a front end of Exchange says to a mailbox server besides the request:
 *
 *     X-Forwarded-For: 203.0.113.9,192.0.2.7
 *     X-Forwarded-Port: 50123,50999
 *     X-MSExchangeActivityCtx: V=1.0.0.0;Id=<GUID>;C=;P=
 *     X-SourceCafeServer: front.corp.example
 *
 * The server believes the address behind the last comma, so the last one has
 * to be the peer that we have seen.  They stand in the request's own list of
 * headers, from where the proxy module copies all that "proxy_set_header" does
 * not name: the configuration has the last word.
 *
 * The client's X-Forwarded-For leaves only the list.  nginx's typed slot keeps
 * it, so that $http_x_forwarded_for still says what the client sent, and
 * $proxy_add_x_forwarded_for adds the address to that and not to our value.
 */

#define NGX_MAPI_ACTIVITY_HEAD  "V=1.0.0.0;Id="
#define NGX_MAPI_ACTIVITY_TAIL  ";C=;P="


enum {
    ngx_mapi_forward_for = 0,
    ngx_mapi_forward_port,
    ngx_mapi_forward_claimed,            /* clients may send those before */
    ngx_mapi_forward_activity = ngx_mapi_forward_claimed,
    ngx_mapi_forward_source,
    ngx_mapi_forward_n
};


/* "value" is what the client has sent, joined; what is added comes behind it */

typedef struct {
    ngx_str_t         value[ngx_mapi_forward_claimed];
    ngx_str_t         added[ngx_mapi_forward_claimed];
    u_char            port[sizeof("65535") - 1];
    ngx_uint_t        found;             /* lines of the client */
    unsigned          claims:1;          /* X-Forwarded-... is to be set */
    unsigned          replaces:1;        /* without the client's */
    unsigned          introduces:1;      /* the other two are to be set */
} ngx_mapi_forward_t;


static ngx_str_t  ngx_mapi_forward_names[] = {
    ngx_string("X-Forwarded-For"),
    ngx_string("X-Forwarded-Port"),
    ngx_string("X-MSExchangeActivityCtx"),
    ngx_string("X-SourceCafeServer")
};


static ngx_str_t  ngx_mapi_forward_lowcase[] = {
    ngx_string("x-forwarded-for"),
    ngx_string("x-forwarded-port"),
    ngx_string("x-msexchangeactivityctx"),
    ngx_string("x-sourcecafeserver")
};


/* all but the value; the proxy module looks for them by these hashes */

static ngx_table_elt_t  ngx_mapi_forward_headers[ngx_mapi_forward_n];


static ngx_list_part_t *ngx_mapi_forward_part(ngx_http_request_t *r,
    ngx_mapi_forward_t *f, u_char **textp);
static void ngx_mapi_forward_claims(ngx_list_part_t *part,
    ngx_mapi_forward_t *f);
static void ngx_mapi_forward_introduce(ngx_mapi_ctx_t *ctx,
    ngx_list_part_t *part, u_char *p);
static void ngx_mapi_forward_peer(ngx_http_request_t *r,
    ngx_mapi_forward_t *f);
static ngx_uint_t ngx_mapi_forward_claim(ngx_table_elt_t *h);
static void ngx_mapi_forward_measure(ngx_http_request_t *r,
    ngx_mapi_forward_t *f);
static ngx_int_t ngx_mapi_forward_take(ngx_http_request_t *r,
    ngx_mapi_forward_t *f);
static void ngx_mapi_forward_join(ngx_str_t *value, ngx_str_t *added);
static ngx_table_elt_t *ngx_mapi_forward_push(ngx_list_part_t *part,
    ngx_uint_t n);
static u_char *ngx_mapi_activity_write(u_char *p);
static uint64_t ngx_mapi_activity_mix(uint64_t *state);


/* of this process: a fork seeds its own */

static ngx_pid_t  ngx_mapi_activity_pid;
static uint64_t   ngx_mapi_activity_state[2];


void
ngx_mapi_forward_init(void)
{
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    for (i = 0; i < ngx_mapi_forward_n; i++) {
        h = &ngx_mapi_forward_headers[i];

        h->hash = ngx_hash_key(ngx_mapi_forward_lowcase[i].data,
                               ngx_mapi_forward_lowcase[i].len);
        h->key = ngx_mapi_forward_names[i];
        h->lowcase_key = ngx_mapi_forward_lowcase[i].data;
        ngx_mapi_header_end(h);
    }
}


ngx_int_t
ngx_mapi_forward(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    u_char               *p;
    ngx_list_t           *list;
    ngx_uint_t            introduces, claims;
    ngx_list_part_t      *part;
    ngx_mapi_forward_t    f;
    ngx_mapi_loc_conf_t  *mlcf;

    mlcf = ctx->mlcf;

    introduces = mlcf->introduce && !ctx->introduced;
    claims = !ctx->forwarded && mlcf->forwarded_for != ngx_mapi_forwarded_off;

    if (!introduces && !claims) {
        return NGX_OK;
    }

    ngx_memzero(&f, sizeof(ngx_mapi_forward_t));

    f.introduces = introduces;
    f.claims = claims;
    f.replaces = mlcf->forwarded_for == ngx_mapi_forwarded_replace;

    if (f.claims) {
        ngx_mapi_forward_peer(r, &f);

        if (ctx->claims || !ctx->walked) {
            ngx_mapi_forward_measure(r, &f);
        }
    }

    part = ngx_mapi_forward_part(r, &f, &p);
    if (part == NULL) {
        return NGX_ERROR;
    }

    if (f.found && ngx_mapi_forward_take(r, &f) != NGX_OK) {
        return NGX_ERROR;
    }

    if (f.claims) {
        ngx_mapi_forward_claims(part, &f);
        ctx->forwarded = 1;
    }

    if (f.introduces) {
        ngx_mapi_forward_introduce(ctx, part, p);
        ctx->introduced = 1;
    }

    /* no part but the first may be empty */

    if (part->nelts) {
        list = &r->headers_in.headers;
        list->last->next = part;
        list->last = part;
        list->nalloc = part->nelts;
    }

    return NGX_OK;
}


/*
 * One allocation holds a part of the list with the elements, and their text;
 * textp is where the room for the activity begins, behind the claims.  The
 * part will count as full: whoever pushes next makes one of his own.
 */

static ngx_list_part_t *
ngx_mapi_forward_part(ngx_http_request_t *r, ngx_mapi_forward_t *f,
    u_char **textp)
{
    u_char           *p;
    size_t            size;
    ngx_uint_t        i;
    ngx_list_part_t  *part;

    size = sizeof(ngx_list_part_t)
           + ngx_mapi_forward_n * sizeof(ngx_table_elt_t)
           + sizeof(NGX_MAPI_ACTIVITY_HEAD) - 1 + MAPI_GUID_LEN
           + sizeof(NGX_MAPI_ACTIVITY_TAIL);

    for (i = 0; i < ngx_mapi_forward_claimed; i++) {
        size += f->value[i].len + f->added[i].len + sizeof(",");
    }

    part = ngx_palloc(r->pool, size);
    if (part == NULL) {
        return NULL;
    }

    part->elts = part + 1;
    part->nelts = 0;
    part->next = NULL;

    p = (u_char *) part->elts + ngx_mapi_forward_n * sizeof(ngx_table_elt_t);

    for (i = 0; i < ngx_mapi_forward_claimed; i++) {
        f->value[i].data = p;
        p += f->value[i].len + f->added[i].len + sizeof(",");
    }

    *textp = p;

    return part;
}


static void
ngx_mapi_forward_claims(ngx_list_part_t *part, ngx_mapi_forward_t *f)
{
    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    for (i = 0; i < ngx_mapi_forward_claimed; i++) {

        value = &f->value[i];

        if (f->replaces) {
            value->len = 0;
        }

        if (value->len + f->added[i].len == 0) {
            continue;
        }

        ngx_mapi_forward_join(value, &f->added[i]);

        h = ngx_mapi_forward_push(part, i);
        h->value = *value;
    }
}


static void
ngx_mapi_forward_introduce(ngx_mapi_ctx_t *ctx, ngx_list_part_t *part,
    u_char *p)
{
    ngx_table_elt_t  *h;

    h = ngx_mapi_forward_push(part, ngx_mapi_forward_activity);
    h->value.data = p;

    p = ngx_cpymem(p, NGX_MAPI_ACTIVITY_HEAD,
                   sizeof(NGX_MAPI_ACTIVITY_HEAD) - 1);

    if (ctx->activity) {
        p = ngx_cpymem(p, ctx->activity, MAPI_GUID_LEN);

    } else {
        ctx->activity = p;
        p = ngx_mapi_activity_write(p);
    }

    p = ngx_cpymem(p, NGX_MAPI_ACTIVITY_TAIL, sizeof(NGX_MAPI_ACTIVITY_TAIL));

    h->value.len = p - 1 - h->value.data;

    h = ngx_mapi_forward_push(part, ngx_mapi_forward_source);
    h->value = ctx->mlcf->server_name;
}


/*
 * A peer on a Unix socket has no address, and one that realip has put there may
 * have no port.  In both cases the sender is trusted by the configuration, and
 * what it says is left as it is.
 */

static void
ngx_mapi_forward_peer(ngx_http_request_t *r, ngx_mapi_forward_t *f)
{
    in_port_t          port;
    ngx_connection_t  *c;

    c = r->connection;

#if (NGX_HAVE_UNIX_DOMAIN)
    if (c->sockaddr->sa_family == AF_UNIX) {
        return;
    }
#endif

    f->added[ngx_mapi_forward_for] = c->addr_text;

    port = ngx_inet_get_port(c->sockaddr);

    if (port) {
        f->added[ngx_mapi_forward_port].data = f->port;
        f->added[ngx_mapi_forward_port].len =
            mapi_log_number(f->port, port) - f->port;
    }
}


/* which of the two a header is, or neither; "_" is "-" to IIS */

static ngx_uint_t
ngx_mapi_forward_claim(ngx_table_elt_t *h)
{
    u_char      c;
    size_t      j;
    ngx_str_t  *name;

    if (h->key.len == sizeof("X-Forwarded-For") - 1) {
        name = &ngx_mapi_forward_lowcase[ngx_mapi_forward_for];

    } else if (h->key.len == sizeof("X-Forwarded-Port") - 1) {
        name = &ngx_mapi_forward_lowcase[ngx_mapi_forward_port];

    } else {
        return ngx_mapi_forward_n;
    }

    for (j = 0; j < name->len; j++) {
        c = h->lowcase_key[j];

        if (c != name->data[j] && (c != '_' || name->data[j] != '-')) {
            return ngx_mapi_forward_n;
        }
    }

    return name - ngx_mapi_forward_lowcase;
}


/*
 * What is written with "_" is no line of theirs and passes no front end, but
 * the server would take it for one: it goes.
 */

#define ngx_mapi_forward_counts(h)                                            \
    ((h)->value.len && (h)->lowcase_key[1] == '-'                             \
     && (h)->lowcase_key[sizeof("X-Forwarded") - 1] == '-')


static void
ngx_mapi_forward_measure(ngx_http_request_t *r, ngx_mapi_forward_t *f)
{
    ngx_uint_t        i, n;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            n = ngx_mapi_forward_claim(&h[i]);

            if (n == ngx_mapi_forward_n) {
                continue;
            }

            f->found++;

            if (ngx_mapi_forward_counts(&h[i])) {
                f->value[n].len += h[i].value.len + 1;
            }
        }
    }
}


/* takes them out of the list; their values are joined, in their order */

static ngx_int_t
ngx_mapi_forward_take(ngx_http_request_t *r, ngx_mapi_forward_t *f)
{
    ngx_int_t         rc;
    ngx_uint_t        i, n;
    ngx_list_part_t  *part, *prev;
    ngx_table_elt_t  *h;

    for (n = 0; n < ngx_mapi_forward_claimed; n++) {
        f->value[n].len = 0;
    }

    prev = NULL;
    part = &r->headers_in.headers.part;

    for (i = 0; part; i++) {

        if (i >= part->nelts) {
            prev = part;
            part = part->next;
            i = (ngx_uint_t) -1;
            continue;
        }

        h = (ngx_table_elt_t *) part->elts + i;
        n = ngx_mapi_forward_claim(h);

        if (n == ngx_mapi_forward_n) {
            continue;
        }

        if (ngx_mapi_forward_counts(h)) {
            ngx_mapi_forward_join(&f->value[n], &h->value);
        }

        rc = ngx_mapi_unlink_header(r, &part, prev, i);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_DONE) {
            i = (ngx_uint_t) -1;
        }
    }

    return NGX_OK;
}


/* ngx_mapi_forward_part() has left the room */

static void
ngx_mapi_forward_join(ngx_str_t *value, ngx_str_t *added)
{
    u_char  *p;

    p = value->data + value->len;

    if (value->len && added->len) {
        *p++ = ',';
    }

    p = ngx_cpymem(p, added->data, added->len);
    *p = '\0';

    value->len = p - value->data;
}


static ngx_table_elt_t *
ngx_mapi_forward_push(ngx_list_part_t *part, ngx_uint_t n)
{
    ngx_table_elt_t  *h;

    h = (ngx_table_elt_t *) part->elts + part->nelts++;

    *h = ngx_mapi_forward_headers[n];

    return h;
}


u_char *
ngx_mapi_activity_id(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    u_char  *p;

    if (ctx && ctx->activity) {
        return ctx->activity;
    }

    p = ngx_pnalloc(r->pool, MAPI_GUID_LEN);
    if (p == NULL) {
        return NULL;
    }

    (void) ngx_mapi_activity_write(p);

    if (ctx) {
        ctx->activity = p;
    }

    return p;
}


/*
 * A random UUID (RFC 9562, 5.4): unique among all nodes, and no secret.  128
 * bits of OpenSSL's seed two counters, which are mixed (splitmix64, Steele,
 * Lea, Flood 2014).
 */

static u_char *
ngx_mapi_activity_write(u_char *p)
{
    mapi_guid_t  guid;
    uint64_t     part[2];

    if (ngx_mapi_activity_pid != ngx_pid) {

        if (RAND_bytes((u_char *) ngx_mapi_activity_state,
                       sizeof(ngx_mapi_activity_state))
            != 1)
        {
            ngx_mapi_activity_state[0] = (uint64_t) ngx_random() << 32
                                         ^ (uint64_t) ngx_pid;
            ngx_mapi_activity_state[1] = (uint64_t) ngx_random() << 32
                                         ^ (uint64_t) ngx_time();
        }

        ngx_mapi_activity_pid = ngx_pid;
    }

    part[0] = ngx_mapi_activity_mix(&ngx_mapi_activity_state[0]);
    part[1] = ngx_mapi_activity_mix(&ngx_mapi_activity_state[1]);

    ngx_memcpy(guid.b, part, sizeof(guid.b));

    guid.b[6] = (guid.b[6] & 0x0f) | 0x40;
    guid.b[8] = (guid.b[8] & 0x3f) | 0x80;

    return mapi_guid_format(p, &guid);
}


static uint64_t
ngx_mapi_activity_mix(uint64_t *state)
{
    uint64_t  z;

    z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;

    return z ^ (z >> 31);
}
