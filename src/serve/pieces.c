#include "serve/pieces.h"

#include <string.h>

void sr_pieces_add(sr_pieces *q, sr_piecekind kind, uint32_t call, const char *p, size_t n)
{
    sr_piece x = {kind, call, q->bytes.n, n};
    if (!n && kind != SR_P_CALL)
        return;
    if (!sr_buf_add(&q->bytes, p, n))
        return; /* `failed` says so: a piece never claims bytes that are not there */
    if (q->n && kind != SR_P_CALL) {
        sr_piece last = sr_pieces_at(q, q->n - 1);
        if (last.kind == kind && last.call == call) {
            last.n += n;
            memcpy(q->list.p + (q->n - 1) * sizeof last, &last, sizeof last);
            return;
        }
    }
    if (sr_buf_add(&q->list, &x, sizeof x))
        q->n++;
}

sr_piece sr_pieces_at(const sr_pieces *q, uint32_t i)
{
    sr_piece x;
    memcpy(&x, q->list.p + i * sizeof x, sizeof x);
    return x;
}

const char *sr_pieces_text(const sr_pieces *q, const sr_piece *x) { return q->bytes.p ? q->bytes.p + x->at : ""; }

bool sr_pieces_join(const sr_pieces *q, sr_buf *content, sr_buf *thoughts)
{
    bool calls = false;
    for (uint32_t i = 0; i < q->n; i++) {
        sr_piece x = sr_pieces_at(q, i);
        if (x.kind == SR_P_TEXT || x.kind == SR_P_THOUGHT)
            sr_buf_add(x.kind == SR_P_TEXT ? content : thoughts, sr_pieces_text(q, &x), x.n);
        calls |= x.kind == SR_P_CALL;
    }
    return calls;
}

void sr_pieces_clear(sr_pieces *q) { q->n = 0, q->list.n = 0, q->bytes.n = 0; }

bool sr_pieces_failed(const sr_pieces *q) { return q->bytes.failed || q->list.failed; }

void sr_pieces_end(sr_pieces *q)
{
    sr_buf_end(&q->bytes);
    sr_buf_end(&q->list);
    *q = (sr_pieces){0};
}
