/* SPDX-License-Identifier: BSD-2-Clause */
/* patience.c: what waits for a late helper may take together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/patience.h"

#define BEGUN_MS (UINT32_MAX - 300u) /* just before the clock wraps */
#define LATE_US 30000u

static void test_prompt_answers_cost_nothing(void **state)
{
	struct patience patience = { 0 };

	(void)state;
	for (int i = 0; i < 100000; i++)
		patience_spend(&patience, BEGUN_MS, PATIENCE_PROMPT_US);
	assert_true(patience_lasts(&patience, BEGUN_MS));
}

/* A process that begins as many late waits as it may spends a share of its time in them, whatever they take. */
static void test_late_answers_take_a_share_of_the_time(void **state)
{
	(void)state;
	for (uint64_t late_us = 2000; late_us <= 50000; late_us *= 5) {
		struct patience patience = { 0 };
		uint64_t waited_us = 0, now_us;

		for (now_us = 0; now_us < 10000000; now_us += 1000) {
			if (!patience_lasts(&patience, BEGUN_MS + (uint32_t)(now_us / 1000)))
				continue;
			now_us += late_us;
			waited_us += late_us - PATIENCE_PROMPT_US;
			patience_spend(&patience, BEGUN_MS + (uint32_t)(now_us / 1000), late_us);
		}
		assert_in_range(waited_us, now_us / PATIENCE_SHARE, now_us / PATIENCE_SHARE + PATIENCE_US + late_us);
	}
}

static void test_what_is_owed_is_paid_back(void **state)
{
	struct patience patience = { 0 };
	uint32_t paid_ms = (4 * LATE_US - 4 * PATIENCE_PROMPT_US - PATIENCE_US) / 1000 * PATIENCE_SHARE;

	(void)state;
	for (int i = 0; i < 4; i++)
		patience_spend(&patience, BEGUN_MS, LATE_US);
	assert_false(patience_lasts(&patience, BEGUN_MS));
	assert_false(patience_lasts(&patience, BEGUN_MS + paid_ms - 1));
	assert_true(patience_lasts(&patience, BEGUN_MS + paid_ms));
}

/* Another thread has read the clock before. */
static void test_an_earlier_moment_pays_nothing(void **state)
{
	struct patience patience = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		patience_spend(&patience, BEGUN_MS + 5, LATE_US);
	patience_spend(&patience, BEGUN_MS, LATE_US);
	assert_false(patience_lasts(&patience, BEGUN_MS + 10));
}

/* More than the word holds, of a process that was stopped for an hour within a wait. */
static void test_what_is_owed_has_a_bound(void **state)
{
	struct patience patience = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++)
		patience_spend(&patience, BEGUN_MS, UINT32_MAX);
	assert_false(patience_lasts(&patience, BEGUN_MS));
	assert_true(patience_lasts(&patience, BEGUN_MS + PATIENCE_US_MAX / 1000 * PATIENCE_SHARE));
}

/* A helper that was late once, and prompt ever since. */
static void test_what_was_paid_stays_paid(void **state)
{
	struct patience patience = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		patience_spend(&patience, BEGUN_MS, LATE_US);
	for (uint32_t day = 1; day <= 48; day++)
		assert_true(patience_lasts(&patience, BEGUN_MS + day * 86400000u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prompt_answers_cost_nothing),
		cmocka_unit_test(test_late_answers_take_a_share_of_the_time),
		cmocka_unit_test(test_what_is_owed_is_paid_back),
		cmocka_unit_test(test_an_earlier_moment_pays_nothing),
		cmocka_unit_test(test_what_is_owed_has_a_bound),
		cmocka_unit_test(test_what_was_paid_stays_paid),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
