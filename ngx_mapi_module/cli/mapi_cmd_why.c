
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"
#include "mapi_cmd_http.h"

#include "mapi_base64.h"

#include <jansson.h>
#include <stdlib.h>


/*
 * A front end's debug page in a terminal.  What is to be seen is decided there;
 * here its JSON is set in lines and tables, whatever is in it.
 */

#define CMD_WHY_MAX      4096     /* bytes of a URL, a header */
#define CMD_WHY_CELL     32       /* of a number */
#define CMD_WHY_COLUMNS  24


static int cmd_why_ask(cmd_options_t *opt, cmd_http_t *http);
static int cmd_why_query(const mapi_identity_t *id, const char *given,
    char *query, char *header);
static int cmd_why_url(const char *given, const char *query, char *url);
static int cmd_why_refused(cmd_options_t *opt, const cmd_http_t *http);
static int cmd_why_is_plain(json_t *value);
static void cmd_why_page(json_t *page);
static void cmd_why_group(json_t *group, unsigned depth);
static void cmd_why_list(const char *name, json_t *list, unsigned depth);
static void cmd_why_table(json_t *list, unsigned depth);
static int cmd_why_is_flat(json_t *row);
static void cmd_why_heading(const char *name, unsigned depth);
static void cmd_why_line(const char *name, json_t *value, unsigned depth);
static mapi_str_t cmd_why_cell(json_t *value, char *buf);
static unsigned cmd_why_width(const mapi_str_t *s);


int
cmd_why(cmd_options_t *opt)
{
    int            code;
    json_t        *page, *routing;
    cmd_http_t     http;
    json_error_t   error;

    if (opt->url == NULL) {
        cmd_say("why: give the front end's URL with --url, as "
                "http://127.0.0.1/");
        return CMD_USAGE;
    }

    code = cmd_why_ask(opt, &http);

    if (code != CMD_DONE) {
        cmd_http_free(&http);
        return code;
    }

    page = json_loadb(http.body, http.len, JSON_REJECT_DUPLICATES, &error);
    routing = json_object_get(page, "routing");

    if (!json_is_object(routing) || !cmd_why_is_plain(page)) {
        code = cmd_why_refused(opt, &http);
        json_decref(page);
        cmd_http_free(&http);
        return code;
    }

    if (opt->format == cmd_format_json) {
        (void) fwrite(http.body, 1, http.len, stdout);

    } else {
        cmd_why_page(page);
    }

    if (!json_is_string(json_object_get(routing, "server"))) {
        code = CMD_NOT_FOUND;
    }

    json_decref(page);
    cmd_http_free(&http);

    return cmd_flush(code);
}


static int
cmd_why_ask(cmd_options_t *opt, cmd_http_t *http)
{
    int              rc;
    char             url[CMD_WHY_MAX], query[CMD_WHY_MAX], header[CMD_WHY_MAX];
    mapi_identity_t  id;
    unsigned char    buf[MAPI_IDENTITY_MAX];

    memset(http, 0, sizeof(cmd_http_t));

    if (mapi_identity_parse_any(&id, (unsigned char *) opt->args[0],
                                strlen(opt->args[0]), buf)
        != MAPI_OK
        || cmd_why_query(&id, opt->args[0], query, header) != MAPI_OK)
    {
        cmd_say("why: \"%s\" is no GUID, address or account name",
                opt->args[0]);
        return CMD_USAGE;
    }

    if (cmd_why_url(opt->url, query, url) != MAPI_OK) {
        cmd_say("--url %s: the URL is too long, or ends in \"#\" and more",
                opt->url);
        return CMD_USAGE;
    }

    rc = cmd_http_ask(http, url, header);

    if (rc == MAPI_OK) {
        return CMD_DONE;
    }

    cmd_say("--url %s: %s", opt->url, http->error);

    return rc == MAPI_DECLINED ? CMD_USAGE : CMD_ENVIRONMENT;
}


/*
 * A GUID goes into the query.  Any other name goes where a caller's name
 * stands, so that it is looked up as one: an account, a UserPrincipalName, or
 * an address.
 */

static int
cmd_why_query(const mapi_identity_t *id, const char *given, char *query,
    char *header)
{
    size_t          i, len;
    char            guid[MAPI_GUID_LEN + 1];
    unsigned char   user[MAPI_IDENTITY_MAX + 1];
    unsigned char  *p;

    header[0] = '\0';

    if (id->kind == mapi_identity_guid) {
        (void) snprintf(query, CMD_WHY_MAX,
                        "mapidebug=json&MailboxId=%s@mapi-directory",
                        cmd_guid(guid, &id->guid));
        return MAPI_OK;
    }

    len = strlen(given);

    if (len > MAPI_IDENTITY_MAX || strchr(given, ':')) {
        return MAPI_ERROR;
    }

    memcpy(user, given, len);
    user[len++] = ':';

    strcpy(query, "mapidebug=json");
    strcpy(header, "Authorization: Basic ");

    p = (unsigned char *) header + strlen(header);
    len = (size_t) (mapi_base64_url(p, user, len) - p);

    for (i = 0; i < len; i++) {
        p[i] = (p[i] == '-') ? '+' : (p[i] == '_') ? '/' : p[i];
    }

    strcpy((char *) p + len, "\r\n");

    return MAPI_OK;
}


/* the endpoint is added where no path stands, the query behind any other */

static int
cmd_why_url(const char *given, const char *query, char *url)
{
    int          n;
    const char  *path, *host;

    host = strstr(given, "://");
    path = strchr(host ? host + 3 : given, '/');

    n = snprintf(url, CMD_WHY_MAX, "%s%s%c%s", given,
                 path == NULL ? "/mapi/emsmdb/"
                              : path[1] == '\0' ? "mapi/emsmdb/" : "",
                 strchr(given, '?') ? '&' : '?', query);

    return (n > 0 && n < CMD_WHY_MAX && strchr(given, '#') == NULL)
           ? MAPI_OK : MAPI_ERROR;
}


static int
cmd_why_refused(cmd_options_t *opt, const cmd_http_t *http)
{
    const char  *why;

    switch (http->status) {

    case 200:
    case 401:
    case 403:
        why = "this machine is to be named in mapi_debug_allow there, and the "
              "location needs \"mapi on\"";
        break;

    case 400:
    case 404:
        why = "write the URL of an endpoint, as http://127.0.0.1/mapi/emsmdb/";
        break;

    default:
        why = "a debug page was expected";
    }

    cmd_say("--url %s: the answer is %u and no debug page: %s", opt->url,
            http->status, why);

    return http->status == 200 ? CMD_INPUT : CMD_NOT_FOUND;
}


/* names are written as they are: those of a debug page are words */

static int
cmd_why_is_plain(json_t *value)
{
    size_t       i;
    json_t      *member;
    const char  *name;

    json_object_foreach(value, name, member) {
        if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789")] != '\0'
            || !cmd_why_is_plain(member))
        {
            return 0;
        }
    }

    json_array_foreach(value, i, member) {
        if (!cmd_why_is_plain(member)) {
            return 0;
        }
    }

    return 1;
}


/*
 * The answer first, then all that it was made of.  The page's head and the
 * headers are left out: they are those of this command's own request.
 */

static void
cmd_why_page(json_t *page)
{
    json_t      *routing, *value;
    const char  *name;

    routing = json_object_get(page, "routing");

    cmd_why_line("server", json_object_get(routing, "server"), 0);
    cmd_why_line("why", json_object_get(routing, "sentence"), 0);

    value = json_object_get(page, "sessions");

    if (json_is_array(value)) {
        cmd_why_list("sessions", value, 0);
    }

    cmd_why_heading("routing", 0);

    json_object_foreach(routing, name, value) {

        if (strcmp(name, "server") == 0 || strcmp(name, "sentence") == 0) {
            continue;
        }

        if (!json_is_object(value) && !json_is_array(value)) {
            cmd_why_line(name, value, 1);
        }
    }

    json_object_foreach(routing, name, value) {

        if (json_is_object(value)) {
            cmd_why_heading(name, 0);
            cmd_why_group(value, 1);

        } else if (json_is_array(value)) {
            cmd_why_list(name, value, 0);
        }
    }

}


static void
cmd_why_group(json_t *group, unsigned depth)
{
    json_t      *value;
    const char  *name;

    if (depth > 6) {
        return;
    }

    json_object_foreach(group, name, value) {

        if (json_is_object(value)) {
            cmd_why_group(value, depth);

        } else if (json_is_array(value)) {
            cmd_why_list(name, value, depth);

        } else {
            cmd_why_line(name, value, depth);
        }
    }
}


static void
cmd_why_list(const char *name, json_t *list, unsigned depth)
{
    size_t   i;
    json_t  *row;

    cmd_why_heading(name, depth);

    if (json_array_size(list) == 0) {
        printf("%*snone\n", (int) (2 * depth + 2), "");
        return;
    }

    if (cmd_why_is_flat(json_array_get(list, 0))) {
        cmd_why_table(list, depth + 1);
        return;
    }

    json_array_foreach(list, i, row) {

        if (i) {
            putchar('\n');
        }

        cmd_why_group(row, depth + 1);
    }
}


/* a row without groups and lists */

static int
cmd_why_is_flat(json_t *row)
{
    json_t      *value;
    const char  *name;

    json_object_foreach(row, name, value) {
        if (json_is_object(value) || json_is_array(value)) {
            return 0;
        }
    }

    return json_is_object(row);
}


/* as wide as it has to be; the columns are those of the first row */

static void
cmd_why_table(json_t *list, unsigned depth)
{
    char          buf[CMD_WHY_COLUMNS][CMD_WHY_CELL];
    size_t        i, j, n;
    json_t       *row, *value;
    unsigned      width, widths[CMD_WHY_COLUMNS];
    mapi_str_t    cell;
    const char   *name, *names[CMD_WHY_COLUMNS];
    cmd_value_t   v[CMD_WHY_COLUMNS];
    cmd_output_t  out;

    n = 0;

    json_object_foreach(json_array_get(list, 0), name, value) {

        if (n == CMD_WHY_COLUMNS) {
            break;
        }

        names[n] = name;
        cell = cmd_str(name);
        widths[n] = cmd_why_width(&cell);

        json_array_foreach(list, i, row) {
            cell = cmd_why_cell(json_object_get(row, name), buf[n]);
            width = cmd_why_width(&cell);
            widths[n] = (width > widths[n]) ? width : widths[n];
        }

        n++;
    }

    memset(&out, 0, sizeof(out));

    out.names = names;
    out.widths = widths;
    out.n = (unsigned) n;
    out.list = 1;

    printf("%*s", (int) (2 * depth), "");
    cmd_output_start(&out);

    json_array_foreach(list, i, row) {

        memset(v, 0, sizeof(v));

        for (j = 0; j < n; j++) {
            v[j].text = cmd_why_cell(json_object_get(row, names[j]), buf[j]);
        }

        printf("%*s", (int) (2 * depth), "");
        cmd_output_row(&out, v);
    }
}


static void
cmd_why_heading(const char *name, unsigned depth)
{
    printf("%s%*s%s\n", depth ? "" : "\n", (int) (2 * depth), "", name);
}


static void
cmd_why_line(const char *name, json_t *value, unsigned depth)
{
    char          buf[CMD_WHY_CELL];
    cmd_value_t   v;
    cmd_output_t  out;

    memset(&v, 0, sizeof(v));
    memset(&out, 0, sizeof(out));

    v.text = cmd_why_cell(value, buf);

    if (v.text.len == 0) {
        return;
    }

    out.names = &name;
    out.n = 1;

    printf("%*s", (int) (2 * depth), "");
    cmd_output_start(&out);
    cmd_output_row(&out, &v);
    cmd_output_end(&out);
}


/* buf has CMD_WHY_CELL bytes */

static mapi_str_t
cmd_why_cell(json_t *value, char *buf)
{
    mapi_str_t  s;

    if (json_is_string(value)) {
        s.data = (unsigned char *) json_string_value(value);
        s.len = json_string_length(value);
        return s;
    }

    if (json_is_integer(value)) {
        (void) snprintf(buf, CMD_WHY_CELL, "%lld",
                        (long long) json_integer_value(value));
        return cmd_str(buf);
    }

    return cmd_str(json_is_true(value) ? "yes"
                   : json_is_false(value) ? "no" : "");
}


static unsigned
cmd_why_width(const mapi_str_t *s)
{
    size_t    i;
    unsigned  n;

    n = 0;

    for (i = 0; i < s->len; i++) {
        n += ((s->data[i] & 0xc0) != 0x80);
    }

    return n;
}
