/* SPDX-License-Identifier: BSD-2-Clause */
/* The fd travels by SCM_RIGHTS: to another process, which goes on with the connection, or back to the sender itself. */
#define _GNU_SOURCE
#include "process_case.h"

static void pass_end(int channel, const struct end *end)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = (void *)(uintptr_t)end, .iov_len = sizeof(*end) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &end->fd, sizeof(int));
	if (must(sendmsg(channel, &message, 0)) != sizeof(*end))
		fail("sendmsg");
}

static struct end receive_end(int channel)
{
	struct end end;
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &end, .iov_len = sizeof(end) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	if (must(recvmsg(channel, &message, MSG_CMSG_CLOEXEC)) != sizeof(end) || !CMSG_FIRSTHDR(&message))
		fail("no fd came");
	memcpy(&end.fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return end;
}

static void receiver_goes_on(int channel)
{
	struct end end = receive_end(channel);

	end_turns(&end, WARM_TURNS, false);
	end_duplex(&end, GOES_ON_BYTES, GOES_ON_BYTES);
	must(close(end.fd));
	_exit(0);
}

enum receiver { RECEIVER_FORKED, RECEIVER_EXECUTED, RECEIVER_BARE };

static void pass_to(struct end *end, enum receiver kind)
{
	int channel[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
	pid_t child = fork_child();
	if (child == 0) {
		char number[16];

		must(close(end->fd));
		must(close(channel[0]));
		if (kind == RECEIVER_FORKED)
			receiver_goes_on(channel[1]);
		if (kind == RECEIVER_BARE)
			unsetenv("LD_PRELOAD");
		snprintf(number, sizeof(number), "%d", channel[1]);
		must(execl("/proc/self/exe", "pass_cases", "--receive", number, (char *)NULL));
	}
	must(close(channel[1]));
	pass_end(channel[0], end);
	must(close(end->fd));
	wait_for(child, "the receiver");
	must(close(channel[0]));
	pair_prove();
}

static void subject_pass_forked(struct end *end)
{
	pass_to(end, RECEIVER_FORKED);
}
static void subject_pass_executed(struct end *end)
{
	pass_to(end, RECEIVER_EXECUTED);
}
static void subject_pass_bare(struct end *end)
{
	pass_to(end, RECEIVER_BARE);
}

static void subject_pass_unread(struct end *end)
{
	end_await(end);
	pass_to(end, RECEIVER_BARE);
}

/* The fd comes back to the sender itself: a second number for the same connection, unknown to any wrapper. */
static void subject_pass_self(struct end *end)
{
	int channel[2];

	end_await(end);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel));
	pass_end(channel[0], end);
	struct end again = receive_end(channel[1]);
	must(close(channel[0]));
	must(close(channel[1]));
	for (int i = 0; i < WARM_TURNS; i++) {
		struct end *one = i % 3 ? end : &again;

		struct end *other = i % 3 ? &again : end;

		end_turns(one, 1, false);
		other->sent = one->sent;
		other->received = one->received;
	}
	must(close(end->fd));
	end_duplex(&again, GOES_ON_BYTES, GOES_ON_BYTES);
	must(close(again.fd));
	pair_prove();
}

/* At the end of a process with bytes unread its two numbers are one holder: a reset, not the end of the stream. */
static void subject_pass_self_exit(struct end *end)
{
	int channel[2];

	end_await(end);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel));
	pass_end(channel[0], end);
	receive_end(channel[1]);
}

static void driver_pass_self_exit(struct end *end)
{
	struct pollfd poller = { .fd = end->fd, .events = POLLRDHUP };
	char byte;

	end_send(end, TURN_BYTES);
	if (must(poll(&poller, 1, DEADLINE_S * 1000)) != 1)
		fail("the subject does not end");
	if (recv(end->fd, &byte, 1, 0) != -1 || errno != ECONNRESET)
		fail("no reset, although bytes are unread");
}

static const struct process_case cases[] = {
	{ "pass-forked", subject_pass_forked, driver_goes_on, true },
	{ "pass-executed", subject_pass_executed, driver_goes_on, true },
	{ "pass-bare", subject_pass_bare, driver_goes_on, true },
	{ "pass-unread", subject_pass_unread, driver_goes_on, true },
	{ "pass-self", subject_pass_self, driver_goes_on, true },
	{ "pass-self-exit", subject_pass_self_exit, driver_pass_self_exit, false },
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--receive")) {
		case_name = "pass (receiver)";
		alarm(DEADLINE_S);
		receiver_goes_on(atoi(argv[2]));
	}
	return case_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
