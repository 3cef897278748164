/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.c: what is well-formed, what comes through a socket with fds and credentials, and that no fd is lost; names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../helper/wire/memory.h"
#include "../../helper/wire/reason.h"
#include "../../helper/wire/wire.h"

static int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static int make_pair(void **state)
{
	static int pair[2];

	*state = pair;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
	int *pair = *state;

	close(pair[0]);
	close(pair[1]);
	return 0;
}

static struct wire_ping make_ping(void)
{
	struct wire_ping ping = { .nonce = 42 };

	wire_header_init(&ping.header, WIRE_PING, sizeof(ping), 7, 9);
	return ping;
}

static void test_wire_check_accepts_what_init_makes(void **state)
{
	unsigned char message[WIRE_MESSAGE_MAX] = { 0 };
	struct wire_header header;
	int types = 0;

	(void)state;
	for (unsigned type = 0; type < 64; type++) {
		size_t size = wire_type_size(type);

		if (!size)
			continue;
		assert_in_range(size, sizeof(header), WIRE_MESSAGE_MAX);
		wire_header_init(&header, type, size, 1, 2);
		memcpy(message + 1, &header, sizeof(header)); /* not aligned */
		assert_int_equal(wire_check(message + 1, size), 0);
		types++;
	}
	assert_int_equal(types, 22);
}

static void test_wire_check_refuses(void **state)
{
	struct wire_ping ping = make_ping();

	(void)state;
	assert_int_equal(wire_check(&ping, 0), -EPROTO);
	assert_int_equal(wire_check(&ping, sizeof(struct wire_header) - 1), -EPROTO);
	assert_int_equal(wire_check(&ping, sizeof(ping) - 1), -EMSGSIZE);
	assert_int_equal(wire_check(&ping, sizeof(ping) + 1), -EMSGSIZE);
	ping.header.size--;
	assert_int_equal(wire_check(&ping, sizeof(ping)), -EMSGSIZE);
	ping = make_ping();
	ping.header.magic ^= 1;
	assert_int_equal(wire_check(&ping, sizeof(ping)), -EPROTO);
	ping = make_ping();
	ping.header.type = 999;
	assert_int_equal(wire_check(&ping, sizeof(ping)), -EPROTO);
	ping.header.version++; /* of another version nothing else is understood */
	assert_int_equal(wire_check(&ping, sizeof(ping)), -EPROTONOSUPPORT);
}

static void test_wire_carries_message_and_fd(void **state)
{
	struct wire_ping ping = make_ping(), got;
	int *pair = *state, fd = -2, before = count_fds();

	assert_int_equal(wire_send(pair[0], &ping, sizeof(ping), STDERR_FILENO), 0);
	assert_int_equal(wire_receive(pair[1], &got, sizeof(got), &fd, NULL), sizeof(got));
	assert_memory_equal(&got, &ping, sizeof(ping));
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	assert_int_equal(wire_send(pair[0], &ping, sizeof(ping), -1), 0);
	assert_int_equal(wire_receive(pair[1], &got, sizeof(got), &fd, NULL), sizeof(got));
	assert_int_equal(fd, -1);
	assert_int_equal(count_fds(), before);
}

static void test_wire_never_blocks(void **state)
{
	struct wire_ping ping = make_ping();
	int *pair = *state, fd, result = 0;

	assert_int_equal(wire_receive(pair[1], &ping, sizeof(ping), &fd, NULL), -EAGAIN);
	for (int i = 0; i < 100000 && !result; i++)
		result = wire_send(pair[0], &ping, sizeof(ping), -1);
	assert_int_equal(result, -EAGAIN);
}

static void test_wire_end_of_file_and_broken_pipe(void **state)
{
	struct wire_ping ping = make_ping();
	int *pair = *state, fd;

	close(pair[0]);
	assert_int_equal(wire_receive(pair[1], &ping, sizeof(ping), &fd, NULL), 0);
	assert_int_equal(wire_send(pair[1], &ping, sizeof(ping), -1), -EPIPE); /* and no SIGPIPE */
	assert_int_equal(make_pair(state), 0);
}

static void test_wire_credentials(void **state)
{
	struct wire_ping ping = make_ping();
	int *pair = *state, fd, one = 1;
	struct ucred creds;

	assert_int_equal(wire_send(pair[0], &ping, sizeof(ping), -1), 0);
	assert_true(wire_receive(pair[1], &ping, sizeof(ping), &fd, &creds) > 0);
	assert_int_equal(creds.pid, 0);
	assert_int_equal(creds.uid, (uid_t)-1); /* none attached: not root's */
	setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
	assert_int_equal(wire_send(pair[0], &ping, sizeof(ping), STDERR_FILENO), 0);
	assert_true(wire_receive(pair[1], &ping, sizeof(ping), &fd, &creds) > 0);
	assert_int_equal(creds.pid, getpid());
	assert_int_equal(creds.uid, geteuid());
	assert_true(fd >= 0);
	close(fd);
}

static void send_fds(int socket, const void *message, size_t bytes, int count)
{
	char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { .iov_base = (void *)message, .iov_len = bytes };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *cmsg = (struct cmsghdr *)control;

	header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	for (int i = 0; i < count; i++)
		((int *)CMSG_DATA(cmsg))[i] = STDERR_FILENO;
	assert_int_equal(sendmsg(socket, &header, 0), bytes);
}

static void test_wire_receive_loses_no_fd(void **state)
{
	struct wire_ping ping = make_ping();
	int *pair = *state, before = count_fds(), one = 1, fd;

	for (int with_credentials = 0; with_credentials < 2; with_credentials++) {
		for (int count = 2; count <= 64; count++) {
			ssize_t got;

			send_fds(pair[0], &ping, sizeof(ping), count);
			got = wire_receive(pair[1], &ping, sizeof(ping), &fd, NULL);
			assert_true(got == sizeof(ping) || got == -EMSGSIZE);
			assert_true((got > 0) == (fd >= 0));
			if (fd >= 0)
				close(fd);
			assert_int_equal(count_fds(), before);
		}
		setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
	}
}

static void test_wire_receive_truncated(void **state)
{
	char small[8], large[WIRE_MESSAGE_MAX] = { 0 };
	int *pair = *state, before = count_fds(), fd;

	send_fds(pair[0], large, sizeof(large), 1);
	assert_int_equal(wire_receive(pair[1], small, sizeof(small), &fd, NULL), -EMSGSIZE);
	assert_int_equal(fd, -1);
	assert_int_equal(count_fds(), before);
}

static void test_wire_receive_fds_hands_over_all(void **state)
{
	struct wire_ping ping = make_ping();
	int *pair = *state, before = count_fds(), fds[WIRE_FDS_MAX];
	size_t count;

	send_fds(pair[0], &ping, sizeof(ping), 3);
	assert_int_equal(wire_receive_fds(pair[1], &ping, sizeof(ping), fds, &count, NULL), sizeof(ping));
	assert_int_equal(count, 3);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	send_fds(pair[0], &ping, sizeof(ping), 60);
	assert_int_equal(wire_receive_fds(pair[1], &ping, sizeof(ping), fds, &count, NULL), -EMSGSIZE);
	assert_int_equal(count_fds(), before + (int)count);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

static void test_wire_pidfd_is_not_lost(void **state)
{
	struct wire_ping ping = make_ping();
	int *pair = *state, before = count_fds(), one = 1, fd;

	if (setsockopt(pair[1], SOL_SOCKET, 76 /* SO_PASSPIDFD, 6.5 */, &one, sizeof(one)) < 0)
		skip();
	assert_int_equal(wire_send(pair[0], &ping, sizeof(ping), STDERR_FILENO), 0);
	assert_int_equal(wire_receive(pair[1], &ping, sizeof(ping), &fd, NULL), sizeof(ping));
	close(fd);
	assert_int_equal(count_fds(), before);
}

static void test_names_are_complete(void **state)
{
	(void)state;
	for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
		assert_true(strlen(reason_name(reason)) > 0 && strcmp(reason_name(reason), "unknown"));
		assert_true(strlen(reason_text(reason)) > 0);
		assert_int_equal(reason_of_name(reason_name(reason)), reason);
		for (unsigned other = 0; other < reason; other++)
			assert_string_not_equal(reason_name(reason), reason_name(other));
	}
	assert_string_equal(reason_name(REASON_COUNT), "unknown");
	assert_int_equal(reason_of_name("unknown"), REASON_COUNT);
	assert_non_null(reason_text(UINT32_MAX));
	for (unsigned conn = 0; conn < CONN_STATE_COUNT; conn++)
		assert_true(strcmp(conn_state_name(conn), "unknown"));
	assert_string_equal(conn_state_name(CONN_STATE_COUNT), "unknown");
}

static void test_cell_word_keeps_its_parts(void **state)
{
	(void)state;
	assert_int_equal(cell_word_state(cell_word(0xffffff, CELL_ABANDONED)), CELL_ABANDONED);
	assert_int_equal(cell_word_generation(cell_word(0xffffff, CELL_ABANDONED)), 0xffffff);
	assert_int_equal(cell_word_generation(cell_word(0x1000001, CELL_DONE)), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_check_accepts_what_init_makes),
		cmocka_unit_test(test_wire_check_refuses),
		cmocka_unit_test_setup_teardown(test_wire_carries_message_and_fd, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_never_blocks, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_end_of_file_and_broken_pipe, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_credentials, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_receive_loses_no_fd, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_receive_truncated, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_receive_fds_hands_over_all, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_wire_pidfd_is_not_lost, make_pair, close_pair),
		cmocka_unit_test(test_names_are_complete),
		cmocka_unit_test(test_cell_word_keeps_its_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
