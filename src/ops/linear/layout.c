#include "ops/linear/layout.h"

#include <string.h>

/* Eight codes of 32-block b and row r of a tile share a lane: 4t .. 4t+3 (s 0) and 16+4t .. 16+4t+3 (s 1).
 * Bytes 2h+e of a folded word are (s 0) | (s 1) << 4 of register h, element e. */
typedef struct { uint32_t lane, b, row; } place;

static place place_of(uint32_t r, uint32_t octet) { return (place){r % 8 * 4 + octet % 4, octet / 4, r / 8}; }

static uint32_t at_k(uint32_t octet, uint32_t s) { return octet / 4 * 32 + s * 16 + octet % 4 * 4; }

static size_t nibble_at(place p, uint32_t i) /* bytes, i = 2h + e */
{
    return ((size_t)p.b / 2 * 32 + p.lane) * 16 + p.b % 2 * 8 + i / 2 * 4 + i % 2 * 2 + p.row;
}
static size_t byte_at(place p, uint32_t s, uint32_t i)
{
    return ((size_t)p.b * 32 + p.lane) * 16 + s * 8 + i / 2 * 4 + p.row * 2 + i % 2;
}
static size_t half_at(place p, uint32_t s, uint32_t i)
{
    return (((size_t)p.b * 2 + s) * 32 + p.lane) * 16 + i / 2 * 8 + p.row * 4 + i % 2 * 2;
}
/* The top bits of a code: 16-bit words, and the shift of (s 0) in them; (s 1) is four further. */
typedef struct { size_t at; uint32_t shift, mask; } top;
static top top_at(uint32_t format, place p, uint32_t i)
{
    static const uint8_t pair[4] = {0, 2, 8, 10};
    uint32_t             c = p.b % 2 * 4 + i / 2 * 2 + p.row;
    if (format == SR_Q5_K)
        return (top){2304 + ((size_t)p.lane * 4 + p.b / 2) * 4 + i % 2 * 2, c + (c & 4), 0x11};
    return (top){2304 + (((size_t)p.b / 2 * 32 + p.lane) * 2 + p.b % 2) * 4 + i % 2 * 2, pair[i / 2 * 2 + p.row], 0x33};
}

/* The codes of one row of a tile. */
static void read_codes(uint32_t format, const uint8_t *p, uint8_t q[256])
{
    if (format == SR_Q4_K || format == SR_Q5_K) {
        const uint8_t *qs = format == SR_Q4_K ? ((const sr_q4_K *)p)->qs : ((const sr_q5_K *)p)->qs;
        for (uint32_t j = 0; j < 8; j++)
            for (uint32_t i = 0; i < 32; i++)
                q[j * 32 + i] = qs[j / 2 * 32 + i] >> j % 2 * 4 & 15;
        for (uint32_t j = 0; j < 8 && format == SR_Q5_K; j++)
            for (uint32_t i = 0; i < 32; i++)
                q[j * 32 + i] |= (uint8_t)((((const sr_q5_K *)p)->qh[i] >> j & 1) << 4);
    } else if (format == SR_Q6_K) {
        const sr_q6_K *w = (const sr_q6_K *)p;
        for (uint32_t j = 0; j < 8; j++)
            for (uint32_t i = 0; i < 32; i++)
                q[j * 32 + i] = (uint8_t)((w->ql[j / 4 * 64 + j % 2 * 32 + i] >> j / 2 % 2 * 4 & 15) |
                                          (w->qh[j / 4 * 32 + i] >> j % 4 * 2 & 3) << 4);
    } else if (format == SR_Q4_0) {
        for (uint32_t j = 0; j < 8; j++)
            for (uint32_t i = 0; i < 32; i++)
                q[j * 32 + i] = ((const sr_q4_0 *)p)[j].qs[i % 16] >> i / 16 * 4 & 15;
    } else
        for (uint32_t j = 0; j < 8; j++)
            for (uint32_t i = 0; i < 32; i++)
                q[j * 32 + i] = (uint8_t)(((const sr_q8_0 *)p)[j].qs[i] + 128);
}

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

/* Scales of row r, between file row p and tile; to: into the tile. */
static void move_scales(uint32_t format, uint8_t *tile, uint8_t *p, uint32_t r, bool to)
{
    struct { uint8_t *at, *file; size_t n; } m[8];
    uint32_t n = 0;
    if (format == SR_Q4_K || format == SR_Q5_K) {
        m[n].at = tile + 2048 + r * 16, m[n].file = p, m[n++].n = 16;
    } else if (format == SR_Q6_K) {
        sr_q6_K *w = (sr_q6_K *)p;
        m[n].at = tile + 2048 + r * 16, m[n].file = (uint8_t *)w->scales, m[n++].n = 16;
        m[n].at = tile + 3328 + r * 2, m[n].file = (uint8_t *)&w->d, m[n++].n = 2;
    } else {
        size_t block = format == SR_Q4_0 ? sizeof(sr_q4_0) : sizeof(sr_q8_0), base = format == SR_Q4_0 ? 2048 : 4096;
        for (; n < 8; n++)
            m[n].at = tile + base + r * 16 + n * 2, m[n].file = p + n * block, m[n].n = 2;
    }
    for (uint32_t i = 0; i < n; i++)
        memcpy(to ? m[i].at : m[i].file, to ? m[i].file : m[i].at, m[i].n);
}

static void row_in(uint32_t format, const uint8_t *p, uint8_t *tile, uint32_t r)
{
    uint8_t  q[256];
    uint32_t x[2];
    uint16_t w;
    read_codes(format, p, q);
    for (uint32_t o = 0; o < 32; o++) {
        place at = place_of(r, o);
        memcpy(&x[0], q + at_k(o, 0), 4);
        memcpy(&x[1], q + at_k(o, 1), 4);
        uint32_t low = (x[0] & 0x0f0f0f0f) | (x[1] & 0x0f0f0f0f) << 4, high = (x[0] >> 4 & 0x0f0f0f0f) | (x[1] & 0xf0f0f0f0);
        for (uint32_t i = 0; i < 4; i++) {
            if (format == SR_Q8_0) {
                tile[byte_at(at, 0, i)] = q[at_k(o, 0) + i];
                tile[byte_at(at, 1, i)] = q[at_k(o, 1) + i];
                continue;
            }
            tile[nibble_at(at, i)] = (uint8_t)(low >> i * 8);
            if (format == SR_Q5_K || format == SR_Q6_K) {
                top t = top_at(format, at, i);
                memcpy(&w, tile + t.at, 2);
                w = (uint16_t)(w | (high >> i * 8 & t.mask) << t.shift);
                memcpy(tile + t.at, &w, 2);
            }
        }
    }
    move_scales(format, tile, (uint8_t *)p, r, true);
}

static void row_out(uint32_t format, const uint8_t *tile, uint8_t *p, uint32_t r)
{
    uint8_t  q[256];
    uint16_t w;
    for (uint32_t o = 0; o < 32; o++) {
        place    at  = place_of(r, o);
        uint32_t low = 0, high = 0;
        for (uint32_t i = 0; i < 4; i++) {
            if (format == SR_Q8_0) {
                q[at_k(o, 0) + i] = tile[byte_at(at, 0, i)];
                q[at_k(o, 1) + i] = tile[byte_at(at, 1, i)];
                continue;
            }
            low |= (uint32_t)tile[nibble_at(at, i)] << i * 8;
            if (format == SR_Q5_K || format == SR_Q6_K) {
                top t = top_at(format, at, i);
                memcpy(&w, tile + t.at, 2);
                high |= ((uint32_t)w >> t.shift & t.mask) << i * 8;
            }
        }
        uint32_t x[2] = {(low & 0x0f0f0f0f) | (high & 0x0f0f0f0f) << 4, (low >> 4 & 0x0f0f0f0f) | (high & 0xf0f0f0f0)};
        for (uint32_t i = 0; i < 2 && format != SR_Q8_0; i++)
            memcpy(q + at_k(o, i), &x[i], 4);
    }
    memset(p, 0, sr_row_bytes(format, 256));
    write_codes(format, p, q);
    move_scales(format, (uint8_t *)tile, p, r, false);
}

/* Rows of f16 or bf16, tiles of 64 inputs. */
static void halves(uint8_t *tile, uint8_t *p, uint32_t r, bool in)
{
    for (uint32_t o = 0; o < 8; o++)
        for (uint32_t i = 0; i < 8; i++) {
            uint8_t *a = tile + half_at(place_of(r, o), i / 4, i % 4), *b = p + (at_k(o, i / 4) + i % 4) * 2;
            memcpy(in ? a : b, in ? b : a, 2);
        }
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
                    halves(tile, (uint8_t *)p, r, true);
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
                    halves((uint8_t *)tile, p, r, false);
            }
    return (size_t)n / 16 * tiles * bytes;
}
