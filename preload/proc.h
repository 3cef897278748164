/* SPDX-License-Identifier: BSD-2-Clause */
/* What /proc tells of this process. Async-signal-safe. */
#ifndef SMACCEL_PROC_H
#define SMACCEL_PROC_H

#include <stdbool.h>
#include <stdint.h>

/* Opens the file of a number, for reading: before and after are what stands around that in its path. -1 with errno. */
int proc_open(const char *before, uint32_t number, const char *after);

/* The thread sleeps in the kernel, in a system call with fd as its first argument: that has its file already. False also if that cannot be
 * known. Some 10 us. */
bool proc_sleeps_in_call_on(int32_t tid, int fd);

#endif
