
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd_import.h"

#include <arpa/inet.h>
#include <stdlib.h>


/* rows of the small files */


#define CMD_DB_NAME       0
#define CMD_DB_GUID       1
#define CMD_DB_SERVER     2
#define CMD_DB_MOUNTED    3
#define CMD_DB_COPIES     4

#define CMD_SERVER_NAME       0
#define CMD_SERVER_FQDN       1
#define CMD_SERVER_ADDRESSES  2
#define CMD_SERVER_VERSION    3
#define CMD_SERVER_STATE      4


typedef struct {
    mapi_str_t  name;
    unsigned    order;
} cmd_copy_t;


static const cmd_column_t  cmd_db_columns[] = {
    { "Name", 1, NULL },
    { "Guid", 1, "@{n='Guid';e={\"$($_.Guid)\"}}" },
    { "Server", 0, "@{n='Server';e={\"$($_.Server)\"}}" },
    { "MountedOnServer", 0,
      "@{n='MountedOnServer';e={\"$($_.MountedOnServer)\"}}" },
    { "ActivationPreference", 0,
      "@{n='ActivationPreference';e={$_.ActivationPreference -join ' '}}" }
};


static const cmd_column_t  cmd_server_columns[] = {
    { "Name", 1, NULL },
    { "Fqdn", 0, "@{n='Fqdn';e={\"$($_.Fqdn)\"}}" },
    { "Addresses", 0, "@{n='Addresses';e={$_.Addresses -join ';'}}" },
    { "AdminDisplayVersion", 0,
      "@{n='AdminDisplayVersion';e={\"$($_.AdminDisplayVersion)\"}}" },
    { "State", 0, "@{n='State';e={\"$($_.State)\"}}" }
};


static int cmd_import_server(cmd_import_t *im, cmd_table_t *t);
static int cmd_import_addresses(cmd_import_t *im, cmd_table_t *t,
    mapi_str_t *list);
static int cmd_import_version(cmd_import_t *im, const mapi_str_t *text,
    mapi_str_t *version);
static int cmd_import_database(cmd_import_t *im, cmd_table_t *t);
static int cmd_import_copies(cmd_import_t *im, cmd_table_t *t,
    mapi_str_t *list);
static int cmd_import_lower(cmd_import_t *im, cmd_table_t *t, unsigned column,
    mapi_str_t *dst);


static int
cmd_no_memory(void)
{
    cmd_say("out of memory");

    return CMD_ENVIRONMENT;
}


int
cmd_import_servers(cmd_import_t *im, const char *file)
{
    int          rc, code;
    cmd_table_t  t;

    code = cmd_table_open(&t, file, cmd_server_columns, 5,
                          "docs/Export-MapiDirectory.ps1");

    if (code != CMD_DONE) {
        return code;
    }

    while (code == CMD_DONE && (rc = cmd_table_row(&t)) != MAPI_DECLINED) {
        code = (rc == MAPI_OK) ? cmd_import_server(im, &t) : CMD_INPUT;
    }

    cmd_table_close(&t);

    return code;
}


static int
cmd_import_lower(cmd_import_t *im, cmd_table_t *t, unsigned column,
    mapi_str_t *dst)
{
    mapi_str_t  *text;

    text = &t->values[column].text;

    if (text->len > MAPI_DIRECTORY_NAME_MAX
        || memchr(text->data ? text->data : (unsigned char *) "", '\n',
                  text->len) != NULL)
    {
        cmd_table_say(t, column, "longer than %d bytes, or more than a line",
                      MAPI_DIRECTORY_NAME_MAX);
        return CMD_INPUT;
    }

    if (mapi_arena_str(&im->arena, dst, text) != MAPI_OK) {
        return cmd_no_memory();
    }

    (void) mapi_strlow(dst->data, dst->data, dst->len);

    return CMD_DONE;
}


static int
cmd_import_server(cmd_import_t *im, cmd_table_t *t)
{
    int                           code;
    size_t                        i;
    mapi_str_t                   *text;
    mapi_directory_server_row_t  *s;

    im->servers = mapi_arena_grow(&im->arena, im->servers, im->nservers,
                                  &im->room_servers,
                                  sizeof(mapi_directory_server_row_t));
    if (im->servers == NULL) {
        return cmd_no_memory();
    }

    s = &im->servers[im->nservers];
    memset(s, 0, sizeof(mapi_directory_server_row_t));
    s->line = t->cells[0].line;

    if (t->values[CMD_SERVER_NAME].text.len == 0) {
        cmd_table_say(t, CMD_SERVER_NAME, "a server without a name");
        return CMD_INPUT;
    }

    code = cmd_import_lower(im, t, CMD_SERVER_NAME, &s->name);

    if (code == CMD_DONE) {
        code = cmd_import_lower(im, t, CMD_SERVER_FQDN, &s->fqdn);
    }

    if (code == CMD_DONE) {
        code = cmd_import_addresses(im, t, &s->addresses);
    }

    if (code == CMD_DONE) {
        code = cmd_import_version(im, &t->values[CMD_SERVER_VERSION].text,
                                  &s->version);
    }

    if (code != CMD_DONE) {
        return code;
    }

    text = &t->values[CMD_SERVER_STATE].text;

    if (text->len && cmd_state_parse(text, &s->state) != MAPI_OK) {
        cmd_table_say(t, CMD_SERVER_STATE, "\"%.*s\" is not active, draining "
                      "or offline", (int) text->len, text->data);
        return CMD_INPUT;
    }

    for (i = 0; i < im->nservers; i++) {
        if (mapi_str_eq(&im->servers[i].name, &s->name)) {
            cmd_table_say(t, CMD_SERVER_NAME, "the server %.*s is already in "
                          "line %u", (int) s->name.len, s->name.data,
                          im->servers[i].line);
            return CMD_INPUT;
        }

        if (s->fqdn.len && mapi_str_eq(&im->servers[i].fqdn, &s->fqdn)) {
            cmd_table_say(t, CMD_SERVER_FQDN, "%.*s is already in line %u",
                          (int) s->fqdn.len, s->fqdn.data,
                          im->servers[i].line);
            return CMD_INPUT;
        }
    }

    im->nservers++;

    return CMD_DONE;
}


/*
 * Addresses in the form in which nginx prints them, each ended by zero.
 */

static int
cmd_import_addresses(cmd_import_t *im, cmd_table_t *t, mapi_str_t *list)
{
    size_t          n;
    char            buf[INET6_ADDRSTRLEN], word[INET6_ADDRSTRLEN + 1];
    mapi_str_t      text;
    unsigned char  *p, *last, *start, *dst, addr[16];

    text = t->values[CMD_SERVER_ADDRESSES].text;

    dst = mapi_arena_bytes(&im->arena, 2 * text.len
                                       + 2 * INET6_ADDRSTRLEN);
    if (dst == NULL) {
        return cmd_no_memory();
    }

    list->data = dst;
    last = text.data + text.len;

    for (p = text.data; p < last; /* void */) {

        if (*p == ';' || *p == ' ' || *p == ',' || *p == '[' || *p == ']') {
            p++;
            continue;
        }

        start = p;

        while (p < last && *p != ';' && *p != ' ' && *p != ',' && *p != ']') {
            p++;
        }

        n = p - start;

        if (n >= sizeof(word)) {
            n = sizeof(word) - 1;
        }

        memcpy(word, start, n);
        word[n] = '\0';

        if (inet_pton(AF_INET, word, addr) == 1) {
            (void) inet_ntop(AF_INET, addr, buf, sizeof(buf));

        } else if (inet_pton(AF_INET6, word, addr) == 1) {
            (void) inet_ntop(AF_INET6, addr, buf, sizeof(buf));

        } else {
            cmd_table_say(t, CMD_SERVER_ADDRESSES, "\"%s\" is not an IP "
                          "address", word);
            return CMD_INPUT;
        }

        n = strlen(buf) + 1;

        if ((size_t) (dst - list->data) + n
            > 2 * text.len + 2 * INET6_ADDRSTRLEN)
        {
            cmd_table_say(t, CMD_SERVER_ADDRESSES, "too long");
            return CMD_INPUT;
        }

        memcpy(dst, buf, n);
        dst += n;
    }

    list->len = dst - list->data;

    return CMD_DONE;
}


/*
 * "Version 15.1 (Build 2507.6)" is 15.1.2507.6.
 */

static int
cmd_import_version(cmd_import_t *im, const mapi_str_t *text,
    mapi_str_t *version)
{
    size_t          i;
    unsigned        dot;
    unsigned char  *p;

    p = mapi_arena_bytes(&im->arena, text->len + 1);
    if (p == NULL) {
        return cmd_no_memory();
    }

    version->data = p;
    dot = 0;

    for (i = 0; i < text->len; i++) {

        if (text->data[i] >= '0' && text->data[i] <= '9') {

            if (dot && p != version->data) {
                *p++ = '.';
            }

            dot = 0;
            *p++ = text->data[i];

        } else {
            dot = 1;
        }
    }

    version->len = p - version->data;

    return CMD_DONE;
}


int
cmd_import_databases(cmd_import_t *im, const char *file)
{
    int          rc, code;
    cmd_table_t  t;

    code = cmd_table_open(&t, file, cmd_db_columns, 5,
                          "Get-MailboxDatabase -Status | Export-Csv "
                          "databases.csv -Encoding UTF8, or "
                          "docs/Export-MapiDirectory.ps1");

    if (code != CMD_DONE) {
        return code;
    }

    if (t.place[CMD_DB_SERVER] == -1 && t.place[CMD_DB_MOUNTED] == -1) {
        cmd_say("%s:%u:1: the column Server or MountedOnServer is missing: "
                "export it with %s", file, t.cells[0].line, t.source);
        cmd_table_close(&t);
        return CMD_INPUT;
    }

    while (code == CMD_DONE && (rc = cmd_table_row(&t)) != MAPI_DECLINED) {
        code = (rc == MAPI_OK) ? cmd_import_database(im, &t) : CMD_INPUT;
    }

    cmd_table_close(&t);

    return code;
}


static int
cmd_import_database(cmd_import_t *im, cmd_table_t *t)
{
    int                       code;
    size_t                    i;
    unsigned                  column;
    mapi_str_t               *text;
    mapi_directory_db_row_t  *db;

    im->databases = mapi_arena_grow(&im->arena, im->databases,
                                    im->ndatabases, &im->room_databases,
                                    sizeof(mapi_directory_db_row_t));
    if (im->databases == NULL) {
        return cmd_no_memory();
    }

    db = &im->databases[im->ndatabases];
    memset(db, 0, sizeof(mapi_directory_db_row_t));
    db->line = t->cells[0].line;

    text = &t->values[CMD_DB_NAME].text;

    if (text->len == 0 || text->len > MAPI_DIRECTORY_NAME_MAX) {
        cmd_table_say(t, CMD_DB_NAME, "empty, or longer than %d bytes",
                      MAPI_DIRECTORY_NAME_MAX);
        return CMD_INPUT;
    }

    if (mapi_arena_str(&im->arena, &db->name, text) != MAPI_OK) {
        return cmd_no_memory();
    }

    text = &t->values[CMD_DB_GUID].text;

    if (mapi_guid_parse(&db->guid, text->data, text->len) != MAPI_OK
        || mapi_guid_is_null(&db->guid))
    {
        cmd_table_say(t, CMD_DB_GUID, "\"%.*s\" is not a GUID",
                      (int) (text->len > 60 ? 60 : text->len), text->data);
        return CMD_INPUT;
    }

    column = t->values[CMD_DB_MOUNTED].text.len ? CMD_DB_MOUNTED
                                                : CMD_DB_SERVER;

    if (t->values[column].text.len == 0) {
        cmd_table_say(t, CMD_DB_SERVER, "a database without a server");
        return CMD_INPUT;
    }

    code = cmd_import_lower(im, t, column, &db->server);

    if (code == CMD_DONE) {
        code = cmd_import_copies(im, t, &db->copies);
    }

    if (code != CMD_DONE) {
        return code;
    }

    for (i = 0; i < im->ndatabases; i++) {

        if (memcmp(im->databases[i].guid.b, db->guid.b, 16) == 0) {
            cmd_table_say(t, CMD_DB_GUID, "this GUID is already in line %u",
                          im->databases[i].line);
            return CMD_INPUT;
        }

        if (mapi_str_caseeq(&im->databases[i].name, &db->name)) {
            cmd_table_say(t, CMD_DB_NAME, "the database %.*s is already in "
                          "line %u", (int) db->name.len, db->name.data,
                          im->databases[i].line);
            return CMD_INPUT;
        }
    }

    im->ndatabases++;

    return CMD_DONE;
}


static int
cmd_import_copy_cmp(const void *x, const void *y)
{
    const cmd_copy_t *a = x, *b = y;

    if (a->order != b->order) {
        return (a->order < b->order) ? -1 : 1;
    }

    return (a->name.data < b->name.data) ? -1 : 1;
}


/*
 * "[EX1, 1] [EX2, 2]", also in braces and with commas between; or names
 * alone, separated by ";" or blanks, in their order.
 */

static int
cmd_import_copies(cmd_import_t *im, cmd_table_t *t, mapi_str_t *list)
{
    size_t          n, room, i;
    unsigned        bracket;
    mapi_str_t     *text;
    cmd_copy_t     *copies;
    unsigned char  *p, *last, *start, *dst;

    text = &t->values[CMD_DB_COPIES].text;
    copies = NULL;
    room = 0;
    n = 0;

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (memchr(" ;,{}\r\n\t]", *p, 9)) {
            p++;
            continue;
        }

        bracket = (*p == '[');
        p += bracket;

        for (start = p; p < last && !memchr(" ;,{}\r\n\t[]", *p, 10); p++) {
            /* void */
        }

        if (p == start) {
            goto invalid;
        }

        copies = mapi_arena_grow(&im->arena, copies, n, &room,
                                 sizeof(cmd_copy_t));
        if (copies == NULL) {
            return cmd_no_memory();
        }

        copies[n].name.data = start;
        copies[n].name.len = p - start;
        copies[n].order = (unsigned) n + 1;

        if (bracket) {

            while (p < last && (*p == ',' || *p == ' ')) {
                p++;
            }

            copies[n].order = 0;

            for (start = p; p < last && *p >= '0' && *p <= '9'
                            && p - start < 8; p++)
            {
                copies[n].order = copies[n].order * 10 + (*p - '0');
            }

            if (p == start || p == last || *p++ != ']') {
                goto invalid;
            }
        }

        n++;
    }

    if (n) {
        qsort(copies, n, sizeof(cmd_copy_t), cmd_import_copy_cmp);
    }

    dst = mapi_arena_bytes(&im->arena, text->len + n + 1);
    if (dst == NULL) {
        return cmd_no_memory();
    }

    list->data = dst;

    for (i = 0; i < n; i++) {
        dst = mapi_strlow(dst, copies[i].name.data, copies[i].name.len);
        *dst++ = '\0';
    }

    list->len = dst - list->data;

    return CMD_DONE;

invalid:

    cmd_table_say(t, CMD_DB_COPIES, "not of the form [EX1, 1] [EX2, 2]: "
                  "export the column as %s",
                  cmd_db_columns[CMD_DB_COPIES].expression);

    return CMD_INPUT;
}
