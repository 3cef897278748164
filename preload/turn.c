/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns of senders: see turn.h. */
#include "turn.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include "clock.h"
#include "raw_syscall.h"
#include "real.h"
#include "threads.h"

#define LOOKS 100u /* at once; a send of a small message takes some microseconds */
#define YIELDS 20u
#define NAP_NS 100000

/* Of connections without a ledger. */
#define WORDS MEMORY_CELLS
#define WORDS_TOGETHER 1024u

/* A token, from the lowest bit on: the number of the thread's slot, how many threads have had that, and which of its turns it is. */
#define NUMBER_BITS 13
#define USERS_BITS 8
#define THREAD_BITS (NUMBER_BITS + USERS_BITS)
/* A token of another process looks like any thread's of this one, but hardly like one of the last few of a slot. */
#define LATER_MAX 8u

static _Atomic uint32_t words[WORDS];
static _Atomic bool is_used[WORDS / WORDS_TOGETHER]; /* some of those that are together were taken */
static _Atomic uint32_t process_token;               /* 0: not made yet */

static uint32_t token_of_process(void)
{
	uint32_t token = atomic_load_explicit(&process_token, memory_order_relaxed), none = 0;

	if (token)
		return token;
	token = ((uint32_t)raw_syscall(SYS_gettid) * 2654435761u ^ (uint32_t)clock_us()) | 1;
	return atomic_compare_exchange_strong(&process_token, &none, token) ? token : none;
}

static uint32_t low_bits(uint32_t value, unsigned int bits)
{
	return value & ((1u << bits) - 1);
}

/* Of this thread's next turn, so that nobody takes away one turn of a thread who has looked at an earlier one. Those for which there was no slot
 * have one token together: they do not wait for each other. */
static uint32_t next_token(void)
{
	uint32_t number = thread_slot_number(thread_self), thread = 0;

	if (number != THREAD_NUMBER_NONE)
		thread = (number + 1) |
			 low_bits(atomic_load_explicit(&thread_self->users, memory_order_relaxed), USERS_BITS)
				 << NUMBER_BITS |
			 (atomic_load_explicit(&thread_self->turns, memory_order_relaxed) + 1) << THREAD_BITS;
	uint32_t token = token_of_process() ^ thread;

	return token ? token : 1;
}

static bool try_to_take(_Atomic uint32_t *word, uint32_t *holder, uint32_t token)
{
	if (!atomic_compare_exchange_strong(word, holder, token))
		return false;
	if (thread_self)
		atomic_fetch_add_explicit(&thread_self->turns, 1, memory_order_relaxed);
	return true;
}

/* A thread of this process has it that has ended, was cancelled or has left by siglongjmp, and is in no call any more. */
static bool is_left(uint32_t holder)
{
	uint32_t thread = holder ^ token_of_process(), number = low_bits(thread, NUMBER_BITS);
	struct thread_slot *slot = number ? thread_slot_at(number - 1) : NULL;

	if (!slot)
		return false;
	uint32_t later = low_bits(atomic_load(&slot->users) - (thread >> NUMBER_BITS), USERS_BITS);
	return later ? later < LATER_MAX : atomic_load(&slot->tid) == 0 || atomic_load(&slot->inside) == 0;
}

_Atomic uint32_t *turn_word(const struct conn *conn, struct ledger_cell *ledger)
{
	uint32_t number = conn->index % WORDS;

	if (ledger)
		return &ledger_own(conn, ledger)->sender;
	if (!atomic_load_explicit(&is_used[number / WORDS_TOGETHER], memory_order_relaxed))
		atomic_store(&is_used[number / WORDS_TOGETHER], true);
	return &words[number];
}

void turn_forked(void)
{
	if (!atomic_exchange(&process_token, 0))
		return;
	/* A page that holds none is not to be copied. */
	for (uint32_t i = 0; i < WORDS; i++) {
		if (!atomic_load_explicit(&is_used[i / WORDS_TOGETHER], memory_order_relaxed))
			i += WORDS_TOGETHER - 1;
		else if (atomic_load_explicit(&words[i], memory_order_relaxed))
			atomic_store(&words[i], 0);
	}
}

/* There is room, and no error that the call would return: it is not for want of it that the other one is still at work. */
static bool has_room(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLOUT };

	return real_poll(&poller, 1, 0) == 1 && poller.revents == POLLOUT;
}

bool turn_take(_Atomic uint32_t *word, struct turn *turn)
{
	uint32_t token = next_token(), holder = 0;

	if (try_to_take(word, &holder, token))
		*turn = (struct turn){ .word = word, .token = token };
	/* A handler in the middle of the thread's own send. */
	return holder == 0 || low_bits(holder ^ token, THREAD_BITS) == 0;
}

struct turn turn_wait(_Atomic uint32_t *word, int fd)
{
	struct turn turn = { .word = word, .token = next_token() };
	const struct timespec nap = { .tv_nsec = NAP_NS };
	int saved = errno;
	int64_t deadline_ms = 0;

	for (unsigned looks = 0;; looks++) {
		uint32_t holder = atomic_load_explicit(turn.word, memory_order_relaxed);

		if (holder == 0 || (deadline_ms && (clock_ms() > deadline_ms || is_left(holder)))) {
			if (!try_to_take(turn.word, &holder, turn.token))
				continue;
			errno = saved;
			return turn;
		}
		if (looks < LOOKS)
			continue;
		if (!has_room(fd))
			break;
		if (!deadline_ms)
			deadline_ms = clock_ms() + TURN_TAKEN_MS;
		if (looks < LOOKS + YIELDS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
	errno = saved;
	return (struct turn){ .word = NULL };
}
