/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a pair pays, from what its two directions did in one round of the sweep. Pure, for the unit tests. */
#ifndef SMACCEL_PAYING_H
#define SMACCEL_PAYING_H

#include <stdbool.h>
#include <stdint.h>

#include "../bpf/shared.h"

/* Passed in one round of the sweep, at least: what passes seldom costs little. */
#define PAYING_PASSED_MIN 256u
/* One in so many of each end's messages, when the other is at work on its socket. Measured, ends that send at the same time: 0.10 to 0.68 of all,
 * and 1.06 to 1.15 x plain TCP's time (medians, 64 B to 32 KiB); ends that answer each other, whether they sleep or not: none. */
#define PAYING_BUSY_SHARE 8u

/* Messages of one direction. */
struct paying_counts {
	uint64_t redirected, passed;
	uint64_t busy; /* of the passed ones: the reader was at work */
};

/* A message that passes through a joined socket costs more than one on plain TCP (fact 16). */
static inline bool paying_mostly_passes(const struct paying_counts grown[SM_SIDES])
{
	uint64_t passed = grown[0].passed + grown[1].passed;

	return passed >= PAYING_PASSED_MIN && passed > grown[0].redirected + grown[1].redirected;
}

/* The reader of this direction was at work on its socket. */
static inline bool paying_finds_busy(const struct paying_counts *grown)
{
	return grown->busy >= PAYING_PASSED_MIN && grown->busy * PAYING_BUSY_SHARE >= grown->redirected + grown->passed;
}

/* Two ends that send at the same time and then look for an answer without sleeping (MPI_Sendrecv) find each other at work all the time: some
 * messages pass for that, others come a moment too late to be passed and sleep for the peer's lock (gate_would_wait), where plain TCP never
 * sleeps. In one direction alone that is a stream. Large messages never count: they are worth a wait, and streams of them in both directions
 * are up to twice as fast joined. */
static inline bool paying_meets_at_work(const struct paying_counts grown[SM_SIDES])
{
	return paying_finds_busy(&grown[0]) && paying_finds_busy(&grown[1]);
}

#endif
