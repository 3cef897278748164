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

/* Durations with a long tail, around 100 us. */
static void fill(struct histogram *histogram, size_t count, double factor)
{
	memset(histogram, 0, sizeof(*histogram));
	for (size_t i = 0; i < count; i++) {
		double one = 1 / (1.0001 - uniform());

		histogram_add(histogram, (uint64_t)(factor * 50000 * (1 + one)), 1);
	}
}

static struct histogram accelerated, plain;

static void test_guard_sees_what_is_much_worse(void **state)
{
	(void)state;
	random_state = 1;
	fill(&plain, 20000, 1);
	fill(&accelerated, 20000, 2);
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
	fill(&plain, 100, 1);
	fill(&accelerated, 100, 10);
	assert_false(trial_guard_bounds(&plain, 0.999, &lower_ns, &upper_ns));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.999, 0));
	memset(&plain, 0, sizeof(plain));
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

		memset(&plain, 0, sizeof(plain));
		memset(&accelerated, 0, sizeof(accelerated));
		for (int look = 0; look < 300 && !stopped; look++) {
			for (int i = 0; i < 20; i++) {
				histogram_add(&plain, (uint64_t)(100000 / (1.001 - uniform())), 1);
				histogram_add(&accelerated, (uint64_t)(100000 / (1.001 - uniform())), 1);
			}
			if (look % 10 == 9) /* each costs a walk over all buckets */
				stopped = trial_guard_is_worse(&accelerated, &plain, 0.99, 5);
		}
		fired += stopped;
	}
	assert_int_equal(fired, 0);
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

		fill(&plain, 2000, 1);
		assert_true(trial_guard_bounds(&plain, 0.99, &lower_ns, &upper_ns));
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
