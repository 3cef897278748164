/* SPDX-License-Identifier: BSD-2-Clause */
#include "patience.h"

/* A reading of the clock that is older than the word's pays nothing back. */
static uint64_t owed_at(uint64_t word, uint32_t now_ms)
{
	int32_t passed_ms = (int32_t)(now_ms - (uint32_t)word);
	uint64_t owed_us = word >> 32, paid_us = passed_ms > 0 ? (uint64_t)passed_ms * 1000 / PATIENCE_SHARE : 0;

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
		if (owed_us > UINT32_MAX)
			owed_us = UINT32_MAX;
	} while (!atomic_compare_exchange_weak(&patience->owed, &word, owed_us << 32 | now_ms));
}
