/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory shared between processes: the session memory (helper <-> one process) and ledgers (two processes).
 *
 * Both are memfds that the helper makes and seals (F_SEAL_GROW | F_SEAL_SHRINK; for the others see helper/cells.c), mapped read-write by
 * all concerned and read as hostile by the helper: it checks every value it takes from here, and never waits on it.
 */
#ifndef SMACCEL_WIRE_MEMORY_H
#define SMACCEL_WIRE_MEMORY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

#define MEMORY_MAGIC 0x736d6d31u /* "smm1" */
#define MEMORY_CELLS 65536u      /* sparse: only touched pages exist */
#define MEMORY_RETIRED 16u
#define LEDGER_CELLS 1024u

/* ---- the commit-or-abandon word -------------------------------------------------------------------------------
 * word = generation << 8 | state. A futex. The shim moves IDLE -> PENDING before it sends WIRE_JOIN, WIRE_PIN, WIRE_LEAVE,
 * WIRE_HOLDERS or WIRE_LANDING. Then exactly one compare-and-swap wins: the helper's PENDING -> DONE or REFUSED (it writes `reason`
 * first and wakes the futex after), or the shim's PENDING -> ABANDONED (any thread, also a signal handler). A helper
 * that loses the swap of a join takes the end out again, which is clean: nothing was redirected. */
enum cell_state {
	CELL_IDLE = 0,
	CELL_PENDING = 1,
	CELL_DONE = 2,
	CELL_REFUSED = 3,
	CELL_ABANDONED = 4,
};

/* ---- status bits, set by the helper: status = generation << 8 | bits ------------------------------------------- */
enum cell_status {
	CELL_MATCHED = 1 << 0, /* both ends have offered (or the peer has joined): join at the next chance */
	CELL_ARMED = 1 << 1,   /* the pair is armed */
	CELL_PINNED = 1 << 2,  /* both directions pass */
	CELL_TAKEN_OUT =
		1 << 3,     /* no longer in the sockhash: plain TCP again, may offer anew; wakes a futex on status */
	CELL_HELD = 1 << 4, /* the helper holds a duplicate of the fd right now */
	/* The arm of the running trial that the connection is in; neither: none. */
	CELL_TRIAL_ACCELERATED = 1 << 5,
	CELL_TRIAL_PLAIN = 1 << 6,
	CELL_ORPHANED = 1 << 7, /* shim only: the session is over, and nobody sets the other bits any more */
};

#define CELL_GENERATION_MASK 0xffffffu
static inline uint32_t cell_word(uint32_t generation, uint32_t state)
{
	return (generation & CELL_GENERATION_MASK) << 8 | state;
}
static inline uint32_t cell_word_state(uint32_t word)
{
	return word & 0xffu;
}
static inline uint32_t cell_word_generation(uint32_t word)
{
	return word >> 8;
}

/* Answers to WIRE_HOLDERS: how many references to the file there are beside the asker's own fds: fds of others or of his own,
 * those in flight, calls under way; or one of these. */
#define CELL_HOLDERS_UNKNOWN UINT32_MAX
/* Others, and one of them has just been told so, and closes: worth asking again, for it may be the last one now. */
#define CELL_HOLDERS_CLOSING (UINT32_MAX - 1)
/* To WIRE_LANDING: 0: none is, and none will be; or CELL_HOLDERS_UNKNOWN; or this. */
#define CELL_HOLDERS_LANDING (UINT32_MAX - 2)

/* In `shown`, by a child that this process forked: it is closing its own copy, or ending (preload/holders.c). */
#define CELL_CHILD_CLOSES 0x80u
/* Likewise, once the process shows that it closes its own: the child asks who else has it, and waits for that. */
#define CELL_CHILD_ASKS 0x40u
#define CELL_CHILD_MARKS (CELL_CHILD_CLOSES | CELL_CHILD_ASKS)

/* In `side`, of an end that joined with WIRE_JOIN_ALONE and was armed: its count of the bytes sent has the SYN among them, as it is the one that
 * made the connection. */
#define CELL_SIDE_SYN 2u

/* One connection of the process. The first line is the conversation, the second what `ss` shows. */
struct memory_cell {
	_Atomic uint32_t word;
	_Atomic uint32_t status;
	union {
		uint32_t reason; /* enum sm_reason; helper -> shim, with REFUSED or TAKEN_OUT */
		/* helper -> shim, with DONE: for WIRE_HOLDERS and WIRE_LANDING see above; for WIRE_JOIN how many references to the file there are
		 * beside the helper's own, 0: not known (an older helper says nothing) */
		uint32_t holders;
	};
	uint32_t ledger_id;   /* helper -> shim, valid with CELL_ARMED; 0: none */
	uint32_t ledger_cell; /* index in that ledger */
	uint32_t side;        /* 0 or 1: which side this process's end is, in slot and ledger; and CELL_SIDE_SYN */
	uint32_t slot;
	_Atomic uint32_t reader; /* shim only: who is in a receive (preload/reader.h), shared with forked children */
	/* helper -> shim, with TAKEN_OUT: bytes of the stay that ends, sent and received, which TCP knows nothing of */
	uint64_t redirected_out, redirected_in;
	/* shim -> helper: latencies of this connection in its arm, for what a trial says by connection */
	_Atomic uint64_t latency_sum_ns;
	_Atomic uint32_t latency_count;
	_Atomic uint32_t latency_key; /* latency.h; 0: none was recorded */
	/* shim -> helper, for display; unchecked claims about the process's own connections */
	_Atomic uint32_t
		shown; /* generation << 8 | enum conn_state | CELL_CHILD_CLOSES, or CELL_CHILD_ASKS alone; 0: the cell is free */
	uint32_t shown_reason;
	uint32_t shown_fd;
	uint32_t shown_family;
	uint64_t shown_cookie;
	struct wire_endpoint shown_local;
	struct wire_endpoint shown_remote;
};
_Static_assert(sizeof(struct memory_cell) == 128, "two cache lines a connection");

/* The number of the trial that runs, 0: none, above the bits. Set by the helper. */
enum memory_recording {
	RECORDING_GROUP = 1 << 0, /* the process belongs to a group: every connection */
	RECORDING_TRIAL = 1 << 1, /* the connections that the trial has assigned to an arm */
};
#define RECORDING_TRIAL_SHIFT 8

struct session_memory {
	uint32_t magic;
	uint32_t version;
	uint64_t helper_generation;
	_Atomic uint32_t pong;
	_Atomic uint32_t off; /* a copy of the kill switch: no offers while it is set */
	uint32_t cell_count;
	_Atomic uint32_t recording; /* enum memory_recording: whether latencies are recorded (latency.h) */
	/* shim -> helper, for display: what waiting awake has cost and brought */
	_Atomic uint64_t spin_ns;
	_Atomic uint64_t spins;
	_Atomic uint64_t spin_hits;
	_Atomic uint32_t
		child_closes_ms; /* shim only: when CELL_CHILD_CLOSES was last set, in ms of the monotonic clock */
	uint32_t padding;
	/* shim -> helper: armed ends that were closed, in the place of WIRE_RETIRE, which would wake the helper for each. It looks
	 * here at each message of the session, and once a second. memory_retired(); 0: a free place. */
	_Atomic uint32_t retired[MEMORY_RETIRED];
	struct memory_cell cells[]; /* cell 0 is never used */
};
_Static_assert(sizeof(struct session_memory) == 128, "cells start on a line");
_Static_assert(offsetof(struct session_memory, retired) == 64, "a line of its own");

/* An end in `retired`: its cell, and what tells its generation from those before and after it. */
static inline uint32_t memory_retired(uint32_t cell, uint32_t generation)
{
	return cell << 16 | (generation & 0xffffu);
}
_Static_assert(MEMORY_CELLS <= 1u << 16, "16 bits are a cell");

/* ---- the ledger (the design's pair page) ----------------------------------------------------------------------
 * One per pair of processes, a cell per connection between them. Each side writes its own half, and `awaited`; what the peer says is
 * a hint. `sent` is raised before a send by what it may send, and lowered afterwards by what it did not: it is never
 * below what the peer may find in its queues. sent - consumed answers: is something behind a short read; how much is
 * unread. */
enum ledger_attached {
	LEDGER_APART = 0, /* this side has not stored its sums */
	LEDGER_EXACT = 1, /* they are all that it has sent and consumed */
	LEDGER_INEXACT =
		2, /* a process that was forked between the join and the storing may have sent and consumed more */
};
struct ledger_half {
	_Atomic uint64_t sent;     /* by this side, since the connection began */
	_Atomic uint32_t attached; /* enum ledger_attached */
	_Atomic uint32_t send_cpu; /* where it last sent, plus 1; 0: unknown */
	/* Not 0: a process that was forked writes here, too, and does not always learn that the connection has left. So this is never
	 * another connection's. */
	_Atomic uint32_t inherited;
	_Atomic uint64_t
		room_until; /* of this side alone: while `sent` stays below, no look at what the peer has consumed is needed */
	_Atomic uint32_t ended;  /* this side has shut down its sending, and the other end's TCP has been told */
	_Atomic uint32_t sender; /* of this side alone: whose turn it is to send (preload/turn.h); 0: nobody's */
	uint32_t padding_sent[6];
	_Atomic uint64_t consumed; /* by this side's application */
	_Atomic uint32_t read_cpu; /* where it last read, plus 1; 0: unknown */
	/* futex: the other side's sender, which alone sets it, waits until no more than so many bytes are unread; 0: it does not. Here, because
	 * who has read looks at it: the line that the other side writes with each send would come from another CPU for that. */
	_Atomic uint32_t awaited;
	uint32_t padding_consumed[12];
};
struct ledger_cell {
	struct ledger_half half[2];
};
_Static_assert(sizeof(struct ledger_cell) == 256, "a cache line a direction and role");

#define MEMORY_BYTES (sizeof(struct session_memory) + (uint64_t)MEMORY_CELLS * sizeof(struct memory_cell))
#define LEDGER_BYTES ((uint64_t)LEDGER_CELLS * sizeof(struct ledger_cell))

/* States of a connection as the shim publishes them in `shown`. */
enum conn_state {
	CONN_FREE = 0,
	CONN_WATCHING,
	CONN_OFFERED,
	CONN_JOINING,
	CONN_JOINED,
	CONN_ARMED,
	CONN_PINNED,
	CONN_LEAVING,
	CONN_LEFT,
	CONN_REFUSED,
	CONN_STATE_COUNT
};
const char *conn_state_name(unsigned state);

#endif
