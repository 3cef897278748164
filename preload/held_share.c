/* SPDX-License-Identifier: BSD-2-Clause */
#include "held_share.h"

#include <stdatomic.h>
#include <stdint.h>

/* The number + 1, whether its end is a reset that may be taken back, the count; 0: a free place. */
#define SHARES 16
#define SHARE_SHIFT 32
#define RESETS (UINT64_C(1) << 31)

static _Atomic uint64_t shares[SHARES];

static bool share_is_of(uint64_t share, int fd)
{
	return share >> SHARE_SHIFT == (uint64_t)fd + 1;
}

void held_share_begin(int fd)
{
	for (uint32_t i = 0; i < SHARES; i++) {
		uint64_t nothing = 0;

		if (atomic_compare_exchange_strong(&shares[i], &nothing, (uint64_t)(fd + 1) << SHARE_SHIFT | 1))
			return;
	}
}

bool held_share_add(int fd)
{
	for (uint32_t i = 0; i < SHARES; i++) {
		uint64_t share = atomic_load(&shares[i]);

		while (share_is_of(share, fd))
			if (atomic_compare_exchange_weak(&shares[i], &share, share + 1))
				return true;
	}
	return false;
}

bool held_share_note_reset(int fd)
{
	for (uint32_t i = 0; i < SHARES; i++) {
		uint64_t share = atomic_load(&shares[i]);

		while (share_is_of(share, fd))
			if (atomic_compare_exchange_weak(&shares[i], &share, share | RESETS))
				return true;
	}
	return false;
}

bool held_share_end(int fd, bool *resets_out)
{
	for (uint32_t i = 0; i < SHARES; i++) {
		uint64_t share = atomic_load(&shares[i]);

		while (share_is_of(share, fd)) {
			bool is_last = ((uint32_t)share & ~RESETS) == 1;

			if (!atomic_compare_exchange_weak(&shares[i], &share, is_last ? 0 : share - 1))
				continue;
			if (resets_out)
				*resets_out = (share & RESETS) != 0;
			return is_last;
		}
	}
	return true;
}

void held_shares_clear(void)
{
	for (uint32_t i = 0; i < SHARES; i++)
		atomic_store(&shares[i], 0);
}
