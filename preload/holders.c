/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether this process is the last that has a connection. Who tells:
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
 */
#include "holders.h"

#include <fcntl.h>
#include <time.h>

#include "../helper/wire/wire.h"
#include "clock.h"
#include "fork.h"
#include "held.h"
#include "lifecycle_internal.h"
#include "log.h"
#include "queue.h"
#include "real.h"
#include "threads.h"

/* For a holder that closes at the same time, or is on its way to its end. */
#define CLOSING_TRIES 7
#define CLOSING_TRIES_LONG                                                                                             \
	10 /* for a child that is about to execute its program, or a thread in a call: it may have to wait for a CPU */
#define CLOSING_STEP_NS 500000 /* half of the first pause; each is twice the one before: 63 ms together, or 511 */
#define LAST_TRIES 10          /* while another one has just been told that it is not the last */
#define LATE_TRIES 30          /* then, if it gets no CPU to close it */
#define LATE_STEP_NS 8000000
#define CHILD_CLOSES_MS 50 /* so long a child is believed to be on its way */

uint32_t lifecycle_parent_epoch;

/* A child that this process forked is closing its copy. */
static bool child_closes(struct conn *conn, struct memory_cell *cell, uint32_t shown)
{
	return (shown & CELL_CHILD_CLOSES) &&
	       (uint32_t)clock_ms() - atomic_load(&lifecycle_session_of(cell, conn->index)->child_closes_ms) <
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
bool holders_living_parent_has(const struct conn *conn)
{
	struct memory_cell *cell = atomic_load(&((struct conn *)conn)->cell);
	uint32_t shown = cell ? atomic_load(&cell->shown) : 0, nothing = 0;

	if (!cell || conn->session_epoch != lifecycle_parent_epoch || fork_files_are_shared())
		return false;
	atomic_store(&lifecycle_session_of(cell, conn->index)->child_closes_ms, (uint32_t)clock_ms());
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

bool holders_parent_has(const struct conn *conn)
{
	return fork_parent_lives() && holders_living_parent_has(conn);
}

/* Who holds a socket a process that has forked cannot say by itself. Without an answer a peer would take lost bytes for the
 * end of the stream, and a busy machine's helper is late more often than it is dead. Where no bytes are lost yet it is only a matter
 * of what might still come in the moment of the close. */
int lifecycle_holders_wait_ms(const struct conn *conn, int fd, enum wire_type type)
{
	bool is_at_stake = type == WIRE_LANDING || (type == WIRE_HOLDERS && queue_has_redirected(fd));

	return is_at_stake && !lifecycle_alone_by_forks(conn) ? CHANNEL_WAIT_LONG_MS : CHANNEL_WAIT_MS;
}

int lifecycle_request_wait_ms(const struct conn *conn, int fd, const void *message)
{
	enum wire_type type = ((const struct wire_header *)message)->type;

	return type == WIRE_LEAVE ? lifecycle_leave_wait_ms(((const struct wire_pin *)message)->reason)
				  : lifecycle_holders_wait_ms(conn, fd, type);
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

bool holders_are_none_but(struct conn *conn, int fd, uint32_t own)
{
	struct memory_cell *cell = channel_is_own(conn->session_epoch) ? atomic_load(&conn->cell) : NULL;
	struct timespec step = { .tv_nsec = CLOSING_STEP_NS };
	uint32_t others = CELL_HOLDERS_CLOSING;
	bool may_be_own = false;
	int tries = CLOSING_TRIES, last_tries = 0, last_most = LAST_TRIES + LATE_TRIES;
	/* Before it asks: a child that looks from now on does not rely on this process. */
	bool worth_waiting = cell && child_closes(conn, cell, atomic_exchange(&cell->shown, 0));

	for (int i = 0; i < tries; i++, step.tv_nsec *= 2) {
		if (i > 0)
			nanosleep(&step, NULL);
		if (i == CLOSING_TRIES - 1 && (may_be_own || goes_with_exec(fd))) {
			tries = CLOSING_TRIES_LONG;
			last_most = LAST_TRIES;
		}
		/* A call that the helper has counted may be over by now, and another have begun. */
		uint32_t calls_before = own_calls(conn);
		others = ask_for_others(conn, fd, own, i == tries - 1);
		if (others == CELL_HOLDERS_CLOSING && i == tries - 1 && last_tries < last_most) {
			tries++;
			step.tv_nsec = (last_tries++ < LAST_TRIES ? CLOSING_STEP_NS : LATE_STEP_NS) / 2;
		}
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

bool holders_are_none_now(struct conn *conn, int fd)
{
	return ask_for_others(conn, fd, 1, true) == 0;
}
