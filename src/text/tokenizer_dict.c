#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <string.h>

/* Short keys (most are 2 to 8 bytes): whole words, multiplied and folded; the length goes in too. */
uint32_t sr_tok_hash(const char *p, size_t n)
{
    const uint64_t k = 0x9E3779B97F4A7C15u;
    uint64_t       h = n * k, v;
    for (; n > 8; p += 8, n -= 8) {
        memcpy(&v, p, 8);
        h = (h ^ v) * k;
        h ^= h >> 29;
    }
    v = 0;
    if (n >= 4) { /* two overlapping halves */
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        v = (uint64_t)a << 32 | b;
    } else if (n) {
        v = (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
    }
    h = (h ^ v) * k;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32);
}

bool sr_dict_begin(sr_dict *d, uint32_t max_n)
{
    uint32_t cap = 16;
    while (cap < 2 * (uint64_t)max_n)
        cap *= 2;
    d->mask = cap - 1;
    d->n    = 0;
    d->slot = sr_malloc(cap * sizeof *d->slot);
    for (uint32_t i = 0; d->slot && i < cap; i++)
        d->slot[i] = (sr_dictslot){0, SR_TOK_NOSYM};
    return d->slot != NULL;
}

/* The slot of these bytes, or the empty one where they would go. */
static inline uint32_t place(const sr_dict *d, const char *blob, const sr_tokslice *slices, const char *p, size_t n)
{
    uint32_t h = sr_tok_hash(p, n), i = h & d->mask;
    for (; d->slot[i].sym >= 0; i = (i + 1) & d->mask) {
        if (d->slot[i].hash != h)
            continue;
        sr_tokslice s = slices[d->slot[i].sym];
        if (s.n == n && memcmp(blob + s.off, p, n) == 0)
            break;
    }
    return i;
}

int32_t sr_dict_find(const sr_dict *d, const char *blob, const sr_tokslice *slices, const char *p, size_t n)
{
    return d->slot[place(d, blob, slices, p, n)].sym;
}

static bool grow(sr_dict *d)
{
    sr_dict bigger = {0};
    if (!sr_dict_begin(&bigger, d->mask + 1))
        return false;
    for (uint32_t i = 0; i <= d->mask; i++)
        if (d->slot[i].sym >= 0) {
            uint32_t k = d->slot[i].hash & bigger.mask;
            while (bigger.slot[k].sym >= 0)
                k = (k + 1) & bigger.mask;
            bigger.slot[k] = d->slot[i];
        }
    bigger.n = d->n;
    sr_dict_end(d);
    *d = bigger;
    return true;
}

int32_t sr_dict_add(sr_dict *d, const char *blob, const sr_tokslice *slices, int32_t sym)
{
    const char *p = blob + slices[sym].off;
    size_t      n = slices[sym].n;
    if (2 * (uint64_t)d->n > d->mask && !grow(d))
        return SR_TOK_NOSYM;
    uint32_t i = place(d, blob, slices, p, n);
    if (d->slot[i].sym < 0) {
        d->slot[i] = (sr_dictslot){sr_tok_hash(p, n), sym};
        d->n++;
    }
    return d->slot[i].sym;
}

void sr_dict_end(sr_dict *d)
{
    sr_free(d->slot);
    d->slot = NULL;
}

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes are U+0100, U+0101, ... in
 * order: 00..20 -> 100..120, 7F..A0 -> 121..142, AD -> 143.  [OpenAI gpt-2, bytes_to_unicode] */
unsigned sr_gpt2_encode(unsigned char b, char out[4])
{
    uint32_t cp = b <= 0x20 ? 0x100u + b : b >= 0x7F && b <= 0xA0 ? 0x121u + (b - 0x7Fu) : b == 0xAD ? 0x143u : b;
    return sr_cp_put(out, cp);
}

bool sr_gpt2_decode(const char *p, size_t n, char *out, size_t *n_out)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        unsigned len;
        uint32_t cp = sr_cp_next(p + i, n - i, &len), b = cp;
        if (len == 1 && (unsigned char)p[i] >= 0x80)
            return false;
        if (cp >= 0x100)
            b = cp <= 0x120 ? cp - 0x100 : cp <= 0x142 ? cp - 0x121 + 0x7F : cp == 0x143 ? 0xAD : 0x100;
        else if (cp <= 0x20 || (cp >= 0x7F && cp <= 0xA0) || cp == 0xAD)
            return false;
        if (b > 0xFF)
            return false;
        out[k++] = (char)b;
        i += len;
    }
    *n_out = k;
    return true;
}
