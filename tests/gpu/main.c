#include "gpu.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/internal.h"

static uint32_t failures, told;
static char figures[400];

void gpu_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    failures++;
    if (told++ > 12) /* of a test: the rest is more of the same */
        return;
    printf("    %s:%d: ", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

void gpu_say(const char *fmt, ...)
{
    va_list ap;
    size_t n = strlen(figures);
    va_start(ap, fmt);
    vsnprintf(figures + n, sizeof figures - n, fmt, ap);
    va_end(ap);
}

static sr_dev *dev;

void gpu_device_close(void)
{
    sr_backend_cuda.close(dev);
    dev = NULL;
}

sr_dev *gpu_device(void)
{
    sr_err err = {0};
    if (!dev && sr_backend_cuda.open(0, NULL, &dev, &err)) {
        printf("no device: %s\n", err.msg);
        exit(1);
    }
    return dev;
}

uint64_t gpu_rounding(void)
{
    sr_err err   = {0};
    sr_devinfo d = {.size = sizeof d};
    CHECK(sr_backend_cuda.info(0, gpu_device(), &d, &err) == SR_OK && d.mem_granule, "%s", err.msg);
    return (SR_DEVICE_PIECES + 1) * d.mem_granule; /* of a budget's own end, too */
}

/* ---- a kit on the device
 * -------------------------------------------------------------------------------------- */

typedef struct {
    void *p[40];
    uint32_t n;
} held;

static void *up(held *h, const void *src, size_t bytes)
{
    sr_err err = {0};
    void *p    = NULL;
    if (!src || !bytes)
        return NULL;
    if (!CHECK(sr_backend_cuda.alloc(gpu_device(), SR_MEM_DEVICE, bytes, "test", &p, &err) == SR_OK, "%s",
               err.msg))
        exit(1);
    h->p[h->n++] = p;
    sr_span s    = {.dst = p, .src = src, .bytes = bytes, .n = 1};
    CHECK(sr_backend_cuda.copyv(gpu_device(), SR_Q_COMPUTE, &s, 1, &err) == SR_OK, "%s", err.msg);
    return p;
}

static void down(void *dst, const void *src, size_t bytes)
{
    sr_err err = {0};
    sr_span s  = {.dst = dst, .src = src, .bytes = bytes, .n = 1};
    CHECK(sr_backend_cuda.copyv(gpu_device(), SR_Q_COMPUTE, &s, 1, &err) == SR_OK, "%s", err.msg);
}

static bool settle(void)
{
    sr_err err = {0};
    sr_dev *d  = gpu_device();
    return CHECK(sr_backend_cuda.wait(d, sr_backend_cuda.mark(d, SR_Q_COMPUTE), 60000000000u, &err) == SR_OK,
                 "%s", err.msg);
}

static sr_wref weight_up(held *h, const kit *k, uint32_t i, bool tiles)
{
    sr_wref r  = k->wref[i];
    size_t row = sr_row_bytes(r.format, r.n_col);
    if (!r.p)
        return r;
    if (tiles && r.n_row % 16 == 0) {
        const void **at = sr_calloc(r.n_row, sizeof *at);
        void *pack      = sr_malloc(r.n_row * row);
        for (uint32_t n = 0; n < r.n_row; n++)
            at[n] = (const char *)r.p + n * row;
        if (sr_backend_cuda.pack(r.format, r.n_row, r.n_col, at, pack, &r.layout)) {
            r.p = up(h, pack, r.n_row * row);
            settle();
        }
        sr_free(pack);
        sr_free(at);
    }
    if (!r.layout)
        r.p = up(h, r.p, r.n_row * row);
    return r;
}

static void batch_up(held *h, const kit *k, const gpu_run_args *a, sr_batch *b)
{
    size_t groups = SR_KV_GROUPS, seqs = k->max.seq;
    (void)groups;
    *b          = k->batch;
    b->n        = up(h, &k->n, sizeof k->n);
    b->tok      = up(h, k->batch.tok, k->n.tok * 4);
    b->pos      = up(h, k->batch.pos, k->n.tok * 4);
    b->dst      = up(h, k->batch.dst, 2 * (size_t)k->max.tok * 4); /* kits have their pages in group 1 */
    b->tree     = up(h, k->batch.tree, k->n.tok * 8);
    b->seq      = up(h, k->batch.seq, (k->n.seq + 1) * 4);
    b->table    = up(h, k->batch.table, 2 * seqs * k->max.pages * 4);
    b->kv_len   = up(h, k->batch.kv_len, 2 * seqs * 8);
    b->out      = up(h, k->batch.out, k->n.out * 4);
    b->sampling = up(h, k->batch.sampling, a->sampling_bytes);
    if (a->kv_bytes)
        b->kv[1].base = up(h, k->batch.kv[1].base, a->kv_bytes);
}

static bool slots(kit *k, gpu_run_args *a, sr_plan *plan, bool in)
{
    for (uint16_t i = 0; i < 8; i++) {
        void *at     = NULL;
        size_t bytes = (size_t)k->slot[i].fixed * k->slot[i].width * 4, room;
        if (!k->slot[i].width || (!in && !a->out[i]))
            continue;
        if (!CHECK(sr_backend_cuda.slot(plan, i, &at, &room) == SR_OK && room >= bytes,
                   "slot %u has %zu bytes, %zu wanted", i, room, bytes))
            return false;
        sr_err err = {0};
        sr_span s  = {.dst = in ? at : a->out[i], .src = in ? k->base[i] : at, .bytes = bytes, .n = 1};
        CHECK(sr_backend_cuda.copyv(gpu_device(), SR_Q_COMPUTE, &s, 1, &err) == SR_OK, "%s", err.msg);
    }
    return settle();
}

bool gpu_run(kit *k, gpu_run_args *a)
{
    const sr_backend *be = &sr_backend_cuda;
    sr_dev *d            = gpu_device();
    sr_err err           = {0};
    held h               = {.n = 0};
    sr_plan *plan        = NULL;
    void *scratch        = NULL;
    sr_batch b;
    sr_wref ref[4];
    sr_op ops[GPU_REPEAT];
    kit_program(k);
    sr_program prog = k->prog;
    for (uint32_t i = 0; i < a->repeat && i < GPU_REPEAT; i++)
        ops[i] = k->op;
    if (a->repeat) {
        prog.op   = ops;
        prog.n_op = a->repeat;
    }
    if (a->ops) {
        prog.op   = a->ops;
        prog.n_op = a->n_ops;
    }
    size_t bytes = be->scratch(d, &prog, &k->max);
    bool ok      = CHECK(be->supports(d, &prog, 0), "op %s is not supported", sr_op_name(k->op.code)) &&
              CHECK(be->alloc(d, SR_MEM_DEVICE, bytes, "scratch", &scratch, &err) == SR_OK, "%s", err.msg) &&
              CHECK(be->prepare(d, &prog, &k->max, scratch, bytes, &plan, &err) == SR_OK, "%s", err.msg);
    if (ok) {
        for (uint32_t i = 0; i < 4; i++)
            ref[i] = weight_up(&h, k, i, a->tiles);
        batch_up(&h, k, a, &b);
        ok = slots(k, a, plan, true) && CHECK(be->bind(plan, &b, 0, 4, ref, &err) == SR_OK, "%s", err.msg);
    }
    if (ok)
        for (uint32_t i = 0, n = a->apart ? 1 : prog.n_op; i < prog.n_op && ok; i += n)
            ok = CHECK(be->submit(plan, i, n, &k->n, &err) == SR_OK, "%s", err.msg) && settle();
    if (ok && a->times) { /* median-free: the kernels of one op back to back, which is how a step runs them */
        uint64_t t = sr_now_ns();
        for (uint32_t i = 0; i < a->times; i++)
            ok = ok && be->submit(plan, 0, prog.n_op, &k->n, &err) == SR_OK;
        settle();
        a->ns = (double)(sr_now_ns() - t) / a->times / prog.n_op;
    }
    ok = ok && slots(k, a, plan, false);
    if (ok && a->kv) {
        down(a->kv, b.kv[1].base, a->kv_bytes);
        ok = settle();
    }
    be->discard(plan);
    be->free(d, scratch);
    while (h.n)
        be->free(d, h.p[--h.n]);
    return ok;
}

/* ---- the runner
 * ------------------------------------------------------------------------------------------------ */

static bool wanted(const char *name, int argc, char **argv)
{
    bool any = argc < 2;
    for (int i = 1; i < argc; i++)
        any |= strstr(name, argv[i]) != NULL;
    return any;
}

int main(int argc, char **argv)
{
    const gpu_test *const list[] = {gpu_op_tests, gpu_model_tests, gpu_alone_tests, gpu_offload_tests, gpu_transit_tests, gpu_timing_tests, gpu_device_tests};
    uint32_t ran = 0, bad = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && strcmp(argv[1], "--lose") == 0)
        return gpu_lose_device();
    if (argc == 2 && strncmp(argv[1], "--first", 7) == 0)
        return gpu_first_steps(strcmp(argv[1], "--first") == 0);
    for (size_t l = 0; l < SR_COUNT(list); l++)
        for (const gpu_test *t = list[l]; t->name; t++) {
            if (!wanted(t->name, argc, argv))
                continue;
            uint64_t start  = sr_now_ns();
            uint32_t before = failures;
            told            = 0;
            figures[0]      = 0;
            t->run();
            ran++;
            bad += failures != before;
            printf("%-6s %6.2f s  %s%s%s\n", failures == before ? "ok" : "FAILED",
                   (double)(sr_now_ns() - start) * 1e-9, t->name, *figures ? ": " : "", figures);
        }
    printf("%u tests, %u failed\n", ran, bad);
    return bad != 0;
}
