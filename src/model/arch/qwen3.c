/* Qwen3 (dense): RMS norm of each query and key head before the rotation.   Source: Qwen3 technical report (2025). */
#include "model/arch.h"

const sr_arch sr_arch_qwen3 = {
    .name  = "qwen3",
    .base  = &sr_arch_llama,
    .attn  = {.rope = SR_ROPE_NEOX, .qk_norm = true},
    .names = {
        {SR_W_ATTN_Q_NORM, false, "blk.%u.attn_q_norm.weight"},
        {SR_W_ATTN_K_NORM, false, "blk.%u.attn_k_norm.weight"},
    },
};
