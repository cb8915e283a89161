/* fake.h - a device that is not there: the CPU backend behind a discrete card's manners, for tests without a GPU.
 *
 *   - Device memory has addresses the host cannot read (bit 62 set): whoever treats a device pointer as a host
 *     pointer faults at once.  The fake takes the bit off where a real driver would use the address.
 *   - Copies take time (bytes per second), commands have latency, so that missing fences show as wrong results.
 *   - Freed and fresh device memory holds NaNs.
 *   - Allocation, copies and submits fail on demand through base/fault.h; a failed one loses the device.
 *   - It can be told to lose itself or to hang in its next submit, by a signal's handler too.
 *   - Several devices may be open at once, each with its own queues and workers.
 *
 * Threads, errors: as backend.h.   Owns: nothing beyond its devices.
 */
#ifndef SR_BACKEND_FAKE_H
#define SR_BACKEND_FAKE_H
#include "backend/backend.h"

typedef struct {
    uint64_t bytes_per_s;    /* of each copy queue; 0: as fast as it goes */
    uint64_t ns_per_command; /* latency of every command */
    uint64_t memory;         /* bytes of device memory; 0: 1 GiB */
    uint64_t granule;        /* it is taken in pieces of so many bytes; 0: of any */
} sr_fakecfg;

void sr_fake_configure(const sr_fakecfg *cfg); /* for devices opened afterwards; test programs only, one thread */
typedef enum { SR_FAKE_WELL, SR_FAKE_LOST, SR_FAKE_HANGS } sr_fakeharm;
void sr_fake_harm(sr_fakeharm next); /* safe in a signal's handler */
extern const sr_backend sr_backend_fake;
#endif
