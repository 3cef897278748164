/* SPDX-License-Identifier: BSD-2-Clause */
/* What /proc tells of this process. Async-signal-safe. */
#ifndef SMACCEL_PROC_H
#define SMACCEL_PROC_H

#include <stdint.h>

/* Opens the file of a number, for reading: before and after are what stands around that in its path. -1 with errno. */
int proc_open(const char *before, uint32_t number, const char *after);

/* Where a thread is. Some 10 us. */
enum proc_place {
	PROC_ELSEWHERE,     /* asleep in another system call, or gone */
	PROC_ASLEEP_ON_FD,  /* in a system call with fd as its first argument: that has its file already */
	PROC_MAY_COME_TO_IT /* it has a CPU, or waits for one, or for a page of its memory; or it cannot be known */
};
enum proc_place proc_place_of(int32_t tid, int fd);

#endif
