/* tile.h - where the codes of a tile lie, and one row's eight codes put there: the same code makes tiles on the host and on the
 * device.
 *
 * A tile's bytes are zero before.  Rows and octets come in any order, on the device from all threads of a block at once: words that
 * they share are joined by sr_tile_or.
 *
 * Threads: pure functions.   Errors: none.   Source: layout.h.
 */
#ifndef SR_OPS_LINEAR_TILE_H
#define SR_OPS_LINEAR_TILE_H
#include <stdbool.h>
#include <string.h>
#include "ops/linear/layout.h"

#ifdef __CUDACC__
#define SR_TILE_FN static __host__ __device__ inline
#else
#define SR_TILE_FN static inline
#endif

/* Eight codes of 32-block b and row r of a tile share a lane: 4t .. 4t+3 (s 0) and 16+4t .. 16+4t+3 (s 1).
 * Code i = 2h + e of four has byte 2e + h of its row's word, so that a word's even bytes are register h = 0 and its odd ones h = 1. */
typedef struct { uint32_t lane, b, row; } sr_tileplace;
typedef struct { uint32_t at, shift, mask; } sr_tiletop; /* a 16-bit word, the shift of (s 0) in it; (s 1) is four further */

SR_TILE_FN sr_tileplace sr_tile_place(uint32_t r, uint32_t octet)
{
    sr_tileplace p;
    p.lane = r % 8 * 4 + octet % 4;
    p.b    = octet / 4;
    p.row  = r / 8;
    return p;
}
SR_TILE_FN uint32_t sr_tile_k(uint32_t octet, uint32_t s) { return octet / 4 * 32 + s * 16 + octet % 4 * 4; }
SR_TILE_FN uint32_t sr_tile_nibble(sr_tileplace p, uint32_t i) /* bytes, i = 2h + e */
{
    return (p.b / 2 * 32 + p.lane) * 16 + p.b % 2 * 8 + p.row * 4 + i % 2 * 2 + i / 2;
}
SR_TILE_FN uint32_t sr_tile_byte(sr_tileplace p, uint32_t s, uint32_t i)
{
    return (p.b * 32 + p.lane) * 16 + s * 8 + p.row * 4 + i % 2 * 2 + i / 2;
}
SR_TILE_FN uint32_t sr_tile_half(sr_tileplace p, uint32_t s, uint32_t i)
{
    return ((p.b * 2 + s) * 32 + p.lane) * 16 + i / 2 * 8 + p.row * 4 + i % 2 * 2;
}
/* The top bits of a code. */
SR_TILE_FN sr_tiletop sr_tile_top(uint32_t format, sr_tileplace p, uint32_t i)
{
    sr_tiletop t;
    if (format == SR_Q5_K) {
        t.at    = 2304 + (p.lane * 4 + p.b / 2) * 4 + i % 2 * 2;
        t.shift = i / 2 * 8 + p.b % 2 * 2 + p.row;
        t.mask  = 0x11;
    } else {
        t.at    = 2304 + ((p.b / 2 * 32 + p.lane) * 2 + p.b % 2) * 4 + i % 2 * 2;
        t.shift = i / 2 * 8 + p.row * 2;
        t.mask  = 0x33;
    }
    return t;
}

/* Code k of a row's 256; p: the row's block or blocks. */
SR_TILE_FN uint8_t sr_tile_code(uint32_t format, const uint8_t *p, uint32_t k)
{
    uint32_t j = k / 32, i = k % 32;
    if (format == SR_Q4_K)
        return ((const sr_q4_K *)p)->qs[j / 2 * 32 + i] >> j % 2 * 4 & 15;
    if (format == SR_Q5_K) {
        const sr_q5_K *w = (const sr_q5_K *)p;
        return (uint8_t)((w->qs[j / 2 * 32 + i] >> j % 2 * 4 & 15) | (w->qh[i] >> j & 1) << 4);
    }
    if (format == SR_Q6_K) {
        const sr_q6_K *w = (const sr_q6_K *)p;
        return (uint8_t)((w->ql[j / 4 * 64 + j % 2 * 32 + i] >> j / 2 % 2 * 4 & 15) | (w->qh[j / 4 * 32 + i] >> j % 4 * 2 & 3) << 4);
    }
    if (format == SR_Q4_0)
        return ((const sr_q4_0 *)p)[j].qs[i % 16] >> i / 16 * 4 & 15;
    return (uint8_t)(((const sr_q8_0 *)p)[j].qs[i] + 128);
}

SR_TILE_FN void sr_tile_or(uint8_t *tile, uint32_t at, uint32_t half) /* at: even */
{
#ifdef __CUDA_ARCH__
    atomicOr((unsigned *)(tile + at / 4 * 4), half << at % 4 * 8);
#else
    uint16_t w;
    memcpy(&w, tile + at, 2);
    w = (uint16_t)(w | half);
    memcpy(tile + at, &w, 2);
#endif
}

/* Octet o of row r of a quantised tile; p: the row's blocks for the tile's 256 inputs. */
SR_TILE_FN void sr_tile_octet(uint32_t format, const uint8_t *p, uint8_t *tile, uint32_t r, uint32_t o)
{
    sr_tileplace at = sr_tile_place(r, o);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t a = sr_tile_code(format, p, sr_tile_k(o, 0) + i), b = sr_tile_code(format, p, sr_tile_k(o, 1) + i);
        if (format == SR_Q8_0) {
            tile[sr_tile_byte(at, 0, i)] = (uint8_t)a;
            tile[sr_tile_byte(at, 1, i)] = (uint8_t)b;
            continue;
        }
        tile[sr_tile_nibble(at, i)] = (uint8_t)((a & 15) | (b & 15) << 4);
        if (format == SR_Q5_K || format == SR_Q6_K) {
            sr_tiletop t = sr_tile_top(format, at, i);
            sr_tile_or(tile, t.at, ((a >> 4 | (b & 0xf0)) & t.mask) << t.shift);
        }
    }
}

/* Octet o < 8 of row r of a tile of 64 halves. */
SR_TILE_FN void sr_tile_halves(const uint8_t *p, uint8_t *tile, uint32_t r, uint32_t o)
{
    sr_tileplace at = sr_tile_place(r, o);
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t b = 0; b < 2; b++)
            tile[sr_tile_half(at, i / 4, i % 4) + b] = p[(sr_tile_k(o, i / 4) + i % 4) * 2 + b];
}

/* Scale bytes of row r, n of them from p + from to tile + to; which = 0, 1, .. until n is 0. */
typedef struct { uint32_t to, from, n; } sr_tilescale;
SR_TILE_FN sr_tilescale sr_tile_scale(uint32_t format, uint32_t r, uint32_t which)
{
    sr_tilescale s = {0, 0, 0};
    if (format == SR_Q4_K || format == SR_Q5_K) {
        s.to = 2048 + r * 16;
        s.n  = which ? 0 : 16;
    } else if (format == SR_Q6_K) {
        s.to   = which ? 3328 + r * 2 : 2048 + r * 16;
        s.from = which ? 208 : 192;
        s.n    = which > 1 ? 0 : which ? 2 : 16;
    } else if (format == SR_Q4_0 || format == SR_Q8_0) {
        s.to   = (format == SR_Q4_0 ? 2048 : 4096) + r * 16 + which * 2;
        s.from = which * (uint32_t)(format == SR_Q4_0 ? sizeof(sr_q4_0) : sizeof(sr_q8_0));
        s.n    = which > 7 ? 0 : 2;
    }
    return s;
}

/* ---- words at a time ------------------------------------------------------------------------------------------------------------
 * The same bytes as octet by octet, as a device makes them: item i < 128 of a tile has the 16 bytes of a lane (two of them: Q8_0), and what lies
 * beside.  Four codes are read at once and are the four bytes of a word, the middle two in turn. */

SR_TILE_FN uint32_t sr_tile_u32(const uint8_t *p, bool aligned) /* on an even address at least */
{
#ifdef __CUDA_ARCH__
    return aligned ? *(const uint32_t *)p : *(const uint16_t *)p | (uint32_t)*(const uint16_t *)(p + 2) << 16;
#else
    uint32_t w;
    (void)aligned;
    memcpy(&w, p, 4);
    return w;
#endif
}
SR_TILE_FN uint32_t sr_tile_order(uint32_t four) /* byte 2h + e to byte 2e + h */
{
    return (four & 0xff0000ff) | (four & 0xff00) << 8 | (four >> 8 & 0xff00);
}

/* Where the four bytes that hold nibbles of block 2j + b, step s, begin (but for 4t), and by how much they are shifted. */
SR_TILE_FN uint32_t sr_tile_nibbles_at(uint32_t format, uint32_t j, uint32_t b, uint32_t s)
{
    return format == SR_Q4_K   ? 16 + j * 32 + s * 16
           : format == SR_Q5_K ? 48 + j * 32 + s * 16
           : format == SR_Q6_K ? j / 2 * 64 + b * 32 + s * 16
                               : (2 * j + b) * (uint32_t)sizeof(sr_q4_0) + 2;
}
SR_TILE_FN uint32_t sr_tile_nibbles_shift(uint32_t format, uint32_t j, uint32_t b, uint32_t s)
{
    return 4 * (format == SR_Q6_K ? j % 2 : format == SR_Q4_0 ? s : b);
}

/* Four bytes, shifted right and masked, in a word's order. */
SR_TILE_FN uint32_t sr_tile_four(const uint8_t *p, bool aligned, uint32_t right, uint32_t mask)
{
    return sr_tile_order(sr_tile_u32(p, aligned) >> right & mask);
}

SR_TILE_FN void sr_tile_nibble_words(uint32_t format, const uint8_t *row, uint32_t stride, uint32_t i, uint32_t w[4]) /* row: g's, at 4t */
{
    uint32_t j = i / 32;
    bool     aligned = format == SR_Q4_K || format == SR_Q5_K;
    w[0] = w[1] = w[2] = w[3] = 0;
    for (uint32_t b = 0; b < 2; b++)
        for (uint32_t r = 0; r < 2; r++)
            for (uint32_t s = 0; s < 2; s++)
                w[2 * b + r] |= sr_tile_four(row + 8 * r * stride + sr_tile_nibbles_at(format, j, b, s), aligned,
                                             sr_tile_nibbles_shift(format, j, b, s), 0x0f0f0f0f) << 4 * s;
}

/* Top bits of pair j: Q5_K one word, Q6_K two. */
SR_TILE_FN void sr_tile_top_words(uint32_t format, const uint8_t *row, uint32_t stride, uint32_t i, uint32_t w[2])
{
    uint32_t j = i / 32;
    w[0] = w[1] = 0;
    for (uint32_t b = 0; b < 2; b++)
        for (uint32_t r = 0; r < 2; r++)
            for (uint32_t s = 0; s < 2; s++) {
                const uint8_t *p = row + 8 * r * stride;
                if (format == SR_Q5_K)
                    w[0] |= sr_tile_four(p + 16 + 16 * s, true, 2 * j + b, 0x01010101) << (4 * s + 2 * b + r);
                else
                    w[b] |= sr_tile_four(p + 128 + j / 2 * 32 + 16 * s, false, (2 * j + b) % 4 * 2, 0x03030303) << (4 * s + 2 * r);
            }
}

/* Words s, row half of block `block` of Q8_0; words h, row half of a group of halves. */
SR_TILE_FN void sr_tile_byte_words(const uint8_t *row, uint32_t stride, uint32_t block, uint32_t w[4])
{
    for (uint32_t s = 0; s < 2; s++)
        for (uint32_t r = 0; r < 2; r++)
            w[2 * s + r] = sr_tile_four(row + 8 * r * stride + block * (uint32_t)sizeof(sr_q8_0) + 2 + 16 * s, false, 0, ~0u) ^ 0x80808080u;
}
SR_TILE_FN void sr_tile_half_words(const uint8_t *row, uint32_t stride, uint32_t group, uint32_t w[4]) /* row: g's, at 8t */
{
    for (uint32_t h = 0; h < 2; h++)
        for (uint32_t r = 0; r < 2; r++)
            w[2 * h + r] = sr_tile_u32(row + 8 * r * stride + group * 32 + 4 * h, true);
}

SR_TILE_FN void sr_tile_put(uint8_t *to, const uint32_t w[4]) /* on 16 bytes */
{
#ifdef __CUDA_ARCH__
    *(uint4 *)to = make_uint4(w[0], w[1], w[2], w[3]);
#else
    memcpy(to, w, 16);
#endif
}
SR_TILE_FN void sr_tile_put1(uint8_t *to, uint32_t w)
{
#ifdef __CUDA_ARCH__
    *(uint32_t *)to = w;
#else
    memcpy(to, &w, 4);
#endif
}

/* Scales of row r: 16 bytes, or the eight of blocks that lie apart, and Q6_K's d. */
SR_TILE_FN void sr_tile_header(uint32_t format, const uint8_t *p, uint8_t *tile, uint32_t r)
{
    sr_tilescale s = sr_tile_scale(format, r, 0);
    uint32_t     w[4], apart = format == SR_Q4_0 ? (uint32_t)sizeof(sr_q4_0) : (uint32_t)sizeof(sr_q8_0);
    if (!s.n)
        return;
    for (uint32_t k = 0; k < 4; k++)
        w[k] = s.n == 16 ? sr_tile_u32(p + s.from + 4 * k, false)
                         : (sr_tile_u32(p + 2 * k * apart, false) & 0xffff) | sr_tile_u32(p + (2 * k + 1) * apart, false) << 16;
    sr_tile_put(tile + s.to, w);
    if (format == SR_Q6_K) {
        s = sr_tile_scale(format, r, 1);
        tile[s.to]     = p[s.from];
        tile[s.to + 1] = p[s.from + 1];
    }
}

/* Item i of a tile: rows are `stride` bytes apart, aligned to 4 as a whole (Q6_K, Q4_0, Q8_0: to 2). */
SR_TILE_FN void sr_tile_item(uint32_t format, const uint8_t *rows, uint32_t stride, uint8_t *tile, uint32_t i)
{
    uint32_t       lane = i % 32, w[4], top[2];
    bool           halves = format == SR_F16 || format == SR_BF16;
    const uint8_t *row = rows + lane / 4 * stride + lane % 4 * (halves ? 8 : 4);
    if (halves)
        sr_tile_half_words(row, stride, i / 32, w);
    else if (format == SR_Q8_0)
        sr_tile_byte_words(row, stride, i / 32, w);
    else
        sr_tile_nibble_words(format, row, stride, i, w);
    sr_tile_put(tile + 16 * i, w);
    if (format == SR_Q8_0) {
        sr_tile_byte_words(row, stride, i / 32 + 4, w);
        sr_tile_put(tile + 16 * (i + 128), w);
    }
    if (format == SR_Q5_K || format == SR_Q6_K) {
        sr_tile_top_words(format, row, stride, i, top);
        sr_tile_put1(tile + 2304 + 4 * (format == SR_Q5_K ? lane * 4 + i / 32 : 2 * i), top[0]);
        if (format == SR_Q6_K)
            sr_tile_put1(tile + 2304 + 4 * (2 * i + 1), top[1]);
    }
    if (i < 16)
        sr_tile_header(format, rows + i * stride, tile, i);
}
enum { SR_TILE_ITEMS = 128 };
#endif
