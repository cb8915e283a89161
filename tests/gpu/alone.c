/* alone.c - what a row owes to the rows beside it in a step, and a text's logits to the texts: prompts and single tokens, alone and in batches. */
#include "gpu.h"

#include <math.h>

#include "backend/cuda/internal.h"
#include "engine/internal.h"

#define BASE_Q4 "models/strata-demo-base-Q4_K_M.gguf"

enum { TEXTS = 128, LONGEST = 28, STEPS = 9, LENGTH = LONGEST + STEPS };

/* ---- products ----------------------------------------------------------------------------------------------- */

enum { ROWS = 200 };
enum { FED_SLOT, FED_NORM, FED_GLU, FEDS };

/* The first m of ROWS rows times one or two weights, of which the second is of format `other`; y: [m][width], the caller's. */
static bool product(uint64_t s, uint32_t m, uint16_t format, uint16_t other, uint32_t cols, uint32_t fed, float *y, uint32_t *width)
{
    const uint32_t rows = 16 * (1 + kit_below(&s, 90)), n_w = other ? 2 : 1, wide = fed == FED_GLU ? 2 * cols : cols;
    kit k               = {.n = {.tok = m, .seq = 1}, .max = {.tok = ROWS, .seq = 4}};
    *width              = rows + (other ? 48 : 0);
    kit_weight(&k, 0, format, gpu_weights(&k, format, rows, cols, &s), rows, cols);
    if (other)
        kit_weight(&k, 1, other, gpu_weights(&k, other, 48, cols, &s), 48, cols);
    float *norm = kit_own(&k, cols * sizeof *norm), *x = kit_own(&k, (size_t)ROWS * wide * sizeof *x);
    kit_fill(norm, cols, 1, &s);
    kit_fill(x, (size_t)ROWS * wide, 2, &s);
    kit_weight(&k, 2, SR_F32, norm, 1, cols);
    memcpy(kit_slot(&k, 1, SR_ROWS_TOK, wide, m), x, (size_t)m * wide * sizeof *x);
    kit_slot(&k, 2, SR_ROWS_TOK, cols, m);
    memset(kit_slot(&k, 3, SR_ROWS_TOK, *width, m), 0, (size_t)m * *width * 4);
    const sr_op ops[]  = {fed == FED_NORM ? (sr_op){.code = SR_OP_NORM, .in = {1}, .out = {2}, .w = 2, .n_w = 1, .dim = {cols, 0, 1}, .f = {1e-5f}}
                                          : (sr_op){.code = SR_OP_GLU, .in = {1}, .out = {2}, .dim = {cols}},
                          {.code = SR_OP_LINEAR, .in = {fed == FED_SLOT ? 1 : 2}, .out = {3}, .epilogue = SR_NONE, .w = 0, .n_w = (uint16_t)n_w, .dim = {cols, *width}}};
    gpu_run_args a     = {.tiles = true, .ops = ops + (fed == FED_SLOT), .n_ops = fed == FED_SLOT ? 1 : 2, .out[3] = y};
    k.op               = ops[1];
    const bool ok      = gpu_run(&k, &a);
    kit_free(&k);
    return ok;
}

/* Programs of small products for several sequences (ops/linear/alike.h): a row's numbers are the same to the bit, whoever is beside it. */
static void rows_of_small_products_are_the_same_alone(void)
{
    static const uint16_t formats[][2] = {{SR_Q4_K, 0}, {SR_Q5_K, 0}, {SR_Q6_K, 0}, {SR_F16, 0}, {SR_BF16, 0}, {SR_Q4_K, SR_Q6_K}, {SR_Q5_K, SR_Q6_K}, {SR_F16, SR_Q4_K}};
    static const uint32_t rows[] = {1, 2, 3, 4, 8, 9, 16, 17, 32, 33, 64, 65, 128};
    int arch = 0;
    CHECK(!sr_cuda_code_arch(&arch), "which code runs is not told");
    if (arch != 90) {
        gpu_say("only sm_90's products promise this");
        return;
    }
    uint64_t s = 31;
    for (uint32_t round = 0; round < SR_COUNT(formats) * FEDS; round++) {
        const uint16_t *f    = formats[round % SR_COUNT(formats)];
        const uint32_t cols  = 256 * (1 + kit_below(&s, 6)), fed = round / SR_COUNT(formats);
        const uint64_t seed  = kit_random(&s);
        uint32_t width       = 0;
        float *all           = sr_malloc((size_t)ROWS * 16 * 100 * sizeof *all), *some = sr_malloc((size_t)ROWS * 16 * 100 * sizeof *some);
        bool ok              = product(seed, ROWS, f[0], f[1], cols, fed, all, &width);
        for (uint32_t i = 0; i < SR_COUNT(rows) && ok; i++) {
            ok = product(seed, rows[i], f[0], f[1], cols, fed, some, &width);
            for (size_t k = 0; k < (size_t)rows[i] * width && ok; k++)
                ok = CHECK(memcmp(all + k, some + k, sizeof *all) == 0, "%s%s%s, %u inputs of way %u: row %zu column %zu is %.9g among %u rows, %.9g among %u",
                           sr_dtype_name(f[0]), f[1] ? "+" : "", f[1] ? sr_dtype_name(f[1]) : "", cols, fed, k / width, k % width, (double)some[k], rows[i],
                           (double)all[k], (uint32_t)ROWS);
        }
        sr_free(all);
        sr_free(some);
    }
}

/* ---- texts -------------------------------------------------------------------------------------------------- */

typedef struct {
    sr_kvseq *seq;
    int32_t tok[LENGTH];
    uint32_t done, have; /* tokens computed; known */
} text;

/* A step of all tokens that are not computed; logits: of each text's last, [n][vocab]. */
static bool step(sr_model *m, text *t, uint32_t n, float *logits)
{
    sr_err err    = {0};
    sr_block *b   = &m->block;
    void *at      = NULL;
    size_t have   = 0;
    sr_span back  = {.dst = logits, .n = 1, .bytes = (size_t)n * m->info.n_vocab * sizeof *logits};
    sr_block_begin(b);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t k = t[i].have - t[i].done;
        if (!CHECK(sr_kv_reserve(t[i].seq, k, &err) == SR_OK, "text %u: %s", i, err.msg))
            return false;
        sr_block_add(m, t[i].seq, t[i].tok + t[i].done, t[i].done, k);
        ((sr_sampdev *)b->sampling)[b->now.out] = (sr_sampdev){.given = t[i].tok[t[i].have - 1]};
        b->out[b->now.out++]                    = b->now.tok - 1;
        b->drawn++;
    }
    if (!CHECK(sr_model_compute(m, &err) == SR_OK && m->be->slot(m->ran, m->code->prog.logits, &at, &have) == SR_OK, "%s", err.msg))
        return false;
    back.src = at;
    if (!CHECK(m->be->copyv(m->dev, SR_Q_COMPUTE, &back, 1, &err) == SR_OK &&
                   m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, &err) == SR_OK, "%s", err.msg))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!CHECK(sr_kv_commit(t[i].seq, t[i].tok + t[i].done, NULL, t[i].have - t[i].done, &err) == SR_OK, "%s", err.msg))
            return false;
        t[i].done = t[i].have;
    }
    return true;
}

static uint32_t best_of(const float *l, uint32_t n, uint32_t but)
{
    uint32_t best = but == 0;
    for (uint32_t i = 1; i < n; i++)
        best = i != but && l[i] > l[best] ? i : best;
    return best;
}

static double log_sum(const float *l, uint32_t n)
{
    double sum = 0, top = l[best_of(l, n, n)];
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)l[i] - top);
    return top + log(sum);
}

/* Texts begin with a prompt of 3 to LONGEST tokens, which no prefix cache has: each has a salt of its own, from `salt` on. */
static bool begin(sr_model *m, uint32_t salt, text *t, uint32_t n)
{
    sr_err err = {0};
    bool ok    = true;
    for (uint32_t i = 0; i < n && ok; i++) {
        size_t cached;
        t[i].done = 0;
        t[i].have = 3 + (t[i].tok[0] % 26u);
        ok        = CHECK(sr_kv_begin(m->kv, salt + i, t[i].tok, t[i].have, 0, &t[i].seq, &cached, &err) == SR_OK, "%s", err.msg);
    }
    return ok;
}
static void end(text *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sr_kv_end(t[i].seq);
        t[i].seq = NULL;
    }
}

/* STEPS steps of n texts; logits [STEPS][n][vocab].  greedy: what comes next is the likeliest token, else what the texts have already. */
static bool run(sr_model *m, uint32_t salt, text *t, uint32_t n, bool greedy, float *logits)
{
    const uint32_t vocab = m->info.n_vocab;
    bool ok              = begin(m, salt, t, n);
    for (uint32_t s = 0; s < STEPS && ok; s++, logits += (size_t)n * vocab) {
        ok = step(m, t, n, logits);
        for (uint32_t i = 0; i < n && ok; i++, t[i - 1].have++)
            if (greedy)
                t[i].tok[t[i].have] = (int32_t)best_of(logits + (size_t)i * vocab, vocab, vocab);
    }
    end(t, n);
    return ok;
}

/* A model for n texts at once, TEXTS at most, and the texts; false: it is not to be had. */
static bool texts_open(const char *path, uint32_t n, sr_model **m, text **t)
{
    sr_err err   = {0};
    sr_loadcfg c = {.path = path, .be = &sr_backend_cuda, .ctx = 256, .max_seqs = n, .out_rows = n, .max_step_tokens = 2048};
    gpu_device_close(); /* of two devices in a process the first has the chains */
    if (!CHECK(sr_model_load(&c, m, &err) == SR_OK, "%s", err.msg))
        return false;
    *t = sr_calloc(TEXTS, sizeof **t);
    for (uint32_t i = 0; i < TEXTS; i++)
        for (uint32_t k = 0; k < LENGTH; k++)
            (*t)[i].tok[k] = (int32_t)(100 + (i * 61 + k * 131 + i * k * 7) % 7000);
    return true;
}

/* Each text alone, then the first n of them at once.  In sm_90a's own code nothing may differ (ops/linear/alike.h).  Code below it rounds x to int8 in products
 * of more than 16 rows: as much as one such text cut in two ways.  A greedy answer becomes another where two logits are nearer to each other than their distance
 * moves (notes/0056). */
static void logits_owe_little_to_the_texts_beside(void)
{
    static const uint32_t at_once[] = {3, 12, 32, TEXTS};
    int arch    = 0;
    sr_model *m = NULL;
    text *t     = NULL;
    CHECK(!sr_cuda_code_arch(&arch), "which code runs is not told");
    const double most = arch < 90 ? 1 : 0, most_moved = arch < 90 ? 3e-1 : 0;
    if (!texts_open(BASE_Q4, TEXTS, &m, &t))
        return;
    const uint32_t vocab = m->info.n_vocab;
    const size_t room    = (size_t)TEXTS * STEPS * vocab;
    float *alone = sr_malloc(room * sizeof *alone), *among = sr_malloc(room * sizeof *among);
    bool ok      = true;
    for (uint32_t i = 0; i < TEXTS && ok; i++)
        ok = run(m, 1 + i, t + i, 1, true, alone + (size_t)i * STEPS * vocab);
    for (size_t k = 0; k < SR_COUNT(at_once) && ok; k++) {
        const uint32_t n = at_once[k];
        double worst = 0, moved = 0;
        uint32_t other = 0;
        ok = run(m, 1000 * (uint32_t)(k + 1), t, n, false, among);
        for (uint32_t i = 0; i < n && ok; i++)
            for (uint32_t s = 0; s < STEPS; s++) {
                const float *a = alone + ((size_t)i * STEPS + s) * vocab, *b = among + ((size_t)s * n + i) * vocab;
                const uint32_t first = best_of(a, vocab, vocab), second = best_of(a, vocab, first);
                const double d = fabs(((double)a[first] - log_sum(a, vocab)) - ((double)b[first] - log_sum(b, vocab)));
                worst          = d <= worst ? worst : d == d ? d : INFINITY;
                moved += fabs(((double)a[first] - (double)a[second]) - ((double)b[first] - (double)b[second])) / (n * STEPS);
                other += best_of(b, vocab, vocab) != first;
            }
        gpu_say("%s%u: %.1e, %.1e, %u of %u", k ? "; " : "texts at once: log-probabilities within, the two likeliest move by, others ", n, worst, moved,
                other, n * STEPS);
        CHECK(!ok || (worst <= most && moved <= most_moved), "%u at once: log-probabilities differ by %.2e, the two likeliest move by %.2e", n, worst, moved);
    }
    sr_free(among);
    sr_free(alone);
    sr_free(t);
    sr_model_close(m);
}

/* Larger products: each text alone, whose rows go through chains of one, then some at once, whose rows go through those of two, of three to eight and of 9 to 16,
 * with the first x as attention leaves it for them (linear/chain.h).  All round x to 11 bits or 15, which moves a layer's numbers by some 1e-3 of what is usual; where
 * a row, a column or 16 inputs of one were not in their place the difference would be as large as the logits, which are about 1. */
static void texts_through_chains_agree_with_each_alone(void)
{
    enum { MOST = 16 };
    static const uint32_t at_once[]  = {2, 3, 8, 9, 12, MOST};
    static const char *const path[]  = {"synth:1.1b:q4_k_m", "synth:1.1b:q5_k_m"};
    int arch = 0;
    CHECK(!sr_cuda_code_arch(&arch), "which code runs is not told");
    for (size_t f = 0; f < SR_COUNT(path); f++) {
        sr_model *m = NULL;
        text *t     = NULL;
        if (!texts_open(path[f], MOST, &m, &t))
            return;
        const uint32_t vocab = m->info.n_vocab;
        const size_t room    = (size_t)MOST * STEPS * vocab;
        float *alone = sr_malloc(room * sizeof *alone), *among = sr_malloc(room * sizeof *among);
        bool ok      = true;
        for (uint32_t i = 0; i < MOST && ok; i++)
            ok = run(m, 1 + i, t + i, 1, true, alone + (size_t)i * STEPS * vocab);
        for (size_t k = 0; k < SR_COUNT(at_once) && ok; k++) {
            const uint32_t n = at_once[k];
            double worst     = 0;
            ok               = run(m, 1000 * (uint32_t)(k + 1), t, n, false, among);
            for (uint32_t i = 0; i < n && ok; i++)
                for (uint32_t s = 0; s < STEPS; s++)
                    for (uint32_t v = 0; v < vocab; v++) {
                        const double d = fabs((double)alone[((size_t)i * STEPS + s) * vocab + v] - (double)among[((size_t)s * n + i) * vocab + v]);
                        worst          = d <= worst ? worst : d == d ? d : INFINITY;
                    }
            gpu_say("%s%u: %.1e", k ? ", " : f ? "; " : "logits within, texts at once ", n, worst);
            CHECK(!ok || worst <= (arch < 90 ? 1 : 1e-1), "%s, %u at once: logits differ by %.2e", path[f], n, worst);
        }
        sr_free(among);
        sr_free(alone);
        sr_free(t);
        sr_model_close(m);
    }
}

/* A step of all texts' prompts, some 2 000 rows, has the same bits each time.  (Products that handed a stage back before the last of its numbers had been read had
 * others in one of eight such steps: notes/0065.) */
static void steps_of_many_rows_are_the_same_each_time(void)
{
    enum { TIMES = 60 };
    sr_model *m = NULL;
    text *t     = NULL;
    if (!texts_open(BASE_Q4, TEXTS, &m, &t))
        return;
    const size_t room = (size_t)TEXTS * m->info.n_vocab;
    float *first = sr_malloc(room * sizeof *first), *now = sr_malloc(room * sizeof *now);
    bool ok      = true;
    for (uint32_t n = 0; n < TIMES && ok; n++) {
        ok = begin(m, 1 + n * TEXTS, t, TEXTS) && step(m, t, TEXTS, n ? now : first);
        for (uint32_t i = 0; i < TEXTS && ok && n; i++)
            ok = CHECK(memcmp(first + (size_t)i * m->info.n_vocab, now + (size_t)i * m->info.n_vocab, m->info.n_vocab * sizeof *now) == 0,
                       "step %u of %d: text %u has other logits than in the first", n + 1, TIMES, i);
        end(t, TEXTS);
    }
    sr_free(now);
    sr_free(first);
    sr_free(t);
    sr_model_close(m);
}

const gpu_test gpu_alone_tests[] = {
    {"steps_of_many_rows_are_the_same_each_time", steps_of_many_rows_are_the_same_each_time},
    {"rows_of_small_products_are_the_same_alone", rows_of_small_products_are_the_same_alone},
    {"logits_owe_little_to_the_texts_beside", logits_owe_little_to_the_texts_beside},
    {"texts_through_chains_agree_with_each_alone", texts_through_chains_agree_with_each_alone},
    {NULL, NULL},
};
