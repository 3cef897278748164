/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which processes were stopped, for their shims to see.
 *
 * A sleep that SIGSTOP or another stop signal ends leaves no trace in the process. The kernel reports each signal while it
 * holds the receiver's siglock, which the receiver takes on its way back to user space: so whoever comes back from a sleep that a stop
 * has ended finds it noted here. Only where a stop takes effect: not for a signal that is ignored, blocked, or waits already.
 *
 * By itself, apart from the data path: it is of no use to a helper's successor, and without it all else works.
 */
#include "kernel.h"

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define STOP_WORDS 32768 /* as many as there are numbers, unless pid_max was raised. Each process touches one page */
#define TRACE_SIGNAL_DELIVERED 0 /* trace/events/signal.h */

/* asm/signal.h of x86, arm64, RISC-V and all others but alpha, mips, parisc and sparc: SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU */
#define FIRST_STOP_SIGNAL 19
#define LAST_STOP_SIGNAL 22

#define PID_LEVEL_MAX 32 /* MAX_PID_NS_LEVEL */

const volatile __u32 pid_namespace_number = 0; /* the loader's */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What a word says: struct wire_stops. Two processes of the same remainder take it from each other: one that does not run again before the
 * other is stopped sees that, but not that itself was. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* frozen, for every process with a session gets it */
	__uint(max_entries, STOP_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} smaccel_stops SEC(".maps");

/* In the loader's namespace; 0: it has none there. */
static __always_inline __u32 number_of(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	const char *numbers = (const char *)pid + bpf_core_field_offset(pid->numbers);

	for (__u32 i = 0; i <= PID_LEVEL_MAX && i <= level; i++) {
		const struct upid *number = (const void *)(numbers + i * bpf_core_type_size(struct upid));

		if (BPF_CORE_READ(number, ns, ns.inum) == pid_namespace_number)
			return BPF_CORE_READ(number, nr);
	}
	return 0;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(smaccel_stop, int number, const void *info, struct task_struct *task, int is_group, int result)
{
	__u32 process, index;
	__u64 *word;

	if (number < FIRST_STOP_SIGNAL || number > LAST_STOP_SIGNAL || result != TRACE_SIGNAL_DELIVERED ||
	    task->blocked.sig[0] >> (number - 1) & 1)
		return 0;
	process = number_of(task);
	if (!process)
		return 0;
	index = process % STOP_WORDS;
	word = bpf_map_lookup_elem(&smaccel_stops, &index);
	if (word)
		*(volatile __u64 *)word = (__u64)process << 32 | (__u32)(*word + 1);
	return 0;
}
