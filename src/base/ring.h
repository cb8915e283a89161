/* ring.h - a queue of variable-size records in memory that two threads or two processes share.
 *
 *     memory   [head | next][tail][ data: cap bytes, used round and round                ]
 *                                    ^tail          ^head       ^next
 *     records      free             | published     | put, not  | free
 *                                                     yet shown
 *
 * A record is an 8-byte length and its bytes, padded to 8, and may wrap round the end: records are copied in
 * from pieces and copied out whole, so that any record up to the capacity fits, wherever the ring stands.
 * put() writes behind what is published; publish() shows all that was put at once (a step's events).
 * Positions only grow (2^64 bytes are never reached); the place in the data is position % cap.
 *
 * Owns:    nothing.  The memory is the caller's; there are no pointers in it, it may lie at different addresses.
 *          Zeroed memory is an empty ring.
 * Threads: one producer (put, publish, room) and one consumer (next, get) at a time, without a lock.  Several
 *          producers take a lock of theirs around put + publish.
 * Errors:  put: false = no room now, nothing was written.
 *          A length or a position that cannot be (the other process has gone mad) makes next() return
 *          SR_RING_BROKEN from then on; nothing outside the ring is ever read or written.
 */
#ifndef SR_BASE_RING_H
#define SR_BASE_RING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    _Alignas(64) uint64_t head; /* published up to here */
    uint64_t next;              /* put up to here */
    _Alignas(64) uint64_t tail; /* consumed up to here */
} sr_ringmem;
typedef struct { sr_ringmem *mem; uint8_t *data; size_t cap; } sr_ring; /* one side's view; copy freely */
typedef struct { const void *p; size_t n; } sr_piece;
#define SR_RING_BROKEN ((size_t)-1)

size_t  sr_ring_bytes(size_t cap);      /* of memory for a ring of cap bytes of records; cap % 8 == 0 */
sr_ring sr_ring_at(void *mem, size_t cap); /* mem 64-byte aligned */
size_t  sr_ring_record(size_t bytes);   /* of the ring that a record of so many bytes takes; 0: too large */

size_t sr_ring_room(const sr_ring *r);  /* bytes that can be put now, in the measure of sr_ring_record() */
bool   sr_ring_put(const sr_ring *r, const sr_piece *piece, size_t n); /* the pieces are one record, >= 1 byte */
bool   sr_ring_publish(const sr_ring *r); /* true: there was something new to show */

size_t sr_ring_next(const sr_ring *r);  /* bytes of the next record; 0: none; SR_RING_BROKEN */
void   sr_ring_get(const sr_ring *r, void *out, size_t n); /* takes the record that next() said has n bytes */
#endif
