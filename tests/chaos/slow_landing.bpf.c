// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Holds up a redirected message between the verdict and the receiver's queue, where preemption or a stolen CPU does it now and then.
 *
 * bpf_tcp_ingress() first allocates the sk_msg for that queue, and then takes the receiver's lock: the tracepoint of that
 * allocation lies between the two, holds no lock, and may be attached to where fentry is refused. Only of threads that are called SLOW_THREAD.
 *
 * And a close(2) of threads that are called SLOW_CLOSER before it begins: whatever its caller looked at is long past.
 */
#include "kernel.h"

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "slow_landing.h"

#define LOOKS_MAX (1 << 23)

struct sk_msg {
	int unused;
} __attribute__((preserve_access_index));

static const char sender[] = SLOW_THREAD, closer[] = SLOW_CLOSER;
const volatile __u64 hold_ns = 0;
const volatile __u32 close_number = 0;
__u64 held = 0;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static long look(__u32 index, __u64 *until_ns)
{
	(void)index;
	return bpf_ktime_get_ns() >= *until_ns;
}

static void hold(void)
{
	__u64 until_ns = bpf_ktime_get_ns() + hold_ns;

	bpf_loop(LOOKS_MAX, look, &until_ns, 0);
	__sync_fetch_and_add(&held, 1);
}

SEC("tp_btf/kmalloc")
int BPF_PROG(slow_landing, unsigned long call_site, const void *memory, unsigned long bytes)
{
	char name[16] = "";

	(void)call_site;
	(void)memory;
	if (bytes == bpf_core_type_size(struct sk_msg) && !bpf_get_current_comm(name, sizeof(name)) &&
	    bpf_strncmp(name, sizeof(name), sender) == 0)
		hold();
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(slow_close, const void *registers, long number)
{
	char name[16] = "";

	(void)registers;
	if (number == close_number && !bpf_get_current_comm(name, sizeof(name)) &&
	    bpf_strncmp(name, sizeof(name), closer) == 0)
		hold();
	return 0;
}
