/* slots_test: programs run on slots that share memory, with nothing but names in them: whoever reads must find what was written for him. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "format/synth.h"
#include "model/model.h"
#include "ops/slots.h"

enum { USES = 8 };

typedef struct {
    const sr_program *p;
    sr_shape          max;
    size_t            at[SR_SLOTS_MOST];
    bool              there[SR_SLOTS_MOST]; /* the slot holds what was last written to it */
} stage;

static uint16_t use(const sr_op *o, int k) { return k < 4 ? o->in[k] : k == 4 ? o->epilogue : o->out[k - 5]; }

static bool overlap(const stage *s, uint32_t a, uint32_t b)
{
    return s->at[a] < s->at[b] + sr_slot_bytes(s->p, b, &s->max) && s->at[b] < s->at[a] + sr_slot_bytes(s->p, a, &s->max);
}

static void run(stage *s, uint32_t from, uint32_t to)
{
    const sr_program *p = s->p;
    for (uint32_t i = from; i < to; i++) {
        for (int k = 0; k < USES; k++) {
            uint16_t slot = use(&p->op[i], k);
            if (slot == SR_NONE)
                continue;
            if (k <= 4 && !s->there[slot])
                fail_msg("op %u (%s) reads slot %u, which is no longer there", i, sr_op_name(p->op[i].code), slot);
            if (k <= 4)
                continue;
            for (uint32_t j = 0; j < p->n_slot; j++)
                s->there[j] = j == slot || (s->there[j] && !overlap(s, slot, j));
        }
    }
}

/* Launches of several ops: what the first reads is not where the last writes. */
static void neighbours_do_not_meet(const stage *s)
{
    const sr_program *p = s->p;
    for (uint32_t i = 0; i < p->n_op; i++)
        for (uint32_t o = i; o < SR_MIN(i + 1 + SR_SLOTS_LINGER, p->n_op); o++)
            for (int r = 0; r <= 4; r++)
                for (int w = 5; w < USES; w++) {
                    uint16_t in = use(&p->op[i], r), out = use(&p->op[o], w);
                    if (in != SR_NONE && out != SR_NONE && in != out)
                        assert_false(overlap(s, in, out));
                }
}

static void results_are_there(const stage *s)
{
    assert_true(s->there[s->p->logits]);
    assert_true(s->there[s->p->sampled]);
    assert_true(s->there[s->p->hidden]);
}

/* shared: the CPU takes a share of every feed-forward, whose sums come from outside. */
static sr_compiled *compiled(const char *name, bool shared)
{
    static uint8_t all[256];
    sr_gguf      *g   = NULL;
    sr_compiled  *c   = NULL;
    sr_err        err = {0};
    sr_compilecfg cfg = {.page_tokens = 16, .kv_format_k = SR_F16, .kv_format_v = SR_F16, .shared = shared ? all : NULL};
    memset(all, 1, sizeof all);
    if (sr_synth_open(name, false, &g, &err) || sr_compile(g, &cfg, &c, &err))
        fail_msg("%s", err.msg);
    sr_gguf_close(g);
    return c;
}

static const sr_shape shapes[] = {{2048, 128, 128, 512}, {512, 8, 8, 32}, {64, 64, 64, 4}, {7, 3, 5, 2}, {1, 1, 1, 1}};

static void begin(stage *s)
{
    for (uint32_t i = 0; i < s->p->n_slot; i++)
        s->there[i] = true; /* from outside, or never read */
    for (uint32_t i = 0; i < s->p->n_op; i++)
        for (int k = 5; k < USES; k++)
            if (use(&s->p->op[i], k) != SR_NONE)
                s->there[use(&s->p->op[i], k)] = false;
}

static void whoever_reads_finds_what_was_written_for_him(void **state)
{
    (void)state;
    static const char *const names[] = {"synth:tiny:q4_0", "synth:tiny-qwen2:q8_0", "synth:8b:q4_k_m", "synth:70b:q4_k_m"};
    for (size_t n = 0; n < SR_COUNT(names); n++)
        for (int shared = 0; shared < 2; shared++) {
            sr_compiled *c = compiled(names[n], shared);
            for (size_t i = 0; i < SR_COUNT(shapes); i++) {
                stage             s = {.p = &c->prog, .max = shapes[i]};
                const sr_program *p = s.p;
                assert_in_range(p->n_slot, 1, SR_SLOTS_MOST);
                size_t bytes = sr_slots_place(p, &s.max, s.at);
                for (uint32_t k = 0; k < p->n_slot; k++)
                    assert_true(s.at[k] % SR_SLOTS_ALIGN == 0 && s.at[k] + sr_slot_bytes(p, k, &s.max) <= bytes);
                begin(&s);
                run(&s, 0, p->n_op);
                results_are_there(&s);
                run(&s, 0, p->n_op); /* the next step */
                neighbours_do_not_meet(&s);
                /* After half the layers the head, and then the others all the same (engine/skip.h). */
                uint32_t half = p->segment[1 + (p->n_segment - 2) / 2], last = p->segment[p->n_segment - 2], head = p->segment[p->n_segment - 1];
                while (p->op[last].code != SR_OP_GATHER)
                    last++;
                begin(&s);
                run(&s, 0, half);
                for (uint32_t k = last; k < head && p->op[k].code == SR_OP_GATHER; k++)
                    if (p->op[k].in[0] == p->op[0].out[0])
                        run(&s, k, k + 1);
                run(&s, head, p->n_op);
                results_are_there(&s);
                run(&s, half, p->n_op);
                results_are_there(&s);
            }
            sr_compiled_close(c);
        }
}

static void a_layer_left_out_takes_nothing_along(void **state)
{
    (void)state;
    sr_compiled      *c = compiled("synth:tiny:q4_0", false);
    const sr_program *p = &c->prog;
    for (uint32_t l = 1; l + 2 < p->n_segment; l++) {
        stage s = {.p = p, .max = shapes[1]};
        sr_slots_place(p, &s.max, s.at);
        begin(&s);
        run(&s, 0, p->segment[l]);
        run(&s, p->segment[l + 1], p->n_op);
        results_are_there(&s);
    }
    sr_compiled_close(c);
}

static void activations_of_8b_at_128_sequences_fit_420_mb(void **state)
{
    (void)state;
    sr_compiled *c     = compiled("synth:8b:q4_k_m", false);
    sr_shape     max   = {2048, 128, 128, 512}; /* 8192 tokens of context */
    size_t       alone = 0, bytes = sr_slots_place(&c->prog, &max, NULL);
    for (uint32_t i = 0; i < c->prog.n_slot; i++)
        alone += sr_slot_bytes(&c->prog, i, &max);
    assert_in_range(bytes, 300000000, 430000000); /* with 128 MB of the kernels' own: below 600 MB */
    assert_true(bytes < alone * 3 / 4);
    sr_compiled_close(c);
}

/* Programs without segments are tests' and rigs': their slots are written and read from outside. */
static void without_segments_nothing_is_shared(void **state)
{
    (void)state;
    sr_slot    slot[3] = {{.width = 4, .fixed = 3, .rows = SR_ROWS_FIXED}, {.width = 100, .rows = SR_ROWS_TOK}, {.width = 1, .rows = SR_ROWS_SEQ}};
    sr_program p       = {.slot = slot, .n_slot = 3};
    sr_shape   max     = {10, 1, 2, 1};
    size_t     at[3];
    assert_int_equal(sr_slots_place(&p, &max, at), 256 + 4096 + 256);
    assert_int_equal(at[0], 0);
    assert_int_equal(at[1], 256);
    assert_int_equal(at[2], 256 + 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_reads_finds_what_was_written_for_him),
        cmocka_unit_test(a_layer_left_out_takes_nothing_along),
        cmocka_unit_test(activations_of_8b_at_128_sequences_fit_420_mb),
        cmocka_unit_test(without_segments_nothing_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
