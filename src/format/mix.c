#include "format/mix.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const sr_mix mixes[] = {
    {"Q4_0", SR_Q4_0, 2, true},    {"Q4_K", SR_Q4_K, 14, false}, {"Q4_K_M", SR_Q4_K, 15, true},
    {"Q5_K", SR_Q5_K, 16, false},  {"Q5_K_M", SR_Q5_K, 17, true}, {"Q6_K", SR_Q6_K, 18, true},
    {"Q8_0", SR_Q8_0, 7, true},    {"F16", SR_F16, 1, false},    {"BF16", SR_BF16, 32, false},
    {"F32", SR_F32, 0, false},
};

const sr_mix *sr_mix_at(unsigned i) { return i < SR_COUNT(mixes) ? &mixes[i] : NULL; }

const sr_mix *sr_mix_find(const char *name)
{
    for (unsigned i = 0; i < SR_COUNT(mixes); i++)
        if (strcasecmp(mixes[i].name, name) == 0)
            return &mixes[i];
    return NULL;
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

static bool is_matrix(const char *name, uint32_t n_dims, const uint64_t *ne)
{
    return n_dims >= 2 && ne[1] > 1 && ends_with(name, "weight") && !strstr(name, "_norm.weight") &&
           !strstr(name, "ffn_gate_inp.weight");
}

/* The first and last eighth of the layers, and every third between. */
static bool more_bits(uint32_t i, uint32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

/* Eight query heads share a value head: the tensor is small, more bits cost little. */
static bool is_70b(const sr_mixmodel *m)
{
    return m->n_layer == 80 &&
           (strcmp(m->arch, "qwen2") == 0 || (strcmp(m->arch, "llama") == 0 && m->n_head != m->n_head_kv));
}

static sr_dtype choose(const sr_mix *mix, const sr_mixmodel *m, const char *name, uint64_t row)
{
    unsigned layer = 0;
    bool     k_m   = mix->mixed && (mix->base == SR_Q4_K || mix->base == SR_Q5_K);
    if (strcmp(name, "output.weight") == 0 || (m->tied && strcmp(name, "token_embd.weight") == 0))
        return row % sr_dtype_info(mix->base)->block || mix->base == SR_Q8_0 ? SR_Q8_0 : SR_Q6_K;
    if (sscanf(name, "blk.%u.", &layer) != 1)
        return mix->base;
    if (ends_with(name, ".attn_v.weight")) {
        if (k_m && more_bits(layer, m->n_layer))
            return SR_Q6_K;
        return mix->base == SR_Q4_K && is_70b(m) ? SR_Q5_K : mix->base;
    }
    if (k_m && ends_with(name, ".attn_qkv.weight"))
        return mix->base == SR_Q4_K ? SR_Q5_K : SR_Q6_K;
    if (k_m && ends_with(name, ".ffn_down.weight") && more_bits(layer, m->n_layer))
        return SR_Q6_K;
    return mix->base;
}

sr_dtype sr_mix_dtype(const sr_mix *mix, const sr_mixmodel *m, const char *tensor, uint32_t n_dims, const uint64_t *ne)
{
    if (!is_matrix(tensor, n_dims, ne))
        return SR_DTYPE_NONE;
    sr_dtype t = mix->mixed ? choose(mix, m, tensor, ne[0]) : mix->base;
    if (ne[0] % sr_dtype_info(t)->block == 0)
        return t;
    return ne[0] % 32 == 0 ? SR_Q8_0 : SR_F16;
}
