/* place.c - where every weight lies, and how it gets there.
 *
 * On a device with memory of its own every weight is copied once:
 *
 *     mapped file --(several threads)--> staging 0 --(copy on SR_Q_IN)--> raw --(tile, on the same queue)--> device
 *                                        staging 1      ... meanwhile
 *
 * There they lie in one piece of memory: a driver rounds every piece up, by 1 MiB of 2 on average, and takes time for it.
 * Tiles are made on the device where it can do that and has room for the raw blocks of a piece; else on the way into staging.
 * A device's pack() says whether its kernels have tiles for a weight.  Tiles have as many bytes as the rows they are made of, so places do not depend on it.
 */
#include <pthread.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/pool.h"
#include "engine/offload.h"

enum { STAGING = 32 << 20, GRAIN = 64, MAX_THREADS = 16, SPIN_US = 100, TILE_ROWS = 16, MAX_TILE_ROW = 1024 };

typedef struct {             /* rows row .. row+n-1 of a weight on their way to dst */
    const sr_backend *be;
    const char       *src;
    char             *dst;
    size_t            row_bytes;
    uint32_t          n, cols, threads, failed;
    bool              raw;    /* goes over as in the file */
    uint16_t          format, layout; /* layout: 0 as in the file */
} batch;

static bool pack_rows(const batch *b, uint32_t row, uint32_t n)
{
    const void *at[GRAIN];
    uint16_t    layout;
    for (uint32_t i = 0; i < n; i++)
        at[i] = b->src + (row + i) * b->row_bytes;
    size_t bytes = b->be->pack(b->format, n, b->cols, at, b->dst + row * b->row_bytes, &layout);
    return bytes == n * b->row_bytes && layout == b->layout;
}

static void fill(void *arg, uint32_t thread)
{
    batch *b = arg;
    for (uint32_t row = thread * GRAIN; row < b->n; row += b->threads * GRAIN) {
        uint32_t n = SR_MIN((uint32_t)GRAIN, b->n - row);
        if (!b->layout || b->raw)
            memcpy(b->dst + row * b->row_bytes, b->src + row * b->row_bytes, n * b->row_bytes);
        else if (!pack_rows(b, row, n))
            __atomic_store_n(&b->failed, 1, __ATOMIC_RELAXED);
    }
}

/* All rows of the batch; few of them by this thread alone. */
static void fill_all(sr_pool *pool, batch *b)
{
    b->threads = b->n > GRAIN ? sr_pool_threads(pool) : 1;
    if (b->threads > 1)
        sr_pool_run(pool, fill, b);
    else
        fill(b, 0);
}

/* Threads that stay for all pieces: starting them anew for each of some hundred takes as long as copying.  Where they cannot be had this one works alone. */
static sr_status helpers(sr_pool **out, sr_err *err)
{
    sr_err ignored = {0};
    if (sr_pool_open(SR_MIN(sr_cpu_cores(), (uint32_t)MAX_THREADS), SPIN_US, false, out, &ignored) == SR_OK)
        return SR_OK;
    return sr_pool_open(1, 0, false, out, err);
}

typedef struct {
    sr_model *m;
    sr_pool  *pool;
    char     *half[2];
    size_t   *at;           /* by weight id, within m->weights */
    void     *raw;          /* device memory; NULL: tiles are made on the host */
    sr_point  free_at[2];   /* when the copy out of it is over */
    uint32_t  turn;
    uint64_t  done, all;
} stage;

/* One piece of at most STAGING bytes: filled, then copied while the next one is filled. */
static sr_status send(stage *st, batch *b, char *to, sr_err *err)
{
    sr_model *m = st->m;
    uint32_t  k = st->turn++ % 2;
    sr_status s = SR_OK;
    if (st->free_at[k].word && (s = m->be->wait(m->dev, st->free_at[k], UINT64_MAX, err)) != SR_OK)
        return s;
    b->dst = st->half[k];
    fill_all(st->pool, b);
    if (b->failed)
        return sr_raise(err, SR_INVALID, "%s: %u rows of %u numbers could not be packed like the rows before them", m->be->name, b->n, b->cols);
    sr_span span = {.dst = b->layout && b->raw ? st->raw : to, .src = b->dst, .bytes = b->n * b->row_bytes, .n = 1};
    while ((s = m->be->copyv(m->dev, SR_Q_IN, &span, 1, err)) == SR_AGAIN)
        if ((s = m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_IN), UINT64_MAX, err)) != SR_OK)
            return s;
    st->free_at[k] = m->be->mark(m->dev, SR_Q_IN);
    if (b->layout && b->raw && m->be->tile(m->dev, SR_Q_IN, b->format, b->n, b->cols, st->raw, to, err))
        return err->status;
    st->done += span.bytes;
    if (m->cfg.progress)
        m->cfg.progress(m->cfg.arg, (double)st->done / (double)(st->all + 1), "weights");
    return s;
}

/* A tile of the last rows tells for all: they are those that may not fill one, and rows are whole tiles or none. */
uint16_t sr_tile_layout(const sr_model *m, uint16_t format, uint32_t rows, uint32_t cols, const char *src, size_t row_bytes)
{
    const void *at[GRAIN];
    char        tile[GRAIN * MAX_TILE_ROW];
    uint16_t    layout = 0;
    uint32_t    n = rows % GRAIN ? rows % GRAIN : TILE_ROWS;
    for (uint32_t depth = 64; depth <= 256; depth *= 4) {
        if (n > rows || cols % depth || depth % sr_dtype_info(format)->block || sr_row_bytes(format, depth) > MAX_TILE_ROW)
            continue;
        for (uint32_t i = 0; i < n; i++)
            at[i] = src + (rows - n + i) * row_bytes;
        if (m->be->pack(format, n, depth, at, tile, &layout))
            return layout;
    }
    return 0;
}

static sr_status send_weight(stage *st, uint32_t i, char *to, sr_err *err)
{
    sr_model        *m = st->m;
    const sr_weight *w = &m->code->prog.weight[i];
    sr_wref         *r = &m->weight[i];
    bool  head_only = w->role == SR_W_TOKEN_EMBD && !m->code->tied; /* read row by row, never multiplied */
    batch b = {.be = m->be, .src = r->p, .cols = w->cols, .format = w->format, .row_bytes = sr_row_bytes(w->format, w->cols)};
    b.layout = head_only ? 0 : sr_tile_layout(m, w->format, w->rows, w->cols, r->p, b.row_bytes);
    b.raw    = st->raw != NULL;
    uint32_t step = (uint32_t)SR_MAX(STAGING / b.row_bytes / GRAIN * GRAIN, (size_t)1);
    r->p          = to;
    r->layout     = b.layout;
    if (b.row_bytes > STAGING)
        return sr_raise(err, SR_UNSUPPORTED, "a weight with rows of %zu bytes; at most %d", b.row_bytes, STAGING);
    for (uint32_t row = 0; row < w->rows; row += b.n, b.src += b.n * b.row_bytes, to += b.n * b.row_bytes) {
        b.n         = SR_MIN(step, w->rows - row);
        sr_status s = send(st, &b, to, err);
        if (s)
            return s;
    }
    return SR_OK;
}

static bool same_as_embedding(const sr_model *m, uint32_t w) { return m->code->tied && m->code->prog.weight[w].role == SR_W_OUTPUT; }

size_t sr_place_offsets(const sr_model *m, size_t *at)
{
    const sr_program *p   = &m->code->prog;
    size_t            end = 0;
    for (uint32_t w = 0; w < p->n_weight; w++) {
        bool here = (m->code->tensor[w] || m->code->derived[w]) && !sr_is_outside(m, w) && !same_as_embedding(m, w);
        if (at)
            at[w] = here ? end : SIZE_MAX;
        if (here)
            end = sr_align_up(end + p->weight[w].rows * sr_row_bytes(p->weight[w].format, p->weight[w].cols), SR_WEIGHT_ALIGN);
    }
    return end;
}

static sr_status send_all(stage *st, sr_err *err)
{
    sr_model         *m = st->m;
    const sr_program *p = &m->code->prog;
    for (uint32_t i = 0; i < 2; i++) {
        void *half = NULL;
        if (m->be->alloc(m->dev, SR_MEM_PINNED, STAGING, "staging of weights", &half, err))
            return err->status;
        st->half[i] = half;
    }
    if (m->be->alloc(m->dev, SR_MEM_DEVICE, sr_place_offsets(m, st->at), "weights", &m->weights, err))
        return err->status;
    sr_devinfo di = {.size = sizeof di};
    if (m->be->info(m->cfg.device, m->dev, &di, err))
        return err->status;
    if (m->be->tile && di.mem_free >= 2 * STAGING && m->be->alloc(m->dev, SR_MEM_DEVICE, STAGING, "staging of weights (raw)", &st->raw, err))
        return err->status;
    for (uint32_t i = 0; i < p->n_weight; i++) {
        if (!m->weight[i].p)
            continue;
        if (sr_is_outside(m, i)) {
            m->weight[i].p = NULL;
            continue;
        }
        if (same_as_embedding(m, i)) { /* weight 0, placed first */
            m->weight[i].p      = m->weight[0].p;
            m->weight[i].layout = m->weight[0].layout;
        } else if (send_weight(st, i, (char *)m->weights + st->at[i], err))
            return err->status;
    }
    return m->be->wait(m->dev, m->be->mark(m->dev, SR_Q_IN), UINT64_MAX, err);
}

sr_status sr_place_weights(sr_model *m, bool on_host, sr_err *err)
{
    const sr_program *p  = &m->code->prog;
    stage             st = {.m = m, .all = m->info.bytes};
    m->weight = sr_calloc(p->n_weight, sizeof *m->weight);
    if (!m->weight)
        return sr_raise(err, SR_NOMEM, "host: memory for %u weight references", p->n_weight);
    for (uint32_t i = 0; i < p->n_weight; i++) {
        const sr_weight *w   = &p->weight[i];
        const void      *src = m->code->tensor[i] ? m->code->tensor[i]->data : (const void *)m->code->derived[i];
        m->weight[i] = (sr_wref){.p = src, .n_row = w->rows, .n_col = w->cols, .format = w->format};
    }
    if (on_host)
        return SR_OK;
    st.at = sr_calloc(p->n_weight, sizeof *st.at);
    if (!st.at)
        return sr_raise(err, SR_NOMEM, "host: memory for places of %u weights", p->n_weight);
    sr_status s = helpers(&st.pool, err);
    s           = s ? s : send_all(&st, err);
    sr_pool_close(st.pool);
    for (uint32_t i = 0; i < 2 && s; i++) /* copies under way read what is freed next */
        if (st.free_at[i].word) {
            sr_err ignored = {0};
            m->be->wait(m->dev, st.free_at[i], UINT64_MAX, &ignored);
        }
    for (uint32_t i = 0; i < 2; i++)
        m->be->free(m->dev, st.half[i]);
    m->be->free(m->dev, st.raw);
    sr_free(st.at);
    return s;
}
