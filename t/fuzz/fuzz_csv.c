
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "fuzz.h"
#include "mapi_csv.h"

#include <stdlib.h>


#define CELLS  8


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int              rc;
    size_t           n, i;
    unsigned         line;
    const char      *error;
    mapi_csv_t       csv;
    unsigned char   *data, *wide;
    mapi_csv_cell_t  cells[CELLS];

    data = malloc(len ? len : 1);
    assert(data != NULL);
    memcpy(data, p, len);

    if (mapi_csv_utf16(p, len, &wide, &n, &error) == MAPI_OK) {
        assert(n <= len / 2 * 3);
        free(data);
        data = wide;
        len = n;
    }

    line = 0;

    if (mapi_csv_init(&csv, data, len) == MAPI_OK) {

        while ((rc = mapi_csv_row(&csv, cells, CELLS, &n)) == MAPI_OK) {
            assert(n > 0);

            for (i = 0; i < n && i < CELLS; i++) {
                assert(fuzz_inside(cells[i].text.data, cells[i].text.len,
                                   data, len));
                assert(cells[i].line > 0 && cells[i].line >= line);
                assert(mapi_csv_column(&cells[i]) > 0);
                fuzz_touch(cells[i].text.data, cells[i].text.len);
                line = cells[i].line;
            }
        }

        assert(rc == MAPI_DECLINED || csv.error_line > 0);
    }

    free(data);

    return 0;
}
