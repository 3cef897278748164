/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The BPF side: the verdict that redirects or passes each message, and two programs that tell the helper what only
 * the kernel knows about a socket.
 *
 * The verdict runs under the sender's socket lock, once for each sk_msg (at most some 544 KiB of a send). It keeps no
 * state of its own: all it looks at is the slot, which the helper writes, and the two sockets as they are now. So a
 * helper may die at any moment (fact 21), and a wrong moment can only make a message pass.
 *
 * The receiving socket is named twice: by cookie, which is what the redirect looks up, and by address, through which
 * its sequence number and queue are read. TCP sockets are type-stable memory, so a stale address reads some other
 * socket; its cookie then differs and the message passes.
 */
#include "kernel.h"

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "gate.h"
#include "shared.h"

/* Entries of a socket's wait queue looked at, at most: one a blocked thread or poll/epoll registration. */
#define WAIT_QUEUE_MAX 256
#define BLOCKED_UNKNOWN 0xffffffffu /* could not be told: the helper takes it as "somebody is" */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set by the loader for the kernel at hand. */
const volatile bool use_rdonly_cast = false;        /* 6.2 and later */
const volatile bool rmem_counts_redirected = false; /* fact 12 */
/* Where blocked threads sleep (fact 19b); 0: not known. From kallsyms, which the loader reads once for all its programs:
 * as a __ksym libbpf would read the whole of it at each load. */
const volatile __u64 woken_wake_function_address = 0;

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, SM_SIDES); /* the loader sets it from the number of slots */
	__type(key, __u64);
	__type(value, __u64);
} smaccel_sockhash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sm_endref);
} smaccel_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SM_SLOTS_DEFAULT); /* the loader sets it */
	__type(key, __u32);
	__type(value, struct sm_slot);
} smaccel_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sm_switches);
} smaccel_switches SEC(".maps");

/* Where the helper puts a socket for a moment, to have the iterator look at it. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} smaccel_stage SEC(".maps");

/* ---- the verdict ---- */

/* What the verdict wants to know of the receiving socket. */
struct peer_view {
	__u64 cookie;
	__u32 copied_seq;
	__u8 shutdown;
	struct gate_receiver receiver;
};

#define PEER_SOCK inet_conn.icsk_inet.sk
#define PEER_COMMON PEER_SOCK.__sk_common

static __always_inline bool psock_queue_empty(const void *user_data)
{
	struct sk_psock *psock = (void *)((__u64)user_data & ~(__u64)SK_USER_DATA_FLAGS);

	if (!((__u64)user_data & SK_USER_DATA_PSOCK))
		return true;
	return BPF_CORE_READ(psock, ingress_msg.next) == &psock->ingress_msg;
}

/* 6.2 and later: plain loads that the verifier makes fault-safe. */
static __always_inline void peer_read_cast(struct peer_view *view, __u64 address)
{
	const struct tcp_sock *peer = bpf_rdonly_cast((const void *)address, bpf_core_type_id_kernel(struct tcp_sock));
	const struct net *net = peer->PEER_COMMON.skc_net.net;
	const struct sock *sk = &peer->PEER_SOCK;

	view->cookie = peer->PEER_COMMON.skc_cookie.counter;
	view->copied_seq = peer->copied_seq;
	view->shutdown = peer->PEER_SOCK.sk_shutdown;
	view->receiver.rmem_alloc = peer->PEER_SOCK.sk_backlog.rmem_alloc.counter;
	view->receiver.rcvbuf = peer->PEER_SOCK.sk_rcvbuf;
	view->receiver.rmem_max = net->ipv4.sysctl_tcp_rmem[2];
	view->receiver.window = gate_window(peer->rcv_wup, peer->rcv_wnd, peer->rcv_nxt);
	if (bpf_core_field_exists(peer->scaling_ratio))
		view->receiver.scaling_ratio = peer->scaling_ratio;
	view->receiver.rcvbuf_locked = BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SK_SOCK_RCVBUF_LOCK;
	if (!rmem_counts_redirected)
		view->receiver.redirected_unread = !psock_queue_empty(peer->PEER_SOCK.sk_user_data);
}

static __always_inline void peer_read_probe(struct peer_view *view, __u64 address)
{
	const struct tcp_sock *peer = (const void *)address;
	const struct sock *sk = &peer->PEER_SOCK;

	view->cookie = BPF_CORE_READ(peer, PEER_COMMON.skc_cookie.counter);
	view->copied_seq = BPF_CORE_READ(peer, copied_seq);
	view->shutdown = BPF_CORE_READ(peer, PEER_SOCK.sk_shutdown);
	view->receiver.rmem_alloc = BPF_CORE_READ(peer, PEER_SOCK.sk_backlog.rmem_alloc.counter);
	view->receiver.rcvbuf = BPF_CORE_READ(peer, PEER_SOCK.sk_rcvbuf);
	view->receiver.rmem_max = BPF_CORE_READ(peer, PEER_COMMON.skc_net.net, ipv4.sysctl_tcp_rmem[2]);
	view->receiver.window =
		gate_window(BPF_CORE_READ(peer, rcv_wup), BPF_CORE_READ(peer, rcv_wnd), BPF_CORE_READ(peer, rcv_nxt));
	if (bpf_core_field_exists(peer->scaling_ratio))
		view->receiver.scaling_ratio = BPF_CORE_READ(peer, scaling_ratio);
	view->receiver.rcvbuf_locked = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SK_SOCK_RCVBUF_LOCK;
	if (!rmem_counts_redirected)
		view->receiver.redirected_unread = !psock_queue_empty(BPF_CORE_READ(peer, PEER_SOCK.sk_user_data));
}

/* The kernel's own flag lies behind a pointer of the protocol; the symbol itself is not in every kallsyms. */
static __always_inline bool tcp_under_pressure(const struct tcp_sock *own)
{
	unsigned long *flag = own->PEER_COMMON.skc_prot->memory_pressure;
	unsigned long pressure = 1;

	/* A word behind a pointer: read as the first one of a structure that is known to every kernel. */
	if (use_rdonly_cast)
		return ((const struct list_head *)bpf_rdonly_cast(flag, bpf_core_type_id_kernel(struct list_head)))
			->next;
	if (bpf_probe_read_kernel(&pressure, sizeof(pressure), flag))
		return true;
	return pressure != 0;
}

/* The gate of the design. The cheap tests come first: a connection that is not armed pays for nothing else. */
static __always_inline enum gate_decision verdict_decide(const struct tcp_sock *own, const struct sm_slot *slot,
							 __u64 side, __u32 size, const struct sm_switches *switches)
{
	const struct sm_end *self = side ? &slot->end[1] : &slot->end[0];
	const struct sm_end *other = side ? &slot->end[0] : &slot->end[1];
	struct peer_view peer = {};

	if (*(volatile const __u32 *)&switches->off || *(volatile const __u32 *)&slot->state != SM_SLOT_ARMED)
		return GATE_PASS;
	if (*(volatile const __u32 *)&slot->pins & (side ? 2 : 1))
		return GATE_PASS;
	if (own->PEER_SOCK.sk_shutdown & SK_SEND_SHUTDOWN) /* fact 14 */
		return GATE_PASS;
	if (!self->cookie || (__u64)own->PEER_COMMON.skc_cookie.counter != self->cookie)
		return GATE_PASS;

	peer.receiver.rmem_counts_redirected = rmem_counts_redirected;
	if (use_rdonly_cast)
		peer_read_cast(&peer, other->sk);
	else
		peer_read_probe(&peer, other->sk);
	/* A receiver that will not read any more is left to TCP, which knows what to tell the sender. */
	if (!other->cookie || peer.cookie != other->cookie || (peer.shutdown & SK_RCV_SHUTDOWN))
		return GATE_PASS;
	if (!gate_order_holds(own->write_seq, peer.copied_seq) && !switches->test_no_order)
		return GATE_PASS_ORDER;
	if (!gate_has_room(&peer.receiver, size, switches->test_bound_bytes) || tcp_under_pressure(own))
		return GATE_SPILL;
	/* An ACK is owed to a peer whose own messages are held to TCP: this one carries it. Redirected, it would not, and the
	 * peer's next would sit in Nagle's algorithm until the delayed ACK's timer: 40 ms a turn. Not for any ACK: two ends
	 * that answer each other by TCP always owe one, and would never begin to redirect. */
	if ((own->inet_conn.icsk_ack.pending & ICSK_ACK_SCHED) &&
	    *(volatile const __u64 *)(side ? &slot->direction[0].last_held : &slot->direction[1].last_held))
		return GATE_PASS_ACK;
	return GATE_REDIRECT;
}

SEC("sk_msg")
int smaccel_verdict(struct sk_msg_md *msg)
{
	__u32 size = msg->size, zero = 0, index;
	struct bpf_sock *sk = msg->sk;
	struct sm_switches *switches;
	struct sm_direction *direction;
	enum gate_decision decision;
	struct sm_endref *ref;
	struct tcp_sock *own;
	struct sm_slot *slot;
	__u64 side, key;

	if (!sk)
		return SK_PASS;
	ref = bpf_sk_storage_get(&smaccel_storage, sk, NULL, 0);
	if (!ref)
		return SK_PASS;
	index = ref->slot;
	slot = bpf_map_lookup_elem(&smaccel_slots, &index);
	switches = bpf_map_lookup_elem(&smaccel_switches, &zero);
	own = bpf_skc_to_tcp_sock(sk);
	if (!slot || !switches || !own || *(volatile __u32 *)&slot->generation != ref->generation)
		return SK_PASS;

	side = ref->side & 1;
	direction = side ? &slot->direction[1] : &slot->direction[0];
	decision = verdict_decide(own, slot, side, size, switches);
	if (decision == GATE_REDIRECT) {
		key = side ? slot->end[0].cookie : slot->end[1].cookie;
		/* A failed look-up says SK_DROP, which the sender would see as EACCES (fact 13): it means "pass". */
		if (bpf_msg_redirect_hash(msg, &smaccel_sockhash, &key, BPF_F_INGRESS) == SK_PASS) {
			direction->redirected_msgs++;
			direction->redirected_bytes += size;
			direction->last_held = 0;
			return SK_PASS;
		}
	}
	direction->passed_msgs++;
	direction->passed_bytes += size;
	direction->last_held = decision != GATE_PASS_ACK;
	if (decision == GATE_SPILL)
		direction->spills++;
	else if (decision == GATE_PASS_ORDER)
		direction->order_passes++;
	return SK_PASS;
}

/* ---- what the helper asks ---- */

/* 0 or 1. No process has the number 0. */
static __always_inline __u64 is_of_process(const struct task_struct *task, __u32 tgid)
{
	__u32 difference = (__u32)BPF_CORE_READ(task, tgid) ^ tgid;

	return ~(difference | -difference) >> 31;
}

/* Threads asleep in recv or send on the socket (fact 19b); in the upper half those of that process. The queue is walked without
 * its lock: whatever looks torn makes the answer "unknown". One sum, and no branch for the process: the verifier follows every
 * value that it can tell from others, round by round (with a branch on tgid: 2.5 s on 6.18). */
static __always_inline __u64 count_blocked(const struct sock *sk, __u32 tgid)
{
	const struct socket_wq *wq = BPF_CORE_READ(sk, sk_wq);
	const __u64 wanted = woken_wake_function_address;
	const struct list_head *head, *next;
	__u64 counts = 0;

	if (!wanted)
		return BLOCKED_UNKNOWN;
	if (!wq) /* closed by its last owner */
		return 0;
	head = &wq->wait.head;
	next = BPF_CORE_READ(head, next);
	for (int i = 0; i < WAIT_QUEUE_MAX; i++) {
		const struct wait_queue_entry *entry;

		if (next == head)
			return counts;
		if (!next)
			return BLOCKED_UNKNOWN;
		entry = (const void *)next - bpf_core_field_offset(struct wait_queue_entry, entry);
		if ((__u64)BPF_CORE_READ(entry, func) == wanted)
			counts += 1 + (is_of_process(BPF_CORE_READ(entry, private), tgid) << 32);
		next = BPF_CORE_READ(next, next);
	}
	return BLOCKED_UNKNOWN;
}

static __always_inline void read_psock(struct sm_facts *facts, const struct sock *sk)
{
	void *user_data = BPF_CORE_READ(sk, sk_user_data);
	struct sk_psock *psock = (void *)((__u64)user_data & ~(__u64)SK_USER_DATA_FLAGS);

	if (!((__u64)user_data & SK_USER_DATA_PSOCK))
		return;
	facts->psock_refs = BPF_CORE_READ(psock, refcnt.refs.counter);
	facts->psock_queued = !psock_queue_empty(user_data);
}

/* Who could still read or close it. Other processes may change it at any moment; an answer of one is final if it was
 * given for the only one's sake. */
static __always_inline __u32 count_holders(const struct sock *sk)
{
	const struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	const struct file *file = socket ? BPF_CORE_READ(socket, file) : NULL;
	const struct file___before_6_13 *old = (const void *)file;

	if (!file)
		return 0;
	if (bpf_core_field_exists(file->f_ref))
		return (__u32)BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	return (__u32)BPF_CORE_READ(old, f_count.counter);
}

/* Everything by fault-safe reads: the address may be stale. cookie 0 accepts any socket. */
static __always_inline void read_facts(struct sm_facts *facts, __u64 address, __u64 cookie, __u32 tgid)
{
	const struct tcp_sock *tcp = (const void *)address;
	const struct sock *sk = &tcp->PEER_SOCK;
	__u64 blocked;

	facts->sk = address;
	facts->cookie = BPF_CORE_READ(tcp, PEER_COMMON.skc_cookie.counter);
	facts->netns_cookie = BPF_CORE_READ(tcp, PEER_COMMON.skc_net.net, net_cookie);
	facts->bytes_acked = BPF_CORE_READ(tcp, bytes_acked);
	facts->bytes_received = BPF_CORE_READ(tcp, bytes_received);
	facts->snd_una = BPF_CORE_READ(tcp, snd_una);
	facts->rcv_nxt = BPF_CORE_READ(tcp, rcv_nxt);
	facts->write_seq = BPF_CORE_READ(tcp, write_seq);
	facts->copied_seq = BPF_CORE_READ(tcp, copied_seq);
	facts->rmem_alloc = BPF_CORE_READ(tcp, PEER_SOCK.sk_backlog.rmem_alloc.counter);
	facts->tcp_state = BPF_CORE_READ(tcp, PEER_COMMON.skc_state);
	facts->shutdown = BPF_CORE_READ(tcp, PEER_SOCK.sk_shutdown);
	read_psock(facts, sk);
	blocked = count_blocked(sk, tgid);
	facts->blocked_threads = (__u32)blocked;
	facts->blocked_own = blocked >> 32;
	facts->holders = count_holders(sk);
	/* Last: had the memory become another socket on the way, the cookie would have changed. */
	facts->found = BPF_CORE_READ(tcp, PEER_COMMON.skc_refcnt.refs.counter) > 0 &&
		       (__u64)BPF_CORE_READ(tcp, PEER_COMMON.skc_cookie.counter) == facts->cookie &&
		       (!cookie || cookie == facts->cookie);
}

SEC("iter/sockmap")
int smaccel_facts(struct bpf_iter__sockmap *ctx)
{
	struct sm_facts facts = {};
	struct sock *sk = ctx->sk;

	if (!sk) /* the call after the last element */
		return 0;
	read_facts(&facts, (__u64)sk, 0, 0);
	bpf_seq_write(ctx->meta->seq, &facts, sizeof(facts));
	return 0;
}

SEC("syscall")
int smaccel_inspect(struct sm_inspect *ctx)
{
	struct sm_facts facts = {};

	read_facts(&facts, ctx->sk, ctx->cookie, ctx->tgid);
	ctx->facts = facts;
	return 0;
}
