/* SPDX-License-Identifier: BSD-2-Clause */
/* Forks by syscall(). */
#ifndef SMACCEL_INTERCEPT_FORK_H
#define SMACCEL_INTERCEPT_FORK_H

/* fork(2), or a clone(2) that has neither CLONE_VM nor a stack of its own: returns as syscall() does, in the child too. */
long intercept_fork_by_call(long number, long a, long b, long c, long d, long e);

#endif
