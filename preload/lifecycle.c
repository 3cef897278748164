/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of an end, up to armed: see lifecycle.h. offer.c has the offer, leave.c and withdraw.c the ways back.
 *
 * CONN_JOINING is also the lock of a connection: whoever swaps it in owns the connection's accounts until it swaps
 * another state in. It then proves, by membarrier and the thread slots, that no other thread of the process is inside a
 * call on the connection (invariants 3 and 8: nobody sleeps in a plain receive, and the sums are exact). A thread that comes while the
 * state is CONN_JOINING waits a moment (lifecycle_settle) and otherwise takes the path that never sleeps in recv.
 *
 * Another thread may close() the connection at any moment: then conn->cell becomes NULL, and the struct may be another connection's. So the
 * cell is loaded once in each function, and its generation says whose it is.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../helper/wire/wire.h"
#include "acknowledge.h"
#include "config.h"
#include "endpoint.h"
#include "fork.h"
#include "latency.h"
#include "ledger.h"
#include "libc.h"
#include "lifecycle_internal.h"
#include "log.h"
#include "option.h"
#include "queue.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "threads.h"
#include "transfer.h"

#define TURNS_PLAIN_ARM 256u /* as TURNS_HELPER_CHECK, in a trial: what accelerated connections do not pay */
#define TURNS_BACKOFF 8u
#define DOUBLINGS_MAX 6u        /* of that */
#define DOUBLINGS_SHARED_MAX 8u /* fewer than ATTEMPTS_MAX: what comes then is tried again, too */
#define ATTEMPTS_MAX 10u        /* transient refusals before a connection is left alone */
#define ATTACH_RETRY_CALLS 64u
#define SETTLE_NS 10000000 /* a join takes some 0.1 ms when the helper has a CPU */

/* Threads in lifecycle_settle(). Raised before the kernel looks at the state, and looked at after that was swapped: who finds 0
 * has nobody to wake. A fork or a jump out of a handler may leave it too high, which costs a system call a join. */
static _Atomic uint32_t settling;

struct lifecycle_quiet lifecycle_quiet_begin(void)
{
	struct lifecycle_quiet quiet = { .saved_errno = errno };

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &quiet.cancel_state);
	return quiet;
}

void lifecycle_quiet_end(struct lifecycle_quiet quiet)
{
	pthread_setcancelstate(quiet.cancel_state, NULL);
	errno = quiet.saved_errno;
}

static bool state_swap(struct conn *conn, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&conn->state, &from, to);
}

bool lifecycle_joining_begin(struct conn *conn, uint32_t from)
{
	if (!state_swap(conn, from, CONN_JOINING))
		return false;
	atomic_store(&conn->joiner, thread_tid());
	return true;
}

void lifecycle_joining_end(struct conn *conn, uint32_t generation, enum conn_state state, enum sm_reason reason)
{
	if (conn->generation != generation || !state_swap(conn, CONN_JOINING, state))
		return;
	conn_state_set(conn, state, reason);
	if (atomic_load(&settling))
		raw_syscall(SYS_futex, &conn->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void lifecycle_settle(struct conn *conn)
{
	struct timespec moment = { .tv_nsec = SETTLE_NS };
	int32_t joiner = atomic_load(&conn->joiner);

	if (conn_state(conn) != CONN_JOINING || joiner == 0 || joiner == thread_tid())
		return;
	int saved = errno;
	atomic_fetch_add(&settling, 1);
	/* A handler may have left the join by siglongjmp, and nobody ends it: one such wait is enough for all. */
	if (raw_syscall(SYS_futex, &conn->state, FUTEX_WAIT_PRIVATE, CONN_JOINING, &moment, NULL, 0) != 0 &&
	    errno == ETIMEDOUT)
		atomic_compare_exchange_strong(&conn->joiner, &joiner, 0);
	atomic_fetch_sub(&settling, 1);
	errno = saved;
}

enum cell_state lifecycle_request(struct conn *conn, int fd, const void *message, size_t bytes)
{
	struct memory_cell *cell = atomic_load(&conn->cell);
	uint32_t generation = ((const struct wire_header *)message)->generation;
	uint32_t word = cell ? atomic_load(&cell->word) : 0;
	int wait_ms = lifecycle_request_wait_ms(conn, fd, message);
	bool lent = false;

	/* Closed by another thread, or anew already; a request that was given up and that the helper has not cleared away
	 * yet; one of another thread. */
	if (!cell || cell_word_generation(word) != generation || cell_word_state(word) == CELL_ABANDONED ||
	    cell_word_state(word) == CELL_PENDING ||
	    !atomic_compare_exchange_strong(&cell->word, &word, cell_word(generation, CELL_PENDING)))
		return CELL_ABANDONED;
	if (channel_send(message, bytes, fd) != 0) {
		atomic_store(&cell->word, cell_word(generation, CELL_IDLE));
		return CELL_ABANDONED;
	}
	enum cell_state result = channel_wait(cell, conn->index, generation, wait_ms, &lent);
	if (lent)
		atomic_store(&conn->lent, CONN_LENT);
	return result;
}

/* Not now, or not at all. */
static void join_failed(struct conn *conn, uint32_t generation, enum conn_state before, uint32_t reason)
{
	if (reason == REASON_TRIAL_PLAIN ||
	    reason == REASON_TRIAL_STOPPED) { /* as if offered: matched when the trial is over */
		conn->retry_at_turn = conn->turns + TURNS_HELPER_CHECK;
		lifecycle_joining_end(conn, generation, CONN_OFFERED, reason);
		return;
	}
	/* Who else has it may keep it for seconds, as a child that writes a snapshot does, and then it is alone. */
	bool may_last = reason == REASON_SHARED;
	unsigned doublings = may_last ? DOUBLINGS_SHARED_MAX : DOUBLINGS_MAX;

	if (!reason_is_transient(reason) || (!may_last && conn->attempts >= ATTEMPTS_MAX)) {
		lifecycle_joining_end(conn, generation, CONN_REFUSED, reason);
		return;
	}
	uint32_t backoff = TURNS_BACKOFF << (conn->attempts < doublings ? conn->attempts : doublings);
	conn->attempts += !may_last || conn->attempts < doublings;
	conn->join_at_turn = conn->turns + backoff;
	if (before != CONN_OFFERED)
		conn->retry_at_turn = conn->turns + backoff;
	lifecycle_joining_end(conn, generation, before, reason);
}

static void attach(struct conn *conn)
{
	struct memory_cell *cell = conn_cell(conn);

	if (!cell)
		return;
	if (conn->attach_countdown > 0) {
		conn->attach_countdown--;
		return;
	}
	conn->attach_countdown = ATTACH_RETRY_CALLS;
	if (atomic_load(&conn->ledger_inherited))
		ledger_inherit(conn);
	struct ledger_cell *ledger = lifecycle_find_ledger(cell);
	uint32_t generation = conn->generation;
	if (!ledger || atomic_load(&conn->ledger_inherited) || !lifecycle_joining_begin(conn, CONN_ARMED))
		return;
	/* Once more: its place may have been taken for another (ledger.c) until the state said that one is wanted. */
	if (ledger_may_attach(conn, cell, ledger, conn->session_epoch != channel_epoch()) &&
	    !threads_others_inside(conn->index))
		ledger_attach(conn, ledger, cell->side,
			      conn->joined_forks == fork_count() ? LEDGER_EXACT : LEDGER_INEXACT);
	lifecycle_joining_end(conn, generation, CONN_ARMED, REASON_ARMED);
}

/* Another process, forked since the join began, has the socket at its end, and may send and receive past these accounts; or, in a process
 * that has forked and has threads, it may be one of those in a call. Also if the helper has not counted. */
static bool is_shared(const struct conn *conn, const struct memory_cell *cell)
{
	bool has_forked = conn->fork_count != conn->joined_forks;

	if (!cell || cell->holders == 0)
		return has_forked;
	return cell->holders > atomic_load(&((struct conn *)conn)->fds) && (has_forked || libc_single_threaded());
}

/* In CONN_JOINING, nobody inside: the accounts are exact. */
static struct wire_join describe_join(const struct conn *conn, int fd)
{
	struct wire_join message = { .cookie = conn->cookie,
				     .sent_bytes = conn->sent,
				     .received_bytes = conn->received,
				     .flags = WIRE_JOIN_INQ | WIRE_JOIN_ZEROCOPY | WIRE_JOIN_OOB_INLINE,
				     .fd_number = (uint32_t)fd };

	uint32_t fds = atomic_load(&((struct conn *)conn)->fds);

	if (atomic_load(&((struct conn *)conn)->adopted) || conn_has_option(conn, CONN_COUNTS_SYN))
		message.flags |= WIRE_JOIN_ALONE;
	else if (conn->fork_count != fork_count() && fds <= WIRE_JOIN_FDS_MAX)
		message.flags |= WIRE_JOIN_FORKED | fds << WIRE_JOIN_FDS_SHIFT;
	wire_header_init(&message.header, WIRE_JOIN, sizeof(message), conn->index,
			 conn->generation & CELL_GENERATION_MASK);
	return message;
}

/* Gives the fd to the helper and waits for the word. `before` is the state to go back to. */
static void join(struct conn *conn, int fd, enum conn_state before)
{
	struct memory_cell *cell = atomic_load(&conn->cell);
	uint32_t generation = conn->generation;
	uint8_t touched = atomic_load(&conn->touched);
	enum sm_reason reason = channel_features() & WIRE_FEATURE_OPTIONS ? REASON_NONE : option_check(fd);

	if (reason != REASON_NONE) {
		lifecycle_forget(conn);
		conn_state_set(conn, CONN_REFUSED, reason);
		return;
	}
	if (!lifecycle_joining_begin(conn, before))
		return;
	if (quiet_is_on()) { /* it came in between; quiet_begin() sees CONN_JOINING, and waits */
		lifecycle_joining_end(conn, generation, before, REASON_SECCOMP);
		return;
	}
	conn->joined_forks = fork_count(); /* before the helper compares the sums with the kernel's */
	atomic_store(&conn->touched, touched ? touched : CONN_MAY_BE_TOUCHED);
	option_ask(conn, fd);
	if (threads_others_inside(conn->index)) {
		atomic_store(&conn->touched, touched);
		conn->join_at_turn = conn->turns + 2;
		lifecycle_joining_end(conn, generation, before, REASON_BLOCKED_READER);
		return;
	}
	conn_touch(conn);
	if (cell)
		lifecycle_accounts_settle(conn, cell);
	struct wire_join message = describe_join(conn, fd);
	conn_publish(conn);
	if (cell)
		cell->holders = 0;
	switch (lifecycle_request(conn, fd, &message, sizeof(message))) {
	case CELL_DONE:
		conn->attempts = 0;
		conn->joined_forks -= is_shared(conn, cell); /* as if there had been a fork since */
		if (conn->generation == generation)
			atomic_store(&conn->adopted, CONN_NOT_ADOPTED); /* nobody else has it */
		lifecycle_joining_end(conn, generation, CONN_JOINED, REASON_JOINED);
		break;
	case CELL_REFUSED:
		reason = cell ? cell->reason : REASON_INTERNAL;
		if (option_is_reason(reason) && !threads_others_inside(conn->index))
			atomic_store(&conn->touched, touched); /* and receives are TCP's own, as the option wants it */
		join_failed(conn, generation, before, reason);
		break;
	default:
		join_failed(conn, generation, before, REASON_TIMEOUT);
		break;
	}
}

static void joined_step(struct conn *conn, int fd)
{
	struct memory_cell *cell = conn_cell(conn);
	uint32_t status = cell ? atomic_load(&cell->status) : 0;

	if (status & CELL_TAKEN_OUT)
		lifecycle_taken_out(conn, fd, cell);
	if ((status & CELL_TAKEN_OUT) || lifecycle_was_taken_out(conn, fd))
		return;
	if (conn_state(conn) == CONN_JOINED && (status & CELL_ARMED) && state_swap(conn, CONN_JOINED, CONN_ARMED)) {
		conn->attach_countdown = 0;
		acknowledge_now(conn, fd);
		admission_armed(&conn->admission, conn->turns, admission_now_ms());
		conn_state_set(conn, CONN_ARMED, REASON_ARMED);
	}
	if (conn_state(conn) == CONN_ARMED && !conn->ledger)
		attach(conn);
}

/* The cell is another connection's by now, of the process that forked this one. Who receives needs one (reader.h): of this process's
 * own session. The helper does not know it, so it says nothing there. */
static void replace_cell(struct conn *conn, uint32_t state)
{
	struct session_memory *memory;
	uint32_t generation = conn->generation;

	conn->retry_at_turn = conn->turns + TURNS_BACKOFF;
	if (channel_session(&memory, config.eager ? CHANNEL_WAIT_MS : 0) != CHANNEL_READY ||
	    !lifecycle_joining_begin(conn, state))
		return;
	if (!threads_others_inside(conn->index)) /* they have not claimed it there */
		(void)lifecycle_bind_cell(conn, memory);
	lifecycle_joining_end(conn, generation, state, conn->reason);
}

static void watching_step(struct conn *conn, int fd)
{
	uint32_t state = conn_state(conn);
	struct endpoints ends;

	if (atomic_load(&conn->adopted) == CONN_ADOPTED)
		lifecycle_count_adopted(conn, fd);
	else if (state == CONN_LEFT && !admission_may_return(&conn->admission, admission_now_ms()))
		conn->retry_at_turn = conn->turns + TURNS_BACKOFF;
	else if (!config.eager)
		lifecycle_offer(conn, fd);
	else if (lifecycle_prepare(conn, fd, &ends))
		join(conn, fd, state);
}

static void offered_step(struct conn *conn, int fd, bool may_join)
{
	struct session_memory *memory;

	if (conn->turns >= conn->retry_at_turn) {
		struct memory_cell *unmatched = atomic_load(&conn->cell);

		if (unmatched && !(atomic_load(&unmatched->status) & (CELL_MATCHED | CELL_TRIAL_PLAIN)))
			admission_judge_unmatched(&conn->admission);
		conn->retry_at_turn =
			conn->turns + (lifecycle_in_plain_arm(conn) ? TURNS_PLAIN_ARM : TURNS_HELPER_CHECK);
		enum channel_state channel = channel_session(&memory, 0);
		if (channel == CHANNEL_NONE || conn->session_epoch != channel_epoch()) {
			/* The helper that knew of the offer is gone, or does not answer: anew, later. */
			state_swap(conn, CONN_OFFERED, CONN_WATCHING);
			return;
		}
	}
	struct memory_cell *cell = atomic_load(&conn->cell);
	uint32_t status = cell ? atomic_load(&cell->status) : 0;
	if (!may_join || !(status & CELL_MATCHED) || conn->turns < conn->join_at_turn)
		return;
	if (channel_is_prompt())
		join(conn, fd, CONN_OFFERED);
	else
		conn->join_at_turn = conn->turns + TURNS_BACKOFF;
}

void lifecycle_step(struct conn *conn, int fd, bool may_join)
{
	if (quiet_is_on())
		return;
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();

	if (!fork_in_vfork_child()) {
		fork_notice();
		uint32_t state = conn_state(conn);

		if (lifecycle_in_sockhash(state) && lifecycle_lacks_cell(conn))
			replace_cell(conn, state);
		if (conn->admission.wants_out) {
			lifecycle_withdraw(conn, fd);
			state = conn_state(conn);
		}
		if (state == CONN_WATCHING || state == CONN_LEFT)
			watching_step(conn, fd);
		else if (state == CONN_OFFERED)
			offered_step(conn, fd, may_join);
		state = conn_state(conn);
		if (state == CONN_JOINED || state == CONN_ARMED || state == CONN_PINNED || state == CONN_LEAVING)
			joined_step(conn, fd);
	}
	lifecycle_quiet_end(quiet);
}

static void opened(int fd, bool accepted)
{
	struct conn *conn = conn_open(fd, accepted);

	if (conn)
		latency_opened(conn);
	if (conn && fd == STDIN_FILENO) /* as one that is put there (intercept_close.c) */
		(void)lifecycle_make_plain(conn, fd, REASON_STDIO);
	if (!conn || !config.eager)
		return;
	lifecycle_step(conn, fd, true);
	if (conn_state(conn) == CONN_WATCHING && conn->attempts == 0)
		conn->retry_at_turn = conn->turns; /* not established yet: at the first call on it */
}

void lifecycle_connected(int fd)
{
	opened(fd, false);
}

void lifecycle_accepted(int fd)
{
	opened(fd, true);
}

void lifecycle_open_door(void)
{
	if (quiet_is_on() || channel_has_door() || fork_in_vfork_child())
		return;
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();

	channel_open_door();
	lifecycle_quiet_end(quiet);
}
