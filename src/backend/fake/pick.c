/* pick.c - the registry of a program whose only GPU is the fake one: what users type with a card, rehearsed without.
 *
 * Linked in place of registry.c; only programs of tests have it.  SIGUSR1 loses the device in its next step, SIGUSR2 makes it hang. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/fake/fake.h"

void sr_backend_folder(const char *path) { (void)path; }

size_t sr_backend_list(sr_candidate *out, size_t cap)
{
    const sr_candidate all[] = {{.be = &sr_backend_cpu, .name = "cpu"}, {.be = &sr_backend_fake, .name = "fake"}};
    size_t n = cap < 2 ? cap : 2;
    memcpy(out, all, n * sizeof *all);
    return n;
}

static void harm(int sig) { sr_fake_harm(sig == SIGUSR1 ? SR_FAKE_LOST : SR_FAKE_HANGS); }

sr_status sr_backend_pick(const char *spec, const sr_backend **be, int *device, char why[200], sr_err *err)
{
    (void)err;
    signal(SIGUSR1, harm);
    signal(SIGUSR2, harm);
    why[0]  = 0;
    *device = 0;
    *be     = spec && strcmp(spec, "cpu") == 0 ? &sr_backend_cpu : &sr_backend_fake;
    return SR_OK;
}
