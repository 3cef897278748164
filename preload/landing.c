/* SPDX-License-Identifier: BSD-2-Clause */
/* See landing.h.
 *
 * The peer has announced bytes that are not here yet: its send is between the verdict, or what comes before it, and the queue. They are
 * waited for longer than a moment only if the kernel says that a send is under way, whose thread has no CPU. So a peer that lies, or
 * accounts that are not exact, cost LANDING_MS and a question.
 */
#include "landing.h"

#include <poll.h>
#include <sched.h>
#include <time.h>

#include "../helper/wire/wire.h"
#include "ledger.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "real.h"
#include "reserved.h"

#define LOOKS_AWAKE 4
#define LOOKS 10
#define LANDING_MS 1 /* the first wait; each is twice the one before: 63 ms together */

struct ledger_cell *lifecycle_find_ledger(const struct memory_cell *cell)
{
	struct ledger_cell *ledger = ledger_find(cell->ledger_id, cell->ledger_cell);

	if (!ledger) {
		channel_drain();
		ledger = ledger_find(cell->ledger_id, cell->ledger_cell);
	}
	return ledger && reserved_fill(ledger, sizeof(*ledger)) ? ledger : NULL;
}

/* An end that is closed before any call since it was armed has not attached its ledger: its accounts are still its own. */
struct landing landing_find(struct conn *conn)
{
	struct ledger_cell *ledger = atomic_load(&conn->ledger);
	struct memory_cell *cell = conn_cell(conn);

	if (ledger)
		return (struct landing){ ledger_peer(conn, ledger), &ledger_own(conn, ledger)->consumed };
	ledger = cell && (atomic_load(&cell->status) & CELL_ARMED) ? lifecycle_find_ledger(cell) : NULL;
	if (!ledger)
		return (struct landing){ 0 };
	return (struct landing){ &ledger->half[!(cell->side & 1)], atomic_load(&conn->ledger_inherited)
									   ? &ledger->half[cell->side & 1].consumed
									   : &conn->received };
}

/* The peer has announced bytes that this application has not read. */
static bool is_owed(const struct landing *landing)
{
	return landing->peer && atomic_load(&landing->peer->attached) == LEDGER_EXACT &&
	       (int64_t)(atomic_load(&landing->peer->sent) - atomic_load(landing->received)) > 0;
}

bool landing_waits(struct conn *conn, int fd, const struct landing *landing)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	bool goes_on = true;
	int wait_ms = 0;

	for (int i = 0; goes_on && i < LOOKS && is_owed(landing); i++) {
		if (wait_ms)
			goes_on = lifecycle_ask_holders(conn, fd, (struct wire_holders){ 0 }, WIRE_LANDING) ==
				  CELL_HOLDERS_LANDING;
		if (i >= LOOKS_AWAKE && goes_on)
			wait_ms = wait_ms ? 2 * wait_ms : LANDING_MS;
		if (real_poll(&poller, 1, goes_on ? wait_ms : 0) != 0)
			return queue_has_redirected(fd);
	}
	return false;
}

bool landing_follows_end(struct conn *conn, int fd)
{
	struct landing landing = landing_find(conn);
	struct timespec nap = { .tv_nsec = LANDING_MS * 1000000L };

	for (int i = 0; i < LOOKS && is_owed(&landing); i++) {
		if (queue_has_redirected(fd))
			return true;
		if (i < LOOKS_AWAKE) {
			sched_yield();
			continue;
		}
		if (i > LOOKS_AWAKE &&
		    lifecycle_ask_holders(conn, fd, (struct wire_holders){ 0 }, WIRE_LANDING) != CELL_HOLDERS_LANDING)
			break;
		nanosleep(&nap, NULL);
		nap.tv_nsec *= 2;
	}
	return is_owed(&landing) && queue_has_redirected(fd);
}
