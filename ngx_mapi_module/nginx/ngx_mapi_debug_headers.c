
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"


/*
 * The request's headers for the debug page.  No value that opens a door is
 * shown: of credentials the scheme and the length, of cookies and of what
 * stands in a query the names.
 */

static void ngx_mapi_debug_header(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *list, ngx_str_t *key, ngx_str_t *value);
static ngx_uint_t ngx_mapi_debug_is_secret(ngx_str_t *key);
static u_char *ngx_mapi_debug_credentials(u_char *p, u_char *last,
    ngx_str_t *value);
static u_char *ngx_mapi_debug_cookies(u_char *p, u_char *last,
    ngx_str_t *value);
static ngx_uint_t ngx_mapi_debug_is_flag(ngx_str_t *name);
static ngx_uint_t ngx_mapi_debug_is_url(ngx_str_t *value);
static void ngx_mapi_debug_added(ngx_mapi_tree_t *tree, ngx_mapi_node_t *list,
    ngx_array_t *all);
static void ngx_mapi_debug_removed(ngx_mapi_tree_t *tree,
    ngx_mapi_node_t *list, ngx_array_t *all);


/* a request may have very many */
#define NGX_MAPI_DEBUG_HEADERS  200


/* parts of names, of headers and of parameters, whose values are masked */

static char  *ngx_mapi_debug_secrets[] = {
    "auth", "token", "secret", "passw", "credential", "key", "session",
    "ticket", "assertion", "jwt", "canary", "signature", "rps-cat", "rps_cat",
    NULL
};


/*
 * Before anything is removed.  Elements are never moved, but values are
 * replaced: hence copies of these.
 */

ngx_int_t
ngx_mapi_debug_note(ngx_http_request_t *r, ngx_mapi_ctx_t *ctx)
{
    ngx_uint_t            i;
    ngx_list_part_t      *part;
    ngx_table_elt_t      *h;
    ngx_mapi_received_t  *received;

    if (ctx->received) {
        /* an internal redirect: this is not any more what was received */
        return NGX_OK;
    }

    ctx->received = ngx_array_create(r->pool, 32, sizeof(ngx_mapi_received_t));
    if (ctx->received == NULL) {
        return NGX_ERROR;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            received = ngx_array_push(ctx->received);
            if (received == NULL) {
                return NGX_ERROR;
            }

            received->elt = &h[i];
            received->key = h[i].key;
            received->value = h[i].value;
            received->kept = 0;
        }
    }

    return NGX_OK;
}


void
ngx_mapi_debug_headers(ngx_mapi_tree_t *tree)
{
    ngx_uint_t            i;
    ngx_array_t          *all;
    ngx_mapi_node_t      *headers, *list;
    ngx_mapi_received_t  *received;

    headers = ngx_mapi_node(tree, tree->root, ngx_mapi_node_group, "headers",
                            "Headers");

    all = tree->ctx->received;

    if (all == NULL) {
        return;
    }

    list = ngx_mapi_node(tree, headers, ngx_mapi_node_list, "received",
                         "As received");

    received = all->elts;

    for (i = 0; i < all->nelts && i < NGX_MAPI_DEBUG_HEADERS; i++) {
        ngx_mapi_debug_header(tree, list, &received[i].key,
                              &received[i].value);
    }

    if (i < all->nelts) {
        ngx_mapi_node_value(tree, headers, ngx_mapi_node_number, "more",
                            "Not shown", (int64_t) (all->nelts - i));
    }

    list = ngx_mapi_node(tree, headers, ngx_mapi_node_list, "added", "Added");

    ngx_mapi_debug_added(tree, list, all);

    list = ngx_mapi_node(tree, headers, ngx_mapi_node_list, "removed",
                         "Removed");

    ngx_mapi_debug_removed(tree, list, all);
}


/*
 * Headers keep their order, and new ones stand behind the others: so each is
 * looked for behind the one before.  Notes which ones are still there.
 */

static void
ngx_mapi_debug_added(ngx_mapi_tree_t *tree, ngx_mapi_node_t *list,
    ngx_array_t *all)
{
    ngx_uint_t            i, j, next;
    ngx_list_part_t      *part;
    ngx_table_elt_t      *h;
    ngx_mapi_received_t  *received;

    next = 0;
    received = all->elts;

    for (part = &tree->request->headers_in.headers.part; part;
         part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            for (j = next; j < all->nelts; j++) {
                if (received[j].elt == &h[i]) {
                    break;
                }
            }

            if (j < all->nelts) {
                received[j].kept = 1;
                next = j + 1;
                continue;
            }

            ngx_mapi_debug_header(tree, list, &h[i].key, &h[i].value);
        }
    }
}


/* what is gone, and cookies that have lost one of our own */

static void
ngx_mapi_debug_removed(ngx_mapi_tree_t *tree, ngx_mapi_node_t *list,
    ngx_array_t *all)
{
    u_char               *p;
    ngx_str_t             value;
    ngx_uint_t            i, n;
    ngx_mapi_loc_conf_t  *mlcf;
    ngx_mapi_received_t  *received;

    mlcf = tree->ctx->mlcf;
    received = all->elts;

    n = 0;

    for (i = 0; i < all->nelts && n < NGX_MAPI_DEBUG_HEADERS; i++) {

        if (!received[i].kept) {
            ngx_mapi_debug_header(tree, list, &received[i].key,
                                  &received[i].value);
            n++;
            continue;
        }

        if (received[i].elt->value.len == received[i].value.len) {
            continue;
        }

        value.len = mlcf->cookie_name.len + 1;

        value.data = ngx_pnalloc(tree->request->pool, value.len);
        if (value.data == NULL) {
            tree->failed = 1;
            return;
        }

        p = ngx_cpymem(value.data, mlcf->cookie_name.data,
                       mlcf->cookie_name.len);
        *p = '=';

        ngx_mapi_debug_header(tree, list, &received[i].key, &value);
        n++;
    }
}


static void
ngx_mapi_debug_header(ngx_mapi_tree_t *tree, ngx_mapi_node_t *list,
    ngx_str_t *key, ngx_str_t *value)
{
    u_char            buf[NGX_MAPI_DEBUG_TEXT], *p, *last;
    ngx_str_t         shown;
    ngx_mapi_node_t  *row;

    shown = *value;
    last = buf + sizeof(buf);

    if (ngx_strlcasestrn(key->data, key->data + key->len,
                         (u_char *) "cookie", sizeof("cookie") - 2))
    {
        shown.data = buf;
        shown.len = ngx_mapi_debug_cookies(buf, last, value) - buf;

    } else if (ngx_mapi_debug_is_secret(key)) {
        shown.data = buf;
        shown.len = ngx_mapi_debug_credentials(buf, last, value) - buf;

    } else {
        p = ngx_mapi_mask(buf, last, value);

        if (p) {
            shown.data = buf;
            shown.len = p - buf;
        }
    }

    row = ngx_mapi_node(tree, list, ngx_mapi_node_group, "", NULL);

    ngx_mapi_node_text(tree, row, "name", "Name", key);
    ngx_mapi_node_text(tree, row, "value", "Value", &shown);
}


static ngx_uint_t
ngx_mapi_debug_is_secret(ngx_str_t *key)
{
    char  **secret;

    for (secret = ngx_mapi_debug_secrets; *secret; secret++) {
        if (ngx_strlcasestrn(key->data, key->data + key->len,
                             (u_char *) *secret, ngx_strlen(*secret) - 1))
        {
            return 1;
        }
    }

    return 0;
}


/* a word that is no known scheme may be the secret itself */

static u_char *
ngx_mapi_debug_credentials(u_char *p, u_char *last, ngx_str_t *value)
{
    int                type;
    mapi_auth_t        auth;
    const mapi_str_t  *scheme;

    mapi_auth_parse(&auth, value->data, value->len);

    if (auth.scheme == mapi_auth_none || auth.scheme == mapi_auth_other) {
        return ngx_slprintf(p, last, "(masked, %uz bytes)", value->len);
    }

    scheme = mapi_auth_name(auth.scheme);

    p = ngx_slprintf(p, last, "%*s", scheme->len, scheme->data);

    if (auth.token.len == 0) {
        return p;
    }

    type = mapi_auth_ntlm_type(&auth);

    if (type) {
        p = ngx_slprintf(p, last, " NTLM type %d", type);
    }

    return ngx_slprintf(p, last, " (masked, %uz bytes)", auth.token.len);
}


static u_char *
ngx_mapi_debug_cookies(u_char *p, u_char *last, ngx_str_t *value)
{
    u_char     *s, *end, *stop, *eq;
    ngx_str_t   name;

    end = value->data + value->len;

    for (s = value->data; s < end; s = stop + 1) {

        while (s < end && *s == ' ') {
            s++;
        }

        stop = ngx_strlchr(s, end, ';');
        if (stop == NULL) {
            stop = end;
        }

        eq = ngx_strlchr(s, stop, '=');

        /* without a name it may be a value */

        name.data = s;
        name.len = eq ? (size_t) (eq + 1 - s) : 0;

        p = ngx_slprintf(p, last, "%V(masked, %uz bytes)%s", &name,
                         (size_t) (stop - s) - name.len,
                         stop < end ? "; " : "");
    }

    return p;
}


/*
 * A value that is not known to be a secret may hold one: the credentials of
 * another header, parameters of a URL (Referer, msExchProxyUri), a token in
 * the form of a JWT.
 */

u_char *
ngx_mapi_mask(u_char *p, u_char *last, ngx_str_t *value)
{
    u_char       *s, *end, *stop, *eq, *text;
    ngx_str_t     name;
    ngx_uint_t    url, query, masked;
    mapi_auth_t   auth;

    mapi_auth_parse(&auth, value->data, value->len);

    if (auth.scheme != mapi_auth_none && auth.scheme != mapi_auth_other
        && auth.token.len)
    {
        return ngx_mapi_debug_credentials(p, last, value);
    }

    url = ngx_mapi_debug_is_url(value);
    query = 0;
    masked = 0;

    end = value->data + value->len;

    for (s = value->data; s < end; s = stop) {

        for (stop = s; stop < end; stop++) {
            if (ngx_strchr("?#&;, ", *stop)) {
                break;
            }
        }

        eq = ngx_strlchr(s, stop, '=');
        text = eq ? eq + 1 : s;

        name.data = s;
        name.len = text - s;

        if (text < stop
            && (query
                || (ngx_mapi_debug_is_secret(&name)
                    && !ngx_mapi_debug_is_flag(&name))
                || (stop - text > 3 && ngx_strncmp(text, "eyJ", 3) == 0)))
        {
            masked = 1;
            p = ngx_slprintf(p, last, "%V(masked, %uz bytes)", &name,
                             (size_t) (stop - text));

        } else {
            p = ngx_slprintf(p, last, "%*s", (size_t) (stop - s), s);
        }

        if (stop < end) {
            query |= (url && (*stop == '?' || *stop == '#'));
            p = ngx_slprintf(p, last, "%c", *stop++);
        }
    }

    return masked ? p : NULL;
}


/* a parameter of the protocol that only sounds like one */

static ngx_uint_t
ngx_mapi_debug_is_flag(ngx_str_t *name)
{
    return name->len == sizeof("useMailboxOfAuthenticatedUser=") - 1
           && ngx_strncasecmp(name->data,
                              (u_char *) "useMailboxOfAuthenticatedUser=",
                              name->len) == 0;
}


static ngx_uint_t
ngx_mapi_debug_is_url(ngx_str_t *value)
{
    return value->len
           && (value->data[0] == '/'
               || ngx_strnstr(value->data, "://", value->len));
}
