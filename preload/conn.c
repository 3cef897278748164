/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of connections: see conn.h.
 *
 * Taking a struct conn: round-robin over a window that grows with the number of live ones, so that a struct is not
 * reused at once (a thread that is still inside a call on a closed connection compares generations when it comes out),
 * yet a process with few connections touches little memory, and reserves little: the window's growth maps the part of them
 * that it takes in. The state CONN_FREE is the allocator's only record.
 */
#include "conn.h"

#include <errno.h>

#include "../helper/wire/room.h"
#include "channel.h"
#include "config.h"
#include "fork.h"
#include "held.h"
#include "latency.h"
#include "lifecycle.h"
#include "log.h"
#include "quiet.h"
#include "reserved.h"
#include "session_memory.h"

#define WINDOW_FIRST 64u /* 12 KB of them, which stay in the first cache */
#define PROBES 64u
#define MAP_AGAIN 1024u

_Atomic bool conn_ever_touched;
_Atomic uint32_t conn_fd_high; /* highest fd ever tracked */
_Static_assert(WINDOW_FIRST <= MEMORY_CELLS_FIRST, "the first part has room for it");
static _Atomic uint32_t next_index;
static _Atomic uint32_t window = WINDOW_FIRST;
static struct conn *_Atomic parts[MEMORY_PARTS]; /* by memory_part(); the first lies behind the table */

int conn_init(void)
{
	size_t bytes = CONN_FD_MAX * sizeof(uint32_t) + MEMORY_CELLS_FIRST * sizeof(struct conn);
	_Atomic uint32_t *table = reserved_has_room(ROOM_BYTES) ? reserved_map(bytes, -1) : NULL;

	_Static_assert(CONN_FD_MAX * sizeof(uint32_t) + MEMORY_CELLS_FIRST * sizeof(struct conn) +
				       SESSION_MEMORY_BYTES_FIRST + LEDGER_BYTES <=
			       ROOM_BYTES,
		       "with a session and a ledger");
	if (!table)
		return -ENOMEM;
	atomic_store(&parts[0], (struct conn *)(table + CONN_FD_MAX));
	hot.table = table;
	return 0;
}

void conn_shut(void)
{
	hot.table = NULL; /* the memory stays: threads may be looking at it */
}

/* Where conn is, for the table; 0: out of its reach. */
static uint32_t place_of(_Atomic uint32_t *table, const struct conn *conn)
{
	uintptr_t place = ((uintptr_t)conn + CONN_REACH - (uintptr_t)table) >> CONN_LINE_BITS;

	return place <= INT32_MAX ? (uint32_t)place : 0;
}

/* Those from `first` on. Where a program has mapped so much that what comes next is out of reach: somewhere near the table, each part
 * beside the one before. */
static struct conn *map_in_reach(_Atomic uint32_t *table, uint32_t first, uint32_t count)
{
	static const int distances_mebi[] = { 0, 64, -64, 1024, -1024, 8192, -8192, 32768, -32768 };
	const intptr_t mebi = 1 << 20;

	for (size_t i = 0; i < sizeof(distances_mebi) / sizeof(distances_mebi[0]); i++) {
		uintptr_t beside =
			(uintptr_t)table + (uintptr_t)(distances_mebi[i] * mebi) + first * sizeof(struct conn);
		/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
		struct conn *fresh = reserved_map_at(i ? (void *)beside : NULL, count * sizeof(struct conn));

		if (!fresh || (place_of(table, fresh) && place_of(table, fresh + count - 1)))
			return fresh;
		reserved_unmap(fresh, count * sizeof(struct conn));
	}
	return NULL;
}

/* Whether the connections from `size` on, as many again, are there. A refusal holds for a while: not every further connection is to
 * pay for another. */
static bool map_part(_Atomic uint32_t *table, uint32_t size)
{
	static _Atomic uint32_t refusals;
	struct conn *nothing = NULL, *_Atomic *part = &parts[memory_part(size)];

	if (atomic_load(part))
		return true;
	if (atomic_load(&refusals) % MAP_AGAIN) {
		atomic_fetch_add(&refusals, 1);
		return false;
	}
	int saved = errno;
	struct conn *fresh = map_in_reach(table, size, size);
	if (!fresh)
		atomic_fetch_add(&refusals, 1);
	else if (!atomic_compare_exchange_strong(part, &nothing, fresh))
		reserved_unmap(fresh, size * sizeof(struct conn));
	else
		atomic_store(&refusals, 0);
	errno = saved;
	return atomic_load(part) != NULL;
}

static struct conn *conn_take(_Atomic uint32_t *table)
{
	for (uint32_t probe = 0; probe < 3 * PROBES; probe++) {
		uint32_t size = atomic_load_explicit(&window, memory_order_relaxed);
		uint32_t index = atomic_fetch_add_explicit(&next_index, 1, memory_order_relaxed) % (size - 1) + 1;
		uint32_t expected = CONN_FREE;

		uint32_t part = memory_part(index);
		struct conn *conn = atomic_load(&parts[part]) + (index - memory_part_first(part));

		if (atomic_compare_exchange_strong(&conn->state, &expected, CONN_WATCHING)) {
			conn->index = index;
			return conn;
		}
		if (probe % PROBES == PROBES - 1 && size < MEMORY_CELLS && map_part(table, size))
			atomic_compare_exchange_strong(&window, &size, size * 2);
	}
	return NULL; /* very full: this one stays plain TCP */
}

/* Plain stores: until the table names it only a thread sees it that was in a call on the connection before, and that compares
 * generations. */
#define CLEAR(member) atomic_store_explicit(&(member), 0, memory_order_relaxed)
static void begin(struct conn *conn, bool accepted)
{
	atomic_fetch_add(&conn->generation, 1);
	atomic_thread_fence(memory_order_release);
	CLEAR(conn->sent);
	CLEAR(conn->received);
	CLEAR(conn->ledger);
	CLEAR(conn->cell);
	CLEAR(conn->touched);
	CLEAR(conn->lent);
	CLEAR(conn->marks);
	CLEAR(conn->given_away);
	CLEAR(conn->owed_error);
	CLEAR(conn->latency_moment_ns);
	CLEAR(conn->adopted);
	CLEAR(conn->not_pinned);
	CLEAR(conn->options);
	CLEAR(conn->mode);
	CLEAR(conn->timeout_ms);
	CLEAR(conn->ledger_inherited);
	CLEAR(conn->window_clamp);
	atomic_store_explicit(&conn->reason, REASON_WATCHING, memory_order_relaxed);
	atomic_store_explicit(&conn->fds, 1, memory_order_relaxed);
	conn->cookie = 0;
	conn->turns = 0;
	conn->retry_at_turn = config.eager ? 0 : config.admit_turns;
	conn->join_at_turn = 0;
	conn->attach_countdown = 0;
	conn->attempts = 0;
	conn->looks_in_vain = 0;
	conn->session_epoch = 0;
	conn->fork_count = fork_count();
	conn->last_was_receive = 0;
	conn->is_accepted = accepted;
	conn->pacing_off = 0;
	conn->announced = (struct spin_history){ 0 };
	conn->readable = (struct spin_history){ 0 };
	conn->latency_port_h = 0;
	conn->admission = (struct admission){ 0 };
	conn->throughput = (struct throughput){ 0 };
}
#undef CLEAR

struct conn *conn_open(int fd, bool accepted)
{
	_Atomic uint32_t *table = conn_table();

	if ((unsigned)fd >= CONN_FD_MAX || !table || quiet_is_on())
		return NULL;
	if (table[fd] != 0) {
		conn_fd_drop(fd); /* stale: closed where no wrapper saw it */
		conn_mark_closed(fd);
	}
	struct conn *conn = conn_take(table);
	if (!conn)
		return NULL;
	begin(conn, accepted);

	uint32_t high = atomic_load_explicit(&conn_fd_high, memory_order_relaxed);
	while (high < (uint32_t)fd && !atomic_compare_exchange_weak(&conn_fd_high, &high, (uint32_t)fd))
		;
	atomic_store_explicit(&table[fd], place_of(table, conn), memory_order_release);
	return conn;
}

bool conn_fd_drop(int fd)
{
	_Atomic uint32_t *table = conn_table();
	struct conn *here = conn_get(fd);
	uint32_t mark = here && atomic_load_explicit(&here->touched, memory_order_relaxed) ? CONN_MARK_CLOSING : 0;
	uint32_t place = table && (unsigned)fd < CONN_FD_MAX ? atomic_exchange(&table[fd], mark) : 0;

	if ((int32_t)place <= 0)
		return false;
	struct conn *conn = conn_at(table, place);
	held_hand_over(conn, fd);
	if (atomic_fetch_sub(&conn->fds, 1) != 1)
		return false;
	latency_closed(conn);
	bool must_shut_down = lifecycle_closing(conn, fd);
	atomic_fetch_add(&conn->generation, 1);
	conn_state_set(conn, CONN_FREE, REASON_CLOSED);
	return must_shut_down;
}

/* One fd more of a connection that has some. False: it has none any more, and may be another one by now. */
static bool add_fd(struct conn *conn, int fd)
{
	uint32_t generation = atomic_load(&conn->generation), fds = atomic_load(&conn->fds);

	if (conn_get(fd) != conn)
		return false;
	do {
		if (fds == 0)
			return false;
	} while (!atomic_compare_exchange_weak(&conn->fds, &fds, fds + 1));
	if (atomic_load(&conn->generation) == generation)
		return true;
	atomic_fetch_sub(&conn->fds, 1); /* another connection's, within some instructions */
	return false;
}

bool conn_fd_copy(struct conn *conn, int oldfd, int newfd)
{
	_Atomic uint32_t *table = conn_table();

	if ((unsigned)newfd >= CONN_FD_MAX || !table || oldfd == newfd)
		return true;
	if (table[newfd] != 0)
		conn_fd_drop(newfd);
	if (!conn) {
		uint32_t mark = conn_mark(oldfd);

		if (mark == CONN_MARK_TCP)
			conn_mark_set(oldfd, mark = CONN_MARK_DUPLICATED);
		conn_mark_set(newfd, mark == CONN_MARK_CLOSING ? 0 : mark);
		return true;
	}
	if (!add_fd(conn, oldfd)) {
		conn_mark_set(newfd, 0);
		return false;
	}
	uint32_t high = atomic_load_explicit(&conn_fd_high, memory_order_relaxed);
	while (high < (uint32_t)newfd && !atomic_compare_exchange_weak(&conn_fd_high, &high, (uint32_t)newfd))
		;
	atomic_store_explicit(&table[newfd], place_of(table, conn), memory_order_release);
	return true;
}

void conn_publish(struct conn *conn)
{
	struct memory_cell *cell = atomic_load_explicit(&conn->cell, memory_order_acquire);
	uint32_t state = conn_state(conn);

	/* Not into the parent's session, after a fork. */
	if (!cell || conn->session_epoch != channel_epoch())
		return;
	cell->shown_reason = conn->reason;
	atomic_store_explicit(&cell->shown, state == CONN_FREE ? 0 : cell_word(conn->generation, state),
			      memory_order_release);
}

void conn_state_set(struct conn *conn, enum conn_state state, enum sm_reason reason)
{
	log_debug("conn %u: %s -> %s (%s)", conn->index, conn_state_name(conn_state(conn)), conn_state_name(state),
		  reason_name(reason));
	atomic_store_explicit(&conn->reason, reason, memory_order_relaxed);
	if (state == CONN_FREE) {
		/* The cell must show it gone before another thread can take the struct anew. */
		struct memory_cell *cell = atomic_exchange(&conn->cell, NULL);
		/* Also in the memory of a session whose helper is gone: a child looks there. */
		if (cell && channel_is_own(conn->session_epoch))
			atomic_store(&cell->shown, 0);
		atomic_store_explicit(&conn->state, state, memory_order_release);
		return;
	}
	/* Another thread may have closed it meanwhile: what is free stays free, or nobody could ever take it again. */
	uint32_t before = conn_state(conn);
	do {
		if (before == CONN_FREE)
			return;
	} while (!atomic_compare_exchange_weak(&conn->state, &before, state));
	conn_publish(conn);
}
