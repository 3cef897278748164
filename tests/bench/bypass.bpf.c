// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The competition: the bypass that is found in many places, for the benchmark alone. sock_ops puts every IPv4 connection of
 * a cgroup into a sockhash as it comes up, keyed by its addresses and ports; sk_msg sends each message to the socket of the
 * mirrored key. No proof of the peer, no order after passed bytes, no bound: what smaccel is measured against, not like. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bypass.h"

#define AF_INET 2

struct tuple {
	__u32 local_address, peer_address, local_port, peer_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bypass_counts);
} counts SEC(".maps");

static struct bypass_counts *own_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/* remote_port is in network order in the upper half of a big-endian word; local_port is in host order. */
SEC("sockops")
int bypass_established(struct bpf_sock_ops *ops)
{
	struct bypass_counts *count = own_counts();
	struct tuple key = { ops->local_ip4, ops->remote_ip4, ops->local_port, bpf_ntohl(ops->remote_port) };

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	if (ops->family == AF_INET && !bpf_sock_hash_update(ops, &sockets, &key, BPF_NOEXIST) && count)
		count->sockets++;
	return 1;
}

SEC("sk_msg")
int bypass_verdict(struct sk_msg_md *msg)
{
	struct bypass_counts *count = own_counts();
	struct tuple key = { msg->remote_ip4, msg->local_ip4, bpf_ntohl(msg->remote_port), msg->local_port };
	__u32 size = msg->size;

	if (bpf_msg_redirect_hash(msg, &sockets, &key, BPF_F_INGRESS) == SK_PASS && count) {
		count->redirected_msgs++;
		count->redirected_bytes += size;
	}
	return SK_PASS; /* not found: through TCP */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
