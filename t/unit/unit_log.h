
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _UNIT_LOG_H_INCLUDED_
#define _UNIT_LOG_H_INCLUDED_


/*
 * A strict reader of log rows, for unit tests and the fuzz target: it shares
 * no code with the writer.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapi_log_row.h"



typedef struct {
    size_t  n;
    size_t  len[MAPI_LOG_COLUMNS + 1];
    char   *field[MAPI_LOG_COLUMNS + 1];     /* terminated, without quotes */
    char    text[MAPI_LOG_ROW_MAX + MAPI_LOG_COLUMNS + 2];
} unit_log_t;


/* what a row that was refused may hold */
static const unsigned char  unit_log_refused[MAPI_LOG_COLUMNS] = {
    [0] = 1, [1] = 1, [2] = 1, [3] = 1, [4] = 1, [5] = 1, [7] = 1, [8] = 1,
    [9] = 1, [11] = 1, [12] = 1, [16] = 1, [17] = 1, [18] = 1, [19] = 1,
    [21] = 1, [22] = 1, [31] = 1, [46] = 1, [60] = 1, [62] = 1, [63] = 1,
    [67] = 1
};


/* UTF-8 by the value of each character, none of which ends or hides a line */
static inline const char *
unit_log_utf8(const unsigned char *p, size_t len)
{
    size_t    i, n, k;
    uint32_t  c;

    static const uint32_t  least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    for (i = 0; i < len; i += n) {
        c = p[i];

        n = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3
            : c < 0xf8 ? 4 : 0;

        if (n == 0 || n > len - i) {
            return "a byte that is no UTF-8";
        }

        c &= n == 1 ? 0x7f : 0xff >> (n + 1);

        for (k = 1; k < n; k++) {
            if (p[i + k] >> 6 != 2) {
                return "half a character";
            }

            c = c << 6 | (p[i + k] & 0x3f);
        }

        if (c < least[n] || c > 0x10ffff || c >> 11 == 0xd800 >> 11) {
            return "a character that UTF-8 forbids";
        }

        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029)
        {
            return "a character that controls";
        }
    }

    return NULL;
}


/* RFC 4180, with quotes only where they are needed; the row without CR LF */
static inline const char *
unit_log_split(unit_log_t *log, const unsigned char *p, size_t len)
{
    char                 *dst;
    size_t                commas, i, quotes;
    const unsigned char  *last;

    for (commas = 0, i = 0; i < len; i++) {
        commas += (p[i] == ',');
    }

    dst = log->text;
    last = p + len;
    log->n = 0;

    for ( ;; ) {

        if (log->n > MAPI_LOG_COLUMNS) {
            return "more columns than there are";
        }

        log->field[log->n] = dst;

        if (p < last && *p == '"') {

            for (p++, quotes = 0; p < last; p++) {

                if (*p == '"') {
                    if (last - p < 2 || p[1] != '"') {
                        break;
                    }

                    quotes++;
                    p++;
                }

                *dst++ = *p;
            }

            if (p == last) {
                return "a quote that is never closed";
            }

            if (quotes == 0) {
                return "quotes around what has none";
            }

            p++;

            if (p < last && *p != ',') {
                return "text after a closing quote";
            }

        } else {
            while (p < last && *p != ',') {

                if (*p == '"') {
                    return "a bare quote";
                }

                *dst++ = *p++;
            }
        }

        log->len[log->n] = dst - log->field[log->n];
        *dst++ = '\0';
        log->n++;

        if (p == last) {
            break;
        }

        p++;
    }

    return commas + 1 == log->n ? NULL : "a comma within a field";
}


/* a column that is a number or empty, which counts as 0 */
static inline int64_t
unit_log_number(const unit_log_t *log, unsigned column)
{
    const char  *p;

    for (p = log->field[column]; *p; p++) {
        if (*p < '0' || *p > '9') {
            return -1;
        }
    }

    return (int64_t) strtoull(log->field[column], NULL, 10);
}


static inline int64_t
unit_log_least(int64_t n)
{
    return n > 0 ? n : 0;
}


/* the formulas by which readers recompute a row's latencies */
static inline const char *
unit_log_identities(const unit_log_t *log)
{
    unsigned  i;
    int64_t   n[65];

    for (i = 35; i < 65; i++) {
        n[i] = unit_log_number(log, i);

        if (n[i] < 0) {
            return "a latency that is no number";
        }
    }

    if (n[62] != n[63] - (n[48] + n[50] + n[51] + n[53] + n[54])) {
        return "HttpProxyOverhead";
    }

    if (log->len[51] ? n[61] != unit_log_least(n[62] - n[35])
                     : log->len[61] != 0)
    {
        return "RoutingLatency";
    }

    if (log->len[51] && log->len[61] == 0) {
        return "RoutingLatency is missing";
    }

    if (n[60] != unit_log_least(n[62] - n[35] - n[49] - n[52])) {
        return "CoreLatency";
    }

    if (log->len[57] && n[63] != n[35] + n[47] + n[57] + n[58]) {
        return "TotalRequestTime";
    }

    return n[46] == n[63] ? NULL : "ActivityContextLifeTime";
}


/* 2023-01-06T01:00:04.141Z */
static inline int
unit_log_is_time(const char *p)
{
    size_t  i;

    static const char  shape[] = "0000-00-00T00:00:00.000Z";

    for (i = 0; shape[i]; i++) {
        if (shape[i] == '0' ? p[i] < '0' || p[i] > '9' : p[i] != shape[i]) {
            return 0;
        }
    }

    return 1;
}


/*
 * Entries of a column of pairs, changed in place.  Moments never go back, the
 * first is the one that is given, and the last is DateTime.
 */

static inline const char *
unit_log_entries(unit_log_t *log, char *p, int moments)
{
    char  *end, *equal, *time;

    time = NULL;

    while (*p) {

        end = strchr(p, ';');

        if (end == NULL) {

            if (moments || strlen(p) < 3
                || strcmp(p + strlen(p) - 3, "...") != 0)
            {
                return "an entry that does not end";
            }

            break;
        }

        *end = '\0';
        equal = strchr(p, '=');

        if (equal == NULL ? strcmp(p, "...") != 0
            : equal == p || equal[1] == '\0' || strchr(equal + 1, '='))
        {
            return "an entry that is no key and value";
        }

        /* keys of moments are letters alone, those of pairs have a dot */

        if (moments && equal && strcspn(p, ".-") >= (size_t) (equal - p)
            && unit_log_is_time(equal + 1))
        {

            if (time == NULL && strncmp(p, "BeginRequest=", 13) != 0) {
                return "a row that does not begin with BeginRequest";
            }

            if (time && strcmp(time, equal + 1) > 0) {
                return "moments out of order";
            }

            time = equal + 1;
        }

        p = end + 1;
    }

    if (moments && (time == NULL || strcmp(time, log->field[0]) != 0)) {
        return "EndRequest is not DateTime";
    }

    return NULL;
}


/*
 * Reads a row; returns what is wrong with it, or NULL with its fields in log,
 * whose last two columns of pairs are then in pieces if "deep".
 */

static inline const char *
unit_log_read(unit_log_t *log, const unsigned char *p, size_t len,
    unsigned columns, int deep)
{
    unsigned     i;
    const char  *wrong;

    if (len > MAPI_LOG_ROW_MAX) {
        return "too long";
    }

    if (len < 2 || p[len - 2] != '\r' || p[len - 1] != '\n') {
        return "no CR LF at the end";
    }

    len -= 2;

    wrong = unit_log_utf8(p, len);

    if (wrong == NULL) {
        wrong = unit_log_split(log, p, len);
    }

    if (wrong) {
        return wrong;
    }

    if (log->n != columns) {
        return "another number of columns";
    }

    if (!unit_log_is_time(log->field[0])) {
        return "DateTime";
    }

    if (log->len[23] == 0) {
        for (i = 0; i < columns; i++) {
            if (log->len[i] && !unit_log_refused[i]) {
                return "a column that a refused row does not have";
            }
        }
    }

    wrong = unit_log_identities(log);

    if (wrong == NULL && deep) {
        wrong = unit_log_entries(log, log->field[67], 1);
    }

    if (wrong == NULL && deep) {
        wrong = unit_log_entries(log, log->field[68], 0);
    }

    return wrong;
}


#endif /* _UNIT_LOG_H_INCLUDED_ */
