
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_AFFINITY_H_INCLUDED_
#define _MAPI_AFFINITY_H_INCLUDED_


#include "mapi_core.h"


/*
 * The sealed affinity cookie.
 *
 *   value = base64url, no padding, of
 *           version (1 byte, 0x01) | UTC day since 1970 (2 bytes, big-endian)
 *           | nonce (12) | ciphertext | tag (16)
 *   plain = salt (8) | entries of hash of identity (8), hash of server (8),
 *           expiry in seconds since 1970 (4), newest first, all big-endian
 *   seal  = AES-256-GCM, key = HKDF-SHA256(file key, info "mapi-affinity" and
 *           the two bytes of the day), associated data = version, day, and
 *           the upstream's name
 *
 * Hashes are SipHash-2-4 keyed by the salt (k0; k1 is "identity" or "server"
 * and two zero bytes, read as little-endian), which a cookie keeps for its
 * life: entries stay readable when the file key is rotated.  A server is
 * found by hashing the configured names, so no cookie can name an address.
 */

#define MAPI_AFFINITY_KEY_LEN  32
#define MAPI_AFFINITY_ENTRIES  5

/* longest value that seal writes and open reads */
#define MAPI_AFFINITY_VALUE_MAX                                               \
    (((3 + 12 + 8 + 20 * MAPI_AFFINITY_ENTRIES + 16) * 4 + 2) / 3)


typedef struct {
    uint64_t  identity;
    uint64_t  server;
    uint32_t  expires;
} mapi_affinity_entry_t;


/*
 * A cookie in the open; all zero is a cookie that does not exist yet.
 * "current" is set by open() if the value was sealed today with the key that
 * seals: if nothing has changed, the same value may be sent again.
 */
typedef struct {
    uint64_t               salt;
    unsigned               n;
    unsigned               current:1;
    mapi_affinity_entry_t  entries[MAPI_AFFINITY_ENTRIES];
} mapi_affinity_t;


/*
 * The keys of one configuration, and the ciphers derived from them (a few
 * days each, the least recently used goes).  One owner; not to be shared by
 * threads.  keys are n * MAPI_AFFINITY_KEY_LEN bytes, copied: the first seals,
 * all open.  lifetime (seconds) bounds how old a day may be, before any key is
 * derived for it: a stranger's cookie must not cost work.  A day is too new if
 * it begins more than five minutes from now, for nodes whose clocks differ.
 * NULL when memory or OpenSSL fails.  destroy() wipes and frees, NULL is fine.
 */
typedef struct mapi_affinity_keys_s  mapi_affinity_keys_t;

mapi_affinity_keys_t *mapi_affinity_keys_create(const unsigned char *keys,
    unsigned n, uint32_t lifetime);
void mapi_affinity_keys_destroy(mapi_affinity_keys_t *keys);

/*
 * Opens a value.  MAPI_OK with the entries that have not expired (newest
 * first); MAPI_DECLINED for whatever cannot be read: a->n is 0 then, and the
 * cookie is as if absent.  "now" is UTC seconds.
 */
int mapi_affinity_open(mapi_affinity_keys_t *keys, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value, mapi_affinity_t *a);

/*
 * Asks ahead for what open() may remember of a value, in two steps with other
 * work in between; finds nothing out.
 */
void mapi_affinity_warm(mapi_affinity_keys_t *keys, const mapi_str_t *value);
void mapi_affinity_warm_again(mapi_affinity_keys_t *keys,
    const mapi_str_t *value);

/*
 * What the caller has found in a value: the entry of an identity, and the
 * server that it names.  With a note of it beside the value, which is
 * remembered as long as there is room, the same need not be found out again:
 * noted() gives back the note of this very value, upstream and identity (40
 * bytes at most, longer ones are not noted), with "current" as open() would set
 * it now.  MAPI_DECLINED if there is none, or the entry has expired, or the
 * cookie is too old.
 *
 * "mark" stands for what the caller's numbers of servers mean: a note with
 * another mark is as if absent.  It is not 0.
 */
typedef struct {
    uint32_t  expires;        /* of the entry */
    uint16_t  server;
    unsigned  first:1;        /* it is the newest one */
    unsigned  current:1;
} mapi_affinity_note_t;

int mapi_affinity_noted(mapi_affinity_keys_t *keys, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value, uint64_t mark,
    const mapi_str_t *identity, mapi_affinity_note_t *note);
void mapi_affinity_note(mapi_affinity_keys_t *keys, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value, uint64_t mark,
    const mapi_str_t *identity, const mapi_affinity_note_t *note);

/*
 * Seals to dst (MAPI_AFFINITY_VALUE_MAX bytes).  Length written, 0 on failure.
 * Nonces never repeat under one key: 8 random bytes drawn at first use in a
 * process (a fork draws anew), then a counter of 4 bytes, redrawn on overflow.
 */
size_t mapi_affinity_seal(mapi_affinity_keys_t *keys, uint32_t now,
    const mapi_str_t *upstream, const mapi_affinity_t *a, unsigned char *dst);

/* the entry of this canonical identity, or NULL */
const mapi_affinity_entry_t *mapi_affinity_find(const mapi_affinity_t *a,
    const mapi_str_t *identity);

/* 1 if the entry names this server (lower case) */
int mapi_affinity_is_server(const mapi_affinity_t *a,
    const mapi_affinity_entry_t *entry, const mapi_str_t *server);

/*
 * Puts the entry of this identity in front, in place of an older one of the
 * same; the oldest goes when there are more than MAPI_AFFINITY_ENTRIES.
 * Draws the salt if the cookie has none.  MAPI_OK; MAPI_DECLINED if this very
 * entry is in front already, nothing changes then; MAPI_ERROR (no random).
 */
int mapi_affinity_put(mapi_affinity_t *a, const mapi_str_t *identity,
    const mapi_str_t *server, uint32_t expires);

/* takes the entry of this identity out; 1 if there was one */
int mapi_affinity_forget(mapi_affinity_t *a, const mapi_str_t *identity);

/*
 * Reads a key file's text: 32 bytes as 64 hex digits or as base64 (standard
 * or URL alphabet, with or without padding), blanks and line ends around it.
 */
int mapi_affinity_key_parse(unsigned char key[MAPI_AFFINITY_KEY_LEN],
    const unsigned char *p, size_t len);


#endif /* _MAPI_AFFINITY_H_INCLUDED_ */
