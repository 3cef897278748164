/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads the competition (bypass.bpf.c) and attaches it to one cgroup, as long as it runs.
 *   bypass CGROUP
 * Says "ready", then answers each line on standard input with the counters as a JSON object; ends with standard input. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bypass.skel.h"
#include "bypass.h"

static int failed(const char *what)
{
	fprintf(stderr, "bypass: %s: %s\n", what, strerror(errno));
	return 1;
}

static int print_counts(const struct bypass_bpf *bpf)
{
	int cpus = libbpf_num_possible_cpus();
	struct bypass_counts *counts = cpus > 0 ? calloc((size_t)cpus, sizeof(*counts)) : NULL, sum = { 0 };
	__u32 zero = 0;

	if (!counts || bpf_map_lookup_elem(bpf_map__fd(bpf->maps.counts), &zero, counts))
		return failed("counters");
	for (int i = 0; i < cpus; i++) {
		sum.sockets += counts[i].sockets;
		sum.redirected_msgs += counts[i].redirected_msgs;
		sum.redirected_bytes += counts[i].redirected_bytes;
	}
	free(counts);
	printf("{\"sockets\": %llu, \"redirected_msgs\": %llu, \"redirected_bytes\": %llu}\n", sum.sockets,
	       sum.redirected_msgs, sum.redirected_bytes);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct bypass_bpf *bpf;
	char line[16];
	int cgroup, map;

	if (argc != 2)
		return 2;
	cgroup = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		return failed(argv[1]);
	bpf = bypass_bpf__open_and_load();
	if (!bpf)
		return failed("load");
	map = bpf_map__fd(bpf->maps.sockets);
	if (bpf_prog_attach(bpf_program__fd(bpf->progs.bypass_verdict), map, BPF_SK_MSG_VERDICT, 0))
		return failed("attach to the sockhash");
	/* A link: gone with this process, however it ends. */
	bpf->links.bypass_established = bpf_program__attach_cgroup(bpf->progs.bypass_established, cgroup);
	if (!bpf->links.bypass_established)
		return failed("attach to the cgroup");
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		if (print_counts(bpf))
			return 1;
	bypass_bpf__destroy(bpf);
	return 0;
}
