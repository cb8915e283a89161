/* registry.c - which backends there are, and why not.
 *
 * A plugin is looked for beside the installed program only; a build without one says so.  A GPU that was asked for
 * by name and cannot be used is an error with the reason: only "auto" falls back, and tells. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"

size_t sr_backend_list(sr_candidate *out, size_t cap)
{
    size_t n = 0;
    if (n < cap)
        out[n++] = (sr_candidate){.be = &sr_backend_cpu, .name = "cpu"};
    if (n < cap)
        out[n++] = (sr_candidate){.name = "cuda", .why = "this build has no CUDA backend"};
    return n;
}

sr_status sr_backend_pick(const char *spec, const sr_backend **be, int *device, char why[200], sr_err *err)
{
    sr_candidate c[4];
    size_t       n    = sr_backend_list(c, sizeof c / sizeof *c);
    const char  *want = spec ? spec : "auto";
    why[0]            = 0;
    *device           = 0;
    if (strcmp(want, "cpu") == 0) {
        *be = &sr_backend_cpu;
        return SR_OK;
    }
    bool any = strcmp(want, "auto") == 0, gpu = strcmp(want, "gpu") == 0 || strcmp(want, "cuda") == 0;
    if (!any && !gpu) {
        char *end = NULL;
        long  i   = strncmp(want, "cuda:", 5) == 0 ? strtol(want + 5, &end, 10) : -1;
        if (i < 0 || i > 255 || !end || *end || end == want + 5)
            return sr_raise(err, SR_INVALID, "unknown device \"%.40s\"; known: auto, cpu, gpu, cuda, cuda:N", want);
        *device = (int)i;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(c[i].name, "cuda") == 0) {
            if (c[i].be) {
                *be = c[i].be;
                return SR_OK;
            }
            if (!any)
                return sr_raise(err, SR_UNSUPPORTED, "device \"%s\" was asked for, but %s", want, c[i].why);
            snprintf(why, 200, "%s", c[i].why);
        }
    *be = &sr_backend_cpu;
    return SR_OK;
}
