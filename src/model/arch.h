/* arch.h - an architecture as a table: what its tensors are called and what its blocks do.
 *
 * A variant is a diff of its base: fields left zero and names not given are the base's.  What a table cannot say
 * becomes a new op family and an emit function in that architecture's file, never a branch in compile.c.
 *
 * Threads: constant data.
 */
#ifndef SR_MODEL_ARCH_H
#define SR_MODEL_ARCH_H
#include <stdbool.h>
#include "ops/op.h"

typedef enum { SR_ROPE_INHERIT, SR_ROPE_NORM, SR_ROPE_NEOX } sr_ropekind;

typedef struct {
    uint16_t    role;
    bool        optional;
    const char *pattern; /* "%u" is the layer; a pattern without it belongs to no layer */
} sr_archname;

typedef struct sr_arch {
    const char           *name;   /* general.architecture */
    const struct sr_arch *base;
    struct { sr_ropekind rope; bool qk_norm; } attn;
    sr_archname names[24];        /* ended by pattern NULL; looked up here first, then in base */
} sr_arch;

const sr_arch     *sr_arch_find(const char *name, size_t n);           /* NULL: not known */
size_t             sr_arch_list(const char **out, size_t cap);         /* names, for messages */
const sr_archname *sr_arch_tensor(const sr_arch *a, uint32_t role);    /* NULL: the architecture has none */
sr_ropekind        sr_arch_rope(const sr_arch *a);

extern const sr_arch sr_arch_llama, sr_arch_qwen2, sr_arch_qwen3;
#endif
