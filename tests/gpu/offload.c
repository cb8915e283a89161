/* offload.c - the demo model on a card that is smaller than it: streamed, shared with the CPU, read in place. */
#include "gpu.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/offload.h"

#define BASE_Q4 "models/strata-demo-base-Q4_K_M.gguf"
enum { N = 64, ROWS = 16, FEW = 4, MB = 1000000, PROMPTS = 8, LONGEST = 64, MADE = 64 };
/* Activations of eight bits: one part in a million on one norm of the CPU's own model moves its logits by as much (notes/0021). */
#define CLOSE 0.45f

static int32_t text[N];

/* So that the plan is the same beside any card: the CPU twice as fast as the bus. */
static const sr_hw machine = {.dev_read = 1e12, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e13, .sync = 1e-6};

static bool exact; /* for load(): deterministic */

static sr_model *load_on(const sr_backend *be, uint64_t budget, sr_offloadmode mode)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = BASE_Q4, .be = be, .ctx = 256, .max_seqs = 4, .max_step_tokens = 64, .out_rows = FEW, .kv_pages = 16,
                      .dev = {.mem_budget = budget, .deterministic = exact}, .offload = mode, .hw = &machine};
    CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg);
    return m;
}

static sr_model *load(uint64_t budget, sr_offloadmode mode) { return load_on(&sr_backend_cuda, budget, mode); }

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
static uint64_t fixed(const sr_model *m) { return m->info.scratch_bytes + sr_block_bytes(m, &m->max) + m->info.kv_bytes + MB / 2; }

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

/* Tokens before the two part; where they do, the CPU's own logits of both must be close. */
static uint32_t compare(sr_model *cpu, const answer *want, const answer *got, uint32_t prompt, const char *what, float *most)
{
    uint32_t k   = prompt;
    sr_err   err = {0};
    while (k < want->n && want->tok[k] == got->tok[k])
        k++;
    if (k == want->n)
        return MADE;
    judge j = {want->tok[k], got->tok[k], 0};
    CHECK(sr_model_eval(cpu, want->tok, k, k - 1, apart, &j, &err) == SR_OK, "%s", err.msg);
    CHECK(j.gap < CLOSE, "%s: token %u is %d, the CPU's %d by %g", what, k - prompt, j.got, j.want, (double)j.gap);
    *most = j.gap > *most ? j.gap : *most;
    return k - prompt;
}

static void every_placement_answers_as_the_cpu_does(void)
{
    static answer               prompt[PROMPTS], want[PROMPTS], got[PROMPTS];
    static const char *const    name[] = {"streamed", "shared", "by the CPU", "in place"};
    static const sr_offloadmode mode[] = {SR_OFFLOAD_STREAM, SR_OFFLOAD_AUTO, SR_OFFLOAD_CPU, SR_OFFLOAD_ZEROCOPY};
    uint32_t  n = read_prompts(prompt), alike[4] = {0}, all = 0;
    float     most = 0;
    sr_model *cpu = load_on(&sr_backend_cpu, 0, SR_OFFLOAD_NONE), *whole = load(0, SR_OFFLOAD_NONE);
    uint64_t  room = whole ? fixed(whole) : 0;
    sr_model_close(whole);
    bool ok = CHECK(n == PROMPTS, "%u prompts", n) && cpu && room && continue_all(cpu, prompt, n, want);
    for (uint32_t k = 0; ok && k < 12; k++) {
        static const uint64_t budget[] = {8, 14, 20};
        char                  what[64];
        sr_model             *m = load(room + budget[k % 3] * MB, mode[k / 3]);
        snprintf(what, sizeof what, "%s, %u MB", name[k / 3], (unsigned)budget[k % 3]);
        ok = m && CHECK(m->off, "%s: everything fitted", what) && continue_all(m, prompt, n, got);
        for (uint32_t i = 0; ok && i < n; i++, all++)
            alike[k / 3] += compare(cpu, &want[i], &got[i], prompt[i].n, what, &most) == MADE;
        sr_model_close(m);
    }
    gpu_say("of %u answers each, %u streamed, %u shared, %u by the CPU and %u in place are the CPU's to the last of %d tokens; the others part where its logits are within %.2g",
            3 * n, alike[0], alike[1], alike[2], alike[3], MADE, (double)most);
    sr_model_close(cpu);
}

const gpu_test gpu_offload_tests[] = {
    {"a_streamed_model_gives_the_bits_of_one_that_fits", a_streamed_model_gives_the_bits_of_one_that_fits},
    {"a_model_shared_with_the_cpu_agrees_within_rounding", a_model_shared_with_the_cpu_agrees_within_rounding},
    {"every_placement_answers_as_the_cpu_does", every_placement_answers_as_the_cpu_does},
    {NULL, NULL},
};
