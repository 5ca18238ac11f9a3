
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _UNIT_H_INCLUDED_
#define _UNIT_H_INCLUDED_


/*
 * What the unit tests share: cmocka, and inputs that end where memory ends.
 * A byte read behind an input, or written behind an output of that kind,
 * stops the test at once, with or without sanitizers.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "mapi_core.h"


/* two arguments: a literal and its length, without the zero at its end */
#define unit_text(s)  (const unsigned char *) (s), sizeof(s) - 1

#define unit_items(array)  (sizeof(array) / sizeof((array)[0]))


typedef struct {
    unsigned char  *start;
    size_t          size;      /* of what may be touched */
} unit_edge_t;


/* memory of at least "size" bytes with a page behind it that faults */
static inline unit_edge_t
unit_edge_create(size_t size)
{
    size_t       page;
    unit_edge_t  e;

    page = (size_t) sysconf(_SC_PAGESIZE);

    e.size = (size + page - 1) / page * page;

    if (e.size == 0) {
        e.size = page;
    }

    e.start = mmap(NULL, e.size + page, PROT_READ|PROT_WRITE,
                   MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    assert_true(e.start != MAP_FAILED);
    assert_int_equal(mprotect(e.start + e.size, page, PROT_NONE), 0);

    return e;
}


static inline void
unit_edge_destroy(unit_edge_t *e)
{
    assert_int_equal(munmap(e->start,
                            e->size + (size_t) sysconf(_SC_PAGESIZE)), 0);
}


/* the last "size" bytes before the page that faults */
static inline unsigned char *
unit_edge_tail(unit_edge_t *e, size_t size)
{
    assert_true(size <= e->size);

    return e->start + e->size - size;
}


/* a copy of the input that ends where memory ends */
static inline unsigned char *
unit_edge_copy(unit_edge_t *e, const void *p, size_t len)
{
    unsigned char  *copy;

    copy = unit_edge_tail(e, len);

    if (len) {
        memcpy(copy, p, len);
    }

    return copy;
}


/*
 * Calls fn with every prefix of the input, the empty and the whole one too,
 * each ending where memory ends.
 */

typedef void (*unit_prefix_pt)(const unsigned char *p, size_t len,
    void *data);

static inline void
unit_prefixes(const void *p, size_t len, unit_prefix_pt fn, void *data)
{
    size_t       n;
    unit_edge_t  e;

    e = unit_edge_create(len);

    for (n = 0; n <= len; n++) {
        fn(unit_edge_copy(&e, p, n), n, data);
    }

    unit_edge_destroy(&e);
}


/* numbers that look like chance, the same in every run; *x is not 0 */
static inline uint64_t
unit_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;

    return *x;
}


/* a view of a zero-terminated text */
static inline mapi_str_t
unit_str(const char *s)
{
    mapi_str_t  str;

    str.len = strlen(s);
    str.data = (unsigned char *) s;

    return str;
}


static inline void
unit_assert_str(const mapi_str_t *got, const char *expected)
{
    assert_int_equal(got->len, strlen(expected));

    if (got->len) {
        assert_memory_equal(got->data, expected, got->len);
    }
}


#endif /* _UNIT_H_INCLUDED_ */
