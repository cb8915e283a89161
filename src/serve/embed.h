/* embed.h - requests for vectors of texts: read, posted text by text, answered when all are there.
 *
 *     POSTED --text i is done: the next one is posted--> .. --all--> answered, whole or as it is taken
 *
 * A call of this kind has parts (a request of the port each) and no lanes.  At most twice as many are posted as the engine computes
 * at once, so that a long list fills neither its queue nor the rings, and others get their turn.  A long answer is written as
 * the client takes it; all vectors are there by then, so that what fails still has a status.
 *
 * Threads: embed_in: any, with its prep; embed: the io thread.   Owns: the call owns its vectors.
 * Errors:  sr_apierr; a text that is too long is named by its index.
 * Source:  OpenAI API reference (embeddings); ollama docs/api.md.
 */
#ifndef SR_SERVE_EMBED_H
#define SR_SERVE_EMBED_H
#include "serve/dialect.h"

bool sr_embeddings_in(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e);
bool sr_ollama_embed_in(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e); /* both kinds: out->api */

bool sr_embed_post(sr_call *k, sr_apierr *e);   /* the first texts */
void sr_embed_event(sr_call *k, uint32_t part, const sr_event *e);
void sr_embed_fill(sr_call *k);                 /* more of a long answer */

/* A number from -1 to 1 as decimals that read back the same. */
void sr_embed_number(sr_buf *o, float v);
void sr_embed_base64(sr_buf *o, const float *v, size_t n); /* of little-endian floats */
#endif
