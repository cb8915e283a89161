/* cmd_perplexity.c - how surprised a model is by a text: the yardstick of formats and kernels.
 *
 * llama.cpp's definition, so that figures compare: the text is tokenised whole; chunks of 512 tokens that do not
 * overlap, the first token of each replaced by BOS where the model has BOS put in front; of each chunk the second half
 * is scored: tokens chunk/2 + 1 .. chunk - 1, each given all before it.  What is left at the end is not used.
 *     ppl = exp(mean of -log p),  +- ppl x standard error of that mean
 * With --skip-threshold or --early-exit the whole model is compared with what is left of it, token by token (ppl_skip.h); else
 * the chunks are SR_SCORE requests through the engine's port, as a server would do them. */
#include "app/ask.h"
#include "app/commands.h"
#include "app/ppl_skip.h"
#include "app/session.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 1 << 30, ROWS_MAX = 512, IN_FLIGHT = 2 };

typedef struct {
    sr_sessioncfg cfg;
    const char   *file;
    uint32_t      chunk, chunks;
    bool          json;
} options;
typedef struct { double sum, sum2; uint64_t n; } nll;

static sr_status read_file(const char *path, sr_buf *out, sr_err *err)
{
    char  block[65536];
    FILE *f = fopen(path, "re");
    if (!f)
        return sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    size_t n;
    out->limit = TEXT_MAX;
    while ((n = fread(block, 1, sizeof block, f)) > 0 && sr_buf_add(out, block, n))
        ;
    if (ferror(f))
        sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    else if (out->failed)
        sr_raise(err, SR_INVALID, "%s: larger than %d MiB, or out of memory", path, TEXT_MAX >> 20);
    fclose(f);
    return err->status;
}

static void add(nll *s, double logprob)
{
    s->sum -= logprob;
    s->sum2 += logprob * logprob;
    s->n++;
}

static double ppl_of(const nll *s) { return exp(s->sum / (double)s->n); }

static double error_of(const nll *s)
{
    double mean = s->sum / (double)s->n, var = s->sum2 / (double)s->n - mean * mean;
    return s->n > 1 && var > 0 ? sqrt(var / (double)(s->n - 1)) * ppl_of(s) : 0;
}

static sr_status post(sr_session *s, const options *o, int32_t *tok, uint64_t id, bool bos, const sr_text *t, sr_err *err)
{
    if (bos)
        tok[0] = sr_tokenizer_bos(t->tok);
    sr_request r  = {.id = id, .what = SR_SCORE, .tok = tok, .n_tok = o->chunk, .n_prompt_logprobs = 1, .salt = id,
                     .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
    sr_status  st = sr_port_post(s->port, &r, err);
    return st == SR_AGAIN ? sr_raise(err, SR_INVALID, "a chunk of %u tokens does not fit the engine's queue", o->chunk) : st;
}

static void progress(uint64_t done, uint64_t n, const nll *s, uint64_t since)
{
    double left = (double)(sr_now_ns() - since) * 1e-9 / (double)done * (double)(n - done);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kchunk %llu of %llu: %.4f, %.0f s left", (unsigned long long)done, (unsigned long long)n,
                ppl_of(s), left);
}

/* Scores all chunks; one waits while the other computes. */
static sr_status score(sr_session *s, const options *o, const sr_text *t, int32_t *tok, uint64_t n, nll *sum, sr_err *err)
{
    sr_event ev[128];
    size_t   got;
    uint64_t posted = 0, done = 0, base = s->next_id + 1, since = sr_now_ns();
    bool     bos = sr_tokenizer_adds_bos(t->tok) && sr_tokenizer_bos(t->tok) >= 0;
    s->next_id += n;
    while (done < n) {
        for (; posted < n && posted < done + IN_FLIGHT; posted++)
            if (post(s, o, tok + posted * o->chunk, base + posted, bos, t, err))
                return err->status;
        if (sr_session_wait(s, -1, ev, SR_COUNT(ev), &got, err))
            return err->status;
        for (size_t i = 0; i < got; i++) {
            if (ev[i].kind == SR_EV_ERROR)
                return sr_raise(err, ev[i].status, "%s < while scoring chunk %llu", ev[i].msg,
                                (unsigned long long)(ev[i].id - base + 1));
            if (ev[i].kind == SR_EV_PROMPT && ev[i].pos > o->chunk / 2)
                add(sum, (double)ev[i].logprob);
            if (ev[i].kind == SR_EV_DONE)
                progress(++done, n, sum, since);
        }
    }
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    return SR_OK;
}

static void report(const options *o, const sr_session *s, const nll *sum, uint64_t n, double seconds)
{
    if (!o->json) {
        printf("PPL %.4f +- %.4f  (%s, %llu chunks of %u, %llu tokens scored, %.0f tok/s)\n", ppl_of(sum), error_of(sum), s->id,
               (unsigned long long)n, o->chunk, (unsigned long long)sum->n, (double)n * o->chunk / seconds);
        return;
    }
    sr_buf   text = {0};
    sr_jsonw w    = {.out = &text};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "model", s->id);
    sr_json_str(&w, "ftype", s->info.ftype);
    sr_json_str(&w, "file", o->file);
    sr_json_num(&w, "ppl", ppl_of(sum));
    sr_json_num(&w, "error", error_of(sum));
    sr_json_num(&w, "nll", sum->sum / (double)sum->n);
    sr_json_uint(&w, "chunk", o->chunk);
    sr_json_uint(&w, "chunks", n);
    sr_json_uint(&w, "tokens", sum->n);
    sr_json_num(&w, "tok_s", (double)n * o->chunk / seconds);
    sr_json_end(&w);
    printf("%s\n", text.p ? text.p : "");
    sr_buf_end(&text);
}

static sr_status measure(options *o, sr_session *s, const sr_text *t, const sr_buf *text, sr_err *err)
{
    sr_ids   ids   = {0};
    nll      sum   = {0};
    uint64_t since = sr_now_ns(), n = 0;
    if (sr_tokenizer_encode(t->tok, text->p ? text->p : "", text->n, SR_TOK_ADD_SPECIAL, &ids, err) == SR_OK) {
        n = ids.n / o->chunk;
        n = o->chunks ? SR_MIN(n, (uint64_t)o->chunks) : n;
        if (n == 0)
            sr_raise(err, SR_INVALID, "%s: %zu tokens, less than one chunk of %u", o->file, ids.n, o->chunk);
        else if (o->cfg.skip_threshold > 0 || o->cfg.early_exit > 0) {
            bool             bos = sr_tokenizer_adds_bos(t->tok) && sr_tokenizer_bos(t->tok) >= 0;
            const sr_pplskip x   = {&o->cfg, o->file, o->chunk, (uint32_t)n, ids.p, bos ? sr_tokenizer_bos(t->tok) : -1, o->json};
            sr_status        st  = sr_ppl_skip(&x, s, err);
            sr_ids_end(&ids);
            return st;
        } else if (score(s, o, t, ids.p, n, &sum, err) == SR_OK && (sum.n != n * (o->chunk - o->chunk / 2 - 1) || !isfinite(sum.sum)))
            sr_raise(err, SR_INVALID, "%llu of %llu tokens scored, mean -log p %g: the model gives no usable logits",
                     (unsigned long long)sum.n, (unsigned long long)(n * (o->chunk - o->chunk / 2 - 1)),
                     sum.sum / (double)sum.n);
    }
    sr_ids_end(&ids);
    if (err->status == SR_OK)
        report(o, s, &sum, n, (double)(sr_now_ns() - since) * 1e-9);
    return err->status;
}

static int run(options *o)
{
    sr_err      err  = {0};
    sr_buf      text = {0};
    sr_session *s    = NULL;
    sr_text     t    = {0};
    o->cfg.ctx             = o->chunk;
    o->cfg.max_seqs        = IN_FLIGHT;
    o->cfg.out_rows        = SR_MIN(o->chunk, (uint32_t)ROWS_MAX);
    o->cfg.max_step_tokens = SR_MIN(o->chunk, (uint32_t)ROWS_MAX);
    if (read_file(o->file, &text, &err) == SR_OK && sr_session_open(&o->cfg, &s, &err) == SR_OK &&
        sr_text_open(s->path, &t, &err) == SR_OK)
        measure(o, s, &t, &text, &err);
    sr_text_close(&t);
    sr_session_close(s);
    sr_buf_end(&text);
    if (err.status)
        fprintf(stderr, "strata perplexity: %s\n", err.msg);
    return err.status ? 1 : 0;
}

int sr_cmd_perplexity(int argc, char **argv)
{
    options      o     = {.cfg = {.device = "auto", .kv_k = "f16", .kv_v = "f16"}, .chunk = 512};
    const sr_opt opt[] = {
        SR_O_MODEL(o.cfg),
        SR_O_UINT("chunk", 0, o.chunk, "N", "tokens of a chunk", 8, 1 << 20),
        SR_O_UINT("chunks", 0, o.chunks, "N", "only the first N chunks; without it, all", 1, 1u << 31),
        SR_O_COMPUTE(o.cfg),
        SR_O_SKIP(o.cfg),
        SR_O_FLAG("json", 0, o.json, "as one JSON object"),
        SR_O_FLAG("verbose", 'v', o.cfg.verbose, "what was loaded, on stderr"),
    };
    const sr_optspec spec = {"perplexity", "FILE",
                             "Perplexity of a model on a text file, by llama.cpp's definition: chunks of 512 tokens, BOS first, the "
                             "second half of each scored. With --skip-threshold or --early-exit: of the whole model and of what is left, their KL and their speed.",
                             opt, SR_COUNT(opt), .min_operands = 1, .max_operands = 1};
    int rc = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    o.file = argv[1];
    return run(&o);
}
