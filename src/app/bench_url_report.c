/* bench_url_report.c - see bench_url_report.h. */
#include "app/bench_url_report.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/jsonw.h"
#include "base/mem.h"

#define MS(d, q) (sr_dist_at(&(d), q) * 1e-6)

static double per_s(uint64_t n, const sr_loadstat *s) { return s->seconds > 0 ? (double)n / s->seconds : 0; }

void sr_load_head(const sr_loadreport *r, sr_buf *o)
{
    sr_buf_fmt(o, "%s, %s: %s\nprompts: %s; answers of at most %u tokens", r->url, r->api, r->model, r->prompts, r->max_tokens);
    if (r->idle)
        sr_buf_fmt(o, "; %u idle connections beside", r->idle);
    sr_buf_fmt(o, "\n\n%10s %8s %6s %9s %10s | %-26s | %-26s | %-26s\n", "", "", "", "", "", "   first text, ms", "   between texts, ms", "   whole answer, ms");
    sr_buf_fmt(o, "%10s %8s %6s %9s %10s | %8s %8s %8s | %8s %8s %8s | %8s %8s %8s\n", r->n_row && r->row->concurrency == 0 ? "rate/s" : "clients",
               "answers", "errors", "req/s", "tok/s", "p50", "p90", "p99", "p50", "p90", "p99", "p50", "p90", "p99");
}

static void put_errors(const sr_loadstat *s, sr_buf *o)
{
    for (int k = 0; k < SR_LERR_COUNT; k++) {
        if (!s->errors[k])
            continue;
        sr_buf_fmt(o, "           %llu x %s", (unsigned long long)s->errors[k], sr_lerr_name[k]);
        if (k == SR_LERR_STATUS)
            for (int i = 0; i < SR_STATUSES && s->status[i].n; i++)
                sr_buf_fmt(o, "%s%d: %llu", i ? ", " : " (", s->status[i].status, (unsigned long long)s->status[i].n);
        sr_buf_fmt(o, "%s; the first: %s\n", k == SR_LERR_STATUS ? ")" : "", s->text[k]);
    }
    if (s->idle_lost)
        sr_buf_fmt(o, "           %llu idle connections were not to be had, or were closed by the server\n", (unsigned long long)s->idle_lost);
}

void sr_load_line(const sr_loadstat *s, sr_buf *o)
{
    if (s->concurrency)
        sr_buf_fmt(o, "%10u", s->concurrency);
    else
        sr_buf_fmt(o, "%10.4g", s->rate);
    sr_buf_fmt(o, " %8llu %6llu %9.2f %10.1f | %8.2f %8.2f %8.2f | %8.3f %8.3f %8.3f | %8.1f %8.1f %8.1f\n", (unsigned long long)s->n_ok,
               (unsigned long long)s->n_error, per_s(s->n_ok, s), per_s(s->tokens, s), MS(s->ttft, .5), MS(s->ttft, .9), MS(s->ttft, .99),
               MS(s->gap, .5), MS(s->gap, .9), MS(s->gap, .99), MS(s->total, .5), MS(s->total, .9), MS(s->total, .99));
    put_errors(s, o);
}

void sr_load_foot(const sr_loadreport *r, sr_buf *o)
{
    uint64_t told = 0, guessed = 0, cut = 0, prompt = 0, n_prompt = 0, tokens = 0, events = 0;
    for (uint32_t i = 0; i < r->n_row; i++) {
        told += r->row[i].n_usage, guessed += r->row[i].n_guess, cut += r->row[i].n_cut;
        prompt += r->row[i].prompt_tokens, n_prompt += r->row[i].n_prompt;
        tokens += r->row[i].tokens, events += r->row[i].events;
    }
    sr_buf_char(o, '\n');
    if (n_prompt)
        sr_buf_fmt(o, "prompts had %.1f tokens on average; ", (double)prompt / (double)n_prompt);
    if (told && !guessed)
        sr_buf_str(o, "tokens are those the server told (usage)");
    else if (told)
        sr_buf_fmt(o, "tokens are those the server told (usage) for %llu requests, events with text for %llu", (unsigned long long)told,
                   (unsigned long long)guessed);
    else if (guessed)
        sr_buf_str(o, "the server told no usage: tokens are events with text");
    else
        sr_buf_str(o, "no text came (a row ends early when its first sixteen requests all fail)");
    if (events)
        sr_buf_fmt(o, "; %.2f tokens an event", (double)tokens / (double)events);
    if (cut)
        sr_buf_fmt(o, "; %llu requests were cut off when the time was over", (unsigned long long)cut);
    sr_buf_char(o, '\n');
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static void put_dist(sr_jsonw *w, const char *key, const sr_dist *d)
{
    static const struct { const char *name; double q; } at[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}};
    sr_json_obj(w, key);
    sr_json_uint(w, "n", d->n);
    sr_json_num(w, "mean", sr_dist_mean(d) * 1e-6);
    sr_json_num(w, "min", d->min * 1e-6);
    for (size_t i = 0; i < SR_COUNT(at); i++)
        sr_json_num(w, at[i].name, sr_dist_at(d, at[i].q) * 1e-6);
    sr_json_num(w, "max", d->max * 1e-6);
    sr_json_end(w);
}

static void put_row(sr_jsonw *w, const sr_loadstat *s)
{
    sr_json_obj(w, NULL);
    if (s->concurrency)
        sr_json_uint(w, "clients", s->concurrency);
    else
        sr_json_num(w, "rate", s->rate);
    sr_json_num(w, "seconds", s->seconds);
    sr_json_uint(w, "answers", s->n_ok);
    sr_json_uint(w, "cut", s->n_cut);
    sr_json_uint(w, "most_at_once", s->most);
    sr_json_uint(w, "connections", s->connections);
    sr_json_uint(w, "idle_lost", s->idle_lost);
    sr_json_num(w, "req_s", per_s(s->n_ok, s));
    sr_json_num(w, "tok_s", per_s(s->tokens, s));
    sr_json_num(w, "events_s", per_s(s->events, s));
    sr_json_num(w, "bytes_s", per_s(s->bytes, s));
    sr_json_uint(w, "tokens", s->tokens);
    sr_json_str(w, "tokens_from", !s->n_usage ? "events" : s->n_guess ? "usage and events" : "usage");
    if (s->n_prompt) {
        sr_json_num(w, "prompt_tokens", (double)s->prompt_tokens / (double)s->n_prompt);
        sr_json_num(w, "cached_tokens", (double)s->cached_tokens / (double)s->n_prompt);
    }
    put_dist(w, "ttft_ms", &s->ttft);
    put_dist(w, "gap_ms", &s->gap);
    put_dist(w, "tpot_ms", &s->tpot);
    put_dist(w, "total_ms", &s->total);
    sr_json_obj(w, "errors");
    for (int k = 0; k < SR_LERR_COUNT; k++)
        if (s->errors[k])
            sr_json_uint(w, sr_lerr_name[k], s->errors[k]);
    sr_json_end(w);
    sr_json_arr(w, "messages");
    for (int k = 0; k < SR_LERR_COUNT; k++)
        if (s->errors[k])
            sr_json_str(w, NULL, s->text[k]);
    sr_json_end(w);
    sr_json_end(w);
}

void sr_load_json(const sr_loadreport *r, sr_buf *o)
{
    sr_jsonw w = {.out = o, .indent = 2};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "url", r->url);
    sr_json_str(&w, "api", r->api);
    sr_json_str(&w, "model", r->model);
    sr_json_str(&w, "prompts", r->prompts);
    sr_json_uint(&w, "max_tokens", r->max_tokens);
    sr_json_uint(&w, "idle", r->idle);
    sr_json_arr(&w, "rows");
    for (uint32_t i = 0; i < r->n_row; i++)
        put_row(&w, &r->row[i]);
    sr_json_end(&w);
    sr_json_end(&w);
    sr_buf_char(o, '\n');
}

/* ---- CSV ------------------------------------------------------------------------------------------------- */

void sr_load_csv(const sr_loadreport *r, sr_buf *o)
{
    static const double at[] = {.5, .9, .99};
    sr_buf_str(o, "clients,rate,seconds,answers,cut,errors,req_s,tok_s,events_s,tokens_from,ttft_p50_ms,ttft_p90_ms,ttft_p99_ms,gap_p50_ms,gap_p90_ms,"
                  "gap_p99_ms,tpot_p50_ms,tpot_p90_ms,tpot_p99_ms,total_p50_ms,total_p90_ms,total_p99_ms\n");
    for (uint32_t i = 0; i < r->n_row; i++) {
        const sr_loadstat *s = &r->row[i];
        const sr_dist     *d[] = {&s->ttft, &s->gap, &s->tpot, &s->total};
        sr_buf_fmt(o, "%u,%g,%.3f,%llu,%llu,%llu,%.3f,%.1f,%.1f,%s", s->concurrency, s->rate, s->seconds, (unsigned long long)s->n_ok,
                   (unsigned long long)s->n_cut, (unsigned long long)s->n_error, per_s(s->n_ok, s), per_s(s->tokens, s), per_s(s->events, s),
                   !s->n_usage ? "events" : s->n_guess ? "both" : "usage");
        for (size_t k = 0; k < SR_COUNT(d); k++)
            for (size_t q = 0; q < SR_COUNT(at); q++)
                sr_buf_fmt(o, ",%.3f", sr_dist_at(d[k], at[q]) * 1e-6);
        sr_buf_char(o, '\n');
    }
}
