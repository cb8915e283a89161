/* synth_open.c - a made-up model in memory: no file, no disk.  Tensors are filled by all cores at once. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "format/synth.h"

enum { PIECE = 4 << 20, MAX_THREADS = 64 };
#define PREFIX "synth:"

typedef struct {
    const sr_synth *p;
    uint8_t        *to;      /* of the data */
    uint64_t       *at;      /* by tensor */
    uint64_t       *pieces;  /* by tensor: of this one and those before */
    uint64_t        next;    /* piece */
} job;

static void *fill(void *arg)
{
    job     *j = arg;
    uint64_t k;
    while ((k = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < j->pieces[j->p->n_t - 1]) {
        size_t i = 0;
        while (k >= j->pieces[i])
            i++;
        const sr_synthtensor *t     = &j->p->t[i];
        uint64_t              most  = SR_MAX(PIECE / sr_synth_chunk_bytes(t), 1u), first = (k - (i ? j->pieces[i - 1] : 0)) * most;
        uint64_t              n     = SR_MIN(most, sr_synth_chunks(t) - first);
        sr_synth_fill(j->p, i, first, n, j->to + j->at[i] + first * sr_synth_chunk_bytes(t));
    }
    return NULL;
}

static void fill_all(job *j)
{
    pthread_t thread[MAX_THREADS];
    uint32_t  n = SR_MIN(sr_cpu_cores(), (uint32_t)MAX_THREADS), started = 0;
    while (started + 1 < n && pthread_create(&thread[started], NULL, fill, j) == 0)
        started++;
    fill(j);
    while (started)
        pthread_join(thread[--started], NULL);
}

/* Places of the tensors behind the header, as the reader will find them, and how many pieces they are made in. */
static uint64_t lay_out(job *j)
{
    uint64_t end = 0, pieces = 0;
    for (size_t i = 0; i < j->p->n_t; i++) {
        const sr_synthtensor *t = &j->p->t[i];
        uint64_t              most = SR_MAX(PIECE / sr_synth_chunk_bytes(t), 1u);
        end          = sr_align_up((size_t)end, 32);
        j->at[i]     = end;
        j->pieces[i] = pieces += (sr_synth_chunks(t) + most - 1) / most;
        end += t->bytes;
    }
    return end;
}

static sr_status header(const sr_synth *p, sr_buf *out, sr_err *err)
{
    sr_gguf_writer *w = NULL;
    if (sr_gguf_create(NULL, &w, err))
        return err->status;
    sr_synth_put_keys(p, w);
    sr_status s = sr_synth_vocab(&p->shape, w, err);
    sr_synth_put_tensors(p, 0, p->n_t, w);
    s = s ? s : sr_gguf_header(w, out, err);
    sr_gguf_abandon(w);
    return s;
}

static sr_status make(const sr_synth *p, bool data, sr_gguf **out, sr_err *err)
{
    sr_buf    head = {0};
    job       j    = {.p = p, .at = sr_calloc(p->n_t, sizeof *j.at), .pieces = sr_calloc(p->n_t, sizeof *j.pieces)};
    sr_status s    = j.at && j.pieces ? header(p, &head, err) : sr_raise(err, SR_NOMEM, "host: memory for %zu tensors", p->n_t);
    if (s == SR_OK) {
        size_t bytes = head.n + (size_t)lay_out(&j);
        void  *map   = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (data ? 0 : MAP_NORESERVE), -1, 0);
        if (map == MAP_FAILED)
            s = sr_raise(err, SR_NOMEM, "host: %zu bytes for a made-up model: %s", bytes, strerror(errno));
        else {
            memcpy(map, head.p, head.n);
            j.to = (uint8_t *)map + head.n;
            if (data)
                fill_all(&j);
            s = sr_gguf_open_own(map, bytes, out, err);
        }
    }
    sr_buf_end(&head);
    sr_free(j.at);
    sr_free(j.pieces);
    return s;
}

bool sr_synth_named(const char *path) { return strncmp(path, PREFIX, sizeof PREFIX - 1) == 0; }

sr_status sr_synth_parse(const char *path, sr_synth **out, sr_err *err)
{
    char        shape[32];
    const char *name  = path + sizeof PREFIX - 1, *colon = strchr(name, ':');
    size_t      n     = colon ? (size_t)(colon - name) : strlen(name);
    snprintf(shape, sizeof shape, "%.*s", (int)SR_MIN(n, sizeof shape - 1), name);
    const sr_synthshape *s = sr_synth_shape(shape);
    const sr_mix        *m = colon ? sr_mix_find(colon + 1) : NULL;
    if (!s || !m) {
        char text[80];
        sr_escape(text, sizeof text, path, strlen(path));
        return sr_raise(err, SR_INVALID, "%s: unknown %s; a made-up model is synth:SHAPE:FORMAT, as synth:8b:q4_k_m (strata-synth --list names all)",
                        text, s ? "format" : "shape");
    }
    return sr_synth_plan(s, m, 1, false, out, err);
}

sr_status sr_synth_open(const char *path, bool data, sr_gguf **out, sr_err *err)
{
    sr_synth *p = NULL;
    if (!sr_synth_named(path))
        return sr_gguf_open(path, out, err);
    sr_status s = sr_synth_parse(path, &p, err);
    s           = s ? s : make(p, data, out, err);
    sr_synth_free(p);
    return s;
}
