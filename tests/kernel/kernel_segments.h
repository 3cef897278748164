/* SPDX-License-Identifier: BSD-2-Clause */
/* How many segments messages become. Header-only. */
#ifndef SMACCEL_KERNEL_SEGMENTS_H
#define SMACCEL_KERNEL_SEGMENTS_H

#include <linux/tcp.h>
#include <netinet/in.h>

#include "kernel_test.h"

/* Sends `bytes` at once from ends[0], `turns` times, and reads them from the other, always one behind. Returns the segments that
 * they were, without those that were sent again: a machine that stands still for a moment has some. */
static inline uint32_t segments_of_turns(const int ends[2], int turns, char *block, size_t bytes)
{
	struct tcp_info before = { 0 }, after = { 0 };
	socklen_t size = sizeof(before);

	require(setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)) == 0);
	require(getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &before, &size) == 0);
	for (int i = 0; i <= turns; i++)
		require((i == turns || send(ends[0], block, bytes, MSG_NOSIGNAL) == (ssize_t)bytes) &&
			(!i || recv(ends[1], block, bytes, MSG_WAITALL) == (ssize_t)bytes));
	require(getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &after, &size) == 0);
	return (after.tcpi_data_segs_out - after.tcpi_total_retrans) -
	       (before.tcpi_data_segs_out - before.tcpi_total_retrans);
}

#endif
