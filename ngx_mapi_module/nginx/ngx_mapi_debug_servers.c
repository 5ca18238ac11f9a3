
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_debug.h"
#include "ngx_mapi_health.h"


/*
 * The servers of the block in the order in which this mailbox's requests would
 * try them, and their addresses.
 */

typedef struct {
    ngx_uint_t          order;         /* from 1; 0: it would not be tried */
    ngx_mapi_reason_e   reason;
    ngx_uint_t          addresses;
    ngx_uint_t          alive;         /* of these */
    ngx_uint_t          outstanding;
} ngx_mapi_debug_server_t;


/* a copy, since nothing may be built while the peers are locked */
typedef struct {
    ngx_int_t           server;
    ngx_uint_t          place;         /* among the peers, for "tried" */
    size_t              len;
    u_char              name[NGX_SOCKADDR_STRLEN];
    ngx_uint_t          conns;
    ngx_uint_t          max_conns;
    ngx_uint_t          fails;
    ngx_uint_t          max_fails;
    ngx_uint_t          down;
    ngx_uint_t          usable;        /* may be connected to */
    ngx_uint_t          failing;       /* but it could, if none passed */
} ngx_mapi_debug_peer_t;


typedef struct {
    ngx_mapi_tree_t          *tree;
    ngx_mapi_debug_server_t  *servers;
    ngx_mapi_debug_peer_t    *peers;
    ngx_uint_t                npeers;
} ngx_mapi_debug_block_t;


static ngx_uint_t ngx_mapi_debug_count_peers(
    ngx_http_upstream_srv_conf_t *us);
static void ngx_mapi_debug_copy_peers(ngx_mapi_debug_block_t *block,
    ngx_http_upstream_rr_peers_t *peers, ngx_uint_t room, ngx_uint_t *place);
static void ngx_mapi_debug_sum(ngx_mapi_debug_block_t *block);
static void ngx_mapi_debug_order(ngx_mapi_debug_block_t *block);
static void ngx_mapi_debug_candidate(ngx_mapi_debug_block_t *block,
    ngx_mapi_node_t *list, ngx_uint_t n);
static char *ngx_mapi_debug_by(ngx_mapi_srv_conf_t *mscf,
    ngx_mapi_reason_e reason);
static void ngx_mapi_debug_addresses(ngx_mapi_debug_block_t *block,
    ngx_mapi_node_t *routing);
static void ngx_mapi_debug_health(ngx_mapi_debug_block_t *block,
    ngx_mapi_node_t *row, ngx_mapi_debug_peer_t *peer);


void
ngx_mapi_debug_servers(ngx_mapi_tree_t *tree, ngx_mapi_node_t *routing)
{
    ngx_uint_t                     i, j, n, place, room;
    ngx_pool_t                    *pool;
    ngx_mapi_node_t               *list;
    ngx_mapi_srv_conf_t           *mscf;
    ngx_mapi_debug_block_t         block;
    ngx_http_upstream_rr_peers_t  *peers;
    ngx_http_upstream_srv_conf_t  *us;

    pool = tree->request->pool;
    us = tree->ctx->mlcf->upstream;
    mscf = tree->ctx->mscf;
    n = mscf->servers.nelts;

    block.tree = tree;
    block.npeers = 0;
    room = 0;

    /* the peers of another method than ours are not ours to read */

    if (mscf->type != ngx_mapi_upstream_none) {
        room = ngx_mapi_debug_count_peers(us);
    }

    block.servers = ngx_pcalloc(pool, n * sizeof(ngx_mapi_debug_server_t));
    block.peers = ngx_palloc(pool, room * sizeof(ngx_mapi_debug_peer_t));

    if (block.servers == NULL || block.peers == NULL) {
        tree->failed = 1;
        return;
    }

    place = 0;

    for (peers = room ? us->peer.data : NULL; peers; peers = peers->next) {
        ngx_mapi_debug_copy_peers(&block, peers, room, &place);
    }

    ngx_mapi_debug_sum(&block);
    ngx_mapi_debug_order(&block);

    list = ngx_mapi_node(tree, routing, ngx_mapi_node_list, "candidates",
                         "Candidates, in the order of trying");

    for (i = 1; i <= n; i++) {
        for (j = 0; j < n; j++) {
            if (block.servers[j].order == i) {
                ngx_mapi_debug_candidate(&block, list, j);
            }
        }
    }

    for (j = 0; j < n; j++) {
        if (block.servers[j].order == 0) {
            ngx_mapi_debug_candidate(&block, list, j);
        }
    }

    ngx_mapi_debug_addresses(&block, routing);
}


static ngx_uint_t
ngx_mapi_debug_count_peers(ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                     n;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    n = 0;

    for (peers = us->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {
            n++;
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    return n;
}


static void
ngx_mapi_debug_copy_peers(ngx_mapi_debug_block_t *block,
    ngx_http_upstream_rr_peers_t *peers, ngx_uint_t room, ngx_uint_t *place)
{
    ngx_int_t                     hint;
    ngx_mapi_debug_peer_t        *copy;
    ngx_http_upstream_rr_peer_t  *peer;

    hint = 0;

    ngx_http_upstream_rr_peers_rlock(peers);

    for (peer = peers->peer; peer; peer = peer->next, (*place)++) {

        if (block->npeers == room) {
            break;
        }

        hint = ngx_mapi_server_of_peer(block->tree->ctx->mscf, peer, hint);

        if (hint < 0) {
            hint = 0;
            continue;
        }

        copy = &block->peers[block->npeers++];

        copy->server = hint;
        copy->place = *place;
        copy->len = ngx_min(peer->name.len, NGX_SOCKADDR_STRLEN);
        ngx_memcpy(copy->name, peer->name.data, copy->len);
        copy->conns = peer->conns;
        copy->max_conns = peer->max_conns;
        copy->fails = peer->fails;
        copy->max_fails = peer->max_fails;
        copy->down = peer->down;
        copy->usable = ngx_mapi_peer_usable(peer, 0);
        copy->failing = !copy->usable && ngx_mapi_peer_usable(peer, 1);
    }

    ngx_http_upstream_rr_peers_unlock(peers);
}


static void
ngx_mapi_debug_sum(ngx_mapi_debug_block_t *block)
{
    ngx_uint_t                i;
    ngx_mapi_debug_peer_t    *peer;
    ngx_mapi_debug_server_t  *server;

    for (i = 0; i < block->npeers; i++) {
        peer = &block->peers[i];
        server = &block->servers[peer->server];

        server->addresses++;
        server->alive += peer->usable;
        server->outstanding += peer->conns;
    }
}


/*
 * What would come if one after the other refused: select is asked again with
 * more and more servers tried, on a copy of the context.  Pins have no word in
 * that, as in a real request after its first try.
 */

static void
ngx_mapi_debug_order(ngx_mapi_debug_block_t *block)
{
    ngx_uint_t         i, order;
    ngx_mapi_ctx_t     ctx;
    ngx_mapi_tried_t   tried;

    ctx = *block->tree->ctx;
    ngx_memzero(&tried, sizeof(ngx_mapi_tried_t));

    for (order = 1; order <= ctx.mscf->servers.nelts; order++) {

        if (ngx_mapi_select(block->tree->request, &ctx, ctx.mlcf->upstream,
                            &tried)
            != NGX_OK
            || block->servers[ctx.server].order)
        {
            return;
        }

        block->servers[ctx.server].order = order;
        block->servers[ctx.server].reason = ctx.reason;

        for (i = 0; i < block->npeers; i++) {
            if (block->peers[i].server == ctx.server) {
                ngx_mapi_set_tried(&tried, block->peers[i].place);
            }
        }
    }
}


static void
ngx_mapi_debug_candidate(ngx_mapi_debug_block_t *block, ngx_mapi_node_t *list,
    ngx_uint_t n)
{
    ngx_mapi_ctx_t           *ctx;
    ngx_mapi_node_t          *row;
    ngx_mapi_tree_t          *tree;
    ngx_mapi_server_t        *server;
    ngx_atomic_uint_t         counts[NGX_MAPI_COUNTS];
    ngx_mapi_main_conf_t     *mmcf;
    ngx_mapi_debug_server_t  *s;

    tree = block->tree;
    ctx = tree->ctx;
    s = &block->servers[n];
    server = (ngx_mapi_server_t *) ctx->mscf->servers.elts + n;

    row = ngx_mapi_node(tree, list, ngx_mapi_node_group, "", NULL);

    if (s->order) {
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "order", "Order",
                            s->order);

    } else {
        ngx_mapi_node_text(tree, row, "order", "Order", NULL);
    }

    ngx_mapi_node_text(tree, row, "server", "Server", &server->name);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_flag, "chosen", "Chosen",
                        ctx->server == (ngx_int_t) n);

    if (s->order) {
        ngx_mapi_node_print(tree, row, "by", "By", "%s",
                            ngx_mapi_debug_by(ctx->mscf, s->reason));

    } else {
        ngx_mapi_node_text(tree, row, "by", "By", NULL);
    }

    if (server->draining && server->state == mapi_server_active) {
        ngx_mapi_node_print(tree, row, "state", "State",
                            "draining, its health page is closed");

    } else {
        ngx_mapi_node_text(tree, row, "state", "State",
                           ngx_mapi_state_name(server->state));
    }

    ngx_mapi_node_value(tree, row, ngx_mapi_node_flag, "known",
                        "In the directory", server->known);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "addresses",
                        "Addresses", s->addresses);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "alive", "Alive",
                        s->alive);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "outstanding",
                        "Outstanding", s->outstanding);

    /* those of all workers are known only in a zone */

    mmcf = ngx_http_get_module_main_conf(tree->request, ngx_mapi_module);

    if (mmcf->zone) {
        ngx_mapi_count_read(mmcf, server->count, counts);
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "polls",
                            "Polls", (int64_t) counts[NGX_MAPI_COUNT_POLLS]);
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "pins", "Pins",
                            (int64_t) counts[NGX_MAPI_COUNT_PINS]);
    }

    ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "weight", "Weight",
                        server->weight);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_flag, "backup", "Backup",
                        server->backup);
}


/* what would bring a request there */

static char *
ngx_mapi_debug_by(ngx_mapi_srv_conf_t *mscf, ngx_mapi_reason_e reason)
{
    switch (reason) {

    case ngx_mapi_reason_learned:
        return "learned";

    case ngx_mapi_reason_mounted:
        return "directory";

    case ngx_mapi_reason_cookie:
        return "affinity cookie";

    case ngx_mapi_reason_hash:
        return "rendezvous hash";

    case ngx_mapi_reason_address:
        return "rendezvous hash of the client's address";

    default:
        return mscf->fallback == ngx_mapi_fallback_copies
               ? "a copy of the database" : "rendezvous hash";
    }
}


static void
ngx_mapi_debug_addresses(ngx_mapi_debug_block_t *block,
    ngx_mapi_node_t *routing)
{
    ngx_str_t               name;
    ngx_uint_t              i;
    ngx_mapi_node_t        *list, *row;
    ngx_mapi_tree_t        *tree;
    ngx_mapi_server_t      *servers;
    ngx_mapi_debug_peer_t  *peer;

    tree = block->tree;
    servers = tree->ctx->mscf->servers.elts;

    list = ngx_mapi_node(tree, routing, ngx_mapi_node_list, "addresses",
                         "Addresses");

    for (i = 0; i < block->npeers; i++) {
        peer = &block->peers[i];

        name.data = peer->name;
        name.len = peer->len;

        row = ngx_mapi_node(tree, list, ngx_mapi_node_group, "", NULL);

        ngx_mapi_node_text(tree, row, "server", "Server",
                           &servers[peer->server].name);
        ngx_mapi_node_text(tree, row, "address", "Address", &name);

        ngx_mapi_debug_health(block, row, peer);

        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "outstanding",
                            "Outstanding", peer->conns);
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "max_conns",
                            "max_conns", peer->max_conns);
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "fails", "Fails",
                            peer->fails);
        ngx_mapi_node_value(tree, row, ngx_mapi_node_number, "max_fails",
                            "max_fails", peer->max_fails);
    }
}


static void
ngx_mapi_debug_health(ngx_mapi_debug_block_t *block, ngx_mapi_node_t *row,
    ngx_mapi_debug_peer_t *peer)
{
    char                    *health, *why;
    ngx_str_t                name;
    ngx_mapi_tree_t         *tree;
    ngx_mapi_srv_conf_t     *mscf;
    ngx_mapi_main_conf_t    *mmcf;
    ngx_mapi_health_view_t   view;

    tree = block->tree;
    mscf = tree->ctx->mscf;

    why = NULL;

    if (peer->usable) {
        health = "alive";

    } else if (ngx_mapi_peer_is_off(peer)) {
        health = "down";
        why = "by the configuration";

    } else if (peer->failing) {
        health = "dead";
        why = "max_fails is reached, or its checks say so";

    } else {
        health = "full";
        why = "max_conns is reached";
    }

    ngx_mapi_node_print(tree, row, "health", "Health", "%s", health);

    if (mscf->health == NULL) {

        if (why) {
            ngx_mapi_node_print(tree, row, "why", "Why", "%s",
                                peer->failing ? "max_fails is reached" : why);

        } else {
            ngx_mapi_node_text(tree, row, "why", "Why", NULL);
        }

        return;
    }

    mmcf = ngx_http_get_module_main_conf(tree->request, ngx_mapi_module);

    name.data = peer->name;
    name.len = peer->len;

    ngx_mapi_health_look(mmcf, &mscf->name, &name, &view);

    if (why) {
        ngx_mapi_node_print(tree, row, "why", "Why", "%s", why);

    } else {
        ngx_mapi_node_text(tree, row, "why", "Why", NULL);
    }

    ngx_mapi_node_text(tree, row, "verdict", "Verdict of its checks",
                       ngx_mapi_verdict_word(view.verdict));
    ngx_mapi_node_text(tree, row, "check", "Last check",
                       ngx_mapi_check_word(view.last));
    ngx_mapi_node_value(tree, row, ngx_mapi_node_span, "since", "Since",
                        view.since ? (int64_t) (ngx_msec_t)
                                     (ngx_current_msec - view.since) / 1000
                                   : -1);
    ngx_mapi_node_value(tree, row, ngx_mapi_node_flag, "mismatch",
                        "Certificate differs", view.mismatch);
}
