#include "app/bench_ops.h"
#include "base/mem.h"

#include <stdio.h>

enum { LINES = 256 };

typedef struct { sr_optable ops, steps; const sr_opslimits *limit; double sum, whole; } table; /* ns a step */

/* Share of the limit that binds a line; 0: none is known. */
static double near_limit(const sr_opstat *s, const sr_opslimits *limit, const char **name)
{
    double ns = (double)SR_MAX(s->ns, (uint64_t)1) * 1e-9;
    double memory = limit->read > 0 ? s->bytes / limit->read / ns : 0, matrix = limit->peak > 0 ? s->flops / limit->peak / ns : 0;
    *name = matrix > memory ? "matrix" : memory > 0 ? "memory" : "";
    return SR_MAX(memory, matrix);
}

static double us_of(double ns) { return ns * 1e-3; }

static void text_line(const sr_opline *l, const table *t)
{
    double      steps = (double)SR_MAX(t->ops.steps, (uint64_t)1), calls = (double)SR_MAX(l->stat.calls, (uint64_t)1), ns = (double)SR_MAX(l->stat.ns, (uint64_t)1);
    char        share[24] = "", kcycles[16] = "";
    const char *name;
    double      near = near_limit(&l->stat, t->limit, &name);
    if (near > 0)
        snprintf(share, sizeof share, "%.2f %s", near, name);
    if (l->stat.cycles)
        snprintf(kcycles, sizeof kcycles, "%.1f", (double)l->stat.cycles / calls * 1e-3);
    printf("  %-19s %-11.11s %6.1f %5.1f%% %10.2f %9s %9.3f %8.1f %9.1f %11s  %s\n", l->op, l->format, calls / steps, 100 * ns / steps / t->sum,
           us_of(ns / calls), kcycles, l->stat.bytes / calls * 1e-6, l->stat.bytes / ns, l->stat.flops / ns, share, l->weights);
}

static void json_line(const sr_opline *l, const table *t, sr_jsonw *w)
{
    double      steps = (double)SR_MAX(t->ops.steps, (uint64_t)1), calls = (double)SR_MAX(l->stat.calls, (uint64_t)1), ns = (double)SR_MAX(l->stat.ns, (uint64_t)1);
    const char *name;
    double      near = near_limit(&l->stat, t->limit, &name);
    sr_json_obj(w, NULL);
    sr_json_str(w, "op", l->op);
    sr_json_str(w, "weights", l->weights);
    sr_json_str(w, "format", l->format);
    sr_json_uint(w, "ops", l->n_op);
    sr_json_uint(w, "calls", l->stat.calls);
    sr_json_num(w, "calls_per_step", calls / steps);
    sr_json_num(w, "share", ns / steps / t->sum);
    sr_json_num(w, "us", us_of(ns / calls));
    if (l->stat.cycles)
        sr_json_num(w, "reference_cycles", (double)l->stat.cycles / calls);
    sr_json_num(w, "bytes", l->stat.bytes / calls);
    sr_json_num(w, "gb_s", l->stat.bytes / ns);
    if (t->limit->read > 0)
        sr_json_num(w, "of_read", l->stat.bytes / ns / (t->limit->read * 1e-9));
    sr_json_num(w, "gflop_s", l->stat.flops / ns);
    if (t->limit->peak > 0)
        sr_json_num(w, "of_peak", l->stat.flops / ns / (t->limit->peak * 1e-9));
    if (near > 0) {
        sr_json_num(w, "of_limit", near);
        sr_json_str(w, "limit", name);
    }
    sr_json_end(w);
}

static void text(const table *t)
{
    printf("  %-19s %-11s %6s %6s %10s %9s %9s %8s %9s %11s  %s\n", "op", "format", "a step", "time", "us/call", "kcycles", "MB/call", "GB/s", "GFLOP/s",
           "of limit", "weights");
    for (size_t i = 0; i < t->ops.n; i++)
        text_line(&t->ops.line[i], t);
    printf("  %.1f us a step in these lines; %.1f us when nobody looks between them; rest %.1f us, %.1f %%\n", us_of(t->sum), us_of(t->whole),
           us_of(t->whole - t->sum), t->whole > 0 ? 100 * (t->whole - t->sum) / t->whole : 0);
    fflush(stdout);
}

static void json_of(const table *t, sr_jsonw *w)
{
    sr_json_arr(w, "ops");
    for (size_t i = 0; i < t->ops.n; i++)
        json_line(&t->ops.line[i], t, w);
    sr_json_end(w);
    sr_json_obj(w, "step");
    sr_json_uint(w, "steps", t->steps.steps);
    sr_json_num(w, "us", us_of(t->whole));
    sr_json_num(w, "ops_us", us_of(t->sum));
    sr_json_num(w, "rest_us", us_of(t->whole - t->sum));
    sr_json_end(w);
}

/* One run, timed as `what`. */
static sr_status timed(sr_model *m, sr_timing what, sr_benchrun run, void *arg, sr_optable *out, sr_err *err)
{
    if (sr_model_profile(m, what, NULL, err) || run(arg, err))
        return err->status;
    return sr_model_profile(m, SR_TIME_NOTHING, out, err);
}

sr_status sr_bench_ops(sr_model *m, sr_benchrun run, void *arg, const sr_opslimits *limit, sr_jsonw *json, sr_err *err)
{
    sr_opline *line = sr_calloc(LINES, sizeof *line);
    table      t    = {.limit = limit, .ops = {.line = line, .cap = LINES}, .steps = {.line = line, .cap = LINES}};
    if (!line)
        return sr_raise(err, SR_NOMEM, "host: memory for %d lines of a table", LINES);
    if (timed(m, SR_TIME_STEPS, run, arg, &t.steps, err) == SR_OK && timed(m, SR_TIME_OPS, run, arg, &t.ops, err) == SR_OK) {
        for (size_t i = 0; i < t.ops.n; i++)
            t.sum += (double)line[i].stat.ns;
        t.sum   = SR_MAX(t.sum / (double)SR_MAX(t.ops.steps, (uint64_t)1), 1.0);
        t.whole = (double)t.steps.ns / (double)SR_MAX(t.steps.steps, (uint64_t)1);
        if (json)
            json_of(&t, json);
        else
            text(&t);
    }
    sr_free(line);
    return err->status;
}
