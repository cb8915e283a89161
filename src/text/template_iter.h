/* template_iter.h - iteration: what `for`, unpacking and the sequence filters pull from.
 *
 * An sr_titer is a Python iterator: it gives each item once, lazily.  Filters such as map and select give
 * iterators whose items are computed when asked for; so errors in them appear, as in Python, only then, and a
 * second pass over one finds nothing.
 *
 * Owns: nothing (the render's arena).   Threads: the render's.   Errors: sr_tpl_fail.
 */
#ifndef SR_TEXT_TEMPLATE_ITER_H
#define SR_TEXT_TEMPLATE_ITER_H
#include "text/template_value.h"

struct sr_titer {
    bool (*next)(sr_trun *R, sr_titer *it, sr_tval *out);
    sr_tval src;     /* what is walked */
    sr_titer *inner; /* of a lazy filter, once started */
    size_t i;
    bool started, done, reversed;
    void *state;    /* of a lazy filter */
    bool generator; /* Python would print it as <generator ..>: a list iterator has another name */
};

sr_titer *sr_tpl_iter(sr_trun *R, sr_tval v); /* fails for what Python cannot iterate */
bool sr_tpl_iterable(sr_tval v);
bool sr_tpl_next(sr_trun *R, sr_titer *it, sr_tval *out);
sr_tval sr_tpl_list(sr_trun *R, sr_tval v); /* list(v): always a new one */
/* A lazy filter over src: its `next` is called until it says false. */
sr_tval sr_tpl_lazy(sr_trun *R, sr_tval src, bool (*next)(sr_trun *, sr_titer *, sr_tval *), void *state);
sr_tval sr_tpl_reversed(sr_trun *R, sr_tval v); /* reversed(v); MISSING when Python would refuse */
int64_t sr_tloop_length(sr_trun *R, sr_tloop *l);
#endif
