/* metrics_vllm.c - the same figures under vLLM's names and with its buckets, for dashboards and autoscalers that know those. */
#include "serve/metrics.h"

const double sr_scale_ttft[]    = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560, 0};
const double sr_scale_itl[]     = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 0};
const double sr_scale_request[] = {0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680, 0};
const double sr_scale_tokens[]  = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 0};
const double sr_scale_n[]       = {1, 2, 5, 10, 20, 0};

void sr_scaled_add(sr_scaled *h, const double *scale, double v)
{
    int i = 0;
    while (scale[i] > 0 && v > scale[i])
        i++;
    h->bucket[i]++;
    h->n++;
    h->sum += v;
}

typedef struct { sr_buf *o; const char *labels; } out; /* labels: model_name="..",engine="0" */

static void head(const out *w, const char *name, const char *type, const char *help)
{
    sr_buf_fmt(w->o, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name, type);
}

static void value(const out *w, const char *name, const char *type, const char *help, double v)
{
    head(w, name, type, help);
    sr_buf_fmt(w->o, "vllm:%s{%s} %.15g\n", name, w->labels, v);
}

static void histogram(const out *w, const char *name, const char *help, const sr_scaled *h, const double *scale)
{
    uint64_t n = 0;
    head(w, name, "histogram", help);
    for (int i = 0; scale[i] > 0; i++)
        sr_buf_fmt(w->o, "vllm:%s_bucket{%s,le=\"%.15g\"} %llu\n", name, w->labels, scale[i], (unsigned long long)(n += h->bucket[i]));
    sr_buf_fmt(w->o, "vllm:%s_bucket{%s,le=\"+Inf\"} %llu\nvllm:%s_sum{%s} %.9g\nvllm:%s_count{%s} %llu\n", name, w->labels,
               (unsigned long long)h->n, name, w->labels, h->sum, name, w->labels, (unsigned long long)h->n);
}

/* A label's value: backslash, quote and line feed are escaped (exposition format 0.0.4). */
static void label(const char *s, sr_buf *o)
{
    for (; s && *s; s++) {
        if (*s == '\\' || *s == '"')
            sr_buf_char(o, '\\');
        if (*s == '\n')
            sr_buf_str(o, "\\n");
        else
            sr_buf_char(o, *s);
    }
}

static void engine(const out *w, const sr_portstats *p)
{
    double total = p->pages_total ? (double)p->pages_total : 1;
    value(w, "num_requests_running", "gauge", "Choices that the engine is computing.", (double)p->running);
    value(w, "num_requests_waiting", "gauge", "Choices that wait for a place in the batch.", (double)p->waiting);
    value(w, "kv_cache_usage_perc", "gauge", "Share of the KV cache's blocks held by live requests, 0 to 1.", (double)p->pages_used / total);
    value(w, "prefix_cache_queries_total", "counter", "Prompt tokens looked for in the prefix cache.", (double)(p->prefix_hits + p->prefix_misses));
    value(w, "prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", (double)p->prefix_hits);
    value(w, "num_preemptions_total", "counter", "Choices thrown out to make room.", (double)p->preemptions);
    value(w, "prompt_tokens_total", "counter", "Prompt tokens of requests.", (double)(p->tokens_prompt + p->tokens_cached));
    value(w, "generation_tokens_total", "counter", "Tokens made.", (double)p->tokens_made);
    head(w, "cache_config_info", "gauge", "The KV cache's shape.");
    sr_buf_fmt(w->o, "vllm:cache_config_info{%s,block_size=\"%llu\",num_gpu_blocks=\"%llu\"} 1\n", w->labels, (unsigned long long)p->page_tokens,
               (unsigned long long)p->pages_total);
}

void sr_metrics_vllm(const sr_metricsview *view, sr_buf *o)
{
    static const sr_portstats none;
    static const char *const reasons[] = {"stop", "length", "abort"};
    const sr_vllm *m = &view->m->vllm;
    sr_buf labels = {0};
    sr_buf_str(&labels, "model_name=\"");
    label(view->model, &labels);
    sr_buf_str(&labels, "\",engine=\"0\"");
    out w = {o, labels.p ? labels.p : ""};
    engine(&w, view->port ? view->port : &none);
    head(&w, "request_success_total", "counter", "Choices by why they ended.");
    for (int i = 0; i < 3; i++)
        sr_buf_fmt(o, "vllm:request_success_total{%s,finished_reason=\"%s\"} %llu\n", w.labels, reasons[i], (unsigned long long)m->success[i]);
    value(&w, "spec_decode_num_draft_tokens_total", "counter", "Tokens proposed by speculation.", (double)m->drafted);
    value(&w, "spec_decode_num_accepted_tokens_total", "counter", "Proposed tokens that were right.", (double)m->accepted);
    histogram(&w, "time_to_first_token_seconds", "From the first byte of a request to its first token.", &m->ttft, sr_scale_ttft);
    histogram(&w, "inter_token_latency_seconds", "Between two tokens of a choice.", &m->itl, sr_scale_itl);
    histogram(&w, "e2e_request_latency_seconds", "From the first byte of a request to its last token.", &m->e2e, sr_scale_request);
    histogram(&w, "request_queue_time_seconds", "From posting a request to its admission.", &m->queue, sr_scale_request);
    histogram(&w, "request_prefill_time_seconds", "From admission to the first token.", &m->prefill, sr_scale_request);
    histogram(&w, "request_decode_time_seconds", "From the first token to the last.", &m->decode, sr_scale_request);
    histogram(&w, "request_inference_time_seconds", "From admission to the last token.", &m->inference, sr_scale_request);
    histogram(&w, "request_prompt_tokens", "Prompt tokens of a request.", &m->prompt_tokens, sr_scale_tokens);
    histogram(&w, "request_generation_tokens", "Tokens made for a request.", &m->generation_tokens, sr_scale_tokens);
    histogram(&w, "request_max_num_generation_tokens", "Tokens of a request's longest choice.", &m->longest, sr_scale_tokens);
    histogram(&w, "request_params_n", "Choices asked for.", &m->n, sr_scale_n);
    histogram(&w, "request_params_max_tokens", "Most tokens asked for; requests without a limit are not counted.", &m->max_tokens, sr_scale_tokens);
    o->failed |= labels.failed;
    sr_buf_end(&labels);
}
