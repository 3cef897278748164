/* SPDX-License-Identifier: BSD-2-Clause */
/* fork and vfork: which process is this, and is its memory its own. Async-signal-safe. */
#ifndef SMACCEL_FORK_H
#define SMACCEL_FORK_H

#include <stdbool.h>
#include <stdint.h>

void fork_init(void); /* constructor */

/* This process runs in its parent's memory (vfork, clone with CLONE_VM): it must change nothing of the shim. Costs a
 * getpid(). */
bool fork_in_vfork_child(void);
/* Around a clone with CLONE_VM and CLONE_VFORK: as long as it lasts it is the child that runs as this thread. That tells it where the
 * number does not, which may be the same in two namespaces. */
void fork_lend_memory(bool lends);
bool fork_memory_is_lent(void);

/* Around a fork that gives the child a copy of the memory; the atfork handlers of fork(3) are these, too. Keep errno. fork_in_parent()
 * also where there is no child after all. */
void fork_before(void);
void fork_in_parent(void);
void fork_in_child(void);

/* True once in each child that nobody has told of (a raw clone that no wrapper has seen): the caller then calls
 * lifecycle_forked(), or uses fork_notice(). Elsewhere one load. */
bool fork_happened(void);
void fork_notice(void); /* if (fork_happened()) lifecycle_forked(); */

/* In a child that has its parent's table of fds (CLONE_FILES), behind fork_in_child(): what it closes is closed for both, and its end closes
 * nothing as long as the other lives. */
void fork_shares_files(void);
bool fork_files_are_shared(void);

/* The process that this one was forked from is still there. False also if that is not known. */
bool fork_parent_lives(void);

/* Another program is about to get what is open here: posix_spawn, or an exec in a vfork child, which runs in its parent's
 * memory and so tells the parent. Counts like a fork. */
void fork_note(void);

/* Around posix_spawn(3), which comes back when its child executes the program or is gone: until then that has all that is open here. Of other
 * ways to start one only the beginning is known: system, popen, an exec in a vfork child. */
void fork_spawn_begin(void);
void fork_spawn_end(void);
void fork_program_begins(void);
/* A child may have what this process closes now, but only until it becomes another program. */
bool fork_programs_begin(void);

/* unshare(CLONE_NEWPID) is about to be called: a vfork child may have this process's number from here on. */
void fork_numbers_anew(void);

/* How many forks there were, before or in this process, that this process knows of. */
uint32_t fork_count(void);

#endif
