/* Any bytes as a regular expression: refused with a reason, or walked: masks and accepting must agree. */
#include "text/grammar_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    sr_err      err = {0};
    sr_grammar *g;
    if (sr_grammar_regex((const char *)bytes, n, &g, &err)) {
        if (g || !err.msg[0])
            __builtin_trap();
        return 0;
    }
    kit_walk(g, bytes, n);
    return 0;
}
