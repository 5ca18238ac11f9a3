
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_status.h"


/*
 * The status in Prometheus' text format, version 0.0.4: all samples of a
 * metric together, after its HELP and TYPE.
 */


/* a counter of servers or blocks, as samples of a metric */
typedef struct {
    char        *metric;
    char        *type;
    char        *help;
    char        *label;             /* of the samples, or NULL */
    ngx_uint_t   block;             /* of a block, not a server */
    ngx_uint_t   n;                 /* samples */
    ngx_uint_t   first;             /* the counter of the first one */
    char        *values[ngx_mapi_pin_reasons];
} ngx_mapi_metric_t;


static void ngx_mapi_metric_head(ngx_mapi_text_t *t, char *metric, char *type,
    char *help);
static void ngx_mapi_metric_one(ngx_mapi_text_t *t, char *metric, char *type,
    char *help, uint64_t value);
static void ngx_mapi_metric_counters(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st, ngx_mapi_metric_t *m);
static void ngx_mapi_metric_sample(ngx_mapi_text_t *t, ngx_mapi_metric_t *m,
    ngx_mapi_status_block_t *block, ngx_mapi_status_server_t *server);
static void ngx_mapi_metric_names(ngx_mapi_text_t *t, char *metric,
    ngx_mapi_status_block_t *block, ngx_mapi_status_server_t *server);
static void ngx_mapi_metric_overall(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st);
static void ngx_mapi_metric_states(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st);
static void ngx_mapi_metric_addresses(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st);
static void ngx_mapi_metric_address(ngx_mapi_text_t *t, ngx_uint_t kind,
    ngx_mapi_status_address_t *a);


static ngx_mapi_metric_t  ngx_mapi_metrics[] = {

    { "mapi_server_requests", "gauge", "Requests in flight, polls included.",
      NULL, 0, 1, NGX_MAPI_COUNT_REQUESTS, { NULL } },

    { "mapi_server_polls", "gauge", "NotificationWait requests in flight.",
      NULL, 0, 1, NGX_MAPI_COUNT_POLLS, { NULL } },

    { "mapi_server_pins", "gauge", "Private connections, idle or in use.",
      NULL, 0, 1, NGX_MAPI_COUNT_PINS, { NULL } },

    { "mapi_server_answers_total", "counter", "Answers by class of status.",
      "class", 0, 4, NGX_MAPI_COUNT_ANSWERS,
      { "2xx", "3xx", "4xx", "5xx" } },

    { "mapi_server_unreached_total", "counter", "Connections that failed.",
      NULL, 0, 1, NGX_MAPI_COUNT_UNREACHED, { NULL } },

    { "mapi_hops_total", "counter",
      "Answers that came straight (first), or through another server.",
      "hop", 1, 2, NGX_MAPI_COUNT_FIRST_HOP, { "first", "second" } },

    { "mapi_pins", "gauge", "Private connections of the block.",
      NULL, 1, 1, NGX_MAPI_COUNT_PINS, { NULL } },

    { "mapi_pins_opened_total", "counter", "Private connections made.",
      NULL, 1, 1, NGX_MAPI_COUNT_OPENED, { NULL } },

    { "mapi_pins_closed_total", "counter", "Private connections, by end.",
      "reason", 1, ngx_mapi_pin_reasons, NGX_MAPI_COUNT_CLOSED,
      { "client", "server", "idle", "limit", "refusal", "failure",
        "shutdown" } },

    { "mapi_handshakes_total", "counter",
      "Logons that failed, or that could not be kept (refused).",
      "result", 1, 2, NGX_MAPI_COUNT_FAILED, { "failed", "refused" } },

    { NULL, NULL, NULL, NULL, 0, 0, 0, { NULL } }
};


void
ngx_mapi_status_metrics(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_mapi_metric_t  *m;

    ngx_mapi_metric_overall(t, st);

    if (st->blocks.nelts == 0) {
        return;
    }

    for (m = ngx_mapi_metrics; m->metric; m++) {
        ngx_mapi_metric_counters(t, st, m);
    }

    ngx_mapi_metric_states(t, st);
    ngx_mapi_metric_addresses(t, st);
}


static void
ngx_mapi_metric_head(ngx_mapi_text_t *t, char *metric, char *type, char *help)
{
    ngx_mapi_text_format(t, "# HELP %s %s\n# TYPE %s %s\n", metric, help,
                         metric, type);
}


static void
ngx_mapi_metric_one(ngx_mapi_text_t *t, char *metric, char *type, char *help,
    uint64_t value)
{
    ngx_mapi_metric_head(t, metric, type, help);
    ngx_mapi_text_format(t, "%s %uL\n", metric, value);
}


static void
ngx_mapi_metric_counters(ngx_mapi_text_t *t, ngx_mapi_status_t *st,
    ngx_mapi_metric_t *m)
{
    ngx_uint_t                 i, j;
    ngx_mapi_status_block_t   *block;
    ngx_mapi_status_server_t  *server;

    ngx_mapi_metric_head(t, m->metric, m->type, m->help);

    block = st->blocks.elts;

    for (i = 0; i < st->blocks.nelts; i++) {

        if (m->block) {
            ngx_mapi_metric_sample(t, m, &block[i], NULL);
            continue;
        }

        server = block[i].servers.elts;

        for (j = 0; j < block[i].servers.nelts; j++) {
            ngx_mapi_metric_sample(t, m, &block[i], &server[j]);
        }
    }
}


static void
ngx_mapi_metric_sample(ngx_mapi_text_t *t, ngx_mapi_metric_t *m,
    ngx_mapi_status_block_t *block, ngx_mapi_status_server_t *server)
{
    ngx_uint_t          i;
    ngx_atomic_uint_t  *n;

    n = server ? server->n : block->n;

    for (i = 0; i < m->n; i++) {

        ngx_mapi_metric_names(t, m->metric, block, server);

        if (m->label) {
            ngx_mapi_text_format(t, ",%s=\"%s\"", m->label, m->values[i]);
        }

        ngx_mapi_text_format(t, "} %uA\n", n[m->first + i]);
    }
}


/* leaves the brace open, for more labels */

static void
ngx_mapi_metric_names(ngx_mapi_text_t *t, char *metric,
    ngx_mapi_status_block_t *block, ngx_mapi_status_server_t *server)
{
    ngx_mapi_text_format(t, "%s{upstream=\"", metric);
    ngx_mapi_text_label(t, &block->name);

    if (server) {

        /* the line's text: names change with the directory, series stay */

        ngx_mapi_text_format(t, "\",server=\"");
        ngx_mapi_text_label(t, &server->server->line);
    }

    ngx_mapi_text_format(t, "\"");
}


static void
ngx_mapi_metric_overall(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t          i;
    ngx_atomic_uint_t  *observed;

    static char  *words[] = { "right", "wrong", "unknown" };

    ngx_mapi_metric_one(t, "mapi_directory_usable", "gauge",
                        "1 if the directory can be used.",
                        st->directory.usable);
    ngx_mapi_metric_one(t, "mapi_directory_commit", "gauge",
                        "Number of the directory's last commit.",
                        st->directory.commit);
    ngx_mapi_metric_one(t, "mapi_node_online", "gauge",
                        "0 if this node was set offline.",
                        st->directory.online);
    ngx_mapi_metric_one(t, "mapi_learned_places", "gauge",
                        "Places that servers' answers have taught.",
                        st->learned);
    ngx_mapi_metric_one(t, "mapi_learned_forgotten_total", "counter",
                        "Places that had to make room for others.",
                        st->forgotten);
    ngx_mapi_metric_one(t, "mapi_disagreements", "gauge",
                        "Latest disagreements in the list, at most 16.",
                        st->ndisagreements);
    ngx_mapi_metric_one(t, "mapi_certificate_mismatches", "gauge",
                        "Addresses with another certificate than ours.",
                        st->mismatches);
    ngx_mapi_metric_one(t, "mapi_zone_pages", "gauge",
                        "Pages of the zone.", st->pages);
    ngx_mapi_metric_one(t, "mapi_zone_free_pages", "gauge",
                        "Pages of the zone that are free.", st->free_pages);
    ngx_mapi_metric_one(t, "mapi_uncounted_total", "counter",
                        "Workers that had no room to count in the zone.",
                        st->uncounted);
    ngx_mapi_metric_one(t, "mapi_workers", "gauge",
                        "Workers that run, of all configurations.",
                        st->workers.nelts);
    ngx_mapi_metric_one(t, "mapi_cycle", "gauge",
                        "Configurations since the start.", st->cycle);

    observed = &st->n[NGX_MAPI_COUNT_OBSERVED];

    ngx_mapi_metric_head(t, "mapi_observed_total", "counter",
                         "The directory's word, by the servers' answers.");

    for (i = 0; i < ngx_mapi_observed_kinds; i++) {
        ngx_mapi_text_format(t, "mapi_observed_total{directory=\"%s\"} %uA\n",
                             words[i], observed[i]);
    }
}


static void
ngx_mapi_metric_states(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t                 i, j;
    ngx_mapi_status_block_t   *block;
    ngx_mapi_status_server_t  *server;

    block = st->blocks.elts;

    ngx_mapi_metric_head(t, "mapi_all_fail", "gauge",
                         "1 if no server passes, and all are used.");

    for (i = 0; i < st->blocks.nelts; i++) {
        ngx_mapi_metric_names(t, "mapi_all_fail", &block[i], NULL);
        ngx_mapi_text_format(t, "} %ui\n", block[i].all_fail);
    }

    ngx_mapi_metric_head(t, "mapi_server_state", "gauge",
                         "0 active, 1 draining, 2 offline.");

    for (i = 0; i < st->blocks.nelts; i++) {

        server = block[i].servers.elts;

        for (j = 0; j < block[i].servers.nelts; j++) {
            ngx_mapi_metric_names(t, "mapi_server_state", &block[i],
                                  &server[j]);
            ngx_mapi_text_format(t, "} %ui\n",
                        (ngx_uint_t) ngx_mapi_server_state(server[j].server));
        }
    }
}


static void
ngx_mapi_metric_addresses(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t                  i, j, k, kind;
    ngx_mapi_status_block_t    *block;
    ngx_mapi_status_server_t   *server;
    ngx_mapi_status_address_t  *address;

    static char  *heads[3][2] = {
        { "mapi_check_verdict",
          "0 unknown, 1 alive, 2 draining, 3 failing, 4 dead." },
        { "mapi_check_latency_seconds", "Of the last check." },
        { "mapi_certificate_end_seconds",
          "End of the server's certificate, in Unix time." }
    };

    for (kind = 0; kind < 3; kind++) {

        ngx_mapi_metric_head(t, heads[kind][0], "gauge", heads[kind][1]);

        block = st->blocks.elts;

        for (i = 0; i < st->blocks.nelts; i++) {

            server = block[i].servers.elts;

            for (j = 0; j < block[i].servers.nelts; j++) {

                address = server[j].addresses.elts;

                for (k = 0; k < server[j].addresses.nelts; k++) {

                    if (address[k].health.checked
                        && (kind != 2 || address[k].health.cert.end))
                    {
                        ngx_mapi_metric_names(t, heads[kind][0], &block[i],
                                              &server[j]);
                        ngx_mapi_metric_address(t, kind, &address[k]);
                    }
                }
            }
        }
    }
}


static void
ngx_mapi_metric_address(ngx_mapi_text_t *t, ngx_uint_t kind,
    ngx_mapi_status_address_t *a)
{
    ngx_mapi_text_format(t, ",address=\"");
    ngx_mapi_text_label(t, &a->name);

    switch (kind) {

    case 0:
        ngx_mapi_text_format(t, "\"} %ui\n", (ngx_uint_t) a->health.verdict);
        break;

    case 1:
        ngx_mapi_text_format(t, "\"} %M.%03M\n", a->health.latency / 1000,
                             a->health.latency % 1000);
        break;

    default:
        ngx_mapi_text_format(t, "\"} %T\n", a->health.cert.end);
    }
}
