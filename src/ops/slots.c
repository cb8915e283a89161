#include "ops/slots.h"

#include <string.h>

#include "base/mem.h"

enum { IN = 4, OUT = 3, USES = IN + 1 + OUT }; /* of an op: inputs, epilogue, outputs */

typedef struct {
    const sr_program *p;
    uint64_t          shares;                 /* a bit a slot */
    uint64_t          beside[SR_SLOTS_MOST];  /* with whom a slot is needed at the same time */
    uint32_t          until[SR_SLOTS_MOST];   /* last op of the present use, + 1 */
} placing;

size_t sr_slot_bytes(const sr_program *p, uint32_t slot, const sr_shape *max)
{
    return (size_t)sr_slot_rows(&p->slot[slot], max) * p->slot[slot].width * 4;
}

static size_t room_of(const sr_program *p, uint32_t slot, const sr_shape *max)
{
    return sr_align_up(sr_slot_bytes(p, slot, max), SR_SLOTS_ALIGN);
}

/* Slot number `k` that an op uses; those it reads come first. */
static uint16_t use(const sr_op *o, int k) { return k < IN ? o->in[k] : k == IN ? o->epilogue : o->out[k - IN - 1]; }
static bool     reads(int k) { return k <= IN; }

/* Those in use that no segment reads before it has written them. */
static uint64_t sharing(const sr_program *p)
{
    uint64_t all = ~(uint64_t)0, used = 0;
    for (uint32_t s = 0; s < p->n_segment; s++) {
        uint64_t written = 0;
        for (uint32_t i = p->segment[s]; i < p->segment[s + 1]; i++)
            for (int k = 0; k < USES; k++) {
                uint16_t slot = use(&p->op[i], k);
                if (slot == SR_NONE)
                    continue;
                used |= 1ull << slot;
                if (!reads(k))
                    written |= 1ull << slot;
                else if (!(written >> slot & 1))
                    all &= ~(1ull << slot);
            }
    }
    all &= used;
    return p->sampled == SR_NONE ? all : all & ~(1ull << p->sampled); /* the next step reads it */
}

/* The op behind the last one for which a slot, written at op i, is kept in a segment. */
static uint32_t kept_until(const sr_program *p, uint16_t slot, uint32_t i, uint32_t end)
{
    uint32_t last = i;
    bool     read = false, result = slot == p->hidden || slot == p->logits;
    for (uint32_t o = i; o < end; o++)
        for (int k = 0; k < USES; k++)
            if (use(&p->op[o], k) == slot) {
                last = o;
                read = reads(k); /* an op that reads and writes it has written it last */
            }
    return (read && !result ? last : SR_MAX(end - 1, last)) + 1 + SR_SLOTS_LINGER;
}

static void meet(placing *x)
{
    const sr_program *p = x->p;
    for (uint32_t s = 0; s < p->n_segment; s++) {
        uint64_t seen = 0;
        for (uint32_t i = p->segment[s]; i < p->segment[s + 1]; i++) {
            for (int k = 0; k < USES; k++) {
                uint16_t slot = use(&p->op[i], k);
                if (slot == SR_NONE || !(x->shares >> slot & 1) || seen >> slot & 1)
                    continue;
                seen |= 1ull << slot;
                x->until[slot] = kept_until(p, slot, i, p->segment[s + 1]);
            }
            uint64_t now = 0;
            for (uint32_t j = 0; j < p->n_slot; j++)
                now |= (uint64_t)(x->until[j] > i) << j;
            for (uint32_t j = 0; j < p->n_slot; j++)
                x->beside[j] |= now >> j & 1 ? now : 0;
        }
    }
}

/* The lowest place at which a slot meets none that is needed at the same time; placed: those that have one. */
static size_t fit(const placing *x, const sr_shape *max, uint32_t slot, uint64_t placed, const size_t *at)
{
    size_t here = 0, bytes = room_of(x->p, slot, max);
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t j = 0; j < x->p->n_slot; j++) {
            if (!((placed & x->beside[slot]) >> j & 1))
                continue;
            size_t size = room_of(x->p, j, max);
            if (here < at[j] + size && at[j] < here + bytes) {
                here  = at[j] + size;
                moved = true;
            }
        }
    }
    return here;
}

static size_t place_all_alone(const sr_program *p, const sr_shape *max, size_t *at)
{
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_slot; i++) {
        if (at)
            at[i] = n;
        n += room_of(p, i, max);
    }
    return n;
}

size_t sr_slots_place(const sr_program *p, const sr_shape *max, size_t *at)
{
    size_t   mine[SR_SLOTS_MOST] = {0}, end = 0, own = 0;
    uint64_t placed = 0;
    if (!p->n_segment || p->n_slot > SR_SLOTS_MOST)
        return place_all_alone(p, max, at);
    placing x = {.p = p, .shares = sharing(p)};
    meet(&x);
    for (;;) { /* the largest first */
        uint32_t next = p->n_slot;
        for (uint32_t i = 0; i < p->n_slot; i++)
            if (x.shares & ~placed & 1ull << i && (next == p->n_slot || room_of(p, i, max) > room_of(p, next, max)))
                next = i;
        if (next == p->n_slot)
            break;
        mine[next] = fit(&x, max, next, placed, mine);
        end        = SR_MAX(end, mine[next] + room_of(p, next, max));
        placed |= 1ull << next;
    }
    for (uint32_t i = 0; i < p->n_slot; i++)
        if (!(x.shares >> i & 1)) {
            mine[i] = end + own;
            own += room_of(p, i, max);
        }
    if (at)
        memcpy(at, mine, p->n_slot * sizeof *at);
    return end + own;
}

size_t sr_device_scratch(const sr_program *p, const sr_shape *max)
{
    size_t most = 0;
    for (uint32_t i = 0; i < p->n_op; i++)
        most = SR_MAX(most, sr_op_scratch(p, i, max, 1));
    return sr_slots_place(p, max, NULL) + sr_align_up(most, SR_SLOTS_ALIGN);
}
