#include "serve/metrics.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"

const short sr_metric_status[SR_STATUSES] = {200, 204, 304, 400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 429, 431, 499, 500, 501, 503, 504, 505, 0};

void sr_hist_add(sr_hist *h, uint64_t ns)
{
    uint64_t limit = 1000000;
    int      i     = 0;
    while (i < SR_HIST && ns > limit)
        i++, limit *= 2;
    h->bucket[i]++;
    h->n++;
    h->sum += (double)ns * 1e-9;
}

void sr_metrics_http(sr_metrics *m, uint32_t route, int status)
{
    int i = 0;
    while (sr_metric_status[i] && sr_metric_status[i] != status)
        i++;
    m->http[route < SR_ROUTES ? route : 0][i]++;
}

static void head(sr_buf *o, const char *name, const char *type, const char *help)
{
    sr_buf_fmt(o, "# HELP strata_%s %s\n# TYPE strata_%s %s\n", name, help, name, type);
}

static void number(sr_buf *o, const char *name, const char *type, const char *help, uint64_t v)
{
    head(o, name, type, help);
    sr_buf_fmt(o, "strata_%s %llu\n", name, (unsigned long long)v);
}

static void seconds(sr_buf *o, const char *name, const char *help, uint64_t ns)
{
    head(o, name, "counter", help);
    sr_buf_fmt(o, "strata_%s %.9g\n", name, (double)ns * 1e-9);
}

static void histogram(sr_buf *o, const char *name, const char *help, const sr_hist *h)
{
    uint64_t n = 0;
    double   le = 0.001;
    head(o, name, "histogram", help);
    for (int i = 0; i < SR_HIST; i++, le *= 2)
        sr_buf_fmt(o, "strata_%s_bucket{le=\"%.6g\"} %llu\n", name, le, (unsigned long long)(n += h->bucket[i]));
    sr_buf_fmt(o, "strata_%s_bucket{le=\"+Inf\"} %llu\nstrata_%s_sum %.9g\nstrata_%s_count %llu\n", name, (unsigned long long)h->n,
               name, h->sum, name, (unsigned long long)h->n);
}

static void engine(const sr_portstats *p, sr_buf *o)
{
    static const sr_portstats none;
    p = p ? p : &none;
    number(o, "requests_running", "gauge", "Choices that the engine is computing.", p->running);
    number(o, "requests_waiting", "gauge", "Choices that wait for a place in the batch.", p->waiting);
    number(o, "requests_paused", "gauge", "Choices paused because their client reads slowly.", p->paused);
    number(o, "kv_blocks", "gauge", "KV cache blocks on the device.", p->pages_total);
    number(o, "kv_blocks_used", "gauge", "KV cache blocks held by live requests.", p->pages_used);
    number(o, "kv_blocks_cached", "gauge", "KV cache blocks of finished requests, kept for their prefix.", p->pages_cached);
    number(o, "kv_blocks_free", "gauge", "KV cache blocks that hold nothing.", p->pages_free);
    number(o, "kv_block_tokens", "gauge", "Tokens in a KV cache block.", p->page_tokens);
    number(o, "max_context_tokens", "gauge", "Longest prompt and answer together.", p->max_ctx);
    number(o, "max_sequences", "gauge", "Choices that may run at once.", p->max_seqs);
    number(o, "prefix_cache_hit_tokens_total", "counter", "Prompt tokens found in the prefix cache.", p->prefix_hits);
    number(o, "prefix_cache_miss_tokens_total", "counter", "Prompt tokens not found in the prefix cache.", p->prefix_misses);
    number(o, "prompt_tokens_total", "counter", "Prompt tokens computed.", p->tokens_prompt);
    number(o, "cached_tokens_total", "counter", "Prompt tokens taken from the cache.", p->tokens_cached);
    number(o, "generated_tokens_total", "counter", "Tokens made.", p->tokens_made);
    number(o, "steps_total", "counter", "Engine steps.", p->steps);
    number(o, "preemptions_total", "counter", "Choices thrown out to make room.", p->preemptions);
    number(o, "requests_done_total", "counter", "Requests the engine finished.", p->requests_done);
    number(o, "requests_failed_total", "counter", "Requests the engine ended with an error.", p->requests_failed);
    number(o, "requests_cancelled_total", "counter", "Choices cancelled.", p->cancelled);
    number(o, "engine_fault", "gauge", "1 when the engine has died.", p->fault);
    number(o, "engine_restarts_total", "counter", "Engine processes that have died and were replaced.", p->restarts);
    seconds(o, "step_seconds_total", "Time in steps.", p->ns_steps);
    seconds(o, "step_host_seconds_total", "Time in steps spent on the host.", p->ns_host);
    seconds(o, "step_wait_seconds_total", "Time in steps spent waiting for the device.", p->ns_wait);
    number(o, "blocks", "gauge", "Attention and feed-forward blocks of the model.", p->blocks);
    number(o, "blocks_left_out", "gauge", "Of these, left out of every step (--skip-threshold).", p->blocks_left_out);
    number(o, "early_exit_tests_total", "counter", "Steps in which a prediction was tested before the last layer (--early-exit).", p->exit_tests);
    number(o, "early_exits_total", "counter", "Steps that ended with it.", p->exits);
    head(o, "weights_bytes", "gauge", "Bytes of weights by where they lie; those outside come in every step.");
    sr_buf_fmt(o, "strata_weights_bytes{tier=\"device\"} %llu\nstrata_weights_bytes{tier=\"outside\"} %llu\n",
               (unsigned long long)p->bytes_device, (unsigned long long)p->bytes_outside);
    number(o, "streamed_bytes_total", "counter", "Bytes of weights brought to the device by steps.", p->bytes_streamed);
    number(o, "stream_steps_total", "counter", "Steps for which weights came over the bus.", p->stream_steps);
    seconds(o, "stream_step_seconds_total", "Their time.", p->ns_stream_steps);
    number(o, "cpu_weight_bytes_total", "counter", "Weights that the CPU computed beside the device in them.", p->cpu_bytes);
    seconds(o, "cpu_busy_seconds_total", "Time it took for that; the rest of the steps it was idle.", p->ns_cpu_busy);
    number(o, "bus_bytes_total", "counter", "Weights in copies whose end was seen.", p->bus_bytes);
    seconds(o, "bus_busy_seconds_total", "Time of these copies; the rest of the steps the bus was idle.", p->ns_bus_busy);
    head(o, "cpu_share", "gauge", "Share of all feed-forwards that the CPU computes in small steps.");
    sr_buf_fmt(o, "strata_cpu_share %.6f\n", (double)p->cpu_share_ppm * 1e-6);
    number(o, "cpu_share_changes_total", "counter", "How often they were divided anew.", p->share_changes);
    head(o, "step_predicted_seconds", "gauge", "A step of one token as the plan predicts it; 0: all weights lie on the device.");
    sr_buf_fmt(o, "strata_step_predicted_seconds %.9f\n", (double)p->ns_predicted * 1e-9);
}

/* By name: the keys themselves are nowhere. */
static void per_key(const sr_keys *t, sr_buf *o)
{
    static const struct { const char *name, *type, *help, *label; size_t at; } row[] = {
        {"key_requests_total", "counter", "Requests of an API key that were taken.", "", offsetof(sr_keystat, requests)},
        {"key_requests_refused_total", "counter", "Requests of an API key beyond one of its limits.", ",limit=\"at_once\"", offsetof(sr_keystat, refused[0])},
        {"key_requests_refused_total", NULL, NULL, ",limit=\"per_minute\"", offsetof(sr_keystat, refused[1])},
        {"key_prompt_tokens_total", "counter", "Prompt tokens of an API key's requests.", "", offsetof(sr_keystat, prompt)},
        {"key_generated_tokens_total", "counter", "Tokens made for an API key.", "", offsetof(sr_keystat, made)},
    };
    uint32_t n = sr_keys_count(t);
    for (size_t r = 0; n && r < SR_COUNT(row); r++) {
        if (row[r].type)
            head(o, row[r].name, row[r].type, row[r].help);
        for (uint32_t i = 1; i <= n; i++) {
            const sr_keystat *s = sr_keys_stat(t, i);
            sr_buf_fmt(o, "strata_%s{key=\"%s\"%s} %llu\n", row[r].name, s->name, row[r].label,
                       (unsigned long long)*(const uint64_t *)((const char *)s + row[r].at));
        }
    }
    if (n)
        head(o, "key_requests_running", "gauge", "Requests of an API key that are not answered yet.");
    for (uint32_t i = 1; i <= n; i++)
        sr_buf_fmt(o, "strata_key_requests_running{key=\"%s\"} %u\n", sr_keys_stat(t, i)->name, sr_keys_stat(t, i)->running);
}

void sr_metrics_text(const sr_metricsview *v, sr_buf *o)
{
    const sr_metrics *m = v->m;
    number(o, "ready", "gauge", "1 when requests are served.", v->ready);
    number(o, "device_fallback", "gauge", "1 when the CPU computes because no GPU could be used (--device auto); the log says why.", v->fallback);
    engine(v->port, o);
    head(o, "http_requests_total", "counter", "Answers by route and status; 499: the client left first.");
    for (uint32_t r = 0; r < v->n_route; r++)
        for (int i = 0; i < SR_STATUSES; i++)
            if (m->http[r][i])
                sr_buf_fmt(o, "strata_http_requests_total{handler=\"%s\",status=\"%d\"} %llu\n", v->route[r], sr_metric_status[i],
                           (unsigned long long)m->http[r][i]);
    number(o, "http_connections", "gauge", "Open connections.", v->conns);
    number(o, "http_refused_connections_total", "counter", "Connections over a limit.", v->refused);
    number(o, "http_generations", "gauge", "Generations in flight, as the server sees them.", v->jobs);
    number(o, "http_preparing", "gauge", "Request bodies being parsed and tokenised.", v->preparing);
    number(o, "http_clients_left_total", "counter", "Generations cancelled because the client left.", m->left);
    number(o, "http_slow_readers_total", "counter", "Connections ended because the client did not read.", v->slow);
    number(o, "http_prompt_tokens_total", "counter", "Prompt tokens of requests taken.", m->tokens_prompt);
    number(o, "http_answer_tokens_total", "counter", "Tokens received for answers.", m->tokens_sent);
    number(o, "http_finished_stop_total", "counter", "Choices that ended at an end token or a stop string.", m->finished_stop);
    number(o, "http_finished_length_total", "counter", "Choices that ended at their length.", m->finished_length);
    number(o, "http_failed_total", "counter", "Generations that ended with an error.", m->failed);
    number(o, "http_timeouts_total", "counter", "Generations ended by their time limit.", m->timeouts);
    number(o, "http_late_ends_total", "counter", "Cancellations that had to wait for the engine's command ring.", m->late_ends);
    per_key(v->keys, o);
    if (v->nvml)
        sr_metrics_gpu(v->nvml, o);
    if (v->cert_expires) {
        number(o, "tls_handshakes_total", "counter", "TLS handshakes that were completed.", v->handshakes);
        number(o, "tls_handshakes_failed_total", "counter", "Connections that ended before their TLS handshake was complete.", v->unshaken);
        number(o, "tls_certificate_expires_timestamp_seconds", "gauge", "The certificate's last second, Unix time.", (uint64_t)v->cert_expires);
    }
    histogram(o, "time_to_first_token_seconds", "From the first byte of a request to its first token.", &m->ttft);
    histogram(o, "inter_token_latency_seconds", "Between two tokens of a choice.", &m->itl);
    histogram(o, "request_duration_seconds", "From the first byte of a request to the end of its answer.", &m->total);
    sr_metrics_vllm(v, o);
}
