/* peer_llama - llama.cpp's own library behind the questions we ask of strata, so that both answer alike.
 *
 *   peer_llama logits     token ids on stdin -> float32 logits [positions][vocabulary] in a file
 *   peer_llama bench      prompt and generation speed, as `strata bench --json` prints it
 *   peer_llama tokenize   as `strata tokenize` (text or --batch-hex on stdin)
 *   peer_llama quantize   a file in another format, by llama.cpp's own choice of types
 */
#include "app/opt.h"
#include "base/jsonw.h"
#include "base/mem.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

typedef struct {
    const char *model, *libs, *kv, *out;
    uint32_t    threads, ngl, batch_max, ubatch;
    bool        no_flash, no_repack, verbose;
} common;

static void quiet(enum ggml_log_level level, const char *text, void *verbose)
{
    if (*(const bool *)verbose || level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static int fail(const char *what, const char *which)
{
    fprintf(stderr, "peer_llama: %s%s%s\n", what, which ? ": " : "", which ? which : "");
    return 1;
}

#define COMMON(c)                                                                                        \
    SR_O_STR("model", 'm', (c).model, "FILE", "GGUF file"),                                              \
    SR_O_UINT("threads", 't', (c).threads, "N", "threads", 1, 512),                                      \
    SR_O_UINT("gpu-layers", 0, (c).ngl, "N", "layers on the GPU", 0, 1000),                              \
    SR_O_CHOICE("kv", 0, (c).kv, "f16|f32|bf16|q8_0|q4_0", "format of the KV cache"),                    \
    SR_O_UINT("ubatch", 0, (c).ubatch, "N", "tokens of one pass", 1, 8192),                              \
    SR_O_FLAG("no-flash", 0, (c).no_flash, "no fused attention"),                                        \
    SR_O_FLAG("no-repack", 0, (c).no_repack, "weights as in the file"),                                  \
    SR_O_STR("libs", 0, (c).libs, "DIR", "folder of the ggml backends"),                                 \
    SR_O_FLAG("verbose", 'v', (c).verbose, "llama.cpp's own messages")

#define COMMON_DEFAULTS {.libs = PEER_LIBS, .kv = "f16", .threads = 2, .ubatch = 512}

static struct llama_model *load(common *c, bool vocab_only)
{
    llama_log_set(quiet, &c->verbose);
    ggml_backend_load_all_from_path(c->libs);
    llama_backend_init();
    struct llama_model_params p = llama_model_default_params();
    p.n_gpu_layers              = (int32_t)c->ngl;
    p.vocab_only                = vocab_only;
    p.use_extra_bufts           = !c->no_repack;
    if (!c->model) {
        fail("needs --model FILE", NULL);
        return NULL;
    }
    struct llama_model *m = llama_model_load_from_file(c->model, p);
    if (!m)
        fail("cannot load", c->model);
    return m;
}

static enum ggml_type kv_type(const char *name)
{
    static const struct { const char *name; enum ggml_type t; } types[] = {
        {"f16", GGML_TYPE_F16}, {"f32", GGML_TYPE_F32}, {"bf16", GGML_TYPE_BF16}, {"q8_0", GGML_TYPE_Q8_0}, {"q4_0", GGML_TYPE_Q4_0}};
    for (size_t i = 0; i < SR_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].t;
    return GGML_TYPE_F16;
}

static struct llama_context *context(const common *c, struct llama_model *m, uint32_t n_ctx, uint32_t n_seq)
{
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx           = n_ctx;
    p.n_batch         = SR_MAX(c->batch_max, c->ubatch);
    p.n_ubatch        = c->ubatch;
    p.n_seq_max       = n_seq;
    p.n_threads       = p.n_threads_batch = (int32_t)c->threads;
    p.type_k          = p.type_v = kv_type(c->kv);
    p.flash_attn_type = c->no_flash ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    p.no_perf         = true;
    p.kv_unified      = n_seq == 1;
    struct llama_context *ctx = llama_init_from_model(m, p);
    if (!ctx)
        fail("cannot make a context", c->model);
    return ctx;
}

/* ---- logits --------------------------------------------------------------------------------------------------- */

static llama_token *read_ids(int32_t *n)
{
    llama_token *v   = NULL;
    size_t       cap = 0;
    int          id;
    *n = 0;
    while (scanf("%d", &id) == 1) {
        if ((size_t)*n == cap) {
            llama_token *more = sr_realloc(v, (cap = cap ? cap * 2 : 256) * sizeof *v);
            if (!more) {
                sr_free(v);
                return NULL;
            }
            v = more;
        }
        v[(*n)++] = id;
    }
    return v;
}

static bool decode_some(struct llama_context *ctx, const llama_token *id, int32_t first, int32_t n, bool all, bool last,
                        int32_t n_vocab, FILE *out)
{
    struct llama_batch b = llama_batch_init(n, 0, 1);
    for (int32_t i = 0; i < n; i++) {
        b.token[i]     = id[first + i];
        b.pos[i]       = first + i;
        b.n_seq_id[i]  = 1;
        b.seq_id[i][0] = 0;
        b.logits[i]    = all || (last && i == n - 1);
    }
    b.n_tokens = n;
    bool ok    = llama_decode(ctx, b) == 0;
    for (int32_t i = 0; ok && i < n; i++) {
        const float *row = b.logits[i] ? llama_get_logits_ith(ctx, i) : NULL;
        if (row && fwrite(row, sizeof *row, (size_t)n_vocab, out) != (size_t)n_vocab)
            ok = false;
    }
    llama_batch_free(b);
    return ok;
}

static int cmd_logits(int argc, char **argv)
{
    common       c     = COMMON_DEFAULTS;
    bool         all   = false;
    uint32_t     n_ctx = 0;
    const sr_opt opt[] = {COMMON(c), SR_O_FLAG("all", 0, all, "logits of every position, not only the last"),
                          SR_O_UINT("ctx", 0, n_ctx, "N", "context; 0: as many as there are tokens", 0, 1 << 24)};
    const sr_optspec spec = {"logits", "OUT.f32", "Logits of the token ids on stdin.", opt, SR_COUNT(opt),
                             .min_operands = 1, .max_operands = 1, .program = "peer_llama"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    int32_t             n  = 0;
    llama_token        *id = read_ids(&n);
    struct llama_model *m  = id ? load(&c, false) : NULL;
    if (!m)
        return id ? 1 : fail("no token ids on stdin", NULL);
    int32_t               n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(m));
    struct llama_context *ctx     = context(&c, m, n_ctx ? n_ctx : (uint32_t)SR_MAX(n, 32), 1);
    FILE                 *out     = fopen(argv[1], "wb");
    bool                  ok      = ctx && out;
    for (int32_t at = 0, k; ok && at < n; at += k) {
        k  = SR_MIN(n - at, (int32_t)c.ubatch);
        ok = decode_some(ctx, id, at, k, all, at + k == n, n_vocab, out);
    }
    if (out && fclose(out))
        ok = false;
    if (ok)
        printf("{\"tokens\":%d,\"rows\":%d,\"vocab\":%d}\n", n, all ? n : 1, n_vocab);
    llama_free(ctx);
    llama_model_free(m);
    sr_free(id);
    return ok ? 0 : fail("decoding or writing failed", argv[1]);
}

/* ---- bench ---------------------------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Deterministic ids: which ones does not matter to the speed of a dense model. */
static llama_token some_token(int32_t n_vocab)
{
    static uint32_t x = 12345;
    x = x * 1664525u + 1013904223u;
    return (llama_token)((x >> 8) % (uint32_t)n_vocab);
}

/* n tokens for each of n_seq sequences, `step` per sequence and call; logits of the last only, as a server. */
static bool feed(struct llama_context *ctx, int32_t n_vocab, int32_t first, int32_t n, int32_t step, int32_t n_seq)
{
    struct llama_batch b  = llama_batch_init(step * n_seq, 0, 1);
    bool               ok = true;
    for (int32_t at = 0; ok && at < n; at += step) {
        int32_t k = SR_MIN(step, n - at);
        b.n_tokens = 0;
        for (int32_t s = 0; s < n_seq; s++) {
            for (int32_t i = 0; i < k; i++) {
                int32_t j      = b.n_tokens++;
                b.token[j]     = some_token(n_vocab);
                b.pos[j]       = first + at + i;
                b.n_seq_id[j]  = 1;
                b.seq_id[j][0] = s;
                b.logits[j]    = i == k - 1;
            }
        }
        ok = llama_decode(ctx, b) == 0;
        llama_synchronize(ctx);
    }
    llama_batch_free(b);
    return ok;
}

typedef struct { bool prompt; uint32_t n, depth, seqs, runs; } test;

static bool run_test(const common *c, struct llama_context *ctx, int32_t n_vocab, const test *t, double *tok_s)
{
    int32_t       step = t->prompt ? (int32_t)(c->ubatch / t->seqs) : 1, fill = (int32_t)SR_MAX(c->ubatch / t->seqs, 1u);
    llama_memory_t mem = llama_get_memory(ctx);
    step               = SR_MAX(step, 1);
    for (uint32_t r = 0; r <= t->runs; r++) { /* the first is a warm-up */
        if (r == 0 || !llama_memory_seq_rm(mem, -1, (llama_pos)t->depth, -1)) { /* what lies before is filled once */
            llama_memory_clear(mem, false);
            if (t->depth && !feed(ctx, n_vocab, 0, (int32_t)t->depth, fill, (int32_t)t->seqs))
                return false;
        }
        double  s = seconds();
        int32_t n = r == 0 && !t->prompt ? 1 : (int32_t)t->n;
        if (!feed(ctx, n_vocab, (int32_t)t->depth, n, step, (int32_t)t->seqs))
            return false;
        if (r > 0)
            tok_s[r - 1] = (double)t->n * t->seqs / (seconds() - s);
    }
    return true;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void row(sr_jsonw *w, const common *c, const char *desc, const test *t, double *tok_s)
{
    char name[32];
    qsort(tok_s, t->runs, sizeof *tok_s, by_value);
    snprintf(name, sizeof name, "%s%u", t->prompt ? "pp" : "tg", t->n);
    sr_json_obj(w, NULL);
    sr_json_str(w, "engine", "llama.cpp");
    sr_json_str(w, "version", llama_version());
    sr_json_str(w, "model", c->model);
    sr_json_str(w, "description", desc);
    sr_json_str(w, "device", c->ngl ? "gpu" : "cpu");
    sr_json_uint(w, "threads", c->threads);
    sr_json_str(w, "test", name);
    sr_json_uint(w, "depth", t->depth);
    sr_json_uint(w, "batch", t->seqs);
    sr_json_num(w, "tok_s", tok_s[t->runs / 2]);
    sr_json_num(w, "tok_s_min", tok_s[0]);
    sr_json_num(w, "tok_s_max", tok_s[t->runs - 1]);
    sr_json_uint(w, "runs", t->runs);
    sr_json_end(w);
}

/* A function of the CPU backend, which is loaded at run time. */
static void *cpu_function(const char *name)
{
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_reg_t reg = dev ? ggml_backend_dev_backend_reg(dev) : NULL;
    return reg ? ggml_backend_reg_get_proc_address(reg, name) : NULL;
}

/* The pool that llama-bench attaches: without it llama.cpp starts threads for every call. */
static struct ggml_threadpool *attach_pool(struct llama_context *ctx, uint32_t threads)
{
    void *p = cpu_function("ggml_threadpool_new");
    struct ggml_threadpool *(*make)(struct ggml_threadpool_params *);
    memcpy(&make, &p, sizeof make);
    struct ggml_threadpool_params tp   = ggml_threadpool_params_default((int)threads);
    struct ggml_threadpool       *pool = p ? make(&tp) : NULL;
    if (pool)
        llama_attach_threadpool(ctx, pool, NULL);
    return pool;
}

static void free_pool(struct ggml_threadpool *pool)
{
    void *p = pool ? cpu_function("ggml_threadpool_free") : NULL;
    void (*drop)(struct ggml_threadpool *);
    memcpy(&drop, &p, sizeof drop);
    if (p)
        drop(pool);
}

static bool run_row(common *c, struct llama_model *m, const test *t, sr_jsonw *w)
{
    double tok_s[100];
    char   desc[128];
    c->batch_max              = SR_MAX(c->ubatch, t->seqs);
    struct llama_context *ctx = context(c, m, (t->depth + t->n + 1) * t->seqs, t->seqs);
    if (!ctx)
        return false;
    struct ggml_threadpool *pool = attach_pool(ctx, c->threads);
    if (!pool)
        fputs("peer_llama: no thread pool: llama.cpp makes one per call\n", stderr);
    bool ok = run_test(c, ctx, llama_vocab_n_tokens(llama_model_get_vocab(m)), t, tok_s);
    llama_free(ctx);
    free_pool(pool);
    llama_model_desc(m, desc, sizeof desc);
    if (ok)
        row(w, c, desc, t, tok_s);
    return ok;
}

/* Every length at every depth and batch. */
static bool run_rows(common *c, struct llama_model *m, const test *like, const sr_optlist *n, const sr_optlist *depth,
                     const sr_optlist *batch, sr_jsonw *w)
{
    for (uint32_t i = 0; i < n->n * depth->n * batch->n; i++) {
        test t  = *like;
        t.n     = n->v[i / (depth->n * batch->n)];
        t.depth = depth->v[i / batch->n % depth->n];
        t.seqs  = batch->v[i % batch->n];
        if (t.n && !run_row(c, m, &t, w))
            return false;
    }
    return true;
}

static int cmd_bench(int argc, char **argv)
{
    common       c     = COMMON_DEFAULTS;
    sr_optlist   pp    = {{512}, 1}, tg = {{128}, 1}, depth = {{0}, 1}, batch = {{1}, 1};
    uint32_t     runs  = 3;
    const sr_opt opt[] = {COMMON(c),
                          SR_O_LIST("prompt", 'p', pp, "N,..", "prompt lengths", 0, 1 << 20),
                          SR_O_LIST("gen", 'n', tg, "N,..", "tokens to generate", 0, 1 << 20),
                          SR_O_LIST("depth", 'd', depth, "N,..", "tokens already in the context", 0, 1 << 20),
                          SR_O_LIST("batch", 'b', batch, "N,..", "sequences at once", 1, 256),
                          SR_O_UINT("runs", 'r', runs, "N", "runs per row", 1, 100)};
    const sr_optspec spec = {"bench", NULL, "Prompt and generation speed as JSON.", opt, SR_COUNT(opt), .max_operands = 0, .program = "peer_llama"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    struct llama_model *m = load(&c, false);
    if (!m)
        return 1;
    sr_buf   b = {0};
    sr_jsonw w = {.out = &b, .indent = 1};
    sr_json_arr(&w, NULL);
    bool ok = run_rows(&c, m, &(test){.prompt = true, .runs = runs}, &pp, &depth, &batch, &w) &&
              run_rows(&c, m, &(test){.runs = runs}, &tg, &depth, &batch, &w);
    sr_json_end(&w);
    if (ok)
        puts(b.p);
    sr_buf_end(&b);
    llama_model_free(m);
    return ok ? 0 : fail("bench failed", c.model);
}

/* ---- tokenize --------------------------------------------------------------------------------------------------- */

static bool print_ids(const struct llama_vocab *v, const char *text, size_t n, bool add_special, bool parse_special)
{
    int32_t      cap = (int32_t)n + 8;
    llama_token *id  = sr_malloc((size_t)cap * sizeof *id);
    int32_t      k   = id ? llama_tokenize(v, text, (int32_t)n, id, cap, add_special, parse_special) : -1;
    for (int32_t i = 0; i < k; i++)
        printf("%s%d", i ? " " : "", id[i]);
    if (k >= 0)
        putchar('\n');
    sr_free(id);
    return k >= 0;
}

static bool unhex(sr_buf *b)
{
    static const char digits[] = "0123456789abcdef";
    size_t            n        = b->n / 2;
    for (size_t i = 0; i < n; i++) {
        const char *hi = memchr(digits, b->p[2 * i], 16), *lo = memchr(digits, b->p[2 * i + 1], 16);
        if (!hi || !lo)
            return false;
        b->p[i] = (char)((hi - digits) * 16 + (lo - digits));
    }
    bool even = b->n % 2 == 0;
    b->n      = n;
    return even;
}

static int cmd_tokenize(int argc, char **argv)
{
    common       c   = COMMON_DEFAULTS;
    bool         ids = false, add_special = false, parse_special = false, batch_hex = false;
    const sr_opt opt[] = {COMMON(c), SR_O_FLAG("ids", 0, ids, "print ids (always)"),
                          SR_O_FLAG("add-special", 0, add_special, "BOS and EOS as the model asks"),
                          SR_O_FLAG("parse-special", 0, parse_special, "control tokens in the text"),
                          SR_O_FLAG("batch-hex", 0, batch_hex, "one hex string per line")};
    const sr_optspec spec = {"tokenize", NULL, "Token ids of the text on stdin.", opt, SR_COUNT(opt), .max_operands = 0, .program = "peer_llama"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    struct llama_model *m = load(&c, true);
    if (!m)
        return 1;
    const struct llama_vocab *v  = llama_model_get_vocab(m);
    sr_buf                    b  = {0};
    bool                      ok = true;
    int                       ch;
    while (ok && (ch = getchar()) != EOF) {
        if (!batch_hex || ch != '\n') {
            sr_buf_char(&b, (char)ch);
            continue;
        }
        ok  = unhex(&b) && print_ids(v, b.n ? b.p : "", b.n, add_special, parse_special);
        b.n = 0;
    }
    if (ok && !batch_hex)
        ok = print_ids(v, b.n ? b.p : "", b.n, add_special, parse_special);
    sr_buf_end(&b);
    llama_model_free(m);
    return ok ? 0 : fail("not tokenised", NULL);
}

/* ---- quantize --------------------------------------------------------------------------------------------------- */

static int cmd_quantize(int argc, char **argv)
{
    static const struct { const char *name; enum llama_ftype t; } ftypes[] = {
        {"F32", LLAMA_FTYPE_ALL_F32}, {"F16", LLAMA_FTYPE_MOSTLY_F16}, {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
        {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0}, {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0}, {"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S},
        {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S}, {"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K}};
    common       c    = COMMON_DEFAULTS;
    const char  *to   = "Q4_K_M";
    bool         pure = false;
    const sr_opt opt[] = {COMMON(c), SR_O_CHOICE("to", 0, to, "F32|F16|BF16|Q4_0|Q8_0|Q4_K_S|Q4_K_M|Q5_K_S|Q5_K_M|Q6_K", "mixture"),
                          SR_O_FLAG("pure", 0, pure, "one format for every matrix")};
    const sr_optspec spec = {"quantize", "OUT.gguf", "Write a file in another format.", opt, SR_COUNT(opt), .min_operands = 1,
                             .max_operands = 1, .program = "peer_llama"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (!c.model)
        return fail("needs --model FILE", NULL);
    llama_log_set(quiet, &c.verbose);
    ggml_backend_load_all_from_path(c.libs);
    llama_backend_init();
    struct llama_model_quantize_params p = llama_model_quantize_default_params();
    p.nthread          = (int32_t)c.threads;
    p.allow_requantize = true;
    p.pure             = pure;
    for (size_t i = 0; i < SR_COUNT(ftypes); i++)
        if (strcmp(ftypes[i].name, to) == 0)
            p.ftype = ftypes[i].t;
    return llama_model_quantize(c.model, argv[1], &p) ? fail("cannot quantize", c.model) : 0;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; int (*run)(int, char **); } commands[] = {
        {"logits", cmd_logits}, {"bench", cmd_bench}, {"tokenize", cmd_tokenize}, {"quantize", cmd_quantize}};
    for (size_t i = 0; argc > 1 && i < SR_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fputs("usage: peer_llama logits|bench|tokenize|quantize --model FILE ...; each explains itself with --help\n", stderr);
    return 2;
}
