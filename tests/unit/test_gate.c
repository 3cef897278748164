/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate's arithmetic (bpf/gate.h) at its edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../bpf/gate.h"
#include "../../helper/wire/protocol.h"

_Static_assert(WIRE_RCVBUF_MIN_BYTES == GATE_RCVBUF_MIN, "the shim offers where the gate may find room");

#define KIB 1024u
#define MIB (1024u * 1024u)

/* An auto-tuned receiver with an empty queue and no promised window. */
static struct gate_receiver receiver_autotuned(uint32_t rmem_max)
{
	return (struct gate_receiver){
		.rmem_max = rmem_max, .rcvbuf = 128 * KIB, .sndbuf = 16 * MIB, .rmem_counts_redirected = 1
	};
}

static struct gate_receiver receiver_locked(uint32_t rcvbuf)
{
	return (struct gate_receiver){
		.rmem_max = 6 * MIB, .rcvbuf = rcvbuf, .rcvbuf_locked = 1, .rmem_counts_redirected = 1
	};
}

static void test_gate_order_needs_equal_sequences(void **state)
{
	(void)state;
	assert_true(gate_order_holds(5, 5));
	assert_false(gate_order_holds(6, 5));
	assert_false(gate_order_holds(5, 6));
	assert_false(gate_order_holds(0, UINT32_MAX)); /* one byte unread across the wrap */
	assert_true(gate_order_holds(0, 0));
}

static void test_gate_window_wraps_and_clamps(void **state)
{
	(void)state;
	assert_int_equal(gate_window(100, 1000, 300), 800);
	assert_int_equal(gate_window(100, 1000, 1100), 0);
	assert_int_equal(gate_window(100, 1000, 1200), 0); /* shrunk: negative */
	assert_int_equal(gate_window(UINT32_MAX - 9, 1000, 90), 900);
}

static void test_gate_window_truesize_uses_the_scaling_ratio(void **state)
{
	(void)state;
	assert_int_equal(gate_window_truesize(1000, 256), 1000);
	assert_int_equal(gate_window_truesize(1000, 128), 2000);
	assert_int_equal(gate_window_truesize(1000, 0), 2000); /* below 6.6: twice */
	assert_int_equal(gate_window_truesize(1000, 64), 4000);
	assert_true(gate_window_truesize(UINT32_MAX, 1) == (uint64_t)UINT32_MAX * 256);
}

static void test_gate_room_autotuned_leaves_a_reserve(void **state)
{
	struct gate_receiver to = receiver_autotuned(6 * MIB);

	(void)state;
	assert_true(gate_has_room(&to, 5 * MIB, 0));
	assert_false(gate_has_room(&to, 5 * MIB + 1, 0));
	to.rmem_alloc = 4 * MIB;
	assert_true(gate_has_room(&to, 1 * MIB, 0));
	assert_false(gate_has_room(&to, 1 * MIB + 1, 0));
	to.window = 256 * KIB;
	to.scaling_ratio = 128;
	assert_true(gate_has_room(&to, 512 * KIB, 0));
	assert_false(gate_has_room(&to, 512 * KIB + 1, 0));
}

static void test_gate_room_autotuned_with_little_memory_leaves_a_quarter(void **state)
{
	struct gate_receiver to = receiver_autotuned(2 * MIB);

	(void)state;
	to.window = 512 * KIB;
	to.scaling_ratio = 128;
	assert_true(gate_has_room(&to, 512 * KIB, 0));
	assert_false(gate_has_room(&to, 512 * KIB + 1, 0));
	to.rcvbuf = 127 * KIB;
	assert_true(gate_has_room(&to, 512 * KIB, 0));              /* it may grow */
	to = (struct gate_receiver){ .rmem_counts_redirected = 1 }; /* nothing could be read */
	assert_false(gate_has_room(&to, 1, 0));
}

/* TCP has filled it once. */
static void test_gate_room_of_a_window_that_is_all_of_the_buffer_is_little(void **state)
{
	struct gate_receiver to = receiver_autotuned(2 * MIB);

	(void)state;
	for (int locked = 0; locked < 2; locked++) {
		to.rcvbuf = 2 * MIB;
		to.rcvbuf_locked = locked;
		to.scaling_ratio = 256;
		to.window = 2 * MIB;
		assert_true(gate_has_room(&to, 4 * KIB, 0));
		assert_false(gate_has_room(&to, 4 * KIB + 1, 0));
		to.rmem_alloc = 4 * KIB;
		assert_false(gate_has_room(&to, 1, 0));
		to.rmem_alloc = 0;
		to.rcvbuf = 128 * KIB - 1;
		assert_false(gate_has_room(&to, 1, 0));
	}
}

static void test_gate_room_does_not_grow_with_a_large_tcp_rmem(void **state)
{
	struct gate_receiver to = receiver_autotuned(32 * MIB);

	(void)state;
	assert_true(gate_has_room(&to, 5 * MIB, 0));
	assert_false(gate_has_room(&to, 5 * MIB + 1, 0));
	/* A window that has grown large counts against tcp_rmem[2] only, else such a connection never redirects. */
	to.window = 8 * MIB;
	to.scaling_ratio = 128;
	assert_true(gate_has_room(&to, 5 * MIB, 0));
}

/* Over loopback some 2.5 MiB, over an interface whose MTU is 1500 45 KiB. */
static void test_gate_room_leaves_what_the_backlog_wants(void **state)
{
	struct gate_receiver to = receiver_autotuned(6 * MIB);

	(void)state;
	to.sndbuf = 2 * MIB;
	assert_true(gate_has_room(&to, 128 * KIB + 1 * MIB, 0));
	assert_false(gate_has_room(&to, 128 * KIB + 1 * MIB + 1, 0));
	to.rmem_alloc = 1 * MIB;
	assert_true(gate_has_room(&to, 128 * KIB, 0));
	assert_false(gate_has_room(&to, 128 * KIB + 1, 0));
	to.rcvbuf = 1 * MIB; /* it has grown */
	assert_true(gate_has_room(&to, 1 * MIB, 0));
	assert_false(gate_has_room(&to, 1 * MIB + 1, 0));
	to = receiver_autotuned(6 * MIB);
	to.sndbuf = 2 * MIB;
	to.rmem_counts_redirected = 0; /* then the kernel does not count them there, either */
	assert_true(gate_has_room(&to, 2 * MIB, 0));
}

static void test_gate_growth_is_needed_beyond_the_buffer(void **state)
{
	struct gate_receiver to = receiver_autotuned(6 * MIB);

	(void)state;
	to.window = 64 * KIB; /* as it begins */
	assert_false(gate_needs_growth(&to, 48 * KIB));
	assert_true(gate_needs_growth(&to, 48 * KIB + 1));
	to.rmem_alloc = 48 * KIB;
	assert_true(gate_needs_growth(&to, 1));
	to.rcvbuf = 256 * KIB;
	assert_false(gate_needs_growth(&to, 64 * KIB));
}

static void test_gate_room_that_hardly_grows_is_a_quarter(void **state)
{
	struct gate_receiver to = receiver_autotuned(MIB - 1);

	(void)state;
	to.rcvbuf = 128 * KIB;
	assert_true(gate_has_room(&to, 32 * KIB, 0));
	assert_false(gate_has_room(&to, 32 * KIB + 1, 0));
}

static void test_gate_room_locked_is_a_quarter(void **state)
{
	struct gate_receiver to = receiver_locked(128 * KIB);

	(void)state;
	assert_true(gate_has_room(&to, 32 * KIB, 0));
	assert_false(gate_has_room(&to, 32 * KIB + 1, 0));
	to.rmem_alloc = 32 * KIB;
	assert_false(gate_has_room(&to, 1, 0));
	to.rmem_alloc = 0;
	to.scaling_ratio = 256;
	to.window = 100 * KIB;
	assert_true(gate_has_room(&to, 28 * KIB, 0));
	assert_false(gate_has_room(&to, 28 * KIB + 1, 0));
	to = receiver_locked(128 * KIB - 1);
	assert_false(gate_has_room(&to, 1, 0));
}

static void test_gate_room_locked_ignores_tcp_rmem(void **state)
{
	struct gate_receiver to = receiver_locked(8 * MIB);

	(void)state;
	to.rmem_max = 0;
	assert_true(gate_has_room(&to, 2 * MIB, 0));
}

static void test_gate_room_test_bound_only_lowers(void **state)
{
	struct gate_receiver to = receiver_autotuned(6 * MIB);

	(void)state;
	assert_true(gate_has_room(&to, 4096, 4096));
	assert_false(gate_has_room(&to, 4097, 4096));
	to.rmem_alloc = 1;
	assert_false(gate_has_room(&to, 4096, 4096));
	assert_false(gate_has_room(&to, 6 * MIB, UINT32_MAX));
}

static void test_gate_room_one_message_where_the_kernel_does_not_count(void **state)
{
	struct gate_receiver to = receiver_autotuned(6 * MIB);

	(void)state;
	to.rmem_counts_redirected = 0;
	assert_true(gate_has_room(&to, 1, 0));
	to.redirected_unread = 1;
	assert_false(gate_has_room(&to, 1, 0));
}

static void test_gate_waits_for_a_busy_reader_only_with_large_messages(void **state)
{
	struct gate_receiver to = receiver_autotuned(6 * MIB);

	(void)state;
	assert_false(gate_would_wait(&to, 1));
	to.lock_owned = 1;
	assert_true(gate_would_wait(&to, 1));
	assert_true(gate_would_wait(&to, GATE_WORTH_A_WAIT_BYTES - 1));
	assert_false(gate_would_wait(&to, GATE_WORTH_A_WAIT_BYTES));
}

static void test_gate_room_survives_nonsense(void **state)
{
	struct gate_receiver to = receiver_autotuned(UINT32_MAX);

	(void)state;
	to.rmem_alloc = UINT32_MAX; /* a torn or negative count */
	assert_false(gate_has_room(&to, UINT32_MAX, 0));
	to.rmem_alloc = 0;
	to.window = UINT32_MAX;
	to.scaling_ratio = 1;
	to.rcvbuf = 0;
	assert_false(gate_has_room(&to, 1, 0));
}

/* Sends that many of one byte; how many may? */
static uint32_t queue_small(struct sm_small *small, uint32_t *sent_bytes, uint32_t *unread, uint32_t count)
{
	uint32_t queued = 0;

	for (; queued < count && gate_may_queue(small, *unread, *sent_bytes); queued++) {
		small->sent++;
		++*sent_bytes;
		++*unread;
	}
	return queued;
}

static void test_gate_bounds_small_messages(void **state)
{
	uint32_t start[] = { 0, UINT32_MAX - 500, (1u << 31) - 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(start) / sizeof(start[0]); i++) {
		struct sm_small small = { start[i], start[i], start[i], start[i] };
		uint32_t sent = start[i], unread = 0;

		assert_int_equal(queue_small(&small, &sent, &unread, 5000), GATE_SMALL_UNREAD_MAX);
		unread = 1;
		assert_int_equal(queue_small(&small, &sent, &unread, 5000), GATE_SMALL_UNREAD_MAX - 1);
		unread = 0;
		assert_int_equal(queue_small(&small, &sent, &unread, 5000), GATE_SMALL_UNREAD_MAX);
		unread = 300;
		for (int round = 0; round < 10000; round++) {
			assert_int_equal(queue_small(&small, &sent, &unread, 1), 1);
			unread--;
		}
	}
}

/* 2000 were sent, 1500 of them when the byte was that the mark is at. */
static bool may_queue_behind_mark(uint32_t start, uint32_t read_past_mark, uint32_t unread)
{
	struct sm_small small = { start + 2000, start, start + 1500, start };

	return gate_may_queue(&small, unread, start + read_past_mark + unread);
}

static void test_gate_counts_small_messages_from_the_mark(void **state)
{
	uint32_t start[] = { 0, UINT32_MAX - 1000, UINT32_MAX - 1700, (1u << 31) - 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(start) / sizeof(start[0]); i++) {
		assert_false(may_queue_behind_mark(start[i], (uint32_t)-2, 2048));
		assert_true(may_queue_behind_mark(start[i], 0, 2048));
		assert_true(may_queue_behind_mark(start[i], 0xbfffffff, 2048)); /* long past */
		assert_false(may_queue_behind_mark(start[i], 0xc0000000, 2048));
		/* There are no more than bytes. */
		assert_true(may_queue_behind_mark(start[i], (uint32_t)-2, GATE_SMALL_UNREAD_MAX - 1));
		assert_false(may_queue_behind_mark(start[i], (uint32_t)-2, GATE_SMALL_UNREAD_MAX));
	}
}

static void test_gate_counts_no_small_message_of_a_drained_queue(void **state)
{
	struct sm_small small = { 2000, 0, 500, 0 };

	(void)state;
	assert_true(gate_may_queue(&small, 0, 5000));
	assert_true(gate_may_queue(&small, 2048, 6024));
}

static void test_gate_leaves_the_readers_cgroup_some_memory(void **state)
{
	const uint64_t max = 16384; /* 64 MiB: 4 stay free, 12 of 192 KiB, never more than 32 */

	(void)state;
	assert_true(gate_memory_has_room(max, 15359, 0, 0, 64));
	assert_false(gate_memory_has_room(max, 15360, 0, 0, 64));
	assert_true(gate_memory_has_room(max, 16384, 1025, 0, 64)); /* full of files */
	assert_true(gate_memory_has_room(max, 13263, 0, 128 * KIB, 64 * KIB));
	assert_false(gate_memory_has_room(max, 13312, 0, 128 * KIB, 64 * KIB));
	assert_true(gate_memory_has_room(max, 8000, 0, 4 * MIB, 64 * KIB));
	assert_false(gate_memory_has_room(max, 8200, 0, 4 * MIB, 64 * KIB));
	assert_false(gate_memory_has_room(max, 20000, 0, 0, 1));                     /* lowered below what is used */
	assert_true(gate_memory_has_room(1ull << 51, 1ull << 30, 0, MIB, 64 * KIB)); /* none */
	assert_true(gate_memory_has_room(1ull << 40, (1ull << 40) - 4097, 0, 0, 1)); /* never more than 16 MiB */
	/* Nor less for others. */
	assert_false(gate_memory_has_room(1ull << 40, (1ull << 40) - 4000, 0, 128 * KIB, 64 * KIB));
	assert_true(gate_memory_has_room(max, (uint64_t)-2, 0, 0, 64));
	assert_true(gate_memory_has_room(max, (uint64_t)-5000, 0, 0, 64)); /* more than stays free */
	assert_false(gate_memory_has_room(0, 0, 0, 0, 0));                 /* could not be read */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gate_order_needs_equal_sequences),
		cmocka_unit_test(test_gate_window_wraps_and_clamps),
		cmocka_unit_test(test_gate_window_truesize_uses_the_scaling_ratio),
		cmocka_unit_test(test_gate_room_autotuned_leaves_a_reserve),
		cmocka_unit_test(test_gate_room_autotuned_with_little_memory_leaves_a_quarter),
		cmocka_unit_test(test_gate_room_of_a_window_that_is_all_of_the_buffer_is_little),
		cmocka_unit_test(test_gate_room_does_not_grow_with_a_large_tcp_rmem),
		cmocka_unit_test(test_gate_room_leaves_what_the_backlog_wants),
		cmocka_unit_test(test_gate_growth_is_needed_beyond_the_buffer),
		cmocka_unit_test(test_gate_room_that_hardly_grows_is_a_quarter),
		cmocka_unit_test(test_gate_room_locked_is_a_quarter),
		cmocka_unit_test(test_gate_room_locked_ignores_tcp_rmem),
		cmocka_unit_test(test_gate_room_test_bound_only_lowers),
		cmocka_unit_test(test_gate_room_one_message_where_the_kernel_does_not_count),
		cmocka_unit_test(test_gate_room_survives_nonsense),
		cmocka_unit_test(test_gate_bounds_small_messages),
		cmocka_unit_test(test_gate_counts_small_messages_from_the_mark),
		cmocka_unit_test(test_gate_counts_no_small_message_of_a_drained_queue),
		cmocka_unit_test(test_gate_leaves_the_readers_cgroup_some_memory),
		cmocka_unit_test(test_gate_waits_for_a_busy_reader_only_with_large_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
