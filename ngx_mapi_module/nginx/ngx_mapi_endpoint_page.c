
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"
#include "ngx_mapi_pin.h"


/*
 * The page that a browser gets from an endpoint.  Exchange has one; for
 * servers that have none it is made here, and the debug page is always ours.
 *
 * Whoever is not in mapi_debug_allow is told nothing that depends on the
 * directory: neither whether a mailbox exists nor where it lives.
 */

typedef struct {
    ngx_str_t            user;
    mapi_auth_scheme_e   scheme;
    ngx_int_t            server;     /* where he has logged on, or -1 */
    ngx_uint_t           known;      /* there is a caller */
    ngx_uint_t           claimed;    /* and nobody has verified his name */
} ngx_mapi_caller_t;


static ngx_uint_t ngx_mapi_page_argument(ngx_http_request_t *r, char *name,
    size_t len, ngx_mapi_show_e *show);
static ngx_int_t ngx_mapi_endpoint_page_handler(ngx_http_request_t *r);
static void ngx_mapi_page_gather(ngx_mapi_tree_t *tree, ngx_uint_t allowed);
static void ngx_mapi_page_caller(ngx_mapi_tree_t *tree,
    ngx_mapi_caller_t *caller);
static void ngx_mapi_page_logged_on(ngx_mapi_tree_t *tree,
    ngx_mapi_caller_t *caller);
static void ngx_mapi_page_who(ngx_mapi_tree_t *tree, ngx_mapi_node_t *page,
    ngx_mapi_caller_t *caller, ngx_uint_t allowed);
static void ngx_mapi_page_domain(ngx_str_t *domain, ngx_mapi_ctx_t *ctx,
    ngx_uint_t allowed);
static void ngx_mapi_page_version(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *page, ngx_int_t server);
static ngx_int_t ngx_mapi_page_answer(ngx_mapi_tree_t *tree,
    ngx_mapi_show_e show);


ngx_mapi_show_e
ngx_mapi_endpoint_page_wanted(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_uint_t       local;
    ngx_mapi_show_e  show;

    local = (ctx->mlcf->maker == ngx_mapi_maker_local && !ctx->observe);

    if ((ngx_mapi_page_argument(r, "mapidebug", sizeof("mapidebug") - 1,
                                &show)
         || (local
             && ngx_mapi_page_argument(r, "showdebug", sizeof("showdebug") - 1,
                                       &show)))
        && ngx_mapi_allowed(r))
    {
        return show;
    }

    return local ? ngx_mapi_show_page : ngx_mapi_show_none;
}


static ngx_uint_t
ngx_mapi_page_argument(ngx_http_request_t *r, char *name, size_t len,
    ngx_mapi_show_e *show)
{
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) name, len, &value) != NGX_OK) {
        return 0;
    }

    if (value.len == 3 && ngx_strncasecmp(value.data, (u_char *) "yes", 3) == 0)
    {
        *show = ngx_mapi_show_debug;
        return 1;
    }

    if (value.len != 4) {
        return 0;
    }

    if (ngx_strncasecmp(value.data, (u_char *) "full", 4) == 0) {
        *show = ngx_mapi_show_debug;
        return 1;
    }

    if (ngx_strncasecmp(value.data, (u_char *) "json", 4) == 0) {
        *show = ngx_mapi_show_json;
        return 1;
    }

    return 0;
}


/*
 * Answered by a content handler, so that what the access phase refuses stays
 * refused.  The selection is that of a real request, for who may see it.
 */

ngx_int_t
ngx_mapi_endpoint_page(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ctx->route = ngx_mapi_route_none;

    if (ctx->show > ngx_mapi_show_page || ngx_mapi_allowed(r)) {
        (void) ngx_mapi_select(r, ctx, ctx->mlcf->upstream, NULL);
    }

    /* the page shows what is added, or a server gets it after all */

    if (ctx->show > ngx_mapi_show_page && !ctx->observe
        && ngx_mapi_forward(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->content_handler = ngx_mapi_endpoint_page_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_endpoint_page_handler(ngx_http_request_t *r)
{
    ngx_uint_t                 allowed;
    ngx_mapi_ctx_t            *ctx;
    ngx_mapi_show_e            show;
    ngx_mapi_tree_t            tree;
    ngx_http_core_loc_conf_t  *clcf;

    ctx = ngx_mapi_get_ctx(r);

    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* set_real_ip_from of the location may have given another address since */

    show = ctx->show;
    allowed = (ctx->reason != ngx_mapi_reason_none && ngx_mapi_allowed(r));

    if (show > ngx_mapi_show_page && !allowed) {

        if (ctx->mlcf->maker != ngx_mapi_maker_local || ctx->observe) {
            clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
            ctx->show = ngx_mapi_show_none;

            return clcf->handler(r);
        }

        show = ngx_mapi_show_page;
    }

    ngx_memzero(&tree, sizeof(ngx_mapi_tree_t));

    tree.request = r;
    tree.ctx = ctx;
    tree.root = ngx_mapi_node(&tree, NULL, ngx_mapi_node_group, "", NULL);

    tree.cafe.len = ctx->mlcf->server_name.len;

    tree.cafe.data = ngx_pnalloc(r->pool, tree.cafe.len);
    if (tree.cafe.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_strlow(tree.cafe.data, ctx->mlcf->server_name.data, tree.cafe.len);

    ngx_mapi_page_gather(&tree, allowed);

    if (show > ngx_mapi_show_page) {
        ngx_mapi_debug_sessions(&tree);
        ngx_mapi_debug_routing(&tree);
        ngx_mapi_debug_headers(&tree);
    }

    if (tree.failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_mapi_page_answer(&tree, show);
}


/* the fields of Exchange's page, in its order */

static void
ngx_mapi_page_gather(ngx_mapi_tree_t *tree, ngx_uint_t allowed)
{
    ngx_int_t           server;
    ngx_mapi_ctx_t     *ctx;
    ngx_mapi_node_t    *page, *group;
    ngx_mapi_caller_t   caller;
    ngx_mapi_server_t  *servers;

    ctx = tree->ctx;
    servers = ctx->mscf->servers.elts;

    ngx_mapi_page_caller(tree, &caller);

    /*
     * A caller whom a server knows is told which one that is, and not where
     * the mailbox that he names would be.
     */

    server = allowed ? ctx->server : caller.server;

    page = ngx_mapi_node(tree, tree->root, ngx_mapi_node_group, "page", NULL);

    ngx_mapi_page_version(tree, page, server);
    ngx_mapi_node_print(tree, page, "vdir_path", "Vdir Path", "/mapi/%s/",
                        ctx->endpoint == mapi_endpoint_nspi ? "nspi"
                                                            : "emsmdb");

    ngx_mapi_page_who(tree, page, &caller, allowed);

    group = ngx_mapi_node(tree, page, ngx_mapi_node_group, "servers", NULL);

    ngx_mapi_node_text(tree, group, "cafe", "Cafe", &tree->cafe);
    ngx_mapi_node_text(tree, group, "mailbox", "Mailbox",
                       server >= 0 ? &servers[server].name : NULL);

    ngx_mapi_node_value(tree, page, ngx_mapi_node_time, "created", "Created",
                        (int64_t) ngx_time());
}


static void
ngx_mapi_page_caller(ngx_mapi_tree_t *tree, ngx_mapi_caller_t *caller)
{
    u_char          *buf;
    mapi_str_t       user;
    ngx_mapi_ctx_t  *ctx;

    ctx = tree->ctx;

    ngx_memzero(caller, sizeof(ngx_mapi_caller_t));
    caller->server = -1;
    caller->scheme = ctx->auth.scheme;

    if (ctx->auth.token.len == 0) {
        ngx_mapi_page_logged_on(tree, caller);
        return;
    }

    buf = ngx_pnalloc(tree->request->pool, MAPI_IDENTITY_MAX);
    if (buf == NULL) {
        tree->failed = 1;
        return;
    }

    if (mapi_auth_user(&ctx->auth, buf, MAPI_IDENTITY_MAX, &user) == MAPI_OK) {
        caller->known = 1;
        caller->claimed = 1;
        caller->user.len = user.len;
        caller->user.data = user.data;
    }
}


/* a server has answered his logon on this client connection */

static void
ngx_mapi_page_logged_on(ngx_mapi_tree_t *tree, ngx_mapi_caller_t *caller)
{
    ngx_queue_t            *q;
    ngx_mapi_pin_t         *pin;
    ngx_mapi_pin_client_t  *client;

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

        if (pin->state != ngx_mapi_pin_logged_on
            || pin->upstream != tree->ctx->mlcf->upstream)
        {
            continue;
        }

        /* of Kerberos nobody can read a name */

        caller->known = (pin->user.len != 0);
        caller->user = pin->user;
        caller->scheme = pin->scheme;
        caller->server = pin->server;

        return;
    }
}


static void
ngx_mapi_page_who(ngx_mapi_tree_t *tree, ngx_mapi_node_t *page,
    ngx_mapi_caller_t *caller, ngx_uint_t allowed)
{
    ngx_str_t         domain;
    ngx_mapi_node_t  *who;

    who = ngx_mapi_node(tree, page, ngx_mapi_node_group, "caller", NULL);

    ngx_mapi_node_value(tree, who, ngx_mapi_node_flag, "claimed", NULL,
                        caller->claimed);

    if (!caller->known) {
        ngx_mapi_node_print(tree, who, "identity", "Identity", "%s",
                            caller->server >= 0 ? "logged on" : "Anonymous");
        return;
    }

    ngx_mapi_node_print(tree, who, "user", "User", "%V%s", &caller->user,
                        caller->claimed ? " (claimed)" : "");

    if (ngx_strlchr(caller->user.data, caller->user.data + caller->user.len,
                    '@'))
    {
        ngx_mapi_node_text(tree, who, "upn", "UPN", &caller->user);

    } else {
        ngx_mapi_node_text(tree, who, "upn", "UPN", NULL);
    }

    ngx_mapi_page_domain(&domain, tree->ctx, allowed);

    ngx_mapi_node_text(tree, who, "sid", "SID", NULL);
    ngx_mapi_node_text(tree, who, "organization", "Organization",
                       domain.len ? &domain : NULL);
    ngx_mapi_node_scheme(tree, who, "authentication", "Authentication",
                         caller->scheme);
}


/* of the mailbox's name as it came: what a rule has made of it is ours */

static void
ngx_mapi_page_domain(ngx_str_t *domain, ngx_mapi_ctx_t *ctx,
    ngx_uint_t allowed)
{
    u_char      *p;
    mapi_str_t   text;

    ngx_str_null(domain);

    if (ctx->identity.kind == mapi_identity_none
        || (ctx->rewritten && !allowed))
    {
        return;
    }

    if (ctx->identity.kind == mapi_identity_guid) {
        domain->len = ctx->identity.domain.len;
        domain->data = ctx->identity.domain.data;
        return;
    }

    text = ctx->identity.text;

    p = ngx_strlchr(text.data, text.data + text.len, '@');

    if (p) {
        domain->data = p + 1;
        domain->len = text.data + text.len - domain->data;
        return;
    }

    p = ngx_strlchr(text.data, text.data + text.len, '\\');

    if (p) {
        domain->data = text.data;
        domain->len = p - text.data;
    }
}


/* the directory's; a stranger's page must not tell servers apart by it */

static void
ngx_mapi_page_version(ngx_mapi_tree_t *tree, ngx_mapi_node_t *page,
    ngx_int_t server)
{
    ngx_str_t              text;
    mapi_str_t             host;
    mapi_server_t          s;
    mapi_directory_t      *d;
    ngx_mapi_server_t     *servers;
    ngx_mapi_main_conf_t  *mmcf;

    ngx_str_set(&text, NGX_MAPI_PAGE_VERSION);

    mmcf = ngx_http_get_module_main_conf(tree->request, ngx_mapi_module);
    d = NULL;

    if (server >= 0) {
        d = ngx_mapi_directory(mmcf, tree->request->connection->log);
    }

    if (d) {
        servers = tree->ctx->mscf->servers.elts;
        host.len = servers[server].host.len;
        host.data = servers[server].host.data;

        if (mapi_directory_server(d, &host, &s) == MAPI_OK && s.version.len) {
            text.len = s.version.len;
            text.data = s.version.data;
        }
    }

    ngx_mapi_node_text(tree, page, "version", "Version", &text);

    if (d) {
        mapi_directory_end(d);
    }
}


static ngx_int_t
ngx_mapi_page_answer(ngx_mapi_tree_t *tree, ngx_mapi_show_e show)
{
    ngx_str_t        type;
    ngx_mapi_text_t  text;

    ngx_memzero(&text, sizeof(ngx_mapi_text_t));

    text.pool = tree->request->pool;

    if (show == ngx_mapi_show_json) {
        ngx_str_set(&type, "application/json");
        ngx_mapi_write_json(&text, tree->root);
        ngx_mapi_text_format(&text, "\n");

    } else {
        ngx_str_set(&type, "text/html");
        ngx_mapi_write_html(&text, tree, show == ngx_mapi_show_debug);
    }

    if (text.failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_mapi_text_send(tree->request, &type, &text);
}
