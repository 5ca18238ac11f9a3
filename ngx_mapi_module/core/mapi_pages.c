
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE    /* MADV_HUGEPAGE */
#endif

#include "mapi_pages.h"

#include <sys/mman.h>


void *
mapi_pages_map(size_t size)
{
    size_t          before;
    unsigned char  *p;

    /* not every kernel gives an address where a large page can begin */

    p = mmap(NULL, size + MAPI_PAGES_LARGE, PROT_READ|PROT_WRITE,
             MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }

    before = MAPI_PAGES_LARGE - ((uintptr_t) p & (MAPI_PAGES_LARGE - 1));

    (void) munmap(p, before);
    p += before;

    if (before < MAPI_PAGES_LARGE) {
        (void) munmap(p + size, MAPI_PAGES_LARGE - before);
    }

#ifdef MADV_HUGEPAGE
    (void) madvise(p, size, MADV_HUGEPAGE);
#endif

    return p;
}


void
mapi_pages_unmap(void *p, size_t size)
{
    if (p) {
        (void) munmap(p, size);
    }
}
