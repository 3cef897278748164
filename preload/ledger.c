/* SPDX-License-Identifier: BSD-2-Clause */
/* Ledgers: see ledger.h. The table of mappings only grows, up to LEDGERS_MAX; then a ledger comes in the place of one that no connection
 * uses any more, of a process that has ended, most likely. A connection whose ledger found no room runs without one: every
 * short read is topped up by a system call, and its sender is not paced. */
#include "ledger.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "raw_syscall.h"
#include "real.h"
#include "reserved.h"
#include "spin.h"

#define LEDGERS_MAX 4096u
#define LEDGER_PROBES 16u
#define LEDGER_NOBODY UINT32_MAX
#define PACE_WAITS_MAX 16

static struct {
	_Atomic uint32_t id;
	struct ledger_cell *_Atomic cells;
} ledgers[LEDGERS_MAX];

static bool fd_is_ledger(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && (uint64_t)status.st_size >= LEDGER_BYTES;
}

static bool place_free(uint32_t id, struct ledger_cell *memory)
{
	for (uint32_t probe = 0; probe < LEDGER_PROBES; probe++) {
		uint32_t at = (id + probe) % LEDGERS_MAX, expected = 0;

		if (atomic_compare_exchange_strong(&ledgers[at].id, &expected, id)) {
			atomic_store(&ledgers[at].cells, memory);
			return true;
		}
	}
	return false;
}

/* Or may be just now, by a connection that is about to attach. */
static bool is_in_use(const struct ledger_cell *cells)
{
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);
		struct ledger_cell *ledger = conn ? atomic_load(&conn->ledger) : NULL;

		if ((ledger >= cells && ledger < cells + LEDGER_CELLS) || (conn && conn_state(conn) == CONN_JOINING))
			return true;
	}
	return false;
}

/* In the place of one that no connection uses any more, in its memory, too: a thread that has just come out of a call on a connection which
 * another one closed may still look there. */
static void place_of_another(uint32_t id, int fd)
{
	for (uint32_t probe = 0; probe < LEDGER_PROBES; probe++) {
		uint32_t at = (id + probe) % LEDGERS_MAX, before = atomic_load(&ledgers[at].id);
		struct ledger_cell *cells = atomic_load(&ledgers[at].cells);

		if (before == 0 || !cells || is_in_use(cells) ||
		    !atomic_compare_exchange_strong(&ledgers[at].id, &before, LEDGER_NOBODY))
			continue;
		/* Nobody finds it any more; who had found it before is in sight by now. */
		if (is_in_use(cells)) {
			atomic_store(&ledgers[at].id, before);
			continue;
		}
		bool done = reserved_map_over(cells, LEDGER_BYTES, fd);
		if (!done)
			atomic_store(&ledgers[at].cells, NULL); /* never used again */
		atomic_store(&ledgers[at].id, done ? id : LEDGER_NOBODY);
		return;
	}
}

void ledger_add_consume(uint32_t id, int fd)
{
	struct ledger_cell *memory = NULL;

	if (id != 0 && id != LEDGER_NOBODY && !ledger_find(id, 0) && fd_is_ledger(fd)) {
		memory = reserved_map(LEDGER_BYTES, fd);
		if (!memory || !place_free(id, memory)) {
			place_of_another(id, fd);
			if (memory)
				reserved_unmap(memory, LEDGER_BYTES);
		}
	}
	real_close(fd);
}

struct ledger_cell *ledger_find(uint32_t id, uint32_t cell_index)
{
	if (id == 0 || cell_index >= LEDGER_CELLS)
		return NULL;
	for (uint32_t probe = 0; probe < LEDGER_PROBES; probe++) {
		uint32_t at = (id + probe) % LEDGERS_MAX;

		if (atomic_load(&ledgers[at].id) == id) {
			struct ledger_cell *cells = atomic_load(&ledgers[at].cells);
			return cells ? &cells[cell_index] : NULL;
		}
	}
	return NULL;
}

bool ledger_may_attach(const struct conn *conn, const struct memory_cell *cell, struct ledger_cell *ledger,
		       bool inherited)
{
	if (inherited)
		atomic_store(&ledger->half[cell->side & 1].inherited, 1);
	uint32_t status = atomic_load(&cell->status);
	return (status & (CELL_ARMED | CELL_TAKEN_OUT)) == CELL_ARMED && !conn_cell_is_lost(conn, status) &&
	       ledger_find(cell->ledger_id, cell->ledger_cell) == ledger;
}

void ledger_attach(struct conn *conn, struct ledger_cell *cell, uint32_t side, enum ledger_attached how)
{
	conn->ledger_side = side & 1;
	struct ledger_half *own = ledger_own(conn, cell);

	if (side & CELL_SIDE_SYN)
		atomic_fetch_sub(&conn->sent, 1);
	atomic_fetch_and(&conn->options, (uint8_t)~CONN_COUNTS_SYN);
	/* Moved, and moved back by an addition: whoever accounts past the ledger meanwhile is not lost. */
	atomic_store(&own->sent, atomic_exchange(&conn->sent, 0));
	atomic_store(&own->consumed, atomic_exchange(&conn->received, 0));
	atomic_store(&ledger_peer(conn, cell)->awaited, 0);
	atomic_store(&own->room_until, 0);
	atomic_store(&own->sender, 0);
	atomic_store(&own->attached, how);
	atomic_store_explicit(&conn->ledger, cell, memory_order_release);
}

void ledger_add_late(struct conn *conn)
{
	struct ledger_cell *cell = atomic_load(&conn->ledger);

	if (cell)
		atomic_fetch_add(&ledger_own(conn, cell)->sent, atomic_exchange(&conn->sent, 0));
}

void ledger_detach(struct conn *conn)
{
	struct ledger_cell *cell = atomic_exchange(&conn->ledger, NULL);

	atomic_store(&conn->ledger_inherited, 0); /* the next one is its own */
	if (!cell)
		return;
	struct ledger_half *own = ledger_own(conn, cell);
	atomic_store(&own->attached, 0);
	atomic_fetch_add(&conn->sent, atomic_load(&own->sent));
	atomic_fetch_add(&conn->received, atomic_load(&own->consumed));
}

void ledger_forked(struct conn *conn)
{
	struct ledger_cell *cell = atomic_load(&conn->ledger);

	if (!cell)
		return;
	atomic_store(&conn->ledger_inherited, 1);
	if (conn_state(conn) ==
	    CONN_ARMED) { /* in no other state there is a step before its first call that attaches it */
		atomic_store(&conn->ledger, NULL);
		conn->attach_countdown = 0;
	} else {
		atomic_store(&ledger_own(conn, cell)->inherited, 1);
	}
}

void ledger_inherit(struct conn *conn)
{
	struct memory_cell *cell = conn_cell(conn);
	struct ledger_cell *ledger = cell ? ledger_find(cell->ledger_id, cell->ledger_cell) : NULL;

	if (!atomic_load(&conn->ledger_inherited) || atomic_load(&conn->ledger) || !ledger)
		return;
	conn->ledger_side = cell->side & 1;
	if (ledger_may_attach(conn, cell, ledger, true))
		atomic_store_explicit(&conn->ledger, ledger, memory_order_release);
}

void ledger_close(struct conn *conn)
{
	if (atomic_load(&conn->ledger_inherited))
		atomic_store(&conn->ledger, NULL);
	else
		ledger_detach(conn);
}

int64_t ledger_unread_in(const struct conn *conn, struct ledger_cell *cell)
{
	struct ledger_half *peer = ledger_peer(conn, cell);

	if (atomic_load_explicit(&peer->attached, memory_order_acquire) != LEDGER_EXACT)
		return INT64_MAX;
	return (int64_t)(atomic_load_explicit(&peer->sent, memory_order_acquire) -
			 atomic_load_explicit(&ledger_own(conn, cell)->consumed, memory_order_relaxed));
}

static int64_t unread_out(const struct conn *conn, struct ledger_cell *cell)
{
	struct ledger_half *peer = ledger_peer(conn, cell);

	if (atomic_load_explicit(&peer->attached, memory_order_acquire) == 0)
		return 0; /* the peer does not report: no pacing */
	return (int64_t)(atomic_load_explicit(&ledger_own(conn, cell)->sent, memory_order_relaxed) -
			 atomic_load(&peer->consumed));
}

uint64_t ledger_consumed(const struct conn *conn, struct ledger_cell *cell, uint64_t bytes)
{
	struct ledger_half *own = ledger_own(conn, cell);

	ledger_note_cpu(&own->read_cpu);
	/* Both sequentially consistent: the look at `awaited` cannot come before the add (the sender does the same in the
	 * other order). A lost wake-up would cost LEDGER_PACE_STEP_MS, no more. */
	uint64_t before = atomic_fetch_add(&own->consumed, bytes);
	uint32_t wanted = atomic_load(&own->awaited);
	if (__builtin_expect(wanted != 0, 0) && ledger_unread_in(conn, cell) <= (int64_t)wanted &&
	    atomic_exchange(&own->awaited, 0) != 0) {
		int saved = errno;
		raw_syscall(SYS_futex, &own->awaited, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		errno = saved;
	}
	return before;
}

static int64_t pace_limit(const struct conn *conn, struct ledger_cell *cell, size_t bytes)
{
	size_t limit =
		ledger_cpu_is_other(&ledger_peer(conn, cell)->read_cpu) ? LEDGER_PACE_APART_BYTES : LEDGER_PACE_BYTES;

	if (bytes > limit / 2)
		limit = bytes < LEDGER_PACE_MAX_BYTES / 2 ? 2 * bytes : LEDGER_PACE_MAX_BYTES;
	return (int64_t)limit;
}

bool ledger_is_full(struct conn *conn, struct ledger_cell *cell, size_t bytes)
{
	struct ledger_half *own = ledger_own(conn, cell);
	int64_t unread = unread_out(conn, cell);

	atomic_store_explicit(&own->room_until,
			      atomic_load_explicit(&own->sent, memory_order_relaxed) - (uint64_t)unread +
				      LEDGER_PACE_APART_BYTES,
			      memory_order_relaxed);
	if (unread <= 0) { /* an empty pipe never waits: a single large write goes out at once */
		conn->pacing_off = 0;
		return false;
	}
	return !conn->pacing_off && unread + (int64_t)bytes > (int64_t)LEDGER_PACE_APART_BYTES &&
	       unread + (int64_t)bytes > pace_limit(conn, cell, bytes);
}

void ledger_pace(struct conn *conn, struct ledger_cell *cell, size_t bytes)
{
	struct ledger_half *peer = ledger_peer(conn, cell);
	struct timespec step = { .tv_nsec = LEDGER_PACE_STEP_MS * 1000000L };
	uint32_t wanted = (uint32_t)(pace_limit(conn, cell, bytes) / 2);
	int saved = errno, timed_out = 0;

	if (spin_for_room(conn, cell, bytes))
		return;
	/* Counted, because it is the peer that ends a wait, and it may lie. */
	for (int i = 0; i < PACE_WAITS_MAX && timed_out < LEDGER_PACE_STEPS; i++) {
		if (!ledger_should_pace(conn, cell, bytes))
			break;
		atomic_store(&peer->awaited, wanted);
		if (!ledger_should_pace(conn, cell, bytes))
			break;
		if (raw_syscall(SYS_futex, &peer->awaited, FUTEX_WAIT, wanted, &step, NULL, 0) == 0 || errno == EAGAIN)
			continue; /* woken: much has been read */
		if (errno == EINTR)
			break; /* a handler ran: let the real send decide what that means */
		timed_out++;
	}
	atomic_store(&peer->awaited, 0);
	if (timed_out == LEDGER_PACE_STEPS)
		conn->pacing_off = 1;
	errno = saved;
}
