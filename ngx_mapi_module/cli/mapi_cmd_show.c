
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"

#include <stdlib.h>
#include <time.h>


/* lookup and list */


#define CMD_TEXT_MAX  65536


typedef struct {
    mapi_directory_t  *d;
    cmd_output_t       out;
    unsigned char     *buf;      /* CMD_TEXT_MAX, for joined lists */
    int                rc;
} cmd_show_t;


static const char *const  cmd_lookup_names[] = {
    "mailbox", "archive", "smtp", "addresses", "upn", "account",
    "mapi_enabled", "database", "database_guid", "server", "fqdn", "state",
    "copies"
};

static const char *const  cmd_mailbox_names[] = {
    "ExchangeGuid", "PrimarySmtpAddress", "Database", "EmailAddresses",
    "UserPrincipalName", "SamAccountName", "ArchiveGuid", "ArchiveDatabase",
    "MapiHttpEnabled"
};

static const unsigned  cmd_mailbox_widths[] = {
    36, 32, 16, 32, 32, 16, 36, 16, 5
};

static const char *const  cmd_database_names[] = {
    "Name", "Guid", "Server", "ActivationPreference"
};

static const unsigned  cmd_database_widths[] = { 20, 36, 20, 1 };

static const char *const  cmd_server_names[] = {
    "Name", "Fqdn", "Addresses", "AdminDisplayVersion", "State"
};

static const unsigned  cmd_server_widths[] = { 16, 32, 32, 14, 8 };


static void cmd_texts(const mapi_str_t *all, unsigned char *buf,
    cmd_value_t *smtp, cmd_value_t *addresses, cmd_value_t *upn,
    cmd_value_t *account);
static int cmd_list_mailbox(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_list_database(void *data, const mapi_str_t *key,
    const mapi_str_t *value);
static int cmd_list_server(void *data, const mapi_str_t *key,
    const mapi_str_t *value);


/*
 * Splits a mailbox's strings; the addresses are joined in buf, each ended by
 * zero, as far as they fit.
 */

static void
cmd_texts(const mapi_str_t *all, unsigned char *buf, cmd_value_t *smtp,
    cmd_value_t *addresses, cmd_value_t *upn, cmd_value_t *account)
{
    unsigned        kind;
    mapi_str_t      texts, text;
    unsigned char  *p;

    texts = *all;
    p = buf;

    while (mapi_directory_text_next(&texts, &kind, &text) == MAPI_OK) {

        switch (kind) {

        case mapi_text_smtp_upn:
            upn->text = text;

            /* fall through */

        case mapi_text_smtp:
            smtp->text = text;
            break;

        case mapi_text_upn:
            upn->text = text;
            break;

        case mapi_text_account:
            account->text = text;
            break;

        case mapi_text_address:
            if (text.len + 1 <= (size_t) (buf + CMD_TEXT_MAX - p)) {
                memcpy(p, text.data, text.len);
                p += text.len;
                *p++ = '\0';
            }

            break;
        }
    }

    addresses->text.data = buf;
    addresses->text.len = p - buf;
    addresses->list = 1;
}


static int
cmd_lookup_print(cmd_options_t *opt, mapi_directory_t *d,
    mapi_mailbox_t *mailbox, unsigned char *buf)
{
    char                      mid[MAPI_GUID_LEN + 1], aid[MAPI_GUID_LEN + 1],
                              did[MAPI_GUID_LEN + 1];
    cmd_value_t               v[13];
    cmd_output_t              out;
    mapi_str_t                value;
    mapi_server_t             server;
    mapi_database_t           database;
    unsigned char             key[17];
    mapi_directory_record_t   record;

    memset(v, 0, sizeof(v));
    memset(&out, 0, sizeof(out));

    (void) mapi_directory_guid_key(key, mapi_table_mailbox, &mailbox->guid);

    if (mapi_directory_fetch(d, key, sizeof(key), &value) != MAPI_OK
        || mapi_directory_record_read(&record, &value) != MAPI_OK)
    {
        cmd_say("%s", mapi_directory_error(d));
        return CMD_ENVIRONMENT;
    }

    v[0].text = cmd_str(cmd_guid(mid, &mailbox->guid));

    if (record.flags & MAPI_MAILBOX_ARCHIVE) {
        v[1].text = cmd_str(cmd_guid(aid, &record.archive));
    }

    cmd_texts(&record.texts, buf, &v[2], &v[3], &v[4], &v[5]);

    v[6].text = cmd_str((record.flags & MAPI_MAILBOX_HTTP_OFF) ? "no"
                        : (record.flags & MAPI_MAILBOX_HTTP_ON) ? "yes" : "");
    v[8].text = cmd_str(cmd_guid(did, &mailbox->database));
    v[12].list = 1;

    if (mapi_directory_database(d, &mailbox->database, &database) == MAPI_OK)
    {
        v[7].text = database.name;
        v[9].text = database.server;
        v[12].text = database.copies;

        if (mapi_directory_server(d, &database.server, &server) == MAPI_OK) {
            v[9].text = server.name;
            v[10].text = server.fqdn;
            v[11].text = cmd_str(cmd_state(server.state));

        } else {
            v[11].text = cmd_str("unknown");
        }
    }

    out.format = opt->format;
    out.names = cmd_lookup_names;
    out.n = 13;

    cmd_output_start(&out);
    cmd_output_row(&out, v);
    cmd_output_end(&out);

    return CMD_DONE;
}


int
cmd_lookup(cmd_options_t *opt)
{
    int                rc, code;
    mapi_str_t         text;
    unsigned char     *buf;
    mapi_mailbox_t     mailbox;
    mapi_identity_t    id;
    mapi_directory_t  *d;

    text = cmd_str(opt->args[0]);

    buf = malloc(CMD_TEXT_MAX);
    if (buf == NULL) {
        cmd_say("out of memory");
        return CMD_ENVIRONMENT;
    }

    if (mapi_identity_parse_any(&id, text.data, text.len, buf) != MAPI_OK) {
        cmd_say("\"%s\" is not a GUID, an address, DOMAIN\\user or a user",
                opt->args[0]);
        free(buf);
        return CMD_USAGE;
    }

    d = cmd_read(opt, &code);
    if (d == NULL) {
        free(buf);
        return code;
    }

    rc = mapi_directory_mailbox(d, &id, &mailbox);

    if (rc == MAPI_OK) {
        code = cmd_lookup_print(opt, d, &mailbox, buf);

    } else if (rc == MAPI_DECLINED) {
        cmd_say("%s: no mailbox, or more than one", opt->args[0]);
        code = CMD_NOT_FOUND;

    } else {
        cmd_say("%s", mapi_directory_error(d));
        code = CMD_ENVIRONMENT;
    }

    cmd_read_end(d);
    free(buf);

    return cmd_flush(code);
}


int
cmd_list(cmd_options_t *opt)
{
    int                      rc, code;
    cmd_show_t               show;
    const char              *what;
    mapi_page_walk_pt        call;
    mapi_directory_table_e   table;

    memset(&show, 0, sizeof(show));
    what = opt->args[0];

    if (strcmp(what, "mailboxes") == 0) {
        table = mapi_table_mailbox;
        call = cmd_list_mailbox;
        show.out.names = cmd_mailbox_names;
        show.out.widths = cmd_mailbox_widths;
        show.out.n = 9;

    } else if (strcmp(what, "databases") == 0) {
        table = mapi_table_database;
        call = cmd_list_database;
        show.out.names = cmd_database_names;
        show.out.widths = cmd_database_widths;
        show.out.n = 4;

    } else if (strcmp(what, "servers") == 0) {
        table = mapi_table_server;
        call = cmd_list_server;
        show.out.names = cmd_server_names;
        show.out.widths = cmd_server_widths;
        show.out.n = 5;

    } else {
        cmd_say("list: \"%s\" is not mailboxes, databases or servers", what);
        return CMD_USAGE;
    }

    show.buf = malloc(CMD_TEXT_MAX);
    if (show.buf == NULL) {
        cmd_say("out of memory");
        return CMD_ENVIRONMENT;
    }

    show.d = cmd_read(opt, &code);

    if (show.d) {
        show.out.format = opt->format;
        show.out.list = 1;

        cmd_output_start(&show.out);
        rc = mapi_directory_walk(show.d, table, call, &show);
        cmd_output_end(&show.out);

        code = CMD_DONE;

        if (rc != MAPI_OK) {
            cmd_say("the directory \"%s\" is damaged inside: run "
                    "\"mapi-directory -d %s check\"", opt->directory,
                    opt->directory);
            code = CMD_ENVIRONMENT;
        }

        cmd_read_end(show.d);
        code = cmd_flush(code);
    }

    free(show.buf);

    return code;
}


static void
cmd_list_database_name(cmd_show_t *show, const mapi_guid_t *guid,
    cmd_value_t *v, char *id)
{
    mapi_database_t  database;

    if (mapi_directory_database(show->d, guid, &database) == MAPI_OK) {
        v->text = database.name;

    } else {
        v->text = cmd_str(cmd_guid(id, guid));
    }
}


static int
cmd_list_mailbox(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_show_t *show = data;

    char                      id[4][MAPI_GUID_LEN + 1];
    cmd_value_t               v[9];
    mapi_guid_t               guid;
    mapi_directory_record_t   record;

    if (key->len != 17
        || mapi_directory_record_read(&record, value) != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    if (record.flags & MAPI_MAILBOX_ALIAS) {
        return MAPI_OK;
    }

    memset(v, 0, sizeof(v));
    memcpy(guid.b, key->data + 1, 16);

    v[0].text = cmd_str(cmd_guid(id[0], &guid));
    cmd_texts(&record.texts, show->buf, &v[1], &v[3], &v[4], &v[5]);
    cmd_list_database_name(show, &record.database, &v[2], id[1]);

    if (record.flags & MAPI_MAILBOX_ARCHIVE) {
        v[6].text = cmd_str(cmd_guid(id[2], &record.archive));
        cmd_list_database_name(show, &record.archive_database, &v[7], id[3]);
    }

    v[8].text = cmd_str((record.flags & MAPI_MAILBOX_HTTP_OFF) ? "False"
                        : (record.flags & MAPI_MAILBOX_HTTP_ON) ? "True"
                        : "");

    cmd_output_row(&show->out, v);

    return ferror(stdout) ? MAPI_ERROR : MAPI_OK;
}


static int
cmd_list_database(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_show_t *show = data;

    int               n;
    char              id[MAPI_GUID_LEN + 1];
    size_t            len;
    mapi_str_t        list, word;
    cmd_value_t       v[4];
    mapi_guid_t       guid;
    mapi_database_t   database;

    if (key->len != 17
        || mapi_directory_database_read(&database, value) != MAPI_OK)
    {
        return MAPI_ERROR;
    }

    memset(v, 0, sizeof(v));
    memcpy(guid.b, key->data + 1, 16);

    v[0].text = database.name;
    v[1].text = cmd_str(cmd_guid(id, &guid));
    v[2].text = database.server;
    v[3].text = database.copies;
    v[3].list = 1;

    if (show->out.format != cmd_format_json) {

        /* "[ex1, 1] [ex2, 2]", as Exchange prints it */

        list = database.copies;
        len = 0;
        n = 0;

        while (mapi_directory_list_next(&list, &word) == MAPI_OK
               && len + word.len + 32 < CMD_TEXT_MAX)
        {
            len += (size_t) snprintf((char *) show->buf + len,
                                     CMD_TEXT_MAX - len, "%s[%.*s, %d]",
                                     n ? " " : "", (int) word.len, word.data,
                                     n + 1);
            n++;
        }

        v[3].text.data = show->buf;
        v[3].text.len = len;
        v[3].list = 0;
    }

    cmd_output_row(&show->out, v);

    return MAPI_OK;
}


static int
cmd_list_server(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_show_t *show = data;

    cmd_value_t    v[5];
    mapi_server_t  server, now;

    if (mapi_directory_server_read(&server, value) != MAPI_OK) {
        return MAPI_ERROR;
    }

    if (mapi_directory_server(show->d, &server.name, &now) != MAPI_OK) {
        return MAPI_ERROR;
    }

    memset(v, 0, sizeof(v));

    v[0].text = server.name;
    v[1].text = server.fqdn;
    v[2].text = server.addresses;
    v[2].list = 1;
    v[3].text = server.version;
    v[4].text = cmd_str(cmd_state(now.state));

    cmd_output_row(&show->out, v);

    return MAPI_OK;
}
