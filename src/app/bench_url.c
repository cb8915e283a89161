/* bench_url.c - strata bench --url: what is asked of a server, row after row. */
#include "app/bench_url.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/bench_url_client.h"
#include "app/bench_url_event.h"
#include "app/bench_url_prompt.h"
#include "app/bench_url_report.h"
#include "app/commands.h"
#include "base/mem.h"

enum { ROWS_MAX = SR_OPT_LIST_MAX, RATE_SECONDS = 32, PROMPT_WORDS = 128, WARM_TOKENS = 16, DESCRIPTORS_BESIDE = 64 };

typedef struct {
    sr_urlcfg    *cfg;
    sr_nettarget  target;
    sr_prompts    prompts;
    const char   *key;
    char          model[256], about[300];
    double        rate[ROWS_MAX]; uint32_t n_rate;
    sr_loadstat  *row; uint32_t n_row;
    uint64_t      index;           /* of the next request: no prompt is asked twice */
    char          label[32];       /* of the row being measured */
} test;

bool sr_bench_url_wanted(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strncmp(argv[i], "--url", 5) == 0 && (argv[i][5] == 0 || argv[i][5] == '='))
            return true;
    return false;
}

/* "0.5,1,2" */
static sr_status read_rates(test *t, sr_err *err)
{
    for (const char *p = t->cfg->rates; p;) {
        char  *end;
        double v = strtod(p, &end);
        if (end == p || (*end && *end != ',') || !(v > 0) || !isfinite(v) || v > 1e6)
            return sr_raise(err, SR_INVALID, "--request-rate \"%.80s\": numbers above 0, at most 1000000, with commas between", t->cfg->rates);
        if (t->n_rate == ROWS_MAX)
            return sr_raise(err, SR_INVALID, "--request-rate: more than %d values", ROWS_MAX);
        t->rate[t->n_rate++] = v;
        p = *end ? end + 1 : NULL;
    }
    return SR_OK;
}

/* A descriptor a connection. */
static sr_status raise_descriptors(const sr_urlcfg *c, sr_err *err)
{
    struct rlimit l;
    uint64_t      need = c->idle + DESCRIPTORS_BESIDE;
    uint32_t      most = 0;
    for (uint32_t i = 0; i < c->concurrency.n && !c->rates; i++)
        most = SR_MAX(most, c->concurrency.v[i]);
    need += most;
    if (getrlimit(RLIMIT_NOFILE, &l))
        return SR_OK;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur < need)
        return sr_raise(err, SR_INVALID, "%llu connections need more open files than the limit of %llu (ulimit -n)", (unsigned long long)need,
                        (unsigned long long)l.rlim_cur);
    return SR_OK;
}

static sr_status ask_model(test *t, sr_err *err)
{
    sr_buf body = {0};
    int    status = 0;
    if (t->cfg->model) {
        snprintf(t->model, sizeof t->model, "%s", t->cfg->model);
        return SR_OK;
    }
    if (sr_load_get(&t->target, "/models", t->key, t->cfg->timeout_s * 1000, &status, &body, err) == SR_OK) {
        sr_loadfacts f = {0};
        char         shown[160], said[200] = "";
        if (status != 200 && sr_load_facts(body.p ? body.p : "", body.n, &f) && f.message[0])
            snprintf(said, sizeof said, " (%s)", sr_escape(shown, sizeof shown, f.message, strlen(f.message)));
        if (status != 200)
            sr_raise(err, SR_IO, "%s/models: status %d%s; name a model with --model, or give a URL with the API's path", t->cfg->url, status, said);
        else if (!sr_load_model_id(body.p ? body.p : "", body.n, t->model, sizeof t->model) || !t->model[0])
            sr_raise(err, SR_IO, "%s/models names no model; name one with --model", t->cfg->url);
    }
    sr_buf_end(&body);
    return err->status;
}

static sr_status check(sr_urlcfg *c, sr_err *err)
{
    if (c->rates && c->concurrency.n)
        return sr_raise(err, SR_INVALID, "--request-rate and --concurrency: one of them");
    if (c->prompt_file && c->prompt)
        return sr_raise(err, SR_INVALID, "--prompts and --prompt-tokens: one of them");
    if (!c->concurrency.n)
        c->concurrency = (sr_optlist){{1, 2, 4, 8}, 4};
    c->prompt = c->prompt ? c->prompt : PROMPT_WORDS;
    if (c->seconds > 0 && c->requests)
        return sr_raise(err, SR_INVALID, "--duration and --requests: one of them");
    if (c->prefix > c->prompt)
        return sr_raise(err, SR_INVALID, "--prefix-tokens %u is more than --prompt-tokens %u", c->prefix, c->prompt);
    if (c->prompt_file && c->prefix)
        return sr_raise(err, SR_INVALID, "--prefix-tokens is of made-up prompts, not of --prompts");
    return SR_OK;
}

static sr_status prepare(test *t, sr_err *err)
{
    sr_urlcfg  *c   = t->cfg;
    const char *env = sr_app_env("STRATA_API_KEY");
    if (check(c, err))
        return err->status;
    t->key     = c->api_key ? c->api_key : env && *env ? env : NULL;
    t->prompts = (sr_prompts){.chat = strcmp(c->api, "chat") == 0, .ignore_eos = c->ignore_eos, .usage = true, .words = c->prompt, .prefix = c->prefix,
                              .max_tokens = c->max_tokens, .temperature = c->temperature, .seed = c->seed};
    for (const char *k = t->key; k && *k; k++)
        if ((unsigned char)*k <= ' ' || (unsigned char)*k >= 0x7f)
            return sr_raise(err, SR_INVALID, "the API key holds a blank or a character that cannot stand in a header");
    if ((c->rates && read_rates(t, err)) || raise_descriptors(c, err) || sr_net_open(c->url, &(sr_netcfg){.insecure = c->insecure}, &t->target, err))
        return err->status;
    if (c->prompt_file) {
        if (sr_prompts_read(&t->prompts, c->prompt_file, err))
            return err->status;
        snprintf(t->about, sizeof t->about, "%u of %s, in turn", t->prompts.n_line, c->prompt_file);
    } else if (c->prefix) {
        snprintf(t->about, sizeof t->about, "%u words, the first %u the same in all", c->prompt, c->prefix);
    } else {
        snprintf(t->about, sizeof t->about, "%u words", c->prompt);
    }
    if (ask_model(t, err))
        return err->status;
    t->prompts.model = t->model;
    t->row = sr_calloc(ROWS_MAX, sizeof *t->row);
    return t->row ? SR_OK : sr_raise(err, SR_NOMEM, "host: memory for the results");
}

static void body(void *arg, uint64_t index, sr_buf *out) { sr_prompts_body(&((test *)arg)->prompts, index, out); }

static void progress(void *arg, const sr_loadstat *s, double seconds)
{
    const test *t = arg;
    fprintf(stderr, "\r\033[K%s: %.0f s, %llu answers, %llu errors", t->label, seconds, (unsigned long long)s->n_ok, (unsigned long long)s->n_error);
    fflush(stderr);
}

static sr_status run_row(test *t, uint32_t clients, double rate, uint64_t requests, double seconds, sr_loadstat *out, sr_err *err)
{
    bool        show = isatty(STDERR_FILENO);
    sr_loadplan p = {.target = &t->target, .path = t->prompts.chat ? "/chat/completions" : "/completions", .api_key = t->key, .body = body, .arg = t,
                     .first = t->index, .concurrency = clients, .idle = t->cfg->idle, .rate = rate, .requests = requests, .seconds = seconds,
                     .timeout_ms = t->cfg->timeout_s * 1000, .seed = t->cfg->seed, .progress = show ? progress : NULL};
    sr_status   st = sr_load_run(&p, out, err);
    if (show)
        fputs("\r\033[K", stderr);
    t->index += out->n_ok + out->n_cut + out->n_error;
    return st;
}

static void print(sr_buf *b)
{
    fwrite(b->p ? b->p : "", 1, b->n, stdout);
    fflush(stdout);
    b->n = 0;
}

static sr_status measure(test *t, sr_err *err)
{
    const sr_urlcfg *c = t->cfg;
    sr_buf           out = {0};
    uint32_t         n = c->rates ? t->n_rate : c->concurrency.n;
    sr_loadreport    r = {c->url, t->model, c->api, t->about, c->max_tokens, c->idle, t->row, 1};
    t->row[0].concurrency = !c->rates;
    if (c->warmup) {
        snprintf(t->label, sizeof t->label, "warming up");
        uint32_t idle = c->idle, most = c->max_tokens;
        t->cfg->idle  = 0;
        t->prompts.max_tokens = SR_MIN(most, (uint32_t)WARM_TOKENS); /* a short answer warms as well as a long one */
        sr_status st  = run_row(t, 1, 0, c->warmup, 0, &t->row[0], err);
        t->cfg->idle  = idle;
        t->prompts.max_tokens = most;
        if (st)
            return st;
        for (int k = 0; k < SR_LERR_COUNT && !t->row[0].n_ok; k++)
            if (t->row[0].errors[k])
                return sr_raise(err, SR_IO, "%s: no answer (%s): %s", c->url, sr_lerr_name[k], t->row[0].text[k]);
    }
    t->row[0].concurrency = !c->rates;
    sr_load_head(&r, &out);
    if (!c->json)
        print(&out);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t clients  = c->rates ? 0 : c->concurrency.v[i];
        double   rate     = c->rates ? t->rate[i] : 0;
        uint64_t requests = c->requests ? c->requests : c->seconds > 0 ? 0 : c->rates ? (uint64_t)ceil(rate * RATE_SECONDS) : SR_MAX(clients * 8u, 16u);
        snprintf(t->label, sizeof t->label, "%s %g", c->rates ? "rate" : "clients", c->rates ? rate : (double)clients);
        if (run_row(t, clients, rate, requests, (double)c->seconds, &t->row[i], err))
            break;
        t->n_row = i + 1;
        out.n    = 0;
        sr_load_line(&t->row[i], &out);
        if (!c->json)
            print(&out);
    }
    if (out.failed)
        sr_raise(err, SR_NOMEM, "host: memory for the table");
    sr_buf_end(&out);
    return err->status;
}

static sr_status write_file(const char *path, const sr_buf *b, sr_err *err)
{
    FILE *f = fopen(path, "we");
    bool  ok = f && fwrite(b->p, 1, b->n, f) == b->n;
    if (f && fclose(f))
        ok = false;
    return ok ? SR_OK : sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
}

static sr_status report(const test *t, sr_err *err)
{
    const sr_urlcfg    *c = t->cfg;
    const sr_loadreport r = {c->url, t->model, c->api, t->about, c->max_tokens, c->idle, t->row, t->n_row};
    const struct { const char *path; void (*write)(const sr_loadreport *, sr_buf *); } file[] = {{c->csv, sr_load_csv}, {c->svg, sr_load_svg}};
    sr_buf out = {0};
    (c->json ? sr_load_json : sr_load_foot)(&r, &out);
    print(&out);
    for (size_t i = 0; i < SR_COUNT(file) && !err->status; i++) {
        out.n = 0;
        if (!file[i].path)
            continue;
        file[i].write(&r, &out);
        if (out.failed)
            sr_raise(err, SR_NOMEM, "host: memory for %s", file[i].path);
        else
            write_file(file[i].path, &out, err);
    }
    sr_buf_end(&out);
    return err->status;
}

int sr_bench_url(sr_urlcfg *c)
{
    sr_err err = {0};
    test   t   = {.cfg = c};
    bool   bad = false;
    if (prepare(&t, &err) == SR_OK && measure(&t, &err) == SR_OK)
        report(&t, &err);
    for (uint32_t i = 0; i < t.n_row; i++)
        bad |= t.row[i].n_error > 0;
    sr_prompts_close(&t.prompts);
    sr_net_close(&t.target);
    sr_free(t.row);
    if (err.status)
        fprintf(stderr, "strata bench: %s\n", err.msg);
    return err.status || bad ? 1 : 0;
}
