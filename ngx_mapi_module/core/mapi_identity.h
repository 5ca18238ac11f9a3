
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_IDENTITY_H_INCLUDED_
#define _MAPI_IDENTITY_H_INCLUDED_


#include "mapi_core.h"
#include "mapi_guid.h"


/* longest text of an identity; anything longer is malformed */
#define MAPI_IDENTITY_MAX  512


typedef enum {
    mapi_identity_none = 0,
    mapi_identity_guid,        /* ExchangeGuid or ArchiveGuid */
    mapi_identity_smtp,        /* smtpAddress, X-AnchorMailbox */
    mapi_identity_upn,         /* user@domain of a caller: UPN, then SMTP */
    mapi_identity_account      /* DOMAIN\user or a bare user of a caller */
} mapi_identity_kind_e;


/*
 * Who a request is for.  "text" is the canonical form, lower case: the GUID
 * without a domain, else the name; it is what the directory is asked with and
 * what the hash and the cookie are made of.  "domain" is what followed the @
 * of a GUID, as decoded, for display only: it decides nothing.
 * Both point into the caller's buffer.
 */
typedef struct {
    mapi_identity_kind_e  kind;
    mapi_guid_t           guid;      /* kind guid only */
    mapi_str_t            text;
    mapi_str_t            domain;
} mapi_identity_t;


/*
 * All of them read decoded text of len bytes and write what they keep to buf,
 * which has room for MAPI_IDENTITY_MAX bytes and may be the same memory as p.
 * MAPI_OK, or MAPI_ERROR when the text is malformed, empty, too long, not
 * UTF-8 clean of control bytes (below 0x20, 0x7f); id->kind is then none.
 */

/* MailboxId: a GUID, one @ and a domain that is not empty, without blanks */
int mapi_identity_parse_mailbox_id(mapi_identity_t *id,
    const unsigned char *p, size_t len, unsigned char *buf);

/* smtpAddress: one @ with something on both sides, no blank */
int mapi_identity_parse_smtp(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf);

/* X-AnchorMailbox: GUID, GUID@domain, SMTP; a SID@domain is MAPI_ERROR */
int mapi_identity_parse_anchor(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf);

/* a caller's name: DOMAIN\user, user@domain, user; blanks inside are kept */
int mapi_identity_parse_user(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf);

/*
 * What an administrator types: GUID, GUID@domain, DOMAIN\user, name@domain
 * (kind upn: UPN first, then SMTP) or a bare user
 */
int mapi_identity_parse_any(mapi_identity_t *id, const unsigned char *p,
    size_t len, unsigned char *buf);


#endif /* _MAPI_IDENTITY_H_INCLUDED_ */
