/* keys.h - who may ask, and how much.
 *
 *     file    a line a key:   KEY [name=NAME] [at-once=N] [per-minute=N]     empty lines and lines that begin with # are nothing
 *     table   keys are kept as SHA-256 digests; find() compares with all of them, whatever was sent
 *     take    a request begins: within the limits of its key, or refused;   release   it is over
 *
 * A key's minute is the last 60 seconds at any moment, not the clock's: the times of its last N requests are kept.
 *
 * Owns:    the table.   Threads: open, close: any; the others: one.
 * Errors:  parse, open: SR_INVALID naming the line or the position, never the key; SR_NOMEM.
 */
#ifndef SR_SERVE_KEYS_H
#define SR_SERVE_KEYS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "serve/serve.h"

enum { SR_KEY_BYTES = 256, SR_KEY_NAME = 64, SR_KEYS_MAX = 256, SR_KEY_AT_ONCE = 100000, SR_KEY_PER_MINUTE = 100000 };

/* Adds to out[*n .. cap).  text: with a NUL at its end; it is cut up, and what out points to lies in it. */
SR_MUSTUSE sr_status sr_keyfile_parse(char *text, sr_servekey *out, uint32_t cap, uint32_t *n, sr_err *err);

typedef struct sr_keys sr_keys;
typedef enum { SR_KEY_OK, SR_KEY_BUSY, SR_KEY_FAST } sr_keyverdict; /* BUSY: at-once; FAST: per-minute */
typedef struct {                           /* for metrics and messages */
    char     name[SR_KEY_NAME + 1];
    uint32_t at_once, per_minute, running; /* the first two: 0: no limit */
    uint64_t requests, refused[2], prompt, made; /* refused: BUSY, FAST; tokens of prompts and answers */
} sr_keystat;

SR_MUSTUSE sr_status sr_keys_open(const sr_servekey *key, uint32_t n, sr_keys **out, sr_err *err);
void          sr_keys_close(sr_keys *t);
uint32_t      sr_keys_find(sr_keys *t, const char *given, size_t n); /* 1 + index; 0: none of them */
sr_keyverdict sr_keys_take(sr_keys *t, uint32_t key, uint64_t now_ns, uint32_t *retry_s); /* key: 1 + index; retry_s: when to ask again */
void          sr_keys_release(sr_keys *t, uint32_t key, uint64_t prompt, uint64_t made);
const sr_keystat *sr_keys_stat(const sr_keys *t, uint32_t key);
uint32_t      sr_keys_count(const sr_keys *t);
#endif
