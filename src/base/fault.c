#include "base/fault.h"

/* Test-only state, process-wide by nature: allocation has no context object (base/README.md). */
int             sr_fault_any;
static uint64_t left[SR_FAULT_COUNT];
static bool     fired[SR_FAULT_COUNT];

void sr_fault_arm(sr_faultkind kind, uint64_t nth)
{
    bool was = __atomic_exchange_n(&left[kind], nth, __ATOMIC_SEQ_CST) != 0;
    __atomic_store_n(&fired[kind], false, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&sr_fault_any, (nth != 0) - (was ? 1 : 0), __ATOMIC_SEQ_CST);
}

bool sr_fault_fired(sr_faultkind kind) { return __atomic_load_n(&fired[kind], __ATOMIC_SEQ_CST); }

bool sr_fault_slow(sr_faultkind kind)
{
    uint64_t n = __atomic_load_n(&left[kind], __ATOMIC_SEQ_CST);
    while (n != 0) {
        if (!__atomic_compare_exchange_n(&left[kind], &n, n - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            continue;
        if (n > 1)
            return false;
        __atomic_fetch_sub(&sr_fault_any, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&fired[kind], true, __ATOMIC_SEQ_CST);
        return true;
    }
    return false;
}
