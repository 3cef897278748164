/* SPDX-License-Identifier: BSD-2-Clause */
/* order.c: the ways to write. On a blocking fd EAGAIN is an error; on a non-blocking one poll(POLLOUT) is waited for. */
#ifndef SMACCEL_TEST_ORDER_WRITE_H
#define SMACCEL_TEST_ORDER_WRITE_H

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "order_end.h"

/* sendfile() lends its pages to the kernel until they are read at the far end, so the file is written once: one period. */
static void writer_open(struct end *end)
{
	if (end->writer != WRITER_SENDFILE)
		return;
	end->file_fd = memfd_create("order", MFD_CLOEXEC);
	if (end->file_fd < 0 || ftruncate(end->file_fd, PATTERN_FILE_PERIOD) < 0)
		die("memfd");
	void *file = mmap(NULL, PATTERN_FILE_PERIOD, PROT_READ | PROT_WRITE, MAP_SHARED, end->file_fd, 0);

	if (file == MAP_FAILED)
		die("mmap");
	pattern_fill(&end->out, 0, file, PATTERN_FILE_PERIOD);
	munmap(file, PATTERN_FILE_PERIOD);
}

static ssize_t writer_call_vector(struct end *end, unsigned char *from, size_t bytes)
{
	size_t first = rng_below(&end->write_rng, bytes), second = rng_below(&end->write_rng, bytes - first);
	struct iovec parts[3] = {
		{ .iov_base = from, .iov_len = first },
		{ .iov_base = from + first, .iov_len = second },
		{ .iov_base = from + first + second, .iov_len = bytes - first - second },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };

	if (end->writer == WRITER_WRITEV)
		return writev(end->fd, parts, 3);
	return sendmsg(end->fd, &message, MSG_NOSIGNAL);
}

static ssize_t writer_call(struct end *end, unsigned char *from, size_t bytes)
{
	off_t at = (off_t)(end->sent % PATTERN_FILE_PERIOD);

	end->writing = "in send";
	switch (end->writer) {
	case WRITER_WRITE:
		return write(end->fd, from, bytes);
	case WRITER_SENDFILE:
		if (bytes > PATTERN_FILE_PERIOD - (size_t)at)
			bytes = PATTERN_FILE_PERIOD - (size_t)at;
		return sendfile(end->fd, end->file_fd, &at, bytes);
	default:
		return writer_call_vector(end, from, bytes);
	}
}

/* Makes the next chunk ready in the buffer; its size. */
static size_t writer_prepare(struct end *end, size_t bytes)
{
	if (bytes > end->total - end->sent)
		bytes = end->total - end->sent;
	if (end->writer != WRITER_SENDFILE)
		pattern_fill(&end->out, end->sent, end->write_buffer, bytes);
	return bytes;
}

/* Sends exactly `bytes` (fewer at the stream's end). False: it failed, and was said. */
static bool writer_chunk(struct end *end, size_t bytes)
{
	struct pollfd wait = { .fd = end->fd, .events = POLLOUT };
	size_t length, done = 0;

	end_pause(end, &end->write_rng, &end->writing);
	length = writer_prepare(end, bytes);
	while (done < length) {
		ssize_t got = writer_call(end, end->write_buffer + done, length - done);

		if (got < 0 && errno == EAGAIN && end->nonblocking && !end->failed) {
			end->writing = "in poll";
			poll(&wait, 1, -1);
			continue;
		}
		if (got <= 0) {
			end_fail(end, writer_names[end->writer]);
			return false;
		}
		done += (size_t)got;
		end->sent += (size_t)got;
	}
	return true;
}

static void writer_finish(struct end *end)
{
	if (shutdown(end->fd, SHUT_WR) < 0 && !end->failed)
		end_fail(end, "shutdown");
	end->writing = "done";
}

#endif
