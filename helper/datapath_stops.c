/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads the program that notes which processes are stopped: bpf/stops.bpf.c. */
#include "datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sys/stat.h>

#include "stops.skel.h"

int datapath_stops_open(struct datapath_stops **out)
{
	struct stops_bpf *skeleton;
	struct stat namespace;
	int error;

	*out = NULL;
	if (stat("/proc/self/ns/pid", &namespace) < 0)
		return -errno;
	skeleton = stops_bpf__open();
	if (!skeleton)
		return -errno;
	skeleton->rodata->pid_namespace_number = (uint32_t) namespace.st_ino;
	error = stops_bpf__load(skeleton);
	/* From then on only the program can write. A map that is read-only by its flags cannot be mapped. */
	if (!error)
		error = bpf_map_freeze(bpf_map__fd(skeleton->maps.smaccel_stops)) < 0 ? -errno : 0;
	if (!error)
		error = stops_bpf__attach(skeleton);
	if (error)
		stops_bpf__destroy(skeleton);
	else
		*out = (struct datapath_stops *)skeleton;
	return error;
}

void datapath_stops_close(struct datapath_stops *stops)
{
	stops_bpf__destroy((struct stops_bpf *)stops);
}

int datapath_stops_words(const struct datapath_stops *stops, uint32_t *count)
{
	const struct bpf_map *words = ((const struct stops_bpf *)stops)->maps.smaccel_stops;

	*count = bpf_map__max_entries(words);
	return bpf_map__fd(words);
}
