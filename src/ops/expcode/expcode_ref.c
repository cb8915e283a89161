#include "ops/expcode/expcode.h"

#include <string.h>

#include "base/mem.h"
#include "ops/quant/quant.h"

enum { SYMBOLS = 256, RUN = 64, HISTOGRAMS = 4 };

/* ---- the code ------------------------------------------------------------------------------------------------------------ */

/* Lengths by Huffman's merges over so few symbols that looking for the two smallest needs no heap. */
static uint32_t longest(const uint64_t *count, uint8_t *length)
{
    uint64_t weight[2 * SYMBOLS];
    uint16_t parent[2 * SYMBOLS] = {0};
    uint32_t n = SYMBOLS, most = 0;
    bool     live[2 * SYMBOLS] = {false};
    for (uint32_t i = 0; i < SYMBOLS; i++) {
        weight[i] = count[i];
        live[i]   = count[i] > 0;
    }
    for (;; n++) {
        uint32_t a = UINT32_MAX, b = UINT32_MAX;
        for (uint32_t i = 0; i < n; i++) {
            if (!live[i])
                continue;
            if (a == UINT32_MAX || weight[i] < weight[a]) {
                b = a;
                a = i;
            } else if (b == UINT32_MAX || weight[i] < weight[b]) {
                b = i;
            }
        }
        if (b == UINT32_MAX)
            break;
        weight[n] = weight[a] + weight[b];
        parent[a] = parent[b] = (uint16_t)n;
        live[a] = live[b] = false;
        live[n]           = true;
    }
    for (uint32_t i = 0; i < SYMBOLS; i++) {
        length[i] = 0;
        for (uint32_t k = i; count[i] && parent[k]; k = parent[k])
            length[i]++;
        if (count[i] && !length[i]) /* the only one */
            length[i] = 1;
        most = SR_MAX(most, (uint32_t)length[i]);
    }
    return most;
}

/* Halving counts until no code is too long costs less than a thousandth here. */
static void make_lengths(uint64_t *count, uint8_t *length)
{
    while (longest(count, length) > SR_EXPCODE_BITS)
        for (uint32_t i = 0; i < SYMBOLS; i++)
            count[i] = count[i] ? (count[i] + 1) / 2 : 0;
}

/* Canonical codes, by length and symbol.  False: more codes than there is room for. */
static bool make_codes(const uint8_t *length, uint16_t *code)
{
    uint32_t next = 0;
    for (uint32_t len = 1; len <= SR_EXPCODE_BITS; len++, next <<= 1)
        for (uint32_t i = 0; i < SYMBOLS; i++)
            if (length[i] == len) {
                if (next >> len)
                    return false;
                code[i] = (uint16_t)next++;
            }
    return next >> 1 <= 1u << SR_EXPCODE_BITS;
}

/* ---- encoding ------------------------------------------------------------------------------------------------------------ */

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

bool sr_expcode_knows(uint32_t format) { return format == SR_BF16 || format == SR_F16; }

static uint32_t symbol(uint16_t v, uint32_t shift) { return v >> shift & 0xffu; }
static uint32_t shift_of(uint32_t format) { return format == SR_BF16 ? 7 : 8; }
static size_t   blocks_of(size_t n) { return n / SR_EXPCODE_BLOCK + (n % SR_EXPCODE_BLOCK != 0); }

static uint64_t histogram(const uint16_t *v, size_t n, uint32_t step, uint32_t shift, uint64_t *count)
{
    uint64_t seen = 0;
    uint32_t part[HISTOGRAMS][SYMBOLS] = {{0}}; /* several: neighbours often fall on the same count */
    for (size_t first = 0; first < n; first += (size_t)RUN * step) {
        size_t k = SR_MIN((size_t)RUN, n - first);
        for (size_t i = 0; i < k; i++)
            part[i % HISTOGRAMS][symbol(v[first + i], shift)]++;
        seen += k;
    }
    for (uint32_t h = 0; h < HISTOGRAMS; h++)
        for (uint32_t i = 0; i < SYMBOLS; i++)
            count[i] += part[h][i];
    return seen;
}

sr_status sr_expcode_plan(uint32_t format, const uint16_t *v, size_t n, uint32_t step, sr_expmake *m, sr_err *err)
{
    uint64_t count[SYMBOLS] = {0}, left[SYMBOLS], bits = 0;
    size_t   blocks = blocks_of(n);
    if (!sr_expcode_knows(format))
        return sr_raise(err, SR_UNSUPPORTED, "there is no code of numbers in %s", sr_dtype_name(format));
    if (n > UINT32_MAX)
        return sr_raise(err, SR_UNSUPPORTED, "%zu numbers in one code; at most %u", n, UINT32_MAX);
    *m             = (sr_expmake){.format = (uint16_t)format};
    uint64_t seen  = histogram(v, n, SR_MAX(step, 1u), shift_of(format), count);
    memcpy(left, count, sizeof left);
    make_lengths(left, m->length);
    SR_ASSERT(make_codes(m->length, m->code), "a code of %u symbols", SYMBOLS);
    for (uint32_t i = 0; i < SYMBOLS; i++)
        bits += count[i] * m->length[i];
    m->bits  = 8 + (seen ? (double)bits / (double)seen : 0);
    m->bytes = sr_expcode_codes(blocks, n) + (size_t)((m->bits - 8) * (double)n / 8 * (1 + 1e-12)) + blocks * 4 + 8 + SR_EXPCODE_BEHIND;
    return SR_OK;
}

/* The words of a block's codes; how many. */
static uint32_t write_block(const sr_expmake *m, const uint16_t *v, uint32_t n, uint8_t *out)
{
    uint64_t bits  = 0; /* the newest are lowest */
    uint32_t have  = 0, words = 0, shift = shift_of(m->format);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t s = symbol(v[i], shift);
        bits       = bits << m->length[s] | m->code[s];
        have += m->length[s];
        if (have >= 32) {
            have -= 32;
            put32(out + 4 * (size_t)words++, (uint32_t)(bits >> have));
        }
    }
    if (have)
        put32(out + 4 * (size_t)words++, (uint32_t)(bits << (32 - have)));
    return words;
}

static void write_table(const sr_expmake *m, uint8_t *out)
{
    memset(out, 0, 2 * SR_EXPCODE_TABLE);
    for (uint32_t i = 0; i < SYMBOLS; i++)
        for (uint32_t k = 0, rest = SR_EXPCODE_BITS - m->length[i]; m->length[i] && k < 1u << rest; k++) {
            uint32_t at = (uint32_t)m->code[i] << rest | k, v = i << 4 | m->length[i];
            out[2 * at]     = (uint8_t)v;
            out[2 * at + 1] = (uint8_t)(v >> 8);
        }
}

size_t sr_expcode_write(const sr_expmake *m, const uint16_t *v, size_t n, void *dst)
{
    uint8_t *out    = dst;
    size_t   blocks = blocks_of(n), at = sr_expcode_codes(blocks, n);
    uint8_t *ends   = out + sr_expcode_ends(), *raw = out + sr_expcode_raw(blocks), *codes = out + at;
    uint32_t words  = 0;
    bool     split  = m->format == SR_BF16;
    memset(out, 0, SR_EXPCODE_HEAD);
    write_table(m, out + SR_EXPCODE_HEAD);
    memset(ends + 4 * blocks, 0, (size_t)(raw - ends) - 4 * blocks);
    for (size_t i = 0; i < n; i++)
        raw[i] = (uint8_t)(split ? (v[i] >> 15) << 7 | (v[i] & 127u) : v[i]);
    memset(raw + n, 0, (size_t)(codes - raw) - n);
    for (size_t b = 0; b < blocks; b++) {
        size_t first = b * SR_EXPCODE_BLOCK;
        words += write_block(m, v + first, (uint32_t)SR_MIN((size_t)SR_EXPCODE_BLOCK, n - first), codes + 4 * (size_t)words);
        put32(ends + 4 * b, words);
    }
    memset(codes + 4 * (size_t)words, 0, SR_EXPCODE_BEHIND);
    memcpy(out, "SRX2", 4);
    put32(out + 4, (uint32_t)n);
    put32(out + 8, SR_EXPCODE_BLOCK);
    put32(out + 12, m->format);
    put32(out + 16, words);
    at += 4 * (size_t)words + SR_EXPCODE_BEHIND;
    SR_ASSERT(at <= m->bytes, "%zu bytes of a code, at most %zu planned", at, m->bytes);
    return at;
}

sr_status sr_expcode_encode(uint32_t format, const uint16_t *v, uint32_t n, sr_buf *out, sr_err *err)
{
    sr_expmake m;
    if (sr_expcode_plan(format, v, n, 1, &m, err))
        return err->status;
    if (!sr_buf_reserve(out, m.bytes))
        return sr_raise(err, SR_NOMEM, "host: memory for %u coded numbers", n);
    out->n = sr_expcode_write(&m, v, n, out->p);
    return SR_OK;
}

/* ---- decoding ------------------------------------------------------------------------------------------------------------ */

static uint32_t entry(const sr_expcode *x, uint32_t i) { return (uint32_t)x->table[2 * i] | (uint32_t)x->table[2 * i + 1] << 8; }

sr_status sr_expcode_open(const void *p, size_t bytes, sr_expcode *x, sr_err *err)
{
    const uint8_t *at = p;
    if (bytes < sr_expcode_ends() || memcmp(at, "SRX2", 4) != 0)
        return sr_raise(err, SR_INVALID, "%zu bytes that are no coded numbers", bytes);
    *x = (sr_expcode){.n = get32(at + 4), .block = get32(at + 8), .words = get32(at + 16)};
    uint32_t format = get32(at + 12);
    if (!sr_expcode_knows(format))
        return sr_raise(err, SR_INVALID, "coded numbers of format %u", format);
    if (!x->block || x->block > 1u << 20)
        return sr_raise(err, SR_INVALID, "blocks of %u coded numbers; 1 to %u are possible", x->block, 1u << 20);
    x->format   = (uint16_t)format;
    x->n_block  = x->n / x->block + (x->n % x->block != 0);
    size_t need = sr_expcode_codes(x->n_block, x->n) + 4 * (size_t)x->words + SR_EXPCODE_BEHIND;
    if (bytes < need)
        return sr_raise(err, SR_INVALID, "%u coded numbers take %zu bytes; there are %zu", x->n, need, bytes);
    x->table = at + SR_EXPCODE_HEAD;
    x->ends  = at + sr_expcode_ends();
    x->raw   = at + sr_expcode_raw(x->n_block);
    x->code  = at + sr_expcode_codes(x->n_block, x->n);
    for (uint32_t i = 0, was = 0; i < x->n_block; i++) {
        uint32_t end = get32(x->ends + 4 * (size_t)i);
        if (end < was || end > x->words)
            return sr_raise(err, SR_INVALID, "codes of block %u end at word %u of %u, after %u", i, end, x->words, was);
        was = end;
    }
    for (uint32_t i = 0; i < SR_EXPCODE_TABLE; i++)
        if ((entry(x, i) & 15u) > SR_EXPCODE_BITS || entry(x, i) >> 12)
            return sr_raise(err, SR_INVALID, "bits %03x are a code of %u bits for %u", i, entry(x, i) & 15u, entry(x, i) >> 4);
    return SR_OK;
}

sr_status sr_expcode_block(const sr_expcode *x, uint32_t b, uint16_t *out, sr_err *err)
{
    if (b >= x->n_block)
        return sr_raise(err, SR_INVALID, "block %u of %u", b, x->n_block);
    const uint8_t *raw  = x->raw + (size_t)b * x->block;
    uint32_t       at   = b ? get32(x->ends + 4 * (size_t)(b - 1)) : 0, end = get32(x->ends + 4 * (size_t)b), have = 0;
    uint32_t       n    = SR_MIN(x->block, x->n - b * x->block);
    uint64_t       bits = 0; /* the oldest are highest */
    for (uint32_t i = 0; i < n; i++) {
        if (have < SR_EXPCODE_BITS && at < end) {
            bits |= (uint64_t)get32(x->code + 4 * (size_t)at++) << (32 - have);
            have += 32;
        }
        uint32_t t = entry(x, (uint32_t)(bits >> (64 - SR_EXPCODE_BITS))), len = t & 15u;
        if (!len || len > have)
            return sr_raise(err, SR_INVALID, "block %u: number %u of %u has no code", b, i, n);
        bits <<= len;
        have -= len;
        out[i] = (uint16_t)(x->format == SR_BF16 ? (raw[i] & 128u) << 8 | (t >> 4) << 7 | (raw[i] & 127u) : (t >> 4) << 8 | raw[i]);
    }
    return end == at ? SR_OK : sr_raise(err, SR_INVALID, "block %u: %u words behind its last number", b, end - at);
}
