#include "text/cpmap.h"
#include "base/mem.h"

#include <string.h>

bool sr_cpmap_begin(sr_cpmap *m)
{
    *m      = (sr_cpmap){.n = SR_CPMAP_VALUES, .cap = 2 * SR_CPMAP_VALUES};
    m->data = sr_malloc(m->cap * sizeof *m->data);
    for (int v = 0; m->data && v < SR_CPMAP_VALUES; v++)
        memset(m->data[v], v, sizeof *m->data);
    return m->data != NULL;
}

/* A page of its own for what is now a shared, uniform one. */
static bool own_page(sr_cpmap *m, uint32_t page)
{
    if (m->page[page] >= SR_CPMAP_VALUES)
        return true;
    if (m->n == m->cap) {
        uint8_t(*grown)[256] = sr_realloc(m->data, 2 * (size_t)m->cap * sizeof *m->data);
        if (!grown)
            return false;
        m->data = grown;
        m->cap *= 2;
    }
    memcpy(m->data[m->n], m->data[m->page[page]], sizeof *m->data);
    m->page[page] = (uint16_t)m->n++;
    return true;
}

bool sr_cpmap_set(sr_cpmap *m, uint32_t lo, uint32_t hi, uint8_t keep, uint8_t put)
{
    for (uint32_t page = lo >> 8; page <= hi >> 8; page++) {
        uint32_t from = SR_MAX(lo, page << 8) & 255, to = SR_MIN(hi, (page << 8) + 255) & 255;
        if (from == 0 && to == 255 && m->page[page] < SR_CPMAP_VALUES) {
            m->page[page] = (uint16_t)((m->page[page] & keep) | put);
            continue;
        }
        if (!own_page(m, page))
            return false;
        uint8_t *v = m->data[m->page[page]];
        if (!keep) /* three thousand runs of classes for each vocabulary that is opened */
            memset(v + from, put, to - from + 1);
        for (uint32_t i = from; keep && i <= to; i++)
            v[i] = (uint8_t)((v[i] & keep) | put);
    }
    return true;
}

bool sr_cpmap_classes(sr_cpmap *m)
{
    bool ok = sr_cpmap_begin(m);
    for (size_t i = 0; ok && i < sr_n_unicode_runs; i++) {
        uint32_t lo = sr_unicode_runs[i] >> 4;
        uint32_t hi = i + 1 < sr_n_unicode_runs ? (sr_unicode_runs[i + 1] >> 4) - 1 : SR_CP_MAX - 1;
        ok          = sr_cpmap_set(m, lo, hi, 0, (uint8_t)(sr_unicode_runs[i] & 15));
    }
    return ok;
}

void sr_cpmap_end(sr_cpmap *m)
{
    sr_free(m->data);
    m->data = NULL;
}

unsigned sr_cp_put(char out[4], uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 63));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 63));
        out[2] = (char)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 63));
    out[2] = (char)(0x80 | (cp >> 6 & 63));
    out[3] = (char)(0x80 | (cp & 63));
    return 4;
}
