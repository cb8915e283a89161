#include "app/paths.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void exe_dir(char *out, size_t cap)
{
    ssize_t n = readlink("/proc/self/exe", out, cap - 1);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
    else
        snprintf(out, cap, ".");
}

sr_status sr_model_path(const char *given, char *out, size_t cap, sr_err *err)
{
    static const char *const places[] = {"models/", "../models/", "../share/strata/models/"};
    char                     exe[2048];
    if (given) {
        if ((size_t)snprintf(out, cap, "%s", given) >= cap)
            return sr_raise(err, SR_INVALID, "path of the model is longer than %zu bytes", cap - 1);
        return SR_OK;
    }
    exe_dir(exe, sizeof exe);
    for (size_t i = 0; i < SR_COUNT(places); i++) {
        const char *base = i == 0 ? "." : exe;
        int         n    = snprintf(out, cap, "%s/%s%s", base, places[i], SR_DEMO_MODEL);
        if (n > 0 && (size_t)n < cap && access(out, R_OK) == 0)
            return SR_OK;
    }
    return sr_raise(err, SR_IO, "no --model given, and the demo model %s is in none of ./models, %s/../models, "
                    "%s/../share/strata/models", SR_DEMO_MODEL, exe, exe);
}

void sr_model_id(const char *path, char *out, size_t cap)
{
    const char *name = strrchr(path, '/');
    size_t      n    = strlen(name = name ? name + 1 : path);
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
        n -= 5;
    snprintf(out, cap, "%.*s", (int)n, name);
}
