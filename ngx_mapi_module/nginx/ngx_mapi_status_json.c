
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_status.h"


/*
 * The status for programs; "mapi-directory stats --url" is one.  Names of
 * members and their meaning stay: whatever is new gets a new name.
 */


static void ngx_mapi_json_directory(ngx_mapi_text_t *t,
    ngx_mapi_directory_view_t *d);
static void ngx_mapi_json_workers(ngx_mapi_text_t *t, ngx_mapi_status_t *st);
static void ngx_mapi_json_disagreements(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st);
static void ngx_mapi_json_block(ngx_mapi_text_t *t,
    ngx_mapi_status_block_t *block);
static void ngx_mapi_json_server(ngx_mapi_text_t *t,
    ngx_mapi_status_server_t *s);
static void ngx_mapi_json_address(ngx_mapi_text_t *t,
    ngx_mapi_status_address_t *a);
static void ngx_mapi_json_member(ngx_mapi_text_t *t, char *name,
    ngx_str_t *value);


#define ngx_mapi_json_bool(flag)  ((flag) ? "true" : "false")
#define ngx_mapi_json_comma(i)    ((i) ? "," : "")


void
ngx_mapi_status_json(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t                i;
    ngx_atomic_uint_t        *observed;
    ngx_mapi_status_block_t  *block;

    ngx_mapi_text_format(t, "{\"time\":%T,", ngx_time());
    ngx_mapi_json_member(t, "node", &st->node);

    ngx_mapi_text_format(t, ",\n\"zone\":{\"pages\":%uz,\"free_pages\":%uz,"
                         "\"uncounted\":%ui},\n", st->pages, st->free_pages,
                         st->uncounted);

    ngx_mapi_json_directory(t, &st->directory);
    ngx_mapi_json_workers(t, st);

    observed = &st->n[NGX_MAPI_COUNT_OBSERVED];

    ngx_mapi_text_format(t, ",\n\"learned\":{\"places\":%ui,\"forgotten\":%ui}"
                         ",\n\"observed\":{\"right\":%uA,\"wrong\":%uA,"
                         "\"unknown\":%uA},\n\"certificate_mismatches\":%ui,\n",
                         st->learned, st->forgotten,
                         observed[ngx_mapi_observed_right],
                         observed[ngx_mapi_observed_wrong],
                         observed[ngx_mapi_observed_unknown],
                         st->mismatches);

    ngx_mapi_json_disagreements(t, st);

    ngx_mapi_text_format(t, ",\n\"upstreams\":[");

    block = st->blocks.elts;

    for (i = 0; i < st->blocks.nelts; i++) {
        ngx_mapi_text_format(t, "%s\n", ngx_mapi_json_comma(i));
        ngx_mapi_json_block(t, &block[i]);
    }

    ngx_mapi_text_format(t, "]}\n");
}


static void
ngx_mapi_json_directory(ngx_mapi_text_t *t, ngx_mapi_directory_view_t *d)
{
    ngx_mapi_text_format(t, "\"directory\":{");
    ngx_mapi_json_member(t, "path", &d->path);
    ngx_mapi_text_format(t, ",\"usable\":%s,\"node_online\":%s,",
                         ngx_mapi_json_bool(d->usable),
                         ngx_mapi_json_bool(d->online));
    ngx_mapi_json_member(t, "error", &d->error);
    ngx_mapi_text_format(t, ",\"generation\":%uL,\"commit\":%uL},\n",
                         d->generation, d->commit);
}


static void
ngx_mapi_json_workers(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t               i;
    ngx_mapi_worker_view_t  *worker;

    ngx_mapi_text_format(t, "\"cycle\":%ui,\"workers\":[", st->cycle);

    worker = st->workers.elts;

    for (i = 0; i < st->workers.nelts; i++) {
        ngx_mapi_text_format(t, "%s{\"pid\":%P,\"cycle\":%ui,\"since\":%T}",
                             ngx_mapi_json_comma(i), worker[i].pid,
                             worker[i].cycle, worker[i].since);
    }

    ngx_mapi_text_format(t, "]");
}


static void
ngx_mapi_json_disagreements(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_str_t                 s;
    ngx_uint_t                i, j;
    ngx_mapi_disagreement_t  *d;

    static char  *names[] = { "upstream", "database", "directory", "servers" };

    ngx_mapi_text_format(t, "\"disagreements\":[");

    for (i = 0; i < st->ndisagreements; i++) {

        d = &st->disagreements[i];
        ngx_mapi_text_format(t, "%s\n{", ngx_mapi_json_comma(i));

        for (j = 0; j < 4; j++) {
            s.data = d->names[j];
            s.len = d->len[j];

            ngx_mapi_json_member(t, names[j], &s);
            ngx_mapi_text_format(t, ",");
        }

        ngx_mapi_text_format(t, "\"count\":%ui,\"last\":%T}", d->count,
                             d->last);
    }

    ngx_mapi_text_format(t, "]");
}


static void
ngx_mapi_json_block(ngx_mapi_text_t *t, ngx_mapi_status_block_t *block)
{
    ngx_uint_t                 i;
    ngx_mapi_status_server_t  *server;

    ngx_mapi_text_format(t, "{");
    ngx_mapi_json_member(t, "name", &block->name);
    ngx_mapi_text_format(t, ",");
    ngx_mapi_json_member(t, "mode", ngx_mapi_status_mode(block->mscf));

    ngx_mapi_text_format(t, ",\"checked\":%s,\"all_fail\":%s,"
                         "\"first_hop\":%uA,\"second_hop\":%uA,",
                         ngx_mapi_json_bool(block->mscf->health),
                         ngx_mapi_json_bool(block->all_fail),
                         block->n[NGX_MAPI_COUNT_FIRST_HOP],
                         block->n[NGX_MAPI_COUNT_SECOND_HOP]);

    ngx_mapi_text_format(t, "\"pins\":{\"now\":%uA,\"opened\":%uA,"
                         "\"closed\":{",
                         block->n[NGX_MAPI_COUNT_PINS],
                         block->n[NGX_MAPI_COUNT_OPENED]);

    for (i = 0; i < ngx_mapi_pin_reasons; i++) {
        ngx_mapi_text_format(t, "%s\"%s\":%uA", ngx_mapi_json_comma(i),
                             ngx_mapi_status_reasons[i],
                             block->n[NGX_MAPI_COUNT_CLOSED + i]);
    }

    ngx_mapi_text_format(t, "}},\"handshakes\":{\"failed\":%uA,"
                         "\"refused\":%uA},\n \"servers\":[",
                         block->n[NGX_MAPI_COUNT_FAILED],
                         block->n[NGX_MAPI_COUNT_REFUSED]);

    server = block->servers.elts;

    for (i = 0; i < block->servers.nelts; i++) {
        ngx_mapi_text_format(t, "%s\n ", ngx_mapi_json_comma(i));
        ngx_mapi_json_server(t, &server[i]);
    }

    ngx_mapi_text_format(t, "]}");
}


static void
ngx_mapi_json_server(ngx_mapi_text_t *t, ngx_mapi_status_server_t *s)
{
    ngx_uint_t                  i;
    ngx_mapi_status_address_t  *address;

    ngx_mapi_text_format(t, "{");
    ngx_mapi_json_member(t, "name", &s->server->name);
    ngx_mapi_text_format(t, ",");
    ngx_mapi_json_member(t, "host", &s->server->host);
    ngx_mapi_text_format(t, ",");
    ngx_mapi_json_member(t, "line", &s->server->line);
    ngx_mapi_text_format(t, ",");
    ngx_mapi_json_member(t, "state", ngx_mapi_status_state(s->server));

    ngx_mapi_text_format(t, ",\"by_page\":%s,\"known\":%s,\"backup\":%s,"
                         "\"requests\":%uA,\"polls\":%uA,\"pins\":%uA,",
                         ngx_mapi_json_bool(s->server->draining),
                         ngx_mapi_json_bool(s->server->known),
                         ngx_mapi_json_bool(s->server->backup),
                         s->n[NGX_MAPI_COUNT_REQUESTS],
                         s->n[NGX_MAPI_COUNT_POLLS],
                         s->n[NGX_MAPI_COUNT_PINS]);

    ngx_mapi_text_format(t, "\"answers\":{\"2xx\":%uA,\"3xx\":%uA,"
                         "\"4xx\":%uA,\"5xx\":%uA},\"unreached\":%uA,"
                         "\n  \"addresses\":[",
                         s->n[NGX_MAPI_COUNT_ANSWERS],
                         s->n[NGX_MAPI_COUNT_ANSWERS + 1],
                         s->n[NGX_MAPI_COUNT_ANSWERS + 2],
                         s->n[NGX_MAPI_COUNT_ANSWERS + 3],
                         s->n[NGX_MAPI_COUNT_UNREACHED]);

    address = s->addresses.elts;

    for (i = 0; i < s->addresses.nelts; i++) {
        ngx_mapi_text_format(t, "%s", ngx_mapi_json_comma(i));
        ngx_mapi_json_address(t, &address[i]);
    }

    ngx_mapi_text_format(t, "]}");
}


static void
ngx_mapi_json_address(ngx_mapi_text_t *t, ngx_mapi_status_address_t *a)
{
    ngx_str_t                  body;
    ngx_mapi_health_record_t  *h;

    h = &a->health;

    ngx_mapi_text_format(t, "{");
    ngx_mapi_json_member(t, "address", &a->name);
    ngx_mapi_text_format(t, ",\"down\":%s,\"fails\":%ui,",
                         ngx_mapi_json_bool(a->off), a->fails);
    ngx_mapi_json_member(t, "verdict", ngx_mapi_verdict_word(h->verdict));
    ngx_mapi_text_format(t, ",");
    ngx_mapi_json_member(t, "reason", ngx_mapi_check_word(h->last));

    body.data = h->body;
    body.len = h->body_len;

    ngx_mapi_text_format(t, ",\"status\":%ui,", h->status);
    ngx_mapi_json_member(t, "body", &body);

    ngx_mapi_text_format(t, ",\"latency_ms\":%M,\"checked\":%T,\"since\":%T,"
                         "\"certificate_end\":%T,\"certificate_differs\":%s,"
                         "\"certificate_mismatch\":%s}",
                         h->latency, h->checked, h->changed, h->cert.end,
                         ngx_mapi_json_bool(h->differs),
                         ngx_mapi_json_bool(h->differs && h->offers));
}


static void
ngx_mapi_json_member(ngx_mapi_text_t *t, char *name, ngx_str_t *value)
{
    ngx_mapi_text_format(t, "\"%s\":", name);
    ngx_mapi_text_json(t, value);
}
