/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel at hand can do, found out by trying: versions say little where fixes are carried back. */
#define _GNU_SOURCE
#include "datapath_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loopback.h"

/* What goes into wait queues, and a function for programs. */
enum { WOKEN_WAKE_FUNCTION, POLLWAKE, RDONLY_CAST };
static struct function {
	const char *line_end;
	unsigned long long address;
} functions[] = { { " woken_wake_function\n", 0 }, { " pollwake\n", 0 }, { " bpf_rdonly_cast\n", 0 } };
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

/* True: all are found. */
static bool look_at(const char *line, size_t length)
{
	size_t found = 0;

	for (size_t i = 0; i < FUNCTIONS; i++) {
		size_t wanted = strlen(functions[i].line_end);

		if (!functions[i].address && length > wanted &&
		    strcmp(line + length - wanted, functions[i].line_end) == 0)
			functions[i].address = strtoull(line, NULL, 16);
		found += functions[i].address != 0;
	}
	return found == FUNCTIONS;
}

/* Once for all. */
static uint64_t address_of(size_t function)
{
	static bool known;
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	FILE *file = known ? NULL : fopen("/proc/kallsyms", "re");

	while (file && (length = getline(&line, &room, file)) > 0 && !look_at(line, (size_t)length))
		;
	known |= file != NULL;
	if (file)
		fclose(file);
	free(line);
	return functions[function].address;
}

uint64_t datapath_probe_woken_wake_function(void)
{
	return address_of(WOKEN_WAKE_FUNCTION);
}

uint64_t datapath_probe_pollwake(void)
{
	return address_of(POLLWAKE);
}

/* The kernel's BTF says it, too, but takes some 50 ms to read. */
bool datapath_probe_rdonly_cast(void)
{
	return address_of(RDONLY_CAST) != 0;
}

int datapath_probe_memory_cgroups(void)
{
	char *line = NULL;
	size_t room = 0;
	int version = 2;
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (!file)
		return -errno;
	/* HIERARCHY:CONTROLLERS:PATH; of version 2 there are none named. */
	while (version == 2 && getline(&line, &room, file) > 0) {
		char *rest, *controllers = strchr(line, ':'), *name = controllers;

		if (!controllers)
			continue;
		controllers[strcspn(controllers + 1, ":") + 1] = 0;
		for (name = strtok_r(controllers, ":,", &rest); name; name = strtok_r(NULL, ":,", &rest))
			if (!strcmp(name, "memory"))
				version = 1;
	}
	fclose(file);
	free(line);
	return version;
}

int datapath_probe_arm(struct datapath *datapath, const int ends[2])
{
	struct sm_slot *slot = datapath_slots(datapath, NULL);
	struct sm_look look;
	int error;

	slot->generation = 1;
	for (uint32_t side = 0; side < SM_SIDES; side++) {
		const struct sm_endref ref = { .slot = 0, .side = side, .generation = 1 };
		uint64_t cookie = loopback_cookie(ends[side]);

		error = datapath_look(datapath, ends[side], &look);
		if (!error)
			error = datapath_insert(datapath, ends[side], cookie, &ref);
		if (error)
			return error;
		slot->end[side].cookie = cookie;
		slot->end[side].sk = look.facts.sk;
	}
	__atomic_store_n(&slot->state, SM_SLOT_ARMED, __ATOMIC_RELEASE);
	return 0;
}
