/* SPDX-License-Identifier: BSD-2-Clause */
/* Offers: a connection whose traffic pays tells the helper its name; no fd, no wait.
 *
 * An offer is made for many a connection that is never matched, so it is cheap: the addresses, two cookies and the message are
 * seven system calls. What would forbid the join is asked when both ends have offered.
 */
#include <sys/socket.h>

#include "../helper/wire/wire.h"
#include "clock.h"
#include "config.h"
#include "endpoint.h"
#include "lifecycle_internal.h"
#include "look.h"
#include "reserved.h"
#include "session_memory.h"

#define TURNS_WITHOUT_ROOM 1024u

static struct look look; /* for a session, of all connections together */

static void show_endpoints(struct conn *conn, int fd, const struct endpoints *ends)
{
	struct memory_cell *cell = atomic_load(&conn->cell);

	if (!cell)
		return;
	cell->shown_fd = (uint32_t)fd;
	cell->shown_family = ends->family;
	cell->shown_cookie = conn->cookie;
	cell->shown_local = ends->local;
	cell->shown_remote = ends->remote;
}

/* What the process has learnt about whom it is connected to. */
static bool destination_pays(struct conn *conn, const struct endpoints *ends)
{
	struct admission *admission = &conn->admission;

	if (!config.learns || admission->was_armed)
		return true;
	if (admission->destination == 0)
		admission->destination = destination_of(ends, conn->is_accepted);
	return admission_ask(admission, admission_lot(ends, conn->is_accepted), config.admit_turns, conn->turns,
			     &conn->retry_at_turn);
}

/* Into a small receive buffer that the application has set nothing is ever redirected (gate_has_room()): each message would pass, at the price of the
 * verdict and a spill (turns of 1000 and 8000 B, SO_RCVBUF 32768, one CPU: 1.12 and 1.15 x plain TCP's time). */
static bool has_room_to_receive(int fd)
{
	return endpoint_option(fd, SOL_SOCKET, SO_RCVBUF) >= WIRE_RCVBUF_MIN_BYTES ||
	       !(endpoint_option(fd, SOL_SOCKET, SO_BUF_LOCK) & SOCK_RCVBUF_LOCK);
}

bool lifecycle_bind_cell(struct conn *conn, struct session_memory *memory)
{
	struct memory_cell *cell = session_memory_cell(memory, conn->index), *earlier = atomic_load(&conn->cell);
	uint32_t epoch = channel_epoch();

	if (!cell || channel_memory() != memory) /* another thread has noticed that the helper is another one */
		return false;
	if (earlier == cell && conn->session_epoch == epoch &&
	    cell_word_generation(cell->status) == (conn->generation & CELL_GENERATION_MASK))
		return true;
	if (!reserved_fill(cell, sizeof(*cell)))
		return false;
	cell->reason = REASON_NONE;
	cell->ledger_id = 0;
	atomic_store(&cell->latency_key, 0);
	cell->shown_cookie = conn->cookie;
	atomic_store(&cell->reader, 0);
	atomic_store(&cell->word, cell_word(conn->generation, CELL_IDLE));
	atomic_store(&cell->status, cell_word(conn->generation, 0));
	/* Of a session whose helper is gone: a child that was forked in its time looks there whether its parent has the connection. */
	if (earlier && earlier != cell && channel_is_own(conn->session_epoch))
		atomic_store(&earlier->shown, 0);
	conn->session_epoch = epoch;
	atomic_store(&conn->cell, cell);
	return true;
}

/* A session, the addresses, and whether they speak for it. True: conn->cell is bound. */
bool lifecycle_prepare(struct conn *conn, int fd, struct endpoints *ends)
{
	struct session_memory *memory;

	if (!config.eager && !look_is_due(&look, (uint32_t)clock_us())) {
		conn->retry_at_turn = conn->turns + 1;
		return false;
	}
	conn->retry_at_turn = conn->turns + TURNS_HELPER_CHECK;
	if (endpoint_query(fd, ends) != 0)
		return false; /* not connected yet: later */
	if (!destination_pays(conn, ends))
		return false;
	if (!config.eager && !has_room_to_receive(fd)) {
		conn->retry_at_turn = conn->turns + TURNS_WITHOUT_ROOM;
		atomic_store(&conn->reason, REASON_SPILLS);
		return false;
	}
	switch (channel_session(&memory, config.eager ? CHANNEL_WAIT_MS : 0)) {
	case CHANNEL_READY:
		look_settled(&look);
		break;
	case CHANNEL_STARTING:
		look_in_vain(&look, (uint32_t)clock_us());
		conn->retry_at_turn = conn->turns + 1;
		return false;
	case CHANNEL_NONE:
		look_settled(&look); /* nothing is waited for */
		atomic_store(&conn->reason, REASON_NO_HELPER);
		return false;
	}
	if (atomic_load(&conn->adopted) && !(channel_features() & WIRE_FEATURE_ALONE)) {
		conn_state_set(conn, CONN_REFUSED, REASON_PASSED_FD);
		return false;
	}
	conn->cookie = endpoint_cookie(fd);
	if (!lifecycle_bind_cell(conn, memory)) {
		atomic_store(&conn->reason, REASON_NO_HELPER);
		return false;
	}
	show_endpoints(conn, fd, ends);
	if (!(channel_features() & WIRE_FEATURE_PEERS) && !endpoint_is_local(ends)) {
		admission_judge_unmatched(&conn->admission);
		conn_state_set(conn, CONN_REFUSED, REASON_REMOTE);
		return false;
	}
	if (atomic_load(&memory->off)) {
		conn_state_set(conn, CONN_WATCHING, REASON_DISABLED);
		return false;
	}
	return true;
}

void lifecycle_offer(struct conn *conn, int fd)
{
	struct wire_offer message = { 0 };
	uint32_t before = conn_state(conn);
	struct endpoints ends;

	if (!lifecycle_prepare(conn, fd, &ends) || config.never)
		return;
	wire_header_init(&message.header, WIRE_OFFER, sizeof(message), conn->index,
			 conn->generation & CELL_GENERATION_MASK);
	message.cookie = conn->cookie;
	message.netns_cookie = endpoint_netns_cookie(fd);
	message.local = ends.local;
	message.remote = ends.remote;
	if (channel_send(&message, sizeof(message), -1) == 0 &&
	    atomic_compare_exchange_strong(&conn->state, &before, CONN_OFFERED))
		conn_state_set(conn, CONN_OFFERED, REASON_WAITING_PEER);
}
