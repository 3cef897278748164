/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What bypass.bpf.c and bypass.c share. */
#ifndef SMACCEL_BENCH_BYPASS_H
#define SMACCEL_BENCH_BYPASS_H

struct bypass_counts {
	__u64 sockets, redirected_msgs, redirected_bytes;
};

#endif
