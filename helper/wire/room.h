/* SPDX-License-Identifier: BSD-2-Clause */
/* What the shim needs of a process's limits: for the shim, and for the command line, which says why one got nothing. */
#ifndef SMACCEL_WIRE_ROOM_H
#define SMACCEL_WIRE_ROOM_H

#include <stdint.h>

/* Its mappings at first, and how many times as much RLIMIT_AS and RLIMIT_DATA have to allow: the program is to find the room that it has
 * without the shim, or nearly. */
#define ROOM_BYTES (4608u << 10)
#define ROOM_SHARE 8

/* Its own fds, and where they are: high, but below 1024 even if more is allowed, as a single high fd makes the kernel grow the process's
 * table to hold it. */
#define ROOM_FDS 3
#define ROOM_FD_HIGH 1000
#define ROOM_FD_MARGIN 24

/* The lowest number for one of them, under this RLIMIT_NOFILE. */
static inline int room_fd_lowest(uint64_t limit)
{
	if (limit >= ROOM_FD_HIGH + ROOM_FD_MARGIN)
		return ROOM_FD_HIGH;
	return limit > 2 * ROOM_FD_MARGIN ? (int)limit - ROOM_FD_MARGIN : ROOM_FD_MARGIN;
}

#endif
