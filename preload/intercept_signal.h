/* SPDX-License-Identifier: BSD-2-Clause */
/* rt_sigaction(2) by libc's syscall(). */
#ifndef SMACCEL_INTERCEPT_SIGNAL_H
#define SMACCEL_INTERCEPT_SIGNAL_H

/* Makes the call, and then is as sigaction(3). Returns as that syscall() does, errno included. */
long intercept_sigaction_by_call(long number, long signal, long action, long old, long bytes);

#endif
