
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


#define NGX_MAPI_MAILBOX_DELAY_MAX  600000

/* JSON of one server without its last headers, at most */
#define NGX_MAPI_MAILBOX_JSON_MAX                                             \
    (1536 + 48 * (NGX_MAPI_MAILBOX_NTYPES + NGX_MAPI_CODES))


typedef struct {
    ngx_http_request_t              *request;
    ngx_mapi_mailbox_main_conf_t    *mmcf;
    ngx_str_t                        name;      /* empty: all servers */
    ngx_uint_t                       apply;     /* 0: only look */
    ngx_str_t                        error;
} ngx_mapi_mailbox_control_t;


static ngx_int_t ngx_mapi_mailbox_control_answer(
    ngx_mapi_mailbox_control_t *ctl);
static ngx_int_t ngx_mapi_mailbox_control_query(
    ngx_mapi_mailbox_control_t *ctl);
static ngx_int_t ngx_mapi_mailbox_control_set(ngx_mapi_mailbox_control_t *ctl,
    ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_mapi_mailbox_control_server(
    ngx_mapi_mailbox_conf_t *conf, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t apply);
static ngx_int_t ngx_mapi_mailbox_control_event(
    ngx_mapi_mailbox_conf_t *conf, ngx_str_t *value, ngx_uint_t apply);
static ngx_int_t ngx_mapi_mailbox_control_health(ngx_str_t *value);
static ngx_uint_t ngx_mapi_mailbox_is(const ngx_str_t *s, const char *text);
static ngx_uint_t ngx_mapi_mailbox_named(ngx_mapi_mailbox_main_conf_t *mmcf,
    ngx_uint_t i, ngx_str_t *name);
static u_char *ngx_mapi_mailbox_control_json(ngx_mapi_mailbox_conf_t *conf,
    u_char *p, u_char *last);


ngx_int_t
ngx_mapi_mailbox_control_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_mapi_mailbox_control_t  ctl;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_POST))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&ctl, sizeof(ngx_mapi_mailbox_control_t));

    ctl.request = r;
    ctl.mmcf = ngx_http_get_module_main_conf(r, ngx_mapi_mailbox_module);

    rc = ngx_mapi_mailbox_control_query(&ctl);

    /* a POST is applied as a whole or not at all */

    if (rc == NGX_OK && r->method == NGX_HTTP_POST) {
        ctl.apply = 1;
        rc = ngx_mapi_mailbox_control_query(&ctl);
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_OK) {
        return ngx_mapi_mailbox_control_answer(&ctl);
    }

    return ngx_mapi_mailbox_send_body(r, rc == NGX_DECLINED
                                      ? NGX_HTTP_NOT_FOUND
                                      : NGX_HTTP_BAD_REQUEST,
                                      "text/plain", &ctl.error);
}


static ngx_int_t
ngx_mapi_mailbox_control_answer(ngx_mapi_mailbox_control_t *ctl)
{
    size_t                     size;
    u_char                    *p, *last;
    ngx_str_t                  body;
    ngx_uint_t                 i, n;
    ngx_http_request_t        *r;
    ngx_mapi_mailbox_conf_t  **mbcfp;

    r = ctl->request;
    mbcfp = ctl->mmcf->servers.elts;
    size = 64;

    for (i = 0; i < ctl->mmcf->servers.nelts; i++) {
        if (ngx_mapi_mailbox_named(ctl->mmcf, i, &ctl->name)) {

            if (ngx_mapi_mailbox_server(mbcfp[i]) == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            size += NGX_MAPI_MAILBOX_JSON_MAX + NGX_MAPI_MAILBOX_LAST_MAX;
        }
    }

    body.data = ngx_pnalloc(r->pool, size);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = body.data;
    last = p + size;
    n = 0;

    p = ngx_slprintf(p, last, "{\"servers\":[");

    for (i = 0; i < ctl->mmcf->servers.nelts; i++) {

        if (!ngx_mapi_mailbox_named(ctl->mmcf, i, &ctl->name)) {
            continue;
        }

        if (n++) {
            p = ngx_slprintf(p, last, ",");
        }

        p = ngx_mapi_mailbox_control_json(mbcfp[i], p, last);
    }

    p = ngx_slprintf(p, last, "]}\n");

    body.len = p - body.data;

    return ngx_mapi_mailbox_send_body(r, NGX_HTTP_OK, "application/json",
                                      &body);
}


/*
 * NGX_OK; NGX_DECLINED if there is no such server, NGX_ABORT if a parameter
 * is wrong: ctl->error says what; NGX_ERROR without memory
 */
static ngx_int_t
ngx_mapi_mailbox_control_query(ngx_mapi_mailbox_control_t *ctl)
{
    u_char     *p, *last, *end, *eq;
    ngx_int_t   rc;
    ngx_str_t   name, value;
    ngx_uint_t  i, found;

    p = ctl->request->args.data;
    last = p + ctl->request->args.len;

    if (ctl->request->args.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_arg(ctl->request, (u_char *) "server", 6, &ctl->name)
        == NGX_OK)
    {
        found = 0;

        for (i = 0; i < ctl->mmcf->servers.nelts; i++) {
            found |= ngx_mapi_mailbox_named(ctl->mmcf, i, &ctl->name);
        }

        if (!found || ctl->name.len == 0) {
            ngx_str_set(&ctl->error, "no such server in this nginx\n");
            return NGX_DECLINED;
        }
    }

    while (p < last) {
        end = ngx_strlchr(p, last, '&');
        end = end ? end : last;

        eq = ngx_strlchr(p, end, '=');

        name.data = p;
        name.len = (eq ? eq : end) - p;
        value.data = eq ? eq + 1 : end;
        value.len = end - value.data;

        if (name.len) {
            rc = ngx_mapi_mailbox_control_set(ctl, &name, &value);
            if (rc != NGX_OK) {
                return rc;
            }
        }

        p = end + 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_control_set(ngx_mapi_mailbox_control_t *ctl,
    ngx_str_t *name, ngx_str_t *value)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    ngx_mapi_mailbox_conf_t  **mbcfp;

    if (ngx_mapi_mailbox_is(name, "server")) {
        return NGX_OK;
    }

    mbcfp = ctl->mmcf->servers.elts;

    for (i = 0; i < ctl->mmcf->servers.nelts; i++) {

        if (!ngx_mapi_mailbox_named(ctl->mmcf, i, &ctl->name)) {
            continue;
        }

        if (ngx_mapi_mailbox_is(name, "event")) {
            rc = ngx_mapi_mailbox_control_event(mbcfp[i], value, ctl->apply);

        } else {
            rc = ngx_mapi_mailbox_control_server(mbcfp[i], name, value,
                                                 ctl->apply);
        }

        if (rc == NGX_ABORT) {
            ngx_str_set(&ctl->error,
                        "write server=NAME and any of delay=ms (to 600000), "
                        "status=N (200 to 599), code=N (0 to 99), "
                        "silent=on|off, close=on|off, "
                        "health=ok|close|wrong|silent, event=GUID, reset\n");
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_control_server(ngx_mapi_mailbox_conf_t *conf,
    ngx_str_t *name, ngx_str_t *value, ngx_uint_t apply)
{
    ngx_int_t                   n, min, max;
    ngx_atomic_t               *slot;
    ngx_mapi_mailbox_server_t  *server;

    server = ngx_mapi_mailbox_server(conf);
    if (server == NULL) {
        return NGX_ERROR;
    }

    if (ngx_mapi_mailbox_is(name, "reset")) {
        if (apply) {
            ngx_mapi_mailbox_server_reset(server, conf->shm_zone->data);
        }

        return NGX_OK;
    }

    if (ngx_mapi_mailbox_is(name, "health")) {
        slot = &server->health;
        n = ngx_mapi_mailbox_control_health(value);
        goto set;
    }

    if (ngx_mapi_mailbox_is(name, "silent")
        || ngx_mapi_mailbox_is(name, "close"))
    {
        slot = (name->data[0] == 's') ? &server->silent : &server->close;
        n = ngx_mapi_mailbox_is(value, "on") ? 1
            : ngx_mapi_mailbox_is(value, "off") ? 0 : NGX_ERROR;
        goto set;
    }

    min = 0;

    if (ngx_mapi_mailbox_is(name, "delay")) {
        slot = &server->delay;
        max = NGX_MAPI_MAILBOX_DELAY_MAX;

    } else if (ngx_mapi_mailbox_is(name, "status")) {
        slot = &server->status;
        min = 200;
        max = 599;

    } else if (ngx_mapi_mailbox_is(name, "code")) {
        slot = &server->code;
        max = 99;

    } else {
        return NGX_ABORT;
    }

    n = ngx_atoi(value->data, value->len);

    if (n != 0 && (n < min || n > max)) {
        return NGX_ABORT;
    }

set:

    if (n == NGX_ERROR) {
        return NGX_ABORT;
    }

    if (apply) {
        *slot = (ngx_atomic_uint_t) n;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_control_event(ngx_mapi_mailbox_conf_t *conf,
    ngx_str_t *value, ngx_uint_t apply)
{
    mapi_guid_t  guid;

    if (mapi_guid_parse(&guid, value->data, value->len) != MAPI_OK) {
        return NGX_ABORT;
    }

    if (apply) {
        (void) ngx_mapi_mailbox_session_notify(conf->shm_zone->data, &guid);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_mailbox_control_health(ngx_str_t *value)
{
    if (ngx_mapi_mailbox_is(value, "ok")) {
        return ngx_mapi_health_ok;
    }

    if (ngx_mapi_mailbox_is(value, "close")) {
        return ngx_mapi_health_close;
    }

    if (ngx_mapi_mailbox_is(value, "wrong")) {
        return ngx_mapi_health_wrong;
    }

    if (ngx_mapi_mailbox_is(value, "silent")) {
        return ngx_mapi_health_silent;
    }

    return NGX_ERROR;
}


static ngx_uint_t
ngx_mapi_mailbox_is(const ngx_str_t *s, const char *text)
{
    return s->len == ngx_strlen(text)
           && ngx_strncmp(s->data, text, s->len) == 0;
}


/* 1 for the first directive of each server that has the name, or of any */
static ngx_uint_t
ngx_mapi_mailbox_named(ngx_mapi_mailbox_main_conf_t *mmcf, ngx_uint_t i,
    ngx_str_t *name)
{
    ngx_str_t                 *own;
    ngx_uint_t                 n;
    ngx_mapi_mailbox_conf_t  **mbcfp;

    mbcfp = mmcf->servers.elts;
    own = &mbcfp[i]->name;

    if (name->len
        && !mapi_str_caseeq((mapi_str_t *) own, (mapi_str_t *) name))
    {
        return 0;
    }

    for (n = 0; n < i; n++) {
        if (mapi_str_caseeq((mapi_str_t *) own,
                            (mapi_str_t *) &mbcfp[n]->name))
        {
            return 0;
        }
    }

    return 1;
}


static u_char *
ngx_mapi_mailbox_control_json(ngx_mapi_mailbox_conf_t *conf, u_char *p,
    u_char *last)
{
    ngx_uint_t                  i, n;
    ngx_mapi_mailbox_zone_t    *zone;
    ngx_mapi_mailbox_server_t  *server;

    static const char  *health[] = { "ok", "close", "wrong", "silent" };

    server = conf->server;
    zone = conf->shm_zone->data;

    p = ngx_slprintf(p, last,
                     "{\"name\":\"%V\",\"machine\":\"%V\",\"mode\":\"%s\","
                     "\"requests\":%uA,\"sessions\":%ui,"
                     "\"second_hops\":%uA,\"connections\":%uA,\"open\":%uA,"
                     "\"waiting\":%uA,\"aborted\":%uA,"
                     "\"health_checks\":%uA,",
                     &conf->name, &conf->machine,
                     conf->owner ? "owner" : "exchange",
                     server->requests,
                     ngx_mapi_mailbox_session_count(zone, &conf->machine),
                     server->second_hops, server->connections, server->open,
                     server->waiting, server->aborted,
                     server->health_checks);

    p = ngx_slprintf(p, last,
                     "\"settings\":{\"delay\":%uA,\"status\":%uA,"
                     "\"code\":%uA,\"silent\":%s,\"close\":%s,"
                     "\"health\":\"%s\"},\"types\":{",
                     server->delay, server->status, server->code,
                     server->silent ? "true" : "false",
                     server->close ? "true" : "false",
                     health[server->health & 3]);

    n = 0;

    for (i = 0; i < NGX_MAPI_MAILBOX_NTYPES; i++) {
        if (server->types[i]) {
            p = ngx_slprintf(p, last, "%s\"%V\":%uA", n++ ? "," : "",
                             &ngx_mapi_mailbox_types[i].name,
                             server->types[i]);
        }
    }

    p = ngx_slprintf(p, last, "},\"codes\":{");
    n = 0;

    for (i = 0; i < NGX_MAPI_CODES; i++) {
        if (server->codes[i]) {
            p = ngx_slprintf(p, last, "%s\"%ui\":%uA", n++ ? "," : "", i,
                             server->codes[i]);
        }
    }

    p = ngx_slprintf(p, last, "},\"last\":");

    ngx_shmtx_lock(&zone->shpool->mutex);

    if (server->last_len && (size_t) (last - p) > server->last_len) {
        p = ngx_cpymem(p, server->last, server->last_len);

    } else {
        p = ngx_slprintf(p, last, "null");
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return ngx_slprintf(p, last, "}");
}
