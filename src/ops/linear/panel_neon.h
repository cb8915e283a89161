/* panel_neon.h - many rows of x on NEON with dot products: panels of signed bytes, see linear_neon.h, part of it.
 *
 * Work area   [accumulators: rows of x][PANEL_ROWS] floats, then a panel of PANEL_ROWS rows and WIDE columns: 44 KB, which
 *             stays near while all rows of x go by, four at a time (4 x 1.25 KB).
 */
enum { WIDE = 1024, TB = 512 }; /* columns of a panel; rows of x that it serves before the next is made */

typedef struct {
    int8_t  q[64][4][4];    /* [four codes][row] */
    int32_t sc[16][4];      /* [sub-block of 32, Q6_K: of 16][row] */
    int16_t m[8][4];
    float   d[4], dmin[4];
} unit_k;                   /* a superblock of four rows */
typedef struct { int8_t q[8][4][4]; float d[4]; } unit_0;
typedef char panel_fits[TB * PANEL_ROWS * 4 + PANEL_ROWS / 4 * (WIDE / 32 * sizeof(unit_0) + WIDE / 256 * sizeof(unit_k)) <= SR_LIN_WORKER ? 1 : -1];

/* ---- the panel -------------------------------------------------------------------------------------- */

/* Sixteen codes of four rows: four of each side by side. */
SR_INLINE void weave(int8_t (*to)[4][4], const int8x16_t row[4])
{
    int32x4x4_t v;
    V16_UNROLL for (int r = 0; r < 4; r++)
        v.val[r] = vreinterpretq_s32_s8(row[r]);
    vst4q_s32((int32_t *)(void *)to, v);
}

SR_INLINE void pack_k(uint32_t format, const uint8_t *const *w, size_t at, unit_k *o)
{
    for (int i = 0; i < 4; i++) {
        int8x16_t q[4][4];
        V16_UNROLL for (int r = 0; r < 4; r++) {
            int8x16_t c[4];
            sr_codes(format, w[r] + at, i, c);
            V16_UNROLL for (int k = 0; k < 4; k++)
                q[k][r] = format == SR_Q6_K ? vsubq_s8(c[k], vdupq_n_s8(32)) : c[k];
        }
        V16_UNROLL for (int k = 0; k < 4; k++)
            weave(o->q + 16 * i + 4 * k, q[k]);
    }
    for (int r = 0; r < 4; r++) {
        const uint8_t *p = w[r] + at;
        if (format == SR_Q6_K) {
            for (int k = 0; k < 16; k++)
                o->sc[k][r] = (int8_t)p[192 + k];
            continue;
        }
        uint64_t s, m;
        sr_scales_45(p + 4, &s, &m);
        for (int k = 0; k < 8; k++) {
            o->sc[k][r] = (int32_t)(s >> 8 * k & 63);
            o->m[k][r]  = (int16_t)(m >> 8 * k & 63);
        }
    }
    vst1q_f32(o->d, sr_halves4(w, at + (format == SR_Q6_K ? 208 : 0)));
    if (format != SR_Q6_K)
        vst1q_f32(o->dmin, sr_halves4(w, at + 2));
}

SR_INLINE void pack_0(uint32_t format, const uint8_t *const *w, size_t at, unit_0 *o)
{
    int8x16_t q[2][4];
    V16_UNROLL for (int r = 0; r < 4; r++) {
        int8x16_t c[2];
        sr_codes_0(format, w[r] + at, c);
        q[0][r] = c[0];
        q[1][r] = c[1];
    }
    weave(o->q, q[0]);
    weave(o->q + 4, q[1]);
    vst1q_f32(o->d, sr_halves4(w, at));
}

/* Rows of a part, columns col .. col + n_col of what is held; rows rounded up to eight with the last one again. */
static void pack(const sr_linpart *w, const sr_linrows *rows, uint32_t col, uint32_t n_col, unsigned char *panel)
{
    bool     k     = w->kind == SR_LIN_KINDK;
    uint32_t block = k ? 256 : 32;
    size_t   size  = sr_linear_block(w->format);
    for (uint32_t r = 0; r < sr_align_up(rows->n, 8); r += 4) {
        const uint8_t *p[4];
        for (uint32_t i = 0; i < 4; i++)
            p[i] = sr_row_of(w, rows, r + i);
        for (uint32_t b = col / block; b < (col + n_col) / block; b++, panel += k ? sizeof(unit_k) : sizeof(unit_0))
            switch (w->format) {
            case SR_Q4_K: pack_k(SR_Q4_K, p, b * size, (unit_k *)(void *)panel); break;
            case SR_Q5_K: pack_k(SR_Q5_K, p, b * size, (unit_k *)(void *)panel); break;
            case SR_Q6_K: pack_k(SR_Q6_K, p, b * size, (unit_k *)(void *)panel); break;
            case SR_Q8_0: pack_0(SR_Q8_0, p, b * size, (unit_0 *)(void *)panel); break;
            default: pack_0(SR_Q4_0, p, b * size, (unit_0 *)(void *)panel);
            }
    }
}

/* ---- eight rows of weights against four of x -------------------------------------------------------- */

/* p += the products of four codes of each row with four of x: those of its lane. */
#define FOUR(q0, q1, lane)                                                                                             \
    do {                                                                                                               \
        int8x16_t w0 = vld1q_s8((q0)[lane][0]), w1 = vld1q_s8((q1)[lane][0]);                                          \
        V16_UNROLL for (int t = 0; t < 4; t++) {                                                                       \
            p[0][t] = vdotq_laneq_s32(p[0][t], w0, xv[t], lane);                                                       \
            p[1][t] = vdotq_laneq_s32(p[1][t], w1, xv[t], lane);                                                       \
        }                                                                                                              \
    } while (0)

/* Sixteen codes. */
SR_INLINE void sixteen(const int8_t (*q0)[4][4], const int8_t (*q1)[4][4], const int8x16_t xv[4], int32x4_t (*p)[4])
{
    FOUR(q0, q1, 0);
    FOUR(q0, q1, 1);
    FOUR(q0, q1, 2);
    FOUR(q0, q1, 3);
}

SR_INLINE void clear(int32x4_t (*p)[4])
{
    V16_UNROLL for (int i = 0; i < 8; i++)
        p[i / 4][i % 4] = vdupq_n_s32(0);
}

/* The minimums' part of a superblock: sum over blocks of m times x's sum. */
SR_INLINE int32x4_t mins_of(const unit_k *u, int16x8_t sums)
{
    int32x4_t t = vmull_laneq_s16(vld1_s16(u->m[0]), sums, 0);
    t           = vmlal_laneq_s16(t, vld1_s16(u->m[1]), sums, 1);
    t           = vmlal_laneq_s16(t, vld1_s16(u->m[2]), sums, 2);
    t           = vmlal_laneq_s16(t, vld1_s16(u->m[3]), sums, 3);
    t           = vmlal_laneq_s16(t, vld1_s16(u->m[4]), sums, 4);
    t           = vmlal_laneq_s16(t, vld1_s16(u->m[5]), sums, 5);
    t           = vmlal_laneq_s16(t, vld1_s16(u->m[6]), sums, 6);
    return vmlal_laneq_s16(t, vld1_s16(u->m[7]), sums, 7);
}

/* sub: codes of a sub-block, 32 or 16; mins: the format has minimums. */
SR_INLINE void tile_k(int sub, bool mins, const unit_k *const *u, const sr_xrow_k *const *x, uint32_t blocks, float *const *out)
{
    for (uint32_t b = 0; b < blocks; b++) {
        const unit_k *u0 = u[0] + b, *u1 = u[1] + b;
        int32x4_t     s[2][4];
        clear(s);
        for (int k = 0; k < 256; k += sub) {
            int32x4_t p[2][4], sc0 = vld1q_s32(u0->sc[k / sub]), sc1 = vld1q_s32(u1->sc[k / sub]);
            clear(p);
            V16_UNROLL for (int h = k; h < k + sub; h += 16) {
                int8x16_t xv[4];
                V16_UNROLL for (int t = 0; t < 4; t++)
                    xv[t] = vld1q_s8(x[t][b].q + h);
                sixteen(u0->q + h / 4, u1->q + h / 4, xv, p);
            }
            V16_UNROLL for (int t = 0; t < 4; t++) {
                s[0][t] = vmlaq_s32(s[0][t], p[0][t], sc0);
                s[1][t] = vmlaq_s32(s[1][t], p[1][t], sc1);
            }
        }
        V16_UNROLL for (int i = 0; i < 8; i++) {
            const unit_k    *v   = i / 4 ? u1 : u0;
            const sr_xrow_k *y   = x[i % 4] + b;
            float           *to  = out[i % 4] + i / 4 * 4;
            float32x4_t      acc = vld1q_f32(to);
            acc = vfmaq_f32(acc, vmulq_n_f32(vld1q_f32(v->d), y->d), vcvtq_f32_s32(s[i / 4][i % 4]));
            if (mins)
                acc = vfmsq_f32(acc, vmulq_n_f32(vld1q_f32(v->dmin), y->d), vcvtq_f32_s32(mins_of(v, vld1q_s16(y->sum32))));
            vst1q_f32(to, acc);
        }
    }
}

static void tile_0(const unit_0 *const *u, const sr_xrow_0 *x, uint32_t blocks, float *const *out)
{
    float32x4_t acc[2][4];
    V16_UNROLL for (int i = 0; i < 8; i++)
        acc[i / 4][i % 4] = vld1q_f32(out[i % 4] + i / 4 * 4);
    for (uint32_t b = 0; b < blocks; b++) {
        int32x4_t   p[2][4];
        float32x4_t d0 = vld1q_f32(u[0][b].d), d1 = vld1q_f32(u[1][b].d);
        clear(p);
        V16_UNROLL for (int h = 0; h < 32; h += 16) {
            int8x16_t xv[4];
            V16_UNROLL for (int t = 0; t < 4; t++)
                xv[t] = vld1q_s8(x[t].q + b * 32 + h);
            sixteen(u[0][b].q + h / 4, u[1][b].q + h / 4, xv, p);
        }
        V16_UNROLL for (int t = 0; t < 4; t++) {
            acc[0][t] = vfmaq_f32(acc[0][t], vmulq_n_f32(d0, x[t].d[b]), vcvtq_f32_s32(p[0][t]));
            acc[1][t] = vfmaq_f32(acc[1][t], vmulq_n_f32(d1, x[t].d[b]), vcvtq_f32_s32(p[1][t]));
        }
    }
    V16_UNROLL for (int i = 0; i < 8; i++)
        vst1q_f32(out[i % 4] + i / 4 * 4, acc[i / 4][i % 4]);
}

static void tile_45(const unit_k *const *u, const sr_xrow_k *const *x, uint32_t blocks, float *const *out)
{
    tile_k(32, true, u, x, blocks, out);
}

static void tile_6(const unit_k *const *u, const sr_xrow_k *const *x, uint32_t blocks, float *const *out)
{
    tile_k(16, false, u, x, blocks, out);
}

/* ---- driver ----------------------------------------------------------------------------------------- */

/* The panel against rows t0 .. t0 + n_t of x; past the last one: that one again, into accumulators that nobody reads. */
static void chunk(const sr_linop *o, const sr_linpart *w, uint32_t n, uint32_t col, uint32_t n_col, uint32_t t0, uint32_t n_t,
                  const unsigned char *panel, float *acc)
{
    bool     k      = w->kind == SR_LIN_KINDK;
    uint32_t blocks = n_col / (k ? 256 : 32);
    for (uint32_t t = 0; t < n_t; t += 4)
        for (uint32_t r = 0; r < n; r += 8) {
            float           *out[4];
            const sr_xrow_k *xk[4] = {0};
            sr_xrow_0        x0[4] = {{0}};
            for (uint32_t i = 0; i < 4; i++) {
                uint32_t row = t0 + SR_MIN(t + i, n_t - 1);
                out[i]       = acc + (size_t)(t + i) * PANEL_ROWS + r;
                if (k)
                    xk[i] = sr_xrow(o, row) + (w->col0 + col) / 256;
                else
                    x0[i] = sr_xrow0(o, row, w->col0 + col);
            }
            const unit_k *uk = (const unit_k *)(const void *)panel + r / 4 * blocks;
            const unit_0 *u0 = (const unit_0 *)(const void *)panel + r / 4 * blocks;
            if (!k)
                tile_0((const unit_0 *const[]){u0, u0 + blocks}, x0, blocks, out);
            else if (w->format == SR_Q6_K)
                tile_6((const unit_k *const[]){uk, uk + blocks}, xk, blocks, out);
            else
                tile_45((const unit_k *const[]){uk, uk + blocks}, xk, blocks, out);
        }
}

/* At most PANEL_ROWS rows of weights against all of x. */
static void many(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    float         *acc   = (float *)(void *)o->work;
    unsigned char *panel = (unsigned char *)(acc + TB * PANEL_ROWS);
    for (uint32_t t0 = 0; t0 < o->rows; t0 += TB) {
        uint32_t n_t = SR_MIN(o->rows - t0, (uint32_t)TB);
        memset(acc, 0, sr_align_up(n_t, 4) * PANEL_ROWS * sizeof *acc);
        for (uint32_t c = 0; c < w->n_col; c += WIDE) {
            uint32_t n_col = SR_MIN(w->n_col - c, (uint32_t)WIDE);
            pack(w, rows, c, n_col, panel);
            chunk(o, w, rows->n, c, n_col, t0, n_t, panel, acc);
        }
        for (uint32_t t = 0; t < n_t; t++)
            for (uint32_t r = 0; r < rows->n; r++)
                sr_put(o, w, rows->row + r * rows->apart, t0 + t, acc[(size_t)t * PANEL_ROWS + r]);
    }
}
