/* profile_as.h - a profile as of a smaller machine, or with other products of the CPU.
 *
 *     limit      less memory, a slower bus or disk, fewer threads: what strata plan says of the real machine with such budgets
 *     use_f32    the CPU's products are those of activations in f32 (--cpu-activations f32), where the profile has them
 *
 * Both sides of `together` share the host's memory: what a slower bus leaves, the CPU gets (sr_plan_bus()).
 *
 * Owns:    nothing.   Threads: pure.
 * Errors:  SR_INVALID: a limit above what the machine has, or of what it has not; which, and how much there is.  The profile is then as it was.
 */
#ifndef SR_WEIGHTS_PROFILE_AS_H
#define SR_WEIGHTS_PROFILE_AS_H
#include "weights/profile.h"

typedef struct { uint64_t vram, ram; double h2d, nvme; uint32_t threads; } sr_limits; /* bytes, bytes/s; 0: as it is.  nvme: also where no disk was measured */

SR_MUSTUSE sr_status sr_profile_limit(sr_profile *p, const sr_limits *l, sr_err *err);
/* False: it has no such figures; nothing is changed. */
bool sr_profile_use_f32(sr_profile *p);
#endif
