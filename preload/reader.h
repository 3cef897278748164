/* SPDX-License-Identifier: BSD-2-Clause */
/* One receive at a time on an end in the sockhash (fact 3).
 *
 * A thread asleep in tcp_bpf_recvmsg that is woken by a passed byte goes on into plain TCP's receive, and if somebody else has
 * taken the byte meanwhile it sleeps there, where no redirected byte wakes it. So whoever takes bytes, asleep or not, does
 * it as the only one: the claim is a word in the connection's cell, which forked processes share: the thread's id,
 * READER_AWAITED when others wait for the end of it, and READER_KEEPS while it is in the middle of taking what it has looked at
 * (transfer_splice.c, transfer_topup.c): nobody may seize it then, however long it gets no CPU. READER_SEIZED once somebody has seized it
 * (no thread's id has so many bits).
 *
 * A claim can be left behind: by a thread that was cancelled or killed in the middle (its id is no thread's any more), or that
 * left by siglongjmp (its next receive here takes the claim up again).
 */
#ifndef SMACCEL_READER_H
#define SMACCEL_READER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "../helper/wire/memory.h"
#include "threads.h"

#define READER_AWAITED 0x80000000u
#define READER_KEEPS 0x40000000u
#define READER_SEIZED 0x20000000u /* stays, whoever the reader is */
#define READER_MARKS (READER_AWAITED | READER_KEEPS | READER_SEIZED)

static inline uint32_t reader_self(void)
{
	struct thread_slot *slot = thread_self ? thread_self : thread_register();
	int32_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);

	return (uint32_t)(tid ? tid : thread_tid()); /* 0: one of those that share a slot */
}

/* True: the calling thread, which is inside a call on the connection (thread_enter), is the reader now. */
static inline bool reader_claim(struct memory_cell *cell)
{
	uint32_t holder = 0, self = reader_self();

	if (atomic_compare_exchange_strong_explicit(&cell->reader, &holder, self, memory_order_acquire,
						    memory_order_relaxed))
		return true;
	return (holder & ~READER_MARKS) == self ||
	       (holder == READER_SEIZED &&
		atomic_compare_exchange_strong(&cell->reader, &holder, self | READER_SEIZED));
}

void reader_wake(struct memory_cell *cell);
static inline void reader_release(struct memory_cell *cell)
{
	uint32_t holder = reader_self();

	if (!atomic_compare_exchange_strong_explicit(&cell->reader, &holder, 0, memory_order_release,
						     memory_order_relaxed) &&
	    (holder & ~READER_MARKS) == reader_self())
		reader_wake(cell);
}

/* The calling thread is the reader still: a receive that is to be topped up keeps its claim, lest another reader take what lies between. */
static inline bool reader_is_self(const struct memory_cell *cell)
{
	return cell && (atomic_load_explicit(&((struct memory_cell *)cell)->reader, memory_order_relaxed) &
			~READER_MARKS) == reader_self();
}

static inline bool reader_is_kept(const struct memory_cell *cell)
{
	return atomic_load(&((struct memory_cell *)cell)->reader) & READER_KEEPS;
}

/* Whoever the reader was, it is no more, and takes nothing behind what it has: another receives meanwhile. But it may be on its way to
 * its first bytes, without a claim, so that nobody's receive is topped up from then on. False: it keeps, and did not (`was_kept`) when
 * somebody began to wait for it in vain. */
static inline bool reader_seize(struct memory_cell *cell, bool was_kept)
{
	uint32_t holder = atomic_load(&cell->reader);

	do {
		if ((holder & READER_KEEPS) && !was_kept)
			return false;
	} while (!atomic_compare_exchange_weak(&cell->reader, &holder, reader_self() | READER_SEIZED));
	return true;
}
static inline bool reader_was_seized(const struct memory_cell *cell)
{
	return atomic_load(&((struct memory_cell *)cell)->reader) & READER_SEIZED;
}

/* Of the reader itself, around a step that takes what it has looked at. False: it is the reader no more. */
static inline bool reader_keep_set(struct memory_cell *cell, uint32_t mark)
{
	uint32_t holder = atomic_load(&cell->reader), self = reader_self();

	while ((holder & ~READER_MARKS) == self) /* the mark of another is its own */
		if (atomic_compare_exchange_weak(&cell->reader, &holder, (holder & ~READER_KEEPS) | mark))
			return true;
	return false;
}
static inline bool reader_keep(struct memory_cell *cell)
{
	return reader_keep_set(cell, READER_KEEPS);
}
static inline void reader_keep_end(struct memory_cell *cell)
{
	(void)reader_keep_set(cell, 0);
}

/* Waits until the reader of this moment, which has been woken and is about to run, is done. False: not in READER_PATIENCE_MS, and
 * READER_PATIENCE_KEPT_MS for one that keeps. */
#define READER_PATIENCE_MS 20
#define READER_PATIENCE_KEPT_MS 10000
bool reader_await(struct memory_cell *cell);

#endif
