/* probe.h - what a device's memory and its bus give, measured with the backend's own copies, and what its matrix units give.
 *
 * Owns:    nothing after return: the device is opened for it and closed.   Threads: any; nothing else may use the device.
 * Errors:  those of the device; SR_UNSUPPORTED where device memory is host memory (base/bench.h measures that).
 */
#ifndef SR_ENGINE_PROBE_H
#define SR_ENGINE_PROBE_H
#include "backend/backend.h"

typedef struct {
    double   copy, up, down; /* bytes/s: within device memory, read + written; from and to page-locked memory */
    sr_peaks peak;           /* 0: the backend does not know */
} sr_rates;

SR_MUSTUSE sr_status sr_probe_rates(const sr_backend *be, int device, sr_rates *out, sr_err *err);
#endif
