/* SPDX-License-Identifier: BSD-2-Clause */
/* See session_memory.h. Async-signal-safe but for session_memory_map_consume().
 *
 * Threads make views of the session they know of while another session comes. So each address goes with the session's number, in the
 * bits that are 0 in a page's address: a view of the session before finds no place in the new one's list, nor is one taken
 * for the other.
 */
#include "session_memory.h"

#include <errno.h>
#include <sys/stat.h>

#include "../helper/wire/latency.h"
#include "config.h"
#include "real.h"
#include "reserved.h"

#define NUMBER_MASK ((uintptr_t)0xfff)

static _Atomic uintptr_t current; /* of the head and the first part; 0: none, or another one is just coming */
static _Atomic uintptr_t views[MEMORY_PARTS]; /* only the number: none yet */

static uint32_t sessions;
_Static_assert(SESSIONS_MAX <= NUMBER_MASK, "each has a number of its own");

bool session_memory_has_place(void)
{
	return sessions < SESSIONS_MAX;
}

static size_t view_bytes(uint32_t part)
{
	return sizeof(struct session_memory) + ((size_t)MEMORY_CELLS_FIRST << part) * sizeof(struct memory_cell);
}

/* At once: a filter that the process was started under may allow no mremap(). */
static bool is_mapped_whole(void)
{
	return config.trusts_filter;
}

static struct session_memory *memory_of(uintptr_t word)
{
	return (struct session_memory *)(word & ~NUMBER_MASK);
}

static bool is_session_memory(const struct wire_welcome *welcome, int fd)
{
	struct stat status;

	return fd >= 0 && welcome->memory_bytes == SESSION_BYTES && welcome->cell_count == MEMORY_CELLS &&
	       fstat(fd, &status) == 0 && (uint64_t)status.st_size >= SESSION_BYTES;
}

struct session_memory *session_memory_map_consume(const struct wire_welcome *welcome, int fd)
{
	size_t bytes = is_mapped_whole() ? SESSION_BYTES : view_bytes(0);
	struct session_memory *memory = is_session_memory(welcome, fd) ? reserved_map(bytes, fd) : NULL;

	if (fd >= 0)
		real_close(fd);
	if (!memory)
		return NULL;
	uintptr_t number = ++sessions;
	atomic_store(&current, 0);
	for (uint32_t part = 0; part < MEMORY_PARTS; part++)
		atomic_store(&views[part], (part == 0 || is_mapped_whole() ? (uintptr_t)memory : 0) | number);
	atomic_store(&current, (uintptr_t)memory | number);
	return memory;
}

static void add_view(uintptr_t session, uint32_t part)
{
	uintptr_t nothing = session & NUMBER_MASK;
	int saved = errno;
	struct session_memory *view = reserved_map_again(memory_of(session), view_bytes(part));

	errno = saved;
	if (view && !atomic_compare_exchange_strong(&views[part], &nothing, (uintptr_t)view | nothing))
		reserved_unmap(view, view_bytes(part));
}

struct memory_cell *session_memory_cell(struct session_memory *memory, uint32_t index)
{
	uintptr_t session = atomic_load(&current);
	uint32_t part = memory_part(index);

	if (memory_of(session) != memory)
		return NULL;
	if (!memory_of(atomic_load(&views[part])))
		add_view(session, part);
	uintptr_t view = atomic_load(&views[part]);
	return memory_of(view) && ((view ^ session) & NUMBER_MASK) == 0 ? &memory_of(view)->cells[index] : NULL;
}

struct latency_memory *session_memory_map_latency(struct session_memory *memory)
{
	int saved = errno;
	char *all = is_mapped_whole() ? (char *)memory : reserved_map_again(memory, SESSION_BYTES);

	errno = saved;
	return all ? (void *)(all + LATENCY_OFFSET) : NULL;
}

void session_memory_unmap_latency(struct latency_memory *latency)
{
	if (!is_mapped_whole())
		reserved_unmap((char *)latency - LATENCY_OFFSET, SESSION_BYTES);
}
