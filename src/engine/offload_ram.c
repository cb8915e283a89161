/* offload_ram.c - weights outside the device that lie in RAM as something else than in the file: chosen by options, made at load.
 *
 *     coded       BF16 and F16 without loss (ops/expcode): (bus) slot -> (device decodes) tiles, or rows
 *     smaller     blocks of another format, encoded anew: with loss.  The programs' weights get that format, so that nobody else knows
 *     tiles       as the device's products read them, for those that read them where they are (zero-copy)
 *
 * Only what the device alone computes is coded: a CPU would decode slower than a bus brings.  A weight that would not become smaller
 * stays as it is; all lie in one page-locked piece. */
#include <pthread.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "ops/expcode/expcode.h"

enum { ALIGN = 256, MOST_THREADS = 32, SAMPLE = 1 << 16, GROUP = 64, PIECE = 1 << 20 }; /* rows packed at once; numbers of a job */

/* A matrix that lies in slots when it lies outside; the embedding's rows are read one by one. */
static bool comes_in(const sr_model *m, uint32_t w)
{
    const sr_weight *x = &m->code->prog.weight[w];
    return m->code->tensor[w] && x->rows > 1 && x->role != SR_W_TOKEN_EMBD;
}

uint16_t sr_ram_format(const sr_model *m, uint32_t w)
{
    const sr_weight *x = &m->code->prog.weight[w];
    const sr_tensor *t = m->code->tensor[w];
    uint16_t         f = t ? (uint16_t)t->dtype : x->format;
    return comes_in(m, w) ? (uint16_t)sr_units_smaller(f, m->cfg.ram_format, x->cols) : f;
}

size_t sr_ram_bytes(const sr_model *m, uint32_t w)
{
    const sr_weight *x = &m->code->prog.weight[w];
    return x->rows * sr_row_bytes(sr_ram_format(m, w), x->cols);
}

void sr_ram_apply(const sr_model *m, sr_compiled *code)
{
    sr_weight *x = (sr_weight *)(uintptr_t)code->prog.weight;
    for (uint32_t w = 0; w < code->prog.n_weight; w++)
        if (comes_in(m, w) && m->off->outside[x[w].unit] == 1)
            x[w].format = sr_ram_format(m, w);
}

/* Some numbers of a weight tell what its code will take. */
static bool worth_coding(const sr_model *m, uint32_t w, uint32_t step, sr_expmake *make, sr_err *err)
{
    const sr_weight *x   = &m->code->prog.weight[w];
    const sr_tensor *t   = m->code->tensor[w];
    size_t           row = sr_row_bytes(x->format, x->cols), n = (size_t)x->rows * x->cols;
    if (m->cfg.transit != SR_TRANSIT_CODED || !comes_in(m, w) || !sr_expcode_knows(x->format) || n > UINT32_MAX)
        return false;
    if (m->be->tile && !sr_tile_layout(m, x->format, x->rows, x->cols, t->data, row))
        return false;
    return sr_expcode_plan(x->format, t->data, n, step ? step : (uint32_t)(n / SAMPLE + 1), make, err) == SR_OK && make->bytes < t->bytes;
}

static sr_status check(const sr_model *m, sr_err *err)
{
    const sr_loadcfg *c     = &m->cfg;
    bool              coded = c->transit == SR_TRANSIT_CODED, zero = c->offload == SR_OFFLOAD_ZEROCOPY;
    if (coded && !m->be->decode)
        return sr_raise(err, SR_UNSUPPORTED, "%s decodes no weights: they cannot come coded", m->be->name);
    if (coded && (c->offload == SR_OFFLOAD_CPU || zero))
        return sr_raise(err, SR_INVALID, "weights that %s cannot lie in RAM coded", zero ? "the device reads in place" : "the CPU computes");
    if (coded && c->ram_format)
        return sr_raise(err, SR_INVALID, "weights cannot lie in RAM both coded and in %s", sr_dtype_name(c->ram_format));
    if (zero && c->bus > 0)
        return sr_raise(err, SR_INVALID, "a slower bus cannot be rehearsed where the device reads weights in place");
    return SR_OK;
}

static sr_status lies_as(void *arg, const sr_compiled *code, uint32_t w, sr_ramweight *r, sr_err *err)
{
    const sr_model *m = arg;
    sr_expmake      make;
    (void)code;
    r->coded = worth_coding(m, w, 0, &make, err);
    if (err->status || !comes_in(m, w))
        return err->status;
    r->format = sr_ram_format(m, w);
    r->bytes  = r->coded ? make.bytes : sr_ram_bytes(m, w);
    return SR_OK;
}

sr_status sr_ram_units(const sr_model *m, sr_units *s, sr_err *err)
{
    uint32_t changed;
    if (!sr_ram_changes(m))
        return SR_OK;
    if (check(m, err) || sr_units_ram(s, m->code, NULL, lies_as, (void *)(uintptr_t)m, &changed, err))
        return err->status;
    if (m->cfg.transit == SR_TRANSIT_CODED && !changed)
        return sr_raise(err, SR_INVALID, "no weight would be smaller coded: only weights of BF16 and F16 are");
    if (m->cfg.ram_format && !changed)
        return sr_raise(err, SR_INVALID, "no weight would be smaller in %s", sr_dtype_name(m->cfg.ram_format));
    return SR_OK;
}

/* ---- at load --------------------------------------------------------------------------------------------------------------- */

typedef struct { uint32_t w; bool coded; uint16_t format, layout; size_t at, bytes; sr_expmake make; sr_err err; } held;
typedef struct { uint32_t held, row, n_row; } job; /* a coded weight is one job */
typedef struct { sr_model *m; held *held; uint32_t n; job *job; uint32_t n_job, next; bool writing; sr_err err; pthread_mutex_t lock; } work;

static void look_at(work *k, held *h)
{
    const sr_model  *m = k->m;
    const sr_weight *x = &m->code->prog.weight[h->w];
    h->coded  = worth_coding(m, h->w, 1, &h->make, &h->err);
    h->format = h->coded ? x->format : sr_ram_format(m, h->w);
    h->bytes  = h->coded ? h->make.bytes : sr_ram_bytes(m, h->w);
    if (m->cfg.offload == SR_OFFLOAD_ZEROCOPY) /* what lies in the file tells as much as what will be made of it */
        h->layout = sr_tile_layout(m, h->format, x->rows, x->cols, m->code->tensor[h->w]->data, sr_row_bytes(h->format, x->cols));
}

/* Rows as they shall lie; `number` and `row` are a thread's own. */
static sr_status write_rows(work *k, const job *j, float *number, char *row, sr_err *err)
{
    const held      *h     = &k->held[j->held];
    const sr_tensor *t     = k->m->code->tensor[h->w];
    uint32_t         cols  = k->m->code->prog.weight[h->w].cols;
    size_t           from  = sr_row_bytes(t->dtype, cols), to = sr_row_bytes(h->format, cols);
    char            *out   = (char *)k->m->off->copy + h->at + j->row * to;
    const char      *src   = (const char *)t->data + j->row * from;
    for (uint32_t r = 0; r < j->n_row; r += GROUP) {
        const void *at[GROUP];
        uint32_t    n = SR_MIN((uint32_t)GROUP, j->n_row - r);
        for (uint32_t i = 0; i < n; i++, src += from) {
            at[i] = src;
            if (h->format == t->dtype)
                continue;
            sr_decode_row(t->dtype, src, number, cols);
            sr_encode_row(h->format, number, row + i * to, cols);
            at[i] = row + i * to;
        }
        uint16_t layout = 0;
        if (h->layout && (k->m->be->pack(h->format, n, cols, at, out, &layout) != n * to || layout != h->layout))
            return sr_raise(err, SR_INVALID, "%s: %u rows could not be packed like the rows before them", t->name, n);
        for (uint32_t i = 0; i < n && !h->layout; i++)
            memcpy(out + i * to, at[i], to);
        out += n * to;
    }
    return SR_OK;
}

static void do_writes(work *k)
{
    size_t widest = 1, bytes = 1;
    for (uint32_t i = 0; i < k->n; i++) {
        uint32_t cols = k->m->code->prog.weight[k->held[i].w].cols;
        widest        = SR_MAX(widest, (size_t)cols);
        bytes         = SR_MAX(bytes, sr_row_bytes(k->held[i].format, cols));
    }
    sr_err   err    = {0};
    float   *number = sr_malloc(widest * sizeof *number);
    char    *row    = sr_malloc(GROUP * bytes);
    uint32_t i;
    if (!number || !row)
        sr_raise(&err, SR_NOMEM, "host: %zu bytes for rows of weights", widest * sizeof *number + GROUP * bytes);
    while (!err.status && (i = __atomic_fetch_add(&k->next, 1, __ATOMIC_RELAXED)) < k->n_job) {
        held *h = &k->held[k->job[i].held];
        if (!h->coded)
            (void)!write_rows(k, &k->job[i], number, row, &err);
        else
            k->m->off->coded[h->w] = sr_expcode_write(&h->make, k->m->code->tensor[h->w]->data, k->m->code->tensor[h->w]->bytes / 2, (char *)k->m->off->copy + h->at);
    }
    pthread_mutex_lock(&k->lock);
    if (err.status)
        sr_raise(&k->err, err.status, "%s", err.msg);
    pthread_mutex_unlock(&k->lock);
    sr_free(number);
    sr_free(row);
}

static void *do_jobs(void *arg)
{
    work    *k = arg;
    uint32_t i;
    if (k->writing)
        do_writes(k);
    while (!k->writing && (i = __atomic_fetch_add(&k->next, 1, __ATOMIC_RELAXED)) < k->n)
        look_at(k, &k->held[i]);
    return NULL;
}

static void run_jobs(work *k, bool writing)
{
    pthread_t thread[MOST_THREADS];
    uint32_t  started = 0;
    k->next    = 0;
    k->writing = writing;
    while (started + 1 < SR_MIN(sr_cpu_cores(), (uint32_t)MOST_THREADS) && pthread_create(&thread[started], NULL, do_jobs, k) == 0)
        started++;
    do_jobs(k);
    while (started)
        pthread_join(thread[--started], NULL);
}

static uint32_t rows_of_job(const work *k, const held *h)
{
    const sr_weight *x = &k->m->code->prog.weight[h->w];
    return h->coded ? x->rows : (uint32_t)SR_MAX((size_t)PIECE / x->cols / GROUP * GROUP, (size_t)GROUP);
}

static sr_status lay_out(work *k, sr_err *err)
{
    size_t   all = 0;
    uint32_t n   = 0;
    for (uint32_t i = 0; i < k->n; i++) {
        held *h = &k->held[i];
        if (h->err.status)
            return sr_raise(err, h->err.status, "%s", h->err.msg);
        h->at = all;
        all += sr_align_up(h->bytes, ALIGN);
        n += k->m->code->prog.weight[h->w].rows / rows_of_job(k, h) + 1;
    }
    k->job = sr_calloc(n + 1u, sizeof *k->job);
    if (!k->job)
        return sr_raise(err, SR_NOMEM, "host: memory for %u pieces of weights", n);
    for (uint32_t i = 0; i < k->n; i++) {
        uint32_t rows = k->m->code->prog.weight[k->held[i].w].rows, step = rows_of_job(k, &k->held[i]);
        for (uint32_t r = 0; r < rows; r += step)
            k->job[k->n_job++] = (job){i, r, SR_MIN(step, rows - r)};
    }
    return !all ? SR_OK : k->m->be->alloc(k->m->dev, SR_MEM_PINNED, all, "weights outside the device", &k->m->off->copy, err);
}

static void publish(work *k)
{
    sr_modelinfo *info = &k->m->info;
    sr_offload   *o    = k->m->off;
    for (uint32_t i = 0; i < k->n; i++) {
        const held *h   = &k->held[i];
        o->copied[h->w] = (char *)o->copy + h->at;
        o->layout[h->w] = h->layout;
        size_t now = h->coded ? o->coded[h->w] : h->bytes, before = k->m->code->tensor[h->w]->bytes;
        if (now != before) {
            info->bytes_ram += now;
            info->bytes_before += before;
        }
    }
    info->ram_coded  = info->bytes_ram && k->m->cfg.transit == SR_TRANSIT_CODED;
    info->ram_format = info->bytes_ram ? k->m->cfg.ram_format : 0;
}

sr_status sr_ram_hold(sr_model *m, const uint32_t *w, uint32_t n, sr_err *err)
{
    sr_offload *o = m->off;
    work        k = {.m = m, .n = n, .held = sr_calloc(n + 1u, sizeof(held)), .lock = PTHREAD_MUTEX_INITIALIZER};
    o->copied     = sr_calloc(m->code->prog.n_weight, sizeof *o->copied);
    o->coded      = sr_calloc(m->code->prog.n_weight, sizeof *o->coded);
    o->layout     = sr_calloc(m->code->prog.n_weight, sizeof *o->layout);
    if (!k.held || !o->copied || !o->coded || !o->layout) {
        sr_free(k.held);
        return sr_raise(err, SR_NOMEM, "host: memory for %u weights in RAM", n);
    }
    for (uint32_t i = 0; i < n; i++)
        k.held[i].w = w[i];
    if (m->cfg.progress)
        m->cfg.progress(m->cfg.arg, 0.5, "weights in RAM");
    run_jobs(&k, false);
    sr_status s = lay_out(&k, err);
    if (s == SR_OK) {
        run_jobs(&k, true);
        s = k.err.status ? sr_raise(err, k.err.status, "%s", k.err.msg) : SR_OK;
    }
    if (s == SR_OK)
        publish(&k);
    sr_free(k.held);
    sr_free(k.job);
    return s;
}
