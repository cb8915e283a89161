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
#include <string.h>
#include "ops/linear/layout.h"

#ifdef __CUDACC__
#define SR_TILE_FN static __host__ __device__ inline
#else
#define SR_TILE_FN static inline
#endif

/* Eight codes of 32-block b and row r of a tile share a lane: 4t .. 4t+3 (s 0) and 16+4t .. 16+4t+3 (s 1).
 * Bytes 2h+e of a folded word are (s 0) | (s 1) << 4 of register h, element e. */
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
    return (p.b / 2 * 32 + p.lane) * 16 + p.b % 2 * 8 + i / 2 * 4 + i % 2 * 2 + p.row;
}
SR_TILE_FN uint32_t sr_tile_byte(sr_tileplace p, uint32_t s, uint32_t i)
{
    return (p.b * 32 + p.lane) * 16 + s * 8 + i / 2 * 4 + p.row * 2 + i % 2;
}
SR_TILE_FN uint32_t sr_tile_half(sr_tileplace p, uint32_t s, uint32_t i)
{
    return ((p.b * 2 + s) * 32 + p.lane) * 16 + i / 2 * 8 + p.row * 4 + i % 2 * 2;
}
/* The top bits of a code. */
SR_TILE_FN sr_tiletop sr_tile_top(uint32_t format, sr_tileplace p, uint32_t i)
{
    uint32_t   c = p.b % 2 * 4 + i / 2 * 2 + p.row, h = i / 2 * 2 + p.row;
    sr_tiletop t;
    if (format == SR_Q5_K) {
        t.at    = 2304 + (p.lane * 4 + p.b / 2) * 4 + i % 2 * 2;
        t.shift = c + (c & 4);
        t.mask  = 0x11;
    } else {
        t.at    = 2304 + ((p.b / 2 * 32 + p.lane) * 2 + p.b % 2) * 4 + i % 2 * 2;
        t.shift = h / 2 * 8 + h % 2 * 2;
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
#endif
