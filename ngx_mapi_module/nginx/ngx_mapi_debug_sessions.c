
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"
#include "ngx_mapi_session.h"


/*
 * The session contexts of the mailbox, in Exchange's layout: what it shows as
 * the context's cookie is here the key of the session table, which opens
 * nothing.
 */

#define NGX_MAPI_DEBUG_SESSIONS  32


static void ngx_mapi_debug_session(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *list, mapi_session_t *s);
static void ngx_mapi_debug_client(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *session, mapi_session_t *s);
static void ngx_mapi_debug_closed(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *group, mapi_session_t *s);
static void ngx_mapi_debug_ended(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *session, mapi_session_t *s, ngx_uint_t failed);
static void ngx_mapi_debug_active(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *session, mapi_session_t *s);
static ngx_mapi_node_t *ngx_mapi_debug_operation(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *list, mapi_str_t *type, mapi_str_t *id, int64_t start);
static void ngx_mapi_debug_operation_end(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *row, mapi_session_t *s, const mapi_session_op_t *op);
static void ngx_mapi_debug_view(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *group, char *name, char *label, mapi_str_t *view);


#define ngx_mapi_debug_field(tree, group, name, label, text)                  \
    {                                                                         \
        mapi_str_t  view;                                                     \
        mapi_session_view(&view, text);                                       \
        ngx_mapi_debug_view(tree, group, name, label, &view);                 \
    }


static char  *ngx_mapi_debug_sides[] = {
    "nobody", "the client", "the server", "this front end"
};


static char  *ngx_mapi_debug_codes[] = {
    "Success", "Unknown Failure", "Invalid Verb", "Invalid Path",
    "Invalid Header", "Invalid Request Type", "Invalid Context Cookie",
    "Missing Header", "Anonymous Not Allowed", "Too Large",
    "Context Not Found", "No Privilege", "Invalid Request Body",
    "Missing Cookie", "Reserved", "Invalid Sequence", "Endpoint Disabled",
    "Invalid Response", "Endpoint Shutting Down"
};


void
ngx_mapi_debug_sessions(ngx_mapi_tree_t *tree)
{
    ngx_uint_t                n;
    mapi_session_t           *session;
    ngx_mapi_node_t          *list;
    ngx_mapi_session_scan_t   scan;

    list = ngx_mapi_node(tree, tree->root, ngx_mapi_node_list, "sessions",
                         "Session Contexts");

    if (tree->ctx->identity.kind == mapi_identity_none) {
        return;
    }

    session = ngx_palloc(tree->request->pool, sizeof(mapi_session_t));
    if (session == NULL) {
        tree->failed = 1;
        return;
    }

    ngx_mapi_session_scan_mailbox(tree->request, tree->ctx, &scan);

    for (n = 0; n < NGX_MAPI_DEBUG_SESSIONS; n++) {

        if (ngx_mapi_session_next(&scan, session) != NGX_OK) {
            return;
        }

        ngx_mapi_debug_session(tree, list, session);
    }
}


static void
ngx_mapi_debug_session(ngx_mapi_tree_t *tree, ngx_mapi_node_t *list,
    mapi_session_t *s)
{
    ngx_mapi_node_t  *session;

    session = ngx_mapi_node(tree, list, ngx_mapi_node_group, "", NULL);

    ngx_mapi_node_print(tree, session, "session", "Context Cookie", "%016xL",
                        (int64_t) s->key.h[0]);
    ngx_mapi_node_value(tree, session, ngx_mapi_node_time, "created",
                        "Creation Time", s->created / 1000);
    ngx_mapi_node_value(tree, session, ngx_mapi_node_time, "last",
                        "Last Activity Time", s->last / 1000);
    ngx_mapi_node_value(tree, session, ngx_mapi_node_number, "count",
                        "Activity Count", (int64_t) s->requests);
    ngx_mapi_node_print(tree, session, "rundown", "Rundown", "No");
    ngx_mapi_node_text(tree, session, "rundown_time", "Rundown Time", NULL);
    ngx_mapi_node_value(tree, session, ngx_mapi_node_span, "idle", "Idle Time",
                        mapi_session_is_active(s)
                        ? -1 : ngx_max(ngx_time() - s->last / 1000, 0));

    ngx_mapi_debug_client(tree, session, s);

    ngx_mapi_debug_ended(tree, session, s, 0);
    ngx_mapi_debug_ended(tree, session, s, 1);
    ngx_mapi_debug_active(tree, session, s);
}


/* what Exchange does not tell of a session */

static void
ngx_mapi_debug_client(ngx_mapi_tree_t *tree, ngx_mapi_node_t *session,
    mapi_session_t *s)
{
    ngx_mapi_node_t  *group;

    group = ngx_mapi_node(tree, session, ngx_mapi_node_group, "client",
                          "Client");

    ngx_mapi_debug_field(tree, group, "server", "Server", &s->server);
    ngx_mapi_debug_field(tree, group, "user", "Logged on as", &s->user);
    ngx_mapi_node_scheme(tree, group, "scheme", "Authentication",
                         s->scheme <= mapi_auth_other ? s->scheme
                                                      : mapi_auth_none);
    ngx_mapi_debug_field(tree, group, "address", "Client Address",
                         &s->address);
    ngx_mapi_debug_field(tree, group, "application", "Application",
                         &s->application);
    ngx_mapi_debug_field(tree, group, "agent", "User-Agent", &s->agent);
    ngx_mapi_debug_field(tree, group, "anchor", "Asked for", &s->anchor);
    ngx_mapi_node_print(tree, group, "endpoint", "Endpoint", "%s",
                        s->endpoint == mapi_endpoint_nspi ? "nspi" : "emsmdb");
    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "failures",
                        "Failures", (int64_t) s->failures);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "received",
                        "Bytes received", (int64_t) s->received);
    ngx_mapi_node_value(tree, group, ngx_mapi_node_number, "sent",
                        "Bytes sent", (int64_t) s->sent);

    ngx_mapi_debug_closed(tree, group, s);
}


/* of the operation that ended last */

static void
ngx_mapi_debug_closed(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group,
    mapi_session_t *s)
{
    const mapi_session_op_t  *completed, *failed, *op;

    completed = mapi_session_completed(s, 0);
    failed = mapi_session_failed(s, 0);

    op = completed;

    if (failed
        && (op == NULL
            || failed->start + failed->duration > op->start + op->duration))
    {
        op = failed;
    }

    if (op == NULL || op->closed > mapi_session_closed_proxy) {
        ngx_mapi_node_text(tree, group, "closed", "Closed last by", NULL);
        return;
    }

    ngx_mapi_node_print(tree, group, "closed", "Closed last by", "%s",
                        ngx_mapi_debug_sides[op->closed]);
}


static void
ngx_mapi_debug_ended(ngx_mapi_tree_t *tree, ngx_mapi_node_t *session,
    mapi_session_t *s, ngx_uint_t failed)
{
    unsigned                  i;
    mapi_str_t                type, id;
    ngx_mapi_node_t          *list, *row;
    const mapi_session_op_t  *op;

    list = ngx_mapi_node(tree, session, ngx_mapi_node_list,
                         failed ? "failed" : "completed",
                         failed ? "Failed Operations"
                                : "Completed Operations");

    for (i = 0; /* void */ ; i++) {

        op = failed ? mapi_session_failed(s, i) : mapi_session_completed(s, i);

        if (op == NULL) {
            return;
        }

        mapi_session_view(&type, &op->type);
        mapi_session_view(&id, &op->id);

        row = ngx_mapi_debug_operation(tree, list, &type, &id, op->start);

        ngx_mapi_debug_operation_end(tree, row, s, op);
    }
}


static void
ngx_mapi_debug_active(ngx_mapi_tree_t *tree, ngx_mapi_node_t *session,
    mapi_session_t *s)
{
    unsigned                i;
    mapi_str_t              type, id;
    ngx_mapi_node_t        *list, *row;
    mapi_session_active_t  *active;

    list = ngx_mapi_node(tree, session, ngx_mapi_node_list, "active",
                         "Active Operations");

    for (i = 0; i < MAPI_SESSION_ACTIVE; i++) {
        active = &s->active[i];

        if (active->worker == 0) {
            continue;
        }

        mapi_session_view(&type, &active->type);
        mapi_session_view(&id, &active->id);

        row = ngx_mapi_debug_operation(tree, list, &type, &id, active->start);

        ngx_mapi_debug_operation_end(tree, row, s, NULL);
    }
}


/* the first columns of a row; the sequence cookie is none of ours to show */

static ngx_mapi_node_t *
ngx_mapi_debug_operation(ngx_mapi_tree_t *tree, ngx_mapi_node_t *list,
    mapi_str_t *type, mapi_str_t *id, int64_t start)
{
    ngx_mapi_node_t  *row;

    static mapi_str_t  none = mapi_string("None");

    row = ngx_mapi_node(tree, list, ngx_mapi_node_group, "", NULL);

    ngx_mapi_debug_view(tree, row, "type", "Request Type",
                        type->len ? type : &none);
    ngx_mapi_debug_view(tree, row, "id", "Request Id", id->len ? id : &none);
    ngx_mapi_node_print(tree, row, "sequence", "Sequence Cookie", "None");
    ngx_mapi_node_value(tree, row, ngx_mapi_node_time, "start", "Start Time",
                        start / 1000);

    return row;
}


/* the other ones; op is NULL while it is under way */

static void
ngx_mapi_debug_operation_end(ngx_mapi_tree_t *tree, ngx_mapi_node_t *row,
    mapi_session_t *s, const mapi_session_op_t *op)
{
    u_char     buf[256], *p, *last;
    ngx_str_t  info;

    ngx_mapi_node_value(tree, row, ngx_mapi_node_time, "end", "End Time",
                        op ? (op->start + op->duration) / 1000 : 0);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_span, "duration", "Duration",
                        op ? (int64_t) op->duration / 1000 : -1);

    if (op) {
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "pending",
                            "Pending Count", op->pending);

    } else {
        ngx_mapi_node_text(tree, row, "pending", "Pending Count", NULL);
    }

    ngx_mapi_node_text(tree, row, "last_pending", "Last Pending", NULL);
    ngx_mapi_node_text(tree, row, "cafe", "Cafe", &tree->cafe);
    ngx_mapi_node_text(tree, row, "activity", "Cafe Activity Id", NULL);
    ngx_mapi_debug_field(tree, row, "address", "Client Address", &s->address);

    p = buf;
    last = buf + sizeof(buf);

    if (op && op->code > 0) {
        p = ngx_slprintf(p, last, "X-ResponseCode %d", (int) op->code);

        if ((size_t) op->code < sizeof(ngx_mapi_debug_codes)
                                / sizeof(ngx_mapi_debug_codes[0]))
        {
            p = ngx_slprintf(p, last, " (%s)", ngx_mapi_debug_codes[op->code]);
        }
    }

    if (op && op->status == 0) {
        p = ngx_slprintf(p, last, "no answer");

    } else if (op && op->status != NGX_HTTP_OK) {
        p = ngx_slprintf(p, last, "%sHTTP %d", p > buf ? ", " : "",
                         (int) op->status);
    }

    if (op && op->closed != mapi_session_closed_none
        && op->closed <= mapi_session_closed_proxy)
    {
        p = ngx_slprintf(p, last, "%s%s has closed", p > buf ? ", " : "",
                         ngx_mapi_debug_sides[op->closed]);
    }

    info.data = buf;
    info.len = p - buf;

    ngx_mapi_node_text(tree, row, "info", "Info", &info);
}


static void
ngx_mapi_debug_view(ngx_mapi_tree_t *tree, ngx_mapi_node_t *group, char *name,
    char *label, mapi_str_t *view)
{
    ngx_str_t  text;

    text.len = view->len;
    text.data = view->data;

    ngx_mapi_node_text(tree, group, name, label, text.len ? &text : NULL);
}
