/* strata-kl [options] REF: how far a model's next-token distributions are from a reference's, from a reference small enough to carry about.
 *
 *     strata-kl --keep --model F32.gguf --ids IDS ref.kl        once, where the full-size model is
 *     strata-kl --model Q4.gguf --device cuda --ids IDS ref.kl  anywhere
 *     strata-kl --model Q8.gguf --device cuda --vram 6G --ram-format q4_k --ids IDS ref.kl    a part of it in another format, beside the device
 *     strata-kl --rows ROWS.f32 ref.kl                          rows of raw logits from another engine (bench/peers)
 *
 * A position's reference is the 32 likeliest tokens with their log-probabilities; all others together are one class more.
 * KL over these 33 classes is at most KL over the vocabulary; both sides of a comparison are measured with the same classes.
 *
 * File: "SRKL0001", then five uint32: classes, tokens of a chunk, chunks, first position scored, vocabulary; then for each position
 * classes x uint16 token, classes x uint16 -2048 ln p.  Tokens come from --ids: numbers in decimal. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/opt.h"
#include "base/mem.h"
#include "engine/engine.h"

enum { CLASSES = 32, SCALE = 2048 };
static const char magic[8] = {'S', 'R', 'K', 'L', '0', '0', '0', '1'};

typedef struct { uint32_t classes, chunk, chunks, from, vocab; } shape;
typedef struct { uint16_t tok[CLASSES], lp[CLASSES]; } place;
typedef struct {
    const char *model, *device, *ids, *rows, *ram_format, *cpu_activations;
    uint64_t    vram;
    uint32_t    threads, chunk, chunks, from;
    bool        keep, deterministic;
} options;
typedef struct {
    FILE    *ref;
    shape    sh;
    bool     keep;
    uint64_t rows, agree;
    double   kl, chunk_kl, sum2; /* of all rows; of this chunk's; squares of the chunks' means */
} state;

static double lse(const float *x, uint32_t n)
{
    double top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        top = fmax(top, (double)x[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - top);
    return top + log(sum);
}

/* The likeliest tokens, in order. */
static void likeliest(const float *x, uint32_t n, uint16_t *out)
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (have == CLASSES && !(x[i] > x[out[CLASSES - 1]]))
            continue;
        uint32_t at = have < CLASSES ? have++ : CLASSES - 1;
        for (; at && x[i] > x[out[at - 1]]; at--)
            out[at] = out[at - 1];
        out[at] = (uint16_t)i;
    }
}

static bool row(void *arg, uint32_t pos, const float *x)
{
    state *s = arg;
    place  p;
    (void)pos;
    double norm = lse(x, s->sh.vocab), kl = 0, rest_p = 1, rest_q = 1;
    s->rows++;
    if (s->keep) {
        likeliest(x, s->sh.vocab, p.tok);
        for (int k = 0; k < CLASSES; k++)
            p.lp[k] = (uint16_t)lround(fmin((norm - (double)x[p.tok[k]]) * SCALE, 65535));
        return fwrite(&p, sizeof p, 1, s->ref) == 1;
    }
    if (fread(&p, sizeof p, 1, s->ref) != 1)
        return false;
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->sh.vocab; i++)
        best = x[i] > x[best] ? i : best;
    for (int k = 0; k < CLASSES; k++) {
        double lp = -(double)p.lp[k] / SCALE, lq = (double)x[p.tok[k]] - norm;
        kl += exp(lp) * (lp - lq);
        rest_p -= exp(lp);
        rest_q -= exp(lq);
    }
    if (rest_p > 1e-9)
        kl += rest_p * (log(rest_p) - log(fmax(rest_q, 1e-30)));
    s->agree += best == p.tok[0];
    s->kl += kl;
    s->chunk_kl += kl;
    return true;
}

static void chunk_over(state *s)
{
    double mean = s->chunk_kl / (s->sh.chunk - s->sh.from);
    s->sum2 += mean * mean;
    s->chunk_kl = 0;
}

static int fail(const char *what, const char *which)
{
    fprintf(stderr, "strata-kl: %s: %s\n", what, which);
    return 1;
}

static int32_t *read_ids(const options *o, const shape *sh)
{
    size_t   n   = (size_t)sh->chunk * sh->chunks, got = 0;
    int32_t *tok = sr_calloc(n, sizeof *tok);
    FILE    *f   = o->ids ? fopen(o->ids, "re") : NULL;
    while (f && tok && got < n && fscanf(f, "%d", &tok[got]) == 1)
        got++;
    if (f)
        fclose(f);
    if (got == n)
        return tok;
    fprintf(stderr, "strata-kl: %zu token ids in %s, %zu are wanted\n", got, o->ids ? o->ids : "no file (--ids)", n);
    sr_free(tok);
    return NULL;
}

static int by_model(const options *o, state *s)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    char       why[200];
    sr_loadcfg c   = {.path = o->model, .ctx = s->sh.chunk, .max_seqs = 1, .out_rows = 256, .dev = {.threads = o->threads, .deterministic = o->deterministic,
                                                                                                          .f32_activations = o->cpu_activations && strcmp(o->cpu_activations, "f32") == 0}};
    c.dev.mem_budget = o->vram;
    while (o->ram_format && strcasecmp(sr_dtype_name(c.ram_format) ? sr_dtype_name(c.ram_format) : "", o->ram_format) != 0)
        if (++c.ram_format > SR_BF16)
            return fail(o->ram_format, "is no number format");
    int32_t   *tok = read_ids(o, &s->sh);
    if (!tok)
        return 1;
    sr_status rc = sr_backend_pick(o->device, &c.be, &c.device, why, &err);
    rc           = rc ? rc : sr_model_load(&c, &m, &err);
    if (rc == SR_OK && !s->keep && sr_model_info(m)->n_vocab != s->sh.vocab)
        rc = sr_raise(&err, SR_INVALID, "%s has %u tokens, the reference %u", o->model, sr_model_info(m)->n_vocab, s->sh.vocab);
    if (rc == SR_OK && sr_model_info(m)->n_vocab > 65536)
        rc = sr_raise(&err, SR_UNSUPPORTED, "a vocabulary of %u tokens; at most 65536", sr_model_info(m)->n_vocab);
    if (rc == SR_OK && s->keep) {
        s->sh.vocab = sr_model_info(m)->n_vocab;
        if (fwrite(magic, sizeof magic, 1, s->ref) != 1 || fwrite(&s->sh, sizeof s->sh, 1, s->ref) != 1)
            rc = sr_raise(&err, SR_IO, "the reference cannot be written");
    }
    const sr_modelinfo *mi = rc == SR_OK ? sr_model_info(m) : NULL;
    if (mi && mi->bytes_device < mi->bytes)
        fprintf(stderr, "%.2f of %.2f MB on the device; %.2f MB in RAM became %.2f\n", (double)mi->bytes_device * 1e-6, (double)mi->bytes * 1e-6, (double)mi->bytes_before * 1e-6, (double)mi->bytes_ram * 1e-6);
    for (uint32_t i = 0; rc == SR_OK && i < s->sh.chunks; i++) {
        rc = sr_model_eval(m, tok + (size_t)i * s->sh.chunk, s->sh.chunk, s->sh.from, row, s, &err);
        chunk_over(s);
    }
    sr_model_close(m);
    sr_free(tok);
    return rc ? fail(o->model, err.msg) : 0;
}

/* Rows of every position of every chunk: those not scored are passed over. */
static int by_rows(const options *o, state *s)
{
    FILE  *f = strcmp(o->rows, "-") ? fopen(o->rows, "rbe") : stdin;
    float *x = sr_calloc(s->sh.vocab, sizeof *x);
    bool   ok = f && x;
    for (uint32_t i = 0; ok && i < s->sh.chunks; i++, chunk_over(s))
        for (uint32_t pos = 0; ok && pos < s->sh.chunk; pos++)
            ok = fread(x, sizeof *x, s->sh.vocab, f) == s->sh.vocab && (pos < s->sh.from || row(s, pos, x));
    if (f && f != stdin)
        fclose(f);
    sr_free(x);
    return ok ? 0 : fail(o->rows, "cannot be read, or has too few rows");
}

static int open_reference(const options *o, const char *path, state *s)
{
    char is[sizeof magic];
    s->keep = o->keep;
    s->sh   = (shape){CLASSES, o->chunk, o->chunks, o->from, 0};
    s->ref  = fopen(path, o->keep ? "wbe" : "rbe");
    if (!s->ref)
        return fail(path, "cannot be opened");
    if (o->keep)
        return 0;
    if (fread(is, sizeof is, 1, s->ref) != 1 || memcmp(is, magic, sizeof is) != 0 || fread(&s->sh, sizeof s->sh, 1, s->ref) != 1 ||
        s->sh.classes != CLASSES || s->sh.vocab > 65536 || s->sh.from >= s->sh.chunk || s->sh.chunk > 1 << 16 || s->sh.chunks > 1 << 16)
        return fail(path, "is not a reference of this program");
    s->sh.chunks = SR_MIN(s->sh.chunks, o->chunks);
    return 0;
}

int main(int argc, char **argv)
{
    options      o     = {.device = "cpu", .chunk = 512, .chunks = 100, .from = 256};
    const sr_opt opt[] = {SR_O_STR("model", 'm', o.model, "FILE", "GGUF file"),
                          SR_O_STR("device", 0, o.device, "DEVICE", "cpu, cuda .."),
                          SR_O_BYTES("vram", 0, o.vram, "SIZE", "most of a device's memory", 1e6, 1e13),
                          SR_O_STR("ram-format", 0, o.ram_format, "FORMAT", "of weights in RAM beside it: q4_k .."),
                          SR_O_UINT("threads", 't', o.threads, "N", "CPU threads; 0: all cores", 0, 1024),
                          SR_O_STR("ids", 0, o.ids, "FILE", "token ids in decimal"),
                          SR_O_STR("rows", 0, o.rows, "FILE", "raw float32 logits instead of a model; - for stdin"),
                          SR_O_UINT("chunk", 0, o.chunk, "N", "tokens that see each other", 2, 1 << 16),
                          SR_O_UINT("chunks", 0, o.chunks, "N", "how many", 1, 1 << 16),
                          SR_O_UINT("from", 0, o.from, "N", "first position of a chunk that is scored", 0, 1 << 16),
                          SR_O_CHOICE("cpu-activations", 0, o.cpu_activations, "int8|f32", "as of strata serve"),
                          SR_O_FLAG("deterministic", 0, o.deterministic, "as of strata serve"),
                          SR_O_FLAG("keep", 0, o.keep, "write the reference instead of comparing with it")};
    const sr_optspec spec = {"", "REF", "KL divergence of next-token distributions from a reference's.", opt, SR_COUNT(opt), .min_operands = 1, .max_operands = 1,
                             .program = "strata-kl"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (!o.model == !o.rows || (o.keep && !o.model) || o.from >= o.chunk)
        return fail("wants", "--model, or --rows and no --keep; --from below --chunk");
    sr_backend_folder(getenv("STRATA_PLUGINS"));
    state s = {0};
    rc      = open_reference(&o, argv[1], &s);
    rc      = rc ? rc : o.model ? by_model(&o, &s) : by_rows(&o, &s);
    if (s.ref && fclose(s.ref))
        rc = fail(argv[1], "cannot be written");
    if (rc || o.keep || !s.rows)
        return rc;
    double mean = s.kl / (double)s.rows, n = s.sh.chunks, var = s.sum2 / n - mean * mean;
    printf("{\"model\": \"%s\", \"device\": \"%s\", \"rows\": %llu, \"kl\": %.6f, \"standard_error\": %.6f, \"same_likeliest\": %.5f}\n", o.model ? o.model : o.rows,
           o.model ? o.device : "", (unsigned long long)s.rows, mean, sqrt(fmax(var, 0) / n), (double)s.agree / (double)s.rows);
    return 0;
}
