
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_COUNT_H_INCLUDED_
#define _NGX_MAPI_COUNT_H_INCLUDED_


/*
 * What the workers count.  Each has a table of its own, in the zone if there
 * is one, and is the only one that writes it: plain stores, no lock.  A row is
 * of one server of one upstream block, or of a block, or of all.
 *
 * The first numbers of a row are gauges: they end with their worker.  The
 * others are totals, which go on in the zone.
 */

#define NGX_MAPI_COUNT_GAUGES   3
#define NGX_MAPI_COUNTS        15

/* of a server */
#define NGX_MAPI_COUNT_REQUESTS      0       /* in flight, polls among them */
#define NGX_MAPI_COUNT_POLLS         1       /* NotificationWait */
#define NGX_MAPI_COUNT_PINS          2       /* idle or in use; of blocks too */
#define NGX_MAPI_COUNT_ANSWERS       3       /* 2xx to 5xx: four of them */
#define NGX_MAPI_COUNT_UNREACHED     7       /* connections that failed */

/* of a block */
#define NGX_MAPI_COUNT_FIRST_HOP     3       /* answers by the right server */
#define NGX_MAPI_COUNT_SECOND_HOP    4       /* that another has passed on */
#define NGX_MAPI_COUNT_OPENED        5       /* pins */
#define NGX_MAPI_COUNT_FAILED        6       /* handshakes, with a bare 401 */
#define NGX_MAPI_COUNT_REFUSED       7       /* logons that were not kept */
#define NGX_MAPI_COUNT_CLOSED        8       /* pins, by reason: seven */

/* of all: "observe", see ngx_mapi_observed_e */
#define NGX_MAPI_COUNT_OBSERVED      3


typedef struct {
    uint64_t      key;                       /* 0: no row */
    ngx_atomic_t  n[NGX_MAPI_COUNTS];
} ngx_mapi_count_row_t;


typedef struct ngx_mapi_count_table_s  ngx_mapi_count_table_t;
typedef struct ngx_mapi_count_base_s   ngx_mapi_count_base_t;


/* of a worker; lies in the zone, or is its own if there is no room */
struct ngx_mapi_count_table_s {
    ngx_mapi_count_table_t  *next;
    ngx_pid_t                pid;            /* 0: nobody's */
    uint64_t                 start;          /* when the process was, or 0 */
    time_t                   since;
    ngx_uint_t               cycle;
    ngx_uint_t               size;           /* rows there is room for */
    ngx_uint_t               nrows;
    ngx_mapi_count_row_t     rows[1];
};


/* totals of workers that have ended, in the zone */
struct ngx_mapi_count_base_s {
    ngx_mapi_count_base_t   *next;
    ngx_mapi_count_row_t     row;
};


/* rows are there at any time: until a worker has its own, all are this one */
extern ngx_mapi_count_row_t  ngx_mapi_count_none;

#define ngx_mapi_count_add(row, i)  (row)->n[i]++
#define ngx_mapi_count_sub(row, i)  (row)->n[i]--


#endif /* _NGX_MAPI_COUNT_H_INCLUDED_ */
