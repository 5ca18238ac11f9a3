
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>


typedef struct {
    const char   *name;
    int         (*run)(cmd_options_t *opt);
    unsigned      min;          /* arguments */
    unsigned      max;
    const char   *options;      /* that it takes, as " --a --b " */
    const char   *help;
} cmd_verb_t;


static const char  cmd_help[] =
    "usage: mapi-directory -d DIR VERB [ARGUMENTS] [OPTIONS]\n"
    "\n"
    "Keeps the directory that ngx_mapi_module routes by: which mailbox is in\n"
    "which database, where each database is mounted, and the servers.\n"
    "\n"
    "  import   read mailboxes, databases and servers from CSV files\n"
    "  lookup   where a mailbox is\n"
    "  move     a database is mounted on another server now\n"
    "  server   set a server active, draining or offline\n"
    "  node     set this front end online or offline\n"
    "  list     print mailboxes, databases or servers\n"
    "  check    look for mistakes in the directory and its files\n"
    "  stats    sizes and counts, and what a front end has to do\n"
    "  why      which server serves a mailbox, and why\n"
    "\n"
    "  -d, --directory DIR   the folder of the directory\n"
    "  --help                this text; VERB --help tells more\n"
    "\n"
    "Exit codes: 0 done, 1 not found or check failed, 2 usage, 3 bad input,\n"
    "4 environment (files, permissions, memory).\n";


static const cmd_verb_t  cmd_verbs[] = {

    { "import", cmd_import, 0, 0,
      " --mailboxes --databases --servers --replace --force ",
      "usage: mapi-directory -d DIR import [--mailboxes F.csv]\n"
      "           [--databases F.csv] [--servers F.csv] [--replace] [--force]\n"
      "\n"
      "Reads CSV files of docs/Export-MapiDirectory.ps1 or of Export-Csv.  It\n"
      "is all or nothing: nginx sees the old contents until the import is\n"
      "done, and after an error nothing has changed.  Makes the folder if it\n"
      "is not there.\n"
      "\n"
      "  --replace   what is not in a given file is removed; without it,\n"
      "              rows replace those with the same GUID or name, and\n"
      "              others stay\n"
      "  --force     also if more than 10 % of the mailboxes would go, or a\n"
      "              server or database that is in use\n" },

    { "lookup", cmd_lookup, 1, 1, " --format ",
      "usage: mapi-directory -d DIR lookup IDENTITY [--format json]\n"
      "\n"
      "IDENTITY is a GUID (of a mailbox or archive), GUID@domain, an SMTP\n"
      "address, a UserPrincipalName, DOMAIN\\user or user.  Prints mailbox,\n"
      "database and servers as key: value lines.  Exit code 1 if nothing, or\n"
      "more than one mailbox, is found.\n" },

    { "move", cmd_move, 2, 2, " --force ",
      "usage: mapi-directory -d DIR move DATABASE SERVER [--force]\n"
      "\n"
      "DATABASE (name or GUID) is mounted on SERVER (name, FQDN or address)\n"
      "from the next request on.  A server without a copy wants --force.\n" },

    { "server", cmd_server, 2, 2, " --within ",
      "usage: mapi-directory -d DIR server NAME active|draining|offline\n"
      "           [--within TIME]\n"
      "\n"
      "  active     gets requests\n"
      "  draining   finishes what it has and gets nothing new; with --within\n"
      "             (90s, 5m, 2h) it goes offline by itself after that time\n"
      "  offline    gets nothing\n"
      "\n"
      "The state is kept until it is set again, whatever is imported.\n" },

    { "node", cmd_node, 0, 1, " ",
      "usage: mapi-directory -d DIR node [online|offline]\n"
      "\n"
      "  online     its page /mapi/healthcheck.htm answers while a server "
      "lives\n"
      "  offline    the page is closed, so that a balancer above sends its\n"
      "             clients elsewhere; requests are served as ever\n"
      "\n"
      "Without a word it prints the state.  The state is kept until it is set\n"
      "again, whatever is imported.\n" },

    { "list", cmd_list, 1, 1, " --format ",
      "usage: mapi-directory -d DIR list mailboxes|databases|servers\n"
      "           [--format table|csv|json]\n"
      "\n"
      "The CSV form can be imported again.\n" },

    { "check", cmd_check, 0, 0, " ",
      "usage: mapi-directory -d DIR check\n"
      "\n"
      "Looks whether every database and server that is referred to exists,\n"
      "whether names are ambiguous, and whether nginx's workers can open the\n"
      "files.  Prints a sentence for each finding; exit code 1 if there are\n"
      "any.\n" },

    { "stats", cmd_stats, 0, 0, " --format --url ",
      "usage: mapi-directory [-d DIR] stats [--url URL] [--format json]\n"
      "\n"
      "Counts, sizes, the time of the last import, servers' states.  With\n"
      "--url also what a front end has counted: URL is its mapi_status and\n"
      "\"/api\", as http://127.0.0.1/mapi-status/api.  For each server it\n"
      "tells what is left there: requests, hanging polls among them, and pins\n"
      "(private connections).\n" },

    { "why", cmd_why, 1, 1, " --format --url ",
      "usage: mapi-directory why IDENTITY --url URL [--format json]\n"
      "\n"
      "Asks a front end which server serves a mailbox, and why: its debug page,\n"
      "in a terminal.  IDENTITY is a GUID (of a mailbox or archive),\n"
      "GUID@domain, an SMTP address, a UserPrincipalName, DOMAIN\\user or user.\n"
      "URL is that of the front end, as http://127.0.0.1/, which has to have\n"
      "this machine in mapi_debug_allow.  Exit code 1 if no server can serve\n"
      "the mailbox.\n" }
};

#define CMD_NVERBS  (sizeof(cmd_verbs) / sizeof(cmd_verbs[0]))


static const cmd_verb_t *cmd_verb(const char *name);
static int cmd_option(const cmd_verb_t **verb, cmd_options_t *opt, int argc,
    char **argv, int *i);
static int cmd_takes(const cmd_verb_t *verb, const char *option);
static int cmd_time(const char *s, int64_t *seconds);


void
cmd_say(const char *fmt, ...)
{
    va_list  args;

    (void) fflush(stdout);

    va_start(args, fmt);
    (void) vfprintf(stderr, fmt, args);
    va_end(args);

    (void) fputc('\n', stderr);
}


mapi_str_t
cmd_str(const char *s)
{
    mapi_str_t  str;

    str.data = (unsigned char *) s;
    str.len = strlen(s);

    return str;
}


const char *
cmd_guid(char *buf, const mapi_guid_t *guid)
{
    *mapi_guid_format((unsigned char *) buf, guid) = '\0';

    return buf;
}


const char *
cmd_state(mapi_server_state_e state)
{
    return (state == mapi_server_active) ? "active"
           : (state == mapi_server_draining) ? "draining" : "offline";
}


int
cmd_state_parse(const mapi_str_t *s, mapi_server_state_e *state)
{
    unsigned    i;
    mapi_str_t  name;

    for (i = mapi_server_active; i <= mapi_server_offline; i++) {
        name = cmd_str(cmd_state((mapi_server_state_e) i));

        if (mapi_str_caseeq(s, &name)) {
            *state = (mapi_server_state_e) i;
            return MAPI_OK;
        }
    }

    /* Get-ServerComponentState's word */

    name = cmd_str("inactive");

    if (mapi_str_caseeq(s, &name)) {
        *state = mapi_server_offline;
        return MAPI_OK;
    }

    return MAPI_DECLINED;
}


int
cmd_flush(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cmd_say("standard output cannot be written: %s", strerror(errno));
        return CMD_ENVIRONMENT;
    }

    return code;
}


mapi_directory_t *
cmd_read(cmd_options_t *opt, int *code)
{
    mapi_str_t         path;
    mapi_directory_t  *d;

    path = cmd_str(opt->directory);
    d = mapi_directory_open(&path);

    if (d == NULL) {
        cmd_say("out of memory");
        *code = CMD_ENVIRONMENT;
        return NULL;
    }

    if (mapi_directory_begin(d, time(NULL)) != MAPI_OK) {
        cmd_say("%s", mapi_directory_error(d));
        mapi_directory_close(d);
        *code = CMD_ENVIRONMENT;
        return NULL;
    }

    return d;
}


void
cmd_read_end(mapi_directory_t *d)
{
    mapi_directory_end(d);
    mapi_directory_close(d);
}


static const cmd_verb_t *
cmd_verb(const char *name)
{
    size_t  i;

    for (i = 0; i < CMD_NVERBS; i++) {
        if (strcmp(cmd_verbs[i].name, name) == 0) {
            return &cmd_verbs[i];
        }
    }

    return NULL;
}


static int
cmd_takes(const cmd_verb_t *verb, const char *option)
{
    char  word[40];

    (void) snprintf(word, sizeof(word), " %s ", option);

    return verb && strstr(verb->options, word) != NULL;
}


static int
cmd_time(const char *s, int64_t *seconds)
{
    char   *end;
    long    n;

    if (*s < '0' || *s > '9') {
        return MAPI_ERROR;
    }

    errno = 0;
    n = strtol(s, &end, 10);

    if (errno || n > INT_MAX / 86400) {
        return MAPI_ERROR;
    }

    switch (*end) {

    case '\0':
        *seconds = n;
        return MAPI_OK;

    case 's':
        *seconds = n;
        break;

    case 'm':
        *seconds = n * 60;
        break;

    case 'h':
        *seconds = n * 3600;
        break;

    case 'd':
        *seconds = n * 86400;
        break;

    default:
        return MAPI_ERROR;
    }

    return end[1] ? MAPI_ERROR : MAPI_OK;
}


/*
 * One word that begins with "-": CMD_DONE, CMD_USAGE, or -1 after --help.
 */

static int
cmd_option(const cmd_verb_t **verb, cmd_options_t *opt, int argc, char **argv,
    int *i)
{
    char         name[32];
    size_t       n;
    const char  *word, *value;

    word = argv[*i];
    value = strchr(word, '=');

    n = (value && word[1] == '-') ? (size_t) (value - word) : strlen(word);
    value = (word[n] == '=') ? value + 1 : NULL;

    (void) snprintf(name, sizeof(name), "%.*s", (int) n, word);

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return -1;
    }

    if (strcmp(name, "-d") == 0) {
        (void) snprintf(name, sizeof(name), "--directory");

    } else if (!cmd_takes(*verb, name) && strcmp(name, "--directory") != 0) {
        cmd_say("%s%sunknown option %s (see --help)",
                *verb ? (*verb)->name : "", *verb ? ": " : "", word);
        return CMD_USAGE;
    }

    if (strcmp(name, "--replace") == 0 && value == NULL) {
        opt->replace = 1;
        return CMD_DONE;
    }

    if (strcmp(name, "--force") == 0 && value == NULL) {
        opt->force = 1;
        return CMD_DONE;
    }

    if (value == NULL && ++(*i) < argc) {
        value = argv[*i];
    }

    if (value == NULL || *value == '\0') {
        cmd_say("%s wants a value", name);
        return CMD_USAGE;
    }

    if (strcmp(name, "--directory") == 0) {
        opt->directory = value;

    } else if (strcmp(name, "--mailboxes") == 0) {
        opt->mailboxes = value;

    } else if (strcmp(name, "--databases") == 0) {
        opt->databases = value;

    } else if (strcmp(name, "--servers") == 0) {
        opt->servers = value;

    } else if (strcmp(name, "--url") == 0) {
        opt->url = value;

    } else if (strcmp(name, "--within") == 0) {

        if (cmd_time(value, &opt->within) != MAPI_OK) {
            cmd_say("--within \"%s\" is not a time like 90s, 5m or 2h", value);
            return CMD_USAGE;
        }

    } else if (strcmp(name, "--format") == 0) {

        if (strcmp(value, "json") == 0) {
            opt->format = cmd_format_json;

        } else if (strcmp(value, "csv") == 0
                   && strcmp((*verb)->name, "list") == 0)
        {
            opt->format = cmd_format_csv;

        } else if (strcmp(value, "table") != 0
                   || strcmp((*verb)->name, "list") != 0)
        {
            cmd_say("--format \"%s\": %s", value,
                    strcmp((*verb)->name, "list") == 0
                    ? "known are table, csv and json" : "known is json");
            return CMD_USAGE;
        }

    } else {
        cmd_say("%s takes no value", name);
        return CMD_USAGE;
    }

    return CMD_DONE;
}


int
main(int argc, char **argv)
{
    int                rc, i, plain;
    cmd_options_t      opt;
    const cmd_verb_t  *verb;

    memset(&opt, 0, sizeof(opt));
    opt.within = -1;
    verb = NULL;
    plain = 0;

    for (i = 1; i < argc; i++) {

        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = 1;
            continue;
        }

        if (!plain && argv[i][0] == '-' && argv[i][1] != '\0') {

            rc = cmd_option(&verb, &opt, argc, argv, &i);

            if (rc == -1) {
                fputs(verb ? verb->help : cmd_help, stdout);
                return cmd_flush(CMD_DONE);
            }

            if (rc != CMD_DONE) {
                return rc;
            }

            continue;
        }

        if (verb == NULL) {
            verb = cmd_verb(argv[i]);

            if (verb == NULL) {
                cmd_say("unknown verb \"%s\" (see mapi-directory --help)",
                        argv[i]);
                return CMD_USAGE;
            }

            continue;
        }

        if (opt.nargs == verb->max) {
            cmd_say("%s: \"%s\" is too much\n%s", verb->name, argv[i],
                    verb->help);
            return CMD_USAGE;
        }

        opt.args[opt.nargs++] = argv[i];
    }

    if (verb == NULL) {
        fputs(cmd_help, stderr);
        return CMD_USAGE;
    }

    if (opt.nargs < verb->min) {
        cmd_say("%s: something is missing\n%s", verb->name, verb->help);
        return CMD_USAGE;
    }

    if (opt.directory == NULL && opt.url == NULL && verb->run != cmd_why) {
        cmd_say("%s: give the directory's folder with -d DIR", verb->name);
        return CMD_USAGE;
    }

    return verb->run(&opt);
}
