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
#define ATTEMPTS_MAX 100000
#define ROUNDS_MAX 20

struct due {
	int64_t at_us;
};

static int look_until_due(void *context)
{
	const struct due *due = context;

	return clock_us() >= due->at_us;
}

/* WAITS times, each of which ends well after so long. Who gets no CPU for a moment has missed one, and does not look at the next few. */
static void wait_well(struct spin_history *history, int64_t us)
{
	int hits = 0;

	for (int i = 0; hits < WAITS && i < ATTEMPTS_MAX; i++) {
		struct due due = { clock_us() + us };

		hits += spin_until(history, LIMIT_NS, look_until_due, &due) > 0;
	}
	assert_int_equal(hits, WAITS);
}

/* On a busy machine the last few may have been late. */
static void learns(struct spin_history *history, int64_t us)
{
	uint32_t least = (uint32_t)us * 1000 / 2, most = (uint32_t)us * 1000 * 2;

	for (int i = 0; i < ROUNDS_MAX; i++) {
		wait_well(history, us);
		if (history->hit_ns >= least && history->hit_ns <= most)
			return;
	}
	assert_in_range(history->hit_ns, least, most);
}

static void test_spin_learns_how_long_it_takes(void **state)
{
	struct spin_history history = { 0 };

	(void)state;
	learns(&history, LONG_US);
	learns(&history, SHORT_US);
	learns(&history, LONG_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spin_learns_how_long_it_takes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
