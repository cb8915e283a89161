#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/offload.h"

enum { WINDOW = 24, SETTLE = 4, REST = 16, NOTCH = 256 };

static bool shared(const sr_model *m, uint32_t layer) { return m->off->few && m->off->device[layer] != m->info.n_ff; }

static bool left_out(const sr_model *m, uint32_t layer)
{
    const sr_offroute *r    = &m->off->route[1];
    uint32_t           gate = sr_share_gate(&r->code->prog, layer);
    return r->left_out && r->left_out[gate];
}

/* Bytes that one token's feed-forwards outside have, of `hidden` hidden units in each; of what else comes over the bus. */
static double ffn_bytes(const sr_model *m, const uint32_t *hidden)
{
    const sr_program *p = &m->code->prog;
    double            n = 0;
    for (uint32_t w = 0; w < p->n_weight; w++) {
        const sr_weight *x = &p->weight[w];
        bool down = x->role == SR_W_FFN_DOWN;
        if ((x->role != SR_W_FFN_GATE && x->role != SR_W_FFN_UP && !down) || !shared(m, x->layer) || left_out(m, x->layer))
            continue;
        n += down ? (double)x->rows * (double)sr_row_bytes(x->format, hidden[x->layer]) : (double)hidden[x->layer] * (double)sr_row_bytes(x->format, x->cols);
    }
    return n;
}

static double cpu_bytes(sr_model *m)
{
    sr_offload *o = m->off;
    uint32_t   *h = sr_calloc(m->info.n_layer, sizeof *h);
    double      n = 0, cpu = 0;
    if (!h)
        return 0;
    for (uint32_t l = 0; l < m->info.n_layer; l++) {
        h[l] = m->info.n_ff - o->device[l];
        cpu += h[l];
    }
    n = ffn_bytes(m, h);
    m->info.cpu_share = cpu / ((double)m->info.n_ff * m->info.n_layer);
    sr_free(h);
    return n;
}

sr_status sr_balance_open(sr_model *m, sr_err *err)
{
    sr_balance *b = &m->off->balance;
    b->window     = WINDOW;
    b->skip       = SETTLE;
    if (!m->off->few)
        return SR_OK;
    b->stat = sr_calloc(m->off->share.prog.n_op, sizeof *b->stat);
    if (!b->stat)
        return sr_raise(err, SR_NOMEM, "host: memory for times of %u ops", m->off->share.prog.n_op);
    b->cpu_bytes = (uint64_t)cpu_bytes(m);
    return SR_OK;
}

void sr_balance_close(sr_model *m)
{
    sr_meter_close(m->off->balance.meter);
    sr_free(m->off->balance.stat);
    m->off->balance = (sr_balance){0};
}

void sr_balance_begin(sr_model *m) { m->off->balance.began = sr_now_ns(); }

static uint64_t cpu_busy(sr_model *m)
{
    sr_balance *b = &m->off->balance;
    sr_err      ignored = {0};
    uint64_t    ns = 0;
    if (!b->stat || sr_backend_cpu.profile(m->off->share.plan, b->stat, true, &ignored))
        return 0;
    for (uint32_t i = 0; i < m->off->share.prog.n_op; i++)
        ns += b->stat[i].ns;
    return ns;
}

/* ---- the share ---------------------------------------------------------------------------------------------------------- */

static uint32_t first_shared(const sr_model *m)
{
    uint32_t l = 0;
    while (l < m->info.n_layer && !shared(m, l))
        l++;
    return l;
}

static sr_status divide(sr_model *m, uint32_t device, sr_err *err)
{
    sr_offload *o = m->off;
    sr_balance *b = &o->balance;
    for (uint32_t l = 0; l < m->info.n_layer; l++)
        if (shared(m, l))
            o->device[l] = device;
    b->changes++;
    b->skip      = SETTLE;
    b->cpu_bytes = (uint64_t)cpu_bytes(m);
    return sr_offload_reroute(m, err) ? err->status : sr_share_rebind(m, err);
}

/* Hidden units of the device at which both sides end together; *gain: what that brings, as a share of a step. */
static uint32_t better(const sr_model *m, double *gain)
{
    const sr_balance *b = &m->off->balance;
    uint32_t n = m->info.n_ff, now = m->off->device[first_shared(m)];
    double   cpu = (double)b->now.cpu_bytes / (double)b->now.cpu_ns, bus = (double)b->now.bus_bytes / (double)b->now.bus_ns;
    double   all = (double)b->cpu_bytes * n / (n - now);                      /* of the feed-forwards, a step */
    double   other = (double)b->now.bus_bytes / (double)b->now.steps - all * now / n; /* attention and whole units, over the bus alone */
    other = SR_MAX(other, 0);
    double   x = (all / cpu - other / bus) / (all / bus + all / cpu);
    uint32_t to = (uint32_t)SR_MAX(0, lround(x * n / NOTCH)) * NOTCH;
    to = SR_MIN(to, n - NOTCH);
    double is = SR_MAX((other + all * now / n) / bus, all * (n - now) / n / cpu), would = SR_MAX((other + all * to / n) / bus, all * (n - to) / n / cpu);
    *gain = (is - would) / ((double)b->now.ns / (double)b->now.steps);
    return to;
}

static bool may_divide(const sr_model *m)
{
    const sr_offload *o = m->off;
    return o->few && m->cfg.offload == SR_OFFLOAD_AUTO && !m->cfg.dev.deterministic && !o->reader && m->info.n_ff % NOTCH == 0 && first_shared(m) < m->info.n_layer;
}

static sr_status decide(sr_model *m, sr_err *err)
{
    sr_balance *b = &m->off->balance;
    double      step = (double)b->now.ns / (double)b->now.steps, gain;
    if (b->before > 0) {
        bool slower = step > 0.99 * b->before;
        b->before   = 0;
        b->rest     = slower ? REST : 0;
        return slower ? divide(m, b->was, err) : SR_OK;
    }
    if (b->rest) {
        b->rest--;
        return SR_OK;
    }
    if (!b->now.cpu_ns || !b->now.bus_ns)
        return SR_OK;
    uint32_t to = better(m, &gain);
    b->was      = m->off->device[first_shared(m)];
    if (to == b->was || gain < 0.02)
        return SR_OK;
    b->before = step;
    return divide(m, to, err);
}

sr_status sr_balance_end(sr_model *m, sr_err *err)
{
    sr_balance *b    = &m->off->balance;
    uint64_t    ns   = sr_now_ns() - b->began, cpu = cpu_busy(m);
    bool        both = m->off->few && m->ran == m->off->route[1].plan;
    sr_metered  bus;
    sr_meter_total(b->meter, &bus);
    uint64_t bytes = bus.bytes - b->seen.bytes, busy = bus.ns - b->seen.ns;
    b->seen = bus;
    b->all.steps++;
    b->all.ns += ns;
    b->all.cpu_ns += cpu;
    b->all.cpu_bytes += both ? b->cpu_bytes : 0;
    b->all.bus_ns += busy;
    b->all.bus_bytes += bytes;
    if (!both || !may_divide(m))
        return SR_OK;
    if (b->skip) { /* what comes first was put on its way before */
        b->skip--;
        return SR_OK;
    }
    b->now.steps++;
    b->now.ns += ns;
    b->now.cpu_ns += cpu;
    b->now.cpu_bytes += b->cpu_bytes;
    b->now.bus_ns += busy;
    b->now.bus_bytes += bytes;
    if (b->now.steps < b->window)
        return SR_OK;
    sr_status s = decide(m, err);
    memset(&b->now, 0, sizeof b->now);
    return s;
}
