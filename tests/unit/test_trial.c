/* SPDX-License-Identifier: BSD-2-Clause */
/* Trials' pure parts: the hash that assigns, the guard, and where latencies are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "dispatch.h"
#include "helper.h"
#include "latency.h"
#include "policy.h"
#include "session.h"
#include "siphash.h"
#include "trial_guard.h"
#include "trial_internal.h"
#include "wire/latency.h"

/* The vectors of the reference implementation: key 00 01 .. 0f, input 00 01 .. of 0 to 15 bytes. */
static void test_siphash_vectors(void **state)
{
	static const uint64_t expected[] = {
		0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
		0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
		0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
		0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	};
	const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	unsigned char input[16];

	(void)state;
	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (unsigned char)i;
	for (size_t count = 0; count < sizeof(input); count++)
		assert_true(siphash(key, input, count) == expected[count]);
}

static uint64_t random_state;

static double uniform(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (double)(random_state >> 11) / (double)(UINT64_C(1) << 53);
}

static double one_duration(double factor)
{
	return factor * 50000 * (1 + 1 / (1.0001 - uniform()));
}

/* Durations with a long tail, around 100 us. */
static void fill(struct histogram *histogram, size_t count, double factor)
{
	memset(histogram, 0, sizeof(*histogram));
	for (size_t i = 0; i < count; i++)
		histogram_add(histogram, (uint64_t)one_duration(factor), 1);
}

static struct histogram of_parts[2][LATENCY_PARTS];
static struct guard_arm accelerated, plain;

static void arms_clear(void)
{
	memset(of_parts, 0, sizeof(of_parts));
	for (unsigned i = 0; i < LATENCY_PARTS; i++) {
		accelerated.parts[i] = &of_parts[0][i];
		plain.parts[i] = &of_parts[1][i];
	}
}

/* The same of every part: connections are all alike. */
static void fill_parts(struct histogram parts[LATENCY_PARTS], size_t count, double factor)
{
	for (unsigned i = 0; i < LATENCY_PARTS; i++)
		fill(&parts[i], count / LATENCY_PARTS, factor);
}

static void test_guard_sees_what_is_much_worse(void **state)
{
	(void)state;
	random_state = 1;
	arms_clear();
	fill_parts(of_parts[1], 20000, 1);
	fill_parts(of_parts[0], 20000, 2);
	assert_true(trial_guard_is_worse(&accelerated, &plain, 0.5, 20));
	assert_true(trial_guard_is_worse(&accelerated, &plain, 0.99, 20));
	assert_false(trial_guard_is_worse(&plain, &accelerated, 0.99, 20));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.5, 100)); /* it is twice, not more */
}

static void test_guard_wants_enough_to_say(void **state)
{
	uint64_t lower_ns, upper_ns;

	(void)state;
	random_state = 2;
	arms_clear();
	fill_parts(of_parts[1], 104, 1);
	fill_parts(of_parts[0], 104, 10);
	assert_false(trial_guard_bounds(&of_parts[1][0], 0.999, &lower_ns, &upper_ns));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.999, 0));
	memset(of_parts[1], 0, sizeof(of_parts[1]));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.5, 0));
	assert_false(trial_guard_is_worse(&plain, &accelerated, 0.5, 0));
}

/* Asked again and again as data come in, 300 times a trial: of 200 trials of equal arms not one may be stopped. */
static void test_guard_is_not_set_off_by_chance(void **state)
{
	int fired = 0;

	(void)state;
	random_state = 3;
	for (int trial = 0; trial < 200; trial++) {
		bool stopped = false;

		arms_clear();
		for (int look = 0; look < 300 && !stopped; look++) {
			for (int i = 0; i < 20; i++) {
				histogram_add(&of_parts[1][i % LATENCY_PARTS], (uint64_t)(100000 / (1.001 - uniform())),
					      1);
				histogram_add(&of_parts[0][i % LATENCY_PARTS], (uint64_t)(100000 / (1.001 - uniform())),
					      1);
			}
			if (look % 10 == 9) /* each costs a walk over all buckets */
				stopped = trial_guard_is_worse(&accelerated, &plain, 0.99, 5);
		}
		fired += stopped;
	}
	assert_int_equal(fired, 0);
}

/* Connections, each in an arm and in a part of it by chance; the first `slow` of them have requests 40 times as long, those of the
 * accelerated arm all `factor` times. */
static bool fires(unsigned connections, unsigned slow, double factor, bool at_worst)
{
	arms_clear();
	for (unsigned i = 0; i < connections; i++) {
		unsigned arm = at_worst ? i >= slow : uniform() < 0.5;
		unsigned part = (unsigned)(uniform() * LATENCY_PARTS);

		for (int request = 0; request < 50; request++)
			histogram_add(&of_parts[arm][part],
				      (uint64_t)one_duration((i < slow ? 40 : 1) * (arm ? 1 : factor)), 1);
	}
	return trial_guard_is_worse(&accelerated, &plain, 0.5, 50);
}

/* Of two connections that work at different things one is in each arm: requests, however many, do not make that a difference of arms. */
static void test_guard_wants_connections_to_say_it(void **state)
{
	unsigned fired = 0;

	(void)state;
	random_state = 6;
	assert_false(fires(2, 1, 1, true));
	assert_false(fires(10, 5, 1, true)); /* five parts at the most */
	for (int trial = 0; trial < 1500; trial++)
		fired += fires(4 + (unsigned)trial % 40, (4 + (unsigned)trial % 40) / 2, 1, false);
	assert_in_range(fired, 0, 1);
}

static void test_guard_fires_where_many_connections_are_worse(void **state)
{
	unsigned fired = 0;

	(void)state;
	random_state = 7;
	for (int trial = 0; trial < 50; trial++)
		fired += fires(40, 0, 2, false);
	assert_in_range(fired, 45, 50);
}

/* Every part of one arm worse than every part of the other; of 8 and 8 four pairs may be the other way round, of 6 and 6 none. */
static void test_guard_parts_are_ranked(void **state)
{
	(void)state;
	random_state = 8;
	arms_clear();
	for (unsigned i = 0; i < LATENCY_PARTS; i++) {
		histogram_add(&of_parts[0][i], 1000 + i, 10);
		histogram_add(&of_parts[1][i], i < 4 ? 500 : 600, 10);
	}
	assert_true(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 50));
	assert_false(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 70)); /* 1007 is not 70 % above 600 */
	histogram_add(&of_parts[0][0], 550, 20);                                  /* worse than four of them */
	assert_true(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 0));
	histogram_add(&of_parts[0][1], 590, 20);
	assert_false(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 0));
	for (unsigned i = 0; i < 2; i++)
		accelerated.parts[i] = plain.parts[i] = NULL;
	assert_true(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 50));
	histogram_add(&of_parts[1][7], 5000, 20);
	assert_false(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 50));
	plain.parts[7] = NULL; /* five have no say */
	assert_false(trial_guard_parts_are_worse(&accelerated, &plain, 0.5, 50));
}

/* The bounds hold the true quantile: of 300 samples of 2,000, all but a few in a thousand. */
static void test_guard_bounds_hold_the_quantile(void **state)
{
	const double true_p99 = 50000 * (1 + 1 / (1.0001 - 0.99));
	int outside = 0;

	(void)state;
	random_state = 4;
	for (int i = 0; i < 300; i++) {
		uint64_t lower_ns = 0, upper_ns = 0;

		fill(&of_parts[0][0], 2000, 1);
		assert_true(trial_guard_bounds(&of_parts[0][0], 0.99, &lower_ns, &upper_ns));
		outside += (double)lower_ns > true_p99 * 1.001 || (double)upper_ns < true_p99 * 0.999;
	}
	assert_in_range(outside, 0, 3);
}

/* ---- where latencies are kept ---- */

static uint32_t key_of(enum latency_role role, enum latency_arm arm, uint16_t port_h)
{
	return latency_key(role, arm, 0, port_h);
}

/* Whichever arm of a port comes first, and in whatever order: with the other arm, or not at all. */
static void test_a_port_has_both_arms_or_neither(void **state)
{
	struct latency_set set;
	unsigned both = 0;

	(void)state;
	latency_set_init_trial(&set);
	random_state = 5;
	for (int i = 0; i < 2000; i++) {
		enum latency_arm arm = uniform() < 0.3 ? LATENCY_PLAIN : LATENCY_ACCELERATED;
		struct histogram *histogram =
			latency_set_get(&set, key_of(LATENCY_CLIENT, arm, (uint16_t)(1000 + 100 * uniform())));

		if (histogram)
			histogram_add(histogram, 1000, 1);
	}
	for (uint16_t port_h = 1000; port_h < 1100; port_h++) {
		bool is_plain = latency_set_get(&set, key_of(LATENCY_CLIENT, LATENCY_PLAIN, port_h)) != NULL;
		bool is_accelerated =
			latency_set_get(&set, key_of(LATENCY_CLIENT, LATENCY_ACCELERATED, port_h)) != NULL;

		assert_true(is_plain == is_accelerated);
		both += is_plain;
	}
	assert_int_equal(both, LATENCY_SET_MAX / 2);
	latency_set_clear(&set);
	assert_int_equal(set.count, 0);
}

/* Nothing is half done where there is room for one more: what is of no arm is by itself. */
static void test_the_last_place_is_not_for_one_arm(void **state)
{
	struct latency_set set;

	(void)state;
	latency_set_init_trial(&set);
	for (uint16_t port_h = 1; port_h < LATENCY_SET_MAX; port_h++)
		assert_non_null(latency_set_get(&set, key_of(LATENCY_SERVER, LATENCY_ALL, port_h)));
	assert_null(latency_set_get(&set, key_of(LATENCY_SERVER, LATENCY_PLAIN, 7)));
	assert_null(latency_set_get(&set, key_of(LATENCY_SERVER, LATENCY_ACCELERATED, 7)));
	assert_int_equal(set.count, LATENCY_SET_MAX - 1);
	assert_non_null(latency_set_get(&set, key_of(LATENCY_SERVER, LATENCY_ALL, 7)));
	latency_set_clear(&set);
}

/* A user's has what there is, and pays for that alone. */
static void test_a_users_arms_are_by_themselves(void **state)
{
	struct policy_settings settings;
	struct policy *policy;
	struct latency_set set;

	(void)state;
	policy_settings_init(&settings);
	policy = policy_new(&settings, 16);
	latency_set_init(&set, policy, 7);
	assert_non_null(latency_set_get(&set, key_of(LATENCY_SERVER, LATENCY_PLAIN, 80)));
	assert_int_equal(policy_held(policy, 7, POLICY_HISTOGRAMS), 1);
	latency_set_clear(&set);
	assert_int_equal(policy_held(policy, 7, POLICY_HISTOGRAMS), 0);
	policy_free(policy);
}

static void test_what_is_empty_is_not_written(void **state)
{
	struct latency_set set;
	char *text = NULL;
	bool first = true;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	(void)state;
	assert_non_null(out);
	latency_set_init_trial(&set);
	histogram_add(latency_set_get(&set, key_of(LATENCY_CLIENT, LATENCY_PLAIN, 80)), 1000, 1);
	latency_set_write(&set, &first, out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(set.count, 2);
	assert_non_null(strstr(text, "\"arm\":\"plain\""));
	assert_null(strstr(text, "accelerated"));
	free(text);
	latency_set_clear(&set);
}

/* Numbers are what processes claim. */
static void test_what_is_claimed_is_a_number_to_readers(void **state)
{
	static struct helper helper;
	static struct trials trials;
	const struct request request = { .helper = &helper };
	struct histogram *histogram;
	json_t *report;
	char *text;

	(void)state;
	trials.helper = &helper;
	trials.state = TRIAL_ENDED;
	latency_set_init_trial(&trials.requests);
	latency_set_init_trial(&trials.parts);
	latency_set_init_trial(&trials.connections);
	trials.requests.lost = trials.requests.unrecorded = trials.connections.lost = UINT64_MAX;
	trials.unassigned[REASON_OOB] = UINT64_MAX;
	histogram = latency_set_get(&trials.requests, key_of(LATENCY_CLIENT, LATENCY_PLAIN, 80));
	histogram_add_counts(histogram, 1, UINT64_MAX);
	histogram_add_sum(histogram, UINT64_MAX, UINT64_MAX);
	helper.trials = &trials;
	assert_int_equal(loop_open(&helper.loop), 0);
	helper.sessions = sessions_new(&helper);
	assert_non_null(helper.sessions);
	text = trial_report_text(&request);
	assert_non_null(text);
	report = json_loads(text, 0, NULL);
	assert_non_null(report);
	assert_true(json_integer_value(json_object_get(report, "latencies_left_out")) == INT64_MAX);
	json_decref(report);
	free(text);
	latency_set_clear(&trials.requests);
	sessions_free(helper.sessions);
	loop_close(helper.loop);
}

/* Sessions that the sweep has been at were kept out. */
static void test_a_stop_at_the_end_begins_the_sweep_anew(void **state)
{
	static const enum trial_state states[] = { TRIAL_ENDING, TRIAL_ENDED };
	struct channel channel = { .source.fd = -1 };
	struct helper helper = { 0 };
	struct request request = { .helper = &helper, .channel = &channel };

	(void)state;
	assert_int_equal(loop_open(&helper.loop), 0);
	helper.trials = trials_new(&helper);
	assert_non_null(helper.trials);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		helper.trials->state = states[i];
		helper.trials->off = true;
		helper.trials->cursor = helper.trials->slot_cursor = 7;
		assert_int_equal(trial_handle_stop(&request), 0);
		assert_false(helper.trials->off);
		assert_int_equal(helper.trials->state, TRIAL_ENDING);
		assert_int_equal(helper.trials->cursor, 0);
		assert_int_equal(helper.trials->slot_cursor, 0);
	}
	loop_close(helper.loop);
	trials_free(helper.trials);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_vectors),
		cmocka_unit_test(test_guard_sees_what_is_much_worse),
		cmocka_unit_test(test_guard_wants_enough_to_say),
		cmocka_unit_test(test_guard_is_not_set_off_by_chance),
		cmocka_unit_test(test_guard_wants_connections_to_say_it),
		cmocka_unit_test(test_guard_fires_where_many_connections_are_worse),
		cmocka_unit_test(test_guard_parts_are_ranked),
		cmocka_unit_test(test_guard_bounds_hold_the_quantile),
		cmocka_unit_test(test_a_port_has_both_arms_or_neither),
		cmocka_unit_test(test_the_last_place_is_not_for_one_arm),
		cmocka_unit_test(test_a_users_arms_are_by_themselves),
		cmocka_unit_test(test_what_is_empty_is_not_written),
		cmocka_unit_test(test_what_is_claimed_is_a_number_to_readers),
		cmocka_unit_test(test_a_stop_at_the_end_begins_the_sweep_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
