/* SPDX-License-Identifier: BSD-2-Clause */
/* reader.h: who may be seized, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/reader.h"

#define ANOTHER 4242u

/* It got no CPU, and then began its step. */
static void test_one_that_has_begun_to_keep_is_not_seized(void **state)
{
	struct memory_cell cell = { .reader = ANOTHER };

	(void)state;
	bool was_kept = reader_is_kept(&cell);
	assert_false(was_kept);
	atomic_store(&cell.reader, ANOTHER | READER_KEEPS);
	assert_false(reader_seize(&cell, was_kept));
	assert_int_equal(atomic_load(&cell.reader), ANOTHER | READER_KEEPS);
	assert_true(
		reader_seize(&cell, reader_is_kept(&cell))); /* it has been waited for as long as one that keeps is */
	assert_true(reader_is_self(&cell));
}

static void test_one_that_is_seized_does_not_keep(void **state)
{
	struct memory_cell cell = { .reader = ANOTHER };

	(void)state;
	assert_true(reader_seize(&cell, false));
	assert_true(reader_keep(&cell));
	atomic_store(&cell.reader, ANOTHER); /* another has seized it */
	assert_false(reader_keep(&cell));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_that_has_begun_to_keep_is_not_seized),
					    cmocka_unit_test(test_one_that_is_seized_does_not_keep) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
