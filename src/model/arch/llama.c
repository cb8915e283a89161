/* Llama 2, 3, 3.1-3.3, TinyLlama, Mistral: rope pairs (2i, 2i+1), Q and K permuted for it by the converter.
 * Source: Touvron et al. 2023; GGUF tensor names as llama.cpp's converter writes them. */
#include "model/arch.h"

const sr_arch sr_arch_llama = {
    .name  = "llama",
    .attn  = {.rope = SR_ROPE_NORM},
    .names = {
        {SR_W_TOKEN_EMBD, false, "token_embd.weight"},
        {SR_W_OUTPUT_NORM, false, "output_norm.weight"},
        {SR_W_OUTPUT, true, "output.weight"}, /* absent: the embedding is used again */
        {SR_W_ROPE_FREQS, true, "rope_freqs.weight"},
        {SR_W_ATTN_NORM, false, "blk.%u.attn_norm.weight"},
        {SR_W_ATTN_Q, false, "blk.%u.attn_q.weight"},
        {SR_W_ATTN_K, false, "blk.%u.attn_k.weight"},
        {SR_W_ATTN_V, false, "blk.%u.attn_v.weight"},
        {SR_W_ATTN_Q_BIAS, true, "blk.%u.attn_q.bias"},
        {SR_W_ATTN_K_BIAS, true, "blk.%u.attn_k.bias"},
        {SR_W_ATTN_V_BIAS, true, "blk.%u.attn_v.bias"},
        {SR_W_ATTN_OUT, false, "blk.%u.attn_output.weight"},
        {SR_W_ATTN_OUT_BIAS, true, "blk.%u.attn_output.bias"},
        {SR_W_FFN_NORM, false, "blk.%u.ffn_norm.weight"},
        {SR_W_FFN_GATE, false, "blk.%u.ffn_gate.weight"},
        {SR_W_FFN_UP, false, "blk.%u.ffn_up.weight"},
        {SR_W_FFN_DOWN, false, "blk.%u.ffn_down.weight"},
    },
};
