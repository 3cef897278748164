/* SPDX-License-Identifier: BSD-2-Clause */
/* Fact 12, found out by trying: bpf/rmem.bpf.c. */
#define _GNU_SOURCE
#include "datapath_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "loopback.h"
#include "rmem.skel.h"

#define PROBE_BYTES 1000

/* sk_rmem_alloc, or -errno. */
static int64_t receive_memory(int fd)
{
	uint32_t words[SK_MEMINFO_VARS] = { 0 };
	socklen_t bytes = sizeof(words);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, words, &bytes) < 0 ? -errno
									 : (int64_t)words[SK_MEMINFO_RMEM_ALLOC];
}

static int redirect(struct rmem_bpf *skeleton, const int ends[2])
{
	const char message[PROBE_BYTES] = { 0 };
	int map = bpf_map__fd(skeleton->maps.rmem_ends);
	int64_t counted;

	if (bpf_prog_attach(bpf_program__fd(skeleton->progs.rmem_verdict), map, BPF_SK_MSG_VERDICT, 0) < 0)
		return -errno;
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t value = (uint64_t)ends[i];

		if (bpf_map_update_elem(map, &i, &value, BPF_NOEXIST) < 0)
			return -errno;
	}
	if (send(ends[0], message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(message))
		return -EIO;
	if (skeleton->bss->redirected_bytes != sizeof(message))
		return -ENOTSUP;
	counted = receive_memory(ends[1]);
	return counted < 0 ? (int)counted : counted >= PROBE_BYTES;
}

static int try_rmem(void)
{
	struct rmem_bpf *skeleton;
	int ends[2];
	int result = loopback_pair_open(ends);

	if (result)
		return result;
	skeleton = rmem_bpf__open_and_load();
	result = skeleton ? redirect(skeleton, ends) : -errno;
	loopback_pair_close(ends); /* first: whatever is unread goes with the sockets */
	rmem_bpf__destroy(skeleton);
	return result;
}

int datapath_probe_rmem(void)
{
	static int known = -1;

	if (known < 0)
		known = try_rmem();
	return known;
}
