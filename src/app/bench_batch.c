#include "app/bench_batch.h"

#include <stdio.h>
#include <unistd.h>

#include "app/ask.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "serve/batch_file.h"

static void show(void *arg, const sr_batchsum *s)
{
    (void)arg;
    fprintf(stderr, "\r\033[K%llu answered, %llu refused, %.1f tok/s", (unsigned long long)s->answered, (unsigned long long)s->refused,
            (double)s->made / ((double)SR_MAX(s->ns, 1u) * 1e-9));
}

static void report_json(const sr_benchbatch *b, const sr_session *s, const sr_batchsum *sum, double width)
{
    sr_buf   text = {0};
    sr_jsonw w    = {.out = &text, .indent = 2};
    double   sec  = (double)SR_MAX(sum->ns, 1u) * 1e-9;
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "model", s->id);
    sr_json_str(&w, "device", s->info.device);
    sr_json_str(&w, "batch_file", b->input);
    sr_json_uint(&w, "batch", b->seqs);
    sr_json_uint(&w, "requests", sum->lines);
    sr_json_uint(&w, "done_before", sum->skipped);
    sr_json_uint(&w, "answered", sum->answered);
    sr_json_uint(&w, "refused", sum->refused);
    sr_json_uint(&w, "invalid", sum->invalid);
    sr_json_uint(&w, "prompt_tokens", sum->prompt);
    sr_json_uint(&w, "cached_tokens", sum->cached);
    sr_json_uint(&w, "made_tokens", sum->made);
    sr_json_num(&w, "seconds", sec);
    sr_json_num(&w, "made_tok_s", (double)sum->made / sec);
    sr_json_num(&w, "all_tok_s", (double)(sum->made + sum->prompt) / sec);
    sr_json_num(&w, "made_per_step", width);
    sr_json_end(&w);
    printf("%s\n", text.p ? text.p : "{}");
    sr_buf_end(&text);
}

static void report(const sr_benchbatch *b, const sr_session *s, const sr_batchsum *sum)
{
    sr_portstats st;
    double       sec = (double)SR_MAX(sum->ns, 1u) * 1e-9;
    sr_port_stats(s->port, &st);
    double width = (double)st.tokens_made / (double)SR_MAX(st.steps, 1u);
    if (b->json) {
        report_json(b, s, sum, width);
        return;
    }
    printf("%s: %llu requests, %llu done before; %llu answered, %llu refused, %llu lines that are no request\n", b->input,
           (unsigned long long)sum->lines, (unsigned long long)sum->skipped, (unsigned long long)sum->answered,
           (unsigned long long)sum->refused, (unsigned long long)sum->invalid);
    printf("%s on %s, %u at once: %llu prompt tokens (%llu cached) and %llu made in %.2f s, %.1f tok/s made, %.1f tok/s in all, %.1f made a step\n",
           s->id, s->info.device, b->seqs, (unsigned long long)sum->prompt, (unsigned long long)sum->cached, (unsigned long long)sum->made,
           sec, (double)sum->made / sec, (double)(sum->made + sum->prompt) / sec, width);
}

sr_status sr_bench_batch(const sr_benchbatch *b, sr_err *err)
{
    sr_session *s   = NULL;
    sr_text     t   = {0};
    sr_batchsum sum = {0};
    b->cfg->max_seqs = b->seqs;
    if (sr_session_open(b->cfg, &s, err) == SR_OK && sr_text_open(s->path, &t, err) == SR_OK) {
        const sr_modelinfo *i = &s->info;
        const sr_batchcfg   c = {.model = {.port = s->port, .tok = t.tok, .chat = t.chat, .ctx = i->ctx, .arch = i->arch, .ftype = i->ftype,
                                           .device = i->device, .n_params = i->n_params, .bytes = i->bytes, .ctx_train = i->ctx_train, .n_embd = i->n_embd},
                                 .model_id = s->id, .input = b->input, .output = b->output, .in_flight = 2 * b->seqs,
                                 .progress = isatty(STDERR_FILENO) ? show : NULL};
        sr_status st = sr_batch_run(&c, &sum, err);
        if (isatty(STDERR_FILENO))
            fputs("\r\033[K", stderr);
        if (st == SR_OK)
            report(b, s, &sum);
    }
    sr_text_close(&t);
    sr_session_close(s);
    return err->status;
}
