/* offload_hold.c - where weights outside the device are: page-locked memory, the reader of those on disk, and the pace of a rehearsed bus. */
#include "engine/offload.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"

enum { COPIERS = 32, COPY_PIECE = 16 << 20, ALIGN = 256, PAGE = 4096 };

/* ---- memory of the host --------------------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)(*(const sr_tensor *const *)a)->data, y = (uintptr_t)(*(const sr_tensor *const *)b)->data;
    return (x > y) - (x < y);
}

/* The embedding's rows have a place of their own; a tied head counts by itself. */
bool sr_hold_has(const sr_model *m, uint32_t w)
{
    const sr_weight *x = &m->code->prog.weight[w];
    return sr_is_outside(m, w) && x->role != SR_W_TOKEN_EMBD && m->off->outside[x->unit] == 1;
}

/* The pages of the mapping that hold what lies outside, as few ranges as there are gaps. */
static sr_status pin_mapping(sr_model *m, const sr_tensor **t, uint32_t n, sr_err *err)
{
    sr_offload *o = m->off;
    qsort(t, n, sizeof *t, by_address);
    o->pin = sr_calloc(n, sizeof *o->pin);
    if (!o->pin)
        return sr_raise(err, SR_NOMEM, "host: memory for %u ranges", n);
    for (uint32_t i = 0; i < n; i++) {
        uintptr_t a = (uintptr_t)t[i]->data / PAGE * PAGE, b = sr_align_up((uintptr_t)t[i]->data + t[i]->bytes, PAGE);
        uint32_t  k = o->n_pin;
        if (k && a <= (uintptr_t)o->pin[k - 1].p + o->pin[k - 1].n)
            o->pin[k - 1].n = SR_MAX(o->pin[k - 1].n, b - (uintptr_t)o->pin[k - 1].p);
        else {
            o->pin[k].p = (char *)a;
            o->pin[k].n = b - a;
            o->n_pin++;
        }
    }
    for (uint32_t i = 0; i < o->n_pin; i++)
        if (m->be->pin(m->dev, o->pin[i].p, o->pin[i].n, true, err)) {
            sr_err ignored = {0};
            while (i--)
                (void)m->be->pin(m->dev, o->pin[i].p, o->pin[i].n, false, &ignored);
            o->n_pin = 0;
            return err->status;
        }
    return SR_OK;
}

typedef struct { const sr_span *span; uint32_t n; uint32_t next; } copies;

static void *copy_pieces(void *arg)
{
    copies  *c = arg;
    uint32_t i;
    while ((i = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->n)
        memcpy(c->span[i].dst, c->span[i].src, c->span[i].bytes);
    return NULL;
}

/* A core copies a few GB/s, all of them what the memory gives. */
static void copy_all(copies *c)
{
    pthread_t thread[COPIERS];
    uint32_t  started = 0;
    while (started + 1 < SR_MIN(sr_cpu_cores(), (uint32_t)COPIERS) && pthread_create(&thread[started], NULL, copy_pieces, c) == 0)
        started++;
    copy_pieces(c);
    while (started)
        pthread_join(thread[--started], NULL);
}

/* Page-locking the pages of a file hangs on some machines: they are copied. */
static sr_status copy_weights(sr_model *m, sr_err *err)
{
    sr_offload       *o = m->off;
    const sr_program *p = &m->code->prog;
    size_t            all = 0, at = 0, pieces = 0;
    copies            c = {0};
    for (uint32_t w = 0; w < p->n_weight; w++) {
        size_t bytes = sr_hold_has(m, w) ? m->code->tensor[w]->bytes : 0;
        all += sr_align_up(bytes, ALIGN);
        pieces += (bytes + COPY_PIECE - 1) / COPY_PIECE;
    }
    o->copied     = sr_calloc(p->n_weight, sizeof *o->copied);
    sr_span *span = sr_calloc(pieces + 1, sizeof *span);
    if (!o->copied || !span) {
        sr_free(span);
        return sr_raise(err, SR_NOMEM, "host: memory for %u addresses", p->n_weight);
    }
    if (m->be->alloc(m->dev, SR_MEM_PINNED, all, "weights outside the device", &o->copy, err)) {
        sr_free(span);
        return err->status;
    }
    for (uint32_t w = 0; w < p->n_weight; w++) {
        if (!sr_hold_has(m, w))
            continue;
        const sr_tensor *t = m->code->tensor[w];
        o->copied[w]       = (char *)o->copy + at;
        for (size_t k = 0; k < t->bytes; k += COPY_PIECE)
            span[c.n++] = (sr_span){.dst = (char *)o->copied[w] + k, .src = (const char *)t->data + k, .bytes = SR_MIN(t->bytes - k, (size_t)COPY_PIECE)};
        at += sr_align_up(t->bytes, ALIGN);
    }
    if (m->cfg.progress)
        m->cfg.progress(m->cfg.arg, 0.5, "weights in RAM");
    c.span = span;
    copy_all(&c);
    sr_free(span);
    return SR_OK;
}

/* Page-locked where they are if that is memory of ours, else copied into memory that is. */
sr_status sr_hold_weights(sr_model *m, sr_err *err)
{
    const sr_program *p = &m->code->prog;
    const sr_tensor **t = sr_calloc(p->n_weight + 1u, sizeof *t);
    uint32_t         *id = sr_calloc(p->n_weight + 1u, sizeof *id), n = 0;
    sr_err            refused = {0};
    sr_status         s = t && id ? SR_OK : sr_raise(err, SR_NOMEM, "host: memory for %u tensors", p->n_weight);
    for (uint32_t w = 0; w < p->n_weight && s == SR_OK; w++)
        if (sr_hold_has(m, w)) {
            id[n]  = w;
            t[n++] = m->code->tensor[w];
        }
    if (s == SR_OK && sr_ram_changes(m))
        s = sr_ram_hold(m, id, n, err);
    else if (s == SR_OK && n && (!sr_gguf_in_memory(m->gguf) || pin_mapping(m, t, n, &refused)))
        s = copy_weights(m, err);
    sr_free(t);
    sr_free(id);
    return s;
}

const void *sr_offload_source(const sr_model *m, uint32_t w)
{
    if (!sr_is_outside(m, w))
        return NULL;
    return m->off->copied && m->off->copied[w] ? m->off->copied[w] : m->code->tensor[w]->data;
}

/* Rows of the embedding are read one by one: they are not worth a slot, the device reads them over the bus. */
sr_status sr_hold_embedding(sr_model *m, sr_err *err)
{
    sr_offload      *o = m->off;
    const sr_tensor *t = m->code->tensor[0];
    if (!o->outside[0])
        return SR_OK;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, t->bytes, "embedding (host)", &o->embedding, err))
        return err->status;
    memcpy(o->embedding, t->data, t->bytes);
    return SR_OK;
}

/* ---- the disk -------------------------------------------------------------------------------------------------------------- */

static void list_reads(sr_model *m)
{
    sr_offload       *o = m->off;
    const sr_program *p = &m->code->prog;
    for (uint32_t u = 0; u < m->code->n_unit; u++) {
        if (o->outside[u] != 2)
            continue;
        sr_readunit *r = &o->runit[o->n_runit++];
        *r             = (sr_readunit){.first = o->n_rpart};
        for (uint32_t w = 0; w < p->n_weight; w++) {
            const sr_tensor *t = m->code->tensor[w];
            if (p->weight[w].unit != u || !m->code->tensor[w] || p->weight[w].rows < 2)
                continue;
            o->rpart[o->n_rpart++] = (sr_readpart){t->file, t->offset, t->bytes};
            r->n++;
        }
    }
}

sr_status sr_hold_reader(sr_model *m, sr_err *err)
{
    sr_offload *o = m->off;
    uint32_t    files = sr_gguf_files(m->gguf);
    const char *path[1024];
    o->runit = sr_calloc(m->code->n_unit + 1u, sizeof *o->runit);
    o->rpart = sr_calloc(m->code->prog.n_weight + 1u, sizeof *o->rpart);
    if (!o->runit || !o->rpart)
        return sr_raise(err, SR_NOMEM, "host: memory for %u units on disk", m->code->n_unit);
    list_reads(m);
    if (!o->n_runit)
        return SR_OK;
    if (files > SR_COUNT(path))
        return sr_raise(err, SR_UNSUPPORTED, "weights on disk in %u files; at most %zu", files, SR_COUNT(path));
    for (uint32_t i = 0; i < files; i++)
        path[i] = sr_gguf_path(m->gguf, i);
    SR_ASSERT(!sr_gguf_in_memory(m->gguf), "%u parts of a model that is in no file planned on a disk", o->n_runit);
    size_t room = sr_reader_room(o->runit, o->n_runit, o->rpart);
    if (m->be->alloc(m->dev, SR_MEM_PINNED, PAGE + SR_READ_BUFFERS * room, "staging of weights on disk", &o->staging, err))
        return err->status;
    memset(o->staging, 0, PAGE);
    sr_readcfg rc = {.path = path, .n_file = files, .unit = o->runit, .n_unit = o->n_runit, .part = o->rpart, .n_part = o->n_rpart, .word = o->staging, .how = m->cfg.disk_ring ? SR_READ_RING : SR_READ_THREADED};
    for (uint32_t i = 0; i < SR_READ_BUFFERS; i++)
        rc.staging[i] = (char *)o->staging + PAGE + i * room;
    if (sr_reader_open(&rc, &o->reader, err))
        return err->status;
    snprintf(m->info.disk, sizeof m->info.disk, "%s", sr_reader_how(o->reader));
    return SR_OK;
}

sr_status sr_hold_pace(sr_model *m, sr_err *err)
{
    sr_offload *o = m->off;
    if (m->cfg.bus <= 0)
        return SR_OK;
    if (m->be->alloc(m->dev, SR_MEM_PINNED, PAGE, "pace of the bus", &o->pace_word, err))
        return err->status;
    memset(o->pace_word, 0, PAGE);
    return sr_pace_open(m->cfg.bus, o->pace_word, &o->pace, err);
}
