/* ledger.h - what a device's memory is taken by: a budget, and a line with a tag for every byte.
 *
 * A driver gives device memory in granules, 2 MiB on a GPU.  A piece counts with the granules it takes and is asked for as that many
 * bytes, so that what stands here is what the card lacks.  Page-locked memory of the host is noted beside it and counts in no budget.
 *
 *     sr_ledger_reserve(l, kind, bytes, tag, &e, err)    counted before the driver is asked: two threads cannot take the same room
 *     sr_ledger_enter(l, e, p)      the driver gave e->taken bytes    or sr_ledger_cancel(l, e): it did not
 *     e = sr_ledger_remove(l, p)    found again by its address; the caller gives the memory back, then sr_ledger_cancel(l, e)
 *
 * Owns:    its entries; the memory is the caller's.   Threads: any.
 * Errors:  SR_NOMEM with the tag, the bytes and what the budget has left.
 */
#ifndef SR_BACKEND_LEDGER_H
#define SR_BACKEND_LEDGER_H
#include <pthread.h>
#include "backend/backend.h"

typedef struct sr_ledgerentry {
    struct sr_ledgerentry *next;
    void                  *p, *base; /* as given on; as the driver gave it, where the owner of the ledger wants to know */
    size_t                 bytes, taken; /* as asked for; in whole granules */
    sr_memkind             kind;
    char                   tag[32];
} sr_ledgerentry;

typedef struct {
    pthread_mutex_t lock;
    sr_ledgerentry *entries;
    uint64_t        used, budget;    /* device memory; used: in whole granules */
    size_t          granule;
    char            device[24];      /* its name in messages */
} sr_ledger;

void sr_ledger_open(sr_ledger *l, const char *device, uint64_t budget, size_t granule); /* granule 1: pieces take what they are */
void sr_ledger_close(sr_ledger *l);                                                     /* it is empty */
SR_MUSTUSE sr_status sr_ledger_reserve(sr_ledger *l, sr_memkind kind, size_t bytes, const char *tag, sr_ledgerentry **out, sr_err *err);
void     sr_ledger_enter(sr_ledger *l, sr_ledgerentry *e, void *p);
void     sr_ledger_cancel(sr_ledger *l, sr_ledgerentry *e);
sr_ledgerentry *sr_ledger_remove(sr_ledger *l, const void *p);      /* p NULL: any; NULL: there is none */
sr_status sr_ledger_refuse(sr_ledger *l, size_t bytes, const char *tag, sr_err *err); /* what is said when device memory lacks */
bool     sr_ledger_holds(sr_ledger *l, const void *p, size_t bytes); /* within one piece */
uint64_t sr_ledger_left(sr_ledger *l);                              /* the largest piece that can be had */
/* A line for each tag and kind, in the order of their last pieces; of more than cap, older ones are left out.  Returns how many were written. */
size_t   sr_ledger_lines(sr_ledger *l, sr_memline *out, size_t cap);
#endif
