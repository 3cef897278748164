/* SPDX-License-Identifier: BSD-2-Clause */
/* paying.h: which pairs go back to plain TCP. The counts are those of a second, some of them measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../helper/paying.h"

static bool pays(struct paying_counts one, struct paying_counts other)
{
	struct paying_counts there[SM_SIDES] = { one, other }, back[SM_SIDES] = { other, one };
	bool is_out = paying_mostly_passes(there) || paying_meets_at_work(there);

	assert_int_equal(is_out, paying_mostly_passes(back) || paying_meets_at_work(back));
	return !is_out;
}

static void test_turns_pay(void **state)
{
	(void)state;
	assert_true(pays((struct paying_counts){ 60000, 1, 0 }, (struct paying_counts){ 60000, 0, 0 }));
	assert_true(pays((struct paying_counts){ 60000, 5000, 5000 }, (struct paying_counts){ 60000, 5000, 5000 }));
}

static void test_what_mostly_passes_does_not(void **state)
{
	(void)state;
	assert_false(pays((struct paying_counts){ 100, 1000, 0 }, (struct paying_counts){ 100, 0, 0 }));
	assert_true(pays((struct paying_counts){ 100, 255, 0 }, (struct paying_counts){ 0, 0, 0 })); /* seldom */
	assert_true(pays((struct paying_counts){ 1001, 1000, 0 }, (struct paying_counts){ 0, 0, 0 }));
}

static void test_ends_that_meet_at_work_do_not(void **state)
{
	(void)state;
	assert_false(
		pays((struct paying_counts){ 42000, 18000, 11000 }, (struct paying_counts){ 42000, 18000, 10000 }));
	assert_false(pays((struct paying_counts){ 1792, 256, 256 }, (struct paying_counts){ 1792, 256, 256 }));
	assert_true(pays((struct paying_counts){ 1793, 256, 256 }, (struct paying_counts){ 1793, 256, 256 }));
	assert_true(
		pays((struct paying_counts){ 300, 255, 255 }, (struct paying_counts){ 300, 255, 255 })); /* seldom */
}

static void test_a_stream_to_a_busy_reader_pays(void **state)
{
	(void)state;
	assert_true(pays((struct paying_counts){ 40000, 30000, 30000 }, (struct paying_counts){ 0, 0, 0 }));
	assert_true(pays((struct paying_counts){ 40000, 30000, 30000 }, (struct paying_counts){ 40000, 10, 10 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns_pay),
		cmocka_unit_test(test_what_mostly_passes_does_not),
		cmocka_unit_test(test_ends_that_meet_at_work_do_not),
		cmocka_unit_test(test_a_stream_to_a_busy_reader_pays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
