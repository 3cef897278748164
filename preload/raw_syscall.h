/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls past libc: no cancellation point, and no wrapper of ours (libc's own syscall() is one of the intercepted
 * symbols). Of use at any time, also before this library is relocated. */
#ifndef SMACCEL_RAW_SYSCALL_H
#define SMACCEL_RAW_SYSCALL_H

/* As libc's syscall(): -1 and errno on failure. */
long raw_call(long number, long a, long b, long c, long d, long e, long f);

#define RAW_PAD(number, a, b, c, d, e, f, ...)                                                                         \
	raw_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* raw_syscall(number, up to 6 arguments) */
#define raw_syscall(...) RAW_PAD(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#endif
