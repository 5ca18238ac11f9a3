
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"
#include "ngx_mapi_pin.h"
#include "ngx_mapi_health.h"

#include "mapi_directory_format.h"


/*
 * How a request for this mailbox would go, and why: what identify, locate and
 * select have left in the context, and what they have read.
 */

static void ngx_mapi_debug_identity(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);
static void ngx_mapi_debug_upstream(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);
static void ngx_mapi_debug_directory(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);
static void ngx_mapi_debug_meta(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group,
    mapi_directory_t *d);
static void ngx_mapi_debug_mailbox(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *group, mapi_directory_t *d);
static void ngx_mapi_debug_mounted(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *group, mapi_directory_t *d, mapi_database_t *database);
static void ngx_mapi_debug_learned(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);
static void ngx_mapi_debug_affinity(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);
static void ngx_mapi_debug_entry(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *group);
static void ngx_mapi_debug_pins(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);


static ngx_str_t  ngx_mapi_debug_kinds[] = {
    ngx_string("none"),
    ngx_string("GUID"),
    ngx_string("SMTP address"),
    ngx_string("user principal name"),
    ngx_string("account")
};


static ngx_str_t  ngx_mapi_debug_sources[] = {
    ngx_string("nothing that can be read"),
    ngx_string("MailboxId of the query"),
    ngx_string("smtpAddress of the query"),
    ngx_string("X-AnchorMailbox, claimed"),
    ngx_string("user name of Basic, claimed"),
    ngx_string("name in an NTLM message, claimed")
};


static ngx_str_t  ngx_mapi_debug_affinities[] = {
    ngx_string("off"),
    ngx_string("on"),
    ngx_string("auto")
};


static ngx_str_t  ngx_mapi_debug_fallbacks[] = {
    ngx_string("any"),
    ngx_string("copies"),
    ngx_string("none")
};


static ngx_str_t  ngx_mapi_debug_pin_states[] = {
    ngx_string("no logon"),
    ngx_string("a logon is under way"),
    ngx_string("logged on")
};


static ngx_str_t  ngx_mapi_debug_realip = ngx_string("realip_remote_addr");


void
ngx_mapi_debug_routing(ngx_mapi_tree_t *tree)
{
    ngx_str_t         target;
    ngx_mapi_ctx_t   *ctx;
    ngx_mapi_node_t  *routing;

    ctx = tree->ctx;

    ngx_mapi_target(ctx, &target);

    routing = ngx_mapi_node(tree, tree->root, ngx_mapi_node_group, "routing",
                            "Routing");

    /* the sentence is made last, from all the others */

    (void) ngx_mapi_node(tree, routing, ngx_mapi_node_string, "sentence",
                         NULL);

    ngx_mapi_node_text(tree, routing, "server", "Server",
                       ctx->server >= 0 ? &target : NULL);
    ngx_mapi_node_value(tree, routing, ngx_mapi_node_number, "rule", "Rule",
                        ngx_mapi_rule(ctx));
    ngx_mapi_node_text(tree, routing, "route", "Route",
                       ngx_mapi_route_name(ctx->route));
    ngx_mapi_node_text(tree, routing, "reason", "Reason",
                       ngx_mapi_reason_name(ctx->reason));

    ngx_mapi_debug_identity(tree, routing);
    ngx_mapi_debug_upstream(tree, routing);
    ngx_mapi_debug_directory(tree, routing);
    ngx_mapi_debug_servers(tree, routing);
    ngx_mapi_debug_affinity(tree, routing);
    ngx_mapi_debug_learned(tree, routing);
    ngx_mapi_debug_pins(tree, routing);

    ngx_mapi_debug_sentence(tree, routing);
}


static void
ngx_mapi_debug_identity(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    ngx_str_t                   text;
    ngx_uint_t                  key;
    ngx_mapi_ctx_t             *ctx;
    ngx_mapi_node_t            *group;
    ngx_http_request_t         *r;
    ngx_http_variable_value_t  *v;

    r = tree->request;
    ctx = tree->ctx;

    group = ngx_mapi_node(tree, routing, ngx_mapi_node_group, "identity",
                          "Identity");

    text.data = ctx->identity.text.data;
    text.len = ctx->identity.text.len;

    ngx_mapi_node_text(tree, group, "name", "Name",
                       ctx->identity.kind != mapi_identity_none ? &text
                                                                : NULL);

    text.data = ctx->identity.domain.data;
    text.len = ctx->identity.domain.len;

    ngx_mapi_node_text(tree, group, "domain", "Domain",
                       text.len ? &text : NULL);
    ngx_mapi_node_text(tree, group, "kind", "Kind",
                       &ngx_mapi_debug_kinds[ctx->identity.kind]);
    ngx_mapi_node_text(tree, group, "source", "Came from",
                       &ngx_mapi_debug_sources[ctx->source]);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "rewritten",
                        "By mapi_identity_rule", ctx->rewritten);

    ngx_mapi_node_text(tree, group, "client", "Client address",
                       &r->connection->addr_text);

    key = ngx_hash_key(ngx_mapi_debug_realip.data, ngx_mapi_debug_realip.len);
    v = ngx_http_get_variable(r, &ngx_mapi_debug_realip, key);

    if (v == NULL || v->not_found) {
        text = r->connection->addr_text;

    } else {
        text.data = v->data;
        text.len = v->len;
    }

    ngx_mapi_node_text(tree, group, "peer", "Peer of the connection", &text);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "connection",
                        "Connection", (int64_t) r->connection->number);
}


static void
ngx_mapi_debug_upstream(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    ngx_mapi_ctx_t       *ctx;
    ngx_mapi_node_t      *group;
    ngx_mapi_srv_conf_t  *mscf;

    ctx = tree->ctx;
    mscf = ctx->mscf;

    group = ngx_mapi_node(tree, routing, ngx_mapi_node_group, "upstream",
                          "Upstream");

    ngx_mapi_node_text(tree, group, "name", "Block", &mscf->name);
    ngx_mapi_node_text(tree, group, "mode", "Mode",
                       ngx_mapi_status_mode(mscf));
    ngx_mapi_node_text(tree, group, "fallback", "Fallback",
                       &ngx_mapi_debug_fallbacks[mscf->fallback]);
    ngx_mapi_node_print(tree, group, "unknown_mailbox", "Unknown mailboxes",
                        mscf->reject ? "reject" : "balance");
    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "checks",
                        "Active checks", mscf->health != NULL);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "observe",
                        "Only observed", ctx->observe);
}


static void
ngx_mapi_debug_directory(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    mapi_directory_t      *d;
    ngx_mapi_node_t       *group;
    ngx_mapi_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(tree->request, ngx_mapi_module);

    group = ngx_mapi_node(tree, routing, ngx_mapi_node_group, "directory",
                          "Directory");

    ngx_mapi_node_text(tree, group, "path", "Folder",
                       mmcf->directory_path.len ? &mmcf->directory_path
                                                : NULL);

    if (mmcf->directory_path.len == 0) {
        return;
    }

    d = ngx_mapi_directory(mmcf, tree->request->connection->log);

    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "usable", "Usable",
                        d != NULL);

    if (mmcf->directory && *mapi_directory_error(mmcf->directory) != '\0') {
        ngx_mapi_node_print(tree, group, "error", "Error", "%s",
                            mapi_directory_error(mmcf->directory));
    }

    if (d == NULL) {
        return;
    }

    ngx_mapi_debug_meta(tree, group, d);

    if (tree->ctx->identity.kind != mapi_identity_none) {
        ngx_mapi_debug_mailbox(tree, group, d);
    }

    mapi_directory_end(d);
}


static void
ngx_mapi_debug_meta(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group,
    mapi_directory_t *d)
{
    u_char                  key;
    mapi_str_t              value;
    mapi_directory_meta_t   meta;

    key = (u_char) mapi_table_meta;

    if (mapi_directory_fetch(d, &key, 1, &value) != MAPI_OK
        || mapi_directory_meta_read(&meta, &value) != MAPI_OK)
    {
        return;
    }

    ngx_mapi_node_value(tree, group, ngx_mapi_node_time, "imported",
                        "Last import", (int64_t) meta.imported);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_span, "age", "Age",
                        meta.imported ? ngx_time() - (time_t) meta.imported
                                      : -1);
}


static void
ngx_mapi_debug_mailbox(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group,
    mapi_directory_t *d)
{
    ngx_int_t        rc;
    ngx_str_t        text;
    mapi_mailbox_t   mailbox;
    mapi_database_t  database;

    rc = mapi_directory_mailbox(d, &tree->ctx->identity, &mailbox);

    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "found",
                        "Knows the mailbox", rc == MAPI_OK);

    if (rc != MAPI_OK) {
        return;
    }

    ngx_mapi_node_guid(tree, group, "mailbox", "Mailbox", &mailbox.guid);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "archive",
                        "Asked for its archive", mailbox.is_archive);

    text.data = mailbox.smtp.data;
    text.len = mailbox.smtp.len;
    ngx_mapi_node_text(tree, group, "smtp", "Primary address", &text);

    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "mapi_enabled",
                        "MapiHttpEnabled", mailbox.mapi_enabled);
    ngx_mapi_node_guid(tree, group, "database_guid", "Database GUID",
                       &mailbox.database);

    rc = mapi_directory_database(d, &mailbox.database, &database);

    if (rc != MAPI_OK) {
        ngx_mapi_node_text(tree, group, "database", "Database", NULL);
        return;
    }

    text.data = database.name.data;
    text.len = database.name.len;
    ngx_mapi_node_text(tree, group, "database", "Database", &text);

    ngx_mapi_debug_mounted(tree, group, d, &database);
}


static void
ngx_mapi_debug_mounted(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group,
    mapi_directory_t *d, mapi_database_t *database)
{
    u_char                   buf[NGX_MAPI_DEBUG_TEXT], *p;
    u_char                   key[MAPI_DIRECTORY_KEY_MAX];
    size_t                   len;
    ngx_str_t                text;
    mapi_str_t               list, word, value;
    mapi_server_t            server;
    mapi_directory_state_t   state;

    text.data = database->server.data;
    text.len = database->server.len;
    ngx_mapi_node_text(tree, group, "mounted", "Mounted on", &text);

    if (mapi_directory_server(d, &database->server, &server) == MAPI_OK) {
        ngx_mapi_node_text(tree, group, "state", "State of that server",
                           ngx_mapi_state_name(server.state));

    } else {
        ngx_mapi_node_text(tree, group, "state", "State of that server", NULL);
    }

    len = mapi_directory_key(key, mapi_table_state, &database->server);

    if (len && mapi_directory_fetch(d, key, len, &value) == MAPI_OK
        && mapi_directory_state_read(&state, &value) == MAPI_OK)
    {
        ngx_mapi_node_value(tree, group, ngx_mapi_node_time, "state_since",
                            "Set at", state.since);
        ngx_mapi_node_value(tree, group, ngx_mapi_node_time, "state_until",
                            "Offline at", state.deadline);
    }

    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "in_block",
                        "Server of this block", tree->ctx->known >= 0);

    p = buf;
    list = database->copies;

    while (mapi_directory_list_next(&list, &word) == MAPI_OK) {
        text.data = word.data;
        text.len = word.len;
        p = ngx_slprintf(p, buf + sizeof(buf), "%s%V", p == buf ? "" : ", ",
                         &text);
    }

    text.data = buf;
    text.len = p - buf;
    ngx_mapi_node_text(tree, group, "copies", "Copies by preference", &text);
}


static void
ngx_mapi_debug_learned(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    time_t                 since;
    ngx_mapi_ctx_t        *ctx;
    ngx_mapi_node_t       *group;
    ngx_atomic_uint_t      n[NGX_MAPI_COUNTS];
    ngx_mapi_server_t     *servers;
    ngx_mapi_main_conf_t  *mmcf;

    ctx = tree->ctx;
    servers = ctx->mscf->servers.elts;
    mmcf = ngx_http_get_module_main_conf(tree->request, ngx_mapi_module);

    group = ngx_mapi_node(tree, routing, ngx_mapi_node_group, "learned",
                          "Learned place");

    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "zone", "mapi_zone",
                        mmcf->zone != NULL);

    if (mmcf->zone == NULL) {
        return;
    }

    if (ctx->learned >= 0) {
        since = ngx_mapi_learn_since(tree->request, ctx);

        ngx_mapi_node_text(tree, group, "server", "Server",
                           &servers[ctx->learned].name);
        ngx_mapi_node_print(tree, group, "of", "Of the",
                            ctx->located ? "database" : "mailbox");
        ngx_mapi_node_value(tree, group, ngx_mapi_node_time, "since",
                            "Learned", since);
        ngx_mapi_node_value(tree, group, ngx_mapi_node_span, "age", "Age",
                            since ? ngx_time() - since : -1);

    } else {
        ngx_mapi_node_text(tree, group, "server", "Server", NULL);
    }

    ngx_mapi_count_read(mmcf, ctx->mscf->count, n);

    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "first_hop",
                        "Answers that came straight",
                        (int64_t) n[NGX_MAPI_COUNT_FIRST_HOP]);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "second_hop",
                        "Answers through another server",
                        (int64_t) n[NGX_MAPI_COUNT_SECOND_HOP]);
}


static void
ngx_mapi_debug_affinity(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    ngx_mapi_ctx_t   *ctx;
    ngx_mapi_node_t  *group;

    ctx = tree->ctx;

    group = ngx_mapi_node(tree, routing, ngx_mapi_node_group, "affinity",
                          "Affinity cookie");

    ngx_mapi_node_text(tree, group, "setting", "mapi_affinity",
                       &ngx_mapi_debug_affinities[ctx->mlcf->affinity]);
    ngx_mapi_node_text(tree, group, "cookie", "Name", &ctx->mlcf->cookie_name);

    if (ctx->cookie.data == NULL) {
        ngx_mapi_node_print(tree, group, "state", "The request's",
                            "none came");
        return;
    }

    ngx_mapi_affinity_read(tree->request, ctx);

    if (ctx->affinity == NULL) {
        ngx_mapi_node_print(tree, group, "state", "The request's",
                            "cannot be read, and so it is as if none came");
        return;
    }

    ngx_mapi_node_print(tree, group, "state", "The request's", "opened");
    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "entries",
                        "Mailboxes in it", ctx->affinity->n);

    ngx_mapi_debug_entry(tree, group);
}


/* select has asked for the same entry, if it came to that */

static void
ngx_mapi_debug_entry(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group)
{
    ngx_uint_t                    i;
    mapi_str_t                    name;
    ngx_mapi_ctx_t               *ctx;
    ngx_mapi_server_t            *servers;
    const mapi_affinity_entry_t  *entry;

    ctx = tree->ctx;
    entry = NULL;

    if (ctx->identity.kind != mapi_identity_none) {
        entry = mapi_affinity_find(ctx->affinity, &ctx->identity.text);
    }

    if (entry == NULL) {
        ngx_mapi_node_text(tree, group, "server", "Server of this mailbox",
                           NULL);
        return;
    }

    servers = ctx->mscf->servers.elts;

    for (i = 0; i < ctx->mscf->servers.nelts; i++) {

        name.len = servers[i].name.len;
        name.data = servers[i].name.data;

        if (mapi_affinity_is_server(ctx->affinity, entry, &name)) {
            break;
        }
    }

    if (i < ctx->mscf->servers.nelts) {
        ngx_mapi_node_text(tree, group, "server", "Server of this mailbox",
                           &servers[i].name);

    } else {
        ngx_mapi_node_print(tree, group, "server", "Server of this mailbox",
                            "none of the block's");
    }

    ngx_mapi_node_value(tree, group, ngx_mapi_node_time, "expires", "Expires",
                        (int64_t) entry->expires);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "counted",
                        "It has decided",
                        ctx->reason == ngx_mapi_reason_cookie);
}


/* those of this client connection: no request knows another one's */

static void
ngx_mapi_debug_pins(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    ngx_queue_t            *q;
    ngx_mapi_pin_t         *pin;
    ngx_mapi_node_t        *group, *list, *row;
    ngx_mapi_server_t      *servers;
    ngx_mapi_srv_conf_t    *mscf;
    ngx_mapi_pin_client_t  *client;

    mscf = tree->ctx->mscf;
    servers = mscf->servers.elts;

    group = ngx_mapi_node(tree, routing, ngx_mapi_node_group, "pins", "Pins");

    ngx_mapi_node_value(tree, group, ngx_mapi_node_flag, "setting",
                        "mapi_pin", mscf->pin);
    ngx_mapi_node_print(tree, group, "prefer", "Prefer",
                        mscf->prefer == ngx_mapi_prefer_pinned ? "pinned"
                                                               : "route");

    list = ngx_mapi_node(tree, group, ngx_mapi_node_list, "own",
                         "Of this client connection");

    client = ngx_mapi_pin_eligible(tree->request)
             ? ngx_mapi_pin_client(tree->request->connection) : NULL;

    if (client == NULL) {
        return;
    }

    for (q = ngx_queue_head(&client->pins);
         q != ngx_queue_sentinel(&client->pins);
         q = ngx_queue_next(q))
    {
        pin = ngx_queue_data(q, ngx_mapi_pin_t, queue);

        row = ngx_mapi_node(tree, list, ngx_mapi_node_group, "", NULL);

        ngx_mapi_node_text(tree, row, "upstream", "Upstream",
                           &pin->upstream->host);
        ngx_mapi_node_text(tree, row, "server", "Server",
                           pin->server >= 0
                           && pin->upstream == tree->ctx->mlcf->upstream
                           ? &servers[pin->server].name : NULL);
        ngx_mapi_node_text(tree, row, "address", "Address", &pin->name);
        ngx_mapi_node_text(tree, row, "state", "State",
                           &ngx_mapi_debug_pin_states[pin->state]);
        ngx_mapi_node_text(tree, row, "user", "User",
                           pin->user.len ? &pin->user : NULL);
    }
}
