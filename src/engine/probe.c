#include "engine/probe.h"

#include "base/bench.h"
#include "base/clock.h"
#include "base/mem.h"

/* Several times the last-level cache of any card; as much again is needed for the copy. */
enum { DEVICE_BYTES = 1 << 30, HOST_BYTES = 64 << 20, TIMES = 7 };

/* Median rate of copies of `bytes`, `batch` of them in a row so that the start of a copy does not count. */
static sr_status rate(const sr_backend *be, sr_dev *d, void *dst, const void *src, size_t bytes, uint32_t batch, double *out, sr_err *err)
{
    double  v[TIMES];
    sr_span s = {.dst = dst, .src = src, .bytes = bytes, .n = 1};
    for (int i = -1; i < TIMES; i++) { /* the first one warms up */
        uint64_t t = sr_now_ns();
        for (uint32_t k = 0; k < batch; k++)
            if (be->copyv(d, SR_Q_COMPUTE, &s, 1, err))
                return err->status;
        if (be->wait(d, be->mark(d, SR_Q_COMPUTE), UINT64_MAX, err))
            return err->status;
        if (i >= 0)
            v[i] = (double)bytes * batch * 1e9 / (double)(sr_now_ns() - t);
    }
    *out = sr_bench_spread(v, TIMES).median;
    return SR_OK;
}

sr_status sr_probe_rates(const sr_backend *be, int device, sr_rates *out, sr_err *err)
{
    sr_dev    *d  = NULL;
    void      *a = NULL, *b = NULL, *host = NULL;
    sr_devinfo di = {.size = sizeof di};
    *out          = (sr_rates){0};
    if (be->open(device, NULL, &d, err) || be->info(device, d, &di, err))
        goto done;
    if (di.flags & SR_DEV_HOST) {
        sr_raise(err, SR_UNSUPPORTED, "%s: its memory is the host's", di.name);
        goto done;
    }
    size_t bytes = SR_MIN((size_t)DEVICE_BYTES, (size_t)(di.mem_free / 4) / 4096 * 4096);
    size_t small = SR_MIN((size_t)HOST_BYTES, bytes);
    if (be->alloc(d, SR_MEM_DEVICE, bytes, "measuring", &a, err) || be->alloc(d, SR_MEM_DEVICE, bytes, "measuring", &b, err) ||
        be->alloc(d, SR_MEM_PINNED, small, "measuring", &host, err) || rate(be, d, b, a, bytes, 4, &out->copy, err) ||
        rate(be, d, a, host, small, 8, &out->up, err) || rate(be, d, host, a, small, 8, &out->down, err))
        goto done;
    out->copy *= 2; /* read and written */
    if (be->peaks)
        (void)!be->peaks(d, &out->peak, err);
done:
    if (d) {
        be->free(d, a);
        be->free(d, b);
        be->free(d, host);
        be->close(d);
    }
    return err->status ? sr_while(err, "measuring %s device %d", be->name, device) : SR_OK;
}
