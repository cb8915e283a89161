#include "format/synth.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Source: the models' published config.json. */
static const sr_synthshape shapes[] = {
    /* name, arch, layers, dim, heads, kv, head, ff, vocab, ctx, theta, eps */
    {"tiny", "llama", 2, 256, 4, 2, 64, 768, 1024, 2048, 1e4f, 1e-5f, .tied = false},
    {"tiny-qwen2", "qwen2", 2, 256, 4, 2, 64, 768, 1024, 2048, 1e6f, 1e-6f, .tied = true},
    {"tiny-qwen3", "qwen3", 2, 256, 4, 2, 128, 768, 1024, 2048, 1e6f, 1e-6f, .tied = false},
    {"1.1b", "llama", 22, 2048, 32, 4, 64, 5632, 32000, 2048, 1e4f, 1e-5f, .spm = true}, /* TinyLlama */
    {"7b", "llama", 32, 4096, 32, 32, 128, 11008, 32000, 4096, 1e4f, 1e-5f, .spm = true},
    {"13b", "llama", 40, 5120, 40, 40, 128, 13824, 32000, 4096, 1e4f, 1e-5f, .spm = true},
    {"33b", "llama", 60, 6656, 52, 52, 128, 17920, 32000, 2048, 1e4f, 1e-6f, .spm = true},
    {"65b", "llama", 80, 8192, 64, 64, 128, 22016, 32000, 2048, 1e4f, 1e-5f, .spm = true},
    {"llama2-70b", "llama", 80, 8192, 64, 8, 128, 28672, 32000, 4096, 1e4f, 1e-5f, .spm = true},
    {"8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 8192, 5e5f, 1e-5f, .tied = false}, /* Llama 3 */
    {"70b", "llama", 80, 8192, 64, 8, 128, 28672, 128256, 8192, 5e5f, 1e-5f, .tied = false},
    {"llama3.1-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 131072, 5e5f, 1e-5f, "llama3", 8, 8192, .tied = false},
    {"llama3.1-70b", "llama", 80, 8192, 64, 8, 128, 28672, 128256, 131072, 5e5f, 1e-5f, "llama3", 8, 8192, .tied = false},
    {"llama3.2-1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 5e5f, 1e-5f, "llama3", 32, 8192, .tied = true},
    {"llama3.2-3b", "llama", 28, 3072, 24, 8, 128, 8192, 128256, 131072, 5e5f, 1e-5f, "llama3", 32, 8192, .tied = true},
    {"mistral-7b", "llama", 32, 4096, 32, 8, 128, 14336, 32768, 32768, 1e6f, 1e-5f, .spm = true}, /* v0.3 */
    {"qwen2.5-0.5b", "qwen2", 24, 896, 14, 2, 64, 4864, 151936, 32768, 1e6f, 1e-6f, .tied = true},
    {"qwen2.5-1.5b", "qwen2", 28, 1536, 12, 2, 128, 8960, 151936, 32768, 1e6f, 1e-6f, .tied = true},
    {"qwen2.5-3b", "qwen2", 36, 2048, 16, 2, 128, 11008, 151936, 32768, 1e6f, 1e-6f, .tied = true},
    {"qwen2.5-7b", "qwen2", 28, 3584, 28, 4, 128, 18944, 152064, 32768, 1e6f, 1e-6f, .tied = false},
    {"qwen2.5-14b", "qwen2", 48, 5120, 40, 8, 128, 13824, 152064, 32768, 1e6f, 1e-6f, .tied = false},
    {"qwen2.5-32b", "qwen2", 64, 5120, 40, 8, 128, 27648, 152064, 32768, 1e6f, 1e-6f, .tied = false},
    {"qwen2.5-72b", "qwen2", 80, 8192, 64, 8, 128, 29568, 152064, 32768, 1e6f, 1e-6f, .tied = false},
    {"qwen3-0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, 1e6f, 1e-6f, .tied = true},
    {"qwen3-1.7b", "qwen3", 28, 2048, 16, 8, 128, 6144, 151936, 40960, 1e6f, 1e-6f, .tied = true},
    {"qwen3-4b", "qwen3", 36, 2560, 32, 8, 128, 9728, 151936, 40960, 1e6f, 1e-6f, .tied = true},
    {"qwen3-8b", "qwen3", 36, 4096, 32, 8, 128, 12288, 151936, 40960, 1e6f, 1e-6f, .tied = false},
    {"qwen3-14b", "qwen3", 40, 5120, 40, 8, 128, 17408, 151936, 40960, 1e6f, 1e-6f, .tied = false},
    {"qwen3-32b", "qwen3", 64, 5120, 64, 8, 128, 25600, 151936, 40960, 1e6f, 1e-6f, .tied = false},
};

const sr_synthshape *sr_synth_shape_at(unsigned i) { return i < SR_COUNT(shapes) ? &shapes[i] : NULL; }

const sr_synthshape *sr_synth_shape(const char *name)
{
    for (unsigned i = 0; i < SR_COUNT(shapes); i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

static bool is_arch(const sr_synthshape *s, const char *name) { return strcmp(s->arch, name) == 0; }

static sr_status check_shape(const sr_synthshape *s, sr_err *err)
{
    const struct { const char *name; uint32_t v, most; } range[] = {
        {"layers", s->n_layer, 1000},   {"width", s->dim, 1 << 20},       {"heads", s->n_head, 4096},
        {"KV heads", s->n_head_kv, 4096}, {"head size", s->head_dim, 4096}, {"feed-forward width", s->n_ff, 1 << 22},
        {"vocabulary", s->n_vocab, 1 << 22}, {"context", s->n_ctx, 1 << 26}};
    for (size_t i = 0; i < SR_COUNT(range); i++)
        if (range[i].v < 1 || range[i].v > range[i].most)
            return sr_raise(err, SR_INVALID, "%s: %u, valid are 1 to %u", range[i].name, range[i].v, range[i].most);
    if (s->n_head % s->n_head_kv)
        return sr_raise(err, SR_INVALID, "%u heads are not a multiple of %u KV heads", s->n_head, s->n_head_kv);
    if (s->head_dim % 2)
        return sr_raise(err, SR_INVALID, "head size %u is odd: it cannot be rotated in pairs", s->head_dim);
    if (!is_arch(s, "llama") && !is_arch(s, "qwen2") && !is_arch(s, "qwen3"))
        return sr_raise(err, SR_UNSUPPORTED, "architecture \"%s\": known are llama, qwen2 and qwen3", s->arch);
    if (s->rope_scaling && (!(s->rope_factor >= 1) || !s->rope_orig_ctx))
        return sr_raise(err, SR_INVALID, "rope scaling %s: needs a factor >= 1 and the original context", s->rope_scaling);
    return SR_OK;
}

/* ---- the list of tensors ---------------------------------------------------------------------------------- */

static void add(sr_synth *s, sr_synthkind kind, float std, uint64_t cols, uint64_t rows, const char *fmt, unsigned layer)
{
    sr_synthtensor   *t = &s->t[s->n_t++];
    const sr_mixmodel m = {s->shape.arch, s->shape.n_layer, s->shape.n_head, s->shape.n_head_kv, s->shape.tied};
    *t = (sr_synthtensor){.kind = kind, .std = std, .n_dims = rows ? 2 : 1, .ne = {cols, rows ? rows : 1, 1, 1}};
    char *p = t->name;
    if (layer != UINT32_MAX)
        p += snprintf(p, sizeof t->name, "blk.%u.", layer);
    snprintf(p, sizeof t->name - (size_t)(p - t->name), "%s", fmt);
    t->dtype = sr_mix_dtype(s->mix, &m, t->name, t->n_dims, t->ne);
    if (t->dtype == SR_DTYPE_NONE)
        t->dtype = SR_F32;
    t->n     = cols * t->ne[1];
    t->bytes = sr_row_bytes(t->dtype, cols) * t->ne[1];
    s->bytes += t->bytes;
}

static void add_layer(sr_synth *s, unsigned l)
{
    const sr_synthshape *h = &s->shape;
    const uint64_t dim = h->dim, q = (uint64_t)h->n_head * h->head_dim, kv = (uint64_t)h->n_head_kv * h->head_dim;
    const float in = 1 / sqrtf((float)dim), deep = 1 / sqrtf(2.0f * (float)h->n_layer);
    add(s, SR_SYNTH_NORM, 0.1f, dim, 0, "attn_norm.weight", l);
    add(s, SR_SYNTH_MATRIX, in, dim, q, "attn_q.weight", l);
    add(s, SR_SYNTH_MATRIX, in, dim, kv, "attn_k.weight", l);
    add(s, SR_SYNTH_MATRIX, in, dim, kv, "attn_v.weight", l);
    if (is_arch(h, "qwen2")) {
        add(s, SR_SYNTH_BIAS, 0.3f, q, 0, "attn_q.bias", l);
        add(s, SR_SYNTH_BIAS, 0.3f, kv, 0, "attn_k.bias", l);
        add(s, SR_SYNTH_BIAS, 0.1f, kv, 0, "attn_v.bias", l);
    }
    if (is_arch(h, "qwen3")) {
        add(s, SR_SYNTH_NORM, 0.1f, h->head_dim, 0, "attn_q_norm.weight", l);
        add(s, SR_SYNTH_NORM, 0.1f, h->head_dim, 0, "attn_k_norm.weight", l);
    }
    /* attention averages its values (about half of their size is left), SwiGLU of unit inputs has rms 0.6 */
    add(s, SR_SYNTH_MATRIX, 2 * deep / sqrtf((float)q), q, dim, "attn_output.weight", l);
    add(s, SR_SYNTH_NORM, 0.1f, dim, 0, "ffn_norm.weight", l);
    add(s, SR_SYNTH_MATRIX, in, dim, h->n_ff, "ffn_gate.weight", l);
    add(s, SR_SYNTH_MATRIX, in, dim, h->n_ff, "ffn_up.weight", l);
    add(s, SR_SYNTH_MATRIX, deep / (0.6f * sqrtf((float)h->n_ff)), h->n_ff, dim, "ffn_down.weight", l);
}

sr_status sr_synth_plan(const sr_synthshape *shape, const sr_mix *mix, uint64_t seed, bool encoded, sr_synth **out,
                        sr_err *err)
{
    sr_status s = check_shape(shape, err);
    *out        = NULL;
    if (s)
        return s;
    sr_synth *p = sr_calloc(1, sizeof *p);
    if (p)
        p->t = sr_calloc((size_t)shape->n_layer * 14 + 4, sizeof *p->t);
    if (!p || !p->t) {
        sr_synth_free(p);
        return sr_raise(err, SR_NOMEM, "host memory for a plan of %u layers", shape->n_layer);
    }
    p->shape         = *shape;
    p->mix           = mix;
    p->seed          = seed;
    p->encoded       = encoded;
    const float head = 2.5f / sqrtf((float)shape->dim);
    add(p, SR_SYNTH_MATRIX, shape->tied ? head : 1, shape->dim, shape->n_vocab, "token_embd.weight", UINT32_MAX);
    for (unsigned l = 0; l < shape->n_layer; l++)
        add_layer(p, l);
    add(p, SR_SYNTH_NORM, 0.1f, shape->dim, 0, "output_norm.weight", UINT32_MAX);
    if (!shape->tied)
        add(p, SR_SYNTH_MATRIX, head, shape->dim, shape->n_vocab, "output.weight", UINT32_MAX);
    if (shape->rope_scaling && strcmp(shape->rope_scaling, "llama3") == 0)
        add(p, SR_SYNTH_ROPE, 0, shape->head_dim / 2, 0, "rope_freqs.weight", UINT32_MAX);
    *out = p;
    return SR_OK;
}

void sr_synth_free(sr_synth *s)
{
    if (s) {
        sr_free(s->t);
        sr_free(s);
    }
}

/* ---- what the file says about it ------------------------------------------------------------------------- */

static const char *key_of(char buf[96], const sr_synthshape *s, const char *tail)
{
    snprintf(buf, 96, "%s.%s", s->arch, tail);
    return buf;
}

void sr_synth_put_keys(const sr_synth *p, sr_gguf_writer *w)
{
    const sr_synthshape *s = &p->shape;
    char                 k[96], name[120];
    snprintf(name, sizeof name, "synthetic %s (random weights, seed %llu)", s->name, (unsigned long long)p->seed);
    sr_gguf_put_str(w, "general.architecture", s->arch);
    sr_gguf_put_str(w, "general.type", "model");
    sr_gguf_put_str(w, "general.name", name);
    sr_gguf_put_u32(w, "general.file_type", p->mix->ftype);
    sr_gguf_put_u32(w, "general.quantization_version", 2);
    sr_gguf_put_u32(w, key_of(k, s, "block_count"), s->n_layer);
    sr_gguf_put_u32(w, key_of(k, s, "context_length"), s->n_ctx);
    sr_gguf_put_u32(w, key_of(k, s, "embedding_length"), s->dim);
    sr_gguf_put_u32(w, key_of(k, s, "feed_forward_length"), s->n_ff);
    sr_gguf_put_u32(w, key_of(k, s, "attention.head_count"), s->n_head);
    sr_gguf_put_u32(w, key_of(k, s, "attention.head_count_kv"), s->n_head_kv);
    sr_gguf_put_f32(w, key_of(k, s, "attention.layer_norm_rms_epsilon"), s->norm_eps);
    sr_gguf_put_f32(w, key_of(k, s, "rope.freq_base"), s->rope_theta);
    if (is_arch(s, "llama")) {
        sr_gguf_put_u32(w, key_of(k, s, "vocab_size"), s->n_vocab);
        sr_gguf_put_u32(w, key_of(k, s, "rope.dimension_count"), s->head_dim);
    }
    if (is_arch(s, "qwen3") || s->head_dim * s->n_head != s->dim) {
        sr_gguf_put_u32(w, key_of(k, s, "attention.key_length"), s->head_dim);
        sr_gguf_put_u32(w, key_of(k, s, "attention.value_length"), s->head_dim);
    }
    if (s->rope_scaling && strcmp(s->rope_scaling, "llama3") != 0) { /* llama3's lies in rope_freqs.weight */
        sr_gguf_put_str(w, key_of(k, s, "rope.scaling.type"), s->rope_scaling);
        sr_gguf_put_f32(w, key_of(k, s, "rope.scaling.factor"), s->rope_factor);
        sr_gguf_put_u32(w, key_of(k, s, "rope.scaling.original_context_length"), s->rope_orig_ctx);
    }
}

void sr_synth_put_tensors(const sr_synth *p, size_t first, size_t n, sr_gguf_writer *w)
{
    for (const sr_synthtensor *t = p->t + first; t < p->t + first + n; t++)
        sr_gguf_put_tensor(w, t->name, t->dtype, t->n_dims, t->ne);
}
