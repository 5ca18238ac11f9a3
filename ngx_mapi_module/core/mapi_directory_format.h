
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_FORMAT_H_INCLUDED_
#define _MAPI_DIRECTORY_FORMAT_H_INCLUDED_


#include "mapi_directory.h"
#include "mapi_directory_page.h"


/*
 * What the reader and the writer of a directory agree on, and nobody else.
 *
 * Everything is in LMDB's unnamed database: a named one would cost a second
 * search with every transaction.  The first byte of a key is its table; the
 * small tables come first, so that a whole import appends in key order.
 * Numbers are in the machine's order, as LMDB's own.
 */

#define MAPI_DIRECTORY_FORMAT    1
#define MAPI_DIRECTORY_READERS   1024

/* longest name of a database, server or host, without the table's byte */
#define MAPI_DIRECTORY_NAME_MAX  255
#define MAPI_DIRECTORY_KEY_MAX   (1 + MAPI_DIRECTORY_NAME_MAX)

/* longest string in a record */
#define MAPI_DIRECTORY_STR_MAX   0x1fffff


typedef enum {
    mapi_table_meta = 1,       /* no more key: mapi_directory_meta_t */
    mapi_table_database,       /* GUID: a database */
    mapi_table_database_name,  /* lower-case name: its GUID */
    mapi_table_server,         /* lower-case Name: a server */
    mapi_table_host,           /* lower-case Fqdn or address: Names of the
                                  servers that have it, each ended by zero */
    mapi_table_state,          /* lower-case Name: a state set by hand; no
                                  name: that of this front end, if offline */
    mapi_table_mailbox,        /* ExchangeGuid or ArchiveGuid: a mailbox */
    mapi_table_name            /* hash of a name: GUIDs of the mailboxes that
                                  may have it; their records decide */
} mapi_directory_table_e;


typedef struct {
    unsigned char  magic[8];
    uint32_t       format;
    uint32_t       reserved;
    unsigned char  uuid[16];
    uint64_t       created;
    uint64_t       imported;
    uint64_t       mailboxes;
    uint64_t       archives;
    uint64_t       names;
    uint64_t       ambiguous;  /* hashes with more than one mailbox */
    uint64_t       databases;
    uint64_t       servers;
} mapi_directory_meta_t;


#define MAPI_DIRECTORY_MAGIC  "mapidir\n"


/*
 * A record is a byte of flags, what the flags announce, and strings: a byte
 * of kind, the length (7 bits a byte, the lowest first, at most three) and
 * the text.
 *
 * mailbox:   flags, database GUID, archive and archive database GUIDs if it
 *            has one; the primary address comes first.  An alias, the record
 *            of an ArchiveGuid, is the flags and the ExchangeGuid.
 * database:  flags (none yet), strings
 * server:    flags (the state given by the import), strings
 * state:     state, deadline (8 bytes, 0 none), time it was set (8 bytes)
 */

#define MAPI_MAILBOX_ALIAS     0x01
#define MAPI_MAILBOX_ARCHIVE   0x02
#define MAPI_MAILBOX_HTTP_OFF  0x04
#define MAPI_MAILBOX_HTTP_ON   0x08   /* neither: the file did not say */

typedef enum {
    mapi_text_smtp = 1,        /* primary address */
    mapi_text_smtp_upn,        /* primary address and UPN in one */
    mapi_text_address,
    mapi_text_upn,
    mapi_text_account,         /* domain\user or user */
    mapi_text_name,
    mapi_text_server,
    mapi_text_copies,          /* each ended by zero */
    mapi_text_fqdn,
    mapi_text_addresses,       /* each ended by zero */
    mapi_text_version
} mapi_directory_text_e;


/* among the servers' states, so that it is kept by whoever keeps those */
#define MAPI_DIRECTORY_NODE_KEY  ((unsigned char) mapi_table_state)

#define MAPI_STATE_SIZE  17

typedef struct {
    mapi_server_state_e  state;
    int64_t              deadline;
    int64_t              since;
} mapi_directory_state_t;


typedef struct {
    unsigned             flags;
    mapi_guid_t          database;   /* an alias: the ExchangeGuid */
    mapi_guid_t          archive;
    mapi_guid_t          archive_database;
    mapi_str_t           texts;      /* the strings, not yet read */
} mapi_directory_record_t;


/* the three namespaces of mailbox names */
#define MAPI_NAME_SMTP     's'
#define MAPI_NAME_UPN      'u'
#define MAPI_NAME_ACCOUNT  'a'


/* writes table byte and name, lower case; returns the key's length, 0 if the
 * name is empty or too long */
size_t mapi_directory_key(unsigned char *key, mapi_directory_table_e table,
    const mapi_str_t *name);

/* 17 bytes */
size_t mapi_directory_guid_key(unsigned char *key,
    mapi_directory_table_e table, const mapi_guid_t *guid);

/* 9 bytes; the text is lower case */
#define MAPI_DIRECTORY_HASH_KEY  9
uint64_t mapi_directory_hash(unsigned space, const mapi_str_t *text);
size_t mapi_directory_hash_key(unsigned char *key, uint64_t hash);

/* room that a string of n bytes takes at most */
#define mapi_directory_text_size(n)  ((n) + 4)

/* writes one string; returns the end */
unsigned char *mapi_directory_text_put(unsigned char *p, unsigned kind,
    const mapi_str_t *text);

/* takes the next string off *texts.  MAPI_OK, MAPI_DECLINED at the end,
 * MAPI_ERROR if damaged */
int mapi_directory_text_next(mapi_str_t *texts, unsigned *kind,
    mapi_str_t *text);

/* MAPI_OK or MAPI_ERROR */
int mapi_directory_record_read(mapi_directory_record_t *record,
    const mapi_str_t *value);
int mapi_directory_database_read(mapi_database_t *database,
    const mapi_str_t *value);
int mapi_directory_server_read(mapi_server_t *server,
    const mapi_str_t *value);
int mapi_directory_state_read(mapi_directory_state_t *state,
    const mapi_str_t *value);
void mapi_directory_state_write(unsigned char *p,
    const mapi_directory_state_t *state);

/* MAPI_OK, MAPI_DECLINED if of another format, MAPI_ERROR if not ours */
int mapi_directory_meta_read(mapi_directory_meta_t *meta,
    const mapi_str_t *value);

/* the state that counts at that time */
mapi_server_state_e mapi_directory_state_at(
    const mapi_directory_state_t *state, time_t now);

/*
 * 1 if a mailbox's strings hold this name in that namespace.  The text is
 * lower case.
 */
int mapi_directory_has_name(const mapi_str_t *texts, unsigned space,
    const mapi_str_t *text);

/* takes the next zero-ended word off *list: MAPI_OK, MAPI_DECLINED at end */
int mapi_directory_list_next(mapi_str_t *list, mapi_str_t *word);


/*
 * The raw tables of an open handle, between begin and end, for the command.
 */
int mapi_directory_fetch(mapi_directory_t *d, const unsigned char *key,
    size_t len, mapi_str_t *value);
int mapi_directory_walk(mapi_directory_t *d, mapi_directory_table_e table,
    mapi_page_walk_pt call, void *data);
const mapi_page_meta_t *mapi_directory_page_meta(mapi_directory_t *d);


#endif /* _MAPI_DIRECTORY_FORMAT_H_INCLUDED_ */
