/* offload.c - the demo model on a card that is smaller than it: streamed, shared with the CPU, read in place. */
#include "gpu.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "format/convert.h"

#define BASE_Q4 "models/strata-demo-base-Q4_K_M.gguf"
enum { N = 64, ROWS = 16, FEW = 4, MB = 1000000, PROMPTS = 8, LONGEST = 64, MADE = 64 };
/* Between the two best logits where an answer may go another way: nothing is rounded to eight bits; what the CPU multiplies by is (notes/0021). */
#define CLOSE 4e-2f
#define CLOSE_EIGHT 0.2f

static int32_t text[N];

/* So that the plan is the same beside any card: the CPU twice as fast as the bus. */
static const sr_hw machine = {.dev_read = 1e12, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e13, .sync = 1e-6};

static bool exact, f32_activations; /* for load(): deterministic; of the CPU */

static sr_model *load_file(const char *path, const sr_backend *be, uint64_t budget, sr_offloadmode mode)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = path, .be = be, .ctx = 256, .max_seqs = 4, .max_step_tokens = 64, .out_rows = FEW, .kv_pages = 16,
                      .dev = {.mem_budget = budget, .deterministic = exact, .f32_activations = f32_activations}, .offload = mode, .hw = &machine};
    CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg);
    return m;
}

static sr_model *load(uint64_t budget, sr_offloadmode mode) { return load_file(BASE_Q4, &sr_backend_cuda, budget, mode); }

typedef struct { float *p; uint32_t n; } logits;

static bool keep(void *arg, uint32_t pos, const float *row)
{
    logits *l = arg;
    memcpy(l->p + (size_t)(pos - (N - ROWS)) * l->n, row, l->n * sizeof *row);
    return true;
}

static float *eval(sr_model *m)
{
    sr_err err = {0};
    logits l   = {sr_calloc((size_t)ROWS * m->info.n_vocab, sizeof(float)), m->info.n_vocab};
    for (uint32_t i = 0; i < N; i++)
        text[i] = (int32_t)(7 + i * 131 % 4000);
    for (int twice = 0; twice < 3; twice++) /* steps are captured when they come again */
        CHECK(sr_model_eval(m, text, N, N - ROWS, keep, &l, &err) == SR_OK, "%s", err.msg);
    return l.p;
}

/* What everything but the matrices takes, from a model that fits. */
static uint64_t fixed(const sr_model *m) { return m->info.scratch_bytes + sr_block_bytes(m, &m->max) + m->info.kv_bytes + gpu_rounding() + MB / 2; }

/* Deterministic: else ops that follow each other within a submit may be one launch, which rounds elsewhere, and a streamed model's
 * submits are shorter. */
static void a_streamed_model_gives_the_bits_of_one_that_fits(void)
{
    exact           = true;
    sr_model *whole = load(0, SR_OFFLOAD_NONE);
    if (!whole)
        return;
    float   *want  = eval(whole);
    uint64_t room  = fixed(whole);
    size_t   bytes = (size_t)ROWS * whole->info.n_vocab * sizeof *want;
    sr_model_close(whole);
    for (uint64_t mb = 12; mb <= 24; mb += 6) {
        sr_model *m = load(room + mb * MB, SR_OFFLOAD_STREAM);
        if (!m)
            break;
        CHECK(m->off != NULL, "%llu MB: everything fitted", (unsigned long long)mb);
        float *got = eval(m);
        CHECK(memcmp(want, got, bytes) == 0, "%llu MB: other logits", (unsigned long long)mb);
        gpu_say("%s%.1f MB of %.1f on the card", mb > 12 ? ", " : "", (double)m->info.bytes_device / MB, (double)m->info.bytes / MB);
        sr_free(got);
        sr_model_close(m);
    }
    sr_free(want);
}

static void a_model_shared_with_the_cpu_agrees_within_rounding(void)
{
    exact = false;
    sr_model *whole = load(0, SR_OFFLOAD_NONE);
    if (!whole)
        return;
    float *want = eval(whole);
    for (int cpu = 0; cpu < 2; cpu++) {
        sr_model *m = load(fixed(whole) + 14 * MB, cpu ? SR_OFFLOAD_CPU : SR_OFFLOAD_AUTO);
        if (!m)
            break;
        CHECK(m->off && m->off->few, "nothing is shared");
        float   *got = eval(m);
        uint32_t other = 0, n = m->info.n_vocab;
        double   worst = 0;
        for (uint32_t r = 0; r < ROWS; r++) {
            const float *a = want + (size_t)r * n, *b = got + (size_t)r * n;
            uint32_t     x = 0, y = 0;
            for (uint32_t i = 0; i < n; i++) {
                worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
                x     = a[i] > a[x] ? i : x;
                y     = b[i] > b[y] ? i : y;
            }
            other += x != y && a[x] - a[y] > 4e-2f;
        }
        CHECK(worst < 1 && !other, "logits off by %g, %u of %u rows have another winner", worst, other, ROWS);
        gpu_say("%s%.0f %% of feed-forwards by the CPU: logits within %.2g", cpu ? "; " : "", m->info.cpu_share * 100, worst);
        sr_free(got);
        sr_model_close(m);
    }
    sr_free(want);
    sr_model_close(whole);
}

typedef struct { int32_t tok[LONGEST + MADE]; uint32_t n; } answer; /* the prompt, then what was made */

/* The prompts of the base model: its section ends where the draft model's begins. */
static uint32_t read_prompts(answer *a)
{
    enum { MOST = 1 << 20 };
    FILE    *f    = fopen("tests/data/reference.json", "rb");
    char    *json = sr_calloc(1, MOST);
    uint32_t n    = 0;
    if (CHECK(f && json && fread(json, 1, MOST - 1, f) > 0, "the reference cannot be read")) {
        char *end = strstr(json, "\"draft\":");
        if (end)
            *end = 0;
        for (char *p = json; n < PROMPTS && (p = strstr(p, "\"ids\":[")) != NULL; n++) {
            p = strchr(p, '[');
            for (a[n].n = 0; *p != ']' && a[n].n < LONGEST; a[n].n++)
                a[n].tok[a[n].n] = (int32_t)strtol(p + 1, &p, 10);
        }
    }
    if (f)
        fclose(f);
    sr_free(json);
    return n;
}

static bool take(sr_port *port, sr_engine *engine, answer *a)
{
    sr_err   err = {0};
    sr_event ev[64];
    uint32_t from = a->n;
    for (bool open = true; open;) {
        sr_step   step;
        sr_status s = sr_engine_step(engine, &step, &err);
        if (!CHECK(s == SR_OK || s == SR_AGAIN, "%s", err.msg))
            return false;
        for (size_t i = 0, got = sr_port_poll(port, ev, 64); i < got; i++) {
            if (ev[i].kind == SR_EV_TOKEN && a->n < from + MADE)
                a->tok[a->n++] = ev[i].token;
            open = open && ev[i].kind != SR_EV_DONE && ev[i].kind != SR_EV_ERROR;
            CHECK(ev[i].kind != SR_EV_ERROR, "%s", ev[i].msg);
        }
    }
    return CHECK(a->n == from + MADE, "%u tokens of %d", a->n - from, MADE);
}

static bool continue_all(sr_model *m, const answer *prompt, uint32_t n, answer *out)
{
    sr_err     err    = {0};
    sr_port   *port   = NULL;
    sr_engine *engine = NULL;
    bool ok = CHECK(sr_port_open(&(sr_portcfg){0}, &port, &err) == SR_OK && sr_engine_open(m, &(sr_enginecfg){0}, NULL, port, &engine, &err) == SR_OK, "%s", err.msg);
    for (uint32_t i = 0; i < n && ok; i++) {
        sr_request r = {.id = i + 1, .tok = prompt[i].tok, .n_tok = prompt[i].n, .max_new = MADE, .ignore_eos = true,
                        .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
        out[i] = prompt[i];
        ok     = CHECK(sr_port_post(port, &r, &err) == SR_OK, "%s", err.msg) && take(port, engine, &out[i]);
    }
    sr_engine_close(engine);
    sr_port_close(port);
    return ok;
}

typedef struct { int32_t want, got; float gap; } judge;

static bool apart(void *arg, uint32_t pos, const float *row)
{
    judge *j = arg;
    (void)pos;
    j->gap = row[j->want] - row[j->got];
    return true;
}

/* How far below the best the judge's logit of the other token is where an answer parts from the judge's; 0: it does not. */
static float parts(sr_model *by, const answer *want, const answer *got, uint32_t prompt)
{
    uint32_t k   = prompt;
    sr_err   err = {0};
    while (k < want->n && want->tok[k] == got->tok[k])
        k++;
    if (k == want->n)
        return 0;
    judge j = {want->tok[k], got->tok[k], 0};
    CHECK(sr_model_eval(by, want->tok, k, k - 1, apart, &j, &err) == SR_OK, "%s", err.msg);
    return j.gap;
}

/* The model's numbers in F32: the CPU then rounds no activation to eight bits, so that its logits are those of the weights. */
static sr_model *load_exact(void)
{
    char      path[] = "strata-test-exact-XXXXXX";
    sr_err    err    = {0};
    sr_model *m      = NULL;
    int       fd     = mkstemp(path);
    const sr_convertcfg c = {.mix = sr_mix_find("F32")};
    if (!CHECK(fd >= 0, "no file for the model in F32 can be made here"))
        return NULL;
    close(fd);
    if (CHECK(c.mix && sr_convert(BASE_Q4, path, &c, NULL, &err) == SR_OK, "%s", err.msg))
        m = load_file(path, &sr_backend_cpu, 0, SR_OFFLOAD_NONE);
    unlink(path);
    return m;
}

typedef struct { uint32_t weights, cpu; float most; } alike; /* answers that are the judge's, the CPU's; the largest gap */

/* How a model is placed, and what its answers are held to. */
typedef struct { const char *name; sr_offloadmode mode; bool f32; float close; } placement;

static void judge_all(sr_model *by, const answer *prompt, const answer *want, const answer *cpu, const answer *got, float close, const char *what, alike *to)
{
    for (uint32_t i = 0; i < PROMPTS; i++) {
        float gap = parts(by, &want[i], &got[i], prompt[i].n);
        CHECK(gap < close, "%s: answer %u parts where the best logit is %g ahead", what, i, (double)gap);
        to->weights += gap == 0;
        to->cpu += memcmp(&cpu[i], &got[i], sizeof got[i]) == 0;
        to->most = gap > to->most ? gap : to->most;
    }
}

/* Greedy tokens of every placement against those of the weights in F32.  With activations in f32 the CPU alone gives just these, so every
 * placement is held to the CPU-only run of the same file; without, the CPU rounds to eight bits, and parts from them, too. */
static void every_placement_answers_as_the_weights_do(void)
{
    static answer          prompt[PROMPTS], wanted[PROMPTS], cpu[PROMPTS], got[PROMPTS];
    static const placement at[] = {
        {"streamed", SR_OFFLOAD_STREAM, false, CLOSE},      {"in place", SR_OFFLOAD_ZEROCOPY, false, CLOSE},
        {"shared, f32", SR_OFFLOAD_AUTO, true, CLOSE},      {"by the CPU, f32", SR_OFFLOAD_CPU, true, CLOSE},
        {"shared", SR_OFFLOAD_AUTO, false, CLOSE_EIGHT},    {"by the CPU", SR_OFFLOAD_CPU, false, CLOSE_EIGHT}};
    uint32_t  n = read_prompts(prompt);
    alike     of[SR_COUNT(at)] = {{0}}, own = {0};
    exact = f32_activations = false;
    sr_model *by = load_exact(), *eight = load_file(BASE_Q4, &sr_backend_cpu, 0, SR_OFFLOAD_NONE), *whole = load(0, SR_OFFLOAD_NONE);
    f32_activations = true;
    sr_model *m     = load_file(BASE_Q4, &sr_backend_cpu, 0, SR_OFFLOAD_NONE);
    uint64_t  room  = whole ? fixed(whole) : 0;
    sr_model_close(whole);
    bool ok = CHECK(n == PROMPTS, "%u prompts", n) && by && m && eight && room && continue_all(by, prompt, n, wanted) &&
              continue_all(m, prompt, n, cpu) && continue_all(eight, prompt, n, got);
    sr_model_close(m);
    sr_model_close(eight);
    if (ok) {
        CHECK(memcmp(wanted, cpu, sizeof cpu) == 0, "the CPU alone with activations in f32 parts from the weights in F32");
        judge_all(by, prompt, wanted, cpu, got, CLOSE_EIGHT, "the CPU alone", &own);
    }
    for (uint32_t k = 0; ok && k < 3 * SR_COUNT(at); k++) {
        static const uint64_t budget[] = {8, 14, 20};
        const placement      *p = &at[k / 3];
        char                  what[64];
        f32_activations = p->f32;
        m               = load(room + budget[k % 3] * MB, p->mode);
        snprintf(what, sizeof what, "%s, %u MB", p->name, (unsigned)budget[k % 3]);
        ok = m && CHECK(m->off, "%s: everything fitted", what) && continue_all(m, prompt, n, got);
        if (ok)
            judge_all(by, prompt, wanted, cpu, got, p->close, what, &of[k / 3]);
        sr_model_close(m);
    }
    f32_activations = false;
    gpu_say("of %u answers those of the CPU alone, f32, to token %d (gap where they part): the CPU, int8, %u of %u (%.2g)", 3 * n, MADE, own.cpu, n, (double)own.most);
    for (uint32_t k = 0; k < SR_COUNT(at); k++)
        gpu_say("; %s %u (%.2g)", at[k].name, of[k].cpu, (double)of[k].most);
    sr_model_close(by);
}

const gpu_test gpu_offload_tests[] = {
    {"a_streamed_model_gives_the_bits_of_one_that_fits", a_streamed_model_gives_the_bits_of_one_that_fits},
    {"a_model_shared_with_the_cpu_agrees_within_rounding", a_model_shared_with_the_cpu_agrees_within_rounding},
    {"every_placement_answers_as_the_weights_do", every_placement_answers_as_the_weights_do},
    {NULL, NULL},
};
