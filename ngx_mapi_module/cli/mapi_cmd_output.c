
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"


static void cmd_output_json(const mapi_str_t *s);
static void cmd_output_csv(const mapi_str_t *s, unsigned list);
static void cmd_output_plain(const cmd_value_t *v, unsigned width);


void
cmd_output_start(cmd_output_t *out)
{
    unsigned  i;

    out->rows = 0;

    if (out->format == cmd_format_json) {
        fputs(out->list ? "[" : "", stdout);
        return;
    }

    if (!out->list) {
        return;
    }

    for (i = 0; i < out->n; i++) {

        if (out->format == cmd_format_csv) {
            printf("%s%s", i ? "," : "", out->names[i]);

        } else if (i == out->n - 1) {
            printf("%s", out->names[i]);

        } else {
            printf("%-*s  ", (int) out->widths[i], out->names[i]);
        }
    }

    putchar('\n');
}


static void
cmd_output_json(const mapi_str_t *s)
{
    size_t  i;

    putchar('"');

    for (i = 0; i < s->len; i++) {

        if (s->data[i] == '"' || s->data[i] == '\\') {
            putchar('\\');
            putchar(s->data[i]);

        } else if (s->data[i] < 0x20) {
            printf("\\u%04x", s->data[i]);

        } else {
            putchar(s->data[i]);
        }
    }

    putchar('"');
}


static void
cmd_output_csv(const mapi_str_t *s, unsigned list)
{
    size_t  i, n;

    n = s->len;

    if (list && n) {
        n--;
    }

    putchar('"');

    for (i = 0; i < n; i++) {

        if (s->data[i] == '\0') {
            putchar(';');
            continue;
        }

        if (s->data[i] == '"') {
            putchar('"');
        }

        putchar(s->data[i]);
    }

    putchar('"');
}


static void
cmd_output_plain(const cmd_value_t *v, unsigned width)
{
    size_t    i, n;
    unsigned  chars;

    n = v->text.len;

    if (v->list && n) {
        n--;
    }

    chars = 0;

    for (i = 0; i < n; i++) {

        if (v->text.data[i] == '\0') {
            putchar(' ');

        } else if (v->text.data[i] < 0x20 || v->text.data[i] == 0x7f) {
            putchar('?');

        } else if (v->text.data[i] == 0xc2 && i + 1 < n
                   && (v->text.data[i + 1] & 0xe0) == 0x80)
        {
            /* U+0080 to U+009F: a terminal may obey these, too */

            putchar('?');
            i++;
            chars++;
            continue;

        } else {
            putchar(v->text.data[i]);
        }

        chars += ((v->text.data[i] & 0xc0) != 0x80);
    }

    for ( /* void */ ; chars < width; chars++) {
        putchar(' ');
    }
}


void
cmd_output_row(cmd_output_t *out, const cmd_value_t *values)
{
    unsigned    i, first;
    mapi_str_t  list, word;

    if (out->format == cmd_format_json) {

        fputs(out->rows ? ",\n{" : (out->list ? "\n{" : "{"), stdout);

        for (i = 0; i < out->n; i++) {

            printf("%s\"%s\":", i ? "," : "", out->names[i]);

            if (values[i].number) {
                printf("%.*s", (int) values[i].text.len, values[i].text.data);
                continue;
            }

            if (!values[i].list) {
                cmd_output_json(&values[i].text);
                continue;
            }

            putchar('[');
            list = values[i].text;
            first = 1;

            while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
                fputs(first ? "" : ",", stdout);
                cmd_output_json(&word);
                first = 0;
            }

            putchar(']');
        }

        putchar('}');
        out->rows++;

        return;
    }

    out->rows++;

    for (i = 0; i < out->n; i++) {

        if (out->format == cmd_format_csv) {
            fputs(i ? "," : "", stdout);
            cmd_output_csv(&values[i].text, values[i].list);

        } else if (out->list) {
            cmd_output_plain(&values[i],
                             (i == out->n - 1) ? 0 : out->widths[i]);
            fputs((i == out->n - 1) ? "\n" : "  ", stdout);

        } else if (values[i].text.len) {
            printf("%s: ", out->names[i]);
            cmd_output_plain(&values[i], 0);
            putchar('\n');
        }
    }

    if (out->format == cmd_format_csv) {
        putchar('\n');
    }
}


void
cmd_output_end(cmd_output_t *out)
{
    if (out->format == cmd_format_json) {
        fputs(out->list ? (out->rows ? "\n]\n" : "]\n") : "\n", stdout);
    }
}
