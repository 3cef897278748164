/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes of a duplicate and the note of it (held.c) on one side, forks (held_before_fork) on the other: each waits for the other, for a
 * bounded time, or a child would have a duplicate that no note tells of. */
#ifndef SMACCEL_HELD_CHANGE_H
#define SMACCEL_HELD_CHANGE_H

void held_change_begin(void);
void held_change_end(void);
void held_changes_forked(void); /* in the child: nothing is under way */

void held_pause_briefly(void); /* 0.1 ms; raw: no cancellation point */

#endif
