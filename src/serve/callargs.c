#include "serve/callargs.h"

void sr_callargs_feed(sr_callargs *a, char c)
{
    if (a->over)
        return;
    if (sr_jsonscan_number_ends(&a->scan, c))
        a->safe = a->wait.n, a->safe_in_string = false;
    bool inside = sr_jsonscan_in_string(&a->scan);
    sr_jsonverdict v = a->begun || c == '{' ? sr_jsonscan_step(&a->scan, c) : SR_JSON_BAD; /* arguments are an object */
    a->begun = true;
    if (v == SR_JSON_BAD) {
        a->over = true;
        return;
    }
    if (inside && c == '\n')
        sr_buf_str(&a->wait, "\\n");
    else if (inside && (unsigned char)c < ' ')
        sr_buf_fmt(&a->wait, "\\u%04x", (unsigned char)c);
    else
        sr_buf_char(&a->wait, c);
    if (sr_jsonscan_closable(&a->scan))
        a->safe = a->wait.n, a->safe_in_string = sr_jsonscan_in_string(&a->scan);
    a->whole = a->over = v == SR_JSON_DONE;
}

void sr_callargs_leave(sr_callargs *a, sr_buf *out)
{
    if (!a->safe)
        return;
    sr_buf_add(out, a->wait.p, a->safe);
    sr_buf_drop(&a->wait, a->safe);
    out->failed |= a->wait.failed;
    a->safe = 0;
}

void sr_callargs_finish(sr_callargs *a, bool cut, sr_buf *out)
{
    if (cut && !a->over) {
        sr_buf_add(out, a->wait.p, a->wait.n);
    } else {
        if (!a->over && sr_jsonscan_number_ends(&a->scan, 0))
            a->safe = a->wait.n, a->safe_in_string = false;
        sr_callargs_leave(a, out);
        if (!a->scan.depth && !a->whole)
            sr_buf_str(out, "{}");
        else if (!a->whole)
            sr_jsonscan_close(&a->scan, a->safe_in_string, out);
    }
    out->failed |= a->wait.failed;
    a->over   = true;
    a->wait.n = a->safe = 0;
}

void sr_callargs_end(sr_callargs *a)
{
    sr_buf_end(&a->wait);
    *a = (sr_callargs){0};
}
