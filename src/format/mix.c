#include "format/mix.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The K_S and the pure formats share a file type: ggml has no number for the pure ones. */
static const sr_mix mixes[] = {
    {"Q4_0", SR_Q4_0, 2, SR_MIX_HEAD},      {"Q4_K_S", SR_Q4_K, 14, SR_MIX_SMALL}, {"Q4_K", SR_Q4_K, 14, SR_MIX_PURE},
    {"Q4_K_M", SR_Q4_K, 15, SR_MIX_MEDIUM}, {"Q5_K_S", SR_Q5_K, 16, SR_MIX_SMALL}, {"Q5_K", SR_Q5_K, 16, SR_MIX_PURE},
    {"Q5_K_M", SR_Q5_K, 17, SR_MIX_MEDIUM}, {"Q6_K", SR_Q6_K, 18, SR_MIX_HEAD},    {"Q8_0", SR_Q8_0, 7, SR_MIX_HEAD},
    {"F16", SR_F16, 1, SR_MIX_PURE},        {"BF16", SR_BF16, 32, SR_MIX_PURE},    {"F32", SR_F32, 0, SR_MIX_PURE},
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

/* Small or touchy tensors of two dimensions, by a part of their names: of architectures that we convert and do not
 * run, too. */
static const char *const left_alone[] = {
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "position_embd", "token_types.weight", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj", "indexer.q_proj",
    "time_mix_first", "time_mix_w0", "time_mix_w1", "time_mix_w2", "time_mix_v0", "time_mix_v1", "time_mix_v2",
    "time_mix_a0", "time_mix_a1", "time_mix_a2", "time_mix_g1", "time_mix_g2", "time_mix_decay_w", "time_mix_lerp_fused",
    "attn_rel_b.weight", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger",
    "a.rvq.codebook", "mm.a.code_embd",
};

static bool is_matrix(const char *name, uint32_t n_dims, const uint64_t *ne)
{
    uint64_t rows = 1;
    for (uint32_t i = 1; i < n_dims; i++)
        rows = SR_MAX(rows, ne[i]);
    if (rows == 1 || !ends_with(name, "weight"))
        return false;
    for (size_t i = 0; i < SR_COUNT(left_alone); i++)
        if (strstr(name, left_alone[i]))
            return false;
    return true;
}

/* The first and last eighth of the layers, and every third between. */
static bool more_bits(uint32_t i, uint32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

/* Eight query heads share a value head: the tensor is small, more bits cost little. */
static bool is_70b(const sr_mixmodel *m)
{
    return m->n_layer == 80 &&
           (strcmp(m->arch, "qwen2") == 0 || (strcmp(m->arch, "llama") == 0 && m->n_head != m->n_head_kv));
}

/* Tensors that hold values of attention, alone or together with others. */
static bool holds_values(const char *name)
{
    return ends_with(name, ".attn_v.weight") || ends_with(name, ".attn_qkv.weight") ||
           ends_with(name, ".attn_kv_b.weight");
}

static sr_dtype choose(const sr_mix *mix, const sr_mixmodel *m, const char *name, uint64_t row)
{
    unsigned layer = 0;
    bool     small = mix->level == SR_MIX_SMALL && mix->base == SR_Q4_K; /* Q5_K_S is Q5_K but for the head */
    if (strcmp(name, "output.weight") == 0 || (m->tied && strcmp(name, "token_embd.weight") == 0))
        return row % sr_dtype_info(mix->base)->block || mix->base == SR_Q8_0 ? SR_Q8_0 : SR_Q6_K;
    if (sscanf(name, "blk.%u.", &layer) != 1)
        return mix->base;
    if (holds_values(name)) {
        if (mix->level == SR_MIX_MEDIUM && more_bits(layer, m->n_layer))
            return SR_Q6_K;
        return (small && layer < 4) || (mix->base == SR_Q4_K && is_70b(m)) ? SR_Q5_K : mix->base;
    }
    if (ends_with(name, ".ffn_down.weight")) {
        if (mix->level == SR_MIX_MEDIUM && more_bits(layer, m->n_layer))
            return SR_Q6_K;
        if (small && layer < m->n_layer / 8)
            return SR_Q5_K;
    }
    return mix->base;
}

sr_dtype sr_mix_dtype(const sr_mix *mix, const sr_mixmodel *m, const char *tensor, uint32_t n_dims, const uint64_t *ne)
{
    if (!is_matrix(tensor, n_dims, ne))
        return SR_DTYPE_NONE;
    sr_dtype t = mix->level != SR_MIX_PURE ? choose(mix, m, tensor, ne[0]) : mix->base;
    if (ne[0] % sr_dtype_info(t)->block == 0)
        return t;
    return ne[0] % 32 == 0 ? SR_Q8_0 : SR_F16;
}
