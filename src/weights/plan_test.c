/* plan_test.c - budgets, monotony, sums, brute force, and the rows of hybrid limits known for a 70B model. */
#include "weights/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/philox.h"

enum { LAYERS = 80, UNITS = 2 * LAYERS + 2 };
#define GB 1e9

static sr_unit unit(sr_unitkind kind, uint32_t layer, uint32_t hidden, uint64_t bytes, uint64_t read, uint64_t params)
{
    return (sr_unit){.kind = (uint16_t)kind, .layer = (uint16_t)layer, .hidden = hidden, .bytes = bytes, .read = read, .params = params};
}

/* Llama-3 70B as Q4_K_M: 41.9 GB without the embedding. */
static uint32_t big(sr_unit *u)
{
    uint32_t n = 0;
    u[n++] = unit(SR_UNIT_EMBED, 0, 0, 590000000, 4608, 0);
    for (uint16_t l = 0; l < LAYERS; l++) {
        u[n++] = unit(SR_UNIT_ATTN, l, 0, 88000000, 88000000, 151000000);
        u[n++] = unit(SR_UNIT_FFN, l, 28672, 425000000, 425000000, 705000000);
    }
    u[n++] = unit(SR_UNIT_HEAD, 0, 0, 860000000, 860000000, 1050000000);
    return n;
}

static double rnd(uint32_t i, uint32_t k, double lo, double hi) { return lo + (hi - lo) * (sr_philox4(7, i, k, 0, 0).v[0] / 4294967296.0); }

static sr_hw machine(uint32_t i)
{
    return (sr_hw){.vram = (uint64_t)rnd(i, 0, 4e9, 60e9), .ram = (uint64_t)rnd(i, 1, 20e9, 90e9), .dev_read = rnd(i, 2, 2e11, 4e12),
                   .h2d = rnd(i, 3, 3e9, 6e10), .zero_copy = rnd(i, 4, 0, 5e10), .dev_flops = rnd(i, 5, 2e13, 8e14),
                   .cpu_read = rnd(i, 6, 5e9, 1.2e11), .dram_read = rnd(i, 7, 2e10, 3e11), .nvme_read = rnd(i, 8, 1e9, 7e9), .sync = 2e-5};
}

static void budgets_hold_and_the_parts_sum_up(void **state)
{
    (void)state;
    sr_unit  u[UNITS];
    sr_place o[UNITS];
    uint32_t n = big(u);
    for (uint32_t i = 0; i < 100; i++) {
        sr_hw        h = machine(i);
        sr_needs     w = {.kv = 700000000, .kv_read = 300000000, .scratch = 200000000, .reserve = 300000000};
        sr_placement p;
        sr_err       e = {0};
        assert_int_equal(sr_plan_place(&h, &w, u, n, o, &p, &e), SR_OK);
        uint64_t by[4] = {0};
        double   s     = (double)w.kv_read / h.dev_read, disk = 0;
        for (uint32_t k = 0; k < n; k++) {
            by[o[k].tier] += u[k].bytes;
            s += o[k].seconds;
            disk += o[k].tier == SR_WT_NVME ? (double)u[k].read / h.nvme_read : 0;
            assert_int_equal(o[k].cpu_hidden % 256, 0);
            assert_true(o[k].cpu_hidden <= u[k].hidden);
        }
        for (int k = 0; k < 4; k++)
            assert_true(by[k] == p.bytes[k]);
        assert_true(by[SR_WT_DEVICE] + p.n_slots * p.slot_bytes + w.kv + w.scratch + w.reserve == p.vram_used);
        assert_true(p.vram_used <= h.vram && p.ram_used <= h.ram);
        assert_true(fabs(p.token_s - SR_MAX(s, disk)) < 1e-9 * p.token_s);
        assert_true(p.token_s <= p.stream_s * (1 + 1e-9));
        assert_true(p.step_tokens >= 1 && p.chunk_s > 0);
    }
}

static void more_of_anything_never_predicts_slower(void **state)
{
    (void)state;
    sr_unit  u[UNITS];
    sr_place o[UNITS];
    uint32_t n = big(u);
    for (uint32_t i = 0; i < 60; i++)
        for (int k = 0; k < 8; k++) {
            sr_hw        h = machine(i), m = h;
            sr_needs     w = {.kv = 700000000};
            sr_placement p, q;
            sr_err       e = {0};
            double      *rate[] = {&m.dev_read, &m.h2d, &m.zero_copy, &m.cpu_read, &m.dram_read, &m.nvme_read};
            m.vram += k == 6 ? (uint64_t)rnd(i, 20, 1, 9e9) : 0;
            m.ram += k == 7 ? (uint64_t)rnd(i, 21, 1, 9e9) : 0;
            if (k < 6)
                *rate[k] *= rnd(i, 22, 1.01, 2);
            assert_int_equal(sr_plan_place(&h, &w, u, n, o, &p, &e), SR_OK);
            assert_int_equal(sr_plan_place(&m, &w, u, n, o, &q, &e), SR_OK);
            assert_true(q.token_s <= p.token_s * (1 + 1e-9));
        }
}

static void agrees_with_the_known_limits_of_a_70b_model(void **state)
{
    (void)state;
    /* VRAM for weights, bus, CPU read, DRAM, device read in GB/s; hybrid limit in tok/s by the closed formula */
    static const double row[][6] = {{14, 12.3, 45, 60, 250, 1.80}, {14, 12.3, 10, 60, 250, 0.74}, {22, 6.5, 36, 42, 800, 1.91},
                                    {14, 55.5, 107.6, 300, 4365, 5.8}, {22, 55.5, 107.6, 300, 4365, 7.8}};
    sr_unit  u[UNITS];
    sr_place o[UNITS];
    uint32_t n = big(u);
    for (size_t i = 0; i < SR_COUNT(row); i++) {
        const double *r = row[i];
        sr_hw         h = {.vram = (uint64_t)(r[0] * GB), .ram = 64000000000, .dev_read = r[4] * GB, .h2d = r[1] * GB, .dev_flops = 4e13,
                           .cpu_read = r[2] * GB, .dram_read = r[3] * GB, .sync = 2e-5};
        sr_placement  p;
        sr_err        e = {0};
        assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, n, o, &p, &e), SR_OK);
        print_message("%zu: %.3f tok/s, formula %.2f; stream %.2f, cpu %.2f; %s\n", i, 1 / p.token_s, r[5], 1 / p.stream_s, 1 / p.cpu_s, p.why);
        assert_true(fabs(1 / p.token_s / r[5] - 1) < 0.12); /* the slots take 0.85 GB that the formula does not know */
    }
}

static void comes_near_the_best_of_all_placements(void **state)
{
    (void)state;
    enum { N = 11, CASES = 50 };
    double worst = 0, sum = 0;
    for (uint32_t i = 0; i < CASES; i++) {
        sr_unit      u[N];
        sr_place     o[N];
        sr_placement p;
        sr_err       e = {0};
        sr_hw        h = machine(i);
        double       least = 1e9, host[N];
        for (uint32_t k = 0; k < N; k++) {
            u[k] = k == N - 1 ? unit(SR_UNIT_HEAD, 0, 0, 300000000, 300000000, 1)
                 : k % 2      ? unit(SR_UNIT_FFN, 0, 28672, 400000000, 400000000, 1)
                              : unit(SR_UNIT_ATTN, 0, 0, 90000000, 90000000, 1);
        }
        /* What each costs outside: a plan with room for two slots and nothing else. */
        h.ram  = 90000000000;
        h.vram = 800000000;
        assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, N, o, &p, &e), SR_OK);
        for (uint32_t k = 0; k < N; k++)
            host[k] = o[k].seconds;
        h.vram = (uint64_t)rnd(i, 30, 8.1e8, 3e9);
        assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, N, o, &p, &e), SR_OK);
        for (uint32_t set = 0; set < 1u << N; set++) {
            uint64_t in = 0, slot = 0;
            double   s = 0;
            for (uint32_t k = 0; k < N; k++) {
                bool dev = set >> k & 1;
                in += dev ? u[k].bytes : 0;
                slot = dev ? slot : SR_MAX(slot, u[k].bytes);
                s += dev ? (double)u[k].read / h.dev_read : host[k];
            }
            if (in + 2 * slot <= h.vram && s < least)
                least = s;
        }
        assert_true(p.token_s >= least * (1 - 1e-9));
        worst = SR_MAX(worst, p.token_s / least);
        sum += p.token_s / least;
    }
    assert_true(worst <= 1.15 && sum / CASES <= 1.02);
    print_message("against all placements: %.3f on average, %.3f at worst\n", sum / CASES, worst);
}

/* PERF's closed forms, unit by unit: weights are read once a step however many tokens share it. */
static void a_step_of_many_tokens_reads_weights_once(void **state)
{
    (void)state;
    sr_unit  u[UNITS];
    sr_place o[UNITS];
    uint32_t n = big(u);
    sr_hw    h = {.vram = 22000000000, .ram = 64000000000, .dev_read = 800 * GB, .h2d = 6.5 * GB, .dev_flops = 6e13, .cpu_read = 36 * GB,
                  .cpu_flops = 4e11, .dram_read = 42 * GB, .sync = 2e-5};
    sr_placement p;
    sr_stepcost  c;
    sr_err       e = {0};
    double       last = 0;
    assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, n, o, &p, &e), SR_OK);
    assert_int_equal(sr_plan_step(&h, &(sr_needs){.tokens = 8}, u, n, o, &c, &e), SR_OK);
    double found = c.s; /* as is best for so many, however one token was divided */
    for (uint32_t i = 0; i < n; i++)
        o[i].cpu_hidden = 0;
    assert_int_equal(sr_plan_step(&h, &(sr_needs){.tokens = 8}, u, n, o, &c, &e), SR_OK);
    assert_true(c.s == found);
    for (uint32_t m = 1; m <= 64; m *= 2) {
        sr_needs w = {.tokens = m, .kv_read = 10000000ull * m};
        assert_int_equal(sr_plan_step(&h, &w, u, n, o, &c, &e), SR_OK);
        if (m == 1)
            assert_true(fabs(c.s - (p.token_s + 1e7 / h.dev_read)) < 1e-9);
        double least = (double)w.kv_read / h.dev_read, most = least; /* by the bus alone: never better than both */
        for (uint32_t i = 0; i < n; i++) {
            double read = (double)u[i].read * (u[i].kind == SR_UNIT_EMBED ? m : 1), f = 2.0 * (double)u[i].params * m;
            double bus = SR_MAX(read / h.h2d, f / h.dev_flops), cpu = SR_MAX(read / h.cpu_read, f / h.cpu_flops);
            double in  = SR_MAX(read / h.dev_read, f / h.dev_flops);
            least += o[i].tier == SR_WT_DEVICE ? in : u[i].hidden ? SR_MAX(1 / (1 / bus + 1 / cpu), read / h.dram_read) : bus;
            most += o[i].tier == SR_WT_DEVICE ? in : bus;
        }
        assert_true(c.s >= least * (1 - 1e-9) && c.s <= most * (1 + 1e-9));
        assert_true(c.s <= least * 1.05 + LAYERS * h.sync);        /* splits go by 256 of 28672 */
        assert_true(c.s >= last && (m == 1 || c.s <= 2 * last)); /* a step grows with its tokens; a token's share shrinks */
        last = c.s;
        w.few = 1;
        assert_int_equal(sr_plan_step(&h, &w, u, n, o, &c, &e), SR_OK);
        assert_true(m == 1 ? c.s == last : fabs(c.s / most - 1) < 1e-9); /* the CPU takes no part */
    }
}

static void the_split_of_a_step_is_the_best_of_all_splits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        sr_hw        h = machine(i);
        sr_unit      u = unit(SR_UNIT_FFN, 0, 14336, 130000000, 130000000, 176000000);
        sr_place     o = {.tier = SR_WT_PINNED};
        sr_needs     w = {.tokens = 1 + i % 40};
        sr_stepcost  c;
        sr_err       e = {0};
        double       least = 1e9, f = 2.0 * (double)u.params * w.tokens, read = (double)u.read;
        h.cpu_flops    = rnd(i, 40, 1e11, 3e12);
        assert_int_equal(sr_plan_step(&h, &w, &u, 1, &o, &c, &e), SR_OK);
        for (uint32_t cpu = 0; cpu <= u.hidden; cpu += 256) {
            double x = (double)cpu / u.hidden, bus = SR_MAX(h.h2d, h.zero_copy);
            double t = SR_MAX(read / h.dram_read, x * SR_MAX(read / h.cpu_read, f / h.cpu_flops));
            t        = SR_MAX(t, (1 - x) * SR_MAX(read / bus, f / h.dev_flops)) + (cpu ? h.sync : 0);
            least    = SR_MIN(least, t);
        }
        assert_true(fabs(c.s - least) <= 1e-9 * least);
    }
}

/* The machine of notes/0030: either side alone could take nearly all that the memory gives. */
static void the_cpu_gets_what_a_running_copy_leaves_it(void **state)
{
    (void)state;
    sr_hw       h = {.vram = 14000000000, .ram = 90000000000, .dev_read = 4200 * GB, .h2d = 55 * GB, .dev_flops = 4e14, .cpu_read = 174 * GB, .dram_read = 180 * GB};
    sr_unit     u = unit(SR_UNIT_FFN, 0, 28672, 400000000, 400000000, 700000000);
    sr_place    o = {.tier = SR_WT_PINNED};
    sr_stepcost c;
    sr_err      e = {0};
    assert_int_equal(sr_plan_step(&h, &(sr_needs){0}, &u, 1, &o, &c, &e), SR_OK);
    double share = c.cpu / (4e8 / h.cpu_read);
    assert_true(fabs(share - 125 / 180.0) < 0.01 && fabs(c.s / (4e8 / h.dram_read) - 1) < 0.02);
    h.cpu_beside = 112 * GB; /* measured: together they get less than either's rate and what is left would say */
    h.h2d_beside = 48 * GB;
    assert_int_equal(sr_plan_step(&h, &(sr_needs){0}, &u, 1, &o, &c, &e), SR_OK);
    share = c.cpu / (4e8 / h.cpu_read);
    assert_true(share > 0.99 && fabs(c.s / (4e8 / h.cpu_read) - 1) < 0.01); /* so the CPU alone is faster than both */
    h.cpu_read = 130 * GB;
    assert_int_equal(sr_plan_step(&h, &(sr_needs){0}, &u, 1, &o, &c, &e), SR_OK);
    share = c.cpu / (4e8 / h.cpu_read);
    assert_true(fabs(share - 112 / 160.0) < 0.01 && fabs(c.s / (4e8 / (160 * GB)) - 1) < 0.02);
    u.cpu_read   = 80 * GB; /* eight tokens: bound by arithmetic alone, by less than that while the copy goes on */
    u.cpu_beside = 64 * GB;
    assert_int_equal(sr_plan_step(&h, &(sr_needs){.tokens = 8}, &u, 1, &o, &c, &e), SR_OK);
    share = c.cpu / (4e8 / u.cpu_read);
    assert_true(fabs(share - 64 / 112.0) < 0.01 && fabs(c.s / (4e8 / (112 * GB)) - 1) < 0.02);
}

/* A slower bus leaves the CPU more, up to what it has alone. */
static void another_bus_divides_the_same_memory(void **state)
{
    (void)state;
    sr_hw h = {.h2d = 55 * GB, .cpu_read = 150 * GB, .dram_read = 170 * GB, .cpu_beside = 110 * GB, .h2d_beside = 50 * GB, .zero_copy = 44 * GB};
    sr_hw slow = h, fast = h, none = {.h2d = 10 * GB};
    sr_plan_bus(&slow, 5.5 * GB);
    assert_true(fabs(slow.h2d_beside - 5 * GB) < 1 && fabs(slow.cpu_beside - 150 * GB) < 1 && fabs(slow.zero_copy - 4.4 * GB) < 1);
    sr_plan_bus(&fast, 110 * GB);
    assert_true(fabs(fast.h2d_beside - 100 * GB) < 1 && fabs(fast.cpu_beside - 70 * GB) < 1);
    sr_plan_bus(&none, 20 * GB);
    assert_true(none.h2d == 20 * GB && none.cpu_beside == 0 && none.h2d_beside == 0);
}

/* t = max(R / B_p, 2 P n / F): a streamed prompt costs its weights once a chunk, or its arithmetic. */
static void a_prompt_costs_its_bytes_or_its_arithmetic(void **state)
{
    (void)state;
    sr_unit  u[UNITS];
    sr_place o[UNITS];
    uint32_t n = big(u);
    sr_hw    h = {.vram = 14000000000, .ram = 64000000000, .dev_read = 250 * GB, .h2d = 12.3 * GB, .dev_flops = 3.5e13, .cpu_read = 45 * GB,
                  .dram_read = 60 * GB, .sync = 2e-5};
    sr_placement p;
    sr_err       e = {0};
    double       s, out = 0, params = 0;
    assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, n, o, &p, &e), SR_OK);
    for (uint32_t i = 0; i < n; i++) {
        out += o[i].tier == SR_WT_DEVICE || u[i].kind == SR_UNIT_EMBED ? 0 : (double)u[i].read;
        params += u[i].kind == SR_UNIT_HEAD ? 0 : (double)u[i].params;
    }
    assert_int_equal(sr_plan_prompt(&h, &(sr_needs){0}, u, n, o, 64, 0, &s, &e), SR_OK);
    assert_true(fabs(s / (out / h.h2d) - 1) < 0.01);
    assert_int_equal(sr_plan_prompt(&h, &(sr_needs){0}, u, n, o, 2048, 0, &s, &e), SR_OK);
    assert_true(fabs(s / (2 * params * 2048 / h.dev_flops) - 1) < 0.01);
    double one = s, attn = 1.25;
    assert_int_equal(sr_plan_prompt(&h, &(sr_needs){0}, u, n, o, 4096, 0, &s, &e), SR_OK);
    assert_true(fabs(s / (2 * one) - 1) < 1e-4); /* the head's row counts once a chunk */
    assert_int_equal(sr_plan_prompt(&h, &(sr_needs){0}, u, n, o, 2048, attn, &s, &e), SR_OK);
    assert_true(fabs(s - one - attn) < 1e-6);
}

/* Launches and what passes between products cost a device's step; a CPU pays for every op. */
static void what_lies_between_products_is_counted(void **state)
{
    (void)state;
    sr_unit     u = unit(SR_UNIT_ATTN, 0, 0, 100000000, 100000000, 1);
    sr_place    o = {.tier = SR_WT_DEVICE};
    sr_hw       h = {.vram = 1000000000, .ram = 1000000000, .dev_read = 100 * GB, .h2d = 10 * GB, .dev_flops = 1e13, .cpu_read = 10 * GB, .dram_read = 10 * GB,
                     .cpu_flops = 1e12, .dev_op = 1e-5, .cpu_op = 1e-6, .dev_copy = 50 * GB};
    sr_stepcost c;
    sr_err      e = {0};
    double      s;
    u.ops = 9, u.launches = 4, u.passed = 1000, u.ends = 3e-5;
    assert_int_equal(sr_plan_step(&h, &(sr_needs){.tokens = 32}, &u, 1, &o, &c, &e), SR_OK);
    assert_true(fabs(c.ops - (7e-5 + 32 * 1000 / h.dev_copy)) < 1e-12 && fabs(c.s - c.ops - 1e-3) < 1e-12);
    u.ends = 0;
    assert_int_equal(sr_plan_prompt(&h, &(sr_needs){0}, &u, 1, &o, 2048, 0, &s, &e), SR_OK);
    assert_true(fabs(s - (2 * 2048 / h.dev_flops + 4e-5 + 2048 * 1000 / h.dev_copy)) < 1e-12);
    h.vram = 0, o.tier = SR_WT_MAPPED;
    assert_int_equal(sr_plan_step(&h, &(sr_needs){.tokens = 32}, &u, 1, &o, &c, &e), SR_OK);
    assert_true(fabs(c.ops - 9e-6) < 1e-12);
}

static void says_how_much_is_missing(void **state)
{
    (void)state;
    sr_unit      u[UNITS];
    sr_place     o[UNITS];
    sr_placement p;
    sr_err       e = {0};
    uint32_t     n = big(u);
    sr_hw        h = machine(1);
    h.ram = 10000000000, h.vram = 14000000000, h.nvme_read = 0;
    assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, n, o, &p, &e), SR_NOMEM);
    assert_non_null(strstr(e.msg, "MB of RAM too little"));
    assert_true(fabs((double)(p.vram_short + p.ram_short) - (42.49 - 24) * GB) < 1.3 * GB); /* all there is less both; slots and a unit's size */
    e   = (sr_err){0};
    h.h2d = 0;
    assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, n, o, &p, &e), SR_INVALID);
    assert_non_null(strstr(e.msg, "host to device rate is 0"));
}

/* Nothing shared, so that a step is bytes over rates and nothing else. */
static void a_unit_that_comes_coded_takes_less_of_bus_and_ram(void **state)
{
    (void)state;
    sr_unit      u[UNITS];
    sr_place     o[UNITS];
    sr_placement p[3];
    uint32_t     n = big(u);
    sr_hw        h = machine(1);
    h.vram = 14000000000, h.ram = 40000000000, h.nvme_read = 0, h.zero_copy = 0, h.dram_read = 1e12;
    for (int coded = 0; coded < 3; coded++) {
        sr_err e = {0};
        for (uint32_t k = 0; k < n; k++) {
            u[k].hidden  = 0;
            u[k].outside = coded && u[k].kind != SR_UNIT_EMBED ? u[k].bytes / 3 * 2 : 0;
        }
        h.ram = coded == 2 ? 22000000000 : h.ram; /* too little for what lies outside as it is stored */
        assert_int_equal(sr_plan_place(&h, &(sr_needs){0}, u, n, o, &p[coded], &e), SR_OK);
    }
    assert_true(p[0].bytes[SR_WT_PINNED] > h.ram && p[1].ram_used < 0.68 * (double)p[0].ram_used && p[2].ram_used <= h.ram);
    double dev = (double)p[1].bytes[SR_WT_DEVICE] / h.dev_read, bus = (double)(p[1].bytes[SR_WT_PINNED] - u[0].bytes) / h.h2d;
    assert_true(fabs(p[0].token_s - dev - bus) < 0.01 * bus && fabs(p[1].token_s - dev - bus * 2 / 3) < 0.01 * bus);
}

static void the_rest_of_the_system_keeps_two_gigabytes_or_an_eighth(void **state)
{
    (void)state;
    assert_int_equal(sr_plan_ram(0), 0);
    assert_int_equal(sr_plan_ram(8000000000), 7000000000);
    assert_int_equal(sr_plan_ram(16000000000), 14000000000);
    assert_int_equal(sr_plan_ram(512000000000), 510000000000);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(budgets_hold_and_the_parts_sum_up), cmocka_unit_test(more_of_anything_never_predicts_slower),
        cmocka_unit_test(agrees_with_the_known_limits_of_a_70b_model), cmocka_unit_test(comes_near_the_best_of_all_placements),
        cmocka_unit_test(a_step_of_many_tokens_reads_weights_once), cmocka_unit_test(the_split_of_a_step_is_the_best_of_all_splits),
        cmocka_unit_test(the_cpu_gets_what_a_running_copy_leaves_it), cmocka_unit_test(another_bus_divides_the_same_memory),
        cmocka_unit_test(a_prompt_costs_its_bytes_or_its_arithmetic),
        cmocka_unit_test(what_lies_between_products_is_counted), cmocka_unit_test(says_how_much_is_missing), cmocka_unit_test(a_unit_that_comes_coded_takes_less_of_bus_and_ram),
        cmocka_unit_test(the_rest_of_the_system_keeps_two_gigabytes_or_an_eighth),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
