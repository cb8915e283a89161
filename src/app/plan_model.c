#include "app/plan_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/opt.h"
#include "app/paths.h"
#include "base/mem.h"
#include "format/synth.h"
#include "ops/expcode/expcode.h"

enum { NAMES = 64, ALIGN = 32, PAGE = 16, SAMPLE = 1 << 16, CHUNK = 256 };

static sr_status unknown(const char *what, const char *word, const char *const *name, size_t n, sr_err *err)
{
    char        shown[80];
    const char *near = sr_nearest(word, name, n, sizeof *name);
    sr_escape(shown, sizeof shown, word, strlen(word));
    return near ? sr_raise(err, SR_INVALID, "unknown %s \"%s\"; did you mean %s?", what, shown, near)
                : sr_raise(err, SR_INVALID, "unknown %s \"%s\"; strata-synth --list names them", what, shown);
}

/* "70b:q4_k_m" */
static sr_status parse(const char *spec, const sr_synthshape **shape, const sr_mix **mix, sr_err *err)
{
    const char *name[NAMES], *colon = strchr(spec, ':');
    char        word[64];
    size_t      n = 0;
    if (!colon || (size_t)(colon - spec) >= sizeof word)
        return sr_raise(err, SR_INVALID, "a made-up model is synth:SHAPE:FORMAT, as synth:70b:Q4_K_M");
    snprintf(word, sizeof word, "%.*s", (int)(colon - spec), spec);
    for (const sr_synthshape *s; n < NAMES && (s = sr_synth_shape_at((unsigned)n)) != NULL; n++)
        name[n] = s->name;
    if (!(*shape = sr_synth_shape(word)))
        return unknown("shape", word, name, n, err);
    n = 0;
    for (const sr_mix *m; n < NAMES && (m = sr_mix_at((unsigned)n)) != NULL; n++)
        name[n] = m->name;
    return (*mix = sr_mix_find(colon + 1)) ? SR_OK : unknown("format", colon + 1, name, n, err);
}

static sr_status put(int fd, const void *p, size_t n, off_t at, sr_err *err)
{
    return pwrite(fd, p, n, at) == (ssize_t)n ? SR_OK : sr_raise(err, SR_IO, "a made-up model: %s", strerror(errno));
}

/* Header, then a hole as long as the tensors.  Rope factors alone are read when a program is compiled: the last tensor. */
static sr_status fill(int fd, const sr_synth *p, const sr_buf *head, sr_err *err)
{
    const sr_synthtensor *last = &p->t[p->n_t - 1];
    uint64_t              end = sr_align_up(head->n, ALIGN), at = end;
    for (size_t i = 0; i < p->n_t; i++) {
        at = end;
        end += sr_align_up(p->t[i].bytes, ALIGN);
    }
    if (ftruncate(fd, (off_t)end))
        return sr_raise(err, SR_IO, "a made-up model of %.1f GB: %s", (double)end * 1e-9, strerror(errno));
    if (put(fd, head->p, head->n, 0, err) || last->kind != SR_SYNTH_ROPE)
        return err->status;
    float *rope = sr_malloc(last->bytes);
    if (!rope)
        return sr_raise(err, SR_NOMEM, "host: %llu bytes of rope factors", (unsigned long long)last->bytes);
    sr_synth_fill(p, p->n_t - 1, 0, sr_synth_chunks(last), rope);
    sr_status s = put(fd, rope, last->bytes, (off_t)at, err);
    sr_free(rope);
    return s;
}

static sr_status make_up(const char *spec, sr_gguf **out, sr_err *err)
{
    const sr_synthshape *shape = NULL;
    const sr_mix        *mix  = NULL;
    sr_synth            *p    = NULL;
    sr_gguf_writer      *w    = NULL;
    sr_buf               head = {0};
    char                 path[64];
    int                  fd   = -1;
    if (parse(spec, &shape, &mix, err) || sr_synth_plan(shape, mix, 1, false, &p, err) || sr_gguf_create(NULL, &w, err))
        goto done;
    sr_synth_put_keys(p, w);
    sr_synth_no_vocab(&p->shape, w);
    sr_synth_put_tensors(p, 0, p->n_t, w);
    if (sr_gguf_header(w, &head, err))
        goto done;
    fd = memfd_create("strata-synth", MFD_CLOEXEC);
    if (fd < 0)
        sr_raise(err, SR_IO, "a made-up model: %s", strerror(errno));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && fill(fd, p, &head, err) == SR_OK && sr_gguf_open(path, out, err))
        sr_while(err, "making up %s", spec);
done:
    if (fd >= 0)
        close(fd); /* the mapping stays */
    sr_buf_end(&head);
    sr_gguf_abandon(w);
    sr_synth_free(p);
    return err->status;
}

sr_status sr_planmodel_open(const char *spec, sr_planmodel *m, sr_err *err)
{
    const sr_compilecfg cc = {.page_tokens = PAGE, .kv_format_k = SR_F16, .kv_format_v = SR_F16};
    char                path[4096];
    *m = (sr_planmodel){0};
    if (strncmp(spec, "synth:", 6) == 0) {
        snprintf(m->id, sizeof m->id, "%s", spec);
        if (make_up(spec + 6, &m->gguf, err))
            return err->status;
    } else {
        sr_model_id(spec, m->id, sizeof m->id);
        if (sr_model_path(spec, path, sizeof path, err) || sr_gguf_open(path, &m->gguf, err))
            return err->status;
    }
    for (size_t i = 0; i < sr_gguf_n_tensors(m->gguf); i++)
        m->bytes += sr_gguf_tensor_at(m->gguf, i)->bytes;
    if (sr_compile(m->gguf, &cc, &m->code, err)) {
        sr_planmodel_close(m);
        return sr_while(err, "planning %s", spec);
    }
    return SR_OK;
}

/* Numbers of a matrix that is not in the file: it would be filled with these. */
static sr_status sample_made_up(const char *spec, const char *tensor, uint16_t *v, sr_err *err)
{
    const sr_synthshape *shape;
    const sr_mix        *mix;
    sr_synth            *p = NULL;
    if (parse(spec, &shape, &mix, err) || sr_synth_plan(shape, mix, 1, false, &p, err))
        return err->status;
    for (size_t i = 0; i < p->n_t; i++)
        if (strcmp(p->t[i].name, tensor) == 0)
            sr_synth_fill(p, i, 0, SAMPLE / CHUNK, v);
    sr_synth_free(p);
    return SR_OK;
}

sr_status sr_planmodel_code(const sr_planmodel *m, uint32_t format, double *share, sr_err *err)
{
    const sr_tensor *most = NULL;
    bool             made = strncmp(m->id, "synth:", 6) == 0;
    sr_expmake       make;
    *share = 0;
    for (uint32_t w = 0; w < m->code->prog.n_weight; w++) {
        const sr_tensor *t = m->code->tensor[w];
        if (t && t->dtype == format && m->code->prog.weight[w].rows > 1 && (!most || t->bytes > most->bytes))
            most = t;
    }
    if (!most || most->bytes < SAMPLE * sizeof(uint16_t))
        return SR_OK;
    uint16_t *v = made ? sr_calloc(SAMPLE, sizeof *v) : NULL;
    if (made && !v)
        return sr_raise(err, SR_NOMEM, "host: memory for %d numbers", SAMPLE);
    sr_status s = made ? sample_made_up(m->id + 6, most->name, v, err) : SR_OK;
    s = s ? s : sr_expcode_plan(format, made ? v : most->data, SAMPLE, 1, &make, err);
    if (s == SR_OK) /* its blocks' ends and words that are not filled: six bytes a block */
        *share = SR_MIN(make.bits / 16 + 6.0 / (2 * SR_EXPCODE_BLOCK), 1);
    sr_free(v);
    return s;
}

void sr_planmodel_close(sr_planmodel *m)
{
    sr_compiled_close(m->code);
    sr_gguf_close(m->gguf);
    *m = (sr_planmodel){0};
}
