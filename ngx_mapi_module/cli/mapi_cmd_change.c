
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"

#include <time.h>


/* the verbs that change one thing: move, server, node */


typedef struct {
    cmd_options_t        *opt;
    mapi_server_state_e   state;
    int                   code;
} cmd_change_t;


static int cmd_change(cmd_change_t *change, mapi_directory_transact_pt call);
static int cmd_move_apply(mapi_directory_writer_t *w, void *data);
static int cmd_server_apply(mapi_directory_writer_t *w, void *data);
static int cmd_node_print(cmd_options_t *opt);
static int cmd_node_apply(mapi_directory_writer_t *w, void *data);


static int
cmd_change(cmd_change_t *change, mapi_directory_transact_pt call)
{
    int                       rc;
    mapi_directory_writer_t  *w;

    w = mapi_directory_writer_open(change->opt->directory, 0, &rc);

    if (w == NULL) {
        cmd_say("out of memory");
        return CMD_ENVIRONMENT;
    }

    change->code = CMD_ENVIRONMENT;

    if (rc == MAPI_OK) {
        rc = mapi_directory_transact(w, 1024 * 1024, call, change);
    }

    if (rc == MAPI_OK) {
        change->code = CMD_DONE;

    } else {
        cmd_say("%s", w->error);
    }

    mapi_directory_writer_close(w);

    return change->code;
}


int
cmd_move(cmd_options_t *opt)
{
    cmd_change_t  change;

    memset(&change, 0, sizeof(change));
    change.opt = opt;

    return cmd_change(&change, cmd_move_apply);
}


static int
cmd_move_apply(mapi_directory_writer_t *w, void *data)
{
    cmd_change_t *change = data;

    size_t                        i;
    mapi_str_t                    name, list, word;
    mapi_guid_t                   guid;
    mapi_directory_db_row_t      *db;
    mapi_directory_server_row_t  *server;

    change->code = CMD_ENVIRONMENT;

    name = cmd_str(change->opt->args[0]);
    db = mapi_directory_find_database(w, &name);

    if (db == NULL
        && mapi_guid_parse(&guid, name.data, name.len) == MAPI_OK)
    {
        for (i = 0; i < w->ndatabases; i++) {
            if (memcmp(w->databases[i].guid.b, guid.b, 16) == 0) {
                db = &w->databases[i];
            }
        }
    }

    if (db == NULL) {
        change->code = CMD_NOT_FOUND;
        return mapi_directory_write_error(w, "there is no database \"%s\"",
                                          change->opt->args[0]);
    }

    name = cmd_str(change->opt->args[1]);

    if (mapi_directory_find_server(w, &name, &server) != MAPI_OK) {
        change->code = CMD_NOT_FOUND;
        return mapi_directory_write_error(w, "there is no server \"%s\"",
                                          change->opt->args[1]);
    }

    list = db->copies;

    while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
        if (mapi_str_eq(&word, &server->name)) {
            break;
        }

        word.len = 0;
    }

    if ((db->copies.len == 0 || !mapi_str_eq(&word, &server->name))
        && !mapi_str_eq(&db->server, &server->name) && !change->opt->force)
    {
        change->code = CMD_NOT_FOUND;
        return mapi_directory_write_error(w, "the server %.*s has no copy of "
                             "%.*s: add --force if that is meant",
                             (int) server->name.len, server->name.data,
                             (int) db->name.len, db->name.data);
    }

    db->server = server->name;

    return mapi_directory_store(w);
}


int
cmd_server(cmd_options_t *opt)
{
    mapi_str_t    word;
    cmd_change_t  change;

    memset(&change, 0, sizeof(change));
    change.opt = opt;

    word = cmd_str(opt->args[1]);

    if (cmd_state_parse(&word, &change.state) != MAPI_OK) {
        cmd_say("server: \"%s\" is not active, draining or offline",
                opt->args[1]);
        return CMD_USAGE;
    }

    if (opt->within >= 0 && change.state != mapi_server_draining) {
        cmd_say("server: --within goes with draining only");
        return CMD_USAGE;
    }

    return cmd_change(&change, cmd_server_apply);
}


static int
cmd_server_apply(mapi_directory_writer_t *w, void *data)
{
    cmd_change_t *change = data;

    mapi_str_t                    name;
    mapi_directory_state_t        state;
    mapi_directory_server_row_t  *server;

    change->code = CMD_ENVIRONMENT;

    name = cmd_str(change->opt->args[0]);

    if (mapi_directory_find_server(w, &name, &server) != MAPI_OK) {
        change->code = CMD_NOT_FOUND;
        return mapi_directory_write_error(w, "there is no server \"%s\"",
                                          change->opt->args[0]);
    }

    state.state = change->state;
    state.since = (int64_t) time(NULL);
    state.deadline = 0;

    if (change->opt->within >= 0) {
        state.deadline = state.since + change->opt->within;
    }

    return mapi_directory_set_state(w, &server->name, &state);
}


int
cmd_node(cmd_options_t *opt)
{
    mapi_str_t    word, online, offline;
    cmd_change_t  change;

    if (opt->nargs == 0) {
        return cmd_node_print(opt);
    }

    memset(&change, 0, sizeof(change));
    change.opt = opt;

    word = cmd_str(opt->args[0]);
    online = cmd_str("online");
    offline = cmd_str("offline");

    if (mapi_str_caseeq(&word, &online)) {
        change.state = mapi_server_active;

    } else if (mapi_str_caseeq(&word, &offline)) {
        change.state = mapi_server_offline;

    } else {
        cmd_say("node: \"%s\" is not online or offline", opt->args[0]);
        return CMD_USAGE;
    }

    return cmd_change(&change, cmd_node_apply);
}


static int
cmd_node_print(cmd_options_t *opt)
{
    int                code;
    unsigned           online;
    mapi_directory_t  *d;

    d = cmd_read(opt, &code);

    if (d == NULL) {
        return code;
    }

    code = CMD_DONE;

    if (mapi_directory_node(d, &online) == MAPI_OK) {
        printf("%s\n", online ? "online" : "offline");

    } else {
        cmd_say("%s", mapi_directory_error(d));
        code = CMD_ENVIRONMENT;
    }

    cmd_read_end(d);

    return cmd_flush(code);
}


static int
cmd_node_apply(mapi_directory_writer_t *w, void *data)
{
    cmd_change_t *change = data;

    mapi_directory_state_t  state;

    change->code = CMD_ENVIRONMENT;

    if (change->state == mapi_server_active) {
        return mapi_directory_set_node(w, NULL);
    }

    state.state = mapi_server_offline;
    state.since = (int64_t) time(NULL);
    state.deadline = 0;

    return mapi_directory_set_node(w, &state);
}
