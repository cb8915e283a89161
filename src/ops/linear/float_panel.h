/* float_panel.h - F32, F16 and BF16 weights against many rows of x: as a panel of floats, made once in the work area.
 *
 * Rows of the panel are a multiple of 16 numbers, with zeros behind; PANEL_R of them go with PANEL_T rows of x.
 *
 * The including file gives: MANY (rows of x), PANEL_R, PANEL_T, panel_row(), panel_block(), and floats_of() for fewer rows or for
 * rows of weights too long for a panel.
 *
 * Threads: pure functions of the job.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_FLOAT_PANEL_H
#define SR_OPS_LINEAR_FLOAT_PANEL_H
#include "ops/linear/rows.h"

static void floats_many(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    size_t   stride = sr_align_up(w->n_col, 16);
    uint32_t most   = (uint32_t)(SR_LIN_WORKER / (stride * sizeof(float))) / PANEL_R * PANEL_R;
    float   *panel  = (float *)(void *)o->work;
    for (uint32_t r0 = 0, n; r0 < rows->n; r0 += n) {
        n = SR_MIN(rows->n - r0, most);
        for (uint32_t i = 0; i < sr_align_up(n, PANEL_R); i++) { /* past the end: the last row again, not stored */
            const uint8_t *p = sr_row_of(w, rows, r0 + SR_MIN(i, n - 1));
            switch (w->format) {
            case SR_F32: panel_row(SR_F32, p, w->n_col, panel + i * stride); break;
            case SR_F16: panel_row(SR_F16, p, w->n_col, panel + i * stride); break;
            default: panel_row(SR_BF16, p, w->n_col, panel + i * stride);
            }
        }
        for (uint32_t t = 0; t < o->rows; t += PANEL_T) {
            const float *x[PANEL_T];
            for (uint32_t k = 0; k < PANEL_T; k++)
                x[k] = o->x + (size_t)SR_MIN(t + k, o->rows - 1) * o->cols + w->col0;
            for (uint32_t r = 0; r < n; r += PANEL_R) {
                float out[PANEL_R][PANEL_T];
                panel_block(panel + r * stride, stride, x, w->n_col, out);
                for (uint32_t i = 0; i < PANEL_R * PANEL_T; i++)
                    if (r + i / PANEL_T < n && t + i % PANEL_T < o->rows)
                        sr_put(o, w, rows->row + (r0 + r + i / PANEL_T) * rows->apart, t + i % PANEL_T, out[i / PANEL_T][i % PANEL_T]);
            }
        }
    }
}

static void floats(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    if (o->rows >= MANY && w->n_col <= SR_LIN_WORKER / (PANEL_R * sizeof(float)) - 16) {
        floats_many(o, w, rows);
        return;
    }
    switch (w->format) {
    case SR_F32: floats_of(SR_F32, o, w, rows); break;
    case SR_F16: floats_of(SR_F16, o, w, rows); break;
    default: floats_of(SR_BF16, o, w, rows);
    }
}
#endif
