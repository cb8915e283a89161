#include "engine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bench.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "engine/machine_attn.h"
#include "engine/machine_beside.h"
#include "engine/machine_rig.h"
#include "engine/probe.h"
#include "weights/reader.h"

enum { FEW = 8 /* rows of steps that the CPU takes part in */, WIDE = 4096, FFN = 14336, STEADY = 4, TINY = 256, TINY_ROWS = 64, CPU_MANY = 256, DEV_MANY = 2048, TINY_OPS = 64, BLOCK = 4 << 20, DISK_PART = 64 << 20,
       COPY = 256 << 20, PIECE = 16 << 20, SHAKES = 31, READS = 3, OP_TRIES = 8 };
#define OP_MOST 2e-5
#define POOL_FEW ((size_t)1 << 30) /* more than a few threads read between two visits of the same place */
#define NS 40000000ull
#define LARGE_ROOM 4000000000ull /* of the device's memory, for products as of a 70B model */

static const uint32_t formats[] = {SR_Q4_K, SR_Q5_K, SR_Q6_K, SR_Q8_0, SR_F16};
static const uint32_t some_formats[] = {SR_Q4_K, SR_Q6_K, SR_Q8_0}; /* another keeps as much of its rate as the nearest of them */
/* 8 and 9, 16 and 17: from there on products of a card have other kernels. */
static const uint32_t cpu_rows[] = {1, 2, 4, 8, 16, 32}, dev_rows[] = {1, 2, 4, 8, 9, 16, 17, 32, 64}, dev_many[] = {128, 512, 2048};

typedef struct {
    const sr_machinecfg *cfg;
    sr_profile          *p;
    size_t               pool;
    uint32_t             side;
    uint64_t             ns;
    double               share;
} probe;

static void tell(probe *k, double part, const char *what)
{
    k->share += part;
    if (k->cfg->progress)
        k->cfg->progress(k->cfg->arg, SR_MIN(k->share, 1), what);
}

/* ---- host ------------------------------------------------------------------------------------------------------- */

/* 1, 2, 4 .. and all. */
static uint32_t next_threads(uint32_t t, uint32_t all) { return t >= all ? 0 : SR_MIN(2 * t, all); }

static size_t pool_bytes(const probe *k, uint64_t cache, uint64_t memory)
{
    return k->cfg->pool ? SR_MIN(k->cfg->pool, (size_t)memory / 8) : sr_rig_pool(cache, memory);
}

/* Threads read no faster than they are many. */
static size_t pool_of(const probe *k, uint32_t threads)
{
    return SR_MIN(k->pool, SR_MAX(POOL_FEW, k->pool / k->p->host.cores * threads));
}

static sr_status memory(probe *k, sr_err *err)
{
    uint32_t all = k->p->host.cores;
    for (uint32_t t = 1; t; t = next_threads(t, all)) {
        double best = 0, v;
        for (int i = 0; i < READS; i++, best = SR_MAX(best, v))
            if (sr_bench_read(t, k->cfg->pool ? k->cfg->pool : pool_of(k, t), &v, err))
                return sr_while(err, "measuring the memory with %u threads", t);
        sr_curve_put(&k->p->host.dram, t, best);
    }
    return SR_OK;
}

/* What the fixed time of an op leaves of a measured op, whose larger part that cannot be: products here are megabytes. */
static double beyond(double s, double op) { return SR_MAX(s - op, s * 0.6); }

typedef struct { const sr_backend *be; sr_dev *d; double op; } bench;

/* Again where it is no op's time: a thread that lost its core once holds up every barrier of a piece. */
static sr_status op_time(probe *k, const bench *b, double *out, sr_err *err)
{
    const sr_rigcfg c = {.format = SR_Q8_0, .rows = TINY_ROWS, .cols = TINY, .max_tokens = 1, .pool = TINY_OPS * TINY_ROWS * TINY * 34 / 32};
    sr_rig          r;
    double          s;
    *out = 1;
    if (sr_rig_open(b->be, b->d, &c, &r, err) == SR_OK)
        for (int i = 0; i < OP_TRIES && *out > OP_MOST && sr_rig_time(&r, 1, k->ns / 4, &s, err) == SR_OK; i++)
            *out = SR_MIN(*out, s);
    sr_rig_close(&r);
    return err->status;
}

static sr_status rows_curve(probe *k, sr_rig *r, const bench *b, const uint32_t *rows, size_t n, sr_curve *to, sr_err *err)
{
    for (size_t i = 0; i < n; i++) {
        double s;
        if (sr_rig_time(r, rows[i], k->ns / 2, &s, err))
            return err->status;
        sr_curve_put(to, rows[i], (double)r->bytes / beyond(s, b->op));
    }
    return SR_OK;
}

typedef struct { sr_curves *gemv, *rows, *gemm; } figures;

static sr_curve *curve_of(sr_curves *c, uint32_t format)
{
    uint32_t i = 0;
    while (i < c->n && c->c[i].format != format)
        i++;
    return i < c->n ? &c->c[i] : sr_curves_add(c, format);
}

static sr_status cpu_format(probe *k, const bench *b, uint32_t threads, uint32_t format, bool all, const figures *to, sr_err *err)
{
    const sr_rigcfg c = {.format = format, .rows = k->side, .cols = k->side, .max_tokens = CPU_MANY, .pool = pool_of(k, threads)};
    sr_rig          r;
    double          one, many;
    if (sr_rig_open(b->be, b->d, &c, &r, err) == SR_OK && sr_rig_time(&r, 1, k->ns, &one, err) == SR_OK &&
        sr_rig_time(&r, CPU_MANY, k->ns, &many, err) == SR_OK) {
        sr_curve_put(curve_of(to->gemv, format), threads, (double)r.bytes / beyond(one, b->op));
        sr_curve_put(curve_of(to->gemm, format), threads, 2.0 * k->side * k->side * CPU_MANY / many);
        if (all)
            (void)!rows_curve(k, &r, b, cpu_rows, SR_COUNT(cpu_rows), curve_of(to->rows, format), err);
    }
    sr_rig_close(&r);
    return err->status;
}

/* Activations in f32 (--cpu-activations).  Arithmetic binds these, which goes with the threads: one and all of them say enough. */
static sr_status cpu_f32(probe *k, uint32_t threads, double op, sr_err *err)
{
    const figures   to  = {&k->p->host.gemv_f32, &k->p->host.rows_f32, &k->p->host.gemm_f32};
    const sr_devcfg cfg = {.threads = threads, .f32_activations = true};
    bench           b   = {.be = &sr_backend_cpu, .op = op};
    if (b.be->open(0, &cfg, &b.d, err) == SR_OK)
        for (size_t i = 0; i < SR_COUNT(some_formats) && !err->status; i++)
            (void)!cpu_format(k, &b, threads, some_formats[i], threads == k->p->host.cores, &to, err);
    if (b.d)
        b.be->close(b.d);
    return err->status;
}

static sr_status products(probe *k, sr_err *err)
{
    const figures to = {&k->p->host.gemv, &k->p->host.rows, &k->p->host.gemm};
    uint32_t all = k->p->host.cores, steps = 0;
    for (uint32_t t = 1; t; t = next_threads(t, all))
        steps++;
    for (uint32_t t = 1; t; t = next_threads(t, all)) {
        bench     b   = {.be = &sr_backend_cpu};
        sr_devcfg cfg = {.threads = t};
        if (b.be->open(0, &cfg, &b.d, err) || op_time(k, &b, &b.op, err))
            goto fail;
        for (size_t i = 0; i < SR_COUNT(formats); i++) {
            tell(k, 0.6 / steps / SR_COUNT(formats), "CPU");
            if (cpu_format(k, &b, t, formats[i], t == all, &to, err))
                goto fail;
        }
        k->p->host.op = b.op;
        sr_attnrates at = {0};
        if (t == all && sr_attn_rates(b.be, b.d, k->pool, k->ns, true, &at, err))
            goto fail;
        k->p->host.kv   = t == all ? at.read : 0;
        k->p->host.attn = t == all ? at.flops[0] : 0;
        b.be->close(b.d);
        b.d = NULL;
        if ((t == 1 || t == all) && cpu_f32(k, t, b.op, err))
            goto fail;
        continue;
    fail:
        if (b.d)
            b.be->close(b.d);
        return sr_while(err, "measuring the CPU with %u threads", t);
    }
    return SR_OK;
}

/* ---- disk ------------------------------------------------------------------------------------------------------- */

/* With the reader that brings weights from there. */
static sr_status read_disk(const char *path, size_t size, double *rate, sr_err *err)
{
    uint64_t          part = SR_MIN(size, (size_t)DISK_PART) / SR_READ_ALIGN * SR_READ_ALIGN;
    const sr_readunit unit = {0, 1};
    const sr_readpart all  = {0, 0, part};
    void             *buf  = sr_aligned(SR_READ_ALIGN, sr_reader_room(&unit, 1, &all));
    if (!buf)
        return sr_raise(err, SR_NOMEM, "host: %llu bytes to read the disk into", (unsigned long long)part);
    sr_status s = sr_reader_measure(path, SR_READ_THREADED, part, buf, rate, err);
    sr_free(buf);
    return s;
}

/* A disk that cannot be measured is no failure of the probe: the profile says why. */
static void disk(probe *k)
{
    const char *path = k->cfg->disk_file, *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path;
    char       *say  = k->p->host.disk, shown[48];
    size_t      cap  = sizeof k->p->host.disk;
    struct stat st;
    sr_err      e = {0};
    if (!path) {
        snprintf(say, cap, "not measured: no file was named");
        return;
    }
    sr_escape(shown, sizeof shown, name, strlen(name));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0)
        snprintf(say, cap, "not measured: %s cannot be opened with O_DIRECT: %s", shown, strerror(errno));
    else if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < BLOCK)
        snprintf(say, cap, "not measured: %s is no file of at least %d MB", shown, BLOCK >> 20);
    else if (read_disk(path, (size_t)st.st_size, &k->p->host.nvme, &e))
        snprintf(say, cap, "not measured: %s cannot be read with O_DIRECT: %.60s", shown, e.msg);
    else
        snprintf(say, cap, "O_DIRECT, as weights are read from it, %s", shown);
    if (fd >= 0)
        close(fd);
}

/* ---- device ------------------------------------------------------------------------------------------------------ */

/* Few rows, each product of what the one before has made, with the time between them: several may share a launch. */
static sr_status few_rows(probe *k, const bench *b, size_t pool, uint32_t format, uint32_t rows, uint32_t cols, sr_curve *to, sr_err *err)
{
    const sr_rigcfg c     = {.format = format, .rows = rows, .cols = cols, .max_tokens = dev_rows[SR_COUNT(dev_rows) - 1], .turns = true, .pool = pool};
    const bench     whole = {b->be, b->d, 0};
    sr_rig          r;
    if (sr_rig_open(b->be, b->d, &c, &r, err) == SR_OK)
        (void)!rows_curve(k, &r, &whole, dev_rows, SR_COUNT(dev_rows), to, err);
    sr_rig_close(&r);
    return err->status;
}

/* Rates of products of so many rows, on and on; dims: of each of n matrices that take turns. */
static sr_status many_curve(probe *k, const bench *b, size_t pool, uint32_t format, const uint32_t (*dims)[2], size_t n, sr_curve *to, sr_err *err)
{
    double seconds[SR_COUNT(dev_many)] = {0}, params = 0;
    for (size_t m = 0; m < n && !err->status; m++) {
        uint32_t        side = k->cfg->side, rows = side ? side : dims[m][0], cols = side ? side : dims[m][1];
        const sr_rigcfg c    = {.format = format, .rows = rows, .cols = cols, .max_tokens = DEV_MANY, .pool = pool};
        sr_rig          r;
        double          s;
        if (sr_rig_open(b->be, b->d, &c, &r, err) == SR_OK)
            for (size_t i = 0; i < SR_COUNT(dev_many) && sr_rig_steady(&r, dev_many[i], STEADY * k->ns, &s, err) == SR_OK; i++)
                seconds[i] += beyond(s, b->op);
        sr_rig_close(&r);
        params += (double)rows * cols;
    }
    for (size_t i = 0; i < SR_COUNT(dev_many) && !err->status; i++)
        sr_curve_put(to, dev_many[i], 2.0 * params * dev_many[i] / seconds[i]);
    return err->status;
}

static sr_status dev_format(probe *k, const bench *b, size_t pool, uint32_t format, sr_err *err)
{
    static const uint32_t ffn[][2] = {{FFN, WIDE}, {WIDE, FFN}};
    const uint32_t        side     = k->cfg->side;
    sr_curve             *few      = sr_curves_add(&k->p->dev.gemv, format);
    if (few_rows(k, b, pool, format, side ? side : FFN, side ? side : WIDE, few, err))
        return err->status;
    return many_curve(k, b, pool, format, ffn, SR_COUNT(ffn), sr_curves_add(&k->p->dev.gemm, format), err);
}

/* Smaller ones; where all are of one size there is nothing to compare. */
static sr_status dev_small(probe *k, const bench *b, size_t pool, sr_err *err)
{
    return k->cfg->side ? SR_OK : few_rows(k, b, pool, SR_Q4_K, WIDE, WIDE, &k->p->dev.small, err);
}

/* Where a product ends, blocks wait for others: the smaller, the larger that part. */
static sr_status dev_sizes(probe *k, const bench *b, size_t pool, uint64_t room, sr_err *err)
{
    static const uint32_t dims[][2] = {{2048, 2048}, {4096, 4096}, {28672, 8192}, {8192, 28672}};
    static const struct { uint32_t first, n; } of[SR_PROFILE_SIZES] = {{0, 1}, {1, 1}, {2, 2}};
    for (uint32_t i = 0; i < (room < LARGE_ROOM ? SR_PROFILE_SIZES - 1 : SR_PROFILE_SIZES); i++)
        if (many_curve(k, b, pool, SR_Q4_K, dims + of[i].first, of[i].n, &k->p->dev.by_size[i], err))
            return err->status;
    return SR_OK;
}

/* A step that waits for a word of the host, and the host that waits for the step. */
static sr_status handshake(const bench *b, double *out, sr_err *err)
{
    void  *page = NULL;
    double v[SHAKES];
    if (b->be->alloc(b->d, SR_MEM_PINNED, 4096, "measuring", &page, err))
        return err->status;
    uint64_t *word = page;
    memset(page, 0, 4096);
    for (uint64_t i = 1; i <= SHAKES; i++) {
        b->be->fence(b->d, SR_Q_COMPUTE, (sr_point){word, i});
        sr_point done = b->be->mark(b->d, SR_Q_COMPUTE);
        uint64_t t    = sr_now_ns();
        __atomic_store_n(word, i, __ATOMIC_RELEASE);
        if (b->be->wait(b->d, done, UINT64_MAX, err))
            break;
        v[i - 1] = (double)(sr_now_ns() - t) * 1e-9;
    }
    if (!err->status)
        *out = sr_bench_spread(v, SHAKES).median;
    b->be->free(b->d, page);
    return err->status;
}

static sr_besidecfg beside_of(const probe *k, const bench *b, uint32_t threads, uint32_t format)
{
    return (sr_besidecfg){.be = b->be, .dev = b->d, .cpu = {.threads = threads}, .format = format, .side = k->side, .pool = pool_of(k, threads),
                          .bytes = SR_MIN((size_t)COPY, k->pool), .piece = SR_MIN((size_t)PIECE, k->pool), .ns = 2 * k->ns};
}

/* Products of few rows beside the copy: bound by arithmetic, they still wait for a memory that others read. */
static sr_status few_beside(probe *k, const bench *b, uint32_t threads, sr_err *err)
{
    for (size_t i = 0; i < SR_COUNT(some_formats); i++) {
        sr_besidecfg   c = beside_of(k, b, threads, some_formats[i]);
        sr_besiderates r;
        c.few = FEW;
        if (sr_machine_beside(&c, &r, err))
            return err->status;
        sr_curve_put(sr_curves_add(&k->p->together.rows, some_formats[i]), FEW, r.few);
    }
    return SR_OK;
}

/* Copies to the device while the CPU multiplies, with fewer and more threads: what each of them keeps of its rate. */
static sr_status both(probe *k, const bench *b, sr_err *err)
{
    sr_profile *p    = k->p;
    uint32_t    most = sr_plan_threads(p->host.cores);
    for (uint32_t t = 1; t; t = next_threads(t, most)) {
        sr_besidecfg   c = beside_of(k, b, t, SR_Q4_K);
        sr_besiderates r;
        c.reads = true;
        if (sr_machine_beside(&c, &r, err))
            return err->status;
        r.h2d = SR_MIN(r.h2d, p->dev.h2d);
        sr_curve_put(&p->together.by_cpu, t, r.cpu);
        sr_curve_put(&p->together.by_h2d, t, r.h2d);
        sr_curve_put(&p->together.by_read, t, r.read);
        sr_curve_put(&p->together.by_alone, t, r.alone);
        p->together.cpu     = r.cpu;
        p->together.h2d     = r.h2d;
        p->together.threads = t;
    }
    return few_beside(k, b, most, err);
}

/* The number in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  ..."; empty where there is no such driver. */
static void driver_of(const sr_backend *be, char *out, size_t cap)
{
    char  line[256] = "", *left = line;
    FILE *f = strcmp(be->name, "cuda") == 0 ? fopen("/proc/driver/nvidia/version", "re") : NULL;
    if (f && !fgets(line, sizeof line, f))
        line[0] = 0;
    if (f)
        fclose(f);
    for (const char *word; (word = strsep(&left, " \n")) != NULL;)
        if (*word >= '0' && *word <= '9' && strchr(word, '.')) {
            snprintf(out, cap, "%s", word);
            return;
        }
}

static sr_status device(probe *k, sr_err *err)
{
    const sr_machinecfg *c  = k->cfg;
    sr_profile          *p  = k->p;
    bench                b  = {.be = c->be};
    sr_devinfo           di = {.size = sizeof di};
    sr_rates             rates;
    tell(k, 0.05, "device memory");
    if (sr_probe_rates(c->be, c->device, &rates, err) || c->be->open(c->device, NULL, &b.d, err) || c->be->info(c->device, b.d, &di, err))
        goto done;
    snprintf(p->dev.name, sizeof p->dev.name, "%s", di.name);
    driver_of(c->be, p->dev.driver, sizeof p->dev.driver);
    p->dev.arch  = SR_MAX(di.arch, 1u);
    p->dev.units = di.units;
    p->dev.vram  = di.mem_total;
    p->dev.copy  = rates.copy;
    p->dev.f16   = rates.peak.f16;
    p->dev.int8  = rates.peak.int8;
    p->dev.h2d   = rates.up;
    p->dev.d2h   = rates.down;
    p->dev.read  = rates.copy;
    size_t pool  = pool_bytes(k, di.l2 * 2, di.mem_free);
    if (handshake(&b, &p->dev.sync, err) || op_time(k, &b, &p->dev.op, err))
        goto done;
    b.op = p->dev.op;
    for (size_t i = 0; i < SR_COUNT(formats); i++) {
        tell(k, 0.2 / SR_COUNT(formats), "device");
        if (dev_format(k, &b, pool, formats[i], err))
            goto done;
        p->dev.read = SR_MAX(p->dev.read, sr_curve_rows(&p->dev.gemv.c[i], 1)); /* products may read faster than copies read and write */
    }
    sr_attnrates at;
    if (dev_small(k, &b, pool, err) || dev_sizes(k, &b, pool, di.mem_free, err) || sr_attn_rates(b.be, b.d, pool, k->ns, k->cfg->side != 0, &at, err))
        goto done;
    p->dev.kv   = at.read;
    p->dev.attn = at.flops[0];
    sr_curve_put(&p->dev.by_tokens, 512, at.flops[0]);
    if (at.flops[1] > 0)
        sr_curve_put(&p->dev.by_tokens, 2048, at.flops[1]);
    tell(k, 0.05, "device and CPU together");
    (void)!both(k, &b, err);
done:
    if (b.d)
        c->be->close(b.d);
    return err->status ? sr_while(err, "measuring %s device %d", c->be->name, c->device) : SR_OK;
}

sr_status sr_machine_measure(const sr_machinecfg *cfg, sr_profile *p, sr_err *err)
{
    probe      k  = {.cfg = cfg, .p = p, .ns = cfg->ns ? cfg->ns : NS, .side = cfg->side ? cfg->side : WIDE};
    sr_devinfo di = {.size = sizeof di};
    *p            = (sr_profile){.source = "measured"};
    if (sr_backend_cpu.info(0, NULL, &di, err))
        return err->status;
    snprintf(p->host.name, sizeof p->host.name, "%.63s", sr_cpu_name());
    snprintf(p->host.isa, sizeof p->host.isa, "%s", di.isa);
    p->host.cores = sr_cpu_cores();
    p->host.ram   = sr_cpu_memory();
    k.pool        = pool_bytes(&k, 0, p->host.ram);
    tell(&k, 0, "memory");
    if (memory(&k, err) || products(&k, err))
        return err->status;
    tell(&k, 0.05, "disk");
    disk(&k);
    return cfg->be ? device(&k, err) : SR_OK;
}
