/* SPDX-License-Identifier: BSD-2-Clause */
/* look.c: less and less often, never long after the first look, whatever the order in which threads read the clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/look.h"

/* Just before the clock wraps. */
#define BEGUN_US (UINT32_MAX - 300u)

/* After a look at `now_us` that was in vain: how long no other is due. */
static uint32_t pause_after(struct look *look, uint32_t now_us)
{
	uint32_t pause = 0;

	look_in_vain(look, now_us);
	while (pause <= 2 * LOOK_LAST_US && !look_is_due(look, now_us + pause))
		pause++;
	return pause;
}

static void test_look_is_due_while_nothing_is_waited_for(void **state)
{
	struct look look = { 0 };

	(void)state;
	assert_true(look_is_due(&look, 0));
	assert_true(look_is_due(&look, BEGUN_US));
	look_in_vain(&look, BEGUN_US);
	assert_false(look_is_due(&look, BEGUN_US));
	look_settled(&look);
	assert_true(look_is_due(&look, BEGUN_US));
}

static void test_look_waits_a_quarter_more_each_time(void **state)
{
	struct look look = { 0 };

	(void)state;
	assert_int_equal(pause_after(&look, BEGUN_US), LOOK_FIRST_US);
	assert_int_equal(pause_after(&look, BEGUN_US + LOOK_FIRST_US), LOOK_FIRST_US);
	assert_in_range(pause_after(&look, BEGUN_US + 4000), 999, 1000);
	assert_in_range(pause_after(&look, BEGUN_US + 40000), 9999, 10000);
	assert_int_equal(pause_after(&look, BEGUN_US + 4000000), LOOK_LAST_US);
}

/* Two threads look at once: the one that read the clock first is the second to say so. */
static void test_look_of_an_earlier_moment_does_not_wait_for_long(void **state)
{
	(void)state;
	for (uint32_t apart = 0; apart < 40; apart++) {
		struct look look = { 0 };

		look_in_vain(&look, BEGUN_US + apart);
		assert_in_range(pause_after(&look, BEGUN_US), LOOK_FIRST_US, LOOK_FIRST_US + 1);
	}
}

/* A thread that has read the clock before another looked in vain. */
static void test_look_is_not_due_for_ever(void **state)
{
	struct look look = { 0 };

	(void)state;
	look_in_vain(&look, BEGUN_US);
	look_in_vain(&look, BEGUN_US + 400000);
	assert_false(look_is_due(&look, BEGUN_US + 400000 + LOOK_LAST_US - 1));
	assert_true(look_is_due(&look, BEGUN_US + 400000 + LOOK_LAST_US));
	assert_true(look_is_due(&look, BEGUN_US + 2000000000u)); /* nobody has looked for half an hour ... */
	assert_true(look_is_due(&look, BEGUN_US + 4000000000u)); /* ... and for more than one */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_look_is_due_while_nothing_is_waited_for),
		cmocka_unit_test(test_look_waits_a_quarter_more_each_time),
		cmocka_unit_test(test_look_of_an_earlier_moment_does_not_wait_for_long),
		cmocka_unit_test(test_look_is_not_due_for_ever),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
