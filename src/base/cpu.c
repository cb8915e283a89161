#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/topo.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
static uint64_t xcr0(void)
{
    uint32_t a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return ((uint64_t)d << 32) | a;
}

/* Linux gives the AMX tile state on request only.  [Documentation/arch/x86/xstate.rst] */
static bool tiles_granted(void)
{
    enum { ARCH_REQ_XCOMP_PERM_ = 0x1023, XFEATURE_XTILEDATA_ = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM_, XFEATURE_XTILEDATA_) == 0;
}

static uint32_t detect(void)
{
    uint32_t a, b, c, d, f = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    uint64_t os  = xcr0();
    bool     fma = (c & bit_FMA) && (c & bit_F16C);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if ((os & 6) == 6 && fma && (b & bit_AVX2))
        f |= SR_CPU_AVX2;
    bool zmm = (os & 0xe6) == 0xe6;
    if (zmm && (f & SR_CPU_AVX2) && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) && (b & bit_AVX512VL))
        f |= SR_CPU_AVX512;
    if ((f & SR_CPU_AVX512) && (c & (1u << 11)))
        f |= SR_CPU_AVX512_VNNI;
    bool amx8 = (d & (1u << 24)) && (d & (1u << 25)), amx16 = (d & (1u << 24)) && (d & (1u << 22));
    if ((amx8 || amx16) && (os & 0x60000) == 0x60000 && (f & SR_CPU_AVX512) && tiles_granted())
        f |= (amx8 ? SR_CPU_AMX_INT8 : 0) | (amx16 ? SR_CPU_AMX_BF16 : 0);
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        if ((f & SR_CPU_AVX512) && (a & (1u << 5)))
            f |= SR_CPU_AVX512_BF16;
        if ((f & SR_CPU_AVX2) && (a & (1u << 4)))
            f |= SR_CPU_AVX_VNNI;
    }
    return f;
}
#elif defined(__aarch64__)
static uint32_t detect(void)
{
    enum { ATOMICS = 1 << 8, ASIMDRDM = 1 << 12, ASIMDDP = 1 << 20 }; /* asm/hwcap.h */
    const unsigned long dot = ATOMICS | ASIMDRDM | ASIMDDP;
    return SR_CPU_NEON | ((getauxval(AT_HWCAP) & dot) == dot ? SR_CPU_NEON_DOT : 0);
}
#else
static uint32_t detect(void) { return 0; }
#endif

uint32_t sr_cpu_features(void)
{
    static uint32_t word; /* bit 31: known.  Racing first calls store the same value. */
    uint32_t        w = __atomic_load_n(&word, __ATOMIC_RELAXED);
    if (!w) {
        w = detect() | 1u << 31;
        __atomic_store_n(&word, w, __ATOMIC_RELAXED);
    }
    return w & ~(1u << 31);
}

/* The first line of a small file, without its newline. */
static bool first_line(const char *path, char *out, size_t cap)
{
    FILE *f  = fopen(path, "re");
    bool  ok = f && fgets(out, (int)cap, f);
    if (f)
        fclose(f);
    if (ok)
        out[strcspn(out, "\n")] = 0;
    return ok;
}

uint32_t sr_cpu_cores(void)
{
    cpu_set_t set;
    long      n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    char      line[128];
    long      quota, period;
    if (first_line("/sys/fs/cgroup/cpu.max", line, sizeof line) && sscanf(line, "%ld %ld", &quota, &period) == 2 &&
        quota > 0 && period > 0 && (quota + period - 1) / period < n)
        n = (quota + period - 1) / period;
    return n > 0 ? (uint32_t)n : 1;
}

const char *sr_cpu_name(void)
{
    static char name[64];
    if (name[0])
        return name;
    char  line[256], found[64] = "unknown";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *at = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && at) {
            snprintf(found, sizeof found, "%.*s", (int)strcspn(at + 1, "\n") - 1, at + 2);
            break;
        }
    }
    if (f)
        fclose(f);
    memcpy(name, found, sizeof name);
    return name;
}

void sr_cpu_topology(const char *root, sr_topo *out)
{
    cpu_set_t  set;
    sr_cpubits allowed = {{0}};
    if (sched_getaffinity(getpid(), sizeof set, &set) == 0)
        for (uint32_t c = 0; c < CPU_SETSIZE && c < SR_TOPO_CORES; c++)
            allowed.w[c / 64] |= (uint64_t)!!CPU_ISSET(c, &set) << c % 64;
    sr_topo_read(root, &allowed, out);
}

bool sr_cpu_pin_on(const sr_topo *t, uint32_t thread, uint32_t threads)
{
    cpu_set_t one;
    if (t->n_cores == 0)
        return false;
    CPU_ZERO(&one);
    CPU_SET(t->core[sr_topo_place(t, thread, threads)].cpu, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
}

bool sr_cpu_pin(uint32_t thread, uint32_t threads)
{
    sr_topo t;
    sr_cpu_topology("/sys", &t);
    bool tied = sr_cpu_pin_on(&t, thread, threads);
    if (!tied)
        sr_log(SR_LOG_WARN, "thread %u of %u is not tied to a core: %s", thread, threads, t.n_cores ? strerror(errno) : "the system does not say which there are");
    return tied;
}

int sr_cpu_interleave_on(const sr_topo *t)
{
    enum { MPOL_INTERLEAVE = 3, WORD = 8 * sizeof(unsigned long) }; /* linux/mempolicy.h, set_mempolicy(2) */
    unsigned long mask[SR_TOPO_NODES / WORD] = {0};
    if (sr_topo_nodes(t) < 2)
        return 0;
    for (uint32_t i = 0; i < SR_TOPO_NODES; i++)
        mask[i / WORD] |= (unsigned long)(t->memory >> i & 1) << i % WORD;
    /* The kernel takes one less than the number of bits it is told. */
    return syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask, SR_TOPO_NODES + 1) == 0 ? (int)sr_topo_nodes(t) : -errno;
}

int sr_cpu_interleave(void)
{
    sr_topo t;
    sr_cpu_topology("/sys", &t);
    return sr_cpu_interleave_on(&t);
}

/* "MemAvailable:  123 kB", "inactive_file 123": the number behind a word; 0: it is not there. */
static uint64_t number_of(const char *root, const char *file, const char *word)
{
    char               path[512], line[128];
    unsigned long long v = 0;
    snprintf(path, sizeof path, "%s%s", root, file);
    FILE *f = fopen(path, "re");
    while (f && !v && fgets(line, sizeof line, f))
        if (strncmp(line, word, strlen(word)) == 0 && sscanf(line + strlen(word), "%llu", &v) != 1)
            v = 0;
    if (f)
        fclose(f);
    return v;
}

uint64_t sr_cpu_memory(void)
{
    uint64_t n = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), limit = number_of("", "/sys/fs/cgroup/memory.max", "");
    return limit ? SR_MIN(n, limit) : n; /* "max" is no number */
}

uint64_t sr_cpu_memory_free(const char *root)
{
    uint64_t free = number_of(root, "/proc/meminfo", "MemAvailable:") * 1024, limit = number_of(root, "/sys/fs/cgroup/memory.max", "");
    free = free ? free : UINT64_MAX;
    if (limit) {
        uint64_t used  = number_of(root, "/sys/fs/cgroup/memory.current", "");
        uint64_t files = number_of(root, "/sys/fs/cgroup/memory.stat", "inactive_file ") + number_of(root, "/sys/fs/cgroup/memory.stat", "active_file ");
        used = used > files ? used - files : 0;
        free = SR_MIN(free, limit > used ? limit - used : 0);
    }
    return free;
}
