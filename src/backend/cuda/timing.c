#include "backend/cuda/timing.h"

#include <string.h>

#include "base/mem.h"

struct sr_cudatiming {
    sr_dev           *dev;
    const sr_program *prog;
    sr_timing         mode;
    sr_opstat        *stat;   /* [n_op][SR_CUDA_WAYS]; n_op 0: free */
    uint32_t         *length; /* [n_op] of the last submit: ops of the launch that begins there */
    cudaEvent_t      *event;  /* [n_op + 2]: before op i of the submit; behind the last; behind the copy of lengths */
    uint32_t         *kv_len; /* pinned [max.seq][2]: what attention saw, for its cost */
    uint32_t          first, count; /* of the last submit; count 0: all was read */
    sr_shape          now;
    bool              step, spoiled; /* a step began; it took longer than it will */
    uint64_t          steps, ns;
};

/* Of a step: where it begins, and where the submit ends that is its last so far. */
enum { STEP_BEGIN, STEP_END };

static cudaStream_t stream_of(const sr_cudatiming *t) { return t->dev->queue[SR_Q_COMPUTE].stream; }
static bool         of_steps(const sr_cudatiming *t) { return t->mode == SR_TIME_STEPS; }
bool                sr_cudatiming_of_ops(const sr_cudatiming *t) { return t && t->mode == SR_TIME_OPS; }

sr_status sr_cudatiming_open(sr_dev *d, const sr_program *p, const sr_shape *max, sr_cudatiming **out, sr_err *err)
{
    sr_cudatiming *t    = sr_calloc(1, sizeof *t);
    void          *host = NULL;
    *out                = t;
    if (!t)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for times of ops", sizeof *t);
    *t        = (sr_cudatiming){.dev = d, .prog = p};
    t->stat   = sr_calloc(p->n_op, SR_CUDA_WAYS * sizeof *t->stat);
    t->length = sr_calloc(p->n_op, sizeof *t->length);
    t->event  = sr_calloc(p->n_op + 2, sizeof *t->event);
    if (!t->stat || !t->length || !t->event)
        return sr_raise(err, SR_NOMEM, "host: memory for times of %u ops", p->n_op);
    if (CU(d, err, cudaHostAlloc(&host, SR_MAX(max->seq, 1u) * 2 * sizeof *t->kv_len, cudaHostAllocDefault)))
        return err->status;
    t->kv_len = host;
    for (uint32_t i = 0; i < p->n_op + 2; i++)
        if (CU(d, err, cudaEventCreate(&t->event[i])))
            return err->status;
    return SR_OK;
}

void sr_cudatiming_close(sr_cudatiming *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; t->event && i < t->prog->n_op + 2; i++)
        if (t->event[i])
            (void)cudaEventDestroy(t->event[i]);
    if (t->kv_len)
        (void)cudaFreeHost(t->kv_len);
    sr_free(t->event);
    sr_free(t->length);
    sr_free(t->stat);
    sr_free(t);
}

/* ---- reading events -------------------------------------------------------------------------------------------------------- */

static sr_status between(sr_cudatiming *t, uint32_t from, uint32_t to, uint64_t *ns, sr_err *err)
{
    float     ms = 0;
    sr_status s  = CU(t->dev, err, cudaEventElapsedTime(&ms, t->event[from], t->event[to]));
    *ns          = (uint64_t)((double)ms * 1e6);
    return s;
}

static sr_status add(sr_cudatiming *t, uint32_t op, uint32_t n, uint64_t ns, uint32_t kv_tokens, sr_err *err)
{
    sr_opstat *st = &t->stat[(size_t)op * SR_CUDA_WAYS], *end = st + SR_CUDA_WAYS;
    while (st < end && st->n_op && st->n_op != n)
        st++;
    if (st == end)
        return sr_raise(err, SR_INVALID, "op %u began launches of more than %d lengths", op, SR_CUDA_WAYS);
    sr_cost c = sr_group_cost(t->prog, op, n, &t->now, kv_tokens);
    st->op    = op;
    st->n_op  = n;
    st->ns += ns;
    st->calls++;
    st->bytes += c.bytes;
    st->flops += c.flops;
    return SR_OK;
}

static sr_status collect_ops(sr_cudatiming *t, sr_err *err)
{
    uint32_t kv_tokens = 0;
    uint64_t ns;
    if (CU(t->dev, err, cudaEventSynchronize(t->event[t->prog->n_op + 1])))
        return err->status;
    for (uint32_t s = 0; s < t->now.seq; s++)
        kv_tokens += t->kv_len[2 * s + 1] - t->kv_len[2 * s];
    for (uint32_t i = 0; i < t->count; i += t->length[i])
        if (between(t, i, i + t->length[i], &ns, err) || add(t, t->first + i, t->length[i], ns, kv_tokens, err))
            return err->status;
    return SR_OK;
}

static sr_status collect_step(sr_cudatiming *t, sr_err *err)
{
    uint64_t ns = 0;
    if (t->step && (CU(t->dev, err, cudaEventSynchronize(t->event[STEP_END])) || between(t, STEP_BEGIN, STEP_END, &ns, err)))
        return err->status;
    if (t->step && !t->spoiled) {
        t->ns += ns;
        t->steps++;
    }
    t->step = t->spoiled = false;
    return SR_OK;
}

static sr_status collect(sr_cudatiming *t, sr_err *err)
{
    sr_status s = of_steps(t) ? collect_step(t, err) : t->count ? collect_ops(t, err) : SR_OK;
    t->count    = 0;
    return s;
}

/* ---- what a plan calls ----------------------------------------------------------------------------------------------------- */

sr_status sr_cudatiming_begin(sr_cudatiming *t, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    if (t->mode == SR_TIME_NOTHING || (of_steps(t) && op != 0))
        return SR_OK;
    if (collect(t, err))
        return err->status;
    t->first = op;
    t->now   = *shape;
    if (!of_steps(t)) {
        t->count = n;
        t->steps += op == 0;
        return SR_OK;
    }
    t->step = true;
    return CU(t->dev, err, cudaEventRecord(t->event[STEP_BEGIN], stream_of(t)));
}

sr_status sr_cudatiming_end(sr_cudatiming *t, const sr_batch *b, bool fresh, sr_err *err)
{
    cudaStream_t stream = stream_of(t);
    t->spoiled          = t->spoiled || fresh;
    if (of_steps(t))
        return t->step ? CU(t->dev, err, cudaEventRecord(t->event[STEP_END], stream)) : SR_OK;
    if (t->mode == SR_TIME_NOTHING)
        return SR_OK;
    sr_status s = CU(t->dev, err, cudaEventRecord(t->event[t->count], stream));
    if (s == SR_OK && t->now.seq)
        s = CU(t->dev, err, cudaMemcpyAsync(t->kv_len, b->kv_len, t->now.seq * 2 * sizeof *t->kv_len, cudaMemcpyDefault, stream));
    if (s == SR_OK) /* the copy, too, must be over before the times are read */
        s = CU(t->dev, err, cudaEventRecord(t->event[t->prog->n_op + 1], stream));
    t->count = s == SR_OK ? t->count : 0;
    return s;
}

sr_status sr_cudatiming_launch(sr_cudatiming *t, uint32_t i, sr_err *err)
{
    return CU(t->dev, err, cudaEventRecord(t->event[i - t->first], stream_of(t)));
}

void sr_cudatiming_launched(sr_cudatiming *t, uint32_t i, uint32_t n) { t->length[i - t->first] = n; }

sr_status sr_cudatiming_read(sr_cudatiming *t, sr_timing next, sr_timed *out, sr_err *err)
{
    const size_t n = (size_t)t->prog->n_op * SR_CUDA_WAYS;
    if (collect(t, err))
        return err->status;
    if (out) {
        out->n     = 0;
        out->steps = t->steps;
        out->ns    = t->ns;
    }
    for (size_t i = 0; out && i < n; i++) {
        if (t->stat[i].calls && out->n == out->cap)
            return sr_raise(err, SR_INVALID, "more than %zu launches were timed", out->cap);
        if (t->stat[i].calls)
            out->op[out->n++] = t->stat[i];
    }
    memset(t->stat, 0, n * sizeof *t->stat);
    t->steps = t->ns = 0;
    t->step = t->spoiled = false;
    t->mode = next;
    return SR_OK;
}
