/* cmd_info.c - what a model file says about itself, and whether it is sound.
 *
 * Everything is checked before the first byte is printed.  A file may be valid and yet not ours to run (an
 * architecture or tokenizer we do not know): that is said in the summary.  A file of an architecture we know
 * must agree with it.
 */
#include "app/commands.h"
#include "app/opt.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "format/gguf.h"
#include "model/model.h"
#ifdef SR_HAVE_TEXT
#include "text/tokenizer.h"
#endif

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *path;
    sr_gguf    *g;
    sr_hparams  hp;        /* hp.arch NULL: not known to us, or nothing to run */
    char        why[200];  /* then, the reason */
    char        no_tok[200]; /* the tokenizer is not known to us: the reason */
    uint64_t    n_param, bytes;
} facts;

/* ---- checks --------------------------------------------------------------------------------------------- */

static sr_status check_tokenizer(facts *f, sr_err *err)
{
#ifdef SR_HAVE_TEXT
    sr_tokenizer *t = NULL;
    sr_err        e = {0};
    if (!sr_gguf_find(f->g, "tokenizer.ggml.model") && !sr_gguf_find(f->g, "tokenizer.ggml.tokens"))
        return SR_OK;
    sr_status s = sr_tokenizer_open(f->g, &t, &e);
    sr_tokenizer_close(t);
    if (s == SR_UNSUPPORTED) {
        snprintf(f->no_tok, sizeof f->no_tok, "%.199s", e.msg);
        return SR_OK;
    }
    return s ? sr_raise(err, s, "%s", e.msg) : SR_OK;
#else
    const sr_gguf_kv *tok, *score, *type, *merge;
    sr_status         s;
    if ((s = sr_gguf_array(f->g, "tokenizer.ggml.tokens", SR_GGUF_STRING, &tok, err)) ||
        (s = sr_gguf_array(f->g, "tokenizer.ggml.scores", SR_GGUF_F32, &score, err)) ||
        (s = sr_gguf_array(f->g, "tokenizer.ggml.token_type", SR_GGUF_I32, &type, err)) ||
        (s = sr_gguf_array(f->g, "tokenizer.ggml.merges", SR_GGUF_STRING, &merge, err)))
        return s;
    const sr_gguf_kv *beside[] = {score, type};
    for (size_t i = 0; i < SR_COUNT(beside); i++)
        if (beside[i] && (!tok || beside[i]->n != tok->n))
            return sr_raise(err, SR_INVALID, "key \"%s\": %" PRIu64 " entries for %" PRIu64 " tokens", beside[i]->key,
                            beside[i]->n, tok ? tok->n : 0);
    static const char *const ids[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                      "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id"};
    for (size_t i = 0; tok && i < SR_COUNT(ids); i++) {
        uint32_t id = 0;
        if ((s = sr_gguf_u32(f->g, ids[i], &id, err)))
            return s;
        if (id >= tok->n)
            return sr_raise(err, SR_INVALID, "key \"%s\": %u, the vocabulary has %" PRIu64 " tokens", ids[i], id, tok->n);
    }
    return SR_OK;
#endif
}

/* Tensors against hyperparameters, by building the program that would run. */
static sr_status check_model(facts *f, sr_err *err)
{
    sr_gguf_str arch = {NULL, 0}, kind = {"model", 5};
    sr_status   s;
    if ((s = sr_gguf_string(f->g, "general.architecture", &arch, err)) ||
        (s = sr_gguf_string(f->g, "general.type", &kind, err)))
        return s;
    if (kind.n != 5 || memcmp(kind.p, "model", 5) != 0) {
        char shown[80];
        snprintf(f->why, sizeof f->why, "a file of type \"%s\"", sr_escape(shown, sizeof shown, kind.p, kind.n));
        return SR_OK;
    }
    if (sr_gguf_n_tensors(f->g) == 0) {
        snprintf(f->why, sizeof f->why, "no tensors: a vocabulary");
        return SR_OK;
    }
    if (arch.p && !sr_arch_find(arch.p, arch.n)) {
        sr_err e = {0};
        if (sr_hparams_read(f->g, &f->hp, &e))
            snprintf(f->why, sizeof f->why, "%.199s", e.msg);
        return SR_OK;
    }
    const sr_compilecfg cfg = {.page_tokens = 16, .kv_format_k = SR_F16, .kv_format_v = SR_F16};
    sr_compiled        *c   = NULL;
    if ((s = sr_compile(f->g, &cfg, &c, err)))
        return s;
    f->hp = c->hp;
    sr_compiled_close(c);
    return SR_OK;
}

static sr_status gather(facts *f, sr_err *err)
{
    sr_status s = sr_gguf_open(f->path, &f->g, err);
    if (s)
        return s;
    sr_err e = {0};
    if ((s = check_tokenizer(f, &e)) || (s = check_model(f, &e))) {
        char   shown[120];
        size_t n = strlen(f->path), from = n > 100 ? n - 100 : 0;
        sr_escape(shown, sizeof shown, f->path + from, n - from);
        if (strstr(e.msg, shown)) /* the reader's own messages name the file */
            return sr_raise(err, s, "%s", e.msg);
        return sr_raise(err, s, "%s%s: %.340s", from ? "..." : "", shown, e.msg);
    }
    for (size_t i = 0; i < sr_gguf_n_tensors(f->g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(f->g, i);
        f->n_param += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; /* <= bytes * 2: cannot wrap */
        f->bytes += t->bytes;
    }
    return SR_OK;
}

/* ---- the summary ------------------------------------------------------------------------------------------ */

/* "4.92 GB", "7.02 B" (parameters): three digits. */
static const char *human(char out[24], double v, const char *unit)
{
    static const char *const prefix[] = {"", "k", "M", "G", "T", "P"};
    size_t                   i        = 0;
    for (; v >= 999.5 && i + 1 < SR_COUNT(prefix); i++)
        v /= 1000;
    snprintf(out, 24, "%.*f %s%s", i == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2, v, prefix[i], unit);
    return out;
}

static void print_string(const sr_gguf *g, const char *label, const char *key)
{
    const sr_gguf_kv *kv = sr_gguf_find(g, key);
    char              shown[200];
    if (kv && kv->type == SR_GGUF_STRING && kv->str->n)
        printf("%-11s%s\n", label, sr_escape(shown, sizeof shown, kv->str->p, kv->str->n));
}

static void print_model(const facts *f)
{
    const sr_hparams *h = &f->hp;
    char              a[24], b[24], c[24];
    print_string(f->g, "name", "general.name");
    print_string(f->g, "arch", "general.architecture");
    if (!h->arch || f->why[0]) {
        printf("%-11scannot be run: %s\n", "model", f->why);
    } else {
        printf("%-11s%u layers of %u, %u heads of %u (%u for K and V), feed-forward %u\n", "model", h->n_layer, h->n_embd, h->n_head,
               h->head_dim, h->n_head_kv, h->n_ff);
        uint64_t kv = (uint64_t)h->n_layer * h->n_head_kv * h->head_dim * 2 * 2;
        printf("%-11s%u tokens trained, KV cache %s a token as F16, %s for all\n", "context", h->ctx_train, human(a, (double)kv, "B"),
               human(b, (double)kv * h->ctx_train, "B"));
        printf("%-11sbase %g%s", "rope", (double)h->rope.base, h->rope.yarn ? ", YaRN" : "");
        if (h->rope.factor != 1)
            printf(" x %g from %u", (double)h->rope.factor, h->rope.ctx_orig);
        puts(sr_gguf_tensor(f->g, "rope_freqs.weight") ? ", with frequency factors" : "");
    }
    if (f->n_param)
        printf("%-11s%zu tensors, %s parameters, %s, %.2f bits each\n", "weights", sr_gguf_n_tensors(f->g),
               human(a, (double)f->n_param, ""), human(c, (double)f->bytes, "B"), (double)f->bytes * 8 / (double)f->n_param);
}

/* Share of the parameters in each format. */
static void print_formats(const facts *f)
{
    uint64_t bytes[64] = {0};
    bool     first     = true;
    for (size_t i = 0; i < sr_gguf_n_tensors(f->g); i++)
        bytes[sr_gguf_tensor_at(f->g, i)->dtype % 64] += sr_gguf_tensor_at(f->g, i)->bytes;
    for (uint32_t t = 0; t < SR_COUNT(bytes); t++) {
        if (!bytes[t])
            continue;
        printf(first ? "%-11s%s %.1f %%" : "%s%s %.1f %%", first ? "formats" : ", ", sr_dtype_name(t),
               100.0 * (double)bytes[t] / (double)f->bytes);
        first = false;
    }
    if (!first)
        putchar('\n');
}

static void print_tokenizer(const facts *f)
{
    const sr_gguf_kv *tok = sr_gguf_find(f->g, "tokenizer.ggml.tokens"), *model = sr_gguf_find(f->g, "tokenizer.ggml.model");
    const sr_gguf_kv *pre = sr_gguf_find(f->g, "tokenizer.ggml.pre"), *chat = sr_gguf_find(f->g, "tokenizer.chat_template");
    char              a[80], b[80];
    if (!tok && !model) {
        printf("%-11snone\n", "tokenizer");
        return;
    }
    bool has_model = model && model->type == SR_GGUF_STRING, has_pre = pre && pre->type == SR_GGUF_STRING;
    printf("%-11s%s%s%s, %" PRIu64 " tokens, %s", "tokenizer",
           has_model ? sr_escape(a, sizeof a, model->str->p, model->str->n) : "unnamed", has_pre ? " " : "",
           has_pre ? sr_escape(b, sizeof b, pre->str->p, pre->str->n) : "", tok ? tok->n : 0,
           chat && chat->type == SR_GGUF_STRING ? "chat template" : "no chat template");
    if (chat && chat->type == SR_GGUF_STRING)
        printf(" of %zu bytes", chat->str->n);
    putchar('\n');
    if (f->no_tok[0])
        printf("%-11scannot be used: %s\n", "", f->no_tok);
}

static void print_summary(const facts *f)
{
    char     a[24], shown[400];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < sr_gguf_files(f->g); i++)
        bytes += sr_gguf_file_bytes(f->g, i);
    printf("%-11s%s, GGUF, %s in %u file%s, %zu keys\n", "file", sr_escape(shown, sizeof shown, f->path, strlen(f->path)),
           human(a, (double)bytes, "B"), sr_gguf_files(f->g), sr_gguf_files(f->g) == 1 ? "" : "s", sr_gguf_n_kv(f->g));
    print_model(f);
    print_formats(f);
    print_tokenizer(f);
}

static void print_tensors(const sr_gguf *g)
{
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        char             shape[100];
        int              at = 0;
        for (uint32_t d = t->n_dims; d-- > 0;)
            at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%" PRIu64, at ? " x " : "", t->ne[d]);
        char shown[280];
        printf("%-36s %-5s %-20s %" PRIu64 " bytes at %" PRIu64, sr_escape(shown, sizeof shown, t->name, strlen(t->name)),
               sr_dtype_name(t->dtype), shape, t->bytes, t->offset);
        if (sr_gguf_files(g) > 1)
            printf(" of part %u", t->file + 1);
        putchar('\n');
    }
}

/* ---- JSON -------------------------------------------------------------------------------------------------- */

/* Long strings make a large document: what is finished goes out before more is made. */
static void drain(sr_buf *b)
{
    fwrite(b->p, 1, b->n, stdout);
    b->n = 0;
}

static void json_item(sr_jsonw *w, const char *key, const sr_gguf_kv *kv, uint64_t i)
{
    switch (kv->item) {
    case SR_GGUF_STRING: sr_json_strn(w, key, kv->str[i].p, kv->str[i].n); break;
    case SR_GGUF_BOOL: sr_json_bool(w, key, sr_gguf_int_at(kv, i) != 0); break;
    case SR_GGUF_F32: sr_json_f32(w, key, sr_gguf_f32_at(kv, i)); break;
    case SR_GGUF_F64: sr_json_num(w, key, (double)sr_gguf_f32_at(kv, i)); break;
    case SR_GGUF_U64: sr_json_uint(w, key, (uint64_t)sr_gguf_int_at(kv, i)); break;
    default: sr_json_int(w, key, sr_gguf_int_at(kv, i)); break;
    }
}

/* Arrays by their length and first items: a vocabulary is not what one asks a summary for. */
static void json_metadata(sr_jsonw *w, const sr_gguf *g)
{
    sr_json_obj(w, "metadata");
    for (size_t i = 0; i < sr_gguf_n_kv(g); i++) {
        const sr_gguf_kv *kv = sr_gguf_kv_at(g, i);
        if (kv->type != SR_GGUF_ARRAY) {
            json_item(w, kv->key, kv, 0);
        } else {
            sr_json_obj(w, kv->key);
            sr_json_uint(w, "count", kv->n);
            sr_json_arr(w, "first");
            for (uint64_t k = 0; k < kv->n && k < 8; k++)
                json_item(w, NULL, kv, k);
            sr_json_end(w);
            sr_json_end(w);
        }
        drain(w->out);
    }
    sr_json_end(w);
}

static void json_tensors(sr_jsonw *w, const sr_gguf *g)
{
    sr_json_arr(w, "tensors");
    for (size_t i = 0; i < sr_gguf_n_tensors(g); i++) {
        const sr_tensor *t = sr_gguf_tensor_at(g, i);
        sr_json_obj(w, NULL);
        sr_json_str(w, "name", t->name);
        sr_json_str(w, "type", sr_dtype_name(t->dtype));
        sr_json_arr(w, "shape"); /* slowest first */
        for (uint32_t d = t->n_dims; d-- > 0;)
            sr_json_uint(w, NULL, t->ne[d]);
        sr_json_end(w);
        sr_json_uint(w, "file", t->file);
        sr_json_uint(w, "offset", t->offset);
        sr_json_uint(w, "bytes", t->bytes);
        sr_json_end(w);
        drain(w->out);
    }
    sr_json_end(w);
}

static bool print_json(const facts *f)
{
    sr_buf            b = {0};
    sr_jsonw          w = {.out = &b};
    const sr_hparams *h = &f->hp;
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "file", f->path);
    sr_json_str(&w, "format", "gguf");
    sr_json_uint(&w, "files", sr_gguf_files(f->g));
    sr_json_bool(&w, "runnable", h->arch && !f->why[0] && !f->no_tok[0]);
    sr_json_str(&w, "why_not", f->why[0] ? f->why : f->no_tok[0] ? f->no_tok : NULL);
    sr_json_uint(&w, "parameters", f->n_param);
    sr_json_uint(&w, "tensor_bytes", f->bytes);
    if (h->arch && !f->why[0]) {
        sr_json_obj(&w, "hyperparameters");
        const struct { const char *name; uint32_t v; } n[] = {
            {"layers", h->n_layer}, {"width", h->n_embd}, {"heads", h->n_head}, {"kv_heads", h->n_head_kv}, {"head_dim", h->head_dim},
            {"feed_forward", h->n_ff}, {"vocabulary", h->n_vocab}, {"context", h->ctx_train}};
        sr_json_str(&w, "architecture", h->arch->name);
        for (size_t i = 0; i < SR_COUNT(n); i++)
            sr_json_uint(&w, n[i].name, n[i].v);
        sr_json_f32(&w, "rope_base", h->rope.base);
        sr_json_f32(&w, "rope_factor", h->rope.factor);
        sr_json_f32(&w, "norm_eps", h->eps);
        sr_json_end(&w);
    }
    json_metadata(&w, f->g);
    json_tensors(&w, f->g);
    sr_json_end(&w);
    sr_buf_char(&b, '\n');
    bool ok = !b.failed;
    if (ok)
        drain(&b);
    sr_buf_end(&b);
    return ok;
}

int sr_cmd_info(int argc, char **argv)
{
    bool             json = false, tensors = false;
    const sr_opt     opt[] = {SR_O_FLAG("json", 0, json, "everything as one JSON object"),
                              SR_O_FLAG("tensors", 0, tensors, "list the tensors, too")};
    const sr_optspec spec  = {"info", "FILE", "Check a model file and say what is in it.", opt, SR_COUNT(opt),
                              .min_operands = 1, .max_operands = 1};
    facts            f     = {0};
    sr_err           err   = {0};
    int              rc    = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    f.path = argv[1];
    rc     = gather(&f, &err) ? 1 : 0;
    if (!rc && json && !print_json(&f))
        rc = 1, sr_raise(&err, SR_NOMEM, "host memory for the report");
    if (!rc && !json)
        print_summary(&f);
    if (!rc && !json && tensors)
        print_tensors(f.g);
    if (rc)
        fprintf(stderr, "strata info: %s\n", err.msg);
    sr_gguf_close(f.g);
    return rc;
}
