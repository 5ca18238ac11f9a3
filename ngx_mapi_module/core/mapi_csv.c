
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_csv.h"

#include <stdlib.h>


static unsigned mapi_csv_chars(const unsigned char *p,
    const unsigned char *last);
static int mapi_csv_fail(mapi_csv_t *csv, const char *error, unsigned line,
    const unsigned char *begin, const unsigned char *at);
static int mapi_csv_quoted(mapi_csv_t *csv, mapi_csv_cell_t *cell);
static void mapi_csv_plain(mapi_csv_t *csv, mapi_csv_cell_t *cell);
static int mapi_csv_after(mapi_csv_t *csv, unsigned *more);
static void mapi_csv_start(mapi_csv_t *csv);


int
mapi_csv_utf16(const unsigned char *p, size_t len, unsigned char **out,
    size_t *outlen, const char **error)
{
    size_t                i, n, low;
    uint32_t              c, d;
    unsigned char        *dst;

    if (len < 2 || !((p[0] == 0xff && p[1] == 0xfe)
                     || (p[0] == 0xfe && p[1] == 0xff)))
    {
        return MAPI_DECLINED;
    }

    if (len & 1) {
        *error = "the file is UTF-16 and ends in the middle of a character";
        return MAPI_ERROR;
    }

    low = (p[0] == 0xff) ? 0 : 1;

    dst = malloc(len / 2 * 3 + 1);
    if (dst == NULL) {
        *error = "out of memory";
        return MAPI_ERROR;
    }

    *out = dst;

    for (i = 2; i < len; i += 2) {

        c = (uint32_t) p[i + low] | (uint32_t) p[i + 1 - low] << 8;

        if (c < 0x80) {
            *dst++ = (unsigned char) c;
            continue;
        }

        if (c < 0x800) {
            *dst++ = (unsigned char) (0xc0 | c >> 6);
            *dst++ = (unsigned char) (0x80 | (c & 0x3f));
            continue;
        }

        if (c >= 0xd800 && c < 0xe000) {

            d = (i + 4 > len) ? 0
                              : (uint32_t) p[i + 2 + low]
                                | (uint32_t) p[i + 3 - low] << 8;

            if (c >= 0xdc00 || d < 0xdc00 || d >= 0xe000) {
                free(*out);
                *out = NULL;
                *error = "the file is UTF-16 with half a character in it";
                return MAPI_ERROR;
            }

            c = 0x10000 + ((c & 0x3ff) << 10) + (d & 0x3ff);
            i += 2;

            *dst++ = (unsigned char) (0xf0 | c >> 18);
            *dst++ = (unsigned char) (0x80 | (c >> 12 & 0x3f));

        } else {
            *dst++ = (unsigned char) (0xe0 | c >> 12);
        }

        *dst++ = (unsigned char) (0x80 | (c >> 6 & 0x3f));
        *dst++ = (unsigned char) (0x80 | (c & 0x3f));
    }

    n = dst - *out;
    *outlen = n;

    return MAPI_OK;
}


static unsigned
mapi_csv_chars(const unsigned char *p, const unsigned char *last)
{
    unsigned  n;

    n = 0;

    while (p < last) {
        n += ((*p++ & 0xc0) != 0x80);
    }

    return n;
}


unsigned
mapi_csv_column(const mapi_csv_cell_t *cell)
{
    return mapi_csv_chars(cell->begin, cell->start) + 1;
}


static int
mapi_csv_fail(mapi_csv_t *csv, const char *error, unsigned line,
    const unsigned char *begin, const unsigned char *at)
{
    csv->error = error;
    csv->error_line = line;
    csv->error_column = mapi_csv_chars(begin, at) + 1;

    return MAPI_ERROR;
}


int
mapi_csv_init(mapi_csv_t *csv, unsigned char *p, size_t len)
{
    size_t          n;
    uint64_t        word;
    unsigned        line;
    unsigned char  *last, *begin;

    memset(csv, 0, sizeof(mapi_csv_t));

    if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        len -= 3;
    }

    last = p + len;

    csv->pos = p;
    csv->begin = p;
    csv->last = last;
    csv->line = 1;

    line = 1;
    begin = p;

    while (p < last) {

        /* eight bytes of ASCII without zero or newline at a time */

        while (last - p >= 8) {
            memcpy(&word, p, 8);

            if (word & 0x8080808080808080ULL) {
                break;
            }

            if ((word - 0x0b0b0b0b0b0b0b0bULL) & 0x8080808080808080ULL) {
                break;
            }

            p += 8;
        }

        if (p == last) {
            break;
        }

        if (*p < 0x80) {
            n = *p ? 1 : 0;

        } else {
            n = mapi_utf8(p, last - p);
        }

        if (n == 0) {
            return mapi_csv_fail(csv, *p ? "this is not UTF-8: export with "
                                 "-Encoding UTF8, or save as UTF-8"
                                 : "there is a zero byte in the file",
                                 line, begin, p);
        }

        if (*p == '\n') {
            line++;
            begin = p + 1;
        }

        p += n;
    }

    return MAPI_OK;
}


/*
 * Skips "#TYPE ..." and finds the separator: the first outside of quotes.
 */

static void
mapi_csv_start(mapi_csv_t *csv)
{
    unsigned        quoted;
    unsigned char  *p;

    if (csv->last - csv->pos >= 5 && memcmp(csv->pos, "#TYPE", 5) == 0) {

        p = memchr(csv->pos, '\n', csv->last - csv->pos);

        csv->pos = p ? p + 1 : csv->last;
        csv->begin = csv->pos;
        csv->line++;
    }

    csv->separator = ',';
    quoted = 0;

    for (p = csv->pos; p < csv->last; p++) {

        if (*p == '"') {
            quoted = !quoted;

        } else if (!quoted && (*p == ',' || *p == ';' || *p == '\t')) {
            csv->separator = *p;
            return;

        } else if (!quoted && *p == '\n' && p != csv->pos) {
            return;
        }
    }
}


int
mapi_csv_row(mapi_csv_t *csv, mapi_csv_cell_t *cells, size_t max, size_t *n)
{
    unsigned          more;
    mapi_csv_cell_t   spare, *cell;

    if (csv->separator == 0) {
        mapi_csv_start(csv);
    }

    /* empty lines are nothing */

    while (csv->pos < csv->last) {

        if (*csv->pos == '\r' && csv->last - csv->pos > 1
            && csv->pos[1] == '\n')
        {
            csv->pos++;
        }

        if (*csv->pos != '\n') {
            break;
        }

        csv->pos++;
        csv->begin = csv->pos;
        csv->line++;
    }

    if (csv->pos == csv->last) {
        return MAPI_DECLINED;
    }

    *n = 0;

    do {
        cell = (*n < max) ? &cells[*n] : &spare;
        (*n)++;

        cell->line = csv->line;
        cell->begin = csv->begin;
        cell->start = csv->pos;

        if (csv->pos < csv->last && *csv->pos == '"') {

            if (mapi_csv_quoted(csv, cell) != MAPI_OK) {
                return MAPI_ERROR;
            }

        } else {
            mapi_csv_plain(csv, cell);
        }

        if (mapi_csv_after(csv, &more) != MAPI_OK) {
            return MAPI_ERROR;
        }

    } while (more);

    return MAPI_OK;
}


static int
mapi_csv_quoted(mapi_csv_t *csv, mapi_csv_cell_t *cell)
{
    unsigned char  *p, *dst;

    p = csv->pos + 1;
    dst = p;
    cell->text.data = p;

    for ( ;; ) {

        if (p == csv->last) {
            return mapi_csv_fail(csv, "this quote is never closed",
                                 cell->line, cell->begin, cell->start);
        }

        if (*p == '"') {

            if (csv->last - p < 2 || p[1] != '"') {
                break;
            }

            p++;

        } else if (*p == '\n') {
            csv->line++;
            csv->begin = p + 1;
        }

        if (dst != p) {
            *dst = *p;
        }

        dst++;
        p++;
    }

    cell->text.len = dst - cell->text.data;
    csv->pos = p + 1;

    return MAPI_OK;
}


static void
mapi_csv_plain(mapi_csv_t *csv, mapi_csv_cell_t *cell)
{
    unsigned char  *p;

    for (p = csv->pos; p < csv->last; p++) {
        if (*p == csv->separator || *p == '\n') {
            break;
        }
    }

    cell->text.data = csv->pos;
    cell->text.len = p - csv->pos;

    csv->pos = p;

    if (cell->text.len && p[-1] == '\r' && (p == csv->last || *p == '\n')) {
        cell->text.len--;
    }
}


/*
 * After a cell: a separator, the end of the line, or the end.
 */

static int
mapi_csv_after(mapi_csv_t *csv, unsigned *more)
{
    unsigned  cr;

    *more = 0;
    cr = 0;

    if (csv->pos < csv->last && *csv->pos == '\r') {
        csv->pos++;
        cr = 1;
    }

    if (csv->pos == csv->last) {
        return MAPI_OK;
    }

    if (*csv->pos == '\n') {
        csv->pos++;
        csv->begin = csv->pos;
        csv->line++;
        return MAPI_OK;
    }

    if (*csv->pos == csv->separator && !cr) {
        csv->pos++;
        *more = 1;
        return MAPI_OK;
    }

    return mapi_csv_fail(csv, "there is text after the closing quote of a "
                         "cell", csv->line, csv->begin, csv->pos);
}
