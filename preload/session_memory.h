/* SPDX-License-Identifier: BSD-2-Clause */
/* The session's memory as this process sees it: of the helper's file the head and the first cells, and more of it as connections become
 * more, or when latencies are recorded. A program whose addresses are counted (RLIMIT_AS) is not to pay for 37 MB.
 *
 * Each larger view is a mapping of its own, from the beginning on, so that a cell and the head lie in one mapping; the cells of a part
 * (conn.c grows by the same ones) are always looked at through the same view. Views stay, as connections may look at their
 * cells, when the session is over.
 */
#ifndef SMACCEL_SESSION_MEMORY_H
#define SMACCEL_SESSION_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../helper/wire/memory.h"

/* Parts: 0 ... FIRST-1, FIRST ... 2*FIRST-1, 2*FIRST ... 4*FIRST-1 and so on. */
#define MEMORY_FIRST_BITS 9
#define MEMORY_CELLS_FIRST (1u << MEMORY_FIRST_BITS)
#define MEMORY_PARTS 8u
_Static_assert(MEMORY_CELLS_FIRST << (MEMORY_PARTS - 1) == MEMORY_CELLS, "all cells are in a part");

static inline uint32_t memory_part(uint32_t index)
{
	return index < MEMORY_CELLS_FIRST ? 0 : 32u - (uint32_t)__builtin_clz(index) - MEMORY_FIRST_BITS;
}
static inline uint32_t memory_part_first(uint32_t part)
{
	return part == 0 ? 0 : MEMORY_CELLS_FIRST << (part - 1);
}

#define SESSION_MEMORY_BYTES_FIRST (sizeof(struct session_memory) + MEMORY_CELLS_FIRST * sizeof(struct memory_cell))

/* A process that has had so many, and those it was forked from, has no other: each leaves some three mappings behind, of which the kernel
 * allows 65,530. */
#define SESSIONS_MAX 1000u

struct latency_memory;

/* One more may come. */
bool session_memory_has_place(void);
/* Maps the memory of a new session, and closes fd. One thread at a time (the channel's lock). NULL: no room, or not what this library
 * knows. */
struct session_memory *session_memory_map_consume(const struct wire_welcome *welcome, int fd);
/* A cell of that session; NULL: no room for so many, or another session has come. */
struct memory_cell *session_memory_cell(struct session_memory *memory, uint32_t index);
/* A view of all of it, for latencies: a new mapping. NULL: no room. */
struct latency_memory *session_memory_map_latency(struct session_memory *memory);
void session_memory_unmap_latency(struct latency_memory *latency);

#endif
