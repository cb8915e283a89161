/* ops.c - every op family on the device against its reference in plain C, over random shapes.
 *
 * Where a header says "bits" the bits must be equal; else the tolerance is derived where it is used. */
#include "gpu.h"

#include <float.h>
#include <math.h>

#include "backend/cuda/internal.h"
#include "ops/attn/attn_kit.h"
#include "ops/embed/embed.h"
#include "ops/glu/glu.h"
#include "ops/kvio/kvio.h"
#include "ops/linear/linear.h"
#include "ops/move/move.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"
#include "ops/sample/sample_kit.h"

static const uint16_t formats[] = {SR_F32, SR_F16, SR_BF16, SR_Q4_0, SR_Q8_0, SR_Q4_K, SR_Q5_K, SR_Q6_K};

/* Runs on both; got: slot `out` from the device.  False: the device failed. */
static bool both(kit *k, const sr_cpukernel *ref, uint32_t out, gpu_run_args *a)
{
    a->out[out] = kit_own(k, (size_t)k->slot[out].fixed * k->slot[out].width * 4);
    memset(a->out[out], 0xee, (size_t)k->slot[out].fixed * k->slot[out].width * 4);
    return gpu_run(k, a) && kit_run(k, ref, 2);
}

static void same_bits(const kit *k, uint32_t out, const gpu_run_args *a, const char *what)
{
    const uint32_t *want = k->base[out], *got = a->out[out];
    size_t n = (size_t)k->slot[out].fixed * k->slot[out].width, bad = 0, first = 0;
    for (size_t i = 0; i < n; i++)
        if (want[i] != got[i] && bad++ == 0)
            first = i;
    CHECK(bad == 0, "%s: %zu of %zu words differ, first row %zu column %zu: %g, want %g", what, bad, n,
          first / k->slot[out].width, first % k->slot[out].width, (double)((const float *)got)[first],
          (double)((const float *)want)[first]);
}

/* Every block a random number in a random format. */
void *gpu_weights(kit *k, uint16_t format, uint32_t rows, uint32_t cols, uint64_t *s)
{
    size_t row = sr_row_bytes(format, cols);
    char *p    = kit_own(k, rows * row);
    float *x   = sr_malloc(cols * sizeof *x);
    for (uint32_t r = 0; r < rows; r++) {
        kit_fill(x, cols, 0.1f + 0.01f * (float)kit_below(s, 20), s);
        sr_encode_row(format, x, p + r * row, cols);
    }
    sr_free(x);
    return p;
}

static void embeddings_are_decoded_to_the_reference_s_bits(void)
{
    uint64_t s = 1;
    for (uint32_t round = 0; round < 3 * SR_COUNT(formats); round++) {
        uint16_t format = formats[round % SR_COUNT(formats)];
        uint32_t vocab = 48, dim = 256 * (1 + kit_below(&s, 3)), tok = 1 + kit_below(&s, 20);
        kit k = {.n = {.tok = tok}, .max = {.tok = tok + 5}};
        k.op  = (sr_op){
             .code = SR_OP_EMBED, .out = {0}, .w = 1, .n_w = 1, .dim = {dim}, .f = {round % 2 ? 1 : 3.25f}};
        kit_slot(&k, 0, SR_ROWS_TOK, dim, tok);
        kit_weight(&k, 1, format, gpu_weights(&k, format, vocab, dim, &s), vocab, dim);
        int32_t *ids = kit_own(&k, tok * 4);
        for (uint32_t i = 0; i < 64; i++)
            k.previous[i].tok = (int32_t)kit_below(&s, vocab);
        for (uint32_t i = 0; i < tok; i++)
            ids[i] = kit_below(&s, 3) ? (int32_t)kit_below(&s, vocab) : -1 - (int32_t)kit_below(&s, 64);
        k.batch.tok    = ids;
        k.prog.sampled = 7;
        k.slot[7]      = (sr_slot){sizeof(sr_sampled) / 4, 64, SR_I32, SR_ROWS_FIXED};
        k.base[7]      = k.previous;
        gpu_run_args a = {.tiles = round >= SR_COUNT(formats)};
        if (both(&k, &sr_embed_ref, 0, &a))
            same_bits(&k, 0, &a, sr_dtype_name(format));
        kit_free(&k);
    }
}

static void norms_are_within_the_error_of_another_order(void)
{
    static const uint32_t sizes[] = {1,   5,   31,  32,   64,   96,   128,  256,
                                     511, 512, 513, 1000, 2048, 4096, 8192, 9000};
    uint64_t s                    = 2;
    double worst                  = 0;
    for (uint32_t round = 0; round < 48; round++) {
        uint32_t n = sizes[round % SR_COUNT(sizes)], groups = n <= 512 ? 1 + kit_below(&s, 5) : 1,
                 first = kit_below(&s, 7);
        uint32_t rows = 1 + kit_below(&s, 9), width = first + n * groups + kit_below(&s, 5);
        bool in_place = round % 3 == 0;
        kit k         = {.n = {.tok = rows}, .max = {.tok = rows + 2}};
        k.op          = (sr_op){.code = SR_OP_NORM,
                                .in   = {0},
                                .out  = {(uint16_t)!in_place},
                                .w    = 0,
                                .n_w  = 1,
                                .dim  = {n, first, groups},
                                .f    = {1e-5f}};
        kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, width, rows), (size_t)rows * width, 2, &s);
        kit_fill(kit_slot(&k, 1, SR_ROWS_TOK, width, rows), (size_t)rows * width, 1, &s);
        float *w = kit_own(&k, n * 4);
        kit_fill(w, n, 1, &s);
        kit_weight(&k, 0, SR_F32, w, 1, n);
        gpu_run_args a = {.times = 0};
        uint32_t out   = in_place ? 0 : 1;
        if (both(&k, &sr_norm_ref, out, &a)) {
            /* Either sum is off by at most n/32 + 16 roundings of a sum of squares, s by half of that; four
             * more to the result. */
            double tol        = ((n / 32.0 + n / 16.0 + 32) / 2 + 4) * FLT_EPSILON;
            const float *want = k.base[out], *got = a.out[out];
            for (size_t i = 0; i < (size_t)rows * width; i++) {
                double e = fabs((double)got[i] - (double)want[i]);
                worst    = fmax(worst, e / (tol * fabs((double)want[i]) + 1e-30));
                if (!CHECK(e <= tol * fabs((double)want[i]) + 1e-30, "n %u: column %zu is %g, want %g", n,
                           i % width, (double)got[i], (double)want[i]))
                    break;
            }
        }
        kit_free(&k);
    }
    gpu_say("worst %.2f of the tolerance", worst);
}

static void rotations_give_the_reference_s_bits(void)
{
    uint64_t s = 3;
    for (uint32_t round = 0; round < 24; round++) {
        uint32_t hd = 16 * (1 + kit_below(&s, 16)), rot = 2 * (1 + kit_below(&s, hd / 2)),
                 heads = 1 + kit_below(&s, 6), first = kit_below(&s, 9);
        uint32_t tok = 1 + kit_below(&s, 12), width = first + heads * hd + kit_below(&s, 9);
        kit k        = {.n = {.tok = tok}, .max = {.tok = tok + 1}};
        int32_t *pos = kit_own(&k, tok * 4);
        float *freq  = kit_own(&k, rot * 2);
        for (uint32_t i = 0; i < tok; i++)
            pos[i] = (int32_t)kit_below(&s, round % 4 ? 5000 : 1000000);
        for (uint32_t i = 0; i < rot / 2; i++)
            freq[i] = powf(10000.0f, -2.0f * (float)i / (float)rot);
        k.batch.pos = pos;
        k.op        = (sr_op){
                   .code = SR_OP_ROPETABLE, .out = {1}, .w = 0, .n_w = 1, .dim = {rot}, .f = {round % 2 ? 1 : 1.2f}};
        kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, width, tok), (size_t)tok * width, 2, &s);
        kit_slot(&k, 1, SR_ROWS_TOK, rot, tok);
        kit_weight(&k, 0, SR_F32, freq, 1, rot / 2);
        gpu_run_args a = {.times = 0}, b = {.times = 0};
        if (both(&k, &sr_ropetable_ref, 1, &a))
            same_bits(&k, 1, &a, "table");
        k.op = (sr_op){.code  = SR_OP_ROPE,
                       .flags = round % 2 ? SR_F_NEOX : 0,
                       .in    = {0, 1},
                       .out   = {0},
                       .dim   = {heads, hd, rot, first}};
        if (both(&k, &sr_rope_ref, 0, &b))
            same_bits(&k, 0, &b, "rope");
        kit_free(&k);
    }
}

static void keys_and_values_land_in_their_places(void)
{
    static const uint32_t dims[] = {64, 96, 128, 32, 256, 80};
    uint64_t s                   = 5;
    for (int round = 0; round < 40; round++) {
        uint32_t hd = dims[kit_below(&s, 6)], tok = 1 + kit_below(&s, 30), heads = 1 + kit_below(&s, 3),
                 page = kit_below(&s, 2) ? 16 : 32, pages = 8;
        bool f16       = hd % 32 != 0;
        uint16_t fk    = f16 || kit_below(&s, 2) ? SR_F16 : SR_Q8_0,
                 fv    = f16 || kit_below(&s, 2) ? SR_F16 : SR_Q8_0;
        size_t row     = SR_MAX(sr_row_bytes(fk, hd), sr_row_bytes(fv, hd));
        kit k          = {.n = {.tok = tok}, .max = {.tok = tok + 2}};
        k.op           = (sr_op){.code = SR_OP_KVWRITE,
                                 .in   = {0},
                                 .out  = {SR_NONE},
                                 .w    = 1,
                                 .n_w  = 1,
                                 .dim  = {3, 3 + heads * hd, hd}};
        k.prog.kv[1]   = (sr_kvshape){2, heads, hd, hd, 0, fk, fv};
        sr_kvbind *kv  = &k.batch.kv[1];
        *kv            = (sr_kvbind){.page_tokens = page,
                                     .kv_heads    = heads,
                                     .dim_k       = hd,
                                     .dim_v       = hd,
                                     .format_k    = fk,
                                     .format_v    = fv,
                                     .stride      = {.tok   = row,
                                                     .head  = row * page,
                                                     .kv    = row * page * heads,
                                                     .layer = 2 * row * page * heads,
                                                     .page  = 4 * row * page * heads}};
        gpu_run_args a = {.kv_bytes = kv->stride.page * pages};
        kv->base       = kit_own(&k, a.kv_bytes);
        a.kv           = kit_own(&k, a.kv_bytes);
        memset(kv->base, 0x5a, a.kv_bytes);
        uint32_t width = 3 + 2 * heads * hd, *dst = kit_own(&k, 2 * (tok + 2) * 4), at = kit_below(&s, 3);
        kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, width, tok), (size_t)tok * width, 4, &s);
        for (uint32_t t = 0; t < tok; t++, at += 1 + kit_below(&s, 2))
            dst[tok + 2 + t] = (pages - 1 - at / page) * page + at % page;
        k.batch.dst = dst;
        float *x    = k.base[0];
        for (uint32_t i = 0; i < tok * hd / 4; i++) { /* large, halves, zeros, tiny */
            uint32_t n = kit_below(&s, tok * width);
            x[n]       = i % 4 == 0   ? x[n] * 1e5f
                         : i % 4 == 1 ? 0.5f * (float)kit_below(&s, 9)
                         : i % 4 == 2 ? 0
                                      : x[n] * 1e-6f;
        }
        if (round % 5 == 4 &&
            fk == SR_Q8_0) /* not a number: the block must say so (an f16 NaN's payload may differ) */
            x[3] = round % 2 ? NAN : INFINITY;
        if (gpu_run(&k, &a) && kit_run(&k, &sr_kvio_ref, 2))
            CHECK(memcmp(a.kv, kv->base, a.kv_bytes) == 0, "round %d: pages differ (head %u, formats %u %u)",
                  round, hd, fk, fv);
        kit_free(&k);
    }
}

static void gates_sums_and_gathers_give_the_reference_s_bits(void)
{
    uint64_t s = 6;
    for (uint32_t round = 0; round < 20; round++) {
        uint32_t n = 1 + kit_below(&s, 900), rows = 1 + kit_below(&s, 40), out = 1 + kit_below(&s, rows);
        kit k = {.n = {.tok = rows, .out = out}, .max = {.tok = rows + 1, .out = out + 1}};
        kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, 2 * n, rows), (size_t)rows * 2 * n, 5, &s);
        kit_slot(&k, 1, SR_ROWS_TOK, n, rows);
        k.op =
            (sr_op){.code = SR_OP_GLU, .flags = round % 2 ? SR_F_GELU : 0, .in = {0}, .out = {1}, .dim = {n}};
        gpu_run_args a = {.times = 0}, b = {.times = 0}, c = {.times = 0};
        if (both(&k, &sr_glu_ref, 1, &a))
            same_bits(&k, 1, &a, "glu");
        kit_fill(kit_slot(&k, 2, SR_ROWS_TOK, n, rows), (size_t)rows * n, 1, &s);
        k.op = (sr_op){.code = SR_OP_ADD, .in = {1, 2}, .out = {1}, .dim = {n}};
        if (both(&k, &sr_add_ref, 1, &b))
            same_bits(&k, 1, &b, "add");
        uint32_t *from = kit_own(&k, out * 4);
        for (uint32_t i = 0; i < out; i++)
            from[i] = kit_below(&s, rows);
        k.batch.out = from;
        kit_slot(&k, 3, SR_ROWS_OUT, n, out);
        k.op = (sr_op){.code = SR_OP_GATHER, .in = {1}, .out = {3}, .dim = {n}};
        if (both(&k, &sr_gather_ref, 3, &c))
            same_bits(&k, 3, &c, "gather");
        kit_free(&k);
    }
}

/* The square of what rounding a number of x to int8 may add to it, from k on: of a step that is a 127th of the largest of 256 a twelfth. */
static double int8_square(const float *x, uint32_t k)
{
    double top = 0;
    for (uint32_t c = k / 256 * 256; c < k / 256 * 256 + 256; c++)
        top = fmax(top, fabs((double)x[c]));
    return top / 127 * top / 127 / 12;
}

/* Whether kernels of many rows may multiply codes by int8 (linear/gemm_mma.h). */
static bool by_int8(uint16_t format, uint32_t rows)
{
    int arch = 0;
    return rows > 16 && format != SR_F16 && format != SR_BF16 && format != SR_F32 && CHECK(!sr_cuda_code_arch(&arch), "which code runs is not told") && arch < 90;
}

/* How large a weight's parts may be, by which its error goes: of Q4_K and Q5_K it is the difference of a code times a scale and a minimum, each of them
 * rounded, so as large as any of its block, though it may itself be next to nothing. */
static double part_of(uint16_t format, const float *w, uint32_t c)
{
    double most = fabs((double)w[c]);
    for (uint32_t i = c & ~31u; (format == SR_Q4_K || format == SR_Q5_K) && i <= (c | 31u); i++)
        most = fmax(most, fabs((double)w[i]));
    return most;
}

/* A product in double from the decoded weights.  A kernel may round x to f16 (2^-11 of each), or to int8, and sums k
 * products in f32 in any order; the CPU's reference, which rounds x to 8 bits, is no oracle here. */
static void check_product(const kit *k, const float *got, uint32_t rows, const char *what, double *worst)
{
    const sr_op *op = &k->op;
    float *w        = sr_malloc(op->dim[0] * sizeof *w);
    double *part    = sr_malloc(op->dim[0] * sizeof *part);
    uint32_t y0     = 0;
    bool good       = true;
    for (uint32_t i = 0; i < op->n_w; y0 += k->weight[op->w + i++].rows)
        for (uint32_t r = 0; r < k->weight[op->w + i].rows && good; r++) {
            const sr_wref *ref = &k->wref[op->w + i], *bias = &k->wref[op->w + op->n_w + i];
            sr_decode_row(ref->format, (const char *)ref->p + r * sr_row_bytes(ref->format, op->dim[0]), w,
                          op->dim[0]);
            const bool int8 = by_int8(ref->format, rows);
            for (uint32_t c = 0; c < op->dim[0]; c++)
                part[c] = part_of(ref->format, w, c);
            for (uint32_t t = 0; t < rows && good; t++) {
                const float *x = (const float *)k->base[0] + (size_t)t * op->dim[0];
                double step    = 0, rounded = 0; /* int8: the square of a number's error; of the sum's */
                double sum     = op->flags & SR_F_BIAS ? (double)((const float *)bias->p)[r] : 0,
                       size = fabs(sum), square = 0;
                for (uint32_t c = 0; c < op->dim[0]; c++) {
                    double term = (double)w[c] * (double)x[c];
                    sum += term;
                    size += fabs(term);
                    square += part[c] * part[c] * (double)x[c] * (double)x[c];
                    step = int8 && c % 256 == 0 ? int8_square(x, c) : step;
                    rounded += (double)w[c] * (double)w[c] * step;
                }
                size_t at = (size_t)t * op->dim[1] + y0 + r;
                if (op->epilogue != SR_NONE) {
                    sum += (double)((const float *)k->base[op->epilogue])[at];
                    size += fabs((double)((const float *)k->base[op->epilogue])[at]);
                }
                /* Rounded factors (weight and x to f16, each 2^-11 at most) err independently: 6 sigma of
                 * their sum. */
                double tol = 6 * sqrt(2 * square * 0x1p-22 + rounded) + size * op->dim[0] / 16 * 0x1p-24,
                       e   = fabs((double)got[at] - sum);
                *worst     = fmax(*worst, e / (tol + 1e-30));
                good = CHECK(e <= tol + 1e-30, "%s: row %u column %u is %g, want %g +- %g (%u inputs)", what,
                             t, y0 + r, (double)got[at], sum, tol, op->dim[0]);
            }
        }
    sr_free(part);
    sr_free(w);
}

static void products_are_within_the_error_of_half_precision(void)
{
    static const uint32_t rows_of[] = {1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 100};
    uint64_t s                      = 8;
    double worst                    = 0;
    for (uint32_t round = 0; round < 6 * SR_COUNT(formats); round++) {
        uint32_t rows = rows_of[kit_below(&s, SR_COUNT(rows_of))],
                 cols = 256 * (1 + kit_below(&s, round % 7 ? 5 : 16)), width = 0;
        uint16_t n_w = (uint16_t)(1 + kit_below(&s, 3)), bias = n_w <= 2 && kit_below(&s, 2) ? SR_F_BIAS : 0;
        kit k = {.n = {.tok = rows}, .max = {.tok = rows + kit_below(&s, 40)}};
        char what[64];
        for (uint32_t i = 0; i < n_w; i++) {
            uint16_t f = formats[(round + i * kit_below(&s, 3)) % SR_COUNT(formats)];
            uint32_t n = kit_below(&s, 4) ? 16 * (1 + kit_below(&s, 12)) : 1 + kit_below(&s, 100);
            kit_weight(&k, i, f, gpu_weights(&k, f, n, cols, &s), n, cols);
            if (bias) {
                float *b = kit_own(&k, n * 4);
                kit_fill(b, n, 1, &s);
                kit_weight(&k, n_w + i, SR_F32, b, 1, n);
            }
            width += n;
        }
        kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, cols, rows), (size_t)rows * cols, 1, &s);
        memset(kit_slot(&k, 1, SR_ROWS_TOK, width, rows), 0, (size_t)rows * width * 4);
        kit_fill(kit_slot(&k, 2, SR_ROWS_TOK, width, rows), (size_t)rows * width, 1, &s);
        k.op           = (sr_op){.code     = SR_OP_LINEAR,
                                 .flags    = bias,
                                 .in       = {0},
                                 .out      = {1},
                                 .epilogue = kit_below(&s, 2) ? 2 : SR_NONE,
                                 .w        = 0,
                                 .n_w      = n_w,
                                 .dim      = {cols, width}};
        gpu_run_args a = {.tiles = round % 2};
        a.out[1]       = kit_own(&k, (size_t)rows * width * 4);
        snprintf(what, sizeof what, "round %u, %s%s, %u rows", round, sr_dtype_name(k.weight[0].format),
                 a.tiles ? " tiles" : "", rows);
        if (gpu_run(&k, &a))
            check_product(&k, a.out[1], rows, what, &worst);
        kit_free(&k);
    }
    gpu_say("worst %.2f of the tolerance", worst);
}

/* ---- the largest step that an engine takes: one row more than the second and the third side of a grid may hold ---------------------- */

enum { MOST = 65536, MOST_HD = 32 };

static void most_embeddings_and_rotations(uint64_t *s)
{
    enum { VOCAB = 48, ROW = 2 * MOST_HD };
    kit k             = {.n = {.tok = MOST}, .max = {.tok = MOST}};
    gpu_run_args a[5] = {{.times = 0}};
    int32_t *ids = kit_own(&k, MOST * 4), *pos = kit_own(&k, MOST * 4);
    uint32_t *dst = kit_own(&k, 2 * MOST * 4);
    float *freq   = kit_own(&k, MOST_HD / 2 * 4);
    for (uint32_t i = 0; i < MOST; i++) {
        ids[i]        = (int32_t)kit_below(s, VOCAB);
        pos[i]        = (int32_t)i;
        dst[MOST + i] = MOST - 1 - i;
    }
    for (uint32_t i = 0; i < MOST_HD / 2; i++)
        freq[i] = powf(10000.0f, -2.0f * (float)i / MOST_HD);
    k.batch.tok = ids;
    k.batch.pos = pos;
    k.batch.dst = dst;
    kit_slot(&k, 0, SR_ROWS_TOK, 3 * MOST_HD, MOST); /* a query, a key and a value */
    kit_slot(&k, 1, SR_ROWS_TOK, MOST_HD, MOST);
    kit_weight(&k, 0, SR_F32, gpu_weights(&k, SR_F32, VOCAB, 3 * MOST_HD, s), VOCAB, 3 * MOST_HD);
    kit_weight(&k, 1, SR_F32, freq, 1, MOST_HD / 2);
    k.op = (sr_op){.code = SR_OP_EMBED, .out = {0}, .w = 0, .n_w = 1, .dim = {3 * MOST_HD}, .f = {1}};
    if (both(&k, &sr_embed_ref, 0, &a[0]))
        same_bits(&k, 0, &a[0], "embed");
    k.op = (sr_op){.code = SR_OP_ROPETABLE, .out = {1}, .w = 1, .n_w = 1, .dim = {MOST_HD}, .f = {1}};
    if (both(&k, &sr_ropetable_ref, 1, &a[1]))
        same_bits(&k, 1, &a[1], "table");
    const sr_op turn[] = {{.code = SR_OP_ROPE, .in = {0, 1}, .out = {0}, .dim = {2, MOST_HD, MOST_HD, 0}},
                          {.code = SR_OP_KVWRITE, .in = {0}, .out = {SR_NONE}, .w = 1, .dim = {MOST_HD, 2 * MOST_HD, MOST_HD}}};
    const size_t bytes = (size_t)2 * ROW * MOST;
    k.prog.kv[1]  = (sr_kvshape){1, 1, MOST_HD, MOST_HD, 0, SR_F16, SR_F16};
    k.batch.kv[1] = (sr_kvbind){.page_tokens = 16, .kv_heads = 1, .dim_k = MOST_HD, .dim_v = MOST_HD, .format_k = SR_F16, .format_v = SR_F16,
                                .stride = {.tok = ROW, .head = ROW * 16, .kv = ROW * 16, .layer = ROW * 32, .page = ROW * 32}};
    k.batch.kv[1].base = memset(kit_own(&k, bytes), 0x5a, bytes);
    for (int i = 2; i < 4; i++) /* together; each by itself */
        a[i] = (gpu_run_args){.ops = turn, .n_ops = 2, .apart = i == 3, .kv_bytes = bytes, .kv = kit_own(&k, bytes)};
    bool ran = gpu_run(&k, &a[2]) && gpu_run(&k, &a[3]);
    k.op     = turn[0];
    if (ran && both(&k, &sr_rope_ref, 0, &a[4]))
        same_bits(&k, 0, &a[4], "rope");
    k.op = turn[1];
    if (ran && CHECK(kit_run(&k, &sr_kvio_ref, 2), "no reference"))
        CHECK(memcmp(a[2].kv, k.batch.kv[1].base, bytes) == 0 && memcmp(a[3].kv, k.batch.kv[1].base, bytes) == 0, "pages differ");
    kit_free(&k);
}

static void most_gates_and_sums(uint64_t *s)
{
    kit k             = {.n = {.tok = MOST}, .max = {.tok = MOST}};
    gpu_run_args a[2] = {{.times = 0}};
    kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, 2 * MOST_HD, MOST), (size_t)MOST * 2 * MOST_HD, 2, s);
    kit_fill(kit_slot(&k, 1, SR_ROWS_TOK, MOST_HD, MOST), (size_t)MOST * MOST_HD, 2, s);
    kit_slot(&k, 2, SR_ROWS_TOK, MOST_HD, MOST);
    k.op = (sr_op){.code = SR_OP_GLU, .in = {0}, .out = {2}, .dim = {MOST_HD}};
    if (both(&k, &sr_glu_ref, 2, &a[0]))
        same_bits(&k, 2, &a[0], "glu");
    k.op = (sr_op){.code = SR_OP_ADD, .in = {2, 1}, .out = {2}, .dim = {MOST_HD}};
    if (both(&k, &sr_add_ref, 2, &a[1]))
        same_bits(&k, 2, &a[1], "add");
    kit_free(&k);
}

static void most_products(uint64_t *s)
{
    enum { COLS = 256, OUT = 32 };
    double worst   = 0;
    kit k          = {.n = {.tok = MOST}, .max = {.tok = MOST}};
    gpu_run_args a = {.tiles = true};
    kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, COLS, MOST), (size_t)MOST * COLS, 1, s);
    kit_slot(&k, 1, SR_ROWS_TOK, OUT, MOST);
    kit_weight(&k, 0, SR_Q4_K, gpu_weights(&k, SR_Q4_K, OUT, COLS, s), OUT, COLS);
    k.op     = (sr_op){.code = SR_OP_LINEAR, .in = {0}, .out = {1}, .epilogue = SR_NONE, .w = 0, .n_w = 1, .dim = {COLS, OUT}};
    a.out[1] = kit_own(&k, (size_t)MOST * OUT * 4);
    if (gpu_run(&k, &a))
        check_product(&k, a.out[1], MOST, "Q4_K tiles", &worst);
    kit_free(&k);
}

static void a_step_may_have_65536_rows(void)
{
    uint64_t s = 18;
    most_embeddings_and_rotations(&s);
    most_gates_and_sums(&s);
    most_products(&s);
}

static attn_case random_case(uint64_t *s)
{
    static const uint32_t dims[] = {64, 80, 96, 128, 256}, groups[] = {1, 2, 3, 4, 5, 7, 8, 13, 16, 24},
                          pages[] = {16, 32, 48, 128},
                          past[] = {0, 1, 15, 16, 31, 100, 254, 255, 256, 257, 511, 700, 1500};
    attn_case c                  = {.hd          = dims[kit_below(s, 5)],
                                    .layers      = 2,
                                    .page_tokens = pages[kit_below(s, 4)],
                                    .n_seq       = 1 + kit_below(s, 5),
                                    .seed        = kit_random(s),
                                    .format_k    = SR_F16,
                                    .format_v    = SR_F16};
    c.kv_heads                   = 1 + kit_below(s, 3);
    c.heads                      = c.kv_heads * groups[kit_below(s, 10)];
    if (c.hd % 32 == 0) {
        c.format_k = kit_below(s, 2) ? SR_F16 : SR_Q8_0;
        c.format_v = kit_below(s, 4) ? c.format_k : SR_F16;
    }
    c.window = kit_below(s, 3) ? 0 : 1 + kit_below(s, 400);
    c.cap    = kit_below(s, 3) ? 0 : 20;
    for (uint32_t q = 0; q < c.n_seq; q++) {
        c.tok[q]   = kit_below(s, 3) ? 1 : 1 + kit_below(s, q ? 12 : 130);
        c.past[q]  = past[kit_below(s, SR_COUNT(past))];
        c.first[q] = kit_below(s, 4) ? 0 : kit_below(s, c.past[q] + 1);
    }
    return c;
}

static uint32_t pages_of(const attn_case *c)
{
    uint32_t n = 0;
    for (uint32_t q = 0; q < c->n_seq; q++)
        n += (c->past[q] + c->tok[q] + c->page_tokens - 1) / c->page_tokens;
    return n;
}

/* q, k and p may be rounded to f16: a score of a few units is off by |s| 2^-10, its exponential by as much again; outputs are averages of
 * values of about one.  Returns the worst error, in tolerances. */
static double check_attention(const kit *k, const attn_case *c, const float *got, uint32_t round)
{
    const float *want = k->base[1];
    double tol = 0x1p-10 * (16 + 0.02 * c->hd), worst = 0;
    for (size_t i = 0; i < (size_t)k->n.tok * k->slot[1].width; i++) {
        double e = fabs((double)want[i] - (double)got[i]);
        worst    = fmax(worst, e / tol);
        if (!CHECK(e <= tol, "round %u: hd %u heads %u/%u window %u cap %g formats %u %u: row %zu column %zu is %g, want %g", round, c->hd, c->heads,
                   c->kv_heads, c->window, (double)c->cap, c->format_k, c->format_v, i / k->slot[1].width, i % k->slot[1].width, (double)got[i],
                   (double)want[i]))
            break;
    }
    return worst;
}

static void attention_is_within_the_error_of_half_precision(void)
{
    uint64_t s   = 9;
    double worst = 0;
    for (uint32_t round = 0; round < 80; round++) {
        attn_case c = random_case(&s);
        kit k;
        if (round >= 40) /* some of formats that the plain kernel takes */
            case_drafts(&c, &s);
        gpu_run_args a = {.times = 0};
        case_build(&k, &c, false);
        a.kv_bytes = pages_of(&c) * k.batch.kv[CASE_GROUP].stride.page;
        if (!both(&k, &sr_attn_ref, 1, &a)) {
            kit_free(&k);
            continue;
        }
        worst = fmax(worst, check_attention(&k, &c, a.out[1], round));
        kit_free(&k);
    }
    gpu_say("worst %.2f of the tolerance", worst);
}

/* A step of a token a sequence: its rotation, its places in pages that hold NaN there so far, ops in their order. */
static void step_of(kit *k, attn_case *c, uint64_t *s, sr_op op[3])
{
    case_build(k, c, false);
    const sr_kvbind *kv = &k->batch.kv[CASE_GROUP];
    const uint32_t rot = kit_below(s, 2) ? c->hd : 2 * (1 + kit_below(s, c->hd / 2)), q = c->heads * c->hd, own = c->kv_heads * c->hd;
    uint32_t *dst = kit_own(k, (CASE_GROUP + 1) * (size_t)k->max.tok * 4);
    float *cs     = kit_slot(k, 2, SR_ROWS_TOK, rot, k->n.tok);
    for (uint32_t i = 0; i < c->n_seq; i++)
        for (uint32_t t = k->batch.seq[i], at = c->past[i]; t < k->batch.seq[i + 1]; t++, at++) {
            uint32_t page = k->batch.table[(CASE_GROUP * k->max.seq + i) * k->max.pages + at / kv->page_tokens] & 0x3fffffff;
            dst[CASE_GROUP * k->max.tok + t] = page * kv->page_tokens + at % kv->page_tokens;
            for (uint32_t h = 0; h < 2 * c->kv_heads; h++)
                memset(case_at(k, c->layers - 1, i, at, h / 2, h % 2), 0xff, sr_row_bytes(h % 2 ? c->format_v : c->format_k, c->hd));
            for (uint32_t d = 0; d < rot / 2; d++) {
                float angle = 3 * kit_normal(s);
                cs[t * rot + d]           = cosf(angle);
                cs[t * rot + rot / 2 + d] = sinf(angle);
            }
        }
    k->batch.dst = dst;
    op[0] = (sr_op){.code = SR_OP_ROPE, .flags = kit_below(s, 2) ? SR_F_NEOX : 0, .in = {0, 2}, .out = {0}, .dim = {c->heads + c->kv_heads, c->hd, rot, 0}};
    op[1] = (sr_op){.code = SR_OP_KVWRITE, .in = {0}, .out = {SR_NONE}, .w = CASE_GROUP, .n_w = c->layers - 1, .dim = {q, q + own, c->hd}};
    op[2] = k->op;
}

/* One launch of the three gives the bits of three launches, in the pages and in the output; in a graph, too.  In every sixth round some sequences have
 * two tokens, or trees, so that it is no such step; every eighth is many short sequences, every eighth so many that blocks of four warps are taken; pages and rotation are the
 * reference's bits. */
static void a_step_s_rotation_and_writing_go_with_its_attention(void)
{
    static const sr_cpukernel *const ref[] = {&sr_rope_ref, &sr_kvio_ref, &sr_attn_ref};
    uint64_t s   = 17;
    double worst = 0;
    for (uint32_t round = 0; round < 64; round++) {
        attn_case c  = random_case(&s);
        const bool many = round % 8 == 7, more = round % 8 == 3, two = round % 6 == 5 && !many && !more;
        if (many) {
            c.n_seq    = 84 + kit_below(&s, 44);
            c.heads    = 8 * (1 + kit_below(&s, 4));
            c.kv_heads = 8;
            c.hd       = 128;
            c.format_k = c.format_v = SR_F16;
            c.page_tokens           = 16;
        }
        const bool drafted = two && round % 24 == 5; /* rows in trees, too: not one launch, and with words */
        if (more) {
            c.n_seq    = 24 + kit_below(&s, 30);
            c.heads    = 8 * (1 + kit_below(&s, 3));
            c.kv_heads = 8;
        }
        for (uint32_t i = 0; i < c.n_seq; i++) {
            c.past[i]  = many || (more && i >= 5) ? kit_below(&s, 60) : i < 5 && kit_below(&s, 2) ? c.past[i] : kit_below(&s, 300);
            c.first[i] = kit_below(&s, 4) ? 0 : kit_below(&s, c.past[i] + 1);
            c.tok[i]   = two ? 1 + kit_below(&s, 2) : 1;
        }
        if (drafted)
            case_drafts(&c, &s);
        c.words = round % 2; /* words of single tokens say nothing */
        kit k;
        sr_op op[3];
        step_of(&k, &c, &s, op);
        const size_t kv_bytes = pages_of(&c) * k.batch.kv[CASE_GROUP].stride.page, out_bytes = (size_t)k.n.tok * k.slot[1].width * 4;
        gpu_run_args a[2];
        for (int i = 0; i < 2; i++) {
            a[i] = (gpu_run_args){.ops = op, .n_ops = 3, .apart = i, .kv_bytes = kv_bytes, .times = i || two || c.format_k != c.format_v ? 0 : 2, .kv = kit_own(&k, kv_bytes)};
            a[i].out[1] = kit_own(&k, out_bytes);
        }
        bool ok = gpu_run(&k, &a[0]) && gpu_run(&k, &a[1]);
        for (uint32_t i = 0; i < 3 && ok; i++) {
            k.op = op[i];
            ok   = CHECK(kit_run(&k, ref[i], 2), "round %u: no reference of op %u", round, i);
        }
        if (ok) {
            CHECK(memcmp(a[0].kv, a[1].kv, kv_bytes) == 0 && memcmp(a[0].kv, k.batch.kv[CASE_GROUP].base, kv_bytes) == 0,
                  "round %u: pages differ: hd %u heads %u/%u rotated %u neox %u format %u", round, c.hd, c.heads, c.kv_heads, op[0].dim[2], op[0].flags, c.format_k);
            CHECK(memcmp(a[0].out[1], a[1].out[1], out_bytes) == 0, "round %u: outputs differ: hd %u heads %u/%u rotated %u neox %u format %u, %u sequences",
                  round, c.hd, c.heads, c.kv_heads, op[0].dim[2], op[0].flags, c.format_k, c.n_seq);
            worst = fmax(worst, check_attention(&k, &c, a[0].out[1], round));
        }
        kit_free(&k);
    }
    gpu_say("worst %.2f of the tolerance", worst);
}

/* The reference's sum runs over vocab/16 terms a lane, the device's in double: half that many roundings, and
 * a logarithm. */
static void check_sampled(kit *k, const sr_sampled *got, uint32_t i, const char *what)
{
    const sr_sampled *want = result(k, i);
    const sr_sampdev *p    = params(k, i);
    double tol = (k->op.dim[0] / 16.0 + 16) * FLT_EPSILON + 4 * FLT_EPSILON * fabs((double)want->logprob);
    bool same  = got->tok == want->tok && got->n_alt == want->n_alt &&
                (fabs((double)got->logprob - (double)want->logprob) <= tol || got->logprob == want->logprob);
    uint32_t bad = ~0u;
    for (uint32_t a = 0; same && a < want->n_alt && bad == ~0u; a++)
        if (got->alt[a].tok != want->alt[a].tok ||
            !(fabs((double)got->alt[a].logprob - (double)want->alt[a].logprob) <=
                  tol + 4 * FLT_EPSILON * fabs((double)want->alt[a].logprob) ||
              got->alt[a].logprob == want->alt[a].logprob))
            bad = a;
    CHECK(same && bad == ~0u,
          "%s, vocab %u, row %u: token %d logprob %.9g (%u alternatives), want %d %.9g (%u); alternative %u; "
          "temp %g top_k %u typical %g "
          "top_p %g min_p %g given %d adjusted %u mask %d",
          what, k->op.dim[0], i, got->tok, (double)got->logprob, got->n_alt, want->tok, (double)want->logprob,
          want->n_alt, bad, (double)p->temp, p->top_k, (double)p->typical_p, (double)p->top_p,
          (double)p->min_p, p->given, p->n_adjust, p->mask != 0);
}

/* Entries of one token in any order is what the device promises; the reference takes them in order: one entry
 * a token here. */
static void one_entry_a_token(kit *k, uint32_t i)
{
    sr_sampdev *p = params(k, i);
    for (uint32_t a = 0; a < p->n_adjust; a++)
        for (uint32_t b = 0; b < a; b++)
            if (list(k, i)[a].tok == list(k, i)[b].tok) {
                list(k, i)[a--] = list(k, i)[--p->n_adjust];
                break;
            }
}

static void the_same_token_is_drawn_from_the_same_logits(void)
{
    static const uint32_t vocabs[] = {1,   2,    15,   16,   17,   63,    64,   65,
                                      300, 1000, 2049, 5000, 8192, 32000, 49152};
    uint64_t s                     = 7;
    uint32_t drawn                 = 0;
    for (uint32_t round = 0; round < 3 * SR_COUNT(vocabs); round++) {
        uint32_t vocab = vocabs[round % SR_COUNT(vocabs)], rows = vocab > 5000 ? 12 : ROWS;
        kit k;
        gpu_run_args a = {.sampling_bytes = rows * (sizeof(sr_sampdev) + LISTED * sizeof(sr_adjust) +
                                                    (vocab + 31) / 32 * 4)};
        build(&k, rows, vocab);
        for (uint32_t i = 0; i < rows; i++) {
            random_row(&k, i, &s);
            one_entry_a_token(&k, i);
        }
        if (both(&k, &sr_sample_ref, 1, &a))
            for (uint32_t i = 0; i < rows; i++, drawn++)
                check_sampled(&k, (const sr_sampled *)a.out[1] + i, i, "random");
        kit_free(&k);
    }
    gpu_say("%u rows", drawn);
}

static void time_sampler(const char *what, sr_sampdev set, uint32_t rows)
{
    uint32_t vocab = 131072;
    uint64_t s     = 11;
    kit k;
    gpu_run_args a = {.sampling_bytes =
                          rows * (sizeof(sr_sampdev) + LISTED * sizeof(sr_adjust) + (vocab + 31) / 32 * 4),
                      .times = 200};
    build(&k, rows, vocab);
    k.n = k.max = (sr_shape){
        .tok = rows, .out = rows, .seq = rows, .pages = 1}; /* a step of one token a sequence: captured */
    kit_fill(k.base[0], (size_t)rows * vocab, 3, &s);
    for (uint32_t i = 0; i < rows; i++) {
        set.seed       = i;
        set.adjust     = params(&k, i)->adjust;
        *params(&k, i) = set;
        for (uint32_t c = 0; c < 40; c++) /* some tokens stand out, as a model's do */
            logits(&k, i)[kit_below(&s, vocab)] = 12 + 0.2f * (float)c;
    }
    if (both(&k, &sr_sample_ref, 1, &a)) {
        for (uint32_t i = 0; i < rows; i++)
            check_sampled(&k, (const sr_sampled *)a.out[1] + i, i, what);
        gpu_say("%s%s x%u %.1f us", what[0] == 'g' && rows == 1 ? "" : ", ", what, rows, a.ns / 1000);
    }
    kit_free(&k);
}

static void sampling_128k_tokens_takes_microseconds(void)
{
    static const uint32_t some[] = {1, 8, 128}, between[] = {32, 64}; /* of these one kind: the reference takes long */
    for (uint32_t i = 0; i < SR_COUNT(some); i++) {
        const uint32_t rows = some[i];
        sr_sampdev p = PLAIN;
        p.temp       = 0;
        time_sampler("greedy", p, rows);
        p.temp = 0.8f;
        time_sampler("temperature", p, rows);
        p.top_k = 40;
        time_sampler("top_k", p, rows);
        p.top_p = 0.95f;
        time_sampler("top_k+top_p", p, rows);
        p.top_k = 0;
        time_sampler("top_p", p, rows);
        p.top_p = 1;
        p.min_p = 0.05f;
        time_sampler("min_p", p, rows);
        p.typical_p = 0.9f;
        time_sampler("typical", p, rows);
    }
    for (uint32_t i = 0; i < SR_COUNT(between); i++) {
        sr_sampdev p = PLAIN;
        p.temp       = 0.8f;
        p.top_k      = 40;
        p.top_p      = 0.95f;
        time_sampler("top_k+top_p", p, between[i]);
    }
}

/* What a small op of a one-token step costs inside a graph: mostly its launch.  Shapes of an 8B model. */
static void small_ops_of_a_step_take_microseconds(void)
{
    for (uint32_t rows = 1; rows <= 8; rows += 7) {
        uint64_t     s = 12;
        kit          k = {0};
        gpu_run_args a = {.times = 20, .repeat = GPU_REPEAT};
        k.n = k.max  = (sr_shape){rows, rows, rows, 1};
        float    *w  = kit_own(&k, 4096 * 4);
        uint32_t *at = kit_own(&k, 2 * rows * 4);
        size_t    row = 128 * 2;
        kit_fill(kit_slot(&k, 0, SR_ROWS_TOK, 28672, rows), (size_t)rows * 28672, 1, &s);
        kit_fill(kit_slot(&k, 1, SR_ROWS_TOK, 14336, rows), (size_t)rows * 14336, 1, &s);
        kit_fill(kit_slot(&k, 2, SR_ROWS_TOK, 128, rows), (size_t)rows * 128, 1, &s);
        kit_fill(w, 4096, 1, &s);
        kit_weight(&k, 0, SR_F32, w, 1, 4096);
        for (uint32_t i = 0; i < rows; i++)
            at[i] = at[rows + i] = i * 16;
        k.batch.dst    = at;
        k.prog.kv[1]   = (sr_kvshape){1, 8, 128, 128, 0, SR_F16, SR_F16};
        k.batch.kv[1]  = (sr_kvbind){.page_tokens = 16, .kv_heads = 8, .dim_k = 128, .dim_v = 128, .format_k = SR_F16, .format_v = SR_F16,
                                     .stride = {.tok = row, .head = row * 16, .kv = row * 128, .layer = row * 256, .page = row * 256}};
        a.kv_bytes     = rows * row * 256;
        k.batch.kv[1].base = kit_own(&k, a.kv_bytes);
        memset(k.batch.kv[1].base, 0, a.kv_bytes);
        const sr_op ops[] = {
            {.code = SR_OP_NORM, .in = {1}, .out = {0}, .w = 0, .n_w = 1, .dim = {4096, 0, 1}, .f = {1e-5f}},
            {.code = SR_OP_ROPE, .in = {0, 2}, .out = {0}, .dim = {40, 128, 128, 0}},
            {.code = SR_OP_KVWRITE, .in = {0}, .out = {SR_NONE}, .w = 1, .n_w = 0, .dim = {4096, 5120, 128}},
            {.code = SR_OP_GLU, .in = {0}, .out = {1}, .dim = {14336}},
        };
        for (size_t i = 0; i < SR_COUNT(ops); i++) {
            k.op = ops[i];
            k.slot[0].width = ops[i].code == SR_OP_NORM ? 4096 : ops[i].code == SR_OP_GLU ? 28672 : 6144;
            k.slot[1].width = ops[i].code == SR_OP_NORM ? 4096 : 14336;
            if (gpu_run(&k, &a))
                gpu_say("%s%s x%u %.2f us", i || rows > 1 ? ", " : "", sr_op_name(k.op.code), rows, a.ns / 1000);
        }
        kit_free(&k);
    }
}

static void tiles_made_on_the_device_have_the_bytes_of_the_host_s(void)
{
    uint64_t s = 11;
    uint32_t n = 0;
    for (uint32_t round = 0; round < 4 * SR_COUNT(formats); round++) {
        uint16_t format = formats[round % SR_COUNT(formats)], layout = 0;
        uint32_t rows = 16 * (1 + kit_below(&s, 9)), cols = 256 * (1 + kit_below(&s, 7));
        size_t   row = sr_row_bytes(format, cols);
        kit k = {.n = {.tok = 1}};
        uint8_t     *file = kit_own(&k, rows * row), *want = kit_own(&k, rows * row), *got = kit_own(&k, rows * row);
        const void **at = kit_own(&k, rows * sizeof *at);
        for (size_t i = 0; i < rows * row; i++)
            file[i] = (uint8_t)(kit_random(&s) >> 40);
        for (uint32_t r = 0; r < rows; r++)
            at[r] = file + r * row;
        sr_err err = {0};
        void  *src = NULL, *dst = NULL;
        const sr_backend *be = &sr_backend_cuda;
        if (be->pack(format, rows, cols, at, want, &layout)) {
            sr_span in = {.bytes = rows * row, .src = file, .n = 1}, out = {.bytes = rows * row, .dst = got, .n = 1};
            CHECK(be->alloc(gpu_device(), SR_MEM_DEVICE, rows * row, "blocks", &src, &err) == SR_OK &&
                  be->alloc(gpu_device(), SR_MEM_DEVICE, rows * row, "tiles", &dst, &err) == SR_OK, "%s", err.msg);
            in.dst  = src;
            out.src = dst;
            CHECK(be->copyv(gpu_device(), SR_Q_IN, &in, 1, &err) == SR_OK && be->tile(gpu_device(), SR_Q_IN, format, rows, cols, src, dst, &err) == SR_OK &&
                  be->copyv(gpu_device(), SR_Q_IN, &out, 1, &err) == SR_OK &&
                  be->wait(gpu_device(), be->mark(gpu_device(), SR_Q_IN), UINT64_MAX, &err) == SR_OK, "%s", err.msg);
            CHECK(memcmp(want, got, rows * row) == 0, "%s, %u x %u", sr_dtype_name(format), rows, cols);
            be->free(gpu_device(), src);
            be->free(gpu_device(), dst);
            n++;
        }
        kit_free(&k);
    }
    gpu_say("%u matrices", n);
}

const gpu_test gpu_op_tests[] = {
    {"tiles_made_on_the_device_have_the_bytes_of_the_host_s", tiles_made_on_the_device_have_the_bytes_of_the_host_s},
    {"embeddings_are_decoded_to_the_reference_s_bits", embeddings_are_decoded_to_the_reference_s_bits},
    {"norms_are_within_the_error_of_another_order", norms_are_within_the_error_of_another_order},
    {"rotations_give_the_reference_s_bits", rotations_give_the_reference_s_bits},
    {"keys_and_values_land_in_their_places", keys_and_values_land_in_their_places},
    {"gates_sums_and_gathers_give_the_reference_s_bits", gates_sums_and_gathers_give_the_reference_s_bits},
    {"products_are_within_the_error_of_half_precision", products_are_within_the_error_of_half_precision},
    {"a_step_may_have_65536_rows", a_step_may_have_65536_rows},
    {"attention_is_within_the_error_of_half_precision", attention_is_within_the_error_of_half_precision},
    {"a_step_s_rotation_and_writing_go_with_its_attention", a_step_s_rotation_and_writing_go_with_its_attention},
    {"the_same_token_is_drawn_from_the_same_logits", the_same_token_is_drawn_from_the_same_logits},
    {"sampling_128k_tokens_takes_microseconds", sampling_128k_tokens_takes_microseconds},
    {"small_ops_of_a_step_take_microseconds", small_ops_of_a_step_take_microseconds},
    {NULL, NULL},
};
