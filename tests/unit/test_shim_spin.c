/* SPDX-License-Identifier: BSD-2-Clause */
/* spin.c: what a wait learns of those before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/clock.h"
#include "../../preload/spin.h"

#define LONG_US 150
#define SHORT_US 30
#define LIMIT_NS 100000000
#define WAITS 40

struct due {
	int64_t at_us;
};

static int look_until_due(void *context)
{
	const struct due *due = context;

	return clock_us() >= due->at_us;
}

/* WAITS times, each of which ends well after so long. */
static void wait_well(struct spin_history *history, int64_t us)
{
	for (int i = 0; i < WAITS; i++) {
		struct due due = { clock_us() + us };

		spin_until(history, LIMIT_NS, look_until_due, &due);
	}
}

static void test_spin_learns_how_long_it_takes(void **state)
{
	struct spin_history history = { 0 };

	(void)state;
	wait_well(&history, LONG_US);
	assert_in_range(history.hit_ns, LONG_US * 1000 / 2, 20 * LONG_US * 1000);
	wait_well(&history, SHORT_US);
	assert_in_range(history.hit_ns, SHORT_US * 1000 / 2, 20 * LONG_US * 1000);
	uint32_t before = history.hit_ns;
	wait_well(&history, SHORT_US);
	assert_true(history.hit_ns <= 2 * before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spin_learns_how_long_it_takes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
