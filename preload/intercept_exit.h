/* SPDX-License-Identifier: BSD-2-Clause */
/* Handlers of exit() and quick_exit() that come after all others, and ends by syscall(). */
#ifndef SMACCEL_INTERCEPT_EXIT_H
#define SMACCEL_INTERCEPT_EXIT_H

void intercept_exit_init(void); /* constructor */
/* The thread is about to end by exit(2): so does the process, if it is the last. */
void intercept_thread_ends(void);

#endif
