
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_HEALTH_H_INCLUDED_
#define _NGX_MAPI_HEALTH_H_INCLUDED_


#include "ngx_mapi_module.h"

#include "mapi_siphash.h"


#define NGX_MAPI_HEALTH_CODES  8       /* expect= */
#define NGX_MAPI_HEALTH_BODY   64      /* first bytes kept of an answer */
#define NGX_MAPI_HEALTH_READ   8192    /* of an answer looked at */
#define NGX_MAPI_HEALTH_CERTS  16      /* of the listeners */

#define NGX_MAPI_CERT_DIGEST   32      /* SHA-256 */
#define NGX_MAPI_CERT_DAYS     14      /* before its end it is warned of */


typedef struct {
    u_char              digest[NGX_MAPI_CERT_DIGEST];
    time_t              end;           /* 0: no certificate */
} ngx_mapi_cert_t;


/* what a single check found */
typedef enum {
    ngx_mapi_check_none = 0,           /* nothing yet */
    ngx_mapi_check_passed,
    ngx_mapi_check_closed,             /* without an answer: maintenance */
    ngx_mapi_check_wrong,              /* status, body, or no HTTP at all */
    ngx_mapi_check_refused,            /* no connection */
    ngx_mapi_check_silent,             /* no connection or answer in time */
    ngx_mapi_check_tls                 /* handshake or certificate */
} ngx_mapi_check_e;


typedef enum {
    ngx_mapi_verdict_unknown = 0,
    ngx_mapi_verdict_alive,
    ngx_mapi_verdict_draining,
    ngx_mapi_verdict_failing,          /* answers, but wrong */
    ngx_mapi_verdict_dead              /* does not answer */
} ngx_mapi_verdict_e;


/*
 * What is known of an address of a block, in the zone.  The one checking
 * worker writes under the slab pool's mutex; "verdict" alone may be read
 * without it.
 */
typedef struct {
    ngx_queue_t         queue;
    ngx_atomic_t        verdict;

    ngx_mapi_check_e    last;
    ngx_uint_t          run;           /* that many in a row, of this kind */
    ngx_uint_t          bad;           /* and of any kind but passed */
    ngx_uint_t          status;        /* of the last answer, 0: none */
    ngx_msec_t          latency;
    time_t              checked;
    time_t              changed;
    ngx_msec_t          since;         /* the same moment, for who hangs */
    ngx_mapi_cert_t     cert;          /* last one that was seen */
    unsigned            differs:1;     /* from all of the listeners' */
    unsigned            offers:1;      /* NTLM or Negotiate, in a 401 */
    unsigned            warned:1;      /* of both */
    unsigned            ending:1;      /* and of its end */
    u_short             body_len;
    u_char              body[NGX_MAPI_HEALTH_BODY];

    u_short             upstream_len;  /* names: the block's, the address's */
    u_short             name_len;
    u_char              names[1];
} ngx_mapi_health_record_t;


#define NGX_MAPI_DISAGREEMENTS  16
#define NGX_MAPI_DISAGREE_NAME  64     /* bytes kept of a name */


/*
 * The directory and the servers about a database.  Names: the upstream's, the
 * database's, the server by the directory (empty: none of the block's), and
 * the servers' word.
 */
typedef struct {
    uint64_t            key;
    ngx_uint_t          count;
    time_t              last;          /* 0: an empty slot */
    u_char              len[4];
    u_char              names[4][NGX_MAPI_DISAGREE_NAME];
} ngx_mapi_disagreement_t;


#define NGX_MAPI_LEARN_BUCKET  8


/* a place that was learned: see ngx_mapi_learn.c */
struct ngx_mapi_learned_s {
    ngx_atomic_t        number;
    uint64_t            key[3];        /* all zero: empty */
    uint64_t            server;        /* hash of its host */
    uint64_t            said;          /* by the directory, when learned */
    time_t              since;
};


/*
 * To be raised with each change of what lies in the zone and its parts, or of
 * what it means: the structures here, in ngx_mapi_count.h and of the table of
 * sessions, their numbers and hashes.
 */
#define NGX_MAPI_ZONE_LAYOUT  1


struct ngx_mapi_zone_s {
    uint64_t            layout;        /* the first thing, for ever */

    /* rises with every change of a verdict */
    ngx_atomic_t        generation;

    /* the worker that checks, and until when nobody else may */
    ngx_atomic_t        holder;
    ngx_atomic_t        lease;

    ngx_queue_t         health;        /* of ngx_mapi_health_record_t */
    ngx_uint_t          full;          /* and the log says so */

    /* learned locations */
    mapi_siphash_key_t  hash;          /* random, for as long as the zone */
    ngx_mapi_learned_t *learned;       /* slots, in the zone */
    ngx_uint_t          nbuckets;
    ngx_uint_t          nlearned;
    ngx_uint_t          forgotten;

    /* under the slab pool's mutex, but for the rows of live workers */
    ngx_mapi_count_table_t   *counts;
    ngx_mapi_count_base_t    *bases;
    ngx_uint_t                uncounted;     /* had no room here */
    ngx_uint_t                cycle;         /* configurations so far */
    ngx_mapi_disagreement_t  *disagreements; /* NGX_MAPI_..., or NULL */
};


/* mapi_health_check of a block */
struct ngx_mapi_health_s {
    ngx_str_t           uri;
    ngx_str_t           host;          /* empty: the server's own */
    ngx_msec_t          interval;
    ngx_msec_t          timeout;
    ngx_uint_t          fails;
    ngx_uint_t          passes;
    in_port_t           port;          /* 0: the server's own */
    ngx_uint_t          codes[NGX_MAPI_HEALTH_CODES];
    ngx_uint_t          ncodes;
    ngx_str_t           match;
    unsigned            plain:1;
    unsigned            tcp:1;
    unsigned            page:1;        /* something was said of it */
    unsigned            verify:1;
    unsigned            mandatory:1;
    unsigned            avoid:1;       /* mismatch=avoid */

#if (NGX_HTTP_SSL)
    ngx_ssl_t          *ssl;
#endif

    /* of the server blocks that lead here */
    ngx_mapi_cert_t     certs[NGX_MAPI_HEALTH_CERTS];
    ngx_uint_t          ncerts;
    unsigned            incomparable:1;

    /* of this worker */
    ngx_queue_t         targets;       /* while it is the one that checks */
    ngx_event_t         sync;
    ngx_atomic_uint_t   seen;          /* generation of the zone */
    ngx_uint_t          config;        /* and of the peers, with "resolve" */
    ngx_uint_t          all_fail;      /* and the log says so */
    ngx_uint_t          all_drain;
};


/* an address, in the worker that checks */
typedef struct {
    ngx_queue_t                    queue;
    ngx_http_upstream_srv_conf_t  *upstream;
    ngx_mapi_health_t             *health;
    ngx_mapi_health_record_t      *record;

    ngx_event_t                    timer;
    ngx_peer_connection_t          peer;
    ngx_sockaddr_t                 sockaddr;
    socklen_t                      socklen;
    ngx_str_t                      name;
    ngx_str_t                      host;       /* of the server line */
    unsigned                       found:1;    /* still in the block */
    unsigned                       busy:1;     /* a check is under way */
    unsigned                       tls:1;
    unsigned                       sent_all:1;
    unsigned                       hurry:1;    /* was silent, not dead yet */

    ngx_msec_t                     started;
    ngx_msec_t                     latency;    /* of the last that passed */
    u_char                        *send;
    u_char                        *send_last;
    size_t                         received;
    u_char                        *buffer;     /* request, then answer */
} ngx_mapi_health_target_t;


/* one check: ends in ngx_mapi_health_done(), or by abort without a word */
void ngx_mapi_health_start(ngx_mapi_health_target_t *target);
void ngx_mapi_health_abort(ngx_mapi_health_target_t *target);

/*
 * What a check found: status (0: none), first bytes of the body, and the
 * certificate.
 */
void ngx_mapi_health_done(ngx_mapi_health_target_t *target,
    ngx_mapi_check_e check, ngx_uint_t status, u_char *body, size_t len,
    ngx_mapi_cert_t *cert);

/* certificates of listeners and servers, for Extended Protection */
ngx_uint_t ngx_mapi_cert_differs(ngx_mapi_health_t *health,
    ngx_mapi_cert_t *c);
#if (NGX_HTTP_SSL)
ngx_int_t ngx_mapi_cert_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us,
    ngx_mapi_health_t *health);
ngx_int_t ngx_mapi_cert_read(X509 *cert, ngx_mapi_cert_t *c);
#endif

/* a copy of what the zone knows of an address; verdict unknown if nothing */
typedef struct {
    ngx_mapi_verdict_e  verdict;
    ngx_mapi_check_e    last;
    ngx_msec_t          since;
    ngx_uint_t          mismatch;      /* and it matters: see "offers" */
} ngx_mapi_health_view_t;

void ngx_mapi_health_look(ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream,
    ngx_str_t *name, ngx_mapi_health_view_t *view);

/* all of it, but for the names; all zero if nothing is known */
void ngx_mapi_health_copy(ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream,
    ngx_str_t *name, ngx_mapi_health_record_t *copy);

ngx_str_t *ngx_mapi_check_word(ngx_mapi_check_e check);
ngx_str_t *ngx_mapi_verdict_word(ngx_mapi_verdict_e verdict);


void ngx_mapi_disagree_init_zone(ngx_slab_pool_t *shpool,
    ngx_mapi_zone_t *zone);
ngx_uint_t ngx_mapi_disagreements(ngx_mapi_main_conf_t *mmcf,
    ngx_mapi_disagreement_t *list);


typedef struct {
    ngx_pid_t           pid;
    time_t              since;
    ngx_uint_t          cycle;         /* less than the zone's: it is leaving */
} ngx_mapi_worker_view_t;

/* the workers that count in the zone; adds to the array */
ngx_int_t ngx_mapi_count_workers(ngx_mapi_main_conf_t *mmcf,
    ngx_array_t *workers);


#endif /* _NGX_MAPI_HEALTH_H_INCLUDED_ */
