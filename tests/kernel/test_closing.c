/* SPDX-License-Identifier: BSD-2-Clause */
/* How joined sockets end, and what outlives what: KERNEL-FACTS 19c, 20, 21, 23. */
#define _GNU_SOURCE
#include "kernel_rig.h"

#include <sys/wait.h>

#define NO_FIN_MS 100 /* on loopback a FIN takes well under one */

static bool at_end(int fd)
{
	char byte;

	return readable_within(fd, 1000) && recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* What a plain or joined end 0 sees when end 1 closes with `text` unread. 0: FIN, else the errno. */
static int end_seen_after_close_unread(struct rig *rig)
{
	char byte;

	close(rig->ends[1]);
	rig->ends[1] = -1;
	require(readable_within(rig->ends[0], 1000));
	return recv(rig->ends[0], &byte, 1, MSG_DONTWAIT) < 0 ? errno : 0;
}

static void test_fact_20(struct rig *rig)
{
	struct linger reset = { .l_onoff = 1 };
	int error;
	char byte;

	rig_connect_joined(rig);
	rig_redirect(rig, "kept-");
	rig_redirect(rig, "in-order");
	close(rig->ends[0]);
	rig->ends[0] = -1;
	check(received(rig->ends[1], "kept-in-order") && at_end(rig->ends[1]), "fact-20",
	      "redirect-then-close-is-read-then-eof", "-");
	rig_close(rig);

	rig_connect_joined(rig);
	rig_redirect(rig, "kept");
	require(shutdown(rig->ends[0], SHUT_WR) == 0);
	check(received(rig->ends[1], "kept") && at_end(rig->ends[1]), "fact-20", "redirect-then-half-close", "-");
	check(sent(rig->ends[1], "back") && received(rig->ends[0], "back"), "fact-20", "the-other-half-works", "-");
	rig_close(rig);

	rig_connect_joined(rig);
	rig_redirect(rig, "kept");
	require(setsockopt(rig->ends[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(rig->ends[0]);
	rig->ends[0] = -1;
	check(received(rig->ends[1], "kept"), "fact-20", "redirect-then-reset-is-read-first", "-");
	error = recv(rig->ends[1], &byte, 1, MSG_DONTWAIT) < 0 ? errno : 0;
	check(error == ECONNRESET, "fact-20", "then-econnreset", "%d", error);
	rig_close(rig);

	rig_connect(rig);
	rig_pass(rig, "unread");
	error = end_seen_after_close_unread(rig);
	check(error == ECONNRESET, "fact-20", "plain-close-with-unread-data-resets", "%d", error);
	rig_close(rig);
	rig_connect_joined(rig);
	rig_redirect(rig, "unread");
	error = end_seen_after_close_unread(rig);
	check(error == 0, "fact-20", "close-with-unread-redirected-data-sends-fin", "%d", error);
	rig_close(rig);
}

/* A child that loads everything, joins its parent's connection and dies. */
static void run_loader(int ends[2])
{
	struct rig rig;

	rig_load(&rig);
	for (int i = 0; i < 2; i++) {
		rig.ends[i] = ends[i];
		rig.cookie[i] = loopback_cookie(ends[i]);
	}
	require(rig_join(&rig, 0) == 0 && rig_join(&rig, 1) == 0);
	rig.control->mode = KERNEL_TEST_REDIRECT;
	_exit(0);
}

static void test_fact_21(void)
{
	int ends[2], status = -1;
	pid_t child;

	require(loopback_pair_open(ends) == 0);
	require(loopback_cookie(ends[0]) && loopback_cookie(ends[1]));
	child = fork();
	require(child >= 0);
	if (!child)
		run_loader(ends);
	require(waitpid(child, &status, 0) == child);
	require(status == 0);
	check(sent(ends[0], "still") && received(ends[1], "still") && tcp_bytes_received(ends[1]) == 0, "fact-21",
	      "redirection-outlives-its-loader", "%llu bytes came through TCP",
	      (unsigned long long)tcp_bytes_received(ends[1]));
	loopback_pair_close(ends);
}

static void send_fd(int channel, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	require(sendmsg(channel, &message, MSG_NOSIGNAL) == 1);
}

/* Takes a message back out of a queue and closes the fd in it. */
static void retract(int channel)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *header;
	int fd;

	require(recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1);
	header = CMSG_FIRSTHDR(&message);
	require(header && header->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(header), sizeof(int));
	close(fd);
}

/* Facts 23 and 19c. The far end of the channel is never read, as a stopped helper would not. */
static void test_fds_in_flight(struct rig *rig)
{
	int channel[2], spare;
	uint64_t start;

	rig_connect(rig);
	spare = dup(rig->ends[0]);
	require(spare >= 0);
	close(rig->ends[0]);
	rig->ends[0] = -1;
	check(!readable_within(rig->ends[1], NO_FIN_MS), "fact-23", "a-duplicate-holds-back-the-fin", "-");
	close(spare);
	check(at_end(rig->ends[1]), "fact-23", "until-it-is-closed", "-");
	rig_close(rig);

	rig_connect(rig);
	require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) == 0);
	spare = dup(channel[1]);
	require(spare >= 0);
	send_fd(channel[0], rig->ends[0]);
	close(rig->ends[0]);
	rig->ends[0] = -1;
	check(!readable_within(rig->ends[1], NO_FIN_MS), "fact-23", "so-does-an-fd-in-flight", "-");
	close(channel[0]);
	check(!readable_within(rig->ends[1], NO_FIN_MS), "fact-19c", "closing-the-channel-does-not-free-it", "-");
	start = now_ns();
	retract(spare);
	check(at_end(rig->ends[1]) && now_ns() - start < 500000000, "fact-19c",
	      "taking-it-back-through-a-duplicate-does", "%llu us", (unsigned long long)(now_ns() - start) / 1000);
	close(spare);
	close(channel[1]);
	rig_close(rig);
}

/* A socket that loses its connection, and is open, stays in the sockhash, for its next one too; there its receives do not find the error. */
static void test_dissolved(struct rig *rig)
{
	const struct sockaddr nothing = { .sa_family = AF_UNSPEC };
	char byte;
	int error;

	rig_connect_joined(rig);
	require(connect(rig->ends[1], &nothing, sizeof(nothing)) == 0);
	error = recv(rig->ends[1], &byte, 1, MSG_DONTWAIT) < 0 ? errno : 0;
	check(error == EAGAIN, "dissolved", "a-joined-socket-finds-no-error", "%s", strerror(error));
	error = rig_leave(rig, 1);
	check(error == 0, "dissolved", "it-is-still-in-the-sockhash", "%s", strerror(-error));
	error = recv(rig->ends[1], &byte, 1, MSG_DONTWAIT) < 0 ? errno : 0;
	check(error == ECONNRESET, "dissolved", "out-of-it-receives-are-tcps", "%s", strerror(error));
	rig_close(rig);
}

int main(void)
{
	struct rig rig;

	alarm(30);
	rig_load(&rig);
	test_fact_20(&rig);
	test_fact_21();
	test_fds_in_flight(&rig);
	test_dissolved(&rig);
	rig_unload(&rig);
	return kernel_test_finish();
}
