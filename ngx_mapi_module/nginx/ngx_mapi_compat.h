
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#ifndef _NGX_MAPI_COMPAT_H_INCLUDED_
#define _NGX_MAPI_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/*
 * Every difference between nginx versions, and nothing else.
 * From 1.22.0 on; the module is built for one exact version.
 */


#if (nginx_version < 1022000)
#error ngx_mapi_module needs nginx 1.22.0 or later
#endif

#if !(NGX_PCRE)
#error ngx_mapi_module needs nginx with PCRE (mapi_identity_rule)
#endif


/* 1.23.0: headers of one name form a list, new elements need its end */

#if (nginx_version >= 1023000)

#define ngx_mapi_header_end(h)  (h)->next = NULL
#define ngx_mapi_forwarded_for(r)  (r)->headers_in.x_forwarded_for

#else

#define ngx_mapi_header_end(h)
#define ngx_mapi_forwarded_for(r)                                             \
    ((r)->headers_in.x_forwarded_for.nelts                                    \
     ? *(ngx_table_elt_t **) (r)->headers_in.x_forwarded_for.elts : NULL)

#endif


/* peers of a zone are other workers' too */

#if (NGX_HTTP_UPSTREAM_ZONE)
#define ngx_mapi_peers_shared(peers)  ((peers)->shpool != NULL)
#else
#define ngx_mapi_peers_shared(peers)  0
#endif


/* 1.27.3: "resolve" changes the peers of a zone while requests run */

#if (NGX_HTTP_UPSTREAM_ZONE && nginx_version >= 1027003)

#define NGX_MAPI_UPSTREAM_MODIFY  NGX_HTTP_UPSTREAM_MODIFY

#define ngx_mapi_peer_ref(peers, peer)                                        \
    ngx_http_upstream_rr_peer_ref(peers, peer)

#define ngx_mapi_peer_unref(peers, peer)                                      \
    (void) ngx_http_upstream_rr_peer_unref(peers, peer)

#define ngx_mapi_peers_changed(rrp)                                           \
    ((rrp)->peers->config && (rrp)->config != *(rrp)->peers->config)

#define ngx_mapi_peers_config(peers)                                          \
    ((peers)->config ? *(peers)->config : 0)

#define ngx_mapi_peers_resolve(peers)  (peers)->resolve

#define ngx_mapi_peers_adopt(rrp)                                             \
    (rrp)->config = (rrp)->peers->config ? *(rrp)->peers->config : 0

#else

#define NGX_MAPI_UPSTREAM_MODIFY  0
#define ngx_mapi_peer_ref(peers, peer)
#define ngx_mapi_peer_unref(peers, peer)
#define ngx_mapi_peers_changed(rrp)  0
#define ngx_mapi_peers_config(peers)  ((void) (peers), 0)
#define ngx_mapi_peers_resolve(peers)  NULL
#define ngx_mapi_peers_adopt(rrp)

#endif


/*
 * 1.29.7: keepalive is hooked in by its init_main_conf, for every upstream;
 * before, the directive replaced init_upstream in the order of the text.
 */

#if (nginx_version >= 1029007)
#define NGX_MAPI_KEEPALIVE_BY_ORDER  0
#else
#define NGX_MAPI_KEEPALIVE_BY_ORDER  1
#endif


/* 1.29.4: HTTP/2 toward servers */

#if (nginx_version >= 1029004)
#include <ngx_http_proxy_module.h>
#define ngx_mapi_proxy_is_http2(plcf)                                         \
    (((ngx_http_proxy_loc_conf_t *) (plcf))->http_version                     \
     == NGX_HTTP_VERSION_20)
#else
#define ngx_mapi_proxy_is_http2(plcf)  0
#endif


/* HTTP/2 by "listen ... http2", and from 1.25.1 by "http2 on" in a server */

#if (NGX_HTTP_V2 && nginx_version >= 1025001)
#define ngx_mapi_server_has_http2(cscf)                                       \
    (((ngx_http_v2_srv_conf_t *)                                              \
      (cscf)->ctx->srv_conf[ngx_http_v2_module.ctx_index])->enable == 1)
#else
#define ngx_mapi_server_has_http2(cscf)  0
#endif

#if (NGX_HTTP_V2)
#define ngx_mapi_listen_has_http2(opt)  (opt)->http2
#else
#define ngx_mapi_listen_has_http2(opt)  0
#endif

#if (nginx_version >= 1025000)
#define ngx_mapi_listen_has_quic(opt)  (opt)->quic
#else
#define ngx_mapi_listen_has_quic(opt)  0
#endif


/* the first member of the proxy module's configuration, in every version */

extern ngx_module_t  ngx_http_proxy_module;

#define ngx_mapi_proxy_upstream_conf(plcf)                                    \
    ((ngx_http_upstream_conf_t *) (plcf))


#endif /* _NGX_MAPI_COMPAT_H_INCLUDED_ */
