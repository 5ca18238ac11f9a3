
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


static void *ngx_mapi_mailbox_create_main_conf(ngx_conf_t *cf);
static void *ngx_mapi_mailbox_create_loc_conf(ngx_conf_t *cf);
static char *ngx_mapi_mailbox_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_mapi_mailbox_server_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_mapi_mailbox_parameter(ngx_conf_t *cf,
    ngx_mapi_mailbox_conf_t *mbcf, ngx_str_t *arg);
static char *ngx_mapi_mailbox_time(ngx_conf_t *cf, ngx_str_t *arg,
    size_t prefix, ngx_msec_t *msec);
static char *ngx_mapi_mailbox_zone_parameter(ngx_conf_t *cf,
    ngx_mapi_mailbox_conf_t *mbcf, ngx_str_t *arg);
static char *ngx_mapi_mailbox_version(ngx_conf_t *cf,
    ngx_mapi_mailbox_conf_t *mbcf, ngx_str_t *arg);
static char *ngx_mapi_mailbox_add_zone(ngx_conf_t *cf,
    ngx_mapi_mailbox_conf_t *mbcf, ngx_str_t *name, size_t size);
static char *ngx_mapi_mailbox_register(ngx_conf_t *cf,
    ngx_mapi_mailbox_conf_t *mbcf);
static void ngx_mapi_mailbox_close_directory(void *data);
static char *ngx_mapi_mailbox_control_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);


static ngx_command_t  ngx_mapi_mailbox_commands[] = {

    { ngx_string("mapi_mailbox_server"),
      NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_mapi_mailbox_server_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_mailbox_control"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_mapi_mailbox_control_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_mapi_mailbox_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_mapi_mailbox_create_main_conf,     /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_mapi_mailbox_create_loc_conf,      /* create location configuration */
    ngx_mapi_mailbox_merge_loc_conf        /* merge location configuration */
};


ngx_module_t  ngx_mapi_mailbox_module = {
    NGX_MODULE_V1,
    &ngx_mapi_mailbox_module_ctx,          /* module context */
    ngx_mapi_mailbox_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_str_t  ngx_mapi_mailbox_default_zone = ngx_string("mapi_mailbox");


static void *
ngx_mapi_mailbox_create_main_conf(ngx_conf_t *cf)
{
    ngx_mapi_mailbox_main_conf_t  *mmcf;

    mmcf = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_mailbox_main_conf_t));
    if (mmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&mmcf->servers, cf->pool, 4,
                       sizeof(ngx_mapi_mailbox_conf_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return mmcf;
}


static void *
ngx_mapi_mailbox_create_loc_conf(ngx_conf_t *cf)
{
    ngx_mapi_mailbox_loc_conf_t  *mlcf;

    mlcf = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_mailbox_loc_conf_t));
    if (mlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     mlcf->server = NULL;
     *     mlcf->control = 0;
     */

    return mlcf;
}


static char *
ngx_mapi_mailbox_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_mapi_mailbox_loc_conf_t  *prev = parent;
    ngx_mapi_mailbox_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* "if" and "limit_except" are locations without a name */

    if (!clcf->noname || clcf->handler != NULL) {
        return NGX_CONF_OK;
    }

    if (prev->server) {
        conf->server = prev->server;
        clcf->handler = ngx_mapi_mailbox_handler;

    } else if (prev->control) {
        conf->control = 1;
        clcf->handler = ngx_mapi_mailbox_control_handler;
    }

    return NGX_CONF_OK;
}


static char *
ngx_mapi_mailbox_server_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_mapi_mailbox_loc_conf_t *mlcf = conf;

    char                      *rv;
    u_char                     c;
    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_pool_cleanup_t        *cln;
    ngx_mapi_mailbox_conf_t   *mbcf;
    ngx_http_core_loc_conf_t  *clcf;

    if (mlcf->server) {
        return "is duplicate";
    }

    if (mlcf->control) {
        return "cannot stand beside \"mapi_mailbox_control\"";
    }

    mbcf = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_mailbox_conf_t));
    if (mbcf == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    mbcf->name = value[1];
    mbcf->owner = NGX_CONF_UNSET_UINT;
    mbcf->basic = NGX_CONF_UNSET_UINT;
    mbcf->pending = NGX_CONF_UNSET_MSEC;
    mbcf->wait = NGX_CONF_UNSET_MSEC;
    mbcf->idle = NGX_CONF_UNSET_MSEC;

    if (mbcf->name.len == 0 || mbcf->name.len > NGX_MAPI_MAILBOX_NAME_MAX) {
        return "needs a server name of 1 to 128 characters";
    }

    for (i = 0; i < mbcf->name.len; i++) {
        c = mbcf->name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid server name \"%V\", use letters, "
                               "digits, \".\", \"-\" and \"_\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_mapi_mailbox_machine(cf->pool, &mbcf->name, &mbcf->machine)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_mapi_mailbox_parameter(cf, mbcf, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    ngx_conf_init_uint_value(mbcf->owner, 0);
    ngx_conf_init_uint_value(mbcf->basic, 0);
    ngx_conf_init_msec_value(mbcf->pending, 15000);
    ngx_conf_init_msec_value(mbcf->wait, 300000);
    ngx_conf_init_msec_value(mbcf->idle, 900000);

    if (mbcf->version.len == 0) {
        ngx_str_t  version = ngx_string("version=15.2.1544.4");

        rv = ngx_mapi_mailbox_version(cf, mbcf, &version);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (mbcf->shm_zone == NULL) {
        rv = ngx_mapi_mailbox_add_zone(cf, mbcf,
                                       &ngx_mapi_mailbox_default_zone,
                                       1024 * 1024);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    rv = ngx_mapi_mailbox_register(cf, mbcf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_mapi_mailbox_close_directory;
    cln->data = mbcf;

    mlcf->server = mbcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_mapi_mailbox_handler;

    return NGX_CONF_OK;
}


static char *
ngx_mapi_mailbox_parameter(ngx_conf_t *cf, ngx_mapi_mailbox_conf_t *mbcf,
    ngx_str_t *arg)
{
    if (ngx_strcmp(arg->data, "exchange") == 0
        || ngx_strcmp(arg->data, "owner") == 0)
    {
        if (mbcf->owner != NGX_CONF_UNSET_UINT) {
            return "has more than one mode";
        }

        mbcf->owner = (arg->data[0] == 'o');
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(arg->data, "directory=", 10) == 0) {

        if (mbcf->directory.len) {
            goto duplicate;
        }

        mbcf->directory.len = arg->len - 10;
        mbcf->directory.data = arg->data + 10;

        if (mbcf->directory.len == 0) {
            goto invalid;
        }

        if (ngx_conf_full_name(cf->cycle, &mbcf->directory, 0) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(arg->data, "zone=", 5) == 0) {
        return ngx_mapi_mailbox_zone_parameter(cf, mbcf, arg);
    }

    if (ngx_strncmp(arg->data, "pending=", 8) == 0) {
        return ngx_mapi_mailbox_time(cf, arg, 8, &mbcf->pending);
    }

    if (ngx_strncmp(arg->data, "wait=", 5) == 0) {
        return ngx_mapi_mailbox_time(cf, arg, 5, &mbcf->wait);
    }

    if (ngx_strncmp(arg->data, "idle=", 5) == 0) {
        return ngx_mapi_mailbox_time(cf, arg, 5, &mbcf->idle);
    }

    if (ngx_strncmp(arg->data, "version=", 8) == 0) {

        if (mbcf->version.len) {
            goto duplicate;
        }

        return ngx_mapi_mailbox_version(cf, mbcf, arg);
    }

    if (ngx_strncmp(arg->data, "auth=", 5) == 0) {

        if (mbcf->basic != NGX_CONF_UNSET_UINT) {
            goto duplicate;
        }

        if (ngx_strcmp(arg->data + 5, "none") == 0) {
            mbcf->basic = 0;

        } else if (ngx_strcmp(arg->data + 5, "basic") == 0) {
            mbcf->basic = 1;

        } else {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"", arg);
    return NGX_CONF_ERROR;

duplicate:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "duplicate parameter \"%V\"", arg);
    return NGX_CONF_ERROR;
}


static char *
ngx_mapi_mailbox_time(ngx_conf_t *cf, ngx_str_t *arg, size_t prefix,
    ngx_msec_t *msec)
{
    ngx_int_t  n;
    ngx_str_t  value;

    if (*msec != NGX_CONF_UNSET_MSEC) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate parameter \"%V\"", arg);
        return NGX_CONF_ERROR;
    }

    value.len = arg->len - prefix;
    value.data = arg->data + prefix;

    n = ngx_parse_time(&value, 0);

    if (n == NGX_ERROR || n < 10 || n > 86400 * 1000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\", use 10ms to 1d", arg);
        return NGX_CONF_ERROR;
    }

    *msec = (ngx_msec_t) n;

    return NGX_CONF_OK;
}


static char *
ngx_mapi_mailbox_zone_parameter(ngx_conf_t *cf,
    ngx_mapi_mailbox_conf_t *mbcf, ngx_str_t *arg)
{
    u_char     *p;
    ssize_t     size;
    ngx_str_t   name, s;

    if (mbcf->shm_zone) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate parameter \"%V\"", arg);
        return NGX_CONF_ERROR;
    }

    name.data = arg->data + 5;
    name.len = arg->len - 5;
    size = 0;

    p = (u_char *) ngx_strchr(name.data, ':');

    if (p) {
        name.len = p - name.data;

        s.data = p + 1;
        s.len = arg->data + arg->len - s.data;

        size = ngx_parse_size(&s);

        if (size == NGX_ERROR) {
            goto invalid;
        }

        if (size < (ssize_t) (8 * ngx_pagesize)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "zone \"%V\" is too small, use at least %uzk",
                               arg, (size_t) (8 * ngx_pagesize / 1024));
            return NGX_CONF_ERROR;
        }
    }

    if (name.len == 0) {
        goto invalid;
    }

    return ngx_mapi_mailbox_add_zone(cf, mbcf, &name, size);

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid zone \"%V\", write zone=name:size", arg);
    return NGX_CONF_ERROR;
}


static char *
ngx_mapi_mailbox_version(ngx_conf_t *cf, ngx_mapi_mailbox_conf_t *mbcf,
    ngx_str_t *arg)
{
    u_char      *p, *last, *start;
    ngx_int_t    n[4];
    ngx_uint_t   i;

    p = arg->data + 8;
    last = arg->data + arg->len;

    mbcf->version.data = p;
    mbcf->version.len = last - p;

    for (i = 0; i < 4; i++) {
        start = p;

        while (p < last && *p != '.') {
            p++;
        }

        n[i] = ngx_atoi(start, p - start);

        if (n[i] == NGX_ERROR || n[i] > 65535 || (i < 3 && p == last)) {
            goto invalid;
        }

        p++;
    }

    if (p != last + 1) {
        goto invalid;
    }

    mbcf->application.data = ngx_pnalloc(cf->pool,
                                         sizeof("Exchange/...") - 1 + 4 * 5);
    if (mbcf->application.data == NULL) {
        return NGX_CONF_ERROR;
    }

    mbcf->application.len = ngx_sprintf(mbcf->application.data,
                                        "Exchange/%02i.%02i.%04i.%03i",
                                        n[0], n[1], n[2], n[3])
                            - mbcf->application.data;
    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid version \"%V\", write four numbers as in "
                       "15.2.1544.4", arg);
    return NGX_CONF_ERROR;
}


static char *
ngx_mapi_mailbox_add_zone(ngx_conf_t *cf, ngx_mapi_mailbox_conf_t *mbcf,
    ngx_str_t *name, size_t size)
{
    ngx_shm_zone_t           *shm_zone;
    ngx_mapi_mailbox_zone_t  *zone;

    shm_zone = ngx_shared_memory_add(cf, name, size, &ngx_mapi_mailbox_module);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (shm_zone->data == NULL) {
        zone = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_mailbox_zone_t));
        if (zone == NULL) {
            return NGX_CONF_ERROR;
        }

        zone->shm_zone = shm_zone;

        shm_zone->init = ngx_mapi_mailbox_init_zone;
        shm_zone->data = zone;
    }

    mbcf->shm_zone = shm_zone;

    return NGX_CONF_OK;
}


/*
 * One emulated server may stand in several locations (plain and TLS, say),
 * but it is one machine: same mode, same zone.
 */
static char *
ngx_mapi_mailbox_register(ngx_conf_t *cf, ngx_mapi_mailbox_conf_t *mbcf)
{
    ngx_uint_t                      i;
    ngx_mapi_mailbox_conf_t       **mbcfp;
    ngx_mapi_mailbox_main_conf_t   *mmcf;

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_mailbox_module);

    mbcfp = mmcf->servers.elts;

    for (i = 0; i < mmcf->servers.nelts; i++) {

        if (mbcfp[i]->name.len != mbcf->name.len
            || ngx_strncasecmp(mbcfp[i]->name.data, mbcf->name.data,
                               mbcf->name.len)
               != 0)
        {
            continue;
        }

        if (mbcfp[i]->owner != mbcf->owner
            || mbcfp[i]->shm_zone != mbcf->shm_zone)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "server \"%V\" stands in another location "
                               "with another mode or zone", &mbcf->name);
            return NGX_CONF_ERROR;
        }
    }

    mbcfp = ngx_array_push(&mmcf->servers);
    if (mbcfp == NULL) {
        return NGX_CONF_ERROR;
    }

    *mbcfp = mbcf;

    return NGX_CONF_OK;
}


static void
ngx_mapi_mailbox_close_directory(void *data)
{
    ngx_mapi_mailbox_conf_t *mbcf = data;

    if (mbcf->handle) {
        mapi_directory_close(mbcf->handle);
        mbcf->handle = NULL;
    }
}


static char *
ngx_mapi_mailbox_control_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_mapi_mailbox_loc_conf_t *mlcf = conf;

    ngx_http_core_loc_conf_t  *clcf;

    if (mlcf->control) {
        return "is duplicate";
    }

    if (mlcf->server) {
        return "cannot stand beside \"mapi_mailbox_server\"";
    }

    mlcf->control = 1;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_mapi_mailbox_control_handler;

    return NGX_CONF_OK;
}
