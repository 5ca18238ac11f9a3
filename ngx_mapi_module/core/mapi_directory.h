
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_H_INCLUDED_
#define _MAPI_DIRECTORY_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_guid.h"
#include "mapi_identity.h"

#include <time.h>


/*
 * The directory as its readers see it: an LMDB environment in a folder,
 * written by mapi-directory (mapi_directory_write.h), read in place.
 *
 * One handle a process and path, whoever asks: LMDB forbids two.  A handle is
 * counted; it belongs to the process that opened it and must not be used
 * after a fork.  Not for threads.
 */

typedef struct mapi_directory_s  mapi_directory_t;


typedef enum {
    mapi_server_active = 0,
    mapi_server_draining,
    mapi_server_offline
} mapi_server_state_e;


/*
 * Views into the map: valid from mapi_directory_begin() to
 * mapi_directory_end(), to be copied by whoever wants them longer.
 */

typedef struct {
    mapi_guid_t  guid;             /* ExchangeGuid */
    mapi_guid_t  database;         /* where the asked-for GUID lives: the
                                      archive's database for an ArchiveGuid */
    unsigned     is_archive:1;     /* found by its ArchiveGuid */
    unsigned     mapi_enabled:1;   /* MapiHttpEnabled: shown, never routes */
    mapi_str_t   smtp;             /* primary address, as imported */
} mapi_mailbox_t;


typedef struct {
    mapi_guid_t  guid;
    mapi_str_t   name;             /* as imported */
    mapi_str_t   server;           /* Name of the mounted server, lower case */
    mapi_str_t   copies;           /* Names in order of preference, lower case,
                                      each ended by a zero byte; the mounted
                                      one is among them if it was listed */
} mapi_database_t;


typedef struct {
    mapi_str_t           name;     /* lower case */
    mapi_str_t           fqdn;     /* lower case; empty if none */
    mapi_str_t           addresses;/* each ended by a zero byte */
    mapi_str_t           version;  /* 15.1.2507.6, or empty */
    mapi_server_state_e  state;    /* at the time given to begin() */
} mapi_server_t;


/*
 * Takes a handle for the path (not terminated), opening nothing yet if that
 * fails: begin() tries again, once a second.  NULL only without memory.
 */
mapi_directory_t *mapi_directory_open(const mapi_str_t *path);
void mapi_directory_close(mapi_directory_t *d);

/*
 * Begins (renews) the handle's one read transaction; a second begin before
 * end() nests and sees the same state.  Once a second, by "now", it looks
 * whether the folder has been replaced, and reopens.  No allocation and no
 * system call otherwise.
 * MAPI_OK; MAPI_DECLINED when no usable directory is there: error() says why
 * in one sentence for an administrator, with the command that mends it.
 * A directory that fails its check never replaces one that works and still
 * exists.
 */
int mapi_directory_begin(mapi_directory_t *d, time_t now);
void mapi_directory_end(mapi_directory_t *d);

/* changes with every commit and every reopening; valid after begin */
uint64_t mapi_directory_generation(mapi_directory_t *d);

/* why it is not usable, or why a newer one was refused; "" if all is well.
 * Changes only when there is something new to say: log it when
 * mapi_directory_error_count() has changed */
const char *mapi_directory_error(mapi_directory_t *d);
unsigned mapi_directory_error_count(mapi_directory_t *d);

/*
 * Finds the mailbox of an identity: guid by ExchangeGuid or ArchiveGuid, smtp
 * by address, upn by UserPrincipalName and then by address, account by
 * domain\user, and then by the bare user of records that name no domain.
 * MAPI_OK, MAPI_DECLINED if unknown or ambiguous, MAPI_ERROR if the file is
 * broken (treated like unknown by callers; error() tells).
 */
int mapi_directory_mailbox(mapi_directory_t *d, const mapi_identity_t *id,
    mapi_mailbox_t *mailbox);

/*
 * A descriptor of the file that is open now, which the caller closes; -1 if
 * there is none.
 */
int mapi_directory_file(mapi_directory_t *d);

/*
 * Asks ahead for what mapi_directory_mailbox() will read of a GUID, so that
 * it need not wait for it: first, then after some other work again, then
 * after some more the lookup, for which smtp tells whether the address will
 * be read.  No transaction is needed.
 */
void mapi_directory_warm(mapi_directory_t *d, const mapi_identity_t *id);
void mapi_directory_warm_again(mapi_directory_t *d,
    const mapi_identity_t *id, unsigned smtp);

/*
 * What this process remembers of a GUID, without a transaction: where it
 * lives, and the primary address if smtp is given, as a copy.  The caller
 * gives the room in smtp->data and smtp->len.  What is remembered is what
 * begin(), mailbox() and end() would find now: generation() is that of the
 * newest commit.
 * MAPI_OK, or MAPI_DECLINED: only begin() can tell.
 */
int mapi_directory_recall(mapi_directory_t *d, const mapi_identity_t *id,
    time_t now, mapi_guid_t *database, mapi_str_t *smtp);

int mapi_directory_database(mapi_directory_t *d, const mapi_guid_t *guid,
    mapi_database_t *database);

/* by Name, Fqdn or one of the addresses, lower case */
int mapi_directory_server(mapi_directory_t *d, const mapi_str_t *host,
    mapi_server_t *server);

/*
 * This front end itself: *online is 1 unless it was set offline by hand.
 * MAPI_OK, or MAPI_ERROR (and 1) if the file is broken.
 */
int mapi_directory_node(mapi_directory_t *d, unsigned *online);


#endif /* _MAPI_DIRECTORY_H_INCLUDED_ */
