/* SPDX-License-Identifier: BSD-2-Clause */
/* What who closes a number does for the calls that have noted it (held.h): leaves a duplicate to each, and waits for those that may be about to
 * make a system call on the number. */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "channel.h"
#include "channel_fd.h"
#include "clock.h"
#include "config.h"
#include "endpoint.h"
#include "held_change.h"
#include "held_internal.h"
#include "held_share.h"
#include "libc.h"
#include "proc.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "real.h"
#include "transfer_internal.h"

#define SLEEPING_CALL_US 10000
/* Of a thread that has no CPU; of one that may sleep, too, as long as it is seen not to. */
#define BRIEF_CALL_US 200000

#define SLEEPERS 256 /* those of a remainder replace each other */

static _Atomic uint64_t asleep[SLEEPERS]; /* lives of connections with a reader, of which a blocking fd was closed */

/* Of a call that can go on by one, and has none. */
static bool takes_duplicate(uint64_t note, uint64_t key)
{
	return held_has_key(note, key) && !(note & INTERRUPTED) && held_duplicate_in(note) < 0;
}

/* False: somebody has taken the note off, or a duplicate is in it already. */
static bool give_duplicate(struct thread_slot *slot, uint64_t key, int fd)
{
	uint64_t note = atomic_load(&slot->held);

	while (takes_duplicate(note, key))
		if (atomic_compare_exchange_weak(&slot->held, &note, note | (uint64_t)(fd + 1)))
			return true;
	return false;
}

/* One that another call on the connection goes on by, for one note more. */
static int add_to_another(const struct conn *conn, uint64_t cookie)
{
	struct thread_slot *slot;

	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++) {
		int fd = held_duplicate_at(slot, conn);

		if (fd < 0 || !held_share_add(fd))
			continue;
		if (endpoint_cookie(fd) == cookie)
			return fd;
		if (held_share_end(fd, NULL)) /* another connection's, which was the last to drop it just now */
			raw_syscall(SYS_close, fd);
	}
	return -1;
}

/* A number as high as can be; or any; or what there is already; or one of the shim's own. Shared from now on. */
static int make_duplicate(const struct conn *conn, int fd, uint64_t cookie)
{
	int duplicate = channel_fd_duplicate(fd);

	if (duplicate < 0)
		duplicate = real_fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (duplicate < 0) {
		int another = add_to_another(conn, cookie);

		if (another >= 0)
			return another;
		duplicate = channel_give_number(fd);
	}
	if (duplicate >= 0)
		held_share_begin(duplicate);
	return duplicate;
}

/* How long the call that it is in may still be waited for; 0: it is in none. */
static int64_t calling_us(const struct thread_slot *slot, uint64_t key, uint64_t cookie)
{
	uint64_t note = atomic_load(&slot->held);

	if (slot == thread_self || !held_has_key(note, key) || !(note & CALLING) || slot->held_cookie != cookie)
		return 0;
	return note & (MAY_SLEEP | INTERRUPTED) ? SLEEPING_CALL_US : BRIEF_CALL_US;
}

/* Unless it has one. */
static void leave_duplicate(struct thread_slot *slot, const struct conn *conn, int fd, uint64_t cookie)
{
	uint64_t key = held_key_of(conn, fd);

	if (slot == thread_self || !takes_duplicate(atomic_load(&slot->held), key) || slot->held_cookie != cookie)
		return;
	struct held_change change = held_change_alone();
	int duplicate = make_duplicate(conn, fd, cookie);
	if (duplicate >= 0 && !give_duplicate(slot, key, duplicate) && held_share_end(duplicate, NULL))
		raw_syscall(SYS_close, duplicate);
	held_change_ends(change);
}

/* All together no longer than one: several may sleep. By the clock: a nap may take several times as long. */
static void await_calls(const struct conn *conn, int fd, uint64_t cookie)
{
	uint64_t key = held_key_of(conn, fd);
	int64_t begun_us = clock_us(), most_us;
	struct thread_slot *slot;

	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++) {
		while ((most_us = calling_us(slot, key, cookie)) != 0) {
			leave_duplicate(slot, conn, fd, cookie); /* its handler has returned */
			enum proc_place place = proc_place_of(atomic_load(&slot->tid), fd);

			/* Not one that is interrupted: then it is the handler that has no CPU, or has one, or what it has jumped to. */
			if (place == PROC_MAY_COME_TO_IT && !(atomic_load(&slot->held) & INTERRUPTED))
				most_us = BRIEF_CALL_US;
			if (place == PROC_ASLEEP_ON_FD || clock_us() >= begun_us + most_us)
				break;
			held_pause_briefly();
		}
		leave_duplicate(slot, conn, fd, cookie);
	}
}

static uint64_t life_of(const struct conn *conn, uint32_t generation)
{
	return ((uint64_t)conn->index + 1) << 32 | generation;
}

/* Who sleeps in recv itself is left no duplicate: its call has the file. But it may want to know why it was woken (transfer_repair.c). */
static void tell_sleeper(struct conn *conn, int fd)
{
	const struct memory_cell *cell = atomic_load(&conn->cell);

	if (cell && atomic_load_explicit(&cell->reader, memory_order_relaxed) && !libc_single_threaded() &&
	    !config.trusts_filter && !transfer_fd_nonblocking(fd))
		atomic_store(&asleep[conn->index % SLEEPERS], life_of(conn, atomic_load(&conn->generation)));
}

bool held_was_asleep(const struct conn *conn, uint32_t generation)
{
	return atomic_load(&asleep[conn->index % SLEEPERS]) == life_of(conn, generation);
}

void held_hand_over(struct conn *conn, int fd)
{
	uint64_t key = held_key_of(conn, fd), cookie = 0;
	struct thread_slot *slot;

	if (quiet_is_on())
		return;
	int saved = errno;
	tell_sleeper(conn, fd);
	errno = saved;
	if (__builtin_expect(atomic_load(&held_notes) == 0, 1))
		return;
	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++) {
		uint64_t note = atomic_load(&slot->held);

		if (!held_has_key(note, key) || endpoint_cookie(fd) != slot->held_cookie)
			continue;
		if (slot != thread_self)
			cookie = slot->held_cookie;
		else if (note & INTERRUPTED)
			held_drop(slot); /* its handler closes it */
		leave_duplicate(slot, conn, fd, slot->held_cookie);
	}
	if (cookie)
		await_calls(conn, fd, cookie);
	errno = saved;
}
