#include "base/arena.h"
#include "base/mem.h"

#include <string.h>

struct sr_chunk {
    sr_chunk *next;
    size_t    used, size;
    _Alignas(16) unsigned char data[];
};

struct sr_cleanup {
    sr_cleanup *next;
    void (*fn)(void *);
    void *arg;
};

enum { CHUNK_MIN = 4096 - sizeof(sr_chunk), CHUNK_MAX = 1 << 20 };

static sr_chunk *grow(sr_arena *a, size_t bytes)
{
    size_t want = a->chunks ? SR_MIN(a->chunks->size * 2, (size_t)CHUNK_MAX) : (size_t)CHUNK_MIN;
    size_t size = SR_MAX(want, bytes), total;
    if (!sr_add_size(size, sizeof(sr_chunk), &total))
        return NULL;
    if (a->limit && (total > a->limit || a->used > a->limit - total))
        return NULL;
    sr_chunk *c = sr_aligned(16, total);
    if (!c)
        return NULL;
    *c = (sr_chunk){.next = a->chunks, .size = size};
    a->used += total;
    return a->chunks = c;
}

void *sr_arena_alloc(sr_arena *a, size_t bytes)
{
    size_t n;
    if (!sr_add_size(bytes, 15, &n))
        return NULL;
    n &= ~(size_t)15;
    sr_chunk *c = a->chunks;
    if ((!c || c->size - c->used < n) && !(c = grow(a, n)))
        return NULL;
    void *p = c->data + c->used;
    c->used += n;
    return p;
}

void *sr_arena_zalloc(sr_arena *a, size_t n, size_t size)
{
    size_t bytes;
    void  *p = sr_mul_size(n, size, &bytes) ? sr_arena_alloc(a, bytes) : NULL;
    return p ? memset(p, 0, bytes) : NULL;
}

char *sr_arena_strndup(sr_arena *a, const char *s, size_t n)
{
    size_t bytes;
    char  *p = sr_add_size(n, 1, &bytes) ? sr_arena_alloc(a, bytes) : NULL;
    if (p) {
        if (n)
            memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

int sr_arena_defer(sr_arena *a, void (*fn)(void *), void *arg)
{
    sr_cleanup *c = sr_arena_alloc(a, sizeof *c);
    if (!c) {
        fn(arg);
        return -1;
    }
    *c          = (sr_cleanup){a->cleanups, fn, arg};
    a->cleanups = c;
    return 0;
}

void sr_arena_end(sr_arena *a)
{
    if (!a)
        return;
    while (a->cleanups) {
        sr_cleanup *c = a->cleanups;
        a->cleanups   = c->next;
        c->fn(c->arg);
    }
    while (a->chunks) {
        sr_chunk *c = a->chunks;
        a->chunks   = c->next;
        sr_free(c);
    }
    a->used = 0;
}
