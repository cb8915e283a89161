#include "engine/port_journal.h"

#include <string.h>

#include "base/mem.h"

enum { BUCKETS = 1024 };

typedef struct entry entry;
struct entry {
    uint64_t     id;
    uint32_t     n_choices, left; /* choices that have not ended */
    bool         begun, sent, ended;
    sr_endreason reason;
    entry       *prev, *next;     /* in order of posting */
    entry       *same;            /* in its bucket */
    uint8_t     *bytes;           /* NULL once begun */
    size_t       n;
};

struct sr_journal {
    entry *first, *last, *bucket[BUCKETS];
    size_t bytes, waiting;
};

sr_status sr_journal_open(sr_journal **out, sr_err *err)
{
    *out = sr_calloc(1, sizeof **out);
    return *out ? SR_OK : sr_raise(err, SR_NOMEM, "host: %zu bytes for a journal of requests", sizeof **out);
}

static entry **place_of(sr_journal *j, uint64_t id)
{
    entry **at = &j->bucket[id % BUCKETS];
    while (*at && (*at)->id != id)
        at = &(*at)->same;
    return at;
}

static void drop_bytes(sr_journal *j, entry *e)
{
    if (!e->bytes)
        return;
    j->bytes -= e->n;
    j->waiting--;
    sr_free(e->bytes);
    e->bytes = NULL;
}

static void forget(sr_journal *j, entry *e)
{
    *place_of(j, e->id) = e->same;
    *(e->prev ? &e->prev->next : &j->first) = e->next;
    *(e->next ? &e->next->prev : &j->last)  = e->prev;
    drop_bytes(j, e);
    sr_free(e);
}

void sr_journal_close(sr_journal *j)
{
    while (j && j->first)
        forget(j, j->first);
    sr_free(j);
}

bool sr_journal_add(sr_journal *j, uint64_t id, uint32_t n_choices, const sr_piece *piece, size_t n, bool sent)
{
    entry *e = sr_calloc(1, sizeof *e);
    if (!e)
        return false;
    for (size_t i = 0; i < n; i++)
        e->n += piece[i].n;
    if (!(e->bytes = sr_malloc(e->n))) {
        sr_free(e);
        return false;
    }
    for (size_t i = 0, at = 0; i < n; at += piece[i++].n)
        if (piece[i].n)
            memcpy(e->bytes + at, piece[i].p, piece[i].n);
    e->id        = id;
    e->n_choices = e->left = n_choices;
    e->sent      = sent;
    e->prev      = j->last;
    *(j->last ? &j->last->next : &j->first) = e;
    j->last      = e;
    e->same      = j->bucket[id % BUCKETS];
    j->bucket[id % BUCKETS] = e;
    j->bytes += e->n;
    j->waiting++;
    return true;
}

void sr_journal_end(sr_journal *j, uint64_t id, uint32_t choice, sr_endreason reason)
{
    entry *e = *place_of(j, id);
    if (e && (choice == UINT32_MAX || e->n_choices == 1)) {
        e->ended  = true;
        e->reason = reason;
    }
}

void sr_journal_saw(sr_journal *j, const sr_event *ev)
{
    if (ev->kind != SR_EV_START && ev->kind != SR_EV_DONE && ev->kind != SR_EV_ERROR)
        return;
    entry *e = *place_of(j, ev->id);
    if (!e)
        return;
    e->begun = true;
    drop_bytes(j, e);
    if (ev->kind != SR_EV_START && (ev->choice == UINT32_MAX || --e->left == 0))
        forget(j, e);
}

size_t sr_journal_bytes(const sr_journal *j) { return j->bytes; }
size_t sr_journal_waiting(const sr_journal *j) { return j->waiting; }

bool sr_journal_casualty(sr_journal *j, const char *why, sr_event *out)
{
    entry *e = j->first;
    while (e && !e->begun && !e->ended)
        e = e->next;
    if (!e)
        return false;
    *out = (sr_event){.id = e->id, .choice = UINT32_MAX, .kind = SR_EV_ERROR, .status = SR_DEVLOST, .msg = why};
    if (!e->begun)
        *out = (sr_event){.id = e->id, .choice = e->n_choices - e->left, .kind = SR_EV_DONE, .reason = e->reason};
    if (e->begun || --e->left == 0)
        forget(j, e);
    return true;
}

void sr_journal_rewind(sr_journal *j)
{
    for (entry *e = j->first; e; e = e->next)
        e->sent = false;
}

static entry *oldest_unsent(const sr_journal *j)
{
    entry *e = j->first;
    while (e && (e->sent || e->begun))
        e = e->next;
    return e;
}

const uint8_t *sr_journal_unsent(const sr_journal *j, size_t *n)
{
    const entry *e = oldest_unsent(j);
    *n             = e ? e->n : 0;
    return e ? e->bytes : NULL;
}

void sr_journal_sent(sr_journal *j)
{
    entry *e = oldest_unsent(j);
    if (e)
        e->sent = true;
}
