
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_PAGES_H_INCLUDED_
#define _MAPI_PAGES_H_INCLUDED_


#include "mapi_core.h"


/*
 * Memory for a table that is read here and there: of the kernel's large pages
 * where there are any.  With 4 KB each, a processor that serves others as well
 * has forgotten where the page lies, and finding it again costs more than
 * reading what is there.
 */

#define MAPI_PAGES_LARGE  ((size_t) 2 << 20)


/*
 * size bytes, all zero, from the kernel; NULL without memory.  Large pages are
 * for whole multiples of MAPI_PAGES_LARGE.
 */
void *mapi_pages_map(size_t size);

/* NULL is nothing */
void mapi_pages_unmap(void *p, size_t size);


#endif /* _MAPI_PAGES_H_INCLUDED_ */
