/* model.c - whole programs on the device: op by op against the CPU, and the tokens of the demo models. */
#include "gpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/bisect.h"
#include "backend/cuda/internal.h"
#include "base/clock.h"
#include "engine/tree_kit.h"

#define DRAFT_BF16 "tests/data/strata-demo-draft-bf16.gguf"
#define DRAFT_Q8 "models/strata-demo-draft-Q8_0.gguf"
#define BASE_Q4 "models/strata-demo-base-Q4_K_M.gguf"

static bool op_by_op, alike, trees; /* for load(): no graphs; deterministic; steps may have drafted tokens */

static sr_model *load(const char *path, const sr_backend *be, uint32_t out_rows, uint16_t kv_format)
{
    sr_err err   = {0};
    sr_model *m  = NULL;
    sr_loadcfg c = {.path            = path,
                    .be              = be,
                    .ctx             = 512,
                    .max_seqs        = 4,
                    .max_step_tokens = 128,
                    .out_rows        = (uint16_t)out_rows,
                    .trees           = trees,
                    .kv_format_k     = kv_format,
                    .kv_format_v     = kv_format,
                    .dev             = {.threads = be == &sr_backend_cpu ? 2 : 0, .no_graphs = op_by_op, .deterministic = alike}};
    CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg);
    return m;
}

static void bisect(const char *path, uint16_t kv_format, uint32_t n, double limit)
{
    sr_err err    = {0};
    sr_bisect b   = {0};
    sr_model *cpu = load(path, &sr_backend_cpu, 4, kv_format),
             *gpu = load(path, &sr_backend_cuda, 4, kv_format);
    int32_t tok[128];
    for (uint32_t i = 0; i < n; i++)
        tok[i] = (int32_t)(7 + i * 131 % 4000);
    if (cpu && gpu && CHECK(sr_bisect_run(cpu, gpu, tok, n, limit, &b, &err) == SR_OK, "%s", err.msg) &&
        CHECK(b.op == ~0u, "%s: op %u (%s, layer %d) drifts by %.2e, limit %.1e", path, b.op,
              sr_op_name(b.code), b.layer == SR_NONE ? -1 : (int)b.layer, b.worst, b.limit))
        gpu_say("%s%u ops, worst %.1e", b.compared ? "" : "none of ", b.compared, b.worst);
    sr_model_close(gpu);
    sr_model_close(cpu);
}

/* The CPU multiplies bf16 weights with f32 activations, as exactly as the device or better: only f16 factors
 * may differ.  Attention rounds queries too: scores of size 8 are off by 2^-11 of it, 4e-3, and the weights
 * relatively by as much. */
static void every_op_of_a_program_agrees_with_the_cpu(void)
{
    bisect(DRAFT_BF16, SR_F16, 100, 5e-3);
    gpu_say("; ");
    bisect(DRAFT_BF16, SR_Q8_0, 37, 5e-3);
}

/* With quantised weights the CPU rounds activations to 8 bits (of the largest in 256: 0.4 % of it each) and
 * the device does not: where products nearly cancel, an output is off by a tenth of a usual one. */
static void quantised_programs_agree_with_the_cpu_as_far_as_it_rounds(void)
{
    bisect(DRAFT_Q8, SR_F16, 60, 1.5e-1);
    gpu_say("; ");
    bisect(BASE_Q4, SR_F16, 60, 1.5e-1);
}

/* One launch for several products, norms and gates (linear/chain.h) against op by op; of two devices in a process the first
 * has the chains.  Both round x to f16, once before and once after a norm's division: 2^-12 of each input.  Below sm_90a kernels of many
 * rows round it to int8 (linear/gemm_mma.h): where x differs in its last bit some numbers come to another step, a 127th of the largest, and
 * after a layer many do.  Then both are the same model as far as that rounding goes, which is the limit above. */
static void rows_in_one_submit_agree_with_op_by_op(void)
{
    static const uint32_t    rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 33, 70, 128};
    static const char *const path[] = {DRAFT_BF16, DRAFT_Q8, BASE_Q4, "synth:tiny:q5_k_m",
                                        "synth:tiny-qwen2:q8_0", "synth:tiny:q4_0", "synth:tiny:f16", "synth:1.1b:q4_k_m",
                                        "synth:1.1b:q5_k_m", "synth:1.1b:q4_0", "synth:1.1b:q8_0", "synth:1.1b:bf16"};
    double                   worst  = 0;
    int                      arch   = 0;
    CHECK(!sr_cuda_code_arch(&arch), "which code runs is not told");
    gpu_device_close();
    for (size_t f = 0; f < sizeof path / sizeof *path; f++) {
        sr_model *whole = load(path[f], &sr_backend_cuda, 4, SR_F16), *parts = load(path[f], &sr_backend_cuda, 4, SR_F16);
        for (size_t k = 0; whole && parts && k < sizeof rows / sizeof *rows; k++) {
            const uint32_t n = rows[k];
            sr_err    err = {0};
            sr_bisect b   = {0};
            int32_t   tok[128];
            for (uint32_t i = 0; i < n; i++)
                tok[i] = (int32_t)(7 + (i + n) * 131 % 1000);
            if (CHECK(sr_bisect_whole(whole, parts, tok, n, arch < 90 && n > 16 ? 1.5e-1 : 2e-2, &b, &err) == SR_OK, "%s", err.msg))
                CHECK(b.op == ~0u, "%s, %u rows: logits differ by %.2e", path[f], n, b.worst);
            worst = b.worst > worst ? b.worst : worst;
        }
        sr_model_close(parts);
        sr_model_close(whole);
    }
    gpu_say("worst %.1e", worst);
}

/* ---- golden tokens
 * ---------------------------------------------------------------------------------------------- */

/* The numbers of the array behind the next `key`; returns where it ends, NULL: there is none. */
static const char *numbers(const char *p, const char *key, double *out, uint32_t cap, uint32_t *n)
{
    p  = p ? strstr(p, key) : NULL;
    p  = p ? strchr(p, '[') : NULL;
    *n = 0;
    while (p && *p != ']' && *n < cap) {
        char *end;
        out[(*n)++] = strtod(p + 1, &end);
        p           = end + strspn(end, " \n");
        if (*p != ',' && *p != ']')
            return NULL;
    }
    return p;
}

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *s = sr_calloc(1, 1 << 20);
    if (!CHECK(f, "%s cannot be read", path) ||
        !CHECK(fread(s, 1, (1 << 20) - 1, f) > 0, "%s is empty", path))
        s[0] = 0;
    if (f)
        fclose(f);
    return s;
}

typedef struct {
    double ids[64], top_ids[50], top[50], lse[1], greedy[64], gap[64];
    uint32_t n_ids, n_top, n_greedy, n_gap, first, vocab, wrong, close;
    double worst;
} golden;

static bool judge(void *arg, uint32_t pos, const float *logits)
{
    golden *g     = arg;
    uint32_t best = 0, step = pos - g->first;
    for (uint32_t i = 1; i < g->vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    for (uint32_t i = 0; step == 0 && i < g->n_top; i++)
        g->worst = fmax(g->worst, fabs(g->top[i] - (double)logits[(uint32_t)g->top_ids[i]]));
    if (step < g->n_greedy && best != (uint32_t)g->greedy[step]) {
        if (step < g->n_gap && g->gap[step] < 4e-2)
            g->close++;
        else
            g->wrong++;
    }
    return true;
}

static void the_demo_model_continues_as_its_reference_does(void)
{
    char *json       = read_all("tests/data/reference.json");
    const char *p    = strstr(json, "\"draft\":");
    sr_model *m      = load(DRAFT_BF16, &sr_backend_cuda, 80, 0);
    golden g         = {.vocab = m ? sr_model_info(m)->n_vocab : 0};
    uint32_t prompts = 0;
    while (m && (p = numbers(p, "\"ids\":", g.ids, 64, &g.n_ids)) != NULL) {
        sr_err err = {0};
        int32_t tok[128];
        p = numbers(p, "\"top50_ids\":", g.top_ids, 50, &g.n_top);
        p = numbers(p, "\"top50_logits\":", g.top, 50, &g.n_top);
        p = numbers(p, "\"greedy\":", g.greedy, 64, &g.n_greedy);
        p = numbers(p, "\"gap\":", g.gap, 64, &g.n_gap);
        if (!CHECK(p && g.n_greedy == 64, "the reference does not read as expected"))
            break;
        for (uint32_t i = 0; i < g.n_ids + g.n_greedy; i++)
            tok[i] = (int32_t)(i < g.n_ids ? g.ids[i] : g.greedy[i - g.n_ids]);
        g.first = g.n_ids - 1;
        CHECK(sr_model_eval(m, tok, g.n_ids + g.n_greedy, g.first, judge, &g, &err) == SR_OK, "%s", err.msg);
        prompts++;
    }
    CHECK(prompts == 8, "%u prompts", prompts);
    CHECK(g.wrong == 0 && g.worst < 2e-2, "%u tokens differ (%u more at gaps below 4e-2), logits by %.1e",
          g.wrong, g.close, g.worst);
    gpu_say("%u prompts x 64 tokens, logits within %.1e, %u close calls", prompts, g.worst, g.close);
    sr_model_close(m);
    sr_free(json);
}

/* ---- the engine
 * ------------------------------------------------------------------------------------------------- */

enum { MADE = 64 };

static uint64_t host_ns; /* of the last generate(): of its steps, not waiting for the device */

/* Runs n requests at once; tok[i][..]: what each made.  ns: of the steps. */
static bool generate(sr_model *m, uint32_t n, float temp, int32_t tok[][MADE], uint64_t *ns, uint64_t *steps)
{
    sr_err err        = {0};
    sr_port *port     = NULL;
    sr_engine *engine = NULL;
    uint32_t made[8] = {0}, open = n;
    bool ok = CHECK(sr_port_open(&(sr_portcfg){0}, &port, &err) == SR_OK &&
                        sr_engine_open(m, &(sr_enginecfg){0}, NULL, port, &engine, &err) == SR_OK,
                    "%s", err.msg);
    for (uint32_t i = 0; i < n && ok; i++) {
        int32_t prompt[12];
        for (uint32_t k = 0; k < 12; k++)
            prompt[k] = (int32_t)(100 + (i * 17 + k * 29) % 3000);
        sr_request r = {.id         = i + 1,
                        .tok        = prompt,
                        .n_tok      = 12,
                        .max_new    = MADE,
                        .ignore_eos = true,
                        .sampling   = {.temp        = temp,
                                       .top_p       = temp > 0 ? 0.95f : 1,
                                       .top_k       = temp > 0 ? 50 : 0,
                                       .typical_p   = 1,
                                       .rep_penalty = 1,
                                       .seed        = 5 + i}};
        ok           = CHECK(sr_port_post(port, &r, &err) == SR_OK, "%s", err.msg);
    }
    *ns = *steps = host_ns = 0;
    while (ok && open) {
        sr_step step;
        sr_event ev[64];
        uint64_t t = sr_now_ns();
        if (sr_engine_step(engine, &step, &err) == SR_OK) {
            *ns += sr_now_ns() - t;
            host_ns += step.ns_host;
            ++*steps;
        }
        ok         = CHECK(err.status == SR_OK, "%s", err.msg);
        size_t got = sr_port_poll(port, ev, 64);
        for (size_t i = 0; i < got; i++) {
            uint32_t who = (uint32_t)(ev[i].id - 1) % 8; /* ids are 1 .. n */
            if (ev[i].kind == SR_EV_TOKEN && made[who] < MADE)
                tok[who][made[who]++] = ev[i].token;
            if (ev[i].kind == SR_EV_DONE || ev[i].kind == SR_EV_ERROR)
                open--;
            CHECK(ev[i].kind != SR_EV_ERROR, "%s", ev[i].msg);
        }
    }
    sr_engine_close(engine);
    sr_port_close(port);
    return ok;
}

static void alone_and_among_four(const char *path, float temp)
{
    alike              = true;
    sr_model *m        = load(path, &sr_backend_cuda, 4, 0);
    alike              = false;
    int32_t (*one)[MADE] = sr_calloc(8, sizeof *one), (*all)[MADE] = sr_calloc(8, sizeof *all);
    uint64_t ns, steps;
    if (m && generate(m, 1, temp, one, &ns, &steps) && generate(m, 4, temp, all, &ns, &steps)) {
        uint32_t same = 0;
        while (same < MADE && one[0][same] == all[0][same])
            same++;
        gpu_say("%s%u of %u tokens alike", temp > 0 ? ", " : "", same, MADE);
        CHECK(same == MADE, "%s: token %u is %d alone and %d among four", path, same, one[0][same], all[0][same]);
    }
    sr_free(one);
    sr_free(all);
    sr_model_close(m);
}

/* Opened as deterministic; graphs are of other buckets, kernels of other cuts, and the tokens must not know. */
static void answers_do_not_depend_on_who_else_is_in_the_batch(void)
{
    alone_and_among_four(DRAFT_BF16, 0);
    alone_and_among_four(DRAFT_Q8, 0.9f);
    alone_and_among_four(BASE_Q4, 0.9f);
}

typedef struct { float *at; uint32_t vocab; } logits_of;

static bool keep_row(void *arg, uint32_t pos, const float *logits)
{
    const logits_of *r = arg;
    memcpy(r->at + (size_t)pos * r->vocab, logits, r->vocab * sizeof *logits);
    return true;
}

/* A text's logits in pieces of so many tokens; the last piece is what is left. */
static float *in_pieces_of(const char *path, uint32_t piece, uint16_t kv_format, const int32_t *tok, uint32_t n, uint32_t *vocab)
{
    sr_err err  = {0};
    logits_of r = {0};
    alike       = true;
    sr_model *m = load(path, &sr_backend_cuda, piece, kv_format);
    alike       = false;
    if (m) {
        *vocab = r.vocab = sr_model_info(m)->n_vocab;
        r.at             = sr_calloc((size_t)n * r.vocab, sizeof *r.at);
        CHECK(r.at && sr_model_eval(m, tok, n, 0, keep_row, &r, &err) == SR_OK, "%s", err.msg);
    }
    sr_model_close(m);
    return r.at;
}

/* How many rows of a sequence a step has depends on who else is in it. */
static void deterministic_logits_do_not_depend_on_how_a_text_is_cut(void)
{
    static const struct { const char *path; uint16_t kv; } with[] = {{DRAFT_Q8, SR_F16}, {BASE_Q4, SR_F16}, {DRAFT_BF16, SR_Q8_0}};
    enum { N = 101 }; /* pieces of 4, of 20 and of 100 leave one token alone */
    static const uint32_t pieces[] = {101, 4, 20, 33, 100};
    int32_t tok[N];
    for (uint32_t i = 0; i < N; i++)
        tok[i] = (int32_t)(7 + i * 131 % 4000);
    for (size_t w = 0; w < SR_COUNT(with); w++) {
        uint32_t vocab = 0, differ = 0;
        float *whole   = in_pieces_of(with[w].path, pieces[0], with[w].kv, tok, N, &vocab);
        for (size_t p = 1; p < SR_COUNT(pieces); p++) {
            float *cut = in_pieces_of(with[w].path, pieces[p], with[w].kv, tok, N, &vocab);
            for (uint32_t i = 0; whole && cut && i < N; i++)
                if (memcmp(whole + (size_t)i * vocab, cut + (size_t)i * vocab, vocab * sizeof *cut) != 0)
                    CHECK(differ++, "%s, pieces of %u: position %u differs", with[w].path, pieces[p], i); /* the first is told */
            sr_free(cut);
        }
        gpu_say("%s%u of %zu rows differ", w ? ", " : "", differ, (SR_COUNT(pieces) - 1) * (size_t)N);
        sr_free(whole);
    }
}

static void captured_steps_give_the_same_tokens(void)
{
    int32_t(*tok[2])[MADE] = {sr_calloc(8, sizeof *tok[0]), sr_calloc(8, sizeof *tok[0])};
    uint64_t ns, steps;
    for (uint32_t n = 1; n <= 4; n += 3)
        for (int round = 0; round < 2; round++) {
            op_by_op    = round == 0;
            sr_model *m = load(BASE_Q4, &sr_backend_cuda, 4, 0);
            op_by_op    = false;
            if (m && generate(m, n, 0.9f, tok[round], &ns, &steps))
                gpu_say("%s%u at once %s: %.0f us a step, the host's own part %.1f", n == 1 && !round ? "" : ", ", n,
                        round ? "captured" : "op by op", (double)ns / 1000 / (double)steps, (double)host_ns / 1000 / (double)steps);
            sr_model_close(m);
            CHECK(!round || memcmp(tok[0], tok[1], n * sizeof *tok[0]) == 0, "%u at once: tokens differ", n);
        }
    sr_free(tok[0]);
    sr_free(tok[1]);
}

static void greedy_and_seeded_answers_are_the_cpu_s(void)
{
    int32_t(*c)[MADE] = sr_calloc(8, sizeof *c), (*g)[MADE] = sr_calloc(8, sizeof *g);
    uint64_t ns, steps;
    sr_model *cpu = load(DRAFT_BF16, &sr_backend_cpu, 4, 0), *gpu = load(DRAFT_BF16, &sr_backend_cuda, 4, 0);
    for (int round = 0; round < 2 && cpu && gpu; round++) {
        float temp = round ? 0.8f : 0;
        if (!generate(cpu, 4, temp, c, &ns, &steps) || !generate(gpu, 4, temp, g, &ns, &steps))
            break;
        uint32_t same = 0;
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t k = 0; k < MADE && c[i][k] == g[i][k]; k++)
                same++;
        gpu_say("%stemperature %.1f: %u of %u tokens before they part, %.0f us a step", round ? "; " : "",
                (double)temp, same, 4 * MADE, (double)ns / 1000 / (double)steps);
        CHECK(same >= MADE, "temperature %g: only %u tokens alike", (double)temp, same);
    }
    sr_model_close(gpu);
    sr_model_close(cpu);
    sr_free(c);
    sr_free(g);
}

/* ---- drafted tokens
 * --------------------------------------------------------------------------------------------- */

enum { PROMPT = 90 };

enum { TREE, CHAIN, TEXT };

/* The largest difference of logits between n tokens in a step, drafted (or a text in one step), and their paths as texts token by token; every `each`-th of them. */
static double tree_against_texts(sr_model *m, uint32_t n, int shape, uint32_t each)
{
    sr_err err     = {0};
    uint64_t seed  = 11 + n;
    uint32_t vocab = m->info.n_vocab, path[SR_TREE_MOST];
    float *at = sr_calloc((size_t)n * vocab, sizeof *at), *text = sr_calloc((size_t)128 * vocab, sizeof *text);
    int32_t tok[SR_TREE_MOST], all[PROMPT + SR_TREE_MOST];
    int16_t parent[SR_TREE_MOST];
    double worst = 0;
    tree_text t = {0};
    tree_draw(n, vocab, &seed, tok, parent);
    for (uint32_t i = 0; i < PROMPT; i++)
        all[i] = (int32_t)(7 + i * 131 % 1000);
    for (uint32_t i = 0; shape != TREE && i < n; i++)
        parent[i] = (int16_t)i - 1;
    tree_rows r = {.tok = tok, .parent = shape == TEXT ? NULL : parent, .n = n, .logits = at};
    bool ok     = CHECK(tree_open(m, 0, all, PROMPT, 64, &t, text, &err) == SR_OK && tree_step(m, &t, &r, 1, &err) == SR_OK, "%s", err.msg);
    tree_close(&t);
    for (uint32_t i = 0; i < n && ok; i += each) {
        uint32_t depth = tree_path(parent, i, path);
        for (uint32_t k = 0; k < depth; k++)
            all[PROMPT + k] = tok[path[k]];
        tree_rows last = {.tok = all + PROMPT + depth - 1, .n = 1, .logits = text};
        ok = CHECK(tree_open(m, 0, all, PROMPT + depth - 1, 64, &t, text, &err) == SR_OK && tree_step(m, &t, &last, 1, &err) == SR_OK, "%s", err.msg);
        tree_close(&t);
        for (uint32_t v = 0; v < vocab && ok; v++) {
            double e = fabs((double)at[(size_t)i * vocab + v] - (double)text[v]);
            worst    = e <= worst ? worst : e == e ? e : INFINITY;
        }
    }
    sr_free(at);
    sr_free(text);
    return worst;
}

/* Sums of a drafted row's attention are in the order of places, not of positions, and its products are those of more rows: f16 factors, 2^-11 each, as in
 * a text that is cut otherwise.  In pages of Q8_0 a number near the middle of two steps, each 1/127 of the largest in its block, then comes down on the other side.
 * Code below sm_90a rounds x to int8 in products of more than 16 rows, which a text cut otherwise shows as much of.  On a deterministic device a chain is a
 * text to the bit. */
static void a_tree_s_paths_have_the_logits_of_texts(void)
{
    static const struct { const char *path; uint16_t kv; } with[] = {{DRAFT_BF16, SR_F16}, {BASE_Q4, SR_F16}, {DRAFT_Q8, SR_Q8_0}};
    static const uint32_t n[] = {2, 9, 30, 64};
    int arch                  = 0;
    CHECK(!sr_cuda_code_arch(&arch), "which code runs is not told");
    gpu_device_close();
    for (size_t w = 0; w < SR_COUNT(with); w++) {
        double worst = 0, chain = 0, cut = 0, limit = with[w].kv == SR_Q8_0 ? 1.5e-1 : 5e-2;
        for (int d = 0; d < 2; d++) {
            trees = true, alike = d;
            sr_model *m = load(with[w].path, &sr_backend_cuda, 128, with[w].kv);
            trees = alike = false;
            for (size_t i = 0; m && i < SR_COUNT(n); i++) {
                worst = fmax(worst, tree_against_texts(m, n[i], TREE, 1 + n[i] / 8));
                chain = d ? fmax(chain, tree_against_texts(m, n[i], CHAIN, 1 + n[i] / 4)) : chain;
                cut   = d ? cut : fmax(cut, tree_against_texts(m, n[i], TEXT, 1 + n[i] / 8));
            }
            sr_model_close(m);
        }
        if (arch < 90 && w) /* quantised */
            limit = fmax(limit, fmin(1.5 * cut, 1));
        CHECK(worst < limit && chain == 0, "%s: logits differ by %.2e, of a chain on a deterministic device by %.2e", with[w].path, worst, chain);
        gpu_say("%s%.1e (%.1e)", w ? ", " : "logits within (a text cut otherwise) ", worst, cut);
    }
}

/* ---- vectors
 * ---------------------------------------------------------------------------------------------------- */

enum { TEXTS = 6, WIDTH = 1024 };

/* Texts of several lengths by their last token, their mean, their first, beside an answer. */
static bool embed(sr_model *m, float v[][WIDTH])
{
    static const uint16_t pool[] = {SR_POOL_LAST, SR_POOL_MEAN, SR_POOL_CLS};
    sr_err err        = {0};
    sr_port *port     = NULL;
    sr_engine *engine = NULL;
    uint32_t open     = TEXTS + 1;
    int32_t tok[200];
    bool ok = CHECK(m->info.n_embd <= WIDTH && sr_port_open(NULL, &port, &err) == SR_OK &&
                        sr_engine_open(m, NULL, NULL, port, &engine, &err) == SR_OK, "%s", err.msg);
    for (uint32_t i = 0; i <= TEXTS && ok; i++) {
        uint32_t n = i == TEXTS ? 12 : 5 + 37 * i;
        for (uint32_t k = 0; k < n; k++)
            tok[k] = (int32_t)(100 + (i * 17 + k * 29) % 3000);
        sr_request r = {.id = i + 1, .tok = tok, .n_tok = n, .what = SR_EMBED, .pooling = pool[i % 3]};
        if (i == TEXTS)
            r = (sr_request){.id = i + 1, .tok = tok, .n_tok = n, .max_new = 40, .ignore_eos = true, .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
        ok = CHECK(sr_port_post(port, &r, &err) == SR_OK, "%s", err.msg);
    }
    while (ok && open) {
        sr_step step;
        sr_event ev[64];
        sr_status s = sr_engine_step(engine, &step, &err);
        ok          = CHECK(s == SR_OK || s == SR_AGAIN, "%s", err.msg);
        for (size_t i = 0, got = sr_port_poll(port, ev, 64); i < got; i++) {
            if (ev[i].kind == SR_EV_VECTOR)
                memcpy(v[ev[i].id - 1] + ev[i].pos, ev[i].vec, ev[i].n_vec * sizeof(float));
            open -= ev[i].kind == SR_EV_DONE || ev[i].kind == SR_EV_ERROR;
            CHECK(ev[i].kind != SR_EV_ERROR, "%s", ev[i].msg);
        }
    }
    sr_engine_close(engine);
    sr_port_close(port);
    return ok;
}

/* States differ by the rounding of factors to f16, relatively by some 1e-3, in no direction of their own. */
static void vectors_are_the_cpu_s(void)
{
    float (*c)[WIDTH] = sr_calloc(TEXTS, sizeof *c), (*g)[WIDTH] = sr_calloc(TEXTS, sizeof *g);
    for (uint32_t rows = 4; rows <= 64; rows += 60) {
        sr_model *cpu = load(DRAFT_BF16, &sr_backend_cpu, rows, 0), *gpu = load(DRAFT_BF16, &sr_backend_cuda, rows, 0);
        double worst  = 1;
        bool ok       = cpu && gpu && embed(cpu, c) && embed(gpu, g);
        for (uint32_t i = 0; ok && i < TEXTS; i++) {
            double dot = 0, len = 0;
            for (uint32_t k = 0; k < cpu->info.n_embd; k++) {
                dot += (double)c[i][k] * (double)g[i][k];
                len += (double)g[i][k] * (double)g[i][k];
            }
            worst = fmin(worst, dot);
            CHECK(dot > 0.9999 && fabs(len - 1) < 1e-4, "text %u, %u rows: cosine %.6f, length %.6f", i, rows, dot, sqrt(len));
        }
        gpu_say("%s%u rows: cosine at least %.7f", rows == 4 ? "" : ", ", rows, worst);
        sr_model_close(gpu);
        sr_model_close(cpu);
    }
    sr_free(c);
    sr_free(g);
}

const gpu_test gpu_model_tests[] = {
    {"every_op_of_a_program_agrees_with_the_cpu", every_op_of_a_program_agrees_with_the_cpu},
    {"rows_in_one_submit_agree_with_op_by_op", rows_in_one_submit_agree_with_op_by_op},
    {"quantised_programs_agree_with_the_cpu_as_far_as_it_rounds",
     quantised_programs_agree_with_the_cpu_as_far_as_it_rounds},
    {"the_demo_model_continues_as_its_reference_does", the_demo_model_continues_as_its_reference_does},
    {"answers_do_not_depend_on_who_else_is_in_the_batch", answers_do_not_depend_on_who_else_is_in_the_batch},
    {"deterministic_logits_do_not_depend_on_how_a_text_is_cut", deterministic_logits_do_not_depend_on_how_a_text_is_cut},
    {"captured_steps_give_the_same_tokens", captured_steps_give_the_same_tokens},
    {"greedy_and_seeded_answers_are_the_cpu_s", greedy_and_seeded_answers_are_the_cpu_s},
    {"a_tree_s_paths_have_the_logits_of_texts", a_tree_s_paths_have_the_logits_of_texts},
    {"vectors_are_the_cpu_s", vectors_are_the_cpu_s},
    {NULL, NULL},
};
