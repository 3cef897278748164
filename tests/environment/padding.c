/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages as a musl program makes them: the lengths in struct msghdr are 32 bits there, what is beside them is never set. Built
 * with musl-gcc; both ends are in this process. Prints "ok".
 */
#define _GNU_SOURCE
#include "../support/loopback.h"

#define TURNS 200
#define PAUSE_US 300
#define BYTES 1000
#define DEADLINE_S 20

static unsigned char out[BYTES], in[BYTES];

static struct msghdr message_of(struct iovec *vector)
{
	struct msghdr message;

	memset(&message, 0xff, sizeof(message));
	message.msg_name = NULL;
	message.msg_namelen = 0;
	message.msg_iov = vector;
	message.msg_iovlen = 2;
	message.msg_control = NULL;
	message.msg_controllen = 0;
	message.msg_flags = 0;
	return message;
}

static void turn(int from, int to, unsigned number, bool many)
{
	struct iovec sent[2] = { { out, 1 }, { out + 1, BYTES - 1 } }, got[2] = { { in, 10 }, { in + 10, BYTES - 10 } };
	struct mmsghdr put = { message_of(sent), 0 }, take = { message_of(got), 0 };

	memset(out, (int)number, sizeof(out));
	ssize_t bytes =
		many ? sendmmsg(from, &put, 1, 0) == 1 ? (ssize_t)put.msg_len : -1 : sendmsg(from, &put.msg_hdr, 0);
	if (bytes != BYTES)
		die("turn %u: sent %zd", number, bytes);
	bytes = many ? recvmmsg(to, &take, 1, MSG_WAITALL, NULL) == 1 ? (ssize_t)take.msg_len : -1
		     : recvmsg(to, &take.msg_hdr, MSG_WAITALL);
	if (bytes != BYTES || memcmp(in, out, BYTES) != 0)
		die("turn %u: received %zd", number, bytes);
	if (take.msg_hdr.msg_controllen != 0 || take.msg_hdr.msg_flags != 0)
		die("turn %u: flags %x", number, take.msg_hdr.msg_flags);
}

int main(void)
{
	alarm(DEADLINE_S);
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);
	int one = loopback_connect("127.0.0.1", loopback_port(listener)), other = accept(listener, NULL, NULL);

	if (other < 0)
		die("accept");
	for (unsigned i = 0; i < TURNS; i++) {
		turn(one, other, i, i % 2);
		turn(other, one, i + 1, i % 2);
		usleep(PAUSE_US);
	}
	printf("ok\n");
	return 0;
}
