/* SPDX-License-Identifier: BSD-2-Clause */
/* ledger.c: a process that has talked to more others than its table has places maps the ledgers of those that it talks to now; and who
 * reads ends a paced sender's pause. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/fork.h"
#include "../../preload/ledger.h"
#include "../../preload/real.h"

#define FIRST 1000u
#define PEERS 9000u
#define KEPT 77u /* one whose connection stays */

/* A file whose first word is the id. */
static void announce(uint32_t id)
{
	uint64_t word = id;
	int fd = memfd_create("ledger", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, LEDGER_BYTES) == 0);
	assert_int_equal(pwrite(fd, &word, sizeof(word), 0), sizeof(word));
	ledger_add_consume(id, fd);
}

static void test_ledger_after_many_peers(void **state)
{
	struct conn *conn;
	uint32_t kept_at = 0;

	(void)state;
	real_init();
	fork_init();
	assert_int_equal(conn_init(), 0);
	conn = conn_open(3, false);
	assert_non_null(conn);
	for (uint32_t id = FIRST; id < FIRST + PEERS; id++) {
		announce(id);
		struct ledger_cell *cell = ledger_find(id, 0);
		assert_non_null(cell);
		assert_int_equal(atomic_load(&cell->half[0].sent), id);
		if (id == FIRST + KEPT) {
			conn->sent = id;
			ledger_attach(conn, ledger_find(id, 1), 0, LEDGER_EXACT);
			kept_at = id;
		}
	}
	assert_null(ledger_find(FIRST, 0));
	assert_ptr_equal(atomic_load(&conn->ledger), ledger_find(kept_at, 1));
	assert_int_equal(atomic_load(&ledger_find(kept_at, 1)->half[0].sent), kept_at);
}

/* By a thread that went in while another one attached. */
static void test_what_is_sent_past_a_ledger_comes_to_be_in_it(void **state)
{
	struct conn *conn = conn_open(4, false);
	uint32_t id = FIRST + PEERS + 1;

	(void)state;
	announce(id);
	struct ledger_cell *cell = ledger_find(id, 1);
	atomic_store(&conn->sent, 100);
	ledger_attach(conn, cell, 0, LEDGER_EXACT);
	atomic_fetch_add(&conn->sent, 30);
	ledger_add_late(conn);
	assert_int_equal(atomic_load(&cell->half[0].sent), 130);
	ledger_detach(conn);
	assert_int_equal(atomic_load(&conn->sent), 130);
}

/* A connection with a ledger, as a child finds it; *half is what both processes write. */
static struct conn *inherit(struct memory_cell *cell, struct ledger_half **half)
{
	static int fd = 10;
	struct conn *conn = conn_open(fd++, false);
	uint32_t id = FIRST + PEERS + (uint32_t)fd;

	announce(id);
	*cell = (struct memory_cell){ .ledger_id = id, .ledger_cell = 1, .side = 1 };
	cell->status = cell_word(conn->generation, CELL_ARMED);
	conn->cell = cell;
	conn->state = CONN_ARMED;
	conn->sent = 5;
	ledger_attach(conn, ledger_find(id, 1), 1, LEDGER_EXACT);
	*half = &ledger_find(id, 1)->half[1];
	ledger_forked(conn);
	assert_null(atomic_load(&conn->ledger));
	assert_int_equal((*half)->inherited, 0);
	return conn;
}

static void test_ledger_of_a_child(void **state)
{
	struct memory_cell cell;
	struct ledger_half *half;
	struct conn *conn;

	(void)state;
	/* Never used: nothing is left behind, and the parent's half says what it said. */
	conn = inherit(&cell, &half);
	ledger_close(conn);
	assert_int_equal(half->attached, LEDGER_EXACT);
	assert_int_equal(half->inherited, 0);
	/* Used: the same half, which is never another connection's. */
	conn = inherit(&cell, &half);
	ledger_inherit(conn);
	assert_ptr_equal(ledger_own(conn, atomic_load(&conn->ledger)), half);
	assert_int_equal(half->inherited, 1);
	ledger_close(conn);
	assert_int_equal(half->attached, LEDGER_EXACT);
	assert_int_equal(half->sent, 5);
	/* Taken out before that, whether the parent has seen it or not; or the cell is another connection's. */
	for (int i = 0; i < 3; i++) {
		conn = inherit(&cell, &half);
		cell.status = i == 0   ? cell.status | CELL_TAKEN_OUT
			      : i == 1 ? cell_word(conn->generation, CELL_MATCHED)
				       : cell_word(conn->generation + 1, CELL_ARMED);
		ledger_inherit(conn);
		assert_null(atomic_load(&conn->ledger));
	}
	/* Given away: the peer trusts it no more. */
	conn = inherit(&cell, &half);
	ledger_inherit(conn);
	ledger_detach(conn);
	assert_int_equal(half->attached, LEDGER_APART);
}

#define PACED_BYTES (4u << 20)
#define PACED_TRIES 20 /* a pause lasts 4 ms at the most, and this thread may have no CPU then */

struct paced {
	struct conn *writer;
	struct ledger_cell *ledger;
};

static void *pace(void *argument)
{
	const struct paced *paced = argument;

	ledger_pace(paced->writer, paced->ledger, 1);
	return NULL;
}

/* A sender waits where the other side's reader looks, and that one ends it once enough is read. */
static void test_who_reads_ends_a_pause(void **state)
{
	struct conn *reader = conn_open(6, true), *writer = conn_open(7, false);
	struct ledger_cell ledger = { .half[0].attached = 0 };
	struct paced paced = { writer, &ledger };
	_Atomic uint32_t *awaited = &ledger.half[1].awaited;
	bool is_seen = false;

	(void)state;
	ledger_attach(writer, &ledger, 0, LEDGER_EXACT);
	ledger_attach(reader, &ledger, 1, LEDGER_EXACT);
	ledger_announce(writer, &ledger, PACED_BYTES);
	for (int i = 0; i < PACED_TRIES && !is_seen; i++) {
		pthread_t thread;

		writer->pacing_off = 0;
		assert_int_equal(pthread_create(&thread, NULL, pace, &paced), 0);
		while (!(is_seen = atomic_load(awaited) != 0) && pthread_tryjoin_np(thread, NULL) != 0)
			;
		if (is_seen)
			pthread_join(thread, NULL);
	}
	assert_true(is_seen);
	assert_int_equal(atomic_load(awaited), 0);
	/* By hand, for the thread's pause is over after a moment anyway. */
	atomic_store(awaited, PACED_BYTES / 2);
	ledger_consumed(reader, &ledger, PACED_BYTES / 2 - 1);
	assert_int_equal(atomic_load(awaited), PACED_BYTES / 2);
	assert_int_equal(ledger_consumed(reader, &ledger, 1), PACED_BYTES / 2 - 1);
	assert_int_equal(atomic_load(awaited), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ledger_after_many_peers),
					    cmocka_unit_test(test_what_is_sent_past_a_ledger_comes_to_be_in_it),
					    cmocka_unit_test(test_ledger_of_a_child),
					    cmocka_unit_test(test_who_reads_ends_a_pause) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
