/* SPDX-License-Identifier: BSD-2-Clause */
/* Senders that send on one armed connection at the same time take turns.
 *
 * The kernel gives up the sending socket's lock between the verdict on a message and its place in the reader's queue
 * (tcp_bpf_send_verdict()). A message that another sender passes to TCP in that moment, which the reader may begin to read, would be torn:
 * what is redirected is read first (fact 5), and comes in the middle of it. TCP writes a message whole, but where it has to wait for room.
 *
 * So a send holds the turn for the time of its system call: a word of this process's own; and, where another process has the connection,
 * perhaps, also one of the ledger, if there is one (it is attached when no thread is inside, by one that is not either): both, as another
 * thread may be in a send that began before that was so. It is free of charge in a process of one thread that has not forked since the join. Whoever finds it taken waits, but not for a sender that sleeps for room: as long as
 * TCP's send buffer is full, passed bytes are unread, and nothing is between a verdict and its place. Nor for one that has left its call by
 * siglongjmp, or was cancelled, and is in none now, or in another send. Nor for ever: who was killed, or is in a handler, has it still, and
 * after TURN_TAKEN_MS it is taken from him. Turns are not taken in the order of their asking, but who has waited for a millisecond is next.
 *
 * The ledger's word the peer could write as well, all the time. So who has given up waiting for it, a call that is not to sleep after 20 ms,
 * goes back to TCP with the connection, which needs no turns.
 */
#ifndef SMACCEL_TURN_H
#define SMACCEL_TURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"
#include "libc.h"
#include "lifecycle_internal.h"

#define TURN_TAKEN_MS 200

struct turn {
	_Atomic uint32_t *word; /* NULL: none is held */
	_Atomic uint32_t *own;  /* that of the process, where it is held beside the ledger's; or NULL */
	uint32_t token, own_token;
	bool gave_up; /* waiting: neither did others end their turns, nor were they without room */
};

/* False: another sender has it, or one of the two. Asks once. ledger NULL: the connection has none yet. */
bool turn_take(const struct conn *conn, struct ledger_cell *ledger, struct turn *turn);
/* Waits, or goes on without if the other one sleeps for room. May call poll(2), futex(2). Keeps errno. may_sleep: the call may sleep for
 * room itself. */
struct turn turn_wait(const struct conn *conn, struct ledger_cell *ledger, int fd, bool may_sleep);
/* For these two, and for tests: the turn of one word. */
bool turn_take_word(_Atomic uint32_t *word, struct turn *turn);
/* The end of one that another sender waits for. Keeps errno. */
void turn_hand_over(const struct turn *turn);
/* In the child: its turns are its own. */
void turn_forked(void);

/* False: there is another sender, and turn_wait() is next. */
static inline bool turn_begin(const struct conn *conn, struct ledger_cell *ledger, struct turn *turn)
{
	turn->word = NULL;
	turn->own = NULL;
	return __builtin_expect(libc_single_threaded() && lifecycle_alone_by_forks(conn), 1) ||
	       turn_take(conn, ledger, turn);
}
/* Of an end without a ledger, whose sends may be redirected all the same. The caller is inside: if they are not, they will not be. */
static inline bool turn_is_due_without(const struct conn *conn)
{
	return __builtin_expect(conn_is_joined(conn), 0) && !libc_single_threaded() &&
	       lifecycle_may_be_redirected_to(conn);
}

static inline void turn_end(const struct turn *turn)
{
	uint32_t token = turn->token;

	if (__builtin_expect(turn->word != NULL, 0) &&
	    !atomic_compare_exchange_strong_explicit(turn->word, &token, 0, memory_order_release, memory_order_relaxed))
		turn_hand_over(turn);
	if (__builtin_expect(turn->own != NULL, 0))
		turn_hand_over(&(struct turn){ .word = turn->own, .token = turn->own_token });
}

#endif
