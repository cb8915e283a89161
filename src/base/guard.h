/* guard.h - mapped files that somebody else may cut short, or whose disk fails: zeros and a flag instead of SIGBUS.
 *
 * Reading a page that its file no longer has raises SIGBUS.  A handler puts zero pages from there to the end of a guarded mapping
 * and counts it; who computes on the mapping asks hit() afterwards and throws away what came out.  A SIGBUS elsewhere goes to
 * whoever handled it before.
 *
 * Owns:    a table of ranges; the mappings are the caller's, guarded until close(), which comes before munmap().
 * Threads: any.   Errors: open: NULL when SR_GUARDS ranges are guarded already.
 */
#ifndef SR_BASE_GUARD_H
#define SR_BASE_GUARD_H
#include <stdbool.h>
#include <stddef.h>

typedef struct sr_guard sr_guard;
enum { SR_GUARDS = 4096 };

sr_guard *sr_guard_open(const void *map, size_t n);
void      sr_guard_close(sr_guard *g); /* NULL is fine */
bool      sr_guard_hit(const sr_guard *g);
#endif
