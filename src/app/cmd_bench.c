/* cmd_bench.c - tokens per second of a model on this machine, through the engine's port, as a server would see it.
 *
 * pp<N>  N prompt tokens behind `depth` tokens that are already in the cache, and the first token of their answer, unless they
 *        fill the context that the model was trained for; from post to the end of the request.
 * tg<N>  N tokens made after `depth` tokens of context; from the first token to the last.
 * batch  so many sequences at once.  tg: each one's own rate, from its first token to its last, added up: they begin in different
 *        steps, and prompts of the others are no part of what is measured.  Whole pages of a context come from the cache.
 * host   (--ops, --json) the host's own work in a step, microseconds: commands, schedule, events.
 * Each row: one run that is not counted, then --runs; median, least and most.  Token ids are random, sampling is
 * greedy.  mbu of tg = (weights + KV bytes a step must read) x steps per second / measured read bandwidth of this
 * machine with the same threads; it can exceed 1 where the weights fit into the caches.  mfu = operations of the products and of attention
 * that the row's tokens need x their rate / what the matrix units of the device were measured to give (f16, sums in f32); not known of a
 * CPU, whose products are of several kinds with a ceiling each, nor with early exit, where it is not known who needs what.
 *
 * With --batch-file none of this: the requests of a file are answered (bench_batch.h).
 */
#ifdef SR_HAVE_TEXT
#include "app/bench_batch.h"
#include "app/bench_url.h"
#endif
#include "app/bench_ops.h"
#include "app/commands.h"
#include "app/paths.h"
#include "app/session.h"
#include "base/bench.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "engine/probe.h"
#include "base/philox.h"
#include "format/synth.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RUNS_MAX = 1000, RUNS = 5, BATCH_MAX = 1024, PAGE = 16, FILE_BATCH = 32 };

typedef struct {
    sr_sessioncfg cfg;
    sr_optlist    p, n, d, b;
    uint32_t      runs;
    bool          json;
    const char   *batch_file, *output;
    uint32_t      ctx; /* of a batch file */
} options;
typedef struct {
    const options *o;
    sr_session    *s;
    int32_t       *tok;           /* [batch][stride]: the contexts, then what a run puts behind them */
    uint32_t       stride;
    uint64_t      *arrival;       /* [batch] */
    uint32_t       fresh;         /* makes each run's tokens new */
    double         read_bw;       /* bytes/s; 0: not known */
    sr_peaks       peak;          /* operations/s; 0: not known */
    double         weight_bytes, kv_bytes; /* read per step; per token of context and sequence */
    sr_jsonw       w;
    sr_portstats   before;        /* of a row's measured runs */
    char           backend[16];
} bench;
typedef struct { bool prefill; uint32_t n, depth, batch; } row;

static uint32_t most(const sr_optlist *l)
{
    uint32_t m = 0;
    for (uint32_t i = 0; i < l->n; i++)
        m = SR_MAX(m, l->v[i]);
    return m;
}

static void fill(bench *b, uint32_t seq, uint32_t from, uint32_t n, uint32_t stream)
{
    uint32_t n_vocab = b->s->info.n_vocab;
    for (uint32_t i = 0; i < n; i++)
        b->tok[(size_t)seq * b->stride + from + i] =
            (int32_t)(sr_philox4(20260105, seq, from + i, stream, 0).v[0] % n_vocab);
}

static sr_status post(bench *b, uint32_t seq, uint32_t n_tok, uint32_t max_new, uint64_t id, sr_err *err)
{
    sr_request r  = {.id = id, .what = SR_GENERATE, .tok = b->tok + (size_t)seq * b->stride, .n_tok = n_tok,
                     .max_new = max_new, .ignore_eos = true,
                     .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
    sr_status  st = sr_port_post(b->s->port, &r, err);
    return st == SR_AGAIN ? sr_raise(err, SR_INVALID, "%u tokens do not fit the engine's queue", n_tok) : st;
}

typedef struct { uint64_t posted, last; uint32_t made; double tok_s; } times; /* end of the last request; what all made a second, after their first tokens */

/* Posts one request for each sequence and waits for all.  Times are the engine's own (usage), so that a slow reader of
 * events on a busy machine does not distort them. */
static sr_status run_batch(bench *b, uint32_t batch, uint32_t n_tok, uint32_t max_new, times *t, sr_err *err)
{
    sr_event ev[64];
    uint64_t base = b->s->next_id + 1;
    uint32_t done = 0;
    size_t   n;
    *t = (times){.posted = sr_now_ns()};
    b->s->next_id += batch;
    for (uint32_t i = 0; i < batch; i++) {
        b->arrival[i] = sr_now_ns();
        if (post(b, i, n_tok, max_new, base + i, err))
            return err->status;
    }
    while (done < batch) {
        if (sr_session_wait(b->s, -1, ev, SR_COUNT(ev), &n, err))
            return err->status;
        for (size_t i = 0; i < n; i++) {
            if (ev[i].kind == SR_EV_ERROR)
                return sr_raise(err, ev[i].status, "%s", ev[i].msg);
            if (ev[i].kind != SR_EV_DONE)
                continue;
            t->made += ev[i].usage.made;
            uint64_t ns = ev[i].usage.ns_total - ev[i].usage.ns_queue - ev[i].usage.ns_prompt, made = ev[i].usage.made;
            t->last     = SR_MAX(t->last, b->arrival[ev[i].id - base] + ev[i].usage.ns_total);
            t->tok_s += made > 1 ? (double)(made - 1) / ((double)SR_MAX(ns, (uint64_t)1) * 1e-9) : 0;
            done++;
        }
    }
    return SR_OK;
}

/* Puts the contexts of a row into the cache. */
static sr_status warm(bench *b, const row *r, sr_err *err)
{
    times t;
    for (uint32_t i = 0; i < r->batch; i++)
        fill(b, i, 0, r->depth + 1, 0);
    return r->depth ? run_batch(b, r->batch, r->depth, 1, &t, err) : SR_OK;
}

static sr_status run_once(bench *b, const row *r, double *tok_s, sr_err *err)
{
    times    t;
    uint32_t ctx = r->depth + (r->prefill ? r->n : 1);
    b->fresh++;
    for (uint32_t i = 0; i < r->batch && r->prefill; i++)
        fill(b, i, r->depth, r->n, b->fresh);
    if (run_batch(b, r->batch, ctx, r->prefill ? 1 : r->n + 1, &t, err))
        return err->status;
    SR_ASSERT(!r->prefill || t.made == (ctx < b->s->info.ctx ? r->batch : 0), "%u tokens of %u were made", t.made, r->batch);
    *tok_s = r->prefill ? (double)r->n * r->batch / ((double)SR_MAX(t.last - t.posted, (uint64_t)1) * 1e-9) : t.tok_s;
    return SR_OK;
}

/* Where weights came in steps: what both sides did of a row's steps.  False: none did. */
typedef struct { double cpu_gbs, bus_gbs, cpu_idle_ms, bus_idle_ms, step_ms, cpu_share; } sides;

static bool measure_sides(const bench *b, sides *s)
{
    sr_portstats now;
    const sr_portstats *was = &b->before;
    sr_port_stats(b->s->port, &now);
    double steps = (double)(now.stream_steps - was->stream_steps), ns = (double)(now.ns_stream_steps - was->ns_stream_steps);
    double cpu = (double)(now.ns_cpu_busy - was->ns_cpu_busy), bus = (double)(now.ns_bus_busy - was->ns_bus_busy);
    if (steps <= 0)
        return false;
    *s = (sides){.cpu_gbs = cpu > 0 ? (double)(now.cpu_bytes - was->cpu_bytes) / cpu : 0, .bus_gbs = bus > 0 ? (double)(now.bus_bytes - was->bus_bytes) / bus : 0,
                 .cpu_idle_ms = SR_MAX(ns - cpu, 0) / steps * 1e-6, .bus_idle_ms = SR_MAX(ns - bus, 0) / steps * 1e-6, .step_ms = ns / steps * 1e-6,
                 .cpu_share = (double)now.cpu_share_ppm * 1e-6};
    return true;
}

static void print_sides(bench *b)
{
    sides s;
    if (!measure_sides(b, &s))
        return;
    if (!b->o->json) {
        printf("           a step %.3f ms; CPU %.2f GB/s, idle %.3f ms; bus %.2f GB/s, idle %.3f ms; the CPU computes %.0f %% of the feed-forwards\n",
               s.step_ms, s.cpu_gbs, s.cpu_idle_ms, s.bus_gbs, s.bus_idle_ms, s.cpu_share * 100);
        return;
    }
    sr_json_num(&b->w, "step_ms", s.step_ms);
    sr_json_num(&b->w, "cpu_gbs", s.cpu_gbs);
    sr_json_num(&b->w, "cpu_idle_ms", s.cpu_idle_ms);
    sr_json_num(&b->w, "bus_gbs", s.bus_gbs);
    sr_json_num(&b->w, "bus_idle_ms", s.bus_idle_ms);
    sr_json_num(&b->w, "cpu_share", s.cpu_share);
}

/* The host's own work in a step of this row, us. */
static double host_us(const bench *b)
{
    sr_portstats now;
    sr_port_stats(b->s->port, &now);
    uint64_t steps = now.steps - b->before.steps;
    return (double)(now.ns_host - b->before.ns_host) * 1e-3 / (double)SR_MAX(steps, (uint64_t)1);
}

/* Operations that a token of the row needs; 0: not known. */
static double flops_of(const bench *b, const row *r)
{
    uint32_t end = r->depth + r->n, made = r->prefill && end < b->s->info.ctx;
    sr_shape n   = {.tok = r->batch, .out = r->batch, .seq = r->batch};
    if (b->o->cfg.early_exit > 0)
        return 0;
    if (!r->prefill)
        return sr_model_flops(b->s->model, &n, r->batch * (r->depth + (r->n + 1) / 2)) / r->batch;
    n.tok *= r->n;
    n.out *= made;
    return sr_model_flops(b->s->model, &n, r->batch * end) / n.tok;
}

static void share(double v, char out[16]) /* nothing where it is not known */
{
    *out = 0;
    if (v >= 0)
        snprintf(out, 16, "%6.2f", v);
}

static void json_share(sr_jsonw *w, const char *key, double v)
{
    if (v >= 0)
        sr_json_num(w, key, v);
    else
        sr_json_null(w, key);
}

typedef struct { bench *b; const row *r; } again;

static sr_status once_more(void *arg, sr_err *err)
{
    const again *a = arg;
    double       tok_s;
    return run_once(a->b, a->r, &tok_s, err);
}

static sr_status ops(bench *b, const row *r, sr_jsonw *json, sr_err *err)
{
    const sr_opslimits limit = {.read = b->read_bw, .peak = b->peak.f16};
    again              a     = {b, r};
    return b->o->cfg.profile ? sr_bench_ops(b->s->model, once_more, &a, &limit, json, err) : SR_OK;
}

static sr_status report(bench *b, const row *r, const sr_spread *v, sr_err *err)
{
    const sr_modelinfo *i = &b->s->info;
    char                test[24];
    double              per_step = b->weight_bytes + b->kv_bytes * r->batch * (r->depth + r->n / 2.0);
    double              mbu = !r->prefill && b->read_bw > 0 ? per_step * (v->median / r->batch) / b->read_bw : -1;
    double              flops = flops_of(b, r) * v->median, mfu = flops > 0 && b->peak.f16 > 0 ? flops / b->peak.f16 : -1;
    snprintf(test, sizeof test, "%s%u", r->prefill ? "pp" : "tg", r->n);
    if (!b->o->json) {
        char of_memory[16], of_matrix[16];
        share(mbu, of_memory);
        share(mfu, of_matrix);
        printf("%-10s %8u %6u %12.1f %10.1f %10.1f %8s %8s\n", test, r->depth, r->batch, v->median, v->min, v->max, of_memory, of_matrix);
        print_sides(b);
        if (b->o->cfg.profile)
            printf("           host %.1f us a step\n", host_us(b));
        fflush(stdout);
        return ops(b, r, NULL, err);
    }
    sr_json_obj(&b->w, NULL);
    sr_json_str(&b->w, "model", b->s->id);
    sr_json_str(&b->w, "device", i->device);
    sr_json_str(&b->w, "backend", b->backend);
    sr_json_uint(&b->w, "threads", i->threads);
    sr_json_str(&b->w, "test", test);
    sr_json_uint(&b->w, "depth", r->depth);
    sr_json_uint(&b->w, "batch", r->batch);
    sr_json_num(&b->w, "tok_s", v->median);
    sr_json_num(&b->w, "tok_s_min", v->min);
    sr_json_num(&b->w, "tok_s_max", v->max);
    sr_json_uint(&b->w, "runs", b->o->runs);
    json_share(&b->w, "mbu", mbu);
    print_sides(b);
    sr_json_num(&b->w, "host_us", host_us(b));
    json_share(&b->w, "tflop_s", flops > 0 ? flops * 1e-12 : -1);
    json_share(&b->w, "mfu", mfu);
    if (ops(b, r, &b->w, err))
        return err->status;
    sr_json_end(&b->w);
    return SR_OK;
}

static sr_status run_row(bench *b, const row *r, sr_err *err)
{
    double v[RUNS_MAX];
    bool   show = isatty(STDERR_FILENO);
    if (warm(b, r, err))
        return err->status;
    for (uint32_t i = 0; i <= b->o->runs; i++) {
        double tok_s = 0;
        if (show)
            fprintf(stderr, "\r\033[K%s%u depth %u batch %u: run %u of %u", r->prefill ? "pp" : "tg", r->n, r->depth, r->batch,
                    i, b->o->runs);
        if (run_once(b, r, &tok_s, err))
            return err->status;
        if (i > 0)
            v[i - 1] = tok_s; /* the first one warms up */
        if (i == 0)
            sr_port_stats(b->s->port, &b->before);
    }
    if (show)
        fputs("\r\033[K", stderr);
    sr_spread s = sr_bench_spread(v, b->o->runs);
    return report(b, r, &s, err);
}

static sr_status prepare(bench *b, sr_err *err)
{
    const options *o = b->o;
    uint32_t       batch = most(&o->b);
    sr_portstats   st;
    b->stride = most(&o->d) + SR_MAX(most(&o->p), 1u) + 1;
    b->tok     = sr_calloc((size_t)batch * b->stride, sizeof *b->tok);
    b->arrival = sr_calloc(batch, sizeof *b->arrival);
    if (!b->tok || !b->arrival)
        return sr_raise(err, SR_NOMEM, "host: memory for %u prompts of %u tokens", batch, b->stride);
    const sr_modelinfo *i = &b->s->info;
    sr_port_stats(b->s->port, &st);
    if (st.pages_total)
        b->kv_bytes = (double)i->kv_bytes / (double)(st.pages_total * i->page_tokens);
    if (o->cfg.profile && sr_model_profile(b->s->model, SR_TIME_NOTHING, NULL, err)) /* but when it is asked */
        return err->status;
    if (i->on_host && (most(&o->n) > 0 || o->cfg.profile) && sr_bench_read(i->threads, 0, &b->read_bw, err))
        return sr_while(err, "measuring the memory");
    return SR_OK;
}

static sr_status run_all(bench *b, sr_err *err)
{
    const options *o = b->o;
    for (int prefill = 1; prefill >= 0; prefill--) {
        const sr_optlist *l = prefill ? &o->p : &o->n;
        for (uint32_t x = 0; x < l->n * o->d.n * o->b.n; x++) {
            row r = {prefill, l->v[x / o->b.n / o->d.n], o->d.v[x / o->b.n % o->d.n], o->b.v[x % o->b.n]};
            if (r.n && run_row(b, &r, err))
                return sr_while(err, "measuring %s%u at depth %u, batch %u", prefill ? "pp" : "tg", r.n, r.depth, r.batch);
        }
    }
    return SR_OK;
}

static void head(const bench *b)
{
    const sr_modelinfo *i = &b->s->info;
    printf("%s: %s, %.1f M parameters, %s, %.1f MB\n%s%s%s, %u %s%s", b->s->id, i->arch, (double)i->n_params * 1e-6,
           i->ftype, (double)i->bytes * 1e-6, i->device, *i->isa ? ", " : "", i->isa, i->threads,
           i->on_host ? "threads" : "multiprocessors", i->f32_activations ? ", activations of the CPU in f32" : "");
    if (b->peak.f16 > 0)
        printf("; matrices at %.0f TFLOP/s", b->peak.f16 * 1e-12);
    if (b->read_bw > 0)
        printf("; memory %s %.1f GB/s", i->on_host ? "reads" : "copies", b->read_bw * 1e-9);
    puts("\n");
    printf("%-10s %8s %6s %12s %10s %10s %8s %8s\n", "test", "depth", "batch", "tok/s", "min", "max", "mbu", "mfu");
}

/* What a step reads of the weights: all but the input embedding, unless that is the output matrix too. */
static void count_weights(bench *b, const sr_gguf *g)
{
    bool tied = !sr_gguf_tensor(g, "output.weight");
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        if (tied || strcmp(t->name, "token_embd.weight") != 0)
            b->weight_bytes += (double)t->bytes;
    }
}

/* What the file itself says: its weights, and the context the model was trained for.  Where it says nothing there is no end to that, and
 * opening the model says why. */
static sr_status look(bench *b, uint32_t *trained_for, sr_err *err)
{
    char        path[4096], key[128];
    sr_err      none = {0};
    sr_gguf    *g    = NULL;
    sr_gguf_str arch = {0};
    *trained_for     = UINT32_MAX;
    if (sr_model_path(b->o->cfg.model, path, sizeof path, err) || sr_synth_open(path, false, &g, err))
        return err->status;
    count_weights(b, g);
    if (sr_gguf_string(g, "general.architecture", &arch, &none) == SR_OK) {
        snprintf(key, sizeof key, "%.*s.context_length", (int)SR_MIN(arch.n, sizeof key), arch.p ? arch.p : "");
        if (sr_gguf_u32(g, key, trained_for, &none))
            *trained_for = UINT32_MAX;
    }
    sr_gguf_close(g);
    return SR_OK;
}

static int run(options *o)
{
    sr_err   err  = {0};
    sr_buf   text = {0};
    bench    b    = {.o = o, .w = {.out = &text, .indent = 2}};
    uint32_t batch = most(&o->b), ctx = most(&o->d) + SR_MAX(most(&o->p), most(&o->n) + 1), trained_for;
    sr_status st = look(&b, &trained_for, &err);
    ctx += ctx < trained_for; /* the first token of an answer */
    o->cfg.ctx      = SR_MAX(ctx, 16u);
    o->cfg.max_seqs = batch;
    o->cfg.kv_pages = batch * ((ctx + PAGE - 1) / PAGE + 2);
    char              why[200];
    const sr_backend *be = NULL;
    int               index;
    if (st == SR_OK && (st = sr_backend_pick(o->cfg.device, &be, &index, why, &err)) == SR_OK) {
        snprintf(b.backend, sizeof b.backend, "%s", be->name);
        sr_rates rates = {0};
        if (be != &sr_backend_cpu) /* before the model takes the memory */
            st = sr_probe_rates(be, index, &rates, &err);
        b.read_bw = rates.copy;
        b.peak    = rates.peak;
    }
    if (st == SR_OK)
        st = sr_session_open(&o->cfg, &b.s, &err);
    if (st == SR_OK && (st = prepare(&b, &err)) == SR_OK) {
        if (o->json)
            sr_json_arr(&b.w, NULL);
        else
            head(&b);
        st = run_all(&b, &err);
    }
    if (o->json && st == SR_OK) {
        sr_json_end(&b.w);
        printf("%s\n", text.p ? text.p : "[]");
    }
    sr_session_close(b.s);
    sr_free(b.tok);
    sr_free(b.arrival);
    sr_buf_end(&text);
    if (st)
        fprintf(stderr, "strata bench: %s\n", err.msg);
    return st ? 1 : 0;
}

static int wrong(const char *why)
{
    fprintf(stderr, "strata bench: %s\n", why);
    return 2;
}

#ifdef SR_HAVE_TEXT
static int run_file(options *o)
{
    sr_err err = {0};
    if (o->p.n || o->n.n || o->d.n || o->runs || o->cfg.profile || o->b.n > 1)
        return wrong("with --batch-file the requests say what is computed: no --prompt, --generate, --depth, --runs, --ops, and one --batch");
    if (!o->output)
        return wrong("--batch-file needs --output, the file of the results");
    o->cfg.ctx = o->ctx;
    if (sr_bench_batch(&(sr_benchbatch){&o->cfg, o->batch_file, o->output, o->b.n ? o->b.v[0] : FILE_BATCH, o->json}, &err) == SR_OK)
        return 0;
    fprintf(stderr, "strata bench: %s\n", err.msg);
    return 1;
}
#endif

static void fill_list(sr_optlist *l, uint32_t v)
{
    if (!l->n)
        *l = (sr_optlist){{v}, 1};
}

static int start(options *o)
{
#ifdef SR_HAVE_TEXT
    if (o->batch_file)
        return run_file(o);
#endif
    if (o->output || o->ctx)
        return wrong("--output and --ctx belong to --batch-file");
    fill_list(&o->p, 512);
    fill_list(&o->n, 128);
    fill_list(&o->d, 0);
    fill_list(&o->b, 1);
    o->runs = o->runs ? o->runs : RUNS;
    return run(o);
}

#ifdef SR_HAVE_TEXT
static size_t at(const sr_optspec *s, const char *name)
{
    size_t i = 0;
    while (strcmp(s->opt[i].name, name) != 0)
        i++;
    return i;
}

/* An option of the other use is named as such; opt_read() would call it unknown. */
static bool misplaced(const sr_opt *opt, size_t n, const char *why, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        for (size_t k = 0; k < n; k++)
            if (strncmp(argv[i], "--", 2) == 0 && strcspn(argv[i] + 2, "=") == strlen(opt[k].name) &&
                strncmp(argv[i] + 2, opt[k].name, strlen(opt[k].name)) == 0) {
                fprintf(stderr, "strata bench: --%s %s\n", opt[k].name, why);
                return true;
            }
    return false;
}

/* The table holds the options of both uses, for --help and completion; a call gets those of its own.  True: wrong. */
static bool choose_options(sr_optspec *s, bool url, int argc, char **argv)
{
    size_t shared = at(s, "model"), last = at(s, "url");
    if (argc == 2 && strncmp(argv[1], SR_OPT_HELP_AS, strlen(SR_OPT_HELP_AS)) == 0)
        return false;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return false;
    if (url) {
        if (misplaced(s->opt, shared, "is for a model here, not for --url", argc, argv))
            return true;
        s->opt += shared;
        s->n_opt -= shared;
        return false;
    }
    return misplaced(s->opt + last, s->n_opt - last, "is for a server: give its --url, too", argc, argv);
}
#endif

int sr_cmd_bench(int argc, char **argv)
{
    options o = {.cfg = {.device = "auto", .kv_k = "f16", .kv_v = "f16"}};
#ifdef SR_HAVE_TEXT
    sr_urlcfg server = SR_URL_DEFAULTS;
    bool      url    = sr_bench_url_wanted(argc, argv);
#endif
    const sr_opt opt[] = { /* of a model here, of both uses, of a server */
        SR_O_LIST("prompt", 'p', o.p, "N,N", "prompt lengths; 0: none; without it, 512", 0, 1 << 20),
        SR_O_LIST("generate", 'n', o.n, "N,N", "numbers of tokens to make; 0: none; without it, 128", 0, 1 << 20),
        SR_O_LIST("depth", 'd', o.d, "N,N", "tokens already in the context; without it, 0", 0, 1 << 20),
        SR_O_LIST("batch", 'b', o.b, "N,N", "sequences at once; without it, 1, for a batch file 32", 1, BATCH_MAX),
        SR_O_UINT("runs", 'r', o.runs, "N", "measured runs of each row; without it, 5", 1, RUNS_MAX),
        SR_O_COMPUTE(o.cfg),
#ifdef SR_HAVE_TEXT
        SR_O_SKIP(o.cfg),
#endif
        SR_O_FLAG("ops", 0, o.cfg.profile, "below each row, where a step's time went, by kind of launch"),
#ifdef SR_HAVE_TEXT
        SR_O_STR("batch-file", 0, o.batch_file, "FILE", "instead: answer the requests of a file in OpenAI's batch form, one a line (- is stdin)"),
        SR_O_STR("output", 0, o.output, "FILE", "where their results go, one a line; requests whose results are there already are left out"),
        SR_O_UINT("ctx", 'c', o.ctx, "N", "longest of these requests in tokens, answer included; without it, what the model was trained for, at most 8192", 16, 1 << 24),
#endif
        SR_O_FLAG("verbose", 'v', o.cfg.verbose, "what was loaded, on stderr"),
        SR_O_STR("model", 'm', o.cfg.model, "FILE", "GGUF file of the model; without it, the bundled demo model. With --url: the model's name there; without it, the first it lists"),
        SR_O_FLAG("json", 0, o.json, "JSON instead of a table: an array of rows; of a batch file and of a server one object"),
#ifdef SR_HAVE_TEXT
        SR_O_URL(server),
#endif
    };
    sr_optspec spec = {"bench", NULL,
                       "Measure tokens per second: prompts (pp), answers (tg), at several depths and batch sizes. mbu is "
                       "the share of this machine's measured memory bandwidth that a tg row uses, mfu the share of a GPU's measured matrix peak. With --url, measure a server: time to the first "
                       "text, between texts, of whole answers, and throughput, for several numbers of clients.",
                       opt, SR_COUNT(opt), .max_operands = 0,
                       .more = "examples:\n  strata bench -m model.gguf -p 512,2048 -n 128 -d 0,8192 -b 1,8,32 --json\n"
                               "  strata bench -m model.gguf --batch-file requests.jsonl --output results.jsonl -b 64\n"
                               "  strata bench --url http://127.0.0.1:8080 --concurrency 1,4,16 --prompt-tokens 512 --svg load.svg\n"};
#ifdef SR_HAVE_TEXT
    if (choose_options(&spec, url, argc, argv))
        return 2;
#endif
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
#ifdef SR_HAVE_TEXT
    if (url) {
        server.model = o.cfg.model;
        server.json  = o.json;
        return sr_bench_url(&server);
    }
#endif
    return start(&o);
}
