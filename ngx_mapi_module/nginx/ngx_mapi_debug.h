
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_DEBUG_H_INCLUDED_
#define _NGX_MAPI_DEBUG_H_INCLUDED_


#include "ngx_mapi_status.h"


/* longer texts are cut: what a client sends must not fill the page */
#define NGX_MAPI_DEBUG_TEXT  2048

/* what stands for a version, where none is told */
#define NGX_MAPI_PAGE_VERSION  "15.0.0.0"


/*
 * What a page shows, as a tree: gathered once, then written as HTML or JSON.
 * Whatever is to be seen is decided while it is gathered.  A node of a page
 * lies in the request's pool.
 *
 * Texts are clean: UTF-8 without control characters and without those that
 * change the direction of writing; but they may hold any markup.
 */

typedef enum {
    ngx_mapi_node_group = 0,   /* members of different names */
    ngx_mapi_node_list,        /* of groups that have the same members */
    ngx_mapi_node_string,      /* no data: nothing is known */
    ngx_mapi_node_number,
    ngx_mapi_node_flag,
    ngx_mapi_node_time,        /* seconds since 1970; 0: none */
    ngx_mapi_node_span         /* seconds; negative: none */
} ngx_mapi_node_kind_e;


typedef struct ngx_mapi_node_s  ngx_mapi_node_t;

struct ngx_mapi_node_s {
    ngx_mapi_node_kind_e   kind;
    char                  *name;     /* in JSON */
    char                  *label;    /* in HTML; NULL: not shown there */
    ngx_str_t              text;
    int64_t                number;
    ngx_mapi_node_t       *first;
    ngx_mapi_node_t       *last;
    ngx_mapi_node_t       *next;
};


/*
 * A tree in the making.  Without memory "failed" is set and adding goes on
 * without effect: a parent may be NULL.
 */
typedef struct {
    ngx_http_request_t    *request;
    ngx_mapi_ctx_t        *ctx;
    ngx_mapi_node_t       *root;
    ngx_str_t              cafe;     /* mapi_server_name, lower case */
    ngx_uint_t             failed;
} ngx_mapi_tree_t;


/* a request header as it came */
typedef struct {
    ngx_table_elt_t       *elt;
    ngx_str_t              key;
    ngx_str_t              value;
    ngx_uint_t             kept;     /* it is still there, for who gathers */
} ngx_mapi_received_t;


ngx_mapi_node_t *ngx_mapi_node(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    ngx_mapi_node_kind_e kind, char *name, char *label);

/* text may be NULL or without data; it is copied and cleaned */
void ngx_mapi_node_text(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    char *name, char *label, ngx_str_t *text);

/* of a format of ngx_vslprintf(), at most NGX_MAPI_DEBUG_TEXT bytes */
void ngx_mapi_node_print(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    char *name, char *label, const char *fmt, ...);
void ngx_mapi_node_guid(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    char *name, char *label, mapi_guid_t *guid);

void ngx_mapi_node_scheme(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    char *name, char *label, mapi_auth_scheme_e scheme);

/* number, flag, time or span */
void ngx_mapi_node_value(ngx_mapi_tree_t *tree, ngx_mapi_node_t *parent,
    ngx_mapi_node_kind_e kind, char *name, char *label, int64_t number);

/* the text of a node that is there already */
void ngx_mapi_node_set(ngx_mapi_tree_t *tree, ngx_mapi_node_t *node,
    ngx_str_t *text);

ngx_mapi_node_t *ngx_mapi_node_find(ngx_mapi_node_t *parent, char *name);

/*
 * Gathering.  page: the head, as of Exchange; routing: how the request would
 * go, whose server ngx_mapi_select() has chosen; headers; sessions: those of
 * the mailbox.
 */
void ngx_mapi_debug_routing(ngx_mapi_tree_t *tree);
void ngx_mapi_debug_servers(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing);
void ngx_mapi_debug_sentence(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing);
void ngx_mapi_debug_headers(ngx_mapi_tree_t *tree);
void ngx_mapi_debug_sessions(ngx_mapi_tree_t *tree);

/* writing */
void ngx_mapi_write_html(ngx_mapi_text_t *t, ngx_mapi_tree_t *tree,
    ngx_uint_t debug);
void ngx_mapi_write_json(ngx_mapi_text_t *t, ngx_mapi_node_t *node);


#endif /* _NGX_MAPI_DEBUG_H_INCLUDED_ */
