
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_CSV_H_INCLUDED_
#define _MAPI_CSV_H_INCLUDED_


#include "mapi_core.h"


/*
 * CSV files as PowerShell's Export-Csv writes them and as people edit them:
 * RFC 4180 with LF or CR LF, a "#TYPE" line before the header, a byte order
 * mark, UTF-8 or UTF-16, and comma, semicolon or tabulator, whichever the
 * header uses first.
 *
 * A whole file in memory is read in place: cells are views into it, valid as
 * long as it is.
 */

typedef struct {
    mapi_str_t            text;      /* without quotes; not trimmed */
    unsigned              line;      /* of the file, from 1 */
    const unsigned char  *start;     /* of the cell, and of its line: for */
    const unsigned char  *begin;     /* mapi_csv_column() */
} mapi_csv_cell_t;


typedef struct {
    unsigned char        *pos;
    unsigned char        *last;
    unsigned char        *begin;     /* of the line */
    unsigned              line;
    unsigned char         separator; /* 0 until a row was read */

    /* after MAPI_ERROR: a sentence, and where */
    const char           *error;
    unsigned              error_line;
    unsigned              error_column;
} mapi_csv_t;


/*
 * Turns UTF-16 with a byte order mark into UTF-8.  MAPI_OK with *out in
 * memory to be freed; MAPI_DECLINED if it is not UTF-16; MAPI_ERROR with a
 * sentence in *error.
 */
int mapi_csv_utf16(const unsigned char *p, size_t len, unsigned char **out,
    size_t *outlen, const char **error);

/*
 * Checks that all of it is UTF-8 without zero bytes.  The bytes are changed
 * while rows are read.  MAPI_OK or MAPI_ERROR.
 */
int mapi_csv_init(mapi_csv_t *csv, unsigned char *p, size_t len);

/*
 * Reads the next row that is not empty into at most max cells; *n is how many
 * the row has.  MAPI_OK, MAPI_DECLINED at the end, MAPI_ERROR.
 */
int mapi_csv_row(mapi_csv_t *csv, mapi_csv_cell_t *cells, size_t max,
    size_t *n);

/* place of a cell in its line, in characters from 1 */
unsigned mapi_csv_column(const mapi_csv_cell_t *cell);


#endif /* _MAPI_CSV_H_INCLUDED_ */
