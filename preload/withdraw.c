/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection that does not pay any more goes back to plain TCP, for a while: see admission.h for when.
 *
 * The end sends WIRE_WITHDRAW, without its fd; the helper pins the pair, so that all passes, and takes both ends out once what
 * was redirected is read and nobody is inside a call (fact 19a). A sender that streams is nearly always inside one, so it pauses
 * for a moment, in which the reader catches up, and goes on pinned if that was not enough. Then each owner finds CELL_TAKEN_OUT:
 *
 *	LEAVING -> LEFT      this end wanted it: it keeps away, then offers when its traffic pays again
 *	ARMED   -> LEFT      the helper wanted it, because the pair mostly passed
 *	ARMED   -> OFFERED   the peer wanted it: the offer stands, and is matched when the peer comes again
 *	PINNED  -> REFUSED   this end had to leave and could not at the time: never again
 *
 * Of an end whose session is over, because the helper was restarted, nobody tells: CELL_ORPHANED. It looks for itself, every TURNS_LOOK.
 *
 * The accounts (invariant 8) are in the ledger until nobody of the process is inside a call that began with it: a thread
 * asleep in recv adds to them when it wakes. If there is one now, the ledger stays attached, and is given up at the next join, at
 * which nobody is inside anyhow. What was redirected is taken off then: the kernel's count does not have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../helper/wire/wire.h"
#include "clock.h"
#include "config.h"
#include "endpoint.h"
#include "ledger.h"
#include "libc.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "raw_syscall.h"
#include "real.h"
#include "threads.h"
#include "window.h"

#define SPILLS_JUDGED_BYTES (64u << 20)
/* An event loop has others to serve. */
#define PAUSE_BLOCKING_US 5000
#define PAUSE_NONBLOCKING_US 1000
#define PAUSES_MAX 8u
#define TURNS_AWAY 8u /* before an end joins again whose peer wanted to leave */

static uint32_t turns_wanted(const struct conn *conn)
{
	return admission_turns(config.admit_turns ? config.admit_turns : 1, conn->admission.setbacks);
}

/* A window of writes of middle size: it depends, unless the reader is on the same CPU. */
static void doubtful_window(struct conn *conn, uint32_t state)
{
	struct ledger_cell *ledger = atomic_load(&conn->ledger);
	bool joined = state == CONN_ARMED && ledger, was_measured = conn->throughput.plain_rate != 0;
	/* After a stay both may count for a while: is_unsettled. */
	uint64_t bytes = atomic_load(&conn->sent) + (ledger ? atomic_load(&ledger_own(conn, ledger)->sent) : 0);

	if (state == CONN_LEAVING)
		conn->admission.wants_out = REASON_SPILLS;
	if (state == CONN_LEAVING || (joined && !ledger_cpu_is_other(&ledger_peer(conn, ledger)->read_cpu)))
		return;
	enum throughput_says says = throughput_window(&conn->throughput, joined, bytes, (uint32_t)clock_us());
	if (says == THROUGHPUT_JOINED)
		conn->admission.is_doubted = false;
	if (!joined || says == THROUGHPUT_MEASURING || says == THROUGHPUT_JOINED)
		return;
	conn->admission.to_measure = says == THROUGHPUT_ANEW && was_measured;
	conn->admission.is_doubted = !conn->admission.to_measure;
	conn->admission.wants_out = REASON_SPILLS;
}

void lifecycle_window(struct conn *conn)
{
	uint32_t state = conn_state(conn), earliest = conn->turns + turns_wanted(conn);
	enum admission_window window = admission_window(&conn->admission);

	if (config.eager || window == ADMISSION_PAYS)
		return;
	if (window == ADMISSION_DOUBTFUL) {
		doubtful_window(conn, state);
		return;
	}
	if (state == CONN_OFFERED || state == CONN_ARMED || state == CONN_LEAVING)
		conn->admission.wants_out = REASON_SMALL_WRITES;
	else if ((state == CONN_WATCHING || state == CONN_LEFT) && conn->retry_at_turn < earliest)
		conn->retry_at_turn = earliest;
}

/* How a sender of huge writes does that spills: it begins by filling TCP's buffers, and whether it comes back from there shows later. Of
 * what it has sent since it joined, TCP was given at most the half; or there was not much yet. */
static bool may_pay_all_the_same(struct conn *conn, int fd)
{
	struct ledger_cell *ledger = atomic_load(&conn->ledger);
	uint64_t sent = ledger ? atomic_load(&ledger_own(conn, ledger)->sent) : 0;
	uint64_t before = atomic_load(&conn->sent);

	return ledger && (!conn->admission.sends || admission_is_bulk(&conn->admission)) &&
	       (sent < SPILLS_JUDGED_BYTES || (endpoint_bytes_sent(fd) - before) * 2 <= sent);
}

void lifecycle_spilled(struct conn *conn, int fd)
{
	if (conn_state(conn) != CONN_ARMED || ++conn->admission.spills < ADMISSION_SPILLS_MAX)
		return;
	if (may_pay_all_the_same(conn, fd)) {
		conn->admission.spills = 0;
		return;
	}
	conn->admission.to_measure = false;
	conn->admission.wants_out = REASON_SPILLS;
}

/* Until it is out, but not for long. */
static void pause_sending(struct conn *conn, struct memory_cell *cell, int fd)
{
	int flags = real_fcntl(fd, F_GETFL);
	bool blocks = flags >= 0 && !(flags & O_NONBLOCK);
	int64_t deadline_us = clock_us() + (blocks ? PAUSE_BLOCKING_US : PAUSE_NONBLOCKING_US);

	if (conn->admission.pauses >= PAUSES_MAX)
		return;
	conn->admission.pauses++;
	for (;;) {
		uint32_t status = atomic_load(&cell->status);
		int64_t left_us = deadline_us - clock_us();
		struct timespec left = { .tv_nsec = left_us * 1000 };

		if ((status & CELL_TAKEN_OUT) || left_us <= 0)
			return;
		/* A handler of the application's may have run (EINTR): it must not wait longer for us than it would have. */
		if (raw_syscall(SYS_futex, &cell->status, FUTEX_WAIT, status, &left, NULL, 0) != 0 && errno == EINTR)
			return;
	}
}

void lifecycle_withdraw(struct conn *conn, int fd)
{
	struct memory_cell *cell = atomic_load(&conn->cell);
	enum sm_reason reason = conn->admission.wants_out;
	uint32_t state = conn_state(conn), offered = CONN_OFFERED, armed = CONN_ARMED;
	struct wire_pin message = { .cookie = conn->cookie, .reason = reason };
	struct session_memory *memory;

	conn->admission.wants_out = 0;
	/* Another session: the end was joined by a parent, or under a helper that is gone. It stays. */
	if (!cell || conn->session_epoch != channel_epoch())
		return;
	if (state == CONN_ARMED && !(atomic_load(&cell->status) & CELL_ARMED))
		return; /* likewise, and this session's cell came later */
	if (state == CONN_OFFERED && atomic_compare_exchange_strong(&conn->state, &offered, CONN_WATCHING)) {
		lifecycle_forget(conn);
		conn->retry_at_turn = conn->turns + turns_wanted(conn);
		conn_state_set(conn, CONN_WATCHING, reason);
		return;
	}
	if (state == CONN_LEAVING)
		pause_sending(conn, cell, fd);
	if (channel_session(&memory, 0) != CHANNEL_READY || conn->session_epoch != channel_epoch())
		return;
	if (state != CONN_ARMED || !(channel_features() & WIRE_FEATURE_WITHDRAW))
		return;
	wire_header_init(&message.header, WIRE_WITHDRAW, sizeof(message), conn->index,
			 conn->generation & CELL_GENERATION_MASK);
	if (channel_send(&message, sizeof(message), -1) == 0 &&
	    atomic_compare_exchange_strong(&conn->state, &armed, CONN_LEAVING)) {
		conn_state_set(conn, CONN_LEAVING, reason);
		pause_sending(conn, cell, fd);
	}
}

void lifecycle_accounts_settle(struct conn *conn, const struct memory_cell *cell)
{
	if (!conn->admission.is_unsettled)
		return;
	conn->admission.is_unsettled = false;
	ledger_detach(conn);
	atomic_fetch_sub(&conn->sent, cell->redirected_out);
	atomic_fetch_sub(&conn->received, cell->redirected_in);
}

/* Nobody is in a call that began while it was in the sockhash, in this process or another, and nobody else can put it there again: its calls
 * are plain TCP's, as if it had never been there. */
static bool is_as_new(struct conn *conn)
{
	return libc_single_threaded() && conn->fork_count == fork_count() && atomic_load(&conn->fds) == 1 &&
	       !atomic_load(&conn->given_away) && !atomic_load(&conn->adopted) && !atomic_load(&conn->owed_error) &&
	       !conn->admission.is_unsettled && !lifecycle_is_lent(conn);
}

void lifecycle_taken_out(struct conn *conn, int fd, struct memory_cell *cell)
{
	uint32_t before = conn_state(conn), generation = atomic_load(&conn->generation);
	enum sm_reason why = before == CONN_LEAVING || before == CONN_PINNED ? conn->reason : cell->reason;
	enum conn_state next = CONN_OFFERED;
	bool is_inherited = conn->session_epoch != channel_epoch();

	if (!lifecycle_joining_begin(conn, before))
		return;
	conn->admission.is_unsettled = true;
	window_restore(conn, fd);
	if (!threads_others_inside(conn->index))
		lifecycle_accounts_settle(conn, cell);
	/* Not what the process that forked this one is to find. */
	if (!is_inherited)
		atomic_fetch_and(&cell->status, ~(uint32_t)(CELL_TAKEN_OUT | CELL_ARMED | CELL_PINNED));
	if (before == CONN_PINNED) {
		next = CONN_REFUSED;
	} else if (before == CONN_LEAVING || why == REASON_SPILLS) {
		next = CONN_LEFT;
		admission_left(&conn->admission,
			       why != REASON_SPILLS                  ? ADMISSION_STREAM
			       : conn->admission.to_measure          ? ADMISSION_MEASURES
			       : before != CONN_LEAVING              ? ADMISSION_PASSES
			       : admission_is_bulk(&conn->admission) ? ADMISSION_SPILLS_BULK
								     : ADMISSION_SPILLS,
			       admission_now_ms());
		conn->retry_at_turn = conn->turns + turns_wanted(conn);
	} else if (is_inherited) { /* so was the offer */
		next = CONN_WATCHING;
		conn->retry_at_turn = conn->turns + turns_wanted(conn);
	} else {
		conn->join_at_turn = conn->turns + TURNS_AWAY;
		conn->retry_at_turn = conn->turns + TURNS_HELPER_CHECK;
	}
	if (next != CONN_OFFERED)
		lifecycle_forget(conn);
	if (next == CONN_LEFT && is_as_new(conn))
		atomic_store(&conn->touched, 0);
	lifecycle_joining_end(conn, generation, next, why);
}

static bool is_orphaned(const struct conn *conn)
{
	const struct memory_cell *cell = atomic_load(&((struct conn *)conn)->cell);

	return cell && (atomic_load(&cell->status) & CELL_ORPHANED);
}

/* It was in the middle of that when it forked this process; whether it came to be joined is not told here. */
static bool is_joined_by_parent(const struct conn *conn)
{
	return conn_state(conn) == CONN_JOINED && !channel_is_own(conn->session_epoch);
}

/* Within CONN_JOINING. What the stay has redirected nobody tells: as one that came from another process, it counts anew, by what the kernel
 * says (adopt.c). */
static void count_anew(struct conn *conn, int fd)
{
	window_restore(conn, fd);
	ledger_detach(conn);
	conn->admission.is_unsettled = false;
	atomic_store(&conn->adopted, CONN_ADOPTED);
	conn->retry_at_turn = conn->turns + turns_wanted(conn);
}

bool lifecycle_was_taken_out(struct conn *conn, int fd)
{
	uint32_t before = conn_state(conn), generation = atomic_load(&conn->generation);
	struct session_memory *memory;

	if (before == CONN_PINNED || conn->turns < conn->retry_at_turn)
		return false;
	conn->retry_at_turn = conn->turns + TURNS_LOOK;
	if (channel_epoch()) /* a child that has no session need not have one for this */
		(void)channel_session(&memory, 0);
	if (!(is_orphaned(conn) || is_joined_by_parent(conn)) || queue_may_be_joined(fd) ||
	    !lifecycle_joining_begin(conn, before))
		return false;
	bool alone = !threads_others_inside(conn->index);
	if (alone)
		count_anew(conn, fd);
	lifecycle_joining_end(conn, generation, alone ? CONN_WATCHING : (enum conn_state)before,
			      alone ? REASON_WATCHING : conn->reason);
	return alone;
}

static void orphan(const struct conn *conn, struct memory_cell *cell)
{
	uint32_t status = atomic_load(&cell->status);

	while (cell_word_generation(status) == (conn->generation & CELL_GENERATION_MASK) &&
	       !atomic_compare_exchange_weak(&cell->status, &status, status | CELL_ORPHANED))
		;
}

void lifecycle_session_over(uint32_t epoch)
{
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t fd = 0; epoch && fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);
		struct memory_cell *cell = conn && conn->session_epoch == epoch ? atomic_load(&conn->cell) : NULL;

		if (cell)
			orphan(conn, cell);
	}
}
