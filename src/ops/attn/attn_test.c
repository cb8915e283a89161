#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "ops/attn/attn_kit.h"

/* Softmax attention of one row and head in double, and the error that f32 may make:
 * a score is off by at most (hd + 4) eps sum|q k| scale, which is the relative error of its exp; then the sums of n terms. */
static double check_row(const kit *k, const attn_case *c, uint32_t q, uint32_t t, uint32_t h, const float *got)
{
    uint32_t hd = c->hd, row = k->batch.seq[q] + t, end = c->past[q] + t + 1, begin = c->first[q], tree = end - 1; /* tree: place of its first row */
    uint64_t word = k->batch.tree ? k->batch.tree[row] : 0;
    if (word) {
        tree = end - 1 - sr_tree_own(word);
        end  = tree + sr_tree_bits(word);
    }
    if (c->window && end > c->window && end - c->window > begin)
        begin = end - c->window;
    const float *x = (const float *)k->base[0] + (size_t)row * k->slot[0].width + (size_t)h * hd;
    double out[256] = {0}, top = -INFINITY, sum = 0, slack = 0, peak = 0;
    double *s = sr_malloc((end - begin) * sizeof *s);
    float   kv[256];
    for (uint32_t i = begin; i < end; i++) {
        double dot = 0, size = 0;
        case_key(k, c, q, sr_tree_place(word, tree, i), h / (c->heads / c->kv_heads), kv);
        for (uint32_t d = 0; d < hd; d++) {
            dot += (double)x[d] * kv[d];
            size += fabs((double)x[d] * kv[d]);
        }
        s[i - begin] = dot * k->op.f[0];
        slack        = fmax(slack, size * k->op.f[0]);
        if (c->cap > 0)
            s[i - begin] = c->cap * tanh(s[i - begin] / c->cap);
        top = fmax(top, s[i - begin]);
    }
    for (uint32_t i = begin; i < end; i++) {
        double p = exp(s[i - begin] - top);
        sr_decode_row(c->format_v, case_at(k, c->layers - 1, q, sr_tree_place(word, tree, i), h / (c->heads / c->kv_heads), true), kv, hd);
        for (uint32_t d = 0; d < hd; d++) {
            out[d] += p * kv[d];
            peak = fmax(peak, fabs((double)kv[d]));
        }
        sum += p;
    }
    sr_free(s);
    double eps = FLT_EPSILON / 2, tol = 2 * eps * ((hd + 4) * slack + 2 * fmax(fabs(top), slack) + (end - begin) + 16) * peak, worst = 0;
    for (uint32_t d = 0; d < hd; d++) {
        double e = fabs(out[d] / sum - got[d]);
        assert_true(e <= tol);
        worst = fmax(worst, e / tol);
    }
    return worst;
}

static attn_case random_case(uint64_t *s)
{
    static const uint32_t dims[] = {64, 80, 96, 128, 256}, groups[] = {1, 2, 3, 4, 5, 7, 8, 13};
    attn_case c = {.hd = dims[kit_below(s, 5)], .layers = 2, .page_tokens = kit_below(s, 2) ? 16 : 32,
                   .n_seq = 1 + kit_below(s, 5), .seed = kit_random(s), .format_k = SR_F16, .format_v = SR_F16};
    static const uint32_t past[] = {0, 1, 15, 16, 31, 100, 254, 255, 256, 257, 511, 512, 513, 700};
    uint32_t group = groups[kit_below(s, 8)], kv_heads = 1 + kit_below(s, 3);
    c.kv_heads     = SR_MIN(kv_heads, SR_MAX(1u, 400 / (c.hd * group))); /* the reference takes its time */
    c.heads        = c.kv_heads * group;
    if (c.hd % 32 == 0) {
        c.format_k = kit_below(s, 3) ? SR_F16 : SR_Q8_0;
        c.format_v = kit_below(s, 3) ? SR_F16 : SR_Q8_0;
    }
    c.turned = c.format_k == SR_F16 && kit_below(s, 2);
    c.window = kit_below(s, 3) ? 0 : 1 + kit_below(s, 400);
    c.cap    = kit_below(s, 3) ? 0 : 20;
    for (uint32_t q = 0; q < c.n_seq; q++) {
        c.tok[q]   = kit_below(s, 3) ? 1 : 1 + kit_below(s, q ? 12 : 50);
        c.past[q]  = past[kit_below(s, SR_COUNT(past))];
        c.first[q] = kit_below(s, 4) ? 0 : kit_below(s, c.past[q] + 1);
    }
    return c;
}

static attn_case random_trees(uint64_t *s)
{
    attn_case c = random_case(s);
    case_drafts(&c, s);
    return c;
}

static void reference_agrees_with_double(void **state)
{
    (void)state;
    uint64_t s = 11;
    for (int round = 0; round < 14; round++) {
        attn_case c = round < 8 ? random_case(&s) : random_trees(&s);
        kit       k;
        case_build(&k, &c, false);
        assert_true(kit_run(&k, &sr_attn_ref, 2));
        for (uint32_t q = 0; q < c.n_seq; q++)
            for (uint32_t t = 0; t < c.tok[q]; t += 7)
                for (uint32_t h = 0; h < c.heads; h++)
                    check_row(&k, &c, q, t, h, (const float *)k.base[1] + ((size_t)(k.batch.seq[q] + t) * c.heads + h) * c.hd);
        kit_free(&k);
    }
}

static void fast_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    enum { ROUNDS = 24 };
    uint64_t s = 5;
    uint32_t ran = 0;
    for (int round = 0; round < ROUNDS; round++) {
        attn_case c = round % 2 ? random_trees(&s) : random_case(&s);
        kit       k;
        case_build(&k, &c, false);
        size_t bytes = (size_t)k.n.tok * c.heads * c.hd * 4;
        float *want = kit_own(&k, bytes), *got = k.base[1];
        assert_true(kit_run(&k, &sr_attn_ref, 2));
        memcpy(want, got, bytes);
        for (const sr_cpukernel *const *f = sr_attn_kernels; *f; f++)
            for (uint32_t threads = *f == &sr_attn_ref ? 3 : 1; threads <= 3; threads++) {
                memset(got, 0xee, bytes);
                if (!kit_run(&k, *f, threads))
                    continue;
                ran++;
                if (memcmp(want, got, bytes))
                    fail_msg("%s, %u threads, round %d: heads %u/%u of %u, window %u, %u sequences, words %d", (*f)->isa, threads,
                             round, c.heads, c.kv_heads, c.hd, c.window, c.n_seq, c.words);
            }
        kit_free(&k);
    }
    assert_true(ran >= (sr_cpu_features() & SR_CPU_AVX2 ? ROUNDS * 4 : ROUNDS)); /* a fast one beside the reference */
}

/* The row of the last position of sequence 0, with everything else as the case says. */
static void last_row(const attn_case *c, const sr_cpukernel *kernel, uint32_t threads, float *out)
{
    kit k;
    case_build(&k, c, false);
    assert_true(kit_run(&k, kernel, threads));
    memcpy(out, (float *)k.base[1] + (size_t)(c->tok[0] - 1) * c->heads * c->hd, (size_t)c->heads * c->hd * 4);
    kit_free(&k);
}

static void a_row_does_not_depend_on_cut_company_or_layout(void **state)
{
    (void)state;
    static const uint32_t cuts[] = {1, 2, 7, 16, 17, 64, 200, 300, 600};
    float want[4 * 16], got[4 * 16];
    for (const sr_cpukernel *const *f = sr_attn_kernels; *f; f++) {
        if ((sr_cpu_features() & (*f)->needs) != (*f)->needs)
            continue;
        attn_case c = {.heads = 4, .kv_heads = 2, .hd = 16, .layers = 2, .page_tokens = 16, .n_seq = 1, .tok = {600},
                       .format_k = SR_F16, .format_v = SR_F16};
        last_row(&c, *f, 1, want);
        for (uint32_t i = 0; i < SR_COUNT(cuts); i++) {
            c.tok[0]  = cuts[i];
            c.past[0] = 600 - cuts[i];
            c.turned  = i % 2;
            c.n_seq   = 1 + i % 4;
            for (uint32_t q = 1; q < c.n_seq; q++) {
                c.tok[q]  = q == 2 ? 40 : 1;
                c.past[q] = 333 * q;
            }
            last_row(&c, *f, 1 + i % 3, got);
            assert_memory_equal(want, got, sizeof want);
        }
    }
}

/* Drafted row `draft` of sequence 0 as the last token of the text that its path is, in a step of `tok` tokens. */
static void as_a_text(const attn_case *tree, uint32_t draft, uint32_t tok, const sr_cpukernel *kernel, float *out)
{
    attn_case c  = *tree;
    uint64_t  w  = case_word(tree, 0, draft);
    uint32_t  at = tree->past[0] + tree->tok[0] - tree->drafted[0]; /* tokens in front of the tree */
    c.words      = false;
    c.n_seq      = 1;
    c.drafted[0] = 0;
    c.path_at    = at;
    for (uint32_t i = 0; i <= draft; i++)
        if (w >> i & 1)
            c.path[c.n_path++] = at + i;
    c.tok[0]  = SR_MIN(tok, at + c.n_path - tree->first[0]);
    c.past[0] = at + c.n_path - c.tok[0];
    last_row(&c, kernel, 2, out);
}

static void a_drafted_row_has_the_bits_of_its_path_as_a_text(void **state)
{
    (void)state;
    enum { ROUNDS = 12 };
    uint64_t s = 23;
    float    want[13 * 3 * 256];
    for (int round = 0; round < ROUNDS; round++) {
        attn_case c = random_trees(&s);
        kit       k;
        uint32_t  n = 1 + kit_below(&s, SR_TREE_MOST);
        c.tok[0]    = n + (round % 3 ? 0 : kit_below(&s, 9));
        case_draft(&c, 0, n, round % 4 ? CASE_TREE : CASE_STAR, &s);
        case_build(&k, &c, false);
        for (const sr_cpukernel *const *f = sr_attn_kernels; *f; f++) {
            if (!kit_run(&k, *f, 1 + (uint32_t)round % 3))
                continue;
            const bool slow = *f == &sr_attn_ref; /* it is the others' measure already */
            for (uint32_t i = slow ? n - 1 : 0; i < n; i += 1 + kit_below(&s, n / 3 + 1)) {
                as_a_text(&c, i, 1 + kit_below(&s, 40), *f, want);
                const float *got = (const float *)k.base[1] + (size_t)(c.tok[0] - n + i) * c.heads * c.hd;
                if (memcmp(want, got, (size_t)c.heads * c.hd * 4))
                    fail_msg("%s, round %d: drafted row %u of %u, word %#llx; heads %u/%u of %u, window %u, past %u", (*f)->isa, round, i, n,
                             (unsigned long long)case_word(&c, 0, i), c.heads, c.kv_heads, c.hd, c.window, c.past[0]);
            }
        }
        kit_free(&k);
    }
}

static void a_chain_is_a_text(void **state)
{
    (void)state;
    uint64_t s = 29;
    for (int round = 0; round < 6; round++) {
        attn_case c = random_trees(&s);
        for (uint32_t q = 0; q < c.n_seq; q++)
            case_draft(&c, q, c.drafted[q], CASE_CHAIN, &s);
        for (const sr_cpukernel *const *f = sr_attn_kernels; *f; f++) {
            kit k;
            case_build(&k, &c, false);
            size_t bytes = (size_t)k.n.tok * c.heads * c.hd * 4;
            void  *want = kit_own(&k, bytes);
            if (kit_run(&k, *f, 2)) {
                memcpy(want, k.base[1], bytes);
                k.batch.tree = NULL;
                memset(k.base[1], 0xee, bytes);
                assert_true(kit_run(&k, *f, 2));
                assert_memory_equal(want, k.base[1], bytes);
            }
            kit_free(&k);
        }
    }
}

static void cost_counts_pages_once_and_scores_per_token(void **state)
{
    (void)state;
    attn_case c = {.heads = 8, .kv_heads = 2, .hd = 64, .layers = 2, .page_tokens = 16, .n_seq = 1, .tok = {1}, .past = {999},
                   .format_k = SR_F16, .format_v = SR_Q8_0};
    kit k;
    case_build(&k, &c, false);
    kit_program(&k);
    sr_cost one = sr_op_cost(&k.prog, 0, &k.n, 1000);
    assert_true(one.bytes == 1000.0 * 2 * (64 * 2 + 2 * 34) + 8.0 * 8 * 64);
    assert_true(one.flops == 4.0 * 8 * 64 * 1000);
    sr_cost prompt = sr_op_cost(&k.prog, 0, &(sr_shape){.tok = 100, .seq = 1}, 100);
    assert_true(prompt.flops == 4.0 * 8 * 64 * 5050); /* 1 + 2 + ... + 100 */
    k.op.dim[3]     = 200;
    sr_cost windowed = sr_op_cost(&k.prog, 0, &k.n, 1000);
    assert_true(windowed.flops == 4.0 * 8 * 64 * 200);
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_agrees_with_double),
        cmocka_unit_test(fast_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(a_row_does_not_depend_on_cut_company_or_layout),
        cmocka_unit_test(a_drafted_row_has_the_bits_of_its_path_as_a_text),
        cmocka_unit_test(a_chain_is_a_text),
        cmocka_unit_test(cost_counts_pages_once_and_scores_per_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
