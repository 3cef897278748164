/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection whose receive window is all that it can be: its buffer has the size of tcp_rmem[2] from the beginning, without being locked, and
 * a stream by plain TCP has opened the window. For a network namespace of the test's own, as root. Each large write counts as a turn: a
 * connection that is to stay plain so long asks for GROWING_TURNS of them before it joins (SMACCEL_ADMIT). */
#ifndef SMACCEL_TEST_GROWING_H
#define SMACCEL_TEST_GROWING_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "loopback.h"

#define GROWING_CHUNK (256 << 10)
#define GROWING_WRITES 400
#define GROWING_TURNS 5000
#define GROWING_SETTLE_US 20000 /* an offer has found its peer by then */
#define GROWING_BYTES (2 << 20)
#define GROWING_SYSCTL "/proc/sys/net/ipv4/tcp_rmem"

static inline int receive_buffer_bytes(int fd)
{
	int bytes = 0;
	socklen_t length = sizeof(bytes);

	getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length);
	return bytes;
}

static inline void growing_sysctl(void)
{
	FILE *file = fopen(GROWING_SYSCTL, "we");

	if (!file || fprintf(file, "4096 %d %d\n", GROWING_BYTES, GROWING_BYTES) < 0 || fclose(file))
		die(GROWING_SYSCTL);
}

struct growing {
	int sender, receiver;
	int writes;
};

static inline void *growing_main(void *argument)
{
	const struct growing *growing = argument;
	static char chunk[GROWING_CHUNK];

	chunk[0] = 0;
	for (int i = 1; i < growing->writes; i++)
		if (write_whole(growing->sender, chunk, sizeof(chunk)))
			die("send");
	chunk[0] = 1; /* the last */
	if (write_whole(growing->sender, chunk, sizeof(chunk)))
		die("send");
	return argument;
}

static inline void growing_stream(struct growing growing)
{
	static char chunk[GROWING_CHUNK];
	pthread_t thread;

	if (pthread_create(&thread, NULL, growing_main, &growing))
		die("pthread_create");
	do {
		if (read_whole(growing.receiver, chunk, sizeof(chunk)))
			die("receive");
	} while (!chunk[0]);
	pthread_join(thread, NULL);
}

/* rcvbuf: of the receiver, as the application sets it, which the kernel doubles; 0: it is auto-tuned. */
static inline void growing_pair(int *sender, int *receiver, int rcvbuf)
{
	growing_sysctl();
	loopback_pair(sender, receiver);
	if (rcvbuf && setsockopt(*receiver, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf)))
		die("SO_RCVBUFFORCE");
	growing_stream((struct growing){ *sender, *receiver, GROWING_WRITES });
}

/* So many that it may join. */
static inline void growing_turns(int sender, int receiver)
{
	char message[64] = "";

	for (int i = 0; i < 2 * GROWING_TURNS; i++) {
		if (write_whole(sender, message, sizeof(message)) || read_whole(receiver, message, sizeof(message)) ||
		    write_whole(receiver, message, sizeof(message)) || read_whole(sender, message, sizeof(message)))
			die("turns");
		if (i % GROWING_TURNS == GROWING_TURNS - 1)
			usleep(GROWING_SETTLE_US);
	}
}

#endif
