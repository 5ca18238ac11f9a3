
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"
#include "mapi_cmd_front.h"

#include <stdlib.h>
#include <time.h>


#define CMD_STATES_MAX  65536


typedef struct {
    char    *buf;
    size_t   len;
} cmd_states_t;


static const char *const  cmd_stats_names[] = {
    "directory", "uuid", "format", "generation", "created", "imported",
    "mailboxes", "archives", "databases", "servers", "names", "ambiguous",
    "bytes", "bytes_per_mailbox", "map_size", "node", "states", "front_end"
};

/* of the directory; the last one is another's */
#define CMD_NSTATS  17


static void
cmd_stats_time(char *buf, size_t size, uint64_t t)
{
    time_t     sec;
    struct tm  tm;

    sec = (time_t) t;

    if (t == 0 || gmtime_r(&sec, &tm) == NULL) {
        buf[0] = '\0';
        return;
    }

    (void) strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}


static int
cmd_stats_state(void *data, const mapi_str_t *key, const mapi_str_t *value)
{
    cmd_states_t *states = data;

    int                     n;
    char                    when[32];
    size_t                  left;
    mapi_directory_state_t  state;

    if (mapi_directory_state_read(&state, value) != MAPI_OK) {
        return MAPI_ERROR;
    }

    if (key->len == 1) {
        /* the node's own */
        return MAPI_OK;
    }

    when[0] = '\0';

    if (mapi_directory_state_at(&state, time(NULL)) == state.state) {
        cmd_stats_time(when, sizeof(when), (uint64_t) state.deadline);
    }

    left = CMD_STATES_MAX - states->len;

    n = snprintf(states->buf + states->len, left, "%.*s %s%s%s",
                 (int) key->len - 1, key->data + 1,
                 cmd_state(mapi_directory_state_at(&state, time(NULL))),
                 when[0] ? " until " : "", when);

    if (n > 0 && (size_t) n < left) {
        states->len += (size_t) n + 1;
    }

    return MAPI_OK;
}


static void
cmd_stats_number(cmd_value_t *v, char *buf, size_t size, uint64_t n)
{
    (void) snprintf(buf, size, "%llu", (unsigned long long) n);

    v->text = cmd_str(buf);
    v->number = 1;
}


static int cmd_stats_directory(cmd_options_t *opt, const char *front);


int
cmd_stats(cmd_options_t *opt)
{
    int      code;
    char    *text;
    json_t  *front;

    front = NULL;
    text = NULL;

    if (opt->url) {

        /* first of all, so that half an answer is none */

        code = cmd_front_get(opt->url, &front);

        if (code != CMD_DONE) {
            return code;
        }

        text = json_dumps(front, JSON_COMPACT);

        if (text == NULL) {
            cmd_say("out of memory");
            json_decref(front);
            return CMD_ENVIRONMENT;
        }
    }

    code = CMD_DONE;

    if (opt->directory) {
        code = cmd_stats_directory(opt, text);

    } else if (opt->format == cmd_format_json) {
        printf("{\"front_end\":%s}\n", text);
    }

    if (code == CMD_DONE && front && opt->format != cmd_format_json) {
        code = cmd_front_print(front);
    }

    free(text);
    json_decref(front);

    return cmd_flush(code);
}


/* front: JSON of a front end, or NULL */

static int
cmd_stats_directory(cmd_options_t *opt, const char *front)
{
    int                      code;
    char                     text[CMD_NSTATS][40];
    size_t                   i;
    uint64_t                 bytes, numbers[CMD_NSTATS], *n;
    unsigned                 online;
    mapi_str_t               value;
    cmd_value_t              v[CMD_NSTATS + 1];
    mapi_guid_t              uuid;
    cmd_output_t             out;
    cmd_states_t             states;
    unsigned char            key;
    mapi_directory_t        *d;
    mapi_directory_meta_t    meta;
    const mapi_page_meta_t  *page;

    states.len = 0;
    states.buf = malloc(CMD_STATES_MAX);

    if (states.buf == NULL) {
        cmd_say("out of memory");
        return CMD_ENVIRONMENT;
    }

    d = cmd_read(opt, &code);

    if (d == NULL) {
        free(states.buf);
        return code;
    }

    key = (unsigned char) mapi_table_meta;
    page = mapi_directory_page_meta(d);
    bytes = mapi_page_bytes(page);

    if (mapi_directory_fetch(d, &key, 1, &value) != MAPI_OK
        || mapi_directory_meta_read(&meta, &value) != MAPI_OK
        || mapi_directory_node(d, &online) != MAPI_OK
        || mapi_directory_walk(d, mapi_table_state, cmd_stats_state, &states)
           != MAPI_OK)
    {
        cmd_say("the directory \"%s\" is damaged inside", opt->directory);
        cmd_read_end(d);
        free(states.buf);
        return CMD_ENVIRONMENT;
    }

    memset(v, 0, sizeof(v));
    memset(&out, 0, sizeof(out));

    n = numbers;
    *n++ = meta.format;
    *n++ = page->txnid;
    *n++ = 0;
    *n++ = 0;
    *n++ = meta.mailboxes;
    *n++ = meta.archives;
    *n++ = meta.databases;
    *n++ = meta.servers;
    *n++ = meta.names;
    *n++ = meta.ambiguous;
    *n++ = bytes;
    *n++ = meta.mailboxes ? bytes / meta.mailboxes : 0;
    *n++ = page->map_size;

    for (i = 0; i < (size_t) (n - numbers); i++) {
        cmd_stats_number(&v[i + 2], text[i + 2], sizeof(text[0]), numbers[i]);
    }

    v[0].text = cmd_str(opt->directory);

    memcpy(uuid.b, meta.uuid, 16);
    v[1].text = cmd_str(cmd_guid(text[1], &uuid));

    cmd_stats_time(text[4], sizeof(text[4]), meta.created);
    cmd_stats_time(text[5], sizeof(text[5]), meta.imported);

    for (i = 4; i <= 5; i++) {
        v[i].text = cmd_str(text[i]);
        v[i].number = 0;
    }

    v[15].text = cmd_str(online ? "online" : "offline");

    v[16].text.data = (unsigned char *) states.buf;
    v[16].text.len = states.len;
    v[16].list = 1;

    out.format = opt->format;
    out.names = cmd_stats_names;
    out.n = CMD_NSTATS;

    if (front && opt->format == cmd_format_json) {
        v[CMD_NSTATS].text = cmd_str(front);
        v[CMD_NSTATS].number = 1;
        out.n++;
    }

    cmd_output_start(&out);

    if (opt->format == cmd_format_json) {
        cmd_output_row(&out, v);

    } else {

        /* a line for each state */

        out.n = CMD_NSTATS - 1;
        cmd_output_row(&out, v);

        while (mapi_directory_list_next(&v[16].text, &value) == MAPI_OK) {
            printf("state: %.*s\n", (int) value.len, value.data);
        }
    }

    cmd_output_end(&out);
    cmd_read_end(d);
    free(states.buf);

    return CMD_DONE;
}
