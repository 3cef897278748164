/* SPDX-License-Identifier: BSD-2-Clause */
/* held.c and fork.c: what a child finds of the sends that its parent's threads were in. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/clock.h"
#include "../../preload/conn.h"
#include "../../preload/fork.h"
#include "../../preload/held.h"
#include "../../preload/proc.h"
#include "../../preload/real.h"
#include "../../preload/signals.h"

#define TRIES 10
#define SLEEPS_US 20000 /* time to fall asleep */
#define BRIEF_US 2000
#define LATE_MS 600 /* a change that waits for a fork's end gives up after a second */

enum { CHILD_OK, CHILD_KEEPS_DUPLICATE, CHILD_LATE };

static int ends[2];
static pthread_barrier_t meeting;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int child_ends_its_send(struct held *held, int duplicate)
{
	int64_t begin_ms = now_ms();

	held_end(held);
	if (now_ms() - begin_ms > LATE_MS)
		return CHILD_LATE;
	return fcntl(duplicate, F_GETFD) < 0 ? CHILD_OK : CHILD_KEEPS_DUPLICATE;
}

/* As a handler does that no wrapper of sigaction() has seen. */
static int fork_in_a_send(bool quiet)
{
	struct conn *conn = conn_get(ends[0]);
	struct held held = held_begin(conn, ends[0], atomic_load(&conn->generation));
	int status;

	pthread_barrier_wait(&meeting);
	pthread_barrier_wait(&meeting);
	int duplicate = held_next_fd(0);
	assert_true(duplicate >= 0);
	atomic_store(&hot.quiet, quiet);
	pid_t child = fork();
	if (child == 0)
		_exit(child_ends_its_send(&held, duplicate));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(fcntl(duplicate, F_GETFD) >= 0); /* the parent's is its own */
	held_end(&held);
	atomic_store(&hot.quiet, false);
	assert_int_equal(held_next_fd(0), -1);
	return WEXITSTATUS(status);
}

static void *sender(void *quiet)
{
	return (void *)(intptr_t)fork_in_a_send(quiet != NULL);
}

static void check_fork(bool quiet)
{
	pthread_t thread;
	void *status;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_non_null(conn_open(ends[0], false));
	assert_int_equal(pthread_create(&thread, NULL, sender, quiet ? &meeting : NULL), 0);
	pthread_barrier_wait(&meeting);
	conn_fd_drop(ends[0]);
	close(ends[0]);
	pthread_barrier_wait(&meeting);
	pthread_join(thread, &status);
	assert_int_equal((intptr_t)status, CHILD_OK);
	close(ends[1]);
}

static void test_held_child_ends_a_send(void **state)
{
	(void)state;
	check_fork(false);
}

/* Once its system calls are filtered the shim makes as few as it can; but a child is not to wait for the fork it comes from. */
static void test_held_child_of_a_sandbox_ends_a_send(void **state)
{
	(void)state;
	check_fork(true);
}

static void *note_a_send(void *of)
{
	struct conn *conn = of;
	struct held held = held_begin(conn, ends[0], atomic_load(&conn->generation));

	pthread_barrier_wait(&meeting);
	pthread_barrier_wait(&meeting);
	held_end(&held);
	return NULL;
}

static pid_t vforked;

/* fork() calls this one behind the shim's, which was registered later. */
static void in_the_middle_of_a_fork(void)
{
	if (vforked && getpid() == vforked)
		kill(vforked, SIGKILL);
}

/* A thread notes that it sends, and how long does it take to close the fd under it? */
static int64_t hand_over_ms(void)
{
	struct conn *conn;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_non_null(conn = conn_open(ends[0], false));
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, note_a_send, conn), 0);
	pthread_barrier_wait(&meeting);
	int64_t begin_ms = now_ms();
	conn_fd_drop(ends[0]);
	int64_t took_ms = now_ms() - begin_ms;
	close(ends[0]);
	pthread_barrier_wait(&meeting);
	pthread_join(thread, NULL);
	close(ends[1]);
	return took_ms;
}

static void kill_a_vfork_child_in_its_fork(void)
{
	pid_t child = vfork();
	if (child == 0) {
		vforked = getpid();
		_exit(fork() == 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	vforked = 0;
}

/* Its memory is the parent's, which goes on as if it had never been. */
static void test_held_vfork_child_is_killed_in_a_fork(void **state)
{
	(void)state;
	kill_a_vfork_child_in_its_fork();
	assert_in_range(hand_over_ms(), 0, LATE_MS);
}

/* Who is left by a jump out of a handler is waited for once, and what does end later has no part in that. */
static void test_held_fork_never_ends(void **state)
{
	(void)state;
	fork_before();
	assert_in_range(hand_over_ms(), LATE_MS, 60000);
	assert_in_range(hand_over_ms(), 0, LATE_MS);
	fork_in_parent();
	assert_in_range(hand_over_ms(), 0, LATE_MS);
}

static void *sleep_in_a_call(void *of)
{
	struct conn *conn = of;
	struct held held = held_begin(conn, ends[0], atomic_load(&conn->generation));
	char byte;

	held_calling(&held, HELD_CALL_MAY_SLEEP);
	pthread_barrier_wait(&meeting);
	assert_int_equal(recv(ends[0], &byte, 1, 0), 1);
	held_calling(&held, HELD_CALL_OVER);
	held_end(&held);
	return NULL;
}

/* What sleeps in the kernel has its file, and nobody waits for it: otherwise it were 10 ms. */
static void test_held_sleeping_call_is_not_waited_for(void **state)
{
	int64_t least_us = INT64_MAX;

	(void)state;
	for (int i = 0; i < TRIES; i++) {
		pthread_t thread;
		struct conn *conn;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		assert_non_null(conn = conn_open(ends[0], false));
		assert_int_equal(pthread_create(&thread, NULL, sleep_in_a_call, conn), 0);
		pthread_barrier_wait(&meeting);
		usleep(SLEEPS_US);
		int64_t begin_us = clock_us();
		conn_fd_drop(ends[0]);
		int64_t took_us = clock_us() - begin_us;
		least_us = took_us < least_us ? took_us : least_us;
		assert_int_equal(write(ends[1], "x", 1), 1);
		pthread_join(thread, NULL);
		close(ends[0]);
		close(ends[1]);
	}
	assert_in_range(least_us, 0, BRIEF_US);
}

static int start(void **state)
{
	(void)state;
	real_init();
	threads_init();
	pthread_atfork(in_the_middle_of_a_fork, NULL, NULL);
	fork_init();
	return conn_init() || pthread_barrier_init(&meeting, NULL, 2);
}

/* Asleep in read(), for all that /proc tells. */
static void *sleep_in_read(void *tid)
{
	char byte;

	atomic_store((atomic_int *)tid, (int)syscall(SYS_gettid));
	assert_int_equal(read(ends[0], &byte, 1), 1);
	return NULL;
}

/* Without an fd for /proc nothing is known of a thread but that it is there. */
static void test_held_place_of_a_thread(void **state)
{
	struct rlimit files, none;
	atomic_int tid = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = (struct rlimit){ .rlim_max = files.rlim_max };
	assert_int_equal(pthread_create(&thread, NULL, sleep_in_read, &tid), 0);
	for (int i = 0; i < TRIES && proc_place_of(tid, ends[0]) != PROC_ASLEEP_ON_FD; i++)
		usleep(SLEEPS_US);
	assert_int_equal(proc_place_of(tid, ends[0]), PROC_ASLEEP_ON_FD);
	assert_int_equal(proc_place_of(tid, ends[1]), PROC_ELSEWHERE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(proc_place_of(tid, ends[1]), PROC_MAY_COME_TO_IT);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	pthread_join(thread, NULL);
	while (proc_place_of(tid, ends[0]) == PROC_MAY_COME_TO_IT) /* joined a little before it is gone */
		usleep(BRIEF_US);
	assert_int_equal(proc_place_of(tid, ends[0]), PROC_ELSEWHERE);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_child_ends_a_send),
		cmocka_unit_test(test_held_child_of_a_sandbox_ends_a_send),
		cmocka_unit_test(test_held_vfork_child_is_killed_in_a_fork),
		cmocka_unit_test(test_held_fork_never_ends),
		cmocka_unit_test(test_held_sleeping_call_is_not_waited_for),
		cmocka_unit_test(test_held_place_of_a_thread),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, start, NULL);
}
