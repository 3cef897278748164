/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the kernel knows about a socket and tells nobody: read from its structures, without a lock.
 *
 * Every read is fault-safe, for the address may be stale: TCP sockets are type-stable memory, so what is read then is
 * another socket's, whose cookie differs. One sample may be torn; the helper asks again before it believes a "no".
 */
#ifndef SMACCEL_FACTS_H
#define SMACCEL_FACTS_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "shared.h"

/* Entries of a socket's wait queue looked at, at most: one a blocked thread or poll/epoll registration. */
#define WAIT_QUEUE_MAX 256
#define BLOCKED_UNKNOWN 0xffffffffu /* could not be told: the helper takes it as "somebody is" */

#define PEER_SOCK inet_conn.icsk_inet.sk
#define PEER_COMMON PEER_SOCK.__sk_common

/* Set by the loader for the kernel at hand. */
const volatile bool use_rdonly_cast = false; /* 6.2 and later */
/* Where blocked threads sleep (fact 19b); 0: not known. From kallsyms, which the loader reads once for all its programs:
 * as a __ksym libbpf would read the whole of it at each load. */
const volatile __u64 woken_wake_function_address = 0;
/* What poll(2) and select(2) put there, by which they hold the file; 0: not known. */
const volatile __u64 pollwake_address = 0;

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

static __always_inline const struct tcp_sock *cast_tcp(__u64 address)
{
	return bpf_rdonly_cast((const void *)address, bpf_core_type_id_kernel(struct tcp_sock));
}

/* A word of the kernel's: read as the first one of a structure that is known to every kernel, where it is a number. `otherwise`: it cannot be read. */
static __always_inline unsigned long kernel_word(const void *address, unsigned long otherwise)
{
	unsigned long word;

	if (use_rdonly_cast)
		return ((const struct rb_node *)bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct rb_node)))
			->__rb_parent_color;
	return bpf_probe_read_kernel(&word, sizeof(word), address) ? otherwise : word;
}

static __always_inline bool psock_queue_empty(const void *user_data)
{
	struct sk_psock *psock = (void *)((__u64)user_data & ~(__u64)SK_USER_DATA_FLAGS);

	if (!((__u64)user_data & SK_USER_DATA_PSOCK))
		return true;
	return BPF_CORE_READ(psock, ingress_msg.next) == &psock->ingress_msg;
}

/* A process by its number in the helper's PID namespace, in which the helper knows it. */
struct process {
	__u32 number; /* 0: none, as no process has it */
	__u32 level;
	__u64 namespace;
};

/* A walk along a socket's wait queue. */
struct walk {
	__u64 head, next;
	struct process own_process;
	__u32 count, own, own_polls;
	bool torn;
};

static __always_inline const struct upid *number_at(const struct pid *pid, __u32 level)
{
	return (const void *)((const char *)pid + bpf_core_field_offset(pid->numbers) +
			      (__u64)level * bpf_core_type_size(struct upid));
}

/* Called by the helper, whose namespace it is. */
static __always_inline struct process process_of(__u32 number)
{
	const struct task_struct *helper = (const void *)bpf_get_current_task();
	const struct pid *pid = BPF_CORE_READ(helper, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	const struct upid *own = number_at(pid, level);

	return (struct process){ .number = number, .level = level, .namespace = (__u64)BPF_CORE_READ(own, ns) };
}

static __always_inline bool is_of_process(const struct task_struct *task, const struct process *process)
{
	const struct pid *pid;
	const struct upid *number;

	if (!process->number)
		return false;
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	if (BPF_CORE_READ(pid, level) < process->level)
		return false;
	number = number_at(pid, process->level);
	return (__u32)BPF_CORE_READ(number, nr) == process->number &&
	       (__u64)BPF_CORE_READ(number, ns) == process->namespace;
}

static __always_inline bool is_polled_by(const struct poll_wqueues *poll, const struct process *process)
{
	return is_of_process(BPF_CORE_READ(poll, polling_task), process);
}

static long walk_step(__u32 index, struct walk *walk)
{
	const struct wait_queue_entry *entry;
	const struct list_head *next = (const void *)walk->next;
	__u64 func;

	if (walk->next == walk->head || walk->torn)
		return 1;
	entry = (const void *)next - bpf_core_field_offset(struct wait_queue_entry, entry);
	func = (__u64)BPF_CORE_READ(entry, func);
	if (func == woken_wake_function_address)
		walk->count++, walk->own += is_of_process(BPF_CORE_READ(entry, private), &walk->own_process);
	else if (func && func == pollwake_address)
		walk->own_polls += is_polled_by(BPF_CORE_READ(entry, private), &walk->own_process);
	walk->next = (__u64)BPF_CORE_READ(next, next);
	walk->torn = !walk->next;
	return 0;
}

/* Threads asleep in recv or send on the socket (fact 19b). The queue is walked without its lock: whatever looks torn
 * makes the answer "unknown". By bpf_loop(): a loop of our own is verified turn by turn, some 50 ms each time. */
static __always_inline __u32 count_blocked(const struct sock *sk, __u32 tgid, struct sm_facts *facts)
{
	const struct socket_wq *wq = BPF_CORE_READ(sk, sk_wq);
	struct walk walk = {};
	const struct list_head *head;

	if (!woken_wake_function_address)
		return BLOCKED_UNKNOWN;
	if (!wq) /* closed by its last owner */
		return 0;
	if (tgid)
		walk.own_process = process_of(tgid);
	head = &wq->wait.head;
	walk.head = (__u64)head;
	walk.next = (__u64)BPF_CORE_READ(head, next);
	walk.torn = !walk.next;
	bpf_loop(WAIT_QUEUE_MAX, walk_step, &walk, 0);
	facts->blocked_own = walk.own;
	facts->polling_own = walk.own_polls;
	return walk.torn || walk.next != walk.head ? BLOCKED_UNKNOWN : walk.count;
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

/* NULL: closed by its last owner. */
static __always_inline const struct file *file_of(const struct sock *sk)
{
	const struct socket *socket = BPF_CORE_READ(sk, sk_socket);

	return socket ? BPF_CORE_READ(socket, file) : NULL;
}

/* Who could still read or close it. Other processes may change it at any moment; an answer of one is final if it was
 * given for the only one's sake. */
static __always_inline __u32 count_holders(const struct sock *sk)
{
	const struct file *file = file_of(sk);
	const struct file___before_6_13 *old = (const void *)file;

	if (!file)
		return 0;
	if (bpf_core_field_exists(file->f_ref))
		return (__u32)BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	return (__u32)BPF_CORE_READ(old, f_count.counter);
}

/* One list of fields for both ways of reading; READ(field). */
#define READ_TCP(READ)                                                                                                 \
	do {                                                                                                           \
		facts->cookie = (__u64)READ(PEER_COMMON.skc_cookie.counter);                                           \
		facts->bytes_acked = READ(bytes_acked);                                                                \
		facts->bytes_received = READ(bytes_received);                                                          \
		facts->snd_una = READ(snd_una);                                                                        \
		facts->rcv_nxt = READ(rcv_nxt);                                                                        \
		facts->write_seq = READ(write_seq);                                                                    \
		facts->copied_seq = READ(copied_seq);                                                                  \
		facts->rmem_alloc = READ(PEER_SOCK.sk_backlog.rmem_alloc.counter);                                     \
		facts->tcp_state = READ(PEER_COMMON.skc_state);                                                        \
		facts->shutdown = READ(PEER_SOCK.sk_shutdown);                                                         \
		facts->lock_owned = READ(PEER_SOCK.sk_lock.owned) != 0;                                                \
	} while (0)
#define READ_CAST(field) (cast->field)
#define READ_PROBE(field) BPF_CORE_READ(tcp, field)

/* Of whatever is at that address. cookie 0 accepts any socket. */
static __always_inline void read_facts(struct sm_facts *facts, __u64 address, __u64 cookie, __u32 tgid)
{
	const struct tcp_sock *tcp = (const void *)address;
	const struct sock *sk = &tcp->PEER_SOCK;

	facts->sk = address;
	facts->netns_cookie = BPF_CORE_READ(tcp, PEER_COMMON.skc_net.net, net_cookie);
	if (use_rdonly_cast) {
		const struct tcp_sock *cast = cast_tcp(address);

		READ_TCP(READ_CAST);
	} else {
		READ_TCP(READ_PROBE);
	}
	read_psock(facts, sk);
	facts->blocked_threads = count_blocked(sk, tgid, facts);
	facts->holders = count_holders(sk);
	/* Last: had the memory become another socket on the way, the cookie would have changed. */
	facts->found = BPF_CORE_READ(tcp, PEER_COMMON.skc_refcnt.refs.counter) > 0 &&
		       (__u64)BPF_CORE_READ(tcp, PEER_COMMON.skc_cookie.counter) == facts->cookie &&
		       (!cookie || cookie == facts->cookie);
}

/* Whether that socket is still in a sockmap. The kernel takes it out by itself when it is closed or reset. */
static __always_inline bool is_member(__u64 address, __u64 cookie)
{
	const struct sock *sk = (const void *)address;

	return (__u64)BPF_CORE_READ(sk, sk_user_data) & SK_USER_DATA_PSOCK &&
	       (__u64)BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) == cookie;
}

/* ---- the socket of an fd ---- */

/* What the calling process has under that number, if it is a socket. No file of another kind can pass for one: only sockfs has files
 * whose private data is a socket, and an O_PATH file of a socket's node is not of sockfs. The number is the caller's own, so its file
 * cannot go away meanwhile. */
static __always_inline const struct sock *socket_of(__s32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	const struct socket *socket;
	struct file **files, *file = NULL;

	if (fd < 0 || (__u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	if (!file || BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, file) == file ? BPF_CORE_READ(socket, sk) : NULL;
}

/* The address of the TCP socket that it is, or 0. */
static __always_inline __u64 tcp_socket_of(__s32 fd)
{
	const struct sock *sk = socket_of(fd);
	__u16 family;

	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	return (__u64)sk;
}

static __always_inline void map_v4(__u8 out[16], __be32 address_n)
{
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, &address_n, sizeof(address_n));
}

#define HAS_FLAG(flags, name) ((flags) >> bpf_core_enum_value(enum sock_flags, name) & 1)

/* As getsockopt() tells of them, but by one program for all. */
static __always_inline __u32 read_options(const struct sock *sk)
{
	const struct tcp_sock *tcp = (const void *)sk;
	const struct inet_sock *inet = (const void *)sk;
	const unsigned long flags = BPF_CORE_READ(sk, __sk_common.skc_flags);
	__u32 options = 0;

	if (HAS_FLAG(flags, SOCK_ZEROCOPY))
		options |= SM_OPTION_ZEROCOPY;
	if (HAS_FLAG(flags, SOCK_URGINLINE))
		options |= SM_OPTION_OOB_INLINE;
	if (HAS_FLAG(flags, SOCK_RCVTSTAMP) || BPF_CORE_READ_BITFIELD_PROBED(sk, sk_tsflags))
		options |= SM_OPTION_TIMESTAMP;
	if (BPF_CORE_READ(sk, sk_rcvlowat) > 1)
		options |= SM_OPTION_LOWAT;
	if (BPF_CORE_READ(sk, sk_peek_off) >= 0)
		options |= SM_OPTION_PEEK_OFF;
	if (BPF_CORE_READ(sk, sk_filter))
		options |= SM_OPTION_FILTER;
	if (BPF_CORE_READ_BITFIELD_PROBED(tcp, repair))
		options |= SM_OPTION_REPAIR;
	if (BPF_CORE_READ_BITFIELD_PROBED(tcp, recvmsg_inq))
		options |= SM_OPTION_INQ;
	if (BPF_CORE_READ(sk, sk_max_pacing_rate) != ~0UL || BPF_CORE_READ(tcp, tcp_tx_delay))
		options |= SM_OPTION_PACED;
	if (BPF_CORE_READ(inet, min_ttl) ||
	    (bpf_core_field_exists(inet->pinet6) && BPF_CORE_READ(inet, pinet6, min_hopcount)))
		options |= SM_OPTION_HOPS;
	return options;
}

/* What it is, and the two addresses as getsockname() and getpeername() tell them of a connected socket (but for what
 * cgroup programs make of their answers). */
static __always_inline void read_name(struct sm_look *look, const struct sock *sk)
{
	const struct inet_connection_sock *connection = (const void *)sk;

	look->has_ulp = BPF_CORE_READ(connection, icsk_ulp_ops) != NULL;
	look->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	look->local_port_n = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
	look->remote_port_n = BPF_CORE_READ(sk, __sk_common.skc_dport);
	if (look->family == AF_INET) {
		map_v4(look->local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_v4(look->remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		BPF_CORE_READ_INTO(&look->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&look->remote, sk, __sk_common.skc_v6_daddr);
	}
}

#endif
