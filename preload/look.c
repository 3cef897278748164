/* SPDX-License-Identifier: BSD-2-Clause */
/* When to look for a session: see look.h. */
#include "look.h"

bool look_is_due(struct look *look, uint32_t now_us)
{
	uint32_t left = atomic_load_explicit(&look->next_us, memory_order_relaxed) - now_us;

	/* Over, too, if it seems to be far off: the clock has come round. */
	return !atomic_load_explicit(&look->starting_us, memory_order_relaxed) || left - 1 >= LOOK_LAST_US;
}

void look_in_vain(struct look *look, uint32_t now_us)
{
	uint32_t begun = atomic_load_explicit(&look->starting_us, memory_order_relaxed);
	/* 0: another thread began after this `now_us`. */
	uint32_t pause = begun && (int32_t)(now_us - begun) > 0 ? (now_us - begun) / 4 : 0;

	if (!begun)
		atomic_store_explicit(&look->starting_us, now_us | 1, memory_order_relaxed);
	pause = pause < LOOK_FIRST_US ? LOOK_FIRST_US : pause > LOOK_LAST_US ? LOOK_LAST_US : pause;
	atomic_store_explicit(&look->next_us, now_us + pause, memory_order_relaxed);
}

void look_settled(struct look *look)
{
	if (atomic_load_explicit(&look->starting_us, memory_order_relaxed))
		atomic_store_explicit(&look->starting_us, 0, memory_order_relaxed);
}
