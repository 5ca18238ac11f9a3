
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _FUZZ_H_INCLUDED_
#define _FUZZ_H_INCLUDED_


#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


/* reads every byte of what a parser returned, so that a wrong view is seen */
static inline void
fuzz_touch(const void *p, size_t len)
{
    size_t                   i;
    const volatile uint8_t  *b;

    b = p;

    for (i = 0; i < len; i++) {
        (void) b[i];
    }
}


/* 1 if the view lies inside the buffer */
static inline int
fuzz_inside(const void *view, size_t len, const void *buf, size_t size)
{
    const uint8_t  *v, *b;

    v = view;
    b = buf;

    return len == 0 || (v >= b && v <= b + size && len <= size - (v - b));
}


#ifndef FUZZING

/* replays files: the corpus, or an input that libFuzzer has found */
int
main(int argc, char **argv)
{
    int       i;
    long      len;
    FILE     *f;
    uint8_t  *p;

    for (i = 1; i < argc; i++) {
        f = fopen(argv[i], "rb");

        if (f == NULL || fseek(f, 0, SEEK_END) != 0
            || (len = ftell(f)) < 0 || fseek(f, 0, SEEK_SET) != 0)
        {
            perror(argv[i]);
            return 1;
        }

        /* exactly as long as the input, as libFuzzer gives it */

        p = malloc(len ? (size_t) len : 1);

        if (p == NULL || fread(p, 1, (size_t) len, f) != (size_t) len) {
            perror(argv[i]);
            return 1;
        }

        (void) LLVMFuzzerTestOneInput(p, (size_t) len);

        free(p);
        fclose(f);
    }

    return 0;
}

#endif


#endif /* _FUZZ_H_INCLUDED_ */
