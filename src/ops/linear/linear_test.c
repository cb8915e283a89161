/* Every kernel that this machine can run against the reference, bit by bit; the reference against doubles. */
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/cpu.h"
#include "base/mem.h"
#include "ops/linear/linear.h"

enum { MAX_W = 3 };

typedef struct {              /* an op with its data */
    sr_program prog;
    sr_op      op;
    sr_slot    slot[3];
    sr_weight  weight[2 * MAX_W];
    sr_wref    ref[2 * MAX_W];
    void      *held[2 * MAX_W];
    float     *x, *y, *z, *out; /* out: y before the op ran */
    sr_shape   n, max;
    size_t     width;
} scene;

static uint64_t seed = 1;

static uint32_t draw(uint32_t n) /* 0 .. n-1 */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static float number(void) { return ((float)draw(20001) - 10000) / 5000; }

/* ---- random data ------------------------------------------------------------------------------------ */

typedef enum { PLAIN, EXTREME } flavour;

static uint16_t scale_bits(flavour f)
{
    static const uint16_t odd[] = {0, 0x8000, 1, 0x8001, 0x03ff, 0x7bff, 0xfbff, 0x3c00, 0x0400};
    if (f == EXTREME && draw(2))
        return odd[draw(SR_COUNT(odd))];
    return sr_f32_to_f16(number() / 100);
}

/* Blocks of random bits, so that every code and scale occurs, with scales that are numbers. */
static void random_weights(uint32_t format, unsigned char *p, size_t n, flavour f)
{
    const sr_dtypeinfo *t = sr_dtype_info(format);
    for (size_t b = 0; b < n / t->block; b++, p += t->bytes) {
        uint32_t fill = f == EXTREME ? draw(4) : 0; /* 1: all codes smallest, 2: all largest */
        for (uint32_t i = 0; i < t->bytes; i++)
            p[i] = fill == 1 ? 0 : fill == 2 ? 0xff : (unsigned char)draw(256);
        uint16_t d = scale_bits(f), dmin = scale_bits(f);
        float    v = f == EXTREME && draw(8) == 0 ? 1e30f : number();
        switch (format) {
        case SR_F32: memcpy(p, &v, 4); break;
        case SR_F16: memcpy(p, &d, 2); break;
        case SR_BF16: d = sr_f32_to_bf16(v); memcpy(p, &d, 2); break;
        case SR_Q6_K: memcpy(p + 208, &d, 2); break;
        case SR_Q4_K:
        case SR_Q5_K: memcpy(p + 2, &dmin, 2); /* fall through */
        default: memcpy(p, &d, 2);
        }
    }
}

static void random_rows(float *x, size_t n, flavour f)
{
    float scale = 1;
    for (size_t i = 0; i < n; i++) {
        if (i % 32 == 0)
            scale = f == EXTREME ? (float[]){1, 0, 1e-42f, 1e-38f, 3e4f, 1e8f}[draw(6)] : 1;
        x[i] = number() * scale;
        if (f == EXTREME && draw(50) == 0)
            x[i] = 0.5f; /* halves: rounding ties */
    }
}

/* ---- scenes ----------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t rows, cols, n_w, format[MAX_W], n_row[MAX_W];
    bool     bias, residual, in_place;
    flavour  f;
} spec;

static void *block_of(size_t bytes) { void *p = sr_aligned(64, sr_align_up(bytes + 64, 64)); assert_non_null(p); return p; }

static void scene_open(scene *s, const spec *c)
{
    memset(s, 0, sizeof *s);
    for (uint32_t k = 0; k < c->n_w; k++)
        s->width += c->n_row[k];
    for (uint32_t k = 0; k < c->n_w; k++) {
        size_t   row = sr_row_bytes(c->format[k], c->cols);
        uint32_t b   = c->n_w + k;
        s->weight[k] = (sr_weight){.format = (uint16_t)c->format[k], .rows = c->n_row[k], .cols = c->cols};
        s->weight[b] = (sr_weight){.format = SR_F32, .rows = 1, .cols = c->n_row[k]};
        s->held[k]   = block_of(row * c->n_row[k] + 2);
        s->held[b]   = block_of(c->n_row[k] * sizeof(float));
        /* In a file a row starts at any even address. */
        s->ref[k] = (sr_wref){.p = (char *)s->held[k] + 2 * draw(2), .n_row = c->n_row[k], .n_col = c->cols,
                              .format = (uint16_t)c->format[k]};
        s->ref[b] = (sr_wref){.p = draw(4) ? s->held[b] : NULL, .n_row = c->n_row[k], .n_col = 1, .format = SR_F32};
        random_weights(c->format[k], (unsigned char *)(uintptr_t)s->ref[k].p, (size_t)c->cols * c->n_row[k], c->f);
        random_rows(s->held[b], c->n_row[k], PLAIN);
    }
    size_t n_y = c->rows * s->width;
    s->x   = block_of((size_t)c->rows * c->cols * 4);
    s->y   = block_of(n_y * 4);
    s->z   = block_of(n_y * 4);
    s->out = block_of(n_y * 4);
    random_rows(s->x, (size_t)c->rows * c->cols, c->f);
    random_rows(s->z, n_y, PLAIN);
    random_rows(s->out, n_y, PLAIN);
    s->slot[0] = (sr_slot){.width = c->cols, .dtype = SR_F32, .rows = SR_ROWS_TOK};
    s->slot[1] = s->slot[2] = (sr_slot){.width = (uint32_t)s->width, .dtype = SR_F32, .rows = SR_ROWS_TOK};
    s->op = (sr_op){.code = SR_OP_LINEAR, .flags = c->bias ? SR_F_BIAS : 0, .n_w = c->n_w, .out = {1, SR_NONE, SR_NONE},
                    .in = {0, SR_NONE, SR_NONE, SR_NONE}, .dim = {c->cols, (uint32_t)s->width},
                    .epilogue = c->residual ? c->in_place ? 1 : 2 : SR_NONE};
    s->prog = (sr_program){.op = &s->op, .n_op = 1, .slot = s->slot, .n_slot = 3, .weight = s->weight, .n_weight = 2 * MAX_W};
    s->n    = (sr_shape){.tok = c->rows, .out = 1, .seq = 1};
    s->max  = (sr_shape){.tok = c->rows + draw(30), .out = 1, .seq = 1};
}

static void scene_close(scene *s)
{
    for (int i = 0; i < 2 * MAX_W; i++)
        sr_free(s->held[i]);
    sr_free(s->x);
    sr_free(s->y);
    sr_free(s->z);
    sr_free(s->out);
}

typedef struct {
    const sr_cpukernel *kernel;
    sr_cpujob           job;
    pthread_barrier_t  *wait;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    for (uint32_t phase = w->kernel->skip ? (w->kernel->skip)(&w->job) : 0; phase < w->kernel->phases; phase++) {
        w->kernel->run(&w->job, phase);
        pthread_barrier_wait(w->wait);
        w->job.next[(size_t)w->job.thread * SR_CPU_NEXT] = 0;
        pthread_barrier_wait(w->wait);
    }
    return NULL;
}

/* Runs the op on real threads; the scratch is exactly as large as the family asks for, and dirty. */
static void scene_run(scene *s, const sr_cpukernel *kernel, uint32_t threads)
{
    size_t            bytes = sr_linear_scratch(&s->prog, &s->op, &s->max, threads);
    char             *raw   = sr_malloc(bytes);
    uint32_t          next[4 * SR_CPU_NEXT] = {0};
    void             *slot[3] = {s->x, s->y, s->z};
    worker            w[4];
    pthread_t         id[4];
    pthread_barrier_t wait;
    assert_non_null(raw);
    memset(raw, 0xff, bytes);
    memcpy(s->y, s->out, (size_t)s->n.tok * s->width * 4);
    assert_int_equal(pthread_barrier_init(&wait, NULL, threads), 0);
    for (uint32_t i = 0; i < threads; i++) {
        w[i] = (worker){.kernel = kernel, .wait = &wait,
                        .job = {.prog = &s->prog, .op = &s->op, .n = &s->n, .max = &s->max, .slot = slot, .weight = s->ref,
                                .scratch = raw, .thread = i, .n_threads = threads, .next = next}};
        if (i)
            assert_int_equal(pthread_create(&id[i], NULL, work, &w[i]), 0);
    }
    work(&w[0]);
    for (uint32_t i = 1; i < threads; i++)
        pthread_join(id[i], NULL);
    pthread_barrier_destroy(&wait);
    sr_free(raw);
}

static const sr_cpukernel *const *const lists[] = {sr_linear_kernels, sr_linear_f32_kernels};

static bool runs_here(const sr_cpukernel *k) { return (k->needs & ~sr_cpu_features()) == 0; }

/* want: the reference's result; every kernel of a list against it. */
static void compare_list(scene *s, const sr_cpukernel *const *list, float *want, const char *what)
{
    size_t bytes = (size_t)s->n.tok * s->width * 4;
    uint32_t last = 0;
    while (list[last + 1])
        last++;
    scene_run(s, list[last], 1);
    memcpy(want, s->y, bytes);
    for (uint32_t k = 0; list[k]; k++) {
        const sr_cpukernel *kernel = list[k];
        uint32_t            threads = 1 + draw(3);
        if (!runs_here(kernel))
            continue;
        scene_run(s, kernel, threads);
        for (size_t i = 0; i < bytes / 4; i++)
            if (memcmp(&want[i], &s->y[i], 4))
                fail_msg("%s, %s%s, %u threads: row %zu column %zu is %.9g, not %.9g", what, kernel->isa, list == sr_linear_kernels ? "" : ", x in f32",
                         threads, i / s->width, i % s->width, (double)s->y[i], (double)want[i]);
    }
}

static void compare_all(scene *s, const char *what)
{
    float *want = block_of((size_t)s->n.tok * s->width * 4);
    if (draw(4) == 0) /* these have tests of their own; all of both takes minutes under a checker */
        compare_list(s, sr_linear_f32_kernels, want, what);
    compare_list(s, sr_linear_kernels, want, what);
    memcpy(s->y, want, (size_t)s->n.tok * s->width * 4);
    sr_free(want);
}

static const uint32_t formats[] = {SR_F32, SR_F16, SR_BF16, SR_Q4_0, SR_Q8_0, SR_Q4_K, SR_Q5_K, SR_Q6_K};

static void check_spec(const spec *c)
{
    char  what[160];
    scene s;
    snprintf(what, sizeof what, "rows %u cols %u, %u weights (%s %u, ..)%s%s%s", c->rows, c->cols, c->n_w,
             sr_dtype_name(c->format[0]), c->n_row[0], c->bias ? " bias" : "", c->residual ? " residual" : "",
             c->f == EXTREME ? " extreme" : "");
    scene_open(&s, c);
    compare_all(&s, what);
    scene_close(&s);
}

static uint32_t some_cols(uint32_t block)
{
    return block == 1 ? 1 + draw(150) : block == 32 ? 32 * (1 + draw(12)) : 256 * (1 + draw(6));
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void each_kernel_equals_the_reference_for_each_format_and_row_count(void **state)
{
    (void)state;
    for (size_t f = 0; f < SR_COUNT(formats); f++)
        for (uint32_t rows = 1; rows <= 70; rows += rows < 20 ? 1 : 7) {
            spec c = {.rows = rows, .cols = some_cols(sr_dtype_info(formats[f])->block), .n_w = 1,
                      .format = {formats[f]}, .n_row = {1 + draw(70)}};
            check_spec(&c);
        }
}

static void odd_row_counts_of_weights_are_complete(void **state)
{
    static const uint32_t odd[] = {1, 2, 3, 5, 15, 16, 17, 31, 33, 65};
    (void)state;
    for (size_t f = 0; f < SR_COUNT(formats); f++)
        for (size_t i = 0; i < SR_COUNT(odd); i++) {
            spec c = {.rows = draw(2) ? 1 : 1 + draw(40), .cols = some_cols(sr_dtype_info(formats[f])->block), .n_w = 1,
                      .format = {formats[f]}, .n_row = {odd[i]}};
            check_spec(&c);
        }
}

static void runs_of_mixed_formats_biases_and_residuals_agree(void **state)
{
    (void)state;
    for (int i = 0; i < 150; i++) {
        spec c = {.rows = draw(2) ? 1 + draw(6) : 1 + draw(60), .cols = 256 * (1 + draw(4)), .n_w = 1 + draw(MAX_W),
                  .bias = draw(2), .residual = draw(2), .in_place = draw(2), .f = draw(4) ? PLAIN : EXTREME};
        for (uint32_t k = 0; k < c.n_w; k++) {
            c.format[k] = formats[draw(SR_COUNT(formats))];
            c.n_row[k]  = 1 + draw(50);
        }
        check_spec(&c);
    }
}

static void extreme_scales_codes_and_activations_agree(void **state)
{
    (void)state;
    for (int i = 0; i < 120; i++) {
        uint32_t f = formats[draw(SR_COUNT(formats))];
        spec     c = {.rows = 1 + draw(40), .cols = some_cols(sr_dtype_info(f)->block), .n_w = 1, .format = {f},
                      .n_row = {1 + draw(40)}, .f = EXTREME};
        check_spec(&c);
    }
}

static void more_rows_than_one_accumulator_block_agree(void **state)
{
    (void)state;
    for (size_t f = 0; f < SR_COUNT(formats); f++) {
        spec c = {.rows = 515 + draw(60), .cols = 256, .n_w = 1, .format = {formats[f]}, .n_row = {3}};
        check_spec(&c);
    }
}

static void long_rows_agree(void **state)
{
    (void)state;
    for (size_t f = 0; f < SR_COUNT(formats); f++)
        for (uint32_t rows = 1; rows < 40; rows += 19) {
            spec c = {.rows = rows, .cols = 256 * 23, .n_w = 1, .format = {formats[f]}, .n_row = {19}};
            check_spec(&c);
        }
}

/* A device that computes some rows writes just those columns, with the values of the whole. */
static void a_share_of_rows_gives_the_same_numbers_and_touches_no_others(void **state)
{
    (void)state;
    for (int i = 0; i < 60; i++) {
        const sr_cpukernel *const *list = lists[i % 2];
        scene    s;
        uint32_t f = formats[draw(SR_COUNT(formats))];
        spec     c = {.rows = 1 + draw(30), .cols = 512, .n_w = 2, .format = {f, formats[draw(8)]}, .bias = true,
                      .residual = draw(2), .n_row = {10 + draw(40), 1 + draw(20)}};
        scene_open(&s, &c);
        scene_run(&s, i % 2 ? &sr_linear_f32_ref : &sr_linear_ref, 1);
        size_t n     = c.rows * s.width;
        float *whole = block_of(n * 4);
        memcpy(whole, s.y, n * 4);
        uint32_t a = 1 + draw(5), m = c.n_row[0] - a - draw(4);
        s.ref[0].p     = (const char *)s.ref[0].p + a * sr_row_bytes(f, c.cols);
        s.ref[0].row0  = a;
        s.ref[0].n_row = m;
        s.ref[1].p     = NULL; /* another device's */
        for (uint32_t k = 0; list[k]; k++) {
            if (!runs_here(list[k]))
                continue;
            scene_run(&s, list[k], 2);
            for (size_t at = 0; at < n; at++) {
                size_t col = at % s.width;
                float  want = col >= a && col < a + m ? whole[at] : s.out[at];
                assert_memory_equal(&want, &s.y[at], 4);
            }
        }
        sr_free(whole);
        scene_close(&s);
    }
}

/* Partial sums over a share of the columns: equal to an op on just those columns. */
static void a_share_of_columns_equals_the_op_on_those_columns(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        scene    s;
        uint32_t f = formats[draw(SR_COUNT(formats))];
        spec     c = {.rows = 1 + draw(30), .cols = 1024, .n_w = 1, .format = {f}, .n_row = {1 + draw(40)}};
        scene_open(&s, &c);
        s.ref[0].col0  = 256 * (1 + draw(2)); /* the memory holds enough rows of this length */
        s.ref[0].n_col = 512;
        compare_all(&s, "columns share");
        size_t n    = c.rows * s.width;
        float *part = block_of(n * 4), *x = s.x, *cut = block_of((size_t)c.rows * 512 * 4);
        memcpy(part, s.y, n * 4);
        for (uint32_t r = 0; r < c.rows; r++)
            memcpy(cut + r * 512, x + r * 1024 + s.ref[0].col0, 512 * 4);
        s.x           = cut;
        s.ref[0].col0 = 0;
        s.op.dim[0] = s.slot[0].width = s.weight[0].cols = 512;
        scene_run(&s, &sr_linear_ref, 1);
        assert_memory_equal(part, s.y, n * 4);
        s.x = x;
        sr_free(cut);
        sr_free(part);
        scene_close(&s);
    }
}

static void the_value_of_a_row_does_not_depend_on_the_rows_beside_it(void **state)
{
    (void)state;
    for (size_t f = 0; f < 2 * SR_COUNT(formats); f++) {
        const sr_cpukernel *const *list = lists[f % 2];
        scene s;
        spec  c = {.rows = 37, .cols = 768, .n_w = 1, .format = {formats[f / 2]}, .n_row = {21}};
        scene_open(&s, &c);
        scene_run(&s, f % 2 ? &sr_linear_f32_ref : &sr_linear_ref, 2);
        float whole[37 * 21], *x = s.x;
        memcpy(whole, s.y, sizeof whole);
        for (uint32_t k = 0; list[k]; k++)
            for (uint32_t at = 0, n = 1; runs_here(list[k]) && at + n <= 37; at += n, n++) {
                s.n.tok = n;
                s.x     = x + at * 768;
                scene_run(&s, list[k], 1);
                assert_memory_equal(whole + at * 21, s.y, n * 21 * 4);
            }
        s.x = x;
        scene_close(&s);
    }
}

/* Weights in blocks give what the same numbers stored as F32 give, bit by bit: with x as it is there is nothing else in them. */
static void blocks_with_x_in_f32_give_the_bits_of_their_numbers_as_f32(void **state)
{
    (void)state;
    for (int i = 0; i < 60; i++) {
        scene    s;
        uint32_t f = formats[i % SR_COUNT(formats)];
        spec     c = {.rows = draw(2) ? 1 : 1 + draw(20), .cols = some_cols(sr_dtype_info(f)->block), .n_w = 1, .format = {f}, .residual = draw(2),
                      .n_row = {1 + draw(40)}, .f = draw(3) ? PLAIN : EXTREME};
        scene_open(&s, &c);
        size_t n    = (size_t)c.rows * s.width;
        float *got  = block_of(n * 4), *w = block_of((size_t)c.cols * c.n_row[0] * 4);
        scene_run(&s, &sr_linear_f32_ref, 1);
        memcpy(got, s.y, n * 4);
        sr_decode_row(f, s.ref[0].p, w, (size_t)c.cols * c.n_row[0]);
        s.ref[0].p      = w;
        s.ref[0].format = s.weight[0].format = SR_F32;
        scene_run(&s, &sr_linear_ref, 1);
        assert_memory_equal(got, s.y, n * 4);
        sr_free(got);
        sr_free(w);
        scene_close(&s);
    }
}

static void each_kernel_with_x_in_f32_equals_its_reference_for_each_format_and_row_count(void **state)
{
    static const uint32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33};
    (void)state;
    for (size_t f = 0; f < SR_COUNT(formats); f++)
        for (size_t i = 0; i < SR_COUNT(rows); i++) {
            spec  c = {.rows = rows[i], .cols = some_cols(sr_dtype_info(formats[f])->block), .n_w = 1 + draw(2), .bias = draw(2), .residual = draw(2),
                       .format = {formats[f], formats[f]}, .n_row = {1 + draw(40), 1 + draw(20)}, .f = draw(3) ? PLAIN : EXTREME};
            scene s;
            scene_open(&s, &c);
            float *want = block_of((size_t)c.rows * s.width * 4);
            compare_list(&s, sr_linear_f32_kernels, want, sr_dtype_name(formats[f]));
            sr_free(want);
            scene_close(&s);
        }
}

/* Longer rows than a panel of one thread holds a few of, with many rows of x. */
static void rows_too_long_for_a_panel_agree_with_x_in_f32(void **state)
{
    (void)state;
    for (size_t f = 3; f < SR_COUNT(formats); f++) {
        spec  c = {.rows = 9, .cols = 256 * 345, .n_w = 1, .format = {formats[f]}, .n_row = {3}};
        scene s;
        scene_open(&s, &c);
        float *want = block_of(9 * 3 * 4);
        compare_list(&s, sr_linear_f32_kernels, want, "long rows");
        sr_free(want);
        scene_close(&s);
    }
}

/* |w| as the kernels add it up: a K-quant's product and its minimum are separate terms. */
static void magnitudes(uint32_t format, void *row, const float *w, float *size, uint32_t n)
{
    uint32_t bytes = sr_dtype_info(format)->bytes, block = sr_dtype_info(format)->block;
    if (format == SR_Q4_K || format == SR_Q5_K)
        for (uint32_t b = 0; b < n / block; b++)
            memset((char *)row + b * bytes + 2, 0, 2); /* dmin */
    sr_decode_row(format, row, size, n);
    for (uint32_t i = 0; i < n; i++)
        size[i] = fabsf(size[i]) + fabsf(size[i] - w[i]);
}

/* |error| of n f32 operations on terms a_i is at most n * eps * sum |a_i|.  A block takes six (two products
 * of scales, two conversions of sums, two fma) and its decoded weights are rounded twice; floats take one a
 * lane and number, and four to join the lanes. */
static void the_reference_is_within_rounding_of_exact_arithmetic(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        scene    s;
        uint32_t f = formats[draw(SR_COUNT(formats))], block = sr_dtype_info(f)->block;
        spec     c = {.rows = 1 + draw(4), .cols = some_cols(block), .n_w = 1, .format = {f}, .n_row = {1 + draw(9)}};
        scene_open(&s, &c);
        scene_run(&s, &sr_linear_ref, 1);
        float *w = block_of(c.cols * 4), *x = block_of(c.cols * 4), *mag = block_of(c.cols * 4);
        void  *q = block_of(c.cols * 4);
        for (uint32_t r = 0; r < c.n_row[0]; r++)
            for (uint32_t t = 0; t < c.rows; t++) {
                uint32_t xf = block == 256 ? SR_Q8_K : SR_Q8_0;
                sr_decode_row(f, (const char *)s.ref[0].p + r * sr_row_bytes(f, c.cols), w, c.cols);
                memcpy(x, s.x + t * c.cols, c.cols * 4);
                memcpy(q, (const char *)s.ref[0].p + r * sr_row_bytes(f, c.cols), sr_row_bytes(f, c.cols));
                magnitudes(f, q, w, mag, c.cols);
                if (block > 1) {
                    sr_encode_row(xf, x, q, c.cols);
                    sr_decode_row(xf, q, x, c.cols);
                }
                double exact = 0, size = 0;
                for (uint32_t k = 0; k < c.cols; k++) {
                    exact += (double)w[k] * x[k];
                    size += fabs((double)mag[k] * x[k]);
                }
                double ops = block == 1 ? c.cols / 16.0 + 5 : 6.0 * c.cols / block + 2;
                assert_true(fabs(s.y[t * s.width + r] - exact) <= ops * 0x1p-24 * size + 1e-30);
            }
        sr_free(w);
        sr_free(x);
        sr_free(mag);
        sr_free(q);
        scene_close(&s);
    }
}

static bool tiles_of_bf16(void)
{
#if defined(__x86_64__)
    return (sr_linear_amxbf16.needs & ~sr_cpu_features()) == SR_CPU_ANY_ORDER;
#else
    return false;
#endif
}

#if defined(__x86_64__)
/* The bound of linear_amxbf16.c, and what the reference itself may be off. */
static void near_all(const scene *s, const spec *c, const float *ref)
{
    float *w = block_of(c->cols * 4);
    for (uint32_t k = 0, col = 0; k < c->n_w; col += c->n_row[k++])
        for (uint32_t r = 0; r < c->n_row[k]; r++) {
            sr_decode_row(c->format[k], (const char *)s->ref[k].p + r * sr_row_bytes(c->format[k], c->cols), w, c->cols);
            for (uint32_t t = 0; t < c->rows; t++) {
                double size = 0;
                for (uint32_t i = 0; i < c->cols; i++)
                    size += fabs((double)w[i] * s->x[(size_t)t * c->cols + i]);
                size_t at  = t * s->width + col + r;
                double eps = 0x1p-17 + 0x1p-18 + (c->cols / 8.0 + 13) * 0x1p-24;
                double all = fabs((double)ref[at]); /* bias and residual are added in f32, and may cancel what is there */
                all += c->bias && s->ref[c->n_w + k].p ? fabs((double)((const float *)s->ref[c->n_w + k].p)[r]) : 0;
                all += c->residual ? fabs((double)(c->in_place ? s->out : s->z)[at]) : 0;
                if (!(fabs((double)s->y[at] - (double)ref[at]) <= eps * size + 4 * 0x1p-24 * all + c->cols * 0x1p-126 * 0x1p10))
                    fail_msg("%s %u x %u of %u rows: row %u column %zu is %.9g, not %.9g; |w x| %.3g", sr_dtype_name(c->format[k]),
                             c->n_row[k], c->cols, c->rows, t, (size_t)col + r, (double)s->y[at], (double)ref[at], size);
            }
        }
    sr_free(w);
}

static void bf16_tiles_are_as_near_as_they_say_and_answers_are_the_same_bits(void **state)
{
    (void)state;
    if (!tiles_of_bf16())
        skip();
    for (int i = 0; i < 80; i++) {
        scene s;
        spec  c = {.rows = draw(16) ? 1 + draw(90) : 500 + draw(90), .cols = draw(2) ? 1 + draw(150) : 32 * (1 + draw(40)), .n_w = 1 + draw(MAX_W),
                   .bias = draw(2), .residual = draw(2), .in_place = draw(2)};
        for (uint32_t k = 0; k < c.n_w; k++) {
            c.format[k] = draw(2) ? SR_BF16 : SR_F16;
            c.n_row[k]  = 1 + draw(draw(8) ? 50 : 300);
        }
        scene_open(&s, &c);
        scene_run(&s, &sr_linear_ref, 1);
        size_t bytes = (size_t)c.rows * s.width * 4;
        float *ref   = block_of(bytes);
        memcpy(ref, s.y, bytes);
        scene_run(&s, &sr_linear_amxbf16, 1 + draw(3));
        if (c.rows < 32)
            assert_memory_equal(s.y, ref, bytes);
        else
            near_all(&s, &c, ref);
        sr_free(ref);
        scene_close(&s);
    }
}

/* A prompt's row is the same whoever is beside it, and wherever a device's share of the weights begins. */
static void bf16_tiles_give_a_row_the_same_bits_beside_any_others(void **state)
{
    (void)state;
    if (!tiles_of_bf16())
        skip();
    for (uint32_t f = 0; f < 2; f++) {
        scene s;
        spec  c = {.rows = 70, .cols = 700, .n_w = 1, .format = {f ? SR_F16 : SR_BF16}, .n_row = {53}};
        scene_open(&s, &c);
        scene_run(&s, &sr_linear_amxbf16, 2);
        float whole[70 * 53], *x = s.x;
        memcpy(whole, s.y, sizeof whole);
        for (uint32_t at = 0, n = 32; at + n <= 70; at += 3, n += 2) {
            s.n.tok = n;
            s.x     = x + at * 700;
            scene_run(&s, &sr_linear_amxbf16, 1);
            assert_memory_equal(whole + at * 53, s.y, n * 53 * 4);
        }
        s.x     = x;
        s.n.tok = 70;
        s.ref[0].p     = (const char *)s.ref[0].p + 21 * sr_row_bytes(c.format[0], 700);
        s.ref[0].row0  = 21;
        s.ref[0].n_row = 30;
        scene_run(&s, &sr_linear_amxbf16, 3);
        for (size_t at = 0; at < 70 * 53; at++)
            assert_memory_equal(at % 53 >= 21 && at % 53 < 51 ? &whole[at] : &s.out[at], &s.y[at], 4);
        scene_close(&s);
    }
}
#endif

static void numbers_that_are_not_finite_stay_visible(void **state)
{
    (void)state;
    for (size_t f = 0; f < SR_COUNT(formats); f++) {
        scene s;
        spec  c = {.rows = 20, .cols = 512, .n_w = 1, .format = {formats[f]}, .n_row = {5}};
        scene_open(&s, &c);
        s.x[3 * 512 + 100] = INFINITY;
        s.x[17 * 512 + 300] = NAN;
        for (uint32_t k = 0; sr_linear_f32_kernels[k]; k++)
            if (runs_here(sr_linear_f32_kernels[k])) {
                scene_run(&s, sr_linear_f32_kernels[k], 1);
                for (uint32_t t = 0; t < 20; t++)
                    for (uint32_t r = 0; r < 5; r++)
                        assert_int_equal(!isfinite(s.y[t * 5 + r]), t == 3 || t == 17);
            }
        for (uint32_t k = 0; sr_linear_kernels[k]; k++) {
            if ((!runs_here(sr_linear_kernels[k]) && !((sr_linear_kernels[k]->needs & SR_CPU_ANY_ORDER) && tiles_of_bf16())) ||
                (sr_linear_kernels[k]->supports && !sr_linear_kernels[k]->supports(&s.prog, &s.op)))
                continue;
            scene_run(&s, sr_linear_kernels[k], 1);
            for (uint32_t t = 0; t < 20; t++)
                for (uint32_t r = 0; r < 5; r++)
                    assert_int_equal(!isfinite(s.y[t * 5 + r]), t == 3 || t == 17);
        }
        scene_close(&s);
    }
}

static void the_cost_counts_weights_and_activations_once(void **state)
{
    scene s;
    spec  c = {.rows = 7, .cols = 512, .n_w = 2, .format = {SR_Q4_K, SR_Q6_K}, .n_row = {48, 16}};
    (void)state;
    scene_open(&s, &c);
    sr_cost cost = sr_linear_cost(&s.prog, &s.op, &s.n);
    assert_true(cost.bytes == 48 * 2 * 144 + 16 * 2 * 210 + 7 * (512 + 64) * 4);
    assert_true(cost.flops == 2.0 * 7 * 512 * 64);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kernel_equals_the_reference_for_each_format_and_row_count),
        cmocka_unit_test(odd_row_counts_of_weights_are_complete),
        cmocka_unit_test(runs_of_mixed_formats_biases_and_residuals_agree),
        cmocka_unit_test(extreme_scales_codes_and_activations_agree),
        cmocka_unit_test(more_rows_than_one_accumulator_block_agree),
        cmocka_unit_test(long_rows_agree),
        cmocka_unit_test(a_share_of_rows_gives_the_same_numbers_and_touches_no_others),
        cmocka_unit_test(a_share_of_columns_equals_the_op_on_those_columns),
        cmocka_unit_test(the_value_of_a_row_does_not_depend_on_the_rows_beside_it),
        cmocka_unit_test(blocks_with_x_in_f32_give_the_bits_of_their_numbers_as_f32),
        cmocka_unit_test(each_kernel_with_x_in_f32_equals_its_reference_for_each_format_and_row_count),
        cmocka_unit_test(rows_too_long_for_a_panel_agree_with_x_in_f32),
        cmocka_unit_test(the_reference_is_within_rounding_of_exact_arithmetic),
#if defined(__x86_64__)
        cmocka_unit_test(bf16_tiles_are_as_near_as_they_say_and_answers_are_the_same_bits),
        cmocka_unit_test(bf16_tiles_give_a_row_the_same_bits_beside_any_others),
#endif
        cmocka_unit_test(numbers_that_are_not_finite_stay_visible),
        cmocka_unit_test(the_cost_counts_weights_and_activations_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
