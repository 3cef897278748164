/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of an end (see the design): watching, offered, joining, joined, armed, left or refused.
 *
 * None of these functions fails the application: they do what can be done within the bound and leave errno as it was.
 */
#ifndef SMACCEL_LIFECYCLE_H
#define SMACCEL_LIFECYCLE_H

#include <stdbool.h>

#include "conn.h"

/* After a successful connect() (0 or EINPROGRESS) or accept() on a TCP socket: tracks it, and joins at once when
 * SMACCEL_ADMIT=eager. */
void lifecycle_connected(int fd);
void lifecycle_accepted(int fd);

/* A TCP socket (or a raw one of that protocol) has come in a message: tracks it if it is a connection. */
void lifecycle_adopt(int fd);
/* What this program was executed with: tracks what may be in the sockhash. For the constructor. Some system calls; where there is such a
 * connection on 0, 1 or 2 the helper is waited for, bounded. */
void lifecycle_adopt_inherited(void);
/* One of those that may be in the sockhash turns out to be in none. */
void lifecycle_let_go(struct conn *conn);

/* Early occasions to open the door: the first socket() of a stream type, or listen(). */
void lifecycle_open_door(void);

/* Whether the connection has something to do before its next receive or send: a few loads. The states in which connections live come
 * first; without a jump table, for after a system call an indirect jump is predicted wrong as often as not. */
static inline bool lifecycle_due(const struct conn *conn)
{
	uint32_t state = conn_state(conn);

	if (__builtin_expect(state == CONN_WATCHING || state == CONN_LEFT, 1))
		return conn->turns >= conn->retry_at_turn;

	struct memory_cell *cell = atomic_load_explicit(&((struct conn *)conn)->cell, memory_order_acquire);
	uint32_t status = cell ? atomic_load_explicit(&cell->status, memory_order_acquire) : 0;

	if (cell && conn_cell_is_lost(conn, status))
		return conn->turns >= conn->retry_at_turn;
	if (__builtin_expect(state == CONN_ARMED, 1))
		return (status & CELL_TAKEN_OUT) || conn->admission.wants_out || conn->turns >= conn->retry_at_turn ||
		       (!atomic_load_explicit(&((struct conn *)conn)->ledger, memory_order_relaxed) && cell &&
			cell->ledger_id);
	if (state == CONN_OFFERED)
		return ((status & CELL_MATCHED) && conn->turns >= conn->join_at_turn) ||
		       conn->turns >= conn->retry_at_turn || conn->admission.wants_out;
	if (state == CONN_JOINED)
		return (status & (CELL_ARMED | CELL_TAKEN_OUT)) || conn->turns >= conn->retry_at_turn;
	if (state == CONN_LEAVING)
		return (status & CELL_TAKEN_OUT) || conn->admission.wants_out || conn->turns >= conn->retry_at_turn;
	return state == CONN_PINNED &&
	       ((status & CELL_TAKEN_OUT) || (!cell && conn->turns >= conn->retry_at_turn)); /* inherited: adopt.c */
}
/* Does it: offers, joins, attaches the ledger, takes notice of having been taken out. Waits for the helper only in a
 * join, at most CHANNEL_WAIT_MS. may_join: this is the entry of a receive, or of a send of an end that only sends. */
void lifecycle_step(struct conn *conn, int fd, bool may_join);

/* A window of sends is over (admission.h): an end for which it does not pay leaves, or does not come in, at its next call. */
void lifecycle_window(struct conn *conn);
/* A send on fd found no room. */
void lifecycle_spilled(struct conn *conn, int fd);

/* The last fd of this process is about to be closed: takes back what is in flight (invariant 6). Called by
 * conn_fd_drop(). Returns true if the caller must shutdown(fd, SHUT_RDWR) before the real close, because a stopped
 * helper holds a duplicate. */
bool lifecycle_closing(struct conn *conn, int fd);

/* A request about the connection was given up while the helper had its fd, and has it still: the socket may be in the sockhash, for a
 * moment, whatever the state says. */
bool lifecycle_is_lent(const struct conn *conn);
/* Nobody tells any more what becomes of the connections of the session of that epoch. */
void lifecycle_session_over(uint32_t epoch);
/* The helper of the session of that epoch, and of the parent's if this process was forked, is gone; 0: that is not known. */
void lifecycle_helper_gone(uint32_t epoch);

/* The process is about to end, so that the kernel closes all it has. Bounded; async-signal-safe; a load in a process that
 * never joined anything; nothing in a vfork child. flushes: libc will write what its streams hold first. */
void lifecycle_before_exit(bool flushes);
/* It becomes another program, which closes what has FD_CLOEXEC; and did not after all. */
void lifecycle_exec_begins(void);
void lifecycle_exec_failed(void);

/* The application does something that a joined end cannot honour (option, call). Before joining: the end is refused
 * for good with that reason. Joined: it leaves, within the bound. True if the socket is now plain TCP (or never was
 * anything else), false if it could only be pinned. One that is lent is waited for, and plain even so: nothing is ever redirected
 * to it; but its sends may pass a map for as long, in pieces. */
bool lifecycle_make_plain(struct conn *conn, int fd, enum sm_reason reason);

/* The fd goes to a program or process that the shim does not see (exec, posix_spawn, SCM_RIGHTS): like make_plain, but
 * goes ahead pinned if it cannot leave. */
void lifecycle_give_away(struct conn *conn, int fd, enum sm_reason reason);
/* give_away for every tracked fd without FD_CLOEXEC; for exec. Does nothing in a vfork child. */
void lifecycle_before_exec(void);

/* A thread is in the middle of a join or an attach: waits a moment for it, unless it is this very thread. */
void lifecycle_settle(struct conn *conn);

/* pthread_atfork child handler (and detection of a raw fork): forgets session, channel and thread slots of the parent. */
void lifecycle_forked(void);

#endif
