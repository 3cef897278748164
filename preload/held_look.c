/* SPDX-License-Identifier: BSD-2-Clause */
/* What others ask of the calls that go on by a duplicate (held.h). */
#include "held_internal.h"
#include "held_share.h"

uint32_t held_references(const struct conn *conn)
{
	struct thread_slot *slot;
	uint32_t count = 0;

	if (__builtin_expect(atomic_load(&held_notes) == 0, 1))
		return 0;
	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++)
		count += held_duplicate_at(slot, conn) >= 0 ? 2 : 0;
	return count;
}

uint32_t held_duplicates(const struct conn *conn)
{
	struct thread_slot *slot;
	uint32_t count = 0;

	if (__builtin_expect(atomic_load(&held_notes) == 0, 1))
		return 0;
	for (uint32_t i = 0, j; (slot = thread_slot_at(i)); i++) {
		int fd = held_duplicate_at(slot, conn);

		for (j = 0; fd >= 0 && j < i && held_duplicate_at(thread_slot_at(j), conn) != fd; j++)
			;
		count += fd >= 0 && j == i;
	}
	return count;
}

int held_next_fd(int from)
{
	struct thread_slot *slot;
	int next = -1;

	if (__builtin_expect(atomic_load_explicit(&held_notes, memory_order_relaxed) == 0, 1))
		return -1;
	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++) {
		int fd = held_duplicate_in(atomic_load(&slot->held));

		if (fd >= 0 && fd >= from && (next < 0 || fd < next))
			next = fd;
	}
	return next;
}

bool held_note_reset(const struct conn *conn)
{
	struct thread_slot *slot;
	bool any = false;

	if (__builtin_expect(atomic_load(&held_notes) == 0, 1))
		return false;
	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++) {
		int fd = held_duplicate_at(slot, conn);

		any |= fd >= 0 && held_share_note_reset(fd);
	}
	return any;
}
