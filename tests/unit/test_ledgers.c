/* SPDX-License-Identifier: BSD-2-Clause */
/* helper/ledger.c: ledgers whose pairs are gone make room for new ones, and those with pairs stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "../../helper/ledger.h"

#define MAX 8

static void test_ledgers_without_pairs_make_room(void **state)
{
	struct ledgers *ledgers = ledgers_new(0, MAX);
	struct ledger *lasting, *again, *passing;
	uint32_t lasting_cell, cell;

	(void)state;
	assert_non_null(ledgers);
	assert_int_equal(ledger_take(ledgers, 1, 2, &lasting, &lasting_cell), 0);
	for (uint64_t session = 3; session < 1000; session++) {
		assert_int_equal(ledger_take(ledgers, 1, session, &passing, &cell), 0);
		ledger_give(ledgers, passing, cell);
		assert_true(ledger_count(ledgers) <= MAX);
	}
	/* The one that was used last is still there, and so is the one that is in use. */
	assert_int_equal(ledger_take(ledgers, 999, 1, &again, &cell), 0);
	assert_int_equal(again->id, passing->id);
	ledger_give(ledgers, again, cell);
	assert_int_equal(ledger_take(ledgers, 2, 1, &again, &cell), 0);
	assert_ptr_equal(again, lasting);
	ledger_give(ledgers, again, cell);
	ledger_give(ledgers, lasting, lasting_cell);
	ledgers_free(ledgers);
}

static void test_ledgers_with_pairs_stay(void **state)
{
	struct ledgers *ledgers = ledgers_new(0, MAX);
	struct ledger *ledger[MAX], *another;
	uint32_t cell[MAX], another_cell;

	(void)state;
	assert_non_null(ledgers);
	for (uint64_t i = 0; i < MAX; i++)
		assert_int_equal(ledger_take(ledgers, 100 + i, 200 + i, &ledger[i], &cell[i]), 0);
	assert_int_equal(ledger_take(ledgers, 1, 2, &another, &another_cell), -ENFILE);
	ledger_give(ledgers, ledger[3], cell[3]);
	assert_int_equal(ledger_take(ledgers, 1, 2, &another, &another_cell), 0);
	assert_int_equal(ledger_count(ledgers), MAX);
	assert_int_equal(ledger_take(ledgers, 103, 203, &ledger[3], &cell[3]), -ENFILE);
	ledgers_free(ledgers);

	ledgers = ledgers_new(0, 0);
	assert_non_null(ledgers);
	assert_int_equal(ledger_take(ledgers, 1, 2, &another, &another_cell), -ENFILE);
	ledgers_free(ledgers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ledgers_without_pairs_make_room),
		cmocka_unit_test(test_ledgers_with_pairs_stay),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
