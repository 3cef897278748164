/* SPDX-License-Identifier: BSD-2-Clause */
/* An error that comes between the steps of one receive, too late for the look that would have ended it: the call returns what it has got, and
 * the next one the error, once. What the kernel says to each receive comes from a script here; in it a taken error is gone, as
 * from a socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/raw_syscall.h"
#include "../../preload/real.h"
#include "../../preload/transfer.h"
#include "../support/loopback.h"

#define BYTES 4
#define STEPS_MAX 4

static int ends[2], pipe_fds[2];
static struct conn *conn;
static int steps[STEPS_MAX], next; /* bytes, or an error below 0; after the last one the stream has ended */
static ssize_t (*kernels_recv)(int, void *, size_t, int);

static ssize_t step(void)
{
	int says = next < STEPS_MAX ? steps[next++] : 0;

	if (says >= 0)
		return says;
	errno = -says;
	return -1;
}

static ssize_t scripted_recvmsg(int fd, struct msghdr *message, int flags)
{
	(void)flags;
	assert_int_equal(fd, ends[1]);
	assert_true(message->msg_iovlen > 0);
	message->msg_flags = 0;
	return step();
}

static ssize_t scripted_recv(int fd, void *buffer, size_t bytes, int flags)
{
	if (flags & MSG_OOB) /* a look at the queues */
		return kernels_recv(fd, buffer, bytes, flags);
	assert_int_equal(fd, ends[1]);
	return step();
}

/* In the place of the library's: a splice receives past libc. */
long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_recvfrom && a == ends[1] && !(d & MSG_OOB))
		return step();
	long result = raw_system_call(number, a, b, c, d, e, f);
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

static int set_up(void **state)
{
	(void)state;
	real_init();
	kernels_recv = real_recv;
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);
	ends[0] = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[1] = accept(listener, NULL, NULL);
	close(listener);
	if (ends[1] < 0 || conn_init() != 0 || pipe2(pipe_fds, O_CLOEXEC) != 0)
		return -1;
	conn = conn_open(ends[1], true);
	if (!conn)
		return -1;
	conn_state_set(conn, CONN_ARMED, REASON_NONE);
	conn_touch(conn);
	real_recvmsg = scripted_recvmsg;
	real_recv = scripted_recv;
	return 0;
}

static void write_script(int first, int second, int third)
{
	memset(steps, 0, sizeof(steps));
	steps[0] = first;
	steps[1] = second;
	steps[2] = third;
	next = 0;
	errno = 0;
}

static ssize_t perform(const struct receive_call *call)
{
	return real_recvmsg(call->fd, call->message, call->flags);
}

static ssize_t receive(int flags)
{
	char buffer[3 * BYTES];
	struct iovec vector = { buffer, sizeof(buffer) };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	struct receive_call call = {
		.fd = ends[1], .flags = flags, .bytes = sizeof(buffer), .message = &message, .perform = perform
	};

	return transfer_receive(conn, &call);
}

static ssize_t splice_out(int flags)
{
	return transfer_splice_out(conn, ends[1], pipe_fds[1], (size_t)3 * BYTES, (unsigned)flags);
}

static void expect_error_once(ssize_t (*call)(int), int flags)
{
	assert_int_equal(call(flags), BYTES);
	assert_int_equal(errno, 0);
	assert_int_equal(call(flags), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(call(flags), 0);
}

static void test_owed_error_of_a_waitall(void **state)
{
	(void)state;
	write_script(BYTES, -ECONNRESET, 0);
	expect_error_once(receive, MSG_WAITALL);
}

static void test_owed_error_of_a_top_up(void **state)
{
	(void)state;
	write_script(BYTES, -ECONNRESET, 0);
	expect_error_once(receive, 0);
}

/* A peek, and what the pipe has taken. */
static void test_owed_error_of_a_splice(void **state)
{
	(void)state;
	write_script(BYTES, BYTES, -ECONNRESET);
	expect_error_once(splice_out, 0);
}

/* Nothing waits behind the bytes, or it is no error of the connection's end: there is nothing to tell. */
static void test_owed_no_other_error(void **state)
{
	(void)state;
	write_script(BYTES, -EAGAIN, 0);
	assert_int_equal(receive(0), BYTES);
	assert_int_equal(receive(0), 0);
	write_script(BYTES, -EFAULT, 0);
	assert_int_equal(receive(MSG_WAITALL), BYTES);
	assert_int_equal(receive(MSG_WAITALL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owed_error_of_a_waitall),
		cmocka_unit_test(test_owed_error_of_a_top_up),
		cmocka_unit_test(test_owed_error_of_a_splice),
		cmocka_unit_test(test_owed_no_other_error),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, NULL);
}
