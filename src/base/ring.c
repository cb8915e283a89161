#include "base/ring.h"

#include <string.h>

/* head is stored and loaded sequentially consistent, not just release/acquire: the sleepers of engine/port.c
 * decide by "publish, then look whether the other side sleeps" against "say that I sleep, then look for
 * records", which only a total order makes safe. */
enum { LENGTH = 8 }; /* bytes before each record; keeps records 8-byte aligned */

size_t sr_ring_bytes(size_t cap) { return sizeof(sr_ringmem) + cap; }

sr_ring sr_ring_at(void *mem, size_t cap)
{
    return (sr_ring){.mem = mem, .data = (uint8_t *)mem + sizeof(sr_ringmem), .cap = cap};
}

size_t sr_ring_record(size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return 0;
    return LENGTH + (bytes + 7) / 8 * 8;
}

size_t sr_ring_room(const sr_ring *r)
{
    uint64_t tail = __atomic_load_n(&r->mem->tail, __ATOMIC_ACQUIRE);
    uint64_t used = __atomic_load_n(&r->mem->next, __ATOMIC_RELAXED) - tail;
    return used > r->cap ? 0 : r->cap - (size_t)used;
}

static void copy_in(const sr_ring *r, uint64_t at, const void *src, size_t n)
{
    if (n == 0)
        return;
    size_t i     = (size_t)(at % r->cap);
    size_t first = n < r->cap - i ? n : r->cap - i;
    memcpy(r->data + i, src, first);
    memcpy(r->data, (const uint8_t *)src + first, n - first);
}

static void copy_out(const sr_ring *r, uint64_t at, void *dst, size_t n)
{
    size_t i     = (size_t)(at % r->cap);
    size_t first = n < r->cap - i ? n : r->cap - i;
    memcpy(dst, r->data + i, first);
    memcpy((uint8_t *)dst + first, r->data, n - first);
}

bool sr_ring_put(const sr_ring *r, const sr_piece *piece, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(bytes, piece[i].n, &bytes))
            return false;
    size_t whole = sr_ring_record(bytes);
    if (bytes == 0 || whole == 0 || whole > sr_ring_room(r))
        return false;
    uint64_t next = __atomic_load_n(&r->mem->next, __ATOMIC_RELAXED), at = next + LENGTH;
    copy_in(r, next, &bytes, LENGTH);
    for (size_t i = 0; i < n; i++) {
        copy_in(r, at, piece[i].p, piece[i].n);
        at += piece[i].n;
    }
    __atomic_store_n(&r->mem->next, next + whole, __ATOMIC_RELAXED);
    return true;
}

bool sr_ring_publish(const sr_ring *r)
{
    uint64_t next = __atomic_load_n(&r->mem->next, __ATOMIC_RELAXED);
    if (__atomic_load_n(&r->mem->head, __ATOMIC_RELAXED) == next)
        return false;
    __atomic_store_n(&r->mem->head, next, __ATOMIC_SEQ_CST);
    return true;
}

size_t sr_ring_next(const sr_ring *r)
{
    uint64_t tail = __atomic_load_n(&r->mem->tail, __ATOMIC_RELAXED);
    uint64_t used = __atomic_load_n(&r->mem->head, __ATOMIC_SEQ_CST) - tail, bytes;
    if (used == 0)
        return 0;
    if (used > r->cap || used < LENGTH)
        return SR_RING_BROKEN;
    copy_out(r, tail, &bytes, LENGTH);
    if (bytes == 0 || bytes > used - LENGTH || sr_ring_record((size_t)bytes) > used)
        return SR_RING_BROKEN;
    return (size_t)bytes;
}

void sr_ring_get(const sr_ring *r, void *out, size_t n)
{
    uint64_t tail = __atomic_load_n(&r->mem->tail, __ATOMIC_RELAXED);
    copy_out(r, tail + LENGTH, out, n);
    __atomic_store_n(&r->mem->tail, tail + sr_ring_record(n), __ATOMIC_RELEASE);
}
