/* SPDX-License-Identifier: BSD-2-Clause */
/* Time-outs of receives and sends. */
#include <errno.h>
#include <sys/time.h>
#include <time.h>

#include "clock.h"
#include "transfer_internal.h"

#define TIMEOUT_S_MAX 2000000 /* in ms it fits an int */

static int64_t read_ms(clockid_t clock)
{
	struct timespec now;

	clock_read(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t transfer_now_ms(void)
{
	return read_ms(CLOCK_MONOTONIC_COARSE);
}

int64_t transfer_precise_ms(void)
{
	return read_ms(CLOCK_MONOTONIC);
}

int transfer_timeout_ms(int fd, int option)
{
	struct timeval timeout = { 0 };
	socklen_t length = sizeof(timeout);
	int saved = errno, error = real_getsockopt(fd, SOL_SOCKET, option, &timeout, &length);

	errno = saved;
	if (error || (timeout.tv_sec == 0 && timeout.tv_usec == 0) || timeout.tv_sec > TIMEOUT_S_MAX)
		return -1;
	return (int)(timeout.tv_sec * 1000 + (timeout.tv_usec + 999) / 1000);
}
