/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The BPF side: the verdict that redirects or passes each message, and two programs that tell the helper what only
 * the kernel knows about a socket.
 *
 * The verdict runs under the sender's socket lock, once for each sk_msg (at most some 544 KiB of a send). It keeps no
 * state of its own but counts: all it looks at is the slot, which the helper writes, and the two sockets as they are now. So a
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

#include "facts.h"
#include "gate.h"
#include "holding.h"
#include "memory.h"
#include "shared.h"

/* As much as a segment of loopback holds, and half as much again. */
#define PASS_WHOLE_BYTES (64 << 10)
#define PASS_APART_BYTES (96 << 10)

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set by the loader for the kernel at hand, as are those of facts.h. */
const volatile bool rmem_counts_redirected = false; /* fact 12 */

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

/* ---- the verdict ---- */

/* What the verdict wants to know of the receiving socket. */
struct peer_view {
	__u64 cookie;
	__u32 copied_seq;
	__u8 shutdown;
	__u64 memcg;
	struct gate_receiver receiver;
};

/* 6.2 and later: plain loads that the verifier makes fault-safe. */
static __always_inline void peer_read_cast(struct peer_view *view, __u64 address)
{
	const struct tcp_sock *peer = cast_tcp(address);
	const struct net *net = peer->PEER_COMMON.skc_net.net;
	const struct sock *sk = &peer->PEER_SOCK;

	view->cookie = peer->PEER_COMMON.skc_cookie.counter;
	view->copied_seq = peer->copied_seq;
	view->shutdown = peer->PEER_SOCK.sk_shutdown;
	if (bpf_core_field_exists(peer->PEER_SOCK.sk_memcg))
		view->memcg = (__u64)peer->PEER_SOCK.sk_memcg;
	view->receiver.rmem_alloc = peer->PEER_SOCK.sk_backlog.rmem_alloc.counter;
	view->receiver.lock_owned = peer->PEER_SOCK.sk_lock.owned != 0;
	view->receiver.rcvbuf = peer->PEER_SOCK.sk_rcvbuf;
	view->receiver.sndbuf = peer->PEER_SOCK.sk_sndbuf;
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
	if (bpf_core_field_exists(peer->PEER_SOCK.sk_memcg))
		view->memcg = (__u64)BPF_CORE_READ(peer, PEER_SOCK.sk_memcg);
	view->receiver.rmem_alloc = BPF_CORE_READ(peer, PEER_SOCK.sk_backlog.rmem_alloc.counter);
	view->receiver.lock_owned = BPF_CORE_READ(peer, PEER_SOCK.sk_lock.owned) != 0;
	view->receiver.rcvbuf = BPF_CORE_READ(peer, PEER_SOCK.sk_rcvbuf);
	view->receiver.sndbuf = BPF_CORE_READ(peer, PEER_SOCK.sk_sndbuf);
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
	return kernel_word(own->PEER_COMMON.skc_prot->memory_pressure, 1) != 0;
}

/* While all of TCP's memory is below tcp_mem[0] a receive buffer grows for what comes (tcp_clamp_window()), afterwards not, and what is passed
 * to one that is fuller with redirected bytes is dropped. With some distance, for it may become more before that comes. */
static __always_inline bool receive_buffers_grow(const struct tcp_sock *own)
{
	const struct proto *protocol = own->PEER_COMMON.skc_prot;
	unsigned long low = kernel_word(protocol->sysctl_mem, 0);

	/* Below zero where CPUs have reserved and not used. */
	return (long)kernel_word(protocol->memory_allocated, ~0UL >> 1) < (long)(low - low / 4);
}

static __always_inline __u32 redirected_bytes(const struct sm_slot *slot, __u64 side)
{
	return (__u32)(side ? slot->direction[1].redirected_bytes : slot->direction[0].redirected_bytes);
}

static __always_inline bool reader_may_take(const struct peer_view *peer, struct sm_endref *ref, __u32 size)
{
	__u32 tick = (__u32)bpf_jiffies64() | 1;

	if (!peer->memcg)
		return true;
	if (ref->memory_tick == tick && peer->receiver.rmem_alloc + size < GATE_MEMORY_UNSEEN)
		return true;
	ref->memory_tick = memory_has_room(peer->memcg, peer->receiver.rmem_alloc, size) ? tick : 0;
	return ref->memory_tick != 0;
}

/* The gate of the design. The cheap tests come first: a connection that is not armed pays for nothing else. */
static __always_inline enum gate_decision verdict_decide(const struct tcp_sock *own, const struct sm_slot *slot,
							 struct sm_endref *ref, __u32 size,
							 const struct sm_switches *switches)
{
	__u64 side = ref->side & 1;
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
	if (!gate_order_holds(own->write_seq, peer.copied_seq) && !(switches->test_without & SM_TEST_WITHOUT_ORDER))
		return GATE_PASS_ORDER;
	if (!gate_has_room(&peer.receiver, size, switches->test_bound_bytes) || tcp_under_pressure(own))
		return GATE_SPILL;
	if (gate_needs_growth(&peer.receiver, size) && !receive_buffers_grow(own))
		return GATE_SPILL;
	if (size < GATE_SMALL_BYTES &&
	    !gate_may_queue(&ref->small, peer.receiver.rmem_alloc, redirected_bytes(slot, side)))
		return GATE_SPILL;
	if (gate_would_wait(&peer.receiver, size))
		return GATE_PASS_BUSY;
	if (!reader_may_take(&peer, ref, size) && !(switches->test_without & SM_TEST_WITHOUT_MEMORY))
		return GATE_SPILL;
	/* An ACK is owed to a peer whose own messages are held to TCP: this one carries it. Redirected, it would not, and the
	 * peer's next would sit in Nagle's algorithm until the delayed ACK's timer: 40 ms a turn. Not for any ACK: two ends
	 * that answer each other by TCP always owe one, and would never begin to redirect. */
	if ((own->inet_conn.icsk_ack.pending & ICSK_ACK_SCHED) &&
	    *(volatile const __u64 *)(side ? &slot->direction[0].last_held : &slot->direction[1].last_held))
		return GATE_PASS_ACK;
	return GATE_REDIRECT;
}

/* What passes is handed to TCP one page fragment (of 32 KiB) after the other: two segments where plain TCP makes one, and without TCP_NODELAY
 * Nagle's algorithm may hold the second until the peer's delayed ACK, 40 ms. In one piece it is one segment; what is longer begins with a full
 * one, which does not hold the next. From PASS_APART_BYTES on two fragments after the first fill a segment themselves. Without memory for it
 * the message goes as it is. */
static __always_inline void pass_whole(struct sk_msg_md *msg, __u32 size)
{
	__u64 first = (__u64)msg->data_end - (__u64)msg->data; /* 0: pages of a file, which stay what they are */

	if (first && size > first && size < PASS_APART_BYTES)
		bpf_msg_pull_data(msg, 0, size < PASS_WHOLE_BYTES ? size : PASS_WHOLE_BYTES, 0);
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
	decision = verdict_decide(own, slot, ref, size, switches);
	if (decision == GATE_REDIRECT) {
		key = side ? slot->end[0].cookie : slot->end[1].cookie;
		/* A failed look-up says SK_DROP, which the sender would see as EACCES (fact 13): it means "pass". */
		if (bpf_msg_redirect_hash(msg, &smaccel_sockhash, &key, BPF_F_INGRESS) == SK_PASS) {
			direction->redirected_msgs++;
			direction->redirected_bytes += size;
			ref->small.sent += size < GATE_SMALL_BYTES;
			direction->last_held = 0;
			return SK_PASS;
		}
	}
	pass_whole(msg, size);
	direction->passed_msgs++;
	direction->passed_bytes += size;
	direction->last_held = decision != GATE_PASS_ACK;
	if (decision == GATE_SPILL)
		direction->spills++;
	else if (decision == GATE_PASS_ORDER)
		direction->order_passes++;
	else if (decision == GATE_PASS_BUSY)
		direction->busy_passes++;
	return SK_PASS;
}

/* ---- what the helper asks ---- */

SEC("syscall")
int smaccel_look(struct sm_look *ctx)
{
	struct sm_look look = { .fd = ctx->fd };
	__u64 sk = tcp_socket_of(look.fd);

	if (sk) {
		look.is_tcp = true;
		read_name(&look, (const struct sock *)sk);
		look.options = read_options((const struct sock *)sk);
		read_facts(&look.facts, sk, 0, 0);
	}
	*ctx = look;
	return 0;
}

static __always_inline void inspect(struct sm_facts *out, __u64 sk, __u64 cookie, __u32 tgid)
{
	struct sm_facts facts = {};

	if (sk)
		read_facts(&facts, sk, cookie, tgid);
	*out = facts;
}

SEC("syscall")
int smaccel_inspect(struct sm_inspect *ctx)
{
	inspect(&ctx->of[0].facts, ctx->of[0].sk, ctx->of[0].cookie, ctx->of[0].tgid);
	inspect(&ctx->of[1].facts, ctx->of[1].sk, ctx->of[1].cookie, ctx->of[1].tgid);
	return 0;
}

SEC("syscall")
int smaccel_count_fds(struct sm_fds *ctx)
{
	const struct sock *sk = (const void *)ctx->sk;
	__u32 count = count_fds(sk, ctx->channel, ctx->most);

	ctx->count = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) == (__s64)ctx->cookie ? count : 0;
	return 0;
}

struct sm_roll roll = {};

static long call_one(__u32 index, void *context)
{
	index &= SM_ROLL_MAX - 1;
	roll.present[index] = is_member(roll.of[index].sk, roll.of[index].cookie);
	return 0;
}

SEC("syscall")
int smaccel_roll_call(void *ctx)
{
	bpf_loop(roll.count < SM_ROLL_MAX ? roll.count : SM_ROLL_MAX, call_one, NULL, 0);
	return 0;
}
