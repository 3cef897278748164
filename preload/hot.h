/* SPDX-License-Identifier: BSD-2-Clause */
/* What the short way of a call looks at besides the connection and the thread, in one cache line: after a context switch each
 * line more is a wait for memory, and such waits are most of what a connection that is only watched costs.
 *
 * Each member belongs to a module, which alone writes it and says what it means.
 */
#ifndef SMACCEL_HOT_H
#define SMACCEL_HOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct hot {
	_Atomic uint32_t *_Atomic table;     /* conn.h */
	_Atomic uint32_t *_Atomic recording; /* latency.h; never NULL */
	_Atomic uint32_t recording_apart;    /* latency.c */
	_Atomic bool quiet;                  /* quiet.h */
	bool direct;                         /* direct.h */
	_Atomic bool owes;                   /* transfer.h */
	uint8_t padding;
	const char *single_threaded; /* libc.h; NULL until the constructor has run */
	/* Copies of what real.h holds, of the calls that most connections live on. NULL until the constructor has run. */
	ssize_t (*read)(int, void *, size_t);
	ssize_t (*recv)(int, void *, size_t, int);
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*send)(int, const void *, size_t, int);
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct hot) == 64, "one line");

extern struct hot hot;

#endif
