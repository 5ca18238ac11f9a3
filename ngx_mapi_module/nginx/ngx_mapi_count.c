
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_health.h"


/*
 * Counters.  A worker claims a table in the zone at its start and gives it back
 * at its end, when its totals are added to those of the zone.  For one that was
 * killed, whoever claims or reads does that: its gauges vanish with it.
 *
 * Tables and bases are found under the slab pool's mutex; a table's numbers are
 * written by its worker without it.  Memory of tables is used for tables again,
 * so a worker that is taken for dead by mistake spoils numbers and nothing
 * else.
 */

#define NGX_MAPI_COUNT_SEEN  256       /* workers looked at in one go */


typedef struct {
    ngx_pid_t  pid;
    uint64_t   start;
} ngx_mapi_count_worker_t;


static ngx_uint_t ngx_mapi_count_rows(ngx_cycle_t *cycle);
static ngx_mapi_count_table_t *ngx_mapi_count_claim(
    ngx_mapi_main_conf_t *mmcf, ngx_uint_t nrows);
static ngx_mapi_count_table_t *ngx_mapi_count_table(
    ngx_mapi_main_conf_t *mmcf, ngx_uint_t nrows);
static ngx_mapi_count_row_t *ngx_mapi_count_row(ngx_mapi_main_conf_t *mmcf,
    ngx_str_t *upstream, ngx_str_t *line);
static void ngx_mapi_count_bases(ngx_mapi_main_conf_t *mmcf);
static ngx_mapi_count_base_t *ngx_mapi_count_base(ngx_mapi_zone_t *zone,
    uint64_t key);
static void ngx_mapi_count_bury(ngx_mapi_main_conf_t *mmcf);
static void ngx_mapi_count_fold(ngx_mapi_zone_t *zone,
    ngx_mapi_count_table_t *table);
static ngx_uint_t ngx_mapi_count_is_dead(ngx_mapi_count_worker_t *worker);
static ngx_int_t ngx_mapi_count_start(ngx_pid_t pid, uint64_t *start);


ngx_mapi_count_row_t  ngx_mapi_count_none;

/* this worker's */
static ngx_mapi_count_table_t  *ngx_mapi_count_own;


ngx_int_t
ngx_mapi_count_init_process(ngx_cycle_t *cycle)
{
    size_t                         size;
    ngx_str_t                      none;
    ngx_uint_t                     i, j, nrows;
    ngx_mapi_server_t             *servers;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_main_conf_t          *mmcf;
    ngx_mapi_count_table_t        *table;
    ngx_http_upstream_srv_conf_t  *us;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL) {
        return NGX_OK;
    }

    nrows = ngx_mapi_count_rows(cycle);
    table = mmcf->zone ? ngx_mapi_count_claim(mmcf, nrows) : NULL;

    if (table == NULL) {
        size = sizeof(ngx_mapi_count_table_t)
               + nrows * sizeof(ngx_mapi_count_row_t);

        table = ngx_pcalloc(cycle->pool, size);
        if (table == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_mapi_count_own = table;
    ngx_str_null(&none);

    mmcf->count = ngx_mapi_count_row(mmcf, &none, &none);

    for (i = 0; (mscf = ngx_mapi_next_block(cycle, &i, &us)); /* void */ ) {

        if (!ngx_mapi_block_is_ours(mscf)) {
            continue;
        }

        mscf->count = ngx_mapi_count_row(mmcf, &us->host, &none);

        servers = mscf->servers.elts;

        for (j = 0; j < mscf->servers.nelts; j++) {
            servers[j].count = ngx_mapi_count_row(mmcf, &us->host,
                                                  &servers[j].line);
        }
    }

    if (table->pid) {
        ngx_mapi_count_bases(mmcf);
    }

    return NGX_OK;
}


void
ngx_mapi_count_exit_process(ngx_cycle_t *cycle)
{
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || ngx_mapi_count_own == NULL
        || ngx_mapi_count_own->pid == 0)
    {
        return;
    }

    ngx_shmtx_lock(&mmcf->shpool->mutex);
    ngx_mapi_count_fold(mmcf->zone, ngx_mapi_count_own);
    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    ngx_mapi_count_own = NULL;
}


static ngx_uint_t
ngx_mapi_count_rows(ngx_cycle_t *cycle)
{
    ngx_uint_t                     i, n;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_http_upstream_srv_conf_t  *us;

    n = 1;

    for (i = 0; (mscf = ngx_mapi_next_block(cycle, &i, &us)); /* void */ ) {
        if (ngx_mapi_block_is_ours(mscf)) {
            n += 1 + mscf->servers.nelts;
        }
    }

    return n;
}


/* NULL: no room, and that is counted */

static ngx_mapi_count_table_t *
ngx_mapi_count_claim(ngx_mapi_main_conf_t *mmcf, ngx_uint_t nrows)
{
    uint64_t                 start;
    ngx_mapi_count_table_t  *table;

    ngx_mapi_count_bury(mmcf);

    if (ngx_mapi_count_start(ngx_pid, &start) != NGX_OK) {
        start = 0;
    }

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    table = ngx_mapi_count_table(mmcf, nrows);

    if (table) {
        ngx_memzero(table->rows, table->size * sizeof(ngx_mapi_count_row_t));

        table->nrows = 0;
        table->start = start;
        table->since = ngx_time();
        table->cycle = mmcf->cycle;
        table->pid = ngx_pid;

    } else {
        mmcf->zone->uncounted++;
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    return table;
}


/* one that is nobody's, else a new one: counting leaves room for the rest */

static ngx_mapi_count_table_t *
ngx_mapi_count_table(ngx_mapi_main_conf_t *mmcf, ngx_uint_t nrows)
{
    size_t                    size;
    ngx_mapi_zone_t          *zone;
    ngx_mapi_count_table_t   *table, **next;

    zone = mmcf->zone;

    for (table = zone->counts; table; table = table->next) {
        if (table->pid == 0 && table->size >= nrows) {
            return table;
        }
    }

    for (next = &zone->counts; *next; /* void */ ) {
        table = *next;

        if (table->pid == 0) {
            *next = table->next;
            ngx_slab_free_locked(mmcf->shpool, table);

        } else {
            next = &table->next;
        }
    }

    size = offsetof(ngx_mapi_count_table_t, rows)
           + nrows * sizeof(ngx_mapi_count_row_t);

    if (size > mmcf->shpool->pfree * ngx_pagesize / 2) {
        return NULL;
    }

    table = ngx_slab_calloc_locked(mmcf->shpool, size);

    if (table) {
        table->size = nrows;
        table->next = zone->counts;
        ngx_memory_barrier();
        zone->counts = table;
    }

    return table;
}


/* the next row of this worker's table, which has room for all */

static ngx_mapi_count_row_t *
ngx_mapi_count_row(ngx_mapi_main_conf_t *mmcf, ngx_str_t *upstream,
    ngx_str_t *line)
{
    mapi_siphash_t         hash;
    ngx_mapi_count_row_t  *row;

    row = &ngx_mapi_count_own->rows[ngx_mapi_count_own->nrows++];

    if (mmcf->zone) {
        mapi_siphash_init(&hash, &mmcf->zone->hash);
        mapi_siphash_update(&hash, upstream->data, upstream->len);
        mapi_siphash_update(&hash, "\0", 1);
        mapi_siphash_update(&hash, line->data, line->len);

        row->key = mapi_siphash_final(&hash);
    }

    return row;
}


/* where totals go at the end is there from the beginning, or never */

static void
ngx_mapi_count_bases(ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t               i;
    ngx_mapi_zone_t         *zone;
    ngx_mapi_count_row_t    *row;
    ngx_mapi_count_base_t   *base;

    zone = mmcf->zone;

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    for (i = 0; i < ngx_mapi_count_own->nrows; i++) {

        row = &ngx_mapi_count_own->rows[i];

        if (ngx_mapi_count_base(zone, row->key)) {
            continue;
        }

        base = ngx_slab_calloc_locked(mmcf->shpool,
                                      sizeof(ngx_mapi_count_base_t));
        if (base == NULL) {
            zone->uncounted++;
            break;
        }

        base->row.key = row->key;
        base->next = zone->bases;
        ngx_memory_barrier();
        zone->bases = base;
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);
}


static ngx_mapi_count_base_t *
ngx_mapi_count_base(ngx_mapi_zone_t *zone, uint64_t key)
{
    ngx_mapi_count_base_t  *base;

    for (base = zone->bases; base; base = base->next) {
        if (base->row.key == key) {
            return base;
        }
    }

    return NULL;
}


/*
 * Tables of workers that are no more.  Whether they are is a matter of system
 * calls, so it is found out without the mutex.
 */

static void
ngx_mapi_count_bury(ngx_mapi_main_conf_t *mmcf)
{
    ngx_uint_t                i, n;
    ngx_mapi_count_table_t   *table;
    ngx_mapi_count_worker_t   seen[NGX_MAPI_COUNT_SEEN];

    n = 0;

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    for (table = mmcf->zone->counts;
         table && n < NGX_MAPI_COUNT_SEEN;
         table = table->next)
    {
        if (table->pid && table != ngx_mapi_count_own) {
            seen[n].pid = table->pid;
            seen[n].start = table->start;
            n++;
        }
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    for (i = 0; i < n; i++) {

        if (!ngx_mapi_count_is_dead(&seen[i])) {
            continue;
        }

        ngx_shmtx_lock(&mmcf->shpool->mutex);

        for (table = mmcf->zone->counts; table; table = table->next) {
            if (table->pid == seen[i].pid && table->start == seen[i].start
                && table != ngx_mapi_count_own)
            {
                ngx_mapi_count_fold(mmcf->zone, table);
            }
        }

        ngx_shmtx_unlock(&mmcf->shpool->mutex);
    }
}


/* with the mutex held */

static void
ngx_mapi_count_fold(ngx_mapi_zone_t *zone, ngx_mapi_count_table_t *table)
{
    ngx_uint_t              i, j;
    ngx_mapi_count_row_t   *row;
    ngx_mapi_count_base_t  *base;

    for (i = 0; i < table->nrows; i++) {

        row = &table->rows[i];
        base = ngx_mapi_count_base(zone, row->key);

        if (base == NULL) {
            continue;
        }

        for (j = NGX_MAPI_COUNT_GAUGES; j < NGX_MAPI_COUNTS; j++) {
            base->row.n[j] += row->n[j];
            row->n[j] = 0;
        }
    }

    table->pid = 0;
}


/* anything that cannot be found out means that it lives */

static ngx_uint_t
ngx_mapi_count_is_dead(ngx_mapi_count_worker_t *worker)
{
    uint64_t  start;

    if (worker->pid == ngx_pid) {
        /* an own one from before: the number was given out again */
        return 1;
    }

    if (kill(worker->pid, 0) == -1 && ngx_errno == NGX_ESRCH) {
        return 1;
    }

    if (worker->start == 0) {
        return 0;
    }

    switch (ngx_mapi_count_start(worker->pid, &start)) {

    case NGX_OK:
        return start != worker->start;

    case NGX_DECLINED:
        return 1;

    default:
        return 0;
    }
}


/*
 * When a process was started, in a clock of the kernel: with its number that
 * makes it unmistakable.  NGX_DECLINED if it has ended, NGX_ERROR if that
 * cannot be found out: where "hidepid" hides the processes of other users, or
 * /proc is not there, a file that is missing says nothing.
 */

static ngx_int_t
ngx_mapi_count_start(ngx_pid_t pid, uint64_t *start)
{
    u_char      *p, name[64], buf[512];
    ssize_t      n;
    ngx_fd_t     fd;
    ngx_uint_t   field;

    (void) ngx_snprintf(name, sizeof(name), "/proc/%P/stat%Z", pid);

    fd = ngx_open_file(name, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf) - 1);

    (void) ngx_close_file(fd);

    if (n <= 0) {
        return NGX_ERROR;
    }

    buf[n] = '\0';

    /* the name, the second field, may hold anything */

    for (p = buf + n; p > buf && *p != ')'; p--) { /* void */ }

    if (p == buf || p[1] != ' ') {
        return NGX_ERROR;
    }

    p += 2;

    if (*p == 'Z' || *p == 'X') {
        return NGX_DECLINED;
    }

    for (field = 3; field < 22 && *p; p++) {
        field += (*p == ' ');
    }

    if (field < 22) {
        return NGX_ERROR;
    }

    *start = strtoull((char *) p, NULL, 10);

    return NGX_OK;
}


/*
 * Which row an attempt counts in: its pin's, that of the server that was
 * chosen, or that of the address where another method has gone.
 */

ngx_mapi_count_row_t *
ngx_mapi_count_of_peer(ngx_http_upstream_srv_conf_t *us,
    ngx_peer_connection_t *pc)
{
    ngx_int_t                       n;
    ngx_uint_t                      config;
    ngx_mapi_srv_conf_t            *mscf;
    ngx_mapi_server_t              *servers;
    ngx_mapi_count_address_t       *known;
    ngx_http_upstream_rr_peer_t    *peer;
    ngx_http_upstream_rr_peers_t   *peers;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    if (!mscf->peers || pc->sockaddr == NULL
        || pc->socklen > sizeof(ngx_sockaddr_t))
    {
        return &ngx_mapi_count_none;
    }

    /* a worker asks for the same few again and again, without their lock */

    peers = us->peer.data;
    config = ngx_mapi_peers_config(peers);

    known = &mscf->addresses[ngx_crc32_short((u_char *) pc->sockaddr,
                                             pc->socklen)
                             % NGX_MAPI_COUNT_ADDRESSES];

    if (known->row && known->config == config
        && ngx_memn2cmp((u_char *) &known->sockaddr, (u_char *) pc->sockaddr,
                        known->socklen, pc->socklen)
           == 0)
    {
        return known->row;
    }

    servers = mscf->servers.elts;
    n = -1;

    for (peers = us->peer.data; peers && n < 0; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {
            if (ngx_memn2cmp((u_char *) peer->sockaddr,
                             (u_char *) pc->sockaddr,
                             peer->socklen, pc->socklen)
                == 0)
            {
                n = ngx_mapi_server_of_peer(mscf, peer, 0);
                break;
            }
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    if (n < 0) {
        return &ngx_mapi_count_none;
    }

    ngx_memcpy(&known->sockaddr, pc->sockaddr, pc->socklen);
    known->socklen = pc->socklen;
    known->config = config;
    known->row = servers[n].count;

    return known->row;
}


/* what all workers, those that have ended too, have counted in this row */

void
ngx_mapi_count_read(ngx_mapi_main_conf_t *mmcf, ngx_mapi_count_row_t *own,
    ngx_atomic_uint_t *sum)
{
    ngx_uint_t               i, j, hint;
    ngx_mapi_count_row_t    *row;
    ngx_mapi_count_base_t   *base;
    ngx_mapi_count_table_t  *table;

    ngx_memzero(sum, NGX_MAPI_COUNTS * sizeof(ngx_atomic_uint_t));

    if (own->key == 0) {
        return;
    }

    /* with the same configuration it is in the same place */

    hint = own - ngx_mapi_count_own->rows;

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    base = ngx_mapi_count_base(mmcf->zone, own->key);

    for (j = 0; base && j < NGX_MAPI_COUNTS; j++) {
        sum[j] = base->row.n[j];
    }

    for (table = mmcf->zone->counts; table; table = table->next) {

        if (table->pid == 0) {
            continue;
        }

        for (i = 0; i < table->nrows; i++) {

            row = &table->rows[(hint + i) % table->nrows];

            if (row->key == own->key) {
                for (j = 0; j < NGX_MAPI_COUNTS; j++) {
                    sum[j] += row->n[j];
                }

                break;
            }
        }
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    /* a worker that had no room counts for itself */

    for (j = 0; ngx_mapi_count_own->pid == 0 && j < NGX_MAPI_COUNTS; j++) {
        sum[j] += own->n[j];
    }
}


ngx_int_t
ngx_mapi_count_workers(ngx_mapi_main_conf_t *mmcf, ngx_array_t *workers)
{
    ngx_int_t                 rc;
    ngx_mapi_worker_view_t   *worker;
    ngx_mapi_count_table_t   *table;

    rc = NGX_OK;

    ngx_mapi_count_bury(mmcf);

    ngx_shmtx_lock(&mmcf->shpool->mutex);

    for (table = mmcf->zone->counts; table; table = table->next) {

        if (table->pid == 0) {
            continue;
        }

        worker = ngx_array_push(workers);
        if (worker == NULL) {
            rc = NGX_ERROR;
            break;
        }

        worker->pid = table->pid;
        worker->since = table->since;
        worker->cycle = table->cycle;
    }

    ngx_shmtx_unlock(&mmcf->shpool->mutex);

    return rc;
}
