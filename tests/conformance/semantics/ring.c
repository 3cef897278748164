/* SPDX-License-Identifier: BSD-2-Clause */
/* An io_uring by raw system calls: see ring.h. */
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 8
#define WAIT_MS 2000

bool ring_open(struct ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &ring->parameters);
	if (ring->fd < 0)
		return false;
	const struct io_uring_params *p = &ring->parameters;
	ring->submissions = mmap(NULL, p->sq_off.array + p->sq_entries * sizeof(uint32_t), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->completions = mmap(NULL, p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe),
				 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_CQ_RING);
	ring->entries = mmap(NULL, p->sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	return ring->submissions != MAP_FAILED && ring->completions != MAP_FAILED && ring->entries != MAP_FAILED;
}

static uint32_t *word(void *ring, uint32_t offset)
{
	return (uint32_t *)(void *)((char *)ring + offset);
}

void ring_submit(struct ring *ring, int operation, int fd, const void *buffer, size_t bytes, int flags)
{
	const struct io_sqring_offsets *offsets = &ring->parameters.sq_off;
	uint32_t *tail = word(ring->submissions, offsets->tail);
	uint32_t index = *tail & *word(ring->submissions, offsets->ring_mask);

	ring->entries[index] = (struct io_uring_sqe){ .opcode = (uint8_t)operation,
						      .fd = fd,
						      .addr = (uintptr_t)buffer,
						      .len = (uint32_t)bytes,
						      .msg_flags = (uint32_t)flags };
	word(ring->submissions, offsets->array)[index] = index;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0);
}

int ring_wait(struct ring *ring)
{
	const struct io_cqring_offsets *offsets = &ring->parameters.cq_off;
	uint32_t *head = word(ring->completions, offsets->head), *tail = word(ring->completions, offsets->tail);
	struct pollfd poller = { .fd = ring->fd, .events = POLLIN };

	if (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE) && poll(&poller, 1, WAIT_MS) <= 0)
		return -ETIME;
	const struct io_uring_cqe *all = (void *)((char *)ring->completions + offsets->cqes);
	int result = all[*head & *word(ring->completions, offsets->ring_mask)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

int ring_do(struct ring *ring, int operation, int fd, const void *buffer, size_t bytes, int flags)
{
	ring_submit(ring, operation, fd, buffer, bytes, flags);
	return ring_wait(ring);
}
