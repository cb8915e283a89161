/* grammar_nodes.h - what grammar_build.c and grammar_compile.c know of an expression. */
#ifndef SR_TEXT_GRAMMAR_NODES_H
#define SR_TEXT_GRAMMAR_NODES_H
#include "text/grammar_build.h"

enum { SR_GN_EMPTY, SR_GN_LIT, SR_GN_CLASS, SR_GN_SEQ, SR_GN_ALT, SR_GN_REP, SR_GN_REF };
struct sr_gnode {
    uint8_t  kind;
    uint16_t depth;
    uint32_t n, size;            /* kids, bytes or ranges; states it will take, about */
    uint32_t min, max;           /* REP; REF: the rule in min */
    union {
        const sr_gx      *kid;
        const char       *lit;
        const sr_cprange *range;
    };
};
#endif
