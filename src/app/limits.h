/* limits.h - limits and times of a server, from one option: --limits body_bytes=64MiB,messages=8192,head_seconds=20.
 *
 * The names are those of /props; what is not named keeps its value.
 *
 * Owns:    nothing.   Threads: any.
 * Errors:  SR_INVALID: which name is none, which value is out of its range; SR_NOMEM.
 */
#ifndef SR_APP_LIMITS_H
#define SR_APP_LIMITS_H
#include "base/err.h"
#include "serve/serve.h"

SR_MUSTUSE sr_status sr_limits_read(const char *list, sr_servelimits *limits, sr_servetimes *times, sr_err *err);
#endif
