/* SPDX-License-Identifier: BSD-2-Clause */
/* Closes by syscall(). */
#ifndef SMACCEL_INTERCEPT_CLOSE_H
#define SMACCEL_INTERCEPT_CLOSE_H

/* close(2), which libuv calls so that it is no cancellation point: nor is this. Returns as syscall() does. */
long intercept_close_by_call(long number, long fd);

#endif
