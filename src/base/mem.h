/* mem.h - host memory: checked sizes, and allocation that tests can make fail.
 *
 * All modules allocate through these four calls, so that a test can fail the N-th allocation of a
 * scenario and prove that nothing leaks or crashes (fault.h), and count allocations in the steady
 * state (where there must be none).
 *
 * Errors:  NULL; the caller raises SR_NOMEM with what it was for.
 * Threads: any.
 */
#ifndef SR_BASE_MEM_H
#define SR_BASE_MEM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void    *sr_malloc(size_t bytes);
void    *sr_calloc(size_t n, size_t size);
void    *sr_realloc(void *p, size_t bytes);
void    *sr_aligned(size_t align, size_t bytes); /* align: a power of two; freed by sr_free */
void     sr_free(void *p);
char    *sr_strdup(const char *s);
char    *sr_strndup(const char *s, size_t n); /* n bytes and a terminating NUL, embedded NULs kept */
uint64_t sr_alloc_count(void);                /* allocations so far in this process */

/* *out = a * b, *out = a + b; false when it does not fit. */
static inline bool sr_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool sr_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

#define SR_COUNT(a) (sizeof(a) / sizeof *(a))
#define SR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SR_MAX(a, b) ((a) > (b) ? (a) : (b))
static inline size_t sr_align_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
#endif
