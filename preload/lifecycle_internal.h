/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the files that make up lifecycle.h. */
#ifndef SMACCEL_LIFECYCLE_INTERNAL_H
#define SMACCEL_LIFECYCLE_INTERNAL_H

#include <stddef.h>

#include "channel.h"
#include "endpoint.h"
#include "fork.h"
#include "lifecycle.h"

#define TURNS_LOOK 256u        /* of one in the sockhash: between looks whether the helper is there */
#define TURNS_HELPER_CHECK 64u /* between looks whether the helper that knows our offer still lives */

/* Makes conn->cell this connection's cell in the present session's memory. False: there is no room for it. */
bool lifecycle_bind_cell(struct conn *conn, struct session_memory *memory);

/* Sends a request about a cell (its word becomes PENDING) and waits for the end of it, bounded. The result is CELL_DONE,
 * CELL_REFUSED (cell->reason says why) or CELL_ABANDONED (no helper, time-out, closed). */
enum cell_state lifecycle_request(struct conn *conn, int fd, const void *message, size_t bytes);

/* How long the answers to WIRE_LEAVE, or to WIRE_HOLDERS and WIRE_LANDING, and the session that it takes, are waited for. */
int lifecycle_leave_wait_ms(uint32_t reason);
int lifecycle_request_wait_ms(const struct conn *conn, int fd, const void *message);
int lifecycle_holders_wait_ms(const struct conn *conn, int fd, enum wire_type type);
/* holders.c: asks one of the two. What the cell says then, or CELL_HOLDERS_UNKNOWN. */
uint32_t lifecycle_ask_holders(struct conn *conn, int fd, struct wire_holders message, enum wire_type type);

/* landing.c: the ledger that a cell names; NULL: it has not been announced. */
struct ledger_cell *lifecycle_find_ledger(const struct memory_cell *cell);

/* adopt.c: it may be in the sockhash, and what is to become of it there is up to whoever this process has it from. */
bool lifecycle_is_as_received(const struct conn *conn);
/* Another connection's by now, of the process that forked this one; or it was inherited, and none has been bound yet (adopt.c). */
static inline bool lifecycle_lacks_cell(struct conn *conn)
{
	return (atomic_load(&conn->cell) || lifecycle_is_as_received(conn)) && !conn_cell(conn);
}

/* adopt.c: asks the kernel for the accounts. In CONN_WATCHING, before a call. */
void lifecycle_count_adopted(struct conn *conn, int fd);

/* offer.c */
bool lifecycle_prepare(struct conn *conn, int fd, struct endpoints *ends);
void lifecycle_offer(struct conn *conn, int fd); /* WATCHING or LEFT -> OFFERED */

/* CONN_JOINING is the lock of a connection. True: swapped in by this thread, which ends it again (unless a close() in
 * another thread has taken the connection away meanwhile). */
bool lifecycle_joining_begin(struct conn *conn, uint32_t from);
void lifecycle_joining_end(struct conn *conn, uint32_t generation, enum conn_state state, enum sm_reason reason);

/* A trial keeps it on plain TCP: what becomes of it says nothing about its destination. */
static inline bool lifecycle_in_plain_arm(const struct conn *conn)
{
	struct memory_cell *cell = conn_cell(conn);

	return cell && (atomic_load(&cell->status) & CELL_TRIAL_PLAIN);
}

static inline bool lifecycle_in_sockhash(uint32_t state)
{
	return state == CONN_JOINED || state == CONN_ARMED || state == CONN_PINNED || state == CONN_LEAVING;
}

/* In the sockhash, or perhaps: another thread, or the one that this signal handler has interrupted, is in a join that the helper may
 * have done already, or attaches the ledger. */
static inline bool lifecycle_may_be_redirected_to(const struct conn *conn)
{
	uint32_t state = conn_state(conn);

	return lifecycle_in_sockhash(state) || state == CONN_JOINING;
}

/* The session that has it. */
static inline struct session_memory *lifecycle_session_of(struct memory_cell *cell, uint32_t index)
{
	return (struct session_memory *)((char *)(cell - index) - offsetof(struct session_memory, cells));
}

/* No other process has ever had it, as far as this one knows by itself. */
static inline bool lifecycle_never_shared(const struct conn *conn)
{
	return conn->fork_count == fork_count() && !atomic_load(&((struct conn *)conn)->given_away) &&
	       !atomic_load(&((struct conn *)conn)->adopted);
}

/* As far as this process knows by itself: nothing was forked since the connection was opened, or since it joined, when the helper counted
 * nobody else who had the socket. */
static inline bool lifecycle_alone_by_forks(const struct conn *conn)
{
	uint32_t forks = fork_count();

	return !atomic_load(&((struct conn *)conn)->given_away) && !atomic_load(&((struct conn *)conn)->adopted) &&
	       (conn->fork_count == forks || (conn->joined_forks == forks && lifecycle_in_sockhash(conn_state(conn))));
}

/* holders.c: of the session that the parent had when it forked this process; 0: none. */
extern uint32_t lifecycle_parent_epoch;

/* lent.c: what is in flight to the helper is taken back; if it cannot be, conn->lent says so. */
void lifecycle_take_back(struct conn *conn);
/* Until it has come back from the helper; from one that is gone it has if it is in no sockhash. */
void lifecycle_wait_lent(struct conn *conn, int fd, int wait_ms);
/* For the end of a connection that nobody else has: where the helper has a duplicate of fd all the same, and close() would reset the
 * connection (`resets`: for redirected bytes that are lost), resets it. True if the caller must shutdown(fd, SHUT_RDWR) instead. */
bool lifecycle_end_lent(struct conn *conn, int fd, bool resets);

/* A thread other than the caller is in a call on it: close() would end nothing before that returns. */
bool lifecycle_others_call(struct conn *conn);

/* leave.c: the helper forgets the offer; because the connection is being closed, or else. */
void lifecycle_retire(struct conn *conn);
void lifecycle_forget(struct conn *conn);

/* withdraw.c: acts on admission.wants_out; and takes notice of CELL_TAKEN_OUT. */
void lifecycle_withdraw(struct conn *conn, int fd);
void lifecycle_taken_out(struct conn *conn, int fd, struct memory_cell *cell);
/* Looks now and then whether the helper is still there, and, of one that is orphaned, whether it is in a sockhash. False: it is, or may be.
 * Otherwise it is watched. */
bool lifecycle_was_taken_out(struct conn *conn, int fd);
/* Within CONN_JOINING, nobody inside: the accounts after a stay, as the kernel counts. */
void lifecycle_accounts_settle(struct conn *conn, const struct memory_cell *cell);

/* Nothing between these two is a cancellation point; errno is kept. */
struct lifecycle_quiet {
	int saved_errno;
	int cancel_state;
};
struct lifecycle_quiet lifecycle_quiet_begin(void);
void lifecycle_quiet_end(struct lifecycle_quiet quiet);

#endif
