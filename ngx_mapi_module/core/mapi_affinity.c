
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE    /* MADV_WIPEONFORK */
#endif

#include "mapi_affinity.h"
#include "mapi_affinity_memory.h"
#include "mapi_base64.h"
#include "mapi_siphash.h"

#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>


#define MAPI_AFFINITY_VERSION  1

#define MAPI_AFFINITY_DAY      86400
#define MAPI_AFFINITY_SKEW     300     /* seconds a node's clock may be ahead */
#define MAPI_AFFINITY_DAYS     8       /* ciphers a key, at most */

#define MAPI_AFFINITY_HEAD     3
#define MAPI_AFFINITY_NONCE    12
#define MAPI_AFFINITY_TAG      16

#define MAPI_AFFINITY_MIN                                                     \
    (MAPI_AFFINITY_HEAD + MAPI_AFFINITY_NONCE + MAPI_AFFINITY_SALT            \
     + MAPI_AFFINITY_TAG)

#define MAPI_AFFINITY_MAX                                                     \
    (MAPI_AFFINITY_MIN + MAPI_AFFINITY_ENTRY * MAPI_AFFINITY_ENTRIES)

/* the second halves of the hash keys: an identity is never taken for a server,
 * "identity" and "server" and two zeros, read as little-endian */
#define MAPI_AFFINITY_IDENTITY  0x797469746e656469ULL
#define MAPI_AFFINITY_SERVER    0x0000726576726573ULL


/* a cipher with its key schedule: an operation only sets the nonce */
typedef struct {
    EVP_CIPHER_CTX  *ctx;
    uint64_t         used;
    uint32_t         day;
} mapi_affinity_cipher_t;


/*
 * Lives on a page that the kernel clears in a forked child, so that no two
 * processes go on with the same prefix.  Where the kernel cannot do that, pid
 * is compared instead (a system call each time).
 */

typedef struct {
    unsigned       drawn;
    pid_t          pid;
    uint32_t       counter;
    unsigned char  prefix[8];
} mapi_affinity_nonce_t;


struct mapi_affinity_keys_s {
    unsigned                 n;
    uint32_t                 lifetime;
    unsigned char           *keys;

    EVP_CIPHER              *aes;
    EVP_KDF                 *hkdf;

    mapi_affinity_cipher_t   seal;
    mapi_affinity_cipher_t  *open;         /* ndays for each key */
    unsigned                 ndays;
    uint64_t                 clock;

    mapi_affinity_memory_t  *memory;

    mapi_affinity_nonce_t   *nonce;
    unsigned                 wiped;        /* the kernel clears the page */
};


static void
mapi_affinity_write(unsigned char *p, uint64_t value, unsigned size)
{
    while (size--) {
        p[size] = (unsigned char) value;
        value >>= 8;
    }
}


static uint64_t
mapi_affinity_read(const unsigned char *p, unsigned size)
{
    uint64_t  value;

    for (value = 0; size; size--) {
        value = value << 8 | *p++;
    }

    return value;
}


mapi_affinity_keys_t *
mapi_affinity_keys_create(const unsigned char *keys, unsigned n,
    uint32_t lifetime)
{
    mapi_affinity_keys_t  *k;

    if (n == 0) {
        return NULL;
    }

    k = calloc(1, sizeof(mapi_affinity_keys_t));
    if (k == NULL) {
        return NULL;
    }

    k->n = n;
    k->lifetime = lifetime;

    /* both ends of a lifetime, and a clock that is ahead */
    k->ndays = lifetime / MAPI_AFFINITY_DAY + 3;

    if (k->ndays > MAPI_AFFINITY_DAYS) {
        k->ndays = MAPI_AFFINITY_DAYS;
    }

    k->keys = malloc((size_t) n * MAPI_AFFINITY_KEY_LEN);
    k->open = calloc((size_t) n * k->ndays, sizeof(mapi_affinity_cipher_t));
    k->memory = mapi_affinity_memory_create();

    k->aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    k->hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);

    k->nonce = mmap(NULL, sizeof(mapi_affinity_nonce_t),
                    PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (k->nonce == MAP_FAILED) {
        k->nonce = NULL;
    }

    if (k->keys == NULL || k->open == NULL || k->memory == NULL
        || k->aes == NULL || k->hkdf == NULL || k->nonce == NULL)
    {
        mapi_affinity_keys_destroy(k);
        return NULL;
    }

    memcpy(k->keys, keys, (size_t) n * MAPI_AFFINITY_KEY_LEN);

#ifdef MADV_WIPEONFORK
    k->wiped = madvise(k->nonce, sizeof(mapi_affinity_nonce_t),
                       MADV_WIPEONFORK)
               == 0;
#endif

    return k;
}


void
mapi_affinity_keys_destroy(mapi_affinity_keys_t *k)
{
    size_t  i;

    if (k == NULL) {
        return;
    }

    if (k->open) {
        for (i = 0; i < (size_t) k->n * k->ndays; i++) {
            EVP_CIPHER_CTX_free(k->open[i].ctx);
        }
    }

    EVP_CIPHER_CTX_free(k->seal.ctx);
    EVP_CIPHER_free(k->aes);
    EVP_KDF_free(k->hkdf);

    if (k->nonce) {
        (void) munmap(k->nonce, sizeof(mapi_affinity_nonce_t));
    }

    if (k->keys) {
        OPENSSL_cleanse(k->keys, (size_t) k->n * MAPI_AFFINITY_KEY_LEN);
    }

    free(k->keys);
    free(k->open);

    mapi_affinity_memory_destroy(k->memory);

    free(k);
}


static int
mapi_affinity_derive(mapi_affinity_keys_t *k, unsigned key, uint32_t day,
    unsigned char *out)
{
    int             rc;
    OSSL_PARAM      params[4];
    EVP_KDF_CTX    *kdf;
    unsigned char   info[15] = "mapi-affinity";

    mapi_affinity_write(info + 13, day, 2);

    kdf = EVP_KDF_CTX_new(k->hkdf);
    if (kdf == NULL) {
        return MAPI_ERROR;
    }

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                                 (char *) "SHA256", 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
                                k->keys + (size_t) key * MAPI_AFFINITY_KEY_LEN,
                                MAPI_AFFINITY_KEY_LEN);
    params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info,
                                                  sizeof(info));
    params[3] = OSSL_PARAM_construct_end();

    rc = EVP_KDF_derive(kdf, out, MAPI_AFFINITY_KEY_LEN, params);

    EVP_KDF_CTX_free(kdf);

    return rc == 1 ? MAPI_OK : MAPI_ERROR;
}


static int
mapi_affinity_cipher_init(mapi_affinity_keys_t *k, mapi_affinity_cipher_t *c,
    unsigned key, uint32_t day, int encrypt)
{
    int            rc;
    unsigned char  derived[MAPI_AFFINITY_KEY_LEN];

    if (c->ctx == NULL) {
        c->ctx = EVP_CIPHER_CTX_new();

        if (c->ctx == NULL) {
            return MAPI_ERROR;
        }
    }

    /* of no day, until it has a key */
    c->used = 0;

    if (mapi_affinity_derive(k, key, day, derived) != MAPI_OK) {
        return MAPI_ERROR;
    }

    rc = EVP_CipherInit_ex2(c->ctx, k->aes, derived, NULL, encrypt, NULL);

    OPENSSL_cleanse(derived, sizeof(derived));

    if (rc != 1) {
        return MAPI_ERROR;
    }

    c->day = day;
    c->used = ++k->clock;

    return MAPI_OK;
}


static EVP_CIPHER_CTX *
mapi_affinity_opener(mapi_affinity_keys_t *k, unsigned key, uint32_t day)
{
    unsigned                 i;
    mapi_affinity_cipher_t  *c, *oldest;

    c = k->open + (size_t) key * k->ndays;

    for (oldest = c, i = 0; i < k->ndays; i++, c++) {

        if (c->used && c->day == day) {
            c->used = ++k->clock;
            return c->ctx;
        }

        if (c->used < oldest->used) {
            oldest = c;
        }
    }

    if (mapi_affinity_cipher_init(k, oldest, key, day, 0) != MAPI_OK) {
        return NULL;
    }

    return oldest->ctx;
}


static EVP_CIPHER_CTX *
mapi_affinity_sealer(mapi_affinity_keys_t *k, uint32_t day)
{
    if (k->seal.used && k->seal.day == day) {
        return k->seal.ctx;
    }

    if (mapi_affinity_cipher_init(k, &k->seal, 0, day, 1) != MAPI_OK) {
        return NULL;
    }

    return k->seal.ctx;
}


/* sets the nonce and takes in the associated data, at one call if it fits */
static int
mapi_affinity_begin(EVP_CIPHER_CTX *ctx, const unsigned char *head,
    const mapi_str_t *upstream)
{
    int            n;
    size_t         copied;
    unsigned char  data[MAPI_AFFINITY_HEAD + 64];

    if (upstream->len > 65535) {
        return MAPI_ERROR;
    }

    if (EVP_CipherInit_ex2(ctx, NULL, NULL, head + MAPI_AFFINITY_HEAD, -1,
                           NULL)
        != 1)
    {
        return MAPI_ERROR;
    }

    memcpy(data, head, MAPI_AFFINITY_HEAD);

    copied = upstream->len < 64 ? upstream->len : 64;

    if (copied) {
        memcpy(data + MAPI_AFFINITY_HEAD, upstream->data, copied);
    }

    if (EVP_CipherUpdate(ctx, NULL, &n, data,
                         (int) (MAPI_AFFINITY_HEAD + copied))
        != 1)
    {
        return MAPI_ERROR;
    }

    if (copied < upstream->len
        && EVP_CipherUpdate(ctx, NULL, &n, upstream->data + copied,
                            (int) (upstream->len - copied))
           != 1)
    {
        return MAPI_ERROR;
    }

    return MAPI_OK;
}


static int
mapi_affinity_decrypt(EVP_CIPHER_CTX *ctx, unsigned char *box, size_t len,
    const mapi_str_t *upstream, unsigned char *plain)
{
    int             n, rest;
    size_t          size;
    unsigned char  *text;

    text = box + MAPI_AFFINITY_HEAD + MAPI_AFFINITY_NONCE;
    size = len - MAPI_AFFINITY_HEAD - MAPI_AFFINITY_NONCE - MAPI_AFFINITY_TAG;

    if (mapi_affinity_begin(ctx, box, upstream) != MAPI_OK
        || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, MAPI_AFFINITY_TAG,
                               text + size)
           != 1
        || EVP_CipherUpdate(ctx, plain, &n, text, (int) size) != 1
        || EVP_CipherFinal_ex(ctx, plain + n, &rest) != 1)
    {
        return MAPI_DECLINED;
    }

    return MAPI_OK;
}


static void
mapi_affinity_parse(const unsigned char *p, size_t len, uint32_t now,
    mapi_affinity_t *a)
{
    const unsigned char    *end;
    mapi_affinity_entry_t  *e;

    end = p + len;

    a->salt = mapi_affinity_read(p, MAPI_AFFINITY_SALT);

    for (p += MAPI_AFFINITY_SALT; p < end; p += MAPI_AFFINITY_ENTRY) {
        e = &a->entries[a->n];

        e->expires = (uint32_t) mapi_affinity_read(p + 16, 4);

        if (e->expires <= now) {
            continue;
        }

        e->identity = mapi_affinity_read(p, 8);
        e->server = mapi_affinity_read(p + 8, 8);
        a->n++;
    }
}


/* whether a cookie of that day may still hold anything */
static int
mapi_affinity_is_current(const mapi_affinity_keys_t *k, uint32_t now,
    uint32_t day)
{
    uint32_t  oldest, newest;

    oldest = now > k->lifetime ? now - k->lifetime : 0;
    newest = now < UINT32_MAX - MAPI_AFFINITY_SKEW ? now + MAPI_AFFINITY_SKEW
                                                   : UINT32_MAX;

    return day >= oldest / MAPI_AFFINITY_DAY
           && day <= newest / MAPI_AFFINITY_DAY;
}


/* would the same key of the same day seal a value now? */
static unsigned
mapi_affinity_seals(uint32_t now, unsigned key, uint32_t day)
{
    return key == 0 && day == now / MAPI_AFFINITY_DAY;
}


/* the slot of a value, unless its day is over */
static mapi_affinity_slot_t *
mapi_affinity_recall_current(mapi_affinity_keys_t *k, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value)
{
    mapi_affinity_slot_t  *slot;

    slot = mapi_affinity_memory_recall(k->memory, upstream, value);

    return slot && mapi_affinity_is_current(k, now, slot->day) ? slot : NULL;
}


void
mapi_affinity_warm(mapi_affinity_keys_t *k, const mapi_str_t *value)
{
    mapi_affinity_memory_warm(k->memory, value);
}


void
mapi_affinity_warm_again(mapi_affinity_keys_t *k, const mapi_str_t *value)
{
    mapi_affinity_memory_warm_again(k->memory, value);
}


int
mapi_affinity_noted(mapi_affinity_keys_t *k, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value, uint64_t mark,
    const mapi_str_t *identity, mapi_affinity_note_t *note)
{
    mapi_affinity_slot_t  *slot;

    slot = mapi_affinity_recall_current(k, now, upstream, value);

    if (slot == NULL
        || slot->mark != mark
        || slot->who_len != identity->len
        || slot->expires <= now
        || !mapi_same(slot->who, identity->data, identity->len))
    {
        return MAPI_DECLINED;
    }

    note->server = slot->server;
    note->expires = slot->expires;
    note->first = slot->first;
    note->current = mapi_affinity_seals(now, slot->key, slot->day);

    return MAPI_OK;
}


void
mapi_affinity_note(mapi_affinity_keys_t *k, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value, uint64_t mark,
    const mapi_str_t *identity, const mapi_affinity_note_t *note)
{
    mapi_affinity_slot_t  *slot;

    if (identity->len > MAPI_AFFINITY_WHO_MAX) {
        return;
    }

    slot = mapi_affinity_recall_current(k, now, upstream, value);

    if (slot == NULL) {
        return;
    }

    slot->mark = mark;
    slot->server = note->server;
    slot->expires = note->expires;
    slot->first = note->first;
    slot->who_len = (uint8_t) identity->len;
    memcpy(slot->who, identity->data, identity->len);
}


int
mapi_affinity_open(mapi_affinity_keys_t *k, uint32_t now,
    const mapi_str_t *upstream, const mapi_str_t *value, mapi_affinity_t *a)
{
    size_t                       len;
    uint32_t                     day;
    unsigned                     i;
    EVP_CIPHER_CTX              *ctx;
    unsigned char                box[MAPI_AFFINITY_MAX];
    unsigned char                plain[MAPI_AFFINITY_PLAIN_MAX];
    const mapi_affinity_slot_t  *slot;

    memset(a, 0, sizeof(mapi_affinity_t));

    if (value->len > MAPI_AFFINITY_VALUE_MAX
        || value->len < mapi_base64_encoded(MAPI_AFFINITY_MIN))
    {
        return MAPI_DECLINED;
    }

    slot = mapi_affinity_recall_current(k, now, upstream, value);

    if (slot) {
        mapi_affinity_parse(mapi_affinity_slot_plain(slot), slot->plain_len,
                            now, a);
        a->current = mapi_affinity_seals(now, slot->key, slot->day);

        return MAPI_OK;
    }

    if (mapi_base64_check(value->data, value->len, MAPI_BASE64_URL, &len)
           != MAPI_OK
        || value->len != mapi_base64_encoded(len)
        || len < MAPI_AFFINITY_MIN
        || (len - MAPI_AFFINITY_MIN) % MAPI_AFFINITY_ENTRY)
    {
        return MAPI_DECLINED;
    }

    mapi_base64_read(box, value->data, 0, len);

    day = (uint32_t) mapi_affinity_read(box + 1, 2);

    if (box[0] != MAPI_AFFINITY_VERSION
        || !mapi_affinity_is_current(k, now, day))
    {
        return MAPI_DECLINED;
    }

    for (i = 0; i < k->n; i++) {
        ctx = mapi_affinity_opener(k, i, day);

        if (ctx && mapi_affinity_decrypt(ctx, box, len, upstream, plain)
                   == MAPI_OK)
        {
            len -= MAPI_AFFINITY_MIN - MAPI_AFFINITY_SALT;
            mapi_affinity_memory_remember(k->memory, upstream, value->data,
                                          value->len, plain, len, i, day);
            mapi_affinity_parse(plain, len, now, a);
            a->current = mapi_affinity_seals(now, i, day);

            return MAPI_OK;
        }
    }

    return MAPI_DECLINED;
}


static int
mapi_affinity_next_nonce(mapi_affinity_keys_t *k, unsigned char *dst)
{
    mapi_affinity_nonce_t  *nonce;

    nonce = k->nonce;

    if (!nonce->drawn || nonce->counter == UINT32_MAX
        || (!k->wiped && nonce->pid != getpid()))
    {
        if (RAND_bytes(nonce->prefix, sizeof(nonce->prefix)) != 1) {
            nonce->drawn = 0;
            return MAPI_ERROR;
        }

        nonce->pid = getpid();
        nonce->counter = 0;
        nonce->drawn = 1;
    }

    memcpy(dst, nonce->prefix, sizeof(nonce->prefix));
    mapi_affinity_write(dst + sizeof(nonce->prefix), nonce->counter++, 4);

    return MAPI_OK;
}


size_t
mapi_affinity_seal(mapi_affinity_keys_t *k, uint32_t now,
    const mapi_str_t *upstream, const mapi_affinity_t *a, unsigned char *dst)
{
    int              n, rest;
    size_t           len, size;
    uint32_t         day;
    unsigned         i;
    unsigned char   *p, *text;
    EVP_CIPHER_CTX  *ctx;
    unsigned char    box[MAPI_AFFINITY_MAX], plain[MAPI_AFFINITY_PLAIN_MAX];

    if (a->n > MAPI_AFFINITY_ENTRIES) {
        return 0;
    }

    day = now / MAPI_AFFINITY_DAY;

    box[0] = MAPI_AFFINITY_VERSION;
    mapi_affinity_write(box + 1, day, 2);

    ctx = mapi_affinity_sealer(k, day);

    if (ctx == NULL
        || mapi_affinity_next_nonce(k, box + MAPI_AFFINITY_HEAD) != MAPI_OK)
    {
        return 0;
    }

    p = plain;
    mapi_affinity_write(p, a->salt, MAPI_AFFINITY_SALT);
    p += MAPI_AFFINITY_SALT;

    for (i = 0; i < a->n; i++, p += MAPI_AFFINITY_ENTRY) {
        mapi_affinity_write(p, a->entries[i].identity, 8);
        mapi_affinity_write(p + 8, a->entries[i].server, 8);
        mapi_affinity_write(p + 16, a->entries[i].expires, 4);
    }

    len = p - plain;
    text = box + MAPI_AFFINITY_HEAD + MAPI_AFFINITY_NONCE;

    if (mapi_affinity_begin(ctx, box, upstream) != MAPI_OK
        || EVP_CipherUpdate(ctx, text, &n, plain, (int) len) != 1
        || EVP_CipherFinal_ex(ctx, text + n, &rest) != 1
        || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, MAPI_AFFINITY_TAG,
                               text + len)
           != 1)
    {
        return 0;
    }

    size = mapi_base64_url(dst, box, len + MAPI_AFFINITY_MIN
                                     - MAPI_AFFINITY_SALT) - dst;

    /* the client's next request brings it */

    mapi_affinity_memory_remember(k->memory, upstream, dst, size, plain, len,
                                  0, day);

    return size;
}


static uint64_t
mapi_affinity_hash(const mapi_affinity_t *a, uint64_t kind,
    const mapi_str_t *name)
{
    mapi_siphash_key_t  key;

    key.k0 = a->salt;
    key.k1 = kind;

    return mapi_siphash(&key, name->data, name->len);
}


const mapi_affinity_entry_t *
mapi_affinity_find(const mapi_affinity_t *a, const mapi_str_t *identity)
{
    uint64_t  hash;
    unsigned  i;

    if (a->n == 0) {
        return NULL;
    }

    hash = mapi_affinity_hash(a, MAPI_AFFINITY_IDENTITY, identity);

    for (i = 0; i < a->n; i++) {
        if (a->entries[i].identity == hash) {
            return &a->entries[i];
        }
    }

    return NULL;
}


int
mapi_affinity_is_server(const mapi_affinity_t *a,
    const mapi_affinity_entry_t *entry, const mapi_str_t *server)
{
    return entry->server == mapi_affinity_hash(a, MAPI_AFFINITY_SERVER,
                                               server);
}


int
mapi_affinity_put(mapi_affinity_t *a, const mapi_str_t *identity,
    const mapi_str_t *server, uint32_t expires)
{
    unsigned char                 salt[MAPI_AFFINITY_SALT];
    const mapi_affinity_entry_t  *entry;

    /* zero says that there is none */

    while (a->salt == 0) {
        a->n = 0;

        if (RAND_bytes(salt, sizeof(salt)) != 1) {
            return MAPI_ERROR;
        }

        a->salt = mapi_affinity_read(salt, sizeof(salt));
    }

    entry = mapi_affinity_find(a, identity);

    if (entry == &a->entries[0] && entry->expires == expires
        && mapi_affinity_is_server(a, entry, server))
    {
        return MAPI_DECLINED;
    }

    (void) mapi_affinity_forget(a, identity);

    if (a->n == MAPI_AFFINITY_ENTRIES) {
        a->n--;
    }

    memmove(&a->entries[1], &a->entries[0],
            a->n * sizeof(mapi_affinity_entry_t));

    a->entries[0].identity = mapi_affinity_hash(a, MAPI_AFFINITY_IDENTITY,
                                                identity);
    a->entries[0].server = mapi_affinity_hash(a, MAPI_AFFINITY_SERVER,
                                              server);
    a->entries[0].expires = expires;
    a->n++;

    return MAPI_OK;
}


int
mapi_affinity_forget(mapi_affinity_t *a, const mapi_str_t *identity)
{
    unsigned                      i;
    const mapi_affinity_entry_t  *entry;

    entry = mapi_affinity_find(a, identity);

    if (entry == NULL) {
        return 0;
    }

    i = entry - a->entries;
    a->n--;

    memmove(&a->entries[i], &a->entries[i + 1],
            (a->n - i) * sizeof(mapi_affinity_entry_t));

    return 1;
}


static int
mapi_affinity_key_hex(unsigned char *key, const unsigned char *p)
{
    int     hi, lo;
    size_t  i;

    for (i = 0; i < MAPI_AFFINITY_KEY_LEN; i++) {
        hi = mapi_hex(p[2 * i]);
        lo = mapi_hex(p[2 * i + 1]);

        if (hi < 0 || lo < 0) {
            return MAPI_ERROR;
        }

        key[i] = (unsigned char) (hi << 4 | lo);
    }

    return MAPI_OK;
}


int
mapi_affinity_key_parse(unsigned char key[MAPI_AFFINITY_KEY_LEN],
    const unsigned char *p, size_t len)
{
    size_t  n;

#define mapi_affinity_blank(c)                                                \
    ((c) == ' ' || (c) == '\t' || (c) == '\r' || (c) == '\n')

    while (len && mapi_affinity_blank(p[0])) {
        p++;
        len--;
    }

    while (len && mapi_affinity_blank(p[len - 1])) {
        len--;
    }

    if (len == 2 * MAPI_AFFINITY_KEY_LEN) {
        return mapi_affinity_key_hex(key, p);
    }

    if ((mapi_base64_check(p, len, MAPI_BASE64_STANDARD, &n) != MAPI_OK
         && mapi_base64_check(p, len, MAPI_BASE64_URL, &n) != MAPI_OK)
        || n != MAPI_AFFINITY_KEY_LEN)
    {
        return MAPI_ERROR;
    }

    mapi_base64_read(key, p, 0, n);

    return MAPI_OK;
}
