/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a connection moves its bytes faster joined than by plain TCP, measured on itself.
 *
 * For traffic of which it is not known beforehand: streams of writes of middle size between two CPUs. There TCP's two ends work at the same time,
 * while a redirected message is copied in, handed over and copied out again; which is faster depends on sizes, on the
 * caches, and on what else the two ends do (writes of 32 KiB on two CPUs: from 0.8 to 1.7 x TCP).
 *
 * Measured is a run: windows of sends (admission.h) one after the other in one state, joined or plain. A window that takes
 * much longer than those before it has had a pause of the application in it, and begins the run anew. What plain TCP
 * gave last is remembered; a joined run is held against it. The answer holds for a while, then plain TCP is measured again.
 */
#ifndef SMACCEL_THROUGHPUT_H
#define SMACCEL_THROUGHPUT_H

#include <stdbool.h>
#include <stdint.h>

#define THROUGHPUT_RUN_WINDOWS 8u
#define THROUGHPUT_GAP_FACTOR 4u
#define THROUGHPUT_STAY_WINDOWS 1024u /* joined, before plain TCP is measured anew: a second or more */

struct throughput {
	uint64_t bytes_before; /* of the run */
	uint32_t began_us;     /* the run */
	uint32_t ended_us;     /* its last window */
	uint32_t plain_rate;   /* bytes per us; 0: not measured */
	uint16_t stayed;       /* joined windows since plain TCP was measured */
	uint8_t windows;       /* of the run, so far */
	bool was_joined;
};

enum throughput_says {
	THROUGHPUT_MEASURING,
	THROUGHPUT_JOINED, /* faster joined */
	THROUGHPUT_PLAIN,  /* not */
	THROUGHPUT_ANEW,   /* plain TCP is to be measured: never done, or long ago */
};

/* A window is over at now_us (of any clock that does not jump; it may wrap); `bytes` is what the end has sent so far in that state. */
enum throughput_says throughput_window(struct throughput *throughput, bool joined, uint64_t bytes, uint32_t now_us);

#endif
