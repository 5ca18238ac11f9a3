
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_SESSION_TABLE_H_INCLUDED_
#define _MAPI_SESSION_TABLE_H_INCLUDED_


#include "mapi_session.h"


/*
 * Session contexts that servers have opened, in one block of memory: a fixed
 * number of entries of a fixed size, found by a hash, in the order of their
 * last use, to some seconds.  The block holds no address, so that processes may
 * map it where they like.
 *
 * The caller has a lock while it is in here.  If the process that had it died
 * in the middle of a change, the next call finds out and empties the table: no
 * walk is longer than the table and no index is followed unchecked.
 */


/* an operation under way keeps its session that long, in milliseconds */
#define MAPI_SESSION_ACTIVE_MAX  3600000


typedef enum {
    mapi_session_by_timeout = 0,
    mapi_session_by_client,            /* Disconnect, Unbind */
    mapi_session_by_connect,           /* another one took its place */
    mapi_session_by_failure,           /* the opening failed in the end */
    mapi_session_by_space,             /* longest idle in a full table */
    mapi_session_by_damage,            /* a process died in here */
    mapi_session_reasons
} mapi_session_reason_e;


typedef struct {
    uint64_t            now;           /* milliseconds, a steady clock */
    int64_t             wall;          /* milliseconds since 1970 */
    uint64_t            timeout;       /* milliseconds of idleness */
} mapi_session_clock_t;


typedef struct {
    uint64_t            room;          /* entries that there are */
    uint64_t            count;         /* sessions now */
    uint64_t            opened;
    uint64_t            ended[mapi_session_reasons];
    uint64_t            waits;         /* for the lock, see the caller */
} mapi_session_totals_t;


typedef struct mapi_session_table_s  mapi_session_table_t;


/* an empty table at the start of the block, NULL if it is too small */
mapi_session_table_t *mapi_session_table_init(void *block, size_t size);

/*
 * A server has opened a session, or repeats that it has.  Where there is no
 * room the session that was idle for longest goes.
 */
void mapi_session_table_open(mapi_session_table_t *t,
    const mapi_session_key_t *key, const mapi_session_who_t *who,
    const mapi_session_clock_t *clock);

/*
 * May be called without the lock, with some work in between and before it is
 * taken: each asks ahead for the memory that the next one, and then the lookup,
 * will read, so that nobody waits for it and the lock is held for less.  What
 * they read may be changing and decides nothing.
 */
void mapi_session_table_warm_bucket(mapi_session_table_t *t,
    const mapi_session_key_t *key);
void mapi_session_table_warm_entry(mapi_session_table_t *t,
    const mapi_session_key_t *key);
void mapi_session_table_warm_op(mapi_session_table_t *t,
    const mapi_session_key_t *key);

/*
 * Those that look for a session: MAPI_DECLINED if there is none, or it has
 * just ended by timeout.  None of them makes one.
 */
int mapi_session_table_find(mapi_session_table_t *t,
    const mapi_session_key_t *key, const mapi_session_clock_t *clock);
int mapi_session_table_begin(mapi_session_table_t *t,
    const mapi_session_key_t *key, const mapi_session_done_t *op,
    const mapi_session_clock_t *clock);
int mapi_session_table_done(mapi_session_table_t *t,
    const mapi_session_key_t *key, const mapi_session_done_t *op,
    const mapi_session_clock_t *clock);
int mapi_session_table_end(mapi_session_table_t *t,
    const mapi_session_key_t *key, mapi_session_reason_e reason);

/*
 * Looks at no more than limit entries from *pos on, which begins at 0 and
 * moves on.  MAPI_OK: the first session whose owner is one of the two (any, if
 * owner is NULL) was copied.  MAPI_DECLINED: there is none among those;
 * MAPI_ERROR: nor are there more entries.
 */
int mapi_session_table_scan(mapi_session_table_t *t, uint32_t *pos,
    uint32_t limit, const uint64_t *owner, const mapi_session_clock_t *clock,
    mapi_session_t *copy);

/* adds what this table has to the totals */
void mapi_session_table_totals(mapi_session_table_t *t,
    const mapi_session_clock_t *clock, mapi_session_totals_t *totals);

/* the caller had to wait for its lock */
void mapi_session_table_waited(mapi_session_table_t *t);


#endif /* _MAPI_SESSION_TABLE_H_INCLUDED_ */
