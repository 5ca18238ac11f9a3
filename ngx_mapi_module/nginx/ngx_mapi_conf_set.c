
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


/* the directives that are more than a value: what they take, and what not */

static char *ngx_mapi_set_mode(ngx_conf_t *cf, ngx_mapi_srv_conf_t *mscf,
    ngx_mapi_upstream_e type);


char *
ngx_mapi_set_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_srv_conf_t *mscf = conf;

    char                          *rc;
    ngx_str_t                     *value;
    ngx_uint_t                     i, fallback;
    ngx_http_upstream_srv_conf_t  *us;

    if (mscf->type != ngx_mapi_upstream_none) {
        return "is duplicate";
    }

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (us->peer.init_upstream) {
#if (NGX_MAPI_KEEPALIVE_BY_ORDER)
        return "must stand before \"keepalive\", and no other load balancing "
               "method may stand beside it";
#else
        return "is a load balancing method, no other may stand beside it";
#endif
    }

    us->peer.init_upstream = ngx_mapi_init_upstream;

    us->flags = NGX_HTTP_UPSTREAM_CREATE
                |NGX_HTTP_UPSTREAM_WEIGHT
                |NGX_HTTP_UPSTREAM_MAX_CONNS
                |NGX_HTTP_UPSTREAM_MAX_FAILS
                |NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
                |NGX_HTTP_UPSTREAM_DOWN
                |NGX_HTTP_UPSTREAM_BACKUP
                |NGX_MAPI_UPSTREAM_MODIFY;

    mscf->type = ngx_mapi_upstream_router;
    fallback = NGX_CONF_UNSET_UINT;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "owner") == 0) {

            rc = ngx_mapi_set_mode(cf, mscf, ngx_mapi_upstream_owner);

            if (rc != NGX_CONF_OK) {
                return rc;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "direct") == 0) {

            rc = ngx_mapi_set_mode(cf, mscf, ngx_mapi_upstream_direct);

            if (rc != NGX_CONF_OK) {
                return rc;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "fallback=", 9) == 0) {

            if (fallback != NGX_CONF_UNSET_UINT) {
                return "has \"fallback\" twice";
            }

            if (ngx_strcmp(value[i].data + 9, "any") == 0) {
                fallback = ngx_mapi_fallback_any;
                continue;
            }

            if (ngx_strcmp(value[i].data + 9, "copies") == 0) {
                fallback = ngx_mapi_fallback_copies;
                continue;
            }

            if (ngx_strcmp(value[i].data + 9, "none") == 0) {
                fallback = ngx_mapi_fallback_none;
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": write \"owner\", "
                           "\"direct\", \"fallback=any\", "
                           "\"fallback=copies\" or \"fallback=none\"",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    if (fallback == NGX_CONF_UNSET_UINT) {
        fallback = mscf->type == ngx_mapi_upstream_owner
                   ? ngx_mapi_fallback_none : ngx_mapi_fallback_any;
    }

    mscf->fallback = fallback;

    return NGX_CONF_OK;
}


static char *
ngx_mapi_set_mode(ngx_conf_t *cf, ngx_mapi_srv_conf_t *mscf,
    ngx_mapi_upstream_e type)
{
    ngx_mapi_main_conf_t  *mmcf;

    if (mscf->type == type) {
        return type == ngx_mapi_upstream_owner ? "has \"owner\" twice"
                                               : "has \"direct\" twice";
    }

    if (mscf->type != ngx_mapi_upstream_router) {
        return "has \"owner\" and \"direct\": write one of them";
    }

    mscf->type = type;

    if (type == ngx_mapi_upstream_owner) {
        return NGX_CONF_OK;
    }

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);

    if (!mmcf->direct) {
        mmcf->direct = 1;

        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "mapi: \"mapi direct\" is experimental, for "
                           "laboratories: it works only with Extended "
                           "Protection off on the servers' back-end site, and "
                           "with NTLM");
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_set_unknown_mailbox(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_srv_conf_t *mscf = conf;

    ngx_str_t  *value;

    if (mscf->reject != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "balance") == 0) {
        mscf->reject = 0;

    } else if (ngx_strcmp(value[1].data, "reject") == 0) {
        mscf->reject = 1;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\": write \"balance\" or "
                           "\"reject\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_set_directory(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_main_conf_t *mmcf = conf;

    ngx_str_t        *value;
    ngx_file_info_t   fi;

    if (mmcf->directory_path.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the path of a folder";
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    mmcf->directory_path = value[1];

    if (ngx_file_info(value[1].data, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, ngx_errno,
                           "mapi: the directory \"%V\" cannot be found: no "
                           "mailbox is known until \"mapi-directory -d %V "
                           "import\" has made it", &value[1], &value[1]);
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_set_identity_rule(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    u_char                            errstr[NGX_MAX_CONF_ERRSTR];
    ngx_str_t                        *value;
    ngx_mapi_rule_t                  *rule;
    ngx_regex_compile_t               rc;
    ngx_http_compile_complex_value_t  ccv;

    if (mlcf->rules == NULL) {
        mlcf->rules = ngx_array_create(cf->pool, 2, sizeof(ngx_mapi_rule_t));
        if (mlcf->rules == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(mlcf->rules);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    rc.pattern = value[1];
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;
    rc.options = NGX_REGEX_CASELESS;

    rule->regex = ngx_http_regex_compile(cf, &rc);
    if (rule->regex == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &rule->replacement;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_set_affinity_cookie(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    u_char      c;
    ngx_str_t  *value, s;
    ngx_uint_t  i, j;

    if (mlcf->cookie_name.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (j = 0; j < value[1].len; j++) {
        c = value[1].data[j];

        if (c <= 0x20 || c >= 0x7f || ngx_strchr("()<>@,;:\\\"/[]?={}", c)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid cookie name \"%V\": write letters, "
                               "digits, \"-\" and \"_\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    if (value[1].len == 0 || value[1].len > 64) {
        return "needs a cookie name of 1 to 64 characters";
    }

    mlcf->cookie_name = value[1];
    ngx_str_set(&mlcf->cookie_path, "/mapi");
    mlcf->cookie_lifetime = 15 * 60;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "path=/", 6) == 0
            && ngx_strchr(value[i].data, ';') == NULL)
        {
            mlcf->cookie_path.data = value[i].data + 5;
            mlcf->cookie_path.len = value[i].len - 5;
            continue;
        }

        if (ngx_strncmp(value[i].data, "lifetime=", 9) == 0) {

            s.data = value[i].data + 9;
            s.len = value[i].len - 9;

            mlcf->cookie_lifetime = ngx_parse_time(&s, 1);

            if (mlcf->cookie_lifetime >= 1
                && mlcf->cookie_lifetime <= 31 * 24 * 3600)
            {
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": write \"path=/mapi\" or "
                           "\"lifetime=15m\" (from 1s to 31d)", &value[i]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_set_affinity_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_main_conf_t *mmcf = conf;

    ngx_str_t   *value, *file;
    ngx_uint_t   i;

    if (mmcf->key_files) {
        return "is duplicate";
    }

    mmcf->key_files = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                       sizeof(ngx_str_t));
    if (mmcf->key_files == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        file = ngx_array_push(mmcf->key_files);
        if (file == NULL) {
            return NGX_CONF_ERROR;
        }

        *file = value[i];

        if (ngx_conf_full_name(cf->cycle, file, 1) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_set_server_name(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    u_char      c, lc;
    ngx_str_t  *value;
    ngx_uint_t  i;

    if (mlcf->server_name.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > NGX_MAPI_NAME_MAX) {
        return "needs a name of 1 to 255 characters";
    }

    /* it goes into HTML, headers and rows of a log as it is */

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];
        lc = (u_char) (c | 0x20);

        if ((lc < 'a' || lc > 'z') && (c < '0' || c > '9')
            && c != '-' && c != '_' && c != '.')
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid name \"%V\": write a host name, of "
                               "letters, digits, \"-\", \"_\" and \".\"",
                               &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    mlcf->server_name = value[1];

    return NGX_CONF_OK;
}
