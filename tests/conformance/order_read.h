/* SPDX-License-Identifier: BSD-2-Clause */
/* order.c: the ways to read. Each relies on what its call promises on TCP, and on nothing more: the edge reader waits for
 * edges without a time-out, edge-short takes a short read for "drained" (as epoll(7) allows on streams), waitall expects
 * all, a blocking read never expects EAGAIN. Where a promise is broken the end stalls, or fails with the call's name. */
#ifndef SMACCEL_TEST_ORDER_READ_H
#define SMACCEL_TEST_ORDER_READ_H

#include <sys/epoll.h>
#include <sys/uio.h>

#include "order_end.h"

static bool reader_waits(const struct end *end)
{
	return end->reader >= READER_POLL && end->reader <= READER_EDGE_SHORT;
}

static bool reader_is_edge(const struct end *end)
{
	return end->reader == READER_EDGE || end->reader == READER_EDGE_SHORT;
}

static void reader_open(struct end *end)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = end };

	if (!reader_waits(end) || end->reader == READER_POLL)
		return;
	if (reader_is_edge(end))
		event.events |= EPOLLET;
	if (end->style == STYLE_LOOP)
		event.events |= EPOLLOUT;
	end->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (end->epoll_fd < 0 || epoll_ctl(end->epoll_fd, EPOLL_CTL_ADD, end->fd, &event) < 0)
		die("epoll");
}

/* The kernel is trusted: no time-out, no look without an event. A lost edge hangs until the deadline. */
static void reader_wait(struct end *end)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLIN };
	struct epoll_event event;
	int ready;

	end->reading = end->reader == READER_POLL ? "in poll" : "in epoll_wait";
	if (end->reader == READER_POLL) {
		ready = poll(&wait, 1, -1);
	} else {
		ready = epoll_wait(end->epoll_fd, &event, 1, -1);
		if (ready == 1 && event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			end->hung_up = true;
	}
	end->readable = ready == 1;
}

static ssize_t reader_call_vector(struct end *end, size_t bytes)
{
	size_t first = rng_below(&end->read_rng, bytes), second = rng_below(&end->read_rng, bytes - first);
	struct iovec parts[3] = {
		{ .iov_base = end->read_buffer, .iov_len = first },
		{ .iov_base = end->read_buffer + first, .iov_len = second },
		{ .iov_base = end->read_buffer + first + second, .iov_len = bytes - first - second },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };

	if (end->reader == READER_READV)
		return readv(end->fd, parts, 3);
	return recvmsg(end->fd, &message, 0);
}

/* What was peeked must come again, all of it. */
static ssize_t reader_call_peek(struct end *end, size_t bytes)
{
	ssize_t peeked = recv(end->fd, end->read_buffer, bytes, MSG_PEEK), got;

	if (peeked <= 0)
		return peeked;
	end_check(end, end->read_buffer, (size_t)peeked, false);
	got = recv(end->fd, end->read_buffer, (size_t)peeked, 0);
	if (got >= 0 && got != peeked) {
		errno = ENOMSG;
		return -1;
	}
	return got;
}

/* All, unless the stream ends: and more than what is left is never asked for. */
static ssize_t reader_call_all(struct end *end, size_t bytes)
{
	ssize_t got = recv(end->fd, end->read_buffer, bytes, MSG_WAITALL);

	if (got > 0 && (size_t)got < bytes) {
		errno = EMSGSIZE;
		return -1;
	}
	return got;
}

static ssize_t reader_call(struct end *end, size_t bytes)
{
	end->reading = "in receive";
	switch (end->reader) {
	case READER_RECV:
		return recv(end->fd, end->read_buffer, bytes, 0);
	case READER_POLL:
		return recv(end->fd, end->read_buffer, bytes, MSG_DONTWAIT);
	case READER_READV:
	case READER_RECVMSG:
		return reader_call_vector(end, bytes);
	case READER_PEEK:
		return reader_call_peek(end, bytes);
	case READER_WAITALL:
		return reader_call_all(end, bytes);
	default:
		return read(end->fd, end->read_buffer, bytes);
	}
}

/* Reads and checks 1 to `want` bytes. 1: done; 0: end of file; -1: failed (and said). */
static int reader_some(struct end *end, uint64_t want)
{
	size_t bytes = rng_size(&end->read_rng, want < READ_MAX ? (size_t)want : READ_MAX);
	ssize_t got;

	end_pause(end, &end->read_rng, &end->reading);
	for (;;) {
		if (reader_waits(end) && !end->readable && !end->failed)
			reader_wait(end);
		got = reader_call(end, bytes);
		if (got >= 0 || errno != EAGAIN || !reader_waits(end) || end->failed)
			break;
		end->readable = false;
	}
	if (got < 0) {
		end_fail(end, reader_names[end->reader]);
		return -1;
	}
	if (!reader_is_edge(end) || (end->reader == READER_EDGE_SHORT && (size_t)got < bytes && !end->hung_up))
		end->readable = false;
	if (got == 0)
		return 0;
	end_check(end, end->read_buffer, (size_t)got, true);
	return 1;
}

/* `until` bytes in all. False: it failed or ended early (and was said). */
static bool reader_until(struct end *end, uint64_t until)
{
	while (end->received < until) {
		int result = reader_some(end, until - end->received);

		if (result == 0) {
			errno = ENODATA;
			end_fail(end, "early end of file");
		}
		if (result <= 0)
			return false;
	}
	return true;
}

/* After the last byte comes the end of file, and nothing else. */
static void reader_finish(struct end *end)
{
	unsigned char extra;
	ssize_t got;

	do {
		if (end->nonblocking && !end->hung_up && reader_is_edge(end))
			reader_wait(end);
		end->reading = "in receive, for the end of file";
		got = recv(end->fd, &extra, 1, 0);
		if (got < 0 && errno == EAGAIN && end->nonblocking && !reader_is_edge(end))
			reader_wait(end);
	} while (got < 0 && errno == EAGAIN && end->nonblocking && !end->failed);
	if (got > 0)
		errno = EOVERFLOW;
	if (got)
		end_fail(end, got > 0 ? "bytes after the last one" : "end of file");
	end->reading = "done";
}

#endif
