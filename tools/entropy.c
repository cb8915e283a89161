/* entropy.c - what a code without loss could save of model files, by format; what the code of exponents does save, and how fast it is undone. */
#include <stdio.h>
#include <string.h>

#include "app/opt.h"
#include "base/clock.h"
#include "base/mem.h"
#include "format/entropy.h"
#include "format/gguf.h"
#include "ops/expcode/expcode.h"
#include "ops/quant/quant.h"

enum { FORMATS = 64 };

typedef struct { sr_entropy sum; uint64_t bytes, tensors; } row;
typedef struct { uint64_t bytes, coded; double best; } coding; /* best: numbers a second, in bytes, of a whole block */

static void add(row *r, const sr_entropy *e, size_t bytes)
{
    r->bytes += bytes;
    r->tensors++;
    r->sum.n_part = e->n_part;
    for (uint32_t i = 0; i < e->n_part; i++) {
        r->sum.name[i] = e->name[i];
        r->sum.stored[i] += e->stored[i];
        r->sum.held[i] += e->held[i];
    }
}

/* Coded, decoded on one thread, compared. */
static sr_status code(uint32_t format, const uint16_t *v, size_t n, coding *c, sr_err *err)
{
    static uint16_t   out[SR_EXPCODE_BLOCK];
    static sr_expcode x;
    sr_buf            text = {0};
    if (n > UINT32_MAX || sr_expcode_encode(format, v, (uint32_t)n, &text, err) || sr_expcode_open(text.p, text.n, &x, err))
        goto done;
    for (uint32_t b = 0; b < x.n_block; b++) {
        size_t   first = (size_t)b * x.block;
        uint64_t t     = sr_now_ns();
        if (sr_expcode_block(&x, b, out, err))
            goto done;
        t       = sr_now_ns() - t;
        c->best = SR_MAX(c->best, (n - first >= x.block ? 2e9 * x.block : 0) / (double)SR_MAX(t, 1u));
        if (memcmp(out, v + first, SR_MIN((size_t)x.block, n - first) * sizeof *v) != 0) {
            sr_raise(err, SR_INVALID, "block %u came back otherwise", b);
            goto done;
        }
    }
    c->bytes += n * 2;
    c->coded += text.n;
done:
    sr_buf_end(&text);
    return err->status;
}

static sr_status measure(const char *path, sr_err *err)
{
    static row rows[FORMATS];
    sr_gguf   *g = NULL;
    coding     c = {0};
    memset(rows, 0, sizeof rows);
    if (sr_gguf_open(path, &g, err))
        return err->status;
    for (size_t i = 0; i < sr_gguf_n_tensors(g) && !err->status; i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        sr_entropy       e;
        if (t->dtype >= FORMATS || !sr_entropy_measure(t->dtype, t->data, t->bytes, &e))
            continue;
        add(&rows[t->dtype], &e, t->bytes);
        if (sr_expcode_knows(t->dtype))
            (void)code(t->dtype, t->data, t->bytes / 2, &c, err);
    }
    printf("%s\n", path);
    for (uint32_t f = 0; f < FORMATS && !err->status; f++) {
        const row *r    = &rows[f];
        double     held = 0;
        if (!r->tensors)
            continue;
        printf("  %-5s %4llu tensors, %8.2f MB:", sr_dtype_name(f), (unsigned long long)r->tensors, (double)r->bytes * 1e-6);
        for (uint32_t p = 0; p < r->sum.n_part; p++) {
            printf(" %s %.1f -> %.1f MB (%.1f %%)", r->sum.name[p], r->sum.stored[p] / 8e6, r->sum.held[p] / 8e6, 100 * r->sum.held[p] / r->sum.stored[p]);
            held += r->sum.held[p];
        }
        printf("; at best %.1f %% less\n", 100 * (1 - held / 8 / (double)r->bytes));
    }
    if (c.bytes)
        printf("  BF16 and F16 coded: %.2f -> %.2f MB, %.1f %% less; undone at %.2f GB/s of numbers on one thread, the fastest block\n", (double)c.bytes * 1e-6, (double)c.coded * 1e-6,
               100 * (1 - (double)c.coded / (double)c.bytes), c.best * 1e-9);
    sr_gguf_close(g);
    return err->status;
}

int main(int argc, char **argv)
{
    const sr_optspec spec = {"strata-entropy", "FILE ...", "What a code without loss could save of the weights of model files.", NULL, 0,
                             .min_operands = 1, .max_operands = 1024, .program = "strata-entropy"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    for (int i = 1; rc < 0 && i < argc; i++) {
        sr_err err = {0};
        if (measure(argv[i], &err)) {
            fprintf(stderr, "strata-entropy: %s: %s\n", argv[i], err.msg);
            rc = 1;
        }
    }
    return rc < 0 ? 0 : rc;
}
