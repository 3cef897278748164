/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether the memory cgroup of the receiving socket has room for a message.
 *
 * A redirect is charged to the receiver in the sender's call, where the kernel may wait for memory: in a cgroup that is full it ends the reader
 * (memory.max), or the send fails (the TCP limit of version 1). TCP, which charges in a softirq, drops the segment and sends it again. So
 * what would come near the limit is left to TCP. Pages of files are room: they are given back before anything is ended, and a
 * cgroup that reads files is always full. The nearest limit counts, and none that is far above: such a cgroup is full of the
 * files of others, of which nothing is known here.
 */
#ifndef SMACCEL_MEMORY_H
#define SMACCEL_MEMORY_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "facts.h"
#include "gate.h"

/* Of nested cgroups, from the socket's own: a container with services of its own has its limit two above them. */
#define MEMORY_LEVELS 3
#define MEMORY_UNLIMITED (1ull << 50) /* the kernel's PAGE_COUNTER_MAX is more, whatever the size of pages */
#define ZONES_MAX 6
enum lru_list { LRU_INACTIVE_FILE = 2, LRU_ACTIVE_FILE, ZONE_LISTS = 5 };

/* Set by the loader: the memory controller is of version 1, and counts what sockets take apart from all else. */
const volatile bool memory_cgroups_are_v1 = false;

/* Each read through bpf_probe_read_kernel(), as `address` may be stale (a fault reads zeros: no room). 6.2 and later: plain loads. */
#define MEMORY_READ(type, address, field)                                                                              \
	(use_rdonly_cast ? ((const struct type *)bpf_rdonly_cast((const void *)(address),                              \
								 bpf_core_type_id_kernel(struct type)))                \
				   ->field                                                                             \
			 : BPF_CORE_READ((const struct type *)(address), field))

/* Those of its own on the first node: fewer than there are. */
static __always_inline __u64 file_pages(__u64 memcg)
{
	/* A flexible array of pointers: behind a cast no field to the verifier. */
	__u64 node = kernel_word((const void *)(memcg + bpf_core_field_offset(struct mem_cgroup, nodeinfo)), 0);
	__u64 lists, bytes, pages = 0;

	if (bpf_core_field_exists(struct mem_cgroup_per_node___flat, lru_zone_size)) {
		lists = node + bpf_core_field_offset(struct mem_cgroup_per_node___flat, lru_zone_size);
		bytes = bpf_core_field_size(struct mem_cgroup_per_node___flat, lru_zone_size);
	} else if (bpf_core_field_exists(struct mem_cgroup_per_node, lru_zone_size)) {
		lists = node + bpf_core_field_offset(struct mem_cgroup_per_node, lru_zone_size);
		bytes = bpf_core_field_size(struct mem_cgroup_per_node, lru_zone_size);
	} else {
		return 0;
	}
	for (__u64 zone = 0; zone < ZONES_MAX && (zone + 1) * ZONE_LISTS * sizeof(__u64) <= bytes; zone++) {
		const __u64 *of_zone = (const __u64 *)lists + zone * ZONE_LISTS;

		pages += kernel_word(&of_zone[LRU_INACTIVE_FILE], 0) + kernel_word(&of_zone[LRU_ACTIVE_FILE], 0);
	}
	return pages;
}

static __always_inline bool counters_have_room(__u64 counter, __u64 memcg, __u32 unread, __u32 size)
{
	for (int level = 0; level < MEMORY_LEVELS && counter; level++) {
		__u64 max = MEMORY_READ(page_counter, counter, max);

		if (max < MEMORY_UNLIMITED) {
			__u64 usage = (__u64)MEMORY_READ(page_counter, counter, usage.counter);

			if (gate_memory_has_room(max, usage, 0, unread, size))
				return true;
			/* No page of a file is in the counter of version 1. */
			return !memory_cgroups_are_v1 &&
			       gate_memory_has_room(max, usage, file_pages(memcg), unread, size);
		}
		counter = (__u64)MEMORY_READ(page_counter, counter, parent);
	}
	return true;
}

/* memcg: sk_memcg of the socket; 0: it is in the root's, which has no limit. */
static __always_inline bool memory_has_room(__u64 memcg, __u32 unread, __u32 size)
{
	if (!memcg)
		return true;
	if (!memory_cgroups_are_v1)
		return counters_have_room(memcg + bpf_core_field_offset(struct mem_cgroup, memory), memcg, unread,
					  size);
	if (bpf_core_field_exists(struct mem_cgroup, tcpmem))
		return counters_have_room(memcg + bpf_core_field_offset(struct mem_cgroup, tcpmem), memcg, unread,
					  size);
	return true;
}

#endif
