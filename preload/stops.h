/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether this process was stopped, and went on, while a receive slept. No handler need have run, so the helper has the kernel
 * note each signal that stops a process (bpf/stops.bpf.c), a debugger's as well. What stops it without one, as strace -p and the
 * freezer do, is concluded (transfer_wait.c). As there cannot be told on which side
 * of a call's beginning a stop was, one that came at about that time may count as within.
 */
#ifndef SMACCEL_STOPS_H
#define SMACCEL_STOPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The word of this process: struct wire_stops. Never NULL. Without a session it is one that stays 0. */
extern const _Atomic uint64_t *_Atomic stops_word;
extern _Atomic uint32_t stops_process;

struct stops_mark {
	const _Atomic uint64_t *word;
	uint64_t value;
};

static inline struct stops_mark stops_mark(void)
{
	const _Atomic uint64_t *word = atomic_load_explicit(&stops_word, memory_order_relaxed);

	return (struct stops_mark){ word, atomic_load_explicit(word, memory_order_relaxed) };
}

static inline bool stops_since(struct stops_mark before)
{
	uint64_t value = atomic_load_explicit(before.word, memory_order_relaxed);

	return value != before.value && value >> 32 == atomic_load(&stops_process);
}

struct wire_stops;
void stops_session_consume(const struct wire_stops *message, int fd);
void stops_forked(void); /* in the child */

#endif
