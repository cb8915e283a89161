/* bench_url_stat.h - what a load run has measured: counts, errors by kind, distributions of times.
 *
 * A distribution is a histogram of 128 steps an octave, so that a day of tokens takes 22 KB: percentiles are within 0.4 %
 * of the true ones, count, mean, least and most are exact.
 *
 *     ttft   request sent (a new connection included) to the first text                        per request
 *     gap    from one event with text to the next: what a person sees                          per event
 *     tpot   (last text - first text) / (tokens - 1): gaps that do not depend on how a server
 *            groups tokens into events                                                         per request
 *     total  request sent to the end of the answer                                             per request
 *
 * Tokens are those that `usage` tells.  Where a server does not, or a request was cut off at the end of a run, events
 * with text stand for tokens; n_usage and n_guess say how many requests were counted in which way.
 *
 * Owns:    nothing.   Threads: one at a time.   Errors: none.
 */
#ifndef SR_APP_BENCH_URL_STAT_H
#define SR_APP_BENCH_URL_STAT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SR_DIST_BITS = 7, SR_DIST_OCTAVES = 38, SR_DIST_BUCKETS = (SR_DIST_OCTAVES + 1) << SR_DIST_BITS };
typedef struct {
    uint64_t n;
    double   sum, min, max;           /* ns */
    uint32_t bucket[SR_DIST_BUCKETS];
} sr_dist;                            /* zero-initialised = empty */
void   sr_dist_add(sr_dist *, uint64_t ns);
double sr_dist_at(const sr_dist *, double q); /* ns; q in [0, 1]; 0 where there is nothing */
double sr_dist_mean(const sr_dist *);

typedef enum {
    SR_LERR_CONNECT, /* no connection */
    SR_LERR_TLS,     /* no TLS session */
    SR_LERR_TIMEOUT, /* silence for longer than --timeout */
    SR_LERR_CLOSED,  /* the connection ended before the answer did */
    SR_LERR_STATUS,  /* an HTTP status that is not 200 */
    SR_LERR_REPLY,   /* not HTTP, or framed wrongly */
    SR_LERR_EVENT,   /* an event that is not JSON */
    SR_LERR_STREAM,  /* the server said that something failed, within the stream */
    SR_LERR_CUT,     /* the stream ended properly, but the answer did not */
    SR_LERR_COUNT
} sr_lerr;
extern const char *const sr_lerr_name[SR_LERR_COUNT];

enum { SR_STATUSES = 8, SR_LERR_TEXT = 240 };
typedef struct {
    uint32_t concurrency;             /* of the row; 0: requests came at `rate` */
    double   rate;                    /* requests a second */
    double   seconds;                 /* first request sent to last answer's end, or to the cut */
    uint64_t n_ok, n_cut, n_error;    /* cut: still running when the time was over */
    uint64_t errors[SR_LERR_COUNT];
    char     text[SR_LERR_COUNT][SR_LERR_TEXT]; /* the first of each kind */
    struct { int status; uint64_t n; } status[SR_STATUSES]; /* of SR_LERR_STATUS */
    uint64_t n_usage, n_guess;        /* requests whose tokens were told; counted by events */
    uint64_t tokens, events, prompt_tokens, cached_tokens, n_prompt; /* n_prompt: requests that told their prompt */
    uint64_t bytes, idle_lost, connections;
    uint32_t most;                    /* requests in flight at once */
    sr_dist  ttft, gap, tpot, total;
} sr_loadstat;
void sr_load_error(sr_loadstat *, sr_lerr kind, int status, const char *text);
#endif
