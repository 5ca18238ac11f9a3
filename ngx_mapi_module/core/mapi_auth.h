
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_AUTH_H_INCLUDED_
#define _MAPI_AUTH_H_INCLUDED_


#include "mapi_core.h"


typedef enum {
    mapi_auth_none = 0,
    mapi_auth_basic,
    mapi_auth_bearer,
    mapi_auth_ntlm,
    mapi_auth_negotiate,
    mapi_auth_nego2,
    mapi_auth_other
} mapi_auth_scheme_e;


/* the token is a view of the header's value; never log it */
typedef struct {
    mapi_auth_scheme_e  scheme;
    mapi_str_t          token;    /* may be empty: "Bearer" asks for OAuth */
} mapi_auth_t;


/*
 * Reads the value of an Authorization header (RFC 9110, 11.6.2).  The scheme
 * is a whole token in any case: "NTLMfoo" is other.
 */
void mapi_auth_parse(mapi_auth_t *a, const unsigned char *p, size_t len);

/* the scheme's name, as it is written; "Other", and empty for none */
const mapi_str_t *mapi_auth_name(mapi_auth_scheme_e scheme);

/* 1 if NTLM, Negotiate or Nego2 with a token: it belongs to a connection */
int mapi_auth_is_connection(const mapi_auth_t *a);

/*
 * 1 if the value of a WWW-Authenticate line holds, in any element of its
 * comma list, one of those schemes with a token.  A bare challenge does not.
 * Must not be fooled by commas and quotes inside other schemes' parameters;
 * in doubt (a value that cannot be parsed but contains such a scheme's name
 * at the start of an element followed by a blank and something) it is 1.
 */
int mapi_auth_challenge_taints(const unsigned char *p, size_t len);

/* 1 if the value names one of those schemes, with or without a token */
int mapi_auth_challenge_offers(const unsigned char *p, size_t len);

/*
 * Copies a WWW-Authenticate value to dst (len bytes) without the challenges
 * of those schemes, with or without a token; the others stay as they were.
 * Returns the length, 0 if nothing is left, or if the value cannot be parsed
 * and names one of them.
 */
size_t mapi_auth_strip_challenges(unsigned char *dst, const unsigned char *p,
    size_t len);

/*
 * The user name of Basic credentials, up to the first colon, decoded to buf
 * (size bytes).  MAPI_OK with a view of buf; MAPI_ERROR when it is not
 * base64, has no colon, is empty or does not fit.
 * What follows the colon is never decoded, and buf is wiped on MAPI_ERROR.
 */
int mapi_auth_basic_user(const mapi_auth_t *a, unsigned char *buf,
    size_t size, mapi_str_t *user);

/* type of the NTLM message in the token (1, 2, 3), 0 if there is none:
 * raw NTLMSSP in any of the three schemes, or found inside a SPNEGO token */
int mapi_auth_ntlm_type(const mapi_auth_t *a);

/*
 * The name in an NTLM type 3 message ([MS-NLMP] 2.2.1.3), written to buf as
 * UTF-8 DOMAIN\user, or user alone where the domain is empty.  Every offset
 * is checked against the decoded token.  MAPI_OK, MAPI_DECLINED if the token
 * is no type 3 message, MAPI_ERROR if it is a broken one, has no user, or
 * does not fit.  Tokens up to 64 KB are accepted; a bounded part is decoded.
 */
int mapi_auth_ntlm_user(const mapi_auth_t *a, unsigned char *buf,
    size_t size, mapi_str_t *user);

/*
 * The name in credentials of either kind.  MAPI_DECLINED if they are of
 * another, or none; user->len is 0 unless it is MAPI_OK.
 */
int mapi_auth_user(const mapi_auth_t *a, unsigned char *buf, size_t size,
    mapi_str_t *user);


#endif /* _MAPI_AUTH_H_INCLUDED_ */
