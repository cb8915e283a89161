/* metrics.h - counters and histograms of the server, written as Prometheus text.
 *
 * Threads: the io thread.   Owns: nothing; plain data.   Errors: none.
 * Source:  Prometheus text exposition format 0.0.4.
 */
#ifndef SR_SERVE_METRICS_H
#define SR_SERVE_METRICS_H
#include <stdint.h>
#include "base/buf.h"
#include "engine/port.h"
#include "serve/keys.h"
#include "serve/nvml.h"

enum { SR_HIST = 20 };
typedef struct { uint64_t bucket[SR_HIST + 1], n; double sum; } sr_hist; /* bucket i: <= 1 ms * 2^i; the last: more */
void sr_hist_add(sr_hist *h, uint64_t ns);

/* The same with a table of limits, ending with 0: vLLM's, so that its dashboards fit. */
enum { SR_SCALE_MAX = 24 };
typedef struct { uint64_t bucket[SR_SCALE_MAX + 1], n; double sum; } sr_scaled;
extern const double sr_scale_ttft[], sr_scale_itl[], sr_scale_request[], sr_scale_tokens[], sr_scale_n[];
void sr_scaled_add(sr_scaled *h, const double *scale, double v);

typedef struct {                            /* what vLLM's names count; seconds unless tokens */
    sr_scaled ttft, itl, e2e, queue, prefill, decode, inference, prompt_tokens, generation_tokens, longest, n, max_tokens;
    uint64_t  success[3];                   /* stop, length, abort */
    uint64_t  drafted, accepted;
} sr_vllm;

enum { SR_STATUSES = 22, SR_ROUTES = 40 };
typedef struct {
    uint64_t http[SR_ROUTES][SR_STATUSES];  /* by route and index of status in sr_metric_status */
    uint64_t tokens_prompt, tokens_sent, finished_stop, finished_length, failed, left, timeouts;
    uint64_t late_ends;
    sr_hist  ttft, itl, total;
    sr_vllm  vllm;
} sr_metrics;
extern const short sr_metric_status[SR_STATUSES];
void sr_metrics_http(sr_metrics *m, uint32_t route, int status);

typedef struct {
    const sr_metrics   *m;
    const sr_portstats *port;               /* NULL: no model yet */
    const char *const  *route; uint32_t n_route;
    const char *model;
    uint32_t conns, jobs, preparing;
    uint64_t refused, slow, handshakes, unshaken;
    int64_t  cert_expires;                  /* Unix time; 0: no TLS */
    const sr_keys *keys;                    /* NULL: none */
    sr_nvml  *nvml;                         /* NULL: none */
    bool     ready, fallback;
} sr_metricsview;
void sr_metrics_vllm(const sr_metricsview *v, sr_buf *out); /* metrics_vllm.c */
void sr_metrics_gpu(sr_nvml *g, sr_buf *out);               /* metrics_gpu.c */
void sr_metrics_text(const sr_metricsview *v, sr_buf *out);
#endif
