/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether a process still has a socket: what is in its table of files.
 *
 * As in facts.h all is read without a lock, fault-safe: a table that is replaced or freed meanwhile makes the answer wrong, once.
 */
#ifndef SMACCEL_HOLDING_H
#define SMACCEL_HOLDING_H

#include "facts.h"

#define FILES_AT_ONCE 16 /* a table's size is a multiple of that */
#define FILES_MOST (1u << 16)

/* A walk through a table of files. */
struct files_walk {
	const struct file *file;
	struct file **files;
	__u32 size, found, most;
};

static long files_step(__u32 index, struct files_walk *walk)
{
	const struct file *files[FILES_AT_ONCE];
	__u32 first = index * FILES_AT_ONCE;

	if (first >= walk->size || walk->found >= walk->most ||
	    bpf_probe_read_kernel(files, sizeof(files), walk->files + first))
		return 1;
	for (int i = 0; i < FILES_AT_ONCE; i++)
		walk->found += files[i] == walk->file;
	return 0;
}

/* The leader of the process that made that unix socket of the caller's; NULL: it is gone. */
static __always_inline const struct task_struct *leader_behind(__s32 fd)
{
	const struct sock *sk = socket_of(fd);
	const struct pid *pid = sk ? BPF_CORE_READ(sk, sk_peer_pid) : NULL;
	const struct hlist_node *link = pid ? BPF_CORE_READ(pid, tasks[PIDTYPE_TGID].first) : NULL;
	const struct task_struct *task = NULL;

	return link ? (const void *)link - bpf_core_field_offset(task->pid_links[PIDTYPE_TGID]) : NULL;
}

/* Another thread of the process; NULL: there is none. Behind the last one comes no task, and what is read there has no such leader. */
static __always_inline const struct task_struct *thread_beside(const struct task_struct *leader)
{
	const struct task_struct *next =
		(const void *)BPF_CORE_READ(leader, thread_node.next) - bpf_core_field_offset(leader->thread_node);

	return BPF_CORE_READ(next, group_leader) == leader ? next : NULL;
}

/* How many fds of a socket that process has, as far as `most`; or SM_FDS_UNKNOWN. */
static __always_inline __u32 count_fds(const struct sock *sk, __s32 fd, __u32 most)
{
	const struct task_struct *leader = leader_behind(fd), *beside = leader ? thread_beside(leader) : NULL;
	const struct files_struct *files = leader ? BPF_CORE_READ(leader, files) : NULL;
	struct files_walk walk = { .file = file_of(sk), .most = most };
	const struct fdtable *table;

	if (!leader || !walk.file)
		return 0;
	if (!files && beside) /* a leader that has ended before its threads */
		files = BPF_CORE_READ(beside, files);
	if (!files) /* who ends lets go of the table first, and then closes what is in it (do_exit()): that goes on */
		return !beside && BPF_CORE_READ(leader, exit_state) ? 0 : most;
	table = BPF_CORE_READ(files, fdt);
	walk.files = BPF_CORE_READ(table, fd);
	walk.size = BPF_CORE_READ(table, max_fds);
	bpf_loop(FILES_MOST / FILES_AT_ONCE, files_step, &walk, 0);
	if (walk.found >= most)
		return most;
	return walk.size > FILES_MOST ? SM_FDS_UNKNOWN : walk.found;
}

#endif
