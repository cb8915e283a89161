/* eval.c - the logits of a text, position by position: the engine without requests. */
#include "base/mem.h"
#include "engine/skip.h"

/* One piece of the text; wanted rows are those from `from` on. */
static sr_status piece(sr_model *m, sr_kvseq *seq, const int32_t *tok, uint32_t at, uint32_t n, uint32_t from, float *logits,
                       sr_err *err)
{
    sr_block *b = &m->block;
    sr_err    no_pages = {0};
    sr_status s = sr_kv_reserve(seq, n, err ? err : &no_pages);
    if (s)
        return s == SR_AGAIN ? sr_raise(err, SR_NOMEM, "the KV pool is too small for a text of %u tokens", at + n) : s;
    sr_block_begin(b);
    sr_block_add(m, seq, tok + at, at, n);
    for (uint32_t i = 0; i < n; i++)
        if (at + i >= from) {
            ((sr_sampdev *)b->sampling)[b->now.out] = (sr_sampdev){.given = sr_exit_on(m) ? -1 : tok[at + i]}; /* the likeliest token tells how certain a row is */
            b->out[b->now.out++]                    = i;
            b->drawn++;
        }
    if ((s = sr_model_compute(m, err)) != SR_OK)
        return s;
    void  *slot;
    size_t bytes;
    if (m->be->slot(m->ran, m->code->prog.logits, &slot, &bytes))
        return sr_raise(err, SR_UNSUPPORTED, "%s: logits cannot be read", m->be->name);
    sr_span back = {.dst = logits, .src = slot, .n = 1, .bytes = (size_t)b->now.out * m->info.n_vocab * sizeof *logits};
    if (b->now.out && (s = m->be->copyv(m->dev, SR_Q_COMPUTE, &back, 1, err)) != SR_OK)
        return s;
    s = m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_COMPUTE), UINT64_MAX, err);
    return s ? s : sr_kv_commit(seq, tok + at, NULL, n, err);
}

sr_status sr_model_eval(sr_model *m, const int32_t *tok, uint32_t n, uint32_t from, sr_logitsfn row, void *arg, sr_err *err)
{
    if (n == 0 || n > m->cfg.ctx)
        return sr_raise(err, SR_INVALID, "text of %u tokens; 1 to %u fit the context", n, m->cfg.ctx);
    for (uint32_t i = 0; i < n; i++)
        if (tok[i] < 0 || (uint32_t)tok[i] >= m->info.n_vocab)
            return sr_raise(err, SR_INVALID, "token %d at position %u; the vocabulary has %u", tok[i], i, m->info.n_vocab);
    sr_kvseq *seq    = NULL;
    void     *logits = NULL;
    size_t    cached;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, (size_t)m->block.max.out * m->info.n_vocab * sizeof(float), "logits (host)", &logits, err))
        return err ? err->status : SR_NOMEM;
    sr_status s = sr_kv_begin(m->kv, sr_skip_salt(m), tok, n, 0, &seq, &cached, err);
    for (uint32_t at = 0, k; s == SR_OK && at < n; at += k) {
        k = SR_MIN(n - at, m->block.max.tok);
        if (at + k > from) /* only so many logits fit: wanted positions go in smaller pieces */
            k = at < from ? SR_MIN(k, from - at + m->block.max.out) : SR_MIN(k, m->block.max.out);
        if (sr_exit_on(m)) /* as answers are made */
            k = at < from ? SR_MIN(k, from - at) : 1;
        s = piece(m, seq, tok, at, k, from, logits, err);
        for (uint32_t i = 0, o = 0; s == SR_OK && i < k; i++)
            if (at + i >= from && !row(arg, at + i, (const float *)logits + (size_t)o++ * m->info.n_vocab)) {
                n = 0; /* asked to stop */
                break;
            }
    }
    sr_kv_end(seq);
    m->be->free(m->dev, logits);
    return s;
}
