/* vector.c - requests that want a vector: which rows they need, and what becomes of these.
 *
 * Rows are final-norm hidden states: of the last token, of the first, or of all, whose mean is taken.  They are added up in the order
 * of their positions and in doubles, so that a vector does not depend on how its text was cut into steps.  What has been added stays
 * when pages are given back: only rows that are still missing are computed again, from the prefix cache where it has the ones before. */
#include <math.h>

#include "base/mem.h"
#include "engine/internal.h"

const char *sr_pooling_name(uint32_t pooling)
{
    static const char *const names[] = {[SR_POOL_MODEL] = "of the model", [SR_POOL_NONE] = "none", [SR_POOL_MEAN] = "mean",
                                        [SR_POOL_CLS] = "cls", [SR_POOL_LAST] = "last", [SR_POOL_RANK] = "rank"};
    return pooling < SR_COUNT(names) ? names[pooling] : "unknown";
}

sr_status sr_vector_check(const sr_model *m, const sr_request *r, sr_err *err)
{
    uint32_t pool = r->pooling ? r->pooling : m->info.pooling;
    if (pool == SR_POOL_MEAN || pool == SR_POOL_CLS || pool == SR_POOL_LAST)
        return r->n > 1 || r->n_logprobs || r->n_prompt_logprobs
                   ? sr_raise(err, SR_INVALID, "choices or probabilities asked of a request for a vector") : SR_OK;
    return sr_raise(err, SR_UNSUPPORTED, "embeddings of a model whose pooling is %s (%s.pooling_type); last, mean and cls are there",
                    sr_pooling_name(pool), m->info.arch);
}

void sr_vector_begin(const sr_model *m, const sr_request *r, sr_job *j, double *sum)
{
    j->pool     = r->pooling ? r->pooling : m->info.pooling;
    j->pool_at  = j->pool == SR_POOL_LAST ? j->n_prompt - 1 : 0;
    j->pool_sum = sum;
}

static bool is_wanted(const sr_job *j, uint32_t pos) { return j->pool == SR_POOL_MEAN ? pos >= j->pool_at : pos == j->pool_at; }

uint32_t sr_vector_rows(const sr_choice *c, uint32_t n, uint32_t *first)
{
    const sr_job *j  = c->job;
    uint32_t      at = SR_MAX(c->computed, j->pool_at);
    *first           = at - c->computed;
    if (at >= c->computed + n || !is_wanted(j, at))
        return 0;
    return j->pool == SR_POOL_MEAN ? c->computed + n - at : 1;
}

uint32_t sr_vector_events(const sr_model *m) { return (m->info.n_embd + SR_PORT_VECTOR_MAX - 1) / SR_PORT_VECTOR_MAX; }

void sr_vector_add(const sr_model *m, sr_choice *c)
{
    sr_job      *j   = c->job;
    uint32_t     dim = m->info.n_embd;
    const float *row = m->hidden + (size_t)c->out * dim;
    for (uint32_t r = 0; r < c->outs; r++, row += dim)
        for (uint32_t i = 0; i < dim; i++)
            j->pool_sum[i] += (double)row[i];
    if (c->outs)
        j->pool_at = j->pool == SR_POOL_MEAN ? j->pool_at + c->outs : j->n_prompt;
}

/* A mean's divisor falls out with the length. */
bool sr_vector_finish(const sr_model *m, sr_job *j)
{
    uint32_t dim = m->info.n_embd;
    double   sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += j->pool_sum[i] * j->pool_sum[i];
    if (!isfinite(sum))
        return false;
    for (uint32_t i = 0; i < dim; i++)
        j->pool_sum[i] = sum > 0 ? j->pool_sum[i] / sqrt(sum) : 0;
    return true;
}
