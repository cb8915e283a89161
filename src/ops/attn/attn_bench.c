/* strata-bench-attn [heads kv_heads head_dim tokens depth sequences threads layers f16|q8 [tree]]: attention kernels of this machine.
 *
 * tokens: of each sequence in the step; depth: positions before them.  Prints, per kernel, median, p10, p90 of the
 * time of one op, GB/s of keys and values (each counted once per sequence) and GFLOP/s; the result is checked against
 * the reference first.  layers: the op goes through so many in turn, as a model
 * does; with 1 all lies in the cache.  tree: the last tokens of each sequence, 64 at most, are a tree (ops/tree.h).
 * Without arguments: the shapes of notes/0006.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ops/attn/attn_kit.h"

/* One thread: its own CPU time, so that a busy machine counts less. */
static double now_us(uint32_t threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bench(const attn_case *c, uint32_t threads)
{
    enum { ROUNDS = 21 };
    kit    k;
    double us[ROUNDS];
    case_build(&k, c, true);
    k.layers = c->layers;
    size_t bytes = (size_t)k.n.tok * c->heads * c->hd * 4;
    float *want = kit_own(&k, bytes);
    kit_run(&k, &sr_attn_ref, threads);
    memcpy(want, k.base[1], bytes);
    printf("heads %u/%u of %u, %u tokens at depth %u%s, %u sequences, %u layers, %s, %u threads\n", c->heads, c->kv_heads, c->hd,
           c->tok[0], c->past[0], c->words ? ", trees" : "", c->n_seq, c->layers, c->turned ? "f16, keys turned" : c->format_k == SR_F16 ? "f16" : "q8_0", threads);
    uint32_t visible = (c->past[0] + c->tok[0]) * c->n_seq;
    sr_cost  cost    = sr_op_cost(&k.prog, 0, &k.n, visible);
    for (const sr_cpukernel *const *f = sr_attn_kernels; *f; f++) {
        if (!kit_can(&k, *f))
            continue;
        uint32_t times = 1;
        for (double t = 0; t < 10000 && times < 100000; times *= t < 1000 ? 10 : 2) {
            t = -now_us(threads);
            kit_run_times(&k, *f, threads, times);
            t += now_us(threads);
        }
        for (int i = 0; i < ROUNDS; i++) {
            us[i] = -now_us(threads);
            kit_run_times(&k, *f, threads, times);
            us[i] = (us[i] + now_us(threads)) / times;
        }
        bool same = memcmp(want, k.base[1], bytes) == 0;
        qsort(us, ROUNDS, sizeof *us, by_value);
        double kv = cost.bytes - 8.0 * k.n.tok * c->heads * c->hd;
        printf("  %-7s %9.1f us (%.1f - %.1f)  %6.2f GB/s of kv  %7.1f GFLOP/s  %s\n", (*f)->isa, us[ROUNDS / 2], us[ROUNDS / 10],
               us[ROUNDS * 9 / 10], kv / us[ROUNDS / 2] * 1e-3, cost.flops / us[ROUNDS / 2] * 1e-3, same ? "same bits" : "WRONG");
        if (!strcmp((*f)->isa, "avx2"))
            break; /* the reference takes its time */
    }
    kit_free(&k);
}

int main(int n, char **arg)
{
    static const uint32_t table[][8] = { /* heads, kv_heads, head_dim, tokens, depth, sequences, threads, layers */
        {4, 2, 128, 1, 511, 1, 1, 1},    {4, 2, 128, 1, 511, 1, 1, 12},   {4, 2, 128, 1, 511, 1, 2, 12},
        {32, 4, 64, 1, 511, 1, 2, 22},   {32, 4, 64, 1, 2047, 1, 1, 22},  {32, 4, 64, 1, 2047, 1, 2, 22},
        {32, 8, 128, 1, 2047, 1, 2, 16}, {32, 32, 128, 1, 2047, 1, 2, 8}, {4, 2, 128, 512, 0, 1, 1, 1},
        {32, 4, 64, 512, 0, 1, 1, 1},    {32, 8, 128, 512, 0, 1, 1, 1},   {4, 2, 128, 1, 511, 16, 2, 12}};
    attn_case c = {.layers = 1, .page_tokens = 16, .format_k = SR_F16, .format_v = SR_F16};
    uint32_t  rows = SR_COUNT(table), row[8];
    const bool own = n == 10 || (n == 11 && !strcmp(arg[10], "tree"));
    uint64_t   s   = 1;
    if (own) {
        for (int i = 0; i < 8; i++)
            row[i] = (uint32_t)strtoul(arg[i + 1], NULL, 10);
        c.format_k = c.format_v = strcmp(arg[9], "q8") ? SR_F16 : SR_Q8_0;
        rows = 1;
    }
    for (uint32_t i = 0; i < rows; i++) {
        const uint32_t *x = own ? row : table[i];
        c.heads    = x[0];
        c.kv_heads = x[1];
        c.hd       = x[2];
        c.layers   = x[7];
        c.n_seq    = SR_MIN(x[5], (uint32_t)CASE_SEQS);
        for (uint32_t q = 0; q < c.n_seq; q++) {
            c.tok[q]  = x[3];
            c.past[q] = x[4];
            if (own && n == 11)
                case_draft(&c, q, SR_MIN(x[3], (uint32_t)SR_TREE_MOST), CASE_TREE, &s);
        }
        c.words = own && n == 11;
        for (int turned = c.format_k == SR_F16; turned >= 0; turned--) {
            c.turned = turned;
            bench(&c, x[6]);
        }
    }
    return 0;
}
