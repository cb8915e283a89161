#include "model/arch.h"

#include <string.h>

static const sr_arch *const all[] = {&sr_arch_llama, &sr_arch_qwen2, &sr_arch_qwen3};

const sr_arch *sr_arch_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strlen(all[i]->name) == n && memcmp(all[i]->name, name, n) == 0)
            return all[i];
    return NULL;
}

size_t sr_arch_list(const char **out, size_t cap)
{
    size_t n = sizeof all / sizeof *all;
    for (size_t i = 0; i < n && i < cap; i++)
        out[i] = all[i]->name;
    return n;
}

const sr_archname *sr_arch_tensor(const sr_arch *a, uint32_t role)
{
    for (; a; a = a->base)
        for (const sr_archname *n = a->names; n->pattern; n++)
            if (n->role == role)
                return n;
    return NULL;
}

sr_ropekind sr_arch_rope(const sr_arch *a)
{
    for (; a; a = a->base)
        if (a->attn.rope != SR_ROPE_INHERIT)
            return a->attn.rope;
    return SR_ROPE_NORM;
}
