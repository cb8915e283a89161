#include "base/mem.h"
#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

static uint64_t n_alloc;

static bool denied(void)
{
    __atomic_fetch_add(&n_alloc, 1, __ATOMIC_RELAXED);
    return sr_fault(SR_FAULT_ALLOC);
}

void *sr_malloc(size_t bytes) { return denied() ? NULL : malloc(bytes ? bytes : 1); }

void *sr_calloc(size_t n, size_t size) { return denied() ? NULL : calloc(n ? n : 1, size ? size : 1); }

void *sr_realloc(void *p, size_t bytes) { return denied() ? NULL : realloc(p, bytes ? bytes : 1); }

void *sr_aligned(size_t align, size_t bytes)
{
    void *p = NULL;
    if (denied() || posix_memalign(&p, align < sizeof p ? sizeof p : align, bytes ? bytes : 1))
        return NULL;
    return p;
}

void sr_free(void *p) { free(p); }

char *sr_strndup(const char *s, size_t n)
{
    char *d = sr_malloc(n + 1);
    if (d) {
        if (n)
            memcpy(d, s, n);
        d[n] = 0;
    }
    return d;
}

char *sr_strdup(const char *s) { return sr_strndup(s, strlen(s)); }

uint64_t sr_alloc_count(void) { return __atomic_load_n(&n_alloc, __ATOMIC_RELAXED); }
