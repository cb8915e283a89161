#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "ops/sample/sample_kit.h"

static void fast_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    static const uint32_t vocabs[] = {1, 2, 15, 16, 17, 63, 64, 65, 300, 1000, 2049, 5000};
    uint64_t s = 7;
    uint32_t ran = 0;
    for (uint32_t round = 0; round < 3 * SR_COUNT(vocabs); round++) {
        kit      k;
        uint32_t vocab = vocabs[round % SR_COUNT(vocabs)];
        build(&k, ROWS, vocab);
        for (uint32_t i = 0; i < ROWS; i++)
            random_row(&k, i, &s);
        assert_true(kit_run(&k, &sr_sample_ref, 2));
        sr_sampled want[ROWS];
        memcpy(want, k.base[1], sizeof want);
        for (const sr_cpukernel *const *f = sr_sample_kernels; *f; f++)
            for (uint32_t threads = 1; threads <= 3; threads += 2) {
                memset(k.base[1], 0xee, sizeof want);
                if (*f == &sr_sample_ref || !kit_run(&k, *f, threads))
                    continue;
                ran++;
                for (uint32_t i = 0; i < ROWS; i++)
                    if (memcmp(&want[i], result(&k, i), sizeof *want)) {
                        const sr_sampdev *p = params(&k, i);
                        fail_msg("%s, vocab %u, round %u, row %u: token %d logprob %g, want %d %g (temp %g, top_k %u, typical %g, "
                                 "top_p %g, min_p %g, alternatives %u)", (*f)->isa, vocab, round, i, result(&k, i)->tok,
                                 (double)result(&k, i)->logprob, want[i].tok, (double)want[i].logprob, (double)p->temp, p->top_k,
                                 (double)p->typical_p, (double)p->top_p, (double)p->min_p, p->n_alt);
                    }
            }
        kit_free(&k);
    }
    assert_true(ran || !(sr_cpu_features() & SR_CPU_AVX2));
}

/* ---- against a slow model in double ----------------------------------------------------------------- */

typedef struct { double a, p, key; uint32_t id; } token;

static int by_key(const void *x, const void *y)
{
    const token *a = x, *b = y;
    return a->key > b->key ? -1 : a->key < b->key ? 1 : a->id < b->id ? -1 : 1;
}

static uint32_t model_cut(token *t, uint32_t n, double share, bool over)
{
    double all = 0, run = 0;
    for (uint32_t i = 0; i < n; i++)
        all += t[i].p;
    for (uint32_t i = 0; i < n; i++) {
        run += t[i].p / all;
        if (over ? run > share : run >= share)
            return i + 1;
    }
    return n;
}

static void model_sort_by_logit(token *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        t[i].key = t[i].a;
    qsort(t, n, sizeof *t, by_key);
}

/* Fills t with what is left after adjustments and filters; .p sums to 1 at the temperature.  Returns how many. */
static uint32_t model(kit *k, uint32_t i, token *t)
{
    const sr_sampdev *p = params(k, i);
    uint32_t          n = 0, vocab = k->op.dim[0];
    double            all = 0, entropy = 0;
    double           *a = sr_malloc(vocab * sizeof *a);
    for (uint32_t x = 0; x < vocab; x++)
        a[x] = (double)logits(k, i)[x];
    for (uint32_t x = 0; x < p->n_adjust; x++) {
        sr_adjust e = list(k, i)[x];
        if (e.count) {
            a[e.tok] = a[e.tok] > 0 ? a[e.tok] / p->rep_penalty : a[e.tok] * p->rep_penalty;
            a[e.tok] -= e.count * (double)p->freq_penalty + p->pres_penalty;
        }
        a[e.tok] += e.bias;
    }
    for (uint32_t x = 0; x < vocab; x++)
        if (a[x] > -INFINITY && (!p->mask || mask_of(k, i)[x / 32] >> x % 32 & 1))
            t[n++] = (token){.a = a[x], .p = exp(a[x]), .id = x};
    sr_free(a);
    model_sort_by_logit(t, n);
    if (p->top_k && p->top_k < n)
        n = p->top_k;
    if (p->typical_p < 1) {
        for (uint32_t x = 0; x < n; x++)
            all += t[x].p;
        for (uint32_t x = 0; x < n; x++)
            entropy -= t[x].p / all * log(t[x].p / all);
        for (uint32_t x = 0; x < n; x++)
            t[x].key = -fabs(-log(t[x].p / all) - entropy);
        qsort(t, n, sizeof *t, by_key);
        n = model_cut(t, n, p->typical_p, true);
        model_sort_by_logit(t, n);
    }
    if (p->top_p < 1)
        n = model_cut(t, n, p->top_p, false);
    while (p->min_p > 0 && n > 1 && t[n - 1].p < p->min_p * t[0].p)
        n--;
    all = 0;
    for (uint32_t x = 0; x < n; x++)
        all += t[x].p = exp((t[x].a - t[0].a) / p->temp);
    for (uint32_t x = 0; x < n; x++)
        t[x].p /= all;
    return n;
}

/* Draws many times with the filters of row 0 and compares with the model: chi-square over what is expected 5 times or more. */
static void check_draws(kit *k, const sr_cpukernel *f, uint32_t draws)
{
    uint32_t  vocab = k->op.dim[0], *seen = kit_own(k, vocab * 4), cells = 0;
    token    *t = kit_own(k, vocab * sizeof *t);
    uint32_t  n = model(k, 0, t);
    double    chi = 0, rare = 0, rare_seen = 0;
    memset(seen, 0, vocab * 4);
    for (uint32_t i = 1; i < ROWS; i++) {
        uint32_t adjust = params(k, i)->adjust;
        *params(k, i)   = *params(k, 0);
        params(k, i)->adjust = adjust;
        memcpy(list(k, i), list(k, 0), LISTED * sizeof(sr_adjust));
        if (params(k, 0)->mask)
            memcpy(mask_of(k, i), mask_of(k, 0), (vocab + 31) / 32 * 4);
        memcpy(logits(k, i), logits(k, 0), vocab * 4);
    }
    for (uint32_t d = 0; d < draws; d += ROWS) {
        for (uint32_t i = 0; i < ROWS; i++)
            params(k, i)->pos = d + i;
        assert_true(kit_run(k, f, 1));
        for (uint32_t i = 0; i < ROWS; i++) {
            assert_in_range(result(k, i)->tok, 0, vocab - 1);
            seen[result(k, i)->tok]++;
        }
    }
    draws = (draws + ROWS - 1) / ROWS * ROWS;
    for (uint32_t i = 0; i < n; i++) {
        double want = t[i].p * draws, got = seen[t[i].id];
        seen[t[i].id] = 0;
        if (want >= 5) {
            chi += (got - want) * (got - want) / want;
            cells++;
        } else {
            rare += want;
            rare_seen += got;
        }
    }
    for (uint32_t x = 0; x < vocab; x++)
        assert_int_equal(seen[x], 0); /* nothing outside the model's set */
    /* cells - 1 degrees of freedom: mean cells, deviation sqrt(2 cells); five of them and the tail's skew */
    assert_true(chi < cells + 5 * sqrt(2.0 * cells) + 12);
    assert_true(fabs(rare_seen - rare) < 6 * sqrt(rare + 1));
}

static void draws_follow_the_softmax_and_the_filters(void **state)
{
    (void)state;
    static const sr_sampdev asked[] = {
        {.temp = 1, .top_p = 1, .typical_p = 1},
        {.temp = 0.6f, .top_p = 1, .typical_p = 1},
        {.temp = 1.7f, .top_p = 1, .typical_p = 1, .top_k = 12},
        {.temp = 0.9f, .top_p = 0.8f, .typical_p = 1},
        {.temp = 1, .top_p = 1, .typical_p = 1, .min_p = 0.1f},
        {.temp = 1, .top_p = 1, .typical_p = 0.7f},
        {.temp = 0.8f, .top_p = 0.95f, .typical_p = 0.9f, .min_p = 0.02f, .top_k = 40},
        {.temp = 1, .top_p = 0, .typical_p = 1},
    };
    for (const sr_cpukernel *const *f = sr_sample_kernels; *f; f++)
        for (uint32_t c = 0; c < SR_COUNT(asked); c++) {
            uint64_t s = 21 + c;
            kit      k;
            build(&k, ROWS, 200);
            uint32_t adjust = params(&k, 0)->adjust;
            *params(&k, 0)  = asked[c];
            params(&k, 0)->adjust = adjust;
            params(&k, 0)->given = -1;
            params(&k, 0)->rep_penalty = 1.3f;
            params(&k, 0)->freq_penalty = 0.2f;
            params(&k, 0)->pres_penalty = 0.1f;
            params(&k, 0)->seed = 77;
            kit_fill(logits(&k, 0), 200, 2.5f, &s);
            params(&k, 0)->n_adjust = 20;
            for (uint32_t i = 0; i < 20; i++)
                list(&k, 0)[i] = (sr_adjust){(int32_t)(i * 9), i % 4, i == 5 ? -INFINITY : i == 7 ? 2 : 0};
            if (c % 2) {
                uint32_t *mask = mask_of(&k, 0);
                for (uint32_t i = 0; i < 7; i++)
                    mask[i] = (uint32_t)kit_random(&s) | (uint32_t)kit_random(&s);
            }
            if (kit_can(&k, *f))
                check_draws(&k, *f, *f == &sr_sample_ref ? 5000 : 20000);
            kit_free(&k);
        }
}

static void greedy_takes_the_largest_adjusted_and_the_lowest_id_of_equals(void **state)
{
    (void)state;
    for (const sr_cpukernel *const *f = sr_sample_kernels; *f; f++) {
        uint64_t s = 3;
        kit      k;
        build(&k, 4, 100);
        for (uint32_t i = 0; i < 4; i++) {
            kit_fill(logits(&k, i), 100, 1, &s);
            params(&k, i)->temp = 0;
            logits(&k, i)[40] = logits(&k, i)[70] = 9;
        }
        params(&k, 1)->n_adjust = 1;
        list(&k, 1)[0] = (sr_adjust){40, 0, -INFINITY};
        params(&k, 2)->n_adjust = 2;
        params(&k, 2)->rep_penalty = 2;
        params(&k, 2)->freq_penalty = 1;
        params(&k, 2)->pres_penalty = 0.5f;
        list(&k, 2)[0] = (sr_adjust){40, 1, 6}; /* 9/2 - 1.5 + 6 = 9: equal again */
        list(&k, 2)[1] = (sr_adjust){70, 0, 0};
        uint32_t *mask = mask_of(&k, 3);
        memset(mask, 0xff, 16);
        mask[40 / 32] &= ~(1u << 40 % 32);
        if (kit_run(&k, *f, 1)) {
            assert_int_equal(result(&k, 0)->tok, 40);
            assert_int_equal(result(&k, 1)->tok, 70);
            assert_int_equal(result(&k, 2)->tok, 40);
            assert_int_equal(result(&k, 3)->tok, 70);
        }
        kit_free(&k);
    }
}

static void logprobs_are_of_the_model_not_of_the_filters(void **state)
{
    (void)state;
    for (const sr_cpukernel *const *f = sr_sample_kernels; *f; f++) {
        enum { VOCAB = 3001 };
        uint64_t s = 5;
        kit      k;
        build(&k, 2, VOCAB);
        for (uint32_t i = 0; i < 2; i++) {
            kit_fill(logits(&k, i), VOCAB, 4, &s);
            params(&k, i)->n_alt = 20;
            params(&k, i)->top_k = 3;
        }
        params(&k, 1)->given = 1234;
        if (!kit_run(&k, *f, 2)) {
            kit_free(&k);
            continue;
        }
        assert_int_equal(result(&k, 1)->tok, 1234);
        for (uint32_t i = 0; i < 2; i++) {
            const float *x = logits(&k, i);
            double       sum = 0, top = -INFINITY, last = INFINITY;
            for (uint32_t t = 0; t < VOCAB; t++)
                top = fmax(top, (double)x[t]);
            for (uint32_t t = 0; t < VOCAB; t++)
                sum += exp(x[t] - top);
            /* the sum: VOCAB/16 + 4 roundings and 1 ulp of exp; x - m: an ulp of |x - m|; the final subtraction */
            double tol = FLT_EPSILON / 2 * (VOCAB / 16 + 8 + 4 * 40);
            assert_true(fabs(x[result(&k, i)->tok] - top - log(sum) - result(&k, i)->logprob) < tol);
            assert_int_equal(result(&k, i)->n_alt, 20);
            for (uint32_t a = 0; a < 20; a++) {
                uint32_t above = 0, id = (uint32_t)result(&k, i)->alt[a].tok;
                for (uint32_t t = 0; t < VOCAB; t++)
                    above += x[t] > x[id];
                assert_true(above <= a && x[id] <= last);
                assert_true(fabs(x[id] - top - log(sum) - result(&k, i)->alt[a].logprob) < tol);
                last = x[id];
            }
        }
        kit_free(&k);
    }
}

static void a_draw_depends_on_seed_choice_and_position_alone(void **state)
{
    (void)state;
    for (const sr_cpukernel *const *f = sr_sample_kernels; *f; f++) {
        uint64_t s = 6;
        kit      k;
        int32_t  tok[4][ROWS];
        build(&k, ROWS, 500);
        for (uint32_t i = 0; i < ROWS; i++) {
            uint64_t same = 99;
            kit_fill(logits(&k, i), 500, 0.5f, &same);
        }
        for (uint32_t round = 0; round < 4 && kit_can(&k, *f); round++) {
            for (uint32_t i = 0; i < ROWS; i++) { /* 1: other rows, 2: another seed, 3: another choice */
                params(&k, i)->pos    = round == 1 ? ROWS - 1 - i : i;
                params(&k, i)->seed   = round == 2 ? 8 : 7;
                params(&k, i)->choice = round == 3;
            }
            assert_true(kit_run(&k, *f, 1 + round));
            for (uint32_t i = 0; i < ROWS; i++)
                tok[round][i] = result(&k, i)->tok;
        }
        uint32_t seed_same = 0, choice_same = 0, pos_same = 0;
        for (uint32_t i = 0; i < ROWS && kit_can(&k, *f); i++) {
            assert_int_equal(tok[0][i], tok[1][ROWS - 1 - i]);
            seed_same += tok[0][i] == tok[2][i];
            choice_same += tok[0][i] == tok[3][i];
            pos_same += tok[0][i] == tok[0][0];
        }
        assert_true(seed_same < 5 && choice_same < 5 && pos_same < 6);
        (void)s;
        kit_free(&k);
    }
}

static void broken_or_forbidden_rows_give_no_token(void **state)
{
    (void)state;
    for (const sr_cpukernel *const *f = sr_sample_kernels; *f; f++) {
        uint64_t s = 8;
        kit      k;
        build(&k, 6, 90);
        for (uint32_t i = 0; i < 6; i++) {
            kit_fill(logits(&k, i), 90, 1, &s);
            params(&k, i)->temp  = i % 2 ? 0 : 1;
            params(&k, i)->n_alt = 5;
        }
        logits(&k, 0)[89] = NAN;
        logits(&k, 1)[3]  = INFINITY;
        for (uint32_t t = 0; t < 90; t++)
            logits(&k, 2)[t] = -INFINITY;
        memset(mask_of(&k, 3), 0, 12);
        logits(&k, 4)[0]       = NAN;
        params(&k, 4)->given   = 7;
        if (kit_run(&k, *f, 1)) {
            for (uint32_t i = 0; i < 5; i++) {
                assert_int_equal(result(&k, i)->tok, -1);
                assert_true(result(&k, i)->logprob == 0 && result(&k, i)->n_alt == 0);
            }
            assert_true(result(&k, 5)->tok >= 0 && result(&k, 5)->n_alt == 5);
        }
        kit_free(&k);
    }
}

static void cost_and_scratch_grow_with_the_vocabulary(void **state)
{
    (void)state;
    kit k;
    build(&k, 3, 1000);
    kit_program(&k);
    assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).bytes == 3 * (4000 + 172));
    assert_true(sr_op_scratch(&k.prog, 0, &k.max, 2) >= 2 * 20 * 1000);
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(draws_follow_the_softmax_and_the_filters),
        cmocka_unit_test(greedy_takes_the_largest_adjusted_and_the_lowest_id_of_equals),
        cmocka_unit_test(logprobs_are_of_the_model_not_of_the_filters),
        cmocka_unit_test(a_draw_depends_on_seed_choice_and_position_alone),
        cmocka_unit_test(broken_or_forbidden_rows_give_no_token),
        cmocka_unit_test(cost_and_scratch_grow_with_the_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
