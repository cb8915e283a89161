/* load.c - from a file to a model that is ready: compile, place, bind.
 *
 * On a device whose memory is the host's, weights stay where the file is mapped.  On any other they are copied once (place.c).
 * What a step needs is allocated here, from the shapes; a step allocates nothing. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/offload.h"
#include "engine/skip.h"
#include "format/synth.h"

enum { DEFAULT_STEP = 512, GPU_STEP = 2048, DEFAULT_PAGE = 16, DEFAULT_CTX = 8192, POOL_CTX = 4096 };

static void progress(const sr_loadcfg *cfg, double share, const char *what)
{
    if (cfg->progress)
        cfg->progress(cfg->arg, share, what);
}

static void copy_str(char *out, size_t cap, const sr_gguf *g, const char *key)
{
    sr_gguf_str s       = {0};
    sr_err      ignored = {0};
    if (sr_gguf_string(g, key, &s, &ignored) == SR_OK && s.p)
        sr_escape(out, cap, s.p, s.n);
}

/* general.file_type, as llama.cpp numbers the mixtures; the format of most weight bytes when the file does not say. */
static const char *file_type(const sr_gguf *g, uint32_t most)
{
    static const struct { uint32_t n; const char *name; } types[] = {{0, "F32"}, {1, "F16"}, {2, "Q4_0"}, {7, "Q8_0"}, {14, "Q4_K_S"},
        {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"}, {18, "Q6_K"}, {32, "BF16"}};
    uint32_t n       = UINT32_MAX;
    sr_err   ignored = {0};
    if (sr_gguf_u32(g, "general.file_type", &n, &ignored) == SR_OK)
        for (size_t i = 0; i < SR_COUNT(types); i++)
            if (types[i].n == n)
                return types[i].name;
    return sr_dtype_name(most);
}

static void describe(sr_model *m)
{
    const sr_program *p    = &m->code->prog;
    const sr_hparams *hp   = &m->code->hp;
    sr_modelinfo     *info = &m->info;
    uint64_t          by_type[64] = {0};
    snprintf(info->arch, sizeof info->arch, "%s", hp->arch->name);
    copy_str(info->name, sizeof info->name, m->gguf, "general.name");
    for (uint32_t i = 0; i < p->n_weight; i++) {
        const sr_tensor *t = m->code->tensor[i];
        if (!t || (m->code->tied && p->weight[i].role == SR_W_OUTPUT))
            continue;
        info->n_params += (uint64_t)p->weight[i].rows * p->weight[i].cols;
        info->bytes += t->bytes;
        by_type[t->dtype < 64 ? t->dtype : 0] += t->bytes;
    }
    uint32_t best = 0;
    for (uint32_t i = 0; i < 64; i++)
        best = by_type[i] > by_type[best] ? i : best;
    snprintf(info->ftype, sizeof info->ftype, "%s", file_type(m->gguf, best));
    info->ctx_train = hp->ctx_train;
    info->ctx       = m->cfg.ctx;
    info->n_embd    = hp->n_embd;
    info->n_layer   = hp->n_layer;
    info->n_head    = hp->n_head;
    info->n_head_kv = hp->n_head_kv;
    info->n_ff      = hp->n_ff;
    info->n_vocab   = hp->n_vocab;
    info->page_tokens = m->cfg.page_tokens;
}

static sr_status defaults(sr_model *m, sr_err *err)
{
    sr_loadcfg *c    = &m->cfg;
    uint32_t    have = m->code->hp.ctx_train;
    c->ctx           = c->ctx ? c->ctx : SR_MIN(have, (uint32_t)DEFAULT_CTX);
    if (c->ctx > have)
        return sr_raise(err, SR_INVALID, "context of %u tokens asked; the model was trained for %u", c->ctx, have);
    c->max_seqs        = c->max_seqs ? c->max_seqs : SR_ENGINE_SEQS;
    c->max_step_tokens = c->max_step_tokens ? c->max_step_tokens : DEFAULT_STEP;
    c->max_step_tokens = SR_MAX(c->max_step_tokens, c->max_seqs);
    uint32_t said      = m->code->hp.pooling;
    m->info.pooling    = c->pooling ? c->pooling : said == SR_POOLING_ABSENT ? SR_POOL_LAST : said + SR_POOL_NONE;
    if (m->info.pooling == SR_POOL_MEAN) /* every token is a wanted row: a step takes no more of a text than it has of them */
        c->out_rows = (uint16_t)SR_MAX((uint32_t)c->out_rows, SR_MIN((uint32_t)SR_ENGINE_MEAN_ROWS, c->max_step_tokens));
    c->out_rows        = (uint16_t)SR_MAX((uint32_t)c->out_rows, c->max_seqs);
    if (c->max_seqs > 4096 || c->max_step_tokens > 65536)
        return sr_raise(err, SR_INVALID, "%u sequences and %u tokens a step asked; at most 4096 and 65536", c->max_seqs,
                        c->max_step_tokens);
    return SR_OK;
}

/* How many pages: as asked; else enough for every sequence at a usual length; on a device with memory of its own what is left of
 * its budget, up to every sequence at full length and as much again for prefixes that outlive their sequences. */
static sr_status count_pages(sr_model *m, const sr_devinfo *di, sr_err *err)
{
    sr_loadcfg       *c = &m->cfg;
    const sr_program *p = &m->code->prog;
    uint32_t per_ctx = (c->ctx + c->page_tokens - 1) / c->page_tokens;
    uint32_t pooled  = (SR_MIN(c->ctx, (uint32_t)POOL_CTX) + c->page_tokens - 1) / c->page_tokens;
    uint64_t pages   = c->kv_pages ? c->kv_pages : (uint64_t)c->max_seqs * pooled, each = 0;
    for (uint32_t g = 0; g < p->n_kv; g++)
        each += sr_kv_page_bytes(&p->kv[g], c->page_tokens);
    if (!c->kv_pages && !(di->flags & SR_DEV_HOST) && each) {
        uint64_t room = di->mem_free / each, most = 2ull * c->max_seqs * per_ctx;
        pages         = SR_MIN(room, most);
        if (pages < per_ctx)
            return sr_raise(err, SR_NOMEM, "%s: KV pages of one sequence of %u tokens need %llu MiB, %llu MiB are left; ask for a smaller "
                            "context", di->name, c->ctx, (unsigned long long)(per_ctx * each >> 20),
                            (unsigned long long)(di->mem_free >> 20));
    }
    if (!c->kv_pages && pages < per_ctx)
        pages = per_ctx;
    if (pages < per_ctx)
        return sr_raise(err, SR_INVALID, "%llu KV pages of %u tokens asked; one sequence of %u tokens needs %u",
                        (unsigned long long)pages, c->page_tokens, c->ctx, per_ctx);
    if (pages >= 1u << 30)
        return sr_raise(err, SR_INVALID, "%llu KV pages asked; at most %u", (unsigned long long)pages, (1u << 30) - 1);
    m->kv_pages      = (uint32_t)pages;
    m->info.kv_bytes = pages * each;
    return SR_OK;
}

static sr_status open_kv(sr_model *m, const sr_devinfo *di, sr_err *err)
{
    sr_loadcfg       *c = &m->cfg;
    const sr_program *p = &m->code->prog;
    sr_kvgroup        group[SR_KV_GROUPS];
    if (count_pages(m, di, err))
        return err->status;
    for (uint32_t g = 0; g < p->n_kv; g++)
        group[g] = (sr_kvgroup){.shape = p->kv[g], .n_ranks = 1, .pages = {m->kv_pages}};
    sr_dev *const devs[] = {m->dev};
    sr_kvcfg      kc     = {.be = m->be, .devs = devs, .n_devs = 1, .groups = group, .n_groups = p->n_kv, .page_tokens = c->page_tokens,
                             .turned = di->flags & SR_DEV_HOST && c->page_tokens % SR_KV_TURN == 0};
    FILE         *rnd    = fopen("/dev/urandom", "re");
    bool          keyed  = rnd && fread(kc.hash_key, sizeof kc.hash_key, 1, rnd) == 1;
    if (rnd)
        fclose(rnd);
    if (!keyed)
        return sr_raise(err, SR_IO, "/dev/urandom: no random bytes for the prefix index");
    return sr_kv_open(&kc, &m->kv, err);
}

static sr_status make_ready(sr_model *m, sr_err *err)
{
    const sr_program *p   = &m->code->prog;
    size_t            bytes = m->be->scratch(m->dev, p, &m->max);
    m->info.scratch_bytes = bytes;
    if (m->be->alloc(m->dev, SR_MEM_DEVICE, bytes, "activations", &m->scratch, err) ||
        m->be->prepare(m->dev, p, &m->max, m->scratch, bytes, &m->plan, err) || sr_block_open(m, &m->max, err))
        return err->status;
    m->ran     = m->plan;
    void *host = NULL, *slot = NULL;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, m->max.out * sizeof(sr_sampled), "step results", &host, err))
        return err->status;
    m->sampled = host;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, m->max.out * sizeof(sr_sampled), "step results, next", &host, err))
        return err->status;
    m->spare = host;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, (size_t)m->max.out * m->info.n_embd * sizeof(float), "hidden states (host)", &host, err))
        return err->status;
    m->hidden = host;
    size_t   slot_bytes;
    sr_batch batch;
    if (m->be->slot(m->plan, p->sampled, &slot, &slot_bytes))
        return sr_raise(err, SR_INVALID, "%s: no slot %u", m->be->name, p->sampled);
    m->sampled_dev = slot;
    /* Everything else has its memory: the rest is for pages. */
    sr_devinfo di = {.size = sizeof di};
    if ((m->off && sr_offload_ready(m, err)) || m->be->info(m->cfg.device, m->dev, &di, err) || open_kv(m, &di, err))
        return err->status;
    sr_block_address(m, &batch);
    for (uint32_t g = 0; g < p->n_kv; g++)
        sr_kv_layout(m->kv, g, 0, &batch.kv[g]);
    return m->off ? sr_offload_bind(m, &batch, err) : m->be->bind(m->plan, &batch, 0, p->n_weight, m->weight, err);
}

/* What is asked of the CPU is not passed over where it has nothing to do. */
static sr_status cpu_takes_part(const sr_model *m, sr_err *err)
{
    if (!m->info.f32_activations || m->info.on_host || m->info.cpu_share > 0)
        return SR_OK;
    return sr_raise(err, SR_INVALID, "activations in f32 on the CPU were asked for, but it multiplies no weights here: %s multiplies all", m->info.device);
}

static sr_status load(sr_model *m, sr_err *err)
{
    sr_loadcfg *c  = &m->cfg;
    sr_devinfo  di = {.size = sizeof di};
    bool        step_given = c->max_step_tokens != 0;
    progress(c, 0, "reading");
    if (sr_synth_open(c->path, true, &m->gguf, err))
        return err->status;
    c->page_tokens = c->page_tokens ? c->page_tokens : DEFAULT_PAGE;
    if (c->page_tokens < 8 || c->page_tokens > 256 || (c->page_tokens & (c->page_tokens - 1)))
        return sr_raise(err, SR_INVALID, "KV pages of %u tokens asked; a power of two from 8 to 256 expected", c->page_tokens);
    sr_compilecfg cc = {.page_tokens = c->page_tokens, .kv_format_k = c->kv_format_k ? c->kv_format_k : SR_F16,
                        .kv_format_v = c->kv_format_v ? c->kv_format_v : SR_F16};
    if (sr_compile(m->gguf, &cc, &m->code, err) || defaults(m, err))
        return err->status;
    describe(m);
    m->timed = c->dev.profile;
    if (m->be->open(c->device, &c->dev, &m->dev, err) || m->be->info(c->device, m->dev, &di, err))
        return err->status;
    if (!step_given && di.arch) /* a GPU's products want more rows */
        c->max_step_tokens = SR_MAX(c->max_step_tokens, (uint32_t)GPU_STEP);
    m->info.threads = di.units;
    m->info.on_host = di.flags & SR_DEV_HOST;
    snprintf(m->info.device, sizeof m->info.device, "%s", di.name);
    memcpy(m->info.uuid, di.uuid, sizeof m->info.uuid);
    snprintf(m->info.isa, sizeof m->info.isa, "%s", di.isa);
    m->max = (sr_shape){.tok = c->max_step_tokens, .out = c->out_rows, .seq = c->max_seqs,
                        .pages = (c->ctx + c->page_tokens - 1) / c->page_tokens};
    m->info.bytes_device = m->info.bytes;
    m->info.f32_activations = c->dev.f32_activations;
    if (sr_offload_decide(m, &di, err) || cpu_takes_part(m, err) || sr_place_weights(m, di.flags & SR_DEV_HOST, err) || make_ready(m, err) || sr_skip_open(m, err) ||
        (c->warmup && (c->warmup == SR_WARMUP_ALWAYS || !m->off) && sr_model_warm(m, err)))
        return err->status;
    if (m->be->ledger)
        m->info.n_memory = (uint32_t)m->be->ledger(m->dev, m->info.memory, SR_ENGINE_MEMLINES);
    progress(c, 1, "ready");
    return sr_gguf_whole(m->gguf, err);
}

sr_status sr_model_load(const sr_loadcfg *cfg, sr_model **out, sr_err *err)
{
    sr_err    local = {0};
    sr_model *m     = sr_calloc(1, sizeof *m);
    err             = err ? err : &local;
    if (!m)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a model", sizeof *m);
    m->cfg = *cfg;
    m->be  = cfg->be ? cfg->be : &sr_backend_cpu;
    if (load(m, err)) {
        sr_model_close(m);
        return sr_while(err, "loading %s", cfg->path);
    }
    *out = m;
    return SR_OK;
}

void sr_model_close(sr_model *m)
{
    if (!m)
        return;
    if (m->dev) {
        /* A failed load may leave copies under way into what is freed below. */
        sr_err ignored = {0};
        for (int q = 0; q < SR_Q_COUNT; q++)
            m->be->wait(m->dev, m->be->mark(m->dev, (sr_queue)q), UINT64_MAX, &ignored);
        sr_offload_close(m);
        m->be->discard(m->plan);
        sr_kv_close(m->kv);
        sr_block_close(m);
        m->be->free(m->dev, m->weights);
        m->be->free(m->dev, m->sampled);
        m->be->free(m->dev, m->spare);
        m->be->free(m->dev, m->hidden);
        m->be->free(m->dev, m->scratch);
        m->be->close(m->dev);
    }
    sr_offload_close(m);
    sr_skip_close(m);
    sr_free(m->weight);
    sr_compiled_close(m->code);
    sr_gguf_close(m->gguf);
    sr_free(m);
}

const sr_modelinfo *sr_model_info(const sr_model *m) { return &m->info; }
