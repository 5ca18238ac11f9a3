
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"


/*
 * The page as HTML: Exchange's own text, to the byte where there is no debug
 * part, and below it what Exchange never told anybody.  No script, and nothing
 * from elsewhere.  Every value is escaped here.
 */

#define ngx_mapi_html_is_field(node)                                          \
    ((node)->label && (node)->kind != ngx_mapi_node_group                     \
     && (node)->kind != ngx_mapi_node_list)


static void ngx_mapi_html_head(ngx_mapi_text_t *t, ngx_mapi_node_t *page,
    ngx_uint_t debug);
static void ngx_mapi_html_sessions(ngx_mapi_text_t *t,
    ngx_mapi_node_t *sessions);
static void ngx_mapi_html_operations(ngx_mapi_text_t *t,
    ngx_mapi_node_t *list);
static void ngx_mapi_html_section(ngx_mapi_text_t *t,
    ngx_mapi_node_t *group, ngx_uint_t level);
static void ngx_mapi_html_fields(ngx_mapi_text_t *t,
    ngx_mapi_node_t *group, char *none);
static void ngx_mapi_html_table(ngx_mapi_text_t *t, ngx_mapi_node_t *list);
static void ngx_mapi_html_value(ngx_mapi_text_t *t, ngx_mapi_node_t *node);
static void ngx_mapi_html_child(ngx_mapi_text_t *t, ngx_mapi_node_t *group,
    char *name);
static void ngx_mapi_html_time(ngx_mapi_text_t *t, time_t when);


#define ngx_mapi_html_label(t, node)                                          \
    ngx_mapi_text_format(t, "%s", (node)->label)


/* no piece longer than NGX_MAPI_TEXT_PIECE */

static char  *ngx_mapi_html_style[] = {
    "<meta charset=\"utf-8\">\r\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\r\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\r\n"
    "<style>\r\n",

    "body{font:1rem/1.45 system-ui,sans-serif;margin:1rem auto;padding:0 1rem;"
    "max-width:80rem;overflow-wrap:anywhere}\r\n"
    "h2{font-size:1.3rem;border-bottom:1px solid #8888;margin:2rem 0 .5rem}"
    "\r\n"
    "h3{font-size:1rem;margin:1.2rem 0 .3rem}\r\n"
    "p{margin:.6rem 0}\r\n",

    "table{border-collapse:collapse;display:block;overflow-x:auto;border:0;"
    "font-size:.85rem}"
    "\r\n"
    "th,td{border:1px solid #8888;padding:.15rem .4rem;text-align:left;"
    "vertical-align:top;overflow-wrap:normal}\r\n"
    "th{background:#8882}\r\n"
    "td:last-child{overflow-wrap:anywhere;min-width:9rem}\r\n",

    ".why{border-left:.3rem solid #3a7bd5;padding:.4rem .8rem;"
    "background:#8882}\r\n"
    "</style>\r\n",

    NULL
};


void
ngx_mapi_write_html(ngx_mapi_text_t *t, ngx_mapi_tree_t *tree,
    ngx_uint_t debug)
{
    ngx_mapi_node_t  *node, *page;

    page = ngx_mapi_node_find(tree->root, "page");

    if (page == NULL) {
        return;
    }

    ngx_mapi_html_head(t, page, debug);

    if (debug) {
        ngx_mapi_html_sessions(t, ngx_mapi_node_find(tree->root, "sessions"));

        for (node = tree->root->first; node; node = node->next) {
            if (node->label && node->kind == ngx_mapi_node_group) {
                ngx_mapi_html_section(t, node, 2);
            }
        }
    }

    ngx_mapi_text_format(t, "<p><br><br><br><b>Created:</b> ");
    ngx_mapi_html_child(t, page, "created");
    ngx_mapi_text_format(t, "</p></body></html>");
}


static void
ngx_mapi_html_head(ngx_mapi_text_t *t, ngx_mapi_node_t *page,
    ngx_uint_t debug)
{
    char  **style;

    if (debug) {
        ngx_mapi_text_format(t, "<!DOCTYPE html>\r\n");
    }

    ngx_mapi_text_format(t, "<html>\r\n<head>\r\n");

    for (style = debug ? ngx_mapi_html_style : NULL; style && *style; style++) {
        ngx_mapi_text_format(t, "%s", *style);
    }

    ngx_mapi_text_format(t, "<title>Exchange MAPI/HTTP Connectivity Endpoint"
                          "</title>\r\n</head>\r\n<body>\r\n"
                          "<p>Exchange MAPI/HTTP Connectivity Endpoint<br><br>"
                          "Version: ");
    ngx_mapi_html_child(t, page, "version");
    ngx_mapi_text_format(t, "<br>Vdir Path: ");
    ngx_mapi_html_child(t, page, "vdir_path");
    ngx_mapi_text_format(t, "<br><br></p><p>");

    ngx_mapi_html_fields(t, ngx_mapi_node_find(page, "caller"), "");

    ngx_mapi_text_format(t, "</p><br><p>");
    ngx_mapi_html_fields(t, ngx_mapi_node_find(page, "servers"), "");
    ngx_mapi_text_format(t, "</p>");
}


static void
ngx_mapi_html_sessions(ngx_mapi_text_t *t, ngx_mapi_node_t *sessions)
{
    ngx_mapi_node_t  *session, *node;

    ngx_mapi_text_format(t, "<p><br><b>Session Contexts</b><br></p>\r\n");

    if (sessions == NULL || sessions->first == NULL) {
        ngx_mapi_text_format(t, "<p>None</p>\r\n");
        return;
    }

    for (session = sessions->first; session; session = session->next) {

        ngx_mapi_text_format(t, "<p>");
        ngx_mapi_html_fields(t, session, "");
        ngx_mapi_text_format(t, "</p>");

        for (node = session->first; node; node = node->next) {

            if (node->kind == ngx_mapi_node_list) {
                ngx_mapi_html_operations(t, node);

            } else if (node->kind == ngx_mapi_node_group) {
                ngx_mapi_text_format(t, "<p>");
                ngx_mapi_html_fields(t, node, "-");
                ngx_mapi_text_format(t, "</p>");
            }
        }

        ngx_mapi_text_format(t, "<br><br>");
    }
}


static void
ngx_mapi_html_operations(ngx_mapi_text_t *t, ngx_mapi_node_t *list)
{
    ngx_mapi_text_format(t, "<p><b>");
    ngx_mapi_html_label(t, list);
    ngx_mapi_text_format(t, "</b><br><br>");

    if (list->first == NULL) {
        ngx_mapi_text_format(t, "None</p>");
        return;
    }

    ngx_mapi_html_table(t, list);
    ngx_mapi_text_format(t, "</p>\r\n");
}


static void
ngx_mapi_html_section(ngx_mapi_text_t *t, ngx_mapi_node_t *group,
    ngx_uint_t level)
{
    ngx_mapi_node_t  *node;

    ngx_mapi_text_format(t, "<h%ui>%s</h%ui>\r\n", level, group->label, level);

    node = ngx_mapi_node_find(group, "sentence");

    if (node) {
        ngx_mapi_text_format(t, "<p class=\"why\">");
        ngx_mapi_html_value(t, node);
        ngx_mapi_text_format(t, "</p>\r\n");
    }

    for (node = group->first; node; node = node->next) {
        if (ngx_mapi_html_is_field(node)) {
            ngx_mapi_text_format(t, "<p>");
            ngx_mapi_html_fields(t, group, "-");
            ngx_mapi_text_format(t, "</p>\r\n");
            break;
        }
    }

    for (node = group->first; node; node = node->next) {

        if (node->kind == ngx_mapi_node_group) {
            ngx_mapi_html_section(t, node, level + 1);
            continue;
        }

        if (node->kind != ngx_mapi_node_list) {
            continue;
        }

        ngx_mapi_text_format(t, "<h3>%s</h3>\r\n", node->label);

        if (node->first == NULL) {
            ngx_mapi_text_format(t, "<p>None</p>\r\n");
            continue;
        }

        ngx_mapi_html_table(t, node);
        ngx_mapi_text_format(t, "\r\n");
    }
}


/* "none" stands for what is not known: Exchange writes nothing there */

static void
ngx_mapi_html_fields(ngx_mapi_text_t *t, ngx_mapi_node_t *group, char *none)
{
    ngx_uint_t        n;
    ngx_mapi_node_t  *node;

    n = 0;

    for (node = group ? group->first : NULL; node; node = node->next) {

        if (!ngx_mapi_html_is_field(node)) {
            continue;
        }

        if (n++) {
            ngx_mapi_text_format(t, "<br>");
        }

        ngx_mapi_text_format(t, "<b>");
        ngx_mapi_html_label(t, node);
        ngx_mapi_text_format(t, ":</b> ");

        if (node->kind == ngx_mapi_node_string && node->text.data == NULL) {
            ngx_mapi_text_format(t, "%s", none);
            continue;
        }

        ngx_mapi_html_value(t, node);
    }
}


/* all rows have the members of the first one */

static void
ngx_mapi_html_table(ngx_mapi_text_t *t, ngx_mapi_node_t *list)
{
    ngx_mapi_node_t  *row, *node;

    ngx_mapi_text_format(t, "<table border=\"1\">\r\n<tr>");

    for (node = list->first->first; node; node = node->next) {
        if (ngx_mapi_html_is_field(node)) {
            ngx_mapi_text_format(t, "<th>");
            ngx_mapi_html_label(t, node);
            ngx_mapi_text_format(t, "</th>");
        }
    }

    ngx_mapi_text_format(t, "</tr>\r\n");

    for (row = list->first; row; row = row->next) {

        ngx_mapi_text_format(t, "<tr>");

        for (node = row->first; node; node = node->next) {
            if (ngx_mapi_html_is_field(node)) {
                ngx_mapi_text_format(t, "<td>");
                ngx_mapi_html_value(t, node);
                ngx_mapi_text_format(t, "</td>");
            }
        }

        ngx_mapi_text_format(t, "</tr>\r\n");
    }

    ngx_mapi_text_format(t, "</table>");
}


static void
ngx_mapi_html_child(ngx_mapi_text_t *t, ngx_mapi_node_t *group, char *name)
{
    ngx_mapi_node_t  *node;

    node = ngx_mapi_node_find(group, name);

    if (node) {
        ngx_mapi_html_value(t, node);
    }
}


static void
ngx_mapi_html_value(ngx_mapi_text_t *t, ngx_mapi_node_t *node)
{
    int64_t  n;

    n = node->number;

    switch (node->kind) {

    case ngx_mapi_node_string:
        ngx_mapi_text_html(t, &node->text);
        break;

    case ngx_mapi_node_flag:
        ngx_mapi_text_format(t, "%s", n ? "Yes" : "No");
        break;

    case ngx_mapi_node_time:

        if (n) {
            ngx_mapi_html_time(t, (time_t) n);
        }

        break;

    case ngx_mapi_node_span:

        if (n >= 0) {
            ngx_mapi_text_format(t, "%L.%02L:%02L:%02L", n / 86400,
                                 n / 3600 % 24, n / 60 % 60, n % 60);
        }

        break;

    default: /* ngx_mapi_node_number */
        ngx_mapi_text_format(t, "%L", n);
    }
}


/* 5/23/2021 6:42:33 AM, as Exchange writes it */

static void
ngx_mapi_html_time(ngx_mapi_text_t *t, time_t when)
{
    int       hour;
    ngx_tm_t  tm;

    ngx_gmtime(when, &tm);

    hour = tm.ngx_tm_hour % 12;

    ngx_mapi_text_format(t, "%d/%d/%d %d:%02d:%02d %s",
                         tm.ngx_tm_mon, tm.ngx_tm_mday, tm.ngx_tm_year,
                         hour ? hour : 12, tm.ngx_tm_min, tm.ngx_tm_sec,
                         tm.ngx_tm_hour < 12 ? "AM" : "PM");
}
