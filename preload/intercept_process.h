/* SPDX-License-Identifier: BSD-2-Clause */
/* Other programs by syscall(). */
#ifndef SMACCEL_INTERCEPT_PROCESS_H
#define SMACCEL_INTERCEPT_PROCESS_H

/* execve(2), execveat(2): returns as syscall() does, if it has failed. */
long intercept_exec_by_call(long number, long a, long b, long c, long d, long e);

#endif
