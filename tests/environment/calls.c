/* SPDX-License-Identifier: BSD-2-Clause */
/* CALLS calls of each function by which bytes are sent and received, on one connection, whose ends are both here.
 *
 *	calls CALLS      prints the number
 */
#define _GNU_SOURCE
#include <sys/uio.h>

#include "../support/loopback.h"

#define DEADLINE_S 20

static char byte[1];
static struct iovec vector = { byte, 1 };

static void turn(int from, int to, unsigned kind)
{
	struct msghdr out = { .msg_iov = &vector, .msg_iovlen = 1 }, in = out;
	ssize_t sent, got;

	switch (kind) {
	case 0:
		sent = write(from, byte, 1);
		got = read(to, byte, 1);
		break;
	case 1:
		sent = send(from, byte, 1, 0);
		got = recv(to, byte, 1, 0);
		break;
	case 2:
		sent = sendto(from, byte, 1, 0, NULL, 0);
		got = recvfrom(to, byte, 1, 0, NULL, NULL);
		break;
	case 3:
		sent = sendmsg(from, &out, 0);
		got = recvmsg(to, &in, 0);
		break;
	default:
		sent = writev(from, &vector, 1);
		got = readv(to, &vector, 1);
	}
	if (sent != 1 || got != 1)
		die("kind %u: %zd sent, %zd received", kind, sent, got);
}

int main(int argc, char **argv)
{
	unsigned calls = argc == 2 ? (unsigned)atoi(argv[1]) : 0;

	if (!calls)
		return EXIT_USAGE;
	alarm(DEADLINE_S);
	int one, other;

	loopback_pair(&one, &other);
	/* Nagle's algorithm would wait for the acknowledgement of each byte. */
	setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	for (unsigned i = 0; i < calls; i++)
		for (unsigned kind = 0; kind < 5; kind++)
			turn(i % 2 ? one : other, i % 2 ? other : one, kind);
	printf("{\"calls\": %u}\n", calls);
	return 0;
}
