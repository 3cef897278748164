/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's large mappings, of which little is ever touched: some 4 MB of addresses, and more with hundreds of connections;
 * some 0.2 MB of memory.
 *
 * mlockall() would make memory of all of them, and compares the size of the whole process with RLIMIT_MEMLOCK: a program that may
 * lock its 3 MB must not be refused for them. So they stay out of it (intercept_lock.c).
 */
#ifndef SMACCEL_RESERVED_H
#define SMACCEL_RESERVED_H

#include <stdbool.h>
#include <stddef.h>

#define RESERVED_MAX 64

/* Whether so many bytes are at most one in ROOM_SHARE of the addresses, and of the data, that the process may have (RLIMIT_AS,
 * RLIMIT_DATA): a program that is kept small is to find the room that it has without the shim, or nearly. */
bool reserved_has_room(size_t bytes);

/* Maps so many bytes, readable and writable: of a file, shared, or (fd -1) of nothing. NULL if the kernel refuses, or if there is no room
 * for them beside what is mapped already, by the limits that there are now. Of more than RESERVED_MAX that there are at once
 * the later ones are like any other memory. */
void *reserved_map(size_t bytes, int fd);
/* The same of nothing, at `place` if that is free, and else anywhere. */
void *reserved_map_at(void *place, size_t bytes);
/* The file in the place of the one that is mapped at memory, as long. False: not done, and the memory may be gone. */
bool reserved_map_over(void *memory, size_t bytes, int fd);
/* The same of so many bytes of the file that is mapped at memory, from there on: the first mapping stays. */
void *reserved_map_again(void *memory, size_t bytes);
void reserved_unmap(void *memory, size_t bytes);

/* The i-th: its first byte and the one after its last. False: there is none in this place. */
bool reserved_at(int i, char **begin, char **end);
size_t reserved_bytes(void);

/* What is mapped from now on is locked, as the application wants it. */
void reserved_future_locked(bool locked);
bool reserved_is_future_locked(void);

/* Before the first store to part of a mapping of a file: has the kernel make its pages now. False: it has none to spare (vm.overcommit_memory
 * is 2, and all is spoken for); a store would be SIGBUS. errno is kept. */
bool reserved_fill(const void *memory, size_t bytes);

#endif
