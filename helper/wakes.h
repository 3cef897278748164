/* SPDX-License-Identifier: BSD-2-Clause */
/* Waking those whose joins are answered, when the turn is over. */
#ifndef SMACCEL_HELPER_WAKES_H
#define SMACCEL_HELPER_WAKES_H

#include <stdatomic.h>
#include <stdint.h>

struct loop;
struct wakes;

struct wakes *wakes_new(struct loop *loop); /* NULL: out of memory */
void wakes_free(struct wakes *wakes);
/* Whoever sleeps on that word of a session memory is woken at the end of the turn, or when enough wait for that. The memory must
 * last until then, as that of a session does that is closed in this turn. */
void wakes_add(struct wakes *wakes, _Atomic uint32_t *word);

#endif
