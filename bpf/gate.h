/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The arithmetic of the gate: given what was read from the kernel, may this message be redirected?
 *
 * Pure functions, so that they compile for BPF and for the unit tests alike. Numbers in parentheses are rows of
 * KERNEL-FACTS. All sums are 64-bit: an sk_msg is at most some 544 KiB, but nothing here depends on that.
 */
#ifndef SMACCEL_GATE_H
#define SMACCEL_GATE_H

#include <linux/types.h>

#include "shared.h"

/* However large tcp_rmem[2] is, no more than the kernel's default (6 MiB) would allow: a sender with a time-out or a
 * POLLOUT loop must come to its end about where plain TCP's buffers would be full. */
#define GATE_AUTOTUNE_MAX (5 * 1024 * 1024)
/* So much of a buffer TCP never fills: measured, 1/1000 to 1/15, and a segment comes in if there was room before it. */
#define GATE_ALWAYS_FREE 512
/* scaling_ratio is in 1/256; kernels below 6.6 have none and account about twice the payload. */
#define GATE_SCALING_ONE 256u
#define GATE_SCALING_BEFORE_6_6 128u

/* From this size on a message is worth a wait for the reader (gate_would_wait). Measured on two CPUs, ratio to TCP with and
 * without passing: 16 KiB 1.0 and 0.4 to 0.7, 32 KiB 1.5 and 1.0, 48 KiB 1.5 and 1.1, 64 KiB 1.5 and 1.7, 256 KiB 0.9 and 2.0. */
#define GATE_WORTH_A_WAIT_BYTES (64 * 1024)

/* A redirected message is a struct sk_msg until it is read: 1 KiB of the kernel's memory, which it charges to nobody, be the message of one byte.
 * TCP puts small ones together. So many of them may be unread; what is larger the bound on bytes bounds, too. */
#define GATE_SMALL_BYTES 1024
#define GATE_SMALL_UNREAD_MAX 1024

enum gate_decision {
	GATE_REDIRECT = 0,
	GATE_PASS = 1,       /* not armed, off, pinned, shut down, not the socket the slot means */
	GATE_PASS_ORDER = 2, /* passed bytes are unread (invariant 1) */
	GATE_SPILL = 3,      /* the bound is reached (invariant 4) */
	GATE_PASS_ACK = 4,   /* it carries an ACK that the peer needs */
	GATE_PASS_BUSY = 5,  /* the reader is at work on its socket: gate_would_wait() */
};

/* The receiving end, as far as the bound depends on it. */
struct gate_receiver {
	__u32 rmem_alloc;
	__u32 rcvbuf;
	__u32 sndbuf;   /* of the same socket */
	__u32 rmem_max; /* tcp_rmem[2] of the receiver's network namespace */
	__u32 window;   /* bytes that it has promised to take from TCP: gate_window() */
	__u32 scaling_ratio;
	__u8 rcvbuf_locked;          /* SO_RCVBUF was set */
	__u8 rmem_counts_redirected; /* fact 12: 6.1.123, 6.12.8 and later */
	__u8 redirected_unread;      /* its psock queue is not empty */
	__u8 lock_owned;             /* a call holds the socket's lock: it copies, most of that time */
};

/* Invariant 1: every byte the sender ever passed has been read by the peer's application. */
static inline int gate_order_holds(__u32 write_seq, __u32 copied_seq)
{
	return write_seq == copied_seq;
}

/* The redirect takes the receiving socket's lock (tcp_bpf_sendmsg_redir), and sleeps for it while the reader copies, be it 256 KiB;
 * TCP leaves such a segment on the socket's backlog. Of small messages many fall into each such time, and each costs two
 * context switches and a wake-up. */
static inline int gate_would_wait(const struct gate_receiver *to, __u32 size)
{
	return to->lock_owned && size < GATE_WORTH_A_WAIT_BYTES;
}

/* The receive window still open, as tcp_receive_window() computes it. */
static inline __u32 gate_window(__u32 rcv_wup, __u32 rcv_wnd, __u32 rcv_nxt)
{
	__s32 window = (__s32)(rcv_wup + rcv_wnd - rcv_nxt);

	return window < 0 ? 0 : (__u32)window;
}

/* What that window can cost in sk_rmem_alloc once TCP fills it. */
static inline __u64 gate_window_truesize(__u32 window, __u32 scaling_ratio)
{
	__u32 ratio = scaling_ratio ? scaling_ratio : GATE_SCALING_BEFORE_6_6;

	return (__u64)window * GATE_SCALING_ONE / ratio;
}

/* Kept free, for segments that take more than the ratio says. */
static inline __u32 gate_reserve(__u32 rmem_max)
{
	__u32 part = rmem_max / 4;

	return part < GATE_AUTOTUNE_RESERVE_MAX ? part : GATE_AUTOTUNE_RESERVE_MAX;
}

/* What comes while a call holds the receiver's lock waits on sk_backlog, and is dropped (TCPBacklogDrop) if that and sk_rmem_alloc are more
 * than 2 * sk_rcvbuf + sk_sndbuf / 2 + 64 KiB (tcp_add_backlog(); since 6.10, and the stable kernels of that time, all of which count redirected
 * bytes only later). A RST that is dropped never comes again, and the reader sleeps for ever. So the kernel keeps what it wants for TCP:
 * one sk_rcvbuf, and the 64 KiB. */
static inline int gate_leaves_backlog(const struct gate_receiver *to, __u32 size)
{
	return (__u64)to->rmem_alloc + size <= (__u64)to->rcvbuf + to->sndbuf / 2;
}

/* Once TCP has sent what the window promises it there is more than the receive buffer holds as it is. What the window costs is not taken at
 * its worst here, as in gate_has_room(): a window at its beginning would leave nothing. Local segments are of up to 64 KiB, and cost 1.05 to
 * 1.1 of what they hold. */
static inline int gate_needs_growth(const struct gate_receiver *to, __u32 size)
{
	return (__u64)to->rmem_alloc + size + to->window + to->window / 4 > to->rcvbuf;
}

/* Fact 12b: room for redirected bytes that never makes the receiver drop what is passed. What is unread and all that its window promises
 * TCP have to fit: into the buffer, or into what an auto-tuned one may grow to. One that was filled by TCP once promises all of it, for good
 * if nothing passes any more; then there is still the little by which the kernel fills it less than whole. And three quarters of what does not
 * grow, or hardly, stay free, or the kernel, which adds redirected bytes to what is unread, would say that its window is closed. */
static inline int gate_has_room(const struct gate_receiver *to, __u32 size, __u32 test_bound)
{
	__u64 wanted = (__u64)to->rmem_alloc + size;
	__u64 with_window = wanted + gate_window_truesize(to->window, to->scaling_ratio);
	int may_grow = !to->rcvbuf_locked && to->rmem_max >= GATE_AUTOTUNE_MIN;

	/* Fact 12, old kernels: unread redirected bytes are in no counter, so only one message is ever on its way. */
	if (!to->rmem_counts_redirected && to->redirected_unread)
		return 0;
	if (test_bound && wanted > test_bound)
		return 0;
	if (to->rcvbuf >= GATE_RCVBUF_MIN && wanted <= to->rcvbuf / GATE_ALWAYS_FREE)
		return 1;
	if (may_grow ? wanted > GATE_AUTOTUNE_MAX : to->rcvbuf < GATE_RCVBUF_MIN || wanted > to->rcvbuf / 4)
		return 0;
	if (to->rmem_counts_redirected && !gate_leaves_backlog(to, size))
		return 0;
	return to->rcvbuf_locked ? with_window <= to->rcvbuf : with_window + gate_reserve(to->rmem_max) <= to->rmem_max;
}

/* The memory cgroup of the receiver: max and usage of its limit, and what can be got back of it, in pages. Some stays free, for
 * the kernel charges for other sockets, and for the reader itself, at the same time and in batches. What a reader leaves unread is in its own
 * cgroup when it is redirected, and hardly more than a first window of it when TCP has it: beyond that so much stays free that many
 * others could do the same, or half of all. */
#define GATE_PAGE_BYTES 4096u /* where they are larger, fewer are charged */
#define GATE_MEMORY_SPARE_MAX 4096u
#define GATE_MEMORY_TCP_HOLDS (128u * 1024)
#define GATE_MEMORY_OTHERS 64u
/* So much of a direction may be unread without a look for each message: one in each tick of the clock. */
#define GATE_MEMORY_UNSEEN (64u * 1024)

static inline int gate_memory_has_room(__u64 max, __u64 usage, __u64 reclaimable, __u32 unread, __u32 size)
{
	__u64 spare = max / 16 < GATE_MEMORY_SPARE_MAX ? max / 16 : GATE_MEMORY_SPARE_MAX;
	__u64 held = ((__u64)unread + size) / GATE_PAGE_BYTES * GATE_MEMORY_OTHERS;

	if ((__u64)unread + size > GATE_MEMORY_TCP_HOLDS) {
		held = held < max / 2 ? held : max / 2;
		spare = held > spare ? held : spare;
	}
	if ((__s64)usage < 0) /* it lags behind what CPUs give back */
		usage = 0;
	return usage + size / GATE_PAGE_BYTES + 1 + spare <= max + reclaimable;
}

/* Whether a small message may join those that are unread. Of these only the bytes are known, no fewer than there are messages; but what had been
 * sent when a certain byte was has been read when that one has. So what was unread at that time counts until then, and all that came since.
 * rmem_alloc: redirected bytes alone, as all that was passed has been read (where it does not count them, one message at a time is on its way). */
static inline int gate_may_queue(struct sm_small *small, __u32 rmem_alloc, __u32 redirected_bytes)
{
	/* Less than 1 GiB behind it: else it is long past. */
	if (!rmem_alloc || redirected_bytes - rmem_alloc - small->mark_byte < 0xc0000000u) {
		small->read = rmem_alloc ? small->mark : small->sent;
		small->mark = small->sent;
		small->mark_byte = redirected_bytes;
	}
	return rmem_alloc < GATE_SMALL_UNREAD_MAX || small->sent - small->read < GATE_SMALL_UNREAD_MAX;
}

#endif
