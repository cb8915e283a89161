/* arena.h - memory whose lifetime has a name: a request, a load, a render.
 *
 * Chunks are taken from the heap and handed out front to back; everything is given back at once by
 * sr_arena_end(), after the registered cleanups have run, newest first.  [nginx ngx_palloc.c]
 * A limit makes it a budget: past it, allocation fails as if memory had run out.
 *
 * Owns:    what it handed out, until reset or end.   Threads: one at a time.
 * Errors:  NULL when memory or the limit is exhausted; the caller raises.
 */
#ifndef SR_BASE_ARENA_H
#define SR_BASE_ARENA_H
#include <stddef.h>

typedef struct sr_chunk   sr_chunk;
typedef struct sr_cleanup sr_cleanup;
typedef struct {
    sr_chunk   *chunks; /* newest first */
    sr_cleanup *cleanups;
    size_t      used, limit; /* bytes taken from the heap; limit 0 = none */
} sr_arena; /* zero-initialised = empty, without a limit */

void *sr_arena_alloc(sr_arena *a, size_t bytes); /* 16-byte aligned, not cleared */
void *sr_arena_zalloc(sr_arena *a, size_t n, size_t size);
char *sr_arena_strndup(sr_arena *a, const char *s, size_t n); /* NUL-terminated copy */
int   sr_arena_defer(sr_arena *a, void (*fn)(void *), void *arg); /* 0, or -1: fn was called at once */
void  sr_arena_end(sr_arena *a); /* runs cleanups, frees; the arena may be used again; NULL is fine */
#endif
