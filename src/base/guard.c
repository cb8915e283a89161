#include "base/guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

struct sr_guard {
    uintptr_t base; /* 0: free; stored last, with release */
    size_t    n;
    uint32_t  hits;
};

static sr_guard         table[SR_GUARDS];
static uintptr_t        page;
static struct sigaction before;
static pthread_mutex_t  lock = PTHREAD_MUTEX_INITIALIZER;

/* In the thread that read the page, which goes on with zeros.  Only loads of the table and mmap(): safe in a handler. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    (void)context;
    if (info->si_code <= 0) { /* sent by a process: there is no address, and nothing would raise it again */
        sigaction(sig, &before, NULL);
        raise(sig);
        return;
    }
    for (uint32_t i = 0; i < SR_GUARDS; i++) {
        sr_guard *g    = &table[i];
        uintptr_t base = __atomic_load_n(&g->base, __ATOMIC_ACQUIRE), end = base + g->n;
        if (!base || at < base || at >= end)
            continue;
        at = at / page * page;
        __atomic_fetch_add(&g->hits, 1, __ATOMIC_SEQ_CST);
        if (mmap((void *)at, end - at, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED)
            return;
    }
    sigaction(sig, &before, NULL); /* not ours: it is raised again when we return */
}

/* Again where somebody else has put a handler meanwhile.  Locked. */
static void install(void)
{
    struct sigaction a = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER}, now;
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_bus)
        return;
    sigemptyset(&a.sa_mask);
    sigaction(SIGBUS, &a, &before);
}

sr_guard *sr_guard_open(const void *map, size_t n)
{
    sr_guard *g = NULL;
    pthread_mutex_lock(&lock);
    install();
    for (uint32_t i = 0; i < SR_GUARDS && !g; i++)
        if (!table[i].base) {
            g       = &table[i];
            g->n    = n;
            g->hits = 0;
            __atomic_store_n(&g->base, (uintptr_t)map, __ATOMIC_RELEASE);
        }
    pthread_mutex_unlock(&lock);
    return g;
}

void sr_guard_close(sr_guard *g)
{
    if (g)
        __atomic_store_n(&g->base, 0, __ATOMIC_RELEASE);
}

bool sr_guard_hit(const sr_guard *g) { return g && __atomic_load_n(&g->hits, __ATOMIC_SEQ_CST) != 0; }
