/* transit.c - weights that come coded: what the device makes of a code is what the reference makes of it, and a model does not notice. */
#include "gpu.h"

#include "base/mem.h"
#include "base/philox.h"
#include "engine/offload.h"
#include "ops/expcode/expcode.h"

enum { N = 48, ROWS = 16, MB = 1000000 };

static const sr_backend *const be = &sr_backend_cuda;

/* Exponents as weights have them, and any of the 65536 numbers now and then. */
static void numbers(uint16_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t x = sr_philox4(5, (uint32_t)i, 1, 0, 0).v[0];
        v[i]       = x % 61 == 0 ? (uint16_t)(x >> 8) : (uint16_t)((x >> 31) << 15 | (118 + __builtin_ctz(x | 1u << 12) % 13u) << 7 | (x >> 13 & 127));
    }
}

static void tiles_of(uint16_t format, uint32_t rows, uint32_t cols, const uint16_t *v, void *out)
{
    const void **row = sr_calloc(rows, sizeof *row);
    uint16_t     layout;
    for (uint32_t r = 0; r < rows; r++)
        row[r] = v + (size_t)r * cols;
    CHECK(be->pack(format, rows, cols, row, out, &layout) == 2 * (size_t)rows * cols, "no tiles");
    sr_free(row);
}

static bool decoded(uint16_t format, uint32_t rows, uint32_t cols, bool tiles)
{
    size_t    n = (size_t)rows * cols;
    sr_err    err = {0};
    sr_buf    text = {0};
    void     *src = NULL, *dst = NULL;
    uint16_t *v = sr_calloc(n, 2), *want = sr_calloc(n, 2), *got = sr_calloc(n, 2);
    numbers(v, n);
    memcpy(want, v, 2 * n);
    if (tiles)
        tiles_of(format, rows, cols, v, want);
    bool ok = CHECK(sr_expcode_encode(format, v, (uint32_t)n, &text, &err) == SR_OK, "%s", err.msg) &&
              CHECK(be->alloc(gpu_device(), SR_MEM_DEVICE, text.n, "test", &src, &err) == SR_OK, "%s", err.msg) &&
              CHECK(be->alloc(gpu_device(), SR_MEM_DEVICE, 2 * n, "test", &dst, &err) == SR_OK, "%s", err.msg);
    sr_span in = {.dst = src, .src = text.p, .bytes = text.n, .n = 1}, out = {.dst = got, .src = dst, .bytes = 2 * n, .n = 1};
    ok = ok && CHECK(be->copyv(gpu_device(), SR_Q_COMPUTE, &in, 1, &err) == SR_OK &&
                         be->decode(gpu_device(), SR_Q_COMPUTE, format, rows, cols, src, dst, tiles, &err) == SR_OK &&
                         be->copyv(gpu_device(), SR_Q_COMPUTE, &out, 1, &err) == SR_OK &&
                         be->wait(gpu_device(), be->mark(gpu_device(), SR_Q_COMPUTE), UINT64_MAX, &err) == SR_OK, "%s", err.msg);
    ok = ok && CHECK(memcmp(want, got, 2 * n) == 0, "%s, %u x %u, %s: other numbers", sr_dtype_name(format), rows, cols, tiles ? "tiles" : "rows");
    be->free(gpu_device(), src);
    be->free(gpu_device(), dst);
    sr_buf_end(&text);
    sr_free(v);
    sr_free(want);
    sr_free(got);
    return ok;
}

static void codes_become_the_numbers_and_tiles_that_they_are_of(void)
{
    static const uint32_t shape[][2] = {{16, 64}, {1, 1}, {3, 5}, {1, 4097}, {1030, 33}, {48, 192}, {64, 4096}, {256, 1088}, {4096, 1024}};
    static const uint16_t formats[]  = {SR_BF16, SR_F16};
    uint32_t n = 0;
    for (size_t f = 0; f < SR_COUNT(formats); f++)
        for (size_t i = 0; i < SR_COUNT(shape); i++)
            for (int tiles = 0; tiles < (shape[i][0] % 16 || shape[i][1] % 64 ? 1 : 2); tiles++)
                n += decoded(formats[f], shape[i][0], shape[i][1], tiles);
    gpu_say("%u texts", n);
    sr_err err = {0};
    CHECK(be->decode(gpu_device(), SR_Q_COMPUTE, SR_Q8_0, 16, 256, NULL, NULL, 0, &err) == SR_INVALID && strstr(err.msg, "Q8_0"), "%s", err.msg);
}

typedef struct { float *p; uint32_t n; } logits;

static bool keep(void *arg, uint32_t pos, const float *row)
{
    logits *l = arg;
    memcpy(l->p + (size_t)(pos - (N - ROWS)) * l->n, row, l->n * sizeof *row);
    return true;
}

static float *eval(sr_model *m)
{
    sr_err  err = {0};
    int32_t text[N];
    logits  l   = {sr_calloc((size_t)ROWS * m->info.n_vocab, sizeof(float)), m->info.n_vocab};
    for (uint32_t i = 0; i < N; i++)
        text[i] = (int32_t)(7 + i * 131 % 1000);
    for (int thrice = 0; thrice < 3; thrice++) /* steps are captured when they come again */
        CHECK(sr_model_eval(m, text, N, N - ROWS, keep, &l, &err) == SR_OK, "%s", err.msg);
    return l.p;
}

/* Deterministic: else the bits are those of the launches that a submit's ops are put together into, and streamed submits are shorter. */
static sr_model *load(const char *path, uint64_t budget, sr_offloadmode mode, sr_transit transit)
{
    static const sr_hw machine = {.dev_read = 1e12, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e13, .sync = 1e-6};
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = path, .be = be, .ctx = 64, .max_seqs = 4, .max_step_tokens = 32, .out_rows = 4, .kv_pages = 4,
                      .dev = {.mem_budget = budget, .deterministic = true}, .offload = mode, .transit = transit, .hw = &machine};
    CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg);
    return m;
}

static void a_model_whose_weights_come_coded_gives_the_bits_of_one_that_fits(void)
{
    static const char *const path[] = {"synth:tiny:bf16", "synth:tiny:f16"};
    for (size_t i = 0; i < SR_COUNT(path); i++) {
        sr_model *whole = load(path[i], 0, SR_OFFLOAD_NONE, SR_TRANSIT_RAW);
        if (!whole)
            return;
        float    *want = eval(whole);
        uint64_t  room = whole->info.scratch_bytes + sr_block_bytes(whole, &whole->max) + whole->info.kv_bytes + gpu_rounding() + 3 * MB;
        sr_model *m    = load(path[i], room, SR_OFFLOAD_STREAM, SR_TRANSIT_CODED);
        if (m && CHECK(m->off && m->info.bytes_ram, "nothing is coded")) {
            float *got = eval(m);
            CHECK(memcmp(want, got, (size_t)ROWS * m->info.n_vocab * sizeof *got) == 0, "%s: other logits", path[i]);
            gpu_say("%s%s: %.2f MB of weights come as %.2f", i ? ", " : "", path[i], (double)m->info.bytes_before / MB, (double)m->info.bytes_ram / MB);
            sr_free(got);
        }
        sr_model_close(m);
        sr_free(want);
        sr_model_close(whole);
    }
}

/* Steps of four read weights over the bus, the one before them streams. */
static void weights_that_are_read_in_place_give_the_same_bits(void)
{
    static const char *const path[] = {"synth:1.1b:q4_k_m", "models/strata-demo-base-Q4_K_M.gguf"};
    static const uint64_t for_weights[] = {300 * MB, 14 * MB}; /* beside them rounding is little */
    for (size_t i = 0; i < SR_COUNT(path); i++) {
        sr_model *whole = load(path[i], 0, SR_OFFLOAD_NONE, SR_TRANSIT_RAW);
        if (!whole)
            return;
        float    *want = eval(whole);
        uint64_t  room = whole->info.scratch_bytes + sr_block_bytes(whole, &whole->max) + whole->info.kv_bytes + gpu_rounding() + for_weights[i];
        sr_model *m    = load(path[i], room, SR_OFFLOAD_ZEROCOPY, SR_TRANSIT_RAW);
        if (m && CHECK(m->off && m->off->few && m->off->read_here, "nothing is read in place")) {
            float *got = eval(m);
            CHECK(memcmp(want, got, (size_t)ROWS * m->info.n_vocab * sizeof *got) == 0, "%s: other logits", path[i]);
            gpu_say("%s%.2f MB a step", i ? ", " : "", (double)m->off->read_here / MB);
            sr_free(got);
        }
        sr_model_close(m);
        sr_free(want);
        sr_model_close(whole);
    }
}

const gpu_test gpu_transit_tests[] = {
    {"weights_that_are_read_in_place_give_the_same_bits", weights_that_are_read_in_place_give_the_same_bits},
    {"codes_become_the_numbers_and_tiles_that_they_are_of", codes_become_the_numbers_and_tiles_that_they_are_of},
    {"a_model_whose_weights_come_coded_gives_the_bits_of_one_that_fits", a_model_whose_weights_come_coded_gives_the_bits_of_one_that_fits},
    {NULL, NULL},
};
