/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting awake before going to sleep: a wake-up of an idle CPU costs more than a message.
 *
 * Two kinds. What is known to be coming (spin_for_announced, spin_for_room) is waited for without anybody's leave: the peer is
 * at work on this connection at this very moment, on another CPU, and the wait is some microseconds. What may be coming
 * (spin_for_readable, intercept_wait.c) is waited for only where the user asked for it: SMACCEL_SPIN_US.
 *
 * Both learn from each wait, in a history of their own: where looking brought nothing it is done less and less often, and no
 * longer than several times as long as it took where it brought something. A thread that finds itself without a CPU
 * for a while in the middle of it concludes that others need the CPU, and leaves it to them.
 */
#ifndef SMACCEL_SPIN_H
#define SMACCEL_SPIN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "conn.h"

/* One look. Positive: what was waited for is here; negative: it is of no use to wait on; 0: not yet. */
typedef int (*spin_look)(void *context);

/* Looks until that says something, for `limit_ns` at the most. The answer of the last look, 0 also if it did not look at all. */
int spin_until(struct spin_history *history, int64_t limit_ns, spin_look look, void *context);

/* Whether a receive, for which bytes are announced from another CPU, is worth spin_for_announced(): it is when it would sleep. What
 * the fd said is believed for a while; a receive of a non-blocking fd would pay poll(2) and fcntl(2) each time for nothing. */
static inline bool spin_may_help(struct conn *conn, int flags)
{
	struct spin_history *history = &conn->announced;

	if (flags & MSG_DONTWAIT)
		return false;
	if (history->trusted == 0 || history->sleeps)
		return true;
	history->trusted--;
	return false;
}

/* The peer's wrapper is inside a send whose bytes are not here yet. True: the fd is readable now. */
bool spin_for_announced(struct conn *conn, struct ledger_cell *ledger, int fd);
/* The peer is reading what keeps this sender from sending on (ledger_should_pace). True: there is room now. */
bool spin_for_room(struct conn *conn, struct ledger_cell *ledger, size_t bytes);

/* SMACCEL_SPIN_US: before a blocking receive sleeps. True: the fd is readable now. */
bool spin_for_readable(struct conn *conn, struct ledger_cell *ledger, int fd);

/* The thread's own waits on many fds. Whether it has received from an armed end since some waits: then its next wait may be for
 * one, too. spin_thread_used() is called at each such receive. */
extern __thread struct spin_thread {
	struct spin_history history;
	uint32_t waits_left; /* waits since the last receive that still count as ours */
} spin_thread __attribute__((tls_model("initial-exec")));
void spin_thread_used(void);

#endif
