/* SPDX-License-Identifier: BSD-2-Clause */
/* The two receive queues of a joined end: see queue.h. */
#include "queue.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "endpoint.h"
#include "real.h"

#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif

#define SCRATCH_BYTES 8192
#define SCRATCH_PIECES 1024
#define MAP_BYTES 65536 /* a page of any architecture */

/* The kernel's struct tcp_zerocopy_receive as far as `waiting`: of a longer one it would also take the socket's error. */
struct zerocopy_question {
	uint64_t address;
	uint32_t bytes;
	uint32_t too_few; /* less than a page waits: how much */
	uint32_t waiting; /* a FIN counts like a byte */
};
#define QUESTION_BYTES (offsetof(struct zerocopy_question, waiting) + sizeof(uint32_t))

bool queue_has_error(int fd)
{
	struct pollfd poller = { .fd = fd };
	int saved = errno;
	bool result = real_poll(&poller, 1, 0) == 1 && (poller.revents & POLLERR);

	errno = saved;
	return result;
}

/* MSG_TRUNC makes TCP count without copying; of redirected bytes it is ignored, so that they cannot be copied to nowhere
 * (fact 7). */
bool queue_begins_redirected(int fd)
{
	int saved = errno;
	bool result = real_recv(fd, NULL, 1, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT) < 0 && errno == EFAULT;

	errno = saved;
	return result;
}

bool queue_has_redirected(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	int saved = errno;
	bool something = real_poll(&poller, 1, 0) == 1 && (poller.revents & (POLLIN | POLLERR)) == POLLIN;

	errno = saved;
	return something && queue_begins_redirected(fd);
}

/* One small buffer many times over, which stays in the cache. */
int64_t queue_redirected_bytes(int fd, int64_t limit, bool sure)
{
	char scratch[SCRATCH_BYTES];
	struct iovec vector[SCRATCH_PIECES];
	struct msghdr message = { .msg_iov = vector };
	int saved = errno;

	if (limit <= 0 || !(sure ? queue_begins_redirected(fd) : queue_has_redirected(fd)))
		return 0;
	while (message.msg_iovlen < SCRATCH_PIECES && limit > 0) {
		size_t bytes = limit < SCRATCH_BYTES ? (size_t)limit : SCRATCH_BYTES;

		vector[message.msg_iovlen++] = (struct iovec){ scratch, bytes };
		limit -= (int64_t)bytes;
	}
	ssize_t result = real_recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
	errno = saved;
	return result > 0 ? result : 0;
}

/* Of a connection that is closed both ways it is not known here whether that was by FINs or by a reset: no. */
static bool has_fin(uint8_t state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING || state == TCP_TIME_WAIT;
}

/* A connection of which nothing is left had a FIN too, or a reset, of which the error waits until somebody takes it. */
bool queue_has_end(int fd)
{
	uint8_t state = endpoint_tcp_state(fd);

	return state == TCP_CLOSE ? !queue_has_error(fd) : has_fin(state);
}

/* TCP_ZEROCOPY_RECEIVE of less than a page takes nothing and says what waits; a page or more is told only to who has a
 * mapping of the socket. */
int64_t queue_tcp_bytes(int fd)
{
	struct zerocopy_question question = { .bytes = 0 };
	socklen_t length = QUESTION_BYTES;
	int saved = errno;
	int64_t result = 0;

	if (real_getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length) == 0) {
		result = question.too_few;
	} else if (errno == EINVAL) {
		void *map = mmap(NULL, MAP_BYTES, PROT_READ, MAP_SHARED, fd, 0);

		question = (struct zerocopy_question){ .address = (uintptr_t)map, .bytes = 1 };
		length = QUESTION_BYTES;
		if (map != MAP_FAILED) {
			if (real_getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length) == 0)
				result = (int64_t)question.waiting - has_fin(endpoint_tcp_state(fd));
			munmap(map, MAP_BYTES);
		}
	}
	errno = saved;
	return result;
}

/* tcp_bpf_recvmsg says 0 to a receive of no bytes at once, TCP says EAGAIN while nothing is there. */
bool queue_may_be_joined(int fd)
{
	int saved = errno;
	char nothing;
	bool result = real_recv(fd, &nothing, 0, MSG_PEEK | MSG_DONTWAIT) == 0;

	errno = saved;
	return result;
}
