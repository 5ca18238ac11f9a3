
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd_import.h"

#include <stdlib.h>


/* rows of the mailboxes' file, made into records */


#define CMD_STEP  65536


const cmd_column_t  cmd_mailbox_columns[] = {
    { "ExchangeGuid", 1,
      "@{n='ExchangeGuid';e={\"$($_.ExchangeGuid)\"}}" },
    { "PrimarySmtpAddress", 1,
      "@{n='PrimarySmtpAddress';e={\"$($_.PrimarySmtpAddress)\"}}" },
    { "Database", 1, "@{n='Database';e={\"$($_.Database)\"}}" },
    { "EmailAddresses", 0,
      "@{n='EmailAddresses';e={$_.EmailAddresses -join ';'}}" },
    { "UserPrincipalName", 0, NULL },
    { "SamAccountName", 0, NULL },
    { "ArchiveGuid", 0, "@{n='ArchiveGuid';e={\"$($_.ArchiveGuid)\"}}" },
    { "ArchiveDatabase", 0,
      "@{n='ArchiveDatabase';e={\"$($_.ArchiveDatabase)\"}}" },
    { "MapiHttpEnabled", 0,
      "@{n='MapiHttpEnabled';e={\"$($_.MapiHttpEnabled)\"}}" }
};

const unsigned  cmd_mailbox_ncolumns = 9;


static int cmd_import_mailbox(cmd_import_t *im, cmd_table_t *t);
static int cmd_import_name(cmd_import_t *im, const mapi_str_t *name,
    unsigned line, unsigned archive, uint32_t *number);
static int cmd_import_slots(cmd_import_t *im);
static unsigned char *cmd_import_addresses(cmd_table_t *t, unsigned char *p,
    const mapi_str_t *primary);
static int cmd_import_address(mapi_str_t *piece);
static int cmd_import_primary(cmd_table_t *t, mapi_str_t *text);
static int cmd_import_item(cmd_import_t *im, const mapi_guid_t *guid,
    unsigned char *data, size_t len, unsigned line);
static int cmd_import_flags(cmd_table_t *t, unsigned *flags,
    mapi_guid_t *archive);


static int
cmd_no_memory(void)
{
    cmd_say("out of memory");

    return CMD_ENVIRONMENT;
}


int
cmd_import_mailboxes(cmd_import_t *im, const char *file)
{
    int           rc, code;
    cmd_table_t  *t;

    t = malloc(sizeof(cmd_table_t));
    if (t == NULL) {
        return cmd_no_memory();
    }

    code = cmd_table_open(t, file, cmd_mailbox_columns, cmd_mailbox_ncolumns,
                          "Get-Mailbox -ResultSize Unlimited | Export-Csv "
                          "mailboxes.csv -Encoding UTF8, or "
                          "docs/Export-MapiDirectory.ps1");

    if (code != CMD_DONE) {
        free(t);
        return code;
    }

    while (code == CMD_DONE && (rc = cmd_table_row(t)) != MAPI_DECLINED) {

        code = (rc == MAPI_OK) ? cmd_import_mailbox(im, t) : CMD_INPUT;

        if (im->nmailboxes % CMD_STEP == 0) {
            cmd_import_progress(im, "reading mailboxes", im->nmailboxes, 0);
        }
    }

    cmd_table_close(t);
    free(t);

    return code;
}


static int
cmd_import_mailbox(cmd_import_t *im, cmd_table_t *t)
{
    int             code;
    size_t          size;
    unsigned        flags, kind;
    mapi_str_t      primary, *upn, *account, *name;
    mapi_guid_t     guid, archive;
    unsigned char  *p, *data;
    cmd_mailbox_t  *m;

    name = &t->values[CMD_MAILBOX_GUID].text;

    if (mapi_guid_parse(&guid, name->data, name->len) != MAPI_OK) {
        cmd_table_say(t, CMD_MAILBOX_GUID, "\"%.*s\" is not a GUID",
                      (int) (name->len > 60 ? 60 : name->len), name->data);
        return CMD_INPUT;
    }

    if (mapi_guid_is_null(&guid)) {
        cmd_table_say(t, CMD_MAILBOX_GUID, "all zeros: this is no mailbox; "
                      "export only what Get-Mailbox lists");
        return CMD_INPUT;
    }

    if (cmd_import_primary(t, &primary) != MAPI_OK
        || cmd_import_flags(t, &flags, &archive) != MAPI_OK)
    {
        return CMD_INPUT;
    }

    upn = &t->values[CMD_MAILBOX_UPN].text;
    account = &t->values[CMD_MAILBOX_ACCOUNT].text;

    size = 128 + primary.len + upn->len + account->len
           + 3 * t->values[CMD_MAILBOX_EMAILS].text.len;

    if (size > im->scratch_size) {
        free(im->scratch);
        im->scratch = malloc(2 * size);
        im->scratch_size = im->scratch ? 2 * size : 0;

        if (im->scratch == NULL) {
            return cmd_no_memory();
        }
    }

    /* the database's places are filled within the transaction */

    p = im->scratch;
    *p++ = (unsigned char) flags;
    memset(p, 0, 16);
    p += 16;

    if (flags & MAPI_MAILBOX_ARCHIVE) {
        memcpy(p, archive.b, 16);
        memset(p + 16, 0, 16);
        p += 32;
    }

    kind = mapi_text_smtp;

    if (upn->len && mapi_str_caseeq(upn, &primary)) {
        kind = mapi_text_smtp_upn;
    }

    p = mapi_directory_text_put(p, kind, &primary);

    if (kind == mapi_text_smtp && upn->len && upn->len <= MAPI_IDENTITY_MAX) {
        p = mapi_directory_text_put(p, mapi_text_upn, upn);
    }

    if (account->len && account->len <= MAPI_IDENTITY_MAX) {
        p = mapi_directory_text_put(p, mapi_text_account, account);
    }

    p = cmd_import_addresses(t, p, &primary);

    size = p - im->scratch;

    data = mapi_arena_bytes(&im->arena, size);
    im->mailboxes = mapi_arena_grow(&im->arena, im->mailboxes,
                                    im->nmailboxes, &im->room_mailboxes,
                                    sizeof(cmd_mailbox_t));

    if (data == NULL || im->mailboxes == NULL) {
        return cmd_no_memory();
    }

    memcpy(data, im->scratch, size);

    m = &im->mailboxes[im->nmailboxes++];
    m->data = data;
    m->line = t->cells[0].line;

    name = &t->values[CMD_MAILBOX_DB].text;

    if (name->len == 0) {
        cmd_table_say(t, CMD_MAILBOX_DB, "a mailbox without a database");
        return CMD_INPUT;
    }

    code = cmd_import_name(im, name, m->line, 0, &m->database);

    if (code != CMD_DONE) {
        return code;
    }

    m->archive_database = m->database;
    code = cmd_import_item(im, &guid, data, size, m->line);

    if (code != CMD_DONE || (flags & MAPI_MAILBOX_ARCHIVE) == 0) {
        return code;
    }

    if (t->values[CMD_MAILBOX_ARCHIVE_DB].text.len) {
        code = cmd_import_name(im, &t->values[CMD_MAILBOX_ARCHIVE_DB].text,
                               m->line, 1, &m->archive_database);
    }

    if (code != CMD_DONE) {
        return code;
    }

    data = mapi_arena_bytes(&im->arena, 17);
    if (data == NULL) {
        return cmd_no_memory();
    }

    data[0] = MAPI_MAILBOX_ALIAS;
    memcpy(data + 1, guid.b, 16);

    return cmd_import_item(im, &archive, data, 17, m->line);
}


static int
cmd_import_primary(cmd_table_t *t, mapi_str_t *text)
{
    *text = t->values[CMD_MAILBOX_SMTP].text;

    if (text->len > 5 && (text->data[4] == ':')
        && (text->data[0] | 0x20) == 's')
    {
        (void) cmd_import_address(text);
    }

    if (text->len == 0 || text->len > MAPI_IDENTITY_MAX
        || memchr(text->data, '@', text->len) == NULL
        || memchr(text->data, ' ', text->len) != NULL
        || memchr(text->data, '\n', text->len) != NULL)
    {
        cmd_table_say(t, CMD_MAILBOX_SMTP, "\"%.*s\" is not an address",
                      (int) (text->len > 60 ? 60 : text->len),
                      text->len ? (char *) text->data : "");
        return MAPI_ERROR;
    }

    return MAPI_OK;
}


static int
cmd_import_flags(cmd_table_t *t, unsigned *flags, mapi_guid_t *archive)
{
    mapi_str_t         *text;
    static mapi_str_t   yes = mapi_string("true");
    static mapi_str_t   no = mapi_string("false");

    *flags = 0;

    text = &t->values[CMD_MAILBOX_ARCHIVE].text;

    if (text->len) {

        if (mapi_guid_parse(archive, text->data, text->len) != MAPI_OK) {
            cmd_table_say(t, CMD_MAILBOX_ARCHIVE, "\"%.*s\" is not a GUID",
                          (int) (text->len > 60 ? 60 : text->len),
                          text->data);
            return MAPI_ERROR;
        }

        if (!mapi_guid_is_null(archive)) {
            *flags |= MAPI_MAILBOX_ARCHIVE;
        }
    }

    text = &t->values[CMD_MAILBOX_HTTP].text;

    if (mapi_str_caseeq(text, &yes)) {
        *flags |= MAPI_MAILBOX_HTTP_ON;

    } else if (mapi_str_caseeq(text, &no)) {
        *flags |= MAPI_MAILBOX_HTTP_OFF;

    } else if (text->len) {
        cmd_table_say(t, CMD_MAILBOX_HTTP, "\"%.*s\" is not True, False or "
                      "empty", (int) (text->len > 60 ? 60 : text->len),
                      text->data);
        return MAPI_ERROR;
    }

    return MAPI_OK;
}


/*
 * Takes "smtp:" away.  MAPI_DECLINED if it is no SMTP address: X500:, SIP:
 * and the like.
 */

static int
cmd_import_address(mapi_str_t *piece)
{
    size_t             i;
    mapi_str_t         head;
    static mapi_str_t  smtp = mapi_string("smtp");

    for (i = 0; i < piece->len; i++) {

        if (piece->data[i] == ':') {
            head.data = piece->data;
            head.len = i;

            if (!mapi_str_caseeq(&head, &smtp)) {
                return MAPI_DECLINED;
            }

            piece->data += i + 1;
            piece->len -= i + 1;
            break;
        }

        if (piece->data[i] == '@') {
            break;
        }

        /* a piece of an X500 address with blanks */

        if (piece->data[i] == '/') {
            return MAPI_DECLINED;
        }
    }

    if (piece->len < 3 || piece->len > MAPI_IDENTITY_MAX
        || memchr(piece->data, '@', piece->len) == NULL)
    {
        return MAPI_DECLINED;
    }

    return MAPI_OK;
}


/*
 * Pieces between ";"; a piece that is no SMTP address may have blanks inside
 * (X500:/o=First Organization/...), so blanks separate only in the others.
 */

static unsigned char *
cmd_import_addresses(cmd_table_t *t, unsigned char *p,
    const mapi_str_t *primary)
{
    unsigned        semicolon;
    mapi_str_t     *cell, piece;
    unsigned char  *s, *last, *start;

    cell = &t->values[CMD_MAILBOX_EMAILS].text;

    if (cell->len == 0) {
        return p;
    }

    last = cell->data + cell->len;
    semicolon = (memchr(cell->data, ';', cell->len) != NULL);

    for (s = cell->data; s < last; /* void */) {

        if (*s == ';' || *s == ' ' || *s == ',' || *s == '{' || *s == '}'
            || *s == '\r' || *s == '\n' || *s == '\t')
        {
            s++;
            continue;
        }

        start = s;

        while (s < last && *s != ';' && *s != ' ' && *s != ',' && *s != '\r'
               && *s != '\n' && *s != '\t' && *s != '}')
        {
            s++;
        }

        piece.data = start;
        piece.len = s - start;

        if (cmd_import_address(&piece) != MAPI_OK) {

            if (semicolon && memchr(start, ':', s - start) != NULL) {
                s = memchr(s, ';', last - s);

                if (s == NULL) {
                    break;
                }
            }

            continue;
        }

        if (!mapi_str_caseeq(&piece, primary)) {
            p = mapi_directory_text_put(p, mapi_text_address, &piece);
        }
    }

    return p;
}


static int
cmd_import_item(cmd_import_t *im, const mapi_guid_t *guid,
    unsigned char *data, size_t len, unsigned line)
{
    mapi_directory_item_t  *item;

    im->items = mapi_arena_grow(&im->arena, im->items, im->nitems,
                                &im->room_items,
                                sizeof(mapi_directory_item_t));
    if (im->items == NULL || im->nitems == UINT32_MAX) {
        return cmd_no_memory();
    }

    item = &im->items[im->nitems++];
    item->guid = *guid;
    item->data = data;
    item->len = (uint32_t) len;
    item->line = line;

    return CMD_DONE;
}


static int
cmd_import_name(cmd_import_t *im, const mapi_str_t *name, unsigned line,
    unsigned archive, uint32_t *number)
{
    size_t          slot;
    uint64_t        hash;
    mapi_str_t      low;
    cmd_name_t     *entry;
    unsigned char   buf[MAPI_DIRECTORY_NAME_MAX];

    if (2 * im->nnames >= im->nslots && cmd_import_slots(im) != MAPI_OK) {
        return cmd_no_memory();
    }

    low.data = buf;
    low.len = name->len < sizeof(buf) ? name->len : sizeof(buf);
    (void) mapi_strlow(buf, name->data, low.len);

    hash = mapi_directory_hash('d', &low);

    for (slot = hash & (im->nslots - 1);
         im->slots[slot];
         slot = (slot + 1) & (im->nslots - 1))
    {
        entry = &im->names[im->slots[slot] - 1];

        if (mapi_str_caseeq(&entry->name, name)) {
            *number = im->slots[slot] - 1;
            return CMD_DONE;
        }
    }

    im->names = mapi_arena_grow(&im->arena, im->names, im->nnames,
                                &im->room_names, sizeof(cmd_name_t));
    if (im->names == NULL) {
        return cmd_no_memory();
    }

    entry = &im->names[im->nnames];
    memset(entry, 0, sizeof(cmd_name_t));
    entry->line = line;
    entry->archive = archive;

    if (mapi_arena_str(&im->arena, &entry->name, name) != MAPI_OK) {
        return cmd_no_memory();
    }

    *number = (uint32_t) im->nnames;
    im->slots[slot] = (uint32_t) ++im->nnames;

    return CMD_DONE;
}


static int
cmd_import_slots(cmd_import_t *im)
{
    size_t          i, n, slot;
    uint32_t       *slots;
    mapi_str_t      low;
    unsigned char   buf[MAPI_DIRECTORY_NAME_MAX];

    n = im->nslots ? 2 * im->nslots : 1024;

    slots = calloc(n, sizeof(uint32_t));
    if (slots == NULL) {
        return MAPI_ERROR;
    }

    for (i = 0; i < im->nnames; i++) {
        low.data = buf;
        low.len = im->names[i].name.len < sizeof(buf) ? im->names[i].name.len
                                                      : sizeof(buf);
        (void) mapi_strlow(buf, im->names[i].name.data, low.len);

        slot = mapi_directory_hash('d', &low) & (n - 1);

        while (slots[slot]) {
            slot = (slot + 1) & (n - 1);
        }

        slots[slot] = (uint32_t) i + 1;
    }

    free(im->slots);
    im->slots = slots;
    im->nslots = n;

    return MAPI_OK;
}
