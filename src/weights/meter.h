/* meter.h - how long copies really took, told by their points alone: a thread looks when they are reached.
 *
 * Copies of one queue come one after the other: a copy begins when the one before it is over and its slot is free (`from`), and ends at `over`.
 * The thread sleeps for half of what a copy should take, then looks often; between steps it sleeps until the next one.
 *
 * Owns:    its thread.   Threads: add: the stream's; total: any.   Errors: SR_NOMEM, SR_IO (no thread).
 */
#ifndef SR_WEIGHTS_METER_H
#define SR_WEIGHTS_METER_H
#include "backend/backend.h"

typedef struct sr_meter sr_meter;
typedef struct { uint64_t bytes, ns; } sr_metered;   /* of copies that are over: what they carried, the time the bus was busy with them */

SR_MUSTUSE sr_status sr_meter_open(sr_meter **, sr_err *);
void sr_meter_close(sr_meter *);
void sr_meter_add(sr_meter *, uint64_t bytes, sr_point from, sr_point over); /* from: word NULL: nothing to wait for.  Dropped when too many are under way */
void sr_meter_total(sr_meter *, sr_metered *out);
#endif
