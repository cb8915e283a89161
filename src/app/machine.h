/* machine.h - this machine's figures: as measured before, or measured now and kept.
 *
 * Kept as probe-<device>-<CPU>.json in the cache (paths.h): another card or processor is another file, and the driver's
 * version is in the name too.
 *
 * Threads: one.   Errors: those of the device; a cache that cannot be written is a warning on stderr, not an error.
 */
#ifndef SR_APP_MACHINE_H
#define SR_APP_MACHINE_H
#include "backend/backend.h"
#include "weights/profile.h"

typedef struct {
    const char *device;    /* "auto", "cpu", "cuda:N"; NULL: auto */
    const char *disk_file; /* to read from the disk that it lies on; NULL: the disk is not measured */
    bool        again;     /* even if it was measured before */
} sr_machineask;

/* For an engine that starts with more weights than its device holds: the figures of strata probe, else those that an engine measured at an
 * earlier start (start-<device>-<CPU>-<format>-<threads>.json).  Files of another device or processor are not taken. */
typedef struct { const sr_backend *be; int device; bool verbose; } sr_machinestart; /* verbose: says which, on stderr */
bool sr_machine_known(void *start, uint16_t format, uint32_t threads, sr_hw *out);
void sr_machine_keep(void *start, uint16_t format, uint32_t threads, const sr_hw *now);

/* where: the file it lies in, or empty.  fresh: it was measured now. */
SR_MUSTUSE sr_status sr_machine_get(const sr_machineask *, sr_profile *out, char *where, size_t cap, bool *fresh, sr_err *err);
#endif
