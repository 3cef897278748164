/* SPDX-License-Identifier: BSD-2-Clause */
/* The two receive queues of a joined end: see queue.h. */
#include "queue.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "endpoint.h"
#include "raw_syscall.h"
#include "real.h"
#include "scratch.h"

#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif

#define NOWHERE_PIECES 1024
#define DISCARD_READS_MAX 4096 /* 32 MiB: more than a direction may have redirected and unread */
#define MAP_BYTES 65536        /* a page of any architecture */

/* The kernel's struct tcp_zerocopy_receive as far as `waiting`: of a longer one it would also take the socket's error. */
struct zerocopy_question {
	uint64_t address;
	uint32_t bytes;
	uint32_t too_few; /* less than a page waits: how much */
	uint32_t waiting; /* a FIN counts like a byte */
	int32_t error;
	uint64_t copy_address; /* up to copy_bytes are copied there */
	int32_t copy_bytes;
	uint16_t padding;
};
/* What a receive can get, and what TCP_INQ says waits: a FIN counts like a byte there, and so does what is behind an urgent byte. */
struct tcp_queue {
	int64_t bytes, hint;
};
#define QUESTION_BYTES (offsetof(struct zerocopy_question, waiting) + sizeof(uint32_t))
/* No field of the kernel's ends here: neither error nor `waiting` is written. */
#define COPY_QUESTION_BYTES (offsetof(struct zerocopy_question, padding) + sizeof(uint16_t))
/* A peek that only redirected bytes answer: tcp_bpf_recvmsg() knows no MSG_OOB, and without any TCP looks for an urgent byte (and says
 * so in msg_flags), but neither at its queue nor at an error that waits, which another peek would take. */
#define REDIRECTED_ONLY (MSG_PEEK | MSG_OOB | MSG_DONTWAIT)
#define NOT_AN_ADDRESS (~(uint64_t)4095) /* not even of memory that could be mapped */

/* Whoever looks is in a call that may be no cancellation point, as libc's would be. */
static ssize_t receive(int fd, void *buffer, size_t bytes, int flags)
{
	return raw_syscall(SYS_recvfrom, fd, buffer, bytes, flags, NULL, NULL);
}

bool queue_has_error(int fd)
{
	struct pollfd poller = { .fd = fd };
	int saved = errno;
	/* POLLERR alone may be the error queue's (a completion of MSG_ZEROCOPY, a timestamp): an error closes the connection, too, but for what
	 * ICMP says to who has asked to hear it. */
	bool result = real_poll(&poller, 1, 0) == 1 && (poller.revents & POLLERR) &&
		      ((poller.revents & POLLHUP) || endpoint_has_option(fd, IPPROTO_IP, IP_RECVERR) ||
		       endpoint_has_option(fd, IPPROTO_IPV6, IPV6_RECVERR));

	errno = saved;
	return result;
}

/* MSG_TRUNC makes TCP count without copying; of redirected bytes it is ignored, so that they cannot be copied to where
 * nothing can be written (fact 7). That is memory even so: of another address valgrind would complain. */
bool queue_has_redirected(int fd)
{
	static const char read_only;
	int saved = errno;
	bool result = receive(fd, (void *)(uintptr_t)&read_only, 1, REDIRECTED_ONLY | MSG_TRUNC) < 0 && errno == EFAULT;

	errno = saved;
	return result;
}

/* One small buffer many times over, which stays in the cache. Not on the stack (scratch.h); who comes first fills it in. */
static struct iovec *nowhere_vector(void)
{
	static struct iovec vector[NOWHERE_PIECES];
	static _Atomic bool filled;

	for (size_t i = 0; !atomic_load(&filled) && i < NOWHERE_PIECES; i++)
		vector[i] = (struct iovec){ scratch_nowhere, NOWHERE_BYTES };
	atomic_store(&filled, true);
	return vector;
}

int64_t queue_redirected_bytes(int fd, int64_t limit)
{
	struct msghdr message = { .msg_iov = nowhere_vector() };
	int saved = errno;

	if (limit <= 0 || !queue_has_redirected(fd))
		return 0;
	message.msg_iovlen = limit < (int64_t)NOWHERE_BYTES * NOWHERE_PIECES
				     ? ((size_t)limit + NOWHERE_BYTES - 1) / NOWHERE_BYTES
				     : NOWHERE_PIECES;
	ssize_t result = raw_syscall(SYS_recvmsg, fd, &message, REDIRECTED_ONLY);
	errno = saved;
	if (result <= 0 || (message.msg_flags & MSG_OOB))
		return 0;
	return result < limit ? result : limit;
}

void queue_discard(int fd)
{
	int saved = errno;

	for (int i = 0;
	     i < DISCARD_READS_MAX && receive(fd, scratch_nowhere, NOWHERE_BYTES, REDIRECTED_ONLY & ~MSG_PEEK) > 0; i++)
		;
	errno = saved;
}

bool queue_is_at_mark(int fd)
{
	int mark = 0, saved = errno;
	bool result = real_ioctl(fd, SIOCATMARK, &mark) == 0 && mark;

	errno = saved;
	return result;
}

bool queue_takes_urgent(int fd)
{
	return endpoint_has_option(fd, SOL_SOCKET, SO_OOBINLINE);
}

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

bool queue_has_sent_end(int fd)
{
	uint8_t state = endpoint_tcp_state(fd);
	int unsent = 1;

	return (state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2) && real_ioctl(fd, SIOCOUTQNSD, &unsent) == 0 &&
	       unsent == 0;
}

/* Whether TCP's queue has so many bytes or fewer, but some: then TCP_ZEROCOPY_RECEIVE is to copy them, and is refused for the address
 * before it takes any. Here, as in FIONREAD of TCP's own, a FIN does not count, nor what is behind an urgent byte. */
static bool has_at_most(int fd, int64_t bytes)
{
	struct zerocopy_question question = { .copy_address = NOT_AN_ADDRESS, .copy_bytes = (int32_t)bytes };
	socklen_t length = COPY_QUESTION_BYTES;

	return real_getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length) != 0 && errno == EFAULT;
}

/* The bytes among so many sequence numbers: mostly as many, or one less. */
static int64_t bytes_among(int fd, int64_t numbers)
{
	int64_t most = numbers, too_few = numbers - 1;

	while (too_few > 0 && has_at_most(fd, too_few)) {
		most = too_few;
		too_few -= numbers - too_few;
	}
	if (too_few < 0)
		too_few = 0;
	while (most - too_few > 1) {
		int64_t middle = too_few + (most - too_few) / 2;

		*(has_at_most(fd, middle) ? &most : &too_few) = middle;
	}
	return most;
}

/* TCP_ZEROCOPY_RECEIVE of less than a page takes nothing and says what waits; a page or more is told only to who has a
 * mapping of the socket. Nothing, behind an end that has come, is EIO. What waits is tcp_inq_hint()'s answer. */
static struct tcp_queue look_at_tcp(int fd)
{
	struct zerocopy_question question = { .bytes = 0 };
	socklen_t length = QUESTION_BYTES;
	int saved = errno;
	struct tcp_queue result = { 0, 0 };

	if (real_getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length) == 0) {
		result = (struct tcp_queue){ question.too_few, question.waiting };
	} else if (errno == EIO) {
		result.hint = 1;
	} else if (errno == EINVAL) {
		void *map = mmap(NULL, MAP_BYTES, PROT_READ, MAP_SHARED, fd, 0);

		question = (struct zerocopy_question){ .address = (uintptr_t)map, .bytes = 1 };
		length = QUESTION_BYTES;
		if (map != MAP_FAILED) {
			if (real_getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length) == 0 &&
			    question.too_few > 0)
				result = (struct tcp_queue){ bytes_among(fd, question.waiting), question.waiting };
			munmap(map, MAP_BYTES);
		}
	}
	errno = saved;
	return result;
}

int64_t queue_tcp_bytes(int fd)
{
	return look_at_tcp(fd).bytes;
}

int64_t queue_beyond_bytes(int fd)
{
	struct tcp_queue queue = look_at_tcp(fd);

	return queue.hint - queue.bytes;
}

/* tcp_bpf_recvmsg() says 0 to a receive of no bytes at once. TCP's looks for an urgent byte, and mostly there is none: EINVAL. */
bool queue_may_be_joined(int fd)
{
	int saved = errno;
	char nothing;
	bool result = receive(fd, &nothing, 0, REDIRECTED_ONLY) == 0;

	errno = saved;
	return result;
}
