/* Qwen2 and Qwen2.5: biases on q, k, v; rope pairs (i, i + d/2).   Source: Qwen2.5 technical report (2024). */
#include "model/arch.h"

const sr_arch sr_arch_qwen2 = {
    .name  = "qwen2",
    .base  = &sr_arch_llama,
    .attn  = {.rope = SR_ROPE_NEOX},
    .names = {
        {SR_W_ATTN_Q_BIAS, false, "blk.%u.attn_q.bias"},
        {SR_W_ATTN_K_BIAS, false, "blk.%u.attn_k.bias"},
        {SR_W_ATTN_V_BIAS, false, "blk.%u.attn_v.bias"},
    },
};
