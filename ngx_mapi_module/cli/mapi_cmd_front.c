
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"
#include "mapi_cmd_front.h"
#include "mapi_cmd_http.h"

#include <stdarg.h>
#include <stdlib.h>


#define CMD_FRONT_COLUMNS  10
#define CMD_FRONT_NUMBER   32


static const char *const  cmd_front_names[CMD_FRONT_COLUMNS] = {
    "SERVER", "STATE", "REQUESTS", "POLLS", "PINS", "2XX", "4XX", "5XX",
    "UNREACHED", "CHECKS"
};


static int cmd_front_refused(unsigned status, const char *url);
static void cmd_front_node(json_t *front);
static int cmd_front_block(json_t *block);
static int cmd_front_servers(json_t *servers);
static void cmd_front_disagreements(json_t *front);
static void cmd_front_line(const char *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static mapi_str_t cmd_front_text(json_t *object, const char *name);
static int64_t cmd_front_number(json_t *object, const char *name);
static mapi_str_t cmd_front_checks(json_t *server);


int
cmd_front_get(const char *url, json_t **front)
{
    int           rc;
    cmd_http_t    http;
    json_error_t  error;

    *front = NULL;
    rc = cmd_http_get(&http, url);

    if (rc != MAPI_OK) {
        cmd_say("--url %s: %s", url, http.error);
        cmd_http_free(&http);
        return rc == MAPI_DECLINED ? CMD_USAGE : CMD_ENVIRONMENT;
    }

    if (http.status != 200) {
        cmd_http_free(&http);
        return cmd_front_refused(http.status, url);
    }

    *front = json_loadb(http.body, http.len, JSON_REJECT_DUPLICATES, &error);

    cmd_http_free(&http);

    if (!json_is_object(*front)
        || !json_is_array(json_object_get(*front, "upstreams"))
        || !json_is_object(json_object_get(*front, "directory")))
    {
        cmd_say("--url %s: this is not the status of a front end: write the "
                "URL of mapi_status with \"/api\" at its end", url);
        json_decref(*front);
        *front = NULL;
        return CMD_INPUT;
    }

    return CMD_DONE;
}


static int
cmd_front_refused(unsigned status, const char *url)
{
    const char  *why;

    switch (status) {

    case 403:
        why = "this machine is not allowed: name it in mapi_debug_allow";
        break;

    case 404:
        why = "there is no such page: write the URL of mapi_status with "
              "\"/api\" at its end";
        break;

    default:
        why = "a front end's status was expected";
    }

    cmd_say("--url %s: the answer is %u: %s", url, status, why);

    return CMD_NOT_FOUND;
}


int
cmd_front_print(json_t *front)
{
    size_t   i;
    json_t  *block, *blocks;

    cmd_front_node(front);

    blocks = json_object_get(front, "upstreams");

    json_array_foreach(blocks, i, block) {
        if (cmd_front_block(block) != MAPI_OK) {
            cmd_say("out of memory");
            return CMD_ENVIRONMENT;
        }
    }

    cmd_front_disagreements(front);

    return CMD_DONE;
}


static void
cmd_front_node(json_t *front)
{
    json_t      *directory, *learned, *observed, *zone;
    mapi_str_t   text;

    directory = json_object_get(front, "directory");
    learned = json_object_get(front, "learned");
    observed = json_object_get(front, "observed");
    zone = json_object_get(front, "zone");

    text = cmd_front_text(front, "node");
    cmd_front_line("front_end", "%s", (char *) text.data);

    if (cmd_front_text(directory, "path").len) {
        cmd_front_line("front_end_directory", "%s, commit %lld",
                       json_is_true(json_object_get(directory, "usable"))
                       ? "usable" : "not usable",
                       (long long) cmd_front_number(directory, "commit"));
    }

    text = cmd_front_text(directory, "error");

    if (text.len) {
        cmd_front_line("front_end_error", "%s", (char *) text.data);
    }

    cmd_front_line("workers", "%zu",
                   json_array_size(json_object_get(front, "workers")));
    cmd_front_line("learned", "%lld places, %lld forgotten",
                   (long long) cmd_front_number(learned, "places"),
                   (long long) cmd_front_number(learned, "forgotten"));
    cmd_front_line("observed", "right %lld, wrong %lld, unknown %lld",
                   (long long) cmd_front_number(observed, "right"),
                   (long long) cmd_front_number(observed, "wrong"),
                   (long long) cmd_front_number(observed, "unknown"));
    cmd_front_line("certificate_mismatches", "%lld",
                   (long long) cmd_front_number(front,
                                                "certificate_mismatches"));
    cmd_front_line("zone", "%lld of %lld pages free",
                   (long long) cmd_front_number(zone, "free_pages"),
                   (long long) cmd_front_number(zone, "pages"));
}


static int
cmd_front_block(json_t *block)
{
    int64_t      first, second;
    uint64_t     all;
    json_t      *pins;
    mapi_str_t   name, mode;

    pins = json_object_get(block, "pins");
    name = cmd_front_text(block, "name");
    mode = cmd_front_text(block, "mode");

    putchar('\n');
    cmd_front_line("upstream", "%s (%s)%s", (char *) name.data,
                   (char *) mode.data,
                   json_is_true(json_object_get(block, "all_fail"))
                   ? ": no server passes its check, all are used" : "");

    first = cmd_front_number(block, "first_hop");
    second = cmd_front_number(block, "second_hop");

    /* whatever numbers these are */

    if (first >= 0 && second >= 0 && (first || second)) {
        all = (uint64_t) first + (uint64_t) second;

        cmd_front_line("straight", "%lld of %llu answers (%u %%)",
                       (long long) first, (unsigned long long) all,
                       (unsigned) (100.0 * (double) first / (double) all));
    }

    cmd_front_line("pins", "%lld now, %lld opened",
                   (long long) cmd_front_number(pins, "now"),
                   (long long) cmd_front_number(pins, "opened"));

    return cmd_front_servers(json_object_get(block, "servers"));
}


/* as wide as the widest, but for the last column */

static int
cmd_front_servers(json_t *servers)
{
    size_t         i, j, n;
    char          *number;
    json_t        *s, *answers;
    unsigned       widths[CMD_FRONT_COLUMNS];
    cmd_value_t   *values, *v;
    cmd_output_t   out;

    static const char *const  numbers[] = { "requests", "polls", "pins" };
    static const char *const  classes[] = { "2xx", "4xx", "5xx" };

    n = json_array_size(servers);
    values = calloc(n + 1, CMD_FRONT_COLUMNS
                           * (sizeof(cmd_value_t) + CMD_FRONT_NUMBER));

    if (values == NULL) {
        return MAPI_ERROR;
    }

    number = (char *) (values + (n + 1) * CMD_FRONT_COLUMNS);

    for (j = 0; j < CMD_FRONT_COLUMNS; j++) {
        widths[j] = (unsigned) strlen(cmd_front_names[j]);
    }

    json_array_foreach(servers, i, s) {

        v = values + i * CMD_FRONT_COLUMNS;
        answers = json_object_get(s, "answers");

        v[0].text = cmd_front_text(s, "name");
        v[1].text = cmd_front_text(s, "state");

        for (j = 0; j < 7; j++) {
            (void) snprintf(number, CMD_FRONT_NUMBER, "%lld",
                (long long) (j < 3 ? cmd_front_number(s, numbers[j])
                             : j < 6 ? cmd_front_number(answers,
                                                        classes[j - 3])
                             : cmd_front_number(s, "unreached")));

            v[j + 2].text = cmd_str(number);
            number += CMD_FRONT_NUMBER;
        }

        v[9].text = cmd_front_checks(s);

        for (j = 0; j < CMD_FRONT_COLUMNS; j++) {
            if (v[j].text.len > widths[j]) {
                widths[j] = (unsigned) v[j].text.len;
            }
        }
    }

    memset(&out, 0, sizeof(out));

    out.names = cmd_front_names;
    out.n = CMD_FRONT_COLUMNS;
    out.list = 1;
    out.widths = widths;

    cmd_output_start(&out);

    for (i = 0; i < n; i++) {
        cmd_output_row(&out, values + i * CMD_FRONT_COLUMNS);
    }

    cmd_output_end(&out);
    free(values);

    return MAPI_OK;
}


static void
cmd_front_disagreements(json_t *front)
{
    size_t       i;
    json_t      *list, *d;
    mapi_str_t   database, directory, servers;

    list = json_object_get(front, "disagreements");

    json_array_foreach(list, i, d) {

        if (i == 0) {
            putchar('\n');
        }

        database = cmd_front_text(d, "database");
        directory = cmd_front_text(d, "directory");
        servers = cmd_front_text(d, "servers");

        cmd_front_line("disagreement", "%s is on %s by the directory, on %s "
                       "by %lld answers", (char *) database.data,
                       directory.len ? (char *) directory.data : "another",
                       (char *) servers.data,
                       (long long) cmd_front_number(d, "count"));
    }
}


/* what others wrote is shown without what a terminal would obey */

static void
cmd_front_line(const char *name, const char *fmt, ...)
{
    char          buf[1024];
    va_list       args;
    cmd_value_t   v;
    cmd_output_t  out;

    va_start(args, fmt);
    (void) vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    memset(&v, 0, sizeof(v));
    memset(&out, 0, sizeof(out));

    v.text = cmd_str(buf);
    out.names = &name;
    out.n = 1;

    cmd_output_start(&out);
    cmd_output_row(&out, &v);
    cmd_output_end(&out);
}


/* empty if it is not there; lives as long as the object */

static mapi_str_t
cmd_front_text(json_t *object, const char *name)
{
    const char  *s;

    s = json_string_value(json_object_get(object, name));

    return cmd_str(s ? s : "");
}


static int64_t
cmd_front_number(json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}


/* the worst is what an administrator looks for */

static mapi_str_t
cmd_front_checks(json_t *server)
{
    size_t       i, j, worst;
    json_t      *addresses, *a;
    mapi_str_t   word, verdict;

    static const char *const  verdicts[] = {
        "unknown", "alive", "draining", "failing", "dead"
    };

    addresses = json_object_get(server, "addresses");
    verdict = cmd_str("-");
    worst = 0;

    json_array_foreach(addresses, i, a) {

        if (cmd_front_number(a, "checked") == 0) {
            continue;
        }

        word = cmd_front_text(a, "verdict");

        for (j = 0; j < 5; j++) {
            if (strcmp((char *) word.data, verdicts[j]) == 0 && j >= worst) {
                worst = j;
                verdict = word;
            }
        }
    }

    return verdict;
}
