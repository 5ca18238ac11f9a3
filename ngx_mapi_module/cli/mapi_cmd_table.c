
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>


static int cmd_table_load(cmd_table_t *t);
static int cmd_table_header(cmd_table_t *t);
static int cmd_table_csv_error(cmd_table_t *t);
static int cmd_table_is_type(const mapi_str_t *s);
static void cmd_table_trim(mapi_str_t *s);


int
cmd_table_open(cmd_table_t *t, const char *file, const cmd_column_t *columns,
    unsigned n, const char *source)
{
    int  rc;

    memset(t, 0, sizeof(cmd_table_t));
    t->file = file;
    t->columns = columns;
    t->ncolumns = n;
    t->source = source;

    rc = cmd_table_load(t);

    if (rc == CMD_DONE) {
        rc = cmd_table_header(t);
    }

    if (rc != CMD_DONE) {
        cmd_table_close(t);
    }

    return rc;
}


void
cmd_table_close(cmd_table_t *t)
{
    free(t->data);
    t->data = NULL;
}


static int
cmd_table_load(cmd_table_t *t)
{
    int             fd, rc, err;
    size_t          len;
    ssize_t         n;
    const char     *error;
    struct stat     st;
    unsigned char  *utf8;

    fd = open(t->file, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err = (fd == -1) ? errno : EINVAL;
        cmd_say("%s: cannot be read: %s", t->file,
                err == EINVAL ? "not a regular file" : strerror(err));

        if (fd != -1) {
            (void) close(fd);
        }

        return CMD_INPUT;
    }

    t->data = malloc((size_t) st.st_size + 1);
    if (t->data == NULL) {
        (void) close(fd);
        cmd_say("%s: out of memory", t->file);
        return CMD_ENVIRONMENT;
    }

    while (t->len < (size_t) st.st_size) {

        n = read(fd, t->data + t->len, (size_t) st.st_size - t->len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            cmd_say("%s: cannot be read: %s", t->file, strerror(errno));
            (void) close(fd);
            return CMD_INPUT;
        }

        if (n == 0) {
            break;
        }

        t->len += (size_t) n;
    }

    (void) close(fd);

    rc = mapi_csv_utf16(t->data, t->len, &utf8, &len, &error);

    if (rc == MAPI_ERROR) {
        cmd_say("%s:1:1: %s", t->file, error);
        return CMD_INPUT;
    }

    if (rc == MAPI_OK) {
        free(t->data);
        t->data = utf8;
        t->len = len;
    }

    if (mapi_csv_init(&t->csv, t->data, t->len) != MAPI_OK) {
        return cmd_table_csv_error(t);
    }

    return CMD_DONE;
}


static int
cmd_table_csv_error(cmd_table_t *t)
{
    cmd_say("%s:%u:%u: %s", t->file, t->csv.error_line, t->csv.error_column,
            t->csv.error);

    return CMD_INPUT;
}


static int
cmd_table_header(cmd_table_t *t)
{
    int         rc;
    size_t      n, i;
    unsigned    c;
    mapi_str_t  name, text;

    rc = mapi_csv_row(&t->csv, t->cells, CMD_CELLS_MAX, &n);

    if (rc == MAPI_ERROR) {
        return cmd_table_csv_error(t);
    }

    if (rc == MAPI_DECLINED) {
        cmd_say("%s:1:1: the file is empty: export it with %s", t->file,
                t->source);
        return CMD_INPUT;
    }

    if (n > CMD_CELLS_MAX) {
        cmd_say("%s:%u:1: more than %d columns", t->file, t->cells[0].line,
                CMD_CELLS_MAX);
        return CMD_INPUT;
    }

    t->width = n;

    for (c = 0; c < t->ncolumns; c++) {

        name = cmd_str(t->columns[c].name);
        t->place[c] = -1;

        for (i = 0; i < n; i++) {
            text = t->cells[i].text;
            cmd_table_trim(&text);

            if (!mapi_str_caseeq(&name, &text)) {
                continue;
            }

            if (t->place[c] != -1) {
                cmd_say("%s:%u:%u: the column %s is there twice", t->file,
                        t->cells[i].line, mapi_csv_column(&t->cells[i]),
                        t->columns[c].name);
                return CMD_INPUT;
            }

            t->place[c] = (int) i;
        }

        if (t->place[c] == -1 && t->columns[c].needed) {
            cmd_say("%s:%u:1: the column %s is missing: export it with %s",
                    t->file, t->cells[0].line, t->columns[c].name, t->source);
            return CMD_INPUT;
        }
    }

    return CMD_DONE;
}


static void
cmd_table_trim(mapi_str_t *s)
{
    while (s->len && (s->data[0] == ' ' || s->data[0] == '\t'
                      || s->data[0] == '\r' || s->data[0] == '\n'))
    {
        s->data++;
        s->len--;
    }

    while (s->len && (s->data[s->len - 1] == ' '
                      || s->data[s->len - 1] == '\t'
                      || s->data[s->len - 1] == '\r'
                      || s->data[s->len - 1] == '\n'))
    {
        s->len--;
    }
}


/*
 * What Export-Csv writes for a list: the name of its type.
 */

static int
cmd_table_is_type(const mapi_str_t *s)
{
    size_t             i;
    static const char *const  begins[] = { "System.", "Microsoft.",
                                           "Deserialized." };

    for (i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        if (s->len > strlen(begins[i])
            && memcmp(s->data, begins[i], strlen(begins[i])) == 0)
        {
            break;
        }
    }

    if (i == sizeof(begins) / sizeof(begins[0])) {
        return 0;
    }

    if (memchr(s->data, '[', s->len) || memchr(s->data, '`', s->len)) {
        return 1;
    }

    for (i = 0; i < s->len; i++) {
        if (s->data[i] == '@' || s->data[i] == ' ' || s->data[i] == ';') {
            return 0;
        }
    }

    return 1;
}


int
cmd_table_row(cmd_table_t *t)
{
    int         rc;
    size_t      n;
    unsigned    c;

    rc = mapi_csv_row(&t->csv, t->cells, CMD_CELLS_MAX, &n);

    if (rc == MAPI_ERROR) {
        (void) cmd_table_csv_error(t);
        return MAPI_ERROR;
    }

    if (rc == MAPI_DECLINED) {
        return MAPI_DECLINED;
    }

    if (n != t->width) {
        cmd_say("%s:%u:1: this row has %zu cells, the header has %zu: is a "
                "quote or a separator missing?", t->file, t->cells[0].line,
                n, t->width);
        return MAPI_ERROR;
    }

    for (c = 0; c < t->ncolumns; c++) {

        if (t->place[c] == -1) {
            memset(&t->values[c], 0, sizeof(mapi_csv_cell_t));
            t->values[c].line = t->cells[0].line;
            t->values[c].begin = t->cells[0].begin;
            t->values[c].start = t->cells[0].start;
            continue;
        }

        t->values[c] = t->cells[t->place[c]];
        cmd_table_trim(&t->values[c].text);

        if (t->columns[c].expression && cmd_table_is_type(&t->values[c].text))
        {
            cmd_table_say(t, c, "this is the name of a .NET type, not its "
                          "contents: export the column as %s",
                          t->columns[c].expression);
            return MAPI_ERROR;
        }
    }

    return MAPI_OK;
}


void
cmd_table_say(cmd_table_t *t, unsigned column, const char *fmt, ...)
{
    char     text[1024];
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    cmd_say("%s:%u:%u: %s: %s", t->file, t->values[column].line,
            mapi_csv_column(&t->values[column]), t->columns[column].name,
            text);
}


void
cmd_table_places(const char *file, const cmd_column_t *columns, unsigned n,
    unsigned column, const uint32_t *lines, unsigned *places, unsigned nlines)
{
    unsigned      i;
    cmd_table_t  *t;

    for (i = 0; i < nlines; i++) {
        places[i] = 1;
    }

    t = malloc(sizeof(cmd_table_t));

    if (t == NULL || cmd_table_open(t, file, columns, n, "") != CMD_DONE) {
        free(t);
        return;
    }

    i = 0;

    while (i < nlines && cmd_table_row(t) == MAPI_OK) {

        while (i < nlines && lines[i] <= t->cells[0].line) {

            if (lines[i] == t->cells[0].line) {
                places[i] = mapi_csv_column(&t->values[column]);
            }

            i++;
        }
    }

    cmd_table_close(t);
    free(t);
}
