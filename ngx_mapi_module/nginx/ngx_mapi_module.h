
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_MODULE_H_INCLUDED_
#define _NGX_MAPI_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_mapi_compat.h"
#include "ngx_mapi_count.h"

#include "mapi_affinity.h"
#include "mapi_auth.h"
#include "mapi_directory.h"
#include "mapi_identity.h"
#include "mapi_log_row.h"
#include "mapi_rendezvous.h"
#include "mapi_request.h"
#include "mapi_session.h"

#include "ngx_mapi_log_file.h"


/* servers of one upstream block, addresses among which a request may retry */
#define NGX_MAPI_SERVERS_MAX  256
#define NGX_MAPI_PEERS_MAX    256

/* a worker's memory of databases: slots, longest name shown, copies kept (as
 * many as a DAG has members) */
#define NGX_MAPI_PLACES         512
#define NGX_MAPI_DATABASE_MAX   128
#define NGX_MAPI_COPIES_MAX     16

/* marks of ours in a peer's "down", beside the configuration's own */
#define NGX_MAPI_PEER_DEAD    0x10
#define NGX_MAPI_PEER_DRAIN   0x20
#define NGX_MAPI_PEER_MARKS   (NGX_MAPI_PEER_DEAD|NGX_MAPI_PEER_DRAIN)

#define ngx_mapi_peer_is_off(peer)                                            \
    ((peer)->down & ~(ngx_uint_t) NGX_MAPI_PEER_MARKS)

/* addresses whose server a worker remembers, of a block */
#define NGX_MAPI_COUNT_ADDRESSES  64

/* longest host name (RFC 1035) */
#define NGX_MAPI_NAME_MAX     255


typedef struct ngx_mapi_zone_s    ngx_mapi_zone_t;
typedef struct ngx_mapi_health_s  ngx_mapi_health_t;
typedef struct ngx_mapi_learned_s ngx_mapi_learned_t;
typedef struct ngx_mapi_loc_conf_s ngx_mapi_loc_conf_t;
typedef struct ngx_mapi_watch_s   ngx_mapi_watch_t;
typedef struct ngx_mapi_sessions_s ngx_mapi_sessions_t;


typedef enum {
    ngx_mapi_mode_off = 0,
    ngx_mapi_mode_on,
    ngx_mapi_mode_observe
} ngx_mapi_mode_e;


typedef enum {
    ngx_mapi_affinity_off = 0,
    ngx_mapi_affinity_on,
    ngx_mapi_affinity_auto
} ngx_mapi_affinity_e;


typedef enum {
    ngx_mapi_headers_off = 0,
    ngx_mapi_headers_on,
    ngx_mapi_headers_full
} ngx_mapi_headers_e;


typedef enum {
    ngx_mapi_forwarded_off = 0,
    ngx_mapi_forwarded_append,
    ngx_mapi_forwarded_replace
} ngx_mapi_forwarded_e;


typedef enum {
    ngx_mapi_upstream_none = 0,      /* no "mapi" in the block */
    ngx_mapi_upstream_router,
    ngx_mapi_upstream_owner,
    ngx_mapi_upstream_direct
} ngx_mapi_upstream_e;


typedef enum {
    ngx_mapi_fallback_any = 0,
    ngx_mapi_fallback_copies,
    ngx_mapi_fallback_none
} ngx_mapi_fallback_e;


typedef enum {
    ngx_mapi_prefer_pinned = 0,
    ngx_mapi_prefer_route
} ngx_mapi_prefer_e;


/* the health page: open, or why not */
typedef enum {
    ngx_mapi_page_open = 0,
    ngx_mapi_page_offline,       /* the node, by hand */
    ngx_mapi_page_dead           /* all servers */
} ngx_mapi_page_e;


/* why a pinned connection was closed */
typedef enum {
    ngx_mapi_pin_by_client = 0,
    ngx_mapi_pin_by_server,
    ngx_mapi_pin_by_idle,        /* mapi_pin idle= */
    ngx_mapi_pin_by_limit,       /* mapi_pin max= */
    ngx_mapi_pin_by_refusal,     /* the logon failed */
    ngx_mapi_pin_by_failure,     /* a request did, or memory */
    ngx_mapi_pin_by_shutdown,
    ngx_mapi_pin_reasons
} ngx_mapi_pin_reason_e;


/* the directory's word, compared with the servers' */
typedef enum {
    ngx_mapi_observed_right = 0,
    ngx_mapi_observed_wrong,
    ngx_mapi_observed_unknown,
    ngx_mapi_observed_kinds
} ngx_mapi_observed_e;


/* what decided; the words are those of $mapi_route */
typedef enum {
    ngx_mapi_route_none = 0,
    ngx_mapi_route_handshake,
    ngx_mapi_route_pinned,
    ngx_mapi_route_learned,
    ngx_mapi_route_directory,
    ngx_mapi_route_affinity,
    ngx_mapi_route_balance
} ngx_mapi_route_e;


/*
 * Why that server, in the order of the rules (docs/directives.md): those from
 * "elsewhere" to "refused" say why a known place was not to be had.
 */
typedef enum {
    ngx_mapi_reason_none = 0,
    ngx_mapi_reason_handshake,   /* rule 1 */
    ngx_mapi_reason_pinned,      /* rule 2 */
    ngx_mapi_reason_learned,     /* rule 3, by the word of a server */
    ngx_mapi_reason_mounted,     /* rule 3, by the directory's */
    ngx_mapi_reason_elsewhere,   /* rule 4: none of the block's servers */
    ngx_mapi_reason_dead,
    ngx_mapi_reason_full,        /* max_conns */
    ngx_mapi_reason_draining,
    ngx_mapi_reason_offline,
    ngx_mapi_reason_down,        /* by the configuration */
    ngx_mapi_reason_refused,     /* this request has tried it */
    ngx_mapi_reason_cookie,      /* rule 5 */
    ngx_mapi_reason_hash,
    ngx_mapi_reason_address      /* hash of the client's */
} ngx_mapi_reason_e;


/* where the name of the mailbox was read */
typedef enum {
    ngx_mapi_source_none = 0,
    ngx_mapi_source_mailbox_id,
    ngx_mapi_source_smtp_address,
    ngx_mapi_source_anchor,      /* X-AnchorMailbox */
    ngx_mapi_source_basic,
    ngx_mapi_source_ntlm
} ngx_mapi_source_e;


/* mapi_page */
typedef enum {
    ngx_mapi_maker_proxy = 0,
    ngx_mapi_maker_local
} ngx_mapi_maker_e;


/* what a GET of an endpoint is answered with, if not by a server */
typedef enum {
    ngx_mapi_show_none = 0,
    ngx_mapi_show_page,          /* as Exchange */
    ngx_mapi_show_debug,
    ngx_mapi_show_json
} ngx_mapi_show_e;


/*
 * A server of an upstream block: the host of its "server" line.  What the
 * directory says of it is refreshed by each worker for itself.
 */
typedef struct {
    ngx_str_t                  line;      /* as the peers carry it */
    mapi_server_state_e        state;
    unsigned                   backup:1;
    unsigned                   down:1;
    unsigned                   draining:1; /* by its health page */
    ngx_mapi_count_row_t      *count;     /* of this worker */
    ngx_str_t                  name;      /* Fqdn, or host: shown and hashed */

    ngx_uint_t                 weight;
    ngx_str_t                  host;      /* lower case, without port */
    ngx_uint_t                 known;     /* to the directory */
    ngx_str_t                  short_name;/* Name in the directory, or empty */
    mapi_log_version_t         version;   /* all zero: unknown */
    u_char                    *name_buf;  /* 2 * NGX_MAPI_NAME_MAX */
    uint64_t                   hash;      /* of host, with the zone's key */
} ngx_mapi_server_t;


typedef struct {
    /* what every request asks for stands in front */

    ngx_int_t                  ctx_index; /* the variable that keeps the ctx */
    ngx_uint_t                 used;      /* some location takes the road */
    mapi_directory_t          *directory; /* this worker's, see locate */
    mapi_affinity_keys_t      *affinity;  /* of this worker, made when used */
    ngx_mapi_zone_t           *zone;
    ngx_mapi_sessions_t       *sessions;  /* NULL without mapi_zone */

    ngx_str_t                  directory_path;
    unsigned                   directory_errors;

    ngx_array_t               *key_files; /* of ngx_str_t */
    u_char                    *keys;
    ngx_uint_t                 nkeys;
    time_t                     lifetime;  /* longest of all locations */

    ngx_uint_t                 pins;      /* some block has pins */
    ngx_uint_t                 checks;    /* some block has active checks */
    ngx_uint_t                 direct;    /* some block is "mapi direct" */

    ngx_mapi_count_row_t      *count;     /* of this worker */
    ngx_uint_t                 cycle;     /* configurations of the zone */

    ngx_shm_zone_t            *shm_zone;  /* mapi_zone */
    size_t                     zone_size; /* with its parts */
    ngx_slab_pool_t           *shpool;

    ngx_msec_t                 session_timeout;
    ngx_str_t                  session_file;  /* where that stands */
    ngx_uint_t                 session_line;

    ngx_array_t                ways;      /* of ngx_mapi_way_t */
    ngx_mapi_loc_conf_t       *status;    /* a location with mapi_status */
    ngx_array_t                logs;      /* of ngx_mapi_log_folder_t * */
} ngx_mapi_main_conf_t;


/*
 * Where a database is mounted, as found in one generation of the directory:
 * databases are few and asked for by every request.  A place is looked for
 * among the keys, which lie close together.
 */
typedef struct {
    mapi_guid_t                guid;
    uint64_t                   generation; /* 0: an empty slot */
} ngx_mapi_place_key_t;

typedef struct {
    ngx_int_t                  known;
    uint64_t                   said;       /* hash of the mounted server */
    size_t                     name_len;
    ngx_uint_t                 ncopies;
    u_char                     name[NGX_MAPI_DATABASE_MAX];
    ngx_int_t                  copies[NGX_MAPI_COPIES_MAX];
} ngx_mapi_place_t;


/* where another method has gone: the row of that address, in this worker */
typedef struct {
    ngx_mapi_count_row_t      *row;       /* NULL: an empty slot */
    ngx_uint_t                 config;    /* of the peers, with "resolve" */
    socklen_t                  socklen;
    ngx_sockaddr_t             sockaddr;
} ngx_mapi_count_address_t;


/* of an upstream block */
typedef struct {
    /* what every request asks for stands in front */

    ngx_mapi_upstream_e        type;
    ngx_mapi_fallback_e        fallback;
    ngx_array_t                servers;   /* of ngx_mapi_server_t */
    ngx_flag_t                 pin;       /* mapi_pin */
    ngx_uint_t                 reject;    /* mapi_unknown_mailbox reject */

    /* of this worker: what the servers' directory fields were made from */
    uint64_t                   generation;
    time_t                     refreshed;
    ngx_mapi_place_key_t      *place_keys;
    ngx_mapi_place_t          *places;    /* NGX_MAPI_PLACES of both */
    ngx_uint_t                 all_fail;  /* and the log says so */

    ngx_mapi_health_t         *health;    /* mapi_health_check, or NULL */
    ngx_http_upstream_init_peer_pt  original_init_peer;
    ngx_str_t                  name;

    ngx_uint_t                 prefer;
    ngx_uint_t                 pin_max;
    ngx_msec_t                 pin_idle;
    uint64_t                   hash;      /* of name, with the zone's key */

    ngx_uint_t                 initialized;
    ngx_uint_t                 peers;     /* the list is nginx's own kind */
    ngx_mapi_count_row_t      *count;     /* of this worker */
    ngx_mapi_count_address_t  *addresses; /* NGX_MAPI_COUNT_ADDRESSES */
    ngx_uint_t                 noticed;   /* of this worker: logged once */

    ngx_queue_t                requests;  /* in flight, if there are checks */
    time_t                     offered;   /* NTLM, Negotiate: last noted */
    ngx_uint_t                 foreign;   /* a target was none of ours, said */
} ngx_mapi_srv_conf_t;


typedef struct {
    ngx_http_regex_t          *regex;
    ngx_http_complex_value_t   replacement;
} ngx_mapi_rule_t;


/* a location that leads to an upstream block, for the checks at the end */
typedef struct {
    ngx_http_core_srv_conf_t      *server;
    ngx_http_upstream_srv_conf_t  *upstream;
    ngx_str_t                      location;
    ngx_http_upstream_conf_t      *conf;
    ngx_uint_t                     road;     /* mapi on */
} ngx_mapi_way_t;


struct ngx_mapi_loc_conf_s {
    /* what every request asks for stands in front */

    /* NULL where the location is not on the road */
    ngx_http_upstream_srv_conf_t  *upstream;

    ngx_uint_t                 mode;
    ngx_mapi_log_folder_t     *log;           /* mapi_log; NULL: off */
    ngx_array_t               *rules;         /* of ngx_mapi_rule_t */
    ngx_uint_t                 headers;       /* mapi_headers */
    ngx_uint_t                 forwarded_for; /* mapi_forwarded_for */
    ngx_uint_t                 introduce;     /* mapi_introduce */
    ngx_str_t                  server_name;   /* mapi_server_name */

    ngx_uint_t                 affinity;
    time_t                     cookie_lifetime;
    ngx_str_t                  cookie_name;
    ngx_str_t                  cookie_tail;   /* behind the value */
    ngx_uint_t                 noticed;       /* of this worker: logged once */

    ngx_str_t                  cookie_path;
    ngx_str_t                  short_name;    /* its first part, upper case */
    ngx_array_t               *debug_allow;   /* of ngx_cidr_t, empty: none */
    ngx_uint_t                 maker;         /* mapi_page */
    ngx_mapi_page_e            page;          /* of this worker: logged last */

    ngx_uint_t                 direct;    /* "mapi" stands in this location */
    ngx_str_t                  file;      /* where "mapi" stands */
    ngx_uint_t                 line;

    ngx_uint_t                 status;    /* mapi_status, and where it stands */
    ngx_str_t                  status_file;
    ngx_uint_t                 status_line;
};


/*
 * What one request knows.  Each step of the road writes its own part.
 * Owned by the request's pool; found again after internal redirects.  Small,
 * so that most requests stay within the first block of their pool.
 *
 * What the answer asks for stands in front, in two lines of the processor's
 * cache: while a server works on a request, the cache forgets the rest.
 */
typedef struct {
    ngx_mapi_srv_conf_t       *mscf;
    ngx_mapi_loc_conf_t       *mlcf;
    ngx_mapi_watch_t          *watch;          /* NULL: nobody wants it */

    /* identify */
    unsigned                   echoes:1;       /* client-request-id is wanted
                                                  back */
    unsigned                   claims:1;       /* X-Forwarded-For, -Port sent */
    unsigned                   walked:1;       /* headers read on this road */
    unsigned                   rewritten:1;    /* by mapi_identity_rule */
    unsigned                   identified:1;
    unsigned                   observe:1;
    unsigned                   refused:1;      /* answered by us */

    /* finish */
    unsigned                   finished:1;     /* its end has been written */
    unsigned                   ended:1;        /* nginx's has been dropped */

    /* locate */
    unsigned                   usable:1;       /* there is a directory */
    unsigned                   offline:1;      /* this node, for its page */
    unsigned                   found:1;        /* it knows the mailbox */
    unsigned                   located:1;      /* and its database's server */

    /* select */
    unsigned                   last_resort:1;  /* nobody passes his check */
    unsigned                   bound:1;        /* to the server: or nobody */

    /* annotate, record */
    unsigned                   session_keyed:1;  /* there is a key */
    unsigned                   session_known:1;  /* to the table, once */
    unsigned                   session_opened:1; /* by this answer */
    unsigned                   session_active:1; /* noted as under way */

    /* forward */
    unsigned                   introduced:1;   /* our own headers are there */
    unsigned                   forwarded:1;    /* X-Forwarded-... is ours */

    uint32_t                   named_until;    /* expiry of the entry below */
    ngx_int_t                  named;          /* by the first entry of a cookie
                                                  that may be sent again, -1 */
    ngx_int_t                  server;         /* index, or -1 */
    ngx_int_t                  preferred;      /* if no pin had a word in it */
    ngx_int_t                  learned;        /* server's index, or -1 */

    ngx_str_t                  cookie;         /* sealed affinity cookie */
    ngx_str_t                  echo;           /* client-request-id */
    ngx_str_t                  request_type;
    u_char                    *activity;       /* the request's GUID */
    ngx_int_t                  asked;          /* last one tried, or -1 */

    /* identify */
    mapi_endpoint_e            endpoint;
    ngx_mapi_source_e          source;
    ngx_mapi_show_e            show;
    mapi_identity_t            identity;
    ngx_str_t                  anchor_header;
    ngx_str_t                  request_id;
    ngx_str_t                  session_cookie; /* a server's, never shown */
    mapi_auth_t                auth;           /* Authorization */
    ngx_array_t               *received;       /* see ngx_mapi_debug.h */

    /* locate */
    mapi_guid_t                mailbox;
    mapi_guid_t                database_guid;
    ngx_str_t                  database;
    ngx_int_t                  known;          /* server's index, or -1 */
    uint64_t                   said;           /* by the directory, as hash */
    ngx_uint_t                 ncopies;
    ngx_int_t                 *copies;         /* servers' indices */

    /* select */
    ngx_mapi_route_e           route;
    ngx_mapi_reason_e          reason;
    char                      *cas_error;      /* of a 503, or NULL */
    mapi_affinity_t           *affinity;       /* opened cookie, or NULL */

    /* the server's address and its place, for the first attempt; or NULL */
    ngx_http_upstream_rr_peer_t  *peer;
    ngx_uint_t                 place;

    /* annotate, record */
    mapi_session_key_t         session;
    ngx_int_t                  session_of;     /* the server in the key */
} ngx_mapi_ctx_t;


/* an address that is counted as in use, and by whom it has to be released */
typedef struct {
    ngx_http_upstream_rr_peers_t  *peers;
    ngx_http_upstream_rr_peer_t   *peer;        /* NULL: none */
} ngx_mapi_hold_t;


/* peers that this request has tried, by their place in the block */
typedef struct {
    uint64_t                   bits[NGX_MAPI_PEERS_MAX / 64];
} ngx_mapi_tried_t;


extern ngx_module_t  ngx_mapi_module;


extern ngx_command_t  ngx_mapi_commands[];


/* configuration */
void *ngx_mapi_create_main_conf(ngx_conf_t *cf);
char *ngx_mapi_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_mapi_create_srv_conf(ngx_conf_t *cf);
void *ngx_mapi_create_loc_conf(ngx_conf_t *cf);
char *ngx_mapi_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);

/* directives, as nginx calls them */
char *ngx_mapi_set_upstream(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_mapi_set_unknown_mailbox(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_mapi_set_directory(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_mapi_set_identity_rule(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_mapi_set_affinity_cookie(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_mapi_set_affinity_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_mapi_set_server_name(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* the block's servers, and whether another balancer stands beside "mapi" */
ngx_int_t ngx_mapi_init_servers(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_srv_conf_t *mscf);
ngx_int_t ngx_mapi_check_balancer(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_srv_conf_t *mscf);

/*
 * Our part of the next explicit upstream block, NULL after the last; i begins
 * at 0.
 */
ngx_mapi_srv_conf_t *ngx_mapi_next_block(ngx_cycle_t *cycle, ngx_uint_t *i,
    ngx_http_upstream_srv_conf_t **us);

/* blocks that have pins, checks or the balancer: those that are counted */
#define ngx_mapi_block_is_ours(mscf)                                          \
    ((mscf)->type != ngx_mapi_upstream_none || (mscf)->pin == 1               \
     || (mscf)->health)

/* the context of the main request, NULL if it is not on the road */
ngx_mapi_ctx_t *ngx_mapi_get_ctx(ngx_http_request_t *r);

/*
 * The same for a request that is about to be balanced in this block: NULL also
 * if it was only observed, or refused and then led here by an error_page.
 */
ngx_mapi_ctx_t *ngx_mapi_road_ctx(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);


/* identify: NGX_OK, an HTTP status to refuse with, or NGX_ERROR */
ngx_int_t ngx_mapi_identify(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/*
 * One walk over the request's headers: takes out what only a front end may
 * set and our own cookie, notes what the steps after it need.  With "observe"
 * nothing is taken out.
 */
ngx_int_t ngx_mapi_headers_init(ngx_log_t *log);
ngx_int_t ngx_mapi_read_headers(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* of a refused request, whose headers stay as they came: the client's id */
void ngx_mapi_read_echo(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/*
 * Takes element i of a part out of the request's list of headers; the element
 * itself stays where it is, and prev is the part before.  NGX_DONE if the part
 * went with its only element: *partp is then the next one.
 */
ngx_int_t ngx_mapi_unlink_header(ngx_http_request_t *r,
    ngx_list_part_t **partp, ngx_list_part_t *prev, ngx_uint_t i);

/* the first header of that name, in a server's answer too; NULL if none */
ngx_str_t *ngx_mapi_request_header(ngx_http_request_t *r, char *name);
ngx_str_t *ngx_mapi_answer_header(ngx_http_request_t *r, char *name);

/* the request's Authorization; all zero if there is none */
void ngx_mapi_read_auth(ngx_http_request_t *r, mapi_auth_t *auth);

/* asks ahead for the directory's pages, with some work in between */
void ngx_mapi_locate_warm(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
void ngx_mapi_locate_warm_again(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* locate: fills the directory's part of ctx; never fails the request */
void ngx_mapi_locate(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/*
 * Begins the one transaction of this worker's directory, which ends by
 * mapi_directory_end(); NULL if there is no directory that can be used.
 */
mapi_directory_t *ngx_mapi_directory(ngx_mapi_main_conf_t *mmcf,
    ngx_log_t *log);

/* what status shows of the directory; texts are the request's copies */
typedef struct {
    ngx_str_t                  path;          /* empty: there is none */
    ngx_str_t                  error;
    unsigned                   usable;
    unsigned                   online;        /* this node */
    uint64_t                   generation;    /* as this worker counts */
    uint64_t                   commit;        /* number of the last one */
} ngx_mapi_directory_view_t;

/* also brings what is known of the servers of all blocks up to date */
ngx_int_t ngx_mapi_locate_view(ngx_http_request_t *r,
    ngx_mapi_directory_view_t *view);

ngx_int_t ngx_mapi_locate_init_process(ngx_cycle_t *cycle);
void ngx_mapi_locate_exit_process(ngx_cycle_t *cycle);

/* ahead: a thread of one worker reads the directory's file */
void ngx_mapi_ahead_init_process(ngx_cycle_t *cycle);

/*
 * select: writes route and server.  Pure otherwise: counts nothing,
 * holds the peers' read lock only while it looks.  tried may be NULL.
 * NGX_OK, or NGX_BUSY when no server may serve the request (server is -1).
 */
ngx_int_t ngx_mapi_select(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_mapi_tried_t *tried);

/* the rule that decided, 1 to 6; 0 if nothing has been selected */
ngx_uint_t ngx_mapi_rule(ngx_mapi_ctx_t *ctx);

/* does a server live?  Not one that is asked only because none passes */
ngx_uint_t ngx_mapi_select_alive(ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us);

/*
 * Name of the selected server, empty if none: the worker's own, which a later
 * commit of the directory may rewrite, so it is asked for when it is needed.
 */
void ngx_mapi_target(ngx_mapi_ctx_t *ctx, ngx_str_t *name);

/* what a server's state comes to: set by hand, or by its health page */
#define ngx_mapi_server_state(server)                                         \
    ((server)->state == mapi_server_active && (server)->draining              \
     ? mapi_server_draining : (server)->state)

/* 1 if the peer may be connected to; failing counts as alive with "any" */
ngx_uint_t ngx_mapi_peer_usable(ngx_http_upstream_rr_peer_t *peer,
    ngx_uint_t any);

/* does a peer carry this server's line?  Without a zone it is the same text */
#define ngx_mapi_peer_is_of(peer, sv)                                         \
    ((peer)->server.len == (sv)->line.len                                     \
     && ((peer)->server.data == (sv)->line.data                               \
         || ngx_memcmp((peer)->server.data, (sv)->line.data,                  \
                       (sv)->line.len)                                        \
            == 0))

/* index of the server whose line a peer carries; -1 if none; hint is a guess */
ngx_int_t ngx_mapi_server_of_peer(ngx_mapi_srv_conf_t *mscf,
    ngx_http_upstream_rr_peer_t *peer, ngx_uint_t hint);

#define ngx_mapi_is_tried(tried, i)                                           \
    ((i) < NGX_MAPI_PEERS_MAX                                                 \
     && ((tried)->bits[(i) / 64] & ((uint64_t) 1 << ((i) % 64))))

#define ngx_mapi_set_tried(tried, i)                                          \
    if ((i) < NGX_MAPI_PEERS_MAX) {                                           \
        (tried)->bits[(i) / 64] |= (uint64_t) 1 << ((i) % 64);                \
    }

#define ngx_mapi_clear_tried(tried, i)                                        \
    if ((i) < NGX_MAPI_PEERS_MAX) {                                           \
        (tried)->bits[(i) / 64] &= ~((uint64_t) 1 << ((i) % 64));             \
    }

/* balancer */
ngx_int_t ngx_mapi_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);

/*
 * Counts a connection that did not come from the balancer, on the peer with
 * this address; max_conns does not refuse it.  NGX_DECLINED if there is no
 * such peer any more or it is down.  Each hold is released once, by whoever
 * has it, in the same request.
 */
ngx_int_t ngx_mapi_hold(ngx_http_upstream_srv_conf_t *us,
    struct sockaddr *sockaddr, socklen_t socklen, ngx_mapi_hold_t *hold);
void ngx_mapi_release(ngx_mapi_hold_t *hold);

/* 1: connect() failed for want of a port here, which is no server's fault */
ngx_uint_t ngx_mapi_is_own_lack(ngx_err_t err, struct sockaddr *sockaddr,
    socklen_t socklen);

/* pin: private connections; installed outside everything */
char *ngx_mapi_set_pin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_mapi_pin_install(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
ngx_int_t ngx_mapi_pin_check(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf);
ngx_int_t ngx_mapi_pin_answer_init(ngx_conf_t *cf);

/* may a client speak HTTP/2 or HTTP/3 to this server?  NULL: to any */
ngx_uint_t ngx_mapi_pin_has_http2(ngx_conf_t *cf,
    ngx_http_core_srv_conf_t *cscf);
void ngx_mapi_pin_exit_process(ngx_cycle_t *cycle);

/*
 * The server that this client's pins make of the one that the rules chose
 * (index or -1), and the route if it is another reason: rules 1 and 2.
 * "usable" tells of each server whether it may be used.
 */
ngx_int_t ngx_mapi_pin_select(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_int_t chosen, u_char *usable);

/* 1 if a pin to this server would take the request, though it is full */
ngx_uint_t ngx_mapi_pin_has(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_http_upstream_srv_conf_t *us, ngx_int_t server);

/* 1 if this client has, or had, pins anywhere */
ngx_uint_t ngx_mapi_pin_may_use(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* the attempt that a link in mscf->requests belongs to */
ngx_peer_connection_t *ngx_mapi_pin_peer_of(ngx_queue_t *q);
ngx_msec_t ngx_mapi_pin_started(ngx_queue_t *q);

/* learn: where databases are, by the word of servers */
ngx_int_t ngx_mapi_learn_init_zone(ngx_slab_pool_t *shpool,
    ngx_mapi_zone_t *zone);
void ngx_mapi_learn_init_process(ngx_cycle_t *cycle);
uint64_t ngx_mapi_learn_said(ngx_mapi_main_conf_t *mmcf, mapi_str_t *server);

/* these two need a zone; ctx->learned is -1 before */
void ngx_mapi_learn_find(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
void ngx_mapi_learn(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* when ctx->learned was learned; 0 if it was not */
time_t ngx_mapi_learn_since(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

void ngx_mapi_learn_compare(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* the index of the block's server with that name, -1 if it is none */
ngx_int_t ngx_mapi_learn_named(ngx_mapi_srv_conf_t *mscf, ngx_str_t *name);

/* the mailbox's database is on that server; -1: forget what was learned */
void ngx_mapi_learn_place(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_int_t server);

void ngx_mapi_learn_exit_process(ngx_cycle_t *cycle);

/* count: see ngx_mapi_count.h; exit is the last thing that counts */
ngx_int_t ngx_mapi_count_init_process(ngx_cycle_t *cycle);
void ngx_mapi_count_exit_process(ngx_cycle_t *cycle);
ngx_mapi_count_row_t *ngx_mapi_count_of_peer(ngx_http_upstream_srv_conf_t *us,
    ngx_peer_connection_t *pc);

/* sums of all workers: NGX_MAPI_COUNTS of them; needs a zone */
void ngx_mapi_count_read(ngx_mapi_main_conf_t *mmcf,
    ngx_mapi_count_row_t *own, ngx_atomic_uint_t *sum);

/* disagree: notes that servers name another server than the directory */
void ngx_mapi_disagree(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_str_t *word);

/* zone, health: active checks, and what they found applied to the peers */
char *ngx_mapi_set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_mapi_zone_init_module(ngx_cycle_t *cycle);
char *ngx_mapi_set_health_check(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_mapi_health_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
ngx_int_t ngx_mapi_health_init_process(ngx_cycle_t *cycle);
void ngx_mapi_health_exit_process(ngx_cycle_t *cycle);
void ngx_mapi_health_apply(ngx_http_upstream_srv_conf_t *us);
ngx_uint_t ngx_mapi_health_all_fail(ngx_mapi_health_t *health);

/* an address has offered NTLM or Negotiate */
void ngx_mapi_health_offers(ngx_http_upstream_srv_conf_t *us, ngx_str_t *name);

/*
 * stick: opens the request's cookie into ctx->affinity; looks which server it
 * named for this mailbox when it came, -1 if none; seals the answer's.
 */
void ngx_mapi_affinity_warm(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
void ngx_mapi_affinity_warm_again(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
void ngx_mapi_affinity_read(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
ngx_int_t ngx_mapi_affinity_named(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
ngx_int_t ngx_mapi_affinity_look(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    uint32_t *expires);
ngx_int_t ngx_mapi_affinity_write(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
ngx_int_t ngx_mapi_affinity_init_keys(ngx_conf_t *cf,
    ngx_mapi_main_conf_t *mmcf);
void ngx_mapi_affinity_exit_process(ngx_cycle_t *cycle);

/* log: the directive; its files are in ngx_mapi_log_file.h */
char *ngx_mapi_set_log(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/*
 * session: a server has been chosen; its answer has begun; the request has
 * ended; the session of a request (NGX_OK with its key, or NGX_DECLINED if the
 * table has none); notes a cookie "name=value" if it is a session's.
 */
void ngx_mapi_session_warm(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
void ngx_mapi_session_answer(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);
void ngx_mapi_session_end(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_int_t code);
ngx_int_t ngx_mapi_session_find(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    mapi_session_key_t *key);
void ngx_mapi_session_note_cookie(ngx_str_t *cookie, u_char *p, u_char *end);
void ngx_mapi_session_exit_process(ngx_cycle_t *cycle);
char *ngx_mapi_set_session_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* page: this request is answered with the health page */
void ngx_mapi_page(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* record: the last step, when the request is over */
ngx_int_t ngx_mapi_record_init(ngx_conf_t *cf);
ngx_uint_t ngx_mapi_record_wanted(ngx_http_request_t *r,
    ngx_mapi_loc_conf_t *mlcf);

/*
 * log: notes what the client says of its request, as long as the processor
 * still has the headers at hand; the request's row.  ctx is NULL if it was
 * refused before the road.  Returns the answer's X-ResponseCode, as
 * ngx_mapi_watch_code() does, if the row had to go through its headers.
 */
#define NGX_MAPI_CODE_UNKNOWN  -2

void ngx_mapi_log_note(ngx_http_request_t *r, ngx_mapi_watch_t *watch);
ngx_int_t ngx_mapi_log_request(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_mapi_log_folder_t *folder);

/* finish: the end of an answer leaves with its last bytes */
void ngx_mapi_finish_init(void);

/* watch: moments and codes, see ngx_mapi_watch.h */
ngx_int_t ngx_mapi_watch_init(ngx_conf_t *cf);

/*
 * forward: what the request to the server says of this front end and of the
 * client.  Called once a server has been selected; a second road, after an
 * internal redirect, finds it done.
 */
void ngx_mapi_forward_init(void);
ngx_int_t ngx_mapi_forward(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/*
 * The request's GUID as text: MAPI_GUID_LEN characters, the same each time, as
 * long as the request; a new one each time without a context.  NULL if there is
 * no memory.
 */
u_char *ngx_mapi_activity_id(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* allow: 1 if this client may see debug pages and status */
char *ngx_mapi_set_debug_allow(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_uint_t ngx_mapi_allowed(ngx_http_request_t *r);

/*
 * The page of an endpoint, by mapi_page and what the query asks for: whether
 * one of ours answers a GET, and if so, that it does.
 */
ngx_mapi_show_e ngx_mapi_endpoint_page_wanted(ngx_http_request_t *r,
    ngx_mapi_ctx_t *ctx);
ngx_int_t ngx_mapi_endpoint_page(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/*
 * Writes a header's value or a query so that it opens no door; NULL if there is
 * nothing in it to be masked.  What there is no room for is cut.
 */
u_char *ngx_mapi_mask(u_char *p, u_char *last, ngx_str_t *value);

/* notes the request's headers as they came, for the debug page */
ngx_int_t ngx_mapi_debug_note(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx);

/* status; check and init are about what cannot be seen any earlier */
char *ngx_mapi_set_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_mapi_status_check(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf);
ngx_int_t ngx_mapi_status_init(ngx_conf_t *cf, ngx_mapi_main_conf_t *mmcf);

/* annotate: the header filter; key and value are not copied */
ngx_int_t ngx_mapi_annotate_init(ngx_conf_t *cf);
ngx_int_t ngx_mapi_add_header(ngx_http_request_t *r, char *key, char *value);

/* adds a header to the answer; key and value last as long as the request */
ngx_int_t ngx_mapi_push_header(ngx_http_request_t *r, ngx_str_t *key,
    ngx_str_t *value);

/*
 * The headers of an answer on the road: mapi_headers, the echo of
 * client-request-id, and what must not leave.  "server": it is a server's, not
 * our own.
 */
ngx_int_t ngx_mapi_diagnose_init(ngx_log_t *log);
ngx_int_t ngx_mapi_diagnose(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx,
    ngx_uint_t server);

/* variables */
ngx_int_t ngx_mapi_add_variables(ngx_conf_t *cf);
ngx_str_t *ngx_mapi_route_name(ngx_mapi_route_e route);
ngx_str_t *ngx_mapi_reason_name(ngx_mapi_reason_e reason);
ngx_str_t *ngx_mapi_anchor_kind(mapi_identity_kind_e kind);

/* check: what "nginx -t" can see in a location on the road; only warns */
void ngx_mapi_check_location(ngx_conf_t *cf);
void ngx_mapi_check_direct(ngx_conf_t *cf);
void ngx_mapi_check_workers(ngx_conf_t *cf);

/* what "nginx -t" cannot see: looks at the first request to a server */
void ngx_mapi_check_request(ngx_http_request_t *r, ngx_uint_t *noticed,
    ngx_uint_t road);


#endif /* _NGX_MAPI_MODULE_H_INCLUDED_ */
