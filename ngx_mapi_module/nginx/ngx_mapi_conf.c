
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"


static char *ngx_mapi_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_mapi_set_enum(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_mapi_merge_cookie_tail(ngx_conf_t *cf,
    ngx_mapi_loc_conf_t *prev, ngx_mapi_loc_conf_t *conf);
static char *ngx_mapi_merge_server_name(ngx_conf_t *cf,
    ngx_mapi_loc_conf_t *prev, ngx_mapi_loc_conf_t *conf);
static char *ngx_mapi_merge_road(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf);
static ngx_int_t ngx_mapi_note_way(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf,
    ngx_http_upstream_srv_conf_t *us);
static char *ngx_mapi_take_location(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf,
    ngx_http_upstream_srv_conf_t *us);


static ngx_conf_enum_t  ngx_mapi_modes[] = {
    { ngx_string("off"), ngx_mapi_mode_off },
    { ngx_string("on"), ngx_mapi_mode_on },
    { ngx_string("observe"), ngx_mapi_mode_observe },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_mapi_affinities[] = {
    { ngx_string("off"), ngx_mapi_affinity_off },
    { ngx_string("on"), ngx_mapi_affinity_on },
    { ngx_string("auto"), ngx_mapi_affinity_auto },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_mapi_makers[] = {
    { ngx_string("proxy"), ngx_mapi_maker_proxy },
    { ngx_string("local"), ngx_mapi_maker_local },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_mapi_headers[] = {
    { ngx_string("on"), ngx_mapi_headers_on },
    { ngx_string("off"), ngx_mapi_headers_off },
    { ngx_string("full"), ngx_mapi_headers_full },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_mapi_forwarded_fors[] = {
    { ngx_string("append"), ngx_mapi_forwarded_append },
    { ngx_string("replace"), ngx_mapi_forwarded_replace },
    { ngx_string("off"), ngx_mapi_forwarded_off },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_mapi_introduces[] = {
    { ngx_string("on"), 1 },
    { ngx_string("off"), 0 },
    { ngx_null_string, 0 }
};


ngx_command_t  ngx_mapi_commands[] = {

    { ngx_string("mapi"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_mapi_loc_conf_t, mode),
      &ngx_mapi_modes },

    { ngx_string("mapi"),
      NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE12,
      ngx_mapi_set_upstream,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_unknown_mailbox"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_unknown_mailbox,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_pin"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1234,
      ngx_mapi_set_pin,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_health_check"),
      NGX_HTTP_UPS_CONF|NGX_CONF_ANY,
      ngx_mapi_set_health_check,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_mapi_set_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_session_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_session_timeout,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_directory"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_directory,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_identity_rule"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_mapi_set_identity_rule,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_affinity"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_mapi_loc_conf_t, affinity),
      &ngx_mapi_affinities },

    { ngx_string("mapi_affinity_cookie"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_mapi_set_affinity_cookie,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_affinity_key"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_mapi_set_affinity_key,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_page"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_mapi_loc_conf_t, maker),
      &ngx_mapi_makers },

    { ngx_string("mapi_server_name"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_server_name,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_mapi_loc_conf_t, headers),
      &ngx_mapi_headers },

    { ngx_string("mapi_forwarded_for"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_mapi_loc_conf_t, forwarded_for),
      &ngx_mapi_forwarded_fors },

    { ngx_string("mapi_introduce"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_mapi_set_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_mapi_loc_conf_t, introduce),
      &ngx_mapi_introduces },

    { ngx_string("mapi_debug_allow"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_mapi_set_debug_allow,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_mapi_set_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("mapi_log"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_mapi_set_log,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


void *
ngx_mapi_create_main_conf(ngx_conf_t *cf)
{
    ngx_mapi_main_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     everything: no directory, no keys, nothing used
     */

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->count = &ngx_mapi_count_none;

    if (ngx_array_init(&conf->ways, cf->pool, 16, sizeof(ngx_mapi_way_t))
        != NGX_OK)
    {
        return NULL;
    }

    if (ngx_array_init(&conf->logs, cf->pool, 4,
                       sizeof(ngx_mapi_log_folder_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


void *
ngx_mapi_create_srv_conf(ngx_conf_t *cf)
{
    ngx_mapi_srv_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->type = ngx_mapi_upstream_none;
     *     conf->servers = { NULL };
     */

    conf->reject = NGX_CONF_UNSET_UINT;

    conf->count = &ngx_mapi_count_none;
    ngx_queue_init(&conf->requests);

    conf->pin = NGX_CONF_UNSET;
    conf->pin_max = NGX_CONF_UNSET_UINT;
    conf->pin_idle = NGX_CONF_UNSET_MSEC;
    conf->prefer = NGX_CONF_UNSET_UINT;

    return conf;
}


void *
ngx_mapi_create_loc_conf(ngx_conf_t *cf)
{
    ngx_mapi_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->direct = 0;
     *     conf->rules = NULL;
     *     conf->cookie_name = { 0, NULL };
     *     conf->server_name = { 0, NULL };
     *     conf->short_name = { 0, NULL };
     *     conf->debug_allow = NULL;
     *     conf->status = 0;
     *     conf->upstream = NULL;
     */

    conf->mode = NGX_CONF_UNSET_UINT;
    conf->affinity = NGX_CONF_UNSET_UINT;
    conf->headers = NGX_CONF_UNSET_UINT;
    conf->forwarded_for = NGX_CONF_UNSET_UINT;
    conf->introduce = NGX_CONF_UNSET_UINT;
    conf->log = NGX_CONF_UNSET_PTR;
    conf->maker = NGX_CONF_UNSET_UINT;

    return conf;
}


/* the servers of every block are known before the first location is merged */

char *
ngx_mapi_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_uint_t                      i;
    ngx_mapi_srv_conf_t            *mscf;
    ngx_mapi_main_conf_t           *mmcf;
    ngx_http_upstream_srv_conf_t  **uscfp;
    ngx_http_upstream_main_conf_t  *umcf;

    mmcf = conf;

    if (mmcf->session_timeout && mmcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi_session_timeout\" needs a zone that keeps the "
                      "sessions: write \"mapi_zone mapi 10m;\" in http, in "
                      "%V:%ui", &mmcf->session_file, mmcf->session_line);
        return NGX_CONF_ERROR;
    }

    if (mmcf->session_timeout == 0) {
        mmcf->session_timeout = 15 * 60 * 1000;
    }

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->srv_conf == NULL) {
            continue;
        }

        mscf = ngx_http_conf_upstream_srv_conf(uscfp[i], ngx_mapi_module);

        if (mscf->type == ngx_mapi_upstream_none
            && mscf->reject != NGX_CONF_UNSET_UINT)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"mapi_unknown_mailbox\" needs \"mapi\" in the "
                          "same upstream block, in %s:%ui",
                          uscfp[i]->file_name, uscfp[i]->line);
            return NGX_CONF_ERROR;
        }

        ngx_conf_init_uint_value(mscf->reject, 0);

        ngx_conf_init_value(mscf->pin,
                            mscf->type != ngx_mapi_upstream_none);
        ngx_conf_init_uint_value(mscf->pin_max, 16);
        ngx_conf_init_msec_value(mscf->pin_idle, 110000);
        ngx_conf_init_uint_value(mscf->prefer,
                                 mscf->type == ngx_mapi_upstream_owner
                                 || mscf->type == ngx_mapi_upstream_direct
                                 ? ngx_mapi_prefer_route
                                 : ngx_mapi_prefer_pinned);

        if (ngx_mapi_init_servers(cf, uscfp[i], mscf) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    mmcf = conf;

    if (mmcf->direct && mmcf->shm_zone == NULL) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "mapi: \"mapi direct\" without \"mapi_zone\" learns "
                      "nothing: a logon at a server that has lost the "
                      "database fails until the directory says where it is, "
                      "write \"mapi_zone mapi 10m;\" in http");
    }

    return NGX_CONF_OK;
}


char *
ngx_mapi_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_mapi_loc_conf_t *prev = parent;
    ngx_mapi_loc_conf_t *conf = child;

    char                          *rc;
    void                          *plcf;
    ngx_http_upstream_srv_conf_t  *us;

    if (conf->mode == NGX_CONF_UNSET_UINT) {
        conf->file = prev->file;
        conf->line = prev->line;
    }

    ngx_conf_merge_uint_value(conf->mode, prev->mode, ngx_mapi_mode_off);
    ngx_conf_merge_uint_value(conf->affinity, prev->affinity,
                              ngx_mapi_affinity_auto);
    ngx_conf_merge_ptr_value(conf->log, prev->log, NULL);
    ngx_conf_merge_uint_value(conf->maker, prev->maker, ngx_mapi_maker_proxy);

    ngx_conf_merge_uint_value(conf->headers, prev->headers,
                              ngx_mapi_headers_on);
    ngx_conf_merge_uint_value(conf->introduce, prev->introduce, 1);
    ngx_conf_merge_uint_value(conf->forwarded_for, prev->forwarded_for,
                              ngx_mapi_forwarded_append);

    if (conf->cookie_name.data == NULL) {

        if (prev->cookie_name.data) {
            conf->cookie_name = prev->cookie_name;
            conf->cookie_path = prev->cookie_path;
            conf->cookie_lifetime = prev->cookie_lifetime;

        } else {
            ngx_str_set(&conf->cookie_name, "MapiAffinity");
            ngx_str_set(&conf->cookie_path, "/mapi");
            conf->cookie_lifetime = 15 * 60;
        }
    }

    if (ngx_mapi_merge_cookie_tail(cf, prev, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->rules == NULL) {
        conf->rules = prev->rules;
    }

    if (conf->debug_allow == NULL) {
        conf->debug_allow = prev->debug_allow;
    }

    rc = ngx_mapi_merge_server_name(cf, prev, conf);

    if (rc != NGX_CONF_OK) {
        return rc;
    }

    rc = ngx_mapi_status_check(cf, conf);

    if (rc != NGX_CONF_OK) {
        return rc;
    }

    rc = ngx_mapi_merge_road(cf, conf);

    if (rc != NGX_CONF_OK) {
        return rc;
    }

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);
    us = ngx_mapi_proxy_upstream_conf(plcf)->upstream;

    if (us && ngx_mapi_note_way(cf, conf, us) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* written once: every answer has the same attributes */

static ngx_int_t
ngx_mapi_merge_cookie_tail(ngx_conf_t *cf, ngx_mapi_loc_conf_t *prev,
    ngx_mapi_loc_conf_t *conf)
{
    u_char  *p;

    if (prev->cookie_tail.len
        && prev->cookie_path.data == conf->cookie_path.data
        && prev->cookie_lifetime == conf->cookie_lifetime)
    {
        conf->cookie_tail = prev->cookie_tail;
        return NGX_OK;
    }

    p = ngx_pnalloc(cf->pool, sizeof("; Max-Age=; Path=; HttpOnly") - 1
                              + NGX_TIME_T_LEN + conf->cookie_path.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    conf->cookie_tail.data = p;
    conf->cookie_tail.len = ngx_sprintf(p, "; Max-Age=%T; Path=%V; HttpOnly",
                                        conf->cookie_lifetime,
                                        &conf->cookie_path)
                            - p;

    return NGX_OK;
}


/*
 * The short name is for X-FEServer: what Windows calls the NetBIOS name, the
 * first part of the host name in upper case.
 */

static char *
ngx_mapi_merge_server_name(ngx_conf_t *cf, ngx_mapi_loc_conf_t *prev,
    ngx_mapi_loc_conf_t *conf)
{
    u_char      c, *dot;
    ngx_str_t  *name;
    ngx_uint_t  i;

    name = &conf->server_name;

    if (name->data == NULL) {
        *name = prev->server_name.data ? prev->server_name
                                       : cf->cycle->hostname;
    }

    /* the http level has a name, but nobody merges it */

    if (prev->short_name.data && name->data == prev->server_name.data) {
        conf->short_name = prev->short_name;
        return NGX_CONF_OK;
    }

    dot = ngx_strlchr(name->data, name->data + name->len, '.');

    conf->short_name.len = dot ? (size_t) (dot - name->data) : name->len;
    conf->short_name.data = ngx_pnalloc(cf->pool, conf->short_name.len + 1);

    if (conf->short_name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < conf->short_name.len; i++) {
        c = name->data[i];
        conf->short_name.data[i] = (u_char) (c >= 'a' && c <= 'z' ? c & ~0x20
                                                                  : c);
    }

    return NGX_CONF_OK;
}


/* for what can be seen only when all servers and locations are known */

static ngx_int_t
ngx_mapi_note_way(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_mapi_way_t            *way;
    ngx_mapi_main_conf_t      *mmcf;
    ngx_http_core_loc_conf_t  *clcf;

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);

    way = ngx_array_push(&mmcf->ways);
    if (way == NULL) {
        return NGX_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    way->server = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    way->upstream = us;
    way->conf = ngx_mapi_proxy_upstream_conf(
        ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module));
    way->location = clcf->name;
    way->road = (conf->upstream && conf->mode == ngx_mapi_mode_on);

    return NGX_OK;
}


/* is this location on the road?  it is where its proxy_pass leads */

static char *
ngx_mapi_merge_road(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf)
{
    void                          *plcf;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_upstream_srv_conf_t  *us;

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);
    us = ngx_mapi_proxy_upstream_conf(plcf)->upstream;

    mscf = NULL;

    if (us && us->srv_conf) {
        mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);
    }

    if (conf->mode == ngx_mapi_mode_off) {

        if (mscf && mscf->type != ngx_mapi_upstream_none) {
            clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "mapi: location \"%V\" reaches upstream \"%V\" "
                          "without \"mapi on\": its requests are balanced "
                          "round robin, whoever they are for",
                          &clcf->name, &us->host);
        }

        return NGX_CONF_OK;
    }

    if (mscf
        && (mscf->type != ngx_mapi_upstream_none
            || conf->mode == ngx_mapi_mode_observe))
    {
        return ngx_mapi_take_location(cf, conf, us);
    }

    if (!conf->direct) {
        return NGX_CONF_OK;
    }

    if (conf->mode == ngx_mapi_mode_observe) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi observe\" needs a \"proxy_pass\" in this "
                      "location that names an upstream block, without "
                      "variables, in %V:%ui", &conf->file, conf->line);

    } else {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi on\" needs a \"proxy_pass\" in this location "
                      "that names an upstream block with \"mapi\", without "
                      "variables, in %V:%ui", &conf->file, conf->line);
    }

    return NGX_CONF_ERROR;
}


static char *
ngx_mapi_take_location(ngx_conf_t *cf, ngx_mapi_loc_conf_t *conf,
    ngx_http_upstream_srv_conf_t *us)
{
    void                      *plcf;
    ngx_mapi_srv_conf_t       *mscf;
    ngx_mapi_main_conf_t      *mmcf;
    ngx_http_upstream_conf_t  *ucf;

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);
    ucf = ngx_mapi_proxy_upstream_conf(plcf);

    conf->upstream = us;

    mscf = ngx_http_conf_upstream_srv_conf(us, ngx_mapi_module);

    if (mscf->places == NULL) {
        mscf->places = ngx_pcalloc(cf->pool,
                                   NGX_MAPI_PLACES * sizeof(ngx_mapi_place_t));
        mscf->place_keys = ngx_pcalloc(cf->pool,
                               NGX_MAPI_PLACES * sizeof(ngx_mapi_place_key_t));

        if (mscf->places == NULL || mscf->place_keys == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);
    mmcf->used = 1;
    mmcf->lifetime = ngx_max(mmcf->lifetime, conf->cookie_lifetime);

    if (conf->mode == ngx_mapi_mode_observe) {
        return NGX_CONF_OK;
    }

    if (!ucf->pass_request_headers) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi on\" cannot work with "
                      "\"proxy_pass_request_headers off\": MAPI over HTTP "
                      "lives in the headers, remove it, in %V:%ui",
                      &conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (ngx_mapi_proxy_is_http2(plcf)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"mapi on\" cannot work with \"proxy_http_version 2\": "
                      "write \"proxy_http_version 1.1;\", in %V:%ui",
                      &conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    ngx_mapi_check_location(cf);

    if (mscf->type == ngx_mapi_upstream_direct) {
        ngx_mapi_check_direct(cf);
    }

    /*
     * The road's own settings: a waiting answer passes byte by byte, and no
     * server may send a client elsewhere or buffer by X-Accel headers.  The
     * structure is this location's; nested locations have theirs already, for
     * the proxy module has merged all of them before us.
     */

    ucf->buffering = 0;
    ucf->change_buffering = 0;
    ucf->ignore_headers |= NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT
                           |NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES
                           |NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE
                           |NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING
                           |NGX_HTTP_UPSTREAM_IGN_XA_CHARSET;

    /*
     * An answer is the answer, whatever its status: nginx would throw it away
     * for another try, which a request that was sent never gets.
     */

    ucf->next_upstream &= ~(ngx_uint_t) (NGX_HTTP_UPSTREAM_FT_HTTP_500
                                         |NGX_HTTP_UPSTREAM_FT_HTTP_502
                                         |NGX_HTTP_UPSTREAM_FT_HTTP_503
                                         |NGX_HTTP_UPSTREAM_FT_HTTP_504
                                         |NGX_HTTP_UPSTREAM_FT_HTTP_403
                                         |NGX_HTTP_UPSTREAM_FT_HTTP_404
                                         |NGX_HTTP_UPSTREAM_FT_HTTP_429
                                         |NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT);

    return NGX_CONF_OK;
}


static char *
ngx_mapi_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    if (cf->cmd_type & NGX_HTTP_LOC_CONF) {
        mlcf->direct = 1;
    }

    mlcf->file = cf->conf_file->file.name;
    mlcf->line = cf->conf_file->line;

    return ngx_mapi_set_enum(cf, cmd, conf);
}


/* nginx's own slot, with the words that may be written */

static char *
ngx_mapi_set_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char           *p, *last, text[NGX_MAX_CONF_ERRSTR];
    ngx_str_t        *value;
    ngx_conf_enum_t  *e;

    value = cf->args->elts;
    p = text;
    last = text + sizeof(text);

    for (e = cmd->post; e->name.len; e++) {

        if (e->name.len == value[1].len
            && ngx_strcasecmp(e->name.data, value[1].data) == 0)
        {
            return ngx_conf_set_enum_slot(cf, cmd, conf);
        }

        p = ngx_slprintf(p, last, "%s\"%V\"",
                         p == text ? "" : e[1].name.len ? ", " : " or ",
                         &e->name);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive: write %*s",
                       &value[1], &cmd->name, (size_t) (p - text), text);

    return NGX_CONF_ERROR;
}
