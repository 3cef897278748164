/* SPDX-License-Identifier: BSD-2-Clause */
/* The way back to plain TCP: see lifecycle.h. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "../helper/wire/wire.h"
#include "clock.h"
#include "closing.h"
#include "config.h"
#include "fork.h"
#include "held.h"
#include "ledger.h"
#include "lifecycle_internal.h"
#include "log.h"
#include "real.h"
#include "stops.h"
#include "threads.h"
#include "turn.h"
#include "window.h"

/* All the leaves of one exec together wait no longer than this. A process under a quota has used it up by being throttled. */
#define EXEC_BUDGET_MS 100
/* And so often for room in the session's queue, for those that cannot be waited for. */
#define ROOM_TRIES 100
#define ROOM_STEP_NS 1000000

static void retire(struct conn *conn, uint64_t cookie)
{
	struct wire_retire message = { .cookie = cookie };

	if (!conn->cell || conn->session_epoch != channel_epoch())
		return;
	wire_header_init(&message.header, WIRE_RETIRE, sizeof(message), conn->index,
			 conn->generation & CELL_GENERATION_MASK);
	channel_send(&message, sizeof(message), -1);
}

void lifecycle_retire(struct conn *conn)
{
	retire(conn, conn->cookie);
}

void lifecycle_forget(struct conn *conn)
{
	retire(conn, 0);
}

/* The helper pins at once, and may say later than we wait that it could not do more. */
static bool says_pinned(struct conn *conn)
{
	struct memory_cell *cell = atomic_load(&conn->cell);

	return cell && (atomic_load(&cell->status) & CELL_PINNED);
}

/* Of these the call fails that wanted it if the end is still in the sockhash. */
int lifecycle_leave_wait_ms(uint32_t reason)
{
	bool fails = reason == REASON_OOB || reason == REASON_ZEROCOPY || reason == REASON_OPTION ||
		     reason == REASON_LOWAT || reason == REASON_ULP;

	return fails ? CHANNEL_WAIT_LONG_MS : CHANNEL_WAIT_MS;
}

/* CELL_DONE when the helper has taken the pair out, CELL_REFUSED when it could only pin it; else nothing is known. */
static enum cell_state leave(struct conn *conn, int fd, enum sm_reason reason, bool *pinned_out)
{
	struct wire_pin message = { .cookie = conn->cookie, .reason = reason };
	struct memory_cell *before = conn_cell(conn);
	uint32_t epoch = conn->session_epoch, generation = conn->generation;
	struct session_memory *memory;

	/* A forked child has a session, and a cell, of its own: for the answer. */
	if (channel_session(&memory, lifecycle_leave_wait_ms(reason)) != CHANNEL_READY ||
	    !lifecycle_bind_cell(conn, memory))
		return CELL_ABANDONED;
	wire_header_init(&message.header, WIRE_LEAVE, sizeof(message), conn->index,
			 conn->generation & CELL_GENERATION_MASK);
	enum cell_state result = lifecycle_request(conn, fd, &message, sizeof(message));
	*pinned_out = says_pinned(conn);
	/* Who receives goes on to claim where the other processes that have it do (reader.h), answered or not. */
	if (before && !channel_is_own(epoch) && conn->generation == generation) {
		conn->session_epoch = epoch;
		atomic_store(&conn->cell, before);
	}
	return result;
}

bool lifecycle_make_plain(struct conn *conn, int fd, enum sm_reason reason)
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	struct memory_cell *cell = atomic_load(&conn->cell);
	uint32_t state = conn_state(conn);
	bool plain = true, lent = false;

	if (fork_in_vfork_child())
		goto out;
	conn->retry_at_turn = conn->turns;
	if (lifecycle_in_sockhash(state) && lifecycle_was_taken_out(conn, fd))
		state = conn_state(conn);
	/* Another child of the process that forked this one has had it taken out, or the helper, and its owner has made no call since. */
	struct memory_cell *told = lifecycle_in_sockhash(state) ? conn_cell(conn) : NULL;
	if (told && (atomic_load(&told->status) & CELL_TAKEN_OUT)) {
		lifecycle_taken_out(conn, fd, told);
		state = conn_state(conn);
	}
	if (state == CONN_JOINING && cell) {
		channel_abandon(cell, conn->index, conn->generation & CELL_GENERATION_MASK, &lent);
		for (int i = 0; i < 4 && conn_state(conn) == CONN_JOINING; i++)
			lifecycle_settle(conn);
		state = conn_state(conn);
	}
	if (lifecycle_in_sockhash(state)) {
		ledger_inherit(conn);
		bool is_pinned = false;
		enum cell_state result = leave(conn, fd, reason, &is_pinned);
		/* Another thread was asking, and has been answered. */
		if (result == CELL_ABANDONED && conn_state(conn) == CONN_REFUSED)
			goto out;
		plain = result == CELL_DONE;
		atomic_store(&conn->not_pinned, result == CELL_ABANDONED && !is_pinned);
		if (plain)
			ledger_detach(conn);
		conn_state_set(conn, plain ? CONN_REFUSED : CONN_PINNED, reason);
		/* Pinned: no room is wanted any more, and another process may go on with it. */
		window_restore(conn, fd);
	} else if (state == CONN_REFUSED) {
		lifecycle_wait_lent(conn, fd, 0); /* it has been waited for */
	} else if (state != CONN_FREE) {
		if (state == CONN_OFFERED)
			lifecycle_forget(conn);
		conn_state_set(conn, CONN_REFUSED, reason);
		lifecycle_wait_lent(conn, fd, CHANNEL_WAIT_MS);
	}
out:
	lifecycle_quiet_end(quiet);
	return plain;
}

void lifecycle_give_away(struct conn *conn, int fd, enum sm_reason reason)
{
	atomic_store(&conn->given_away, 1);
	/* Others will read and write past this process's accounts: the peer must not trust them any more. */
	if (!lifecycle_make_plain(conn, fd, reason))
		ledger_detach(conn);
}

/* What there is no time for, or no answer, is asked for all the same: the helper pins it when it comes to that, and takes it out once it is
 * read. The end of this session without the fd, which a helper that is stopped would keep open; another it knows by nothing else, and is
 * not asked while it is silent. False: it cannot be asked. */
static bool leave_unwaited(struct conn *conn, int fd, int *tries)
{
	bool is_own = conn_cell(conn) && conn->session_epoch == channel_epoch();
	struct wire_pin message = { .cookie = conn->cookie, .reason = REASON_EXEC };
	struct timespec step = { .tv_nsec = ROOM_STEP_NS };
	struct session_memory *memory;
	int error;

	if (is_own ? !(channel_features() & WIRE_FEATURE_WITHDRAW) : channel_session(&memory, 0) != CHANNEL_READY)
		return false;
	wire_header_init(&message.header, is_own ? WIRE_WITHDRAW : WIRE_PIN, sizeof(message), conn->index,
			 conn->generation & CELL_GENERATION_MASK);
	while ((error = channel_send(&message, sizeof(message), is_own ? -1 : fd)) == -EAGAIN && --*tries > 0)
		nanosleep(&step, NULL);
	return error == 0;
}

/* For a program that may have no shim: plain TCP, or at least pinned. */
static void give_to_program(struct conn *conn, int fd, bool in_time, int *tries)
{
	bool may_narrow = channel_is_own(conn->session_epoch) || fd <= STDERR_FILENO; /* else it is the parent's */

	if (in_time)
		lifecycle_give_away(conn, fd, REASON_EXEC);
	uint32_t state = conn_state(conn);
	if (!lifecycle_in_sockhash(state))
		return;
	if (state != CONN_PINNED || atomic_load(&conn->not_pinned)) {
		if (!leave_unwaited(conn, fd, tries) && may_narrow)
			closing_stop_redirects(conn, fd);
		atomic_store(&conn->not_pinned, 1);
		conn_state_set(conn, CONN_PINNED, REASON_EXEC);
	}
	ledger_inherit(conn);
	ledger_detach(conn);
	window_restore(conn, fd);
}

void lifecycle_before_exec(void)
{
	if (!conn_table() || fork_in_vfork_child())
		return;
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	int64_t deadline_ms = clock_ms() + EXEC_BUDGET_MS;
	uint32_t high = atomic_load(&conn_fd_high);
	int tries = ROOM_TRIES;

	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn || (real_fcntl((int)fd, F_GETFD) & FD_CLOEXEC)) /* also -1: closed behind our back */
			continue;
		atomic_store(&conn->given_away, 1);
		if (!lifecycle_in_sockhash(conn_state(conn)))
			continue;
		if (lifecycle_is_as_received(conn))
			window_restore(conn, (int)fd);
		else
			give_to_program(conn, (int)fd, clock_ms() <= deadline_ms, &tries);
	}
	lifecycle_quiet_end(quiet);
}

void lifecycle_forked(void)
{
	held_forked();
	threads_forked();
	turn_forked();
	lifecycle_parent_epoch = channel_epoch();
	channel_forked();
	stops_forked();
	if (!conn_table())
		return;
	uint32_t high = atomic_load(&conn_fd_high);
	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);
		uint32_t state = conn ? conn_state(conn) : CONN_FREE;

		if (conn)
			ledger_forked(conn);
		/* A join under way is the parent's, and goes on: the socket may be in the sockhash at any moment, or be there. */
		if (state == CONN_JOINING) {
			conn_touch(conn); /* it may not have come to that */
			conn->retry_at_turn = conn->turns + TURNS_LOOK;
			atomic_store(&conn->state, CONN_JOINED);
		}
		if (state != CONN_OFFERED)
			continue;
		/* So is an offer. An armed end goes on as it is: its ledger is shared, and its cell in the parent's session still says
		 * what the helper did with it. */
		atomic_store(&conn->cell, NULL);
		conn->retry_at_turn = conn->turns + config.admit_turns;
		atomic_store(&conn->state, CONN_WATCHING);
	}
}
