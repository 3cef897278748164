/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls past libc: see raw_syscall.h. */
#include "raw_syscall.h"

#include <errno.h>

/* Holds its own address as soon as this library is relocated. */
static void *volatile relocated = (void *)&relocated;

long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = raw_system_call(number, a, b, c, d, e, f);

	if ((unsigned long)result < -4095UL)
		return result;
	if (relocated == (void *)&relocated)
		errno = (int)-result;
	return -1;
}
