/* SPDX-License-Identifier: BSD-2-Clause */
/* threads.c: who is inside a call is seen by who joins, or sees that somebody joins. Never neither: that is what the membarrier is
 * for where a second thread was ever there, and the locked operation by which a thread registers where it was not.
 *
 * The source is included, so that each round of a race can begin in a process that has seen no thread. Its system calls come
 * through this file, which counts the membarriers.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../preload/threads.c"

#define CONN 7u
#define ROUNDS 1000000u
#define LIMIT_NS 3000000000ull
#define LINGER_MAX 64u /* steps by which one of the two may begin later */

static unsigned barriers;
static bool barrier_refused;

long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_membarrier && a == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
		barriers++;
		if (barrier_refused)
			return -1;
	}
	if (number == SYS_membarrier && barrier_refused)
		return -1;
	return raw_system_call(number, a, b, c, d, e, f);
}

/* As in a process that has just begun. Only the caller may be there. */
static void forget_threads(void)
{
	for (uint32_t i = 0; i < atomic_load(&slots_used); i++) {
		atomic_store(&slots[i].inside, 0);
		atomic_store(&slots[i].tid, 0);
	}
	atomic_store(&slots_used, 0);
	atomic_store(&slots_overflowed, 0);
	thread_self = NULL;
}

static int start(void **state)
{
	(void)state;
	forget_threads();
	barriers = 0;
	barrier_refused = false;
	return 0;
}

static void *enter_and_leave(void *unused)
{
	thread_leave(thread_enter(CONN));
	return unused;
}

static void run_thread(void *(*body)(void *unused))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_threads_the_only_one_orders_no_other_cpu(void **state)
{
	(void)state;
	assert_false(threads_others_inside(CONN)); /* nobody has a slot */
	assert_int_equal(thread_enter(CONN), 0);
	assert_false(threads_others_inside(CONN)); /* it has the only one */
	assert_int_equal(barriers, 0);
}

static void test_threads_a_second_one_costs_a_barrier_for_ever(void **state)
{
	(void)state;
	assert_int_equal(thread_enter(CONN), 0);
	run_thread(enter_and_leave); /* and is gone: another may take its slot at any moment */
	for (unsigned i = 1; i < 4; i++) {
		assert_false(threads_others_inside(CONN));
		assert_int_equal(barriers, i);
	}
}

static void test_threads_the_first_slot_may_be_another_ones(void **state)
{
	(void)state;
	run_thread(enter_and_leave);
	assert_false(threads_others_inside(CONN)); /* one slot is used, and it is not the caller's */
	assert_int_equal(barriers, 1);
	atomic_store(&slots[0].tid, 1); /* somebody's, who is inside */
	atomic_store(&slots[0].inside, CONN);
	assert_true(threads_others_inside(CONN));
	assert_false(threads_others_inside(CONN + 1));
	assert_int_equal(threads_count_inside(CONN), 1);
}

static void test_threads_without_barrier_nothing_is_shown(void **state)
{
	(void)state;
	assert_int_equal(thread_enter(CONN), 0);
	barrier_refused = true;
	assert_false(threads_others_inside(CONN));
	run_thread(enter_and_leave);
	assert_true(threads_others_inside(CONN));
}

static void test_threads_beyond_the_slots_are_not_shown_to_be_outside(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SLOTS; i++)
		atomic_store(&slots[i].tid, 1);
	atomic_store(&slots_used, SLOTS);
	assert_int_equal(thread_enter(CONN), 0); /* of the two threads it is the one without a slot */
	assert_true(threads_others_inside(CONN));
	assert_true(threads_others_inside(CONN + 1));
	thread_exited(thread_self);
}

static void test_threads_beyond_the_slots_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SLOTS; i++)
		atomic_store(&slots[i].tid, 1);
	atomic_store(&slots_used, SLOTS);
	run_thread(enter_and_leave);
	run_thread(enter_and_leave);
	assert_false(threads_others_inside(CONN));
}

/* ---- races -------------------------------------------------------------------------------------------------------- */
/* The connection's state, as far as it matters here: 1, somebody joins. */
static _Atomic uint32_t joining;

/* What the two threads of a race share. One steps the round on, the other answers with the same number. */
static struct {
	_Atomic uint32_t round, answered;
	_Atomic bool saw_join;
	bool is_new; /* in each round: the other has never registered before */
	_Atomic bool ended;
} race;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void linger(unsigned steps)
{
	for (unsigned i = 0; i < steps; i++)
		atomic_signal_fence(memory_order_seq_cst);
}

/* A CPU of its own for each of the two, where there are two. */
static void take_cpu(int number)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) < 2)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || number-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* Waits for a number without a system call at first; on one CPU that would take a whole time slice. */
static void await(const _Atomic uint32_t *word, uint32_t number)
{
	for (unsigned i = 0; atomic_load(word) != number; i++)
		if (i > 2000)
			raw_system_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

/* A call on the connection: marks itself, then looks at the state. */
static void *race_inside(void *unused)
{
	take_cpu(1);
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		await(&race.round, round);
		if (atomic_load(&race.ended))
			break;
		if (race.is_new)
			thread_self = NULL;
		linger(round * 7 % LINGER_MAX);
		uint32_t previous = thread_enter(CONN);
		atomic_store(&race.saw_join, atomic_load_explicit(&joining, memory_order_acquire) != 0);
		atomic_store(&race.answered, round);
		await(&race.answered, 0); /* inside as long as the other looks */
		thread_leave(previous);
		atomic_store(&race.answered, round);
	}
	return unused;
}

/* A join: swaps the state, then looks who is inside. How often neither saw the other. */
static unsigned run_race(bool is_new)
{
	const uint64_t limit_ns = now_ns() + LIMIT_NS;
	unsigned neither = 0, both = 0;
	cpu_set_t cpus;
	uint32_t round = 0;
	pthread_t thread;

	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	memset(&race, 0, sizeof(race));
	race.is_new = is_new;
	assert_int_equal(pthread_create(&thread, NULL, race_inside, NULL), 0);
	take_cpu(0);
	while (round < ROUNDS && (round % 64 || now_ns() < limit_ns)) {
		uint32_t expected = 0;

		if (is_new) {
			forget_threads();
			if (round % 2)
				thread_enter(0); /* the only one, with a slot */
		}
		atomic_store(&joining, 0);
		atomic_store(&race.round, ++round);
		linger(round * 5 % LINGER_MAX);
		atomic_compare_exchange_strong(&joining, &expected, 1);
		bool is_inside = threads_others_inside(CONN);
		await(&race.answered, round);
		neither += !is_inside && !atomic_load(&race.saw_join);
		both += is_inside && atomic_load(&race.saw_join);
		atomic_store(&race.answered, 0);
		await(&race.answered, round);
	}
	atomic_store(&race.ended, true);
	atomic_store(&race.round, round + 1);
	pthread_join(thread, NULL);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	print_message("# %u joins, %u barriers, %u times both saw the other, %u times neither\n", round, barriers, both,
		      neither);
	return neither;
}

static void test_threads_a_second_one_is_seen_or_sees(void **state)
{
	(void)state;
	thread_enter(0);
	assert_int_equal(run_race(false), 0);
}

static void test_threads_one_that_registers_just_then_is_seen_or_sees(void **state)
{
	(void)state;
	assert_int_equal(run_race(true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_threads_the_only_one_orders_no_other_cpu, start),
		cmocka_unit_test_setup(test_threads_a_second_one_costs_a_barrier_for_ever, start),
		cmocka_unit_test_setup(test_threads_the_first_slot_may_be_another_ones, start),
		cmocka_unit_test_setup(test_threads_without_barrier_nothing_is_shown, start),
		cmocka_unit_test_setup(test_threads_beyond_the_slots_are_not_shown_to_be_outside, start),
		cmocka_unit_test_setup(test_threads_beyond_the_slots_end, start),
		cmocka_unit_test_setup(test_threads_a_second_one_is_seen_or_sees, start),
		cmocka_unit_test_setup(test_threads_one_that_registers_just_then_is_seen_or_sees, start),
	};

	threads_init();
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
