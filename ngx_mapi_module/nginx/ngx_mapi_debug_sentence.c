
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"


/*
 * The rule that decided, in one sentence, from what select has left in the
 * context.
 */

static u_char *ngx_mapi_debug_why(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing, u_char *p, u_char *last);
static u_char *ngx_mapi_debug_place(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing, u_char *p, u_char *last);
static u_char *ngx_mapi_debug_known(ngx_mapi_tree_t *tree, u_char *p,
    u_char *last);
static u_char *ngx_mapi_debug_instead(ngx_mapi_tree_t *tree, u_char *p,
    u_char *last);
static u_char *ngx_mapi_debug_unknown(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing, u_char *p, u_char *last);
static char *ngx_mapi_debug_no_cookie(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *routing);


static char  *ngx_mapi_debug_lacks[] = {
    "which is none of the servers of this upstream block",
    "which does not live",
    "which is at its max_conns",
    "which is draining",
    "which is offline",
    "which is \"down\" in the configuration",
    "which has refused this request"
};


void
ngx_mapi_debug_sentence(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    u_char            buf[NGX_MAPI_DEBUG_TEXT], *p, *last;
    ngx_str_t         text;
    ngx_uint_t        rule;
    ngx_mapi_ctx_t   *ctx;
    ngx_mapi_node_t  *node;

    ctx = tree->ctx;
    node = ngx_mapi_node_find(routing, "sentence");

    if (node == NULL) {
        return;
    }

    p = buf;
    last = buf + sizeof(buf);
    rule = ngx_mapi_rule(ctx);

    p = ngx_slprintf(p, last, "Rule %ui: ", rule);

    if (rule == 6) {
        p = ngx_slprintf(p, last, "no server passes its check, and so those "
                         "that are not offline count as if they did; ");
    }

    p = ngx_mapi_debug_why(tree, routing, p, last);

    if (ctx->mscf->reject && ctx->identity.kind != mapi_identity_none
        && !ctx->found)
    {
        p = ngx_slprintf(p, last, " But \"mapi_unknown_mailbox reject\" "
                         "answers %d to requests with credentials.",
                         ctx->usable ? NGX_HTTP_NOT_FOUND
                                     : NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    text.data = buf;
    text.len = p - buf;

    ngx_mapi_node_set(tree, node, &text);
}


static u_char *
ngx_mapi_debug_why(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing, u_char *p,
    u_char *last)
{
    ngx_str_t           target;
    ngx_mapi_ctx_t     *ctx;
    ngx_mapi_server_t  *servers;

    ctx = tree->ctx;
    servers = ctx->mscf->servers.elts;

    ngx_mapi_target(ctx, &target);

    switch (ctx->reason) {

    case ngx_mapi_reason_handshake:
        p = ngx_slprintf(p, last, "this client connection has begun a logon "
                         "at %V, which ends where it began", &target);
        break;

    case ngx_mapi_reason_pinned:
        p = ngx_slprintf(p, last, "this client connection is logged on at %V, "
                         "which saves a logon", &target);
        break;

    case ngx_mapi_reason_learned:
    case ngx_mapi_reason_mounted:
        p = ngx_mapi_debug_place(tree, routing, p, last);
        p = ngx_slprintf(p, last, "; ");
        return ngx_mapi_debug_known(tree, p, last);

    case ngx_mapi_reason_cookie:
    case ngx_mapi_reason_hash:
    case ngx_mapi_reason_address:
        return ngx_mapi_debug_unknown(tree, routing, p, last);

    default:
        p = ngx_mapi_debug_place(tree, routing, p, last);
        p = ngx_slprintf(p, last, ", %s; ",
                         ngx_mapi_debug_lacks[ctx->reason
                                              - ngx_mapi_reason_elsewhere]);
        return ngx_mapi_debug_instead(tree, p, last);
    }

    /* a pin has had its word: what would have been without it */

    if (ctx->preferred >= 0 && ctx->preferred != ctx->server) {
        return ngx_slprintf(p, last, "; without that it would go to %V.",
                            &servers[ctx->preferred].name);
    }

    return ngx_slprintf(p, last, ".");
}


/* "database DB02 is mounted on ex2.contoso.com by the directory" */

static u_char *
ngx_mapi_debug_place(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing,
    u_char *p, u_char *last)
{
    ngx_str_t           name;
    ngx_mapi_ctx_t     *ctx;
    ngx_mapi_node_t    *node;
    ngx_mapi_server_t  *servers;

    ctx = tree->ctx;
    servers = ctx->mscf->servers.elts;

    if (ctx->located) {
        p = ngx_slprintf(p, last, "database %V is mounted on ",
                         &ctx->database);

    } else {
        p = ngx_slprintf(p, last, "the mailbox lives on ");
    }

    if (ctx->learned >= 0) {
        return ngx_slprintf(p, last, "%V by the word of a server",
                            &servers[ctx->learned].name);
    }

    if (ctx->known >= 0) {
        name = servers[ctx->known].name;

    } else {
        node = ngx_mapi_node_find(ngx_mapi_node_find(routing, "directory"),
                                  "mounted");
        ngx_str_set(&name, "another server");

        if (node && node->text.len) {
            name = node->text;
        }
    }

    return ngx_slprintf(p, last, "%V by the directory", &name);
}


static u_char *
ngx_mapi_debug_known(ngx_mapi_tree_t *tree, u_char *p, u_char *last)
{
    ngx_mapi_ctx_t     *ctx;
    ngx_mapi_server_t  *server;

    ctx = tree->ctx;
    server = (ngx_mapi_server_t *) ctx->mscf->servers.elts + ctx->preferred;

    if (ctx->last_resort) {
        return ngx_slprintf(p, last, "it is asked all the same.");
    }

    if (ngx_mapi_server_state(server) == mapi_server_draining) {
        return ngx_slprintf(p, last, "it is draining, but nobody else can "
                            "serve the mailbox (\"mapi %V\").",
                            ngx_mapi_status_mode(ctx->mscf));
    }

    return ngx_slprintf(p, last, "it is active and %s.",
                        ctx->mscf->health ? "passes its checks"
                                          : "has not failed lately");
}


static u_char *
ngx_mapi_debug_instead(ngx_mapi_tree_t *tree, u_char *p, u_char *last)
{
    ngx_str_t        target;
    ngx_mapi_ctx_t  *ctx;

    ctx = tree->ctx;

    ngx_mapi_target(ctx, &target);

    switch (ctx->mscf->fallback) {

    case ngx_mapi_fallback_any:

        if (ctx->server < 0) {
            return ngx_slprintf(p, last, "no other server can be asked "
                                "either: 503.");
        }

        return ngx_slprintf(p, last, "by \"fallback=any\" the rendezvous hash "
                            "among the others chose %V.", &target);

    case ngx_mapi_fallback_copies:

        if (ctx->server < 0) {
            return ngx_slprintf(p, last, "by \"fallback=copies\" only a copy "
                                "could serve it, and none lives: 503.");
        }

        return ngx_slprintf(p, last, "by \"fallback=copies\" the next copy "
                            "that lives is on %V.", &target);

    default: /* ngx_mapi_fallback_none */
        return ngx_slprintf(p, last, "by \"fallback=none\" nobody else may "
                            "serve it: 503.");
    }
}


static u_char *
ngx_mapi_debug_unknown(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing,
    u_char *p, u_char *last)
{
    char                  *what;
    ngx_str_t              target;
    ngx_mapi_ctx_t        *ctx;
    ngx_mapi_main_conf_t  *mmcf;

    ctx = tree->ctx;
    mmcf = ngx_http_get_module_main_conf(tree->request, ngx_mapi_module);

    ngx_mapi_target(ctx, &target);

    if (ctx->identity.kind == mapi_identity_none) {
        what = "the request names no mailbox that can be read";

    } else if (mmcf->directory_path.len == 0) {
        what = "there is no directory and nothing was learned";

    } else if (!ctx->usable) {
        what = "the directory cannot be used";

    } else if (!ctx->found) {
        what = "the directory does not know the mailbox, or more than one has "
               "that name";

    } else {
        what = "the directory does not know the mailbox's database";
    }

    p = ngx_slprintf(p, last, "%s", what);

    if (ctx->server < 0) {
        return ngx_slprintf(p, last, ", and no server can be asked: 503.");
    }

    if (ctx->reason == ngx_mapi_reason_cookie) {
        return ngx_slprintf(p, last, "; the affinity cookie names %V, which "
                            "lives and is active.", &target);
    }

    if (ctx->reason == ngx_mapi_reason_address) {
        return ngx_slprintf(p, last, "; the rendezvous hash of the client's "
                            "address chose %V.", &target);
    }

    return ngx_slprintf(p, last, "; %s; the rendezvous hash of the name "
                        "chose %V.", ngx_mapi_debug_no_cookie(tree, routing),
                        &target);
}


static char *
ngx_mapi_debug_no_cookie(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    ngx_mapi_ctx_t   *ctx;
    ngx_mapi_node_t  *node;

    ctx = tree->ctx;

    if (ctx->mlcf->affinity == ngx_mapi_affinity_off) {
        return "there is no affinity";
    }

    if (ctx->cookie.data == NULL) {
        return "no affinity cookie came";
    }

    if (ctx->affinity == NULL) {
        return "the affinity cookie cannot be read";
    }

    node = ngx_mapi_node_find(ngx_mapi_node_find(routing, "affinity"),
                              "server");

    if (node && node->text.data) {
        return "the affinity cookie names a server that does not live or is "
               "not active";
    }

    return "the affinity cookie does not have this mailbox";
}
