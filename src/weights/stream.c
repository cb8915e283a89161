#include "weights/stream.h"

#include <string.h>

#include "base/mem.h"

enum { SPANS = 32 };

typedef struct {
    sr_point ready, used;            /* its bytes are there; nobody reads them any more */
    bool     taken;                  /* between the start of a copy and the release */
    uint32_t unit;
} slot;

struct sr_stream {
    sr_streamcfg cfg;                /* lists are copies */
    slot         slot[SR_STREAM_SLOTS];
    uint32_t     route, next;        /* the unit that comes next on the bus */
    uint64_t     bytes;
};

/* Not read as it came. */
static bool made(const sr_streampart *p) { return p->layout || p->coded; }

static sr_status check(const sr_streamcfg *c, sr_err *err)
{
    if (c->n_slot < 1 || c->n_slot > SR_STREAM_SLOTS)
        return sr_raise(err, SR_INVALID, "%u stream slots; 1 to %d expected", c->n_slot, SR_STREAM_SLOTS);
    for (uint32_t r = 0; r < SR_STREAM_ROUTES; r++)
        for (uint32_t u = 0; u < c->route[r].n_unit; u++) {
            const sr_streamunit *s = &c->route[r].unit[u];
            if (s->n > SPANS || s->first > c->route[r].n_part || s->n > c->route[r].n_part - s->first)
                return sr_raise(err, SR_INVALID, "stream unit %u has parts %u to %u of %u; at most %d", u, s->first, s->first + s->n,
                                c->route[r].n_part, SPANS);
            for (uint32_t p = s->first; p < s->first + s->n; p++)
                if (made(&c->route[r].part[p]) && (!c->tiles || (c->route[r].part[p].coded ? !c->be->decode : !c->be->tile)))
                    return sr_raise(err, SR_INVALID, "stream part %u wants %s; the device makes none", p, c->route[r].part[p].coded ? "decoding" : "tiles");
        }
    return SR_OK;
}

sr_status sr_stream_open(const sr_streamcfg *cfg, sr_stream **out, sr_err *err)
{
    if (check(cfg, err))
        return SR_INVALID;
    sr_stream *s = sr_calloc(1, sizeof *s);
    if (!s)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a stream", sizeof *s);
    s->cfg   = *cfg;
    s->route = SR_STREAM_ROUTES;
    for (uint32_t r = 0; r < SR_STREAM_ROUTES; r++)
        s->cfg.route[r].unit = NULL, s->cfg.route[r].part = NULL;
    for (uint32_t r = 0; r < SR_STREAM_ROUTES; r++) {
        const sr_streamroute *from = &cfg->route[r];
        sr_streamunit        *unit = sr_calloc(from->n_unit + 1u, sizeof *unit);
        sr_streampart        *part = sr_calloc(from->n_part + 1u, sizeof *part);
        s->cfg.route[r].unit = unit;
        s->cfg.route[r].part = part;
        if (!unit || !part) {
            sr_stream_close(s);
            return sr_raise(err, SR_NOMEM, "host: memory for %u stream units", from->n_unit);
        }
        if (from->n_unit)
            memcpy(unit, from->unit, from->n_unit * sizeof *unit);
        if (from->n_part)
            memcpy(part, from->part, from->n_part * sizeof *part);
    }
    *out = s;
    return SR_OK;
}

void sr_stream_close(sr_stream *s)
{
    if (!s)
        return;
    for (uint32_t r = 0; r < SR_STREAM_ROUTES; r++) {
        sr_free((void *)(uintptr_t)s->cfg.route[r].unit);
        sr_free((void *)(uintptr_t)s->cfg.route[r].part);
    }
    sr_free(s);
}

uint64_t sr_stream_bytes(const sr_stream *s) { return s->bytes; }

/* A queue that is full empties by itself. */
static sr_status copy(sr_stream *s, const sr_span *span, uint32_t n, sr_err *err)
{
    sr_status rc;
    while ((rc = s->cfg.be->copyv(s->cfg.dev, SR_Q_IN, span, n, err)) == SR_AGAIN)
        if ((rc = s->cfg.be->wait(s->cfg.dev, s->cfg.be->mark(s->cfg.dev, SR_Q_IN), UINT64_MAX, err)) != SR_OK)
            break;
    return rc;
}

static sr_status fetch(sr_stream *s, uint32_t u, sr_err *err)
{
    const sr_streamroute *r = &s->cfg.route[s->route];
    slot                 *to = &s->slot[u % s->cfg.n_slot];
    char                 *base = s->cfg.slot[u % s->cfg.n_slot];
    sr_span               span[SPANS];
    uint32_t              n = 0;
    uint32_t              read = r->unit[u].read;
    uint64_t              before = s->bytes;
    const void           *at[SPANS];
    sr_point              there = {0};
    if (read)
        sr_reader_next(s->cfg.reader, read - 1, &there, at);
    for (const sr_streampart *p = r->part + r->unit[u].first; n < r->unit[u].n; p++, n++) {
        const void *src = read ? at[n] : p->src;
        size_t      all = p->coded ? p->coded : p->piece * p->rows;
        span[n] = p->coded || p->piece == p->step ? (sr_span){.dst = base + p->at, .src = src, .bytes = all, .n = 1}
                                      : (sr_span){.dst = base + p->at, .src = src, .bytes = p->piece, .n = p->rows,
                                                  .dst_step = p->piece, .src_step = p->step};
        s->bytes += all;
    }
    if (to->used.word)
        s->cfg.be->fence(s->cfg.dev, SR_Q_IN, to->used);
    if (read)
        s->cfg.be->fence(s->cfg.dev, SR_Q_IN, there);
    if (s->cfg.pace)
        s->cfg.be->fence(s->cfg.dev, SR_Q_IN, sr_pace_last(s->cfg.pace));
    if (copy(s, span, n, err))
        return err->status;
    to->ready = s->cfg.be->mark(s->cfg.dev, SR_Q_IN);
    if (read)
        sr_reader_done(s->cfg.reader, to->ready);
    if (s->cfg.pace)
        to->ready = sr_pace_add(s->cfg.pace, s->bytes - before, to->used, to->ready);
    if (s->cfg.meter)
        sr_meter_add(s->cfg.meter, s->bytes - before, to->used, to->ready);
    to->taken = true;
    to->unit  = u;
    return SR_OK;
}

/* Puts units on their way while their slots are free. */
static sr_status pump(sr_stream *s, sr_err *err)
{
    uint32_t n = s->cfg.route[s->route].n_unit;
    while (n && !s->slot[s->next % s->cfg.n_slot].taken) {
        if (fetch(s, s->next, err))
            return err->status;
        s->next = (s->next + 1) % n;
    }
    return SR_OK;
}

sr_status sr_stream_begin(sr_stream *s, uint32_t route, sr_err *err)
{
    if (route != s->route) {
        s->route = route;
        s->next  = 0;
        for (uint32_t i = 0; i < s->cfg.n_slot; i++) /* what had come for the other route is written over, in the queue's order */
            s->slot[i].taken = false;
    }
    return pump(s, err);
}

static void give_back(sr_stream *s, slot *at)
{
    at->used  = s->cfg.be->mark(s->cfg.dev, SR_Q_COMPUTE);
    at->taken = false;
}

/* Whether anything of the unit is read in the slot itself. */
static bool in_place(const sr_stream *s, uint32_t u)
{
    const sr_streamroute *r = &s->cfg.route[s->route];
    for (uint32_t p = 0; p < r->unit[u].n; p++)
        if (!made(&r->part[r->unit[u].first + p]))
            return true;
    return false;
}

/* What a part is read as.  A queue that is full empties by itself. */
static sr_status make(sr_stream *s, const sr_streampart *p, const char *from, sr_err *err)
{
    const sr_backend *be = s->cfg.be;
    void             *to = (char *)s->cfg.tiles + p->at;
    sr_status         rc;
    if (!p->coded)
        return be->tile(s->cfg.dev, SR_Q_COMPUTE, p->format, p->rows, p->cols, from, to, err);
    while ((rc = be->decode(s->cfg.dev, SR_Q_COMPUTE, p->format, p->rows, p->cols, from, to, p->layout, err)) == SR_AGAIN)
        if ((rc = be->wait(s->cfg.dev, be->mark(s->cfg.dev, SR_Q_COMPUTE), UINT64_MAX, err)) != SR_OK)
            break;
    return rc;
}

sr_status sr_stream_await(sr_stream *s, uint32_t u, sr_err *err)
{
    const sr_streamroute *r  = &s->cfg.route[s->route];
    slot                 *at = &s->slot[u % s->cfg.n_slot];
    char                 *base = s->cfg.slot[u % s->cfg.n_slot];
    SR_ASSERT(at->taken && at->unit == u, "unit %u awaited out of order", u);
    s->cfg.be->fence(s->cfg.dev, SR_Q_COMPUTE, at->ready);
    const sr_streampart *p = r->part + r->unit[u].first;
    for (uint32_t i = 0; i < r->unit[u].n; i++, p++)
        if (made(p) && make(s, p, base + p->at, err))
            return err->status;
    if (in_place(s, u))
        return SR_OK;
    give_back(s, at);
    return pump(s, err);
}

sr_status sr_stream_release(sr_stream *s, uint32_t u, sr_err *err)
{
    slot *at = &s->slot[u % s->cfg.n_slot];
    if (!in_place(s, u))
        return SR_OK;
    SR_ASSERT(at->taken && at->unit == u, "unit %u released out of order", u);
    give_back(s, at);
    return pump(s, err);
}
