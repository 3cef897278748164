/* SPDX-License-Identifier: BSD-2-Clause */
/* What a connection has sent and received, asked of the kernel by whoever has its fd. preload/endpoint.c stands on it.
 *
 *	sent        tcpi_bytes_acked and SIOCOUTQ, whatever is acknowledged; one more for the end that made the connection: its SYN
 *	received    tcpi_bytes_received without SIOCINQ, as far as it was read
 */
#define _GNU_SOURCE
#include "kernel_test.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "loopback.h"

#define ROUNDS 40
#define PIECE_BYTES 3000

struct end {
	int fd;
	bool connects;
	uint64_t sent, received;
};

static void look(const struct end *end, const char *what)
{
	struct tcp_info information = { 0 };
	socklen_t length = sizeof(information);
	int unacknowledged = 0, unread = 0;
	char name[64];

	require(ioctl(end->fd, SIOCOUTQ, &unacknowledged) == 0);
	require(ioctl(end->fd, SIOCINQ, &unread) == 0);
	require(getsockopt(end->fd, IPPROTO_TCP, TCP_INFO, &information, &length) == 0);
	uint64_t sent = information.tcpi_bytes_acked + (uint64_t)unacknowledged - end->connects;
	uint64_t received = information.tcpi_bytes_received - (uint64_t)unread;
	snprintf(name, sizeof(name), "%s-%s", end->connects ? "connects" : "accepts", what);
	check(sent == end->sent && received == end->received, "sums", name, "sent %llu of %llu, received %llu of %llu",
	      (unsigned long long)sent, (unsigned long long)end->sent, (unsigned long long)received,
	      (unsigned long long)end->received);
}

static void say(struct end *end, size_t bytes)
{
	static const char zeros[PIECE_BYTES];

	require(send(end->fd, zeros, bytes, 0) == (ssize_t)bytes);
	end->sent += bytes;
}

static void hear(struct end *end, size_t bytes)
{
	static char room[PIECE_BYTES];
	ssize_t got = recv(end->fd, room, bytes, MSG_WAITALL);

	require(got == (ssize_t)bytes);
	end->received += bytes;
}

int main(void)
{
	struct end ends[2] = { { .connects = true }, { .connects = false } };
	int fds[2];

	require(loopback_pair_open(fds) == 0);
	for (int i = 0; i < 2; i++) {
		ends[i].fd = fds[i];
		set_receive_limit(fds[i], 2000);
		look(&ends[i], "fresh");
	}
	for (int i = 0; i < 2; i++)
		say(&ends[i], 100);
	require(readable_within(fds[0], 2000) && readable_within(fds[1], 2000));
	for (int i = 0; i < 2; i++)
		look(&ends[i], "unread");
	for (int i = 0; i < 2; i++)
		hear(&ends[i], 60);
	for (int i = 0; i < 2; i++)
		look(&ends[i], "partly-read");
	for (size_t i = 0; i < ROUNDS; i++) {
		say(&ends[i & 1], PIECE_BYTES - i);
		say(&ends[!(i & 1)], 1 + i);
		hear(&ends[!(i & 1)], PIECE_BYTES - i);
	}
	for (int i = 0; i < 2; i++)
		look(&ends[i], "after-many");
	return kernel_test_finish();
}
