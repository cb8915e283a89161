/* offload_code.c - weights outside the device that lie in RAM coded, and come over the bus so (ops/expcode).
 *
 *     load    file -> (all cores) text of each weight, page-locked     a step    text -> (bus) slot -> (device) tiles, or rows
 *
 * Only what the device alone computes is coded: a CPU would decode slower than a bus brings.  A weight whose code is no shorter, or whose
 * format has none, lies beside the others as it is in the file. */
#include <pthread.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "ops/expcode/expcode.h"

enum { ALIGN = 256, MOST_THREADS = 32, SAMPLE = 1 << 16 };

/* Some numbers of each weight tell what its code will take. */
static bool worth(const sr_model *m, uint32_t w, uint32_t step, sr_expmake *make, sr_err *err)
{
    const sr_weight *x   = &m->code->prog.weight[w];
    const sr_tensor *t   = m->code->tensor[w];
    size_t           row = sr_row_bytes(x->format, x->cols), n = (size_t)x->rows * x->cols;
    if (!t || x->rows < 2 || x->role == SR_W_TOKEN_EMBD || !sr_expcode_knows(x->format) || n > UINT32_MAX)
        return false;
    if (m->be->tile && !sr_tile_layout(m, x->format, x->rows, x->cols, t->data, row))
        return false;
    return sr_expcode_plan(x->format, t->data, n, step ? step : (uint32_t)(n / SAMPLE + 1), make, err) == SR_OK && make->bytes < t->bytes;
}

sr_status sr_code_units(const sr_model *m, sr_units *s, sr_err *err)
{
    const sr_program *p = &m->code->prog;
    if (m->cfg.transit != SR_TRANSIT_CODED)
        return SR_OK;
    if (!m->be->decode)
        return sr_raise(err, SR_UNSUPPORTED, "%s decodes no weights: they cannot come coded", m->be->name);
    if (m->cfg.offload == SR_OFFLOAD_CPU)
        return sr_raise(err, SR_INVALID, "weights that the CPU computes cannot lie in RAM coded");
    for (uint32_t w = 0; w < p->n_weight; w++) {
        sr_unit   *u = &s->u[sr_units_of(m->code, p->weight[w].unit)];
        sr_expmake make;
        if (!worth(m, w, 0, &make, err)) {
            if (err->status)
                return err->status;
            continue;
        }
        u->outside = (u->outside ? u->outside : u->bytes) - (m->code->tensor[w]->bytes - make.bytes);
        u->hidden  = 0; /* not shared with the CPU */
    }
    return SR_OK;
}

/* ---- at load --------------------------------------------------------------------------------------------------------------- */

typedef struct { uint32_t w; bool coded; size_t at; sr_expmake make; sr_err err; } job;
typedef struct { sr_model *m; job *job; uint32_t n, next; bool writing; } work;

static void *do_jobs(void *arg)
{
    work    *k = arg;
    uint32_t i;
    while ((i = __atomic_fetch_add(&k->next, 1, __ATOMIC_RELAXED)) < k->n) {
        job             *j = &k->job[i];
        const sr_tensor *t = k->m->code->tensor[j->w];
        if (!k->writing) {
            j->coded = worth(k->m, j->w, 1, &j->make, &j->err);
            continue;
        }
        char *to                = (char *)k->m->off->copy + j->at;
        k->m->off->copied[j->w] = to;
        if (j->coded)
            k->m->off->coded[j->w] = sr_expcode_write(&j->make, t->data, t->bytes / 2, to);
        else
            memcpy(to, t->data, t->bytes);
    }
    return NULL;
}

static void run_jobs(work *k, bool writing)
{
    pthread_t thread[MOST_THREADS];
    uint32_t  started = 0;
    k->next    = 0;
    k->writing = writing;
    while (started + 1 < SR_MIN(SR_MIN(sr_cpu_cores(), (uint32_t)MOST_THREADS), k->n) && pthread_create(&thread[started], NULL, do_jobs, k) == 0)
        started++;
    do_jobs(k);
    while (started)
        pthread_join(thread[--started], NULL);
}

static sr_status place_jobs(work *k, sr_err *err)
{
    size_t all = 0;
    for (uint32_t i = 0; i < k->n; i++) {
        job *j = &k->job[i];
        if (j->err.status)
            return sr_raise(err, j->err.status, "%s", j->err.msg);
        j->at = all;
        all += sr_align_up(j->coded ? j->make.bytes : k->m->code->tensor[j->w]->bytes, ALIGN);
    }
    return k->m->be->alloc(k->m->dev, SR_MEM_PINNED, all, "weights outside the device, coded", &k->m->off->copy, err);
}

sr_status sr_code_weights(sr_model *m, const uint32_t *w, uint32_t n, sr_err *err)
{
    sr_offload *o = m->off;
    work        k = {.m = m, .n = n, .job = sr_calloc(n + 1u, sizeof(job))};
    o->copied     = sr_calloc(m->code->prog.n_weight, sizeof *o->copied);
    o->coded      = sr_calloc(m->code->prog.n_weight, sizeof *o->coded);
    if (!k.job || !o->copied || !o->coded) {
        sr_free(k.job);
        return sr_raise(err, SR_NOMEM, "host: memory for %u codes", n);
    }
    for (uint32_t i = 0; i < n; i++)
        k.job[i].w = w[i];
    if (m->cfg.progress)
        m->cfg.progress(m->cfg.arg, 0.5, "weights in RAM, coded");
    run_jobs(&k, false);
    sr_status s = n ? place_jobs(&k, err) : SR_OK;
    if (s == SR_OK)
        run_jobs(&k, true);
    for (uint32_t i = 0; i < n && s == SR_OK; i++) {
        m->info.bytes_coded += o->coded[w[i]];
        m->info.bytes_before += o->coded[w[i]] ? m->code->tensor[w[i]]->bytes : 0;
    }
    sr_free(k.job);
    return s;
}
