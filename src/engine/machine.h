/* machine.h - this machine's profile, measured in seconds, at most a minute or so: memory, disk, the products of the CPU and of a device, the way between.
 *
 *     machine.c      what is measured, in which order; memory and disk
 *     machine_rig.c  a program of equal products on any backend, timed; machine_attn.c: one of attention
 *
 * Products and attention go through backend.h and the ops that models use, on weights larger than the caches.  What cannot be
 * measured stays absent (0) in the profile; for the disk `host.disk` says why.  Figures are those of a machine that
 * does nothing else meanwhile.
 *
 * Owns:    nothing after return; devices are opened for it and closed.   Threads: any; nothing else may use the device.
 * Errors:  those of the device; SR_NOMEM.
 */
#ifndef SR_ENGINE_MACHINE_H
#define SR_ENGINE_MACHINE_H
#include "backend/backend.h"
#include "weights/profile.h"

typedef struct {                       /* zero = defaults */
    const sr_backend *be; int device;  /* NULL: no device beside the host */
    const char *disk_file;             /* read with O_DIRECT, at most 1 GB; NULL: the disk is not measured */
    size_t      pool;                  /* bytes of weights a point reads; 0: more than the caches hold, 768 MB to 4 GB */
    uint32_t    side;                  /* weights are [side][side] instead of what models have, and no prompt is long: for tests; 0: 4096 and 8192 */
    uint64_t    ns;                    /* at least so long for a point; 0: 40 ms */
    void (*progress)(void *arg, double share, const char *what); void *arg;
} sr_machinecfg;

SR_MUSTUSE sr_status sr_machine_measure(const sr_machinecfg *, sr_profile *out, sr_err *err);
#endif
