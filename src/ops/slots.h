/* slots.h - where the slots of a program lie in memory: those that are never needed at the same time share it.
 *
 *     segment     | attention: h qkv a        | feed-forward: h gu act    |  ...  | head: ho logits
 *     own         x, cs, xo, sampled: carried from segment to segment, or to the next step
 *     shared      [h ][qkv   ][a ]              [h ][gu             ][act ]         [ho][logits      ]
 *
 * A slot shares if each segment that uses it writes it before it reads it: then segments, and blocks of them, may also be left out or run
 * out of turn (engine/skip.h).  It is kept from its first to its last use in a segment and for SR_SLOTS_LINGER ops more, as
 * launches of several ops read what the first of them needs while they write what the last one makes; a slot that is written last
 * is a result and kept to the end of its segment.  Programs without segments, or of more than SR_SLOTS_MOST slots, share nothing.
 *
 * What a slot holds is there until one that shares its memory is written: read it after its op, not after the step; results can be.
 *
 * Owns: nothing.   Threads: pure functions.   Errors: none. */
#ifndef SR_OPS_SLOTS_H
#define SR_OPS_SLOTS_H
#include "ops/op.h"

enum { SR_SLOTS_MOST = 64, SR_SLOTS_LINGER = 2, SR_SLOTS_ALIGN = 256 };

#ifdef __cplusplus
extern "C" {
#endif
/* Bytes of all slots at the largest counts; at: [n_slot] the offset of each, or NULL. */
size_t sr_slots_place(const sr_program *p, const sr_shape *max, size_t *at);
/* With the working memory of the largest op, about: what a device that shares so takes for activations. */
size_t sr_device_scratch(const sr_program *p, const sr_shape *max);
size_t sr_slot_bytes(const sr_program *p, uint32_t slot, const sr_shape *max);
#ifdef __cplusplus
}
#endif
#endif
