/* SPDX-License-Identifier: BSD-2-Clause */
/* See held.h.
 *
 *	the sender                           who closes fd
 *	notes                                takes fd out of the table
 *	is fd in the table?                  is there a note?
 *
 * One of the two sees what the other has done. A sender that finds fd gone after it has noted waits for the duplicate, for not
 * longer than who closes needs to get there.
 *
 * A handler takes the note off, because it may jump away; the call that it has interrupted notes again when it goes on.
 *
 * Who is the last to drop a shared duplicate (held_share.h) closes it. Signals are blocked meanwhile, or a handler would find the note of a
 * call whose share is gone.
 */
#include "held.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"
#include "channel_fd.h"
#include "closing.h"
#include "clock.h"
#include "config.h"
#include "endpoint.h"
#include "held_change.h"
#include "held_internal.h"
#include "held_share.h"
#include "libc.h"
#include "proc.h"
#include "queue.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "real.h"
#include "transfer_internal.h"

#define WAIT_STEPS 100
#define SLEEPING_CALL_US 10000
/* Of a thread that has no CPU; of one that may sleep, too, as long as it is seen not to. */
#define BRIEF_CALL_US 200000

#define SLEEPERS 256 /* those of a remainder replace each other */

_Atomic uint32_t held_notes;
static _Atomic uint64_t asleep[SLEEPERS]; /* lives of connections with a reader, of which a blocking fd was closed */

static bool has_key(uint64_t note, uint64_t key)
{
	return note >> INDEX_SHIFT == key >> INDEX_SHIFT;
}

static void close_duplicate(const struct thread_slot *slot, int fd)
{
	/* The number may be the application's by now, of a close that no wrapper saw. With a filter of system calls around only what
	 * the application needs anyway. */
	bool resets = false;

	if (!held_share_end(fd, &resets) || !(quiet_is_on() || endpoint_cookie(fd) == slot->held_cookie))
		return;
	/* The call has read all that was to be lost when the last fd was closed. */
	if (resets && !quiet_is_on() && !queue_has_redirected(fd))
		closing_set_reset(fd, false);
	raw_syscall(SYS_close, fd);
}

/* No fork comes in between, and no handler, which might jump away. */
struct change {
	uint64_t mask;
	bool blocks;
};

static struct change change_begin(void)
{
	const uint64_t all = UINT64_MAX;
	struct change change = { .blocks = !quiet_is_on() };

	if (change.blocks)
		raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &change.mask, SIGNAL_MASK_BYTES);
	held_change_begin();
	return change;
}

static void change_end(struct change change)
{
	held_change_end();
	if (change.blocks)
		raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &change.mask, NULL, SIGNAL_MASK_BYTES);
}

/* In a change, or before anything else can happen. */
static void drop_now(struct thread_slot *slot)
{
	uint64_t note = atomic_exchange(&slot->held, 0);

	if (note)
		atomic_fetch_sub(&held_notes, 1);
	if (held_duplicate_in(note) >= 0)
		close_duplicate(slot, held_duplicate_in(note));
}

void held_drop(struct thread_slot *slot)
{
	uint64_t note = atomic_load(&slot->held);

	while (note && held_duplicate_in(note) < 0)
		if (atomic_compare_exchange_weak(&slot->held, &note, 0)) {
			atomic_fetch_sub(&held_notes, 1);
			return;
		}
	if (!note)
		return;
	int saved = errno;
	struct change change = change_begin();
	drop_now(slot);
	change_end(change);
	errno = saved;
}

struct held held_begin(struct conn *conn, int fd, uint32_t generation)
{
	struct held held = { .conn = conn, .generation = generation, .fd = fd };
	struct thread_slot *slot = thread_self ? thread_self : thread_register();
	uint64_t key = held_key_of(conn, fd), note;

	/* A slot that several threads share has no tid. */
	if (libc_single_threaded() || !atomic_load_explicit(&slot->tid, memory_order_relaxed) || config.trusts_filter ||
	    quiet_is_on())
		return held;
	note = atomic_load(&slot->held);
	held.noted = has_key(note, key);
	if (note)
		return held;
	slot->held_cookie = conn->cookie ? conn->cookie : endpoint_cookie(fd);
	atomic_fetch_add(&held_notes, 1);
	atomic_store(&slot->held, key);
	atomic_thread_fence(memory_order_seq_cst);
	held.noted = held.own = true;
	return held;
}

/* What the slot says of this call: 0 when a handler has run. */
static uint64_t note_of(const struct held *held)
{
	uint64_t note = held->noted ? atomic_load(&thread_self->held) : 0;

	return has_key(note, held_key_of(held->conn, held->fd)) ? note : 0;
}

/* Before the look at the number, as in held_begin(). */
static void note_again(const struct held *held)
{
	struct thread_slot *slot = thread_self;
	uint64_t nothing = 0;

	if (!held->own || quiet_is_on() || atomic_load(&slot->held) ||
	    atomic_load(&held->conn->generation) != held->generation)
		return;
	slot->held_cookie = held->conn->cookie ? held->conn->cookie : endpoint_cookie(held->fd);
	atomic_fetch_add(&held_notes, 1);
	if (!atomic_compare_exchange_strong(&slot->held, &nothing, held_key_of(held->conn, held->fd)))
		atomic_fetch_sub(&held_notes, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

int held_file(const struct held *held)
{
	note_again(held);
	bool there = transfer_fd_is(held->fd, held->conn, held->generation);
	uint64_t note = note_of(held);

	for (int i = 0; note && !there && held_duplicate_in(note) < 0 && i < WAIT_STEPS && !quiet_is_on(); i++) {
		held_pause_briefly();
		note = note_of(held);
	}
	if (held_duplicate_in(note) >= 0)
		return endpoint_cookie(held_duplicate_in(note)) == thread_self->held_cookie ? held_duplicate_in(note)
											    : -1;
	return there ? held->fd : -1;
}

int held_settle(struct held *held)
{
	int fd = held_file(held);
	uint64_t note = note_of(held);

	if (fd != held->fd || !held->own)
		return fd;
	while (note && held_duplicate_in(note) < 0)
		if (atomic_compare_exchange_weak(&thread_self->held, &note, 0)) {
			atomic_fetch_sub(&held_notes, 1);
			return fd;
		}
	return note ? held_duplicate_in(note) : fd; /* none: a handler has taken it off */
}

void held_calling(const struct held *held, enum held_call call)
{
	uint64_t bits = call == HELD_CALL_OVER ? 0 : call == HELD_CALL_BRIEF ? CALLING : CALLING | MAY_SLEEP;
	uint64_t note = note_of(held);

	/* With a duplicate there it does not use the number any more. */
	while (note && !atomic_compare_exchange_weak(&thread_self->held, &note,
						     (note & ~(CALLING | MAY_SLEEP)) |
							     (held_duplicate_in(note) < 0 ? bits : 0)))
		;
}

void held_end(struct held *held)
{
	if (held->own && note_of(held))
		held_drop(thread_self);
}

/* False: somebody has taken the note off, or a duplicate is in it already. */
static bool give_duplicate(struct thread_slot *slot, uint64_t key, int fd)
{
	uint64_t note = atomic_load(&slot->held);

	while (has_key(note, key) && held_duplicate_in(note) < 0)
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

	if (slot == thread_self || !has_key(note, key) || !(note & CALLING) || slot->held_cookie != cookie)
		return 0;
	return note & MAY_SLEEP ? SLEEPING_CALL_US : BRIEF_CALL_US;
}

/* All together no longer than one: several may sleep. By the clock: a nap may take several times as long. */
static void await_calls(uint64_t key, uint64_t cookie, int fd)
{
	int64_t begun_us = clock_us(), most_us;
	struct thread_slot *slot;

	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++)
		while ((most_us = calling_us(slot, key, cookie)) != 0) {
			enum proc_place place = proc_place_of(atomic_load(&slot->tid), fd);

			if (place == PROC_MAY_COME_TO_IT)
				most_us = BRIEF_CALL_US;
			if (place == PROC_ASLEEP_ON_FD || clock_us() >= begun_us + most_us)
				break;
			held_pause_briefly();
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
		if (slot == thread_self || !has_key(atomic_load(&slot->held), key) ||
		    endpoint_cookie(fd) != slot->held_cookie)
			continue;
		cookie = slot->held_cookie;
		struct change change = change_begin();
		int duplicate = make_duplicate(conn, fd, cookie);
		if (duplicate >= 0 && !give_duplicate(slot, key, duplicate) && held_share_end(duplicate, NULL))
			raw_syscall(SYS_close, duplicate);
		change_end(change);
	}
	if (cookie)
		await_calls(key, cookie, fd);
	errno = saved;
}

void held_forked(void)
{
	struct thread_slot *slot;

	held_changes_forked();
	held_shares_clear(); /* after a raw fork they may be wrong; the first note closes what it shares, the others find it closed */
	if (atomic_load(&held_notes) == 0)
		return;
	for (uint32_t i = 0; (slot = thread_slot_at(i)); i++)
		if (atomic_load(&slot->held))
			drop_now(slot);
	atomic_store(&held_notes, 0);
}
