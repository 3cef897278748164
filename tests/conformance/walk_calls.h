/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.c's calls: how each is made from a description, and told as a line. */
#ifndef SMACCEL_CONFORMANCE_WALK_CALLS_H
#define SMACCEL_CONFORMANCE_WALK_CALLS_H

#include <limits.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/random.h"
#include "../support/rights.h"
#include "walk_answer.h"
#include "walk_arrival.h"

#define SIZE_MAX_BYTES 14000
#define ACKNOWLEDGED_MS 80

static bool passes = true; /* an end may be passed on by SCM_RIGHTS */

/* Vectors of many lengths, none among them. */
static int cut(const struct call *call, struct iovec *vector, int most)
{
	struct rng rng = rng_make(call->random, 3);
	size_t done = 0;
	int n = 0;

	for (; n < most - 1 && done < call->bytes; n++) {
		size_t bytes = rng_below(&rng, call->bytes - done + 1) / (1 + rng_below(&rng, 3));

		vector[n] = (struct iovec){ buffer + done, bytes };
		done += bytes;
	}
	vector[n] = (struct iovec){ buffer + done, call->bytes - done };
	return n + 1;
}

static void fill(const struct call *call)
{
	struct rng rng = rng_make(call->random, 1);

	for (size_t i = 0; i < call->bytes; i += 8) {
		uint64_t word = rng_next(&rng);

		memcpy(buffer + i, &word, 8);
	}
}

static void send_one(const struct call *call, struct answer *answer)
{
	int fd = fds[call->end];
	struct iovec vector[20];
	struct msghdr message = { .msg_iov = vector };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = vector, .msg_iovlen = 1 } },
				       { .msg_hdr = { .msg_iov = vector + 1, .msg_iovlen = 1 } } };
	off_t offset = lseek(file_fd, (off_t)call->bytes, SEEK_CUR) -
		       (off_t)call->bytes; /* never the same: pages are not copied */

	fill(call);
	int pieces = cut(call, vector, call->random % 7 == 4 ? 2 : 20);
	message.msg_iovlen = (size_t)pieces;
	errno = 0;
	switch (call->random % 7) {
	case 0:
		return conclude(answer, "send", call, send(fd, buffer, call->bytes, call->flags), false);
	case 1:
		return conclude(answer, "write", call, write(fd, buffer, call->bytes), false);
	case 2:
		return conclude(answer, "writev", call, writev(fd, vector, pieces), false);
	case 3:
		return conclude(answer, "sendmsg", call, sendmsg(fd, &message, call->flags), false);
	case 4:
		if (pieces < 2)
			vector[1] = (struct iovec){ buffer, 0 };
		conclude(answer, "sendmmsg", call, sendmmsg(fd, messages, 2, call->flags), false);
		answer->result = (ssize_t)(messages[0].msg_len + messages[1].msg_len);
		describe(answer, strlen(answer->line), " %u %u", messages[0].msg_len, messages[1].msg_len);
		return;
	case 5:
		if (pwrite(file_fd, buffer, call->bytes, offset) != (ssize_t)call->bytes)
			die("pwrite");
		errno = 0;
		return conclude(answer, "sendfile", call, sendfile(fd, file_fd, &offset, call->bytes), false);
	default:
		return conclude(answer, "sendto", call, sendto(fd, buffer, call->bytes, call->flags, NULL, 0), false);
	}
}

static void do_send(const struct call *call, struct answer *answer)
{
	send_one(call, answer);
	if (answer->result > 0)
		arrival_sent(fds[call->end], call->end);
}

#ifndef TCP_INQ
#define TCP_INQ 36
#define TCP_CM_INQ TCP_INQ
#endif

/* What TCP_INQ says is left. Not to who slept: that depends on how much had come by then. */
static int told_to_wait(const struct call *call, struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int bytes = -1;

	if (header && header->cmsg_level == IPPROTO_TCP && header->cmsg_type == TCP_CM_INQ && call->role != SLEEPER)
		memcpy(&bytes, CMSG_DATA(header), sizeof(bytes));
	return bytes;
}

static void do_receive(const struct call *call, struct answer *answer)
{
	int fd = fds[call->end];
	struct iovec vector[20];
	char control[64];
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct msghdr message = { .msg_iov = vector, .msg_control = control, .msg_controllen = sizeof(control) };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = vector, .msg_iovlen = 1 } },
				       { .msg_hdr = { .msg_iov = vector + 1, .msg_iovlen = 1 } } };
	unsigned how = call->random % 6;
	int pieces = cut(call, vector, how == 4 ? 2 : 20);

	message.msg_iovlen = (size_t)pieces;
	if ((how == 1 || how == 2) && call->flags)
		how = 0; /* these have none */
	errno = 0;
	switch (how) {
	case 0:
		return conclude(answer, "recv", call, recv(fd, buffer, call->bytes, call->flags),
				!(call->flags & MSG_TRUNC));
	case 1:
		return conclude(answer, "read", call, read(fd, buffer, call->bytes), true);
	case 2:
		return conclude(answer, "readv", call, readv(fd, vector, pieces), true);
	case 3:
		conclude(answer, "recvmsg", call, recvmsg(fd, &message, call->flags), !(call->flags & MSG_TRUNC));
		describe(answer, strlen(answer->line), " %x %zu %d", (unsigned)message.msg_flags,
			 (size_t)message.msg_controllen, answer->result < 0 ? -1 : told_to_wait(call, &message));
		return;
	case 4:
		if (pieces < 2)
			vector[1] = (struct iovec){ buffer, 0 };
		conclude(answer, "recvmmsg", call, recvmmsg(fd, messages, 2, call->flags | MSG_DONTWAIT, NULL), false);
		answer->result = (ssize_t)(messages[0].msg_len + messages[1].msg_len);
		describe(answer, strlen(answer->line), " %u %u", messages[0].msg_len, messages[1].msg_len);
		return;
	default:
		conclude(answer, "recvfrom", call,
			 recvfrom(fd, buffer, call->bytes, call->flags, (void *)&address, &length),
			 !(call->flags & MSG_TRUNC));
		describe(answer, strlen(answer->line), " %u", answer->result > 0 ? length : 0);
	}
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A signal does not end it. */
static int wait_for(const struct call *call, struct pollfd *poller, struct epoll_event *event)
{
	int64_t end_ms = now_ms() + call->wait_ms;
	int wait_ms = call->wait_ms, ready;
	bool is_woken;

	for (;;) {
		is_woken = atomic_load(&stage->is_woken);
		ready = poller ? poll(poller, 1, wait_ms) : epoll_wait(epolls[call->end], event, 1, wait_ms);
		if (ready < 0 && errno == EINTR)
			wait_ms = end_ms > now_ms() ? (int)(end_ms - now_ms()) : 0;
		else if (ready == 0 && call->role == SLEEPER && !is_woken)
			wait_ms = call->wait_ms;
		else
			return ready;
	}
}

static void ask_edge(const struct call *call, struct answer *answer)
{
	struct epoll_event event = { 0 };
	int ready = wait_for(call, NULL, &event);

	if (ready >= 0 && call->role == SLEEPER && call->wakes_often) {
		atomic_store(&stage->is_back, true);
		stage_await_waker();
		ready |= epoll_wait(epolls[call->end], &event, 1, 0);
	}
	conclude(answer, "edge", call, ready, false);
	describe(answer, strlen(answer->line), " %x", event.events);
}

static void do_ask(const struct call *call, struct answer *answer)
{
	struct pollfd poller = { .fd = fds[call->end],
				 .events = POLLIN | (call->wait_ms ? 0 : POLLOUT) | POLLPRI | POLLRDHUP };
	int value = 0;
	socklen_t length = sizeof(value);

	errno = 0;
	switch (call->random % 5) {
	case 0:
		conclude(answer, "unread", call, ioctl(fds[call->end], FIONREAD, &value), false);
		describe(answer, strlen(answer->line), " %d", value);
		break;
	case 1:
		conclude(answer, "poll", call, wait_for(call, &poller, NULL), false);
		describe(answer, strlen(answer->line), " %x", (unsigned)poller.revents);
		break;
	case 2:
		ask_edge(call, answer);
		break;
	case 3:
		conclude(answer, "error", call, getsockopt(fds[call->end], SOL_SOCKET, SO_ERROR, &value, &length),
			 false);
		describe(answer, strlen(answer->line), " %d", value);
		break;
	default:
		conclude(answer, "mark", call, sockatmark(fds[call->end]), false);
	}
	answer->result = 0;
}

static void watch(unsigned end)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };

	if (epolls[end] >= 0)
		close(epolls[end]);
	epolls[end] = epoll_create1(EPOLL_CLOEXEC);
	if (epolls[end] < 0 || epoll_ctl(epolls[end], EPOLL_CTL_ADD, fds[end], &event) < 0)
		die("epoll");
}

static void do_change(const struct call *call, struct answer *answer)
{
	static const int options[][2] = {
		{ SOL_SOCKET, SO_KEEPALIVE }, { IPPROTO_TCP, TCP_NODELAY }, { IPPROTO_TCP, TCP_QUICKACK },
		{ SOL_SOCKET, SO_PRIORITY },  { IPPROTO_TCP, TCP_KEEPCNT }, { SOL_SOCKET, SO_BUSY_POLL }
	}; /* joined ends leave for it */
	const int *option = options[call->bytes % 6];
	int fd = fds[call->end], value = 1 + (int)(call->bytes % 3), flags, copy;

	errno = 0;
	switch (call->random % 5) {
	case 0:
		conclude(answer, "option", call, setsockopt(fd, option[0], option[1], &value, sizeof(value)), false);
		break;
	case 1:
		flags = fcntl(fd, F_GETFL);
		conclude(answer, "nonblock", call, fcntl(fd, F_SETFL, flags ^ O_NONBLOCK), false);
		break;
	case 2: /* another number, and the old one gone */
	case 3:
		copy = call->random % 5 == 2 || !passes ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : rights_copy(fd);
		close(fd);
		fds[call->end] = copy;
		conclude(answer, "dup", call, copy < 0, false);
		watch(call->end);
		break;
	default:
		copy = dup(fd);
		conclude(answer, "dup2", call, dup2(copy, fd) == fd, false);
		close(copy);
		watch(call->end);
	}
	answer->result = 0;
}

static void do_splice(const struct call *call, struct answer *answer)
{
	ssize_t moved, got = 0;

	errno = 0;
	moved = call->random % 3 ? splice(fds[call->end], NULL, pipe_fds[1], NULL, call->bytes, SPLICE_F_NONBLOCK)
				 : sendfile(pipe_fds[1], fds[call->end], NULL, call->bytes);
	if (moved > 0) {
		got = read(pipe_fds[0], buffer, (size_t)moved);
		if (got != moved)
			die("a pipe lost bytes");
	}
	conclude(answer, "splice", call, moved, true);
}

/* The peer's acknowledgement of the end, which it may delay and send with what it passes next, wakes whoever waits on this one
 * (tcp_rcv_state_process()): an edge-triggered epoll tells again. So it has come before the walk goes on. */
static void await_acknowledgement(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	for (int i = 0; i < ACKNOWLEDGED_MS && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0; i++) {
		if (info.tcpi_state != TCP_FIN_WAIT1 && info.tcpi_state != TCP_CLOSING &&
		    info.tcpi_state != TCP_LAST_ACK)
			return;
		pause_us(1000);
	}
}

/* Who has closed it is told of it no more. */
static void do_end(const struct call *call, struct answer *answer)
{
	struct linger linger = { .l_onoff = 1 };
	struct epoll_event event;
	int fd = fds[call->end];

	errno = 0;
	if (call->random % 8 < 5) {
		conclude(answer, "shutdown", call, shutdown(fd, (int)(call->random % 8 % 3)), false);
		describe(answer, strlen(answer->line), " %d", (int)(call->random % 8 % 3));
		await_acknowledgement(fd);
	} else {
		if (call->random % 8 == 7)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		conclude(answer, call->random % 8 == 7 ? "reset" : "close", call, close(fd), false);
		fds[call->end] = -1;
		describe(answer, strlen(answer->line), " %d", epoll_wait(epolls[call->end], &event, 1, 0));
		atomic_store(&stage->closed[call->end], true);
	}
	answer->result = 0;
}

static const struct {
	unsigned weight;
	void (*make)(const struct call *call, struct answer *answer);
	bool can_fork;
} kinds[] = { { 36, do_send, true },   { 44, do_receive, true }, { 24, do_ask, true },
	      { 5, do_change, false }, { 3, do_splice, true },   { 1, do_end, false } };
enum { SEND, RECEIVE, ASK, CHANGE, SPLICE, END, KINDS };

struct task {
	const struct call *call;
	struct answer *answer;
};

static void *run_task(void *argument)
{
	const struct task *task = argument;

	kinds[task->call->kind].make(task->call, task->answer);
	return NULL;
}

static void make_in_thread(const struct call *call, struct answer *answer)
{
	struct task task = { call, answer };
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_task, &task) || pthread_join(thread, NULL))
		die("a thread");
}

static void make_call(const struct call *call, struct answer *answer)
{
	int answers[2];

	memset(answer, 0, sizeof(*answer));
	if (fds[call->end] >= 0)
		arrival_await(fds[call->end], call->end);
	if (call->role == WAKER)
		stage_await_sleeper();
	if (call->role == SLEEPER)
		atomic_store(&stage->sleeper, getpid());
	if (call->threaded)
		return make_in_thread(call, answer);
	if (!call->forked) {
		kinds[call->kind].make(call, answer);
		atomic_store(call->role == WAKER ? &stage->is_woken : &stage->is_back, true);
		return;
	}
	if (pipe2(answers, O_CLOEXEC) < 0)
		die("pipe");
	pid_t child = fork();
	if (child == 0) {
		kinds[call->kind].make(call, answer);
		_exit(write(answers[1], answer, sizeof(*answer)) != sizeof(*answer));
	}
	close(answers[1]);
	if (read(answers[0], answer, sizeof(*answer)) != sizeof(*answer) || waitpid(child, NULL, 0) != child)
		die("the child");
	close(answers[0]);
}

#endif
