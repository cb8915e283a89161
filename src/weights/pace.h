/* pace.h - a bus slower than this machine's, for rehearsals: a copy counts as over when so many bytes would be there.
 *
 *     copy k may begin  max(its slot is free, copy k - 1 is due)      due k = then + bytes / rate, but not before it is over
 *
 * A thread watches the points and stores k to a page-locked word at its due time; the device waits for that word instead of the
 * copy itself, before its ops and before the next copy.
 *
 * Owns:    its thread.  The word is borrowed until close().   Threads: add(): one.   Errors: SR_NOMEM, SR_IO.
 */
#ifndef SR_WEIGHTS_PACE_H
#define SR_WEIGHTS_PACE_H
#include "backend/backend.h"

typedef struct sr_pace sr_pace;

SR_MUSTUSE sr_status sr_pace_open(double bytes_per_s, volatile uint64_t *word, sr_pace **, sr_err *);
void sr_pace_close(sr_pace *);
sr_point sr_pace_last(const sr_pace *);              /* when the last copy added is due; the next one may not begin before */
/* A copy that may begin at `from` (word NULL: at once) and is over at `over`: when it counts as over. */
sr_point sr_pace_add(sr_pace *, uint64_t bytes, sr_point from, sr_point over);
#endif
