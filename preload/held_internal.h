/* SPDX-License-Identifier: BSD-2-Clause */
/* The notes of held.c, for held_look.c. */
#ifndef SMACCEL_HELD_INTERNAL_H
#define SMACCEL_HELD_INTERNAL_H

#include "held.h"

/* A note: the number + 1, the connection's index, whether a system call is under way, and may sleep, the duplicate + 1. */
#define FD_SHIFT 43
#define INDEX_SHIFT 27
#define CALLING (UINT64_C(1) << 26)
#define MAY_SLEEP (UINT64_C(1) << 25)
#define DUPLICATE_MASK (MAY_SLEEP - 1)
#define INDEX_MASK ((UINT64_C(1) << FD_SHIFT) - (UINT64_C(1) << INDEX_SHIFT))
_Static_assert(CONN_FD_MAX < 1u << (64 - FD_SHIFT), "21 bits are a number and 1");
_Static_assert(MEMORY_CELLS <= 1u << (FD_SHIFT - INDEX_SHIFT), "16 bits are an index");

extern _Atomic uint32_t held_notes; /* slots with one */

static inline uint64_t held_key_of(const struct conn *conn, int fd)
{
	return (uint64_t)(fd + 1) << FD_SHIFT | (uint64_t)conn->index << INDEX_SHIFT;
}

static inline int held_duplicate_in(uint64_t note)
{
	return (int)(note & DUPLICATE_MASK) - 1;
}

/* What a call on the connection goes on by, whatever number it began with. */
static inline int held_duplicate_at(const struct thread_slot *slot, const struct conn *conn)
{
	uint64_t note = atomic_load(&slot->held);

	return (note & INDEX_MASK) == held_key_of(conn, -1) ? held_duplicate_in(note) : -1;
}

#endif
