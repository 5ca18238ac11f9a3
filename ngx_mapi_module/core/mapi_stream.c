
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_stream.h"


typedef enum {
    mapi_stream_word = 0,      /* between tags, or inside one */
    mapi_stream_processing,
    mapi_stream_pending,
    mapi_stream_done,
    mapi_stream_done_end,      /* the rest of DONE's line */
    mapi_stream_name,          /* from the start of a header line */
    mapi_stream_value,
    mapi_stream_skip,          /* the rest of a line */
    mapi_stream_over
} mapi_stream_state_e;


/* digits of an X-ResponseCode: the protocol has codes up to 18 */
#define MAPI_STREAM_DIGITS  9


static const char  mapi_stream_code_name[] = "x-responsecode:";


static const unsigned char *mapi_stream_whole(mapi_stream_t *s,
    const unsigned char *p, const unsigned char *last);
static void mapi_stream_byte(mapi_stream_t *s, unsigned char c);
static void mapi_stream_tag(mapi_stream_t *s, unsigned char c);
static void mapi_stream_in_word(mapi_stream_t *s, unsigned char c,
    const char *word);
static void mapi_stream_header(mapi_stream_t *s, unsigned char c);
static void mapi_stream_code(mapi_stream_t *s, unsigned char c);


void
mapi_stream_init(mapi_stream_t *s)
{
    memset(s, 0, sizeof(mapi_stream_t));
    s->code = -1;
}


int
mapi_stream_read(mapi_stream_t *s, const unsigned char *p, size_t len)
{
    const unsigned char  *last, *next;

    last = p + len;

    while (p < last && s->state != mapi_stream_over) {

        if (s->matched == 0) {
            next = mapi_stream_whole(s, p, last);

            if (next != p) {
                p = next;
                continue;
            }
        }

        if (s->state == mapi_stream_skip) {
            p = memchr(p, '\n', last - p);

            if (p == NULL) {
                break;
            }

            p++;
            s->state = mapi_stream_name;
            s->matched = 0;
            continue;
        }

        mapi_stream_byte(s, *p++);
    }

    return s->state == mapi_stream_over ? MAPI_DECLINED : MAPI_OK;
}


/*
 * What is here whole, as nearly everything is, is taken in one piece: a word
 * and the end of its line, the beginning of another header, the empty line.
 * Returns what follows it, or p where only single bytes tell.
 */

static const unsigned char *
mapi_stream_whole(mapi_stream_t *s, const unsigned char *p,
    const unsigned char *last)
{
    size_t  len;

    len = last - p;

    if (len < 4) {
        return p;
    }

    switch (s->state) {

    case mapi_stream_word:

        if (len >= 12 && memcmp(p, "PROCESSING\r\n", 12) == 0) {
            return p + 12;
        }

        if (memcmp(p, "DONE", 4) == 0) {
            s->done = 1;

            if (len >= 6 && p[4] == '\r' && p[5] == '\n') {
                s->state = mapi_stream_name;
                return p + 6;
            }

            s->state = mapi_stream_done_end;
            return p + 4;
        }

        if (len >= 7 && memcmp(p, "PENDING", 7) == 0) {
            s->pending++;
            return p + 7;
        }

        return p;

    case mapi_stream_name:

        if (p[0] == '\r' && p[1] == '\n') {
            s->state = mapi_stream_over;
            return p + 2;
        }

        /* the third letter of X-ResponseCode, on the same line */

        if (mapi_tolower(p[2]) != 'r'
            && p[0] != '\r' && p[0] != '\n' && p[1] != '\n' && p[2] != '\n')
        {
            s->state = mapi_stream_skip;
            return p + 3;
        }

        return p;

    default:
        return p;
    }
}


static void
mapi_stream_byte(mapi_stream_t *s, unsigned char c)
{
    switch (s->state) {

    case mapi_stream_word:
        mapi_stream_tag(s, c);
        break;

    case mapi_stream_processing:
        mapi_stream_in_word(s, c, "PROCESSING");
        break;

    case mapi_stream_pending:
        mapi_stream_in_word(s, c, "PENDING");
        break;

    case mapi_stream_done:
        mapi_stream_in_word(s, c, "DONE");
        break;

    case mapi_stream_done_end:
        if (c == '\n') {
            s->state = mapi_stream_name;
            s->matched = 0;

        } else if (c != '\r') {
            s->state = mapi_stream_over;
        }

        break;

    case mapi_stream_name:
        mapi_stream_header(s, c);
        break;

    case mapi_stream_value:
        mapi_stream_code(s, c);
        break;
    }
}


/* which of the three words it is shows with the second letter */

static void
mapi_stream_tag(mapi_stream_t *s, unsigned char c)
{
    if (s->matched == 0) {

        if (c == 'D') {
            s->state = mapi_stream_done;
            s->matched = 1;

        } else if (c == 'P') {
            s->matched = 1;

        } else if (c != '\r' && c != '\n') {
            s->state = mapi_stream_over;
        }

        return;
    }

    s->matched = 2;

    if (c == 'R') {
        s->state = mapi_stream_processing;

    } else if (c == 'E') {
        s->state = mapi_stream_pending;

    } else {
        s->state = mapi_stream_over;
    }
}


static void
mapi_stream_in_word(mapi_stream_t *s, unsigned char c, const char *word)
{
    if (c != (unsigned char) word[s->matched]) {
        s->state = mapi_stream_over;
        return;
    }

    if (word[++s->matched] != '\0') {
        return;
    }

    s->matched = 0;

    if (s->state == mapi_stream_done) {
        s->done = 1;
        s->state = mapi_stream_done_end;
        return;
    }

    if (s->state == mapi_stream_pending) {
        s->pending++;
    }

    s->state = mapi_stream_word;
}


static void
mapi_stream_header(mapi_stream_t *s, unsigned char c)
{
    if (c == '\n') {
        /* an empty line ends the header, another had no colon */
        s->state = s->matched ? mapi_stream_name : mapi_stream_over;
        s->matched = 0;
        return;
    }

    if (c == '\r' && s->matched == 0) {
        return;
    }

    if (mapi_tolower(c) != (unsigned char) mapi_stream_code_name[s->matched]) {
        s->state = mapi_stream_skip;
        return;
    }

    if (mapi_stream_code_name[++s->matched] == '\0') {
        s->state = mapi_stream_value;
        s->digits = 0;
        s->code = -1;
    }
}


static void
mapi_stream_code(mapi_stream_t *s, unsigned char c)
{
    if (c >= '0' && c <= '9' && s->digits < MAPI_STREAM_DIGITS) {
        s->code = (s->digits++ ? s->code * 10 : 0) + (c - '0');
        return;
    }

    if (c == '\n') {
        s->state = mapi_stream_name;
        s->matched = 0;
        return;
    }

    if (c == '\r' || ((c == ' ' || c == '\t') && s->digits == 0)) {
        return;
    }

    if (c != ' ' && c != '\t') {
        s->code = -1;
    }

    s->state = mapi_stream_skip;
}
