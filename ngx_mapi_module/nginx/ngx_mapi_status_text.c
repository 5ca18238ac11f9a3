
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_status.h"


/*
 * Bodies of health pages, names of databases and whatever else is shown were
 * written by others.  They are read as UTF-8; what is not, and control
 * characters, become U+FFFD.
 */

#define NGX_MAPI_TEXT_BAD  0xfffd


/* what is written for a character; NULL: itself */
typedef const char *(*ngx_mapi_text_word_pt)(uint32_t c);


static void ngx_mapi_text_escape(ngx_mapi_text_t *t, ngx_str_t *s,
    ngx_mapi_text_word_pt word);
static const char *ngx_mapi_text_html_word(uint32_t c);
static const char *ngx_mapi_text_label_word(uint32_t c);
static ngx_int_t ngx_mapi_text_reserve(ngx_mapi_text_t *t, size_t size);
static uint32_t ngx_mapi_text_next(u_char **p, u_char *last, size_t *len);
static void ngx_mapi_text_put(ngx_mapi_text_t *t, const u_char *data,
    size_t len);


#define ngx_mapi_text_literal(t, s)                                           \
    ngx_mapi_text_put(t, (const u_char *) s, sizeof(s) - 1)


void
ngx_mapi_text_format(ngx_mapi_text_t *t, const char *fmt, ...)
{
    va_list  args;

    if (ngx_mapi_text_reserve(t, NGX_MAPI_TEXT_PIECE) != NGX_OK) {
        return;
    }

    va_start(args, fmt);
    t->last = ngx_vslprintf(t->last, t->last + NGX_MAPI_TEXT_PIECE, fmt,
                            args);
    va_end(args);
}


void
ngx_mapi_text_json(ngx_mapi_text_t *t, ngx_str_t *s)
{
    size_t     len;
    u_char    *p, *last;
    uint32_t   c;

    ngx_mapi_text_literal(t, "\"");

    p = s->data;
    last = p + s->len;

    while (p < last) {

        c = ngx_mapi_text_next(&p, last, &len);

        switch (c) {

        case '"':
            ngx_mapi_text_literal(t, "\\\"");
            break;

        case '\\':
            ngx_mapi_text_literal(t, "\\\\");
            break;

        case '\n':
            ngx_mapi_text_literal(t, "\\n");
            break;

        case NGX_MAPI_TEXT_BAD:
            ngx_mapi_text_literal(t, "\\ufffd");
            break;

        default:
            if (c < 0x20) {
                ngx_mapi_text_format(t, "\\u%04xD", c);
                break;
            }

            ngx_mapi_text_put(t, p - len, len);
        }
    }

    ngx_mapi_text_literal(t, "\"");
}


void
ngx_mapi_text_html(ngx_mapi_text_t *t, ngx_str_t *s)
{
    ngx_mapi_text_escape(t, s, ngx_mapi_text_html_word);
}


void
ngx_mapi_text_label(ngx_mapi_text_t *t, ngx_str_t *s)
{
    ngx_mapi_text_escape(t, s, ngx_mapi_text_label_word);
}


static void
ngx_mapi_text_escape(ngx_mapi_text_t *t, ngx_str_t *s,
    ngx_mapi_text_word_pt word)
{
    size_t       len;
    u_char      *p, *last;
    uint32_t     c;
    const char  *escaped;

    p = s->data;
    last = p + s->len;

    while (p < last) {

        c = ngx_mapi_text_next(&p, last, &len);

        escaped = word(c);

        if (escaped) {
            ngx_mapi_text_put(t, (const u_char *) escaped,
                              ngx_strlen(escaped));

        } else if (c < 0x20 || c == NGX_MAPI_TEXT_BAD) {
            ngx_mapi_text_literal(t, "\xef\xbf\xbd");

        } else {
            ngx_mapi_text_put(t, p - len, len);
        }
    }
}


static const char *
ngx_mapi_text_html_word(uint32_t c)
{
    switch (c) {

    case '&':
        return "&amp;";

    case '<':
        return "&lt;";

    case '>':
        return "&gt;";

    case '"':
        return "&quot;";

    case '\'':
        return "&#39;";

    case '\t':
    case '\r':
    case '\n':
        return " ";
    }

    return NULL;
}


static const char *
ngx_mapi_text_label_word(uint32_t c)
{
    switch (c) {

    case '"':
        return "\\\"";

    case '\\':
        return "\\\\";

    case '\n':
        return "\\n";
    }

    return NULL;
}


/*
 * The next character's length, and itself if it is of ASCII; for others any
 * number above, or NGX_MAPI_TEXT_BAD: no UTF-8, or a control.
 */

static uint32_t
ngx_mapi_text_next(u_char **p, u_char *last, size_t *len)
{
    u_char    *q;
    uint32_t   c;

    q = *p;
    c = *q;
    *len = 1;

    if (c >= 0x80) {

        *len = mapi_utf8(q, last - q);

        if (*len == 0) {
            *len = 1;
            c = NGX_MAPI_TEXT_BAD;

        } else if (c == 0xc2 && q[1] < 0xa0) {
            c = NGX_MAPI_TEXT_BAD;
        }

    } else if (c == 0x7f) {
        c = NGX_MAPI_TEXT_BAD;
    }

    *p = q + *len;

    return c;
}


static void
ngx_mapi_text_put(ngx_mapi_text_t *t, const u_char *data, size_t len)
{
    if (ngx_mapi_text_reserve(t, len) == NGX_OK) {
        t->last = ngx_cpymem(t->last, data, len);
    }
}


static ngx_int_t
ngx_mapi_text_reserve(ngx_mapi_text_t *t, size_t size)
{
    size_t   used, all;
    u_char  *p;

    if (t->failed) {
        return NGX_ERROR;
    }

    if ((size_t) (t->end - t->last) >= size) {
        return NGX_OK;
    }

    used = t->last - t->start;
    all = 2 * (used + size) + 4096;

    p = ngx_pnalloc(t->pool, all);
    if (p == NULL) {
        t->failed = 1;
        return NGX_ERROR;
    }

    if (used) {
        ngx_memcpy(p, t->start, used);
        (void) ngx_pfree(t->pool, t->start);
    }

    t->start = p;
    t->last = p + used;
    t->end = p + all;

    return NGX_OK;
}
