#include "app/ppl_skip.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"

typedef struct {
    float   *to;               /* [rows][n_vocab] */
    uint32_t n_vocab, rows;
    uint64_t first_ns, last_ns; /* when the first and the last row came */
} run;
typedef struct { double nll; uint64_t n; double *tok_s; } side; /* whole or not: -ln p summed; by chunk */
typedef struct {
    side     whole, less;
    double   kl, kl2;
    uint64_t same;             /* the likeliest token is */
    uint64_t tested, exited;
} sums;

static bool keep(void *arg, uint32_t pos, const float *logits)
{
    run *r = arg;
    (void)pos;
    memcpy(r->to + (size_t)r->rows++ * r->n_vocab, logits, r->n_vocab * sizeof *logits);
    r->last_ns  = sr_now_ns();
    r->first_ns = r->first_ns ? r->first_ns : r->last_ns;
    return true;
}

static double log_sum(const float *x, uint32_t n, uint32_t *best)
{
    double sum = 0;
    *best      = 0;
    for (uint32_t i = 1; i < n; i++)
        *best = x[i] > x[*best] ? i : *best;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)(x[i] - x[*best]));
    return log(sum) + (double)x[*best];
}

static void compare(const run *a, const run *b, const int32_t *next, uint32_t rows, sums *s)
{
    for (uint32_t r = 0; r < rows; r++) {
        const float *x = a->to + (size_t)r * a->n_vocab, *y = b->to + (size_t)r * a->n_vocab;
        uint32_t     bx, by;
        double       lx = log_sum(x, a->n_vocab, &bx), ly = log_sum(y, a->n_vocab, &by), kl = 0;
        for (uint32_t i = 0; i < a->n_vocab; i++) {
            double p = (double)x[i] - lx;
            kl += exp(p) * (p - ((double)y[i] - ly));
        }
        s->kl += kl;
        s->kl2 += kl * kl;
        s->same += bx == by;
        s->whole.nll -= (double)x[next[r]] - lx;
        s->less.nll -= (double)y[next[r]] - ly;
        s->whole.n++;
        s->less.n++;
    }
}

/* The second half of a chunk; the time is from its first row to its last. */
static sr_status evaluate(const sr_pplskip *o, sr_session *s, const int32_t *tok, float skip, float certain, run *r, double *t, sr_err *err)
{
    r->rows     = 0;
    r->first_ns = 0;
    if ((o->cfg->skip_threshold > 0 && sr_model_skip(s->model, skip, err)) || sr_model_early_exit(s->model, certain, o->cfg->exit_layer, err) ||
        sr_model_eval(s->model, tok, o->chunk - 1, o->chunk / 2, keep, r, err))
        return err->status;
    *t = (double)(r->rows - 1) * 1e9 / (double)SR_MAX(r->last_ns - r->first_ns, 1u);
    return SR_OK;
}

static double ppl(const side *s) { return exp(s->nll / (double)s->n); }

/* Medians: other work on the machine holds up some chunks, not most. */
static double rate(const sr_pplskip *o, const side *s, double *room)
{
    memcpy(room, s->tok_s, o->chunks * sizeof *room);
    return sr_bench_spread(room, o->chunks).median;
}

static double gain(const sr_pplskip *o, const sums *x, double *room)
{
    for (uint32_t i = 0; i < o->chunks; i++)
        room[i] = x->less.tok_s[i] / x->whole.tok_s[i];
    return sr_bench_spread(room, o->chunks).median;
}

static void report(const sr_pplskip *o, const sr_session *s, const sums *x, double *room)
{
    const sr_blockinfo *b    = sr_model_blocks(s->model);
    uint32_t            n    = 2 * s->info.n_layer, out = sr_model_skipped(s->model).blocks;
    double              kl   = x->kl / (double)x->whole.n, var = x->kl2 / (double)x->whole.n - kl * kl;
    double              whole = rate(o, &x->whole, room), less = rate(o, &x->less, room), times = gain(o, x, room);
    double              ends = x->tested ? (double)x->exited / (double)x->tested : 0;
    if (o->json) {
        sr_buf   text = {0};
        sr_jsonw w    = {.out = &text};
        sr_json_obj(&w, NULL);
        sr_json_str(&w, "model", s->id);
        sr_json_str(&w, "file", o->file);
        sr_json_uint(&w, "chunks", o->chunks);
        sr_json_uint(&w, "tokens", x->whole.n);
        sr_json_num(&w, "ppl_whole", ppl(&x->whole));
        sr_json_num(&w, "ppl", ppl(&x->less));
        sr_json_num(&w, "kl", kl);
        sr_json_num(&w, "same_top", (double)x->same / (double)x->whole.n);
        sr_json_num(&w, "tok_s_whole", whole);
        sr_json_num(&w, "tok_s", less);
        sr_json_num(&w, "speed", times);
        sr_json_uint(&w, "blocks", n);
        sr_json_uint(&w, "blocks_left_out", out);
        sr_json_uint(&w, "exit_tests", x->tested);
        sr_json_uint(&w, "exits", x->exited);
        sr_json_arr(&w, "cosine");
        for (uint32_t i = 0; b && i < n; i++)
            sr_json_f32(&w, NULL, b[i].cosine);
        sr_json_end(&w);
        sr_json_end(&w);
        printf("%s\n", text.p ? text.p : "");
        sr_buf_end(&text);
        return;
    }
    for (uint32_t l = 0; b && o->cfg->verbose && l < n / 2; l++)
        fprintf(stderr, "layer %2u: attention %.4f%s, feed-forward %.4f%s\n", l, (double)b[2 * l].cosine, b[2 * l].left_out ? " left out" : "",
                (double)b[2 * l + 1].cosine, b[2 * l + 1].left_out ? " left out" : "");
    printf("%s, %u chunks of %u, %llu tokens scored one by one\n", s->id, o->chunks, o->chunk, (unsigned long long)x->whole.n);
    printf("whole     PPL %9.4f  %8.1f tok/s\n", ppl(&x->whole), whole);
    printf("less      PPL %9.4f  %8.1f tok/s (%+.1f %%)  KL %.4f +- %.4f, same likeliest token %.1f %%\n", ppl(&x->less), less, 100 * (times - 1), kl, sqrt(SR_MAX(var, 0) / (double)x->whole.n), 100 * (double)x->same / (double)x->whole.n);
    printf("left out  %u of %u blocks in every step; %.1f %% of the steps tested ended early\n", out, n, 100 * ends);
}

sr_status sr_ppl_skip(const sr_pplskip *o, sr_session *s, sr_err *err)
{
    uint32_t rows = o->chunk - 1 - o->chunk / 2;
    run      a    = {.n_vocab = s->info.n_vocab}, b = a;
    sums     x    = {0};
    if (!s->model)
        return sr_raise(err, SR_UNSUPPORTED, "an engine in a process of its own");
    a.to = sr_calloc((size_t)rows * a.n_vocab, sizeof *a.to);
    b.to = sr_calloc((size_t)rows * b.n_vocab, sizeof *b.to);
    double *room  = sr_calloc(3 * (size_t)o->chunks, sizeof *room);
    x.whole.tok_s = room ? room + o->chunks : NULL;
    x.less.tok_s  = room ? room + 2 * (size_t)o->chunks : NULL;
    if (!a.to || !b.to || !room)
        sr_raise(err, SR_NOMEM, "host: memory for the logits of %u tokens", rows);
    for (uint32_t i = 0; i < o->chunks && !err->status; i++) {
        int32_t *tok = o->tok + (size_t)i * o->chunk;
        if (o->bos >= 0)
            tok[0] = o->bos;
        if (evaluate(o, s, tok, 0, 1, &a, &x.whole.tok_s[i], err))
            break;
        sr_skipcount before = sr_model_skipped(s->model);
        if (evaluate(o, s, tok, o->cfg->skip_threshold, o->cfg->early_exit > 0 ? o->cfg->early_exit : 1, &b, &x.less.tok_s[i], err))
            break;
        x.tested += sr_model_skipped(s->model).tested - before.tested;
        x.exited += sr_model_skipped(s->model).exited - before.exited;
        compare(&a, &b, tok + o->chunk / 2 + 1, rows, &x);
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[Kchunk %u of %u: %.4f, whole %.4f", i + 1, o->chunks, ppl(&x.less), ppl(&x.whole));
    }
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (!err->status)
        report(o, s, &x, room);
    sr_free(room);
    sr_free(a.to);
    sr_free(b.to);
    return err->status;
}
