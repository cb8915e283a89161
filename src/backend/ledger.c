#include "backend/ledger.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { MIB = 1 << 20 };

void sr_ledger_open(sr_ledger *l, const char *device, uint64_t budget, size_t granule)
{
    *l = (sr_ledger){.budget = budget, .granule = granule};
    snprintf(l->device, sizeof l->device, "%s", device);
    pthread_mutex_init(&l->lock, NULL);
}

void sr_ledger_close(sr_ledger *l)
{
    SR_ASSERT(!l->entries, "%zu bytes for %s are still there", l->entries->bytes, l->entries->tag);
    pthread_mutex_destroy(&l->lock);
}

static uint64_t left(sr_ledger *l)
{
    pthread_mutex_lock(&l->lock);
    uint64_t n = l->budget - l->used;
    pthread_mutex_unlock(&l->lock);
    return n;
}

sr_status sr_ledger_refuse(sr_ledger *l, size_t bytes, const char *tag, sr_err *err)
{
    return sr_raise(err, SR_NOMEM, "%s: %zu bytes of device memory for %s; %llu of the budget of %llu MiB are left", l->device, bytes, tag,
                    (unsigned long long)(left(l) / MIB), (unsigned long long)(l->budget / MIB));
}

sr_status sr_ledger_reserve(sr_ledger *l, sr_memkind kind, size_t bytes, const char *tag, sr_ledgerentry **out, sr_err *err)
{
    bool   device = kind == SR_MEM_DEVICE, fits = true;
    size_t taken  = bytes, over = bytes % l->granule;
    if (device && (over || !bytes))
        fits = sr_add_size(bytes, l->granule - over, &taken);
    sr_ledgerentry *e = sr_calloc(1, sizeof *e);
    if (!e)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a ledger entry", sizeof *e);
    *e = (sr_ledgerentry){.bytes = bytes, .taken = taken, .kind = kind};
    snprintf(e->tag, sizeof e->tag, "%s", tag);
    pthread_mutex_lock(&l->lock);
    fits = fits && (!device || taken <= l->budget - l->used);
    if (fits && device)
        l->used += taken;
    pthread_mutex_unlock(&l->lock);
    if (!fits) {
        sr_free(e);
        return sr_ledger_refuse(l, bytes, tag, err);
    }
    *out = e;
    return SR_OK;
}

void sr_ledger_enter(sr_ledger *l, sr_ledgerentry *e, void *p)
{
    pthread_mutex_lock(&l->lock);
    e->p       = p;
    e->next    = l->entries;
    l->entries = e;
    pthread_mutex_unlock(&l->lock);
}

void sr_ledger_cancel(sr_ledger *l, sr_ledgerentry *e)
{
    pthread_mutex_lock(&l->lock);
    l->used -= e->kind == SR_MEM_DEVICE ? e->taken : 0;
    pthread_mutex_unlock(&l->lock);
    sr_free(e);
}

sr_ledgerentry *sr_ledger_remove(sr_ledger *l, const void *p)
{
    pthread_mutex_lock(&l->lock);
    sr_ledgerentry **at = &l->entries;
    while (*at && p && (*at)->p != p)
        at = &(*at)->next;
    sr_ledgerentry *e = *at;
    if (e)
        *at = e->next;
    pthread_mutex_unlock(&l->lock);
    return e;
}

bool sr_ledger_holds(sr_ledger *l, const void *p, size_t bytes)
{
    const char *from = p;
    pthread_mutex_lock(&l->lock);
    const sr_ledgerentry *e = l->entries;
    while (e && (from < (const char *)e->p || from + bytes > (const char *)e->p + e->bytes))
        e = e->next;
    pthread_mutex_unlock(&l->lock);
    return e != NULL;
}

uint64_t sr_ledger_left(sr_ledger *l) { return left(l) / l->granule * l->granule; }

size_t sr_ledger_lines(sr_ledger *l, sr_memline *out, size_t cap)
{
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    for (const sr_ledgerentry *e = l->entries; e; e = e->next) { /* the last comes first */
        size_t i = 0;
        while (i < n && (out[i].kind != e->kind || strcmp(out[i].tag, e->tag) != 0))
            i++;
        if (i == cap)
            continue;
        if (i == n) {
            out[n] = (sr_memline){.kind = e->kind};
            snprintf(out[n++].tag, sizeof out->tag, "%s", e->tag);
        }
        out[i].pieces++;
        out[i].bytes += e->bytes;
        out[i].taken += e->taken;
    }
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i + 1 < n - i; i++) {
        sr_memline last = out[n - 1 - i];
        out[n - 1 - i]  = out[i];
        out[i]          = last;
    }
    return n;
}
