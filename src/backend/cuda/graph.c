#include "backend/cuda/graph.h"

#include <string.h>

#include "base/mem.h"

enum { MAX_ROWS = 128, MIN_PAGES = 8 };

static uint32_t round_up(uint32_t n)
{
    if (n <= 8)
        return n;
    uint32_t step = n <= 32 ? 4 : 16;
    return (n + step - 1) / step * step;
}

bool sr_cuda_bucket(const sr_shape *n, const sr_shape *max, sr_shape *out)
{
    if (!n->tok || n->tok != n->seq || n->out != n->seq || n->tok > MAX_ROWS)
        return false;
    uint32_t rows = round_up(n->tok), pages = MIN_PAGES;
    while (pages < n->pages)
        pages *= 2;
    rows = SR_MIN(rows, SR_MIN(max->tok, SR_MIN(max->out, max->seq)));
    *out = (sr_shape){.tok = rows, .out = rows, .seq = rows, .pages = SR_MIN(pages, max->pages)};
    return true;
}

static void forget(sr_cudagraph *g)
{
    if (g->exec)
        (void)cudaGraphExecDestroy(g->exec);
    *g = (sr_cudagraph){0};
}

void sr_cuda_drop_graphs(sr_cudagraphs *g)
{
    for (uint32_t i = 0; i < SR_GRAPH_SETS * SR_GRAPH_WAYS; i++)
        forget(&g->graph[i / SR_GRAPH_WAYS][i % SR_GRAPH_WAYS]);
}

/* The entry of (op, n, bucket), new ones in place of the least recently used. */
static sr_cudagraph *entry(sr_cudagraphs *g, uint32_t op, uint32_t n, const sr_shape *bucket)
{
    sr_cudagraph *set = g->graph[op % SR_GRAPH_SETS], *oldest = set;
    for (uint32_t i = 0; i < SR_GRAPH_WAYS; i++) {
        sr_cudagraph *e = &set[i];
        if (e->used && e->op == op && e->n == n && memcmp(&e->shape, bucket, sizeof *bucket) == 0)
            return e;
        oldest = e->used < oldest->used ? e : oldest;
    }
    forget(oldest);
    oldest->op    = op;
    oldest->n     = n;
    oldest->shape = *bucket;
    return oldest;
}

static sr_status capture(sr_cudagraph *e, sr_dev *d, sr_plan *pl, sr_cudalaunch launch, sr_err *err)
{
    cudaStream_t stream = d->queue[SR_Q_COMPUTE].stream;
    cudaGraph_t  graph  = NULL;
    sr_status    s      = CU(d, err, cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    if (s)
        return s;
    s              = launch(pl, e->op, e->n, &e->shape, err);
    sr_err    over = {0};
    sr_status end  = CU(d, &over, cudaStreamEndCapture(stream, &graph)); /* also after a failure: the stream must leave the capture */
    if (s == SR_OK && end)
        s = sr_raise(err, end, "%s", over.msg);
    if (s == SR_OK)
        s = CU(d, err, cudaGraphInstantiate(&e->exec, graph, 0));
    if (graph)
        (void)cudaGraphDestroy(graph);
    return s;
}

sr_status sr_cuda_replay(sr_cudagraphs *g, sr_dev *d, sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *bucket, const sr_shape *shape,
                         sr_cudalaunch launch, sr_err *err)
{
    sr_cudagraph *e    = entry(g, op, n, bucket);
    bool          seen = e->used != 0;
    e->used            = ++g->clock;
    g->made += !e->exec;
    if (!seen)
        return launch(pl, op, n, shape, err);
    if (!e->exec) {
        sr_status s = capture(e, d, pl, launch, err);
        if (s) {
            forget(e);
            return s;
        }
    }
    return CU(d, err, cudaGraphLaunch(e->exec, d->queue[SR_Q_COMPUTE].stream));
}
