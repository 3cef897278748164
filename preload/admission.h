/* SPDX-License-Identifier: BSD-2-Clause */
/* Admission: whether a connection's traffic pays to be joined, when it stops paying, and when it may come back.
 *
 * What pays is a turn (a send after a receive: latency is halved) and a large write. What does not is a stream of small
 * writes in one direction: each costs more on the way through the sockhash than on plain TCP. So the sends of an end are looked
 * at in windows: a window in which fewer than one send in ADMISSION_SENDS_PER_TURN was worth while is a stream. A watched
 * end begins to count its turns anew then, an armed one leaves. The break-even, measured: a turn saves what eight to ten small
 * sends lose.
 *
 * An answer that the application corks (TCP_CORK) goes out in one piece by TCP, but not redirected: it is no turn, whatever it
 * answers.
 *
 * Writes in between, ADMISSION_LARGE_BYTES to ADMISSION_HUGE_BYTES, that are no turns pay for sure only while one CPU serves both ends. A
 * window of them whose reader was last seen on another CPU makes an armed end leave, too, to measure what plain TCP does;
 * later it comes back, and stays if it is faster so (throughput.h).
 *
 * A sender that does not wait and often finds no room has filled TCP's buffers behind the bound of what may be redirected: it
 * spills, and passes (fact 16). It leaves, too, but for huge writes of which more than half is redirected all the same: they are up to
 * three times as fast joined (64 and 256 KiB, 0.47 to 0.99 redirected: 0.8 to 3.2 x TCP).
 *
 * Hysteresis: after a short stay the next one must be earned by twice as many turns, and not before twice the time; a long
 * stay halves both again.
 *
 * Per destination the process learns whether joining ever pays there. A destination (the peer's address and port for an end
 * that connected, the own port for one that was accepted) has a level: each connection that offered and then was not
 * matched, or closed before the join was paid for, raises it, each that paid lowers it. At level L a connection offers after
 * 2^L times as many turns, but one in 2^L after the usual number: so a peer that comes under smaccel later is found. Which one
 * follows from its two ports, so that both ends choose the same ones: what one end tries with a lower level than the other
 * fails until their levels are equal, and then every try succeeds.
 *
 * The functions on words and windows are pure; the table is a few words that threads and forked children change by
 * compare-and-swap. All of it is about speed only: whatever is wrong in it, a wrong peer included, costs nothing else.
 */
#ifndef SMACCEL_ADMISSION_H
#define SMACCEL_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"

#define ADMISSION_WINDOW_SENDS 256u
#define ADMISSION_SENDS_PER_TURN 16u
/* So many doubtful sends in a row end the first window in which there are such: each may cost more than twice what it does on plain TCP. */
#define ADMISSION_DOUBTFUL_ROW 32u
/* A single read or write of this size counts like a turn: bulk pays too. Streams of writes on one CPU, joined: of 4 KiB 1.04 x TCP, 6 KiB
 * 1.33, 8 KiB 1.66, 16 KiB 2.4. */
#define ADMISSION_LARGE_BYTES 8192u
/* Below this a write that is no turn pays for sure only while one CPU serves both ends: on two the redirect often has to wait for the reader, or passes
 * (bpf/gate.h), and TCP's two ends work at the same time. nginx, 100 KB and 1 MiB in writes of 32 KiB to a client on another CPU: 0.77
 * and 0.81 x TCP joined. */
#define ADMISSION_HUGE_BYTES 65536u
/* A file that goes out corked (sendfile, splice) counts from here on: TCP takes its pages as they are, and behind the header in one piece. Eight servers
 * and one client on two CPUs, joined: of 16 and 70 KB 0.94 x TCP, 128 KB 1.25, 300 KB 1.44; uncorked 1.16, 1.04, - and 2.24. */
#define ADMISSION_CORKED_FILE_BYTES 98304u
/* Turns after arming that pay for the join. */
#define ADMISSION_PAID_TURNS 32u

#define ADMISSION_SETBACKS_MAX 12u
#define ADMISSION_SETBACKS_SPILLS 6u /* for a stay in which the joined socket mostly passed */
#define ADMISSION_SETBACKS_SPILLS_BULK 4u
#define ADMISSION_SPILLS_MAX 4u     /* sends that found no room during one stay: each has filled TCP's buffers anew */
#define ADMISSION_PAUSE_MS 10u      /* after the first leave, doubled with each setback */
#define ADMISSION_LONG_STAY_MS 200u /* a stay of this length takes a setback back */
#define ADMISSION_LEVEL_MAX 6u

enum admission_learnt {
	LEARNT_UNMATCHED = 1 << 0, /* its peer had not offered for many turns */
	LEARNT_END = 1 << 1,       /* whether it paid */
};

/* What a window of sends was. */
enum admission_window {
	ADMISSION_PAYS,
	ADMISSION_SMALL_WRITES, /* a stream of them */
	ADMISSION_DOUBTFUL,     /* most were large: it pays for sure if the reader is on the same CPU */
};

/* The part of a connection. Written by whoever is in a call on it, without a lock: a lost count is only a count. */
struct admission {
	uint16_t sends;         /* of the present window */
	uint16_t worth_while;   /* of these: after a receive, or large */
	uint16_t doubtful;      /* of these: large, but less than ADMISSION_HUGE_BYTES, and no turn */
	bool is_unsettled;      /* its accounts are still those of a stay that is over (withdraw.c) */
	bool to_measure;        /* it leaves for a moment, to measure plain TCP anew */
	bool is_unsure;         /* no window has been doubtful since it was armed */
	uint8_t row;            /* doubtful sends, one after the other */
	uint16_t row_ends;      /* `sends` after the last of them */
	bool is_doubted;        /* its last stay was given up for plain TCP, which may be faster */
	bool was_armed;         /* once, at least */
	uint8_t learnt;         /* enum admission_learnt: what it told its destination's word already */
	uint32_t destination;   /* 0: not asked for yet */
	uint32_t changed_ms;    /* when it was armed, or left */
	uint32_t armed_at_turn; /* the first time */
	uint8_t setbacks;
	uint8_t wants_out; /* enum sm_reason: to be withdrawn at the next call, because of that; or 0 */
	uint8_t spills;    /* sends that found no room since it was armed */
	uint8_t pauses;    /* taken while it was leaving */
};

/* One that may be slower joined; it has been counted. True if it ends the window. */
static inline bool admission_doubtful(struct admission *admission)
{
	admission->row = admission->row_ends + 1u == admission->sends ? admission->row + 1 : 1;
	admission->row_ends = admission->sends;
	admission->doubtful++;
	if (!admission->is_unsure || admission->row < ADMISSION_DOUBTFUL_ROW)
		return false;
	admission->doubtful = ADMISSION_WINDOW_SENDS; /* as if it were full of them */
	return true;
}

/* One send. True at the end of a window: admission_window() is due; of a first one it may be early. */
static inline bool admission_send(struct admission *admission, bool is_turn, size_t bytes)
{
	bool is_large = bytes >= ADMISSION_LARGE_BYTES;

	admission->worth_while += is_turn || is_large;
	admission->sends++;
	if (__builtin_expect(is_large, 0) && !is_turn && bytes < ADMISSION_HUGE_BYTES && admission_doubtful(admission))
		return true;
	return __builtin_expect(admission->sends >= ADMISSION_WINDOW_SENDS, 0);
}

/* In the present window so far: most sends were huge, or turns. */
static inline bool admission_is_bulk(const struct admission *admission)
{
	return admission->sends && admission->worth_while * 2u >= admission->sends &&
	       admission->doubtful * 2u <= admission->sends;
}

/* What the window was that is over; the next one begins. */
enum admission_window admission_window(struct admission *admission);

/* How many turns it takes, of `base` that the settings say, after that many setbacks or at that level. */
uint32_t admission_turns(uint32_t base, uint32_t doublings);

/* It was armed, or it left, at now_ms. */
void admission_armed(struct admission *admission, uint32_t turns, uint32_t now_ms);
enum admission_why {
	ADMISSION_STREAM,      /* small writes */
	ADMISSION_SPILLS,      /* sends that found no room */
	ADMISSION_SPILLS_BULK, /* likewise, huge ones: the next stay may be another one */
	ADMISSION_PASSES,      /* the helper says so: most messages passed, for a second */
	ADMISSION_MEASURES,    /* faster joined, as far as is known: soon back */
};
void admission_left(struct admission *admission, enum admission_why why, uint32_t now_ms);
/* Whether it has been away long enough. */
bool admission_may_return(const struct admission *admission, uint32_t now_ms);

/* ---- destinations ---- */

/* A word of the table: who it is about, and its level. */
uint64_t destination_word(uint32_t destination, uint32_t level);
uint32_t destination_level(uint64_t word, uint32_t destination); /* 0 for another's word */
uint64_t destination_judged(uint64_t word, uint32_t destination, bool paid);

uint32_t destination_of(const struct endpoints *ends, bool accepted); /* never 0 */
/* The same number at both ends of a connection. */
uint32_t admission_lot(const struct endpoints *ends, bool accepted);

/* May a connection with `turns` turns offer? If not, *retry_at_turn is when to ask again. */
bool admission_ask(const struct admission *admission, uint32_t lot, uint32_t base, uint32_t turns,
		   uint32_t *retry_at_turn);
/* What became of its offer: not matched for long (it may be yet), or left or closed after so many turns. */
void admission_judge_unmatched(struct admission *admission);
void admission_judge_end(struct admission *admission, uint32_t turns);

uint32_t admission_now_ms(void);

#endif
