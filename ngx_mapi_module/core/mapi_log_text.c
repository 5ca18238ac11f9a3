
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_log_text.h"


const unsigned char  mapi_log_class[256] = {
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4, 2, 2, 3, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6
};


unsigned char *
mapi_log_long_number(unsigned char *p, uint64_t n)
{
    size_t         i;
    unsigned char  digits[MAPI_LOG_NUMBER_MAX];

    i = sizeof(digits);

    do {
        digits[--i] = (unsigned char) ('0' + n % 10);
        n /= 10;
    } while (n);

    memcpy(p, digits + i, sizeof(digits) - i);

    return p + (sizeof(digits) - i);
}


unsigned char *
mapi_log_padded(unsigned char *p, unsigned n, unsigned width)
{
    unsigned  limit;

    limit = 10;

    while (width-- > 1) {
        limit *= 10;
    }

    for (limit /= 10; limit > 1 && n < limit; limit /= 10) {
        *p++ = '0';
    }

    return mapi_log_number(p, n);
}


/*
 * Years begin in March here, so that a leap day is a year's last; 146097 days
 * are the 400 years after which everything repeats.
 */

void
mapi_log_date(int64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    unsigned  era, n, y, m;

    days += 719468;

    era = (unsigned) (days / 146097);
    n = (unsigned) (days % 146097);

    y = (n - n / 1460 + n / 36524 - n / 146096) / 365;
    n -= 365 * y + y / 4 - y / 100;
    m = (5 * n + 2) / 153;

    *day = n - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = y + era * 400 + (*month <= 2);
}


int64_t
mapi_log_days(unsigned year, unsigned month, unsigned day)
{
    unsigned  y, n;

    year -= (month <= 2);
    y = year % 400;
    n = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return (int64_t) (year / 400) * 146097 + 365 * y + y / 4 - y / 100 + n
           - 719468;
}


static unsigned char *
mapi_log_two(unsigned char *p, unsigned n)
{
    *p++ = (unsigned char) ('0' + n / 10);
    *p++ = (unsigned char) ('0' + n % 10);

    return p;
}


void
mapi_log_clock_set(mapi_log_clock_t *clock, int64_t second)
{
    unsigned        year, month, day, n;
    unsigned char  *p;

    clock->second = second;

    mapi_log_date(second / 86400, &year, &month, &day);
    n = (unsigned) (second % 86400);

    p = mapi_log_two(clock->text, year / 100);
    p = mapi_log_two(p, year % 100);
    *p++ = '-';
    p = mapi_log_two(p, month);
    *p++ = '-';
    p = mapi_log_two(p, day);
    *p++ = 'T';
    p = mapi_log_two(p, n / 3600);
    *p++ = ':';
    p = mapi_log_two(p, n / 60 % 60);
    *p++ = ':';
    p = mapi_log_two(p, n % 60);
    *p = '.';
}


unsigned char *
mapi_log_version(unsigned char *p, const mapi_log_version_t *v, unsigned last)
{
    p = mapi_log_padded(p, v->part[0], 2);
    *p++ = '.';
    p = mapi_log_padded(p, v->part[1], 2);
    *p++ = '.';
    p = mapi_log_padded(p, v->part[2], 4);
    *p++ = '.';

    return mapi_log_padded(p, last, 3);
}


/*
 * What the character at src becomes in a row, at most four bytes.  Returns how
 * many bytes of src that takes.
 */

static size_t
mapi_log_unit(unsigned char *unit, size_t *n, const mapi_log_column_t *column,
    const unsigned char *src, size_t len)
{
    size_t  taken;

    *n = 1;
    unit[0] = ' ';

    switch (mapi_log_class[*src]) {

    case mapi_log_cr:

        if (len > 1 && src[1] == '\n') {
            return 2;
        }

        memcpy(unit, "\\r", 2);
        *n = 2;
        return 1;

    case mapi_log_lf:
        memcpy(unit, "\\n", 2);
        *n = 2;
        return 1;

    case mapi_log_quote:
        memcpy(unit, "\"\"", 2);
        *n = 2;
        return 1;

    case mapi_log_high:
        break;

    default:

        if (mapi_log_class[*src] <= column->asis) {
            unit[0] = *src;
        }

        return 1;
    }

    taken = mapi_utf8(src, len);

    if (taken == 0) {
        unit[0] = '?';
        return 1;
    }

    /* U+0080 to U+009F control terminals, U+2028 and U+2029 end lines */

    if ((taken == 2 && src[0] == 0xc2 && src[1] < 0xa0)
        || (taken == 3 && src[0] == 0xe2 && src[1] == 0x80
            && (src[2] == 0xa8 || src[2] == 0xa9)))
    {
        return taken;
    }

    memcpy(unit, src, taken);
    *n = taken;

    return taken;
}


unsigned char *
mapi_log_clean(unsigned char *start, size_t done, mapi_log_column_t *column,
    const mapi_str_t *value, size_t max)
{
    size_t                n;
    unsigned              quoted;
    unsigned char        *p, *last, *mark, unit[4];
    const unsigned char  *src, *end;

    quoted = column->quoted;
    src = value->data + done;
    end = value->data + value->len;
    p = start + done;
    last = start + max;

    /* where the dots go if the value is to be cut: after a character */

    mark = mapi_log_min(p, last - MAPI_LOG_DOTS);

    while (src < end) {

        if (p <= last - MAPI_LOG_DOTS) {
            mark = p;
        }

        if (mapi_log_class[*src] <= column->asis && p < last) {
            n = mapi_log_run(p, src, mapi_log_min(end - src, last - p),
                             column->asis);
            p += n;
            src += n;

            if (mark == p - n) {
                mark = mapi_log_min(p, last - MAPI_LOG_DOTS);
            }

            continue;
        }

        column->quoted |= (*src == '"');

        src += mapi_log_unit(unit, &n, column, src, end - src);

        if ((size_t) (last - p) < n) {
            column->cut = 1;
            column->quoted = quoted || memchr(start, '"', mark - start);
            return mapi_log_text(mark, "...");
        }

        /* the commonest lengths, without a call */

        *p++ = unit[0];

        if (n > 1) {
            *p++ = unit[1];
        }

        if (n > 2) {
            memcpy(p, unit + 2, n - 2);
            p += n - 2;
        }
    }

    return p;
}


unsigned char *
mapi_log_column_quote(unsigned char *p, mapi_log_column_t *column)
{
    memmove(column->start + 1, column->start, p - column->start);
    *column->start = '"';
    p++;
    *p++ = '"';

    return p;
}
