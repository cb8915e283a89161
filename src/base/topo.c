#include "base/topo.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sr_cpubits_parse(const char *list, uint32_t limit, sr_cpubits *out)
{
    memset(out, 0, sizeof *out);
    limit = limit < SR_TOPO_CORES ? limit : SR_TOPO_CORES;
    for (const char *p = list; *p && *p != '\n'; p += *p == ',') {
        char *end;
        if (!isdigit((unsigned char)*p))
            return false;
        unsigned long from = strtoul(p, &end, 10), to = from;
        if (*end == '-') {
            p = end + 1;
            if (!isdigit((unsigned char)*p))
                return false;
            to = strtoul(p, &end, 10);
        }
        for (unsigned long i = from; i <= to && i < limit; i++)
            out->w[i / 64] |= 1ull << i % 64;
        p = end;
        if (to < from || (*p && *p != ',' && *p != '\n'))
            return false;
    }
    return true;
}

/* A file that holds one list; false: not there, or not a list. */
static bool read_list(const char *root, const char *path, uint32_t limit, sr_cpubits *out)
{
    char  name[512], line[4096];
    FILE *f  = snprintf(name, sizeof name, "%s/%s", root, path) < (int)sizeof name ? fopen(name, "re") : NULL;
    bool  ok = f && fgets(line, sizeof line, f) && sr_cpubits_parse(line, limit, out);
    if (f)
        fclose(f);
    return ok;
}

static uint16_t rank_of(const char *root, uint32_t cpu)
{
    char       path[96];
    sr_cpubits siblings;
    uint16_t   rank = 0;
    snprintf(path, sizeof path, "devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    if (read_list(root, path, SR_TOPO_CORES, &siblings))
        for (uint32_t i = 0; i < cpu; i++)
            rank = (uint16_t)(rank + sr_cpubits_has(&siblings, i));
    return rank;
}

static int by_place(const void *a, const void *b)
{
    const sr_topocore *x = a, *y = b;
    return x->node != y->node ? x->node - y->node : x->rank != y->rank ? x->rank - y->rank : x->cpu - y->cpu;
}

void sr_topo_read(const char *root, const sr_cpubits *allowed, sr_topo *out)
{
    sr_cpubits list, seen = {{0}};
    char       path[96];
    memset(out, 0, sizeof *out);
    if (read_list(root, "devices/system/node/online", SR_TOPO_NODES, &list))
        out->online = list.w[0];
    out->online = out->online ? out->online : 1;
    out->memory = read_list(root, "devices/system/node/has_memory", SR_TOPO_NODES, &list) ? list.w[0] & out->online : out->online;
    out->memory = out->memory ? out->memory : out->online;
    for (uint32_t n = 0; n < SR_TOPO_NODES; n++) {
        snprintf(path, sizeof path, "devices/system/node/node%u/cpulist", n);
        if (!(out->online >> n & 1) || !read_list(root, path, SR_TOPO_CORES, &list))
            continue;
        for (uint32_t c = 0; c < SR_TOPO_CORES; c++)
            if (sr_cpubits_has(&list, c) && sr_cpubits_has(allowed, c) && !sr_cpubits_has(&seen, c)) {
                seen.w[c / 64] |= 1ull << c % 64;
                out->core[out->n_cores++] = (sr_topocore){(uint16_t)c, (uint16_t)n, rank_of(root, c)};
            }
    }
    for (uint32_t c = 0; c < SR_TOPO_CORES; c++) /* of no node that could be read: with the first */
        if (sr_cpubits_has(allowed, c) && !sr_cpubits_has(&seen, c))
            out->core[out->n_cores++] = (sr_topocore){(uint16_t)c, (uint16_t)__builtin_ctzll(out->online), rank_of(root, c)};
    qsort(out->core, out->n_cores, sizeof *out->core, by_place);
}

uint32_t sr_topo_nodes(const sr_topo *t) { return (uint32_t)__builtin_popcountll(t->memory); }

uint32_t sr_topo_place(const sr_topo *t, uint32_t thread, uint32_t threads)
{
    if (threads >= t->n_cores)
        return t->n_cores ? thread % t->n_cores : 0;
    for (uint32_t first = 0, end; first < t->n_cores; first = end) {
        for (end = first; end < t->n_cores && t->core[end].node == t->core[first].node;)
            end++;
        uint32_t a = (uint32_t)((uint64_t)threads * first / t->n_cores), b = (uint32_t)((uint64_t)threads * end / t->n_cores);
        if (thread >= a && thread < b)
            return first + thread - a;
    }
    return 0;
}
