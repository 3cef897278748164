/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that comes while another joins (lifecycle_settle), and the wake-up that is left out where nobody has come
 * (lifecycle_joining_end): never when somebody sleeps. System calls of the shim come through this file, which counts those on
 * the futex and can end the join at the worst moment. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/lifecycle_internal.h"
#include "../../preload/raw_syscall.h"

#define ROUNDS 1000000
#define ROUNDS_PER_NAP 256
#define NAP_NS 50000
#define LIMIT_NS 3000000000ull
#define HALF_A_WAIT_NS 5000000ull /* SETTLE_NS, the bound of a wait, is 10 ms */

enum moment { MOMENT_NONE, MOMENT_BEFORE_THE_LOOK, MOMENT_ASLEEP };

static struct conn conn = { .generation = 1 };
static enum moment end_at; /* in a wait of this thread, the other's part is played here */
static unsigned waits, wakes, sleeps, woken;
static _Atomic bool threads_run, is_waiting;
static _Atomic uint64_t ended_ns; /* when the last end of a join had done all that it does; 0: it has not yet */
static unsigned lost;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void end_join(void)
{
	lifecycle_joining_end(&conn, 1, CONN_WATCHING, REASON_NONE);
}

/* As the kernel: looks at the word, sleeps. */
static long wait_alone(const _Atomic uint32_t *word, uint32_t expected)
{
	waits++;
	if (end_at == MOMENT_BEFORE_THE_LOOK)
		end_join();
	if (atomic_load(word) != expected) {
		errno = EAGAIN; /* which lifecycle_settle() keeps from its caller */
		return -1;
	}
	sleeps++;
	if (end_at == MOMENT_ASLEEP)
		end_join();
	return 0;
}

/* The real thing. Lost: the join was over when half the wait lay ahead, there was no other, and yet only the time-out ended
 * it. When the time was over counts, not when this thread had a CPU again. */
static long wait_really(long number, long word, long operation, long expected, long time)
{
	const struct timespec *limit = (const void *)time;
	uint64_t over_ns = now_ns() + (uint64_t)limit->tv_sec * 1000000000u + (uint64_t)limit->tv_nsec;

	atomic_store(&is_waiting, true);
	long result = raw_system_call(number, word, operation, expected, time, 0, 0);
	uint64_t end_ns = atomic_load(&ended_ns);

	waits++;
	sleeps += result == 0;
	lost += result == -ETIMEDOUT && end_ns && over_ns >= end_ns + HALF_A_WAIT_NS;
	atomic_store(&is_waiting, false);
	return result;
}

long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	bool is_futex = number == SYS_futex && a == (long)&conn.state;

	if (is_futex && b == FUTEX_WAKE_PRIVATE) {
		wakes++;
		woken = sleeps;
	}
	if (is_futex && b == FUTEX_WAIT_PRIVATE)
		return atomic_load(&threads_run) ? wait_really(number, a, b, c, d) : wait_alone((void *)a, (uint32_t)c);
	return raw_system_call(number, a, b, c, d, e, f);
}

static void begin_join(void)
{
	assert_true(lifecycle_joining_begin(&conn, CONN_WATCHING));
	atomic_store(&conn.joiner, -1); /* another thread's */
}

static int start(void **state)
{
	(void)state;
	atomic_store(&conn.state, CONN_WATCHING);
	waits = wakes = sleeps = woken = lost = 0;
	end_at = MOMENT_NONE;
	return 0;
}

static void test_settle_nobody_is_not_woken(void **state)
{
	(void)state;
	begin_join();
	end_join();
	assert_int_equal(wakes, 0);
	lifecycle_settle(&conn); /* nothing to wait for */
	assert_int_equal(waits, 0);
}

static void test_settle_of_a_sleeper_ends_with_the_join(void **state)
{
	(void)state;
	begin_join();
	end_at = MOMENT_ASLEEP;
	lifecycle_settle(&conn);
	assert_int_equal(sleeps, 1);
	assert_int_equal(woken, 1);
	start(state); /* and is forgotten */
	begin_join();
	end_join();
	assert_int_equal(wakes, 0);
}

static void test_settle_does_not_sleep_after_the_join(void **state)
{
	(void)state;
	begin_join();
	end_at = MOMENT_BEFORE_THE_LOOK;
	lifecycle_settle(&conn);
	assert_int_equal(waits, 1);
	assert_int_equal(sleeps, 0);
}

static void test_settle_outlives_an_interruption(void **state)
{
	(void)state;
	begin_join();
	errno = ENOENT;
	lifecycle_settle(&conn); /* the kernel's wait ends early */
	assert_int_equal(errno, ENOENT);
	assert_int_equal(conn_state(&conn), CONN_JOINING);
	end_at = MOMENT_ASLEEP;
	lifecycle_settle(&conn);
	assert_int_equal(woken, 2);
}

static void *settle_again_and_again(void *unused)
{
	while (atomic_load(&threads_run))
		lifecycle_settle(&conn);
	return unused;
}

static void test_settle_loses_no_wake_between_threads(void **state)
{
	uint64_t limit_ns = now_ns() + LIMIT_NS;
	pthread_t thread;
	unsigned rounds = 0;

	(void)state;
	atomic_store(&threads_run, true);
	assert_int_equal(pthread_create(&thread, NULL, settle_again_and_again, NULL), 0);
	for (; rounds < ROUNDS && now_ns() < limit_ns; rounds++) {
		atomic_store(&ended_ns, 0);
		begin_join();
		if (rounds % ROUNDS_PER_NAP == 0) /* on one CPU it comes only so */
			nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
		for (unsigned i = rounds % 128; i > 0; i--) /* the other thread is somewhere on its way to sleep */
			atomic_signal_fence(memory_order_seq_cst);
		end_join();
		atomic_store(&ended_ns, now_ns());
		while (atomic_load(&is_waiting))
			sched_yield();
	}
	atomic_store(&threads_run, false);
	pthread_join(thread, NULL);
	print_message("# %u joins, %u waits, %u asleep, %u calls to wake, %u lost\n", rounds, waits, sleeps, wakes,
		      lost);
	assert_int_equal(lost, 0);
	assert_in_range(sleeps, 1, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_settle_nobody_is_not_woken, start),
		cmocka_unit_test_setup(test_settle_of_a_sleeper_ends_with_the_join, start),
		cmocka_unit_test_setup(test_settle_does_not_sleep_after_the_join, start),
		cmocka_unit_test_setup(test_settle_outlives_an_interruption, start),
		cmocka_unit_test_setup(test_settle_loses_no_wake_between_threads, start),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
