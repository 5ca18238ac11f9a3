
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_cmd.h"

int
cmd_check(cmd_options_t *opt)
{
    return CMD_USAGE;
}

int
cmd_stats(cmd_options_t *opt)
{
    return CMD_USAGE;
}
