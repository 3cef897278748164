/* SPDX-License-Identifier: BSD-2-Clause */
/* A running process, as /proc shows it: what decides whether the shim is in it, and may work. */
#ifndef SMACCEL_CLI_RUNNING_H
#define SMACCEL_CLI_RUNNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUNNING_PATH_BYTES 4096
#define RUNNING_GROUPS_MAX 1024 /* more are not looked at */

struct running {
	pid_t pid;
	uint32_t uid;                /* the real one */
	uint32_t file_uid, file_gid; /* that it opens files with */
	uint32_t groups[RUNNING_GROUPS_MAX];
	size_t group_count;
	uint64_t capabilities;            /* the effective ones */
	char name[64];                    /* comm; what is not printable is '?' */
	char program[RUNNING_PATH_BYTES]; /* the file that it runs; "" for a thread of the kernel */
	char library[RUNNING_PATH_BYTES]; /* the libsmaccel.so that it has mapped; "" without one */
	bool has_session;                 /* with a helper, or had one: the memory is mapped */
	bool library_replaced;            /* that file has been removed, or replaced by another, since */
	bool is_secure;                   /* AT_SECURE (getauxval(3)): set-user-id, capabilities of the file ... */
	bool is_filtered;                 /* "Seccomp:" in proc_pid_status(5) is not 0 */
	char *environment;                /* as of its last exec, each variable with its 0; running_free() frees it */
	size_t environment_bytes;
};

/* Reads about a process, of which `pid` may be a thread. 0; -ESRCH: there is none, or it has ended and waits for its parent; -EACCES: another user's, which takes root; or -errno. After an error
 * there is nothing to free. */
int running_read(pid_t pid, struct running *running);
void running_free(struct running *running);

/* The value of a variable of its environment, which lives as long as *running; NULL without it. */
const char *running_variable(const struct running *running, const char *name);

#endif
