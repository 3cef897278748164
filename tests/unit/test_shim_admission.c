/* SPDX-License-Identifier: BSD-2-Clause */
/* admission.c: what counts as a stream, how back-off grows and shrinks, what is learnt of destinations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "../../preload/admission.h"

/* A window in which every so many sends are a turn, and every so many of so many bytes; 0: none is. */
static enum admission_window window(struct admission *admission, unsigned turn_every, unsigned sized_every,
				    size_t bytes)
{
	for (unsigned i = 1; i <= ADMISSION_WINDOW_SENDS; i++)
		assert_int_equal(admission_send(admission, turn_every && i % turn_every == 0,
						sized_every && i % sized_every == 0 ? bytes : 1),
				 i == ADMISSION_WINDOW_SENDS);
	return admission_window(admission);
}

static bool window_is_stream(struct admission *admission, unsigned every)
{
	return window(admission, every, 0, 0) == ADMISSION_SMALL_WRITES;
}

static void test_admission_medium_writes_are_most_of_a_window(void **state)
{
	struct admission admission = { 0 };

	(void)state;
	assert_int_equal(window(&admission, 0, 1, ADMISSION_LARGE_BYTES), ADMISSION_DOUBTFUL);
	assert_int_equal(window(&admission, 4, 1, ADMISSION_HUGE_BYTES - 1), ADMISSION_DOUBTFUL);
	assert_int_equal(window(&admission, 0, 1, ADMISSION_HUGE_BYTES), ADMISSION_PAYS);
	assert_int_equal(window(&admission, 1, 1, ADMISSION_LARGE_BYTES), ADMISSION_PAYS);
	assert_int_equal(window(&admission, 0, 1, ADMISSION_LARGE_BYTES - 1), ADMISSION_SMALL_WRITES);
	assert_int_equal(window(&admission, 1, 2, ADMISSION_LARGE_BYTES), ADMISSION_PAYS);
	assert_int_equal(window(&admission, 0, ADMISSION_SENDS_PER_TURN, ADMISSION_LARGE_BYTES), ADMISSION_PAYS);
	assert_int_equal(window(&admission, 0, ADMISSION_SENDS_PER_TURN + 1, ADMISSION_LARGE_BYTES),
			 ADMISSION_SMALL_WRITES);
}

/* Sends until one ends a window: how many; 0: none of `most` did. */
static unsigned sends_to_end(struct admission *admission, unsigned most, size_t bytes)
{
	for (unsigned i = 1; i <= most; i++)
		if (admission_send(admission, false, bytes))
			return i;
	return 0;
}

/* Of those that were just armed: later windows are whole ones, for they are measured. */
static void test_admission_doubtful_row_ends_the_first_window_of_such(void **state)
{
	struct admission admission = { 0 }, mixed;

	(void)state;
	admission_armed(&admission, 0, 0);
	assert_int_equal(sends_to_end(&admission, 100, 1), 0);
	mixed = admission;
	assert_int_equal(sends_to_end(&admission, ADMISSION_WINDOW_SENDS, ADMISSION_LARGE_BYTES),
			 ADMISSION_DOUBTFUL_ROW);
	assert_int_equal(admission_window(&admission), ADMISSION_DOUBTFUL);
	assert_int_equal(sends_to_end(&admission, 2 * ADMISSION_WINDOW_SENDS, ADMISSION_LARGE_BYTES),
			 ADMISSION_WINDOW_SENDS);
	admission_window(&admission);
	admission_armed(&admission, 0, 0);
	assert_int_equal(sends_to_end(&admission, ADMISSION_WINDOW_SENDS, ADMISSION_LARGE_BYTES),
			 ADMISSION_DOUBTFUL_ROW);
	assert_int_equal(sends_to_end(&mixed, ADMISSION_DOUBTFUL_ROW - 1, ADMISSION_LARGE_BYTES), 0);
	assert_int_equal(sends_to_end(&mixed, 1, 1), 0);
	assert_int_equal(sends_to_end(&mixed, ADMISSION_DOUBTFUL_ROW - 1, ADMISSION_LARGE_BYTES), 0);
}

static void test_admission_stream_is_few_turns_in_a_window(void **state)
{
	struct admission admission = { 0 };

	(void)state;
	assert_true(window_is_stream(&admission, 0));
	assert_false(window_is_stream(&admission, 1));
	assert_false(window_is_stream(&admission, ADMISSION_SENDS_PER_TURN));
	assert_true(window_is_stream(&admission, ADMISSION_SENDS_PER_TURN + 1));
	assert_false(window_is_stream(&admission, 2)); /* nothing is left of the window before */
}

static void test_admission_turns_double_and_are_bounded(void **state)
{
	(void)state;
	assert_int_equal(admission_turns(8, 0), 8);
	assert_int_equal(admission_turns(8, 3), 64);
	assert_int_equal(admission_turns(0, 0), 0);
	assert_int_equal(admission_turns(0, 4), 16); /* SMACCEL_ADMIT=0 backs off as well */
	assert_in_range(admission_turns(2000000000, 12), 2000000000, INT32_MAX);
	assert_in_range(admission_turns(8, 4000000000u), 8, INT32_MAX);
}

static void test_admission_short_stays_keep_it_away_longer(void **state)
{
	struct admission admission = { 0 };
	uint32_t now_ms = 0xffffff00u, away_ms = 0; /* the clock wraps in between */

	(void)state;
	for (unsigned stay = 1; stay <= ADMISSION_SETBACKS_MAX + 3; stay++) {
		admission_armed(&admission, stay, now_ms);
		now_ms += ADMISSION_LONG_STAY_MS - 1;
		admission_left(&admission, ADMISSION_STREAM, now_ms);
		assert_int_equal(admission.setbacks, stay < ADMISSION_SETBACKS_MAX ? stay : ADMISSION_SETBACKS_MAX);
		away_ms = ADMISSION_PAUSE_MS << admission.setbacks;
		assert_false(admission_may_return(&admission, now_ms + away_ms - 1));
		assert_true(admission_may_return(&admission, now_ms + away_ms));
		now_ms += away_ms;
	}
	for (unsigned i = 0; i < 2 * ADMISSION_SETBACKS_MAX; i++) {
		admission_armed(&admission, 0, now_ms);
		now_ms += ADMISSION_LONG_STAY_MS;
		admission_left(&admission, ADMISSION_STREAM, now_ms);
	}
	assert_int_equal(admission.setbacks, 0);
}

static void test_admission_spills_count_more_however_long_the_stay(void **state)
{
	struct admission admission = { 0 };

	(void)state;
	admission_armed(&admission, 0, 0);
	admission.wants_out = 1;
	admission.spills = ADMISSION_SPILLS_MAX;
	admission_left(&admission, ADMISSION_PASSES, 10 * ADMISSION_LONG_STAY_MS);
	assert_int_equal(admission.setbacks, ADMISSION_SETBACKS_SPILLS);
	assert_int_equal(admission.wants_out, 0);
	admission_armed(&admission, 0, 0);
	admission_left(&admission, ADMISSION_SPILLS, 10 * ADMISSION_LONG_STAY_MS); /* a slow reader after a good time */
	assert_int_equal(admission.setbacks, ADMISSION_SETBACKS_SPILLS - 1);
	admission_armed(&admission, 0, 0);
	admission_left(&admission, ADMISSION_SPILLS, 1);
	assert_int_equal(admission.setbacks, 2 * ADMISSION_SETBACKS_SPILLS - 1);
	admission_armed(&admission, 0, 0);
	assert_int_equal(admission.spills, 0);
}

static void test_admission_bulk_that_spills_is_soon_back(void **state)
{
	struct admission admission = { 0 };

	(void)state;
	assert_false(admission_is_bulk(&admission)); /* nobody knows yet */
	admission_send(&admission, false, ADMISSION_HUGE_BYTES);
	admission_send(&admission, false, 100); /* the rest of one */
	assert_true(admission_is_bulk(&admission));
	admission_send(&admission, false, 100);
	assert_false(admission_is_bulk(&admission));
	for (int i = 0; i < 8; i++)
		admission_send(&admission, false, ADMISSION_HUGE_BYTES - 1);
	assert_false(admission_is_bulk(&admission));
	admission_armed(&admission, 0, 0);
	admission_left(&admission, ADMISSION_SPILLS_BULK, 1);
	assert_int_equal(admission.setbacks, ADMISSION_SETBACKS_SPILLS_BULK);
	admission_armed(&admission, 0, 0);
	admission_left(&admission, ADMISSION_SPILLS_BULK, 1);
	assert_int_equal(admission.setbacks, ADMISSION_SETBACKS_SPILLS_BULK + 1);
	admission_armed(&admission, 0, 0);
	admission_left(&admission, ADMISSION_SPILLS_BULK, ADMISSION_LONG_STAY_MS);
	assert_int_equal(admission.setbacks, ADMISSION_SETBACKS_SPILLS_BULK);
}

static void test_destination_level_is_its_own(void **state)
{
	uint64_t word = destination_word(7, 3);

	(void)state;
	assert_int_equal(destination_level(word, 7), 3);
	assert_int_equal(destination_level(word, 8), 0);
	word = destination_judged(word, 8, false); /* the later one takes the place */
	assert_int_equal(destination_level(word, 8), 1);
	assert_int_equal(destination_level(word, 7), 0);
}

static void test_destination_level_rises_and_falls(void **state)
{
	uint64_t word = 0;

	(void)state;
	for (unsigned i = 1; i <= 2 * ADMISSION_LEVEL_MAX; i++) {
		word = destination_judged(word, 7, false);
		assert_int_equal(destination_level(word, 7), i < ADMISSION_LEVEL_MAX ? i : ADMISSION_LEVEL_MAX);
	}
	for (unsigned i = ADMISSION_LEVEL_MAX; i > 0; i--)
		word = destination_judged(word, 7, true);
	assert_int_equal(destination_level(word, 7), 0);
	assert_int_equal(destination_level(destination_judged(word, 7, true), 7), 0);
}

static struct endpoints endpoints(const char *local, unsigned local_port, const char *remote, unsigned remote_port)
{
	struct endpoints ends = { .family = 2, .local.port_n = local_port, .remote.port_n = remote_port };

	memcpy(ends.local.address, local, strlen(local));
	memcpy(ends.remote.address, remote, strlen(remote));
	return ends;
}

static void test_destination_is_the_server(void **state)
{
	struct endpoints first = endpoints("a", 1000, "b", 80), second = endpoints("a", 1001, "b", 80);
	struct endpoints other_port = endpoints("a", 1000, "b", 81), other_host = endpoints("a", 1000, "c", 80);

	(void)state;
	/* connected: the peer's address and port */
	assert_int_equal(destination_of(&first, false), destination_of(&second, false));
	assert_int_not_equal(destination_of(&first, false), destination_of(&other_port, false));
	assert_int_not_equal(destination_of(&first, false), destination_of(&other_host, false));
	/* accepted: the own port */
	assert_int_equal(destination_of(&first, true), destination_of(&other_host, true));
	assert_int_not_equal(destination_of(&first, true), destination_of(&second, true));
	assert_int_not_equal(destination_of(&first, true), destination_of(&first, false));
}

static void test_admission_lot_is_the_same_at_both_ends(void **state)
{
	unsigned chosen = 0;

	(void)state;
	for (unsigned port = 32768; port < 60999; port += 2) { /* as connect() gives them out */
		struct endpoints client = endpoints("a", port, "b", 0x5000), server = endpoints("b", 0x5000, "a", port);

		assert_int_equal(admission_lot(&client, false), admission_lot(&server, true));
		chosen += admission_lot(&client, false) % 64 == 0;
	}
	assert_in_range(chosen, 14116 / 64 / 2, 14116 / 64 * 2);
}

static uint32_t next_lot(void)
{
	static _Atomic uint32_t port;
	struct endpoints ends = endpoints("a", ++port & 0xffff, "b", 80);

	return admission_lot(&ends, false);
}

/* An end of a connection with 8 turns. */
static bool offers(uint32_t destination, uint32_t lot)
{
	struct admission admission = { .destination = destination };
	uint32_t retry_at_turn = 0;

	return admission_ask(&admission, lot, 8, 8, &retry_at_turn);
}

static void closes(uint32_t destination, bool was_armed, uint32_t turns)
{
	struct admission admission = { .destination = destination };

	if (was_armed)
		admission_armed(&admission, 8, 0);
	admission_judge_end(&admission, turns);
	admission_judge_end(&admission, turns); /* counts once */
}

/* One connection of `turns` turns to a destination; whether it offered. */
static bool connection(uint32_t destination, uint32_t turns, bool matched)
{
	struct admission admission = { .destination = destination };
	uint32_t retry_at_turn = 0, lot = next_lot();

	if (!offers(destination, lot) && (!admission_ask(&admission, lot, 8, turns, &retry_at_turn)))
		return false;
	closes(destination, matched, turns);
	return true;
}

/* Client and server, each with its own opinion of the other: 81 and 82. */
static void test_admission_two_ends_find_each_other_again(void **state)
{
	unsigned met = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		connection(81, 100, false); /* the client's server was not under smaccel */
	for (unsigned i = 0; i < 4000; i++) {
		uint32_t lot = next_lot();
		bool client = offers(81, lot), server = offers(82, lot);

		met = client && server ? met + 1 : 0;
		if (client)
			closes(81, server, 100);
		if (server)
			closes(82, client, 100);
	}
	assert_in_range(met, 1000, 4000); /* in a row: both levels are 0 again */
}

static void test_destination_that_never_pays_is_left_alone_and_found_again(void **state)
{
	unsigned offered = 0, until_paid = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		offered += connection(71, 100, false);
	assert_in_range(offered, 10, 50);  /* the first few, then one in 64 */
	while (!connection(71, 100, true)) /* its server comes under smaccel */
		assert_in_range(++until_paid, 0, 600);
	for (unsigned i = 0; i < 400; i++)
		connection(71, 100, true);
	for (unsigned i = 0; i < 100; i++)
		assert_true(connection(71, 100, true));
}

static void test_destination_of_long_connections_waits_a_little_longer(void **state)
{
	unsigned offered = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		connection(72, 10, true); /* joined, and closed at once */
	for (unsigned i = 0; i < 640; i++)
		offered += connection(72, 10, true);
	assert_in_range(offered, 2, 40);
	assert_true(connection(72, 8u << ADMISSION_LEVEL_MAX, true));
}

static void *judge_many(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < 20000; i++)
		connection(73, 100, i % 2);
	return NULL;
}

/* The words stay words whatever threads do to them. */
static void test_destinations_survive_threads(void **state)
{
	struct admission admission = { .destination = 73 };
	uint32_t retry_at_turn = 0;
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, judge_many, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(admission_ask(&admission, 1, 8, 8u << ADMISSION_LEVEL_MAX, &retry_at_turn));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_admission_stream_is_few_turns_in_a_window),
		cmocka_unit_test(test_admission_medium_writes_are_most_of_a_window),
		cmocka_unit_test(test_admission_doubtful_row_ends_the_first_window_of_such),
		cmocka_unit_test(test_admission_turns_double_and_are_bounded),
		cmocka_unit_test(test_admission_short_stays_keep_it_away_longer),
		cmocka_unit_test(test_admission_spills_count_more_however_long_the_stay),
		cmocka_unit_test(test_admission_bulk_that_spills_is_soon_back),
		cmocka_unit_test(test_destination_level_is_its_own),
		cmocka_unit_test(test_destination_level_rises_and_falls),
		cmocka_unit_test(test_admission_lot_is_the_same_at_both_ends),
		cmocka_unit_test(test_admission_two_ends_find_each_other_again),
		cmocka_unit_test(test_destination_is_the_server),
		cmocka_unit_test(test_destination_that_never_pays_is_left_alone_and_found_again),
		cmocka_unit_test(test_destination_of_long_connections_waits_a_little_longer),
		cmocka_unit_test(test_destinations_survive_threads),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
