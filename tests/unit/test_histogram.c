/* SPDX-License-Identifier: BSD-2-Clause */
/* Histograms: the buckets, adding, merging, percentiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/histogram.h"
#include "wire/latency.h"

static int make(void **state)
{
	*state = calloc(1, sizeof(struct histogram));
	return *state ? 0 : -1;
}

static int drop(void **state)
{
	free(*state);
	return 0;
}

static void test_histogram_buckets_follow_each_other(void **state)
{
	(void)state;
	assert_int_equal(histogram_lowest(0), 0);
	for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++) {
		uint64_t lowest = histogram_lowest(index), highest = histogram_highest(index);

		assert_true(lowest <= highest);
		assert_int_equal(histogram_index(lowest), index);
		assert_int_equal(histogram_index(highest), index);
		if (index)
			assert_int_equal(histogram_highest(index - 1) + 1, lowest);
		assert_true((highest - lowest + 1) * 1000 <= lowest || highest == lowest); /* 3 digits */
	}
	assert_int_equal(histogram_highest(HISTOGRAM_BUCKETS - 1), HISTOGRAM_VALUE_MAX);
}

/* What HdrHistogram(1, 2^37 - 1, 3).countsArrayIndex() gives. */
static void test_histogram_index_is_hdrhistograms(void **state)
{
	static const struct {
		uint64_t value;
		uint32_t index;
	} known[] = {
		{ 0, 0 },        { 1, 1 },           { 2047, 2047 },        { 2048, 2048 },
		{ 2049, 2048 },  { 2050, 2049 },     { 4095, 3071 },        { 4096, 3072 },
		{ 10000, 4322 }, { 1000000, 11169 }, { 1000000000, 21363 }, { UINT64_C(100000000000), 28114 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_int_equal(histogram_index(known[i].value), known[i].index);
	assert_int_equal(histogram_index(HISTOGRAM_VALUE_MAX), HISTOGRAM_BUCKETS - 1);
	assert_int_equal(histogram_index(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_histogram_percentiles(void **state)
{
	struct histogram *histogram = *state;

	assert_int_equal(histogram_percentile(histogram, 0.5), 0);
	for (uint64_t value = 1; value <= 1000; value++)
		histogram_add(histogram, value, 1);
	assert_int_equal(histogram->count, 1000);
	assert_int_equal(histogram->sum_ns, 500500);
	assert_int_equal(histogram->max_ns, 1000);
	assert_int_equal(histogram_percentile(histogram, 0), 1);
	assert_int_equal(histogram_percentile(histogram, 0.5), 500);
	assert_int_equal(histogram_percentile(histogram, 0.99), 990);
	assert_int_equal(histogram_percentile(histogram, 0.999), 999);
	assert_int_equal(histogram_percentile(histogram, 0.9991), 1000);
	assert_int_equal(histogram_percentile(histogram, 1), 1000);
	assert_int_equal(histogram_at_rank(histogram, 1), 1);
	histogram_add(histogram, 1000001, 1); /* not the bucket's end, which is 1000447 */
	assert_int_equal(histogram_percentile(histogram, 1), 1000001);
}

static void test_histogram_percentile_within_a_thousandth(void **state)
{
	struct histogram *histogram = *state;
	uint64_t value = 1;

	for (int i = 0; i < 10000; i++) {
		value = (value * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 1;
		uint64_t one = value % HISTOGRAM_VALUE_MAX, read;

		memset(histogram, 0, sizeof(*histogram));
		histogram_add(histogram, one, 1);
		histogram_add(histogram, HISTOGRAM_VALUE_MAX, 1);
		read = histogram_percentile(histogram, 0.5);
		assert_true(read >= one && (read - one) * 1000 <= one);
	}
}

static void test_histogram_merge_is_adding(void **state)
{
	struct histogram *sum = *state, *one = calloc(1, sizeof(*one)), *all = calloc(1, sizeof(*all));

	for (uint64_t i = 0; i < 5000; i++) {
		uint64_t value = i * i * 37;

		histogram_add(all, value, i % 3 + 1);
		histogram_add(i & 1 ? one : sum, value, i % 3 + 1);
	}
	histogram_merge(sum, one);
	assert_memory_equal(sum, all, sizeof(*sum));
	free(one);
	free(all);
}

static void test_histogram_counts_do_not_run_over(void **state)
{
	struct histogram *histogram = *state;

	histogram_add(histogram, 5, UINT64_MAX);
	histogram_add(histogram, 5, UINT64_MAX);
	histogram_add(histogram, 7, 1);
	assert_int_equal(histogram->count, UINT64_MAX);
	assert_int_equal(histogram->sum_ns, UINT64_MAX);
	assert_int_equal(histogram_percentile(histogram, 0.5), 5);
	histogram_add(histogram, 5, 0);
	assert_int_equal(histogram_percentile(histogram, 0.5), 5);
}

static void test_histogram_of_bare_counts(void **state)
{
	struct histogram *histogram = *state;
	uint32_t index = histogram_index(1000000);

	histogram_add_bucket(histogram, index, 4);
	assert_int_equal(histogram->count, 4);
	assert_int_equal(histogram_percentile(histogram, 0.5), histogram_highest(index));
	assert_in_range(histogram->sum_ns / 4, histogram_lowest(index), histogram_highest(index));
	histogram_add_counts(histogram, index, 1);
	assert_int_equal(histogram->count, 5);
}

static void test_latency_key_keeps_its_parts(void **state)
{
	(void)state;
	for (int role = 0; role < 2; role++)
		for (int arm = 0; arm < LATENCY_ARM_COUNT; arm++) {
			uint32_t key = latency_key(role, arm, LATENCY_PARTS - 1, 65535);

			assert_true(key & LATENCY_KEY_USED);
			assert_int_equal(latency_key_role(key), role);
			assert_int_equal(latency_key_arm(key), arm);
			assert_int_equal(latency_key_port(key), 65535);
			assert_int_equal(latency_key_part(key), LATENCY_PARTS - 1);
			assert_false(key & LATENCY_KEY_UNUSED_BITS);
			assert_int_equal(latency_key_of_all_parts(key), latency_key(role, arm, 0, 65535));
			assert_int_equal(latency_key_of_all_ports(key), latency_key(role, arm, LATENCY_PARTS - 1, 0));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_histogram_buckets_follow_each_other),
		cmocka_unit_test(test_histogram_index_is_hdrhistograms),
		cmocka_unit_test_setup_teardown(test_histogram_percentiles, make, drop),
		cmocka_unit_test_setup_teardown(test_histogram_percentile_within_a_thousandth, make, drop),
		cmocka_unit_test_setup_teardown(test_histogram_merge_is_adding, make, drop),
		cmocka_unit_test_setup_teardown(test_histogram_counts_do_not_run_over, make, drop),
		cmocka_unit_test_setup_teardown(test_histogram_of_bare_counts, make, drop),
		cmocka_unit_test(test_latency_key_keeps_its_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
