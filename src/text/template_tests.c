/* Jinja2's built-in tests: what follows `is`. */
#include "text/template_eval.h"
#include "base/mem.h"

#include <string.h>

static sr_tval of(bool b) { return sr_tbool(b); }
#define TEST(name, expr)                                                                                     \
    static sr_tval name(sr_trun *R, sr_tval v, sr_tcall *c)                                                  \
    {                                                                                                        \
        (void)R, (void)v, (void)c;                                                                           \
        return of(expr);                                                                                     \
    }

/* v % n == r, whatever % means for v */
static bool leaves(sr_trun *R, sr_tval v, sr_tval n, int64_t r)
{
    return sr_tpl_eq(R, sr_tpl_binary(R, '%', v, n), sr_tint(r));
}

static bool is_callable(sr_tval v)
{
    return v.kind == SR_T_FUNC || v.kind == SR_T_METHOD || v.kind == SR_T_MACRO || v.kind == SR_T_JOINER ||
           v.kind == SR_T_LOOP || v.kind == SR_T_UNDEF; /* Undefined has __call__, which fails */
}

static bool is_sequence(sr_tval v) { return sr_tpl_has_len(v) && v.kind != SR_T_VIEW && v.kind != SR_T_LOOP; }

static bool named(sr_trun *R, sr_tval v, bool filter)
{
    if (v.kind != SR_T_STR)
        return sr_tpl_hash(R, v) == 0; /* not a name; fails for what cannot be hashed */
    return filter ? sr_tpl_filter(v.s->p, v.s->n) != NULL : sr_tpl_test(v.s->p, v.s->n) != NULL;
}

static bool in_case(sr_trun *R, sr_tval v, bool upper)
{
    return sr_tpl_all_case(R, sr_tpl_to_str(R, v).s, upper);
}

TEST(t_odd, leaves(R, v, sr_tint(2), 1))
TEST(t_even, leaves(R, v, sr_tint(2), 0))
TEST(t_divisibleby, leaves(R, v, c->a[0], 0))
TEST(t_defined, v.kind != SR_T_UNDEF)
TEST(t_undefined, v.kind == SR_T_UNDEF)
TEST(t_filter, named(R, v, true))
TEST(t_test, named(R, v, false))
TEST(t_none, v.kind == SR_T_NONE)
TEST(t_boolean, v.kind == SR_T_BOOL)
TEST(t_false, v.kind == SR_T_BOOL && !v.b)
TEST(t_true, v.kind == SR_T_BOOL && v.b)
TEST(t_integer, v.kind == SR_T_INT)
TEST(t_float, v.kind == SR_T_FLOAT)
TEST(t_lower, in_case(R, v, false))
TEST(t_upper, in_case(R, v, true))
TEST(t_string, v.kind == SR_T_STR)
TEST(t_mapping, v.kind == SR_T_DICT)
TEST(t_number, sr_tis_num(v))
TEST(t_sequence, is_sequence(v))
TEST(t_iterable, sr_tpl_iterable(v) || v.kind == SR_T_LOOP)
TEST(t_callable, is_callable(v))
TEST(t_sameas, sr_tpl_same(v, c->a[0]))
TEST(t_escaped, v.kind == SR_T_STR && v.s->markup)
TEST(t_in, sr_tpl_in(R, v, c->a[0]))
TEST(t_eq, sr_tpl_eq(R, v, c->a[0]))
TEST(t_ne, !sr_tpl_eq(R, v, c->a[0]))
TEST(t_gt, sr_tpl_order(R, SR_TGT, v, c->a[0]))
TEST(t_ge, sr_tpl_order(R, SR_TGE, v, c->a[0]))
TEST(t_lt, sr_tpl_order(R, SR_TLT, v, c->a[0]))
TEST(t_le, sr_tpl_order(R, SR_TLE, v, c->a[0]))

static const sr_tbuiltin tests[] = {
    {"odd", t_odd, "", 0, 0, 0},
    {"even", t_even, "", 0, 0, 0},
    {"divisibleby", t_divisibleby, "num", 1, 0, 0},
    {"defined", t_defined, "", 0, 0, 0},
    {"undefined", t_undefined, "", 0, 0, 0},
    {"filter", t_filter, "", 0, 0, 0},
    {"test", t_test, "", 0, 0, 0},
    {"none", t_none, "", 0, 0, 0},
    {"boolean", t_boolean, "", 0, 0, 0},
    {"false", t_false, "", 0, 0, 0},
    {"true", t_true, "", 0, 0, 0},
    {"integer", t_integer, "", 0, 0, 0},
    {"float", t_float, "", 0, 0, 0},
    {"lower", t_lower, "", 0, 0, 0},
    {"upper", t_upper, "", 0, 0, 0},
    {"string", t_string, "", 0, 0, 0},
    {"mapping", t_mapping, "", 0, 0, 0},
    {"number", t_number, "", 0, 0, 0},
    {"sequence", t_sequence, "", 0, 0, 0},
    {"iterable", t_iterable, "", 0, 0, 0},
    {"callable", t_callable, "/", 0, 0, 0},
    {"sameas", t_sameas, "other", 1, 0, 0},
    {"escaped", t_escaped, "", 0, 0, 0},
    {"in", t_in, "seq", 1, 0, 0},
    {"==", t_eq, "/b", 1, 0, 0},
    {"eq", t_eq, "/b", 1, 0, 0},
    {"equalto", t_eq, "/b", 1, 0, 0},
    {"!=", t_ne, "/b", 1, 0, 0},
    {"ne", t_ne, "/b", 1, 0, 0},
    {">", t_gt, "/b", 1, 0, 0},
    {"gt", t_gt, "/b", 1, 0, 0},
    {"greaterthan", t_gt, "/b", 1, 0, 0},
    {"ge", t_ge, "/b", 1, 0, 0},
    {">=", t_ge, "/b", 1, 0, 0},
    {"<", t_lt, "/b", 1, 0, 0},
    {"lt", t_lt, "/b", 1, 0, 0},
    {"lessthan", t_lt, "/b", 1, 0, 0},
    {"<=", t_le, "/b", 1, 0, 0},
    {"le", t_le, "/b", 1, 0, 0},
};

const sr_tbuiltin *sr_tpl_test(const char *name, size_t n)
{
    for (size_t i = 0; i < SR_COUNT(tests); i++)
        if (strlen(tests[i].name) == n && !memcmp(tests[i].name, name, n))
            return &tests[i];
    return NULL;
}
