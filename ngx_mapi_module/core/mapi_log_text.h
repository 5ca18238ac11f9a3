
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_LOG_TEXT_H_INCLUDED_
#define _MAPI_LOG_TEXT_H_INCLUDED_


#include "mapi_log_row.h"


/*
 * What rows, headers and names of the log are made of: numbers, moments, and
 * anybody's values, cleaned.  Everything writes to p, where its caller has
 * room for what it says at most, and returns the end.
 */

#define mapi_log_min(a, b)  ((a) < (b) ? (a) : (b))
#define mapi_log_max(a, b)  ((a) > (b) ? (a) : (b))

/* a literal, without the zero at its end */
#define mapi_log_text(p, s)                                                   \
    ((unsigned char *) memcpy(p, s, sizeof(s) - 1) + sizeof(s) - 1)


/* a 64-bit number, four 32-bit numbers with dots */

#define MAPI_LOG_NUMBER_MAX   20
#define MAPI_LOG_VERSION_MAX  44

/* what a value that is too long ends in */

#define MAPI_LOG_DOTS         3

/* no moment is after the year 9999, and none before 1970 */

#define MAPI_LOG_SECONDS_MAX  253402300799LL


/*
 * What a byte is.  In a plain column everything up to mapi_log_mark is written
 * as it is, in a column of pairs only what is mapi_log_plain.
 */

enum {
    mapi_log_plain = 0,
    mapi_log_mark,        /* ";" and "=" */
    mapi_log_blank,       /* "," and what controls a terminal */
    mapi_log_cr,
    mapi_log_lf,
    mapi_log_quote,
    mapi_log_high         /* maybe UTF-8 */
};

extern const unsigned char  mapi_log_class[256];


/* a column while it is written */
typedef struct {
    unsigned char  *start;
    unsigned char   asis;         /* the highest class that is left alone */
    unsigned        quoted:1;     /* there is a quote in it */
    unsigned        cut:1;        /* a value was too long */
} mapi_log_column_t;


/* decimal; the second with zeros in front up to "width", at most 4, digits */
unsigned char *mapi_log_long_number(unsigned char *p, uint64_t n);
unsigned char *mapi_log_padded(unsigned char *p, unsigned n, unsigned width);

/*
 * Days since 1970, not negative, to a date of the Gregorian calendar, and
 * back; what comes of a month or day that there is not is another date.
 */
void mapi_log_date(int64_t days, unsigned *year, unsigned *month,
    unsigned *day);
int64_t mapi_log_days(unsigned year, unsigned month, unsigned day);

void mapi_log_clock_init(mapi_log_clock_t *clock);

/* milliseconds since 1970, of a second of 0 to MAPI_LOG_SECONDS_MAX */
void mapi_log_clock_set(mapi_log_clock_t *clock, int64_t msec);

/* as one number, in which Exchange writes versions of servers: 10 digits */
unsigned char *mapi_log_version_number(unsigned char *p,
    const mapi_log_version_t *v);

/* 15.02.1544.004; the last of the four parts is given apart */
unsigned char *mapi_log_version(unsigned char *p,
    const mapi_log_version_t *v, unsigned last);

/*
 * Copies what is to be left alone, of n bytes, and returns how many that are:
 * up to the first byte of a class above asis.  Where p has room for n bytes,
 * what is behind may be anything after that.
 */
size_t mapi_log_run(unsigned char *p, const unsigned char *src, size_t n,
    unsigned char asis);

/* the rest of a value whose first "done" bytes stand at start as they are */
unsigned char *mapi_log_clean(unsigned char *start, size_t done,
    mapi_log_column_t *column, const mapi_str_t *value, size_t max);

/* puts quotes around a column that has one inside */
unsigned char *mapi_log_column_quote(unsigned char *p,
    mapi_log_column_t *column);


/* most numbers of a row have one digit */
static inline unsigned char *
mapi_log_number(unsigned char *p, uint64_t n)
{
    if (n < 10) {
        *p++ = (unsigned char) ('0' + n);
        return p;
    }

    return mapi_log_long_number(p, n);
}


/* 2023-01-06T01:00:04.141Z, from milliseconds since 1970 */
static inline unsigned char *
mapi_log_time(unsigned char *p, mapi_log_clock_t *clock, int64_t msec)
{
    if (msec != clock->msec) {
        mapi_log_clock_set(clock, msec);
    }

    memcpy(p, clock->text, MAPI_LOG_TIME_MAX);

    return p + MAPI_LOG_TIME_MAX;
}


static inline void
mapi_log_column_start(mapi_log_column_t *column, unsigned char *p,
    unsigned char asis)
{
    column->start = p;
    column->asis = asis;
    column->quoted = 0;
    column->cut = 0;
}


/* a value at the end of a column: at most "max" bytes, 3 or more */
static inline unsigned char *
mapi_log_value(unsigned char *p, mapi_log_column_t *column,
    const mapi_str_t *value, size_t max)
{
    size_t  n;

    n = mapi_log_run(p, value->data, mapi_log_min(value->len, max),
                     column->asis);

    if (n == value->len) {
        return p + n;
    }

    return mapi_log_clean(p, n, column, value, max);
}


static inline unsigned char *
mapi_log_column_end(unsigned char *p, mapi_log_column_t *column)
{
    return column->quoted ? mapi_log_column_quote(p, column) : p;
}


#endif /* _MAPI_LOG_TEXT_H_INCLUDED_ */
