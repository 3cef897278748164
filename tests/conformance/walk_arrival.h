/* SPDX-License-Identifier: BSD-2-Clause */
/* What one end has sent has come to the other before that makes its next call.
 *
 * Over the loopback device it mostly has when send() returns: the packet is taken in where it was sent. On a busy machine that
 * can be left to ksoftirqd, which waits for a CPU like everybody else, and plain TCP differs from itself: a receive finds less, a send meets
 * no reset yet. What TCP carries it counts, at both ends; redirected bytes are in no count, and nowhere under way. A FIN or a reset that
 * never comes differs all the same, after ARRIVAL_LOOKS.
 */
#ifndef SMACCEL_CONFORMANCE_WALK_ARRIVAL_H
#define SMACCEL_CONFORMANCE_WALK_ARRIVAL_H

#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include "walk_stage.h"

#define ARRIVAL_LOOKS 300 /* of 1 ms */

/* The kernel's struct tcp_info: libc's may end before. */
struct tcp_counts {
	uint8_t state, before[127];
	uint64_t received_bytes; /* a FIN is one, too */
	uint32_t segments[16];
	uint64_t sent_bytes, sent_again_bytes;
};
_Static_assert(offsetof(struct tcp_counts, received_bytes) == 128, "tcpi_bytes_received");
_Static_assert(offsetof(struct tcp_counts, sent_bytes) == 200, "tcpi_bytes_sent");

static inline struct tcp_counts tcp_counts_of(int fd)
{
	struct tcp_counts counts = { 0 };
	socklen_t length = sizeof(counts);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &counts, &length) < 0)
		counts.state = TCP_CLOSE;
	return counts;
}

/* Until TCP has let go of all of it: what its congestion window holds back the other end does not see yet. And if that is closed, until it has
 * said so. */
static inline void arrival_sent(int fd, unsigned end)
{
	int unsent = 0;

	for (int i = 0; i < ARRIVAL_LOOKS && ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && unsent > 0; i++)
		pause_us(1000);
	struct tcp_counts counts = tcp_counts_of(fd);
	atomic_store(&stage->sent[end], counts.sent_bytes - counts.sent_again_bytes);
	for (int i = 0; i < ARRIVAL_LOOKS && atomic_load(&stage->closed[!end]); i++) {
		if (tcp_counts_of(fd).state == TCP_CLOSE)
			return;
		pause_us(1000);
	}
}

static inline bool has_come(const struct tcp_counts *counts, unsigned end)
{
	if (counts->state == TCP_CLOSE)
		return true;
	if (atomic_load(&stage->closed[!end]))
		return counts->state == TCP_CLOSE_WAIT || counts->state == TCP_LAST_ACK ||
		       counts->state == TCP_CLOSING || counts->state == TCP_TIME_WAIT;
	return counts->received_bytes >= atomic_load(&stage->sent[!end]);
}

static inline void arrival_await(int fd, unsigned end)
{
	for (int i = 0; i < ARRIVAL_LOOKS; i++) {
		struct tcp_counts counts = tcp_counts_of(fd);

		if (has_come(&counts, end))
			return;
		pause_us(1000);
	}
}

#endif
