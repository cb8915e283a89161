#include "ops/linear/layout.h"

#include <string.h>

#include "ops/linear/tile.h"

/* The row's blocks are zero before. */
static void write_codes(uint32_t format, uint8_t *p, const uint8_t q[256])
{
    for (uint32_t k = 0; k < 256; k++) {
        uint32_t j = k / 32, i = k % 32;
        uint8_t  low = (uint8_t)(q[k] & 15), high = (uint8_t)(q[k] >> 4);
        if (format == SR_Q4_K)
            ((sr_q4_K *)p)->qs[j / 2 * 32 + i] |= (uint8_t)(low << j % 2 * 4);
        else if (format == SR_Q5_K) {
            sr_q5_K *w = (sr_q5_K *)p;
            w->qs[j / 2 * 32 + i] |= (uint8_t)(low << j % 2 * 4);
            w->qh[i] |= (uint8_t)(high << j);
        } else if (format == SR_Q6_K) {
            sr_q6_K *w = (sr_q6_K *)p;
            w->ql[j / 4 * 64 + j % 2 * 32 + i] |= (uint8_t)(low << j / 2 % 2 * 4);
            w->qh[j / 4 * 32 + i] |= (uint8_t)(high << j % 4 * 2);
        } else if (format == SR_Q4_0)
            ((sr_q4_0 *)p)[j].qs[i % 16] |= (uint8_t)(low << i / 16 * 4);
        else
            ((sr_q8_0 *)p)[j].qs[i] = (int8_t)(q[k] - 128);
    }
}

static void row_in(uint32_t format, const uint8_t *p, uint8_t *tile, uint32_t r)
{
    for (uint32_t o = 0; o < 32; o++)
        sr_tile_octet(format, p, tile, r, o);
    for (uint32_t i = 0;; i++) {
        sr_tilescale m = sr_tile_scale(format, r, i);
        if (!m.n)
            return;
        memcpy(tile + m.to, p + m.from, m.n);
    }
}

static void row_out(uint32_t format, const uint8_t *tile, uint8_t *p, uint32_t r)
{
    uint8_t  q[256];
    uint16_t w;
    for (uint32_t o = 0; o < 32; o++) {
        sr_tileplace at  = sr_tile_place(r, o);
        uint32_t low = 0, high = 0;
        for (uint32_t i = 0; i < 4; i++) {
            if (format == SR_Q8_0) {
                q[sr_tile_k(o, 0) + i] = tile[sr_tile_byte(at, 0, i)];
                q[sr_tile_k(o, 1) + i] = tile[sr_tile_byte(at, 1, i)];
                continue;
            }
            low |= (uint32_t)tile[sr_tile_nibble(at, i)] << i * 8;
            if (format == SR_Q5_K || format == SR_Q6_K) {
                sr_tiletop t = sr_tile_top(format, at, i);
                memcpy(&w, tile + t.at, 2);
                high |= ((uint32_t)w >> t.shift & t.mask) << i * 8;
            }
        }
        uint32_t x[2] = {(low & 0x0f0f0f0f) | (high & 0x0f0f0f0f) << 4, (low >> 4 & 0x0f0f0f0f) | (high & 0xf0f0f0f0)};
        for (uint32_t i = 0; i < 2 && format != SR_Q8_0; i++)
            memcpy(q + sr_tile_k(o, i), &x[i], 4);
    }
    memset(p, 0, sr_row_bytes(format, 256));
    write_codes(format, p, q);
    for (uint32_t i = 0;; i++) {
        sr_tilescale m = sr_tile_scale(format, r, i);
        if (!m.n)
            return;
        memcpy(p + m.from, tile + m.to, m.n);
    }
}

/* Rows of f16 or bf16, tiles of 64 inputs. */
static void halves_in(const uint8_t *p, uint8_t *tile, uint32_t r)
{
    for (uint32_t o = 0; o < 8; o++)
        sr_tile_halves(p, tile, r, o);
}

static void halves_out(const uint8_t *tile, uint8_t *p, uint32_t r)
{
    for (uint32_t o = 0; o < 8; o++)
        for (uint32_t i = 0; i < 8; i++)
            memcpy(p + (sr_tile_k(o, i / 4) + i % 4) * 2, tile + sr_tile_half(sr_tile_place(r, o), i / 4, i % 4), 2);
}

static bool has_tiles(uint16_t format, uint32_t n, uint32_t cols)
{
    uint32_t depth = sr_tile_cols(format);
    return depth && n && cols && n % 16 == 0 && cols % depth == 0;
}

size_t sr_linear_cuda_pack(uint16_t format, uint32_t n, uint32_t cols, const void *const *row, void *dst, uint16_t *layout)
{
    *layout = SR_LAYOUT_FILE;
    if (!has_tiles(format, n, cols))
        return 0;
    uint32_t depth = sr_tile_cols(format), bytes = sr_tile_bytes(format), tiles = cols / depth;
    uint8_t *tile = dst;
    for (uint32_t r0 = 0; r0 < n; r0 += 16)
        for (uint32_t k = 0; k < tiles; k++, tile += bytes) {
            memset(tile, 0, bytes);
            for (uint32_t r = 0; r < 16; r++) {
                const uint8_t *p = (const uint8_t *)row[r0 + r] + sr_row_bytes(format, (size_t)k * depth);
                if (depth == 256)
                    row_in(format, p, tile, r);
                else
                    halves_in(p, tile, r);
            }
        }
    *layout = SR_LAYOUT_MMA16;
    return (size_t)n / 16 * tiles * bytes;
}

size_t sr_linear_cuda_unpack(uint16_t format, uint32_t n, uint32_t cols, const void *src, void *const *row)
{
    if (!has_tiles(format, n, cols))
        return 0;
    uint32_t       depth = sr_tile_cols(format), bytes = sr_tile_bytes(format), tiles = cols / depth;
    const uint8_t *tile = src;
    for (uint32_t r0 = 0; r0 < n; r0 += 16)
        for (uint32_t k = 0; k < tiles; k++, tile += bytes)
            for (uint32_t r = 0; r < 16; r++) {
                uint8_t *p = (uint8_t *)row[r0 + r] + sr_row_bytes(format, (size_t)k * depth);
                if (depth == 256)
                    row_out(format, tile, p, r);
                else
                    halves_out(tile, p, r);
            }
    return (size_t)n / 16 * tiles * bytes;
}
