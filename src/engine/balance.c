#include <math.h>
#include <string.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/offload.h"

enum { WINDOW = 8, WINDOW_NS = 250000000, SETTLE = 3, NOTCH = 256 };

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
    if (!m->off->share.dev)
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
    sr_timed    t = {.op = b->stat, .cap = m->off->share.prog.n_op};
    if (!b->stat || sr_backend_cpu.profile(m->off->share.plan, SR_TIME_OPS, &t, &ignored))
        return 0;
    for (size_t i = 0; i < t.n; i++)
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

static bool may_divide(const sr_model *m)
{
    const sr_offload *o = m->off;
    return o->few && m->cfg.offload == SR_OFFLOAD_AUTO && !m->cfg.dev.deterministic && !o->reader && m->info.n_ff % NOTCH == 0 && first_shared(m) < m->info.n_layer;
}

static uint32_t notches(const sr_model *m) { return m->info.n_ff / NOTCH - 1; } /* all hidden units on the device would be no share */

static sr_climb *climb_of(sr_balance *b) { return &b->climb[b->tok <= 2 ? 0 : b->tok <= 4 ? 1 : 2]; }

/* A window is over: `step` ns in it. */
static sr_status decide(sr_model *m, double step, sr_err *err)
{
    sr_balance *b   = &m->off->balance;
    sr_climb   *c   = climb_of(b);
    uint32_t    now = m->off->device[first_shared(m)];
    if (!c->step) /* who waits longer gets more; the more, the longer */
        sr_climb_begin(c, now / NOTCH, notches(m), ((double)b->now.cpu_ns - (double)b->now.bus_ns) / (double)b->now.ns);
    else if (!c->trial && c->kept * NOTCH != now) /* steps of another size were before */
        return divide(m, c->kept * NOTCH, err);
    uint32_t to = sr_climb_next(c, step) * NOTCH;
    return to == now ? SR_OK : divide(m, to, err);
}

static void forget(sr_balance *b)
{
    memset(&b->now, 0, sizeof b->now);
    b->tok = 0;
}

/* Steps of other sizes are not compared. */
static sr_status other_steps(sr_model *m, sr_err *err)
{
    sr_balance *b     = &m->off->balance;
    sr_climb   *c     = climb_of(b);
    bool        tried = c->trial; /* of the steps before: it is given up */
    forget(b);
    b->tok      = m->block.now.tok;
    uint32_t to = sr_climb_back(c) * NOTCH;
    return !tried || to == m->off->device[first_shared(m)] ? SR_OK : divide(m, to, err);
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
    if (m->block.now.tok != b->tok)
        return other_steps(m, err);
    b->took[b->now.steps++] = (double)ns;
    b->now.ns += ns;
    b->now.cpu_ns += cpu;
    b->now.cpu_bytes += b->cpu_bytes;
    b->now.bus_ns += busy;
    b->now.bus_bytes += bytes;
    if (b->now.steps < b->window || (b->now.ns < WINDOW_NS && b->now.steps < SR_BALANCE_STEPS))
        return SR_OK;
    sr_status s = decide(m, sr_bench_spread(b->took, b->now.steps).median, err);
    forget(b);
    b->tok = m->block.now.tok;
    return s;
}
