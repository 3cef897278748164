/* SPDX-License-Identifier: BSD-2-Clause */
/* An io_uring of a few entries, by raw system calls: one operation at a time, or one left pending. */
#ifndef SMACCEL_SEMANTICS_RING_H
#define SMACCEL_SEMANTICS_RING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>

struct ring {
	int fd;
	void *submissions, *completions;
	struct io_uring_sqe *entries;
	struct io_uring_params parameters;
};

/* False: this kernel has none, or forbids it. */
bool ring_open(struct ring *ring);
/* Submits; `operation` IORING_OP_RECV, _SEND, _READ, _WRITE. */
void ring_submit(struct ring *ring, int operation, int fd, const void *buffer, size_t bytes, int flags);
/* Waits for the next completion: its result, a negative errno included; -ETIME after two seconds. */
int ring_wait(struct ring *ring);
/* Both. */
int ring_do(struct ring *ring, int operation, int fd, const void *buffer, size_t bytes, int flags);

#endif
