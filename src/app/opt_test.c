/* opt_test.c - what the option table accepts, and what it says about the rest. */
#include "app/opt.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <stdio.h>

static struct {
    const char *model, *device;
    uint32_t    n;
    uint64_t    seed;
    int32_t     prio;
    float       temp;
    bool        json;
    sr_optlist  p;
    uint64_t    vram;
} o;
static sr_err err;
static char  *args[16];
static int    n_args;

static sr_status parse(const char *line)
{
    static char  copy[512];
    const sr_opt opt[] = {
        SR_O_STR("model", 'm', o.model, "FILE", "the model"),
        SR_O_CHOICE("device", 0, o.device, "auto|cpu", "where"),
        SR_O_UINT("max-tokens", 'n', o.n, "N", "how many", 1, 1000),
        SR_O_U64("seed", 's', o.seed, "S", "seed"),
        SR_O_INT("priority", 0, o.prio, "P", "priority", -5, 5),
        SR_O_REAL("temperature", 't', o.temp, "T", "temperature", 0, 2),
        SR_O_FLAG("json", 'j', o.json, "as JSON"),
        SR_O_BYTES("vram", 0, o.vram, "SIZE", "memory", 1e6, 1e12),
        SR_O_LIST("prompts", 'p', o.p, "N,N", "sizes", 1, 100000),
    };
    const sr_optspec spec = {"test", "FILE", "A test.", opt, SR_COUNT(opt), .min_operands = 0, .max_operands = 2};
    memset(&o, 0, sizeof o);
    err    = (sr_err){0};
    n_args = 1;
    strncpy(copy, line, sizeof copy - 1);
    char *save;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        args[n_args++] = w;
    return sr_opt_read(&spec, &n_args, args, &err);
}

static void refuses(const char *line, const char *message)
{
    assert_int_equal(parse(line), SR_INVALID);
    assert_string_equal(err.msg, message);
}

static void every_form_of_an_option_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse("--model a.gguf -n5 --temperature=0.5 -s 18446744073709551615 -j --priority -3"), SR_OK);
    assert_string_equal(o.model, "a.gguf");
    assert_int_equal(o.n, 5);
    assert_true(o.temp == 0.5f);
    assert_true(o.seed == UINT64_MAX);
    assert_int_equal(o.prio, -3);
    assert_true(o.json);
    assert_int_equal(parse("-n 1000 --device cpu -p 512,2048,1"), SR_OK);
    assert_string_equal(o.device, "cpu");
    assert_int_equal(o.p.n, 3);
    assert_int_equal(o.p.v[1], 2048);
    assert_false(o.json);
}

static void operands_stay_in_order_and_may_look_like_options_after_two_dashes(void **state)
{
    (void)state;
    assert_int_equal(parse("first -j -- --help"), SR_OK);
    assert_int_equal(n_args, 3);
    assert_string_equal(args[1], "first");
    assert_string_equal(args[2], "--help");
    assert_int_equal(parse("-"), SR_OK);
    assert_string_equal(args[1], "-");
    refuses("a b c", "unexpected operand \"c\"; see strata test --help");
}

static void help_is_seen_anywhere_before_two_dashes(void **state)
{
    (void)state;
    assert_int_equal(parse("--nonsense --help"), SR_AGAIN);
    assert_int_equal(parse("-h"), SR_AGAIN);
}

static void an_unknown_option_is_named_with_its_nearest_match(void **state)
{
    (void)state;
    refuses("--modle x", "unknown option --modle; did you mean --model?");
    refuses("--max_tokens=4", "unknown option --max_tokens; did you mean --max-tokens?");
    refuses("--quux", "unknown option --quux; see strata test --help");
    refuses("-x", "unknown option -x; see strata test --help");
    refuses("--\x1b[2J", "unknown option --\\x1b[2J; see strata test --help");
}

static void wrong_values_are_named_with_what_would_be_right(void **state)
{
    (void)state;
    refuses("-n 0", "--max-tokens 0: must be in 1 .. 1000");
    refuses("-n 99999999999999999999", "--max-tokens 99999999999999999999: must be in 1 .. 1000");
    refuses("-n 5x", "--max-tokens \"5x\": not a whole number");
    refuses("-n=", "--max-tokens \"=\": not a whole number");
    refuses("--max-tokens=", "--max-tokens \"\": not a whole number");
    refuses("-t nan", "--temperature \"nan\": not a number");
    refuses("-t 2.5", "--temperature 2.5: must be in 0 .. 2");
    refuses("-s -1", "--seed \"-1\": not a whole number in 0 .. 18446744073709551615");
    refuses("--device gpu", "--device \"gpu\": must be one of auto|cpu");
    refuses("--device au", "--device \"au\": must be one of auto|cpu");
    refuses("--device a\nb", "--device \"a\\x0ab\": must be one of auto|cpu"); /* found by opt_fuzz */
    refuses("-p 1,,2", "--prompts \"\": not a whole number");
    refuses("-p 5,0", "--prompts 0: must be in 1 .. 100000");
    refuses("-p 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "--prompts: more than 32 values");
    refuses("--priority 6", "--priority 6: must be in -5 .. 5");
}

static void nothing_is_ignored(void **state)
{
    (void)state;
    refuses("-j --json", "--json is given twice");
    refuses("--json=yes", "--json takes no value (found \"yes\")");
    refuses("--model", "--model needs a value: --model FILE");
    refuses("--model --json", "--model needs a value, found --json (write --model=--json if that is the value)");
    assert_int_equal(parse("--model=--json"), SR_OK);
    assert_string_equal(o.model, "--json");
}

static void nearest_counts_swaps_and_refuses_far_words(void **state)
{
    (void)state;
    const char *const w[] = {"serve", "ask", "tokenize", "detokenize"};
    assert_string_equal(sr_nearest("sevre", w, 4, sizeof *w), "serve");
    assert_string_equal(sr_nearest("tokenise", w, 4, sizeof *w), "tokenize");
    assert_string_equal(sr_nearest("aks", w, 4, sizeof *w), "ask");
    assert_null(sr_nearest("banana", w, 4, sizeof *w));
    assert_null(sr_nearest("a-word-that-is-much-too-long-to-be-one-of-ours", w, 4, sizeof *w));
}

static void a_size_has_a_unit_and_a_range(void **state)
{
    (void)state;
    const struct { const char *word; uint64_t bytes; } ok[] = {{"14G", 14000000000u}, {"1.5gb", 1500000000u}, {"512MiB", 536870912u}, {"2000000", 2000000u}};
    char line[64];
    for (size_t i = 0; i < SR_COUNT(ok); i++) {
        snprintf(line, sizeof line, "--vram %s", ok[i].word);
        assert_int_equal(parse(line), SR_OK);
        assert_true(o.vram == ok[i].bytes);
    }
    refuses("--vram 14X", "--vram \"14X\": not a size; 14G, 1.5G or 512MiB expected");
    refuses("--vram G", "--vram \"G\": not a size; 14G, 1.5G or 512MiB expected");
    refuses("--vram 0x10G", "--vram \"0x10G\": not a size; 14G, 1.5G or 512MiB expected");
    refuses("--vram=-1G", "--vram \"-1G\": not a size; 14G, 1.5G or 512MiB expected");
    assert_int_equal(parse("--vram 5"), SR_INVALID);
    assert_int_equal(parse("--vram 2T"), SR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_option_is_read),
        cmocka_unit_test(operands_stay_in_order_and_may_look_like_options_after_two_dashes),
        cmocka_unit_test(help_is_seen_anywhere_before_two_dashes),
        cmocka_unit_test(an_unknown_option_is_named_with_its_nearest_match),
        cmocka_unit_test(wrong_values_are_named_with_what_would_be_right),
        cmocka_unit_test(nothing_is_ignored),
        cmocka_unit_test(a_size_has_a_unit_and_a_range),
        cmocka_unit_test(nearest_counts_swaps_and_refuses_far_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
