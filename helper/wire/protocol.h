/* SPDX-License-Identifier: BSD-2-Clause */
/* The messages between the shim, the command line and the helper.
 *
 * Transport: AF_UNIX SOCK_SEQPACKET, one message one request, at most one fd with it.
 *
 * The *door* is a connection to the helper's socket path. Two kinds of clients use it:
 *  - the shim sends WIRE_HELLO through it with one end of a fresh SEQPACKET socketpair: that pair is the process's
 *    *session*. The door is kept open and may be shared by a process and its children: each message on it carries
 *    SCM_CREDENTIALS, set by the kernel, and these are the credentials of the session. The helper never answers on
 *    the door, it answers WIRE_WELCOME on the session. When the door hangs up, the helper is gone.
 *  - the command line sends WIRE_STATUS, WIRE_CONNECTIONS, WIRE_OFF, WIRE_ON, WIRE_GROUP, WIRE_TRIAL_* and gets one
 *    WIRE_REPLY back on the door. It reads that before it sends the next: else the helper hangs up.
 *
 * The session's far end is duplicated by the shim before it is handed over (the *retractable mailbox*): on a time-out
 * the shim reads its own messages, and the fds in them, back out of the helper's queue.
 *
 * Version rule: every message starts with struct wire_header. A change of a layout or of a meaning raises
 * WIRE_VERSION; the helper closes a session whose HELLO has another version (the shim then stays on plain TCP with
 * REASON_VERSION).
 *
 * All integers are in host order but those named _n.
 */
#ifndef SMACCEL_WIRE_PROTOCOL_H
#define SMACCEL_WIRE_PROTOCOL_H

#include <stdint.h>

/* 2: groups in HELLO, latencies behind the cells of the session memory. 3: parts in the keys of latencies; a window for trials.
 * 4: `awaited` in the ledger. */
#define WIRE_VERSION 4
#define WIRE_MAGIC 0x6d73 /* "sm" */
#define WIRE_MESSAGE_MAX 256
/* Into a receive buffer of less than this (SO_RCVBUF says so much), of a size that the application has set, nothing is redirected. */
#define WIRE_RCVBUF_MIN_BYTES (128 * 1024)
#define WIRE_SOCKET_DEFAULT "/run/smaccel/smaccel.sock"

enum wire_type {
	WIRE_HELLO = 1,   /* door, shim -> helper; fd: the session's far end */
	WIRE_WELCOME = 2, /* session, helper -> shim; fd: the session memory (memory.h) */
	WIRE_OFFER = 3,   /* session, shim -> helper; no fd, no answer but CELL_MATCHED one day */
	WIRE_JOIN = 4,    /* session; fd: the socket. Answer: the cell's word */
	WIRE_PIN = 5,     /* session; fd: the socket. Pins both directions. Answer: the cell's word */
	WIRE_LEAVE = 6,   /* session; fd: the socket. Pins, then takes the pair out. Answer: the cell's word */
	WIRE_RETIRE = 7,  /* session: the application closed this end, or it offers no more; no fd, no answer */
	WIRE_PING = 8,    /* session: the helper writes `nonce` to memory->pong */
	WIRE_LEDGER = 9,  /* session, helper -> shim; fd: a ledger (memory.h) that a cell will refer to by id */
	/* session; no fd, no answer: takes this session's own armed end out for speed's sake. Pins both directions, and when
	 * they are drained takes out both ends, which CELL_TAKEN_OUT tells. Only with WIRE_FEATURE_WITHDRAW. */
	WIRE_WITHDRAW = 12,
	/* session; fd: the socket, about to be closed with redirected bytes unread. Who else has it? Answer: the cell's word, and
	 * `holders` in the cell. Only with WIRE_FEATURE_HOLDERS. */
	WIRE_HOLDERS = 13,
	/* session; fd: the socket, about to be closed, which nothing is redirected to any more. Is a send of the other end still on its
	 * way to it? Answer: the cell's word, and `holders` in the cell. Only with WIRE_FEATURE_LANDING. */
	WIRE_LANDING = 15,
	WIRE_STOPS = 14,  /* session, helper -> shim, before WIRE_WELCOME if at all; fd: which processes were stopped */
	WIRE_STATUS = 16, /* door, command line */
	WIRE_CONNECTIONS = 17,
	WIRE_OFF = 18, /* root (or the helper's own uid) only */
	WIRE_ON = 19,
	/* door, helper -> command line; fd: a memfd of JSON text where the request has a result. To be read while the door is
	 * open, and within some seconds: then the helper takes its memory back. */
	WIRE_REPLY = 20,
	WIRE_GROUP = 21, /* door: the accounts of a group (SMACCEL_GROUP); the user's own, root's those of all users */
	WIRE_TRIAL_START = 22, /* door; as the two that follow for root (or the helper's own uid) only */
	WIRE_TRIAL_STOP = 23,
	WIRE_TRIAL_REPORT = 24,
};

struct wire_header {
	uint16_t magic;
	uint16_t version;
	uint16_t type;
	uint16_t size;       /* of the whole message, header included */
	uint32_t cell;       /* index into the session memory's cells; 0 where none is meant (cell 0 is never used) */
	uint32_t generation; /* of that cell, 24 bits */
};

struct wire_hello {
	struct wire_header header;
	char comm[16]; /* for display only */
	uint64_t
		group; /* SMACCEL_GROUP: whose accounts it counts to, with this user's others of that number; 0: none */
};

struct wire_welcome {
	struct wire_header header;
	uint64_t helper_generation;
	uint32_t features;   /* enum wire_feature */
	uint32_t cell_count; /* of the session memory */
	uint32_t memory_bytes;
	uint32_t reserved;
};

/* What the helper's self-test found this kernel to do (KERNEL-FACTS, fact 6), and what came to the protocol later. */
enum wire_feature {
	WIRE_FEATURE_FIONREAD_COUNTS_TCP = 1 << 0,
	WIRE_FEATURE_FIONREAD_COUNTS_PSOCK = 1 << 1,
	WIRE_FEATURE_WITHDRAW = 1 << 2, /* of the helper, not of the kernel: it knows WIRE_WITHDRAW */
	/* Of the helper, not of the kernel: connections to other network namespaces of this host may
	 * be accelerated, so ends offer whose peer's address is none of their own namespace's. */
	WIRE_FEATURE_PEERS = 1 << 3,
	WIRE_FEATURE_HOLDERS = 1 << 4, /* of the helper, not of the kernel: it knows WIRE_HOLDERS */
	WIRE_FEATURE_OPTIONS = 1 << 5, /* the helper looks at a socket's options itself before it lets an end join */
	WIRE_FEATURE_RETIRED = 1 << 6, /* of the helper: it looks at `retired` in the session memory (memory.h) */
	WIRE_FEATURE_LANDING = 1 << 7, /* of the helper: it knows WIRE_LANDING */
	WIRE_FEATURE_CLAMP = 1 << 8,   /* of the kernel: TCP_WINDOW_CLAMP may be set at any moment (preload/window.h) */
	WIRE_FEATURE_ALONE = 1 << 9,   /* of the helper: it knows WIRE_JOIN_ALONE */
};

struct wire_endpoint {
	uint8_t address[16]; /* network order; IPv4 and v4-mapped as ::ffff:a.b.c.d */
	uint16_t port_n;
	uint16_t reserved;
};

struct wire_offer {
	struct wire_header header;
	uint64_t cookie;
	uint64_t netns_cookie;
	struct wire_endpoint local;
	struct wire_endpoint remote;
};

struct wire_join {
	struct wire_header header;
	uint64_t cookie;
	uint64_t sent_bytes;     /* the accounts (invariant 8): what the wrappers saw go out ... */
	uint64_t received_bytes; /* ... and in since the connection began; compared modulo 2^32 */
	uint32_t flags;          /* enum wire_join_flag; those of other versions are of no meaning */
	uint32_t fd_number;      /* in the client; for display */
};

/* Options that need not keep the end out; and what else must be true. */
enum wire_join_flag {
	WIRE_JOIN_ZEROCOPY = 1 << 1,   /* SO_ZEROCOPY: should a send ever use it, the end leaves first */
	WIRE_JOIN_INQ = 1 << 2,        /* TCP_INQ: the shim writes that control message itself */
	WIRE_JOIN_OOB_INLINE = 1 << 4, /* SO_OOBINLINE: should a send ever be urgent, the end leaves first */
	/* It came by SCM_RIGHTS: only if the client's fd is the only one, of all processes. Only with WIRE_FEATURE_ALONE. */
	WIRE_JOIN_ALONE = 1 << 3,
	/* The client has forked since it was opened: only if the fds of the client, whose count is above WIRE_JOIN_FDS_SHIFT, are the only
	 * ones. Another process would not know that it has joined. (An older helper lets it join.) */
	WIRE_JOIN_FORKED = 1 << 5,
};
#define WIRE_JOIN_FDS_SHIFT 16 /* in `flags` */
#define WIRE_JOIN_FDS_MAX 0xffffu

struct wire_pin {
	struct wire_header header; /* WIRE_PIN, WIRE_LEAVE, WIRE_WITHDRAW */
	uint64_t cookie;
	uint32_t reason; /* enum sm_reason */
	uint32_t reserved;
};

struct wire_holders { /* WIRE_HOLDERS; of WIRE_LANDING the cookie alone */
	struct wire_header header;
	uint64_t cookie;
	uint32_t own;      /* fds of the asking process, which it closes together */
	uint32_t is_final; /* it does not ask again */
};

struct wire_retire {
	struct wire_header header;
	uint64_t cookie; /* 0: the connection goes on, only its offer is to be forgotten */
};

struct wire_ping {
	struct wire_header header;
	uint32_t nonce;
	uint32_t reserved;
};

struct wire_ledger {
	struct wire_header header;
	uint32_t ledger_id;
	uint32_t ledger_cells;
};

/* The fd is for mapping and reading: `words` words of 64 bits. The one of `process`, as the helper sees it, is at the remainder, and
 * says in its upper half of which process it is; the lower half is raised each time one of the processes of that word
 * is stopped. */
struct wire_stops {
	struct wire_header header;
	uint32_t process;
	uint32_t words;
};

struct wire_request { /* WIRE_STATUS, WIRE_CONNECTIONS, WIRE_OFF, WIRE_ON, WIRE_TRIAL_STOP, WIRE_TRIAL_REPORT */
	struct wire_header header;
};

struct wire_group {
	struct wire_header header;
	uint64_t group;
};

/* WIRE_TRIAL_START. A connection takes part if each of the conditions given holds for one of its ends. Refused with
 * -EBUSY while a trial runs, -EAGAIN for the moment in which one ends, -ECANCELED while a guard has turned off what another one selected,
 * -ESHUTDOWN while the kill switch is set, -EINVAL. */
struct wire_trial {
	struct wire_header header;
	uint32_t accelerated_permyriad; /* of 10,000 connections; 1 .. 9999 */
	uint32_t duration_s;            /* 0: until it is stopped */
	uint32_t guard_ppm;             /* the quantile that the guard looks at, of a million; 0: no guard */
	uint32_t guard_permille;        /* by how much it may be worse */
	uint32_t uid;                   /* WIRE_TRIAL_ANY_UID: of any */
	uint16_t port_h;                /* of either end; 0: any */
	uint16_t window_s;              /* of the guard, from 3; 0: 60 */
	char comm[16];                  /* empty: any */
};
#define WIRE_TRIAL_ANY_UID UINT32_MAX

struct wire_reply {
	struct wire_header header;
	int32_t error; /* 0 or -errno */
	uint32_t json_bytes;
};

_Static_assert(sizeof(struct wire_header) == 16, "wire layout");
_Static_assert(sizeof(struct wire_hello) == 40, "wire layout");
_Static_assert(sizeof(struct wire_welcome) == 40, "wire layout");
_Static_assert(sizeof(struct wire_endpoint) == 20, "wire layout");
_Static_assert(sizeof(struct wire_offer) == 72, "wire layout");
_Static_assert(sizeof(struct wire_join) == 48, "wire layout");
_Static_assert(sizeof(struct wire_pin) == 32, "wire layout");
_Static_assert(sizeof(struct wire_holders) == 32, "wire layout");
_Static_assert(sizeof(struct wire_retire) == 24, "wire layout");
_Static_assert(sizeof(struct wire_ping) == 24, "wire layout");
_Static_assert(sizeof(struct wire_ledger) == 24, "wire layout");
_Static_assert(sizeof(struct wire_stops) == 24, "wire layout");
_Static_assert(sizeof(struct wire_group) == 24, "wire layout");
_Static_assert(sizeof(struct wire_trial) == 56, "wire layout");
_Static_assert(sizeof(struct wire_reply) == 24, "wire layout");

#endif
