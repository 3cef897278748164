/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of connections: one row per end, from the cells of every session and the slots.
 *
 * What a cell says is its process's own claim and shown to nobody but that user and root; what comes from a slot is the
 * kernel's.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"
#include "registry.h"
#include "session.h"
#include "slots.h"
#include "stats_internal.h"
#include "trial.h"

#define ROWS_MAX 65536

struct listing {
	struct helper *helper;
	uint32_t uid;
	uint8_t *seen; /* two bits a slot: this end has a row */
	json_t *rows;
};

static void format_endpoint(char *out, size_t room, const struct wire_endpoint *endpoint)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN] = "?";

	if (!memcmp(endpoint->address, mapped, sizeof(mapped))) {
		inet_ntop(AF_INET, endpoint->address + sizeof(mapped), text, sizeof(text));
		snprintf(out, room, "%s:%u", text, ntohs(endpoint->port_n));
	} else {
		inet_ntop(AF_INET6, endpoint->address, text, sizeof(text));
		snprintf(out, room, "[%s]:%u", text, ntohs(endpoint->port_n));
	}
}

static const char *family_name(uint32_t family)
{
	return family == AF_INET ? "ipv4" : family == AF_INET6 ? "ipv6" : "unknown";
}

static void add_counters(json_t *row, const char *prefix, const struct sm_direction *direction)
{
	const struct {
		const char *name;
		uint64_t value;
	} counters[] = {
		{ "redirected_msgs", direction->redirected_msgs },
		{ "redirected_bytes", direction->redirected_bytes },
		{ "passed_msgs", direction->passed_msgs },
		{ "passed_bytes", direction->passed_bytes },
		{ "spills", direction->spills },
	};
	char name[48];

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, counters[i].name);
		json_object_set_new(row, name, json_integer((json_int_t)counters[i].value));
	}
}

/* What only the slot knows. slot NULL: the end is not in the sockhash. */
static void add_slot(json_t *row, const struct slot *slot, uint32_t side)
{
	static const struct sm_direction none;

	add_counters(row, "", slot ? &slot->shared->direction[side] : &none);
	add_counters(row, "received_", slot ? &slot->shared->direction[!side] : &none);
	json_object_set_new(row, "peer_pid", json_integer(slot && slot->end[!side] ? slot->shared->end[!side].pid : 0));
	json_object_set_new(row, "slot", json_integer(slot ? (json_int_t)slot->index : -1));
	json_object_set_new(row, "netns", json_integer(slot ? (json_int_t)slot->shared->netns_cookie : 0));
}

/* The slot's word counts for more than the cell's. */
static void state_of_slot(const struct slot *slot, uint32_t *state, uint32_t *reason)
{
	if (slot->shared->state == SM_SLOT_ARMED) {
		*state = slot->shared->pins ? CONN_PINNED : CONN_ARMED;
		*reason = slot->shared->pins ? slot->shared->pin_reason : REASON_ARMED;
	} else if (slot->shared->state == SM_SLOT_JOINED) {
		*state = CONN_JOINED;
		*reason = REASON_JOINED;
	}
}

/* An end as it is shown. */
struct row {
	struct wire_endpoint local, remote;
	uint32_t family, pid, uid, state, reason;
	int fd; /* -1: not known */
	const char *comm;
	const struct slot *slot; /* NULL: not in the sockhash */
	uint32_t side;
};

static void add_row(struct listing *listing, struct row *row)
{
	char local[64], remote[64];
	json_t *object;

	if (row->slot) {
		listing->seen[row->slot->index] |= 1u << row->side;
		state_of_slot(row->slot, &row->state, &row->reason);
		row->family = row->slot->shared->end[row->side].family;
		row->local = row->slot->end[row->side]->key.local; /* the kernel's word, where it is known */
		row->remote = row->slot->end[row->side]->key.remote;
	}
	format_endpoint(local, sizeof(local), &row->local);
	format_endpoint(remote, sizeof(remote), &row->remote);
	object = json_pack("{ss ss ss sI sI ss si ss ss}", "local", local, "remote", remote, "family",
			   family_name(row->family), "pid", (json_int_t)row->pid, "uid", (json_int_t)row->uid, "comm",
			   row->comm, "fd", row->fd, "state", conn_state_name(row->state), "reason",
			   reason_name(row->reason));
	if (!object)
		return;
	add_slot(object, row->slot, row->side);
	json_array_append_new(listing->rows, object);
}

/* A claim, possibly not even text: printable ASCII passes. */
static void copy_comm(char out[17], const char *comm)
{
	size_t i;

	for (i = 0; i < 16 && comm[i]; i++)
		out[i] = comm[i] >= ' ' && comm[i] < 0x7f ? comm[i] : '?';
	out[i] = '\0';
}

/* The end that the cell is about: the session's own, or one of the same user that it shares (after a fork). */
static const struct registry_end *end_of_cell(const struct listing *listing, const struct session *session,
					      uint32_t index, const struct memory_cell *cell)
{
	const struct registry_owner owner = { .session_id = session->id, .cell = index };
	const struct registry_end *end = registry_find_owner(listing->helper->registry, owner);

	if (end && end->generation != cell_word_generation(cell->shown))
		end = NULL;
	if (!end && cell->shown_cookie)
		end = registry_find_cookie(listing->helper->registry, cell->shown_cookie);
	return end && end->state == END_JOINED && end->uid == session->channel.uid ? end : NULL;
}

/* What an offer does not learn: the shim only knows that it waits. What it has been told of a trial may be over. */
static void reason_of_trial(const struct helper *helper, const struct registry_end *offer, struct row *row)
{
	bool is_told = row->state == CONN_OFFERED && trial_refuses((enum sm_reason)row->reason);

	if (offer && trial_is_plain(helper, offer)) {
		row->state = CONN_REFUSED;
		row->reason = REASON_TRIAL_PLAIN;
	} else if (trial_is_off(helper) && (is_told || (offer && trial_keeps_out(helper, offer)))) {
		row->state = CONN_REFUSED;
		row->reason = REASON_TRIAL_STOPPED;
	} else if (is_told) {
		row->reason = REASON_WAITING_PEER;
	}
}

static void list_cell(struct listing *listing, const struct session *session, uint32_t index,
		      const struct memory_cell *cell)
{
	const struct registry_owner owner = { .session_id = session->id, .cell = index };
	const struct registry_end *offer = registry_find_owner(listing->helper->registry, owner);
	const struct registry_end *end = end_of_cell(listing, session, index, cell);
	char comm[17];
	struct row row = {
		.local = cell->shown_local,
		.remote = cell->shown_remote,
		.family = cell->shown_family,
		.pid = session->pid,
		.uid = session->channel.uid,
		.state = cell_word_state(cell->shown & ~CELL_CHILD_MARKS),
		.reason = cell->shown_reason,
		.fd = (int)(cell->shown_fd & INT32_MAX),
		.comm = comm,
		.slot = end ? slot_at(listing->helper->slots, end->slot) : NULL,
		.side = end ? end->side : 0,
	};

	if (!end)
		reason_of_trial(listing->helper, offer, &row);
	copy_comm(comm, session->comm);
	add_row(listing, &row);
}

static bool list_shown_cell(struct session *session, uint32_t index, const struct memory_cell *cell, void *context)
{
	struct listing *listing = context;

	list_cell(listing, session, index, cell);
	return json_array_size(listing->rows) < ROWS_MAX;
}

static void list_session(struct session *session, void *context)
{
	struct listing *listing = context;

	if ((listing->uid == 0 || listing->uid == session->channel.uid) && json_array_size(listing->rows) < ROWS_MAX)
		session_each_cell(session, list_shown_cell, listing);
}

/* Ends whose process is gone, or whose helper was. */
static void list_slot(struct listing *listing, const struct slot *slot)
{
	for (uint32_t side = 0; side < SM_SIDES; side++) {
		const struct registry_end *end = slot->end[side];

		if (!end || listing->seen[slot->index] & 1u << side || (listing->uid != 0 && listing->uid != end->uid))
			continue;
		add_row(listing, &(struct row){ .pid = end->pid,
						.uid = end->uid,
						.state = CONN_JOINED,
						.fd = -1,
						.comm = "",
						.slot = slot,
						.side = side });
	}
}

json_t *stats_connections(struct helper *helper, uint32_t uid)
{
	struct listing listing = { .helper = helper, .uid = uid };

	listing.seen = calloc(slots_count(helper->slots), sizeof(*listing.seen));
	listing.rows = json_array();
	if (listing.seen && listing.rows) {
		sessions_each(helper->sessions, list_session, &listing);
		for (struct slot *slot = slots_first(helper->slots); slot; slot = slot->used_next)
			if (json_array_size(listing.rows) < ROWS_MAX)
				list_slot(&listing, slot);
	}
	free(listing.seen);
	return json_pack("{so}", "connections", listing.rows);
}
