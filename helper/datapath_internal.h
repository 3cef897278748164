/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the data path share among themselves. */
#ifndef SMACCEL_DATAPATH_INTERNAL_H
#define SMACCEL_DATAPATH_INTERNAL_H

#include "datapath.h"

/* The maps that outlive a helper, in the order in which they are pinned. */
enum datapath_map { DATAPATH_SWITCHES, DATAPATH_SLOTS, DATAPATH_STORAGE, DATAPATH_SOCKHASH, DATAPATH_MAP_COUNT };

/* What a map must look like to be taken over. */
struct datapath_map_spec {
	const char *name; /* of the pin */
	uint32_t type;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries; /* 0: not compared */
};

void datapath_map_specs(struct datapath_map_spec specs[DATAPATH_MAP_COUNT], uint32_t slot_count);

/* Opens the pins of an earlier helper. 1: all are there and fit, fds[] are the caller's. 0: none to take over; *old_switches: of pins
 * that do not fit, the caller's, or -1. -errno otherwise. */
int datapath_pins_open(const char *pin_dir, const struct datapath_map_spec *specs, int fds[DATAPATH_MAP_COUNT],
		       int *old_switches);
/* Pins the maps, in the place of any that are there; those with `old_switches` (-1: none) pass from then on, until their sockets close.
 * 0 or -errno with a line on stderr. */
int datapath_pins_make(const char *pin_dir, const struct datapath_map_spec *specs, const int fds[DATAPATH_MAP_COUNT],
		       int old_switches);
/* The kill switch in switches of whatever layout (-1: none). */
bool datapath_pins_are_off(int switches_fd);

/* What a person can do about -errno of loading the programs; never NULL. */
const char *datapath_advice(int error);
/* Whether neither a right nor a resource was missing: it would be the same the next time. */
bool datapath_is_kernels_fault(int error);

/* Whether the kernel has bpf_rdonly_cast (6.2 and later), as kallsyms shows. */
bool datapath_probe_rdonly_cast(void);
/* The address of a function of the kernel, from kallsyms; 0 if it is not there or not shown (CAP_SYSLOG, kernel.kptr_restrict). */
uint64_t datapath_probe_woken_wake_function(void);
uint64_t datapath_probe_pollwake(void);
/* Fact 12: whether sk_rmem_alloc includes unread redirected bytes, found out by redirecting a few bytes between two
 * loopback sockets over private maps. 1, 0, or -errno when it could not be tried (no loopback, for example). */
int datapath_probe_rmem(void);
/* The version of cgroups that has the memory controller, 1 or 2 (also where there is none), or -errno. */
int datapath_probe_memory_cgroups(void);
/* Joins both ends of a connection of our own in slot 0 of private maps and arms it, without proofs; ends[0] is side 0.
 * 0 or -errno. */
int datapath_probe_arm(struct datapath *datapath, const int ends[2]);

#endif
