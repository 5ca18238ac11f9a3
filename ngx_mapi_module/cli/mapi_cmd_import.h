
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_CMD_IMPORT_H_INCLUDED_
#define _MAPI_CMD_IMPORT_H_INCLUDED_


#include "mapi_cmd.h"


/* a mailbox between the file and the transaction */

typedef struct {
    unsigned char  *data;             /* the record, without databases */
    uint32_t        line;
    uint32_t        database;         /* number of a name */
    uint32_t        archive_database;
} cmd_mailbox_t;


typedef struct {
    mapi_str_t      name;
    uint32_t        line;             /* where it is used first */
    unsigned        archive;          /* as ArchiveDatabase */
    mapi_guid_t     guid;             /* found in the transaction */
} cmd_name_t;


typedef struct {
    uint32_t        line;
    char            text[700];
} cmd_warning_t;

#define CMD_WARNINGS_MAX  20


typedef struct {
    cmd_options_t                *opt;
    mapi_arena_t                  arena;

    mapi_directory_server_row_t  *servers;
    size_t                        nservers;
    size_t                        room_servers;

    mapi_directory_db_row_t      *databases;
    size_t                        ndatabases;
    size_t                        room_databases;

    cmd_mailbox_t                *mailboxes;
    size_t                        nmailboxes;
    size_t                        room_mailboxes;

    mapi_directory_item_t        *items;
    size_t                        nitems;
    size_t                        room_items;

    cmd_name_t                   *names;   /* of databases in mailboxes */
    size_t                        nnames;
    size_t                        room_names;
    uint32_t                     *slots;   /* hash table: number + 1 */
    size_t                        nslots;

    unsigned char                *scratch;
    size_t                        scratch_size;

    cmd_warning_t                 warnings[CMD_WARNINGS_MAX];
    unsigned                      nwarnings;    /* may be more */
    unsigned                      servers_unknown;

    int                           code;    /* what the transaction means */
    unsigned                      progress;
    uint64_t                      before;  /* mailboxes, for the summary */
    mapi_directory_meta_t         meta;    /* after the commit */
} cmd_import_t;


extern const cmd_column_t  cmd_mailbox_columns[];
extern const unsigned      cmd_mailbox_ncolumns;

#define CMD_MAILBOX_GUID     0
#define CMD_MAILBOX_SMTP     1
#define CMD_MAILBOX_DB       2
#define CMD_MAILBOX_EMAILS   3
#define CMD_MAILBOX_UPN      4
#define CMD_MAILBOX_ACCOUNT  5
#define CMD_MAILBOX_ARCHIVE  6
#define CMD_MAILBOX_ARCHIVE_DB  7
#define CMD_MAILBOX_HTTP     8


/* CMD_DONE or an exit code after a message */
int cmd_import_servers(cmd_import_t *im, const char *file);
int cmd_import_databases(cmd_import_t *im, const char *file);
int cmd_import_mailboxes(cmd_import_t *im, const char *file);

/* a mapi_directory_transact_pt */
int cmd_import_apply(mapi_directory_writer_t *w, void *data);

void cmd_import_progress(void *data, const char *what, size_t done,
    size_t total);


#endif /* _MAPI_CMD_IMPORT_H_INCLUDED_ */
