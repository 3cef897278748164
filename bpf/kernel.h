/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's structures, cut down to the fields that the BPF programs read.
 *
 * Offsets are filled in at load time (CO-RE), so neither the order nor the padding here means anything and the build
 * needs no BTF of the build host. Fields that some kernels lack are tested with bpf_core_field_exists().
 */
#ifndef SMACCEL_KERNEL_H
#define SMACCEL_KERNEL_H

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct list_head {
	struct list_head *next;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct wait_queue_entry {
	void *private; /* of woken_wake_function: the task_struct; of pollwake: the poll_wqueues */
	void *func;
	struct list_head entry;
};

typedef struct wait_queue_head {
	struct list_head head;
} wait_queue_head_t;

struct poll_wqueues {
	struct task_struct *polling_task;
};

struct socket_wq {
	wait_queue_head_t wait;
};

struct netns_ipv4 {
	int sysctl_tcp_rmem[3];
};

struct net {
	u64 net_cookie;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct rb_node {
	unsigned long __rb_parent_color;
};

struct proto {
	atomic64_t *memory_allocated; /* pages */
	unsigned long *memory_pressure;
	long *sysctl_mem;
};

struct in6_addr {
	u8 bytes[16]; /* of the kernel's: one union of that size */
};

/* The kernels' numbers differ: bpf_core_enum_value(). */
enum sock_flags {
	SOCK_URGINLINE,
	SOCK_RCVTSTAMP,
	SOCK_ZEROCOPY,
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num; /* the local port, in the host's order */
	u16 skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;      /* bits: enum sock_flags */
	struct in6_addr skc_v6_daddr; /* only with CONFIG_IPV6, as the next */
	struct in6_addr skc_v6_rcv_saddr;
	struct proto *skc_prot;
	possible_net_t skc_net;
	atomic64_t skc_cookie;
	refcount_t skc_refcnt;
};

struct sock {
	struct sock_common __sk_common;
	struct {
		int owned; /* by a call: lock_sock() sleeps */
	} sk_lock;
	struct socket *sk_socket; /* NULL: its last fd was closed */
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_sndbuf;
	struct socket_wq *sk_wq;
	u8 sk_userlocks : 4; /* a whole byte since 6.15: read with BPF_CORE_READ_BITFIELD */
	u8 sk_shutdown;
	u16 sk_type;
	u16 sk_protocol; /* of a whole MPTCP connection 262 */
	int sk_rcvlowat;
	int sk_peek_off;                  /* negative: not set */
	u32 sk_tsflags;                   /* u16 before 6.6: read with BPF_CORE_READ_BITFIELD_PROBED */
	const void *sk_filter;            /* NULL: none */
	unsigned long sk_max_pacing_rate; /* ~0: none */
	void *sk_user_data;
	struct mem_cgroup *sk_memcg; /* only with CONFIG_MEMCG; NULL: the root's */
	struct pid *sk_peer_pid;     /* of a unix socket: SO_PEERCRED's process */
};

struct ipv6_pinfo {
	u8 min_hopcount;
};

struct inet_sock {
	struct sock sk;
	const struct ipv6_pinfo *pinet6; /* NULL: of IPv4 */
	u8 min_ttl;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const void *icsk_ulp_ops; /* NULL: none */
	struct {
		u8 pending;
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 copied_seq;
	u32 write_seq;
	u32 snd_una;
	u32 rcv_nxt;
	u32 rcv_wup;
	u32 rcv_wnd;
	u64 bytes_acked;
	u64 bytes_received;
	u8 scaling_ratio; /* since 6.6 */
	u32 tcp_tx_delay;
	u8 repair : 1;
	u8 recvmsg_inq : 1;
};

struct sk_psock {
	struct list_head ingress_msg;
	refcount_t refcnt;
};

struct page_counter {
	atomic64_t usage; /* pages, as max */
	unsigned long max;
	struct page_counter *parent;
};

struct mem_cgroup_per_node {
	/* Pages; [MAX_NR_ZONES][NR_LRU_LISTS], of the former some kernels have fewer. */
	unsigned long lru_zone_size[5][5];
};

/* The same, as some versions of pahole put it into the kernel's BTF. */
struct mem_cgroup_per_node___flat {
	unsigned long lru_zone_size[25];
};

struct mem_cgroup {
	struct page_counter memory;
	struct page_counter tcpmem; /* only with cgroups of version 1 */
	struct mem_cgroup_per_node *nodeinfo[];
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

/* Its value is the number of references less one; the field of struct file since 6.13. */
typedef struct {
	atomic64_t refcnt;
} file_ref_t;

struct file {
	file_ref_t f_ref;
	struct inode *f_inode;
	void *private_data;
};

struct file___before_6_13 {
	atomic64_t f_count;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct pid_namespace {
	struct {
		unsigned int inum;
	} ns;
};

/* The number of a process in one of the namespaces that see it. */
struct upid {
	int nr;
	struct pid_namespace *ns;
};

enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
	PIDTYPE_MAX = 4,
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[PIDTYPE_MAX]; /* empty: it is gone */
	struct upid numbers[1];               /* level + 1 */
};

struct task_struct {
	int tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct {
		unsigned long sig[1];
	} blocked;                  /* signals; of the kernel's the type is sigset_t */
	struct files_struct *files; /* NULL: the thread has ended, or ends and closes what it had */
	int exit_state;             /* not 0: it has ended, and its files are closed */
	struct hlist_node pid_links[PIDTYPE_MAX];
	struct list_head thread_node; /* in that of all threads of the process, the leader first */
};

struct socket {
	struct file *file;
	struct sock *sk;
};

#pragma clang attribute pop

/* include/net/sock.h, inet_connection_sock.h and linux/skmsg.h */
#define ICSK_ACK_SCHED 1
#define SK_SOCK_RCVBUF_LOCK 2
#define SK_RCV_SHUTDOWN 1
#define SK_SEND_SHUTDOWN 2
#define SK_USER_DATA_PSOCK 4
#define SK_USER_DATA_FLAGS 7

/* include/linux/socket.h, net.h, uapi/linux/in.h and magic.h */
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define SOCKFS_MAGIC 0x534f434b

#endif
