/* The table of pre-tokenisers: data only.  The order of alternatives matters (first match wins). */
#include "text/tokenizer_pre.h"

#include <string.h>

#define CONTRACTION "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define SPACES      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define ASCII_PUNCT "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define WORD_ANY    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHER       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
/* DeepSeek-V3: a word is letters and marks with one leading character that is no letter, punctuation or symbol. */
#define DEEPSEEK3   ASCII_PUNCT "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
/* Case-aware words: [^a-z]*[^A-Z]+ or [^a-z]+[^A-Z]* within letters. */
#define CASED(end)                                                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?\\p{U}*\\p{W}+" end "|[^\\r\\n\\p{L}\\p{N}]?\\p{U}+\\p{W}*" end
#define CASED_MARKS(end)                                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{U}\\p{M}]*[\\p{W}\\p{M}]+" end "|[^\\r\\n\\p{L}\\p{N}]?[\\p{U}\\p{M}]+[\\p{W}\\p{M}]*" end
#define UNCASED_MARKS(end)                                                                                             \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]*[\\p{L}\\p{M}]+" end "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+[\\p{L}\\p{M}]*" end
#define TAIL_SLASH  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

#define CJK_KANA    "4E00-9FA5 3040-309F 30A0-30FF"
#define CJK_WIDE    "4E00-9FA5 800-4E00 AC00-D7FF"

#define RE(x)   {SR_STEP_REGEX, x}
#define SETS(x) {SR_STEP_SETS, x}
#define DO(x)   {SR_STEP_##x, NULL}

static const sr_pretok table[] = {
    {"gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code "
     "roberta-bpe mpt olmo jais trillion granite-docling exaone4",
     0, {DO(GPT2)}, {NULL}},
    {"default", 0,
     {RE("[\\p{P}$+<=>^~|]+"), DO(GPT2), RE("\\p{N}+"), RE("[0-9][0-9][0-9]")}, {NULL}},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     SR_PRE_IGNORE_MERGES | SR_PRE_ADD_BOS, {DO(LLAMA3)}, {NULL}},
    {"dbrx smaug-bpe", 0, {DO(LLAMA3)}, {NULL}},
    {"glm4 chatglm-bpe", SR_PRE_NO_BOS, {DO(LLAMA3)}, {NULL}},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", 0, {DO(QWEN2)}, {NULL}},
    {"qwen35", 0, {DO(QWEN35)}, {NULL}},
    {"ufakzeka", 0, {RE(WORD_ANY "|\\p{N}|" OTHER "|" SPACES)}, {NULL}},
    {"laguna", 0, {DO(NEWLINES), DO(QWEN2)}, {NULL}},
    {"minicpm5", SR_PRE_IGNORE_MERGES,
     {RE("\\p{N}{1,3}"), RE(CONTRACTION "|" WORD_ANY "|\\p{N}+|" OTHER "|" SPACES)}, {NULL}},
    {"bailingmoe bailingmoe2 llada-moe", 0,
     {RE("'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" WORD_ANY "|\\p{N}|" OTHER
         "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+")}, {NULL}},
    {"seed-coder", 0,
     {RE(CONTRACTION "|" WORD_ANY "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES)}, {NULL}},
    {"exaone-moe", 0, /* letters with their marks, joined by single spaces; written without nested repeats */
     {RE(CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}\\p{M}*+(?: ?\\p{L}\\p{M}*+)*+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
         "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+")}, {NULL}},
    {"jais-2", 0,
     {RE(CONTRACTION "|" WORD_ANY "|\\p{N}{1,3}|" OTHER "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|"
         "\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}")}, {NULL}},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", 0, {RE("\\p{N}"), DO(GPT2)}, {NULL}},
    {"falcon", 0, {RE("[\\p{P}$+<=>^~|`]+"), DO(GPT2), RE("[0-9][0-9][0-9]")}, {NULL}},
    {"deepseek-llm", 0,
     {RE("[\\r\\n]"), SETS("\\s?[A-Za-z\\p{1}]+"), SETS("\\s?[!-/:-~\\p{2}]+"), DO(TAIL), SETS("[\\p{3}]+"), RE("\\p{N}+")},
     {"B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481 "
      "48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 "
      "1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC "
      "1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D "
      "212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B "
      "A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 "
      "104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943",
      "FF01-FF0F FF1A-FF5E 2018-201F 3000-3002", CJK_WIDE}},
    {"deepseek-coder", 0,
     {RE("[\\r\\n]"), RE("\\s?\\p{L}+"), RE("\\s?\\p{P}+"), SETS("[\\p{1}]+"), RE("\\p{N}")}, {CJK_WIDE}},
    {"deepseek-v3 hunyuan-dense hy_v4 joyai-llm", 0,
     {RE("\\p{N}{1,3}"), SETS("[\\p{1}]+"), RE(DEEPSEEK3 "[\\r\\n]*|" SPACES)}, {CJK_KANA}},
    {"spark2_5", 0,
     {RE("\\p{N}{1,3}"), SETS("[\\p{1}]+"), RE(DEEPSEEK3 "|[\\r\\n]|\\s+(?!\\S)|\\s+"), RE("\\p{N}")}, {CJK_KANA}},
    {"afmoe", 0, {DO(DIGITS), SETS("[\\p{1}]+"), RE(DEEPSEEK3 "[\\r\\n]*|" SPACES)},
     {"4E00-9FFF 3400-4DBF 8C48-FAFF 3040-309F 30A0-30FF FF65-FF9F 2F00-2FDF E40-E7F E80-EFF 1780-17FF 1000-109F "
      "AA60-AA7F A9E0-A9FF AC00-D7AF 1100-11FF"}},
    {"youtu", SR_PRE_IGNORE_MERGES,
     {SETS("[\\p{1}]+|[\\p{2}]+|[\\p{3}]+|[\\p{4}]+"), RE(UNCASED_MARKS(CONTRACTION "?") "|\\p{N}|" TAIL_SLASH)},
     {"AC00-D7A3 3131-318E", "FF01 2026 201C 201D 2018 2019 2014 FF1A FF1B FF0C 3001-303F FE30-FE4F", "3105-312F",
      CJK_KANA}},
    {"tiny_aya cohere2moe", 0,
     {DO(DIGITS), RE(UNCASED_MARKS(CONTRACTION "?") "|\\p{N}{1,3}|" TAIL_SLASH)}, {NULL}},
    {"tekken", SR_PRE_IGNORE_MERGES | SR_PRE_ADD_BOS, {RE(CASED("") "|\\p{N}|" TAIL_SLASH)}, {NULL}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", 0, {RE(CASED(CONTRACTION "?") "|\\p{N}{1,3}|" TAIL_SLASH)}, {NULL}},
    {"granite-embed-multi-97m", SR_PRE_IGNORE_MERGES,
     {RE(CASED_MARKS(CONTRACTION "?") "|\\p{N}{1,3}|" TAIL_SLASH)}, {NULL}},
    {"poro-chat bloom gpt3-finnish", 0, {SETS(" ?[^(\\s|.,!?\\p{1})]+")}, {"2026 3002 FF0C 3001 964 6D4 60C"}},
    {"viking", 0, {SETS(" ?[^(\\s|.,!?\\p{1})]+"), RE("\\p{N}")}, {"2026 3002 FF0C 3001 964 6D4 60C"}},
    {"chameleon", SR_PRE_ADD_BOS,
     {RE("<sentinel:[0-9]+>"), RE("IMGIMG[A-I]{1,4}Z"), RE("[\\t\\n]|    |  "), RE("\\p{N}"),
      RE("[\\p{P}!-/:-@\\[-`{-~]"), DO(GPT2)}, {NULL}},
    {"kimi-k2", 0, {DO(KIMI)}, {NULL}},
    {"superbpe", 0, {RE("\\p{N}+"), DO(DIGITS_ASCII)}, {NULL}},
    {"gemma4 granite-embed-multi-311m",
     SR_PRE_RAW | SR_PRE_SPACE_ESCAPE | SR_PRE_NEWLINE_TOKENS | SR_PRE_FORCE_BOS, {DO(NEWLINES)}, {NULL}},
    {"sarvam-moe", SR_PRE_RAW | SR_PRE_SPACE_ESCAPE, {DO(NEWLINES)}, {NULL}},
};

/* name[0..n) is one of the words of `names`. */
static bool among(const char *names, const char *name, size_t n)
{
    while (*names) {
        size_t k = strcspn(names, " ");
        if (k == n && memcmp(names, name, n) == 0)
            return true;
        names += k + (names[k] == ' ');
    }
    return false;
}

const sr_pretok *sr_pretok_find(const char *name, size_t n)
{
    for (size_t i = 0; n && i < sizeof table / sizeof *table; i++)
        if (among(table[i].names, name, n))
            return &table[i];
    return NULL;
}
