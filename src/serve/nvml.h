/* nvml.h - what the driver says of the GPU that the model is on: heat, power, clocks, memory.
 *
 * libnvidia-ml.so.1 comes with NVIDIA's driver and is loaded when it is asked for: the program needs neither to start.  Its
 * calls take milliseconds, and seconds when a GPU is in trouble: a thread of its own makes them, once a second, and readers get
 * the last sample.
 *
 * Owns:    the library's handle, its thread.
 * Threads: open, close: one.  read: any.   Errors: open: SR_UNSUPPORTED: no library, no such GPU; the message has the loader's or
 *          the driver's word.  A figure that the GPU does not have is NAN.
 * Source:  NVML API reference (CUDA 13); the functions used are there since CUDA 11.
 */
#ifndef SR_SERVE_NVML_H
#define SR_SERVE_NVML_H
#include <stdint.h>
#include "base/err.h"

typedef struct sr_nvml sr_nvml;
typedef struct {
    uint64_t at_ns;                    /* when it was taken; 0: not yet */
    double   temp_c, power_w, power_limit_w, energy_j, sm_hz, mem_hz, mem_used, mem_total; /* bytes */
    double   busy, mem_busy;           /* share of the last sample period, 0..1 */
    double   slow_power, slow_heat, slow_hw; /* 1: clocks are held down for that reason */
} sr_gpustat;

/* library: NULL: libnvidia-ml.so.1.  uuid: as nvidia-smi -L shows it, "GPU-...".  period_ms 0: 1,000. */
SR_MUSTUSE sr_status sr_nvml_open(const char *library, const char *uuid, uint32_t period_ms, sr_nvml **out, sr_err *err);
void        sr_nvml_read(sr_nvml *g, sr_gpustat *out);
const char *sr_nvml_name(const sr_nvml *g);
const char *sr_nvml_uuid(const sr_nvml *g);
void        sr_nvml_close(sr_nvml *g); /* waits for a call in progress, at most two seconds; NULL is fine */
#endif
