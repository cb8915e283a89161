/* bench_url_stat.c - see bench_url_stat.h. */
#include "app/bench_url_stat.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

const char *const sr_lerr_name[SR_LERR_COUNT] = {"connect", "tls", "timeout", "closed", "status", "reply", "event", "stream", "unfinished"};

/* Buckets are linear below 2^BITS and 2^BITS an octave above. */
static uint32_t bucket_of(uint64_t v)
{
    enum { N = 1 << SR_DIST_BITS };
    if (v < N)
        return (uint32_t)v;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(v) - SR_DIST_BITS;
    if (octave >= SR_DIST_OCTAVES)
        return SR_DIST_BUCKETS - 1;
    return (octave << SR_DIST_BITS) + (uint32_t)(v >> octave);
}

static double lower_end(uint32_t b)
{
    uint32_t octave = b >> SR_DIST_BITS;
    if (octave == 0)
        return b;
    octave--;
    return (double)((uint64_t)(b - (octave << SR_DIST_BITS)) << octave);
}

void sr_dist_add(sr_dist *d, uint64_t ns)
{
    double v = (double)ns;
    d->min = d->n ? SR_MIN(d->min, v) : v;
    d->max = d->n ? SR_MAX(d->max, v) : v;
    d->sum += v;
    d->n++;
    d->bucket[bucket_of(ns)]++;
}

double sr_dist_mean(const sr_dist *d) { return d->n ? d->sum / (double)d->n : 0; }

double sr_dist_at(const sr_dist *d, double q)
{
    if (!d->n)
        return 0;
    double   want = q * (double)(d->n - 1) + 0.5; /* the middle of that rank's share */
    uint64_t below = 0;
    for (uint32_t b = 0; b < SR_DIST_BUCKETS; b++) {
        if ((double)(below + d->bucket[b]) <= want) {
            below += d->bucket[b];
            continue;
        }
        double lo = lower_end(b), hi = b + 1 < SR_DIST_BUCKETS ? lower_end(b + 1) : d->max;
        double v  = lo + (hi - lo) * (want - (double)below) / d->bucket[b];
        return SR_MIN(SR_MAX(v, d->min), d->max);
    }
    return d->max;
}

void sr_load_error(sr_loadstat *s, sr_lerr kind, int status, const char *text)
{
    s->n_error++;
    s->errors[kind]++;
    if (text && !s->text[kind][0])
        sr_escape(s->text[kind], sizeof s->text[kind], text, strlen(text));
    for (int i = 0; kind == SR_LERR_STATUS && i < SR_STATUSES; i++) {
        if (s->status[i].n && s->status[i].status != status)
            continue;
        s->status[i].status = status;
        s->status[i].n++;
        return;
    }
}
