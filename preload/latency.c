/* SPDX-License-Identifier: BSD-2-Clause */
/* Recording latencies: see latency.h.
 *
 * `hot.recording` points to the word of the session's memory that the helper sets, or to `hot.recording_apart` while there
 * is none. The latter is on when SMACCEL_GROUP is set: then the first calls ask for a session, where other processes have none until
 * a connection would join. A process whose helper is gone goes back to it: every CHECK_CALLS recordings the door is looked at.
 *
 * While recording is off nobody looks at a connection's moment. One that was open when it was turned off is still there when the next
 * trial turns it on, and is void: `since_ns`, which the first hook sets that sees another word than the last one saw.
 */
#include "latency.h"

#include <errno.h>
#include <time.h>

#include "../helper/wire/latency.h"
#include "channel.h"
#include "clock.h"
#include "config.h"
#include "endpoint.h"
#include "fork.h"
#include "lifecycle_internal.h"
#include "session_memory.h"

#define CHECK_CALLS 65536u
#define SESSION_TRIES_STEP 64u /* calls between two attempts to get a session for a group */

static struct session_memory *_Atomic session; /* NULL: none */
static struct latency_memory *_Atomic region;  /* of it; NULL: nothing was recorded yet, or there is no room */
static struct session_memory *_Atomic refused; /* the session in which there was none */
static _Atomic uint32_t calls;
static _Atomic uint32_t word_seen;
static _Atomic uint64_t since_ns;
/* What a group counts before its session stands. */
static _Atomic uint64_t opened_early[2], closed_early[LATENCY_REASONS];

_Static_assert(REASON_COUNT <= LATENCY_REASONS, "a counter for each reason");

void latency_init(void)
{
	atomic_store(&hot.recording_apart, config.group ? RECORDING_GROUP : 0);
}

/* Adds one, and moves all to the session's memory if there is one. */
static void count(_Atomic uint64_t *early, _Atomic uint64_t *shared, uint64_t one)
{
	atomic_fetch_add_explicit(early, one, memory_order_relaxed);
	if (!shared)
		return;
	uint64_t all = atomic_exchange_explicit(early, 0, memory_order_relaxed);
	if (all)
		atomic_fetch_add_explicit(shared, all, memory_order_relaxed);
}

/* Where latencies go; NULL: nowhere. */
static struct latency_memory *region_get(void)
{
	struct latency_memory *known = atomic_load_explicit(&region, memory_order_acquire), *fresh = NULL;
	struct session_memory *memory = atomic_load(&session);

	if (__builtin_expect(known != NULL, 1) || !memory || atomic_load(&refused) == memory)
		return known;
	fresh = session_memory_map_latency(memory);
	if (!fresh) {
		atomic_store(&refused, memory);
		return NULL;
	}
	if (!atomic_compare_exchange_strong(&region, &known, fresh)) {
		session_memory_unmap_latency(fresh);
		return known;
	}
	/* Another session's, by now: its own is made when it is wanted. */
	if (atomic_load(&session) != memory)
		atomic_compare_exchange_strong(&region, &fresh, NULL);
	return atomic_load(&region);
}

void latency_session(struct session_memory *memory)
{
	if (!memory)
		atomic_store(&hot.recording, &hot.recording_apart);
	atomic_store(&session, memory);
	atomic_store(&region, NULL);
	/* The next helper counts its trials from 1 again. A group's is recorded all along. */
	atomic_fetch_and(&word_seen, (uint32_t)RECORDING_GROUP);
	if (!memory)
		return;
	atomic_store(&hot.recording, &memory->recording);
	struct latency_memory *fresh = config.group ? region_get() : NULL;
	if (!fresh)
		return;
	for (unsigned role = 0; role < 2; role++)
		count(&opened_early[role], &fresh->opened[role], 0);
	for (unsigned reason = 0; reason < LATENCY_REASONS; reason++)
		if (atomic_load_explicit(&closed_early[reason], memory_order_relaxed))
			count(&closed_early[reason], &fresh->closed[reason], 0);
}

void latency_forked(void)
{
	latency_session(NULL);
	for (unsigned role = 0; role < 2; role++) /* the parent's */
		atomic_store(&opened_early[role], 0);
	for (unsigned reason = 0; reason < LATENCY_REASONS; reason++)
		atomic_store(&closed_early[reason], 0);
}

/* Asks for a session, or takes notice that the helper is gone (channel.c calls latency_session() then). */
static void look_after_session(bool wait)
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	struct session_memory *memory;

	if (!fork_in_vfork_child()) {
		fork_notice();
		(void)channel_session(&memory, wait ? CHANNEL_WAIT_MS : 0);
	}
	lifecycle_quiet_end(quiet);
}

void latency_opened(struct conn *conn)
{
	if (__builtin_expect(!config.group, 1))
		return;
	if (!atomic_load(&session))
		look_after_session(true);
	struct latency_memory *shared = region_get();
	enum latency_role role = conn->is_accepted ? LATENCY_SERVER : LATENCY_CLIENT;
	count(&opened_early[role], shared ? &shared->opened[role] : NULL, 1);
}

/* What the helper has assigned the connection to. */
static enum latency_arm arm_of(const struct conn *conn, struct memory_cell *cell, uint32_t recording)
{
	uint32_t status = cell && (recording & RECORDING_TRIAL) ? atomic_load(&cell->status) : 0;

	if (cell_word_generation(status) != (conn->generation & CELL_GENERATION_MASK))
		return LATENCY_ALL;
	return status & CELL_TRIAL_PLAIN         ? LATENCY_PLAIN
	       : status & CELL_TRIAL_ACCELERATED ? LATENCY_ACCELERATED
						 : LATENCY_ALL;
}

void latency_closed(const struct conn *conn)
{
	if (__builtin_expect(!config.group && !latency_is_on(), 1))
		return;
	struct latency_memory *shared = region_get();
	struct memory_cell *cell = atomic_load(&((struct conn *)conn)->cell);
	uint32_t recording = atomic_load(atomic_load(&hot.recording));
	uint32_t reason = atomic_load_explicit(&((struct conn *)conn)->reason, memory_order_relaxed) % LATENCY_REASONS;
	if (config.group)
		count(&closed_early[reason], shared ? &shared->closed[reason] : NULL, 1);
	if (shared && (recording & RECORDING_TRIAL) && arm_of(conn, cell, recording) == LATENCY_ALL)
		atomic_fetch_add_explicit(&shared->unassigned[reason], 1, memory_order_relaxed);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Since when recording has been on; `now` if it was not when a hook last ran. */
static uint64_t recording_since(uint64_t now)
{
	uint32_t seen = atomic_load_explicit(&word_seen, memory_order_relaxed);
	uint32_t word =
		atomic_load_explicit(atomic_load_explicit(&hot.recording, memory_order_relaxed), memory_order_relaxed);

	if (__builtin_expect(word == seen, 1))
		return atomic_load_explicit(&since_ns, memory_order_relaxed);
	if (!(word & seen & RECORDING_GROUP))
		atomic_store_explicit(&since_ns, now, memory_order_relaxed);
	atomic_store_explicit(&word_seen, word, memory_order_relaxed);
	return atomic_load_explicit(&since_ns, memory_order_relaxed);
}

/* The port of the listening end, in host order; asked for once a connection. */
static uint16_t listening_port_h(struct conn *conn, const struct memory_cell *cell, int fd)
{
	struct endpoints ends;

	if (conn->latency_port_h)
		return conn->latency_port_h;
	if (cell && cell->shown_cookie && cell->shown_cookie == conn->cookie) {
		ends.local = cell->shown_local;
		ends.remote = cell->shown_remote;
	} else {
		int saved = errno;
		int error = conn_get(fd) == conn ? endpoint_query(fd, &ends) : -EBADF;

		errno = saved;
		if (error)
			return 0;
	}
	uint16_t port_n = conn->is_accepted ? ends.local.port_n : ends.remote.port_n;
	conn->latency_port_h = __builtin_bswap16(port_n);
	return conn->latency_port_h;
}

/* The series of that key: taken if it is new. NULL: none is free that it may take. */
static struct latency_series *series_find(struct latency_memory *shared, struct conn *conn, uint32_t key)
{
	struct latency_series *series = &shared->series[conn->latency_series % LATENCY_SERIES];

	if (__builtin_expect(atomic_load_explicit(&series->key, memory_order_relaxed) == key, 1))
		return series;
	uint32_t end = latency_key_part(key) ? LATENCY_SERIES - LATENCY_SERIES_WHOLE : LATENCY_SERIES;
	for (uint32_t i = 0; i < end; i++) {
		uint32_t found = atomic_load(&shared->series[i].key);

		if (found == 0 && atomic_compare_exchange_strong(&shared->series[i].key, &found, key))
			found = key;
		if (found == key) {
			conn->latency_series = (uint8_t)i;
			return &shared->series[i];
		}
	}
	return NULL;
}

static void series_add(struct latency_memory *shared, struct latency_series *series, uint64_t value_ns)
{
	uint64_t max_ns = atomic_load_explicit(&series->max_ns, memory_order_relaxed);

	atomic_fetch_add_explicit(&shared->counts[series - shared->series][histogram_index(value_ns)], 1,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&series->sum_ns, value_ns, memory_order_relaxed);
	while (value_ns > max_ns && !atomic_compare_exchange_weak_explicit(&series->max_ns, &max_ns, value_ns,
									   memory_order_relaxed, memory_order_relaxed))
		;
}

/* By plain stores: threads that share a connection may lose one of each other's. */
static void cell_add(struct memory_cell *cell, uint32_t key, uint64_t value_ns)
{
	uint64_t sum_ns = atomic_load_explicit(&cell->latency_sum_ns, memory_order_relaxed);
	uint32_t number = atomic_load_explicit(&cell->latency_count, memory_order_relaxed);

	if (atomic_load_explicit(&cell->latency_key, memory_order_relaxed) != key) {
		atomic_store_explicit(&cell->latency_key, key, memory_order_relaxed);
		sum_ns = number = 0;
	}
	atomic_store_explicit(&cell->latency_sum_ns, sum_ns + value_ns, memory_order_relaxed);
	atomic_store_explicit(&cell->latency_count, number + 1, memory_order_relaxed);
}

static void record(struct conn *conn, int fd, uint64_t value_ns)
{
	struct latency_memory *shared = region_get();
	uint32_t recording =
		atomic_load_explicit(atomic_load_explicit(&hot.recording, memory_order_relaxed), memory_order_relaxed);
	struct memory_cell *cell = conn_cell(conn);
	enum latency_arm arm = arm_of(conn, cell, recording);
	enum latency_role role = conn->is_accepted ? LATENCY_SERVER : LATENCY_CLIENT;

	if (value_ns > HISTOGRAM_VALUE_MAX)
		value_ns = HISTOGRAM_VALUE_MAX;
	if (!shared || (arm == LATENCY_ALL && !(recording & RECORDING_GROUP)))
		return;
	uint32_t part = arm == LATENCY_ALL ? 0 : latency_part(conn->cookie);
	uint32_t key = latency_key(role, arm, part, listening_port_h(conn, cell, fd));
	struct latency_series *series = series_find(shared, conn, key);
	if (!series && part) /* a process of many ports: better in another part than not at all */
		series = series_find(shared, conn, latency_key_of_all_parts(key));
	if (!series) {
		atomic_fetch_add_explicit(&shared->unrecorded, 1, memory_order_relaxed);
		return;
	}
	series_add(shared, series, value_ns);
	if (arm != LATENCY_ALL)
		cell_add(cell, key, value_ns);
}

/* Now and then, whether there is a session to record in, and a helper that wants it. */
static void count_call(void)
{
	uint32_t number = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	uint32_t step = atomic_load_explicit(&session, memory_order_relaxed) ? CHECK_CALLS : SESSION_TRIES_STEP;

	if (__builtin_expect(number % step == step - 1, 0))
		look_after_session(false);
}

struct latency_send latency_send_started(struct conn *conn)
{
	struct latency_send send = { .before_ns = atomic_load_explicit(&conn->latency_moment_ns, memory_order_relaxed),
				     .generation = conn->generation };

	count_call();
	if (conn->is_accepted && send.before_ns == 0)
		return send; /* no request is open */
	send.begun_ns = now_ns();
	if (send.before_ns < recording_since(send.begun_ns)) {
		send.before_ns = 0; /* void */
		if (conn->is_accepted) {
			send.begun_ns = 0;
			atomic_store_explicit(&conn->latency_moment_ns, 0, memory_order_relaxed);
			return send;
		}
	}
	/* Before the call: the response may be there before it returns. */
	if (!conn->is_accepted)
		atomic_store_explicit(&conn->latency_moment_ns, send.begun_ns, memory_order_relaxed);
	return send;
}

void latency_send_ended(struct conn *conn, int fd, const struct latency_send *send, ssize_t result)
{
	uint64_t moment_ns = conn->is_accepted ? send->before_ns : send->begun_ns;

	if (conn->generation != send->generation)
		return; /* closed meanwhile, and perhaps another connection's by now */
	if (conn->is_accepted && result > 0) {
		if (atomic_compare_exchange_strong(&conn->latency_moment_ns, &moment_ns, 0))
			record(conn, fd, send->begun_ns - send->before_ns);
	} else if (!conn->is_accepted && result <= 0) { /* nothing was sent: the moment is the one before */
		atomic_compare_exchange_strong(&conn->latency_moment_ns, &moment_ns, send->before_ns);
	}
}

void latency_receive_ended(struct conn *conn, int fd)
{
	uint64_t moment_ns = atomic_load_explicit(&conn->latency_moment_ns, memory_order_relaxed);
	if (!conn->is_accepted && moment_ns == 0) /* the rest of a response */
		return;
	uint64_t now = now_ns(), on_ns = recording_since(now);
	if (conn->is_accepted)
		atomic_store_explicit(&conn->latency_moment_ns, now, memory_order_relaxed);
	else if (atomic_compare_exchange_strong(&conn->latency_moment_ns, &moment_ns, 0) && moment_ns >= on_ns)
		record(conn, fd, now - moment_ns);
}
