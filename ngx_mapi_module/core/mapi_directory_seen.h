
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_SEEN_H_INCLUDED_
#define _MAPI_DIRECTORY_SEEN_H_INCLUDED_


#include "mapi_guid.h"


/*
 * The mailboxes that a process was asked for lately, for mapi_directory alone:
 * two in a line of the processor's cache.  It begins with 2 MB of lines, one
 * large page, and takes more when they fill up, 8 and then 16 MB.
 */

#define MAPI_SEEN_WAYS       2

/* databases: one after the other, found by the hash of the GUID */
#define MAPI_SEEN_DATABASES  4096

/* in a mailbox's word: the place of its database, and flags */
#define MAPI_SEEN_DATABASE   (MAPI_SEEN_DATABASES - 1)
#define MAPI_SEEN_ARCHIVE    0x40000000
#define MAPI_SEEN_ENABLED    0x80000000


typedef struct {
    mapi_guid_t         asked[MAPI_SEEN_WAYS];
    uint64_t            smtp[MAPI_SEEN_WAYS];      /* 48 bits where in the map,
                                                      16 bits how long */
    uint32_t            database[MAPI_SEEN_WAYS];  /* its place, and flags */
    uint32_t            epoch;
    uint16_t            n;            /* in use, if the epoch is now */
    uint16_t            turn;         /* of the next one that has to go */
} mapi_seen_line_t;


typedef struct mapi_seen_databases_s  mapi_seen_databases_t;


/* all zero remembers nothing; one owner */
typedef struct {
    mapi_seen_line_t       *lines;    /* NULL: none */
    unsigned                bits;     /* how many lines, as a power of two */
    unsigned                n;        /* mailboxes, in this epoch */
    uint32_t                epoch;    /* of the lines that count */
    mapi_seen_databases_t  *databases;
} mapi_directory_seen_t;


/*
 * Forgets all, as after a commit, and makes room if there is none yet.
 * MAPI_ERROR without memory: nothing can be found or put then.
 */
int mapi_directory_seen_forget(mapi_directory_seen_t *s);
void mapi_directory_seen_free(mapi_directory_seen_t *s);

/*
 * The line of a mailbox and its way there, NULL if it is not known.  Valid till
 * the next put().  There must be lines.
 */
mapi_seen_line_t *mapi_directory_seen_find(mapi_directory_seen_t *s,
    const mapi_guid_t *guid, unsigned *way);

/* asks the processor for the line; there must be lines */
void mapi_directory_seen_warm(mapi_directory_seen_t *s,
    const mapi_guid_t *guid);

/*
 * Notes a mailbox that was not found: smtp is as in the line, flags are some of
 * the word.  May take more lines and forget all for it, or have none any more.
 * What cannot be noted is not.
 */
void mapi_directory_seen_put(mapi_directory_seen_t *s, const mapi_guid_t *guid,
    const mapi_guid_t *database, uint64_t smtp, uint32_t flags);

/* the GUID of the database in a mailbox's word, for as long as that is found */
const mapi_guid_t *mapi_directory_seen_database(const mapi_directory_seen_t *s,
    uint32_t word);


#endif /* _MAPI_DIRECTORY_SEEN_H_INCLUDED_ */
