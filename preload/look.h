/* SPDX-License-Identifier: BSD-2-Clause */
/* When to look again whether a session is there.
 *
 * While one is asked for, each look is some ten system calls. So all connections together look again when a quarter more time has
 * passed since the first look: a helper that has a CPU answers within some 100 us, one that has none, or is stopped, is looked for less
 * and less. Threads that look at once cost one another a look; their readings of the clock may come in any order.
 *
 * Times are the caller's, in us of a clock that does not jump; they wrap.
 */
#ifndef SMACCEL_LOOK_H
#define SMACCEL_LOOK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOOK_FIRST_US 50u
#define LOOK_LAST_US 20000u

struct look {
	_Atomic uint32_t starting_us; /* 0: no session is waited for */
	_Atomic uint32_t next_us;
};

bool look_is_due(struct look *look, uint32_t now_us);
void look_in_vain(struct look *look, uint32_t now_us); /* it was not there */
void look_settled(struct look *look);                  /* it is there, or nothing is waited for */

#endif
