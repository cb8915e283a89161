/* What each front end accepts and refuses, text by text.  Cases after llama.cpp's tests/test-grammar-integration.cpp and
 * tests/test-json-schema-to-grammar.cpp in what they ask, not in their words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "text/grammar_kit.h"

static kit K;

static sr_status compile(char kind, const char *source, sr_grammar **g, sr_err *err)
{
    size_t n = strlen(source);
    switch (kind) {
    case 'g': return sr_grammar_gbnf(source, n, g, err);
    case 'r': return sr_grammar_regex(source, n, g, err);
    case 's': return sr_grammar_schema(source, n, g, err);
    default: return sr_grammar_json_object(g, err);
    }
}

/* '=' a whole text; '<' the beginning of one; '!' neither. */
static char read_by(const sr_grammar *g, const char *text)
{
    sr_err      err = {0};
    sr_guide   *guide;
    sr_matcher *m = NULL;
    size_t      n;
    const void *bytes = sr_grammar_bytes(g, &n);
    if (sr_guide_open(K.lex, bytes, n, &guide, &err) || sr_matcher_open(guide, &m, &err))
        fail_msg("%s", err.msg);
    sr_status s   = sr_matcher_accept_bytes(m, text, strlen(text), &err);
    char      was = s == SR_INVALID ? '!' : s ? '?' : sr_matcher_can_end(m) ? '=' : '<';
    sr_matcher_close(m);
    sr_guide_close(guide);
    return was;
}

static char verdict(char kind, const char *source, const char *text)
{
    sr_err      err = {0};
    sr_grammar *g;
    if (compile(kind, source, &g, &err))
        fail_msg("%s: %s", source, err.msg);
    char was = read_by(g, text);
    sr_grammar_close(g);
    return was;
}

typedef struct { char kind; const char *source; const char *texts[12]; } testcase; /* each text behind its verdict */

static void check(const testcase *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (const char *const *t = c[i].texts; *t; t++) {
            char was = verdict(c[i].kind, c[i].source, *t + 1);
            if (was != **t)
                fail_msg("%s\n with \"%s\": %c, not %c", c[i].source, *t + 1, was, **t);
        }
}

static void gbnf_is_read_as_llama_cpp_reads_it(void **state)
{
    (void)state;
    static const testcase c[] = {
        {'g', "root ::= \"hello\"", {"=hello", "<hell", "!hello!", "<", "!x"}},
        {'g', "root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= [0-9]+ # digits\n", {"=42", "=1+2+33", "<1+", "!+", "!1++"}},
        {'g', "root ::= (expr \"=\" term \"\\n\")+\nexpr ::= term ([-+*/] term)*\nterm ::= ident | num | \"(\" expr \")\"\nident ::= [a-z] [a-z0-9_]*\nnum ::= [0-9]+",
         {"=(x+10)*x=30\n", "=x+10=y\n1=2\n", "<((a", "!)", "!a==b"}},
        {'g', "root ::= [^\\n\"]+ | \"\\x41\" \"\\u00e9\"", {"=abc", "=é", "=A", "!\n", "=Aé"}},
        {'g', "root ::= \"a\"{3} \"b\"{2,} \"c\"{0,2} \"d\"?", {"=aaabb", "=aaabbbbccd", "<aaab", "!aabb", "!aaabbccc"}},
        {'g', "root ::= \"\" | \"a\" |\n  \"b\"\n", {"=", "=a", "=b", "!ab"}},
        {'g', "root ::= a\na ::= \"(\" a \")\" | \"x\"", {"=x", "=((x))", "<((x", "!())"}},
        {'g', "root ::= .{2}", {"=ab", "=日本", "<é", "!abc", "<\xe6\x97", "!\xff"}},
        {'g', "root ::= [\\u3041-\\u309f]+", {"=ひらがな", "!カ", "!a"}},
        {'g', "root ::= ( ( \"a\" ) ( \"b\"\n | \"c\" ) )*", {"=abac", "=", "<a"}},
        {'g', "root ::= (\"a\"*)* \"b\"", {"=b", "=aaab", "<aa"}},
        {'g', "root ::= Ab-1_c # one\r\nAb-1_c ::= \"\\r\\n\\t\\\\\\\"\" [\\]\\-\\^\\[]\t\"\\x4A\\U0001F600\"", {"=\r\n\t\\\"-J😀", "=\r\n\t\\\"^J😀", "!x"}},
        {'g', "root ::= [a-] [-z] [^-a] \"b\"{0} \"c\"{0,0} \"d\"{1} \"e\"{ 2 , 3 }", {"=a-bdee", "=-zcdeee", "!b"}},
        {'g', "# first\n\n  root ::= \"a\"\n#last", {"=a"}},
        {'g', "root ::= x \"c\"\nx ::= \"a\" x \"b\" | \"\"", {"=c", "=aabbc", "<aabb", "!abb"}},
    };
    check(c, SR_COUNT(c));
}

static void regexes_match_the_whole_text(void **state)
{
    (void)state;
    static const testcase c[] = {
        {'r', "[A-Z]{2}\\d{3,5}", {"=AB123", "=AB12345", "<AB12", "!AB123456", "!aB"}},
        {'r', "^(yes|no|maybe)$", {"=yes", "=maybe", "<may", "!yess", "!x"}},
        {'r', "a|bc*|", {"=", "=a", "=b", "=bccc", "!ab"}},
        {'r', "\\w+@\\w+\\.(com|org)", {"=a_1@b.org", "<a@b.", "!@"}},
        {'r', "(?:ab)+?c{2}", {"=ababcc", "<abab", "!cc"}},
        {'r', ".*", {"=", "=any thing é", "!a\nb"}},
        {'r', "[^a-c\\s]+", {"=def", "!a", "! "}},
        {'r', "\\u00e9\\x41\\u{1F600}[\\u0400-\\u04FF]", {"=éA😀ж", "!eA"}},
        {'r', "(?<year>\\d{4})-\\d\\d", {"=2024-01", "<2024-"}},
        {'r', "\\[\\]\\{\\}\\\\\\/\\.", {"=[]{}\\/."}},
        {'r', "a{2}{", {"=aa{"}},
        {'r', "\\n\\r\\t\\f\\v[\\0a]", {"=\n\r\t\f\va", "<\n\r", "!n"}},
        {'r', "\\D\\W\\S[\\D][\\W\\d][^\\S]", {"=a-b-1 ", "<é-é", "!1"}},
        {'r', "\\ud83d\\ude00\\u{41}[\\n\\-\\]]", {"=😀A\n", "=😀A-", "=😀A]", "!A"}},
        {'r', "a{2,}b{,2}c{x}", {"=aab{,2}c{x}", "<aaa", "!ab"}},
        {'r', "(a|b)|^c$|d", {"=a", "=c", "=d", "!ab"}},
    };
    check(c, SR_COUNT(c));
}

static void any_object_is_json(void **state)
{
    (void)state;
    static const testcase c[] = {
        {'j', "", {"={}", "={\"a\":1}", "={\"a\": [1, 2.5e+3, -0.1, {\"b\": null}], \"c\": \"x\\n\\u00e9\\uD83D\\uDE00\"}", "!{ }", "![", "!{\"a\"  ",
                   "!{\"a\":01", "!{\"a\":\"\\uDE00", "!{\"a\":\"\n", "={\n  \"a\": [\n    true,\n    false\n  ]\n}", "!{\n\n"}},
    };
    check(c, SR_COUNT(c));
}

static void schemas_shape_the_text(void **state)
{
    (void)state;
    static const testcase c[] = {
        {'s', "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},\"required\":[\"a\"]}",
         {"={\"a\":1}", "={\"a\": -12, \"b\": \"x\"}", "!{\"b\"", "!{}", "!{\"a\":1.", "!{\"a\":1,\"c\"", "!{\"a\":1,\"a\""}},
        {'s', "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}}}", {"={}", "={\"b\":1}", "={\"a\":1,\"c\":2}", "!{\"c\":1,", "={\"a\":1,\"b\":2,\"c\":3}"}},
        {'s', "{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"},\"ac\":{\"type\":\"null\"}},\"required\":[\"ab\"],\"additionalProperties\":{\"type\":\"integer\"}}",
         {"={\"ab\":null,\"x\":1}", "={\"ab\":null,\"ac\":null,\"a\":1,\"abc\":2,\"\":3}", "!{\"ab\":null,\"ab\"", "!{\"ab\":null,\"x\":n", "!{\"ab\":null,\"ac\":1"}},
        {'s', "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"boolean\"}}", {"={}", "={\"k\":true}", "!{\"k\":1"}},
        {'s', "{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-3,\"maximum\":105},\"minItems\":1,\"maxItems\":3}",
         {"=[1]", "=[-3, 105, 0]", "![]", "![-4", "![106", "![1,2,3,", "![01"}},
        {'s', "{\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"integer\"}],\"items\":{\"type\":\"null\"}}", {"=[\"a\",1]", "=[\"a\",1,null,null]", "![\"a\"]", "![1"}},
        {'s', "{\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"integer\"}],\"minItems\":0,\"items\":false}", {"=[]", "=[\"a\"]", "=[\"a\",1]", "![\"a\",1,"}},
        {'s', "{\"enum\":[\"red\",2,null,{\"k\":[1]},\"q\\\"\"]}", {"=\"red\"", "=2", "=null", "={\"k\": [1]}", "=\"q\\\"\"", "!\"blue", "!3"}},
        {'s', "{\"const\":\"x\"}", {"=\"x\"", "!\"y"}},
        {'s', "{\"type\":[\"string\",\"null\"],\"minLength\":2,\"maxLength\":3}", {"=null", "=\"ab\"", "=\"é日a\"", "=\"a\\n\"", "!\"a\"", "!\"abcd"}},
        {'s', "{\"type\":\"string\",\"pattern\":\"^[a-z]+\\\"?$\"}", {"=\"abc\"", "=\"abc\\\"\"", "!\"A", "!\"\""}},
        {'s', "{\"type\":\"string\",\"pattern\":\"b\"}", {"=\"abc\"", "=\"b\"", "<\"aaa", "!\"aaa\""}},
        {'s', "{\"type\":\"string\",\"format\":\"date\"}", {"=\"2024-02-29\"", "!\"2023-02-29", "!\"2024-13", "=\"1999-12-31\"", "!\"2024-04-31"}},
        {'s', "{\"type\":\"string\",\"format\":\"date-time\"}", {"=\"2024-01-31T23:59:59Z\"", "=\"2024-01-31T00:00:00.25+02:00\"", "!\"2024-01-31T24"}},
        {'s', "{\"type\":\"string\",\"format\":\"uuid\"}", {"=\"123e4567-e89b-12d3-a456-426614174000\"", "!\"123e4567e"}},
        {'s', "{\"type\":\"string\",\"format\":\"email\",\"minLength\":1}", {"=\"a.b+c@x-y.example.org\"", "!\"a@b\"", "!\".a", "!\"a..", "!\"a@-", "!\"@", "!\"a b", "!\"\""}},
        {'s', "{\"type\":\"string\",\"format\":\"hostname\"}", {"=\"localhost\"", "=\"a-b.c0.de\"", "!\"-", "!\"a-.", "!\"a..", "!\"a_"}},
        {'s', "{\"type\":\"string\",\"format\":\"ipv4\"}", {"=\"127.0.0.1\"", "=\"255.249.199.99\"", "!\"256", "!\"1.2.3\"", "!\"01", "!\"1.2.3.4."}},
        {'s', "{\"type\":\"string\",\"format\":\"ipv6\"}",
         {"=\"::\"", "=\"::1\"", "=\"2001:db8::ff00:42:8329\"", "=\"1:2:3:4:5:6:7:8\"", "=\"fe80::\"", "!\"1:2:3:4:5:6:7\"", "!\"1:2:3:4:5:6:7:8:", "!\"1::2::", "!\"12345", "!\"g"}},
        {'s', "{\"type\":\"string\",\"format\":\"duration\"}", {"=\"P1D\"", "=\"PT36H\"", "=\"P3Y6M4DT12H30M5S\"", "=\"P2W\"", "!\"P\"", "!\"PT\"", "!\"P1S", "!\"P1DT\"", "!\"P1W2"}},
        {'s', "{\"type\":\"string\",\"format\":\"uri\",\"minLength\":1}",
         {"=\"https://example.org:8080/a/b%20c?x=1&y=/#top\"", "=\"mailto:a@b.c\"", "=\"urn:isbn:0451450523\"", "=\"http://a\"", "!\"//", "!\"http:\"", "!\"http://a b", "!\"a:%2x", "!\"1a"}},
        {'s', "{\"type\":\"string\",\"format\":\"uuid\",\"pattern\":\"^[0-9a-f]{4}$\"}", {"=\"12ab\"", "!\"12AB", "!\"12abc"}},
        {'s', "{\"oneOf\":[{\"const\":\"a\"},{\"const\":\"b\"}],\"discriminator\":{\"propertyName\":\"k\"},\"x-order\":1}", {"=\"a\"", "=\"b\"", "!\"c"}},
        {'s', "{\"type\":\"integer\",\"exclusiveMinimum\":9,\"exclusiveMaximum\":101}", {"=10", "=100", "!101", "<", "!0"}},
        {'s', "{\"type\":\"integer\",\"minimum\":0}", {"=0", "=9999999999999999", "!-", "!99999999999999999"}},
        {'s', "{\"type\":\"number\",\"minimum\":0,\"exclusiveMaximum\":1}", {"=0", "=0.5", "!1", "!-", "=0.0"}},
        {'s', "{\"type\":\"number\",\"exclusiveMinimum\":-2,\"maximum\":3.0}", {"=-1.999", "=3", "=3.00", "!3.01", "!-2", "=2.5", "=0", "!4"}},
        {'s', "{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}],\"title\":\"t\",\"default\":null}", {"=1", "=null", "!\""}},
        {'s', "{\"allOf\":[{\"$ref\":\"#/$defs/a%20b\"}],\"$defs\":{\"a b\":{\"type\":\"boolean\"}}}", {"=true", "!1"}},
        {'s', "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},"
              "{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
         {"={\"v\":1,\"next\":{\"v\":2,\"next\":null}}", "!{\"v\":1}", "<{\"v\":1,\"next\":{"}},
        {'s', "{\"type\":\"string\",\"nullable\":true}", {"=null", "=\"\""}},
        {'s', "true", {"=1", "={\"a\":[]}", "!x"}},
        {'s', "{\"type\":\"object\",\"properties\":{\"a\\\"b\":{\"const\":1}}}", {"={\"a\\\"b\":1}"}},
        {'s', "{\"type\":\"integer\",\"minimum\":-9223372036854775808,\"maximum\":9223372036854775807}", {"=-9223372036854775808", "!9223372036854775808", "=0"}},
    };
    check(c, SR_COUNT(c));
}

typedef struct { char kind; const char *source; sr_status status; const char *says; } refusal;

static void what_is_wrong_or_missing_is_named(void **state)
{
    (void)state;
    static const refusal c[] = {
        {'g', "root ::= x", SR_INVALID, "rule \"x\" is not defined"},
        {'g', "a ::= \"b\"", SR_INVALID, "no rule \"root\""},
        {'g', "root ::= root \"a\" | \"b\"", SR_INVALID, "left-recursive"},
        {'g', "root ::= b\nb ::= \"\" | c \"x\"\nc ::= \"\"* b", SR_INVALID, "left-recursive"},
        {'g', "root ::= \"a\" root", SR_INVALID, "matches no text"},
        {'g', "root ::= \"a", SR_INVALID, "line 1, column 12"},
        {'g', "root ::= \"a\"\nroot ::= \"b\"", SR_INVALID, "line 2, column 1"},
        {'g', "root ::= (\"a\"", SR_INVALID, "a ) is missing"},
        {'g', "root ::= \"a\"{70000}", SR_INVALID, "65535"},
        {'g', "root ::= [a-z]{60000} \"a\"? [a-z]{60000}", SR_INVALID, "too large"},
        {'g', "root ::= ((((\"\"){60000}){60000}){60000})", SR_INVALID, "too large"},
        {'g', "root ::= <[12]>", SR_UNSUPPORTED, "not supported"},
        {'g', "root ::= \"\\q\"", SR_INVALID, "unknown escape"},
        {'g', "root ::= \"a\"{x}", SR_INVALID, "line 1"},
        {'g', "root ::= \"a\"{}", SR_INVALID, "line 1"},
        {'g', "root ::= \"a\"{3,2}", SR_INVALID, ""},
        {'g', "root ::= \"a\"{3", SR_INVALID, "line 1"},
        {'g', "root ::= \"a\"{3,x}", SR_INVALID, "line 1"},
        {'g', "root := \"a\"", SR_INVALID, "::="},
        {'g', "root", SR_INVALID, "::="},
        {'g', "root ::= \"a\" )", SR_INVALID, "line 1"},
        {'g', "root ::= [z-a]", SR_INVALID, "ends before"},
        {'g', "root ::= [a", SR_INVALID, "line 1"},
        {'g', "root ::= [a-", SR_INVALID, "line 1"},
        {'g', "root ::= \"\\ud800\"", SR_INVALID, "line 1"},
        {'g', "root ::= \"\\U00110000\"", SR_INVALID, "line 1"},
        {'g', "root ::= \"\\x4\"", SR_INVALID, "line 1"},
        {'g', "root ::= \"\\", SR_INVALID, "line 1"},
        {'g', "root ::= \"\xff\"", SR_INVALID, "not UTF-8"},
        {'g', "root ::= [\xc3", SR_INVALID, "not UTF-8"},
        {'g', "root ::= ! \"a\"", SR_UNSUPPORTED, "not supported"},
        {'g', "? ::= \"a\"", SR_INVALID, "line 1"},
        {'g', "", SR_INVALID, "root"},
        {'r', "a{2}{3}", SR_UNSUPPORTED, "doubled repetitions"},
        {'r', "a{2,1}", SR_INVALID, ""},
        {'r', "a{99999999999}", SR_INVALID, "65535"},
        {'r', "a{1,4294967296}", SR_INVALID, "65535"},
        {'r', "a**", SR_UNSUPPORTED, "doubled repetitions"},
        {'r', "a|+", SR_INVALID, "nothing to repeat"},
        {'r', "a$b", SR_UNSUPPORTED, "$ elsewhere"},
        {'r', "(?<name", SR_INVALID, ""},
        {'r', "(?<=a)b", SR_UNSUPPORTED, "look-around"},
        {'r', "(?<!a)b", SR_UNSUPPORTED, "look-around"},
        {'r', "(?i)a", SR_UNSUPPORTED, ""},
        {'r', "[a-\\d]", SR_INVALID, ""},
        {'r', "[a\\", SR_INVALID, ""},
        {'r', "a\\", SR_INVALID, "backslash"},
        {'r', "\\u12", SR_INVALID, ""},
        {'r', "\\u{110000}", SR_INVALID, ""},
        {'r', "\\u{", SR_INVALID, ""},
        {'r', "\\ud800", SR_INVALID, "surrogate"},
        {'r', "\\ud83d\\u0041", SR_INVALID, "surrogate"},
        {'r', "\\07", SR_UNSUPPORTED, "octal"},
        {'r', "\\q", SR_INVALID, "unknown escape"},
        {'r', "\\P{L}", SR_UNSUPPORTED, "Unicode properties"},
        {'r', "\\B", SR_UNSUPPORTED, "word boundaries"},
        {'r', "\xff", SR_INVALID, "not UTF-8"},
        {'r', "[\xc3]", SR_INVALID, "not UTF-8"},
        {'r', "(a", SR_INVALID, "a ) is missing"},
        {'r', "a)", SR_INVALID, "column 2"},
        {'r', "*", SR_INVALID, "nothing to repeat"},
        {'r', "(?=a)", SR_UNSUPPORTED, "look-around"},
        {'r', "(a)\\1", SR_UNSUPPORTED, "back references"},
        {'r', "a\\b", SR_UNSUPPORTED, "word boundaries"},
        {'r', "a^b", SR_UNSUPPORTED, "^ elsewhere"},
        {'r', "\\p{L}", SR_UNSUPPORTED, "Unicode properties"},
        {'r', "[b-a]", SR_INVALID, "in order"},
        {'r', "[", SR_INVALID, "a ] is missing"},
        {'r', "a{60000}b{60000}", SR_INVALID, "too large"},
        {'s', "{", SR_INVALID, "line 1"},
        {'s', "[]", SR_INVALID, "not a schema"},
        {'s', "{\"type\":\"strin\"}", SR_INVALID, "#/type"},
        {'s', "{\"type\":\"integer\",\"multipleOf\":2}", SR_UNSUPPORTED, "#/multipleOf"},
        {'s', "{\"type\":\"object\",\"properties\":{\"a/b\":{\"not\":{}}}}", SR_UNSUPPORTED, "#/properties/a~1b/not"},
        {'s', "{\"type\":\"object\",\"properties\":{},\"patternProperties\":{}}", SR_UNSUPPORTED, "#/patternProperties"},
        {'s', "{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"b\"]}", SR_UNSUPPORTED, "#/required"},
        {'s', "{\"type\":\"string\",\"format\":\"iri\"}", SR_UNSUPPORTED, "#/format"},
        {'s', "{\"type\":\"string\",\"format\":\"uri\",\"maxLength\":9}", SR_UNSUPPORTED, "#/format"},
        {'s', "{\"type\":\"string\",\"format\":\"uri\",\"minLength\":2}", SR_UNSUPPORTED, "#/format"},
        {'s', "{\"type\":\"string\",\"pattern\":\"a\",\"minLength\":1}", SR_UNSUPPORTED, "#/pattern"},
        {'s', "{\"type\":\"string\",\"pattern\":\"(?!a)\"}", SR_UNSUPPORTED, "look-around"},
        {'s', "{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":3}", SR_UNSUPPORTED, "#/pattern"},
        {'s', "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", SR_INVALID, "#/maxLength"},
        {'s', "{\"type\":\"number\",\"minimum\":0.5}", SR_UNSUPPORTED, "#/minimum"},
        {'s', "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", SR_INVALID, "between the bounds"},
        {'s', "{\"allOf\":[{},{}]}", SR_UNSUPPORTED, "#/allOf"},
        {'s', "{\"anyOf\":[{\"type\":\"string\"}],\"type\":\"string\"}", SR_UNSUPPORTED, "not supported beside anyOf"},
        {'s', "{\"$ref\":\"http://x/y\"}", SR_UNSUPPORTED, "#/$ref"},
        {'s', "{\"$ref\":\"#/nowhere\"}", SR_INVALID, "leads nowhere"},
        {'s', "{\"$ref\":\"#\"}", SR_INVALID, "matches no text"},
        {'s', "{\"$ref\":5}", SR_INVALID, "#/$ref"},
        {'s', "{\"$ref\":\"#x\"}", SR_UNSUPPORTED, "#/$ref"},
        {'s', "{\"$ref\":\"#/$defs/7\",\"$defs\":[{}]}", SR_INVALID, "leads nowhere"},
        {'s', "{\"anyOf\":5}", SR_INVALID, "#/anyOf"},
        {'s', "{\"anyOf\":[]}", SR_INVALID, "#/anyOf"},
        {'s', "{\"const\":1,\"minimum\":0}", SR_UNSUPPORTED, "beside const"},
        {'s', "{\"enum\":[1],\"title\":\"t\",\"minimum\":0}", SR_UNSUPPORTED, "beside enum"},
        {'s', "{\"type\":[]}", SR_INVALID, "#/type"},
        {'s', "{\"type\":5}", SR_INVALID, "#/type"},
        {'s', "{\"prefixItems\":5}", SR_INVALID, "#/prefixItems"},
        {'s', "{\"prefixItems\":[]}", SR_INVALID, "#/prefixItems"},
        {'s', "{\"type\":\"array\",\"minItems\":-1}", SR_INVALID, "#/minItems"},
        {'s', "{\"type\":\"array\",\"minItems\":1.5}", SR_INVALID, "#/minItems"},
        {'s', "{\"type\":\"array\",\"maxItems\":\"x\"}", SR_INVALID, "#/maxItems"},
        {'s', "{\"type\":\"array\",\"minItems\":1e6}", SR_UNSUPPORTED, "#/minItems: more than 65535"},
        {'s', "{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", SR_INVALID, "#/minItems"},
        {'s', "{\"prefixItems\":[{}],\"items\":false,\"minItems\":2}", SR_INVALID, "#/"},
        {'s', "{\"type\":\"string\",\"minLength\":-1}", SR_INVALID, "#/minLength"},
        {'s', "{\"type\":\"string\",\"maxLength\":{}}", SR_INVALID, "#/maxLength"},
        {'s', "{\"type\":\"string\",\"format\":\"date\",\"minLength\":2}", SR_UNSUPPORTED, "#/format"},
        {'s', "{\"type\":\"integer\",\"exclusiveMinimum\":4,\"maximum\":4}", SR_INVALID, "between the bounds"},
        {'s', "{\"type\":\"integer\",\"minimum\":3,\"exclusiveMinimum\":3,\"exclusiveMaximum\":4}", SR_UNSUPPORTED, "#/exclusiveMinimum"},
        {'s', "{\"type\":\"number\",\"maximum\":1e300}", SR_UNSUPPORTED, "#/maximum"},
        {'s', "{\"type\":\"number\",\"exclusiveMaximum\":true}", SR_INVALID, "#/exclusiveMaximum"},
        {'s', "{\"type\":\"number\",\"exclusiveMinimum\":\"x\"}", SR_INVALID, "#/exclusiveMinimum"},
        {'s', "{\"type\":\"object\",\"properties\":5}", SR_INVALID, "#/properties"},
        {'s', "{\"type\":\"object\",\"properties\":{\"a\":5}}", SR_INVALID, "#/properties/a"},
        {'s', "{\"type\":\"object\",\"required\":5}", SR_INVALID, "#/required"},
        {'s', "{\"type\":\"object\",\"additionalProperties\":5}", SR_INVALID, "#/additionalProperties"},
        {'s', "false", SR_UNSUPPORTED, "allows nothing"},
        {'s', "{\"enum\":[]}", SR_INVALID, "#/enum"},
        {'s', "{\"enum\":[1],\"type\":\"string\"}", SR_INVALID, "#/enum"},
        {'s', "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"uniqueItems\":true}", SR_UNSUPPORTED, "#/uniqueItems"},
        {'s', "{\"properties\":{\"a\":{\"properties\":{\"b\":{\"items\":{\"minimum\":\"x\"}}}}}}", SR_INVALID, "#/properties/a/properties/b/items/minimum"},
    };
    for (size_t i = 0; i < SR_COUNT(c); i++) {
        sr_err      err = {0};
        sr_grammar *g   = (sr_grammar *)1;
        sr_status   s   = compile(c[i].kind, c[i].source, &g, &err);
        if (s != c[i].status || g || !strstr(err.msg, c[i].says))
            fail_msg("%s\n gives %d \"%s\", not %d \"%s\"", c[i].source, s, err.msg, c[i].status, c[i].says);
    }
}

static void choices_and_parts_stand_one_after_the_other(void **state)
{
    (void)state;
    sr_err      err = {0};
    sr_grammar *g;
    sr_guide   *guide;
    sr_matcher *m, *back;
    size_t      n;
    const sr_gtext choice[] = {{"yes", 3}, {"yes please", 10}, {"é\"", 3}};
    assert_int_equal(sr_grammar_choice(choice, 3, &g, &err), SR_OK);
    const void *bytes = sr_grammar_bytes(g, &n);
    assert_int_equal(sr_guide_open(K.lex, bytes, n, &guide, &err), SR_OK);
    assert_int_equal(sr_matcher_open(guide, &m, &err), SR_OK);
    assert_int_equal(sr_matcher_open(guide, &back, &err), SR_OK);
    assert_int_equal(sr_matcher_accept_bytes(m, "yes", 3, &err), SR_OK);
    assert_true(sr_matcher_can_end(m) && !sr_matcher_must_end(m));
    sr_matcher_copy(back, m);
    assert_int_equal(sr_matcher_accept_bytes(m, " please", 7, &err), SR_OK);
    assert_true(sr_matcher_must_end(m));
    sr_matcher_copy(m, back); /* and back */
    assert_true(!sr_matcher_must_end(m));
    assert_int_equal(sr_matcher_accept_bytes(m, "x", 1, &err), SR_INVALID);
    assert_true(sr_matcher_can_end(m));
    sr_matcher_close(m);
    sr_matcher_close(back);
    sr_guide_close(guide);
    sr_grammar_close(g);

    err = (sr_err){0};
    const sr_gpart part[] = {{SR_GPART_LITERAL, {"<call>", 6}}, {SR_GPART_SCHEMA, {"{\"type\":\"integer\"}", 18}}, {SR_GPART_LITERAL, {"</call>", 7}}};
    assert_int_equal(sr_grammar_parts(part, 3, 1, 2, &g, &err), SR_OK);
    bytes = sr_grammar_bytes(g, &n);
    assert_int_equal(sr_guide_open(K.lex, bytes, n, &guide, &err), SR_OK);
    assert_int_equal(sr_matcher_open(guide, &m, &err), SR_OK);
    assert_int_equal(sr_matcher_accept_bytes(m, "<call>17</call>", 15, &err), SR_OK);
    assert_true(sr_matcher_can_end(m) && !sr_matcher_must_end(m));
    assert_int_equal(sr_matcher_accept_bytes(m, "<call>-1</call>", 15, &err), SR_OK);
    assert_true(sr_matcher_must_end(m));
    sr_matcher_close(m);
    sr_guide_close(guide);
    sr_grammar_close(g);
}

/* Thousands of texts that begin alike, one inside another, some twice: all of them and nothing else. */
static void many_texts_are_told_apart(void **state)
{
    (void)state;
    enum { N = 4000 };
    static char     text[N][32];
    static sr_gtext choice[N];
    sr_buf          schema = {0};
    sr_buf_str(&schema, "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[7,");
    for (int i = 0; i < N; i++) {
        int n = i % 3 == 0 ? snprintf(text[i], sizeof text[i], "value number %d", i / 2) : snprintf(text[i], sizeof text[i], "v\xc3\xa4lue %d of %d", i, i % 7);
        choice[i] = (sr_gtext){text[i], (size_t)n};
        if (i < 2000)
            sr_buf_fmt(&schema, "%s\"%s\"", i ? "," : "", text[i]);
    }
    sr_buf_str(&schema, "]},\"b\":{\"const\":1}},\"required\":[\"a\",\"b\"]}");
    sr_err      err = {0};
    sr_grammar *g   = NULL;
    assert_int_equal(sr_grammar_choice(choice, N, &g, &err), SR_OK);
    for (int i = 0; i < N; i += 37)
        assert_int_equal(read_by(g, text[i]), '=');
    assert_int_equal(read_by(g, "value number"), '<');
    assert_int_equal(read_by(g, "v"), '<');
    assert_int_equal(read_by(g, "value number 2000"), '!');
    assert_int_equal(read_by(g, "v\xc3\xa4lue 1 of 2"), '!');
    sr_grammar_close(g);
    assert_int_equal(sr_grammar_schema(schema.p, schema.n, &g, &err), SR_OK);
    assert_int_equal(read_by(g, "{\"a\":\"value number 9\",\"b\":1}"), '=');
    assert_int_equal(read_by(g, "{\"a\":\"value number 90\",\"b\":1}"), '=');
    assert_int_equal(read_by(g, "{\"a\":7,\"b\":1}"), '=');
    assert_int_equal(read_by(g, "{\"a\":\"value number 1000\""), '!');
    sr_grammar_close(g);
    sr_buf_end(&schema);
}

static void a_block_of_other_bytes_is_refused(void **state)
{
    (void)state;
    sr_err      err = {0};
    sr_grammar *g, *h;
    size_t      n;
    uint64_t    seed = 7;
    assert_int_equal(compile('g', "root ::= a{2,5}\na ::= [a-z] \"x\"", &g, &err), SR_OK);
    const void *bytes = sr_grammar_bytes(g, &n);
    assert_int_equal(sr_grammar_open_bytes(bytes, n, &h, &err), SR_OK);
    sr_grammar_close(h);
    assert_int_equal(sr_grammar_open_bytes(bytes, n - 1, &h, &err), SR_INVALID);
    unsigned refused = 0;
    for (unsigned i = 0; i < 20000; i++) { /* some accident is harmless; none may crash the walk */
        unsigned char copy[4096];
        assert_true(n <= sizeof copy);
        memcpy(copy, bytes, n);
        for (unsigned k = 0; k <= i % 3; k++)
            copy[kit_random(&seed) % n] = (unsigned char)kit_random(&seed);
        sr_guide   *guide;
        sr_matcher *m = NULL;
        bool        any;
        err = (sr_err){0};
        if (sr_guide_open(K.lex, copy, n, &guide, &err)) {
            refused++;
            continue;
        }
        assert_int_equal(sr_matcher_open(guide, &m, &err), SR_OK);
        if (sr_matcher_mask(m, K.mask, &any, &err) == SR_OK)
            (void)!sr_matcher_accept_bytes(m, "axbx", 4, &err);
        sr_matcher_close(m);
        sr_guide_close(guide);
    }
    assert_true(refused > 1000);
    sr_grammar_close(g);
}

static int begin(void **state)
{
    (void)state;
    sr_err err = {0};
    if (kit_open(&K, &err))
        print_error("%s\n", err.msg);
    return err.status != SR_OK;
}

static int end(void **state)
{
    (void)state;
    kit_close(&K);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gbnf_is_read_as_llama_cpp_reads_it),
        cmocka_unit_test(regexes_match_the_whole_text),
        cmocka_unit_test(any_object_is_json),
        cmocka_unit_test(schemas_shape_the_text),
        cmocka_unit_test(what_is_wrong_or_missing_is_named),
        cmocka_unit_test(choices_and_parts_stand_one_after_the_other),
        cmocka_unit_test(many_texts_are_told_apart),
        cmocka_unit_test(a_block_of_other_bytes_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
