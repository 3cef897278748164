/* SPDX-License-Identifier: BSD-2-Clause */
/* reader.h: who may be seized, and when. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

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

/* It may be on its way to its first bytes: whoever receives later must not be topped up, and receives all the same. */
static void test_a_seizure_is_remembered(void **state)
{
	struct memory_cell cell = { .reader = ANOTHER };

	(void)state;
	assert_false(reader_was_seized(&cell));
	assert_true(reader_seize(&cell, false));
	assert_true(reader_is_self(&cell));
	reader_release(&cell);
	assert_false(reader_is_self(&cell));
	assert_true(reader_was_seized(&cell));
	assert_true(reader_claim(&cell));
	assert_true(reader_claim(&cell)); /* in a handler on top of it */
	assert_true(reader_keep(&cell));
	reader_keep_end(&cell);
	reader_release(&cell);
	assert_int_equal(atomic_load(&cell.reader), READER_SEIZED);
	atomic_store(&cell.reader, ANOTHER | READER_SEIZED);
	assert_false(reader_claim(&cell));
	reader_release(&cell); /* not its own */
	assert_int_equal(atomic_load(&cell.reader), ANOTHER | READER_SEIZED);
}

/* Killed in the middle of what it keeps. */
static void test_one_that_is_gone_is_not_waited_for(void **state)
{
	struct memory_cell cell = { .reader = (READER_SEIZED - 1) | READER_KEEPS | READER_SEIZED }; /* no thread's id */

	(void)state;
	assert_true(reader_await(&cell));
	assert_int_equal(atomic_load(&cell.reader), READER_SEIZED);
	assert_true(reader_claim(&cell));
}

static void *release_later(void *argument)
{
	struct memory_cell *cell = argument;

	usleep(5 * READER_PATIENCE_MS * 1000);
	atomic_store(&cell->reader, 0);
	return NULL;
}

/* It has looked at what it takes, and has no CPU to take it. */
static void test_one_that_keeps_is_waited_for_longer(void **state)
{
	struct memory_cell cell = { .reader = reader_self() | READER_KEEPS };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, release_later, &cell), 0);
	assert_true(reader_await(&cell));
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_that_has_begun_to_keep_is_not_seized),
					    cmocka_unit_test(test_one_that_is_seized_does_not_keep),
					    cmocka_unit_test(test_a_seizure_is_remembered),
					    cmocka_unit_test(test_one_that_is_gone_is_not_waited_for),
					    cmocka_unit_test(test_one_that_keeps_is_waited_for_longer) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
