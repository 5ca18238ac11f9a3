
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"


/* RFC 8259; the depth is that of the tree, which no client decides */

void
ngx_mapi_write_json(ngx_mapi_text_t *t, ngx_mapi_node_t *node)
{
    ngx_tm_t          tm;
    ngx_uint_t        group;
    ngx_mapi_node_t  *member;

    switch (node->kind) {

    case ngx_mapi_node_group:
    case ngx_mapi_node_list:
        group = (node->kind == ngx_mapi_node_group);

        ngx_mapi_text_format(t, "%s", group ? "{" : "[");

        for (member = node->first; member; member = member->next) {

            if (group) {
                ngx_mapi_text_format(t, "\"%s\":", member->name);
            }

            ngx_mapi_write_json(t, member);

            if (member->next) {
                ngx_mapi_text_format(t, ",");
            }
        }

        ngx_mapi_text_format(t, "%s", group ? "}" : "]");
        return;

    case ngx_mapi_node_string:

        if (node->text.data == NULL) {
            break;
        }

        ngx_mapi_text_json(t, &node->text);
        return;

    case ngx_mapi_node_flag:

        ngx_mapi_text_format(t, "%s", node->number ? "true" : "false");
        return;

    case ngx_mapi_node_time:

        if (node->number == 0) {
            break;
        }

        ngx_gmtime((time_t) node->number, &tm);

        ngx_mapi_text_format(t, "\"%4d-%02d-%02dT%02d:%02d:%02dZ\"",
                             tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                             tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
        return;

    case ngx_mapi_node_span:

        if (node->number < 0) {
            break;
        }

        /* fall through */

    default: /* ngx_mapi_node_number */
        ngx_mapi_text_format(t, "%L", node->number);
        return;
    }

    ngx_mapi_text_format(t, "null");
}
