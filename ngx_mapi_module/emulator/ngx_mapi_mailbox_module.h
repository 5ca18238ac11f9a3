
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_MAILBOX_MODULE_H_INCLUDED_
#define _NGX_MAPI_MAILBOX_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "mapi_core.h"
#include "mapi_guid.h"
#include "mapi_identity.h"
#include "mapi_request.h"
#include "mapi_directory.h"

#include "ngx_mapi_mailbox_compat.h"


/*
 * The mailbox server emulator: an nginx module that answers MAPI over HTTP
 * as a mailbox server does, for the demo, the tests and rehearsals.
 *
 *   _module.c   directives, configuration, wiring
 *   _request.c  a request's way from its headers to its answer
 *   _place.c    where a mailbox lives, by the emulated server's directory
 *   _zone.c     shared memory: servers, their settings and counters
 *   _session.c  session contexts and their sequence, in shared memory
 *   _cookie.c   the texts of MapiContext and MapiSequence
 *   _answer.c   an answer now, later or in pieces; timers, client aborts
 *   _headers.c  headers and bodies of answers
 *   _payload.c  request types and their binary answers
 *   _page.c     the status page and the health page
 *   _control.c  mapi_mailbox_control
 */


#define NGX_MAPI_MAILBOX_NAME_MAX      128
#define NGX_MAPI_MAILBOX_MACHINE_MAX   63
#define NGX_MAPI_MAILBOX_LAST_MAX      4096
#define NGX_MAPI_MAILBOX_INSTANCE_MAX  40

/* [MS-OXCMAPIHTTP]: a larger request body is response code 9 */
#define NGX_MAPI_MAILBOX_BODY_MAX      268288

/* an answer that takes longer than this is streamed */
#define NGX_MAPI_MAILBOX_QUICK         2000

/* how often a worker looks for events of hanging waits, ms */
#define NGX_MAPI_MAILBOX_POLL          100


/* X-ResponseCode, [MS-OXCMAPIHTTP] 2.2.3.3.3 */
#define NGX_MAPI_CODE_SUCCESS          0
#define NGX_MAPI_CODE_UNKNOWN          1
#define NGX_MAPI_CODE_HEADER           4
#define NGX_MAPI_CODE_REQUEST_TYPE     5
#define NGX_MAPI_CODE_CONTEXT_COOKIE   6
#define NGX_MAPI_CODE_MISSING_HEADER   7
#define NGX_MAPI_CODE_TOO_LARGE        9
#define NGX_MAPI_CODE_NO_CONTEXT       10
#define NGX_MAPI_CODE_MISSING_COOKIE   13
#define NGX_MAPI_CODE_SEQUENCE         15
#define NGX_MAPI_CODES                 19


/* request types: where they exist and what they do to a session context */
#define NGX_MAPI_TYPE_EMSMDB     0x01
#define NGX_MAPI_TYPE_NSPI       0x02
#define NGX_MAPI_TYPE_OPEN       0x04   /* makes a context */
#define NGX_MAPI_TYPE_CLOSE      0x08   /* ends it */
#define NGX_MAPI_TYPE_SEQUENCED  0x10   /* one at a time */
#define NGX_MAPI_TYPE_WAIT       0x20   /* hangs until an event */
#define NGX_MAPI_TYPE_PING       0x40   /* the context may be absent */
#define NGX_MAPI_TYPE_FREE       0x80   /* needs no context */

#define NGX_MAPI_MAILBOX_NTYPES  33


typedef enum {
    ngx_mapi_payload_none = 0,
    ngx_mapi_payload_connect,
    ngx_mapi_payload_execute,
    ngx_mapi_payload_wait,
    ngx_mapi_payload_bind,
    ngx_mapi_payload_unbind,
    ngx_mapi_payload_url,
    ngx_mapi_payload_status
} ngx_mapi_mailbox_payload_e;


typedef struct {
    ngx_str_t                    name;
    ngx_uint_t                   flags;
    ngx_mapi_mailbox_payload_e   payload;
} ngx_mapi_mailbox_type_t;


typedef enum {
    ngx_mapi_health_ok = 0,
    ngx_mapi_health_close,
    ngx_mapi_health_wrong,
    ngx_mapi_health_silent
} ngx_mapi_mailbox_health_e;


/*
 * An emulated server in shared memory.  Numbers are atomics; "last" is
 * guarded by the zone's mutex.  Records are never freed.
 */
typedef struct {
    ngx_queue_t                  queue;

    size_t                       name_len;
    u_char                       name[NGX_MAPI_MAILBOX_NAME_MAX];

    /* settings, by mapi_mailbox_control */
    ngx_atomic_t                 delay;         /* ms */
    ngx_atomic_t                 status;
    ngx_atomic_t                 code;
    ngx_atomic_t                 silent;
    ngx_atomic_t                 close;
    ngx_atomic_t                 health;

    ngx_atomic_t                 requests;
    ngx_atomic_t                 health_checks;
    ngx_atomic_t                 second_hops;
    ngx_atomic_t                 connections;
    ngx_atomic_t                 open;
    ngx_atomic_t                 waiting;
    ngx_atomic_t                 aborted;
    ngx_atomic_t                 types[NGX_MAPI_MAILBOX_NTYPES];
    ngx_atomic_t                 codes[NGX_MAPI_CODES];

    size_t                       last_len;
    u_char                       last[NGX_MAPI_MAILBOX_LAST_MAX];
} ngx_mapi_mailbox_server_t;


/* the root of the zone */
typedef struct {
    ngx_queue_t                  servers;
    ngx_rbtree_t                 sessions;
    ngx_rbtree_node_t            sentinel;
    ngx_queue_t                  lru;           /* last used first */
    ngx_atomic_t                 events;        /* grows: look at the waits */
    uint64_t                     last_id;
    ngx_uint_t                   nsessions;
    ngx_uint_t                   forgotten;     /* for want of memory */
    size_t                       instance_len;
    u_char                       instance[NGX_MAPI_MAILBOX_INSTANCE_MAX];
} ngx_mapi_mailbox_shm_t;


/*
 * The zone as a process sees it.  "waits" and "poll" belong to the worker:
 * after the fork each has its own.
 */
typedef struct {
    ngx_mapi_mailbox_shm_t      *sh;
    ngx_slab_pool_t             *shpool;
    ngx_shm_zone_t              *shm_zone;
    ngx_queue_t                  waits;
    ngx_event_t                  poll;
    ngx_atomic_uint_t            seen;
} ngx_mapi_mailbox_zone_t;


/* one mapi_mailbox_server directive */
typedef struct {
    ngx_str_t                    name;          /* as written */
    ngx_str_t                    machine;       /* NetBIOS name, upper case */
    ngx_uint_t                   owner;
    ngx_uint_t                   basic;
    ngx_str_t                    directory;
    ngx_str_t                    version;       /* 15.2.1544.4 */
    ngx_str_t                    application;   /* Exchange/15.02.1544.004 */
    ngx_msec_t                   pending;
    ngx_msec_t                   wait;
    ngx_msec_t                   idle;
    ngx_shm_zone_t              *shm_zone;

    /* of the worker, set at the first request */
    mapi_directory_t            *handle;
    ngx_uint_t                   errors;
    ngx_mapi_mailbox_server_t   *server;
} ngx_mapi_mailbox_conf_t;


typedef struct {
    ngx_array_t                  servers;   /* of ngx_mapi_mailbox_conf_t * */
} ngx_mapi_mailbox_main_conf_t;


typedef struct {
    ngx_mapi_mailbox_conf_t     *server;
    ngx_flag_t                   control;
} ngx_mapi_mailbox_loc_conf_t;


typedef enum {
    ngx_mapi_place_unknown = 0,    /* no directory, or not in it */
    ngx_mapi_place_here,
    ngx_mapi_place_elsewhere
} ngx_mapi_mailbox_place_e;


typedef struct ngx_mapi_mailbox_ctx_s  ngx_mapi_mailbox_ctx_t;

/* makes the whole answer; what it returns finalizes the request */
typedef ngx_int_t (*ngx_mapi_mailbox_finish_pt)(ngx_mapi_mailbox_ctx_t *ctx);


struct ngx_mapi_mailbox_ctx_s {
    ngx_http_request_t              *request;
    ngx_mapi_mailbox_conf_t         *conf;
    ngx_mapi_mailbox_zone_t         *zone;
    ngx_mapi_mailbox_server_t       *server;

    mapi_endpoint_e                  endpoint;
    const ngx_mapi_mailbox_type_t   *type;

    /* request headers; data is NULL if absent */
    ngx_str_t                        request_type;
    ngx_str_t                        request_id;
    ngx_str_t                        client_info;
    ngx_str_t                        client_application;
    ngx_str_t                        content_type;
    ngx_str_t                        accept;
    ngx_str_t                        cafe;
    ngx_str_t                        context;
    ngx_str_t                        sequence;
    ngx_str_t                       *duplicate;    /* a name */

    mapi_query_t                     query;
    ngx_int_t                        query_rc;
    u_char                          *query_buf;

    /* who asks (Basic), and the digest of it that a session remembers */
    ngx_str_t                        user;
    u_char                           digest[16];

    ngx_mapi_mailbox_place_e         place;
    mapi_guid_t                      mailbox;
    ngx_str_t                        display;
    ngx_str_t                        target;       /* fqdn, lower case */
    ngx_str_t                        machine;      /* where contexts live */

    /* the session context while this request is its own */
    uint64_t                         session;
    ngx_str_t                        new_context;
    ngx_str_t                        new_sequence;
    ngx_uint_t                       events;

    ngx_uint_t                       code;         /* or the HTTP status */
    const char                      *reason;

    ngx_mapi_mailbox_finish_pt       finish;
    ngx_event_t                      timer;
    ngx_queue_t                      queue;        /* in zone->waits */
    ngx_msec_t                       start;
    ngx_msec_t                       end;
    ngx_msec_t                       next;         /* PENDING */
    ngx_chain_t                     *free;
    ngx_chain_t                     *busy;

    unsigned                         active:1;     /* counted in a session */
    unsigned                         sequenced:1;  /* holds its sequence */
    unsigned                         waiting:1;    /* is in zone->waits */
    unsigned                         silent:1;
    unsigned                         stream:1;
    unsigned                         late:1;       /* failure after DONE */
    unsigned                         done:1;
};


extern ngx_module_t  ngx_mapi_mailbox_module;

extern const ngx_mapi_mailbox_type_t
    ngx_mapi_mailbox_types[NGX_MAPI_MAILBOX_NTYPES];


/* request */

ngx_int_t ngx_mapi_mailbox_handler(ngx_http_request_t *r);

/* place */

/*
 * Fills ctx->place, target, machine, mailbox and display from the emulated
 * server's directory.  NGX_OK, also when nothing is known; NGX_ERROR without
 * memory.
 */
ngx_int_t ngx_mapi_mailbox_locate(ngx_mapi_mailbox_ctx_t *ctx,
    const mapi_identity_t *id);

/* the NetBIOS name: the first label, upper case; an IP address whole */
ngx_int_t ngx_mapi_mailbox_machine(ngx_pool_t *pool, const ngx_str_t *name,
    ngx_str_t *machine);

/* zone */

ngx_int_t ngx_mapi_mailbox_init_zone(ngx_shm_zone_t *shm_zone, void *data);

/* the server's record, made when it is not there yet; NULL without memory */
ngx_mapi_mailbox_server_t *ngx_mapi_mailbox_server(
    ngx_mapi_mailbox_conf_t *conf);
void ngx_mapi_mailbox_server_reset(ngx_mapi_mailbox_server_t *server,
    ngx_mapi_mailbox_zone_t *zone);

/* counts the request and its connection, and keeps its headers */
ngx_int_t ngx_mapi_mailbox_count(ngx_mapi_mailbox_ctx_t *ctx);

/* session: each returns a response code and on failure sets ctx->reason */

ngx_uint_t ngx_mapi_mailbox_session_open(ngx_mapi_mailbox_ctx_t *ctx);
ngx_uint_t ngx_mapi_mailbox_session_begin(ngx_mapi_mailbox_ctx_t *ctx);

/* gives back what begin or open took; does nothing the second time */
void ngx_mapi_mailbox_session_end(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_uint_t aborted);

void ngx_mapi_mailbox_session_touch(ngx_mapi_mailbox_ctx_t *ctx);

/*
 * Takes the events of ctx's session: NGX_OK if there were, NGX_AGAIN if not,
 * NGX_DECLINED if the session is gone.
 */
ngx_int_t ngx_mapi_mailbox_session_events(ngx_mapi_mailbox_ctx_t *ctx);

/* an event for all sessions of a mailbox in the zone; how many there were */
ngx_uint_t ngx_mapi_mailbox_session_notify(ngx_mapi_mailbox_zone_t *zone,
    const mapi_guid_t *mailbox);

/* sessions that live on the machine */
ngx_uint_t ngx_mapi_mailbox_session_count(ngx_mapi_mailbox_zone_t *zone,
    const ngx_str_t *machine);

/* cookie */

#define NGX_MAPI_MAILBOX_SEQUENCE_MAX  (NGX_INT_T_LEN + 1 + 8)

typedef struct {
    ngx_str_t                    machine;
    ngx_str_t                    instance;
    uint64_t                     id;
} ngx_mapi_mailbox_context_t;

/*
 * MapiContext: base64 of 30 03 C8, four zero bytes, the scrambled text
 * MACHINE#yyyy-MM-dd HH:mm:ssZ#number, and the context's number as eight
 * bytes, little-endian.  Scrambled: each byte XOR the byte before it as
 * written, the first XOR 0xA5.
 */
ngx_int_t ngx_mapi_mailbox_context_write(ngx_pool_t *pool,
    const ngx_mapi_mailbox_context_t *c, ngx_str_t *value);

/* NGX_OK, NGX_DECLINED if it is no such text, NGX_ERROR without memory */
ngx_int_t ngx_mapi_mailbox_context_read(ngx_pool_t *pool,
    const ngx_str_t *value, ngx_mapi_mailbox_context_t *c);

/* MapiSequence, "<counter>-<base64 of an int32>"; returns the length */
size_t ngx_mapi_mailbox_sequence_write(u_char *buf, ngx_uint_t counter,
    uint32_t random);

/* finds a cookie among all Cookie lines; data is NULL if there is none */
void ngx_mapi_mailbox_cookie_find(ngx_http_request_t *r,
    const ngx_str_t *name, ngx_str_t *value);

/* answer */

/* answers now, later or in pieces; the request must have a reference */
void ngx_mapi_mailbox_answer(ngx_mapi_mailbox_ctx_t *ctx);

/* holds the request without an answer until the client or nginx goes */
void ngx_mapi_mailbox_hold(ngx_mapi_mailbox_ctx_t *ctx);

/* a finish handler: HTTP status ctx->code, empty body */
ngx_int_t ngx_mapi_mailbox_finish_status(ngx_mapi_mailbox_ctx_t *ctx);

/* a finish handler: the protocol's answer by ctx->code */
ngx_int_t ngx_mapi_mailbox_finish_protocol(ngx_mapi_mailbox_ctx_t *ctx);

/* headers */

/* adds a header; the value must live as long as the request */
ngx_int_t ngx_mapi_mailbox_header(ngx_http_request_t *r, const char *name,
    const ngx_str_t *value);

/* all headers of a protocol's answer but the length */
ngx_int_t ngx_mapi_mailbox_protocol_headers(ngx_mapi_mailbox_ctx_t *ctx,
    const char *type, ngx_uint_t code);

/* DONE, the additional headers, the blank line and the payload or the text */
ngx_int_t ngx_mapi_mailbox_done(ngx_mapi_mailbox_ctx_t *ctx, ngx_str_t *text);

/* what an Exchange server says of itself in every answer; nothing for owner */
ngx_int_t ngx_mapi_mailbox_diagnostics(ngx_mapi_mailbox_ctx_t *ctx);

/* sends status, type (NULL: none) and the whole body, which may be empty */
ngx_int_t ngx_mapi_mailbox_send_body(ngx_http_request_t *r,
    ngx_uint_t status, const char *type, ngx_str_t *body);

/* payload: the protocol's binary answer, without the meta tags */
ngx_int_t ngx_mapi_mailbox_payload(ngx_mapi_mailbox_ctx_t *ctx,
    ngx_str_t *payload);

/* page */

ngx_int_t ngx_mapi_mailbox_finish_page(ngx_mapi_mailbox_ctx_t *ctx);
void ngx_mapi_mailbox_health(ngx_mapi_mailbox_ctx_t *ctx);

/* control */

ngx_int_t ngx_mapi_mailbox_control_handler(ngx_http_request_t *r);


#endif /* _NGX_MAPI_MAILBOX_MODULE_H_INCLUDED_ */
