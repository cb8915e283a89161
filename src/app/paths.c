#include "app/paths.h"
#include "app/commands.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

static const char *const places[] = {"", "../", "../share/strata/"};

/* `folder`/`file` below one of the places; false: in none. */
static bool find(const char *folder, const char *file, char *out, size_t cap, const char *exe)
{
    for (size_t i = 0; i < SR_COUNT(places); i++) {
        int n = snprintf(out, cap, "%s/%s%s/%s", i == 0 ? "." : exe, places[i], folder, file);
        if (n > 0 && (size_t)n < cap && access(out, R_OK) == 0)
            return true;
    }
    return false;
}

sr_status sr_model_path(const char *given, char *out, size_t cap, sr_err *err)
{
    char exe[2048];
    if (given) {
        if ((size_t)snprintf(out, cap, "%s", given) >= cap)
            return sr_raise(err, SR_INVALID, "path of the model is longer than %zu bytes", cap - 1);
        return SR_OK;
    }
    exe_dir(exe, sizeof exe);
    if (find("models", SR_DEMO_MODEL, out, cap, exe))
        return SR_OK;
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

sr_status sr_profile_path(const char *name, char *out, size_t cap, sr_err *err)
{
    char   exe[2048], file[128], shown[100];
    size_t n = strlen(name);
    if (strchr(name, '/') || (n > 5 && strcmp(name + n - 5, ".json") == 0))
        return (size_t)snprintf(out, cap, "%s", name) < cap ? SR_OK : sr_raise(err, SR_INVALID, "path of the profile is longer than %zu bytes", cap - 1);
    exe_dir(exe, sizeof exe);
    if ((size_t)snprintf(file, sizeof file, "%s.json", name) < sizeof file && find("profiles", file, out, cap, exe))
        return SR_OK;
    return sr_raise(err, SR_IO, "no profile %s.json in ./profiles, %s/../profiles, %s/../share/strata/profiles", sr_escape(shown, sizeof shown, name, n),
                    exe, exe);
}

sr_status sr_cache_path(const char *file, char *out, size_t cap, sr_err *err)
{
    const char *home = sr_app_env("XDG_CACHE_HOME"), *below = "";
    if (!home || *home != '/') {
        home  = sr_app_env("HOME");
        below = "/.cache";
    }
    if (!home || *home != '/')
        return sr_raise(err, SR_IO, "neither XDG_CACHE_HOME nor HOME is set: no place to keep what was measured");
    int n = snprintf(out, cap, "%s%s/strata", home, below);
    if (n <= 0 || (size_t)n + strlen(file) + 2 > cap)
        return sr_raise(err, SR_INVALID, "path of the cache is longer than %zu bytes", cap - 1);
    for (char *p = out + 1; *p; p++) /* each folder of it */
        if (*p == '/') {
            *p = 0;
            (void)mkdir(out, 0700);
            *p = '/';
        }
    if (mkdir(out, 0700) && errno != EEXIST)
        return sr_raise(err, SR_IO, "%s: %s", out, strerror(errno));
    snprintf(out + n, cap - (size_t)n, "/%s", file);
    return SR_OK;
}
