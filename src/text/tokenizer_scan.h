/* tokenizer_scan.h - the word scanners written by hand, over class bytes (tokenizer_pre.h).
 *
 * Each gives the end of the word that begins at c[at], at < end; c[end] is not read.  They follow
 * llama.cpp's scanners where those differ from the expression they stand for.
 */
#ifndef SR_TEXT_TOKENIZER_SCAN_H
#define SR_TEXT_TOKENIZER_SCAN_H
#include <stddef.h>
#include <stdint.h>

enum { SR_F_LETTER = 1, SR_F_NUMBER = 2, SR_F_SPACE = 4, SR_F_MARK = 8, SR_F_HAN = 16 };

typedef size_t (*sr_scan_fn)(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);

size_t sr_scan_gpt2(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);
size_t sr_scan_llama3(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);
size_t sr_scan_qwen2(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);
size_t sr_scan_qwen35(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);
size_t sr_scan_kimi(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);
size_t sr_scan_newlines(const uint8_t flags[256], const uint8_t *c, size_t at, size_t end);
#endif
