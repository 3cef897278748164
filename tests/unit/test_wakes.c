/* SPDX-License-Identifier: BSD-2-Clause */
/* wakes.c in turns of a real loop: who is answered in a turn is woken before that turn's memory goes, once, and not before the
 * others are answered, unless there are many. session_wake() is this file's own: it writes down who was woken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../helper/loop.h"
#include "../../helper/session.h"
#include "../../helper/wakes.h"

#define WORDS_MAX 100
#define AT_ONCE 8 /* so many do not wait for the end of the turn */

/* A source that answers `plan[turn]` words in its turns, all different ones, and stops the loop after the last. */
struct turns {
	struct loop_source source;
	struct loop_corpse corpse;
	struct loop *loop;
	struct wakes *wakes;
	const unsigned *plan;
	unsigned turn, count;
};

static _Atomic uint32_t words[WORDS_MAX];
static unsigned answered, woken;
static unsigned woken_times[WORDS_MAX], answered_before[WORDS_MAX];

void session_wake(_Atomic uint32_t *word)
{
	unsigned index = (unsigned)(word - words);

	assert_in_range(index, 0, WORDS_MAX - 1);
	woken_times[index]++;
	answered_before[index] = answered;
	woken++;
}

/* What the turn buried is released after its wake-ups. */
static void turn_is_over(struct loop_corpse *corpse)
{
	(void)corpse;
	assert_int_equal(woken, answered);
}

static void take_turn(struct loop_source *source, uint32_t events)
{
	struct turns *turns = loop_container(source, struct turns, source);
	unsigned before = answered;

	(void)events;
	assert_int_equal(woken, answered); /* those of the turn before */
	loop_bury(turns->loop, &turns->corpse);
	for (unsigned i = 0; i < turns->plan[turns->turn]; i++) {
		answered++; /* the answer is in the word before it is said who sleeps there */
		wakes_add(turns->wakes, &words[answered - 1]);
		assert_int_equal(woken, before + (i + 1) / AT_ONCE * AT_ONCE);
	}
	if (++turns->turn == turns->count)
		loop_stop(turns->loop);
}

static void run_turns(const unsigned *plan, unsigned count)
{
	struct turns turns = {
		.source = { .fd = eventfd(1, EFD_CLOEXEC), .ready = take_turn }, /* ready for ever: nobody reads it */
		.corpse.release = turn_is_over,
		.plan = plan,
		.count = count,
	};

	answered = woken = 0;
	memset(woken_times, 0, sizeof(woken_times));
	assert_int_equal(loop_open(&turns.loop), 0);
	turns.wakes = wakes_new(turns.loop);
	assert_non_null(turns.wakes);
	assert_int_equal(loop_add(turns.loop, &turns.source, EPOLLIN), 0);
	assert_int_equal(loop_run(turns.loop), 0);
	assert_int_equal(turns.turn, count);
	for (unsigned i = 0; i < answered; i++)
		assert_int_equal(woken_times[i], 1);
	wakes_free(turns.wakes);
	loop_close(turns.loop);
	close(turns.source.fd);
}

static void test_wakes_come_at_the_end_of_the_turn(void **state)
{
	const unsigned plan[] = { 1, 3, 0, AT_ONCE - 1, 1 };

	(void)state;
	run_turns(plan, sizeof(plan) / sizeof(plan[0]));
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(answered_before[i], 4); /* the whole turn of three was answered first */
}

static void test_wakes_of_many_do_not_wait(void **state)
{
	const unsigned plan[] = { AT_ONCE, 1, 2 * AT_ONCE + 3, AT_ONCE + 1, 0, AT_ONCE - 1, 2 };

	(void)state;
	run_turns(plan, sizeof(plan) / sizeof(plan[0]));
	assert_int_equal(answered_before[0], AT_ONCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wakes_come_at_the_end_of_the_turn),
		cmocka_unit_test(test_wakes_of_many_do_not_wait),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
