
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_status.h"


/*
 * The status for people: one page, no script, nothing from elsewhere.  In a
 * narrow window each row of a table becomes a card, its cells named by
 * "data-n".
 */


static void ngx_mapi_html_head(ngx_mapi_text_t *t, ngx_mapi_status_t *st);
static void ngx_mapi_html_overall(ngx_mapi_text_t *t, ngx_mapi_status_t *st);
static void ngx_mapi_html_row(ngx_mapi_text_t *t, char *name);
static void ngx_mapi_html_workers(ngx_mapi_text_t *t, ngx_mapi_status_t *st);
static void ngx_mapi_html_block(ngx_mapi_text_t *t,
    ngx_mapi_status_block_t *block);
static void ngx_mapi_html_totals(ngx_mapi_text_t *t,
    ngx_mapi_status_block_t *block);
static void ngx_mapi_html_server(ngx_mapi_text_t *t,
    ngx_mapi_status_server_t *s);
static void ngx_mapi_html_address(ngx_mapi_text_t *t,
    ngx_mapi_status_address_t *a);
static void ngx_mapi_html_disagreements(ngx_mapi_text_t *t,
    ngx_mapi_status_t *st);
static void ngx_mapi_html_time(ngx_mapi_text_t *t, time_t when);
static char *ngx_mapi_html_class(ngx_mapi_verdict_e verdict);


#define NGX_MAPI_HTML_STYLE                                                   \
    "<style>:root{color-scheme:light dark}"                                   \
    "body{font:15px/1.45 system-ui,sans-serif;margin:1.2em auto;"             \
    "max-width:76em;padding:0 1em}"                                           \
    "h1{font-size:1.4em}h2{font-size:1.15em;margin:1.6em 0 .4em}"             \
    "table{border-collapse:collapse;width:100%%}"

#define NGX_MAPI_HTML_CELLS                                                   \
    "td,th{padding:.3em .6em;text-align:left;vertical-align:top;"             \
    "border-bottom:1px solid #8886}td:first-child{max-width:18em}"            \
    "td,dd,code{overflow-wrap:break-word}td p{margin:0}"                      \
    "td:last-child{overflow-wrap:anywhere;min-width:14em}"                    \
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"           \
    "th{font-weight:600}dl{display:grid;grid-template-columns:"               \
    "max-content 1fr;gap:.15em 1em;margin:0}dt{opacity:.75}"                  \
    "dd{margin:0;overflow-wrap:anywhere}h2~p{margin:.3em 0}"

#define NGX_MAPI_HTML_COLOURS                                                 \
    "b.ok{color:light-dark(#176b2c,#7fd492)}"                                 \
    "b.warn{color:light-dark(#8a5200,#f0b95c)}"                               \
    "b.bad{color:light-dark(#b3141d,#ff8d8d)}"                                \
    "code{font:.9em ui-monospace,monospace}"

#define NGX_MAPI_HTML_NARROW                                                  \
    "@media(max-width:56em){thead{display:none}"                              \
    "table,tbody,tr,td{display:block}td:first-child{max-width:none}"          \
    "tr{border:1px solid #8886;border-radius:.4em;margin:.6em 0;"             \
    "padding:.3em .2em}td,td.n{border:0;text-align:left;"                     \
    "padding:.15em .6em}td[data-n]::before{content:attr(data-n) \": \";"      \
    "opacity:.75}dl{grid-template-columns:1fr}dd{margin-bottom:.4em}}"        \
    "</style>"


void
ngx_mapi_status_html(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t                i;
    ngx_mapi_status_block_t  *block;

    ngx_mapi_html_head(t, st);
    ngx_mapi_html_overall(t, st);

    block = st->blocks.elts;

    for (i = 0; i < st->blocks.nelts; i++) {
        ngx_mapi_html_block(t, &block[i]);
    }

    ngx_mapi_html_disagreements(t, st);

    ngx_mapi_text_format(t, "</body></html>\n");
}


static void
ngx_mapi_html_head(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_mapi_text_format(t, "<!DOCTYPE html>\n<html lang=\"en\"><head>"
                         "<meta charset=\"utf-8\"><meta name=\"viewport\" "
                         "content=\"width=device-width,initial-scale=1\">"
                         "<title>MAPI status: ");
    ngx_mapi_text_html(t, &st->node);
    ngx_mapi_text_format(t, "</title>\n" NGX_MAPI_HTML_STYLE);
    ngx_mapi_text_format(t, NGX_MAPI_HTML_CELLS);
    ngx_mapi_text_format(t, NGX_MAPI_HTML_COLOURS);
    ngx_mapi_text_format(t, NGX_MAPI_HTML_NARROW "</head>\n<body><h1>"
                         "MAPI status of ");
    ngx_mapi_text_html(t, &st->node);
    ngx_mapi_text_format(t, "</h1>\n<p>");
    ngx_mapi_html_time(t, ngx_time());
    ngx_mapi_text_format(t, " &middot; <a href=\"");
    ngx_mapi_text_html(t, &st->location);
    ngx_mapi_text_format(t, "/api\">JSON</a> &middot; <a href=\"");
    ngx_mapi_text_html(t, &st->location);
    ngx_mapi_text_format(t, "/metrics\">metrics</a></p>\n");
}


static void
ngx_mapi_html_overall(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_atomic_uint_t          *observed;
    ngx_mapi_directory_view_t  *d;

    d = &st->directory;

    ngx_mapi_text_format(t, "<h2>This node</h2>\n<dl>");

    ngx_mapi_html_row(t, "Directory");

    if (d->path.len == 0) {
        ngx_mapi_text_format(t, "none: servers' answers teach what is known");

    } else {
        ngx_mapi_text_format(t, "<code>");
        ngx_mapi_text_html(t, &d->path);
        ngx_mapi_text_format(t, "</code> %s, commit %uL, generation %uL",
                             d->usable ? "<b class=\"ok\">usable</b>"
                                       : "<b class=\"bad\">not usable</b>",
                             d->commit, d->generation);
    }

    if (d->error.len) {
        ngx_mapi_text_format(t, "<br><b class=\"bad\">");
        ngx_mapi_text_html(t, &d->error);
        ngx_mapi_text_format(t, "</b>");
    }

    ngx_mapi_html_row(t, "Health page");
    ngx_mapi_text_format(t, "%s", d->online ? "<b class=\"ok\">online</b>"
                                 : "<b class=\"warn\">offline by hand</b>");

    ngx_mapi_html_row(t, "Learned places");
    ngx_mapi_text_format(t, "%ui, %ui forgotten", st->learned, st->forgotten);

    observed = &st->n[NGX_MAPI_COUNT_OBSERVED];

    ngx_mapi_html_row(t, "Observed");
    ngx_mapi_text_format(t, "directory right %uA, wrong %uA, unknown %uA",
                         observed[ngx_mapi_observed_right],
                         observed[ngx_mapi_observed_wrong],
                         observed[ngx_mapi_observed_unknown]);

    ngx_mapi_html_row(t, "Certificates");
    ngx_mapi_text_format(t, st->mismatches
                         ? "<b class=\"bad\">%ui addresses have another than "
                           "the listener</b>"
                         : "%ui mismatches", st->mismatches);

    ngx_mapi_html_row(t, "Zone");
    ngx_mapi_text_format(t, "%uz of %uz pages free%s", st->free_pages,
                         st->pages, st->uncounted
                         ? ", <b class=\"warn\">too small to count all</b>"
                         : "");

    ngx_mapi_html_workers(t, st);

    ngx_mapi_text_format(t, "</dd></dl>\n");
}


static void
ngx_mapi_html_row(ngx_mapi_text_t *t, char *name)
{
    /* end tags of dt and dd may be left out */
    ngx_mapi_text_format(t, "\n<dt>%s<dd>", name);
}


static void
ngx_mapi_html_workers(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_uint_t               i;
    ngx_mapi_worker_view_t  *worker;

    worker = st->workers.elts;

    ngx_mapi_html_row(t, "Workers");

    for (i = 0; i < st->workers.nelts; i++) {
        ngx_mapi_text_format(t, "%s%P%s", i ? ", " : "", worker[i].pid,
                             worker[i].cycle < st->cycle
                             ? " (leaving)" : "");
    }

    ngx_mapi_text_format(t, "; configuration %ui", st->cycle);
}


static void
ngx_mapi_html_block(ngx_mapi_text_t *t, ngx_mapi_status_block_t *block)
{
    ngx_uint_t                 i;
    ngx_mapi_status_server_t  *server;

    ngx_mapi_text_format(t, "<h2>Upstream ");
    ngx_mapi_text_html(t, &block->name);
    ngx_mapi_text_format(t, "</h2>\n");

    if (block->all_fail) {
        ngx_mapi_text_format(t, "<p><b class=\"bad\">No server passes: all "
                             "are used as if they did</b></p>\n");
    }

    ngx_mapi_html_totals(t, block);

    ngx_mapi_text_format(t, "<table><thead><tr><th>Server<th>State"
                         "<th class=\"n\">Requests<th class=\"n\">Polls"
                         "<th class=\"n\">Pins<th class=\"n\">2xx"
                         "<th class=\"n\">3xx<th class=\"n\">4xx"
                         "<th class=\"n\">5xx<th class=\"n\">Unreached"
                         "<th>Checks</tr></thead><tbody>\n");

    server = block->servers.elts;

    for (i = 0; i < block->servers.nelts; i++) {
        ngx_mapi_html_server(t, &server[i]);
    }

    ngx_mapi_text_format(t, "</tbody></table>\n");
}


static void
ngx_mapi_html_totals(ngx_mapi_text_t *t, ngx_mapi_status_block_t *block)
{
    ngx_uint_t          i;
    ngx_atomic_uint_t  *n, hops;

    n = block->n;
    hops = n[NGX_MAPI_COUNT_FIRST_HOP] + n[NGX_MAPI_COUNT_SECOND_HOP];

    if (hops) {
        ngx_mapi_text_format(t, "<p>Straight %uA, through another server %uA "
                             "(%uA&thinsp;%% straight)</p>\n",
                             n[NGX_MAPI_COUNT_FIRST_HOP],
                             n[NGX_MAPI_COUNT_SECOND_HOP],
                             100 * n[NGX_MAPI_COUNT_FIRST_HOP] / hops);
    }

    if (!block->mscf->pin) {
        return;
    }

    ngx_mapi_text_format(t, "<p>Pins: %uA now, %uA opened; closed by",
                         n[NGX_MAPI_COUNT_PINS], n[NGX_MAPI_COUNT_OPENED]);

    for (i = 0; i < ngx_mapi_pin_reasons; i++) {
        ngx_mapi_text_format(t, "%s %s %uA", i ? "," : "",
                             ngx_mapi_status_reasons[i],
                             n[NGX_MAPI_COUNT_CLOSED + i]);
    }

    ngx_mapi_text_format(t, ". Handshakes failed %uA, refused %uA</p>\n",
                         n[NGX_MAPI_COUNT_FAILED],
                         n[NGX_MAPI_COUNT_REFUSED]);
}


static void
ngx_mapi_html_server(ngx_mapi_text_t *t, ngx_mapi_status_server_t *s)
{
    ngx_uint_t                  i;
    ngx_mapi_status_address_t  *address;

    static char  *names[] = { "Requests", "Polls", "Pins", "2xx", "3xx",
                              "4xx", "5xx", "Unreached" };
    static char  *classes[] = { "ok", "warn", "bad" };

    ngx_mapi_text_format(t, "<tr><td><b>");
    ngx_mapi_text_html(t, &s->server->name);
    ngx_mapi_text_format(t, "</b>");

    if (s->server->name.len != s->server->line.len
        || ngx_memcmp(s->server->name.data, s->server->line.data,
                      s->server->name.len)
           != 0)
    {
        ngx_mapi_text_format(t, "<br><code>");
        ngx_mapi_text_html(t, &s->server->line);
        ngx_mapi_text_format(t, "</code>");
    }

    ngx_mapi_text_format(t, "<td data-n=\"State\"><b class=\"%s\">%V</b>%s%s",
                         classes[ngx_mapi_server_state(s->server)],
                         ngx_mapi_status_state(s->server),
                         s->server->draining ? " by its page" : "",
                         s->server->backup ? ", backup" : "");

    for (i = 0; i < 8; i++) {
        ngx_mapi_text_format(t, "<td class=\"n\" data-n=\"%s\">%uA", names[i],
                             s->n[i]);
    }

    ngx_mapi_text_format(t, "<td data-n=\"Checks\">");

    address = s->addresses.elts;

    for (i = 0; i < s->addresses.nelts; i++) {
        ngx_mapi_html_address(t, &address[i]);
    }

    ngx_mapi_text_format(t, "</tr>\n");
}


static void
ngx_mapi_html_address(ngx_mapi_text_t *t, ngx_mapi_status_address_t *a)
{
    ngx_str_t                  body;
    ngx_mapi_health_record_t  *h;

    h = &a->health;

    ngx_mapi_text_format(t, "<p><code>");
    ngx_mapi_text_html(t, &a->name);
    ngx_mapi_text_format(t, "</code>");

    if (a->off) {
        ngx_mapi_text_format(t, " down in the configuration");
    }

    if (h->checked == 0) {
        ngx_mapi_text_format(t, " not checked</p>");
        return;
    }

    ngx_mapi_text_format(t, " <b class=\"%s\">%V</b>",
                         ngx_mapi_html_class(h->verdict),
                         ngx_mapi_verdict_word(h->verdict));

    if (h->changed) {
        ngx_mapi_text_format(t, " since ");
        ngx_mapi_html_time(t, h->changed);
    }

    ngx_mapi_text_format(t, ": %V, %M ms", ngx_mapi_check_word(h->last),
                         h->latency);

    if (h->status) {
        ngx_mapi_text_format(t, ", status %ui", h->status);
    }

    if (h->body_len) {
        body.data = h->body;
        body.len = h->body_len;

        ngx_mapi_text_format(t, ", <code>");
        ngx_mapi_text_html(t, &body);
        ngx_mapi_text_format(t, "</code>");
    }

    if (h->cert.end) {
        ngx_mapi_text_format(t, "; certificate ends ");
        ngx_mapi_html_time(t, h->cert.end);

        if (h->differs) {
            ngx_mapi_text_format(t, ", <b class=\"%s\">not the "
                                 "listener's</b>",
                                 h->offers ? "bad" : "warn");
        }
    }

    ngx_mapi_text_format(t, "</p>");
}


static void
ngx_mapi_html_disagreements(ngx_mapi_text_t *t, ngx_mapi_status_t *st)
{
    ngx_str_t                 s;
    ngx_uint_t                i, j;
    ngx_mapi_disagreement_t  *d;

    static char  *names[] = { "Upstream", "Database", "Directory says",
                              "Servers say" };

    if (st->ndisagreements == 0) {
        return;
    }

    ngx_mapi_text_format(t, "<h2>Directory and servers disagree</h2>\n"
                         "<table><thead><tr><th>Upstream<th>Database"
                         "<th>Directory says<th>Servers say"
                         "<th class=\"n\">Answers<th>Last</tr></thead>"
                         "<tbody>\n");

    for (i = 0; i < st->ndisagreements; i++) {

        d = &st->disagreements[i];
        ngx_mapi_text_format(t, "<tr>");

        for (j = 0; j < 4; j++) {
            s.data = d->names[j];
            s.len = d->len[j];

            ngx_mapi_text_format(t, "<td data-n=\"%s\">", names[j]);

            if (j == 2 && s.len == 0) {
                ngx_mapi_text_format(t, "a server of no line here");
            }

            ngx_mapi_text_html(t, &s);
        }

        ngx_mapi_text_format(t, "<td class=\"n\" data-n=\"Answers\">%ui"
                             "<td data-n=\"Last\">", d->count);
        ngx_mapi_html_time(t, d->last);
        ngx_mapi_text_format(t, "</tr>\n");
    }

    ngx_mapi_text_format(t, "</tbody></table>\n");
}


static void
ngx_mapi_html_time(ngx_mapi_text_t *t, time_t when)
{
    ngx_tm_t  tm;

    ngx_gmtime(when, &tm);

    ngx_mapi_text_format(t, "%4d-%02d-%02d %02d:%02d:%02d&nbsp;UTC",
                         tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                         tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
}


static char *
ngx_mapi_html_class(ngx_mapi_verdict_e verdict)
{
    switch (verdict) {

    case ngx_mapi_verdict_alive:
        return "ok";

    case ngx_mapi_verdict_unknown:
    case ngx_mapi_verdict_draining:
        return "warn";

    default:
        return "bad";
    }
}
