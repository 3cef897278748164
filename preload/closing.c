/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a connection: its last fd is closed, or the process ends.
 *
 * TCP answers a close() with bytes unread by a reset, so that the peer learns of it. Of redirected bytes the kernel knows nothing
 * then, and sends FIN (fact 20). SO_LINGER with 0 gives the reset; but whoever holds the socket beside this process would be
 * hit by it, so that must be the last one. Who tells:
 *
 *	the kernel's count of references, through the helper    forked, spawned and other children (those of system() and popen()
 *	(WIRE_HOLDERS), asked if such bytes are unread, or      too), fds passed on, in flight, or never seen by a wrapper
 *	after a fork if any may come
 *	threads.h, held.h                                       calls of this process's own threads that do not sleep in the
 *	                                                        kernel just now, and duplicates: they count as references, too
 *	the cell in the session of the process that forked      it shows there what that process still holds: a child that closes
 *	this one                                                all that is not its own, or becomes another program, need not ask
 *	the count of forks                                      if the helper does not answer; and then never after a fork, but for one
 *	                                                        before it joined and the helper counted who has it: then the helper
 *	                                                        is waited for longer (CHANNEL_WAIT_LONG_MS)
 *
 * Between that look and the kernel's close a send could still redirect, or while another thread's send sleeps on the closed file. So
 * before the look the receive buffer is made so small that the gate redirects nothing any more (fact 12b): what comes later is
 * TCP's, which answers it by a reset. Not where another process has the socket: after a fork the helper is asked before that, which
 * makes a close that meets an open peer 25 us longer. What has passed the gate by then is waited for (landing.c).
 *
 * When a process ends, its threads may still be at work; what is decided then holds for what is unread at that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../helper/wire/wire.h"
#include "clock.h"
#include "endpoint.h"
#include "fork.h"
#include "held.h"
#include "landing.h"
#include "ledger.h"
#include "lifecycle_internal.h"
#include "log.h"
#include "queue.h"
#include "quiet.h"
#include "real.h"
#include "threads.h"

/* For a holder that closes at the same time, or is on its way to its end. */
#define CLOSING_TRIES 7
#define CLOSING_STEP_NS 500000     /* the first; each is twice the one before: 32 ms together */
#define CHILD_CLOSES_MS 50         /* so long a child is believed to be on its way */
#define CLOSING_RCVBUF_BYTES 65535 /* the kernel doubles it: the most that the gate takes for too small */
/* All the questions of a process that ends together; and those that only the helper can answer: for a session, the first answer, which
 * may both be late, and the others. */
#define EXIT_BUDGET_MS CHANNEL_WAIT_MS
#define EXIT_BUDGET_LONG_MS (2 * CHANNEL_WAIT_LONG_MS)

uint32_t lifecycle_parent_epoch;

static struct session_memory *session_of_cell(struct memory_cell *cell, uint32_t index)
{
	return (struct session_memory *)((char *)(cell - index) - offsetof(struct session_memory, cells));
}

/* A child that this process forked is closing its copy. */
static bool child_closes(struct conn *conn, struct memory_cell *cell, uint32_t shown)
{
	return (shown & CELL_CHILD_CLOSES) &&
	       (uint32_t)clock_ms() - atomic_load(&session_of_cell(cell, conn->index)->child_closes_ms) <
		       CHILD_CLOSES_MS;
}

static uint32_t child_asks(const struct conn *conn)
{
	return cell_word(conn->generation, CELL_CHILD_ASKS);
}

/* This process was forked, and the connection is open in its parent, as far as that one's wrappers know: so it is not the last
 * that closes it, and the parent, should it close too, finds a mark that it is worth waiting for this process. If the parent
 * is at it already there is no mark, and it is this process that asks and waits: never both, for it says so to a parent that waits for
 * the mark of another child. */
static bool parent_holds(const struct conn *conn)
{
	struct memory_cell *cell = atomic_load(&((struct conn *)conn)->cell);
	uint32_t shown = cell ? atomic_load(&cell->shown) : 0, nothing = 0;

	if (!cell || conn->session_epoch != lifecycle_parent_epoch || !fork_parent_lives() || fork_files_are_shared())
		return false;
	atomic_store(&session_of_cell(cell, conn->index)->child_closes_ms, (uint32_t)clock_ms());
	do {
		if (cell_word_state(shown & ~CELL_CHILD_MARKS) == CONN_FREE) {
			atomic_compare_exchange_strong(&cell->shown, &nothing, child_asks(conn));
			return false;
		}
		if (cell_word_generation(shown) != (conn->generation & CELL_GENERATION_MASK))
			return false;
	} while (!atomic_compare_exchange_weak(&cell->shown, &shown, shown | CELL_CHILD_CLOSES));
	return true;
}

/* In the sockhash, or perhaps: another thread, or the one that this signal handler has interrupted, is in a join that the helper may
 * have done already, or attaches the ledger. */
static bool may_be_redirected_to(const struct conn *conn)
{
	uint32_t state = conn_state(conn);

	return lifecycle_in_sockhash(state) || state == CONN_JOINING;
}

uint32_t lifecycle_ask_holders(struct conn *conn, int fd, struct wire_holders message, enum wire_type type)
{
	uint32_t feature = type == WIRE_LANDING ? WIRE_FEATURE_LANDING : WIRE_FEATURE_HOLDERS;
	struct session_memory *memory;

	if (channel_session(&memory, lifecycle_holders_wait_ms(conn, fd, type)) != CHANNEL_READY ||
	    !(channel_features() & feature))
		return CELL_HOLDERS_UNKNOWN;
	if (!lifecycle_bind_cell(conn, memory)) /* one that was inherited or passed has none in this session */
		return CELL_HOLDERS_UNKNOWN;
	message.cookie = conn->cookie;
	wire_header_init(&message.header, type, sizeof(message), conn->index, conn->generation & CELL_GENERATION_MASK);
	if (lifecycle_request(conn, fd, &message, sizeof(message)) != CELL_DONE)
		return CELL_HOLDERS_UNKNOWN;
	struct memory_cell *cell = atomic_load(&conn->cell);
	return cell ? cell->holders : CELL_HOLDERS_UNKNOWN;
}

/* Beside `own` fds of this process, and the duplicates by which its calls go on. */
static uint32_t ask_for_others(struct conn *conn, int fd, uint32_t own, bool is_final)
{
	uint32_t duplicates = held_duplicates(conn);
	uint32_t others = lifecycle_ask_holders(
		conn, fd, (struct wire_holders){ .own = own + duplicates, .is_final = is_final }, WIRE_HOLDERS);

	if (held_duplicates(conn) == duplicates)
		return others;
	return is_final ? CELL_HOLDERS_UNKNOWN : CELL_HOLDERS_CLOSING;
}

/* A child of this process has it, perhaps, but only until it executes its program. */
static bool goes_with_exec(int fd)
{
	return fork_programs_begin() && (real_fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* Calls of this process's threads. One that is at work in the kernel, or has no CPU there, has a reference that the helper cannot tell
 * from another process's; it is soon back, or asleep, which the helper counts. */
static uint32_t own_calls(const struct conn *conn)
{
	return threads_count_inside(conn->index) + held_references(conn);
}

/* Nobody else has the socket but for `own` fds of this process, which it is about to close. */
static bool is_alone(struct conn *conn, int fd, uint32_t own)
{
	struct memory_cell *cell = conn->session_epoch == channel_epoch() ? atomic_load(&conn->cell) : NULL;
	struct timespec step = { .tv_nsec = CLOSING_STEP_NS };
	uint32_t others = CELL_HOLDERS_CLOSING;
	bool may_be_own = false;
	/* Before it asks: a child that looks from now on does not rely on this process. */
	bool worth_waiting = cell && child_closes(conn, cell, atomic_exchange(&cell->shown, 0));

	for (int i = 0; i < CLOSING_TRIES; i++, step.tv_nsec *= 2) {
		if (i > 0)
			nanosleep(&step, NULL);
		/* A call that the helper has counted may be over by now, and another have begun. */
		uint32_t calls_before = own_calls(conn);
		others = ask_for_others(conn, fd, own, i == CLOSING_TRIES - 1);
		may_be_own = others <= calls_before || others <= own_calls(conn);
		uint32_t shown = cell ? atomic_load(&cell->shown) : 0;
		worth_waiting = shown != child_asks(conn) && (worth_waiting || child_closes(conn, cell, shown));
		if (others == 0 || others == CELL_HOLDERS_UNKNOWN ||
		    (others != CELL_HOLDERS_CLOSING && !worth_waiting && !goes_with_exec(fd) &&
		     (lifecycle_alone_by_forks(conn) || !may_be_own)))
			break;
	}
	log_debug("conn %u: %u others, %s", conn->index, others, worth_waiting ? "one is closing" : "-");
	if (others == CELL_HOLDERS_UNKNOWN)
		return lifecycle_alone_by_forks(conn);
	return others == 0 || (lifecycle_alone_by_forks(conn) && may_be_own);
}

/* Redirected bytes are unread, fd is that connection, and the peer has not reset it. */
static bool loses_bytes(struct conn *conn, int fd, const struct landing *landing)
{
	return may_be_redirected_to(conn) &&
	       (queue_has_redirected(fd) || (landing && landing_waits(conn, fd, landing))) && !queue_has_error(fd) &&
	       endpoint_cookie(fd) == conn->cookie;
}

/* Asked again at the end: others may have read the bytes, and closed, meanwhile. */
static bool loses_bytes_alone(struct conn *conn, int fd, uint32_t own, const struct landing *landing)
{
	return loses_bytes(conn, fd, landing) && is_alone(conn, fd, own) && queue_has_redirected(fd);
}

/* More may come, of which nothing that this process can see tells whether another process is to have it. A child that has used nothing has
 * no session, and would need one for that. */
static bool must_ask(struct conn *conn, int fd)
{
	return may_be_redirected_to(conn) && (conn_state(conn) != CONN_PINNED || atomic_load(&conn->not_pinned)) &&
	       channel_epoch() && channel_is_prompt() && !queue_has_end(fd) && !queue_has_redirected(fd);
}

/* One question, for as long as nothing is lost: who else is about to close is not waited for, and marks of children are left to
 * is_alone(). */
static bool nobody_else_has(struct conn *conn, int fd)
{
	return ask_for_others(conn, fd, 1, true) == 0;
}

/* Only while nobody else can be using the connection. What is unread already decides by itself. */
static void stop_redirecting(struct conn *conn, int fd)
{
	if (may_be_redirected_to(conn) && endpoint_cookie(fd) == conn->cookie &&
	    (lifecycle_alone_by_forks(conn) || (must_ask(conn, fd) && nobody_else_has(conn, fd))))
		real_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ CLOSING_RCVBUF_BYTES }, sizeof(int));
}

/* Of the last fd of this process. True: its close() is to reset the connection. */
static bool must_reset(struct conn *conn, int fd)
{
	if (parent_holds(conn))
		return false;
	struct landing landing =
		landing_find(conn); /* before the helper is asked, for which a child takes another cell */
	stop_redirecting(conn, fd);
	return loses_bytes_alone(conn, fd, 1, &landing);
}

static bool set_reset(int fd, bool on)
{
	const struct linger reset = { .l_onoff = on, .l_linger = 0 };

	return real_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0;
}

/* An armed end that is closed is in no hurry: the helper finds it here when it is awake anyhow. Not while latencies are recorded
 * in the cell, which is the next connection's when it looks. */
static bool note_retired(struct conn *conn, struct memory_cell *cell)
{
	struct session_memory *memory = session_of_cell(cell, conn->index);

	if (conn_state(conn) != CONN_ARMED || !(channel_features() & WIRE_FEATURE_RETIRED) ||
	    conn->session_epoch != channel_epoch() || atomic_load(&memory->recording))
		return false;
	for (uint32_t i = 0; i < MEMORY_RETIRED; i++) {
		_Atomic uint32_t *place = &memory->retired[(conn->index + i) % MEMORY_RETIRED];
		uint32_t nobody = 0;

		if (atomic_compare_exchange_strong(place, &nobody, memory_retired(conn->index, conn->generation)))
			return true;
	}
	return false;
}

bool lifecycle_closing(struct conn *conn, int fd)
{
	struct memory_cell *cell = atomic_load(&conn->cell);

	if (!cell && !may_be_redirected_to(conn))
		return false;
	if (cell && !lifecycle_in_plain_arm(conn) && !atomic_load(&conn->given_away)) /* else it goes on elsewhere */
		admission_judge_end(&conn->admission, conn->turns);
	fork_notice();
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	lifecycle_take_back(conn);
	bool resets = must_reset(conn, fd) && set_reset(fd, true);
	ledger_close(conn);
	cell = atomic_load(&conn->cell);
	if (!cell || !note_retired(conn, cell))
		lifecycle_retire(conn);
	/* Only while nobody else can be using the connection: it would reach them too. */
	bool must_shut_down = lifecycle_alone_by_forks(conn) && atomic_load(&conn->lent) &&
			      !lifecycle_others_call(conn) && lifecycle_end_lent(conn, fd, resets);
	lifecycle_quiet_end(quiet);
	return must_shut_down;
}

/* Calls visit for every connection that would lose bytes if its fds were closed now. */
static void each_losing(bool (*concerns)(struct conn *conn, int fd), void (*visit)(struct conn *conn, int fd))
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	int64_t started_ms = clock_ms();
	uint32_t high = atomic_load(&conn_fd_high);

	fork_notice();
	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn || parent_holds(conn) || !concerns(conn, (int)fd))
			continue;
		struct landing landing = landing_find(conn);
		if (clock_ms() - started_ms < (lifecycle_alone_by_forks(conn) ? EXIT_BUDGET_MS : EXIT_BUDGET_LONG_MS)
			    ? loses_bytes_alone(conn, (int)fd, atomic_load(&conn->fds), &landing)
			    : lifecycle_alone_by_forks(conn) && loses_bytes(conn, (int)fd, NULL))
			visit(conn, (int)fd);
	}
	lifecycle_quiet_end(quiet);
}

static bool has_work(void)
{
	return __builtin_expect(atomic_load_explicit(&conn_ever_touched, memory_order_relaxed), 0) && !quiet_is_on() &&
	       conn_table() && !fork_in_vfork_child() && !fork_files_are_shared();
}

static bool always(struct conn *conn, int fd)
{
	(void)conn;
	(void)fd;
	return true;
}

static void reset_at_exit(struct conn *conn, int fd)
{
	(void)conn;
	set_reset(fd, true);
}

static bool is_flushed(struct conn *conn)
{
	return atomic_load(&conn->has_stream) || conn_get(STDOUT_FILENO) == conn || conn_get(STDERR_FILENO) == conn;
}

/* The kernel is about to close all that this process has, but not what the helper has of it. The end of what libc has still to write to is
 * up to the helper. */
static void end_lent_at_exit(bool flushes)
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn || !lifecycle_alone_by_forks(conn))
			continue;
		lifecycle_take_back(conn);
		if (!(flushes && is_flushed(conn)) && lifecycle_end_lent(conn, (int)fd, false))
			real_shutdown((int)fd, SHUT_RDWR);
	}
	lifecycle_quiet_end(quiet);
}

void lifecycle_before_exit(bool flushes)
{
	if (!has_work())
		return;
	each_losing(always, reset_at_exit);
	end_lent_at_exit(flushes);
}

static bool all_go_with_exec(struct conn *conn)
{
	uint32_t high = atomic_load(&conn_fd_high);
	bool all = true;

	for (uint32_t fd = 0; all && fd <= high && fd < CONN_FD_MAX; fd++)
		all = conn_get((int)fd) != conn || (real_fcntl((int)fd, F_GETFD) & FD_CLOEXEC);
	return all;
}

/* Its fds go with the exec; and it is one whose SO_LINGER the application has not set, so that it can be taken back. */
static bool ends_at_exec(struct conn *conn, int fd)
{
	struct linger linger = { 0 };
	socklen_t length = sizeof(linger);

	return lifecycle_in_sockhash(conn_state(conn)) && (real_fcntl(fd, F_GETFD) & FD_CLOEXEC) &&
	       (atomic_load(&conn->fds) == 1 || all_go_with_exec(conn)) &&
	       real_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && !linger.l_onoff;
}

static void reset_at_exec(struct conn *conn, int fd)
{
	if (set_reset(fd, true))
		atomic_store(&conn->exec_resets, 1);
}

void lifecycle_exec_begins(void)
{
	if (has_work())
		each_losing(ends_at_exec, reset_at_exec);
}

void lifecycle_exec_failed(void)
{
	uint32_t high = atomic_load(&conn_fd_high);
	int saved = errno;
	bool is_ours = has_work();

	for (uint32_t fd = 0; is_ours && fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn)
			continue;
		if (atomic_exchange(&conn->exec_resets, 0))
			set_reset((int)fd, false);
		conn_publish(conn); /* is_alone() took it back */
	}
	errno = saved;
}
