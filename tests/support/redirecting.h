/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a connection redirects by now: TCP itself then receives none of its bytes. For warm-ups, which a helper that had no CPU for a
 * while makes longer: it is asked again some hundred turns later. */
#ifndef SMACCEL_TEST_REDIRECTING_H
#define SMACCEL_TEST_REDIRECTING_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REDIRECTING_TURNS_MAX 2000 /* of a millisecond: then it is given up */

/* tcpi_bytes_received: glibc's struct tcp_info ends before. */
static inline uint64_t received_by_tcp(int fd)
{
	char info[256] = "";
	socklen_t length = sizeof(info);
	uint64_t bytes = 0;
	const size_t offset = 128;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == 0 && length >= offset + sizeof(bytes))
		memcpy(&bytes, info + offset, sizeof(bytes));
	return bytes;
}

static inline bool is_preloaded(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "libsmaccel");
}

/* Makes turns on fd, the i-th by turn(argument, i), until one is redirected, or none would be. */
static inline void await_redirecting(int fd, void (*turn)(void *argument, int i), void *argument)
{
	for (int i = 0; is_preloaded() && i < REDIRECTING_TURNS_MAX; i++) {
		uint64_t before = received_by_tcp(fd);

		turn(argument, i);
		if (received_by_tcp(fd) == before)
			return;
		usleep(1000);
	}
}

#endif
