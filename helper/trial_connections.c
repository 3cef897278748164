/* SPDX-License-Identifier: BSD-2-Clause */
/* What a trial says by connection: of each its mean latency, once.
 *
 * The figures are in the connection's cell, beside the bit of its arm, for as long as it is open. An end comes and goes meanwhile: a pair
 * that leaves the sockhash may be forgotten and offer anew. So it is the cell that counts: when its process says that the
 * connection is closed, when the process is gone, or when the trial ends.
 */
#include "helper.h"
#include "session.h"
#include "trial_internal.h"

static enum latency_arm arm_of(uint32_t status)
{
	return status & CELL_TRIAL_PLAIN         ? LATENCY_PLAIN
	       : status & CELL_TRIAL_ACCELERATED ? LATENCY_ACCELERATED
						 : LATENCY_ALL;
}

/* With its port's requests or not at all: both tables have the same ports. */
static void add(struct trials *trials, const struct memory_cell *cell)
{
	enum latency_arm arm = arm_of(cell->status);
	uint32_t key = cell->latency_key, count = cell->latency_count;
	struct histogram *histogram = NULL;

	if (arm == LATENCY_ALL || !count ||
	    key != latency_key(latency_key_role(key), arm, latency_key_part(key), latency_key_port(key)))
		return;
	key = latency_key_of_all_parts(key);
	if (latency_set_get(&trials->requests, key))
		histogram = latency_set_get(&trials->connections, key);
	if (histogram)
		histogram_add(histogram, cell->latency_sum_ns / count, 1); /* capped: it is a claim */
	else
		trials->connections.lost++;
}

/* Of this cell there is nothing more to take. */
static void take(struct trials *trials, struct memory_cell *cell)
{
	struct memory_cell copy = *cell; /* which its process does not change */

	add(trials, &copy);
	atomic_store(&cell->latency_key, 0);
}

void trial_connection_closed(struct session *session, uint32_t index, uint16_t generation)
{
	struct trials *trials = session->channel.helper->trials;
	struct memory_cell *cell = trial_is_collecting(trials) ? session_cell(session, index) : NULL;

	if (cell && (uint16_t)cell_word_generation(atomic_load(&cell->status)) == generation)
		take(trials, cell);
}

static bool visit_open(struct session *session, uint32_t index, const struct memory_cell *cell, void *context)
{
	(void)session;
	(void)index;
	add(context, cell);
	return true;
}

void trial_connections_add_open(struct session *session)
{
	session_each_cell(session, visit_open, session->channel.helper->trials);
}

static bool visit_last(struct session *session, uint32_t index, const struct memory_cell *seen, void *context)
{
	struct memory_cell *cell = arm_of(seen->status) == LATENCY_ALL ? NULL : session_cell(session, index);
	uint32_t *count = context;

	++*count;
	if (!cell)
		return true;
	take(session->channel.helper->trials, cell);
	session_status_change(session, index, cell_word_generation(seen->status), TRIAL_ARM_BITS, 0);
	return true;
}

uint32_t trial_connections_end(struct session *session)
{
	uint32_t count = 0;

	session_each_cell(session, visit_last, &count);
	return count;
}
