
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_pin.h"

#include "mapi_mounted.h"


/*
 * "mapi direct": what a front end of Exchange and the back-end site say to each
 * other.  The request names the mailbox's database in X-DatabaseGuid.  A server
 * that has not mounted it answers 555 and says who has.  If that is a server of
 * the block, the request is repeated there, once; this is the only request that
 * is ever sent twice, for a server that answers so has done nothing with it.
 *
 * The answer is looked at when its headers are complete and before nginx does
 * anything with them: the proxy module's parser is wrapped.  It exchanges
 * itself in the middle of an answer and when nginx begins anew, so the wrapper
 * is put back each time.
 */


#define NGX_MAPI_DIRECT_WRONG_SERVER  555


struct ngx_mapi_direct_s {
    ngx_int_t                (*process_header)(ngx_http_request_t *r);
    ngx_int_t                (*reinit_request)(ngx_http_request_t *r);

    /* of the location, while an attempt ends with the copy in its place */
    ngx_http_upstream_conf_t  *conf;
    ngx_http_upstream_conf_t  *copy;

    ngx_uint_t                 tries;       /* left by what ends */

    unsigned                   told:1;      /* X-DatabaseGuid is ours */
    unsigned                   answered:1;  /* this attempt, so */
    unsigned                   repeated:1;
};


/* what an answer says of the database's place */
typedef struct {
    ngx_str_t                 *mounted;     /* X-DBMountedOnServer */
    unsigned                   twice:1;
    unsigned                   illegal:1;
} ngx_mapi_direct_word_t;


static ngx_int_t ngx_mapi_direct_tell(ngx_mapi_pin_data_t *pd);
static u_char *ngx_mapi_direct_scan(ngx_buf_t *b, ngx_uint_t *guid,
    ngx_uint_t *cafe);
static ngx_int_t ngx_mapi_direct_process_header(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_direct_reinit_request(ngx_http_request_t *r);
static ngx_int_t ngx_mapi_direct_answer(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd);
static void ngx_mapi_direct_read(ngx_http_upstream_t *u,
    ngx_mapi_direct_word_t *word);
static ngx_int_t ngx_mapi_direct_target(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd, ngx_mapi_direct_word_t *word, char **why);
static ngx_int_t ngx_mapi_direct_repeat(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd, ngx_int_t server);
static ngx_int_t ngx_mapi_direct_refuse(ngx_http_request_t *r,
    ngx_mapi_pin_data_t *pd, char *reason, char *why);


ngx_int_t
ngx_mapi_direct_init(ngx_mapi_pin_data_t *pd)
{
    ngx_mapi_direct_t    *d;
    ngx_http_upstream_t  *u;

    d = ngx_pcalloc(pd->request->pool, sizeof(ngx_mapi_direct_t));
    if (d == NULL) {
        return NGX_ERROR;
    }

    pd->direct = d;

    u = pd->request->upstream;

    d->process_header = u->process_header;
    d->reinit_request = u->reinit_request;

    u->process_header = ngx_mapi_direct_process_header;
    u->reinit_request = ngx_mapi_direct_reinit_request;

    if (!pd->ctx->located || u->request_bufs == NULL) {
        return NGX_OK;
    }

    return ngx_mapi_direct_tell(pd);
}


/*
 * The headers go into the request that the proxy module has made, not among
 * those of the client: there an error_page's other location, a mirror or an
 * auth_request would send them too.  What "proxy_set_header" has set stays.
 */

static ngx_int_t
ngx_mapi_direct_tell(ngx_mapi_pin_data_t *pd)
{
    u_char      *p, *start, *end;
    size_t       len;
    ngx_buf_t   *b;
    ngx_uint_t   guid, cafe;

    b = pd->request->upstream->request_bufs->buf;

    end = ngx_mapi_direct_scan(b, &guid, &cafe);

    if (end == NULL || guid) {
        return NGX_OK;
    }

    len = (b->last - b->pos)
          + sizeof("X-DatabaseGuid: " CRLF) - 1 + MAPI_GUID_LEN
          + sizeof("X-IsFromCafe: 1" CRLF) - 1;

    start = ngx_pnalloc(pd->request->pool, len);
    if (start == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(start, b->pos, end - b->pos);

    p = ngx_cpymem(p, "X-DatabaseGuid: ", sizeof("X-DatabaseGuid: ") - 1);
    p = mapi_guid_format(p, &pd->ctx->database_guid);
    p = ngx_cpymem(p, CRLF, sizeof(CRLF) - 1);

    if (!cafe) {
        p = ngx_cpymem(p, "X-IsFromCafe: 1" CRLF,
                       sizeof("X-IsFromCafe: 1" CRLF) - 1);
    }

    p = ngx_cpymem(p, end, b->last - end);

    /* another attempt begins at the buffer's start */

    b->start = start;
    b->pos = start;
    b->last = p;
    b->end = start + len;

    pd->direct->told = 1;

    return NGX_OK;
}


/* the empty line behind the headers, NULL if there is none */

static u_char *
ngx_mapi_direct_scan(ngx_buf_t *b, ngx_uint_t *guid, ngx_uint_t *cafe)
{
    u_char  *p, *eol;

    *guid = 0;
    *cafe = 0;

    for (p = b->pos; /* void */; p = eol + 1) {

        eol = ngx_strlchr(p, b->last, LF);

        if (eol == NULL) {
            return NULL;
        }

        if (eol - p == 1 && *p == CR) {
            return p;
        }

        if ((size_t) (eol - p) >= sizeof("X-DatabaseGuid:")
            && ngx_strncasecmp(p, (u_char *) "X-DatabaseGuid:",
                               sizeof("X-DatabaseGuid:") - 1)
               == 0)
        {
            *guid = 1;
        }

        if ((size_t) (eol - p) >= sizeof("X-IsFromCafe:")
            && ngx_strncasecmp(p, (u_char *) "X-IsFromCafe:",
                               sizeof("X-IsFromCafe:") - 1)
               == 0)
        {
            *cafe = 1;
        }
    }
}


static ngx_int_t
ngx_mapi_direct_process_header(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_mapi_direct_t    *d;
    ngx_http_upstream_t  *u;
    ngx_mapi_pin_data_t  *pd;

    u = r->upstream;
    pd = ngx_mapi_pin_layer(r);
    d = pd->direct;

    u->process_header = d->process_header;

    rc = u->process_header(r);

    d->process_header = u->process_header;
    u->process_header = ngx_mapi_direct_process_header;

    return (rc == NGX_OK) ? ngx_mapi_direct_answer(r, pd) : rc;
}


static ngx_int_t
ngx_mapi_direct_reinit_request(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_mapi_direct_t    *d;
    ngx_http_upstream_t  *u;

    u = r->upstream;
    d = ngx_mapi_pin_layer(r)->direct;

    rc = d->reinit_request(r);

    d->process_header = u->process_header;
    u->process_header = ngx_mapi_direct_process_header;

    return rc;
}


/*
 * The parser's word for a complete answer: NGX_OK lets it pass.  An "invalid
 * header" makes nginx end the attempt, and go on to another one or not, as
 * ngx_mapi_direct_end() says.
 */

static ngx_int_t
ngx_mapi_direct_answer(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd)
{
    char                    *why;
    ngx_int_t                n;
    ngx_mapi_ctx_t          *ctx;
    ngx_mapi_server_t       *servers;
    ngx_mapi_direct_word_t   word;

    ngx_mapi_direct_read(r->upstream, &word);

    if (r->upstream->headers_in.status_n != NGX_MAPI_DIRECT_WRONG_SERVER
        && !word.illegal)
    {
        return NGX_OK;
    }

    ctx = pd->ctx;
    n = ngx_mapi_direct_target(r, pd, &word, &why);

    if (n < 0) {
        ngx_mapi_learn_place(r, ctx, -1);

        return ngx_mapi_direct_refuse(r, pd, n == NGX_DECLINED
                                             ? "ServerNotFound"
                                             : "ServerLocatorError", why);
    }

    ngx_mapi_learn_place(r, ctx, n);

    /*
     * A token belongs to the connection, and to the server, that it was made
     * for.  The client has to log on again, where the request goes by now; it
     * does so on a new connection, on this one it takes itself for logged on.
     */

    if (pd->tainted) {
        r->keepalive = 0;

        return ngx_mapi_direct_refuse(r, pd, "CannotReplayRequest",
                                      "another one has it, and the request "
                                      "carries a logon of its connection");
    }

    if (r->request_body_no_buffering) {
        return ngx_mapi_direct_refuse(r, pd, "CannotReplayRequest",
                                      "another one has it, and the body was "
                                      "not buffered");
    }

    servers = ctx->mscf->servers.elts;

    if (ngx_mapi_server_state(&servers[n]) == mapi_server_offline) {
        return ngx_mapi_direct_refuse(r, pd, "ServerNotFound",
                                      "the one that has it is offline");
    }

    return ngx_mapi_direct_repeat(r, pd, n);
}


static void
ngx_mapi_direct_read(ngx_http_upstream_t *u, ngx_mapi_direct_word_t *word)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    ngx_memzero(word, sizeof(ngx_mapi_direct_word_t));

    for (part = &u->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == sizeof("X-DBMountedOnServer") - 1
                && ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "X-DBMountedOnServer",
                                   sizeof("X-DBMountedOnServer") - 1)
                   == 0)
            {
                word->twice = (word->mounted != NULL);
                word->mounted = &h[i].value;
            }

            if (h[i].key.len == sizeof("X-BEServerException") - 1
                && ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "X-BEServerException",
                                   sizeof("X-BEServerException") - 1)
                   == 0
                && ngx_strlcasestrn(h[i].value.data,
                       h[i].value.data + h[i].value.len,
                       (u_char *) "IllegalCrossServerConnectionException",
                       sizeof("IllegalCrossServerConnectionException") - 2))
            {
                word->illegal = 1;
            }
        }
    }
}


/*
 * The other server of the block that has the database.  NGX_ERROR if the answer
 * does not lead to one, NGX_DECLINED if it is none of the block's: its name
 * opens no connection and teaches nothing.
 */

static ngx_int_t
ngx_mapi_direct_target(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd,
    ngx_mapi_direct_word_t *word, char **why)
{
    ngx_int_t             n;
    ngx_str_t             name;
    mapi_mounted_t        mounted;
    ngx_mapi_srv_conf_t  *mscf;

    if (word->illegal) {
        *why = "it calls that an illegal connection";
        return NGX_ERROR;
    }

    if (pd->direct->repeated) {
        *why = "it is the second one to say so";
        return NGX_ERROR;
    }

    if (!pd->direct->told) {
        *why = "it was not told which one that is";
        return NGX_ERROR;
    }

    if (word->mounted == NULL || word->twice
        || mapi_mounted_parse(&mounted, word->mounted->data,
                              word->mounted->len)
           != MAPI_OK)
    {
        *why = "it does not say who has it";
        return NGX_ERROR;
    }

    if (ngx_memcmp(mounted.database.b, pd->ctx->database_guid.b,
                   sizeof(mounted.database.b))
        != 0)
    {
        *why = "it speaks of another one";
        return NGX_ERROR;
    }

    mscf = pd->ctx->mscf;

    name.len = mounted.server.len;
    name.data = mounted.server.data;

    n = ngx_mapi_learn_named(mscf, &name);

    if (n < 0) {
        *why = "it names a server that is none of the block's";

        if (!mscf->foreign) {
            mscf->foreign = 1;

            ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                          "mapi: a server of upstream \"%V\" says that a "
                          "database is mounted on \"%V\", which is none of "
                          "the block's servers: nothing is learned from that, "
                          "and nothing sent there", &mscf->name, &name);
        }

        return NGX_DECLINED;
    }

    if (n == pd->ctx->server) {
        *why = "it names itself";
        return NGX_ERROR;
    }

    return n;
}


static ngx_int_t
ngx_mapi_direct_repeat(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd,
    ngx_int_t server)
{
    ngx_mapi_ctx_t            *ctx;
    ngx_mapi_direct_t         *d;
    ngx_mapi_server_t         *servers;
    ngx_http_upstream_conf_t  *copy;

    ctx = pd->ctx;
    d = pd->direct;

    copy = ngx_palloc(r->pool, sizeof(ngx_http_upstream_conf_t));
    if (copy == NULL) {
        return NGX_ERROR;
    }

    *copy = *r->upstream->conf;

    copy->next_upstream |= NGX_HTTP_UPSTREAM_FT_INVALID_HEADER
                           |NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT;
    copy->next_upstream_timeout = 0;

    d->copy = copy;
    d->answered = 1;
    d->repeated = 1;

    servers = ctx->mscf->servers.elts;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "mapi: database \"%V\" is not on \"%V\" but on \"%V\", as "
                  "it says: the request is repeated there", &ctx->database,
                  &servers[ctx->server].name, &servers[server].name);

    ctx->server = server;
    ctx->preferred = server;
    ctx->route = ngx_mapi_route_learned;
    ctx->reason = ngx_mapi_reason_learned;
    ctx->bound = 1;

    return NGX_HTTP_UPSTREAM_INVALID_HEADER;
}


/* nginx's 502, which becomes 503 in the header filter */

static ngx_int_t
ngx_mapi_direct_refuse(ngx_http_request_t *r, ngx_mapi_pin_data_t *pd,
    char *reason, char *why)
{
    ngx_mapi_ctx_t     *ctx;
    ngx_mapi_server_t  *servers;

    ctx = pd->ctx;
    servers = ctx->mscf->servers.elts;

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "mapi: server \"%V\" refuses database \"%V\": %s",
                  &servers[ctx->server].name, &ctx->database, why);

    ctx->cas_error = reason;
    pd->direct->answered = 1;

    return NGX_HTTP_UPSTREAM_INVALID_HEADER;
}


void
ngx_mapi_direct_begin(ngx_mapi_pin_data_t *pd)
{
    ngx_mapi_direct_t          *d;
    ngx_http_request_t         *r;
    ngx_http_upstream_state_t  *state;

    d = pd->direct;
    r = pd->request;

    if (d->conf == NULL) {
        return;
    }

    r->upstream->conf = d->conf;
    d->conf = NULL;

    /* nginx has noted 502 for the attempt before this one */

    if (r->upstream_states->nelts > 1) {
        state = r->upstream_states->elts;
        state[r->upstream_states->nelts - 2].status =
                                              NGX_MAPI_DIRECT_WRONG_SERVER;
    }
}


/* the connection is as good as after any other answer, if all of it was read */

ngx_uint_t
ngx_mapi_direct_answered(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_http_upstream_t  *u;

    u = pd->request->upstream;

    if (!pd->direct->answered) {
        return 0;
    }

    pd->direct->tries = pd->pin ? pd->tries : pc->tries;

    if (u->buffer.pos != u->buffer.last) {
        u->keepalive = 0;
    }

    return 1;
}


/*
 * Everything inside has ended the attempt and seen u->conf as it is.  nginx
 * looks at the tries and at u->conf next, and then asks for a peer or gives up.
 */

void
ngx_mapi_direct_end(ngx_mapi_pin_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_mapi_direct_t    *d;
    ngx_http_upstream_t  *u;

    d = pd->direct;
    u = pd->request->upstream;

    if (!d->answered) {
        return;
    }

    d->answered = 0;

    if (d->copy == NULL) {
        pc->tries = 0;
        return;
    }

    /* a pin of the client to the other server may take it */

    pd->retried = 0;

    pc->tries = ngx_max(d->tries, 2) - 1;

    d->conf = u->conf;
    u->conf = d->copy;
    d->copy = NULL;
}
