#include "ops/linear/job.h"
#include "base/mem.h"

#include <string.h>

static uint32_t rows_of(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    return sr_slot_rows(&p->slot[op->in[0]], n);
}

/* ---- cost and scratch ------------------------------------------------------------------------------- */

sr_cost sr_linear_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    double rows = rows_of(p, op, n), bytes = rows * ((double)op->dim[0] + op->dim[1]) * 4;
    for (uint32_t k = 0; k < op->n_w; k++) {
        const sr_weight *w = &p->weight[op->w + k];
        bytes += (double)sr_row_bytes(w->format, w->cols) * w->rows;
    }
    return (sr_cost){.bytes = bytes, .flops = 2 * rows * op->dim[0] * op->dim[1]};
}

typedef struct { size_t xk, x0, xh, work, bytes; } areas; /* offsets; xk, x0, xh SIZE_MAX: not needed */

static areas areas_of(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers)
{
    areas  a    = {.xk = SIZE_MAX, .x0 = SIZE_MAX, .xh = SIZE_MAX};
    size_t rows = sr_align_up(rows_of(p, op, max), SR_LIN_TILE), cols = op->dim[0];
    for (uint32_t k = 0; k < op->n_w; k++) {
        sr_linkind kind = sr_linear_kind(p->weight[op->w + k].format);
        if (kind == SR_LIN_KINDK && a.xk == SIZE_MAX) {
            a.xk = a.bytes;
            a.bytes += sr_align_up(rows * (cols / 256) * SR_LIN_XK, 64);
        } else if (kind == SR_LIN_KIND0 && a.x0 == SIZE_MAX) {
            a.x0 = a.bytes;
            a.bytes += sr_align_up(rows * (cols / 32) * SR_LIN_X0, 64);
        } else if (kind == SR_LIN_FLOAT && a.xh == SIZE_MAX && p->weight[op->w + k].format != SR_F32) {
            a.xh = a.bytes;
            a.bytes += rows * sr_align_up(cols, 32) * SR_LIN_XH;
        }
    }
    a.work = a.bytes;
    a.bytes += (size_t)workers * SR_LIN_WORKER;
    return a;
}

size_t sr_linear_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers)
{
    return areas_of(p, op, max, workers).bytes + 64; /* 64: the base is aligned in sr_linear_unfold */
}

/* ---- the op unfolded -------------------------------------------------------------------------------- */

void sr_linear_unfold(const sr_cpujob *j, sr_linop *o)
{
    const sr_op   *op   = j->op;
    areas          a    = areas_of(j->prog, op, j->max, j->n_threads);
    unsigned char *base = (unsigned char *)sr_align_up((uintptr_t)j->scratch, 64);
    *o = (sr_linop){
        .x     = j->slot[op->in[0]],
        .y     = j->slot[op->out[0]],
        .z     = op->epilogue == SR_NONE ? NULL : j->slot[op->epilogue],
        .rows  = rows_of(j->prog, op, j->n),
        .cols  = op->dim[0],
        .width = op->dim[1],
        .n_w   = op->n_w,
        .xk    = a.xk == SIZE_MAX ? NULL : base + a.xk,
        .x0    = a.x0 == SIZE_MAX ? NULL : base + a.x0,
        .xh    = a.xh == SIZE_MAX ? NULL : base + a.xh,
        .work  = base + a.work + (size_t)j->thread * SR_LIN_WORKER,
    };
}

uint32_t sr_linear_skip(const sr_cpujob *j)
{
    areas a = areas_of(j->prog, j->op, j->max, j->n_threads);
    if (a.xk == SIZE_MAX && a.x0 == SIZE_MAX)
        return 1;
    return rows_of(j->prog, j->op, j->n) == 1 && j->op->dim[0] <= SR_LIN_ALONE;
}

bool sr_linear_part(const sr_cpujob *j, uint32_t k, sr_linpart *part)
{
    const sr_op   *op = j->op;
    const sr_wref *w  = &j->weight[op->w + k];
    if (!w->p || w->n_row == 0)
        return false;
    uint32_t y0 = w->row0;
    for (uint32_t i = 0; i < k; i++)
        y0 += j->prog->weight[op->w + i].rows;
    const float *bias = op->flags & SR_F_BIAS ? j->weight[op->w + op->n_w + k].p : NULL;
    *part = (sr_linpart){
        .p         = w->p,
        .bias      = bias ? bias + w->row0 - j->weight[op->w + op->n_w + k].row0 : NULL,
        .row_bytes = w->stride ? w->stride : sr_row_bytes(w->format, w->n_col),
        .format    = w->format,
        .n_row     = w->n_row,
        .col0      = w->col0,
        .n_col     = w->n_col,
        .y0        = y0,
        .kind      = sr_linear_kind(w->format),
    };
    return true;
}

size_t sr_linear_bytes(const sr_cpujob *j)
{
    size_t     bytes = 0;
    sr_linpart part;
    for (uint32_t k = 0; k < j->op->n_w; k++)
        if (sr_linear_part(j, k, &part))
            bytes += part.row_bytes * part.n_row;
    return bytes;
}

bool sr_linear_take(const sr_cpujob *j, uint32_t grain, size_t bytes, sr_linpiece *piece)
{
    uint32_t at = sr_cpu_take(j);
    for (uint32_t k = 0; k < j->op->n_w; k++) {
        if (!sr_linear_part(j, k, &piece->part))
            continue;
        size_t   grains = bytes / (piece->part.row_bytes * grain);
        uint32_t step   = (uint32_t)SR_MIN(SR_MAX(grains, 1), (piece->part.n_row + grain - 1) / grain) * grain;
        uint32_t pieces = (piece->part.n_row + step - 1) / step;
        if (at < pieces) {
            piece->row = at * step;
            piece->n   = SR_MIN(step, piece->part.n_row - piece->row);
            return true;
        }
        at -= pieces;
    }
    return false;
}

/* ---- walks ------------------------------------------------------------------------------------------ */

enum { DRAW = 16 << 10 }; /* bytes of weights drawn at a time, at least a group */

/* Rows of a run.  One more than needed where all runs would begin at nearly the same place of a page, and so share few sets of
 * the L1 (16 runs, 8 to 12 ways): the last run is then shorter. */
static uint32_t apart_of(const sr_linwalk *k)
{
    uint32_t n = (k->stop - k->row + k->lanes - 1) / k->lanes, place = (uint32_t)(n * k->part.row_bytes % 1024);
    return n + (n > k->lanes && (place < 64 || place > 960));
}

/* Makes k->part the part that group `at` of the owner's share lies in; false: the share has fewer. */
static bool locate(sr_linwalk *k)
{
    const sr_cpujob *j = k->job;
    uint32_t         first = 0;
    for (uint32_t i = 0; i < j->op->n_w; i++) {
        if (!sr_linear_part(j, i, &k->part))
            continue;
        uint64_t units = (k->part.n_row + k->lanes - 1) / k->lanes;
        k->row   = (uint32_t)(units * k->owner / j->n_threads) * k->lanes;
        k->stop  = SR_MIN((uint32_t)(units * (k->owner + 1) / j->n_threads) * k->lanes, k->part.n_row);
        k->apart = k->stop > k->row ? apart_of(k) : 0;
        k->first = first;
        k->last  = first + k->apart;
        if (k->at < k->last)
            return true;
        first = k->last;
    }
    return false;
}

void sr_linear_walk(const sr_cpujob *j, uint32_t lanes, sr_linwalk *k)
{
    size_t row = SR_MAX(sr_linear_bytes(j) / j->op->dim[1], (size_t)1);
    *k = (sr_linwalk){.job = j, .lanes = lanes, .most = (uint32_t)SR_MAX(DRAW / (row * lanes), (size_t)1), .owner = j->thread,
                      .owners = j->n_threads};
}

bool sr_linear_step(sr_linwalk *k, sr_linrows *rows)
{
    while (k->owners) {
        if (k->at == k->end) {
            k->at  = sr_cpu_take_of(k->job, k->owner) * k->most;
            k->end = k->at + k->most;
        }
        if ((k->at >= k->first && k->at < k->last) || locate(k)) {
            rows->row   = k->row + k->at++ - k->first;
            rows->apart = k->apart;
            rows->n     = SR_MIN((k->stop - rows->row + k->apart - 1) / k->apart, k->lanes);
            return true;
        }
        k->owner = (k->owner + 1) % k->job->n_threads;
        k->owners--;
        k->at = k->end = k->first = k->last = 0;
    }
    return false;
}

const sr_cpukernel *const sr_linear_kernels[] = {
#if defined(__x86_64__)
    &sr_linear_amxbf16, &sr_linear_amx, &sr_linear_avx512, &sr_linear_avx2,
#elif defined(__aarch64__)
    &sr_linear_neondot, &sr_linear_neon,
#endif
    &sr_linear_ref, NULL};

const sr_cpukernel *const sr_linear_f32_kernels[] = {
#if defined(__x86_64__)
    &sr_linear_f32_avx512, &sr_linear_f32_avx2,
#elif defined(__aarch64__)
    &sr_linear_f32_neon,
#endif
    &sr_linear_f32_ref, NULL};
