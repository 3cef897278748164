/* SPDX-License-Identifier: BSD-2-Clause */
/* How much of a thread's time goes into waiting for the helper.
 *
 * Each wait has its bound, but a helper that has hardly a CPU keeps all of them: a server of one thread and many new connections would do
 * nothing but wait. So what a wait takes beyond a prompt answer's time is owed, and paid back by the time that passes: a
 * PATIENCE_SHARE-th of it. With more than PATIENCE_US owed nothing is begun that can wait: a join, whose connection stays on TCP for now.
 *
 * Of each thread by itself: while one waits, others work. Times are the caller's, in ms of a clock that does not jump; they wrap.
 */
#ifndef SMACCEL_PATIENCE_H
#define SMACCEL_PATIENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PATIENCE_PROMPT_US 1000u /* an answer takes some 60 us */
#define PATIENCE_US 50000u
#define PATIENCE_US_MAX                                                                                                \
	1000000u /* of many threads, or of a process that was stopped within a wait: paid back in half a minute */
#define PATIENCE_SHARE 32u

struct patience {
	_Atomic uint64_t owed; /* us in the upper half, as of the ms in the lower one */
};

bool patience_lasts(const struct patience *patience, uint32_t now_ms);
void patience_spend(struct patience *patience, uint32_t now_ms, uint64_t waited_us);

#endif
