/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of the application's signal handlers ran while a blocking receive slept.
 *
 * On an end in the sockhash the kernel says EAGAIN to a receive that a signal woke (fact 4), where TCP says EINTR, or goes
 * on after a handler with SA_RESTART. To give TCP's answer the shim has to know which handlers ran: each one is called
 * through signals.c, which counts it for its thread. What the application asks about its handlers it is told as if it
 * were not so.
 */
#ifndef SMACCEL_SIGNALS_H
#define SMACCEL_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

/* Constructor: takes over the handlers that are installed already; of signal n, if bit n - 1 is set. */
void signals_init(uint64_t caught);
void signals_changed(int number); /* a handler of this signal may have been installed, removed, or changed its flags */
void *signals_installed(int number); /* the application's handler behind ours; NULL: none */
/* Replaces our handler's address, as the kernel gave it back, by what the application had installed before. */
void *signals_shown(void *handler, void *before);

struct signals_mark {
	uint32_t interrupting; /* handlers without SA_RESTART that ran in this thread */
	uint32_t restarting;   /* handlers with SA_RESTART */
};
extern __thread struct signals_mark signals_ran __attribute__((tls_model("initial-exec")));

/* This thread can be cancelled at any instruction, for the time of a system call that is a cancellation point. A handler, which may
 * also leave by siglongjmp, ends that. */
extern __thread bool signals_cancel_at_once __attribute__((tls_model("initial-exec")));

/* SIGPIPE is blocked in this thread for the time of a system call, where the application has not blocked it (transfer_send.c). A
 * handler runs with the mask that it would have without us: it may look at it, and leave by longjmp. */
extern __thread bool signals_holds_pipe __attribute__((tls_model("initial-exec")));

/* A receive that began at `before` was woken: did a handler run that makes it end with EINTR? With SO_RCVTIMEO set any
 * handler does (signal(7)). */
static inline bool signals_interrupted(struct signals_mark before, bool has_timeout)
{
	return signals_ran.interrupting != before.interrupting ||
	       (has_timeout && signals_ran.restarting != before.restarting);
}

#endif
