/* What a server may send, in one piece and in two: the same body, the same events, the same facts, and no end of memory. */
#include "app/bench_url_event.h"
#include "app/bench_url_reply.h"
#include "base/err.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct { sr_sse sse; sr_buf body, events; } heard;

static void on_event(void *arg, const char *p, size_t n)
{
    heard       *h = arg;
    sr_loadfacts f;
    bool         ok = sr_load_facts(p, n, &f);
    sr_buf_add(&h->events, p, n);
    sr_buf_fmt(&h->events, "|%d %d %d|", ok, ok && f.error, ok && f.finish);
    SR_ASSERT(!ok || (f.n_text <= n && strlen(f.message) < sizeof f.message), "%zu bytes of text in %zu", f.n_text, n);
}

static bool on_piece(void *arg, const char *p, size_t n)
{
    heard *h = arg;
    sr_buf_add(&h->body, p, n);
    return sr_sse_feed(&h->sse, p, n, on_event, h);
}

static sr_replyverdict hear(heard *h, const char *p, size_t n, size_t cut, size_t *used, int *status)
{
    sr_reply        r    = {0};
    size_t          more = 0;
    sr_replyverdict v    = sr_reply_feed(&r, p, cut, used, on_piece, h);
    SR_ASSERT(*used <= cut, "%zu bytes of %zu", *used, cut);
    if (v == SR_REPLY_MORE)
        v = sr_reply_feed(&r, p + cut, n - cut, &more, on_piece, h);
    *used += more;
    if (v == SR_REPLY_MORE)
        v = sr_reply_eof(&r);
    SR_ASSERT(v != SR_REPLY_BAD || r.why, "refused without a reason");
    if (v == SR_REPLY_DONE)
        sr_sse_finish(&h->sse, on_event, h);
    *status = r.status;
    sr_reply_end(&r);
    return v;
}

static void end(heard *h)
{
    sr_sse_end(&h->sse);
    sr_buf_end(&h->body);
    sr_buf_end(&h->events);
}

static void same(const sr_buf *a, const sr_buf *b)
{
    SR_ASSERT(a->n == b->n && (!a->n || !memcmp(a->p, b->p, a->n)), "%zu bytes in one piece, %zu in two", a->n, b->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    const char *p = (const char *)data + 2;
    n -= 2;
    size_t cut = n ? (data[0] | (size_t)data[1] << 8) % (n + 1) : 0, ua, ub;
    heard  a = {0}, b = {0};
    int    sa, sb;
    char   id[32];
    sr_replyverdict va = hear(&a, p, n, n, &ua, &sa), vb = hear(&b, p, n, cut, &ub, &sb);
    SR_ASSERT(va == vb && ua <= n, "whole %d, in two %d", va, vb);
    if (va == SR_REPLY_DONE) {
        SR_ASSERT(ua == ub && sa == sb, "%zu and %zu bytes", ua, ub);
        same(&a.body, &b.body);
        same(&a.events, &b.events);
    }
    if (sr_load_model_id(p, n, id, sizeof id))
        SR_ASSERT(strlen(id) < sizeof id, "a name without end");
    end(&a);
    end(&b);
    return 0;
}
