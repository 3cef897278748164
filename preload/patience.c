/* SPDX-License-Identifier: BSD-2-Clause */
#include "patience.h"

#define EARLIER_MS 60000u /* a thread may have read the clock before the one that spent, and got no CPU since */

/* A reading of the clock that is older than the word's pays nothing back. All others are later, of whatever distance: while no answer is
 * late the word stays as it is, and half of what the ms count is only 25 days. */
static uint64_t owed_at(uint64_t word, uint32_t now_ms)
{
	uint32_t passed_ms = now_ms - (uint32_t)word;
	uint64_t owed_us = word >> 32;
	uint64_t paid_us = passed_ms <= UINT32_MAX - EARLIER_MS ? (uint64_t)passed_ms * 1000 / PATIENCE_SHARE : 0;

	return owed_us > paid_us ? owed_us - paid_us : 0;
}

bool patience_lasts(const struct patience *patience, uint32_t now_ms)
{
	uint64_t word = atomic_load_explicit(&((struct patience *)patience)->owed, memory_order_relaxed);

	return owed_at(word, now_ms) <= PATIENCE_US;
}

void patience_spend(struct patience *patience, uint32_t now_ms, uint64_t waited_us)
{
	uint64_t word = atomic_load(&patience->owed), owed_us;

	if (waited_us <= PATIENCE_PROMPT_US)
		return;
	do {
		owed_us = owed_at(word, now_ms) + waited_us - PATIENCE_PROMPT_US;
		if (owed_us > PATIENCE_US_MAX)
			owed_us = PATIENCE_US_MAX;
	} while (!atomic_compare_exchange_weak(&patience->owed, &word, owed_us << 32 | now_ms));
}
