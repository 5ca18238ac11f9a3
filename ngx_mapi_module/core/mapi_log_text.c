
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


/*
 * Most values have nothing to be cleaned in them, and are looked through and
 * copied sixteen bytes at a time, in the compiler's vectors, which are there
 * for every machine.  mapi_log_class says the same of one byte.
 */

typedef signed char  mapi_log_bytes_t __attribute__((vector_size(16)));
typedef uint64_t     mapi_log_words_t __attribute__((vector_size(16)));


/* is none of them of a class above asis?  What is high is negative here. */
static inline int
mapi_log_is_clean(mapi_log_bytes_t v, unsigned char asis)
{
    mapi_log_bytes_t  dirty;
    mapi_log_words_t  clean;

    dirty = (v == '"') | (v == ',') | (v == 0x7f);

    if (asis == mapi_log_plain) {
        dirty |= (v == ';') | (v == '=');
    }

    clean = (mapi_log_words_t) (~dirty & (v > 0x1f));

    return (clean[0] & clean[1]) == (uint64_t) -1;
}


size_t
mapi_log_run(unsigned char *p, const unsigned char *src, size_t n,
    unsigned char asis)
{
    size_t            i;
    uint32_t          half[2];
    mapi_log_bytes_t  v;
    mapi_log_words_t  two;

    i = 0;

    if (n >= 16) {

        for ( /* void */ ; n - i >= 16; i += 16) {
            memcpy(&v, src + i, 16);
            memcpy(p + i, &v, 16);

            if (!mapi_log_is_clean(v, asis)) {
                goto bytes;
            }
        }

        /* the rest, and of what is done as much as fills them up */

        if (i < n) {
            memcpy(&v, src + n - 16, 16);
            memcpy(p + n - 16, &v, 16);

            if (!mapi_log_is_clean(v, asis)) {
                goto bytes;
            }
        }

        return n;
    }

    /* below that, two halves that overlap */

    if (n >= 8) {
        memcpy(&two, src, 8);
        memcpy((unsigned char *) &two + 8, src + n - 8, 8);
        memcpy(p, &two, 8);
        memcpy(p + n - 8, (unsigned char *) &two + 8, 8);

    } else if (n >= 4) {
        memcpy(&half[0], src, 4);
        memcpy(&half[1], src + n - 4, 4);
        memcpy(p, &half[0], 4);
        memcpy(p + n - 4, &half[1], 4);

        two[0] = (uint64_t) half[0] << 32 | half[1];
        two[1] = two[0];

    } else {
        goto bytes;
    }

    if (mapi_log_is_clean((mapi_log_bytes_t) two, asis)) {
        return n;
    }

bytes:

    for ( /* void */ ; i < n; i++) {

        if (mapi_log_class[src[i]] > asis) {
            break;
        }

        p[i] = src[i];
    }

    return i;
}


/* two digits */
static inline unsigned char *
mapi_log_two(unsigned char *p, unsigned n)
{
    static const char  digits[] =
        "0001020304050607080910111213141516171819"
        "2021222324252627282930313233343536373839"
        "4041424344454647484950515253545556575859"
        "6061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";

    memcpy(p, &digits[2 * n], 2);

    return p + 2;
}


unsigned char *
mapi_log_long_number(unsigned char *p, uint64_t n)
{
    size_t         i;
    unsigned       low;
    unsigned char  digits[MAPI_LOG_NUMBER_MAX];

    if (n < 10000) {

        low = (unsigned) n % 100;
        n /= 100;

        if (n >= 10) {
            p = mapi_log_two(p, (unsigned) n);
            return mapi_log_two(p, low);
        }

        if (n) {
            *p++ = (unsigned char) ('0' + n);
            return mapi_log_two(p, low);
        }

        if (low >= 10) {
            return mapi_log_two(p, low);
        }

        *p++ = (unsigned char) ('0' + low);
        return p;
    }

    i = sizeof(digits);

    while (n >= 100) {
        i -= 2;
        (void) mapi_log_two(&digits[i], (unsigned) (n % 100));
        n /= 100;
    }

    i -= 2;
    (void) mapi_log_two(&digits[i], (unsigned) n);
    i += (n < 10);

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


void
mapi_log_clock_set(mapi_log_clock_t *clock, int64_t msec)
{
    int64_t         second;
    unsigned        year, month, day, n;
    unsigned char  *p;

    second = msec / 1000;

    if (second != clock->second) {

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
        *p++ = '.';

        clock->second = second;
    }

    n = (unsigned) (msec - second * 1000);
    p = clock->text + sizeof("yyyy-MM-ddTHH:mm:ss.") - 1;

    *p++ = (unsigned char) ('0' + n / 100);
    p = mapi_log_two(p, n % 100);
    *p = 'Z';

    clock->msec = msec;
}


void
mapi_log_clock_init(mapi_log_clock_t *clock)
{
    clock->second = -1;
    clock->msec = -1;
}


unsigned char *
mapi_log_version_number(unsigned char *p, const mapi_log_version_t *v)
{
    size_t    i;
    uint32_t  n;

    n = 0x70008000 | (v->part[0] & 0x3f) << 22 | (v->part[1] & 0x3f) << 16
        | (v->part[2] & 0x7fff);

    for (i = 10; i > 0; i -= 2) {
        (void) mapi_log_two(p + i - 2, n % 100);
        n /= 100;
    }

    return p + 10;
}


unsigned char *
mapi_log_version(unsigned char *p, const mapi_log_version_t *v, unsigned last)
{
    if (v->part[0] < 100 && v->part[1] < 100 && v->part[2] < 10000
        && last < 1000)
    {
        p = mapi_log_two(p, v->part[0]);
        *p++ = '.';
        p = mapi_log_two(p, v->part[1]);
        *p++ = '.';
        p = mapi_log_two(p, v->part[2] / 100);
        p = mapi_log_two(p, v->part[2] % 100);
        *p++ = '.';
        *p++ = (unsigned char) ('0' + last / 100);

        return mapi_log_two(p, last % 100);
    }

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
