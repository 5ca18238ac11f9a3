
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"


/* the session contexts of the mailbox, in Exchange's layout */

void
ngx_mapi_debug_sessions(ngx_mapi_tree_t *tree)
{
    (void) ngx_mapi_node(tree, tree->root, ngx_mapi_node_list, "sessions",
                         "Session Contexts");
}
