/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Redirects whatever is sent to the second socket of its map: for the question what the kernel counts where (fact 12).
 *
 * By itself, and without a type of the kernel's: so it is loaded without reading the kernel's BTF, which takes longer than all else here.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define ENDS 2
#define RECEIVER 1

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u32 redirected_bytes = 0;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, ENDS);
	__type(key, __u32);
	__type(value, __u64);
} rmem_ends SEC(".maps");

SEC("sk_msg")
int rmem_verdict(struct sk_msg_md *msg)
{
	int verdict = bpf_msg_redirect_map(msg, &rmem_ends, RECEIVER, BPF_F_INGRESS);

	if (verdict == SK_PASS)
		redirected_bytes += msg->size;
	return verdict;
}
