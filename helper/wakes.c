/* SPDX-License-Identifier: BSD-2-Clause */
/* Wake-ups: see wakes.h.
 *
 * Where processes want more than the CPUs can give, who is woken gets the CPU at once, and the helper gets it back only when
 * that one sleeps or has used up his share: a turn of several joins then takes a switch of processes for each. All of it is
 * done first, and waits no longer than WAKES_MAX joins take.
 */
#include "wakes.h"

#include <stdlib.h>

#include "loop.h"
#include "session.h"

#define WAKES_MAX 8

struct wakes {
	struct loop_chore at_end;
	struct loop *loop;
	unsigned count;
	_Atomic uint32_t *words[WAKES_MAX];
};

static void wake_all(struct loop_chore *chore)
{
	struct wakes *wakes = loop_container(chore, struct wakes, at_end);

	for (unsigned i = 0; i < wakes->count; i++)
		session_wake(wakes->words[i]);
	wakes->count = 0;
}

struct wakes *wakes_new(struct loop *loop)
{
	struct wakes *wakes = calloc(1, sizeof(*wakes));

	if (!wakes)
		return NULL;
	wakes->loop = loop;
	wakes->at_end.run = wake_all;
	return wakes;
}

void wakes_free(struct wakes *wakes)
{
	free(wakes);
}

void wakes_add(struct wakes *wakes, _Atomic uint32_t *word)
{
	wakes->words[wakes->count++] = word;
	if (wakes->count == WAKES_MAX)
		wake_all(&wakes->at_end);
	else
		loop_after_turn(wakes->loop, &wakes->at_end);
}
