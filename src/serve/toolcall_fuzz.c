/* Any text of any family, cut anywhere: no crash, the arguments of a call that ended by itself are an object, and text that
 * holds no call comes out as it went in. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "serve/reasoning.h"
#include "serve/toolcall.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static json_t *tools;

static void run(const sr_toolfamily *f, const char *p, size_t n, size_t step, bool cut, sr_pieces *q)
{
    sr_toolparse t;
    sr_toolparse_begin(&t, f, tools, 0);
    for (size_t i = 0; i < n; i += step)
        sr_toolparse_push(&t, p + i, SR_MIN(step, n - i), q);
    sr_toolparse_finish(&t, cut, q);
    sr_toolparse_end(&t);
}

static void check_args(const sr_pieces *q)
{
    sr_buf args = {0};
    for (uint32_t i = 0; i < q->n; i++) {
        sr_piece x = sr_pieces_at(q, i);
        if (x.kind == SR_P_ARGS)
            sr_buf_add(&args, sr_pieces_text(q, &x), x.n);
        bool over = args.n && (i + 1 == q->n || sr_pieces_at(q, i + 1).kind != SR_P_ARGS || sr_pieces_at(q, i + 1).call != x.call);
        if (!over)
            continue;
        sr_jsonscan s = {0};
        sr_jsonverdict v = SR_JSON_MORE;
        for (size_t k = 0; k < args.n; k++)
            SR_ASSERT((v = sr_jsonscan_step(&s, args.p[k])) != SR_JSON_BAD, "bad arguments: %s", args.p);
        SR_ASSERT(v == SR_JSON_DONE && args.p[0] == '{', "arguments that do not end: %s", args.p);
        args.n = 0;
    }
    sr_buf_end(&args);
}

static void check_text(const sr_pieces *q, const char *p, size_t n)
{
    for (uint32_t i = 0; i < q->n; i++)
        if (sr_pieces_at(q, i).kind != SR_P_TEXT)
            return;
    SR_ASSERT(q->bytes.n == n && (!n || !memcmp(q->bytes.p, p, n)), "text has changed");
}

/* Thoughts are told from the rest; nothing comes out that did not go in. */
static void think(const char *p, size_t n, size_t step, bool inside, sr_pieces *q)
{
    sr_thinker t = {.marks = sr_thinkmarks_of("<think>"), .inside = inside};
    sr_buf rest = {0};
    for (size_t i = 0; i < n; i += step)
        sr_thinker_push(&t, p + i, SR_MIN(step, n - i), q, &rest);
    sr_thinker_finish(&t, q, &rest);
    SR_ASSERT(q->bytes.n + rest.n <= n, "more than there was");
    sr_thinker_end(&t);
    sr_buf_end(&rest);
}

/* Byte 0: family and what is asked of it (128: thoughts), byte 1: the length of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const signs[] = {"<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", NULL};
    if (!tools)
        tools = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"}}}}}]", 0, NULL);
    if (n < 2 || !tools)
        return 0;
    const char *p = (const char *)data + 2;
    size_t step = 1 + data[1] % 32;
    bool   cut  = data[0] & 16;
    sr_pieces one = {0}, all = {0};
    const sr_toolfamily *f = sr_toolfamily_of(signs[data[0] % 4]);
    n -= 2;
    if (data[0] & 128) {
        think(p, n, step, data[0] & 8, &one);
        sr_pieces_end(&one);
        return 0;
    }
    run(f, p, n, step, cut, &one);
    run(f, p, n, n + 1, cut, &all);
    SR_ASSERT(one.bytes.n == all.bytes.n && (!one.bytes.n || !memcmp(one.bytes.p, all.bytes.p, one.bytes.n)), "the cut matters");
    if (!cut)
        check_args(&one);
    check_text(&one, p, n);
    sr_pieces_end(&one);
    sr_pieces_end(&all);
    return 0;
}
