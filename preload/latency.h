/* SPDX-License-Identifier: BSD-2-Clause */
/* Recording latencies (helper/wire/latency.h says where), for SMACCEL_GROUP and for trials.
 *
 * Off, a hook costs a load and a predicted branch. On, one clock reading a message that begins or ends an interval: on a
 * connecting end every send begins one, and the first receive after it ends it; on an accepted end every receive begins one,
 * and the first send after it ends it. One moment a connection is kept; threads that share one overwrite each other's.
 */
#ifndef SMACCEL_LATENCY_H
#define SMACCEL_LATENCY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conn.h"

void latency_init(void); /* after the configuration is read */
/* The session stands, and this is its memory; NULL: there is none (any more). */
void latency_session(struct session_memory *memory);
void latency_forked(void);

/* For the accounts of a group: a connection was opened (may wait CHANNEL_WAIT_MS for the helper, once), is closed. */
void latency_opened(struct conn *conn);
void latency_closed(const struct conn *conn);

/* hot.recording points to the word that says whether to record. */

static inline bool latency_is_on(void)
{
	_Atomic uint32_t *word = atomic_load_explicit(&hot.recording, memory_order_relaxed);

	return __builtin_expect(atomic_load_explicit(word, memory_order_relaxed) != 0, 0);
}

/* A send under way. begun_ns 0: not recorded. */
struct latency_send {
	uint64_t begun_ns;
	uint64_t before_ns; /* what the connection's moment was before */
	uint32_t generation;
};
struct latency_send latency_send_started(struct conn *conn);
void latency_send_ended(struct conn *conn, int fd, const struct latency_send *send, ssize_t result);
void latency_receive_ended(struct conn *conn, int fd);

/* Around the call itself. */
static inline struct latency_send latency_send_begin(struct conn *conn)
{
	return latency_is_on() ? latency_send_started(conn) : (struct latency_send){ 0 };
}
static inline void latency_send_end(struct conn *conn, int fd, const struct latency_send *send, ssize_t result)
{
	if (__builtin_expect(send->begun_ns != 0, 0))
		latency_send_ended(conn, fd, send, result);
}
/* After a receive that took bytes. */
static inline void latency_received(struct conn *conn, int fd)
{
	if (latency_is_on())
		latency_receive_ended(conn, fd);
}

#endif
