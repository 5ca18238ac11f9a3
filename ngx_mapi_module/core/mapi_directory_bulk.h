
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_DIRECTORY_BULK_H_INCLUDED_
#define _MAPI_DIRECTORY_BULK_H_INCLUDED_


#include "mapi_directory_write.h"


/* what the two ways of writing mailboxes share */


#define MAPI_BULK_STEP  65536


typedef struct {
    uint64_t  hash;
    uint32_t  item;
} mapi_directory_hash_t;


/* of one mailbox: every name with its namespace, lower case */
typedef int (*mapi_directory_names_pt)(void *data, unsigned space,
    const mapi_str_t *text);

typedef struct {
    mapi_directory_writer_t  *w;
    mapi_directory_bulk_t    *bulk;
    mapi_directory_item_t    *item;
    const mapi_guid_t        *guid;
    unsigned                  add;

    mapi_directory_hash_t    *names;
    size_t                    n;
    size_t                    room;

    uint64_t                  hash;      /* looked for */
    unsigned                  space;
    mapi_str_t                text;
    unsigned char            *buf;
} mapi_directory_names_t;


/* calls for each name of a mailbox; buf has MAPI_IDENTITY_MAX bytes */
int mapi_directory_each_name(const mapi_str_t *all, unsigned char *buf,
    mapi_directory_names_pt call, void *data);

/* MAPI_DECLINED if it is an archive's alias */
int mapi_directory_item_texts(mapi_directory_item_t *item,
    mapi_str_t *texts);

/* records by GUID, into a directory that has others */
int mapi_directory_merge(mapi_directory_writer_t *w,
    mapi_directory_bulk_t *bulk);


#endif /* _MAPI_DIRECTORY_BULK_H_INCLUDED_ */
