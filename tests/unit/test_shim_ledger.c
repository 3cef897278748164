/* SPDX-License-Identifier: BSD-2-Clause */
/* ledger.c: a process that has talked to more others than its table has places maps the ledgers of those that it talks to now. */
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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ledger_after_many_peers) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
