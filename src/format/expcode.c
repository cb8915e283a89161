#include "format/expcode.h"

#include <string.h>

#include "base/mem.h"

enum { HEAD = 12, LENGTHS = 128, SYMBOLS = 256 };

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

static uint32_t exponent(uint16_t v) { return v >> 7 & 0xffu; }

static void encode_block(const uint16_t *v, uint32_t n, const uint8_t *length, const uint16_t *code, sr_buf *out)
{
    uint64_t bits = 0; /* the newest are lowest */
    uint32_t have = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t e = exponent(v[i]);
        bits       = bits << length[e] | code[e];
        have += length[e];
        for (; have >= 8; have -= 8)
            sr_buf_char(out, (char)(bits >> (have - 8)));
    }
    if (have)
        sr_buf_char(out, (char)(bits << (8 - have)));
}

sr_status sr_expcode_encode(const uint16_t *v, uint32_t n, sr_buf *out, sr_err *err)
{
    uint64_t count[SYMBOLS] = {0};
    uint8_t  length[SYMBOLS], head[HEAD + LENGTHS] = {'S', 'R', 'X', '1'};
    uint16_t code[SYMBOLS] = {0};
    uint32_t blocks = n / SR_EXPCODE_BLOCK + (n % SR_EXPCODE_BLOCK != 0);
    size_t   start = out->n, ends = start + sizeof head;
    for (uint32_t i = 0; i < n; i++)
        count[exponent(v[i])]++;
    make_lengths(count, length);
    SR_ASSERT(make_codes(length, code), "a code of %u symbols", SYMBOLS);
    put32(head + 4, n);
    put32(head + 8, SR_EXPCODE_BLOCK);
    for (uint32_t i = 0; i < SYMBOLS; i++)
        head[HEAD + i / 2] |= (uint8_t)(length[i] << 4 * (i % 2));
    sr_buf_add(out, head, sizeof head);
    if (sr_buf_reserve(out, 4 * (size_t)blocks + n)) {
        memset(out->p + out->n, 0, 4 * (size_t)blocks);
        out->n += 4 * (size_t)blocks;
        for (uint32_t i = 0; i < n; i++)
            out->p[out->n++] = (char)((v[i] >> 15) << 7 | (v[i] & 127u));
        size_t codes = out->n;
        for (uint32_t b = 0; b < blocks && !out->failed; b++) {
            uint32_t first = b * SR_EXPCODE_BLOCK;
            encode_block(v + first, SR_MIN((uint32_t)SR_EXPCODE_BLOCK, n - first), length, code, out);
            if (!out->failed)
                put32((uint8_t *)out->p + ends + 4 * (size_t)b, (uint32_t)(out->n - codes));
        }
        if (!out->failed && out->n - codes <= UINT32_MAX)
            return SR_OK;
    }
    out->n = start;
    return sr_raise(err, SR_NOMEM, "host: memory for %u coded numbers", n);
}

/* ---- decoding ------------------------------------------------------------------------------------------------------------ */

static sr_status make_table(const uint8_t *lengths, sr_expcode *x, sr_err *err)
{
    uint8_t  length[SYMBOLS];
    uint16_t code[SYMBOLS] = {0};
    for (uint32_t i = 0; i < SYMBOLS; i++) {
        length[i] = lengths[i / 2] >> 4 * (i % 2) & 15;
        if (length[i] > SR_EXPCODE_BITS)
            return sr_raise(err, SR_INVALID, "exponent %u has a code of %u bits; at most %d", i, length[i], SR_EXPCODE_BITS);
    }
    if (!make_codes(length, code))
        return sr_raise(err, SR_INVALID, "more codes of exponents than their lengths leave room for");
    memset(x->table, 0, sizeof x->table); /* length 0: no code begins so */
    for (uint32_t i = 0; i < SYMBOLS; i++)
        for (uint32_t k = 0, rest = SR_EXPCODE_BITS - length[i]; length[i] && k < 1u << rest; k++)
            x->table[(uint32_t)code[i] << rest | k] = (uint16_t)(i << 4 | length[i]);
    return SR_OK;
}

sr_status sr_expcode_open(const void *p, size_t bytes, sr_expcode *x, sr_err *err)
{
    const uint8_t *at = p;
    if (bytes < HEAD + LENGTHS || memcmp(at, "SRX1", 4) != 0)
        return sr_raise(err, SR_INVALID, "%zu bytes that are no coded numbers", bytes);
    x->n     = get32(at + 4);
    x->block = get32(at + 8);
    if (!x->block || x->block > 1u << 20)
        return sr_raise(err, SR_INVALID, "blocks of %u coded numbers; 1 to %u are possible", x->block, 1u << 20);
    x->n_block  = x->n / x->block + (x->n % x->block != 0);
    size_t need = HEAD + LENGTHS + 4 * (size_t)x->n_block + x->n;
    if (bytes < need)
        return sr_raise(err, SR_INVALID, "%u coded numbers take more than %zu bytes; there are %zu", x->n, need, bytes);
    x->ends = at + HEAD + LENGTHS;
    x->raw  = x->ends + 4 * (size_t)x->n_block;
    x->code = x->raw + x->n;
    for (uint32_t i = 0, was = 0; i < x->n_block; i++) {
        uint32_t end = get32(x->ends + 4 * (size_t)i);
        if (end < was || end > bytes - need)
            return sr_raise(err, SR_INVALID, "codes of block %u end at byte %u of %zu, after %u", i, end, bytes - need, was);
        was = end;
    }
    return make_table(at + HEAD, x, err);
}

/* At least 56 bits, or all that are left; what is below `have` may hold some of the next ones already. */
static inline void fill(uint64_t *bits, uint32_t *have, const uint8_t **p, const uint8_t *end)
{
    if (end - *p >= 8) {
        uint64_t next;
        memcpy(&next, *p, sizeof next);
        *bits |= __builtin_bswap64(next) >> *have;
        *p += (63 - *have) >> 3;
        *have |= 56;
        return;
    }
    for (; *have <= 56 && *p < end; *have += 8)
        *bits |= (uint64_t)*(*p)++ << (56 - *have);
}

sr_status sr_expcode_block(const sr_expcode *x, uint32_t b, uint16_t *out, sr_err *err)
{
    if (b >= x->n_block)
        return sr_raise(err, SR_INVALID, "block %u of %u", b, x->n_block);
    const uint8_t *raw  = x->raw + (size_t)b * x->block;
    const uint8_t *p    = x->code + (b ? get32(x->ends + 4 * (size_t)(b - 1)) : 0), *end = x->code + get32(x->ends + 4 * (size_t)b);
    uint32_t       n    = SR_MIN(x->block, x->n - b * x->block), have = 0;
    uint64_t       bits = 0; /* the oldest are highest */
    uint64_t       room = (uint64_t)(end - p) * 8, used = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (have < SR_EXPCODE_BITS)
            fill(&bits, &have, &p, end);
        uint16_t t   = x->table[bits >> (64 - SR_EXPCODE_BITS)];
        uint32_t len = t & 15u;
        used += len;
        if (!len || used > room)
            return sr_raise(err, SR_INVALID, "block %u: number %u of %u has no code", b, i, n);
        bits <<= len;
        have -= SR_MIN(len, have);
        out[i] = (uint16_t)((raw[i] & 128u) << 8 | (uint32_t)(t >> 4) << 7 | (raw[i] & 127u));
    }
    return room - used < 8 ? SR_OK : sr_raise(err, SR_INVALID, "block %u: %llu bits behind its last number", b, (unsigned long long)(room - used));
}
