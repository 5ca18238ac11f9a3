
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_AFFINITY_MEMORY_H_INCLUDED_
#define _MAPI_AFFINITY_MEMORY_H_INCLUDED_


#include "mapi_affinity.h"


/* what mapi_affinity remembers of values, and nobody else's business */

#define MAPI_AFFINITY_SALT     8
#define MAPI_AFFINITY_ENTRY    20

#define MAPI_AFFINITY_PLAIN_MAX                                               \
    (MAPI_AFFINITY_SALT + MAPI_AFFINITY_ENTRY * MAPI_AFFINITY_ENTRIES)

#define MAPI_AFFINITY_WHO_MAX  40      /* identity that is noted: a GUID's */


/*
 * A value that was opened or sealed here, with what is in it: a client sends
 * the same one many times, and AES by EVP calls costs more than the road.  One
 * with one mailbox is three lines of the processor's cache.
 */
typedef struct {
    uint64_t                 mark;         /* of what is noted, or 0 */
    uint32_t                 day;
    uint32_t                 expires;      /* the entry that is noted */
    uint16_t                 server;       /* which it names */
    uint16_t                 key;          /* that opened it */
    uint8_t                  upstream;     /* number of its name */
    uint8_t                  len;          /* of the value */
    uint8_t                  plain_len;
    uint8_t                  who_len;
    uint8_t                  first;        /* the entry is the newest one */
    unsigned char            who[MAPI_AFFINITY_WHO_MAX];
    unsigned char            value[];      /* and behind it what is in it */
} mapi_affinity_slot_t;

#define mapi_affinity_slot_plain(slot)  ((slot)->value + (slot)->len)


/*
 * Of fixed size: some 4 MB if all of it is used, by 19,000 values with a
 * mailbox each.  The latest stay.  NULL without memory.
 */
typedef struct mapi_affinity_memory_s  mapi_affinity_memory_t;

mapi_affinity_memory_t *mapi_affinity_memory_create(void);
void mapi_affinity_memory_destroy(mapi_affinity_memory_t *m);

/* asks the processor for the memory of a value, in two steps */
void mapi_affinity_memory_warm(mapi_affinity_memory_t *m,
    const mapi_str_t *value);
void mapi_affinity_memory_warm_again(mapi_affinity_memory_t *m,
    const mapi_str_t *value);

/*
 * The slot of a value, until the next one is remembered; NULL if there is none.
 * Whoever guesses a value learns nothing from the time this takes: eight bytes
 * at once, hashed, and then all to the end.
 */
mapi_affinity_slot_t *mapi_affinity_memory_recall(mapi_affinity_memory_t *m,
    const mapi_str_t *upstream, const mapi_str_t *value);

/* len is 8 to MAPI_AFFINITY_VALUE_MAX */
void mapi_affinity_memory_remember(mapi_affinity_memory_t *m,
    const mapi_str_t *upstream, const unsigned char *value, size_t len,
    const unsigned char *plain, size_t plain_len, unsigned key, uint32_t day);


#endif /* _MAPI_AFFINITY_MEMORY_H_INCLUDED_ */
