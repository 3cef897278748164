/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the BPF programs and user space share: the layout of every map value, and what the gate (gate.h) asks of a receive buffer.
 *
 * The values live in maps that are pinned under the pin directory, so that a restarted
 * helper takes over what runs. Any change of a layout here raises SM_ABI; a helper that
 * finds pins of another ABI sets their kill switch, leaves them to run out and pins its own in their place.
 */
#ifndef SMACCEL_SHARED_H
#define SMACCEL_SHARED_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define SM_ABI 2
#define SM_SLOTS_DEFAULT 32768

/* Below this a receive buffer leaves no room that does not make the kernel drop passed segments (12b). */
#define GATE_RCVBUF_MIN (128 * 1024)
/* Kept free below tcp_rmem[2] on an auto-tuned socket (12b): a quarter, and not more than this. */
#define GATE_AUTOTUNE_RESERVE_MAX (1024 * 1024)
/* With a tcp_rmem[2] below this the size that a buffer has counts, not what it may have (12b). */
#define GATE_AUTOTUNE_MIN (1024 * 1024)

/* A pair is kept in one slot; side 0 and side 1 are its two ends. direction[i] is what side i sends. */
#define SM_SIDES 2

enum sm_slot_state {
	SM_SLOT_FREE = 0,      /* nothing here; the verdict passes */
	SM_SLOT_INSERTING = 1, /* the helper is at work on one end; a helper that starts deletes what it finds so */
	SM_SLOT_JOINED = 2,    /* one end or both are in the sockhash; the verdict passes */
	SM_SLOT_ARMED = 3,     /* both ends joined and proved to be peers: the verdict may redirect */
};

/* Small messages that an end has sent, by their numbers, which wrap: gate_may_queue(). The verdict's own. */
struct sm_small {
	__u32 sent;
	__u32 read;      /* so many of them have been read, at least */
	__u32 mark;      /* so many will have been once ... */
	__u32 mark_byte; /* ... the peer has read this redirected byte */
};

/* sk_storage of an end: which slot and side it is. generation must equal the slot's. */
struct sm_endref {
	__u32 slot;
	__u32 side;
	__u32 generation;
	__u32 memory_tick; /* the verdict's: when it last saw that the reader's cgroup has room; 0 at first */
	struct sm_small small;
};

/* Counters of one direction. One writer: the verdict of the sending end, under that socket's lock. One cache line. */
struct sm_direction {
	__u64 redirected_msgs;
	__u64 redirected_bytes;
	__u64 passed_msgs;
	__u64 passed_bytes;
	__u64 spills;       /* messages passed because the bound was reached */
	__u64 order_passes; /* messages passed because passed bytes were still unread */
	__u64 last_held;    /* the last message passed, and not for an ACK's sake: the next one may well pass, too */
	__u64 busy_passes;  /* messages passed because the reader was at work on its socket */
};

struct sm_end {
	__u64 cookie;       /* SO_COOKIE; 0: this end has not joined */
	__u64 sk;           /* kernel address of the struct sock; may be stale: compare skc_cookie */
	__u32 sent_initial; /* E: (u32)(snd_una - bytes_acked), constant for the life of a connection */
	__u32 recv_initial; /* R: (u32)(rcv_nxt - bytes_received) */
	__u32 pid;          /* of the process that joined it, in the helper's pid namespace; for display */
	__u32 uid;          /* owner; authoritative (SO_PEERCRED / SCM_CREDENTIALS) */
	__u8 address[16];   /* of this end, network order; IPv4 as ::ffff:a.b.c.d */
	__u16 port_n;
	__u16 family;      /* AF_INET, AF_INET6: of the socket, for display */
	__u32 reserved[3]; /* fills the line: the counters below start on one of their own */
};

struct sm_slot {
	__u32 generation; /* raised each time the slot is taken */
	__u32 state;      /* enum sm_slot_state */
	__u32 pins;       /* bit i: direction[i] always passes */
	__u32 pin_reason; /* enum sm_reason of the first pin; for display */
	__u64 netns_cookie;
	__u64 joined_at_ns; /* CLOCK_MONOTONIC */
	__u64 reserved[4];
	struct sm_end end[SM_SIDES];
	struct sm_direction direction[SM_SIDES];
};
_Static_assert(sizeof(struct sm_direction) == 64, "a cache line a direction");
_Static_assert(sizeof(struct sm_slot) == 320 && __builtin_offsetof(struct sm_slot, direction) % 64 == 0, "map value");

/* What the gate leaves out: invariant 1, the look at the reader's memory cgroup. */
enum sm_test_without { SM_TEST_WITHOUT_ORDER = 1, SM_TEST_WITHOUT_MEMORY = 2 };

/* One page of switches and of what must outlive a helper. Written by the helper only. */
struct sm_switches {
	__u32 abi;               /* this and the next stay where they are, whatever SM_ABI */
	__u32 off;               /* kill switch: every verdict passes */
	__u32 test_without;      /* tests only, never set in production: enum sm_test_without */
	__u32 test_bound_bytes;  /* tests only: an upper limit of the bound; 0: none */
	__u64 helper_generation; /* raised by each helper that starts */
	/* Sums over slots that were freed; live slots are added by whoever reports. */
	__u64 pairs_armed_total;
	__u64 sockets_joined_total;
	__u64 leaves_total;
	struct sm_direction retired; /* counters of freed slots, both directions */
};

/* What the syscall programs say of one socket. Read without a lock: one sample may be torn, so a failed
 * proof is retried, never taken as final. */
struct sm_facts {
	__u64 sk;
	__u64 cookie;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 netns_cookie;
	__u32 write_seq;
	__u32 copied_seq;
	__u32 snd_una;
	__u32 rcv_nxt;
	__u32 blocked_threads; /* wait queue entries whose func is woken_wake_function: asleep in recv or send */
	__u32 psock_refs;      /* 0: no psock */
	__u32 psock_queued;    /* ingress_msg is not empty */
	__u32 rmem_alloc;
	__u8 tcp_state;
	__u8 shutdown;   /* sk_shutdown */
	__u8 found;      /* the address still names the socket with that cookie */
	__u8 lock_owned; /* a call holds the socket's lock: who wants it now sleeps, beyond the reach of signals */
	__u32 holders; /* references to its struct file: fds of all processes, those in flight, calls under way; 0: closed */
	__u32 blocked_own; /* blocked_threads of the process that is asked for */
	__u32 polling_own; /* entries of its threads that are in poll() or select() of it: each has a reference */
};
_Static_assert(sizeof(struct sm_facts) == 88, "no padding: all of it is written to user space");

/* Socket options that a joined end cannot honour, as they are set. */
enum sm_options {
	SM_OPTION_ZEROCOPY = 1 << 0,
	SM_OPTION_LOWAT = 1 << 1, /* SO_RCVLOWAT above 1 */
	SM_OPTION_OOB_INLINE = 1 << 2,
	SM_OPTION_PEEK_OFF = 1 << 3,
	SM_OPTION_TIMESTAMP = 1 << 4, /* SO_TIMESTAMP and SO_TIMESTAMPNS, old and new, and SO_TIMESTAMPING */
	SM_OPTION_REPAIR = 1 << 5,
	SM_OPTION_INQ = 1 << 6,
	SM_OPTION_FILTER = 1 << 7, /* SO_ATTACH_FILTER or SO_ATTACH_BPF */
	SM_OPTION_PACED = 1 << 8,  /* SO_MAX_PACING_RATE or TCP_TX_DELAY */
	SM_OPTION_HOPS = 1 << 9,   /* IP_MINTTL or IPV6_MINHOPCOUNT */
};

/* Context of the syscall program smaccel_look: the socket that the caller has under an fd. */
struct sm_look {
	__s32 fd;           /* in */
	__u8 is_tcp;        /* else nothing of what follows is filled in */
	__u8 has_ulp;       /* kTLS or another upper layer protocol */
	__u16 family;       /* AF_INET, AF_INET6 */
	__u16 local_port_n; /* 0: not connected, as the other */
	__u16 remote_port_n;
	__u8 local[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u32 options; /* enum sm_options */
	struct sm_facts facts;
};

/* Context of the syscall program smaccel_inspect: two sockets by their addresses, one after the other. */
struct sm_inspect {
	struct {
		__u64 sk;     /* in; 0: none, and facts.found is 0 */
		__u64 cookie; /* in: 0 accepts any */
		__u32 tgid;   /* in: for blocked_own; 0: of none */
		__u32 reserved;
		struct sm_facts facts;
	} of[SM_SIDES];
};

/* Context of the syscall program smaccel_count_fds: how many of a socket's fds has the process that made that unix socket of the caller's? */
#define SM_FDS_UNKNOWN 0xffffffffu
struct sm_fds {
	__u64 sk;
	__u64 cookie;
	__s32 channel;
	__u32 most;  /* more are not counted */
	__u32 count; /* out; SM_FDS_UNKNOWN: they would be beyond the first 65536 numbers */
	__u32 reserved;
};

/* What the syscall program smaccel_roll_call works on: its own memory, mapped by the helper. */
#define SM_ROLL_MAX 64
struct sm_roll {
	__u32 count; /* in */
	__u32 reserved;
	struct {
		__u64 sk;
		__u64 cookie;
	} of[SM_ROLL_MAX];         /* in */
	__u8 present[SM_ROLL_MAX]; /* out: the socket lives and is in a sockmap */
};

#endif
