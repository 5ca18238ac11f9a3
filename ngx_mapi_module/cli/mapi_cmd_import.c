
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd_import.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>


static uint64_t cmd_import_size(const char *file);
static void cmd_import_warn(cmd_import_t *im);
static int cmd_import_write(cmd_import_t *im);
static void cmd_import_error(cmd_import_t *im, mapi_directory_writer_t *w);


int
cmd_import(cmd_options_t *opt)
{
    int            code;
    cmd_import_t  *im;

    if (opt->mailboxes == NULL && opt->databases == NULL
        && opt->servers == NULL)
    {
        cmd_say("import: give at least one of --mailboxes, --databases and "
                "--servers (see mapi-directory import --help)");
        return CMD_USAGE;
    }

    im = calloc(1, sizeof(cmd_import_t));
    if (im == NULL) {
        cmd_say("out of memory");
        return CMD_ENVIRONMENT;
    }

    im->opt = opt;
    im->progress = (unsigned) isatty(STDERR_FILENO);
    code = CMD_DONE;

    if (opt->servers) {
        code = cmd_import_servers(im, opt->servers);
    }

    if (code == CMD_DONE && opt->databases) {
        code = cmd_import_databases(im, opt->databases);
    }

    if (code == CMD_DONE && opt->mailboxes) {
        code = cmd_import_mailboxes(im, opt->mailboxes);
    }

    if (code == CMD_DONE) {
        code = cmd_import_write(im);
    }

    if (im->progress) {
        fprintf(stderr, "\r%60s\r", "");
    }

    if (code == CMD_DONE) {
        cmd_import_warn(im);

        printf("mailboxes: %llu\narchives: %llu\ndatabases: %llu\n"
               "servers: %llu\n",
               (unsigned long long) im->meta.mailboxes,
               (unsigned long long) im->meta.archives,
               (unsigned long long) im->meta.databases,
               (unsigned long long) im->meta.servers);

        code = cmd_flush(code);
    }

    mapi_arena_free(&im->arena);
    free(im->scratch);
    free(im->slots);
    free(im);

    return code;
}


void
cmd_import_progress(void *data, const char *what, size_t done, size_t total)
{
    cmd_import_t *im = data;

    if (!im->progress) {
        return;
    }

    if (total) {
        fprintf(stderr, "\r%s: %zu of %zu   ", what, done, total);

    } else {
        fprintf(stderr, "\r%s: %zu   ", what, done);
    }

    (void) fflush(stderr);
}


static uint64_t
cmd_import_size(const char *file)
{
    struct stat  st;

    return (file && stat(file, &st) == 0) ? (uint64_t) st.st_size : 0;
}


static int
cmd_import_write(cmd_import_t *im)
{
    int                       rc;
    uint64_t                  bytes;
    cmd_options_t            *opt;
    mapi_directory_writer_t  *w;

    opt = im->opt;

    w = mapi_directory_writer_open(opt->directory, 1, &rc);

    if (w == NULL) {
        cmd_say("out of memory");
        return CMD_ENVIRONMENT;
    }

    if (rc != MAPI_OK) {
        cmd_say("%s", w->error);
        mapi_directory_writer_close(w);
        return CMD_ENVIRONMENT;
    }

    bytes = 4 * (cmd_import_size(opt->mailboxes)
                 + cmd_import_size(opt->databases)
                 + cmd_import_size(opt->servers)) + 4 * 1024 * 1024;

    im->code = CMD_ENVIRONMENT;

    rc = mapi_directory_transact(w, bytes, cmd_import_apply, im);

    if (rc == MAPI_OK) {
        im->meta = w->meta;
        mapi_directory_writer_close(w);
        return CMD_DONE;
    }

    if (im->progress) {
        fprintf(stderr, "\r%60s\r", "");
    }

    if (w->error_line) {
        cmd_import_error(im, w);
        im->code = CMD_INPUT;

    } else if (w->error[0]) {
        cmd_say("%s", w->error);
    }

    cmd_say("nothing was changed");

    rc = im->code;
    mapi_directory_writer_close(w);

    return rc;
}


static void
cmd_import_error(cmd_import_t *im, mapi_directory_writer_t *w)
{
    unsigned  place;

    cmd_table_places(im->opt->mailboxes, cmd_mailbox_columns,
                     cmd_mailbox_ncolumns, CMD_MAILBOX_GUID, &w->error_line,
                     &place, 1);

    cmd_say("%s:%u:%u: %s", im->opt->mailboxes, w->error_line, place,
            w->error);
}


static int
cmd_import_by_line(const void *a, const void *b)
{
    uint32_t  x, y;

    x = ((const cmd_warning_t *) a)->line;
    y = ((const cmd_warning_t *) b)->line;

    return (x < y) ? -1 : (x > y);
}


static void
cmd_import_warn(cmd_import_t *im)
{
    unsigned  i, n, places[CMD_WARNINGS_MAX];
    uint32_t  lines[CMD_WARNINGS_MAX];

    n = im->nwarnings;

    if (n == 0) {
        return;
    }

    if (n > CMD_WARNINGS_MAX) {
        n = CMD_WARNINGS_MAX;
    }

    qsort(im->warnings, n, sizeof(cmd_warning_t), cmd_import_by_line);

    for (i = 0; i < n; i++) {
        lines[i] = im->warnings[i].line;
    }

    cmd_table_places(im->opt->mailboxes, cmd_mailbox_columns,
                     cmd_mailbox_ncolumns, CMD_MAILBOX_SMTP, lines, places,
                     n);

    for (i = 0; i < n; i++) {
        cmd_say("%s:%u:%u: warning: %s", im->opt->mailboxes, lines[i],
                places[i], im->warnings[i].text);
    }

    if (im->nwarnings > n) {
        cmd_say("%s: warning: %u more names that two mailboxes have",
                im->opt->mailboxes, im->nwarnings - n);
    }
}
