/* template_filters.h - Jinja2's built-in filters, one function each; the table is in template_filters.c.
 *
 * self is the filtered value, the call's a[] the arguments behind it.
 * Owns: nothing.   Threads: the render's.   Errors: sr_tpl_fail.   Source: Jinja2 3.1 filters.py.
 */
#ifndef SR_TEXT_TEMPLATE_FILTERS_H
#define SR_TEXT_TEMPLATE_FILTERS_H
#include "text/template_eval.h"

/* sequences (template_filters_seq.c) */
sr_tfn sr_tf_attr, sr_tf_batch, sr_tf_dictsort, sr_tf_first, sr_tf_groupby, sr_tf_items, sr_tf_join,
    sr_tf_last, sr_tf_length, sr_tf_list, sr_tf_map, sr_tf_max, sr_tf_min, sr_tf_reject, sr_tf_rejectattr,
    sr_tf_reverse, sr_tf_select, sr_tf_selectattr, sr_tf_slice, sr_tf_sort, sr_tf_sum, sr_tf_unique;
#endif
