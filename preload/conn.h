/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections as the shim knows them: the table from fd to connection, their states, their accounts.
 *
 * Memory is reserved as connections become more, and never freed: a struct conn is type-stable, its generation changes when
 * it is taken anew. Nothing here allocates, locks or blocks; everything may run in a signal handler.
 */
#ifndef SMACCEL_CONN_H
#define SMACCEL_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../helper/wire/memory.h"
#include "../helper/wire/reason.h"
#include "admission.h"
#include "throughput.h"
#include "hot.h"

#define CONN_FD_MAX (1u << 20) /* higher fds are never tracked */

/* What waiting awake has brought so far (spin.h). */
struct spin_history {
	uint32_t hit_ns; /* about how long it took when it brought something */
	uint8_t misses;  /* in a row */
	uint8_t skip;    /* occasions that are still to be left out */
	uint8_t sleeps;  /* the fd was a blocking one when it was last asked (`announced` only) ... */
	uint8_t trusted; /* ... and for so many occasions that is taken for true */
};

enum conn_lent {
	CONN_NOT_LENT,
	CONN_LENT, /* a duplicate may be stuck in a stopped helper: close() must send FIN itself */
	CONN_LENT_TO_GONE, /* that helper is gone, and the duplicate with it; but it may have put the socket in the sockhash before */
};

/* Its fd came in a message (adopt.c): another process may have it, too. */
enum conn_adopted {
	CONN_NOT_ADOPTED,
	CONN_ADOPTED, /* of what has gone before there are no accounts; as CONN_PINNED it may be in the sockhash, or not */
	CONN_ADOPTED_COUNTED, /* they are the kernel's */
};

/* Options of the socket that calls on a joined end have to know of: set by this process, or before the join. Another process that has the
 * socket may set them, too. */
enum conn_option {
	CONN_TELLS_INQ = 1, /* TCP_INQ is set (inq.h) */
	CONN_TIMES_OUT = 2, /* SO_RCVTIMEO is, or was once */
	/* None of the socket's: conn->sent is the kernel's count, perhaps with the SYN (adopt.c), until a ledger has it. */
	CONN_COUNTS_SYN = 4,
	/* Nor this: TCP_QUICKACK was 0 before the library set it (acknowledge.h). */
	CONN_QUICKACK = 8,
	/* Nor this: whether the file waits is changed past the wrappers (mode.h). */
	CONN_MODE_UNSEEN = 16,
	/* Nor this: ending.c has set SO_LINGER for an exec. */
	CONN_EXEC_RESETS = 32,
	CONN_CORKED = 64,          /* TCP_CORK is set, by this process */
	CONN_SENDS_TIME_OUT = 128, /* SO_SNDTIMEO is, or was once */
};

/* What is rarely looked at. */
enum conn_mark {
	CONN_HAS_STREAM = 1, /* one of stdio's, which libc may flush when the process ends */
	/* connect() has dissolved the connection, but the socket could not leave the sockhash. It may have a new one since. */
	CONN_DISSOLVED = 2,
};

/* What every call looks at comes first, in one line: a connection that is only watched touches no other. */
struct conn {
	_Atomic uint32_t state; /* enum conn_state; conn_state_set() is the only writer but for compare-and-swap */
	_Atomic uint32_t generation;
	uint32_t index; /* of this struct = of its memory_cell */
	uint32_t turns;
	uint32_t retry_at_turn;  /* no offer, or look after the helper, before that many turns */
	_Atomic uint8_t touched; /* enum conn_touched: was staged or joined: EAGAIN may be spurious (fact 4) */
	uint8_t last_was_receive;
	_Atomic uint8_t owed_error;         /* an errno that the next call returns (transfer_send.c) */
	uint8_t pacing_off;                 /* the reader was slow: not paced until it has once read everything */
	_Atomic uint64_t sent;              /* accounts until the ledger is attached: bytes the wrappers saw go out */
	_Atomic uint64_t received;          /* and in (not peeked) */
	struct ledger_cell *_Atomic ledger; /* NULL until both ends are armed and this process has attached */
	struct memory_cell *_Atomic cell;   /* in the session memory it last used; NULL before the first offer */
	uint8_t ledger_side : 1, is_accepted : 1; /* the second never changes */
	uint8_t looks_in_vain;                    /* transfer_short.h */
	_Atomic uint8_t options;                  /* enum conn_option */
	_Atomic uint8_t lent;                     /* enum conn_lent */
	struct admission admission;               /* its first two counters end the line */
	_Atomic int32_t
		timeout_ms; /* SO_RCVTIMEO as a wrapper of this process last saw it set, -1: to none; 0: it has to be asked for */

	uint64_t cookie;          /* 0 until it offers */
	_Atomic uint32_t fds;     /* how many fds of this process name it (dup) */
	uint32_t join_at_turn;    /* no join before that many turns: back-off after a transient refusal */
	uint8_t attach_countdown; /* calls until the ledger is tried again */
	uint8_t attempts;
	_Atomic uint8_t marks;         /* enum conn_mark */
	_Atomic uint8_t adopted;       /* enum conn_adopted */
	_Atomic uint32_t window_clamp; /* TCP_WINDOW_CLAMP as it was before window.c set it; 0: it has not */
	uint32_t joined_forks;  /* fork_count when it joined: differs = another process may send past these accounts */
	uint32_t session_epoch; /* of the session whose memory `cell` is in */
	uint32_t fork_count;    /* of the process when it was opened: differs = another process may share the socket */
	_Atomic int32_t joiner; /* tid of the thread in CONN_JOINING; 0: waited for in vain */
	_Atomic uint8_t mode;   /* mode.h */
	_Atomic uint8_t not_pinned;         /* CONN_PINNED, but the helper has not said that it did it */
	_Atomic uint8_t given_away;         /* another process may use the socket: close() must not shut it down */
	_Atomic uint8_t reason;             /* enum sm_reason: why it is in its state */
	uint16_t latency_port_h;            /* of the listening end; 0: not asked for yet */
	_Atomic uint8_t ledger_inherited;   /* the ledger is that of the process that forked this one (ledger.h) */
	uint8_t latency_series;             /* where the last latency went (latency.h) */
	_Atomic uint64_t latency_moment_ns; /* when a request was sent, or has come; 0: none is open */
	struct spin_history announced;      /* waits for what the peer is sending, or reading, right now */
	struct spin_history readable;       /* waits that SMACCEL_SPIN_US asks for */
	struct throughput throughput;       /* of writes of middle size, joined and plain */
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct conn, admission) == 60, "what comes before it is the first line");
_Static_assert(sizeof(struct conn) == 192, "three lines a connection");
_Static_assert(REASON_COUNT <= UINT8_MAX, "a reason is a byte");
/* The table: hot.table[fd] is 0, the place of a connection, or a mark. Read with two loads on the hot path. NULL: the wrappers are
 * off; conn_shut() can make it so at any moment, so who looks at it keeps what he saw. A place is a distance in lines, from what
 * lies CONN_REACH bytes below the table: the connections are mapped a few at a time, wherever the kernel finds room. */
static inline _Atomic uint32_t *conn_table(void)
{
	return atomic_load_explicit(&hot.table, memory_order_acquire);
}
#define CONN_REACH ((uintptr_t)64 << 30)
#define CONN_LINE_BITS 6
static inline struct conn *conn_at(_Atomic uint32_t *table, uint32_t place)
{
	uintptr_t address = (uintptr_t)table - CONN_REACH + ((uintptr_t)place << CONN_LINE_BITS);

	if (!address)
		__builtin_unreachable(); /* so that nobody looks whether it is NULL */
	return (struct conn *)address;
}
extern _Atomic uint32_t conn_fd_high; /* the highest fd ever tracked: the end of a walk over all */

/* The connection an fd names, or NULL: not ours. This is every wrapper's first act: a bound check and a load. */
static inline struct conn *conn_get(int fd)
{
	_Atomic uint32_t *table = conn_table();

	if ((unsigned)fd >= CONN_FD_MAX || !table)
		return NULL;
	uint32_t place = atomic_load_explicit(&table[fd], memory_order_acquire);
	return __builtin_expect((int32_t)place > 0, 1) ? conn_at(table, place) : NULL;
}

/* What a number was when the shim last saw it, so that nothing needs to be asked of the kernel for each connection. A mark may be
 * out of date (a close that no wrapper saw): a connection that is tracked for its sake and is none of TCP is refused by
 * the helper, and until then its calls are passed on as they are. */
#define CONN_MARK_TCP 0x80000001u      /* a TCP socket, fresh from socket() */
#define CONN_MARK_LISTENER 0x80000002u /* a TCP socket that listens */
/* A connection that was joined has been forgotten under this number, which the kernel is about to close, or to give another file. */
#define CONN_MARK_CLOSING 0x80000003u
/* A TCP socket that has, or had, two numbers before it was connected, or a stream of stdio's: calls by the other would pass the wrappers. */
#define CONN_MARK_DUPLICATED 0x80000004u
static inline uint32_t conn_mark(int fd)
{
	_Atomic uint32_t *table = conn_table();
	uint32_t entry =
		(unsigned)fd < CONN_FD_MAX && table ? atomic_load_explicit(&table[fd], memory_order_relaxed) : 0;

	return (int32_t)entry < 0 ? entry : 0;
}
/* 0 takes a mark away. The entry of a connection stays. */
static inline void conn_mark_set(int fd, uint32_t mark)
{
	_Atomic uint32_t *table = conn_table();
	uint32_t before;

	if ((unsigned)fd >= CONN_FD_MAX || !table)
		return;
	before = atomic_load_explicit(&table[fd], memory_order_relaxed);
	if ((int32_t)before <= 0 && before != mark)
		atomic_compare_exchange_strong(&table[fd], &before, mark);
}

/* The number is closed, or another file's: another thread may have it already. */
static inline void conn_mark_closed(int fd)
{
	_Atomic uint32_t *table = conn_table();
	uint32_t closing = CONN_MARK_CLOSING;

	if ((unsigned)fd < CONN_FD_MAX && table)
		atomic_compare_exchange_strong(&table[fd], &closing, 0);
}

int conn_init(void);  /* reserves the table; 0 or -errno (then nothing is ever tracked) */
void conn_shut(void); /* takes the table away for good: the wrappers are off (quiet.h) */

/* A TCP connection has come up (or is coming up: non-blocking connect) on fd. Tracks it as CONN_WATCHING. A stale entry of
 * that fd is dropped. Returns NULL if there is no room. */
struct conn *conn_open(int fd, bool accepted);
/* The fd no longer names the connection (close, dup2 over it). Called BEFORE the real close. When it was the last fd of
 * this process, lifecycle_closing() has been called; its answer is returned: true if the caller must
 * shutdown(fd, SHUT_RDWR) before the real close, because a stopped helper may hold a duplicate (invariant 6). */
bool conn_fd_drop(int fd);
/* newfd is a duplicate of oldfd (called after the real dup), which was that connection before the dup, or (NULL) none. False: it is being
 * closed, or was, and newfd is not tracked. */
bool conn_fd_copy(struct conn *conn, int oldfd, int newfd);

/* Shows state and reason in the session memory, if the connection has a cell there. */
void conn_publish(struct conn *conn);
static inline bool conn_has_option(const struct conn *conn, enum conn_option option)
{
	return atomic_load_explicit(&((struct conn *)conn)->options, memory_order_relaxed) & option;
}
void conn_state_set(struct conn *conn, enum conn_state state, enum sm_reason reason);
static inline uint32_t conn_state(const struct conn *conn)
{
	return atomic_load_explicit(&((struct conn *)conn)->state, memory_order_acquire);
}
/* The cell, if it is still this connection's. One that was joined before this process was forked has its cell in the session of
 * the process that did it, which may have closed its copy, and given the cell to another connection. */
static inline bool conn_cell_is_lost(const struct conn *conn, uint32_t status)
{
	return __builtin_expect(cell_word_generation(status) != (conn->generation & CELL_GENERATION_MASK), 0);
}
static inline struct memory_cell *conn_cell(const struct conn *conn)
{
	struct memory_cell *cell = atomic_load_explicit(&((struct conn *)conn)->cell, memory_order_acquire);

	if (!cell || conn_cell_is_lost(conn, atomic_load_explicit(&cell->status, memory_order_acquire)))
		return NULL;
	return cell;
}
enum conn_touched {
	CONN_TOUCHED = 1,
	/* About to be, unless a thread is inside that knows nothing of it: such a one receives without a claim (reader.h), and nothing is redirected. */
	CONN_MAY_BE_TOUCHED = 2,
};
/* A connection of this process was once touched: else there is nothing to be done when it ends. */
extern _Atomic bool conn_ever_touched;
static inline void conn_touch(struct conn *conn)
{
	atomic_store_explicit(&conn_ever_touched, true, memory_order_relaxed);
	atomic_store(&conn->touched, CONN_TOUCHED);
}
/* In the sockhash as far as this process knows: receives need care (transfer_repair.c). */
static inline bool conn_is_joined(const struct conn *conn)
{
	return atomic_load_explicit(&((struct conn *)conn)->touched, memory_order_acquire) != 0;
}

#endif
