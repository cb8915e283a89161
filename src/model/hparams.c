/* hparams.c - the model's numbers: read from the metadata, checked against each other. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"

enum { MAX_LAYERS = 1024, MAX_WIDTH = 1 << 20, MAX_HEADS = 1024, MAX_VOCAB = 1 << 22, MAX_HEAD_DIM = SR_MAX_HEAD_DIM };

/* "<arch>.<suffix>" */
static const char *key(char out[160], const sr_arch *a, const char *suffix)
{
    snprintf(out, 160, "%s.%s", a->name, suffix);
    return out;
}

static sr_status count(const sr_gguf *g, const sr_arch *a, const char *suffix, bool required, uint32_t max, uint32_t *out,
                       sr_err *err)
{
    char              k[160];
    const sr_gguf_kv *kv = sr_gguf_find(g, key(k, a, suffix));
    if (!kv)
        return required ? sr_raise(err, SR_INVALID, "metadata key %s is missing", k) : SR_OK;
    if (kv->type == SR_GGUF_ARRAY) { /* a number per layer: only equal ones are one architecture to us */
        if (kv->item == SR_GGUF_STRING || kv->item == SR_GGUF_F32 || kv->item == SR_GGUF_F64 || kv->n == 0)
            return sr_raise(err, SR_INVALID, "metadata key %s is an array that holds no integers", k);
        int64_t v = sr_gguf_int_at(kv, 0);
        for (uint64_t i = 1; i < kv->n; i++)
            if (sr_gguf_int_at(kv, i) != v)
                return sr_raise(err, SR_UNSUPPORTED, "%s differs between layers (%lld and %lld)", k, (long long)v,
                                (long long)sr_gguf_int_at(kv, i));
        if (v < 1 || v > max)
            return sr_raise(err, SR_INVALID, "%s is %lld; 1 to %u expected", k, (long long)v, max);
        *out = (uint32_t)v;
        return SR_OK;
    }
    if (sr_gguf_u32(g, k, out, err))
        return err->status;
    if (*out < 1 || *out > max)
        return sr_raise(err, SR_INVALID, "%s is %u; 1 to %u expected", k, *out, max);
    return SR_OK;
}

static sr_status positive(const sr_gguf *g, const sr_arch *a, const char *suffix, float *out, sr_err *err)
{
    char k[160];
    if (sr_gguf_f32(g, key(k, a, suffix), out, err))
        return err->status;
    if (!isfinite(*out) || *out <= 0)
        return sr_raise(err, SR_INVALID, "%s is %g; a positive number expected", k, (double)*out);
    return SR_OK;
}

static sr_status rope(const sr_gguf *g, sr_hparams *hp, sr_err *err)
{
    const sr_arch *a = hp->arch;
    char           k[160];
    sr_gguf_str    type = {"linear", 6};
    hp->rope.dims       = hp->head_dim;
    hp->rope.base       = 10000.0f;
    hp->rope.factor     = 1.0f;
    hp->rope.ctx_orig   = hp->ctx_train;
    hp->rope.attn_factor = 1.0f;
    hp->rope.beta_fast  = 32.0f;
    hp->rope.beta_slow  = 1.0f;
    if (count(g, a, "rope.dimension_count", false, hp->head_dim, &hp->rope.dims, err) ||
        positive(g, a, "rope.freq_base", &hp->rope.base, err) ||
        positive(g, a, "rope.scaling.attn_factor", &hp->rope.attn_factor, err) ||
        positive(g, a, "rope.scaling.yarn_beta_fast", &hp->rope.beta_fast, err) ||
        positive(g, a, "rope.scaling.yarn_beta_slow", &hp->rope.beta_slow, err) ||
        count(g, a, "rope.scaling.original_context_length", false, UINT32_MAX, &hp->rope.ctx_orig, err) ||
        sr_gguf_string(g, key(k, a, "rope.scaling.type"), &type, err))
        return err->status;
    if (hp->rope.dims % 2)
        return sr_raise(err, SR_INVALID, "%s.rope.dimension_count is %u; an even number expected", a->name, hp->rope.dims);
    float factor = 0; /* 0 is written by some converters for "none" */
    if (sr_gguf_f32(g, key(k, a, "rope.scaling.factor"), &factor, err) ||
        (factor == 0 && sr_gguf_f32(g, key(k, a, "rope.scale_linear"), &factor, err)))
        return err->status;
    if (!isfinite(factor) || factor < 0)
        return sr_raise(err, SR_INVALID, "%s is %g; a positive number expected", k, (double)factor);
    bool none = type.n == 4 && memcmp(type.p, "none", 4) == 0, linear = type.n == 6 && memcmp(type.p, "linear", 6) == 0;
    hp->rope.yarn = type.n == 4 && memcmp(type.p, "yarn", 4) == 0;
    if (!none && !linear && !hp->rope.yarn) {
        char shown[64];
        return sr_raise(err, SR_UNSUPPORTED, "rope scaling \"%s\"", sr_escape(shown, sizeof shown, type.p, type.n));
    }
    if (sr_gguf_find(g, key(k, a, "rope.scaling.yarn_log_multiplier")))
        return sr_raise(err, SR_UNSUPPORTED, "%s", k);
    hp->rope.factor = none || factor == 0 ? 1.0f : factor;
    return SR_OK;
}

static sr_status vocabulary(const sr_gguf *g, sr_hparams *hp, sr_err *err)
{
    char             k[160];
    const sr_tensor *e = sr_gguf_tensor(g, sr_arch_tensor(hp->arch, SR_W_TOKEN_EMBD)->pattern);
    if (!e)
        return sr_raise(err, SR_INVALID, "tensor token_embd.weight is missing");
    if (e->n_dims < 2 || e->ne[1] < 1 || e->ne[1] > MAX_VOCAB)
        return sr_raise(err, SR_INVALID, "tensor token_embd.weight has %llu rows; 1 to %d expected",
                        (unsigned long long)e->ne[1], MAX_VOCAB);
    hp->n_vocab        = (uint32_t)e->ne[1];
    uint32_t said      = hp->n_vocab;
    const sr_gguf_kv *t = sr_gguf_find(g, "tokenizer.ggml.tokens");
    if (sr_gguf_u32(g, key(k, hp->arch, "vocab_size"), &said, err))
        return err->status;
    if (t && t->n > hp->n_vocab)
        return sr_raise(err, SR_INVALID, "tokenizer.ggml.tokens has %llu tokens, token_embd.weight %u rows",
                        (unsigned long long)t->n, hp->n_vocab);
    return SR_OK;
}

sr_status sr_hparams_read(const sr_gguf *g, sr_hparams *hp, sr_err *err)
{
    sr_gguf_str name = {0};
    char        shown[80], known[128] = "", k[160];
    memset(hp, 0, sizeof *hp);
    if (sr_gguf_string(g, "general.architecture", &name, err))
        return err->status;
    if (!name.p)
        return sr_raise(err, SR_INVALID, "metadata key general.architecture is missing");
    hp->arch = sr_arch_find(name.p, name.n);
    if (!hp->arch) {
        const char *list[16];
        size_t      n = sr_arch_list(list, SR_COUNT(list)), at = 0;
        for (size_t i = 0; i < n && at < sizeof known; i++)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", list[i]);
        return sr_raise(err, SR_UNSUPPORTED, "architecture \"%s\"; known: %s", sr_escape(shown, sizeof shown, name.p, name.n),
                        known);
    }
    const sr_arch *a = hp->arch;
    hp->eps          = 1e-5f;
    hp->pooling      = SR_POOLING_ABSENT;
    if (count(g, a, "block_count", true, MAX_LAYERS, &hp->n_layer, err) ||
        count(g, a, "embedding_length", true, MAX_WIDTH, &hp->n_embd, err) ||
        count(g, a, "attention.head_count", true, MAX_HEADS, &hp->n_head, err) ||
        count(g, a, "feed_forward_length", true, MAX_WIDTH, &hp->n_ff, err) ||
        count(g, a, "context_length", true, UINT32_MAX, &hp->ctx_train, err) ||
        positive(g, a, "attention.layer_norm_rms_epsilon", &hp->eps, err))
        return err->status;
    hp->n_head_kv = hp->n_head;
    if (count(g, a, "attention.head_count_kv", false, MAX_HEADS, &hp->n_head_kv, err))
        return err->status;
    if (hp->n_head % hp->n_head_kv)
        return sr_raise(err, SR_INVALID, "%s.attention.head_count %u is no multiple of head_count_kv %u", a->name, hp->n_head,
                        hp->n_head_kv);
    hp->head_dim     = hp->n_embd / hp->n_head;
    uint32_t dim_v   = 0;
    uint32_t experts = 0;
    bool     causal  = true;
    if (count(g, a, "attention.key_length", false, MAX_HEAD_DIM, &hp->head_dim, err))
        return err->status;
    dim_v = hp->head_dim;
    if (count(g, a, "attention.value_length", false, MAX_HEAD_DIM, &dim_v, err) ||
        sr_gguf_u32(g, key(k, a, "attention.sliding_window"), &hp->window, err) ||
        sr_gguf_u32(g, key(k, a, "expert_count"), &experts, err) || sr_gguf_u32(g, key(k, a, "pooling_type"), &hp->pooling, err) ||
        sr_gguf_bool(g, key(k, a, "attention.causal"), &causal, err))
        return err->status;
    if (!causal)
        return sr_raise(err, SR_UNSUPPORTED, "%s that looks ahead (%s is false)", a->name, k);
    if (hp->head_dim == 0 || hp->head_dim % 8 || hp->head_dim > MAX_HEAD_DIM)
        return sr_raise(err, SR_INVALID, "head dimension %u; a multiple of 8 up to %d expected", hp->head_dim, MAX_HEAD_DIM);
    if (dim_v != hp->head_dim)
        return sr_raise(err, SR_UNSUPPORTED, "value heads of %u beside key heads of %u", dim_v, hp->head_dim);
    if (experts)
        return sr_raise(err, SR_UNSUPPORTED, "%s with %u experts", a->name, experts);
    return rope(g, hp, err) ? err->status : vocabulary(g, hp, err);
}

/* YaRN: below `low` rotations stay (short wavelengths), above `high` positions are divided, between is a ramp. */
static float yarn_bound(const sr_hparams *hp, float rotations)
{
    return (float)hp->rope.dims * logf((float)hp->rope.ctx_orig / (rotations * 2.0f * 3.14159265358979f)) /
           (2.0f * logf(hp->rope.base));
}

float sr_rope_frequencies(const sr_hparams *hp, const float *factors, float *inv_freq)
{
    uint32_t half = hp->rope.dims / 2;
    float    scale = 1.0f / hp->rope.factor;
    float    low  = fmaxf(0.0f, floorf(yarn_bound(hp, hp->rope.beta_fast)));
    float    high = fminf((float)hp->rope.dims - 1.0f, ceilf(yarn_bound(hp, hp->rope.beta_slow)));
    for (uint32_t i = 0; i < half; i++) {
        float f = (float)pow((double)hp->rope.base, -2.0 * i / hp->rope.dims) / (factors ? factors[i] : 1.0f);
        float keep = 0; /* share of the unscaled frequency */
        if (hp->rope.yarn)
            keep = 1.0f - fminf(1.0f, fmaxf(0.0f, ((float)i - low) / fmaxf(0.001f, high - low)));
        inv_freq[i] = f * scale * (1.0f - keep) + f * keep;
    }
    float magnitude = hp->rope.attn_factor;
    if (hp->rope.yarn)
        magnitude *= 1.0f + 0.1f * logf(hp->rope.factor);
    return magnitude;
}
