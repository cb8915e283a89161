/* port_journal.h - what the askers' process remembers of live requests, so that a new engine can go on where one has died.
 *
 *     posted --(START seen)--> begun --(DONE of every choice, or an ERROR for all)--> forgotten
 *        \-- its engine died: posted again, in order        \-- its engine died: ends with an error
 *
 * A request is kept as the bytes that went into the command ring until it has begun; then its id is.
 *
 * Owns:    copies of the bytes.   Threads: the caller's lock around every call.
 * Errors:  SR_NOMEM; false or 0 as said.
 */
#ifndef SR_ENGINE_PORT_JOURNAL_H
#define SR_ENGINE_PORT_JOURNAL_H
#include "base/ring.h"
#include "engine/port.h"

typedef struct sr_journal sr_journal;
SR_MUSTUSE sr_status sr_journal_open(sr_journal **, sr_err *);
void sr_journal_close(sr_journal *);

/* A request that was put into the ring (sent), or is to be when there is an engine and room. */
bool sr_journal_add(sr_journal *, uint64_t id, uint32_t n_choices, const sr_piece *piece, size_t n, bool sent);
void sr_journal_end(sr_journal *, uint64_t id, uint32_t choice, sr_endreason reason); /* asked for */
void sr_journal_saw(sr_journal *, const sr_event *);
size_t sr_journal_bytes(const sr_journal *);  /* kept */
size_t sr_journal_waiting(const sr_journal *); /* requests that have not begun */

/* The engine has died: the next event that tells a request which had begun (ERROR, SR_DEVLOST, `why`), or which was asked to end
 * before it began (DONE), and forgets it.  False: none left; what remains is to be sent again. */
bool sr_journal_casualty(sr_journal *, const char *why, sr_event *out);
void sr_journal_rewind(sr_journal *);
const uint8_t *sr_journal_unsent(const sr_journal *, size_t *n); /* the oldest one's bytes; NULL: none */
void sr_journal_sent(sr_journal *);                              /* that one went into the ring */
#endif
