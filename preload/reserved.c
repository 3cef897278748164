/* SPDX-License-Identifier: BSD-2-Clause */
/* The large mappings: see reserved.h. */
#include "reserved.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../helper/wire/room.h"
#include "config.h"
#include "raw_syscall.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Only added to and taken from by who maps and unmaps; a reader may see one that is just coming or going, of which it does no more
 * than lock or unlock its pages. */
static struct {
	_Atomic(char *) begin; /* NULL: a free place */
	_Atomic size_t bytes;
} areas[RESERVED_MAX];

static _Atomic size_t mapped; /* all of it, also what has no place in the list */
static _Atomic bool future_locked;

static bool is_small_part(size_t bytes, int resource)
{
	struct rlimit limit;

	return getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
	       bytes <= limit.rlim_cur / ROOM_SHARE;
}

bool reserved_has_room(size_t bytes)
{
	return is_small_part(bytes, RLIMIT_AS) && is_small_part(bytes, RLIMIT_DATA);
}

static bool may_map(size_t bytes)
{
	return reserved_has_room(atomic_load(&mapped) + bytes);
}

static void note(char *memory, size_t bytes)
{
	atomic_fetch_add(&mapped, bytes);
	for (int i = 0; i < RESERVED_MAX; i++) {
		char *nobody = NULL;

		if (!atomic_compare_exchange_strong(&areas[i].begin, &nobody, memory))
			continue;
		atomic_store(&areas[i].bytes, bytes);
		return;
	}
}

/* While new memory is locked the kernel fills it at once, but for memory that cannot be accessed yet. */
static void *map_unlocked(void *place, size_t bytes, int flags, int fd)
{
	void *memory = mmap(place, bytes, PROT_NONE, flags, fd, 0);

	if (memory == MAP_FAILED)
		return NULL;
	raw_system_call(SYS_munlock, (long)memory, (long)bytes, 0, 0, 0, 0);
	if (mprotect(memory, bytes, PROT_READ | PROT_WRITE) == 0)
		return memory;
	munmap(memory, bytes);
	return NULL;
}

/* Of a file without a name the kernel would dump every page, those that are none yet, too: as zeros. Not under a filter that may forbid
 * it. */
static void dump_none_of(void *memory, size_t bytes)
{
	if (!config.trusts_filter)
		madvise(memory, bytes, MADV_DONTDUMP);
}

static void *map(void *place, size_t bytes, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *memory;

	if (!may_map(bytes))
		return NULL;
	if (reserved_is_future_locked()) {
		memory = map_unlocked(place, bytes, flags, fd);
	} else {
		memory = mmap(place, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
		if (memory == MAP_FAILED)
			memory = NULL;
	}
	if (!memory)
		return NULL;
	if (fd >= 0)
		dump_none_of(memory, bytes);
	note(memory, bytes);
	return memory;
}

void *reserved_map(size_t bytes, int fd)
{
	return map(NULL, bytes, fd);
}

void *reserved_map_at(void *place, size_t bytes)
{
	return map(place, bytes, -1);
}

bool reserved_map_over(void *memory, size_t bytes, int fd)
{
	if (reserved_is_future_locked() ||
	    mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return false;
	dump_none_of(memory, bytes);
	return true;
}

void *reserved_map_again(void *memory, size_t bytes)
{
	if (!may_map(bytes))
		return NULL;
	/* Of what is shared, and 0 bytes long, a second mapping is made; all else that is peculiar to the first one it has, too. */
	void *again = mremap(memory, 0, bytes, MREMAP_MAYMOVE);
	if (again == MAP_FAILED)
		return NULL;
	note(again, bytes);
	return again;
}

void reserved_unmap(void *memory, size_t bytes)
{
	for (int i = 0; i < RESERVED_MAX; i++) {
		if (atomic_load(&areas[i].begin) != memory)
			continue;
		atomic_store(&areas[i].bytes,
			     0); /* first: whoever sees the next one here must not take it for as long */
		atomic_store(&areas[i].begin, NULL);
		break;
	}
	munmap(memory, bytes);
	atomic_fetch_sub(&mapped, bytes);
}

bool reserved_at(int i, char **begin, char **end)
{
	if (i < 0 || i >= RESERVED_MAX)
		return false;
	*begin = atomic_load(&areas[i].begin);
	*end = *begin + (*begin ? atomic_load(&areas[i].bytes) : 0);
	return *begin != NULL;
}

size_t reserved_bytes(void)
{
	size_t bytes = 0;
	char *begin, *end;

	for (int i = 0; i < RESERVED_MAX; i++)
		if (reserved_at(i, &begin, &end))
			bytes += (size_t)(end - begin);
	return bytes;
}

void reserved_future_locked(bool locked)
{
	atomic_store(&future_locked, locked);
}

bool reserved_is_future_locked(void)
{
	return atomic_load_explicit(&future_locked, memory_order_relaxed);
}

bool reserved_fill(const void *memory, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = (uintptr_t)memory & ~(page - 1), end = ((uintptr_t)memory + bytes + page - 1) & ~(page - 1);
	long result = raw_system_call(SYS_madvise, (long)begin, (long)(end - begin), MADV_POPULATE_WRITE, 0, 0, 0);

	return result != -EFAULT && result != -ENOMEM; /* what else there is says nothing about pages */
}
