
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _MAPI_CMD_H_INCLUDED_
#define _MAPI_CMD_H_INCLUDED_


#include "mapi_csv.h"
#include "mapi_directory_write.h"

#include <stdio.h>


/* exit codes: part of the interface */

#define CMD_DONE         0
#define CMD_NOT_FOUND    1     /* or a check failed, or wants --force */
#define CMD_USAGE        2
#define CMD_INPUT        3
#define CMD_ENVIRONMENT  4


typedef enum {
    cmd_format_plain = 0,      /* table, or key: value lines */
    cmd_format_csv,
    cmd_format_json
} cmd_format_e;


typedef struct {
    const char    *directory;
    const char    *mailboxes;
    const char    *databases;
    const char    *servers;
    const char    *url;
    unsigned       replace;
    unsigned       force;
    cmd_format_e   format;
    int64_t        within;     /* seconds; -1: not given */
    const char    *args[4];
    unsigned       nargs;
} cmd_options_t;


int cmd_import(cmd_options_t *opt);
int cmd_lookup(cmd_options_t *opt);
int cmd_move(cmd_options_t *opt);
int cmd_server(cmd_options_t *opt);
int cmd_node(cmd_options_t *opt);
int cmd_list(cmd_options_t *opt);
int cmd_check(cmd_options_t *opt);
int cmd_stats(cmd_options_t *opt);
int cmd_why(cmd_options_t *opt);


/* to standard error, with a newline */
void cmd_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* opens for reading and begins; NULL after a message, and *code is set */
mapi_directory_t *cmd_read(cmd_options_t *opt, int *code);
void cmd_read_end(mapi_directory_t *d);

mapi_str_t cmd_str(const char *s);
const char *cmd_guid(char *buf, const mapi_guid_t *guid);
const char *cmd_state(mapi_server_state_e state);
int cmd_state_parse(const mapi_str_t *s, mapi_server_state_e *state);

/* flushes standard output: 0, or CMD_ENVIRONMENT after a message */
int cmd_flush(int code);


/* rows of key and value, as lines, CSV or JSON */

typedef struct {
    cmd_format_e         format;
    const char *const   *names;
    unsigned             n;
    unsigned             list;      /* more than one row may come */
    size_t               rows;
    const unsigned      *widths;    /* of a table's columns */
} cmd_output_t;

/* lists (zero-ended words) are values with a kind of their own */
typedef struct {
    mapi_str_t           text;
    unsigned             list:1;
    unsigned             number:1;  /* JSON without quotes */
} cmd_value_t;

void cmd_output_start(cmd_output_t *out);
void cmd_output_row(cmd_output_t *out, const cmd_value_t *values);
void cmd_output_end(cmd_output_t *out);


/* a CSV file with named columns */

#define CMD_COLUMNS_MAX  12
#define CMD_CELLS_MAX    512

typedef struct {
    const char          *name;
    unsigned             needed;
    const char          *expression;   /* PowerShell's, for its lists */
} cmd_column_t;

typedef struct {
    const char          *file;
    const cmd_column_t  *columns;
    unsigned             ncolumns;
    const char          *source;       /* the PowerShell command */

    unsigned char       *data;
    size_t               len;
    mapi_csv_t           csv;
    size_t               width;        /* cells in the header */
    int                  place[CMD_COLUMNS_MAX];
    mapi_csv_cell_t      cells[CMD_CELLS_MAX];
    mapi_csv_cell_t      values[CMD_COLUMNS_MAX];   /* trimmed */
} cmd_table_t;

/* CMD_DONE, or the exit code after a message */
int cmd_table_open(cmd_table_t *t, const char *file,
    const cmd_column_t *columns, unsigned n, const char *source);
void cmd_table_close(cmd_table_t *t);

/* MAPI_OK, MAPI_DECLINED at the end, MAPI_ERROR after a message */
int cmd_table_row(cmd_table_t *t);

/* a message about a value of the row: "file:line:column: text" */
void cmd_table_say(cmd_table_t *t, unsigned column, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* places of a column in given lines, sorted: reads the file again */
void cmd_table_places(const char *file, const cmd_column_t *columns,
    unsigned n, unsigned column, const uint32_t *lines, unsigned *places,
    unsigned nlines);


#endif /* _MAPI_CMD_H_INCLUDED_ */
