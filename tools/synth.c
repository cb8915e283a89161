/* strata-synth - writes GGUF models of true shape with random weights (format/synth.h). */
#include "app/opt.h"
#include "base/mem.h"
#include "format/synth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *shape, *format, *arch, *vocab_from, *scaling;
    uint64_t    seed;
    uint32_t    layers, dim, heads, kv_heads, head_dim, ff, vocab, ctx, split;
    float       theta;
    bool        tied, untied, spm, no_vocab, encode, plan, list;
} options;

static int fail(const sr_err *e)
{
    fprintf(stderr, "strata-synth: %s\n", e->msg);
    return 1;
}

static void list_shapes(void)
{
    puts("shape           arch   layers  width  heads  kv  head  ff     vocab   ctx");
    for (unsigned i = 0; sr_synth_shape_at(i); i++) {
        const sr_synthshape *s = sr_synth_shape_at(i);
        printf("%-14s  %-6s %5u   %5u  %4u  %3u  %4u  %5u  %6u  %u%s\n", s->name, s->arch, s->n_layer, s->dim, s->n_head,
               s->n_head_kv, s->head_dim, s->n_ff, s->n_vocab, s->n_ctx, s->tied ? "  tied" : "");
    }
    printf("formats:");
    for (unsigned i = 0; sr_mix_at(i); i++)
        printf(" %s", sr_mix_at(i)->name);
    putchar('\n');
}

static void override(uint32_t *field, uint32_t v)
{
    if (v)
        *field = v;
}

/* "linear:4", "yarn:4:32768", "llama3:8:8192" */
static sr_status read_scaling(sr_synthshape *s, const char *spec, sr_err *err)
{
    static const char *const kinds[] = {"linear", "yarn", "llama3"};
    if (strcmp(spec, "none") == 0) {
        s->rope_scaling = NULL;
        return SR_OK;
    }
    for (size_t i = 0; i < SR_COUNT(kinds); i++) {
        size_t   n    = strlen(kinds[i]);
        unsigned orig = s->n_ctx;
        char     extra;
        float    factor;
        if (strncmp(spec, kinds[i], n) != 0 || spec[n] != ':')
            continue;
        int got = sscanf(spec + n + 1, "%f:%u%c", &factor, &orig, &extra);
        if (got != 1 && got != 2)
            break;
        s->rope_scaling  = kinds[i];
        s->rope_factor   = factor;
        s->rope_orig_ctx = orig;
        return SR_OK;
    }
    return sr_raise(err, SR_INVALID, "--rope-scaling %s: forms are none, linear:FACTOR, yarn:FACTOR:CONTEXT, llama3:FACTOR:CONTEXT",
                    spec);
}

static sr_status make_shape(const options *o, const sr_gguf *vocab_from, sr_synthshape *s, sr_err *err)
{
    const sr_synthshape *named = sr_synth_shape(o->shape);
    if (!named)
        return sr_raise(err, SR_INVALID, "unknown shape \"%s\"; see --list", o->shape);
    *s = *named;
    if (o->arch)
        s->arch = o->arch;
    override(&s->n_layer, o->layers);
    override(&s->dim, o->dim);
    override(&s->n_head, o->heads);
    if (o->heads && !o->kv_heads && o->heads % s->n_head_kv)
        s->n_head_kv = o->heads;
    override(&s->n_head_kv, o->kv_heads);
    if ((o->dim || o->heads) && s->n_head && s->dim % s->n_head == 0)
        s->head_dim = s->dim / s->n_head;
    override(&s->head_dim, o->head_dim);
    override(&s->n_ff, o->ff);
    override(&s->n_vocab, o->vocab);
    override(&s->n_ctx, o->ctx);
    if (o->theta > 0)
        s->rope_theta = o->theta;
    s->tied = o->tied || (s->tied && !o->untied);
    s->spm  = s->spm || o->spm;
    if (vocab_from) {
        uint32_t  n  = 0;
        sr_status st = sr_synth_vocab_size(vocab_from, &n, err);
        if (st)
            return st;
        if (o->vocab && o->vocab < n)
            return sr_raise(err, SR_INVALID, "--vocab %u: the copied vocabulary has %u tokens", o->vocab, n);
        s->n_vocab = o->vocab ? o->vocab : n;
    }
    return o->scaling ? read_scaling(s, o->scaling, err) : SR_OK;
}

static void print_plan(const sr_synth *p)
{
    for (size_t i = 0; i < p->n_t; i++)
        printf("%-28s %-5s %8" PRIu64 " x %-8" PRIu64 " %12" PRIu64 " bytes\n", p->t[i].name, sr_dtype_name(p->t[i].dtype),
               p->t[i].ne[0], p->t[i].ne[1], p->t[i].bytes);
    printf("%zu tensors, %" PRIu64 " bytes\n", p->n_t, p->bytes);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

enum { PIECE = 4 << 20 };

static sr_status write_tensor(const sr_synth *p, size_t i, uint8_t *buf, sr_gguf_writer *w, sr_err *err)
{
    const sr_synthtensor *t     = &p->t[i];
    const uint64_t        total = sr_synth_chunks(t), most = PIECE / sr_synth_chunk_bytes(t);
    for (uint64_t c = 0, left = t->bytes; c < total; c += most) {
        uint64_t n     = SR_MIN(most, total - c), bytes = SR_MIN(n * sr_synth_chunk_bytes(t), left);
        sr_synth_fill(p, i, c, n, buf);
        sr_status s = sr_gguf_write(w, buf, (size_t)bytes, err);
        if (s)
            return s;
        left -= bytes;
    }
    return SR_OK;
}

/* Part `no` of `count` with tensors [first, first + n). */
typedef struct { uint32_t no, count; size_t first, n; } part;

static sr_status put_part(const options *o, const sr_synth *p, const sr_gguf *from, const part *a, sr_gguf_writer *w,
                          sr_err *err)
{
    if (a->count > 1) { /* with the types llama.cpp's splitter writes */
        const uint16_t       no = (uint16_t)a->no, count = (uint16_t)a->count;
        const int32_t        n   = (int32_t)p->n_t;
        const sr_gguf_kv     k[] = {{"split.no", SR_GGUF_U16, SR_GGUF_U16, 1, &no, NULL},
                                    {"split.count", SR_GGUF_U16, SR_GGUF_U16, 1, &count, NULL},
                                    {"split.tensors.count", SR_GGUF_I32, SR_GGUF_I32, 1, &n, NULL}};
        for (size_t i = 0; i < SR_COUNT(k); i++)
            sr_gguf_put_kv(w, &k[i]);
    }
    sr_status s = SR_OK;
    if (a->no == 0) {
        sr_synth_put_keys(p, w);
        if (from)
            sr_synth_copy_vocab(from, w);
        else if (o->no_vocab)
            sr_synth_no_vocab(&p->shape, w);
        else
            s = sr_synth_vocab(&p->shape, w, err);
    }
    sr_synth_put_tensors(p, a->first, a->n, w);
    return s;
}

static sr_status write_part(const options *o, const sr_synth *p, const sr_gguf *from, const part *a, const char *path,
                            uint8_t *buf, sr_err *err)
{
    sr_gguf_writer *w = NULL;
    sr_status       s = sr_gguf_create(path, &w, err);
    if (s)
        return s;
    s = put_part(o, p, from, a, w, err);
    for (size_t i = a->first; !s && i < a->first + a->n; i++)
        s = write_tensor(p, i, buf, w, err);
    if (s) {
        sr_gguf_abandon(w);
        return s;
    }
    return sr_gguf_finish(w, err);
}

static sr_status write_all(const options *o, const sr_synth *p, const sr_gguf *from, const char *path, sr_err *err)
{
    size_t   stem = strlen(path), cap = stem + 40;
    uint8_t *buf  = sr_malloc(PIECE);
    char    *name = sr_malloc(cap);
    sr_status s   = buf && name ? SR_OK : sr_raise(err, SR_NOMEM, "host memory for a buffer of %d bytes", (int)PIECE);
    if (!s && o->split > 1 && (stem < 6 || strcmp(path + stem - 5, ".gguf") != 0))
        s = sr_raise(err, SR_INVALID, "%s: the name of a split model must end in .gguf", path);
    part     a    = {.count = o->split};
    uint64_t done = 0;
    for (; !s && a.no < a.count; a.no++, a.first += a.n) {
        for (a.n = 0; a.first + a.n < p->n_t; a.n++) { /* equal bytes per part, at least one tensor each */
            if (a.n && a.no + 1 < a.count && (done >= p->bytes / a.count * (a.no + 1) || p->n_t - a.first - a.n < a.count - a.no))
                break;
            done += p->t[a.first + a.n].bytes;
        }
        if (a.count > 1)
            snprintf(name, cap, "%.*s-%05u-of-%05u.gguf", (int)stem - 5, path, a.no + 1, a.count);
        s = write_part(o, p, from, &a, a.count > 1 ? name : path, buf, err);
    }
    sr_free(name);
    sr_free(buf);
    return s;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static sr_status run(const options *o, const char *path, sr_err *err)
{
    sr_gguf      *from = NULL;
    sr_synth     *p    = NULL;
    sr_synthshape shape;
    const sr_mix *mix = sr_mix_find(o->format);
    sr_status     s   = mix ? SR_OK : sr_raise(err, SR_INVALID, "unknown format \"%s\"; see --list", o->format);
    if (!s && o->vocab_from)
        s = sr_gguf_open(o->vocab_from, &from, err);
    if (!s)
        s = make_shape(o, from, &shape, err);
    if (!s)
        s = sr_synth_plan(&shape, mix, o->seed, o->encode, &p, err);
    if (!s && o->plan) {
        print_plan(p);
    } else if (!s) {
        double t = seconds();
        s        = write_all(o, p, from, path, err);
        t        = seconds() - t;
        if (!s)
            fprintf(stderr, "%s: %zu tensors, %.3f GB in %.2f s (%.2f GB/s)\n", path, p->n_t, (double)p->bytes * 1e-9, t,
                    (double)p->bytes * 1e-9 / t);
    }
    sr_synth_free(p);
    sr_gguf_close(from);
    return s;
}

int main(int argc, char **argv)
{
    options      o = {.shape = "tiny", .format = "Q4_K_M", .seed = 1, .split = 1};
    const sr_opt opt[] = {
        SR_O_STR("shape", 's', o.shape, "NAME", "named shape to start from"),
        SR_O_STR("format", 'f', o.format, "NAME", "number format or mixture"),
        SR_O_U64("seed", 0, o.seed, "N", "the weights are a function of this"),
        SR_O_FLAG("encode", 'e', o.encode, "draw floats and encode them: slow, the same weights in every format"),
        SR_O_CHOICE("arch", 0, o.arch, "llama|qwen2|qwen3", "architecture instead of the shape's"),
        SR_O_UINT("layers", 0, o.layers, "N", "layers instead of the shape's, and so on; 0 keeps", 0, 1000),
        SR_O_UINT("dim", 0, o.dim, "N", "width", 0, 1 << 20),
        SR_O_UINT("heads", 0, o.heads, "N", "query heads", 0, 4096),
        SR_O_UINT("kv-heads", 0, o.kv_heads, "N", "key and value heads", 0, 4096),
        SR_O_UINT("head-dim", 0, o.head_dim, "N", "head size", 0, 4096),
        SR_O_UINT("ff", 0, o.ff, "N", "feed-forward width", 0, 1 << 22),
        SR_O_UINT("vocab", 0, o.vocab, "N", "tokens", 0, 1 << 22),
        SR_O_UINT("ctx", 0, o.ctx, "N", "context length", 0, 1 << 26),
        SR_O_REAL("rope-theta", 0, o.theta, "X", "rope base", 0, 1e12),
        SR_O_STR("rope-scaling", 0, o.scaling, "SPEC", "none, linear:FACTOR, yarn:FACTOR:CONTEXT, llama3:FACTOR:CONTEXT"),
        SR_O_FLAG("tied", 0, o.tied, "the embedding is the head"),
        SR_O_FLAG("untied", 0, o.untied, "it is not"),
        SR_O_STR("vocab-from", 0, o.vocab_from, "FILE", "copy the vocabulary of this GGUF"),
        SR_O_FLAG("spm", 0, o.spm, "made-up vocabulary as SentencePiece"),
        SR_O_FLAG("no-vocab", 0, o.no_vocab, "no vocabulary"),
        SR_O_UINT("split", 0, o.split, "N", "write N files OUT-0000i-of-0000N.gguf", 1, 1000),
        SR_O_FLAG("plan", 0, o.plan, "print the tensors and write nothing"),
        SR_O_FLAG("list", 0, o.list, "print the named shapes and formats"),
    };
    const sr_optspec spec = {"", "[OUT.gguf]", "Write a model of true shape with random weights.", opt, SR_COUNT(opt),
                             .max_operands = 1, .program = "strata-synth"};
    sr_err           err  = {0};
    int              rc   = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (o.list) {
        list_shapes();
        return 0;
    }
    if (!o.plan && argc != 2) {
        fputs("strata-synth: needs the name of the file to write; see --help\n", stderr);
        return 2;
    }
    return run(&o, argv[1], &err) ? fail(&err) : 0;
}
