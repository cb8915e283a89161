#include "format/convert.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "format/gguf_internal.h"
#include "format/gguf_write.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    SLICE       = 1 << 12, /* weights a thread takes at a time: whole blocks of any format, floats that fit a stack */
    PIECE       = 1 << 18, /* weights of a piece per thread: 2.5 ms of BF16 to F32, many times a thread's start */
    MOST_BYTES  = 4,       /* per weight, of every format */
    THREADS_MAX = 256,
    QUANT_VERSION = 2 /* of the block formats, by ggml's count */
};

typedef struct {
    sr_gguf              *g;
    sr_gguf_writer       *w;
    const sr_convertcfg  *cfg;
    sr_convertstats      *stats;
    uint32_t             *to;       /* [tensors] */
    sr_gguf_bytes         file;     /* the source file that is being read */
    uint32_t              file_no;  /* its number; UINT32_MAX: none is open */
    uint32_t              threads;
    size_t                piece;    /* weights */
    uint8_t              *in, *out; /* [piece * MOST_BYTES] */
    double               *sums;     /* [slices of a piece][2]: squared weights, squared errors */
    uint64_t              done, total;
} job;

/* ---- the plan ------------------------------------------------------------------------------------------------- */

static uint32_t number(const sr_gguf *g, const char *arch, const char *tail)
{
    char     key[128];
    uint32_t v       = 0;
    sr_err   ignored = {0};
    snprintf(key, sizeof key, "%s.%s", arch, tail);
    return sr_gguf_u32(g, key, &v, &ignored) == SR_OK ? v : 0; /* an array, one number per layer, counts as unknown */
}

/* What the mixture asks of a model.  Files that say nothing of it (adapters, projectors) are converted all the same. */
static sr_mixmodel describe(const sr_gguf *g, char arch[64])
{
    sr_gguf_str name    = {"", 0};
    sr_err      ignored = {0};
    uint32_t    layers  = 0;
    unsigned    i;
    if (sr_gguf_string(g, "general.architecture", &name, &ignored))
        name.n = 0;
    snprintf(arch, 64, "%.*s", (int)SR_MIN(name.n, (size_t)63), name.p);
    for (size_t k = 0; k < sr_gguf_n_tensors(g); k++)
        if (sscanf(sr_gguf_tensor_at(g, k)->name, "blk.%9u.", &i) == 1)
            layers = SR_MAX(layers, i + 1);
    uint32_t told = number(g, arch, "block_count");
    return (sr_mixmodel){.arch = arch, .n_layer = told ? told : layers, .tied = !sr_gguf_tensor(g, "output.weight"),
                         .n_head    = number(g, arch, "attention.head_count"),
                         .n_head_kv = number(g, arch, "attention.head_count_kv")};
}

static bool is_quantised(uint32_t dtype) { return sr_dtype_info(dtype)->block > 1; }

static uint32_t target(job *j, const sr_mixmodel *m, const sr_tensor *t)
{
    if (t->dtype == SR_I32)
        return t->dtype;
    sr_dtype to = sr_mix_dtype(j->cfg->mix, m, t->name, t->n_dims, t->ne);
    if (to == SR_DTYPE_NONE)
        return t->dtype == SR_F16 || t->dtype == SR_BF16 ? SR_F32 : t->dtype;
    j->stats->fallen_back += t->ne[0] % sr_dtype_info(j->cfg->mix->base)->block != 0;
    j->stats->requantised += is_quantised(t->dtype) && to != t->dtype;
    return to;
}

static void put_keys(const job *j)
{
    static const char *const split[] = {"split.no", "split.count", "split.tensors.count"};
    const struct { const char *key; uint32_t v; } ours[] = {
        {"general.file_type", j->cfg->mix->ftype}, {"general.quantization_version", QUANT_VERSION}};
    for (size_t i = 0; i < sr_gguf_n_kv(j->g); i++) {
        const sr_gguf_kv *kv   = sr_gguf_kv_at(j->g, i);
        bool              skip = false, put = false;
        for (size_t k = 0; k < SR_COUNT(split); k++)
            skip = skip || strcmp(kv->key, split[k]) == 0;
        for (size_t k = 0; k < SR_COUNT(ours) && !put; k++)
            if ((put = strcmp(kv->key, ours[k].key) == 0))
                sr_gguf_put_u32(j->w, ours[k].key, ours[k].v);
        if (!skip && !put)
            sr_gguf_put_kv(j->w, kv);
    }
    for (size_t k = 0; k < SR_COUNT(ours); k++)
        if (!sr_gguf_find(j->g, ours[k].key))
            sr_gguf_put_u32(j->w, ours[k].key, ours[k].v);
}

static sr_status plan(job *j, sr_err *err)
{
    char        arch[64];
    sr_mixmodel m = describe(j->g, arch);
    size_t      n = sr_gguf_n_tensors(j->g);
    if (n == 0)
        return sr_raise(err, SR_INVALID, "no tensors: nothing to convert");
    j->to = sr_calloc(n, sizeof *j->to);
    if (!j->to)
        return sr_raise(err, SR_NOMEM, "host memory for a plan of %zu tensors", n);
    put_keys(j);
    for (size_t i = 0; i < n; i++) {
        const sr_tensor *t = sr_gguf_tensor_at(j->g, i);
        j->to[i]           = target(j, &m, t);
        j->total += t->bytes;
        j->stats->weights += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        sr_gguf_put_tensor(j->w, t->name, j->to[i], t->n_dims, t->ne);
    }
    j->stats->tensors = (uint32_t)n;
    for (uint32_t f = 0; f < sr_gguf_files(j->g); f++)
        j->stats->bytes_in += sr_gguf_file_bytes(j->g, f);
    return SR_OK;
}

/* ---- a piece, by all threads ---------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *in;
    uint8_t       *out;
    double        *sums;
    size_t         n;        /* weights */
    size_t         next;     /* first weight nobody has taken */
    size_t         bad;      /* first weight that `to` cannot hold; n: all can be held */
    uint32_t       from, to;
} piece;

/* The first weight that is lost: made infinite by a format of smaller range, or not finite in one that has no code
 * for it.  A block's scale overflows for the sake of its largest weight: that one is named. */
static size_t first_lost(const piece *p, const float *x, const float *y, size_t n)
{
    size_t block = sr_dtype_info(p->to)->block;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) ? is_quantised(p->to) : !isfinite(y[i])) {
            for (size_t k = i - i % block; isfinite(x[i]) && k < i / block * block + block; k++)
                i = fabsf(x[k]) > fabsf(x[i]) || !isfinite(x[k]) ? k : i;
            return i;
        }
    }
    return n;
}

static void convert_slice(piece *p, size_t at, size_t n)
{
    float    x[SLICE], y[SLICE];
    uint8_t *out   = p->out + sr_row_bytes(p->to, at);
    double   power = 0, error = 0;
    sr_decode_row(p->from, p->in + sr_row_bytes(p->from, at), x, n);
    sr_encode_row(p->to, x, out, n);
    sr_decode_row(p->to, out, y, n);
    for (size_t i = 0; i < n; i++) {
        double d = (double)y[i] - (double)x[i];
        power += (double)x[i] * (double)x[i];
        error += d * d;
    }
    p->sums[at / SLICE * 2]     = power;
    p->sums[at / SLICE * 2 + 1] = error;
    if (isfinite(power) && isfinite(error)) /* so is everything summed */
        return;
    size_t lost = first_lost(p, x, y, n), before = __atomic_load_n(&p->bad, __ATOMIC_RELAXED);
    while (lost < n && at + lost < before &&
           !__atomic_compare_exchange_n(&p->bad, &before, at + lost, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static void *take_slices(void *arg)
{
    piece *p = arg;
    for (size_t at; (at = __atomic_fetch_add(&p->next, SLICE, __ATOMIC_RELAXED)) < p->n;)
        convert_slice(p, at, SR_MIN((size_t)SLICE, p->n - at));
    return NULL;
}

/* Threads live for a piece: no state between pieces, and one that cannot be started is only missed. */
static void convert_piece(const job *j, piece *p)
{
    pthread_t other[THREADS_MAX];
    uint32_t  n = 0, useful = (uint32_t)SR_MIN((p->n + SLICE - 1) / SLICE, (size_t)j->threads);
    while (n + 1 < useful && pthread_create(&other[n], NULL, take_slices, p) == 0)
        n++;
    take_slices(p);
    while (n)
        pthread_join(other[--n], NULL);
}

static sr_status refuse_lost(const piece *p, const sr_tensor *t, uint64_t first, sr_err *err)
{
    char     name[280];
    uint64_t i     = first + p->bad;
    uint32_t block = sr_dtype_info(p->from)->block;
    size_t   in    = p->bad % block;
    float    x[256]; /* the largest block */
    sr_decode_row(p->from, p->in + sr_row_bytes(p->from, p->bad - in), x, block);
    return sr_raise(err, SR_INVALID, "tensor \"%s\": row %" PRIu64 ", column %" PRIu64 " is %g, which %s cannot hold",
                    sr_escape(name, sizeof name, t->name, strlen(t->name)), i / t->ne[0], i % t->ne[0], (double)x[in],
                    sr_dtype_name(p->to));
}

/* ---- tensors, one after the other ------------------------------------------------------------------------------ */

static sr_status read_source(job *j, const sr_tensor *t, uint64_t at, size_t n, sr_err *err)
{
    if (j->file_no != t->file) {
        sr_gguf_bytes_close(&j->file);
        j->file_no = UINT32_MAX;
        if (sr_gguf_bytes_open(&j->file, sr_gguf_path(j->g, t->file), err) || sr_gguf_unchanged(j->g, err))
            return err->status;
        j->file_no = t->file;
    }
    return sr_gguf_bytes_read(&j->file, j->in, n, t->offset + at, err);
}

static sr_status report(job *j, const sr_tensor *t, uint32_t to, uint64_t bytes, const double *error)
{
    j->done += bytes;
    const sr_convertstep step = {.tensor = t, .to = to, .done = j->done, .total = j->total, .complete = error != NULL,
                                 .error = error ? *error : 0};
    return j->cfg->progress && !j->cfg->progress(j->cfg->arg, &step) ? SR_AGAIN : SR_OK;
}

static sr_status copy_tensor(job *j, const sr_tensor *t, sr_err *err)
{
    const double exact = 0;
    sr_status    s     = SR_OK;
    for (uint64_t at = 0, n; !s && at < t->bytes; at += n) {
        n = SR_MIN(t->bytes - at, (uint64_t)j->piece * MOST_BYTES);
        if ((s = read_source(j, t, at, (size_t)n, err)) || (s = sr_gguf_write(j->w, j->in, (size_t)n, err)))
            break;
        s = report(j, t, t->dtype, n, at + n == t->bytes ? &exact : NULL);
    }
    return s;
}

/* A tensor is one run of blocks, whatever its rows are: ne[0] is whole blocks of either format. */
static sr_status convert_tensor(job *j, const sr_tensor *t, uint32_t to, sr_err *err)
{
    const uint64_t total = t->bytes / sr_dtype_info(t->dtype)->bytes * sr_dtype_info(t->dtype)->block;
    double         power = 0, error = 0;
    sr_status      s     = SR_OK;
    for (uint64_t at = 0; !s && at < total;) {
        piece p = {.in = j->in, .out = j->out, .sums = j->sums, .from = t->dtype, .to = to};
        p.n = p.bad  = (size_t)SR_MIN(total - at, (uint64_t)j->piece);
        size_t bytes = sr_row_bytes(t->dtype, p.n);
        if ((s = read_source(j, t, sr_row_bytes(t->dtype, (size_t)at), bytes, err)))
            break;
        convert_piece(j, &p);
        if (p.bad < p.n)
            return refuse_lost(&p, t, at, err);
        for (size_t i = 0; i < (p.n + SLICE - 1) / SLICE; i++) {
            power += j->sums[2 * i];
            error += j->sums[2 * i + 1];
        }
        if ((s = sr_gguf_write(j->w, j->out, sr_row_bytes(to, p.n), err)))
            break;
        at += p.n;
        double relative = power > 0 ? sqrt(error / power) : 0;
        s               = report(j, t, to, bytes, at == total ? &relative : NULL);
    }
    return s;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static bool same_file(const char *x, const char *y)
{
    struct stat a, b;
    return stat(x, &a) == 0 && stat(y, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The writer renames "to.part" to `to`: neither may be a file that is still to be read, by whatever name. */
static sr_status refuse_source(const sr_gguf *g, const char *to, sr_err *err)
{
    sr_buf    part = {0};
    sr_status s    = SR_OK;
    if (!sr_buf_fmt(&part, "%s.part", to))
        return sr_raise(err, SR_NOMEM, "host memory for a path");
    const char *const names[] = {to, part.p};
    for (size_t i = 0; i < SR_COUNT(names) && !s; i++) {
        for (uint32_t f = 0; f < sr_gguf_files(g) && !s; f++) {
            char show[168];
            if (!same_file(names[i], sr_gguf_path(g, f)))
                continue;
            sr_gguf_show_path(show, sizeof show, names[i]);
            s = sr_raise(err, SR_INVALID, "%s: is the file to be converted; write to another name", show);
        }
    }
    sr_buf_end(&part);
    return s;
}

static sr_status prepare(job *j, const char *from, const char *to, sr_err *err)
{
    sr_status s;
    j->threads = j->cfg->threads ? j->cfg->threads : sr_cpu_cores();
    j->threads = SR_MIN(j->threads, (uint32_t)THREADS_MAX);
    j->piece   = (size_t)PIECE * j->threads;
    if ((s = sr_gguf_open(from, &j->g, err)) || (s = refuse_source(j->g, to, err)) ||
        (s = sr_gguf_create(to, &j->w, err)) || (s = plan(j, err)))
        return s;
    j->in   = sr_malloc(j->piece * MOST_BYTES);
    j->out  = sr_malloc(j->piece * MOST_BYTES);
    j->sums = sr_calloc(j->piece / SLICE * 2, sizeof *j->sums);
    if (!j->in || !j->out || !j->sums)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes to convert with %u threads", j->piece * MOST_BYTES * 2,
                        j->threads);
    return SR_OK;
}

sr_status sr_convert(const char *from, const char *to, const sr_convertcfg *cfg, sr_convertstats *stats, sr_err *err)
{
    sr_convertstats unwanted;
    job             j = {.cfg = cfg, .stats = stats ? stats : &unwanted, .file_no = UINT32_MAX, .file.fd = -1};
    *j.stats    = (sr_convertstats){0};
    sr_status s = prepare(&j, from, to, err);
    for (size_t i = 0; !s && i < sr_gguf_n_tensors(j.g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(j.g, i);
        s                  = j.to[i] == t->dtype ? copy_tensor(&j, t, err) : convert_tensor(&j, t, j.to[i], err);
    }
    if (!s)
        s = sr_gguf_unchanged(j.g, err); /* else the result mixes two files */
    if (!s) {
        j.stats->bytes_out = sr_gguf_written(j.w);
        s                  = sr_gguf_finish(j.w, err);
    } else {
        sr_gguf_abandon(j.w);
    }
    sr_gguf_bytes_close(&j.file);
    sr_gguf_close(j.g);
    sr_free(j.to);
    sr_free(j.in);
    sr_free(j.out);
    sr_free(j.sums);
    return s;
}
