/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A verdict without a gate, for the kernel tests: it does what the switch says, right or wrong. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "kernel_test_shared.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16);
	__type(key, __u64);
	__type(value, __u64);
} hash SEC(".maps");

/* Of each joined end: the cookie that its messages are redirected to. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kernel_test_control);
} control SEC(".maps");

SEC("sk_msg")
int kernel_test_verdict(struct sk_msg_md *msg)
{
	struct kernel_test_control *page;
	__u64 *wanted, key = 0;
	__u32 zero = 0;
	long result;

	page = bpf_map_lookup_elem(&control, &zero);
	if (!page || !msg->sk)
		return SK_PASS;
	__sync_fetch_and_add(&page->runs, 1);
	wanted = bpf_sk_storage_get(&target, msg->sk, 0, 0);
	if (page->mode == KERNEL_TEST_PASS || !wanted)
		return SK_PASS;
	key = *wanted;
	result = bpf_msg_redirect_hash(msg, &hash, &key, BPF_F_INGRESS);
	if (result == SK_PASS)
		__sync_fetch_and_add(&page->redirected, 1);
	return page->mode == KERNEL_TEST_REDIRECT_OR_DROP ? result : SK_PASS;
}
