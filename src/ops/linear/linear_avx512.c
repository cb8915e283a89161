/* LINEAR on AVX-512 with VNNI.
 *
 * Few rows of x (< FEW): sixteen rows of weights go together, straight from the file's blocks, each unpacked
 * once for up to four rows of x; a transposing sum leaves the sixteen totals of a block in one vector.
 *   Q4_K, one row of x, per superblock (144 bytes) and row: 8 instructions unpack, 5 spread scales, 8 multiply,
 *   ~5 sum and add: 26 on two ports.  13 clocks at 3 GHz are 33 GB/s a core: memory is the limit, not these.
 * More rows: panels and tiles (x86.h), 4 rows of weights x 32 rows of x in registers; a multiply by the
 * sub-block's scale (two operations) after 8 (Q6_K: 4) dot products.
 */
#include "ops/linear/avx512.h"

enum { FEW = 6, PANEL_ROWS = 32, WIDE = 1024 };

/* ---- more rows -------------------------------------------------------------------------------------- */

/* Four rows of a panel (stride bytes apart) against n_t tiles. */
SR_INLINE void tile_k(int sub, bool mins, int n_t, const unsigned char *panel, size_t stride,
                      const sr_xtile_k *const *x, uint32_t blocks, float *const *out)
{
    for (uint32_t b = 0; b < blocks; b++) {
        const sr_wrow_k *w[4];
        __m512i          s[4][2];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            w[r] = (const sr_wrow_k *)(const void *)(panel + (size_t)r * stride) + b;
            for (int t = 0; t < n_t; t++)
                s[r][t] = _mm512_set1_epi32(-w[r]->corr);
        }
        for (int j = 0; j < 256 / sub; j++) {
            __m512i d[4][2];
#pragma GCC unroll 8
            for (int k = 0; k < sub / 4; k++)
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) {
                    int at = j * (sub / 4) + k, a;
                    memcpy(&a, w[r]->q + at * 4, 4);
#pragma GCC unroll 2
                    for (int t = 0; t < n_t; t++)
                        d[r][t] = _mm512_dpbusd_epi32(k ? d[r][t] : _mm512_setzero_si512(),
                                                      _mm512_loadu_si512(x[t][b].q[at]), _mm512_set1_epi32(a));
                }
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++)
#pragma GCC unroll 2
                for (int t = 0; t < n_t; t++)
                    s[r][t] = _mm512_add_epi32(
                        s[r][t], _mm512_mullo_epi32(d[r][t], _mm512_set1_epi32(w[r]->sc[j * (sub / 16)])));
        }
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
#pragma GCC unroll 2
            for (int t = 0; t < n_t; t++) {
                float *to  = out[t] + r * SR_LIN_TILE;
                __m512 dx  = _mm512_loadu_ps(x[t][b].d), acc = _mm512_loadu_ps(to);
                acc = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w[r]->d), dx), _mm512_cvtepi32_ps(s[r][t]), acc);
                if (mins) {
                    __m512i m = _mm512_setzero_si512();
                    for (int i = 0; i < 4; i++)
                        m = _mm512_dpwssd_epi32(m, _mm512_loadu_si512(x[t][b].pair[i]), _mm512_set1_epi32(w[r]->m[i]));
                    acc = _mm512_fnmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w[r]->dmin), dx), _mm512_cvtepi32_ps(m), acc);
                }
                _mm512_storeu_ps(to, acc);
            }
    }
}

SR_INLINE void tile_0(int n_t, const unsigned char *panel, size_t stride, const sr_xtile_0 *const *x, uint32_t blocks,
                      float *const *out)
{
    __m512 acc[4][2];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        for (int t = 0; t < n_t; t++)
            acc[r][t] = _mm512_loadu_ps(out[t] + r * SR_LIN_TILE);
    for (uint32_t b = 0; b < blocks; b++) {
        const sr_wrow_0 *w[4];
        __m512i          d[4][2];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            w[r] = (const sr_wrow_0 *)(const void *)(panel + (size_t)r * stride) + b;
            for (int t = 0; t < n_t; t++)
                d[r][t] = _mm512_set1_epi32(-w[r]->corr);
        }
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                int a;
                memcpy(&a, w[r]->q + k * 4, 4);
#pragma GCC unroll 2
                for (int t = 0; t < n_t; t++)
                    d[r][t] = _mm512_dpbusd_epi32(d[r][t], _mm512_loadu_si512(x[t][b].q[k]), _mm512_set1_epi32(a));
            }
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            for (int t = 0; t < n_t; t++)
                acc[r][t] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w[r]->d), _mm512_loadu_ps(x[t][b].d)),
                                            _mm512_cvtepi32_ps(d[r][t]), acc[r][t]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        for (int t = 0; t < n_t; t++)
            _mm512_storeu_ps(out[t] + r * SR_LIN_TILE, acc[r][t]);
}

/* One or two tiles against the whole panel. */
SR_INLINE void against(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t at, int n_t,
                       const unsigned char *panel, sr_acc acc)
{
    bool              k      = w->kind == SR_LIN_KINDK;
    uint32_t          block  = k ? 256 : 32, blocks = a->n_col / block;
    size_t            stride = blocks * (k ? sizeof(sr_wrow_k) : sizeof(sr_wrow_0));
    const sr_xtile_k *xk[2]  = {NULL, NULL};
    const sr_xtile_0 *x0[2]  = {NULL, NULL};
    for (uint32_t t = 0; t < (uint32_t)n_t; t++) {
        size_t first = (size_t)(tile + at + t) * (o->cols / block) + (w->col0 + a->col) / block;
        if (k)
            xk[t] = (const sr_xtile_k *)o->xk + first;
        else
            x0[t] = (const sr_xtile_0 *)o->x0 + first;
    }
    for (uint32_t r = 0; r < a->rows.n; r += 4, panel += 4 * stride) {
        float *out[2] = {sr_acc_at(acc, at, r), n_t > 1 ? sr_acc_at(acc, at + 1, r) : NULL};
        if (!k)
            tile_0(n_t, panel, stride, x0, blocks, out);
        else if (w->format == SR_Q6_K)
            tile_k(16, false, n_t, panel, stride, xk, blocks, out);
        else
            tile_k(32, true, n_t, panel, stride, xk, blocks, out);
    }
}

static void chunk(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile,
                  unsigned char *panel, sr_acc acc)
{
    uint32_t t = 0;
    sr_panel(w, a, 4, false, panel);
    for (; t + 2 <= n_tile; t += 2)
        against(o, w, a, tile, t, 2, panel, acc);
    if (t < n_tile)
        against(o, w, a, tile, t, 1, panel, acc);
}

/* ---- the kernel ------------------------------------------------------------------------------------- */

static void run(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    sr_linear_unfold(j, &o);
    bool tiles = o.rows >= FEW;
    if (phase == 0) {
        if (tiles)
            sr_quant_tiles512(j, &o, 0x80);
        else
            sr_quant_rows(j, &o);
        return;
    }
    if (sr_linear_skip(j))
        sr_quant_alone(j, &o);
    sr_linrows rows;
    if (!tiles) {
        sr_linwalk k;
        for (sr_linear_walk(j, SR_FEW_ROWS, &k); sr_linear_step(&k, &rows);)
            sr_few512(&o, &k.part, &rows);
        return;
    }
    sr_linpiece s;
    while (sr_linear_take(j, PANEL_ROWS, 0, &s)) {
        rows = (sr_linrows){.row = s.row, .apart = 1, .n = s.n};
        if (s.part.kind == SR_LIN_FLOAT)
            sr_floats512(&o, &s.part, &rows);
        else
            sr_many(&o, &s.part, &rows, PANEL_ROWS, WIDE, chunk, sr_put_acc512);
    }
}

const sr_cpukernel sr_linear_avx512 = {
    .family = "linear", .isa = "avx512", .needs = SR_CPU_AVX512 | SR_CPU_AVX512_VNNI, .phases = 2, .skip = sr_linear_skip, .run = run};
