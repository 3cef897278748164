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
 * A handler takes the note off, because it may jump away; the call that it has interrupted notes again when it goes on. But a call that had
 * looked at the number, and may not have come to its system call, comes to it when the handler returns: of that the note stays, as
 * INTERRUPTED, without a duplicate, and who closes the number waits for it as for any. What a jump leaves behind so is taken off by the thread's next
 * note, or by its own close, and costs others' closes of that connection a bounded wait. A call that the handler itself notes is in its place.
 *
 * Who is the last to drop a shared duplicate (held_share.h) closes it. Signals are blocked meanwhile, or a handler would find the note of a
 * call whose share is gone.
 */
#include "held.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "closing.h"
#include "config.h"
#include "endpoint.h"
#include "held_change.h"
#include "held_internal.h"
#include "held_share.h"
#include "libc.h"
#include "queue.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "real.h"
#include "transfer_internal.h"

#define WAIT_STEPS 100

_Atomic uint32_t held_notes;

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

/* What stays of a note that is taken off. */
static uint64_t rest_of(uint64_t note, bool by_handler)
{
	return by_handler && (note & CALLING) ? (note & ~DUPLICATE_MASK) | INTERRUPTED : 0;
}

/* In a change, or before anything else can happen. */
static uint64_t drop_now(struct thread_slot *slot, bool by_handler)
{
	uint64_t rest = rest_of(atomic_load(&slot->held), by_handler), note = atomic_exchange(&slot->held, rest);

	if (note && !rest)
		atomic_fetch_sub(&held_notes, 1);
	if (held_duplicate_in(note) >= 0)
		close_duplicate(slot, held_duplicate_in(note));
	return rest;
}

static uint64_t drop(struct thread_slot *slot, bool by_handler)
{
	uint64_t note = atomic_load(&slot->held), rest;

	while (note && held_duplicate_in(note) < 0)
		if (atomic_compare_exchange_weak(&slot->held, &note, rest = rest_of(note, by_handler))) {
			if (!rest)
				atomic_fetch_sub(&held_notes, 1);
			return rest;
		}
	if (!note)
		return 0;
	int saved = errno;
	struct held_change change = held_change_alone();
	rest = drop_now(slot, by_handler);
	held_change_ends(change);
	errno = saved;
	return rest;
}

void held_drop(struct thread_slot *slot)
{
	(void)drop(slot, false);
}

/* Not what an earlier handler has interrupted, which runs still, or has jumped away. */
uint64_t held_interrupt(struct thread_slot *slot)
{
	return atomic_load(&slot->held) & INTERRUPTED ? 0 : drop(slot, true);
}

/* Unless the handler has noted a call of its own, or closed the number, or this is its child. */
void held_handler_ran(uint64_t note)
{
	atomic_compare_exchange_strong(&thread_self->held, &note, note & ~INTERRUPTED);
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
	if (atomic_load(&slot->held) &
	    INTERRUPTED) /* by the handler that makes this call, or one that has jumped away */
		held_drop(slot);
	note = atomic_load(&slot->held);
	held.noted = held_has_key(note, key);
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

	return held_has_key(note, held_key_of(held->conn, held->fd)) ? note : 0;
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

	for (int i = 0; note && !there && held_duplicate_in(note) < 0 && i < WAIT_STEPS && !quiet_is_on() &&
			atomic_load(&held->conn->generation) == held->generation;
	     i++) {
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
	if (bits)
		note_again(held);
	uint64_t note = note_of(held);
	/* With a duplicate there it does not use the number any more. */
	while (note && !atomic_compare_exchange_weak(&thread_self->held, &note,
						     (note & ~(CALLING | MAY_SLEEP | INTERRUPTED)) |
							     (held_duplicate_in(note) < 0 ? bits : 0)))
		;
}

void held_end(struct held *held)
{
	if (held->own && note_of(held))
		held_drop(thread_self);
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
			(void)drop_now(slot, false);
	atomic_store(&held_notes, 0);
}
